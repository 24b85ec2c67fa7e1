/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copies of a session, from its opening to its end. It waits for no lock and no run of keyrota. Instead: a run replaces the access table before it renews
 * the rings that it finds; here the ring is made, and can be found, before anything is read, and what was read counts only if the table is still the same
 * after that. So either the run sees the ring, or this sees the new table, and no old copy stays.
 */

#include <errno.h>
#include <inttypes.h>
#include <keyutils.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>

#include "cleanup.h"
#include "entitlement.h"
#include "grants.h"
#include "items.h"
#include "live-ring.h"
#include "message.h"
#include "options.h"
#include "paths.h"
#include "session.h"

#define ATTEMPTS_MAX 3 /* while runs replace the table */
#define REASON_MAX 256
#define DATA_MAX (sizeof("pam_keyrota:") + COPIES_ONLY_MAX)

struct opening {
        pam_handle_t *pamh;
        struct options options;
        struct copies_holder holder;
        char user[MESSAGE_ESCAPED_MAX]; /* for the log */
        struct access_table *table;
        struct membership *who;
        struct grants grants;
        struct records records;
        copies_serial ring; /* 0: none yet */
        bool is_new;        /* the ring; else an earlier line of the stack made it */
        bool is_attached;
        bool failed;  /* something is wrong, and was logged */
        bool ignored; /* nothing is wrong, but it is nothing that we could say yes to either */
};

static void opening_clear(struct opening *o) {
        access_table_free(o->table);
        membership_free(o->who);
        grants_clear(&o->grants);
        records_clear(&o->records);
}

/* ---- what is wrong -------------------------------------------------------------------------------------------------- */

static void refuse(struct opening *o, const struct grant *grant, const char *reason) {
        struct audit_record record = {
                .environment = grant ? grant->secret.environment : NULL,
                .name = grant ? grant->secret.name : NULL,
                .reason = reason,
        };
        int r;

        copies_holder_record(&o->holder, &record);
        record.has_uid = o->holder.uid != (uid_t) -1;
        r = records_add(&o->records, AUDIT_COPY_REFUSED, &record);
        if (r < 0)
                audit_note_missing(AUDIT_COPY_REFUSED, &record, r);
}

/* grant NULL: this concerns all of them. */
static void _printf_(3, 4) fail(struct opening *o, const struct grant *grant, const char *format, ...) {
        char reason[REASON_MAX];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(reason, sizeof(reason), format, arguments);
        va_end(arguments);
        o->failed = true;
        pam_syslog(o->pamh, LOG_ERR, "user \"%s\" gets no copy of %s: %s", o->user, grant ? grant->secret.name : "any secret", reason);
        refuse(o, grant, reason);
}

/* Nothing is wrong with keyrota, but strict wants more than that. */
static void pass_over(struct opening *o, const char *why) {
        if (o->options.strict) {
                fail(o, NULL, "%s", why);
                return;
        }
        o->ignored = true;
        if (o->options.debug)
                pam_syslog(o->pamh, LOG_DEBUG, "user \"%s\" gets no copy of any secret: %s", o->user, why);
}

static void fail_grant(struct opening *o, const struct grant *grant) {
        switch (grant->error) {
        case -ENOKEY:
                fail(o, grant, "it is not in the kernel keyring; 'keyrota provision' publishes it anew");
                break;
        case -EKEYEXPIRED:
                fail(o, grant, "the end of its key has passed; see 'keyrota status'");
                break;
        case -EBADMSG:
                fail(o, grant, "what the kernel keyring has of it is not of this version of keyrota; 'keyrota provision' publishes it anew");
                break;
        case -EDQUOT:
                fail(o, grant, "root's quota of keys is used up; see keyrings(7), root_maxkeys");
                break;
        default:
                fail(o, grant, "it cannot be copied: %s", message_error(grant->error));
        }
}

static void refuse_locked(struct opening *o, const struct grant *grant) {
        bool secret = grant->secret.reads == ACCESS_LOCKED;

        if (!o->options.quiet)
                pam_syslog(o->pamh, LOG_NOTICE, "user \"%s\" gets no copy of %s: the %s is locked; see 'keyrota unlock'", o->user, grant->secret.name,
                           secret ? "secret" : "user");
        refuse(o, grant, secret ? "the secret is locked" : "the user is locked");
}

/* ---- who and what --------------------------------------------------------------------------------------------------- */

