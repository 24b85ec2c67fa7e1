/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The rules: what must hold between the settings of a policy, between policies, and between a policy and the
 * running systemd. Pure. */

#include <errno.h>
#include <string.h>

#include "paths.h"
#include "policy-draft.h"
#include "timespan.h"

#define REFRESH_ON_RELOAD_VERSION 260 /* systemd.exec(5): RefreshOnReload=credentials */

static bool is_set(const struct origin *origin) {
        return origin->file;
}

/* Set, and to something that makes sense. */
static bool is_good(const struct origin *origin) {
        return origin->file && !origin->bad;
}

/* "an ES256", "a PS256" */
static const char *article(enum algorithm algorithm) {
        return algorithm_info(algorithm)->name[0] == 'P' ? "a" : "an";
}

static void check_environment(struct draft *draft, const struct deployment *deployment) {
        struct policy *policy = draft->policy;

        if (is_set(draft->settings + SETTING_ENVIRONMENT))
                return;
        if (deployment && deployment->value) {
                policy->environment = strdup(deployment->value);
                if (!policy->environment)
                        draft->error = -ENOMEM;
                return;
        }
        if (deployment && deployment->problem)
                draft_complain(draft, NULL, "no environment: %s; write environment = NAME in [secret]",
                                deployment->problem);
        else
                draft_complain(draft, NULL,
                                "no environment; write environment = NAME in [secret] here or in " PATH_CONFIG
                                ", or DEPLOYMENT=NAME in " PATH_MACHINE_INFO);
}

static void complain_about_size(struct draft *draft, unsigned size) {
        const struct origin *origin = draft->settings + SETTING_SIZE;
        enum algorithm algorithm = draft->policy->algorithm;
        const struct algorithm_info *info = algorithm_info(algorithm);

        switch (info->key_type) {
        case KEY_TYPE_OCT:
                if (size < info->hash_size)
                        draft_complain(draft, origin,
                                        "size = %u is smaller than the hash of %s; write at least %u "
                                        "(bytes), or leave it out",
                                        size, info->name, info->hash_size);
                else
                        draft_complain(draft, origin,
                                        "size = %u is more than %s has any use for; write %u to 128 (bytes), "
                                        "or leave it out",
                                        size, info->name, info->hash_size);
                break;
        case KEY_TYPE_RSA:
                draft_complain(draft, origin,
                                "size = %u is no size for %s %s key; write 2048, 3072 or 4096 (bits; "
                                "multiples of 256 between them)",
                                size, article(algorithm), info->name);
                break;
        case KEY_TYPE_EC:
        case KEY_TYPE_OKP:
                draft_complain(draft, origin, "size is fixed for %s; leave it out", info->name);
                break;
        }
}

static void check_algorithm(struct draft *draft) {
        struct origin *algorithm = draft->settings + SETTING_ALGORITHM,
                      *size = draft->settings + SETTING_SIZE;
        const struct draft *defaults = draft->defaults;
        struct policy *policy = draft->policy;

        /* A size in keyrota.conf goes with the algorithm there; a policy with another algorithm has no use
         * for it. */
        if (defaults && size->file == defaults->settings[SETTING_SIZE].file &&
                        algorithm->file != defaults->settings[SETTING_ALGORITHM].file) {
                *size = (struct origin){ 0 };
                policy->size = 0;
        }

        policy->algorithm_known = is_good(algorithm);
        if (!is_set(algorithm))
                draft_complain(draft, NULL, "no algorithm; write algorithm = ES256 (or another) in [secret]");
        if (!policy->algorithm_known)
                return;

        if (!is_set(size))
                policy->size = algorithm_size_default(policy->algorithm);
        else if (is_good(size) && !algorithm_size_valid(policy->algorithm, policy->size))
                complain_about_size(draft, policy->size);
}

/* The setting to complain about when the times do not fit together: the first that somebody wrote. */
static const struct origin *rotation_origin(const struct draft *draft) {
        for (enum setting s = SETTING_CRYPTOPERIOD; s <= SETTING_JITTER; s++)
                if (is_set(draft->settings + s))
                        return draft->settings + s;
        return NULL;
}

