/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The key-encryption key in its sealed file: made once, replaced by a rekey only, read from the unit's
 * credential or the file. May call kek-jwk, seal, secret, tree, io, reason.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io.h"
#include "kek-jwk.h"
#include "paths.h"
#include "reason.h"
#include "seal.h"

#define KEK_FILE_MAX (64 * 1024) /* bytes of sealed text */
#define KEK_NAME "kek.cred" /* of PATH_KEK, in PATH_STATE */
#define KEK_NOTE_NAME "kek.kid"
#define PATH_KEK_NOTE PATH_STATE "/" KEK_NOTE_NAME

static_assert(sizeof(PATH_STATE "/" KEK_NAME) == sizeof(PATH_KEK), "they are the same");

/* A name for the nameless file; never in the place of another. */
static int link_file(int fd, int folder, const char *name) {
        char path[64];

        if (linkat(fd, "", folder, name, AT_EMPTY_PATH) == 0)
                return 0;
        if (errno != ENOENT && errno != EINVAL)
                return -errno;
        /* AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH, which a sandbox takes away. */
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* After a crash at any moment there is the whole file or none. */
static int write_new(int folder, const char *name, const char *data) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = openat(folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
        if (fd < 0)
                return errno == EISDIR ? -EOPNOTSUPP : -errno;
        r = io_write_all(fd, data, strlen(data));
        if (r < 0)
                return r;
        if (fchmod(fd, 0600) < 0 || fsync(fd) < 0)
                return -errno;
        r = link_file(fd, folder, name);
        if (r < 0)
                return r;
        return fsync(folder) < 0 ? -errno : 0;
}

#define TEMPORARY(name) "." name ".new"

bool kek_is_temporary(const char *entry) {
        return strcmp(entry, TEMPORARY(KEK_NAME)) == 0 || strcmp(entry, TEMPORARY(KEK_NOTE_NAME)) == 0;
}

/* In the place of what has that name, or of nothing: at every moment, and after a power cut at any, the one or the other, whole. Only with the
 * store's lock, so that what has the temporary name is left from a run that was killed. */
static int replace_file(int folder, const char *name, const char *data) {
        _cleanup_close_ int fd = -EBADF;
        char temporary[64];
        int r;

        (void) snprintf(temporary, sizeof(temporary), TEMPORARY("%s"), name);
        if (unlinkat(folder, temporary, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd < 0)
                return -errno;
        r = io_write_all(fd, data, strlen(data));
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(folder, temporary, folder, name) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(folder, temporary, 0);
                return r;
        }
        return fsync(folder) < 0 ? -errno : 0;
}

static int open_state(const struct tree *tree) {
        return tree_open_path(tree, PATH_STATE, O_RDONLY | O_DIRECTORY, 0);
}

int kek_seal(const struct tree *tree, enum seal_with with, const struct kek *kek, bool with_previous, char **ret_blob, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        int r;

        r = kek_format(kek, with_previous, &text);
        if (r < 0)
                return r;
        return seal(tree, with, KEK_CREDENTIAL, text, ret_blob, ret_reason);
}

/* What a KEK that is lost has left would speak against the new one. */
static int remove_note(int folder) {
        return unlinkat(folder, KEK_NOTE_NAME, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int kek_create(const struct tree *tree, enum seal_with with, char **ret_reason) {
        _cleanup_free_ char *path = NULL, *blob = NULL;
        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_close_ int folder = -EBADF;
        struct stat st;
        int r;

        r = tree_full_path(tree, PATH_KEK, &path);
        if (r < 0)
                return r;
        folder = tree_make_directory(tree, PATH_STATE, 0700);
        if (folder < 0)
                return reason_set(folder, ret_reason, "cannot make the folder of %s: %s", path,
                                  strerror(-folder));
        /* A link or worse in its place is one too: nothing is made beside it. */
        if (fstatat(folder, KEK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return reason_set(-EEXIST, ret_reason, "%s is there already", path);

        r = kek_draw(&kek);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot draw a random key: %s", strerror(-r));
        r = kek_seal(tree, with, kek, false, &blob, ret_reason);
        if (r < 0)
                return r;
        r = remove_note(folder);
        if (r >= 0)
                r = write_new(folder, KEK_NAME, blob);
        if (r == -EEXIST)
                return reason_set(r, ret_reason, "%s is there already", path);
        if (r == -EOPNOTSUPP)
                return reason_set(
                                r, ret_reason,
                                "the file system of %s cannot make nameless files (O_TMPFILE); use a local "
                                "one",
                                path);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot write %s: %s", path, strerror(-r));
        return 0;
}

/* The unit's copy, which the service manager has opened already. -ENOENT: the unit has none. */
static int read_credential(struct secret **ret, char **ret_reason) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        if (!directory || directory[0] != '/')
                return -ENOENT;
        if (asprintf(&path, "%s/%s", directory, KEK_CREDENTIAL) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return errno == ENOENT
                                ? -ENOENT
                                : reason_set(-errno, ret_reason, "cannot open %s: %s", path, strerror(errno));
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > KEK_JWK_MAX)
                return reason_set(-EBADMSG, ret_reason,
                                  "%s is not the key-encryption key: it is no regular file of 1 to %d bytes",
                                  path, KEK_JWK_MAX);

        r = secret_new((size_t) st.st_size, &text);
        if (r < 0)
                return r;
        if (read(fd, text->data, text->size) != (ssize_t) text->size)
                return reason_set(-EIO, ret_reason, "cannot read %s", path);
        *ret = TAKE_PTR(text);
        return 0;
}

static int open_sealed(const struct tree *tree, const char *path, struct stat *ret_st, char **ret_blob, char **ret_reason) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        fd = tree_open_path(tree, PATH_KEK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd == -ENOENT)
                return fd;
        if (fd == -ELOOP)
                return reason_set(-EPERM, ret_reason, "%s is a link; put the file itself there", path);
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open %s: %s", path, strerror(-fd));
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return reason_set(-EPERM, ret_reason, "%s is not a regular file", path);
        if (st.st_uid != 0 || (st.st_mode & 077) != 0)
                return reason_set(
                                -EPERM, ret_reason,
                                "%s is open to others than root: see who had it, then chown root and chmod "
                                "0600",
                                path);
        if (st.st_size == 0)
                return reason_set(-EBADMSG, ret_reason, "%s is empty: restore it from a backup", path);

        r = tree_read_fd(fd, KEK_FILE_MAX, ret_blob, NULL);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot read %s: %s", path, strerror(-r));
        *ret_st = st;
        return 0;
}

static int unseal_file(
                const struct tree *tree, const char *path, struct stat *ret_st, struct secret **ret, char **ret_reason) {
        _cleanup_free_ char *blob = NULL, *why = NULL;
        int r;

        r = open_sealed(tree, path, ret_st, &blob, ret_reason);
        if (r < 0)
                return r;
        r = unseal(tree, KEK_CREDENTIAL, blob, ret, &why);
        if (r == -EBADMSG)
                return reason_set(
                                r, ret_reason,
                                "%s cannot be opened: %s; it is damaged, or sealed on another host: "
                                "restore it from a backup of this host",
                                path, why ? why : "no reason given");
        /* -ENOENT is kept for "no KEK yet", or a new one would be made in its place. */
        if (r < 0)
                return reason_set(r == -ENOENT ? -EIO : r, ret_reason, "%s cannot be opened: %s", path,
                                  why ? why : strerror(-r));
        return 0;
}

static int parse(const struct secret *text, const char *path, struct kek **ret, char **ret_reason) {
        int r = kek_parse(text, ret);

        if (r == -EBADMSG)
                return reason_set(
                                r, ret_reason,
                                "%s opens to something that is no key-encryption key: restore it from a "
                                "backup",
                                path);
        return r;
}

int kek_load_file(const struct tree *tree, struct kek **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *path = NULL;
        struct stat st = { .st_ino = 0 };
        int r;

        r = tree_full_path(tree, PATH_KEK, &path);
        if (r < 0)
                return r;
        r = unseal_file(tree, path, &st, &text, ret_reason);
        if (r >= 0)
                r = parse(text, path, ret, ret_reason);
        if (r < 0)
                return r;
        (*ret)->source = KEK_FROM_FILE;
        (*ret)->file.device = st.st_dev;
        (*ret)->file.inode = st.st_ino;
        (*ret)->file.changed = st.st_ctim;
        return 0;
}

int kek_load(const struct tree *tree, struct kek **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        int r;

        r = tree->root ? -ENOENT : read_credential(&text, ret_reason);
        if (r == -ENOENT)
                return kek_load_file(tree, ret, ret_reason);
        if (r >= 0)
                r = parse(text, "the credential " KEK_CREDENTIAL, ret, ret_reason);
        if (r < 0)
                return r;
        (*ret)->source = KEK_FROM_CREDENTIAL;
        return 0;
}

/* Every replacement is a new file, and a new ctime should the old number be used again. */
static bool is_same_file(const struct tree *tree, const struct kek *kek) {
        _cleanup_close_ int folder = open_state(tree);
        struct stat st;

        return folder >= 0 && fstatat(folder, KEK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == kek->file.device &&
                st.st_ino == kek->file.inode && st.st_ctim.tv_sec == kek->file.changed.tv_sec &&
                st.st_ctim.tv_nsec == kek->file.changed.tv_nsec;
}

bool kek_is_noted(const struct tree *tree, const struct kek *kek) {
        _cleanup_free_ char *kid = NULL;
        int r;

        r = tree_read_file(tree, PATH_KEK_NOTE, JWK_KID_MAX + 1, &kid, NULL);
        if (r < 0)
                return r == -ENOENT;
        kid[strcspn(kid, "\n")] = '\0';
        return kek_find(kek, kid);
}

bool kek_is_current(const struct tree *tree, const struct kek *kek) {
        switch (kek->source) {
        case KEK_FROM_FILE:
                return is_same_file(tree, kek);
        case KEK_FROM_CREDENTIAL:
                return kek_is_noted(tree, kek);
        case KEK_MADE:
                break;
        }
        return true;
}

int kek_note(const struct tree *tree, const struct kek *kek, char **ret_reason) {
        _cleanup_close_ int folder = open_state(tree);
        _cleanup_free_ char *path = NULL;
        char text[JWK_KID_MAX + 2];
        int r;

        r = tree_full_path(tree, PATH_KEK_NOTE, &path);
        if (r < 0)
                return r;
        (void) snprintf(text, sizeof(text), "%s\n", kek->kid);
        r = folder < 0 ? folder : replace_file(folder, KEK_NOTE_NAME, text);
        return r < 0 ? reason_set(r, ret_reason, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int kek_renew(const struct kek *previous, struct kek **ret) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        int r;

        r = kek_draw(&kek);
        if (r < 0)
                return r;
        kek->previous = calloc(1, sizeof(*kek->previous));
        if (!kek->previous)
                return -ENOMEM;
        strcpy(kek->previous->kid, previous->kid);
        r = secret_new_from(previous->bytes->data, previous->bytes->size, &kek->previous->bytes);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(kek);
        return 0;
}

int kek_replace(const struct tree *tree, const char *blob, char **ret_reason) {
        _cleanup_close_ int folder = open_state(tree);
        _cleanup_free_ char *path = NULL;
        int r;

        r = tree_full_path(tree, PATH_KEK, &path);
        if (r < 0)
                return r;
        r = folder < 0 ? folder : replace_file(folder, KEK_NAME, blob);
        return r < 0 ? reason_set(r, ret_reason, "cannot replace %s: %s", path, strerror(-r)) : 0;
}

int kek_keep_previous(const struct tree *tree, enum seal_with with, const struct kek *kek, char **ret_path, char **ret_reason) {
        _cleanup_close_ int folder = open_state(tree);
        _cleanup_free_ char *inside = NULL, *path = NULL, *blob = NULL;
        int r;

        if (asprintf(&inside, "%s.old-%s", PATH_KEK, kek->previous->kid) < 0) {
                inside = NULL;
                return -ENOMEM;
        }
        r = tree_full_path(tree, inside, &path);
        if (r >= 0)
                r = kek_seal(tree, with, kek->previous, false, &blob, ret_reason);
        if (r < 0)
                return r;
        r = folder < 0 ? folder : write_new(folder, strrchr(path, '/') + 1, blob);
        if (r < 0 && r != -EEXIST)
                return reason_set(r, ret_reason, "cannot write %s: %s", path, strerror(-r));
        *ret_path = TAKE_PTR(path);
        return 0;
}
