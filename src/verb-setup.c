/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota setup: makes the key-encryption key where there is none. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "log.h"
#include "provision.h"

int verb_setup(struct context *context, int argc, char *argv[]) {
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                {}
        };
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        struct diagnostics diagnostics = {};
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        (void) puts("keyrota setup\n"
                                    "\n"
                                    "Make the key-encryption key and seal it with systemd-creds, if there is none yet.\n"
                                    "keyrota-setup.service does this on first use.");
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc) {
                log_error("setup takes no argument");
                return EXIT_USAGE;
        }
        r = policy_load_all(context->tree, &policies, &diagnostics);
        diagnostics_clear(&diagnostics); /* provision says what is wrong with them */
        if (r < 0) {
                log_error("cannot read keyrota.conf: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        return provision_setup(context, policies->config.seal_with) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
