/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The module's verdicts with every call that it makes failing in turn; see wrap.h for who is who. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <security/pam_modules.h>

#include "cleanup.h"
#include "tap.h"
#include "wrap.h"

static const char table[] =
        "keyrota-access 2\n"
        "ring 7\n"
        "secret production/billing 1 0 verify session alice @ops\n"
        "secret production/gateway 1 0 sign session alice\n"
        "secret production/nobody 1 0 verify session @nogroup-of-this-name\n"
        "secret production/wide 1 0 verify session @audit @ops @staff\n"
        "end\n";

static void use_table(void) {
        wrap_table(table, sizeof(table) - 1);
}

TEST(user_named_by_policy_is_allowed) {
        use_table();
        expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
        expect_string(wrap.log, "");
        expect_int(wrap_secret("alice", "gateway"), PAM_SUCCESS);
}

TEST(member_of_named_group_is_allowed) {
        use_table();
        expect_int(wrap_secret("carol", "billing"), PAM_SUCCESS);
        expect_int(wrap_secret("carol", "wide"), PAM_SUCCESS);
}

TEST(primary_group_counts) {
        use_table();
        expect_int(wrap_secret("bob", "billing"), PAM_SUCCESS);
}

TEST(user_who_is_not_named_is_refused) {
        use_table();
        expect_int(wrap_secret("mallory", "billing"), PAM_PERM_DENIED);
        expect_string(wrap.log, "5 user \"mallory\" refused: not named by [access] of billing\n");
        expect_int(wrap_secret("alice", "wide"), PAM_PERM_DENIED);
        expect_int(wrap_secret("bob", "gateway"), PAM_PERM_DENIED);
        expect_int(wrap_secret("mallory", "wide"), PAM_PERM_DENIED);
        expect_int(wrap_secret("mallory", "nobody"), PAM_PERM_DENIED);
}

TEST(groups_of_another_secret_never_count) {
        /* ops is among the groups that are looked up for gateway, to take the same time */
        use_table();
        expect_int(wrap_secret("carol", "gateway"), PAM_PERM_DENIED);
        expect(strstr(wrap.trace, "getgrnam_r malloc getgrnam_r malloc getgrnam_r"));
}

TEST(unknown_user_is_refused_even_where_a_group_lists_the_name) {
        use_table();
        expect_int(wrap_secret("ghost", "billing"), PAM_PERM_DENIED);
        expect_string(wrap.log, "5 unknown user \"ghost\" refused for billing\n");
}

TEST(unknown_user_is_refused_even_where_the_policy_has_the_name) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret a/billing 1 0 verify session gone\nend\n";

        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_secret("gone", "billing"), PAM_PERM_DENIED);
        expect_string(wrap.log, "5 unknown user \"gone\" refused for billing\n");
}

TEST(account_is_compared_by_its_own_spelling) {
        use_table();
        expect_int(wrap_secret("ALICE", "gateway"), PAM_SUCCESS);
}

TEST(no_user_is_refused) {
        use_table();
        wrap.no_user = true;
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect_int(wrap_secret("", "billing"), PAM_PERM_DENIED);
}

