/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_AUDIT_H
#define KEYROTA_AUDIT_H

/*
 * One structured journal record for every change of a key, every credential served or refused and every
 * service that was handed a new key; never key bytes. Written to journald's native socket with a deadline, so that a stuck journal holds nobody up and a
 * missing one is noticed (sd_journal_sendv(3) does neither). audit-record.c (pure), audit-missing.c and audit.c call libc
 * only; audit-seen.c, which reads the journal, libsystemd.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum audit_event {
        AUDIT_KEY_CREATED,      /* before the key is stored: what is on no record does not come to be */
        AUDIT_SECRET_COMMITTED, /* a new generation is durable; audit_seen_generations() looks for these */
        AUDIT_CREDENTIAL_SERVED,
        AUDIT_CREDENTIAL_REFUSED,
        AUDIT_SECRET_READ,    /* keyrota read */
        AUDIT_POLICY_REFUSED, /* a broken policy */
        AUDIT_STORE_REFUSED,  /* a torn, forged, foreign or old stored file */
        AUDIT_KEY_PUBLISHED,  /* every running verifier has been seen to hold it */
        AUDIT_KEY_ACTIVATED,
        AUDIT_KEY_DEACTIVATED, /* the last signer has left it: its overlap begins */
        AUDIT_KEY_DESTROYED,   /* reason: "expired"... */
        AUDIT_KEY_COMPROMISED, /* keyrota revoke */
        AUDIT_KEY_IMPORTED,    /* keyrota import */
        AUDIT_ROLLED_BACK,     /* keyrota rollback; kids: the key that signs again */
        AUDIT_CLOCK_SET,       /* reason: how far, "forward by 3 days"... */
        AUDIT_REKEYED,         /* keyrota rekey; kids: of the new key-encryption key */
        AUDIT_UNIT_HANDED_OVER, /* reason: "restarted", "reloaded", "sent SIGHUP" */
        AUDIT_HANDOVER_FAILED,
        AUDIT_COPY_GRANTED,    /* a login session was given a copy of a secret */
        AUDIT_COPY_REFUSED,    /* or none, for something is wrong */
        AUDIT_COPY_RENEWED,
        AUDIT_COPY_REMOVED,    /* reason: "the policy does not name the user any more"... */
        AUDIT_ACCESS_GRANTED,  /* account: the user was let into a service */
        AUDIT_ACCESS_REFUSED,
        AUDIT_READ_REFUSED,    /* keyrota read, by a user; granted: AUDIT_SECRET_READ */
        AUDIT_ACCESS_LOCKED,   /* keyrota lock: of a secret (name) or a user */
        AUDIT_ACCESS_UNLOCKED,
        AUDIT_EVENT_COUNT,
};

