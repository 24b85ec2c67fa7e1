/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One run of systemd-creds(1): spawned, fed, listened to and, at a deadline, killed. May call secret, reason.
 */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#include "reason.h"
#include "seal-run.h"

#ifndef SYSTEMD_CREDS
#define SYSTEMD_CREDS "/usr/bin/systemd-creds"
#endif
#ifndef SEAL_TIMEOUT_MSEC
#define SEAL_TIMEOUT_MSEC 60000 /* a TPM takes a second at worst, unless many want it */
#endif

#define COMPLAINT_MAX 1024 /* bytes of standard error that are kept */

struct child {
        pid_t pid;
        int pidfd;
        int out, err;
};
#define CHILD_NONE ((struct child) { .pid = 0, .pidfd = -EBADF, .out = -EBADF, .err = -EBADF })

static void child_clear(struct child *child) {
        if (child->pid > 0) {
                (void) kill(child->pid, SIGKILL);
                (void) waitpid(child->pid, NULL, 0);
        }
        closep(&child->pidfd);
        closep(&child->out);
        closep(&child->err);
}

static int64_t now_msec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A pipe that holds the whole input, so that nobody need write while the child runs; *ret is its end for
 * reading. */
static int input_pipe(const void *data, size_t size, int *ret) {
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        in = fds[0];
        out = fds[1];

        if ((size_t) fcntl(out, F_GETPIPE_SZ) < size && fcntl(out, F_SETPIPE_SZ, (int) size) < 0)
                return -errno;
        if (fcntl(out, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        if (size > 0 && write(out, data, size) != (ssize_t) size)
                return -EIO;
        *ret = TAKE_FD(in);
        return 0;
}

/* Shows the open file as /etc/machine-id to this process alone: systemd-creds knows no other way to be told for which machine it seals. */
static int show_machine_id(int fd) {
        char link[64], path[PATH_MAX];
        ssize_t n;

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
                return -errno;
        path[n] = '\0';
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount(path, "/etc/machine-id", "none", MS_BIND, NULL) < 0)
                return -errno;
        return 0;
}

/* The child's part up to execve(2). Its secret memory reads as zeros. */
static _Noreturn void child_run(
                const int fds[static 3], int machine_id, const char *const arguments[], const char *const environment[]) {
        sigset_t none;
        int r = 0;

        (void) sigemptyset(&none);
        (void) signal(SIGPIPE, SIG_DFL);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        for (int i = 0; i < 3; i++)
                if (dup2(fds[i], i) < 0)
                        _exit(EXIT_FAILURE);
        if (machine_id >= 0)
                r = show_machine_id(machine_id);
        if (r < 0)
                (void) dprintf(STDERR_FILENO, "cannot show it the tree's machine id: %s\n", strerror(-r));
        else {
                (void) execve(SYSTEMD_CREDS, (char *const *) arguments, (char *const *) environment);
                (void) dprintf(STDERR_FILENO, "%s\n", strerror(errno));
        }
        _exit(EXIT_FAILURE);
}

static int child_start(
                int in, int machine_id, const char *const arguments[], const char *const environment[], struct child *ret) {
        _cleanup_close_ int out = -EBADF, err = -EBADF;
        _cleanup_(child_clear) struct child child = CHILD_NONE;
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        child.out = fds[0];
        out = fds[1];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        child.err = fds[0];
        err = fds[1];

        child.pid = fork();
        if (child.pid < 0)
                return -errno;
        if (child.pid == 0)
                child_run((int[]) { in, out, err }, machine_id, arguments, environment);

        child.pidfd = pidfd_open(child.pid, 0);
        if (child.pidfd < 0 && errno != ENOSYS) /* valgrind has none: the end of both streams will do there */
                return -errno;
        *ret = child;
        child = CHILD_NONE;
        return 0;
}

/* Takes what has arrived. At the end of the stream *fd is closed. What goes beyond max is read and dropped,
 * *size tells that it was there. */
static int take_some(int *fd, uint8_t *buffer, size_t max, size_t *size) {
        uint8_t rest[512];
        bool full = *size >= max;
        ssize_t n;

        n = full ? read(*fd, rest, sizeof(rest)) : read(*fd, buffer + *size, max - *size);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (n == 0) {
                (void) close(*fd);
                *fd = -EBADF;
        } else
                *size += (size_t) n;
        if (full)
                explicit_bzero(rest, sizeof(rest));
        return 0;
}

/* Collects both streams until the child has ended. */
static int child_collect(struct child *child, struct secret *output, size_t *ret_output,
                         char complaint[static COMPLAINT_MAX + 1]) {
        const int64_t deadline = now_msec() + SEAL_TIMEOUT_MSEC;
        size_t n_output = 0, n_complaint = 0;
        bool ended = false;

        for (;;) {
                struct pollfd fds[] = {
                        { .fd = child->out, .events = POLLIN },
                        { .fd = child->err, .events = POLLIN },
                        { .fd = ended ? -1 : child->pidfd, .events = POLLIN },
                };
                int64_t left = deadline - now_msec();
                int r;

                if ((ended || child->pidfd < 0) && child->out < 0 && child->err < 0)
                        break;
                /* Should the child have left a process behind that holds the pipes, what is in them now is
                 * all. */
                r = poll(fds, ELEMENTSOF(fds), ended ? 0 : left > 0 ? (int) left : 0);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r == 0 && ended)
                        break;
                if (r == 0)
                        return -ETIMEDOUT;
                if (r < 0)
                        continue;

                if (fds[0].revents && (r = take_some(&child->out, output->data, output->size, &n_output)) < 0)
                        return r;
                if (fds[1].revents &&
                    (r = take_some(&child->err, (uint8_t *) complaint, COMPLAINT_MAX, &n_complaint)) < 0)
                        return r;
                if (fds[2].revents)
                        ended = true;
        }

        complaint[n_complaint < COMPLAINT_MAX ? n_complaint : COMPLAINT_MAX] = '\0';
        *ret_output = n_output;
        return 0;
}

