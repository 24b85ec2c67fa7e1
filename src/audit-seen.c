/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the audit record says of the past: the generations that secrets have had. Apart from audit.c so that
 * the credential server does not link the journal's reader. Calls libsystemd.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <systemd/sd-journal.h>
#include <time.h>

#include "audit.h"
#include "cleanup.h"

#define DEADLINE_SECONDS 2
#define VALUE_MAX 128

static int64_t now_seconds(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

/* The value of a field of the current entry, as a string. -EBADMSG: too long, or with a NUL. */
static int get_field(sd_journal *journal, const char *field, char ret[static VALUE_MAX]) {
        size_t prefix = strlen(field) + 1, length;
        const void *data;
        int r;

        r = sd_journal_get_data(journal, field, &data, &length);
        if (r < 0)
                return r;
        if (length <= prefix || length - prefix >= VALUE_MAX || memchr(data, '\0', length))
                return -EBADMSG;
        memcpy(ret, (const char *) data + prefix, length - prefix);
        ret[length - prefix] = '\0';
        return 0;
}

static int open_records(sd_journal **ret) {
        _cleanup_(sd_journal_closep) sd_journal *journal = NULL;
        int r;

        r = sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
        if (r < 0)
                return r;
        r = sd_journal_add_match(journal, "MESSAGE_ID=" AUDIT_SECRET_COMMITTED_ID, 0);
        if (r >= 0)
                r = sd_journal_add_match(journal, "_UID=0", 0); /* set by journald, not by the sender */
        if (r >= 0)
                r = sd_journal_seek_tail(journal);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(journal);
        return 0;
}

int audit_seen_generations(
                int (*each)(const char *environment, const char *name, uint64_t generation, void *userdata),
                void *userdata) {
        _cleanup_(sd_journal_closep) sd_journal *journal = NULL;
        int64_t deadline = now_seconds() + DEADLINE_SECONDS;
        int r;

        r = open_records(&journal);
        if (r < 0)
                return r;
        while ((r = sd_journal_previous(journal)) > 0) {
                char environment[VALUE_MAX], name[VALUE_MAX], number[VALUE_MAX], *end;
                uint64_t generation;

                if (now_seconds() > deadline)
                        return -ETIMEDOUT;
                if (get_field(journal, "KEYROTA_ENVIRONMENT", environment) < 0 ||
                    get_field(journal, "KEYROTA_NAME", name) < 0 ||
                    get_field(journal, "KEYROTA_GENERATION", number) < 0)
                        continue; /* damaged, or not ours */
                errno = 0;
                generation = strtoull(number, &end, 10);
                if (errno != 0 || *end != '\0' || number[strspn(number, "0123456789")] != '\0')
                        continue;
                r = each(environment, name, generation, userdata);
                if (r < 0)
                        return r;
        }
        return r;
}
