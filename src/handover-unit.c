/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Handing over to one unit: what to do, and what came of it. May call bus, consumers, evidence, handover-memory, window, audit, log. */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "handover-run.h"
#include "log.h"

#define SETTLE_STEP_MSEC 20
#define SETTLE_STEPS 100 /* 2 s: the server puts what it has sent on record right after, not before the job's end */

#define IN_VAIN "was being handed over when keyrota was stopped"

static void audit_unit(const struct handover_run *run, const struct consumer *consumer, enum audit_event event, const char *reason) {
        const struct audit_record record = {
                .environment = run->keyset->environment,
                .name = run->keyset->name,
                .generation = run->keyset->generation,
                .unit = consumer->unit,
                .invocation = consumer->invocation[0] ? consumer->invocation : NULL,
                .credential = consumer->delivery->credential,
                .reason = reason,
        };

        (void) context_audit(run->context, event, &record); /* one that is missing is on record itself */
}

static const char *action_done(const struct handover_unit *unit, char buffer[static ON_CHANGE_TEXT_MAX]) {
        switch (unit->action) {
        case HANDOVER_RESTART:
                return unit->consumer.failed ? "started" : "restarted";
        case HANDOVER_RELOAD:
                return "reloaded";
        case HANDOVER_SIGNAL:
                (void) snprintf(buffer, ON_CHANGE_TEXT_MAX, "sent SIG%s", sigabbrev_np(unit->consumer.delivery->signal));
                return buffer;
        case HANDOVER_NOTHING:
                break;
        }
        return "left alone";
}

static void succeeded(struct handover_run *run, const struct handover_unit *unit) {
        char buffer[ON_CHANGE_TEXT_MAX];
        const char *done = action_done(unit, buffer);

        run->result.n_done++;
        log_info("%s: %s %s generation %" PRIu64 " of %s", unit->consumer.unit, done, unit->action == HANDOVER_SIGNAL ? "for" : "with",
                 run->keyset->generation, run->secret);
        audit_unit(run, &unit->consumer, AUDIT_UNIT_HANDED_OVER, done);
}

/* What was tried is on record already. */
static int failed(struct handover_run *run, const struct handover_unit *unit, const char *why) {
        const char *name = unit->consumer.unit;
        _cleanup_free_ char *reason = NULL;
        char buffer[ON_CHANGE_TEXT_MAX];
        int r;

        r = asprintf(&reason, "could not be %s %s generation %" PRIu64 " of %s: %s", action_done(unit, buffer),
                     unit->action == HANDOVER_SIGNAL ? "for" : "with", run->keyset->generation, run->secret, why);
        if (r < 0) {
                reason = NULL;
                return -ENOMEM;
        }
        run->result.n_failed++;
        run->stopped[unit->consumer.delivery - run->policy->deliveries] = true;
        log_warning("%s: %s; see systemctl status %s", name, reason, name);
        audit_unit(run, &unit->consumer, AUDIT_HANDOVER_FAILED, why);
        return handover_memory_explain(&run->memory, name, reason);
}

int handover_unit_waits(struct handover_run *run, const struct handover_unit *unit, const char *reason) {
        run->result.n_waiting++;
        return handover_memory_waits(&run->memory, unit->consumer.unit, run->now, unit->consumer.wanted, reason);
}

bool handover_unit_waits_for_window(const struct handover_run *run, const struct handover_unit *unit) {
        if (unit->consumer.loaded < run->keyset->revoke_generation)
                return false; /* it may hold a compromised key */
        return !run->open && unit->consumer.running && (unit->action == HANDOVER_RESTART || unit->action == HANDOVER_SIGNAL);
}

/* Other instances that were sent a signal and have not fetched what is published since: they may be down. */
static unsigned count_signalled(const struct handover_run *run, const struct delivery *delivery, const char *except) {
        unsigned n = 0;

        for (size_t i = 0; i < run->memory.n_notes; i++) {
                const struct handover_note *note = &run->memory.notes[i];

                n += note->invocation[0] && strcmp(note->unit, except) != 0 && consumers_delivery(run->policy, note->unit) == delivery;
        }
        return n;
}

