/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_HANDOVER_RUN_H
#define KEYROTA_HANDOVER_RUN_H

/* What handover.c (in which order) and handover-unit.c (one unit at a time) share and nobody else sees. */

#include "evidence.h"
#include "handover-memory.h"
#include "handover.h"
#include "publish.h"

struct handover_run {
        const struct context *context;
        struct bus *bus;
        const struct policy *policy;
        const struct keyset *keyset;
        char secret[PUBLISH_SECRET_MAX];
        bool open; /* no window has to be waited for */
        int64_t now;
        struct evidence evidence;
        struct handover_memory memory;
        unsigned n_settled; /* steps that were waited for the records of units that ran before */
        bool *stopped; /* for each delivery: no further instance of this template in this run */
        struct handover_result result;
};

enum handover_action { HANDOVER_NOTHING, HANDOVER_SIGNAL, HANDOVER_RESTART, HANDOVER_RELOAD };

/* One unit in the course of its handover. */
struct handover_unit {
        struct consumer consumer; /* as it stood at the last look; the name is not owned */
        enum handover_action action;
};

/* Looks anew, and says what is to be done now. It waits, or is no consumer any more: HANDOVER_NOTHING, and that is on record. */
int handover_unit_decide(struct handover_run *run, bool together, struct handover_unit *unit);

/* What came of it: record, memory, log. */
int handover_unit_signal(struct handover_run *run, struct handover_unit *unit);
int handover_unit_begin_job(struct handover_run *run, const struct handover_unit *unit);
int handover_unit_end_job(struct handover_run *run, struct handover_unit *unit, const struct bus_job_request *request);

/* Nothing is done to it now, because of this. */
int handover_unit_waits(struct handover_run *run, const struct handover_unit *unit, const char *reason);

/* The window is of restarts and of signals, of units that run and hold no compromised key. */
bool handover_unit_waits_for_window(const struct handover_run *run, const struct handover_unit *unit);

#endif
