/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writer and strict reader of what is locked. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "access-file.h"
#include "locks.h"
#include "paths.h"
#include "policy.h"
#include "reason.h"

#define FILE_MAX (1024 * 1024) /* bytes */

const char *lock_kind_to_string(enum lock_kind kind) {
        return kind == LOCK_SECRET ? "secret" : "user";
}

void locks_clear(struct locks *locks) {
        for (size_t i = 0; i < locks->n; i++)
                free(locks->items[i].name);
        free(locks->items);
        *locks = (struct locks){ .n = 0 };
}

static int compare(const struct lock_entry *entry, enum lock_kind kind, const char *name) {
        return entry->kind != kind ? (int) entry->kind - (int) kind : strcmp(entry->name, name);
}

/* Where the entry stands, or would. */
static size_t position(const struct locks *locks, enum lock_kind kind, const char *name) {
        size_t i = 0;

        while (i < locks->n && compare(&locks->items[i], kind, name) < 0)
                i++;
        return i;
}

static bool stands_at(const struct locks *locks, size_t i, enum lock_kind kind, const char *name) {
        return i < locks->n && compare(&locks->items[i], kind, name) == 0;
}

bool locks_has(const struct locks *locks, enum lock_kind kind, const char *name) {
        return (kind == LOCK_SECRET && locks->everything) || stands_at(locks, position(locks, kind, name), kind, name);
}

