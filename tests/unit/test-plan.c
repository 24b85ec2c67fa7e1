/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What keyrota plan foretells, for each kind of policy. That the lifecycle then does so is test-lifecycle's and the simulation's. */

#include <inttypes.h>

#include "lifecycle.h"
#include "plan.h"
#include "store-set.h"
#include "tap.h"

#define T0 INT64_C(1800000000) /* a Friday, 08:00 UTC */
#define HOUR INT64_C(3600)
#define DAY (24 * HOUR)
#define LEAD (300 + 60)
#define OVERLAP (900 + 60)
#define END (T0 + 30 * DAY)

#define SECRET(algorithm) "[secret]\nenvironment = test\nalgorithm = " algorithm "\n"
#define ROTATION "[rotation]\ncryptoperiod = 30d\ntoken_lifetime = 15min\njwks_max_age = 5min\nclock_skew = 1min\n"
#define ISSUER "[deliver:issuer.service]\nuse = sign\ncredential = key\nformat = jwk\n"
#define GATEWAY "[deliver:gateway.service]\nuse = verify\ncredential = keys\nformat = jwks\n"

#define WEB SECRET("ES256") ROTATION ISSUER GATEWAY
#define SOLO SECRET("HS256") ROTATION "[deliver:api.service]\nuse = sign\ncredential = key\nformat = hex\n"
#define SHARED SOLO "[deliver:worker.service]\nuse = verify\ncredential = key\nformat = hex\n"

/* What every test stands on. */
static void must(bool condition) {
        if (!condition)
                abort();
}

static struct policy *parse(const char *text) {
        struct diagnostics diagnostics = { .n_items = 0 };
        struct policy *policy = NULL;

        if (policy_parse_text("billing", text, &policy, &diagnostics) < 0)
                for (size_t i = 0; i < diagnostics.n_items; i++)
                        printf("# %u: %s\n", diagnostics.items[i].line, diagnostics.items[i].text);
        diagnostics_clear(&diagnostics);
        must(policy);
        return policy;
}

/* Does all that is due at now, with no service running. */
static void advance(struct keyset *keyset, const struct policy *policy, int64_t now) {
        const struct lifecycle_facts facts = {
                .known = true, .published = LIFECYCLE_ALL, .verifiers = LIFECYCLE_ALL, .signers = LIFECYCLE_ALL,
        };
        struct lifecycle_result result;

        do {
                struct jwk *jwk;

                must(lifecycle_advance(policy, keyset, &facts, now, &result) == 0);
                if (result.create) {
                        must(jwk_generate(policy->algorithm, policy->size, &jwk) == 0);
                        must(lifecycle_add(keyset, policy, jwk, &result.times) == 0);
                }
                keyset->generation++;
        } while (result.changed || result.create);
}

/* A set that was made under this policy at T0 and has been looked after until now. */
static struct keyset *set_under(const char *text, int64_t now) {
        _cleanup_(policy_freep) struct policy *policy = parse(text);
        _cleanup_free_ char *canonical = NULL;
        struct keyset *keyset;

        must(keyset_new("test", "billing", &keyset) == 0 && policy_format(policy, &canonical) == 0);
        must(lifecycle_adopt_policy(keyset, policy, canonical, T0) == 0);
        advance(keyset, policy, T0);
        advance(keyset, policy, now);
        return keyset;
}

static const char *step_name(enum plan_step step) {
        static const char *const names[] = {
                [PLAN_CREATE] = "create", [PLAN_ACTIVATE] = "activate", [PLAN_CREATE_AND_ACTIVATE] = "begin", [PLAN_DESTROY] = "destroy",
        };

        return names[step];
}

struct wanted {
        int64_t when;
        const char *text; /* STEP KEY WHOM: the key's place in the set that is there, or -; v, s: verifiers, signers */
};

static bool is_as_wanted(const struct plan_event *event, const struct wanted *wanted, const struct keyset *keyset) {
        char text[64], key[24] = "?";

        if (!*event->kid)
                strcpy(key, "-");
        for (size_t i = 0; keyset && i < keyset->n_keys; i++)
                if (strcmp(event->kid, jwk_kid(keyset->keys[i].jwk)) == 0)
                        (void) snprintf(key, sizeof(key), "%zu", i);
        (void) snprintf(text, sizeof(text), "%s %s %s%s", step_name(event->step), key, event->verifiers ? "v" : "", event->signers ? "s" : "");
        if (event->when == wanted->when && strcmp(text, wanted->text) == 0)
                return true;
        printf("# T0 + %" PRId64 ": \"%s\"; expected T0 + %" PRId64 ": \"%s\"\n", event->when - T0, text, wanted->when - T0, wanted->text);
        return false;
}

/* The first n events are those; whole: and there are no others. */
static bool foretells(const char *text, const struct keyset *keyset, int64_t now, const struct wanted wanted[], size_t n, bool whole) {
        _cleanup_(policy_freep) struct policy *policy = text ? parse(text) : NULL;
        struct plan plan;

        must(plan_make(policy, keyset, now, &plan) == 0);
        if (plan.n_events < n || (whole && plan.n_events != n)) {
                printf("# %zu events; expected %zu\n", plan.n_events, n);
                return false;
        }
        for (size_t i = 0; i < n; i++)
                if (!is_as_wanted(&plan.events[i], &wanted[i], keyset))
                        return false;
        return true;
}

