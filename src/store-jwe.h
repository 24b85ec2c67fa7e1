/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_STORE_JWE_H
#define KEYROTA_STORE_JWE_H

/*
 * The one form of JWE that the store writes and reads: RFC 7516 compact serialisation, "dir" and "A256GCM", a
 * protected header that binds whose keys these are. Pure: bytes to bytes.
 */

#include <stddef.h>
#include <stdint.h>

#include "jwk.h"
#include "policy.h"
#include "secret.h"

#define JWE_KEY_SIZE 32 /* bytes */

struct jwe_header {
        char kid[JWK_KID_MAX + 1]; /* of the key-encryption key */
        char environment[POLICY_NAME_MAX + 1];
        char name[POLICY_NAME_MAX + 1];
        uint64_t generation; /* 1 to INT64_MAX */
};

/* A random IV each time. The text has no final newline. */
int jwe_encrypt(const struct jwe_header *header, const struct secret *key, const struct secret *plaintext,
                struct secret **ret_text);

/* Reads the outside strictly, without a key: five parts of the right sizes and exactly our header. -EBADMSG:
 * *ret_what (a constant) ends the sentence "the file ...". */
int jwe_parse(const char *text, size_t size, struct jwe_header *ret, const char **ret_what);

/* The plaintext of what jwe_parse() takes. -EBADMSG: not authentic. */
int jwe_decrypt(const char *text, size_t size, const struct secret *key, struct secret **ret);

#endif
