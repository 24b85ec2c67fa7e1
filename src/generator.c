/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * keyrota-generator: turns every [deliver:UNIT] of the policies into a drop-in UNIT.d/50-keyrota-SECRET.conf
 * (of an instance: 50-keyrota-SECRET@instance.conf), see systemd.generator(7). It runs before anything else and must neither talk to a service nor hold up a
 * boot. For a broken policy it writes what can be made out from its file, and what the last good one said.
 * May call policy, deliveries, tree and diagnostics; no crypto.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "deliveries.h"
#include "paths.h"
#include "policy.h"

#define COMPLAINTS_MAX 20 /* the kernel's log is not the place for more; keyrota check prints them all */
#define DROP_IN_PREFIX "50-keyrota-"
#define UNKNOWN_CREDENTIAL "broken-keyrota-policy" /* published for nobody */

/* The kernel's log, which PID 1 leaves its generators; standard error when a person runs this. */
struct log {
        int kmsg; /* -EBADF: there is none */
};

static void log_error(const struct log *log, const char *format, ...) _printf_(2, 3);
static void log_error(const struct log *log, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL;
                return;
        }

        if (log->kmsg >= 0 && dprintf(log->kmsg, "<3>keyrota-generator[%d]: %s\n", (int) getpid(), text) > 0)
                return;
        fprintf(stderr, "keyrota-generator: %s\n", text);
}

static void log_diagnostics(const struct log *log, const struct diagnostics *diagnostics) {
        size_t n = 0;

        for (size_t i = 0; i < diagnostics->n_items; i++) {
                const struct diagnostic *d = diagnostics->items + i;

                if (!d->is_error)
                        continue;
                if (++n > COMPLAINTS_MAX)
                        continue;
                if (d->line > 0)
                        log_error(log, "%s:%u: %s", d->file, d->line, d->text);
                else
                        log_error(log, "%s: %s", d->file, d->text);
        }
        if (n > COMPLAINTS_MAX)
                log_error(log, "%zu more errors in policies; run keyrota check to see them",
                                n - COMPLAINTS_MAX);
}

/* Is this secret's policy there, and good? set NULL: nothing could be read. */
enum standing { POLICY_GONE, POLICY_BROKEN, POLICY_GOOD };

static int compare_policy(const void *key, const void *member) {
        return strcmp(key, (*(struct policy *const *) member)->name);
}

static enum standing standing(const struct policy_set *set, const char *secret) {
        struct policy *const *policy = NULL;

        if (set && set->n_policies > 0)
                policy = bsearch(secret, set->policies, set->n_policies, sizeof(*set->policies),
                                compare_policy);
        if (!policy)
                return !set || set->incomplete ? POLICY_BROKEN : POLICY_GONE;
        return (*policy)->valid ? POLICY_GOOD : POLICY_BROKEN;
}

/* What the last good policies said, of those that are broken now. */
static int add_last_good(const struct tree *tree, const struct policy_set *set, const struct log *log,
                struct deliveries *deliveries) {
        struct deliveries last = { 0 };
        int r;

        r = deliveries_load(tree, &last);
        if (r < 0) {
                log_error(log, "%s: cannot be read: %s; deliveries of broken policies may be missing",
                                PATH_DELIVERIES, strerror(-r));
                return r == -ENOMEM ? r : 0;
        }
        if (last.n_bad > 0)
                log_error(log, PATH_DELIVERIES ": %zu lines passed over that keyrota did not write",
                                last.n_bad);

        r = 0;
        for (size_t i = 0; r >= 0 && i < last.n_lines; i++)
                if (standing(set, last.lines[i].secret) == POLICY_BROKEN)
                        r = deliveries_add(deliveries, last.lines + i);
        deliveries_clear(&last);
        return r;
}

/* Is it plain, though its policy is broken, that the unit is to read the public JWKS file itself? */
static bool reads_public_file(const struct policy *policy, const struct delivery *delivery) {
        return delivery->use == USE_VERIFY && policy->algorithm_known &&
                        !algorithm_is_symmetric(policy->algorithm);
}

