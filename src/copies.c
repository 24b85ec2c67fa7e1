/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copies that login sessions hold. Every key is made in the thread's own keyring and gets its mask and its end there; only then is it linked to where a
 * session possesses it, so that no process of the session ever finds it open. Calls libc and libkeyutils only, has no variables.
 */

#include <errno.h>
#include <inttypes.h>
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cleanup.h"
#include "copies.h"

#define DESCRIBE_MAX (4096 + 64) /* of any key: the kernel takes descriptions of a page */

/* ---- whose they are ----------------------------------------------------------------------------------------------- */

static size_t add_escaped(char *buffer, const char *text) {
        static const char digits[] = "0123456789abcdef";
        size_t n = 0;

        for (; *text; text++) {
                unsigned char c = (unsigned char) *text;

                if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_.-@/", c)) {
                        buffer[n++] = (char) c;
                        continue;
                }
                buffer[n++] = '\\';
                buffer[n++] = 'x';
                buffer[n++] = digits[c >> 4];
                buffer[n++] = digits[c & 15];
        }
        buffer[n] = '\0';
        return n;
}

/* 4 bytes for each of a field's bytes at the most. */
_Static_assert(sizeof(COPIES_RING_PREFIX) + 4 * 11 + 5 +
                               4 * (sizeof(((struct copies_holder *) 0)->user) + sizeof(((struct copies_holder *) 0)->service) +
                                    sizeof(((struct copies_holder *) 0)->tty) + sizeof(((struct copies_holder *) 0)->remote_host)) +
                               COPIES_ONLY_MAX <
                       COPIES_DESCRIPTION_MAX,
               "the longest holder fits");

void copies_holder_format(const struct copies_holder *holder, char buffer[static COPIES_DESCRIPTION_MAX]) {
        const char *const fields[] = { holder->user, holder->service, holder->tty, holder->remote_host };
        size_t n;

        n = (size_t) snprintf(buffer, COPIES_DESCRIPTION_MAX, COPIES_RING_PREFIX "%" PRIu64 ".%" PRIu64 ":%" PRIu32 ":%" PRIu32 ":%" PRId32, holder->home[0], holder->home[1],
                              (uint32_t) holder->uid, holder->audit_session, (int32_t) holder->pid);
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                buffer[n++] = ':';
                n += add_escaped(buffer + n, fields[i]);
        }
        if (*holder->only)
                (void) snprintf(buffer + n, COPIES_DESCRIPTION_MAX - n, ":%s", holder->only);
}

static bool is_word(const char *text, size_t length, const char *word) {
        return strlen(word) == length && memcmp(text, word, length) == 0;
}

bool copies_holder_wants(const struct copies_holder *holder, const char *name, bool sign) {
        const char *p = holder->only;
        size_t n = strcspn(p, "/");

        if (*p == '\0')
                return true;
        if (!is_word(p, n, "any") && !is_word(p, n, sign ? "sign" : "verify"))
                return false;
        if (p[n] == '\0')
                return true;
        for (p += n; *p; p += n) {
                n = strcspn(++p, "/");
                if (is_word(p, n, name))
                        return true;
        }
        return false;
}

static bool only_valid(const char *only) {
        size_t n = strcspn(only, "/");

        return is_word(only, n, "any") || is_word(only, n, "sign") || is_word(only, n, "verify");
}

static int hex_digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The field up to the next ":" or the end. */
static int take_field(const char **p, char *field, size_t size) {
        size_t n = 0;

        if (**p != ':')
                return -EBADMSG;
        for (++*p; **p != ':' && **p != '\0'; n++) {
                int high, low;

                if (n + 1 >= size)
                        return -EBADMSG;
                if (**p != '\\') {
                        field[n] = *(*p)++;
                        continue;
                }
                if ((*p)[1] != 'x' || (high = hex_digit((*p)[2])) < 0 || (low = hex_digit((*p)[3])) < 0)
                        return -EBADMSG;
                field[n] = (char) (high << 4 | low);
                *p += 4;
        }
        field[n] = '\0';
        return 0;
}

