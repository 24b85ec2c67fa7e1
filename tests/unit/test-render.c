/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Renderings byte for byte: every format, use and final newline, and which keys stand in a verification
 * set. */

#include <errno.h>

#include <jansson.h>

#include "render.h"
#include "tap.h"

/* A key set as it stands in a rotation: deactivated twice, active, to come. One key of each algorithm given. */
static const struct key_times rotation[] = {
        { .created = 100, .activates = 100, .deactivates = 1000, .destroys = 3000 },
        { .created = 900, .activates = 1000, .deactivates = 2000, .destroys = 4000 },
        { .created = 1900, .activates = 2000, .deactivates = 4000, .destroys = TIME_NEVER },
        { .created = 2400, .activates = TIME_NEVER, .deactivates = TIME_NEVER, .destroys = TIME_NEVER },
};

/* RSA keys take long to make: all of this test's are one key under several names. */
static int make_rsa(enum algorithm algorithm, size_t index, struct jwk **ret) {
        static struct secret *once;
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *reason = NULL;
        json_auto_t *json = NULL;
        char kid[] = "0";
        size_t size;
        int r;

        if (!once) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;

                r = jwk_generate(ALGORITHM_RS256, 2048, &jwk);
                if (r < 0)
                        return r;
                r = jwk_to_json(jwk, true, &once);
                if (r < 0)
                        return r;
        }
        kid[0] = (char) ('0' + index);
        json = json_loadb((const char *) once->data, once->size, 0, NULL);
        json_object_set_new(json, "kid", json_string(kid));
        json_object_set_new(json, "alg", json_string(algorithm_info(algorithm)->name));
        size = json_dumpb(json, NULL, 0, 0);
        r = secret_new(size, &text);
        if (r < 0)
                return r;
        (void) json_dumpb(json, (char *) text->data, size, 0);
        return jwk_from_json(text->data, size, -1, ret, &reason);
}

static int make_set(const enum algorithm algorithms[static 4], struct keyset **ret) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        int r;

        r = keyset_new("production", "billing", &keyset);
        for (size_t i = 0; i < ELEMENTSOF(rotation) && r >= 0; i++) {
                struct jwk *jwk = NULL;

                if (algorithm_info(algorithms[i])->key_type == KEY_TYPE_RSA)
                        r = make_rsa(algorithms[i], i, &jwk);
                else
                        r = jwk_generate(algorithms[i], algorithm_size_default(algorithms[i]), &jwk);
                if (r >= 0)
                        r = keyset_add(keyset, jwk, &rotation[i]);
        }
        if (r >= 0)
                *ret = TAKE_PTR(keyset);
        return r;
}

static int make_rotation(enum algorithm algorithm, struct keyset **ret) {
        return make_set((enum algorithm[4]) { algorithm, algorithm, algorithm, algorithm }, ret);
}

/* The bytes 0 to 0x1f and 0xff, so that hex and both Base64 alphabets show. */
static const char example_json[] = "{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh__-w\",\"kid\":\"test\",\"alg\":\"HS256\",\"use\":\"sig\"}";

