/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota rotate: the options. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "context.h"
#include "log.h"
#include "provision.h"

static void print_help(void) {
        (void) puts("keyrota rotate [OPTION...] [NAME...]\n"
                    "\n"
                    "Take every step that is due in the life of the keys of all secrets, or of the secrets NAME...\n"
                    "only: make successors, let them sign when every verifier has them, destroy what no token\n"
                    "needs any more. Services are restarted, reloaded or sent a signal as their policy says, and\n"
                    "what comes next is armed as a timer. With nothing due it changes nothing and succeeds.\n"
                    "\n"
                    "Options:\n"
                    "  --now         Begin a full rotation of NAME..., though it is not due\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 done or nothing due, 1 something failed and is tried again, 2 usage, 75 a service could\n"
                    "not be told yet and is tried again, 78 a policy is wrong.");
}

int verb_rotate(struct context *context, int argc, char *argv[]) {
        enum { OPTION_NOW = 256 };
        static const struct option options[] = {
                { "now", no_argument, NULL, OPTION_NOW },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        struct change change = { .type = CHANGE_ROTATE };
        struct provision_options wanted = {};
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_NOW:
                        wanted.change = &change;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        wanted.names = argv + optind;
        wanted.n_names = (size_t) (argc - optind);
        if (wanted.change && wanted.n_names == 0) {
                log_error("rotate --now takes the names of the secrets; keyrota status lists them");
                return EXIT_USAGE;
        }
        return rotate(context, &wanted);
}
