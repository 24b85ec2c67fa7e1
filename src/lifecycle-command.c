/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an administrator decides about keys: another policy, a rotation, a compromised key, the way back. Pure. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lifecycle-internal.h"

void lifecycle_begin_rotation(struct keyset *keyset, int64_t now) {
        struct key *active = keyset_active(keyset);

        if (active && active->times.deactivates > now)
                active->times.deactivates = now;
}

static bool is_meant(const struct key *key, const char *kid) {
        return !kid || strcmp(jwk_kid(key->jwk), kid) == 0;
}

int lifecycle_revoke(struct keyset *keyset, const struct policy *policy, const char *kid, int64_t now, uint64_t random) {
        const struct key *active = keyset_active(keyset);
        bool signs = active && is_meant(active, kid);
        struct key *successor;
        int r;

        if (kid ? !keyset_find(keyset, kid) : keyset->n_keys == 0)
                return -ENOENT;
        for (size_t i = 0; i < keyset->n_keys;) {
                if (!is_meant(&keyset->keys[i], kid)) {
                        i++;
                        continue;
                }
                r = keyset_destroy(keyset, i, now, "compromised");
                if (r < 0)
                        return r;
        }
        keyset->verify_generation = keyset->revoke_generation = keyset->generation + 1;
        if (!signs)
                return 0;
        keyset->sign_generation = keyset->generation + 1;

        if (!policy)
                return 0;
        successor = keyset_successor(keyset);
        if (!successor || jwk_algorithm(successor->jwk) != policy->algorithm)
                return 1;
        lifecycle_activate(keyset, successor, policy, now, random);
        return 0;
}

int lifecycle_rollback(struct keyset *keyset, const struct policy *policy, int64_t now, uint64_t random) {
        struct key *previous = keyset_previous(keyset);

        if (!previous)
                return -ENOENT;
        if (jwk_algorithm(previous->jwk) != policy->algorithm)
                return -EINVAL;
        lifecycle_activate(keyset, previous, policy, now, random);
        return 0;
}

bool lifecycle_keep_longer(struct keyset *keyset, int64_t overlap) {
        bool changed = false;

        for (size_t i = 0; i < keyset->n_keys; i++) {
                struct key_times *times = &keyset->keys[i].times;

                if (times->activates == TIME_NEVER || times->overlap >= overlap)
                        continue;
                times->overlap = overlap;
                changed = true;
                if (times->destroys != TIME_NEVER && time_add(times->deactivates, overlap) > times->destroys)
                        times->destroys = time_add(times->deactivates, overlap);
        }
        return changed;
}

/* A rotation that has begun is not put off. */
static void change_cryptoperiod(struct keyset *keyset, const struct policy *old, const struct policy *policy, int64_t now) {
        struct key *active = keyset_active(keyset);
        int64_t end;

        if (!active || active->times.deactivates == TIME_NEVER)
                return;
        end = time_add(active->times.deactivates, policy->cryptoperiod - old->cryptoperiod);
        if (end < active->times.deactivates || (active->times.deactivates > now && !keyset_successor(keyset)))
                active->times.deactivates = end;
}

/* Caches outlive the last public key; for how long by a clock that may have been set, its tombstone does not tell. */
static bool has_had_public_keys(const struct keyset *keyset) {
        for (size_t i = 0; i < keyset->n_keys; i++)
                if (!algorithm_is_symmetric(jwk_algorithm(keyset->keys[i].jwk)))
                        return true;
        for (size_t i = 0; i < keyset->n_destroyed; i++)
                if (!algorithm_is_symmetric(keyset->destroyed[i].algorithm))
                        return true;
        return false;
}

int lifecycle_adopt_policy(struct keyset *keyset, const struct policy *policy, const char *text, int64_t now) {
        _cleanup_(policy_freep) struct policy *old = NULL;
        struct diagnostics diagnostics = {};
        char *copy = strdup(text);
        int r;

        if (!copy)
                return -ENOMEM;
        r = keyset->policy ? policy_parse_text(keyset->name, keyset->policy, &old, &diagnostics) : 0;
        diagnostics_clear(&diagnostics);
        if (r == -ENOMEM) {
                free(copy);
                return r;
        }

        (void) lifecycle_keep_longer(keyset, policy_overlap(policy));
        if (old) {
                /* Also of a secret that is symmetric now: a public set of an earlier algorithm may still be out. now is cut to a whole second. */
                int64_t lead = has_had_public_keys(keyset) ? policy_prepublish(old) : lifecycle_lead(old), until = time_add(now, lead + 1);

                if (lead > lifecycle_lead(policy) && until > keyset->caches_until)
                        keyset->caches_until = until;
                change_cryptoperiod(keyset, old, policy, now);
                if (old->algorithm != policy->algorithm && !keyset->previous) {
                        keyset->previous = keyset->policy;
                        keyset->policy = NULL;
                }
        }
        free(keyset->policy);
        keyset->policy = copy;
        return 0;
}
