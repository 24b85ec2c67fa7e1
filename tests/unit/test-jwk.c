/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys of every algorithm, made, written and read back, and what the strict reader refuses and says. */

#include <jansson.h>

#include "base64.h"
#include "jwk.h"
#include "tap.h"

#define NO_HINT (-1)

/* Small RSA keys: the tests make many. */
static unsigned test_size(enum algorithm algorithm) {
        return algorithm_info(algorithm)->key_type == KEY_TYPE_RSA ? 2048 : algorithm_size_default(algorithm);
}

static json_t *make_example(enum algorithm algorithm) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;

        if (jwk_generate(algorithm, test_size(algorithm), &jwk) < 0 || jwk_to_json(jwk, true, &text) < 0)
                abort();
        return json_loadb((const char *) text->data, text->size, 0, NULL);
}

/* A key of each algorithm, made once; the caller may change what it gets. All RSA ones have the same
 * numbers. */
static json_t *example(enum algorithm algorithm) {
        static json_t *examples[ALGORITHM_COUNT];
        bool is_rsa = algorithm_info(algorithm)->key_type == KEY_TYPE_RSA;
        enum algorithm source = is_rsa ? ALGORITHM_RS256 : algorithm;
        json_t *json;

        if (!examples[source])
                examples[source] = make_example(source);
        json = json_copy(examples[source]);
        if (algorithm != source) {
                json_object_set_new(json, "alg", json_string(algorithm_info(algorithm)->name));
                json_object_set_new(json, "kid", json_sprintf("example-%s", algorithm_info(algorithm)->name));
        }
        return json;
}

static int from_json(const json_t *json, int hint, struct jwk **ret, char **ret_reason) {
        size_t size = json_dumpb(json, NULL, 0, JSON_ENCODE_ANY);
        _cleanup_(secret_freep) struct secret *text = NULL;

        if (secret_new(size, &text) < 0 || json_dumpb(json, (char *) text->data, size, JSON_ENCODE_ANY) != size)
                abort();
        return jwk_from_json(text->data, text->size, hint, ret, ret_reason);
}

/* The names of an object's members in their order, with blanks between them. */
static const char *member_names(json_t *object) {
        static char names[256];
        const char *name;
        json_t *value;

        names[0] = 0;
        json_object_foreach(object, name, value) {
                (void) value;
                strcat(strcat(names, names[0] ? " " : ""), name);
        }
        return names;
}

static const struct {
        const char *private, *public;
} wanted_members[] = {
        [KEY_TYPE_OCT] = { "kty k kid alg use", NULL },
        [KEY_TYPE_RSA] = { "kty n e d p q dp dq qi kid alg use", "kty n e kid alg use" },
        [KEY_TYPE_EC] = { "kty crv x y d kid alg use", "kty crv x y kid alg use" },
        [KEY_TYPE_OKP] = { "kty crv x d kid alg use", "kty crv x kid alg use" },
};

TEST(every_algorithm_has_a_key_with_all_its_members) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                const struct algorithm_info *info = algorithm_info(algorithm);
                json_auto_t *private = NULL, *public = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_(secret_freep) struct secret *text = NULL;
                _cleanup_free_ char *reason = NULL;

                private = example(algorithm);
                expect_string(member_names(private), wanted_members[info->key_type].private);
                expect_string(json_string_value(json_object_get(private, "alg")), info->name);
                expect_string(json_string_value(json_object_get(private, "use")), "sig");
                if (info->curve)
                        expect_string(json_string_value(json_object_get(private, "crv")), info->curve);

                expect_int(from_json(private, NO_HINT, &jwk, &reason), 0);
                expect_int(jwk_algorithm(jwk), algorithm);
                expect_string(jwk_kid(jwk), json_string_value(json_object_get(private, "kid")));
                if (!wanted_members[info->key_type].public) {
                        expect_int(jwk_to_json(jwk, false, &text), -EINVAL);
                        continue;
                }
                expect_int(jwk_to_json(jwk, false, &text), 0);
                public = json_loadb((const char *) text->data, text->size, 0, NULL);
                expect_string(member_names(public), wanted_members[info->key_type].public);
        }
}

