/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What handovers remember, in which order they go, and that one of a secret is at work at a time. What needs a service manager is in
 * tests/system/32-handover.sh. */

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "handover-memory.h"
#include "handover-plan.h"
#include "handover.h"
#include "paths.h"
#include "scratch.h"
#include "tap.h"

#define INVOCATION "0123456789abcdef0123456789abcdef"
#define SECRET "production/billing"
#define FILE_OF_SECRET "run/keyrota/handover/production:billing"

/* No service is handed anything here. */
int context_audit(const struct context *context, enum audit_event event, const struct audit_record *record) {
        (void) context, (void) event, (void) record;
        return 0;
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

static struct scratch scratch;

static int load(struct handover_memory *memory) {
        handover_memory_clear(memory);
        return handover_memory_load(scratch.tree, SECRET, memory);
}

TEST(notes_are_read_back_as_written) {
        struct handover_memory memory = { 0 };

        scratch_begin(&scratch);
        expect_int(load(&memory), 0);
        expect_int(memory.n_notes, 0);
        expect_int(handover_memory_tried(&memory, "a@x\\x2dy.service", 1000, 7, "", "because of\nthis \x01"), 0);
        expect_int(handover_memory_tried(&memory, "b.service", 1001, UINT64_MAX, INVOCATION, ""), 0);
        expect_int(handover_memory_waits(&memory, "c.service", -5, 0, "waits"), 0);
        expect_int(handover_memory_save(scratch.tree, SECRET, &memory), 0);

        expect_int(load(&memory), 0);
        expect_int(memory.n_notes, 3);
        expect_string(memory.notes[0].unit, "a@x\\x2dy.service");
        expect_int(memory.notes[0].since, 1000);
        expect_int(memory.notes[0].attempts, 1);
        expect_int(memory.notes[0].generation, 7);
        expect_string(memory.notes[0].invocation, "");
        expect_string(memory.notes[0].reason, "because of this  ");
        expect(memory.notes[1].generation == UINT64_MAX);
        expect_string(memory.notes[1].invocation, INVOCATION);
        expect(strlen(memory.notes[1].reason) > 0);
        expect_int(memory.notes[2].since, 0);
        expect_int(memory.notes[2].attempts, 0);
        expect(handover_memory_failed(&memory, "b.service"));
        expect(!handover_memory_failed(&memory, "c.service"));
        expect(!handover_memory_failed(&memory, "d.service"));
        handover_memory_clear(&memory);
        scratch_end(&scratch);
}

TEST(tries_are_counted_from_the_first_one_on) {
        struct handover_memory memory = { 0 };

        for (int64_t now = 1000; now < 1003; now++)
                expect_int(handover_memory_tried(&memory, "a.service", now, (uint64_t) now, "", "in vain"), 0);
        expect_int(memory.n_notes, 1);
        expect_int(memory.notes[0].since, 1000);
        expect_int(memory.notes[0].attempts, 3);
        expect_int(memory.notes[0].generation, 1002);
        expect_int(handover_memory_explain(&memory, "a.service", "no luck"), 0);
        expect_string(memory.notes[0].reason, "no luck");
        expect_int(memory.notes[0].attempts, 3);
        handover_memory_clear(&memory);
}

TEST(waiting_does_not_wipe_out_a_failure_but_a_try_begins_anew) {
        struct handover_memory memory = { 0 };

        expect_int(handover_memory_tried(&memory, "a.service", 1000, 7, "", "failed"), 0);
        expect_int(handover_memory_waits(&memory, "a.service", 2000, 8, "waits"), 0);
        expect_string(memory.notes[0].reason, "failed");
        expect_int(memory.notes[0].since, 1000);
        expect_int(handover_memory_waits(&memory, "b.service", 1000, 7, "waits"), 0);
        expect_int(handover_memory_waits(&memory, "b.service", 2000, 8, "waits on"), 0);
        expect_string(memory.notes[1].reason, "waits on");
        expect_int(memory.notes[1].since, 1000);
        expect_int(handover_memory_tried(&memory, "b.service", 3000, 8, "", "failed"), 0);
        expect_int(memory.notes[1].since, 3000);
        handover_memory_clear(&memory);
}

TEST(what_is_forgotten_is_gone_and_so_is_an_empty_file) {
        struct handover_memory memory = { 0 };
        char path[PATH_MAX];

        scratch_begin(&scratch);
        scratch_path(&scratch, FILE_OF_SECRET, path);
        for (unsigned i = 0; i < 3; i++)
                expect_int(handover_memory_tried(&memory, i == 0 ? "a.service" : i == 1 ? "b.service" : "c.service", 1, 1, "", "x"), 0);
        handover_memory_forget(&memory, "b.service");
        handover_memory_forget(&memory, "b.service");
        expect_int(memory.n_notes, 2);
        expect_string(memory.notes[1].unit, "c.service");
        expect_int(handover_memory_save(scratch.tree, SECRET, &memory), 0);
        expect_int(access(path, F_OK), 0);
        handover_memory_forget(&memory, "a.service");
        handover_memory_forget(&memory, "c.service");
        expect_int(handover_memory_save(scratch.tree, SECRET, &memory), 0);
        expect(access(path, F_OK) < 0);
        expect_int(handover_memory_save(scratch.tree, SECRET, &memory), 0);
        handover_memory_clear(&memory);
        scratch_end(&scratch);
}

TEST(nothing_to_remember_makes_no_folder) {
        char path[PATH_MAX];

        scratch_begin(&scratch);
        scratch_path(&scratch, "run", path);
        expect_int(handover_memory_save(scratch.tree, SECRET, &(struct handover_memory) { 0 }), 0);
        expect(access(path, F_OK) < 0);
        scratch_end(&scratch);
}

TEST(secrets_do_not_share_a_file) {
        static const char *const secrets[] = { "a.b/c", "a/b.c", "a/b", "a-b/c", "a/b-c", "a/b.lock", "a/lock" };
        char *paths[ELEMENTSOF(secrets)] = { 0 }, *lock;

        expect_int(handover_memory_path("a/b", ":lock", &lock), 0);
        for (size_t i = 0; i < ELEMENTSOF(secrets); i++) {
                expect_int(handover_memory_path(secrets[i], "", &paths[i]), 0);
                expect(strcmp(paths[i], lock) != 0);
                expect(!strchr(paths[i] + strlen(PATH_HANDOVER "/"), '/'));
                for (size_t j = 0; j < i; j++)
                        expect(strcmp(paths[i], paths[j]) != 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(secrets); i++)
                free(paths[i]);
        free(lock);
}

TEST(no_path_of_what_is_no_secret) {
        static const char *const secrets[] = { "", "/", "a", "a/", "/a", "../a", "a/../b", "a/b/c", "A/b", "a/b\n", "a:b/c" };
        char *path = NULL;

        for (size_t i = 0; i < ELEMENTSOF(secrets); i++)
                expect_int(handover_memory_path(secrets[i], "", &path), -EINVAL);
        expect(!path);
}

TEST(file_not_in_this_form_is_refused_whole) {
        static const char *const bad[] = {
                "a.service 1 1 7 - x",            "a.service 1 1 7 -\n",           "a.service 1 1 7 - \n",
                "a.service 1 1 7 x\n",            " 1 1 7 - x\n",                  "a.service -1 1 7 - x\n",
                "a.service 01 1 7 - x\n",         "a.service 1 +1 7 - x\n",        "a.service 1 4294967296 7 - x\n",
                "a.service 9223372036854775808 1 7 - x\n", "a.service 1 1 18446744073709551616 - x\n",
                "a.service  1 1 7 - x\n",         "a.service 1 1 7 0123 x\n",      "a.service 1 1 7 0123456789ABCDEF0123456789ABCDEF x\n",
                "a.service 1 1 7 - x\n\n",        "\n",                            "a.service 1 1 7 - x\na.service 1 1 7 - y\n",
                "a.service 1 1 7 - x\x01\n",      "a.service 1 1 7 - x\nb.service\n",
        };
        struct handover_memory memory = { 0 };

        scratch_begin(&scratch);
        scratch_write(&scratch, FILE_OF_SECRET, "a.service 1 1 7 - x\nb.service 0 0 0 " INVOCATION " y z\n");
        expect_int(load(&memory), 0);
        expect_int(memory.n_notes, 2);
        expect_string(memory.notes[1].reason, "y z");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                scratch_write(&scratch, FILE_OF_SECRET, bad[i]);
                expect_int(load(&memory), -EBADMSG);
                expect_int(memory.n_notes, 0);
        }
        scratch_write_bytes(&scratch, FILE_OF_SECRET, "a.service 1 1 7 - x\0\n", 21, 0600);
        expect_int(load(&memory), -EBADMSG);
        expect_int(handover_pause(scratch.tree, SECRET, 1000000), 5);
        expect(!handover_problem(scratch.tree, SECRET, "a.service"));
        scratch_end(&scratch);
}

TEST(endless_reasons_are_cut) {
        struct handover_memory memory = { 0 };
        char reason[10001];

        memset(reason, 'x', sizeof(reason) - 1);
        reason[sizeof(reason) - 1] = '\0';
        scratch_begin(&scratch);
        expect_int(handover_memory_tried(&memory, "a.service", 1, 1, "", reason), 0);
        expect_int(handover_memory_save(scratch.tree, SECRET, &memory), 0);
        expect_int(load(&memory), 0);
        expect(strlen(memory.notes[0].reason) < 1000);
        handover_memory_clear(&memory);
        scratch_end(&scratch);
}

TEST(problem_is_told_of_the_unit_that_has_it) {
        struct handover_memory memory = { 0 };
        char *problem;

        scratch_begin(&scratch);
        expect(!handover_problem(scratch.tree, SECRET, "a.service"));
        expect_int(handover_memory_tried(&memory, "a.service", 1, 1, "", "could not be restarted"), 0);
        expect_int(handover_memory_save(scratch.tree, SECRET, &memory), 0);
        problem = handover_problem(scratch.tree, SECRET, "a.service");
        expect_string(problem, "could not be restarted");
        free(problem);
        expect(!handover_problem(scratch.tree, SECRET, "b.service"));
        expect(!handover_problem(scratch.tree, "staging/billing", "a.service"));
        handover_memory_clear(&memory);
        scratch_end(&scratch);
}

/* ---- pauses ---------------------------------------------------------------------------------------------- */

TEST(pauses_double_from_5_seconds_to_an_hour) {
        static const int64_t wanted[] = { 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600 };
        int64_t now = 1700000000;

        scratch_begin(&scratch);
        scratch_write(&scratch, FILE_OF_SECRET, "a.service 1700000000 1 7 - x\n");
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                int64_t pause = handover_pause(scratch.tree, SECRET, now);

                expect_int(pause, wanted[i]);
                now += pause;
        }
        scratch_end(&scratch);
}

