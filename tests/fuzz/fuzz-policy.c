/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Feeds arbitrary bytes to the reader of policies and of the delivery list: a result is a good policy, which
 * must come back from its canonical text, or complaints, never both or neither. Calls policy and deliveries.
 */

/*
 * To build and run it (from the top of the source; the directories are those that configure would put in):
 *
 * clang -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -DCONFIG_DIR='"/etc/keyrota"' \
 *         -DVENDOR_DIR='"/usr/lib/keyrota"' -DSTATE_DIR='"/var/lib/keyrota"' -DRUN_DIR='"/run/keyrota"' \
 *         -Isrc -o fuzz-policy tests/fuzz/fuzz-policy.c src/policy*.c src/deliveries.c src/timespan.c \
 *         src/window.c src/roles.c src/tree*.c src/diagnostics.c src/algorithm.c -linih
 * mkdir -p corpus && ./fuzz-policy corpus tests/policy-corpus
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliveries.h"
#include "policy-draft.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition) {
        if (!condition)
                abort();
}

static void read_policy(const char *data, size_t size) {
        _cleanup_(draft_freep) struct draft *draft = NULL;
        _cleanup_(policy_freep) struct policy *again = NULL;
        _cleanup_free_ char *text = NULL;
        struct diagnostics diagnostics = { 0 }, notes = { 0 };
        const char *file;

        check(draft_new("fuzz", "fuzz.ini", NULL, &diagnostics, &draft) == 0);
        file = draft_add_file(draft, "fuzz.ini");
        check(file && draft_parse(draft, file, data, size, DRAFT_LINE_MAX) == 0);
        draft_check(draft, NULL);
        check(draft->policy->valid == (diagnostics.n_errors == 0));

        if (draft->policy->valid) {
                check(policy_format(draft->policy, &text) == 0);
                check(policy_parse_text("fuzz", text, &again, &diagnostics) == 0);
                check(diagnostics.n_items == 0);
                check(policy_notes(&(struct policy_set){ .policies = &draft->policy, .n_policies = 1 }, &notes) == 0);
        }
        diagnostics_clear(&notes);
        diagnostics_clear(&diagnostics);
}

static void read_config(const char *data, size_t size) {
        _cleanup_(draft_freep) struct draft *draft = NULL;
        struct diagnostics diagnostics = { 0 };
        struct config config = { .valid = true };
        const char *file;

        check(draft_new("keyrota", "keyrota.conf", NULL, &diagnostics, &draft) == 0);
        draft->config = &config;
        file = draft_add_file(draft, "keyrota.conf");
        check(file && draft_parse(draft, file, data, size, DRAFT_LINE_MAX) == 0);
        draft_check_config(draft);
        check(config.valid == (diagnostics.n_errors == 0));
        diagnostics_clear(&diagnostics);
}

static void read_deliveries(const char *data, size_t size) {
        _cleanup_free_ char *text = strndup(data, size), *once = NULL, *twice = NULL;
        struct deliveries deliveries = { 0 }, again = { 0 };

        check(text && deliveries_parse(&deliveries, text) == 0);
        deliveries_sort(&deliveries);
        check(deliveries_format(&deliveries, &once) == 0 && deliveries_parse(&again, once) == 0 &&
                        again.n_bad == 0);
        check(deliveries_format(&again, &twice) == 0 && strcmp(once, twice) == 0);
        deliveries_clear(&deliveries);
        deliveries_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        read_policy((const char *) data, size);
        read_config((const char *) data, size);
        read_deliveries((const char *) data, size);
        return 0;
}
