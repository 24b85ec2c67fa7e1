/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The made-up world around the module; see wrap.h. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <security/pam_modules.h>
#include <security/pam_ext.h>

#include "cleanup.h"
#include "wrap.h"

struct wrap wrap;

static const struct {
        const char *asked, *name;
        gid_t gid;
} accounts[] = {
        { "alice", "alice", 1001 },
        { "ALICE", "alice", 1001 },
        { "bob", "bob", 2000 },
        { "carol", "carol", 1003 },
        { "mallory", "mallory", 1004 },
};

static const struct {
        const char *name;
        gid_t gid;
} groups[] = {
        { "ops", 2000 },
        { "audit", 2001 },
        { "staff", 2002 },
};

static bool armed;
static unsigned n_reads;
static const char *asked_user;
static char scratch[64];

int __real_open(const char *path, int flags, ...);
int __real_openat(int fd, const char *path, int flags, ...);
int __real_fstat(int fd, struct stat *st);
ssize_t __real_read(int fd, void *buffer, size_t size);
int __real_close(int fd);
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);

int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_fstat(int fd, struct stat *st);
ssize_t __wrap_read(int fd, void *buffer, size_t size);
ssize_t __wrap___read_chk(int fd, void *buffer, size_t size, size_t room);
int __wrap_close(int fd);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __wrap_getpwnam_r(const char *name, struct passwd *ret, char *buffer, size_t size,
                      struct passwd **ret_found);
int __wrap_getgrnam_r(const char *name, struct group *ret, char *buffer, size_t size,
                      struct group **ret_found);
int __wrap_getgrouplist(const char *user, gid_t gid, gid_t *ret, int *n);
int __wrap_pam_get_item(const pam_handle_t *pamh, int type, const void **ret);
void __wrap_pam_syslog(const pam_handle_t *pamh, int priority, const char *format, ...) _printf_(3, 4);

static void append(char *buffer, size_t size, const char *name) {
        size_t length = strlen(buffer);

        (void) snprintf(buffer + length, size - length, "%s ", name);
}

/* Counts this call, and says whether it is to fail. */
static bool fails(const char *call) {
        if (!armed)
                return false;
        wrap.n_calls++;
        append(wrap.trace, sizeof(wrap.trace), call);
        if (wrap.n_calls != wrap.fail_at[0] && wrap.n_calls != wrap.fail_at[1] &&
            (wrap.fail_from == 0 || wrap.n_calls < wrap.fail_from))
                return false;
        append(wrap.failed, sizeof(wrap.failed), call);
        errno = wrap.fail_errno;
        return true;
}

int __wrap_open(const char *path, int flags, ...) {
        return fails("open") ? -1 : __real_open(path, flags);
}

int __wrap_openat(int fd, const char *path, int flags, ...) {
        return fails("openat") ? -1 : __real_openat(fd, path, flags);
}

int __wrap_fstat(int fd, struct stat *st) {
        int r;

        if (fails("fstat"))
                return -1;
        r = __real_fstat(fd, st);
        if (r == 0 && armed && S_ISREG(st->st_mode))
                st->st_size += wrap.size_lie;
        return r;
}

ssize_t __wrap_read(int fd, void *buffer, size_t size) {
        if (fails("read"))
                return -1;
        if (armed && wrap.interrupt && n_reads++ % 2 == 0) {
                errno = EINTR;
                return -1;
        }
        if (armed && wrap.read_max > 0 && size > wrap.read_max)
                size = wrap.read_max;
        return __real_read(fd, buffer, size);
}

ssize_t __wrap___read_chk(int fd, void *buffer, size_t size, size_t room) {
        if (size > room)
                abort();
        return __wrap_read(fd, buffer, size);
}

int __wrap_close(int fd) {
        bool failed = fails("close");
        int r = __real_close(fd);

        if (!failed)
                return r;
        errno = wrap.fail_errno;
        return -1;
}

void *__wrap_malloc(size_t size) {
        return fails("malloc") ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
        return fails("calloc") ? NULL : __real_calloc(n, size);
}

