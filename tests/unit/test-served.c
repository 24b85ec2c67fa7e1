/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of what was served: its form, how one record follows another, what is refused, and the sweep.
 */

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "scratch.h"
#include "served.h"
#include "tap.h"

#define UNIT "billing.service"
#define ONE "0123456789abcdef0123456789abcdef"
#define TWO "fedcba9876543210fedcba9876543210"
#define SECRET "production/billing"

static struct scratch scratch;
static int folder = -EBADF;

static void end(void) {
        if (folder >= 0)
                (void) close(folder);
        folder = -EBADF;
        if (scratch.tree)
                scratch_end(&scratch);
}

static void begin(void) {
        end();
        scratch_begin(&scratch);
        folder = open(scratch.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
                scratch_fail("cannot open", scratch.root);
}

/* The bytes of a file, or "". */
static const char *text_of(const char *path) {
        static char text[1024];
        _cleanup_close_ int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

        text[n > 0 ? n : 0] = '\0';
        return text;
}

static bool exists(const char *path) {
        return faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static mode_t mode_of(const char *path) {
        struct stat status;

        return fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : status.st_mode & 07777;
}

static int write_one(uint64_t generation) {
        return served_write(folder, UNIT, "jwt.key", SECRET, ONE, generation);
}

static int read_one(struct served *ret) {
        return served_read(folder, UNIT, "jwt.key", ret);
}

TEST(a_record_is_one_line_in_a_file_of_its_own_for_root_alone) {
        struct served served;
        mode_t mask = umask(022);

        begin();
        expect_int(write_one(7), 0);
        (void) umask(mask);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 7\n");
        expect_int(mode_of(UNIT), 0700);
        expect_int(mode_of(UNIT "/jwt.key"), 0600);
        expect_int(read_one(&served), 0);
        expect_string(served.secret, SECRET);
        expect_string(served.invocation, ONE);
        expect_int(served.first, 7);
        expect_int(served.last, 7);
}

TEST(what_is_not_on_record_is_not_there) {
        struct served served;

        begin();
        expect_int(read_one(&served), -ENOENT);
        expect_int(write_one(7), 0);
        expect_int(served_read(folder, UNIT, "other.key", &served), -ENOENT);
        expect_int(served_read(folder, "other.service", "jwt.key", &served), -ENOENT);
}

TEST(a_later_generation_of_the_same_start_moves_last_and_not_first) {
        begin();
        expect_int(write_one(7), 0);
        expect_int(write_one(9), 0);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 9\n");
        expect_int(write_one(9), 0);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 9\n");
}

TEST(an_older_generation_of_the_same_start_moves_first_too) {
        begin();
        expect_int(write_one(7), 0);
        expect_int(write_one(5), 0);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 5 5\n");
        expect_int(write_one(0), 0);
        expect_int(write_one(7), 0);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 0 7\n");
}

TEST(another_start_or_secret_begins_anew) {
        begin();
        expect_int(write_one(7), 0);
        expect_int(served_write(folder, UNIT, "jwt.key", SECRET, TWO, 9), 0);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " TWO " 9 9\n");
        expect_int(served_write(folder, UNIT, "jwt.key", "production/other", TWO, 11), 0);
        expect_string(text_of(UNIT "/jwt.key"), "production/other " TWO " 11 11\n");
}

TEST(a_start_that_is_not_known_is_no_evidence_and_makes_the_next_look_no_newer) {
        struct served served;

        begin();
        expect_int(served_write(folder, UNIT, "jwt.key", SECRET, "", 7), 0);
        expect_int(read_one(&served), -ENOENT);
        expect_int(write_one(9), 0); /* of the same start, for all that is known */
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 9\n");

        expect_int(served_write(folder, UNIT, "jwt.key", SECRET, "", 11), 0);
        expect_int(read_one(&served), -ENOENT);
        expect_int(write_one(12), 0);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 12\n");

        expect_int(served_write(folder, UNIT, "jwt.key", "production/other", "", 3), 0);
        expect_int(write_one(12), 0);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 12 12\n");
}

TEST(units_instances_credentials_and_public_sets_are_apart) {
        struct served served;

        begin();
        expect_int(served_write(folder, "gateway@eu\\x2dwest.service", "a", SECRET, ONE, 1), 0);
        expect_int(served_write(folder, "gateway@.0.service", "a", SECRET, ONE, 2), 0);
        expect_int(served_write(folder, UNIT, "a", SECRET, ONE, 3), 0);
        expect_int(served_write(folder, UNIT, "jwks:a", SECRET, TWO, 4), 0);
        expect_int(served_read(folder, "gateway@eu\\x2dwest.service", "a", &served), 0);
        expect_int(served.first, 1);
        expect_int(served_read(folder, UNIT, "a", &served), 0);
        expect_int(served.first, 3);
        expect_int(served_read(folder, UNIT, "jwks:a", &served), 0);
        expect_int(served.first, 4);
        expect_string(served.invocation, TWO);
}

TEST(the_largest_names_and_numbers_fit) {
        char secret[SERVED_SECRET_MAX], unit[256], credential[255];
        struct served served;

        begin();
        memset(secret, 's', sizeof(secret) - 1);
        secret[64] = '/';
        secret[sizeof(secret) - 1] = '\0';
        memset(unit, 'u', sizeof(unit) - 1);
        strcpy(unit + sizeof(unit) - sizeof(".service"), ".service");
        memset(credential, 'c', sizeof(credential) - 1);
        credential[sizeof(credential) - 1] = '\0';
        expect_int(served_write(folder, unit, credential, secret, ONE, UINT64_MAX - 1), 0);
        expect_int(served_write(folder, unit, credential, secret, ONE, UINT64_MAX), 0);
        expect_int(served_read(folder, unit, credential, &served), 0);
        expect_string(served.secret, secret);
        expect(served.first == UINT64_MAX - 1 && served.last == UINT64_MAX);
}

TEST(names_that_are_none_are_refused_and_make_nothing) {
        static const char *const units[] = { "", ".", "..", "../x.service", "a/b.service", "x", "x.socket", ".service",
                                             "gateway@.service", "@x.service", "#x.service", "x y.service", "x\n.service" };
        static const char *const credentials[] = { "", ".", "..", "a/b", "../a", "#a", "a:b", "a b", "a\n",
                                                   "jwks:", "jwks:.", "jwks:..", "jwks:A", "jwks:a/b", "jwks:jwks:a" };
        static const char *const secrets[] = { "", "-", "billing", "/billing", "production/", "production/billing/verify",
                                               "production/bill ing", "Production/billing", "../billing", "production/.." };
        static const char *const invocations[] = { "-", "0123", ONE "0", "0123456789ABCDEF0123456789ABCDEF",
                                                   "0123456789abcdef 123456789abcdef" };
        struct served served;

        begin();
        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                expect_int(served_write(folder, units[i], "a", SECRET, ONE, 1), -EINVAL);
                expect_int(served_read(folder, units[i], "a", &served), -EINVAL);
        }
        for (size_t i = 0; i < ELEMENTSOF(credentials); i++) {
                expect_int(served_write(folder, UNIT, credentials[i], SECRET, ONE, 1), -EINVAL);
                expect_int(served_read(folder, UNIT, credentials[i], &served), -EINVAL);
        }
        for (size_t i = 0; i < ELEMENTSOF(secrets); i++)
                expect_int(served_write(folder, UNIT, "a", secrets[i], ONE, 1), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(invocations); i++)
                expect_int(served_write(folder, UNIT, "a", SECRET, invocations[i], 1), -EINVAL);
        expect(!exists(UNIT));
}

TEST(a_torn_or_foreign_file_is_no_record) {
        static const char *const texts[] = {
                "",
                "\n",
                SECRET,
                SECRET " " ONE " 7",
                SECRET " " ONE " 7\n",
                SECRET " " ONE " 7 9",
                SECRET " " ONE " 7 9\n\n",
                SECRET " " ONE " 7 9\n" SECRET " " ONE " 7 9\n",
                SECRET " " ONE " 7 9 \n",
                SECRET " " ONE " 7 9 11\n",
                SECRET " " ONE "  7 9\n",
                " " SECRET " " ONE " 7 9\n",
                SECRET " " ONE " 9 7\n",
                SECRET " " ONE " -7 9\n",
                SECRET " " ONE " +7 9\n",
                SECRET " " ONE " 07 9\n",
                SECRET " " ONE " 7 0x9\n",
                SECRET " " ONE " 7 18446744073709551616\n",
                SECRET " " ONE "0 7 9\n",
                SECRET " 0123 7 9\n",
                SECRET "  7 9\n",
                SECRET " -- 7 9\n",
                "production " ONE " 7 9\n",
                "production/ " ONE " 7 9\n",
                "a/b/c " ONE " 7 9\n",
                "- " ONE " 7 9\n",
                SECRET " 0123456789ABCDEF0123456789ABCDEF 7 9\n",
                SECRET "\t" ONE "\t7\t9\n",
        };
        struct served served = { .first = 42 };
        char large[4096];

        begin();
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                scratch_write_bytes(&scratch, UNIT "/jwt.key", texts[i], strlen(texts[i]), 0600);
                expect_int(read_one(&served), -EBADMSG);
        }
        scratch_write_bytes(&scratch, UNIT "/jwt.key", SECRET " " ONE " 7 9\n\0", sizeof(SECRET " " ONE " 7 9\n"), 0600);
        expect_int(read_one(&served), -EBADMSG);
        memset(large, 'x', sizeof(large));
        scratch_write_bytes(&scratch, UNIT "/jwt.key", large, sizeof(large), 0600);
        expect_int(read_one(&served), -EBADMSG);
        expect_int(served.first, 42);

        /* as it should be; and a file that others can read or write is not ours */
        scratch_write_bytes(&scratch, UNIT "/jwt.key", SECRET " " ONE " 7 9\n", strlen(SECRET " " ONE " 7 9\n"), 0600);
        expect_int(read_one(&served), 0);
        scratch_write(&scratch, UNIT "/jwt.key", SECRET " " ONE " 7 9\n");
        expect_int(read_one(&served), -EBADMSG);
}

