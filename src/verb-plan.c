/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota plan: the coming events, and what an edit of the policy would change. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "context.h"
#include "log.h"
#include "plan.h"
#include "roles.h"
#include "status.h"

static void print_help(void) {
        (void) puts("keyrota plan [NAME...]\n"
                    "\n"
                    "Show what will happen to the keys of every secret, or of the secrets NAME..., and when: which\n"
                    "key is made, signs, is destroyed, and which service is told, if all goes well. Where a policy\n"
                    "was edited since the last run, show the edit and what it changes, before it does. Nothing\n"
                    "is changed.\n"
                    "\n"
                    "Options:\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0, 1 something could not be read, 2 usage.");
}

static const char *step_text(const struct plan_event *event) {
        switch (event->step) {
        case PLAN_CREATE:
                return "a new key is made and published";
        case PLAN_ACTIVATE:
                return "signs, and its predecessor only verifies";
        case PLAN_CREATE_AND_ACTIVATE:
                return "a new key is made and signs";
        case PLAN_DESTROY:
                return "is destroyed";
        }
        return "";
}

static void print_told(const struct policy *policy, const struct plan_event *event) {
        for (size_t i = 0; policy && i < policy->n_deliveries; i++) {
                const struct delivery *delivery = &policy->deliveries[i];
                char on_change[ON_CHANGE_TEXT_MAX];

                if (delivery->on_change == ON_CHANGE_NONE && !delivery->credential)
                        continue; /* it looks by itself */
                if ((event->verifiers && delivery_holds_set(policy, delivery)) || (event->signers && delivery_follows_active(policy, delivery)))
                        (void) printf("%28s%s: %s\n", "", delivery->unit,
                                      delivery->on_change == ON_CHANGE_NONE ? "has to be restarted by hand" : on_change_to_string(delivery, on_change));
        }
}

static int print_plan(const struct policy *policy, const struct keyset *keyset, int64_t now) {
        struct plan plan;
        int r;

        r = plan_make(policy, keyset, now, &plan);
        if (r < 0)
                return r;
        for (size_t i = 0; i < plan.n_events; i++) {
                const struct plan_event *event = &plan.events[i];
                time_t when = (time_t) event->when;
                char text[64] = "-";
                struct tm tm;

                if (localtime_r(&when, &tm))
                        (void) strftime(text, sizeof(text), "%F %T %Z", &tm);
                if (event->step == PLAN_CREATE || event->step == PLAN_CREATE_AND_ACTIVATE)
                        (void) printf("    %s %s\n", text, step_text(event));
                else if (*event->kid)
                        (void) printf("    %s key %s %s\n", text, event->kid, step_text(event));
                else
                        (void) printf("    %s a key made in this plan %s\n", text, step_text(event));
                print_told(policy, event);
        }
        if (plan.n_events == 0)
                (void) puts("    nothing");
        return 0;
}

/* Is there this line in the section of that name? */
static bool has_line(const char *text, const char *section, size_t section_size, const char *line, size_t size) {
        bool inside = section_size == 0;

        while (*text) {
                size_t n = strcspn(text, "\n");

                if (*text == '[')
                        inside = n == section_size && memcmp(text, section, n) == 0;
                if (inside && n == size && memcmp(text, line, size) == 0)
                        return true;
                text += n + (text[n] != '\0');
        }
        return false;
}

/* The lines of text that other has not, below the name of their section. */
static void print_difference(const char *text, const char *other, char sign) {
        const char *section = NULL;
        size_t section_size = 0;
        bool named = true;

        while (*text) {
                size_t n = strcspn(text, "\n");

                if (*text == '[') {
                        section = text;
                        section_size = n;
                        named = false;
                }
                if (n > 0 && !has_line(other, section, section_size, text, n)) {
                        if (!named && text != section)
                                (void) printf("      %.*s\n", (int) section_size, section);
                        (void) printf("    %c %.*s\n", sign, (int) n, text);
                        named = true;
                }
                text += n + (text[n] != '\0');
        }
}

