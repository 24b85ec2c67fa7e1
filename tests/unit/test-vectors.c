/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The keys, sets and signatures printed in RFC 7515, 7517, 7520, 7638 and 8037 and the keys of Wycheproof:
 * read by the strict reader, rendered as PEM or raw bytes, and the signatures checked by OpenSSL with nothing
 * but that rendering.
 *
 * The files are looked for in $KEYROTA_VECTORS, else in ../shared/vectors beside the source; those tests are
 * skipped without them.
 */

#include <sys/stat.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base64.h"
#include "jwk.h"
#include "tap.h"

#define NO_HINT (-1)

static char *vectors_path(const char *name) {
        const char *folder = getenv("KEYROTA_VECTORS"), *source = getenv("srcdir");
        char *path = NULL;
        int r;

        if (folder)
                r = asprintf(&path, "%s/%s", folder, name);
        else
                r = asprintf(&path, "%s/../shared/vectors/%s", source ? source : ".", name);
        return r < 0 ? NULL : path;
}

static bool have_vectors(void) {
        _cleanup_free_ char *path = vectors_path("rfc/rfc7515_A.1.jwk");
        struct stat st;

        return path && stat(path, &st) == 0;
}

#define need_vectors() \
        if (!have_vectors()) \
        skip("no test vectors; KEYROTA_VECTORS may name their folder")

/* A file of at most 1 MiB; abort() without it. */
static struct secret *read_vector(const char *name) {
        _cleanup_free_ char *path = vectors_path(name);
        struct secret *text = NULL;
        FILE *file = fopen(path, "re");

        if (!file || secret_new(1024 * 1024, &text) < 0)
                abort();
        text->size = fread(text->data, 1, text->size, file);
        text->data[text->size] = 0;
        (void) fclose(file);
        while (text->size > 0 && (text->data[text->size - 1] == '\n' || text->data[text->size - 1] == '\r'))
                text->data[--text->size] = 0;
        return text;
}

static const EVP_MD *algorithm_hash(enum algorithm algorithm) {
        switch (algorithm_info(algorithm)->hash_size) {
        case 32:
                return EVP_sha256();
        case 48:
                return EVP_sha384();
        default:
                return EVP_sha512();
        }
}

static bool verify_hmac(const struct jwk *jwk, const char *signed_text, size_t size,
                        const struct secret *signature) {
        _cleanup_(secret_freep) struct secret *raw = NULL;
        uint8_t mac[EVP_MAX_MD_SIZE];
        unsigned mac_size = sizeof(mac);

        return jwk_to_raw(jwk, &raw) >= 0 &&
               HMAC(algorithm_hash(jwk_algorithm(jwk)), raw->data, (int) raw->size,
                    (const uint8_t *) signed_text, size, mac, &mac_size) &&
               mac_size == signature->size && memcmp(mac, signature->data, mac_size) == 0;
}

/* RFC 7518 section 3.4 joins two numbers where OpenSSL wants them in DER. */
static struct secret *ecdsa_to_der(const struct secret *joined) {
        ECDSA_SIG *pair = ECDSA_SIG_new();
        struct secret *der = NULL;
        uint8_t *bytes = NULL;
        int half = (int) joined->size / 2, size;

        if (!pair || ECDSA_SIG_set0(pair, BN_bin2bn(joined->data, half, NULL),
                                    BN_bin2bn(joined->data + half, half, NULL)) != 1)
                abort();
        size = i2d_ECDSA_SIG(pair, &bytes);
        if (size < 0 || secret_new_from(bytes, (size_t) size, &der) < 0)
                abort();
        OPENSSL_free(bytes);
        ECDSA_SIG_free(pair);
        return der;
}

