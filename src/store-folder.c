/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The folders of the store, one for each environment, and the names in them. What has no name of ours in it
 * is not ours. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "paths.h"
#include "reason.h"
#include "store-internal.h"

static void closedirp(DIR **directory) {
        if (*directory)
                (void) closedir(*directory);
}

int store_path(const struct store *store, const char *environment, const char *file, char **ret) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/%s%s%s", PATH_STATE, environment, file ? "/" : "", file ? file : "") < 0) {
                path = NULL;
                return -ENOMEM;
        }
        return tree_full_path(store->tree, path, ret);
}

const char *store_file_name(const char *name, char buffer[static STORE_NAME_MAX]) {
        (void) snprintf(buffer, STORE_NAME_MAX, "%s%s", name, STORE_SUFFIX);
        return buffer;
}

/* NAME of NAME.jwe. */
static bool name_from_file(const char *file, char name[static POLICY_NAME_MAX + 1]) {
        size_t n = strlen(file), suffix = strlen(STORE_SUFFIX);

        if (n <= suffix || n - suffix > POLICY_NAME_MAX || strcmp(file + n - suffix, STORE_SUFFIX) != 0)
                return false;
        memcpy(name, file, n - suffix);
        name[n - suffix] = '\0';
        return policy_name_valid(name);
}

/* Is this one of our temporary files? */
static bool is_temporary(const char *file) {
        char middle[STORE_NAME_MAX], name[POLICY_NAME_MAX + 1];
        size_t n = strlen(file), prefix = strlen(TEMPORARY_PREFIX), tail = 1 + TEMPORARY_DIGITS;

        if (n <= prefix + tail || n - prefix - tail >= sizeof(middle) ||
            strncmp(file, TEMPORARY_PREFIX, prefix) != 0 || file[n - tail] != '.' ||
            strspn(file + n - tail + 1, "0123456789abcdef") != TEMPORARY_DIGITS)
                return false;
        memcpy(middle, file + prefix, n - prefix - tail);
        middle[n - prefix - tail] = '\0';
        return name_from_file(middle, name);
}

int store_check_folder(int fd, const char *path, dev_t *ret_device, char **ret_reason) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != 0 || (st.st_mode & 022) != 0)
                return reason_set(
                                -EPERM, ret_reason,
                                "%s can be written by others than root: look at what is in it, then chown "
                                "root and chmod 0700",
                                path);
        if (ret_device)
                *ret_device = st.st_dev;
        return 0;
}

static int open_folder(struct store *store, const char *environment, bool make, const char *path,
                       char **ret_reason) {
        const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        int fd;

        if (store->fd < 0)
                return -ENOENT;
        fd = openat(store->fd, environment, flags);
        if (fd < 0 && errno == ENOENT && make) {
                /* The new entry must outlive a power cut as what goes into it will. */
                if ((mkdirat(store->fd, environment, 0700) < 0 && errno != EEXIST) || fsync(store->fd) < 0)
                        return reason_set(-errno, ret_reason, "cannot make %s: %s", path, strerror(errno));
                fd = openat(store->fd, environment, flags);
        }
        if (fd >= 0)
                return fd;
        if (errno == ENOENT)
                return -ENOENT;
        if (errno == ENOTDIR || errno == ELOOP)
                return reason_set(-EPERM, ret_reason, "%s is not a folder; move it away", path);
        return reason_set(-errno, ret_reason, "cannot open %s: %s", path, strerror(errno));
}

int store_folder(struct store *store, const char *environment, bool make, struct folder **ret,
                 char **ret_reason) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *path = NULL;
        struct folder *folders;
        dev_t device;
        int r;

        for (size_t i = 0; i < store->n_folders; i++)
                if (strcmp(store->folders[i].name, environment) == 0) {
                        *ret = &store->folders[i];
                        return 0;
                }

        if (!policy_name_valid(environment))
                return -EINVAL;
        r = store_path(store, environment, NULL, &path);
        if (r < 0)
                return r;
        fd = open_folder(store, environment, make, path, ret_reason);
        if (fd < 0)
                return fd;
        r = store_check_folder(fd, path, &device, ret_reason);
        if (r < 0)
                return r;

        folders = reallocarray(store->folders, store->n_folders + 1, sizeof(*folders));
        if (!folders)
                return -ENOMEM;
        store->folders = folders;
        folders += store->n_folders++;
        *folders = (struct folder) { .fd = TAKE_FD(fd), .device = device };
        strcpy(folders->name, environment);
        *ret = folders;
        return 0;
}

