/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_GRANTS_H
#define KEYROTA_PAM_GRANTS_H

/* What a session is to be given a copy of, by the access table; and giving it. May call entitlement, live-ring, copies and record. */

#include "access-table.h"
#include "copies.h"
#include "membership.h"
#include "record.h"

struct grant {
        struct access_secret secret; /* but for its members */
        bool locked;                 /* nothing but a lock keeps it from the user */
        bool given;
        int error;                   /* why it was not; 0: nothing wrong */
};

struct grants {
        struct grant *items;
        size_t n, room;
};

/* Secrets that are read in sessions, allowed or locked, and wanted by the holder's line. 0, or a negative errno of entitlement_each() or -ENOMEM. */
int grants_collect(struct grants *grants, const struct access_table *table, const struct membership *who, const struct copies_holder *holder);

/* Puts copies of what the live keyring holds into the ring, and of each a record to the others. What has never been published is left out. An error about
 * one secret is that grant's; a result < 0, as of live_ring_open(), is about all of them. */
int grants_fill(struct grants *grants, int32_t live_ring, copies_serial ring, bool is_new, const struct copies_holder *holder, struct records *records);

void grants_take_back(struct grants *grants, copies_serial ring);

/* How many may be given; how many were. */
size_t grants_count(const struct grants *grants);
size_t grants_count_given(const struct grants *grants);

void grants_clear(struct grants *grants);

#endif
