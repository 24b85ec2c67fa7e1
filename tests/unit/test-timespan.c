/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Spans of time: what is read, what is refused, and that what is printed is read back as it was. */

#include "tap.h"
#include "timespan.h"

#define DAY INT64_C(86400)

TEST(spans_are_read_as_systemd_spells_them) {
        static const struct {
                const char *text;
                int64_t seconds;
        } rows[] = {
                { "0", 0 },
                { "90", 90 },
                { "1h 30min", 5400 },
                { "1h30min", 5400 },
                { "30d", 30 * DAY },
                { "2w", 14 * DAY },
                { "2 weeks", 14 * DAY },
                { "5 min", 300 },
                { "5m", 300 },
                { "1month", 2629800 },
                { "1M", 2629800 },
                { "1y", 31557600 },
                { "1 year 2 months 3 weeks 4 days 5 hours 6 minutes 7 seconds",
                                31557600 + 2 * 2629800 + 25 * DAY + 5 * 3600 + 367 },
                { "1.5h", 5400 },
                { "0.5d", 43200 },
                { "2000ms", 2 },
                { "1.5s 500ms", 2 },
                { "1000000us", 1 },
                { "1000000\xc2\xb5s", 1 },
                { "1000000000ns", 1 },
                { "1.0000000000000", 1 },
                { "1h 30", 3630 },
                { "  1s\t", 1 },
                { "100y", TIMESPAN_MAX },
                { "3155760000", TIMESPAN_MAX },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                int64_t seconds = -1;

                if (timespan_parse(rows[i].text, &seconds) != 0 || seconds != rows[i].seconds)
                        printf("# \"%s\"\n", rows[i].text);
                expect_int(timespan_parse(rows[i].text, &seconds), 0);
                expect_int(seconds, rows[i].seconds);
        }
}

TEST(what_is_no_span_is_refused) {
        static const char *const texts[] = {
                "",
                " ",
                "-1",
                "-5min",
                "+5",
                "min",
                "5 fortnights",
                "5minute s",
                "1h,30min",
                "infinity",
                "1..5h",
                "1.h",
                ".5h",
                "1e3",
                "0x10",
                "P30D",
                "30D",
                "5 min -1s",
                "1h 30min;",
                "\xff",
                "1\xc2\xa0min",
                "daily",
                "1 2x",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                int64_t seconds = 42;

                if (timespan_parse(texts[i], &seconds) != -EINVAL)
                        printf("# \"%s\"\n", texts[i]);
                expect_int(timespan_parse(texts[i], &seconds), -EINVAL);
                expect_int(seconds, 42);
        }
}

TEST(what_is_too_long_or_not_whole_seconds_is_out_of_range) {
        static const char *const texts[] = {
                "101y",
                "3155760001",
                "100y 1s",
                "99999999999999999999999",
                "9223372036854775807y",
                "9223372036854775807s 9223372036854775807s",
                "292y 292y",
                "1ms",
                "500ms",
                "1.5s",
                "1ns",
                "0.0000000001s",
                "1.00000000001",
                "999999999ns",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                int64_t seconds = 42;

                if (timespan_parse(texts[i], &seconds) != -ERANGE)
                        printf("# \"%s\"\n", texts[i]);
                expect_int(timespan_parse(texts[i], &seconds), -ERANGE);
                expect_int(seconds, 42);
        }
}

TEST(spans_are_printed_short) {
        char buffer[TIMESPAN_TEXT_MAX];

        expect_string(timespan_format(0, buffer), "0");
        expect_string(timespan_format(59, buffer), "59s");
        expect_string(timespan_format(90, buffer), "1min 30s");
        expect_string(timespan_format(5400, buffer), "1h 30min");
        expect_string(timespan_format(30 * DAY, buffer), "30d");
        expect_string(timespan_format(14 * DAY, buffer), "2w");
        expect_string(timespan_format(31557600, buffer), "1y");
        expect_string(timespan_format(2629800, buffer), "1month");
        expect_string(timespan_format(2629801, buffer), "30d 10h 30min 1s");
        expect_string(timespan_format(TIMESPAN_MAX, buffer), "100y");
}

TEST(every_printed_span_is_read_back_as_it_was) {
        uint64_t state = 1;

        for (int64_t seconds = 0; seconds <= TIMESPAN_MAX;) {
                char buffer[TIMESPAN_TEXT_MAX];
                int64_t again;

                expect_int(timespan_parse(timespan_format(seconds, buffer), &again), 0);
                expect_int(again, seconds);
                state = state * 6364136223846793005U + 1442695040888963407U;
                seconds += seconds < 100000 ? 7 : (int64_t) (state >> 44);
        }
}

int main(void) {
        return tap_main();
}
