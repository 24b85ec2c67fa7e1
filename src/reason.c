/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why a library call failed. Calls libc only. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "reason.h"

int reason_set(int error, char **ret_reason, const char *format, ...) {
        va_list arguments;
        char *text;
        int n;

        if (!ret_reason)
                return error;
        va_start(arguments, format);
        n = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (n < 0)
                return -ENOMEM;
        free(*ret_reason);
        *ret_reason = text;
        return error;
}
