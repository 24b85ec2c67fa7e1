/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares policies, store, keyring and journal. Changes nothing. */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bus.h"
#include "handover.h"
#include "kek.h"
#include "keyring.h"
#include "paths.h"
#include "publish.h"
#include "roles.h"
#include "status.h"
#include "store.h"
#include "store-set.h"

/* What was opened, each NULL or negative when it could not be. */
struct sources {
        struct kek *kek;
        struct store *store;
        struct store_name *stored;
        size_t n_stored;
        keyring_serial ring;
        bool has_ring;
        struct bus *bus;
        struct consumers_view *view; /* NULL: systemd does not answer */
};

static void sources_clear(struct sources *sources) {
        consumers_view_free(sources->view);
        bus_free(sources->bus);
        store_names_free(sources->stored, sources->n_stored);
        store_free(sources->store);
        kek_free(sources->kek);
}

int status_add_problem(char ***problems, size_t *n, const char *format, ...) {
        char **grown = reallocarray(*problems, *n + 1, sizeof(*grown));
        va_list arguments;
        int r;

        if (!grown)
                return -ENOMEM;
        *problems = grown;
        va_start(arguments, format);
        r = vasprintf(&grown[*n], format, arguments);
        va_end(arguments);
        if (r < 0)
                return -ENOMEM;
        (*n)++;
        return 0;
}

static void free_problems(char **problems, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(problems[i]);
        free(problems);
}

void status_free(struct status *status) {
        if (!status)
                return;
        for (size_t i = 0; i < status->n_secrets; i++) {
                struct status_secret *secret = &status->secrets[i];

                consumers_clear(&secret->consumers);
                keyset_free(secret->keyset);
                free(secret->published);
                free(secret->elsewhere);
                free(secret->members);
                free(secret->holders);
                free_problems(secret->problems, secret->n_problems);
                free(secret->environment);
                free(secret->name);
        }
        free(status->secrets);
        holders_clear(&status->holders);
        locks_clear(&status->locks);
        free_problems(status->problems, status->n_problems);
        policy_set_free(status->policies);
        free(status);
}

/* The units of this host; none of another tree runs here. */
static int open_view(const struct context *context, struct status *status, struct sources *sources) {
        int r = 0;

        if (context_is_host(context))
                r = bus_open(&sources->bus);
        if (r >= 0)
                r = consumers_view_new(sources->bus, context->tree, &sources->view);
        if (r < 0)
                return r == -ENOMEM ? r : status_problem(status, "systemd cannot be asked which services run: %s", strerror(-r));
        return 0;
}

static int open_sources(const struct context *context, struct status *status, struct sources *sources) {
        _cleanup_free_ char *reason = NULL;
        int r = 0, kek_error;

        kek_error = kek_load(context->tree, &sources->kek, &reason);
        if (kek_error < 0 && kek_error != -ENOENT)
                r = status_problem(status, "the key-encryption key cannot be opened: %s", reason ? reason : strerror(-kek_error));
        if (r < 0)
                return r;

        if (kek_error >= 0 && sources->kek->previous)
                r = status_problem(status, "a rekey is under way, or was interrupted: run keyrota rekey");
        if (r < 0)
                return r;
        free(reason);
        reason = NULL;
        r = store_open(context->tree, sources->kek, false, 0, &sources->store, &reason);
        if (r >= 0)
                r = store_list(sources->store, &sources->stored, &sources->n_stored);
        if (r < 0)
                r = status_problem(status, "the store cannot be read: %s", reason ? reason : strerror(-r));
        else if (kek_error == -ENOENT)
                r = sources->n_stored > 0 ? status_problem(status, PATH_KEK " is gone: restore it from a backup") :
                                            status_problem(status, "there is no key-encryption key yet: run keyrota provision");
        if (r < 0)
                return r;

        if (!context->ring)
                return 0;
        r = open_view(context, status, sources);
        if (r < 0)
                return r;
        r = keyring_open(context->ring, false, &sources->ring);
        sources->has_ring = r >= 0;
        if (r == -ENOKEY)
                return status_problem(status, "the kernel keyring is empty: run keyrota provision");
        return r < 0 ? status_problem(status, "the kernel keyring cannot be opened: %s", strerror(-r)) : 0;
}

