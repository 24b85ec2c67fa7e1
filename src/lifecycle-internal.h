/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_LIFECYCLE_INTERNAL_H
#define KEYROTA_LIFECYCLE_INTERNAL_H

/* What lifecycle.c and lifecycle-command.c share. */

#include "lifecycle.h"

/* a + b; TIME_NEVER stays, and overflow ends there. */
int64_t time_add(int64_t a, int64_t b);

/* From now on key signs, and the one that did only verifies. */
void lifecycle_activate(struct keyset *keyset, struct key *key, const struct policy *policy, int64_t now, uint64_t random);

#endif
