/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_IMPORT_H
#define KEYROTA_IMPORT_H

/* An existing secret, as somebody keeps it, to the key of a policy's algorithm. */

#include <stdbool.h>
#include <stddef.h>

#include "jwk.h"
#include "policy.h"
#include "secret.h"

#define IMPORT_MAX (64 * 1024) /* bytes */

/* Reads to the end of fd, into secret memory and nowhere else. -EFBIG: more than IMPORT_MAX. */
int import_read(int fd, struct secret **ret);

/* The key that input holds, checked. format: an enum format, or -1: JSON and PEM are recognised. Text may have white space at its end; raw
 * bytes are the key, all of them. kid: the one to give it, or NULL: a JWK's own, else the one that keyrota gives. -EBADMSG, -EOPNOTSUPP,
 * -EINVAL (format or kid are to be given otherwise): *ret_reason, NULL before the call, says what is wrong and never quotes the input. */
int import_decode(const struct policy *policy, int format, const struct secret *input, const char *kid, struct jwk **ret, char **ret_reason);

/* Does a newline at the end of raw bytes become a part of the key? */
bool import_ends_in_newline(int format, const struct secret *input);

#endif
