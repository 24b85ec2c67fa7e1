/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is let into a service. Every way out but one is PAM_PERM_DENIED, never PAM_IGNORE or another code that some stack counts as good; and every refusal
 * asks the same of the disk, the name services and the journal, so that neither code nor time tells why.
 */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>

#include "access-table.h"
#include "account.h"
#include "cleanup.h"
#include "entitlement.h"
#include "items.h"
#include "live-ring.h"
#include "membership.h"
#include "message.h"
#include "options.h"
#include "paths.h"
#include "record.h"

struct question {
        pam_handle_t *pamh;
        struct options options;
        struct copies_holder holder; /* who asks */
        char user[MESSAGE_ESCAPED_MAX]; /* for the log */
        bool for_read_server;
};

/* Finds out which secret is meant. false: none; logged. */
static bool find_secret(struct question *q) {
        const char *name;

        if (q->options.secret[0] != '\0')
                return true;
        if (strcmp(q->holder.service, ACCOUNT_READ_SERVICE) != 0) {
                pam_syslog(q->pamh, LOG_ERR, "no secret= option: refused; add secret=NAME of the policy that says who may enter");
                return false;
        }
        q->for_read_server = true;
        name = pam_getenv(q->pamh, ACCOUNT_READ_SECRET);
        if (!name || !access_secret_valid(name)) {
                pam_syslog(q->pamh, LOG_ERR, "no secret= option, and " ACCOUNT_READ_SECRET " in PAM's environment names no secret: refused");
                return false;
        }
        q->options.secret = name;
        return true;
}

static bool is_other_use(const struct options *options, const struct access_secret *secret) {
        return options->use != OPTIONS_ANY && secret->sign != (options->use == OPTIONS_SIGN);
}

/* Why not, for the record and for the log. NULL: let in. */
static const char *log_verdict(const struct question *q, const struct access_secret *secret, const struct membership *who, bool user_locked, int verdict) {
        const char *name = q->options.secret;

        if (verdict == -EBADMSG) {
                pam_syslog(q->pamh, LOG_ERR, PATH_ACCESS ": torn, or not an access table of this version of keyrota: everybody refused; "
                           "'keyrota provision' writes it anew");
                return "the access table is damaged";
        }
        if (verdict < 0) {
                pam_syslog(q->pamh, LOG_ERR, "cannot look up the groups of %s in the name services: %s: user \"%s\" refused", name, message_error(verdict),
                           q->user);
                return "the name services cannot look up its groups";
        }
        if (secret->name[0] == '\0') {
                pam_syslog(q->pamh, LOG_ERR, "no policy %s with an [access] section: user \"%s\" refused; see 'keyrota status'", name, q->user);
                return "no policy of this name has an [access] section";
        }
        if (secret->reads == ACCESS_LOCKED) {
                if (!q->options.quiet)
                        pam_syslog(q->pamh, LOG_NOTICE, "%s is locked: user \"%s\" refused; see 'keyrota unlock'", name, q->user);
                return "the secret is locked";
        }
        if (user_locked) {
                if (!q->options.quiet)
                        pam_syslog(q->pamh, LOG_NOTICE, "user \"%s\" is locked: refused for %s; see 'keyrota unlock'", q->user, name);
                return "the user is locked";
        }
        if (verdict > 0 && is_other_use(&q->options, secret)) {
                if (!q->options.quiet)
                        pam_syslog(q->pamh, LOG_NOTICE, "user \"%s\" refused: [access] of %s says use = %s", q->user, name, secret->sign ? "sign" : "verify");
                return "the policy names the user for another use";
        }
        if (verdict > 0) {
                if (q->options.debug)
                        pam_syslog(q->pamh, LOG_DEBUG, "user \"%s\" allowed by [access] of %s", q->user, name);
                return NULL;
        }
        if (!q->options.quiet)
                pam_syslog(q->pamh, LOG_NOTICE, who->known ? "user \"%s\" refused: not named by [access] of %s" : "unknown user \"%s\" refused for %s", q->user,
                           name);
        return who->known ? "the policy does not name the user" : "unknown user";
}

/* reason NULL: let in. Whether that may be, as far as the record matters. */
static bool put_on_record(const struct question *q, const struct access_table *table, const struct access_secret *secret, const char *reason) {
        _cleanup_(records_clear) struct records records = RECORDS_NONE;
        struct audit_record record = {
                .environment = *secret->name ? secret->environment : NULL,
                .name = *q->options.secret ? q->options.secret : NULL,
                .reason = reason,
                .pid = 0,
        };
        bool required;
        int r;

        copies_holder_record(&q->holder, &record);
        record.has_uid = q->holder.uid != (uid_t) -1;
        r = records_add(&records, reason ? AUDIT_ACCESS_REFUSED : AUDIT_ACCESS_GRANTED, &record);
        if (r >= 0)
                r = records_send(&records, false);
        if (r >= 0)
                return true;

        required = !table || live_ring_requires_audit(table->ring);
        if (required && records.size > 0)
                r = records_send(&records, true);
        if (r < 0)
                audit_note_missing(reason || required ? AUDIT_ACCESS_REFUSED : AUDIT_ACCESS_GRANTED, &record, r);
        if (r < 0)
                pam_syslog(q->pamh, LOG_ERR, "the journal takes no record of user \"%s\": %s%s", q->user, message_error(r),
                           required ? ": refused, for keyrota.conf says audit = required" : "");
        return r >= 0 || !required;
}

int account_check(pam_handle_t *pamh, int argc, const char **argv) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_(membership_freep) struct membership *who = NULL;
        struct access_secret secret = { .name = "" };
        struct question q = { .pamh = pamh };
        const char *detail = NULL, *reason = "the options of pam_keyrota are wrong";
        bool good, user_locked;
        int r, verdict;

        items_load(pamh, &q.holder);
        (void) message_escape(q.holder.user, q.user);
        good = options_parse(pamh, OPTIONS_ACCOUNT, argc, argv, &q.options) && find_secret(&q);

        r = access_table_read(&table, &detail);
        if (r < 0)
                pam_syslog(pamh, LOG_ERR, PATH_ACCESS ": %s: everybody refused; %s", detail ? detail : message_error(r), message_table_remedy(r));
        r = membership_load(q.holder.user, &who);
        if (r < 0)
                pam_syslog(pamh, LOG_ERR, "cannot look up user \"%s\" in the name services: %s: refused", q.user, message_error(r));
        else
                q.holder.uid = who->uid;

        if (table && who) {
                verdict = entitlement_check(table, q.options.secret, who, &secret);
                user_locked = entitlement_locked(table, who->name);
                if (good)
                        reason = log_verdict(&q, &secret, who, user_locked, verdict);
        } else if (good)
                reason = table ? "the name services cannot look up the user" : "the access table cannot be used";

        if (!q.for_read_server && !put_on_record(&q, table, &secret, reason))
                return PAM_PERM_DENIED;
        return good && !reason ? PAM_SUCCESS : PAM_PERM_DENIED;
}
