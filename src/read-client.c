/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asks the read server. May call secret. */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "paths.h"
#include "read-client.h"
#include "read-protocol.h"
#include "reason.h"

static int64_t now_ms(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits where the server's queue is full, until the deadline. */
static int server_connect(int *ret, char **ret_reason) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = PATH_READ_SOCKET };
        static const struct timeval timeout = { .tv_sec = READ_CLIENT_DEADLINE_MS / 1000 };
        _cleanup_close_ int fd = -EBADF;
        struct ucred server;
        socklen_t size = sizeof(server);
        int r;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0) {
                r = errno == EAGAIN ? -ETIMEDOUT : -errno;
                return reason_set(r, ret_reason, "the read server at " PATH_READ_SOCKET " cannot be reached: %s; see systemctl status keyrota-read.socket",
                                  strerror(-r));
        }
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &server, &size) < 0)
                return -errno;
        if (server.uid != 0)
                return reason_set(-EPERM, ret_reason, "who listens at " PATH_READ_SOCKET " is not root");
        *ret = TAKE_FD(fd);
        return 0;
}

/* A server that has answered already may have hung up: what it said counts. */
static int send_request(int fd, const char *name) {
        char line[READ_REQUEST_MAX + 1];
        int n;

        n = snprintf(line, sizeof(line), READ_REQUEST "%s\n", name);
        if (n < 0 || (size_t) n > READ_REQUEST_MAX)
                return -EINVAL;
        if (send(fd, line, (size_t) n, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
                return -errno;
        return 0;
}

static bool begins(const char *line, const char *word) {
        return strncmp(line, word, strlen(word)) == 0;
}

/* "1" to READ_SIZE_MAX; 0: it is not of that form. */
static size_t parse_size(const char *text) {
        size_t size = 0;

        if (*text == '0' || strlen(text) > 5)
                return 0;
        for (; *text >= '0' && *text <= '9'; text++)
                size = size * 10 + (size_t) (*text - '0');
        return *text == '\0' && size <= READ_SIZE_MAX ? size : 0;
}

static bool is_text(const char *line) {
        for (; *line; line++)
                if (*line < ' ' || *line > '~')
                        return false;
        return true;
}

/* What has come so far. 1: a whole answer, in *ret; 0: there is more to come; or a negative errno. */
static int parse_answer(const uint8_t *data, size_t have, struct secret **ret, char **ret_reason) {
        const uint8_t *end = memchr(data, '\n', have < READ_LINE_MAX ? have : READ_LINE_MAX);
        char line[READ_LINE_MAX];
        size_t n, size;
        int r;

        if (!end)
                return have < READ_LINE_MAX ? 0 : -EBADMSG;
        n = (size_t) (end - data);
        memcpy(line, data, n);
        line[n] = '\0';
        if (strlen(line) != n || !is_text(line))
                return -EBADMSG;
        if (begins(line, READ_REFUSED))
                return reason_set(-EACCES, ret_reason, "%s", line + strlen(READ_REFUSED));
        if (begins(line, READ_FAILED))
                return reason_set(-EREMOTEIO, ret_reason, "%s", line + strlen(READ_FAILED));
        size = begins(line, READ_OK) ? parse_size(line + strlen(READ_OK)) : 0;
        if (size == 0)
                return -EBADMSG;
        if (have - n - 1 < size)
                return 0;
        r = secret_new_from(end + 1, size, ret);
        return r < 0 ? r : 1;
}

static int receive_answer(int fd, int64_t deadline, struct secret **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *buffer = NULL;
        size_t have = 0;
        int r;

        r = secret_new(READ_LINE_MAX + READ_SIZE_MAX, &buffer);
        if (r < 0)
                return r;
        while ((r = parse_answer(buffer->data, have, ret, ret_reason)) == 0) {
                struct pollfd input = { .fd = fd, .events = POLLIN };
                int64_t left = deadline - now_ms();
                ssize_t n;

                if (left <= 0 || poll(&input, 1, (int) left) == 0)
                        return reason_set(-ETIMEDOUT, ret_reason, "the read server does not answer; see systemctl status keyrota-read.service");
                n = have < buffer->size ? recv(fd, buffer->data + have, buffer->size - have, MSG_DONTWAIT) : 0;
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (n <= 0)
                        return reason_set(-EBADMSG, ret_reason, "the read server broke off before the end of its answer; try again");
                have += (size_t) n;
        }
        if (r == -EBADMSG)
                return reason_set(r, ret_reason, "what the read server says is no answer; is it of another version of keyrota?");
        return r < 0 ? r : 0;
}

int read_client_fetch(const char *name, struct secret **ret, char **ret_reason) {
        int64_t deadline = now_ms() + READ_CLIENT_DEADLINE_MS;
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = server_connect(&fd, ret_reason);
        if (r >= 0)
                r = send_request(fd, name);
        if (r >= 0)
                r = receive_answer(fd, deadline, ret, ret_reason);
        return r;
}