int __wrap_getpwnam_r(const char *name, struct passwd *ret, char *buffer, size_t size,
                      struct passwd **ret_found) {
        *ret_found = NULL;
        if (fails("getpwnam_r"))
                return wrap.fail_errno;
        if (size < wrap.record_size)
                return ERANGE;
        for (size_t i = 0; i < ELEMENTSOF(accounts); i++)
                if (strcmp(accounts[i].asked, name) == 0) {
                        strcpy(buffer, accounts[i].name);
                        *ret = (struct passwd){ .pw_name = buffer,
                                                .pw_uid = 1001 + (uid_t) i,
                                                .pw_gid = accounts[i].gid };
                        *ret_found = ret;
                }
        return 0;
}

int __wrap_getgrnam_r(const char *name, struct group *ret, char *buffer, size_t size,
                      struct group **ret_found) {
        *ret_found = NULL;
        if (fails("getgrnam_r"))
                return wrap.fail_errno;
        if (size < wrap.record_size)
                return ERANGE;
        for (size_t i = 0; i < ELEMENTSOF(groups); i++)
                if (strcmp(groups[i].name, name) == 0) {
                        strcpy(buffer, name);
                        *ret = (struct group) { .gr_name = buffer, .gr_gid = groups[i].gid };
                        *ret_found = ret;
                }
        return 0;
}

int __wrap_getgrouplist(const char *user, gid_t gid, gid_t *ret, int *n) {
        if (fails("getgrouplist"))
                return -1;
        if (*n < 2)
                abort();
        ret[0] = gid;
        ret[1] = 2000;
        *n = strcmp(user, "carol") == 0 || strcmp(user, "ghost") == 0 ? 2 : 1;
        if (wrap.n_groups != 0)
                *n = wrap.n_groups;
        return *n;
}

int __wrap_pam_get_item(_unused_ const pam_handle_t *pamh, int type, const void **ret) {
        if (fails("pam_get_item") || type != PAM_USER)
                return PAM_SYSTEM_ERR;
        *ret = wrap.no_user ? NULL : asked_user;
        return PAM_SUCCESS;
}

void __wrap_pam_syslog(_unused_ const pam_handle_t *pamh, int priority, const char *format, ...) {
        size_t length = strlen(wrap.log);
        va_list ap;

        length += (size_t) snprintf(wrap.log + length, sizeof(wrap.log) - length, "%d ", priority);
        va_start(ap, format);
        if (length < sizeof(wrap.log))
                (void) vsnprintf(wrap.log + length, sizeof(wrap.log) - length, format, ap);
        va_end(ap);
        length = strlen(wrap.log);
        (void) snprintf(wrap.log + length, sizeof(wrap.log) - length, "\n");
}

static void remove_scratch(void) {
        (void) unlink(WRAP_TABLE);
        (void) rmdir("run");
        (void) rmdir(scratch);
}

void wrap_scratch(void) {
        const char *tmp = getenv("TMPDIR");

        (void) snprintf(scratch, sizeof(scratch), "%s/keyrota-pam-XXXXXX",
                        tmp && strlen(tmp) < 40 ? tmp : "/tmp");
        if (!mkdtemp(scratch) || chdir(scratch) < 0 || mkdir("run", 0755) < 0 ||
            atexit(remove_scratch) != 0) {
                perror(scratch);
                exit(99);
        }
}

void wrap_table(const void *text, size_t size) {
        int fd;

        fd = open(WRAP_TABLE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || fchmod(fd, 0600) < 0 || write(fd, text, size) != (ssize_t) size || close(fd) < 0) {
                perror(WRAP_TABLE);
                exit(99);
        }
}

int wrap_acct(const char *user, const char *const options[]) {
        int result, n = 0;

        while (options[n])
                n++;
        wrap.n_calls = 0;
        wrap.trace[0] = wrap.failed[0] = wrap.log[0] = '\0';
        n_reads = 0;
        asked_user = user;

        armed = true;
        /* libpam's interface is const argv of the module's own copies: (const char **) is its type. */
        result = pam_sm_acct_mgmt((pam_handle_t *) &wrap, 0, n, (const char **) options);
        armed = false;

        wrap.fail_at[0] = wrap.fail_at[1] = wrap.fail_from = 0;
        wrap.read_max = wrap.record_size = 0;
        wrap.interrupt = wrap.no_user = false;
        wrap.size_lie = wrap.n_groups = 0;
        return result;
}

int wrap_secret(const char *user, const char *secret) {
        char option[512];

        (void) snprintf(option, sizeof(option), "secret=%s", secret);
        return wrap_acct(user, (const char *const[]) { option, NULL });
}
