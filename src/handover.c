/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Handovers: their order, and what is remembered of them. One unit's is in handover-unit.c. May call bus, consumers, evidence, handover-memory,
 * handover-plan, roles, window, log, lock. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "handover-plan.h"
#include "handover-run.h"
#include "lock.h"
#include "log.h"
#include "paths.h"
#include "progress.h"
#include "reason.h"
#include "window.h"

#define JOB_TIMEOUT (5 * 60) /* seconds for each group */
#define LOCK_TIMEOUT (10 * 60)
#define LOCK_SUFFIX ":lock"
#define PAUSE_MIN 5
#define PAUSE_MAX 3600

int handover_lock(const struct tree *tree, const char *environment, const char *name, bool wait, int *ret_fd, char **ret_reason) {
        _cleanup_close_ int folder = -EBADF, fd = -EBADF;
        _cleanup_free_ char *path = NULL;
        char secret[PUBLISH_SECRET_MAX];
        pid_t holder;
        int r;

        r = handover_memory_path(publish_secret_name(environment, name, secret), LOCK_SUFFIX, &path);
        if (r < 0)
                return r;
        folder = tree_make_directory(tree, PATH_HANDOVER, 0700);
        if (folder < 0)
                return reason_set(folder, ret_reason, "cannot make " PATH_HANDOVER ": %s", strerror(-folder));
        fd = tree_open_path(tree, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open %s: %s", path, strerror(-fd));
        r = lock_take(fd, wait ? LOCK_TIMEOUT : 0, &holder);
        if (r == -EAGAIN && holder > 0)
                return reason_set(r, ret_reason, "process %d is handing %s over to its services; try again when it has ended", (int) holder, secret);
        if (r == -EAGAIN)
                return reason_set(r, ret_reason, "another process is handing %s over to its services; try again when it has ended", secret);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot lock %s: %s", path, strerror(-r));
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int recall(const struct tree *tree, const char *secret, struct handover_memory *memory) {
        int r = handover_memory_load(tree, secret, memory);

        if (r != -EBADMSG)
                return r;
        log_warning(PATH_HANDOVER ": the notes on %s are not in keyrota's form, and are begun anew", secret);
        return 0;
}

static int remember(struct handover_run *run) {
        return handover_memory_save(run->context->tree, run->secret, &run->memory);
}

static const struct consumer *find_consumer(const struct consumers *consumers, const char *unit) {
        for (size_t i = 0; i < consumers->n_items; i++)
                if (strcmp(consumers->items[i].unit, unit) == 0)
                        return &consumers->items[i];
        return NULL;
}

/* Is the note of a unit that has to be handed something, or is down since? */
static int is_problem(const struct handover_run *run, const struct consumers *consumers, const struct handover_note *note) {
        const struct consumer *known = find_consumer(consumers, note->unit);
        struct consumer consumer = { .unit = note->unit, .delivery = consumers_delivery(run->policy, note->unit) };
        int r;

        if (known)
                return consumer_is_stale(known);
        if (!consumer.delivery)
                return 0;
        r = consumer_look(run->bus, &run->evidence, run->policy, run->keyset, note->attempts > 0, &consumer);
        return r > 0 ? consumer_is_stale(&consumer) : r;
}

static int forget_the_solved(struct handover_run *run, const struct consumers *consumers) {
        for (size_t i = run->memory.n_notes; i > 0; i--) {
                int r = is_problem(run, consumers, &run->memory.notes[i - 1]);

                if (r < 0)
                        return r;
                if (r == 0)
                        handover_memory_forget(&run->memory, run->memory.notes[i - 1].unit);
        }
        return 0;
}

/* A unit that runs is not started if it was stopped just now; one that has failed is to be. */
static enum bus_job job_of(const struct handover_unit *unit) {
        if (unit->action == HANDOVER_RELOAD)
                return BUS_RELOAD;
        return unit->consumer.running ? BUS_TRY_RESTART : BUS_RESTART;
}

/* The jobs of the units that have one, all at once. */
static int run_jobs(struct handover_run *run, struct handover_unit *units, size_t n) {
        _cleanup_free_ struct bus_job_request *requests = calloc(n, sizeof(*requests));
        size_t n_requests = 0;
        int r = 0;

        if (!requests)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                if (units[i].action != HANDOVER_RESTART && units[i].action != HANDOVER_RELOAD)
                        continue;
                requests[n_requests++] = (struct bus_job_request) { .unit = units[i].consumer.unit, .job = job_of(&units[i]) };
                r = handover_unit_begin_job(run, &units[i]);
                if (r < 0)
                        return r;
        }
        if (n_requests == 0)
                return 0;
        /* Before the jobs: a unit that they leave failed holds the rotation back, also where this process is killed. */
        r = remember(run);
        if (r >= 0) {
                progress_wait("%s: waiting until %s%s is %s", run->secret, requests[0].unit, n_requests > 1 ? " and others" : "",
                              requests[0].job == BUS_RELOAD ? "reloaded" : "restarted");
                r = bus_run_jobs(run->bus, requests, n_requests, JOB_TIMEOUT);
                progress_wait_end();
        }
        for (size_t i = 0, k = 0; r >= 0 && i < n; i++)
                if (k < n_requests && units[i].consumer.unit == requests[k].unit)
                        r = handover_unit_end_job(run, &units[i], &requests[k++]);
        for (size_t i = 0; i < n_requests; i++)
                free(requests[i].reason);
        return r;
}

/* Where one unit of those that change together has to wait for the window, all wait. */
static int wait_for_window(struct handover_run *run, struct handover_unit *units, size_t n, bool together) {
        bool any = false;
        int r;

        for (size_t i = 0; i < n; i++)
                any |= handover_unit_waits_for_window(run, &units[i]);
        for (size_t i = 0; i < n; i++) {
                if (units[i].action == HANDOVER_NOTHING || !(together ? any : handover_unit_waits_for_window(run, &units[i])))
                        continue;
                r = handover_unit_waits(run, &units[i], "waits for the window of its policy");
                if (r < 0)
                        return r;
                units[i].action = HANDOVER_NOTHING;
        }
        return 0;
}

static int run_group(struct handover_run *run, const struct handover_step *steps, size_t n) {
        _cleanup_free_ struct handover_unit *units = calloc(n, sizeof(*units));
        const struct delivery *delivery = steps[0].consumer->delivery;
        bool stopped;
        int r;

        if (!units)
                return -ENOMEM;
        stopped = !steps[0].together && delivery_is_template(delivery) && run->stopped[delivery - run->policy->deliveries];
        for (size_t i = 0; i < n; i++) {
                units[i].consumer = *steps[i].consumer;
                r = stopped ? handover_unit_waits(run, &units[i], "is kept running as it is, as another instance did not come up with what is published") :
                              handover_unit_decide(run, steps[i].together, &units[i]);
                if (r < 0)
                        return r;
        }
        r = wait_for_window(run, units, n, steps[0].together);
        for (size_t i = 0; r >= 0 && i < n; i++)
                if (units[i].action == HANDOVER_SIGNAL)
                        r = handover_unit_signal(run, &units[i]);
        if (r >= 0)
                r = run_jobs(run, units, n);
        return r;
}

static int run_steps(struct handover_run *run, const struct consumers *consumers) {
        _cleanup_free_ struct handover_step *steps = NULL;
        size_t n, length;
        int r;

        r = handover_plan(run->policy, run->keyset, consumers, &steps, &n);
        for (size_t i = 0; r >= 0 && i < n; i += length) {
                for (length = 1; i + length < n && steps[i + length].group == steps[i].group;)
                        length++;
                r = run_group(run, steps + i, length);
                if (r >= 0)
                        r = remember(run);
        }
        return r;
}

static void run_clear(struct handover_run *run) {
        evidence_close(&run->evidence);
        handover_memory_clear(&run->memory);
        free(run->stopped);
}

int handover(struct context *context, struct bus *bus, const struct policy *policy, const struct keyset *keyset,
             const struct consumers *consumers, int64_t now, struct handover_result *ret) {
        _cleanup_(run_clear) struct handover_run run = {
                .context = context,
                .bus = bus,
                .policy = policy,
                .keyset = keyset,
                .open = window_next(&policy->window, now) <= now,
                .now = now,
                .evidence.served = -EBADF,
        };
        int r;

        if (!bus) { /* no unit runs in this tree */
                *ret = run.result;
                return 0;
        }
        publish_secret_name(keyset->environment, keyset->name, run.secret);
        run.stopped = calloc(policy->n_deliveries + 1, sizeof(*run.stopped));
        if (!run.stopped)
                return -ENOMEM;
        r = evidence_open(context->tree, &run.evidence);
        if (r >= 0)
                r = recall(context->tree, run.secret, &run.memory);
        if (r >= 0)
                r = forget_the_solved(&run, consumers);
        if (r >= 0)
                r = run_steps(&run, consumers);
        if (r >= 0)
                r = remember(&run);
        if (r < 0)
                return r;
        *ret = run.result;
        return 0;
}

char *handover_problem(const struct tree *tree, const char *secret_name, const char *unit) {
        _cleanup_(handover_memory_clear) struct handover_memory memory = { 0 };
        const struct handover_note *note;

        if (handover_memory_load(tree, secret_name, &memory) < 0)
                return NULL;
        note = handover_memory_find(&memory, unit);
        return note ? strdup(note->reason) : NULL;
}

int64_t handover_pause(const struct tree *tree, const char *secret_name, int64_t now) {
        _cleanup_(handover_memory_clear) struct handover_memory memory = { 0 };
        int64_t pause = PAUSE_MIN, elapsed = 0;

        if (handover_memory_load(tree, secret_name, &memory) < 0)
                return PAUSE_MIN;
        for (size_t i = 0; i < memory.n_notes; i++)
                if (now > memory.notes[i].since && now - memory.notes[i].since > elapsed)
                        elapsed = now - memory.notes[i].since;
        while (pause < PAUSE_MAX && elapsed >= pause) { /* each pause after the one before */
                elapsed -= pause;
                pause *= 2;
        }
        return pause < PAUSE_MAX ? pause : PAUSE_MAX;
}