TEST(endless_user_name_is_refused_and_not_looked_up) {
        char name[100000];

        memset(name, 'a', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        use_table();
        expect_int(wrap_secret(name, "billing"), PAM_PERM_DENIED);
        expect_string(wrap.log, "5 unknown user \"\" refused for billing\n");
}

TEST(secret_without_policy_is_refused) {
        use_table();
        expect_int(wrap_secret("alice", "absent"), PAM_PERM_DENIED);
        expect_string(wrap.log, "3 no policy absent with an [access] section: user \"alice\" refused; see "
                                "'keyrota status'\n");
}

TEST(empty_table_refuses_everybody) {
        static const char text[] = "keyrota-access 2\nring 7\nend\n";

        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
}

TEST(every_refusal_makes_the_same_calls) {
        char wanted[sizeof(wrap.trace)];

        use_table();
        expect_int(wrap_secret("mallory", "billing"), PAM_PERM_DENIED);
        strcpy(wanted, wrap.trace);
        expect(strstr(wanted, "getgrnam_r malloc getgrnam_r malloc getgrnam_r"));

        (void) wrap_secret("mallory", "wide");
        expect_string(wrap.trace, wanted);
        (void) wrap_secret("unknown", "billing");
        expect_string(wrap.trace, wanted);
        (void) wrap_secret("ghost", "gateway");
        expect_string(wrap.trace, wanted);
        (void) wrap_secret("alice", "absent");
        expect_string(wrap.trace, wanted);
        (void) wrap_secret("unknown", "absent");
        expect_string(wrap.trace, wanted);
        (void) wrap_secret("", "billing");
        expect_string(wrap.trace, wanted);
        (void) wrap_secret("alice", "BAD NAME");
        expect_string(wrap.trace, wanted);
        (void) wrap_secret("alice", "billing"); /* and so does being let in */
        expect_string(wrap.trace, wanted);
}

TEST(torn_table_asks_the_name_services_all_the_same) {
        wrap_table(table, sizeof(table) - 2);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.trace, "getpwnam_r"));
        expect(strstr(wrap.trace, "getgrouplist"));
        expect_string(
                wrap.log,
                "3 run/access: torn, or not an access table of this version of keyrota: everybody refused; "
                "'keyrota provision' writes it anew\n");
}

static const int errors[] = { EIO, ENOMEM, EMFILE, EACCES, EAGAIN, EINVAL, ERANGE, EOVERFLOW };

TEST(any_call_that_fails_refuses) {
        /* No secret has more groups, so that no lookup is there for the time it takes. */
        static const char text[] = "keyrota-access 2\nring 7\nsecret a/billing 1 0 verify session alice @audit @ops\nend\n";
        static const char *const users[] = { "alice", "bob", "carol" };
        static const char *const seen[] = { "open ",         "openat ",     "fstat ",       "read ",
                                            "close ",        "malloc ",     "calloc ",      "getpwnam_r ",
                                            "getgrouplist ", "getgrnam_r ", "pam_get_item ",
                                            "socket ",       "connect ",    "sendmmsg ",   "realloc " };
        char all[sizeof(wrap.trace)] = "";
        unsigned before = wrap_count_descriptors();

        wrap_live();
        wrap_publish("config:audit", "keyrota1 - 0 -\nbest-effort", 26);
        wrap_table(text, sizeof(text) - 1);
        for (size_t u = 0; u < ELEMENTSOF(users); u++)
                for (size_t e = 0; e < ELEMENTSOF(errors); e++)
                        for (unsigned at = 1;; at++) {
                                bool harmless;
                                int result;

                                wrap.fail_at[0] = at;
                                wrap.fail_errno = errors[e];
                                result = wrap_secret(users[u], "billing");
                                if (wrap.failed[0] == '\0') {
                                        strcpy(all, wrap.trace);
                                        expect_int(result, PAM_SUCCESS);
                                        break;
                                }
                                /* ERANGE asks for a larger buffer, and gets it. Of records there are none, which audit = best-effort bears; and less in
                                 * them where the items or the audit session are not to be had. */
                                harmless = strcmp(wrap.failed, "close ") == 0 || strstr(wrap.failed, "-proc ") || strstr(wrap.failed, "-other ") ||
                                           strstr("socket connect sendmmsg realloc ", wrap.failed) ||
                                           (errors[e] == ERANGE && strstr(wrap.failed, "nam_r "));
                                if ((result == PAM_SUCCESS) != harmless)
                                        printf("# user %s, call %u, error %d: %s\n", users[u], at, errors[e],
                                               wrap.failed);
                                expect_int(result, harmless ? PAM_SUCCESS : PAM_PERM_DENIED);
                        }
        for (size_t i = 0; i < ELEMENTSOF(seen); i++)
                expect(strstr(all, seen[i]));
        expect_int(wrap_count_descriptors(), before);
}

