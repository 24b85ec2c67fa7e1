/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_CHANGE_H
#define KEYROTA_CHANGE_H

/* What the commands that change one secret share. */

#include <stdbool.h>

#include "context.h"
#include "jwk.h"
#include "provision.h"

/* Does it to the secret of this name, tells the services, and arms its timer. Logs; an exit status. */
int change_secret(struct context *context, char *name, struct change *change);

/* Takes the key over. replace: keys that are there already are set aside. Logs; an exit status. */
int change_import(struct context *context, const char *name, struct jwk *jwk, bool replace);

/* Asks on the terminal, unless yes. false: no, which has been said. */
bool change_is_wanted(bool yes, const char *verb);

#endif
