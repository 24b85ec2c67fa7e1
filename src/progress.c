/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line on a terminal. */

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "progress.h"

#define FEW 50
#define STEPS 100 /* lines at most */

static int is_shown(size_t all) {
        return all > FEW && isatty(STDERR_FILENO);
}

void progress_show(const char *what, size_t done, size_t all) {
        if (is_shown(all) && (done % (all / STEPS + 1) == 0 || done == all))
                (void) fprintf(stderr, "%s: %zu of %zu\033[K\r", what, done, all); /* what is logged meanwhile begins where the line did */
}

void progress_end(size_t all) {
        if (is_shown(all))
                (void) fputs("\033[K", stderr);
}

void progress_wait(const char *format, ...) {
        va_list arguments;

        if (!isatty(STDERR_FILENO))
                return;
        va_start(arguments, format);
        (void) vfprintf(stderr, format, arguments);
        va_end(arguments);
        (void) fputs("\033[K\r", stderr);
}

void progress_wait_end(void) {
        if (isatty(STDERR_FILENO))
                (void) fputs("\033[K", stderr);
}
