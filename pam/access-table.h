/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ACCESS_TABLE_H
#define KEYROTA_ACCESS_TABLE_H

/* Reads the access table (its form is in access.h) and distrusts it. Calls libc only. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "cleanup.h"

/* n strings, one right after the other; see access_names_next(). */
struct access_names {
        const char *first;
        size_t n;
};

struct access_table {
        char *text;                 /* owns what the others point into */
        bool has_secret;            /* the secret that was asked for has a line */
        struct access_names users;  /* of that secret */
        struct access_names groups; /* of that secret, each with its @ */
        struct access_names widest; /* groups of the secret that has most of them */
};

static inline const char *access_names_next(const char *name) {
        return name + strlen(name) + 1;
}

/* The alphabet of secrets' and environments' names, the same as policy_name_valid(). */
bool access_secret_valid(const char *name);

/* Reads and checks the whole table, wherever the secret's line stands, and whether there is one or not
 * (has_secret). -ENOENT: no table. -EPERM: not a regular file with one link, root's, mode 0600, in a folder
 * that only root writes to. -EFBIG, -EBADMSG: torn or not of the table's form. *ret_reason: static text that
 * says it better than the errno does, or NULL. */
int access_table_read(const char *secret, struct access_table **ret, const char **ret_reason);
void access_table_free(struct access_table *table);
DEFINE_CLEANUP(struct access_table *, access_table_free);

#endif
