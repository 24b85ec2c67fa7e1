/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TREE_WALK_H
#define KEYROTA_TREE_WALK_H

#include <sys/types.h>

/* What openat2(2) does with RESOLVE_IN_ROOT, step by step, for where there is no openat2(2). A descriptor
 * or a negative errno. */
int tree_walk(int root_fd, const char *path, int flags, mode_t mode);

#endif
