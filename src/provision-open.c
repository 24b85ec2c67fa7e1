/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opens all that a run needs: policies, key-encryption key, store, keyring. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "bus.h"
#include "log.h"
#include "paths.h"
#include "provision-run.h"

static void forget_retired(struct run *run) {
        for (size_t i = 0; i < run->n_retired; i++) {
                free(run->retired[i].environment);
                free(run->retired[i].name);
        }
        free(run->retired);
        run->retired = NULL;
        run->n_retired = 0;
}

void run_clear(struct run *run) {
        for (size_t i = 0; run->items && run->policies && i < run->policies->n_policies; i++) {
                item_done(&run->items[i]);
                keyset_free(run->items[i].outline);
                policy_free(run->items[i].last_good);
        }
        forget_retired(run);
        consumers_view_free(run->view);
        bus_free(run->bus);
        free(run->items);
        free(run->batch);
        free(run->rsa);
        publication_free(run->publication);
        seen_free(run->seen);
        store_names_free(run->stored, run->n_stored);
        store_free(run->store);
        kek_free(run->kek);
        policy_set_free(run->policies);
}

bool run_has_policy(const struct run *run, const char *name) {
        size_t low = 0, high = run->policies->n_policies;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = strcmp(name, run->policies->policies[middle]->name);

                if (order == 0)
                        return true;
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return false;
}

bool run_wants(const struct run *run, const char *name) {
        const struct provision_options *options = run->options;

        for (size_t i = 0; i < options->n_names; i++)
                if (strcmp(options->names[i], name) == 0)
                        return true;
        return options->n_names == 0;
}

static int load_policies(struct run *run) {
        struct diagnostics diagnostics = {};
        unsigned version;
        int r;

        r = policy_load_all(run->context->tree, &run->policies, &diagnostics);
        if (r >= 0 && context_is_host(run->context) && policy_set_wants_reload(run->policies) && bus_systemd_version(&version) >= 0)
                r = policy_check_reload(run->policies, version, &diagnostics);
        if (run->n_passes == 1)
                log_diagnostics(&diagnostics);
        diagnostics_clear(&diagnostics);
        if (r < 0) {
                log_error("cannot read the policies: %s", strerror(-r));
                return r;
        }
        run->policy_wrong = !run->policies->config.valid;
        /* Should keyrota.conf be broken, the stricter of its possible meanings is the safe one. */
        run->context->audit_required = run->policies->config.audit_required || !run->policies->config.valid;
        return 0;
}

/* A store without its key-encryption key has lost it: a new one would not open what is there. */
static int check_nothing_sealed(const struct context *context) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *reason = NULL;
        struct store_name *names = NULL;
        size_t n_names = 0;
        int r;

        r = store_open(context->tree, NULL, false, 0, &store, &reason);
        if (r >= 0)
                r = store_list(store, &names, &n_names);
        store_names_free(names, n_names);
        if (r < 0) {
                log_error("cannot open the store: %s", reason ? reason : strerror(-r));
                return r;
        }
        if (n_names > 0) {
                log_error(PATH_KEK " is gone, though %zu secrets are sealed under it; restore it from a backup", n_names);
                return -ENOKEY;
        }
        return 0;
}

int provision_setup(const struct context *context, enum seal_with seal_with) {
        _cleanup_free_ char *reason = NULL;
        _cleanup_close_ int kek = -EBADF;
        int r;

        kek = tree_open_path(context->tree, PATH_KEK, O_PATH | O_NOFOLLOW, 0);
        if (kek >= 0)
                return 0;
        r = check_nothing_sealed(context);
        if (r < 0)
                return r;
        r = kek_create(context->tree, seal_with, &reason);
        if (r == -EEXIST)
                return 0;
        if (r < 0) {
                log_error("cannot make the key-encryption key: %s", reason ? reason : strerror(-r));
                return r;
        }
        log_info("made the key-encryption key " PATH_KEK);
        return 1;
}

/* keyrota.conf says how to seal it. */
static int make_kek(struct run *run) {
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        struct diagnostics diagnostics = {};
        int r;

        r = policy_load_all(run->context->tree, &policies, &diagnostics);
        diagnostics_clear(&diagnostics);
        if (r < 0) {
                log_error("cannot read the policies: %s", strerror(-r));
                return r;
        }
        return provision_setup(run->context, policies->config.seal_with);
}

