/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Runs systemd-creds(1) with the secret in pipes, an environment of our own and a deadline, and judges the blobs it makes and is given. The one
 * door to it. May call secret, tree, reason, and OpenSSL's Base64 block codec for what is not secret.
 */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#include <openssl/evp.h>

#include "paths.h"
#include "reason.h"
#include "seal.h"

#ifndef SYSTEMD_CREDS
#define SYSTEMD_CREDS "/usr/bin/systemd-creds"
#endif
#ifndef SEAL_TIMEOUT_MSEC
#define SEAL_TIMEOUT_MSEC 60000 /* a TPM takes a second at worst, unless many want it */
#endif

#define OUTPUT_MAX (64 * 1024) /* bytes; we seal keys, not files */
#define COMPLAINT_MAX 1024     /* bytes of standard error that are kept */
#define KEY_ID_SIZE 16         /* bytes at the start of a blob: how it is sealed */
#define KEY_ID_TEXT_SIZE 24    /* the Base64 text that they are in */

struct child {
        pid_t pid;
        int pidfd;
        int out, err;
};

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

/* A pipe that holds the whole input, so that nobody need write while the child runs; *ret is its end for reading. */
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

static int spawn_with(
                posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, const int fds[static 3], char *const arguments[],
                char *const environment[], pid_t *ret) {
        sigset_t none, all;
        int r = 0;

        for (int i = 0; i < 3 && r == 0; i++)
                r = posix_spawn_file_actions_adddup2(actions, fds[i], i);
        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        if (r == 0)
                r = posix_spawn(ret, SYSTEMD_CREDS, actions, attributes, arguments, environment);
        return -r;
}

static int child_start(int in, char *const arguments[], char *const environment[], struct child *ret) {
        _cleanup_close_ int out = -EBADF, err = -EBADF;
        _cleanup_(child_clear) struct child child = { .pid = 0, .pidfd = -EBADF, .out = -EBADF, .err = -EBADF };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        child.out = fds[0];
        out = fds[1];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        child.err = fds[0];
        err = fds[1];

        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0)
                return r;
        r = -posix_spawnattr_init(&attributes);
        if (r == 0) {
                pid_t pid;

                r = spawn_with(&actions, &attributes, (int[]) { in, out, err }, arguments, environment, &pid);
                if (r == 0)
                        child.pid = pid;
                (void) posix_spawnattr_destroy(&attributes);
        }
        (void) posix_spawn_file_actions_destroy(&actions);
        if (r < 0)
                return r;

        child.pidfd = pidfd_open(child.pid, 0);
        if (child.pidfd < 0 && errno != ENOSYS) /* valgrind has none: the end of both streams will do there */
                return -errno;
        *ret = child;
        child = (struct child) { .pid = 0, .pidfd = -EBADF, .out = -EBADF, .err = -EBADF };
        return 0;
}

/* Takes what has arrived. At the end of the stream *fd is closed. What goes beyond max is read and dropped, *size tells that it was there. */
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
static int child_collect(struct child *child, struct secret *output, size_t *ret_output, char complaint[static COMPLAINT_MAX + 1]) {
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

                if (ended && child->out < 0 && child->err < 0)
                        break;
                /* Should the child have left a process behind that holds the pipes, what is in them now is all. */
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
                if (fds[1].revents && (r = take_some(&child->err, (uint8_t *) complaint, COMPLAINT_MAX, &n_complaint)) < 0)
                        return r;
                if (fds[2].revents)
                        ended = true;
        }

        complaint[n_complaint < COMPLAINT_MAX ? n_complaint : COMPLAINT_MAX] = '\0';
        *ret_output = n_output;
        return 0;
}

/* The last line of what it said: the others are warnings that come before the error. Never a control character. */
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

/* Runs systemd-creds to its end. Returns 0, or its exit status with *ret_reason set; or a negative errno. */
static int run(
                char *const arguments[], char *const environment[], const void *input, size_t size, struct secret **ret_output, char **ret_reason) {
        _cleanup_(child_clear) struct child child = { .pid = 0, .pidfd = -EBADF, .out = -EBADF, .err = -EBADF };
        _cleanup_(secret_freep) struct secret *output = NULL;
        _cleanup_close_ int in = -EBADF;
        char complaint[COMPLAINT_MAX + 1];
        size_t n = 0;
        int r, status;

        r = secret_new(OUTPUT_MAX, &output);
        if (r < 0)
                return r;
        r = input_pipe(input, size, &in);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot make a pipe to %s: %s", SYSTEMD_CREDS, strerror(-r));
        r = child_start(in, arguments, environment, &child);
        if (r == -ENOENT)
                return reason_set(r, ret_reason, "%s is missing: install it (Debian's package systemd)", SYSTEMD_CREDS);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot run %s: %s", SYSTEMD_CREDS, strerror(-r));
        r = child_collect(&child, output, &n, complaint);
        if (r == -ETIMEDOUT)
                return reason_set(r, ret_reason, "%s %s did not end within %d seconds and was killed; is the TPM busy?",
                                  SYSTEMD_CREDS, arguments[1], SEAL_TIMEOUT_MSEC / 1000);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot read what %s says: %s", SYSTEMD_CREDS, strerror(-r));

        if (waitpid(child.pid, &status, 0) != child.pid)
                return reason_set(-EIO, ret_reason, "cannot learn how %s ended: %s", SYSTEMD_CREDS, strerror(errno));
        child.pid = 0;
        if (!WIFEXITED(status))
                return reason_set(-EIO, ret_reason, "%s %s was ended by signal %d", SYSTEMD_CREDS, arguments[1], WTERMSIG(status));
        if (WEXITSTATUS(status) != 0) {
                r = reason_set(0, ret_reason, "%s %s: %s", SYSTEMD_CREDS, arguments[1], last_line(complaint));
                return r < 0 ? r : WEXITSTATUS(status);
        }
        if (n > OUTPUT_MAX)
                return reason_set(-EIO, ret_reason, "%s %s wrote more than %d bytes", SYSTEMD_CREDS, arguments[1], OUTPUT_MAX);
        return ret_output ? secret_new_from(output->data, n, ret_output) : 0;
}

