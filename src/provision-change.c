/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a command decides about one secret, in its key set: nothing is stored here, and what fails leaves all as it was. */

#include <errno.h>
#include <string.h>

#include "log.h"
#include "provision-run.h"

static int record(const struct run *run, enum audit_event event, const struct keyset *keyset, const char *kid) {
        const struct key *key = keyset_find(keyset, kid);
        const struct audit_record record = {
                .environment = keyset->environment,
                .name = keyset->name,
                .algorithm = algorithm_info(key ? jwk_algorithm(key->jwk) : jwk_algorithm(run->options->change->jwk))->name,
                .kids = kid,
                .reason = "by command",
        };
        int r;

        r = context_audit(run->context, event, &record);
        if (r < 0)
                log_error("%s/%s: nothing is changed, for that cannot be recorded in the journal (%s) and keyrota.conf says audit = required",
                          keyset->environment, keyset->name, strerror(-r));
        return r;
}

int run_record_compromised(const struct run *run, const struct keyset *keyset, const char *kid) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < keyset->n_keys; i++) {
                const char *each = jwk_kid(keyset->keys[i].jwk);

                if (!kid || strcmp(kid, each) == 0)
                        r = record(run, AUDIT_KEY_COMPROMISED, keyset, each);
        }
        return r;
}

/* The one that is to sign at once. */
static int add_active_key(struct run *run, struct item *item) {
        struct jwk *jwk;
        int r;

        r = jwk_generate(item->policy->algorithm, item->policy->size, &jwk);
        if (r < 0) {
                log_error("%s: OpenSSL cannot make an %s key: %s", item->written->file, algorithm_info(item->policy->algorithm)->name, strerror(-r));
                return r;
        }
        item->times = lifecycle_times_active(item->policy, run->now, run_random(run));
        return item_add_key(run, item, jwk);
}

static int revoke_keys(struct run *run, struct item *item) {
        const char *kid = run->options->change->kid;
        int r;

        if (kid && !keyset_find(item->keyset, kid)) {
                log_error("%s/%s: it has no key %s; keyrota status %s lists its keys", item->keyset->environment, item->keyset->name, kid,
                          item->keyset->name);
                return -ENOENT;
        }
        r = run_record_compromised(run, item->keyset, kid);
        if (r >= 0)
                r = lifecycle_revoke(item->keyset, item->policy, kid, run->now, run_random(run));
        if (r == -ENOENT)
                log_error("%s/%s: it has no key", item->keyset->environment, item->keyset->name);
        if (r > 0)
                r = add_active_key(run, item);
        return r;
}

static int rollback(struct run *run, struct item *item) {
        const struct key *previous = keyset_previous(item->keyset);
        int r;

        if (!previous) {
                log_error("%s/%s: there is nothing to go back to: no earlier key lives any more", item->keyset->environment, item->keyset->name);
                return -ENOENT;
        }
        if (jwk_algorithm(previous->jwk) != item->policy->algorithm) {
                log_error("%s/%s: the previous key is an %s key and the policy says %s; change the policy back first", item->keyset->environment,
                          item->keyset->name, algorithm_info(jwk_algorithm(previous->jwk))->name, algorithm_info(item->policy->algorithm)->name);
                return -EINVAL;
        }
        r = record(run, AUDIT_ROLLED_BACK, item->keyset, jwk_kid(previous->jwk));
        return r < 0 ? r : lifecycle_rollback(item->keyset, item->policy, run->now, run_random(run));
}

static int import(struct run *run, struct item *item) {
        struct change *change = run->options->change;
        const char *kid = jwk_kid(change->jwk);
        int r;

        if (item->keyset->n_keys > 0) {
                log_error("%s/%s: it has a key already; with --replace that is set aside, and tokens signed with it stop verifying",
                          item->keyset->environment, item->keyset->name);
                return -EEXIST;
        }
        r = record(run, AUDIT_KEY_IMPORTED, item->keyset, kid);
        if (r < 0)
                return r;
        item->times = lifecycle_times_active(item->policy, run->now, run_random(run));
        r = lifecycle_add(item->keyset, item->policy, change->jwk, &item->times);
        if (r >= 0)
                change->jwk = NULL;
        else
                log_error("%s/%s: cannot take the key: %s", item->keyset->environment, item->keyset->name, strerror(-r));
        return r;
}

static int apply(struct run *run, struct item *item) {
        switch (run->options->change->type) {
        case CHANGE_ROTATE:
                lifecycle_begin_rotation(item->keyset, run->now);
                return 0;
        case CHANGE_REVOKE:
                return revoke_keys(run, item);
        case CHANGE_ROLLBACK:
                return rollback(run, item);
        case CHANGE_IMPORT:
                return import(run, item);
        case CHANGE_DESTROY:
                log_error("%s: it has a policy; remove %s first, then its keys can be destroyed", item->keyset->name, item->written->file);
                return -EBUSY;
        case CHANGE_NOTHING:
                break;
        }
        return 0;
}

int item_change(struct run *run, struct item *item) {
        int r;

        if (!run->options->change || run->n_passes > 1)
                return 0;
        r = apply(run, item);
        if (r < 0)
                run->change_failed = true;
        return r < 0 ? r : 1;
}
