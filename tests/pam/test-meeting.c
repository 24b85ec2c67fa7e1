/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A login and a run that meet. The login is stopped before a call that opens or looks at the table or touches a key, and before a later one; a process of its own, as keyrota is
 * one, takes a step of the run at each: it publishes and replaces the table, or renews the rings that it finds (holders-renew.c, as it is). This for every two
 * such calls. Whatever came first: in the end the session has what the new table gives the user, as it is published now.
 */

#include <errno.h>
#include <keyutils.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <security/pam_modules.h>

#include "cleanup.h"
#include "context.h"
#include "copies.h"
#include "holders.h"
#include "tap.h"
#include "wrap.h"

#define PLAIN ((const char *const[]) { NULL })
#define FIRST "keyrota-access 2\nring 7\n"
#define API "secret:production/api/sign"
#define BILLING "secret:production/billing/verify"

static const char before[] = FIRST "secret production/api 3 0 sign session alice\nsecret production/billing 17 0 verify session alice\nend\n";

/* ---- the run -------------------------------------------------------------------------------------------------------------- */

enum step { PUBLISH = 1, TABLE = 2, RENEW = 4 };

struct scenario {
        const char *published; /* of api, as it is published now */
        const char *table;
        const char *api, *billing; /* what the session has in the end; NULL: no copy */
        enum step first, second;
        bool twice; /* an earlier line of the stack has made the ring */
};

static const struct scenario *scenario;
static unsigned stops[2]; /* before which of the calls that count */
static enum step left;    /* steps still to be taken */
static unsigned n_counted;
static int runner; /* the process that takes them */

static void publish(const char *description, const char *payload) {
        wrap_publish(description, payload, strlen(payload));
}

/* The live keyring is no one's but this test's, and not linked where keyrota would look for it. */
int __wrap_keyring_open(const char *name, bool create, keyring_serial *ret);
int __wrap_keyring_open(_unused_ const char *name, _unused_ bool create, keyring_serial *ret) {
        *ret = wrap_live_serial();
        return 0;
}

int context_audit(_unused_ const struct context *context, _unused_ enum audit_event event, _unused_ const struct audit_record *record) {
        return 0;
}

static int renew(void) {
        _cleanup_(tree_freep) struct tree *tree = NULL;
        struct context context = { .ring = "keyrota" };
        char root[PATH_MAX];

        if (!getcwd(root, sizeof(root)) || tree_open(root, &tree) < 0)
                return -errno;
        context.tree = tree;
        return holders_renew(&context, NULL);
}

struct order {
        const struct scenario *scenario;
        enum step steps;
};

static int obey(const struct order *order) {
        if ((order->steps & PUBLISH) && order->scenario->published)
                publish(API, order->scenario->published);
        if (order->steps & TABLE)
                wrap_table(order->scenario->table, strlen(order->scenario->table));
        return order->steps & RENEW ? renew() : 0;
}

/* The other process, from before the first login on: it obeys till its end of the pair is alone. */
static void start(void) {
        struct order order;
        int ends[2], r;
        pid_t child;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 || (child = fork()) < 0) {
                perror("a process for the run");
                exit(EXIT_FAILURE);
        }
        (void) close(ends[child != 0]);
        runner = ends[child == 0];
        while (child == 0 && recv(runner, &order, sizeof(order), 0) == sizeof(order)) {
                r = obey(&order);
                (void) send(runner, &r, sizeof(r), MSG_NOSIGNAL);
        }
        if (child == 0)
                _exit(EXIT_SUCCESS);
}

static void take(enum step steps) {
        const struct order order = { scenario, steps };
        int r = -EPIPE;

        if (send(runner, &order, sizeof(order), MSG_NOSIGNAL) < 0 || recv(runner, &r, sizeof(r), 0) != sizeof(r) || r < 0) {
                printf("Bail out! a step of the run failed: %s\n", strerror(-r));
                exit(EXIT_FAILURE);
        }
        left &= ~steps;
}

/* The last call of the trace, which is about to be made. */
static bool counts(void) {
        static const char *const calls[] = { "openat ", "fstatat ", "add_key ", "keyctl_" };
        size_t n = strlen(wrap.trace), start = n - 1;

        while (start > 0 && wrap.trace[start - 1] != ' ')
                start--;
        for (size_t i = 0; i < ELEMENTSOF(calls); i++)
                if (strncmp(wrap.trace + start, calls[i], strlen(calls[i])) == 0)
                        return true;
        return false;
}

