/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SEAL_RUN_H
#define KEYROTA_SEAL_RUN_H

/* How seal.c runs systemd-creds(1); nobody else does. */

#include <stddef.h>

#include "secret.h"

#define SEAL_OUTPUT_MAX (64 * 1024) /* bytes; we seal keys, not files */

/* Runs it to its end with these arguments, this environment and size bytes of standard input (SEAL_OUTPUT_MAX
 * at most). machine_id: the open file that it is to find as /etc/machine-id, in a mount namespace of its own; negative: the machine's. Returns 0, or its exit status, or a negative errno: -ENOENT (not installed), -ETIMEDOUT (killed),
 * -EIO. *ret_reason is set whenever it is not 0. ret_output may be NULL. */
int seal_run(const char *const arguments[], const char *const environment[], int machine_id, const void *input, size_t size,
             struct secret **ret_output, char **ret_reason);

#endif
