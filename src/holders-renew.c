/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes open sessions hold what their users may have now. A program's part: it logs. The line of the PAM stack that made a ring limits what is put into it; so what a
 * session holds is always what a login by the same way would give it, and nothing has to be remembered of what it had before.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "access-file.h"
#include "entitlement.h"
#include "holders.h"
#include "log.h"
#include "paths.h"

/* Whom the last ring was of: rings come by user, so that the name services are asked once for each. */
struct user {
        const char *name;             /* NULL: none yet */
        const char *gone;             /* why no session may have anything; NULL: it may */
        uid_t uid;
        struct access_secret *secrets; /* that the user may have */
        size_t n_secrets;
        int error;                     /* a name service could not answer */
};

struct renewal {
        struct context context;
        const struct access_table *table;
        keyring_serial live;
        int64_t now;
        struct user user;
        bool changed; /* the session at hand */
        size_t n_changed;
        int error;    /* the first */
};

static void failed(struct renewal *renewal, int error) {
        if (renewal->error >= 0)
                renewal->error = error;
}

/* ---- users -------------------------------------------------------------------------------------------------------- */

static int add_secret(const struct access_secret *secret, void *userdata) {
        struct user *user = userdata;
        struct access_secret *grown = reallocarray(user->secrets, user->n_secrets + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        user->secrets = grown;
        grown[user->n_secrets++] = *secret;
        return 0;
}

static int load_user(const struct access_table *table, struct user *user) {
        _cleanup_(membership_freep) struct membership *who = NULL;
        int r;

        if (entitlement_locked(table, user->name)) {
                user->gone = "the user is locked";
                return 0;
        }
        r = membership_load(user->name, &who);
        if (r < 0 || who->unsure < 0)
                return r < 0 ? r : who->unsure;
        who->certain = true; /* what is taken away must not hang on a service that is away */
        if (!who->known) {
                user->gone = "there is no such account any more";
                return 0;
        }
        user->uid = who->uid;
        return entitlement_each(table, who, add_secret, user);
}

static void switch_user(struct renewal *renewal, const char *name) {
        struct user *user = &renewal->user;

        if (user->name && strcmp(user->name, name) == 0)
                return;
        free(user->secrets);
        *user = (struct user){ .name = name };
        user->error = load_user(renewal->table, user);
        if (user->error >= 0)
                return;
        failed(renewal, user->error);
        if (user->error == -EBADMSG)
                log_error(PATH_ACCESS ": torn, or not of this version of keyrota: what sessions of %s hold stays as it is; keyrota provision writes it anew", name);
        else
                log_error("cannot look up %s and their groups in the name services: %s; what their sessions hold stays as it is, till the next run, but for what they may not have whoever they are", name,
                          strerror(-user->error));
}

/* ---- records ------------------------------------------------------------------------------------------------------ */

static int put_on_record(const struct renewal *renewal, enum audit_event event, const struct holder *holder, struct audit_record *record) {
        copies_holder_record(&holder->who, record);
        return context_audit(&renewal->context, event, record);
}

/* "alice (sshd)" */
static void tell(const struct holder *holder, const char *name, int error, const char *what) {
        char user[sizeof(holder->who.user) * 4], service[sizeof(holder->who.service) * 4];

        (void) audit_escape(holder->who.user, user, sizeof(user));
        (void) audit_escape(holder->who.service, service, sizeof(service));
        log_error("%s, in a session of %s (%s): %s: %s", name, user, service, what, strerror(-error));
}

/* ---- one copy ----------------------------------------------------------------------------------------------------- */

static void take(struct renewal *renewal, const struct holder *holder, const char *name, const char *reason) {
        struct audit_record record = { .name = name, .reason = reason };
        int r;

        r = copies_remove(holder->ring, name);
        if (r < 0) {
                failed(renewal, r);
                tell(holder, name, r, "cannot take the copy away");
        }
        if (r <= 0)
                return;
        renewal->changed = true;
        r = put_on_record(renewal, AUDIT_COPY_REMOVED, holder, &record);
        if (r < 0) {
                failed(renewal, r);
                tell(holder, name, r, "the copy is taken away, but that cannot be recorded in the journal");
        }
}

static int read_published(const struct renewal *renewal, const struct access_secret *secret, struct keyring_header *ret_header, struct secret **ret) {
        char description[KEYRING_DESCRIPTION_MAX];

        (void) snprintf(description, sizeof(description), "secret:%s/%s/%s", secret->environment, secret->name, secret->sign ? "sign" : "verify");
        return keyring_read(renewal->live, description, ret_header, ret);
}

/* Before the bytes are given: what is on no record is not held, where records are required. */
static int record_copy(const struct renewal *renewal, const struct holder *holder, const struct access_secret *secret, const struct keyring_header *header,
                       enum audit_event event, const char *reason) {
        struct audit_record record = {
                .environment = secret->environment, .name = secret->name, .generation = header->generation, .kids = header->kids, .reason = reason,
        };

        return put_on_record(renewal, event, holder, &record);
}

static void give_bytes(struct renewal *renewal, const struct holder *holder, const struct access_secret *secret, const struct keyring_header *header,
                       const struct secret *bytes) {
        int same, r = 0;

        same = copies_compare(holder->ring, secret->name, bytes->data, bytes->size);
        if (same != 1 && copies_check(holder->ring, NULL) == -ENOKEY)
                return; /* the session has ended */
        if (same == 0)
                r = record_copy(renewal, holder, secret, header, AUDIT_COPY_RENEWED, NULL);
        else if (same < 0)
                r = record_copy(renewal, holder, secret, header, AUDIT_COPY_GRANTED, "the open session had none");
        if (r < 0) {
                failed(renewal, r);
                tell(holder, secret->name, r, "no copy, for it cannot be recorded in the journal and keyrota.conf says audit = required");
                take(renewal, holder, secret->name, "what it is now cannot be recorded");
                return;
        }
        r = copies_put(holder->ring, secret->name, bytes->data, bytes->size, secret->until, renewal->now);
        renewal->changed = renewal->changed || same != 1 || r > COPY_UNCHANGED;
        if (r >= 0 || copies_check(holder->ring, NULL) == -ENOKEY)
                return;
        failed(renewal, r);
        tell(holder, secret->name, r, r == -EDQUOT ? "no copy, root's quota of keys is used up (/proc/sys/kernel/keys/root_maxbytes)" : "no copy");
        (void) record_copy(renewal, holder, secret, header, AUDIT_COPY_REFUSED, strerror(-r));
}

static void give(struct renewal *renewal, const struct holder *holder, const struct access_secret *secret) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        struct keyring_header header;
        int r;

        r = read_published(renewal, secret, &header, &bytes);
        if (r >= 0)
                give_bytes(renewal, holder, secret, &header, bytes);
        else if (r == -ENOKEY)
                take(renewal, holder, secret->name, "nothing of it is published");
        else {
                failed(renewal, r);
                tell(holder, secret->name, r, "cannot read what is published");
        }
}

