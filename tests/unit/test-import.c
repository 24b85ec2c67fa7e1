/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Secrets as people keep them: every format of every algorithm, and what is refused and with which words. Keys that other software made are
 * tried in jose-interop.sh. */

#include <fcntl.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/wait.h>

#include "base64.h"
#include "import.h"
#include "tap.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define RECOGNISE (-1)

static int decode_as(enum algorithm algorithm, int format, const void *data, size_t size, const char *kid, struct jwk **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *input = NULL;
        const struct policy policy = { .valid = true, .algorithm = algorithm };

        if (secret_new_from(data, size, &input) < 0)
                abort();
        return import_decode(&policy, format, input, kid, ret, ret_reason);
}

static bool is_rsa(enum algorithm algorithm) {
        return algorithm_info(algorithm)->key_type == KEY_TYPE_RSA;
}

/* Under valgrind, to prove the primes of one key takes 10 seconds. */
static bool is_too_slow(enum algorithm algorithm) {
        return RUNNING_ON_VALGRIND && is_rsa(algorithm);
}

/* A key of each algorithm, made once. RSA ones have the same numbers. */
static const struct jwk *example(enum algorithm algorithm) {
        static struct jwk *examples[ALGORITHM_COUNT];
        unsigned size = is_rsa(algorithm) ? 2048 : algorithm_size_default(algorithm);
        _cleanup_(secret_freep) struct secret *pem = NULL;
        char *reason = NULL;

        if (examples[algorithm])
                return examples[algorithm];
        if (is_rsa(algorithm) && algorithm != ALGORITHM_RS256) {
                if (jwk_to_pem(example(ALGORITHM_RS256), true, &pem) < 0 ||
                    decode_as(algorithm, FORMAT_PEM, pem->data, pem->size, NULL, &examples[algorithm], &reason) < 0)
                        abort();
        } else if (jwk_generate(algorithm, size, &examples[algorithm]) < 0)
                abort();
        return examples[algorithm];
}

static int write_as(const struct jwk *jwk, enum format format, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *raw = NULL;
        struct jwk *jwks[] = { (struct jwk *) jwk };
        int r;

        switch (format) {
        case FORMAT_JWK:
                return jwk_to_json(jwk, true, ret);
        case FORMAT_JWKS:
                return jwk_set_to_json(jwks, 1, JWK_PRIVATE, ret);
        case FORMAT_PEM:
                return jwk_to_pem(jwk, true, ret);
        default:
                r = jwk_to_raw(jwk, &raw);
                if (r < 0)
                        return r;
        }
        switch (format) {
        case FORMAT_HEX:
                return hex_encode(raw->data, raw->size, ret);
        case FORMAT_BASE64:
                return base64_encode(raw->data, raw->size, ret);
        case FORMAT_BASE64URL:
                return base64url_encode(raw->data, raw->size, ret);
        default:
                *ret = TAKE_PTR(raw);
                return 0;
        }
}

/* The members that hold bytes, as a string that no other key has. */
static const char *fingerprint(const struct jwk *jwk) {
        static char texts[2][44];
        static unsigned next;
        char *text = texts[next++ % 2];

        return jwk_thumbprint(jwk, text) < 0 ? "no thumbprint" : text;
}

static bool is_same_key(const struct jwk *a, const struct jwk *b) {
        return jwk_algorithm(a) == jwk_algorithm(b) && strcmp(fingerprint(a), fingerprint(b)) == 0;
}

TEST(every_format_of_every_algorithm_comes_back_as_the_same_key) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++)
                for (enum format format = 0; format < FORMAT_COUNT; format++) {
                        _cleanup_(secret_freep) struct secret *text = NULL, *before = NULL, *after = NULL;
                        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                        _cleanup_free_ char *reason = NULL;
                        const struct jwk *original;

                        if (is_too_slow(algorithm) && (algorithm != ALGORITHM_RS256 || format != FORMAT_PEM))
                                continue;
                        original = example(algorithm);
                        if (!format_carries(format, algorithm)) {
                                expect_int(decode_as(algorithm, format, "x", 1, NULL, &jwk, &reason), -EINVAL);
                                expect(strstr(reason, algorithm_is_symmetric(algorithm) ? "give jwk, jwks, raw" : "give jwk, jwks or pem"));
                                continue;
                        }
                        expect_int(write_as(original, format, &text), 0);
                        expect_int(decode_as(algorithm, format, text->data, text->size, jwk_kid(original), &jwk, &reason), 0);
                        expect(!reason);
                        expect_int(jwk_to_json(original, true, &before), 0);
                        expect_int(jwk_to_json(jwk, true, &after), 0);
                        expect(secret_equal(before, after));
                }
}

TEST(json_and_pem_are_recognised_and_bytes_are_not) {
        for (enum algorithm algorithm = 0; algorithm < ALGORITHM_COUNT; algorithm++)
                for (enum format format = 0; format < FORMAT_COUNT; format++) {
                        _cleanup_(secret_freep) struct secret *text = NULL;
                        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                        _cleanup_free_ char *reason = NULL, *spaced = NULL;
                        int r;

                        if (!format_carries(format, algorithm) || (is_rsa(algorithm) && algorithm != ALGORITHM_PS256) || is_too_slow(algorithm))
                                continue;
                        expect_int(write_as(example(algorithm), format, &text), 0);
                        r = asprintf(&spaced, "\n  %s\r\n", (const char *) text->data);
                        expect(r > 0);
                        if (format == FORMAT_RAW) /* one that cannot be taken for text in JSON or PEM */
                                text->data[0] = 0x80;
                        r = decode_as(algorithm, RECOGNISE, text->data, text->size, NULL, &jwk, &reason);
                        if (format <= FORMAT_PEM) {
                                _cleanup_(jwk_freep) struct jwk *again = NULL;

                                expect_int(r, 0);
                                expect(is_same_key(jwk, example(algorithm)));
                                expect_int(decode_as(algorithm, RECOGNISE, spaced, strlen(spaced), NULL, &again, &reason), 0);
                                continue;
                        }
                        expect_int(r, -EINVAL);
                        expect(strstr(reason, "say --format=hex, --format=base64 or --format=base64url"));
                        expect(strstr(reason, "or --format=raw if these bytes are the key"));
                }
}

