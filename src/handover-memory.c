/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writer and strict reader of what the handovers have met. May call tree and policy. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "handover-memory.h"
#include "paths.h"
#include "policy.h"

#define FILE_MAX (1024 * 1024) /* bytes: thousands of units */
#define REASON_MAX 400         /* bytes that are kept of a reason */
#define UNIT_MAX 255           /* unit_name_is_valid() of systemd */
#define INVOCATION_DIGITS 32
#define NO_INVOCATION "-"

static void note_clear(struct handover_note *note) {
        free(note->unit);
        free(note->reason);
}

void handover_memory_clear(struct handover_memory *memory) {
        for (size_t i = 0; i < memory->n_notes; i++)
                note_clear(&memory->notes[i]);
        free(memory->notes);
        *memory = (struct handover_memory) { 0 };
}

int handover_memory_path(const char *secret, const char *suffix, char **ret) {
        char environment[POLICY_NAME_MAX + 1];
        const char *slash = strchr(secret, '/');
        size_t n = slash ? (size_t) (slash - secret) : sizeof(environment);
        char *path;

        if (n >= sizeof(environment))
                return -EINVAL;
        memcpy(environment, secret, n);
        environment[n] = '\0';
        if (!policy_name_valid(environment) || !policy_name_valid(slash + 1))
                return -EINVAL;
        /* A name may have dots and dashes, but no colon. */
        if (asprintf(&path, PATH_HANDOVER "/%s:%s%s", environment, slash + 1, suffix) < 0)
                return -ENOMEM;
        *ret = path;
        return 0;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret) {
        uint64_t number = 0;

        if (*text == '\0' || (text[0] == '0' && text[1] != '\0'))
                return false;
        for (; *text; text++) {
                unsigned digit = (unsigned) (unsigned char) *text - '0';

                if (digit > 9 || number > (max - digit) / 10)
                        return false;
                number = number * 10 + digit;
        }
        *ret = number;
        return true;
}

static bool is_line(const char *text, size_t max) {
        size_t n = strlen(text);

        for (size_t i = 0; i < n; i++)
                if ((unsigned char) text[i] < ' ' || text[i] == 0x7f)
                        return false;
        return n > 0 && n <= max;
}

static struct handover_note *memory_grow(struct handover_memory *memory) {
        struct handover_note *grown = reallocarray(memory->notes, memory->n_notes + 1, sizeof(*grown));

        if (!grown)
                return NULL;
        memory->notes = grown;
        grown[memory->n_notes] = (struct handover_note) { 0 };
        return &grown[memory->n_notes];
}

/* Splits and checks one line in place. */
static int parse_line(struct handover_memory *memory, char *line) {
        char *unit = strsep(&line, " "), *since = strsep(&line, " "), *attempts = strsep(&line, " "), *generation = strsep(&line, " "),
             *invocation = strsep(&line, " ");
        struct handover_note *note;
        uint64_t s, a, g;

        if (!line || !is_line(unit, UNIT_MAX) || !is_line(line, REASON_MAX) || !parse_number(since, INT64_MAX, &s) ||
            !parse_number(attempts, UINT32_MAX, &a) || !parse_number(generation, UINT64_MAX, &g) || handover_memory_find(memory, unit))
                return -EBADMSG;
        if (strcmp(invocation, NO_INVOCATION) == 0)
                *invocation = '\0';
        else if (strlen(invocation) != INVOCATION_DIGITS || strspn(invocation, "0123456789abcdef") != INVOCATION_DIGITS)
                return -EBADMSG;

        note = memory_grow(memory);
        if (!note)
                return -ENOMEM;
        note->since = (int64_t) s;
        note->attempts = (unsigned) a;
        note->generation = g;
        (void) strcpy(note->invocation, invocation);
        note->unit = strdup(unit);
        note->reason = strdup(line);
        memory->n_notes++;
        return note->unit && note->reason ? 0 : -ENOMEM;
}

static int parse(char *text, size_t size, struct handover_memory *memory) {
        if (memchr(text, '\0', size) || (size > 0 && text[size - 1] != '\n'))
                return -EBADMSG;
        while (*text) {
                char *line = strsep(&text, "\n");
                int r = parse_line(memory, line);

                if (r < 0)
                        return r;
        }
        return 0;
}

int handover_memory_load(const struct tree *tree, const char *secret, struct handover_memory *ret) {
        _cleanup_(handover_memory_clear) struct handover_memory memory = { 0 };
        _cleanup_free_ char *path = NULL, *text = NULL;
        size_t size;
        int r;

        r = handover_memory_path(secret, "", &path);
        if (r < 0)
                return r;
        r = tree_read_file(tree, path, FILE_MAX, &text, &size);
        if (r < 0 && r != -ENOENT)
                return r == -EFBIG || r == -EISDIR || r == -ELOOP || r == -EINVAL ? -EBADMSG : r;
        r = r < 0 ? 0 : parse(text, size, &memory);
        if (r < 0)
                return r;
        *ret = memory;
        memory = (struct handover_memory) { 0 };
        return 0;
}

