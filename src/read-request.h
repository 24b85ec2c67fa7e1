/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_READ_REQUEST_H
#define KEYROTA_READ_REQUEST_H

/*
 * One request to the read server, from its line to its answer. Asks the name services and PAM, which may take for ever: runs in a process of its own, which
 * its parent ends. May call reader, read-stack, access-table, entitlement, membership, keyring, secret, audit.
 */

#include <stdatomic.h>
#include <stdbool.h>

#include "read-protocol.h"

#define REQUEST_USER_MAX 256 /* bytes, with the NUL */

/* What the parent knows when the process that serves a request had to be ended: in memory that both share. */
struct request_note {
        atomic_bool answering; /* nothing may be sent to the peer any more */
        char user[REQUEST_USER_MAX];
        char name[READ_NAME_MAX + 1];
};

/* Serves the peer of fd. Begins with secret_harden_process(): the parent must never have had secret memory. */
void request_serve(int fd, const char *ring_name, struct request_note *note);

/* Puts on record that the request was not served, and tells the peer: text. Asks neither the name services nor PAM. */
void request_refuse(int fd, struct request_note *note, const char *text);

/* Sends one line "failed TEXT", if the socket takes it at once. Records nothing. */
void request_say_failed(int fd, const char *text);

#endif