static const struct {
        enum format format;
        const char *bytes;
        size_t size;
} forms[] = {
        { FORMAT_JWK, example_json, sizeof(example_json) - 1 },
        { FORMAT_RAW, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\xff\xfb", 34 },
        { FORMAT_HEX, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1ffffb", 68 },
        { FORMAT_BASE64, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh//+w==", 48 },
        { FORMAT_BASE64URL, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh__-w", 46 },
};

TEST(symmetric_key_has_exactly_these_bytes) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        _cleanup_free_ char *reason = NULL;
        struct jwk *jwk = NULL;

        expect_int(jwk_from_json(example_json, strlen(example_json), -1, &jwk, &reason), 0);
        expect_int(keyset_new("production", "billing", &keyset), 0);
        expect_int(keyset_add(keyset, jwk, &rotation[2]), 0);
        for (size_t i = 0; i < ELEMENTSOF(forms); i++)
                for (enum use use = USE_SIGN; use <= USE_VERIFY; use++)
                        for (size_t newline = 0; newline <= 1; newline++) {
                                _cleanup_(secret_freep) struct secret *bytes = NULL;

                                expect_int(render(keyset, use, forms[i].format, newline, RENDER_ALL_KINDS, &bytes), 0);
                                expect_int(bytes->size, forms[i].size + newline);
                                expect(memcmp(bytes->data, forms[i].bytes, forms[i].size) == 0);
                                if (newline)
                                        expect(bytes->data[forms[i].size] == '\n');
                        }
}

TEST(raw_key_that_ends_in_a_newline_keeps_it) {
        static const char json[] = "{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAo\",\"alg\":\"HS256\"}";
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        _cleanup_(secret_freep) struct secret *bytes = NULL, *longer = NULL;
        _cleanup_free_ char *reason = NULL;
        struct jwk *jwk = NULL;

        expect_int(jwk_from_json(json, strlen(json), -1, &jwk, &reason), 0);
        expect_int(keyset_new("production", "billing", &keyset), 0);
        expect_int(keyset_add(keyset, jwk, &rotation[2]), 0);
        expect_int(render(keyset, USE_SIGN, FORMAT_RAW, false, RENDER_ALL_KINDS, &bytes), 0);
        expect_int(bytes->size, 32);
        expect_int(bytes->data[31], '\n');
        expect_int(render(keyset, USE_SIGN, FORMAT_RAW, true, RENDER_ALL_KINDS, &longer), 0);
        expect_int(longer->size, 33);
}

TEST(every_format_carries_what_it_can_and_refuses_the_rest) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;

                expect_int(make_rotation(algorithm, &keyset), 0);
                for (enum format format = 0; format < FORMAT_COUNT; format++)
                        for (enum use use = USE_SIGN; use <= USE_VERIFY; use++) {
                                _cleanup_(secret_freep) struct secret *without = NULL, *with = NULL;
                                bool carries = format == FORMAT_JWK || format == FORMAT_JWKS ||
                                        (format == FORMAT_PEM) == !algorithm_is_symmetric(algorithm);

                                expect_int(render(keyset, use, format, false, RENDER_ALL_KINDS, &without),
                                           carries ? 0 : -EINVAL);
                                expect_int(render(keyset, use, format, true, RENDER_ALL_KINDS, &with),
                                           carries ? 0 : -EINVAL);
                                if (!carries) {
                                        expect(!with && !without);
                                        continue;
                                }
                                expect_int(with->size, without->size + 1);
                                expect(memcmp(with->data, without->data, without->size) == 0);
                                expect(with->data[without->size] == '\n');
                                if (format != FORMAT_RAW)
                                        expect(without->data[without->size - 1] != '\n');
                        }
        }
}

/* The kids of a JWK or JWK Set in their order, "0 2" for the set's first and third key; x for a kid that
 * is no key's. */
static const char *keys_in(const struct secret *text, const struct keyset *keyset) {
        static char list[64];
        json_auto_t *json = json_loadb((const char *) text->data, text->size, 0, NULL);
        json_t *keys = json_object_get(json, "keys"), *key;
        size_t i;

        list[0] = 0;
        json_array_foreach(keys, i, key) {
                const char *kid = json_string_value(json_object_get(key, "kid"));
                char digit[3] = "x ";

                for (size_t j = 0; j < keyset->n_keys; j++)
                        if (kid && strcmp(kid, jwk_kid(keyset->keys[j].jwk)) == 0)
                                digit[0] = (char) ('0' + j);
                strcat(list, digit);
        }
        if (list[0])
                list[strlen(list) - 1] = 0;
        return list;
}

TEST(verification_set_holds_every_key_active_first) {
        static const enum algorithm algorithms[] = { ALGORITHM_HS256, ALGORITHM_ES256, ALGORITHM_EDDSA };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                _cleanup_(secret_freep) struct secret *verify = NULL, *sign = NULL;

                expect_int(make_rotation(algorithms[i], &keyset), 0);
                expect_int(render(keyset, USE_VERIFY, FORMAT_JWKS, false, RENDER_ALL_KINDS, &verify), 0);
                expect_string(keys_in(verify, keyset), "2 0 1 3");
                expect_int(render(keyset, USE_SIGN, FORMAT_JWKS, false, RENDER_ALL_KINDS, &sign), 0);
                /* Who signs with a symmetric secret may verify with it too. */
                expect_string(keys_in(sign, keyset), algorithm_is_symmetric(algorithms[i]) ? "2 0 1 3" : "2");
        }
}

TEST(pem_for_verifying_has_a_block_for_each_key_active_first) {
        _cleanup_(secret_freep) struct secret *all = NULL;
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        static const size_t order[] = { 2, 0, 1, 3 };
        size_t at = 0;

        expect_int(make_rotation(ALGORITHM_ES384, &keyset), 0);
        expect_int(render(keyset, USE_VERIFY, FORMAT_PEM, true, RENDER_ALL_KINDS, &all), 0);
        for (size_t i = 0; i < ELEMENTSOF(order); i++) {
                _cleanup_(secret_freep) struct secret *block = NULL;

                expect_int(jwk_to_pem(keyset->keys[order[i]].jwk, false, &block), 0);
                expect(all->size >= at + block->size);
                expect(memcmp(all->data + at, block->data, block->size) == 0);
                at += block->size;
        }
        expect_int(at, all->size);
}

