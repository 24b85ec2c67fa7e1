/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PROGRESS_H
#define KEYROTA_PROGRESS_H

/* How far long work has come: one line that is written over, on stderr and only where that is a terminal. Calls libc only. */

#include <stddef.h>

#include "cleanup.h"

/* Of few there is nothing to show. what: "Looking at secrets". */
void progress_show(const char *what, size_t done, size_t all);
/* Takes the line away. */
void progress_end(size_t all);

/* The same for something that may take long by itself: until when it is waited. printf's arguments. */
void progress_wait(const char *format, ...) _printf_(1, 2);
void progress_wait_end(void);

#endif
