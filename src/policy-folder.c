/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Folders of policies and drop-ins, and which file of a name wins when several folders have it. May call tree
 * and diagnostics. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "policy-draft.h"

#define SUFFIX ".ini"

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static bool has_suffix(const char *name, const char *suffix) {
        size_t n = strlen(name), n_suffix = strlen(suffix);

        return n > n_suffix && strcmp(name + n - n_suffix, suffix) == 0;
}

/* What editors and dpkg leave behind is passed over in silence. */
static bool is_leftover(const char *name) {
        return has_suffix(name, "~") || has_suffix(name, ".swp") || has_suffix(name, ".bak") ||
                        has_suffix(name, ".orig") || strstr(name, ".dpkg-") || strstr(name, ".ucf-") ||
                        strstr(name, ".rpm") || strncmp(name, "README", strlen("README")) == 0;
}

static int note_name(struct folder *folder, const char *name, struct diagnostics *diagnostics) {
        char **names;

        if (*name == '.')
                return 0;
        if (!has_suffix(name, SUFFIX) && !has_suffix(name, SUFFIX ".d")) {
                if (is_leftover(name))
                        return 0;
                return diagnostics_add(diagnostics, false, folder->path, 0,
                                "%s is passed over: names end in " SUFFIX " here", quoted(name));
        }

        /* Full at 0 and at the powers of two. */
        if ((folder->n_names & (folder->n_names - 1)) == 0) {
                names = reallocarray(
                                folder->names, folder->n_names > 0 ? folder->n_names * 2 : 1, sizeof(*names));
                if (!names)
                        return -ENOMEM;
                folder->names = names;
        }
        folder->names[folder->n_names] = strdup(name);
        if (!folder->names[folder->n_names])
                return -ENOMEM;
        folder->n_names++;
        return 0;
}

static int read_names(struct folder *folder, struct diagnostics *diagnostics) {
        int fd = fcntl(folder->fd, F_DUPFD_CLOEXEC, 3), r = 0;
        struct dirent *entry;
        DIR *stream;

        stream = fd < 0 ? NULL : fdopendir(fd);
        if (!stream) {
                r = -errno;
                if (fd >= 0)
                        (void) close(fd);
                return r;
        }
        for (errno = 0; r == 0 && (entry = readdir(stream)); errno = 0)
                r = note_name(folder, entry->d_name, diagnostics);
        if (r == 0 && errno != 0)
                r = -errno;
        (void) closedir(stream);

        if (folder->n_names > 1)
                qsort(folder->names, folder->n_names, sizeof(*folder->names), compare_names);
        return r;
}

static int set_problem(struct folder *folder, const char *what, int error) {
        folder->unlisted = true;
        if (asprintf(&folder->problem, "%s%s%s", what, error < 0 ? ": " : "",
                            error < 0 ? strerror(-error) : "") < 0) {
                folder->problem = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* With the folder open (fd) or not (a negative errno); takes the fd over. */
static int folder_fill(int fd, struct folder *folder, struct diagnostics *diagnostics) {
        struct stat st;
        int r;

        if (fd == -ENOENT)
                return 0;
        if (fd == -ENOTDIR || fd == -ELOOP)
                return set_problem(folder,
                                "it is not a directory (and a link is not followed); put a directory here",
                                0);
        if (fd < 0)
                return set_problem(folder, "it cannot be opened", fd);

        folder->fd = fd;
        if (fstat(fd, &st) < 0)
                return set_problem(folder, "it cannot be examined", -errno);
        r = policy_file_unsafe(&st, &folder->problem);
        if (r < 0 && r != -EPERM)
                return r;

        r = read_names(folder, diagnostics);
        if (r < 0 && r != -ENOMEM) {
                free(folder->problem);
                return set_problem(folder, "it cannot be read", r);
        }
        return r;
}

int folder_open(const struct tree *tree, const char *path, struct diagnostics *diagnostics,
                struct folder *ret) {
        *ret = (struct folder){ .fd = -EBADF };
        if (tree_full_path(tree, path, &ret->path) < 0)
                return -ENOMEM;
        return folder_fill(tree_open_path(tree, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK, 0),
                        ret, diagnostics);
}

int folder_open_at(const struct folder *parent, const char *name, struct diagnostics *diagnostics,
                struct folder *ret) {
        int fd;

        *ret = (struct folder){ .fd = -EBADF };
        if (asprintf(&ret->path, "%s/%s", parent->path, name) < 0) {
                ret->path = NULL;
                return -ENOMEM;
        }
        fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        return folder_fill(fd < 0 ? -errno : fd, ret, diagnostics);
}

void folder_clear(struct folder *folder) {
        for (size_t i = 0; i < folder->n_names; i++)
                free(folder->names[i]);
        free(folder->names);
        free(folder->path);
        free(folder->problem);
        if (folder->fd >= 0)
                (void) close(folder->fd);
        *folder = (struct folder){ .fd = -EBADF };
}

bool folder_has(const struct folder *folder, const char *name) {
        return folder->n_names > 0 &&
                        bsearch(&name, folder->names, folder->n_names, sizeof(*folder->names), compare_names);
}

/* By name; of the same name the one of the earlier folder first (they lie in one array). */
static int compare_entries(const void *a, const void *b) {
        const struct folder_entry *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        return r != 0 ? r : x->folder < y->folder ? -1 : x->folder > y->folder;
}

int folders_merge(const struct folder folders[], size_t n_folders, struct folder_entry **ret, size_t *ret_n) {
        struct folder_entry *entries;
        size_t n = 0, n_kept = 0;

        for (size_t i = 0; i < n_folders; i++)
                n += folders[i].n_names;
        entries = calloc(n > 0 ? n : 1, sizeof(*entries));
        if (!entries)
                return -ENOMEM;

        n = 0;
        for (size_t i = 0; i < n_folders; i++)
                for (size_t j = 0; j < folders[i].n_names; j++)
                        if (has_suffix(folders[i].names[j], SUFFIX))
                                entries[n++] = (struct folder_entry){ folders[i].names[j], folders + i };
        qsort(entries, n, sizeof(*entries), compare_entries);

        for (size_t i = 0; i < n; i++)
                if (n_kept == 0 || strcmp(entries[n_kept - 1].name, entries[i].name) != 0)
                        entries[n_kept++] = entries[i];
        *ret = entries;
        *ret_n = n_kept;
        return 0;
}
