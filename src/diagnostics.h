/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_DIAGNOSTICS_H
#define KEYROTA_DIAGNOSTICS_H

/* What is wrong with the administrator's files, collected so that all of it can be said, not only the first.
 * Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cleanup.h"

struct diagnostic {
        char *file;
        unsigned line; /* 0: the file as a whole */
        bool is_error; /* else a warning */
        char *text;
};

struct diagnostics {
        struct diagnostic *items;
        size_t n_items;
        size_t n_errors;
};

/* 0 or -ENOMEM. */
int diagnostics_add(struct diagnostics *diagnostics, bool is_error, const char *file, unsigned line,
                const char *format, ...) _printf_(5, 6);

/* Prints "FILE:LINE: text" (or "FILE: text"), a line each, warnings as "FILE:LINE: warning: text". */
void diagnostics_print(const struct diagnostics *diagnostics, FILE *stream);
/* The same, all of them as "FILE:LINE: note: text". */
void diagnostics_print_notes(const struct diagnostics *notes, FILE *stream);

/* Frees the contents and leaves it empty. */
void diagnostics_clear(struct diagnostics *diagnostics);

#endif
