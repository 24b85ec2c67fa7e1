/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_CONTEXT_H
#define KEYROTA_CONTEXT_H

/* What the global options of keyrota(8) decide for every verb, and the table of verbs. */

#include <stdbool.h>
#include <stddef.h>

#include "audit.h"
#include "tree.h"

/* Exit statuses, as keyrota(8) documents them. */
#define EXIT_POLICY 78 /* EX_CONFIG of sysexits.h: nothing failed but a policy is wrong */
#define EXIT_USAGE 2
#define EXIT_HELD_UP 75 /* EX_TEMPFAIL: nothing failed but services that could not be told of a new key; it is tried again */

struct context {
        struct tree *tree;
        const char *ring; /* name of the kernel keyring; NULL: another tree, nothing is published */
        bool audit_required;
};

/* Is this the host's own tree, with its journal and service manager? */
static inline bool context_is_host(const struct context *context) {
        return !context->tree->root;
}

/* Writes the record for the host's tree; another tree's changes are no events of this host. A record that cannot be written is noted; where
 * audit = required, its error is returned and the caller gives up what it was about to do. */
int context_audit(const struct context *context, enum audit_event event, const struct audit_record *record);

/* One verb: argv[0] is its name. Returns an exit status. */
int verb_setup(struct context *context, int argc, char *argv[]);
int verb_provision(struct context *context, int argc, char *argv[]);
int verb_check(struct context *context, int argc, char *argv[]);
int verb_status(struct context *context, int argc, char *argv[]);
int verb_read(struct context *context, int argc, char *argv[]);
int verb_rotate(struct context *context, int argc, char *argv[]);
int verb_plan(struct context *context, int argc, char *argv[]);
int verb_revoke(struct context *context, int argc, char *argv[]);
int verb_rollback(struct context *context, int argc, char *argv[]);
int verb_import(struct context *context, int argc, char *argv[]);
int verb_rekey(struct context *context, int argc, char *argv[]);
int verb_lock(struct context *context, int argc, char *argv[]);
int verb_unlock(struct context *context, int argc, char *argv[]);
int verb_explain(struct context *context, int argc, char *argv[]);
int verb_destroy(struct context *context, int argc, char *argv[]);

#endif
