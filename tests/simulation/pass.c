/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One pass of a run over the stored set, in the order of src/provision-advance.c: the clock, another policy, a command, the facts, what is due. */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "roles.h"
#include "world.h"

static struct clock read_clock(const struct world *world) {
        struct clock clock = {
                .now = world_clock(world),
                .offset = world_offset(world),
                .boot = world_clock(world) - (world->now - world->booted) / SECOND,
                .synchronized = world->synchronised,
        };

        (void) snprintf(clock.boot_id, sizeof(clock.boot_id), "%032x", world->boot);
        return clock;
}

static void add_key(struct world *world, struct keyset *keyset, const struct policy *policy, const struct key_times *times) {
        struct jwk *jwk = NULL;
        int r;

        r = jwk_generate(policy->algorithm, policy->size, &jwk);
        if (r >= 0)
                r = lifecycle_add(keyset, policy, jwk, times);
        if (r < 0)
                world_fail(world, "a key cannot be added: %s", strerror(-r));
}

/* Does what the command decides. true: the set was changed. */
static bool obey(struct world *world, struct run *run, struct keyset *keyset, const struct policy *policy, int64_t now) {
        struct chance *chance = &world->chance[MISHAP_COMMAND];
        uint64_t random = chance_next(chance);
        const char *kid = NULL;
        int r = 0;

        run->command_done = true;
        if (!keyset_active(keyset))
                return false;
        switch (run->command) {
        case COMMAND_NONE:
                return false;
        case COMMAND_ROTATE:
                lifecycle_begin_rotation(keyset, now);
                world_trace(world, "rotate --now");
                return true;
        case COMMAND_ROLLBACK:
                r = policy ? lifecycle_rollback(keyset, policy, now, random) : -ENOENT;
                world_trace(world, "rollback: %s", r < 0 ? strerror(-r) : "done");
                return r >= 0;
        case COMMAND_REVOKE_ACTIVE:
        case COMMAND_REVOKE_SOME:
                kid = jwk_kid((run->command == COMMAND_REVOKE_ACTIVE ? keyset_active(keyset) : &keyset->keys[chance_below(chance, keyset->n_keys)])->jwk);
                break;
        case COMMAND_REVOKE_ALL:
                break;
        }
        run->revoked = kid ? key_find(world, kid) : -2;
        kid = kid ? world->keys[run->revoked].kid : NULL; /* the key's own goes with it */
        world_trace(world, "revoke %d", run->revoked);
        r = lifecycle_revoke(keyset, policy, kid, now, random);
        if (r > 0) {
                struct key_times times = lifecycle_times_active(policy, now, random);

                add_key(world, keyset, policy, &times);
        }
        if (r < 0)
                world_fail(world, "revoke: %s", strerror(-r));
        return true;
}

/* 1: the policy is another one than that which is stored. */
static bool adopt(struct world *world, struct keyset *keyset, int64_t now) {
        int r;

        if (keyset->policy && strcmp(keyset->policy, world->file->text) == 0)
                return false;
        world_trace(world, "another policy is in force");
        r = lifecycle_adopt_policy(keyset, world->file->policy, world->file->text, now);
        assert(r >= 0);
        return true;
}

static uint64_t published_generation(const struct world *world) {
        if (!world->ring || !world->jwks || !world->ring->policy)
                return 0;
        return world->ring->generation < world->jwks->generation ? world->ring->generation : world->jwks->generation;
}

/* One key that goes on signing needs nobody's. */
static bool needs_evidence(const struct keyset *keyset, const struct policy *policy, int64_t now) {
        const struct key *active = keyset_active(keyset);

        return keyset->n_keys > 1 || (active && (active->times.deactivates <= now || jwk_algorithm(active->jwk) != policy->algorithm));
}

/* Whose evidence is looked at. */
static const struct policy *policy_for_facts(const struct world *world, const struct keyset *keyset) {
        if (!world->file)
                return keyset->destroy && world->adopted ? world->adopted->policy : NULL;
        return needs_evidence(keyset, world->file->policy, world_clock(world)) ? world->file->policy : NULL;
}