TEST(key_read_back_is_written_alike) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(secret_freep) struct secret *first = NULL, *second = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL, *again = NULL;
                _cleanup_free_ char *reason = NULL;
                json_auto_t *json = example(algorithm);

                expect_int(from_json(json, NO_HINT, &jwk, &reason), 0);
                expect_int(jwk_to_json(jwk, true, &first), 0);
                expect_int(jwk_from_json(first->data, first->size, NO_HINT, &again, &reason), 0);
                expect_int(jwk_to_json(again, true, &second), 0);
                expect(secret_equal(first, second));
                expect(!strchr((const char *) first->data, ' ') && !strchr((const char *) first->data, '\n'));
        }
}

TEST(kid_is_a_thumbprint_or_for_symmetric_keys_random) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                json_auto_t *json = example(algorithm);
                char thumbprint[44];

                json_object_del(json, "kid");
                expect_int(from_json(json, NO_HINT, &jwk, &reason), 0);
                expect_int(jwk_thumbprint(jwk, thumbprint), 0);
                expect_int(strlen(thumbprint), 43);
                if (algorithm_is_symmetric(algorithm)) {
                        expect_int(strlen(jwk_kid(jwk)), 22);
                        expect(strncmp(jwk_kid(jwk), thumbprint, 22) != 0);
                } else
                        expect_string(jwk_kid(jwk), thumbprint);
        }
}

TEST(no_two_keys_are_alike) {
        static const enum algorithm algorithms[] = { ALGORITHM_HS256, ALGORITHM_ES256, ALGORITHM_EDDSA };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                _cleanup_(jwk_freep) struct jwk *a = NULL, *b = NULL;
                char first[44], second[44];

                expect_int(jwk_generate(algorithms[i], test_size(algorithms[i]), &a), 0);
                expect_int(jwk_generate(algorithms[i], test_size(algorithms[i]), &b), 0);
                expect(strcmp(jwk_kid(a), jwk_kid(b)) != 0);
                expect_int(jwk_thumbprint(a, first), 0);
                expect_int(jwk_thumbprint(b, second), 0);
                expect(strcmp(first, second) != 0);
        }
}

