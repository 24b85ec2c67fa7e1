/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Strings from elsewhere in a line of the log. */

#include <errno.h>
#include <string.h>

#include "message.h"

const char *message_escape(const char *text, char buffer[static MESSAGE_ESCAPED_MAX]) {
        static const char digits[] = "0123456789abcdef";
        size_t n = 0;

        for (const unsigned char *p = (const unsigned char *) text; *p; p++) {
                if (n + sizeof("\\xNN...") > MESSAGE_ESCAPED_MAX) {
                        memcpy(buffer + n, "...", 3);
                        n += 3;
                        break;
                }
                if (*p >= ' ' && *p < 0x7f && *p != '\\' && *p != '"')
                        buffer[n++] = (char) *p;
                else {
                        memcpy(buffer + n, "\\x", 2);
                        buffer[n + 2] = digits[*p >> 4];
                        buffer[n + 3] = digits[*p & 15];
                        n += 4;
                }
        }
        buffer[n] = '\0';
        return buffer;
}

const char *message_error(int error) {
        const char *text = strerrordesc_np(-error);

        return text ? text : "unknown error";
}

const char *message_table_remedy(int error) {
        return error == -EACCES ? "only a program that runs as root can ask pam_keyrota" : "'keyrota provision' writes it anew";
}
