/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who may read what: names that are words of the table too, users and groups of one name, damaged lines; and that the two ways to ask, about one secret and about
 * all, agree over tables made by chance, whose seed is printed. Accounts are what this test says: the calls of NSS are its own.
 */

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sys/random.h>

#include "access.h"
#include "cleanup.h"
#include "entitlement.h"
#include "tap.h"

/* ---- the name services -------------------------------------------------------------------------------------------- */

/* Group gN has the number N + 1000; "away" cannot be looked up, and "perhaps" is known to none of the services that answer. */
int getgrnam_r(const char *name, struct group *group, char *buffer, size_t size, struct group **ret) {
        (void) buffer, (void) size;
        *ret = NULL;
        if (strcmp(name, "away") == 0)
                return EIO;
        if (strcmp(name, "perhaps") == 0)
                return ENOENT;
        if (name[0] != 'g' || name[1] < '0' || name[1] > '9')
                return 0;
        *group = (struct group){ .gr_gid = (gid_t) (1000 + atoi(name + 1)) };
        *ret = group;
        return 0;
}

/* A user with the groups of these numbers. */
static struct membership user(const char *name, gid_t *gids, size_t n) {
        return (struct membership){ .known = true, .name = name, .gids = gids, .n_gids = n };
}

/* ---- tables ------------------------------------------------------------------------------------------------------- */

static struct access_table *table(const char *lines) {
        _cleanup_free_ char *text = NULL;
        struct access_table *parsed = NULL;

        if (asprintf(&text, ACCESS_TABLE_FIRST "\nring 1\n%s" ACCESS_TABLE_LAST "\n", lines) < 0 || access_table_parse(text, strlen(text), &parsed) < 0)
                abort();
        return parsed;
}

struct found {
        char text[4096];
};

static int note(const struct access_secret *secret, void *userdata) {
        struct found *found = userdata;
        size_t n = strlen(found->text);

        (void) snprintf(found->text + n, sizeof(found->text) - n, "%s ", secret->name);
        return 0;
}

/* The names of all that the user may have, each with a blank behind it; or the error. */
static const char *all_of(const char *lines, const struct membership *who, struct found *found) {
        _cleanup_(access_table_freep) struct access_table *parsed = table(lines);
        int r;

        found->text[0] = '\0';
        r = entitlement_each(parsed, who, note, found);
        if (r < 0)
                (void) snprintf(found->text, sizeof(found->text), "%s", strerrorname_np(-r));
        return found->text;
}

static int check(const char *lines, const char *name, const struct membership *who) {
        _cleanup_(access_table_freep) struct access_table *parsed = table(lines);
        struct access_secret secret;

        return entitlement_check(parsed, name, who, &secret);
}

#define EVERY_WORD "secret session/sign 17 1790000000 sign session bob\nsecret test/web 17 0 verify session alice\n"

TEST(names_that_are_words_of_the_table_give_nothing) {
        static const char *const words[] = { "session", "sign", "verify", "17", "0", "1790000000", "secret", "end", "ring", "1", "session/sign", "test/web", "web",
                                             "locked", "group", "keyrota-access", "recorded", "2" };
        struct found found;

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                struct membership who = user(words[i], NULL, 0);

                expect_string(all_of(EVERY_WORD, &who, &found), "");
                expect_int(check(EVERY_WORD, "web", &who), 0);
        }
}

TEST(users_with_such_names_have_what_they_are_named_for) {
        static const char *const words[] = { "session", "sign", "17", "locked", "recorded", "secret", "end" };
        struct found found;

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                _cleanup_free_ char *lines = NULL;
                struct membership who = user(words[i], NULL, 0);

                expect(asprintf(&lines, "secret locked/a 17 0 sign session bob %s zoe\nsecret test/b 17 0 verify recorded %s\nsecret test/c 1 0 sign locked %s\n", words[i],
                                words[i], words[i]) > 0);
                expect_string(all_of(lines, &who, &found), "a b ");
                expect_int(check(lines, "a", &who), 1);
                expect_int(check(lines, "b", &who), 1);
                expect_int(check(lines, "c", &who), 0);
        }
}

