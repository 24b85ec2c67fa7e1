/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * acct CONFDIR SERVICE USER [CALL]: what the real libpam makes of a service file in CONFDIR. CALL is acct
 * (the default), auth, session or password. Prints the code's name on the first line, then what was logged;
 * exit status 0 when libpam said success, 1 when it refused, 2 when the test itself went wrong. The
 * conversation answers nothing.
 */

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_appl.h>

#include "cleanup.h"

#undef syslog /* under _FORTIFY_SOURCE, clang has it as a macro */

static char logged[16384];

void __syslog_chk(int priority, int flag, const char *format, ...) _printf_(3, 4);

static void _printf_(1, 0) keep(const char *format, va_list ap) {
        size_t length = strlen(logged);

        (void) vsnprintf(logged + length, sizeof(logged) - length - 1, format, ap);
        strcat(logged, "\n");
}

/* libpam finds these before libc's: nothing reaches the machine's log. */
void syslog(_unused_ int priority, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        keep(format, ap);
        va_end(ap);
}

void __syslog_chk(_unused_ int priority, _unused_ int flag, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        keep(format, ap);
        va_end(ap);
}

static int converse(_unused_ int n, _unused_ const struct pam_message **messages,
                    _unused_ struct pam_response **responses, _unused_ void *data) {
        return PAM_CONV_ERR;
}

static const char *code_name(int code) {
        static const struct {
                int code;
                const char *name;
        } names[] = {
                { PAM_SUCCESS, "success" },   { PAM_PERM_DENIED, "perm_denied" },
                { PAM_AUTH_ERR, "auth_err" }, { PAM_MODULE_UNKNOWN, "module_unknown" },
                { PAM_IGNORE, "ignore" },     { PAM_SESSION_ERR, "session_err" },
                { PAM_ABORT, "abort" },       { PAM_USER_UNKNOWN, "user_unknown" },
        };
        static char number[32];

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i].code == code)
                        return names[i].name;
        (void) snprintf(number, sizeof(number), "code %d", code);
        return number;
}

static unsigned count_descriptors(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        if (!dir)
                return 0;
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static int call(pam_handle_t *pamh, const char *name) {
        if (strcmp(name, "auth") == 0)
                return pam_authenticate(pamh, 0);
        if (strcmp(name, "session") == 0)
                return pam_open_session(pamh, 0);
        if (strcmp(name, "password") == 0)
                return pam_chauthtok(pamh, 0);
        return pam_acct_mgmt(pamh, 0);
}

int main(int argc, char *argv[]) {
        static const struct pam_conv conversation = { .conv = converse };
        pam_handle_t *pamh = NULL;
        unsigned before;
        int r;

        if (argc < 4 || argc > 5) {
                fputs("usage: acct CONFDIR SERVICE USER [acct|auth|session|password]\n", stderr);
                return 2;
        }
        r = pam_start_confdir(argv[2], argv[3], &conversation, argv[1], &pamh);
        if (r != PAM_SUCCESS) {
                fprintf(stderr, "pam_start_confdir: %d\n", r);
                return 2;
        }
        before = count_descriptors();
        r = call(pamh, argc == 5 ? argv[4] : "acct");
        if (count_descriptors() != before) {
                fputs("the stack left descriptors open\n", stderr);
                return 2;
        }
        (void) pam_end(pamh, r);

        printf("%s\n%s", code_name(r), logged);
        return r == PAM_SUCCESS ? 0 : 1;
}
