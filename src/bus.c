/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one door to the service manager. Calls libsystemd only. */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include "bus.h"
#include "cleanup.h"

#define PRIVATE_SOCKET "/run/systemd/private" /* root's; there from the start of the boot, before any bus */
#define DEADLINE_USEC UINT64_C(2000000)

static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

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

/* sd_bus_open_system() and its like, but without waiting: a bus that is socket-activated and not up yet
 * would hold us up. */
static int open_private(sd_bus **ret) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, "unix:path=" PRIVATE_SOCKET);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

/* Until the bus is connected and has taken us. */
static int wait_ready(sd_bus *bus, uint64_t deadline) {
        for (;;) {
                uint64_t now = now_usec();
                int r;

                r = sd_bus_is_ready(bus);
                if (r != 0)
                        return r < 0 ? r : 0;
                if (now >= deadline)
                        return -ETIMEDOUT;
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, deadline - now);
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

static int get_version(sd_bus *bus, uint64_t deadline, unsigned *ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *text = NULL;
        uint64_t now;
        int r;

        r = wait_ready(bus, deadline);
        if (r < 0)
                return r;
        now = now_usec();
        if (now >= deadline)
                return -ETIMEDOUT;
        r = sd_bus_set_method_call_timeout(bus, deadline - now);
        if (r >= 0)
                r = sd_bus_get_property_string(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                               "org.freedesktop.systemd1.Manager", "Version", &error, &text);
        if (r < 0)
                return r;
        return bus_parse_version(text, ret);
}

static bool is_no_answer(int error) {
        return error == -ENOENT || error == -ECONNREFUSED || error == -EHOSTDOWN;
}

int bus_systemd_version(unsigned *ret) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *private = NULL, *bus = NULL;
        uint64_t deadline = now_usec() + DEADLINE_USEC;
        int r;

        r = open_private(&private);
        if (r >= 0)
                r = get_version(private, deadline, ret);
        if (r < 0 && r != -ETIMEDOUT) {
                r = sd_bus_open_system(&bus);
                if (r >= 0)
                        r = get_version(bus, deadline, ret);
        }
        if (r < 0)
                return is_no_answer(r) ? -ENODATA : r == -ETIMEDOUT ? r : -EIO;
        return 0;
}
