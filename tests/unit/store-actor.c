/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writes and checks a store, for tests that kill it or make its system calls fail.
 *   store-actor TREE new N      N secrets of one key each, in one commit; those that are there stay
 *   store-actor TREE rotate N   one key more in each, in one commit
 *   store-actor TREE check N    prints the generation of each, 0 for none; fails unless each is whole: as
 * many keys as its generation store-actor TREE read N     opens for writing, loads each, writes nothing
 *   store-actor TREE kek 0      makes the key-encryption key, with systemd-creds; one that is there stays
 *   store-actor TREE kek-check 0   prints its kid, or none
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store.h"

static int add_key(struct keyset *set) {
        const struct key_times times = {
                .created = 1, .activates = 1, .deactivates = TIME_NEVER, .destroys = TIME_NEVER
        };
        struct jwk *jwk = NULL;
        int r;

        r = jwk_generate(ALGORITHM_HS256, 32, &jwk);
        return r < 0 ? r : keyset_add(set, jwk, &times);
}

/* Two environments in turn. */
static const char *environment_of(unsigned i) {
        return i % 2 ? "two" : "one";
}

static int change(struct store *store, unsigned n, bool new, char **reason) {
        for (unsigned i = 0; i < n; i++) {
                _cleanup_(keyset_freep) struct keyset *set = NULL;
                char name[16];
                int r;

                (void) snprintf(name, sizeof(name), "s%u", i);
                r = store_load(store, environment_of(i), name, &set, reason);
                if (new && r >= 0)
                        continue;
                if (new && r == -ENOENT)
                        r = keyset_new(environment_of(i), name, &set);
                if (r >= 0)
                        r = add_key(set);
                if (r >= 0)
                        r = store_stage(store, set, reason);
                if (r < 0)
                        return r;
        }
        return store_commit(store, reason);
}

static int look(struct store *store, unsigned n, bool print, char **reason) {
        for (unsigned i = 0; i < n; i++) {
                _cleanup_(keyset_freep) struct keyset *set = NULL;
                char name[16];
                int r;

                (void) snprintf(name, sizeof(name), "s%u", i);
                r = store_load(store, environment_of(i), name, &set, reason);
                if (r >= 0 && set->n_keys != set->generation)
                        r = -EBADMSG;
                if (r < 0 && (r != -ENOENT || !print))
                        return r;
                if (print)
                        (void) printf("%s%llu", i > 0 ? "," : "",
                                      r == -ENOENT ? 0ULL : (unsigned long long) set->generation);
        }
        return 0;
}

static int make_kek(const struct tree *tree, char **reason) {
        int r = kek_create(tree, SEAL_WITH_HOST, reason);

        return r == -EEXIST ? 0 : r;
}

static int look_at_kek(const struct tree *tree, char **reason) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        int r = kek_load(tree, &kek, reason);

        if (r >= 0 || r == -ENOENT)
                (void) puts(kek ? kek->kid : "none");
        return r == -ENOENT ? 0 : r;
}

static int act(const char *root, const char *verb, unsigned n, char **reason) {
        _cleanup_(kek_freep) struct kek *kek = calloc(1, sizeof(*kek));
        _cleanup_(tree_freep) struct tree *tree = NULL;
        _cleanup_(store_freep) struct store *store = NULL;
        int r;

        if (!kek)
                return -ENOMEM;
        strcpy(kek->kid, "test");
        r = secret_new(32, &kek->bytes);
        if (r >= 0)
                r = tree_open(root, &tree);
        if (r >= 0 && strcmp(verb, "kek") == 0)
                return make_kek(tree, reason);
        if (r >= 0 && strcmp(verb, "kek-check") == 0)
                return look_at_kek(tree, reason);
        if (r >= 0)
                r = store_open(tree, kek, strcmp(verb, "check") != 0, 0, &store, reason);
        if (r < 0)
                return r;
        if (strcmp(verb, "new") == 0 || strcmp(verb, "rotate") == 0)
                return change(store, n, strcmp(verb, "new") == 0, reason);
        if (strcmp(verb, "check") == 0 || strcmp(verb, "read") == 0)
                return look(store, n, strcmp(verb, "check") == 0, reason);
        return -EINVAL;
}

int main(int argc, char *argv[]) {
        _cleanup_free_ char *reason = NULL;
        int r;

        if (argc != 4 || jwk_init() < 0)
                return 2;
        r = act(argv[1], argv[2], (unsigned) atoi(argv[3]), &reason);
        if (r < 0)
                (void) fprintf(stderr, "%s\n", reason ? reason : strerror(-r));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