/* Where systemd-creds finds the host key of a foreign tree: SYSTEMD_CREDENTIAL_SECRET=PATH, NULL for the host itself. The kernel resolves
 * the folder inside the tree, as systemd-creds would follow a link that leads out of it. */
static int host_key_variable(const struct tree *tree, bool create, char **ret, char **ret_reason) {
        _cleanup_free_ char *folder = strndup(PATH_HOST_KEY, (size_t) (strrchr(PATH_HOST_KEY, '/') - PATH_HOST_KEY)), *variable = NULL;
        _cleanup_close_ int fd = -EBADF;
        char link[64], path[4096];
        ssize_t n;

        if (!folder)
                return -ENOMEM;
        if (!tree->root) {
                *ret = NULL;
                return 0;
        }

        fd = tree_open_path(tree, folder, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT && create)
                fd = tree_make_directory(tree, folder, 0755);
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open %s%s, where this tree's host key is: %s", tree->root, folder, strerror(-fd));

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
                return reason_set(-errno, ret_reason, "cannot read %s: %s; is /proc mounted?", link, strerror(errno));
        path[n] = '\0';
        if (asprintf(&variable, "SYSTEMD_CREDENTIAL_SECRET=%s%s", path, strrchr(PATH_HOST_KEY, '/')) < 0) {
                variable = NULL;
                return -ENOMEM;
        }
        *ret = TAKE_PTR(variable);
        return 0;
}

/* How a blob is sealed, by the id that it begins with: CRED_AES256_GCM_BY_* of systemd's src/shared/creds-util.h, 252 to 258. */
static const struct {
        uint8_t id[KEY_ID_SIZE];
        bool is_null; /* a key that everybody has */
} sealings[] = {
        /* host */
        { { 0x5a, 0x1c, 0x6a, 0x86, 0xdf, 0x9d, 0x40, 0x96, 0xb1, 0xd5, 0xa6, 0x5e, 0x08, 0x62, 0xf1, 0x9a }, false },
        /* tpm2, and with a public key's policy */
        { { 0x0c, 0x7c, 0xc0, 0x7b, 0x11, 0x76, 0x45, 0x91, 0x9c, 0x4b, 0x0b, 0xea, 0x08, 0xbc, 0x20, 0xfe }, false },
        { { 0xfa, 0xf7, 0xeb, 0x93, 0x41, 0xe3, 0x41, 0x2c, 0xa1, 0xa4, 0x36, 0xf9, 0x5a, 0x29, 0x36, 0x2f }, false },
        /* host+tpm2, and with a public key's policy */
        { { 0x93, 0xa8, 0x94, 0x09, 0x48, 0x74, 0x44, 0x90, 0x90, 0xca, 0xf2, 0xfc, 0x93, 0xca, 0xb5, 0x53 }, false },
        { { 0xaf, 0x49, 0x50, 0xa8, 0x49, 0x13, 0x4e, 0xb1, 0xa7, 0x38, 0x46, 0x30, 0x4f, 0xf3, 0x0c, 0x05 }, false },
        /* null, called tpm2-absent by 252 */
        { { 0x05, 0x84, 0x69, 0xda, 0xf6, 0xf5, 0x43, 0x24, 0x80, 0x05, 0x49, 0xda, 0x0f, 0x8e, 0xa2, 0xfb }, true },
};

