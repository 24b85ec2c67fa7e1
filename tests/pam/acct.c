/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * acct CONFDIR SERVICE USER [CALL]: what the real libpam makes of a service file in CONFDIR. CALL is acct (the default), auth, session or password. Prints the
 * code's name on the first line, then what was logged; exit status 0 when libpam said success, 1 when it refused, 2 when the test itself went wrong. The
 * conversation answers nothing.
 *
 * CALL session opens a session, says what a process of the user then finds ("holds keyrota:NAME BYTES"), closes the session and says how
 * ("closed CODE", and what is still held). RING in front of it makes a session keyring first: "none" (root's, as a login without pam_keyinit has it), "own" (as
 * pam_keyinit makes it) or "named".
 *
 * The working directory is a scratch folder: its file live has lines "DESCRIPTION PAYLOAD" for a live keyring, whose serial number takes the place of "ring 7" in
 * run/access. A journal of this program's own is at run/journal, unless there is something already; with KEYROTA_TEST_RECORDS in the environment, the records are
 * shown.
 */

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <keyutils.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_appl.h>

#include "cleanup.h"

#undef syslog /* under _FORTIFY_SOURCE, clang has it as a macro */

static char logged[16384];

void __syslog_chk(int priority, int flag, const char *format, ...) _printf_(3, 4);

static void _printf_(1, 0) keep(const char *format, va_list ap) {
        size_t length = strlen(logged);

        (void) vsnprintf(logged + length, sizeof(logged) - length - 1, format, ap);
        strcat(logged, "\n");
}

/* libpam finds these before libc's: nothing reaches the machine's log. */
void syslog(_unused_ int priority, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        keep(format, ap);
        va_end(ap);
}

void __syslog_chk(_unused_ int priority, _unused_ int flag, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        keep(format, ap);
        va_end(ap);
}

static int converse(_unused_ int n, _unused_ const struct pam_message **messages,
                    _unused_ struct pam_response **responses, _unused_ void *data) {
        return PAM_CONV_ERR;
}

static const char *code_name(int code) {
        static const struct {
                int code;
                const char *name;
        } names[] = {
                { PAM_SUCCESS, "success" },   { PAM_PERM_DENIED, "perm_denied" },
                { PAM_AUTH_ERR, "auth_err" }, { PAM_MODULE_UNKNOWN, "module_unknown" },
                { PAM_IGNORE, "ignore" },     { PAM_SESSION_ERR, "session_err" },
                { PAM_ABORT, "abort" },       { PAM_USER_UNKNOWN, "user_unknown" },
        };
        static char number[32];

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i].code == code)
                        return names[i].name;
        (void) snprintf(number, sizeof(number), "code %d", code);
        return number;
}

static unsigned count_descriptors(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        if (!dir)
                return 0;
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

/* ---- the machine that the module finds ------------------------------------------------------------------------------- */

static int journal = -EBADF;

static void bind_journal(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "run/journal" };

        journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (journal >= 0 && bind(journal, (const struct sockaddr *) &address, sizeof(address)) < 0) {
                (void) close(journal);
                journal = -EBADF;
        }
}

static void show_records(void) {
        char record[32768];
        ssize_t n;

        if (journal < 0)
                return;
        while ((n = recv(journal, record, sizeof(record) - 1, 0)) > 0) {
                record[n] = '\0';
                if (!getenv("KEYROTA_TEST_RECORDS"))
                        continue;
                fputs("record", stdout);
                for (char *save = NULL, *field = strtok_r(record, "\n", &save); field; field = strtok_r(NULL, "\n", &save))
                        if (strncmp(field, "KEYROTA_", 8) == 0)
                                printf(" %s", field + 8);
                fputs("\n", stdout);
        }
        (void) unlink("run/journal");
}

static key_serial_t make_ring(const char *name, key_serial_t in, unsigned mask) {
        key_serial_t ring = add_key("keyring", name, NULL, 0, in);

        return ring > 0 && keyctl_setperm(ring, mask) == 0 ? ring : -1;
}

#define WITH_LIVE_RING "keyrota-access 2\nring 7\n"

/* Kept by the process keyring. */
static void publish(void) {
        _cleanup_fclose_ FILE *live = fopen("live", "re"), *table = NULL;
        key_serial_t ring;
        char line[40000], text[65536];
        size_t n = 0;

        if (!live)
                return;
        ring = make_ring("keyrota", KEY_SPEC_PROCESS_KEYRING, 0x3f3f0000);
        while (fgets(line, sizeof(line), live)) {
                char *payload = strchr(line, ' ');

                if (!payload)
                        continue;
                *payload++ = '\0';
                for (char *p = payload; *p; p++) /* the header ends with a newline, written as | */
                        if (*p == '|')
                                *p = '\n';
                if (add_key("user", line, payload, strlen(payload) - 1, ring) < 0)
                        perror(line);
        }
        if (ring < 0 || keyctl_setperm(ring, 0x003f0000) < 0)
                perror("live keyring");

        table = fopen("run/access", "re");
        if (!table)
                return;
        n = fread(text, 1, sizeof(text) - 1, table);
        text[n] = '\0';
        if (strncmp(text, WITH_LIVE_RING, strlen(WITH_LIVE_RING)) == 0) {
                FILE *out = fopen("run/access", "we");

                if (out) {
                        fprintf(out, "keyrota-access 2\nring %d\n%s", ring, text + strlen(WITH_LIVE_RING));
                        (void) fclose(out);
                }
        }
}

