/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is published now, from the keyring, or for another tree that publishes nothing, from its store. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kek.h"
#include "published.h"
#include "reason.h"
#include "render.h"
#include "store.h"

/* Looks for the one entry of the keyring that is meant. */
struct search {
        const char *prefix, *suffix; /* of the description */
        bool exact;                  /* prefix is all of it */
        const char *name;    /* of the secret */
        char description[KEYRING_DESCRIPTION_MAX];
        unsigned n_found;
};

static int match_entry(const char *description, const struct keyring_header *header, void *userdata) {
        struct search *search = userdata;
        const char *name = header ? strchr(header->secret, '/') : NULL;

        size_t length = strlen(description), suffix = strlen(search->suffix);

        if (!name || strcmp(name + 1, search->name) != 0 || strncmp(description, search->prefix, strlen(search->prefix)) != 0)
                return 0;
        if (length < suffix || strcmp(description + length - suffix, search->suffix) != 0)
                return 0;
        if (search->exact && strcmp(description, search->prefix) != 0)
                return 0;
        if (search->n_found++ == 0)
                (void) snprintf(search->description, sizeof(search->description), "%s", description);
        return 0;
}

static int find_entry(keyring_serial ring, const struct published_request *request, struct search *search) {
        char prefix[KEYRING_DESCRIPTION_MAX];
        int r;

        if (request->unit)
                (void) snprintf(prefix, sizeof(prefix), "unit:%s/%s", request->unit, request->credential ? request->credential : "");
        else
                (void) snprintf(prefix, sizeof(prefix), "secret:");
        search->prefix = prefix;
        search->suffix = request->unit ? "" : request->use == USE_SIGN ? "/sign" : "/verify";
        search->exact = request->credential;
        search->name = request->name;
        r = keyring_foreach(ring, match_entry, search);
        if (r < 0)
                return r;
        if (search->n_found == 0)
                return -ENOKEY;
        return request->unit && search->n_found > 1 ? -ENOTUNIQ : 0;
}

/* The keys of what publication_add() published: one private or symmetric key, a set of public ones, or one of symmetric ones. */
static int parse_published(const struct secret *bytes, enum use use, struct jwk ***ret, size_t *ret_n, char **ret_reason) {
        struct jwk **jwks;
        int r;

        if (use == USE_VERIFY) {
                r = jwk_public_set_from_json(bytes->data, bytes->size, ret, ret_n, ret_reason);
                return r != -EBADMSG ? r : jwk_set_from_json(bytes->data, bytes->size, ret, ret_n, ret_reason);
        }
        jwks = calloc(1, sizeof(*jwks));
        if (!jwks)
                return -ENOMEM;
        r = jwk_from_json(bytes->data, bytes->size, -1, &jwks[0], ret_reason);
        if (r < 0) {
                free(jwks);
                return r;
        }
        *ret = jwks;
        *ret_n = 1;
        return 0;
}

/* As a set whose first key is the active one: what the formats need. */
static int keyset_from_published(const struct secret *bytes, enum use use, const char *name, struct keyset **ret) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        _cleanup_free_ char *reason = NULL;
        _cleanup_free_ struct jwk **jwks = NULL;
        size_t n = 0;
        int r;

        r = keyset_new("published", name, &keyset);
        if (r < 0)
                return r;
        r = parse_published(bytes, use, &jwks, &n, &reason);
        for (size_t i = 0; i < n; i++) {
                /* The active key is the first one. */
                const struct key_times times = {
                        .activates = i == 0 ? 1 : 0, .deactivates = TIME_NEVER, .destroys = TIME_NEVER,
                };

                if (r >= 0)
                        r = keyset_add(keyset, jwks[i], &times);
                if (r < 0)
                        jwk_free(jwks[i]);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(keyset);
        return 0;
}

/* Renders the published private key or verification set in the format that was asked for. */
static int render_published(const struct secret *bytes, const struct published_request *request, struct secret **ret) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        int r;

        r = keyset_from_published(bytes, request->use, request->name, &keyset);
        return r < 0 ? r : render(keyset, request->use, request->format, request->newline, RENDER_ACTIVE_KIND, ret);
}