int copies_holder_parse(const char *description, struct copies_holder *ret) {
        char again[COPIES_DESCRIPTION_MAX];
        struct copies_holder holder;
        const char *p = description;
        int32_t pid;
        int n = 0;

        if (sscanf(p, COPIES_RING_PREFIX "%" SCNu64 ".%" SCNu64 ":%" SCNu32 ":%" SCNu32 ":%" SCNd32 "%n", &holder.home[0], &holder.home[1], &holder.uid,
                   &holder.audit_session, &pid, &n) != 5 ||
            n == 0)
                return -EBADMSG;
        holder.pid = pid;
        p += n;
        if (take_field(&p, holder.user, sizeof(holder.user)) < 0 || take_field(&p, holder.service, sizeof(holder.service)) < 0 ||
            take_field(&p, holder.tty, sizeof(holder.tty)) < 0 || take_field(&p, holder.remote_host, sizeof(holder.remote_host)) < 0)
                return -EBADMSG;
        holder.only[0] = '\0';
        if (*p && (take_field(&p, holder.only, sizeof(holder.only)) < 0 || *p || !only_valid(holder.only)))
                return -EBADMSG;
        copies_holder_format(&holder, again); /* sscanf(3) takes more than that writes */
        if (strcmp(again, description) != 0)
                return -EBADMSG;
        *ret = holder;
        return 0;
}

static const char *or_null(const char *text) {
        return *text ? text : NULL;
}

void copies_holder_record(const struct copies_holder *holder, struct audit_record *record) {
        record->user = or_null(holder->user);
        record->service = or_null(holder->service);
        record->tty = or_null(holder->tty);
        record->remote_host = or_null(holder->remote_host);
        record->audit_session = holder->audit_session == AUDIT_SESSION_UNSET ? 0 : holder->audit_session;
        record->has_uid = true;
        record->uid = holder->uid;
}

/* ---- keys --------------------------------------------------------------------------------------------------------- */

/* What is revoked, expired or invalidated is as good as gone; linking a new key of that description takes its place. */
static bool is_absent(int error) {
        return error == -ENOKEY || error == -EKEYREVOKED || error == -EKEYEXPIRED || error == -EKEYREJECTED;
}

/* -EPERM: not root's, of another type, or with another mask. *ret_description points into text. */
static int describe(key_serial_t key, const char *type, char text[static DESCRIBE_MAX], const char **ret_description) {
        unsigned uid, gid;
        char key_type[16];
        uint32_t mask;
        int start = 0;
        long n;

        n = keyctl_describe(key, text, DESCRIBE_MAX);
        if (n < 0)
                return is_absent(-errno) ? -ENOKEY : errno == EACCES ? -EPERM : -errno;
        if (n > DESCRIBE_MAX || sscanf(text, "%15[^;];%u;%u;%" SCNx32 ";%n", key_type, &uid, &gid, &mask, &start) != 4 || start == 0)
                return -EPERM;
        if (strcmp(key_type, type) != 0 || uid != 0 || mask != COPIES_MASK)
                return -EPERM;
        *ret_description = text + start;
        return 0;
}

/* A new key in the thread's keyring, with its mask; 0 or a negative errno. */
static int key_make(const char *type, const char *description, const void *payload, size_t size, key_serial_t *ret) {
        key_serial_t key;

        key = add_key(type, description, payload, size, KEY_SPEC_THREAD_KEYRING);
        if (key < 0)
                return -errno;
        if (keyctl_setperm(key, COPIES_MASK) < 0) {
                int r = -errno;

                (void) keyctl_unlink(key, KEY_SPEC_THREAD_KEYRING);
                return r;
        }
        *ret = key;
        return 0;
}

int copies_new(const struct copies_holder *holder, copies_serial *ret) {
        char description[COPIES_DESCRIPTION_MAX];

        copies_holder_format(holder, description);
        return key_make("keyring", description, NULL, 0, ret);
}

