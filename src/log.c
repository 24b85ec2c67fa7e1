/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a program says to its user. Calls libc only. */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

/* systemd leaves JOURNAL_STREAM=DEVICE:INODE to all that a service starts, also where that redirects it. */
static bool is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat status;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &status) == 0 &&
                status.st_dev == device && status.st_ino == inode;
}

static _printf_(3, 0) void say(int priority, const char *label, const char *format, va_list arguments) {
        _cleanup_free_ char *text = NULL;

        if (vasprintf(&text, format, arguments) < 0) {
                text = NULL;
                (void) fputs("keyrota: out of memory\n", stderr);
                return;
        }
        if (is_journal())
                (void) fprintf(stderr, "<%d>%s\n", priority, text);
        else
                (void) fprintf(stderr, "keyrota: %s%s\n", label, text);
}

#define DEFINE_LOG(name, priority, label)               \
        void name(const char *format, ...) {            \
                va_list arguments;                      \
                va_start(arguments, format);            \
                say(priority, label, format, arguments);\
                va_end(arguments);                      \
        }                                               \
        struct name##_needs_a_semicolon

DEFINE_LOG(log_error, 3, "");
DEFINE_LOG(log_warning, 4, "warning: ");
DEFINE_LOG(log_info, 6, "");

void log_diagnostics(const struct diagnostics *diagnostics) {
        for (size_t i = 0; i < diagnostics->n_items; i++) {
                const struct diagnostic *item = &diagnostics->items[i];
                void (*log)(const char *, ...) _printf_(1, 2) = item->is_error ? log_error : log_warning;

                if (item->line > 0)
                        log("%s:%u: %s", item->file, item->line, item->text);
                else
                        log("%s: %s", item->file, item->text);
        }
}

int log_oom(void) {
        log_error("out of memory");
        return -ENOMEM;
}