/* A signal to a unit with a credential: once, until it has fetched it; that shows in a start of its own. */
static int decide_signal(struct handover_run *run, bool together, struct handover_unit *unit) {
        struct consumer *consumer = &unit->consumer;
        const struct delivery *delivery = consumer->delivery;
        const struct handover_note *note = handover_memory_find(&run->memory, consumer->unit);

        unit->action = HANDOVER_SIGNAL;
        if (!delivery->credential)
                return 0;
        if (note && note->invocation[0] && note->generation >= consumer->wanted) {
                unit->action = HANDOVER_NOTHING;
                if (strcmp(note->invocation, consumer->invocation) == 0)
                        return handover_unit_waits(run, unit, note->reason);
                /* Started since the signal, which was sent when this was published already: the record of it was lost. */
                handover_memory_forget(&run->memory, consumer->unit);
                return evidence_add(&run->evidence, run->keyset, delivery, consumer->unit, consumer->invocation);
        }
        if (!together && delivery_is_template(delivery) && count_signalled(run, delivery, consumer->unit) >= delivery->max_unavailable) {
                unit->action = HANDOVER_NOTHING;
                return handover_unit_waits(run, unit, "waits for other instances, which were sent the signal and have not fetched their credential yet");
        }
        return 0;
}

/* It has failed, and is started again by itself. The same is to be seen of one that was stopped while it waited for that. */
static int leave_to_systemd(struct handover_run *run, const struct consumer *consumer) {
        _cleanup_free_ char *reason = NULL;

        run->result.n_failed++;
        run->stopped[consumer->delivery - run->policy->deliveries] = true;
        if (asprintf(&reason, "has failed since it was handed %s, and waits for its next automatic start; if it shall not: systemctl reset-failed %s",
                     run->secret, consumer->unit) < 0) {
                reason = NULL;
                return -ENOMEM;
        }
        log_warning("%s: %s", consumer->unit, reason);
        return handover_memory_explain(&run->memory, consumer->unit, reason);
}

/* One that was started just now may not have its record yet: that comes right after the last byte. Those that ran at the first look have the time for it
 * together. */
static int look_before(struct handover_run *run, struct consumer *consumer) {
        const struct timespec step = { .tv_nsec = SETTLE_STEP_MSEC * 1000000L };
        bool remembered = handover_memory_failed(&run->memory, consumer->unit);
        char before[sizeof(consumer->invocation)];
        unsigned n_own = 0;

        memcpy(before, consumer->invocation, sizeof(before));
        for (;;) {
                int r = consumer_look(run->bus, &run->evidence, run->policy, run->keyset, remembered, consumer);
                unsigned *n = strcmp(before, consumer->invocation) == 0 ? &run->n_settled : &n_own;

                if (r <= 0 || *n >= SETTLE_STEPS || !consumer->running || consumer->loaded > 0 || !consumer->delivery->credential)
                        return r;
                (void) nanosleep(&step, NULL);
                (*n)++;
        }
}

int handover_unit_decide(struct handover_run *run, bool together, struct handover_unit *unit) {
        struct consumer *consumer = &unit->consumer;
        int r;

        unit->action = HANDOVER_NOTHING;
        r = look_before(run, consumer);
        if (r < 0)
                return r;
        if (r == 0 || !consumer_is_stale(consumer)) { /* somebody else has stopped or restarted it */
                handover_memory_forget(&run->memory, consumer->unit);
                return 0;
        }
        if (consumer->restarting)
                return leave_to_systemd(run, consumer);
        if (!consumer->running) {
                unit->action = HANDOVER_RESTART;
                return 0;
        }
        switch (consumer->delivery->on_change) {
        case ON_CHANGE_RESTART:
                unit->action = HANDOVER_RESTART;
                return 0;
        case ON_CHANGE_RELOAD:
                unit->action = HANDOVER_RELOAD;
                return 0;
        case ON_CHANGE_SIGNAL:
                return decide_signal(run, together, unit);
        case ON_CHANGE_NONE:
                break;
        }
        return handover_unit_waits(run, unit, "has to be restarted by hand, as on_change = none in its policy says");
}

int handover_unit_signal(struct handover_run *run, struct handover_unit *unit) {
        const struct consumer *consumer = &unit->consumer;
        int error, r;

        error = bus_signal(run->bus, consumer->unit, consumer->delivery->signal);
        r = handover_memory_tried(&run->memory, consumer->unit, run->now, run->keyset->generation,
                                  error >= 0 && consumer->delivery->credential ? consumer->invocation : "",
                                  "was sent its signal, and has not fetched its credential since");
        if (r < 0)
                return r;
        if (error < 0)
                return failed(run, unit, error == -ESRCH ? "it has no main process" : strerror(-error));
        if (!consumer->delivery->credential) {
                r = evidence_add(&run->evidence, run->keyset, consumer->delivery, consumer->unit, consumer->invocation);
                if (r < 0)
                        return failed(run, unit, "that it was cannot be put on record");
                handover_memory_forget(&run->memory, consumer->unit);
        }
        succeeded(run, unit);
        return 0;
}

