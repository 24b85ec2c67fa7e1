/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a rotation asks of the consumers of a policy, for each kind of policy that there is. */

#include "policy-tree.h"
#include "roles.h"

#define HS "[secret]\nenvironment = test\nalgorithm = HS256\n"
#define SIGN(unit, format) "[deliver:" unit "]\nuse = sign\ncredential = k\nformat = " format "\n"
#define VERIFY(unit, format) "[deliver:" unit "]\nuse = verify\ncredential = k\nformat = " format "\n"
#define USERS "[access]\nusers = alice\n"

/* Of each delivery in turn a letter where it is so, else "-". */
static const char *letters(const struct policy *policy, bool (*is)(const struct policy *, const struct delivery *), char buffer[static 8]) {
        size_t i;

        for (i = 0; i < policy->n_deliveries; i++)
                buffer[i] = is(policy, &policy->deliveries[i]) ? 'y' : '-';
        buffer[i] = '\0';
        return buffer;
}

struct row {
        const char *text;
        bool solo, prepublishes, together;
        const char *holds_set, *follows_active, *rejects_previous;
};

static bool agrees(const struct policy *policy, const struct row *row) {
        char set[8], active[8], previous[8];

        (void) letters(policy, delivery_holds_set, set);
        (void) letters(policy, delivery_follows_active, active);
        (void) letters(policy, delivery_rejects_previous, previous);
        if (policy_is_solo(policy) == row->solo && policy_prepublishes(policy) == row->prepublishes &&
            policy_switches_together(policy) == row->together && strcmp(set, row->holds_set) == 0 &&
            strcmp(active, row->follows_active) == 0 && strcmp(previous, row->rejects_previous) == 0)
                return true;
        printf("# solo %d, prepublishes %d, together %d, set %s, active %s, previous %s\n", policy_is_solo(policy), policy_prepublishes(policy),
               policy_switches_together(policy), set, active, previous);
        for (const char *line = row->text; *line != '\0'; line += strcspn(line, "\n") + 1)
                printf("#   %.*s\n", (int) strcspn(line, "\n"), line);
        return false;
}

static void check_rows(const struct row rows[], size_t n_rows) {
        for (size_t i = 0; i < n_rows; i++) {
                struct load l;

                begin(&l);
                put(&l, ETC "a.ini", rows[i].text);
                expect_int(load_all(&l), 0);
                expect_complaints(&l, 0);
                expect(agrees(find(&l, "a"), rows + i));
                end(&l);
        }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

TEST(one_consumer_of_a_symmetric_secret_is_solo) {
        static const struct row rows[] = {
                { HS SIGN("a.service", "hex"), true, false, false, "-", "y", "y" },
                { HS VERIFY("a.service", "jwk"), true, false, false, "-", "y", "y" },
                { HS SIGN("a.service", "jwks"), true, false, false, "y", "y", "-" },
                { HS VERIFY("a.service", "jwks"), true, false, false, "y", "y", "-" },
                { HS SIGN("a@eu.service", "raw"), true, false, false, "-", "y", "y" },
                { HS SIGN("a@b@.service", "raw"), true, false, false, "-", "y", "y" }, /* instance "b@" */
                { SECRET SIGN("a.service", "pem"), false, true, false, "-", "y", "-" },
                /* what a user may do with a copy is not known: the service may only sign */
                { HS SIGN("a.service", "hex") USERS, false, true, false, "-", "y", "-" },
                { HS USERS, false, true, false, "", "", "" },
        };

        CHECK_ROWS(rows);
}

TEST(consumers_that_share_one_symmetric_key_switch_together) {
        static const struct row rows[] = {
                { HS SIGN("a.service", "hex") SIGN("b.service", "hex"), false, false, true, "--", "yy", "yy" },
                { HS SIGN("a.service", "hex") VERIFY("b.service", "raw"), false, false, true, "--", "yy", "yy" },
                { HS VERIFY("a.service", "jwk") VERIFY("b.service", "jwk"), false, false, true, "--", "yy", "yy" },
                { HS SIGN("a@.service", "hex"), false, false, true, "-", "y", "y" },
                { HS SIGN("a.service", "hex") SIGN("b.service", "hex") USERS, false, true, true, "--", "yy", "yy" },
        };

        CHECK_ROWS(rows);
}

TEST(who_holds_a_set_bridges_a_rotation) {
        static const struct row rows[] = {
                { HS SIGN("a.service", "hex") VERIFY("b.service", "jwks"), false, true, false, "-y", "y-", "--" },
                { HS SIGN("a.service", "jwks") SIGN("b.service", "jwks"), false, true, false, "yy", "yy", "--" },
                { HS SIGN("a@.service", "jwks"), false, true, false, "y", "y", "-" },
                { HS SIGN("a.service", "hex") SIGN("b.service", "jwks"), false, true, false, "-y", "yy", "--" },
                { SECRET SIGN("a.service", "pem") VERIFY("b.service", "jwks") VERIFY("c.service", "pem") READER, false, true, false, "-yyy",
                  "y---", "----" },
                { SECRET SIGN("a.service", "jwks") READER, false, true, false, "-y", "y-", "--" },
                { SECRET READER, false, true, false, "y", "-", "-" },
        };

        CHECK_ROWS(rows);
}

TEST(a_verifier_of_one_key_makes_all_signers_switch_with_it) {
        static const struct row rows[] = {
                { SECRET SIGN("a.service", "pem") VERIFY("b.service", "jwk"), false, true, true, "--", "yy", "-y" },
                { SECRET SIGN("a.service", "pem") VERIFY("b.service", "jwk") VERIFY("c.service", "jwks"), false, true, true, "--y", "yy-", "-y-" },
                { HS SIGN("a.service", "hex") VERIFY("b.service", "hex") VERIFY("c.service", "jwks"), false, true, true, "--y", "yy-", "-y-" },
                { SECRET VERIFY("b@.service", "jwk"), false, true, true, "-", "y", "y" },
                { SECRET VERIFY("b.service", "jwk"), false, true, false, "-", "y", "y" }, /* nobody to switch with */
        };

        CHECK_ROWS(rows);
}

TEST(a_policy_restarts_units_when_one_delivery_does) {
        static const struct {
                const char *text;
                bool restarts;
        } rows[] = {
                { SECRET READER, true },
                { SECRET READER "on_change = none\n", false },
                { SECRET READER "on_change = signal:HUP\n", true },
                { SECRET READER "on_change = reload\n", false },
                { SECRET READER "on_change = none\n" ISSUER, true },
                { SECRET USERS, false },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct load l;

                begin(&l);
                put(&l, ETC "a.ini", rows[i].text);
                expect_int(load_all(&l), 0);
                expect_complaints(&l, 0);
                expect_int(policy_restarts_units(find(&l, "a")), rows[i].restarts);
                end(&l);
        }
}

int main(void) {
        return tap_main();
}