/* ---- one session -------------------------------------------------------------------------------------------------- */

/* Is a copy of it held, if the user may have the secret? */
static bool is_held(const struct renewal *renewal, const struct holder *holder, const struct access_secret *secret) {
        return secret->reads == ACCESS_SESSION && secret->generation > 0 && (secret->until == 0 || secret->until > renewal->now) &&
                copies_holder_wants(&holder->who, secret->name, secret->sign);
}

static const struct access_secret *find_entitled(const struct user *user, const char *name) {
        for (size_t i = 0; i < user->n_secrets; i++)
                if (strcmp(user->secrets[i].name, name) == 0)
                        return &user->secrets[i];
        return NULL;
}

static bool names_user(const struct access_secret *secret, const char *user) {
        const char *member = NULL;
        size_t length = 0;

        while ((member = access_member_next(secret, member, &length)))
                if (strlen(user) == length && memcmp(member, user, length) == 0)
                        return true;
        return false;
}

/* Why a copy goes, by what the secret's line alone says, without a question to the name services. NULL: it may stay. */
static const char *reason_of_line(const struct renewal *renewal, const struct holder *holder, const char *name) {
        struct access_secret secret;
        const char *line = NULL;

        while ((line = access_table_next(renewal->table, line)))
                if (access_secret_parse(line, &secret) >= 0 && strcmp(secret.name, name) == 0)
                        break;
        if (!line)
                return "no policy gives it to users any more";
        if (secret.reads == ACCESS_LOCKED)
                return "the secret is locked";
        if (secret.n_groups == 0 && !names_user(&secret, holder->who.user))
                return "the policy does not name the user any more";
        return secret.reads == ACCESS_RECORDED ? "each read of it goes on record now" : NULL;
}

