/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a session is given. */

#include <errno.h>
#include <keyutils.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <security/pam_modules.h>

#include "cleanup.h"
#include "copies.h"
#include "tap.h"
#include "world.h"
#include "wrap.h"

TEST(user_whom_policies_name_finds_the_exact_bytes_and_each_grant_is_on_record) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(has_api() && has_billing());
        expect_int(wrap_count_possessed(), 3); /* and the ring */
        expect_int(wrap_count_left(), 0);
        expect_string(wrap.records,
                      "EVENT=copy-granted VERDICT=granted ENVIRONMENT=production NAME=api KID=kid-a GENERATION=3 USER=alice SERVICE=sshd TTY=pts/3 "
                      "REMOTE_HOST=2001:db8::1 UID=1001 \n"
                      "EVENT=copy-granted VERDICT=granted ENVIRONMENT=production NAME=billing KID=kid-b KID=kid-c GENERATION=17 USER=alice SERVICE=sshd TTY=pts/3 "
                      "REMOTE_HOST=2001:db8::1 UID=1001 \n"
                      "EVENT=copy-refused VERDICT=refused ENVIRONMENT=production NAME=held REASON=the secret is locked USER=alice SERVICE=sshd TTY=pts/3 "
                      "REMOTE_HOST=2001:db8::1 UID=1001 \n");
        expect_string(wrap.log, "5 user \"alice\" gets no copy of held: the secret is locked; see 'keyrota unlock'\n");
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

#define ENDED(name, reason)                                                                                                              \
        "EVENT=copy-removed VERDICT=done NAME=" name " REASON=" reason " USER=alice SERVICE=sshd TTY=pts/3 REMOTE_HOST=2001:db8::1 UID=1001 \n"

TEST(copies_that_end_with_the_session_are_on_record) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect_int(wrap.n_records, 2);
        expect(strstr(wrap.records, ENDED("api", "the session has ended")) && strstr(wrap.records, ENDED("billing", "the session has ended")));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect_int(wrap.n_records, 0);
        wrap_set_journal(WRAP_JOURNAL_NONE);
        (void) wrap_missing();
        expect_int(wrap_open("alice", OPTIONS("secret=api")), PAM_SUCCESS);
        (void) wrap_missing();
        expect_int(wrap_close("alice", OPTIONS("secret=api")), PAM_SUCCESS);
        expect_string(wrap_missing(), "copy-removed -/api alice sshd: No such file or directory\n");
        expect_string(wrap.log, "4 the journal takes no record of the copies of user \"alice\": No such file or directory\n");
        expect(has_nothing());
        wrap_set_journal(WRAP_JOURNAL_GOOD);
}

static key_serial_t ring_of_session(void) {
        key_serial_t keys[64], found = 0;
        long n = keyctl_read(KEY_SPEC_SESSION_KEYRING, (char *) keys, sizeof(keys));

        for (long i = 0; i < n / (long) sizeof(*keys); i++)
                if (copies_check(keys[i], NULL) == 0)
                        found = keys[i];
        return found;
}