static void before_each_call(void) {
        if (!counts())
                return;
        n_counted++;
        if (n_counted == stops[0])
                take(scenario->first);
        if (n_counted == stops[1])
                take(scenario->second);
}

/* ---- the login ------------------------------------------------------------------------------------------------------------ */

static void begin(void) {
        wrap_end();
        publish("config:audit", "keyrota1 - 0 -\nbest-effort");
        publish(API, "keyrota1 production/api 3 kid-a\nold");
        publish(BILLING, "keyrota1 production/billing 17 kid-b\nset");
        wrap_table(before, strlen(before));
        wrap_session(1001, NULL);
}

static bool has(const char *name, const char *bytes) {
        char buffer[64];

        return bytes ? wrap_copy(name, buffer, sizeof(buffer)) == (long) strlen(bytes) && memcmp(buffer, bytes, strlen(bytes)) == 0 :
                       wrap_copy(name, buffer, sizeof(buffer)) < 0;
}

/* *ret_stopped: the login was stopped twice; else it ended before. */
static bool login(bool *ret_stopped) {
        int result;

        begin();
        if (scenario->twice && wrap_open("alice", PLAIN) != PAM_SUCCESS)
                return false;
        left = scenario->first | scenario->second;
        n_counted = 0;
        wrap.meanwhile_call = NULL;
        wrap.meanwhile = before_each_call;
        result = wrap_open("alice", PLAIN);
        *ret_stopped = left == 0;
        if (left & scenario->first)
                take(scenario->first);
        if (left)
                take(scenario->second);
        if (result == PAM_SUCCESS && has("api", scenario->api) && has("billing", scenario->billing))
                return true;
        printf("# %s stopped before calls %u and %u, result %d, log: %s\n# calls: %s\n", scenario->twice ? "a second line" : "a login", stops[0], stops[1], result, wrap.log,
               wrap.trace);
        return false;
}

static bool meet(const struct scenario *wanted) {
        bool stopped = true, good = true;
        unsigned n = 1;

        scenario = wanted;
        for (unsigned first = 1; good && n > 0; first++) {
                stopped = true;
                n = 0;
                for (unsigned second = first; good && stopped; second++) {
                        stops[0] = first;
                        stops[1] = second;
                        good = login(&stopped);
                        n += stopped;
                        (void) wrap_close("alice", PLAIN);
                }
        }
        return good;
}

TEST(key_that_is_rotated_while_the_user_logs_in_is_the_new_one) {
        static const char after[] = FIRST "secret production/api 4 0 sign session alice\nsecret production/billing 17 0 verify session alice\nend\n";
        static const struct scenario scenarios[] = {
                { "keyrota1 production/api 4 kid-n\nnew", after, "new", "set", PUBLISH | TABLE, RENEW, false },
                { "keyrota1 production/api 4 kid-n\nnew", after, "new", "set", PUBLISH, TABLE | RENEW, false },
                { "keyrota1 production/api 4 kid-n\nnew", after, "new", "set", PUBLISH | TABLE, RENEW, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(scenarios); i++)
                expect(meet(&scenarios[i]));
}

TEST(copy_of_a_secret_that_is_taken_from_the_user_while_they_log_in_does_not_stay) {
        static const char after[] = FIRST "secret production/billing 17 0 verify session alice\nend\n";
        static const struct scenario scenarios[] = {
                { NULL, after, NULL, "set", TABLE, RENEW, false },
                { NULL, after, NULL, "set", TABLE, RENEW, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(scenarios); i++)
                expect(meet(&scenarios[i]));
}

TEST(user_who_is_locked_while_they_log_in_has_nothing) {
        static const char after[] = FIRST "locked alice\nsecret production/api 3 0 sign session alice\nsecret production/billing 17 0 verify session alice\nend\n";
        static const struct scenario locked = { NULL, after, NULL, NULL, TABLE, RENEW, false };

        expect(meet(&locked));
}

int main(void) {
        if (!wrap_scratch_of_root())
                return EXIT_SUCCESS;
        wrap_live();
        start();
        return tap_main();
}
