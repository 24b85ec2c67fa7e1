/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a session is shown. */

#include <inttypes.h>
#include <stdio.h>

#include "holder-show.h"

const char *holder_copy_to_string(enum holder_copy copy) {
        return copy == HOLDER_CURRENT ? "current" : copy == HOLDER_STALE ? "stale" : "missing";
}

const char *holder_to_string(const struct holder *holder, char buffer[static HOLDER_TEXT_MAX]) {
        const struct copies_holder *who = &holder->who;
        char audit_session[sizeof(", audit session 4294967295")] = "", user[4 * sizeof(who->user)], service[4 * sizeof(who->service)],
             tty[4 * sizeof(who->tty)], remote_host[4 * sizeof(who->remote_host)];

        (void) audit_escape(who->user, user, sizeof(user));
        (void) audit_escape(who->service, service, sizeof(service));
        (void) audit_escape(who->tty, tty, sizeof(tty));
        (void) audit_escape(who->remote_host, remote_host, sizeof(remote_host));
        if (who->audit_session != AUDIT_SESSION_UNSET)
                (void) snprintf(audit_session, sizeof(audit_session), ", audit session %" PRIu32, who->audit_session);
        (void) snprintf(buffer, HOLDER_TEXT_MAX, "%s, %s%s%s%s%s, process %d%s", user, *service ? service : "unknown service", *tty ? " " : "", tty,
                        *remote_host ? " from " : "", remote_host, (int) who->pid, audit_session);
        return buffer;
}

/* jansson takes UTF-8 only; what came from elsewhere may be anything. */
static json_t *text_or_null(const char *text) {
        char escaped[4 * sizeof(((struct copies_holder *) 0)->user)];
        json_t *string;

        if (*text == '\0')
                return json_null();
        string = json_string(text);
        if (string)
                return string;
        (void) audit_escape(text, escaped, sizeof(escaped));
        for (char *p = escaped; *p; p++)
                if ((unsigned char) *p >= 0x80)
                        *p = '?';
        return json_string(escaped);
}

json_t *holder_to_json(const struct holder *holder, enum holder_copy copy) {
        const struct copies_holder *who = &holder->who;

        return json_pack("{s:o, s:I, s:o, s:o, s:o, s:I, s:o, s:s}", "user", text_or_null(who->user), "uid", (json_int_t) who->uid, "service",
                         text_or_null(who->service), "tty", text_or_null(who->tty), "remote_host", text_or_null(who->remote_host), "pid",
                         (json_int_t) who->pid, "audit_session",
                         who->audit_session == AUDIT_SESSION_UNSET ? json_null() : json_integer((json_int_t) who->audit_session), "copy",
                         holder_copy_to_string(copy));
}
