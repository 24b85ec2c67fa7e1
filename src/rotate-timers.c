/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The timers of what comes next: one for each secret, armed at the exact time; none where nothing will be due. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "handover.h"
#include "handover-memory.h"
#include "log.h"
#include "provision-run.h"

#define TIMER_PREFIX "keyrota-rotate@"
#define RETRY_SEC 300
#define TIMER_NAME_MAX (sizeof(TIMER_PREFIX) + POLICY_NAME_MAX + sizeof(".service"))

struct timers {
        struct run *run;
        struct bus_unit *armed;
        size_t n_armed;
};

/* Says the time, so that one look at all timers tells which of them are right. */
static void describe(const char *environment, const char *name, int64_t when, char *buffer, size_t size) {
        time_t t = (time_t) when;
        char text[64] = "";
        struct tm tm;

        if (gmtime_r(&t, &tm))
                (void) strftime(text, sizeof(text), "%F %T UTC", &tm);
        (void) snprintf(buffer, size, "Next Step in the Life of the Keys of %s/%s at %s", environment, name, text);
}

static const struct bus_unit *find_armed(const struct timers *timers, const char *timer) {
        for (size_t i = 0; i < timers->n_armed; i++)
                if (strcmp(timers->armed[i].name, timer) == 0)
                        return timers->armed[i].state == BUS_UNIT_RUNNING ? &timers->armed[i] : NULL;
        return NULL;
}

static int arm(const struct timers *timers, const char *environment, const char *name, int64_t when) {
        char timer[TIMER_NAME_MAX], service[TIMER_NAME_MAX], description[256];
        const struct bus_unit *armed;
        int r;

        (void) snprintf(timer, sizeof(timer), TIMER_PREFIX "%s.timer", name);
        (void) snprintf(service, sizeof(service), TIMER_PREFIX "%s.service", name);
        armed = find_armed(timers, timer);
        if (when == TIME_NEVER)
                return armed ? bus_disarm_timer(timers->run->bus, timer) : 0;
        describe(environment, name, when, description, sizeof(description));
        /* One that has just elapsed still counts as running. */
        if (when > timers->run->now && armed && armed->description && strcmp(armed->description, description) == 0)
                return 0;
        r = bus_arm_timer(timers->run->bus, timer, service, when, description);
        if (r < 0)
                log_error("%s: cannot arm its timer: %s; the daily keyrota-rotate.timer has to do", name, strerror(-r));
        return r;
}

/* Where no service is remembered as being in the way, it is this unit itself whose tries are counted, so that its pauses grow too. */
static int64_t pause_of(const struct run *run, const char *secret, const char *name, bool waits) {
        _cleanup_(handover_memory_clear) struct handover_memory memory = { .n_notes = 0 };
        char service[TIMER_NAME_MAX];
        int r;

        (void) snprintf(service, sizeof(service), TIMER_PREFIX "%s.service", name);
        r = handover_memory_load(run->context->tree, secret, &memory);
        if (r >= 0 && waits && memory.n_notes == 0)
                r = handover_memory_waits(&memory, service, run->now, 0, "is tried again");
        else if (r >= 0 && handover_memory_find(&memory, service) && (!waits || memory.n_notes > 1))
                handover_memory_forget(&memory, service);
        else
                r = -EALREADY;
        if (r >= 0)
                (void) handover_memory_save(run->context->tree, secret, &memory);
        return waits ? handover_pause(run->context->tree, secret, run->now) : 0;
}

/* What is waited for besides the clock is looked at again after a pause that grows. */
static int64_t next_look(const struct run *run, const char *environment, const char *name, int64_t next, bool waits) {
        char secret[PUBLISH_SECRET_MAX];
        int64_t again;

        again = run->now + pause_of(run, publish_secret_name(environment, name, secret), name, waits);
        return waits && again < next ? again : next;
}

/* Pauses of up to an hour could miss a short window for ever. */
static int64_t next_window(const struct run *run, const struct policy *policy, int64_t next) {
        int64_t opens = window_next(&policy->window, run->now);

        return opens > run->now && opens < next ? opens : next;
}

/* Another run has stored it since this one looked, and knows better what comes next. */
static bool is_outrun(const struct run *run, const struct item *item) {
        return item->outline && publication_generation(run->publication, item->outline) > item->outline->generation;
}

/* What could be neither stored nor published is tried again as well. */
static int arm_item(const struct timers *timers, const struct item *item) {
        const struct policy *policy = item->policy ? item->policy : item->written;
        bool waits = !item->outline || item->waits || item->result.wait != LIFECYCLE_WAIT_NOBODY;
        int64_t next = item->outline ? item->result.next : TIME_NEVER;

        if (waits)
                next = next_window(timers->run, policy, next);
        if (!policy->environment)
                return 0; /* a policy that has never worked: its next edit is followed by a run */
        if (is_outrun(timers->run, item))
                return 0;
        return arm(timers, policy->environment, policy->name, next_look(timers->run, policy->environment, policy->name, next, waits));
}

int run_arm_retries(struct run *run) {
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        struct timers timers = { .run = run };
        struct diagnostics diagnostics = {};
        int r, error = 0;

        if (!context_is_host(run->context))
                return 0;
        r = policy_load_all(run->context->tree, &policies, &diagnostics);
        diagnostics_clear(&diagnostics);
        if (r >= 0)
                r = run_open_view(run);
        if (r >= 0)
                r = bus_list_units(run->bus, TIMER_PREFIX "*.timer", &timers.armed, &timers.n_armed);
        if (r < 0)
                return r;
        for (size_t i = 0; i < policies->n_policies; i++) {
                const struct policy *policy = policies->policies[i];
                char timer[TIMER_NAME_MAX];

                (void) snprintf(timer, sizeof(timer), TIMER_PREFIX "%s.timer", policy->name);
                if (!policy->environment || find_armed(&timers, timer))
                        continue;
                r = arm(&timers, policy->environment, policy->name, time(NULL) + RETRY_SEC);
                error = r < 0 ? r : error;
        }
        bus_units_free(timers.armed, timers.n_armed);
        return error;
}

int run_arm_timers(struct run *run) {
        struct timers timers = { .run = run };
        int r, error = 0;

        if (!context_is_host(run->context))
                return 0;
        r = run_open_view(run);
        if (r >= 0)
                r = bus_list_units(run->bus, TIMER_PREFIX "*.timer", &timers.armed, &timers.n_armed);
        if (r < 0) {
                log_error("cannot arm timers, for systemd does not answer (%s); the daily keyrota-rotate.timer has to do", strerror(-r));
                return r;
        }
        for (size_t i = 0; i < run->policies->n_policies; i++) {
                if (!run_wants(run, run->items[i].written->name))
                        continue;
                r = arm_item(&timers, &run->items[i]);
                error = r < 0 ? r : error;
        }
        for (size_t i = 0; i < run->n_retired; i++) {
                const struct due *due = &run->retired[i];

                r = arm(&timers, due->environment, due->name, next_look(run, due->environment, due->name, due->when, due->waits));
                error = r < 0 ? r : error;
        }
        bus_units_free(timers.armed, timers.n_armed);
        return error;
}
