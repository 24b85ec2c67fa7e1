/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one door to libkeyutils. Every key is made in the thread's own keyring, gets its mask there and only
 * then is linked to where others may find it, so that nothing in the ring was ever open to a possessor (see
 * keyrings(7), "Possession"). May call secret.
 */

#include <errno.h>
#include <inttypes.h>
#include <keyutils.h>
#include <stdio.h>
#include <string.h>

#include "copies.h"
#include "keyring.h"

#define LIVE_MASK UINT32_C(0x003f0000) /* uid 0: everything; possessor, group, others: nothing */
#define HEADER_MAGIC "keyrota1 "
#define HEADER_MAX                                                                                           \
        (sizeof(HEADER_MAGIC) + sizeof(((struct keyring_header *) 0)->secret) + 20 + KEYRING_KIDS_MAX)
#define KEY_INFO_MAX (4096 + 64) /* of any key: the kernel takes descriptions of a page */
#define ATTEMPTS_MAX 16 /* while another process changes the same thing */

/* What keyctl_describe(3) tells of a key. */
struct key_info {
        char type[16];
        unsigned uid;
        uint32_t mask;
        const char *description; /* in text */
        char text[KEY_INFO_MAX];
};

static int key_describe(key_serial_t key, struct key_info *ret) {
        unsigned gid;
        int start = 0;
        long n;

        n = keyctl_describe(key, ret->text, sizeof(ret->text));
        if (n < 0)
                return -errno;
        if ((size_t) n > sizeof(ret->text))
                return -ENAMETOOLONG;
        if (sscanf(ret->text, "%15[^;];%u;%u;%" SCNx32 ";%n", ret->type, &ret->uid, &gid, &ret->mask,
                   &start) != 4 ||
            start == 0)
                return -EBADMSG;
        ret->description = ret->text + start;
        return 0;
}

/* Root's and closed to everybody else? */
static int key_check(key_serial_t key) {
        struct key_info info;
        int r;

        r = key_describe(key, &info);
        if (r < 0)
                return r;
        return info.uid == 0 && info.mask == LIVE_MASK ? 0 : -EPERM;
}

/* What is revoked, expired or negative is as good as gone; linking a new key of that description takes its
 * place. */
static bool is_absent(int error) {
        return error == -ENOKEY || error == -EKEYREVOKED || error == -EKEYEXPIRED || error == -EKEYREJECTED;
}

static int ring_search(key_serial_t ring, const char *type, const char *description, key_serial_t *ret) {
        long key = keyctl_search(ring, type, description, 0);

        if (key < 0)
                return is_absent(-errno) ? -ENOKEY : -errno;
        *ret = (key_serial_t) key;
        return 0;
}

/* A new key that only this thread knows yet, with its final mask. */
static int key_make(const char *type, const char *description, const void *payload, size_t size,
                    key_serial_t *ret) {
        key_serial_t key = 0;

        key = add_key(type, description, payload, size, KEY_SPEC_THREAD_KEYRING);
        if (key < 0)
                return -errno;
        if (keyctl_setperm(key, LIVE_MASK) < 0) {
                int r = -errno;
                (void) keyctl_unlink(key, KEY_SPEC_THREAD_KEYRING);
                return r;
        }
        *ret = key;
        return 0;
}

int keyring_open(const char *name, bool create, keyring_serial *ret) {
        key_serial_t ring = 0;
        int r;

        for (unsigned attempt = 0;; attempt++) {
                r = ring_search(KEY_SPEC_USER_KEYRING, "keyring", name, &ring);
                if (r == 0)
                        break;
                if (r != -ENOKEY || !create || attempt >= ATTEMPTS_MAX)
                        return r == -EACCES ? -EPERM : r;

                r = key_make("keyring", name, NULL, 0, &ring);
                if (r < 0)
                        return r;
                /* Unlike linking, this never takes the place of one that another process has made in between.
                 * The last attempt does: what stands in the way all the time is a revoked ring, which no
                 * search finds. */
                if (keyctl_move(ring, KEY_SPEC_THREAD_KEYRING, KEY_SPEC_USER_KEYRING,
                                attempt + 1 < ATTEMPTS_MAX ? KEYCTL_MOVE_EXCL : 0) < 0) {
                        r = -errno;
                        (void) keyctl_unlink(ring, KEY_SPEC_THREAD_KEYRING);
                        if (r != -EEXIST)
                                return r;
                }
        }

        r = key_check(ring);
        if (r < 0)
                return r == -EACCES ? -EPERM : r;
        *ret = ring;
        return 0;
}

bool keyring_audit_required(keyring_serial ring) {
        _cleanup_(secret_freep) struct secret *value = NULL;
        int r;

        r = keyring_read(ring, KEYRING_AUDIT_ENTRY, NULL, &value);
        if (r == -ENOKEY)
                return false;
        return r < 0 || strcmp((const char *) value->data, "best-effort") != 0;
}

