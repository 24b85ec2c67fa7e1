/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes keys, from OpenSSL's private DRBG. */

#include <errno.h>

#include <openssl/rand.h>

#include "jwk-internal.h"

static int generate_oct(struct jwk *jwk, unsigned size) {
        int r;

        r = secret_new(size, &jwk->members[OCT_K]);
        if (r < 0)
                return r;
        return RAND_priv_bytes(jwk->members[OCT_K]->data, (int) size) == 1 ? 0 : -EIO;
}

static EVP_PKEY *generate_pkey(const struct algorithm_info *info, unsigned size) {
        switch (info->key_type) {
        case KEY_TYPE_RSA:
                return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) size);
        case KEY_TYPE_EC:
                return EVP_PKEY_Q_keygen(NULL, NULL, "EC", info->openssl_group);
        default:
                return EVP_PKEY_Q_keygen(NULL, NULL, info->openssl_group);
        }
}

static int generate_pair(struct jwk *jwk, unsigned size) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = generate_pkey(algorithm_info(jwk->algorithm), size);

        return pkey ? jwk_take_pkey(jwk, pkey) : -EIO;
}

int jwk_generate(enum algorithm algorithm, unsigned size, struct jwk **ret) {
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        int r;

        if (!algorithm_size_valid(algorithm, size))
                return -EINVAL;
        r = jwk_new(algorithm, &jwk);
        if (r < 0)
                return r;

        r = algorithm_is_symmetric(algorithm) ? generate_oct(jwk, size) : generate_pair(jwk, size);
        if (r < 0)
                return r;

        r = jwk_set_default_kid(jwk);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(jwk);
        return 0;
}
