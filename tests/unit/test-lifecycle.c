/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The steps of a rotation, one rule after another, with a virtual clock. tests/simulation/ puts them together. */

#include <errno.h>

#include "lifecycle.h"
#include "tap.h"

#define T0 INT64_C(1800000000)
#define DAY INT64_C(86400)
#define LEAD (300 + 60)
#define OVERLAP (900 + 60)

static struct delivery web_deliveries[] = {
        { .unit = (char *) "issuer.service", .credential = (char *) "key", .use = USE_SIGN, .format = FORMAT_PEM },
        { .unit = (char *) "gateway.service", .credential = (char *) "jwks", .use = USE_VERIFY, .format = FORMAT_JWKS },
};
static struct delivery solo_deliveries[] = {
        { .unit = (char *) "rest.service", .credential = (char *) "key", .use = USE_SIGN, .format = FORMAT_HEX },
};

#define PERIODS \
        .name = (char *) "billing", .environment = (char *) "test", .valid = true, .cryptoperiod = 30 * DAY, .token_lifetime = 900, \
        .jwks_max_age = 300, .clock_skew = 60

static const struct policy web = { PERIODS, .algorithm = ALGORITHM_ES256, .deliveries = web_deliveries, .n_deliveries = 2 };
static const struct policy solo = { PERIODS, .algorithm = ALGORITHM_HS256, .size = 32, .deliveries = solo_deliveries, .n_deliveries = 1 };

static const struct lifecycle_facts nobody_runs = {
        .known = true, .published = LIFECYCLE_ALL, .verifiers = LIFECYCLE_ALL, .signers = LIFECYCLE_ALL,
};

/* What every test stands on. */
static void must(bool condition) {
        if (!condition)
                abort();
}

static void add_key(struct keyset *keyset, const struct policy *policy, const struct key_times *times) {
        struct jwk *jwk;

        must(jwk_generate(policy->algorithm, algorithm_size_default(policy->algorithm), &jwk) == 0);
        must(lifecycle_add(keyset, policy, jwk, times) == 0);
}

/* One step, stored. */
static struct lifecycle_result advance(struct keyset *keyset, const struct policy *policy, const struct lifecycle_facts *facts, int64_t now) {
        struct lifecycle_result result;

        must(lifecycle_advance(policy, keyset, facts, now, &result) == 0);
        if (result.create)
                add_key(keyset, policy, &result.times);
        if (result.create || result.changed)
                keyset->generation++;
        return result;
}

/* A set with one active key since T0. */
static struct keyset *begin(const struct policy *policy) {
        struct keyset *keyset;
        struct lifecycle_result result;

        must(keyset_new("test", "billing", &keyset) == 0);
        result = advance(keyset, policy, &nobody_runs, T0);
        must(result.create && keyset->n_keys == 1);
        return keyset;
}

/* Until nothing changes. */
static struct lifecycle_result settle(struct keyset *keyset, const struct policy *policy, const struct lifecycle_facts *facts, int64_t now) {
        struct lifecycle_result result;

        for (int i = 0; i < 10; i++) {
                result = advance(keyset, policy, facts, now);
                if (!result.changed && !result.create)
                        return result;
        }
        must(!"it settles");
        return result;
}

static enum key_state state(const struct keyset *keyset, size_t index) {
        return key_state(keyset, &keyset->keys[index]);
}

TEST(first_key_signs_at_once) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_result result;

        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect_int(keyset->keys[0].times.deactivates, T0 + 30 * DAY);
        expect_int(keyset->keys[0].times.overlap, OVERLAP);
        expect_int(keyset->verify_generation, 1);
        expect_int(keyset->sign_generation, 1);
        result = advance(keyset, &web, &nobody_runs, T0);
        expect(!result.changed && !result.create);
        expect_int(result.next, T0 + 30 * DAY - LEAD);
}

