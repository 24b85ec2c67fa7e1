/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PLAN_H
#define KEYROTA_PLAN_H

/* What will happen to a secret's keys if every service does what it is told. Pure but for making stand-in keys; calls lifecycle, store-set, jwk. */

#include "keyset.h"
#include "policy.h"

enum plan_step { PLAN_CREATE, PLAN_ACTIVATE, PLAN_CREATE_AND_ACTIVATE, PLAN_DESTROY };

struct plan_event {
        int64_t when;
        enum plan_step step;
        char kid[JWK_KID_MAX + 1]; /* "": of a key that is not there yet */
        bool verifiers;            /* those who hold the set are told */
        bool signers;              /* those who follow the active key are told */
};

#define PLAN_EVENTS_MAX 8

struct plan {
        struct plan_event events[PLAN_EVENTS_MAX];
        size_t n_events;
};

/* From now on, PLAN_EVENTS_MAX events. policy NULL: it was removed. keyset NULL: no key yet. */
int plan_make(const struct policy *policy, const struct keyset *keyset, int64_t now, struct plan *ret);

#endif
