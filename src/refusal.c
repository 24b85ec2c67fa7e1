/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Connections whose peer is told no, none of which waits for another. Calls libc only. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "refusal.h"

static int64_t now_ms(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The descriptor may have copies (the keeper's table, the service manager's store): shutdown(2) ends the
 * connection all the same. */
static void drop(struct refusals *refusals, size_t i) {
        (void) shutdown(refusals->items[i].fd, SHUT_RDWR);
        (void) close(refusals->items[i].fd);
        refusals->items[i] = refusals->items[--refusals->n];
}

/* Sends what the socket takes now. False when this refusal is over: all is sent, or the peer is gone. */
static bool advance(struct refusals *refusals, size_t i) {
        static const char zeros[65536];

        while (refusals->items[i].left > 0) {
                size_t left = refusals->items[i].left;
                ssize_t n;

                n = send(refusals->items[i].fd, zeros, left < sizeof(zeros) ? left : sizeof(zeros),
                         MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR || errno == ENOMEM || errno == ENOBUFS;
                refusals->items[i].left -= (size_t) n;
                refusals->items[i].deadline = now_ms() + REFUSAL_DEADLINE_MS;
        }
        return false;
}

void refusal_add(struct refusals *refusals, int fd) {
        size_t i = refusals->n++;

        refusals->items[i].fd = fd;
        refusals->items[i].left = REFUSAL_SIZE;
        refusals->items[i].deadline = now_ms() + REFUSAL_DEADLINE_MS;
        if (!advance(refusals, i))
                drop(refusals, i);
}

void refusal_prepare(const struct refusals *refusals, struct pollfd polls[static REFUSAL_MAX]) {
        for (size_t i = 0; i < refusals->n; i++)
                polls[i] = (struct pollfd) { .fd = refusals->items[i].fd, .events = POLLOUT };
}

void refusal_advance(struct refusals *refusals, const struct pollfd polls[static REFUSAL_MAX]) {
        for (size_t i = refusals->n; i-- > 0;) /* from the end, as drop() moves the last one into the gap */
                if (polls[i].revents != 0 && !advance(refusals, i))
                        drop(refusals, i);
}

void refusal_expire(struct refusals *refusals) {
        int64_t now = now_ms();

        for (size_t i = refusals->n; i-- > 0;)
                if (now >= refusals->items[i].deadline)
                        drop(refusals, i);
}

void refusal_finish(struct refusals *refusals) {
        struct pollfd polls[REFUSAL_MAX];

        while (refusals->n > 0) {
                refusal_prepare(refusals, polls);
                if (poll(polls, (nfds_t) refusals->n, 100) > 0)
                        refusal_advance(refusals, polls);
                refusal_expire(refusals);
        }
}
