/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Test-only: a handover by itself, in a booted system, of a secret that keyrota has provisioned.
 *
 *   handover-tool NAME publish [verify] [sign]   one generation more of the same keys, as if those that verify, or sign, had changed
 *   handover-tool NAME show                      a line for each consumer: UNIT running|failed|restarting LOADED WANTED [stale]; then VERIFIERS SIGNERS
 *   handover-tool NAME over [NOW]                hands over; prints DONE FAILED WAITING. NOW: seconds since 1970
 *   handover-tool NAME problem UNIT
 *   handover-tool NAME hold                      takes the lock, says so, and keeps it until standard input ends
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "handover.h"
#include "kek.h"
#include "paths.h"
#include "publish.h"
#include "store.h"

struct tool {
        struct context context;
        struct policy_set *policies;
        const struct policy *policy;
        struct kek *kek;
        struct store *store;
        struct keyset *keyset;
        struct bus *bus;
        char *reason;
};

static void tool_clear(struct tool *tool) {
        bus_free(tool->bus);
        keyset_free(tool->keyset);
        store_free(tool->store);
        kek_free(tool->kek);
        policy_set_free(tool->policies);
        tree_free(tool->context.tree);
        free(tool->reason);
}

int context_audit(const struct context *context, enum audit_event event, const struct audit_record *record) {
        (void) context;
        return audit_write(event, record);
}

static int tool_open(struct tool *tool, const char *name, bool lock) {
        struct diagnostics diagnostics = { 0 };
        int r;

        tool->context.ring = KEYRING_NAME;
        r = tree_open(NULL, &tool->context.tree);
        if (r >= 0)
                r = policy_load_all(tool->context.tree, &tool->policies, &diagnostics);
        diagnostics_clear(&diagnostics);
        for (size_t i = 0; r >= 0 && i < tool->policies->n_policies; i++)
                if (strcmp(tool->policies->policies[i]->name, name) == 0 && tool->policies->policies[i]->valid)
                        tool->policy = tool->policies->policies[i];
        if (r >= 0 && !tool->policy)
                return -ENOENT;
        if (r >= 0)
                r = kek_load(tool->context.tree, &tool->kek, &tool->reason);
        if (r >= 0)
                r = store_open(tool->context.tree, tool->kek, lock, 30, &tool->store, &tool->reason);
        if (r >= 0)
                r = store_load(tool->store, tool->policy->environment, name, &tool->keyset, &tool->reason);
        return r;
}

static int publish(struct tool *tool, int argc, char *argv[]) {
        _cleanup_(publication_freep) struct publication *publication = NULL;
        _cleanup_(seen_freep) struct seen *seen = NULL;
        uint64_t generation = tool->keyset->generation + 1;
        char path[256];
        int r;

        for (int i = 0; i < argc; i++) {
                if (strcmp(argv[i], "verify") == 0) {
                        tool->keyset->verify_generation = generation;
                        /* with other keys the public file would be replaced */
                        (void) snprintf(path, sizeof(path), PATH_JWKS "/%s.json", tool->policy->name);
                        (void) unlink(path);
                }
                if (strcmp(argv[i], "revoke") == 0)
                        tool->keyset->revoke_generation = generation;
                if (strcmp(argv[i], "sign") == 0)
                        tool->keyset->sign_generation = generation;
        }
        r = store_stage(tool->store, tool->keyset, &tool->reason);
        if (r >= 0)
                r = store_commit(tool->store, &tool->reason);
        if (r >= 0)
                r = seen_new(&seen);
        if (r >= 0)
                r = publication_new(&tool->context, seen, &publication, &tool->reason);
        if (r >= 0)
                r = publication_add(publication, tool->policy, tool->keyset, &tool->reason);
        if (r >= 0)
                printf("%" PRIu64 "\n", tool->keyset->generation);
        return r;
}

