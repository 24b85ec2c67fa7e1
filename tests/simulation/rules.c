/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The other invariants:
 *
 *   2  one key of the stored set signs, and activations only grow
 *   3  no key stays longer than it can be needed; a revoked one is gone at once
 *   4  rotations come about, and not more often than time, edits, commands and clocks call for
 *   5  what is due next lies ahead, unless somebody is waited for
 *   6  nothing changes when nothing is due, and what restarts units only in the window
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "roles.h"
#include "store-set.h"
#include "world.h"

#define ROUNDING (2 * SECOND) /* whole seconds, and the time that a run takes */
#define CLOCK_TOLERANCE 2 /* seconds by which the clock may be set without notice */
#define LONGEST_JOB (10 * MINUTE)
#define MILLION INT64_C(1000000)

/* --- 2 --------------------------------------------------------------------------------------------------------- */

static void mark_compromised(struct world *world, const struct run *run, const struct keyset *keyset) {
        for (unsigned k = 0; k < world->n_keys; k++)
                if (run->revoked == (int) k || (run->revoked == -2 && world->keys[k].born < keyset->generation))
                        world->keys[k].compromised = true;
}

void rules_before_commit(struct world *world, const struct run *run, const struct keyset *keyset) {
        const struct key *active = keyset_active(keyset);
        int last = -1, k;

        if (run->revoked != -1)
                mark_compromised(world, run, keyset);
        for (size_t i = 0; i < keyset->n_keys; i++) {
                const struct key_times *times = &keyset->keys[i].times;

                k = key_find(world, jwk_kid(keyset->keys[i].jwk));
                if (world->keys[k].compromised)
                        world_fail(world, "key %d was revoked and is stored", k);
                for (size_t j = 0; j < i; j++)
                        if (times->activates != TIME_NEVER && times->activates == keyset->keys[j].times.activates)
                                world_fail(world, "two keys were activated in the same second, so that chance says which signs");
        }
        if (!active) {
                if (!run->policy_removed)
                        world_fail(world, "a set without an active key is stored");
                world->last_active = -1;
                return;
        }
        k = key_find(world, jwk_kid(active->jwk));
        last = world->last_active;
        if (k == last)
                return;
        if (last >= 0 && !world->keys[last].compromised && active->times.activates <= world->last_activation && !run->policy_removed)
                world_fail(world, "key %d is active with an activation not later than that of key %d", k, last);
        if (last < 0 || world->keys[last].compromised || run->policy_removed || (!run->prepublishes && world->keys[k].born == keyset->generation))
                world->keys[k].unannounced = true;
        world->last_active = k;
        world->last_activation = active->times.activates;
        world->n_rotations++;
}

/* A step that restarts units, unless somebody has decided it, or there is nothing to begin with. */
static void expect_window(struct world *world, const struct run *run, const struct policy *policy, const struct keyset *keyset, int64_t now) {
        uint64_t next = keyset->generation + 1;

        if (world->last_active < 0 || !policy_restarts_units(policy) || window_next(&policy->window, now) <= now)
                return;
        if (keyset->verify_generation == next || keyset->sign_generation == next)
                world_fail(world, "%s takes a step that restarts units, with the window closed for another %" PRId64 " s", run->why,
                           window_next(&policy->window, now) - now);
}

/* --- 3 --------------------------------------------------------------------------------------------------------- */

static int64_t longer(int64_t a, int64_t b) {
        return a > b ? a : b;
}

static void expect_short_stay(struct world *world, const struct policy *policy, const struct keyset *keyset, const struct run *run,
                              int64_t now) {
        bool clock_set = run->clock_step != 0 || run->clock_since != 0;

        for (size_t i = 0; i < keyset->n_keys; i++) {
                int k = key_find(world, jwk_kid(keyset->keys[i].jwk));
                struct world_key *key = k < 0 ? NULL : &world->keys[k];

                if (!key)
                        continue;
                if (key_state(keyset, &keyset->keys[i]) != KEY_DEACTIVATED || clock_set)
                        continue;
                if (key->left_seen == NEVER || world->now - key->left_seen <= longer(key->overlap, policy_overlap(policy) * SECOND) + ROUNDING)
                        continue;
                if (!policy_restarts_units(policy) || window_next(&policy->window, now) <= now)
                        world_fail(world, "key %d is still there %" PRId64 " s after the last signer had left it, its overlap is %" PRId64 " s", k,
                                   (world->now - key->left_seen) / SECOND, key->overlap / SECOND);
        }
}

/* When what a pass has found out is stored, or needs not be. */
void rules_after_settling(struct world *world, const struct run *run, const struct keyset *keyset) {
        const struct lifecycle_facts *facts = &run->facts;
        bool left = world->file && facts->known && facts->published >= keyset->sign_generation && facts->signers >= keyset->sign_generation,
             clock_set = run->clock_step != 0 || run->clock_since != 0;

        for (size_t i = 0; i < keyset->n_keys; i++) {
                struct world_key *key = &world->keys[key_find(world, jwk_kid(keyset->keys[i].jwk))];

                if (key_state(keyset, &keyset->keys[i]) != KEY_DEACTIVATED)
                        key->left_seen = NEVER;
                else if (key->left_seen == NEVER ? left : clock_set)
                        key->left_seen = world->now;
                if (run->clock_step < 0)
                        key->overlap -= run->clock_step * SECOND; /* tokens dated ahead */
        }
}

/* --- 4 --------------------------------------------------------------------------------------------------------- */

