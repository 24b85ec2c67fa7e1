/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the clocks tell of the time since a set was stored. The rules with made-up clocks; that the real ones are read right, with the host's. */

#include <ctype.h>
#include <time.h>

#include "clock.h"
#include "tap.h"

#define BOOT_A "0123456789abcdef0123456789abcdef"
#define BOOT_B "fedcba9876543210fedcba9876543210"
#define NOW INT64_C(1800000000)
#define UPTIME 5000
#define HOUR 3600
#define YEAR (INT64_C(365) * 24 * HOUR)

static const struct keyset_clock stored = { .boot_id = BOOT_A, .now = NOW, .offset = NOW - UPTIME };

/* An hour later, with the clock set forward by step seconds meanwhile. */
static struct clock same_boot(int64_t step) {
        return (struct clock) {
                .now = NOW + HOUR + step,
                .offset = NOW - UPTIME + step,
                .boot = NOW - UPTIME + step,
                .boot_id = BOOT_A,
        };
}

/* Another boot, a minute old, in which the clock shows now. */
static struct clock other_boot(int64_t now) {
        return (struct clock) { .now = now, .offset = now - 60, .boot = now - 60, .boot_id = BOOT_B };
}

TEST(in_the_same_boot_every_second_by_which_the_clock_was_set_is_known) {
        static const int64_t steps[] = { 0, 1, -1, 2, -2, 3, -3, HOUR, -HOUR, 10 * YEAR, -30 * YEAR };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                struct clock clock = same_boot(steps[i]);

                expect_int(clock_step(&clock, &stored), steps[i]);
        }
}

TEST(time_that_goes_by_is_no_step) {
        struct clock clock = same_boot(0);

        clock.now += YEAR;
        expect_int(clock_step(&clock, &stored), 0);
}

TEST(after_a_reboot_only_a_clock_that_shows_less_than_before_was_set) {
        struct clock clock = other_boot(NOW + YEAR);

        expect_int(clock_step(&clock, &stored), 0); /* it may have been off for a year */
        clock = other_boot(NOW);
        expect_int(clock_step(&clock, &stored), 0);
        clock = other_boot(NOW - 1);
        expect_int(clock_step(&clock, &stored), -1);
        clock = other_boot(NOW - YEAR);
        expect_int(clock_step(&clock, &stored), -YEAR);
        clock = other_boot(0);
        expect_int(clock_step(&clock, &stored), -NOW);
}

TEST(a_reboot_does_not_compare_time_since_boot) {
        struct clock clock = other_boot(NOW + HOUR);

        clock.offset = stored.offset - 10 * YEAR;
        expect_int(clock_step(&clock, &stored), 0);
}

TEST(nothing_is_known_of_a_set_that_was_stored_without_a_clock) {
        const struct keyset_clock none = { .boot_id = "" };
        struct clock clock = other_boot(NOW);

        expect_int(clock_step(&clock, &none), 0);
        expect_int(clock_since(&clock, &none), 0);
        clock.now = -1;
        expect_int(clock_step(&clock, &none), 0);
}

TEST(nothing_is_known_where_the_kernel_tells_no_boot_id) {
        struct clock clock = other_boot(NOW - YEAR);
        struct keyset_clock none = stored;

        *clock.boot_id = '\0';
        expect_int(clock_step(&clock, &stored), 0);
        expect_int(clock_since(&clock, &stored), 0);
        *none.boot_id = '\0';
        expect_int(clock_step(&clock, &none), 0); /* two that are unknown are not the same boot */
        clock.offset = none.offset + HOUR;
        expect_int(clock_step(&clock, &none), 0);
}

TEST(the_clock_is_believed_in_the_boot_in_which_the_set_was_stored) {
        struct clock clock = same_boot(0);

        expect_int(clock_since(&clock, &stored), 0);
        clock.synchronized = true;
        expect_int(clock_since(&clock, &stored), 0);
}

TEST(after_a_reboot_it_is_believed_only_when_it_was_and_is_synchronised) {
        struct clock clock = other_boot(NOW + YEAR);
        struct keyset_clock synchronized = stored;

        synchronized.synchronized = true;
        expect_int(clock_since(&clock, &stored), clock.boot);
        expect_int(clock_since(&clock, &synchronized), clock.boot);
        clock.synchronized = true;
        expect_int(clock_since(&clock, &stored), clock.boot);
        expect_int(clock_since(&clock, &synchronized), 0);
        clock = other_boot(NOW - YEAR);
        expect_int(clock_since(&clock, &stored), clock.boot);
}

