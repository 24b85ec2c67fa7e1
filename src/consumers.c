/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The consumers of a policy, as they run. May call bus, evidence, served, handover-memory, roles, publish (names). */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "consumers.h"
#include "handover-memory.h"
#include "paths.h"
#include "publish.h"
#include "roles.h"
#include "served.h"

#define SERVICE_END ".service"

struct consumers_view {
        struct timespec taken; /* by the clock of file times */
        struct bus *bus; /* NULL: no unit runs */
        const struct tree *tree;
        struct evidence evidence;
        struct bus_unit *units; /* sorted by name */
        size_t n_units;
};

int consumers_view_new(struct bus *bus, const struct tree *tree, struct consumers_view **ret) {
        _cleanup_(consumers_view_freep) struct consumers_view *view = calloc(1, sizeof(*view));
        int r;

        if (!view)
                return -ENOMEM;
        view->bus = bus;
        view->tree = tree;
        view->evidence.served = -EBADF;
        (void) clock_gettime(CLOCK_REALTIME_COARSE, &view->taken);
        r = evidence_open(tree, &view->evidence);
        if (r >= 0 && bus)
                r = bus_list_units(bus, "*" SERVICE_END, &view->units, &view->n_units);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(view);
        return 0;
}

void consumers_view_free(struct consumers_view *view) {
        if (!view)
                return;
        bus_units_free(view->units, view->n_units);
        evidence_close(&view->evidence);
        free(view);
}

static bool ends_with(const char *text, const char *end) {
        size_t n = strlen(text), m = strlen(end);

        return n > m && strcmp(text + n - m, end) == 0;
}

bool delivery_is_template(const struct delivery *delivery) {
        return policy_unit_is_template(delivery->unit);
}

/* "gateway@2.service" of "gateway@.service". */
static bool is_instance(const char *unit, const char *template) {
        size_t n = strlen(template) - strlen(SERVICE_END); /* up to and with the @ */

        return strlen(unit) > strlen(template) && strncmp(unit, template, n) == 0 && ends_with(unit, SERVICE_END);
}

const struct delivery *consumers_delivery(const struct policy *policy, const char *unit) {
        const struct delivery *found = NULL;

        for (size_t i = 0; i < policy->n_deliveries; i++) {
                const struct delivery *delivery = &policy->deliveries[i];

                if (delivery_is_template(delivery)) {
                        if (is_instance(unit, delivery->unit))
                                found = delivery;
                } else if (strcmp(delivery->unit, unit) == 0)
                        return delivery;
        }
        return found;
}

/* What will do for it. */
static uint64_t wanted_generation(const struct policy *policy, const struct keyset *keyset, const struct delivery *delivery) {
        uint64_t wanted = 0;

        if (delivery_holds_set(policy, delivery))
                wanted = keyset->verify_generation;
        if (delivery_follows_active(policy, delivery) && keyset->sign_generation > wanted)
                wanted = keyset->sign_generation;
        return wanted;
}

int consumer_look(struct bus *bus, const struct evidence *evidence, const struct policy *policy, const struct keyset *keyset, bool remembered,
                  struct consumer *consumer) {
        _cleanup_(bus_unit_facts_clear) struct bus_unit_facts facts = { 0 };
        int r;

        r = bus_unit_facts(bus, consumer->unit, PATH_CREDENTIAL_SOCKET, consumer->delivery->credential, &facts);
        if (r < 0)
                return r;
        consumer->running = facts.state == BUS_UNIT_RUNNING;
        consumer->wanted = wanted_generation(policy, keyset, consumer->delivery);
        consumer->loaded = 0;
        memcpy(consumer->invocation, facts.invocation, sizeof(consumer->invocation));
        if (consumer->running) {
                consumer->failed = consumer->restarting = false; /* what it has loaded decides */
                return evidence_loaded(evidence, policy, keyset, consumer->delivery, consumer->unit, &facts, &consumer->loaded);
        }

        consumer->restarting = remembered && facts.restarts;
        consumer->failed = remembered && (facts.state == BUS_UNIT_FAILED || consumer->restarting);
        return consumer->failed;
}

/* What handovers have met, read when the first unit asks for it. */
struct recollection {
        struct handover_memory memory;
        bool loaded;
};

static void recollection_clear(struct recollection *recollection) {
        handover_memory_clear(&recollection->memory);
}

static int recall(const struct consumers_view *view, const struct keyset *keyset, const char *unit, struct recollection *recollection) {
        char secret[PUBLISH_SECRET_MAX];
        int r;

        if (!recollection->loaded) {
                r = handover_memory_load(view->tree, publish_secret_name(keyset->environment, keyset->name, secret), &recollection->memory);
                if (r < 0 && r != -EBADMSG) /* which the next handover will say, and write anew */
                        return r;
                recollection->loaded = true;
        }
        return handover_memory_failed(&recollection->memory, unit);
}

