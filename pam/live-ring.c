/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the live keyring's entries, in the form that keyring.c writes. */

#include <errno.h>
#include <inttypes.h>
#include <keyutils.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "live-ring.h"
#include "paths.h"

#define LIVE_MASK UINT32_C(0x003f0000) /* uid 0: everything; possessor, group, others: nothing */
#define HEADER "keyrota1 "
#define ROOM_MIN ((size_t) 4096)  /* enough for nearly all */
#define ROOM_MAX ((size_t) 32768) /* the largest payload of a "user" key, and a byte more */

static int check(key_serial_t serial) {
        char text[4096 + 64], type[16]; /* the kernel takes descriptions of a page */
        unsigned uid, gid;
        uint32_t mask;
        int start = 0;
        long n;

        n = keyctl_describe(serial, text, sizeof(text));
        if (n < 0)
                return errno == EKEYREVOKED || errno == EKEYEXPIRED ? -ENOKEY : errno == EACCES ? -EPERM : -errno;
        if (n > (long) sizeof(text) || sscanf(text, "%15[^;];%u;%u;%" SCNx32 ";%n", type, &uid, &gid, &mask, &start) != 4 || start == 0)
                return -EPERM;
        return strcmp(type, "keyring") == 0 && uid == 0 && mask == LIVE_MASK && strcmp(text + start, KEYRING_NAME) == 0 ? 0 : -EPERM;
}

/* MAP_LOCKED is no promise, mlock(2) is one. */
static char *map_locked(size_t size) {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                return NULL;
        if (madvise(memory, size, MADV_DONTDUMP) < 0 || madvise(memory, size, MADV_WIPEONFORK) < 0 || mlock(memory, size) < 0) {
                (void) munmap(memory, size);
                return NULL;
        }
        return memory;
}

static void unmap(struct live_ring *ring) {
        if (!ring->buffer)
                return;
        explicit_bzero(ring->buffer, ring->room);
        (void) munmap(ring->buffer, ring->room);
        ring->buffer = NULL;
}

static int map(struct live_ring *ring, size_t room) {
        unmap(ring);
        ring->room = room;
        ring->buffer = map_locked(room);
        return ring->buffer ? 0 : -ENOMEM;
}

int live_ring_open(int32_t serial, struct live_ring *ret) {
        struct live_ring ring = { .serial = serial };
        int r;

        if (serial <= 0)
                return -ENOKEY;
        r = check(serial);
        if (r >= 0)
                r = map(&ring, ROOM_MIN);
        if (r < 0)
                return r;
        *ret = ring;
        return 0;
}

void live_ring_close(struct live_ring *ring) {
        unmap(ring);
}

/* "keyrota1 ENV/NAME GENERATION KIDS\n" and the bytes; the kids get a NUL of their own in place of the newline. */
static int parse(char *text, size_t size, const char *secret, struct live_entry *ret) {
        char *p = text, *end = memchr(text, '\n', size), *blank;
        uint64_t generation = 0;

        if (!end || strncmp(p, HEADER, strlen(HEADER)) != 0)
                return -EBADMSG;
        *end = '\0';
        p += strlen(HEADER);
        if (strncmp(p, secret, strlen(secret)) != 0 || p[strlen(secret)] != ' ')
                return -EBADMSG;
        p += strlen(secret) + 1;
        blank = strchr(p, ' ');
        if (!blank || blank == p || blank[1] == '\0')
                return -EBADMSG;
        for (; p < blank; p++)
                if (*p < '0' || *p > '9' || __builtin_mul_overflow(generation, 10, &generation) ||
                    __builtin_add_overflow(generation, (uint64_t) (*p - '0'), &generation))
                        return -EBADMSG;
        *ret = (struct live_entry) { .generation = generation, .kids = blank + 1, .bytes = end + 1, .size = size - (size_t) (end + 1 - text) };
        return 0;
}

static bool is_absent(int error) {
        return error == -ENOKEY || error == -EKEYREVOKED || error == -EKEYEXPIRED || error == -EKEYREJECTED;
}

int live_ring_read(struct live_ring *ring, const char *description, const char *secret, struct live_entry *ret) {
        long key, n;
        int r;

        if (!ring->buffer)
                return -ENOMEM;
        key = keyctl_search(ring->serial, "user", description, 0);
        if (key < 0)
                return is_absent(-errno) ? -ENOKEY : -errno;
        n = keyctl_read((key_serial_t) key, ring->buffer, ring->room);
        if (n >= (long) ring->room && ring->room < ROOM_MAX) {
                r = map(ring, ROOM_MAX);
                if (r < 0)
                        return r;
                n = keyctl_read((key_serial_t) key, ring->buffer, ring->room);
        }
        if (n < 0)
                return is_absent(-errno) ? -ENOKEY : -errno;
        if ((size_t) n >= ring->room)
                return -EBADMSG;
        ring->buffer[n] = '\0';
        return parse(ring->buffer, (size_t) n, secret, ret);
}

bool live_ring_requires_audit(int32_t serial) {
        struct live_ring ring = { .buffer = NULL };
        struct live_entry entry;
        bool required = true;
        int r;

        r = live_ring_open(serial, &ring);
        if (r >= 0)
                r = live_ring_read(&ring, "config:audit", "-", &entry);
        if (r >= 0)
                required = entry.size != strlen("best-effort") || memcmp(entry.bytes, "best-effort", entry.size) != 0;
        else if (r == -ENOKEY && ring.buffer)
                required = false; /* as the credential server has it */
        live_ring_close(&ring);
        return required;
}
