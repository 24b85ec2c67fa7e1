/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWE compact serialisation (RFC 7516 section 7.1) with direct encryption under A256GCM (RFC 7518
 * sections 4.5 and 5.3). May call base64, secret, OpenSSL, and jansson to read the header. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base64.h"
#include "store-jwe.h"

#define IV_SIZE 12 /* bytes; RFC 7518 section 5.3 */
#define TAG_SIZE 16
#define IV_TEXT_SIZE 16 /* characters */
#define TAG_TEXT_SIZE 22
#define HEADER_MAX 512 /* bytes of JSON */
#define PLAINTEXT_MAX ((size_t) 1 << 24)

static void cipher_freep(EVP_CIPHER_CTX **context) {
        EVP_CIPHER_CTX_free(*context);
}

/* Every value is of an alphabet that needs no escaping. */
static int header_format(const struct jwe_header *header, struct secret **ret) {
        char json[HEADER_MAX];
        int n;

        if (header->generation == 0 || header->generation > INT64_MAX)
                return -ERANGE;
        n = snprintf(json, sizeof(json),
                     "{\"alg\":\"dir\",\"enc\":\"A256GCM\",\"typ\":\"JOSE\",\"cty\":\"jwk-set+json\","
                     "\"kid\":\"%s\",\"env\":\"%s\",\"name\":\"%s\",\"gen\":%" PRIu64 "}",
                     header->kid, header->environment, header->name, header->generation);
        if (n < 0 || (size_t) n >= sizeof(json))
                return -EINVAL;
        return base64url_encode(json, (size_t) n, ret);
}

static int gcm_encrypt(const struct secret *key, const uint8_t iv[static IV_SIZE], const struct secret *aad,
                       const struct secret *plaintext, uint8_t *ciphertext, uint8_t tag[static TAG_SIZE]) {
        _cleanup_(cipher_freep) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int n, rest;

        if (!context)
                return -ENOMEM;
        if (EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key->data, iv) != 1 ||
            EVP_EncryptUpdate(context, NULL, &n, aad->data, (int) aad->size) != 1 ||
            EVP_EncryptUpdate(context, ciphertext, &n, plaintext->data, (int) plaintext->size) != 1 ||
            EVP_EncryptFinal_ex(context, ciphertext + n, &rest) != 1 ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, tag) != 1)
                return -EIO;
        return 0;
}

int jwe_encrypt(const struct jwe_header *header, const struct secret *key, const struct secret *plaintext,
                struct secret **ret_text) {
        _cleanup_(secret_freep) struct secret *protected = NULL, *ciphertext = NULL, *body = NULL,
                                              *iv_text = NULL, *tag_text = NULL, *text = NULL;
        uint8_t iv[IV_SIZE], tag[TAG_SIZE];
        int r;

        if (key->size != JWE_KEY_SIZE || plaintext->size > PLAINTEXT_MAX)
                return -EINVAL;
        r = header_format(header, &protected);
        if (r < 0)
                return r;
        /* Random and 96 bits: with one key, safe for 2^32 writes (NIST SP 800-38D section 8.3). */
        if (RAND_bytes(iv, sizeof(iv)) != 1)
                return -EIO;
        r = secret_new(plaintext->size, &ciphertext);
        if (r >= 0)
                r = gcm_encrypt(key, iv, protected, plaintext, ciphertext->data, tag);
        if (r >= 0)
                r = base64url_encode(iv, sizeof(iv), &iv_text);
        if (r >= 0)
                r = base64url_encode(ciphertext->data, ciphertext->size, &body);
        if (r >= 0)
                r = base64url_encode(tag, sizeof(tag), &tag_text);
        if (r >= 0)
                r = secret_new(protected->size + 2 + iv_text->size + 1 + body->size + 1 + tag_text->size,
                               &text);
        if (r < 0)
                return r;
        (void) snprintf((char *) text->data, text->size + 1, "%s..%s.%s.%s", (const char *) protected->data,
                        (const char *) iv_text->data, (const char *) body->data,
                        (const char *) tag_text->data);
        *ret_text = TAKE_PTR(text);
        return 0;
}

/* A piece of the text. */
struct span {
        const char *start;
        size_t size;
};

enum { PROTECTED, ENCRYPTED_KEY, IV, CIPHERTEXT, TAG, PART_COUNT };

/* -EBADMSG with the reason; every text that is cut short somewhere is told from one that is otherwise wrong.
 */
