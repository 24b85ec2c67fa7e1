/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PUBLISH_H
#define KEYROTA_PUBLISH_H

/*
 * Makes what is durable in the store readable by those whom the policies name: entries of the kernel keyring, and the public JWKS
 * files. Renders every delivery once. May call render, keyring, tree.
 */

#include <stdint.h>

#include "context.h"
#include "keyring.h"
#include "keyset.h"
#include "policy.h"
#include "seen.h"

struct publication;

/* Opens (makes) keyring and folders. Every generation that the keyring holds goes to seen. 0 or a negative errno; *ret_reason (to be freed) in words. */
int publication_new(const struct context *context, struct seen *seen, struct publication **ret, char **ret_reason);
void publication_free(struct publication *publication);
/* The keyring's serial number; 0: nothing is published. */
keyring_serial publication_ring(const struct publication *publication);
DEFINE_CLEANUP(struct publication *, publication_free);

/* Publishes what the policy asks for. Entries of other secrets are not touched. A delivery that fails leaves its old entry and the others go on. Call
 * only with a key set that is durable. */
int publication_add(struct publication *publication, const struct policy *policy, const struct keyset *keyset, char **ret_reason);

/* The generation of which everything is published; 0: none. (The entry that says so is written last.) */
uint64_t publication_generation(const struct publication *publication, const struct keyset *keyset);

/* Is there an entry for this delivery? Not while its format cannot carry the key that signs, see publication_add(). */
bool publication_has(const struct publication *publication, const struct delivery *delivery);

/* A secret without a policy: its public keys stay readable, so that tokens already out go on verifying. */
int publication_add_retired(struct publication *publication, const struct keyset *keyset, char **ret_reason);

/* Leaves everything that is published of the secret called name as it is: its policy or store cannot be used now. */
int publication_keep(struct publication *publication, const char *name);

/* Takes away what no call above asked for. */
int publication_sweep(struct publication *publication, char **ret_reason);
/* The same for the entries and the public files of these secrets only, kept ones too. */
int publication_sweep_secrets(struct publication *publication, const char *const names[], size_t n_names, char **ret_reason);

/* The credential server's orders: 1, refuse where no record can be written (audit = required); 0, deliver all the same; -1, leave them as they are. */
int publication_set_audit(struct publication *publication, int required, char **ret_reason);

/* ENV/NAME of the keyring's descriptions and headers; buffer of PUBLISH_SECRET_MAX. */
#define PUBLISH_SECRET_MAX (2 * POLICY_NAME_MAX + 2)
const char *publish_secret_name(const char *environment, const char *name, char buffer[static PUBLISH_SECRET_MAX]);

#endif
