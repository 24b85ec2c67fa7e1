/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may read each secret, and which open sessions hold a copy of it. Changes nothing, and asks no name service. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "access-file.h"
#include "holder-show.h"
#include "paths.h"
#include "status.h"

static int join_members(const struct access *access, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *stream = open_memstream(&text, &size);

        if (!stream)
                return -ENOMEM;
        for (size_t i = 0; i < access->n_users; i++)
                (void) fprintf(stream, "%s%s", ftell(stream) > 0 ? " " : "", access->users[i]);
        for (size_t i = 0; i < access->n_groups; i++)
                (void) fprintf(stream, "%s@%s", ftell(stream) > 0 ? " " : "", access->groups[i]);
        if (fclose(stream) != 0)
                return -ENOMEM;
        if (size > 0)
                *ret = TAKE_PTR(text);
        return 0;
}

/* Of a policy that is broken or gone, what is in force. */
static int look_at_members(struct status_secret *secret, const struct access_secret *line) {
        const struct policy *policy = secret->policy;

        if (policy && policy->valid) {
                secret->access_use = policy->access.use;
                secret->access_reads = policy->access.reads;
                return join_members(&policy->access, &secret->members);
        }
        if (!line)
                return 0;
        secret->access_use = line->sign ? USE_SIGN : USE_VERIFY;
        secret->access_reads = line->unlocked == ACCESS_RECORDED ? READS_RECORDED : READS_SESSION;
        secret->members = strndup(line->members, line->members_size);
        return secret->members ? 0 : -ENOMEM;
}

static const struct access_secret *find_line(const struct access_table *table, const char *name, struct access_secret *buffer) {
        const char *line = NULL;

        while (table && (line = access_table_next(table, line)))
                if (access_secret_parse(line, buffer) >= 0 && strcmp(buffer->name, name) == 0)
                        return buffer;
        return NULL;
}

static int add_holder(struct status_secret *secret, const struct holder *holder, enum holder_copy copy) {
        struct status_holder *grown = reallocarray(secret->holders, secret->n_holders + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        secret->holders = grown;
        grown[secret->n_holders++] = (struct status_holder){ holder, copy };
        return 0;
}

static int tell_holder(struct status_secret *secret, const struct holder *holder, bool given) {
        char text[HOLDER_TEXT_MAX];

        return secret_problem(secret, "%s: a session holds %s: run keyrota provision", holder_to_string(holder, text),
                              given ? "an older copy than is published" : "a copy, though it is given to no session now");
}

static int look_at_holders(const struct status *status, keyring_serial live, struct status_secret *secret, const struct access_secret *line) {
        char description[KEYRING_DESCRIPTION_MAX];
        int r = 0;

        (void) snprintf(description, sizeof(description), "secret:%s/%s/%s", line ? line->environment : "", secret->name,
                        line && line->sign ? "sign" : "verify");
        for (size_t i = 0; r >= 0 && i < status->holders.n; i++) {
                const struct holder *holder = &status->holders.items[i];
                enum holder_copy copy = holder_compare(holder, secret->name, live, description);
                bool given = line && line->reads == ACCESS_SESSION;

                if (copy == HOLDER_NONE)
                        continue;
                r = add_holder(secret, holder, copy);
                if (r >= 0 && (copy == HOLDER_STALE || !given))
                        r = tell_holder(secret, holder, given);
        }
        return r;
}

static int look_at_secret(const struct status *status, const struct access_table *table, keyring_serial live, struct status_secret *secret) {
        struct access_secret buffer;
        const struct access_secret *line = find_line(table, secret->name, &buffer);
        int r;

        secret->locked = locks_has(&status->locks, LOCK_SECRET, secret->name);
        r = look_at_members(secret, line);
        return r < 0 ? r : look_at_holders(status, live, secret, line);
}

static int look_at_locks(const struct context *context, struct status *status) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = locks_load(context->tree, &status->locks, &reason);
        if (r >= 0 || r == -ENOMEM)
                return r;
        return status_problem(status, "%s; every secret is locked for users until that is repaired", reason ? reason : strerror(-r));
}

static bool has_users(const struct status *status) {
        for (size_t i = 0; i < status->policies->n_policies; i++)
                if (status->policies->policies[i]->valid && status->policies->policies[i]->access.users_file)
                        return true;
        return false;
}

int status_look_at_access(const struct context *context, struct status *status) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        keyring_serial live = 0;
        int r;

        r = look_at_locks(context, status);
        if (r >= 0 && context->ring) {
                int error = access_file_read(context->tree, &table);

                if (error < 0 && (error != -ENOENT || has_users(status)))
                        r = status_problem(status, PATH_ACCESS ": %s: no user is let in or given a copy; run keyrota provision", strerror(-error));
        }
        if (r >= 0) {
                int error = holders_load(context, &status->holders);

                if (error < 0)
                        r = status_problem(status, "cannot look in /proc/keys for sessions that hold copies: %s", strerror(-error));
        }
        if (context->ring)
                (void) keyring_open(context->ring, false, &live);
        for (size_t i = 0; r >= 0 && i < status->n_secrets; i++)
                r = look_at_secret(status, table, live, &status->secrets[i]);
        return r;
}
