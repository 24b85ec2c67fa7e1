/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * keyrota's runs: store -> facts -> what is due -> store -> publish -> handover, again until nothing changes. Each effect is an event of its own, so
 * that a run may die between any two, and others go on in between. As src/provision-advance.c and src/rotate.c do it.
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "store-set.h"
#include "world.h"

#define PASSES_MAX 40
#define PAUSE_MIN 5 /* seconds */
#define PAUSE_MAX 3600

void run_schedule(struct world *world, struct run *run, int64_t delay) {
        world_schedule(world, world->now + delay, EVENT_RUN, (unsigned) (run - world->runs), ++run->version);
}

void run_begin(struct world *world, const char *why, enum command command, bool blind) {
        for (size_t i = 0; i < RUNS_MAX; i++) {
                struct run *run = &world->runs[i];

                if (run->state != RUN_IDLE)
                        continue;
                *run = (struct run) {
                        .state = RUN_LOCK, .version = run->version, .why = why, .command = command, .blind = blind, .revoked = -1
                };
                world->n_runs++;
                run_schedule(world, run, chance_between(&world->plain, 1, 100));
                return;
        }
}

static void release_store(struct world *world, const struct run *run) {
        if (run->state >= RUN_PASS && run->state <= RUN_PUBLISH_FILE)
                world->store_locked = false;
}

static void finish(struct world *world, struct run *run) {
        release_store(world, run);
        if (run->state == RUN_HANDOVER)
                world->handover_locked = false;
        keyset_free(run->keyset);
        run->keyset = NULL;
        run->state = RUN_IDLE;
        run->version++;
}

void run_kill(struct world *world, struct run *run) {
        if (run->state == RUN_IDLE)
                return;
        world_disturb(world);
        world_trace(world, "the run is killed");
        finish(world, run);
}

void runs_kill(struct world *world) {
        for (size_t i = 0; i < RUNS_MAX; i++)
                run_kill(world, &world->runs[i]);
}

/* --- Store ------------------------------------------------------------------------------------------------- */

static struct keyset *decode(struct world *world) {
        _cleanup_free_ char *reason = NULL;
        struct keyset *keyset = NULL;
        int r;

        if (world->stored)
                r = store_set_decode(world->stored, "test", "simulated", &keyset, &reason);
        else
                r = keyset_new("test", "simulated", &keyset);
        if (r < 0) {
                (void) fprintf(stderr, "what was stored cannot be read: %s: %s\n", strerror(-r), reason ? reason : "");
                abort();
        }
        keyset->generation = world->generation;
        return keyset;
}

static struct keyset *load(struct world *world) {
        struct keyset *keyset = world->loaded ? world->loaded : decode(world);

        world->loaded = NULL;
        return keyset;
}

static struct policy_text *parse_again(struct world *world, const char *text) {
        struct policy_text *policy = text ? policy_text_new(world, text) : NULL;

        if (text && (!policy || strcmp(policy->text, text) != 0))
                world_fail(world, "the stored policy does not read back as it was written");
        return policy;
}

static void note_policies(struct world *world, const struct run *run, const struct keyset *keyset) {
        if (keyset->policy && (!world->adopted || strcmp(world->adopted->text, keyset->policy) != 0)) {
                struct policy_text *policy = parse_again(world, keyset->policy);

                if (!policy)
                        return;
                rules_count_time(world);
                world->n_reasons++;
                validity_adopt(world, policy, run->passed_at);
                policy_text_unref(policy);
        }
        if (keyset->previous ? !world->outdated || strcmp(world->outdated->text, keyset->previous) != 0 : world->outdated != NULL) {
                policy_text_unref(world->outdated);
                world->outdated = parse_again(world, keyset->previous);
        }
}

static void note_keys(struct world *world, const struct keyset *keyset) {
        for (size_t i = 0; i < keyset->n_keys; i++) {
                const char *kid = jwk_kid(keyset->keys[i].jwk);

                if (key_find(world, kid) < 0) {
                        unsigned k = key_add(world, kid, jwk_algorithm(keyset->keys[i].jwk), keyset->generation);

                        world->n_creations++;
                        world_trace(world, "key %u is made", k);
                }
        }
}

static void trace_keys(const struct world *world, const struct keyset *keyset) {
        char line[400] = "";
        size_t length = 0;

        if (!world->trace)
                return;
        for (size_t i = 0; i < keyset->n_keys && length < sizeof(line) - 64; i++) {
                const struct key *key = &keyset->keys[i];
                int64_t end = key_state(keyset, key) == KEY_DEACTIVATED ? key->times.destroys : key->times.deactivates, now = world_clock(world);

                length += (size_t) snprintf(line + length, sizeof(line) - length, " %d:%s", key_find(world, jwk_kid(key->jwk)),
                                            key_state_to_string(key_state(keyset, key)));
                if (end != TIME_NEVER)
                        length += (size_t) snprintf(line + length, sizeof(line) - length, "(%+llds)", (long long) (end - now));
        }
        world_trace(world, "stored as generation %llu (verify %llu, sign %llu):%s", (unsigned long long) keyset->generation,
                    (unsigned long long) keyset->verify_generation, (unsigned long long) keyset->sign_generation, line);
}

