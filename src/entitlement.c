/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may read what. Runs inside other people's login programs: libc only, no variables. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "entitlement.h"

static bool is_name(const char *text, size_t length, const char *name) {
        return strlen(name) == length && memcmp(text, name, length) == 0;
}

/* Is the group called so, of length bytes, one of the user's? As membership_has_group(). */
static int has_group(const struct membership *who, const char *group, size_t length) {
        char name[ACCESS_MEMBER_MAX + 1];

        memcpy(name, group, length);
        name[length] = '\0';
        return membership_has_group(who, name);
}

bool entitlement_locked(const struct access_table *table, const char *user) {
        const char *line = NULL, *name;
        bool locked = false;
        size_t length;

        while ((line = access_table_next(table, line))) {
                name = access_line_locked(line, &length);
                if (!name)
                        break; /* they stand first */
                if (is_name(name, length, user))
                        locked = true;
        }
        return locked;
}

/* Reads the table to its end, strictly, whether the secret's line was found or not. widest: the secret that has most groups. */
static int find_secret(const struct access_table *table, const char *name, struct access_secret *ret, struct access_secret *ret_widest) {
        struct access_secret secret;
        const char *line = NULL;
        char previous[ACCESS_NAME_MAX + 1] = "";
        bool is_secret = false;
        size_t length;

        while ((line = access_table_next(table, line))) {
                if (!is_secret && (access_line_locked(line, &length) || access_line_group(line, &length)))
                        continue;
                is_secret = true;
                if (access_secret_parse(line, &secret) < 0 || strcmp(previous, secret.name) >= 0)
                        return -EBADMSG;
                strcpy(previous, secret.name);
                if (secret.n_groups > ret_widest->n_groups)
                        *ret_widest = secret;
                if (strcmp(secret.name, name) == 0)
                        *ret = secret;
        }
        return 0;
}

/* As many groups are looked up for every secret and user: those of the widest line make up for those that this one lacks, and count for nothing. */
static int names_user(const struct access_secret *secret, const struct access_secret *widest, const struct membership *who) {
        const char *member = NULL, *other = NULL;
        size_t length = 0, other_length = 0, n_groups = 0;
        bool named = false;
        int error = 0, r;

        while ((member = access_member_next(secret, member, &length))) {
                if (member[0] != '@') {
                        named = named || is_name(member, length, who->name);
                        continue;
                }
                r = has_group(who, member + 1, length - 1);
                if (r < 0)
                        error = r;
                named = named || r > 0;
                n_groups++;
        }
        for (size_t i = 0; (other = access_member_next(widest, other, &other_length));)
                if (other[0] == '@' && i++ >= n_groups)
                        (void) has_group(who, other + 1, other_length - 1);
        return error < 0 ? error : named && who->known;
}

int entitlement_check(const struct access_table *table, const char *name, const struct membership *who, struct access_secret *ret_secret) {
        struct access_secret secret = { .name = "" }, widest = { .name = "" };
        bool locked;
        int r;

        r = find_secret(table, name, &secret, &widest);
        if (r < 0)
                return r;
        locked = entitlement_locked(table, who->name);
        r = names_user(&secret, &widest, who);
        *ret_secret = secret;
        return r < 0 ? r : r > 0 && !locked && secret.reads != ACCESS_LOCKED;
}

/* Lines that name the user, in the order of the table, each once. */
struct lines {
        const char **items;
        size_t n, room;
};

static void lines_clear(struct lines *lines) {
        free(lines->items);
}

