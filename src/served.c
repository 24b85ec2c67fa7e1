/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which generation of a secret which start of a unit was given: UNIT/CREDENTIAL below PATH_SERVED, one line
 * "SECRET INVOCATION FIRST LAST". INVOCATION is "-" where it was not known. Calls libc only.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "served.h"

#define LOWER_CASE "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define ALPHANUMERICAL "ABCDEFGHIJKLMNOPQRSTUVWXYZ" LOWER_CASE DIGITS
#define UNIT_ALPHABET ALPHANUMERICAL ":_.\\@-"
#define CREDENTIAL_ALPHABET ALPHANUMERICAL "_.-"
#define SECRET_ALPHABET LOWER_CASE DIGITS "_.-"

#define INVOCATION_SIZE 32
#define UNKNOWN "-"
#define LINE_MAX_SIZE (SERVED_SECRET_MAX + INVOCATION_SIZE + 2 * sizeof(" 18446744073709551615") + 2)
#define TEMPORARY '#' /* begins the name of a record in the making; in no name's alphabet */
#define TRIES 100

/* ---- names, each of which becomes part of a path ----------------------------------------------------- */

static bool only_of(const char *text, size_t n, const char *alphabet) {
        return n > 0 && strspn(text, alphabet) >= n;
}

static bool unit_valid(const char *unit) {
        static const char suffix[] = ".service";
        size_t n = strlen(unit);

        return n <= NAME_MAX && n >= sizeof(suffix) && strcmp(unit + n - (sizeof(suffix) - 1), suffix) == 0 &&
                only_of(unit, n, UNIT_ALPHABET) && unit[n - sizeof(suffix)] != '@' && unit[0] != '@';
}

static bool name_valid(const char *name, size_t n, const char *alphabet) {
        return only_of(name, n, alphabet) && !(name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')));
}

static bool credential_valid(const char *credential) {
        size_t n = strlen(credential);

        if (n >= NAME_MAX) /* the temporary name is longer by one */
                return false;
        if (strncmp(credential, SERVED_PUBLIC_PREFIX, strlen(SERVED_PUBLIC_PREFIX)) == 0)
                return name_valid(credential + strlen(SERVED_PUBLIC_PREFIX), n - strlen(SERVED_PUBLIC_PREFIX),
                                  SECRET_ALPHABET);
        return name_valid(credential, n, CREDENTIAL_ALPHABET);
}

static bool secret_valid(const char *secret, size_t n) {
        const char *slash = memchr(secret, '/', n);

        return slash && n < SERVED_SECRET_MAX && name_valid(secret, (size_t) (slash - secret), SECRET_ALPHABET) &&
                name_valid(slash + 1, n - (size_t) (slash + 1 - secret), SECRET_ALPHABET);
}

static bool invocation_valid(const char *invocation, size_t n) {
        return n == INVOCATION_SIZE && only_of(invocation, n, DIGITS "abcdef");
}

/* ---- the line ---------------------------------------------------------------------------------------- */

static size_t format_line(const struct served *served, char ret[static LINE_MAX_SIZE]) {
        return (size_t) snprintf(ret, LINE_MAX_SIZE, "%s %s %" PRIu64 " %" PRIu64 "\n", served->secret,
                                 *served->invocation ? served->invocation : UNKNOWN, served->first, served->last);
}

/* One word up to the byte end, which follows it; moves *line behind that. NULL: there is none. */
static const char *take_word(const char **line, char end, size_t *ret_size) {
        const char *word = *line, *stop = strchr(word, end);

        if (!stop)
                return NULL;
        *line = stop + 1;
        *ret_size = (size_t) (stop - word);
        return word;
}

static bool take_number(const char **line, char end, uint64_t *ret) {
        size_t n;
        const char *word = take_word(line, end, &n);
        uint64_t value = 0;

        if (!word || !only_of(word, n, DIGITS) || (word[0] == '0' && n > 1))
                return false;
        for (size_t i = 0; i < n; i++)
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t) (word[i] - '0'), &value))
                        return false;
        *ret = value;
        return true;
}

