/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_READ_CLIENT_H
#define KEYROTA_READ_CLIENT_H

/* The other end of the read server (see read-protocol.h): what a user is given of a secret whose policy wants each read on record. May call secret. */

#include "secret.h"

/* 0, or a negative errno with *ret_reason (to be freed) in words. -EACCES: the server says no. -EREMOTEIO: it failed, and said why. -ENOENT, -ECONNREFUSED: there is
 * no server. -ETIMEDOUT. -EBADMSG: what came is not a whole answer; nothing of it is given. */
int read_client_fetch(const char *name, struct secret **ret, char **ret_reason);

#endif
