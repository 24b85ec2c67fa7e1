/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The store as its users see it: opening, locking and reading, with a KEK that is current. Writing is in store-commit.c, the folders are
 * in store-folder.c, the form of a file in store-jwe.c and store-set.c. Every file is distrusted until its
 * owner, mode, type, size, form, names and tag have been looked at.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lock.h"
#include "paths.h"
#include "policy.h"
#include "reason.h"
#include "store-internal.h"
#include "store-set.h"

#define LOCK_NAME ".lock" /* no valid name of an environment */
#define ASIDE_ATTEMPTS 100
#define RELOAD_ATTEMPTS 3
#define REMEDY "restore it from a backup, or make new keys with keyrota provision --replace=%s"

static int take_lock(struct store *store, const char *path, unsigned wait_seconds, char **ret_reason) {
        _cleanup_close_ int fd = -EBADF;
        pid_t holder;
        int r;

        fd = openat(store->fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
                    0600);
        if (fd < 0)
                return reason_set(-errno, ret_reason, "cannot open %s/%s: %s", path, LOCK_NAME,
                                  strerror(errno));
        r = lock_take(fd, wait_seconds, &holder);
        if (r == -EAGAIN && holder > 0)
                return reason_set(r, ret_reason, "process %d is at work in %s; try again when it has ended",
                                  (int) holder, path);
        if (r == -EAGAIN)
                return reason_set(r, ret_reason,
                                  "another process is at work in %s; try again when it has ended", path);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot lock %s/%s: %s", path, LOCK_NAME, strerror(-r));
        store->lock = TAKE_FD(fd);
        return 0;
}

static int open_state(const struct tree *tree, bool make, const char *path, char **ret_reason) {
        int fd, r;

        fd = tree_open_path(tree, PATH_STATE, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT && make)
                fd = tree_make_directory(tree, PATH_STATE, 0700);
        if (fd == -ENOENT && !make)
                return fd;
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open %s: %s", path, strerror(-fd));
        r = store_check_folder(fd, path, NULL, ret_reason);
        if (r < 0) {
                (void) close(fd);
                return r;
        }
        return fd;
}

/* The KEK was replaced since the caller loaded it. */
static int reload_kek(struct store *store, char **ret_reason) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        r = kek_load_file(store->tree, &kek, &why);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return reason_set(
                                -ESTALE, ret_reason,
                                "the key-encryption key has been replaced since this run got it, and the new one "
                                "cannot be opened from here (%s); run it again",
                                why ? why : r == -ENOENT ? PATH_KEK " is gone" : strerror(-r));
        kek_free(store->reloaded);
        store->kek = store->reloaded = TAKE_PTR(kek);
        return 0;
}

/* With the lock nobody replaces it any more. A file that is written under a KEK that a rekey has dropped would be lost. */
static int settle_kek(struct store *store, const char *path, char **ret_reason) {
        int r;

        if (!kek_is_current(store->tree, store->kek)) {
                r = reload_kek(store, ret_reason);
                if (r < 0)
                        return r;
        }
        /* A run that was killed may have put it there and not made that durable; what is written under it must not outlive it. */
        if (store->kek->previous && fsync(store->fd) < 0)
                return reason_set(-errno, ret_reason, "cannot bring %s to the disk: %s", path, strerror(errno));
        /* PATH_KEK was restored from a backup: units are to believe their credential again. */
        if (store->kek->source == KEK_FROM_FILE && !kek_is_noted(store->tree, store->kek))
                (void) kek_note(store->tree, store->kek, NULL);
        return 0;
}

int store_open(const struct tree *tree, const struct kek *kek, bool lock, unsigned wait_seconds,
               struct store **ret, char **ret_reason) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        *store = (struct store) { .tree = tree, .kek = kek, .fd = -EBADF, .lock = -EBADF };
        r = tree_full_path(tree, PATH_STATE, &path);
        if (r < 0)
                return r;

        r = open_state(tree, lock, path, ret_reason);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r >= 0)
                store->fd = r;
        if (lock) {
                r = take_lock(store, path, wait_seconds, ret_reason);
                if (r < 0)
                        return r;
                r = store_remove_stale(store);
                if (r < 0)
                        return reason_set(r, ret_reason, "cannot read %s: %s", path, strerror(-r));
                r = kek ? settle_kek(store, path, ret_reason) : 0;
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(store);
        return 0;
}

void store_free(struct store *store) {
        if (!store)
                return;
        store_unstage_all(store);
        for (size_t i = 0; i < store->n_folders; i++)
                closep(&store->folders[i].fd);
        free(store->folders);
        free(store->staged);
        kek_free(store->reloaded);
        closep(&store->lock);
        closep(&store->fd);
        free(store);
}

