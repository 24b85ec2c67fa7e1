/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ACCESS_H
#define KEYROTA_ACCESS_H

/*
 * The access table: every [access] section compiled into one small root-only file, so that a login parses no
 * policy. Pure. May call policy. It lies in PATH_ACCESS, root's and 0600; pam/access-table.c reads what is
 * written here:
 *
 *     keyrota-access 1
 *     secret production/billing verify alice bob @billing-ops
 *     end
 *
 * Fields are separated by one blank, every line ends with a newline. The secrets stand in ascending order of
 * their names, each name once; a line has users first, then groups with their @, and at least one of the two.
 * What departs from this form in any place, or lacks its last line, is refused as a whole.
 */

#include <stdbool.h>
#include <stddef.h>

struct policy;

#define ACCESS_TABLE_MAX (1024 * 1024) /* bytes */
#define ACCESS_TABLE_FIRST "keyrota-access 1"
#define ACCESS_TABLE_LAST "end"
#define ACCESS_MEMBER_MAX 255 /* bytes of a user's or group's name, without the @ */

/* Can the table carry this name of a user or (without the @) of a group? Whatever NSS may know: "alice",
 * "DOMAIN\alice", "alice@example.org"; but no blanks, control characters or the separators of passwd(5),
 * group(5) and paths. */
static inline bool access_member_valid(const char *name) {
        size_t n = 0;

        for (; name[n] != '\0'; n++)
                if ((unsigned char) name[n] <= ' ' || name[n] == 0x7f || name[n] == ':' || name[n] == ',' ||
                    name[n] == '/' || n == ACCESS_MEMBER_MAX)
                        return false;
        return n > 0 && name[0] != '@';
}

/* The table's text (to be freed) from policies in any order; those without [access] are left out, and so are
 * those that are not valid: pass the last good one in the place of such. The text depends on nothing else,
 * not on the order of users. -EINVAL: a name that the table cannot carry; -ENOTUNIQ: a name twice; -EFBIG:
 * over ACCESS_TABLE_MAX; -ENOMEM. */
int access_format(const struct policy *const policies[], size_t n, char **ret);

#endif
