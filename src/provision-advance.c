/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is due for one secret, from its policy, its keys, the clock, and what is known of its consumers. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "log.h"
#include "provision-run.h"
#include "timespan.h"

uint64_t run_random(const struct run *run) {
        uint64_t random;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t) sizeof(random))
                random = (uint64_t) run->now; /* it draws the jitter, nothing secret */
        return random;
}

int run_open_view(struct run *run) {
        int r;

        if (run->view)
                return 0;
        if (context_is_host(run->context) && !run->bus) {
                if (run->bus_error < 0)
                        return run->bus_error;
                r = bus_open(&run->bus);
                if (r < 0)
                        return run->bus_error = r;
        }
        r = consumers_view_new(run->bus, run->context->tree, &run->view);
        if (r < 0 && r != -ENOMEM) {
                bus_free(run->bus);
                run->bus = NULL;
                run->bus_error = r;
        }
        return r;
}

static int look_at_consumers(struct run *run, const struct policy *policy, const struct keyset *keyset, struct lifecycle_facts *facts) {
        _cleanup_(consumers_clear) struct consumers consumers = {};
        int r;

        r = run_open_view(run);
        if (r >= 0)
                r = consumers_of(run->view, policy, keyset, &consumers);
        if (r < 0)
                return r;
        consumers_facts(policy, &consumers, facts);
        return 0;
}

void run_facts(struct run *run, const struct policy *policy, const struct keyset *keyset, struct lifecycle_facts *ret) {
        struct lifecycle_facts facts = { .verifiers = LIFECYCLE_ALL, .signers = LIFECYCLE_ALL, .random = run_random(run) };
        bool known_before = run->bus_error < 0;
        int r = 0;

        facts.published = publication_generation(run->publication, keyset);
        facts.known = run->context->ring;
        if (policy && policy->n_deliveries > 0 && run->context->ring)
                r = look_at_consumers(run, policy, keyset, &facts);
        if (r < 0) {
                facts.known = false;
                if (!known_before)
                        log_warning("cannot ask systemd which services run (%s); steps that depend on them wait", strerror(-r));
        }
        clock_update(&run->clock); /* what was seen must not be newer than the time that is noted with it */
        run->now = run->clock.now;
        *ret = facts;
}

int run_follow_clock(struct run *run, struct keyset *keyset) {
        struct lifecycle_result result = { .n_events = 1 };
        int64_t since;
        bool changed;
        int r = 0;

        clock_update(&run->clock);
        run->now = run->clock.now;
        changed = lifecycle_follow_clock(keyset, clock_step(&run->clock, &keyset->clock), &result.events[0]);
        if (changed)
                r = run_record_events(run, keyset, &result);
        since = clock_since(&run->clock, &keyset->clock);
        if (since > 0)
                changed = lifecycle_distrust_clock(keyset, since) || changed;
        return r < 0 ? r : changed;
}

/* Can anything but the clock matter? One key that goes on signing needs nobody's evidence. */
static bool needs_evidence(const struct run *run, const struct item *item) {
        const struct key *active = keyset_active(item->keyset);

        return item->keyset->n_keys > 1 || (active && (active->times.deactivates <= run->now || jwk_algorithm(active->jwk) != item->policy->algorithm));
}

static enum audit_event event_to_audit(enum lifecycle_event_type type) {
        switch (type) {
        case LIFECYCLE_PUBLISHED:
                return AUDIT_KEY_PUBLISHED;
        case LIFECYCLE_ACTIVATED:
                return AUDIT_KEY_ACTIVATED;
        case LIFECYCLE_DEACTIVATED:
                return AUDIT_KEY_DEACTIVATED;
        case LIFECYCLE_DESTROYED:
                return AUDIT_KEY_DESTROYED;
        case LIFECYCLE_CLOCK:
                break;
        }
        return AUDIT_CLOCK_SET;
}

