/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_POLICY_DRAFT_H
#define KEYROTA_POLICY_DRAFT_H

/*
 * A policy (or keyrota.conf) while it is being read: what was set where. Shared by the policy-*.c files only.
 */

#include "policy.h"

/* Where a setting stands. file NULL: it is not set; the draft owns the name. */
struct origin {
        const char *file;
        unsigned line;
        bool bad;     /* set, but to nothing that makes sense: already complained about */
        bool guessed; /* bad, and perhaps not even meant: a line that could not be understood looked like it
                       */
};

enum setting {
        SETTING_SECRET_SECTION,
        SETTING_ROTATION_SECTION,
        SETTING_ACCESS_SECTION,
        SETTING_KEYROTA_SECTION,
        SETTING_ENVIRONMENT,
        SETTING_ALGORITHM,
        SETTING_SIZE,
        SETTING_CRYPTOPERIOD,
        SETTING_TOKEN_LIFETIME,
        SETTING_JWKS_MAX_AGE,
        SETTING_CLOCK_SKEW,
        SETTING_JITTER,
        SETTING_WINDOW,
        SETTING_ON_REMOVAL,
        SETTING_USERS,
        SETTING_ACCESS_USE,
        SETTING_READS,
        SETTING_AUDIT,
        SETTING_SEAL,
        SETTING_COUNT,
};

enum delivery_setting {
        DELIVERY_SECTION,
        DELIVERY_USE,
        DELIVERY_CREDENTIAL,
        DELIVERY_FORMAT,
        DELIVERY_NEWLINE,
        DELIVERY_ON_CHANGE,
        DELIVERY_MAX_UNAVAILABLE,
        DELIVERY_SETTING_COUNT,
};

struct delivery_origins {
        struct origin of[DELIVERY_SETTING_COUNT];
};

struct draft {
        struct policy *policy;        /* owned; of keyrota.conf it holds the defaults */
        struct config *config;        /* borrowed; NULL: this is a policy, not keyrota.conf */
        const struct draft *defaults; /* borrowed; keyrota.conf's, NULL: none */
        struct diagnostics *diagnostics;
        struct origin settings[SETTING_COUNT];
        struct delivery_origins *deliveries; /* one for each of policy->deliveries */
        char **files;                        /* the names that origins point at */
        size_t n_files;
        int error; /* -ENOMEM once memory ran out; whoever ends the draft returns it */
};

/* One "key = value" that is to be understood. */
struct assignment {
        struct draft *draft;
        const char *key;
        const char *value;
        const struct origin *origin;
        void *target;              /* the member of struct policy, delivery, access or config that it sets */
        struct delivery *delivery; /* of a [deliver:] section */
};

/* 0, or -EINVAL after a complaint that says what to write instead. */
int assign_environment(const struct assignment *a);
int assign_algorithm(const struct assignment *a);
int assign_size(const struct assignment *a);
int assign_timespan(const struct assignment *a);
int assign_window(const struct assignment *a);
int assign_on_removal(const struct assignment *a);
int assign_users(const struct assignment *a);
int assign_use(const struct assignment *a);
int assign_reads(const struct assignment *a);
int assign_credential(const struct assignment *a);
int assign_format(const struct assignment *a);
int assign_newline(const struct assignment *a);
int assign_on_change(const struct assignment *a);
int assign_max_unavailable(const struct assignment *a);
int assign_audit(const struct assignment *a);
int assign_seal(const struct assignment *a);

void access_clear(struct access *access);
void delivery_clear(struct delivery *delivery);

/* A draft with keyrota's own defaults, on top of those of keyrota.conf (NULL: none; must live as long).
 * -ENOMEM. */
int draft_new(const char *name, const char *file, const struct draft *defaults,
                struct diagnostics *diagnostics, struct draft **ret);
void draft_free(struct draft *draft);
DEFINE_CLEANUP(struct draft *, draft_free);

