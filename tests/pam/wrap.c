/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The made-up world around the module; see wrap.h. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <keyutils.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_modules.h>
#include <security/pam_ext.h>

#include "cleanup.h"
#include "wrap.h"

struct wrap wrap;

static const struct {
        const char *asked, *name;
        uid_t uid;
        gid_t gid;
} accounts[] = {
        { "alice", "alice", 1001, 1001 },
        { "ALICE", "alice", 1001, 1001 },
        { "bob", "bob", 1002, 2000 },
        { "carol", "carol", 1003, 1003 },
        { "mallory", "mallory", 1004, 1004 },
};

static const struct {
        const char *name;
        gid_t gid;
} groups[] = {
        { "ops", 2000 },
        { "audit", 2001 },
        { "staff", 2002 },
};

#define MISSING "run/audit/missing"

static bool armed;
static unsigned n_reads;
static const char *asked_user;
static char scratch[64];
static int proc = -EBADF; /* a descriptor below /proc that the module has open */
static int journal = -EBADF, stuffer = -EBADF;
static key_serial_t live;

/* Every key that the module has made. */
static key_serial_t *made;
static size_t n_made, n_made_before; /* in earlier transactions */

/* What pam_set_data() keeps. */
static struct {
        char *name;
        void *data;
        void (*cleanup)(pam_handle_t *pamh, void *data, int status);
} kept[8];

/* The real calls, and what stands in their place: WRAPPED(result, name, parameters) declares both. */
#define WRAPPED(type, name, ...)         \
        type __real_##name(__VA_ARGS__); \
        type __wrap_##name(__VA_ARGS__)

WRAPPED(int, open, const char *path, int flags, ...);
WRAPPED(int, openat, int fd, const char *path, int flags, ...);
WRAPPED(int, fstat, int fd, struct stat *st);
WRAPPED(int, fstatat, int fd, const char *path, struct stat *st, int flags);
WRAPPED(ssize_t, read, int fd, void *buffer, size_t size);
ssize_t __wrap___read_chk(int fd, void *buffer, size_t size, size_t room);
WRAPPED(ssize_t, write, int fd, const void *buffer, size_t size);
WRAPPED(int, mkdir, const char *path, mode_t mode);
WRAPPED(int, close, int fd);
WRAPPED(void *, malloc, size_t size);
WRAPPED(void *, calloc, size_t n, size_t size);
WRAPPED(void *, realloc, void *pointer, size_t size);
WRAPPED(void *, reallocarray, void *pointer, size_t n, size_t size);
WRAPPED(void *, mmap, void *address, size_t size, int protection, int flags, int fd, off_t offset);
WRAPPED(int, munmap, void *address, size_t size);
WRAPPED(int, mlock, const void *address, size_t size);
WRAPPED(int, madvise, void *address, size_t size, int advice);
WRAPPED(int, socket, int domain, int type, int protocol);
WRAPPED(int, connect, int fd, const struct sockaddr *address, socklen_t size);
WRAPPED(int, sendmmsg, int fd, struct mmsghdr *messages, unsigned n, int flags);
WRAPPED(int, poll, struct pollfd *fds, nfds_t n, int timeout);
int __wrap___poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
WRAPPED(int, clock_gettime, clockid_t clock, struct timespec *ret);
WRAPPED(uid_t, geteuid, void);
WRAPPED(key_serial_t, add_key, const char *type, const char *description, const void *payload, size_t size, key_serial_t ring);
WRAPPED(long, keyctl_clear, key_serial_t ring);
WRAPPED(long, keyctl_describe, key_serial_t key, char *buffer, size_t size);
WRAPPED(long, keyctl_link, key_serial_t key, key_serial_t ring);
WRAPPED(long, keyctl_read, key_serial_t key, char *buffer, size_t size);
WRAPPED(int, keyctl_read_alloc, key_serial_t key, void **ret);
WRAPPED(long, keyctl_revoke, key_serial_t key);
WRAPPED(long, keyctl_search, key_serial_t ring, const char *type, const char *description, key_serial_t destination);
WRAPPED(long, keyctl_set_timeout, key_serial_t key, unsigned seconds);
WRAPPED(long, keyctl_setperm, key_serial_t key, key_perm_t mask);
WRAPPED(long, keyctl_unlink, key_serial_t key, key_serial_t ring);
WRAPPED(long, keyctl_update, key_serial_t key, const void *payload, size_t size);
int __wrap_getpwnam_r(const char *name, struct passwd *ret, char *buffer, size_t size,
                      struct passwd **ret_found);
