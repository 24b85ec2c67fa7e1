/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keyring entries and JWKS files. May call render, keyring, tree. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <string.h>

#include "paths.h"
#include "publish.h"
#include "reason.h"
#include "render.h"
#include "tree.h"

#define JWKS_SUFFIX ".json"

struct publication {
        const struct context *context;
        keyring_serial ring;
        void *wanted; /* tsearch(3) set of descriptions that stay */
        void *kept;   /* names of secrets of which everything stays */
        void *jwks;   /* names of secrets whose JWKS file stays */
};

static int compare(const void *a, const void *b) {
        return strcmp(a, b);
}

static int set_add(void **set, const char *text) {
        _cleanup_free_ char *copy = strdup(text);
        char **found;

        if (!copy)
                return -ENOMEM;
        found = tsearch(copy, set, compare);
        if (!found)
                return -ENOMEM;
        if (*found == copy)
                copy = NULL; /* now the set's */
        return 0;
}

static bool set_has(void *const *set, const char *text) {
        return tfind(text, set, compare);
}

const char *publish_secret_name(const char *environment, const char *name, char buffer[static PUBLISH_SECRET_MAX]) {
        (void) snprintf(buffer, PUBLISH_SECRET_MAX, "%s/%s", environment, name);
        return buffer;
}

static int note_entry(const char *description _unused_, const struct keyring_header *header, void *userdata) {
        return header ? seen_add(userdata, header->secret, header->generation) : 0;
}

int publication_new(const struct context *context, struct seen *seen, struct publication **ret, char **ret_reason) {
        _cleanup_(publication_freep) struct publication *publication = NULL;
        _cleanup_close_ int run = -EBADF, jwks = -EBADF;
        int r;

        publication = calloc(1, sizeof(*publication));
        if (!publication)
                return -ENOMEM;
        publication->context = context;
        if (context->ring) {
                r = keyring_open(context->ring, true, &publication->ring);
                if (r == -EPERM)
                        return reason_set(r, ret_reason,
                                    "the kernel keyring \"%s\" is not root's alone; remove it (keyctl unlink) and provision again",
                                    context->ring);
                if (r < 0)
                        return reason_set(r, ret_reason, "cannot open the kernel keyring \"%s\": %s", context->ring, strerror(-r));
                r = keyring_foreach(publication->ring, note_entry, seen);
                if (r < 0)
                        return reason_set(r, ret_reason, "cannot list the kernel keyring \"%s\": %s", context->ring, strerror(-r));

                run = tree_make_directory(context->tree, PATH_RUN, 0755);
                jwks = run < 0 ? run : tree_make_directory(context->tree, PATH_JWKS, 0755);
                if (jwks < 0)
                        return reason_set(jwks, ret_reason, "cannot make " PATH_JWKS ": %s", strerror(-jwks));
        }
        *ret = TAKE_PTR(publication);
        return 0;
}

void publication_free(struct publication *publication) {
        if (!publication)
                return;
        tdestroy(publication->wanted, free);
        tdestroy(publication->kept, free);
        tdestroy(publication->jwks, free);
        free(publication);
}

keyring_serial publication_ring(const struct publication *publication) {
        return publication->ring;
}

/* Comma-separated, the active key first. */
static void format_kids(const struct keyset *keyset, enum use use, char *buffer, size_t size) {
        const struct key *active = keyset_active(keyset);
        size_t length = 0;

        (void) snprintf(buffer, size, "%s", active ? jwk_kid(active->jwk) : "-");
        for (size_t i = 0; use == USE_VERIFY && i < keyset->n_keys; i++) {
                if (&keyset->keys[i] == active)
                        continue;
                length = strlen(buffer);
                (void) snprintf(buffer + length, size - length, ",%s", jwk_kid(keyset->keys[i].jwk));
        }
}

/* What one entry of the keyring carries. */
struct form {
        enum use use;
        enum format format;
        bool newline;
        enum render_kinds kinds;
};