TEST(a_user_and_a_group_of_one_name_are_two) {
        gid_t gids[] = { 1001 };
        struct membership g1 = user("g1", NULL, 0), member = user("alice", gids, 1);
        static const char lines[] = "group g1\nsecret test/a 1 0 sign session @g1\nsecret test/b 1 0 sign session g1\n";
        struct found found;

        expect_string(all_of(lines, &g1, &found), "b ");
        expect_string(all_of(lines, &member, &found), "a ");
        expect_int(check(lines, "a", &g1), 0);
        expect_int(check(lines, "b", &member), 0);
}

TEST(part_of_a_name_is_not_the_name) {
        struct membership ali = user("ali", NULL, 0), lice = user("lice", NULL, 0), alices = user("alices", NULL, 0);
        static const char lines[] = "secret test/a 1 0 sign session alice\n";
        struct found found;

        expect_string(all_of(lines, &ali, &found), "");
        expect_string(all_of(lines, &lice, &found), "");
        expect_string(all_of(lines, &alices, &found), "");
}

TEST(named_as_a_user_and_by_two_groups_is_named_once) {
        gid_t gids[] = { 1001, 1002 };
        struct membership who = user("alice", gids, 2);
        struct found found;

        expect_string(all_of("group g1\ngroup g2\nsecret test/a 1 0 sign session alice @g1 @g2\n", &who, &found), "a ");
}

TEST(group_that_does_not_exist_has_no_members_and_one_that_cannot_be_looked_up_is_an_error) {
        struct membership who = user("alice", NULL, 0);
        struct found found;

        expect_string(all_of("group none\nsecret test/a 1 0 sign session alice\nsecret test/b 1 0 sign session @none\n", &who, &found), "a ");
        expect_string(all_of("group away\nsecret test/a 1 0 sign session alice\nsecret test/b 1 0 sign session @away\n", &who, &found), "EIO");
        expect_int(check("secret test/b 1 0 sign session @away\n", "b", &who), -EIO);
}

TEST(group_that_a_service_which_is_away_may_know_is_an_error_for_who_must_be_certain) {
        struct membership who = user("alice", NULL, 0);
        static const char lines[] = "group none\ngroup perhaps\nsecret test/a 1 0 sign session alice\nsecret test/b 1 0 sign session @none @perhaps\n";
        struct found found;

        expect_string(all_of(lines, &who, &found), "a ");
        who.certain = true;
        expect_string(all_of(lines, &who, &found), "ENOENT");
        expect_string(all_of("group none\nsecret test/a 1 0 sign session alice\nsecret test/b 1 0 sign session @none\n", &who, &found), "a ");
}

TEST(locked_users_have_nothing_and_no_name_service_is_asked) {
        struct membership who = user("alice", NULL, 0), bob = user("bob", NULL, 0);
        static const char lines[] = "locked alice\ngroup away\nsecret test/a 1 0 sign session alice bob\n";
        _cleanup_(access_table_freep) struct access_table *parsed = table(lines);
        struct found found;

        expect_string(all_of(lines, &who, &found), "");
        expect_int(check(lines, "a", &who), 0);
        expect(entitlement_locked(parsed, "alice") && !entitlement_locked(parsed, "bob") && !entitlement_locked(parsed, "alic"));
        expect_int(check(lines, "a", &bob), 1);
}

TEST(lines_out_of_their_place_lock_and_name_nobody) {
        struct membership who = user("alice", NULL, 0);
        struct found found;

        /* Behind the secrets: not where access_format() would write it. */
        expect_int(check("secret test/a 1 0 sign session alice\nlocked alice\n", "a", &who), -EBADMSG);
        expect_string(all_of("group alice\nsecret test/a 1 0 sign session bob\n", &who, &found), "");
}

TEST(damaged_lines_refuse) {
        static const char *const lines[] = {
                "secret test/a 1 0 sign session  alice\n", "secret test/a 1 0 sign session alice \n", "secret test/a 1 0 both session alice\n",
                "secret test/a 1 0 sign always alice\n",   "secret test/a 01 0 sign session alice\n", "secret test/a 1 -1 sign session alice\n",
                "secret a 1 0 sign session alice\n",       "secret Test/a 1 0 sign session alice\n",  "secret test/a 1 0 sign session @g1 alice\n",
        };
        struct membership who = user("alice", NULL, 0);
        struct found found;

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                expect_int(check(lines[i], "a", &who), -EBADMSG);
                expect_string(all_of(lines[i], &who, &found), "EBADMSG");
        }
        expect_int(check("secret test/a 1 0 sign session alice\nsecret test/a 1 0 sign session alice\n", "a", &who), -EBADMSG);
}

