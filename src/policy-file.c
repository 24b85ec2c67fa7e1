/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Opens the administrator's files distrustfully: never follows a link, never waits, believes only what root
 * alone can have written. May call tree. */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "policy-draft.h"

#define MASK_TARGET "/dev/null"

/* Returns -EPERM with the text in *ret_problem. */
static int problem(char **ret_problem, const char *format, ...) _printf_(2, 3);
static int problem(char **ret_problem, const char *format, ...) {
        char *text;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        *ret_problem = text;
        return -EPERM;
}

int policy_file_unsafe(const struct stat *st, char **ret_problem) {
        unsigned mode = st->st_mode & 07777;
        uid_t self = geteuid();

        /* Who is not root and reads files of their own (keyrota check, before they are installed) fools
         * nobody else. */
        if (st->st_uid != 0 && st->st_uid != self)
                return problem(ret_problem,
                                "it belongs to uid %u and must be root's; look what it says, then chown root "
                                "it",
                                (unsigned) st->st_uid);
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return problem(ret_problem,
                                "it can be written by %s (mode %04o); look what it says, then chmod go-w it",
                                st->st_mode & S_IWOTH ? "anybody" : "its group", mode);
        return 0;
}

/* A link, by openat()'s word: the mask or an error. */
static int check_link(int folder_fd, const char *name, char **ret_problem) {
        char target[sizeof(MASK_TARGET) + 1];
        ssize_t n = readlinkat(folder_fd, name, target, sizeof(target));

        if (n == (ssize_t) strlen(MASK_TARGET) && memcmp(target, MASK_TARGET, (size_t) n) == 0)
                return 0;
        return problem(ret_problem,
                        "it is a link; put the file itself here (only a link to " MASK_TARGET
                        ", which masks a file, is taken)");
}

static int complain_about_open(int error, char **ret_problem) {
        if (error == ENXIO)
                return problem(ret_problem, "it is not a regular file; put a regular file here");
        return problem(ret_problem, "it cannot be opened: %s", strerror(error));
}

int policy_file_read(int folder_fd, const char *name, char **ret_data, size_t *ret_size, char **ret_problem) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return errno == ENOENT         ? -ENOENT :
                                errno == ELOOP ? check_link(folder_fd, name, ret_problem) :
                                                 complain_about_open(errno, ret_problem);
        if (fstat(fd, &st) < 0)
                return complain_about_open(errno, ret_problem);
        if (!S_ISREG(st.st_mode))
                return problem(ret_problem, "it is %s; put a regular file here",
                                S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
        r = policy_file_unsafe(&st, ret_problem);
        if (r < 0)
                return r;

        r = tree_read_fd(fd, POLICY_FILE_MAX, ret_data, ret_size);
        if (r == -EFBIG)
                return problem(ret_problem, "it is larger than %d KiB; a policy has a few lines",
                                POLICY_FILE_MAX / 1024);
        if (r < 0 && r != -ENOMEM)
                return problem(ret_problem, "it cannot be read: %s", strerror(-r));
        return r < 0 ? r : 1;
}
