/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_READER_H
#define KEYROTA_READER_H

/*
 * Who asks the read server: by the kernel's word on the uid and the process that connected, and by /proc on that process, which a descriptor of it proves to
 * be the same one. The parsers are pure. Calls libc only.
 */

#include <stdint.h>
#include <sys/types.h>

#define READER_TTY_MAX 16 /* bytes, with the NUL */

struct reader {
        uid_t uid;
        pid_t pid;                /* 0: not known here */
        char tty[READER_TTY_MAX]; /* "pts/3", "tty1", "ttyS0"; "": none */
        uint32_t audit_session;   /* AUDIT_SESSION_UNSET: none */
        uid_t login_uid;          /* who logged in, see pam_loginuid(8); (uid_t) -1: not known */
};

/* Uid and process of the peer of the socket fd, and nothing of the rest. 0 or a negative errno. */
int reader_credentials(int fd, struct reader *ret);

/* Is the process in a user namespace of its own? There, any user may be the thousands of uids that /etc/subuid gives them. 1, 0, or a negative
 * errno: it has exited, or runs outside of this container. */
int reader_in_namespace(const struct reader *reader);

/* Fills in the rest. NULL, or the reason why it is not known who asks, a constant text. */
const char *reader_identify(int fd, struct reader *reader);

/* The terminal in the text of /proc/PID/stat; "" where there is none that a name is known of. -EBADMSG: not of its form. */
int reader_parse_tty(const char *stat, char ret[static READER_TTY_MAX]);

#endif
