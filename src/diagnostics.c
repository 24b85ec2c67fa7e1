/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A growing list of complaints about the administrator's files. Calls libc only; prints where it is told to
 * and nowhere else.
 */

#include "diagnostics.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* Doubles the room when it is full, so that n additions cost O(n). */
static int reserve_one(struct diagnostics *diagnostics) {
        size_t n = diagnostics->n_items;

        if (n > 0 && (n < 8 || (n & (n - 1)) != 0))
                return 0; /* full only at 0 and at the powers of two from 8 on */

        struct diagnostic *items = reallocarray(diagnostics->items, n < 8 ? 8 : n * 2, sizeof(*items));
        if (!items)
                return -ENOMEM;

        diagnostics->items = items;
        return 0;
}

int diagnostics_add(struct diagnostics *diagnostics, bool is_error, const char *file, unsigned line,
                const char *format, ...) {
        _cleanup_free_ char *text = NULL, *name = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL;
                return -ENOMEM;
        }

        name = strdup(file);
        if (!name)
                return -ENOMEM;

        r = reserve_one(diagnostics);
        if (r < 0)
                return r;

        diagnostics->items[diagnostics->n_items++] = (struct diagnostic){
                .file = TAKE_PTR(name),
                .line = line,
                .is_error = is_error,
                .text = TAKE_PTR(text),
        };
        if (is_error)
                diagnostics->n_errors++;
        return 0;
}

static void print_one(const struct diagnostic *d, const char *kind, FILE *stream) {
        fputs(d->file, stream);
        if (d->line > 0)
                fprintf(stream, ":%u", d->line);
        fprintf(stream, ": %s%s\n", kind, d->text);
}

void diagnostics_print(const struct diagnostics *diagnostics, FILE *stream) {
        for (size_t i = 0; i < diagnostics->n_items; i++)
                print_one(diagnostics->items + i, diagnostics->items[i].is_error ? "" : "warning: ", stream);
}

void diagnostics_print_notes(const struct diagnostics *notes, FILE *stream) {
        for (size_t i = 0; i < notes->n_items; i++)
                print_one(notes->items + i, "note: ", stream);
}

void diagnostics_clear(struct diagnostics *diagnostics) {
        for (size_t i = 0; i < diagnostics->n_items; i++) {
                free(diagnostics->items[i].file);
                free(diagnostics->items[i].text);
        }
        free(diagnostics->items);
        *diagnostics = (struct diagnostics){ 0 };
}
