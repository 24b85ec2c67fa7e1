/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who asks: the address that systemd binds, and the cgroup that proves it. */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "peer.h"
#include "tap.h"

/* An abstract address of these bytes, the leading NUL left out. */
static int parse(const char *bytes, size_t size, char *unit, char *credential) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        memcpy(address.sun_path + 1, bytes, size);
        return peer_parse_address(&address, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + size),
                                  unit, credential);
}

TEST(address_gives_unit_and_credential) {
        static const struct {
                const char *address, *unit, *credential;
        } rows[] = {
                { "0/unit/a.service/k", "a.service", "k" },
                { "1f2e3d4c5b6a7988/unit/billing.service/jwt.key", "billing.service", "jwt.key" },
                { "ab/unit/gateway@eu-1.service/billing.jwks", "gateway@eu-1.service", "billing.jwks" },
                { "ab/unit/dev-disk-by\\x2dlabel.service/K_0-9.z", "dev-disk-by\\x2dlabel.service", "K_0-9.z" },
        };
        char unit[PEER_NAME_MAX], credential[PEER_NAME_MAX];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                expect_int(parse(rows[i].address, strlen(rows[i].address), unit, credential), 0);
                expect_string(unit, rows[i].unit);
                expect_string(credential, rows[i].credential);
        }
}

TEST(address_as_long_as_the_kernel_takes_is_parsed) {
        char address[PEER_NAME_MAX + 1], unit[PEER_NAME_MAX], credential[PEER_NAME_MAX];

        memset(address, 'u', sizeof(address));
        memcpy(address, "0123456789abcdef/unit/", 22);
        memcpy(address + sizeof(address) - 11, ".service/k", 11);
        expect_int(strlen(address), PEER_NAME_MAX);
        expect_int(parse(address, PEER_NAME_MAX, unit, credential), 0);
        expect_int(strlen(unit), PEER_NAME_MAX - 22 - 2);
        expect_string(credential, "k");
}

TEST(any_other_address_is_refused) {
        static const char *const rows[] = {
                "", "/unit/a.service/k", "ab", "ab/unit/", "ab/unit/a.service", "ab/unit/a.service/",
                "ab/unit//k", "AB/unit/a.service/k", "xy/unit/a.service/k",
                "0123456789abcdef0/unit/a.service/k", "ab/unix/a.service/k", "ab/unit/a.socket/k",
                "ab/unit/.service/k", "ab/unit/@x.service/k", "ab/unit/a@.service/k",
                "ab/unit/../a.service/k", "ab/unit/a b.service/k", "ab/unit/a.service/.",
                "ab/unit/a.service/..", "ab/unit/a.service/k\n", "ab/unit/a.service/k=",
                "ab/unit/\xc3\xa4.service/k", "ab/user/a.service/k",
        };
        char unit[PEER_NAME_MAX] = "as it was", credential[PEER_NAME_MAX] = "as it was";

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (parse(rows[i], strlen(rows[i]), unit, credential) != -EINVAL) {
                        printf("# \"%s\" was taken\n", rows[i]);
                        expect(false);
                }
        expect_int(parse("ab/unit/a.service/k\0x", 21, unit, credential), -EINVAL);
        expect_int(parse("ab/unit/a.service/k\0", 20, unit, credential), -EINVAL);
        expect_string(unit, "as it was");
        expect_string(credential, "as it was");
}

TEST(address_that_is_not_abstract_is_refused) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/ab/unit/a.service/k" };
        socklen_t exactly = offsetof(struct sockaddr_un, sun_path) + 20;
        char unit[PEER_NAME_MAX], credential[PEER_NAME_MAX];

        expect_int(peer_parse_address(&address, sizeof(address), unit, credential), -EINVAL);
        expect_int(peer_parse_address(&address, exactly, unit, credential), -EINVAL);
        expect_int(peer_parse_address(&address, sizeof(sa_family_t), unit, credential), -EINVAL);
        expect_int(peer_parse_address(&address, 0, unit, credential), -EINVAL);
        address.sun_path[0] = '\0';
        expect_int(peer_parse_address(&address, exactly, unit, credential), 0);
        address.sun_family = AF_INET;
        expect_int(peer_parse_address(&address, exactly, unit, credential), -EINVAL);
}

TEST(instance_has_a_template) {
        char template[PEER_NAME_MAX + 1];

        expect(peer_template("gateway@eu.service", template));
        expect_string(template, "gateway@.service");
        expect(peer_template("gateway@eu@1.service", template));
        expect_string(template, "gateway@.service");
        expect(!peer_template("gateway.service", template));
}

