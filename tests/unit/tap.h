/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TAP_H
#define KEYROTA_TAP_H

/*
 * Test Anything Protocol for unit tests. A test is a function; TEST(name) registers it, its name says the
 * behaviour. expect() ends the test at the first thing that is not so and says where.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tap_test {
        const char *name;
        void (*run)(void);
        struct tap_test *next;
};

static struct tap_test *tap_first, **tap_last = &tap_first;
static bool tap_failed;
static const char *tap_skip_reason;

#define TEST(test_name)                                                                  \
        static void test_name(void);                                                     \
        static struct tap_test tap_##test_name = { #test_name, test_name, NULL };        \
        __attribute__((constructor)) static void tap_register_##test_name(void) {        \
                *tap_last = &tap_##test_name;                                            \
                tap_last = &tap_##test_name.next;                                        \
        }                                                                                \
        static void test_name(void)

#define expect(condition)                                                                           \
        do {                                                                                        \
                if (!(condition)) {                                                                 \
                        printf("# %s:%d: expected %s\n", __FILE__, __LINE__, #condition);           \
                        tap_failed = true;                                                          \
                        return;                                                                     \
                }                                                                                   \
        } while (false)

#define expect_int(actual, wanted)                                                                  \
        do {                                                                                        \
                long long tap_a = (long long) (actual), tap_w = (long long) (wanted);               \
                if (tap_a != tap_w) {                                                               \
                        printf("# %s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #actual, \
                               tap_a, tap_w);                                                       \
                        tap_failed = true;                                                          \
                        return;                                                                     \
                }                                                                                   \
        } while (false)

#define expect_string(actual, wanted)                                                                    \
        do {                                                                                             \
                const char *tap_a = (actual), *tap_w = (wanted);                                         \
                if (!tap_a || strcmp(tap_a, tap_w) != 0) {                                               \
                        printf("# %s:%d: %s is\n#   \"%s\", expected\n#   \"%s\"\n", __FILE__, __LINE__, \
                               #actual, tap_a ? tap_a : "(null)", tap_w);                                \
                        tap_failed = true;                                                               \
                        return;                                                                          \
                }                                                                                        \
        } while (false)

/* The kernel or machine cannot do what this test needs; reason says what. */
#define skip(reason)                      \
        do {                              \
                tap_skip_reason = reason; \
                return;                   \
        } while (false)

/* Runs every test in the order of the file; 0 when all passed. */
static inline int tap_main(void) {
        unsigned n = 0, n_failed = 0;

        setvbuf(stdout, NULL, _IOLBF, 0);
        for (struct tap_test *test = tap_first; test; test = test->next) {
                tap_failed = false;
                tap_skip_reason = NULL;
                test->run();
                n++;
                if (tap_failed)
                        n_failed++;
                printf("%s %u - %s%s%s\n", tap_failed ? "not ok" : "ok", n, test->name,
                       tap_skip_reason ? " # SKIP " : "", tap_skip_reason ? tap_skip_reason : "");
        }
        printf("1..%u\n", n);
        return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