TEST(group_of_another_secret_that_cannot_be_looked_up_refuses_nobody) {
        unsigned n_faults = 0;

        use_table();
        for (unsigned at = 1;; at++) {
                int result;

                wrap.fail_at[0] = at;
                wrap.fail_errno = EIO;
                result = wrap_secret("alice", "gateway");
                if (wrap.failed[0] == '\0')
                        break;
                if (strcmp(wrap.failed, "getgrnam_r ") == 0) {
                        expect_int(result, PAM_SUCCESS);
                        n_faults++;
                }
        }
        expect_int(n_faults, 3);
}

TEST(failed_lookups_are_logged_with_their_cause) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret a/billing 1 0 verify session alice @ops\nend\n";

        wrap_table(text, sizeof(text) - 1);
        for (unsigned at = 1;; at++) {
                wrap.fail_at[0] = at;
                wrap.fail_errno = EIO;
                (void) wrap_secret("alice", "billing");
                if (wrap.failed[0] == '\0')
                        break;
                if (strcmp(wrap.failed, "getgrnam_r ") == 0)
                        expect_string(wrap.log, "3 cannot look up the groups of billing in the name "
                                                "services: Input/output error: "
                                                "user \"alice\" refused\n");
                if (strcmp(wrap.failed, "getpwnam_r ") == 0)
                        expect_string(wrap.log, "3 cannot look up user \"alice\" in the name services: "
                                                "Input/output error: refused\n");
                if (strcmp(wrap.failed, "openat ") == 0)
                        expect_string(wrap.log, "3 run/access: Input/output error: everybody refused; "
                                                "'keyrota provision' writes it anew\n");
        }
}

TEST(no_fault_lets_in_who_is_not_named) {
        static const char *const users[] = { "mallory", "ghost", "unknown" };
        static const char *const secrets[] = { "billing", "gateway", "wide", "absent" };
        unsigned before = wrap_count_descriptors(), n_calls;

        use_table();
        for (size_t u = 0; u < ELEMENTSOF(users); u++)
                for (size_t s = 0; s < ELEMENTSOF(secrets); s++) {
                        expect_int(wrap_secret(users[u], secrets[s]), PAM_PERM_DENIED);
                        n_calls = wrap.n_calls;
                        for (size_t e = 0; e < ELEMENTSOF(errors); e++)
                                for (unsigned first = 1; first <= n_calls; first++) {
                                        for (unsigned second = first; second <= n_calls; second++) {
                                                wrap.fail_at[0] = first;
                                                wrap.fail_at[1] = second;
                                                wrap.fail_errno = errors[e];
                                                expect_int(wrap_secret(users[u], secrets[s]),
                                                           PAM_PERM_DENIED);
                                        }
                                        wrap.fail_from = first;
                                        wrap.fail_errno = errors[e];
                                        expect_int(wrap_secret(users[u], secrets[s]), PAM_PERM_DENIED);
                                }
                }
        expect_int(wrap_count_descriptors(), before);
}

TEST(not_found_in_other_words_is_an_unknown_user) {
        static const int words[] = { ENOENT, ESRCH, EBADF, EPERM };

        use_table();
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                for (unsigned at = 1;; at++) {
                        wrap.fail_at[0] = at;
                        wrap.fail_errno = words[i];
                        (void) wrap_secret("alice", "billing");
                        if (wrap.failed[0] == '\0')
                                break;
                        if (strcmp(wrap.failed, "getpwnam_r ") == 0)
                                expect_string(wrap.log, "5 unknown user \"alice\" refused for billing\n");
                }
}

TEST(short_and_interrupted_reads_are_resumed) {
        use_table();
        wrap.read_max = 1;
        wrap.interrupt = true;
        expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
}

