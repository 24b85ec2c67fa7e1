/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Test-only: reads a key as keyrota import does, for scripts that have other software make it.
 *
 *   import-tool ALGORITHM FORMAT [KID] <KEY
 *
 * FORMAT "-": to be recognised. Writes the private JWK to standard output.
 */

#include <errno.h>
#include <string.h>

#include "import.h"
#include "io.h"

static int run(enum algorithm algorithm, int format, const char *kid, char **ret_reason) {
        const struct policy policy = { .valid = true, .algorithm = algorithm };
        _cleanup_(secret_freep) struct secret *input = NULL, *json = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        int r;

        r = jwk_init();
        if (r >= 0)
                r = import_read(STDIN_FILENO, &input);
        if (r >= 0)
                r = import_decode(&policy, format, input, kid, &jwk, ret_reason);
        if (r >= 0)
                r = jwk_to_json(jwk, true, &json);
        return r < 0 ? r : io_write_all(STDOUT_FILENO, json->data, json->size);
}

int main(int argc, char *argv[]) {
        int algorithm = argc >= 3 ? algorithm_from_name(argv[1]) : -1;
        _cleanup_free_ char *reason = NULL;
        int r;

        if (argc < 3 || argc > 4 || algorithm < 0 || (strcmp(argv[2], "-") != 0 && format_from_string(argv[2]) < 0)) {
                fprintf(stderr, "Usage: import-tool ALGORITHM FORMAT|- [KID] <KEY\n");
                return 2;
        }
        r = run((enum algorithm) algorithm, strcmp(argv[2], "-") == 0 ? -1 : format_from_string(argv[2]), argv[3], &reason);
        if (r < 0) {
                fprintf(stderr, "import-tool: %s\n", reason ? reason : strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
