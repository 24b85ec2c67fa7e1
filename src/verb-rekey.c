/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota rekey: the options. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "context.h"
#include "log.h"
#include "rekey.h"

static void print_help(void) {
        (void) puts("keyrota rekey [OPTION...]\n"
                    "\n"
                    "Make a new key-encryption key, seal every stored file again under it, and drop the old one.\n"
                    "The secrets, their generations and what is published stay as they are; no service is\n"
                    "restarted. Where a stored file cannot be opened, nothing is changed. Interrupted at any\n"
                    "moment, every file still opens; run again, it completes.\n"
                    "\n"
                    "The old key-encryption key is removed, since a rekey is what one does when it may have\n"
                    "leaked. Backups of the store from before then open only with the kek.cred of the same\n"
                    "backup, and files set aside earlier (*.refused-*) not at all. A key that may have leaked\n"
                    "opens the backups it was in: rotate the secrets too.\n"
                    "\n"
                    "Options:\n"
                    "  --keep-old    Keep the old key-encryption key, sealed, as kek.cred.old-KID\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 done, 1 something failed, 2 usage, 78 keyrota.conf is wrong.");
}

int verb_rekey(struct context *context, int argc, char *argv[]) {
        enum { OPTION_KEEP_OLD = 256 };
        static const struct option options[] = {
                { "keep-old", no_argument, NULL, OPTION_KEEP_OLD },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 }
        };
        struct rekey_options wanted = { .keep_old = false };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_KEEP_OLD:
                        wanted.keep_old = true;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc) {
                log_error("rekey takes no argument; it is always for the whole store");
                return EXIT_USAGE;
        }
        return rekey(context, &wanted);
}