/* Why a copy goes. */
static const char *reason_of(const struct renewal *renewal, const struct holder *holder, const char *name) {
        const struct access_secret *entitled = find_entitled(&renewal->user, name);
        const char *reason = reason_of_line(renewal, holder, name);

        if (reason)
                return reason;
        if (!entitled)
                return "the policy does not name the user any more";
        if (!copies_holder_wants(&holder->who, name, entitled->sign))
                return "the session is not given what users read of it now";
        return "nothing of it is published";
}

struct visit {
        struct renewal *renewal;
        const struct holder *holder;
        const char *gone;
        const struct locks *locks; /* only these secrets; NULL: all that the user may not have */
        bool by_line;              /* only what reason_of_line() tells */
};

static int take_unless_held(const char *name, copies_serial copy, void *userdata) {
        const struct visit *visit = userdata;
        const struct access_secret *entitled = find_entitled(&visit->renewal->user, name);

        (void) copy;
        if (visit->gone)
                take(visit->renewal, visit->holder, name, visit->gone);
        else if (visit->locks) {
                if (locks_has(visit->locks, LOCK_SECRET, name))
                        take(visit->renewal, visit->holder, name, "the secret is locked");
        } else if (visit->by_line) {
                const char *reason = reason_of_line(visit->renewal, visit->holder, name);

                if (reason)
                        take(visit->renewal, visit->holder, name, reason);
        } else if (!entitled || !is_held(visit->renewal, visit->holder, entitled))
                take(visit->renewal, visit->holder, name, reason_of(visit->renewal, visit->holder, name));
        return 0;
}

static void take_all_of(struct visit *visit) {
        int r;

        r = copies_foreach(visit->holder->ring, take_unless_held, visit);
        if (r < 0 && r != -ENOKEY) {
                failed(visit->renewal, r);
                tell(visit->holder, "copies", r, "cannot look at them");
        }
        visit->renewal->n_changed += visit->renewal->changed;
        visit->renewal->changed = false;
}

static void renew_session(struct renewal *renewal, const struct holder *holder) {
        struct visit visit = { .renewal = renewal, .holder = holder };
        bool is_known;

        switch_user(renewal, holder->who.user);
        if (renewal->user.error == -EBADMSG)
                return;
        is_known = renewal->user.error >= 0;
        visit.by_line = !is_known;
        if (is_known)
                visit.gone = renewal->user.gone ? renewal->user.gone : renewal->user.uid != holder->who.uid ? "the account has another uid now" : NULL;
        for (size_t i = 0; is_known && !visit.gone && i < renewal->user.n_secrets; i++)
                if (is_held(renewal, holder, &renewal->user.secrets[i]))
                        give(renewal, holder, &renewal->user.secrets[i]);
        take_all_of(&visit);
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static int find_holders(const struct context *context, struct holders *ret) {
        int r;

        r = holders_load(context, ret);
        if (r < 0)
                log_error("cannot look in /proc/keys for sessions that hold copies: %s%s", strerror(-r),
                          r == -ENOENT ? "; is it hidden here (ProcSubset=pid)?" : "");
        return r;
}

/* The keyring that is published in must be the table's: else one of them is of another time. */
static int find_table(const struct context *context, struct access_table **ret_table, keyring_serial *ret_live) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        keyring_serial live = 0;
        int r;

        r = access_file_read(context->tree, &table);
        if (r >= 0)
                r = keyring_open(context->ring, false, &live);
        if (r >= 0 && table->ring != live)
                r = -ESTALE;
        if (r < 0)
                return r;
        *ret_table = TAKE_PTR(table);
        *ret_live = live;
        return 0;
}

