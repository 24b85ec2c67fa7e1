/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is known of consumers without a service manager: whose section a unit's is, what its record says that it has loaded, what that means for
 * the lifecycle. With one: tests/system/32-handover.sh. */

#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "consumers.h"
#include "handover-memory.h"
#include "paths.h"
#include "scratch.h"
#include "served.h"
#include "tap.h"

#define INVOCATION "0123456789abcdef0123456789abcdef"
#define OTHER_INVOCATION "fedcba9876543210fedcba9876543210"

enum { ISSUER, GATEWAY_ZERO, GATEWAYS, GATEWAY_ONE, READER, RELOADER, SIGNALLED, IDLE, N_DELIVERIES };

static struct delivery deliveries[N_DELIVERIES] = {
        [ISSUER] = { .unit = (char *) "issuer.service", .credential = (char *) "jwt.key", .use = USE_SIGN, .format = FORMAT_PEM },
        [GATEWAY_ZERO] = { .unit = (char *) "gateway@0.service", .credential = (char *) "own", .use = USE_VERIFY, .format = FORMAT_JWKS },
        [GATEWAYS] = { .unit = (char *) "gateway@.service", .credential = (char *) "jwks", .use = USE_VERIFY, .format = FORMAT_JWKS },
        [GATEWAY_ONE] = { .unit = (char *) "gateway@1.service", .credential = (char *) "own", .use = USE_VERIFY, .format = FORMAT_JWKS },
        [READER] = { .unit = (char *) "reader.service", .use = USE_VERIFY, .format = FORMAT_JWKS },
        [RELOADER] = { .unit = (char *) "reloader.service", .credential = (char *) "jwks", .use = USE_VERIFY, .format = FORMAT_JWKS,
                       .on_change = ON_CHANGE_RELOAD },
        [SIGNALLED] = { .unit = (char *) "signalled.service", .use = USE_VERIFY, .format = FORMAT_JWKS, .on_change = ON_CHANGE_SIGNAL, .signal = 1 },
        [IDLE] = { .unit = (char *) "idle.service", .use = USE_VERIFY, .format = FORMAT_JWKS, .on_change = ON_CHANGE_NONE },
};

static struct policy policy = {
        .name = (char *) "billing", .valid = true, .environment = (char *) "production", .algorithm = ALGORITHM_ES256,
        .deliveries = deliveries, .n_deliveries = N_DELIVERIES,
};

static struct keyset keyset = {
        .environment = (char *) "production", .name = (char *) "billing", .generation = 9, .verify_generation = 7, .sign_generation = 8,
};

static struct scratch scratch;
static struct evidence evidence;

static void begin(void) {
        scratch_begin(&scratch);
        scratch_parents(&scratch, "run/keyrota/served/x");
        if (evidence_open(scratch.tree, &evidence) < 0)
                scratch_fail("cannot open", PATH_SERVED);
}

static void end(void) {
        evidence_close(&evidence);
        scratch_end(&scratch);
}

static void record(unsigned delivery, const char *secret, const char *invocation, uint64_t generation) {
        const char *credential = deliveries[delivery].credential ? deliveries[delivery].credential : SERVED_PUBLIC_PREFIX "billing";

        if (served_write(evidence.served, deliveries[delivery].unit, credential, secret, invocation, generation) < 0)
                scratch_fail("cannot record", deliveries[delivery].unit);
}

/* What a unit of this section, started then, has loaded; -1: it is no consumer. */
static int64_t loaded(unsigned delivery, bool loads_credential, int64_t started_usec) {
        struct bus_unit_facts facts = { .state = BUS_UNIT_RUNNING, .invocation = INVOCATION, .loads_credential = loads_credential,
                                        .started_usec = started_usec };
        uint64_t generation = 99;
        int r;

        r = evidence_loaded(&evidence, &policy, &keyset, &deliveries[delivery], deliveries[delivery].unit, &facts, &generation);
        return r == 1 ? (int64_t) generation : r == 0 ? -1 : -99;
}

static int64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

TEST(own_section_goes_before_the_template) {
        expect(consumers_delivery(&policy, "gateway@0.service") == &deliveries[GATEWAY_ZERO]);
        expect(consumers_delivery(&policy, "gateway@1.service") == &deliveries[GATEWAY_ONE]);
        expect(consumers_delivery(&policy, "gateway@2.service") == &deliveries[GATEWAYS]);
        expect(consumers_delivery(&policy, "gateway@a\\x2db:c.service") == &deliveries[GATEWAYS]);
        expect(consumers_delivery(&policy, "gateway@.service.service") == &deliveries[GATEWAYS]);
        expect(consumers_delivery(&policy, "issuer.service") == &deliveries[ISSUER]);
        expect(!consumers_delivery(&policy, "gateway.service"));
        expect(!consumers_delivery(&policy, "gateway@2.socket"));
        expect(!consumers_delivery(&policy, "agateway@2.service"));
        expect(!consumers_delivery(&policy, "issuer2.service"));
        expect(!consumers_delivery(&policy, ".service"));
}

TEST(record_of_the_running_invocation_counts) {
        begin();
        expect_int(loaded(ISSUER, true, 0), 0);
        record(ISSUER, "production/billing", INVOCATION, 5);
        expect_int(loaded(ISSUER, true, 0), 5);
        expect_int(loaded(ISSUER, false, 0), 5);
        end();
}

TEST(record_of_another_start_tells_nothing) {
        begin();
        record(ISSUER, "production/billing", OTHER_INVOCATION, 9);
        expect_int(loaded(ISSUER, true, 0), 0);
        end();
}

