/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Weekly maintenance windows. A window is written in wall-clock time; what that means on a day on which the clocks change is decided in
 * first_moment() alone. Pure but for the time zone; calls libc only.
 */

#include "window.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cleanup.h"

#define DAYS_A_WEEK 7
#define EVERY_DAY 0x7f
#define MINUTES_A_DAY 1440
#define SECONDS_A_DAY INT64_C(86400)
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SHORT_NAME 3

static const char *const day_names[DAYS_A_WEEK] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };

/* Whole or its first three letters, case-insensitively, as systemd.time(7) has it. */
static int parse_day(const char **p) {
        size_t n = strspn(*p, LETTERS);

        for (int day = 0; day < DAYS_A_WEEK; day++)
                if ((n == SHORT_NAME || n == strlen(day_names[day])) && strncasecmp(*p, day_names[day], n) == 0) {
                        *p += n;
                        return day;
                }
        return -EINVAL;
}

/* "Mon", or "Sat..Mon", which goes over the end of the week. */
static int parse_range(const char **p, uint8_t *days) {
        int first = parse_day(p), last = first;

        if (first >= 0 && strncmp(*p, "..", 2) == 0) {
                *p += 2;
                last = parse_day(p);
        }
        if (first < 0 || last < 0)
                return -EINVAL;

        for (int day = first;; day = (day + 1) % DAYS_A_WEEK) {
                *days |= (uint8_t) (1 << day);
                if (day == last)
                        return 0;
        }
}

static int parse_days(const char **p, uint8_t *ret) {
        uint8_t days = 0;
        size_t n_blanks;
        int r = parse_range(p, &days);

        while (r >= 0 && **p == ',') {
                (*p)++;
                r = parse_range(p, &days);
        }
        n_blanks = strspn(*p, " \t");
        if (r < 0 || n_blanks == 0)
                return -EINVAL;
        *p += n_blanks;
        *ret = days;
        return 0;
}

static bool two_digits(const char *p, unsigned *ret) {
        if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
                return false;
        *ret = (unsigned) (p[0] - '0') * 10 + (unsigned) (p[1] - '0');
        return true;
}

/* "HH:MM", 24:00 included. */
static int parse_time(const char **p, uint16_t *ret) {
        unsigned hour, minute;

        if (!two_digits(*p, &hour) || (*p)[2] != ':' || !two_digits(*p + 3, &minute))
                return -EINVAL;
        if (minute > 59 || hour * 60 + minute > MINUTES_A_DAY)
                return -EINVAL;
        *p += strlen("HH:MM");
        *ret = (uint16_t) (hour * 60 + minute);
        return 0;
}

int window_parse(const char *text, struct window *ret) {
        struct window window = { .set = true, .days = EVERY_DAY };
        const char *p = text;

        if (strchr(LETTERS, *p) && parse_days(&p, &window.days) < 0)
                return -EINVAL;
        if (parse_time(&p, &window.opens) < 0 || *p++ != '-' || parse_time(&p, &window.closes) < 0 || *p != '\0' ||
            window.opens == MINUTES_A_DAY)
                return -EINVAL;
        if (window.opens == window.closes)
                return -ERANGE;
        if (window.closes == 0)
                window.closes = MINUTES_A_DAY; /* one spelling of midnight, so that equal windows are equal */
        *ret = window;
        return 0;
}

/* Their names, a week from Monday on; three and more in a row as a range. */
static int format_days(uint8_t days, char *buffer) {
        int used = 0;

        for (int i = 0, n; i < DAYS_A_WEEK; i += n > 0 ? n : 1) {
                for (n = 0; i + n < DAYS_A_WEEK && days & 1 << (i + n + 1) % DAYS_A_WEEK; n++)
                        ;
                if (n == 2)
                        n = 1; /* each by its own name */
                if (n > 0)
                        used += snprintf(buffer + used, (size_t) (WINDOW_TEXT_MAX - used), "%s%.3s", used > 0 ? "," : "",
                                         day_names[(i + 1) % DAYS_A_WEEK]);
                if (n > 2)
                        used += snprintf(buffer + used, (size_t) (WINDOW_TEXT_MAX - used), "..%.3s", day_names[(i + n) % DAYS_A_WEEK]);
        }
        used += snprintf(buffer + used, (size_t) (WINDOW_TEXT_MAX - used), " ");
        return used;
}

const char *window_format(const struct window *window, char buffer[static WINDOW_TEXT_MAX]) {
        int used = 0;

        buffer[0] = '\0';
        if (!window->set)
                return buffer;
        if (window->days != EVERY_DAY)
                used = format_days(window->days, buffer);
        (void) snprintf(buffer + used, (size_t) (WINDOW_TEXT_MAX - used), "%02d:%02d-%02d:%02d", window->opens / 60, window->opens % 60,
                        window->closes / 60, window->closes % 60);
        return buffer;
}

/* Seconds east of UTC at t. */
static int64_t offset_at(int64_t t) {
        struct tm tm;
        time_t time = (time_t) t;

        return localtime_r(&time, &tm) ? tm.tm_gmtoff : 0;
}

/* What the wall clock shows at t, as if it were UTC. */
static int64_t wall_at(int64_t t) {
        return t + offset_at(t);
}

/* When the wall clock first shows this; where it leaves it out, the first moment after. No zone is further from UTC than a day. */
static int64_t first_moment(int64_t wall) {
        int64_t before = offset_at(wall - SECONDS_A_DAY), after = offset_at(wall + SECONDS_A_DAY);
        int64_t early = wall - (before > after ? before : after), late = wall - (before > after ? after : before);

        if (wall_at(early) == wall)
                return early;
        if (wall_at(late) == wall)
                return late;
        while (late - early > 1) { /* the clock jumps over it somewhere between */
                int64_t middle = early + (late - early) / 2;

                if (wall_at(middle) < wall)
                        early = middle;
                else
                        late = middle;
        }
        return late;
}

int64_t window_length(const struct window *window) {
        int minutes = window->closes - window->opens;

        return (minutes > 0 ? minutes : minutes + MINUTES_A_DAY) * INT64_C(60);
}

int64_t window_interval(const struct window *window) {
        int longest = 0, gap = 0;

        for (int day = 0; day < 2 * DAYS_A_WEEK; day++) { /* the second week sees the gap over the end of the first */
                gap++;
                if (window->days & 1 << day % DAYS_A_WEEK) {
                        longest = gap > longest ? gap : longest;
                        gap = 0;
                }
        }
        return longest * SECONDS_A_DAY;
}

int64_t window_next(const struct window *window, int64_t t) {
        struct tm tm;
        time_t time = (time_t) t;
        int64_t midnight;

        if (!window->set || !localtime_r(&time, &tm))
                return t; /* a clock beyond all years must not keep a key from being changed */

        midnight = wall_at(t) - tm.tm_hour * 3600 - tm.tm_min * 60 - tm.tm_sec;
        for (int day = -2; day <= DAYS_A_WEEK + 1; day++) {
                int64_t wall = midnight + day * SECONDS_A_DAY + window->opens * 60, opens, closes;

                if (!(window->days & 1 << (tm.tm_wday + day + DAYS_A_WEEK) % DAYS_A_WEEK))
                        continue;
                opens = first_moment(wall);
                closes = first_moment(wall + window_length(window));
                if (closes <= opens)
                        closes = opens + window_length(window); /* all of it is in what the clocks leave out */
                if (closes > t)
                        return opens > t ? opens : t;
        }
        return t;
}