/* The records' MESSAGE_ID=, explained in units/keyrota.catalog. */
#define AUDIT_KEY_CREATED_ID "db49f3fffd024d0da147b14e3454a094"
#define AUDIT_SECRET_COMMITTED_ID "e157d1388eca47d8af7c87453842775e"
#define AUDIT_CREDENTIAL_SERVED_ID "b0dde88bee1b4e1ab3e3b3fc408a8cb9"
#define AUDIT_CREDENTIAL_REFUSED_ID "21d0f0e0f4e6414e8f06517b28608a0d"
#define AUDIT_SECRET_READ_ID "7362d735d31148809c72ac58066e26dd"
#define AUDIT_POLICY_REFUSED_ID "f2422e15d97b4706b3b3a08be475599f"
#define AUDIT_STORE_REFUSED_ID "467db4548b4646bc9f388fad31a61646"
#define AUDIT_KEY_PUBLISHED_ID "c586d1fc3968481bb41d05b7b8a59d64"
#define AUDIT_KEY_ACTIVATED_ID "8b7f26bb73ce4fec8c43d4054bda64e7"
#define AUDIT_KEY_DEACTIVATED_ID "48be9abfbd0f483e84df51d911833866"
#define AUDIT_KEY_DESTROYED_ID "d36a675875464cf98e852f282d83711c"
#define AUDIT_KEY_COMPROMISED_ID "1be90715fd01472daf42196ffa205227"
#define AUDIT_KEY_IMPORTED_ID "d0223c805d0445de98cb223b62b17197"
#define AUDIT_ROLLED_BACK_ID "ad6ef24bfa2b43d0ad09d5e098e98c5e"
#define AUDIT_CLOCK_SET_ID "7abd2e837bc444fcb8d0193c3377d205"
#define AUDIT_REKEYED_ID "571d336079304d13b4f67ec261175952"
#define AUDIT_UNIT_HANDED_OVER_ID "94b59107f45c4dbaaeaac60700113f92"
#define AUDIT_HANDOVER_FAILED_ID "79617a97635f4dfba54b10fbd46119b9"
#define AUDIT_COPY_GRANTED_ID "cba5240ac938482981011fc1d00161f4"
#define AUDIT_COPY_REFUSED_ID "63d256f536e945658681904f58cb372a"
#define AUDIT_COPY_RENEWED_ID "c251c003bd544ab9b2cd8bcbc1fb3369"
#define AUDIT_COPY_REMOVED_ID "7257df4086794287a12272a97f0207e6"
#define AUDIT_ACCESS_GRANTED_ID "b4bacfca6446465cacaca135b43c9bf2"
#define AUDIT_ACCESS_REFUSED_ID "8a4414da216240a6b6ee6ec48865d739"
#define AUDIT_READ_REFUSED_ID "fab9e8ba4f51421ab9e5457f22f22167"
#define AUDIT_ACCESS_LOCKED_ID "a60f5b4fbfbf43ed853a5e8e057f2ed6"
#define AUDIT_ACCESS_UNLOCKED_ID "89bc1adb3cee4b11a54b1c1ad51635f0"

/* NULL and 0 members are left out of the record. */
struct audit_record {
        const char *environment, *name, *algorithm;
        const char *kids;       /* one, or several with commas */
        uint64_t generation;
        const char *unit;       /* who asked, or was handed a key */
        const char *invocation; /* its invocation id */
        const char *credential;
        const char *reason;     /* why, or how, in words */
        const char *file;
        pid_t pid;              /* the peer: journald adds its own facts about it as OBJECT_* */
        bool has_uid;
        uid_t uid;
        const char *user;        /* who entered a service, holds a copy or reads */
        const char *service;     /* of PAM */
        const char *tty;
        const char *remote_host;
        bool has_login_uid;      /* who logged in, whatever user that one is now */
        uid_t login_uid;
        uint32_t audit_session;  /* of the audit subsystem, see pam_loginuid(8); 0: none */
};

#define AUDIT_SESSION_UNSET UINT32_MAX /* what /proc/PID/sessionid says where there is none; left out of a record as 0 */

/* A record in the making: what the journal's socket takes as one datagram. */
struct audit_text {
        size_t size; /* bytes */
        char data[16384];
};

/* -EMSGSIZE: it does not fit. */
int audit_format(enum audit_event event, const struct audit_record *record, struct audit_text *text);
const char *audit_event_name(enum audit_event event);

/* The text with control characters as \xNN, so that it forges no line and moves no cursor; what does not fit into size bytes is cut off. Returns
 * the length. */
size_t audit_escape(const char *text, char *buffer, size_t size);

#ifndef AUDIT_JOURNAL_SOCKET /* tests have one of their own */
#define AUDIT_JOURNAL_SOCKET "/run/systemd/journal/socket"
#endif

/* 0, or a negative errno when the record was not taken within a second (-ENOENT: no journal; -ETIMEDOUT:
 * it is stuck). After a time-out the next records do not wait until the journal has taken one again, so
 * that many callers are not held up in turn. */
int audit_write(enum audit_event event, const struct audit_record *record);

/* Notes durably for this boot (PATH_AUDIT_MISSING) that a record could not be written; audit_missing()
 * counts those notes. */
void audit_note_missing(enum audit_event event, const struct audit_record *record, int error);
void audit_note_missing_text(const struct audit_text *text, int error); /* the same of a record that was formatted */
int audit_missing(uint64_t *ret_count);

/* Calls each() for the secret-committed records of the system's journal, newest first; a result < 0 of
 * each() ends the walk and is returned. Ends after two seconds with -ETIMEDOUT, when only the newest
 * have been told. */
int audit_seen_generations(
                int (*each)(const char *environment, const char *name, uint64_t generation, void *userdata),
                void *userdata);

#endif
