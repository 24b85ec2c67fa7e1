/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_EVIDENCE_H
#define KEYROTA_EVIDENCE_H

/*
 * Which generation of a secret a running unit has loaded: by the record of what its invocation was served, for a reader of the public JWKS file
 * also by when it was started. May call served, tree, publish (names).
 */

#include "bus.h"
#include "keyset.h"
#include "policy.h"
#include "tree.h"

struct evidence {
        const struct tree *tree;
        int served; /* PATH_SERVED; -EBADF: there is none yet */
};

/* Nothing on record yet is no error. */
int evidence_open(const struct tree *tree, struct evidence *ret);
void evidence_close(struct evidence *evidence);

/* 1, and *ret_loaded is the generation, 0 when that is not known. 0: the unit runs without this credential, its drop-in was not in effect when it
 * was started. facts: of the running unit. */
int evidence_loaded(const struct evidence *evidence, const struct policy *policy, const struct keyset *keyset, const struct delivery *delivery,
                    const char *unit, const struct bus_unit_facts *facts, uint64_t *ret_loaded);

/* Puts on record that this invocation has loaded what is published: the keyset's generation. */
int evidence_add(struct evidence *evidence, const struct keyset *keyset, const struct delivery *delivery, const char *unit, const char *invocation);

/* It has not, though it was served: it holds this older generation. */
int evidence_take_back(
                struct evidence *evidence, const struct keyset *keyset, const struct delivery *delivery, const char *unit, const char *invocation,
                uint64_t generation);

#endif