static int read_table(struct opening *o) {
        const char *detail = NULL;
        int r;

        access_table_free(TAKE_PTR(o->table));
        r = access_table_read(&o->table, &detail);
        if (r == -ENOENT)
                pass_over(o, "there is no " PATH_ACCESS "; 'keyrota provision' writes it");
        else if (r < 0)
                fail(o, NULL, PATH_ACCESS ": %s; %s", detail ? detail : message_error(r), message_table_remedy(r));
        return r;
}

static int find_user(struct opening *o) {
        int r;

        membership_free(TAKE_PTR(o->who));
        r = entitlement_needs_groups(o->table) ? membership_load(o->holder.user, &o->who) : membership_load_account(o->holder.user, &o->who);
        if (r < 0) {
                fail(o, NULL, "the name services cannot look up the user: %s", message_error(r));
                return r;
        }
        if (!o->who->known) {
                pass_over(o, "unknown user");
                return -ENOENT;
        }
        o->holder.uid = o->who->uid;
        return 0;
}

/* What names the user is given all the same, and the ring is there for a later run that has an answer; but for strict. */
static int fail_groups(struct opening *o, int error) {
        char reason[REASON_MAX];

        o->failed = true;
        pam_syslog(o->pamh, LOG_ERR, "user \"%s\" gets no copy of what only groups are given: the name services cannot look up the groups in " PATH_ACCESS ": %s", o->user,
                   message_error(error));
        (void) snprintf(reason, sizeof(reason), "only groups are given the rest, and the name services cannot look up those in " PATH_ACCESS ": %s", message_error(error));
        refuse(o, NULL, reason);
        return o->options.strict ? error : 0;
}

/* How many secrets the session is to have; a negative errno: it can have none, and why was logged. */
static ssize_t find_grants(struct opening *o) {
        int r;

        r = read_table(o);
        if (r >= 0)
                r = find_user(o);
        if (r < 0)
                return r;
        r = grants_collect(&o->grants, o->table, o->who, &o->holder);
        if (r == -EBADMSG)
                fail(o, NULL, PATH_ACCESS ": damaged; 'keyrota provision' writes it anew");
        else if (r < 0)
                r = fail_groups(o, r);
        return r < 0 ? r : (ssize_t) grants_count(&o->grants);
}

/* ---- the ring ------------------------------------------------------------------------------------------------------- */

/* What a line of the stack leaves for those after it, and for the end of the session. */
struct session {
        copies_serial ring;
        uid_t uid;
};

static const char *data_name(const char *only, char buffer[static DATA_MAX]) {
        (void) snprintf(buffer, DATA_MAX, "pam_keyrota:%s", only);
        return buffer;
}

static void free_data(_unused_ pam_handle_t *pamh, void *data, _unused_ int status) {
        free(data);
}

static const struct session *recall(pam_handle_t *pamh, const char *only) {
        char name[DATA_MAX];
        const void *data = NULL;

        return pam_get_data(pamh, data_name(only, name), &data) == PAM_SUCCESS ? data : NULL;
}

static int remember(const struct opening *o) {
        char name[DATA_MAX];
        struct session *session = malloc(sizeof(*session));

        if (!session)
                return -ENOMEM;
        *session = (struct session) { .ring = o->ring, .uid = o->holder.uid };
        if (pam_set_data(o->pamh, data_name(o->holder.only, name), session, free_data) != PAM_SUCCESS) {
                free(session);
                return -ENOMEM;
        }
        return 0;
}

/* Another session of the same transaction must not find a ring that is taken back: it may be gone any moment. */
static void forget(pam_handle_t *pamh, const char *only) {
        char name[DATA_MAX];

        (void) pam_set_data(pamh, data_name(only, name), NULL, NULL);
}

/* Is it still ours, and the same user's? The number may be another key's by now. */
static bool is_ours(const struct session *session, struct copies_holder *ret) {
        return session && copies_check(session->ring, ret) == 0 && ret->uid == session->uid;
}

/* As pam_keyinit and systemd make it: anonymous, the user's, and closed to all who do not possess it, but for its owner's view. What lies in another one could
 * be found by others than the user. NULL: it is. */
static const char *check_session_keyring(uid_t uid) {
        char text[4096 + 64], type[16];
        unsigned owner, gid, mask;
        int start = 0;
        long n;

        n = keyctl_describe(KEY_SPEC_SESSION_KEYRING, text, sizeof(text));
        if (n < 0)
                return "there is no session keyring; pam_keyinit.so with force revoke must stand before pam_keyrota.so";
        if (n > (long) sizeof(text) || sscanf(text, "%15[^;];%u;%u;%x;%n", type, &owner, &gid, &mask, &start) != 4 || start == 0 ||
            strcmp(type, "keyring") != 0 || strcmp(text + start, "_ses") != 0 || owner != uid || (mask & 0xffff) != 0)
                return "the session keyring is not the session's own; pam_keyinit.so with force revoke must stand before pam_keyrota.so";
        return NULL;
}

