/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TIMESPAN_H
#define KEYROTA_TIMESPAN_H

/* Spans of time as systemd.time(7) spells them: "1h 30min", "30d", "2w", "90" (seconds). Pure. */

#include <stdint.h>

#define TIMESPAN_TEXT_MAX 64

#define TIMESPAN_MAX INT64_C(3155760000) /* seconds: 100 years of 365.25 days */

/* Whole seconds. -EINVAL: not a span; -ERANGE: longer than TIMESPAN_MAX or not a whole number of seconds. */
int timespan_parse(const char *text, int64_t *ret_seconds);

/* A short spelling with parse(format(x)) == x: years, months and weeks only where they come out even ("2w"),
 * else days, hours, minutes and seconds ("1h 30min", "30d"). seconds must not be negative. buffer of
 * TIMESPAN_TEXT_MAX. Returns buffer. */
char *timespan_format(int64_t seconds, char *buffer);

#endif
