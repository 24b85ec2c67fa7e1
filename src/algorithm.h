/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ALGORITHM_H
#define KEYROTA_ALGORITHM_H

/* The JWS algorithms of RFC 7518 section 3.1 and RFC 8037 that keyrota makes keys for, and what follows
 * from each. Pure. */

#include <stdbool.h>
#include <stddef.h>

enum algorithm {
        ALGORITHM_HS256,
        ALGORITHM_HS384,
        ALGORITHM_HS512,
        ALGORITHM_RS256,
        ALGORITHM_RS384,
        ALGORITHM_RS512,
        ALGORITHM_PS256,
        ALGORITHM_PS384,
        ALGORITHM_PS512,
        ALGORITHM_ES256,
        ALGORITHM_ES384,
        ALGORITHM_ES512,
        ALGORITHM_EDDSA,
        ALGORITHM_COUNT,
};

enum key_type { KEY_TYPE_OCT, KEY_TYPE_RSA, KEY_TYPE_EC, KEY_TYPE_OKP };

struct algorithm_info {
        const char *name; /* "alg" */
        enum key_type key_type;
        const char *curve;          /* "crv" of EC and OKP keys, else NULL */
        const char *openssl_group;  /* the same curve as OpenSSL calls it */
        unsigned coordinate_size;   /* bytes of an EC coordinate or an OKP key */
        unsigned hash_size;         /* bytes */
};

const struct algorithm_info *algorithm_info(enum algorithm algorithm);

/* The algorithm called name, or -EINVAL. */
int algorithm_from_name(const char *name);

static inline bool algorithm_is_symmetric(enum algorithm algorithm) {
        return algorithm_info(algorithm)->key_type == KEY_TYPE_OCT;
}

/* What "size" means: bytes of an HMAC key, bits of an RSA modulus, 0 for the others. */
unsigned algorithm_size_default(enum algorithm algorithm);
bool algorithm_size_valid(enum algorithm algorithm, unsigned size);

#endif