static void log_event(const struct keyset *keyset, const struct lifecycle_event *event, char *reason, size_t size) {
        const char *text = "";
        char span[TIMESPAN_TEXT_MAX];

        switch (event->type) {
        case LIFECYCLE_PUBLISHED:
                text = "every verifier holds it";
                break;
        case LIFECYCLE_ACTIVATED:
                text = "signs from now on";
                break;
        case LIFECYCLE_DEACTIVATED:
                text = "no service signs with it any more";
                break;
        case LIFECYCLE_DESTROYED:
                text = "destroyed";
                break;
        case LIFECYCLE_CLOCK:
                timespan_format(event->seconds < 0 ? -event->seconds : event->seconds, span);
                (void) snprintf(reason, size, "%s by %s", event->seconds < 0 ? "back" : "forward", span);
                log_warning("%s/%s: the clock was set %s; waiting times go on as if it had not been", keyset->environment, keyset->name, reason);
                return;
        }
        (void) snprintf(reason, size, "%s", text);
        log_info("%s/%s: key %s: %s", keyset->environment, keyset->name, event->kid, text);
}

static const char *algorithm_of(const struct keyset *keyset, const char *kid) {
        const struct key *key = keyset_find(keyset, kid);

        if (key)
                return algorithm_info(jwk_algorithm(key->jwk))->name;
        for (size_t i = keyset->n_destroyed; i > 0; i--)
                if (strcmp(keyset->destroyed[i - 1].kid, kid) == 0)
                        return algorithm_info(keyset->destroyed[i - 1].algorithm)->name;
        return NULL;
}

int run_record_events(struct run *run, const struct keyset *keyset, const struct lifecycle_result *result) {
        for (size_t i = 0; i < result->n_events; i++) {
                const struct lifecycle_event *event = &result->events[i];
                char reason[128];
                const struct audit_record record = {
                        .environment = keyset->environment,
                        .name = keyset->name,
                        .algorithm = algorithm_of(keyset, event->kid),
                        .kids = *event->kid ? event->kid : NULL,
                        .reason = reason,
                };
                int r;

                log_event(keyset, event, reason, sizeof(reason));
                r = context_audit(run->context, event_to_audit(event->type), &record);
                if (r < 0) {
                        log_error("%s/%s: goes no further, for that cannot be recorded in the journal (%s) and keyrota.conf says audit = required",
                                  keyset->environment, keyset->name, strerror(-r));
                        return r;
                }
        }
        return 0;
}

/* A policy that is in force for the first time. 1: it is. */
static int adopt_policy(const struct run *run, struct item *item) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = policy_format(item->policy, &text);
        if (r < 0)
                return r;
        if (!item->store_again && item->keyset->policy && strcmp(text, item->keyset->policy) == 0)
                return 0;
        r = lifecycle_adopt_policy(item->keyset, item->policy, text, run->now);
        return r < 0 ? r : 1;
}

int item_advance(struct run *run, struct item *item) {
        struct lifecycle_facts facts;
        bool edited, changed, clock_set, kept_longer;
        int r;

        r = run_follow_clock(run, item->keyset);
        if (r < 0)
                return r;
        clock_set = r > 0;
        kept_longer = lifecycle_keep_longer(item->keyset, policy_overlap(item->policy));
        r = adopt_policy(run, item);
        edited = r > 0;
        if (r >= 0)
                r = item_change(run, item);
        changed = r > 0;
        if (r < 0)
                return r == -ENOMEM ? log_oom() : r;

        run_facts(run, needs_evidence(run, item) ? item->policy : NULL, item->keyset, &facts);
        r = lifecycle_advance(item->policy, item->keyset, &facts, run->now, &item->result);
        if (r < 0)
                return log_oom();
        item->times = item->result.times;
        item->result.changed = item->result.changed || edited || changed || clock_set || kept_longer;
        return run_record_events(run, item->keyset, &item->result);
}
