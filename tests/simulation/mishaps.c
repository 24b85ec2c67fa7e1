/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens from outside: units that fail, runs that are killed, power, clocks, edits and commands. */

#include "world.h"

static void schedule(struct world *world, enum mishap mishap, int64_t mean) {
        world_schedule(world, world->now + chance_between(&world->chance[mishap], 1, 2 * mean), EVENT_MISHAP, mishap, 0);
}

void mishaps_init(struct world *world) {
        static const unsigned periods[MISHAP_COUNT] = {
                [MISHAP_TIMER] = 2, [MISHAP_UNITS] = 1, [MISHAP_POWER] = 4, [MISHAP_CLOCK] = 4, [MISHAP_EDIT] = 3, [MISHAP_COMMAND] = 3,
        };

        world->crash_percent = (unsigned) chance_magnitude(&world->chance[MISHAP_CRASH], 1, 30);
        for (unsigned i = 0; i < MISHAP_COUNT; i++)
                if (world_may(world, i) && periods[i] > 0)
                        schedule(world, i, world->pace / 4 * chance_between(&world->chance[i], 1, 4 * periods[i]));
}

/* --- Power and crashes ------------------------------------------------------------------------------------------ */

static void power_off(struct world *world) {
        struct chance *chance = &world->chance[MISHAP_POWER];
        struct snapshot *jwks = world->jwks;
        int64_t span = chance_magnitude(chance, SECOND, chance_percent(chance, 20) ? 2 * YEAR : 3 * world->pace);

        world_disturb(world);
        world_trace(world, "the power goes, for %lld s", (long long) (span / SECOND));
        runs_kill(world);
        for (size_t i = 0; i < world->n_units; i++)
                unit_stop(world, &world->units[i]);
        if (jwks)
                serving_end(world, jwks);
        snapshot_unref(world->ring);
        snapshot_unref(jwks);
        world->ring = world->jwks = NULL;
        users_follow_ring(world);
        world->up = false;
        timer_arm(world, TIME_NEVER);
        world_schedule(world, world->now + span, EVENT_POWER_ON, 0, 0);
}

void power_on(struct world *world) {
        struct chance *chance = &world->chance[MISHAP_POWER];

        world->up = true;
        world->booted = world->now;
        world->boot++;
        world->n_reasons++;
        world->n_tries = 0;
        for (size_t i = 0; i < world->n_units; i++)
                world->units[i].failed_by_us = false;
        world_disturb(world);
        world_trace(world, "boot %u", world->boot);
        run_begin(world, "boot", COMMAND_NONE, chance_percent(chance, 50));
        world_schedule(world, world->now + chance_between(chance, MINUTE, 15 * MINUTE), EVENT_SWEEP, 1, 0);
}

bool mishap_crashes(struct world *world, struct run *run) {
        struct chance *chance = &world->chance[MISHAP_CRASH];

        if (!world_may(world, MISHAP_CRASH) || !chance_percent(chance, world->crash_percent))
                return false;
        if (chance_percent(chance, 30) && world_may(world, MISHAP_POWER)) {
                power_off(world);
                return true;
        }
        run_kill(world, run);
        if (chance_percent(chance, 50)) /* a failed run is tried again */
                timer_arm(world, world_clock(world) + chance_between(chance, 5, 3600));
        return true;
}

/* --- Units ---------------------------------------------------------------------------------------------------------- */

static void trouble_unit(struct world *world) {
        struct chance *chance = &world->chance[MISHAP_UNITS];
        struct unit *unit = &world->units[chance_below(chance, world->n_units)];

        world_disturb(world);
        switch (chance_below(chance, 6)) {
        case 0:
                world_trace(world, "%s is stopped", unit->name);
                unit->wanted = false;
                unit->failed_by_us = false;
                unit_stop(world, unit);
                break;
        case 1:
                if (unit->state != UNIT_STOPPED)
                        break;
                world_trace(world, "%s is started", unit->name);
                unit->wanted = true;
                unit_start(world, unit);
                break;
        case 2:
                world_trace(world, "%s is restarted by its administrator", unit->name);
                unit_restart(world, (unsigned) (unit - world->units));
                break;
        default:
                unit->trouble = (enum unit_trouble) chance_between(chance, TROUBLE_FAILS, TROUBLE_REFUSES);
                unit->trouble_until = world->now + chance_magnitude(chance, SECOND, 2 * world->pace);
                world_trace(world, "%s is in trouble %u for %lld s", unit->name, unit->trouble,
                            (long long) ((unit->trouble_until - world->now) / SECOND));
                break;
        }
}