TEST(text_ends_before_white_space_and_raw_bytes_do_not) {
        static const char *const ends[] = { "\n", "\r\n", "\n\n\n", " \t\r\n", "" };

        for (enum format format = 0; format < FORMAT_COUNT; format++)
                for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
                        enum algorithm algorithm = format == FORMAT_PEM ? ALGORITHM_ES256 : ALGORITHM_HS256;
                        _cleanup_(secret_freep) struct secret *text = NULL, *input = NULL;
                        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                        _cleanup_free_ char *reason = NULL;

                        expect_int(write_as(example(algorithm), format, &text), 0);
                        expect_int(secret_new(text->size + strlen(ends[i]), &input), 0);
                        memcpy(input->data, text->data, text->size);
                        memcpy(input->data + text->size, ends[i], strlen(ends[i]));
                        expect_int(decode_as(algorithm, format, input->data, input->size, NULL, &jwk, &reason), 0);
                        expect_int(is_same_key(jwk, example(algorithm)), format != FORMAT_RAW || ends[i][0] == '\0');
                        expect_int(import_ends_in_newline(format, input), format == FORMAT_RAW && ends[i][0] != '\0');
                        if (format == FORMAT_RAW) {
                                _cleanup_(secret_freep) struct secret *raw = NULL;

                                expect_int(jwk_to_raw(jwk, &raw), 0);
                                expect(secret_equal(raw, input));
                        }
                }
}

static const struct {
        int format;
        const char *text; /* of the bytes 0xfb 0xef 0xff and 30 times 0x01, 33 in all */
} spellings[] = {
        { FORMAT_HEX, "fbefff010101010101010101010101010101010101010101010101010101010101" },
        { FORMAT_HEX, "FBEFFF010101010101010101010101010101010101010101010101010101010101" },
        { FORMAT_HEX, "fbEFfF010101010101010101010101010101010101010101010101010101010101" },
        { FORMAT_BASE64, "++//AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB" },
        { FORMAT_BASE64URL, "--__AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB" },
};

TEST(hex_is_read_in_either_case_and_both_alphabets_of_base64_in_theirs) {
        for (size_t i = 0; i < ELEMENTSOF(spellings); i++) {
                _cleanup_(secret_freep) struct secret *raw = NULL, *hex = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;

                expect_int(decode_as(ALGORITHM_HS256, spellings[i].format, spellings[i].text, strlen(spellings[i].text), NULL, &jwk, &reason), 0);
                expect_int(jwk_to_raw(jwk, &raw), 0);
                expect_int(hex_encode(raw->data, raw->size, &hex), 0);
                expect_string((const char *) hex->data, spellings[0].text);
        }
}

TEST(base64_is_read_with_and_without_padding) {
        static const int formats[] = { FORMAT_BASE64, FORMAT_BASE64URL };
        uint8_t bytes[34];

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t) (0xf8 + i * 7);
        for (size_t i = 0; i < ELEMENTSOF(formats); i++)
                for (size_t size = 32; size <= sizeof(bytes); size++)
                        for (int padded = 0; padded <= 1; padded++) {
                                _cleanup_(secret_freep) struct secret *text = NULL, *raw = NULL;
                                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                                _cleanup_free_ char *reason = NULL;

                                expect_int(base64_encode(bytes, size, &text), 0);
                                for (size_t j = 0; j < text->size; j++)
                                        if (formats[i] == FORMAT_BASE64URL)
                                                text->data[j] = text->data[j] == '+' ? '-' : text->data[j] == '/' ? '_' : text->data[j];
                                while (!padded && text->data[text->size - 1] == '=')
                                        text->size--;
                                expect_int(decode_as(ALGORITHM_HS256, formats[i], text->data, text->size, NULL, &jwk, &reason), 0);
                                expect_int(jwk_to_raw(jwk, &raw), 0);
                                expect(raw->size == size && memcmp(raw->data, bytes, size) == 0);
                        }
}

static struct secret *dump(const json_t *json) {
        struct secret *text = NULL;

        if (secret_new(json_dumpb(json, NULL, 0, 0), &text) < 0 || json_dumpb(json, (char *) text->data, text->size, 0) != text->size)
                abort();
        return text;
}

