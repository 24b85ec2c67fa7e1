/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota rollback: the way back from a rotation. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "change.h"
#include "log.h"

static void print_help(void) {
        (void) puts("keyrota rollback NAME\n"
                    "\n"
                    "Let the previous key of the secret NAME sign again, while it still lives, for another\n"
                    "cryptoperiod. The key that signs now goes on verifying until its tokens have expired. The\n"
                    "services that sign are told.\n"
                    "\n"
                    "Options:\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 done, 1 there is nothing to go back to, or something failed, 2 usage, 75 a service\n"
                    "could not be told yet and is tried again, 78 a policy is wrong.");
}

int verb_rollback(struct context *context, int argc, char *argv[]) {
        static const struct option options[] = { { "help", no_argument, NULL, 'h' }, {} };
        struct change change = { .type = CHANGE_ROLLBACK };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c != 'h')
                        return EXIT_USAGE;
                print_help();
                return EXIT_SUCCESS;
        }
        if (argc - optind != 1) {
                log_error("rollback takes the name of one secret; keyrota status lists them");
                return EXIT_USAGE;
        }
        return change_secret(context, argv[optind], &change);
}
