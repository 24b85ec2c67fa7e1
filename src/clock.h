/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_CLOCK_H
#define KEYROTA_CLOCK_H

/* The host's clocks, and what they tell of the time since a key set was stored. Calls libc and the kernel only. */

#include "keyset.h"
#include "lifecycle.h"

struct clock {
        int64_t now;       /* CLOCK_REALTIME, seconds */
        int64_t offset;    /* CLOCK_REALTIME - CLOCK_BOOTTIME, seconds */
        int64_t boot;      /* when this boot began, by the present clock */
        char boot_id[33];  /* "": not known */
        bool synchronized; /* with a time server; false also where that cannot be found out */
};

void clock_read(struct clock *ret);

/* The time has gone on. */
void clock_update(struct clock *clock);

/* Seconds by which the clock was set since then, forward > 0; 0: it was not, or that cannot be known. */
int64_t clock_step(const struct clock *clock, const struct keyset_clock *stored);
/* 0: the time since then is known. Else the start of this boot: it was in an earlier one, and one of the clocks was not known to be right. */
int64_t clock_since(const struct clock *clock, const struct keyset_clock *stored);

/* Notes the present clock with a set that is about to be stored. */
void clock_stamp(const struct clock *clock, struct keyset_clock *stored);

#endif
