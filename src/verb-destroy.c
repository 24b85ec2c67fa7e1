/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota destroy: the end of a secret whose policy was removed. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "log.h"
#include "status.h"

static void print_help(void) {
        (void) puts("keyrota destroy [OPTION...] NAME\n"
                    "\n"
                    "Destroy the keys of the secret NAME, whose policy was removed, as soon as no service runs with\n"
                    "them and no token can be valid any more. What stays is when they were made and destroyed.\n"
                    "\n"
                    "Options:\n"
                    "  --now         Destroy them now; tokens that are out are rejected. Asks first\n"
                    "  -y, --yes     Do not ask\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 done or on its way, 1 something failed, or it was not wanted, 2 usage.");
}

static void say_what_goes(const struct status_secret *secret) {
        for (size_t i = 0; secret->keyset && i < secret->keyset->n_keys; i++) {
                const struct key *key = &secret->keyset->keys[i];

                log_warning("%s/%s: key %s (%s) is destroyed, and tokens signed with it are rejected from now on", secret->environment, secret->name,
                            jwk_kid(key->jwk), key_state_to_string(key_state(secret->keyset, key)));
        }
}

static int explain(struct context *context, const char *name) {
        _cleanup_(status_freep) struct status *status = NULL;
        const struct status_secret *secret;
        int r;

        r = status_read(context, &status);
        if (r < 0) {
                log_error("cannot find out what is there: %s", strerror(-r));
                return r;
        }
        secret = status_find(status, name);
        if (!secret) {
                log_error("%s: there is no secret of that name; keyrota status lists them", name);
                return -ENOENT;
        }
        if (secret->policy) {
                log_error("%s: it has a policy; remove %s first, then its keys can be destroyed", name, secret->policy->file);
                return -EBUSY;
        }
        for (size_t i = 0; i < status->n_secrets; i++)
                if (strcmp(status->secrets[i].name, name) == 0)
                        say_what_goes(&status->secrets[i]);
        return 0;
}

int verb_destroy(struct context *context, int argc, char *argv[]) {
        enum { OPTION_NOW = 256 };
        static const struct option options[] = {
                { "now", no_argument, NULL, OPTION_NOW },
                { "yes", no_argument, NULL, 'y' },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        struct change change = { .type = CHANGE_DESTROY };
        bool yes = false;
        int c;

        while ((c = getopt_long(argc, argv, "yh", options, NULL)) >= 0)
                switch (c) {
                case OPTION_NOW:
                        change.now = true;
                        break;
                case 'y':
                        yes = true;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (argc - optind != 1) {
                log_error("destroy takes the name of one secret; keyrota status lists them");
                return EXIT_USAGE;
        }
        if (change.now && (explain(context, argv[optind]) < 0 || !change_is_wanted(yes, "destroy --now")))
                return EXIT_FAILURE;
        return change_secret(context, argv[optind], &change);
}
