/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Policies as such: alphabets, canonical text, the rules between policies, and that no text whatever makes
 * half a policy. What one file may say is tested by test-policy-corpus, where files lie by test-policy-load.
 */

#include "policy-tree.h"

TEST(two_secrets_with_one_credential_of_a_unit_are_both_refused) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, ETC "b.ini",
                        SECRET "[deliver:issuer.service]\nuse = verify\ncredential = key\nformat = jwks\n");
        put(&l, ETC "c.ini",
                        SECRET "[deliver:issuer.service]\nuse = verify\ncredential = key2\nformat = jwks\n");
        put(&l, ETC "d.ini",
                        SECRET "[deliver:other.service]\nuse = verify\ncredential = key\nformat = jwks\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 2);
        expect(complained(
                        &l, ETC "a.ini", 4, "/etc/keyrota/policy.d/b.ini:4; give one of them another name"));
        expect(complained(
                        &l, ETC "b.ini", 4, "/etc/keyrota/policy.d/a.ini:4; give one of them another name"));
        expect(!find(&l, "a")->valid && !find(&l, "b")->valid && find(&l, "c")->valid &&
                        find(&l, "d")->valid);
        expect_int(find(&l, "a")->n_deliveries, 1);
        end(&l);
}

TEST(three_secrets_with_one_credential_are_all_refused) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, ETC "b.ini", GOOD);
        put(&l, ETC "c.ini", GOOD);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 3);
        expect(!find(&l, "a")->valid && !find(&l, "b")->valid && !find(&l, "c")->valid);
        end(&l);
}

TEST(readers_of_the_public_file_do_not_conflict) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", SECRET READER);
        put(&l, ETC "b.ini", SECRET READER);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        end(&l);
}

TEST(reload_is_refused_where_systemd_cannot_renew_credentials) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", GOOD "on_change = reload\n");
        put(&l, ETC "b.ini", SECRET "[deliver:b.service]\nuse = verify\ncredential = k\nformat = jwks\n");
        put(&l, ETC "b.ini.d/x.ini", "[deliver:b.service]\n\non_change = reload\n");
        put(&l, ETC "c.ini", SECRET READER "on_change = reload\n"); /* reads the file itself */
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        expect_int(policy_check_reload(l.set, 260, &l.diagnostics), 0);
        expect_complaints(&l, 0);
        expect(find(&l, "a")->valid);

        expect_int(policy_check_reload(l.set, 257, &l.diagnostics), 0);
        expect_complaints(&l, 2);
        expect(complained(&l, ETC "a.ini", 8, "systemd 257 keeps a credential"));
        expect(complained(&l, ETC "b.ini.d/x.ini", 3, "write on_change = restart"));
        expect(!find(&l, "a")->valid && find(&l, "a")->error && !find(&l, "b")->valid &&
                        find(&l, "c")->valid);
        end(&l);
}

static bool same_policy(const struct policy *a, const struct policy *b) {
        if (strcmp(a->name, b->name) != 0 || strcmp(a->environment, b->environment) != 0 ||
                        a->algorithm != b->algorithm || a->size != b->size ||
                        a->cryptoperiod != b->cryptoperiod || a->token_lifetime != b->token_lifetime ||
                        a->jwks_max_age != b->jwks_max_age || a->clock_skew != b->clock_skew ||
                        a->jitter != b->jitter || a->on_removal != b->on_removal ||
                        a->window.set != b->window.set || a->window.days != b->window.days ||
                        a->window.opens != b->window.opens || a->window.closes != b->window.closes ||
                        a->n_deliveries != b->n_deliveries ||
                        a->access.use != b->access.use || a->access.reads != b->access.reads || a->access.n_users != b->access.n_users ||
                        a->access.n_groups != b->access.n_groups)
                return false;
        for (size_t i = 0; i < a->n_deliveries; i++) {
                const struct delivery *x = a->deliveries + i, *y = b->deliveries + i;

                if (strcmp(x->unit, y->unit) != 0 || !x->credential != !y->credential ||
                                (x->credential && strcmp(x->credential, y->credential) != 0) ||
                                x->use != y->use || x->format != y->format || x->newline != y->newline ||
                                x->on_change != y->on_change || x->signal != y->signal ||
                                x->max_unavailable != y->max_unavailable)
                        return false;
        }
        for (size_t i = 0; i < a->access.n_users; i++)
                if (strcmp(a->access.users[i], b->access.users[i]) != 0)
                        return false;
        for (size_t i = 0; i < a->access.n_groups; i++)
                if (strcmp(a->access.groups[i], b->access.groups[i]) != 0)
                        return false;
        return true;
}

