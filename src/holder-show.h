/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_HOLDER_SHOW_H
#define KEYROTA_HOLDER_SHOW_H

/* A session that holds copies, for people and for programs: what explain and status share. May call holders and jansson. */

#include <jansson.h>

#include "holders.h"

/* "alice, sshd pts/3 from 192.0.2.1, process 4711, audit session 7", control characters escaped. */
#define HOLDER_TEXT_MAX 2800
const char *holder_to_string(const struct holder *holder, char buffer[static HOLDER_TEXT_MAX]);

/* "current", "stale", "missing" */
const char *holder_copy_to_string(enum holder_copy copy);

json_t *holder_to_json(const struct holder *holder, enum holder_copy copy);

#endif
