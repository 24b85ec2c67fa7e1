/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What follows from a good policy that its author may not expect: said by keyrota check, and no error. Pure; may call roles, window, timespan
 * and diagnostics.
 */

#include <errno.h>
#include <string.h>

#include "paths.h"
#include "policy.h"
#include "roles.h"
#include "timespan.h"

typedef bool (*unit_filter)(const struct policy *policy, const struct delivery *delivery);

struct units {
        char *names; /* "a.service, b.service and all instances of c@.service" */
        size_t n;
        bool several; /* also of one template */
        bool restarted;
};

static int join(char **names, const struct delivery *delivery, bool first, bool last) {
        char *joined;

        if (asprintf(&joined, "%s%s%s%s", first ? "" : *names, first ? "" : last ? " and " : ", ",
                     policy_unit_is_template(delivery->unit) ? "all instances of " : "", delivery->unit) < 0)
                return -ENOMEM;
        free(*names);
        *names = joined;
        return 0;
}

/* Those that belong; names stays NULL when none does. Frees nothing on failure: *ret wants free(names). */
static int units_of(const struct policy *policy, unit_filter belongs, struct units *ret) {
        size_t n = 0;

        *ret = (struct units){ .restarted = true };
        for (size_t i = 0; i < policy->n_deliveries; i++)
                ret->n += belongs(policy, &policy->deliveries[i]);

        for (size_t i = 0; i < policy->n_deliveries; i++) {
                const struct delivery *delivery = &policy->deliveries[i];

                if (!belongs(policy, delivery))
                        continue;
                n++;
                if (join(&ret->names, delivery, n == 1, n == ret->n) < 0)
                        return -ENOMEM;
                ret->several = ret->n > 1 || policy_unit_is_template(delivery->unit);
                ret->restarted = ret->restarted && delivery->on_change == ON_CHANGE_RESTART;
        }
        return 0;
}

static bool changes_at_activation(const struct policy *policy, const struct delivery *delivery) {
        return delivery_follows_active(policy, delivery) || delivery_rejects_previous(policy, delivery);
}

/* Tokens of the previous key are rejected as soon as a consumer that holds one key has the next. */
static int note_gap(const struct policy *policy, const struct delivery *delivery, struct diagnostics *notes) {
        _cleanup_free_ char *changing_names = NULL, *rejecting_names = NULL;
        char lifetime[TIMESPAN_TEXT_MAX];
        struct units changing, rejecting;
        int r;

        r = units_of(policy, changes_at_activation, &changing);
        changing_names = changing.names;
        if (r < 0)
                return r;
        r = units_of(policy, delivery_rejects_previous, &rejecting);
        rejecting_names = rejecting.names;
        if (r < 0)
                return r;

        return diagnostics_add(notes, false, delivery->format_file, delivery->format_line,
                               "format = %s holds one key: at each rotation %s %s%s, and tokens issued before (up to token_lifetime = %s) "
                               "are rejected by %s from then on; format = jwks would close that gap",
                               format_to_string(delivery->format), changing_names,
                               changing.restarted ? (changing.several ? "are restarted" : "is restarted") :
                               changing.several   ? "change keys" :
                                                    "changes keys",
                               changing.several ? " together" : "", timespan_format(policy->token_lifetime, lifetime),
                               changing.n != rejecting.n ? rejecting_names :
                               changing.several          ? "them" :
                                                           "it");
}

static int note_gaps(const struct policy *policy, struct diagnostics *notes) {
        for (size_t i = 0; i < policy->n_deliveries; i++)
                if (delivery_rejects_previous(policy, &policy->deliveries[i]))
                        return note_gap(policy, &policy->deliveries[i], notes);
        return 0;
}

/* A credential is that of the start, see systemd.exec(5); no signal changes it. */
static int note_signal(const struct delivery *delivery, struct diagnostics *notes) {
        char text[ON_CHANGE_TEXT_MAX];

        if (delivery->on_change != ON_CHANGE_SIGNAL || !delivery->credential)
                return 0;
        return diagnostics_add(notes, false, delivery->on_change_file, delivery->on_change_line,
                               "on_change = %s brings no new credential to a running %s: unless it ends and is started again upon it, each "
                               "rotation waits until somebody restarts it; on_change = restart does",
                               on_change_to_string(delivery, text), delivery->unit);
}

