/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_LIFECYCLE_H
#define KEYROTA_LIFECYCLE_H

/*
 * What is due now and what comes next: NIST SP 800-57 key states from recorded times. Pure; the clock and
 * chance are arguments.
 */

#include <stdint.h>

#include "keyset.h"
#include "policy.h"

enum key_state { KEY_PRE_ACTIVATION, KEY_ACTIVE, KEY_DEACTIVATED, KEY_DESTROYED };

/* Of key number index at now. Exactly one key signs: the one with the latest activation not after now (or,
 * should the clock stand before all of them, the earliest); a key goes on signing until a successor's
 * activation comes. */
enum key_state key_state_at(const struct keyset *keyset, size_t index, int64_t now);
const char *key_state_to_string(enum key_state state);

/* The key that signs at now, or NULL when there is none. */
const struct key *keyset_active(const struct keyset *keyset, int64_t now);

/* What to do and when to look again. */
struct lifecycle_event {
        bool create;            /* a key must be made now, with these times */
        struct key_times times;
        int64_t next;           /* the next activation, end of the active key or destruction; or TIME_NEVER */
        bool overdue;           /* the active key's cryptoperiod is over */
};

/* A key is to be made when none can sign. random is any number: it draws how much of the policy's jitter the
 * new key's cryptoperiod is shortened by. */
void lifecycle_advance(const struct policy *policy, const struct keyset *keyset, int64_t now, uint64_t random,
                       struct lifecycle_event *ret);

#endif
