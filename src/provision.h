/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PROVISION_H
#define KEYROTA_PROVISION_H

/*
 * One run over the policies: read them, open the store, take the steps that are due, store the result durably, publish. Every policy stands for itself:
 * what is wrong with one is logged and counted, and the others go on.
 */

#include <stdbool.h>
#include <stddef.h>

#include "context.h"
#include "policy.h"

struct jwk;

/* What a command does to one secret, before the steps that are due. */
enum change_type {
        CHANGE_NOTHING,
        CHANGE_ROTATE,   /* its active key's cryptoperiod ends now */
        CHANGE_REVOKE,   /* kid, or every key, is compromised */
        CHANGE_ROLLBACK, /* the previous key signs again */
        CHANGE_IMPORT,   /* jwk becomes its first key */
        CHANGE_DESTROY,  /* of a retired secret: as soon as no token can be out, or now */
};

struct change {
        enum change_type type;
        const char *kid;
        struct jwk *jwk; /* owned by whoever has the change; taken when it is used */
        bool now;
};

struct provision_options {
        bool defer_rsa;      /* leave RSA keys that are missing to a later run and note that in PATH_RSA_PENDING */
        char **replace;      /* secrets whose stored keys are given up: set aside, and new ones made */
        size_t n_replace;
        char **accept_older; /* secrets whose stored file may be older than what was seen (a restored backup) */
        size_t n_accept_older;
        char **names;        /* these secrets only; none: all */
        size_t n_names;
        struct change *change; /* to each of names; NULL: none */
};

/* Logs what it does and what is wrong. Returns an exit status (see context.h). */
int provision(struct context *context, const struct provision_options *options);

/* The same, and then gives the new keys to the units that run, waits for what must be seen before the next step, goes on until nothing more can be done now,
 * and arms a timer for what comes next. */
int rotate(struct context *context, const struct provision_options *options);

/* Makes the KEK where there is none; what setup and provision share. Logs. 0, 1 (made) or a negative errno. */
int provision_setup(const struct context *context, enum seal_with seal_with);

#endif
