/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keys as JSON: written, read strictly, and hashed for their thumbprint. Reasons for a refusal never quote
 * the input, not even jansson's own words, which do: it may hold a key.
 */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "base64.h"
#include "jwk-internal.h"

#define RSA_EXPONENT_MAX 32 /* bytes; NIST SP 800-56B section 6.4.1 */

#define _cleanup_json_ _cleanup_(json_decrefp)

static int json_to_secret(const json_t *json, size_t flags, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        size_t size = json_dumpb(json, NULL, 0, flags);
        int r;

        if (size == 0)
                return -ENOMEM;
        r = secret_new(size, &text);
        if (r < 0)
                return r;
        if (json_dumpb(json, (char *) text->data, size, flags) != size)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

static int set_string(json_t *object, const char *name, const char *value) {
        return json_object_set_new(object, name, json_string(value)) < 0 ? -ENOMEM : 0;
}

/* kty, crv and the members that hold bytes. */
static int set_members(json_t *object, const struct jwk *jwk, bool with_private) {
        const struct algorithm_info *info = algorithm_info(jwk->algorithm);
        const struct jwk_member *members = jwk_members(info->key_type);
        int r;

        r = set_string(object, "kty", jwk_key_type_name(info->key_type));
        if (r >= 0 && info->curve)
                r = set_string(object, "crv", info->curve);
        for (size_t i = 0; members[i].name && r >= 0; i++) {
                _cleanup_(secret_freep) struct secret *text = NULL;

                if (members[i].is_private && !with_private)
                        continue;
                if (!jwk->members[i])
                        return -EINVAL; /* a public key */
                r = base64url_encode(jwk->members[i]->data, jwk->members[i]->size, &text);
                if (r >= 0)
                        r = set_string(object, members[i].name, (const char *) text->data);
        }
        return r;
}

static int to_object(const struct jwk *jwk, bool with_private, json_t **ret) {
        _cleanup_json_ json_t *object = json_object();
        int r;

        if (!with_private && algorithm_is_symmetric(jwk->algorithm))
                return -EINVAL;
        if (!object)
                return -ENOMEM;
        r = set_members(object, jwk, with_private);
        if (r >= 0)
                r = set_string(object, "kid", jwk->kid);
        if (r >= 0)
                r = set_string(object, "alg", algorithm_info(jwk->algorithm)->name);
        if (r >= 0)
                r = set_string(object, "use", "sig");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(object);
        return 0;
}

int jwk_to_json(const struct jwk *jwk, bool with_private, struct secret **ret) {
        _cleanup_json_ json_t *object = NULL;
        int r;

        r = to_object(jwk, with_private, &object);
        if (r < 0)
                return r;
        return json_to_secret(object, JSON_COMPACT, ret);
}

int jwk_set_to_json(struct jwk *const jwks[], size_t n_jwks, enum jwk_members members, struct secret **ret) {
        _cleanup_json_ json_t *set = json_object();
        json_t *keys = json_array(); /* goes to set */
        int r;

        if (json_object_set_new(set, "keys", keys) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < n_jwks; i++) {
                json_t *object = NULL;

                r = to_object(jwks[i], members == JWK_PRIVATE || algorithm_is_symmetric(jwks[i]->algorithm), &object);
                if (r < 0)
                        return r;
                if (json_array_append_new(keys, object) < 0)
                        return -ENOMEM;
        }
        return json_to_secret(set, JSON_COMPACT, ret);
}

int jwk_thumbprint(const struct jwk *jwk, char ret[static 44]) {
        _cleanup_(secret_freep) struct secret *canonical = NULL, *text = NULL;
        _cleanup_json_ json_t *object = json_object();
        uint8_t hash[32];
        unsigned size = sizeof(hash);
        int r;

        if (!object)
                return -ENOMEM;
        /* The required members, sorted, without white space (RFC 7638 section 3.2; for OKP RFC 8037
         * section 2). */
        r = set_members(object, jwk, algorithm_is_symmetric(jwk->algorithm));
        if (r >= 0)
                r = json_to_secret(object, JSON_COMPACT | JSON_SORT_KEYS, &canonical);
        if (r < 0)
                return r;
        if (EVP_Digest(canonical->data, canonical->size, hash, &size, EVP_sha256(), NULL) != 1)
                return -EIO;
        r = base64url_encode(hash, size, &text);
        if (r < 0)
                return r;
        memcpy(ret, text->data, 44);
        return 0;
}

/* Sets *ret_reason and returns error. */
static _printf_(3, 4) int refuse(int error, char **ret_reason, const char *format, ...) {
        va_list arguments;
        char *reason = NULL;
        int r;

        va_start(arguments, format);
        r = vasprintf(&reason, format, arguments);
        va_end(arguments);
        if (r < 0)
                return -ENOMEM;
        *ret_reason = reason;
        return error;
}

/* *ret: NULL when there is no such member. */
static int get_string(const json_t *object, const char *name, const char **ret, char **ret_reason) {
        const json_t *value = json_object_get(object, name);

        if (value && !json_is_string(value))
                return refuse(-EBADMSG, ret_reason, "\"%s\" is not a string", name);
        *ret = value ? json_string_value(value) : NULL;
        return 0;
}

static int read_key_type(const json_t *object, enum key_type *ret, char **ret_reason) {
        const char *kty = NULL;
        int r;

        r = get_string(object, "kty", &kty, ret_reason);
        if (r < 0)
                return r;
        if (!kty)
                return refuse(-EBADMSG, ret_reason, "\"kty\" is missing");
        for (enum key_type type = KEY_TYPE_OCT; type <= KEY_TYPE_OKP; type++)
                if (strcmp(kty, jwk_key_type_name(type)) == 0) {
                        *ret = type;
                        return 0;
                }
        return refuse(-EOPNOTSUPP, ret_reason, "\"kty\" is none of oct, RSA, EC and OKP");
}

/* May the key sign? RFC 7517 sections 4.2 and 4.3. */
static int read_purpose(const json_t *object, char **ret_reason) {
        const json_t *operations = json_object_get(object, "key_ops"), *operation;
        const char *use = NULL;
        bool signs = !operations;
        size_t i;
        int r;

        r = get_string(object, "use", &use, ret_reason);
        if (r < 0)
                return r;
        if (use && strcmp(use, "sig") != 0)
                return refuse(-EOPNOTSUPP, ret_reason, "\"use\" is not \"sig\"");
        if (operations && !json_is_array(operations))
                return refuse(-EBADMSG, ret_reason, "\"key_ops\" is not an array");
        json_array_foreach(operations, i, operation) {
                if (!json_is_string(operation))
                        return refuse(-EBADMSG, ret_reason,
                                      "\"key_ops\" holds something that is not a string");
                signs = signs || strcmp(json_string_value(operation), "sign") == 0;
        }
        if (!signs)
                return refuse(-EOPNOTSUPP, ret_reason, "\"key_ops\" does not hold \"sign\"");
        return 0;
}

static int read_algorithm(const json_t *object, enum key_type type, int hint, enum algorithm *ret,
                          char **ret_reason) {
        const struct algorithm_info *info;
        const char *alg = NULL, *crv = NULL;
        int algorithm = hint, r;

        r = get_string(object, "alg", &alg, ret_reason);
        if (r < 0)
                return r;
        if (alg) {
                algorithm = algorithm_from_name(alg);
                if (algorithm < 0)
                        return refuse(-EOPNOTSUPP, ret_reason,
                                      "\"alg\" is not a signature algorithm that keyrota knows");
        } else if (algorithm < 0)
                return refuse(-EBADMSG, ret_reason, "\"alg\" is missing");

        info = algorithm_info((enum algorithm) algorithm);
        if (info->key_type != type)
                return refuse(-EBADMSG, ret_reason, "%s wants \"kty\" to be \"%s\", not \"%s\"", info->name,
                              jwk_key_type_name(info->key_type), jwk_key_type_name(type));
        if (info->curve) {
                r = get_string(object, "crv", &crv, ret_reason);
                if (r < 0)
                        return r;
                if (!crv)
                        return refuse(-EBADMSG, ret_reason, "\"crv\" is missing");
                if (strcmp(crv, info->curve) != 0)
                        return refuse(-EBADMSG, ret_reason, "%s wants \"crv\" to be \"%s\"", info->name,
                                      info->curve);
        }
        *ret = (enum algorithm) algorithm;
        return 0;
}

static int read_members(const json_t *object, bool with_private, struct jwk *jwk, char **ret_reason) {
        const struct jwk_member *members = jwk_members(algorithm_info(jwk->algorithm)->key_type);
        int r;

        if (json_object_get(object, "oth"))
                return refuse(-EOPNOTSUPP, ret_reason, "the key has more than two primes (\"oth\")");
        for (size_t i = 0; members[i].name; i++) {
                const json_t *value = json_object_get(object, members[i].name);

                if (members[i].is_private && !with_private) {
                        if (value)
                                return refuse(-EBADMSG, ret_reason, "\"%s\" is there, in what should be a public key",
                                              members[i].name);
                        continue;
                }
                if (!value)
                        return refuse(-EBADMSG, ret_reason, "\"%s\" is missing%s", members[i].name,
                                      members[i].is_private ? "; the whole private key is needed" : "");
                if (!json_is_string(value))
                        return refuse(-EBADMSG, ret_reason, "\"%s\" is not a string", members[i].name);
                r = base64url_decode(json_string_value(value), json_string_length(value), &jwk->members[i]);
                if (r == -EBADMSG)
                        return refuse(r, ret_reason, "\"%s\" is not Base64url without padding",
                                      members[i].name);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* In bits. The caller knows that there is no leading zero byte. */
static unsigned bit_length(const struct secret *number) {
        return (unsigned) (number->size * 8) - (unsigned) (__builtin_clz(number->data[0]) - 24);
}

static int check_rsa_sizes(const struct jwk *jwk, char **ret_reason) {
        const struct jwk_member *members = jwk_members(KEY_TYPE_RSA);
        const struct secret *n = jwk->members[RSA_N], *e = jwk->members[RSA_E];

        for (size_t i = 0; members[i].name; i++)
                if (jwk->members[i] && (jwk->members[i]->size == 0 || jwk->members[i]->data[0] == 0))
                        return refuse(-EBADMSG, ret_reason, "\"%s\" is empty or has leading zeros",
                                      members[i].name);
        if (n->size > INT16_MAX || !algorithm_size_valid(jwk->algorithm, bit_length(n)))
                return refuse(-EBADMSG, ret_reason,
                              "the RSA modulus is not of 2048 to 4096 bits in steps of 256");
        if (e->size > RSA_EXPONENT_MAX || bit_length(e) < 17 || e->data[e->size - 1] % 2 == 0)
                return refuse(-EBADMSG, ret_reason,
                              "the RSA public exponent is even, smaller than 65537 or too large");
        for (size_t i = RSA_D; members[i].name; i++)
                if (jwk->members[i] && jwk->members[i]->size > n->size)
                        return refuse(-EBADMSG, ret_reason, "\"%s\" is larger than the modulus",
                                      members[i].name);
        return 0;
}

int jwk_check_sizes(const struct jwk *jwk, char **ret_reason) {
        const struct algorithm_info *info = algorithm_info(jwk->algorithm);
        const struct jwk_member *members = jwk_members(info->key_type);
        size_t size;

        switch (info->key_type) {
        case KEY_TYPE_RSA:
                return check_rsa_sizes(jwk, ret_reason);
        case KEY_TYPE_OCT:
                size = jwk->members[OCT_K]->size;
                if (size > INT16_MAX || !algorithm_size_valid(jwk->algorithm, (unsigned) size))
                        return refuse(-EBADMSG, ret_reason,
                                      "an %s key has %u to 128 bytes (RFC 7518 section 3.2), this one %zu",
                                      info->name, info->hash_size, size);
                return 0;
        default:
                for (size_t i = 0; members[i].name; i++)
                        if (jwk->members[i] && jwk->members[i]->size != info->coordinate_size)
                                return refuse(-EBADMSG, ret_reason, "\"%s\" is not of %u bytes",
                                              members[i].name, info->coordinate_size);
                return 0;
        }
}

/* A kid goes into lists with commas, log fields and tables. */
bool jwk_kid_valid(const char *kid) {
        size_t length = strlen(kid);

        if (length == 0 || length > JWK_KID_MAX)
                return false;
        for (size_t i = 0; i < length; i++)
                if (kid[i] <= ' ' || kid[i] > '~' || kid[i] == ',')
                        return false;
        return true;
}

static int read_kid(const json_t *object, struct jwk *jwk, char **ret_reason) {
        const json_t *kid = json_object_get(object, "kid");

        if (!kid)
                return jwk_set_default_kid(jwk);
        if (!json_is_string(kid) || !jwk_kid_valid(json_string_value(kid)))
                return refuse(-EBADMSG, ret_reason,
                              "\"kid\" is not 1 to %d printable ASCII characters without space and comma",
                              JWK_KID_MAX);
        memcpy(jwk->kid, json_string_value(kid), json_string_length(kid) + 1);
        return 0;
}

/* What is expected of the members of an asymmetric key. */
enum kind {
        KIND_PRIVATE,        /* all there, and one pair */
        KIND_PRIVATE_STORED, /* the same, and was looked at when it was stored */
        KIND_PUBLIC,
};

static int from_object(const json_t *object, int hint, enum kind kind, struct jwk **ret, char **ret_reason) {
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        enum algorithm algorithm = ALGORITHM_HS256;
        enum key_type type = KEY_TYPE_OCT;
        int r;

        if (!json_is_object(object))
                return refuse(-EBADMSG, ret_reason, "not a JSON object");
        r = read_key_type(object, &type, ret_reason);
        if (r >= 0)
                r = read_purpose(object, ret_reason);
        if (r >= 0)
                r = read_algorithm(object, type, hint, &algorithm, ret_reason);
        if (r >= 0)
                r = jwk_new(algorithm, &jwk);
        if (r >= 0)
                r = read_members(object, kind != KIND_PUBLIC, jwk, ret_reason);
        if (r >= 0)
                r = jwk_check_sizes(jwk, ret_reason);
        if (r < 0)
                return r;

        r = kind == KIND_PRIVATE_STORED ? 0 : jwk_check(jwk, kind == KIND_PRIVATE);
        if (r == -EBADMSG)
                return refuse(r, ret_reason, "the members of the key do not belong together");
        if (r >= 0)
                r = read_kid(object, jwk, ret_reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(jwk);
        return 0;
}

int jwk_from_object(const json_t *object, int algorithm_hint, struct jwk **ret, char **ret_reason) {
        return from_object(object, algorithm_hint, KIND_PRIVATE, ret, ret_reason);
}

int jwk_parse_json(const void *text, size_t size, json_t **ret, char **ret_reason) {
        json_error_t error;
        json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);

        if (!json && json_error_code(&error) == json_error_out_of_memory)
                return -ENOMEM;
        if (!json)
                return refuse(-EBADMSG, ret_reason, "not JSON, or a member twice (line %d, column %d)",
                              error.line, error.column);
        *ret = json;
        return 0;
}

static int one_from_json(const void *json, size_t size, int hint, enum kind kind, struct jwk **ret, char **ret_reason) {
        _cleanup_json_ json_t *object = NULL;
        int r;

        r = jwk_parse_json(json, size, &object, ret_reason);
        return r < 0 ? r : from_object(object, hint, kind, ret, ret_reason);
}

int jwk_from_json(const void *json, size_t size, int algorithm_hint, struct jwk **ret, char **ret_reason) {
        return one_from_json(json, size, algorithm_hint, KIND_PRIVATE, ret, ret_reason);
}

int jwk_from_stored_json(const void *json, size_t size, struct jwk **ret, char **ret_reason) {
        return one_from_json(json, size, -1, KIND_PRIVATE_STORED, ret, ret_reason);
}

static void free_all(struct jwk **jwks, size_t n_jwks) {
        for (size_t i = 0; i < n_jwks; i++)
                jwk_free(jwks[i]);
        free(jwks);
}

static int read_set(const json_t *keys, enum kind kind, struct jwk **jwks, char **ret_reason) {
        const json_t *object;
        size_t i;
        int r;

        json_array_foreach(keys, i, object) {
                _cleanup_free_ char *reason = NULL;

                r = from_object(object, -1, kind, &jwks[i], &reason);
                if (r < 0)
                        return reason ? refuse(r, ret_reason, "key %zu of the set: %s", i + 1, reason) : r;
                for (size_t j = 0; j < i; j++)
                        if (strcmp(jwks[j]->kid, jwks[i]->kid) == 0)
                                return refuse(-EBADMSG, ret_reason,
                                              "keys %zu and %zu of the set have the same \"kid\"", j + 1,
                                              i + 1);
        }
        return 0;
}

static int set_from_json(const void *json, size_t size, enum kind kind, struct jwk ***ret, size_t *ret_n,
                         char **ret_reason) {

        _cleanup_json_ json_t *set = NULL;
        const json_t *keys;
        struct jwk **jwks;
        size_t n;
        int r;

        r = jwk_parse_json(json, size, &set, ret_reason);
        if (r < 0)
                return r;
        keys = json_object_get(set, "keys");
        if (!json_is_array(keys))
                return refuse(-EBADMSG, ret_reason, "not a JWK Set: no array \"keys\"");

        n = json_array_size(keys);
        jwks = calloc(n + 1, sizeof(*jwks));
        if (!jwks)
                return -ENOMEM;
        r = read_set(keys, kind, jwks, ret_reason);
        if (r < 0) {
                free_all(jwks, n);
                return r;
        }
        *ret = jwks;
        *ret_n = n;
        return 0;
}

int jwk_set_from_json(const void *json, size_t size, struct jwk ***ret, size_t *ret_n, char **ret_reason) {
        return set_from_json(json, size, KIND_PRIVATE, ret, ret_n, ret_reason);
}

int jwk_public_set_from_json(const void *json, size_t size, struct jwk ***ret, size_t *ret_n, char **ret_reason) {
        return set_from_json(json, size, KIND_PUBLIC, ret, ret_n, ret_reason);
}
