/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs the lifecycle ahead, from one due time to the next. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lifecycle.h"
#include "plan.h"
#include "roles.h"
#include "store-set.h"

#define ROUNDS_MAX 200
#define STAND_IN_RSA_BITS 2048

struct trial {
        const struct policy *policy;
        const struct keyset *present;
        struct keyset *keyset;
        struct plan *plan;
        int64_t now;
};

/* A key that is made in the plan only. */
static int stand_in(const struct policy *policy, struct jwk **ret) {
        unsigned size = algorithm_info(policy->algorithm)->key_type == KEY_TYPE_RSA ? STAND_IN_RSA_BITS : policy->size;

        return jwk_generate(policy->algorithm, size, ret);
}

static void add_event(struct trial *trial, enum plan_step step, const char *kid) {
        struct plan_event *event;

        if (trial->plan->n_events == PLAN_EVENTS_MAX)
                return;
        event = &trial->plan->events[trial->plan->n_events++];
        *event = (struct plan_event) {
                .when = trial->now,
                .step = step,
                .verifiers = step != PLAN_ACTIVATE && trial->policy && !(step == PLAN_DESTROY && policy_is_solo(trial->policy)),
                .signers = (step == PLAN_ACTIVATE || step == PLAN_CREATE_AND_ACTIVATE) && trial->policy,
        };
        if (trial->present && keyset_find(trial->present, kid))
                (void) snprintf(event->kid, sizeof(event->kid), "%s", kid);
}

static int add_key(struct trial *trial, const struct key_times *times) {
        struct jwk *jwk;
        int r;

        r = stand_in(trial->policy, &jwk);
        if (r < 0)
                return r;
        add_event(trial, times->activates == TIME_NEVER ? PLAN_CREATE : PLAN_CREATE_AND_ACTIVATE, jwk_kid(jwk));
        r = lifecycle_add(trial->keyset, trial->policy, jwk, times);
        if (r < 0)
                jwk_free(jwk);
        return r;
}

static int64_t shortest(int64_t a, int64_t b) {
        return a < b ? a : b;
}

/* 0: nothing is to come. */
static int step(struct trial *trial) {
        const struct lifecycle_facts facts = {
                .known = true,
                .published = trial->keyset->generation,
                .verifiers = LIFECYCLE_ALL,
                .signers = LIFECYCLE_ALL,
        };
        struct lifecycle_result result;
        int r;

        r = lifecycle_advance(trial->policy, trial->keyset, &facts, trial->now, &result);
        for (size_t i = 0; r >= 0 && i < result.n_events; i++)
                if (result.events[i].type == LIFECYCLE_ACTIVATED || result.events[i].type == LIFECYCLE_DESTROYED)
                        add_event(trial, result.events[i].type == LIFECYCLE_ACTIVATED ? PLAN_ACTIVATE : PLAN_DESTROY, result.events[i].kid);
        if (r >= 0 && result.create)
                r = add_key(trial, &result.times);
        if (r < 0)
                return r;
        if (result.changed || result.create) {
                trial->keyset->generation++;
                return 1;
        }
        if (result.next == TIME_NEVER)
                return 0;
        trial->now = shortest(result.next, TIME_NEVER - 1);
        return 1;
}

int plan_make(const struct policy *policy, const struct keyset *keyset, int64_t now, struct plan *ret) {
        _cleanup_(keyset_freep) struct keyset *copy = NULL;
        struct plan plan = { .n_events = 0 };
        struct trial trial = { .policy = policy, .present = keyset, .plan = &plan, .now = now };
        _cleanup_free_ char *text = NULL;
        int r;

        r = keyset ? store_set_copy(keyset, &copy) : keyset_new(policy->environment, policy->name, &copy);
        if (r >= 0 && policy)
                r = policy_format(policy, &text);
        if (r >= 0 && policy && (!copy->policy || strcmp(text, copy->policy) != 0))
                r = lifecycle_adopt_policy(copy, policy, text, now);
        trial.keyset = copy;
        for (unsigned i = 0; r >= 0 && i < ROUNDS_MAX && plan.n_events < PLAN_EVENTS_MAX; i++) {
                r = step(&trial);
                if (r == 0)
                        break;
        }
        if (r < 0)
                return r;
        *ret = plan;
        return 0;
}
