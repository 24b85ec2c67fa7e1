/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keyrota read: the exact bytes of a secret, or of what a unit is given, to standard output. Root reads what is published, on record; everybody else their own
 * copy, or asks the read server.
 */

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
#include "read-client.h"

static void print_help(void) {
        (void) puts("keyrota read [OPTION...] NAME\n"
                    "\n"
                    "Write the secret NAME to standard output: by default what verifies its tokens, as a JWK Set.\n"
                    "Not as root: what [access] of its policy lets you read, exactly.\n"
                    "\n"
                    "Options:\n"
                    "  --use=sign|verify   The active private or symmetric key, or the verification set (root's default)\n"
                    "  --format=FORMAT     jwk, jwks (default), pem, raw, hex, base64 or base64url\n"
                    "  --newline           End with a newline\n"
                    "  --unit=UNIT         The bytes that UNIT is given, in its format, instead (root)\n"
                    "  --credential=ID     With --unit=: this credential of UNIT, if it is given several\n"
                    "  --force             Write to a terminal too\n"
                    "  -h, --help          Show this help");
}

struct request {
        struct published_request what;
        bool has_use, has_format;
        bool force;
};

static bool names_valid(const struct published_request *request) {
        if (!policy_name_valid(request->name))
                log_error("\"%s\" is no name of a secret; keyrota status lists all", request->name);
        else if (request->unit && !policy_unit_valid(request->unit))
                log_error("\"%s\" is no name of a service; keyrota status %s lists those that are given it", request->unit, request->name);
        else if (request->credential && !policy_credential_valid(request->credential))
                log_error("\"%s\" is no name of a credential; keyrota status %s lists those of each service", request->credential, request->name);
        else
                return true;
        return false;
}

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
        bool force = false, has_use = false, has_format = false;
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
                        has_use = true;
                        break;
                case OPTION_FORMAT:
                        value = format_from_string(optarg);
                        if (value < 0) {
                                log_error("--format=%s: write jwk, jwks, pem, raw, hex, base64 or base64url", optarg);
                                return EXIT_USAGE;
                        }
                        request.format = (enum format) value;
                        has_format = true;
                        break;
                case OPTION_NEWLINE:
                        request.newline = true;
                        break;
                case OPTION_UNIT:
                        request.unit = optarg;
                        break;
                case OPTION_CREDENTIAL:
                        request.credential = optarg;
                        break;
                case OPTION_FORCE:
                        force = true;
                        break;
                case 'h':
                        print_help();
                        return -1;
                default:
                        return EXIT_USAGE;
                }
        }
        if (argc - optind != 1) {
                log_error("read takes the name of one secret; keyrota status lists them");
                return EXIT_USAGE;
        }
        request.name = argv[optind];
        if (request.unit && (has_use || has_format || request.newline)) {
                log_error("--unit= gives the bytes as the unit gets them; leave --use=, --format= and --newline out");
                return EXIT_USAGE;
        }
        if (request.credential && !request.unit) {
                log_error("--credential= goes with --unit=");
                return EXIT_USAGE;
        }
        if (!names_valid(&request))
                return EXIT_USAGE;
        *ret = (struct request) { .what = request, .has_use = has_use, .has_format = has_format, .force = force };
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

static int write_out(const struct secret *bytes) {
        int r;

        r = io_write_all(STDOUT_FILENO, bytes->data, bytes->size);
        if (r < 0) {
                log_error("cannot write to standard output: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

static int read_as_root(struct context *context, const struct request *request) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        _cleanup_free_ char *reason = NULL;
        struct diagnostics diagnostics = {};
        struct keyring_header header;
        int r;

        r = published_read(context, &request->what, &header, &bytes, &reason);
        if (r < 0) {
                log_error("%s: %s", request->what.name, reason ? reason : strerror(-r));
                return EXIT_FAILURE;
        }

        /* The record comes first, and keyrota.conf says whether it must. */
        r = policy_load_all(context->tree, &policies, &diagnostics);
        diagnostics_clear(&diagnostics);
        context->audit_required = r < 0 || !policies->config.valid || policies->config.audit_required;
        r = record_read(context, request, &header);
        if (r < 0) {
                log_error("%s: not read, for that cannot be recorded in the journal (%s) and keyrota.conf says audit = required",
                          request->what.name, strerror(-r));
                return EXIT_FAILURE;
        }
        return write_out(bytes);
}

/* The copy in this session, or what the read server gives. */
static int fetch(const char *name, struct secret **ret) {
        _cleanup_free_ char *reason = NULL;
        const char *in_session = "this session holds no copy of it";
        int r;

        r = keyring_read_copy(name, ret);
        if (r >= 0)
                return 0;
        if (r == -EPERM)
                in_session = "this session holds a key of that name that is not keyrota's";
        else if (r != -ENOKEY) {
                log_error("%s: the copy of it in this session cannot be read: %s", name, strerror(-r));
                return r;
        }
        r = read_client_fetch(name, ret, &reason);
        if (r == -EACCES)
                log_error("%s: %s, and the read server says: %s. A session that was opened before the policy gets its copy with \"keyrota provision\" or the next "
                          "login; root can ask why: keyrota explain",
                          name, in_session, reason ? reason : strerror(-r));
        else if (r == -EREMOTEIO)
                log_error("%s: %s, and the read server says: %s", name, in_session, reason ? reason : strerror(-r));
        else if (r < 0)
                log_error("%s: %s, and %s", name, in_session, reason ? reason : strerror(-r));
        return r;
}

/* Renders the copy as it was asked for. It has but one of the uses, as [access] of the policy says. */
static int convert(const struct secret *copy, const struct request *request, struct secret **ret) {
        struct published_request what = request->what;
        _cleanup_free_ char *reason = NULL;
        int r;

        r = published_use(copy);
        if (r < 0) {
                log_error("%s: what was read is no JWK and no JWK Set of this version of keyrota", what.name);
                return r;
        }
        if (request->has_use && r != (int) what.use) {
                log_error("%s: --use=%s is not yours to read; [access] of its policy says use = %s", what.name, use_to_string(what.use),
                          use_to_string((enum use) r));
                return -EACCES;
        }
        what.use = (enum use) r;
        if (!request->has_format)
                what.format = what.use == USE_SIGN ? FORMAT_JWK : FORMAT_JWKS;
        r = published_render(copy, &what, ret, &reason);
        if (r < 0)
                log_error("%s: %s", what.name, reason ? reason : strerror(-r));
        return r;
}

static int read_as_user(const struct context *context, const struct request *request) {
        _cleanup_(secret_freep) struct secret *copy = NULL, *converted = NULL;

        if (!context_is_host(context) || request->what.unit) {
                log_error("keyrota read --%s= needs to be run as root", request->what.unit ? "unit" : "root");
                return EXIT_FAILURE;
        }
        if (fetch(request->what.name, &copy) < 0)
                return EXIT_FAILURE;
        if (!request->has_use && !request->has_format && !request->what.newline)
                return write_out(copy);
        if (convert(copy, request, &converted) < 0)
                return EXIT_FAILURE;
        return write_out(converted);
}

int verb_read(struct context *context, int argc, char *argv[]) {
        struct request request;
        int r;

        r = parse(argc, argv, &request);
        if (r != 0)
                return r < 0 ? EXIT_SUCCESS : r;
        if (isatty(STDOUT_FILENO) && !request.force) {
                log_error("standard output is a terminal, which would show and remember the secret; redirect it, or say --force");
                return EXIT_FAILURE;
        }
        return geteuid() == 0 ? read_as_root(context, &request) : read_as_user(context, &request);
}
