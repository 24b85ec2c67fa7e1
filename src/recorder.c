/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Puts on record what the credential server has served. May call served, peer, log. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "paths.h"
#include "recorder.h"
#include "served.h"

#define NOTES_NAME "#unrecorded" /* no unit has such a name */

void recorder_read_invocation(const char *unit, char ret[static INVOCATION_MAX]) {
        char path[sizeof("/run/systemd/units/invocation:") + PEER_NAME_MAX], target[2 * INVOCATION_MAX];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/run/systemd/units/invocation:%s", unit);
        n = readlink(path, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        if (n != INVOCATION_MAX - 1 || strspn(target, "0123456789abcdef") != INVOCATION_MAX - 1)
                n = 0;
        memcpy(ret, target, (size_t) n);
        ret[n] = '\0';
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static void complain(struct recorder *recorder, const char *what, int error) {
        if (recorder->complained)
                return;
        recorder->complained = true;
        log_error("credential server: cannot record in %s what was served%s%s: %s. Services get their credentials all the "
                  "same, but the next rotation restarts them once more than it has to; see that %s is a folder of root's "
                  "with mode 0700, and that there is room",
                  recorder->path, *what ? " to " : "", what, strerror(-error), recorder->path);
}

/* systemd.exec(5), RuntimeDirectory=: several with colons. */
static void find_folder(char *ret, size_t size) {
        static const char last[] = "/served";
        const char *folders = getenv("RUNTIME_DIRECTORY");

        for (size_t n = 0; folders && *folders; folders += n + (folders[n] == ':')) {
                n = strcspn(folders, ":");
                if (n >= sizeof(last) && n < size &&
                    memcmp(folders + n - (sizeof(last) - 1), last, sizeof(last) - 1) == 0) {
                        (void) snprintf(ret, size, "%.*s", (int) n, folders);
                        return;
                }
        }
        (void) snprintf(ret, size, "%s", PATH_SERVED);
}

static int open_folder(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;

        if (fd < 0 || fstat(fd, &status) < 0)
                return -errno;
        if (status.st_uid != geteuid() || (status.st_mode & 022) != 0)
                return -EPERM;
        return TAKE_FD(fd);
}

/* Of starts that are over. What is left is a start that goes on, or one that is not known. */
static void forget_old_notes(struct recorder *recorder) {
        for (size_t i = 0; i < RECORDER_NOTES_MAX; i++) {
                struct recorder_note *note = recorder->notes + i;
                char unit[sizeof(note->consumer)], invocation[INVOCATION_MAX];

                if (!*note->consumer || !*note->invocation)
                        continue;
                strcpy(unit, note->consumer);
                unit[strcspn(unit, "/")] = '\0';
                recorder_read_invocation(unit, invocation);
                if (strcmp(invocation, note->invocation) != 0)
                        memset(note, 0, sizeof(*note));
        }
        recorder->n_notes = 0;
        for (size_t i = 0; i < RECORDER_NOTES_MAX; i++)
                recorder->n_notes += *recorder->notes[i].consumer != '\0';
}

/* Written whole at once, so that later each note finds its bytes allocated even on a full file system. */
static int open_notes(struct recorder *recorder) {
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        fd = openat(recorder->folder, NOTES_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd < 0)
                return -errno;
        n = pread(fd, recorder->notes, sizeof(recorder->notes), 0);
        if (n < 0)
                return -errno;
        if ((size_t) n != sizeof(recorder->notes))
                memset(recorder->notes, 0, sizeof(recorder->notes));
        for (size_t i = 0; i < RECORDER_NOTES_MAX; i++) {
                recorder->notes[i].consumer[sizeof(recorder->notes[i].consumer) - 1] = '\0';
                recorder->notes[i].invocation[INVOCATION_MAX - 1] = '\0';
        }
        forget_old_notes(recorder);
        n = pwrite(fd, recorder->notes, sizeof(recorder->notes), 0);
        if (n != (ssize_t) sizeof(recorder->notes))
                return n < 0 ? -errno : -ENOSPC;
        return TAKE_FD(fd);
}

void recorder_open(struct recorder *recorder) {
        recorder->file = -EBADF;
        find_folder(recorder->path, sizeof(recorder->path));
        recorder->folder = open_folder(recorder->path);
        if (recorder->folder >= 0) {
                recorder->file = open_notes(recorder);
                if (recorder->file >= 0)
                        return;
                (void) close(recorder->folder);
                recorder->folder = recorder->file;
        }
        complain(recorder, "", recorder->folder);
}

/* ---- one answer -------------------------------------------------------------------------------------- */

static int write_note(const struct recorder *recorder) {
        off_t offset = (off_t) ((size_t) (recorder->note - recorder->notes) * sizeof(*recorder->note));

        return pwrite(recorder->file, recorder->note, sizeof(*recorder->note), offset) ==
                        (ssize_t) sizeof(*recorder->note) ? 0 : -EIO;
}

static void clear_note(struct recorder *recorder) {
        if (!recorder->note)
                return;
        recorder->n_notes--;
        memset(recorder->note, 0, sizeof(*recorder->note));
        (void) write_note(recorder); /* a note too many is no harm */
}

/* The consumer's own, else a free one. As a rule there is none, and the first is free. */
static struct recorder_note *find_note(struct recorder *recorder, const char *consumer) {
        struct recorder_note *free_note = NULL;
        size_t n_left = recorder->n_notes;

        for (size_t i = 0; i < RECORDER_NOTES_MAX && (n_left > 0 || !free_note); i++) {
                struct recorder_note *note = recorder->notes + i;

                if (!*note->consumer) {
                        free_note = free_note ? free_note : note;
                        continue;
                }
                if (strcmp(note->consumer, consumer) == 0)
                        return note;
                n_left--;
        }
        return free_note;
}

void recorder_begin(struct recorder *recorder, const struct peer *peer, const char *invocation) {
        char consumer[2 * PEER_NAME_MAX + 2];
        struct recorder_note *note;

        if (recorder->folder < 0)
                return;
        /* not longer than a note's: both were in one address, with more beside them */
        (void) snprintf(consumer, sizeof(consumer), "%s/%s", peer->unit, peer->credential);
        recorder->note = note = strlen(consumer) < sizeof(note->consumer) ? find_note(recorder, consumer) : NULL;
        recorder->doubtful = true;
        if (!note)
                return;
        if (!*note->consumer) {
                recorder->n_notes++;
                recorder->doubtful = false;
        } else if (*invocation && *note->invocation)
                recorder->doubtful = strcmp(invocation, note->invocation) == 0;
        strcpy(note->consumer, consumer);
        strcpy(note->invocation, invocation);
        if (write_note(recorder) < 0)
                recorder->doubtful = true;
}

void recorder_end(struct recorder *recorder, const struct peer *peer, const char *invocation, const char *secret,
                  uint64_t generation) {
        int r = 0;

        if (recorder->folder < 0)
                return;
        if (recorder->doubtful)
                r = served_write(recorder->folder, peer->unit, peer->credential, secret, invocation, 0);
        if (r >= 0)
                r = served_write(recorder->folder, peer->unit, peer->credential, secret, invocation, generation);
        if (r >= 0)
                clear_note(recorder);
        else
                complain(recorder, peer->unit, r);
}

void recorder_cancel(struct recorder *recorder) {
        if (recorder->folder >= 0 && !recorder->doubtful)
                clear_note(recorder);
}