/* As pam_keyinit and systemd do it. */
static int join_session(const struct passwd *account, const char *name) {
        bool joined = setregid(account->pw_gid, (gid_t) -1) == 0 && setreuid(account->pw_uid, (uid_t) -1) == 0 && keyctl_join_session_keyring(name) > 0;

        return setreuid(0, (uid_t) -1) == 0 && setregid(0, (gid_t) -1) == 0 && joined ? 0 : -1;
}

static int show_key(_unused_ key_serial_t parent, key_serial_t key, char *description, _unused_ int size, _unused_ void *data) {
        char bytes[40000];
        long n;

        description = description ? strrchr(description, ';') : NULL; /* NULL: not the user's to look at */
        if (!description || strncmp(description, ";keyrota:", 9) != 0)
                return 0;
        n = keyctl_read(key, bytes, sizeof(bytes) - 1);
        if (n < 0)
                printf("sees %s\n", description + 1);
        else
                printf("holds %s %.*s\n", description + 1, (int) n, bytes);
        return 0;
}

/* A process of the user in that session. */
static void show_copies(const struct passwd *account) {
        int status = 0;
        pid_t child;

        (void) fflush(stdout);
        child = fork();
        if (child == 0) {
                if (setgroups(0, NULL) < 0 || setgid(account->pw_gid) < 0 || setuid(account->pw_uid) < 0)
                        _exit(1);
                (void) recursive_session_key_scan(show_key, NULL);
                (void) fflush(stdout);
                _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
                perror("fork");
        else if (status != 0)
                printf("sees what it cannot bear: status %d\n", status);
}

/* ---- the call -------------------------------------------------------------------------------------------------------- */

/* What a module must leave as it is. */
struct traits {
        unsigned descriptors, handlers;
        uid_t uid, euid;
        gid_t gid, egid;
        mode_t umask;
        long thread_keys;
};

static struct traits traits_of_process(void) {
        struct traits traits = { .descriptors = count_descriptors(), .uid = getuid(), .euid = geteuid(), .gid = getgid(), .egid = getegid() };
        key_serial_t keys[64];

        for (int i = 1; i < SIGRTMAX; i++) {
                struct sigaction action;

                if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
                        traits.handlers++;
        }
        traits.umask = umask(0);
        (void) umask(traits.umask);
        traits.thread_keys = keyctl_read(KEY_SPEC_THREAD_KEYRING, (char *) keys, sizeof(keys));
        if (traits.thread_keys < 0)
                traits.thread_keys = 0;
        return traits;
}

static bool traits_equal(const struct traits *a, const struct traits *b) {
        return a->descriptors == b->descriptors && a->handlers == b->handlers && a->uid == b->uid && a->euid == b->euid && a->gid == b->gid &&
                a->egid == b->egid && a->umask == b->umask && a->thread_keys == b->thread_keys;
}

static int call(pam_handle_t *pamh, const char *name) {
        if (strcmp(name, "auth") == 0)
                return pam_authenticate(pamh, 0);
        if (strcmp(name, "session") == 0)
                return pam_open_session(pamh, 0);
        if (strcmp(name, "password") == 0)
                return pam_chauthtok(pamh, 0);
        return pam_acct_mgmt(pamh, 0);
}

static void set_items(pam_handle_t *pamh) {
        const char *secret = getenv("KEYROTA_TEST_SECRET");

        (void) pam_set_item(pamh, PAM_TTY, "pts/3");
        (void) pam_set_item(pamh, PAM_RHOST, "2001:db8::1");
        if (secret) /* as the read server does it */
                (void) pam_putenv(pamh, secret);
}

int main(int argc, char *argv[]) {
        static const struct pam_conv conversation = { .conv = converse };
        const char *name = argc >= 5 ? argv[4] : "acct", *ring = argc >= 6 ? argv[5] : NULL;
        const struct passwd *account;
        struct traits before, after;
        pam_handle_t *pamh = NULL;
        int r, closed;

        if (argc < 4 || argc > 6) {
                fputs("usage: acct CONFDIR SERVICE USER [acct|auth|session|password [none|own|named]]\n", stderr);
                return 2;
        }
        account = getpwnam(argv[3]);
        if (ring && account && strcmp(ring, "none") != 0 && join_session(account, strcmp(ring, "own") == 0 ? NULL : "named") < 0) {
                perror("session keyring");
                return 2;
        }
        bind_journal();
        publish();
        r = pam_start_confdir(argv[2], argv[3], &conversation, argv[1], &pamh);
        if (r != PAM_SUCCESS) {
                fprintf(stderr, "pam_start_confdir: %d\n", r);
                return 2;
        }
        set_items(pamh);
        before = traits_of_process();
        r = call(pamh, name);
        after = traits_of_process();
        if (!traits_equal(&before, &after)) {
                fputs("the stack left something behind\n", stderr);
                return 2;
        }
        printf("%s\n%s", code_name(r), logged);
        if (strcmp(name, "session") == 0 && account) {
                show_copies(account);
                logged[0] = '\0';
                closed = pam_close_session(pamh, 0);
                printf("closed %s\n%s", code_name(closed), logged);
                show_copies(account);
        }
        (void) pam_end(pamh, r);
        show_records();
        return r == PAM_SUCCESS ? 0 : 1;
}