static int read_ring(
                const struct context *context, const struct published_request *request,
                struct keyring_header *ret_header, struct secret **ret, char **ret_reason) {

        _cleanup_(secret_freep) struct secret *bytes = NULL;
        struct search search = {};
        keyring_serial ring;
        int r;

        r = keyring_open(context->ring, false, &ring);
        if (r >= 0)
                r = find_entry(ring, request, &search);
        if (r == -ENOKEY)
                return reason_set(r, ret_reason, request->unit ? "it is not delivered to that unit now; see keyrota status" :
                                                                "it is not published now; see keyrota status");
        if (r == -ENOTUNIQ)
                return reason_set(r, ret_reason, "%s is given %u credentials from it; say which with --credential=", request->unit,
                                  search.n_found);
        if (r >= 0)
                r = keyring_read(ring, search.description, ret_header, &bytes);
        if (r < 0)
                return reason_set(r, ret_reason, "cannot read the kernel keyring: %s", strerror(-r));
        if (request->unit) {
                *ret = TAKE_PTR(bytes);
                return 0;
        }
        return render_published(bytes, request, ret);
}

/* The only environment that has keys under this name. */
static int find_stored(struct store *store, const char *name, char **ret_environment, char **ret_reason) {
        _cleanup_free_ char *environment = NULL;
        struct store_name *stored = NULL;
        size_t n_stored = 0, n_found = 0;
        int r;

        r = store_list(store, &stored, &n_stored);
        for (size_t i = 0; i < n_stored; i++)
                if (strcmp(stored[i].name, name) == 0 && n_found++ == 0)
                        environment = strdup(stored[i].environment);
        store_names_free(stored, n_stored);
        if (r < 0)
                return r;
        if (n_found != 1)
                return reason_set(n_found == 0 ? -ENOENT : -ENOTUNIQ, ret_reason,
                                  n_found == 0 ? "it has no stored key" : "it has keys in several environments; name a keyring with --keyring=");
        if (!environment)
                return -ENOMEM;
        *ret_environment = TAKE_PTR(environment);
        return 0;
}

static int read_store(
                const struct context *context, const struct published_request *request,
                struct keyring_header *ret_header, struct secret **ret, char **ret_reason) {

        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        _cleanup_free_ char *environment = NULL;
        int r;

        if (request->unit)
                return reason_set(-EINVAL, ret_reason, "--unit= reads what is published; give --keyring= with --root=");
        r = kek_load(context->tree, &kek, ret_reason);
        if (r >= 0)
                r = store_open(context->tree, kek, false, 0, &store, ret_reason);
        if (r >= 0)
                r = find_stored(store, request->name, &environment, ret_reason);
        if (r >= 0)
                r = store_load(store, environment, request->name, &keyset, ret_reason);
        if (r < 0)
                return r;
        (void) snprintf(ret_header->secret, sizeof(ret_header->secret), "%s/%s", environment, request->name);
        ret_header->generation = keyset->generation;
        (void) snprintf(ret_header->kids, sizeof(ret_header->kids), "-");
        return render(keyset, request->use, request->format, request->newline, RENDER_ACTIVE_KIND, ret);
}

static int say_no_form(int r, const struct published_request *request, char **ret_reason) {
        if (r != -EINVAL || *ret_reason)
                return r;
        return reason_set(r, ret_reason, "a key of its algorithm has no %s form for use = %s", format_to_string(request->format),
                          use_to_string(request->use));
}

int published_read(
                const struct context *context, const struct published_request *request,
                struct keyring_header *ret_header, struct secret **ret, char **ret_reason) {

        int r;

        r = context->ring ? read_ring(context, request, ret_header, ret, ret_reason) :
                            read_store(context, request, ret_header, ret, ret_reason);
        return say_no_form(r, request, ret_reason);
}

int published_use(const struct secret *bytes) {
        static const enum use uses[] = { USE_SIGN, USE_VERIFY };
        int r = -EBADMSG;

        for (size_t n = 0; n < ELEMENTSOF(uses); n++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;

                r = keyset_from_published(bytes, uses[n], "copy", &keyset);
                if (r >= 0)
                        return uses[n];
        }
        return r;
}

int published_render(const struct secret *bytes, const struct published_request *request, struct secret **ret, char **ret_reason) {
        return say_no_form(render_published(bytes, request, ret), request, ret_reason);
}
