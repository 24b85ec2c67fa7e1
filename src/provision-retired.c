/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Secrets whose policy was removed: their public keys go on verifying, and nothing of them is destroyed unless their last policy or a command says so, and then not
 * before no token can be out. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "provision-run.h"

static int parse_last_policy(const struct keyset *keyset, struct policy **ret) {
        struct diagnostics diagnostics = {};
        int r = 0;

        if (keyset->policy)
                r = policy_parse_text(keyset->name, keyset->policy, ret, &diagnostics);
        diagnostics_clear(&diagnostics);
        return r == -EBADMSG ? 0 : r;
}

static int destroy_now(struct run *run, struct keyset *keyset) {
        while (keyset->n_keys > 0) {
                struct lifecycle_result result = {
                        .events = { { .type = LIFECYCLE_DESTROYED } },
                        .n_events = 1,
                };
                int r;

                (void) snprintf(result.events[0].kid, sizeof(result.events[0].kid), "%s", jwk_kid(keyset->keys[0].jwk));
                r = run_record_events(run, keyset, &result);
                if (r >= 0)
                        r = keyset_destroy(keyset, 0, run->now, "destroyed by command");
                if (r < 0)
                        return r;
        }
        return 0;
}

static int revoke_keys(const struct run *run, struct keyset *keyset, const char *kid) {
        int r = 0;

        if (kid ? !keyset_find(keyset, kid) : keyset->n_keys == 0) {
                log_error("%s/%s: it has no such key", keyset->environment, keyset->name);
                return -ENOENT;
        }
        r = run_record_compromised(run, keyset, kid);
        return r < 0 ? r : lifecycle_revoke(keyset, NULL, kid, run->now, 0);
}

/* 1: the set was changed. A negative errno after logging. */
static int change(struct run *run, struct keyset *keyset) {
        const struct change *change = run->options->change;
        int r;

        if (!change || run->n_passes > 1)
                return 0;
        switch (change->type) {
        case CHANGE_DESTROY:
                keyset->destroy = true;
                if (keyset->retired == TIME_NEVER)
                        keyset->retired = run->now;
                r = change->now ? destroy_now(run, keyset) : 0;
                return r < 0 ? r : 1;
        case CHANGE_REVOKE:
                r = revoke_keys(run, keyset, change->kid);
                return r < 0 ? r : 1;
        default:
                log_error("%s: its policy was removed; put it back first", keyset->name);
                return -ENOENT;
        }
}

static int store(struct run *run, struct keyset *keyset, char **ret_reason) {
        int r;

        clock_stamp(&run->clock, &keyset->clock);
        r = store_stage(run->store, keyset, ret_reason);
        if (r >= 0)
                r = store_commit(run->store, ret_reason);
        if (r >= 0)
                run->n_stored_now++;
        return r;
}

static int add_due(struct run *run, const struct keyset *keyset, const struct lifecycle_result *result) {
        struct due *grown, due = {
                .environment = strdup(keyset->environment),
                .name = strdup(keyset->name),
                .when = result->next,
                .waits = result->wait != LIFECYCLE_WAIT_NOBODY,
        };

        grown = reallocarray(run->retired, run->n_retired + 1, sizeof(*grown));
        if (grown)
                run->retired = grown;
        if (!grown || !due.environment || !due.name) {
                free(due.environment);
                free(due.name);
                return -ENOMEM;
        }
        grown[run->n_retired++] = due;
        return 0;
}

static int retire(struct run *run, struct keyset *keyset, char **ret_reason) {
        _cleanup_(policy_freep) struct policy *last = NULL;
        struct lifecycle_result result = {};
        struct lifecycle_facts facts;
        bool changed = false, adjusted;
        int r;

        r = run_follow_clock(run, keyset);
        if (r < 0)
                return r;
        adjusted = r > 0;
        r = parse_last_policy(keyset, &last);
        if (r >= 0) {
                if (last)
                        adjusted = lifecycle_keep_longer(keyset, policy_overlap(last)) || adjusted;
                if (keyset->retired == TIME_NEVER && last && last->on_removal == ON_REMOVAL_DESTROY)
                        keyset->destroy = true;
                r = change(run, keyset);
                run->change_failed |= r < 0;
        }
        if (r < 0)
                return r;
        changed = r > 0 || adjusted;
        run_facts(run, keyset->destroy ? last : NULL, keyset, &facts);
        r = lifecycle_advance(NULL, keyset, &facts, run->now, &result);
        if (r >= 0)
                r = run_record_events(run, keyset, &result);
        if (r >= 0 && (changed || result.changed))
                r = store(run, keyset, ret_reason);
        if (r >= 0 && keyset->n_keys > 0)
                r = publication_add_retired(run->publication, keyset, ret_reason);
        return r < 0 ? r : add_due(run, keyset, &result);
}

void run_retire(struct run *run) {
        for (size_t i = 0; i < run->n_stored; i++) {
                const struct store_name *stored = &run->stored[i];
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                _cleanup_free_ char *reason = NULL;
                int r;

                /* What seems to have no policy may have one in a folder that could not be read. */
                if (run_has_policy(run, stored->name) || run->policies->incomplete || !run_wants(run, stored->name))
                        continue;
                r = store_load(run->store, stored->environment, stored->name, &keyset, &reason);
                if (r >= 0)
                        r = retire(run, keyset, &reason);
                if (r < 0) {
                        if (!run->change_failed)
                                log_warning("%s/%s has no policy any more, and %s", stored->environment, stored->name, reason ? reason : strerror(-r));
                        (void) publication_keep(run->publication, stored->name);
                        run->change_failed |= run->options->change != NULL;
                }
        }
}
