/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_LOCK_H
#define KEYROTA_LOCK_H

/* A lock file whose holder can be named. Calls libc only. */

#include <sys/types.h>

/* Locks an open file for this open file description (it holds within one process too) until its descriptor is closed, and waits for wait_seconds
 * at most. -EAGAIN: another has it; *ret_holder is its pid, or 0 when that cannot be seen from here. */
int lock_take(int fd, unsigned wait_seconds, pid_t *ret_holder);

#endif