int __wrap_getgrnam_r(const char *name, struct group *ret, char *buffer, size_t size,
                      struct group **ret_found);
int __wrap_getgrouplist(const char *user, gid_t gid, gid_t *ret, int *n);
int __wrap_pam_get_item(const pam_handle_t *pamh, int type, const void **ret);
int __wrap_pam_get_data(const pam_handle_t *pamh, const char *name, const void **ret);
int __wrap_pam_set_data(pam_handle_t *pamh, const char *name, void *data, void (*cleanup)(pam_handle_t *pamh, void *data, int status));
const char *__wrap_pam_getenv(pam_handle_t *pamh, const char *name);
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
        if (wrap.meanwhile && (!wrap.meanwhile_call || strcmp(wrap.meanwhile_call, call) == 0)) {
                armed = false;
                wrap.meanwhile();
                armed = true;
        }
        if (wrap.n_calls != wrap.fail_at[0] && wrap.n_calls != wrap.fail_at[1] &&
            (wrap.fail_from == 0 || wrap.n_calls < wrap.fail_from) && (!wrap.fail_call || strcmp(wrap.fail_call, call) != 0))
                return false;
        append(wrap.failed, sizeof(wrap.failed), call);
        errno = wrap.fail_errno;
        return true;
}

int __wrap_open(const char *path, int flags, ...) {
        bool is_proc = strncmp(path, "/proc/", 6) == 0;
        int fd;

        if (fails(is_proc ? "open-proc" : "open"))
                return -1;
        fd = __real_open(path, flags, 0600);
        if (armed && is_proc)
                proc = fd;
        return fd;
}

int __wrap_openat(int fd, const char *path, int flags, ...) {
        return fails("openat") ? -1 : __real_openat(fd, path, flags);
}

int __wrap_fstat(int fd, struct stat *st) {
        int r;

        if (fails(fd == proc ? "fstat-proc" : "fstat"))
                return -1;
        r = __real_fstat(fd, st);
        if (r == 0 && armed && fd != proc && S_ISREG(st->st_mode))
                st->st_size += wrap.size_lie;
        return r;
}

int __wrap_fstatat(int fd, const char *path, struct stat *st, int flags) {
        return fails("fstatat") ? -1 : __real_fstatat(fd, path, st, flags);
}