TEST(table_that_grows_or_shrinks_while_it_is_read_is_refused) {
        static const char more[] = "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nend\n"
                                   "secret b/c 1 0 sign session bob\nend\n";

        use_table();
        for (long lie = -(long) sizeof(table) + 1; lie < 8; lie++) {
                wrap.size_lie = lie;
                expect_int(wrap_secret("alice", "billing"), lie == 0 ? PAM_SUCCESS : PAM_PERM_DENIED);
        }

        /* Good up to where it ended when it was opened. */
        wrap_table(more, sizeof(more) - 1);
        wrap.size_lie = -(long) strlen("secret b/c 1 0 sign session bob\nend\n");
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
}

static unsigned n_opened, n_replaced;

/* The first fstat() is about the folder, each later one about a table that was just opened. */
static void replace_what_was_opened(void) {
        if (n_opened++ > 0 && n_replaced > 0) {
                n_replaced--;
                use_table();
        }
}

TEST(table_that_is_replaced_while_it_is_opened_keeps_nobody_out) {
        for (unsigned n = 1; n <= 2; n++) {
                use_table();
                n_opened = 0;
                n_replaced = n;
                wrap.meanwhile_call = "fstat";
                wrap.meanwhile = replace_what_was_opened;
                expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
                expect_int(n_replaced, 0);
                expect_string(wrap.log, "");
        }
}

TEST(large_records_are_read_up_to_a_bound) {
        use_table();
        wrap.record_size = 3 * 1024 * 1024;
        expect_int(wrap_secret("carol", "billing"), PAM_SUCCESS);
        wrap.record_size = 64 * 1024 * 1024;
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(wrap.n_calls < 100);
        expect_string(wrap.log, "3 cannot look up user \"alice\" in the name services: Value too large for "
                                "defined data type: refused\n");
}

TEST(senseless_number_of_groups_is_refused) {
        static const int senseless[] = { -1, -100, 65537, 1000000000 };

        use_table();
        for (size_t i = 0; i < ELEMENTSOF(senseless); i++) {
                wrap.n_groups = senseless[i];
                expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        }
}

TEST(options_are_strict) {
        static const struct {
                const char *options[4];
                const char *log;
        } rows[] = {
                { { NULL },
                  "3 no secret= option: refused; add secret=NAME of the policy that says who may enter\n" },
                { { "debug", NULL },
                  "3 no secret= option: refused; add secret=NAME of the policy that says who may enter\n" },
                { { "secret=", NULL },
                  "3 \"secret=\" names no secret: refused; write the name of a policy file without its "
                  ".ini\n" },
                { { "secret", NULL },
                  "3 unknown option \"secret\": refused; the options are secret=NAME, use=sign, use=verify, debug and quiet\n" },
                { { "secret=billing", "optional", NULL },
                  "3 unknown option \"optional\": refused; the options are secret=NAME, use=sign, use=verify, debug and quiet\n" },
                { { "secret=billing", "Debug", NULL },
                  "3 unknown option \"Debug\": refused; the options are secret=NAME, use=sign, use=verify, debug and quiet\n" },
                { { "secret=billing", "debug=1", NULL },
                  "3 unknown option \"debug=1\": refused; the options are secret=NAME, use=sign, use=verify, debug and quiet\n" },
                { { "secret=billing", "", NULL },
                  "3 unknown option \"\": refused; the options are secret=NAME, use=sign, use=verify, debug and quiet\n" },
                { { "secret=billing", "secret=gateway", NULL },
                  "3 secret= given twice: refused; write one line for each secret\n" },
                { { "secret=billing", "secret=billing", NULL },
                  "3 secret= given twice: refused; write one line for each secret\n" },
                { { "secret=../billing", NULL },
                  "3 \"secret=../billing\" names no secret: refused; write the name of a policy file without "
                  "its .ini\n" },
                { { "secret=Billing", NULL },
                  "3 \"secret=Billing\" names no secret: refused; write the name of a policy file without "
                  "its .ini\n" },
                { { "secret=billing", "strict", NULL },
                  "3 \"strict\" is for session lines: refused; an account line refuses at every error without it\n" },
                { { "secret=billing", "use=both", NULL }, "3 \"use=both\" is no use of a secret: refused; write use=sign or use=verify\n" },
                { { "secret=billing", "use=sign", "use=verify", NULL }, "3 use= given twice: refused; leave it out where both are meant\n" },
                { { "secret=billing\n", NULL },
                  "3 \"secret=billing\\x0a\" names no secret: refused; write the name of a policy file "
                  "without its .ini\n" },
        };

        use_table();
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                expect_int(wrap_acct("alice", rows[i].options), PAM_PERM_DENIED);
                expect_string(wrap.log, rows[i].log);
        }
}