/* NIST SP 800-57 part 1, 5.3: a key signs no longer than its cryptoperiod. While it signs, its successor must
 * have been published long enough before, and its predecessor must have left. */
static void check_rotation(struct draft *draft) {
        char period[TIMESPAN_TEXT_MAX], prepublish[TIMESPAN_TEXT_MAX], overlap[TIMESPAN_TEXT_MAX],
                        least[TIMESPAN_TEXT_MAX], jitter[TIMESPAN_TEXT_MAX];
        const struct policy *policy = draft->policy;
        int64_t needed = policy_prepublish(policy) + policy_overlap(policy);

        for (enum setting s = SETTING_CRYPTOPERIOD; s <= SETTING_JITTER; s++)
                if (draft->settings[s].bad)
                        return;
        if (policy->token_lifetime == 0)
                draft_complain(draft, draft->settings + SETTING_TOKEN_LIFETIME,
                                "token_lifetime is 0; write the longest life of a token signed with this "
                                "secret");
        if (policy->cryptoperiod == 0) {
                draft_complain(draft, draft->settings + SETTING_CRYPTOPERIOD,
                                "cryptoperiod is 0; write how long one key signs, such as 30d");
                return;
        }
        if (policy->cryptoperiod - policy->jitter >= needed)
                return;

        timespan_format(policy->cryptoperiod, period);
        timespan_format(policy_prepublish(policy), prepublish);
        timespan_format(policy_overlap(policy), overlap);
        timespan_format(needed + policy->jitter, least);
        timespan_format(policy->jitter, jitter);
        if (policy->jitter == 0)
                draft_complain(draft, rotation_origin(draft),
                                "cryptoperiod (%s) is shorter than prepublish (%s, jwks_max_age + "
                                "clock_skew) and overlap (%s, token_lifetime + "
                                "clock_skew) together; make cryptoperiod at least %s",
                                period, prepublish, overlap, least);
        else
                draft_complain(draft, rotation_origin(draft),
                                "cryptoperiod (%s) less jitter (%s) is shorter than prepublish (%s, "
                                "jwks_max_age + clock_skew) and overlap (%s, "
                                "token_lifetime + clock_skew) together; make cryptoperiod at least %s, or "
                                "jitter smaller",
                                period, jitter, prepublish, overlap, least);
}

/* A delivery without a credential: its unit reads the public JWKS file. */
static void check_public_delivery(
                struct draft *draft, struct delivery *delivery, const struct delivery_origins *origins) {
        const struct origin *section = origins->of + DELIVERY_SECTION, *use = origins->of + DELIVERY_USE,
                            *format = origins->of + DELIVERY_FORMAT;
        const struct policy *policy = draft->policy;

        if (is_good(use) && delivery->use == USE_SIGN)
                draft_complain(draft, section,
                                "[deliver:%s] has no credential; write credential = NAME, its name in "
                                "$CREDENTIALS_DIRECTORY",
                                delivery->unit);
        else if (is_good(use) && policy->algorithm_known && algorithm_is_symmetric(policy->algorithm))
                draft_complain(draft, section,
                                "[deliver:%s] has no credential, and %s %s secret has no public file; write "
                                "credential = NAME",
                                delivery->unit, article(policy->algorithm),
                                algorithm_info(policy->algorithm)->name);
        else {
                if (is_good(format) && delivery->format != FORMAT_JWKS)
                        draft_complain(draft, format,
                                        "format = %s needs a credential; write credential = NAME, or leave "
                                        "format out to read " PATH_JWKS "/%s.json",
                                        format_to_string(delivery->format), policy->name);
                if (is_good(origins->of + DELIVERY_NEWLINE))
                        draft_complain(draft, origins->of + DELIVERY_NEWLINE,
                                        "newline needs a credential; write credential = NAME, or leave "
                                        "newline out");
        }
        delivery->format = FORMAT_JWKS;
        delivery->newline = false;
}

