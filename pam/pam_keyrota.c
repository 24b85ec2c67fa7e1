/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pam_keyrota.so: what libpam calls. Runs as root in other people's login programs; so all that the module is made of has no variables, starts no process and
 * no thread, changes nothing of the process, reads no environment and no file of a user's, and waits for nothing (record.c says for what it does).
 */

#include "account.h"
#include "cleanup.h"
#include "session.h"

int pam_sm_acct_mgmt(pam_handle_t *pamh, _unused_ int flags, int argc, const char **argv) {
        return account_check(pamh, argc, argv);
}

int pam_sm_open_session(pam_handle_t *pamh, _unused_ int flags, int argc, const char **argv) {
        return session_open(pamh, argc, argv);
}

int pam_sm_close_session(pam_handle_t *pamh, _unused_ int flags, int argc, const char **argv) {
        return session_close(pamh, argc, argv);
}
