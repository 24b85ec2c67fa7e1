/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What keyrota check says of policies that are right: the gap of formats that hold one key, what a rotation waits for, what has no effect. */

#include "policy-tree.h"

#define HS "[secret]\nenvironment = test\nalgorithm = HS256\n"
#define SIGN(unit, format) "[deliver:" unit "]\nuse = sign\ncredential = k\nformat = " format "\n"
#define VERIFY(unit, format) "[deliver:" unit "]\nuse = verify\ncredential = k\nformat = " format "\n"
#define ROTATION(lines) "[rotation]\n" lines "\n"

struct row {
        const char *text;
        const char *note; /* NULL: none */
};

/* "LINE: text" of every note, FILE before it where it is not the policy's; a line each. */
static char *notes_of(const struct load *load) {
        struct diagnostics notes = { 0 };
        char *text = NULL, own[PATH_MAX];
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        scratch_path(&load->scratch, ETC "a.ini", own);
        if (!stream || policy_notes(load->set, &notes) < 0 || notes.n_errors > 0)
                abort();
        for (size_t i = 0; i < notes.n_items; i++)
                fprintf(stream, "%s%s%u: %s", i > 0 ? "\n" : "", strcmp(notes.items[i].file, own) == 0 ? "" : "elsewhere:", notes.items[i].line,
                        notes.items[i].text);
        diagnostics_clear(&notes);
        if (fclose(stream) != 0)
                abort();
        return text;
}

