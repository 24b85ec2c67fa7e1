/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEYSET_H
#define KEYROTA_KEYSET_H

/*
 * The ordered set of keys under one (environment, name), as store, lifecycle and render share it. Pure data. What is published is a function of the
 * stored set alone: no clock decides which key signs, only a step that was taken and stored (see lifecycle.h).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "algorithm.h"
#include "cleanup.h"
#include "jwk.h"

#define TIME_NEVER INT64_MAX

/* NIST SP 800-57 part 1, section 7. A destroyed or compromised key is no longer in the set but among its tombstones. */
enum key_state { KEY_PRE_ACTIVATION, KEY_ACTIVE, KEY_DEACTIVATED };

/* Times are seconds since 1970-01-01 00:00 UTC. TIME_NEVER: not decided, or not seen to have happened yet. */
struct key_times {
        int64_t created;
        int64_t published;   /* every consumer that holds the verification set has been seen to hold this key */
        int64_t activates;   /* it began to sign; grows from one active key to the next, whatever the clock does */
        int64_t deactivates; /* of the active key: the end of its cryptoperiod; of a deactivated one: when the last signer had left it */
        int64_t destroys;    /* the end of its overlap, decided when the last signer had left it */
        int64_t overlap;     /* seconds: the longest overlap of all policies under which it has signed */
};

struct key {
        struct jwk *jwk; /* owned */
        struct key_times times;
};

/* What stays of a key that was destroyed. */
struct tombstone {
        char *kid;
        enum algorithm algorithm;
        struct key_times times; /* destroys: when it was */
        char *reason;           /* "expired", "compromised"... */
};

/* The clock when the set was last stored. */
struct keyset_clock {
        char boot_id[33];   /* of sd_id128(3)'s form; "": never stored with one */
        int64_t now;        /* CLOCK_REALTIME, seconds */
        int64_t offset;     /* CLOCK_REALTIME - CLOCK_BOOTTIME, seconds: changes only when the clock is set */
        bool synchronized;  /* it was known to be right */
};

struct keyset {
        char *environment;
        char *name;
        uint64_t generation; /* of the stored file; grows with every commit; 0: never stored */
        uint64_t verify_generation; /* that in which the keys that verify last changed */
        uint64_t sign_generation;   /* that in which the active key last changed */
        uint64_t revoke_generation; /* that in which a key was last revoked: who has an older one loaded is told in no window but now */
        char *policy;        /* the last good policy as canonical text (policy_format()), or NULL */
        char *previous;      /* the one before its algorithm was changed, while keys of that algorithm are left; or NULL */
        int64_t caches_until; /* until then verifiers may use sets fetched under an earlier, longer jwks_max_age; 0: no */
        int64_t retired;     /* when its policy was found removed; TIME_NEVER: it has one */
        bool destroy;        /* retired, and to be destroyed when no token can be out any more */
        struct keyset_clock clock;
        struct key *keys;    /* oldest first */
        size_t n_keys;
        struct tombstone *destroyed; /* oldest first, KEYSET_TOMBSTONES_MAX at most */
        size_t n_destroyed;
};

#define KEYSET_TOMBSTONES_MAX 100 /* the oldest are forgotten; the journal has them all */

/* An empty set, generation 0. */
int keyset_new(const char *environment, const char *name, struct keyset **ret);
void keyset_free(struct keyset *keyset);
DEFINE_CLEANUP(struct keyset *, keyset_free);

/* Names, generations, clock, and since when it is retired; no keys. */
int keyset_outline(const struct keyset *keyset, struct keyset **ret);

/* Takes the jwk over on success. */
int keyset_add(struct keyset *keyset, struct jwk *jwk, const struct key_times *times);

/* Wipes the key and leaves a tombstone. when: for its destroys. -ENOMEM leaves the set as it was. */
int keyset_destroy(struct keyset *keyset, size_t index, int64_t when, const char *reason);

/* The key that signs: the one with the latest activation; NULL when none has been activated. */
struct key *keyset_active(const struct keyset *keyset);
/* The newest key that waits for its activation, or NULL. */
struct key *keyset_successor(const struct keyset *keyset);
/* The deactivated key that signed last, or NULL: what a rollback goes back to. */
struct key *keyset_previous(const struct keyset *keyset);
/* NULL: no key of this kid. */
struct key *keyset_find(const struct keyset *keyset, const char *kid);

enum key_state key_state(const struct keyset *keyset, const struct key *key);
const char *key_state_to_string(enum key_state state);

#endif
