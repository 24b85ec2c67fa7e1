/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_RENDER_H
#define KEYROTA_RENDER_H

/* A key set to the exact bytes of one delivery. Pure; may call jwk, base64, lifecycle. */

#include <stdint.h>

#include "keyset.h"
#include "policy.h"
#include "secret.h"

/* The bytes for use, format and final newline, as keys stand at now. -ENOKEY: no key is active; -EINVAL:
 * the format cannot carry the algorithm. sign: the active private or symmetric key. verify: jwks and pem
 * carry every key that verifies, active key first; the other formats the active key. An asymmetric verify
 * rendering never holds a private member. */
int render(const struct keyset *keyset, enum use use, enum format format, bool newline, int64_t now,
           struct secret **ret);

#endif