/* The last line of what it said: the others are warnings that come before the error. Never a control
 * character. */
static const char *last_line(char *complaint) {
        char *end = complaint + strlen(complaint), *line;

        while (end > complaint && isspace((unsigned char) end[-1]))
                *--end = '\0';
        line = strrchr(complaint, '\n');
        line = line ? line + 1 : complaint;
        for (char *p = line; *p; p++)
                if (iscntrl((unsigned char) *p))
                        *p = ' ';
        return *line ? line : "it said nothing";
}

int seal_run(const char *const arguments[], const char *const environment[], int machine_id, const void *input, size_t size,
             struct secret **ret_output, char **ret_reason) {
        _cleanup_(child_clear) struct child child = CHILD_NONE;
        _cleanup_(secret_freep) struct secret *output = NULL;
        _cleanup_close_ int in = -EBADF;
        char complaint[COMPLAINT_MAX + 1];
        size_t n = 0;
        int r, status;

        if (access(SYSTEMD_CREDS, X_OK) < 0) {
                r = -errno;
                if (r == -ENOENT)
                        return reason_set(r, ret_reason,
                                          "%s is missing: install it (Debian's package systemd)",
                                          SYSTEMD_CREDS);
                return reason_set(r, ret_reason, "cannot run %s: %s", SYSTEMD_CREDS, strerror(-r));
        }
        r = secret_new(SEAL_OUTPUT_MAX, &output);
        if (r < 0)
                return r;
        r = input_pipe(input, size, &in);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot make a pipe to %s: %s", SYSTEMD_CREDS, strerror(-r));
        r = child_start(in, machine_id, arguments, environment, &child);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot run %s: %s", SYSTEMD_CREDS, strerror(-r));
        r = child_collect(&child, output, &n, complaint);
        if (r == -ETIMEDOUT)
                return reason_set(r, ret_reason,
                                  "%s %s did not end within %d seconds and was killed; is the TPM busy?",
                                  SYSTEMD_CREDS, arguments[1], SEAL_TIMEOUT_MSEC / 1000);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot read what %s says: %s", SYSTEMD_CREDS, strerror(-r));

        if (waitpid(child.pid, &status, 0) != child.pid)
                return reason_set(-EIO, ret_reason, "cannot learn how %s ended: %s", SYSTEMD_CREDS,
                                  strerror(errno));
        child.pid = 0;
        if (!WIFEXITED(status))
                return reason_set(-EIO, ret_reason, "%s %s was ended by signal %d", SYSTEMD_CREDS,
                                  arguments[1], WTERMSIG(status));
        if (WEXITSTATUS(status) != 0) {
                r = reason_set(0, ret_reason, "%s %s: %s", SYSTEMD_CREDS, arguments[1], last_line(complaint));
                return r < 0 ? r : WEXITSTATUS(status);
        }
        if (n > SEAL_OUTPUT_MAX)
                return reason_set(-EIO, ret_reason, "%s %s wrote more than %d bytes", SYSTEMD_CREDS,
                                  arguments[1], SEAL_OUTPUT_MAX);
        return ret_output ? secret_new_from(output->data, n, ret_output) : 0;
}
