/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A key as OpenSSL's EVP_PKEY and back: to check that its members belong together, and to write it as PEM. */

#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "jwk-internal.h"

static void builder_freep(OSSL_PARAM_BLD **builder) {
        OSSL_PARAM_BLD_free(*builder);
}

static void parameters_freep(OSSL_PARAM **parameters) {
        OSSL_PARAM_free(*parameters);
}

static void pkey_context_freep(EVP_PKEY_CTX **context) {
        EVP_PKEY_CTX_free(*context);
}

static void bn_context_freep(BN_CTX **context) {
        BN_CTX_free(*context);
}

static void bio_freep(BIO **bio) {
        (void) BIO_free(*bio);
}

static BIGNUM *to_bn(const struct secret *bytes) {
        return BN_bin2bn(bytes->data, (int) bytes->size, NULL);
}

static int pkey_from_parameters(const char *type, bool with_private, OSSL_PARAM_BLD *builder,
                                EVP_PKEY **ret) {
        _cleanup_(parameters_freep) OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
        _cleanup_(pkey_context_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
        EVP_PKEY *pkey = NULL;

        if (!parameters || !context || EVP_PKEY_fromdata_init(context) != 1)
                return -ENOMEM;
        if (EVP_PKEY_fromdata(context, &pkey, with_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY,
                              parameters) != 1)
                return -EBADMSG;
        *ret = pkey;
        return 0;
}

static int rsa_to_pkey(const struct jwk *jwk, bool with_private, EVP_PKEY **ret) {
        const struct jwk_member *members = jwk_members(KEY_TYPE_RSA);
        _cleanup_(builder_freep) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        BIGNUM *numbers[JWK_MEMBERS_MAX] = { NULL }; /* the builder refers to them */
        int r = builder ? 0 : -ENOMEM;

        for (size_t i = 0; members[i].name && r >= 0; i++) {
                if (members[i].is_private && !with_private)
                        continue;
                numbers[i] = to_bn(jwk->members[i]);
                if (!numbers[i] || OSSL_PARAM_BLD_push_BN(builder, members[i].parameter, numbers[i]) != 1)
                        r = -ENOMEM;
        }
        if (r >= 0)
                r = pkey_from_parameters("RSA", with_private, builder, ret);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                BN_clear_free(numbers[i]);
        return r;
}

static int ec_to_pkey(const struct jwk *jwk, bool with_private, EVP_PKEY **ret) {
        const char *group = algorithm_info(jwk->algorithm)->openssl_group;
        const struct secret *x = jwk->members[EC_X], *y = jwk->members[EC_Y];
        _cleanup_(builder_freep) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        _cleanup_(secret_freep) struct secret *point = NULL;
        _cleanup_(bn_freep) BIGNUM *d = NULL;
        int r;

        r = secret_new(1 + x->size + y->size, &point);
        if (r < 0)
                return r;
        point->data[0] = POINT_CONVERSION_UNCOMPRESSED;
        memcpy(point->data + 1, x->data, x->size);
        memcpy(point->data + 1 + x->size, y->data, y->size);

        if (!builder ||
            OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) != 1 ||
            OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point->data, point->size) != 1)
                return -ENOMEM;
        if (with_private) {
                d = to_bn(jwk->members[EC_D]);
                if (!d || OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, d) != 1)
                        return -ENOMEM;
        }
        return pkey_from_parameters("EC", with_private, builder, ret);
}

static int okp_to_pkey(const struct jwk *jwk, bool with_private, EVP_PKEY **ret) {
        const struct algorithm_info *info = algorithm_info(jwk->algorithm);
        const struct secret *x = jwk->members[OKP_X], *d = jwk->members[OKP_D];
        EVP_PKEY *pkey = with_private
                ? EVP_PKEY_new_raw_private_key_ex(NULL, info->openssl_group, NULL, d->data, d->size)
                : EVP_PKEY_new_raw_public_key_ex(NULL, info->openssl_group, NULL, x->data, x->size);

        if (!pkey)
                return -EBADMSG;
        *ret = pkey;
        return 0;
}

static bool is_private(const struct jwk *jwk) {
        const struct jwk_member *members = jwk_members(algorithm_info(jwk->algorithm)->key_type);

        for (size_t i = 0; members[i].name; i++)
                if (members[i].is_private && !jwk->members[i])
                        return false;
        return true;
}

