/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_ACCOUNT_H
#define KEYROTA_PAM_ACCOUNT_H

/* Lets into a service only users whom the [access] section of a secret's policy names. */

#include <security/pam_modules.h>

/* Of the stack that keyrota-read asks whether a user may read a secret, whose name the server puts into PAM's environment. It writes the record itself. */
#define ACCOUNT_READ_SERVICE "keyrota"
#define ACCOUNT_READ_SECRET "KEYROTA_SECRET"

/* PAM_SUCCESS or PAM_PERM_DENIED. */
int account_check(pam_handle_t *pamh, int argc, const char **argv);

#endif
