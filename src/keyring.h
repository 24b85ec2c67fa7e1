/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEYRING_H
#define KEYROTA_KEYRING_H

/*
 * The one door to libkeyutils: a flat, root-owned keyring under uid 0's user keyring that holds every
 * rendering once. May call secret.
 */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"
#include "secret.h"

#define KEYRING_PAYLOAD_MAX 32767      /* bytes the kernel takes in a "user" key */
#define KEYRING_DESCRIPTION_MAX 320
#define KEYRING_KIDS_MAX 1024

typedef int32_t keyring_serial;

/* What the header line of an entry says: for the record only, never for a decision about access. */
struct keyring_header {
        char secret[132];  /* "ENV/NAME" */
        uint64_t generation;
        char kids[KEYRING_KIDS_MAX]; /* "KID,KID" active first */
};

/* The serial of keyring name under @u. create: makes it with mask 0x003f0000. -ENOKEY: there is none. -EPERM:
 * there is one that is not root's or has a wider mask. */
int keyring_open(const char *name, bool create, keyring_serial *ret);

/* Must a record be written before a secret is given away (audit = required)? What cannot be read is taken for a yes. */
#define KEYRING_AUDIT_ENTRY "config:audit"
bool keyring_audit_required(keyring_serial ring);

/* Adds or updates in place (same serial). 1 when something changed, 0 when the entry already held exactly
 * this, -E2BIG over KEYRING_PAYLOAD_MAX, -EDQUOT. */
int keyring_publish(keyring_serial ring, const char *description, const struct keyring_header *header,
                    const struct secret *bytes);

/* The entry's header and bytes (exactly those published). -ENOKEY: no such entry. -EBADMSG: not in keyrota's
 * form. Either ret may be NULL. */
int keyring_read(keyring_serial ring, const char *description, struct keyring_header *ret_header,
                 struct secret **ret_bytes);

/* The caller's own copy of the secret called name (see copies.h), exactly, from its session keyring. -ENOKEY: the session holds none. -EPERM: it
 * holds a key that is called so, and that is not root's. */
int keyring_read_copy(const char *name, struct secret **ret);

/* Calls each() for every entry; its result <0 ends the walk and is returned. The header is NULL for an entry
 * in a foreign form. */
int keyring_foreach(keyring_serial ring,
                    int (*each)(const char *description, const struct keyring_header *header, void *userdata),
                    void *userdata);

/* Unlinks the entry; 0 also when there is none. */
int keyring_remove(keyring_serial ring, const char *description);

/* Unlinks the whole ring from @u (tests and scratch trees). */
int keyring_destroy(const char *name);

#endif
