/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_WINDOW_H
#define KEYROTA_WINDOW_H

/* A weekly maintenance window: [DAYS] HH:MM-HH:MM in local time, DAYS as in systemd.time(7): "Sun", "Mon,Wed", "Mon..Fri". Pure but for the time zone. */

#include <stdbool.h>
#include <stdint.h>

struct window {
        bool set;          /* false: at any time */
        uint8_t days;      /* bit 0: Sunday ... bit 6: Saturday, on which it opens */
        uint16_t opens;    /* minutes after midnight */
        uint16_t closes;   /* minutes after midnight; before opens: on the next day; 1440 for 24:00 */
};

#define WINDOW_TEXT_MAX 48

/* -EINVAL: not in that form; -ERANGE: it closes in the minute in which it opens. */
int window_parse(const char *text, struct window *ret);
/* Canonical; window_parse() reads it back to an equal window. "" when it is not set. */
const char *window_format(const struct window *window, char buffer[static WINDOW_TEXT_MAX]);

/* The first time at or after t (seconds since 1970, UTC) that is in the window: t itself when it is open or not set. Of an hour that the
 * clocks leave out, the first moment after it; of one that they repeat, the first time. */
int64_t window_next(const struct window *window, int64_t t);

/* Seconds, where the clocks are not changed: how long it stays open, and the longest time between two openings. Of a window that is set. */
int64_t window_length(const struct window *window);
int64_t window_interval(const struct window *window);

#endif
