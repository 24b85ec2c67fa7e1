/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Invariant 1: a token verifies, for its whole life, with every set that a running verifier may then hold.
 *
 * Tokens and caches are not drawn by lot. A signer is taken to issue tokens of the full token_lifetime at every instant at which it runs, a remote verifier
 * to fetch at every instant from every place that shows a set, and any two clocks to differ by all of clock_skew. So the world knows, for each key, until
 * when any token signed with it may be presented, and for each set, until when anybody may verify with it. When a key comes to sign it must be in
 * each of those sets; when a set comes to be held it must have each of those keys. In between both only become fewer.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "roles.h"
#include "world.h"

static int64_t token_span(const struct world *world) {
        return policy_overlap(world->adopted->policy) * SECOND;
}

static int64_t cache_span(const struct world *world) {
        return policy_prepublish(world->adopted->policy) * SECOND;
}

static void lease_keep(struct lease *lease, int64_t until) {
        if (lease->until < until)
                lease->until = until;
}

static bool lease_lives(const struct lease *lease, int64_t now) {
        return lease->holders > 0 || lease->until > now;
}

/* --- Keys -------------------------------------------------------------------------------------------- */

int key_find(const struct world *world, const char *kid) {
        for (size_t i = world->n_keys; i > 0; i--)
                if (strcmp(world->keys[i - 1].kid, kid) == 0)
                        return (int) i - 1;
        return -1;
}

unsigned key_add(struct world *world, const char *kid, enum algorithm algorithm, uint64_t born) {
        struct world_key *key;

        if (world->n_keys == world->keys_size) {
                world->keys_size = world->keys_size ? 2 * world->keys_size : 32;
                world->keys = reallocarray(world->keys, world->keys_size, sizeof(*world->keys));
                assert(world->keys);
        }
        key = &world->keys[world->n_keys];
        *key = (struct world_key) { .algorithm = algorithm, .born = born, .left_seen = NEVER };
        if (world->adopted)
                key->overlap = token_span(world);
        strncpy(key->kid, kid, sizeof(key->kid) - 1);
        return (unsigned) world->n_keys++;
}

/* --- Sets -------------------------------------------------------------------------------------------- */

struct snapshot *snapshot_new(struct world *world, const struct keyset *keyset) {
        const struct key *active = keyset_active(keyset);
        struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

        assert(snapshot && keyset->n_keys <= SNAPSHOT_KEYS_MAX);
        snapshot->generation = keyset->generation;
        for (size_t i = 0; i < keyset->n_keys; i++) {
                snapshot->keys[snapshot->n_keys] = (unsigned) key_find(world, jwk_kid(keyset->keys[i].jwk));
                if (&keyset->keys[i] == active)
                        snapshot->active = snapshot->keys[snapshot->n_keys];
                snapshot->n_keys++;
        }
        snapshot->references = 1;
        snapshot->next = world->snapshots;
        world->snapshots = snapshot;
        return snapshot;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot) {
        if (snapshot)
                snapshot->references++;
        return snapshot;
}

void snapshot_unref(struct snapshot *snapshot) {
        if (snapshot)
                snapshot->references--;
}

void snapshots_forget(struct world *world, bool all) {
        struct snapshot **link = &world->snapshots, *snapshot;

        while ((snapshot = *link)) {
                if (!all && (snapshot->references > 0 || lease_lives(&snapshot->caches, world->now))) {
                        link = &snapshot->next;
                        continue;
                }
                *link = snapshot->next;
                policy_text_unref(snapshot->policy);
                policy_text_unref(snapshot->previous);
                free(snapshot);
        }
}

bool snapshot_has(const struct snapshot *snapshot, unsigned key) {
        for (size_t i = 0; i < snapshot->n_keys; i++)
                if (snapshot->keys[i] == key)
                        return true;
        return false;
}

/* --- The promise ------------------------------------------------------------------------------------- */

static void expect_verifies(struct world *world, unsigned k, const struct snapshot *snapshot, bool asymmetric_only, const char *who) {
        const struct world_key *key = &world->keys[k];

        world->n_checks++;
        if (key->compromised || (asymmetric_only && algorithm_is_symmetric(key->algorithm)) || snapshot_has(snapshot, k))
                return;
        if (key->unannounced && snapshot->generation < key->born)
                return;
        world_fail(world, "%s may verify with the set of generation %" PRIu64 ", which lacks key %u (born in %" PRIu64 "): %s", who,
                   snapshot->generation, k, key->born,
                   key->signing.holders > 0 ? "it signs now" : "tokens signed with it are out");
}

