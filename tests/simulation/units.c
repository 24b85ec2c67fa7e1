/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Services that start, read what is published for them, go on with it, and stop. And users' copies, which follow the ring. */

#include <stdio.h>
#include <string.h>

#include "roles.h"
#include "world.h"

static const char *const unit_names[] = {
        "billing.service",   "issuer.service",    "gateway@a.service", "gateway@b.service", "gateway@c.service",
        "portal.service",    "mailer.service",    "reader.service",
};

void units_init(struct world *world) {
        for (size_t i = 0; i < ELEMENTSOF(unit_names); i++) {
                struct unit *unit = &world->units[world->n_units++];

                (void) snprintf(unit->name, sizeof(unit->name), "%s", unit_names[i]);
                unit->section = strchr(unit_names[i], '@') ? "gateway@.service" : unit_names[i];
                unit->wanted = chance_percent(&world->plain, 90);
        }
        (void) snprintf(world->users.name, sizeof(world->users.name), "a user's session");
}

const struct delivery *unit_delivery(const struct unit *unit, const struct policy *policy) {
        for (size_t i = 0; policy && i < policy->n_deliveries; i++)
                if (strcmp(policy->deliveries[i].unit, unit->section) == 0)
                        return &policy->deliveries[i];
        return NULL;
}

static const struct delivery *carried(const struct world *world, const struct delivery *delivery, const struct snapshot *snapshot) {
        return delivery && snapshot->n_keys > 0 && format_carries(delivery->format, world->keys[snapshot->active].algorithm) ? delivery : NULL;
}

/* What is published for the unit: as the policy says, or as the one before said where that cannot carry the active key yet. */
static const struct delivery *published_delivery(const struct world *world, const struct unit *unit, const struct snapshot *snapshot) {
        const struct delivery *delivery = snapshot && snapshot->policy ? unit_delivery(unit, snapshot->policy->policy) : NULL;

        if (!delivery || carried(world, delivery, snapshot))
                return snapshot && snapshot->n_keys > 0 ? delivery : NULL;
        delivery = snapshot->previous ? carried(world, unit_delivery(unit, snapshot->previous->policy), snapshot) : NULL;
        return delivery && delivery->credential ? delivery : NULL;
}

bool unit_can_start(const struct world *world, const struct unit *unit) {
        const struct delivery *delivery = world->file ? unit_delivery(unit, world->file->policy) : NULL;

        return published_delivery(world, unit, world->ring) || !delivery || !delivery->credential;
}

static void let_go(struct world *world, struct unit *unit) {
        if (!unit->held)
                return;
        signing_end(world, unit);
        if (unit->serves)
                serving_end(world, unit->held);
        snapshot_unref(unit->held);
        unit->held = NULL;
}

static void hold(struct world *world, struct unit *unit, struct snapshot *snapshot) {
        snapshot = snapshot_ref(snapshot);
        let_go(world, unit);
        unit->held = snapshot;
        if (unit->holds_set)
                verifying_begin(world, unit);
        if (unit->serves)
                serving_begin(world, snapshot, unit->name);
        if (unit->signs)
                signing_begin(world, unit);
}

static void hold_delivery(struct world *world, struct unit *unit, const struct delivery *delivery, struct snapshot *snapshot) {
        const struct policy *policy = world->ring->policy->policy;
        const struct delivery *now = unit_delivery(unit, world->adopted->policy); /* delivery may still be as it was before an edit */
        bool symmetric = algorithm_is_symmetric(world->keys[snapshot->active].algorithm),
             signs = (delivery->use == USE_SIGN || policy_is_solo(policy)) && now && (now->use == USE_SIGN || policy_is_solo(world->adopted->policy)),
             holds_set = now && delivery_holds_set(world->adopted->policy, now) && delivery_holds_set(policy, delivery);

        let_go(world, unit);
        unit->signs = signs;
        unit->holds_set = holds_set && (delivery->use == USE_VERIFY || symmetric);
        unit->asymmetric_only = !delivery->credential || delivery->format == FORMAT_PEM;
        unit->serves = holds_set && delivery->use == USE_VERIFY && now->use == USE_VERIFY && delivery->on_change != ON_CHANGE_SIGNAL &&
                       delivery->on_change != ON_CHANGE_NONE;
        hold(world, unit, snapshot);
        world_trace(world, "%s %s generation %llu, active key %u%s%s", unit->name, delivery->credential ? "loads" : "reads the public file of",
                    (unsigned long long) snapshot->generation, snapshot->active, signs ? ", signs with it" : "",
                    unit->holds_set ? ", verifies with the set" : "");
}