TEST(canonical_text_is_read_back_as_an_equal_policy) {
        static const char *const texts[] = {
                GOOD,
                SECRET READER "on_change = signal:USR1\n",
                "[secret]\nenvironment = e\nalgorithm = HS384\nsize = 100\n[rotation]\ncryptoperiod = "
                "1month\njitter = 3s\ntoken_lifetime = 1d 1s\n"
                "[deliver:a\\x2db@.service]\nuse = verify\ncredential = K\nformat = base64url\nnewline = "
                "yes\non_change = none\n"
                "[deliver:a@1.service]\nuse = sign\ncredential = K\nformat = raw\nnewline = no\non_change = "
                "reload\n"
                "[access]\nusers = @g alice @h bob\nuse = sign\nreads = recorded\n",
                SECRET "[rotation]\nwindow = sat..Monday 22:00-04:00\non_removal = destroy\n"
                "[deliver:a@.service]\nuse = verify\nmax_unavailable = 1000\n",
                SECRET "[rotation]\nwindow = 00:00-24:00\n" READER,
                ("[secret]\nenvironment=e\nalgorithm=PS512\nsize=2048\n[access]\nusers=u01 u02 u03 u04 u05 "
                 "u06 u07 u08 u09 u10 u11 u12 u13 u14 u15 u16 "
                 "u17 u18 u19 u20 u21 u22 u23 u24 u25 u26 u27 u28 u29 u30 u31 u32 u33 u34 u35 u36 u37 u38 "
                 "u39 u40 u41 u42 wxyz\n"),
        };
        struct load l;

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                _cleanup_(policy_freep) struct policy *again = NULL;
                _cleanup_free_ char *text = NULL;

                begin(&l);
                put(&l, ETC "a.ini", texts[i]);
                expect_int(load_all(&l), 0);
                expect_complaints(&l, 0);
                expect_int(policy_format(find(&l, "a"), &text), 0);
                expect_int(policy_parse_text("a", text, &again, &l.diagnostics), 0);
                expect_complaints(&l, 0);
                expect(again->valid && same_policy(find(&l, "a"), again));
                end(&l);
        }
}

/* A store of a version that had no window, on_removal, max_unavailable and reads must not look as if somebody had edited its policy. */
TEST(keys_that_were_added_later_leave_the_canonical_text_as_it_was) {
        static const char stored[] = "[secret]\nenvironment = test\nalgorithm = ES256\n\n[rotation]\ncryptoperiod = 30d\n"
                                     "token_lifetime = 15min\njwks_max_age = 5min\nclock_skew = 1min\njitter = 0\n\n"
                                     "[deliver:a@.service]\nuse = verify\non_change = restart\n";
        static const char *const texts[] = {
                SECRET "[deliver:a@.service]\nuse = verify\n",
                SECRET "[rotation]\nwindow = any\non_removal = keep\n[deliver:a@.service]\nuse = verify\nmax_unavailable = 1\n",
        };
        struct load l;

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                _cleanup_free_ char *text = NULL;

                begin(&l);
                put(&l, ETC "a.ini", texts[i]);
                expect_int(load_all(&l), 0);
                expect_complaints(&l, 0);
                expect_int(policy_format(find(&l, "a"), &text), 0);
                expect_string(text, stored);
                end(&l);
        }
}