#define ROWS(...) (const struct wanted[]){ __VA_ARGS__ }, sizeof((const struct wanted[]){ __VA_ARGS__ }) / sizeof(struct wanted)
#define BEGINS_WITH(text, keyset, now, ...) foretells(text, keyset, now, ROWS(__VA_ARGS__), false)
#define IS_ALL_OF(text, keyset, now, ...) foretells(text, keyset, now, ROWS(__VA_ARGS__), true)

TEST(a_secret_without_a_key_begins_now) {
        expect(BEGINS_WITH(WEB, NULL, T0,
                           { T0, "begin - vs" }, { END - LEAD, "create - v" }, { END + 1, "activate - s" }, { END + OVERLAP + 2, "destroy - v" },
                           { END + 1 + 30 * DAY - LEAD, "create - v" }));
        expect(BEGINS_WITH(SOLO, NULL, T0, { T0, "begin - vs" }, { END, "begin - vs" }, { END + OVERLAP + 1, "destroy - " }));
}

TEST(an_asymmetric_key_is_published_before_it_signs_and_verifies_after) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);

        expect(BEGINS_WITH(WEB, keyset, T0 + DAY,
                           { END - LEAD, "create - v" }, { END + 1, "activate - s" }, { END + OVERLAP + 2, "destroy 0 v" },
                           { END + 1 + 30 * DAY - LEAD, "create - v" }, { END + 2 + 30 * DAY, "activate - s" }));
}

TEST(a_rotation_that_has_begun_goes_on) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, END - LEAD);

        expect_int(keyset->n_keys, 2);
        expect(BEGINS_WITH(WEB, keyset, END - 5, { END + 1, "activate 1 s" }, { END + OVERLAP + 2, "destroy 0 v" }));
}

TEST(what_was_due_long_ago_comes_now_and_in_order) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        int64_t now = END + 100 * DAY;

        expect(BEGINS_WITH(WEB, keyset, now, { now, "create - v" }, { now + LEAD + 1, "activate - s" }, { now + LEAD + OVERLAP + 2, "destroy 0 v" }));
}

TEST(a_solo_consumer_is_told_once_for_each_rotation) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(SOLO, T0);

        expect(BEGINS_WITH(SOLO, keyset, T0 + DAY,
                           { END, "begin - vs" }, { END + OVERLAP + 1, "destroy 0 " }, { END + 30 * DAY, "begin - vs" },
                           { END + 30 * DAY + OVERLAP + 1, "destroy - " }));
}

TEST(units_that_share_one_key_switch_in_one_step) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(SHARED, T0);

        expect(BEGINS_WITH(SHARED, keyset, T0 + DAY, { END, "begin - vs" }, { END + OVERLAP + 1, "destroy 0 v" }));
}

TEST(a_plan_has_so_many_events_and_no_more) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        _cleanup_(policy_freep) struct policy *policy = parse(WEB);
        struct plan plan;

        expect_int(plan_make(policy, keyset, T0, &plan), 0);
        expect_int(plan.n_events, PLAN_EVENTS_MAX);
        for (size_t i = 1; i < plan.n_events; i++)
                expect(plan.events[i].when >= plan.events[i - 1].when);
}

TEST(a_step_with_more_events_than_a_plan_has_room_for_is_cut_off) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        const struct key_times waits = {
                .created = T0, .published = TIME_NEVER, .activates = TIME_NEVER, .deactivates = TIME_NEVER, .destroys = TIME_NEVER,
        };
        struct plan plan;
        struct jwk *jwk;

        for (size_t i = 0; i < PLAN_EVENTS_MAX + 3; i++) {
                must(jwk_generate(ALGORITHM_ES256, 0, &jwk) == 0);
                must(keyset_add(keyset, jwk, &waits) == 0);
        }
        keyset->destroy = true;
        expect_int(plan_make(NULL, keyset, T0 + DAY, &plan), 0);
        expect_int(plan.n_events, PLAN_EVENTS_MAX);
}

TEST(of_a_retired_secret_nothing_comes) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        struct plan plan;

        advance(keyset, NULL, T0 + DAY);
        expect_int(keyset->retired, T0 + DAY);
        expect_int(plan_make(NULL, keyset, T0 + DAY, &plan), 0);
        expect_int(plan.n_events, 0);
        expect_int(plan_make(NULL, keyset, END + 1000 * DAY, &plan), 0);
        expect_int(plan.n_events, 0);
}

TEST(a_policy_removed_since_the_last_run_destroys_nothing_either) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        struct plan plan;

        expect_int(keyset->retired, TIME_NEVER);
        expect_int(plan_make(NULL, keyset, T0 + DAY, &plan), 0);
        expect_int(plan.n_events, 0);
}