static int lines_add(struct lines *lines, const char *line) {
        if (lines->n == lines->room) {
                size_t room = lines->room == 0 ? 64 : 2 * lines->room;
                const char **grown = reallocarray(lines->items, room, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                lines->items = grown;
                lines->room = room;
        }
        lines->items[lines->n++] = line;
        return 0;
}

static int compare_lines(const void *a, const void *b) {
        const char *const *x = a, *const *y = b;

        return *x < *y ? -1 : *x > *y;
}

/* Is what was found at p one of the members of the line's secret, not another word of it? */
static int is_member(const char *line, const char *p) {
        struct access_secret secret;

        if (strncmp(line, "secret ", strlen("secret ")) != 0)
                return 0; /* the line of a group of that name */
        if (access_secret_parse(line, &secret) < 0)
                return -EBADMSG;
        return p >= secret.members;
}

/* Every line in which the word stands as a member. Far faster than to parse every line, and in a login that counts. */
static int find_member(const struct access_table *table, const char *word, size_t length, struct lines *lines) {
        char needle[ACCESS_MEMBER_MAX + 3];
        const char *p = table->text, *end = table->text + table->size;
        int r;

        needle[0] = ' ';
        memcpy(needle + 1, word, length);
        while ((p = memmem(p, (size_t) (end - p), needle, length + 1))) {
                const char *found = p + 1, *line = memrchr(table->text, '\n', (size_t) (p - table->text));

                p += length + 1;
                if (!line || (*p != ' ' && *p != '\n'))
                        continue;
                r = is_member(line + 1, found);
                if (r > 0)
                        r = lines_add(lines, line + 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int find_groups(const struct access_table *table, const struct membership *who, struct lines *lines) {
        const char *line = NULL, *group;
        size_t length;
        int r;

        while ((line = access_table_next(table, line))) {
                char word[ACCESS_MEMBER_MAX + 1];

                if (access_line_locked(line, &length))
                        continue;
                group = access_line_group(line, &length);
                if (!group)
                        break; /* they stand before the secrets */
                r = has_group(who, group, length);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                word[0] = '@';
                memcpy(word + 1, group, length);
                r = find_member(table, word, length + 1, lines);
                if (r < 0)
                        return r;
        }
        return 0;
}

bool entitlement_needs_groups(const struct access_table *table) {
        const char *line = NULL;
        size_t length;

        while ((line = access_table_next(table, line)))
                if (!access_line_locked(line, &length))
                        return access_line_group(line, &length);
        return false;
}

int entitlement_each_or_locked(const struct access_table *table, const struct membership *who,
                               int (*each)(const struct access_secret *secret, bool locked, void *userdata), void *userdata) {
        _cleanup_(lines_clear) struct lines lines = { .n = 0 };
        bool user_locked;
        int r, error;

        if (!who->known || strlen(who->name) > ACCESS_MEMBER_MAX)
                return 0;
        user_locked = entitlement_locked(table, who->name);
        r = find_member(table, who->name, strlen(who->name), &lines);
        if (r < 0)
                return r;
        error = find_groups(table, who, &lines);
        if (error == -EBADMSG || error == -ENOMEM)
                return error;
        if (lines.n > 0)
                qsort(lines.items, lines.n, sizeof(*lines.items), compare_lines);
        for (size_t i = 0; i < lines.n; i++) {
                struct access_secret secret;

                if (i > 0 && lines.items[i] == lines.items[i - 1])
                        continue; /* named as a user and by a group */
                r = access_secret_parse(lines.items[i], &secret);
                if (r >= 0)
                        r = each(&secret, user_locked || secret.reads == ACCESS_LOCKED, userdata);
                if (r < 0)
                        return r;
        }
        return error;
}

struct visit {
        int (*each)(const struct access_secret *secret, void *userdata);
        void *userdata;
};

static int visit(const struct access_secret *secret, bool locked, void *userdata) {
        const struct visit *v = userdata;

        return locked ? 0 : v->each(secret, v->userdata);
}

int entitlement_each(const struct access_table *table, const struct membership *who,
                     int (*each)(const struct access_secret *secret, void *userdata), void *userdata) {
        struct visit v = { .each = each, .userdata = userdata };

        if (entitlement_locked(table, who->name))
                return 0; /* and nobody need be asked */
        return entitlement_each_or_locked(table, who, visit, &v);
}
