/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is locked, in its file: what is saved is loaded, and what is no such file locks every secret. */

#include <signal.h>
#include <sys/wait.h>

#include "locks.h"
#include "paths.h"
#include "scratch.h"
#include "tap.h"

TEST(what_is_saved_is_loaded) {
        struct scratch scratch;
        struct locks locks = { .n = 0 }, loaded;
        char *reason = NULL;

        scratch_begin(&scratch);
        expect_int(locks_add(&locks, LOCK_USER, "alice"), 1);
        expect_int(locks_add(&locks, LOCK_SECRET, "billing"), 1);
        expect_int(locks_add(&locks, LOCK_SECRET, "billing"), 0);
        expect_int(locks_save(scratch.tree, &locks), 0);
        expect_int(locks_load(scratch.tree, &loaded, &reason), 0);
        expect_int(loaded.n, 2);
        expect(!loaded.everything);
        expect(locks_has(&loaded, LOCK_USER, "alice") && locks_has(&loaded, LOCK_SECRET, "billing"));
        expect(!locks_has(&loaded, LOCK_SECRET, "alice") && !locks_has(&loaded, LOCK_USER, "billing"));
        locks_clear(&loaded);
        locks_clear(&locks);
        scratch_end(&scratch);
}

TEST(without_a_file_nothing_is_locked) {
        struct scratch scratch;
        struct locks locks;
        char *reason = NULL;

        scratch_begin(&scratch);
        expect_int(locks_load(scratch.tree, &locks, &reason), 0);
        expect_int(locks.n, 0);
        expect(!locks.everything);
        scratch_end(&scratch);
}

TEST(a_file_with_a_second_link_locks_every_secret) {
        struct scratch scratch;
        char path[PATH_MAX], other[PATH_MAX];
        struct locks locks;
        char *reason = NULL;

        scratch_begin(&scratch);
        scratch_write_bytes(&scratch, PATH_LOCKED, "user alice\n", 11, 0600);
        scratch_path(&scratch, PATH_LOCKED, path);
        scratch_path(&scratch, "/other", other);
        expect_int(link(path, other), 0);
        expect_int(locks_load(scratch.tree, &locks, &reason), -EPERM);
        expect(locks.everything);
        expect(reason && strstr(reason, "with one link"));
        free(reason);
        locks_clear(&locks);
        scratch_end(&scratch);
}

/* As one keyrota lock does while another, or keyrota status, reads: what was opened has no link any more when it is looked at. */
TEST(a_file_that_is_replaced_meanwhile_is_read_as_it_was) {
        struct scratch scratch;
        char path[PATH_MAX], next[PATH_MAX];
        unsigned n_failed = 0;
        pid_t child;

        scratch_begin(&scratch);
        scratch_path(&scratch, PATH_LOCKED, path);
        scratch_write_bytes(&scratch, PATH_LOCKED, "user alice\n", 11, 0600);
        scratch_path(&scratch, "/next", next);
        child = fork();
        expect(child >= 0);
        while (child == 0) {
                FILE *stream = fopen(next, "we");

                if (!stream || fputs("user alice\n", stream) < 0 || fclose(stream) != 0 || chmod(next, 0600) < 0 || rename(next, path) < 0)
                        _exit(1);
        }
        for (unsigned i = 0; i < 5000 && n_failed == 0; i++) {
                struct locks locks;
                char *reason = NULL;

                n_failed += locks_load(scratch.tree, &locks, &reason) < 0 || !locks_has(&locks, LOCK_USER, "alice");
                free(reason);
                locks_clear(&locks);
        }
        expect_int(kill(child, SIGKILL), 0);
        expect_int(waitpid(child, NULL, 0), child);
        expect_int(n_failed, 0);
        scratch_end(&scratch);
}

int main(void) {
        return tap_main();
}
