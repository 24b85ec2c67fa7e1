/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads the access table: opens it distrustfully, takes it whole, and parses line by line what is asked for. Runs inside other people's login
 * programs: libc only, no variables.
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
#define ATTEMPTS_MAX 10 /* while runs replace the table */
#define RING "ring "
#define SECRET "secret "
#define LOCKED "locked "
#define GROUP "group "

/* Byte by byte: strspn() with its table of characters would be the slowest part of a login. */
static bool name_valid(const char *name, size_t length) {
        for (size_t n = 0; n < length; n++) {
                char c = name[n];

                if ((c < 'a' || c > 'z') && (c < '0' || c > '9') &&
                    (n == 0 || (c != '_' && c != '.' && c != '-')))
                        return false;
                if (n == ACCESS_NAME_MAX || (c == '.' && name[n - 1] == '.'))
                        return false;
        }
        return length > 0;
}

bool access_secret_valid(const char *name) {
        return name_valid(name, strlen(name));
}

void access_table_free(struct access_table *table) {
        if (!table)
                return;
        free(table->text);
        free(table);
}

static int open_folder(uint64_t ret_identity[static 2], const char **ret_reason) {
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
        ret_identity[0] = st.st_dev;
        ret_identity[1] = st.st_ino;
        return TAKE_FD(fd);
}