/* They cost most of the time. Some hosts keep as many as keyset.c does. */
static void forget_tombstones(const struct world *world, struct keyset *keyset) {
        while (world->seed % 10 > 0 && keyset->n_destroyed > 2) {
                free(keyset->destroyed[0].kid);
                free(keyset->destroyed[0].reason);
                memmove(keyset->destroyed, keyset->destroyed + 1, --keyset->n_destroyed * sizeof(keyset->destroyed[0]));
        }
}

static void commit(struct world *world, struct run *run) {
        struct keyset *keyset = run->keyset;
        _cleanup_(secret_freep) struct secret *text = NULL;
        int r;

        keyset->generation = world->generation + 1;
        note_keys(world, keyset);
        rules_expect_no_storm(world);
        rules_before_commit(world, run, keyset);
        rules_after_settling(world, run, keyset);
        run->revoked = -1;
        forget_tombstones(world, keyset);
        r = store_set_encode(keyset, &text);
        assert(r >= 0);
        secret_free(world->stored);
        world->stored = TAKE_PTR(text);
        world->generation = keyset->generation;
        trace_keys(world, keyset);
        note_policies(world, run, keyset);
        keyset_free(world->loaded);
        world->loaded = TAKE_PTR(run->keyset);
        if (chance_below(&world->plain, 8) == 0) {
                keyset_free(world->loaded);
                world->loaded = decode(world);
        }
}

/* --- One pass ----------------------------------------------------------------------------------------------- */

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
        run->urgent = true;
        run->revoked = kid ? key_find(world, kid) : -2;
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

static void read_facts(struct world *world, const struct run *run, const struct keyset *keyset, struct lifecycle_facts *facts) {
        const struct policy *policy = world->file ? world->file->policy : keyset->destroy && world->adopted ? world->adopted->policy : NULL;

        *facts = (struct lifecycle_facts) { .published = published_generation(world), .random = chance_next(&world->plain) };
        run_facts(world, policy, facts);
        if (run->blind && run->n_passes == 1) {
                facts->known = false;
                facts->verifiers = facts->signers = LIFECYCLE_ALL;
        }
}

static void go_to(struct world *world, struct run *run, enum run_state state, int64_t delay) {
        run->state = state;
        run_schedule(world, run, delay);
}

