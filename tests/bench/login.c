/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * login MODULE [USER]: what pam_keyrota adds to a login, as root, by the real libpam. Opens and closes sessions in turns by two stacks that differ by the module's
 * line alone, and prints medians in microseconds. There are POLICIES (1000) policies, of which GRANTS (10) name the user; with BY_GROUP=1 they name
 * the user's group instead. MODULE is the one that is built for tests, which looks below "run". RUNS (500) logins of each kind.
 *
 * Told apart: the call pam_open_session(3) alone; the whole transaction, with what it takes to load the module into the program. For comparison, what no
 * implementation can do without: the one look-up of the user that the module asks of the name services, and the kernel calls that make the copies, here
 * without anything around them. getppid(2) tells what a call costs on the machine at hand.
 */

#include <errno.h>
#include <grp.h>
#include <keyutils.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_appl.h>

#include "cleanup.h"

static const struct passwd *user;
static const struct group *group;
static unsigned n_policies, n_grants, n_runs;
static bool by_group;
static int journal;
static key_serial_t live; /* the keyring that secrets are published in */
static char folder[] = "/tmp/keyrota-bench-XXXXXX";

static void require(bool condition, const char *what) {
        if (condition)
                return;
        perror(what);
        exit(2);
}

static unsigned number(const char *name, unsigned otherwise) {
        const char *text = getenv(name);

        return text ? (unsigned) strtoul(text, NULL, 10) : otherwise;
}

static void write_service(const char *name, const char *module) {
        char path[64];
        FILE *stream;

        (void) snprintf(path, sizeof(path), "pam.d/%s", name);
        stream = fopen(path, "we");
        require(stream, path);
        fputs("session optional pam_keyinit.so force revoke\n", stream);
        if (module)
                fprintf(stream, "session optional %s\n", module);
        fputs("session required pam_permit.so\n", stream);
        require(fclose(stream) == 0, path);
}

/* Spread evenly over the table. */
static bool is_granted(unsigned i) {
        return n_grants > 0 && i % (n_policies / n_grants) == 0 && i / (n_policies / n_grants) < n_grants;
}

static void write_table(void) {
        FILE *stream;

        (void) umask(077);
        stream = fopen("run/access", "we");
        require(stream, "run/access");
        fprintf(stream, "keyrota-access 2\nring %d\n", live);
        if (by_group)
                fprintf(stream, "group %s\n", group->gr_name);
        for (unsigned i = 0; i < n_policies; i++) {
                fprintf(stream, "secret production/policy-%05u 7 4102444800 verify session operator-%u other-%u", i, i, i);
                if (is_granted(i))
                        fprintf(stream, " %s%s", by_group ? "@" : "", by_group ? group->gr_name : user->pw_name);
                fputs("\n", stream);
        }
        fputs("end\n", stream);
        require(fclose(stream) == 0, "run/access");
}

/* A JWK Set of two ES256 keys has some 500 bytes. */
static void publish(void) {
        char description[128], payload[640];

        live = add_key("keyring", "keyrota", NULL, 0, KEY_SPEC_PROCESS_KEYRING);
        for (unsigned i = 0; i < n_policies; i++) {
                int n;

                (void) snprintf(description, sizeof(description), "secret:production/policy-%05u/verify", i);
                memset(payload, 'x', sizeof(payload));
                n = snprintf(payload, sizeof(payload), "keyrota1 production/policy-%05u 7 %043d,%043d", i, 1, 2);
                payload[n] = '\n';
                require(add_key("user", description, payload, (size_t) n + 500, live) > 0, description);
        }
        require(add_key("user", "config:audit", "keyrota1 - 0 -\nbest-effort", 26, live) > 0, "config:audit");
        require(keyctl_setperm(live, 0x003f0000) == 0, "live keyring");
}

static void bind_journal(void) {
        const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "run/journal" };

        journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        require(journal >= 0 && bind(journal, (const struct sockaddr *) &address, sizeof(address)) == 0, "run/journal");
}

static unsigned count_records(void) {
        char record[16384];
        unsigned n = 0;

        while (recv(journal, record, sizeof(record), 0) > 0)
                n++;
        return n;
}

static double now(void) {
        struct timespec time;

        (void) clock_gettime(CLOCK_MONOTONIC, &time);
        return (double) time.tv_sec * 1e6 + (double) time.tv_nsec / 1e3;
}

static int converse(_unused_ int n, _unused_ const struct pam_message **messages, _unused_ struct pam_response **responses, _unused_ void *data) {
        return PAM_CONV_ERR;
}

struct cost {
        double open, whole; /* microseconds */
};

static struct cost login(const char *service, unsigned wanted_records) {
        static const struct pam_conv conversation = { .conv = converse };
        pam_handle_t *pamh = NULL;
        struct cost cost;
        double start, before, after;