static bool secret_name_valid(const char *secret) {
        const char *slash = strchr(secret, '/');

        if (strcmp(secret, "-") == 0)
                return true;
        return slash && slash > secret && slash[1] != '\0' &&
                        secret[strspn(secret, "abcdefghijklmnopqrstuvwxyz0123456789_.-/")] == '\0' &&
                        !strchr(slash + 1, '/');
}

static bool kids_valid(const char *kids) {
        if (*kids == '\0')
                return false;
        for (const char *p = kids; *p; p++)
                if (*p <= ' ' || *p > '~')
                        return false;
        return true;
}

static int header_format(const struct keyring_header *header, char buffer[static HEADER_MAX],
                         size_t *ret_size) {
        int n;

        if (!secret_name_valid(header->secret) || !kids_valid(header->kids))
                return -EINVAL;
        n = snprintf(buffer, HEADER_MAX, HEADER_MAGIC "%s %" PRIu64 " %s\n", header->secret,
                     header->generation, header->kids);
        if (n < 0 || (size_t) n >= HEADER_MAX)
                return -EINVAL;
        *ret_size = (size_t) n;
        return 0;
}

/* The next field, which ends before the character end; copied with its NUL. */
static int take_field(const char **p, const char *stop, char end, char *field, size_t field_size) {
        const char *e = memchr(*p, end, (size_t) (stop - *p));
        size_t n;

        if (!e)
                return -EBADMSG;
        n = (size_t) (e - *p);
        if (n == 0 || n >= field_size || memchr(*p, '\0', n))
                return -EBADMSG;
        memcpy(field, *p, n);
        field[n] = '\0';
        *p = e + 1;
        return 0;
}

/* Reads the first line as strictly as header_format() writes it. */
static int header_parse(const uint8_t *payload, size_t size, struct keyring_header *ret, size_t *ret_size) {
        const char *p = (const char *) payload, *stop = p + (size < HEADER_MAX ? size : HEADER_MAX);
        struct keyring_header header;
        char number[21], *end;

        if (size < strlen(HEADER_MAGIC) || memcmp(p, HEADER_MAGIC, strlen(HEADER_MAGIC)) != 0)
                return -EBADMSG;
        p += strlen(HEADER_MAGIC);
        if (take_field(&p, stop, ' ', header.secret, sizeof(header.secret)) < 0 ||
            take_field(&p, stop, ' ', number, sizeof(number)) < 0 ||
            take_field(&p, stop, '\n', header.kids, sizeof(header.kids)) < 0 ||
            !secret_name_valid(header.secret) || !kids_valid(header.kids))
                return -EBADMSG;

        if (number[strspn(number, "0123456789")] != '\0' || (number[0] == '0' && number[1] != '\0'))
                return -EBADMSG;
        errno = 0;
        header.generation = strtoull(number, &end, 10);
        if (errno != 0 || *end != '\0')
                return -EBADMSG;

        if (ret)
                *ret = header;
        *ret_size = (size_t) (p - (const char *) payload);
        return 0;
}

/* The key's whole payload, which the kernel writes straight into secret memory. */
static int payload_read(key_serial_t key, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *payload = NULL;
        long size;
        int r;

        size = keyctl_read(key, NULL, 0);
        for (unsigned attempt = 0; size >= 0 && attempt < ATTEMPTS_MAX; attempt++) {
                secret_free(TAKE_PTR(payload));
                r = secret_new((size_t) size, &payload);
                if (r < 0)
                        return r;
                size = keyctl_read(key, (char *) payload->data, payload->size);
                if (size >= 0 && (size_t) size == payload->size) {
                        *ret = TAKE_PTR(payload);
                        return 0;
                }
        }
        if (size >= 0)
                return -EBUSY;
        return is_absent(-errno) ? -ENOKEY : -errno;
}

/* Takes the place of whatever has this description in the ring, in one step. */
static int entry_make(key_serial_t ring, const char *description, const void *payload, size_t size) {
        key_serial_t key = 0;
        int r;

        r = key_make("user", description, payload, size, &key);
        if (r < 0)
                return r;
        r = keyctl_link(key, ring) < 0 ? -errno : 1;
        (void) keyctl_unlink(key, KEY_SPEC_THREAD_KEYRING);
        return r;
}

/* Updates the entry, whose serial and mask stay. -ENOKEY: it cannot be, make a new one. */
static int entry_update(key_serial_t key, const struct secret *payload) {
        _cleanup_(secret_freep) struct secret *old = NULL;
        int r;

        if (key_check(key) < 0) /* somebody else's work */
                return -ENOKEY;
        r = payload_read(key, &old);
        if (r < 0)
                return r;
        if (secret_equal(old, payload))
                return 0;
        if (keyctl_update(key, payload->data, payload->size) < 0)
                return is_absent(-errno) ? -ENOKEY : -errno;
        return 1;
}