static int get_ring(struct opening *o) {
        const struct session *session;
        struct copies_holder earlier;
        const char *reason;
        int r;

        if (o->ring != 0)
                return 0;
        reason = check_session_keyring(o->who->uid);
        if (reason) {
                fail(o, NULL, "%s", reason);
                return -EPERM;
        }
        session = recall(o->pamh, o->holder.only);
        if (is_ours(session, &earlier) && session->uid == o->who->uid) {
                o->ring = session->ring;
                return 0;
        }
        (void) snprintf(o->holder.user, sizeof(o->holder.user), "%s", o->who->name); /* as later runs look it up */
        memcpy(o->holder.home, o->table->folder, sizeof(o->holder.home));
        r = copies_new(&o->holder, &o->ring);
        if (r < 0) {
                fail(o, NULL, r == -EDQUOT ? "root's quota of keys is used up (%s); see keyrings(7), root_maxkeys" : "cannot make a keyring: %s",
                     message_error(r));
                return r;
        }
        o->is_new = true;
        return 0;
}

/* Of the ring that this line made nothing stays; of an earlier line's, what that one gave. */
static void take_back(struct opening *o) {
        if (!o->is_new) {
                grants_take_back(&o->grants, o->ring);
                return;
        }
        (void) copies_clear(o->ring);
        copies_drop(o->ring);
        forget(o->pamh, o->holder.only);
        o->ring = 0;
        o->is_new = false;
}

/* ---- giving --------------------------------------------------------------------------------------------------------- */

/* Nothing is attached before it is on record, where that is a must. */
static int put_on_record(struct opening *o) {
        bool required;
        int r;

        r = records_send(&o->records, false);
        if (r >= 0)
                return 0;
        required = live_ring_requires_audit(o->table->ring);
        if (required)
                r = records_send(&o->records, true);
        if (r < 0 && !required)
                records_note_missing(&o->records, r);
        if (r < 0)
                records_forget(&o->records, 0);
        if (r < 0 && required)
                fail(o, NULL, "the journal takes no record of it (%s), and keyrota.conf says audit = required", message_error(r));
        else if (r < 0)
                pam_syslog(o->pamh, LOG_WARNING, "the journal takes no record of the copies of user \"%s\": %s", o->user, message_error(r));
        return required ? r : 0;
}

static size_t count_errors(const struct grants *grants) {
        size_t n = 0;

        for (size_t i = 0; i < grants->n; i++)
                n += grants->items[i].error < 0;
        return n;
}

/* What was read is known to be the newest. The ring is attached even if nothing in it is published yet: the run that does will find it. */
static void hand_over(struct opening *o) {
        size_t n_given = grants_count_given(&o->grants), n_errors = count_errors(&o->grants);
        int r;

        if (n_errors > 0 && (n_given == 0 || o->options.strict))
                records_forget(&o->records, 0); /* clean_up() takes back what was given */
        for (size_t i = 0; i < o->grants.n; i++)
                if (o->grants.items[i].locked)
                        refuse_locked(o, &o->grants.items[i]);
                else if (o->grants.items[i].error < 0)
                        fail_grant(o, &o->grants.items[i]);
        if (n_errors > 0 && (n_given == 0 || o->options.strict))
                return;

        if (remember(o) < 0) {
                records_forget(&o->records, 0);
                fail(o, NULL, "not enough memory");
                return;
        }
        r = put_on_record(o);
        if (r < 0)
                return;
        r = copies_attach(o->ring);
        if (r < 0) {
                fail(o, NULL, "the ring of copies cannot be linked into the session keyring%s: %s",
                     r == -EDQUOT ? ", for the user's quota of keys is used up" : "", message_error(r));
                return;
        }
        o->is_attached = true;
        if (o->options.debug)
                pam_syslog(o->pamh, LOG_DEBUG, "user \"%s\" has copies of %zu secrets, in keyring %" PRId32, o->user, n_given, o->ring);
}