TEST(nothing_private_is_in_what_verifiers_of_asymmetric_keys_get) {
        static const char *const private[] = { "\"d\"",  "\"p\"",  "\"q\"", "\"dp\"",
                                               "\"dq\"", "\"qi\"", "\"k\"", "PRIVATE" };

        for (enum algorithm algorithm = ALGORITHM_RS256; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;

                expect_int(make_rotation(algorithm, &keyset), 0);
                for (enum format format = FORMAT_JWK; format <= FORMAT_PEM; format++) {
                        _cleanup_(secret_freep) struct secret *bytes = NULL;

                        expect_int(render(keyset, USE_VERIFY, format, false, RENDER_ALL_KINDS, &bytes), 0);
                        for (size_t i = 0; i < ELEMENTSOF(private); i++)
                                expect(!strstr((const char *) bytes->data, private[i]));
                }
        }
}

TEST(only_a_units_own_credential_mixes_symmetric_and_public_keys) {
        static const enum algorithm to_public[] = { ALGORITHM_HS256, ALGORITHM_HS256, ALGORITHM_ES256, ALGORITHM_EDDSA };
        static const enum algorithm to_symmetric[] = { ALGORITHM_ES256, ALGORITHM_ES256, ALGORITHM_HS256, ALGORITHM_HS256 };
        static const struct { const enum algorithm *algorithms; const char *all, *active, *public; } rows[] = {
                { to_public, "2 0 1 3", "2 3", "2 3" },
                { to_symmetric, "2 0 1 3", "2 3", "0 1" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                _cleanup_(secret_freep) struct secret *all = NULL, *active = NULL, *public = NULL;

                expect_int(make_set(rows[i].algorithms, &keyset), 0);
                expect_int(render(keyset, USE_VERIFY, FORMAT_JWKS, false, RENDER_ALL_KINDS, &all), 0);
                expect_string(keys_in(all, keyset), rows[i].all);
                expect(!strstr((const char *) all->data, "\"d\""));
                expect_int(render(keyset, USE_VERIFY, FORMAT_JWKS, false, RENDER_ACTIVE_KIND, &active), 0);
                expect_string(keys_in(active, keyset), rows[i].active);
                expect_int(render(keyset, USE_VERIFY, FORMAT_JWKS, false, RENDER_PUBLIC_KIND, &public), 0);
                expect_string(keys_in(public, keyset), rows[i].public);
                expect(!strstr((const char *) public->data, "\"k\""));
        }
}

TEST(pem_for_verifying_leaves_symmetric_keys_out) {
        static const enum algorithm to_public[] = { ALGORITHM_HS256, ALGORITHM_HS256, ALGORITHM_ES256, ALGORITHM_ES256 };
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        _cleanup_(secret_freep) struct secret *pem = NULL;
        size_t blocks = 0;

        expect_int(make_set(to_public, &keyset), 0);
        expect_int(render(keyset, USE_VERIFY, FORMAT_PEM, true, RENDER_ALL_KINDS, &pem), 0);
        for (const char *at = (const char *) pem->data; (at = strstr(at, "BEGIN PUBLIC")); at++)
                blocks++;
        expect_int(blocks, 2);
}

TEST(public_file_of_a_symmetric_set_has_nothing_in_it) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        struct secret *bytes = NULL;

        expect_int(make_rotation(ALGORITHM_HS256, &keyset), 0);
        expect_int(render(keyset, USE_VERIFY, FORMAT_JWKS, false, RENDER_PUBLIC_KIND, &bytes), -ENOKEY);
        expect(!bytes);
}

TEST(without_an_active_key_there_is_nothing_to_deliver) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        struct secret *bytes = NULL;

        expect_int(keyset_new("production", "billing", &keyset), 0);
        expect_int(render(keyset, USE_SIGN, FORMAT_JWK, false, RENDER_ALL_KINDS, &bytes), -ENOKEY);
        expect_int(render(keyset, USE_VERIFY, FORMAT_JWKS, false, RENDER_ALL_KINDS, &bytes), -ENOKEY);
        expect(!bytes);
}

int main(void) {
        if (jwk_init() < 0) {
                printf("Bail out! OpenSSL was used before jwk_init().\n");
                return EXIT_FAILURE;
        }
        return tap_main();
}