TEST(coordinates_keep_their_leading_zeros) {
        static const struct {
                enum algorithm algorithm;
                size_t length; /* of the text */
                unsigned rounds;
        } rows[] = { { ALGORITHM_ES256, 43, 300 }, { ALGORITHM_ES384, 64, 10 }, { ALGORITHM_ES512, 88, 20 }, { ALGORITHM_EDDSA, 43, 10 } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (unsigned j = 0; j < rows[i].rounds; j++) {
                        static const char *const names[] = { "x", "y", "d" };
                        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                        _cleanup_(secret_freep) struct secret *text = NULL;
                        json_auto_t *json = NULL;

                        expect_int(jwk_generate(rows[i].algorithm, 0, &jwk), 0);
                        expect_int(jwk_to_json(jwk, true, &text), 0);
                        json = json_loadb((const char *) text->data, text->size, 0, NULL);
                        for (size_t k = 0; k < ELEMENTSOF(names); k++)
                                if (json_object_get(json, names[k]))
                                        expect_int(json_string_length(json_object_get(json, names[k])),
                                                   rows[i].length);
                }
}

TEST(sizes_are_as_asked_for_and_within_the_rules) {
        static const struct {
                enum algorithm algorithm;
                unsigned size;
                size_t length; /* of "k" or "n" as text; 0: refused */
        } rows[] = {
                { ALGORITHM_HS256, 32, 43 }, { ALGORITHM_HS256, 128, 171 }, { ALGORITHM_HS256, 31, 0 }, { ALGORITHM_HS256, 129, 0 },
                { ALGORITHM_HS384, 48, 64 }, { ALGORITHM_HS384, 47, 0 }, { ALGORITHM_HS512, 64, 86 }, { ALGORITHM_HS512, 63, 0 },
                { ALGORITHM_PS256, 2304, 384 }, { ALGORITHM_RS256, 1024, 0 },
                { ALGORITHM_RS256, 2049, 0 }, { ALGORITHM_RS256, 4352, 0 }, { ALGORITHM_RS256, 0, 0 },
                { ALGORITHM_ES256, 256, 0 }, { ALGORITHM_EDDSA, 32, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_(secret_freep) struct secret *text = NULL;
                json_auto_t *json = NULL;

                expect_int(jwk_generate(rows[i].algorithm, rows[i].size, &jwk),
                           rows[i].length > 0 ? 0 : -EINVAL);
                if (rows[i].length == 0) {
                        expect(!jwk);
                        continue;
                }
                expect_int(jwk_to_json(jwk, true, &text), 0);
                json = json_loadb((const char *) text->data, text->size, 0, NULL);
                expect_int(json_string_length(json_object_get(json, rows[i].size > 128 ? "n" : "k")),
                           rows[i].length);
        }
}

TEST(pem_is_pkcs8_or_subject_public_key_info) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(secret_freep) struct secret *private = NULL, *public = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                json_auto_t *json = example(algorithm);

                expect_int(from_json(json, NO_HINT, &jwk, &reason), 0);
                if (algorithm_is_symmetric(algorithm)) {
                        expect_int(jwk_to_pem(jwk, true, &private), -EINVAL);
                        expect_int(jwk_to_pem(jwk, false, &public), -EINVAL);
                        continue;
                }
                expect_int(jwk_to_pem(jwk, true, &private), 0);
                expect_int(jwk_to_pem(jwk, false, &public), 0);
                expect(strncmp((const char *) private->data, "-----BEGIN PRIVATE KEY-----\n", 28) == 0);
                expect_string((const char *) private->data + private->size - 26,
                              "-----END PRIVATE KEY-----\n");
                expect(strncmp((const char *) public->data, "-----BEGIN PUBLIC KEY-----\n", 27) == 0);
                expect_string((const char *) public->data + public->size - 25, "-----END PUBLIC KEY-----\n");
        }
}

TEST(only_symmetric_keys_have_raw_bytes) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(secret_freep) struct secret *raw = NULL, *text = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                json_auto_t *json = example(algorithm);

                expect_int(from_json(json, NO_HINT, &jwk, &reason), 0);
                if (!algorithm_is_symmetric(algorithm)) {
                        expect_int(jwk_to_raw(jwk, &raw), -EINVAL);
                        continue;
                }
                expect_int(jwk_to_raw(jwk, &raw), 0);
                expect_int(base64url_encode(raw->data, raw->size, &text), 0);
                expect_string((const char *) text->data, json_string_value(json_object_get(json, "k")));
        }
}

TEST(algorithm_may_come_from_the_caller) {
        _cleanup_(jwk_freep) struct jwk *jwk = NULL, *other = NULL;
        _cleanup_free_ char *reason = NULL, *mismatch = NULL, *missing = NULL;
        json_auto_t *json = example(ALGORITHM_HS256);

        json_object_del(json, "alg");
        expect_int(from_json(json, ALGORITHM_HS256, &jwk, &reason), 0);
        expect_int(jwk_algorithm(jwk), ALGORITHM_HS256);
        expect_int(from_json(json, NO_HINT, &other, &missing), -EBADMSG);
        expect_string(missing, "\"alg\" is missing");
        expect_int(from_json(json, ALGORITHM_ES256, &other, &mismatch), -EBADMSG);
        expect_string(mismatch, "ES256 wants \"kty\" to be \"EC\", not \"oct\"");
}