TEST(rotation_takes_its_steps_in_order) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        int64_t end = T0 + 30 * DAY;
        struct lifecycle_result result;

        result = settle(keyset, &web, &nobody_runs, end - LEAD - 1);
        expect_int(keyset->n_keys, 1);
        result = settle(keyset, &web, &nobody_runs, end - LEAD);
        expect_int(keyset->n_keys, 2);
        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect_int(state(keyset, 1), KEY_PRE_ACTIVATION);
        expect_int(keyset->keys[1].times.published, end - LEAD + 1);
        expect_int(result.next, end + 1);

        result = settle(keyset, &web, &nobody_runs, end + 1);
        expect_int(state(keyset, 0), KEY_DEACTIVATED);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        expect_int(keyset->keys[0].times.destroys, end + 1 + OVERLAP + 1);
        expect_int(result.next, end + 1 + OVERLAP + 1);

        result = settle(keyset, &web, &nobody_runs, result.next);
        expect_int(keyset->n_keys, 1);
        expect_int(keyset->n_destroyed, 1);
        expect_string(keyset->destroyed[0].reason, "expired");
        expect_int(keyset->verify_generation, keyset->generation);
}

TEST(solo_secret_changes_its_key_in_one_step) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&solo);
        int64_t end = T0 + 30 * DAY;
        uint64_t verify_generation;
        struct lifecycle_result result;

        result = advance(keyset, &solo, &nobody_runs, end - 1);
        expect(!result.create);
        expect_int(result.next, end);
        result = advance(keyset, &solo, &nobody_runs, end);
        expect(result.create);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        result = settle(keyset, &solo, &nobody_runs, end);
        verify_generation = keyset->verify_generation;
        (void) settle(keyset, &solo, &nobody_runs, result.next);
        expect_int(keyset->n_keys, 1);
        expect_int(keyset->verify_generation, verify_generation); /* nobody is told of the destruction: one restart a rotation */
}

TEST(verifier_without_the_new_key_holds_activation_back) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_facts facts = nobody_runs;
        int64_t end = T0 + 30 * DAY;
        struct lifecycle_result result;

        facts.verifiers = facts.signers = 1;
        result = settle(keyset, &web, &facts, end - LEAD);
        expect_int(result.wait, LIFECYCLE_WAIT_VERIFIERS);
        expect_int(keyset->keys[1].times.published, TIME_NEVER);
        result = settle(keyset, &web, &facts, end + 100 * DAY);
        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect(result.overdue);

        /* It counts from when it was seen. */
        facts.verifiers = keyset->verify_generation;
        result = settle(keyset, &web, &facts, end + 100 * DAY);
        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect_int(result.next, end + 100 * DAY + LEAD + 1);
        (void) settle(keyset, &web, &facts, result.next);
        expect_int(state(keyset, 1), KEY_ACTIVE);
}

TEST(verifier_that_falls_back_holds_activation_back) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_facts facts = nobody_runs;
        int64_t end = T0 + 30 * DAY;

        (void) settle(keyset, &web, &nobody_runs, end - LEAD);
        facts.verifiers = 1;
        expect_int(settle(keyset, &web, &facts, end + 1).wait, LIFECYCLE_WAIT_VERIFIERS);
        expect_int(state(keyset, 0), KEY_ACTIVE);
}

TEST(what_is_not_published_is_no_evidence) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_facts facts = nobody_runs;
        int64_t end = T0 + 30 * DAY;

        facts.published = 1;
        (void) settle(keyset, &web, &facts, end - LEAD);
        expect_int(keyset->keys[1].times.published, TIME_NEVER);
        facts.published = keyset->generation;
        (void) settle(keyset, &web, &facts, end - LEAD);
        (void) advance(keyset, &web, &facts, end + 1);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        expect_int(settle(keyset, &web, &facts, end + 1).wait, LIFECYCLE_WAIT_SIGNERS);
        expect_int(keyset->keys[0].times.destroys, TIME_NEVER);
}

TEST(nothing_known_of_consumers_is_no_evidence) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_facts facts = nobody_runs;

        facts.known = false;
        (void) settle(keyset, &web, &facts, T0 + 300 * DAY);
        expect_int(keyset->n_keys, 2);
        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect_int(keyset->keys[1].times.published, TIME_NEVER);
}

TEST(signer_with_the_old_key_keeps_it_alive_and_holds_the_next_rotation) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_facts facts = nobody_runs;
        int64_t end = T0 + 30 * DAY;
        struct lifecycle_result result;

        (void) settle(keyset, &web, &nobody_runs, end - LEAD);
        facts.signers = 1;
        (void) settle(keyset, &web, &facts, end + 1);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        result = settle(keyset, &web, &facts, end + 300 * DAY);
        expect_int(result.wait, LIFECYCLE_WAIT_SIGNERS);
        expect_int(keyset->n_keys, 2);
        facts.signers = keyset->sign_generation;
        (void) advance(keyset, &web, &facts, end + 300 * DAY);
        expect_int(keyset->keys[0].times.destroys, end + 300 * DAY + OVERLAP + 1);
}

