/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PROVISION_RUN_H
#define KEYROTA_PROVISION_RUN_H

/* The state of one run of provision(), shared by the provision-*.c files only. */

#include "bus.h"
#include "clock.h"
#include "consumers.h"
#include "kek.h"
#include "keygen.h"
#include "keyset.h"
#include "lifecycle.h"
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
        struct keyset *outline;      /* what was published, without its keys: for the handover; NULL: it was given up or left */
        struct lifecycle_result result;
        bool replaces;               /* the stored file, which is to be set aside */
        char *aside;                 /* owned: where that is kept */
        bool store_again;            /* even if the policy was not edited */
        bool keep_keyset;            /* after it is published too: a key is still to be made */
        bool waits;                  /* for evidence, or for another try */
        uint64_t published;          /* the generation of which this run has published everything; 0: none */
        int64_t copies_until;        /* when users' copies of it end by themselves */
};

/* When the secret wants to be looked at again. */
struct due {
        char *environment, *name;
        int64_t when;   /* or TIME_NEVER */
        bool waits;     /* for evidence, too: with a pause that grows */
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
        struct bus *bus;               /* opened when first needed */
        int bus_error;                 /* why it could not be */
        struct consumers_view *view;   /* of this pass */
        struct clock clock;
        int64_t now;
        struct item *items; /* one for each policy */
        struct item **batch; /* staged and not committed yet */
        size_t n_batch;
        struct item **rsa; /* an RSA key must be made */
        size_t n_rsa;
        struct due *retired;
        size_t n_retired;
        unsigned n_passes;             /* 1: the first of this command */
        size_t n_failed;
        size_t n_held_up;    /* secrets with services that could not be told */
        size_t n_stored_now; /* secrets that this pass has stored anew */
        bool policy_wrong;
        bool change_failed;
};

/* provision-open.c: opens the KEK, takes the store's lock, then reads the policies, the clock, the keyring and the JWKS folder; run->n_passes is set by the caller.
 * Logs. 0 or a negative errno. */
int run_open(struct run *run);
void run_clear(struct run *run);
bool run_has_policy(const struct run *run, const char *name);
/* Is it one of the secrets that this run is about? */
bool run_wants(const struct run *run, const char *name);
/* Closes the store, for those who wait for its lock. */
void run_end_pass(struct run *run);

/* provision-load.c: finds the policy that the item is run with and the keys that it has. 0, or a negative errno when it does not go on in this
 * run: that has been logged, and what is published of it stays. */
int item_load(struct run *run, struct item *item);
/* Leaves what is published of the secret as it is; item_give_up() also counts it as a failure, for what is no fault of the policy. */
void item_leave(struct run *run, struct item *item);
void item_give_up(struct run *run, struct item *item);
void item_done(struct item *item);

/* provision-advance.c: takes the steps that are due, and before them the change that a command asks for. 0, or a negative errno after logging. */
int item_advance(struct run *run, struct item *item);
/* Any number, for what need not be secret. */
uint64_t run_random(const struct run *run);
/* The units of this host, asked once a pass; run->bus NULL: another tree. */
int run_open_view(struct run *run);
/* What is known of a secret's consumers: for steps that need evidence. policy NULL or without consumers: nobody. Logs when the manager does not answer. */
void run_facts(struct run *run, const struct policy *policy, const struct keyset *keyset, struct lifecycle_facts *ret);
/* Reads the clock; 1: the set was changed, for it was set since the set was stored, or not known to be right in between. A negative errno after logging. */
int run_follow_clock(struct run *run, struct keyset *keyset);
/* On record, before they are stored. A negative errno where that is required and was not possible. */
int run_record_events(struct run *run, const struct keyset *keyset, const struct lifecycle_result *result);

/* provision-change.c: what the command decides, if any. 1: the set was changed; a negative errno after logging, or -ENOMEM. */
int item_change(struct run *run, struct item *item);

/* The same of a secret whose policy was removed: puts on record that the key kid, or with NULL every key, is compromised. A negative errno after logging. */
int run_record_compromised(const struct run *run, const struct keyset *keyset, const char *kid);

/* provision-retired.c: secrets whose policy was removed. Logs and counts what fails. */
void run_retire(struct run *run);

/* provision.c: one pass over all secrets that are wanted. 0, or a negative errno after logging when it had to stop; ends with the store closed. *ret_more: see
 * run_clear_pending(). */
int run_pass(struct run *run, bool *ret_more);
int run_status(const struct run *run);

/* rotate-timers.c: arms the timers of what comes next for everything that the last pass has looked at. Logs. */
int run_arm_timers(struct run *run);
/* After a sweep that could not begin: secrets whose timers do not stand, as after a boot, are looked at again in some minutes. */
int run_arm_retries(struct run *run);

/* provision-commit.c: adds a key that was made (taken over in any case) with item->times. 0, or a negative errno after logging. */
int item_add_key(struct run *run, struct item *item, struct jwk *jwk);
/* Makes keyset and policy the next generation; published by run_commit(), which is called when enough is staged. */
void item_stage(struct run *run, struct item *item);
void item_publish(struct run *run, struct item *item);
void run_commit(struct run *run);

/* provision-access.c: who may read what, for logins and the read server; after what they read is published, and with the store's lock. only: what else
 * stands there stays, for another run may know more of it; NULL: all that this run is about. Logs; 0 or a negative errno. */
int run_publish_access(struct run *run, const struct item *only);
/* Renews the copies in open sessions, and takes away what their users may not have any more. After the table is written and the store closed, for the name
 * services may be slow. Logs, and counts a failure. */
void run_renew_copies(struct run *run);
/* When the kernel is to end copies of what is published now, whether anything of ours runs by then or not. */
int64_t copies_until(const struct keyset *keyset, const struct policy *policy, int64_t now);

/* provision-tables.c. Each logs; 0 or a negative errno. The generator's table. */
int run_write_tables(struct run *run);
/* Removes a file of PATH_RUN, if it is there. */
int run_remove_file(const struct run *run, const char *path);
/* What is run of each policy: as written where that is good, else as it last worked; NULL where neither is known. */
const struct policy *item_effective_policy(const struct item *item);
/* Notes which RSA keys have to be made after this, or that none is left. */
int run_note_pending(struct run *run);
/* Takes that note back, now that they are made. *ret_more: another run has noted others in it; it stays. */
int run_clear_pending(struct run *run, bool *ret_more);

/* provision-rsa.c: makes, stores and publishes them; the store is closed then. *ret_more: as above. 0, or a
 * negative errno after logging when it had to stop; single keys that could not be made count as failed. */
int run_make_rsa_keys(struct run *run, bool *ret_more);

#endif
