/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_JWK_H
#define KEYROTA_JWK_H

/*
 * JSON Web Keys (RFC 7517, 7518 section 6, 8037): generate, thumbprint (RFC 7638), encode and decode. The one
 * file that makes keys with OpenSSL and speaks JSON about them with jansson. Key bytes live in secret.h
 * memory: call jwk_init() before anything else of OpenSSL or jansson.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "algorithm.h"
#include "cleanup.h"
#include "secret.h"

/* Bytes without the NUL: a thumbprint takes 43, 128 random bits 22; an imported key may bring its own. */
#define JWK_KID_MAX 64

struct jwk;

/* Gives OpenSSL and jansson allocators from secret.h. Must come before their first use. 0 or -EBUSY (too
 * late). */
int jwk_init(void);

/* A new private or symmetric key of this algorithm and size (see algorithm.h), from OpenSSL's private
 * DRBG, with kid, alg and use = "sig". Thread-safe. -EIO when OpenSSL fails. */
int jwk_generate(enum algorithm algorithm, unsigned size, struct jwk **ret);
void jwk_free(struct jwk *jwk);
DEFINE_CLEANUP(struct jwk *, jwk_free);

const char *jwk_kid(const struct jwk *jwk);
/* Can this be a kid? 1 to JWK_KID_MAX printable ASCII characters without space and comma. */
bool jwk_kid_valid(const char *kid);
enum algorithm jwk_algorithm(const struct jwk *jwk);

/* Encodings of one key. with_private false: the public members only (-EINVAL for a symmetric key). No
 * final newline but PEM's. */
int jwk_to_json(const struct jwk *jwk, bool with_private, struct secret **ret);
/* {"keys":[...]} of n keys. */
enum jwk_members {
        JWK_PRIVATE,   /* of asymmetric keys the private members too */
        JWK_VERIFYING, /* what verifies: the public members of an asymmetric key, all of a symmetric one */
};
int jwk_set_to_json(struct jwk *const jwks[], size_t n_jwks, enum jwk_members members, struct secret **ret);
/* PKCS#8 (RFC 5208/5958) or SubjectPublicKeyInfo; -EINVAL for a symmetric key. */
int jwk_to_pem(const struct jwk *jwk, bool with_private, struct secret **ret);
/* The bytes of a symmetric key; -EINVAL for another. */
int jwk_to_raw(const struct jwk *jwk, struct secret **ret);

/* Reads one private or symmetric JWK strictly: known kty and crv, alg (given, or algorithm_hint when the
 * member is absent; -1: none), use and key_ops if present for signing, sizes, Base64url without padding,
 * no member twice, an asymmetric key complete and its members one pair. A missing kid is computed
 * (thumbprint; symmetric: random); unknown members are dropped. -EBADMSG: not a JWK or not a good one;
 * -EOPNOTSUPP: of a kind that keyrota does not make; *ret_reason (to be freed) then says what is wrong and
 * never quotes the input. */
int jwk_from_json(const void *json, size_t size, int algorithm_hint, struct jwk **ret, char **ret_reason);
/* The same for what jwk_to_json() wrote and nobody can have changed since: does not spend milliseconds on whether the members are one pair. */
int jwk_from_stored_json(const void *json, size_t size, struct jwk **ret, char **ret_reason);
/* Reads {"keys":[...]}, each as jwk_from_json() does; no two may have the same kid. *ret and each key are to be freed. */
int jwk_set_from_json(const void *json, size_t size, struct jwk ***ret, size_t *ret_n, char **ret_reason);
/* The same for a set of public keys, what jwk_set_to_json() writes without private members; one that has any is refused. Such a key can be
 * encoded without private members only. */
int jwk_public_set_from_json(const void *json, size_t size, struct jwk ***ret, size_t *ret_n, char **ret_reason);

/* Keys that somebody else made, read for this algorithm and checked in full, OpenSSL's proof of RSA primes included. kid: the one to give it,
 * valid; NULL: its own, or the one that keyrota gives. Errors as jwk_from_json(), *ret_reason NULL before the call. */
enum jwk_document {
        JWK_DOCUMENT_KEY,
        JWK_DOCUMENT_SET, /* of one key */
        JWK_DOCUMENT_EITHER,
};
int jwk_import_json(const void *json, size_t size, enum jwk_document document, enum algorithm algorithm, const char *kid, struct jwk **ret,
                    char **ret_reason);
/* One block: PKCS#8, SEC1 or PKCS#1, not encrypted; nothing is ever asked on a terminal. */
int jwk_import_pem(const void *pem, size_t size, enum algorithm algorithm, const char *kid, struct jwk **ret, char **ret_reason);
/* The bytes of a symmetric key; -EINVAL for another algorithm. */
int jwk_import_raw(const void *bytes, size_t size, enum algorithm algorithm, const char *kid, struct jwk **ret, char **ret_reason);

/* RFC 7638 thumbprint with SHA-256, base64url, 43 characters and a NUL. */
int jwk_thumbprint(const struct jwk *jwk, char ret[static 44]);

#endif