static const char *latest_environment(const struct sources *sources, const char *name) {
        return sources->store ? store_latest_environment(sources->store, sources->stored, sources->n_stored, name) : NULL;
}

/* The generation of the entry, 0 when there is none of this secret. */
static uint64_t published_generation(const struct sources *sources, const struct status_secret *secret, const char *description) {
        struct keyring_header header;
        char name[PUBLISH_SECRET_MAX];

        if (!sources->has_ring || keyring_read(sources->ring, description, &header, NULL) < 0 ||
            strcmp(header.secret, publish_secret_name(secret->environment, secret->name, name)) != 0)
                return 0;
        return header.generation;
}

static int miss_keys(const struct sources *sources, struct status_secret *secret) {
        char description[KEYRING_DESCRIPTION_MAX];
        const char *elsewhere = latest_environment(sources, secret->name);

        (void) snprintf(description, sizeof(description), "secret:%s/%s/%s", secret->environment, secret->name, use_to_string(USE_VERIFY));
        secret->unreadable = published_generation(sources, secret, description) > 0;
        if (secret->unreadable)
                return secret_problem(secret, "its stored file is gone, though it is in use: restore it from a backup, or make new keys with "
                                      "keyrota provision --replace=%s", secret->name);
        secret->elsewhere = elsewhere ? strdup(elsewhere) : NULL;
        if (elsewhere && !secret->elsewhere)
                return -ENOMEM;
        return secret_problem(secret, "has no key yet: run keyrota provision");
}

static int read_keys(struct sources *sources, struct status_secret *secret) {
        _cleanup_free_ char *reason = NULL;
        int r;

        if (!sources->store || !sources->kek || !secret->environment) {
                secret->unreadable = !sources->store || sources->n_stored > 0;
                return 0;
        }
        r = store_load(sources->store, secret->environment, secret->name, &secret->keyset, &reason);
        if (r == -ENOENT)
                return miss_keys(sources, secret);
        secret->unreadable = r < 0;
        return r < 0 ? secret_problem(secret, "%s", reason ? reason : strerror(-r)) : 0;
}

