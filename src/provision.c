/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One run over all policies. A program's part: it logs. May call every module. */

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "lifecycle.h"
#include "log.h"
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

/* Was the policy edited since it was last stored? */
static bool is_edited(const struct item *item) {
        _cleanup_free_ char *text = NULL;

        return item->store_again || !item->keyset->policy || policy_format(item->policy, &text) < 0 || strcmp(text, item->keyset->policy) != 0;
}

static void provision_item(struct run *run, struct item *item) {
        struct lifecycle_event event;
        uint64_t random = 0;

        if (item_load(run, item) < 0)
                return;
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t) sizeof(random))
                random = (uint64_t) run->now; /* it draws the jitter, nothing secret */
        lifecycle_advance(item->policy, item->keyset, run->now, random, &event);
        item->times = event.times;
        if (event.create && is_rsa(item->policy))
                run->rsa[run->n_rsa++] = item;
        else if (event.create)
                make_key_and_stage(run, item);
        else if (is_edited(item))
                item_stage(run, item);
        else
                item_publish(run, item);
}

static int provision_all(struct run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        for (size_t i = 0; i < run->policies->n_policies; i++)
                provision_item(run, &run->items[i]);
        run_commit(run);
        r = run_write_tables(run);
        if (r >= 0)
                r = run_note_pending(run);
        if (r < 0)
                return r;
        if (run->policies->incomplete)
                return 0; /* what seems to have no policy may have one in the folder that could not be read */
        r = publication_sweep(run->publication, &reason);
        if (r < 0)
                log_error("%s", reason ? reason : strerror(-r));
        return r;
}

/* One pass. Positive: another is due, for RSA keys that another run has meanwhile left to this one. */
static int provision_once(struct context *context, const struct provision_options *options, int *ret_status) {
        _cleanup_(run_clear) struct run run = { .context = context, .options = options, .now = time(NULL) };
        bool more = false;
        int r;

        r = run_open(&run);
        if (r >= 0)
                r = provision_all(&run);
        if (r >= 0 && !options->defer_rsa)
                r = run_make_rsa_keys(&run, &more);
        if (r < 0)
                return r;
        *ret_status = run.n_failed > 0 ? EXIT_FAILURE : run.policy_wrong ? EXIT_POLICY : EXIT_SUCCESS;
        return more;
}

int provision(struct context *context, const struct provision_options *options) {
        struct provision_options wanted = *options;
        int r, status;

        while ((r = provision_once(context, &wanted, &status)) > 0)
                wanted.n_replace = wanted.n_accept_older = 0; /* that is done */
        return r < 0 ? EXIT_FAILURE : status;
}
