/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_STATUS_H
#define KEYROTA_STATUS_H

/* What is there and what is wrong with it: policies, store, keyring and journal compared. Changes nothing. May call every module but seal's makers. */

#include <stdint.h>

#include "clock.h"
#include "consumers.h"
#include "context.h"
#include "holders.h"
#include "keyset.h"
#include "lifecycle.h"
#include "locks.h"
#include "policy.h"

/* A session that holds a copy of a secret. */
struct status_holder {
        const struct holder *holder;
        enum holder_copy copy;
};

struct status_secret {
        char *environment; /* NULL: not known */
        char *name;
        const struct policy *policy;    /* as written, perhaps broken; NULL: its policy was removed */
        struct keyset *keyset;          /* NULL: no keys, or they cannot be read */
        bool unreadable;                /* it has stored keys, or had, that cannot be read; the problems say why */
        char *elsewhere;                /* of a policy without keys in its environment: another one in which it has some; or NULL */
        struct lifecycle_result result; /* what a run would do now, of a policy that is in force and has keys */
        struct consumers consumers;     /* that run on this host */
        char *members;                  /* "alice @ops": who may read it; NULL: no user */
        enum use access_use;
        enum reads access_reads;
        bool locked;                    /* for users */
        struct status_holder *holders;
        size_t n_holders;
        bool *published;                /* for each delivery of the policy: is it in the keyring, of this generation? */
        char **problems;
        size_t n_problems;
};

struct status {
        struct policy_set *policies;
        struct status_secret *secrets;
        size_t n_secrets;
        struct holders holders; /* every session with a ring of copies */
        struct locks locks;
        char **problems; /* of the whole */
        size_t n_problems;
        uint64_t records_missing; /* audit records that could not be written since boot */
        struct clock clock;
};

/* A negative errno only when nothing could be found out. */
int status_read(struct context *context, struct status **ret);
/* The secret of this name (of one that is retired in several environments, the first); NULL: there is none. */
const struct status_secret *status_find(const struct status *status, const char *name);
void status_free(struct status *status);
DEFINE_CLEANUP(struct status *, status_free);

/* status-access.c: who may read what, and who holds it. 0 or -ENOMEM; asks no name service. */
int status_look_at_access(const struct context *context, struct status *status);

/* For status*.c only. */
int status_add_problem(char ***problems, size_t *n, const char *format, ...) _printf_(3, 4);
#define secret_problem(secret, ...) status_add_problem(&(secret)->problems, &(secret)->n_problems, __VA_ARGS__)
#define status_problem(status, ...) status_add_problem(&(status)->problems, &(status)->n_problems, __VA_ARGS__)

#endif
