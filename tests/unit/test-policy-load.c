/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Policies in their folders: which file wins, what is believed, and where defaults come from. */

#include <sys/socket.h>
#include <sys/un.h>

#include "policy-tree.h"

TEST(a_tree_without_keyrota_has_no_policies) {
        struct load l;

        begin(&l);
        expect_int(load_all(&l), 0);
        expect_int(l.set->n_policies, 0);
        expect(l.set->config.valid && !l.set->config.audit_required && !l.set->incomplete);
        expect_int(l.set->config.seal_with, SEAL_WITH_AUTO);
        expect_complaints(&l, 0);
        end(&l);
}

TEST(defaults_are_filled_in) {
        struct load l;
        const struct policy *p;

        begin(&l);
        put(&l, ETC "a.ini", GOOD READER);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        p = find(&l, "a");
        expect(p && p->valid && !p->error && p->algorithm_known);
        expect_string(p->environment, "test");
        expect_int(p->algorithm, ALGORITHM_ES256);
        expect_int(p->size, 0);
        expect_int(p->cryptoperiod, 30 * 86400);
        expect_int(p->token_lifetime, 900);
        expect_int(p->jwks_max_age, 300);
        expect_int(p->clock_skew, 60);
        expect_int(p->jitter, 0);
        expect_int(policy_prepublish(p), 360);
        expect_int(policy_overlap(p), 960);
        expect_int(p->n_deliveries, 2);
        expect(p->deliveries[0].newline && p->deliveries[0].on_change == ON_CHANGE_RESTART &&
                        p->deliveries[0].on_change_line == 0);
        expect(!p->deliveries[1].credential && p->deliveries[1].format == FORMAT_JWKS &&
                        !p->deliveries[1].newline);
        expect_int(p->deliveries[1].line, 8);
        end(&l);
}

TEST(policies_come_sorted_by_name) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", SECRET "[access]\nusers = x\n");
        put(&l, ETC "a-b.ini", SECRET "[access]\nusers = x\n"); /* before a.ini by file name */
        put(&l, USR "a.b.ini", SECRET "[access]\nusers = x\n");
        put(&l, RUN "0.ini", SECRET "[access]\nusers = x\n");
        expect_int(load_all(&l), 0);
        expect_int(l.set->n_policies, 4);
        expect_string(l.set->policies[0]->name, "0");
        expect_string(l.set->policies[1]->name, "a");
        expect_string(l.set->policies[2]->name, "a-b");
        expect_string(l.set->policies[3]->name, "a.b");
        end(&l);
}

