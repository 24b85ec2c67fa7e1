/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_REASON_H
#define KEYROTA_REASON_H

/* Why a library call failed, in words for the administrator, beside its negative errno. */

#include "cleanup.h"

/* Sets *ret_reason to the formatted text, freeing what it held, and returns error (or -ENOMEM). ret_reason may be NULL. */
int reason_set(int error, char **ret_reason, const char *format, ...) _printf_(3, 4);

#endif
