/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Text encodings of key bytes. May call secret and OpenSSL's Base64 block codec. */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <openssl/evp.h>

#include "base64.h"

#define DATA_MAX ((size_t) INT_MAX / 2) /* the codec counts in int */

int base64_encode(const void *data, size_t size, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        int r;

        if (size > DATA_MAX)
                return -E2BIG;
        r = secret_new((size + 2) / 3 * 4, &text);
        if (r < 0)
                return r;
        (void) EVP_EncodeBlock(text->data, data, (int) size);
        *ret = TAKE_PTR(text);
        return 0;
}

int base64url_encode(const void *data, size_t size, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        int r;

        r = base64_encode(data, size, &text);
        if (r < 0)
                return r;
        while (text->size > 0 && text->data[text->size - 1] == '=')
                text->data[--text->size] = 0;
        for (size_t i = 0; i < text->size; i++)
                if (text->data[i] == '+')
                        text->data[i] = '-';
                else if (text->data[i] == '/')
                        text->data[i] = '_';
        *ret = TAKE_PTR(text);
        return 0;
}

int base64url_decode(const char *text, size_t length, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *padded = NULL, *data = NULL, *again = NULL;
        int r;

        if (length > DATA_MAX || length % 4 == 1)
                return -EBADMSG;
        r = secret_new((length + 3) / 4 * 4, &padded);
        if (r < 0)
                return r;
        memset(padded->data, '=', padded->size);
        for (size_t i = 0; i < length; i++)
                padded->data[i] = (uint8_t) (text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);

        r = secret_new(padded->size / 4 * 3, &data);
        if (r < 0)
                return r;
        if (EVP_DecodeBlock(data->data, padded->data, (int) padded->size) != (int) data->size)
                return -EBADMSG;
        data->size = length / 4 * 3 + (length % 4 ? length % 4 - 1 : 0);
        data->data[data->size] = 0;

        /* The codec skips white space and lets pass '+', '/', padding and stray bits; only one text stands
         * for these bytes. */
        r = base64url_encode(data->data, data->size, &again);
        if (r < 0)
                return r;
        if (again->size != length || (length > 0 && memcmp(again->data, text, length) != 0))
                return -EBADMSG;
        *ret = TAKE_PTR(data);
        return 0;
}

int hex_encode(const void *data, size_t size, struct secret **ret) {
        static const char digits[] = "0123456789abcdef";
        _cleanup_(secret_freep) struct secret *text = NULL;
        const uint8_t *bytes = data;
        int r;

        if (size > DATA_MAX)
                return -E2BIG;
        r = secret_new(size * 2, &text);
        if (r < 0)
                return r;
        for (size_t i = 0; i < size; i++) {
                text->data[i * 2] = (uint8_t) digits[bytes[i] >> 4];
                text->data[i * 2 + 1] = (uint8_t) digits[bytes[i] & 15];
        }
        *ret = TAKE_PTR(text);
        return 0;
}
