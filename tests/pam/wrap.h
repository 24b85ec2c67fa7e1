/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TESTS_PAM_WRAP_H
#define KEYROTA_TESTS_PAM_WRAP_H

/*
 * Stands between the module and libc, libpam, libkeyutils and NSS (linked with --wrap): any call can be made to fail, accounts and groups are made up, what is
 * logged and recorded is kept. Calls go through untouched but while the module runs in one of the functions below. The kernel's keyrings are the real ones.
 *
 *     alice    1001, group 1001         bob      1002, primary group ops (2000)
 *     carol    1003, also in ops        mallory  1004, group 1004
 *     ghost    no account, but ops lists the name; ALICE is the account alice
 *     groups   ops 2000, audit 2001, staff 2002
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wrap {
        unsigned fail_at[2];    /* these calls fail, counted from 1; 0: none */
        unsigned fail_from;     /* and every call from this one on; 0: none */
        const char *fail_call;  /* and every call of this name */
        int fail_errno;
        size_t read_max;        /* read() returns so many bytes at most; 0: all */
        bool interrupt;         /* every other read() is interrupted */
        long size_lie;          /* fstat() of a file is wrong by so many bytes */
        size_t record_size;     /* bytes of a passwd or group record */
        int n_groups;           /* what getgrouplist() says to be the number of groups; 0: the truth */
        bool no_user;           /* the application has set none */
        bool not_root;          /* geteuid() */
        const char *service;    /* NULL: "sshd" */
        const char *env_secret; /* KEYROTA_SECRET in PAM's environment */
        void (*meanwhile)(void);    /* happens before each call of this name, as if another process were faster */
        const char *meanwhile_call; /* NULL: before each call, which is the last in the trace then */

        unsigned n_calls;       /* that could have failed */
        char trace[32768];      /* their names */
        char failed[1024];      /* names of those that did fail */
        char log[8192];         /* "PRIORITY text\n" */
        char records[65536];    /* what the journal got: a line for each record, with its KEYROTA_ fields without that prefix */
        unsigned n_records;
};

extern struct wrap wrap;

#define WRAP_TABLE "run/access" /* the module is compiled with RUN_DIR "run" */

/* Makes a scratch folder with "run" in it the working directory, and a journal in that; removed at exit. */
void wrap_scratch(void);
/* The same for a program of tests; false: who is not root cannot run them, which is said as TAP has it. */
bool wrap_scratch_of_root(void);

/* Replaces the table; root's, 0600. With a live keyring, its serial number takes the place of "ring 7". */
void wrap_table(const void *text, size_t size);

/* Makes a live keyring without entries, and adds to it. */
void wrap_live(void);
int wrap_live_serial(void);
void wrap_publish(const char *description, const void *payload, size_t size);
void wrap_unpublish(const char *description);

/* Joins an anonymous session keyring of this user, as pam_keyinit does it; or one with a name. */
void wrap_session(unsigned uid, const char *name);

/* No journal, or one whose queue is full. */
enum wrap_journal { WRAP_JOURNAL_GOOD, WRAP_JOURNAL_NONE, WRAP_JOURNAL_STUCK };
void wrap_set_journal(enum wrap_journal journal);
/* What is noted of records that it did not take, a line for each, since the last call; without the times. */
const char *wrap_missing(void);
/* Gives a stuck one room again. */
void wrap_relieve_journal(void);

/* Each calls the module with these options (NULL-terminated), leaving in wrap what came of it, and the next call without faults. */
int wrap_acct(const char *user, const char *const options[]);
int wrap_open(const char *user, const char *const options[]);
int wrap_close(const char *user, const char *const options[]);

/* wrap_acct() with secret=NAME. */
int wrap_secret(const char *user, const char *secret);

/* Ends the PAM transaction: what modules keep in it goes. */
void wrap_end(void);

/* How many of the keys that the module ever made the session possesses, and how many were left elsewhere. A key that is linked nowhere is gone, though the
 * kernel may take a moment to see to it; wrap_keys_are_gone() waits for that. */
unsigned wrap_count_possessed(void);
unsigned wrap_count_left(void);
bool wrap_keys_are_gone(void);

/* How many descriptors the process has open. */
unsigned wrap_count_descriptors(void);

/* The session's copy of the secret, its bytes in buffer with a NUL; -1: none. */
long wrap_copy(const char *name, char *buffer, size_t size);

#endif
