/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sends audit records (see audit-record.c) to the journal. Not through sd_journal_sendv(3): it returns success when there is no
 * journal ("Fail silently if the journal is not available", src/libsystemd/sd-journal/journal-send.c) and
 * its sendmsg() blocks for as long as a journal that is stuck. An audit record must do neither. Calls libc
 * only.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "audit.h"
#include "cleanup.h"
#include "paths.h"

#define DEADLINE_MS 1000
#define NOTE_MAX 2048             /* bytes of one note */
#define MISSING_MAX (1024 * 1024) /* bytes of notes; more would fill /run and tell nothing new */

static const char *or_else(const char *value, const char *otherwise) {
        return value ? value : otherwise;
}

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

static int missing_open(void) {
        int fd;

        fd = open(PATH_AUDIT_MISSING, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != ENOENT)
                return fd;
        if ((mkdir(PATH_RUN, 0755) < 0 && errno != EEXIST) ||
            (mkdir(PATH_RUN "/audit", 0700) < 0 && errno != EEXIST))
                return -1;
        return open(PATH_AUDIT_MISSING, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

void audit_note_missing(enum audit_event event, const struct audit_record *record, int error) {
        _cleanup_close_ int fd = missing_open();
        struct stat status;
        char note[NOTE_MAX], line[NOTE_MAX];
        size_t n;

        if (fd < 0 || fstat(fd, &status) < 0 || status.st_size >= MISSING_MAX)
                return;
        (void) snprintf(note, sizeof(note), "%lld %s %s/%s %s %s: %s", (long long) time(NULL), audit_event_name(event),
                        or_else(record->environment, "-"), or_else(record->name, "-"), or_else(record->unit ? record->unit : record->user, "-"),
                        or_else(record->credential ? record->credential : record->service, "-"),
                        or_else(strerrordesc_np(abs(error)), "unknown error"));
        n = audit_escape(note, line, sizeof(line) - 1);
        line[n++] = '\n';
        (void) !write(fd, line, n); /* one call, so that writers do not mix their lines */
}

int audit_missing(uint64_t *ret_count) {
        _cleanup_close_ int fd = open(PATH_AUDIT_MISSING, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        uint64_t count = 0;
        char buffer[4096];
        ssize_t n;

        if (fd < 0 && errno != ENOENT)
                return -errno;
        while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) != 0) {
                if (n < 0)
                        return -errno;
                for (ssize_t i = 0; i < n; i++)
                        count += buffer[i] == '\n';
        }
        *ret_count = count;
        return 0;
}
