/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files inside the tree that is acted on. In a foreign tree the kernel resolves every path (openat2(2),
 * RESOLVE_IN_ROOT), so that no link leads out of it. May call tree-walk.
 */

#include "io.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include "tree-walk.h"

#define READ_CHUNK 4096

int tree_open(const char *root, struct tree **ret) {
        _cleanup_(tree_freep) struct tree *tree = NULL;

        tree = malloc(sizeof(*tree));
        if (!tree)
                return -ENOMEM;
        *tree = (struct tree){ .fd = -EBADF };

        if (root && root[strspn(root, "/")] != '\0') {
                tree->root = strdup(root);
                if (!tree->root)
                        return -ENOMEM;
                for (size_t n = strlen(tree->root); n > 1 && tree->root[n - 1] == '/'; n--)
                        tree->root[n - 1] = '\0';
        } else if (root && *root == '\0')
                return -ENOENT;

        tree->fd = open(tree->root ? tree->root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (tree->fd < 0)
                return -errno;

        *ret = TAKE_PTR(tree);
        return 0;
}

void tree_free(struct tree *tree) {
        if (!tree)
                return;
        if (tree->fd >= 0)
                (void) close(tree->fd);
        free(tree->root);
        free(tree);
}

/* openat2(2) takes no flag that means nothing, where open(2) shrugs. */
static int open_in_root(int root_fd, const char *path, int flags, mode_t mode) {
        struct open_how how = {
                .flags = (uint64_t) (unsigned) flags,
                .mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? mode : 0,
                .resolve = RESOLVE_IN_ROOT,
        };

        for (unsigned attempt = 0;; attempt++) {
                long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
                if (fd >= 0)
                        return (int) fd;
                if (errno == ENOSYS)
                        return tree_walk(root_fd, path, flags, mode);
                /* A rename elsewhere in the tree got in between: openat2(2) asks to be called again. */
                if ((errno != EAGAIN && errno != EINTR) || attempt >= 32)
                        return -errno;
        }
}

int tree_open_path(const struct tree *tree, const char *path, int flags, mode_t mode) {
        flags |= O_CLOEXEC;
        if (!(flags & O_PATH))
                flags |= O_NOCTTY;

        if (tree->root)
                return open_in_root(tree->fd, path, flags, mode);

        int fd = open(path, flags, mode);
        return fd < 0 ? -errno : fd;
}

/* Makes one directory whose parent exists: 1, and *ret_fd is open for reading. 0: something of that name was
 * there. */
static int make_one(const struct tree *tree, char *path, mode_t mode, int *ret_fd) {
        char *slash = strrchr(path, '/');
        _cleanup_close_ int parent = -EBADF;
        int fd;

        if (!slash || slash[1] == '\0')
                return -EINVAL;

        *slash = '\0';
        parent = tree_open_path(tree, slash == path ? "/" : path, O_RDONLY | O_DIRECTORY, 0);
        *slash = '/';
        if (parent < 0)
                return parent;

        if (mkdirat(parent, slash + 1, mode) < 0) {
                if (errno != EEXIST)
                        return -errno;
                return 0;
        }

        fd = openat(parent, slash + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        /* The umask had its say in mkdirat(). The new entry must outlive a power cut as what goes into it
         * will. */
        if (fchmod(fd, mode) < 0 || fsync(parent) < 0) {
                int r = -errno;
                (void) close(fd);
                return r;
        }

        *ret_fd = fd;
        return 1;
}

/* One component of the way to tree_make_directory()'s path. */
static int open_or_make(const struct tree *tree, char *path, mode_t mode) {
        int fd, r;

        fd = tree_open_path(tree, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd != -ENOENT)
                return fd;

        r = make_one(tree, path, mode, &fd);
        if (r < 0)
                return r;
        if (r > 0)
                return fd;

        /* Somebody else made it in between: take theirs. A link to nowhere stays "no such file". */
        return tree_open_path(tree, path, O_RDONLY | O_DIRECTORY, 0);
}

int tree_make_directory(const struct tree *tree, const char *path, mode_t mode) {
        _cleanup_free_ char *copy = strdup(path);
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (!copy)
                return -ENOMEM;
        for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
                copy[n - 1] = '\0';
        if (copy[0] != '/' || copy[1] == '\0')
                return -EINVAL;

        fd = tree_open_path(tree, copy, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT) {
                for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                        *slash = '\0';
                        int parent = open_or_make(tree, copy, 0755);
                        *slash = '/';
                        if (parent < 0)
                                return parent;
                        (void) close(parent);
                }
                fd = open_or_make(tree, copy, mode);
        }
        if (fd < 0)
                return fd;

        if (fstat(fd, &st) < 0)
                return -errno;
        if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
                return -errno;

        return TAKE_FD(fd);
}

int tree_full_path(const struct tree *tree, const char *path, char **ret) {
        char *full;

        if (asprintf(&full, "%s%s", tree->root ? tree->root : "", path) < 0)
                return -ENOMEM;
        *ret = full;
        return 0;
}

/* Reads to the end of the file, one byte more than it may have at most, so that growth is noticed. */
static int read_all(int fd, size_t expected_size, size_t max_size, char **ret, size_t *ret_size) {
        _cleanup_free_ char *data = NULL;
        size_t size = 0, room = 0;

        for (;;) {
                if (room - size < 2) {
                        room = room == 0 ? (expected_size > 0 ? expected_size + 2 : READ_CHUNK) : room * 2;
                        char *larger = realloc(data, room);
                        if (!larger)
                                return -ENOMEM;
                        data = larger;
                }

                ssize_t n = read(fd, data + size, room - size - 1);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;
                size += (size_t) n;
                if (size > max_size)
                        return -EFBIG;
        }

        data[size] = '\0';
        *ret = TAKE_PTR(data);
        if (ret_size)
                *ret_size = size;
        return 0;
}

int tree_read_fd(int fd, size_t max_size, char **ret, size_t *ret_size) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (S_ISLNK(st.st_mode))
                return -ELOOP;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (st.st_size > 0 && (uintmax_t) st.st_size > max_size)
                return -EFBIG;

        return read_all(fd, (size_t) st.st_size, max_size, ret, ret_size);
}

