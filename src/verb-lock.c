/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota lock and unlock: takes a secret or a user's rights away at once, without a look at policies or stored keys. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access-file.h"
#include "holders.h"
#include "locks.h"
#include "log.h"
#include "membership.h"
#include "paths.h"
#include "policy.h"

static void print_help(bool unlock) {
        (void) puts(unlock ? "keyrota unlock [OPTION...] [NAME]\n"
                             "\n"
                             "Let users read the secret NAME again, or the user NAME read what the policies allow. Open sessions\n"
                             "have their copies back at once. Without NAME, show what is locked.\n" :
                             "keyrota lock [OPTION...] [NAME]\n"
                             "\n"
                             "Let no user read the secret NAME, or the user NAME read nothing, from now on, until keyrota unlock,\n"
                             "whatever the policies say. Copies are taken from every open session at once. Services are not\n"
                             "concerned. Without NAME, show what is locked.\n");
        (void) puts("Options:\n"
                    "  --secret=NAME  The secret NAME, where a user is called so too\n"
                    "  --user=NAME    The user NAME, where a secret is called so too, or no account (yet)\n"
                    "  -h, --help     Show this help\n"
                    "\n"
                    "Exit status: 0 done, 1 something failed, 2 usage.");
}

struct order {
        bool unlock;
        enum lock_kind kind;
        const char *name; /* NULL: show what is locked */
        bool kind_given;
        char *owned;      /* name, where the account spells itself otherwise */
};

/* ---- what is meant ------------------------------------------------------------------------------------------------ */

static bool table_has(const struct tree *tree, const char *name, char environment[static ACCESS_NAME_MAX + 1]) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        struct access_secret secret;
        const char *line = NULL;

        if (access_file_read(tree, &table) < 0)
                return false;
        while ((line = access_table_next(table, line)))
                if (access_secret_parse(line, &secret) >= 0 && strcmp(secret.name, name) == 0) {
                        strcpy(environment, secret.environment);
                        return true;
                }
        return false;
}

/* One that was not provisioned yet has its policy only. */
static bool policies_have(const struct tree *tree, const char *name) {
        _cleanup_(policy_set_freep) struct policy_set *set = NULL;
        struct diagnostics diagnostics = {};
        bool found = false;

        if (policy_load_all(tree, &set, &diagnostics) >= 0)
                for (size_t i = 0; i < set->n_policies; i++)
                        found = found || strcmp(set->policies[i]->name, name) == 0;
        diagnostics_clear(&diagnostics);
        return found;
}

static bool is_secret(const struct tree *tree, const char *name) {
        char environment[ACCESS_NAME_MAX + 1];

        return policy_name_valid(name) && (table_has(tree, name, environment) || policies_have(tree, name));
}

/* 1, 0 or a negative errno; as the account spells itself. */
static int find_user(struct order *order, const char *name) {
        _cleanup_(membership_freep) struct membership *who = NULL;
        int r;

        r = membership_load(name, &who);
        if (r < 0 || !who->known)
                return r < 0 ? r : who->unsure;
        if (strcmp(who->name, name) == 0)
                return 1;
        order->owned = strdup(who->name);
        if (!order->owned)
                return -ENOMEM;
        return 1;
}

static int resolve_lock(const struct tree *tree, struct order *order) {
        bool secret = (!order->kind_given || order->kind == LOCK_SECRET) && is_secret(tree, order->name);
        int user = order->kind_given && order->kind == LOCK_SECRET ? 0 : find_user(order, order->name);

        if (order->kind_given && order->kind == LOCK_SECRET && !secret) {
                log_error("there is no secret \"%s\"; keyrota status lists all", order->name);
                return -ENOENT;
        }
        if (!order->kind_given && secret && user != 0) {
                log_error("%s is a secret, and %s: say --secret=%s or --user=%s", order->name,
                          user > 0 ? "a user is called so too" : "perhaps a user too, which the name services cannot say now", order->name, order->name);
                return -ENOTUNIQ;
        }
        if (!order->kind_given && !secret && user <= 0) {
                log_error("there is neither a secret nor an account \"%s\"%s%s; keyrota status lists secrets, and --user=%s locks a user who is not known here",
                          order->name, user < 0 ? ", as far as the name services can say now: " : "", user < 0 ? strerror(-user) : "", order->name);
                return -ENOENT;
        }
        if (!order->kind_given)
                order->kind = secret ? LOCK_SECRET : LOCK_USER;
        if (order->kind == LOCK_USER && order->owned)
                order->name = order->owned;
        return 0;
}