TEST(jitter_shortens_a_cryptoperiod_once) {
        struct lifecycle_facts facts = nobody_runs;
        struct policy jittered = web;
        struct lifecycle_result result;
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;

        jittered.jitter = 3600;
        facts.random = 3600 + 3601;
        expect_int(keyset_new("test", "billing", &keyset), 0);
        expect_int(lifecycle_advance(&jittered, keyset, &facts, T0, &result), 0);
        expect_int(result.times.deactivates, T0 + 30 * DAY - 3600);
}

TEST(revoked_key_is_gone_and_a_successor_signs_at_once) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        int64_t end = T0 + 30 * DAY;
        char kid[JWK_KID_MAX + 1];

        (void) settle(keyset, &web, &nobody_runs, end - LEAD);
        strcpy(kid, jwk_kid(keyset->keys[0].jwk));
        expect_int(lifecycle_revoke(keyset, &web, "no-such-key", end, 0), -ENOENT);
        expect_int(keyset->revoke_generation, 0);
        expect_int(lifecycle_revoke(keyset, &web, kid, end - LEAD, 0), 0);
        expect_int(keyset->revoke_generation, keyset->generation + 1);
        expect_int(keyset->n_keys, 1);
        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect_string(keyset->destroyed[0].kid, kid);
        expect_string(keyset->destroyed[0].reason, "compromised");
        expect_int(keyset->sign_generation, keyset->generation + 1);
        expect_int(keyset->verify_generation, keyset->generation + 1);
        expect_int(keyset->revoke_generation, keyset->generation + 1);
}

TEST(no_earlier_key_signs_again_after_a_revocation) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        int64_t end = T0 + 30 * DAY;
        struct key_times times;
        int64_t destroys;

        (void) settle(keyset, &web, &nobody_runs, end - LEAD);
        (void) settle(keyset, &web, &nobody_runs, end + 1);
        destroys = keyset->keys[0].times.destroys;
        expect_int(lifecycle_revoke(keyset, &web, jwk_kid(keyset->keys[1].jwk), end + 2, 0), 1);
        times = lifecycle_times_active(&web, end + 2, 0);
        add_key(keyset, &web, &times);
        expect_int(keyset->n_keys, 2);
        expect_int(state(keyset, 0), KEY_DEACTIVATED);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        expect_int(keyset->keys[0].times.destroys, destroys);
        expect_int(lifecycle_revoke(keyset, &web, NULL, end + 3, 0), 1);
        expect_int(keyset->n_keys, 0);
}

TEST(rollback_lets_the_previous_key_sign_while_it_lives) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        int64_t end = T0 + 30 * DAY;

        expect_int(lifecycle_rollback(keyset, &web, end, 0), -ENOENT);
        (void) settle(keyset, &web, &nobody_runs, end - LEAD);
        (void) settle(keyset, &web, &nobody_runs, end + 1);
        expect_int(lifecycle_rollback(keyset, &web, end + 1, 0), 0);
        keyset->generation++;
        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect_int(state(keyset, 1), KEY_DEACTIVATED);
        expect_int(keyset->keys[0].times.destroys, TIME_NEVER);
        expect(keyset->keys[0].times.activates > keyset->keys[1].times.activates);
        (void) settle(keyset, &web, &nobody_runs, end + 1);
        expect_int(keyset->keys[1].times.destroys, end + 1 + OVERLAP + 1);
}

TEST(forced_rotation_does_not_skip_a_step) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_result result;

        lifecycle_begin_rotation(keyset, T0 + 10);
        result = settle(keyset, &web, &nobody_runs, T0 + 10);
        expect_int(keyset->n_keys, 2);
        expect_int(state(keyset, 0), KEY_ACTIVE);
        expect_int(result.next, T0 + 10 + LEAD + 1);
}