TEST(ring_says_whose_it_is) {
        struct copies_holder holder;

        world_begin(1001);
        expect_int(wrap_open("ALICE", PLAIN), PAM_SUCCESS);
        expect_int(copies_check(ring_of_session(), &holder), 0);
        expect(holder.uid == 1001 && holder.pid == getpid());
        expect_string(holder.user, "alice"); /* as the account spells itself */
        expect_string(holder.service, "sshd");
        expect_string(holder.tty, "pts/3");
        expect_string(holder.remote_host, "2001:db8::1");
        expect_string(holder.only, "");
        expect_int(wrap_close("ALICE", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(member_of_a_group_finds_what_the_group_may_read) {
        world_begin(1002);
        expect_int(wrap_open("bob", PLAIN), PAM_SUCCESS);
        expect(has_billing() && !has_api());
        expect_int(wrap_close("bob", PLAIN), PAM_SUCCESS);
}

TEST(user_without_a_right_gets_nothing_not_even_a_ring) {
        world_begin(1004);
        expect_int(wrap_open("mallory", STRICT), PAM_SUCCESS);
        expect(!strstr(wrap.trace, "add_key") && !strstr(wrap.trace, "keyctl"));
        expect_string(wrap.log, "");
        expect_int(wrap.n_records, 0);
        expect(has_nothing());
        expect_int(wrap_close("mallory", STRICT), PAM_SUCCESS);
}

TEST(groups_are_looked_up_only_where_the_table_names_some) {
        static const char text[] = "keyrota-access 2\nring 7\nlocked zoe\nsecret production/api 3 0 sign session alice\nend\n";

        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(strstr(wrap.trace, "getgrouplist"));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(has_api() && !strstr(wrap.trace, "getgr"));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
}

TEST(locked_user_gets_nothing_and_the_log_says_so) {
        static const char text[] = "keyrota-access 2\nring 7\nlocked alice\nsecret production/api 3 0 sign session alice\nend\n";

        world_begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
        expect_string(wrap.log, "5 user \"alice\" gets no copy of api: the user is locked; see 'keyrota unlock'\n");
        expect(strstr(wrap.records, "EVENT=copy-refused VERDICT=refused ENVIRONMENT=production NAME=api REASON=the user is locked "));
        expect_int(wrap_open("alice", OPTIONS("quiet")), PAM_SUCCESS);
        expect_string(wrap.log, "");
        expect_int(wrap.n_records, 1);
}

TEST(ring_without_copies_is_there_for_what_is_not_yet_published) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret production/future 0 0 verify session alice\nend\n";

        world_begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(ring_of_session() > 0);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

/* ---- the session keyring -------------------------------------------------------------------------------------------- */

TEST(a_session_keyring_that_is_not_the_users_own_is_refused) {
        static const char not_own[] = "3 user \"alice\" gets no copy of any secret: the session keyring is not the session's own; pam_keyinit.so with force revoke "
                                      "must stand before pam_keyrota.so\n";

        for (unsigned way = 0; way < 4; way++) {
                world_begin(1001);
                if (way == 0)
                        wrap_session(1004, NULL); /* of who called su */
                else if (way == 1)
                        wrap_session(0, NULL);
                else if (way == 2)
                        wrap_session(1001, "alice's");
                else {
                        /* as its owner: root may only where it is the machine's own root */
                        expect_int(seteuid(1001), 0);
                        expect_int(keyctl_setperm(KEY_SPEC_SESSION_KEYRING, 0x3f3f0000 | KEY_OTH_SEARCH), 0);
                        expect_int(seteuid(0), 0);
                }
                expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
                expect_string(wrap.log, not_own);
                expect(has_nothing());
                expect(strstr(wrap.records, "EVENT=copy-refused VERDICT=refused REASON=the session keyring is not the session's own; "));
                expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
                expect(has_nothing());
        }
        world_begin(1001);
        expect_int(keyctl_revoke(KEY_SPEC_SESSION_KEYRING), 0);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "there is no session keyring; pam_keyinit.so"));
        wrap_session(1001, NULL);
        expect(has_nothing());
}

TEST(under_su_the_real_user_is_not_root) {
        int opened, closed, good;

        world_begin(1001);
        expect_int(setreuid(1004, 0), 0);
        opened = wrap_open("alice", PLAIN);
        good = has_api() && has_billing();
        closed = wrap_close("alice", PLAIN);
        expect_int(setreuid(0, 0), 0);
        expect_int(opened, PAM_SUCCESS);
        expect(good);
        expect_int(closed, PAM_SUCCESS);
        expect(has_nothing());
}

TEST(session_keyring_that_ended_before_close_hurts_nobody) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect_int(keyctl_revoke(KEY_SPEC_SESSION_KEYRING), 0);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        wrap_session(1001, NULL);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(close_that_is_not_roots_leaves_the_copies_to_the_kernel) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        wrap.not_root = true;
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_api());
        wrap_session(1001, NULL);
        expect(has_nothing());
}

TEST(close_leaves_a_key_alone_that_has_the_number_now) {
        key_serial_t ring;

        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        ring = ring_of_session();
        expect_int(keyctl_setperm(ring, 0x3f3f0000), 0); /* not as ours are */
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_api());
        expect_int(wrap_count_possessed(), 3);
        wrap_session(1001, NULL);
}

/* ---- options -------------------------------------------------------------------------------------------------------- */

