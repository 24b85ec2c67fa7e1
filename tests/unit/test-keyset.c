/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sets of keys: which key is which, whatever the order in which they stand, and what stays of one that goes. */

#include "keyset.h"
#include "tap.h"

#define WAITS TIME_NEVER

/* What every test stands on. */
static void must(bool condition) {
        if (!condition)
                abort();
}

static struct keyset *new_set(void) {
        struct keyset *keyset;

        must(keyset_new("test", "billing", &keyset) == 0);
        return keyset;
}

static const char *add(struct keyset *keyset, enum algorithm algorithm, int64_t created, int64_t activates) {
        const struct key_times times = {
                .created = created,
                .published = created,
                .activates = activates,
                .deactivates = TIME_NEVER,
                .destroys = TIME_NEVER,
                .overlap = 960,
        };
        struct jwk *jwk;

        must(jwk_generate(algorithm, algorithm_size_default(algorithm), &jwk) == 0);
        must(keyset_add(keyset, jwk, &times) == 0);
        return jwk_kid(jwk);
}

/* A set with a key for each of these activations, in this order. */
static struct keyset *set_of(const int64_t activates[], size_t n) {
        struct keyset *keyset = new_set();

        for (size_t i = 0; i < n; i++)
                (void) add(keyset, ALGORITHM_HS256, (int64_t) i, activates[i]);
        return keyset;
}

TEST(an_empty_set_has_no_key_of_any_kind) {
        _cleanup_(keyset_freep) struct keyset *keyset = new_set();

        expect_string(keyset->environment, "test");
        expect_string(keyset->name, "billing");
        expect_int(keyset->generation, 0);
        expect_int(keyset->retired, TIME_NEVER);
        expect(!keyset->destroy && !keyset->policy && !keyset->previous);
        expect_string(keyset->clock.boot_id, "");
        expect(!keyset_active(keyset) && !keyset_successor(keyset) && !keyset_previous(keyset) && !keyset_find(keyset, ""));
}

TEST(a_key_that_was_never_activated_is_a_successor_only) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ WAITS }, 1);

        expect(!keyset_active(keyset) && !keyset_previous(keyset));
        expect(keyset_successor(keyset) == &keyset->keys[0]);
        expect_int(key_state(keyset, &keyset->keys[0]), KEY_PRE_ACTIVATION);
}

TEST(a_single_key_that_was_activated_signs_and_has_no_predecessor) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ 0 }, 1);

        expect(keyset_active(keyset) == &keyset->keys[0]);
        expect(!keyset_successor(keyset) && !keyset_previous(keyset));
        expect_int(key_state(keyset, &keyset->keys[0]), KEY_ACTIVE);
}

/* Two that have signed before, one that signs, two that wait; in the order in which they are put into order[]. */
static bool holds_in_order(const int64_t order[static 5]) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of(order, 5);
        const struct key *active = keyset_active(keyset), *previous = keyset_previous(keyset), *successor = keyset_successor(keyset);
        size_t newest = 5;

        while (order[--newest] != WAITS)
                ;
        if (!active || active->times.activates != 30 || !previous || previous->times.activates != 20 || successor != &keyset->keys[newest])
                return false;
        for (size_t i = 0; i < 5; i++) {
                const struct key *key = &keyset->keys[i];
                enum key_state wanted = order[i] == WAITS ? KEY_PRE_ACTIVATION : order[i] == 30 ? KEY_ACTIVE : KEY_DEACTIVATED;

                if (key_state(keyset, key) != wanted || keyset_find(keyset, jwk_kid(key->jwk)) != key)
                        return false;
        }
        return true;
}

static void swap(int64_t *a, int64_t *b) {
        int64_t moved = *a;

        *a = *b;
        *b = moved;
}

/* Of all orders of the last n, counts those for which it does not hold. */
static unsigned count_failures(int64_t order[static 5], size_t n) {
        unsigned failures = 0;

        if (n == 0) {
                if (holds_in_order(order))
                        return 0;
                printf("# not in the order");
                for (size_t i = 0; i < 5; i++)
                        printf(" %lld", order[i] == WAITS ? -1LL : (long long) order[i]);
                printf("\n");
                return 1;
        }
        for (size_t i = 5 - n; i < 5; i++) {
                swap(&order[5 - n], &order[i]);
                failures += count_failures(order, n - 1);
                swap(&order[5 - n], &order[i]);
        }
        return failures;
}

TEST(active_previous_and_successor_are_found_in_every_order) {
        int64_t order[] = { 10, 20, 30, WAITS, WAITS };

        expect_int(count_failures(order, 5), 0);
}

TEST(of_two_that_were_activated_in_one_second_the_newer_signs) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ 10, 10 }, 2);

        expect(keyset_active(keyset) == &keyset->keys[1]);
        expect(keyset_previous(keyset) == &keyset->keys[0]);
        expect_int(key_state(keyset, &keyset->keys[0]), KEY_DEACTIVATED);
}

TEST(of_two_predecessors_of_one_second_the_newer_is_gone_back_to) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ 10, 10, 20 }, 3);

        expect(keyset_previous(keyset) == &keyset->keys[1]);
}

TEST(an_activation_before_1970_counts_as_any_other) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ -5, INT64_MIN, -7 }, 3);

        expect(keyset_active(keyset) == &keyset->keys[0]);
        expect(keyset_previous(keyset) == &keyset->keys[2]);
}