TEST(debug_says_who_was_let_in) {
        use_table();
        expect_int(wrap_acct("alice", (const char *const[]){ "debug", "secret=billing", NULL }), PAM_SUCCESS);
        expect_string(wrap.log, "7 user \"alice\" allowed by [access] of billing\n");
}

TEST(quiet_says_nothing_of_users_and_everything_of_errors) {
        const char *const quiet[] = { "secret=billing", "quiet", NULL };

        use_table();
        expect_int(wrap_acct("mallory", quiet), PAM_PERM_DENIED);
        expect_string(wrap.log, "");
        expect_int(wrap_acct("unknown", quiet), PAM_PERM_DENIED);
        expect_string(wrap.log, "");
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_acct("alice", quiet), PAM_PERM_DENIED);
        expect_string(wrap.log, "3 run/access: No such file or directory: everybody refused; 'keyrota "
                                "provision' writes it anew\n");
}

TEST(program_that_may_not_read_the_table_is_not_told_to_have_it_written) {
        use_table();
        wrap.fail_call = "openat";
        wrap.fail_errno = EACCES;
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect_string(wrap.log, "3 run/access: Permission denied: everybody refused; only a program that runs as root can ask pam_keyrota\n");
}

TEST(control_characters_do_not_reach_the_log) {
        char name[200];

        use_table();
        expect_int(wrap_secret("a\nb\x1b[2J\"\\\xc3\xa4%s%n", "billing"), PAM_PERM_DENIED);
        expect_string(wrap.log,
                      "5 unknown user \"a\\x0ab\\x1b[2J\\x22\\x5c\\xc3\\xa4%s%n\" refused for billing\n");

        memset(name, '\x01', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        expect_int(wrap_secret(name, "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.log, "\\x01...\" refused"));
        expect(strlen(wrap.log) < 200);
}

TEST(each_verdict_is_on_record) {
        use_table();
        expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
        expect_string(wrap.records, "EVENT=access-granted VERDICT=granted ENVIRONMENT=production NAME=billing USER=alice SERVICE=sshd TTY=pts/3 "
                                    "REMOTE_HOST=2001:db8::1 UID=1001 \n");
        expect_int(wrap_secret("mallory", "billing"), PAM_PERM_DENIED);
        expect_string(wrap.records, "EVENT=access-refused VERDICT=refused ENVIRONMENT=production NAME=billing REASON=the policy does not name the user "
                                    "USER=mallory SERVICE=sshd TTY=pts/3 REMOTE_HOST=2001:db8::1 UID=1004 \n");
        expect_int(wrap_secret("unknown", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.records, "REASON=unknown user ") && !strstr(wrap.records, "UID="));
        expect_int(wrap_secret("alice", "absent"), PAM_PERM_DENIED);
        expect(strstr(wrap.records, "NAME=absent REASON=no policy of this name has an [access] section "));
        expect_int(wrap_acct("alice", (const char *const[]) { "nonsense", NULL }), PAM_PERM_DENIED);
        expect(strstr(wrap.records, "REASON=the options of pam_keyrota are wrong "));
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.records, "REASON=the access table cannot be used "));
        use_table();
        wrap.fail_call = "getpwnam_r";
        wrap.fail_errno = EIO;
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.records, "REASON=the name services cannot look up the user "));
        wrap.fail_call = "getgrnam_r";
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.records, "REASON=the name services cannot look up its groups "));
}

