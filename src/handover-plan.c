/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order of a handover. Pure; calls consumers and roles. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handover-plan.h"
#include "roles.h"

/* A step with what it is sorted by. */
struct candidate {
        struct handover_step step;
        unsigned phase; /* 0: the verification set; 1: the same of those that sign with it too; 2: the active key */
};

static bool stale_in(const struct consumer *consumer, uint64_t generation) {
        return consumer->failed || consumer->loaded < generation;
}

static struct candidate make_candidate(const struct policy *policy, const struct keyset *keyset, const struct consumer *consumer) {
        const struct delivery *delivery = consumer->delivery;
        bool follows = delivery_follows_active(policy, delivery),
             set = delivery_holds_set(policy, delivery) && stale_in(consumer, keyset->verify_generation),
             together = follows && policy_switches_together(policy) && stale_in(consumer, keyset->sign_generation);

        return (struct candidate) {
                .step = { .consumer = consumer, .together = together },
                .phase = together || !set ? 2 : follows ? 1 : 0,
        };
}

static int compare(const void *a, const void *b) {
        const struct candidate *x = a, *y = b;
        const struct consumer *u = x->step.consumer, *v = y->step.consumer;

        if (x->phase != y->phase)
                return x->phase < y->phase ? -1 : 1;
        if (u->delivery != v->delivery)
                return u->delivery < v->delivery ? -1 : 1;
        if (u->failed != v->failed)
                return u->failed ? -1 : 1;
        return strcmp(u->unit, v->unit);
}

/* Does the candidate join the one before, of which so many are in the group? */
static bool joins(const struct candidate *candidate, const struct candidate *before, unsigned n) {
        const struct delivery *delivery = candidate->step.consumer->delivery;

        if (candidate->phase != before->phase || candidate->step.together != before->step.together)
                return false;
        if (candidate->step.together)
                return true;
        return delivery_is_template(delivery) && delivery == before->step.consumer->delivery && n < delivery->max_unavailable;
}

int handover_plan(const struct policy *policy, const struct keyset *keyset, const struct consumers *consumers, struct handover_step **ret, size_t *ret_n) {
        _cleanup_free_ struct candidate *candidates = calloc(consumers->n_items + 1, sizeof(*candidates));
        _cleanup_free_ struct handover_step *steps = calloc(consumers->n_items + 1, sizeof(*steps));
        unsigned group = 0, n_group = 0;
        size_t n = 0;

        if (!candidates || !steps)
                return -ENOMEM;
        for (size_t i = 0; i < consumers->n_items; i++)
                if (consumer_is_stale(&consumers->items[i]))
                        candidates[n++] = make_candidate(policy, keyset, &consumers->items[i]);
        qsort(candidates, n, sizeof(*candidates), compare);

        for (size_t i = 0; i < n; i++) {
                if (i > 0 && joins(&candidates[i], &candidates[i - 1], n_group))
                        n_group++;
                else {
                        group += i > 0;
                        n_group = 1;
                }
                steps[i] = candidates[i].step;
                steps[i].group = group;
        }
        *ret = TAKE_PTR(steps);
        *ret_n = n;
        return 0;
}
