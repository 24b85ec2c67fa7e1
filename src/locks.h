/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_LOCKS_H
#define KEYROTA_LOCKS_H

/*
 * What keyrota lock has locked, durable in PATH_LOCKED, a line for each: "secret NAME" or "user NAME", ascending, each once. What departs from that form, or
 * from a regular file of root's that nobody else writes to, locks every secret. May call access-file, policy and tree.
 */

#include <stdbool.h>
#include <stddef.h>

#include "tree.h"

enum lock_kind { LOCK_SECRET, LOCK_USER };

struct lock_entry {
        enum lock_kind kind;
        char *name;
};

struct locks {
        struct lock_entry *items; /* ascending, secrets first */
        size_t n;
        bool everything; /* the file cannot be used: every secret is locked */
};

/* No file: nothing is locked. Otherwise what cannot be read, but for -ENOMEM, gives *ret with everything set and a negative errno, and *ret_reason (to be
 * freed) in words. */
int locks_load(const struct tree *tree, struct locks *ret, char **ret_reason);
/* Durable. */
int locks_save(const struct tree *tree, const struct locks *locks);
void locks_clear(struct locks *locks);

bool locks_has(const struct locks *locks, enum lock_kind kind, const char *name); /* also where everything is locked, of secrets */
/* 1: changed; 0: it was so already; -ENOMEM. */
int locks_add(struct locks *locks, enum lock_kind kind, const char *name);
int locks_remove(struct locks *locks, enum lock_kind kind, const char *name);

/* The users, as struct access_content has them; the names are not copied. */
int locks_users(const struct locks *locks, const char ***ret, size_t *ret_n);
/* Writes them into the access table, all else of which stays; with PATH_ACCESS_TABLE_LOCK. 1: it was changed; 0; -ENOENT: there is no table; or as
 * access_file_read() and access_file_write(). */
int locks_apply(const struct tree *tree, const struct locks *locks);

/* "secret", "user" */
const char *lock_kind_to_string(enum lock_kind kind);

#endif
