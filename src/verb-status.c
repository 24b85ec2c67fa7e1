/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota status: a table for people, JSON for programs. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "context.h"
#include "holder-show.h"
#include "log.h"
#include "status.h"

static void print_help(void) {
        (void) puts("keyrota status [OPTION...] [NAME...]\n"
                    "\n"
                    "Show every secret, or the secrets NAME... only: environment, algorithm, keys with state and\n"
                    "age, what comes next, consumers, users, sessions that hold copies, and what is wrong.\n"
                    "\n"
                    "Options:\n"
                    "  --json        Print JSON\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 all is well, 1 something is wrong or could not be read, 2 usage.");
}

#define AGE_MAX 32

/* The largest unit is enough: "3d", "5h". */
static const char *format_age(int64_t seconds, char buffer[static AGE_MAX]) {
        static const struct { int64_t seconds; const char *unit; } units[] = {
                { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" },
        };

        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (seconds >= units[i].seconds || units[i].seconds == 1) {
                        (void) snprintf(buffer, AGE_MAX, "%" PRId64 "%s", seconds > 0 ? seconds / units[i].seconds : 0,
                                        units[i].unit);
                        break;
                }
        return buffer;
}

#define TIME_TEXT_MAX 64

static const char *format_time(int64_t when, char buffer[static TIME_TEXT_MAX]) {
        time_t t = (time_t) when;
        struct tm tm;

        if (when == TIME_NEVER || !localtime_r(&t, &tm) || strftime(buffer, TIME_TEXT_MAX, "%a %F %T %Z", &tm) == 0)
                (void) snprintf(buffer, TIME_TEXT_MAX, "-");
        return buffer;
}

static const char *algorithm_of(const struct status_secret *secret) {
        const struct key *active = secret->keyset ? keyset_active(secret->keyset) : NULL;

        if (active)
                return algorithm_info(jwk_algorithm(active->jwk))->name;
        if (secret->policy && secret->policy->valid)
                return algorithm_info(secret->policy->algorithm)->name;
        return "-";
}

static void print_access(const struct status_secret *secret) {
        char text[HOLDER_TEXT_MAX];

        if (secret->members)
                (void) printf("    users   %s  %s%s%s\n", secret->members, use_to_string(secret->access_use),
                              secret->access_reads == READS_RECORDED ? "  recorded" : "", secret->locked ? "  locked" : "");
        else if (secret->locked)
                (void) printf("    users   locked\n");
        for (size_t i = 0; i < secret->n_holders; i++)
                (void) printf("    holder  %s  %s\n", holder_to_string(secret->holders[i].holder, text), holder_copy_to_string(secret->holders[i].copy));
}

static void print_secret(const struct status *status, const struct status_secret *secret) {
        char age[AGE_MAX], when[TIME_TEXT_MAX];
        size_t n_consumers = secret->policy ? secret->policy->n_deliveries : 0;

        (void) printf("%-20s %-14s %-10s", secret->name, secret->environment ? secret->environment : "-",
                      algorithm_of(secret));
        if (!secret->policy)
                (void) printf(" %-10s %s", "retired", "its policy was removed");
        else
                (void) printf(" %-10zu %s", n_consumers,
                              secret->keyset && secret->policy->valid ? format_time(secret->result.next, when) : "-");
        (void) putchar('\n');

        for (size_t i = 0; secret->keyset && i < secret->keyset->n_keys; i++) {
                const struct key *key = &secret->keyset->keys[i];

                (void) printf("    key  %s  %s  made %s ago\n", jwk_kid(key->jwk),
                              key_state_to_string(key_state(secret->keyset, key)),
                              format_age(status->clock.now - key->times.created, age));
        }
        for (size_t i = 0; i < n_consumers; i++) {
                const struct delivery *delivery = &secret->policy->deliveries[i];

                (void) printf("    %-6s  %s  %s%s%s\n", use_to_string(delivery->use), delivery->unit,
                              delivery->credential ? delivery->credential : "reads the JWKS file",
                              delivery->credential ? "  " : "", delivery->credential ? format_to_string(delivery->format) : "");
        }
        print_access(secret);
        for (size_t i = 0; i < secret->n_problems; i++)
                (void) printf("    wrong: %s\n", secret->problems[i]);
}

static void print_table(const struct status *status, bool (*wanted)(const char *name, void *userdata), void *userdata) {
        (void) printf("%-20s %-14s %-10s %-10s %s\n", "NAME", "ENVIRONMENT", "ALGORITHM", "CONSUMERS", "NEXT");
        for (size_t i = 0; i < status->n_secrets; i++)
                if (wanted(status->secrets[i].name, userdata))
                        print_secret(status, &status->secrets[i]);
        for (size_t i = 0; i < status->locks.n; i++)
                if (status->locks.items[i].kind == LOCK_USER)
                        (void) printf("locked: user %s\n", status->locks.items[i].name);
        for (size_t i = 0; i < status->n_problems; i++)
                (void) printf("wrong: %s\n", status->problems[i]);
}

/* A time or null. */
static json_t *json_time(int64_t when) {
        return when == TIME_NEVER ? json_null() : json_integer(when);
}

static json_t *json_problems(char *const problems[], size_t n) {
        json_t *array = json_array();

        for (size_t i = 0; i < n; i++)
                json_array_append_new(array, json_string(problems[i]));
        return array;
}

static json_t *json_keys(const struct status *status, const struct status_secret *secret) {
        json_t *array = json_array();

        for (size_t i = 0; secret->keyset && i < secret->keyset->n_keys; i++) {
                const struct key *key = &secret->keyset->keys[i];

                json_array_append_new(
                        array,
                        json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "kid", jwk_kid(key->jwk), "algorithm",
                                  algorithm_info(jwk_algorithm(key->jwk))->name, "state",
                                  key_state_to_string(key_state(secret->keyset, key)), "age",
                                  (json_int_t) (status->clock.now - key->times.created), "created", json_time(key->times.created),
                                  "published", json_time(key->times.published), "activates", json_time(key->times.activates), "deactivates", json_time(key->times.deactivates),
                                  "destroys", json_time(key->times.destroys)));
        }
        return array;
}

