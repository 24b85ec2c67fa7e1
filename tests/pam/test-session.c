/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a session is given, with every call that the module makes failing in turn. The keyrings are the kernel's: the session's as pam_keyinit makes it, and a live
 * one of the test's own. See wrap.h for who is who.
 */

#include <dirent.h>
#include <errno.h>
#include <keyutils.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <security/pam_modules.h>

#include "cleanup.h"
#include "copies.h"
#include "tap.h"
#include "wrap.h"

#define PLAIN ((const char *const[]) { NULL })
#define STRICT ((const char *const[]) { "strict", NULL })
#define OPTIONS(...) ((const char *const[]) { __VA_ARGS__, NULL })

static const char table[] =
        "keyrota-access 2\n"
        "ring 7\n"
        "locked carol\n"
        "group ops\n"
        "secret production/api 3 0 sign session alice\n"
        "secret production/billing 17 4102444800 verify session alice @ops\n"
        "secret production/future 0 0 verify session alice\n"
        "secret production/held 4 0 verify locked alice\n"
        "secret production/slow 5 0 verify recorded alice\n"
        "end\n";

static const char api[] = "{\"k\":\0\n\"x\"}"; /* exact bytes, whatever they are */

static void publish(const char *audit) {
        char payload[256];
        int n;

        wrap_live();
        n = snprintf(payload, sizeof(payload), "keyrota1 production/api 3 kid-a\n");
        memcpy(payload + n, api, sizeof(api) - 1);
        wrap_publish("secret:production/api/sign", payload, (size_t) n + sizeof(api) - 1);
        n = snprintf(payload, sizeof(payload), "keyrota1 production/billing 17 kid-b,kid-c\n{\"keys\":[]}");
        wrap_publish("secret:production/billing/verify", payload, (size_t) n);
        n = snprintf(payload, sizeof(payload), "keyrota1 production/held 4 kid-h\n{\"keys\":[]}");
        wrap_publish("secret:production/held/verify", payload, (size_t) n);
        n = snprintf(payload, sizeof(payload), "keyrota1 production/slow 5 kid-s\n{\"keys\":[]}");
        wrap_publish("secret:production/slow/verify", payload, (size_t) n);
        if (audit) {
                n = snprintf(payload, sizeof(payload), "keyrota1 - 0 -\n%s", audit);
                wrap_publish("config:audit", payload, (size_t) n);
        }
}

/* The world of a test, before a login of this user. */
static void begin(unsigned uid) {
        wrap_end();
        publish("best-effort");
        wrap_table(table, sizeof(table) - 1);
        wrap_session(uid, NULL);
}

static bool has(const char *name, const char *bytes, size_t size) {
        char buffer[64];

        return wrap_copy(name, buffer, sizeof(buffer)) == (long) size && memcmp(buffer, bytes, size) == 0;
}

#define HAS_API has("api", api, sizeof(api) - 1)
#define HAS_BILLING has("billing", "{\"keys\":[]}", 11)

static bool has_nothing(void) {
        static const char *const names[] = { "api", "billing", "future", "held", "slow" };
        char buffer[64];

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (wrap_copy(names[i], buffer, sizeof(buffer)) >= 0)
                        return false;
        return wrap_count_possessed() == 0 && wrap_count_left() == 0;
}

TEST(user_whom_policies_name_finds_the_exact_bytes_and_each_grant_is_on_record) {
        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(HAS_API && HAS_BILLING);
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

        begin(1001);
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
        begin(1002);
        expect_int(wrap_open("bob", PLAIN), PAM_SUCCESS);
        expect(HAS_BILLING && !HAS_API);
        expect_int(wrap_close("bob", PLAIN), PAM_SUCCESS);
}

TEST(user_without_a_right_gets_nothing_not_even_a_ring) {
        begin(1004);
        expect_int(wrap_open("mallory", STRICT), PAM_SUCCESS);
        expect(!strstr(wrap.trace, "add_key") && !strstr(wrap.trace, "keyctl"));
        expect_string(wrap.log, "");
        expect_int(wrap.n_records, 0);
        expect(has_nothing());
        expect_int(wrap_close("mallory", STRICT), PAM_SUCCESS);
}

