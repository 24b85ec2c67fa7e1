/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PEER_H
#define KEYROTA_PEER_H

/*
 * Who asks for a credential: the service manager, setting up a service. Proved by the address that it
 * binds, by the kernel's word on its uid and process, and by the cgroup of that process. The parsers are
 * pure. Calls libc only.
 */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/* Unit name and credential name fit into a socket address beside "\0", up to 16 hexadecimal digits,
 * "/unit/" and "/". */
#define PEER_NAME_MAX (sizeof(((struct sockaddr_un *) 0)->sun_path) - 1)
#define PEER_CGROUP_MAX 4096 /* bytes; PATH_MAX, as the kernel's own limit for one line */

/* Strings are empty and numbers 0 where the peer did not get that far. */
struct peer {
        char unit[PEER_NAME_MAX];
        char credential[PEER_NAME_MAX];
        pid_t pid;
        uid_t uid;
        bool has_uid;
};

/* Finds out who is connected to the socket fd. cgroup_root is what peer_parse_cgroup_root() found. NULL
 * when the peer is a system service in its setup; otherwise the reason why it is taken for none, a
 * constant text. *ret is filled as far as it is known either way, with pid and uid from the kernel; unit
 * and credential are set only from a well-formed address. */
const char *peer_identify(int fd, const char *cgroup_root, struct peer *ret);

/* Where the service manager's cgroups start, from /proc/1/cgroup: "" on a host and in a container with a
 * cgroup namespace. */
int peer_read_cgroup_root(char ret[static PEER_CGROUP_MAX]);

/* "gateway@.service" for "gateway@eu.service"; false when unit is no instance. */
bool peer_template(const char *unit, char ret[static PEER_NAME_MAX + 1]);

/* The address "\0HEX/unit/UNIT/CREDENTIAL" that systemd binds before it connects (systemd.exec(5),
 * LoadCredential=). -EINVAL: anything else. */
int peer_parse_address(
                const struct sockaddr_un *address, socklen_t length, char ret_unit[static PEER_NAME_MAX],
                char ret_credential[static PEER_NAME_MAX]);

/* The path of the unified hierarchy in the text of /proc/PID/cgroup. -EBADMSG: there is none. */
int peer_parse_cgroup(const char *text, char ret[static PEER_CGROUP_MAX]);

/* Strips PID 1's own "/init.scope" from its cgroup. */
int peer_parse_cgroup_root(const char *text, char ret[static PEER_CGROUP_MAX]);

/* Is path the cgroup of the system service unit: below root nothing but slices, none of them user.slice,
 * then the unit itself, then at most one folder (".control", or the unit's DelegateSubgroup=)? NULL, or
 * why not. */
const char *peer_check_cgroup(const char *path, const char *root, const char *unit);

#endif
