/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Units, as the service manager sees them: which are loaded, what one is doing. Calls libsystemd only. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-internal.h"

#define PROPERTIES "org.freedesktop.DBus.Properties"

/* A service between two automatic starts is "activating" and nothing of it runs. */
/* "auto-restart", "auto-restart-queued" */
static bool is_restarting(const char *sub) {
        return strncmp(sub, "auto-restart", strlen("auto-restart")) == 0;
}

static enum bus_unit_state unit_state(const char *active, const char *sub) {
        if (strcmp(active, "inactive") == 0 || is_restarting(sub))
                return BUS_UNIT_STOPPED;
        return strcmp(active, "failed") == 0 ? BUS_UNIT_FAILED : BUS_UNIT_RUNNING;
}

int bus_unit_path(const char *unit, char **ret) {
        return sd_bus_path_encode(BUS_PATH "/unit", unit, ret);
}

/* ---- the list -------------------------------------------------------------------------------------------- */

void bus_units_free(struct bus_unit *units, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(units[i].name);
                free(units[i].description);
        }
        free(units);
}

struct unit_list {
        struct bus_unit *items;
        size_t n_items, n_allocated;
};

static void unit_list_clear(struct unit_list *list) {
        bus_units_free(list->items, list->n_items);
}

static int unit_list_add(struct unit_list *list, const char *name, const char *description, enum bus_unit_state state) {
        struct bus_unit *item;

        if (list->n_items == list->n_allocated) {
                size_t n = list->n_allocated ? 2 * list->n_allocated : 16;
                struct bus_unit *items = reallocarray(list->items, n, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                list->items = items;
                list->n_allocated = n;
        }
        item = &list->items[list->n_items++];
        *item = (struct bus_unit) { .name = strdup(name), .description = strdup(description), .state = state };
        return item->name && item->description ? 0 : -ENOMEM;
}

static int compare_units(const void *a, const void *b) {
        return strcmp(((const struct bus_unit *) a)->name, ((const struct bus_unit *) b)->name);
}

int bus_list_units(struct bus *bus, const char *pattern, struct bus_unit **ret, size_t *ret_n) {
        _cleanup_(unit_list_clear) struct unit_list list = { 0 };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *name, *description, *active, *sub;
        int r;

        r = bus_call(bus, bus_now() + BUS_CALL_USEC, BUS_PATH, BUS_MANAGER, "ListUnitsByPatterns", NULL, &reply, "asas", 0, 1, pattern);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(reply, "(ssssssouso)", &name, &description, NULL, &active, &sub, NULL, NULL, NULL, NULL, NULL)) > 0) {
                r = unit_list_add(&list, name, description, unit_state(active, sub));
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (list.n_items > 0)
                qsort(list.items, list.n_items, sizeof(*list.items), compare_units);
        *ret = TAKE_PTR(list.items);
        *ret_n = list.n_items;
        list.n_items = 0;
        return 0;
}

/* ---- one unit -------------------------------------------------------------------------------------------- */

void bus_unit_facts_clear(struct bus_unit_facts *facts) {
        free(facts->result);
        *facts = (struct bus_unit_facts) { 0 };
}

struct unit_properties {
        const char *active, *sub;
        uint64_t since; /* of the state; CLOCK_MONOTONIC */
        uint64_t started;
        char invocation[33];
        bool needs_daemon_reload;
};