TEST(line_restricts_copies_to_secrets_and_use_and_the_ring_says_so) {
        static const struct {
                const char *options[4], *only;
                bool api, billing;
        } rows[] = {
                { { "secret=api", NULL }, "any/api", true, false },
                { { "secret=billing", "secret=api", NULL }, "any/billing/api", true, true },
                { { "use=sign", NULL }, "sign", true, false },
                { { "use=verify", NULL }, "verify", false, true },
                { { "secret=billing", "use=sign", "secret=api", NULL }, "sign/billing/api", true, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct copies_holder holder;

                world_begin(1001);
                expect_int(wrap_open("alice", rows[i].options), PAM_SUCCESS);
                expect(has_api() == rows[i].api && has_billing() == rows[i].billing);
                expect_int(copies_check(ring_of_session(), &holder), 0);
                expect_string(holder.only, rows[i].only);
                expect_int(wrap_close("alice", rows[i].options), PAM_SUCCESS);
                expect(has_nothing());
        }
        world_begin(1001);
        expect_int(wrap_open("alice", OPTIONS("secret=other", "strict")), PAM_SUCCESS);
        expect(has_nothing());
        expect_int(wrap_open("alice", OPTIONS("secret=billing", "use=sign")), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(options_that_are_wrong_give_nothing) {
        char many[20][80];
        const char *all[21] = { NULL };
        static const struct {
                const char *options[4], *log;
        } rows[] = {
                { { "optional", NULL },
                  "3 unknown option \"optional\": no copies given; the options are secret=NAME, use=sign, use=verify, strict, debug and quiet\n" },
                { { "Strict", NULL },
                  "3 unknown option \"Strict\": no copies given; the options are secret=NAME, use=sign, use=verify, strict, debug and quiet\n" },
                { { "secret=", NULL }, "3 \"secret=\" names no secret: refused; write the name of a policy file without its .ini\n" },
                { { "use=", NULL }, "3 \"use=\" is no use of a secret: refused; write use=sign or use=verify\n" },
                { { "use=sign", "use=verify", NULL }, "3 use= given twice: refused; leave it out where both are meant\n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const char *strict[] = { rows[i].options[0], "strict", rows[i].options[1], NULL };

                world_begin(1001);
                expect_int(wrap_open("alice", rows[i].options), PAM_IGNORE);
                expect(strncmp(wrap.log, rows[i].log, strlen(rows[i].log)) == 0);
                expect(strstr(wrap.log, "3 user \"alice\" gets no copy of any secret: the options of pam_keyrota are wrong\n"));
                expect(strstr(wrap.records, "REASON=the options of pam_keyrota are wrong "));
                expect(has_nothing());
                expect_int(wrap_open("alice", strict), PAM_SESSION_ERR);
                expect(strstr(wrap.log, "3 user \"alice\": session refused, for the line says strict\n"));
                expect(has_nothing());
                expect_int(wrap_close("alice", rows[i].options), PAM_SUCCESS);
        }

        for (size_t i = 0; i < ELEMENTSOF(many); i++) {
                (void) snprintf(many[i], sizeof(many[i]), "secret=%02zu%060d", i, 0);
                all[i] = many[i];
        }
        expect_int(wrap_open("alice", all), PAM_IGNORE);
        expect(strstr(wrap.log, "3 too many secret= in one line: no copies given; write a second line\n"));
}

TEST(debug_says_what_was_given) {
        world_begin(1001);
        expect_int(wrap_open("alice", OPTIONS("debug", "quiet")), PAM_SUCCESS);
        expect(strncmp(wrap.log, "7 user \"alice\" has copies of 2 secrets, in keyring ", 51) == 0);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(without_a_table_nothing_is_wrong_but_for_strict) {
        world_begin(1001);
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect_string(wrap.log, "");
        expect_int(wrap.n_records, 0);
        expect_int(wrap_open("alice", OPTIONS("debug")), PAM_IGNORE);
        expect_string(wrap.log, "7 user \"alice\" gets no copy of any secret: there is no run/access; 'keyrota provision' writes it\n");
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(strstr(wrap.log, "3 user \"alice\" gets no copy of any secret: there is no run/access"));
        expect(has_nothing());
}

TEST(user_whom_the_name_services_do_not_know_has_no_copies_and_that_is_no_error_but_for_strict) {
        world_begin(1001);
        expect_int(wrap_open("unknown", PLAIN), PAM_IGNORE);
        expect_string(wrap.log, "");
        expect_int(wrap_open("unknown", STRICT), PAM_SESSION_ERR);
        wrap.no_user = true;
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(has_nothing());
}

TEST(tables_that_are_torn_or_cannot_be_read_give_nothing) {
        static const char damaged[] = "keyrota-access 2\nring 7\nsecret production/api 3 0 sign session alice \nend\n";

        world_begin(1001);
        world_table(1);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "run/access: torn, or not an access table of this version of keyrota; 'keyrota provision' writes it anew\n"));
        expect(has_nothing());
        wrap_table(damaged, sizeof(damaged) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(strstr(wrap.log, "run/access: damaged; 'keyrota provision' writes it anew\n"));
        expect(has_nothing());
        wrap.fail_call = "openat";
        wrap.fail_errno = EACCES;
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "run/access: Permission denied; only a program that runs as root can ask pam_keyrota\n"));
        expect(has_nothing());
}

/* ---- several lines -------------------------------------------------------------------------------------------------- */

TEST(a_line_that_stands_twice_uses_the_same_ring) {
        key_serial_t ring;

        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        ring = ring_of_session();
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect_int(ring_of_session(), ring);
        expect_int(wrap_count_possessed(), 3);
        expect(has_api() && has_billing());
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(lines_with_other_restrictions_have_a_ring_each) {
        const char *const *one = OPTIONS("secret=api"), *const *two = OPTIONS("secret=billing");

        world_begin(1001);
        expect_int(wrap_open("alice", one), PAM_SUCCESS);
        expect_int(wrap_open("alice", two), PAM_SUCCESS);
        expect(has_api() && has_billing());
        expect_int(wrap_count_possessed(), 4);
        expect_int(wrap_close("alice", one), PAM_SUCCESS);
        expect(!has_api() && has_billing());
        expect_int(wrap_close("alice", two), PAM_SUCCESS);
        expect(has_nothing());
}

/* The kernel sees to a ring that is linked nowhere when it likes to: as long as that number is still a key, it must not be taken for the session's. */
TEST(session_can_be_opened_again_after_its_end) {
        key_serial_t ring = 0;

        world_begin(1001);
        for (unsigned i = 0; i < 3; i++) {
                expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
                expect(has_api() && has_billing());
                expect(ring_of_session() != ring);
                ring = ring_of_session();
                expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
                expect(has_nothing());
        }
}

TEST(session_can_be_opened_again_after_strict_took_all_back) {
        key_serial_t ring;

        world_begin(1001);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        ring = ring_of_session();
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(has_nothing());
        world_table(0);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_api() && has_billing() && ring_of_session() != ring);
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(ring_of_another_user_in_the_same_transaction_is_not_used) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        wrap_session(1002, NULL);
        expect_int(wrap_open("bob", PLAIN), PAM_SUCCESS);
        expect(has_billing() && !has_api());
        expect_int(wrap_close("bob", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(copies_end_with_the_session_also_where_a_second_line_found_nothing_to_give) {
        static const char without[] = "keyrota-access 2\nring 7\nsecret production/api 3 0 sign session bob\nend\n";

        for (unsigned i = 0; i < 2; i++) {
                world_begin(1001);
                expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
                if (i == 0)
                        (void) unlink(WRAP_TABLE);
                else
                        wrap_table(without, sizeof(without) - 1);
                expect_int(wrap_open("alice", PLAIN), i == 0 ? PAM_IGNORE : PAM_SUCCESS);
                expect(has_api() && has_billing()); /* the run that replaced the table takes them */
                expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
                expect_int(wrap.n_records, 2);
                expect(has_nothing());
        }
}

TEST(strict_takes_back_what_an_earlier_line_gave) {
        world_begin(1001);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        wrap_unpublish("secret:production/api/sign");
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(has_nothing());
        expect(strstr(wrap.records, ENDED("api", "another line of the stack says strict, and fails")));
        expect(strstr(wrap.records, ENDED("billing", "another line of the stack says strict, and fails")));
        expect(!strstr(wrap.records, "granted"));

        world_begin(1001);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(has_nothing());
}

/* ---- the live keyring ----------------------------------------------------------------------------------------------- */

TEST(a_secret_that_cannot_be_copied_is_told_and_the_others_are_given) {
        static const struct {
                const char *payload, *log;
        } rows[] = {
                { NULL, "it is not in the kernel keyring; 'keyrota provision' publishes it anew" },
                { "x", "what the kernel keyring has of it is not of this version of keyrota; 'keyrota provision' publishes it anew" },
                { "keyrota1 production/api 3 kid", "is not of this version" },
                { "keyrota1 production/api 3 kid\n", "is not of this version" },
                { "keyrota1 production/api 3 \nx", "is not of this version" },
                { "keyrota1 production/api  kid\nx", "is not of this version" },
                { "keyrota1 production/api 3\nx", "is not of this version" },
                { "keyrota1 production/api -3 kid\nx", "is not of this version" },
                { "keyrota1 production/api 99999999999999999999 kid\nx", "is not of this version" },
                { "keyrota1 production/other 3 kid\nx", "is not of this version" },
                { "keyrota1 production/apis 3 kid\nx", "is not of this version" },
                { "keyrota2 production/api 3 kid\nx", "is not of this version" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                world_begin(1001);
                wrap_unpublish("secret:production/api/sign");
                if (rows[i].payload)
                        wrap_publish("secret:production/api/sign", rows[i].payload, strlen(rows[i].payload));
                expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
                expect(has_billing() && !has_api());
                expect(strstr(wrap.log, "3 user \"alice\" gets no copy of api: "));
                expect(strstr(wrap.log, rows[i].log));
                expect(strstr(wrap.records, "NAME=billing") && strstr(wrap.records, "EVENT=copy-refused VERDICT=refused ENVIRONMENT=production NAME=api "));
                expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
                expect(has_nothing());

                expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
                expect(has_nothing());
                expect(!strstr(wrap.records, "copy-granted"));
        }
}

TEST(large_entries_are_copied_whole) {
        static const size_t sizes[] = { 4000, 4096 - 34, 4096 - 33, 4096 - 32, 5000, 32767 - 33 };
        static char payload[32767], copy[32768];

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                size_t head;

                world_begin(1001);
                memset(payload, 'x', sizeof(payload));
                head = (size_t) snprintf(payload, sizeof(payload), "keyrota1 production/api 3 kid-a\n");
                payload[head] = 'x';
                payload[head + sizes[i] - 1] = 'z';
                wrap_publish("secret:production/api/sign", payload, head + sizes[i]);
                expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
                expect_int(wrap_copy("api", copy, sizeof(copy)), sizes[i]);
                expect(memcmp(copy, payload + head, sizes[i]) == 0 && has_billing());
                expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        }
        /* No memory for a large one: nor for those that come after it. */
        for (unsigned at = 1, n_without = 0;; at++) {
                wrap.fail_at[0] = at;
                wrap.fail_errno = ENOMEM;
                (void) wrap_open("alice", PLAIN);
                if (wrap.failed[0] == '\0') {
                        expect(n_without > 0);
                        break;
                }
                n_without += strcmp(wrap.failed, "mlock ") == 0 && !has_api() && !has_billing();
                (void) wrap_close("alice", PLAIN);
                wrap_end();
        }
        (void) wrap_close("alice", PLAIN);
}

TEST(an_end_beyond_what_the_kernel_counts_is_none) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret production/api 3 9999999999999 sign session alice\nend\n";

        world_begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_api());
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
}

TEST(names_within_other_names_count_for_nothing_and_a_name_twice_once) {
        static const char text[] = "keyrota-access 2\nring 7\ngroup ops\nsecret production/api 3 0 sign session alice2 alicex\n"
                                   "secret production/billing 17 0 verify session bob @ops\nend\n";

        world_begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
        world_begin(1002);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("bob", STRICT), PAM_SUCCESS);
        expect(has_billing());
        expect_int(wrap.n_records, 1);
        expect_int(wrap_close("bob", STRICT), PAM_SUCCESS);
}

TEST(table_without_lines_gives_nobody_anything) {
        static const char text[] = "keyrota-access 2\nring 7\nend\n";

        world_begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
}

static void grow_records(void) {
        wrap.record_size = 64 * 1024 * 1024;
}

TEST(group_that_cannot_be_looked_up_is_an_error_and_what_names_the_user_is_given) {
        static const char *const log = "3 user \"%s\" gets no copy of what only groups are given: the name services cannot look up the groups in run/access: "
                                       "Value too large for defined data type\n";
        static const struct {
                const char *name;
                unsigned uid;
                bool named;
        } rows[] = { { "alice", 1001, true }, { "bob", 1002, false } };
        char wanted[256];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                world_begin(rows[i].uid);
                wrap.meanwhile_call = "getgrnam_r";
                wrap.meanwhile = grow_records;
                expect_int(wrap_open(rows[i].name, OPTIONS("quiet")), PAM_IGNORE);
                (void) snprintf(wanted, sizeof(wanted), log, rows[i].name);
                expect_string(wrap.log, wanted);
                expect(strstr(wrap.records, "EVENT=copy-refused VERDICT=refused REASON=only groups are given the rest, and the name services cannot look up "));
                expect(has_api() == rows[i].named && has_billing() == rows[i].named);
                expect_int(wrap_close(rows[i].name, OPTIONS("quiet")), PAM_SUCCESS);
                expect(has_nothing());

                wrap.meanwhile_call = "getgrnam_r";
                wrap.meanwhile = grow_records;
                expect_int(wrap_open(rows[i].name, STRICT), PAM_SESSION_ERR);
                expect(has_nothing());
        }
}

TEST(copy_whose_end_has_passed_is_not_given) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret production/api 3 1000000000 sign session alice\nend\n";

        world_begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "gets no copy of api: the end of its key has passed; see 'keyrota status'\n"));
        expect(has_nothing());
}

