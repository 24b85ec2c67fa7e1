/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A rotation from end to end: passes of provision.c, and between them the handover to the services that run. Their restarts wait for the provisioner, so the store is
 * not locked meanwhile.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "handover.h"
#include "handover-memory.h"
#include "log.h"
#include "paths.h"
#include "progress.h"
#include "provision-run.h"

#define PASSES_MAX 20 /* a rotation has five steps */
#define WANTED_MAX 64 /* bytes of PATH_ROTATE_WANTED: a time and a pid */

/* What is not published for it would be refused: a restart would only take it down. */
static void drop_unpublished(const struct run *run, struct consumers *consumers) {
        size_t n = 0;

        for (size_t i = 0; i < consumers->n_items; i++) {
                struct consumer *consumer = &consumers->items[i];

                if (publication_has(run->publication, consumer->delivery))
                        consumers->items[n++] = *consumer;
                else
                        free(consumer->unit);
        }
        consumers->n_items = n;
}

/* Is a consumer remembered? The rotation's own unit is none, see rotate-timers.c. */
static bool remembers_consumer(const struct item *item, const struct handover_memory *memory) {
        for (size_t i = 0; i < memory->n_notes; i++)
                if (consumers_delivery(item->policy, memory->notes[i].unit))
                        return true;
        return false;
}

/* A stale consumer, or one that was and is remembered. */
static bool has_work(const struct run *run, const struct item *item, const struct consumers *consumers) {
        _cleanup_(handover_memory_clear) struct handover_memory memory = { .n_notes = 0 };
        char secret[PUBLISH_SECRET_MAX];

        for (size_t i = 0; i < consumers->n_items; i++)
                if (consumer_is_stale(&consumers->items[i]))
                        return true;
        publish_secret_name(item->outline->environment, item->outline->name, secret);
        return handover_memory_load(run->context->tree, secret, &memory) < 0 || remembers_consumer(item, &memory);
}

/* One secret's. 1: something was handed over; 0: nothing to do, or nothing that could be done; a negative errno: systemd does not answer. */
static int hand_over(struct run *run, struct item *item) {
        _cleanup_(consumers_clear) struct consumers consumers = {};
        _cleanup_close_ int lock = -EBADF;
        _cleanup_free_ char *reason = NULL;
        struct handover_result result;
        int r;

        r = consumers_of(run->view, item->policy, item->outline, &consumers);
        if (r < 0)
                return r;
        drop_unpublished(run, &consumers);
        if (!has_work(run, item, &consumers))
                return 0;
        r = handover_lock(run->context->tree, item->outline->environment, item->outline->name, false, &lock, &reason);
        if (r == -EAGAIN && run->options->n_names > 0) {
                progress_wait("waiting: %s", reason);
                r = handover_lock(run->context->tree, item->outline->environment, item->outline->name, true, &lock, &reason);
                progress_wait_end();
        }
        if (r == -EAGAIN) {
                log_info("%s/%s: %s", item->outline->environment, item->outline->name, reason);
                item->waits = true;
                return 0;
        }
        if (r < 0) {
                log_error("%s/%s: %s", item->outline->environment, item->outline->name, reason ? reason : strerror(-r));
                run->n_failed++;
                return 0;
        }
        r = handover(run->context, run->bus, item->policy, item->outline, &consumers, run->now, &result);
        if (r < 0)
                return r;
        run->n_held_up += result.n_failed > 0;
        item->waits = item->waits || result.n_failed > 0 || result.n_waiting > 0;
        return result.n_done > 0;
}

/* Secrets whose handover was in vain in this run, so that it is not tried again in each pass. */
struct held_up {
        char **names;
        size_t n;
};

static void held_up_clear(struct held_up *held_up) {
        for (size_t i = 0; i < held_up->n; i++)
                free(held_up->names[i]);
        free(held_up->names);
}

static bool is_held_up(const struct held_up *held_up, const char *name) {
        for (size_t i = 0; i < held_up->n; i++)
                if (strcmp(held_up->names[i], name) == 0)
                        return true;
        return false;
}

