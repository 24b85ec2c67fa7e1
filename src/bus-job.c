/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Jobs: a unit restarted or reloaded, and how that ended; and signals to a unit. Calls libsystemd only. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-internal.h"

static const struct {
        const char *method, *noun, *result;
} jobs[] = {
        [BUS_RESTART] = { "RestartUnit", "restart", "Result" },
        [BUS_RELOAD] = { "ReloadUnit", "reload", "ReloadResult" },
        [BUS_TRY_RESTART] = { "TryRestartUnit", "restart", "Result" },
};

/* ---- ends of jobs ---------------------------------------------------------------------------------------- */

/* On a bus anybody can send us a signal that looks like the manager's. */
static bool is_from_root(sd_bus_message *message) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *sender = NULL;
        uid_t uid;

        return sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &sender) >= 0 && sd_bus_creds_get_euid(sender, &uid) >= 0 && uid == 0;
}

int bus_on_job_removed(sd_bus_message *signal, void *userdata, sd_bus_error *error _unused_) {
        const char *path, *result;
        struct bus *bus = userdata;

        if (sd_bus_message_read(signal, "uoss", NULL, &path, NULL, &result) < 0)
                return 0;
        for (size_t i = 0; i < bus->n_jobs; i++) {
                struct bus_awaited_job *job = &bus->jobs[i];

                if (job->path && strcmp(job->path, path) == 0 && !*job->result && (bus->is_private || is_from_root(signal)))
                        (void) snprintf(job->result, sizeof(job->result), "%s", result);
        }
        return 0;
}

int bus_job_await(struct bus *bus, struct bus_awaited_job *job, sd_bus_message *reply) {
        const char *path;
        int r;

        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        job->path = strdup(path);
        if (!job->path)
                return -ENOMEM;
        *job->result = 0;
        job->connected = bus->connected;
        return 0;
}

/* Is the job still there, after the connection over which we awaited its end was lost? */
static int look_again(struct bus *bus, struct bus_awaited_job *job, uint64_t deadline) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        unsigned connected = bus->connected;
        uint32_t id = (uint32_t) strtoul(strrchr(job->path, '/') + 1, NULL, 10);
        int r;

        r = bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, "GetJob", &error, NULL, "u", id);
        if (sd_bus_error_has_name(&error, BUS_NO_SUCH_JOB)) {
                /* what was sent to us before that answer */
                while (!*job->result && (r = sd_bus_process(bus->connection, NULL)) > 0)
                        ;
                if (!*job->result)
                        (void) strcpy(job->result, BUS_JOB_UNSEEN);
                return 0;
        }
        if (r >= 0)
                job->connected = connected;
        return r;
}

int bus_jobs_wait(struct bus *bus, uint64_t deadline) {
        for (;;) {
                bool waiting = false;
                int r;

                for (size_t i = 0; i < bus->n_jobs; i++) {
                        struct bus_awaited_job *job = &bus->jobs[i];

                        if (!job->path || *job->result)
                                continue;
                        if (job->connected != bus->connected) {
                                r = look_again(bus, job, deadline);
                                if (r < 0)
                                        return r;
                        }
                        waiting = waiting || !*job->result;
                }
                if (!waiting)
                        return 0;
                r = bus_process(bus, deadline);
                if (r < 0)
                        return r;
        }
}

/* ---- requests -------------------------------------------------------------------------------------------- */

/* The outcome of a request, in words. */
static int outcome(struct bus_job_request *request, int error, const char *format, ...) _printf_(3, 4);

static int outcome(struct bus_job_request *request, int error, const char *format, ...) {
        va_list arguments;
        int n;

        request->error = error;
        va_start(arguments, format);
        n = vasprintf(&request->reason, format, arguments);
        va_end(arguments);
        if (n < 0) {
                request->reason = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* Negative: the manager could not be asked. A refusal is the request's outcome. */
static int enqueue(struct bus *bus, struct bus_job_request *request, struct bus_awaited_job *job, uint64_t deadline) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, jobs[request->job].method, &error, &reply, "ss", request->unit, "replace");
        if (r < 0)
                return sd_bus_error_is_set(&error) ? outcome(request, r, "%s", error.message ? error.message : error.name) : r;
        return bus_job_await(bus, job, reply);
}

static int job_error(const char *result) {
        if (strcmp(result, "canceled") == 0)
                return -ECANCELED;
        return strcmp(result, "timeout") == 0 ? -ETIME : -EIO;
}