static json_t *json_consumers(const struct status_secret *secret) {
        json_t *array = json_array();

        for (size_t i = 0; secret->policy && i < secret->policy->n_deliveries; i++) {
                const struct delivery *delivery = &secret->policy->deliveries[i];
                char on_change[ON_CHANGE_TEXT_MAX];

                json_array_append_new(
                        array,
                        json_pack("{s:s, s:s, s:s?, s:s, s:s, s:b}", "unit", delivery->unit, "use", use_to_string(delivery->use),
                                  "credential", delivery->credential, "format", format_to_string(delivery->format), "on_change",
                                  on_change_to_string(delivery, on_change), "published",
                                  (int) (secret->published && secret->published[i])));
        }
        return array;
}

/* What runs now. */
static json_t *json_running(const struct status_secret *secret) {
        json_t *array = json_array();

        for (size_t i = 0; i < secret->consumers.n_items; i++) {
                const struct consumer *consumer = &secret->consumers.items[i];

                json_array_append_new(array,
                                      json_pack("{s:s, s:s, s:b, s:I, s:I, s:b}", "unit", consumer->unit, "use",
                                                use_to_string(consumer->delivery->use), "running", (int) consumer->running, "generation",
                                                (json_int_t) consumer->loaded, "needs", (json_int_t) consumer->wanted, "stale",
                                                (int) consumer_is_stale(consumer)));
        }
        return array;
}

/* Users, then groups with their @. */
static json_t *json_members(const struct status_secret *secret) {
        _cleanup_free_ char *copy = secret->members ? strdup(secret->members) : NULL;
        json_t *array = json_array();
        char *rest = copy, *word;

        while ((word = strsep(&rest, " ")))
                json_array_append_new(array, json_string(word));
        return array;
}

static json_t *json_access(const struct status_secret *secret) {
        json_t *holders = json_array();

        for (size_t i = 0; i < secret->n_holders; i++)
                json_array_append_new(holders, holder_to_json(secret->holders[i].holder, secret->holders[i].copy));
        return json_pack("{s:o, s:s?, s:s?, s:b, s:o}", "users", json_members(secret), "use", secret->members ? use_to_string(secret->access_use) : NULL,
                         "reads", secret->members ? reads_to_string(secret->access_reads) : NULL, "locked", (int) secret->locked, "holders", holders);
}