TEST(kid_is_as_asked_for_else_the_keys_own_else_given) {
        static const enum algorithm algorithms[] = { ALGORITHM_HS256, ALGORITHM_ES256, ALGORITHM_EDDSA, ALGORITHM_RS256 };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                _cleanup_(secret_freep) struct secret *text = NULL;
                json_auto_t *json = NULL;
                char thumbprint[44];

                if (is_too_slow(algorithms[i]))
                        continue;
                expect_int(jwk_to_json(example(algorithms[i]), true, &text), 0);
                expect_int(jwk_thumbprint(example(algorithms[i]), thumbprint), 0);
                json = json_loadb((const char *) text->data, text->size, 0, NULL);

                for (int own = 0; own <= 2; own++)
                        for (int asked = 0; asked <= 1; asked++) {
                                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                                _cleanup_(secret_freep) struct secret *line = NULL;
                                _cleanup_free_ char *reason = NULL;

                                if (own == 0)
                                        json_object_del(json, "kid");
                                else
                                        json_object_set_new(json, "kid", json_string(own == 1 ? "2011-04-29" : "with space"));
                                line = dump(json);
                                expect_int(decode_as(algorithms[i], RECOGNISE, line->data, line->size, asked ? "key:1" : NULL, &jwk, &reason),
                                           own == 2 && !asked ? -EBADMSG : 0);
                                if (own == 2 && !asked) {
                                        expect_string(reason, "\"kid\" is not 1 to 64 printable ASCII characters without space and comma");
                                        continue;
                                }
                                if (asked || own)
                                        expect_string(jwk_kid(jwk), asked ? "key:1" : "2011-04-29");
                                else if (algorithm_is_symmetric(algorithms[i]))
                                        expect(strlen(jwk_kid(jwk)) == 22 && strncmp(jwk_kid(jwk), thumbprint, 22) != 0);
                                else
                                        expect_string(jwk_kid(jwk), thumbprint);
                        }
        }
}

TEST(kid_that_cannot_be_kept_is_not_given) {
        static const char *const kids[] = { "", "a b", "a,b", "\xc3\xa4", "12345678901234567890123456789012345678901234567890123456789012345" };

        for (size_t i = 0; i < ELEMENTSOF(kids); i++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;

                expect(!jwk_kid_valid(kids[i]));
                expect_int(decode_as(ALGORITHM_HS256, FORMAT_HEX, spellings[0].text, strlen(spellings[0].text), kids[i], &jwk, &reason), -EINVAL);
                expect(strstr(reason, "the kid to give it is not 1 to 64 printable"));
        }
        expect(jwk_kid_valid("1234567890123456789012345678901234567890123456789012345678901234"));
}

#define BYTES_31 "0123456789abcdef0123456789abcde"
#define HEX_16 "000102030405060708090a0b0c0d0e0f"
#define HEX_32 HEX_16 "101112131415161718191a1b1c1d1e1f"
#define ONES_16 "1111111111111111"
#define K_32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define OCT "{\"kty\":\"oct\",\"k\":\"" K_32 "\""
#define PEM_OF(label) "-----BEGIN " label "-----\nAAAA\n-----END " label "-----\n"

