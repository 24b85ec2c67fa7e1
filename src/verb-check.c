/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota check: every error of every policy, then what follows from those that are right. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"
#include "context.h"
#include "log.h"
#include "policy.h"
#include "roles.h"
#include "timespan.h"

static void print_help(void) {
        (void) puts("keyrota check [OPTION...] [FILE...]\n"
                    "\n"
                    "Check keyrota.conf and every policy, or the policies FILE... only. Prints every error as\n"
                    "FILE:LINE, with what to write instead; then, of the policies that are right, notes on what\n"
                    "a rotation may do that was not expected (these are no errors), and the times that follow.\n"
                    "\n"
                    "Options:\n"
                    "  -q, --quiet   Print errors and warnings only\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 every policy is right, 78 one is wrong, 1 they could not be read, 2 usage.");
}

static void print_rule(const struct policy *policy) {
        char cryptoperiod[TIMESPAN_TEXT_MAX], prepublish[TIMESPAN_TEXT_MAX], overlap[TIMESPAN_TEXT_MAX], window[WINDOW_TEXT_MAX];

        (void) printf("%s/%s: %s; signs for %s, ", policy->environment, policy->name, algorithm_info(policy->algorithm)->name,
                      timespan_format(policy->cryptoperiod, cryptoperiod));
        if (policy_prepublishes(policy))
                (void) printf("is published %s before it signs", timespan_format(policy_prepublish(policy), prepublish));
        else
                (void) printf("is made when it is to sign");
        (void) printf(" and verifies for %s after", timespan_format(policy_overlap(policy), overlap));
        if (policy->window.set && policy_restarts_units(policy))
                (void) printf("; is changed in the window %s", window_format(&policy->window, window));
        (void) putchar('\n');
}

static void print_rules(const struct policy_set *policies) {
        size_t n_valid = 0;

        for (size_t i = 0; i < policies->n_policies; i++)
                if (policies->policies[i]->valid) {
                        n_valid++;
                        print_rule(policies->policies[i]);
                }
        (void) printf("%zu of %zu %s right.\n", n_valid, policies->n_policies,
                      policies->n_policies == 1 ? "policy is" : "policies are");
}

static int print_notes(const struct policy_set *policies) {
        struct diagnostics notes = { 0 };
        int r = policy_notes(policies, &notes);

        diagnostics_print_notes(&notes, stderr);
        diagnostics_clear(&notes);
        return r;
}

static int load(const struct context *context, char *const files[], size_t n_files, struct policy_set **ret, struct diagnostics *diagnostics) {
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        unsigned version;
        int r;

        r = n_files > 0 ? policy_load_files(context->tree, files, n_files, &policies, diagnostics) :
                          policy_load_all(context->tree, &policies, diagnostics);
        if (r < 0)
                return r;
        if (context_is_host(context) && policy_set_wants_reload(policies)) {
                r = bus_systemd_version(&version);
                if (r >= 0)
                        r = policy_check_reload(policies, version, diagnostics);
                else
                        log_info("systemd does not answer (%s): whether on_change = reload delivers was not checked", strerror(-r));
                if (r == -ENOMEM)
                        return r;
        }
        *ret = TAKE_PTR(policies);
        return 0;
}

int verb_check(struct context *context, int argc, char *argv[]) {
        static const struct option options[] = {
                { "quiet", no_argument, NULL, 'q' },
                { "help", no_argument, NULL, 'h' },
                { 0 }
        };
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        struct diagnostics diagnostics = { 0 };
        bool quiet = false, wrong;
        int c, r;

        while ((c = getopt_long(argc, argv, "qh", options, NULL)) >= 0)
                switch (c) {
                case 'q':
                        quiet = true;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }

        r = load(context, argv + optind, (size_t) (argc - optind), &policies, &diagnostics);
        diagnostics_print(&diagnostics, stderr);
        wrong = diagnostics.n_errors > 0;
        diagnostics_clear(&diagnostics);
        if (r < 0) {
                log_error("cannot read the policies: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        if (!quiet && print_notes(policies) < 0) {
                log_error("cannot check the policies: out of memory");
                return EXIT_FAILURE;
        }
        if (!quiet)
                print_rules(policies);
        return wrong ? EXIT_POLICY : EXIT_SUCCESS;
}