TEST(keys_that_were_added_later_are_in_the_canonical_text_where_they_say_something) {
        _cleanup_free_ char *text = NULL;
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini",
            SECRET "[rotation]\nwindow = Sunday,Sat 22:00-00:00\non_removal = destroy\n[deliver:a@.service]\nuse = verify\nmax_unavailable = 3\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        expect_int(policy_format(find(&l, "a"), &text), 0);
        expect(strstr(text, "jitter = 0\nwindow = Sat,Sun 22:00-24:00\non_removal = destroy\n\n[deliver:a@.service]\n"));
        expect(strstr(text, "on_change = restart\nmax_unavailable = 3\n"));
        end(&l);
}

TEST(a_stored_text_that_is_no_good_policy_is_refused) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;

        expect_int(policy_parse_text("a", "[secret]\nalgorithm = ES256\n" ISSUER, &policy, &diagnostics),
                        -EBADMSG);
        expect(!policy);
        expect_int(diagnostics.n_errors, 1);
        expect_string(diagnostics.items[0].file, "a (stored policy)");
        diagnostics_clear(&diagnostics);
}

TEST(names_are_of_closed_alphabets) {
        expect(policy_name_valid("a") && policy_name_valid("0a.b-c_d"));
        expect(!policy_name_valid("") && !policy_name_valid("A") && !policy_name_valid(".a") &&
                        !policy_name_valid("-a") && !policy_name_valid("_a"));
        expect(!policy_name_valid("a..b") && !policy_name_valid("a/b") && !policy_name_valid("a\n") &&
                        !policy_name_valid("a b"));

        expect(policy_credential_valid("a") && policy_credential_valid("Jwt_key-1.pem") &&
                        policy_credential_valid(".a") && policy_credential_valid("..."));
        expect(!policy_credential_valid("") && !policy_credential_valid(".") &&
                        !policy_credential_valid("..") && !policy_credential_valid("a/b"));
        expect(!policy_credential_valid("a:b") && !policy_credential_valid("a%b") &&
                        !policy_credential_valid("*") && !policy_credential_valid("\xc3\xbc"));

        expect(policy_unit_valid("a.service") && policy_unit_valid("a@.service") &&
                        policy_unit_valid("a@b@c.service"));
        expect(policy_unit_valid("a\\x2db.service") && policy_unit_valid("org.x:y_z.service"));
        expect(!policy_unit_valid(".service") && !policy_unit_valid("a.socket") && !policy_unit_valid("a") &&
                        !policy_unit_valid("a/b.service"));
        expect(!policy_unit_valid("a\\b.service") && !policy_unit_valid("a\\x2.service") &&
                        !policy_unit_valid("a\\x2D.service"));
        expect(!policy_unit_valid("@.service") && !policy_unit_valid("@a.service") &&
                        !policy_unit_valid("..service") && !policy_unit_valid("-a.service"));
        expect(!policy_unit_valid("a-.service") && !policy_unit_valid("a-@.service") &&
                        policy_unit_valid("a@b-.service"));
        expect(!policy_unit_valid("a%i.service") && !policy_unit_valid("a b.service") &&
                        !policy_unit_valid("a\n.service"));

        expect(policy_unit_is_template("a@.service") && !policy_unit_is_template("a.service") &&
                        !policy_unit_is_template("a@b.service") && !policy_unit_is_template("a@b@.service"));

        expect(policy_user_valid("alice") && policy_user_valid("_x") && policy_user_valid("A.b-c"));
        expect(!policy_user_valid("") && !policy_user_valid("0") && !policy_user_valid("-a") &&
                        !policy_user_valid("a:b") && !policy_user_valid("a b"));
}

