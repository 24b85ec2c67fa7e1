/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_REKEY_H
#define KEYROTA_REKEY_H

/*
 * A new key-encryption key, and every stored file sealed again under it: the same plaintext, the same generation. Crash-safe, in this order, each step
 * durable before the next, all under the store's lock:
 *   1. every file is opened once; where one cannot be, nothing is changed
 *   2. PATH_KEK holds the new KEK and the previous one: every file opens, new ones are written under the new one
 *   3. the new kid is noted (kek_note()), so that a run that was started with the previous KEK alone writes nothing any more
 *   4. the files are sealed again
 *   5. PATH_KEK holds the new KEK alone
 * A run that finds two KEKs in PATH_KEK goes on at 1 and then 3.
 */

#include <stdbool.h>

#include "context.h"

struct rekey_options {
        bool keep_old; /* beside PATH_KEK, for backups of the store that are sealed under it */
};

/* Logs what it does and what is wrong. Returns an exit status (see context.h). */
int rekey(struct context *context, const struct rekey_options *options);

#endif
