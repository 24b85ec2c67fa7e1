/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who asks the read server. Calls libc only. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "audit.h"
#include "cleanup.h"
#include "reader.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define FILE_MAX 4096 /* bytes of any file of /proc that is read here */

/* As proc(5) has them for the terminal of a process. */
#define MAJOR_TTY 4
#define MAJOR_PTS 136
#define MINOR_SERIAL 64 /* of MAJOR_TTY: ttyS0 */

int reader_credentials(int fd, struct reader *ret) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        *ret = (struct reader) {
                .uid = credentials.uid,
                .pid = credentials.pid,
                .audit_session = AUDIT_SESSION_UNSET,
                .login_uid = (uid_t) -1,
        };
        return 0;
}

/* procfs gives the whole text to one read of enough bytes. pid 0: this process. */
static int read_file(pid_t pid, const char *name, char ret[static FILE_MAX]) {
        _cleanup_close_ int fd = -EBADF;
        char path[64];
        ssize_t n;

        if (pid == 0)
                (void) snprintf(path, sizeof(path), "/proc/self/%s", name);
        else
                (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, ret, FILE_MAX - 1);
        if (n < 0)
                return -errno;
        ret[n] = '\0';
        return 0;
}

int reader_in_namespace(const struct reader *reader) {
        char own[FILE_MAX], theirs[FILE_MAX];
        int r;

        if (reader->pid <= 0)
                return -ESRCH;
        r = read_file(0, "uid_map", own);
        if (r >= 0)
                r = read_file(reader->pid, "uid_map", theirs);
        return r < 0 ? r : strcmp(own, theirs) != 0;
}

int reader_parse_tty(const char *stat, char ret[static READER_TTY_MAX]) {
        const char *end = strrchr(stat, ')'); /* of the program's name, which may have any character in it */
        unsigned device, major, minor;

        if (!end || sscanf(end + 1, " %*c %*d %*d %*d %u", &device) != 1)
                return -EBADMSG;
        major = (device >> 8) & 0xfff;
        minor = (device & 0xff) | ((device >> 12) & 0xfff00);
        if (major == MAJOR_PTS)
                (void) snprintf(ret, READER_TTY_MAX, "pts/%u", minor);
        else if (major == MAJOR_TTY && minor >= MINOR_SERIAL)
                (void) snprintf(ret, READER_TTY_MAX, "ttyS%u", minor - MINOR_SERIAL);
        else if (major == MAJOR_TTY && minor > 0)
                (void) snprintf(ret, READER_TTY_MAX, "tty%u", minor);
        else
                ret[0] = '\0';
        return 0;
}

/* A file with one number, which kernels without an audit subsystem do not have. */
static int read_number(pid_t pid, const char *name, uint32_t otherwise, uint32_t *ret) {
        char text[FILE_MAX];
        int r;

        r = read_file(pid, name, text);
        if (r == -ENOENT) {
                *ret = otherwise;
                return 0;
        }
        if (r < 0)
                return r;
        return sscanf(text, "%" SCNu32, ret) == 1 ? 0 : -EBADMSG;
}

/* Only the number of the process is known: has it the effective uid that connected? */
static bool has_uid(pid_t pid, uid_t uid) {
        char text[FILE_MAX];
        const char *line;
        unsigned effective;

        if (read_file(pid, "status", text) < 0)
                return false;
        line = strstr(text, "\nUid:\t");
        return line && sscanf(line, "\nUid:\t%*u %u", &effective) == 1 && (uid_t) effective == uid;
}

/* A descriptor of the process that connected. Kernels before 6.5 know its number only; there the peer must have been quick enough to exit, and another
 * process of its own to take the number. */
static int open_pidfd(int fd, const struct reader *reader) {
        _cleanup_close_ int pidfd = -EBADF;
        socklen_t length = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
                return TAKE_FD(pidfd);
        if (errno != ENOPROTOOPT)
                return -errno;
        pidfd = (int) syscall(SYS_pidfd_open, reader->pid, 0);
        if (pidfd < 0)
                return -errno;
        return has_uid(reader->pid, reader->uid) ? TAKE_FD(pidfd) : -ESRCH;
}

/* A pidfd becomes readable when its process exits. */
static bool has_exited(int pidfd) {
        struct pollfd exited = { .fd = pidfd, .events = POLLIN };

        return poll(&exited, 1, 0) != 0;
}

const char *reader_identify(int fd, struct reader *reader) {
        _cleanup_close_ int pidfd = -EBADF;
        struct reader facts = *reader;
        uint32_t login_uid;
        char stat[FILE_MAX];

        if (reader->pid <= 0)
                return "it runs outside of this container";
        pidfd = open_pidfd(fd, reader);
        if (pidfd < 0 || read_file(facts.pid, "stat", stat) < 0 || reader_parse_tty(stat, facts.tty) < 0 ||
            read_number(facts.pid, "sessionid", AUDIT_SESSION_UNSET, &facts.audit_session) < 0 ||
            read_number(facts.pid, "loginuid", UINT32_MAX, &login_uid) < 0 || has_exited(pidfd))
                return "its process has exited";
        facts.login_uid = (uid_t) login_uid;
        *reader = facts;
        return NULL;
}
