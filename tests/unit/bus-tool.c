/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The bus module from a shell: each function once, for tests of it that need a service manager. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-internal.h"

#define TIMEOUT 60

static int list(struct bus *bus, char **arguments) {
        static const char *const states[] = { "stopped", "failed", "running" };
        struct bus_unit *units;
        size_t n;
        int r;

        r = bus_list_units(bus, arguments[0], &units, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                printf("%s %s %s\n", units[i].name, states[units[i].state], units[i].description);
        bus_units_free(units, n);
        return 0;
}

static int facts(struct bus *bus, char **arguments) {
        static const char *const states[] = { "stopped", "failed", "running" };
        struct bus_unit_facts found;
        int r;

        r = bus_unit_facts(bus, arguments[0], arguments[1] ? arguments[1] : "/run/keyrota/credential/socket",
                           arguments[1] ? arguments[2] : NULL, &found);
        if (r < 0)
                return r;
        printf("state=%s invocation=%s started=%" PRId64 " loads=%d reload=%d result=%s\n", states[found.state], found.invocation,
               found.started_usec, found.loads_credential, found.needs_daemon_reload, found.result);
        bus_unit_facts_clear(&found);
        return 0;
}

static enum bus_job parse_job(const char *text) {
        return strcmp(text, "reload") == 0 ? BUS_RELOAD : strcmp(text, "try-restart") == 0 ? BUS_TRY_RESTART : BUS_RESTART;
}

/* A line for each unit; a number at the end is the timeout. */
static int job(struct bus *bus, char **arguments) {
        struct bus_job_request requests[100] = { 0 };
        unsigned timeout = TIMEOUT;
        size_t n = 0;
        int r;

        for (size_t i = 1; arguments[i] && n < ELEMENTSOF(requests); i++)
                if (strspn(arguments[i], "0123456789") == strlen(arguments[i]))
                        timeout = (unsigned) strtoul(arguments[i], NULL, 10);
                else
                        requests[n++] = (struct bus_job_request) { .unit = arguments[i], .job = parse_job(arguments[0]) };
        r = bus_run_jobs(bus, requests, n, timeout);
        for (size_t i = 0; i < n; i++) {
                printf("%s %s %s\n", requests[i].unit, requests[i].error ? strerrorname_np(-requests[i].error) : "done",
                       requests[i].reason ? requests[i].reason : "");
                free(requests[i].reason);
        }
        return r;
}

static int send_signal(struct bus *bus, char **arguments) {
        return bus_signal(bus, arguments[0], atoi(arguments[1]));
}

static int arm(struct bus *bus, char **arguments) {
        return bus_arm_timer(bus, arguments[0], arguments[1], strtoll(arguments[2], NULL, 10), arguments[3]);
}

static int disarm(struct bus *bus, char **arguments) {
        return bus_disarm_timer(bus, arguments[0]);
}

static const struct {
        const char *name;
        int n_arguments;
        int (*run)(struct bus *bus, char **arguments);
} verbs[] = {
        { "list", 1, list },   { "facts", 1, facts }, { "job", 2, job },
        { "signal", 2, send_signal }, { "arm", 4, arm },     { "disarm", 1, disarm },
};

/* With a private socket that is not there it goes by the system bus. */
static int open_bus(struct bus **ret) {
        const char *path = getenv("BUS_TOOL_PRIVATE_SOCKET");

        return path ? bus_open_at(path, false, bus_now() + BUS_CALL_USEC, ret) : bus_open(ret);
}

int main(int argc, char **argv) {
        _cleanup_(bus_freep) struct bus *bus = NULL;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                int r;

                if (argc < 2 || strcmp(argv[1], verbs[i].name) != 0 || argc < 2 + verbs[i].n_arguments)
                        continue;
                r = open_bus(&bus);
                if (r >= 0)
                        r = verbs[i].run(bus, argv + 2);
                if (r < 0)
                        fprintf(stderr, "%s: %s\n", argv[1], strerrorname_np(-r));
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        fprintf(stderr, "usage: bus-tool list PATTERN | facts UNIT [SOCKET] | job restart|try-restart|reload UNIT... [SECONDS] | signal UNIT NUMBER |\n"
                        "                arm TIMER SERVICE WHEN DESCRIPTION | disarm TIMER\n");
        return 2;
}