int tree_read_file(const struct tree *tree, const char *path, size_t max_size, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = tree_open_path(tree, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);

        if (fd < 0)
                return fd;
        return tree_read_fd(fd, max_size, ret, ret_size);
}

/* Fills and renames the temporary file; the caller removes it when this fails. */
static int fill_and_rename(int folder, const char *temporary, const char *name, int fd, const void *data,
                size_t size, mode_t mode, bool durable) {
        int r = io_write_all(fd, data, size);

        if (r < 0)
                return r;
        if (fchmod(fd, mode) < 0)
                return -errno;
        if (durable && fsync(fd) < 0)
                return -errno;
        if (renameat(folder, temporary, folder, name) < 0)
                return -errno;
        return 0;
}

int tree_replace_file(const struct tree *tree, const char *path, const void *data, size_t size, mode_t mode,
                bool durable) {
        _cleanup_close_ int folder = -EBADF, fd = -EBADF;
        _cleanup_free_ char *parent = NULL, *temporary = NULL;
        const char *slash = strrchr(path, '/');
        uint64_t random;
        int r;

        if (!slash || slash[1] == '\0')
                return -EINVAL;

        parent = strndup(path, slash == path ? 1 : (size_t) (slash - path));
        if (!parent)
                return -ENOMEM;
        folder = tree_open_path(tree, parent, O_RDONLY | O_DIRECTORY, 0);
        if (folder < 0)
                return folder;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t) sizeof(random))
                random = (uint64_t) getpid(); /* early boot; O_EXCL keeps it safe, this only names a file */
        if (asprintf(&temporary, ".#%s%016llx", slash + 1, (unsigned long long) random) < 0) {
                temporary = NULL;
                return -ENOMEM;
        }

        fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd < 0)
                return -errno;

        r = fill_and_rename(folder, temporary, slash + 1, fd, data, size, mode, durable);
        if (r < 0) {
                (void) unlinkat(folder, temporary, 0);
                return r;
        }

        if (durable && fsync(folder) < 0)
                return -errno;
        return 0;
}

/* Does the file hold exactly this, and is it as we would make it: our own, with that mode, under one name? */
static bool file_is(const struct tree *tree, const char *path, const void *data, size_t size, mode_t mode) {
        _cleanup_close_ int fd = tree_open_path(tree, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        _cleanup_free_ char *old = NULL;
        size_t old_size;
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 07777) == mode &&
                        st.st_nlink == 1 && tree_read_fd(fd, size + 1, &old, &old_size) >= 0 &&
                        old_size == size && memcmp(old, data, size) == 0;
}

int tree_update_file(const struct tree *tree, const char *path, const void *data, size_t size, mode_t mode,
                bool durable) {
        int r;

        if (file_is(tree, path, data, size, mode))
                return 0;
        r = tree_replace_file(tree, path, data, size, mode, durable);
        return r < 0 ? r : 1;
}
