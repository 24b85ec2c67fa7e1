/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The access table as the publisher writes it, and as the PAM module's reader (compiled in with RUN_DIR
 * "run", below a scratch folder) takes it back.
 */

#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "access-table.h"
#include "cleanup.h"
#include "paths.h"
#include "policy.h"
#include "tap.h"

static struct policy make(const char *name, const char *const users[], size_t n_users,
                          const char *const groups[], size_t n_groups) {
        return (struct policy){
                .name = (char *) name,
                .valid = true,
                .environment = (char *) "production",
                .access = { .users = (char **) users,
                            .n_users = n_users,
                            .groups = (char **) groups,
                            .n_groups = n_groups,
                            .use = USE_VERIFY },
        };
}

#define NAMES(...) (const char *const[]) { __VA_ARGS__ }, ELEMENTSOF(((const char *const[]) { __VA_ARGS__ }))
#define NO_NAMES NULL, 0

TEST(no_policies_make_a_table_that_names_nobody) {
        _cleanup_free_ char *text = NULL;

        expect_int(access_format(NULL, 0, &text), 0);
        expect_string(text, "keyrota-access 1\nend\n");
}

TEST(secrets_users_and_groups_are_sorted_and_said_once) {
        struct policy billing = make("billing", NAMES("bob", "alice", "bob"),
                                     NAMES("staff", "billing-ops", "staff"));
        struct policy api = make("api", NO_NAMES, NAMES("ops"));
        const struct policy *policies[] = { &billing, &api };
        _cleanup_free_ char *text = NULL, *again = NULL;

        billing.access.use = USE_SIGN;
        expect_int(access_format(policies, 2, &text), 0);
        expect_string(text, "keyrota-access 1\n"
                            "secret production/api verify @ops\n"
                            "secret production/billing sign alice bob @billing-ops @staff\n"
                            "end\n");

        expect_int(access_format((const struct policy *[]) { &api, &billing }, 2, &again), 0);
        expect_string(again, text);
        expect(policies[0] == &billing);
}

TEST(policies_without_access_and_broken_ones_are_left_out) {
        struct policy none = make("none", NO_NAMES, NO_NAMES),
                      broken = make("broken", NAMES("alice"), NO_NAMES);
        struct policy good = make("good", NAMES("alice"), NO_NAMES);
        _cleanup_free_ char *text = NULL;

        broken.valid = false;
        broken.environment = NULL;
        expect_int(access_format((const struct policy *[]) { &none, &good, &broken }, 3, &text), 0);
        expect_string(text, "keyrota-access 1\nsecret production/good verify alice\nend\n");
}

TEST(names_that_would_break_the_form_are_refused) {
        static const char *const bad[] = { "",      "a b",  "a\nsecret production/x sign mallory",
                                           "a\tb",  "@ops", "a:b",
                                           "a,b",   "a/b",  "a\x7f",
                                           "\x01a", " a",   "a " };
        char endless[ACCESS_MEMBER_MAX + 2];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct policy user = make("billing", NAMES("alice", bad[i]), NO_NAMES);
                struct policy group = make("billing", NO_NAMES, NAMES(bad[i]));
                char *text = (char *) "untouched";

                expect_int(access_format((const struct policy *[]) { &user }, 1, &text), -EINVAL);
                expect_int(access_format((const struct policy *[]) { &group }, 1, &text), -EINVAL);
                expect_string(text, "untouched");
        }

        memset(endless, 'a', sizeof(endless) - 1);
        endless[sizeof(endless) - 1] = '\0';
        expect(!access_member_valid(endless));
        expect(access_member_valid(endless + 1));
        expect(access_member_valid("DOMAIN\\alice") && access_member_valid("alice@example.org") &&
               access_member_valid("\xc3\xa4nne"));
}

TEST(secret_and_environment_that_would_break_the_form_are_refused) {
        static const char *const bad[] = { "", "..", "a/b", "a b", "A", "a\nb" };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct policy name = make(bad[i], NAMES("alice"), NO_NAMES);
                struct policy environment = make("billing", NAMES("alice"), NO_NAMES);
                _cleanup_free_ char *text = NULL;

                environment.environment = (char *) bad[i];
                expect_int(access_format((const struct policy *[]) { &name }, 1, &text), -EINVAL);
                expect_int(access_format((const struct policy *[]) { &environment }, 1, &text), -EINVAL);
        }
}