int handover_unit_begin_job(struct handover_run *run, const struct handover_unit *unit) {
        return handover_memory_tried(&run->memory, unit->consumer.unit, run->now, run->keyset->generation, "", IN_VAIN);
}

/* The consumer as it stands after its job; a reload's fetch may not be on record yet. */
static int look_after_job(struct handover_run *run, struct handover_unit *unit) {
        const struct timespec step = { .tv_nsec = SETTLE_STEP_MSEC * 1000000L };
        struct consumer *consumer = &unit->consumer;
        unsigned steps = unit->action == HANDOVER_RELOAD && consumer->delivery->credential ? SETTLE_STEPS : 0;

        for (;; steps--) {
                int r = consumer_look(run->bus, &run->evidence, run->policy, run->keyset, true, consumer);

                if (r <= 0 || steps == 0 || !consumer->running || !consumer_is_stale(consumer))
                        return r;
                (void) nanosleep(&step, NULL);
        }
}

/* A start that began after the publication has loaded it, also where the server was killed before it could put that on record; so has a reader of
 * the public file that was reloaded. */
static int add_evidence(struct handover_run *run, const struct handover_unit *unit, const char *before, const char **ret_why) {
        const struct consumer *consumer = &unit->consumer;
        bool public = !consumer->delivery->credential;

        *ret_why = NULL;
        if (unit->action == HANDOVER_RESTART && strcmp(consumer->invocation, before) == 0)
                *ret_why = "systemd reports success, but it runs on as before";
        else if (!public && unit->action == HANDOVER_RELOAD && consumer_is_stale(consumer))
                *ret_why = "the reload did not fetch its credential (RefreshOnReload= of systemd 260 does, and keyrota-credential.service says what it refuses)";
        else if (!public && consumer->loaded > 0 && consumer_is_stale(consumer))
                *ret_why = "it was given an older generation";
        else if (public || consumer_is_stale(consumer))
                return evidence_add(&run->evidence, run->keyset, consumer->delivery, consumer->unit, consumer->invocation);
        return 0;
}

/* A reload that failed may have fetched the credential, which is on record then, and yet has left the old one in place. */
static void take_back_reload(struct handover_run *run, const struct handover_unit *unit) {
        const struct consumer *consumer = &unit->consumer;
        int r;

        if (unit->action != HANDOVER_RELOAD || !consumer->delivery->credential)
                return;
        r = evidence_take_back(&run->evidence, run->keyset, consumer->delivery, consumer->unit, consumer->invocation, consumer->loaded);
        if (r < 0)
                log_warning("%s: its record of what it was served cannot be corrected: %s", consumer->unit, strerror(-r));
}

int handover_unit_end_job(struct handover_run *run, struct handover_unit *unit, const struct bus_job_request *request) {
        struct handover_unit after = *unit;
        const char *why;
        int r;

        if (request->error < 0) {
                take_back_reload(run, unit);
                return failed(run, unit, request->reason ? request->reason : strerror(-request->error));
        }
        r = look_after_job(run, &after);
        if (r < 0)
                return r;
        if (r == 0 && unit->consumer.running && strcmp(after.consumer.invocation, unit->consumer.invocation) == 0) {
                /* Stopped in between, so that there was nothing to restart. */
                handover_memory_forget(&run->memory, unit->consumer.unit);
                return 0;
        }
        if (r > 0 && !after.consumer.running)
                return failed(run, unit, "it has failed right after its start");
        if (r > 0) {
                r = add_evidence(run, &after, unit->consumer.invocation, &why);
                if (r < 0)
                        why = "that it was cannot be put on record";
                if (why)
                        return failed(run, unit, why);
        }
        memcpy(unit->consumer.invocation, after.consumer.invocation, sizeof(unit->consumer.invocation));
        handover_memory_forget(&run->memory, unit->consumer.unit);
        succeeded(run, unit);
        return 0;
}