ssize_t __wrap_read(int fd, void *buffer, size_t size) {
        if (fails(fd == proc ? "read-proc" : "read"))
                return -1;
        if (armed && fd != proc && wrap.interrupt && n_reads++ % 2 == 0) {
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

ssize_t __wrap_write(int fd, const void *buffer, size_t size) {
        return fails("write") ? -1 : __real_write(fd, buffer, size);
}

int __wrap_mkdir(const char *path, mode_t mode) {
        return fails("mkdir") ? -1 : __real_mkdir(path, mode);
}

/* What frees something does so even where it says that it has not: one cannot do more than ask. */
static int freed(bool failed, int r) {
        if (!failed)
                return r;
        errno = wrap.fail_errno;
        return -1;
}

int __wrap_close(int fd) {
        bool failed = fails(fd == proc ? "close-proc" : "close");

        if (armed && fd == proc)
                proc = -EBADF;
        return freed(failed, __real_close(fd));
}

void *__wrap_malloc(size_t size) {
        return fails("malloc") ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
        return fails("calloc") ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *pointer, size_t size) {
        return fails("realloc") ? NULL : __real_realloc(pointer, size);
}

void *__wrap_reallocarray(void *pointer, size_t n, size_t size) {
        return fails("reallocarray") ? NULL : __real_reallocarray(pointer, n, size);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
        return fails("mmap") ? MAP_FAILED : __real_mmap(address, size, protection, flags, fd, offset);
}

int __wrap_munmap(void *address, size_t size) {
        bool failed = fails("munmap");

        return freed(failed, __real_munmap(address, size));
}

int __wrap_mlock(const void *address, size_t size) {
        return fails("mlock") ? -1 : __real_mlock(address, size);
}

int __wrap_madvise(void *address, size_t size, int advice) {
        return fails("madvise") ? -1 : __real_madvise(address, size, advice);
}

int __wrap_socket(int domain, int type, int protocol) {
        return fails("socket") ? -1 : __real_socket(domain, type, protocol);
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size) {
        return fails("connect") ? -1 : __real_connect(fd, address, size);
}

int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags) {
        return fails("sendmmsg") ? -1 : __real_sendmmsg(fd, messages, n, flags);
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout) {
        return fails("poll") ? -1 : __real_poll(fds, n, timeout);
}

int __wrap___poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room) {
        if (n * sizeof(*fds) > room)
                abort();
        return __wrap_poll(fds, n, timeout);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret) {
        return fails("clock_gettime") ? -1 : __real_clock_gettime(clock, ret);
}

uid_t __wrap_geteuid(void) {
        return armed && wrap.not_root ? 1001 : __real_geteuid();
}

key_serial_t __wrap_add_key(const char *type, const char *description, const void *payload, size_t size, key_serial_t ring) {
        key_serial_t key;

        if (fails("add_key"))
                return -1;
        key = __real_add_key(type, description, payload, size, ring);
        if (armed && key > 0) {
                if (n_made % 4096 == 0)
                        made = __real_reallocarray(made, n_made + 4096, sizeof(*made));
                if (!made)
                        abort();
                made[n_made++] = key;
        }
        return key;
}

long __wrap_keyctl_clear(key_serial_t ring) {
        bool failed = fails("keyctl_clear");

        return freed(failed, (int) __real_keyctl_clear(ring));
}

long __wrap_keyctl_describe(key_serial_t key, char *buffer, size_t size) {
        return fails("keyctl_describe") ? -1 : __real_keyctl_describe(key, buffer, size);
}

long __wrap_keyctl_link(key_serial_t key, key_serial_t ring) {
        return fails("keyctl_link") ? -1 : __real_keyctl_link(key, ring);
}

long __wrap_keyctl_read(key_serial_t key, char *buffer, size_t size) {
        return fails("keyctl_read") ? -1 : __real_keyctl_read(key, buffer, size);
}

int __wrap_keyctl_read_alloc(key_serial_t key, void **ret) {
        return fails("keyctl_read_alloc") ? -1 : __real_keyctl_read_alloc(key, ret);
}

long __wrap_keyctl_revoke(key_serial_t key) {
        return fails("keyctl_revoke") ? -1 : __real_keyctl_revoke(key);
}

long __wrap_keyctl_search(key_serial_t ring, const char *type, const char *description, key_serial_t destination) {
        return fails("keyctl_search") ? -1 : __real_keyctl_search(ring, type, description, destination);
}

long __wrap_keyctl_set_timeout(key_serial_t key, unsigned seconds) {
        return fails("keyctl_set_timeout") ? -1 : __real_keyctl_set_timeout(key, seconds);
}

long __wrap_keyctl_setperm(key_serial_t key, key_perm_t mask) {
        return fails("keyctl_setperm") ? -1 : __real_keyctl_setperm(key, mask);
}

