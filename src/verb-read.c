/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota read: the exact bytes of a secret, or of what a unit is given, to standard output. Every read is on record. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "context.h"
#include "io.h"
#include "log.h"
#include "published.h"

static void print_help(void) {
        (void) puts("keyrota read [OPTION...] NAME\n"
                    "\n"
                    "Write the secret NAME to standard output: by default what verifies its tokens, as a JWK Set.\n"
                    "\n"
                    "Options:\n"
                    "  --use=sign|verify   The active private or symmetric key, or the verification set (default)\n"
                    "  --format=FORMAT     jwk, jwks (default), pem, raw, hex, base64 or base64url\n"
                    "  --newline           End with a newline\n"
                    "  --unit=UNIT         The bytes that UNIT is given, in its format, instead\n"
                    "  --credential=ID     With --unit=: this credential of UNIT, if it is given several\n"
                    "  --force             Write to a terminal too\n"
                    "  -h, --help          Show this help");
}

struct request {
        struct published_request what;
        bool force;
};

/* 0, or an exit status after saying what is wrong. -1: help was shown. */
static int parse(int argc, char *argv[], struct request *ret) {
        enum { OPTION_USE = 256, OPTION_FORMAT, OPTION_NEWLINE, OPTION_UNIT, OPTION_CREDENTIAL, OPTION_FORCE };
        static const struct option options[] = {
                { "use", required_argument, NULL, OPTION_USE },
                { "format", required_argument, NULL, OPTION_FORMAT },
                { "newline", no_argument, NULL, OPTION_NEWLINE },
                { "unit", required_argument, NULL, OPTION_UNIT },
                { "credential", required_argument, NULL, OPTION_CREDENTIAL },
                { "force", no_argument, NULL, OPTION_FORCE },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        struct published_request request = { .use = USE_VERIFY, .format = FORMAT_JWKS };
        bool force = false, has_rendering_option = false;
        int c, value;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (c) {
                case OPTION_USE:
                        value = use_from_string(optarg);
                        if (value < 0) {
                                log_error("--use=%s: write sign or verify", optarg);
                                return EXIT_USAGE;
                        }
                        request.use = (enum use) value;
                        break;
                case OPTION_FORMAT:
                        value = format_from_string(optarg);
                        if (value < 0) {
                                log_error("--format=%s: write jwk, jwks, pem, raw, hex, base64 or base64url", optarg);
                                return EXIT_USAGE;
                        }
                        request.format = (enum format) value;
                        break;
                case OPTION_NEWLINE:
                        request.newline = true;
                        break;
                case OPTION_UNIT:
                        request.unit = optarg;
                        continue;
                case OPTION_CREDENTIAL:
                        request.credential = optarg;
                        continue;
                case OPTION_FORCE:
                        force = true;
                        continue;
                case 'h':
                        print_help();
                        return -1;
                default:
                        return EXIT_USAGE;
                }
                has_rendering_option = true;
        }
        if (argc - optind != 1) {
                log_error("read takes the name of one secret; keyrota status lists them");
                return EXIT_USAGE;
        }
        request.name = argv[optind];
        if (request.unit && has_rendering_option) {
                log_error("--unit= gives the bytes as the unit gets them; leave --use=, --format= and --newline out");
                return EXIT_USAGE;
        }
        if (request.credential && !request.unit) {
                log_error("--credential= goes with --unit=");
                return EXIT_USAGE;
        }
        if (!policy_name_valid(request.name) || (request.unit && !policy_unit_valid(request.unit)) ||
            (request.credential && !policy_credential_valid(request.credential))) {
                log_error("no secret, unit or credential can have such a name");
                return EXIT_USAGE;
        }
        *ret = (struct request) { .what = request, .force = force };
        return 0;
}

/* The user of the login session that this runs in (also under sudo), else the real user. */
static uid_t reader_uid(void) {
        _cleanup_fclose_ FILE *stream = fopen("/proc/self/loginuid", "re");
        unsigned uid;

        return stream && fscanf(stream, "%u", &uid) == 1 && uid != (uid_t) -1 ? (uid_t) uid : getuid();
}

static int record_read(const struct context *context, const struct request *request, const struct keyring_header *header) {
        char secret[sizeof(header->secret)];
        char *name;
        struct audit_record record = {
                .kids = header->kids,
                .generation = header->generation,
                .unit = request->what.unit,
                .credential = request->what.credential,
                .pid = getpid(),
                .has_uid = true,
                .uid = reader_uid(),
        };

        memcpy(secret, header->secret, sizeof(secret));
        name = strchr(secret, '/');
        if (name) {
                *name = '\0';
                record.environment = secret;
                record.name = name + 1;
        }
        return context_audit(context, AUDIT_SECRET_READ, &record);
}

int verb_read(struct context *context, int argc, char *argv[]) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        _cleanup_free_ char *reason = NULL;
        struct diagnostics diagnostics = {};
        struct keyring_header header;
        struct request request;
        int r;

        r = parse(argc, argv, &request);
        if (r != 0)
                return r < 0 ? EXIT_SUCCESS : r;
        if (isatty(STDOUT_FILENO) && !request.force) {
                log_error("standard output is a terminal, which would show and remember the secret; redirect it, or say --force");
                return EXIT_FAILURE;
        }
        r = published_read(context, &request.what, &header, &bytes, &reason);
        if (r < 0) {
                log_error("%s: %s", request.what.name, reason ? reason : strerror(-r));
                return EXIT_FAILURE;
        }

        /* The record comes first, and keyrota.conf says whether it must. */
        r = policy_load_all(context->tree, &policies, &diagnostics);
        diagnostics_clear(&diagnostics);
        context->audit_required = r < 0 || !policies->config.valid || policies->config.audit_required;
        r = record_read(context, &request, &header);
        if (r < 0) {
                log_error("%s: not read, for that cannot be recorded in the journal (%s) and keyrota.conf says audit = required",
                          request.what.name, strerror(-r));
                return EXIT_FAILURE;
        }
        r = io_write_all(STDOUT_FILENO, bytes->data, bytes->size);
        if (r < 0) {
                log_error("cannot write to standard output: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