TEST(etc_wins_over_run_and_run_over_usr) {
        struct load l;

        begin(&l);
        put(&l, USR "a.ini", "broken");
        put(&l, RUN "a.ini", SECRET "[access]\nusers = run\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        expect_string(find(&l, "a")->access.users[0], "run");

        put(&l, ETC "a.ini", SECRET "[access]\nusers = etc\n");
        expect_int(load_all(&l), 0);
        expect_string(find(&l, "a")->access.users[0], "etc");
        expect(strstr(find(&l, "a")->file, "/etc/keyrota/policy.d/a.ini"));
        end(&l);
}

TEST(a_link_to_dev_null_masks) {
        struct load l;

        begin(&l);
        put(&l, USR "a.ini", GOOD);
        put(&l, USR "a.ini.d/x.ini", "[secret]\nalgorithm = HS256\n");
        scratch_link(&l.scratch, "/dev/null", ETC "a.ini");
        expect_int(load_all(&l), 0);
        expect_int(l.set->n_policies, 0);
        expect_complaints(&l, 0);
        end(&l);
}

TEST(an_empty_file_is_no_mask) {
        struct load l;

        begin(&l);
        put(&l, USR "a.ini", GOOD);
        put(&l, ETC "a.ini", "");
        expect_int(load_all(&l), 0);
        expect(!find(&l, "a")->valid);
        expect(complained(&l, ETC "a.ini", 0, "the file is empty"));
        end(&l);
}

TEST(every_other_link_is_refused) {
        static const char *const targets[] = { "/etc/keyrota/good", "null", "/dev/null/", "//dev/null",
                "/dev/nullx", "/dev/nul", "../../../dev/null", "" };
        struct load l;

        for (size_t i = 0; targets[i][0] != '\0'; i++) {
                begin(&l);
                put(&l, "etc/keyrota/good", GOOD);
                scratch_link(&l.scratch, targets[i], ETC "a.ini");
                expect_int(load_all(&l), 0);
                expect(complained(&l, ETC "a.ini", 0, "it is a link"));
                expect(!find(&l, "a")->valid);
                expect_int(find(&l, "a")->n_deliveries, 0);
                end(&l);
        }
}

TEST(drop_ins_win_key_by_key_in_the_order_of_their_names) {
        struct load l;
        const struct policy *p;

        begin(&l);
        put(&l, ETC "a.ini", GOOD "[rotation]\njitter = 1h\ncryptoperiod = 10d\n");
        put(&l, USR "a.ini.d/50.ini", "[rotation]\njitter = 2h\nclock_skew = 2min\n");
        put(&l, RUN "a.ini.d/60.ini",
                        "[rotation]\njitter = 3h\n[deliver:issuer.service]\ncredential = key2\n");
        put(&l, ETC "a.ini.d/10.ini", "[rotation]\njitter = 4h\n" READER);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        p = find(&l, "a");
        expect_int(p->jitter, 3 * 3600);
        expect_int(p->clock_skew, 120);
        expect_int(p->cryptoperiod, 10 * 86400);
        expect_int(p->n_deliveries, 2);
        expect_string(p->deliveries[0].credential, "key2");
        expect_int(p->deliveries[0].format, FORMAT_PEM);
        end(&l);
}

TEST(a_drop_in_of_the_same_name_wins_or_masks) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, USR "a.ini.d/50.ini", "[rotation]\njitter = 2h\n");
        put(&l, RUN "a.ini.d/50.ini", "[rotation]\njitter = 3h\n");
        put(&l, USR "a.ini.d/60.ini", "[rotation]\nclock_skew = 5min\n");
        scratch_link(&l.scratch, "/dev/null", ETC "a.ini.d/60.ini");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        expect_int(find(&l, "a")->jitter, 3 * 3600);
        expect_int(find(&l, "a")->clock_skew, 60);
        end(&l);
}

TEST(a_list_in_a_drop_in_replaces_the_list) {
        struct load l;
        const struct policy *p;

        begin(&l);
        put(&l, ETC "a.ini", SECRET "[access]\nusers = alice bob @ops\n");
        put(&l, ETC "a.ini.d/x.ini", "[access]\nusers = carol\nuse = sign\n");
        expect_int(load_all(&l), 0);
        p = find(&l, "a");
        expect_int(p->access.n_users, 1);
        expect_int(p->access.n_groups, 0);
        expect_string(p->access.users[0], "carol");
        expect_int(p->access.use, USE_SIGN);
        expect(strstr(p->access.users_file, "a.ini.d/x.ini"));
        expect_int(p->access.users_line, 2);
        end(&l);
}

TEST(an_error_in_a_drop_in_names_the_drop_in) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, ETC "a.ini.d/x.ini", "\n[deliver:issuer.service]\nformat = hex\n");
        put(&l, ETC "b.ini", SECRET "[access]\nusers = x\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect(complained(&l, ETC "a.ini.d/x.ini", 3,
                        "format = hex cannot carry an ES256 key; use jwk, jwks or pem"));
        expect(!find(&l, "a")->valid);
        expect(strstr(find(&l, "a")->error, "a.ini.d/x.ini:3: format = hex"));
        expect(find(&l, "b")->valid);
        end(&l);
}

TEST(an_overridden_error_is_an_error_still) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", GOOD "[rotation]\njitter = often\n");
        put(&l, ETC "a.ini.d/x.ini", "[rotation]\njitter = 1h\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect(!find(&l, "a")->valid);
        end(&l);
}