TEST(pause_is_that_of_the_oldest_try_whatever_the_clock_says) {
        scratch_begin(&scratch);
        expect_int(handover_pause(scratch.tree, SECRET, 1700000000), 5);
        scratch_write(&scratch, FILE_OF_SECRET, "a.service 1700000000 1 7 - x\nb.service 1699999980 0 7 - x\n");
        expect_int(handover_pause(scratch.tree, SECRET, 1700000000), 20);
        expect_int(handover_pause(scratch.tree, SECRET, 1500000000), 5);
        expect_int(handover_pause(scratch.tree, SECRET, -1), 5);
        expect_int(handover_pause(scratch.tree, SECRET, INT64_MIN), 5);
        expect_int(handover_pause(scratch.tree, SECRET, INT64_MAX), 3600);
        scratch_write(&scratch, FILE_OF_SECRET, "a.service 9223372036854775807 1 7 - x\n");
        expect_int(handover_pause(scratch.tree, SECRET, 1700000000), 5);
        scratch_end(&scratch);
}

/* Else it would be tried every 5 seconds until the clock is where it was. */
TEST(time_of_a_future_that_the_clock_has_left_begins_anew) {
        struct handover_memory memory = { 0 };

        expect_int(handover_memory_tried(&memory, "a.service", 2000000000, 7, "", "x"), 0);
        expect_int(handover_memory_tried(&memory, "a.service", 1700000000, 7, "", "x"), 0);
        expect_int(memory.notes[0].since, 1700000000);
        expect_int(handover_memory_waits(&memory, "a.service", 1600000000, 7, "x"), 0);
        expect_int(memory.notes[0].since, 1600000000);
        handover_memory_clear(&memory);
}

