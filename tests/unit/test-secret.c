/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The allocator of secret memory, and the hardening of process and threads, looked at from outside through
 * /proc. */

#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "secret.h"
#include "tap.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN true
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN false
#endif

/* AddressSanitizer makes mlock(2) do nothing. */
#define LOCKED (UNDER_ASAN ? "" : "lo")

static const char pattern[] = "0123456789abcdefghijklmnopqrstuv";

/* Has the mapping that address lies in this flag (see VmFlags in proc(5))? "" is any mapping. */
static bool mapping_has(const void *address, const char *flag) {
        FILE *smaps = fopen("/proc/self/smaps", "re");
        char line[512];
        bool inside = false, has = false;

        if (!smaps)
                return false;
        while (fgets(line, sizeof(line), smaps)) {
                uintptr_t start, end;

                if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
                        inside = (uintptr_t) address >= start && (uintptr_t) address < end;
                else if (inside && strncmp(line, "VmFlags:", 8) == 0)
                        has = strstr(line, flag) != NULL;
        }
        (void) fclose(smaps);
        return has;
}

static bool all_zero(const volatile uint8_t *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

/* Runs check() in a child; its exit status, or 128 + the signal that ended it. */
static int in_child(int (*check)(void *), void *argument) {
        int status;
        pid_t pid = fork();

        if (pid == 0)
                _exit(check(argument));
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                return -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(new_buffer_is_zero_and_ends_with_a_nul) {
        struct secret *secret = NULL;

        expect_int(secret_new(33, &secret), 0);
        expect_int(secret->size, 33);
        expect(all_zero(secret->data, 34));
        secret_free(secret);

        expect_int(secret_new_from("text", 4, &secret), 0);
        expect_int(secret->size, 4);
        expect_string((const char *) secret->data, "text");
        secret_free(secret);

        expect_int(secret_new(0, &secret), 0);
        expect_int(secret->data[0], 0);
        secret_free(secret);
        secret_free(NULL);
        expect_int(secret_bytes_in_use(), 0);
}

TEST(buffers_are_compared_by_size_and_bytes) {
        struct secret *a = NULL, *b = NULL, *c = NULL, *d = NULL;

        expect_int(secret_new_from("same", 4, &a), 0);
        expect_int(secret_new_from("same", 4, &b), 0);
        expect_int(secret_new_from("sane", 4, &c), 0);
        expect_int(secret_new_from("same!", 5, &d), 0);
        expect(secret_equal(a, b));
        expect(!secret_equal(a, c));
        expect(!secret_equal(a, d));
        secret_free(a);
        secret_free(b);
        secret_free(c);
        secret_free(d);
}

TEST(memory_is_locked_and_in_no_core_image_or_child) {
        static const size_t sizes[] = { 1, 1000, 100000 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                void *memory = secret_malloc(sizes[i]);

                expect(memory);
                expect(mapping_has(memory, LOCKED));
                expect(mapping_has(memory, "dd"));
                expect(mapping_has(memory, "wf"));
                secret_release(memory);
        }
}

static int is_zero_here(void *memory) {
        return all_zero(memory, sizeof(pattern)) ? 0 : 1;
}

TEST(child_finds_zeros) {
        static char ordinary[sizeof(pattern)];
        void *small = secret_malloc(sizeof(pattern)), *large = secret_malloc(100000);

        expect(small && large);
        memcpy(small, pattern, sizeof(pattern));
        memcpy(large, pattern, sizeof(pattern));
        memcpy(ordinary, pattern, sizeof(pattern));
        expect_int(in_child(is_zero_here, ordinary), 1);
        expect_int(in_child(is_zero_here, small), 0);
        expect_int(in_child(is_zero_here, large), 0);
        expect(memcmp(small, pattern, sizeof(pattern)) == 0);
        secret_release(small);
        secret_release(large);
}

TEST(release_wipes) {
        uint8_t *memory = secret_malloc(sizeof(pattern));
        uintptr_t address = (uintptr_t) memory;

        if (UNDER_ASAN) {
                secret_release(memory);
                skip("released memory is poisoned under AddressSanitizer");
        }
        expect(memory);
        memcpy(memory, pattern, sizeof(pattern));
        secret_release(memory);
        expect(all_zero((const volatile uint8_t *) address, sizeof(pattern)));
}

TEST(realloc_keeps_the_bytes_and_leaves_nothing_behind) {
        uint8_t *memory = secret_malloc(sizeof(pattern)), *moved;
        uintptr_t address = (uintptr_t) memory;

        expect(memory);
        memcpy(memory, pattern, sizeof(pattern));
        moved = secret_realloc(memory, 5000);
        expect(moved);
        expect((uintptr_t) moved != address);
        expect(memcmp(moved, pattern, sizeof(pattern)) == 0);
        if (!UNDER_ASAN)
                expect(all_zero((const volatile uint8_t *) address, sizeof(pattern)));
        secret_release(moved);
        expect_int(secret_bytes_in_use(), 0);
}

TEST(realloc_to_less_wipes_the_rest) {
        uint8_t *memory = secret_malloc(40);

        expect(memory);
        memset(memory, 0xa5, 40);
        memory = secret_realloc(memory, 36);
        memory = secret_realloc(memory, 40);
        expect(memory);
        expect(memory[35] == 0xa5);
        expect(all_zero(memory + 36, 4));
        expect_int(secret_bytes_in_use(), 40);
        expect(!secret_realloc(memory, 0));
        expect_int(secret_bytes_in_use(), 0);
}

TEST(large_blocks_go_back_to_the_kernel) {
        size_t before = secret_bytes_locked();
        uint8_t *memory = secret_malloc(100000);

        expect(memory);
        expect(secret_bytes_locked() >= before + 100000);
        memset(memory, 0x5a, 100000);
        memory = secret_realloc(memory, 300000);
        expect(memory);
        expect(memory[99999] == 0x5a && memory[100000] == 0);
        memory = secret_realloc(memory, 20000);
        expect(memory);
        expect(memory[19999] == 0x5a);
        secret_release(memory);
        expect_int(secret_bytes_locked(), before);
        expect_int(secret_bytes_in_use(), 0);
}

static uint32_t random_next(uint32_t *state) {
        *state = *state * UINT32_C(1664525) + UINT32_C(1013904223);
        return *state >> 8;
}

/* Many blocks of all sizes, each filled with its own byte, that must stay as they were written. */
static const char *churn(uint32_t seed, unsigned rounds) {
        struct {
                uint8_t *bytes;
                size_t size;
                uint8_t fill;
        } blocks[64] = { 0 };
        const char *wrong = NULL;

        for (unsigned i = 0; i < rounds && !wrong; i++) {
                size_t slot = random_next(&seed) % ELEMENTSOF(blocks);
                size_t size = random_next(&seed) % (i % 16 == 0 ? 40000 : 1500), kept = blocks[slot].size;
                uint8_t *bytes;

                for (size_t j = 0; j < kept; j++)
                        if (blocks[slot].bytes[j] != blocks[slot].fill)
                                wrong = "a block changed";
                if (i % 3 == 0) {
                        secret_release(blocks[slot].bytes);
                        blocks[slot].bytes = NULL;
                        kept = 0;
                        bytes = secret_malloc(size);
                } else {
                        size++;
                        bytes = secret_realloc(blocks[slot].bytes, size);
                }
                if (!bytes || (uintptr_t) bytes % 16 != 0)
                        return "no block, or not an aligned one";
                if (kept < size && !all_zero(bytes + kept, size - kept))
                        wrong = "a new block is not zero";
                blocks[slot].bytes = bytes;
                blocks[slot].size = size;
                blocks[slot].fill = (uint8_t) (i | 1);
                memset(bytes, blocks[slot].fill, size);
        }
        for (size_t i = 0; i < ELEMENTSOF(blocks); i++)
                secret_release(blocks[i].bytes);
        return wrong;
}

TEST(blocks_do_not_touch_each_other) {
        const char *wrong = churn(1, 20000);

        if (wrong)
                printf("# %s\n", wrong);
        expect(!wrong);
        expect_int(secret_bytes_in_use(), 0);
}

struct thread_facts {
        const char *wrong;
        uint32_t seed;
        const void *stack;
        bool locked, undumped;
};

static void churn_in_thread(void *userdata) {
        struct thread_facts *facts = userdata;
        char local = 0;

        facts->stack = (const void *) ((uintptr_t) &local & ~(uintptr_t) 4095);
        facts->locked = mapping_has(&local, LOCKED);
        facts->undumped = mapping_has(&local, "dd");
        facts->wrong = churn(facts->seed, 3000);
}

TEST(threads_share_the_allocator_and_have_secret_stacks) {
        struct secret_thread *threads[4] = { NULL };
        struct thread_facts facts[4] = { 0 };

        for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
                facts[i].seed = (uint32_t) i + 7;
                expect_int(secret_thread_start(churn_in_thread, &facts[i], &threads[i]), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                secret_thread_join(threads[i]);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
                expect(!facts[i].wrong);
                expect(facts[i].locked);
                expect(facts[i].undumped);
                expect(!mapping_has(facts[i].stack, "dd"));
        }
        expect_int(secret_bytes_in_use(), 0);
}

TEST(impossible_sizes_are_refused) {
        volatile size_t most = SIZE_MAX;
        struct secret *secret = NULL;
        void *memory = secret_malloc(16);

        expect(!secret_malloc(most));
        expect(!secret_malloc(most / 2));
        expect_int(errno, ENOMEM);
        expect(!secret_realloc(memory, most - 8));
        expect_int(secret_new(most, &secret), -ENOMEM);
        expect_int(secret_new(most - 16, &secret), -ENOMEM);
        expect(!secret);
        secret_release(memory);
        expect_int(secret_bytes_in_use(), 0);
}

static int allocates_unlockable(void *argument _unused_) {
        struct secret *secret = NULL;

        if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit) { 0, 0 }) < 0)
                return 1;
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) /* CAP_IPC_LOCK goes too */
                return 2;
        return secret_new(100000, &secret) == -ENOMEM && !secret ? 0 : 3;
}

