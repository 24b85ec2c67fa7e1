/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_RENDER_H
#define KEYROTA_RENDER_H

/* A key set to the exact bytes of one delivery. Pure; may call jwk and base64. */

#include <stdbool.h>

#include "keyset.h"
#include "policy.h"
#include "secret.h"

/* Of which kinds are the keys of a set? They are of two only while a change of algorithm between symmetric and asymmetric goes on. */
enum render_kinds {
        RENDER_ACTIVE_KIND, /* that of the active key */
        RENDER_ALL_KINDS,   /* for a unit's credential: tokens of both kinds are out */
        RENDER_PUBLIC_KIND, /* asymmetric ones, for the public file */
};

/* The bytes for use, format and final newline. -ENOKEY: there is no key for it; -EINVAL: the format cannot carry the active key. sign: the active private
 * or symmetric key; in a JWK Set of a symmetric secret the keys that verify follow it. verify: jwks and pem carry every key of the set, the active one first;
 * the other formats the active key. Asymmetric keys in a verify rendering never have a private member. */
int render(const struct keyset *keyset, enum use use, enum format format, bool newline, enum render_kinds kinds, struct secret **ret);

#endif