static int open_kek(struct run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = kek_load(run->context->tree, &run->kek, &reason);
        if (r == -ENOENT) {
                r = make_kek(run);
                if (r < 0)
                        return r;
                r = kek_load(run->context->tree, &run->kek, &reason);
        }
        if (r < 0) {
                log_error("cannot open the key-encryption key: %s", reason ? reason : strerror(-r));
                return r;
        }
        return 0;
}

static int open_store(struct run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = store_open(run->context->tree, run->kek, true, PROVISION_LOCK_WAIT, &run->store, &reason);
        if (r >= 0)
                r = store_list(run->store, &run->stored, &run->n_stored);
        if (r < 0)
                log_error("cannot open the store: %s", reason ? reason : strerror(-r));
        else if (run->n_passes == 1 && store_kek(run->store)->previous)
                log_warning("a rekey was interrupted: run keyrota rekey, which completes it");
        return r;
}

static int note_generation(const char *environment, const char *name, uint64_t generation, void *userdata) {
        char secret[PUBLISH_SECRET_MAX];

        return seen_add(userdata, publish_secret_name(environment, name, secret), generation);
}

/* The keyring knows the newest generation of all that it holds. Of what it does not hold, after a boot or for a new policy, the journal may. */
static int open_publication(struct run *run) {
        _cleanup_free_ char *reason = NULL;
        bool all_seen = true;
        int r;

        r = seen_new(&run->seen);
        if (r < 0)
                return log_oom();
        r = publication_new(run->context, run->seen, &run->publication, &reason);
        if (r < 0) {
                log_error("%s", reason ? reason : strerror(-r));
                return r;
        }
        for (size_t i = 0; i < run->policies->n_policies; i++) {
                const struct policy *policy = run->policies->policies[i];
                char secret[PUBLISH_SECRET_MAX];

                if (!run_wants(run, policy->name))
                        continue;
                if (!policy->valid ||
                    seen_generation(run->seen, publish_secret_name(policy->environment, policy->name, secret)) == 0)
                        all_seen = false;
        }
        if (!all_seen && context_is_host(run->context)) {
                r = audit_seen_generations(note_generation, run->seen);
                if (r < 0)
                        log_warning("cannot compare the store with the journal: %s", strerror(-r));
        }
        r = publication_set_audit(run->publication, run->policies->config.valid ? run->context->audit_required : -1, &reason);
        if (r < 0)
                log_error("%s", reason ? reason : strerror(-r));
        return r;
}

void run_end_pass(struct run *run) {
        store_free(run->store);
        run->store = NULL;
}

static int allocate_items(struct run *run) {
        size_t n = run->policies->n_policies;

        run->items = calloc(n + 1, sizeof(*run->items));
        run->rsa = calloc(n + 1, sizeof(*run->rsa));
        run->batch = calloc(PROVISION_BATCH, sizeof(*run->batch));
        if (!run->items || !run->rsa || !run->batch)
                return log_oom();
        for (size_t i = 0; i < n; i++)
                run->items[i].written = run->policies->policies[i];
        return 0;
}

/* --replace=typo must not pass for done. */
static int check_names(const struct run *run, char *const names[], size_t n, const char *option) {
        for (size_t i = 0; i < n; i++)
                if (!run_has_policy(run, names[i])) {
                        log_error("%s=%s: there is no policy of that name", option, names[i]);
                        return -ENOENT;
                }
        return 0;
}

static bool has_keys(const struct run *run, const char *name) {
        for (size_t i = 0; i < run->n_stored; i++)
                if (strcmp(run->stored[i].name, name) == 0)
                        return true;
        return false;
}

static int check_secrets(const struct run *run) {
        const struct provision_options *options = run->options;

        for (size_t i = 0; i < options->n_names; i++)
                if (!run_has_policy(run, options->names[i]) && !has_keys(run, options->names[i])) {
                        log_error("%s: there is no secret of that name; keyrota status lists them", options->names[i]);
                        return -ENOENT;
                }
        return 0;
}

int run_open(struct run *run) {
        const struct provision_options *options = run->options;

        if (open_kek(run) < 0 || open_store(run) < 0)
                return -EIO;
        clock_read(&run->clock);
        run->now = run->clock.now;
        /* Under the lock: what an older look at the policies does not know of, it would take for removed. */
        if (load_policies(run) < 0 || allocate_items(run) < 0 ||
            check_names(run, options->replace, options->n_replace, "--replace") < 0 ||
            check_names(run, options->accept_older, options->n_accept_older, "--accept-older") < 0 || check_secrets(run) < 0)
                return -EIO;
        return open_publication(run);
}