static void check_format(
                struct draft *draft, struct delivery *delivery, const struct delivery_origins *origins) {
        const struct origin *format = origins->of + DELIVERY_FORMAT;
        enum algorithm algorithm = draft->policy->algorithm;

        if (!is_set(format))
                draft_complain(draft, origins->of + DELIVERY_SECTION,
                                "[deliver:%s] has no format; write format = jwk (or jwks, pem, raw, hex, "
                                "base64, base64url)",
                                delivery->unit);
        else if (is_good(format) && draft->policy->algorithm_known &&
                        !format_carries(delivery->format, algorithm))
                draft_complain(draft, format, "format = %s cannot carry %s %s key; use %s",
                                format_to_string(delivery->format), article(algorithm),
                                algorithm_info(algorithm)->name,
                                algorithm_is_symmetric(algorithm) ?
                                                "jwk, jwks, raw, hex, base64 or base64url" :
                                                "jwk, jwks or pem");

        if (!is_set(origins->of + DELIVERY_NEWLINE))
                delivery->newline = delivery->format == FORMAT_PEM;
}

static void check_max_unavailable(
                struct draft *draft, const struct delivery *delivery, const struct delivery_origins *origins) {
        const struct origin *origin = origins->of + DELIVERY_MAX_UNAVAILABLE;

        if (is_set(origin) && !policy_unit_is_template(delivery->unit))
                draft_complain(draft, origin,
                                "max_unavailable is for the instances of a template (NAME@.service), and %s is one "
                                "unit; leave it out",
                                delivery->unit);
}

static void check_delivery(
                struct draft *draft, struct delivery *delivery, const struct delivery_origins *origins) {
        const struct origin *credential = origins->of + DELIVERY_CREDENTIAL;
        size_t peer;

        if (!is_set(origins->of + DELIVERY_USE))
                draft_complain(draft, origins->of + DELIVERY_SECTION,
                                "[deliver:%s] has no use; write use = sign or use = verify", delivery->unit);

        check_max_unavailable(draft, delivery, origins);
        if (!is_set(credential)) {
                check_public_delivery(draft, delivery, origins);
                return;
        }
        check_format(draft, delivery, origins);

        peer = delivery->credential ? strlen(delivery->unit) + strlen(delivery->credential) : 0;
        if (peer > POLICY_PEER_MAX)
                draft_complain(draft, credential,
                                "the names of unit and credential have %zu bytes together, %d are the most "
                                "that systemd asks for; shorten %s by %zu",
                                peer, POLICY_PEER_MAX,
                                strlen(delivery->credential) > peer - POLICY_PEER_MAX ? "the credential's" :
                                                                                        "the unit's",
                                peer - POLICY_PEER_MAX);
}

static void check_access(struct draft *draft) {
        const struct origin *section = draft->settings + SETTING_ACCESS_SECTION;

        if (is_set(section) && !is_set(draft->settings + SETTING_USERS))
                draft_complain(draft, section, "[access] has no users; write users = NAME @GROUP...");
}

void draft_check(struct draft *draft, const struct deployment *deployment) {
        struct policy *policy = draft->policy;

        check_environment(draft, deployment);
        check_algorithm(draft);
        check_rotation(draft);
        for (size_t i = 0; i < policy->n_deliveries; i++)
                check_delivery(draft, policy->deliveries + i, draft->deliveries + i);
        check_access(draft);

        /* Of a policy with other errors the missing section may be one of them. */
        if (policy->n_deliveries == 0 && !is_set(draft->settings + SETTING_ACCESS_SECTION) && policy->valid)
                draft_complain(draft, NULL,
                                "nobody gets this secret; write a [deliver:NAME.service] or an [access] "
                                "section");
}

void draft_check_config(struct draft *draft) {
        const struct origin *size = draft->settings + SETTING_SIZE;

        if (is_good(size) && !is_set(draft->settings + SETTING_ALGORITHM))
                draft_complain(draft, size,
                                "size without algorithm; write it in the policies, or give an algorithm here "
                                "too");
        else
                draft->policy->algorithm_known = is_good(draft->settings + SETTING_ALGORITHM);
        if (draft->policy->algorithm_known && is_good(size) &&
                        !algorithm_size_valid(draft->policy->algorithm, draft->policy->size))
                complain_about_size(draft, draft->policy->size);
}