/* The job ended while the manager was not connected with us: what became of the unit tells. One that ended well may have been unloaded since, and
 * knows of no time then. */
static int outcome_unseen(struct bus *bus, struct bus_job_request *request, uint64_t started, const char *unit_result, uint64_t deadline) {
        enum bus_unit_state state;
        uint64_t since;
        int r;

        r = bus_unit_state_since(bus, request->unit, deadline, &state, &since);
        if (r < 0)
                return r;
        if (state != BUS_UNIT_FAILED && (since >= started || since == 0) && (!*unit_result || strcmp(unit_result, "success") == 0))
                return 0;
        return outcome(request, -EIO, "the service manager was started anew during its %s job, and it is %s (result %s)",
                       jobs[request->job].noun, state == BUS_UNIT_FAILED ? "failed" : "as it was before", *unit_result ? unit_result : "unknown");
}

static int outcome_of_job(struct bus *bus, struct bus_job_request *request, const struct bus_awaited_job *job, uint64_t started,
                          uint64_t deadline) {
        _cleanup_free_ char *unit_result = NULL;
        int r;

        if (strcmp(job->result, "done") == 0)
                return 0;
        r = bus_service_result(bus, request->unit, jobs[request->job].result, deadline, &unit_result);
        if (r < 0)
                return r;
        if (strcmp(job->result, BUS_JOB_UNSEEN) == 0)
                return outcome_unseen(bus, request, started, unit_result, deadline);
        if (strcmp(job->result, "dependency") == 0)
                return outcome(request, -EIO, "its %s job ended with \"dependency\": a unit that it requires did not start", jobs[request->job].noun);
        if (*unit_result && strcmp(unit_result, "success") != 0)
                return outcome(request, job_error(job->result), "its %s job ended with \"%s\" (result %s)", jobs[request->job].noun, job->result,
                               unit_result);
        return outcome(request, job_error(job->result), "its %s job ended with \"%s\"", jobs[request->job].noun, job->result);
}

static int outcomes(struct bus *bus, struct bus_job_request *requests, uint64_t started, unsigned timeout) {
        uint64_t deadline = bus_now() + BUS_CALL_USEC;

        for (size_t i = 0; i < bus->n_jobs; i++) {
                int r = 0;

                if (!bus->jobs[i].path)
                        continue;
                if (!*bus->jobs[i].result)
                        r = outcome(&requests[i], -ETIMEDOUT, "its %s job has not ended within %u s", jobs[requests[i].job].noun, timeout);
                else
                        r = outcome_of_job(bus, &requests[i], &bus->jobs[i], started, deadline);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int run_jobs(struct bus *bus, struct bus_job_request *requests, unsigned timeout) {
        uint64_t started = bus_now(), deadline = started + timeout * BUS_USEC_PER_SEC;
        int r;

        for (size_t i = 0; i < bus->n_jobs; i++) {
                r = enqueue(bus, &requests[i], &bus->jobs[i], deadline);
                if (r < 0)
                        return r;
        }
        r = bus_jobs_wait(bus, deadline);
        return r < 0 && r != -ETIMEDOUT ? r : outcomes(bus, requests, started, timeout);
}

int bus_run_jobs(struct bus *bus, struct bus_job_request *requests, size_t n, unsigned timeout) {
        int r;

        for (size_t i = 0; i < n; i++) {
                requests[i].error = 0;
                requests[i].reason = NULL;
        }
        bus->jobs = calloc(n > 0 ? n : 1, sizeof(*bus->jobs));
        if (!bus->jobs)
                return -ENOMEM;
        bus->n_jobs = n;

        r = run_jobs(bus, requests, timeout);

        for (size_t i = 0; i < n; i++) {
                if (r < 0 && requests[i].error == 0 && strcmp(bus->jobs[i].result, "done") != 0)
                        requests[i].error = r;
                free(bus->jobs[i].path);
        }
        free(bus->jobs);
        bus->jobs = NULL;
        bus->n_jobs = 0;
        return r;
}

/* ---- signals --------------------------------------------------------------------------------------------- */

int bus_signal(struct bus *bus, const char *unit, int signal) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_call(bus, bus_now() + BUS_CALL_USEC, BUS_PATH, BUS_MANAGER, "KillUnit", &error, NULL, "ssi", unit, "main", signal);
        return sd_bus_error_has_name(&error, BUS_NO_SUCH_UNIT) ? -ESRCH : r;
}
