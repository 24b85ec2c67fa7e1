/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_HANDOVER_PLAN_H
#define KEYROTA_HANDOVER_PLAN_H

/* In which order stale consumers are handed what is published, and which of them at once. Pure; calls consumers and roles. */

#include "consumers.h"

struct handover_step {
        const struct consumer *consumer;
        unsigned group; /* grows; those of one group are handed over at once */
        bool together;  /* in the group of all that change the active key at once */
};

/* Verifiers before signers; in groups: of a template max_unavailable instances, those first that are down since an earlier try, so that never more
 * than these are; everything that follows the active key where it must change at once; else each unit for itself. To be freed. */
int handover_plan(const struct policy *policy, const struct keyset *keyset, const struct consumers *consumers, struct handover_step **ret, size_t *ret_n);

#endif
