/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a rotation asks of each consumer. Pure. */

#include "roles.h"

static bool has_users(const struct policy *policy) {
        return policy->access.n_users + policy->access.n_groups > 0;
}

/* One delivery and one unit. */
static bool is_single(const struct policy *policy) {
        return policy->n_deliveries == 1 && !policy_unit_is_template(policy->deliveries[0].unit);
}

bool policy_is_solo(const struct policy *policy) {
        return algorithm_is_symmetric(policy->algorithm) && is_single(policy) && !has_users(policy);
}

bool delivery_holds_set(const struct policy *policy, const struct delivery *delivery) {
        if (!delivery->credential)
                return true;
        if (delivery->format == FORMAT_JWKS)
                return delivery->use == USE_VERIFY || algorithm_is_symmetric(policy->algorithm);
        return delivery->format == FORMAT_PEM && delivery->use == USE_VERIFY;
}

bool delivery_follows_active(const struct policy *policy, const struct delivery *delivery) {
        return delivery->use == USE_SIGN || !delivery_holds_set(policy, delivery) || policy_is_solo(policy);
}

/* The consumers of a symmetric secret that all hold one key can but verify each other's tokens with it, whatever their use. */
static bool shares_one_key(const struct policy *policy) {
        if (!algorithm_is_symmetric(policy->algorithm) || policy->n_deliveries == 0)
                return false;
        for (size_t i = 0; i < policy->n_deliveries; i++)
                if (delivery_holds_set(policy, &policy->deliveries[i]))
                        return false;
        return true;
}

bool policy_prepublishes(const struct policy *policy) {
        return !policy_is_solo(policy) && (!shares_one_key(policy) || has_users(policy));
}

bool policy_switches_together(const struct policy *policy) {
        if (policy->n_deliveries == 0 || is_single(policy))
                return false;
        for (size_t i = 0; i < policy->n_deliveries; i++)
                if (policy->deliveries[i].use == USE_VERIFY && !delivery_holds_set(policy, &policy->deliveries[i]))
                        return true;
        return shares_one_key(policy);
}

bool delivery_rejects_previous(const struct policy *policy, const struct delivery *delivery) {
        if (delivery_holds_set(policy, delivery))
                return false;
        return delivery->use == USE_VERIFY || policy_is_solo(policy) || (shares_one_key(policy) && !is_single(policy));
}

bool policy_restarts_units(const struct policy *policy) {
        for (size_t i = 0; i < policy->n_deliveries; i++)
                if (policy->deliveries[i].on_change == ON_CHANGE_RESTART || policy->deliveries[i].on_change == ON_CHANGE_SIGNAL)
                        return true;
        return false;
}
