/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a session is given when every call that the module makes fails in turn, and every two of them. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <security/pam_modules.h>

#include "cleanup.h"
#include "tap.h"
#include "world.h"
#include "wrap.h"

static const int errors[] = { EIO, ENOMEM, EMFILE, EACCES, EAGAIN, EINTR, ENOENT, EDQUOT, ENOKEY, EKEYREVOKED, EKEYEXPIRED, EPERM, ERANGE };

/* Whatever has failed: the result says how it is, nothing is left behind that the session does not possess, it possesses nothing that is not the user's, and
 * where records are a must each copy is on record. */
static const char *judge(const char *user, bool strict, bool required, int result) {
        bool alice = strcmp(user, "alice") == 0, copies = has_api() || has_billing();
        unsigned n_keys = wrap_count_possessed();

        if (wrap_count_left() != 0)
                return "keys left behind";
        if (strcmp(user, "mallory") == 0 && n_keys != 0)
                return "a ring for who has no right";
        if (has_api() && !alice)
                return "a copy for who has no right";
        if (result != PAM_SUCCESS && result != (strict ? PAM_SESSION_ERR : PAM_IGNORE))
                return "another result";
        if (strict && result != PAM_SUCCESS && n_keys != 0)
                return "not everything was taken back";
        if (result == PAM_SUCCESS && !strcmp(user, "mallory"))
                return NULL;
        if (result == PAM_SUCCESS && strstr(wrap.failed, "getgrnam_r ") && (wrap.fail_errno == ENOENT || wrap.fail_errno == EPERM))
                return NULL; /* that there is no such group */
        if (result == PAM_SUCCESS && (!has_billing() || has_api() != alice))
                return "a success without the copies";
        if (required && (wrap.fail_errno == ENOKEY || wrap.fail_errno == EKEYREVOKED || wrap.fail_errno == EKEYEXPIRED) && strstr(wrap.failed, "keyctl_"))
                return NULL; /* that nothing says that records are a must */
        if (required && copies && !(strstr(wrap.records, "copy-granted") && (!has_api() || strstr(wrap.records, "granted ENVIRONMENT=production NAME=api")) &&
                                    (!has_billing() || strstr(wrap.records, "granted ENVIRONMENT=production NAME=billing"))))
                return "a copy without a record";
        return NULL;
}

static bool bears(const char *user, bool strict, bool required, unsigned first, unsigned second, unsigned from, int error) {
        const char *wrong;
        int result;

        wrap.fail_at[0] = first;
        wrap.fail_at[1] = second;
        wrap.fail_from = from;
        wrap.fail_errno = error;
        result = wrap_open(user, strict ? STRICT : PLAIN);
        wrong = judge(user, strict, required, result);
        if (wrong)
                printf("# %s: user %s, strict %d, calls %u %u %u, error %d, result %d, failed: %s\n# log: %s# trace: %s\n", wrong, user, strict, first, second, from,
                       error, result, wrap.failed, wrap.log, wrap.trace);
        (void) wrap_close(user, strict ? STRICT : PLAIN);
        wrap_end();
        if (!wrong && !has_nothing()) {
                wrong = "keys left behind at the end";
                printf("# %s: user %s, calls %u %u %u, error %d\n", wrong, user, first, second, from, error);
        }
        return !wrong;
}

static const struct {
        const char *name;
        unsigned uid;
} users[] = { { "alice", 1001 }, { "bob", 1002 }, { "mallory", 1004 } };

static void bear_faults(bool required, bool twice) {
        unsigned before = 0;

        for (size_t u = 0; u < ELEMENTSOF(users); u++) {
                unsigned n_calls;

                world_begin(users[u].uid);
                world_publish(required ? "required" : "best-effort");
                world_table(0);
                expect_int(wrap_open(users[u].name, PLAIN), PAM_SUCCESS);
                n_calls = wrap.n_calls;
                (void) wrap_close(users[u].name, PLAIN);
                wrap_end();
                before = wrap_count_descriptors();
                for (unsigned strict = 0; strict < 2; strict++)
                        for (unsigned first = 1; first <= n_calls; first++) {
                                for (size_t e = 0; e < ELEMENTSOF(errors) && !twice; e++) {
                                        expect(bears(users[u].name, strict, required, first, 0, 0, errors[e]));
                                        /* read(2) that is interrupted for ever there is none, and it would be begun again for ever. */
                                        expect(errors[e] == EINTR || bears(users[u].name, strict, required, 0, 0, first, errors[e]));
                                }
                                for (unsigned second = first + 1; twice && second <= n_calls + 8; second++)
                                        expect(bears(users[u].name, strict, required, first, second, 0, errors[(first + second) % ELEMENTSOF(errors)]));
                        }
                expect_int(wrap_count_descriptors(), before);
        }
}

TEST(any_call_that_fails_leaves_nothing_behind_and_gives_nobody_more) {
        bear_faults(false, false);
}

