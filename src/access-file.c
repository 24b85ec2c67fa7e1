/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The access table of a tree: reads it, writes it, and locks those out who would write at the same time. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "access-file.h"
#include "lock.h"
#include "paths.h"
#include "reason.h"

#define RINGS_SIZE_MAX (ACCESS_RINGS_MAX * sizeof("-2147483648\n"))
#define LOCK_WAIT 30 /* seconds: the provisioner may take 60 in all */

int access_file_read(const struct tree *tree, struct access_table **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = tree_read_file(tree, PATH_ACCESS, ACCESS_TABLE_MAX, &text, &size);
        return r < 0 ? r : access_table_parse(text, size, ret);
}

int access_file_write(const struct tree *tree, const struct access_content *content) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = access_format(content, &text);
        return r < 0 ? r : tree_update_file(tree, PATH_ACCESS, text, strlen(text), 0600, false);
}

int access_file_rings(const struct tree *tree, int32_t ret[static ACCESS_RINGS_MAX]) {
        _cleanup_free_ char *text = NULL;
        int n = 0, r;

        r = tree_read_file(tree, PATH_ACCESS_RINGS, RINGS_SIZE_MAX, &text, NULL);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char *rest = text, *line; n < ACCESS_RINGS_MAX && (line = strsep(&rest, "\n")) && *line; n++)
                if (sscanf(line, "%" SCNd32, &ret[n]) != 1)
                        return -EBADMSG;
        return n;
}

int access_file_add_ring(const struct tree *tree, int32_t ring) {
        int32_t rings[ACCESS_RINGS_MAX];
        char text[RINGS_SIZE_MAX + 1];
        int n, length = 0;

        n = access_file_rings(tree, rings);
        if (n == ACCESS_RINGS_MAX)
                memmove(rings, rings + 1, (size_t) --n * sizeof(*rings));
        if (n < 0) /* not of our form: begun anew */
                n = 0;
        rings[n++] = ring;
        for (int i = 0; i < n; i++)
                length += snprintf(text + length, sizeof(text) - (size_t) length, "%" PRId32 "\n", rings[i]);
        return tree_replace_file(tree, PATH_ACCESS_RINGS, text, (size_t) length, 0600, false);
}

int access_file_lock(const struct tree *tree, const char *path, int *ret_fd, char **ret_reason) {
        _cleanup_close_ int folder = -EBADF, fd = -EBADF;
        pid_t holder = 0;
        int r;

        folder = tree_make_directory(tree, PATH_RUN, 0755);
        if (folder < 0)
                return reason_set(folder, ret_reason, "cannot make " PATH_RUN ": %s", strerror(-folder));
        fd = tree_open_path(tree, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open %s: %s", path, strerror(-fd));
        r = lock_take(fd, LOCK_WAIT, &holder);
        if (r == -EAGAIN && holder > 0)
                return reason_set(r, ret_reason, "process %d has had %s locked for %d seconds; try again when it has ended", (int) holder, path, LOCK_WAIT);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot lock %s: %s", path, r == -EAGAIN ? "another process has it; try again" : strerror(-r));
        *ret_fd = TAKE_FD(fd);
        return 0;
}
