/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SCRATCH_H
#define KEYROTA_SCRATCH_H

/* A file tree of a test's own, under $TMPDIR, removed at its end. What cannot be made ends the program: a
 * test on half a tree says nothing. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tree.h"

struct scratch {
        char root[PATH_MAX];
        struct tree *tree;
};

static inline void scratch_fail(const char *what, const char *path) {
        printf("Bail out! %s %s: %s\n", what, path, strerror(errno));
        exit(EXIT_FAILURE);
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk) {
        (void) st, (void) flag, (void) walk;
        return remove(path);
}

/* The tree in use. A test that failed has not removed its own: the next one does, or the end of the program. */
static char scratch_pending[PATH_MAX];

static inline void scratch_remove_pending(void) {
        if (scratch_pending[0] != '\0')
                (void) nftw(scratch_pending, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
        scratch_pending[0] = '\0';
}

static inline void scratch_begin(struct scratch *scratch) {
        const char *tmp = getenv("TMPDIR");
        static bool registered;

        if (!registered && atexit(scratch_remove_pending) == 0)
                registered = true;
        scratch_remove_pending();

        (void) snprintf(scratch->root, sizeof(scratch->root), "%s/keyrota-test.XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(scratch->root) || chmod(scratch->root, 0755) < 0 ||
                        tree_open(scratch->root, &scratch->tree) < 0)
                scratch_fail("cannot make", scratch->root);
        (void) strcpy(scratch_pending, scratch->root);
}

static inline void scratch_path(const struct scratch *scratch, const char *path, char ret[static PATH_MAX]) {
        if (snprintf(ret, PATH_MAX, "%.2000s/%.2000s", scratch->root, path) >= PATH_MAX)
                scratch_fail("too long", path);
}

/* Makes the folders on the way to path. */
static inline void scratch_parents(const struct scratch *scratch, const char *path) {
        char full[PATH_MAX];

        scratch_path(scratch, path, full);
        for (char *slash = strchr(full + strlen(scratch->root) + 1, '/'); slash;
                        slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (mkdir(full, 0755) == 0 && chmod(full, 0755) < 0)
                        scratch_fail("cannot make", full);
                *slash = '/';
        }
}

static inline void scratch_write_bytes(
                const struct scratch *scratch, const char *path, const void *data, size_t size, mode_t mode) {
        char full[PATH_MAX];
        int fd;

        scratch_parents(scratch, path);
        scratch_path(scratch, path, full);
        (void) unlink(full); /* a file written over would be flushed to the disk at each close */
        fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, data, size) != (ssize_t) size || fchmod(fd, mode) < 0 || close(fd) < 0)
                scratch_fail("cannot write", full);
}

static inline void scratch_write(const struct scratch *scratch, const char *path, const char *text) {
        scratch_write_bytes(scratch, path, text, strlen(text), 0644);
}

static inline void scratch_link(const struct scratch *scratch, const char *target, const char *path) {
        char full[PATH_MAX];

        scratch_parents(scratch, path);
        scratch_path(scratch, path, full);
        if (symlink(target, full) < 0)
                scratch_fail("cannot link", full);
}

static inline void scratch_end(struct scratch *scratch) {
        tree_free(scratch->tree);
        scratch->tree = NULL;
        scratch_remove_pending();
}

#endif
