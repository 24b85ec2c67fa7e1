/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One run over all policies. A program's part: it logs. May call every module. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "paths.h"
#include "progress.h"
#include "provision-run.h"

static void make_key_and_stage(struct run *run, struct item *item) {
        struct jwk *jwk = NULL;
        int r;

        r = jwk_generate(item->policy->algorithm, item->policy->size, &jwk);
        if (r < 0)
                log_error("%s: OpenSSL cannot make an %s key: %s", item->written->file,
                          algorithm_info(item->policy->algorithm)->name, strerror(-r));
        else
                r = item_add_key(run, item, jwk);
        if (r < 0)
                item_give_up(run, item);
        else
                item_stage(run, item);
}

static bool is_rsa(const struct policy *policy) {
        return algorithm_info(policy->algorithm)->key_type == KEY_TYPE_RSA;
}

static void stage_or_publish(struct run *run, struct item *item) {
        if (item->result.changed)
                item_stage(run, item);
        else
                item_publish(run, item);
}

/* An RSA key takes long to find. What there is is published meanwhile; a successor may wait for a run that has the time. */
static void make_key_later(struct run *run, struct item *item) {
        bool first = !keyset_active(item->keyset);

        if (first || !run->options->defer_rsa) {
                item->keep_keyset = true;
                run->rsa[run->n_rsa++] = item;
        }
        if (!first)
                stage_or_publish(run, item);
}

static void provision_item(struct run *run, struct item *item) {
        if (item_load(run, item) < 0)
                return;
        if (item_advance(run, item) < 0)
                item_give_up(run, item);
        else if (item->result.create && is_rsa(item->policy))
                make_key_later(run, item);
        else if (item->result.create)
                make_key_and_stage(run, item);
        else
                stage_or_publish(run, item);
}

static int sweep_named(struct run *run, char **ret_reason) {
        _cleanup_free_ const char **names = calloc(run->policies->n_policies + run->n_retired + 1, sizeof(*names));
        size_t n = 0;

        if (!names)
                return -ENOMEM;
        for (size_t i = 0; i < run->policies->n_policies; i++)
                if (run->items[i].outline)
                        names[n++] = run->items[i].written->name;
        for (size_t i = 0; i < run->n_retired; i++)
                names[n++] = run->retired[i].name;
        return publication_sweep_secrets(run->publication, names, n, ret_reason);
}

static int sweep(struct run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        if (run->policies->incomplete)
                return 0; /* what seems to have no policy may have one in the folder that could not be read */
        r = run->options->n_names == 0 ? publication_sweep(run->publication, &reason) : sweep_named(run, &reason);
        if (r < 0)
                log_error("%s", reason ? reason : strerror(-r));
        return r;
}

static int provision_all(struct run *run) {
        size_t n = run->policies->n_policies;
        int r;

        for (size_t i = 0; i < n; i++) {
                progress_show("Looking at secrets", i, n);
                if (run_wants(run, run->items[i].written->name))
                        provision_item(run, &run->items[i]);
        }
        progress_end(n);
        run_commit(run);
        run_retire(run);
        r = run_publish_access(run, NULL);
        if (r >= 0 && run->options->n_names == 0)
                r = run_write_tables(run);
        if (r >= 0 && run->options->n_names == 0)
                r = run_note_pending(run);
        return r < 0 ? r : sweep(run);
}

int run_pass(struct run *run, bool *ret_more) {
        int r;

        *ret_more = false;
        r = provision_all(run);
        if (r >= 0 && !run->options->defer_rsa)
                r = run_make_rsa_keys(run, ret_more);
        run_end_pass(run);
        run_renew_copies(run);
        return r;
}

int run_status(const struct run *run) {
        if (run->n_failed > 0 || run->change_failed)
                return EXIT_FAILURE;
        return run->n_held_up > 0 ? EXIT_HELD_UP : run->policy_wrong ? EXIT_POLICY : EXIT_SUCCESS;
}

/* keyrota-rotate.path starts what tells services and arms timers; the provisioner may do neither. */
static void want_rotation(const struct run *run) {
        char text[64];
        int r;

        if (!context_is_host(run->context) || run->n_stored_now == 0)
                return;
        (void) snprintf(text, sizeof(text), "%lld %d\n", (long long) run->now, (int) getpid());
        r = tree_update_file(run->context->tree, PATH_ROTATE_WANTED, text, strlen(text), 0644, false);
        if (r < 0)
                log_warning("cannot write " PATH_ROTATE_WANTED ": %s; what was stored is rotated from keyrota-rotate.timer's next look on", strerror(-r));
}

/* One pass. Positive: another is due, for RSA keys that another run has meanwhile left to this one. */
static int provision_once(struct context *context, const struct provision_options *options, int *ret_status) {
        _cleanup_(run_clear) struct run run = { .context = context, .options = options, .n_passes = 1 };
        bool more = false;
        int r;

        r = run_open(&run);
        if (r >= 0)
                r = run_pass(&run, &more);
        if (r < 0)
                return r;
        want_rotation(&run);
        *ret_status = run_status(&run);
        return more;
}

int provision(struct context *context, const struct provision_options *options) {
        struct provision_options wanted = *options;
        int r, status;

        while ((r = provision_once(context, &wanted, &status)) > 0)
                wanted.n_replace = wanted.n_accept_older = 0; /* that is done */
        return r < 0 ? EXIT_FAILURE : status;
}