static int split(const char *text, size_t size, struct span parts[static PART_COUNT], const char **ret_what) {
        const char *p = text, *stop = text + size;

        if (size == 0) {
                *ret_what = "is empty";
                return -EBADMSG;
        }
        if (memchr(text, '\0', size)) {
                *ret_what = "holds NUL bytes, as a power cut leaves them";
                return -EBADMSG;
        }
        for (size_t i = 0; i < PART_COUNT; i++) {
                const char *dot = memchr(p, '.', (size_t) (stop - p));

                if (!dot != (i == TAG)) {
                        *ret_what = dot ? "is no JWE of keyrota" : "is torn: it ends in the middle";
                        return -EBADMSG;
                }
                parts[i] = (struct span) { p, (size_t) ((dot ? dot : stop) - p) };
                if (dot)
                        p = dot + 1;
        }
        if (parts[TAG].size < TAG_TEXT_SIZE) {
                *ret_what = "is torn: it ends in the middle";
                return -EBADMSG;
        }
        if (parts[PROTECTED].size > HEADER_MAX * 4 / 3 || parts[ENCRYPTED_KEY].size != 0 ||
            parts[IV].size != IV_TEXT_SIZE || parts[TAG].size != TAG_TEXT_SIZE) {
                *ret_what = "is no JWE of keyrota";
                return -EBADMSG;
        }
        return 0;
}

static bool copy_name(char *to, size_t size, const char *from) {
        if (strlen(from) >= size)
                return false;
        strcpy(to, from);
        return true;
}

int jwe_parse(const char *text, size_t size, struct jwe_header *ret, const char **ret_what) {
        _cleanup_(secret_freep) struct secret *decoded = NULL;
        const char *alg, *enc, *typ, *cty, *kid, *environment, *name;
        struct span parts[PART_COUNT];
        struct jwe_header header;
        json_int_t generation;
        json_t *json;
        bool good;
        int r;

        r = split(text, size, parts, ret_what);
        if (r < 0)
                return r;
        *ret_what = "has a header that is not keyrota's";
        r = base64url_decode(parts[PROTECTED].start, parts[PROTECTED].size, &decoded);
        if (r < 0)
                return r;
        json = json_loadb((const char *) decoded->data, decoded->size, JSON_REJECT_DUPLICATES, NULL);
        /* Exactly these members: there is no "crit" or "zip" that could be overlooked. */
        good = json &&
                        json_unpack(json, "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I !}", "alg", &alg, "enc",
                                    &enc, "typ", &typ, "cty", &cty, "kid", &kid, "env", &environment, "name",
                                    &name, "gen", &generation) == 0 &&
                        strcmp(alg, "dir") == 0 && strcmp(enc, "A256GCM") == 0 && strcmp(typ, "JOSE") == 0 &&
                        strcmp(cty, "jwk-set+json") == 0 && generation > 0 &&
                        policy_name_valid(environment) && policy_name_valid(name) &&
                        copy_name(header.kid, sizeof(header.kid), kid) &&
                        copy_name(header.environment, sizeof(header.environment), environment) &&
                        copy_name(header.name, sizeof(header.name), name);
        if (good)
                header.generation = (uint64_t) generation;
        json_decref(json);
        if (!good)
                return -EBADMSG;
        *ret = header;
        return 0;
}

static int gcm_decrypt(const struct secret *key, const struct secret *iv, const struct span *aad,
                       const struct secret *ciphertext, struct secret *tag, uint8_t *plaintext) {
        _cleanup_(cipher_freep) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int n, rest;

        if (!context)
                return -ENOMEM;
        if (EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key->data, iv->data) != 1 ||
            EVP_DecryptUpdate(context, NULL, &n, (const uint8_t *) aad->start, (int) aad->size) != 1 ||
            EVP_DecryptUpdate(context, plaintext, &n, ciphertext->data, (int) ciphertext->size) != 1 ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag->data) != 1)
                return -EIO;
        return EVP_DecryptFinal_ex(context, plaintext + n, &rest) == 1 ? 0 : -EBADMSG;
}

int jwe_decrypt(const char *text, size_t size, const struct secret *key, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *iv = NULL, *ciphertext = NULL, *tag = NULL, *plaintext = NULL;
        struct span parts[PART_COUNT];
        const char *what;
        int r;

        if (key->size != JWE_KEY_SIZE)
                return -EINVAL;
        r = split(text, size, parts, &what);
        if (r >= 0)
                r = base64url_decode(parts[IV].start, parts[IV].size, &iv);
        if (r >= 0)
                r = base64url_decode(parts[CIPHERTEXT].start, parts[CIPHERTEXT].size, &ciphertext);
        if (r >= 0)
                r = base64url_decode(parts[TAG].start, parts[TAG].size, &tag);
        if (r >= 0)
                r = ciphertext->size > PLAINTEXT_MAX ? -EBADMSG : secret_new(ciphertext->size, &plaintext);
        if (r >= 0)
                r = gcm_decrypt(key, iv, &parts[PROTECTED], ciphertext, tag, plaintext->data);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plaintext);
        return 0;
}
