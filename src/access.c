/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compiles the [access] sections of policies into the text of the access table. Pure; may call policy.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "cleanup.h"
#include "policy.h"

static int compare_policies(const void *a, const void *b) {
        return strcmp((*(const struct policy *const *) a)->name, (*(const struct policy *const *) b)->name);
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static bool has_access(const struct policy *policy) {
        return policy->valid && (policy->access.n_users > 0 || policy->access.n_groups > 0);
}

/* Writes " PREFIXname" for each name once, sorted. */
static int write_members(FILE *stream, char *const names[], size_t n, const char *prefix) {
        _cleanup_free_ const char **sorted = NULL;

        if (n == 0)
                return 0;

        sorted = calloc(n, sizeof(*sorted));
        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                if (!access_member_valid(names[i]))
                        return -EINVAL;
                sorted[i] = names[i];
        }
        qsort(sorted, n, sizeof(*sorted), compare_names);

        for (size_t i = 0; i < n; i++)
                if (i == 0 || strcmp(sorted[i - 1], sorted[i]) != 0)
                        fprintf(stream, " %s%s", prefix, sorted[i]);
        return 0;
}

static int write_policy(FILE *stream, const struct policy *policy) {
        int r;

        /* These were checked when the policy was read; a table that somebody can break out of must not depend
         * on it. */
        if (!policy_name_valid(policy->name) || !policy_name_valid(policy->environment))
                return -EINVAL;

        fprintf(stream, "secret %s/%s %s", policy->environment, policy->name,
                use_to_string(policy->access.use));
        r = write_members(stream, policy->access.users, policy->access.n_users, "");
        if (r < 0)
                return r;
        r = write_members(stream, policy->access.groups, policy->access.n_groups, "@");
        if (r < 0)
                return r;
        fputc('\n', stream);
        return 0;
}

static int write_table(FILE *stream, const struct policy *const policies[], size_t n) {
        fprintf(stream, "%s\n", ACCESS_TABLE_FIRST);
        for (size_t i = 0; i < n; i++) {
                int r;

                if (i > 0 && strcmp(policies[i - 1]->name, policies[i]->name) == 0)
                        return -ENOTUNIQ;
                r = write_policy(stream, policies[i]);
                if (r < 0)
                        return r;
        }
        fprintf(stream, "%s\n", ACCESS_TABLE_LAST);
        return ferror(stream) ? -ENOMEM : 0;
}

int access_format(const struct policy *const policies[], size_t n, char **ret) {
        _cleanup_free_ const struct policy **sorted = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size = 0, n_sorted = 0;
        FILE *stream;
        int r;

        sorted = calloc(n + 1, sizeof(*sorted));
        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (has_access(policies[i]))
                        sorted[n_sorted++] = policies[i];
        qsort(sorted, n_sorted, sizeof(*sorted), compare_policies);

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        r = write_table(stream, sorted, n_sorted);
        if (fclose(stream) != 0 && r == 0)
                r = -ENOMEM;
        if (r < 0)
                return r;
        if (size > ACCESS_TABLE_MAX)
                return -EFBIG;

        *ret = TAKE_PTR(text);
        return 0;
}
