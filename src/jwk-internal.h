/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_JWK_INTERNAL_H
#define KEYROTA_JWK_INTERNAL_H

/* What the jwk*.c files share and nobody else sees: a key as the bytes of its members, and its form in
 * OpenSSL. */

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/evp.h>

#include "jwk.h"

#define JWK_MEMBERS_MAX 8

/* A member of a JWK that holds bytes, in the order in which they are written. */
struct jwk_member {
        const char *name; /* NULL ends a list */
        bool is_private;
        const char *parameter; /* RSA: what OpenSSL calls the number */
};

/* Positions in the lists of jwk_members(). */
enum { OCT_K };
enum { RSA_N, RSA_E, RSA_D, RSA_P, RSA_Q, RSA_DP, RSA_DQ, RSA_QI };
enum { EC_X, EC_Y, EC_D };
enum { OKP_X, OKP_D };

/* Big-endian numbers: of the curve's fixed width for EC, without leading zeros for RSA (RFC 7518 sections
 * 6.2.1.2 and 6.3.1.1). */
struct jwk {
        enum algorithm algorithm;
        char kid[JWK_KID_MAX + 1];
        struct secret *members[JWK_MEMBERS_MAX];
};

const char *jwk_key_type_name(enum key_type type);
const struct jwk_member *jwk_members(enum key_type type);

/* An empty key without a kid. */
int jwk_new(enum algorithm algorithm, struct jwk **ret);
/* Sets the kid that keyrota gives: the thumbprint, or 128 random bits for a symmetric key. */
int jwk_set_default_kid(struct jwk *jwk);

/* OpenSSL's form of an asymmetric key. -EBADMSG: OpenSSL does not take these numbers. */
int jwk_to_pkey(const struct jwk *jwk, bool with_private, EVP_PKEY **ret);
/* The members of an asymmetric key from OpenSSL's form of it, which must be of its type and curve. -EIO: OpenSSL does not give them. */
int jwk_take_pkey(struct jwk *jwk, const EVP_PKEY *pkey);
/* Do the members of an asymmetric key belong together? -EBADMSG: no. */
int jwk_check(const struct jwk *jwk, bool with_private);
/* OpenSSL's own check of a private key, which takes up to a second for RSA: both primes are proved. -EBADMSG. */
int jwk_check_thoroughly(const struct jwk *jwk);
/* Are the members of the sizes that the algorithm wants? -EBADMSG with *ret_reason. */
int jwk_check_sizes(const struct jwk *jwk, char **ret_reason);

int jwk_parse_json(const void *text, size_t size, json_t **ret, char **ret_reason);
/* As jwk_from_json(). */
int jwk_from_object(const json_t *object, int algorithm_hint, struct jwk **ret, char **ret_reason);
/* What every key that was not made by keyrota goes through last: checked in full, and named kid if that is not NULL. */
int jwk_adopt(struct jwk *jwk, const char *kid, char **ret_reason);

static inline void bn_freep(BIGNUM **bn) {
        BN_clear_free(*bn);
}

static inline void pkey_freep(EVP_PKEY **pkey) {
        EVP_PKEY_free(*pkey);
}

#endif
