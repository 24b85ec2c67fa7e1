/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ACCESS_TABLE_H
#define KEYROTA_ACCESS_TABLE_H

/*
 * Reads the access table (its form is in access.h) and distrusts it. Part of the PAM module too: calls libc only, has no variables.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "cleanup.h"

#define ACCESS_NAME_MAX 64 /* bytes of a secret's or environment's name */

struct access_table {
        char *text; /* owns what lines and members point into; size bytes and a NUL */
        size_t size;
        int32_t ring; /* serial number of the live keyring; 0: nothing is published */
        uint64_t folder[2]; /* device and inode of the folder that it was read from */
        dev_t device; /* which file was read, see access_table_is_current() */
        ino_t inode;
        struct timespec changed;
};

enum access_reads { ACCESS_SESSION, ACCESS_RECORDED, ACCESS_LOCKED };

/* One line "secret ...". */
struct access_secret {
        char environment[ACCESS_NAME_MAX + 1], name[ACCESS_NAME_MAX + 1];
        uint64_t generation; /* that is published; 0: none */
        int64_t until;       /* seconds since 1970: when a copy of it ends by itself; 0: never */
        bool sign;           /* what users read is the active key; else the verification set */
        enum access_reads reads, unlocked; /* unlocked: what reads would be, were it not locked */
        const char *members; /* users, then groups with their @; one blank between them */
        size_t members_size; /* bytes */
        size_t n_users, n_groups;
};

/* The alphabet of secrets' and environments' names, the same as policy_name_valid(). */
bool access_secret_valid(const char *name);

/* Opens and reads the table; first line, "ring" and last line are checked, the others as they are looked at. -ENOENT: no table. -EPERM: not a
 * regular file with one link, root's, mode 0600, in a folder that only root writes to. -EFBIG, -EBADMSG: torn or not of the table's form.
 * *ret_reason: static text that says it better than the errno does, or NULL. */
int access_table_read(struct access_table **ret, const char **ret_reason);
void access_table_free(struct access_table *table);
DEFINE_CLEANUP(struct access_table *, access_table_free);

/* The same from size bytes of text, for who has them already. */
int access_table_parse(const char *text, size_t size, struct access_table **ret);

/* Is the file that was read still the table? A publication replaces it before it renews the copies in sessions. */
bool access_table_is_current(const struct access_table *table);

/* The line after this one, NULL at the end; line NULL: the first one after "ring". Lines end with a newline. */
const char *access_table_next(const struct access_table *table, const char *line);

/* Parses a line "secret ..." strictly. -EBADMSG: it is another one, or not of the form. */
int access_secret_parse(const char *line, struct access_secret *ret);

/* A line "locked NAME" or "group NAME": NAME and its length in bytes, NULL when it is another line. */
const char *access_line_locked(const char *line, size_t *ret_length);
const char *access_line_group(const char *line, size_t *ret_length);

/* The member after this one, and its length; member NULL: the first. NULL: that was the last. */
const char *access_member_next(const struct access_secret *secret, const char *member, size_t *length);

#endif
