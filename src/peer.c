/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who asks for a credential. Anybody who can connect can bind the address of any unit, and a user manager
 * of root sends the very same form; what tells them apart is the cgroup that only the system's manager puts
 * a process in. Calls libc only.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "cleanup.h"
#include "peer.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define ALPHANUMERICAL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define UNIT_ALPHABET ALPHANUMERICAL ":_.\\@-"
#define CREDENTIAL_ALPHABET ALPHANUMERICAL "_.-"

static bool ends_with(const char *text, size_t length, const char *end) {
        return length > strlen(end) && memcmp(text + length - strlen(end), end, strlen(end)) == 0;
}

static bool unit_valid(const char *unit) {
        return unit[strspn(unit, UNIT_ALPHABET)] == '\0' && unit[0] != '@' &&
               ends_with(unit, strlen(unit), ".service") && !ends_with(unit, strlen(unit), "@.service");
}

static bool credential_valid(const char *credential) {
        return *credential && credential[strspn(credential, CREDENTIAL_ALPHABET)] == '\0' &&
               strcmp(credential, ".") != 0 && strcmp(credential, "..") != 0;
}

int peer_parse_address(
                const struct sockaddr_un *address, socklen_t length, char ret_unit[static PEER_NAME_MAX],
                char ret_credential[static PEER_NAME_MAX]) {
        char name[PEER_NAME_MAX + 1], *unit, *credential;
        size_t n, digits;

        /* An abstract name is the bytes after the first NUL, as many as the length says; they end with
         * no NUL of their own. */
        if (length <= offsetof(struct sockaddr_un, sun_path) + 1 || length > sizeof(*address) ||
            address->sun_family != AF_UNIX || address->sun_path[0] != '\0')
                return -EINVAL;
        n = length - offsetof(struct sockaddr_un, sun_path) - 1;
        memcpy(name, address->sun_path + 1, n);
        name[n] = '\0';
        if (strlen(name) != n)
                return -EINVAL;

        digits = strspn(name, "0123456789abcdef");
        if (digits == 0 || digits > 16 || strncmp(name + digits, "/unit/", strlen("/unit/")) != 0)
                return -EINVAL;
        unit = name + digits + strlen("/unit/");
        credential = strrchr(unit, '/');
        if (!credential)
                return -EINVAL;
        *credential++ = '\0';
        if (!unit_valid(unit) || !credential_valid(credential))
                return -EINVAL;

        strcpy(ret_unit, unit); /* each is shorter than name */
        strcpy(ret_credential, credential);
        return 0;
}

bool peer_template(const char *unit, char ret[static PEER_NAME_MAX + 1]) {
        const char *at = strchr(unit, '@');

        if (!at || strlen(unit) >= PEER_NAME_MAX)
                return false;
        (void) snprintf(ret, PEER_NAME_MAX + 1, "%.*s@.service", (int) (at - unit), unit);
        return true;
}

int peer_parse_cgroup(const char *text, char ret[static PEER_CGROUP_MAX]) {
        for (const char *line = text; *line;) {
                const char *end = strchrnul(line, '\n');

                if (strncmp(line, "0::/", strlen("0::/")) == 0) {
                        size_t n = (size_t) (end - line) - strlen("0::");

                        if (*end != '\n' || n >= PEER_CGROUP_MAX)
                                return -EBADMSG;
                        memcpy(ret, line + strlen("0::"), n);
                        ret[n] = '\0';
                        return 0;
                }
                line = *end ? end + 1 : end;
        }
        return -EBADMSG;
}

int peer_parse_cgroup_root(const char *text, char ret[static PEER_CGROUP_MAX]) {
        char path[PEER_CGROUP_MAX];
        size_t n;
        int r;

        r = peer_parse_cgroup(text, path);
        if (r < 0)
                return r;
        n = strlen(path);
        if (n >= strlen("/init.scope") && strcmp(path + n - strlen("/init.scope"), "/init.scope") == 0)
                n -= strlen("/init.scope");
        if (n == 1)
                n = 0; /* "/" */
        memcpy(ret, path, n);
        ret[n] = '\0';
        return 0;
}

/* systemd puts a "_" before a name that would look like a file of the cgroup file system
 * ("memory.service"), and before one that starts with "_" itself, so that no two units share a folder. */
