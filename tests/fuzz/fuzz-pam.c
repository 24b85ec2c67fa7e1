/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Drives pam_keyrota.so through a login that goes wrong: what opens, in which the account is asked for and a session opened, perhaps twice, and closed, with an
 * access table and an entry of the live keyring of any bytes, any options, and a plan of which calls fail. Whatever comes, nobody is let in or holds a copy whom
 * the table does not name, results are those that the manual promises, and no key, descriptor or byte is left behind. The keyrings are the kernel's: run it as
 * root. Calls the module through tests/pam/wrap.c.
 */

/*
 * To build and run it (from the top of the source); the seed is a plan of zeros and a table:
 *
 * wrapped=$(sed -n '/^pam_wrapped = /,/[^\\]$/p' Makefile.am | tr -d '\\\n' | sed 's/pam_wrapped = //')
 * clang -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -DRUN_DIR='"run"' \
 *         -DAUDIT_JOURNAL_SOCKET='"run/journal"' -DCONFIG_DIR='"/etc/keyrota"' -DVENDOR_DIR='"/usr/lib/keyrota"' -DSTATE_DIR='"/var/lib/keyrota"' -Isrc -Ipam -Itests/pam -o fuzz-pam \
 *         tests/fuzz/fuzz-pam.c tests/pam/wrap.c pam/[a-z]*.c src/access-table.c src/audit-missing.c src/audit-record.c src/copies.c src/entitlement.c src/membership.c \
 *         $(printf -- '-Wl,--wrap=%s ' $wrapped) -lpam -lkeyutils
 * mkdir -p corpus && head -c 16 /dev/zero >corpus/seed && printf 'secret production/api 1 0 sign session alice @ops\n' >>corpus/seed && ./fuzz-pam "$PWD/corpus"
 */

#include <dirent.h>
#include <errno.h>
#include <keyutils.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <security/pam_modules.h>

#include "access-table.h"
#include "cleanup.h"
#include "copies.h"
#include "wrap.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first bytes of an input. */
struct plan {
        uint8_t user, options[2], fail_at[3], fail_from, error, journal, form, session, service, entry_size, more[3];
};

static const struct {
        const char *name, *account;
        unsigned uid;
} users[] = { { "alice", "alice", 1001 }, { "bob", "bob", 1002 }, { "carol", "carol", 1003 }, { "mallory", "mallory", 1004 }, { "ALICE", "alice", 1001 },
              { "ghost", NULL, 1005 } };

static const char *const all_options[] = { "debug", "quiet", "strict", "secret=api", "secret=billing", "use=sign", "use=verify", "nonsense",
                                           "secret=", "secret=../x", "use=", "use=both", "secret=api", "", "strict=1", "debug" };

static const int errors[] = { EIO, ENOMEM, EMFILE, EACCES, EAGAIN, ENOENT, EDQUOT, ENOKEY, EKEYREVOKED, EKEYEXPIRED, EPERM, ERANGE, EOVERFLOW, ENOSYS };

static void check(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "%s\nfailed: %s\nlog: %s\ntrace: %s\n", what, wrap.failed, wrap.log, wrap.trace);
        abort();
}

static unsigned count_descriptors(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        while (dir && readdir(dir))
                n++;
        if (dir)
                closedir(dir);
        return n;
}

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_) {
        static const char billing[] = "keyrota1 production/billing 17 kid-b\n{\"keys\":[]}", audit[] = "keyrota1 - 0 -\nrequired";

        wrap_scratch();
        wrap_live();
        wrap_publish("secret:production/billing/verify", billing, sizeof(billing) - 1);
        wrap_publish("secret:production/billing/sign", billing, sizeof(billing) - 1);
        wrap_publish("config:audit", audit, sizeof(audit) - 1);
        return 0;
}

/* Could the table mean this user, by name or by any group? Coarse, but no parser. */
static bool may_mean(const struct plan *plan, const char *table, size_t size) {
        const char *account = users[plan->user % ELEMENTSOF(users)].account;

        return account && (memmem(table, size, account, strlen(account)) || memchr(table, '@', size));
}