TEST(only_a_whole_kid_finds_its_key) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ 10, WAITS }, 2);
        char kid[JWK_KID_MAX + 2] = "";

        (void) snprintf(kid, sizeof(kid), "%s", jwk_kid(keyset->keys[1].jwk));
        expect(keyset_find(keyset, kid) == &keyset->keys[1]);
        kid[strlen(kid) - 1] = '\0';
        expect(!keyset_find(keyset, kid));
        (void) snprintf(kid, sizeof(kid), "%s.", jwk_kid(keyset->keys[1].jwk));
        expect(!keyset_find(keyset, kid));
        expect(!keyset_find(keyset, ""));
}

TEST(a_destroyed_key_leaves_kid_algorithm_times_and_reason) {
        _cleanup_(keyset_freep) struct keyset *keyset = new_set();
        const struct tombstone *tombstone;
        char kid[JWK_KID_MAX + 1];

        (void) add(keyset, ALGORITHM_HS256, 1, 10);
        (void) snprintf(kid, sizeof(kid), "%s", add(keyset, ALGORITHM_ES256, 2, 20));
        expect_int(keyset_destroy(keyset, 1, 777, "compromised"), 0);
        expect_int(keyset->n_keys, 1);
        expect_int(keyset->n_destroyed, 1);
        tombstone = &keyset->destroyed[0];
        expect_string(tombstone->kid, kid);
        expect_int(tombstone->algorithm, ALGORITHM_ES256);
        expect_string(tombstone->reason, "compromised");
        expect_int(tombstone->times.created, 2);
        expect_int(tombstone->times.published, 2);
        expect_int(tombstone->times.activates, 20);
        expect_int(tombstone->times.deactivates, TIME_NEVER);
        expect_int(tombstone->times.overlap, 960);
        expect_int(tombstone->times.destroys, 777);
        expect(!keyset_find(keyset, kid));
        expect(keyset_active(keyset) == &keyset->keys[0]);
}

TEST(the_other_keys_stay_in_their_order) {
        for (size_t gone = 0; gone < 3; gone++) {
                _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ 10, 20, WAITS }, 3);

                expect_int(keyset_destroy(keyset, gone, 1, "expired"), 0);
                expect_int(keyset->n_keys, 2);
                expect_int(keyset->keys[0].times.created, gone == 0 ? 1 : 0);
                expect_int(keyset->keys[1].times.created, gone == 2 ? 1 : 2);
        }
}

TEST(a_set_can_lose_every_key_and_gain_new_ones) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ 10, 20, WAITS }, 3);

        while (keyset->n_keys > 0)
                expect_int(keyset_destroy(keyset, keyset->n_keys - 1, 1, "retired"), 0);
        expect(!keyset_active(keyset) && !keyset_successor(keyset) && !keyset_previous(keyset));
        expect_int(keyset->n_destroyed, 3);
        (void) add(keyset, ALGORITHM_HS256, 5, 50);
        expect(keyset_active(keyset) == &keyset->keys[0]);
}

TEST(the_oldest_tombstones_are_forgotten) {
        _cleanup_(keyset_freep) struct keyset *keyset = new_set();

        for (int64_t i = 0; i < KEYSET_TOMBSTONES_MAX + 5; i++) {
                (void) add(keyset, ALGORITHM_HS256, i, i);
                expect_int(keyset_destroy(keyset, 0, i, "expired"), 0);
                expect_int(keyset->n_destroyed, i < KEYSET_TOMBSTONES_MAX ? i + 1 : KEYSET_TOMBSTONES_MAX);
        }
        for (int64_t i = 0; i < KEYSET_TOMBSTONES_MAX; i++) {
                expect_int(keyset->destroyed[i].times.destroys, i + 5);
                expect(keyset->destroyed[i].kid && keyset->destroyed[i].reason);
        }
}

TEST(an_outline_has_what_evidence_is_compared_with_and_no_key) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_of((const int64_t[]){ 10, WAITS }, 2), *outline = NULL;

        expect_int(keyset_destroy(keyset, 1, 1, "expired"), 0);
        keyset->generation = 7;
        keyset->verify_generation = 6;
        keyset->sign_generation = 5;
        keyset->revoke_generation = 4;
        keyset->retired = 4;
        keyset->policy = strdup("policy");
        keyset->previous = strdup("previous");
        keyset->clock = (struct keyset_clock) { .boot_id = "0123456789abcdef0123456789abcdef", .now = 3, .offset = 2 };

        expect_int(keyset_outline(keyset, &outline), 0);
        expect_string(outline->environment, "test");
        expect_string(outline->name, "billing");
        expect(outline->environment != keyset->environment && outline->name != keyset->name);
        expect_int(outline->generation, 7);
        expect_int(outline->verify_generation, 6);
        expect_int(outline->sign_generation, 5);
        expect_int(outline->revoke_generation, 4);
        expect_int(outline->retired, 4);
        expect_string(outline->clock.boot_id, keyset->clock.boot_id);
        expect_int(outline->clock.now, 3);
        expect_int(outline->clock.offset, 2);
        expect_int(outline->n_keys, 0);
        expect_int(outline->n_destroyed, 0);
        expect(!outline->keys && !outline->destroyed && !outline->policy && !outline->previous);
}

TEST(states_have_the_names_of_nist_sp_800_57) {
        expect_string(key_state_to_string(KEY_PRE_ACTIVATION), "pre-activation");
        expect_string(key_state_to_string(KEY_ACTIVE), "active");
        expect_string(key_state_to_string(KEY_DEACTIVATED), "deactivated");
}

int main(void) {
        if (jwk_init() < 0)
                return EXIT_FAILURE;
        return tap_main();
}
