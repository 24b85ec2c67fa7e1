/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEK_H
#define KEYROTA_KEK_H

/* The key-encryption key: made once, sealed in PATH_KEK, a JWK in its plaintext. */

#include "jwk.h"
#include "policy.h"
#include "secret.h"
#include "tree.h"

struct kek {
        char kid[JWK_KID_MAX + 1];
        struct secret *bytes; /* 32 */
};

void kek_free(struct kek *kek);
DEFINE_CLEANUP(struct kek *, kek_free);

/* Makes, seals and stores the KEK, durably and without replacing one. -EEXIST: there is one already. */
int kek_create(const struct tree *tree, enum seal_with with, char **ret_reason);

/* From $CREDENTIALS_DIRECTORY/keyrota-kek where the unit has it (host tree only), else by opening PATH_KEK.
 * -ENOENT: no KEK yet. */
int kek_load(const struct tree *tree, struct kek **ret, char **ret_reason);

#endif
