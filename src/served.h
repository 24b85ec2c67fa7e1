/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SERVED_H
#define KEYROTA_SERVED_H

/*
 * Which generation of a secret which start (invocation) of a unit was given: evidence for the rotation. A small file for each unit and credential,
 * PATH_SERVED/UNIT/CREDENTIAL, of this boot only; written by the credential server after the last byte was sent, and by the handover for units that read
 * the public JWKS file themselves. Calls libc only.
 */

#include <stdbool.h>
#include <stdint.h>

#define SERVED_SECRET_MAX 132 /* "ENV/NAME" and its NUL */

struct served {
        char secret[SERVED_SECRET_MAX];
        char invocation[33];
        uint64_t first; /* the oldest generation that this invocation was given; 0: not known, it may be any... */
        uint64_t last;  /* ...and the newest, by a reload */
};

/* folder: open PATH_SERVED. Another invocation or secret than the one on record begins a new record; else last (never first, unless it is
 * smaller) follows generation. invocation "": not known; what is then written is evidence of nothing, but the next invocation to be
 * recorded cannot look newer than it is. Atomic (rename), no fsync. 0 or a negative errno; -EINVAL: a name that is none. */
int served_write(int folder, const char *unit, const char *credential, const char *secret, const char *invocation, uint64_t generation);

/* -ENOENT: nothing on record of a known invocation; -EBADMSG: not in this form. */
int served_read(int folder, const char *unit, const char *credential, struct served *ret);

/* Removes the records that are not wanted. Goes on when one cannot be removed; the first errno. */
int served_sweep(int folder, bool (*wanted)(const char *unit, const char *credential, void *userdata), void *userdata);

/* "jwks:NAME" takes the credential's place for a unit that reads the public file; no credential has a colon. */
#define SERVED_PUBLIC_PREFIX "jwks:"

#endif
