/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sends audit records (see audit-record.c) to the journal. Not through sd_journal_sendv(3): it returns success when there is no
 * journal ("Fail silently if the journal is not available", src/libsystemd/sd-journal/journal-send.c) and
 * its sendmsg() blocks for as long as a journal that is stuck. An audit record must do neither. Calls libc
 * only.
 */

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "audit.h"
#include "cleanup.h"

#define DEADLINE_MS 1000

static int journal_connect(void) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = AUDIT_JOURNAL_SOCKET };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int64_t now_ms(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One datagram to a connected socket; waits for room in the journal's queue until deadline. */
static int send_datagram(int fd, const void *data, size_t size, int64_t deadline) {
        for (;;) {
                struct pollfd room = { .fd = fd, .events = POLLOUT };
                int64_t left;

                if (send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                        return 0;
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                left = deadline - now_ms();
                if (left <= 0)
                        return -ETIMEDOUT;
                if (poll(&room, 1, (int) left) < 0 && errno != EINTR)
                        return -errno;
        }
}

int audit_write(enum audit_event event, const struct audit_record *record) {
        static int journal = -EBADF; /* one connection for the process */
        static bool stuck;
        static struct audit_text text;
        int64_t deadline = now_ms() + (stuck ? 0 : DEADLINE_MS);
        int r;

        r = audit_format(event, record, &text);
        if (r < 0)
                return r;
        r = -ENOTCONN;
        if (journal >= 0)
                r = send_datagram(journal, text.data, text.size, deadline);
        if (r == -ENOTCONN || r == -ECONNREFUSED || r == -ECONNRESET || r == -EPIPE) {
                /* Not yet connected, or journald's socket has been made anew since. */
                closep(&journal);
                journal = r = journal_connect();
                if (r >= 0)
                        r = send_datagram(journal, text.data, text.size, deadline);
        }
        stuck = r == -ETIMEDOUT;
        return r;
}
