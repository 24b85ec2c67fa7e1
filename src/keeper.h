/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEEPER_H
#define KEYROTA_KEEPER_H

/*
 * Who answers when the server is killed between accept(2) and its reply: a connection must then not be
 * closed, as an end without data is an empty credential to systemd. Two keepers hold every connection
 * beside the server:
 *  - a child that shares the server's table of descriptors, so that it has each one from the instant of
 *    accept(2) on;
 *  - the service manager's store of descriptors (sd_pid_notify_with_fds(3), FDSTORE=1), for when both
 *    processes are killed; it gives them to the next server.
 * May call refusal, peer, audit.
 */

#include <stdbool.h>

/* Starts the child. It outlives the caller, refuses every connection that is then left, and exits. Call
 * before any secret is in memory. cgroup_root as for peer_identify(); it must stay. 0 or a negative
 * errno. */
int keeper_start(const char *cgroup_root);

/* Is this descriptor a connection (a stream socket that does not listen)? */
bool keeper_is_connection(int fd);

/* A socket connected to the service manager, from $NOTIFY_SOCKET. -ENXIO: there is no service manager. */
int keeper_connect_store(void);

/* Gives the service manager a copy of the connection fd. Never waits; without success the child alone
 * keeps it. The copy goes when the connection is shut down. */
void keeper_store(int store, int fd);

#endif