static bool verify_public(const struct jwk *jwk, const char *signed_text, size_t size,
                          const struct secret *signature) {
        const struct algorithm_info *info = algorithm_info(jwk_algorithm(jwk));
        _cleanup_(secret_freep) struct secret *pem = NULL, *der = NULL;
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *key_context = NULL;
        EVP_PKEY *key;
        bool good;
        BIO *bio;

        if (info->key_type == KEY_TYPE_EC) {
                if (signature->size != 2 * info->coordinate_size)
                        return false;
                der = ecdsa_to_der(signature);
                signature = der;
        }
        if (jwk_to_pem(jwk, false, &pem) < 0)
                abort();
        bio = BIO_new_mem_buf(pem->data, (int) pem->size);
        key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        good = EVP_DigestVerifyInit(context, &key_context,
                                    info->key_type == KEY_TYPE_OKP ? NULL
                                                                   : algorithm_hash(jwk_algorithm(jwk)),
                                    NULL, key) == 1;
        if (info->name[0] == 'P')
                good = good && EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) == 1 &&
                        EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) == 1;
        good = good && EVP_DigestVerify(context, signature->data, signature->size,
                                        (const uint8_t *) signed_text, size) == 1;
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(key);
        BIO_free(bio);
        return good;
}

/* A JWS in compact form (RFC 7515 section 7.1) against one key. */
static bool verify_jws(const struct jwk *jwk, const char *jws) {
        _cleanup_(secret_freep) struct secret *signature = NULL;
        const char *dot = strrchr(jws, '.');

        if (!dot || base64url_decode(dot + 1, strlen(dot + 1), &signature) < 0)
                return false;
        if (algorithm_is_symmetric(jwk_algorithm(jwk)))
                return verify_hmac(jwk, jws, (size_t) (dot - jws), signature);
        return verify_public(jwk, jws, (size_t) (dot - jws), signature);
}

/* And the same with one character of the payload changed, which must not verify. */
static bool verify_changed(const struct jwk *jwk, const char *jws) {
        _cleanup_free_ char *changed = strdup(jws);
        char *dot = strchr(changed, '.');

        dot[1] = dot[1] == 'A' ? 'B' : 'A';
        return verify_jws(jwk, changed);
}

TEST(printed_signatures_verify_with_printed_keys) {
        static const struct {
                const char *name;
                enum algorithm algorithm;
        } rows[] = {
                { "rfc7515_A.1", ALGORITHM_HS256 }, { "rfc7515_A.2", ALGORITHM_RS256 },
                { "rfc7515_A.3", ALGORITHM_ES256 }, { "rfc7515_A.4", ALGORITHM_ES512 },
                { "rfc7520_4.1", ALGORITHM_RS256 }, { "rfc7520_4.2", ALGORITHM_PS384 },
                { "rfc7520_4.3", ALGORITHM_ES512 }, { "rfc7520_4.4", ALGORITHM_HS256 },
        };

        need_vectors();
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(secret_freep) struct secret *key = NULL, *jws = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                char name[64];

                (void) snprintf(name, sizeof(name), "rfc/%s.jwk", rows[i].name);
                key = read_vector(name);
                (void) snprintf(name, sizeof(name), "rfc/%s.jwsc", rows[i].name);
                jws = read_vector(name);
                printf("# %s\n", rows[i].name);
                expect_int(jwk_from_json(key->data, key->size, (int) rows[i].algorithm, &jwk, &reason), 0);
                expect_int(jwk_algorithm(jwk), rows[i].algorithm);
                expect(verify_jws(jwk, (const char *) jws->data));
                expect(!verify_changed(jwk, (const char *) jws->data));
        }
}

