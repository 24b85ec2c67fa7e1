/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota destroy: the end of a secret whose policy was removed. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "change.h"
#include "log.h"

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
        if (change.now) {
                log_warning("%s: every key of it is destroyed, and tokens signed with them are rejected from now on", argv[optind]);
                if (!change_is_wanted(yes, "destroy --now"))
                        return EXIT_FAILURE;
        }
        return change_secret(context, argv[optind], &change);
}
