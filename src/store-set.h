/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_STORE_SET_H
#define KEYROTA_STORE_SET_H

/*
 * A key set as the plaintext of its stored file: a JWK Set (RFC 7517 section 5) whose keys carry our times as
 * members, what is left of destroyed keys, and the last good policy. Pure; all of it in secret memory.
 */

#include "keyset.h"
#include "secret.h"

/* -EINVAL: a text in it is not UTF-8, or a key has no time of creation. */
int store_set_encode(const struct keyset *keyset, struct secret **ret);

/* -EBADMSG: not what store_set_encode() writes; *ret_reason (to be freed) says what is wrong. The set's
 * generation is 0. */
int store_set_decode(const struct secret *text, const char *environment, const char *name,
                     struct keyset **ret, char **ret_reason);

/* The same set once more, keys and all. */
int store_set_copy(const struct keyset *keyset, struct keyset **ret);

#endif
