/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEK_JWK_H
#define KEYROTA_KEK_JWK_H

/* The key-encryption key as text: a JWK (RFC 7517), or a JWK Set of the new one and the previous one. Touches no file. */

#include "kek.h"

#define KEK_JWK_MAX 4096 /* bytes of text */

int kek_draw(struct kek **ret);
int kek_format(const struct kek *kek, bool with_previous, struct secret **ret);
/* -EBADMSG: it is none. */
int kek_parse(const struct secret *text, struct kek **ret);

#endif