TEST(unknown_user_has_nothing) {
        struct membership who = user("alice", NULL, 0);
        struct found found;

        who.known = false;
        expect_string(all_of("secret test/a 1 0 sign session alice\n", &who, &found), "");
        expect_int(check("secret test/a 1 0 sign session alice\n", "a", &who), 0);
}

/* ---- both ways to ask --------------------------------------------------------------------------------------------- */

static uint64_t state;

static unsigned chance(unsigned n) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned) (state >> 33) % n;
}

/* Names that are words elsewhere too, and parts of each other. */
static const char *const people[] = { "17", "a", "aa", "ab", "alice", "g1", "g2", "locked", "session", "sign", "test", "u1", "u10" };

static void write_members(FILE *stream) {
        bool any = false;

        for (size_t i = 0; i < ELEMENTSOF(people); i++)
                if (chance(5) == 0) {
                        fprintf(stream, " %s", people[i]);
                        any = true;
                }
        for (unsigned g = 1; g < 6; g++)
                if (chance(4) == 0 || (g == 5 && !any)) {
                        fprintf(stream, " @g%u", g);
                        any = true;
                }
}

#define SECRETS 12

static void write_table(FILE *stream) {
        static const char *const reads[] = { "session", "recorded", "locked", "locked-recorded" };

        for (size_t i = 0; i < ELEMENTSOF(people); i++)
                if (chance(12) == 0)
                        fprintf(stream, "locked %s\n", people[i]);
        for (unsigned g = 1; g < 6; g++)
                fprintf(stream, "group g%u\n", g);
        for (unsigned i = 0; i < SECRETS; i++)
                if (chance(4) > 0) {
                        fprintf(stream, "secret test/s%02u %u %u %s %s", i, chance(30), chance(2) * 1790000000, chance(2) ? "sign" : "verify", reads[chance(4)]);
                        write_members(stream);
                        fputc('\n', stream);
                }
}

/* What entitlement_check() says of each secret in turn. */
static void ask_each(const struct access_table *parsed, const struct membership *who, struct found *found) {
        struct access_secret secret;

        found->text[0] = '\0';
        for (unsigned i = 0; i < SECRETS; i++) {
                char name[8];

                (void) snprintf(name, sizeof(name), "s%02u", i);
                if (entitlement_check(parsed, name, who, &secret) > 0)
                        (void) note(&secret, found);
        }
}

TEST(both_ways_to_ask_agree) {
        const char *given = getenv("KEYROTA_SEED");
        uint64_t seed;
        size_t n_given = 0;

        if (given)
                seed = strtoull(given, NULL, 10);
        else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
                abort();
        printf("# KEYROTA_SEED=%" PRIu64 "\n", seed);
        state = seed;
        for (unsigned n = 0; n < 2000; n++) {
                _cleanup_(access_table_freep) struct access_table *parsed = NULL;
                _cleanup_free_ char *lines = NULL;
                size_t size = 0;
                FILE *stream = open_memstream(&lines, &size);

                write_table(stream);
                fclose(stream);
                parsed = table(lines);
                for (size_t i = 0; i < ELEMENTSOF(people); i++) {
                        gid_t gids[2] = { 1000 + chance(7), 1000 + chance(7) };
                        struct membership who = user(people[i], gids, 2);
                        struct found one = { "" }, all = { "" };

                        ask_each(parsed, &who, &one);
                        expect_int(entitlement_each(parsed, &who, note, &all), 0);
                        if (strcmp(one.text, all.text) != 0)
                                printf("# table %u, %s (groups g%u, g%u):\n# %s\n", n, people[i], gids[0] - 1000, gids[1] - 1000, lines);
                        expect_string(all.text, one.text);
                        n_given += one.text[0] != '\0';
                }
        }
        expect(n_given > 1000); /* else it has shown nothing */
}

int main(void) {
        return tap_main();
}