const struct kek *store_kek(const struct store *store) {
        return store->kek;
}

void store_use_kek(struct store *store, const struct kek *kek) {
        store->kek = kek;
}

/* Opens and distrusts. */
static int open_file(int folder, const char *name, const char *path, int *ret, char **ret_reason) {
        char file[STORE_NAME_MAX];
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = openat(folder, store_file_name(name, file),
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        if (fd < 0 && (errno == ELOOP || errno == ENXIO))
                return reason_set(-EPERM, ret_reason, "%s is not a regular file; put the file itself there",
                                  path);
        if (fd < 0)
                return reason_set(-errno, ret_reason, "cannot open %s: %s", path, strerror(errno));
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return reason_set(-EPERM, ret_reason, "%s is not a regular file; put the file itself there",
                                  path);
        if (st.st_uid != 0 || (st.st_mode & 077) != 0)
                return reason_set(
                                -EPERM, ret_reason,
                                "%s is open to others than root: see who had it, then chown root and chmod "
                                "0600",
                                path);
        *ret = TAKE_FD(fd);
        return 0;
}

/* The whole text and what its header says. */
static int read_file(struct store *store, const char *environment, const char *name, const char *path,
                     char **ret_text, size_t *ret_size, struct jwe_header *ret_header, char **ret_reason) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct folder *folder;
        const char *what;
        size_t size;
        int r;

        if (!policy_name_valid(name))
                return -EINVAL;
        r = store_folder(store, environment, false, &folder, ret_reason);
        if (r < 0)
                return r;
        r = open_file(folder->fd, name, path, &fd, ret_reason);
        if (r < 0)
                return r;
        r = tree_read_fd(fd, STORE_FILE_MAX, &text, &size);
        if (r == -EFBIG)
                return reason_set(-EBADMSG, ret_reason,
                                  "%s is larger than %d bytes, so it is not keyrota's: " REMEDY, path,
                                  STORE_FILE_MAX, name);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot read %s: %s", path, strerror(-r));
        r = jwe_parse(text, size, ret_header, &what);
        if (r < 0)
                return r == -EBADMSG ? reason_set(r, ret_reason, "%s %s: " REMEDY, path, what, name) : r;
        *ret_text = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

/* Is it the file of this secret, under a key of ours? */
static int check_header(const struct store *store, const struct jwe_header *header, const char *environment,
                        const char *name, const char *path, char **ret_reason) {
        if (strcmp(header->environment, environment) != 0 || strcmp(header->name, name) != 0)
                return reason_set(-EBADMSG, ret_reason, "%s is for %s/%s, not for %s/%s: " REMEDY, path,
                                  header->environment, header->name, environment, name, name);
        if (!kek_find(store->kek, header->kid))
                return reason_set(
                                -EKEYREJECTED, ret_reason,
                                "%s is sealed under another key-encryption key (%s; this host's is %s): "
                                "restore the one that it was made with, "
                                "or make new keys with keyrota provision --replace=%s",
                                path, header->kid, store->kek->kid, name);
        return 0;
}

static int decrypt_file(struct store *store, const char *environment, const char *name, const char *path,
                        struct jwe_header *ret_header, struct secret **ret, char **ret_reason) {
        _cleanup_free_ char *text = NULL;
        struct jwe_header header;
        size_t size;
        int r;

        r = read_file(store, environment, name, path, &text, &size, &header, ret_reason);
        if (r < 0)
                return r;
        r = check_header(store, &header, environment, name, path, ret_reason);
        if (r < 0)
                return r;
        r = jwe_decrypt(text, size, kek_find(store->kek, header.kid)->bytes, ret);
        if (r == -EBADMSG)
                return reason_set(r, ret_reason,
                                  "%s is not authentic, it was changed after keyrota wrote it: " REMEDY, path,
                                  name);
        if (r < 0)
                return r;
        *ret_header = header;
        return 0;
}

int store_read(struct store *store, const char *environment, const char *name, struct jwe_header *ret_header,
               struct secret **ret, char **ret_reason) {
        _cleanup_free_ char *path = NULL;
        char file[STORE_NAME_MAX];
        int r;

        if (!store->kek)
                return -ENOKEY;
        if (!policy_name_valid(environment) || !policy_name_valid(name))
                return -EINVAL;
        r = store_path(store, environment, store_file_name(name, file), &path);
        if (r < 0)
                return r;
        /* Without the lock a rekey may go on meanwhile: then the KEK is not the file's because it is not current. */
        for (unsigned i = 0;; i++) {
                r = decrypt_file(store, environment, name, path, ret_header, ret, ret_reason);
                if (r != -EKEYREJECTED || i == RELOAD_ATTEMPTS || kek_is_current(store->tree, store->kek))
                        return r;
                r = reload_kek(store, ret_reason);
                if (r < 0)
                        return r;
        }
}

int store_load(struct store *store, const char *environment, const char *name, struct keyset **ret,
               char **ret_reason) {
        _cleanup_(secret_freep) struct secret *plaintext = NULL;
        _cleanup_free_ char *path = NULL, *why = NULL;
        char file[STORE_NAME_MAX];
        struct jwe_header header;
        int r;

        r = store_read(store, environment, name, &header, &plaintext, ret_reason);
        if (r < 0)
                return r;
        r = store_set_decode(plaintext, environment, name, ret, &why);
        if (r == -EBADMSG && store_path(store, environment, store_file_name(name, file), &path) >= 0)
                return reason_set(r, ret_reason,
                                  "%s is authentic but cannot be used: %s; was it made by a newer keyrota?",
                                  path, why ? why : "no reason given");
        if (r < 0)
                return r;
        (*ret)->generation = header.generation;
        return 0;
}

const char *store_latest_environment(struct store *store, const struct store_name *names, size_t n, const char *name) {
        const char *latest = NULL;
        int64_t when = INT64_MIN;

        for (size_t i = 0; i < n; i++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;

                if (strcmp(names[i].name, name) != 0)
                        continue;
                if (store_load(store, names[i].environment, name, &keyset, NULL) >= 0 && keyset->clock.now > when) {
                        when = keyset->clock.now;
                        latest = names[i].environment;
                }
                if (!latest)
                        latest = names[i].environment;
        }
        return latest;
}

int store_verify(struct store *store, const char *environment, const char *name, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *plaintext = NULL;
        struct jwe_header header;
        int r;

        r = store_read(store, environment, name, &header, &plaintext, ret_reason);
        return r < 0 ? r : strcmp(header.kid, store->kek->kid) != 0;
}

int store_peek_generation(struct store *store, const char *environment, const char *name,
                          uint64_t *ret_generation) {
        _cleanup_free_ char *text = NULL;
        struct jwe_header header;
        size_t size;
        int r;

        r = read_file(store, environment, name, "", &text, &size, &header, NULL);
        if (r < 0)
                return r;
        *ret_generation = header.generation;
        return 0;
}

/* A second name, so that a run that is killed before there is a new file leaves the old one where it was. */
static int name_aside(int folder, const char *file, const char *aside) {
        if (linkat(folder, file, folder, aside, 0) == 0)
                return 0;
        if (errno != EPERM) /* a folder, or another's file and no capability */
                return -errno;
        return renameat2(folder, file, folder, aside, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

/* Not where something else has its name: then it is what was to be kept. */
static void put_back(int folder, const char *file, const char *aside) {
        struct stat before, now;

        if (fstatat(folder, aside, &before, AT_SYMLINK_NOFOLLOW) < 0)
                return;
        if (fstatat(folder, file, &now, AT_SYMLINK_NOFOLLOW) < 0)
                (void) renameat2(folder, aside, folder, file, RENAME_NOREPLACE);
        else if (now.st_dev == before.st_dev && now.st_ino == before.st_ino)
                (void) unlinkat(folder, aside, 0);
}

int store_set_aside(struct store *store, const char *environment, const char *name, char **ret_path) {
        char file[STORE_NAME_MAX], aside[STORE_NAME_MAX + 48], when[32];
        time_t now = time(NULL);
        struct folder *folder;
        struct tm tm;
        int r;

        if (store->lock < 0 || !policy_name_valid(name))
                return -EINVAL;
        r = store_folder(store, environment, false, &folder, NULL);
        if (r < 0)
                return r;
        if (!gmtime_r(&now, &tm) || strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm) == 0)
                return -EOVERFLOW;

        store_file_name(name, file);
        for (unsigned i = 1;; i++) {
                (void) snprintf(aside, sizeof(aside), i == 1 ? "%s" STORE_ASIDE "%s" : "%s" STORE_ASIDE "%s-%u", file,
                                when, i);
                r = name_aside(folder->fd, file, aside);
                if (r >= 0)
                        break;
                if (r != -EEXIST || i == ASIDE_ATTEMPTS)
                        return r;
        }
        r = fsync(folder->fd) < 0 ? -errno : store_path(store, environment, aside, ret_path);
        if (r < 0)
                put_back(folder->fd, file, aside);
        return r;
}

void store_put_back(struct store *store, const char *environment, const char *name, const char *path) {
        char file[STORE_NAME_MAX];
        struct folder *folder;

        if (store_folder(store, environment, false, &folder, NULL) >= 0)
                put_back(folder->fd, store_file_name(name, file), strrchr(path, '/') + 1);
}
