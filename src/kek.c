/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The key-encryption key as a JWK (RFC 7517) in a sealed file: made once, never replaced, read from the
 * unit's credential or the file. May call seal, base64, secret, tree, reason, OpenSSL's private DRBG, and
 * jansson to read what it wrote.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>
#include <openssl/rand.h>

#include "base64.h"
#include "io.h"
#include "kek.h"
#include "paths.h"
#include "reason.h"
#include "seal.h"

#define KEK_SIZE 32             /* bytes, of A256GCM */
#define KEK_KID_SIZE 16         /* random bytes */
#define KEK_JWK_MAX 4096        /* bytes of plaintext */
#define KEK_FILE_MAX (64 * 1024) /* bytes of sealed text */

void kek_free(struct kek *kek) {
        if (!kek)
                return;
        secret_free(kek->bytes);
        free(kek);
}

/* A new key as {"kty":"oct","kid":...,"alg":"A256GCM","k":...}. */
static int jwk_make(struct secret **ret) {
        static const char format[] = "{\"kty\":\"oct\",\"kid\":\"%s\",\"alg\":\"A256GCM\",\"k\":\"%s\"}";
        _cleanup_(secret_freep) struct secret *bytes = NULL, *k = NULL, *kid = NULL, *jwk = NULL;
        uint8_t id[KEK_KID_SIZE];
        int r;

        r = secret_new(KEK_SIZE, &bytes);
        if (r < 0)
                return r;
        if (RAND_priv_bytes(bytes->data, KEK_SIZE) != 1 || RAND_bytes(id, sizeof(id)) != 1)
                return -EIO;
        r = base64url_encode(bytes->data, bytes->size, &k);
        if (r >= 0)
                r = base64url_encode(id, sizeof(id), &kid);
        if (r >= 0)
                r = secret_new(sizeof(format) + k->size + kid->size, &jwk);
        if (r < 0)
                return r;
        jwk->size = (size_t) snprintf((char *) jwk->data, jwk->size, format, (const char *) kid->data,
                                      (const char *) k->data);
        *ret = TAKE_PTR(jwk);
        return 0;
}

/* Only characters that need no quoting anywhere: the kid goes into headers and messages. */
static bool kid_valid(const char *kid) {
        size_t n = strlen(kid);

        return n > 0 && n <= JWK_KID_MAX &&
                n == strspn(kid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
}

static int jwk_parse(const struct secret *text, struct kek **ret) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        const char *kty, *kid, *alg, *k;
        size_t k_size;
        json_t *json;
        int r = -EBADMSG;

        kek = calloc(1, sizeof(*kek));
        if (!kek)
                return -ENOMEM;
        json = json_loadb((const char *) text->data, text->size, JSON_REJECT_DUPLICATES, NULL);
        if (json &&
            json_unpack(json, "{s:s, s:s, s:s, s:s% !}", "kty", &kty, "kid", &kid, "alg", &alg, "k", &k,
                        &k_size) == 0 &&
            strcmp(kty, "oct") == 0 && strcmp(alg, "A256GCM") == 0 && kid_valid(kid)) {
                r = base64url_decode(k, k_size, &kek->bytes);
                if (r == 0 && kek->bytes->size != KEK_SIZE)
                        r = -EBADMSG;
                strcpy(kek->kid, kid);
        }
        json_decref(json);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(kek);
        return 0;
}

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

int kek_create(const struct tree *tree, enum seal_with with, char **ret_reason) {
        static const char name[] = PATH_KEK;
        const char *base = strrchr(name, '/') + 1;
        _cleanup_free_ char *path = NULL, *blob = NULL;
        _cleanup_(secret_freep) struct secret *jwk = NULL;
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
        if (fstatat(folder, base, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return reason_set(-EEXIST, ret_reason, "%s is there already", path);

        r = jwk_make(&jwk);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot draw a random key: %s", strerror(-r));
        r = seal(tree, with, KEK_CREDENTIAL, jwk, &blob, ret_reason);
        if (r < 0)
                return r;
        r = write_new(folder, base, blob);
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

static int open_sealed(const struct tree *tree, const char *path, char **ret_blob, char **ret_reason) {
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
        return 0;
}

static int unseal_file(const struct tree *tree, const char *path, struct secret **ret, char **ret_reason) {
        _cleanup_free_ char *blob = NULL, *why = NULL;
        int r;

        r = open_sealed(tree, path, &blob, ret_reason);
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

int kek_load(const struct tree *tree, struct kek **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = tree_full_path(tree, PATH_KEK, &path);
        if (r < 0)
                return r;
        r = tree->root ? -ENOENT : read_credential(&text, ret_reason);
        if (r == -ENOENT)
                r = unseal_file(tree, path, &text, ret_reason);
        if (r < 0)
                return r;
        r = jwk_parse(text, ret);
        if (r == -EBADMSG)
                return reason_set(
                                r, ret_reason,
                                "%s opens to something that is no key-encryption key: restore it from a "
                                "backup",
                                path);
        return r;
}
