/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_LIFECYCLE_H
#define KEYROTA_LIFECYCLE_H

/*
 * What is due, and what comes next. Pure: the clock, chance and what is known of the consumers are arguments. A rotation takes
 * these steps; each is stored, and then published, before the next may be taken:
 *
 *   create       a successor is made prepublish before the end of the active key's cryptoperiod (pre-activation)
 *   published    every running consumer that holds the verification set has loaded it
 *   activate     prepublish after that, and at the end of the cryptoperiod: it signs, its predecessor only verifies
 *   deactivated  every running signer has loaded the new key: the predecessor's overlap begins
 *   destroy      at the end of the overlap: it is gone from the set, only a tombstone stays
 *
 * Where nobody has to know a key beforehand (policy_prepublishes()), create, published and activate are one step.
 */

#include "keyset.h"
#include "policy.h"

#define LIFECYCLE_ALL UINT64_MAX /* no running consumer of that kind: all of them hold everything */

/* What is known besides the stored set. Generations are those of keyset.h. */
struct lifecycle_facts {
        bool known;          /* false: nothing is known of the consumers, no step that needs evidence is taken */
        uint64_t published;  /* generation that the kernel keyring and the JWKS file show; 0: none */
        uint64_t verifiers;  /* oldest generation that a running consumer that holds the set has loaded; or LIFECYCLE_ALL */
        uint64_t signers;    /* the same of those that follow the active key */
        uint64_t random;     /* draws the jitter */
};

enum lifecycle_event_type {
        LIFECYCLE_PUBLISHED,
        LIFECYCLE_ACTIVATED,
        LIFECYCLE_DEACTIVATED,
        LIFECYCLE_DESTROYED,
        LIFECYCLE_CLOCK, /* the clock was set; seconds */
};

struct lifecycle_event {
        enum lifecycle_event_type type;
        char kid[JWK_KID_MAX + 1]; /* "" for LIFECYCLE_CLOCK */
        int64_t seconds;
};

/* Whose evidence is missing for a step that is due otherwise. */
enum lifecycle_wait { LIFECYCLE_WAIT_NOBODY, LIFECYCLE_WAIT_VERIFIERS, LIFECYCLE_WAIT_SIGNERS };

#define LIFECYCLE_EVENTS_MAX 32

struct lifecycle_result {
        struct lifecycle_event events[LIFECYCLE_EVENTS_MAX];
        size_t n_events;
        bool changed;           /* the set was changed: it must be stored and published */
        bool create;            /* a key of the policy's algorithm and size must be made and given to lifecycle_add(), and the set stored and published */
        struct key_times times; /* of that key */
        enum lifecycle_wait wait;
        int64_t next;           /* the next time at which something is due by the clock; or TIME_NEVER */
        bool overdue;           /* the active key's cryptoperiod is over */
};

#define LIFECYCLE_CLOCK_TOLERANCE 2 /* seconds by which the clock may be set without notice: far less than any clock_skew */

/* The clock was set by so many seconds (forward: > 0) since the set was last stored; comes before everything else that is done with the present clock.
 * Waiting times go on as if it had not been. Where it was set back by up to a day, tokens may carry times that are still to come: their keys are kept for
 * as much longer. Where it was set back further, their times were never true. true: the set was changed, and *ret is to be told. */
bool lifecycle_follow_clock(struct keyset *keyset, int64_t step, struct lifecycle_event *ret);

/* The set was stored before since, when this boot began, and the time between is not known: whatever waits has waited from since on. true: something waits,
 * so that the set must be stored: a correction of the clock is seen as such then. */
bool lifecycle_distrust_clock(struct keyset *keyset, int64_t since);

/* Takes every step that is due now, in the set itself. policy NULL: it was removed, and keyset->destroy says whether its keys are to go when no token
 * can be out any more. What -ENOMEM leaves must not be stored. */
int lifecycle_advance(const struct policy *policy, struct keyset *keyset, const struct lifecycle_facts *facts, int64_t now,
                      struct lifecycle_result *ret);

/* Adds the key that was asked for; it is taken over on success. Deactivates the active one if the new one signs at once. -EINVAL: not the
 * policy's algorithm. */
int lifecycle_add(struct keyset *keyset, const struct policy *policy, struct jwk *jwk, const struct key_times *times);

/* Notes that another policy is in force from now on: text is its canonical form. Remembers what tokens and caches of the old one still need. */
int lifecycle_adopt_policy(struct keyset *keyset, const struct policy *policy, const char *text, int64_t now);

/* Keys that have signed are kept for overlap at least, that of a policy that is or was in force; a set of the version before rotation knows none. true: the set
 * was changed. */
bool lifecycle_keep_longer(struct keyset *keyset, int64_t overlap);

/* What commands decide; lifecycle_advance() does the rest. */

/* The active key's cryptoperiod ends now. */
void lifecycle_begin_rotation(struct keyset *keyset, int64_t now);
/* The key, or with kid NULL every key, is compromised: gone from the set at once, and where it was the active one, a successor signs from now on. 1: there is
 * none; a key with lifecycle_times_active() must be added before the set is stored, or one that signed earlier would sign again. policy NULL: a retired
 * secret, which nobody signs with. -ENOENT: no such key. */
int lifecycle_revoke(struct keyset *keyset, const struct policy *policy, const char *kid, int64_t now, uint64_t random);
/* The previous key signs again, for another cryptoperiod. -ENOENT: there is none that still lives. -EINVAL: it is of another algorithm than the policy's. */
int lifecycle_rollback(struct keyset *keyset, const struct policy *policy, int64_t now, uint64_t random);

/* Times of a key that signs from now on (an imported one too). */
struct key_times lifecycle_times_active(const struct policy *policy, int64_t now, uint64_t random);

/* Seconds that a key is published before it signs: policy_prepublish(), or 0 where nobody has to know it beforehand. */
int64_t lifecycle_lead(const struct policy *policy);

#endif