static const struct {
        enum algorithm algorithm;
        int format;
        const char *text;
        int error;
        const char *reason; /* a part of it */
} refusals[] = {
        { ALGORITHM_HS256, RECOGNISE, "", -EBADMSG, "the input is empty" },
        { ALGORITHM_ES256, FORMAT_PEM, "", -EBADMSG, "the input is empty" },
        { ALGORITHM_HS256, FORMAT_RAW, "", -EBADMSG, "the input is empty" },
        { ALGORITHM_HS256, FORMAT_HEX, "\n", -EBADMSG, "the input is empty but for white space" },
        { ALGORITHM_HS256, FORMAT_JWK, " \r\n", -EBADMSG, "the input is empty but for white space" },
        { ALGORITHM_ES256, RECOGNISE, "\n\n", -EBADMSG, "neither JSON nor PEM, and an ES256 key is in one of them" },
        { ALGORITHM_HS256, RECOGNISE, HEX_32, -EINVAL, "say --format=hex" },
        { ALGORITHM_ES256, RECOGNISE, HEX_32, -EBADMSG, "neither JSON nor PEM" },
        { ALGORITHM_RS256, FORMAT_HEX, HEX_32, -EINVAL, "the format is hex, in which there is no key for RS256: give jwk, jwks or pem" },
        { ALGORITHM_HS256, RECOGNISE, PEM_OF("PRIVATE KEY"), -EINVAL, "the format is pem, in which there is no key for HS256: give jwk, jwks, raw" },

        { ALGORITHM_HS256, FORMAT_RAW, BYTES_31, -EBADMSG, "an HS256 key has 32 to 128 bytes (RFC 7518 section 3.2), this one 31" },
        { ALGORITHM_HS384, FORMAT_RAW, BYTES_31 BYTES_31, 0, NULL },
        { ALGORITHM_HS512, FORMAT_RAW, BYTES_31 BYTES_31, -EBADMSG, "an HS512 key has 64 to 128 bytes (RFC 7518 section 3.2), this one 62" },
        { ALGORITHM_HS256, FORMAT_RAW, BYTES_31 BYTES_31 BYTES_31 BYTES_31 "01234", -EBADMSG, "this one 129" },
        { ALGORITHM_HS256, FORMAT_RAW, BYTES_31 BYTES_31 BYTES_31 BYTES_31 "0123", 0, NULL },
        { ALGORITHM_HS256, FORMAT_HEX, HEX_16, -EBADMSG, "this one 16" },
        { ALGORITHM_HS256, FORMAT_BASE64, "c2VjcmV0", -EBADMSG, "this one 6" },
        { ALGORITHM_HS256, FORMAT_RAW, ONES_16 ONES_16, -EBADMSG, "all bytes of the key are the same" },
        { ALGORITHM_HS256, FORMAT_HEX, ONES_16 ONES_16 ONES_16 ONES_16, -EBADMSG, "all bytes of the key are the same" },
        { ALGORITHM_HS256, FORMAT_JWK, "{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", -EBADMSG, "all bytes of the key are the same" },

        { ALGORITHM_HS256, FORMAT_HEX, HEX_32 "2", -EBADMSG, "not hexadecimal: the number of digits is odd" },
        { ALGORITHM_HS256, FORMAT_HEX, HEX_32 "g0", -EBADMSG, "not hexadecimal: there is something else than 0-9, a-f and A-F" },
        { ALGORITHM_HS256, FORMAT_HEX, "0x" HEX_32, -EBADMSG, "not hexadecimal: there is something else" },
        { ALGORITHM_HS256, FORMAT_HEX, HEX_16 "\n" HEX_16, -EBADMSG, "white space stands in the middle of the hex; give it as one line" },
        { ALGORITHM_HS256, FORMAT_BASE64, "AAECAwQFBgcICQoLDA0ODxAR\nEhMUFRYXGBkaGxwdHh8=", -EBADMSG, "white space stands in the middle of the base64" },
        { ALGORITHM_HS256, FORMAT_BASE64, " " K_32, -EBADMSG, "white space stands in the middle" },
        { ALGORITHM_HS256, FORMAT_BASE64, "--__" K_32, -EBADMSG, "not base64: it has \"-\" or \"_\", which belong to base64url" },
        { ALGORITHM_HS256, FORMAT_BASE64URL, "++//" K_32, -EBADMSG, "not base64url: it has \"+\" or \"/\", which belong to base64" },
        { ALGORITHM_HS256, FORMAT_BASE64, K_32 "==", -EBADMSG, "not base64, or not all of it" },
        { ALGORITHM_HS256, FORMAT_BASE64, "=" K_32, -EBADMSG, "not base64, or not all of it" },
        { ALGORITHM_HS256, FORMAT_BASE64, K_32 "AA", -EBADMSG, "not base64, or not all of it" },
        { ALGORITHM_HS256, FORMAT_BASE64, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9", -EBADMSG, "not base64, or not all of it" }, /* stray bits */
        { ALGORITHM_HS256, FORMAT_BASE64, "====", -EBADMSG, "not base64, or not all of it" },
        { ALGORITHM_HS256, FORMAT_BASE64URL, K_32 "!", -EBADMSG, "not base64url, or not all of it" },

        { ALGORITHM_HS256, FORMAT_JWK, HEX_32, -EBADMSG, "not JSON" },
        { ALGORITHM_HS256, RECOGNISE, OCT, -EBADMSG, "not JSON" },
        { ALGORITHM_HS256, RECOGNISE, OCT "} trailing", -EBADMSG, "not JSON" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"k\":\"" K_32 "\"}", -EBADMSG, "a member twice" },
        { ALGORITHM_HS256, FORMAT_JWK, "[" OCT "}]", -EBADMSG, "not a JSON object" },
        { ALGORITHM_HS256, RECOGNISE, OCT "}", 0, NULL },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"alg\":\"HS256\",\"use\":\"sig\",\"key_ops\":[\"verify\",\"sign\"]}", 0, NULL },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"alg\":\"HS512\"}", -EBADMSG, "\"alg\" says HS512, and the policy says algorithm = HS256" },
        { ALGORITHM_ES256, RECOGNISE, OCT ",\"alg\":\"HS256\"}", -EBADMSG, "\"alg\" says HS256, and the policy says algorithm = ES256" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"alg\":\"A256KW\"}", -EOPNOTSUPP, "\"alg\" is not a signature algorithm that keyrota knows" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"alg\":256}", -EBADMSG, "\"alg\" is not a string" },
        { ALGORITHM_ES256, RECOGNISE, OCT "}", -EBADMSG, "ES256 wants \"kty\" to be \"EC\", not \"oct\"" },
        { ALGORITHM_HS512, RECOGNISE, OCT "}", -EBADMSG, "an HS512 key has 64 to 128 bytes" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"use\":\"enc\"}", -EOPNOTSUPP, "\"use\" is not \"sig\"" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"key_ops\":[\"verify\"]}", -EOPNOTSUPP, "\"key_ops\" does not hold \"sign\"" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"key_ops\":[\"sign\",\"encrypt\"]}", -EOPNOTSUPP, "\"key_ops\" allows more than to sign and verify" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"key_ops\":\"sign\"}", -EBADMSG, "\"key_ops\" is not an array" },
        { ALGORITHM_HS256, RECOGNISE, OCT ",\"kid\":7}", -EBADMSG, "\"kid\" is not 1 to 64" },
        { ALGORITHM_HS256, RECOGNISE, "{\"kty\":\"oct\"}", -EBADMSG, "\"k\" is missing" },
        { ALGORITHM_HS256, RECOGNISE, "{}", -EBADMSG, "\"kty\" is missing" },
        { ALGORITHM_ES256, RECOGNISE, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", -EBADMSG, "a public key; the private one is needed" },
        { ALGORITHM_RS256, RECOGNISE, "{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\",\"d\":\"AQ\"}", -EBADMSG, "\"p\" is missing; the whole private key is needed" },

        { ALGORITHM_HS256, RECOGNISE, "{\"keys\":[" OCT "}]}", 0, NULL },
        { ALGORITHM_HS256, FORMAT_JWKS, "{\"keys\":[" OCT "}]}", 0, NULL },
        { ALGORITHM_HS256, FORMAT_JWK, "{\"keys\":[" OCT "}]}", -EBADMSG, "a JWK Set, not a JWK" },
        { ALGORITHM_HS256, FORMAT_JWKS, OCT "}", -EBADMSG, "not a JWK Set: no array \"keys\"" },
        { ALGORITHM_HS256, RECOGNISE, "{\"keys\":{}}", -EBADMSG, "not a JWK Set: no array \"keys\"" },
        { ALGORITHM_HS256, RECOGNISE, "{\"keys\":[]}", -EBADMSG, "the JWK Set holds no key" },
        { ALGORITHM_HS256, RECOGNISE, "{\"keys\":[7]}", -EBADMSG, "not a JSON object" },
        { ALGORITHM_HS256, RECOGNISE, "{\"keys\":[" OCT "}," OCT "}]}", -EBADMSG, "the JWK Set holds 2 keys, 2 of them private or symmetric; give the one that signs now, alone" },
        { ALGORITHM_ES256, RECOGNISE, "{\"keys\":[{\"kty\":\"EC\",\"d\":\"\"},{\"kty\":\"EC\"},{\"kty\":\"EC\"}]}", -EBADMSG, "holds 3 keys, 1 of them private" },
        { ALGORITHM_ES256, RECOGNISE, "{\"keys\":[{\"kty\":\"EC\"}]}", -EBADMSG, "a public key; the private one is needed" },

        { ALGORITHM_ES256, FORMAT_PEM, "not PEM", -EBADMSG, "not PEM, or something stands before its BEGIN line" },
        { ALGORITHM_ES256, FORMAT_PEM, "Bag Attributes\n" PEM_OF("PRIVATE KEY"), -EBADMSG, "something stands before its BEGIN line" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("PRIVATE KEY"), -EBADMSG, "the PEM block is damaged, or holds a kind of key that OpenSSL does not know" },
        { ALGORITHM_ES256, RECOGNISE, "-----BEGIN PRIVATE KEY-----\nAAAA\n", -EBADMSG, "the END line of the PEM block is missing" },
        { ALGORITHM_ES256, RECOGNISE, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", -EBADMSG, "the END line of the PEM block does not fit its BEGIN line" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("PRIVATE KEY") PEM_OF("PRIVATE KEY"), -EBADMSG, "more than one PEM block; give the private key alone" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("PRIVATE KEY") PEM_OF("CERTIFICATE"), -EBADMSG, "more than one PEM block" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("PRIVATE KEY") "and more", -EBADMSG, "something follows the PEM block" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("EC PARAMETERS") PEM_OF("EC PRIVATE KEY"), -EBADMSG, "a block EC PARAMETERS comes first; leave it out" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("PUBLIC KEY"), -EBADMSG, "a public key; the private one is needed" },
        { ALGORITHM_RS256, RECOGNISE, PEM_OF("RSA PUBLIC KEY"), -EBADMSG, "a public key; the private one is needed" },
        { ALGORITHM_RS256, RECOGNISE, PEM_OF("CERTIFICATE"), -EBADMSG, "a certificate, which holds a public key; the private one is needed" },
        { ALGORITHM_RS256, RECOGNISE, PEM_OF("CERTIFICATE REQUEST"), -EBADMSG, "a certificate request" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("OPENSSH PRIVATE KEY"), -EBADMSG, "a key in OpenSSH's own format; PKCS#8 is needed" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("ENCRYPTED PRIVATE KEY"), -EBADMSG, "the key is encrypted; decrypt it first, with openssl pkey" },
        { ALGORITHM_ES256, RECOGNISE, "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n", -EBADMSG,
          "the key is encrypted; decrypt it first, with openssl pkey" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("PGP PRIVATE KEY BLOCK"), -EBADMSG, "the PEM block is not called PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY" },
        { ALGORITHM_ES256, RECOGNISE, PEM_OF("DSA PRIVATE KEY"), -EBADMSG, "the PEM block is not called" },
};

/* No run of eight letters and digits of the input stands in the reason, unless the words are ours. */
static bool quotes(const char *reason, const char *input) {
        static const char *const ours[] = { "PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE", "EC PARAMETERS", "OPENSSH" };

        for (size_t i = 0; i < ELEMENTSOF(ours); i++)
                if (strstr(input, ours[i]))
                        return false;
        for (size_t i = 0; i + 8 <= strlen(input); i++) {
                char part[9] = "";

                memcpy(part, input + i, 8);
                if (!strpbrk(part, "\" {}[]:,\n") && strstr(reason, part))
                        return true;
        }
        return false;
}

TEST(what_is_no_key_for_the_policy_is_refused_in_clear_words) {
        for (size_t i = 0; i < ELEMENTSOF(refusals); i++) {
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                int r;

                r = decode_as(refusals[i].algorithm, refusals[i].format, refusals[i].text, strlen(refusals[i].text), NULL, &jwk, &reason);
                if (r != refusals[i].error || (r < 0 && (!reason || !strstr(reason, refusals[i].reason)))) {
                        printf("# row %zu: %d, %s, for %s\n", i, r, reason ? reason : "no reason", refusals[i].text);
                        expect_int(r, refusals[i].error);
                        expect(refusals[i].reason ? reason && strstr(reason, refusals[i].reason) : !reason);
                }
                expect(r < 0 ? !jwk && !quotes(reason, refusals[i].text) : jwk && !reason);
        }
}

static void pkey_freep(EVP_PKEY **pkey) {
        EVP_PKEY_free(*pkey);
}

static struct secret *take_bio(BIO *bio) {
        struct secret *text = NULL;
        char *data = NULL;
        long size = BIO_get_mem_data(bio, &data);

        if (size <= 0 || secret_new_from(data, (size_t) size, &text) < 0)
                abort();
        (void) BIO_free(bio);
        return text;
}

static struct secret *to_pkcs8(const EVP_PKEY *pkey, const char *passphrase) {
        BIO *bio = BIO_new(BIO_s_mem());

        if (PEM_write_bio_PKCS8PrivateKey(bio, pkey, passphrase ? EVP_aes_128_cbc() : NULL, passphrase, passphrase ? (int) strlen(passphrase) : 0, NULL, NULL) != 1)
                abort();
        return take_bio(bio);
}

/* SEC1 or PKCS#1. */
static struct secret *to_traditional(EVP_PKEY *pkey, const char *passphrase) {
        BIO *bio = BIO_new(BIO_s_mem());

        if (PEM_write_bio_PrivateKey_traditional(bio, pkey, passphrase ? EVP_aes_128_cbc() : NULL, (const unsigned char *) passphrase,
                                                 passphrase ? (int) strlen(passphrase) : 0, NULL, NULL) != 1)
                abort();
        return take_bio(bio);
}

static EVP_PKEY *read_example(enum algorithm algorithm) {
        _cleanup_(secret_freep) struct secret *pem = NULL;
        EVP_PKEY *pkey;
        BIO *bio;

        if (jwk_to_pem(example(algorithm), true, &pem) < 0)
                abort();
        bio = BIO_new_mem_buf(pem->data, (int) pem->size);
        pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        (void) BIO_free(bio);
        if (!pkey)
                abort();
        return pkey;
}

TEST(pem_is_read_in_its_older_forms_too) {
        for (enum algorithm algorithm = ALGORITHM_PS512; algorithm < ALGORITHM_EDDSA; algorithm++) {
                _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
                _cleanup_(secret_freep) struct secret *text = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;

                if (is_too_slow(algorithm))
                        continue;
                pkey = read_example(algorithm);
                text = to_traditional(pkey, NULL);
                expect(strstr((const char *) text->data, algorithm >= ALGORITHM_ES256 ? "BEGIN EC PRIVATE KEY" : "BEGIN RSA PRIVATE KEY"));
                expect_int(decode_as(algorithm, RECOGNISE, text->data, text->size, NULL, &jwk, &reason), 0);
                expect(is_same_key(jwk, example(algorithm)));
        }
}

TEST(encrypted_pem_is_refused_whatever_it_is_called) {
        static const char wanted[] = "the key is encrypted; decrypt it first";
        _cleanup_(pkey_freep) EVP_PKEY *pkey = read_example(ALGORITHM_ES256);
        _cleanup_(secret_freep) struct secret *pkcs8 = to_pkcs8(pkey, "passphrase"), *sec1 = to_traditional(pkey, "passphrase");
        _cleanup_free_ char *renamed = NULL, *first = NULL, *second = NULL, *third = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        const char *body;
        int n;

        expect_int(decode_as(ALGORITHM_ES256, RECOGNISE, pkcs8->data, pkcs8->size, NULL, &jwk, &first), -EBADMSG);
        expect(strstr(first, wanted));
        expect_int(decode_as(ALGORITHM_ES256, RECOGNISE, sec1->data, sec1->size, NULL, &jwk, &second), -EBADMSG);
        expect(strstr(second, wanted));

        body = strchr((const char *) pkcs8->data, '\n');
        n = asprintf(&renamed, "-----BEGIN PRIVATE KEY-----%.*s-----END PRIVATE KEY-----\n",
                     (int) (strstr(body, "-----END") - body), body);
        expect(n > 0);
        expect_int(decode_as(ALGORITHM_ES256, RECOGNISE, renamed, strlen(renamed), NULL, &jwk, &third), -EBADMSG);
        expect(strstr(third, "the PEM block is damaged"));
        expect_int(ERR_peek_error(), 0); /* nothing for the next caller of OpenSSL to stumble over */
}

static EVP_PKEY *make_explicit_curve(void) {
        EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1");

        if (!pkey || EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING, OSSL_PKEY_EC_ENCODING_EXPLICIT) != 1)
                abort();
        return pkey;
}