int copies_attach(copies_serial ring) {
        if (keyctl_link(ring, KEY_SPEC_SESSION_KEYRING) < 0)
                return -errno;
        copies_drop(ring);
        return 0;
}

void copies_drop(copies_serial ring) {
        (void) keyctl_unlink(ring, KEY_SPEC_THREAD_KEYRING);
}

int copies_check(copies_serial ring, struct copies_holder *ret) {
        struct copies_holder holder;
        char text[DESCRIBE_MAX];
        const char *description;
        int r;

        r = describe(ring, "keyring", text, &description);
        if (r < 0)
                return r;
        if (copies_holder_parse(description, &holder) < 0)
                return -EPERM;
        if (ret)
                *ret = holder;
        return 0;
}

static const char *copy_description(const char *name, char buffer[static COPY_DESCRIPTION_MAX]) {
        (void) snprintf(buffer, COPY_DESCRIPTION_MAX, COPY_PREFIX "%s", name);
        return buffer;
}

/* -ENOKEY: there is none that is as it was made. */
static int find(copies_serial ring, const char *name, key_serial_t *ret) {
        char description[COPY_DESCRIPTION_MAX], text[DESCRIBE_MAX];
        const char *found;
        long key;
        int r;

        key = keyctl_search(ring, "user", copy_description(name, description), 0);
        if (key < 0)
                return is_absent(-errno) || errno == EACCES ? -ENOKEY : -errno;
        r = describe((key_serial_t) key, "user", text, &found);
        if (r < 0)
                return r == -EPERM ? -ENOKEY : r;
        *ret = (key_serial_t) key;
        return 0;
}

/* Compares in memory that is neither swapped nor dumped, and wiped. 1, 0, -ENOKEY. */
static int compare(key_serial_t key, const void *bytes, size_t size) {
        const size_t room = COPY_SIZE_MAX + 1;
        void *payload;
        int result;
        long n;

        payload = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (payload == MAP_FAILED)
                return -errno;
        (void) mlock(payload, room);
        (void) madvise(payload, room, MADV_DONTDUMP);
        n = keyctl_read(key, payload, room);
        result = n < 0 ? (is_absent(-errno) ? -ENOKEY : -errno) : (size_t) n == size && memcmp(payload, bytes, size) == 0;
        explicit_bzero(payload, room);
        (void) munmap(payload, room);
        return result;
}

/* In seconds from now, as keyctl_set_timeout(3) has it; 0: no end. */
static int set_end(key_serial_t key, int64_t until, int64_t now) {
        int64_t seconds = until == 0 ? 0 : until - now;

        if (seconds > UINT32_MAX)
                seconds = 0;
        return keyctl_set_timeout(key, (unsigned) seconds) < 0 ? -errno : 0;
}

static int make(copies_serial ring, const char *name, const void *bytes, size_t size, int64_t until, int64_t now) {
        char description[COPY_DESCRIPTION_MAX];
        key_serial_t key = 0;
        int r;

        r = key_make("user", copy_description(name, description), bytes, size, &key);
        if (r < 0)
                return r;
        r = set_end(key, until, now);
        if (r >= 0 && keyctl_link(key, ring) < 0)
                r = -errno;
        (void) keyctl_unlink(key, KEY_SPEC_THREAD_KEYRING);
        return r < 0 ? r : COPY_MADE;
}

static int update(key_serial_t key, const void *bytes, size_t size, int64_t until, int64_t now) {
        int same, r;

        same = compare(key, bytes, size);
        if (same < 0)
                return same;
        if (!same && keyctl_update(key, bytes, size) < 0)
                return is_absent(-errno) ? -ENOKEY : -errno;
        r = set_end(key, until, now);
        if (r < 0)
                return is_absent(r) ? -ENOKEY : r;
        return same ? COPY_UNCHANGED : COPY_RENEWED;
}

