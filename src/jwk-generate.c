/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes keys, from OpenSSL's private DRBG. */

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include "jwk-internal.h"

/* One number of the key; width 0: as many bytes as it takes. */
static int take_number(const EVP_PKEY *pkey, const char *parameter, size_t width, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        _cleanup_(bn_freep) BIGNUM *bn = NULL;
        int r;

        if (EVP_PKEY_get_bn_param(pkey, parameter, &bn) != 1)
                return -EIO;
        if (width == 0)
                width = (size_t) BN_num_bytes(bn);
        r = secret_new(width, &bytes);
        if (r < 0)
                return r;
        if (BN_bn2binpad(bn, bytes->data, (int) width) < 0)
                return -EIO;
        *ret = TAKE_PTR(bytes);
        return 0;
}

static int generate_oct(struct jwk *jwk, unsigned size) {
        int r;

        r = secret_new(size, &jwk->members[OCT_K]);
        if (r < 0)
                return r;
        return RAND_priv_bytes(jwk->members[OCT_K]->data, (int) size) == 1 ? 0 : -EIO;
}

static int generate_rsa(struct jwk *jwk, unsigned bits) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) bits);
        const struct jwk_member *members = jwk_members(KEY_TYPE_RSA);
        int r = 0;

        if (!pkey)
                return -EIO;
        for (size_t i = 0; members[i].name && r >= 0; i++)
                r = take_number(pkey, members[i].parameter, 0, &jwk->members[i]);
        return r;
}

static int generate_ec(struct jwk *jwk, const struct algorithm_info *info) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", info->openssl_group);
        int r;

        if (!pkey)
                return -EIO;
        r = take_number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, info->coordinate_size, &jwk->members[EC_X]);
        if (r < 0)
                return r;
        r = take_number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, info->coordinate_size, &jwk->members[EC_Y]);
        if (r < 0)
                return r;
        return take_number(pkey, OSSL_PKEY_PARAM_PRIV_KEY, info->coordinate_size, &jwk->members[EC_D]);
}

static int generate_okp(struct jwk *jwk, const struct algorithm_info *info) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, info->openssl_group);
        size_t x_size = info->coordinate_size, d_size = info->coordinate_size;
        int r;

        if (!pkey)
                return -EIO;
        r = secret_new(x_size, &jwk->members[OKP_X]);
        if (r < 0)
                return r;
        r = secret_new(d_size, &jwk->members[OKP_D]);
        if (r < 0)
                return r;
        if (EVP_PKEY_get_raw_public_key(pkey, jwk->members[OKP_X]->data, &x_size) != 1 ||
            EVP_PKEY_get_raw_private_key(pkey, jwk->members[OKP_D]->data, &d_size) != 1 ||
            x_size != info->coordinate_size || d_size != info->coordinate_size)
                return -EIO;
        return 0;
}

int jwk_generate(enum algorithm algorithm, unsigned size, struct jwk **ret) {
        const struct algorithm_info *info = algorithm_info(algorithm);
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        int r;

        if (!algorithm_size_valid(algorithm, size))
                return -EINVAL;
        r = jwk_new(algorithm, &jwk);
        if (r < 0)
                return r;

        switch (info->key_type) {
        case KEY_TYPE_OCT:
                r = generate_oct(jwk, size);
                break;
        case KEY_TYPE_RSA:
                r = generate_rsa(jwk, size);
                break;
        case KEY_TYPE_EC:
                r = generate_ec(jwk, info);
                break;
        case KEY_TYPE_OKP:
                r = generate_okp(jwk, info);
                break;
        }
        if (r < 0)
                return r;

        r = jwk_set_default_kid(jwk);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(jwk);
        return 0;
}
