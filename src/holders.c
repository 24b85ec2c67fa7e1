/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds the sessions that hold copies. Logs nothing. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "access-file.h"
#include "holders.h"

#define PROC_KEYS "/proc/keys"

void holders_clear(struct holders *holders) {
        free(holders->items);
        *holders = (struct holders){ .n = 0 };
}

/* "SERIAL FLAGS USAGE TIMEOUT MASK UID GID TYPE DESCRIPTION: SUMMARY", see keyrings(7). A user's own key may forge any line, with a newline in its description:
 * what is found here is only a hint at whom to ask about. */
static bool parse_line(const char *line, copies_serial *ret) {
        char type[16];
        uint32_t serial, mask, uid;
        int start = 0;

        if (sscanf(line, "%8" SCNx32 " %*s %*d %*s %8" SCNx32 " %" SCNu32 " %*d %15s %n", &serial, &mask, &uid, type, &start) != 4 || start == 0)
                return false;
        if (serial == 0 || serial > INT32_MAX || mask != COPIES_MASK || uid != 0 || strcmp(type, "keyring") != 0 ||
            strncmp(line + start, COPIES_RING_PREFIX, strlen(COPIES_RING_PREFIX)) != 0)
                return false;
        *ret = (copies_serial) serial;
        return true;
}

/* Live keyrings of the tree. */
struct rings {
        keyring_serial live; /* 0: there is none now */
        int32_t before[ACCESS_RINGS_MAX];
        int n_before;
};

static bool is_ours(const struct rings *rings, const struct copies_holder *who) {
        for (int i = 0; i < rings->n_before; i++)
                if (who->live == rings->before[i])
                        return true;
        return who->live == rings->live;
}

static int find_rings(const struct context *context, struct rings *ret) {
        int r;

        r = keyring_open(context->ring, false, &ret->live);
        if (r < 0 && r != -ENOKEY)
                return r;
        r = access_file_rings(context->tree, ret->before);
        if (r < 0 && r != -EBADMSG)
                return r;
        ret->n_before = r < 0 ? 0 : r;
        return 0;
}

static int add(struct holders *holders, const struct holder *holder) {
        struct holder *grown = reallocarray(holders->items, holders->n + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        holders->items = grown;
        grown[holders->n++] = *holder;
        return 0;
}

static int compare_holders(const void *a, const void *b) {
        const struct holder *x = a, *y = b;
        int order = strcmp(x->who.user, y->who.user);

        return order != 0 ? order : x->ring < y->ring ? -1 : x->ring > y->ring;
}

static void sort(struct holders *holders) {
        size_t n = 0;

        if (holders->n == 0)
                return;
        qsort(holders->items, holders->n, sizeof(*holders->items), compare_holders);
        for (size_t i = 0; i < holders->n; i++)
                if (n == 0 || holders->items[n - 1].ring != holders->items[i].ring)
                        holders->items[n++] = holders->items[i];
        holders->n = n;
}

static int read_lines(FILE *stream, const struct rings *rings, struct holders *holders) {
        _cleanup_free_ char *line = NULL;
        size_t room = 0;

        while (getline(&line, &room, stream) >= 0) {
                struct holder holder;
                int r;

                if (!parse_line(line, &holder.ring))
                        continue;
                r = copies_check(holder.ring, &holder.who);
                if (r == -ENOKEY || r == -EPERM)
                        continue;
                if (r >= 0 && is_ours(rings, &holder.who))
                        r = add(holders, &holder);
                if (r < 0)
                        return r;
        }
        return ferror(stream) ? -EIO : 0;
}

int holders_load(const struct context *context, struct holders *ret) {
        _cleanup_(holders_clear) struct holders holders = { .n = 0 };
        _cleanup_fclose_ FILE *stream = NULL;
        struct rings rings = { .live = 0 };
        int r;

        if (context->ring) {
                r = find_rings(context, &rings);
                if (r < 0)
                        return r;
                stream = fopen(PROC_KEYS, "re");
                if (!stream)
                        return -errno;
                r = read_lines(stream, &rings, &holders);
                if (r < 0)
                        return r;
                sort(&holders);
        }
        *ret = holders;
        holders = (struct holders){ .n = 0 };
        return 0;
}

enum holder_copy holder_compare(const struct holder *holder, const char *name, keyring_serial live, const char *description) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        int r;

        r = keyring_read(live, description, NULL, &bytes);
        r = copies_compare(holder->ring, name, r < 0 ? "" : (const char *) bytes->data, r < 0 ? 0 : bytes->size);
        return r == 1 ? HOLDER_CURRENT : r == 0 ? HOLDER_STALE : HOLDER_NONE;
}