static json_t *json_locked_users(const struct status *status) {
        json_t *array = json_array();

        for (size_t i = 0; i < status->locks.n; i++)
                if (status->locks.items[i].kind == LOCK_USER)
                        json_array_append_new(array, json_string(status->locks.items[i].name));
        return array;
}

static const char *waits_for(const struct status_secret *secret) {
        switch (secret->result.wait) {
        case LIFECYCLE_WAIT_VERIFIERS:
                return "verifiers";
        case LIFECYCLE_WAIT_SIGNERS:
                return "signers";
        case LIFECYCLE_WAIT_NOBODY:
                break;
        }
        return NULL;
}

static json_t *json_secret(const struct status *status, const struct status_secret *secret) {
        const char *algorithm = algorithm_of(secret);

        return json_pack("{s:s, s:s?, s:s?, s:b, s:s?, s:I, s:o, s:o, s:o, s:o, s:o, s:s?, s:b, s:o}", "name", secret->name, "environment",
                         secret->environment, "algorithm", strcmp(algorithm, "-") == 0 ? NULL : algorithm, "retired",
                         (int) !secret->policy, "policy", secret->policy ? secret->policy->file : NULL, "generation",
                         (json_int_t) (secret->keyset ? secret->keyset->generation : 0), "keys",
                         json_keys(status, secret), "consumers", json_consumers(secret), "running",
                         json_running(secret), "access", json_access(secret), "next",
                         secret->keyset && secret->policy && secret->policy->valid ? json_time(secret->result.next) : json_null(),
                         "waits_for", waits_for(secret), "overdue", (int) secret->result.overdue, "problems", json_problems(secret->problems, secret->n_problems));
}

static int print_json(const struct status *status, bool (*wanted)(const char *name, void *userdata), void *userdata) {
        json_t *secrets = json_array(), *root;
        int r;

        for (size_t i = 0; i < status->n_secrets; i++)
                if (wanted(status->secrets[i].name, userdata))
                        json_array_append_new(secrets, json_secret(status, &status->secrets[i]));
        root = json_pack("{s:o, s:o, s:I, s:o}", "secrets", secrets, "locked_users", json_locked_users(status), "records_missing", (json_int_t) status->records_missing,
                         "problems", json_problems(status->problems, status->n_problems));
        if (!root)
                return log_oom();
        r = json_dumpf(root, stdout, JSON_INDENT(2));
        json_decref(root);
        (void) putchar('\n');
        return r < 0 || fflush(stdout) != 0 ? -EIO : 0;
}

struct names {
        char **names;
        size_t n;
};

static bool is_wanted(const char *name, void *userdata) {
        const struct names *names = userdata;

        for (size_t i = 0; i < names->n; i++)
                if (strcmp(names->names[i], name) == 0)
                        return true;
        return names->n == 0;
}

static int check_names(const struct status *status, const struct names *names) {
        for (size_t i = 0; i < names->n; i++) {
                bool found = false;

                for (size_t j = 0; j < status->n_secrets && !found; j++)
                        found = strcmp(names->names[i], status->secrets[j].name) == 0;
                if (!found) {
                        log_error("there is no secret \"%s\"; keyrota status lists all", names->names[i]);
                        return -ENOENT;
                }
        }
        return 0;
}

static bool is_well(const struct status *status, struct names *names) {
        for (size_t i = 0; i < status->n_secrets; i++)
                if (is_wanted(status->secrets[i].name, names) && status->secrets[i].n_problems > 0)
                        return false;
        return status->n_problems == 0;
}

int verb_status(struct context *context, int argc, char *argv[]) {
        enum { OPTION_JSON = 256 };
        static const struct option options[] = {
                { "json", no_argument, NULL, OPTION_JSON },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        _cleanup_(status_freep) struct status *status = NULL;
        struct names names;
        bool json = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_JSON:
                        json = true;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        names = (struct names) { argv + optind, (size_t) (argc - optind) };

        r = status_read(context, &status);
        if (r < 0) {
                log_error("cannot find out what is there: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        if (check_names(status, &names) < 0)
                return EXIT_FAILURE;
        if (json && print_json(status, is_wanted, &names) < 0)
                return EXIT_FAILURE;
        if (!json)
                print_table(status, is_wanted, &names);
        return is_well(status, &names) ? EXIT_SUCCESS : EXIT_FAILURE;
}
