/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole writes. Calls libc only. */

#include <errno.h>
#include <unistd.h>

#include "io.h"

int io_write_all(int fd, const void *data, size_t size) {
        for (const char *p = data; size > 0;) {
                ssize_t n = write(fd, p, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}