/* --- The clock -------------------------------------------------------------------------------------------------------- */

#define LEAST_STEP (3 * SECOND) /* CLOCK_TOLERANCE of src/lifecycle.c, and what rounding adds */
#define OFFSET_MAX (20 * YEAR)

static void set_clock(struct world *world) {
        struct chance *chance = &world->chance[MISHAP_CLOCK];
        int64_t step = chance_magnitude(chance, LEAST_STEP, chance_percent(chance, 50) ? HOUR : 10 * YEAR);

        if (chance_percent(chance, 50))
                step = -step;
        if (chance_percent(chance, 40) || world->clock_offset + step > OFFSET_MAX || world->clock_offset + step < -OFFSET_MAX)
                step = -world->clock_offset; /* a time server corrects it */
        if (step > -LEAST_STEP && step < LEAST_STEP)
                return;
        world->clock_offset += step;
        world->synchronised = world->clock_offset == 0;
        world->n_reasons++;
        world_disturb(world);
        world_trace(world, "the clock is set by %+lld s%s", (long long) (step / SECOND), world->synchronised ? ", and is right now" : "");
        if (!world->up)
                return;
        timer_clock_set(world);
        if (chance_percent(chance, 90)) /* OnClockChange= */
                world_schedule(world, world->now + chance_between(chance, 0, SECOND), EVENT_SWEEP, 1, 0);
}

/* --- Edits and commands -------------------------------------------------------------------------------------------------- */

static void edit_policy(struct world *world) {
        struct chance *chance = &world->chance[MISHAP_EDIT];
        struct policy_text *edited = NULL;

        world_disturb(world);
        if (world->file && world->adopted && chance_percent(chance, 10))
                world_trace(world, "the policy is removed");
        else if (!world->file && chance_percent(chance, 30)) {
                edited = policy_text_ref(world->adopted);
                world_trace(world, "the policy is there again, as it was");
        } else {
                edited = policy_edit(world, chance, world->file ? world->file->policy : world->adopted->policy);
                world_trace(world, "the policy is edited:\n%s", edited->text);
        }
        policy_text_unref(world->file);
        world->file = edited;
        if (world->up && chance_percent(chance, 90))
                run_begin(world, "edit", COMMAND_NONE, false);
        for (size_t i = 0; edited && i < world->n_units; i++)
                if (unit_delivery(&world->units[i], edited->policy) && chance_percent(chance, 50))
                        unit_plan_restart(world, &world->units[i], chance_magnitude(chance, 1, world->pace));
}

static void give_command(struct world *world) {
        struct chance *chance = &world->chance[MISHAP_COMMAND];
        static const enum command commands[] = { COMMAND_ROTATE,      COMMAND_ROTATE,   COMMAND_ROLLBACK,   COMMAND_ROLLBACK,
                                                 COMMAND_REVOKE_ACTIVE, COMMAND_REVOKE_SOME, COMMAND_REVOKE_ALL };

        world_disturb(world);
        world->n_reasons++;
        run_begin(world, "command", commands[chance_below(chance, ELEMENTSOF(commands))], false);
}

void mishap_happens(struct world *world, unsigned which) {
        switch ((enum mishap) which) {
        case MISHAP_TIMER:
                if (world->up)
                        run_begin(world, "shell", COMMAND_NONE, chance_percent(&world->chance[MISHAP_TIMER], 10));
                break;
        case MISHAP_UNITS:
                trouble_unit(world);
                break;
        case MISHAP_POWER:
                if (world->up)
                        power_off(world);
                break;
        case MISHAP_CLOCK:
                set_clock(world);
                break;
        case MISHAP_EDIT:
                if (world->adopted)
                        edit_policy(world);
                break;
        case MISHAP_COMMAND:
                if (world->up)
                        give_command(world);
                break;
        case MISHAP_CRASH:
        case MISHAP_COUNT:
                break;
        }
        schedule(world, (enum mishap) which, world->pace);
}