TEST(drop_ins_of_no_policy_mean_nothing) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini.d/x.ini", "broken");
        expect_int(load_all(&l), 0);
        expect_int(l.set->n_policies, 0);
        expect_complaints(&l, 0);
        end(&l);
}

TEST(hidden_and_left_over_files_are_passed_over) {
        struct load l;

        begin(&l);
        put(&l, ETC ".a.ini", "x");
        put(&l, ETC ".#a.ini", "x");
        put(&l, ETC "a.ini~", "x");
        put(&l, ETC "a.ini.dpkg-old", "x");
        put(&l, ETC "README", "x");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        put(&l, ETC "a.conf", "x");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect_int(l.diagnostics.n_errors, 0);
        expect(complained(&l, "etc/keyrota/policy.d", 0, "\"a.conf\" is passed over"));
        expect_int(l.set->n_policies, 0);
        end(&l);
}

TEST(a_file_name_outside_the_alphabet_is_refused) {
        static const char *const names[] = { "A.ini", "a b.ini", "a..b.ini", "-a.ini", "_.ini",
                "\xc3\xbc.ini", "a\nb.ini", "a%n.ini" };
        char long_path[128];
        struct load l;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                char path[128];

                begin(&l);
                (void) snprintf(path, sizeof(path), ETC "%s", names[i]);
                put(&l, path, GOOD);
                expect_int(load_all(&l), 0);
                expect(complained(&l, path, 0, "cannot be the name of a secret"));
                expect_int(l.set->n_policies, 0);
                end(&l);
        }

        begin(&l);
        (void) snprintf(long_path, sizeof(long_path), ETC "%065d.ini", 0);
        put(&l, long_path, GOOD);
        expect_int(load_all(&l), 0);
        expect(complained(&l, long_path, 0, "cannot be the name of a secret"));
        expect_int(l.set->n_policies, 0);
        end(&l);
}

TEST(a_file_that_others_can_write_is_not_believed) {
        static const mode_t modes[] = { 0664, 0646, 0666, 0777, 0602, 0620 };
        struct load l;

        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
                begin(&l);
                scratch_write_bytes(&l.scratch, ETC "a.ini", GOOD, strlen(GOOD), modes[i]);
                expect_int(load_all(&l), 0);
                expect_complaints(&l, 1);
                expect(complained(&l, ETC "a.ini", 0, "chmod go-w"));
                expect(!find(&l, "a")->valid && find(&l, "a")->error);
                expect_int(find(&l, "a")->n_deliveries, 0);
                end(&l);
        }
}

TEST(a_file_of_another_owner_is_not_believed) {
        struct load l;
        char full[PATH_MAX];

        if (geteuid() != 0)
                skip("only root can give files away");
        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        scratch_path(&l.scratch, ETC "a.ini", full);
        expect_int(chown(full, 65534, 0), 0);
        put(&l, ETC "b.ini", SECRET "[access]\nusers = x\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect(complained(&l, ETC "a.ini", 0, "belongs to uid 65534 and must be root's"));
        expect(!find(&l, "a")->valid);
        expect_int(find(&l, "a")->n_deliveries, 0);
        expect(find(&l, "b")->valid);
        end(&l);
}

TEST(what_is_no_regular_file_is_refused_without_waiting) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char full[PATH_MAX];
        struct load l;
        int fd;

        begin(&l);
        scratch_write(&l.scratch, ETC "dir.ini/x", "");
        scratch_path(&l.scratch, ETC "fifo.ini", full);
        expect_int(mkfifo(full, 0644), 0);
        scratch_path(&l.scratch, ETC "s.ini", full);
        expect(strlen(full) < sizeof(address.sun_path));
        (void) strcpy(address.sun_path, full);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        expect(fd >= 0 && bind(fd, (struct sockaddr *) &address, sizeof(address)) == 0);

        expect_int(load_all(&l), 0);
        expect_complaints(&l, 3);
        expect(complained(&l, ETC "dir.ini", 0, "it is a directory"));
        expect(complained(&l, ETC "fifo.ini", 0, "it is not a regular file"));
        expect(complained(&l, ETC "s.ini", 0, "it is not a regular file"));
        expect_int(l.set->n_policies, 3);
        (void) close(fd);
        end(&l);
}

