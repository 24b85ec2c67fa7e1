/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One change of one secret, as a rotation. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "change.h"
#include "log.h"

int change_secret(struct context *context, char *name, struct change *change) {
        const struct provision_options options = { .names = &name, .n_names = 1, .change = change };

        return rotate(context, &options);
}

int change_import(struct context *context, const char *name, struct jwk *jwk, bool replace) {
        struct change change = { .type = CHANGE_IMPORT, .jwk = jwk };
        _cleanup_free_ char *copy = strdup(name);
        const struct provision_options options = {
                .names = &copy, .n_names = 1, .replace = &copy, .n_replace = replace ? 1 : 0, .change = &change,
        };
        int status = EXIT_FAILURE;

        if (copy)
                status = rotate(context, &options);
        else
                (void) log_oom();
        jwk_free(change.jwk);
        return status;
}

bool change_is_wanted(bool yes, const char *verb) {
        char answer[16];

        if (yes)
                return true;
        if (!isatty(STDIN_FILENO)) {
                log_error("nothing is changed: standard input is no terminal that could be asked; say keyrota %s --yes", verb);
                return false;
        }
        (void) fputs("Go on? [y/N] ", stderr);
        if (fgets(answer, sizeof(answer), stdin) && (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0))
                return true;
        log_error("nothing is changed");
        return false;
}
