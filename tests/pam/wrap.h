/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TESTS_PAM_WRAP_H
#define KEYROTA_TESTS_PAM_WRAP_H

/*
 * Stands between the module and libc, libpam and NSS (linked with --wrap): any call can be made to fail,
 * accounts and groups are made up, what is logged is kept. Calls go through untouched but while the module
 * runs in wrap_acct().
 *
 *     alice    1001, group 1001         bob      1002, primary group ops (2000)
 *     carol    1003, also in ops        mallory  1004, group 1004
 *     ghost    no account, but ops lists the name; ALICE is the account alice
 *     groups   ops 2000, audit 2001, staff 2002
 */

#include <stdbool.h>
#include <stddef.h>

struct wrap {
        unsigned fail_at[2];    /* these calls fail, counted from 1; 0: none */
        unsigned fail_from;     /* and every call from this one on; 0: none */
        int fail_errno;
        size_t read_max;        /* read() returns so many bytes at most; 0: all */
        bool interrupt;         /* every other read() is interrupted */
        long size_lie;          /* fstat() of a file is wrong by so many bytes */
        size_t record_size;     /* bytes of a passwd or group record */
        int n_groups;           /* what getgrouplist() says to be the number of groups; 0: the truth */
        bool no_user;           /* the application has set none */

        unsigned n_calls;       /* that could have failed */
        char trace[4096];       /* their names */
        char failed[256];       /* names of those that did fail */
        char log[8192];         /* "PRIORITY text\n" */
};

extern struct wrap wrap;

#define WRAP_TABLE "run/access" /* the module is compiled with RUN_DIR "run" */

/* Makes a scratch folder with "run" in it the working directory; removed at exit. */
void wrap_scratch(void);

/* Replaces the table; root's, 0600. */
void wrap_table(const void *text, size_t size);

/* Calls the module with these options (NULL-terminated), leaving in wrap what came of it, and the next call
 * without faults. */
int wrap_acct(const char *user, const char *const options[]);

/* The same with secret=NAME. */
int wrap_secret(const char *user, const char *secret);

#endif