static EVP_PKEY *make_rsa(const char *type, size_t primes, unsigned long exponent) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
        BIGNUM *e = BN_new();
        EVP_PKEY *pkey = NULL;

        if (!context || !e || !BN_set_word(e, exponent) || EVP_PKEY_keygen_init(context) != 1 ||
            EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048) != 1 || EVP_PKEY_CTX_set_rsa_keygen_primes(context, (int) primes) != 1 ||
            EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, e) != 1 || EVP_PKEY_generate(context, &pkey) != 1)
                abort();
        EVP_PKEY_CTX_free(context);
        BN_free(e);
        return pkey;
}

static EVP_PKEY *make(const char *type, const char *parameter) {
        EVP_PKEY *pkey;

        if (strcmp(type, "explicit") == 0)
                return make_explicit_curve();
        if (strcmp(type, "multiprime") == 0)
                return make_rsa("RSA", 3, 65537);
        if (strcmp(type, "exponent 3") == 0)
                return make_rsa("RSA", 2, 3);
        if (strcmp(type, "RSA-PSS") == 0)
                return make_rsa("RSA-PSS", 2, 65537);
        pkey = strcmp(type, "EC") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, type, parameter) :
               strcmp(type, "RSA") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, type, (size_t) atoi(parameter)) :
               EVP_PKEY_Q_keygen(NULL, NULL, type);
        if (!pkey)
                abort();
        return pkey;
}

