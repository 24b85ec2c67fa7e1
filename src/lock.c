/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Locks. The first byte keeps others out, by the open file, so that it holds within one process too. The second
 * belongs to the process and only tells its pid, which the kernel does not tell of the first. Calls libc only.
 */

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "lock.h"

#define STEP_MSEC 50

static int lock_range(int fd, int command, off_t start) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 1 };

        return fcntl(fd, command, &lock) < 0 ? -errno : 0;
}

static pid_t lock_holder(int fd) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1 };

        return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0 ? lock.l_pid : 0;
}

int lock_take(int fd, unsigned wait_seconds, pid_t *ret_holder) {
        const struct timespec step = { .tv_nsec = STEP_MSEC * 1000000L };
        unsigned long left = (unsigned long) wait_seconds * 1000 / STEP_MSEC;

        for (;; left--) {
                int r = lock_range(fd, F_OFD_SETLK, 0);

                if (r >= 0) {
                        (void) lock_range(fd, F_SETLK, 1);
                        return 0;
                }
                if (r != -EAGAIN && r != -EACCES)
                        return r;
                if (left == 0) {
                        *ret_holder = lock_holder(fd);
                        return -EAGAIN;
                }
                (void) nanosleep(&step, NULL);
        }
}