int jwk_to_pkey(const struct jwk *jwk, bool with_private, EVP_PKEY **ret) {
        if (with_private && !is_private(jwk))
                return -EINVAL;
        switch (algorithm_info(jwk->algorithm)->key_type) {
        case KEY_TYPE_RSA:
                return rsa_to_pkey(jwk, with_private, ret);
        case KEY_TYPE_EC:
                return ec_to_pkey(jwk, with_private, ret);
        case KEY_TYPE_OKP:
                return okp_to_pkey(jwk, with_private, ret);
        default:
                return -EINVAL;
        }
}

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

static int take_rsa(struct jwk *jwk, const EVP_PKEY *pkey) {
        const struct jwk_member *members = jwk_members(KEY_TYPE_RSA);
        int r = 0;

        for (size_t i = 0; members[i].name && r >= 0; i++)
                r = take_number(pkey, members[i].parameter, 0, &jwk->members[i]);
        return r;
}

static int take_ec(struct jwk *jwk, const EVP_PKEY *pkey, size_t width) {
        int r;

        r = take_number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, width, &jwk->members[EC_X]);
        if (r < 0)
                return r;
        r = take_number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, width, &jwk->members[EC_Y]);
        if (r < 0)
                return r;
        return take_number(pkey, OSSL_PKEY_PARAM_PRIV_KEY, width, &jwk->members[EC_D]);
}

static int take_okp(struct jwk *jwk, const EVP_PKEY *pkey, size_t width) {
        size_t x_size = width, d_size = width;
        int r;

        r = secret_new(x_size, &jwk->members[OKP_X]);
        if (r < 0)
                return r;
        r = secret_new(d_size, &jwk->members[OKP_D]);
        if (r < 0)
                return r;
        if (EVP_PKEY_get_raw_public_key(pkey, jwk->members[OKP_X]->data, &x_size) != 1 ||
            EVP_PKEY_get_raw_private_key(pkey, jwk->members[OKP_D]->data, &d_size) != 1 ||
            x_size != width || d_size != width)
                return -EIO;
        return 0;
}

int jwk_take_pkey(struct jwk *jwk, const EVP_PKEY *pkey) {
        const struct algorithm_info *info = algorithm_info(jwk->algorithm);

        switch (info->key_type) {
        case KEY_TYPE_RSA:
                return take_rsa(jwk, pkey);
        case KEY_TYPE_EC:
                return take_ec(jwk, pkey, info->coordinate_size);
        case KEY_TYPE_OKP:
                return take_okp(jwk, pkey, info->coordinate_size);
        default:
                return -EINVAL;
        }
}

/* One prime of an RSA key and what belongs to it: e * dp = 1 and dp = d (mod p - 1), and a Fermat test of
 * p by way of the exponents, (2^e)^dp = 2 (mod p). 1: good, 0: not, -1: out of memory. */
static int rsa_check_prime(BIGNUM *numbers[static JWK_MEMBERS_MAX], size_t p, size_t dp, BN_CTX *context) {
        BIGNUM *less_one, *a, *b;
        int good = -1;

        BN_CTX_start(context);
        less_one = BN_CTX_get(context);
        a = BN_CTX_get(context);
        b = BN_CTX_get(context);
        if (!b || !BN_sub(less_one, numbers[p], BN_value_one()))
                goto finish;
        BN_set_flags(numbers[dp], BN_FLG_CONSTTIME);
        BN_set_flags(less_one, BN_FLG_CONSTTIME);

        good = 0;
        if (!BN_is_odd(numbers[p]) || BN_num_bits(numbers[p]) < 512 || BN_cmp(numbers[dp], less_one) >= 0)
                goto finish;
        if (!BN_mod_mul(a, numbers[RSA_E], numbers[dp], less_one, context) || !BN_is_one(a) ||
            !BN_mod(b, numbers[RSA_D], less_one, context) || BN_cmp(b, numbers[dp]) != 0)
                goto finish;
        if (!BN_set_word(a, 2) || !BN_mod_exp(b, a, numbers[RSA_E], numbers[p], context) ||
            !BN_mod_exp_mont_consttime(a, b, numbers[dp], numbers[p], context, NULL) || !BN_is_word(a, 2))
                goto finish;
        good = 1;
finish:
        BN_CTX_end(context);
        return good;
}

/* OpenSSL's own check (EVP_PKEY_pairwise_check(3)) proves both primes with 64 rounds and takes 140 ms for
 * 3072 bits, too long for every start of the system; this proves that the eight numbers are one key, in
 * about one signature's time. */
