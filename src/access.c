/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compiles the [access] sections of policies into the text of the access table. Pure; may call policy and access-table.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "access-table.h"
#include "cleanup.h"
#include "policy.h"

/* Names that are to stand in ascending order, each once. */
struct names {
        const char **items; /* not owned */
        size_t n, room;
};

static void names_clear(struct names *names) {
        free(names->items);
}

static int names_add(struct names *names, const char *name) {
        if (!access_member_valid(name, strlen(name)))
                return -EINVAL;
        if (names->n == names->room) {
                size_t room = names->room == 0 ? 16 : 2 * names->room;
                const char **grown = reallocarray(names->items, room, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                names->items = grown;
                names->room = room;
        }
        names->items[names->n++] = name;
        return 0;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static void names_sort(struct names *names) {
        size_t n = 0;

        if (names->n == 0)
                return;
        qsort(names->items, names->n, sizeof(*names->items), compare_names);
        for (size_t i = 0; i < names->n; i++)
                if (n == 0 || strcmp(names->items[n - 1], names->items[i]) != 0)
                        names->items[n++] = names->items[i];
        names->n = n;
}

static int names_collect(struct names *names, char *const items[], size_t n) {
        for (size_t i = 0; i < n; i++) {
                int r = names_add(names, items[i]);

                if (r < 0)
                        return r;
        }
        names_sort(names);
        return 0;
}

/* One line that is to be written: made of a policy, or as it was. */
struct line {
        const char *name;
        const struct access_entry *entry;   /* with a policy; NULL: it stays as it was */
        const struct access_secret *before; /* NULL: it was not there */
        bool locked;
};

struct lines {
        struct line *items;
        size_t n;
};

static void lines_clear(struct lines *lines) {
        free(lines->items);
}

static int compare_lines(const void *a, const void *b) {
        return strcmp(((const struct line *) a)->name, ((const struct line *) b)->name);
}

static bool has_access(const struct policy *policy) {
        return policy->valid && (policy->access.n_users > 0 || policy->access.n_groups > 0);
}

/* The lines of the table that is replaced, in their order, which is that of the names. */
struct before {
        struct access_secret *items;
        size_t n;
};

static void before_clear(struct before *before) {
        free(before->items);
}

static int before_read(const struct access_table *table, struct before *ret) {
        const char *line = NULL;
        size_t n = 0;

        while ((line = access_table_next(table, line)))
                n++;
        ret->items = calloc(n + 1, sizeof(*ret->items));
        if (!ret->items)
                return -ENOMEM;
        while ((line = access_table_next(table, line)))
                if (access_secret_parse(line, &ret->items[ret->n]) >= 0) /* a damaged line is none */
                        ret->n++;
        return 0;
}

static int compare_before(const void *name, const void *secret) {
        return strcmp(name, ((const struct access_secret *) secret)->name);
}

static const struct access_secret *before_find(const struct before *before, const char *name) {
        return before->n == 0 ? NULL : bsearch(name, before->items, before->n, sizeof(*before->items), compare_before);
}

static int collect_lines(const struct access_content *content, const struct before *before, struct lines *ret) {
        _cleanup_(lines_clear) struct lines lines = { .n = 0 };

        lines.items = calloc(content->n_entries + 1, sizeof(*lines.items));
        if (!lines.items)
                return -ENOMEM;
        for (size_t i = 0; i < content->n_entries; i++) {
                const struct access_entry *entry = content->entries + i;
                struct line *line = lines.items + lines.n;

                if (entry->policy && !has_access(entry->policy))
                        continue;
                /* These were checked when the policy was read; a table that somebody can break out of must not depend on it. */
                if (entry->policy && (!policy_name_valid(entry->policy->name) || !policy_name_valid(entry->policy->environment)))
                        return -EINVAL;
                *line = (struct line) { .name = entry->policy ? entry->policy->name : entry->name, .entry = entry->policy ? entry : NULL, .locked = entry->locked };
                line->before = before_find(before, line->name);
                if (line->entry || line->before)
                        lines.n++;
        }
        qsort(lines.items, lines.n, sizeof(*lines.items), compare_lines);
        for (size_t i = 1; i < lines.n; i++)
                if (strcmp(lines.items[i - 1].name, lines.items[i].name) == 0)
                        return -ENOTUNIQ;
        *ret = lines;
        lines.items = NULL;
        return 0;
}

/* The groups of a line that stays as it was are part of the other table's text, without a NUL of their own: owned by copies. */
struct copies {
        char **items;
        size_t n;
};

static void copies_clear(struct copies *copies) {
        for (size_t i = 0; i < copies->n; i++)
                free(copies->items[i]);
        free(copies->items);
}

static int copies_add(struct copies *copies, const char *text, size_t length, const char **ret) {
        char **grown = reallocarray(copies->items, copies->n + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        copies->items = grown;
        grown[copies->n] = strndup(text, length);
        if (!grown[copies->n])
                return -ENOMEM;
        *ret = grown[copies->n++];
        return 0;
}

static int collect_groups(const struct lines *lines, struct names *groups, struct copies *copies) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < lines->n; i++) {
                const struct line *line = lines->items + i;
                const char *member = NULL, *name;
                size_t length = 0;

                for (size_t k = 0; line->entry && r >= 0 && k < line->entry->policy->access.n_groups; k++)
                        r = names_add(groups, line->entry->policy->access.groups[k]);
                while (!line->entry && r >= 0 && (member = access_member_next(line->before, member, &length))) {
                        if (member[0] != '@')
                                continue;
                        r = copies_add(copies, member + 1, length - 1, &name);
                        if (r >= 0)
                                r = names_add(groups, name);
                }
        }
        names_sort(groups);
        return r;
}

static const char *reads_word(enum access_reads reads, bool locked) {
        if (reads == ACCESS_RECORDED)
                return locked ? "locked-recorded" : "recorded";
        return locked ? "locked" : "session";
}

static int write_members(FILE *stream, char *const items[], size_t n, const char *prefix) {
        _cleanup_(names_clear) struct names names = { .n = 0 };
        int r;

        r = names_collect(&names, items, n);
        for (size_t i = 0; r >= 0 && i < names.n; i++)
                fprintf(stream, " %s%s", prefix, names.items[i]);
        return r;
}

static int write_policy(FILE *stream, const struct line *line) {
        const struct access_entry *entry = line->entry;
        const struct policy *policy = entry->policy;
        bool as_before = entry->generation == 0 && line->before && strcmp(line->before->environment, policy->environment) == 0;
        int r;

        fprintf(stream, "secret %s/%s %" PRIu64 " %" PRId64 " %s %s", policy->environment, policy->name,
                as_before ? line->before->generation : entry->generation, as_before ? line->before->until : entry->until,
                use_to_string(policy->access.use),
                reads_word(policy->access.reads == READS_RECORDED ? ACCESS_RECORDED : ACCESS_SESSION, line->locked));
        r = write_members(stream, policy->access.users, policy->access.n_users, "");
        if (r >= 0)
                r = write_members(stream, policy->access.groups, policy->access.n_groups, "@");
        fputc('\n', stream);
        return r;
}

static void write_before(FILE *stream, const struct line *line) {
        const struct access_secret *before = line->before;

        fprintf(stream, "secret %s/%s %" PRIu64 " %" PRId64 " %s %s %.*s\n", before->environment, before->name, before->generation, before->until,
                before->sign ? "sign" : "verify", reads_word(before->unlocked, line->locked), (int) before->members_size, before->members);
}

static int write_table(FILE *stream, const struct access_content *content, const struct lines *lines, const struct names *groups) {
        _cleanup_(names_clear) struct names locked = { .n = 0 };
        int r;

        r = names_collect(&locked, (char *const *) content->locked, content->n_locked);
        if (r < 0)
                return r;
        fprintf(stream, ACCESS_TABLE_FIRST "\nring %" PRId32 "\n", content->ring);
        for (size_t i = 0; i < locked.n; i++)
                fprintf(stream, "locked %s\n", locked.items[i]);
        for (size_t i = 0; i < groups->n; i++)
                fprintf(stream, "group %s\n", groups->items[i]);
        for (size_t i = 0; r >= 0 && i < lines->n; i++)
                if (lines->items[i].entry)
                        r = write_policy(stream, lines->items + i);
                else
                        write_before(stream, lines->items + i);
        fprintf(stream, ACCESS_TABLE_LAST "\n");
        return r < 0 ? r : ferror(stream) ? -ENOMEM : 0;
}

int access_format(const struct access_content *content, char **ret) {
        _cleanup_(lines_clear) struct lines lines = { .n = 0 };
        _cleanup_(names_clear) struct names groups = { .n = 0 };
        _cleanup_(copies_clear) struct copies copies = { .n = 0 };
        _cleanup_(before_clear) struct before before = { .n = 0 };
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *stream;
        int r = 0;

        if (content->before)
                r = before_read(content->before, &before);
        if (r >= 0)
                r = collect_lines(content, &before, &lines);
        if (r >= 0)
                r = collect_groups(&lines, &groups, &copies);
        if (r < 0)
                return r;
        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        r = write_table(stream, content, &lines, &groups);
        if (fclose(stream) != 0 && r == 0)
                r = -ENOMEM;
        if (r < 0)
                return r;
        if (size > ACCESS_TABLE_MAX)
                return -EFBIG;
        *ret = TAKE_PTR(text);
        return 0;
}
