/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota revoke: a key is compromised. Says what breaks before it does it. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "log.h"
#include "status.h"
#include "timespan.h"

static void print_help(void) {
        (void) puts("keyrota revoke [OPTION...] NAME [KID]\n"
                    "\n"
                    "The key KID of the secret NAME, or every key of it, is compromised: it is destroyed, and out of\n"
                    "every set at once. If it was the one that signs, another signs at once. Every service that\n"
                    "holds it is restarted, reloaded or sent a signal as the policy says, in no window but now.\n"
                    "Tokens that were signed with it are rejected from then on; what that means is said before\n"
                    "it is done, and asked for.\n"
                    "\n"
                    "Options:\n"
                    "  -y, --yes     Do not ask\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 done, 1 something failed, or it was not wanted, 2 usage, 75 a service could not be told\n"
                    "yet and is tried again, 78 a policy is wrong.");
}

static void say_what_breaks(const struct status_secret *secret, const char *kid) {
        const struct keyset *keyset = secret->keyset;
        const struct policy *policy = secret->policy;
        char lifetime[TIMESPAN_TEXT_MAX], cached[TIMESPAN_TEXT_MAX];

        for (size_t i = 0; i < keyset->n_keys; i++) {
                const struct key *key = &keyset->keys[i];
                const char *each = jwk_kid(key->jwk);

                if (!kid || strcmp(kid, each) == 0)
                        log_warning("%s/%s: key %s (%s) is destroyed", keyset->environment, keyset->name, each,
                                    key_state_to_string(key_state(keyset, key)));
        }
        if (!policy || !policy->valid)
                return;
        log_warning("every token signed with %s is rejected from now on; such tokens may be out for another %s", kid ? "it" : "them",
                    timespan_format(policy->token_lifetime, lifetime));
        if (!algorithm_is_symmetric(policy->algorithm))
                log_warning("verifiers on other hosts may accept them, and may reject the tokens of a new key, for another %s (jwks_max_age)",
                            timespan_format(policy->jwks_max_age, cached));
        for (size_t i = 0; i < policy->n_deliveries; i++) {
                const struct delivery *delivery = &policy->deliveries[i];
                char on_change[ON_CHANGE_TEXT_MAX];

                if (delivery->on_change != ON_CHANGE_NONE)
                        log_warning("%s: %s now", delivery->unit, on_change_to_string(delivery, on_change));
                else if (delivery->credential)
                        log_warning("%s: goes on with what it has until you restart it", delivery->unit);
        }
}

static int explain(struct context *context, const char *name, const char *kid) {
        _cleanup_(status_freep) struct status *status = NULL;
        const struct status_secret *secret;
        int r;

        r = status_read(context, &status);
        if (r < 0) {
                log_error("cannot find out what is there: %s", strerror(-r));
                return r;
        }
        secret = status_find(status, name);
        if (!secret || !secret->keyset || secret->keyset->n_keys == 0) {
                log_error("%s: there is no such secret, or it has no key; keyrota status lists them", name);
                return -ENOENT;
        }
        if (kid && !keyset_find(secret->keyset, kid)) {
                log_error("%s: it has no key %s; keyrota status %s lists its keys", name, kid, name);
                return -ENOENT;
        }
        say_what_breaks(secret, kid);
        return 0;
}

/* Of the kids that are thumbprints or random one in 64 begins with a dash, and is no option: it is longer than any. Taken out of the arguments, or
 * NULL. */
static const char *take_dashed_kid(int *argc, char *argv[]) {
        for (int i = 2; i < *argc; i++)
                if (argv[i][0] == '-' && strlen(argv[i]) > strlen("--help")) {
                        const char *kid = argv[i];

                        memmove(argv + i, argv + i + 1, (size_t) (*argc - i) * sizeof(*argv)); /* the NULL too */
                        --*argc;
                        return kid;
                }
        return NULL;
}

int verb_revoke(struct context *context, int argc, char *argv[]) {
        static const struct option options[] = {
                { "yes", no_argument, NULL, 'y' },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        struct change change = { .type = CHANGE_REVOKE };
        bool yes = false;
        int c, n;

        change.kid = take_dashed_kid(&argc, argv);
        while ((c = getopt_long(argc, argv, "yh", options, NULL)) >= 0)
                switch (c) {
                case 'y':
                        yes = true;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        n = argc - optind;
        if (n != 1 && (n != 2 || change.kid)) {
                log_error("revoke takes the name of one secret, and perhaps a key's kid; keyrota status lists them");
                return EXIT_USAGE;
        }
        if (n == 2)
                change.kid = argv[optind + 1];
        if (explain(context, argv[optind], change.kid) < 0 || !change_is_wanted(yes, "revoke"))
                return EXIT_FAILURE;
        return change_secret(context, argv[optind], &change);
}
