/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Transient timers: one for each thing to come, at its exact time. Calls libsystemd only. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-login.h>
#include <time.h>

#include "bus-internal.h"

#define LAST_TIME INT64_C(7258118399) /* 2199-12-31 23:59:59 UTC, the end of systemd's calendar */
/* A calendar time that has passed when the timer starts never comes. So what is nearer than the manager may take to answer is counted from the
 * timer's start on. */
#define NEAR_USEC (BUS_CALL_USEC + 5 * BUS_USEC_PER_SEC)
#define AGAIN_USEC (2 * BUS_USEC_PER_SEC)
/* What is started is to arm the timer anew, or to disarm it. It comes to that neither where it cannot even be started nor where it is killed. */
#define RETRY_SEC 300
#define LAST_RETRY_SEC 3600

/* ---- disarming ------------------------------------------------------------------------------------------- */

int bus_on_unit_removed(sd_bus_message *signal, void *userdata, sd_bus_error *error _unused_) {
        struct bus *bus = userdata;
        const char *unit;

        if (bus->awaited_unit && sd_bus_message_read(signal, "so", &unit, NULL) >= 0 && strcmp(unit, bus->awaited_unit) == 0)
                bus->awaited_unit = NULL;
        return 0;
}

/* The end of the one job that reply tells of. */
static int wait_for_job(struct bus *bus, sd_bus_message *reply, uint64_t deadline, char result[static BUS_JOB_RESULT_MAX]) {
        struct bus_awaited_job job = { 0 };
        int r;

        bus->jobs = &job;
        bus->n_jobs = 1;
        r = bus_job_await(bus, &job, reply);
        if (r >= 0)
                r = bus_jobs_wait(bus, deadline);
        bus->jobs = NULL;
        bus->n_jobs = 0;
        free(job.path);
        if (r >= 0)
                (void) strcpy(result, job.result);
        return r;
}

/* A timer that failed stays loaded until that is taken from it. 0: there was none of that name. */
static int stop_timer(struct bus *bus, const char *timer, uint64_t deadline) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        char result[BUS_JOB_RESULT_MAX];
        int r;

        r = bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, "StopUnit", &error, &reply, "ss", timer, "replace");
        if (sd_bus_error_has_name(&error, BUS_NO_SUCH_UNIT))
                return 0;
        if (r >= 0)
                r = wait_for_job(bus, reply, deadline, result);
        if (r < 0)
                return r;
        r = bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, "ResetFailedUnit", &error, NULL, "s", timer);
        return r < 0 && !sd_bus_error_has_name(&error, BUS_NO_SUCH_UNIT) ? r : 1;
}

int bus_disarm_timer(struct bus *bus, const char *timer) {
        int r;

        r = stop_timer(bus, timer, bus_now() + BUS_CALL_USEC);
        return r < 0 ? r : 0;
}

/* Until the manager has forgotten the unit, which it does a moment after it was stopped, and before there can be another one of that name. */
static int remove_timer(struct bus *bus, const char *timer, uint64_t deadline) {
        unsigned connected = bus->connected;
        int r;

        bus->awaited_unit = timer;
        r = stop_timer(bus, timer, deadline);
        while (r > 0 && bus->awaited_unit && bus->connected == connected) {
                r = bus_process(bus, deadline);
                r = r < 0 ? r : 1;
        }
        bus->awaited_unit = NULL;
        return r < 0 ? r : 0;
}

/* ---- arming ---------------------------------------------------------------------------------------------- */

/* A timer starts the unit of its own name: a transient one takes no Unit=. */
static bool is_named_as(const char *timer, const char *service) {
        const char *timer_dot = strrchr(timer, '.'), *service_dot = strrchr(service, '.');

        return timer_dot && service_dot && strcmp(timer_dot, ".timer") == 0 && strcmp(service_dot, ".service") == 0 &&
               timer_dot - timer == service_dot - service && strncmp(timer, service, (size_t) (timer_dot - timer)) == 0;
}

static bool runs_in(const char *service) {
        _cleanup_free_ char *unit = NULL;

        return sd_pid_get_unit(0, &unit) >= 0 && strcmp(unit, service) == 0;
}

/* How long until then; 0: it has come. */
static uint64_t usec_until(int64_t when) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        if (when <= now.tv_sec)
                return 0;
        if (when > LAST_TIME)
                when = LAST_TIME;
        return (uint64_t) (when - now.tv_sec) * BUS_USEC_PER_SEC - (uint64_t) now.tv_nsec / 1000;
}

