/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The PAM service of the read server. Calls libpam. */

#include <stdio.h>
#include <unistd.h>

#include <security/pam_appl.h>

#include "cleanup.h"
#include "read-protocol.h"
#include "read-stack.h"

bool read_stack_exists(void) {
        return access("/etc/pam.d/" READ_STACK, R_OK) == 0 || access("/usr/lib/pam.d/" READ_STACK, R_OK) == 0;
}

/* There is nobody to answer: who asks is another process, and may be a program. */
static int converse(int n _unused_, const struct pam_message **messages _unused_, struct pam_response **ret_responses _unused_, void *data _unused_) {
        return PAM_CONV_ERR;
}

static int set_items(pam_handle_t *pamh, const char *user, const char *tty, const char *name) {
        char secret[sizeof("KEYROTA_SECRET=") + READ_NAME_MAX];
        int r;

        (void) snprintf(secret, sizeof(secret), "KEYROTA_SECRET=%s", name);
        r = pam_set_item(pamh, PAM_RUSER, user);
        if (r == PAM_SUCCESS && *tty)
                r = pam_set_item(pamh, PAM_TTY, tty);
        if (r == PAM_SUCCESS)
                r = pam_putenv(pamh, secret);
        return r;
}

const char *read_stack_ask(const char *user, const char *tty, const char *name) {
        static const struct pam_conv conversation = { .conv = converse };
        pam_handle_t *pamh = NULL;
        const char *reason;
        int r;

        r = pam_start(READ_STACK, user, &conversation, &pamh);
        if (r != PAM_SUCCESS)
                return "libpam cannot be started";
        r = set_items(pamh, user, tty, name);
        if (r == PAM_SUCCESS)
                r = pam_acct_mgmt(pamh, PAM_SILENT);
        reason = r == PAM_SUCCESS ? NULL : pam_strerror(pamh, r);
        (void) pam_end(pamh, r);
        return reason;
}