TEST(a_file_may_have_64_kib_and_no_more) {
        _cleanup_free_ char *data = malloc(POLICY_FILE_MAX + 1);
        size_t n = strlen(GOOD);
        struct load l;

        expect(data);
        memcpy(data, GOOD, n);
        memset(data + n, '\n', POLICY_FILE_MAX + 1 - n);
        begin(&l);
        scratch_write_bytes(&l.scratch, ETC "a.ini", data, POLICY_FILE_MAX, 0644);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        scratch_write_bytes(&l.scratch, ETC "a.ini", data, POLICY_FILE_MAX + 1, 0644);
        expect_int(load_all(&l), 0);
        expect(complained(&l, ETC "a.ini", 0, "larger than 64 KiB"));
        expect(!find(&l, "a")->valid);
        end(&l);
}

TEST(an_unsafe_folder_makes_its_policies_invalid_but_does_not_hide_them) {
        struct load l;
        char full[PATH_MAX];

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, USR "a.ini", GOOD);
        put(&l, USR "b.ini", SECRET "[access]\nusers = x\n");
        scratch_path(&l.scratch, ETC, full);
        expect_int(chmod(full, 0775), 0);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect(complained(&l, "etc/keyrota/policy.d", 0, "chmod go-w"));
        expect(!find(&l, "a")->valid && strstr(find(&l, "a")->error, "policy.d: it can be written"));
        expect_int(find(&l, "a")->n_deliveries, 0);
        expect(find(&l, "b")->valid);
        expect(!l.set->incomplete);
        end(&l);
}

TEST(a_folder_that_is_a_link_or_no_folder_makes_the_set_incomplete) {
        struct load l;

        begin(&l);
        put(&l, "srv/a.ini", GOOD);
        scratch_link(&l.scratch, "/srv", "etc/keyrota/policy.d");
        expect_int(load_all(&l), 0);
        expect(complained(&l, "etc/keyrota/policy.d", 0, "not a directory"));
        expect_int(l.set->n_policies, 0);
        expect(l.set->incomplete);
        end(&l);

        begin(&l);
        put(&l, "etc/keyrota/policy.d", "a file");
        put(&l, USR "b.ini", SECRET "[access]\nusers = x\n");
        expect_int(load_all(&l), 0);
        expect(complained(&l, "etc/keyrota/policy.d", 0, "not a directory"));
        expect(find(&l, "b")->valid && l.set->incomplete);
        end(&l);
}

TEST(an_unsafe_drop_in_or_drop_in_folder_makes_its_policy_invalid) {
        struct load l;
        char full[PATH_MAX];

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        scratch_write_bytes(&l.scratch, ETC "a.ini.d/x.ini", READER, strlen(READER), 0666);
        expect_int(load_all(&l), 0);
        expect(complained(&l, ETC "a.ini.d/x.ini", 0, "chmod go-w"));
        expect(!find(&l, "a")->valid);
        expect_int(find(&l, "a")->n_deliveries, 1);
        end(&l);

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, USR "a.ini.d/x.ini", READER);
        scratch_path(&l.scratch, USR "a.ini.d", full);
        expect_int(chmod(full, 0777), 0);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect(complained(&l, USR "a.ini.d", 0, "chmod go-w"));
        expect(!find(&l, "a")->valid);
        end(&l);

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, ETC "a.ini.d", "a file");
        expect_int(load_all(&l), 0);
        expect(complained(&l, ETC "a.ini.d", 0, "not a directory"));
        expect(!find(&l, "a")->valid);
        end(&l);
}

