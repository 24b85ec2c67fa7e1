/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_IO_H
#define KEYROTA_IO_H

/* Whole writes. */

#include <stddef.h>

/* write(2) until all is written, whatever interrupts it. 0 or a negative errno. */
int io_write_all(int fd, const void *data, size_t size);

#endif
