/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The steps of a rotation. Pure: calls nothing that acts, knows no clock. What commands decide is in lifecycle-command.c. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lifecycle-internal.h"
#include "roles.h"

#define DAY INT64_C(86400)
#define CUT_OFF 1 /* seconds: times are cut to whole ones, so that what was seen now is past in the next one */

/* What all steps of one call share. */
struct advance {
        const struct policy *policy;
        struct keyset *keyset;
        const struct lifecycle_facts *facts;
        int64_t now;
        struct lifecycle_result *result;
};

int64_t time_add(int64_t a, int64_t b) {
        int64_t sum;

        if (a == TIME_NEVER || b == TIME_NEVER)
                return TIME_NEVER;
        return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? TIME_NEVER : INT64_MIN) : sum;
}

static int64_t later(int64_t a, int64_t b) {
        return a > b ? a : b;
}

static int64_t earlier(int64_t a, int64_t b) {
        return a < b ? a : b;
}

int64_t lifecycle_lead(const struct policy *policy) {
        return policy_prepublishes(policy) ? policy_prepublish(policy) : 0;
}

/* The end of a cryptoperiod that begins now. Drawn once, so that a fleet does not rotate in one second. */
static int64_t draw_end(const struct policy *policy, int64_t now, uint64_t random) {
        int64_t jitter = earlier(policy->jitter, policy->cryptoperiod);
        int64_t draw = jitter > 0 ? (int64_t) (random % ((uint64_t) jitter + 1)) : 0;

        return time_add(now, policy->cryptoperiod - draw);
}

struct key_times lifecycle_times_active(const struct policy *policy, int64_t now, uint64_t random) {
        return (struct key_times) {
                .created = now,
                .published = now,
                .activates = now,
                .deactivates = draw_end(policy, now, random),
                .destroys = TIME_NEVER,
                .overlap = policy_overlap(policy),
        };
}

static struct key_times successor_times(int64_t now) {
        return (struct key_times) {
                .created = now,
                .published = TIME_NEVER,
                .activates = TIME_NEVER,
                .deactivates = TIME_NEVER,
                .destroys = TIME_NEVER,
        };
}

void lifecycle_activate(struct keyset *keyset, struct key *key, const struct policy *policy, int64_t now, uint64_t random) {
        struct key *active = keyset_active(keyset);
        int64_t activates = now;

        if (active && active != key) {
                activates = later(now, time_add(active->times.activates, 1));
                if (active->times.destroys == TIME_NEVER) {
                        active->times.deactivates = TIME_NEVER; /* not before the last signer has left it */
                        active->times.overlap = later(active->times.overlap, policy_overlap(policy));
                }
        }
        key->times.activates = activates;
        if (key->times.published == TIME_NEVER)
                key->times.published = now;
        key->times.deactivates = draw_end(policy, now, random);
        key->times.destroys = TIME_NEVER;
        key->times.overlap = later(key->times.overlap, policy_overlap(policy));
        keyset->sign_generation = keyset->generation + 1;
        /* A verifier's format may not have been able to carry the new key before. */
        if (active && algorithm_is_symmetric(jwk_algorithm(active->jwk)) != algorithm_is_symmetric(jwk_algorithm(key->jwk)))
                keyset->verify_generation = keyset->generation + 1;
}

int lifecycle_add(struct keyset *keyset, const struct policy *policy, struct jwk *jwk, const struct key_times *times) {
        struct key_times given = *times;
        bool signs = given.activates != TIME_NEVER;
        int64_t end = given.deactivates;
        int r;

        if (jwk_algorithm(jwk) != policy->algorithm)
                return -EINVAL;
        given.activates = TIME_NEVER;
        r = keyset_add(keyset, jwk, &given);
        if (r < 0)
                return r;
        keyset->verify_generation = keyset->generation + 1;
        if (signs) {
                struct key *key = &keyset->keys[keyset->n_keys - 1];

                lifecycle_activate(keyset, key, policy, times->activates, 0);
                key->times.deactivates = end;
        }
        return 0;
}

