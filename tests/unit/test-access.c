/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The access table as the publisher writes it, and as the PAM module's reader (compiled in with RUN_DIR
 * "run", below a scratch folder) takes it back.
 */

#include <stdio.h>
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

/* The table of these policies, each with a generation and an end. */
static int format(const struct policy *const policies[], size_t n, char **ret) {
        struct access_entry entries[8] = { { .policy = NULL } };

        for (size_t i = 0; i < n; i++)
                entries[i] = (struct access_entry){ .policy = policies[i], .generation = 3 + i, .until = 1790000000 };
        return access_format(&(struct access_content){ .ring = 7, .entries = entries, .n_entries = n }, ret);
}

#define NAMES(...) (const char *const[]) { __VA_ARGS__ }, ELEMENTSOF(((const char *const[]) { __VA_ARGS__ }))
#define NO_NAMES NULL, 0

TEST(no_policies_make_a_table_that_names_nobody) {
        _cleanup_free_ char *text = NULL;

        expect_int(format(NULL, 0, &text), 0);
        expect_string(text, "keyrota-access 2\nring 7\nend\n");
}

TEST(secrets_users_and_groups_are_sorted_and_said_once) {
        struct policy billing = make("billing", NAMES("bob", "alice", "bob"),
                                     NAMES("staff", "billing-ops", "staff"));
        struct policy api = make("api", NO_NAMES, NAMES("ops"));
        const struct policy *policies[] = { &billing, &api };
        _cleanup_free_ char *text = NULL, *again = NULL;

        billing.access.use = USE_SIGN;
        expect_int(format(policies, 2, &text), 0);
        expect_string(text, "keyrota-access 2\n"
                            "ring 7\n"
                            "group billing-ops\n"
                            "group ops\n"
                            "group staff\n"
                            "secret production/api 4 1790000000 verify session @ops\n"
                            "secret production/billing 3 1790000000 sign session alice bob @billing-ops @staff\n"
                            "end\n");

        policies[0] = &api;
        policies[1] = &billing;
        expect_int(format(policies, 2, &again), 0);
        expect(strstr(again, "group staff\nsecret production/api 3 ") && strstr(again, "secret production/billing 4 "));
        policies[0] = &billing;
        expect(policies[0] == &billing);
}

TEST(policies_without_access_and_broken_ones_are_left_out) {
        struct policy none = make("none", NO_NAMES, NO_NAMES),
                      broken = make("broken", NAMES("alice"), NO_NAMES);
        struct policy good = make("good", NAMES("alice"), NO_NAMES);
        _cleanup_free_ char *text = NULL;

        broken.valid = false;
        broken.environment = NULL;
        expect_int(format((const struct policy *[]) { &none, &good, &broken }, 3, &text), 0);
        expect_string(text, "keyrota-access 2\nring 7\nsecret production/good 4 1790000000 verify session alice\nend\n");
}

static bool member_valid(const char *name) {
        return access_member_valid(name, strlen(name));
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

                expect_int(format((const struct policy *[]) { &user }, 1, &text), -EINVAL);
                expect_int(format((const struct policy *[]) { &group }, 1, &text), -EINVAL);
                expect_string(text, "untouched");
        }

        memset(endless, 'a', sizeof(endless) - 1);
        endless[sizeof(endless) - 1] = '\0';
        expect(!member_valid(endless));
        expect(member_valid(endless + 1));
        expect(member_valid("DOMAIN\\alice") && member_valid("alice@example.org") && member_valid("\xc3\xa4nne"));
}

TEST(secret_and_environment_that_would_break_the_form_are_refused) {
        static const char *const bad[] = { "", "..", "a/b", "a b", "A", "a\nb" };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct policy name = make(bad[i], NAMES("alice"), NO_NAMES);
                struct policy environment = make("billing", NAMES("alice"), NO_NAMES);
                _cleanup_free_ char *text = NULL;

                environment.environment = (char *) bad[i];
                expect_int(format((const struct policy *[]) { &name }, 1, &text), -EINVAL);
                expect_int(format((const struct policy *[]) { &environment }, 1, &text), -EINVAL);
        }
}

