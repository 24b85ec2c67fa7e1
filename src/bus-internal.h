/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_BUS_INTERNAL_H
#define KEYROTA_BUS_INTERNAL_H

/* What the files of the bus module share: one connection, one call, one wait. For bus*.c and their test alone. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "bus.h"

#define BUS_USEC_PER_SEC UINT64_C(1000000)
#define BUS_CALL_USEC (10 * BUS_USEC_PER_SEC)

#define BUS_PATH "/org/freedesktop/systemd1"
#define BUS_NAME "org.freedesktop.systemd1"
#define BUS_MANAGER BUS_NAME ".Manager"
#define BUS_UNIT BUS_NAME ".Unit"
#define BUS_SERVICE BUS_NAME ".Service"

#define BUS_NO_SUCH_UNIT BUS_NAME ".NoSuchUnit"
#define BUS_NO_SUCH_JOB BUS_NAME ".NoSuchJob"
#define BUS_UNIT_EXISTS BUS_NAME ".UnitExists"

/* The result of a job that ended while nobody listened: the connection was lost meanwhile. */
#define BUS_JOB_UNSEEN "unseen"
#define BUS_JOB_RESULT_MAX 32

/* A job whose end is awaited. */
struct bus_awaited_job {
        char *path;                      /* owned; NULL: none */
        char result[BUS_JOB_RESULT_MAX]; /* "": it has not ended */
        unsigned connected;              /* bus->connected when its JobRemoved was last sure to reach us */
};

struct bus {
        sd_bus *connection; /* NULL: lost */
        char *private_socket;
        bool is_private;
        unsigned connected;           /* how often it has been; grows when the manager dropped us and was found again */
        struct bus_awaited_job *jobs; /* of the run under way, else NULL */
        size_t n_jobs;
        const char *awaited_unit; /* the unit that is to be unloaded, else NULL */
};

uint64_t bus_now(void); /* CLOCK_MONOTONIC, as the manager's "...TimestampMonotonic" */

/* As bus_open(). must_exist: the system was booted with systemd, so that a socket that is not there will be again. */
int bus_open_at(const char *private_socket, bool must_exist, uint64_t deadline, struct bus **ret);

/* Calls a method of the manager's; types and what follows are its arguments, as for sd_bus_message_append(). A connection that the manager has closed is
 * made anew, once, and the call made again. When the manager refuses, error says what it said; when it could not be asked, error is not set. ret
 * and error may be NULL. */
int bus_call(struct bus *bus, uint64_t deadline, const char *path, const char *interface, const char *member, sd_bus_error *error,
             sd_bus_message **ret, const char *types, ...);

/* Handles one thing that has come, or waits for it. A lost connection is made anew. -ETIMEDOUT. */
int bus_process(struct bus *bus, uint64_t deadline);

/* The object path of a unit; to be freed. */
int bus_unit_path(const char *unit, char **ret);

/* A job's JobRemoved reaches it from here on: reply is that of the method that made it. bus->jobs must contain it. */
int bus_job_await(struct bus *bus, struct bus_awaited_job *job, sd_bus_message *reply);
/* Until every job of bus->jobs has ended. */
int bus_jobs_wait(struct bus *bus, uint64_t deadline);

/* Handlers of the manager's signals; userdata is the bus. */
int bus_on_job_removed(sd_bus_message *signal, void *userdata, sd_bus_error *error);
int bus_on_unit_removed(sd_bus_message *signal, void *userdata, sd_bus_error *error);

/* "success", "exit-code"... as `property` of a unit's service says ("Result", "ReloadResult"); to be freed. "" where it has none. */
int bus_service_result(struct bus *bus, const char *unit, const char *property, uint64_t deadline, char **ret);

/* The state, and when it was reached (CLOCK_MONOTONIC). */
int bus_unit_state_since(struct bus *bus, const char *unit, uint64_t deadline, enum bus_unit_state *ret, uint64_t *ret_since);

#endif
