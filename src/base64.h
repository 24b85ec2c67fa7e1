/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_BASE64_H
#define KEYROTA_BASE64_H

/* Base64 and base64url (RFC 4648 sections 4 and 5) over OpenSSL's codec, into secret memory. */

#include <stddef.h>

#include "secret.h"

/* With padding, no line breaks. */
int base64_encode(const void *data, size_t size, struct secret **ret);
/* Without padding, as RFC 7515 section 2 wants it. */
int base64url_encode(const void *data, size_t size, struct secret **ret);
/* Strict: the url alphabet only, no padding, no white space, no stray bits. -EBADMSG. */
int base64url_decode(const char *text, size_t length, struct secret **ret);
/* Lower-case hexadecimal. */
int hex_encode(const void *data, size_t size, struct secret **ret);

#endif
