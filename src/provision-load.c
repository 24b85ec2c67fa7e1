/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which policy and which keys a secret is run with, and every reason why it is not. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "paths.h"
#include "provision-run.h"

void item_done(struct item *item) {
        keyset_free(item->keyset);
        item->keyset = NULL;
        free(item->aside);
        item->aside = NULL;
}

/* This secret does not go on in this run: whatever is published of it stays. */
void item_leave(struct run *run, struct item *item) {
        if (publication_keep(run->publication, item->written->name) < 0)
                (void) log_oom();
        item_done(item);
}

/* The same, for what is no fault of the policy. */
void item_give_up(struct run *run, struct item *item) {
        if (item->aside)
                store_put_back(run->store, item->keyset->environment, item->keyset->name, item->aside);
        run->n_failed++;
        item_leave(run, item);
}

static bool is_named(char *const names[], size_t n, const char *name) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

static void refuse_policy(struct run *run, const struct item *item, const char *reason) {
        const struct audit_record record = {
                .environment = item->written->environment,
                .name = item->written->name,
                .file = item->written->file,
                .reason = reason,
        };

        run->policy_wrong = true;
        (void) context_audit(run->context, AUDIT_POLICY_REFUSED, &record);
}

static void refuse_store(struct run *run, struct item *item, const char *environment, const char *reason) {
        char file[sizeof(PATH_STATE "/") + 2 * POLICY_NAME_MAX + sizeof("/.jwe")];
        const struct audit_record record = {
                .environment = environment,
                .name = item->written->name,
                .reason = reason,
                .file = file,
        };

        (void) snprintf(file, sizeof(file), PATH_STATE "/%s/%s.jwe", environment, item->written->name);
        log_error("%s/%s: %s", environment, item->written->name, reason);
        (void) context_audit(run->context, AUDIT_STORE_REFUSED, &record);
        item_give_up(run, item);
}

/* A new set for a secret that has none, or whose file was just set aside. */
static int begin_keyset(struct item *item, const char *environment, uint64_t after_generation) {
        int r;

        r = keyset_new(environment, item->written->name, &item->keyset);
        if (r < 0)
                return log_oom();
        item->keyset->generation = after_generation;
        return 0;
}

/* The stored file is set aside when its successor is to be stored. */
static int replace_keyset(struct run *run, struct item *item, const char *environment, uint64_t seen) {
        uint64_t stored = 0;
        int r;

        r = store_peek_generation(run->store, environment, item->written->name, &stored);
        item->replaces = r != -ENOENT;
        if (r < 0 && item->replaces)
                stored = 1; /* at least */
        return begin_keyset(item, environment, stored > seen ? stored : seen);
}

/* Reads the stored keys, or begins with none. 0, or a negative errno after the item was given up. */
static int load_keyset(struct run *run, struct item *item, const char *environment) {
        const struct provision_options *options = run->options;
        const char *name = item->written->name;
        _cleanup_free_ char *reason = NULL;
        char secret[PUBLISH_SECRET_MAX], text[256];
        uint64_t seen = seen_generation(run->seen, publish_secret_name(environment, name, secret));
        int r;

        if (run->n_passes == 1 && is_named(options->replace, options->n_replace, name))
                return replace_keyset(run, item, environment, seen);

        r = store_load(run->store, environment, name, &item->keyset, &reason);
        if (r == -ENOENT && seen == 0)
                return begin_keyset(item, environment, 0);
        if (r == -ENOENT) {
                (void) snprintf(text, sizeof(text),
                                "its stored file is gone, though generation %llu has been in use; restore it from a backup, or make new keys "
                                "with keyrota provision --replace=%s", (unsigned long long) seen, name);
                refuse_store(run, item, environment, text);
                return r;
        }
        if (r < 0) {
                refuse_store(run, item, environment, reason ? reason : strerror(-r));
                return r;
        }
        if (item->keyset->generation >= seen)
                return 0;
        if (is_named(options->accept_older, options->n_accept_older, name)) {
                item->keyset->generation = seen; /* and the next one is above all that was seen */
                item->store_again = true;
                return 0;
        }
        (void) snprintf(text, sizeof(text),
                        "its stored file is generation %llu, older than generation %llu that has been in use; restore the newest one, "
                        "or take this one with keyrota provision --accept-older=%s",
                        (unsigned long long) item->keyset->generation, (unsigned long long) seen, name);
        refuse_store(run, item, environment, text);
        return -ESTALE;
}

static void say_never_worked(const struct item *item) {
        if (item->written->n_deliveries > 0)
                log_error("%s: has never worked; its consumers are refused until it is right", item->written->file);
        else
                log_error("%s: has never worked, and names no consumer that could be refused until it is right",
                          item->written->file);
}

/* The policy cannot be run as it is written: back to how it last worked. */
static int use_last_good(struct run *run, struct item *item) {
        struct diagnostics diagnostics = {};
        int r;

        if (!item->keyset->policy) {
                say_never_worked(item);
                item_leave(run, item);
                return -ENODATA;
        }
        r = policy_parse_text(item->written->name, item->keyset->policy, &item->last_good, &diagnostics);
        if (r < 0) {
                log_diagnostics(&diagnostics);
                log_error("%s: the stored policy that last worked cannot be read; correct the policy", item->written->file);
                item_leave(run, item);
        } else
                log_warning("%s: goes on as it last worked", item->written->file);
        diagnostics_clear(&diagnostics);
        item->policy = item->last_good;
        return r;
}

/* A policy that cannot be run as it is written goes on as it last worked. */
int item_load(struct run *run, struct item *item) {
        const char *environment = item->written->valid ? item->written->environment :
                                                         store_latest_environment(run->store, run->stored, run->n_stored, item->written->name);
        int r;

        if (!item->written->valid)
                refuse_policy(run, item, item->written->error);
        if (!environment) {
                say_never_worked(item);
                item_leave(run, item);
                return -ENODATA;
        }
        r = load_keyset(run, item, environment);
        if (r < 0)
                return r;
        item->policy = item->written;
        if (!item->written->valid)
                return use_last_good(run, item);
        return 0;
}
