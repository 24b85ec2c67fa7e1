/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Spans of time in the grammar of systemd.time(7): numbers with units, added up; a number without one means
 * seconds. Exact: nothing is rounded, what is no whole number of seconds is refused. Calls libc only.
 */

#include "timespan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"

#define NS_PER_SECOND INT64_C(1000000000)
#define MINUTE INT64_C(60)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)
#define MONTH INT64_C(2629800) /* 30.4375 days, as systemd has it */
#define YEAR INT64_C(31557600) /* 365.25 days */

static const struct unit {
        const char *name;
        int64_t ns;
} units[] = {
        { "seconds", NS_PER_SECOND },
        { "second", NS_PER_SECOND },
        { "sec", NS_PER_SECOND },
        { "s", NS_PER_SECOND },
        { "minutes", MINUTE *NS_PER_SECOND },
        { "minute", MINUTE *NS_PER_SECOND },
        { "min", MINUTE *NS_PER_SECOND },
        { "m", MINUTE *NS_PER_SECOND },
        { "hours", HOUR *NS_PER_SECOND },
        { "hour", HOUR *NS_PER_SECOND },
        { "hr", HOUR *NS_PER_SECOND },
        { "h", HOUR *NS_PER_SECOND },
        { "days", DAY *NS_PER_SECOND },
        { "day", DAY *NS_PER_SECOND },
        { "d", DAY *NS_PER_SECOND },
        { "weeks", WEEK *NS_PER_SECOND },
        { "week", WEEK *NS_PER_SECOND },
        { "w", WEEK *NS_PER_SECOND },
        { "months", MONTH *NS_PER_SECOND },
        { "month", MONTH *NS_PER_SECOND },
        { "M", MONTH *NS_PER_SECOND },
        { "years", YEAR *NS_PER_SECOND },
        { "year", YEAR *NS_PER_SECOND },
        { "y", YEAR *NS_PER_SECOND },
        { "msec", 1000000 },
        { "ms", 1000000 },
        { "usec", 1000 },
        { "us", 1000 },
        { "\xce\xbcs", 1000 }, /* U+03BC */
        { "\xc2\xb5s", 1000 }, /* U+00B5 */
        { "nsec", 1 },
        { "ns", 1 },
};

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *p) {
        while (is_blank(*p))
                p++;
        return p;
}

/* The unit at p, which ends where a blank, a digit or the text does. No unit there: seconds. */
static int parse_unit(const char **p, int64_t *ret_ns) {
        size_t n = strcspn(*p, " \t0123456789.+-");

        if (n == 0) {
                *ret_ns = NS_PER_SECOND;
                return 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strlen(units[i].name) == n && memcmp(units[i].name, *p, n) == 0) {
                        *p += n;
                        *ret_ns = units[i].ns;
                        return 0;
                }
        return -EINVAL;
}

/* The digits after a decimal point, as nanoseconds. */
static int scale_fraction(const char *digits, size_t n, int64_t unit_ns, int64_t *ret_ns) {
        int64_t ns = 0, place = unit_ns;

        for (size_t i = 0; i < n; i++) {
                int digit = digits[i] - '0';

                if (place % 10 == 0)
                        place /= 10;
                else if (digit != 0)
                        return -ERANGE; /* finer than a nanosecond */
                else
                        place = 1; /* nothing but zeros may follow */
                ns += digit * place;
        }
        *ret_ns = ns;
        return 0;
}

/* One number with its unit. */
static int parse_term(const char **text, int64_t *ret_ns) {
        const char *p = *text, *fraction;
        int64_t number = 0, unit_ns, ns, fraction_ns;
        size_t n_fraction = 0;
        bool too_large = false;
        int r;

        if (!is_digit(*p))
                return -EINVAL;
        for (; is_digit(*p); p++)
                if (__builtin_mul_overflow(number, 10, &number) ||
                                __builtin_add_overflow(number, *p - '0', &number))
                        too_large = true;

        fraction = p;
        if (*p == '.') {
                fraction = ++p;
                while (is_digit(*p))
                        p++;
                n_fraction = (size_t) (p - fraction);
                if (n_fraction == 0)
                        return -EINVAL;
        }

        p = skip_blanks(p);
        r = parse_unit(&p, &unit_ns);
        if (r < 0)
                return r;
        r = scale_fraction(fraction, n_fraction, unit_ns, &fraction_ns);
        if (r < 0)
                return r;
        if (too_large || __builtin_mul_overflow(number, unit_ns, &ns) ||
                        __builtin_add_overflow(ns, fraction_ns, &ns))
                return -ERANGE;

        *text = p;
        *ret_ns = ns;
        return 0;
}

int timespan_parse(const char *text, int64_t *ret_seconds) {
        const char *p = skip_blanks(text);
        int64_t sum = 0;

        if (*p == '\0')
                return -EINVAL;

        while (*p != '\0') {
                int64_t ns;
                int r = parse_term(&p, &ns);

                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, ns, &sum))
                        return -ERANGE;
                p = skip_blanks(p);
        }

        if (sum % NS_PER_SECOND != 0 || sum / NS_PER_SECOND > TIMESPAN_MAX)
                return -ERANGE;

        *ret_seconds = sum / NS_PER_SECOND;
        return 0;
}

char *timespan_format(int64_t seconds, char *buffer) {
        static const struct {
                const char *name;
                int64_t seconds;
                bool only_even;
        } steps[] = {
                { "y", YEAR, true },
                { "month", MONTH, true },
                { "w", WEEK, true },
                { "d", DAY, false },
                { "h", HOUR, false },
                { "min", MINUTE, false },
                { "s", 1, false },
        };
        size_t used = 0;

        (void) snprintf(buffer, TIMESPAN_TEXT_MAX, "0");
        for (size_t i = 0; i < ELEMENTSOF(steps) && seconds > 0; i++) {
                int64_t n = seconds / steps[i].seconds;

                if (n == 0 || (steps[i].only_even && seconds % steps[i].seconds != 0))
                        continue;
                used += (size_t) snprintf(buffer + used, TIMESPAN_TEXT_MAX - used, "%s%" PRId64 "%s",
                                used > 0 ? " " : "", n, steps[i].name);
                seconds -= n * steps[i].seconds;
        }
        return buffer;
}
