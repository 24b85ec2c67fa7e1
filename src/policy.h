/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_POLICY_H
#define KEYROTA_POLICY_H

/*
 * What the administrator wrote: keyrota.conf and one INI file for each secret, read strictly. Touches nothing
 * but those files. May call inih, tree, diagnostics, timespan, window, roles.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "algorithm.h"
#include "cleanup.h"
#include "diagnostics.h"
#include "tree.h"
#include "window.h"

#define POLICY_FILE_MAX (64 * 1024) /* bytes */
#define POLICY_NAME_MAX 64          /* bytes of a secret's or environment's name */
#define POLICY_PEER_MAX \
        83 /* bytes of unit name and credential name together: systemd(1) never connects beyond that */

enum use { USE_SIGN, USE_VERIFY };

enum format {
        FORMAT_JWK,
        FORMAT_JWKS,
        FORMAT_PEM,
        FORMAT_RAW,
        FORMAT_HEX,
        FORMAT_BASE64,
        FORMAT_BASE64URL,
        FORMAT_COUNT
};

enum on_change { ON_CHANGE_RESTART, ON_CHANGE_RELOAD, ON_CHANGE_SIGNAL, ON_CHANGE_NONE };

enum on_removal { ON_REMOVAL_KEEP, ON_REMOVAL_DESTROY };

/* How users read a secret: a copy in each of their sessions, or from keyrota-read, which puts every read on record. */
enum reads { READS_SESSION, READS_RECORDED };

enum seal_with { SEAL_WITH_AUTO, SEAL_WITH_HOST, SEAL_WITH_TPM2, SEAL_WITH_HOST_TPM2 };

/* One [deliver:UNIT] section. */
struct delivery {
        char *unit;       /* "billing.service", a template "gateway@.service" or an instance of one */
        char *credential; /* NULL: the unit reads the public JWKS file itself */
        enum use use;
        enum format format;
        bool newline; /* a final newline */
        enum on_change on_change;
        int signal; /* of ON_CHANGE_SIGNAL */
        unsigned max_unavailable; /* instances of a template that may be restarted at once, 1 or more */
        char *file; /* where the section stands, for messages */
        unsigned line;
        char *format_file; /* where format stands, NULL: not set */
        unsigned format_line;
        char *on_change_file; /* where on_change stands, NULL: not set */
        unsigned on_change_line;
};

/* The [access] section: who may read the secret, and how. */
struct access {
        char **users;
        size_t n_users;
        char **groups; /* without the @ */
        size_t n_groups;
        char *users_file; /* where users stands; NULL: there is no such section */
        unsigned users_line;
        enum use use;
        enum reads reads;
};

struct policy {
        char *name;
        char *file;  /* main file as the administrator knows it */
        bool valid;  /* false: only name, file and those deliveries that could be made out are to be relied on
                      */
        char *error; /* of an invalid policy: the first thing that is wrong, "FILE:LINE: text"; else NULL */
        bool algorithm_known; /* true also in an invalid policy whose algorithm could be made out */
        char *environment;
        enum algorithm algorithm;
        unsigned size;                                                          /* see algorithm.h */
        int64_t cryptoperiod, token_lifetime, jwks_max_age, clock_skew, jitter; /* seconds */
        struct window window;        /* when a step that restarts a unit may be taken */
        char *window_file;           /* where window stands, in keyrota.conf perhaps; NULL: not set */
        unsigned window_line;
        enum on_removal on_removal;  /* what becomes of the keys when the policy is removed */
        struct delivery *deliveries;
        size_t n_deliveries;
        struct access access;
};

/* keyrota.conf's own section. */
struct config {
        bool audit_required;
        enum seal_with seal_with;
        bool valid; /* false: keyrota.conf has errors; every policy is invalid too */
};

struct policy_set {
        struct config config;
        struct policy **policies; /* sorted by name; broken ones are here too, with valid = false */
        size_t n_policies;
        bool incomplete; /* a policy folder could not be listed: a policy that is missing here may well exist
                          */
};

void policy_free(struct policy *policy);
DEFINE_CLEANUP(struct policy *, policy_free);
void policy_set_free(struct policy_set *set);
DEFINE_CLEANUP(struct policy_set *, policy_set_free);

/* Reads keyrota.conf and every policy of the tree, and checks what can be checked without the running system,
 * conflicts between policies included (two secrets with the same unit and credential). What is wrong goes to
 * diagnostics and makes that policy invalid; the others are not touched. A negative errno only when nothing
 * could be read at all (-ENOMEM, -EIO). No /etc/keyrota: an empty set. */
int policy_load_all(const struct tree *tree, struct policy_set **ret, struct diagnostics *diagnostics);

/* Reads these files only (paths as the caller gave them, not inside the tree), with their FILE.d drop-ins and
 * the tree's keyrota.conf. The secret's name is the file's stem. */
int policy_load_files(const struct tree *tree, char *const files[], size_t n_files, struct policy_set **ret,
                struct diagnostics *diagnostics);

/* The policy as canonical INI text; policy_parse_text() reads it back to an equal policy. Defaults are written out, but for those of keys
 * that are younger than the first stored policies (window, on_removal, max_unavailable, reads): a text that was stored before there were any must
 * not look edited. -EBADMSG: the text is not a good policy, diagnostics say why. */
int policy_format(const struct policy *policy, char **ret);
int policy_parse_text(
                const char *name, const char *text, struct policy **ret, struct diagnostics *diagnostics);

/* Adds an error for each delivery whose on_change = reload cannot deliver under this systemd version (257,
 * 260...), and makes its policy invalid; see RefreshOnReload= in systemd.exec(5). */
bool policy_set_wants_reload(const struct policy_set *set); /* does any? */
int policy_check_reload(struct policy_set *set, unsigned systemd_version, struct diagnostics *diagnostics);

/* What a good policy brings about that its author may not expect: what is rejected at a rotation where a format holds one key, what a
 * rotation waits for, what has no effect. Adds to notes, each as no error. -ENOMEM. */
int policy_notes(const struct policy_set *set, struct diagnostics *notes);

/* prepublish = jwks_max_age + clock_skew: how long a key is published before it signs. Seconds. */
int64_t policy_prepublish(const struct policy *policy);
/* overlap = token_lifetime + clock_skew: how long a key verifies after it last signed. Seconds. */
int64_t policy_overlap(const struct policy *policy);

/* The closed alphabets. Nothing that fails them becomes part of a path, unit or key description. */
bool policy_name_valid(const char *name);
bool policy_environment_is_file(const char *environment); /* its folder would stand where a file of keyrota's does, in PATH_STATE */
bool policy_credential_valid(const char *credential);
bool policy_unit_valid(const char *unit);
bool policy_unit_is_template(const char *unit); /* "gateway@.service" */
bool policy_user_valid(const char *user); /* or group */

const char *use_to_string(enum use use);
const char *format_to_string(enum format format);
const char *on_removal_to_string(enum on_removal on_removal);
const char *reads_to_string(enum reads reads);
int use_from_string(const char *string);    /* -EINVAL */
int format_from_string(const char *string); /* -EINVAL */
/* "restart", "signal:HUP"... buffer may or may not be used. */
#define ON_CHANGE_TEXT_MAX 32
const char *on_change_to_string(const struct delivery *delivery, char buffer[static ON_CHANGE_TEXT_MAX]);
/* Can this format carry a key of this algorithm? */
bool format_carries(enum format format, enum algorithm algorithm);

#endif
