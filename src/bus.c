/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection to the service manager, calls over it, and the manager's version. Calls libsystemd only. */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "bus-internal.h"

#define PRIVATE_SOCKET "/run/systemd/private" /* root's; there from the start of the boot, before any bus */
#define VERSION_USEC (2 * BUS_USEC_PER_SEC)

uint64_t bus_now(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * BUS_USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

static int set_deadline(sd_bus *connection, uint64_t deadline) {
        uint64_t now = bus_now();

        return now >= deadline ? -ETIMEDOUT : sd_bus_set_method_call_timeout(connection, deadline - now);
}

/* ---- connecting ------------------------------------------------------------------------------------------ */

/* Until the other side has taken us. */
static int wait_ready(sd_bus *connection, uint64_t deadline) {
        for (;;) {
                uint64_t now = bus_now();
                int r;

                r = sd_bus_is_ready(connection);
                if (r != 0)
                        return r < 0 ? r : 0;
                if (now >= deadline)
                        return -ETIMEDOUT;
                r = sd_bus_process(connection, NULL);
                if (r == 0)
                        r = sd_bus_wait(connection, deadline - now);
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

/* watch: waits for a socket that is not there, or that nobody listens on. */
static int connect_private(const char *path, bool watch, uint64_t deadline, sd_bus **ret) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *connection = NULL;
        _cleanup_free_ char *address = NULL;
        int r;

        if (asprintf(&address, "unix:path=%s", path) < 0)
                return -ENOMEM;
        r = sd_bus_new(&connection);
        if (r >= 0)
                r = sd_bus_set_address(connection, address);
        if (r >= 0)
                r = sd_bus_set_watch_bind(connection, watch);
        if (r >= 0)
                r = sd_bus_start(connection);
        if (r >= 0)
                r = wait_ready(connection, deadline);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(connection);
        return 0;
}

/* Any bus can be there without a manager; one that has no name on it does not take our subscription. */
static int connect_system(uint64_t deadline, sd_bus **ret) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *connection = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_open_system(&connection);
        if (r >= 0)
                r = wait_ready(connection, deadline);
        if (r >= 0)
                r = set_deadline(connection, deadline);
        if (r < 0)
                return r;
        r = sd_bus_call_method(connection, BUS_NAME, BUS_PATH, BUS_MANAGER, "Subscribe", &error, NULL, NULL);
        if (sd_bus_error_has_name(&error, SD_BUS_ERROR_SERVICE_UNKNOWN) || sd_bus_error_has_name(&error, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
            (error.name && strstr(error.name, ".Spawn.")))
                return -ENOENT;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(connection);
        return 0;
}

static bool is_absent(int error) {
        return error == -ENOENT || error == -ECONNREFUSED || error == -EHOSTDOWN;
}

static bool is_disconnect(int error) {
        return error == -ECONNRESET || error == -ENOTCONN || error == -EPIPE || error == -ESHUTDOWN;
}

/* A manager that executes itself anew is not there for a moment: neither is its socket, and it drops who is connected. */
static int connect_any(const char *private_socket, bool must_exist, uint64_t deadline, sd_bus **ret, bool *ret_is_private) {
        int r, q;

        *ret_is_private = true;
        r = connect_private(private_socket, false, deadline, ret);
        if (r >= 0 || r == -ETIMEDOUT || r == -ENOMEM)
                return r;
        q = connect_system(deadline, ret);
        if (q >= 0) {
                *ret_is_private = false;
                return 0;
        }
        if (must_exist && (is_absent(r) || is_disconnect(r)))
                return connect_private(private_socket, true, deadline, ret);
        if (!is_absent(q))
                return q;
        return is_absent(r) ? -ENODATA : r;
}

/* The private socket's manager sends its signals to all who are connected there, unasked; a bus has to be told. */
static int listen_for(struct bus *bus, const char *signal, sd_bus_message_handler_t handler) {
        return sd_bus_match_signal(bus->connection, NULL, bus->is_private ? NULL : BUS_NAME, BUS_PATH, BUS_MANAGER, signal, handler, bus);
}

static int connect_bus(struct bus *bus, bool must_exist, uint64_t deadline) {
        int r;

        bus->connection = sd_bus_close_unref(bus->connection);
        r = connect_any(bus->private_socket, must_exist, deadline, &bus->connection, &bus->is_private);
        if (r < 0)
                return r;
        r = set_deadline(bus->connection, deadline);
        if (r >= 0)
                r = listen_for(bus, "JobRemoved", bus_on_job_removed);
        if (r >= 0)
                r = listen_for(bus, "UnitRemoved", bus_on_unit_removed);
        if (r < 0) {
                bus->connection = sd_bus_close_unref(bus->connection);
                return r;
        }
        bus->connected++;
        return 0;
}

void bus_free(struct bus *bus) {
        if (!bus)
                return;
        sd_bus_close_unref(bus->connection);
        free(bus->private_socket);
        free(bus);
}

int bus_open_at(const char *private_socket, bool must_exist, uint64_t deadline, struct bus **ret) {
        _cleanup_(bus_freep) struct bus *bus = calloc(1, sizeof(*bus));
        int r;

        if (!bus)
                return -ENOMEM;
        bus->private_socket = strdup(private_socket);
        if (!bus->private_socket)
                return -ENOMEM;
        r = connect_bus(bus, must_exist, deadline);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

int bus_open(struct bus **ret) {
        return bus_open_at(PRIVATE_SOCKET, sd_booted() > 0, bus_now() + BUS_CALL_USEC, ret);
}

/* ---- calls ----------------------------------------------------------------------------------------------- */

/* All that has come so far: signals that nobody takes off the queue would fill it. */
static int drain(struct bus *bus) {
        int r;

        do
                r = sd_bus_process(bus->connection, NULL);
        while (r > 0);
        return r;
}

static int call_manager(struct bus *bus, uint64_t deadline, const char *path, const char *interface, const char *member, sd_bus_error *error,
                     sd_bus_message **ret, const char *types, va_list arguments) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        uint64_t now;
        int r;

        r = drain(bus);
        if (r >= 0)
                r = sd_bus_message_new_method_call(bus->connection, &call, BUS_NAME, path, interface, member);
        if (r >= 0)
                r = sd_bus_message_appendv(call, types, arguments);
        if (r < 0)
                return r;
        now = bus_now();
        if (now >= deadline)
                return -ETIMEDOUT;
        r = sd_bus_call(bus->connection, call, deadline - now, error, ret);
        /* by a bus, for a manager that dropped it */
        if (r < 0 && sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY))
                r = -ECONNRESET;
        /* our own words, not the manager's */
        if (is_disconnect(r) || r == -ETIMEDOUT || r == -ENOMEM)
                sd_bus_error_free(error);
        return r;
}

int bus_call(struct bus *bus, uint64_t deadline, const char *path, const char *interface, const char *member, sd_bus_error *error,
             sd_bus_message **ret, const char *types, ...) {
        _cleanup_(sd_bus_error_free) sd_bus_error own_error = SD_BUS_ERROR_NULL;
        va_list arguments;
        int r;

        for (unsigned tries = 1;; tries++) {
                if (!bus->connection || sd_bus_is_open(bus->connection) <= 0) {
                        r = connect_bus(bus, true, deadline);
                        if (r < 0)
                                return r;
                }
                va_start(arguments, types);
                r = call_manager(bus, deadline, path, interface, member, error ? error : &own_error, ret, types, arguments);
                va_end(arguments);
                if (!is_disconnect(r))
                        return r < 0 ? r : 0;
                bus->connection = sd_bus_close_unref(bus->connection);
                if (tries == 2)
                        return r;
        }
}

int bus_process(struct bus *bus, uint64_t deadline) {
        uint64_t now = bus_now();
        int r;

        if (now >= deadline)
                return -ETIMEDOUT;
        r = bus->connection ? sd_bus_process(bus->connection, NULL) : -ENOTCONN;
        if (r == 0)
                r = sd_bus_wait(bus->connection, deadline - now);
        if (r == -EINTR)
                return 0;
        return is_disconnect(r) ? connect_bus(bus, true, deadline) : r < 0 ? r : 0;
}

/* ---- the version ----------------------------------------------------------------------------------------- */

int bus_parse_version(const char *text, unsigned *ret) {
        unsigned version = 0;
        size_t n;

        text += *text == 'v';
        n = strspn(text, "0123456789");
        if (n == 0 || n > 6)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++)
                version = version * 10 + (unsigned) (text[i] - '0');
        *ret = version;
        return 0;
}

static int get_version(struct bus *bus, uint64_t deadline, unsigned *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *text;
        int r;

        r = bus_call(bus, deadline, BUS_PATH, "org.freedesktop.DBus.Properties", "Get", NULL, &reply, "ss", BUS_MANAGER, "Version");
        if (r >= 0)
                r = sd_bus_message_read(reply, "v", "s", &text);
        return r < 0 ? r : bus_parse_version(text, ret);
}

int bus_systemd_version(unsigned *ret) {
        _cleanup_(bus_freep) struct bus *bus = NULL;
        uint64_t deadline = bus_now() + VERSION_USEC;
        int r;

        r = bus_open_at(PRIVATE_SOCKET, false, deadline, &bus);
        if (r >= 0)
                r = get_version(bus, deadline, ret);
        return r >= 0 || r == -ENODATA || r == -ETIMEDOUT ? r : -EIO;
}