        start = now();
        require(pam_start_confdir(service, user->pw_name, &conversation, "pam.d", &pamh) == PAM_SUCCESS, "pam_start");
        before = now();
        require(pam_open_session(pamh, 0) == PAM_SUCCESS, "pam_open_session");
        after = now();
        cost.open = after - before;
        cost.whole = after - start;
        if (count_records() != wanted_records) {
                fputs("a login gave another number of copies than it was to give\n", stderr);
                exit(2);
        }
        require(pam_close_session(pamh, 0) == PAM_SUCCESS, "pam_close_session");
        (void) pam_end(pamh, PAM_SUCCESS);
        (void) count_records(); /* of the copies' end */
        return cost;
}

static double look_up(void) {
        char buffer[4096];
        struct passwd account, *found;
        double start = now();

        (void) getpwnam_r(user->pw_name, &account, buffer, sizeof(buffer), &found);
        return now() - start;
}

static double copy_alone(void) {
        key_serial_t ring = add_key("keyring", "copies", NULL, 0, KEY_SPEC_PROCESS_KEYRING);
        char description[128], payload[4096];
        double start = now(), cost;

        for (unsigned i = 0; i < n_policies; i++) {
                key_serial_t key, copy;
                long n;

                if (!is_granted(i))
                        continue;
                (void) snprintf(description, sizeof(description), "secret:production/policy-%05u/verify", i);
                key = (key_serial_t) keyctl_search(live, "user", description, 0);
                n = keyctl_read(key, payload, sizeof(payload));
                copy = n > 0 ? add_key("user", description, payload, (size_t) n, ring) : -1;
                require(copy > 0 && keyctl_setperm(copy, 0x0b3f0000) == 0 && keyctl_set_timeout(copy, 1000) == 0, description);
        }
        cost = now() - start;
        require(keyctl_unlink(ring, KEY_SPEC_PROCESS_KEYRING) == 0, "copies");
        return cost;
}

static double call_kernel(void) {
        double start = now();

        for (unsigned i = 0; i < 100; i++)
                (void) syscall(SYS_getppid);
        return (now() - start) / 100;
}

static int compare(const void *a, const void *b) {
        const double *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static double median(double *values) {
        qsort(values, n_runs, sizeof(*values), compare);
        return values[n_runs / 2];
}

static void measure(void) {
        double *columns[7], medians[7];

        for (size_t i = 0; i < ELEMENTSOF(columns); i++) {
                columns[i] = calloc(n_runs, sizeof(double));
                require(columns[i], "memory");
        }
        for (unsigned i = 0; i < n_runs; i++) {
                struct cost without = login("without", 0), with = login("with", n_grants);

                columns[0][i] = without.open;
                columns[1][i] = with.open;
                columns[2][i] = without.whole;
                columns[3][i] = with.whole;
                columns[4][i] = look_up();
                columns[5][i] = copy_alone();
                columns[6][i] = call_kernel();
        }
        for (size_t i = 0; i < ELEMENTSOF(columns); i++) {
                medians[i] = median(columns[i]);
                free(columns[i]);
        }
        printf("%u policies, %u copies by %s; medians of %u logins each way, in microseconds\n", n_policies, n_grants, by_group ? "group" : "user name", n_runs);
        printf("%-58s %9s %9s %9s\n", "", "without", "with", "added");
        printf("%-58s %9.1f %9.1f %9.1f\n", "pam_open_session", medians[0], medians[1], medians[1] - medians[0]);
        printf("%-58s %9.1f %9.1f %9.1f\n", "the same, and pam_start, which loads the modules", medians[2], medians[3], medians[3] - medians[2]);
        printf("%-58s %29.1f\n", "the look-up of the user alone", medians[4]);
        printf("%-58s %29.1f\n", "the kernel calls that make the copies, alone", medians[5]);
        printf("%-58s %29.2f\n", "getppid(2)", medians[6]);
}

static void clean_up(void) {
        (void) unlink("pam.d/with");
        (void) unlink("pam.d/without");
        (void) unlink("pam.d/other");
        (void) unlink("run/access");
        (void) unlink("run/journal");
        (void) unlink("run/audit/missing"); /* of records that it did not take */
        (void) rmdir("run/audit");
        (void) rmdir("pam.d");
        (void) rmdir("run");
        (void) rmdir(folder);
}

int main(int argc, char *argv[]) {
        char *module;

        if (argc < 2 || geteuid() != 0) {
                fputs("usage, as root: login MODULE [USER]\n", stderr);
                return 2;
        }
        module = realpath(argv[1], NULL);
        require(module, argv[1]);
        user = getpwnam(argc > 2 ? argv[2] : "daemon");
        require(user, "user");
        group = getgrgid(user->pw_gid);
        require(group, "group");
        n_policies = number("POLICIES", 1000);
        n_grants = number("GRANTS", 10);
        n_runs = number("RUNS", 500);
        by_group = number("BY_GROUP", 0) != 0;
        require(n_runs > 0 && n_policies >= n_grants, "RUNS, POLICIES, GRANTS");

        require(mkdtemp(folder) && chdir(folder) == 0 && atexit(clean_up) == 0 && mkdir("pam.d", 0755) == 0 && mkdir("run", 0755) == 0, folder);
        write_service("without", NULL);
        write_service("with", module);
        write_service("other", NULL);
        bind_journal();
        publish();
        write_table();
        measure();
        free(module);
        return 0;
}