static const struct {
        enum algorithm algorithm;
        const char *type, *parameter;
        const char *reason; /* NULL: good */
} kinds[] = {
        { ALGORITHM_ES256, "EC", "P-256", NULL },
        { ALGORITHM_ES256, "EC", "P-384", "an EC key on the curve P-384; ES256 wants P-256" },
        { ALGORITHM_ES512, "EC", "P-256", "an EC key on the curve P-256; ES512 wants P-521" },
        { ALGORITHM_ES256, "EC", "secp256k1", "an EC key on the curve secp256k1; ES256 wants P-256" },
        { ALGORITHM_ES256, "explicit", NULL, "an EC key on the curve" },
        { ALGORITHM_ES256, "RSA", "2048", "the key is of the type RSA; ES256 wants EC" },
        { ALGORITHM_RS256, "EC", "P-256", "the key is of the type EC; RS256 wants RSA" },
        { ALGORITHM_PS512, "ED25519", NULL, "the key is of the type Ed25519; PS512 wants RSA" },
        { ALGORITHM_EDDSA, "EC", "P-256", "the key is of the type EC; EdDSA wants Ed25519" },
        { ALGORITHM_EDDSA, "ED448", NULL, "the key is of the type Ed448; EdDSA wants Ed25519" },
        { ALGORITHM_EDDSA, "X25519", NULL, "the key is of the type X25519; EdDSA wants Ed25519" },
        { ALGORITHM_RS256, "RSA", "1024", "the RSA modulus is not of 2048 to 4096 bits in steps of 256" },
        { ALGORITHM_RS256, "RSA", "2056", "the RSA modulus is not of 2048 to 4096 bits in steps of 256" },
        { ALGORITHM_PS256, "exponent 3", NULL, "the RSA public exponent is even, smaller than 65537 or too large" },
        { ALGORITHM_RS256, "multiprime", NULL, "the key has more than two primes" },
        { ALGORITHM_RS256, "RSA-PSS", NULL, "the key is of the type RSA-PSS; RS256 wants RSA" },
        { ALGORITHM_PS256, "RSA-PSS", NULL, NULL },
};