TEST(many_policies_are_loaded_and_compared) {
        enum { N = 3000 };
        struct load l;

        begin(&l);
        for (unsigned i = 0; i < N; i++) {
                char path[64], text[256];

                (void) snprintf(path, sizeof(path), ETC "s%u.ini", i);
                (void) snprintf(text, sizeof(text),
                                SECRET "[deliver:u%u.service]\nuse = sign\ncredential = k\nformat = pem\n",
                                i % (N - 1));
                put(&l, path, text);
        }
        expect_int(load_all(&l), 0);
        expect_int(l.set->n_policies, N);
        expect_complaints(&l, 2); /* the last and the first */
        expect(!find(&l, "s0")->valid && find(&l, "s1")->valid);
        end(&l);
}

/* A generator of its own, so that a run can be repeated anywhere. */
static uint64_t random_state;

static size_t random_below(size_t n) {
        random_state = random_state * 6364136223846793005U + 1442695040888963407U;
        return n > 0 ? (size_t) (random_state >> 33) % n : 0;
}

static void mutate(char *data, size_t *size) {
        char piece[64];
        size_t at = random_below(*size), n;

        if (*size == 0)
                return;
        switch (random_below(6)) {
        case 0:
                data[at] ^= (char) (1 << random_below(8));
                break;
        case 1:
                data[at] = "\n[]=;:# \t\0@.\\\""[random_below(15)];
                break;
        case 2:
                *size = at;
                break;
        case 3: /* leave something out */
                n = random_below(sizeof(piece));
                if (at + n < *size) {
                        memmove(data + at, data + at + n, *size - at - n);
                        *size -= n;
                }
                break;
        default: /* something from elsewhere over this */
                n = random_below(sizeof(piece));
                if (at + n < *size) {
                        size_t from = random_below(*size - n);

                        memcpy(piece, data + from, n);
                        memcpy(data + at, piece, n);
                }
        }
}

TEST(mutated_policies_are_good_or_bad_but_never_half) {
        static const char original[] = SECRET "size = 32\n[rotation]\ncryptoperiod = 30d\ntoken_lifetime = "
                                              "15min ; x\njitter = 6h\nwindow = Mon..Fri,Sun 22:00-04:00\n"
                                              "on_removal = destroy\n" ISSUER
                                              "newline = yes\non_change = signal:HUP\n" READER
                                              "[deliver:many@.service]\nuse = verify\nmax_unavailable = 20\n"
                                              "[access]\nusers = alice @ops\nuse = verify\n";
        unsigned n_good = 0;
        struct load l;

        random_state = 2;
        begin(&l);
        for (unsigned i = 0; i < 6000; i++) {
                char data[sizeof(original)];
                size_t size = sizeof(original) - 1, n = 1 + random_below(4);
                const struct policy *p;

                memcpy(data, original, sizeof(data));
                if (i % 2 == 0) /* from a good one, too */
                        memcpy(strstr(data, "size = 32"), "; ize = 3", 9);
                for (size_t j = 0; j < n; j++)
                        mutate(data, &size);
                scratch_write_bytes(&l.scratch, ETC "a.ini", data, size, 0644);
                expect_int(load_all(&l), 0);
                expect_int(l.set->n_policies, 1);
                p = l.set->policies[0];
                expect_int(p->valid, l.diagnostics.n_errors == 0);
                expect_int(!p->error, p->valid);
                for (size_t j = 0; j < p->n_deliveries; j++) {
                        expect(policy_unit_valid(p->deliveries[j].unit));
                        expect(!p->deliveries[j].credential ||
                                        policy_credential_valid(p->deliveries[j].credential));
                }
                if (p->valid) {
                        _cleanup_(policy_freep) struct policy *again = NULL;
                        _cleanup_free_ char *text = NULL;

                        n_good++;
                        expect(policy_name_valid(p->environment));
                        expect_int(policy_format(p, &text), 0);
                        expect_int(policy_parse_text("a", text, &again, &l.diagnostics), 0);
                        expect(same_policy(p, again));
                }
        }
        expect(n_good > 30); /* the loop must see both sides */
        end(&l);
}

int main(void) {
        return tap_main();
}
