/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Key states and due times as tables: every rule a row. Needs no real key. */

#include "lifecycle.h"
#include "tap.h"

#define DAY INT64_C(86400)

static const struct policy policy = { .cryptoperiod = 30 * DAY, .jitter = 0 };

static int make_set(const struct key_times *times, size_t n, struct keyset **ret) {
        int r;

        r = keyset_new("production", "billing", ret);
        for (size_t i = 0; i < n && r >= 0; i++)
                r = keyset_add(*ret, NULL, &times[i]);
        return r;
}

/* A key of 1000, its successor decided at 1900 to sign from 2000 on, the first one to be destroyed at
 * 2100. */
static const struct key_times rotated[] = {
        { .created = 1000, .activates = 1000, .deactivates = 2000, .destroys = 2100 },
        { .created = 1900, .activates = 2000, .deactivates = 3000, .destroys = TIME_NEVER },
};
/* One key without a successor. */
static const struct key_times single[] = {
        { .created = 1000, .activates = 1000, .deactivates = 2000, .destroys = TIME_NEVER },
};
/* None of these has begun to sign. */
static const struct key_times future[] = {
        { .created = 1000, .activates = 3000, .deactivates = 4000, .destroys = TIME_NEVER },
        { .created = 1000, .activates = 2000, .deactivates = 3000, .destroys = TIME_NEVER },
};
/* Two with the same activation. */
static const struct key_times twins[] = {
        { .created = 1000, .activates = 1000, .deactivates = 2000, .destroys = TIME_NEVER },
        { .created = 1000, .activates = 1000, .deactivates = 2000, .destroys = TIME_NEVER },
};
/* Everything is over. */
static const struct key_times gone[] = {
        { .created = 1000, .activates = 1000, .deactivates = 2000, .destroys = 2100 },
        { .created = 1900, .activates = 2000, .deactivates = 3000, .destroys = 3100 },
};

static const struct {
        const char *what;
        const struct key_times *times;
        size_t n;
        int64_t now;
        enum key_state states[2];
        int active; /* -1: none */
} state_rows[] = {
        { "first second of a key", single, 1, 1000, { KEY_ACTIVE }, 0 },
        { "clock before a key's creation", single, 1, 999, { KEY_ACTIVE }, 0 },
        { "clock at zero", single, 1, 0, { KEY_ACTIVE }, 0 },
        { "clock at the beginning of all time", single, 1, INT64_MIN, { KEY_ACTIVE }, 0 },
        { "cryptoperiod over, no successor", single, 1, 2000, { KEY_ACTIVE }, 0 },
        { "far in the future, no successor", single, 1, INT64_MAX - 1, { KEY_ACTIVE }, 0 },
        { "end of all time: never stays never", single, 1, INT64_MAX, { KEY_ACTIVE }, 0 },
        { "successor published", rotated, 2, 1999, { KEY_ACTIVE, KEY_PRE_ACTIVATION }, 0 },
        { "successor signs from its very second", rotated, 2, 2000, { KEY_DEACTIVATED, KEY_ACTIVE }, 1 },
        { "last second of the old key", rotated, 2, 2099, { KEY_DEACTIVATED, KEY_ACTIVE }, 1 },
        { "old key destroyed", rotated, 2, 2100, { KEY_DESTROYED, KEY_ACTIVE }, 1 },
        { "clock before both", rotated, 2, 0, { KEY_ACTIVE, KEY_PRE_ACTIVATION }, 0 },
        { "far in the future with both", rotated, 2, INT64_MAX - 1, { KEY_DESTROYED, KEY_ACTIVE }, 1 },
        { "none begun: the earliest signs", future, 2, 1500, { KEY_PRE_ACTIVATION, KEY_ACTIVE }, 1 },
        { "none begun, clock at the first's second", future, 2, 2000, { KEY_PRE_ACTIVATION, KEY_ACTIVE }, 1 },
        { "order in the set does not matter", future, 2, 3000, { KEY_ACTIVE, KEY_DEACTIVATED }, 0 },
        { "same second: the later in the set", twins, 2, 1500, { KEY_DEACTIVATED, KEY_ACTIVE }, 1 },
        { "same second, that very second", twins, 2, 1000, { KEY_DEACTIVATED, KEY_ACTIVE }, 1 },
        { "same second, clock before: the same one", twins, 2, 500, { KEY_PRE_ACTIVATION, KEY_ACTIVE }, 1 },
        { "all destroyed: none signs", gone, 2, 4000, { KEY_DESTROYED, KEY_DESTROYED }, -1 },
        { "clock back before the destruction", gone, 2, 2500, { KEY_DESTROYED, KEY_ACTIVE }, 1 },
};

