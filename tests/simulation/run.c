/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * keyrota's runs: store -> facts -> what is due -> store -> publish -> handover, again until nothing changes. Each effect is an event of its own, so
 * that a run may die between any two, and others go on in between. As src/provision-advance.c and src/rotate.c do it.
 */

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

static void go_to(struct world *world, struct run *run, enum run_state state, int64_t delay) {
        run->state = state;
        run_schedule(world, run, delay);
}

static void hand_over(struct world *world, struct run *run) {
        world->store_locked = false;
        run->at = 0;
        go_to(world, run, RUN_WAIT_HANDOVER, 1);
}

static bool is_published(const struct world *world, const struct run *run) {
        return world->ring && world->jwks && world->ring->generation == world->generation && world->jwks->generation == world->generation &&
               (world->ring->policy == NULL) == run->policy_removed;
}

static void pass(struct world *world, struct run *run) {
        bool changed = pass_take(world, run);

        if (run->n_passes > PASSES_MAX)
                world_fail(world, "the run does not come to an end");
        run->progress = changed;
        if (changed)
                go_to(world, run, RUN_COMMIT, chance_between(&world->plain, 1, 50));
        else if (!world->stored)
                finish(world, run);
        else if (!is_published(world, run))
                go_to(world, run, RUN_PUBLISH_RING, 1);
        else
                hand_over(world, run);
}

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
                stored_commit(world, run);
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