/* Refuses a blob by its outside; *ret_clean is its text without white space. */
static int blob_check(const char *blob, char **ret_clean, char **ret_reason) {
        _cleanup_free_ char *clean = malloc(strlen(blob) + 1);
        uint8_t id[KEY_ID_TEXT_SIZE / 4 * 3];
        size_t n = 0;

        if (!clean)
                return -ENOMEM;
        for (const char *p = blob; *p; p++)
                if (isalnum((unsigned char) *p) || strchr("+/=", *p))
                        clean[n++] = *p;
                else if (!strchr(" \t\r\n", *p))
                        return reason_set(-EBADMSG, ret_reason, "it is not the Base64 text that systemd-creds writes");
        clean[n] = '\0';
        if (n < KEY_ID_TEXT_SIZE || n > OUTPUT_MAX || memchr(clean, '=', KEY_ID_TEXT_SIZE) ||
            EVP_DecodeBlock(id, (const uint8_t *) clean, KEY_ID_TEXT_SIZE) != (int) sizeof(id))
                return reason_set(-EBADMSG, ret_reason, n > OUTPUT_MAX ? "it is too large" : "it is torn: it ends in the middle");

        for (size_t i = 0; i < ELEMENTSOF(sealings); i++) {
                if (memcmp(id, sealings[i].id, KEY_ID_SIZE) != 0)
                        continue;
                if (sealings[i].is_null)
                        return reason_set(-EPERM, ret_reason, "it is sealed under the null key, so that anybody can have made it");
                *ret_clean = TAKE_PTR(clean);
                return 0;
        }
        /* Among them the "scoped" ones of 256 and later, which are a single user's. */
        return reason_set(-EBADMSG, ret_reason, "it is sealed for a single user, or in a way that keyrota does not know");
}

static int name_option(const char *name, char **ret) {
        if (asprintf(ret, "--name=%s", name) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* The whole environment of the child. */
#define ENVIRONMENT(host_key) \
        (char *[]) { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *) "LANG=C.UTF-8", host_key, NULL }

int unseal(const struct tree *tree, const char *name, const char *blob, struct secret **ret, char **ret_reason) {
        _cleanup_free_ char *clean = NULL, *host_key = NULL, *option = NULL;
        int r;

        r = blob_check(blob, &clean, ret_reason);
        if (r < 0)
                return r;
        r = host_key_variable(tree, false, &host_key, ret_reason);
        if (r < 0)
                return r;
        r = name_option(name, &option);
        if (r < 0)
                return r;

        char *arguments[] = { (char *) "systemd-creds", (char *) "decrypt", option, (char *) "--newline=no", (char *) "-", (char *) "-", NULL };
        r = run(arguments, ENVIRONMENT(host_key), clean, strlen(clean), ret, ret_reason);
        return r > 0 ? -EBADMSG : r;
}

/* What to seal with. A foreign tree is sealed for its own machine, whose TPM is not here. */
static int choose_key(const struct tree *tree, enum seal_with with, const char **ret, char **ret_reason) {
        static const char *const names[] = {
                [SEAL_WITH_HOST] = "--with-key=host",
                [SEAL_WITH_TPM2] = "--with-key=tpm2",
                [SEAL_WITH_HOST_TPM2] = "--with-key=host+tpm2",
        };
        _cleanup_free_ char *ignored = NULL;
        char *arguments[] = { (char *) "systemd-creds", (char *) "has-tpm2", (char *) "-q", NULL };
        int r;

        if (with == SEAL_WITH_AUTO && tree->root)
                with = SEAL_WITH_HOST;
        if (with == SEAL_WITH_AUTO) {
                r = run(arguments, ENVIRONMENT(NULL), NULL, 0, NULL, &ignored);
                if (r < 0) {
                        if (ret_reason && ignored) {
                                free(*ret_reason);
                                *ret_reason = TAKE_PTR(ignored);
                        }
                        return r;
                }
                with = r == 0 ? SEAL_WITH_HOST_TPM2 : SEAL_WITH_HOST;
        }
        *ret = names[with];
        return 0;
}

/* What cannot be opened here and now is not sealed but lost. */
static int prove(const struct tree *tree, const char *name, const char *blob, const struct secret *data, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *opened = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        r = unseal(tree, name, blob, &opened, &why);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return reason_set(r == -ETIMEDOUT ? r : -EIO, ret_reason, "what systemd-creds has just sealed cannot be opened again: %s",
                                  why ? why : strerror(-r));
        if (!secret_equal(opened, data))
                return reason_set(-EIO, ret_reason, "what systemd-creds has just sealed opens to something else");
        return 0;
}

int seal(const struct tree *tree, enum seal_with with, const char *name, const struct secret *data, char **ret_blob, char **ret_reason) {
        _cleanup_free_ char *host_key = NULL, *option = NULL, *blob = NULL;
        _cleanup_(secret_freep) struct secret *output = NULL;
        const char *key = NULL;
        int r;

        r = choose_key(tree, with, &key, ret_reason);
        if (r < 0)
                return r;
        r = host_key_variable(tree, true, &host_key, ret_reason);
        if (r < 0)
                return r;
        r = name_option(name, &option);
        if (r < 0)
                return r;

        char *arguments[] = { (char *) "systemd-creds", (char *) "encrypt", option, (char *) key, (char *) "-", (char *) "-", NULL };
        r = run(arguments, ENVIRONMENT(host_key), data->data, data->size, &output, ret_reason);
        if (r != 0)
                return r > 0 ? -EIO : r;

        blob = strndup((const char *) output->data, output->size);
        if (!blob)
                return -ENOMEM;
        r = prove(tree, name, blob, data, ret_reason);
        if (r < 0)
                return r;
        *ret_blob = TAKE_PTR(blob);
        return 0;
}
