/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notes of the records that no journal took. Without variables; libc only, as the PAM module has it too. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "audit.h"
#include "cleanup.h"
#include "paths.h"

#define NOTE_MAX 2048             /* bytes of one note */
#define MISSING_MAX (1024 * 1024) /* bytes of notes; more would fill /run and tell nothing new */

static int missing_open(void) {
        const int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        int fd;

        fd = open(PATH_AUDIT_MISSING, flags, 0600);
        if (fd >= 0 || errno != ENOENT)
                return fd;
        if ((mkdir(PATH_RUN, 0755) < 0 && errno != EEXIST) ||
            (mkdir(PATH_RUN "/audit", 0700) < 0 && errno != EEXIST))
                return -1;
        return open(PATH_AUDIT_MISSING, flags, 0600);
}

struct note {
        const char *event, *environment, *name, *who, *what; /* NULL: not said */
};

static const char *or_dash(const char *value) {
        return value ? value : "-";
}

static void write_note(const struct note *note, int error) {
        _cleanup_close_ int fd = missing_open();
        const char *why = strerrordesc_np(abs(error));
        struct stat status;
        char text[NOTE_MAX], line[NOTE_MAX];
        size_t n;

        if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size >= MISSING_MAX)
                return;
        (void) snprintf(text, sizeof(text), "%lld %s %s/%s %s %s: %s", (long long) time(NULL), or_dash(note->event), or_dash(note->environment),
                        or_dash(note->name), or_dash(note->who), or_dash(note->what), why ? why : "unknown error");
        n = audit_escape(text, line, sizeof(line) - 1);
        line[n++] = '\n';
        (void) !write(fd, line, n); /* one call, so that writers do not mix their lines */
}

void audit_note_missing(enum audit_event event, const struct audit_record *record, int error) {
        const struct note note = {
                .event = audit_event_name(event),
                .environment = record->environment,
                .name = record->name,
                .who = record->unit ? record->unit : record->user,
                .what = record->credential ? record->credential : record->service,
        };

        write_note(&note, error);
}

/* field: "\nNAME="; NULL: the record has none. What does not fit into the buffer is cut off. */
static const char *find_field(const struct audit_text *text, const char *field, char *buffer, size_t size) {
        const char *value = memmem(text->data, text->size, field, strlen(field)), *end;
        size_t n;

        if (!value)
                return NULL;
        value += strlen(field);
        end = memchr(value, '\n', text->size - (size_t) (value - text->data));
        n = end ? (size_t) (end - value) : 0;
        n = n < size ? n : size - 1;
        memcpy(buffer, value, n);
        buffer[n] = '\0';
        return buffer;
}

void audit_note_missing_text(const struct audit_text *text, int error) {
        char event[32], environment[128], name[128], user[512], service[128];
        const struct note note = {
                .event = find_field(text, "\nKEYROTA_EVENT=", event, sizeof(event)),
                .environment = find_field(text, "\nKEYROTA_ENVIRONMENT=", environment, sizeof(environment)),
                .name = find_field(text, "\nKEYROTA_NAME=", name, sizeof(name)),
                .who = find_field(text, "\nKEYROTA_USER=", user, sizeof(user)),
                .what = find_field(text, "\nKEYROTA_SERVICE=", service, sizeof(service)),
        };

        write_note(&note, error);
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
