/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damaged tables: whatever happens to the bytes, nobody gets in whom no table named. The mutations follow
 * from a seed that is printed (KEYROTA_TEST_SEED sets it, KEYROTA_TEST_ROUNDS how many); meant to run under
 * ASan too.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_modules.h>

#include "cleanup.h"
#include "tap.h"
#include "wrap.h"

static const char *const tables[] = {
        "keyrota-access 2\nring 7\nend\n",
        "keyrota-access 2\nring 7\nsecret production/billing 1 0 verify session alice @ops\nend\n",
        "keyrota-access 2\nring 7\nsecret a/a 1 0 sign session @ops @staff\nsecret b/billing 1 0 sign session alice @audit\nend\n",
};

static uint64_t state;

/* xorshift64* */
static uint64_t draw(uint64_t n) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return (state * UINT64_C(2685821657736338717)) % n;
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise) {
        const char *text = getenv(name);

        return text ? strtoull(text, NULL, 10) : otherwise;
}

/* One of: a bit flipped, a byte put in, bytes taken out, bytes doubled, a piece of the form put in. */
static size_t mutate(char *text, size_t size, size_t room) {
        static const char *const pieces[] = { " ",        "\n",      "@",
                                              "/",        "end\n",   "secret ",
                                              " verify ", "billing", "a/billing sign alice\n",
                                              "\r",       "\t",      "keyrota-access 2\n",
                                              "  ",       "@@ops",   ":",
                                              "..",       "\x7f" };
        const char *piece = pieces[draw(ELEMENTSOF(pieces))];
        size_t at = draw(size + 1), length = draw(12) + 1;

        switch (draw(5)) {
        case 0:
                if (at < size)
                        text[at] = (char) (text[at] ^ (1 << draw(8)));
                break;
        case 1:
                if (at < size)
                        text[at] = (char) draw(256);
                break;
        case 2:
                if (at + length <= size) {
                        memmove(text + at, text + at + length, size - at - length);
                        size -= length;
                }
                break;
        case 3:
                if (at + length <= size && size + length <= room) {
                        memmove(text + at + length, text + at, size - at);
                        size += length;
                }
                break;
        default:
                length = strlen(piece);
                if (size + length <= room) {
                        memmove(text + at + length, text + at, size - at);
                        memcpy(text + at, piece, length);
                        size += length;
                }
        }
        return size;
}

TEST(every_truncation_is_refused_as_a_whole) {
        for (size_t t = 1; t < ELEMENTSOF(tables); t++) {
                size_t size = strlen(tables[t]);

                for (size_t cut = 0; cut < size; cut++) {
                        wrap_table(tables[t], cut);
                        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
                        expect(strstr(wrap.log, "torn"));
                }
                wrap_table(tables[t], size);
                expect_int(wrap_secret("alice", "billing"), PAM_SUCCESS);
        }
}

