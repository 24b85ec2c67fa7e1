/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run does to units that hold something old, one after the other: verifiers before signers, those that switch together at once. */

#include "roles.h"
#include "world.h"

#define JOB_TIMEOUT (5 * MINUTE)

static uint64_t wanted_generation(const struct run *run, const struct policy *policy, const struct delivery *delivery) {
        uint64_t wanted = delivery_holds_set(policy, delivery) ? run->verify_wanted : 0;

        return delivery_follows_active(policy, delivery) && run->sign_wanted > wanted ? run->sign_wanted : wanted;
}

static uint64_t loaded_generation(const struct unit *unit) {
        return unit->recorded ? unit->loaded : 0;
}

static bool is_stale(const struct run *run, const struct policy *policy, const struct unit *unit, const struct delivery *delivery) {
        if (unit->state == UNIT_STOPPED)
                return unit->failed_by_us;
        if (!unit->consumer && unit->state == UNIT_RUNNING) /* no credential of ours is in effect for it */
                return false;
        if (!delivery->credential && delivery->on_change == ON_CHANGE_NONE)
                return false;
        return loaded_generation(unit) < wanted_generation(run, policy, delivery);
}

void run_facts(struct world *world, const struct policy *policy, struct lifecycle_facts *facts) {
        facts->known = true;
        facts->verifiers = facts->signers = LIFECYCLE_ALL;
        for (size_t i = 0; policy && i < world->n_units; i++) {
                const struct unit *unit = &world->units[i];
                const struct delivery *delivery = unit_delivery(unit, policy);
                uint64_t loaded = loaded_generation(unit);

                if (!delivery || (unit->state == UNIT_STOPPED && !unit->failed_by_us) || (unit->state == UNIT_RUNNING && !unit->consumer))
                        continue;
                if (!delivery->credential && delivery->on_change == ON_CHANGE_NONE)
                        continue;
                if (delivery_holds_set(policy, delivery) && loaded < facts->verifiers)
                        facts->verifiers = loaded;
                if (delivery_follows_active(policy, delivery) && loaded < facts->signers)
                        facts->signers = loaded;
        }
}

static enum unit_trouble trouble_of(const struct world *world, const struct unit *unit) {
        return world->now < unit->trouble_until ? unit->trouble : TROUBLE_NONE;
}

static void restart(struct world *world, struct run *run, struct unit *unit, int64_t *ret_delay) {
        switch (trouble_of(world, unit)) {
        case TROUBLE_REFUSES:
                world_trace(world, "%s: its restart is refused", unit->name);
                run->troubled = true;
                return;
        case TROUBLE_HANGS:
                world_trace(world, "%s: its restart hangs", unit->name);
                *ret_delay = JOB_TIMEOUT < world->pace / 4 ? JOB_TIMEOUT : world->pace / 4;
                if (chance_percent(&world->chance[MISHAP_UNITS], 50)) /* it comes about, but later */
                        unit_plan_restart(world, unit, chance_between(&world->chance[MISHAP_UNITS], 1, 2 * *ret_delay));
                run->troubled = true;
                world_disturb(world);
                return;
        case TROUBLE_FAILS:
                world_trace(world, "%s: its restart fails", unit->name);
                unit_stop(world, unit);
                unit->failed_by_us = true;
                run->troubled = true;
                return;
        case TROUBLE_NONE:
                world_trace(world, "%s is restarted", unit->name);
                unit_stop(world, unit);
                if (!unit_can_start(world, unit)) {
                        unit->failed_by_us = true;
                        run->troubled = true;
                        return;
                }
                unit_start(world, unit);
                run->progress = true;
                *ret_delay = chance_between(&world->plain, 500, SECOND);
                return;
        }
}

static void reload(struct world *world, struct run *run, struct unit *unit, int64_t *ret_delay) {
        if (unit->state == UNIT_STOPPED) { /* failed: a reload starts nothing */
                restart(world, run, unit, ret_delay);
                return;
        }
        if (trouble_of(world, unit) != TROUBLE_NONE) {
                world_trace(world, "%s: its reload fails", unit->name);
                run->troubled = true;
                return;
        }
        if (!unit_reload(world, unit)) {
                world_trace(world, "%s: its reload brings nothing", unit->name);
                run->troubled = true;
                return;
        }
        run->progress = true;
        *ret_delay = chance_between(&world->plain, 1, 300);
}

/* An administrator restarts it when it suits, but not for ever later. */
static void leave_to_administrator(struct world *world, struct run *run, struct unit *unit) {
        run->waiting = true;
        world_disturb(world);
        unit_plan_restart(world, unit, chance_between(&world->plain, 1, world->pace / 4));
}

static void hand_over(struct world *world, struct run *run, const struct policy *policy, struct unit *unit, const struct delivery *delivery,
                      int64_t *ret_delay) {
        int64_t now = world_clock(world);

        if (unit->state == UNIT_STARTING) { /* its start will tell */
                run->waiting = true;
                return;
        }
        switch (delivery->on_change) {
        case ON_CHANGE_NONE:
                leave_to_administrator(world, run, unit);
                return;
        case ON_CHANGE_SIGNAL:
                if (delivery->credential)
                        leave_to_administrator(world, run, unit);
                else
                        reload(world, run, unit, ret_delay);
                return;
        case ON_CHANGE_RELOAD:
                reload(world, run, unit, ret_delay);
                return;
        case ON_CHANGE_RESTART:
                if (loaded_generation(unit) >= run->revoke_wanted && window_next(&policy->window, now) > now)
                        run->waiting = true;
                else
                        restart(world, run, unit, ret_delay);
                return;
        }
}

bool handover_step(struct world *world, struct run *run, const struct policy *policy, int64_t *ret_delay) {
        *ret_delay = 0;
        while (policy && run->at < 2 * world->n_units) {
                struct unit *unit = &world->units[run->at % world->n_units];
                bool verifiers = run->at++ < world->n_units;
                const struct delivery *delivery = unit_delivery(unit, policy);

                if (!delivery || verifiers != (delivery_holds_set(policy, delivery) && !delivery_follows_active(policy, delivery)))
                        continue;
                if (!is_stale(run, policy, unit, delivery))
                        continue;
                hand_over(world, run, policy, unit, delivery, ret_delay);
                if (*ret_delay > 0 && !policy_switches_together(policy))
                        return true;
        }
        return false;
}