/* ---- order ----------------------------------------------------------------------------------------------- */

/* The plan as text: "a b|c|d": groups in their order. */
static const char *plan(const struct policy *policy, const struct keyset *keyset, struct consumer *items, size_t n) {
        static char text[4096];
        struct handover_step *steps = NULL;
        size_t n_steps = 0;

        text[0] = '\0';
        if (handover_plan(policy, keyset, &(struct consumers) { .items = items, .n_items = n }, &steps, &n_steps) < 0)
                return "failed";
        for (size_t i = 0; i < n_steps; i++)
                (void) snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s%s",
                                i == 0 ? "" : steps[i].group == steps[i - 1].group ? " " : "|", steps[i].consumer->unit,
                                steps[i].together ? "*" : "");
        free(steps);
        return text;
}

#define UNIT(index, name, generation) { .unit = (char *) name, .delivery = &deliveries[index], .running = true, .loaded = generation, .wanted = wanted }
#define DOWN(index, name) { .unit = (char *) name, .delivery = &deliveries[index], .failed = true, .wanted = wanted }

TEST(verifiers_go_before_signers_and_instances_one_after_another) {
        struct delivery deliveries[] = {
                { .unit = (char *) "issuer.service", .credential = (char *) "k", .use = USE_SIGN, .format = FORMAT_PEM },
                { .unit = (char *) "gateway@.service", .credential = (char *) "k", .use = USE_VERIFY, .format = FORMAT_JWKS, .max_unavailable = 1 },
                { .unit = (char *) "api.service", .use = USE_VERIFY },
        };
        const struct policy policy = { .algorithm = ALGORITHM_ES256, .deliveries = deliveries, .n_deliveries = 3 };
        const struct keyset keyset = { .generation = 7, .verify_generation = 6, .sign_generation = 7 };
        uint64_t wanted = 6;
        struct consumer items[] = {
                UNIT(1, "gateway@2.service", 5), UNIT(1, "gateway@1.service", 5), UNIT(1, "gateway@3.service", 6),
                UNIT(2, "api.service", 0), UNIT(0, "issuer.service", 6),
        };

        items[4].wanted = 7;
        expect_string(plan(&policy, &keyset, items, 5), "gateway@1.service|gateway@2.service|api.service|issuer.service");
        deliveries[1].max_unavailable = 2;
        items[2].loaded = 5;
        expect_string(plan(&policy, &keyset, items, 5), "gateway@1.service gateway@2.service|gateway@3.service|api.service|issuer.service");
        expect_string(plan(&policy, &keyset, items, 0), "");
}

