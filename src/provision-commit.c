/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a key that was made to the durable store, and only then to those who read it; each step on record. */

#include <errno.h>
#include <string.h>

#include "lifecycle.h"
#include "log.h"
#include "provision-run.h"

static int audit_created(const struct run *run, const struct item *item, const struct jwk *jwk) {
        const struct audit_record record = {
                .environment = item->keyset->environment,
                .name = item->keyset->name,
                .algorithm = algorithm_info(jwk_algorithm(jwk))->name,
                .kids = jwk_kid(jwk),
        };

        return context_audit(run->context, AUDIT_KEY_CREATED, &record);
}

/* Takes the key over. The record comes first: a key that is on no record does not come to be where records are required. */
int item_add_key(struct run *run, struct item *item, struct jwk *jwk) {
        _cleanup_(jwk_freep) struct jwk *owned = jwk;
        int r;

        r = audit_created(run, item, jwk);
        if (r < 0) {
                log_error("%s/%s: no key is made, for its creation cannot be recorded in the journal (%s) and keyrota.conf says audit = required",
                          item->keyset->environment, item->keyset->name, strerror(-r));
                return r;
        }
        r = lifecycle_add(item->keyset, item->policy, jwk, &item->times);
        if (r < 0)
                return r == -ENOMEM ? log_oom() : r;
        TAKE_PTR(owned);
        return 0;
}

void item_publish(struct run *run, struct item *item) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = publication_add(run->publication, item->policy, item->keyset, &reason);
        if (r < 0) {
                log_error("%s/%s: %s", item->keyset->environment, item->keyset->name, reason ? reason : strerror(-r));
                run->n_failed++;
        } else {
                item->published = item->keyset->generation;
                item->copies_until = copies_until(item->keyset, item->policy, run->now);
        }
        keyset_free(item->outline);
        item->outline = NULL;
        if (keyset_outline(item->keyset, &item->outline) < 0)
                (void) log_oom();
        if (!item->keep_keyset)
                item_done(item);
}

static void audit_committed(const struct run *run, const struct item *item) {
        const struct key *active = keyset_active(item->keyset);
        const struct audit_record record = {
                .environment = item->keyset->environment,
                .name = item->keyset->name,
                .generation = item->keyset->generation,
                .kids = active ? jwk_kid(active->jwk) : NULL,
        };

        (void) context_audit(run->context, AUDIT_SECRET_COMMITTED, &record);
}

void run_commit(struct run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        if (run->n_batch == 0)
                return;
        r = store_commit(run->store, &reason);
        if (r < 0)
                log_error("%s; %zu secrets stay as they were", reason ? reason : strerror(-r), run->n_batch);
        for (size_t i = 0; i < run->n_batch; i++) {
                struct item *item = run->batch[i];

                if (r < 0) {
                        item_give_up(run, item);
                        continue;
                }
                run->n_stored_now++;
                if (item->aside)
                        log_info("%s/%s: the keys it had are kept in %s", item->keyset->environment, item->keyset->name, item->aside);
                audit_committed(run, item);
                item_publish(run, item);
        }
        run->n_batch = 0;
}

/* Stores the set, with the policy that made it, under the next generation; published after the commit. */
void item_stage(struct run *run, struct item *item) {
        _cleanup_free_ char *reason = NULL;
        int r;

        clock_stamp(&run->clock, &item->keyset->clock);
        if (item->replaces) {
                item->replaces = false;
                r = store_set_aside(run->store, item->keyset->environment, item->keyset->name, &item->aside);
                if (r < 0 && r != -ENOENT) {
                        log_error("%s/%s: cannot set its stored keys aside: %s; nothing is changed", item->keyset->environment, item->keyset->name,
                                  strerror(-r));
                        item_give_up(run, item);
                        return;
                }
        }
        r = store_stage(run->store, item->keyset, &reason);
        if (r < 0) {
                log_error("%s/%s: %s", item->keyset->environment, item->keyset->name, reason ? reason : strerror(-r));
                item_give_up(run, item);
                return;
        }
        run->batch[run->n_batch++] = item;
        if (run->n_batch == PROVISION_BATCH)
                run_commit(run);
}
