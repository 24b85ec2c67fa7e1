/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_MESSAGE_H
#define KEYROTA_PAM_MESSAGE_H

/* Strings from elsewhere in a line of the log. Calls libc only. */

#define MESSAGE_ESCAPED_MAX 128 /* bytes, with the NUL */

/* Printable ASCII without quotes and backslashes; every other byte as \xNN; "..." where it was cut. Returns buffer. */
const char *message_escape(const char *text, char buffer[static MESSAGE_ESCAPED_MAX]);

/* What the errno, negative, means. */
const char *message_error(int error);

/* What can be done about an access table that cannot be used. */
const char *message_table_remedy(int error);

#endif