static int format(const struct handover_memory *memory, char **ret, size_t *ret_size) {
        _cleanup_free_ char *text = NULL;
        FILE *stream = open_memstream(&text, ret_size);
        bool failed;

        if (!stream)
                return -ENOMEM;
        for (size_t i = 0; i < memory->n_notes; i++) {
                const struct handover_note *note = &memory->notes[i];

                (void) fprintf(stream, "%s %" PRId64 " %u %" PRIu64 " %s %s\n", note->unit, note->since, note->attempts, note->generation,
                               note->invocation[0] ? note->invocation : NO_INVOCATION, note->reason);
        }
        failed = ferror(stream);
        if (fclose(stream) != 0 || failed)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

int handover_memory_save(const struct tree *tree, const char *secret, const struct handover_memory *memory) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        _cleanup_close_ int folder = -EBADF;
        size_t size;
        int r;

        r = handover_memory_path(secret, "", &path);
        if (r < 0)
                return r;
        if (memory->n_notes == 0) {
                folder = tree_open_path(tree, PATH_HANDOVER, O_RDONLY | O_DIRECTORY, 0);
                if (folder < 0)
                        return folder == -ENOENT ? 0 : folder;
                return unlinkat(folder, strrchr(path, '/') + 1, 0) < 0 && errno != ENOENT ? -errno : 0;
        }
        r = format(memory, &text, &size);
        if (r < 0)
                return r;
        folder = tree_make_directory(tree, PATH_HANDOVER, 0700);
        if (folder < 0)
                return folder;
        r = tree_update_file(tree, path, text, size, 0600, false);
        return r < 0 ? r : 0;
}

struct handover_note *handover_memory_find(const struct handover_memory *memory, const char *unit) {
        for (size_t i = 0; i < memory->n_notes; i++)
                if (strcmp(memory->notes[i].unit, unit) == 0)
                        return &memory->notes[i];
        return NULL;
}

/* One line of at most REASON_MAX bytes. */
static char *make_reason(const char *text) {
        char *reason = strndup(*text ? text : "no reason given", REASON_MAX);

        for (char *p = reason; p && *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        *p = ' ';
        return reason;
}

/* The unit's note with these words, made when there is none. Its time is from now on when it is new, or of a future that the clock has left. */
static struct handover_note *memory_note(struct handover_memory *memory, const char *unit, int64_t now, const char *text) {
        struct handover_note *note = handover_memory_find(memory, unit);
        char *reason = make_reason(text);

        now = now > 0 ? now : 0;
        if (!reason)
                return NULL;
        if (!note) {
                note = memory_grow(memory);
                if (note)
                        note->unit = strdup(unit);
                if (!note || !note->unit) {
                        free(reason);
                        return NULL;
                }
                note->since = now;
                memory->n_notes++;
        }
        free(note->reason);
        note->reason = reason;
        if (note->since > now)
                note->since = now;
        return note;
}

int handover_memory_tried(struct handover_memory *memory, const char *unit, int64_t now, uint64_t generation, const char *invocation, const char *reason) {
        struct handover_note *note = memory_note(memory, unit, now, reason);

        if (!note)
                return -ENOMEM;
        if (note->attempts == 0)
                note->since = now > 0 ? now : 0;
        if (note->attempts < UINT32_MAX)
                note->attempts++;
        note->generation = generation;
        (void) snprintf(note->invocation, sizeof(note->invocation), "%s", invocation);
        return 0;
}

int handover_memory_explain(struct handover_memory *memory, const char *unit, const char *text) {
        struct handover_note *note = handover_memory_find(memory, unit);
        char *reason = note ? make_reason(text) : NULL;

        if (!reason)
                return -ENOMEM;
        free(note->reason);
        note->reason = reason;
        return 0;
}

int handover_memory_waits(struct handover_memory *memory, const char *unit, int64_t now, uint64_t generation, const char *reason) {
        struct handover_note *note = handover_memory_find(memory, unit);

        if (note && note->attempts > 0) {
                if (note->since > now)
                        note->since = now > 0 ? now : 0;
                return 0;
        }
        note = memory_note(memory, unit, now, reason);
        if (!note)
                return -ENOMEM;
        note->generation = generation;
        return 0;
}

void handover_memory_forget(struct handover_memory *memory, const char *unit) {
        struct handover_note *note = handover_memory_find(memory, unit);

        if (!note)
                return;
        note_clear(note);
        memory->n_notes--;
        memmove(note, note + 1, (size_t) (memory->notes + memory->n_notes - note) * sizeof(*note));
}

bool handover_memory_failed(const struct handover_memory *memory, const char *unit) {
        const struct handover_note *note = handover_memory_find(memory, unit);

        return note && note->attempts > 0;
}
