/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The list of the last good deliveries: written in one order, read strictly, replaced only when it changes.
 */

#include "deliveries.h"
#include "paths.h"
#include "scratch.h"
#include "tap.h"

#define LINES                              \
        "a.service * billing\n"            \
        "a.service jwks billing refresh\n" \
        "a.service key zeta rsa\n"         \
        "b@.service key.pem billing rsa refresh\n"

static struct deliveries parsed(const char *text) {
        struct deliveries deliveries = { 0 };

        if (deliveries_parse(&deliveries, text) < 0)
                abort();
        return deliveries;
}

TEST(the_text_is_sorted_and_read_back_the_same) {
        struct deliveries deliveries = parsed(
                        "# comment\n\nb@.service key.pem billing rsa refresh\na.service key zeta rsa\n"
                        "a.service jwks billing refresh\na.service * billing\n");
        char *text = NULL, *again = NULL;

        expect_int(deliveries.n_lines, 4);
        expect_int(deliveries.n_bad, 0);
        deliveries_sort(&deliveries);
        expect_int(deliveries_format(&deliveries, &text), 0);
        expect(*text == '#');
        expect_string(strchr(text, '\n') + 1, LINES);
        deliveries_clear(&deliveries);

        deliveries = parsed(text);
        expect_int(deliveries_format(&deliveries, &again), 0);
        expect_string(again, text);
        expect(!deliveries.lines[0].credential && !deliveries.lines[0].refresh &&
                        deliveries.lines[1].refresh && deliveries.lines[2].rsa);
        deliveries_clear(&deliveries);
        free(text);
        free(again);
}

TEST(equal_lines_become_one_with_the_flags_of_both) {
        struct deliveries deliveries = parsed(
                        "a.service k s rsa\na.service k s\na.service k s refresh\na.service k t\n");

        deliveries_sort(&deliveries);
        expect_int(deliveries.n_lines, 2);
        expect(deliveries.lines[0].rsa && deliveries.lines[0].refresh);
        expect(!deliveries.lines[1].rsa && !deliveries.lines[1].refresh);
        deliveries_clear(&deliveries);
}

TEST(room_grows_also_after_sorting) {
        struct deliveries deliveries = { 0 };

        for (unsigned i = 0; i < 1000; i++) {
                char unit[32];

                (void) snprintf(unit, sizeof(unit), "u%u.service", i % 17);
                expect_int(deliveries_add(&deliveries,
                                           &(struct delivery_line){
                                                           .unit = unit, .secret = (char[]){ "s" } }),
                                0);
                if (i % 5 == 0)
                        deliveries_sort(&deliveries);
        }
        deliveries_sort(&deliveries);
        expect_int(deliveries.n_lines, 17);
        deliveries_clear(&deliveries);
}

TEST(lines_outside_the_alphabets_are_passed_over) {
        struct deliveries deliveries = parsed(
                        "../x.service key s\na.socket key s\na.service ../key s\na.service key "
                        "../s\na.service key S\n"
                        "a.service key\na.service\na.service  key s\na.service key s root\na.service key s \n"
                        "a%i.service key s\na.service k%n s\nbad-.service key s\n\xff\ngood.service key s\n");

        expect_int(deliveries.n_lines, 1);
        expect_string(deliveries.lines[0].unit, "good.service");
        expect_int(deliveries.n_bad, 14);
        deliveries_clear(&deliveries);
}

TEST(the_file_is_written_only_when_it_changes) {
        struct deliveries deliveries = parsed(LINES), read = { 0 };
        struct scratch scratch;
        struct stat before, after;
        char full[PATH_MAX];

        scratch_begin(&scratch);
        expect_int(deliveries_load(scratch.tree, &read), 0);
        expect_int(read.n_lines, 0);

        scratch_parents(&scratch, PATH_DELIVERIES);
        expect_int(deliveries_save(scratch.tree, &deliveries), 1);
        scratch_path(&scratch, PATH_DELIVERIES, full);
        expect_int(stat(full, &before), 0);
        expect_int(before.st_mode & 07777, 0600);
        expect_int(deliveries_save(scratch.tree, &deliveries), 0);
        expect_int(stat(full, &after), 0);
        expect(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);

        expect_int(deliveries_load(scratch.tree, &read), 0);
        expect_int(read.n_lines, 4);
        deliveries_clear(&read);

        expect_int(deliveries_add(&deliveries,
                                   &(struct delivery_line){ .unit = (char[]){ "z.service" },
                                                   .secret = (char[]){ "s" } }),
                        0);
        expect_int(deliveries_save(scratch.tree, &deliveries), 1);
        deliveries_clear(&deliveries);
        scratch_end(&scratch);
}

TEST(a_file_that_others_can_write_is_not_believed) {
        struct deliveries read = { 0 };
        struct scratch scratch;

        scratch_begin(&scratch);
        scratch_write_bytes(&scratch, PATH_DELIVERIES, LINES, strlen(LINES), 0622);
        expect_int(deliveries_load(scratch.tree, &read), -EPERM);
        expect_int(read.n_lines, 0);
        scratch_end(&scratch);

        scratch_begin(&scratch);
        scratch_write(&scratch, "elsewhere", LINES);
        scratch_link(&scratch, "/elsewhere", PATH_DELIVERIES);
        expect_int(deliveries_load(scratch.tree, &read), -ELOOP);
        scratch_end(&scratch);
}

int main(void) {
        return tap_main();
}
