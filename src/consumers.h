/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_CONSUMERS_H
#define KEYROTA_CONSUMERS_H

/*
 * Who runs with what: the units that a policy names, each running instance of a template for itself, and the generation each has loaded. From the
 * manager (bus), the records of what was served (evidence) and of the handovers that failed (handover-memory). Changes nothing. May call those and
 * roles.
 */

#include "bus.h"
#include "evidence.h"
#include "keyset.h"
#include "lifecycle.h"
#include "policy.h"
#include "tree.h"

/* One look at all units of the host, taken once a pass: which of them are loaded, and in what state. */
struct consumers_view;
/* bus NULL: a tree of which no unit runs here. One call to the manager. */
int consumers_view_new(struct bus *bus, const struct tree *tree, struct consumers_view **ret);
void consumers_view_free(struct consumers_view *view);
DEFINE_CLEANUP(struct consumers_view *, consumers_view_free);

/* Removes the records of what was served to units that were not loaded at the time of the view, and have not been served anything since: instances of a
 * template may be of any number, and never come again. */
int consumers_view_sweep(struct consumers_view *view);

struct consumer {
        char *unit; /* the instance's own name */
        const struct delivery *delivery; /* the policy's */
        bool running;
        bool failed;     /* not running since a handover of ours... */
        bool restarting; /* ...and waiting for its next automatic start (Restart=) */
        uint64_t loaded; /* generation; 0: not known */
        uint64_t wanted; /* the oldest that will do: verify_generation, sign_generation or both, as roles.h says */
        char invocation[33];
};

struct consumers {
        struct consumer *items; /* verifiers before signers */
        size_t n_items;
};

/* The running consumers of a secret, and those that failed when they were last handed a key. The policy must outlive them. */
int consumers_of(struct consumers_view *view, const struct policy *policy, const struct keyset *keyset, struct consumers *ret);
void consumers_clear(struct consumers *consumers);

/* The section of the policy that names this unit: its own, or else its template's. NULL: none. */
const struct delivery *consumers_delivery(const struct policy *policy, const char *unit);

/* Does the section name a template? */
bool delivery_is_template(const struct delivery *delivery);

/* How one of them stands now: 1 and the consumer's state, or 0 when it is none any more: stopped, failed by itself (remembered: whether it is one
 * whose handover failed) or running without the credential. */
int consumer_look(struct bus *bus, const struct evidence *evidence, const struct policy *policy, const struct keyset *keyset, bool remembered,
                  struct consumer *consumer);

/* Does it still have to be handed what is published? */
bool consumer_is_stale(const struct consumer *consumer);

/* For lifecycle_advance(): facts->known, verifiers and signers. */
void consumers_facts(const struct policy *policy, const struct consumers *consumers, struct lifecycle_facts *facts);

#endif
