/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pam_keyrota.so, account: lets into a service only users whom the [access] section of a secret's policy
 * names. Options, the verdict and the log. Calls libpam, access-table and membership.
 *
 * Every way out but one is PAM_PERM_DENIED, never PAM_IGNORE or another code that some stack counts as good;
 * and every refusal asks the same of the disk and of the name services, so that neither code nor time tells
 * why.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_modules.h>
#include <security/pam_ext.h>

#include "access.h"
#include "access-table.h"
#include "entitlement.h"
#include "membership.h"
#include "paths.h"

#define ESCAPED_MAX 128 /* bytes, with the NUL, of a string from elsewhere in a log line */

struct options {
        const char *secret; /* "" until it is given: no table has a secret of that name */
        bool debug;
        bool quiet;
};

/* Printable ASCII without quotes and backslashes; every other byte as \xNN; "..." where it was cut. */
static const char *escape(const char *text, char buffer[static ESCAPED_MAX]) {
        static const char digits[] = "0123456789abcdef";
        size_t n = 0;

        for (const unsigned char *p = (const unsigned char *) text; *p; p++) {
                if (n + sizeof("\\xNN...") > ESCAPED_MAX) {
                        memcpy(buffer + n, "...", 3);
                        n += 3;
                        break;
                }
                if (*p >= ' ' && *p < 0x7f && *p != '\\' && *p != '"')
                        buffer[n++] = (char) *p;
                else {
                        memcpy(buffer + n, "\\x", 2);
                        buffer[n + 2] = digits[*p >> 4];
                        buffer[n + 3] = digits[*p & 15];
                        n += 4;
                }
        }
        buffer[n] = '\0';
        return buffer;
}

/* Logs everything that is wrong with the options, and says whether they are good. */
static bool options_parse(pam_handle_t *pamh, int argc, const char **argv, struct options *options) {
        char escaped[ESCAPED_MAX];
        bool good = true;

        for (int i = 0; i < argc; i++) {
                if (strcmp(argv[i], "debug") == 0)
                        options->debug = true;
                else if (strcmp(argv[i], "quiet") == 0)
                        options->quiet = true;
                else if (strncmp(argv[i], "secret=", 7) != 0) {
                        pam_syslog(pamh, LOG_ERR,
                                   "unknown option \"%s\": refused; the options are secret=NAME, debug and "
                                   "quiet",
                                   escape(argv[i], escaped));
                        good = false;
                } else if (options->secret[0] != '\0') {
                        pam_syslog(pamh, LOG_ERR,
                                   "secret= given twice: refused; write one line for each secret");
                        good = false;
                } else if (!access_secret_valid(argv[i] + 7)) {
                        pam_syslog(pamh, LOG_ERR,
                                   "\"%s\" names no secret: refused; write the name of a policy file without "
                                   "its .ini",
                                   escape(argv[i], escaped));
                        good = false;
                } else
                        options->secret = argv[i] + 7;
        }
        if (good && options->secret[0] == '\0') {
                pam_syslog(
                        pamh, LOG_ERR,
                        "no secret= option: refused; add secret=NAME of the policy that says who may enter");
                good = false;
        }
        return good;
}

/* What the application set; never asks, as this is no authentication. "", which no account is called, when
 * there is none. */
static const char *user_name(pam_handle_t *pamh) {
        const void *user = NULL;

        if (pam_get_item(pamh, PAM_USER, &user) != PAM_SUCCESS || !user || strlen(user) > ACCESS_MEMBER_MAX)
                return "";
        return user;
}

static void log_verdict(pam_handle_t *pamh, const struct options *options, const char *user,
                        const struct access_secret *secret, const struct membership *who, int verdict) {
        char escaped[ESCAPED_MAX];

        if (verdict == -EBADMSG) {
                pam_syslog(pamh, LOG_ERR, "%s: torn, or not an access table of this version of keyrota: everybody refused; 'keyrota provision' writes it anew",
                           PATH_ACCESS);
        } else if (verdict < 0) {
                pam_syslog(pamh, LOG_ERR,
                           "cannot look up the groups of %s in the name services: %s: user \"%s\" refused",
                           options->secret, strerrordesc_np(-verdict), escape(user, escaped));
        } else if (verdict > 0) {
                if (options->debug)
                        pam_syslog(pamh, LOG_DEBUG, "user \"%s\" allowed by [access] of %s",
                                   escape(user, escaped), options->secret);
        } else if (secret->name[0] == '\0')
                pam_syslog(pamh, LOG_ERR,
                           "no policy %s with an [access] section: user \"%s\" refused; see 'keyrota status'",
                           options->secret, escape(user, escaped));
        else if (secret->reads == ACCESS_LOCKED)
                pam_syslog(pamh, LOG_NOTICE, "%s is locked: user \"%s\" refused; see 'keyrota unlock'", options->secret, escape(user, escaped));
        else if (!options->quiet)
                pam_syslog(pamh, LOG_NOTICE, who->known ? "user \"%s\" refused: not named by [access] of %s"
                                                        : "unknown user \"%s\" refused for %s",
                           escape(user, escaped), options->secret);
}

int pam_sm_acct_mgmt(pam_handle_t *pamh, _unused_ int flags, int argc, const char **argv) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_(membership_freep) struct membership *who = NULL;
        struct access_secret secret = { .name = "" };
        struct options options = { .secret = "" };
        const char *user, *reason = NULL;
        int r, verdict = 0;
        bool good;

        good = options_parse(pamh, argc, argv, &options);
        user = user_name(pamh);

        r = access_table_read(&table, &reason);
        if (r < 0)
                pam_syslog(pamh, LOG_ERR, "%s: %s: everybody refused; 'keyrota provision' writes it anew",
                           PATH_ACCESS, reason ? reason : strerrordesc_np(-r));
        r = membership_load(user, &who);
        if (r < 0) {
                char escaped[ESCAPED_MAX];

                pam_syslog(pamh, LOG_ERR, "cannot look up user \"%s\" in the name services: %s: refused",
                           escape(user, escaped), strerrordesc_np(-r));
        }

        if (table && who) {
                verdict = entitlement_check(table, options.secret, who, &secret);
                if (good)
                        log_verdict(pamh, &options, user, &secret, who, verdict);
        }
        return good && verdict > 0 ? PAM_SUCCESS : PAM_PERM_DENIED;
}