static int read_invocation(sd_bus_message *message, char *buffer) {
        const uint8_t *bytes;
        size_t n;
        int r;

        r = sd_bus_message_enter_container(message, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_read_array(message, 'y', (const void **) &bytes, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; n == 16 && i < n; i++) {
                buffer[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
                buffer[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
        }
        return sd_bus_message_exit_container(message);
}

static int read_property(sd_bus_message *message, const char *name, struct unit_properties *properties) {
        int truth, r;

        if (strcmp(name, "ActiveState") == 0)
                return sd_bus_message_read(message, "v", "s", &properties->active);
        if (strcmp(name, "SubState") == 0)
                return sd_bus_message_read(message, "v", "s", &properties->sub);
        if (strcmp(name, "StateChangeTimestampMonotonic") == 0)
                return sd_bus_message_read(message, "v", "t", &properties->since);
        if (strcmp(name, "InactiveExitTimestamp") == 0)
                return sd_bus_message_read(message, "v", "t", &properties->started);
        if (strcmp(name, "InvocationID") == 0)
                return read_invocation(message, properties->invocation);
        if (strcmp(name, "NeedDaemonReload") == 0) {
                r = sd_bus_message_read(message, "v", "b", &truth);
                if (r >= 0)
                        properties->needs_daemon_reload = truth;
                return r;
        }
        return sd_bus_message_skip(message, "v");
}

/* All in one answer, so that state and invocation belong together. The strings live as long as *reply. */
static int get_properties(struct bus *bus, const char *path, uint64_t deadline, sd_bus_message **reply, struct unit_properties *properties) {
        const char *name;
        int r;

        r = bus_call(bus, deadline, path, PROPERTIES, "GetAll", NULL, reply, "s", BUS_UNIT);
        if (r >= 0)
                r = sd_bus_message_enter_container(*reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(*reply, 'e', "sv")) > 0) {
                r = sd_bus_message_read(*reply, "s", &name);
                if (r >= 0)
                        r = read_property(*reply, name, properties);
                if (r >= 0)
                        r = sd_bus_message_exit_container(*reply);
        }
        if (r < 0)
                return r;
        return properties->active && properties->sub ? 0 : -EBADMSG;
}

static int get_service_property(struct bus *bus, const char *path, const char *property, uint64_t deadline, sd_bus_message **ret) {
        return bus_call(bus, deadline, path, PROPERTIES, "Get", NULL, ret, "ss", BUS_SERVICE, property);
}

static int get_result(struct bus *bus, const char *path, const char *property, uint64_t deadline, char **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *text;
        char *copy;
        int r;

        r = get_service_property(bus, path, property, deadline, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "v", "s", &text);
        if (r < 0)
                return r;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

/* Does a LoadCredential= name this socket? */
static int get_loads_from(struct bus *bus, const char *path, const char *socket, const char *credential, uint64_t deadline, bool *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *id, *source;
        bool found = false;
        int r;

        r = get_service_property(bus, path, "LoadCredential", deadline, &reply);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'v', "a(ss)");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ss)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ss)", &id, &source)) > 0)
                found = found || (strcmp(source, socket) == 0 && (!credential || strcmp(id, credential) == 0));
        if (r < 0)
                return r;
        *ret = found;
        return 0;
}

/* The path of a unit that is loaded, and of no other: to ask another one anything would load it. 0: it is not. */
static int get_loaded(struct bus *bus, const char *unit, uint64_t deadline, char **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        char *copy;
        int r;

        r = bus_call(bus, deadline, BUS_PATH, BUS_MANAGER, "GetUnit", &error, &reply, "s", unit);
        if (sd_bus_error_has_name(&error, BUS_NO_SUCH_UNIT))
                return 0;
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 1;
}

static bool is_service(const char *unit) {
        const char *dot = strrchr(unit, '.');

        return dot && strcmp(dot, ".service") == 0;
}

int bus_unit_facts(struct bus *bus, const char *unit, const char *socket, const char *credential, struct bus_unit_facts *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(bus_unit_facts_clear) struct bus_unit_facts facts = { .state = BUS_UNIT_STOPPED };
        struct unit_properties properties = { 0 };
        uint64_t deadline = bus_now() + BUS_CALL_USEC;
        _cleanup_free_ char *path = NULL;
        int r;

        r = get_loaded(bus, unit, deadline, &path);
        if (r < 0)
                return r;
        if (r > 0) {
                r = get_properties(bus, path, deadline, &reply, &properties);
                if (r >= 0 && is_service(unit))
                        r = get_loads_from(bus, path, socket, credential, deadline, &facts.loads_credential);
                if (r >= 0 && is_service(unit))
                        r = get_result(bus, path, "Result", deadline, &facts.result);
                if (r < 0)
                        return r;
                facts.state = unit_state(properties.active, properties.sub);
                facts.restarts = is_restarting(properties.sub);
                facts.started_usec = (int64_t) properties.started;
                facts.needs_daemon_reload = properties.needs_daemon_reload;
                memcpy(facts.invocation, properties.invocation, sizeof(facts.invocation));
        }
        if (!facts.result)
                facts.result = strdup("");
        if (!facts.result)
                return -ENOMEM;
        *ret = facts;
        facts = (struct bus_unit_facts) { 0 };
        return 0;
}

int bus_service_result(struct bus *bus, const char *unit, const char *property, uint64_t deadline, char **ret) {
        _cleanup_free_ char *path = NULL;
        char *none;
        int r;

        if (is_service(unit)) {
                r = bus_unit_path(unit, &path);
                return r < 0 ? r : get_result(bus, path, property, deadline, ret);
        }
        none = strdup("");
        if (!none)
                return -ENOMEM;
        *ret = none;
        return 0;
}

int bus_unit_state_since(struct bus *bus, const char *unit, uint64_t deadline, enum bus_unit_state *ret, uint64_t *ret_since) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        struct unit_properties properties = { 0 };
        _cleanup_free_ char *path = NULL;
        int r;

        r = bus_unit_path(unit, &path);
        if (r >= 0)
                r = get_properties(bus, path, deadline, &reply, &properties);
        if (r < 0)
                return r;
        *ret = unit_state(properties.active, properties.sub);
        *ret_since = properties.since;
        return 0;
}