static void tell(struct advance *advance, enum lifecycle_event_type type, const char *kid) {
        struct lifecycle_result *result = advance->result;
        struct lifecycle_event *event;

        result->changed = true;
        if (result->n_events == LIFECYCLE_EVENTS_MAX)
                return;
        event = &result->events[result->n_events++];
        *event = (struct lifecycle_event) { .type = type };
        (void) snprintf(event->kid, sizeof(event->kid), "%s", kid);
}

static void wait_for(struct advance *advance, enum lifecycle_wait wait) {
        if (advance->result->wait == LIFECYCLE_WAIT_NOBODY)
                advance->result->wait = wait;
}

/* --- The clock ---------------------------------------------------------------------------------------------------- */

bool lifecycle_follow_clock(struct keyset *keyset, int64_t step, struct lifecycle_event *ret) {
        const struct key *active = keyset_active(keyset);
        bool dated_ahead = step < 0 && step >= -DAY;
        int64_t waiting = time_add(step, CUT_OFF); /* never too short */

        if (step >= -LIFECYCLE_CLOCK_TOLERANCE && step <= LIFECYCLE_CLOCK_TOLERANCE)
                return false;
        for (size_t i = 0; i < keyset->n_keys; i++) {
                struct key *key = &keyset->keys[i];
                struct key_times *times = &key->times;

                if (times->activates == TIME_NEVER) {
                        times->published = time_add(times->published, waiting);
                        continue;
                }
                if (key == active)
                        times->deactivates = time_add(times->deactivates, step);
                if (!dated_ahead)
                        times->destroys = time_add(times->destroys, waiting);
                else if (times->destroys == TIME_NEVER)
                        times->overlap = time_add(times->overlap, -step);
        }
        if (keyset->caches_until > 0)
                keyset->caches_until = later(time_add(keyset->caches_until, waiting), 0);
        *ret = (struct lifecycle_event) { .type = LIFECYCLE_CLOCK, .seconds = step };
        return true;
}

bool lifecycle_distrust_clock(struct keyset *keyset, int64_t since) {
        bool waits = false;

        for (size_t i = 0; i < keyset->n_keys; i++) {
                struct key_times *times = &keyset->keys[i].times;

                if (times->activates == TIME_NEVER && times->published != TIME_NEVER)
                        times->published = later(times->published, since);
                else if (times->activates != TIME_NEVER && times->destroys != TIME_NEVER)
                        times->destroys = later(times->destroys, time_add(since, time_add(times->overlap, CUT_OFF)));
                else
                        continue;
                waits = true;
        }
        if (keyset->caches_until > keyset->clock.now) {
                keyset->caches_until = later(keyset->caches_until, time_add(since, keyset->caches_until - keyset->clock.now));
                waits = true;
        }
        return waits;
}

/* --- Evidence ----------------------------------------------------------------------------------------------------- */

static bool all_hold(const struct lifecycle_facts *facts, uint64_t loaded, uint64_t generation) {
        return facts->known && facts->published >= generation && loaded >= generation;
}

static bool verifiers_hold_set(const struct advance *advance) {
        return all_hold(advance->facts, advance->facts->verifiers, advance->keyset->verify_generation);
}

static bool signers_hold_active(const struct advance *advance) {
        return all_hold(advance->facts, advance->facts->signers, advance->keyset->sign_generation);
}

/* --- When --------------------------------------------------------------------------------------------------------- */

static int64_t in_window(const struct advance *advance, int64_t when) {
        const struct policy *policy = advance->policy;

        if (!policy || when == TIME_NEVER || !policy_restarts_units(policy))
                return when;
        return window_next(&policy->window, later(when, advance->now));
}

/* Is it time? If not, it is noted as something to come. */
static bool is_time(struct advance *advance, int64_t when) {
        when = in_window(advance, when);
        if (when <= advance->now)
                return true;
        advance->result->next = earlier(advance->result->next, when);
        return false;
}

static bool is_outdated(const struct advance *advance, const struct key *key) {
        return jwk_algorithm(key->jwk) != advance->policy->algorithm;
}

/* When the active key is to be followed by another. */
static int64_t rotation_time(const struct advance *advance, const struct key *active) {
        return is_outdated(advance, active) ? advance->now : active->times.deactivates;
}

/* --- Steps, each done once for each call, in this order ------------------------------------------------------------ */

