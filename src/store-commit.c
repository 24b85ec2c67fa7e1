/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing sealed files: each to a temporary one beside it, then all made durable, then all renamed, then the
 * folders made durable. So at every moment, and after a power cut at any moment, each name holds its old file
 * or its new one, whole.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "io.h"
#include "paths.h"
#include "reason.h"
#include "store-internal.h"
#include "store-set.h"

static void unstage(struct store *store, struct staged *staged) {
        closep(&staged->fd);
        (void) unlinkat(store->folders[staged->folder].fd, staged->temporary, 0);
}

void store_unstage_all(struct store *store) {
        for (size_t i = 0; i < store->n_staged; i++)
                unstage(store, &store->staged[i]);
        store->n_staged = 0;
}

/* A new temporary file with this content; nothing is left of it on failure. */
static int write_temporary(int folder, struct staged *staged, const struct secret *text) {
        char file[STORE_NAME_MAX];
        uint32_t random;
        int fd, r;

        if (getrandom(&random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return -EIO;
        (void) snprintf(staged->temporary, sizeof(staged->temporary), TEMPORARY_PREFIX "%s.%08" PRIx32,
                        store_file_name(staged->name, file), random);
        fd = openat(folder, staged->temporary,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd < 0)
                return -errno;
        r = io_write_all(fd, text->data, text->size);
        if (r < 0) {
                (void) close(fd);
                (void) unlinkat(folder, staged->temporary, 0);
                return r;
        }
        staged->fd = fd;
        return 0;
}

/* The text of the file under the generation after keyset's. */
static int encrypt(const struct store *store, const struct keyset *keyset, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *plaintext = NULL;
        struct jwe_header header = { .generation = keyset->generation + 1 };
        int r;

        strcpy(header.kid, store->kek->kid);
        strcpy(header.environment, keyset->environment);
        strcpy(header.name, keyset->name);
        r = store_set_encode(keyset, &plaintext);
        if (r < 0)
                return r;
        return jwe_encrypt(&header, store->kek->bytes, plaintext, ret);
}

static int check_writable(const struct store *store, char **ret_reason) {
        if (!store->kek)
                return -ENOKEY;
        if (store->lock < 0)
                return reason_set(-EINVAL, ret_reason, "the store was opened for reading only");
        return 0;
}

static int check_stageable(const struct store *store, const struct keyset *keyset, char **ret_reason) {
        int r = check_writable(store, ret_reason);

        if (r < 0)
                return r;
        if (!policy_name_valid(keyset->environment) || !policy_name_valid(keyset->name))
                return reason_set(-EINVAL, ret_reason, "its name or environment is not a valid one");
        if (keyset->generation >= INT64_MAX)
                return reason_set(-ERANGE, ret_reason,
                                  "its generation %" PRIu64 " is the last that there can be",
                                  keyset->generation);
        return 0;
}

/* A set that was never stored must not take the place of one that was, whatever state that is in. */
static int check_not_fresh_over_old(int folder, const struct keyset *keyset, const char *path,
                                    char **ret_reason) {
        char file[STORE_NAME_MAX];
        struct stat st;

        if (keyset->generation > 0 ||
            fstatat(folder, store_file_name(keyset->name, file), &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        return reason_set(-EEXIST, ret_reason, "%s is there already and new keys do not take its place",
                          path);
}

/* An earlier staging of the same secret is overtaken by this one. */
static int remember(struct store *store, const struct staged *staged) {
        struct staged *larger;

        for (size_t i = 0; i < store->n_staged; i++) {
                struct staged *earlier = &store->staged[i];

                if (earlier->folder == staged->folder && strcmp(earlier->name, staged->name) == 0) {
                        unstage(store, earlier);
                        *earlier = *staged;
                        return 0;
                }
        }
        larger = reallocarray(store->staged, store->n_staged + 1, sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        store->staged = larger;
        larger[store->n_staged++] = *staged;
        return 0;
}

static int stage_text(struct store *store, const struct folder *folder, const char *name, const char *path,
                      const struct secret *text, char **ret_reason) {
        struct staged staged = { .fd = -EBADF };
        int r;

        if (text->size > STORE_FILE_MAX)
                return reason_set(-EFBIG, ret_reason,
                                  "%s would be larger than %d bytes: it holds too many keys", path,
                                  STORE_FILE_MAX);
        staged.folder = (size_t) (folder - store->folders);
        strcpy(staged.name, name);
        r = write_temporary(folder->fd, &staged, text);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot write %s: %s", path, strerror(-r));
        if (store->n_staged > 0) {
                closep(&staged.fd);
                staged.fd = -EBADF;
                closep(&store->staged[0].fd);
                store->staged[0].fd = -EBADF;
        }
        r = remember(store, &staged);
        if (r < 0)
                unstage(store, &staged);
        return r;
}

int store_stage(struct store *store, struct keyset *keyset, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *path = NULL;
        char file[STORE_NAME_MAX];
        struct folder *folder;
        int r;

        r = check_stageable(store, keyset, ret_reason);
        if (r < 0)
                return r;
        r = store_path(store, keyset->environment, store_file_name(keyset->name, file), &path);
        if (r < 0)
                return r;
        r = store_folder(store, keyset->environment, true, &folder, ret_reason);
        if (r >= 0)
                r = check_not_fresh_over_old(folder->fd, keyset, path, ret_reason);
        if (r < 0)
                return r;

        r = encrypt(store, keyset, &text);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot encrypt %s: %s", path, strerror(-r));
        r = stage_text(store, folder, keyset->name, path, text, ret_reason);
        if (r < 0)
                return r;
        keyset->generation++;
        return 0;
}

int store_reseal(struct store *store, const char *environment, const char *name, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *plaintext = NULL, *text = NULL;
        _cleanup_free_ char *path = NULL;
        char file[STORE_NAME_MAX];
        struct jwe_header header;
        struct folder *folder;
        int r;

        r = check_writable(store, ret_reason);
        if (r >= 0)
                r = store_read(store, environment, name, &header, &plaintext, ret_reason);
        if (r < 0)
                return r;
        if (strcmp(header.kid, store->kek->kid) == 0)
                return 0;
        r = store_path(store, environment, store_file_name(name, file), &path);
        if (r >= 0)
                r = store_folder(store, environment, false, &folder, ret_reason);
        if (r < 0)
                return r;

        strcpy(header.kid, store->kek->kid);
        r = jwe_encrypt(&header, store->kek->bytes, plaintext, &text);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot encrypt %s: %s", path, strerror(-r));
        r = stage_text(store, folder, name, path, text, ret_reason);
        return r < 0 ? r : 1;
}

/* Brings what is staged to the disk. The descriptors of the folders are older than what was written, so that
 * the kernel tells through them of every write that failed (syncfs(2), since Linux 5.8). */
static int flush_files(const struct store *store) {
        if (store->n_staged == 1 && store->staged[0].fd >= 0)
                return fsync(store->staged[0].fd) < 0 ? -errno : 0;

        for (size_t i = 0; i < store->n_staged; i++) {
                const struct folder *folder = &store->folders[store->staged[i].folder];
                bool done = false;

                for (size_t j = 0; j < i && !done; j++)
                        done = store->folders[store->staged[j].folder].device == folder->device;
                if (!done && syncfs(folder->fd) < 0)
                        return -errno;
        }
        return 0;
}

/* Renames until one fails; *ret_renamed tells how many went. */
static int rename_files(const struct store *store, size_t *ret_renamed) {
        char file[STORE_NAME_MAX];

        for (size_t i = 0; i < store->n_staged; i++) {
                const struct staged *staged = &store->staged[i];
                int folder = store->folders[staged->folder].fd;

                *ret_renamed = i;
                if (renameat(folder, staged->temporary, folder, store_file_name(staged->name, file)) < 0)
                        return -errno;
        }
        *ret_renamed = store->n_staged;
        return 0;
}

/* Makes the first n renames durable. */
static int flush_folders(const struct store *store, size_t n) {
        int r = 0;

        for (size_t i = 0; i < store->n_folders; i++)
                for (size_t j = 0; j < n; j++)
                        if (store->staged[j].folder == i) {
                                if (fsync(store->folders[i].fd) < 0 && r == 0)
                                        r = -errno;
                                break;
                        }
        return r;
}

int store_commit(struct store *store, char **ret_reason) {
        size_t n_staged = store->n_staged, renamed = 0;
        _cleanup_free_ char *path = NULL;
        int r, s;

        if (n_staged == 0)
                return 0;
        r = tree_full_path(store->tree, PATH_STATE, &path);
        if (r < 0)
                return r;
        r = flush_files(store);
        if (r < 0) {
                store_unstage_all(store);
                return reason_set(r, ret_reason, "cannot bring %s to the disk: %s", path, strerror(-r));
        }

        r = rename_files(store, &renamed);
        s = flush_folders(store, renamed);
        for (size_t i = 0; i < n_staged; i++)
                if (i < renamed)
                        closep(&store->staged[i].fd);
                else
                        unstage(store, &store->staged[i]);
        store->n_staged = 0;
        if (r < 0)
                return reason_set(r, ret_reason,
                                  "cannot rename in %s: %s; %zu of %zu secrets are new, the others old", path,
                                  strerror(-r), renamed, n_staged);
        if (s < 0)
                return reason_set(s, ret_reason, "cannot bring the folders of %s to the disk: %s", path,
                                  strerror(-s));
        return 0;
}

int store_sync(struct store *store, char **ret_reason) {
        _cleanup_free_ char *path = NULL;
        int r = 0;

        for (size_t i = 0; i < store->n_folders && r >= 0; i++)
                r = syncfs(store->folders[i].fd) < 0 ? -errno : 0;
        if (r >= 0 && syncfs(store->fd) < 0)
                r = -errno;
        if (r >= 0)
                return 0;
        if (tree_full_path(store->tree, PATH_STATE, &path) < 0)
                return -ENOMEM;
        return reason_set(r, ret_reason, "cannot bring %s to the disk: %s", path, strerror(-r));
}