static int look(struct tool *tool, struct consumers *consumers) {
        _cleanup_(consumers_view_freep) struct consumers_view *view = NULL;
        int r;

        r = bus_open(&tool->bus);
        if (r >= 0)
                r = consumers_view_new(tool->bus, tool->context.tree, &view);
        return r < 0 ? r : consumers_of(view, tool->policy, tool->keyset, consumers);
}

static void print_oldest(uint64_t generation, char end) {
        if (generation == LIFECYCLE_ALL)
                printf("all%c", end);
        else
                printf("%" PRIu64 "%c", generation, end);
}

static int show(struct tool *tool) {
        _cleanup_(consumers_clear) struct consumers consumers = { 0 };
        struct lifecycle_facts facts = { 0 };
        int r;

        r = look(tool, &consumers);
        if (r < 0)
                return r;
        for (size_t i = 0; i < consumers.n_items; i++) {
                const struct consumer *consumer = &consumers.items[i];

                printf("%s %s %" PRIu64 " %" PRIu64 "%s\n", consumer->unit,
                       consumer->running ? "running" : consumer->restarting ? "restarting" : "failed", consumer->loaded, consumer->wanted,
                       consumer_is_stale(consumer) ? " stale" : "");
        }
        consumers_facts(tool->policy, &consumers, &facts);
        print_oldest(facts.verifiers, ' ');
        print_oldest(facts.signers, '\n');
        return 0;
}

static int over(struct tool *tool, const char *when) {
        _cleanup_(consumers_clear) struct consumers consumers = { 0 };
        int64_t now = when ? strtoll(when, NULL, 10) : time(NULL);
        _cleanup_close_ int lock = -EBADF;
        struct handover_result result;
        int r;

        r = look(tool, &consumers);
        if (r >= 0)
                r = handover_lock(tool->context.tree, tool->policy->environment, tool->policy->name, false, &lock, &tool->reason);
        if (r >= 0)
                r = handover(&tool->context, tool->bus, tool->policy, tool->keyset, &consumers, now, &result);
        if (r >= 0)
                printf("%zu %zu %zu\n", result.n_done, result.n_failed, result.n_waiting);
        return r;
}

static int problem(struct tool *tool, const char *unit) {
        char secret[PUBLISH_SECRET_MAX];
        _cleanup_free_ char *text = NULL;

        text = handover_problem(tool->context.tree, publish_secret_name(tool->policy->environment, tool->policy->name, secret), unit);
        if (text)
                puts(text);
        return 0;
}

static int hold(struct tool *tool) {
        _cleanup_close_ int lock = -EBADF;
        int r;

        r = handover_lock(tool->context.tree, tool->policy->environment, tool->policy->name, true, &lock, &tool->reason);
        if (r < 0)
                return r;
        printf("%d\n", (int) getpid());
        (void) fflush(stdout);
        while (getchar() != EOF)
                ;
        return 0;
}

static int run(struct tool *tool, int argc, char *argv[]) {
        const char *verb = argv[2], *argument = argc > 3 ? argv[3] : NULL;
        int r;

        r = tool_open(tool, argv[1], strcmp(verb, "publish") == 0);
        if (r < 0)
                return r;
        if (strcmp(verb, "publish") == 0)
                return publish(tool, argc - 3, argv + 3);
        if (strcmp(verb, "show") == 0)
                return show(tool);
        if (strcmp(verb, "over") == 0)
                return over(tool, argument);
        if (strcmp(verb, "problem") == 0 && argument)
                return problem(tool, argument);
        return strcmp(verb, "hold") == 0 ? hold(tool) : -EINVAL;
}

int main(int argc, char *argv[]) {
        _cleanup_(tool_clear) struct tool tool = { 0 };
        int r;

        if (argc < 3)
                return 2;
        r = run(&tool, argc, argv);
        if (r < 0)
                fprintf(stderr, "handover-tool: %s\n", tool.reason ? tool.reason : strerror(-r));
        return r < 0;
}
