/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_REFUSAL_H
#define KEYROTA_REFUSAL_H

/*
 * Connections whose peer is told no. systemd takes a connection that is closed without a byte for an empty
 * credential and starts the service with it; only a reply that is longer than the 1 MiB it allows makes it
 * give up (243/CREDENTIALS). That is more than a socket holds, so it goes out bit by bit beside everything
 * else. Calls libc only.
 */

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REFUSAL_SIZE (1024 * 1024 + 1) /* bytes: one more than systemd's CREDENTIAL_SIZE_MAX */
#define REFUSAL_MAX 256                /* connections under way at once */
#define REFUSAL_DEADLINE_MS 10000      /* without a byte taken; see refusal_expire() */

struct refusals {
        size_t n;
        struct {
                int fd;
                size_t left; /* bytes */
                int64_t deadline; /* ms, monotonic */
        } items[REFUSAL_MAX];
};

/* Begins to refuse the peer of fd, which it takes over. Needs n < REFUSAL_MAX. */
void refusal_add(struct refusals *refusals, int fd);

/* Fills polls[] (n of them) with what to wait for, and goes on with those that poll(2) then found ready. */
void refusal_prepare(const struct refusals *refusals, struct pollfd polls[static REFUSAL_MAX]);
void refusal_advance(struct refusals *refusals, const struct pollfd polls[static REFUSAL_MAX]);

/* Closes those whose peer has long taken nothing. Such a peer holds itself up and nobody else, and would
 * find a part of a refusal if it woke up (a service frozen in its start): call this only to make room or
 * to end. */
void refusal_expire(struct refusals *refusals);

/* Refuses until all is said or every peer that is left has stopped listening. */
void refusal_finish(struct refusals *refusals);

#endif
