/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state of one simulated host, its queue of events, trace and verdict. */

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "world.h"

const char *const mishap_names[MISHAP_COUNT] = {
        [MISHAP_TIMER] = "timers", [MISHAP_UNITS] = "units", [MISHAP_CRASH] = "crashes", [MISHAP_POWER] = "power",
        [MISHAP_CLOCK] = "clock",  [MISHAP_EDIT] = "edits",  [MISHAP_COMMAND] = "commands",
};

/* --- Events ----------------------------------------------------------------------------------------- */

static bool is_before(const struct event *a, const struct event *b) {
        return a->time != b->time ? a->time < b->time : a->sequence < b->sequence;
}

static void sift_up(struct event *events, size_t i) {
        while (i > 0 && is_before(&events[i], &events[(i - 1) / 2])) {
                struct event swap = events[i];

                events[i] = events[(i - 1) / 2];
                events[(i - 1) / 2] = swap;
                i = (i - 1) / 2;
        }
}

static void sift_down(struct event *events, size_t n) {
        for (size_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
                struct event swap = events[i];

                if (child + 1 < n && is_before(&events[child + 1], &events[child]))
                        child++;
                if (!is_before(&events[child], &events[i]))
                        return;
                events[i] = events[child];
                events[child] = swap;
        }
}

void world_schedule(struct world *world, int64_t time, enum event_type type, unsigned which, unsigned version) {
        if (time == NEVER)
                return;
        if (world->n_events == world->events_size) {
                world->events_size = world->events_size ? 2 * world->events_size : 64;
                world->events = reallocarray(world->events, world->events_size, sizeof(*world->events));
                assert(world->events);
        }
        world->events[world->n_events] = (struct event) {
                .time = time > world->now ? time : world->now,
                .sequence = world->sequence++,
                .type = type,
                .which = which,
                .version = version,
        };
        sift_up(world->events, world->n_events++);
}

static struct event take_event(struct world *world) {
        struct event first = world->events[0];

        world->events[0] = world->events[--world->n_events];
        sift_down(world->events, world->n_events);
        return first;
}

/* --- The timer of the secret ------------------------------------------------------------------------ */

/* It elapses when CLOCK_REALTIME gets there; a clock that is set brings it nearer or farther. */
static void timer_follow(struct world *world) {
        int64_t delay;

        world->timer_version++;
        if (world->timer == TIME_NEVER || world->timer > INT64_MAX / SECOND)
                return;
        delay = world->timer * SECOND - world_realtime(world);
        world_schedule(world, world->now + (delay > 0 ? delay : 0), EVENT_TIMER, 0, (unsigned) world->timer_version);
}

void timer_arm(struct world *world, int64_t when) {
        world->timer = when;
        timer_follow(world);
}

void timer_clock_set(struct world *world) {
        timer_follow(world);
}

static void timer_elapses(struct world *world, unsigned version) {
        struct chance *chance = &world->chance[MISHAP_TIMER];

        if ((int) version != world->timer_version || world->timer == TIME_NEVER || !world->up)
                return;
        if (world_may(world, MISHAP_TIMER) && chance_percent(chance, 10)) {
                world_disturb(world);
                if (chance_percent(chance, 30)) {
                        world_trace(world, "the timer is lost");
                        return;
                }
                world_schedule(world, world->now + chance_magnitude(chance, 1, world->pace), EVENT_TIMER, 0, version);
                return;
        }
        world->timer = TIME_NEVER;
        run_begin(world, "timer", COMMAND_NONE, false);
        if (world_may(world, MISHAP_TIMER) && chance_percent(chance, 3))
                run_begin(world, "shell", COMMAND_NONE, false);
}

/* The daily net; of long cryptoperiods rarer, which only makes it wider. */
static int64_t sweep_interval(const struct world *world) {
        return world->pace / 8 > DAY ? world->pace / 8 : DAY;
}

int64_t world_lateness(const struct world *world) {
        return world->mishaps & (1u << MISHAP_TIMER | 1u << MISHAP_CRASH) ? 3 * sweep_interval(world) : 0;
}

