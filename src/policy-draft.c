/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The draft of a policy: its defaults, its parts, and what is complained about it. Calls diagnostics and
 * policy only. */

#include "policy-draft.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define MINUTE 60
#define DAY (24 * 60 * MINUTE)

static const struct policy builtin_defaults = {
        .valid = true,
        .cryptoperiod = INT64_C(30) * DAY,
        .token_lifetime = 15 * MINUTE,
        .jwks_max_age = 5 * MINUTE,
        .clock_skew = 1 * MINUTE,
        .access.use = USE_VERIFY,
};

/* What keyrota.conf may say about a policy. */
static int inherit(struct draft *draft, const struct draft *defaults) {
        const struct policy *from = defaults->policy;
        struct policy *to = draft->policy;

        if (from->environment) {
                to->environment = strdup(from->environment);
                if (!to->environment)
                        return -ENOMEM;
        }
        to->algorithm = from->algorithm;
        to->size = from->size;
        to->cryptoperiod = from->cryptoperiod;
        to->token_lifetime = from->token_lifetime;
        to->jwks_max_age = from->jwks_max_age;
        to->clock_skew = from->clock_skew;
        to->jitter = from->jitter;
        to->window = from->window;
        to->on_removal = from->on_removal;
        if (from->window_file) {
                to->window_file = strdup(from->window_file);
                if (!to->window_file)
                        return -ENOMEM;
        }
        to->window_line = from->window_line;

        for (enum setting s = SETTING_ENVIRONMENT; s <= SETTING_ON_REMOVAL; s++)
                draft->settings[s] = defaults->settings[s];
        return 0;
}

int draft_new(const char *name, const char *file, const struct draft *defaults,
                struct diagnostics *diagnostics, struct draft **ret) {
        _cleanup_(draft_freep) struct draft *draft = NULL;

        draft = calloc(1, sizeof(*draft));
        if (!draft)
                return -ENOMEM;
        draft->defaults = defaults;
        draft->diagnostics = diagnostics;
        draft->policy = malloc(sizeof(*draft->policy));
        if (!draft->policy)
                return -ENOMEM;

        *draft->policy = builtin_defaults;
        draft->policy->name = strdup(name);
        draft->policy->file = strdup(file);
        if (!draft->policy->name || !draft->policy->file)
                return -ENOMEM;
        if (defaults && inherit(draft, defaults) < 0)
                return -ENOMEM;

        *ret = TAKE_PTR(draft);
        return 0;
}

void draft_free(struct draft *draft) {
        if (!draft)
                return;
        policy_free(draft->policy);
        free(draft->deliveries);
        for (size_t i = 0; i < draft->n_files; i++)
                free(draft->files[i]);
        free(draft->files);
        free(draft);
}

const char *draft_add_file(struct draft *draft, const char *file) {
        char **files = reallocarray(draft->files, draft->n_files + 1, sizeof(*files));

        if (files) {
                draft->files = files;
                files[draft->n_files] = strdup(file);
                if (files[draft->n_files])
                        return files[draft->n_files++];
        }
        draft->error = -ENOMEM;
        return NULL;
}

int policy_invalidate(struct policy *policy, const char *file, unsigned line, const char *text) {
        int r;

        policy->valid = false;
        if (policy->error)
                return 0;
        r = line > 0 ? asprintf(&policy->error, "%s:%u: %s", file, line, text) :
                       asprintf(&policy->error, "%s: %s", file, text);
        if (r < 0) {
                policy->error = NULL;
                return -ENOMEM;
        }
        return 0;
}

int policy_refuse(struct policy *policy, struct diagnostics *diagnostics, const char *file, unsigned line,
                const char *text) {
        int r = policy_invalidate(policy, file, line, text);

        return r < 0 ? r : diagnostics_add(diagnostics, true, file, line, "%s", text);
}

void draft_complain(struct draft *draft, const struct origin *origin, const char *format, ...) {
        bool placed = origin && origin->file;
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL;
                draft->error = -ENOMEM;
                return;
        }

        r = policy_refuse(draft->policy, draft->diagnostics, placed ? origin->file : draft->policy->file,
                        placed ? origin->line : 0, text);
        if (r < 0)
                draft->error = r;
        if (draft->config)
                draft->config->valid = false;
}

struct delivery *draft_add_delivery(struct draft *draft, const char *unit, const struct origin *origin) {
        struct policy *policy = draft->policy;
        size_t n = policy->n_deliveries;
        struct delivery *deliveries;
        struct delivery_origins *origins;

        deliveries = reallocarray(policy->deliveries, n + 1, sizeof(*deliveries));
        if (deliveries)
                policy->deliveries = deliveries;
        origins = reallocarray(draft->deliveries, n + 1, sizeof(*origins));
        if (origins)
                draft->deliveries = origins;
        if (!deliveries || !origins) {
                draft->error = -ENOMEM;
                return NULL;
        }

        origins[n] = (struct delivery_origins){ .of[DELIVERY_SECTION] = *origin };
        deliveries[n] = (struct delivery){
                .unit = strdup(unit),
                .file = strdup(origin->file),
                .line = origin->line,
                .on_change = ON_CHANGE_RESTART,
                .max_unavailable = 1,
        };
        if (!deliveries[n].unit || !deliveries[n].file) {
                delivery_clear(deliveries + n);
                draft->error = -ENOMEM;
                return NULL;
        }

        policy->n_deliveries++;
        return deliveries + n;
}
