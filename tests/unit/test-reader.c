/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who asks the read server: what /proc says of a process. */

#include <errno.h>

#include "cleanup.h"
#include "reader.h"
#include "tap.h"

static void expect_tty(const char *stat, const char *wanted) {
        char tty[READER_TTY_MAX] = "unset";

        expect_int(reader_parse_tty(stat, tty), 0);
        expect_string(tty, wanted);
}

/* Device numbers as proc(5) has them: minor bits 31 to 20 and 7 to 0, major bits 15 to 8. */
TEST(terminals_have_their_names) {
        expect_tty("812 (keyrota) S 1 812 812 34816 812 4194560 ", "pts/0");
        expect_tty("812 (keyrota) S 1 812 812 34819 812 4194560 ", "pts/3");
        expect_tty("812 (keyrota) S 1 812 812 1083436 812 4194560 ", "pts/300");
        expect_tty("812 (keyrota) S 1 812 812 1025 812 4194560 ", "tty1");
        expect_tty("812 (keyrota) S 1 812 812 1087 812 4194560 ", "tty63");
        expect_tty("812 (keyrota) S 1 812 812 1088 812 4194560 ", "ttyS0");
}

TEST(no_terminal_and_unknown_ones_have_none) {
        expect_tty("812 (keyrota) S 1 812 812 0 -1 4194560 ", "");
        expect_tty("812 (keyrota) S 1 812 812 1024 -1 4194560 ", "");  /* tty0, which is any of them */
        expect_tty("812 (keyrota) S 1 812 812 58624 -1 4194560 ", ""); /* hvc0 */
}

TEST(name_of_the_program_does_not_count) {
        expect_tty("812 (a) S 1 1 1 1025 ) S 1 812 812 34819 812 4194560 ", "pts/3");
        expect_tty("812 () S 1 812 812 34819 812 4194560 ", "pts/3");
}

TEST(other_texts_are_refused) {
        static const char *const texts[] = { "", "812", "812 (keyrota", "812 (keyrota) S 1 812", "812 (keyrota) S 1 812 812 x" };
        char tty[READER_TTY_MAX];

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                expect_int(reader_parse_tty(texts[i], tty), -EBADMSG);
}

int main(void) {
        return tap_main();
}