TEST(every_part_of_a_record_alone_is_no_record) {
        static const char line[] = "p/b " ONE " 7 9\n";
        struct served served;

        begin();
        for (size_t n = 0; n < strlen(line); n++) {
                scratch_write_bytes(&scratch, UNIT "/jwt.key", line, n, 0600);
                expect_int(read_one(&served), -EBADMSG);
        }
        scratch_write_bytes(&scratch, UNIT "/jwt.key", line, strlen(line), 0600);
        expect_int(read_one(&served), 0);
}

TEST(links_folders_and_pipes_are_no_records) {
        struct served served;
        char path[PATH_MAX];

        begin();
        scratch_write_bytes(&scratch, "elsewhere/jwt.key", SECRET " " ONE " 7 9\n", strlen(SECRET " " ONE " 7 9\n"), 0600);
        scratch_link(&scratch, "../elsewhere/jwt.key", UNIT "/jwt.key");
        expect_int(read_one(&served), -EBADMSG);
        scratch_link(&scratch, "elsewhere", "linked.service");
        expect_int(served_read(folder, "linked.service", "jwt.key", &served), -EBADMSG);
        scratch_write(&scratch, "file.service", "");
        expect_int(served_read(folder, "file.service", "jwt.key", &served), -EBADMSG);
        expect_int(mkdirat(folder, UNIT "/folder", 0700), 0);
        expect_int(served_read(folder, UNIT, "folder", &served), -EBADMSG);
        scratch_path(&scratch, UNIT "/pipe", path);
        expect_int(mkfifo(path, 0600), 0);
        expect_int(served_read(folder, UNIT, "pipe", &served), -EBADMSG);
}

