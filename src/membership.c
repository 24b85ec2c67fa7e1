/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks NSS about users and groups for the PAM module, in bounded memory. Reentrant calls only, no globals;
 * libc only.
 */

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "membership.h"

#define RECORD_MIN ((size_t) 4 * 1024)
#define RECORD_MAX ((size_t) 4 * 1024 * 1024) /* bytes of a passwd or group record: some 100,000 members */

void membership_free(struct membership *membership) {
        if (!membership)
                return;
        free(membership->gids);
        free(membership->record);
        free(membership);
}

/* getpwnam(3): "if the given name was not found", any of these. */
static bool is_not_found(int error) {
        return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

/* 1, 0 when there is no such account, or a negative errno. *ret points into *ret_record. *ret_unsure: glibc returns no error where every service has said
 * that there is none, and one of "not found" where a service is away. */
static int find_account(const char *name, struct passwd *ret, char **ret_record, int *ret_unsure) {
        for (size_t size = RECORD_MIN; size <= RECORD_MAX; size *= 4) {
                _cleanup_free_ char *record = NULL;
                struct passwd account, *found = NULL;
                int error;

                record = malloc(size);
                if (!record)
                        return -ENOMEM;
                error = getpwnam_r(name, &account, record, size, &found);
                if (error == ERANGE)
                        continue;
                if (!found && !is_not_found(error))
                        return -abs(error);
                *ret_unsure = found ? 0 : -error;
                if (!found)
                        return 0;
                *ret = account;
                *ret_record = TAKE_PTR(record);
                return 1;
        }
        return -EOVERFLOW;
}

/* As find_account(). */
static int find_group(const char *name, gid_t *ret, int *ret_unsure) {
        for (size_t size = RECORD_MIN; size <= RECORD_MAX; size *= 4) {
                _cleanup_free_ char *record = NULL;
                struct group group, *found = NULL;
                int error;

                record = malloc(size);
                if (!record)
                        return -ENOMEM;
                error = getgrnam_r(name, &group, record, size, &found);
                if (error == ERANGE)
                        continue;
                if (!found && !is_not_found(error))
                        return -abs(error);
                *ret_unsure = found ? 0 : -error;
                if (!found)
                        return 0;
                *ret = group.gr_gid;
                return 1;
        }
        return -EOVERFLOW;
}

static int load_groups(struct membership *membership, gid_t primary) {
        int n = NGROUPS_MAX;

        membership->gids = malloc(NGROUPS_MAX * sizeof(gid_t));
        if (!membership->gids)
                return -ENOMEM;
        if (getgrouplist(membership->name, primary, membership->gids, &n) < 0 || n < 0 || n > NGROUPS_MAX)
                return -EOVERFLOW;
        membership->n_gids = (size_t) n;
        return 0;
}

static int load(const char *user, bool with_groups, struct membership **ret) {
        _cleanup_(membership_freep) struct membership *membership = NULL;
        struct passwd account = { .pw_uid = (uid_t) -1, .pw_gid = (gid_t) -1 };
        int r;

        membership = calloc(1, sizeof(*membership));
        if (!membership)
                return -ENOMEM;

        r = find_account(user, &account, &membership->record, &membership->unsure);
        if (r < 0)
                return r;
        membership->known = r > 0;
        membership->uid = account.pw_uid;
        membership->name = membership->known ? account.pw_name : user;
        if (with_groups) {
                r = load_groups(membership, account.pw_gid);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(membership);
        return 0;
}

int membership_load(const char *user, struct membership **ret) {
        return load(user, true, ret);
}

int membership_load_account(const char *user, struct membership **ret) {
        return load(user, false, ret);
}

int membership_has_group(const struct membership *membership, const char *group) {
        gid_t gid = (gid_t) -1;
        int r, unsure = 0;

        r = find_group(group, &gid, &unsure);
        if (r <= 0)
                return r == 0 && membership->certain ? unsure : r;
        for (size_t i = 0; i < membership->n_gids; i++)
                if (membership->gids[i] == gid)
                        return 1;
        return 0;
}