TEST(pem_of_the_wrong_kind_is_refused_by_its_name) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
                _cleanup_(secret_freep) struct secret *text = NULL;
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;
                int r;

                if (is_too_slow(kinds[i].algorithm) || (RUNNING_ON_VALGRIND && strcmp(kinds[i].type, "RSA") == 0))
                        continue;
                pkey = make(kinds[i].type, kinds[i].parameter);
                text = to_pkcs8(pkey, NULL);
                r = decode_as(kinds[i].algorithm, RECOGNISE, text->data, text->size, NULL, &jwk, &reason);
                if (kinds[i].reason ? !reason || !strstr(reason, kinds[i].reason) : reason != NULL) {
                        printf("# row %zu: %d, %s\n", i, r, reason ? reason : "no reason");
                        expect(!"the reason is as wanted");
                }
                expect_int(r, !kinds[i].reason ? 0 : strcmp(kinds[i].type, "multiprime") == 0 ? -EOPNOTSUPP : -EBADMSG);
        }
}

/* PEM of a key of which one number was changed. */
static struct secret *spoil_pem(enum algorithm algorithm) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = read_example(algorithm);
        unsigned char *der = NULL;
        char name[] = "PRIVATE KEY";
        BIO *bio = BIO_new(BIO_s_mem());
        int size = i2d_PrivateKey(pkey, &der); /* SEC1 ends in the public point, PKCS#1 in qi */

        if (size <= 0)
                abort();
        der[size - 1] ^= 1;
        (void) snprintf(name, sizeof(name), "PRIVATE KEY");
        if (PEM_write_bio(bio, algorithm == ALGORITHM_RS256 ? "RSA PRIVATE KEY" : "EC PRIVATE KEY", "", der, size) <= 0)
                abort();
        OPENSSL_free(der);
        return take_bio(bio);
}

TEST(key_whose_numbers_are_not_one_pair_is_refused) {
        static const enum algorithm algorithms[] = { ALGORITHM_RS256, ALGORITHM_ES256 };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                _cleanup_(secret_freep) struct secret *text = spoil_pem(algorithms[i]);
                _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                _cleanup_free_ char *reason = NULL;

                expect_int(decode_as(algorithms[i], RECOGNISE, text->data, text->size, NULL, &jwk, &reason), -EBADMSG);
                /* OpenSSL itself reads no point that is not on the curve. */
                expect(strstr(reason, algorithms[i] == ALGORITHM_RS256 ? "the numbers of the key do not belong together" : "the PEM block is damaged"));
        }
}

TEST(jwk_with_the_private_number_of_another_key_is_refused) {
        static const enum algorithm algorithms[] = { ALGORITHM_ES256, ALGORITHM_EDDSA };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                _cleanup_(secret_freep) struct secret *mine = NULL, *others = NULL;
                _cleanup_(jwk_freep) struct jwk *other = NULL, *jwk = NULL;
                _cleanup_(secret_freep) struct secret *line = NULL;
                _cleanup_free_ char *reason = NULL;
                json_auto_t *json = NULL, *foreign = NULL;

                expect_int(jwk_generate(algorithms[i], 0, &other), 0);
                expect_int(jwk_to_json(example(algorithms[i]), true, &mine), 0);
                expect_int(jwk_to_json(other, true, &others), 0);
                json = json_loadb((const char *) mine->data, mine->size, 0, NULL);
                foreign = json_loadb((const char *) others->data, others->size, 0, NULL);
                json_object_set(json, "d", json_object_get(foreign, "d"));
                line = dump(json);
                expect_int(decode_as(algorithms[i], RECOGNISE, line->data, line->size, NULL, &jwk, &reason), -EBADMSG);
                expect_string(reason, "the members of the key do not belong together");
        }
}

