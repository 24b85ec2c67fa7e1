/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is durable, through the real encoding of src/store-set.c, and what is published of it. */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store-set.h"
#include "world.h"

static struct keyset *decode(struct world *world) {
        _cleanup_free_ char *reason = NULL;
        struct keyset *keyset = NULL;
        int r;

        if (world->stored)
                r = store_set_decode(world->stored, "test", "simulated", &keyset, &reason);
        else
                r = keyset_new("test", "simulated", &keyset);
        if (r < 0) {
                (void) fprintf(stderr, "what was stored cannot be read: %s: %s\n", strerror(-r), reason ? reason : "");
                abort();
        }
        keyset->generation = world->generation;
        return keyset;
}

struct keyset *stored_load(struct world *world) {
        struct keyset *keyset = world->loaded ? world->loaded : decode(world);

        world->loaded = NULL;
        return keyset;
}

static struct policy_text *parse_again(struct world *world, const char *text) {
        struct policy_text *policy = text ? policy_text_new(world, text) : NULL;

        if (text && (!policy || strcmp(policy->text, text) != 0))
                world_fail(world, "the stored policy does not read back as it was written");
        return policy;
}

static void note_policies(struct world *world, const struct run *run, const struct keyset *keyset) {
        if (keyset->policy && (!world->adopted || strcmp(world->adopted->text, keyset->policy) != 0)) {
                struct policy_text *policy = parse_again(world, keyset->policy);

                if (!policy)
                        return;
                rules_count_time(world);
                world->n_reasons++;
                validity_adopt(world, policy, run->passed_at);
                policy_text_unref(policy);
        }
        if (keyset->previous ? !world->outdated || strcmp(world->outdated->text, keyset->previous) != 0 : world->outdated != NULL) {
                policy_text_unref(world->outdated);
                world->outdated = parse_again(world, keyset->previous);
        }
}

static void note_keys(struct world *world, const struct keyset *keyset) {
        for (size_t i = 0; i < keyset->n_keys; i++) {
                const char *kid = jwk_kid(keyset->keys[i].jwk);

                if (key_find(world, kid) < 0) {
                        unsigned k = key_add(world, kid, jwk_algorithm(keyset->keys[i].jwk), keyset->generation);

                        world->n_creations++;
                        world_trace(world, "key %u is made", k);
                }
        }
}

static void trace_keys(const struct world *world, const struct keyset *keyset) {
        char line[400] = "";
        size_t length = 0;

        if (!world->trace)
                return;
        for (size_t i = 0; i < keyset->n_keys && length < sizeof(line) - 64; i++) {
                const struct key *key = &keyset->keys[i];
                int64_t end = key_state(keyset, key) == KEY_DEACTIVATED ? key->times.destroys : key->times.deactivates, now = world_clock(world);

                length += (size_t) snprintf(line + length, sizeof(line) - length, " %d:%s", key_find(world, jwk_kid(key->jwk)),
                                            key_state_to_string(key_state(keyset, key)));
                if (end != TIME_NEVER)
                        length += (size_t) snprintf(line + length, sizeof(line) - length, "(%+llds)", (long long) (end - now));
        }
        world_trace(world, "stored as generation %llu (verify %llu, sign %llu):%s", (unsigned long long) keyset->generation,
                    (unsigned long long) keyset->verify_generation, (unsigned long long) keyset->sign_generation, line);
}

/* They cost most of the time. Some hosts keep as many as keyset.c does. */
static void forget_tombstones(const struct world *world, struct keyset *keyset) {
        while (world->seed % 10 > 0 && keyset->n_destroyed > 2) {
                free(keyset->destroyed[0].kid);
                free(keyset->destroyed[0].reason);
                memmove(keyset->destroyed, keyset->destroyed + 1, --keyset->n_destroyed * sizeof(keyset->destroyed[0]));
        }
}

void stored_commit(struct world *world, struct run *run) {
        struct keyset *keyset = run->keyset;
        _cleanup_(secret_freep) struct secret *text = NULL;
        int r;

        keyset->generation = world->generation + 1;
        note_keys(world, keyset);
        rules_expect_no_storm(world);
        rules_before_commit(world, run, keyset);
        rules_after_settling(world, run, keyset);
        run->revoked = -1;
        forget_tombstones(world, keyset);
        r = store_set_encode(keyset, &text);
        assert(r >= 0);
        secret_free(world->stored);
        world->stored = TAKE_PTR(text);
        world->generation = keyset->generation;
        trace_keys(world, keyset);
        note_policies(world, run, keyset);
        keyset_free(world->loaded);
        world->loaded = TAKE_PTR(run->keyset);
        if (chance_below(&world->plain, 8) == 0) {
                keyset_free(world->loaded);
                world->loaded = decode(world);
        }
}

/* --- Publish ------------------------------------------------------------------------------------------------- */

static struct snapshot *make_snapshot(struct world *world, const struct run *run) {
        struct snapshot *snapshot = snapshot_new(world, world->loaded);

        snapshot->policy = run->policy_removed ? NULL : policy_text_ref(world->adopted);
        snapshot->previous = run->policy_removed ? NULL : policy_text_ref(world->outdated);
        return snapshot;
}

static void expect_nothing_compromised(struct world *world, const struct snapshot *snapshot) {
        for (size_t i = 0; i < snapshot->n_keys; i++)
                if (world->keys[snapshot->keys[i]].compromised)
                        world_fail(world, "key %u was revoked and is published", snapshot->keys[i]);
}

void publish_ring(struct world *world, const struct run *run) {
        bool first = !world->ring;

        if (!world->loaded)
                world->loaded = decode(world);
        snapshot_unref(world->ring);
        world->ring = make_snapshot(world, run);
        expect_nothing_compromised(world, world->ring);
        world_trace(world, "the keyring has generation %llu", (unsigned long long) world->generation);
        users_follow_ring(world);
        if (first)
                units_start_wanted(world);
}

void publish_file(struct world *world) {
        struct snapshot *old = world->jwks;

        world->jwks = snapshot_ref(world->ring);
        if (old)
                serving_end(world, old);
        serving_begin(world, world->jwks, "who reads the public file");
        snapshot_unref(old);
        world_trace(world, "the public file has generation %llu", (unsigned long long) world->jwks->generation);
}
