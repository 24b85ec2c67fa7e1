/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PROVISION_H
#define KEYROTA_PROVISION_H

/*
 * One run over all policies: read them, open the store, make the keys that are missing, store them durably, publish. Every policy stands for itself: what is wrong
 * with one is logged and counted, and the others go on.
 */

#include <stdbool.h>
#include <stddef.h>

#include "context.h"
#include "policy.h"

struct provision_options {
        bool defer_rsa;      /* leave RSA keys that are missing to a later run and note that in PATH_RSA_PENDING */
        char **replace;      /* secrets whose stored keys are given up: set aside, and new ones made */
        size_t n_replace;
        char **accept_older; /* secrets whose stored file may be older than what was seen (a restored backup) */
        size_t n_accept_older;
};

/* Logs what it does and what is wrong. Returns an exit status (see context.h). */
int provision(struct context *context, const struct provision_options *options);

/* Makes the KEK where there is none; what setup and provision share. Logs. 0, 1 (made) or a negative errno. */
int provision_setup(const struct context *context, enum seal_with seal_with);

#endif