TEST(unknown_members_are_dropped) {
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *reason = NULL;
        json_auto_t *json = example(ALGORITHM_ES256), *again = NULL;

        json_object_set_new(json, "x5c", json_pack("[s]", "MII"));
        json_object_set_new(json, "created", json_integer(1));
        json_object_set_new(json, "key_ops", json_pack("[ss]", "sign", "verify"));
        json_object_set_new(json, "kid", json_string("2011-04-29=/+ok"));
        json_object_del(json, "use");
        expect_int(from_json(json, NO_HINT, &jwk, &reason), 0);
        expect_int(jwk_to_json(jwk, true, &text), 0);
        again = json_loadb((const char *) text->data, text->size, 0, NULL);
        expect_string(member_names(again), wanted_members[KEY_TYPE_EC].private);
        expect_string(jwk_kid(jwk), "2011-04-29=/+ok");
}

/* Base: the example key of the algorithm with one member replaced (NULL: taken out). */
static const struct {
        enum algorithm base;
        const char *member, *value; /* value is JSON */
        int error;
        const char *reason; /* begins so */
} refusals[] = {
        { ALGORITHM_HS256, "kty", NULL, -EBADMSG, "\"kty\" is missing" },
        { ALGORITHM_HS256, "kty", "1", -EBADMSG, "\"kty\" is not a string" },
        { ALGORITHM_HS256, "kty", "\"OCT\"", -EOPNOTSUPP, "\"kty\" is none of" },
        { ALGORITHM_HS256, "kty", "\"AKP\"", -EOPNOTSUPP, "\"kty\" is none of" },
        { ALGORITHM_HS256, "kty", "\"RSA\"", -EBADMSG, "HS256 wants \"kty\" to be \"oct\"" },
        { ALGORITHM_ES256, "kty", "\"RSA\"", -EBADMSG, "ES256 wants" },
        { ALGORITHM_HS256, "alg", NULL, -EBADMSG, "\"alg\" is missing" },
        { ALGORITHM_HS256, "alg", "null", -EBADMSG, "\"alg\" is not a string" },
        { ALGORITHM_HS256, "alg", "\"none\"", -EOPNOTSUPP, "\"alg\" is not a signature" },
        { ALGORITHM_HS256, "alg", "\"hs256\"", -EOPNOTSUPP, "\"alg\" is not a signature" },
        { ALGORITHM_HS256, "alg", "\"A256GCM\"", -EOPNOTSUPP, "\"alg\" is not a signature" },
        { ALGORITHM_HS256, "alg", "\"HS384\"", -EBADMSG, "an HS384 key has 48 to 128 bytes" },
        { ALGORITHM_HS512, "alg", "\"RS256\"", -EBADMSG, "RS256 wants \"kty\" to be \"RSA\", not \"oct\"" },
        { ALGORITHM_RS256, "alg", "\"HS256\"", -EBADMSG, "HS256 wants" },
        { ALGORITHM_ES256, "alg", "\"ES384\"", -EBADMSG, "ES384 wants \"crv\"" },
        { ALGORITHM_EDDSA, "alg", "\"ES256\"", -EBADMSG, "ES256 wants" },
        { ALGORITHM_ES256, "crv", NULL, -EBADMSG, "\"crv\" is missing" },
        { ALGORITHM_ES256, "crv", "\"P-384\"", -EBADMSG, "ES256 wants \"crv\"" },
        { ALGORITHM_ES256, "crv", "\"secp256k1\"", -EBADMSG, "ES256 wants \"crv\"" },
        { ALGORITHM_ES256, "crv", "[\"P-256\"]", -EBADMSG, "\"crv\" is not a string" },
        { ALGORITHM_EDDSA, "crv", "\"X25519\"", -EBADMSG, "EdDSA wants \"crv\"" },
        { ALGORITHM_EDDSA, "crv", "\"Ed448\"", -EBADMSG, "EdDSA wants \"crv\"" },
        { ALGORITHM_ES256, "use", "\"enc\"", -EOPNOTSUPP, "\"use\" is not" },
        { ALGORITHM_ES256, "use", "7", -EBADMSG, "\"use\" is not a string" },
        { ALGORITHM_ES256, "key_ops", "[\"verify\"]", -EOPNOTSUPP, "\"key_ops\" does not" },
        { ALGORITHM_ES256, "key_ops", "[]", -EOPNOTSUPP, "\"key_ops\" does not" },
        { ALGORITHM_ES256, "key_ops", "\"sign\"", -EBADMSG, "\"key_ops\" is not an array" },
        { ALGORITHM_ES256, "key_ops", "[\"sign\", 1]", -EBADMSG, "\"key_ops\" holds" },
        { ALGORITHM_HS256, "kid", "\"\"", -EBADMSG, "\"kid\" is not" },
        { ALGORITHM_HS256, "kid", "\"a b\"", -EBADMSG, "\"kid\" is not" },
        { ALGORITHM_HS256, "kid", "\"a,b\"", -EBADMSG, "\"kid\" is not" },
        { ALGORITHM_HS256, "kid", "\"a\\nb\"", -EBADMSG, "\"kid\" is not" },
        { ALGORITHM_HS256, "kid", "\"\xc3\xa4\"", -EBADMSG, "\"kid\" is not" },
        { ALGORITHM_HS256, "kid", "5", -EBADMSG, "\"kid\" is not" },
        { ALGORITHM_HS256, "kid", "\"12345678901234567890123456789012345678901234567890123456789012345\"", -EBADMSG, "\"kid\" is not" },
        { ALGORITHM_HS256, "k", NULL, -EBADMSG, "\"k\" is missing" },
        { ALGORITHM_HS256, "k", "\"\"", -EBADMSG, "an HS256 key has 32 to 128 bytes" },
        { ALGORITHM_HS256, "k", "\"AyM1SysPpbyDfgZld3umjw\"", -EBADMSG, "an HS256 key has 32 to 128 bytes" },
        { ALGORITHM_HS256, "k", "\"AyM1SysPpbyDfgZld3umjw==\"", -EBADMSG, "\"k\" is not Base64url" },
        { ALGORITHM_HS256, "k", "\"AyM1+ysP/byDfgZld3umjw\"", -EBADMSG, "\"k\" is not Base64url" },
        { ALGORITHM_ES256, "d", NULL, -EBADMSG, "\"d\" is missing; the whole private key" },
        { ALGORITHM_ES256, "x", NULL, -EBADMSG, "\"x\" is missing" },
        { ALGORITHM_ES256, "x", "true", -EBADMSG, "\"x\" is not a string" },
        { ALGORITHM_ES256, "x", "\"AAAA\"", -EBADMSG, "\"x\" is not of 32 bytes" },
        { ALGORITHM_ES256, "y", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"", -EBADMSG, "\"y\" is not of 32 bytes" },
        { ALGORITHM_ES256, "y", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_ES256, "d", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_ES256, "d", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_ES256, "d", "\"__________________________________________8\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_EDDSA, "d", NULL, -EBADMSG, "\"d\" is missing" },
        { ALGORITHM_EDDSA, "d", "\"AAAA\"", -EBADMSG, "\"d\" is not of 32 bytes" },
        { ALGORITHM_EDDSA, "x", "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_RS256, "d", NULL, -EBADMSG, "\"d\" is missing" },
        { ALGORITHM_RS256, "p", NULL, -EBADMSG, "\"p\" is missing" },
        { ALGORITHM_RS256, "qi", NULL, -EBADMSG, "\"qi\" is missing" },
        { ALGORITHM_RS256, "oth", "[]", -EOPNOTSUPP, "the key has more than two primes" },
        { ALGORITHM_RS256, "e", "\"AQAC\"", -EBADMSG, "the RSA public exponent" },
        { ALGORITHM_RS256, "e", "\"Aw\"", -EBADMSG, "the RSA public exponent" },
        { ALGORITHM_RS256, "e", "\"AQ\"", -EBADMSG, "the RSA public exponent" },
        { ALGORITHM_RS256, "e", "\"AAEAAQ\"", -EBADMSG, "\"e\" is empty or has leading zeros" },
        { ALGORITHM_RS256, "e", "\"\"", -EBADMSG, "\"e\" is empty" },
        { ALGORITHM_RS256, "e", "\"AQAD\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_RS256, "n", "\"AQAB\"", -EBADMSG, "the RSA modulus" },
        { ALGORITHM_RS256, "d", "\"AQAB\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_RS256, "p", "\"AQAB\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_RS256, "q", "\"AQ\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_RS256, "dp", "\"AQAB\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_RS256, "dq", "\"AQAB\"", -EBADMSG, "the members of the key do not belong" },
        { ALGORITHM_RS256, "qi", "\"AQAB\"", -EBADMSG, "the members of the key do not belong" },
};