/* The arguments up to the times. It waits for nothing: the start of a usual calendar timer may have to wait for time-sync.target while its time passes. */
#define TIMER_TYPES "ssa(sv)a(sa(sv))"
#define TIMER_BASICS(timer, description)                                                                                          \
        timer, "replace", 7, "Description", "s", description, "AccuracyUSec", "t", UINT64_C(1000), "RemainAfterElapse", "b", 0, \
                "DefaultDependencies", "b", 0, "Conflicts", "as", 1, "shutdown.target", "Before", "as", 1, "shutdown.target"

static int start_far(struct bus *bus, const char *timer, int64_t when, const char *description, uint64_t deadline, sd_bus_error *error,
                     sd_bus_message **ret) {
        static const int64_t after[] = { 0, RETRY_SEC, LAST_RETRY_SEC };
        char texts[3][64];

        for (size_t i = 0; i < 3; i++) {
                time_t time = (time_t) (when < LAST_TIME - after[i] ? when + after[i] : LAST_TIME);
                struct tm tm;

                if (!gmtime_r(&time, &tm) || strftime(texts[i], sizeof(texts[i]), "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
                        return -EINVAL;
        }
        return bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, "StartTransientUnit", error, ret, TIMER_TYPES, TIMER_BASICS(timer, description),
                        "TimersCalendar", "a(ss)", 3, "OnCalendar", texts[0], "OnCalendar", texts[1], "OnCalendar", texts[2], 0);
}

#define RETRIES(usec) "OnActiveSec", (usec) + RETRY_SEC * BUS_USEC_PER_SEC, "OnActiveSec", (usec) + LAST_RETRY_SEC * BUS_USEC_PER_SEC

static int start_near(struct bus *bus, const char *timer, uint64_t usec, const char *description, uint64_t deadline, sd_bus_error *error,
                      sd_bus_message **ret) {
        return bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, "StartTransientUnit", error, ret, TIMER_TYPES, TIMER_BASICS(timer, description),
                        "TimersMonotonic", "a(st)", 3, "OnActiveSec", usec, RETRIES(usec), 0);
}

/* The start of a service whose start is under way is merged into that, and so lost: the one that arms its own timer may not have ended when it
 * elapses. It elapses a second time then. */
static int start_near_in_service(struct bus *bus, const char *timer, uint64_t usec, const char *description, uint64_t deadline,
                                 sd_bus_error *error, sd_bus_message **ret) {
        return bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, "StartTransientUnit", error, ret, TIMER_TYPES, TIMER_BASICS(timer, description),
                        "TimersMonotonic", "a(st)", 4, "OnActiveSec", usec, "OnActiveSec", usec + AGAIN_USEC, RETRIES(usec), 0);
}

/* -EEXIST: there is one of that name. -EAGAIN: the manager was started anew meanwhile. */
static int start_timer(struct bus *bus, const char *timer, const char *service, int64_t when, const char *description, uint64_t deadline) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        uint64_t usec = usec_until(when);
        char result[BUS_JOB_RESULT_MAX];
        int r;

        if (usec > NEAR_USEC)
                r = start_far(bus, timer, when, description, deadline, &error, &reply);
        else if (runs_in(service))
                r = start_near_in_service(bus, timer, usec, description, deadline, &error, &reply);
        else
                r = start_near(bus, timer, usec, description, deadline, &error, &reply);
        if (sd_bus_error_has_name(&error, BUS_UNIT_EXISTS))
                return -EEXIST;
        if (r >= 0)
                r = wait_for_job(bus, reply, deadline, result);
        if (r < 0)
                return r;
        if (strcmp(result, BUS_JOB_UNSEEN) == 0)
                return -EAGAIN;
        /* canceled: somebody else put theirs in its place at this very moment */
        return strcmp(result, "done") == 0 || strcmp(result, "canceled") == 0 ? 0 : -EIO;
}

int bus_arm_timer(struct bus *bus, const char *timer, const char *service, int64_t when, const char *description) {
        uint64_t deadline = bus_now() + BUS_CALL_USEC;
        int r;

        if (!is_named_as(timer, service))
                return -EINVAL;
        for (;;) {
                r = start_timer(bus, timer, service, when, description, deadline);
                if (r != -EEXIST && r != -EAGAIN)
                        return r;
                r = remove_timer(bus, timer, deadline);
                if (r < 0)
                        return r;
        }
}
