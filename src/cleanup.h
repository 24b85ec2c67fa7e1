/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_CLEANUP_H
#define KEYROTA_CLEANUP_H

/*
 * Ownership helpers in systemd's manner: _cleanup_(f) runs f(&variable) when the variable leaves its
 * scope, TAKE_PTR() and TAKE_FD() move what it held to another owner.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(text, first) __attribute__((__format__(__printf__, text, first)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))

#define TAKE_PTR(pointer)                              \
        __extension__({                                \
                __typeof__(pointer) *_p = &(pointer);  \
                __typeof__(pointer) _v = *_p;          \
                *_p = NULL;                            \
                _v;                                    \
        })

#define TAKE_FD(fd)               \
        __extension__({           \
                int *_p = &(fd);  \
                int _v = *_p;     \
                *_p = -EBADF;     \
                _v;               \
        })

/* Defines name##p(), the cleanup function that calls name() on a pointer variable. */
#define DEFINE_CLEANUP(type, name)                       \
        static inline void name##p(type *pointer) {      \
                if (*pointer)                            \
                        name(*pointer);                  \
        }                                                \
        struct name##_needs_a_semicolon

static inline void freep(void *pointer) {
        free(*(void **) pointer);
}

static inline void closep(const int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose);

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

#endif