/* Does text quote a member that holds key bytes? */
static bool quotes_key(const char *text, const json_t *key) {
        static const char *const names[] = { "k", "d", "p", "q", "dp", "dq", "qi", "x", "y", "n" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const char *value = json_string_value(json_object_get(key, names[i]));

                for (size_t at = 0; value && at + 6 <= strlen(value); at++) {
                        char piece[7];

                        memcpy(piece, value + at, 6);
                        piece[6] = 0;
                        if (strstr(text, piece))
                                return true;
                }
        }
        return false;
}

TEST(near_misses_are_refused_for_the_right_reason) {
        for (size_t i = 0; i < ELEMENTSOF(refusals); i++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                json_auto_t *json = example(refusals[i].base);
                int r;

                if (refusals[i].value)
                        json_object_set_new(json, refusals[i].member, json_loads(refusals[i].value, JSON_DECODE_ANY, NULL));
                else
                        json_object_del(json, refusals[i].member);
                r = from_json(json, NO_HINT, &jwk, &reason);
                if (r != refusals[i].error || !reason ||
                    strncmp(reason, refusals[i].reason, strlen(refusals[i].reason)) != 0)
                        printf("# %s, \"%s\": %s: %d, %s\n", algorithm_info(refusals[i].base)->name,
                               refusals[i].member, refusals[i].value ? refusals[i].value : "taken out", r,
                               reason ? reason : "no reason");
                expect_int(r, refusals[i].error);
                expect(!jwk && reason);
                expect(strncmp(reason, refusals[i].reason, strlen(refusals[i].reason)) == 0);
                expect(!quotes_key(reason, json));
        }
}