static int parse_line(const char *line, struct served *ret) {
        struct served served = { 0 };
        const char *secret, *invocation;
        size_t n_secret, n_invocation;

        secret = take_word(&line, ' ', &n_secret);
        if (!secret || !secret_valid(secret, n_secret))
                return -EBADMSG;
        invocation = take_word(&line, ' ', &n_invocation);
        if (!invocation)
                return -EBADMSG;
        if (invocation_valid(invocation, n_invocation))
                memcpy(served.invocation, invocation, n_invocation);
        else if (n_invocation != strlen(UNKNOWN) || memcmp(invocation, UNKNOWN, n_invocation) != 0)
                return -EBADMSG;
        if (!take_number(&line, ' ', &served.first) || !take_number(&line, '\n', &served.last) || *line != '\0' ||
            served.first > served.last)
                return -EBADMSG;
        memcpy(served.secret, secret, n_secret);
        *ret = served;
        return 0;
}

/* ---- the file ---------------------------------------------------------------------------------------- */

static int open_unit(int folder, const char *unit) {
        int fd = openat(folder, unit, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int make_unit(int folder, const char *unit) {
        int fd = open_unit(folder, unit);

        if (fd != -ENOENT)
                return fd;
        if (mkdirat(folder, unit, 0700) < 0 && errno != EEXIST)
                return -errno;
        return open_unit(folder, unit);
}

/* With the invocation "" where it was not known. */
static int read_record(int unit_folder, const char *credential, struct served *ret) {
        _cleanup_close_ int fd = -EBADF;
        char line[LINE_MAX_SIZE + 1];
        struct stat status;
        ssize_t n;

        fd = openat(unit_folder, credential, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return errno == ELOOP ? -EBADMSG : -errno;
        if (fstat(fd, &status) < 0)
                return -errno;
        if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) != 0)
                return -EBADMSG;
        n = read(fd, line, sizeof(line) - 1);
        if (n < 0)
                return -errno;
        line[n] = '\0';
        if (strlen(line) != (size_t) n)
                return -EBADMSG;
        return parse_line(line, ret);
}

static int open_temporary(int unit_folder, const char *name) {
        const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
        int fd = openat(unit_folder, name, flags, 0600);

        if (fd < 0 && errno == EEXIST) { /* of a writer that was killed: each record has but one */
                if (unlinkat(unit_folder, name, 0) < 0)
                        return -errno;
                fd = openat(unit_folder, name, flags, 0600);
        }
        return fd < 0 ? -errno : fd;
}

/* A file system takes as much as it has room for. */
static int write_line(int fd, const char *line, size_t size) {
        ssize_t n = write(fd, line, size);

        if (n < 0)
                return -errno;
        return (size_t) n == size ? 0 : -ENOSPC;
}

static int replace_record(int unit_folder, const char *credential, const struct served *served) {
        char temporary[NAME_MAX + 1], line[LINE_MAX_SIZE];
        _cleanup_close_ int fd = -EBADF;
        int r;

        (void) snprintf(temporary, sizeof(temporary), "%c%s", TEMPORARY, credential);
        fd = open_temporary(unit_folder, temporary);
        if (fd < 0)
                return fd;
        r = write_line(fd, line, format_line(served, line));
        if (r >= 0 && renameat(unit_folder, temporary, unit_folder, credential) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(unit_folder, temporary, 0);
        return r;
}

/* An invocation that is not known may be the one on record or another. Whichever it is, it was not given
 * anything older than the smaller of both generations. */
static bool goes_on(const struct served *old, const struct served *served) {
        return strcmp(old->secret, served->secret) == 0 &&
                (!*old->invocation || !*served->invocation || strcmp(old->invocation, served->invocation) == 0);
}

static bool is_same(const struct served *a, const struct served *b) {
        return strcmp(a->secret, b->secret) == 0 && strcmp(a->invocation, b->invocation) == 0 && a->first == b->first &&
                a->last == b->last;
}

int served_write(int folder, const char *unit, const char *credential, const char *secret, const char *invocation,
                 uint64_t generation) {
        struct served served = { .first = generation, .last = generation }, old;
        int r = -ENOENT;

        if (!unit_valid(unit) || !credential_valid(credential) || !secret_valid(secret, strlen(secret)) ||
            (*invocation && !invocation_valid(invocation, strlen(invocation))))
                return -EINVAL;
        strcpy(served.secret, secret);
        strcpy(served.invocation, invocation);

        /* Again when a sweep has taken the unit's empty folder away meanwhile. */
        for (unsigned try = 0; r == -ENOENT && try < TRIES; try++) {
                _cleanup_close_ int unit_folder = make_unit(folder, unit);

                r = unit_folder;
                if (r < 0)
                        continue;
                r = read_record(unit_folder, credential, &old);
                if (r < 0 && r != -ENOENT && r != -EBADMSG)
                        return r;
                if (r >= 0 && goes_on(&old, &served) && old.first < served.first)
                        served.first = old.first;
                if (r >= 0 && is_same(&old, &served))
                        return 0;
                r = replace_record(unit_folder, credential, &served);
        }
        return r;
}

int served_read(int folder, const char *unit, const char *credential, struct served *ret) {
        _cleanup_close_ int unit_folder = -EBADF;
        struct served served;
        int r;

        if (!unit_valid(unit) || !credential_valid(credential))
                return -EINVAL;
        unit_folder = open_unit(folder, unit);
        if (unit_folder < 0)
                return unit_folder == -ENOTDIR || unit_folder == -ELOOP ? -EBADMSG : unit_folder;
        r = read_record(unit_folder, credential, &served);
        if (r < 0)
                return r;
        if (!*served.invocation)
                return -ENOENT;
        *ret = served;
        return 0;
}

/* ---- sweeping ---------------------------------------------------------------------------------------- */

/* Takes the descriptor over. NULL and errno. */
static DIR *list(int fd) {
        DIR *entries = fd < 0 ? NULL : fdopendir(fd);

        if (!entries && fd >= 0) {
                int error = errno;

                (void) close(fd);
                errno = error;
        }
        return entries;
}

static void closedirp(DIR **entries) {
        if (*entries)
                (void) closedir(*entries);
}

/* Records, and what writers that were killed have left of them. Names of another form are nobody's here. */
static int sweep_unit(int folder, const char *unit, bool (*wanted)(const char *, const char *, void *), void *userdata) {
        _cleanup_(closedirp) DIR *entries = NULL;
        const struct dirent *entry;
        int fd, r = 0;

        fd = open_unit(folder, unit);
        if (fd < 0)
                return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
        entries = list(fd);
        if (!entries)
                return -errno;
        while (errno = 0, (entry = readdir(entries))) {
                const char *credential = entry->d_name + (entry->d_name[0] == TEMPORARY);

                if (!credential_valid(credential) || wanted(unit, credential, userdata))
                        continue;
                if (unlinkat(dirfd(entries), entry->d_name, 0) < 0 && errno != ENOENT && r == 0)
                        r = -errno;
        }
        if (errno != 0 && r == 0)
                r = -errno;
        if (unlinkat(folder, unit, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST &&
            r == 0)
                r = -errno;
        return r;
}

int served_sweep(int folder, bool (*wanted)(const char *unit, const char *credential, void *userdata),
                 void *userdata) {
        _cleanup_(closedirp) DIR *entries = NULL;
        const struct dirent *entry;
        int r = 0;

        /* a descriptor with a position of its own, so that the folder can be listed again */
        entries = list(openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!entries)
                return -errno;
        while (errno = 0, (entry = readdir(entries))) {
                int k = unit_valid(entry->d_name) ? sweep_unit(folder, entry->d_name, wanted, userdata) : 0;

                if (k < 0 && r == 0)
                        r = k;
        }
        return errno != 0 && r == 0 ? -errno : r;
}