/* An edit that no run has seen yet: what it says, and what would happen without it. */
static int print_edit(const struct status_secret *secret, int64_t now) {
        _cleanup_(policy_freep) struct policy *old = NULL;
        struct diagnostics diagnostics = {};
        _cleanup_free_ char *text = NULL;
        int r;

        if (!secret->keyset || !secret->keyset->policy)
                return 0;
        r = policy_format(secret->policy, &text);
        if (r < 0 || strcmp(text, secret->keyset->policy) == 0)
                return r;
        (void) puts("  was edited, and is in force from the next run on:");
        print_difference(secret->keyset->policy, text, '-');
        print_difference(text, secret->keyset->policy, '+');
        r = policy_parse_text(secret->name, secret->keyset->policy, &old, &diagnostics);
        diagnostics_clear(&diagnostics);
        if (r < 0)
                return r == -EBADMSG ? 0 : r;
        (void) puts("  without the edit:");
        r = print_plan(old, secret->keyset, now);
        (void) puts("  with it:");
        return r;
}

/* A policy that is wrong goes on as it last worked. */
static int print_last_good(const struct status_secret *secret, int64_t now) {
        _cleanup_(policy_freep) struct policy *last = NULL;
        struct diagnostics diagnostics = {};
        int r;

        (void) printf("  %s\n", secret->policy->error ? secret->policy->error : "its policy is wrong; see keyrota check");
        if (!secret->keyset || !secret->keyset->policy)
                return 0;
        r = policy_parse_text(secret->name, secret->keyset->policy, &last, &diagnostics);
        diagnostics_clear(&diagnostics);
        if (r < 0)
                return r == -EBADMSG ? 0 : r;
        (void) puts("  goes on as it last worked:");
        return print_plan(last, secret->keyset, now);
}

/* 1: what will come cannot be told. */
static int print_secret(const struct status *status, const struct status_secret *secret) {
        int r = 0;

        (void) printf("%s/%s\n", secret->environment ? secret->environment : "-", secret->name);
        if (secret->unreadable) {
                for (size_t i = 0; i < secret->n_problems; i++)
                        (void) printf("  %s\n", secret->problems[i]);
                (void) puts("  nothing comes of itself, as its stored keys cannot be read");
                return 1;
        }
        if (secret->policy && !secret->policy->valid)
                return print_last_good(secret, status->clock.now);
        if (secret->elsewhere)
                (void) printf("  has keys in %s, which are used no more from the next run on: tokens signed with them are rejected then\n",
                              secret->elsewhere);
        if (secret->policy)
                r = print_edit(secret, status->clock.now);
        else if (!secret->keyset)
                return 0;
        else {
                (void) printf("  its policy was removed; %s\n", secret->keyset->destroy ? "its keys will be destroyed" :
                                                                                  "its keys stay until keyrota destroy");
                for (size_t i = 0; i < secret->n_problems; i++)
                        (void) printf("  %s\n", secret->problems[i]);
        }
        return r < 0 ? r : print_plan(secret->policy, secret->keyset, status->clock.now);
}

static bool is_wanted(const char *name, char *const names[], int n) {
        for (int i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return n == 0;
}

static int check_names(const struct status *status, char *const names[], int n) {
        for (int i = 0; i < n; i++) {
                bool found = false;

                for (size_t j = 0; j < status->n_secrets && !found; j++)
                        found = strcmp(status->secrets[j].name, names[i]) == 0;
                if (!found) {
                        log_error("there is no secret \"%s\"; keyrota status lists all", names[i]);
                        return -ENOENT;
                }
        }
        return 0;
}

int verb_plan(struct context *context, int argc, char *argv[]) {
        static const struct option options[] = { { "help", no_argument, NULL, 'h' }, {} };
        _cleanup_(status_freep) struct status *status = NULL;
        bool unreadable = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c != 'h')
                        return EXIT_USAGE;
                print_help();
                return EXIT_SUCCESS;
        }
        r = status_read(context, &status);
        if (r < 0) {
                log_error("cannot find out what is there: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        if (check_names(status, argv + optind, argc - optind) < 0)
                return EXIT_FAILURE;
        for (size_t i = 0; i < status->n_secrets; i++) {
                if (!is_wanted(status->secrets[i].name, argv + optind, argc - optind))
                        continue;
                r = print_secret(status, &status->secrets[i]);
                if (r < 0) {
                        log_error("%s: cannot plan: %s", status->secrets[i].name, strerror(-r));
                        return EXIT_FAILURE;
                }
                unreadable |= r > 0;
        }
        for (size_t i = 0; unreadable && i < status->n_problems; i++)
                log_error("%s", status->problems[i]);
        return unreadable ? EXIT_FAILURE : EXIT_SUCCESS;
}