TEST(a_live_keyring_that_is_gone_or_not_roots_alone_gives_nothing) {
        static const char *const serials[] = { "0", "1", "2147483647" };
        char text[256];
        key_serial_t other;

        for (size_t i = 0; i < ELEMENTSOF(serials) + 2; i++) {
                world_begin(1001);
                other = add_key("keyring", i == ELEMENTSOF(serials) ? "other" : "keyrota", NULL, 0, KEY_SPEC_PROCESS_KEYRING);
                expect_int(keyctl_setperm(other, i == ELEMENTSOF(serials) ? 0x003f0000 : 0x3f3f0000), 0);
                (void) snprintf(text, sizeof(text), "keyrota-access 2\nring %d\nsecret production/api 3 0 sign session alice\nend\n",
                                i < ELEMENTSOF(serials) ? atoi(serials[i]) : other);
                wrap_table(text, strlen(text));
                expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
                expect(strstr(wrap.log, "gets no copy of any secret: the live kernel keyring "));
                expect(has_nothing());
                expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
                expect(has_nothing());
        }
}

TEST(user_whose_quota_is_used_up_is_told) {
        bool told = false;

        for (unsigned at = 1; !told; at++) {
                world_begin(1001);
                wrap.fail_at[0] = at;
                wrap.fail_errno = EDQUOT;
                (void) wrap_open("alice", PLAIN);
                told = strstr(wrap.log, "the ring of copies cannot be linked into the session keyring, for the user's quota of keys is used up: Disk quota exceeded\n");
                expect(!told || (has_nothing() && strstr(wrap.records, "EVENT=copy-refused VERDICT=refused REASON=the ring of copies cannot be linked")));
                expect(wrap.failed[0]);
                (void) wrap_close("alice", PLAIN);
        }
}