long __wrap_keyctl_unlink(key_serial_t key, key_serial_t ring) {
        bool failed = fails("keyctl_unlink");

        return freed(failed, (int) __real_keyctl_unlink(key, ring));
}

long __wrap_keyctl_update(key_serial_t key, const void *payload, size_t size) {
        return fails("keyctl_update") ? -1 : __real_keyctl_update(key, payload, size);
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
                                                .pw_uid = accounts[i].uid,
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
        if (fails(type == PAM_USER ? "pam_get_item" : "pam_get_item-other"))
                return PAM_SYSTEM_ERR;
        switch (type) {
        case PAM_USER:
                *ret = wrap.no_user ? NULL : asked_user;
                return PAM_SUCCESS;
        case PAM_SERVICE:
                *ret = wrap.service ? wrap.service : "sshd";
                return PAM_SUCCESS;
        case PAM_TTY:
                *ret = "pts/3";
                return PAM_SUCCESS;
        case PAM_RHOST:
                *ret = "2001:db8::1";
                return PAM_SUCCESS;
        default:
                return PAM_BAD_ITEM;
        }
}

int __wrap_pam_get_data(_unused_ const pam_handle_t *pamh, const char *name, const void **ret) {
        if (fails("pam_get_data"))
                return PAM_SYSTEM_ERR;
        for (size_t i = 0; i < ELEMENTSOF(kept); i++)
                if (kept[i].name && strcmp(kept[i].name, name) == 0) {
                        *ret = kept[i].data;
                        return PAM_SUCCESS;
                }
        return PAM_NO_MODULE_DATA;
}

static void drop_data(size_t i) {
        if (!kept[i].name)
                return;
        if (kept[i].cleanup)
                kept[i].cleanup((pam_handle_t *) &wrap, kept[i].data, PAM_SUCCESS);
        free(kept[i].name);
        kept[i].name = NULL;
}

int __wrap_pam_set_data(_unused_ pam_handle_t *pamh, const char *name, void *data, void (*cleanup)(pam_handle_t *pamh, void *data, int status)) {
        size_t free_one = ELEMENTSOF(kept);

        if (fails("pam_set_data"))
                return PAM_BUF_ERR;
        for (size_t i = 0; i < ELEMENTSOF(kept); i++) {
                if (kept[i].name && strcmp(kept[i].name, name) == 0)
                        drop_data(i);
                if (!kept[i].name)
                        free_one = i;
        }
        if (free_one == ELEMENTSOF(kept))
                abort();
        kept[free_one].name = strdup(name);
        kept[free_one].data = data;
        kept[free_one].cleanup = cleanup;
        return PAM_SUCCESS;
}

const char *__wrap_pam_getenv(_unused_ pam_handle_t *pamh, const char *name) {
        return fails("pam_getenv") || strcmp(name, "KEYROTA_SECRET") != 0 ? NULL : wrap.env_secret;
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
        (void) unlink("run/journal");
        (void) unlink("run/access.lock");
        (void) unlink(MISSING);
        (void) rmdir("run/audit");
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
        wrap_set_journal(WRAP_JOURNAL_GOOD);
}

bool wrap_scratch_of_root(void) {
        if (geteuid() != 0) {
                puts("1..0 # SKIP only root can make a table that the module trusts");
                return false;
        }
        wrap_scratch();
        return true;
}

static void write_table(const void *head, size_t head_size, const void *text, size_t size) {
        int fd;

        (void) unlink(WRAP_TABLE); /* as a publication: another file */
        fd = open(WRAP_TABLE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || fchmod(fd, 0600) < 0 || write(fd, head, head_size) != (ssize_t) head_size || write(fd, text, size) != (ssize_t) size || close(fd) < 0) {
                perror(WRAP_TABLE);
                exit(99);
        }
}