TEST(groups_are_looked_up_only_where_the_table_names_some) {
        static const char text[] = "keyrota-access 2\nring 7\nlocked zoe\nsecret production/api 3 0 sign session alice\nend\n";

        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(strstr(wrap.trace, "getgrouplist"));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(HAS_API && !strstr(wrap.trace, "getgr"));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
}

TEST(locked_user_gets_nothing_and_the_log_says_so) {
        static const char text[] = "keyrota-access 2\nring 7\nlocked alice\nsecret production/api 3 0 sign session alice\nend\n";

        begin(1001);
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

        begin(1001);
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
                begin(1001);
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
        begin(1001);
        expect_int(keyctl_revoke(KEY_SPEC_SESSION_KEYRING), 0);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "there is no session keyring; pam_keyinit.so"));
        wrap_session(1001, NULL);
        expect(has_nothing());
}

TEST(under_su_the_real_user_is_not_root) {
        int opened, closed, good;

        begin(1001);
        expect_int(setreuid(1004, 0), 0);
        opened = wrap_open("alice", PLAIN);
        good = HAS_API && HAS_BILLING;
        closed = wrap_close("alice", PLAIN);
        expect_int(setreuid(0, 0), 0);
        expect_int(opened, PAM_SUCCESS);
        expect(good);
        expect_int(closed, PAM_SUCCESS);
        expect(has_nothing());
}

TEST(session_keyring_that_ended_before_close_hurts_nobody) {
        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect_int(keyctl_revoke(KEY_SPEC_SESSION_KEYRING), 0);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        wrap_session(1001, NULL);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(close_that_is_not_roots_leaves_the_copies_to_the_kernel) {
        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        wrap.not_root = true;
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(HAS_API);
        wrap_session(1001, NULL);
        expect(has_nothing());
}

TEST(close_leaves_a_key_alone_that_has_the_number_now) {
        key_serial_t ring;

        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        ring = ring_of_session();
        expect_int(keyctl_setperm(ring, 0x3f3f0000), 0); /* not as ours are */
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(HAS_API);
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

                begin(1001);
                expect_int(wrap_open("alice", rows[i].options), PAM_SUCCESS);
                expect(HAS_API == rows[i].api && HAS_BILLING == rows[i].billing);
                expect_int(copies_check(ring_of_session(), &holder), 0);
                expect_string(holder.only, rows[i].only);
                expect_int(wrap_close("alice", rows[i].options), PAM_SUCCESS);
                expect(has_nothing());
        }
        begin(1001);
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

                begin(1001);
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
        begin(1001);
        expect_int(wrap_open("alice", OPTIONS("debug", "quiet")), PAM_SUCCESS);
        expect(strncmp(wrap.log, "7 user \"alice\" has copies of 2 secrets, in keyring ", 51) == 0);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(without_a_table_nothing_is_wrong_but_for_strict) {
        begin(1001);
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
        begin(1001);
        expect_int(wrap_open("unknown", PLAIN), PAM_IGNORE);
        expect_string(wrap.log, "");
        expect_int(wrap_open("unknown", STRICT), PAM_SESSION_ERR);
        wrap.no_user = true;
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(has_nothing());
}

TEST(torn_tables_give_nothing) {
        static const char damaged[] = "keyrota-access 2\nring 7\nsecret production/api 3 0 sign session alice \nend\n";

        begin(1001);
        wrap_table(table, sizeof(table) - 2);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "run/access: torn, or not an access table of this version of keyrota; 'keyrota provision' writes it anew\n"));
        expect(has_nothing());
        wrap_table(damaged, sizeof(damaged) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(strstr(wrap.log, "run/access: damaged; 'keyrota provision' writes it anew\n"));
        expect(has_nothing());
}

/* ---- several lines -------------------------------------------------------------------------------------------------- */