TEST(a_foreign_file_is_replaced_and_a_link_not_followed) {
        begin();
        scratch_write_bytes(&scratch, "elsewhere", "untouched", 9, 0600);
        scratch_link(&scratch, "../elsewhere", UNIT "/jwt.key");
        expect_int(write_one(7), 0);
        expect_string(text_of("elsewhere"), "untouched");
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 7\n");

        expect_int(mkdirat(folder, "target", 0700), 0);
        scratch_link(&scratch, "target", "linked.service");
        expect(served_write(folder, "linked.service", "jwt.key", SECRET, ONE, 7) < 0);
        expect(!exists("target/jwt.key") && !exists("target/#jwt.key"));
        expect_int(mkdirat(folder, UNIT "/folder", 0700), 0);
        expect_int(served_write(folder, UNIT, "folder", SECRET, ONE, 7), -EISDIR);
        expect(!exists(UNIT "/#folder"));
}

TEST(what_a_killed_writer_left_is_in_nobodys_way) {
        begin();
        scratch_write_bytes(&scratch, "elsewhere", "untouched", 9, 0600);
        scratch_write_bytes(&scratch, UNIT "/#jwt.key", "half", 4, 0600);
        expect_int(write_one(7), 0);
        expect(!exists(UNIT "/#jwt.key"));
        scratch_link(&scratch, "../elsewhere", UNIT "/#jwt.key");
        expect_int(write_one(9), 0);
        expect_string(text_of("elsewhere"), "untouched");
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 9\n");
        expect_int(mode_of(UNIT "/jwt.key"), 0600);
}

TEST(what_cannot_be_written_leaves_the_old_record) {
        if (geteuid() == 0)
                skip("root may write anywhere");
        begin();
        expect_int(write_one(7), 0);
        expect_int(fchmodat(folder, UNIT, 0500, 0), 0);
        expect_int(write_one(9), -EACCES);
        expect_string(text_of(UNIT "/jwt.key"), SECRET " " ONE " 7 7\n");
        expect_int(fchmodat(folder, UNIT, 0700, 0), 0);
}

