/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_RECORDER_H
#define KEYROTA_RECORDER_H

/*
 * Puts on record what the credential server has served (served.h), as evidence for the rotation. A record comes only
 * after the whole answer was sent, so one may be missing; but never may the record of a later answer to the same start
 * of a unit hide that an earlier one is missing. Therefore each answer is noted before it is sent, in a file that is
 * allocated beforehand; the note goes when the record is written, and what it finds noted the next server, too, records
 * as a generation that is not known. May call served, peer, log.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer.h"

#define RECORDER_NOTES_MAX 128 /* answers that could not be recorded; while there is no room, all others count as such */
#define INVOCATION_MAX 33      /* 128 bits in hexadecimal, and NUL */

struct recorder_note {
        char consumer[PEER_NAME_MAX + 1]; /* "UNIT/CREDENTIAL"; "": free */
        char invocation[INVOCATION_MAX];  /* "": not known */
};

struct recorder {
        char path[4096]; /* of the folder */
        int folder;      /* < 0: nothing can be recorded */
        int file;
        bool complained;
        struct recorder_note notes[RECORDER_NOTES_MAX]; /* as in the file */
        size_t n_notes;                                 /* that are not free */

        /* of the answer under way */
        struct recorder_note *note; /* NULL: no room */
        bool doubtful; /* an earlier answer to this start may be missing */
};

/* The invocation id of the unit's present start; "" when it is not known. It is never that of a start yet to come: systemd
 * sets the link before it forks the unit's processes. After a restart with RestartMode=direct it is that of an earlier one
 * (systemd 254 and newer do not set it again there); a record with that id is evidence of nothing. */
void recorder_read_invocation(const char *unit, char ret[static INVOCATION_MAX]);

/* Opens the folder, of $RUNTIME_DIRECTORY the one named "served", or else PATH_SERVED. When that fails it says so, and
 * nothing will be recorded. */
void recorder_open(struct recorder *recorder);

/* An answer to this peer is about to be sent. One at a time; then either of the others. */
void recorder_begin(struct recorder *recorder, const struct peer *peer, const char *invocation);

/* It was sent. What cannot be recorded is logged, the first time. */
void recorder_end(struct recorder *recorder, const struct peer *peer, const char *invocation, const char *secret,
                  uint64_t generation);

/* It was not sent: the peer has got nothing that it will start with. */
void recorder_cancel(struct recorder *recorder);

#endif
