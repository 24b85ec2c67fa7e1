/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_LIVE_RING_H
#define KEYROTA_PAM_LIVE_RING_H

/*
 * The entries of the live keyring, which it opens by the serial number that the access table tells: under su the real user, and with it @u, is not root.
 * As keyring.c, whose secret memory has variables and a lock. Calls libc and libkeyutils only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct live_ring {
        int32_t serial;
        char *buffer; /* locked, not dumped, not inherited, wiped: the only memory of ours that ever holds key bytes */
        size_t room;  /* bytes */
};

/* Points into the ring's buffer: good until the next read. */
struct live_entry {
        uint64_t generation;
        const char *kids; /* "KID,KID" */
        const char *bytes; /* exactly those published */
        size_t size;
};

/* -ENOKEY: it is gone. -EPERM: it is not the keyring that keyrota makes, root's alone. -ENOMEM: no memory that can be locked. */
int live_ring_open(int32_t serial, struct live_ring *ret);
void live_ring_close(struct live_ring *ring);

/* secret: "ENV/NAME", whose entry it must say to be. -ENOKEY: no such entry. -EBADMSG: not in keyrota's form. */
int live_ring_read(struct live_ring *ring, const char *description, const char *secret, struct live_entry *ret);

/* Does keyrota.conf say audit = required? What cannot be read is taken for a yes. */
bool live_ring_requires_audit(int32_t serial);

#endif