static int publish_entry(
                struct publication *publication, const char *description, const struct keyset *keyset, const struct form *form, char **ret_reason) {

        _cleanup_(secret_freep) struct secret *bytes = NULL;
        struct keyring_header header = { .generation = keyset->generation };
        int r;

        r = set_add(&publication->wanted, description);
        if (r < 0)
                return r;
        r = render(keyset, form->use, form->format, form->newline, form->kinds, &bytes);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot render %s as %s: %s", description, format_to_string(form->format), strerror(-r));
        publish_secret_name(keyset->environment, keyset->name, header.secret);
        format_kids(keyset, form->use, header.kids, sizeof(header.kids));
        r = keyring_publish(publication->ring, description, &header, bytes);
        if (r == -E2BIG)
                return reason_set(r, ret_reason, "%s: %zu bytes are more than a kernel key holds (%d); use another format or smaller keys",
                            description, bytes->size, KEYRING_PAYLOAD_MAX);
        if (r == -EDQUOT)
                return reason_set(r, ret_reason, "%s: the kernel's quota of root's keys is used up; see /proc/sys/kernel/keys/root_maxbytes",
                            description);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot publish %s: %s", description, strerror(-r));
        return 0;
}

static bool has_public_keys(const struct keyset *keyset) {
        for (size_t i = 0; i < keyset->n_keys; i++)
                if (!algorithm_is_symmetric(jwk_algorithm(keyset->keys[i].jwk)))
                        return true;
        return false;
}