TEST(state_follows_from_the_recorded_times) {
        for (size_t row = 0; row < ELEMENTSOF(state_rows); row++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                const struct key *active;

                expect_int(make_set(state_rows[row].times, state_rows[row].n, &keyset), 0);
                active = keyset_active(keyset, state_rows[row].now);
                printf("# %s\n", state_rows[row].what);
                expect_int(active ? active - keyset->keys : -1, state_rows[row].active);
                for (size_t i = 0; i < state_rows[row].n; i++)
                        expect_int(key_state_at(keyset, i, state_rows[row].now), state_rows[row].states[i]);
        }
}

TEST(exactly_one_key_signs_at_every_instant) {
        static const struct {
                const struct key_times *times;
                int64_t until; /* all its keys are destroyed then */
        } sets[] = { { rotated, TIME_NEVER }, { future, TIME_NEVER }, { twins, TIME_NEVER }, { gone, 3100 } };

        for (size_t s = 0; s < ELEMENTSOF(sets); s++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;

                expect_int(make_set(sets[s].times, 2, &keyset), 0);
                for (int64_t now = 0; now < 5000 && now < sets[s].until; now++)
                        expect_int((key_state_at(keyset, 0, now) == KEY_ACTIVE) +
                                           (key_state_at(keyset, 1, now) == KEY_ACTIVE),
                                   1);
        }
}

static const struct {
        const char *what;
        const struct key_times *times;
        size_t n;
        int64_t now, next;
        bool create, overdue;
} advance_rows[] = {
        { "no key: one is made", NULL, 0, 1000, 1000 + 30 * DAY, true, false },
        { "all destroyed: one is made", gone, 2, 4000, 4000 + 30 * DAY, true, false },
        { "signing: rotation is next", single, 1, 1500, 2000, false, false },
        { "clock before the key: its activation is next", single, 1, 500, 1000, false, false },
        { "one second before the end", single, 1, 1999, 2000, false, false },
        { "overdue from the second of the end on", single, 1, 2000, TIME_NEVER, false, true },
        { "overdue for ever", single, 1, INT64_MAX, TIME_NEVER, false, true },
        { "successor published: its activation is next", rotated, 2, 1950, 2000, false, false },
        { "old key still verifies: its destruction is next", rotated, 2, 2000, 2100, false, false },
        { "old key destroyed: rotation is next", rotated, 2, 2100, 3000, false, false },
        { "successor overdue", rotated, 2, 3500, TIME_NEVER, false, true },
        { "none begun: the first activation is next", future, 2, 1500, 2000, false, false },
        { "first one signs: the second's activation is next", future, 2, 2500, 3000, false, false },
};

TEST(next_time_and_need_follow_from_the_recorded_times) {
        for (size_t row = 0; row < ELEMENTSOF(advance_rows); row++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                struct lifecycle_event event;

                expect_int(make_set(advance_rows[row].times, advance_rows[row].n, &keyset), 0);
                lifecycle_advance(&policy, keyset, advance_rows[row].now, 0, &event);
                printf("# %s\n", advance_rows[row].what);
                expect_int(event.create, advance_rows[row].create);
                expect_int(event.overdue, advance_rows[row].overdue);
                expect_int(event.next, advance_rows[row].next);
        }
}