TEST(another_algorithm_is_a_rotation) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct policy edited = web;
        struct lifecycle_result result;

        edited.algorithm = ALGORITHM_EDDSA;
        keyset->policy = strdup("[secret]\nenvironment = test\nalgorithm = ES256\n[access]\nusers = alice\n");
        expect_int(lifecycle_adopt_policy(keyset, &edited, "new", T0 + 10), 0);
        expect(keyset->previous);
        expect_string(keyset->policy, "new");
        result = settle(keyset, &edited, &nobody_runs, T0 + 10);
        expect_int(keyset->n_keys, 2);
        expect_int(state(keyset, 0), KEY_ACTIVE);
        result = settle(keyset, &edited, &nobody_runs, result.next);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        expect(keyset->previous);
        (void) settle(keyset, &edited, &nobody_runs, result.next);
        expect_int(keyset->n_keys, 1);
        expect(!keyset->previous);
}

TEST(a_public_set_that_is_cached_is_waited_for_also_when_its_last_key_is_gone) {
        static const char text[] = "[secret]\nenvironment = test\nalgorithm = HS256\n[rotation]\njwks_max_age = 5h\nclock_skew = 1min\n"
                                   "[deliver:rest.service]\nuse = sign\ncredential = key\nformat = hex\n";
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web), *symmetric = begin(&solo);

        must(keyset_destroy(keyset, 0, T0 + 5, "expired") == 0);
        (void) settle(keyset, &solo, &nobody_runs, T0 + 5);
        expect_int(keyset->n_keys, 1);
        keyset->policy = strdup(text);
        symmetric->policy = strdup(text);
        must(keyset->policy && symmetric->policy);
        expect_int(lifecycle_adopt_policy(keyset, &solo, "new", T0 + 10), 0);
        expect_int(keyset->caches_until, T0 + 10 + 5 * 3600 + 60 + 1);
        expect_int(lifecycle_adopt_policy(symmetric, &solo, "new", T0 + 10), 0);
        expect_int(symmetric->caches_until, 0);
}

TEST(longer_tokens_keep_keys_longer_and_shorter_ones_do_not_end_them_earlier) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct policy longer = web, shorter = web;

        longer.token_lifetime = 7200;
        shorter.token_lifetime = 60;
        expect_int(lifecycle_adopt_policy(keyset, &longer, "", T0 + 1), 0);
        expect_int(keyset->keys[0].times.overlap, 7260);
        expect_int(lifecycle_adopt_policy(keyset, &shorter, "", T0 + 2), 0);
        expect_int(keyset->keys[0].times.overlap, 7260);
}

TEST(clock_set_forward_by_years_ends_nothing) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        int64_t end = T0 + 30 * DAY, step = 3650 * DAY, destroys;
        struct lifecycle_result result;
        struct lifecycle_event event;

        (void) settle(keyset, &web, &nobody_runs, end - LEAD);
        (void) settle(keyset, &web, &nobody_runs, end + 1);
        destroys = keyset->keys[0].times.destroys;
        expect(lifecycle_follow_clock(keyset, step, &event));
        expect_int(event.type, LIFECYCLE_CLOCK);
        expect_int(event.seconds, step);
        expect_int(keyset->keys[0].times.destroys, destroys + step + 1);
        result = settle(keyset, &web, &nobody_runs, end + 2 + step);
        expect_int(keyset->n_keys, 2);
        expect_int(result.next, destroys + step + 1);
}

TEST(clock_set_back_by_years_does_not_stop_rotations) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        int64_t step = -3650 * DAY;
        struct lifecycle_result result;
        struct lifecycle_event event;

        expect(lifecycle_follow_clock(keyset, step, &event));
        result = settle(keyset, &web, &nobody_runs, T0 + 5 + step);
        expect_int(result.next, T0 + step + 30 * DAY - LEAD);

        /* The next key's cryptoperiod is no longer than any other's, though its activation must come after the former one's. */
        (void) settle(keyset, &web, &nobody_runs, result.next);
        (void) settle(keyset, &web, &nobody_runs, result.next + LEAD + 1);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        expect_int(keyset->keys[1].times.deactivates, result.next + LEAD + 1 + 30 * DAY);
}

TEST(clock_set_back_by_hours_keeps_keys_of_tokens_that_are_dated_ahead) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_event event;

        expect(lifecycle_follow_clock(keyset, -3600, &event));
        expect_int(keyset->keys[0].times.overlap, OVERLAP + 3600);
}

