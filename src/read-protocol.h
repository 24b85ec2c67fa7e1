/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_READ_PROTOCOL_H
#define KEYROTA_READ_PROTOCOL_H

/*
 * What the client (keyrota read) and the read server (keyrota-read) say to each other over PATH_READ_SOCKET. One request for each connection, one line:
 *
 *     keyrota-read 1 NAME\n
 *
 * and nothing behind it. The answer is one of
 *
 *     ok SIZE\n             and SIZE bytes (1 to READ_SIZE_MAX): the secret as it is published, a JWK Set (use = verify) or a JWK (use = sign)
 *     refused TEXT\n        the server says no; TEXT is the same whatever the reason
 *     failed TEXT\n         it could not decide or answer; TEXT says why
 *
 * and then the end. What ends before its SIZE bytes, or the newline of a line, is no answer. SIZE has no leading zero, TEXT is printable ASCII.
 */

#define READ_REQUEST "keyrota-read 1 "
#define READ_OK "ok "
#define READ_REFUSED "refused "
#define READ_FAILED "failed "

#define READ_NAME_MAX 64 /* bytes of a secret's name */
#define READ_REQUEST_MAX (sizeof(READ_REQUEST) + READ_NAME_MAX) /* bytes of a request, with its newline */
#define READ_SIZE_MAX 32767 /* bytes the kernel takes in a "user" key */
#define READ_LINE_MAX 256   /* bytes of an answer's line, with its newline */

#define READ_NO "you may not read it, or there is no such secret"

/* Milliseconds. The client waits longer than the server works, and so hears of its deadline from the server. */
#define READ_REQUEST_DEADLINE_MS 5000  /* from the connection to the whole request */
#define READ_ANSWER_DEADLINE_MS 30000  /* from the connection to the answer */
#define READ_CLIENT_DEADLINE_MS 40000

#endif