/* A group never has more of a template than may be down, those that are down counted. */
TEST(instances_that_are_down_come_first) {
        struct delivery deliveries[] = {
                { .unit = (char *) "gateway@.service", .credential = (char *) "k", .use = USE_VERIFY, .format = FORMAT_JWKS, .max_unavailable = 2 },
        };
        const struct policy policy = { .algorithm = ALGORITHM_ES256, .deliveries = deliveries, .n_deliveries = 1 };
        const struct keyset keyset = { .generation = 7, .verify_generation = 6, .sign_generation = 7 };
        uint64_t wanted = 6;
        struct consumer items[] = {
                UNIT(0, "gateway@1.service", 5), UNIT(0, "gateway@2.service", 5), DOWN(0, "gateway@3.service"), UNIT(0, "gateway@4.service", 5),
        };

        expect_string(plan(&policy, &keyset, items, 4), "gateway@3.service gateway@1.service|gateway@2.service gateway@4.service");
}

/* HMAC in hex: one key, and a verifier that can use no other. */
TEST(those_that_must_change_at_once_are_one_group_and_the_last) {
        struct delivery deliveries[] = {
                { .unit = (char *) "issuer.service", .credential = (char *) "k", .use = USE_SIGN, .format = FORMAT_HEX },
                { .unit = (char *) "api@.service", .credential = (char *) "k", .use = USE_VERIFY, .format = FORMAT_HEX, .max_unavailable = 1 },
                { .unit = (char *) "set.service", .credential = (char *) "k", .use = USE_VERIFY, .format = FORMAT_JWKS },
        };
        const struct policy policy = { .algorithm = ALGORITHM_HS256, .deliveries = deliveries, .n_deliveries = 3 };
        const struct keyset keyset = { .generation = 7, .verify_generation = 6, .sign_generation = 7 };
        uint64_t wanted = 7;
        struct consumer items[] = {
                UNIT(2, "set.service", 5), UNIT(0, "issuer.service", 6), UNIT(1, "api@2.service", 6), UNIT(1, "api@1.service", 0),
        };

        expect_string(plan(&policy, &keyset, items, 4), "set.service|issuer.service* api@1.service* api@2.service*");
}