int keyring_publish(keyring_serial ring, const char *description, const struct keyring_header *header,
                    const struct secret *bytes) {
        _cleanup_(secret_freep) struct secret *payload = NULL;
        char text[HEADER_MAX];
        key_serial_t key = 0;
        size_t n;
        int r;

        if (*description == '\0' || strlen(description) > KEYRING_DESCRIPTION_MAX)
                return -EINVAL;
        r = header_format(header, text, &n);
        if (r < 0)
                return r;
        if (bytes->size > KEYRING_PAYLOAD_MAX - n)
                return -E2BIG;

        r = secret_new(n + bytes->size, &payload);
        if (r < 0)
                return r;
        memcpy(payload->data, text, n);
        memcpy(payload->data + n, bytes->data, bytes->size);

        r = ring_search(ring, "user", description, &key);
        if (r == 0)
                r = entry_update(key, payload);
        if (r == -ENOKEY || r == -EACCES) /* EACCES: not made here, as root has every right to what is */
                r = entry_make(ring, description, payload->data, payload->size);
        return r;
}

int keyring_read(keyring_serial ring, const char *description, struct keyring_header *ret_header,
                 struct secret **ret_bytes) {
        _cleanup_(secret_freep) struct secret *payload = NULL;
        struct keyring_header header;
        key_serial_t key = 0;
        size_t n;
        int r;

        r = ring_search(ring, "user", description, &key);
        if (r == 0)
                r = payload_read(key, &payload);
        if (r < 0)
                return r == -EACCES ? -EBADMSG : r;
        r = header_parse(payload->data, payload->size, &header, &n);
        if (r < 0)
                return r;
        if (ret_bytes) {
                r = secret_new_from(payload->data + n, payload->size - n, ret_bytes);
                if (r < 0)
                        return r;
        }
        if (ret_header)
                *ret_header = header;
        return 0;
}

int keyring_read_copy(const char *name, struct secret **ret) {
        char description[COPY_DESCRIPTION_MAX];
        struct key_info info;
        key_serial_t key = 0;
        int r;

        (void) snprintf(description, sizeof(description), COPY_PREFIX "%s", name);
        r = ring_search(KEY_SPEC_SESSION_KEYRING, "user", description, &key);
        if (r >= 0)
                r = key_describe(key, &info);
        if (r >= 0 && (info.uid != 0 || info.mask != COPIES_MASK))
                return -EPERM;
        if (r >= 0)
                r = payload_read(key, ret);
        return is_absent(r) || r == -EACCES ? -ENOKEY : r;
}

/* Shows one entry of the ring to each(); one that has gone meanwhile is none. */
static int visit(
                key_serial_t key,
                int (*each)(const char *description, const struct keyring_header *header, void *userdata),
                void *userdata) {
        _cleanup_(secret_freep) struct secret *payload = NULL;
        struct keyring_header header;
        struct key_info info;
        bool ours = false;
        size_t n;
        int r;

        r = key_describe(key, &info);
        if (is_absent(r) || r == -EACCES)
                return 0;
        if (r < 0)
                return r;
        if (strcmp(info.type, "user") == 0) {
                r = payload_read(key, &payload);
                if (r == -ENOKEY)
                        return 0;
                if (r == -ENOMEM)
                        return r;
                ours = r == 0 && header_parse(payload->data, payload->size, &header, &n) == 0;
        }
        return each(info.description, ours ? &header : NULL, userdata);
}

int keyring_foreach(
                keyring_serial ring,
                int (*each)(const char *description, const struct keyring_header *header, void *userdata),
                void *userdata) {
        _cleanup_free_ void *serials = NULL;
        int n;

        n = keyctl_read_alloc(ring, &serials); /* serial numbers, nothing secret */
        if (n < 0)
                return -errno;
        for (size_t i = 0; i < (size_t) n / sizeof(key_serial_t); i++) {
                key_serial_t key;
                int r;

                memcpy(&key, (const char *) serials + i * sizeof(key), sizeof(key));
                r = visit(key, each, userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}

int keyring_remove(keyring_serial ring, const char *description) {
        key_serial_t key = 0;
        int r;

        r = ring_search(ring, "user", description, &key);
        if (r == -EACCES) {
                /* A foreign key that cannot even be found can still be displaced. */
                r = entry_make(ring, description, "-", 1);
                if (r >= 0)
                        r = ring_search(ring, "user", description, &key);
        }
        if (r == 0 && keyctl_unlink(key, ring) < 0)
                r = -errno;
        return r == -ENOKEY || r == -ENOENT ? 0 : r;
}

int keyring_destroy(const char *name) {
        key_serial_t ring = 0;
        int r;

        r = ring_search(KEY_SPEC_USER_KEYRING, "keyring", name, &ring);
        if (r == 0 && keyctl_unlink(ring, KEY_SPEC_USER_KEYRING) < 0)
                r = -errno;
        return r == -ENOKEY || r == -ENOENT ? 0 : r;
}
