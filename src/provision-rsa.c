/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RSA keys, which take long to find. They come after everything else is published, each is published as soon
 * as it is there, and the store is not locked meanwhile: whoever starts a service needs it. May call keygen
 * and what the other provision-*.c files may.
 */

#include <errno.h>
#include <string.h>

#include "log.h"
#include "progress.h"
#include "provision-run.h"

/* What was published till then is not to wait for the next key. */
static void unlock_store(struct run *run) {
        run_end_pass(run);
        run_renew_copies(run);
}

static int lock_store(struct run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = store_open(run->context->tree, run->kek, true, PROVISION_LOCK_WAIT, &run->store, &reason);
        if (r < 0)
                log_error("cannot open the store: %s", reason ? reason : strerror(-r));
        return r;
}

/* Has another run made, and published, this secret's key since the store was unlocked? */
static bool is_made(const struct run *run, const struct item *item) {
        uint64_t generation;

        return store_peek_generation(run->store, item->keyset->environment, item->keyset->name, &generation) >= 0 &&
                generation > item->keyset->generation;
}

/* Takes the key over. */
static void store_key(struct run *run, struct item *item, struct jwk *jwk) {
        _cleanup_(jwk_freep) struct jwk *owned = jwk;
        _cleanup_free_ char *reason = NULL;
        size_t n_failed = run->n_failed;
        int r;

        if (is_made(run, item)) {
                item_done(item);
                return;
        }
        item->keep_keyset = false;
        if (item_add_key(run, item, TAKE_PTR(owned)) < 0) {
                item_give_up(run, item);
                return;
        }
        item_stage(run, item);
        run_commit(run);
        if (run->n_failed > n_failed)
                return;
        if (run_publish_access(run, item) < 0)
                run->n_failed++;
        r = publication_sweep_secrets(run->publication, (const char *const[]) { item->written->name }, 1, &reason);
        if (r < 0) {
                log_error("%s", reason ? reason : strerror(-r));
                run->n_failed++;
        }
}

static int make_all(struct run *run, struct keygen *keygen) {
        struct jwk *jwk;
        size_t index, n = 0;
        int r, error;

        for (;;) {
                struct item *item;

                progress_wait("Making RSA keys: %zu of %zu", n++, run->n_rsa);
                r = keygen_next(keygen, &index, &jwk, &error);
                progress_wait_end();
                if (r <= 0)
                        break;
                item = run->rsa[index];
                if (error < 0) {
                        log_error("%s: OpenSSL cannot make an RSA key: %s", item->written->file, strerror(-error));
                        item_give_up(run, item);
                        continue;
                }
                r = lock_store(run);
                if (r < 0) {
                        jwk_free(jwk);
                        return r;
                }
                store_key(run, item, jwk);
                unlock_store(run);
        }
        return 0;
}

/* Those whose last generation could not be stored or published. */
static void drop_given_up(struct run *run) {
        size_t n = 0;

        for (size_t i = 0; i < run->n_rsa; i++)
                if (run->rsa[i]->keyset)
                        run->rsa[n++] = run->rsa[i];
        run->n_rsa = n;
}

int run_make_rsa_keys(struct run *run, bool *ret_more) {
        _cleanup_free_ struct keygen_order *orders = NULL;
        _cleanup_(keygen_freep) struct keygen *keygen = NULL;
        size_t n_failed = run->n_failed;
        int r;

        *ret_more = false;
        drop_given_up(run);
        if (run->n_rsa == 0)
                return 0;
        orders = calloc(run->n_rsa, sizeof(*orders));
        if (!orders)
                return log_oom();
        for (size_t i = 0; i < run->n_rsa; i++)
                orders[i] = (struct keygen_order) { run->rsa[i]->policy->algorithm, run->rsa[i]->policy->size };
        r = keygen_start(orders, run->n_rsa, &keygen);
        if (r < 0) {
                log_error("cannot start making RSA keys: %s", strerror(-r));
                return r;
        }

        unlock_store(run);
        r = make_all(run, keygen);
        if (r < 0 || run->n_failed > n_failed || run->options->n_names > 0)
                return r; /* the note stays */
        r = lock_store(run);
        if (r >= 0)
                r = run_clear_pending(run, ret_more);
        run_end_pass(run);
        return r;
}