TEST(a_retired_secret_that_is_to_be_destroyed_waits_for_its_tokens) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);

        keyset->destroy = true;
        expect(IS_ALL_OF(NULL, keyset, T0 + DAY, { T0 + DAY + OVERLAP + 1, "destroy 0 " }));
}

TEST(of_a_retired_secret_what_never_signed_goes_first) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, END - LEAD);

        keyset->destroy = true;
        expect(IS_ALL_OF(NULL, keyset, END - 5, { END - 5, "destroy 1 " }, { END - 5 + OVERLAP + 1, "destroy 0 " }));
}

TEST(a_shorter_cryptoperiod_brings_the_rotation_forward) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        const char *edited = SECRET("ES256") "[rotation]\ncryptoperiod = 10d\n" ISSUER GATEWAY;

        expect(BEGINS_WITH(edited, keyset, T0 + DAY, { T0 + 10 * DAY - LEAD, "create - v" }, { T0 + 10 * DAY + 1, "activate - s" }));
        expect(BEGINS_WITH(edited, keyset, T0 + 20 * DAY, { T0 + 20 * DAY, "create - v" }, { T0 + 20 * DAY + LEAD + 1, "activate - s" }));
}

TEST(a_longer_token_lifetime_keeps_the_old_key_longer) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        const char *edited = SECRET("ES256") "[rotation]\ntoken_lifetime = 1d\n" ISSUER GATEWAY;

        expect(BEGINS_WITH(edited, keyset, T0 + DAY, { END - LEAD, "create - v" }, { END + 1, "activate - s" }, { END + 2 + DAY + 60, "destroy 0 v" }));
}

TEST(another_algorithm_is_rotated_to_at_once) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        int64_t now = T0 + DAY;

        expect(BEGINS_WITH(SECRET("EdDSA") ROTATION ISSUER GATEWAY, keyset, now,
                           { now, "create - v" }, { now + LEAD + 1, "activate - s" }, { now + LEAD + OVERLAP + 2, "destroy 0 v" },
                           { now + 1 + 30 * DAY, "create - v" }));
}

TEST(an_algorithm_whose_keys_take_long_is_planned_too) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        int64_t now = T0 + DAY;

        expect(BEGINS_WITH(SECRET("PS512") ROTATION ISSUER GATEWAY, keyset, now, { now, "create - v" }, { now + LEAD + 1, "activate - s" }));
}

TEST(a_successor_of_an_algorithm_that_is_named_no_more_is_dropped) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, END - LEAD);
        const char *edited = SECRET("ES384") ROTATION ISSUER GATEWAY;
        int64_t now = END - 5;

        expect(BEGINS_WITH(edited, keyset, now, { now, "destroy 1 v" }, { now, "create - v" }, { now + LEAD + 1, "activate - s" }));
}

TEST(a_policy_that_is_back_keeps_its_keys_and_rotates) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);

        keyset->destroy = true;
        advance(keyset, NULL, T0 + DAY);
        expect(keyset->keys[0].times.destroys != TIME_NEVER);
        expect(BEGINS_WITH(WEB, keyset, T0 + DAY + 60, { T0 + DAY + 60, "create - v" }, { T0 + DAY + 60 + LEAD + 1, "activate - s" }));
}

TEST(a_window_puts_off_what_restarts_a_unit) {
        _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, T0);
        const char *edited = SECRET("ES256") "[rotation]\ncryptoperiod = 30d\nwindow = Sun 02:00-04:00\n" ISSUER GATEWAY;
        _cleanup_(policy_freep) struct policy *policy = parse(edited);
        int64_t opens = window_next(&policy->window, END - LEAD);
        struct plan plan;

        expect(opens > END - LEAD);
        expect_int(plan_make(policy, keyset, T0 + DAY, &plan), 0);
        expect_int(plan.n_events, PLAN_EVENTS_MAX);
        expect_int(plan.events[0].when, opens);
        for (size_t i = 0; i < plan.n_events; i++)
                expect_int(window_next(&policy->window, plan.events[i].when), plan.events[i].when);
}

TEST(a_plan_leaves_the_set_as_it_is) {
        static const char *const texts[] = { WEB, SOLO, SECRET("EdDSA") ROTATION ISSUER GATEWAY, NULL };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(keyset_freep) struct keyset *keyset = set_under(WEB, END - LEAD);
                _cleanup_(policy_freep) struct policy *policy = texts[i] ? parse(texts[i]) : NULL;
                _cleanup_(secret_freep) struct secret *before = NULL, *after = NULL;
                uint64_t generation = keyset->generation;
                struct plan plan;

                keyset->destroy = !policy;
                expect_int(store_set_encode(keyset, &before), 0);
                expect_int(plan_make(policy, keyset, END, &plan), 0);
                expect_int(store_set_encode(keyset, &after), 0);
                expect(secret_equal(before, after));
                expect_int(keyset->generation, generation);
        }
}

int main(void) {
        if (jwk_init() < 0 || setenv("TZ", "UTC", 1) < 0)
                return EXIT_FAILURE;
        return tap_main();
}
