/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SEEN_H
#define KEYROTA_SEEN_H

/* The newest generation of each secret that keyring and audit record have seen: a stored file older than that is not the last one. Pure. */

#include <stdint.h>

#include "cleanup.h"

struct seen;

int seen_new(struct seen **ret);
void seen_free(struct seen *seen);
DEFINE_CLEANUP(struct seen *, seen_free);

/* secret: "ENV/NAME". Keeps the highest generation. 0 or -ENOMEM. */
int seen_add(struct seen *seen, const char *secret, uint64_t generation);

/* 0: never seen. */
uint64_t seen_generation(const struct seen *seen, const char *secret);

#endif