void wrap_table(const void *text, size_t size) {
        static const char first[] = "keyrota-access 2\nring 7\n";
        char head[64] = "";

        if (live > 0 && size >= strlen(first) && memcmp(text, first, strlen(first)) == 0) {
                (void) snprintf(head, sizeof(head), "keyrota-access 2\nring %d\n", live);
                text = (const char *) text + strlen(first);
                size -= strlen(first);
        }
        write_table(head, strlen(head), text, size);
}

static void require(bool condition, const char *what) {
        if (condition)
                return;
        perror(what);
        exit(99);
}

void wrap_live(void) {
        if (live > 0)
                (void) keyctl_unlink(live, KEY_SPEC_PROCESS_KEYRING);
        live = add_key("keyring", "keyrota", NULL, 0, KEY_SPEC_PROCESS_KEYRING);
        require(live > 0 && keyctl_setperm(live, 0x003f0000) == 0, "live keyring");
}

int wrap_live_serial(void) {
        return live;
}

void wrap_publish(const char *description, const void *payload, size_t size) {
        key_serial_t key = add_key("user", description, payload, size, live);

        require(key > 0 && keyctl_setperm(key, 0x003f0000) == 0, description); /* as keyring.c makes them */
}

void wrap_unpublish(const char *description) {
        long key = keyctl_search(live, "user", description, 0);

        require(key > 0 && keyctl_unlink((key_serial_t) key, live) == 0, description);
}

void wrap_session(unsigned uid, const char *name) {
        const struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
        key_serial_t ring = -1;

        require(setreuid(uid, (uid_t) -1) == 0, "setreuid");
        /* Keyrings of earlier tests count to the user's quota until the kernel has seen to them. */
        for (unsigned i = 0; i < 1000 && (ring = keyctl_join_session_keyring(name)) < 0 && errno == EDQUOT; i++)
                (void) nanosleep(&moment, NULL);
        require(ring > 0, "session keyring");
        require(setreuid(0, (uid_t) -1) == 0, "setreuid");
}

static void drain_journal(void) {
        char record[32768];
        size_t length = 0;
        ssize_t n;

        wrap.records[0] = '\0';
        wrap.n_records = 0;
        while (journal >= 0 && (n = recv(journal, record, sizeof(record) - 1, MSG_DONTWAIT)) > 0) {
                record[n] = '\0';
                wrap.n_records++;
                for (char *save = NULL, *field = strtok_r(record, "\n", &save); field; field = strtok_r(NULL, "\n", &save))
                        if (strncmp(field, "KEYROTA_", 8) == 0 && length + strlen(field) < sizeof(wrap.records) - 16)
                                length += (size_t) snprintf(wrap.records + length, sizeof(wrap.records) - length, "%s ", field + 8);
                wrap.records[length++] = '\n';
                wrap.records[length] = '\0';
        }
}

void wrap_set_journal(enum wrap_journal wanted) {
        const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "run/journal" };

        if (journal >= 0)
                (void) close(journal);
        if (stuffer >= 0)
                (void) close(stuffer);
        journal = stuffer = -EBADF;
        (void) unlink(address.sun_path);
        if (wanted == WRAP_JOURNAL_NONE)
                return;
        journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        require(journal >= 0 && bind(journal, (const struct sockaddr *) &address, sizeof(address)) == 0, "run/journal");
        if (wanted == WRAP_JOURNAL_GOOD)
                return;
        stuffer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        require(stuffer >= 0 && connect(stuffer, (const struct sockaddr *) &address, sizeof(address)) == 0, "run/journal");
        while (send(stuffer, "x", 1, MSG_DONTWAIT) == 1)
                ;
}

const char *wrap_missing(void) {
        static char text[8192];
        char line[4096], *end;
        size_t length = 0;
        FILE *stream = fopen(MISSING, "re");

        text[0] = '\0';
        while (stream && fgets(line, sizeof(line), stream)) {
                require(strtoll(line, &end, 10) > 0 && *end == ' ', line);
                length += (size_t) snprintf(text + length, length < sizeof(text) ? sizeof(text) - length : 0, "%s", end + 1);
        }
        if (stream)
                (void) fclose(stream);
        (void) unlink(MISSING);
        return text;
}