static bool verifies_now(const struct unit *unit) {
        return unit->held && unit->holds_set;
}

/* A key comes to sign. */
static void expect_known(struct world *world, unsigned k) {
        for (size_t i = 0; i < world->n_units; i++)
                if (verifies_now(&world->units[i]))
                        expect_verifies(world, k, world->units[i].held, world->units[i].asymmetric_only, world->units[i].name);
        if (verifies_now(&world->users))
                expect_verifies(world, k, world->users.held, world->users.asymmetric_only, world->users.name);
        for (const struct snapshot *s = world->snapshots; s; s = s->next)
                if (lease_lives(&s->caches, world->now))
                        expect_verifies(world, k, s, true, s->caches.holders > 0 ? "a remote verifier that fetches now" : "a remote verifier's cache");
}

/* A set comes to be held. */
static void expect_complete(struct world *world, const struct snapshot *snapshot, bool asymmetric_only, const char *who) {
        for (unsigned k = 0; k < world->n_keys; k++)
                if (lease_lives(&world->keys[k].signing, world->now))
                        expect_verifies(world, k, snapshot, asymmetric_only, who);
}

/* Of a symmetric secret there is no public set. */
static bool is_public(const struct world *world, const struct snapshot *snapshot) {
        for (size_t i = 0; i < snapshot->n_keys; i++)
                if (!algorithm_is_symmetric(world->keys[snapshot->keys[i]].algorithm))
                        return true;
        return false;
}

void serving_begin(struct world *world, struct snapshot *snapshot, const char *who) {
        if (!is_public(world, snapshot))
                return;
        snapshot->caches.holders++;
        expect_complete(world, snapshot, true, who);
}

void serving_end(struct world *world, struct snapshot *snapshot) {
        if (!is_public(world, snapshot))
                return;
        snapshot->caches.holders--;
        lease_keep(&snapshot->caches, world->now + cache_span(world));
}

void signing_begin(struct world *world, struct unit *unit) {
        unit->counts = true;
        unit->signing_key = unit->held->active;
        world->keys[unit->signing_key].signing.holders++;
        expect_known(world, unit->signing_key);
}

void signing_end(struct world *world, struct unit *unit) {
        struct lease *lease = &world->keys[unit->signing_key].signing;

        if (!unit->counts)
                return;
        unit->counts = false;
        lease->holders--;
        lease_keep(lease, world->now + token_span(world));
}

void verifying_begin(struct world *world, const struct unit *unit) {
        expect_complete(world, unit->held, unit->asymmetric_only, unit->name);
}

/* --- Another policy ---------------------------------------------------------------------------------- */

/* Who is no signer any more in the new policy has no promise for what it goes on to sign; who is no verifier with the whole set any more, none that it
 * gets each new key first. */
static void count_under(struct world *world, struct unit *unit, bool signs, bool holds_set) {
        if (!signs)
                signing_end(world, unit);
        if (holds_set || !unit->held)
                return;
        if (unit->serves)
                serving_end(world, unit->held);
        unit->holds_set = unit->serves = false;
}

void validity_adopt(struct world *world, struct policy_text *policy, int64_t since) {
        const struct access *access = &policy->policy->access;
        struct policy_text *old = world->adopted;

        if (old) {
                for (size_t i = 0; i < world->n_keys; i++)
                        if (world->keys[i].signing.holders > 0)
                                lease_keep(&world->keys[i].signing, since + token_span(world));
                for (struct snapshot *s = world->snapshots; s; s = s->next)
                        if (s->caches.holders > 0)
                                lease_keep(&s->caches, since + cache_span(world));

                for (size_t i = 0; i < world->n_units; i++) {
                        const struct delivery *delivery = unit_delivery(&world->units[i], policy->policy);

                        count_under(world, &world->units[i], delivery && (delivery->use == USE_SIGN || policy_is_solo(policy->policy)),
                                    delivery && delivery_holds_set(policy->policy, delivery) &&
                                                    (delivery->credential || delivery->on_change != ON_CHANGE_NONE));
                }
                count_under(world, &world->users, access->n_users + access->n_groups > 0 && access->use == USE_SIGN,
                            access->n_users + access->n_groups > 0 && access->use == USE_VERIFY);
        }
        world->adopted = policy_text_ref(policy);
        policy_text_unref(old);
        for (size_t i = 0; i < world->n_keys; i++)
                if (world->keys[i].overlap < token_span(world))
                        world->keys[i].overlap = token_span(world);
}