/* Numbers of another good key in place of its own. */
TEST(members_of_two_keys_do_not_mix) {
        static const enum algorithm algorithms[] = { ALGORITHM_RS256, ALGORITHM_ES256, ALGORITHM_ES384, ALGORITHM_ES512, ALGORITHM_EDDSA };
        static const char *const names[] = { "n", "d", "p", "q", "dp", "dq", "qi", "x", "y" };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                _cleanup_(jwk_freep) struct jwk *other = NULL;
                _cleanup_(secret_freep) struct secret *text = NULL;
                json_auto_t *donor = NULL;

                expect_int(jwk_generate(algorithms[i], test_size(algorithms[i]), &other), 0);
                expect_int(jwk_to_json(other, true, &text), 0);
                donor = json_loadb((const char *) text->data, text->size, 0, NULL);
                for (size_t j = 0; j < ELEMENTSOF(names); j++) {
                        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                        _cleanup_free_ char *reason = NULL;
                        json_auto_t *json = example(algorithms[i]);

                        if (!json_object_get(json, names[j]))
                                continue;
                        json_object_set(json, names[j], json_object_get(donor, names[j]));
                        expect_int(from_json(json, NO_HINT, &jwk, &reason), -EBADMSG);
                        expect_string(reason, "the members of the key do not belong together");
                }
        }
}