static void hand_over(struct world *world, struct run *run) {
        world->store_locked = false;
        run->at = 0;
        go_to(world, run, RUN_WAIT_HANDOVER, 1);
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

static void pass(struct world *world, struct run *run) {
        const struct policy *policy = world->file ? world->file->policy : NULL;
        struct clock clock = read_clock(world);
        struct keyset *keyset = load(world);
        struct lifecycle_facts facts;
        struct lifecycle_event event;
        bool decided = false, changed;
        int r;

        if (++run->n_passes > PASSES_MAX)
                world_fail(world, "the run does not come to an end");
        run->progress = false;
        run->policy_removed = !policy;
        run->passed_at = world->now;
        run->clock_step = clock_step(&clock, &keyset->clock);
        if (lifecycle_follow_clock(keyset, run->clock_step, &event))
                decided = true;
        run->clock_since = clock_since(&clock, &keyset->clock);
        if (run->clock_since > 0)
                decided = lifecycle_distrust_clock(keyset, run->clock_since) || decided;
        if (policy)
                decided = adopt(world, keyset, clock.now) || decided;
        else if (keyset->n_keys > 0 && keyset->retired == TIME_NEVER && world->adopted && world->adopted->policy->on_removal == ON_REMOVAL_DESTROY)
                keyset->destroy = true;
        if (!run->command_done)
                decided = obey(world, run, keyset, policy, clock.now) || decided;
        read_facts(world, run, keyset, &facts);
        r = lifecycle_advance(policy, keyset, &facts, clock.now, &run->result);
        assert(r >= 0);
        if (run->result.create)
                add_key(world, keyset, policy, &run->result.times);
        trace_pass(world, run, &facts);
        run->facts = facts;
        rules_after_pass(world, run, policy, keyset, clock.now, decided);

        changed = run->result.changed || run->result.create || decided;
        if (!changed)
                rules_after_settling(world, run, keyset);
        if (changed) {
                run->progress = true;
                clock_stamp(&clock, &keyset->clock);
                run->keyset = keyset;
                go_to(world, run, RUN_COMMIT, chance_between(&world->plain, 1, 50));
                return;
        }
        run->verify_wanted = keyset->verify_generation;
        run->sign_wanted = keyset->sign_generation;
        world->loaded = keyset;
        if (!world->stored)
                finish(world, run);
        else if (!world->ring || !world->jwks || world->ring->generation < world->generation || world->jwks->generation < world->generation ||
                 (world->ring->policy == NULL) != run->policy_removed)
                go_to(world, run, RUN_PUBLISH_RING, 1);
        else
                hand_over(world, run);
}

/* --- Publish ------------------------------------------------------------------------------------------------- */

static struct snapshot *make_snapshot(struct world *world, const struct run *run) {
        struct snapshot *snapshot = snapshot_new(world, world->loaded);

        snapshot->policy = run->policy_removed ? NULL : policy_text_ref(world->adopted);
        snapshot->previous = run->policy_removed ? NULL : policy_text_ref(world->outdated);
        return snapshot;
}

static void expect_nothing_compromised(struct world *world, const struct snapshot *snapshot) {
        for (size_t i = 0; i < snapshot->n_keys; i++)
                if (world->keys[snapshot->keys[i]].compromised)
                        world_fail(world, "key %u was revoked and is published", snapshot->keys[i]);
}

static void publish_ring(struct world *world, const struct run *run) {
        bool first = !world->ring;

        if (!world->loaded)
                world->loaded = decode(world);
        snapshot_unref(world, world->ring);
        world->ring = make_snapshot(world, run);
        expect_nothing_compromised(world, world->ring);
        world_trace(world, "the keyring has generation %llu", (unsigned long long) world->generation);
        users_follow_ring(world);
        if (first)
                units_start_wanted(world);
}

static void publish_file(struct world *world) {
        struct snapshot *old = world->jwks;

        world->jwks = snapshot_ref(world->ring);
        if (old)
                serving_end(world, old);
        serving_begin(world, world->jwks, "who reads the public file");
        snapshot_unref(world, old);
        world_trace(world, "the public file has generation %llu", (unsigned long long) world->jwks->generation);
}

/* --- Steps ---------------------------------------------------------------------------------------------------- */

static int64_t pause_of(struct world *world) {
        int64_t pause = PAUSE_MIN;

        for (unsigned i = 0; i < world->n_tries && pause < PAUSE_MAX; i++)
                pause *= 2;
        world->n_tries++;
        return pause < PAUSE_MAX ? pause : PAUSE_MAX;
}

/* When there is nothing more to do now. */
static void end(struct world *world, struct run *run) {
        int64_t next = run->result.next;

        if (run->troubled || run->waiting || run->result.wait != LIFECYCLE_WAIT_NOBODY) {
                int64_t pause = pause_of(world), again = world_clock(world) + pause;

                if (world->longest_pause < pause * SECOND)
                        world->longest_pause = pause * SECOND;
                next = again < next ? again : next;
                if (world->adopted) { /* a pause may be longer than the window */
                        int64_t opens = window_next(&world->adopted->policy->window, world_clock(world));

                        next = opens > world_clock(world) && opens < next ? opens : next;
                }
        } else
                world->n_tries = 0;
        if (run->troubled)
                world_disturb(world);
        timer_arm(world, next);
        finish(world, run);
}

static void go_on_handing_over(struct world *world, struct run *run) {
        const struct policy *policy = world->file && world->adopted && !run->policy_removed ? world->adopted->policy : NULL;
        int64_t delay;

        if (handover_step(world, run, policy, &delay)) {
                run_schedule(world, run, delay);
                return;
        }
        world->handover_locked = false;
        if (run->progress)
                go_to(world, run, RUN_LOCK, 1 + delay);
        else
                end(world, run);
}

void run_go_on(struct world *world, unsigned which, unsigned version) {
        struct run *run = &world->runs[which];

        if (run->state == RUN_IDLE || run->version != version)
                return;
        if (run->state != RUN_LOCK && run->state != RUN_WAIT_HANDOVER && mishap_crashes(world, run))
                return;
        switch (run->state) {
        case RUN_IDLE:
                break;
        case RUN_LOCK:
                if (world->store_locked) {
                        run_schedule(world, run, chance_between(&world->plain, 10, 200));
                        break;
                }
                world->store_locked = true;
                go_to(world, run, RUN_PASS, chance_between(&world->plain, 1, 30));
                break;
        case RUN_PASS:
                pass(world, run);
                break;
        case RUN_COMMIT:
                run->verify_wanted = run->keyset->verify_generation;
                run->sign_wanted = run->keyset->sign_generation;
                commit(world, run);
                go_to(world, run, RUN_PUBLISH_RING, chance_between(&world->plain, 1, 20));
                break;
        case RUN_PUBLISH_RING:
                publish_ring(world, run);
                go_to(world, run, RUN_PUBLISH_FILE, chance_between(&world->plain, 0, 10));
                break;
        case RUN_PUBLISH_FILE:
                publish_file(world);
                hand_over(world, run);
                break;
        case RUN_WAIT_HANDOVER:
                if (world->handover_locked) {
                        run_schedule(world, run, chance_between(&world->plain, 10, 500));
                        break;
                }
                world->handover_locked = true;
                run->state = RUN_HANDOVER;
                run_schedule(world, run, 1);
                break;
        case RUN_HANDOVER:
                go_on_handing_over(world, run);
                break;
        }
}
