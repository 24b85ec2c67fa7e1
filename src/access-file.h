/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ACCESS_FILE_H
#define KEYROTA_ACCESS_FILE_H

/* The access table as a file of a tree, and the locks of those who write it and who act on it. May call access, access-table, tree, lock. */

#include "access.h"
#include "access-table.h"
#include "tree.h"

/* -ENOENT: there is none; -EBADMSG: it cannot be used; or what tree_read_file() says. */
int access_file_read(const struct tree *tree, struct access_table **ret);

/* Writes the table where it would differ from the one that is there. Only with PATH_ACCESS_TABLE_LOCK. 1: it was written; 0; or as access_format(). */
int access_file_write(const struct tree *tree, const struct access_content *content);

/* Live keyrings that the tree had before its present one, since boot: sessions may still hold copies of them. The newest ACCESS_RINGS_MAX. */
#define ACCESS_RINGS_MAX 16
int access_file_add_ring(const struct tree *tree, int32_t ring);
/* How many there are in ret, or a negative errno. */
int access_file_rings(const struct tree *tree, int32_t ret[static ACCESS_RINGS_MAX]);

/* PATH_ACCESS_TABLE_LOCK or PATH_ACCESS_LOCK, till *ret_fd is closed; waits for a while. *ret_reason (to be freed) in words. */
int access_file_lock(const struct tree *tree, const char *path, int *ret_fd, char **ret_reason);

#endif
