/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Feeds arbitrary bytes to the reader of existing secrets: the first two choose algorithm and format, the rest is the input. A result is a key
 * that comes back from its own JWK, or a reason, never both or neither. Calls import and jwk.
 */

/*
 * To build and run it (from the top of the source; the directories are those that configure would put in):
 *
 * clang -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -DCONFIG_DIR='"/etc/keyrota"' \
 *         -DVENDOR_DIR='"/usr/lib/keyrota"' -DSTATE_DIR='"/var/lib/keyrota"' -DRUN_DIR='"/run/keyrota"' \
 *         -Isrc -o fuzz-import tests/fuzz/fuzz-import.c src/import.c src/jwk*.c src/base64.c src/secret.c src/reason.c \
 *         src/policy.c src/timespan.c src/window.c src/algorithm.c -lcrypto -ljansson
 * mkdir -p corpus && ./fuzz-import -max_len=8192 corpus
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "import.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition) {
        if (!condition)
                abort();
}

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_) {
        check(jwk_init() == 0);
        return 0;
}

static void check_key(const struct policy *policy, const struct jwk *jwk) {
        _cleanup_(secret_freep) struct secret *json = NULL, *again = NULL;
        _cleanup_(jwk_freep) struct jwk *copy = NULL;
        _cleanup_free_ char *reason = NULL;

        check(jwk_algorithm(jwk) == policy->algorithm && jwk_kid_valid(jwk_kid(jwk)));
        check(jwk_to_json(jwk, true, &json) == 0);
        check(import_decode(policy, FORMAT_JWK, json, NULL, &copy, &reason) == 0 && jwk_to_json(copy, true, &again) == 0);
        check(secret_equal(json, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct policy policy = { .valid = true };
        _cleanup_(secret_freep) struct secret *input = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        _cleanup_free_ char *reason = NULL;
        int format, r;

        if (size < 2 || size > IMPORT_MAX + 2)
                return 0;
        policy.algorithm = (enum algorithm) (data[0] % ALGORITHM_COUNT);
        format = data[1] % (FORMAT_COUNT + 1) - 1;
        check(secret_new_from(data + 2, size - 2, &input) == 0);

        r = import_decode(&policy, format, input, NULL, &jwk, &reason);
        check(r == 0 ? jwk && !reason : !jwk && reason && (r == -EBADMSG || r == -EOPNOTSUPP || r == -EINVAL));
        if (r == 0)
                check_key(&policy, jwk);
        return 0;
}