static int note_max_unavailable(const struct policy *policy, const struct delivery *delivery, struct diagnostics *notes) {
        bool together = policy_switches_together(policy) && delivery_follows_active(policy, delivery);

        if (delivery->max_unavailable == 1 || (delivery->on_change != ON_CHANGE_NONE && !together))
                return 0;
        return diagnostics_add(notes, false, delivery->file, delivery->line, "[deliver:%s]: max_unavailable = %u has no effect, as %s",
                               delivery->unit, delivery->max_unavailable,
                               delivery->on_change == ON_CHANGE_NONE ? "with on_change = none nothing is done to its instances" :
                                                                       "all of them change keys together");
}

static bool is_of_config(const char *file) {
        const char *slash = strrchr(file, '/');

        return slash && strcmp(slash, strrchr(PATH_CONFIG, '/')) == 0;
}

/* How many openings a rotation needs: it creates, activates and destroys in the window, and between these must pass prepublish and overlap. */
static unsigned openings_needed(const struct policy *policy) {
        int64_t length = window_length(&policy->window), used = 0;
        unsigned n = 1;

        if (policy_prepublishes(policy)) {
                used = policy_prepublish(policy);
                if (used >= length) {
                        n++;
                        used = 0;
                }
        }
        return used + policy_overlap(policy) >= length ? n + 1 : n;
}

static int note_rare_window(const struct policy *policy, const char *file, unsigned line, struct diagnostics *notes) {
        char window[WINDOW_TEXT_MAX], cryptoperiod[TIMESPAN_TEXT_MAX], interval[TIMESPAN_TEXT_MAX], least[TIMESPAN_TEXT_MAX];
        int64_t needed = openings_needed(policy) * window_interval(&policy->window);

        if (policy->cryptoperiod - policy->jitter >= needed)
                return 0;
        return diagnostics_add(notes, false, file, line,
                               "window = %s opens as rarely as once in %s, and a rotation needs %u opening%s: with cryptoperiod = %s one is due "
                               "before the last is complete, and keys sign for longer; make cryptoperiod at least %s, or the window %s",
                               window_format(&policy->window, window), timespan_format(window_interval(&policy->window), interval),
                               openings_needed(policy), openings_needed(policy) > 1 ? "s" : "", timespan_format(policy->cryptoperiod, cryptoperiod),
                               timespan_format(needed + policy->jitter, least),
                               openings_needed(policy) > 1 ? "longer or more frequent" : "more frequent");
}

static int note_window(const struct policy *policy, struct diagnostics *notes) {
        bool of_config = policy->window.set && is_of_config(policy->window_file);

        if (!policy->window.set)
                return 0;
        if (policy_restarts_units(policy))
                return note_rare_window(policy, of_config ? policy->file : policy->window_file, of_config ? 0 : policy->window_line, notes);
        if (of_config)
                return 0;
        return diagnostics_add(notes, false, policy->window_file, policy->window_line,
                               "window has no effect, as no consumer has on_change = restart or signal; leave it out");
}

/* RFC 7515: with an HMAC the key that verifies is the key that signs. */
static int note_access(const struct policy *policy, struct diagnostics *notes) {
        if (!policy->access.users_file || policy->access.use != USE_VERIFY || !algorithm_is_symmetric(policy->algorithm))
                return 0;
        return diagnostics_add(notes, false, policy->access.users_file, policy->access.users_line,
                               "use = verify gives these users the key itself, as algorithm = %s has but one for both: who can verify can sign, too; an "
                               "asymmetric algorithm (ES256, EdDSA) would keep them from that",
                               algorithm_info(policy->algorithm)->name);
}

static int note_policy(const struct policy *policy, struct diagnostics *notes) {
        int r = note_gaps(policy, notes);

        for (size_t i = 0; r >= 0 && i < policy->n_deliveries; i++) {
                r = note_signal(&policy->deliveries[i], notes);
                if (r >= 0)
                        r = note_max_unavailable(policy, &policy->deliveries[i], notes);
        }
        if (r >= 0)
                r = note_access(policy, notes);
        return r < 0 ? r : note_window(policy, notes);
}

int policy_notes(const struct policy_set *set, struct diagnostics *notes) {
        for (size_t i = 0; i < set->n_policies; i++) {
                int r = set->policies[i]->valid ? note_policy(set->policies[i], notes) : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}
