/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A key set to the exact bytes of one delivery. Pure. May call jwk, base64. */

#include <errno.h>
#include <string.h>

#include "base64.h"
#include "render.h"

static bool is_of_kind(const struct key *key, const struct key *active, enum render_kinds kinds) {
        bool symmetric = algorithm_is_symmetric(jwk_algorithm(key->jwk));

        switch (kinds) {
        case RENDER_ACTIVE_KIND:
                return symmetric == algorithm_is_symmetric(jwk_algorithm(active->jwk));
        case RENDER_PUBLIC_KIND:
                return !symmetric;
        case RENDER_ALL_KINDS:
                break;
        }
        return true;
}

/* The keys that a verifier needs, active one first. Returns their number; jwks has room for n_keys. */
static size_t verifying_keys(const struct keyset *keyset, const struct key *active, enum render_kinds kinds, struct jwk **jwks) {
        size_t n = 0;

        if (is_of_kind(active, active, kinds))
                jwks[n++] = active->jwk;
        for (size_t i = 0; i < keyset->n_keys; i++) {
                const struct key *key = &keyset->keys[i];

                if (key != active && is_of_kind(key, active, kinds))
                        jwks[n++] = key->jwk;
        }
        return n;
}

static int render_pem_blocks(struct jwk *const jwks[], size_t n_jwks, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *all = NULL;
        int r;

        r = secret_new(0, &all);
        for (size_t i = 0; i < n_jwks && r >= 0; i++) {
                _cleanup_(secret_freep) struct secret *block = NULL, *joined = NULL;

                r = jwk_to_pem(jwks[i], false, &block);
                if (r >= 0)
                        r = secret_new(all->size + block->size, &joined);
                if (r < 0)
                        return r;
                memcpy(joined->data, all->data, all->size);
                memcpy(joined->data + all->size, block->data, block->size);
                secret_free(all);
                all = TAKE_PTR(joined);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(all);
        return 0;
}

static size_t only_asymmetric(struct jwk **jwks, size_t n) {
        size_t kept = 0;

        for (size_t i = 0; i < n; i++)
                if (!algorithm_is_symmetric(jwk_algorithm(jwks[i])))
                        jwks[kept++] = jwks[i];
        return kept;
}

/* The formats that carry several keys. */
static int render_set(
                const struct keyset *keyset, const struct key *active, enum use use, enum format format, enum render_kinds kinds,
                struct secret **ret) {
        bool symmetric = algorithm_is_symmetric(jwk_algorithm(active->jwk));
        _cleanup_free_ struct jwk **jwks = calloc(keyset->n_keys, sizeof(*jwks));
        size_t n;

        if (!jwks)
                return -ENOMEM;
        if (use == USE_SIGN && format == FORMAT_PEM)
                return jwk_to_pem(active->jwk, true, ret);
        if (use == USE_SIGN && !symmetric)
                return jwk_set_to_json(&active->jwk, 1, JWK_PRIVATE, ret);

        n = verifying_keys(keyset, active, kinds, jwks);
        if (format == FORMAT_PEM) {
                if (symmetric && kinds != RENDER_PUBLIC_KIND)
                        return -EINVAL;
                return render_pem_blocks(jwks, only_asymmetric(jwks, n), ret);
        }
        return n == 0 ? -ENOKEY : jwk_set_to_json(jwks, n, JWK_VERIFYING, ret);
}

static int render_bytes(const struct jwk *jwk, enum format format, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *raw = NULL;
        int r;

        r = jwk_to_raw(jwk, &raw);
        if (r < 0)
                return r;
        switch (format) {
        case FORMAT_RAW:
                *ret = TAKE_PTR(raw);
                return 0;
        case FORMAT_HEX:
                return hex_encode(raw->data, raw->size, ret);
        case FORMAT_BASE64:
                return base64_encode(raw->data, raw->size, ret);
        case FORMAT_BASE64URL:
                return base64url_encode(raw->data, raw->size, ret);
        default:
                return -EINVAL;
        }
}

/* Text has its final newline exactly where it is wanted; a raw key gets one byte more, whatever its last
 * byte is. */
static int end_with(struct secret *bytes, bool newline, enum format format, struct secret **ret) {
        size_t size = bytes->size;
        int r;

        if (format == FORMAT_PEM && size > 0 && bytes->data[size - 1] == '\n')
                size--;
        r = secret_new(size + (newline ? 1 : 0), ret);
        if (r < 0)
                return r;
        memcpy((*ret)->data, bytes->data, size);
        if (newline)
                (*ret)->data[size] = '\n';
        return 0;
}

int render(const struct keyset *keyset, enum use use, enum format format, bool newline, enum render_kinds kinds, struct secret **ret) {
        const struct key *active = keyset_active(keyset);
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        int r;

        if (!active)
                return -ENOKEY;

        switch (format) {
        case FORMAT_JWK:
                r = jwk_to_json(active->jwk,
                                use == USE_SIGN || algorithm_is_symmetric(jwk_algorithm(active->jwk)),
                                &bytes);
                break;
        case FORMAT_JWKS:
        case FORMAT_PEM:
                r = render_set(keyset, active, use, format, kinds, &bytes);
                break;
        default:
                r = render_bytes(active->jwk, format, &bytes);
        }
        if (r < 0)
                return r;
        return end_with(bytes, newline, format, ret);
}