/* Never waits, whatever lies there (O_NONBLOCK: a FIFO). What is replaced between the two calls has no link any more: then its successor is opened. */
static int open_newest(int folder, struct stat *ret_status) {
        for (unsigned attempt = 0;; attempt++) {
                _cleanup_close_ int fd = openat(folder, TABLE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

                if (fd < 0)
                        return -errno;
                if (fstat(fd, ret_status) < 0)
                        return -errno;
                if (ret_status->st_nlink > 0 || attempt + 1 >= ATTEMPTS_MAX)
                        return TAKE_FD(fd);
        }
}

/* Decides by what was opened, not by the path. */
static int open_table(uint64_t ret_folder[static 2], struct stat *ret_status, const char **ret_reason) {
        _cleanup_close_ int folder = -EBADF, fd = -EBADF;
        struct stat st;

        folder = open_folder(ret_folder, ret_reason);
        if (folder < 0)
                return folder;

        fd = open_newest(folder, &st);
        if (fd < 0)
                return fd;
        if (!S_ISREG(st.st_mode) || (st.st_mode & 07777) != 0600 || st.st_uid != 0 || st.st_nlink != 1) {
                *ret_reason = "not a regular file with one link that is root's and has mode 0600";
                return -EPERM;
        }
        if (st.st_size > ACCESS_TABLE_MAX) {
                *ret_reason = "over 1 MiB";
                return -EFBIG;
        }
        *ret_status = st;
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

/* The words up to one blank, or to the end of the line; *p behind that blank, or at the newline. */
static const char *take_word(const char **p, size_t *ret_length) {
        const char *word = *p;
        size_t n = 0;

        while (word[n] != ' ' && word[n] != '\n' && word[n] != '\0')
                n++;
        if (n == 0 || word[n] == '\0' || (word[n] == ' ' && word[n + 1] == '\n'))
                return NULL;
        *p = word + n + (word[n] == ' ');
        *ret_length = n;
        return word;
}

/* A decimal number as "%llu" writes it. */
static bool parse_number(const char *word, size_t length, uint64_t max, uint64_t *ret) {
        uint64_t value = 0;

        if (length == 0 || (word[0] == '0' && length > 1))
                return false;
        for (size_t i = 0; i < length; i++) {
                unsigned digit = (unsigned char) word[i] - '0';

                if (digit > 9 || value > (max - digit) / 10)
                        return false;
                value = value * 10 + digit;
        }
        *ret = value;
        return true;
}

static bool take_number(const char **p, uint64_t max, uint64_t *ret) {
        size_t length;
        const char *word = take_word(p, &length);

        return word && parse_number(word, length, max, ret);
}

static bool word_is(const char *word, size_t length, const char *text) {
        return strlen(text) == length && memcmp(word, text, length) == 0;
}

/* "ENV/NAME" */
static bool take_names(const char **p, struct access_secret *ret) {
        size_t length, n;
        const char *word = take_word(p, &length), *slash = word ? memchr(word, '/', length) : NULL;

        if (!slash)
                return false;
        n = (size_t) (slash - word);
        if (!name_valid(word, n) || !name_valid(slash + 1, length - n - 1))
                return false;
        memcpy(ret->environment, word, n);
        ret->environment[n] = '\0';
        memcpy(ret->name, slash + 1, length - n - 1);
        ret->name[length - n - 1] = '\0';
        return true;
}

static bool take_use(const char **p, struct access_secret *ret) {
        size_t length;
        const char *word = take_word(p, &length);

        if (!word || (!word_is(word, length, "sign") && !word_is(word, length, "verify")))
                return false;
        ret->sign = word_is(word, length, "sign");
        return true;
}

static bool take_reads(const char **p, struct access_secret *ret) {
        size_t length;
        const char *word = take_word(p, &length);

        if (!word)
                return false;
        if (word_is(word, length, "session") || word_is(word, length, "locked"))
                ret->unlocked = ACCESS_SESSION;
        else if (word_is(word, length, "recorded") || word_is(word, length, "locked-recorded"))
                ret->unlocked = ACCESS_RECORDED;
        else
                return false;
        ret->reads = word[0] == 'l' ? ACCESS_LOCKED : ret->unlocked;
        return true;
}

static bool take_members(const char *p, struct access_secret *ret) {
        const char *word;
        size_t length;

        ret->members = p;
        ret->n_users = ret->n_groups = 0;
        while (*p != '\n') {
                bool is_group;

                word = take_word(&p, &length);
                if (!word)
                        return false;
                is_group = word[0] == '@';
                if (!access_member_valid(word + is_group, length - is_group) || (!is_group && ret->n_groups > 0))
                        return false;
                if (is_group)
                        ret->n_groups++;
                else
                        ret->n_users++;
        }
        ret->members_size = (size_t) (p - ret->members);
        return ret->n_users + ret->n_groups > 0;
}

int access_secret_parse(const char *line, struct access_secret *ret) {
        const char *p = line + strlen(SECRET);
        uint64_t until = 0;

        if (strncmp(line, SECRET, strlen(SECRET)) != 0 || !take_names(&p, ret) || !take_number(&p, UINT64_MAX, &ret->generation) ||
            !take_number(&p, INT64_MAX, &until) || !take_use(&p, ret) || !take_reads(&p, ret) || !take_members(p, ret))
                return -EBADMSG;
        ret->until = (int64_t) until;
        return 0;
}

static const char *named_line(const char *line, const char *word, size_t *ret_length) {
        const char *p = line + strlen(word), *name;

        if (strncmp(line, word, strlen(word)) != 0)
                return NULL;
        name = take_word(&p, ret_length);
        return name && *p == '\n' && p[-1] != ' ' && access_member_valid(name, *ret_length) ? name : NULL;
}

const char *access_line_locked(const char *line, size_t *ret_length) {
        return named_line(line, LOCKED, ret_length);
}

const char *access_line_group(const char *line, size_t *ret_length) {
        return named_line(line, GROUP, ret_length);
}

const char *access_member_next(const struct access_secret *secret, const char *member, size_t *length) {
        const char *next, *end, *blank;

        if (secret->members_size == 0)
                return NULL; /* of no line */
        next = member ? member + *length + 1 : secret->members;
        end = secret->members + secret->members_size;
        if (next >= end)
                return NULL;
        blank = memchr(next, ' ', (size_t) (end - next));
        *length = (size_t) ((blank ? blank : end) - next);
        return next;
}

/* "ring SERIAL", the second line; returns the third. */
static const char *parse_ring(const char *text, int32_t *ret) {
        const char *p = text + strlen(ACCESS_TABLE_FIRST) + 1;
        uint64_t ring;

        if (strncmp(p, RING, strlen(RING)) != 0)
                return NULL;
        p += strlen(RING);
        if (!take_number(&p, INT32_MAX, &ring) || *p != '\n')
                return NULL;
        *ret = (int32_t) ring;
        return p + 1;
}

static int check_ends(struct access_table *table) {
        static const char first[] = ACCESS_TABLE_FIRST "\n", last[] = "\n" ACCESS_TABLE_LAST "\n";

        if (table->size < strlen(first) + strlen(last) || memcmp(table->text, first, strlen(first)) != 0 ||
            memcmp(table->text + table->size - strlen(last), last, strlen(last)) != 0 || memchr(table->text, '\0', table->size))
                return -EBADMSG;
        return parse_ring(table->text, &table->ring) ? 0 : -EBADMSG;
}

const char *access_table_next(const struct access_table *table, const char *line) {
        const char *end = table->text + table->size - strlen(ACCESS_TABLE_LAST) - 1, *next;
        int32_t ring;

        next = line ? (const char *) rawmemchr(line, '\n') + 1 : parse_ring(table->text, &ring);
        return next < end ? next : NULL;
}

int access_table_parse(const char *text, size_t size, struct access_table **ret) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        int r;

        table = calloc(1, sizeof(*table));
        if (!table)
                return -ENOMEM;
        table->text = malloc(size + 1);
        if (!table->text)
                return -ENOMEM;
        memcpy(table->text, text, size);
        table->text[size] = '\0';
        table->size = size;
        r = check_ends(table);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(table);
        return 0;
}

int access_table_read(struct access_table **ret, const char **ret_reason) {
        _cleanup_(access_table_freep) struct access_table *table = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct stat st = { .st_size = 0 };
        int r;

        *ret_reason = NULL;
        table = calloc(1, sizeof(*table));
        if (!table)
                return -ENOMEM;
        fd = open_table(table->folder, &st, ret_reason);
        if (fd < 0)
                return fd;
        table->size = (size_t) st.st_size;
        table->device = st.st_dev;
        table->inode = st.st_ino;
        table->changed = st.st_ctim;
        r = read_whole(fd, table->size, &table->text);
        if (r == 0)
                r = check_ends(table);
        if (r == -EBADMSG)
                *ret_reason = "torn, or not an access table of this version of keyrota";
        if (r < 0)
                return r;

        *ret = TAKE_PTR(table);
        return 0;
}

bool access_table_is_current(const struct access_table *table) {
        struct stat st;

        return fstatat(AT_FDCWD, PATH_ACCESS, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == table->device && st.st_ino == table->inode &&
                st.st_ctim.tv_sec == table->changed.tv_sec && st.st_ctim.tv_nsec == table->changed.tv_nsec;
}