TEST(record_of_another_secret_tells_nothing) {
        begin();
        record(ISSUER, "staging/billing", INVOCATION, 9);
        expect_int(loaded(ISSUER, true, 0), 0);
        end();
}

TEST(unit_without_its_drop_in_is_no_consumer) {
        begin();
        expect_int(loaded(ISSUER, false, 0), -1);
        record(ISSUER, "production/billing", OTHER_INVOCATION, 9);
        expect_int(loaded(ISSUER, false, 0), -1);
        end();
}

/* ExecStartPre= and ExecStart= may have been served different generations. */
TEST(oldest_served_counts_unless_a_reload_delivers) {
        begin();
        record(ISSUER, "production/billing", INVOCATION, 5);
        record(ISSUER, "production/billing", INVOCATION, 9);
        record(RELOADER, "production/billing", INVOCATION, 5);
        record(RELOADER, "production/billing", INVOCATION, 9);
        expect_int(loaded(ISSUER, true, 0), 5);
        expect_int(loaded(RELOADER, true, 0), 9);
        end();
}

TEST(broken_record_tells_nothing) {
        begin();
        scratch_write(&scratch, "run/keyrota/served/issuer.service/jwt.key", "production/billing " INVOCATION " 9\n");
        expect_int(loaded(ISSUER, true, 0), 0);
        expect_int(loaded(ISSUER, false, 0), -1);
        end();
}

TEST(no_records_at_all) {
        scratch_begin(&scratch);
        expect_int(evidence_open(scratch.tree, &evidence), 0);
        expect_int(loaded(ISSUER, true, 0), 0);
        expect_int(loaded(READER, false, 0), 0);
        expect_int(evidence_add(&evidence, &keyset, &deliveries[ISSUER], "issuer.service", INVOCATION), 0);
        expect_int(loaded(ISSUER, true, 0), 9);
        end();
}

TEST(reader_of_the_public_file_started_since_has_loaded_it) {
        struct timespec tick;
        int64_t usec;

        begin();
        expect_int(loaded(READER, false, now_usec()), 0); /* there is no file */
        usec = now_usec();
        scratch_write(&scratch, "run/keyrota/jwks/billing.json", "{}");
        expect_int(loaded(READER, false, usec - 1000000), 0);
        (void) clock_getres(CLOCK_REALTIME_COARSE, &tick);
        usec = now_usec();
        while (now_usec() < usec + 3 * tick.tv_nsec / 1000) /* the clock of files goes by ticks */
                ;
        expect_int(loaded(READER, false, now_usec()), 9);
        expect_int(loaded(SIGNALLED, false, now_usec()), 9);
        expect_int(loaded(READER, false, 0), 0);
        expect_int(loaded(READER, false, now_usec() + 3600 * INT64_C(1000000)), 0); /* before the clock was set back */
        end();
}

TEST(reader_of_the_public_file_by_its_record) {
        begin();
        scratch_write(&scratch, "run/keyrota/jwks/billing.json", "{}");
        record(READER, "production/billing", INVOCATION, 6);
        expect_int(loaded(READER, false, 0), 6);
        record(READER, "production/billing", INVOCATION, 8); /* a reload, a signal */
        expect_int(loaded(READER, false, 0), 8);
        record(READER, "production/billing", OTHER_INVOCATION, 9);
        expect_int(loaded(READER, false, 0), 0);
        end();
}

TEST(reader_that_looks_by_itself_holds_what_is_published) {
        begin();
        expect_int(loaded(IDLE, false, 0), 9);
        record(IDLE, "production/billing", INVOCATION, 3);
        expect_int(loaded(IDLE, false, 0), 9);
        end();
}

TEST(stale_below_what_is_wanted_or_failed) {
        expect(consumer_is_stale(&(struct consumer) { .loaded = 6, .wanted = 7 }));
        expect(!consumer_is_stale(&(struct consumer) { .loaded = 7, .wanted = 7 }));
        expect(consumer_is_stale(&(struct consumer) { .loaded = 0, .wanted = 1 }));
        expect(consumer_is_stale(&(struct consumer) { .failed = true }));
}

TEST(facts_are_of_the_oldest_of_each_kind) {
        struct lifecycle_facts facts = { .published = 9 };
        struct consumer items[] = {
                { .delivery = &deliveries[GATEWAYS], .loaded = 7 },
                { .delivery = &deliveries[GATEWAY_ONE], .loaded = 6 },
                { .delivery = &deliveries[READER], .loaded = 9 },
                { .delivery = &deliveries[ISSUER], .loaded = 5 },
        };

        consumers_facts(&policy, &(struct consumers) { .items = items, .n_items = ELEMENTSOF(items) }, &facts);
        expect(facts.known);
        expect_int(facts.published, 9);
        expect_int(facts.verifiers, 6);
        expect_int(facts.signers, 5);
}

TEST(nobody_runs_nobody_holds_anything_back) {
        struct lifecycle_facts facts = { 0 };

        consumers_facts(&policy, &(struct consumers) { 0 }, &facts);
        expect(facts.known);
        expect(facts.verifiers == LIFECYCLE_ALL);
        expect(facts.signers == LIFECYCLE_ALL);
}

TEST(tree_without_a_manager_has_no_consumers) {
        _cleanup_(consumers_view_freep) struct consumers_view *view = NULL;
        struct consumers consumers = { 0 };

        begin();
        record(ISSUER, "production/billing", INVOCATION, 5);
        expect_int(consumers_view_new(NULL, scratch.tree, &view), 0);
        expect_int(consumers_of(view, &policy, &keyset, &consumers), 0);
        expect_int(consumers.n_items, 0);
        consumers_clear(&consumers);
        end();
}

int main(void) {
        return tap_main();
}