struct claim {
        struct policy *policy;
        const struct delivery *delivery;
};

static int compare_claims(const void *a, const void *b) {
        const struct claim *x = a, *y = b;
        int r = strcmp(x->delivery->unit, y->delivery->unit);

        if (r == 0)
                r = strcmp(x->delivery->credential, y->delivery->credential);
        if (r == 0)
                r = strcmp(x->policy->name, y->policy->name);
        return r;
}

static bool same_claim(const struct claim *a, const struct claim *b) {
        return strcmp(a->delivery->unit, b->delivery->unit) == 0 &&
                        strcmp(a->delivery->credential, b->delivery->credential) == 0;
}

static int complain_about_claim(
                const struct claim *claim, const struct claim *other, struct diagnostics *diagnostics) {
        _cleanup_free_ char *text = NULL;

        if (asprintf(&text, "credential %s of %s is also that of %s:%u; give one of them another name",
                            claim->delivery->credential, claim->delivery->unit, other->delivery->file,
                            other->delivery->line) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return policy_refuse(claim->policy, diagnostics, claim->delivery->file, claim->delivery->line, text);
}

int policy_check_conflicts(struct policy_set *set, struct diagnostics *diagnostics) {
        _cleanup_free_ struct claim *claims = NULL;
        size_t n = 0;
        int r = 0;

        for (size_t i = 0; i < set->n_policies; i++)
                n += set->policies[i]->n_deliveries;
        claims = calloc(n > 0 ? n : 1, sizeof(*claims));
        if (!claims)
                return -ENOMEM;

        n = 0;
        for (size_t i = 0; i < set->n_policies; i++)
                for (size_t j = 0; j < set->policies[i]->n_deliveries; j++)
                        if (set->policies[i]->deliveries[j].credential)
                                claims[n++] = (struct claim){ set->policies[i],
                                        set->policies[i]->deliveries + j };
        qsort(claims, n, sizeof(*claims), compare_claims);

        /* Each is told about its neighbour: of three, the middle one about the first. */
        for (size_t i = 0; r >= 0 && i < n; i++)
                if (i > 0 && same_claim(claims + i, claims + i - 1))
                        r = complain_about_claim(claims + i, claims + i - 1, diagnostics);
                else if (i + 1 < n && same_claim(claims + i, claims + i + 1))
                        r = complain_about_claim(claims + i, claims + i + 1, diagnostics);
        return r;
}

int policy_check_reload(struct policy_set *set, unsigned systemd_version, struct diagnostics *diagnostics) {
        if (systemd_version >= REFRESH_ON_RELOAD_VERSION)
                return 0;

        for (size_t i = 0; i < set->n_policies; i++)
                for (size_t j = 0; j < set->policies[i]->n_deliveries; j++) {
                        struct policy *policy = set->policies[i];
                        const struct delivery *delivery = policy->deliveries + j;
                        _cleanup_free_ char *text = NULL;
                        int r;

                        /* A unit that reads the public file itself can do so again at any time. */
                        if (delivery->on_change != ON_CHANGE_RELOAD || !delivery->credential)
                                continue;
                        if (asprintf(&text,
                                            "on_change = reload brings no new key to %s here: systemd %u "
                                            "keeps a credential until the unit is "
                                            "restarted (%d and later do not); write on_change = restart",
                                            delivery->unit, systemd_version, REFRESH_ON_RELOAD_VERSION) < 0) {
                                text = NULL;
                                return -ENOMEM;
                        }
                        r = policy_refuse(policy, diagnostics,
                                        delivery->on_change_file ? delivery->on_change_file : delivery->file,
                                        delivery->on_change_file ? delivery->on_change_line : delivery->line,
                                        text);
                        if (r < 0)
                                return r;
                }
        return 0;
}