TEST(two_policies_of_one_name_are_refused) {
        struct policy a = make("billing", NAMES("alice"), NO_NAMES),
                      b = make("billing", NAMES("bob"), NO_NAMES);
        _cleanup_free_ char *text = NULL;

        b.environment = (char *) "test";
        expect_int(access_format((const struct policy *[]) { &a, &b }, 2, &text), -ENOTUNIQ);
}

TEST(table_over_one_mebibyte_is_refused) {
        static const size_t n = 200000;
        _cleanup_free_ const char **users = calloc(n, sizeof(*users));
        _cleanup_free_ char *names = malloc(n * 8), *text = NULL;
        struct policy policy;

        expect(users && names);
        for (size_t i = 0; i < n; i++) {
                (void) snprintf(names + i * 8, 8, "u%06zu", i);
                users[i] = names + i * 8;
        }
        policy = make("billing", users, n, NO_NAMES);
        expect_int(access_format((const struct policy *[]) { &policy }, 1, &text), -EFBIG);
}

TEST(both_sides_agree_what_a_secret_may_be_called) {
        static const char *const names[] = { "a",   "0",    "billing", "a.b-c_d", "a..b", ".a", "-a",
                                             "_a",  "A",    "a/b",     "",        "a b",  "a.", "a-",
                                             "a_",  "a:b",  "a\n",     "..",      ".",    "ä",  "a@",
                                             "a\\", "z9._", "9z-",     "a.b.c" };
        char endless[66];

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                if (access_secret_valid(names[i]) != policy_name_valid(names[i]))
                        printf("# \"%s\"\n", names[i]);
                expect_int(access_secret_valid(names[i]), policy_name_valid(names[i]));
        }
        memset(endless, 'a', 65);
        endless[65] = '\0';
        expect(!access_secret_valid(endless) && !policy_name_valid(endless));
        expect(access_secret_valid(endless + 1) && policy_name_valid(endless + 1));
}

static int publish(const char *text) {
        FILE *stream = fopen(PATH_ACCESS, "we");
        int r;

        if (!stream)
                return -errno;
        r = fputs(text, stream) < 0 || fchmod(fileno(stream), 0600) < 0 ? -EIO : 0;
        return fclose(stream) == 0 ? r : -EIO;
}

TEST(what_is_written_can_be_read) {
        struct policy billing = make("billing", NAMES("alice", "bob"), NAMES("ops"));
        struct policy api = make("api", NO_NAMES, NAMES("a", "b", "c"));
        _cleanup_(access_table_freep) struct access_table *table = NULL, *other = NULL;
        _cleanup_free_ char *text = NULL;
        const char *reason = NULL;

        if (geteuid() != 0)
                skip("only root can make a table that the reader trusts");
        expect_int(access_format((const struct policy *[]) { &billing, &api }, 2, &text), 0);
        expect_int(publish(text), 0);

        expect_int(access_table_read("billing", &table, &reason), 0);
        expect(table->has_secret);
        expect_int(table->users.n, 2);
        expect_string(table->users.first, "alice");
        expect_string(access_names_next(table->users.first), "bob");
        expect_int(table->groups.n, 1);
        expect_string(table->groups.first, "@ops");
        expect_int(table->widest.n, 3);

        expect_int(access_table_read("absent", &other, &reason), 0);
        expect(!other->has_secret && other->users.n == 0 && other->groups.n == 0);
        expect_int(other->widest.n, 3);
}

static char scratch[] = "/tmp/keyrota-access-XXXXXX";

static void remove_scratch(void) {
        (void) unlink(PATH_ACCESS);
        (void) rmdir(PATH_RUN);
        (void) rmdir(scratch);
}

int main(void) {
        if (!mkdtemp(scratch) || chdir(scratch) < 0 || mkdir(PATH_RUN, 0755) < 0 ||
            atexit(remove_scratch) != 0) {
                perror(scratch);
                return 99;
        }
        return tap_main();
}
