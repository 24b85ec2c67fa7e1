/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key-encryption key drawn, written and read. May call base64, secret, OpenSSL's private DRBG, and jansson to read what it wrote. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/rand.h>

#include "base64.h"
#include "kek-jwk.h"

#define KEK_SIZE 32     /* bytes, of A256GCM */
#define KEK_KID_SIZE 16 /* random bytes */

void kek_free(struct kek *kek) {
        if (!kek)
                return;
        kek_free(kek->previous);
        secret_free(kek->bytes);
        free(kek);
}

const struct kek *kek_find(const struct kek *kek, const char *kid) {
        while (kek && strcmp(kek->kid, kid) != 0)
                kek = kek->previous;
        return kek;
}

int kek_draw(struct kek **ret) {
        _cleanup_(kek_freep) struct kek *kek = calloc(1, sizeof(*kek));
        _cleanup_(secret_freep) struct secret *kid = NULL;
        uint8_t id[KEK_KID_SIZE];
        int r;

        if (!kek)
                return -ENOMEM;
        r = secret_new(KEK_SIZE, &kek->bytes);
        if (r < 0)
                return r;
        if (RAND_priv_bytes(kek->bytes->data, KEK_SIZE) != 1 || RAND_bytes(id, sizeof(id)) != 1)
                return -EIO;
        r = base64url_encode(id, sizeof(id), &kid);
        if (r < 0)
                return r;
        strcpy(kek->kid, (const char *) kid->data);
        *ret = TAKE_PTR(kek);
        return 0;
}

/* One key. */
static int format_one(const struct kek *kek, struct secret **ret) {
        static const char format[] = "{\"kty\":\"oct\",\"kid\":\"%s\",\"alg\":\"A256GCM\",\"k\":\"%s\"}";
        _cleanup_(secret_freep) struct secret *k = NULL, *text = NULL;
        int r;

        r = base64url_encode(kek->bytes->data, kek->bytes->size, &k);
        if (r >= 0)
                r = secret_new(sizeof(format) + strlen(kek->kid) + k->size, &text);
        if (r < 0)
                return r;
        text->size = (size_t) snprintf((char *) text->data, text->size, format, kek->kid, (const char *) k->data);
        *ret = TAKE_PTR(text);
        return 0;
}

int kek_format(const struct kek *kek, bool with_previous, struct secret **ret) {
        static const char format[] = "{\"keys\":[%s,%s]}";
        _cleanup_(secret_freep) struct secret *one = NULL, *two = NULL, *set = NULL;
        int r;

        if (!with_previous)
                return format_one(kek, ret);
        r = format_one(kek, &one);
        if (r >= 0)
                r = format_one(kek->previous, &two);
        if (r >= 0)
                r = secret_new(sizeof(format) + one->size + two->size, &set);
        if (r < 0)
                return r;
        set->size = (size_t) snprintf((char *) set->data, set->size, format, (const char *) one->data, (const char *) two->data);
        *ret = TAKE_PTR(set);
        return 0;
}

/* Only characters that need no quoting anywhere: the kid goes into headers, names of files and messages. */
static bool kid_valid(const char *kid) {
        size_t n = strlen(kid);

        return n > 0 && n <= JWK_KID_MAX &&
                n == strspn(kid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
}

static int parse_one(json_t *json, struct kek **ret) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        const char *kty, *kid, *alg, *k;
        size_t k_size;
        int r;

        if (json_unpack(json, "{s:s, s:s, s:s, s:s% !}", "kty", &kty, "kid", &kid, "alg", &alg, "k", &k, &k_size) < 0 ||
            strcmp(kty, "oct") != 0 || strcmp(alg, "A256GCM") != 0 || !kid_valid(kid))
                return -EBADMSG;
        kek = calloc(1, sizeof(*kek));
        if (!kek)
                return -ENOMEM;
        r = base64url_decode(k, k_size, &kek->bytes);
        if (r < 0)
                return r;
        if (kek->bytes->size != KEK_SIZE)
                return -EBADMSG;
        strcpy(kek->kid, kid);
        *ret = TAKE_PTR(kek);
        return 0;
}

/* Exactly two: a set of one is not written, and a third could only be a mistake. */
static int parse_set(json_t *json, struct kek **ret) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        json_t *one, *two;
        int r;

        if (json_unpack(json, "{s:[o, o !] !}", "keys", &one, &two) < 0)
                return -EBADMSG;
        r = parse_one(one, &kek);
        if (r >= 0)
                r = parse_one(two, &kek->previous);
        if (r < 0)
                return r;
        if (strcmp(kek->kid, kek->previous->kid) == 0)
                return -EBADMSG;
        *ret = TAKE_PTR(kek);
        return 0;
}

int kek_parse(const struct secret *text, struct kek **ret) {
        json_t *json;
        int r;

        json = json_loadb((const char *) text->data, text->size, JSON_REJECT_DUPLICATES, NULL);
        r = json_object_get(json, "keys") ? parse_set(json, ret) : parse_one(json, ret);
        json_decref(json);
        return r;
}
