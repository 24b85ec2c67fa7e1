/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Audit records on their way to the journal's socket. */

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "record.h"

#define DEADLINE_MS 1000
#define ROOM_MIN ((size_t) 64 * 1024)
#define BATCH 16 /* datagrams in one call */
#define ALIGNED(size) (((size) + _Alignof(struct audit_text) - 1) / _Alignof(struct audit_text) * _Alignof(struct audit_text))

static int make_room(struct records *records) {
        size_t room = records->room == 0 ? ROOM_MIN : 2 * records->room;
        char *grown;

        if (records->room - records->size >= sizeof(struct audit_text))
                return 0;
        grown = realloc(records->data, room);
        if (!grown)
                return -ENOMEM;
        records->data = grown;
        records->room = room;
        return 0;
}

int records_add(struct records *records, enum audit_event event, const struct audit_record *record) {
        struct audit_text *text;
        int r;

        r = make_room(records);
        if (r < 0)
                return r;
        text = (struct audit_text *) (void *) (records->data + records->size);
        r = audit_format(event, record, text);
        if (r < 0)
                return r;
        records->size += ALIGNED(offsetof(struct audit_text, data) + text->size);
        return 0;
}

void records_forget(struct records *records, size_t size) {
        records->size = size > records->sent ? size : records->sent;
}

void records_note_missing(const struct records *records, int error) {
        size_t at = records->sent;

        while (at < records->size) {
                const struct audit_text *text = (const struct audit_text *) (const void *) (records->data + at);

                audit_note_missing_text(text, error);
                at += ALIGNED(offsetof(struct audit_text, data) + text->size);
        }
}

void records_clear(struct records *records) {
        free(records->data);
        closep(&records->journal);
}

static int journal_connect(struct records *records) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = AUDIT_JOURNAL_SOCKET };

        if (records->journal >= 0)
                return 0;
        records->journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (records->journal < 0)
                return -errno;
        if (connect(records->journal, (const struct sockaddr *) &address, sizeof(address)) < 0) {
                int r = -errno;

                (void) close(TAKE_FD(records->journal));
                return r;
        }
        return 0;
}

/* As many as the journal takes now, up to a batch. */
static int send_batch(struct records *records) {
        struct mmsghdr messages[BATCH];
        struct iovec texts[BATCH];
        size_t end = records->sent;
        unsigned n = 0;
        int sent;

        for (; n < BATCH && end < records->size; n++) {
                struct audit_text *text = (struct audit_text *) (void *) (records->data + end);

                texts[n] = (struct iovec) { .iov_base = text->data, .iov_len = text->size };
                messages[n] = (struct mmsghdr) { .msg_hdr = { .msg_iov = texts + n, .msg_iovlen = 1 } };
                end += ALIGNED(offsetof(struct audit_text, data) + text->size);
        }
        sent = sendmmsg(records->journal, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
                return -errno;
        for (int i = 0; i < sent; i++)
                records->sent += ALIGNED(offsetof(struct audit_text, data) + texts[i].iov_len);
        return 0;
}

/* Milliseconds until deadline, 0 when it is over; *deadline 0: it begins now. */
static int time_left(int64_t *deadline) {
        struct timespec now;
        int64_t now_ms;

        if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
                return 0;
        now_ms = (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
        if (*deadline == 0)
                *deadline = now_ms + DEADLINE_MS;
        return *deadline > now_ms ? (int) (*deadline - now_ms) : 0;
}

/* Has the journal, maybe, room again? */
static bool wait_for_room(const struct records *records, int64_t *deadline) {
        struct pollfd room = { .fd = records->journal, .events = POLLOUT };
        int left = time_left(deadline);

        return left > 0 && (poll(&room, 1, left) >= 0 || errno == EINTR);
}

int records_send(struct records *records, bool wait) {
        int64_t deadline = 0;
        int r = 0;

        if (records->sent < records->size)
                r = journal_connect(records);
        while (r >= 0 && records->sent < records->size) {
                r = send_batch(records);
                if ((r == -EAGAIN || r == -EINTR) && wait && wait_for_room(records, &deadline))
                        r = 0;
                else if (r < 0 && r != -EAGAIN && r != -EINTR)
                        (void) close(TAKE_FD(records->journal)); /* of a journal that is no more */
        }
        return r;
}
