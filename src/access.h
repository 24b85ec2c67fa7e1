/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ACCESS_H
#define KEYROTA_ACCESS_H

/*
 * The access table: every [access] section compiled into one small root-only file, so that a login parses no policy. Pure. May call policy and
 * access-table. It lies in PATH_ACCESS, root's and 0600; access-table.c reads what is written here:
 *
 *     keyrota-access 2
 *     ring 123456789                  the serial number of the live keyring, 0: none
 *     locked mallory                  a user who may have nothing; ascending
 *     group billing-ops               every group below, once; ascending
 *     secret production/billing 17 1790000000 verify session alice bob @billing-ops
 *     end
 *
 * The numbers of a secret are the generation that is published (0: none) and when copies of it end (seconds since 1970; 0: never); then what its
 * users read (sign or verify), and how (session, recorded; locked, locked-recorded: not at all now, and so again when it is unlocked). Fields are separated by one blank, every line ends with a
 * newline. The secrets stand in ascending order of their names, each name once; a line has users first, then groups with their @, and at least one
 * of the two. What departs from this form is refused. A new generation is a new file: who reads it can tell that it has been replaced.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct access_table;
struct policy;

#define ACCESS_TABLE_MAX (1024 * 1024) /* bytes */
#define ACCESS_TABLE_FIRST "keyrota-access 2"
#define ACCESS_TABLE_LAST "end"
#define ACCESS_MEMBER_MAX 255 /* bytes of a user's or group's name, without the @ */

/* Can the table carry this name of a user or (without the @) of a group? Whatever NSS may know: "alice",
 * "DOMAIN\alice", "alice@example.org"; but no blanks, control characters or the separators of passwd(5),
 * group(5) and paths. */
static inline bool access_member_valid(const char *name, size_t length) {
        if (length == 0 || length > ACCESS_MEMBER_MAX || name[0] == '@')
                return false;
        for (size_t n = 0; n < length; n++)
                if ((unsigned char) name[n] <= ' ' || name[n] == 0x7f || name[n] == ':' || name[n] == ',' || name[n] == '/')
                        return false;
        return true;
}

/* What is to stand in the table about one secret. */
struct access_entry {
        const struct policy *policy; /* valid: one that is not, or has no [access], is left out. NULL: the secret keeps the line that it has in `before` */
        const char *name;            /* with policy NULL */
        uint64_t generation;         /* that is published, 0: what `before` says of both, so that what is published stays usable */
        int64_t until;
        bool locked; /* of lines that stay as they were too */
};

struct access_content {
        int32_t ring;
        const struct access_entry *entries; /* in any order */
        size_t n_entries;
        const char *const *locked; /* users */
        size_t n_locked;
        const struct access_table *before; /* the table that is to be replaced, NULL: there is none that can be read */
};

/* The table's text (to be freed). It depends on nothing else, not on the order of users. -EINVAL: a name that the table cannot carry; -ENOTUNIQ: a
 * name twice; -EFBIG: over ACCESS_TABLE_MAX; -ENOMEM. */
int access_format(const struct access_content *content, char **ret);

#endif