/* Calls each() for the entries of a folder; its result <0 ends the walk. */
static int walk(int fd, int (*each)(struct store *store, int fd, const char *entry, void *userdata),
                struct store *store, void *userdata) {
        _cleanup_(closedirp) DIR *directory = NULL;
        struct dirent *entry;
        int own, r;

        own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (own < 0)
                return -errno;
        directory = fdopendir(own);
        if (!directory) {
                r = -errno;
                (void) close(own);
                return r;
        }
        while ((errno = 0, entry = readdir(directory))) {
                r = each(store, fd, entry->d_name, userdata);
                if (r < 0)
                        return r;
        }
        return -errno;
}

/* What a run that was killed has left. Only with the lock. */
static int remove_stale(struct store *store _unused_, int fd, const char *entry, void *userdata _unused_) {
        struct stat st;

        if (is_temporary(entry) && fstatat(fd, entry, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
                (void) unlinkat(fd, entry, 0);
        return 0;
}

static int remove_stale_in(struct store *store, int fd _unused_, const char *entry, void *userdata _unused_) {
        struct folder *folder;

        if (kek_is_temporary(entry))
                (void) unlinkat(store->fd, entry, 0);
        if (!policy_name_valid(entry) || store_folder(store, entry, false, &folder, NULL) < 0)
                return 0;
        return walk(folder->fd, remove_stale, store, NULL);
}

int store_remove_stale(struct store *store) {
        return walk(store->fd, remove_stale_in, store, NULL);
}

struct listing {
        const char *environment;
        struct store_name *names;
        size_t n, room;
};

static int list_file(struct store *store _unused_, int fd _unused_, const char *entry, void *userdata) {
        struct listing *listing = userdata;
        char name[POLICY_NAME_MAX + 1];
        struct store_name *item;

        if (!name_from_file(entry, name))
                return 0;
        if (listing->n == listing->room) {
                size_t room = listing->room ? listing->room * 2 : 64;
                struct store_name *names = reallocarray(listing->names, room, sizeof(*names));

                if (!names)
                        return -ENOMEM;
                listing->names = names;
                listing->room = room;
        }
        item = &listing->names[listing->n++];
        *item = (struct store_name) { .environment = strdup(listing->environment), .name = strdup(name) };
        return item->environment && item->name ? 0 : -ENOMEM;
}

static int list_folder(struct store *store, int fd _unused_, const char *entry, void *userdata) {
        struct listing *listing = userdata;
        struct folder *folder;
        int r;

        if (!policy_name_valid(entry))
                return 0;
        r = store_folder(store, entry, false, &folder, NULL);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return 0; /* not ours: store_load() says why when a policy wants it */
        listing->environment = folder->name;
        return walk(folder->fd, list_file, store, listing);
}

struct survey {
        struct folder *folder; /* that is being looked into */
        size_t n;
        char *example;
        char **ret_reason;
};

static int survey_file(struct store *store, int fd _unused_, const char *entry, void *userdata) {
        struct survey *survey = userdata;
        const char *suffix = strstr(entry, STORE_SUFFIX STORE_ASIDE);

        if (!suffix || suffix == entry || entry[0] == '.')
                return 0;
        if (survey->n++ == 0)
                return store_path(store, survey->folder->name, entry, &survey->example);
        return 0;
}

static int survey_folder(struct store *store, int fd, const char *entry, void *userdata) {
        struct survey *survey = userdata;
        struct stat st;
        int r;

        /* A link to a folder is none of ours, but what is in it might have been thought to be. */
        if (!policy_name_valid(entry) || fstatat(fd, entry, &st, 0) < 0 || !S_ISDIR(st.st_mode))
                return 0;
        r = store_folder(store, entry, false, &survey->folder, survey->ret_reason);
        return r < 0 ? r : walk(survey->folder->fd, survey_file, store, survey);
}

int store_survey(struct store *store, size_t *ret_n, char **ret_example, char **ret_reason) {
        struct survey survey = { .ret_reason = ret_reason };
        int r;

        r = store->fd < 0 ? 0 : walk(store->fd, survey_folder, store, &survey);
        if (r < 0) {
                free(survey.example);
                return r;
        }
        *ret_n = survey.n;
        *ret_example = survey.example;
        return 0;
}

static int compare_names(const void *a, const void *b) {
        const struct store_name *x = a, *y = b;
        int r = strcmp(x->environment, y->environment);

        return r != 0 ? r : strcmp(x->name, y->name);
}

int store_list(struct store *store, struct store_name **ret, size_t *ret_n) {
        struct listing listing = { .n = 0 };
        int r;

        r = store->fd < 0 ? 0 : walk(store->fd, list_folder, store, &listing);
        if (r < 0) {
                store_names_free(listing.names, listing.n);
                return r;
        }
        if (listing.n > 1)
                qsort(listing.names, listing.n, sizeof(*listing.names), compare_names);
        *ret = listing.names;
        *ret_n = listing.n;
        return 0;
}

void store_names_free(struct store_name *names, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(names[i].environment);
                free(names[i].name);
        }
        free(names);
}