TEST(a_broken_policy_keeps_the_deliveries_that_can_be_made_out) {
        struct load l;
        const struct policy *p;

        begin(&l);
        put(&l, ETC "a.ini",
                        "[secret\nalgorithm = ES25\n" ISSUER "restart!\n"
                        "[deliver:x]\ncredential = c1\n[delivery:y.service]\ncredential = c2\nuse = maybe\n"
                        "[deliver:z.service]\ncredential = a/b\n[deliver:a b.service]\ncredential = c3\n");
        expect_int(load_all(&l), 0);
        p = find(&l, "a");
        expect(!p->valid && !p->algorithm_known);
        expect_int(p->n_deliveries, 4);
        expect_string(p->deliveries[0].unit, "issuer.service");
        expect_string(p->deliveries[0].credential, "key");
        expect_string(p->deliveries[1].unit, "x.service");
        expect_string(p->deliveries[1].credential, "c1");
        expect_string(p->deliveries[2].unit, "y.service");
        expect_string(p->deliveries[2].credential, "c2");
        expect_string(p->deliveries[3].unit, "z.service");
        expect(!p->deliveries[3].credential);
        end(&l);
}

TEST(keyrota_conf_gives_defaults) {
        struct load l;
        const struct policy *p;

        begin(&l);
        put(&l, CONF,
                        "[keyrota]\naudit = required\nseal = host\n[secret]\nenvironment = conf\nalgorithm = "
                        "RS256\nsize = 4096\n"
                        "[rotation]\ncryptoperiod = 2w\n");
        put(&l, ETC "a.ini", READER);
        put(&l, ETC "b.ini",
                        "[secret]\nalgorithm = HS256\nenvironment = own\n[access]\nusers = "
                        "x\n[rotation]\njitter = 1h\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        expect(l.set->config.valid && l.set->config.audit_required &&
                        l.set->config.seal_with == SEAL_WITH_HOST);
        p = find(&l, "a");
        expect_string(p->environment, "conf");
        expect_int(p->algorithm, ALGORITHM_RS256);
        expect_int(p->size, 4096);
        expect_int(p->cryptoperiod, 14 * 86400);
        p = find(&l, "b");
        expect_string(p->environment, "own");
        expect_int(p->size, 32); /* the size in keyrota.conf is one of RSA */
        expect_int(p->jitter, 3600);
        end(&l);
}