/* ---- a run at the same time ----------------------------------------------------------------------------------------- */

static unsigned n_replaced;

static void replace_always(void) {
        n_replaced++;
        world_table(0);
}

static void replace_once_without_alice(void) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret production/api 3 0 sign session bob\nend\n";

        wrap.meanwhile = NULL;
        wrap_table(text, sizeof(text) - 1);
}

static void replace_once_without_alice_and_break_searches(void) {
        replace_once_without_alice();
        wrap.fail_call = "keyctl_search";
        wrap.fail_errno = EIO;
}

static void rotate_once(void) {
        static const char payload[] = "keyrota1 production/api 4 kid-n\nnew";

        wrap.meanwhile = NULL;
        wrap_publish("secret:production/api/sign", payload, sizeof(payload) - 1);
        world_table(0);
}

TEST(table_that_is_replaced_meanwhile_is_read_again) {
        world_begin(1001);
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = replace_once_without_alice;
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
        expect(!strstr(wrap.records, "granted"));

        world_begin(1001);
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = rotate_once;
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has("api", "new", 3) && has_billing());
        expect(strstr(wrap.records, "NAME=api KID=kid-n GENERATION=4 ") && !strstr(wrap.records, "GENERATION=3 "));
        expect_int(wrap.n_records, 3);
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(table_that_is_replaced_again_and_again_gives_nothing) {
        world_begin(1001);
        n_replaced = 0;
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = replace_always;
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect_int(n_replaced, 3);
        expect(has_nothing());
        expect(strstr(wrap.log, "gets no copy of any secret: run/access was replaced 3 times meanwhile\n"));
        expect(!strstr(wrap.records, "granted"));
}