/* Keeps a file's name for origins. NULL: no memory, noted in the draft. */
const char *draft_add_file(struct draft *draft, const char *file);
/* Adds an error and makes the policy (or the configuration) invalid. origin NULL or not set: the policy's
 * file as a whole. */
void draft_complain(struct draft *draft, const struct origin *origin, const char *format, ...) _printf_(3, 4);
/* A new delivery to this unit. NULL: no memory, noted in the draft. */
struct delivery *draft_add_delivery(struct draft *draft, const char *unit, const struct origin *origin);

/* Reads one file's text into the draft: what it sets wins over what is there. file is a name from
 * draft_add_file(). line_max: bytes of a line. */
int draft_parse(struct draft *draft, const char *file, const char *data, size_t size, size_t line_max);
#define DRAFT_LINE_MAX 180 /* what an administrator may write */
#define DRAFT_CANONICAL_LINE_MAX \
        197 /* policy_format() may put blanks where there were none; inih's buffer takes no more */

/* The DEPLOYMENT= of machine-info(5), as the default for environment. Both NULL: it is not set. */
struct deployment {
        char *value;
        char *problem; /* why it cannot be used, in words */
};
int deployment_read(const struct tree *tree, struct deployment *ret);
void deployment_clear(struct deployment *deployment);

/* Fills in the defaults that depend on other settings and applies every rule that concerns this policy alone.
 * deployment may be NULL. */
void draft_check(struct draft *draft, const struct deployment *deployment);
/* Applies the rules between the settings of keyrota.conf. */
void draft_check_config(struct draft *draft);
/* Two secrets with the same unit and credential. Neither policy remains valid. */
int policy_check_conflicts(struct policy_set *set, struct diagnostics *diagnostics);
/* Makes a policy invalid and keeps the first reason. -ENOMEM. policy_refuse() adds the reason to the
 * diagnostics too. */
int policy_invalidate(struct policy *policy, const char *file, unsigned line, const char *text);
int policy_refuse(struct policy *policy, struct diagnostics *diagnostics, const char *file, unsigned line,
                const char *text);

/* text in quotes for a message, cut short and with anything but printable ASCII as \xNN. Static buffers, one
 * for each of four calls in turn. */
const char *quoted(const char *text);
/* The candidate that text was probably meant to be, or NULL. */
const char *nearest(const char *text, const char *const candidates[], size_t n_candidates);

/* Reads a policy file distrustfully: folder_fd and name as for openat(2). 1: read. 0: masked by a link to
 * /dev/null. -ENOENT: there is none. -EPERM: it is unsafe or cannot be read, *ret_problem says why and what
 * to do (to be freed). */
int policy_file_read(int folder_fd, const char *name, char **ret_data, size_t *ret_size, char **ret_problem);
/* What is unsafe about an open file or directory: 0 nothing; -EPERM, *ret_problem says so. */
int policy_file_unsafe(const struct stat *st, char **ret_problem);

/* A folder of policies or drop-ins, its names sorted. */
struct folder {
        int fd; /* -EBADF: there is no such folder */
        char *path;
        char *problem; /* not NULL: nothing in it must be believed; why, and what to do */
        bool unlisted; /* nor are its names known */
        char **names;
        size_t n_names;
};
/* At most three folders of the same kind, the one that wins first. */
#define FOLDERS_MAX 3
struct folder_entry {
        const char *name;
        const struct folder *folder;
};

/* Opens path, or name below parent. A missing folder is no error, nor (see problem) an unsafe one. On
 * failure, too, *ret wants folder_clear(). Names that look like slips go to the diagnostics as warnings. */
int folder_open(const struct tree *tree, const char *path, struct diagnostics *diagnostics,
                struct folder *ret);
int folder_open_at(const struct folder *parent, const char *name, struct diagnostics *diagnostics,
                struct folder *ret);
void folder_clear(struct folder *folder);
bool folder_has(const struct folder *folder, const char *name);
/* The *.ini files of all of them by name, each from the first folder that has it. */
int folders_merge(const struct folder folders[], size_t n_folders, struct folder_entry **ret, size_t *ret_n);

#endif