/* Wants those whose names begin with the letter that userdata points at. */
static bool wanted_by_letter(const char *unit, const char *credential, void *userdata) {
        return unit[0] == *(const char *) userdata && credential[0] != 'x';
}

TEST(the_sweep_takes_what_is_not_wanted_and_nothing_else) {
        begin();
        expect_int(served_write(folder, "keep.service", "a", SECRET, ONE, 1), 0);
        expect_int(served_write(folder, "keep.service", "x", SECRET, ONE, 1), 0);
        expect_int(served_write(folder, "keep@one.service", "jwks:a", SECRET, ONE, 1), 0);
        expect_int(served_write(folder, "gone.service", "a", SECRET, ONE, 1), 0);
        expect_int(served_write(folder, "gone.service", "jwks:a", SECRET, ONE, 1), 0);
        expect_int(served_write(folder, "gone@one.service", "a", SECRET, ONE, 1), 0);
        scratch_write(&scratch, "keep.service/#a", "being written");
        scratch_write(&scratch, "gone.service/#b", "left over");
        scratch_write(&scratch, "gone-too.service/foreign name", "");
        scratch_write(&scratch, "#unrecorded", "not a unit");
        scratch_write(&scratch, "file.service", "");
        scratch_link(&scratch, "keep.service", "link.service");
        for (unsigned i = 0; i < 2; i++) { /* the folder can be listed again */
                expect_int(served_sweep(folder, wanted_by_letter, (char[]) { "k" }), 0);
                expect(exists("keep.service/a") && exists("keep.service/#a") && exists("keep@one.service/jwks:a"));
                expect(!exists("keep.service/x") && !exists("gone.service") && !exists("gone@one.service"));
                expect(exists("gone-too.service/foreign name") && exists("#unrecorded") && exists("file.service") &&
                       exists("link.service"));
        }
        expect_int(served_write(folder, "gone.service", "a", SECRET, ONE, 1), 0);
        expect_int(served_sweep(folder, wanted_by_letter, (char[]) { "-" }), 0);
        expect(!exists("keep.service") && !exists("gone.service") && !exists("keep@one.service"));
}

TEST(a_sweep_that_fails_somewhere_goes_on_and_says_so) {
        begin();
        expect_int(served_write(folder, "a.service", "a", SECRET, ONE, 1), 0);
        expect_int(served_write(folder, "c.service", "a", SECRET, ONE, 1), 0);
        expect_int(mkdirat(folder, "b.service", 0700), 0);
        expect_int(mkdirat(folder, "b.service/a", 0700), 0);
        expect_int(served_sweep(folder, wanted_by_letter, (char[]) { "-" }), -EISDIR);
        expect(!exists("a.service") && !exists("c.service") && exists("b.service/a"));
}

#define SWEEPS 8 /* beside each write; they take its folder away less often than it is made again, however they meet */

/* Sweeps as often for each byte that comes, and answers with one. */
static _Noreturn void sweep_on_request(int fd) {
        char byte;

        while (recv(fd, &byte, 1, 0) == 1) {
                for (unsigned i = 0; i < SWEEPS; i++)
                        if (served_sweep(folder, wanted_by_letter, (char[]) { "k" }) < 0)
                                _exit(EXIT_FAILURE);
                if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
                        _exit(EXIT_FAILURE);
        }
        _exit(EXIT_SUCCESS);
}

TEST(writers_and_sweeps_at_once_lose_no_record) {
        pid_t sweeper;
        int fds[2], status = -1, r = 0;

        begin();
        expect_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        sweeper = fork();
        if (sweeper == 0) {
                (void) close(fds[0]);
                sweep_on_request(fds[1]);
        }
        (void) close(fds[1]);
        for (uint64_t i = 1; i <= 2000 && r == 0; i++) {
                char byte = 0;

                if (send(fds[0], &byte, 1, MSG_NOSIGNAL) != 1)
                        break;
                r = served_write(folder, "gone.service", "a", SECRET, ONE, i);
                if (r == 0)
                        r = served_write(folder, "keep.service", "a", SECRET, ONE, i);
                if (recv(fds[0], &byte, 1, 0) != 1)
                        break;
        }
        (void) close(fds[0]);
        (void) waitpid(sweeper, &status, 0);
        expect_int(r, 0);
        expect_int(status, 0);
        expect_string(text_of("keep.service/a"), SECRET " " ONE " 1 2000\n");
}

int main(void) {
        int r = tap_main();

        end();
        return r;
}