TEST(clock_that_was_set_by_a_second_is_not_noticed) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_event event;

        expect(!lifecycle_follow_clock(keyset, LIFECYCLE_CLOCK_TOLERANCE, &event));
        expect(!lifecycle_follow_clock(keyset, -LIFECYCLE_CLOCK_TOLERANCE, &event));
        expect_int(keyset->keys[0].times.deactivates, T0 + 30 * DAY);
}

TEST(after_a_boot_without_a_time_server_waiting_counts_anew) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        int64_t end = T0 + 30 * DAY, boot = end + 1000 * DAY;

        expect(!lifecycle_distrust_clock(keyset, boot)); /* nothing waits */
        (void) settle(keyset, &web, &nobody_runs, end - LEAD);
        expect(lifecycle_distrust_clock(keyset, boot));
        (void) settle(keyset, &web, &nobody_runs, boot + LEAD - 1);
        expect_int(state(keyset, 1), KEY_PRE_ACTIVATION);
        (void) settle(keyset, &web, &nobody_runs, boot + LEAD);
        expect_int(state(keyset, 1), KEY_ACTIVE);
        expect(lifecycle_distrust_clock(keyset, boot + DAY));
        expect_int(keyset->keys[0].times.destroys, boot + DAY + OVERLAP + 1);
        expect(lifecycle_distrust_clock(keyset, boot));
        expect_int(keyset->keys[0].times.destroys, boot + DAY + OVERLAP + 1);
}

TEST(window_holds_what_restarts_units_and_nothing_else) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct policy windowed = web;
        int64_t due = T0 + 30 * DAY - LEAD;
        struct lifecycle_result result;

        expect_int(window_parse("Sun 02:00-04:00", &windowed.window), 0);
        result = advance(keyset, &windowed, &nobody_runs, due);
        expect(!result.create);
        expect_int(result.next, window_next(&windowed.window, due));
        result = advance(keyset, &windowed, &nobody_runs, result.next);
        expect(result.create);
}

TEST(retired_secret_is_destroyed_only_when_told_and_when_no_token_is_out) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
        struct lifecycle_facts facts = nobody_runs;
        struct lifecycle_result result;

        result = settle(keyset, NULL, &facts, T0 + 100);
        expect_int(keyset->retired, T0 + 100);
        expect_int(result.next, TIME_NEVER);
        (void) settle(keyset, NULL, &facts, T0 + 1000 * DAY);
        expect_int(keyset->n_keys, 1);

        keyset->destroy = true;
        facts.signers = 1;
        expect_int(settle(keyset, NULL, &facts, T0 + 1000 * DAY).wait, LIFECYCLE_WAIT_SIGNERS);
        result = settle(keyset, NULL, &nobody_runs, T0 + 1000 * DAY);
        expect_int(result.next, T0 + 1000 * DAY + OVERLAP + 1);
        (void) settle(keyset, NULL, &nobody_runs, result.next);
        expect_int(keyset->n_keys, 0);
        expect_int(keyset->n_destroyed, 1);
}

TEST(policy_that_comes_back_takes_the_end_back) {
        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);

        keyset->destroy = true;
        (void) settle(keyset, NULL, &nobody_runs, T0 + 100);
        expect(keyset->keys[0].times.destroys != TIME_NEVER);
        (void) advance(keyset, &web, &nobody_runs, T0 + 101);
        expect_int(keyset->retired, TIME_NEVER);
        expect(!keyset->destroy);
        expect_int(keyset->keys[0].times.destroys, TIME_NEVER);
        expect_int(state(keyset, 0), KEY_ACTIVE);
}

TEST(extreme_times_overflow_nothing) {
        static const int64_t extremes[] = { INT64_MIN, INT64_MIN + 1, -1, 0, INT64_MAX - 1, INT64_MAX };

        for (size_t i = 0; i < ELEMENTSOF(extremes); i++)
                for (size_t j = 0; j < ELEMENTSOF(extremes); j++) {
                        _cleanup_(keyset_freep) struct keyset *keyset = begin(&web);
                        struct lifecycle_result result;
                        struct lifecycle_event event;

                        (void) lifecycle_follow_clock(keyset, extremes[j], &event);
                        expect_int(lifecycle_advance(&web, keyset, &nobody_runs, extremes[i], &result), 0);
                        expect(keyset_active(keyset));
                }
}

int main(void) {
        if (jwk_init() < 0)
                return EXIT_FAILURE;
        return tap_main();
}