/* A signer with the whole set waits for those that only verify. */
TEST(signer_that_holds_the_set_comes_after_the_verifiers) {
        struct delivery deliveries[] = {
                { .unit = (char *) "issuer.service", .credential = (char *) "k", .use = USE_SIGN, .format = FORMAT_JWKS },
                { .unit = (char *) "set.service", .credential = (char *) "k", .use = USE_VERIFY, .format = FORMAT_JWKS },
        };
        const struct policy policy = { .algorithm = ALGORITHM_HS256, .deliveries = deliveries, .n_deliveries = 2 };
        const struct keyset keyset = { .generation = 7, .verify_generation = 7, .sign_generation = 7 };
        uint64_t wanted = 7;
        struct consumer items[] = { UNIT(0, "issuer.service", 5), UNIT(1, "set.service", 5) };

        expect_string(plan(&policy, &keyset, items, 2), "set.service|issuer.service");
}

/* ---- the lock -------------------------------------------------------------------------------------------- */

/* A process that holds the lock until it is killed; *ret_reader ends when it has it. */
static pid_t hold(const char *name) {
        int ends[2];
        char byte;
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -1;
        pid = fork();
        if (pid == 0) {
                int fd;

                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (handover_lock(scratch.tree, "production", name, false, &fd, NULL) < 0 || write(ends[1], "x", 1) < 0)
                        _exit(1);
                for (;;)
                        (void) pause();
        }
        (void) close(ends[1]);
        if (read(ends[0], &byte, 1) != 1)
                pid = -1;
        (void) close(ends[0]);
        return pid;
}

TEST(second_handover_is_told_who_is_at_work) {
        _cleanup_free_ char *reason = NULL;
        char wanted[128];
        int fd = -1;
        pid_t pid;

        scratch_begin(&scratch);
        pid = hold("billing");
        expect(pid > 0);
        expect_int(handover_lock(scratch.tree, "production", "billing", false, &fd, &reason), -EAGAIN);
        (void) snprintf(wanted, sizeof(wanted), "process %d is handing production/billing over to its services; try again when it has ended", (int) pid);
        expect_string(reason, wanted);
        expect_int(handover_lock(scratch.tree, "production", "other", false, &fd, &reason), 0);
        (void) close(fd);

        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        expect_int(handover_lock(scratch.tree, "production", "billing", false, &fd, &reason), 0);
        (void) close(fd);
        scratch_end(&scratch);
}

TEST(within_one_process_it_holds_too) {
        _cleanup_free_ char *reason = NULL;
        int first = -1, second = -1;

        scratch_begin(&scratch);
        expect_int(handover_lock(scratch.tree, "production", "billing", false, &first, &reason), 0);
        expect_int(handover_lock(scratch.tree, "production", "billing", false, &second, &reason), -EAGAIN);
        (void) close(first);
        expect_int(handover_lock(scratch.tree, "production", "billing", false, &second, &reason), 0);
        (void) close(second);
        scratch_end(&scratch);
}

TEST(waiting_ends_when_the_other_does) {
        int fd = -1, status;
        pid_t pid, waiter;

        scratch_begin(&scratch);
        pid = hold("billing");
        expect(pid > 0);
        waiter = fork();
        if (waiter == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(handover_lock(scratch.tree, "production", "billing", true, &fd, NULL) < 0);
        }
        expect_int(waitpid(waiter, &status, WNOHANG), 0);
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        expect_int(waitpid(waiter, &status, 0), waiter);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        scratch_end(&scratch);
}

TEST(lock_of_what_is_no_name_is_refused) {
        int fd = -1;

        scratch_begin(&scratch);
        expect_int(handover_lock(scratch.tree, "production", "../x", false, &fd, NULL), -EINVAL);
        expect_int(fd, -1);
        scratch_end(&scratch);
}

int main(void) {
        return tap_main();
}