static void give(struct opening *o) {
        for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
                ssize_t n = find_grants(o);
                int r;

                if (n < 0)
                        return;
                if (n == 0) {
                        for (size_t i = 0; i < o->grants.n; i++)
                                refuse_locked(o, &o->grants.items[i]);
                        return;
                }
                if (get_ring(o) < 0)
                        return;
                r = grants_fill(&o->grants, o->table->ring, o->ring, o->is_new, &o->holder, &o->records);
                if (access_table_is_current(o->table)) {
                        if (r < 0)
                                fail(o, NULL, "the live kernel keyring %" PRId32 " cannot be used: %s; see 'keyrota status'", o->table->ring, message_error(r));
                        else
                                hand_over(o);
                        return;
                }
                take_back(o);
                records_forget(&o->records, 0);
        }
        fail(o, NULL, PATH_ACCESS " was replaced %d times meanwhile", ATTEMPTS_MAX);
}

/* ---- taking --------------------------------------------------------------------------------------------------------- */

struct ending {
        const struct copies_holder *holder;
        const char *reason;
        struct records *records;
};

static int record_end(const char *name, _unused_ copies_serial copy, void *userdata) {
        const struct ending *ending = userdata;
        struct audit_record record = { .name = name, .reason = ending->reason };
        int r;

        copies_holder_record(ending->holder, &record);
        r = records_add(ending->records, AUDIT_COPY_REMOVED, &record);
        if (r < 0)
                audit_note_missing(AUDIT_COPY_REMOVED, &record, r);
        return 0;
}

/* Everything that a session holds. Nothing that goes wrong is a reason to leave it there. */
static void end_copies(pam_handle_t *pamh, copies_serial ring, const struct copies_holder *holder, const char *reason) {
        _cleanup_(records_clear) struct records records = RECORDS_NONE;
        char user[MESSAGE_ESCAPED_MAX];
        int r;

        (void) copies_foreach(ring, record_end, &(struct ending) { .holder = holder, .reason = reason, .records = &records });
        (void) copies_clear(ring);
        (void) keyctl_unlink(ring, KEY_SPEC_SESSION_KEYRING);
        r = records_send(&records, false);
        if (r >= 0)
                return;
        records_note_missing(&records, r);
        pam_syslog(pamh, LOG_WARNING, "the journal takes no record of the copies of user \"%s\": %s", message_escape(holder->user, user), message_error(r));
}

/* Leaves nothing behind of what was not handed over; with strict, nothing at all after an error. */
static void clean_up(struct opening *o) {
        bool all = o->failed && o->options.strict;
        struct copies_holder earlier;

        if (all && (!o->is_new || o->is_attached)) {
                const struct session *session = recall(o->pamh, o->holder.only);

                if (is_ours(session, &earlier))
                        end_copies(o->pamh, session->ring, &earlier, "another line of the stack says strict, and fails");
        } else if (o->ring != 0 && !o->is_attached)
                take_back(o);
        if (all)
                forget(o->pamh, o->holder.only);
}

int session_open(pam_handle_t *pamh, int argc, const char **argv) {
        _cleanup_(opening_clear) struct opening o = { .pamh = pamh, .records = RECORDS_NONE };
        int r;

        items_load(pamh, &o.holder);
        (void) message_escape(o.holder.user, o.user);
        if (options_parse(pamh, OPTIONS_SESSION, argc, argv, &o.options)) {
                memcpy(o.holder.only, o.options.only, sizeof(o.holder.only));
                give(&o);
        } else
                fail(&o, NULL, "the options of pam_keyrota are wrong");
        clean_up(&o);

        r = records_send(&o.records, false);
        if (r < 0)
                records_note_missing(&o.records, r);
        if (r < 0)
                pam_syslog(pamh, LOG_WARNING, "the journal takes no record of what user \"%s\" was refused: %s", o.user, message_error(r));
        if (o.failed && o.options.strict) {
                pam_syslog(pamh, LOG_ERR, "user \"%s\": session refused, for the line says strict", o.user);
                return PAM_SESSION_ERR;
        }
        return o.failed || o.ignored ? PAM_IGNORE : PAM_SUCCESS;
}

int session_close(pam_handle_t *pamh, int argc, const char **argv) {
        const struct session *session;
        struct copies_holder holder;
        struct options options;

        if (!options_parse(pamh, OPTIONS_SESSION, argc, argv, &options) || geteuid() != 0)
                return PAM_SUCCESS;
        session = recall(pamh, options.only);
        if (is_ours(session, &holder))
                end_copies(pamh, session->ring, &holder, "the session has ended");
        forget(pamh, options.only);
        return PAM_SUCCESS;
}
