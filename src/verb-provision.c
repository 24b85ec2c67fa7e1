/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota provision: the options. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "context.h"
#include "log.h"
#include "provision.h"

static void print_help(void) {
        (void) puts("keyrota provision [OPTION...]\n"
                    "\n"
                    "Make the keys that are missing, store them sealed, and publish every key in the kernel\n"
                    "keyring and as public JWKS files. With nothing to do it writes nothing and succeeds.\n"
                    "\n"
                    "Options:\n"
                    "  --defer-rsa           Leave missing RSA keys, which take long to make, to a later run\n"
                    "  --replace=NAME        Give up the stored keys of the secret NAME and make new ones; tokens\n"
                    "                        signed with the old ones stop verifying. The old file is set aside\n"
                    "  --accept-older=NAME   Take the stored file of NAME although it is older than the one last\n"
                    "                        in use: it was restored from a backup\n"
                    "  -h, --help            Show this help\n"
                    "\n"
                    "Exit status: 0 done or nothing to do, 1 something failed, 2 usage, 78 a policy is wrong.");
}

/* Appends one name of a repeatable option. */
static int append(char ***names, size_t *n, char *name) {
        char **grown = reallocarray(*names, *n + 1, sizeof(*grown));

        if (!grown)
                return log_oom();
        grown[(*n)++] = name;
        *names = grown;
        return 0;
}

int verb_provision(struct context *context, int argc, char *argv[]) {
        enum { OPTION_DEFER_RSA = 256, OPTION_REPLACE, OPTION_ACCEPT_OLDER };
        static const struct option options[] = {
                { "defer-rsa", no_argument, NULL, OPTION_DEFER_RSA },
                { "replace", required_argument, NULL, OPTION_REPLACE },
                { "accept-older", required_argument, NULL, OPTION_ACCEPT_OLDER },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        _cleanup_free_ char **replace = NULL, **accept_older = NULL;
        struct provision_options wanted = {};
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_DEFER_RSA:
                        wanted.defer_rsa = true;
                        break;
                case OPTION_REPLACE:
                        if (append(&replace, &wanted.n_replace, optarg) < 0)
                                return EXIT_FAILURE;
                        break;
                case OPTION_ACCEPT_OLDER:
                        if (append(&accept_older, &wanted.n_accept_older, optarg) < 0)
                                return EXIT_FAILURE;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc) {
                log_error("provision takes no argument; it always looks at every policy");
                return EXIT_USAGE;
        }
        wanted.replace = replace;
        wanted.accept_older = accept_older;
        return provision(context, &wanted);
}