TEST(what_is_not_one_json_object_is_refused) {
        static const char *const texts[] = {
                "", "null", "[]", "\"text\"", "{", "{}{}", "{\"kty\":\"oct\"} x", "{\"kty\":\"oct\",\"kty\":\"oct\"}",
                "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AyMSysPpbyDfgZldumjqzKObwVMkoqQEstJQLr\" \"x\"}",
                "{\"k\":AyMSysPpbyDfgZldumjqzKObwVMkoqQEstJQLr}", "{\"kty\":\"oct\\u0000\"}", "{\"kty\":\"\xff\"}",
                "{\"kty\":\"oct\",\"k\":\"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE\",\"k\":\"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;

                expect_int(jwk_from_json(texts[i], strlen(texts[i]), ALGORITHM_HS256, &jwk, &reason),
                           -EBADMSG);
                expect(!jwk && reason);
                expect(!strstr(reason, "AyMS"));
        }
}

TEST(a_set_comes_back_in_its_order) {
        struct jwk *jwks[ALGORITHM_COUNT], **again = NULL;
        _cleanup_(secret_freep) struct secret *text = NULL, *second = NULL;
        _cleanup_free_ char *reason = NULL;
        size_t n = 0;

        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                json_auto_t *json = example(algorithm);

                expect_int(from_json(json, NO_HINT, &jwks[algorithm], &reason), 0);
        }
        expect_int(jwk_set_to_json(jwks, ALGORITHM_COUNT, JWK_PRIVATE, &text), 0);
        expect_int(jwk_set_from_json(text->data, text->size, &again, &n, &reason), 0);
        expect_int(n, ALGORITHM_COUNT);
        expect_int(jwk_set_to_json(again, n, JWK_PRIVATE, &second), 0);
        expect(secret_equal(text, second));
        for (size_t i = 0; i < n; i++)
                jwk_free(again[i]);
        free(again);

        secret_free(TAKE_PTR(second));
        expect_int(jwk_set_to_json(jwks, ALGORITHM_COUNT, JWK_VERIFYING, &second), 0);
        expect(!strstr((const char *) second->data, "\"d\"") && strstr((const char *) second->data, "\"k\""));
        secret_free(TAKE_PTR(second));
        expect_int(jwk_set_to_json(jwks + ALGORITHM_RS256, ALGORITHM_COUNT - ALGORITHM_RS256, JWK_VERIFYING, &second),
                   0);
        expect(!strstr((const char *) second->data, "\"d\"") &&
               !strstr((const char *) second->data, "\"k\""));
        for (size_t i = 0; i < ALGORITHM_COUNT; i++)
                jwk_free(jwks[i]);
}

TEST(a_bad_set_is_refused_whole) {
        static const struct {
                const char *text, *reason;
        } rows[] = {
                { "{}", "not a JWK Set" },
                { "{\"keys\":{}}", "not a JWK Set" },
                { "[]", "not a JWK Set" },
                { "{\"keys\":[1]}", "key 1 of the set: not a JSON object" },
                { "{\"keys\":[],\"keys\":[]}", "not JSON, or a member twice" },
                { "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE\",\"kid\":\"a\"},"
                  "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"-xbuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE\",\"kid\":\"a\"}]}",
                  "keys 1 and 2 of the set have the same \"kid\"" },
                { "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE\"},{\"kty\":\"oct\"}]}",
                  "key 2 of the set: \"alg\" is missing" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *reason = NULL;
                struct jwk **jwks = NULL;
                size_t n = 0;

                expect_int(jwk_set_from_json(rows[i].text, strlen(rows[i].text), &jwks, &n, &reason),
                           -EBADMSG);
                expect(!jwks && reason);
                if (strncmp(reason, rows[i].reason, strlen(rows[i].reason)) != 0)
                        expect_string(reason, rows[i].reason);
        }
}

struct job {
        enum algorithm algorithm;
        unsigned n_keys;
        int result;
};

static void generate_in_thread(void *userdata) {
        struct job *job = userdata;

        for (unsigned i = 0; i < job->n_keys && job->result >= 0; i++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;

                job->result = jwk_generate(job->algorithm, test_size(job->algorithm), &jwk);
        }
}

TEST(keys_can_be_made_in_threads) {
        struct job jobs[] = { { ALGORITHM_RS256, 1, 0 }, { ALGORITHM_ES512, 20, 0 }, { ALGORITHM_HS256, 200, 0 } };
        struct secret_thread *threads[ELEMENTSOF(jobs)] = { NULL };

        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                expect_int(secret_thread_start(generate_in_thread, &jobs[i], &threads[i]), 0);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                secret_thread_join(threads[i]);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                expect_int(jobs[i].result, 0);
}

static void use_every_kind(void) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(secret_freep) struct secret *pem = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL, *bad = NULL;
                _cleanup_free_ char *reason = NULL, *why = NULL;
                json_auto_t *json = example(algorithm);

                if (from_json(json, NO_HINT, &jwk, &reason) == 0)
                        (void) jwk_to_pem(jwk, true, &pem);
                json_object_set_new(json, "d", json_string("AQAB"));
                (void) from_json(json, NO_HINT, &bad, &why);
        }
}

