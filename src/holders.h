/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_HOLDERS_H
#define KEYROTA_HOLDERS_H

/*
 * The login sessions that hold copies of secrets. Nothing remembers them: their rings are found in /proc/keys, where root sees all that are its own. May call
 * copies, keyring, access-file, entitlement, membership and locks.
 */

#include "context.h"
#include "copies.h"
#include "keyring.h"
#include "locks.h"

struct holder {
        copies_serial ring;
        struct copies_holder who;
};

struct holders {
        struct holder *items; /* by user, then by ring */
        size_t n;
};

/* holders.c: those that were given copies by the tree's own access table. A negative errno where /proc/keys cannot be read. */
int holders_load(const struct context *context, struct holders *ret);
void holders_clear(struct holders *holders);

enum holder_copy { HOLDER_NONE, HOLDER_STALE, HOLDER_CURRENT };
/* What the session holds of the secret called name, whose users read what is published as description "secret:ENV/NAME/USE". */
enum holder_copy holder_compare(const struct holder *holder, const char *name, keyring_serial live, const char *description);

/* holders-renew.c: makes each session hold what a login by the same way would give it now, by the access table; where a name service cannot answer for a user,
 * all that their sessions hold stays, but for what the table alone says that they may not have. Waits for those who do the same. Each change is put on record.
 * Logs, also what it leaves; 0, or a negative errno when something failed. ret_count: how many sessions were changed; NULL. With no session it asks nothing of
 * anybody. */
int holders_renew(const struct context *context, size_t *ret_count);

/* The same for what is locked, by the locks alone: where there is no table; or without a wait, for who cannot wait for a name service that another run asks. That
 * one may give it back, and takes it again at its end. Only takes away. */
int holders_take_locked(const struct context *context, const struct locks *locks, bool wait, size_t *ret_count);

#endif
