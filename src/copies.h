/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_COPIES_H
#define KEYROTA_COPIES_H

/*
 * The copies of secrets that one login session holds: a keyring of root's, linked into the session keyring, with one "user" key for each secret,
 * described "keyrota:NAME", whose payload is the exact bytes. The session possesses them: it can view, read and search, and invalidate its own copies,
 * nothing else (see keyrings(7), "Possession"). Who holds them stands in the ring's description, so that root finds every ring in /proc/keys, and
 * nothing has to be remembered. A door to libkeyutils besides keyring.c, for the PAM module has it too: calls libc and libkeyutils only, has no
 * variables.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "audit.h"

#define COPIES_MASK UINT32_C(0x0b3f0000) /* possessor: view, read, search; uid 0: everything; others: nothing */
#define COPY_PREFIX "keyrota:"
#define COPY_NAME_MAX 64      /* bytes of a secret's name */
#define COPY_SIZE_MAX 32767   /* bytes the kernel takes in a "user" key */
#define COPY_DESCRIPTION_MAX (sizeof(COPY_PREFIX) + COPY_NAME_MAX)

#define COPIES_ONLY_MAX 1024

typedef int32_t copies_serial; /* of a ring or a key */

/* Whose session it is. */
struct copies_holder {
        uint64_t home[2];       /* device and inode of the folder with the access table: no run over another tree takes the copies for its own */
        uid_t uid;
        uint32_t audit_session; /* AUDIT_SESSION_UNSET: none */
        pid_t pid;              /* of the program that opened the session */
        char user[256], service[64], tty[64], remote_host[256];
        char only[COPIES_ONLY_MAX]; /* what of the user's secrets the session is given, see copies_holder_wants(); "": all */
};

/* "keyrota-session:DEVICE.INODE:UID:AUDITSESSION:PID:USER:SERVICE:TTY:REMOTEHOST", of the last four everything but letters, digits and "_.-@/" as \xNN; and ":ONLY"
 * where not all is given. */
#define COPIES_RING_PREFIX "keyrota-session:"
#define COPIES_DESCRIPTION_MAX 3800 /* bytes, with its NUL; the kernel takes 4095 */
void copies_holder_format(const struct copies_holder *holder, char buffer[static COPIES_DESCRIPTION_MAX]);
/* -EBADMSG: not exactly what copies_holder_format() writes. */
int copies_holder_parse(const char *description, struct copies_holder *ret);
/* Is this secret, of that use, for the session? only: "any", "sign" or "verify", and after it the names of secrets, each behind a "/"; no name: all. */
bool copies_holder_wants(const struct copies_holder *holder, const char *name, bool sign);
/* The holder's part of an audit record, which points into holder. */
void copies_holder_record(const struct copies_holder *holder, struct audit_record *record);

/* An empty ring that is linked nowhere but in the thread's own keyring. -EDQUOT: root's quota of keys
 * is used up; or what add_key(2) says. */
int copies_new(const struct copies_holder *holder, copies_serial *ret);
/* Links it into the session keyring; nobody but the session has it then. -EDQUOT: the user's quota is used up, of which a link takes 4 bytes. */
int copies_attach(copies_serial ring);
/* Takes it from the thread's keyring, where nothing but an error left it: it is gone. */
void copies_drop(copies_serial ring);

/* Is the key a ring of copies as copies_new() makes it, of root's and with its mask? 0 and its holder (NULL: not wanted); -ENOKEY: it is gone;
 * -EPERM: it is something else. */
int copies_check(copies_serial ring, struct copies_holder *ret);

enum copies_change { COPY_UNCHANGED, COPY_RENEWED, COPY_MADE };
/* Gives the ring these bytes of the secret called name, until (seconds since 1970; 0: no end). A copy that is there is updated in place, same serial;
 * what is revoked, expired or not as it was made is replaced. now: seconds since 1970. Returns enum copies_change, or -EDQUOT..., -EKEYEXPIRED: until
 * is over. */
int copies_put(copies_serial ring, const char *name, const void *bytes, size_t size, int64_t until, int64_t now);

/* The same for a ring that was just made and is not attached yet, to which nothing of that name was given: a third of the calls. */
int copies_add(copies_serial ring, const char *name, const void *bytes, size_t size, int64_t until, int64_t now);

/* Revokes the copy, which cuts who reads it just now, and unlinks it. 1; 0: there was none. */
int copies_remove(copies_serial ring, const char *name);
/* All of them. */
int copies_clear(copies_serial ring);

/* Calls each() for every copy: its secret's name and serial number; a result < 0 ends the walk and is returned. What is expired, revoked or invalidated is none. */
int copies_foreach(copies_serial ring, int (*each)(const char *name, copies_serial copy, void *userdata), void *userdata);
/* Has the copy exactly these bytes? 1, 0; -ENOKEY: there is none. */
int copies_compare(copies_serial ring, const char *name, const void *bytes, size_t size);

#endif