/* With this entry in the live keyring, or none. */
static void set_audit(const char *payload) {
        wrap_live();
        if (payload)
                wrap_publish("config:audit", payload, strlen(payload));
        use_table();
}

TEST(where_a_record_is_a_must_nobody_is_let_in_without) {
        static const char *const musts[] = { "keyrota1 - 0 -\nrequired", "keyrota1 - 0 -\nbest-effort ", "keyrota1 - 0 -\n", "keyrota1 - 0 -", "best-effort" };

        for (size_t i = 0; i < ELEMENTSOF(musts); i++) {
                set_audit(musts[i]);
                expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
                (void) wrap_missing(); /* of earlier tests */
                wrap_set_journal(WRAP_JOURNAL_NONE);
                expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
                expect_string(wrap.log, "3 the journal takes no record of user \"alice\": No such file or directory: refused, for keyrota.conf says audit = required\n");
                expect_string(wrap_missing(), "access-refused production/billing alice sshd: No such file or directory\n");
                wrap_set_journal(WRAP_JOURNAL_GOOD);
        }
}

TEST(where_no_record_is_a_must_a_journal_that_is_gone_or_stuck_keeps_nobody_out_or_waiting) {
        static const char *const leaves[] = { "keyrota1 - 0 -\nbest-effort", NULL };

        for (size_t i = 0; i < ELEMENTSOF(leaves); i++) {
                set_audit(leaves[i]);
                (void) wrap_missing(); /* of earlier tests */
                wrap_set_journal(WRAP_JOURNAL_NONE);
                expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
                expect_string(wrap.log, "3 the journal takes no record of user \"alice\": No such file or directory\n");
                expect_string(wrap_missing(), "access-granted production/billing alice sshd: No such file or directory\n");
                expect_int(wrap_secret("mallory", "billing"), PAM_PERM_DENIED);
                expect_string(wrap_missing(), "access-refused production/billing mallory sshd: No such file or directory\n");
                wrap_set_journal(WRAP_JOURNAL_STUCK);
                expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
                expect_string(wrap_missing(), "access-granted production/billing alice sshd: Resource temporarily unavailable\n");
                expect_string(wrap.log, "3 the journal takes no record of user \"alice\": Resource temporarily unavailable\n");
                expect(!strstr(wrap.trace, "poll "));
                wrap_set_journal(WRAP_JOURNAL_GOOD);
        }
}

TEST(a_stuck_journal_is_waited_for_with_a_bound_where_a_record_is_a_must) {
        set_audit("keyrota1 - 0 -\nrequired");
        wrap_set_journal(WRAP_JOURNAL_STUCK);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.trace, "poll "));
        wrap.meanwhile_call = "poll";
        wrap.meanwhile = wrap_relieve_journal;
        expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
        expect(strstr(wrap.records, "EVENT=access-granted "));
        wrap_set_journal(WRAP_JOURNAL_GOOD);
}

TEST(without_a_live_keyring_a_record_is_a_must) {
        static const char text[] = "keyrota-access 2\nring 1\nsecret a/billing 1 0 verify session alice\nend\n";
        static const char none[] = "keyrota-access 2\nring 0\nsecret a/billing 1 0 verify session alice\nend\n";

        wrap_set_journal(WRAP_JOURNAL_NONE);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        wrap_table(none, sizeof(none) - 1);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        wrap_set_journal(WRAP_JOURNAL_GOOD);
        expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
}

