/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_SESSION_H
#define KEYROTA_PAM_SESSION_H

/* Gives a session copies of the secrets that its user may read. */

#include <security/pam_modules.h>

/* PAM_SUCCESS: it has all that the user may have, be it nothing. PAM_IGNORE: something is wrong, and logged; with strict PAM_SESSION_ERR, and it has nothing. */
int session_open(pam_handle_t *pamh, int argc, const char **argv);

/* Takes the copies away again, where that can be done; nothing depends on it, as the kernel ends them with the session keyring. Always PAM_SUCCESS. */
int session_close(pam_handle_t *pamh, int argc, const char **argv);

#endif