TEST(keyrota_conf_gives_a_window_that_a_policy_can_do_without) {
        struct load l;

        begin(&l);
        put(&l, CONF, "[rotation]\n\nwindow = Sun 02:00-04:00\non_removal = destroy\n");
        put(&l, ETC "a.ini", GOOD);
        put(&l, ETC "b.ini", SECRET READER "[rotation]\nwindow = any\non_removal = keep\n");
        put(&l, ETC "c.ini", SECRET READER "[rotation]\nwindow = any\n");
        put(&l, ETC "c.ini.d/x.ini", "[rotation]\nwindow = 01:00-02:00\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);

        expect(find(&l, "a")->window.set && find(&l, "a")->window.days == 1);
        expect(strstr(find(&l, "a")->window_file, CONF));
        expect_int(find(&l, "a")->window_line, 3);
        expect_int(find(&l, "a")->on_removal, ON_REMOVAL_DESTROY);
        expect(!find(&l, "b")->window.set);
        expect_int(find(&l, "b")->on_removal, ON_REMOVAL_KEEP);
        expect(find(&l, "c")->window.set && find(&l, "c")->window.opens == 60);
        expect(strstr(find(&l, "c")->window_file, "c.ini.d/x.ini"));
        expect_int(find(&l, "c")->on_removal, ON_REMOVAL_DESTROY);
        end(&l);
}

TEST(max_unavailable_is_checked_where_it_stands) {
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", GOOD);
        put(&l, ETC "a.ini.d/x.ini", "[deliver:issuer.service]\n\nmax_unavailable = 2\n");
        put(&l, ETC "b.ini", SECRET "[deliver:a@.service]\nuse = verify\n[deliver:b@.service]\nuse = verify\nmax_unavailable = 2\n");
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect(complained(&l, ETC "a.ini.d/x.ini", 3, "issuer.service is one unit; leave it out"));
        expect_int(find(&l, "b")->deliveries[0].max_unavailable, 1);
        expect_int(find(&l, "b")->deliveries[1].max_unavailable, 2);
        end(&l);
}

TEST(a_rule_broken_by_a_default_names_keyrota_conf) {
        struct load l;

        begin(&l);
        put(&l, CONF, "[rotation]\n\ncryptoperiod = 10min\n");
        put(&l, ETC "a.ini", GOOD);
        expect_int(load_all(&l), 0);
        expect(complained(&l, CONF, 3, "cryptoperiod (10min) is shorter"));
        expect(!find(&l, "a")->valid);
        end(&l);
}

TEST(errors_in_keyrota_conf_make_every_policy_invalid) {
        static const struct {
                const char *text;
                unsigned line;
                const char *complaint;
        } rows[] = {
                { "[keyrota]\naudit = always\n", 2, "write required or best-effort" },
                { "[keyrota]\nseal = tpm\n", 2, "did you mean \"tpm2\"?" },
                { "[access]\nusers = x\n", 1, "belongs in the policy of one secret" },
                { ISSUER, 1, "belongs in the policy of one secret" },
                { "[policy]\n", 1, "known are [keyrota], [secret] and [rotation]" },
                { "[rotation]\njiter = 1h\n", 2, "did you mean \"jitter\"?" },
                { "[rotation]\nwindow = sometimes\n", 2, "is not a window; write one such as Sun 02:00-04:00" },
                { "[rotation]\non_removal = drop\n", 2, "write keep or destroy" },
                { "[secret]\nsize = 64\n", 2, "size without algorithm" },
                { "[secret]\nalgorithm = HS512\nsize = 32\n", 3, "smaller than the hash of HS512" },
                { "jitter = 1h\n", 1, "before the first section" },
        };
        struct load l;

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                begin(&l);
                put(&l, CONF, rows[i].text);
                put(&l, ETC "a.ini", GOOD);
                expect_int(load_all(&l), 0);
                expect(complained(&l, CONF, rows[i].line, rows[i].complaint));
                expect(!l.set->config.valid && !find(&l, "a")->valid &&
                                strstr(find(&l, "a")->error, "keyrota.conf: it has errors"));
                expect_int(find(&l, "a")->n_deliveries, 1);
                expect(find(&l, "a")->algorithm_known);
                end(&l);
        }
}

TEST(what_a_broken_keyrota_conf_would_have_set_is_not_missed) {
        static const char conf[] = "[secret]\nenvironment = e\nalgorithm = ES256\n";
        struct load l;

        begin(&l);
        put(&l, CONF, "[secrets]\nenvironment = e\nalgorithmus = ES256\n");
        put(&l, ETC "a.ini", ISSUER);
        expect_int(load_all(&l), 0);
        expect(complained(&l, CONF, 1, "did you mean [secret]?"));
        expect(complained(&l, CONF, 3, "did you mean \"algorithm\"?"));
        expect_complaints(&l, 2);
        expect(!find(&l, "a")->valid && !find(&l, "a")->algorithm_known);

        scratch_write_bytes(&l.scratch, CONF, conf, strlen(conf), 0666);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        expect(!find(&l, "a")->valid && !find(&l, "a")->algorithm_known);
        end(&l);
}

TEST(an_unsafe_keyrota_conf_makes_every_policy_invalid_and_a_masked_one_is_none) {
        struct load l;

        begin(&l);
        scratch_write_bytes(&l.scratch, CONF, "", 0, 0666);
        put(&l, ETC "a.ini", GOOD);
        expect_int(load_all(&l), 0);
        expect(complained(&l, CONF, 0, "chmod go-w"));
        expect(!l.set->config.valid && !find(&l, "a")->valid);
        end(&l);

        begin(&l);
        scratch_link(&l.scratch, "/dev/null", CONF);
        put(&l, ETC "a.ini", GOOD);
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 0);
        expect(find(&l, "a")->valid);
        end(&l);
}

