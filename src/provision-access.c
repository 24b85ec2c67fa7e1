/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may read what, as this run found it. A program's part: it logs. */

#include <errno.h>
#include <string.h>

#include "access-file.h"
#include "holders.h"
#include "locks.h"
#include "log.h"
#include "paths.h"
#include "provision-run.h"

#define DAY INT64_C(86400) /* seconds */

/* What is published is renewed when the active key's cryptoperiod ends, and that key is destroyed everywhere an overlap later. Where the rotation is held
 * up, what users hold must go on as long: then till the day after the next daily look, in whole days, so that the table does not change with each run. */
int64_t copies_until(const struct keyset *keyset, const struct policy *policy, int64_t now) {
        const struct key *active = keyset_active(keyset);
        int64_t overlap = policy_overlap(policy), until;

        if (!active || active->times.deactivates == TIME_NEVER)
                return 0;
        if (active->times.overlap > overlap)
                overlap = active->times.overlap;
        if (__builtin_add_overflow(active->times.deactivates, overlap, &until))
                return 0;
        return until > now ? until : (now / DAY + 3) * DAY;
}

/* The table that is to be replaced; none, where it cannot be used. */
static int read_before(const struct run *run, struct access_table **ret) {
        int r;

        *ret = NULL;
        r = access_file_read(run->context->tree, ret);
        return r == -ENOMEM ? r : 0;
}

/* What cannot be read is as if everything were locked. */
static int read_locks(struct run *run, struct locks *ret) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = locks_load(run->context->tree, ret, &reason);
        if (r >= 0 || r == -ENOMEM)
                return r;
        log_error("%s; every secret is locked for users until that is repaired", reason ? reason : strerror(-r));
        run->n_failed++;
        return 0;
}

/* In a folder that cannot be listed now there may be policies of these secrets. */
static int keep_unseen(const struct run *run, const struct access_table *before, struct access_entry **entries, size_t *n) {
        struct access_secret secret;
        const char *line = NULL;

        while (before && run->policies->incomplete && (line = access_table_next(before, line))) {
                struct access_entry *grown;

                if (access_secret_parse(line, &secret) < 0 || run_has_policy(run, secret.name))
                        continue;
                grown = reallocarray(*entries, *n + 1, sizeof(**entries));
                if (!grown)
                        return -ENOMEM;
                *entries = grown;
                grown[*n] = (struct access_entry){ .name = strndup(secret.name, sizeof(secret.name)) };
                if (!grown[(*n)++].name)
                        return -ENOMEM;
        }
        return 0;
}

static struct access_entry entry_of(const struct run *run, const struct item *item, const struct item *only) {
        struct access_entry entry = { .name = item->written->name };

        if (!run_wants(run, item->written->name) || (only && item != only))
                return entry; /* an edit of it is not in force, or another run may know more of it */
        entry.policy = item_effective_policy(item);
        entry.generation = item->published;
        entry.until = item->copies_until;
        return entry;
}

static int write_table(const struct run *run, struct access_entry *entries, size_t n, const struct access_table *before, const struct locks *locks) {
        struct access_content content = { .ring = publication_ring(run->publication), .before = before, .entries = entries, .n_entries = n };
        _cleanup_free_ const char **users = NULL;
        int r;

        for (size_t i = 0; i < n; i++)
                entries[i].locked = locks_has(locks, LOCK_SECRET, entries[i].policy ? entries[i].policy->name : entries[i].name);
        r = locks_users(locks, &users, &content.n_locked);
        content.locked = users;
        return r < 0 ? r : access_file_write(run->context->tree, &content);
}

static int publish(struct run *run, const struct item *only, const struct access_table *before, const struct locks *locks) {
        size_t n_policies = run->policies->n_policies, n = n_policies;
        struct access_entry *entries = calloc(n + 1, sizeof(*entries));
        int r;

        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < n_policies; i++)
                entries[i] = entry_of(run, &run->items[i], only);
        r = keep_unseen(run, before, &entries, &n);
        if (r >= 0)
                r = write_table(run, entries, n, before, locks);
        for (size_t i = n_policies; i < n; i++)
                free((char *) entries[i].name);
        free(entries);
        return r;
}

/* keyrota lock writes the table too, without the store's lock. */
static int publish_locked(struct run *run, const struct item *only) {
        _cleanup_(access_table_freep) struct access_table *before = NULL;
        _cleanup_(locks_clear) struct locks locks = { .n = 0 };
        _cleanup_free_ char *reason = NULL;
        _cleanup_close_ int lock = -EBADF;
        int r;

        r = access_file_lock(run->context->tree, PATH_ACCESS_TABLE_LOCK, &lock, &reason);
        if (r < 0) {
                log_error("%s", reason ? reason : strerror(-r));
                return r;
        }
        r = read_before(run, &before);
        if (r >= 0 && !before && (only || run->options->n_names > 0))
                return 0; /* a run over all secrets writes it */
        if (r >= 0 && before && before->ring > 0 && before->ring != publication_ring(run->publication))
                r = access_file_add_ring(run->context->tree, before->ring);
        if (r >= 0)
                r = read_locks(run, &locks);
        return r < 0 ? r : publish(run, only, before, &locks);
}

int run_publish_access(struct run *run, const struct item *only) {
        int r;

        if (!run->context->ring)
                return 0;
        r = publish_locked(run, only);
        if (r < 0) {
                log_error("cannot write " PATH_ACCESS ": %s; nobody is let in by pam_keyrota", strerror(-r));
                (void) run_remove_file(run, PATH_ACCESS); /* an old table would let in whom no policy names any more */
        }
        return r < 0 ? r : 0;
}

void run_renew_copies(struct run *run) {
        if (holders_renew(run->context, NULL) < 0)
                run->n_failed++;
}
