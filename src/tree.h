/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TREE_H
#define KEYROTA_TREE_H

/*
 * The file tree acted on: the host's, or the one given with --root. Every path is resolved inside it by the
 * kernel (openat2 RESOLVE_IN_ROOT), so that no link in a foreign tree leads out of it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "cleanup.h"

struct tree {
        int fd;     /* O_PATH|O_DIRECTORY */
        char *root; /* NULL: the host's own tree */
};

/* root NULL or "/": the host's own. 0, -ENOENT, -ENOTDIR, -ENOMEM... */
int tree_open(const char *root, struct tree **ret);
void tree_free(struct tree *tree);
DEFINE_CLEANUP(struct tree *, tree_free);

/* open(2) inside the tree; always O_CLOEXEC|O_NOCTTY. Returns the descriptor or a negative errno. */
int tree_open_path(const struct tree *tree, const char *path, int flags, mode_t mode);

/* Makes the directory and its missing parents (those 0755), sets its mode and returns an open descriptor of
 * it. */
int tree_make_directory(const struct tree *tree, const char *path, mode_t mode);

/* The path as the caller of the program knows it (root prefixed), for messages and for child processes. */
int tree_full_path(const struct tree *tree, const char *path, char **ret);

/* Reads a whole regular file of at most max_size bytes; *ret is NUL-terminated. -EFBIG when larger, -ELOOP
 * when a link. */
int tree_read_file(const struct tree *tree, const char *path, size_t max_size, char **ret, size_t *ret_size);

/* The same for a file that is open already. -EISDIR, -EINVAL: neither file nor directory. ret_size may be
 * NULL in both. */
int tree_read_fd(int fd, size_t max_size, char **ret, size_t *ret_size);

/* Replaces PATH atomically: temporary file in the same folder, write, fsync where durable, rename, fsync of
 * the folder where durable. */
int tree_replace_file(const struct tree *tree, const char *path, const void *data, size_t size, mode_t mode,
                bool durable);

/* The same, but only where the file is not exactly this already, with that mode, our own and under one name:
 * 1 when it was replaced, 0 when nothing was to do. */
int tree_update_file(const struct tree *tree, const char *path, const void *data, size_t size, mode_t mode,
                bool durable);

#endif
