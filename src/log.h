/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_LOG_H
#define KEYROTA_LOG_H

/* What a program says to its user: stderr, with journald's priority prefix where stderr is the journal. For programs only; the
 * library returns its errors. */

#include "cleanup.h"
#include "diagnostics.h"

/* Each takes printf's arguments, one line without its end. */
void log_error(const char *format, ...) _printf_(1, 2);
void log_warning(const char *format, ...) _printf_(1, 2);
void log_info(const char *format, ...) _printf_(1, 2);

void log_diagnostics(const struct diagnostics *diagnostics);

/* "Out of memory.", and -ENOMEM. */
int log_oom(void);

#endif