static int hold_up(struct held_up *held_up, const char *name) {
        char **grown = reallocarray(held_up->names, held_up->n + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        held_up->names = grown;
        grown[held_up->n] = strdup(name);
        return grown[held_up->n] ? (int) held_up->n++ : -ENOMEM;
}

/* 1: something was handed over. */
static int hand_over_once(struct run *run, struct item *item, struct held_up *held_up) {
        size_t n_before = run->n_held_up;
        int r;

        if (is_held_up(held_up, item->written->name)) {
                item->waits = true;
                run->n_held_up++;
                return 0;
        }
        r = run_open_view(run);
        if (r >= 0)
                r = hand_over(run, item);
        if (r >= 0 && run->n_held_up > n_before && hold_up(held_up, item->written->name) < 0)
                return -ENOMEM;
        return r;
}

/* Returns whether something was handed over. */
static bool hand_over_all(struct run *run, struct held_up *held_up) {
        bool done = false;
        int r = 0;

        if (!context_is_host(run->context))
                return false;
        consumers_view_free(run->view);
        run->view = NULL;
        for (size_t i = 0; i < run->policies->n_policies; i++) {
                struct item *item = &run->items[i];

                if (!item->outline || item->policy->n_deliveries == 0)
                        continue;
                progress_show("Telling services of new keys", i, run->policies->n_policies);
                r = hand_over_once(run, item, held_up);
                if (r < 0)
                        break;
                done = done || r > 0;
        }
        progress_end(run->policies->n_policies);
        if (r < 0) {
                log_error("cannot tell services of new keys, for systemd does not answer: %s", strerror(-r));
                run->n_failed++;
        }
        return done;
}

/* The view is there: timers were armed by it. */
static void forget_units(const struct run *run) {
        int r = run->view ? consumers_view_sweep(run->view) : 0;

        if (r < 0)
                log_warning("cannot remove records from " PATH_SERVED ": %s", strerror(-r));
}

/* What provision() has last left there. NULL: nothing, or nothing that can be read. */
static char *read_wanted(const struct context *context) {
        char *text;

        if (!context_is_host(context) || tree_read_file(context->tree, PATH_ROTATE_WANTED, WANTED_MAX, &text, NULL) < 0)
                return NULL;
        return text;
}

/* Was a sweep asked for since? The start that this means is lost where it is keyrota-rotate.service that runs here. */
static bool is_wanted_again(const struct context *context, const char *before) {
        _cleanup_free_ char *now = read_wanted(context);

        return now && (!before || strcmp(before, now) != 0);
}

static void tell_time(const char *environment, const char *name, const char *what, int64_t when) {
        time_t t = (time_t) when;
        char text[64];
        struct tm tm;

        if (when != TIME_NEVER && localtime_r(&t, &tm) && strftime(text, sizeof(text), "%F %T %Z", &tm) > 0)
                log_info("%s/%s: %s at %s; keyrota plan %s shows what is to come", environment, name, what, text, name);
}

/* Who has given a command is told what it waits for now. */
static void tell_next(const struct run *run) {
        for (size_t i = 0; i < run->policies->n_policies; i++) {
                const struct item *item = &run->items[i];

                if (!item->outline)
                        continue;
                if (item->waits || item->result.wait != LIFECYCLE_WAIT_NOBODY)
                        log_info("%s/%s: the next step waits for services; keyrota status %s names them", item->outline->environment,
                                 item->outline->name, item->outline->name);
                else
                        tell_time(item->outline->environment, item->outline->name, "the next step comes", item->result.next);
        }
        for (size_t i = 0; i < run->n_retired; i++) {
                const struct due *due = &run->retired[i];

                if (due->waits)
                        log_info("%s/%s: its keys are destroyed when no service runs with them and no token can be out any more", due->environment,
                                 due->name);
                else
                        tell_time(due->environment, due->name, "its keys are destroyed", due->when);
        }
}

/* Each pass reads the policies anew, as they may have been edited while services were restarted. Positive: another is due. */
static int rotate_once(struct context *context, const struct provision_options *options, unsigned pass, struct held_up *held_up, int *ret_status) {
        _cleanup_(run_clear) struct run run = { .context = context, .options = options, .n_passes = pass };
        _cleanup_free_ char *wanted = read_wanted(context);
        bool more = false, done;
        int r;

        r = run_open(&run);
        if (r >= 0)
                r = run_pass(&run, &more);
        if (r < 0 && options->n_names == 0 && run_arm_retries(&run) < 0)
                log_error("cannot arm timers for another try; the daily keyrota-rotate.timer has to do");
        if (r < 0)
                return r;
        done = hand_over_all(&run, held_up);
        *ret_status = run_status(&run);
        if ((run.n_stored_now > 0 || done || more) && pass < PASSES_MAX)
                return 1;
        if (options->change && !run.change_failed)
                tell_next(&run);
        r = run_arm_timers(&run);
        if (r < 0 && *ret_status == EXIT_SUCCESS)
                *ret_status = EXIT_FAILURE;
        if (options->n_names > 0)
                return 0;
        forget_units(&run);
        return pass < PASSES_MAX && is_wanted_again(context, wanted);
}

int rotate(struct context *context, const struct provision_options *options) {
        _cleanup_(held_up_clear) struct held_up held_up = { .n = 0 };
        int status = EXIT_FAILURE, worst = EXIT_SUCCESS, r;
        unsigned pass = 1;

        while ((r = rotate_once(context, options, pass++, &held_up, &status)) > 0)
                if (status == EXIT_FAILURE)
                        worst = status; /* a change that was refused stays refused */
        return r < 0 ? EXIT_FAILURE : worst != EXIT_SUCCESS ? worst : status;
}