/* --- Life ------------------------------------------------------------------------------------------- */

struct world *world_new(uint64_t seed, unsigned mishaps, bool trace) {
        struct world *world = calloc(1, sizeof(*world));

        assert(world);
        world->seed = seed;
        world->mishaps = mishaps;
        world->trace = trace;
        world->plain = chance_of(seed, 1000);
        for (unsigned i = 0; i < MISHAP_COUNT; i++)
                world->chance[i] = chance_of(seed, i);
        world->timer = TIME_NEVER;
        world->synchronised = true;
        world->last_activation = INT64_MIN;
        world->last_active = -1;

        world->file = policy_random(world, &world->plain);
        world->pace = world->file->policy->cryptoperiod * SECOND;
        units_init(world);
        mishaps_init(world);
        return world;
}

void world_free(struct world *world) {
        if (!world)
                return;
        runs_kill(world);
        snapshots_forget(world, true);
        policy_text_unref(world->file);
        policy_text_unref(world->adopted);
        policy_text_unref(world->outdated);
        keyset_free(world->loaded);
        secret_free(world->stored);
        free(world->keys);
        free(world->events);
        free(world);
}

static void happen(struct world *world, const struct event *event) {
        switch (event->type) {
        case EVENT_RUN:
                run_go_on(world, event->which, event->version);
                break;
        case EVENT_TIMER:
                timer_elapses(world, event->version);
                break;
        case EVENT_SWEEP:
                if (world->up)
                        run_begin(world, "sweep", COMMAND_NONE, false);
                if (event->which == 0) /* the daily one; else OnBootSec= or OnClockChange= */
                        world_schedule(world, world->now + sweep_interval(world), EVENT_SWEEP, 0, 0);
                break;
        case EVENT_UNIT_READ:
                unit_read(world, event->which, event->version);
                break;
        case EVENT_UNIT_RECORD:
                unit_record(world, event->which, event->version);
                break;
        case EVENT_UNIT_RESTART:
                unit_restart(world, event->which);
                break;
        case EVENT_MISHAP:
                mishap_happens(world, event->which);
                break;
        case EVENT_POWER_ON:
                power_on(world);
                break;
        case EVENT_END:
                break;
        }
}

bool world_live(struct world *world, int64_t years, unsigned cryptoperiods) {
        int64_t end = years * YEAR;

        if (world->pace < end / cryptoperiods)
                end = world->pace * cryptoperiods;
        world_schedule(world, end, EVENT_END, 0, 0);
        world_schedule(world, sweep_interval(world), EVENT_SWEEP, 0, 0);
        power_on(world);

        while (!world->failed) {
                struct event event = take_event(world);

                world->now = event.time;
                world->n_steps++;
                if (event.type == EVENT_END)
                        break;
                happen(world, &event);
                if (world->n_steps % 64 == 0)
                        snapshots_forget(world, false);
        }
        return !world->failed;
}

/* --- Trace and verdict ------------------------------------------------------------------------------- */

static void print_times(const struct world *world) {
        char clock[64];
        time_t seconds = (time_t) world_clock(world);
        struct tm tm;
        int64_t now = world->now;

        (void) strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%S", gmtime_r(&seconds, &tm));
        printf("# %5" PRId64 "d %02d:%02d:%02d.%03d  %s  ", now / DAY, (int) (now / HOUR % 24), (int) (now / MINUTE % 60),
               (int) (now / SECOND % 60), (int) (now % SECOND), clock);
}

void world_trace(const struct world *world, const char *format, ...) {
        va_list arguments;

        if (!world->trace)
                return;
        print_times(world);
        va_start(arguments, format);
        (void) vprintf(format, arguments);
        va_end(arguments);
        putchar('\n');
}

void world_fail(struct world *world, const char *format, ...) {
        va_list arguments;

        if (world->failed)
                return;
        world->failed = true;
        va_start(arguments, format);
        (void) vsnprintf(world->why, sizeof(world->why), format, arguments);
        va_end(arguments);
        world_trace(world, "VIOLATION: %s", world->why);
}

void world_disturb(struct world *world) {
        world->calm_since = world->now;
}
