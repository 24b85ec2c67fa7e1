/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PUBLISHED_H
#define KEYROTA_PUBLISHED_H

/* What is published now of one secret: the reading side of publish.h. May call keyring, store, render. */

#include <stdint.h>

#include "context.h"
#include "keyring.h"
#include "policy.h"
#include "secret.h"

struct published_request {
        const char *name;             /* of the secret */
        const char *unit;             /* NULL, or: the exact bytes that this unit is given */
        const char *credential;       /* with unit: NULL when there is only one */
        enum use use;                 /* without unit: what to render, and how */
        enum format format;
        bool newline;
};

/* -ENOKEY, -ENOENT: there is none; -ENOTUNIQ: which one?; -EINVAL: the format cannot carry the algorithm. *ret_reason (to be freed) in words. */
int published_read(
                const struct context *context, const struct published_request *request,
                struct keyring_header *ret_header, struct secret **ret, char **ret_reason);

/* What was published of a secret, as secret:ENV/NAME/sign or /verify has it: which of the two is it? enum use, or -EBADMSG. */
int published_use(const struct secret *bytes);
/* The same in the form that is asked for; request->use is what it is. Errors as above. */
int published_render(const struct secret *bytes, const struct published_request *request, struct secret **ret, char **ret_reason);

#endif
