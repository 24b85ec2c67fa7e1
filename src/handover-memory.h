/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_HANDOVER_MEMORY_H
#define KEYROTA_HANDOVER_MEMORY_H

/*
 * What the handovers of one secret have met in this boot: units that could not be handed a key, that were sent a signal and have not fetched it
 * yet, or for which something else is awaited. A file for each secret, PATH_HANDOVER/ENV:NAME, a line for each unit:
 *
 *     UNIT SINCE ATTEMPTS GENERATION INVOCATION REASON...
 *
 * May call tree and policy.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"
#include "tree.h"

struct handover_note {
        char *unit;
        int64_t since;       /* seconds since 1970 */
        unsigned attempts;   /* how often it was tried in vain; 0: nothing was done to it, it is waited for */
        uint64_t generation; /* that it was last to be handed */
        char invocation[33]; /* the one that was sent a signal; "": none was */
        char *reason;        /* one line */
};

struct handover_memory {
        struct handover_note *notes;
        size_t n_notes;
};

/* secret: "ENV/NAME". No file: empty. -EBADMSG: not in this form. -EINVAL: no name of a secret. */
int handover_memory_load(const struct tree *tree, const char *secret, struct handover_memory *ret);
/* Replaces the file where that changes it, and removes it when there is nothing to remember. */
int handover_memory_save(const struct tree *tree, const char *secret, const struct handover_memory *memory);
void handover_memory_clear(struct handover_memory *memory);

/* NULL: nothing is known of it. */
struct handover_note *handover_memory_find(const struct handover_memory *memory, const char *unit);

/* Something is tried: one attempt more, to be explained or forgotten. Of what was only waited for the time begins anew. -ENOMEM. */
int handover_memory_tried(struct handover_memory *memory, const char *unit, int64_t now, uint64_t generation, const char *invocation, const char *reason);
/* Why that was in vain. */
int handover_memory_explain(struct handover_memory *memory, const char *unit, const char *reason);
/* It is waited for; what was tried before stays on record. */
int handover_memory_waits(struct handover_memory *memory, const char *unit, int64_t now, uint64_t generation, const char *reason);
void handover_memory_forget(struct handover_memory *memory, const char *unit);

/* Was something done to it in vain? */
bool handover_memory_failed(const struct handover_memory *memory, const char *unit);

/* The file of a secret, with this suffix, of which no name is a part. */
int handover_memory_path(const char *secret, const char *suffix, char **ret);

#endif