static int resolve_unlock(const struct locks *locks, struct order *order) {
        bool secret = locks_has(locks, LOCK_SECRET, order->name), user = locks_has(locks, LOCK_USER, order->name);

        if (!order->kind_given && secret && user) {
                log_error("a secret and a user called %s are locked: say --secret=%s or --user=%s", order->name, order->name, order->name);
                return -ENOTUNIQ;
        }
        if (!order->kind_given)
                order->kind = secret ? LOCK_SECRET : LOCK_USER;
        if (!locks_has(locks, order->kind, order->name)) {
                log_error("%s%s%s is not locked; keyrota unlock shows what is", order->kind_given ? lock_kind_to_string(order->kind) : "",
                          order->kind_given ? " " : "", order->name);
                return -ENOENT;
        }
        return 0;
}

/* ---- what is done ------------------------------------------------------------------------------------------------- */

static bool audit_is_required(const struct context *context) {
        keyring_serial live = 0;
        int r;

        if (!context->ring)
                return false;
        r = keyring_open(context->ring, false, &live);
        return r >= 0 ? keyring_audit_required(live) : r != -ENOKEY;
}

static int put_on_record(struct context *context, const struct order *order) {
        char environment[ACCESS_NAME_MAX + 1] = "";
        bool secret = order->kind == LOCK_SECRET;
        const struct audit_record record = {
                .environment = secret && table_has(context->tree, order->name, environment) ? environment : NULL,
                .name = secret ? order->name : NULL,
                .user = secret ? NULL : order->name,
        };

        return context_audit(context, order->unlock ? AUDIT_ACCESS_UNLOCKED : AUDIT_ACCESS_LOCKED, &record);
}

static int change_file(struct context *context, const struct order *order, struct locks *locks) {
        int r;

        if (order->unlock && put_on_record(context, order) < 0) {
                log_error("%s stays locked, for it cannot be recorded in the journal and keyrota.conf says audit = required", order->name);
                return -EIO;
        }
        r = order->unlock ? locks_remove(locks, order->kind, order->name) : locks_add(locks, order->kind, order->name);
        if (r > 0)
                r = locks_save(context->tree, locks);
        if (r < 0)
                log_error("cannot write " PATH_LOCKED ": %s; nothing is changed", strerror(-r));
        return r;
}

/* Under the lock of the table: what is locked, and the table. *ret_no_table: there is none that could be changed. */
static int change(struct context *context, struct order *order, struct locks *locks, bool *ret_no_table) {
        _cleanup_free_ char *reason = NULL;
        _cleanup_close_ int lock = -EBADF;
        int r, table;

        r = access_file_lock(context->tree, PATH_ACCESS_TABLE_LOCK, &lock, &reason);
        if (r >= 0)
                r = locks_load(context->tree, locks, &reason);
        if (r < 0)
                log_error("%s%s", reason ? reason : strerror(-r), locks->everything ? "; every secret is locked for users until that is repaired or removed" : "");
        else
                r = order->unlock ? resolve_unlock(locks, order) : 0;
        if (r >= 0)
                r = change_file(context, order, locks);
        if (r < 0 && !locks->everything)
                return r;
        table = context->ring ? locks_apply(context->tree, locks) : 0;
        *ret_no_table = table < 0;
        if (table < 0 && table != -ENOENT)
                log_error("cannot change " PATH_ACCESS ": %s; keyrota provision writes it anew", strerror(-table));
        return r < 0 ? r : table < 0 && table != -ENOENT ? table : 0;
}