/* --- Life of a unit ----------------------------------------------------------------------------------- */

void unit_start(struct world *world, struct unit *unit) {
        if (unit->state != UNIT_STOPPED || !world->up || !world->ring)
                return;
        unit->state = UNIT_STARTING;
        unit->invocation++;
        unit->consumer = false;
        unit->recorded = false;
        unit->loaded = 0;
        unit->failed_by_us = false;
        world_schedule(world, world->now + chance_between(&world->plain, 1, 400), EVENT_UNIT_READ, (unsigned) (unit - world->units),
                       unit->invocation);
}

void unit_stop(struct world *world, struct unit *unit) {
        let_go(world, unit);
        unit->state = UNIT_STOPPED;
        unit->consumer = false;
}

void unit_restart(struct world *world, unsigned which) {
        struct unit *unit = &world->units[which];

        unit->restart_planned = false;
        unit->failed_by_us = false;
        unit_stop(world, unit);
        unit_start(world, unit);
}

void unit_plan_restart(struct world *world, struct unit *unit, int64_t delay) {
        if (unit->restart_planned)
                return;
        unit->restart_planned = true;
        world_schedule(world, world->now + delay, EVENT_UNIT_RESTART, (unsigned) (unit - world->units), 0);
}

void units_start_wanted(struct world *world) {
        for (size_t i = 0; i < world->n_units; i++)
                if (world->units[i].wanted && world->units[i].state == UNIT_STOPPED)
                        unit_plan_restart(world, &world->units[i], chance_between(&world->plain, 1, 5 * SECOND));
}

void unit_read(struct world *world, unsigned which, unsigned invocation) {
        struct unit *unit = &world->units[which];
        const struct delivery *delivery = published_delivery(world, unit, world->ring);

        if (unit->state != UNIT_STARTING || unit->invocation != invocation)
                return;
        unit->state = UNIT_RUNNING;
        if (!delivery) {
                /* A unit of the policy is refused its credential and fails; another has nothing to do with us. */
                if (!unit_can_start(world, unit)) {
                        unit_stop(world, unit);
                        unit_plan_restart(world, unit, chance_between(&world->plain, SECOND, MINUTE));
                }
                return;
        }
        if (!delivery->credential && !world->jwks)
                return;
        unit->consumer = true;
        if (!delivery->credential && delivery->on_change == ON_CHANGE_NONE)
                return; /* it reads the file again before that is too old: a remote verifier like others */
        hold_delivery(world, unit, delivery, delivery->credential ? world->ring : world->jwks);
        if (delivery->credential)
                world_schedule(world, world->now + chance_between(&world->plain, 0, 50), EVENT_UNIT_RECORD, which, invocation);
        else
                unit_record(world, which, invocation); /* it was started after the file was replaced */
}

void unit_record(struct world *world, unsigned which, unsigned invocation) {
        struct unit *unit = &world->units[which];

        if (unit->invocation != invocation || !unit->held)
                return;
        unit->recorded = true;
        unit->loaded = unit->held->generation;
}

bool unit_reload(struct world *world, struct unit *unit) {
        const struct delivery *delivery = published_delivery(world, unit, world->ring);
        struct snapshot *from = delivery && delivery->credential ? world->ring : world->jwks;

        if (!delivery || !from)
                return false;
        hold_delivery(world, unit, delivery, from);
        unit->recorded = true;
        unit->loaded = from->generation;
        return true;
}

/* --- Users' copies ------------------------------------------------------------------------------------ */

void users_follow_ring(struct world *world) {
        const struct policy *policy = world->ring && world->ring->policy ? world->ring->policy->policy : NULL;
        struct unit *users = &world->users;

        if (!policy || policy->access.n_users + policy->access.n_groups == 0 || world->ring->n_keys == 0) {
                let_go(world, users);
                return;
        }
        users->signs = policy->access.use == USE_SIGN;
        users->holds_set = !users->signs;
        users->asymmetric_only = false;
        users->serves = false;
        hold(world, users, world->ring);
}
