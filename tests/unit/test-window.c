/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Maintenance windows: how they are spelt, and when they open next, in zones whose clocks change in different ways. */

#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "window.h"

#define HOUR 3600
#define DAY INT64_C(86400)

/* Each as the zone database calls it, and as the same rules for these years without a database, see tzset(3). */
static const struct zone {
        const char *name, *rules;
} berlin = { "Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3" },
  new_york = { "America/New_York", "EST5EDT,M3.2.0,M11.1.0" },
  lord_howe = { "Australia/Lord_Howe", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0" },
  utc = { "UTC", "UTC0" };

static bool has_database(const struct zone *zone) {
        char path[128];

        (void) snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", zone->name);
        return access(path, R_OK) == 0;
}

static void set_zone(const char *value) {
        (void) setenv("TZ", value, 1);
        tzset();
}

static int64_t time_at(const char *text) {
        struct tm tm = { 0 };

        if (!strptime(text, "%Y-%m-%d %H:%M:%S", &tm)) {
                printf("Bail out! %s is no time\n", text);
                exit(EXIT_FAILURE);
        }
        return timegm(&tm);
}

static const char *utc_text(int64_t t, char buffer[static 32]) {
        time_t time = (time_t) t;
        struct tm tm;

        return gmtime_r(&time, &tm) && strftime(buffer, 32, "%Y-%m-%d %H:%M:%S", &tm) > 0 ? buffer : "?";
}

/* Times in UTC. */
struct row {
        const char *window, *at, *next;
};

static bool opens_as(const char *zone, const struct row *row) {
        char got[32];
        struct window window;

        set_zone(zone);
        if (window_parse(row->window, &window) == 0 && strcmp(utc_text(window_next(&window, time_at(row->at)), got), row->next) == 0)
                return true;
        printf("# %s: \"%s\" after %s: %s, expected %s\n", zone, row->window, row->at, got, row->next);
        return false;
}

static bool all_open_as(const struct zone *zone, const struct row rows[], size_t n_rows) {
        bool good = true;

        for (size_t i = 0; i < n_rows; i++) {
                good = opens_as(zone->rules, rows + i) && good;
                if (has_database(zone))
                        good = opens_as(zone->name, rows + i) && good;
        }
        return good;
}

#define EXPECT_OPENS(zone, rows) expect(all_open_as(&(zone), rows, sizeof(rows) / sizeof((rows)[0])))

TEST(windows_are_read_and_printed) {
        static const struct {
                const char *text, *canonical;
                struct window window;
        } rows[] = {
                { "Sun 02:00-04:00", "Sun 02:00-04:00", { true, 0x01, 120, 240 } },
                { "Mon,Wed 00:00-00:01", "Mon,Wed 00:00-00:01", { true, 0x0a, 0, 1 } },
                { "Mon..Fri 22:00-04:00", "Mon..Fri 22:00-04:00", { true, 0x3e, 1320, 240 } },
                { "Sat..Mon 01:00-02:00", "Mon,Sat,Sun 01:00-02:00", { true, 0x43, 60, 120 } },
                { "Fri..Sun 01:00-02:00", "Fri..Sun 01:00-02:00", { true, 0x61, 60, 120 } },
                { "Sun,Sat 01:00-02:00", "Sat,Sun 01:00-02:00", { true, 0x41, 60, 120 } },
                { "Mon..Wed,Fri 01:00-02:00", "Mon..Wed,Fri 01:00-02:00", { true, 0x2e, 60, 120 } },
                { "Mon,Wed,Fri,Sun 01:00-02:00", "Mon,Wed,Fri,Sun 01:00-02:00", { true, 0x2b, 60, 120 } },
                { "Tue,Tue..Tue 01:00-02:00", "Tue 01:00-02:00", { true, 0x04, 60, 120 } },
                { "sunday,TUE..Thursday \t01:00-02:00", "Tue..Thu,Sun 01:00-02:00", { true, 0x1d, 60, 120 } },
                { "02:00-04:00", "02:00-04:00", { true, 0x7f, 120, 240 } },
                { "Mon..Sun 02:00-04:00", "02:00-04:00", { true, 0x7f, 120, 240 } },
                { "Thu..Wed 02:00-04:00", "02:00-04:00", { true, 0x7f, 120, 240 } },
                { "00:00-24:00", "00:00-24:00", { true, 0x7f, 0, 1440 } },
                { "23:59-24:00", "23:59-24:00", { true, 0x7f, 1439, 1440 } },
                { "22:00-00:00", "22:00-24:00", { true, 0x7f, 1320, 1440 } },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char buffer[WINDOW_TEXT_MAX];
                struct window window = { 0 }, again = { 0 };

                printf("# %s\n", rows[i].text);
                expect_int(window_parse(rows[i].text, &window), 0);
                expect(window.set);
                expect_int(window.days, rows[i].window.days);
                expect_int(window.opens, rows[i].window.opens);
                expect_int(window.closes, rows[i].window.closes);
                expect_string(window_format(&window, buffer), rows[i].canonical);
                expect_int(window_parse(buffer, &again), 0);
                expect(again.days == window.days && again.opens == window.opens && again.closes == window.closes);
        }
}

TEST(every_set_of_days_is_read_back_as_it_was) {
        for (unsigned days = 1; days < 0x80; days++) {
                struct window window = { true, (uint8_t) days, 1320, 1440 }, again;
                char buffer[WINDOW_TEXT_MAX];

                expect_int(window_parse(window_format(&window, buffer), &again), 0);
                expect_int(again.days, days);
        }
}

TEST(what_is_no_window_is_refused) {
        static const char *const texts[] = {
                "", " ", "Sun", "Sun ", "Sun 02:00", "Sun 02:00-", "Sun 2:00-4:00", "Sun 02:00 - 04:00", "Sun 02:00..04:00", "Sun02:00-04:00",
                "Su 02:00-04:00", "Sund 02:00-04:00", "Son 02:00-04:00", "Mon-Fri 02:00-04:00", "Mon Tue 02:00-04:00", "Mon, Tue 02:00-04:00",
                "Mon,,Tue 02:00-04:00", "Mon, 02:00-04:00", ",Mon 02:00-04:00", "Mon.. 02:00-04:00", "..Mon 02:00-04:00", "Mon...Tue 02:00-04:00",
                "Mon..Tue..Wed 02:00-04:00", "02:60-04:00", "24:00-04:00", "24:00-24:00", "02:00-24:01", "25:00-26:00", "02:00-04:00 ",
                " 02:00-04:00", "02:00-04:00 UTC", "02:00:00-04:00:00", "-2:00-04:00", "02:00--4:00", "02-04", "any", "daily", "*-*-* 02:00",
                "\xff 02:00-04:00",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct window window = { .days = 42 };

                printf("# \"%s\"\n", i + 1 < sizeof(texts) / sizeof(texts[0]) ? texts[i] : "\\xff");
                expect_int(window_parse(texts[i], &window), -EINVAL);
                expect_int(window.days, 42);
        }
}

TEST(a_window_that_closes_when_it_opens_is_empty) {
        struct window window = { .days = 42 };

        expect_int(window_parse("Sun 02:00-02:00", &window), -ERANGE);
        expect_int(window_parse("00:00-00:00", &window), -ERANGE);
        expect_int(window.days, 42);
}

TEST(no_window_is_open_at_any_time) {
        struct window window = { 0 };
        char buffer[WINDOW_TEXT_MAX];

        expect_int(window_next(&window, 1234567), 1234567);
        expect_int(window_next(&window, INT64_MAX), INT64_MAX);
        expect_string(window_format(&window, buffer), "");
}

TEST(a_window_opens_on_its_days) {
        static const struct row rows[] = { /* 2026-11-23 is a Monday */
                { "Sun 02:00-04:00", "2026-11-23 12:00:00", "2026-11-29 02:00:00" },
                { "Sun 02:00-04:00", "2026-11-29 01:59:59", "2026-11-29 02:00:00" },
                { "Sun 02:00-04:00", "2026-11-29 02:00:00", "2026-11-29 02:00:00" },
                { "Sun 02:00-04:00", "2026-11-29 03:59:59", "2026-11-29 03:59:59" },
                { "Sun 02:00-04:00", "2026-11-29 04:00:00", "2026-12-06 02:00:00" },
                { "Mon,Thu 02:00-04:00", "2026-11-23 04:00:00", "2026-11-26 02:00:00" },
                { "Mon..Fri 02:00-04:00", "2026-11-27 05:00:00", "2026-11-30 02:00:00" },
                { "02:00-04:00", "2026-12-31 05:00:00", "2027-01-01 02:00:00" },
                { "Tue 00:00-24:00", "2026-11-24 23:59:59", "2026-11-24 23:59:59" },
                { "Tue 00:00-24:00", "2026-11-25 00:00:00", "2026-12-01 00:00:00" },
                { "00:00-24:00", "2026-11-25 00:00:00", "2026-11-25 00:00:00" },
                { "Thu 00:00-24:00", "1970-01-01 00:00:00", "1970-01-01 00:00:00" },
                { "Wed 23:00-24:00", "1969-12-31 23:30:00", "1969-12-31 23:30:00" },
                { "Sun 02:00-04:00", "2024-02-28 00:00:00", "2024-03-03 02:00:00" },
        };

        EXPECT_OPENS(utc, rows);
}

TEST(a_window_over_midnight_belongs_to_the_day_on_which_it_opens) {
        static const struct row rows[] = {
                { "Sat 22:00-04:00", "2026-11-28 21:59:59", "2026-11-28 22:00:00" },
                { "Sat 22:00-04:00", "2026-11-29 03:59:59", "2026-11-29 03:59:59" },
                { "Sat 22:00-04:00", "2026-11-29 04:00:00", "2026-12-05 22:00:00" },
                { "Sun 22:00-04:00", "2026-11-29 03:00:00", "2026-11-29 22:00:00" },
                { "Sat 22:00-21:59", "2026-11-29 21:58:59", "2026-11-29 21:58:59" },
                { "Sat 22:00-21:59", "2026-11-29 21:59:00", "2026-12-05 22:00:00" },
                { "22:00-04:00", "2027-01-01 00:00:00", "2027-01-01 00:00:00" },
                { "22:00-00:00", "2026-11-29 00:00:00", "2026-11-29 22:00:00" },
        };

        EXPECT_OPENS(utc, rows);
}

TEST(a_range_of_days_goes_over_the_end_of_the_week) {
        static const struct row rows[] = {
                { "Sat..Mon 02:00-04:00", "2026-11-27 12:00:00", "2026-11-28 02:00:00" },
                { "Sat..Mon 02:00-04:00", "2026-11-28 12:00:00", "2026-11-29 02:00:00" },
                { "Sat..Mon 02:00-04:00", "2026-11-29 12:00:00", "2026-11-30 02:00:00" },
                { "Sat..Mon 02:00-04:00", "2026-11-30 12:00:00", "2026-12-05 02:00:00" },
        };

        EXPECT_OPENS(utc, rows);
}

TEST(windows_are_local_time) {
        static const struct row in_berlin[] = {
                { "Sun 02:00-04:00", "2026-01-01 00:00:00", "2026-01-04 01:00:00" },
                { "Sun 02:00-04:00", "2026-07-01 00:00:00", "2026-07-05 00:00:00" },
                { "Sun 01:00-02:00", "2026-07-04 22:30:00", "2026-07-04 23:00:00" }, /* it is Sunday there already */
        };
        static const struct row in_new_york[] = {
                { "Sun 22:00-23:00", "2026-01-01 00:00:00", "2026-01-05 03:00:00" },
                { "Sun 22:00-23:00", "2026-07-01 00:00:00", "2026-07-06 02:00:00" },
                { "Sat 22:00-23:00", "2026-01-04 03:30:00", "2026-01-04 03:30:00" },
        };
        static const struct row on_lord_howe[] = {
                { "Sun 02:00-04:00", "2026-07-01 00:00:00", "2026-07-04 15:30:00" },
                { "Sun 02:00-04:00", "2026-01-01 00:00:00", "2026-01-03 15:00:00" },
        };

        EXPECT_OPENS(berlin, in_berlin);
        EXPECT_OPENS(new_york, in_new_york);
        EXPECT_OPENS(lord_howe, on_lord_howe);
}

/* Berlin 2026-03-29: 02:00 to 03:00 at 01:00 UTC. New York 2026-03-08: at 07:00 UTC. Lord Howe 2026-10-04: 02:00 to 02:30 at 15:30 UTC of the day before. */
TEST(what_the_clocks_leave_out_opens_at_the_next_moment_that_there_is) {
        static const struct row in_berlin[] = {
                { "Sun 02:30-04:00", "2026-03-28 12:00:00", "2026-03-29 01:00:00" },
                { "Sun 02:30-04:00", "2026-03-29 00:59:59", "2026-03-29 01:00:00" },
                { "Sun 02:30-04:00", "2026-03-29 01:59:59", "2026-03-29 01:59:59" },
                { "Sun 02:30-04:00", "2026-03-29 02:00:00", "2026-04-05 00:30:00" },
                { "Sun 01:30-02:30", "2026-03-29 00:59:59", "2026-03-29 00:59:59" },
                { "Sun 01:30-02:30", "2026-03-29 01:00:00", "2026-04-04 23:30:00" },
                /* all of it is left out: for as long as it would have been */
                { "Sun 02:15-02:45", "2026-03-29 00:00:00", "2026-03-29 01:00:00" },
                { "Sun 02:15-02:45", "2026-03-29 01:29:59", "2026-03-29 01:29:59" },
                { "Sun 02:15-02:45", "2026-03-29 01:30:00", "2026-04-05 00:15:00" },
                /* and the day before and after */
                { "02:30-03:30", "2026-03-28 00:00:00", "2026-03-28 01:30:00" },
                { "02:30-03:30", "2026-03-29 12:00:00", "2026-03-30 00:30:00" },
                { "Sat 23:00-05:00", "2026-03-29 02:59:59", "2026-03-29 02:59:59" },
                { "Sat 23:00-05:00", "2026-03-29 03:00:00", "2026-04-04 21:00:00" },
        };
        static const struct row in_new_york[] = {
                { "Sun 02:30-04:00", "2026-03-08 00:00:00", "2026-03-08 07:00:00" },
                { "Sun 03:00-04:00", "2026-03-08 00:00:00", "2026-03-08 07:00:00" },
        };
        static const struct row on_lord_howe[] = {
                { "Sun 02:15-03:00", "2026-10-03 00:00:00", "2026-10-03 15:30:00" },
                { "Sun 02:00-02:30", "2026-10-03 00:00:00", "2026-10-03 15:30:00" },
                { "Sun 02:00-02:30", "2026-10-03 15:59:59", "2026-10-03 15:59:59" },
                { "Sun 02:00-02:30", "2026-10-03 16:00:00", "2026-10-10 15:00:00" },
        };

        EXPECT_OPENS(berlin, in_berlin);
        EXPECT_OPENS(new_york, in_new_york);
        EXPECT_OPENS(lord_howe, on_lord_howe);
}

/* Berlin 2026-10-25: 03:00 back to 02:00 at 01:00 UTC. New York 2026-11-01: at 06:00 UTC. Lord Howe 2026-04-05: 02:00 back to 01:30 at 15:00 UTC of the day before. */
TEST(what_the_clocks_repeat_opens_the_first_time) {
        static const struct row in_berlin[] = {
                { "Sun 02:30-04:00", "2026-10-24 12:00:00", "2026-10-25 00:30:00" },
                { "Sun 02:30-04:00", "2026-10-25 02:59:59", "2026-10-25 02:59:59" },
                { "Sun 02:30-04:00", "2026-10-25 03:00:00", "2026-11-01 01:30:00" },
                { "Sun 02:15-02:45", "2026-10-25 00:44:59", "2026-10-25 00:44:59" },
                { "Sun 02:15-02:45", "2026-10-25 00:45:00", "2026-11-01 01:15:00" }, /* not again */
                { "Sun 02:15-02:45", "2026-10-25 01:20:00", "2026-11-01 01:15:00" },
                { "Sun 01:00-02:30", "2026-10-25 00:30:00", "2026-11-01 00:00:00" },
        };
        static const struct row in_new_york[] = {
                { "Sun 01:30-03:00", "2026-11-01 00:00:00", "2026-11-01 05:30:00" },
                { "Sun 01:30-03:00", "2026-11-01 07:59:59", "2026-11-01 07:59:59" },
        };
        static const struct row on_lord_howe[] = {
                { "Sun 01:45-03:00", "2026-04-04 00:00:00", "2026-04-04 14:45:00" },
                { "Sun 02:00-03:00", "2026-04-04 00:00:00", "2026-04-04 15:30:00" },
        };

        EXPECT_OPENS(berlin, in_berlin);
        EXPECT_OPENS(new_york, in_new_york);
        EXPECT_OPENS(lord_howe, on_lord_howe);
}

/* Against the plain meaning, minute for minute: inside is what the wall clock says is inside, on days on which it does not change. */
TEST(every_minute_of_a_year_agrees_with_the_wall_clock) {
        static const char *const texts[] = { "Sun 02:00-04:00", "Mon..Fri 22:00-04:00", "05:00-24:00", "Sat..Mon 23:30-23:00" };
        static const struct zone *const zones[] = { &berlin, &new_york, &lord_howe, &utc };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                for (size_t z = 0; z < sizeof(zones) / sizeof(zones[0]); z++) {
                        struct window window;

                        set_zone(zones[z]->rules);
                        expect_int(window_parse(texts[i], &window), 0);
                        for (int64_t t = 1767225600; t < 1767225600 + 366 * DAY; t += 17 * 60) {
                                time_t now = (time_t) t, before = (time_t) (t - 2 * DAY), after = (time_t) (t + 2 * DAY);
                                struct tm tm, tm_before, tm_after;
                                int64_t next = window_next(&window, t);
                                int minute, yesterday;
                                bool inside;

                                expect(next >= t && next < t + 8 * DAY && window_next(&window, next) == next);
                                expect(localtime_r(&now, &tm) && localtime_r(&before, &tm_before) && localtime_r(&after, &tm_after));
                                if (tm_before.tm_gmtoff != tm_after.tm_gmtoff)
                                        continue;
                                minute = tm.tm_hour * 60 + tm.tm_min;
                                yesterday = (tm.tm_wday + 6) % 7;
                                if (window.closes > window.opens)
                                        inside = window.days & 1 << tm.tm_wday && minute >= window.opens && minute < window.closes;
                                else
                                        inside = (window.days & 1 << tm.tm_wday && minute >= window.opens) ||
                                                 (window.days & 1 << yesterday && minute < window.closes);
                                if (inside != (next == t))
                                        printf("# %s in %s at %lld\n", texts[i], zones[z]->name, (long long) t);
                                expect_int(next == t, inside);
                        }
                }
}

TEST(a_day_that_a_zone_left_out_is_no_trouble) {
        static const struct zone apia = { "Pacific/Apia", "" };
        static const struct row rows[] = { /* no 2011-12-30, a Friday; the 31st began at 10:00 UTC of the 30th */
                { "Fri 02:00-04:00", "2011-12-30 00:00:00", "2011-12-30 10:00:00" },
                { "Fri 02:00-04:00", "2011-12-30 12:00:00", "2012-01-05 12:00:00" },
                { "Sat 02:00-04:00", "2011-12-30 00:00:00", "2011-12-30 12:00:00" },
        };

        if (!has_database(&apia))
                skip("there is no zone database");
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                expect(opens_as(apia.name, rows + i));
}

TEST(a_clock_beyond_all_years_is_not_waited_for) {
        struct window window;

        set_zone(berlin.rules);
        expect_int(window_parse("Sun 02:00-04:00", &window), 0);
        expect_int(window_next(&window, INT64_MAX), INT64_MAX);
        expect_int(window_next(&window, INT64_MIN), INT64_MIN);
        expect(window_next(&window, INT64_C(1) << 45) > INT64_C(1) << 44);
}

TEST(length_and_interval_are_those_of_an_ordinary_week) {
        static const struct {
                const char *text;
                int64_t length, interval;
        } rows[] = {
                { "Sun 02:00-04:00", 2 * HOUR, 7 * DAY },
                { "Sat 02:00-04:00", 2 * HOUR, 7 * DAY },
                { "02:00-04:00", 2 * HOUR, DAY },
                { "Mon..Fri 22:00-04:00", 6 * HOUR, 3 * DAY },
                { "Mon,Wed 00:00-24:00", DAY, 5 * DAY },
                { "Sat..Mon 22:00-21:00", 23 * HOUR, 5 * DAY },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct window window;

                expect_int(window_parse(rows[i].text, &window), 0);
                expect_int(window_length(&window), rows[i].length);
                expect_int(window_interval(&window), rows[i].interval);
        }
}

int main(void) {
        return tap_main();
}