static int publish_jwks(struct publication *publication, const struct keyset *keyset, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        if (!has_public_keys(keyset))
                return 0;
        r = set_add(&publication->jwks, keyset->name);
        if (r < 0)
                return r;
        if (asprintf(&path, PATH_JWKS "/%s" JWKS_SUFFIX, keyset->name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = render(keyset, USE_VERIFY, FORMAT_JWKS, true, RENDER_PUBLIC_KIND, &bytes);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot render %s: %s", path, strerror(-r));
        r = tree_update_file(publication->context->tree, path, bytes->data, bytes->size, 0644, false);
        return r < 0 ? reason_set(r, ret_reason, "cannot write %s: %s", path, strerror(-r)) : 0;
}

/* The first failure is the one that is told; what can be published is published all the same. */
static void keep_first(int *first, char **first_reason, int r, char **reason) {
        if (r < 0 && *first >= 0) {
                *first = r;
                *first_reason = TAKE_PTR(*reason);
        }
        free(*reason);
        *reason = NULL;
}

static const struct delivery *find_delivery(const struct policy *policy, const struct delivery *wanted) {
        for (size_t i = 0; policy && i < policy->n_deliveries; i++) {
                const struct delivery *delivery = &policy->deliveries[i];

                if (delivery->credential && strcmp(delivery->unit, wanted->unit) == 0 && strcmp(delivery->credential, wanted->credential) == 0)
                        return delivery;
        }
        return NULL;
}

/* While keys of another algorithm sign than the policy's, its formats may not be able to carry them: as they were before, then. A consumer that
 * was not there before gets its credential with the first key of the new algorithm. */
static int publish_delivery(
                struct publication *publication, const struct delivery *delivery, const struct policy *previous, const struct keyset *keyset,
                char **ret_reason) {

        const struct key *active = keyset_active(keyset);
        char description[KEYRING_DESCRIPTION_MAX];

        if (!delivery->credential)
                return 0;
        (void) snprintf(description, sizeof(description), "unit:%s/%s", delivery->unit, delivery->credential);
        if (previous && active && !format_carries(delivery->format, jwk_algorithm(active->jwk))) {
                delivery = find_delivery(previous, delivery);
                if (!delivery)
                        return 0;
        }
        return publish_entry(publication, description, keyset,
                             &(struct form) { delivery->use, delivery->format, delivery->newline, RENDER_ALL_KINDS }, ret_reason);
}

static int publish_whole(struct publication *publication, const struct keyset *keyset, enum use use, enum format format, char **ret_reason) {
        char description[KEYRING_DESCRIPTION_MAX];

        (void) snprintf(description, sizeof(description), "secret:%s/%s/%s", keyset->environment, keyset->name, use_to_string(use));
        return publish_entry(publication, description, keyset, &(struct form) { use, format, false, RENDER_ACTIVE_KIND }, ret_reason);
}

static int parse_previous(const struct keyset *keyset, struct policy **ret) {
        struct diagnostics diagnostics = {};
        int r;

        if (!keyset->previous)
                return 0;
        r = policy_parse_text(keyset->name, keyset->previous, ret, &diagnostics);
        diagnostics_clear(&diagnostics);
        return r;
}

int publication_add(struct publication *publication, const struct policy *policy, const struct keyset *keyset, char **ret_reason) {
        _cleanup_(policy_freep) struct policy *previous = NULL;
        char *reason = NULL;
        int first;

        if (!publication->context->ring)
                return 0;
        first = parse_previous(keyset, &previous);
        keep_first(&first, ret_reason, publish_whole(publication, keyset, USE_SIGN, FORMAT_JWK, &reason), &reason);
        for (size_t i = 0; i < policy->n_deliveries; i++)
                keep_first(&first, ret_reason, publish_delivery(publication, &policy->deliveries[i], previous, keyset, &reason), &reason);
        keep_first(&first, ret_reason, publish_jwks(publication, keyset, &reason), &reason);
        if (first < 0)
                return first; /* see publication_generation() */
        return publish_whole(publication, keyset, USE_VERIFY, FORMAT_JWKS, ret_reason);
}

uint64_t publication_generation(const struct publication *publication, const struct keyset *keyset) {
        char description[KEYRING_DESCRIPTION_MAX], name[PUBLISH_SECRET_MAX];
        struct keyring_header header;

        if (!publication->context->ring)
                return 0;
        (void) snprintf(description, sizeof(description), "secret:%s/%s/%s", keyset->environment, keyset->name, use_to_string(USE_VERIFY));
        if (keyring_read(publication->ring, description, &header, NULL) < 0 ||
            strcmp(header.secret, publish_secret_name(keyset->environment, keyset->name, name)) != 0)
                return 0;
        return header.generation;
}

bool publication_has(const struct publication *publication, const struct delivery *delivery) {
        char description[KEYRING_DESCRIPTION_MAX];

        if (!delivery->credential)
                return true;
        (void) snprintf(description, sizeof(description), "unit:%s/%s", delivery->unit, delivery->credential);
        return keyring_read(publication->ring, description, NULL, NULL) >= 0;
}

int publication_add_retired(struct publication *publication, const struct keyset *keyset, char **ret_reason) {
        if (!publication->context->ring || set_has(&publication->jwks, keyset->name))
                return 0;
        return publish_jwks(publication, keyset, ret_reason);
}

int publication_keep(struct publication *publication, const char *name) {
        return set_add(&publication->kept, name);
}

struct stale {
        struct publication *publication;
        void *const *only; /* entries of secrets of these names; NULL: of all but those that are kept */
        char **descriptions;
        size_t n_descriptions;
};

static int collect_stale(const char *description, const struct keyring_header *header, void *userdata) {
        struct stale *stale = userdata;
        const char *name = header ? strchr(header->secret, '/') : NULL;
        char **grown;

        if (set_has(&stale->publication->wanted, description))
                return 0;
        if (stale->only ? !name || !set_has(stale->only, name + 1) :
                          name && set_has(&stale->publication->kept, name + 1))
                return 0;
        grown = reallocarray(stale->descriptions, stale->n_descriptions + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        stale->descriptions = grown;
        grown[stale->n_descriptions] = strdup(description);
        if (!grown[stale->n_descriptions])
                return -ENOMEM;
        stale->n_descriptions++;
        return 0;
}

static int sweep_ring(struct publication *publication, void *const *only) {
        struct stale stale = { .publication = publication, .only = only };
        int r;

        r = keyring_foreach(publication->ring, collect_stale, &stale);
        for (size_t i = 0; i < stale.n_descriptions; i++) {
                if (r >= 0)
                        r = keyring_remove(publication->ring, stale.descriptions[i]);
                free(stale.descriptions[i]);
        }
        free(stale.descriptions);
        return r;
}

static void closedirp(DIR **directory) {
        if (*directory)
                (void) closedir(*directory);
}

static int sweep_jwks(struct publication *publication) {
        _cleanup_(closedirp) DIR *directory = NULL;
        const struct dirent *entry;
        int fd;

        fd = tree_open_path(publication->context->tree, PATH_JWKS, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;
        directory = fdopendir(fd);
        if (!directory) {
                (void) close(fd);
                return -ENOMEM;
        }
        while ((entry = readdir(directory))) {
                _cleanup_free_ char *name = NULL;
                size_t length = strlen(entry->d_name), suffix = strlen(JWKS_SUFFIX);

                if (length <= suffix || strcmp(entry->d_name + length - suffix, JWKS_SUFFIX) != 0)
                        continue;
                name = strndup(entry->d_name, length - suffix);
                if (!name)
                        return -ENOMEM;
                if (!set_has(&publication->jwks, name) && !set_has(&publication->kept, name) &&
                    unlinkat(dirfd(directory), entry->d_name, 0) < 0)
                        return -errno;
        }
        return 0;
}

static int clear_ring(struct publication *publication, void *const *only, char **ret_reason) {
        int r;

        r = sweep_ring(publication, only);
        return r < 0 ? reason_set(r, ret_reason, "cannot clear the kernel keyring of what no policy asks for: %s", strerror(-r)) : 0;
}

/* The one public file of a secret that has no public key any more. */
static int clear_jwks(struct publication *publication, const char *name, char **ret_reason) {
        _cleanup_close_ int folder = -EBADF;
        _cleanup_free_ char *file = NULL;

        if (set_has(&publication->jwks, name))
                return 0;
        folder = tree_open_path(publication->context->tree, PATH_JWKS, O_RDONLY | O_DIRECTORY, 0);
        if (folder < 0)
                return reason_set(folder, ret_reason, "cannot open " PATH_JWKS ": %s", strerror(-folder));
        if (asprintf(&file, "%s" JWKS_SUFFIX, name) < 0) {
                file = NULL;
                return -ENOMEM;
        }
        if (unlinkat(folder, file, 0) < 0 && errno != ENOENT)
                return reason_set(-errno, ret_reason, "cannot remove " PATH_JWKS "/%s: %s", file, strerror(errno));
        return 0;
}

int publication_sweep_secrets(struct publication *publication, const char *const names[], size_t n_names, char **ret_reason) {
        void *only = NULL;
        int r = 0;

        if (!publication->context->ring || n_names == 0)
                return 0;
        for (size_t i = 0; r >= 0 && i < n_names; i++)
                r = set_add(&only, names[i]);
        if (r >= 0)
                r = clear_ring(publication, &only, ret_reason);
        tdestroy(only, free);
        for (size_t i = 0; r >= 0 && i < n_names; i++)
                r = clear_jwks(publication, names[i], ret_reason);
        return r;
}

int publication_sweep(struct publication *publication, char **ret_reason) {
        int r;

        if (!publication->context->ring)
                return 0;
        r = clear_ring(publication, NULL, ret_reason);
        if (r < 0)
                return r;
        r = sweep_jwks(publication);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot clear " PATH_JWKS ": %s", strerror(-r));
        return 0;
}

int publication_set_audit(struct publication *publication, int required, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        const struct keyring_header header = { .secret = "-", .kids = "-" };
        const char *text = required ? "required" : "best-effort";
        int r;

        if (!publication->context->ring)
                return 0;
        r = set_add(&publication->wanted, KEYRING_AUDIT_ENTRY);
        if (r >= 0 && required < 0)
                return 0;
        if (r >= 0)
                r = secret_new_from(text, strlen(text), &bytes);
        if (r >= 0)
                r = keyring_publish(publication->ring, KEYRING_AUDIT_ENTRY, &header, bytes);
        return r < 0 ? reason_set(r, ret_reason, "cannot publish %s: %s", KEYRING_AUDIT_ENTRY, strerror(-r)) : 0;
}