/* What OpenSSL keeps for itself it has taken by the second round. */
TEST(keys_used_and_refused_leave_no_memory_behind) {
        size_t before;

        use_every_kind();
        before = secret_bytes_in_use();
        use_every_kind();
        expect_int(secret_bytes_in_use(), before);
        printf("# %zu bytes of locked memory in all\n", secret_bytes_locked());
        expect(secret_bytes_locked() < 2 * 1024 * 1024);
}

TEST(public_set_reads_back_and_has_nothing_private_to_give) {
        static const enum algorithm algorithms[] = { ALGORITHM_RS256, ALGORITHM_ES512, ALGORITHM_EDDSA };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_(secret_freep) struct secret *set = NULL, *private = NULL, *again = NULL, *none = NULL;
                _cleanup_free_ struct jwk **jwks = NULL, **refused = NULL;
                _cleanup_free_ char *reason = NULL;
                size_t n = 0;

                expect_int(jwk_generate(algorithms[i], algorithm_size_default(algorithms[i]) ? 2048 : 0, &jwk), 0);
                expect_int(jwk_set_to_json(&jwk, 1, JWK_VERIFYING, &set), 0);
                expect_int(jwk_public_set_from_json(set->data, set->size, &jwks, &n, &reason), 0);
                expect_int(n, 1);
                expect_int(jwk_set_to_json(jwks, 1, JWK_VERIFYING, &again), 0);
                expect(secret_equal(set, again));
                expect_int(jwk_to_json(jwks[0], true, &none), -EINVAL);
                expect_int(jwk_to_pem(jwks[0], true, &none), -EINVAL);
                expect_int(jwk_to_pem(jwks[0], false, &none), 0);
                jwk_free(jwks[0]);

                expect_int(jwk_set_to_json(&jwk, 1, JWK_PRIVATE, &private), 0);
                expect_int(jwk_public_set_from_json(private->data, private->size, &refused, &n, &reason), -EBADMSG);
        }
}

TEST(stored_key_reads_back_as_it_was_written) {
        for (unsigned algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL, *stored = NULL, *none = NULL;
                _cleanup_(secret_freep) struct secret *text = NULL, *again = NULL;
                _cleanup_free_ char *reason = NULL;
                unsigned size = algorithm_size_default((enum algorithm) algorithm);

                expect_int(jwk_generate((enum algorithm) algorithm, size > 2048 ? 2048 : size, &jwk), 0);
                expect_int(jwk_to_json(jwk, true, &text), 0);
                expect_int(jwk_from_stored_json(text->data, text->size, &stored, &reason), 0);
                expect_int(jwk_to_json(stored, true, &again), 0);
                expect(secret_equal(text, again));
                expect_int(jwk_from_stored_json(text->data, text->size - 1, &none, &reason), -EBADMSG);
        }
}

int main(void) {
        if (jwk_init() < 0) {
                printf("Bail out! OpenSSL was used before jwk_init().\n");
                return EXIT_FAILURE;
        }
        return tap_main();
}