TEST(printed_keys_are_read_or_refused_by_the_rules) {
        static const struct {
                const char *name;
                int hint, result;
                const char *reason;
        } rows[] = {
                { "rfc7515_A.1.jwk", NO_HINT, -EBADMSG, "\"alg\" is missing" },
                { "rfc7517_B.jwk", ALGORITHM_RS256, -EBADMSG, "\"d\" is missing; the whole private key is needed" },
                { "rfc7520_3.1.jwk", ALGORITHM_ES512, -EBADMSG, "\"d\" is missing; the whole private key is needed" },
                { "rfc7520_3.2.jwk", ALGORITHM_ES512, 0, NULL },
                { "rfc7520_3.2.jwk", ALGORITHM_ES256, -EBADMSG, "ES256 wants \"crv\" to be \"P-256\"" },
                { "rfc7520_3.3.jwk", ALGORITHM_PS256, -EBADMSG, "\"d\" is missing; the whole private key is needed" },
                { "rfc7520_3.4.jwk", ALGORITHM_PS512, 0, NULL },
                { "rfc7520_3.5.jwk", NO_HINT, 0, NULL },
                { "rfc7520_3.6.jwk", NO_HINT, -EOPNOTSUPP, "\"use\" is not \"sig\"" },
                { "rfc7638_3.1.jwk", NO_HINT, -EBADMSG, "\"d\" is missing; the whole private key is needed" },
        };

        need_vectors();
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(secret_freep) struct secret *key = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                char name[64];

                (void) snprintf(name, sizeof(name), "rfc/%s", rows[i].name);
                key = read_vector(name);
                printf("# %s\n", rows[i].name);
                expect_int(jwk_from_json(key->data, key->size, rows[i].hint, &jwk, &reason), rows[i].result);
                if (rows[i].reason)
                        expect_string(reason, rows[i].reason);
        }
}

/* One key of a set in a file, as text. */
static struct secret *key_of_set(const char *name, size_t index) {
        _cleanup_(secret_freep) struct secret *text = read_vector(name);
        json_auto_t *set = json_loadb((const char *) text->data, text->size, 0, NULL);
        const json_t *key = json_array_get(json_object_get(set, "keys"), index);
        struct secret *one = NULL;
        size_t size = json_dumpb(key, NULL, 0, 0);

        if (secret_new(size, &one) < 0 || json_dumpb(key, (char *) one->data, size, 0) != size)
                abort();
        return one;
}

TEST(printed_sets_with_other_keys_are_refused_whole) {
        static const struct {
                const char *name;
                int result;
                const char *reason;
        } rows[] = {
                { "rfc/rfc7517_A.1.jwkset", -EOPNOTSUPP, "key 1 of the set: \"use\" is not \"sig\"" },
                { "rfc/rfc7517_A.2.jwkset", -EOPNOTSUPP, "key 1 of the set: \"use\" is not \"sig\"" },
                { "rfc/rfc7517_A.3.jwkset", -EOPNOTSUPP, "key 1 of the set: \"alg\" is not a signature algorithm that keyrota knows" },
        };

        need_vectors();
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(secret_freep) struct secret *set = read_vector(rows[i].name);
                _cleanup_free_ char *reason = NULL;
                struct jwk **jwks = NULL;
                size_t n;

                expect_int(jwk_set_from_json(set->data, set->size, &jwks, &n, &reason), rows[i].result);
                expect_string(reason, rows[i].reason);
        }
}

TEST(keys_of_printed_sets_are_read_one_by_one) {
        _cleanup_(secret_freep) struct secret *public = NULL, *rsa = NULL, *hmac = NULL, *wanted = NULL;
        _cleanup_free_ char *first = NULL, *second = NULL, *third = NULL, *fourth = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL, *symmetric = NULL, *none = NULL;
        char thumbprint[44];

        need_vectors();
        public = key_of_set("rfc/rfc7517_A.1.jwkset", 1);
        expect_int(jwk_from_json(public->data, public->size, NO_HINT, &none, &first), -EBADMSG);
        expect_string(first, "\"d\" is missing; the whole private key is needed");

        /* The key that RFC 7638 section 3.1 prints the thumbprint of. */
        rsa = key_of_set("rfc/rfc7517_A.2.jwkset", 1);
        wanted = read_vector("rfc/rfc7638_3.1.thp");
        expect_int(jwk_from_json(rsa->data, rsa->size, NO_HINT, &jwk, &second), 0);
        expect_string(jwk_kid(jwk), "2011-04-29");
        expect_int(jwk_thumbprint(jwk, thumbprint), 0);
        expect_string(thumbprint, (const char *) wanted->data);

        hmac = key_of_set("rfc/rfc7517_A.3.jwkset", 1);
        expect_int(jwk_from_json(hmac->data, hmac->size, NO_HINT, &none, &third), -EBADMSG);
        expect_string(third, "\"alg\" is missing");
        expect_int(jwk_from_json(hmac->data, hmac->size, ALGORITHM_HS256, &symmetric, &fourth), 0);
}