static void set_faults(const struct plan *plan, unsigned which) {
        wrap.fail_at[0] = plan->fail_at[which];
        wrap.fail_at[1] = plan->fail_at[(which + 1) % 3];
        wrap.fail_from = plan->fail_from;
        wrap.fail_errno = errors[plan->error % ELEMENTSOF(errors)];
}

static size_t choose_options(const struct plan *plan, const char *options[static 17]) {
        unsigned bits = plan->options[0] | (unsigned) plan->options[1] << 8;
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(all_options); i++)
                if (bits & 1u << i)
                        options[n++] = all_options[i];
        options[n] = NULL;
        return n;
}

static bool has(const char *const options[], const char *wanted) {
        for (; *options; options++)
                if (strcmp(*options, wanted) == 0)
                        return true;
        return false;
}

static void run(const struct plan *plan, const char *table, size_t size) {
        const char *options[17], *user = users[plan->user % ELEMENTSOF(users)].name;
        bool meant = may_mean(plan, table, size), strict, ours = plan->session % 4 != 3;
        unsigned before;
        int result;

        (void) choose_options(plan, options);
        strict = has(options, "strict");
        wrap_session(ours ? users[plan->user % ELEMENTSOF(users)].uid : 1009, NULL);
        wrap_set_journal(plan->journal % 8 == 7 ? WRAP_JOURNAL_NONE : WRAP_JOURNAL_GOOD);
        before = count_descriptors();

        set_faults(plan, 0);
        wrap.service = plan->service % 2 ? "keyrota" : NULL;
        wrap.env_secret = plan->service % 4 == 3 ? "billing" : plan->service % 4 == 1 ? "../x" : NULL;
        result = wrap_acct(user, options);
        check(result == PAM_PERM_DENIED || (result == PAM_SUCCESS && meant), "account");
        check(wrap_count_possessed() == 0 && wrap_count_left() == 0, "account made keys");

        for (unsigned i = 0; i < 1 + plan->session / 4 % 2; i++) {
                set_faults(plan, 1 + i);
                result = wrap_open(user, options);
                check(result == PAM_SUCCESS || result == (strict ? PAM_SESSION_ERR : PAM_IGNORE), "result of a session");
                check(wrap_count_left() == 0, "keys left");
                check(wrap_count_possessed() == 0 || (meant && ours), "copies for who is not named");
                check(result != PAM_SESSION_ERR || i > 0 || wrap_count_possessed() == 0, "strict took not everything back");
        }
        set_faults(plan, 2);
        if (plan->session / 8 % 2)
                wrap.fail_at[0] = wrap.fail_at[1] = wrap.fail_from = 0;
        check(wrap_close(user, options) == PAM_SUCCESS, "close");
        wrap_end();
        check(count_descriptors() == before, "descriptors left");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char head[] = "keyrota-access 2\nring 7\n", last[] = "end\n";
        _cleanup_free_ char *table = NULL;
        size_t table_size = 0;
        struct plan plan;

        if (size < sizeof(plan) || size > 16384)
                return 0;
        memcpy(&plan, data, sizeof(plan));
        data += sizeof(plan);
        size -= sizeof(plan);
        if (plan.entry_size >= size)
                plan.entry_size = 0;

        /* The entry: of the right form with any bytes, or any bytes. */
        {
                char entry[sizeof("keyrota1 production/api 3 kid\n") + 256];
                int n = plan.form & 1 ? 0 : snprintf(entry, sizeof(entry), "keyrota1 production/api 3 kid\n");

                memcpy(entry + n, data, plan.entry_size);
                wrap_publish("secret:production/api/sign", n + plan.entry_size > 0 ? entry : "x", n + plan.entry_size > 0 ? (size_t) n + plan.entry_size : 1);
        }
        data += plan.entry_size;
        size -= plan.entry_size;

        table = malloc(sizeof(head) + sizeof(last) + size);
        if (!table)
                return 0;
        if (!(plan.form & 2)) {
                memcpy(table, head, strlen(head));
                table_size = strlen(head);
        }
        memcpy(table + table_size, data, size);
        table_size += size;
        if (!(plan.form & 4)) {
                memcpy(table + table_size, last, strlen(last));
                table_size += strlen(last);
        }
        wrap_table(table, table_size);
        run(&plan, table, table_size);
        return 0;
}
