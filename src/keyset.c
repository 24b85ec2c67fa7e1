/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Making, growing and freeing a key set. Calls jwk only to free keys. */

#include <errno.h>
#include <string.h>

#include "keyset.h"

int keyset_new(const char *environment, const char *name, struct keyset **ret) {
        _cleanup_(keyset_freep) struct keyset *keyset = calloc(1, sizeof(*keyset));

        if (!keyset)
                return -ENOMEM;
        keyset->environment = strdup(environment);
        keyset->name = strdup(name);
        if (!keyset->environment || !keyset->name)
                return -ENOMEM;
        *ret = TAKE_PTR(keyset);
        return 0;
}

void keyset_free(struct keyset *keyset) {
        if (!keyset)
                return;
        for (size_t i = 0; i < keyset->n_keys; i++)
                jwk_free(keyset->keys[i].jwk);
        for (size_t i = 0; i < keyset->n_destroyed; i++) {
                free(keyset->destroyed[i].kid);
                free(keyset->destroyed[i].reason);
        }
        free(keyset->keys);
        free(keyset->destroyed);
        free(keyset->policy);
        free(keyset->environment);
        free(keyset->name);
        free(keyset);
}

int keyset_add(struct keyset *keyset, struct jwk *jwk, const struct key_times *times) {
        struct key *keys = reallocarray(keyset->keys, keyset->n_keys + 1, sizeof(*keys));

        if (!keys)
                return -ENOMEM;
        keyset->keys = keys;
        keys[keyset->n_keys++] = (struct key) { .jwk = jwk, .times = *times };
        return 0;
}
