/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_HOST_KEY_H
#define KEYROTA_HOST_KEY_H

/*
 * Which machine a tree's host key (PATH_HOST_KEY) is for. It begins with an id that follows from /etc/machine-id; systemd-creds(1) deletes a
 * host key whose id is another machine's and makes a new one, and everything sealed under the old one is lost. So it is asked only after
 * this. May call tree and OpenSSL's HMAC.
 */

#include "tree.h"

/* Opens the tree's /etc/machine-id, for reading, after making sure that its host key, if there is one, belongs to it. Returns the descriptor. -EKEYREJECTED: it
 * belongs to another machine id. -ENOENT, -EBADMSG: the tree has no machine id. *ret_reason (to be freed) says what to do. */
int host_key_open_machine_id(const struct tree *tree, char **ret_reason);

#endif
