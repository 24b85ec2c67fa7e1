/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_RECORD_H
#define KEYROTA_PAM_RECORD_H

/*
 * Audit records of one call, sent to the journal at once. As audit.c, which has variables, but never waits unless it is told to. May call audit-record and
 * audit-missing; libc only.
 */

#include <errno.h>
#include <stddef.h>

#include "audit.h"
#include "cleanup.h"

struct records {
        char *data; /* a struct audit_text after the other, each cut off behind its text */
        size_t size, room, sent; /* bytes */
        int journal;
};

#define RECORDS_NONE { .journal = -EBADF }

/* 0, -ENOMEM or -EMSGSIZE. */
int records_add(struct records *records, enum audit_event event, const struct audit_record *record);

/* Takes back what was added since records->size was size, but for what has been sent. */
void records_forget(struct records *records, size_t size);

/* Sends what was not yet sent; 0, or a negative errno: -ENOENT, -ECONNREFUSED: no journal. -EAGAIN: it takes no more. wait: not before a second is over.
 * After an error it can be called again. */
int records_send(struct records *records, bool wait);

/* Notes of each that was not sent, for keyrota status to count, that it is missing. They stay, to be forgotten or tried again. */
void records_note_missing(const struct records *records, int error);

void records_clear(struct records *records);

#endif