static void note_published(struct advance *advance) {
        struct key *successor = keyset_successor(advance->keyset);

        if (!successor || successor->times.published != TIME_NEVER)
                return;
        if (!verifiers_hold_set(advance)) {
                wait_for(advance, LIFECYCLE_WAIT_VERIFIERS);
                return;
        }
        successor->times.published = time_add(advance->now, CUT_OFF);
        tell(advance, LIFECYCLE_PUBLISHED, jwk_kid(successor->jwk));
}

/* A successor may sign when it was published for as long as any verifier may use an older set. */
static int64_t activation_time(const struct advance *advance, const struct key *active, const struct key *successor) {
        int64_t known = later(time_add(successor->times.published, lifecycle_lead(advance->policy)), advance->keyset->caches_until);

        return later(known, rotation_time(advance, active));
}

static void activate_successor(struct advance *advance) {
        struct key *active = keyset_active(advance->keyset), *successor = keyset_successor(advance->keyset);

        if (!active || !successor || successor->times.published == TIME_NEVER ||
            !is_time(advance, activation_time(advance, active, successor)))
                return;
        if (!verifiers_hold_set(advance)) {
                wait_for(advance, LIFECYCLE_WAIT_VERIFIERS);
                return;
        }
        lifecycle_activate(advance->keyset, successor, advance->policy, advance->now, advance->facts->random);
        tell(advance, LIFECYCLE_ACTIVATED, jwk_kid(successor->jwk));
}

/* The overlap of a key begins when no signer has it any more. Of a retired secret that is when no consumer runs that has it. */
static void note_deactivated(struct advance *advance) {
        const struct key *active = keyset_active(advance->keyset);
        bool left = advance->policy ? signers_hold_active(advance) :
                                      advance->facts->known && advance->facts->signers == LIFECYCLE_ALL;

        for (size_t i = 0; i < advance->keyset->n_keys; i++) {
                struct key *key = &advance->keyset->keys[i];

                if (key->times.activates == TIME_NEVER || key->times.destroys != TIME_NEVER || (key == active && advance->policy))
                        continue;
                if (!left) {
                        wait_for(advance, LIFECYCLE_WAIT_SIGNERS);
                        continue;
                }
                key->times.deactivates = time_add(advance->now, CUT_OFF);
                key->times.destroys = time_add(key->times.deactivates, key->times.overlap);
                tell(advance, LIFECYCLE_DEACTIVATED, jwk_kid(key->jwk));
        }
}

static bool is_to_be_destroyed(const struct advance *advance, const struct key *key) {
        const struct keyset *keyset = advance->keyset;

        if (!advance->policy && keyset->destroy && key->times.activates == TIME_NEVER)
                return true; /* it never signed */
        if (key->times.destroys == TIME_NEVER || (key == keyset_active(keyset) && (advance->policy || !keyset->destroy)))
                return false;
        return true;
}

static int destroy_keys(struct advance *advance) {
        struct keyset *keyset = advance->keyset;

        for (size_t i = 0; i < keyset->n_keys;) {
                struct key *key = &keyset->keys[i];
                bool signed_once = key->times.activates != TIME_NEVER;
                char kid[JWK_KID_MAX + 1];
                int r;

                if (!is_to_be_destroyed(advance, key) || (signed_once && !is_time(advance, key->times.destroys))) {
                        i++;
                        continue;
                }
                (void) snprintf(kid, sizeof(kid), "%s", jwk_kid(key->jwk));
                r = keyset_destroy(keyset, i, advance->now, advance->policy ? "expired" : "retired");
                if (r < 0)
                        return r;
                /* A solo consumer forgets it when it is given the next one: one restart for each rotation. */
                if (advance->policy && !policy_is_solo(advance->policy))
                        keyset->verify_generation = keyset->generation + 1;
                tell(advance, LIFECYCLE_DESTROYED, kid);
        }
        return 0;
}

/* One that was made for an algorithm which the policy meanwhile names no more has never signed and never will. */
static int drop_outdated_successor(struct advance *advance) {
        struct keyset *keyset = advance->keyset;
        struct key *successor;

        while ((successor = keyset_successor(keyset)) && is_outdated(advance, successor)) {
                char kid[JWK_KID_MAX + 1];
                int r;

                (void) snprintf(kid, sizeof(kid), "%s", jwk_kid(successor->jwk));
                r = keyset_destroy(keyset, (size_t) (successor - keyset->keys), advance->now, "superseded");
                if (r < 0)
                        return r;
                keyset->verify_generation = keyset->generation + 1;
                tell(advance, LIFECYCLE_DESTROYED, kid);
        }
        return 0;
}