int copies_put(copies_serial ring, const char *name, const void *bytes, size_t size, int64_t until, int64_t now) {
        key_serial_t key = 0;
        int r;

        if (until != 0 && until <= now)
                return -EKEYEXPIRED;
        r = find(ring, name, &key);
        if (r >= 0)
                r = update(key, bytes, size, until, now);
        return r == -ENOKEY ? make(ring, name, bytes, size, until, now) : r;
}

int copies_add(copies_serial ring, const char *name, const void *bytes, size_t size, int64_t until, int64_t now) {
        char description[COPY_DESCRIPTION_MAX];
        key_serial_t key;

        if (until != 0 && until <= now)
                return -EKEYEXPIRED;
        key = add_key("user", copy_description(name, description), bytes, size, ring);
        if (key < 0)
                return -errno;
        if (keyctl_setperm(key, COPIES_MASK) >= 0 && (until == 0 || set_end(key, until, now) >= 0))
                return COPY_MADE;
        /* A run of keyrota that renews rings may have found it as it was, and made another one. */
        (void) keyctl_revoke(key);
        (void) keyctl_unlink(key, ring);
        return copies_put(ring, name, bytes, size, until, now);
}

/* Every key that the ring links, ours or not. */
static int foreach_key(copies_serial ring, int (*each)(key_serial_t key, void *userdata), void *userdata) {
        _cleanup_free_ void *serials = NULL;
        int n;

        n = keyctl_read_alloc(ring, &serials); /* serial numbers, nothing secret */
        if (n < 0)
                return is_absent(-errno) ? -ENOKEY : -errno;
        for (size_t i = 0; i < (size_t) n / sizeof(key_serial_t); i++) {
                key_serial_t key;
                int r;

                memcpy(&key, (const char *) serials + i * sizeof(key), sizeof(key));
                r = each(key, userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int remove_key(copies_serial ring, key_serial_t key) {
        (void) keyctl_revoke(key);
        return keyctl_unlink(key, ring) < 0 && errno != ENOENT && !is_absent(-errno) ? -errno : 0;
}

int copies_remove(copies_serial ring, const char *name) {
        char description[COPY_DESCRIPTION_MAX];
        long key;
        int r;

        key = keyctl_search(ring, "user", copy_description(name, description), 0);
        if (key < 0)
                return is_absent(-errno) ? 0 : -errno;
        r = remove_key(ring, (key_serial_t) key);
        return r < 0 ? r : 1;
}

static int revoke_key(key_serial_t key, void *userdata) {
        (void) userdata;
        (void) keyctl_revoke(key);
        return 0;
}

int copies_clear(copies_serial ring) {
        int r;

        r = foreach_key(ring, revoke_key, NULL);
        if (r >= 0 && keyctl_clear(ring) < 0)
                r = -errno;
        return r == -ENOKEY ? 0 : r;
}

struct visit {
        int (*each)(const char *name, copies_serial copy, void *userdata);
        void *userdata;
};

static int visit_copy(key_serial_t key, void *userdata) {
        const struct visit *visit = userdata;
        char text[DESCRIBE_MAX];
        const char *description;
        int r;

        r = describe(key, "user", text, &description);
        if (r == -ENOKEY || r == -EPERM)
                return 0;
        if (r < 0 || strncmp(description, COPY_PREFIX, strlen(COPY_PREFIX)) != 0)
                return r;
        return visit->each(description + strlen(COPY_PREFIX), key, visit->userdata);
}

int copies_foreach(copies_serial ring, int (*each)(const char *name, copies_serial copy, void *userdata), void *userdata) {
        struct visit visit = { .each = each, .userdata = userdata };

        return foreach_key(ring, visit_copy, &visit);
}

int copies_compare(copies_serial ring, const char *name, const void *bytes, size_t size) {
        key_serial_t key = 0;
        int r;

        r = find(ring, name, &key);
        return r < 0 ? r : compare(key, bytes, size);
}