static bool delivers(const struct deliveries *deliveries, size_t from, const char *unit, const char *secret) {
        for (size_t i = from; i < deliveries->n_lines; i++)
                if (strcmp(deliveries->lines[i].unit, unit) == 0 &&
                                strcmp(deliveries->lines[i].secret, secret) == 0)
                        return true;
        return false;
}

/* Units whose credential cannot be made out from a broken policy, and that have no last good one (the lines
 * from last_good on): they ask for one that nobody gets, so that they are refused and do not start without. */
static int add_unknown(const struct policy *policy, size_t last_good, struct deliveries *deliveries) {
        for (size_t i = 0; i < policy->n_deliveries; i++) {
                const struct delivery *d = policy->deliveries + i;
                int r;

                if (d->credential || reads_public_file(policy, d) ||
                                delivers(deliveries, last_good, d->unit, policy->name))
                        continue;
                r = deliveries_add(deliveries,
                                &(struct delivery_line){
                                                .unit = d->unit,
                                                .credential = (char *) UNKNOWN_CREDENTIAL,
                                                .secret = policy->name,
                                });
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Everything that drop-ins must be written for, sorted. */
static int collect(const struct tree *tree, const struct log *log, struct deliveries *deliveries) {
        _cleanup_(policy_set_freep) struct policy_set *set = NULL;
        struct diagnostics diagnostics = { 0 };
        size_t last_good;
        bool broken;
        int r;

        r = policy_load_all(tree, &set, &diagnostics);
        if (r < 0)
                log_error(log, "policies cannot be read: %s; going by " PATH_DELIVERIES, strerror(-r));
        log_diagnostics(log, &diagnostics);
        diagnostics_clear(&diagnostics);

        broken = !set || set->incomplete;
        r = 0;
        for (size_t i = 0; set && r >= 0 && i < set->n_policies; i++) {
                broken |= !set->policies[i]->valid;
                r = deliveries_add_policy(deliveries, set->policies[i]);
        }
        last_good = deliveries->n_lines;
        if (r >= 0 && broken)
                r = add_last_good(tree, set, log, deliveries);
        for (size_t i = 0; set && r >= 0 && i < set->n_policies; i++)
                if (!set->policies[i]->valid)
                        r = add_unknown(set->policies[i], last_good, deliveries);
        deliveries_sort(deliveries);
        return r;
}

/* The drop-in for one unit and secret, from one line or (several credentials) more. */
static void write_drop_in(FILE *stream, const struct delivery_line lines[], size_t n_lines) {
        bool rsa = false, refresh = false, credential = false;

        for (size_t i = 0; i < n_lines; i++) {
                rsa |= lines[i].rsa;
                refresh |= lines[i].refresh;
                credential |= lines[i].credential != NULL;
        }

        fprintf(stream, "# Made by keyrota-generator from the policy of the secret %s\n\n[Unit]\n",
                        lines->secret);
        for (unsigned i = 0; i < 2; i++)
                fprintf(stream, "%s=keyrota-provision.service%s%s\n", i == 0 ? "Wants" : "After",
                                rsa ? " keyrota-provision-rsa.service" : "",
                                credential ? " keyrota-credential.socket" : "");
        if (!credential)
                return;

        fputs("\n[Service]\n", stream);
        for (size_t i = 0; i < n_lines; i++)
                if (lines[i].credential)
                        fprintf(stream, "LoadCredential=%s:" PATH_CREDENTIAL_SOCKET "\n",
                                        lines[i].credential);
        if (refresh) /* systemd before 260 warns that it does not know it, and goes on */
                fputs("RefreshOnReload=credentials\n", stream);
}

/* An instance has its template's drop-ins too, but of two with the same name only its own. */
static bool is_instance(const char *unit) {
        const char *at = strchr(unit, '@');

        return at && strcmp(at, "@.service") != 0;
}

static int open_drop_in(int folder, const struct delivery_line *line, FILE **ret) {
        _cleanup_free_ char *unit_folder = NULL, *name = NULL;
        _cleanup_close_ int sub = -EBADF, fd = -EBADF;

        if (asprintf(&unit_folder, "%s.d", line->unit) < 0) {
                unit_folder = NULL;
                return -ENOMEM;
        }
        if (asprintf(&name, DROP_IN_PREFIX "%s%s.conf", line->secret,
                            is_instance(line->unit) ? "@instance" : "") < 0) {
                name = NULL;
                return -ENOMEM;
        }

        if (mkdirat(folder, unit_folder, 0755) < 0 && errno != EEXIST)
                return -errno;
        sub = openat(folder, unit_folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
                return -errno;
        fd = openat(sub, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0644);
        if (fd < 0)
                return -errno;
        *ret = fdopen(fd, "we");
        if (!*ret)
                return -errno;
        TAKE_FD(fd);
        return 0;
}

static int generate_one(int folder, const struct delivery_line lines[], size_t n_lines) {
        FILE *stream = NULL;
        bool failed;
        int r;

        r = open_drop_in(folder, lines, &stream);
        if (r < 0)
                return r;
        errno = 0;
        write_drop_in(stream, lines, n_lines);
        failed = ferror(stream);
        if (fclose(stream) != 0 || failed)
                return errno > 0 ? -errno : -EIO;
        return 0;
}

/* One drop-in that cannot be written does not keep the others from being. */
static int generate(int folder, const struct deliveries *deliveries, const struct log *log) {
        int result = 0;

        for (size_t i = 0, n; i < deliveries->n_lines; i += n) {
                const struct delivery_line *lines = deliveries->lines + i;
                int r;

                for (n = 1; i + n < deliveries->n_lines; n++)
                        if (strcmp(lines[n].unit, lines->unit) != 0 ||
                                        strcmp(lines[n].secret, lines->secret) != 0)
                                break;
                r = generate_one(folder, lines, n);
                if (r < 0) {
                        log_error(log, "the drop-in of %s for the secret %s cannot be written: %s",
                                        lines->unit, lines->secret, strerror(-r));
                        result = r;
                }
        }
        return result;
}

static int run(const char *root, const char *target, const struct log *log) {
        _cleanup_(tree_freep) struct tree *tree = NULL;
        struct deliveries deliveries = { 0 };
        _cleanup_close_ int folder = -EBADF;
        int r, collected;

        r = tree_open(root, &tree);
        if (r < 0) {
                log_error(log, "%s cannot be opened: %s", root ? root : "/", strerror(-r));
                return r;
        }
        folder = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0) {
                r = -errno;
                log_error(log, "%s cannot be opened: %s", target, strerror(-r));
                return r;
        }

        collected = collect(tree, log, &deliveries);
        if (collected < 0)
                log_error(log, "not all deliveries could be collected: %s", strerror(-collected));
        r = generate(folder, &deliveries, log); /* what there is, in any case */
        deliveries_clear(&deliveries);
        return collected < 0 ? collected : r;
}

/* Whether PID 1 runs this for a manager that keyrota has nothing to do with: a user's, or the one in the
 * initrd. */
static bool is_foreign_manager(void) {
        const char *scope = getenv("SYSTEMD_SCOPE"), *in_initrd = getenv("SYSTEMD_IN_INITRD");

        return (scope && strcmp(scope, "system") != 0) || (in_initrd && strcmp(in_initrd, "1") == 0);
}

int main(int argc, char *argv[]) {
        struct log log = { .kmsg = -EBADF };
        const char *root = NULL;
        int r;

        if (argc >= 3 && strcmp(argv[1], "--root") == 0) {
                root = argv[2];
                argc -= 2;
                argv += 2;
        }
        if (argc != 2 && argc != 4) {
                fprintf(stderr,
                                "Usage: keyrota-generator [--root DIR] NORMAL-DIR [EARLY-DIR LATE-DIR]\n"
                                "Run by systemd, see systemd.generator(7) and keyrota(8).\n");
                return EXIT_FAILURE;
        }
        if (is_foreign_manager())
                return EXIT_SUCCESS;

        (void) umask(0022);
        if (getenv("SYSTEMD_SCOPE") && !root)
                log.kmsg = open("/dev/kmsg", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

        r = run(root, argv[1], &log);
        if (log.kmsg >= 0)
                (void) close(log.kmsg);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