/* Finds them, and finds them again with the lock. *ret_lock: none is taken when there are none. */
static int find_and_lock(const struct context *context, struct holders *holders, int *ret_lock) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = find_holders(context, holders);
        if (r < 0 || holders->n == 0)
                return r;
        holders_clear(holders);
        r = access_file_lock(context->tree, PATH_ACCESS_LOCK, ret_lock, &reason);
        if (r < 0) {
                log_error("copies in sessions are not renewed: %s", reason ? reason : strerror(-r));
                return r;
        }
        return find_holders(context, holders);
}

static struct renewal renewal_begin(const struct context *context) {
        return (struct renewal){ .context = *context, .now = (int64_t) time(NULL) };
}

static int load_table(struct renewal *renewal, const struct holders *holders, struct access_table **ret) {
        int r;

        r = find_table(&renewal->context, ret, &renewal->live);
        if (r < 0)
                log_error("cannot use " PATH_ACCESS ": %s; the copies in %zu sessions stay as they are, till keyrota provision has written it", strerror(-r), holders->n);
        else
                renewal->table = *ret;
        return r;
}

/* What keyrota lock has taken without a wait may have been given back here since. This asks nobody, so that those who wait for their turn do not wait longer. */
static void take_by_newer_table(struct renewal *renewal, const struct holders *holders) {
        _cleanup_(access_table_freep) struct access_table *newer = NULL;

        if (access_file_read(renewal->context.tree, &newer) < 0 ||
            (newer->size == renewal->table->size && memcmp(newer->text, renewal->table->text, newer->size) == 0))
                return;
        renewal->table = newer;
        renewal->user = (struct user){ .name = NULL };
        for (size_t i = 0; i < holders->n; i++) {
                struct visit visit = { .renewal = renewal, .holder = &holders->items[i], .by_line = true };

                if (entitlement_locked(newer, holders->items[i].who.user))
                        visit.gone = "the user is locked";
                take_all_of(&visit);
        }
}

int holders_renew(const struct context *context, size_t *ret_count) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_(holders_clear) struct holders holders = { .n = 0 };
        struct renewal renewal = renewal_begin(context);
        _cleanup_close_ int lock = -EBADF;
        int r;

        r = find_and_lock(context, &holders, &lock);
        if (r >= 0 && holders.n > 0)
                r = load_table(&renewal, &holders, &table);
        if (r < 0)
                return r;
        renewal.context.audit_required = context->audit_required || keyring_audit_required(renewal.live);
        for (size_t i = 0; i < holders.n; i++)
                renew_session(&renewal, &holders.items[i]);
        free(renewal.user.secrets);
        if (holders.n > 0)
                take_by_newer_table(&renewal, &holders);
        if (ret_count)
                *ret_count = renewal.n_changed;
        return renewal.error;
}

int holders_take_locked(const struct context *context, const struct locks *locks, bool wait, size_t *ret_count) {
        _cleanup_(holders_clear) struct holders holders = { .n = 0 };
        struct renewal renewal = renewal_begin(context);
        _cleanup_close_ int lock = -EBADF;
        int r;

        r = wait ? find_and_lock(context, &holders, &lock) : find_holders(context, &holders);
        if (r < 0)
                return r;
        for (size_t i = 0; i < holders.n; i++) {
                struct visit visit = { .renewal = &renewal, .holder = &holders.items[i], .locks = locks };

                if (locks_has(locks, LOCK_USER, holders.items[i].who.user))
                        visit.gone = "the user is locked";
                take_all_of(&visit);
        }
        if (ret_count)
                *ret_count = renewal.n_changed;
        return renewal.error;
}