static int compare_deliveries(const struct sources *sources, struct status_secret *secret) {
        const struct policy *policy = secret->policy;
        char description[KEYRING_DESCRIPTION_MAX];
        uint64_t generation;
        int r;

        secret->published = calloc(policy->n_deliveries + 1, sizeof(*secret->published));
        if (!secret->published)
                return -ENOMEM;
        for (size_t i = 0; sources->has_ring && secret->keyset && i < policy->n_deliveries; i++) {
                const struct delivery *delivery = &policy->deliveries[i];

                if (!delivery->credential) {
                        secret->published[i] = true;
                        continue;
                }
                (void) snprintf(description, sizeof(description), "unit:%s/%s", delivery->unit, delivery->credential);
                generation = published_generation(sources, secret, description);
                secret->published[i] = generation == secret->keyset->generation;
                if (secret->published[i])
                        continue;
                r = generation > secret->keyset->generation ?
                        secret_problem(secret, "the stored file is older than what %s is given: run keyrota provision, which says more",
                                       delivery->unit) :
                        secret_problem(secret, "credential %s of %s is not published as stored: run keyrota provision",
                                       delivery->credential, delivery->unit);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A service that runs with something older than it needs: while a step waits for it, that is what holds the rotation. */
static int tell_stale(const struct context *context, struct status_secret *secret, const struct consumer *consumer) {
        char name[PUBLISH_SECRET_MAX], loaded[64] = "an unknown generation";
        _cleanup_free_ char *why = NULL;

        if (consumer->loaded > 0)
                (void) snprintf(loaded, sizeof(loaded), "generation %llu", (unsigned long long) consumer->loaded);
        why = handover_problem(context->tree, publish_secret_name(secret->environment, secret->name, name), consumer->unit);
        return secret_problem(secret, "%s %s %s and needs %llu%s%s%s", consumer->unit, consumer->running ? "runs with" : "failed; it had", loaded,
                              (unsigned long long) consumer->wanted,
                              secret->result.wait != LIFECYCLE_WAIT_NOBODY ? ": the rotation waits for it" : "", why ? ": " : "", why ? why : "");
}

static int look_at_consumers(const struct context *context, const struct sources *sources, struct status_secret *secret) {
        int r = 0;

        for (size_t i = 0; sources->view && r >= 0 && i < secret->consumers.n_items; i++)
                if (consumer_is_stale(&secret->consumers.items[i]))
                        r = tell_stale(context, secret, &secret->consumers.items[i]);
        return r;
}

#define OVERDUE_GRACE INT64_C(86400) /* seconds: the daily look has been missed too */

static int look_at_lifecycle(const struct context *context, const struct status *status, const struct sources *sources, struct status_secret *secret) {
        struct lifecycle_facts facts = { .verifiers = LIFECYCLE_ALL, .signers = LIFECYCLE_ALL, .published = secret->keyset->generation };
        _cleanup_(keyset_freep) struct keyset *trial = NULL;
        struct lifecycle_event clock_set;
        const struct policy *policy = secret->policy;
        const struct key *active;
        int r;

        r = store_set_copy(secret->keyset, &trial);
        if (r >= 0)
                (void) lifecycle_follow_clock(trial, clock_step(&status->clock, &secret->keyset->clock), &clock_set);
        if (r >= 0 && clock_since(&status->clock, &secret->keyset->clock) > 0)
                (void) lifecycle_distrust_clock(trial, clock_since(&status->clock, &secret->keyset->clock));
        if (r >= 0 && sources->view && policy)
                r = consumers_of(sources->view, policy, secret->keyset, &secret->consumers);
        if (r >= 0 && sources->view && policy)
                consumers_facts(policy, &secret->consumers, &facts);
        if (r >= 0)
                r = lifecycle_advance(policy, trial, &facts, status->clock.now, &secret->result);
        if (r >= 0)
                r = look_at_consumers(context, sources, secret);
        active = keyset_active(secret->keyset);
        if (r < 0 || !secret->result.overdue || (policy && policy->window.set) || !active ||
            active->times.deactivates > status->clock.now - OVERDUE_GRACE)
                return r;
        return secret_problem(secret, "the cryptoperiod of its active key is over, and no rotation has come: is keyrota-rotate.timer enabled?");
}

static int look_at_policy(const struct context *context, struct status *status, struct sources *sources, struct status_secret *secret) {
        const struct policy *policy = secret->policy;
        const char *environment;
        int r;

        environment = policy->valid ? policy->environment : latest_environment(sources, policy->name);
        secret->name = strdup(policy->name);
        secret->environment = environment ? strdup(environment) : NULL;
        if (!secret->name || (environment && !secret->environment))
                return -ENOMEM;
        if (!policy->valid) {
                r = secret_problem(secret, "%s", policy->error ? policy->error : "the policy has errors: run keyrota check");
                if (r < 0)
                        return r;
        }
        r = read_keys(sources, secret);
        if (r < 0 || !secret->keyset)
                return r;
        r = context->ring ? compare_deliveries(sources, secret) : 0;
        if (r < 0 || !policy->valid)
                return r;
        return look_at_lifecycle(context, status, sources, secret);
}

static bool has_policy(const struct status *status, const char *name) {
        for (size_t i = 0; i < status->policies->n_policies; i++)
                if (strcmp(status->policies->policies[i]->name, name) == 0)
                        return true;
        return false;
}

/* While one of them runs with keys that are to be destroyed, they are not. By the last policy. */
static int look_at_last_consumers(const struct sources *sources, struct status_secret *secret) {
        _cleanup_(consumers_clear) struct consumers consumers = {};
        _cleanup_(policy_freep) struct policy *last = NULL;
        struct diagnostics diagnostics = {};
        int r;

        r = policy_parse_text(secret->name, secret->keyset->policy, &last, &diagnostics);
        diagnostics_clear(&diagnostics);
        if (r < 0)
                return r == -EBADMSG ? 0 : r;
        r = consumers_of(sources->view, last, secret->keyset, &consumers);
        for (size_t i = 0; r >= 0 && i < consumers.n_items; i++) {
                const struct consumer *consumer = &consumers.items[i];

                if (delivery_follows_active(last, consumer->delivery))
                        r = secret_problem(secret, "%s %s its keys, which are destroyed after that: %s %s", consumer->unit,
                                           consumer->running ? "runs with" : "failed; it had", consumer->running ? "systemctl stop" : "systemctl reset-failed",
                                           consumer->unit);
        }
        return r;
}

static bool has_keys_to_wait_for(const struct keyset *keyset) {
        for (size_t i = 0; i < keyset->n_keys; i++)
                if (keyset->keys[i].times.activates != TIME_NEVER && keyset->keys[i].times.destroys == TIME_NEVER)
                        return true;
        return false;
}

static int look_at_retired(struct sources *sources, const struct store_name *stored, struct status_secret *secret) {
        int r;

        secret->environment = strdup(stored->environment);
        secret->name = strdup(stored->name);
        if (!secret->environment || !secret->name)
                return -ENOMEM;
        r = read_keys(sources, secret);
        if (r < 0 || !sources->view || !secret->keyset || !secret->keyset->destroy || !secret->keyset->policy || !has_keys_to_wait_for(secret->keyset))
                return r;
        return look_at_last_consumers(sources, secret);
}

static int look_at_all(const struct context *context, struct status *status, struct sources *sources) {
        const struct policy_set *policies = status->policies;
        int r;

        status->secrets = calloc(policies->n_policies + sources->n_stored + 1, sizeof(*status->secrets));
        if (!status->secrets)
                return -ENOMEM;
        for (size_t i = 0; i < policies->n_policies; i++) {
                struct status_secret *secret = &status->secrets[status->n_secrets++];

                secret->policy = policies->policies[i];
                r = look_at_policy(context, status, sources, secret);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < sources->n_stored; i++) {
                if (has_policy(status, sources->stored[i].name))
                        continue;
                r = look_at_retired(sources, &sources->stored[i], &status->secrets[status->n_secrets++]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int look_at_rest(const struct context *context, struct status *status) {
        int fd;

        if (!status->policies->config.valid)
                return status_problem(status, PATH_CONFIG " has errors, so every policy goes on as it last worked: run keyrota check");
        if (!context_is_host(context))
                return 0;
        fd = tree_open_path(context->tree, PATH_RSA_PENDING, O_PATH, 0);
        if (fd >= 0) {
                (void) close(fd);
                if (status_problem(status, "RSA keys are still to be made: run keyrota provision") < 0)
                        return -ENOMEM;
        }
        if (audit_missing(&status->records_missing) >= 0 && status->records_missing > 0)
                return status_problem(status, "%llu audit %s could not be written to the journal since boot",
                                      (unsigned long long) status->records_missing,
                                      status->records_missing == 1 ? "record" : "records");
        return 0;
}

int status_read(struct context *context, struct status **ret) {
        _cleanup_(status_freep) struct status *status = NULL;
        _cleanup_(sources_clear) struct sources sources = {};
        struct diagnostics diagnostics = {};
        unsigned version;
        int r;

        status = calloc(1, sizeof(*status));
        if (!status)
                return -ENOMEM;
        clock_read(&status->clock);
        r = policy_load_all(context->tree, &status->policies, &diagnostics);
        if (r >= 0 && context_is_host(context) && policy_set_wants_reload(status->policies) && bus_systemd_version(&version) >= 0)
                r = policy_check_reload(status->policies, version, &diagnostics);
        diagnostics_clear(&diagnostics);
        if (r >= 0)
                r = open_sources(context, status, &sources);
        if (r >= 0)
                r = look_at_all(context, status, &sources);
        if (r >= 0)
                r = status_look_at_access(context, status);
        if (r >= 0)
                r = look_at_rest(context, status);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(status);
        return 0;
}

const struct status_secret *status_find(const struct status *status, const char *name) {
        for (size_t i = 0; i < status->n_secrets; i++)
                if (strcmp(status->secrets[i].name, name) == 0)
                        return &status->secrets[i];
        return NULL;
}
