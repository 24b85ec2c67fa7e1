/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ENTITLEMENT_H
#define KEYROTA_ENTITLEMENT_H

/*
 * Which secrets a user may read, by the access table and the name services: the one place that decides, for the PAM module, the read server and the
 * renewal of copies alike. May call access-table and membership; libc only, no variables.
 */

#include "access-table.h"
#include "membership.h"

/* Is there a line "locked USER"? No name service is asked. */
bool entitlement_locked(const struct access_table *table, const char *user);

/* May the user have this secret? 1, 0, or a negative errno: a group of its line could not be looked up (that of the name services), or -EBADMSG: the
 * table is damaged. *ret_secret: its line, as long as the table lives; name "" where there is none. The whole table is read, and as many groups are
 * looked up, whatever the answer, so that neither code nor time tells one refusal from another. */
int entitlement_check(const struct access_table *table, const char *name, const struct membership *who, struct access_secret *ret_secret);

/* Calls each() for every secret that the user may have, whatever its reads, but not for locked ones; a result < 0 of each() ends it and is returned.
 * Reads but the lines that name the user. Groups are looked up only where the table names any. 0, or a negative errno as above; then not all
 * of them were told, but where a group could not be looked up, those that name the user. */
int entitlement_each(const struct access_table *table, const struct membership *who,
                     int (*each)(const struct access_secret *secret, void *userdata), void *userdata);

/* The same, and also for what nothing but a lock keeps from the user: locked. */
int entitlement_each_or_locked(const struct access_table *table, const struct membership *who,
                               int (*each)(const struct access_secret *secret, bool locked, void *userdata), void *userdata);

/* Does the table name any group? If not, nobody's groups matter. */
bool entitlement_needs_groups(const struct access_table *table);

#endif