TEST(two_policies_of_one_name_are_refused) {
        struct policy a = make("billing", NAMES("alice"), NO_NAMES),
                      b = make("billing", NAMES("bob"), NO_NAMES);
        _cleanup_free_ char *text = NULL;

        b.environment = (char *) "test";
        expect_int(format((const struct policy *[]) { &a, &b }, 2, &text), -ENOTUNIQ);
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
        expect_int(format((const struct policy *[]) { &policy }, 1, &text), -EFBIG);
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

/* "alice bob @ops" of a secret's line. */
static const char *members_of(const struct access_secret *secret) {
        static char text[256];

        (void) snprintf(text, sizeof(text), "%.*s", (int) secret->members_size, secret->members);
        return text;
}

/* The line of the secret called name. */
static bool find(const struct access_table *table, const char *name, struct access_secret *ret) {
        const char *line = NULL;

        while ((line = access_table_next(table, line)))
                if (access_secret_parse(line, ret) >= 0 && strcmp(ret->name, name) == 0)
                        return true;
        return false;
}

TEST(what_is_written_can_be_read) {
        struct policy billing = make("billing", NAMES("alice", "bob"), NAMES("ops"));
        struct policy api = make("api", NO_NAMES, NAMES("a", "b", "c"));
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_free_ char *text = NULL;
        const char *reason = NULL;
        struct access_secret secret;

        if (geteuid() != 0)
                skip("only root can make a table that the reader trusts");
        billing.access.reads = READS_RECORDED;
        billing.access.use = USE_SIGN;
        expect_int(format((const struct policy *[]) { &billing, &api }, 2, &text), 0);
        expect_int(publish(text), 0);

        expect_int(access_table_read(&table, &reason), 0);
        expect_int(table->ring, 7);
        expect(find(table, "billing", &secret));
        expect_string(secret.environment, "production");
        expect_int(secret.generation, 3);
        expect_int(secret.until, 1790000000);
        expect(secret.sign && secret.reads == ACCESS_RECORDED);
        expect_int(secret.n_users, 2);
        expect_int(secret.n_groups, 1);
        expect_string(members_of(&secret), "alice bob @ops");
        expect(find(table, "api", &secret));
        expect(!secret.sign && secret.reads == ACCESS_SESSION);
        expect_string(members_of(&secret), "@a @b @c");
        expect(!find(table, "absent", &secret));
}

TEST(table_that_was_replaced_is_not_current) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        const char *reason = NULL;

        if (geteuid() != 0)
                skip("only root can make a table that the reader trusts");
        expect_int(publish("keyrota-access 2\nring 7\nend\n"), 0);
        expect_int(access_table_read(&table, &reason), 0);
        expect(access_table_is_current(table));
        expect_int(rename(PATH_ACCESS, PATH_RUN "/old"), 0);
        expect(!access_table_is_current(table));
        expect_int(publish("keyrota-access 2\nring 7\nend\n"), 0);
        expect(!access_table_is_current(table));
        expect_int(unlink(PATH_RUN "/old"), 0);
}

static const char earlier[] = "keyrota-access 2\nring 7\ngroup ops\nsecret production/api 9 1800000000 sign recorded carol @ops\n"
                              "secret production/billing 9 1800000000 verify session bob\nend\n";

TEST(secrets_that_a_run_is_not_about_keep_their_line) {
        struct policy billing = make("billing", NAMES("alice"), NO_NAMES);
        const struct access_entry entries[] = {
                { .policy = &billing, .generation = 10, .until = 0 }, { .name = "api" }, { .name = "was-not-there" },
        };
        _cleanup_(access_table_freep) struct access_table *before = NULL;
        _cleanup_free_ char *text = NULL;

        expect_int(access_table_parse(earlier, strlen(earlier), &before), 0);
        expect_int(access_format(&(struct access_content){ .ring = 8, .entries = entries, .n_entries = 3, .before = before }, &text), 0);
        expect_string(text, "keyrota-access 2\nring 8\ngroup ops\nsecret production/api 9 1800000000 sign recorded carol @ops\n"
                            "secret production/billing 10 0 verify session alice\nend\n");
}

TEST(secret_whose_keys_cannot_be_read_now_keeps_its_generation) {
        struct policy billing = make("billing", NAMES("alice"), NO_NAMES), fresh = make("fresh", NAMES("alice"), NO_NAMES);
        const struct access_entry entries[] = { { .policy = &billing }, { .policy = &fresh } };
        _cleanup_(access_table_freep) struct access_table *before = NULL;
        _cleanup_free_ char *text = NULL;

        expect_int(access_table_parse(earlier, strlen(earlier), &before), 0);
        expect_int(access_format(&(struct access_content){ .ring = 8, .entries = entries, .n_entries = 2, .before = before }, &text), 0);
        expect_string(text, "keyrota-access 2\nring 8\nsecret production/billing 9 1800000000 verify session alice\n"
                            "secret production/fresh 0 0 verify session alice\nend\n");
}

TEST(what_is_locked_is_said) {
        struct policy billing = make("billing", NAMES("alice"), NO_NAMES);
        const struct access_entry entry = { .policy = &billing, .generation = 1, .until = 5, .locked = true };
        const char *const locked[] = { "mallory", "bob", "mallory" };
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_free_ char *text = NULL;
        struct access_secret secret;
        size_t length = 0;

        expect_int(access_format(&(struct access_content){ .entries = &entry, .n_entries = 1, .locked = locked, .n_locked = 3 }, &text), 0);
        expect_string(text, "keyrota-access 2\nring 0\nlocked bob\nlocked mallory\n"
                            "secret production/billing 1 5 verify locked alice\nend\n");
        expect_int(access_table_parse(text, strlen(text), &table), 0);
        expect(strncmp(access_line_locked(access_table_next(table, NULL), &length), "bob", length) == 0);
        expect(find(table, "billing", &secret) && secret.reads == ACCESS_LOCKED);
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