static const struct {
        const char *what;
        int64_t now, cryptoperiod, jitter;
        uint64_t random;
        int64_t deactivates;
} create_rows[] = {
        { "no jitter", 1000, 30 * DAY, 0, 12345, 1000 + 30 * DAY },
        { "draw of nothing", 1000, 30 * DAY, 3600, 0, 1000 + 30 * DAY },
        { "draw of some", 1000, 30 * DAY, 3600, 100, 1000 + 30 * DAY - 100 },
        { "largest draw is the jitter itself", 1000, 30 * DAY, 3600, 3600, 1000 + 30 * DAY - 3600 },
        { "draws go round after it", 1000, 30 * DAY, 3600, 3601, 1000 + 30 * DAY },
        { "any number draws", 1000, 30 * DAY, 3600, UINT64_MAX, 1000 + 30 * DAY - (int64_t) (UINT64_MAX % 3601) },
        { "jitter as long as the period", 1000, 3600, 3600, 3600, 1000 },
        { "jitter longer than the period", 1000, 3600, INT64_MAX, 3600, 1000 },
        { "longest jitter", 0, INT64_MAX, INT64_MAX, UINT64_MAX, INT64_MAX - (int64_t) (UINT64_MAX % (UINT64_C(1) << 63)) },
        { "period beyond all time", 1000, INT64_MAX, 0, 0, TIME_NEVER },
        { "clock near the end of time", INT64_MAX - 5, 30 * DAY, 0, 0, TIME_NEVER },
        { "clock at the beginning of time", INT64_MIN, 30 * DAY, 0, 0, INT64_MIN + 30 * DAY },
        { "clock before 1970", -5, 10, 0, 0, 5 },
};

TEST(new_key_signs_at_once_and_ends_by_chance_within_the_jitter) {
        for (size_t row = 0; row < ELEMENTSOF(create_rows); row++) {
                struct policy p = { .cryptoperiod = create_rows[row].cryptoperiod,
                                    .jitter = create_rows[row].jitter };
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                struct lifecycle_event event;

                expect_int(make_set(NULL, 0, &keyset), 0);
                lifecycle_advance(&p, keyset, create_rows[row].now, create_rows[row].random, &event);
                printf("# %s\n", create_rows[row].what);
                expect(event.create);
                expect(!event.overdue);
                expect_int(event.times.created, create_rows[row].now);
                expect_int(event.times.activates, create_rows[row].now);
                expect_int(event.times.deactivates, create_rows[row].deactivates);
                expect_int(event.times.destroys, TIME_NEVER);
                expect_int(event.next, event.times.deactivates);
        }
}

TEST(huge_times_do_not_overflow) {
        static const int64_t extremes[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX };
        size_t n = ELEMENTSOF(extremes);

        for (size_t i = 0; i < n * n * n * n; i++) {
                struct key_times times = {
                        .created = extremes[i % n],
                        .activates = extremes[i / n % n],
                        .deactivates = extremes[i / n / n % n],
                        .destroys = extremes[i / n / n / n % n],
                };
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                struct lifecycle_event event;

                expect_int(make_set(&times, 1, &keyset), 0);
                for (size_t j = 0; j < n; j++) {
                        lifecycle_advance(&policy, keyset, extremes[j], UINT64_MAX, &event);
                        expect(event.next > extremes[j] || event.next == TIME_NEVER);
                        expect_int(event.create, key_state_at(keyset, 0, extremes[j]) != KEY_ACTIVE);
                }
        }
}

TEST(states_have_the_names_of_the_standard) {
        expect_string(key_state_to_string(KEY_PRE_ACTIVATION), "pre-activation");
        expect_string(key_state_to_string(KEY_ACTIVE), "active");
        expect_string(key_state_to_string(KEY_DEACTIVATED), "deactivated");
        expect_string(key_state_to_string(KEY_DESTROYED), "destroyed");
}

int main(void) {
        return tap_main();
}