TEST(use_must_be_that_of_the_policy) {
        use_table();
        expect_int(wrap_acct("alice", (const char *const[]) { "secret=billing", "use=verify", NULL }), PAM_SUCCESS);
        expect_int(wrap_acct("alice", (const char *const[]) { "secret=gateway", "use=sign", NULL }), PAM_SUCCESS);
        expect_int(wrap_acct("alice", (const char *const[]) { "secret=billing", "use=sign", NULL }), PAM_PERM_DENIED);
        expect_string(wrap.log, "5 user \"alice\" refused: [access] of billing says use = verify\n");
        expect(strstr(wrap.records, "REASON=the policy names the user for another use "));
        expect_int(wrap_acct("alice", (const char *const[]) { "secret=billing", "use=sign", "quiet", NULL }), PAM_PERM_DENIED);
        expect_string(wrap.log, "");
        expect_int(wrap_acct("mallory", (const char *const[]) { "secret=billing", "use=verify", NULL }), PAM_PERM_DENIED);
}

TEST(locked_secrets_and_users_are_refused_and_the_log_says_so) {
        static const char text[] = "keyrota-access 2\nring 7\nlocked bob\nlocked carol\ngroup ops\n"
                                   "secret a/billing 1 0 verify session alice @ops\nsecret a/held 1 0 verify locked alice\nend\n";

        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
        expect_int(wrap_secret("alice", "held"), PAM_PERM_DENIED);
        expect_string(wrap.log, "5 held is locked: user \"alice\" refused; see 'keyrota unlock'\n");
        expect(strstr(wrap.records, "REASON=the secret is locked "));
        expect_int(wrap_secret("bob", "billing"), PAM_PERM_DENIED);
        expect_string(wrap.log, "5 user \"bob\" is locked: refused for billing; see 'keyrota unlock'\n");
        expect(strstr(wrap.records, "REASON=the user is locked "));
        expect_int(wrap_secret("carol", "billing"), PAM_PERM_DENIED);
        expect_int(wrap_acct("alice", (const char *const[]) { "secret=held", "quiet", NULL }), PAM_PERM_DENIED);
        expect_string(wrap.log, "");
        expect(strstr(wrap.records, "REASON=the secret is locked "));
        expect_int(wrap_acct("bob", (const char *const[]) { "secret=billing", "quiet", NULL }), PAM_PERM_DENIED);
        expect_string(wrap.log, "");
}

static int ask_for_read_server(const char *user, const char *secret) {
        wrap.service = "keyrota";
        wrap.env_secret = secret;
        return wrap_acct(user, (const char *const[]) { NULL });
}

TEST(read_server_says_by_pams_environment_which_secret_and_makes_the_record_itself) {
        use_table();
        expect_int(ask_for_read_server("alice", "billing"), PAM_SUCCESS);
        expect_int(wrap.n_records, 0);
        expect_int(ask_for_read_server("mallory", "billing"), PAM_PERM_DENIED);
        expect_int(wrap.n_records, 0);
        expect_int(ask_for_read_server("alice", "absent"), PAM_PERM_DENIED);
        expect_int(ask_for_read_server("alice", NULL), PAM_PERM_DENIED);
        expect_string(wrap.log, "3 no secret= option, and KEYROTA_SECRET in PAM's environment names no secret: refused\n");
        expect_int(ask_for_read_server("alice", "../billing"), PAM_PERM_DENIED);
        expect_int(ask_for_read_server("alice", ""), PAM_PERM_DENIED);

        /* No other service may be told by it. */
        wrap.env_secret = "billing";
        expect_int(wrap_acct("alice", (const char *const[]) { NULL }), PAM_PERM_DENIED);
        /* Where the line says which, the line decides, and there is a record. */
        wrap.service = "keyrota";
        wrap.env_secret = "gateway";
        expect_int(wrap_acct("bob", (const char *const[]) { "secret=billing", NULL }), PAM_SUCCESS);
        expect_int(wrap.n_records, 1);
}

int main(void) {
        return wrap_scratch_of_root() ? tap_main() : EXIT_SUCCESS;
}
