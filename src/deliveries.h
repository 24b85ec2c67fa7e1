/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_DELIVERIES_H
#define KEYROTA_DELIVERIES_H

/*
 * The last good deliveries, a plain list in PATH_DELIVERIES: the provisioner writes it, the generator falls
 * back on it for a policy that it cannot read, so that a broken policy never takes a LoadCredential= away. A
 * line each, sorted:
 *
 *     UNIT CREDENTIAL SECRET [rsa] [refresh]
 *
 * CREDENTIAL "*": the unit reads the public JWKS file itself. rsa: the secret may be made later than others
 * (or its algorithm is unknown). refresh: on_change = reload of a credential. Lines that begin with "#" are
 * comments. May call policy and tree.
 */

#include "policy.h"
#include "tree.h"

struct delivery_line {
        char *unit;
        char *credential; /* NULL: none */
        char *secret;
        bool rsa;
        bool refresh;
};

struct deliveries {
        struct delivery_line *lines;
        size_t n_lines;
        size_t n_bad; /* lines that deliveries_parse() passed over because they are not in this form */
};

/* Adds every delivery of a policy (of a broken one: those that could be made out). -ENOMEM. */
int deliveries_add_policy(struct deliveries *deliveries, const struct policy *policy);
int deliveries_add(struct deliveries *deliveries, const struct delivery_line *line);

/* By unit, secret and credential; of equal lines one stays, with the flags of both. */
void deliveries_sort(struct deliveries *deliveries);

/* The list as text, and back; parsing adds to what is there. */
int deliveries_format(const struct deliveries *deliveries, char **ret);
int deliveries_parse(struct deliveries *deliveries, const char *text);

/* Reads PATH_DELIVERIES; a missing file is an empty list. -EPERM: the file is not root's alone, -EFBIG,
 * -ELOOP... */
int deliveries_load(const struct tree *tree, struct deliveries *ret);
/* Sorts, and replaces PATH_DELIVERIES durably when that changes it: 1, else 0. Its folder must exist. */
int deliveries_save(const struct tree *tree, struct deliveries *deliveries);

/* Frees the contents and leaves it empty. */
void deliveries_clear(struct deliveries *deliveries);

#endif