static int add_unit(struct consumers_view *view, const struct bus_unit *unit, const struct delivery *delivery, const struct policy *policy,
                    const struct keyset *keyset, struct recollection *recollection, struct consumers *consumers) {
        struct consumer consumer = { .delivery = delivery }, *grown;
        int r, remembered = 0;

        if (unit->state != BUS_UNIT_RUNNING) {
                remembered = recall(view, keyset, unit->name, recollection);
                if (remembered <= 0)
                        return remembered;
        }
        consumer.unit = unit->name;
        r = consumer_look(view->bus, &view->evidence, policy, keyset, remembered, &consumer);
        if (r <= 0)
                return r;

        consumer.unit = strdup(unit->name);
        grown = consumer.unit ? reallocarray(consumers->items, consumers->n_items + 1, sizeof(*grown)) : NULL;
        if (!grown) {
                free(consumer.unit);
                return -ENOMEM;
        }
        consumers->items = grown;
        grown[consumers->n_items++] = consumer;
        return 0;
}

/* The first unit whose name is not before this one. */
static size_t find_unit(const struct consumers_view *view, const char *name) {
        size_t low = 0, high = view->n_units;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(view->units[middle].name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool is_before(const struct timespec *a, const struct timespec *b) {
        return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static bool is_wanted_record(const char *unit, const char *credential, void *userdata) {
        const struct consumers_view *view = userdata;
        size_t i = find_unit(view, unit);
        char path[NAME_MAX + 1 + NAME_MAX + 1];
        struct stat status;

        if (i < view->n_units && strcmp(view->units[i].name, unit) == 0)
                return true;
        (void) snprintf(path, sizeof(path), "%s/%s", unit, credential);
        return fstatat(view->evidence.served, path, &status, AT_SYMLINK_NOFOLLOW) >= 0 && !is_before(&status.st_mtim, &view->taken);
}

int consumers_view_sweep(struct consumers_view *view) {
        if (!view->bus || view->evidence.served < 0)
                return 0;
        return served_sweep(view->evidence.served, is_wanted_record, view);
}

/* The unit, or every instance of the template that has no section of its own. */
static int add_delivery(struct consumers_view *view, const struct delivery *delivery, const struct policy *policy, const struct keyset *keyset,
                        struct recollection *recollection, struct consumers *consumers) {
        size_t n = strlen(delivery->unit) - (delivery_is_template(delivery) ? strlen(SERVICE_END) : 0);
        _cleanup_free_ char *prefix = strndup(delivery->unit, n);

        if (!prefix)
                return -ENOMEM;
        for (size_t i = find_unit(view, prefix); i < view->n_units && strncmp(view->units[i].name, prefix, n) == 0; i++) {
                int r;

                if (consumers_delivery(policy, view->units[i].name) != delivery)
                        continue;
                r = add_unit(view, &view->units[i], delivery, policy, keyset, recollection, consumers);
                if (r < 0)
                        return r;
        }
        return 0;
}

int consumers_of(struct consumers_view *view, const struct policy *policy, const struct keyset *keyset, struct consumers *ret) {
        _cleanup_(recollection_clear) struct recollection recollection = { 0 };
        _cleanup_(consumers_clear) struct consumers consumers = { 0 };

        for (int signers = 0; signers < 2; signers++)
                for (size_t i = 0; i < policy->n_deliveries; i++) {
                        const struct delivery *delivery = &policy->deliveries[i];
                        int r;

                        if (delivery_holds_set(policy, delivery) == signers)
                                continue;
                        r = add_delivery(view, delivery, policy, keyset, &recollection, &consumers);
                        if (r < 0)
                                return r;
                }
        *ret = consumers;
        consumers = (struct consumers) { 0 };
        return 0;
}

void consumers_clear(struct consumers *consumers) {
        for (size_t i = 0; i < consumers->n_items; i++)
                free(consumers->items[i].unit);
        free(consumers->items);
        *consumers = (struct consumers) { 0 };
}

bool consumer_is_stale(const struct consumer *consumer) {
        return consumer->failed || consumer->loaded < consumer->wanted;
}

static void take_oldest(uint64_t *oldest, uint64_t generation) {
        if (generation < *oldest)
                *oldest = generation;
}

void consumers_facts(const struct policy *policy, const struct consumers *consumers, struct lifecycle_facts *facts) {
        facts->known = true;
        facts->verifiers = facts->signers = LIFECYCLE_ALL;
        for (size_t i = 0; i < consumers->n_items; i++) {
                const struct consumer *consumer = &consumers->items[i];

                if (delivery_holds_set(policy, consumer->delivery))
                        take_oldest(&facts->verifiers, consumer->loaded);
                if (delivery_follows_active(policy, consumer->delivery))
                        take_oldest(&facts->signers, consumer->loaded);
        }
}
