/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SEAL_H
#define KEYROTA_SEAL_H

/*
 * The one door to systemd-creds(1): seals and opens small secrets under the host's key and TPM2. Calls no
 * other module but secret and tree. Secrets go through pipes, never through arguments, the environment or a
 * file in the clear.
 */

#include "policy.h"
#include "secret.h"
#include "tree.h"

/* Seals data under name and opens the blob again at once to prove that it can be. *ret_blob: Base64 text as
 * systemd wants it in a file for LoadCredentialEncrypted=. On failure *ret_reason (to be freed) says what
 * systemd-creds said. -EIO, -ENOENT (systemd-creds is missing), -ETIMEDOUT. */
int seal(const struct tree *tree, enum seal_with with, const char *name, const struct secret *data,
         char **ret_blob, char **ret_reason);

/* Opens a blob. Refused: a blob under the null key (-EPERM). -EBADMSG: damaged, or sealed on another host. */
int unseal(const struct tree *tree, const char *name, const char *blob, struct secret **ret,
           char **ret_reason);

#endif