static int64_t window_wait(const struct policy *policy) {
        return policy->window.set && policy_restarts_units(policy) ? 15 * DAY : 0; /* two openings, of the rarest a week apart */
}

static void expect_progress(struct world *world, const struct policy *policy, const struct keyset *keyset, int64_t now) {
        const struct key *active = keyset_active(keyset);
        int64_t bound = world->longest_lead + 2 * world->longest_overlap + 2 * window_wait(policy) + 2 * world->longest_pause +
                        world_lateness(world) + LONGEST_JOB;

        if (!active || active->times.deactivates == TIME_NEVER)
                return;
        if ((now - active->times.deactivates) * SECOND > bound && world->now - world->calm_since > bound)
                world_fail(world, "a rotation is %" PRId64 " s overdue, with all units well for %" PRId64 " s", now - active->times.deactivates,
                           (world->now - world->calm_since) / SECOND);
        if (active->times.deactivates > now && (active->times.deactivates - now) > policy->cryptoperiod + CLOCK_TOLERANCE)
                world_fail(world, "the active key's cryptoperiod ends in %" PRId64 " s, that is %" PRId64 " s at most", active->times.deactivates - now,
                           policy->cryptoperiod);
}

void rules_count_time(struct world *world) {
        const struct policy *policy = world->adopted ? world->adopted->policy : NULL;

        if (policy)
                world->creations_due += (world->now - world->creations_counted) * (MILLION / SECOND) / (policy->cryptoperiod - policy->jitter);
        world->creations_counted = world->now;
}

void rules_expect_no_storm(struct world *world) {
        rules_count_time(world);
        if (world->n_creations > 2 + 2 * world->n_reasons + world->creations_due / MILLION + world->creations_due / MILLION / 50)
                world_fail(world, "%u keys were made, where time called for %" PRId64 " and %u other things happened", world->n_creations,
                           world->creations_due / MILLION, world->n_reasons);
}

/* --- 5, 6 ------------------------------------------------------------------------------------------------------ */

static bool same_facts(const struct lifecycle_facts *a, const struct lifecycle_facts *b) {
        return a->known == b->known && a->published == b->published && a->verifiers == b->verifiers && a->signers == b->signers;
}

/* A look at what would be at another time. */
static bool would_act(struct world *world, const struct policy *policy, const struct lifecycle_facts *facts, int64_t when) {
        _cleanup_(keyset_freep) struct keyset *copy = NULL;
        _cleanup_free_ char *reason = NULL;
        struct lifecycle_result result;
        int r = store_set_decode(world->stored, "test", "simulated", &copy, &reason);

        if (r < 0) {
                world_fail(world, "what was stored cannot be read: %s", reason);
                return false;
        }
        copy->generation = world->generation;
        if (lifecycle_advance(policy, copy, facts, when, &result) < 0)
                abort();
        return result.changed || result.create || result.wait != LIFECYCLE_WAIT_NOBODY || result.next != world->last_next;
}

static void expect_stillness(struct world *world, const struct run *run, const struct policy *policy, const struct keyset *keyset,
                             const struct lifecycle_facts *facts, int64_t now, bool decided) {
        const struct lifecycle_result *result = &run->result;
        bool changed = result->changed || result->create;
        bool nothing_new = world->last_settled && world->last_generation == keyset->generation && same_facts(&world->last_facts, facts) && !decided &&
                           world->last_file == world->file;

        if (nothing_new && now < world->last_next && now >= world->last_now && changed)
                world_fail(world, "the set is changed, though nothing is due for another %" PRId64 " s", world->last_next - now);
        if (!changed && !decided && result->wait == LIFECYCLE_WAIT_NOBODY && result->next <= now)
                world_fail(world, "nothing is done, and yet something is due since %" PRId64 " s", now - result->next);

        world->last_settled = !changed && !decided && result->wait == LIFECYCLE_WAIT_NOBODY;
        world->last_generation = keyset->generation;
        world->last_facts = *facts;
        world->last_next = result->next;
        world->last_now = now;
        world->last_file = world->file;

        if (!world->last_settled || result->next == TIME_NEVER || run->clock_step != 0 || !world->stored || chance_below(&world->plain, 16) > 0)
                return;
        if (would_act(world, policy, facts, result->next - 1))
                world_fail(world, "something is due a second before what was said to be next");
        if (!would_act(world, policy, facts, result->next))
                world_fail(world, "nothing comes of what was said to be next");
}

void rules_after_pass(struct world *world, const struct run *run, const struct policy *policy, const struct keyset *keyset,
                      int64_t now, bool decided) {
        const struct lifecycle_facts *facts = &run->facts;

        if (world->file && world->adopted) {
                int64_t lead = policy_prepublish(world->adopted->policy) * SECOND, overlap = policy_overlap(world->adopted->policy) * SECOND;

                world->longest_lead = lead > world->longest_lead ? lead : world->longest_lead;
                world->longest_overlap = overlap > world->longest_overlap ? overlap : world->longest_overlap;
        }
        if (run->clock_step != 0 || run->clock_since != 0 || !facts->known || decided || world->last_file != world->file)
                world_disturb(world);
        expect_stillness(world, run, policy, keyset, facts, now, decided);
        if (!policy) {
                world_disturb(world);
                return;
        }
        if (!decided)
                expect_window(world, run, policy, keyset, now);
        expect_short_stay(world, policy, keyset, run, now);
        expect_progress(world, policy, keyset, now);
}
