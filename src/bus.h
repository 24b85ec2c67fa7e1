/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_BUS_H
#define KEYROTA_BUS_H

/*
 * The one door to the service manager (org.freedesktop.systemd1): what runs, jobs and their results, timers. By its private socket
 * where that is there (root's; from the start of the boot and without dbus), else by the system bus. Calls libsystemd only. Every call has a
 * deadline of 10 s, but where it says otherwise: -ETIMEDOUT. -ENODATA: there is no service manager to talk to (one that is only away for a moment is waited
 * for). A connection that is not used may stay open for some time, not for hours: the manager keeps all signals for it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"

/* 257 for "257.9-1". Its own short-lived connection, 2 s at most. -EIO: no proper answer. */
int bus_systemd_version(unsigned *ret);
int bus_parse_version(const char *text, unsigned *ret);

struct bus;

int bus_open(struct bus **ret);
void bus_free(struct bus *bus);
DEFINE_CLEANUP(struct bus *, bus_free);

/* What a unit is doing. */
enum bus_unit_state {
        BUS_UNIT_STOPPED, /* inactive, not loaded, or waiting for its next automatic start: it holds no credential */
        BUS_UNIT_FAILED,
        BUS_UNIT_RUNNING, /* active, activating, reloading, deactivating: it may hold one */
};

struct bus_unit {
        char *name;
        char *description;
        enum bus_unit_state state;
};

/* Every loaded unit whose name (not an alias) matches the fnmatch pattern, such as "gateway@*.service"; sorted by name. One call. */
int bus_list_units(struct bus *bus, const char *pattern, struct bus_unit **ret, size_t *ret_n);
void bus_units_free(struct bus_unit *units, size_t n);

/* More about one unit. */
struct bus_unit_facts {
        enum bus_unit_state state;
        char invocation[33];      /* lower-case hex; "" when it has none */
        int64_t started_usec;     /* InactiveExitTimestamp (CLOCK_REALTIME), 0: never */
        bool restarts;            /* stopped, and waits for its next automatic start (Restart=) */
        bool loads_credential;    /* the manager knows a LoadCredential= of it from this socket path */
        bool needs_daemon_reload; /* its files have changed since they were loaded */
        char *result;             /* "success", "exit-code"...; "" for what is not loaded; owned */
};
/* socket: the path that LoadCredential= names; credential: its ID, NULL for any. A unit that is not loaded: STOPPED. */
int bus_unit_facts(struct bus *bus, const char *unit, const char *socket, const char *credential, struct bus_unit_facts *ret);
void bus_unit_facts_clear(struct bus_unit_facts *facts);

enum bus_job {
        BUS_RESTART,     /* starts a unit that does not run, too */
        BUS_TRY_RESTART, /* "done" and nothing else for a unit that does not run */
        BUS_RELOAD,
};

struct bus_job_request {
        const char *unit;
        enum bus_job job;
        /* Set by bus_run_jobs(): */
        int error;    /* 0: result is "done"; -ECANCELED, -ETIME, -EIO: it is not; -ETIMEDOUT: no end within the time; -ENOENT, -EINVAL...: refused */
        char *reason; /* in words, with the manager's own message; owned by the caller; NULL when error is 0 */
};
/* Enqueues all of them at once, then waits until each has ended; timeout in seconds for all together. Returns 0 when the manager answered, whatever
 * the single results are; else what it returns is the error, without a reason, of all that are not known to be done, too. A manager that executes itself
 * anew meanwhile (daemon-reexec) is found again, and the jobs with it. */
int bus_run_jobs(struct bus *bus, struct bus_job_request *requests, size_t n, unsigned timeout);

/* To its main process. -ESRCH: it has none. */
int bus_signal(struct bus *bus, const char *unit, int signal);

/* Arms the transient timer `timer` ("keyrota-rotate@NAME.timer") to start `service`, which must be of the same name ("keyrota-rotate@NAME.service",
 * else -EINVAL), at when (seconds since 1970, UTC), in place of the one that may be armed. Never earlier; a past time means: at once. What is armed from
 * within that service for the next seconds may come twice, 2 s apart, unless it is armed anew. It comes again after five minutes and after an hour
 * unless what it starts arms or disarms it, which that may not have come to. description is what systemctl status shows. -EIO: the manager
 * did not start it (the journal says why; there is no such service). */
int bus_arm_timer(struct bus *bus, const char *timer, const char *service, int64_t when, const char *description);
/* 0 also when there is none. */
int bus_disarm_timer(struct bus *bus, const char *timer);

#endif