static bool is_cgroup_of(const char *folder, size_t length, const char *unit) {
        if (length == strlen(unit) && memcmp(folder, unit, length) == 0)
                return unit[0] != '_';
        return length == strlen(unit) + 1 && folder[0] == '_' && memcmp(folder + 1, unit, length - 1) == 0;
}

const char *peer_check_cgroup(const char *path, const char *root, const char *unit) {
        const char *p;

        if (strncmp(path, root, strlen(root)) != 0 || path[strlen(root)] != '/')
                return "its cgroup is not below the system's service manager";
        p = path + strlen(root) + 1;
        /* The manager itself: systemd 260 and later fetch from there what a reload refreshes (RefreshOnReload=). */
        if (strcmp(p, "init.scope") == 0)
                return NULL;
        for (;;) {
                size_t n = strcspn(p, "/");

                if (is_cgroup_of(p, n, unit)) {
                        p += n;
                        /* The one folder below it that systemd itself may start a service's process in. */
                        if (*p == '/')
                                p += 1 + strcspn(p + 1, "/");
                        return *p == '\0' ? NULL : "its cgroup lies deeper than a service is started in";
                }
                if (!ends_with(p, n, ".slice"))
                        return "its cgroup is not that of the unit which it names";
                if (n == strlen("user.slice") && memcmp(p, "user.slice", n) == 0)
                        return "it runs below user.slice, where users' service managers start what they like";
                if (p[n] == '\0')
                        return "its cgroup is not that of the unit which it names";
                p += n + 1;
        }
}

/* procfs gives the whole text to one read of enough bytes. */
static int read_cgroup(pid_t pid, char ret[static PEER_CGROUP_MAX]) {
        _cleanup_close_ int fd = -EBADF;
        char path[sizeof("/proc/2147483647/cgroup")], text[2 * PEER_CGROUP_MAX];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        return pid == 1 ? peer_parse_cgroup_root(text, ret) : peer_parse_cgroup(text, ret);
}

int peer_read_cgroup_root(char ret[static PEER_CGROUP_MAX]) {
        return read_cgroup(1, ret);
}

/* A descriptor of the very process that connected, so that its number cannot meanwhile mean another one.
 * Kernels before 6.5 know only the number; there the peer must have been quick enough to exit, and
 * another process of uid 0 to take both number and cgroup. */
static int open_peer_pidfd(int fd, pid_t pid) {
        socklen_t length = sizeof(int);
        int pidfd;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
                return pidfd;
        if (errno != ENOPROTOOPT)
                return -errno;
        pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        return pidfd < 0 ? -errno : pidfd;
}

/* A pidfd becomes readable when its process exits. */
static bool has_exited(int pidfd) {
        struct pollfd exited = { .fd = pidfd, .events = POLLIN };

        return poll(&exited, 1, 0) != 0;
}

const char *peer_identify(int fd, const char *cgroup_root, struct peer *ret) {
        _cleanup_close_ int pidfd = -EBADF;
        struct sockaddr_un address = { 0 };
        socklen_t length = sizeof(address), size = sizeof(struct ucred);
        char cgroup[PEER_CGROUP_MAX];
        struct ucred credentials;

        memset(ret, 0, sizeof(*ret));
        if (getpeername(fd, (struct sockaddr *) &address, &length) < 0)
                length = 0;
        if (peer_parse_address(&address, length, ret->unit, ret->credential) < 0)
                length = 0;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return "the kernel does not say who it is";
        ret->pid = credentials.pid;
        ret->uid = credentials.uid;
        ret->has_uid = true;

        if (credentials.uid != 0)
                return "it is not root, as the service manager is";
        if (length == 0)
                return "its address is not one that systemd gives to a service with LoadCredential=";
        if (credentials.pid <= 0)
                return "it runs outside of this container";
        pidfd = open_peer_pidfd(fd, credentials.pid);
        if (pidfd < 0 || read_cgroup(credentials.pid, cgroup) < 0 || has_exited(pidfd))
                return "it has exited, or its cgroup cannot be read (the unified hierarchy is needed)";
        return peer_check_cgroup(cgroup, cgroup_root, ret->unit);
}