TEST(second_line_that_meets_another_table_takes_back_only_what_that_one_does_not_allow) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = rotate_once;
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(has("api", "new", 3) && has_billing());
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(second_line_that_cannot_take_back_one_copy_takes_all) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = replace_once_without_alice_and_break_searches;
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(strstr(wrap.failed, "keyctl_search "));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect_int(wrap.n_records, 0); /* nothing was left to end with the session */
        expect(has_nothing());
}

TEST(copy_that_cannot_be_renewed_is_told) {
        world_begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        rotate_once();
        wrap.fail_call = "keyctl_update";
        wrap.fail_errno = EIO;
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "3 user \"alice\" gets no copy of api: it cannot be copied: Input/output error\n"));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

/* ---- records -------------------------------------------------------------------------------------------------------- */

TEST(where_a_record_is_a_must_there_is_no_copy_without) {
        static const enum wrap_journal bad[] = { WRAP_JOURNAL_NONE, WRAP_JOURNAL_STUCK };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                world_begin(1001);
                world_publish("required");
                world_table(0);
                expect_int(wrap_open("alice", OPTIONS("quiet")), PAM_SUCCESS);
                expect_int(wrap_close("alice", OPTIONS("quiet")), PAM_SUCCESS);
                wrap_set_journal(bad[i]);
                expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
                expect(strstr(wrap.log, "3 user \"alice\" gets no copy of any secret: the journal takes no record of it ("));
                expect(strstr(wrap.log, "), and keyrota.conf says audit = required\n"));
                expect(has_nothing());
                expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
                expect(has_nothing());
                wrap_set_journal(WRAP_JOURNAL_GOOD);
        }
}