TEST(the_environment_falls_back_on_machine_info) {
        static const struct {
                const char *text, *environment, *complaint;
        } rows[] = {
                { "DEPLOYMENT=production\n", "production", NULL },
                { "# x\nPRETTY_HOSTNAME=\"A b\"\nDEPLOYMENT=\"production\"\n", "production", NULL },
                { "DEPLOYMENT='prod'uction", "production", NULL },
                { "DEPLOYMENT=\"pro\\duction\"\n", NULL, "cannot be an environment" },
                { "DEPLOYMENT=pro\\duction\n", "production", NULL },
                { "DEPLOYMENT=staging\nDEPLOYMENT=production  \n", "production", NULL },
                { "DEPLOYMENT=a b\n", NULL, "is not quoted right" },
                { "DEPLOYMENT=\"a\n", NULL, "is not quoted right" },
                { "DEPLOYMENT=Production\n", NULL, "/etc/machine-info:1 cannot be an environment" },
                { "DEPLOYMENT=\"../etc\"\n", NULL, "cannot be an environment" },
                { "DEPLOYMENT=x\nDEPLOYMENT=\n", NULL, "no environment; write environment = NAME" },
                { "#DEPLOYMENT=x\nXDEPLOYMENT=y\n", NULL, "no environment; write environment = NAME" },
                { "", NULL, "no environment; write environment = NAME" },
        };
        struct load l;

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                begin(&l);
                put(&l, "etc/machine-info", rows[i].text);
                put(&l, ETC "a.ini", "[secret]\nalgorithm = ES256\n" ISSUER);
                expect_int(load_all(&l), 0);
                expect_int(find(&l, "a")->valid, !rows[i].complaint);
                if (rows[i].complaint)
                        expect(complained(&l, ETC "a.ini", 0, rows[i].complaint));
                else
                        expect_string(find(&l, "a")->environment, rows[i].environment);
                end(&l);
        }
}

TEST(a_machine_info_that_others_can_write_is_not_believed) {
        struct load l;

        begin(&l);
        scratch_write_bytes(&l.scratch, "etc/machine-info", "DEPLOYMENT=x\n", 13, 0666);
        put(&l, ETC "a.ini", "[secret]\nalgorithm = ES256\n" ISSUER);
        put(&l, ETC "b.ini", SECRET "[access]\nusers = x\n");
        expect_int(load_all(&l), 0);
        expect(complained(&l, ETC "a.ini", 0, "machine-info is not believed"));
        expect(find(&l, "b")->valid);
        end(&l);
}

TEST(named_files_are_read_with_the_defaults_of_the_tree) {
        char good[PATH_MAX], missing[PATH_MAX], odd[PATH_MAX], masked[PATH_MAX];
        char *files[] = { good, missing, odd, masked };
        struct load l;

        begin(&l);
        put(&l, CONF, "[secret]\nenvironment = conf\n");
        put(&l, ETC "other.ini", "broken");
        put(&l, "home/good.ini", "[secret]\nalgorithm = ES256\n" ISSUER);
        put(&l, "home/good.ini.d/x.ini", "[rotation]\njitter = 1h\n");
        put(&l, "home/odd.conf", GOOD);
        scratch_link(&l.scratch, "/dev/null", "home/masked.ini");
        scratch_path(&l.scratch, "home/good.ini", good);
        scratch_path(&l.scratch, "home/missing.ini", missing);
        scratch_path(&l.scratch, "home/odd.conf", odd);
        scratch_path(&l.scratch, "home/masked.ini", masked);

        expect_int(policy_load_files(l.scratch.tree, files, 4, &l.set, &l.diagnostics), 0);
        expect_int(l.set->n_policies, 1);
        expect(find(&l, "good")->valid);
        expect_string(find(&l, "good")->file, good);
        expect_string(find(&l, "good")->environment, "conf");
        expect_int(find(&l, "good")->jitter, 3600);
        expect_complaints(&l, 3);
        expect_int(l.diagnostics.n_errors, 2);
        expect(complained(&l, "home/missing.ini", 0, "there is no such file"));
        expect(complained(&l, "home/odd.conf", 0, "a policy's file is called NAME.ini"));
        expect(complained(&l, "home/masked.ini", 0, "nothing to check"));
        end(&l);
}

int main(void) {
        return tap_main();
}
