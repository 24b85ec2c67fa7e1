/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Resolves a path inside a tree without openat2(2), which some sandboxes (and valgrind) do not know. The
 * kernel follows no link and no "..": every directory on the way is held open, links are read and taken apart
 * here. Calls libc only; for tree.c.
 */

#include "tree-walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "cleanup.h"

#define DEPTH_MAX 128
#define LINKS_MAX 40 /* as the kernel */

struct walk {
        int root;
        int folders[DEPTH_MAX]; /* below the root, the innermost last */
        size_t n_folders;
        unsigned n_links;
        char *todo; /* what of the path is left */
};

static int here(const struct walk *walk) {
        return walk->n_folders > 0 ? walk->folders[walk->n_folders - 1] : walk->root;
}

static void leave(struct walk *walk) {
        if (walk->n_folders > 0)
                (void) close(walk->folders[--walk->n_folders]);
}

static int enter(struct walk *walk, const char *name) {
        int fd;

        if (walk->n_folders == DEPTH_MAX)
                return -ENAMETOOLONG;
        fd = openat(here(walk), name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        walk->folders[walk->n_folders++] = fd;
        return 0;
}

/* Puts the link's target in front of what is left (NULL: it was the last component). */
static int follow(struct walk *walk, const char *target, const char *rest) {
        char *todo;

        if (++walk->n_links > LINKS_MAX)
                return -ELOOP;
        if (asprintf(&todo, "%s%s%s", target, rest ? "/" : "", rest ? rest : "") < 0)
                return -ENOMEM;
        if (*target == '/')
                while (walk->n_folders > 0)
                        leave(walk);
        free(walk->todo);
        walk->todo = todo;
        return 0;
}

/* One component. 1: *ret_fd is the result; 0: go on. */
static int step(struct walk *walk, int flags, mode_t mode, int *ret_fd) {
        char name[NAME_MAX + 1], target[PATH_MAX];
        char *start = walk->todo + strspn(walk->todo, "/");
        size_t n = strcspn(start, "/");
        bool last = start[n] == '\0';
        ssize_t n_target;

        if (n > NAME_MAX)
                return -ENAMETOOLONG;
        memcpy(name, start, n);
        name[n] = '\0';

        if (n == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
                if (n == 2)
                        leave(walk);
                memmove(walk->todo, start + n, strlen(start + n) + 1);
                if (!last)
                        return 0;
                *ret_fd = openat(here(walk), ".", flags, mode);
                return *ret_fd < 0 ? -errno : 1;
        }

        n_target = last && (flags & O_NOFOLLOW) ? -1 : readlinkat(here(walk), name, target, sizeof(target));
        if (n_target == (ssize_t) sizeof(target))
                return -ENAMETOOLONG;
        if (n_target > 0) {
                target[n_target] = '\0';
                return follow(walk, target, last ? NULL : start + n + 1);
        }
        if (last) {
                *ret_fd = openat(here(walk), name, flags | O_NOFOLLOW, mode);
                return *ret_fd < 0 ? -errno : 1;
        }

        memmove(walk->todo, start + n, strlen(start + n) + 1);
        return enter(walk, name);
}

int tree_walk(int root_fd, const char *path, int flags, mode_t mode) {
        struct walk walk = { .root = root_fd, .todo = strdup(path) };
        int r = walk.todo ? (*path != '\0' ? 0 : -ENOENT) : -ENOMEM, fd = -EBADF;

        while (r == 0)
                r = step(&walk, flags, mode, &fd);

        while (walk.n_folders > 0)
                leave(&walk);
        free(walk.todo);
        return r < 0 ? r : fd;
}
