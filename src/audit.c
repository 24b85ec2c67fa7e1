/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Audit records, in the native protocol of journald (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one
 * datagram of "FIELD=value" lines. Not through sd_journal_sendv(3): it returns success when there is no
 * journal ("Fail silently if the journal is not available", src/libsystemd/sd-journal/journal-send.c) and
 * its sendmsg() blocks for as long as a journal that is stuck. An audit record must do neither. Calls libc
 * only.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>

#include "audit.h"
#include "cleanup.h"
#include "paths.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define DEADLINE_MS 1000
#define RECORD_MAX 16384          /* bytes of one record */
#define VALUE_MAX 2048            /* bytes of one value, when escaped */
#define MISSING_MAX (1024 * 1024) /* bytes of notes; more would fill /run and tell nothing new */

static const struct {
        const char *id, *name, *verdict;
        int priority;
} events[] = {
        [AUDIT_KEY_CREATED] = { AUDIT_KEY_CREATED_ID, "key-created", "done", LOG_INFO },
        [AUDIT_SECRET_COMMITTED] = { AUDIT_SECRET_COMMITTED_ID, "secret-committed", "done", LOG_INFO },
        [AUDIT_CREDENTIAL_SERVED] = { AUDIT_CREDENTIAL_SERVED_ID, "credential-served", "granted", LOG_INFO },
        [AUDIT_CREDENTIAL_REFUSED] =
                { AUDIT_CREDENTIAL_REFUSED_ID, "credential-refused", "refused", LOG_WARNING },
        [AUDIT_SECRET_READ] = { AUDIT_SECRET_READ_ID, "secret-read", "granted", LOG_NOTICE },
        [AUDIT_POLICY_REFUSED] = { AUDIT_POLICY_REFUSED_ID, "policy-refused", "refused", LOG_ERR },
        [AUDIT_STORE_REFUSED] = { AUDIT_STORE_REFUSED_ID, "store-refused", "refused", LOG_ERR },
        [AUDIT_KEY_PUBLISHED] = { AUDIT_KEY_PUBLISHED_ID, "key-published", "done", LOG_INFO },
        [AUDIT_KEY_ACTIVATED] = { AUDIT_KEY_ACTIVATED_ID, "key-activated", "done", LOG_INFO },
        [AUDIT_KEY_DEACTIVATED] = { AUDIT_KEY_DEACTIVATED_ID, "key-deactivated", "done", LOG_INFO },
        [AUDIT_KEY_DESTROYED] = { AUDIT_KEY_DESTROYED_ID, "key-destroyed", "done", LOG_INFO },
        [AUDIT_KEY_COMPROMISED] = { AUDIT_KEY_COMPROMISED_ID, "key-compromised", "done", LOG_WARNING },
        [AUDIT_KEY_IMPORTED] = { AUDIT_KEY_IMPORTED_ID, "key-imported", "done", LOG_NOTICE },
        [AUDIT_ROLLED_BACK] = { AUDIT_ROLLED_BACK_ID, "rolled-back", "done", LOG_NOTICE },
        [AUDIT_CLOCK_SET] = { AUDIT_CLOCK_SET_ID, "clock-set", "done", LOG_WARNING },
        [AUDIT_REKEYED] = { AUDIT_REKEYED_ID, "rekeyed", "done", LOG_NOTICE },
        [AUDIT_UNIT_HANDED_OVER] = { AUDIT_UNIT_HANDED_OVER_ID, "unit-handed-over", "done", LOG_INFO },
        [AUDIT_HANDOVER_FAILED] = { AUDIT_HANDOVER_FAILED_ID, "handover-failed", "failed", LOG_WARNING },
};
_Static_assert(ELEMENTSOF(events) == AUDIT_EVENT_COUNT, "every event is described");

/* A record in the making. What does not fit is noticed at the end. */
struct text {
        size_t size;
        char data[RECORD_MAX];
};

static void add_byte(struct text *text, char c) {
        if (text->size < sizeof(text->data))
                text->data[text->size] = c;
        text->size++;
}

/* Control characters as \xNN: a line break would end the field and let its value forge the next one. */
static void add_value(struct text *text, const char *value, size_t length) {
        size_t start = text->size;

        for (size_t i = 0; i < length && text->size - start < VALUE_MAX; i++) {
                unsigned char c = (unsigned char) value[i];

                if (c >= ' ' && c != 0x7f)
                        add_byte(text, (char) c);
                else {
                        add_byte(text, '\\');
                        add_byte(text, 'x');
                        add_byte(text, "0123456789abcdef"[c >> 4]);
                        add_byte(text, "0123456789abcdef"[c & 15]);
                }
        }
}

static void add_field(struct text *text, const char *field, const char *value) {
        if (!value)
                return;
        for (const char *p = field; *p; p++)
                add_byte(text, *p);
        add_byte(text, '=');
        add_value(text, value, strlen(value));
        add_byte(text, '\n');
}

static _printf_(3, 4) void add_formatted(struct text *text, const char *field, const char *format, ...) {
        char value[VALUE_MAX];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(value, sizeof(value), format, arguments);
        va_end(arguments);
        add_field(text, field, value);
}

/* One field for each kid: "KEYROTA_KID=x" then finds every record about key x. */
static void add_kids(struct text *text, const char *kids) {
        while (kids && *kids) {
                size_t n = strcspn(kids, ",");

                if (n > 0) {
                        add_field(text, "KEYROTA_KID", "");
                        text->size--; /* the line's end */
                        add_value(text, kids, n);
                        add_byte(text, '\n');
                }
                kids += n + (kids[n] == ',');
        }
}

static const char *or_else(const char *value, const char *otherwise) {
        return value ? value : otherwise;
}

/* What became of one key: "Creating", the key, "." */
static void add_key_message(struct text *text, const char *before, const struct audit_record *record, const char *after) {
        add_formatted(text, "MESSAGE", "%s %s (%s) of %s/%s%s", before, or_else(record->kids, "?"),
                      or_else(record->algorithm, "?"), or_else(record->environment, "?"),
                      or_else(record->name, "?"), after);
}

static void add_message(struct text *text, enum audit_event event, const struct audit_record *record) {
        const char *environment = or_else(record->environment, "?"), *name = or_else(record->name, "?"),
                   *reason = or_else(record->reason, "no reason given"), *unit = record->unit,
                   *credential = or_else(record->credential, "?"), *file = or_else(record->file, name);

        switch (event) {
        case AUDIT_KEY_CREATED:
                add_key_message(text, "Creating key", record, ".");
                break;
        case AUDIT_SECRET_COMMITTED:
                add_formatted(text, "MESSAGE", "Stored generation %" PRIu64 " of %s/%s.", record->generation,
                              environment, name);
                break;
        case AUDIT_CREDENTIAL_SERVED:
                add_formatted(text, "MESSAGE",
                              "Served credential %s to %s from %s/%s, generation %" PRIu64 ".", credential,
                              or_else(unit, "?"), environment, name, record->generation);
                break;
        case AUDIT_CREDENTIAL_REFUSED:
                if (unit)
                        add_formatted(text, "MESSAGE", "Refused credential %s to %s: %s.", credential, unit,
                                      reason);
                else
                        add_formatted(text, "MESSAGE", "Refused process %d: %s.", (int) record->pid, reason);
                break;
        case AUDIT_SECRET_READ:
                add_formatted(text, "MESSAGE", "Secret %s/%s, generation %" PRIu64 ", was read.", environment,
                              name, record->generation);
                break;
        case AUDIT_POLICY_REFUSED:
                add_formatted(text, "MESSAGE", "Policy %s is not used as it is written: %s", name, reason);
                break;
        case AUDIT_STORE_REFUSED:
                add_formatted(text, "MESSAGE", "Stored file %s is not used: %s.", file, reason);
                break;
        case AUDIT_KEY_PUBLISHED:
                add_key_message(text, "Key", record, " is known to every verifier.");
                break;
        case AUDIT_KEY_ACTIVATED:
                add_key_message(text, "Key", record, " signs from now on.");
                break;
        case AUDIT_KEY_DEACTIVATED:
                add_key_message(text, "Key", record, " signs no more, and verifies until its overlap is over.");
                break;
        case AUDIT_KEY_DESTROYED:
                add_key_message(text, "Destroyed key", record, ".");
                break;
        case AUDIT_KEY_COMPROMISED:
                add_key_message(text, "Key", record, " is compromised, and in no set any more.");
                break;
        case AUDIT_KEY_IMPORTED:
                add_key_message(text, "Imported key", record, ".");
                break;
        case AUDIT_ROLLED_BACK:
                add_key_message(text, "Rolled back: key", record, " signs again.");
                break;
        case AUDIT_CLOCK_SET:
                add_formatted(text, "MESSAGE", "The clock was set %s since %s/%s was last stored.", reason,
                              environment, name);
                break;
        case AUDIT_REKEYED:
                add_formatted(text, "MESSAGE", "Sealed every stored secret under the new key-encryption key %s.",
                              or_else(record->kids, "?"));
                break;
        case AUDIT_UNIT_HANDED_OVER:
                add_formatted(text, "MESSAGE", "Handed generation %" PRIu64 " of %s/%s over to %s: %s.",
                              record->generation, environment, name, or_else(unit, "?"), reason);
                break;
        case AUDIT_HANDOVER_FAILED:
                add_formatted(text, "MESSAGE", "Could not hand generation %" PRIu64 " of %s/%s over to %s: %s.",
                              record->generation, environment, name, or_else(unit, "?"), reason);
                break;
        case AUDIT_EVENT_COUNT:
                break;
        }
}

static void format_record(struct text *text, enum audit_event event, const struct audit_record *record) {
        text->size = 0;
        add_field(text, "MESSAGE_ID", events[event].id);
        add_formatted(text, "PRIORITY", "%d", events[event].priority);
        add_field(text, "SYSLOG_IDENTIFIER", "keyrota");
        add_message(text, event, record);
        add_field(text, "KEYROTA_EVENT", events[event].name);
        add_field(text, "KEYROTA_VERDICT", events[event].verdict);
        add_field(text, "KEYROTA_ENVIRONMENT", record->environment);
        add_field(text, "KEYROTA_NAME", record->name);
        add_field(text, "KEYROTA_ALGORITHM", record->algorithm);
        add_kids(text, record->kids);
        if (record->generation > 0)
                add_formatted(text, "KEYROTA_GENERATION", "%" PRIu64, record->generation);
        add_field(text, "KEYROTA_UNIT", record->unit);
        add_field(text, "KEYROTA_INVOCATION_ID", record->invocation);
        add_field(text, "KEYROTA_CREDENTIAL", record->credential);
        add_field(text, "KEYROTA_REASON", record->reason);
        add_field(text, "KEYROTA_FILE", record->file);
        if (record->has_uid)
                add_formatted(text, "KEYROTA_UID", "%" PRIu32, (uint32_t) record->uid);
        if (record->pid > 0)
                add_formatted(text, "OBJECT_PID", "%d", (int) record->pid);
}

static int journal_connect(void) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
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
        static struct text text;
        int64_t deadline = now_ms() + (stuck ? 0 : DEADLINE_MS);
        int r = -ENOTCONN;

        format_record(&text, event, record);
        if (text.size > sizeof(text.data))
                return -EMSGSIZE;

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
        struct text line = { 0 };
        struct stat status;
        char note[VALUE_MAX];

        if (fd < 0 || fstat(fd, &status) < 0 || status.st_size >= MISSING_MAX)
                return;
        (void) snprintf(note, sizeof(note), "%lld %s %s/%s %s %s: %s", (long long) time(NULL),
                        events[event].name, or_else(record->environment, "-"), or_else(record->name, "-"),
                        or_else(record->unit, "-"), or_else(record->credential, "-"),
                        or_else(strerrordesc_np(abs(error)), "unknown error"));
        add_value(&line, note, strlen(note));
        add_byte(&line, '\n');
        (void) !write(fd, line.data, line.size); /* one call, so that writers do not mix their lines */
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
