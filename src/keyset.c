/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of keys. Pure data; may call jwk. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keyset.h"

static void tombstone_clear(struct tombstone *tombstone) {
        free(tombstone->kid);
        free(tombstone->reason);
}

int keyset_new(const char *environment, const char *name, struct keyset **ret) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;

        keyset = calloc(1, sizeof(*keyset));
        if (!keyset)
                return -ENOMEM;
        keyset->retired = TIME_NEVER;
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
        for (size_t i = 0; i < keyset->n_destroyed; i++)
                tombstone_clear(&keyset->destroyed[i]);
        free(keyset->keys);
        free(keyset->destroyed);
        free(keyset->environment);
        free(keyset->name);
        free(keyset->policy);
        free(keyset->previous);
        free(keyset);
}

int keyset_outline(const struct keyset *keyset, struct keyset **ret) {
        struct keyset *outline;
        int r;

        r = keyset_new(keyset->environment, keyset->name, &outline);
        if (r < 0)
                return r;
        outline->generation = keyset->generation;
        outline->verify_generation = keyset->verify_generation;
        outline->sign_generation = keyset->sign_generation;
        outline->revoke_generation = keyset->revoke_generation;
        outline->retired = keyset->retired;
        outline->clock = keyset->clock;
        *ret = outline;
        return 0;
}

int keyset_add(struct keyset *keyset, struct jwk *jwk, const struct key_times *times) {
        struct key *grown;

        grown = reallocarray(keyset->keys, keyset->n_keys + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        keyset->keys = grown;
        grown[keyset->n_keys++] = (struct key) { .jwk = jwk, .times = *times };
        return 0;
}

static int add_tombstone(struct keyset *keyset, const struct key *key, int64_t when, const char *reason) {
        struct tombstone *grown, tombstone = {
                .kid = strdup(jwk_kid(key->jwk)),
                .algorithm = jwk_algorithm(key->jwk),
                .times = key->times,
                .reason = strdup(reason),
        };

        tombstone.times.destroys = when;
        grown = reallocarray(keyset->destroyed, keyset->n_destroyed + 1, sizeof(*grown));
        if (grown)
                keyset->destroyed = grown;
        if (!grown || !tombstone.kid || !tombstone.reason) {
                tombstone_clear(&tombstone);
                return -ENOMEM;
        }
        grown[keyset->n_destroyed++] = tombstone;
        if (keyset->n_destroyed > KEYSET_TOMBSTONES_MAX) {
                tombstone_clear(&grown[0]);
                memmove(grown, grown + 1, --keyset->n_destroyed * sizeof(*grown));
        }
        return 0;
}

int keyset_destroy(struct keyset *keyset, size_t index, int64_t when, const char *reason) {
        struct key *key = &keyset->keys[index];
        int r;

        r = add_tombstone(keyset, key, when, reason);
        if (r < 0)
                return r;
        jwk_free(key->jwk);
        memmove(key, key + 1, (--keyset->n_keys - index) * sizeof(*key));
        return 0;
}

struct key *keyset_active(const struct keyset *keyset) {
        struct key *active = NULL;

        for (size_t i = 0; i < keyset->n_keys; i++) {
                struct key *key = &keyset->keys[i];

                if (key->times.activates != TIME_NEVER && (!active || key->times.activates >= active->times.activates))
                        active = key;
        }
        return active;
}

struct key *keyset_successor(const struct keyset *keyset) {
        for (size_t i = keyset->n_keys; i > 0; i--)
                if (keyset->keys[i - 1].times.activates == TIME_NEVER)
                        return &keyset->keys[i - 1];
        return NULL;
}

struct key *keyset_previous(const struct keyset *keyset) {
        const struct key *active = keyset_active(keyset);
        struct key *previous = NULL;

        for (size_t i = 0; i < keyset->n_keys; i++) {
                struct key *key = &keyset->keys[i];

                if (key != active && key->times.activates != TIME_NEVER &&
                    (!previous || key->times.activates >= previous->times.activates))
                        previous = key;
        }
        return previous;
}

struct key *keyset_find(const struct keyset *keyset, const char *kid) {
        for (size_t i = 0; i < keyset->n_keys; i++)
                if (strcmp(jwk_kid(keyset->keys[i].jwk), kid) == 0)
                        return &keyset->keys[i];
        return NULL;
}

enum key_state key_state(const struct keyset *keyset, const struct key *key) {
        if (key->times.activates == TIME_NEVER)
                return KEY_PRE_ACTIVATION;
        return key == keyset_active(keyset) ? KEY_ACTIVE : KEY_DEACTIVATED;
}

const char *key_state_to_string(enum key_state state) {
        switch (state) {
        case KEY_PRE_ACTIVATION:
                return "pre-activation";
        case KEY_ACTIVE:
                return "active";
        case KEY_DEACTIVATED:
                return "deactivated";
        }
        return "unknown";
}
