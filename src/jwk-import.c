/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that somebody else made, from JSON or as bytes: which one of a set it is, what it may be for, and the checks that every such key goes
 * through, jwk-pem.c's too. Calls jwk-json.c, jwk-openssl.c and jansson. */

#include <errno.h>
#include <string.h>

#include "jwk-internal.h"
#include "reason.h"

static bool is_private(const json_t *object) {
        return json_object_get(object, "d") || json_object_get(object, "k");
}

/* The only key of a set. */
static int find_in_set(const json_t *set, json_t **ret, char **ret_reason) {
        const json_t *keys = json_object_get(set, "keys"), *object;
        size_t i, n, n_private = 0;

        if (!json_is_array(keys))
                return reason_set(-EBADMSG, ret_reason, "not a JWK Set: no array \"keys\"");
        n = json_array_size(keys);
        json_array_foreach(keys, i, object)
                n_private += is_private(object);
        if (n == 0)
                return reason_set(-EBADMSG, ret_reason, "the JWK Set holds no key");
        if (n > 1)
                return reason_set(-EBADMSG, ret_reason,
                                  "the JWK Set holds %zu keys, %zu of them private or symmetric; give the one that signs now, alone", n, n_private);
        *ret = json_array_get(keys, 0);
        return 0;
}

static int find_key(json_t *json, enum jwk_document document, json_t **ret, char **ret_reason) {
        bool has_keys = json_object_get(json, "keys");

        if (!json_is_object(json))
                return reason_set(-EBADMSG, ret_reason, "not a JSON object");
        if (document == JWK_DOCUMENT_KEY && has_keys)
                return reason_set(-EBADMSG, ret_reason, "a JWK Set, not a JWK");
        if (document == JWK_DOCUMENT_SET || has_keys)
                return find_in_set(json, ret, ret_reason);
        *ret = json;
        return 0;
}

/* What jwk_from_object() does not ask, for what was not made for keyrota. */
static int check_object(const json_t *object, enum algorithm wanted, char **ret_reason) {
        const json_t *operations = json_object_get(object, "key_ops"), *operation;
        const char *alg = json_string_value(json_object_get(object, "alg"));
        const char *kty = json_string_value(json_object_get(object, "kty"));
        int algorithm = alg ? algorithm_from_name(alg) : -1;
        size_t i;

        if (algorithm >= 0 && algorithm != (int) wanted)
                return reason_set(-EBADMSG, ret_reason, "\"alg\" says %s, and the policy says algorithm = %s",
                                  algorithm_info((enum algorithm) algorithm)->name, algorithm_info(wanted)->name);
        if (kty && !is_private(object))
                return reason_set(-EBADMSG, ret_reason, strcmp(kty, "oct") == 0 ? "\"k\" is missing" : "a public key; the private one is needed");
        json_array_foreach(operations, i, operation) {
                const char *name = json_string_value(operation);

                if (name && strcmp(name, "sign") != 0 && strcmp(name, "verify") != 0)
                        return reason_set(-EOPNOTSUPP, ret_reason, "\"key_ops\" allows more than to sign and verify (RFC 7517 section 4.3)");
        }
        return 0;
}

static int check_bytes(const struct secret *bytes, char **ret_reason) {
        for (size_t i = 1; i < bytes->size; i++)
                if (bytes->data[i] != bytes->data[0])
                        return 0;
        return reason_set(-EBADMSG, ret_reason, "all bytes of the key are the same: whoever tries that first can sign");
}

int jwk_adopt(struct jwk *jwk, const char *kid, char **ret_reason) {
        int r;

        if (kid && !jwk_kid_valid(kid))
                return reason_set(-EINVAL, ret_reason, "the kid to give it is not 1 to %d printable ASCII characters without space and comma",
                                  JWK_KID_MAX);
        r = jwk_check_sizes(jwk, ret_reason);
        if (r < 0)
                return r;
        r = algorithm_is_symmetric(jwk->algorithm) ? check_bytes(jwk->members[OCT_K], ret_reason) : jwk_check_thoroughly(jwk);
        if (r == -EBADMSG && !algorithm_is_symmetric(jwk->algorithm))
                return reason_set(r, ret_reason, "the numbers of the key do not belong together");
        if (r < 0)
                return r;
        if (kid)
                memcpy(jwk->kid, kid, strlen(kid) + 1);
        return jwk->kid[0] ? 0 : jwk_set_default_kid(jwk);
}

int jwk_import_json(const void *json, size_t size, enum jwk_document document, enum algorithm algorithm, const char *kid, struct jwk **ret,
                    char **ret_reason) {

        _cleanup_(json_decrefp) json_t *parsed = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        json_t *object = NULL;
        int r;

        r = jwk_parse_json(json, size, &parsed, ret_reason);
        if (r >= 0)
                r = find_key(parsed, document, &object, ret_reason);
        if (r >= 0)
                r = check_object(object, algorithm, ret_reason);
        if (r < 0)
                return r;
        if (kid)
                (void) json_object_del(object, "kid"); /* even one that could not be kept */
        r = jwk_from_object(object, (int) algorithm, &jwk, ret_reason);
        if (r >= 0)
                r = jwk_adopt(jwk, kid, ret_reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(jwk);
        return 0;
}

int jwk_import_raw(const void *bytes, size_t size, enum algorithm algorithm, const char *kid, struct jwk **ret, char **ret_reason) {
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        int r;

        if (!algorithm_is_symmetric(algorithm))
                return -EINVAL;
        r = jwk_new(algorithm, &jwk);
        if (r >= 0)
                r = secret_new_from(bytes, size, &jwk->members[OCT_K]);
        if (r >= 0)
                r = jwk_adopt(jwk, kid, ret_reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(jwk);
        return 0;
}
