/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads the access table for the PAM module: opens it distrustfully, takes it whole or not at all, and finds
 * one secret's users and groups in it. Runs inside other people's login programs: libc only, no globals.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "access-table.h"
#include "paths.h"

#define TABLE_NAME (&PATH_ACCESS[sizeof(PATH_RUN)]) /* "access", within PATH_RUN */
#define SECRET_NAME_MAX 64

static bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* The text up to the separator, and *rest behind it; NULL where there is no more. strsep(3) for one
 * separator, several times as fast. */
static char *cut(char **rest, char separator) {
        char *text = *rest, *end;

        if (!text)
                return NULL;
        end = strchr(text, separator);
        if (end)
                *end++ = '\0';
        *rest = end;
        return text;
}

/* Byte by byte: strspn() with its table of characters would be the slowest part of a login. */
bool access_secret_valid(const char *name) {
        size_t n = 0;

        for (; name[n] != '\0'; n++) {
                char c = name[n];

                if ((c < 'a' || c > 'z') && (c < '0' || c > '9') &&
                    (n == 0 || (c != '_' && c != '.' && c != '-')))
                        return false;
                if (n == SECRET_NAME_MAX || (c == '.' && name[n - 1] == '.'))
                        return false;
        }
        return n > 0;
}

void access_table_free(struct access_table *table) {
        if (!table)
                return;
        free(table->text);
        free(table);
}

static int open_folder(const char **ret_reason) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = open(PATH_RUN, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != 0 || (st.st_mode & 0022) != 0) {
                *ret_reason = "others than root can write to the folder";
                return -EPERM;
        }
        return TAKE_FD(fd);
}

/* Never waits, whatever lies there (O_NONBLOCK: a FIFO); decides by what was opened, not by the path. */
static int open_table(size_t *ret_size, const char **ret_reason) {
        _cleanup_close_ int folder = -EBADF, fd = -EBADF;
        struct stat st;

        folder = open_folder(ret_reason);
        if (folder < 0)
                return folder;

        fd = openat(folder, TABLE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (st.st_mode & 07777) != 0600 || st.st_uid != 0 || st.st_nlink != 1) {
                *ret_reason = "not a regular file with one link that is root's and has mode 0600";
                return -EPERM;
        }
        if (st.st_size > ACCESS_TABLE_MAX) {
                *ret_reason = "over 1 MiB";
                return -EFBIG;
        }
        *ret_size = (size_t) st.st_size;
        return TAKE_FD(fd);
}

/* Reads size bytes and the end of the file right after them. */
static int read_whole(int fd, size_t size, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t have = 0;

        text = malloc(size + 1);
        if (!text)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(fd, text + have, size + 1 - have);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                have += (size_t) n;
                if (have > size)
                        return -EBADMSG;
        }
        if (have != size)
                return -EBADMSG;
        text[size] = '\0';
        *ret = TAKE_PTR(text);
        return 0;
}

/* Cuts "ENV/NAME" and returns NAME, or NULL. */
static const char *parse_secret(char *field) {
        char *name = field;
        const char *environment;

        if (!field)
                return NULL;
        environment = cut(&name, '/');
        return name && access_secret_valid(environment) && access_secret_valid(name) ? name : NULL;
}

/* Cuts "secret ENV/NAME USE USER... @GROUP..." at its blanks. */
static int parse_line(char *line, const char **ret_name, struct access_names *ret_users,
                      struct access_names *ret_groups) {
        struct access_names users = { .n = 0 }, groups = { .n = 0 };
        const char *name, *field;

        field = cut(&line, ' ');
        if (!streq(field, "secret"))
                return -EBADMSG;
        name = parse_secret(cut(&line, ' '));
        if (!name)
                return -EBADMSG;
        field = cut(&line, ' ');
        if (!field || (!streq(field, "sign") && !streq(field, "verify")))
                return -EBADMSG;

        while ((field = cut(&line, ' '))) {
                struct access_names *names = field[0] == '@' ? &groups : &users;

                if (!access_member_valid(names == &groups ? field + 1 : field))
                        return -EBADMSG;
                if (names == &users && groups.n > 0)
                        return -EBADMSG;
                if (names->n++ == 0)
                        names->first = field;
        }
        if (users.n + groups.n == 0)
                return -EBADMSG;

        *ret_name = name;
        *ret_users = users;
        *ret_groups = groups;
        return 0;
}

/* Goes through to the end also where the secret was found, and where it cannot be found any more. */
static int parse(struct access_table *table, size_t size, const char *secret) {
        const char *previous = "", *name;
        char *rest = table->text, *line;

        if (memchr(table->text, '\0', size))
                return -EBADMSG;
        line = cut(&rest, '\n');
        if (!streq(line, ACCESS_TABLE_FIRST))
                return -EBADMSG;

        while ((line = cut(&rest, '\n')) && !streq(line, ACCESS_TABLE_LAST)) {
                struct access_names users, groups;
                int r;

                r = parse_line(line, &name, &users, &groups);
                if (r < 0)
                        return r;
                if (strcmp(previous, name) >= 0)
                        return -EBADMSG;
                previous = name;

                if (groups.n > table->widest.n)
                        table->widest = groups;
                if (streq(name, secret)) {
                        table->has_secret = true;
                        table->users = users;
                        table->groups = groups;
                }
        }
        /* The last line has its newline, and nothing comes after it. */
        return line && rest && *rest == '\0' ? 0 : -EBADMSG;
}

int access_table_read(const char *secret, struct access_table **ret, const char **ret_reason) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t size = 0;
        int r;

        *ret_reason = NULL;
        fd = open_table(&size, ret_reason);
        if (fd < 0)
                return fd;

        table = calloc(1, sizeof(*table));
        if (!table)
                return -ENOMEM;
        r = read_whole(fd, size, &table->text);
        if (r == 0)
                r = parse(table, size, secret);
        if (r == -EBADMSG)
                *ret_reason = "torn, or not an access table of this version of keyrota";
        if (r < 0)
                return r;

        *ret = TAKE_PTR(table);
        return 0;
}