static void bn_freep(BIGNUM **bn) {
        BN_free(*bn);
}

static void set_number(json_t *json, const char *name, const BIGNUM *number) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        uint8_t bytes[256];

        if (base64url_encode(bytes, (size_t) BN_bn2bin(number, bytes), &text) < 0)
                abort();
        (void) json_object_set_new(json, name, json_string((const char *) text->data));
}

/* A prime for which 2r - 1 is one too, and 2 is a square modulo that: r * (2r - 1) passes Fermat's test to base 2. */
static const char prime[] = "b0a9ae2d15f7dfb3be0dd86ce5230d001e5cb0708e21cefbeca35c98e5842675efb07e7ff53b5032f6697ca777f47c9fc1901bec7da1f2ec79471e00ac07b5b1";

TEST(rsa_key_with_a_factor_that_is_no_prime_is_refused) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = read_example(ALGORITHM_RS256);
        _cleanup_(bn_freep) BIGNUM *p = NULL, *e = NULL, *r = NULL, *q = BN_new(), *n = BN_new(), *d = BN_new(), *p1 = BN_new(), *q1 = BN_new(), *x = BN_new();
        _cleanup_(secret_freep) struct secret *line = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL, *stored = NULL;
        _cleanup_free_ char *reason = NULL;
        json_auto_t *json = json_pack("{ssssss}", "kty", "RSA", "alg", "RS256", "kid", "weak");
        BN_CTX *context = BN_CTX_new();

        expect(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR1, &p) == 1 && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1);
        expect(BN_hex2bn(&r, prime) == (int) strlen(prime));
        expect(BN_lshift1(q, r) && BN_sub_word(q, 1) && BN_mul(q, q, r, context) && BN_mul(n, p, q, context));
        expect(BN_sub(p1, p, BN_value_one()) && BN_sub(q1, q, BN_value_one()) && BN_mul(x, p1, q1, context) && BN_mod_inverse(d, e, x, context));
        set_number(json, "n", n);
        set_number(json, "e", e);
        set_number(json, "d", d);
        set_number(json, "p", p);
        set_number(json, "q", q);
        expect(BN_mod(x, d, p1, context));
        set_number(json, "dp", x);
        expect(BN_mod(x, d, q1, context));
        set_number(json, "dq", x);
        expect(BN_mod_inverse(x, q, p, context));
        set_number(json, "qi", x);
        BN_CTX_free(context);

        line = dump(json);
        expect_int(jwk_from_json(line->data, line->size, -1, &stored, &reason), 0); /* the quick check is not for foreign keys */
        expect_int(decode_as(ALGORITHM_RS256, RECOGNISE, line->data, line->size, NULL, &jwk, &reason), -EBADMSG);
        expect_string(reason, "the numbers of the key do not belong together");
}

/* Writes size bytes into a pipe from a child, in two goes, and reads them. */
static int read_through_pipe(size_t size, struct secret **ret) {
        int fds[2], r;
        pid_t child;

        if (pipe2(fds, O_CLOEXEC) < 0)
                abort();
        child = fork();
        if (child == 0) {
                for (size_t i = 0; i < size; i++) {
                        uint8_t byte = (uint8_t) (i * 31);

                        if (write(fds[1], &byte, 1) != 1)
                                _exit(1);
                }
                _exit(0);
        }
        (void) close(fds[1]);
        r = import_read(fds[0], ret);
        (void) close(fds[0]);
        (void) waitpid(child, NULL, 0);
        return r;
}

TEST(input_is_read_to_its_end_and_bounded) {
        _cleanup_(secret_freep) struct secret *nothing = NULL, *most = NULL, *more = NULL, *none = NULL;

        expect_int(read_through_pipe(0, &nothing), 0);
        expect_int(nothing->size, 0);
        expect_int(read_through_pipe(IMPORT_MAX, &most), 0);
        expect_int(most->size, IMPORT_MAX);
        for (size_t i = 0; i < most->size; i++)
                expect_int(most->data[i], (uint8_t) (i * 31));
        expect_int(read_through_pipe(IMPORT_MAX + 1, &more), -EFBIG);
        expect(!more);
        expect_int(import_read(-1, &none), -EBADF);
}

TEST(nothing_is_left_behind) {
        size_t before = 0;

        for (unsigned round = 0; round < 3; round++) { /* the first fills OpenSSL's caches */
                if (round == 1)
                        before = secret_bytes_in_use();
                for (size_t i = 0; i < ELEMENTSOF(refusals); i++) {
                        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                        _cleanup_free_ char *reason = NULL;

                        (void) decode_as(refusals[i].algorithm, refusals[i].format, refusals[i].text, strlen(refusals[i].text), NULL, &jwk, &reason);
                }
                for (enum algorithm algorithm = ALGORITHM_PS512; algorithm < ALGORITHM_COUNT; algorithm++) {
                        _cleanup_(secret_freep) struct secret *pem = NULL;
                        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
                        _cleanup_free_ char *reason = NULL;

                        if (is_too_slow(algorithm))
                                continue;
                        expect_int(jwk_to_pem(example(algorithm), true, &pem), 0);
                        expect_int(decode_as(algorithm, RECOGNISE, pem->data, pem->size, NULL, &jwk, &reason), 0);
                }
        }
        expect_int(secret_bytes_in_use(), before);
}

int main(void) {
        if (jwk_init() < 0)
                return EXIT_FAILURE;
        return tap_main();
}