TEST(cgroup_is_that_of_the_unified_hierarchy) {
        char path[PEER_CGROUP_MAX];

        expect_int(peer_parse_cgroup("0::/system.slice/a.service\n", path), 0);
        expect_string(path, "/system.slice/a.service");
        expect_int(peer_parse_cgroup("12:pids:/wrong\n1:name=systemd:/wrong\n0::/right\n", path), 0);
        expect_string(path, "/right");
        expect_int(peer_parse_cgroup("1:name=systemd:/system.slice/a.service\n", path), -EBADMSG);
        expect_int(peer_parse_cgroup("0::/cut off", path), -EBADMSG);
        expect_int(peer_parse_cgroup("0::relative\n", path), -EBADMSG);
        expect_int(peer_parse_cgroup("", path), -EBADMSG);
}

TEST(cgroup_root_is_without_init_scope) {
        char root[PEER_CGROUP_MAX];

        expect_int(peer_parse_cgroup_root("0::/init.scope\n", root), 0);
        expect_string(root, "");
        expect_int(peer_parse_cgroup_root("0::/\n", root), 0);
        expect_string(root, "");
        expect_int(peer_parse_cgroup_root("0::/machine.slice/c.scope/init.scope\n", root), 0);
        expect_string(root, "/machine.slice/c.scope");
        expect_int(peer_parse_cgroup_root("1:x:/\n", root), -EBADMSG);
}

TEST(cgroup_of_the_unit_is_accepted) {
        static const struct {
                const char *path, *root, *unit;
        } rows[] = {
                { "/system.slice/a.service", "", "a.service" },
                { "/a.service", "", "a.service" }, /* Slice=-.slice */
                { "/system.slice/system-a.slice/a@1.service", "", "a@1.service" },
                { "/system.slice/a.service/.control", "", "a.service" }, /* ExecStartPost= with Delegate=yes */
                { "/system.slice/a.service/supervisor", "", "a.service" }, /* DelegateSubgroup= */
                { "/system.slice/_memory.service", "", "memory.service" },
                { "/system.slice/__a.service", "", "_a.service" },
                { "/container/system.slice/a.service", "/container", "a.service" },
                { "/init.scope", "", "a.service" }, /* the manager, for RefreshOnReload= */
                { "/container/init.scope", "/container", "a.service" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const char *reason = peer_check_cgroup(rows[i].path, rows[i].root, rows[i].unit);

                if (reason) {
                        printf("# %s: %s\n", rows[i].path, reason);
                        expect(false);
                }
        }
}

TEST(any_other_cgroup_is_refused) {
        static const struct {
                const char *path, *root, *unit;
        } rows[] = {
                { "/", "", "a.service" },
                { "/system.slice", "", "a.service" },
                { "/system.slice/b.service", "", "a.service" },
                { "/system.slice/a.service2", "", "a.service" },
                { "/system.slice/xa.service", "", "a.service" },
                { "/system.slice/a.service (deleted)", "", "a.service" },
                { "/system.slice/_a.service", "", "_a.service" }, /* that is a.service's */
                { "/system.slice/b.service/a.service", "", "a.service" },
                { "/system.slice/a.service/x/y", "", "a.service" },
                { "/machine.slice/c.scope/system.slice/a.service", "", "a.service" }, /* a container's */
                { "/user.slice/a.service", "", "a.service" },
                { "/user.slice/user-0.slice/a.service", "", "a.service" },
                { "/user.slice/user-0.slice/user@0.service/app.slice/a.service", "", "a.service" },
                { "/user.slice/user-0.slice/user@0.service/app.slice/a.service", "", "user@0.service" },
                { "/user.slice/user-0.slice/user@0.service/init.scope", "", "a.service" },
                { "/machine.slice/c.scope/init.scope", "", "a.service" },
                { "/init.scope/x", "", "a.service" },
                { "/init.scope", "/container", "a.service" },
                { "/other/system.slice/a.service", "/container", "a.service" },
                { "/container2/a.service", "/container", "a.service" },
                { "/container2system.slice/a.service", "/container", "a.service" },
                { "/contenant/system.slice/a.service", "/container", "a.service" },
                { "/../system.slice/a.service", "", "a.service" }, /* outside of our cgroup namespace */
                { ".slice/a.service", "", "a.service" },
                { "/.slice/a.service", "", "a.service" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (!peer_check_cgroup(rows[i].path, rows[i].root, rows[i].unit)) {
                        printf("# %s was taken for %s\n", rows[i].path, rows[i].unit);
                        expect(false);
                }
}

TEST(this_process_is_no_service_in_its_setup) {
        struct peer peer;
        int pair[2];

        expect_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        expect(peer_identify(pair[0], "", &peer));
        expect_int(peer.pid, getpid());
        expect_int(peer.uid, getuid());
        expect(peer.has_uid);
        expect_string(peer.unit, "");
        expect(peer_identify(-1, "", &peer));
        expect(!peer.has_uid);
        (void) close(pair[0]);
        (void) close(pair[1]);
}

int main(void) {
        return tap_main();
}