void wrap_relieve_journal(void) {
        drain_journal();
        if (stuffer >= 0)
                (void) close(stuffer);
        stuffer = -EBADF;
}

typedef int (*entry_point)(pam_handle_t *pamh, int flags, int argc, const char **argv);

static int enter(entry_point function, const char *user, const char *const options[]) {
        int result, n = 0;

        while (options[n])
                n++;
        wrap.n_calls = 0;
        wrap.trace[0] = wrap.failed[0] = wrap.log[0] = '\0';
        n_reads = 0;
        asked_user = user;

        armed = true;
        /* libpam's interface is const argv of the module's own copies: (const char **) is its type. */
        result = function((pam_handle_t *) &wrap, 0, n, (const char **) options);
        armed = false;

        if (stuffer < 0)
                drain_journal();
        wrap.fail_at[0] = wrap.fail_at[1] = wrap.fail_from = 0;
        wrap.fail_call = wrap.service = wrap.env_secret = NULL;
        wrap.meanwhile = NULL;
        wrap.read_max = wrap.record_size = 0;
        wrap.interrupt = wrap.no_user = wrap.not_root = false;
        wrap.size_lie = wrap.n_groups = 0;
        return result;
}

int wrap_acct(const char *user, const char *const options[]) {
        return enter(pam_sm_acct_mgmt, user, options);
}

int wrap_open(const char *user, const char *const options[]) {
        return enter(pam_sm_open_session, user, options);
}

int wrap_close(const char *user, const char *const options[]) {
        return enter(pam_sm_close_session, user, options);
}

int wrap_secret(const char *user, const char *secret) {
        char option[512];

        (void) snprintf(option, sizeof(option), "secret=%s", secret);
        return wrap_acct(user, (const char *const[]) { option, NULL });
}

void wrap_end(void) {
        for (size_t i = 0; i < ELEMENTSOF(kept); i++)
                drop_data(i);
        n_made_before = n_made;
}

static int count_key(_unused_ key_serial_t parent, key_serial_t key, _unused_ char *description, _unused_ int size, void *data) {
        for (size_t i = n_made_before; i < n_made; i++)
                if (made[i] == key)
                        ++*(unsigned *) data;
        return 0;
}

static unsigned count_below(key_serial_t ring) {
        unsigned n = 0;

        (void) recursive_key_scan(ring, count_key, &n);
        return n;
}

unsigned wrap_count_possessed(void) {
        return count_below(KEY_SPEC_SESSION_KEYRING);
}

unsigned wrap_count_left(void) {
        return count_below(KEY_SPEC_THREAD_KEYRING) + count_below(KEY_SPEC_PROCESS_KEYRING) + count_below(KEY_SPEC_USER_KEYRING);
}

bool wrap_keys_are_gone(void) {
        const struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
        char text[4200];

        /* There is no event to wait for: links end with a grace period of the kernel's. */
        for (unsigned i = 0; i < 1000; i++) {
                size_t n = 0;

                for (size_t k = 0; k < n_made; k++)
                        if (keyctl_describe(made[k], text, sizeof(text)) > 0)
                                made[n++] = made[k];
                n_made = n;
                if (n == 0)
                        return true;
                (void) nanosleep(&moment, NULL);
        }
        return false;
}

unsigned wrap_count_descriptors(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        if (!dir)
                return 0;
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

long wrap_copy(const char *name, char *buffer, size_t size) {
        char description[100];
        long key, n;

        (void) snprintf(description, sizeof(description), "keyrota:%s", name);
        key = keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", description, 0);
        n = key < 0 ? -1 : keyctl_read((key_serial_t) key, buffer, size - 1);
        if (n >= 0)
                buffer[(size_t) n < size ? (size_t) n : size - 1] = '\0';
        return n;
}