static void say_done(const struct context *context, const struct order *order, size_t n_sessions) {
        const char *kind = lock_kind_to_string(order->kind);

        if (!context->ring)
                log_info("%s %s is %s", kind, order->name, order->unlock ? "unlocked" : "locked");
        else
                log_info("%s %s is %s; copies changed in %zu open sessions", kind, order->name, order->unlock ? "unlocked" : "locked", n_sessions);
}

static int obey(struct context *context, struct order *order) {
        _cleanup_(locks_clear) struct locks locks = { .n = 0 };
        bool no_table = false;
        size_t n_taken = 0, n_renewed = 0;
        int r, taken = 0, renewed = 0;

        if (!order->unlock && resolve_lock(context->tree, order) < 0)
                return EXIT_FAILURE;
        context->audit_required = audit_is_required(context);
        r = change(context, order, &locks, &no_table);
        if (r < 0 && !locks.everything && !no_table)
                return EXIT_FAILURE;
        /* At once; then again when no other run can give it back any more. */
        if (context->ring && !order->unlock)
                taken = holders_take_locked(context, &locks, false, &n_taken);
        if (context->ring)
                renewed = no_table ? holders_take_locked(context, &locks, true, &n_renewed) : holders_renew(context, &n_renewed);
        if (locks.everything)
                return EXIT_FAILURE;
        say_done(context, order, n_taken + n_renewed);
        if (!order->unlock && put_on_record(context, order) < 0) {
                log_error("that %s is locked cannot be recorded in the journal, though keyrota.conf says audit = required; it is locked all the same", order->name);
                r = -EIO;
        }
        return r < 0 || taken < 0 || renewed < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int show(const struct context *context) {
        _cleanup_(locks_clear) struct locks locks = { .n = 0 };
        _cleanup_free_ char *reason = NULL;
        int r;

        r = locks_load(context->tree, &locks, &reason);
        if (r < 0) {
                log_error("%s; every secret is locked for users until that is repaired", reason ? reason : strerror(-r));
                return EXIT_FAILURE;
        }
        for (size_t i = 0; i < locks.n; i++)
                (void) printf("%s %s\n", lock_kind_to_string(locks.items[i].kind), locks.items[i].name);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int check(const struct order *order) {
        if (order->kind_given && order->kind == LOCK_SECRET ? !policy_name_valid(order->name) : !access_member_valid(order->name, strlen(order->name))) {
                log_error("\"%s\" is no name of a %s", order->name, order->kind_given ? lock_kind_to_string(order->kind) : "secret or user");
                return -EINVAL;
        }
        return 0;
}

static int lock_or_unlock(struct context *context, int argc, char *argv[], bool unlock) {
        enum { OPTION_SECRET = 256, OPTION_USER };
        static const struct option options[] = {
                { "secret", required_argument, NULL, OPTION_SECRET },
                { "user", required_argument, NULL, OPTION_USER },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        struct order order = { .unlock = unlock };
        int c, n = 0, status;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_SECRET:
                case OPTION_USER:
                        order.kind = c == OPTION_SECRET ? LOCK_SECRET : LOCK_USER;
                        order.kind_given = true;
                        order.name = optarg;
                        n++;
                        break;
                case 'h':
                        print_help(unlock);
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                order.name = argv[optind];
        if (n + argc - optind > 1) {
                log_error("%s takes one name, of a secret or a user", argv[0]);
                return EXIT_USAGE;
        }
        if (!order.name)
                return show(context);
        if (check(&order) < 0)
                return EXIT_USAGE;
        status = obey(context, &order);
        free(order.owned);
        return status;
}

int verb_lock(struct context *context, int argc, char *argv[]) {
        return lock_or_unlock(context, argc, argv, false);
}

int verb_unlock(struct context *context, int argc, char *argv[]) {
        return lock_or_unlock(context, argc, argv, true);
}
