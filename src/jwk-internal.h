/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_JWK_INTERNAL_H
#define KEYROTA_JWK_INTERNAL_H

/* What the jwk*.c files share and nobody else sees: a key as the bytes of its members, and its form in
 * OpenSSL. */

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
/* Do the members of an asymmetric key belong together? -EBADMSG: no. */
int jwk_check(const struct jwk *jwk, bool with_private);

static inline void bn_freep(BIGNUM **bn) {
        BN_clear_free(*bn);
}

static inline void pkey_freep(EVP_PKEY **pkey) {
        EVP_PKEY_free(*pkey);
}

#endif
