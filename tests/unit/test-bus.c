/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The service manager's version: how it is spelled, and what happens where nobody answers. */

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus.h"
#include "cleanup.h"
#include "tap.h"

TEST(version_is_the_leading_number) {
        static const struct {
                const char *text;
                int result;
                unsigned version;
        } rows[] = {
                { "257.13-1~deb13u1", 0, 257 }, { "252 (252.39-1~deb12u2)", 0, 252 }, { "v258", 0, 258 },
                { "v260-rc2", 0, 260 },         { "249", 0, 249 },                    { "", -EBADMSG, 0 },
                { "v", -EBADMSG, 0 },           { "systemd 257", -EBADMSG, 0 },       { "-1", -EBADMSG, 0 },
                { "12345678901", -EBADMSG, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                unsigned version = 0;

                expect_int(bus_parse_version(rows[i].text, &version), rows[i].result);
                expect_int(version, rows[i].version);
        }
}

/* Where systemd runs, its own socket comes first and root is not sent to the bus at all. */
static bool is_booted(void) {
        return access("/run/systemd/private", F_OK) == 0;
}

TEST(no_bus_is_no_systemd) {
        unsigned version = 1;

        if (is_booted())
                skip("systemd runs here");
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
        expect_int(bus_systemd_version(&version), -ENODATA);
        expect_int(version, 1);
}

TEST(bus_that_never_answers_is_given_up) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char directory[] = "/tmp/test-bus-XXXXXX", variable[200];
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        unsigned version = 1;
        int r;

        if (is_booted())
                skip("systemd runs here");
        expect(fd >= 0 && mkdtemp(directory));
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/bus", directory);
        (void) snprintf(variable, sizeof(variable), "unix:path=%s", address.sun_path);
        expect_int(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        expect_int(listen(fd, 1), 0);
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", variable, 1);
        (void) alarm(60); /* it waits two seconds, not for ever */
        r = bus_systemd_version(&version);
        (void) alarm(0);
        (void) unlink(address.sun_path);
        (void) rmdir(directory);
        expect_int(r, -ETIMEDOUT);
        expect_int(version, 1);
}

TEST(running_systemd_tells_its_version) {
        unsigned version = 0;

        if (!is_booted())
                skip("systemd does not run here");
        (void) unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
        expect_int(bus_systemd_version(&version), 0);
        expect(version >= 249 && version < 1000);
}

int main(void) {
        return tap_main();
}
