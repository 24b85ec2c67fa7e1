/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota import: adopts an existing secret from standard input, so that its tokens stay valid through the first rotation. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "context.h"
#include "import.h"
#include "log.h"
#include "paths.h"
#include "policy.h"

static void print_help(void) {
        (void) puts("keyrota import [OPTION...] NAME <FILE\n"
                    "\n"
                    "Make the key on standard input the active key of the secret NAME, which has a policy but no\n"
                    "key yet. Tokens that were signed with it stay valid through the first rotation.\n"
                    "\n"
                    "Options:\n"
                    "  --format=FORMAT   jwk, jwks, pem, raw, hex, base64 or base64url; JSON and PEM are recognised\n"
                    "                    without it. White space at the end of text is no part of it; of raw, all\n"
                    "                    bytes are the key\n"
                    "  --kid=KID         Name the key so. Default: as the JWK says, else its thumbprint, or at\n"
                    "                    random for a symmetric key\n"
                    "  --replace         Even if the secret has keys: they are set aside and verify no more\n"
                    "  -h, --help        Show this help\n"
                    "\n"
                    "Exit status: 0 done, 1 something failed, 2 usage, 75 a service could not be told yet and is tried\n"
                    "again, 78 a policy is wrong.");
}

struct request {
        const char *name, *kid;
        int format; /* -1: to be recognised */
        bool replace;
};

/* 0, or an exit status after saying what is wrong. -1: help was shown. */
static int parse(int argc, char *argv[], struct request *ret) {
        enum { OPTION_FORMAT = 256, OPTION_KID, OPTION_REPLACE };
        static const struct option options[] = {
                { "format", required_argument, NULL, OPTION_FORMAT },
                { "kid", required_argument, NULL, OPTION_KID },
                { "replace", no_argument, NULL, OPTION_REPLACE },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct request request = { .format = -1 };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_FORMAT:
                        request.format = format_from_string(optarg);
                        if (request.format < 0) {
                                log_error("--format=%s: write jwk, jwks, pem, raw, hex, base64 or base64url", optarg);
                                return EXIT_USAGE;
                        }
                        break;
                case OPTION_KID:
                        request.kid = optarg;
                        if (!jwk_kid_valid(optarg)) {
                                log_error("--kid=: write 1 to %d printable ASCII characters without space and comma", JWK_KID_MAX);
                                return EXIT_USAGE;
                        }
                        break;
                case OPTION_REPLACE:
                        request.replace = true;
                        break;
                case 'h':
                        print_help();
                        return -1;
                default:
                        return EXIT_USAGE;
                }
        if (argc - optind != 1) {
                log_error("import takes the name of one secret; the key itself comes on standard input");
                return EXIT_USAGE;
        }
        request.name = argv[optind];
        if (!policy_name_valid(request.name)) {
                log_error("no secret can have such a name");
                return EXIT_USAGE;
        }
        *ret = request;
        return 0;
}

/* 0, or an exit status after saying what is wrong. *ret is one of the set's. */
static int find_policy(const struct context *context, const char *name, struct policy_set **ret_set, const struct policy **ret) {
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        struct diagnostics diagnostics = { 0 };
        const struct policy *policy = NULL;
        int r;

        r = policy_load_all(context->tree, &policies, &diagnostics);
        diagnostics_clear(&diagnostics); /* of our policy it holds the first that is wrong, and check(1) says all */
        if (r < 0) {
                log_error("cannot read the policies: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        for (size_t i = 0; i < policies->n_policies && !policy; i++)
                if (strcmp(policies->policies[i]->name, name) == 0)
                        policy = policies->policies[i];
        if (!policy) {
                log_error("%s: there is no policy of that name%s; it says for which algorithm the key is and who gets it", name,
                          policies->incomplete ? ", and a policy folder cannot be read" : "");
                return EXIT_FAILURE;
        }
        if (!policy->valid) {
                log_error("%s: not imported, for its policy is wrong: %s", name, policy->error ? policy->error : "see keyrota check");
                return EXIT_POLICY;
        }
        *ret_set = TAKE_PTR(policies);
        *ret = policy;
        return 0;
}

static int read_key(const struct policy *policy, const struct request *request, struct jwk **ret) {
        _cleanup_(secret_freep) struct secret *input = NULL;
        _cleanup_free_ char *reason = NULL;
        int r;

        r = import_read(STDIN_FILENO, &input);
        if (r == -EFBIG)
                log_error("%s: standard input holds more than %d KiB, which is no key", request->name, IMPORT_MAX / 1024);
        else if (r < 0)
                log_error("%s: cannot read standard input: %s", request->name, strerror(-r));
        if (r < 0)
                return r;
        if (import_ends_in_newline(request->format, input))
                log_info("%s: the last of these %zu bytes is a newline, and so it is a part of the key. If the service reads the file without it, "
                         "leave it out: head -c -1 FILE | keyrota import --format=raw %s", request->name, input->size, request->name);
        r = import_decode(policy, request->format, input, request->kid, ret, &reason);
        if (r < 0)
                log_error("%s: not imported: %s", request->name, reason ? reason : strerror(-r));
        return r;
}

int verb_import(struct context *context, int argc, char *argv[]) {
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        const struct policy *policy = NULL;
        struct request request = { .format = -1 };
        struct jwk *jwk = NULL;
        int r;

        r = parse(argc, argv, &request);
        if (r != 0)
                return r < 0 ? EXIT_SUCCESS : r;
        if (isatty(STDIN_FILENO)) {
                log_error("standard input is a terminal, which would show and remember the key; redirect it: keyrota import %s <FILE", request.name);
                return EXIT_FAILURE;
        }
        r = find_policy(context, request.name, &policies, &policy);
        if (r != 0)
                return r;
        r = read_key(policy, &request, &jwk);
        return r < 0 ? EXIT_FAILURE : change_import(context, request.name, jwk, request.replace);
}
