/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_ROLES_H
#define KEYROTA_ROLES_H

/* What a rotation asks of each consumer of a policy. Pure; calls policy and algorithm only. */

#include "policy.h"

/* A symmetric secret with one unit (no template), which both signs and verifies: no other verifier has to know a key beforehand. */
bool policy_is_solo(const struct policy *policy);

/* Does it hold several keys, so that it must be given a new one before that signs, and one less when it is destroyed? JWKS (of a
 * symmetric secret also with use = sign), PEM for verifying, the public file. */
bool delivery_holds_set(const struct policy *policy, const struct delivery *delivery);

/* Does what it holds depend on which key is active? A signer, and a verifier whose format holds one key. */
bool delivery_follows_active(const struct policy *policy, const struct delivery *delivery);

/* Is a new key published before it signs? Not of a solo secret, nor where every consumer's format holds one key and no public set exists. */
bool policy_prepublishes(const struct policy *policy);

/* Must all that follow the active key change it at once, because some of them can verify with that one key only? */
bool policy_switches_together(const struct policy *policy);

/* Does it, once it holds a new key, reject tokens that the one before signed? It verifies, and its format holds one key. */
bool delivery_rejects_previous(const struct policy *policy, const struct delivery *delivery);

/* Is any consumer restarted on a change, or sent a signal, upon which it may restart itself (so that window = matters)? */
bool policy_restarts_units(const struct policy *policy);

#endif
