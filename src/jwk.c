/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A key in memory: its members, name and life. jwk-generate.c makes one, jwk-json.c reads and writes one,
 * jwk-openssl.c gives it to OpenSSL. */

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "base64.h"
#include "jwk-internal.h"

#define SYMMETRIC_KID_SIZE 16 /* bytes */

static void *openssl_malloc(size_t size, const char *file _unused_, int line _unused_) {
        return secret_malloc(size);
}

static void *openssl_realloc(void *pointer, size_t size, const char *file _unused_, int line _unused_) {
        return secret_realloc(pointer, size);
}

static void openssl_free(void *pointer, const char *file _unused_, int line _unused_) {
        secret_release(pointer);
}

static int init_result;

static void init_once(void) {
        if (!CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free)) {
                init_result = -EBUSY;
                return;
        }
        json_set_alloc_funcs(secret_malloc, secret_release);
        /* OpenSSL's error strings are for people; ours are in our own words and the tables would have to
         * be locked. */
        if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS, NULL))
                init_result = -EIO;
}

int jwk_init(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        (void) pthread_once(&once, init_once);
        return init_result;
}

const char *jwk_key_type_name(enum key_type type) {
        static const char *const names[] = {
                [KEY_TYPE_OCT] = "oct",
                [KEY_TYPE_RSA] = "RSA",
                [KEY_TYPE_EC] = "EC",
                [KEY_TYPE_OKP] = "OKP",
        };

        return names[type];
}

const struct jwk_member *jwk_members(enum key_type type) {
        static const struct jwk_member members[][JWK_MEMBERS_MAX + 1] = {
                [KEY_TYPE_OCT] = { [OCT_K] = { "k", true, NULL } },
                [KEY_TYPE_RSA] = {
                        [RSA_N] = { "n", false, "n" },
                        [RSA_E] = { "e", false, "e" },
                        [RSA_D] = { "d", true, "d" },
                        [RSA_P] = { "p", true, "rsa-factor1" },
                        [RSA_Q] = { "q", true, "rsa-factor2" },
                        [RSA_DP] = { "dp", true, "rsa-exponent1" },
                        [RSA_DQ] = { "dq", true, "rsa-exponent2" },
                        [RSA_QI] = { "qi", true, "rsa-coefficient1" },
                },
                [KEY_TYPE_EC] = {
                        [EC_X] = { "x", false, NULL },
                        [EC_Y] = { "y", false, NULL },
                        [EC_D] = { "d", true, NULL },
                },
                [KEY_TYPE_OKP] = {
                        [OKP_X] = { "x", false, NULL },
                        [OKP_D] = { "d", true, NULL },
                },
        };

        return members[type];
}

int jwk_new(enum algorithm algorithm, struct jwk **ret) {
        struct jwk *jwk = secret_malloc(sizeof(*jwk));

        if (!jwk)
                return -ENOMEM;
        *jwk = (struct jwk) { .algorithm = algorithm };
        *ret = jwk;
        return 0;
}

void jwk_free(struct jwk *jwk) {
        if (!jwk)
                return;
        for (size_t i = 0; i < ELEMENTSOF(jwk->members); i++)
                secret_free(jwk->members[i]);
        secret_release(jwk);
}

const char *jwk_kid(const struct jwk *jwk) {
        return jwk->kid;
}

enum algorithm jwk_algorithm(const struct jwk *jwk) {
        return jwk->algorithm;
}

int jwk_to_raw(const struct jwk *jwk, struct secret **ret) {
        if (!algorithm_is_symmetric(jwk->algorithm))
                return -EINVAL;
        return secret_new_from(jwk->members[OCT_K]->data, jwk->members[OCT_K]->size, ret);
}

int jwk_set_default_kid(struct jwk *jwk) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        uint8_t random[SYMMETRIC_KID_SIZE];
        char thumbprint[44];
        int r;

        if (!algorithm_is_symmetric(jwk->algorithm)) {
                r = jwk_thumbprint(jwk, thumbprint);
                if (r < 0)
                        return r;
                memcpy(jwk->kid, thumbprint, sizeof(thumbprint));
                return 0;
        }

        /* Not the thumbprint, which would publish a hash of the secret (RFC 7638 section 7). */
        if (RAND_bytes(random, sizeof(random)) != 1)
                return -EIO;
        r = base64url_encode(random, sizeof(random), &text);
        if (r < 0)
                return r;
        memcpy(jwk->kid, text->data, text->size + 1);
        return 0;
}
