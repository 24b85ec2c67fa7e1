/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PROVISION_RUN_H
#define KEYROTA_PROVISION_RUN_H

/* The state of one run of provision(), shared by the provision-*.c files only. */

#include "kek.h"
#include "keygen.h"
#include "keyset.h"
#include "provision.h"
#include "publish.h"
#include "seen.h"
#include "store.h"

#define PROVISION_LOCK_WAIT 90 /* seconds that another run is waited for */
#define PROVISION_BATCH 256 /* secrets that are made durable with one syncfs(2); bounds the locked memory in use */

/* One secret of this run. */
struct item {
        const struct policy *written;
        const struct policy *policy; /* the one that is run: the written one, or else the last good one */
        struct policy *last_good;    /* owned */
        struct keyset *keyset;       /* NULL once it is published */
        struct key_times times;      /* of the key to make */
        bool store_again;            /* even if the policy was not edited */
};

struct run {
        struct context *context;
        const struct provision_options *options;
        struct policy_set *policies;
        struct kek *kek;
        struct store *store;
        struct store_name *stored;
        size_t n_stored;
        struct seen *seen;
        struct publication *publication;
        int64_t now;
        struct item *items; /* one for each policy */
        struct item **batch; /* staged and not committed yet */
        size_t n_batch;
        struct item **rsa; /* an RSA key must be made */
        size_t n_rsa;
        size_t n_failed;
        bool policy_wrong;
};

/* provision-open.c: reads the policies, opens KEK, store, keyring and JWKS folder. Logs. 0 or a negative errno. */
int run_open(struct run *run);
void run_clear(struct run *run);
bool run_has_policy(const struct run *run, const char *name);

/* provision-load.c: finds the policy that the item is run with and the keys that it has. 0, or a negative errno when it does not go on in this
 * run: that has been logged, and what is published of it stays. */
int item_load(struct run *run, struct item *item);
/* Leaves what is published of the secret as it is; item_give_up() also counts it as a failure, for what is no fault of the policy. */
void item_leave(struct run *run, struct item *item);
void item_give_up(struct run *run, struct item *item);
void item_done(struct item *item);

/* provision-commit.c: adds a key that was made (taken over in any case) with item->times. 0, or a negative errno after logging. */
int item_add_key(struct run *run, struct item *item, struct jwk *jwk);
/* Makes keyset and policy the next generation; published by run_commit(), which is called when enough is staged. */
void item_stage(struct run *run, struct item *item);
void item_publish(struct run *run, struct item *item);
void run_commit(struct run *run);

/* provision-tables.c. Each logs; 0 or a negative errno. The public keys of retired secrets, the generator's and the PAM module's tables. */
int run_write_tables(struct run *run);
/* Notes which RSA keys have to be made after this, or that none is left. */
int run_note_pending(struct run *run);
/* Takes that note back, now that they are made. *ret_more: another run has noted others in it; it stays. */
int run_clear_pending(struct run *run, bool *ret_more);

/* provision-rsa.c: makes, stores and publishes them; the store is closed then. *ret_more: as above. 0, or a
 * negative errno after logging when it had to stop; single keys that could not be made count as failed. */
int run_make_rsa_keys(struct run *run, bool *ret_more);

#endif
