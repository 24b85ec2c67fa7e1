/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads an existing secret: which format it is in, and the text encodings as people keep them, with padding or without, in either case, with a
 * newline. Calls policy (the names of formats), base64 and jwk. */

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base64.h"
#include "import.h"
#include "reason.h"

int import_read(int fd, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *input = NULL;
        size_t size = 0;
        int r;

        r = secret_new(IMPORT_MAX + 1, &input);
        if (r < 0)
                return r;
        while (size < input->size) {
                ssize_t n = read(fd, input->data + size, input->size - size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        if (size > IMPORT_MAX)
                return -EFBIG;
        input->size = size;
        *ret = TAKE_PTR(input);
        return 0;
}

bool import_ends_in_newline(int format, const struct secret *input) {
        return format == FORMAT_RAW && input->size > 0 && input->data[input->size - 1] == '\n';
}

/* The text without the white space at its end. */
static size_t trimmed_size(const struct secret *input) {
        size_t size = input->size;

        while (size > 0 && isspace(input->data[size - 1]))
                size--;
        return size;
}

static bool has_space(const char *text, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (isspace((unsigned char) text[i]))
                        return true;
        return false;
}

static int hex_digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int decode_hex(const char *text, size_t size, struct secret **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        int r;

        for (size_t i = 0; i < size; i++)
                if (hex_digit(text[i]) < 0)
                        return reason_set(-EBADMSG, ret_reason, "not hexadecimal: there is something else than 0-9, a-f and A-F");
        if (size % 2 != 0)
                return reason_set(-EBADMSG, ret_reason, "not hexadecimal: the number of digits is odd");
        r = secret_new(size / 2, &bytes);
        if (r < 0)
                return r;
        for (size_t i = 0; i < bytes->size; i++)
                bytes->data[i] = (uint8_t) (hex_digit(text[i * 2]) << 4 | hex_digit(text[i * 2 + 1]));
        *ret = TAKE_PTR(bytes);
        return 0;
}

static int decode_base64(const char *text, size_t size, enum format format, struct secret **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *unpadded = NULL;
        enum format other = format == FORMAT_BASE64 ? FORMAT_BASE64URL : FORMAT_BASE64;
        const char *foreign = other == FORMAT_BASE64URL ? "-_" : "+/";
        int r;

        r = secret_new_from(text, size, &unpadded);
        if (r < 0)
                return r;
        if (size % 4 == 0)
                for (int i = 0; i < 2 && unpadded->size > 0 && unpadded->data[unpadded->size - 1] == '='; i++)
                        unpadded->size--;
        for (size_t i = 0; i < unpadded->size; i++) {
                if (memchr(foreign, unpadded->data[i], 2))
                        return reason_set(-EBADMSG, ret_reason, "not %s: it has \"%c\" or \"%c\", which belong to %s", format_to_string(format),
                                          foreign[0], foreign[1], format_to_string(other));
                if (unpadded->data[i] == '+')
                        unpadded->data[i] = '-';
                else if (unpadded->data[i] == '/')
                        unpadded->data[i] = '_';
        }
        r = base64url_decode((const char *) unpadded->data, unpadded->size, ret);
        return r == -EBADMSG ? reason_set(r, ret_reason, "not %s, or not all of it", format_to_string(format)) : r;
}

static int decode_text(const char *text, size_t size, enum format format, struct secret **ret, char **ret_reason) {
        if (has_space(text, size))
                return reason_set(-EBADMSG, ret_reason, "white space stands in the middle of the %s; give it as one line", format_to_string(format));
        return format == FORMAT_HEX ? decode_hex(text, size, ret, ret_reason) : decode_base64(text, size, format, ret, ret_reason);
}

/* JSON and PEM begin as nothing else here does. FORMAT_JWK: one of both kinds of JSON. -1: neither. */
static int recognise(const struct secret *input) {
        const char *text = (const char *) input->data, *end = text + input->size;

        while (text < end && isspace((unsigned char) *text))
                text++;
        if (text < end && *text == '{')
                return FORMAT_JWK;
        if ((size_t) (end - text) >= 11 && memcmp(text, "-----BEGIN ", 11) == 0)
                return FORMAT_PEM;
        return -1;
}

static int choose_format(const struct policy *policy, int given, const struct secret *input, enum format *ret, char **ret_reason) {
        const char *algorithm = algorithm_info(policy->algorithm)->name;
        bool symmetric = algorithm_is_symmetric(policy->algorithm);
        int format = given >= 0 ? given : recognise(input);

        if (format < 0 && symmetric)
                return reason_set(-EINVAL, ret_reason,
                                  "neither JSON nor PEM, and the bytes of a symmetric secret do not tell how they are to be read: say --format=hex, "
                                  "--format=base64 or --format=base64url if the text encodes the key, or --format=raw if these bytes are the key");
        if (format < 0)
                return reason_set(-EBADMSG, ret_reason, "neither JSON nor PEM, and an %s key is in one of them", algorithm);
        if (!format_carries((enum format) format, policy->algorithm))
                return reason_set(-EINVAL, ret_reason, "the format is %s, in which there is no key for %s: give %s", format_to_string((enum format) format),
                                  algorithm, symmetric ? "jwk, jwks, raw, hex, base64 or base64url" : "jwk, jwks or pem");
        *ret = (enum format) format;
        return 0;
}

int import_decode(const struct policy *policy, int format, const struct secret *input, const char *kid, struct jwk **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        enum format chosen = FORMAT_RAW;
        size_t size;
        int r;

        if (input->size == 0)
                return reason_set(-EBADMSG, ret_reason, "the input is empty");
        r = choose_format(policy, format, input, &chosen, ret_reason);
        if (r < 0)
                return r;
        size = chosen == FORMAT_RAW ? input->size : trimmed_size(input);
        if (size == 0)
                return reason_set(-EBADMSG, ret_reason, "the input is empty but for white space");

        switch (chosen) {
        case FORMAT_JWK:
                return jwk_import_json(input->data, size, format < 0 ? JWK_DOCUMENT_EITHER : JWK_DOCUMENT_KEY, policy->algorithm, kid, ret,
                                       ret_reason);
        case FORMAT_JWKS:
                return jwk_import_json(input->data, size, JWK_DOCUMENT_SET, policy->algorithm, kid, ret, ret_reason);
        case FORMAT_PEM:
                return jwk_import_pem(input->data, size, policy->algorithm, kid, ret, ret_reason);
        case FORMAT_RAW:
                return jwk_import_raw(input->data, size, policy->algorithm, kid, ret, ret_reason);
        default:
                r = decode_text((const char *) input->data, size, chosen, &bytes, ret_reason);
                return r < 0 ? r : jwk_import_raw(bytes->data, bytes->size, policy->algorithm, kid, ret, ret_reason);
        }
}
