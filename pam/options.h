/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_OPTIONS_H
#define KEYROTA_PAM_OPTIONS_H

/* What stands behind pam_keyrota.so in a line of a PAM service. May call access-table and libpam (to log). */

#include <stdbool.h>

#include <security/pam_modules.h>

#include "copies.h"

enum options_type { OPTIONS_ACCOUNT, OPTIONS_SESSION };
enum options_use { OPTIONS_ANY, OPTIONS_SIGN, OPTIONS_VERIFY };

struct options {
        const char *secret; /* account; "" until it is given: no table has a secret of that name */
        enum options_use use;
        bool debug;
        bool quiet;
        bool strict;                /* session */
        char only[COPIES_ONLY_MAX]; /* session; what the line restricts copies to, in the form of struct copies_holder */
};

/* Logs everything that is wrong with the options, and says whether they are good. */
bool options_parse(pam_handle_t *pamh, enum options_type type, int argc, const char **argv, struct options *ret);

#endif
