/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line on a terminal. */

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
