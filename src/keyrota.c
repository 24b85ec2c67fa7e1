/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keyrota(8): global options, the table of verbs, and nothing else. Each verb is a file of its own.
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "jwk.h"
#include "log.h"
#include "paths.h"
#include "policy.h"
#include "secret.h"

static int verb_version(struct context *context, int argc, char *argv[]);
static int verb_help(struct context *context, int argc, char *argv[]);

static const struct verb {
        const char *name;
        int (*run)(struct context *context, int argc, char *argv[]);
        const char *summary;
        bool needs_root; /* reads or writes what only root may */
} verbs[] = {
        { "provision", verb_provision, "Make the keys that are missing and publish all of them", true },
        { "rotate", verb_rotate, "Take the steps that are due, or begin a rotation", true },
        { "plan", verb_plan, "Show what will happen to the keys, and when", true },
        { "check", verb_check, "Check policies and print every error", false },
        { "status", verb_status, "Show secrets, their keys and what is wrong", true },
        { "read", verb_read, "Write a secret to standard output", false },
        { "explain", verb_explain, "Say why a user may read a secret, or not, and who holds it", true },
        { "lock", verb_lock, "Let no user read a secret, or a user nothing, at once", true },
        { "unlock", verb_unlock, "Let them read again", true },
        { "revoke", verb_revoke, "Take a compromised key out of every set at once", true },
        { "rollback", verb_rollback, "Let the previous key sign again", true },
        { "import", verb_import, "Adopt an existing secret from standard input", true },
        { "destroy", verb_destroy, "Destroy the keys of a secret without a policy", true },
        { "rekey", verb_rekey, "Seal the whole store under a new key", true },
        { "setup", verb_setup, "Make the key-encryption key, if there is none", true },
        { "version", verb_version, "Show the version", false },
        { "help", verb_help, "Show this help", false },
};

static void print_help(void) {
        (void) puts("keyrota [OPTION...] VERB [ARGUMENT...]\n"
                    "\n"
                    "Strong, different and accounted-for keys for JSON Web Tokens.\n"
                    "\n"
                    "Verbs:");
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                (void) printf("  %-12s%s\n", verbs[i].name, verbs[i].summary);
        (void) puts("\n"
                    "Options:\n"
                    "  --root=DIR        Act on the tree at DIR: its policies, its store, its host key\n"
                    "  --keyring=NAME    With --root: publish in the kernel keyring NAME and in DIR" PATH_RUN "\n"
                    "  -h, --help        Show this help; after a verb, that verb's\n"
                    "  --version         Show the version\n"
                    "\n"
                    "See keyrota(8), keyrota-policy(5), keyrota-credential(8) and keyrota-read(8).");
}

static int verb_help(struct context *context _unused_, int argc _unused_, char *argv[] _unused_) {
        print_help();
        return EXIT_SUCCESS;
}

static int verb_version(struct context *context _unused_, int argc, char *argv[]) {
        if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
                (void) puts("keyrota version\n\nShow the version.");
                return EXIT_SUCCESS;
        }
        (void) puts("keyrota " PACKAGE_VERSION);
        return EXIT_SUCCESS;
}

int context_audit(const struct context *context, enum audit_event event, const struct audit_record *record) {
        int r;

        if (!context_is_host(context))
                return 0;
        r = audit_write(event, record);
        if (r >= 0)
                return 0;
        audit_note_missing(event, record, r);
        return context->audit_required ? r : 0;
}

static const struct verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

static bool asks_for_help(int argc, char *argv[]) {
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
                        return true;
        return false;
}

/* Runs with key bytes in reach: everything that keeps them out of core images and swap comes first. */
static int run_verb(const struct verb *verb, const char *root, const char *ring, int argc, char *argv[]) {
        struct context context = { .ring = ring };
        _cleanup_(tree_freep) struct tree *tree = NULL;
        int r;

        r = secret_harden_process();
        if (r < 0) {
                log_error("cannot lock memory to keep key bytes out of swap: %s; %s", strerror(-r),
                          r == -EPERM ? "a system call filter forbids mlock(2) here (systemd-nspawn: --system-call-filter=@memlock)" :
                                        "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)");
                return EXIT_FAILURE;
        }
        r = jwk_init();
        if (r < 0) {
                log_error("cannot prepare OpenSSL: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        r = tree_open(root, &tree);
        if (r < 0) {
                log_error("%s: %s", root ? root : "/", strerror(-r));
                return EXIT_FAILURE;
        }
        context.tree = tree;
        if (!tree->root)
                context.ring = KEYRING_NAME;
        return verb->run(&context, argc, argv);
}

int main(int argc, char *argv[]) {
        enum { OPTION_ROOT = 256, OPTION_KEYRING, OPTION_VERSION };
        static const struct option options[] = {
                { "root", required_argument, NULL, OPTION_ROOT },
                { "keyring", required_argument, NULL, OPTION_KEYRING },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                {}
        };
        const char *root = NULL, *ring = NULL;
        const struct verb *verb;
        int c;

        while ((c = getopt_long(argc, argv, "+h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_ROOT:
                        root = optarg;
                        break;
                case OPTION_KEYRING:
                        ring = optarg;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_VERSION:
                        return verb_version(NULL, 0, NULL);
                default:
                        return EXIT_USAGE;
                }

        if (optind >= argc) {
                log_error("which verb? See keyrota --help");
                return EXIT_USAGE;
        }
        verb = find_verb(argv[optind]);
        if (!verb) {
                log_error("there is no verb \"%s\"; see keyrota --help", argv[optind]);
                return EXIT_USAGE;
        }
        if (ring && (!root || strcmp(root, "/") == 0)) {
                log_error("--keyring= goes with --root=; the host's own keyring is always \"" KEYRING_NAME "\"");
                return EXIT_USAGE;
        }
        if (ring && (!policy_name_valid(ring) || strcmp(ring, KEYRING_NAME) == 0)) {
                log_error("--keyring=%s: choose a name of a-z, 0-9, \"_\", \"-\" and \".\" that is not \"" KEYRING_NAME "\"", ring);
                return EXIT_USAGE;
        }
        argc -= optind;
        argv += optind;
        if (verb->needs_root && geteuid() != 0 && !asks_for_help(argc, argv)) {
                log_error("keyrota %s needs to be run as root", verb->name);
                return EXIT_FAILURE;
        }
        optind = 0; /* getopt(3): start over, with the verb's own options */
        return run_verb(verb, root, ring, argc, argv);
}
