/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A key set to the exact bytes of one delivery. Pure. May call jwk, base64, lifecycle, policy (what a
 * format carries). */

#include <errno.h>
#include <string.h>

#include "base64.h"
#include "lifecycle.h"
#include "render.h"

/* The keys that a verifier needs, active one first. None of the other kind: after a change of algorithm, a
 * set that verifiers share must not hold a symmetric key beside public ones. Returns their number; jwks
 * has room for n_keys. */
static size_t verifying_keys(const struct keyset *keyset, const struct key *active, int64_t now,
                             struct jwk **jwks) {
        bool symmetric = algorithm_is_symmetric(jwk_algorithm(active->jwk));
        size_t n = 0;

        jwks[n++] = active->jwk;
        for (size_t i = 0; i < keyset->n_keys; i++) {
                const struct key *key = &keyset->keys[i];

                if (key != active && key_state_at(keyset, i, now) != KEY_DESTROYED &&
                    algorithm_is_symmetric(jwk_algorithm(key->jwk)) == symmetric)
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

/* The formats that carry several keys. */
static int render_set(const struct keyset *keyset, const struct key *active, enum use use, enum format format,
                      int64_t now, struct secret **ret) {
        bool with_private = use == USE_SIGN || algorithm_is_symmetric(jwk_algorithm(active->jwk));
        _cleanup_free_ struct jwk **jwks = calloc(keyset->n_keys, sizeof(*jwks));
        size_t n = 1;

        if (!jwks)
                return -ENOMEM;
        if (use == USE_SIGN)
                jwks[0] = active->jwk;
        else
                n = verifying_keys(keyset, active, now, jwks);

        if (format == FORMAT_JWKS)
                return jwk_set_to_json(jwks, n, with_private, ret);
        if (use == USE_SIGN)
                return jwk_to_pem(active->jwk, true, ret);
        return render_pem_blocks(jwks, n, ret);
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

int render(const struct keyset *keyset, enum use use, enum format format, bool newline, int64_t now,
           struct secret **ret) {
        const struct key *active = keyset_active(keyset, now);
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
                r = render_set(keyset, active, use, format, now, &bytes);
                break;
        default:
                r = render_bytes(active->jwk, format, &bytes);
        }
        if (r < 0)
                return r;
        return end_with(bytes, newline, format, ret);
}