static bool signers_have_left(const struct keyset *keyset) {
        const struct key *active = keyset_active(keyset);

        for (size_t i = 0; i < keyset->n_keys; i++)
                if (&keyset->keys[i] != active && keyset->keys[i].times.activates != TIME_NEVER &&
                    keyset->keys[i].times.destroys == TIME_NEVER)
                        return false;
        return true;
}

static void ask_for_key(struct advance *advance, const struct key_times *times) {
        advance->result->create = true;
        advance->result->times = *times;
}

static void create_key(struct advance *advance) {
        const struct key *active = keyset_active(advance->keyset);
        bool prepublishes = policy_prepublishes(advance->policy);
        struct key_times times = prepublishes ? successor_times(advance->now) :
                                                lifecycle_times_active(advance->policy, advance->now, advance->facts->random);

        if (!active) {
                times = lifecycle_times_active(advance->policy, advance->now, advance->facts->random);
                ask_for_key(advance, &times);
                return;
        }
        if (keyset_successor(advance->keyset) ||
            !is_time(advance, time_add(rotation_time(advance, active), -lifecycle_lead(advance->policy))))
                return;
        if (!signers_have_left(advance->keyset) || (!prepublishes && !advance->facts->known)) {
                wait_for(advance, LIFECYCLE_WAIT_SIGNERS); /* still the former rotation's */
                return;
        }
        ask_for_key(advance, &times);
}

/* --- All of it ---------------------------------------------------------------------------------------------------- */

static void retire(struct advance *advance) {
        if (advance->keyset->retired != TIME_NEVER)
                return;
        advance->keyset->retired = advance->now;
        advance->result->changed = true;
}

/* Its policy is there again: what was decided for the keys' end is taken back. */
static void take_back(struct advance *advance) {
        struct key *active = keyset_active(advance->keyset);

        if (advance->keyset->retired == TIME_NEVER)
                return;
        advance->keyset->retired = TIME_NEVER;
        advance->keyset->destroy = false;
        if (active && active->times.destroys != TIME_NEVER) {
                active->times.destroys = TIME_NEVER;
                active->times.deactivates = earlier(active->times.deactivates, advance->now); /* its cryptoperiod is over */
        }
        advance->result->changed = true;
}

/* How deliveries were before a change of algorithm is of no use when the last key of that algorithm is gone. */
static void forget_previous_policy(struct advance *advance) {
        struct keyset *keyset = advance->keyset;

        if (!keyset->previous)
                return;
        for (size_t i = 0; i < keyset->n_keys; i++)
                if (is_outdated(advance, &keyset->keys[i]))
                        return;
        free(keyset->previous);
        keyset->previous = NULL;
        advance->result->changed = true;
}

static int advance_live(struct advance *advance) {
        const struct key *active;
        int r;

        take_back(advance);
        r = drop_outdated_successor(advance);
        if (r < 0)
                return r;
        note_published(advance);
        note_deactivated(advance);
        activate_successor(advance);
        r = destroy_keys(advance);
        if (r < 0)
                return r;
        forget_previous_policy(advance);
        create_key(advance);
        active = keyset_active(advance->keyset);
        advance->result->overdue = active && active->times.deactivates <= advance->now;
        return 0;
}

static int advance_retired(struct advance *advance) {
        retire(advance);
        if (advance->keyset->destroy)
                note_deactivated(advance);
        return destroy_keys(advance);
}

int lifecycle_advance(const struct policy *policy, struct keyset *keyset, const struct lifecycle_facts *facts, int64_t now,
                      struct lifecycle_result *ret) {
        struct lifecycle_result result = { .next = TIME_NEVER };
        struct advance advance = { .policy = policy, .keyset = keyset, .facts = facts, .now = now, .result = &result };
        int r;

        r = policy ? advance_live(&advance) : advance_retired(&advance);
        if (r < 0)
                return r;
        *ret = result;
        return 0;
}