TEST(where_no_record_is_a_must_nobody_waits_for_a_stuck_journal) {
        static const enum wrap_journal bad[] = { WRAP_JOURNAL_NONE, WRAP_JOURNAL_STUCK };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                world_begin(1001);
                wrap_set_journal(bad[i]);
                expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
                expect(has_api() && has_billing());
                expect(strstr(wrap.log, "4 the journal takes no record of the copies of user \"alice\": "));
                expect(!strstr(wrap.trace, "poll "));
                expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
                wrap_set_journal(WRAP_JOURNAL_GOOD);
        }
}

TEST(journal_that_takes_the_record_in_time_is_waited_for) {
        world_begin(1001);
        world_publish("required");
        world_table(0);
        wrap_set_journal(WRAP_JOURNAL_STUCK);
        wrap.meanwhile_call = "poll";
        wrap.meanwhile = wrap_relieve_journal;
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_api() && strstr(wrap.records, "NAME=api") && strstr(wrap.records, "NAME=billing"));
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        wrap_set_journal(WRAP_JOURNAL_GOOD);
}

TEST(in_the_end_none_of_the_modules_keys_is_left_in_the_kernel) {
        wrap_session(0, NULL);
        expect(wrap_keys_are_gone());
}

int main(void) {
        return wrap_scratch_of_root() ? tap_main() : EXIT_SUCCESS;
}
