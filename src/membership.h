/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_MEMBERSHIP_H
#define KEYROTA_MEMBERSHIP_H

/* Who a user is to the system's name services: the account's own name and its groups. Calls libc only. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "cleanup.h"

struct membership {
        bool known;       /* there is such an account */
        int unsure;       /* not known, but perhaps only because a name service is away: its negative errno; else 0 */
        bool certain;     /* set by who needs to know: a group that is not known, perhaps only because a name service is away, is an error */
        uid_t uid;        /* (uid_t) -1: unknown */
        const char *name; /* as the account spells itself; of an unknown one: as it was asked for */
        gid_t *gids;      /* primary group included */
        size_t n_gids;
        char *record;     /* owns name */
};

/* Asks the same questions about a user who is not known. 0, or a negative errno when the services could not
 * answer. */
int membership_load(const char *user, struct membership **ret);
/* The same without its groups, for who asks after none. */
int membership_load_account(const char *user, struct membership **ret);
void membership_free(struct membership *membership);
DEFINE_CLEANUP(struct membership *, membership_free);

/* Is one of the user's groups called group? 1, 0 (also: there is no such group), or a negative errno. */
int membership_has_group(const struct membership *membership, const char *group);

#endif
