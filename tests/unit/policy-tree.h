/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_POLICY_TREE_H
#define KEYROTA_POLICY_TREE_H

/* A scratch tree with policies in it, and what loading them gave. */

#include "policy.h"
#include "scratch.h"
#include "tap.h"

#define ETC "etc/keyrota/policy.d/"
#define RUN "run/keyrota/policy.d/"
#define USR "usr/lib/keyrota/policy.d/"
#define CONF "etc/keyrota/keyrota.conf"

#define SECRET "[secret]\nenvironment = test\nalgorithm = ES256\n"
#define ISSUER "[deliver:issuer.service]\nuse = sign\ncredential = key\nformat = pem\n"
#define READER "[deliver:reader.service]\nuse = verify\n"
#define GOOD SECRET ISSUER

/* A tree, and what loading it gave. */
struct load {
        struct scratch scratch;
        struct policy_set *set;
        struct diagnostics diagnostics;
};

static inline void begin(struct load *load) {
        *load = (struct load){ 0 };
        scratch_begin(&load->scratch);
}

static inline void put(const struct load *load, const char *path, const char *text) {
        scratch_write(&load->scratch, path, text);
}

static inline int load_all(struct load *load) {
        policy_set_free(load->set);
        load->set = NULL;
        diagnostics_clear(&load->diagnostics);
        return policy_load_all(load->scratch.tree, &load->set, &load->diagnostics);
}

static inline void end(struct load *load) {
        policy_set_free(load->set);
        diagnostics_clear(&load->diagnostics);
        scratch_end(&load->scratch);
}

/* The policy of this name; a test that counts on one that is not there ends the program. */
static inline const struct policy *find(const struct load *load, const char *name) {
        for (size_t i = 0; load->set && i < load->set->n_policies; i++)
                if (strcmp(load->set->policies[i]->name, name) == 0)
                        return load->set->policies[i];
        printf("Bail out! there is no policy %s\n", name);
        exit(EXIT_FAILURE);
}

/* Is there a complaint "FILE:LINE: ...TEXT..." about a file of the tree? */
static inline bool complained(const struct load *load, const char *file, unsigned line, const char *text) {
        for (size_t i = 0; i < load->diagnostics.n_items; i++) {
                const struct diagnostic *d = load->diagnostics.items + i;

                if (strcmp(d->file + strlen(load->scratch.root) + 1, file) == 0 && d->line == line &&
                                strstr(d->text, text))
                        return true;
        }
        printf("# no complaint \"%s:%u: ...%s...\"; there are:\n", file, line, text);
        for (size_t i = 0; i < load->diagnostics.n_items; i++)
                printf("#   %s:%u: %s\n", load->diagnostics.items[i].file, load->diagnostics.items[i].line,
                                load->diagnostics.items[i].text);
        return false;
}

#define expect_complaints(load, n) expect_int((load)->diagnostics.n_items, n)

#endif