TEST(any_call_that_fails_gives_no_copy_without_a_record_where_that_is_a_must) {
        bear_faults(true, false);
}

TEST(any_two_calls_that_fail_leave_nothing_behind_and_give_nobody_more) {
        bear_faults(true, true);
}

TEST(a_second_line_bears_any_call_that_fails_too) {
        unsigned n_calls = 0;

        for (unsigned strict = 0; strict < 2; strict++)
                for (unsigned at = 0; at <= n_calls; at++)
                        for (size_t e = 0; e < ELEMENTSOF(errors); e++) {
                                const char *const *options = strict ? STRICT : PLAIN, *wrong;
                                int result;

                                world_begin(1001);
                                expect_int(wrap_open("alice", options), PAM_SUCCESS);
                                wrap.fail_at[0] = at;
                                wrap.fail_errno = errors[e];
                                result = wrap_open("alice", options);
                                n_calls = at == 0 ? wrap.n_calls : n_calls;
                                wrong = judge("alice", strict, false, result);
                                if (wrong)
                                        printf("# %s: strict %u, call %u, error %d, result %d, failed: %s\n# log: %s", wrong, strict, at, errors[e], result, wrap.failed,
                                               wrap.log);
                                expect(!wrong);
                                (void) wrap_close("alice", options);
                        }
}

TEST(records_that_the_journal_does_not_take_are_noted) {
        world_begin(1001);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        (void) wrap_missing();
        wrap_set_journal(WRAP_JOURNAL_NONE);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect_string(wrap_missing(), "copy-granted production/api alice sshd: No such file or directory\n"
                                      "copy-granted production/billing alice sshd: No such file or directory\n"
                                      "copy-refused production/held alice sshd: No such file or directory\n");
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        expect(strstr(wrap_missing(), "copy-removed -/billing alice sshd: No such file or directory\n"));
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect_string(wrap_missing(), "copy-refused -/- alice sshd: No such file or directory\n");
        world_begin(1001);
        world_publish("required");
        world_table(0);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect_string(wrap_missing(), "copy-refused -/- alice sshd: No such file or directory\n"); /* what was not given needs no record */
        world_begin(1001);
        for (unsigned at = 1;; at++) {
                const char *wrong;
                int result;

                wrap.fail_at[0] = at;
                wrap.fail_errno = ENOMEM;
                result = wrap_open("alice", PLAIN);
                if (wrap.failed[0] == '\0')
                        break;
                wrong = judge("alice", false, false, result);
                if (wrong)
                        printf("# %s: call %u, failed: %s\n# trace: %s\n", wrong, at, wrap.failed, wrap.trace);
                expect(!wrong);
                (void) wrap_close("alice", PLAIN);
                wrap_end();
        }
        expect(strstr(wrap.trace, "write "));
        (void) wrap_close("alice", PLAIN);
        (void) wrap_missing();
        wrap_set_journal(WRAP_JOURNAL_GOOD);
}

TEST(each_call_of_the_module_was_among_those_that_failed) {
        static const char *const seen[] = { "open-proc ", "fstat-proc ", "read-proc ", "open ", "openat ", "fstat ", "fstatat ", "read ", "malloc ", "calloc ",
                                            "realloc ", "reallocarray ", "mmap ", "munmap ", "mlock ", "madvise ", "socket ", "connect ", "sendmmsg ", "add_key ",
                                            "keyctl_describe ", "keyctl_link ", "keyctl_read ", "keyctl_search ", "keyctl_set_timeout ", "keyctl_setperm ",
                                            "keyctl_unlink ", "getpwnam_r ", "getgrouplist ", "getgrnam_r ", "pam_get_item ", "pam_get_item-other ",
                                            "pam_get_data ", "pam_set_data ", "close " };

        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        for (size_t i = 0; i < ELEMENTSOF(seen); i++) {
                if (!strstr(wrap.trace, seen[i]))
                        printf("# %s\n", seen[i]);
                expect(strstr(wrap.trace, seen[i]));
        }
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(strstr(wrap.trace, "keyctl_read_alloc ") && strstr(wrap.trace, "keyctl_revoke ") && strstr(wrap.trace, "keyctl_clear "));
        wrap_end();
}

TEST(a_fault_at_the_end_of_a_session_is_nobodys_concern) {
        for (unsigned at = 1;; at++) {
                world_begin(1001);
                expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
                wrap.fail_at[0] = at;
                wrap.fail_errno = EIO;
                expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
                if (wrap.failed[0] == '\0')
                        break;
        }
        wrap_session(1001, NULL);
        wrap_end();
        expect(has_nothing());
}

TEST(in_the_end_none_of_the_modules_keys_is_left_in_the_kernel) {
        wrap_session(0, NULL);
        expect(wrap_keys_are_gone());
}

int main(void) {
        return wrap_scratch_of_root() ? tap_main() : EXIT_SUCCESS;
}