/* RFC 8037 appendices A.1 to A.4. */
TEST(printed_ed25519_key_signs_and_has_its_thumbprint) {
        static const char private[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\","
                                      "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";
        static const char public[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";
        static const char wanted[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\","
                                     "\"kid\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\",\"alg\":\"EdDSA\",\"use\":\"sig\"}";
        static const char jws[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4"
                                  "iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        _cleanup_(jwk_freep) struct jwk *jwk = NULL, *none = NULL;
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *reason = NULL, *refusal = NULL;

        expect_int(jwk_from_json(private, strlen(private), ALGORITHM_EDDSA, &jwk, &reason), 0);
        expect_string(jwk_kid(jwk), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        expect_int(jwk_to_json(jwk, false, &text), 0);
        expect_string((const char *) text->data, wanted);
        expect(verify_jws(jwk, jws));
        expect(!verify_changed(jwk, jws));
        expect_int(jwk_from_json(public, strlen(public), ALGORITHM_EDDSA, &none, &refusal), -EBADMSG);
}

/* Is this JWS good by a key of the group, found by its kid? */
static bool accepts(struct jwk *const jwks[], size_t n, const char *jws) {
        _cleanup_(secret_freep) struct secret *header = NULL;
        json_auto_t *json = NULL;
        const char *kid;

        if (base64url_decode(jws, strcspn(jws, "."), &header) < 0)
                return false;
        json = json_loadb((const char *) header->data, header->size, JSON_REJECT_DUPLICATES, NULL);
        kid = json_string_value(json_object_get(json, "kid"));
        for (size_t i = 0; kid && i < n; i++)
                if (strcmp(jwk_kid(jwks[i]), kid) == 0)
                        return verify_jws(jwks[i], jws);
        return false;
}

TEST(wycheproof_keys_verify_or_are_refused) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        json_auto_t *file = NULL;
        json_t *groups, *group;
        size_t i, n_tests = 0, n_refused = 0;

        need_vectors();
        text = read_vector("wycheproof/json_web_key_test.json");
        file = json_loadb((const char *) text->data, text->size, 0, NULL);
        groups = json_object_get(file, "testGroups");
        json_array_foreach(groups, i, group) {
                const json_t *private = json_object_get(group, "private");
                json_t *tests = json_object_get(group, "tests"), *test;
                _cleanup_(secret_freep) struct secret *set = NULL;
                _cleanup_free_ char *reason = NULL;
                struct jwk **jwks = NULL;
                size_t size = json_dumpb(private, NULL, 0, 0), n = 0, j;

                expect_int(secret_new(size, &set), 0);
                (void) json_dumpb(private, (char *) set->data, size, 0);
                if (jwk_set_from_json(set->data, set->size, &jwks, &n, &reason) < 0) {
                        printf("# %s: %s\n", json_string_value(json_object_get(group, "comment")), reason);
                        n_refused++;
                }
                json_array_foreach(tests, j, test) {
                        const char *result = json_string_value(json_object_get(test, "result"));
                        bool accepted = accepts(jwks, n, json_string_value(json_object_get(test, "jws")));

                        if (accepted != (strcmp(result, "valid") == 0))
                                printf("# test %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(test, "tcId")));
                        expect_int(accepted, strcmp(result, "valid") == 0);
                        n_tests++;
                }
                for (j = 0; j < n; j++)
                        jwk_free(jwks[j]);
                free(jwks);
        }
        expect_int(n_tests, json_integer_value(json_object_get(file, "numberOfTests")));
        /* All that are about a key: all but the good ones and the one good set with a bad signature. */
        expect_int(n_refused, 20);
}

int main(void) {
        if (jwk_init() < 0) {
                printf("Bail out! OpenSSL was used before jwk_init().\n");
                return EXIT_FAILURE;
        }
        return tap_main();
}
