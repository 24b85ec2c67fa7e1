/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_READ_STACK_H
#define KEYROTA_READ_STACK_H

/*
 * What an administrator wants to be asked before a secret is read: the PAM service "keyrota", account only. The one door of the read server to
 * libpam. Its modules may take as long as they like: call it in a process of its own.
 */

#include <stdbool.h>

#define READ_STACK "keyrota"

/* Is the service described at all? Else libpam would ask the service "other". */
bool read_stack_exists(void);

/* May the user read the secret called name? NULL; or why not, in words that stay. tty: "" when there is none. The modules find user and tty where they
 * look for them (PAM_USER, PAM_RUSER, PAM_TTY), and name in the PAM environment as KEYROTA_SECRET. */
const char *read_stack_ask(const char *user, const char *tty, const char *name);

#endif