static void check_rows(const struct row rows[], size_t n_rows) {
        for (size_t i = 0; i < n_rows; i++) {
                _cleanup_free_ char *notes = NULL;
                struct load l;

                begin(&l);
                put(&l, ETC "a.ini", rows[i].text);
                expect_int(load_all(&l), 0);
                expect_complaints(&l, 0);
                notes = notes_of(&l);
                expect_string(notes, rows[i].note ? rows[i].note : "");
                end(&l);
        }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

TEST(a_format_that_holds_one_key_has_a_gap_and_it_is_named) {
        static const struct row rows[] = {
                { HS SIGN("a.service", "hex") SIGN("b.service", "hex"),
                  "7: format = hex holds one key: at each rotation a.service and b.service are restarted together, and tokens issued before (up to "
                  "token_lifetime = 15min) are rejected by them from then on; format = jwks would close that gap" },
                { HS SIGN("a.service", "hex") VERIFY("b@.service", "raw") SIGN("c.service", "jwk") ROTATION("token_lifetime = 1h 30min"),
                  "7: format = hex holds one key: at each rotation a.service, all instances of b@.service and c.service are restarted together, and "
                  "tokens issued before (up to token_lifetime = 1h 30min) are rejected by them from then on; format = jwks would close that gap" },
                { HS SIGN("a@.service", "base64"),
                  "7: format = base64 holds one key: at each rotation all instances of a@.service are restarted together, and tokens issued before "
                  "(up to token_lifetime = 15min) are rejected by them from then on; format = jwks would close that gap" },
                { HS SIGN("a.service", "hex"),
                  "7: format = hex holds one key: at each rotation a.service is restarted, and tokens issued before (up to token_lifetime = 15min) "
                  "are rejected by it from then on; format = jwks would close that gap" },
                { HS SIGN("a.service", "hex") SIGN("b.service", "hex") "on_change = none\n",
                  "7: format = hex holds one key: at each rotation a.service and b.service change keys together, and tokens issued before (up to "
                  "token_lifetime = 15min) are rejected by them from then on; format = jwks would close that gap" },
                { SECRET SIGN("a.service", "pem") VERIFY("b.service", "jwk") VERIFY("c.service", "jwks"),
                  "11: format = jwk holds one key: at each rotation a.service and b.service are restarted together, and tokens issued before (up to "
                  "token_lifetime = 15min) are rejected by b.service from then on; format = jwks would close that gap" },
        };

        CHECK_ROWS(rows);
}

TEST(a_policy_whose_verifiers_hold_sets_has_no_gap) {
        static const struct row rows[] = {
                { SECRET SIGN("a.service", "pem") VERIFY("b.service", "jwks") VERIFY("c@.service", "pem") READER, NULL },
                { HS SIGN("a.service", "jwks"), NULL },
                { HS SIGN("a.service", "jwks") SIGN("b.service", "jwks"), NULL },
                { HS SIGN("a.service", "hex") VERIFY("b.service", "jwks"), NULL },
                { SECRET "[access]\nusers = alice\n", NULL },
        };

        CHECK_ROWS(rows);
}

TEST(a_signal_brings_no_credential) {
        static const struct row rows[] = {
                { GOOD "on_change = signal:USR1\n",
                  "8: on_change = signal:USR1 brings no new credential to a running issuer.service: unless it ends and is started again upon it, "
                  "each rotation waits until somebody restarts it; on_change = restart does" },
                { SECRET READER "on_change = signal:HUP\n", NULL }, /* it reads the file again */
                { GOOD "on_change = none\n", NULL },
        };

        CHECK_ROWS(rows);
}

TEST(a_max_unavailable_without_effect_is_told) {
        static const struct row rows[] = {
                { SECRET "[deliver:a@.service]\nuse = verify\nmax_unavailable = 2\n", NULL },
                { SECRET "[deliver:a@.service]\nuse = verify\nmax_unavailable = 1\non_change = none\n", NULL },
                { SECRET "[deliver:a@.service]\nuse = verify\nmax_unavailable = 2\non_change = none\n",
                  "4: [deliver:a@.service]: max_unavailable = 2 has no effect, as with on_change = none nothing is done to its instances" },
                { HS SIGN("a@.service", "hex") "max_unavailable = 3\n",
                  "7: format = hex holds one key: at each rotation all instances of a@.service are restarted together, and tokens issued before "
                  "(up to token_lifetime = 15min) are rejected by them from then on; format = jwks would close that gap\n"
                  "4: [deliver:a@.service]: max_unavailable = 3 has no effect, as all of them change keys together" },
        };

        CHECK_ROWS(rows);
}

/* prepublish is 6 min and overlap 16 min by default, 22 min together. */
TEST(a_window_that_opens_too_rarely_for_the_cryptoperiod_is_told) {
        static const struct row rows[] = {
                { GOOD ROTATION("window = Sun 02:00-04:00"), NULL },
                { GOOD ROTATION("window = Sun 02:00-04:00\ncryptoperiod = 1w"), NULL },
                { GOOD ROTATION("window = Sun 02:00-04:00\ncryptoperiod = 6d"),
                  "9: window = Sun 02:00-04:00 opens as rarely as once in 1w, and a rotation needs 1 opening: with cryptoperiod = 6d one is due before "
                  "the last is complete, and keys sign for longer; make cryptoperiod at least 1w, or the window more frequent" },
                { GOOD ROTATION("window = Sun 02:00-04:00\ncryptoperiod = 1w\njitter = 1h"),
                  "9: window = Sun 02:00-04:00 opens as rarely as once in 1w, and a rotation needs 1 opening: with cryptoperiod = 1w one is due before "
                  "the last is complete, and keys sign for longer; make cryptoperiod at least 7d 1h, or the window more frequent" },
                { GOOD ROTATION("window = Sun 02:00-02:22\ncryptoperiod = 2w"), NULL },
                { GOOD ROTATION("window = Sun 02:00-02:22\ncryptoperiod = 13d"),
                  "9: window = Sun 02:00-02:22 opens as rarely as once in 1w, and a rotation needs 2 openings: with cryptoperiod = 13d one is due "
                  "before the last is complete, and keys sign for longer; make cryptoperiod at least 2w, or the window longer or more frequent" },
                { GOOD ROTATION("window = Sun 02:00-02:23\ncryptoperiod = 13d"), NULL },
                { GOOD ROTATION("window = Sun 02:00-02:06\ncryptoperiod = 3w"), NULL },
                { GOOD ROTATION("window = Sun 02:00-02:06\ncryptoperiod = 20d"),
                  "9: window = Sun 02:00-02:06 opens as rarely as once in 1w, and a rotation needs 3 openings: with cryptoperiod = 20d one is due "
                  "before the last is complete, and keys sign for longer; make cryptoperiod at least 3w, or the window longer or more frequent" },
                { GOOD ROTATION("window = Mon..Fri 02:00-04:00\ncryptoperiod = 2d"),
                  "9: window = Mon..Fri 02:00-04:00 opens as rarely as once in 3d, and a rotation needs 1 opening: with cryptoperiod = 2d one is due "
                  "before the last is complete, and keys sign for longer; make cryptoperiod at least 3d, or the window more frequent" },
                { GOOD ROTATION("window = 02:00-04:00\ncryptoperiod = 1d"), NULL },
                /* a solo secret is not published beforehand */
                { HS SIGN("a.service", "jwks") ROTATION("window = Sun 02:00-02:17\ncryptoperiod = 1w"), NULL },
                { HS SIGN("a.service", "jwks") ROTATION("window = Sun 02:00-02:16\ncryptoperiod = 13d"),
                  "9: window = Sun 02:00-02:16 opens as rarely as once in 1w, and a rotation needs 2 openings: with cryptoperiod = 13d one is due "
                  "before the last is complete, and keys sign for longer; make cryptoperiod at least 2w, or the window longer or more frequent" },
                { SECRET READER "on_change = none\n" ROTATION("window = Sun 02:00-02:06\ncryptoperiod = 1d"),
                  "8: window has no effect, as no consumer has on_change = restart or signal; leave it out" },
                { GOOD ROTATION("window = any"), NULL },
        };

        CHECK_ROWS(rows);
}

TEST(a_window_of_keyrota_conf_is_told_of_where_the_policy_is) {
        _cleanup_free_ char *notes = NULL;
        struct load l;

        begin(&l);
        put(&l, CONF, ROTATION("window = Sun 02:00-04:00"));
        put(&l, ETC "a.ini", GOOD ROTATION("cryptoperiod = 1d"));
        put(&l, ETC "b.ini", SECRET READER "on_change = none\n"); /* it may well have no use for it */
        expect_int(load_all(&l), 0);
        notes = notes_of(&l);
        expect(strstr(notes, "0: window = Sun 02:00-04:00 opens as rarely") == notes && !strchr(notes, '\n'));
        end(&l);
}

TEST(a_note_stands_where_the_setting_stands) {
        _cleanup_free_ char *notes = NULL;
        struct load l;

        begin(&l);
        put(&l, ETC "a.ini", SECRET VERIFY("a.service", "jwks"));
        put(&l, ETC "a.ini.d/x.ini", "\n\n[deliver:a.service]\nformat = jwk\n");
        put(&l, ETC "bad.ini", HS SIGN("bad.service", "hex") "colour = red\n"); /* of a wrong one nothing */
        expect_int(load_all(&l), 0);
        expect_complaints(&l, 1);
        notes = notes_of(&l);
        expect(strstr(notes, "elsewhere:4: format = jwk holds one key: at each rotation a.service is restarted, ") == notes && !strchr(notes, '\n'));
        end(&l);
}

TEST(notes_are_printed_as_notes) {
        struct diagnostics notes = { 0 };
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        expect(stream);
        expect_int(diagnostics_add(&notes, false, "a.ini", 7, "this"), 0);
        expect_int(diagnostics_add(&notes, false, "b.ini", 0, "that"), 0);
        diagnostics_print_notes(&notes, stream);
        expect_int(fclose(stream), 0);
        expect_string(text, "a.ini:7: note: this\nb.ini: note: that\n");
        diagnostics_clear(&notes);
}

TEST(who_verifies_an_hmac_can_sign) {
        static const struct row rows[] = {
                { HS "[access]\nuse = verify\nusers = alice\n",
                  "6: use = verify gives these users the key itself, as algorithm = HS256 has but one for both: who can verify can sign, too; an asymmetric "
                  "algorithm (ES256, EdDSA) would keep them from that" },
                { HS "[access]\nusers = alice\nuse = sign\n", NULL },
                { "[secret]\nenvironment = test\nalgorithm = ES256\n[access]\nusers = alice\n", NULL },
        };

        CHECK_ROWS(rows);
}

int main(void) {
        return tap_main();
}