TEST(memory_that_the_kernel_will_not_lock_is_not_handed_out) {
        if (UNDER_ASAN)
                skip("AddressSanitizer makes mlock(2) do nothing");
        expect_int(in_child(allocates_unlockable, NULL), 0);
}

static int releases_twice(void *argument _unused_) {
        void *memory = secret_malloc(32);

        (void) !freopen("/dev/null", "w", stderr);
        (void) signal(SIGABRT, SIG_DFL);
        secret_release(memory);
        secret_release(memory);
        return 0;
}

TEST(second_release_stops_the_program) {
        expect_int(in_child(releases_twice, NULL), 128 + SIGABRT);
}

TEST(hardened_process_has_no_core_image_and_a_secret_stack) {
        struct rlimit core = { 1, 1 }, lock = { 0, 0 };
        char local = 0;

        expect(!mapping_has(&local, "dd"));
        expect_int(secret_harden_process(), 0);
        expect_int(getrlimit(RLIMIT_CORE, &core), 0);
        expect_int(core.rlim_max, 0);
        expect_int(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
        expect_int(getrlimit(RLIMIT_MEMLOCK, &lock), 0);
        expect(lock.rlim_cur == lock.rlim_max);
        expect(mapping_has(&local, "dd"));
        expect(mapping_has(&local, LOCKED));
        /* Deep enough for what OpenSSL does. */
        expect(mapping_has((const void *) ((uintptr_t) &local - 200 * 1024), LOCKED));
}

int main(void) {
        return tap_main();
}
