/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEYSET_H
#define KEYROTA_KEYSET_H

/* The ordered set of keys under one (environment, name), as store, lifecycle and render share it. Pure
 * data. */

#include <stddef.h>
#include <stdint.h>

#include "algorithm.h"
#include "cleanup.h"
#include "jwk.h"

#define TIME_NEVER INT64_MAX

/* Times are seconds since 1970-01-01 00:00 UTC. TIME_NEVER: not decided yet. */
struct key_times {
        int64_t created;
        int64_t activates;
        int64_t deactivates;
        int64_t destroys;
};

struct key {
        struct jwk *jwk; /* owned */
        struct key_times times;
};

/* What stays of a key that was destroyed. */
struct tombstone {
        char *kid;
        enum algorithm algorithm;
        struct key_times times;
        char *reason;
};

struct keyset {
        char *environment;
        char *name;
        uint64_t generation; /* of the stored file; grows with every commit; 0: never stored */
        char *policy;        /* the last good policy as canonical text (policy_format()), or NULL */
        struct key *keys;    /* oldest first */
        size_t n_keys;
        struct tombstone *destroyed;
        size_t n_destroyed;
};

/* An empty set, generation 0. */
int keyset_new(const char *environment, const char *name, struct keyset **ret);
void keyset_free(struct keyset *keyset);
DEFINE_CLEANUP(struct keyset *, keyset_free);

/* Takes the jwk over on success. */
int keyset_add(struct keyset *keyset, struct jwk *jwk, const struct key_times *times);

#endif
