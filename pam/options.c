/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the options of a line, strictly: what is not understood might have been meant to keep somebody out. */

#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>

#include "access-table.h"
#include "message.h"
#include "options.h"

static bool complain(pam_handle_t *pamh, const char *before, const char *option, const char *behind) {
        char escaped[MESSAGE_ESCAPED_MAX];

        pam_syslog(pamh, LOG_ERR, "%s\"%s\"%s", before, message_escape(option, escaped), behind);
        return false;
}

static const char *use_word(enum options_use use) {
        return use == OPTIONS_SIGN ? "sign" : use == OPTIONS_VERIFY ? "verify" : "any";
}

static bool take_secret(pam_handle_t *pamh, enum options_type type, const char *option, struct options *options) {
        const char *name = option + strlen("secret=");

        if (!access_secret_valid(name))
                return complain(pamh, "", option, " names no secret: refused; write the name of a policy file without its .ini");
        if (type == OPTIONS_ACCOUNT && options->secret[0] != '\0') {
                pam_syslog(pamh, LOG_ERR, "secret= given twice: refused; write one line for each secret");
                return false;
        }
        options->secret = name;
        return true;
}

static bool take_use(pam_handle_t *pamh, const char *option, struct options *options) {
        const char *word = option + strlen("use=");
        enum options_use use = strcmp(word, "sign") == 0 ? OPTIONS_SIGN : strcmp(word, "verify") == 0 ? OPTIONS_VERIFY : OPTIONS_ANY;

        if (use == OPTIONS_ANY)
                return complain(pamh, "", option, " is no use of a secret: refused; write use=sign or use=verify");
        if (options->use != OPTIONS_ANY) {
                pam_syslog(pamh, LOG_ERR, "use= given twice: refused; leave it out where both are meant");
                return false;
        }
        options->use = use;
        return true;
}

static bool take_option(pam_handle_t *pamh, enum options_type type, const char *option, struct options *options) {
        if (strncmp(option, "secret=", strlen("secret=")) == 0)
                return take_secret(pamh, type, option, options);
        if (strncmp(option, "use=", strlen("use=")) == 0)
                return take_use(pamh, option, options);
        if (strcmp(option, "debug") == 0)
                options->debug = true;
        else if (strcmp(option, "quiet") == 0)
                options->quiet = true;
        else if (strcmp(option, "strict") == 0 && type == OPTIONS_SESSION)
                options->strict = true;
        else if (strcmp(option, "strict") == 0)
                return complain(pamh, "", option, " is for session lines: refused; an account line refuses at every error without it");
        else
                return complain(pamh, "unknown option ", option,
                                type == OPTIONS_SESSION
                                        ? ": no copies given; the options are secret=NAME, use=sign, use=verify, strict, debug and quiet"
                                        : ": refused; the options are secret=NAME, use=sign, use=verify, debug and quiet");
        return true;
}

/* What the session is to be given, for whoever renews it later. */
static bool format_only(pam_handle_t *pamh, int argc, const char **argv, struct options *options) {
        size_t n = 0;

        if (options->use == OPTIONS_ANY && options->secret[0] == '\0')
                return true;
        n = (size_t) snprintf(options->only, sizeof(options->only), "%s", use_word(options->use));
        for (int i = 0; i < argc; i++) {
                if (strncmp(argv[i], "secret=", strlen("secret=")) != 0)
                        continue;
                n += (size_t) snprintf(options->only + n, sizeof(options->only) - n, "/%s", argv[i] + strlen("secret="));
                if (n >= sizeof(options->only)) {
                        pam_syslog(pamh, LOG_ERR, "too many secret= in one line: no copies given; write a second line");
                        return false;
                }
        }
        return true;
}

bool options_parse(pam_handle_t *pamh, enum options_type type, int argc, const char **argv, struct options *ret) {
        bool good = true;

        *ret = (struct options) { .secret = "" };
        for (int i = 0; i < argc; i++)
                good = take_option(pamh, type, argv[i], ret) && good;
        return good && (type == OPTIONS_ACCOUNT || format_only(pamh, argc, argv, ret));
}
