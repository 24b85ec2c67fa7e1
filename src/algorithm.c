/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of algorithms. Pure; calls nothing. */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "algorithm.h"
#include "cleanup.h"

#define RSA_BITS_MIN 2048 /* RFC 7518 sections 3.3 and 3.5 */
#define RSA_BITS_MAX 4096
#define RSA_BITS_DEFAULT 3072
#define RSA_BITS_STEP 256
#define HMAC_BYTES_MAX 128

static const struct algorithm_info infos[ALGORITHM_COUNT] = {
        [ALGORITHM_HS256] = { "HS256", KEY_TYPE_OCT, NULL, NULL, 0, 32 },
        [ALGORITHM_HS384] = { "HS384", KEY_TYPE_OCT, NULL, NULL, 0, 48 },
        [ALGORITHM_HS512] = { "HS512", KEY_TYPE_OCT, NULL, NULL, 0, 64 },
        [ALGORITHM_RS256] = { "RS256", KEY_TYPE_RSA, NULL, NULL, 0, 32 },
        [ALGORITHM_RS384] = { "RS384", KEY_TYPE_RSA, NULL, NULL, 0, 48 },
        [ALGORITHM_RS512] = { "RS512", KEY_TYPE_RSA, NULL, NULL, 0, 64 },
        [ALGORITHM_PS256] = { "PS256", KEY_TYPE_RSA, NULL, NULL, 0, 32 },
        [ALGORITHM_PS384] = { "PS384", KEY_TYPE_RSA, NULL, NULL, 0, 48 },
        [ALGORITHM_PS512] = { "PS512", KEY_TYPE_RSA, NULL, NULL, 0, 64 },
        [ALGORITHM_ES256] = { "ES256", KEY_TYPE_EC, "P-256", "P-256", 32, 32 },
        [ALGORITHM_ES384] = { "ES384", KEY_TYPE_EC, "P-384", "P-384", 48, 48 },
        [ALGORITHM_ES512] = { "ES512", KEY_TYPE_EC, "P-521", "P-521", 66, 64 },
        [ALGORITHM_EDDSA] = { "EdDSA", KEY_TYPE_OKP, "Ed25519", "ED25519", 32, 64 },
};

const struct algorithm_info *algorithm_info(enum algorithm algorithm) {
        assert((unsigned) algorithm < ALGORITHM_COUNT);
        return &infos[algorithm];
}

int algorithm_from_name(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(infos); i++)
                if (strcmp(infos[i].name, name) == 0)
                        return (int) i;
        return -EINVAL;
}

unsigned algorithm_size_default(enum algorithm algorithm) {
        switch (algorithm_info(algorithm)->key_type) {
        case KEY_TYPE_OCT:
                return algorithm_info(algorithm)->hash_size;
        case KEY_TYPE_RSA:
                return RSA_BITS_DEFAULT;
        default:
                return 0;
        }
}

bool algorithm_size_valid(enum algorithm algorithm, unsigned size) {
        switch (algorithm_info(algorithm)->key_type) {
        case KEY_TYPE_OCT:
                /* RFC 7518 section 3.2: a key of the hash's size or larger. */
                return size >= algorithm_info(algorithm)->hash_size && size <= HMAC_BYTES_MAX;
        case KEY_TYPE_RSA:
                return size >= RSA_BITS_MIN && size <= RSA_BITS_MAX && size % RSA_BITS_STEP == 0;
        default:
                return size == 0;
        }
}
