/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TESTS_PAM_WORLD_H
#define KEYROTA_TESTS_PAM_WORLD_H

/*
 * What the tests of sessions have in common. The keyrings are the kernel's: the session's as pam_keyinit makes it, and a live one of the test's own. alice may
 * have api and billing, the group ops billing; of future nothing is published, held is locked, and of slow each read is recorded. carol is locked. See wrap.h for
 * who is who.
 */

#include <stdbool.h>
#include <stddef.h>

#define PLAIN ((const char *const[]) { NULL })
#define STRICT ((const char *const[]) { "strict", NULL })
#define OPTIONS(...) ((const char *const[]) { __VA_ARGS__, NULL })

/* The world of a test, before a login of this user: a live keyring that says audit = best-effort, the table, a session keyring. */
void world_begin(unsigned uid);

/* Its parts: a new live keyring, with this for audit or without; the table, without so many bytes at its end. */
void world_publish(const char *audit);
void world_table(size_t cut);

/* Does the session have a copy of these bytes, or of what is published? */
bool has(const char *name, const char *bytes, size_t size);
bool has_api(void);
bool has_billing(void);

/* No copy, no ring, and no key that the module left elsewhere. */
bool has_nothing(void);

#endif