int locks_add(struct locks *locks, enum lock_kind kind, const char *name) {
        size_t i = position(locks, kind, name);
        struct lock_entry *grown;
        char *copy;

        if (stands_at(locks, i, kind, name))
                return 0;
        grown = reallocarray(locks->items, locks->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        locks->items = grown;
        copy = strdup(name);
        if (!copy)
                return -ENOMEM;
        memmove(grown + i + 1, grown + i, (locks->n - i) * sizeof(*grown));
        grown[i] = (struct lock_entry){ kind, copy };
        locks->n++;
        return 1;
}

int locks_remove(struct locks *locks, enum lock_kind kind, const char *name) {
        size_t i = position(locks, kind, name);

        if (!stands_at(locks, i, kind, name))
                return 0;
        free(locks->items[i].name);
        locks->n--;
        memmove(locks->items + i, locks->items + i + 1, (locks->n - i) * sizeof(*locks->items));
        return 1;
}

/* One line without its end, after those that locks has. */
static int parse_line(struct locks *locks, const char *line) {
        enum lock_kind kind = strncmp(line, "secret ", 7) == 0 ? LOCK_SECRET : LOCK_USER;
        const char *name = line + strlen(lock_kind_to_string(kind)) + 1;

        if (kind == LOCK_USER && strncmp(line, "user ", 5) != 0)
                return -EBADMSG;
        if (kind == LOCK_SECRET ? !policy_name_valid(name) : !access_member_valid(name, strlen(name)))
                return -EBADMSG;
        if (position(locks, kind, name) < locks->n)
                return -EBADMSG; /* not ascending, or twice */
        return locks_add(locks, kind, name);
}

static int parse(struct locks *locks, char *text, size_t size, char **ret_reason) {
        if (memchr(text, '\0', size) || (size > 0 && text[size - 1] != '\n'))
                return reason_set(-EBADMSG, ret_reason, PATH_LOCKED ": torn, or no text");
        for (unsigned n = 1; *text; n++) {
                char *line = strsep(&text, "\n");
                int r = parse_line(locks, line);

                if (r == -EBADMSG)
                        return reason_set(r, ret_reason, PATH_LOCKED ":%u: not \"secret NAME\" or \"user NAME\" in ascending order, each once", n);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What is replaced by another after it was opened has no link any more: it is what was locked just now. */
static int open_file(const struct tree *tree, char **ret_reason) {
        _cleanup_close_ int fd = tree_open_path(tree, PATH_LOCKED, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        struct stat st;

        if (fd == -ENOENT)
                return fd;
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open " PATH_LOCKED ": %s", strerror(-fd));
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 07022) != 0 || st.st_nlink > 1)
                return reason_set(-EPERM, ret_reason, PATH_LOCKED ": not a regular file with one link that is root's and that nobody else can write to");
        return TAKE_FD(fd);
}

static int load(const struct tree *tree, struct locks *locks, char **ret_reason) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t size;
        int r;

        fd = open_file(tree, ret_reason);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        r = tree_read_fd(fd, FILE_MAX, &text, &size);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot read " PATH_LOCKED ": %s", strerror(-r));
        return parse(locks, text, size, ret_reason);
}

int locks_load(const struct tree *tree, struct locks *ret, char **ret_reason) {
        struct locks locks = { .n = 0 };
        int r;

        r = load(tree, &locks, ret_reason);
        if (r < 0) {
                locks_clear(&locks);
                locks.everything = true;
        }
        *ret = locks;
        return r < 0 ? r : 0;
}

int locks_save(const struct tree *tree, const struct locks *locks) {
        _cleanup_close_ int folder = -EBADF;
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *stream;

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        for (size_t i = 0; i < locks->n; i++)
                (void) fprintf(stream, "%s %s\n", lock_kind_to_string(locks->items[i].kind), locks->items[i].name);
        if (fclose(stream) != 0)
                return -ENOMEM;
        folder = tree_make_directory(tree, PATH_STATE, 0700);
        if (folder < 0)
                return folder;
        return tree_replace_file(tree, PATH_LOCKED, text, size, 0600, true);
}

int locks_users(const struct locks *locks, const char ***ret, size_t *ret_n) {
        const char **users = calloc(locks->n + 1, sizeof(*users));
        size_t n = 0;

        if (!users)
                return -ENOMEM;
        for (size_t i = 0; i < locks->n; i++)
                if (locks->items[i].kind == LOCK_USER)
                        users[n++] = locks->items[i].name;
        *ret = users;
        *ret_n = n;
        return 0;
}

/* Every secret of the table, to stay as it is but for its lock. The names are those of secrets. */
static int list_entries(const struct access_table *table, const struct locks *locks, struct access_secret **ret_secrets, struct access_entry **ret_entries,
                        size_t *ret_n) {
        _cleanup_free_ struct access_secret *secrets = NULL;
        _cleanup_free_ struct access_entry *entries = NULL;
        const char *line = NULL;
        size_t n_lines = 0, n = 0;

        while ((line = access_table_next(table, line)))
                n_lines++;
        secrets = calloc(n_lines + 1, sizeof(*secrets));
        entries = calloc(n_lines + 1, sizeof(*entries));
        if (!secrets || !entries)
                return -ENOMEM;
        while ((line = access_table_next(table, line))) {
                if (access_secret_parse(line, &secrets[n]) < 0)
                        continue;
                entries[n] = (struct access_entry){ .name = secrets[n].name, .locked = locks_has(locks, LOCK_SECRET, secrets[n].name) };
                n++;
        }
        *ret_secrets = TAKE_PTR(secrets);
        *ret_entries = TAKE_PTR(entries);
        *ret_n = n;
        return 0;
}

int locks_apply(const struct tree *tree, const struct locks *locks) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_free_ struct access_secret *secrets = NULL;
        _cleanup_free_ struct access_entry *entries = NULL;
        struct access_content content = { .ring = 0 };
        _cleanup_free_ const char **users = NULL;
        int r;

        r = access_file_read(tree, &table);
        if (r >= 0)
                r = list_entries(table, locks, &secrets, &entries, &content.n_entries);
        if (r >= 0)
                r = locks_users(locks, &users, &content.n_locked);
        if (r < 0)
                return r;
        content.ring = table->ring;
        content.before = table;
        content.entries = entries;
        content.locked = users;
        return access_file_write(tree, &content);
}