static void read_facts(struct world *world, const struct run *run, const struct keyset *keyset, struct lifecycle_facts *facts) {
        const struct policy *policy = policy_for_facts(world, keyset);

        *facts = (struct lifecycle_facts) { .published = published_generation(world), .random = chance_next(&world->plain) };
        run_facts(world, policy, facts);
        if (run->blind && run->n_passes == 1 && policy) {
                facts->known = false;
                facts->verifiers = facts->signers = LIFECYCLE_ALL;
        }
}

static void trace_pass(const struct world *world, const struct run *run, const struct lifecycle_facts *facts) {
        static const char *const waits[] = { "", ", waits for verifiers", ", waits for signers" };
        char verifiers[32] = "all", signers[32] = "all", next[64] = "nothing to come";

        if (!world->trace)
                return;
        if (facts->verifiers != LIFECYCLE_ALL)
                (void) snprintf(verifiers, sizeof(verifiers), "%llu", (unsigned long long) facts->verifiers);
        if (facts->signers != LIFECYCLE_ALL)
                (void) snprintf(signers, sizeof(signers), "%llu", (unsigned long long) facts->signers);
        if (run->result.next != TIME_NEVER)
                (void) snprintf(next, sizeof(next), "next in %llds", (long long) (run->result.next - world_clock(world)));
        world_trace(world, "%s run %d, pass %u%s: published %llu, verifiers %s, signers %s, clock %+lld%s -> %s%s%s, %s", run->why, (int) (run - world->runs),
                    run->n_passes, facts->known ? "" : " (blind)", (unsigned long long) facts->published, verifiers, signers, (long long) run->clock_step,
                    run->clock_since ? " not believed" : "", run->result.changed ? "changes" : "nothing", run->result.create ? ", asks for a key" : "",
                    waits[run->result.wait], next);
}

bool pass_take(struct world *world, struct run *run) {
        const struct policy *policy = world->file ? world->file->policy : NULL;
        struct clock clock = read_clock(world);
        struct keyset *keyset = stored_load(world);
        struct lifecycle_event event;
        bool decided, changed;
        int r;

        run->n_passes++;
        run->policy_removed = !policy;
        run->prepublishes = policy && policy_prepublishes(policy);
        run->passed_at = world->now;
        run->clock_step = clock_step(&clock, &keyset->clock);
        decided = lifecycle_follow_clock(keyset, run->clock_step, &event);
        run->clock_since = clock_since(&clock, &keyset->clock);
        if (run->clock_since > 0)
                decided = lifecycle_distrust_clock(keyset, run->clock_since) || decided;
        if (policy)
                decided = adopt(world, keyset, clock.now) || decided;
        else if (keyset->n_keys > 0 && keyset->retired == TIME_NEVER && world->adopted && world->adopted->policy->on_removal == ON_REMOVAL_DESTROY)
                keyset->destroy = true;
        if (!run->command_done)
                decided = obey(world, run, keyset, policy, clock.now) || decided;
        read_facts(world, run, keyset, &run->facts);
        r = lifecycle_advance(policy, keyset, &run->facts, clock.now, &run->result);
        assert(r >= 0);
        if (run->result.create)
                add_key(world, keyset, policy, &run->result.times);
        trace_pass(world, run, &run->facts);
        rules_after_pass(world, run, policy, keyset, clock.now, decided);

        changed = run->result.changed || run->result.create || decided;
        run->verify_wanted = keyset->verify_generation;
        run->sign_wanted = keyset->sign_generation;
        run->revoke_wanted = keyset->revoke_generation;
        if (changed) {
                clock_stamp(&clock, &keyset->clock);
                run->keyset = keyset;
        } else {
                rules_after_settling(world, run, keyset);
                world->loaded = keyset;
        }
        return changed;
}