TEST(departures_from_the_form_are_refused_as_a_whole) {
        static const char *const bad[] = {
                "",
                "\n",
                "end\n",
                "keyrota-access 3\nring 7\nsecret a/billing 1 0 sign session alice\nend\n",
                "keyrota-access 2 \nsecret a/billing 1 0 sign session alice\nend\n",
                " keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nend\n",
                "secret a/billing 1 0 sign session alice\nend\n",
                "keyrota-access 2\r\nsecret a/billing 1 0 sign session alice\r\nend\r\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nend",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nend\n\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nend\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nend\nsecret b/c 1 0 sign session bob\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\n\nend\n",
                "keyrota-access 2\n\nsecret a/billing 1 0 sign session alice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice \nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session  alice\nend\n",
                "keyrota-access 2\nring 7\nsecret  a/billing sign alice\nend\n",
                "keyrota-access 2\n secret a/billing 1 0 sign session alice\nend\n",
                "keyrota-access 2\nring 7\nsecret\ta/billing\tsign\talice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session \nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing\nend\n",
                "keyrota-access 2\nring 7\nsecret\nend\n",
                "keyrota-access 2\nring 7\nsecret billing sign alice\nend\n",
                "keyrota-access 2\nring 7\nsecret /billing sign alice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/ 1 0 sign session alice\nsecret a/billing 1 0 sign session alice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/b/billing 1 0 sign session alice\nend\n",
                "keyrota-access 2\nring 7\nsecret A/billing 1 0 sign session alice\nend\n",
                "keyrota-access 2\nring 7\nsecret ../billing 1 0 sign session alice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nsecret a/c..d 1 0 sign session bob\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 read session alice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 Sign session alice\nend\n",
                "keyrota-access 2\npolicy a/billing sign alice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session @ops alice\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice @\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice @@ops\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice b:c\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice b\x7f\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice b\x01\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nsecret b/billing 1 0 sign session bob\nend\n",
                "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nsecret a/aaa 1 0 sign session bob\nend\n",
        };
        static const char nul[] = "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\0\nend\n";
        static const char behind[] = "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice\nend\n\0\n";

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                wrap_table(bad[i], strlen(bad[i]));
                expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
                if (!strstr(wrap.log, "torn"))
                        printf("# taken for good: %zu\n", i);
                expect(strstr(wrap.log, "torn"));
        }
        wrap_table(nul, sizeof(nul) - 1);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.log, "torn"));
        wrap_table(behind, sizeof(behind) - 1);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.log, "torn"));
}

TEST(size_is_bounded_at_one_mebibyte) {
        static const char head[] = "keyrota-access 2\nring 7\nsecret a/billing 1 0 sign session alice", tail[] = "\nend\n";
        size_t size = 1024 * 1024;
        _cleanup_free_ char *text = malloc(size + 1);

        expect(text);
        for (size_t i = 0; i <= size; i++)
                text[i] = i % 2 ? 'u' : ' ';
        memcpy(text, head, strlen(head));
        text[strlen(head)] = 'x';
        text[size - strlen(tail) - 1] = 'u';
        memcpy(text + size - strlen(tail), tail, strlen(tail));
        wrap_table(text, size);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED); /* alicex, and half a million users */
        expect(strstr(wrap.log, "not named by"));

        memcpy(text + size + 1 - strlen(tail), tail, strlen(tail));
        text[size - strlen(tail)] = 'u';
        wrap_table(text, size + 1);
        expect_int(wrap_secret("alice", "billing"), PAM_PERM_DENIED);
        expect(strstr(wrap.log, "over 1 MiB"));
}

TEST(mutation_never_lets_in_a_user_whom_no_table_names) {
        static const char *const users[] = { "mallory", "ghost", "unknown" };
        uint64_t seed = number_from_environment("KEYROTA_TEST_SEED", (uint64_t) time(NULL));
        uint64_t rounds = number_from_environment("KEYROTA_TEST_ROUNDS", 5000), n_let_in = 0, n_torn = 0;

        printf("# KEYROTA_TEST_SEED=%" PRIu64 " KEYROTA_TEST_ROUNDS=%" PRIu64 "\n", seed, rounds);
        state = seed | 1;
        for (uint64_t i = 0; i < rounds; i++) {
                const char *from = tables[draw(ELEMENTSOF(tables))];
                char text[512];
                size_t size = strlen(from);

                memcpy(text, from, size);
                for (uint64_t n = draw(4) + 1; n > 0; n--)
                        size = mutate(text, size, sizeof(text));
                wrap_table(text, size);
                for (size_t u = 0; u < ELEMENTSOF(users); u++)
                        expect_int(wrap_secret(users[u], "billing"), PAM_PERM_DENIED);
                n_torn += !!strstr(wrap.log, "torn");
                n_let_in += wrap_secret("alice", "billing") == PAM_SUCCESS;
        }
        printf("# %" PRIu64 " tables refused, %" PRIu64 " still let alice in\n", n_torn, n_let_in);
        /* Both kinds came up, or the loop has shown nothing. */
        expect(rounds < 1000 || (n_torn > 0 && n_let_in > 0));
}

int main(void) {
        return wrap_scratch_of_root() ? tap_main() : EXIT_SUCCESS;
}