static int rsa_check(const struct jwk *jwk) {
        _cleanup_(bn_context_freep) BN_CTX *context = BN_CTX_new();
        _cleanup_(bn_freep) BIGNUM *product = BN_new();
        BIGNUM *numbers[JWK_MEMBERS_MAX] = { NULL };
        int r = context && product ? 0 : -ENOMEM;

        for (size_t i = 0; i < ELEMENTSOF(numbers) && r >= 0; i++) {
                numbers[i] = to_bn(jwk->members[i]);
                if (!numbers[i])
                        r = -ENOMEM;
        }
        if (r >= 0)
                r = BN_cmp(numbers[RSA_P], numbers[RSA_Q]) != 0 &&
                        BN_mul(product, numbers[RSA_P], numbers[RSA_Q], context) &&
                        BN_cmp(product, numbers[RSA_N]) == 0 &&
                        BN_cmp(numbers[RSA_D], numbers[RSA_N]) < 0 &&
                        rsa_check_prime(numbers, RSA_P, RSA_DP, context) == 1 &&
                        rsa_check_prime(numbers, RSA_Q, RSA_DQ, context) == 1 &&
                        BN_cmp(numbers[RSA_QI], numbers[RSA_P]) < 0 &&
                        BN_mod_mul(product, numbers[RSA_QI], numbers[RSA_Q], numbers[RSA_P], context) &&
                        BN_is_one(product) ? 0 : -EBADMSG;
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                BN_clear_free(numbers[i]);
        return r;
}

/* A private key of this type determines the public one; "x" must be that. */
static int okp_check(const struct jwk *jwk, const EVP_PKEY *pkey) {
        const struct secret *x = jwk->members[OKP_X];
        uint8_t public[64];
        size_t size = sizeof(public);

        if (EVP_PKEY_get_raw_public_key(pkey, public, &size) != 1 || size != x->size ||
            memcmp(public, x->data, size) != 0)
                return -EBADMSG;
        return 0;
}

static int check_public(const struct jwk *jwk) {
        _cleanup_(pkey_context_freep) EVP_PKEY_CTX *context = NULL;
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        int r;

        r = jwk_to_pkey(jwk, false, &pkey);
        if (r < 0)
                return r;
        context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
        return !context ? -ENOMEM : EVP_PKEY_public_check(context) == 1 ? 0 : -EBADMSG;
}

int jwk_check(const struct jwk *jwk, bool with_private) {
        const struct algorithm_info *info = algorithm_info(jwk->algorithm);
        _cleanup_(pkey_context_freep) EVP_PKEY_CTX *context = NULL;
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        int r;

        if (info->key_type == KEY_TYPE_OCT)
                return 0;
        if (!with_private)
                r = check_public(jwk);
        else if (info->key_type == KEY_TYPE_RSA)
                r = rsa_check(jwk);
        else
                r = jwk_to_pkey(jwk, true, &pkey);
        if (r >= 0 && with_private && info->key_type == KEY_TYPE_EC) {
                context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
                r = !context ? -ENOMEM : EVP_PKEY_check(context) == 1 ? 0 : -EBADMSG;
        }
        if (r >= 0 && with_private && info->key_type == KEY_TYPE_OKP)
                r = okp_check(jwk, pkey);
        ERR_clear_error();
        return r;
}

int jwk_check_thoroughly(const struct jwk *jwk) {
        _cleanup_(pkey_context_freep) EVP_PKEY_CTX *context = NULL;
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        int r;

        r = jwk_check(jwk, true);
        if (r < 0 || algorithm_info(jwk->algorithm)->key_type != KEY_TYPE_RSA)
                return r;
        r = jwk_to_pkey(jwk, true, &pkey);
        if (r >= 0) {
                context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
                r = !context ? -ENOMEM : EVP_PKEY_check(context) == 1 ? 0 : -EBADMSG;
        }
        ERR_clear_error();
        return r;
}

int jwk_to_pem(const struct jwk *jwk, bool with_private, struct secret **ret) {
        _cleanup_(bio_freep) BIO *bio = NULL;
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        char *text = NULL;
        long size;
        int r;

        r = jwk_to_pkey(jwk, with_private, &pkey);
        if (r < 0)
                return r;
        bio = BIO_new(BIO_s_mem());
        if (!bio)
                return -ENOMEM;
        if ((with_private ? PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)
                          : PEM_write_bio_PUBKEY(bio, pkey)) != 1)
                return -EIO;
        size = BIO_get_mem_data(bio, &text);
        if (size <= 0)
                return -EIO;
        return secret_new_from(text, (size_t) size, ret);
}