TEST(a_stamp_notes_boot_and_time) {
        struct clock clock = same_boot(0);
        struct keyset_clock stamp = { .boot_id = "" };

        clock_stamp(&clock, &stamp);
        expect_string(stamp.boot_id, BOOT_A);
        expect_int(stamp.now, clock.now);
        expect_int(stamp.offset, clock.offset);
        expect_int(clock_step(&clock, &stamp), 0);
        expect_int(clock_since(&clock, &stamp), 0);

        clock = other_boot(NOW - YEAR);
        clock_stamp(&clock, &stamp);
        expect_string(stamp.boot_id, BOOT_B);
        expect_int(stamp.now, NOW - YEAR);
        expect_int(stamp.offset, clock.offset);
        expect_int(clock_step(&clock, &stamp), 0); /* told once */
}

TEST(a_step_that_was_told_is_not_told_again) {
        static const int64_t steps[] = { HOUR, -HOUR, LIFECYCLE_CLOCK_TOLERANCE + 1, -LIFECYCLE_CLOCK_TOLERANCE - 1 };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                struct clock clock = same_boot(steps[i]);
                struct keyset_clock stamp = stored;

                clock_stamp(&clock, &stamp);
                expect_int(clock_step(&clock, &stamp), 0);
                expect_int(stamp.now, clock.now);
        }
}

/* A set that is stored every day would otherwise follow a clock that is set by two seconds every day, unseen. */
TEST(steps_too_small_to_be_told_add_up) {
        static const int64_t directions[] = { 1, -1 };

        for (size_t i = 0; i < ELEMENTSOF(directions); i++) {
                struct keyset_clock stamp = stored;

                for (int64_t step = 1; step <= LIFECYCLE_CLOCK_TOLERANCE; step++) {
                        struct clock clock = same_boot(directions[i] * step);

                        clock_stamp(&clock, &stamp);
                        expect_int(stamp.now, clock.now);
                        expect_int(clock_step(&clock, &stamp), directions[i] * step);
                }
                struct clock clock = same_boot(directions[i] * (LIFECYCLE_CLOCK_TOLERANCE + 1));

                expect_int(clock_step(&clock, &stamp), directions[i] * (LIFECYCLE_CLOCK_TOLERANCE + 1));
                clock_stamp(&clock, &stamp);
                expect_int(clock_step(&clock, &stamp), 0);
        }
}

TEST(a_stamp_without_a_boot_id_says_nothing_later) {
        struct clock clock = same_boot(0);
        struct keyset_clock stamp = stored;

        *clock.boot_id = '\0';
        clock_stamp(&clock, &stamp);
        expect_string(stamp.boot_id, "");
        expect_int(stamp.now, clock.now);
        clock = other_boot(0);
        expect_int(clock_step(&clock, &stamp), 0);
}

static int64_t seconds(clockid_t id) {
        struct timespec ts;

        return clock_gettime(id, &ts) < 0 ? -1 : ts.tv_sec;
}

TEST(the_hosts_clocks_are_read) {
        int64_t real = seconds(CLOCK_REALTIME), since_boot = seconds(CLOCK_BOOTTIME);
        struct clock clock;

        clock_read(&clock);
        expect(clock.now >= real && clock.now <= seconds(CLOCK_REALTIME));
        expect(clock.now - clock.boot >= since_boot && clock.now - clock.boot <= seconds(CLOCK_BOOTTIME));
        expect(clock.offset - clock.boot >= -1 && clock.offset - clock.boot <= 1); /* one is rounded, the other cut */
}

TEST(the_boot_id_has_the_form_of_sd_id128) {
        char line[64] = "", plain[64] = "";
        struct clock clock;
        FILE *f;

        f = fopen("/proc/sys/kernel/random/boot_id", "re");
        expect(f && fgets(line, sizeof(line), f));
        (void) fclose(f);
        for (size_t i = 0, n = 0; line[i]; i++)
                if (isxdigit((unsigned char) line[i]))
                        plain[n++] = line[i];
        clock_read(&clock);
        expect_int(strlen(clock.boot_id), 32);
        expect_string(clock.boot_id, plain);
}

TEST(a_later_look_sees_the_same_boot_and_no_step) {
        struct clock clock;
        struct keyset_clock stamp = { .boot_id = "" };

        clock_read(&clock);
        clock_stamp(&clock, &stamp);
        clock_update(&clock);
        expect(clock.now >= stamp.now);
        expect(clock_step(&clock, &stamp) >= -LIFECYCLE_CLOCK_TOLERANCE && clock_step(&clock, &stamp) <= LIFECYCLE_CLOCK_TOLERANCE);
        expect_int(clock_since(&clock, &stamp), 0);
}

int main(void) {
        return tap_main();
}