TEST(a_line_that_stands_twice_uses_the_same_ring) {
        key_serial_t ring;

        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        ring = ring_of_session();
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect_int(ring_of_session(), ring);
        expect_int(wrap_count_possessed(), 3);
        expect(HAS_API && HAS_BILLING);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(lines_with_other_restrictions_have_a_ring_each) {
        const char *const *one = OPTIONS("secret=api"), *const *two = OPTIONS("secret=billing");

        begin(1001);
        expect_int(wrap_open("alice", one), PAM_SUCCESS);
        expect_int(wrap_open("alice", two), PAM_SUCCESS);
        expect(HAS_API && HAS_BILLING);
        expect_int(wrap_count_possessed(), 4);
        expect_int(wrap_close("alice", one), PAM_SUCCESS);
        expect(!HAS_API && HAS_BILLING);
        expect_int(wrap_close("alice", two), PAM_SUCCESS);
        expect(has_nothing());
}

/* The kernel sees to a ring that is linked nowhere when it likes to: as long as that number is still a key, it must not be taken for the session's. */
TEST(session_can_be_opened_again_after_its_end) {
        key_serial_t ring = 0;

        begin(1001);
        for (unsigned i = 0; i < 3; i++) {
                expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
                expect(HAS_API && HAS_BILLING);
                expect(ring_of_session() != ring);
                ring = ring_of_session();
                expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
                expect(has_nothing());
        }
}

TEST(session_can_be_opened_again_after_strict_took_all_back) {
        key_serial_t ring;

        begin(1001);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        ring = ring_of_session();
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(has_nothing());
        wrap_table(table, sizeof(table) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(HAS_API && HAS_BILLING && ring_of_session() != ring);
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(ring_of_another_user_in_the_same_transaction_is_not_used) {
        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        wrap_session(1002, NULL);
        expect_int(wrap_open("bob", PLAIN), PAM_SUCCESS);
        expect(HAS_BILLING && !HAS_API);
        expect_int(wrap_close("bob", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(strict_takes_back_what_an_earlier_line_gave) {
        begin(1001);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        wrap_unpublish("secret:production/api/sign");
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect(has_nothing());

        begin(1001);
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
                begin(1001);
                wrap_unpublish("secret:production/api/sign");
                if (rows[i].payload)
                        wrap_publish("secret:production/api/sign", rows[i].payload, strlen(rows[i].payload));
                expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
                expect(HAS_BILLING && !HAS_API);
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

                begin(1001);
                memset(payload, 'x', sizeof(payload));
                head = (size_t) snprintf(payload, sizeof(payload), "keyrota1 production/api 3 kid-a\n");
                payload[head] = 'x';
                payload[head + sizes[i] - 1] = 'z';
                wrap_publish("secret:production/api/sign", payload, head + sizes[i]);
                expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
                expect_int(wrap_copy("api", copy, sizeof(copy)), sizes[i]);
                expect(memcmp(copy, payload + head, sizes[i]) == 0 && HAS_BILLING);
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
                n_without += strcmp(wrap.failed, "mlock ") == 0 && !HAS_API && !HAS_BILLING;
                (void) wrap_close("alice", PLAIN);
                wrap_end();
        }
        (void) wrap_close("alice", PLAIN);
}

TEST(an_end_beyond_what_the_kernel_counts_is_none) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret production/api 3 9999999999999 sign session alice\nend\n";

        begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(HAS_API);
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
}

TEST(names_within_other_names_count_for_nothing_and_a_name_twice_once) {
        static const char text[] = "keyrota-access 2\nring 7\ngroup ops\nsecret production/api 3 0 sign session alice2 alicex\n"
                                   "secret production/billing 17 0 verify session bob @ops\nend\n";

        begin(1001);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
        begin(1002);
        wrap_table(text, sizeof(text) - 1);
        expect_int(wrap_open("bob", STRICT), PAM_SUCCESS);
        expect(HAS_BILLING);
        expect_int(wrap.n_records, 1);
        expect_int(wrap_close("bob", STRICT), PAM_SUCCESS);
}

TEST(table_without_lines_gives_nobody_anything) {
        static const char text[] = "keyrota-access 2\nring 7\nend\n";

        begin(1001);
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
                begin(rows[i].uid);
                wrap.meanwhile_call = "getgrnam_r";
                wrap.meanwhile = grow_records;
                expect_int(wrap_open(rows[i].name, OPTIONS("quiet")), PAM_IGNORE);
                (void) snprintf(wanted, sizeof(wanted), log, rows[i].name);
                expect_string(wrap.log, wanted);
                expect(strstr(wrap.records, "EVENT=copy-refused VERDICT=refused REASON=only groups are given the rest, and the name services cannot look up "));
                expect(HAS_API == rows[i].named && HAS_BILLING == rows[i].named);
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

        begin(1001);
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
                begin(1001);
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
                begin(1001);
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
        wrap_table(table, sizeof(table) - 1);
}

static void replace_once_without_alice(void) {
        static const char text[] = "keyrota-access 2\nring 7\nsecret production/api 3 0 sign session bob\nend\n";

        wrap.meanwhile = NULL;
        wrap_table(text, sizeof(text) - 1);
}

static void rotate_once(void) {
        static const char payload[] = "keyrota1 production/api 4 kid-n\nnew";

        wrap.meanwhile = NULL;
        wrap_publish("secret:production/api/sign", payload, sizeof(payload) - 1);
        wrap_table(table, sizeof(table) - 1);
}

TEST(table_that_is_replaced_meanwhile_is_read_again) {
        begin(1001);
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = replace_once_without_alice;
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
        expect(!strstr(wrap.records, "granted"));

        begin(1001);
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = rotate_once;
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(has("api", "new", 3) && HAS_BILLING);
        expect(strstr(wrap.records, "NAME=api KID=kid-n GENERATION=4 ") && !strstr(wrap.records, "GENERATION=3 "));
        expect_int(wrap.n_records, 3);
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(table_that_is_replaced_again_and_again_gives_nothing) {
        begin(1001);
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
        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        wrap.meanwhile_call = "fstatat";
        wrap.meanwhile = rotate_once;
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        expect(has("api", "new", 3) && HAS_BILLING);
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

TEST(copy_that_cannot_be_renewed_is_told) {
        begin(1001);
        expect_int(wrap_open("alice", PLAIN), PAM_SUCCESS);
        rotate_once();
        wrap.fail_call = "keyctl_update";
        wrap.fail_errno = EIO;
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect(strstr(wrap.log, "3 user \"alice\" gets no copy of api: it cannot be copied: Input/output error\n"));
        expect_int(wrap_close("alice", PLAIN), PAM_SUCCESS);
        expect(has_nothing());
}

static const char *judge(const char *user, bool strict, bool required, int result);

/* ---- records -------------------------------------------------------------------------------------------------------- */

TEST(where_a_record_is_a_must_there_is_no_copy_without) {
        static const enum wrap_journal bad[] = { WRAP_JOURNAL_NONE, WRAP_JOURNAL_STUCK };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                begin(1001);
                publish("required");
                wrap_table(table, sizeof(table) - 1);
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
                begin(1001);
                wrap_set_journal(bad[i]);
                expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
                expect(HAS_API && HAS_BILLING);
                expect(strstr(wrap.log, "4 the journal takes no record of the copies of user \"alice\": "));
                expect(!strstr(wrap.trace, "poll "));
                expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
                wrap_set_journal(WRAP_JOURNAL_GOOD);
        }
}

TEST(records_that_the_journal_does_not_take_are_noted) {
        begin(1001);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        (void) wrap_missing();
        wrap_set_journal(WRAP_JOURNAL_NONE);
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect_string(wrap_missing(), "copy-granted production/api alice sshd: No such file or directory\n"
                                      "copy-granted production/billing alice sshd: No such file or directory\n"
                                      "copy-refused production/held alice sshd: No such file or directory\n");
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        (void) unlink(WRAP_TABLE);
        expect_int(wrap_open("alice", STRICT), PAM_SESSION_ERR);
        expect_string(wrap_missing(), "copy-refused -/- alice sshd: No such file or directory\n");
        begin(1001);
        publish("required");
        wrap_table(table, sizeof(table) - 1);
        expect_int(wrap_open("alice", PLAIN), PAM_IGNORE);
        expect_string(wrap_missing(), "copy-refused -/- alice sshd: No such file or directory\n"); /* what was not given needs no record */
        begin(1001);
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

TEST(journal_that_takes_the_record_in_time_is_waited_for) {
        begin(1001);
        publish("required");
        wrap_table(table, sizeof(table) - 1);
        wrap_set_journal(WRAP_JOURNAL_STUCK);
        wrap.meanwhile_call = "poll";
        wrap.meanwhile = wrap_relieve_journal;
        expect_int(wrap_open("alice", STRICT), PAM_SUCCESS);
        expect(HAS_API && strstr(wrap.records, "NAME=api") && strstr(wrap.records, "NAME=billing"));
        expect_int(wrap_close("alice", STRICT), PAM_SUCCESS);
        wrap_set_journal(WRAP_JOURNAL_GOOD);
}

/* ---- faults --------------------------------------------------------------------------------------------------------- */

static unsigned count_descriptors(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        if (!dir)
                return 0;
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static const int errors[] = { EIO, ENOMEM, EMFILE, EACCES, EAGAIN, EINTR, ENOENT, EDQUOT, ENOKEY, EKEYREVOKED, EKEYEXPIRED, EPERM, ERANGE };

/* Whatever has failed: the result says how it is, nothing is left behind that the session does not possess, it possesses nothing that is not the user's, and
 * where records are a must each copy is on record. */
static const char *judge(const char *user, bool strict, bool required, int result) {
        bool alice = strcmp(user, "alice") == 0, copies = HAS_API || HAS_BILLING;
        unsigned n_keys = wrap_count_possessed();

        if (wrap_count_left() != 0)
                return "keys left behind";
        if (strcmp(user, "mallory") == 0 && n_keys != 0)
                return "a ring for who has no right";
        if (HAS_API && !alice)
                return "a copy for who has no right";
        if (result != PAM_SUCCESS && result != (strict ? PAM_SESSION_ERR : PAM_IGNORE))
                return "another result";
        if (strict && result != PAM_SUCCESS && n_keys != 0)
                return "not everything was taken back";
        if (result == PAM_SUCCESS && !strcmp(user, "mallory"))
                return NULL;
        if (result == PAM_SUCCESS && strstr(wrap.failed, "getgrnam_r ") && (wrap.fail_errno == ENOENT || wrap.fail_errno == EPERM))
                return NULL; /* that there is no such group */
        if (result == PAM_SUCCESS && (!HAS_BILLING || HAS_API != alice))
                return "a success without the copies";
        if (required && (wrap.fail_errno == ENOKEY || wrap.fail_errno == EKEYREVOKED || wrap.fail_errno == EKEYEXPIRED) && strstr(wrap.failed, "keyctl_"))
                return NULL; /* that nothing says that records are a must */
        if (required && copies && !(strstr(wrap.records, "copy-granted") && (!HAS_API || strstr(wrap.records, "granted ENVIRONMENT=production NAME=api")) &&
                                    (!HAS_BILLING || strstr(wrap.records, "granted ENVIRONMENT=production NAME=billing"))))
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

                begin(users[u].uid);
                publish(required ? "required" : "best-effort");
                wrap_table(table, sizeof(table) - 1);
                expect_int(wrap_open(users[u].name, PLAIN), PAM_SUCCESS);
                n_calls = wrap.n_calls;
                (void) wrap_close(users[u].name, PLAIN);
                wrap_end();
                before = count_descriptors();
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
                expect_int(count_descriptors(), before);
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

                                begin(1001);
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

TEST(each_call_of_the_module_was_among_those_that_failed) {
        static const char *const seen[] = { "open-proc ", "fstat-proc ", "read-proc ", "open ", "openat ", "fstat ", "fstatat ", "read ", "malloc ", "calloc ",
                                            "realloc ", "reallocarray ", "mmap ", "munmap ", "mlock ", "madvise ", "socket ", "connect ", "sendmmsg ", "add_key ",
                                            "keyctl_describe ", "keyctl_link ", "keyctl_read ", "keyctl_search ", "keyctl_set_timeout ", "keyctl_setperm ",
                                            "keyctl_unlink ", "getpwnam_r ", "getgrouplist ", "getgrnam_r ", "pam_get_item ", "pam_get_item-other ",
                                            "pam_get_data ", "pam_set_data ", "close " };

        begin(1001);
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
                begin(1001);
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
        if (geteuid() != 0) {
                puts("1..0 # SKIP only root can make a table that the module trusts");
                return 0;
        }
        wrap_scratch();
        return tap_main();
}
