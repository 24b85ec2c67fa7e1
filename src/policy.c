/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * struct policy itself: its alphabets, the words of its enumerations, what follows from its times, and its
 * canonical text. Pure.
 */

#include "paths.h"
#include "policy.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "policy-draft.h"
#include "timespan.h"

#define UNIT_NAME_MAX 255 /* UNIT_NAME_MAX of systemd, without the NUL */
#define USER_NAME_MAX 31  /* a login name must fit utmp(5) */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

void access_clear(struct access *access) {
        for (size_t i = 0; i < access->n_users; i++)
                free(access->users[i]);
        for (size_t i = 0; i < access->n_groups; i++)
                free(access->groups[i]);
        free(access->users);
        free(access->groups);
        free(access->users_file);
        *access = (struct access){ .use = access->use, .reads = access->reads };
}

void delivery_clear(struct delivery *delivery) {
        free(delivery->unit);
        free(delivery->credential);
        free(delivery->file);
        free(delivery->format_file);
        free(delivery->on_change_file);
        *delivery = (struct delivery){ 0 };
}

void policy_free(struct policy *policy) {
        if (!policy)
                return;
        for (size_t i = 0; i < policy->n_deliveries; i++)
                delivery_clear(policy->deliveries + i);
        free(policy->deliveries);
        access_clear(&policy->access);
        free(policy->environment);
        free(policy->error);
        free(policy->file);
        free(policy->name);
        free(policy->window_file);
        free(policy);
}

void policy_set_free(struct policy_set *set) {
        if (!set)
                return;
        for (size_t i = 0; i < set->n_policies; i++)
                policy_free(set->policies[i]);
        free(set->policies);
        free(set);
}

int64_t policy_prepublish(const struct policy *policy) {
        return policy->jwks_max_age + policy->clock_skew;
}

int64_t policy_overlap(const struct policy *policy) {
        return policy->token_lifetime + policy->clock_skew;
}

static bool only_of(const char *text, const char *alphabet) {
        return text[strspn(text, alphabet)] == '\0';
}

bool policy_name_valid(const char *name) {
        size_t n = strlen(name);

        return n > 0 && n <= POLICY_NAME_MAX && strchr(LOWER DIGITS, *name) &&
                        only_of(name, LOWER DIGITS "_.-") && !strstr(name, "..");
}

bool policy_environment_is_file(const char *environment) {
        static const char *const paths[] = { PATH_DELIVERIES, PATH_KEK, PATH_LOCKED };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                if (strcmp(strrchr(paths[i], '/') + 1, environment) == 0)
                        return true;
        return false;
}

bool policy_credential_valid(const char *credential) {
        size_t n = strlen(credential);

        return n > 0 && n < UNIT_NAME_MAX && only_of(credential, LOWER UPPER DIGITS "_.-") &&
                        strcmp(credential, ".") != 0 && strcmp(credential, "..") != 0;
}

/* A backslash stands only in \xNN, as systemd-escape(1) writes it. */
static bool escapes_valid(const char *text) {
        while ((text = strchr(text, '\\'))) {
                if (text[1] != 'x' || strspn(text + 2, DIGITS "abcdef") < 2)
                        return false;
                text += 4;
        }
        return true;
}

bool policy_unit_valid(const char *unit) {
        static const char suffix[] = ".service";
        size_t n = strlen(unit), n_prefix;

        if (n > UNIT_NAME_MAX || n < sizeof(suffix) || strcmp(unit + n - (sizeof(suffix) - 1), suffix) != 0)
                return false;
        if (!only_of(unit, LOWER UPPER DIGITS ":_.\\@-") || !escapes_valid(unit))
                return false;

        /* A drop-in folder of "foo-.service" would speak for every foo-*.service, see systemd.unit(5). */
        n_prefix = strcspn(unit, "@");
        if (n_prefix == n)
                n_prefix = n - (sizeof(suffix) - 1);
        return n_prefix > 0 && !strchr(".-", unit[0]) && unit[n_prefix - 1] != '-';
}

bool policy_unit_is_template(const char *unit) {
        const char *at = strchr(unit, '@');

        return at && strcmp(at, "@.service") == 0;
}

bool policy_user_valid(const char *user) {
        size_t n = strlen(user);

        return n > 0 && n <= USER_NAME_MAX && strchr(LOWER UPPER "_", *user) &&
                        only_of(user, LOWER UPPER DIGITS "_.-");
}

static const char *const use_names[] = { [USE_SIGN] = "sign", [USE_VERIFY] = "verify" };

static const char *const format_names[FORMAT_COUNT] = {
        [FORMAT_JWK] = "jwk",
        [FORMAT_JWKS] = "jwks",
        [FORMAT_PEM] = "pem",
        [FORMAT_RAW] = "raw",
        [FORMAT_HEX] = "hex",
        [FORMAT_BASE64] = "base64",
        [FORMAT_BASE64URL] = "base64url",
};

static int index_of(const char *string, const char *const names[], size_t n_names) {
        for (size_t i = 0; i < n_names; i++)
                if (strcmp(string, names[i]) == 0)
                        return (int) i;
        return -EINVAL;
}

const char *use_to_string(enum use use) {
        assert((unsigned) use < ELEMENTSOF(use_names));
        return use_names[use];
}

const char *on_removal_to_string(enum on_removal on_removal) {
        return on_removal == ON_REMOVAL_DESTROY ? "destroy" : "keep";
}

const char *reads_to_string(enum reads reads) {
        return reads == READS_RECORDED ? "recorded" : "session";
}

int use_from_string(const char *string) {
        return index_of(string, use_names, ELEMENTSOF(use_names));
}

const char *format_to_string(enum format format) {
        assert((unsigned) format < FORMAT_COUNT);
        return format_names[format];
}

int format_from_string(const char *string) {
        return index_of(string, format_names, FORMAT_COUNT);
}

bool format_carries(enum format format, enum algorithm algorithm) {
        switch (format) {
        case FORMAT_JWK:
        case FORMAT_JWKS:
                return true;
        case FORMAT_PEM:
                return !algorithm_is_symmetric(algorithm);
        case FORMAT_RAW:
        case FORMAT_HEX:
        case FORMAT_BASE64:
        case FORMAT_BASE64URL:
                return algorithm_is_symmetric(algorithm);
        case FORMAT_COUNT:
                break;
        }
        return false;
}

const char *on_change_to_string(const struct delivery *delivery, char buffer[static ON_CHANGE_TEXT_MAX]) {
        switch (delivery->on_change) {
        case ON_CHANGE_RESTART:
                return "restart";
        case ON_CHANGE_RELOAD:
                return "reload";
        case ON_CHANGE_NONE:
                return "none";
        case ON_CHANGE_SIGNAL:
                (void) snprintf(buffer, ON_CHANGE_TEXT_MAX, "signal:%s", sigabbrev_np(delivery->signal));
                return buffer;
        }
        return NULL;
}

static void write_timespan(FILE *stream, const char *key, int64_t seconds) {
        char buffer[TIMESPAN_TEXT_MAX];

        fprintf(stream, "%s = %s\n", key, timespan_format(seconds, buffer));
}

static void write_rotation(FILE *stream, const struct policy *policy) {
        char buffer[WINDOW_TEXT_MAX];

        fputs("\n[rotation]\n", stream);
        write_timespan(stream, "cryptoperiod", policy->cryptoperiod);
        write_timespan(stream, "token_lifetime", policy->token_lifetime);
        write_timespan(stream, "jwks_max_age", policy->jwks_max_age);
        write_timespan(stream, "clock_skew", policy->clock_skew);
        write_timespan(stream, "jitter", policy->jitter);
        if (policy->window.set)
                fprintf(stream, "window = %s\n", window_format(&policy->window, buffer));
        if (policy->on_removal != ON_REMOVAL_KEEP)
                fprintf(stream, "on_removal = %s\n", on_removal_to_string(policy->on_removal));
}

static void write_delivery(FILE *stream, const struct delivery *delivery) {
        char buffer[ON_CHANGE_TEXT_MAX];

        fprintf(stream, "\n[deliver:%s]\nuse = %s\n", delivery->unit, use_to_string(delivery->use));
        if (delivery->credential)
                fprintf(stream, "credential = %s\nformat = %s\nnewline = %s\n", delivery->credential,
                                format_to_string(delivery->format), delivery->newline ? "yes" : "no");
        fprintf(stream, "on_change = %s\n", on_change_to_string(delivery, buffer));
        if (delivery->max_unavailable != 1)
                fprintf(stream, "max_unavailable = %u\n", delivery->max_unavailable);
}

static void write_access(FILE *stream, const struct access *access) {
        if (access->n_users + access->n_groups == 0)
                return;
        fputs("\n[access]\nusers =", stream);
        for (size_t i = 0; i < access->n_users; i++)
                fprintf(stream, " %s", access->users[i]);
        for (size_t i = 0; i < access->n_groups; i++)
                fprintf(stream, " @%s", access->groups[i]);
        fprintf(stream, "\nuse = %s\n", use_to_string(access->use));
        if (access->reads != READS_SESSION)
                fprintf(stream, "reads = %s\n", reads_to_string(access->reads));
}

int policy_format(const struct policy *policy, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *stream;
        bool failed;

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;

        fprintf(stream, "[secret]\nenvironment = %s\nalgorithm = %s\n", policy->environment,
                        algorithm_info(policy->algorithm)->name);
        if (policy->size > 0)
                fprintf(stream, "size = %u\n", policy->size);
        write_rotation(stream, policy);
        for (size_t i = 0; i < policy->n_deliveries; i++)
                write_delivery(stream, policy->deliveries + i);
        write_access(stream, &policy->access);

        failed = ferror(stream);
        if (fclose(stream) != 0 || failed)
                return -ENOMEM;

        *ret = TAKE_PTR(text);
        return 0;
}

bool policy_set_wants_reload(const struct policy_set *set) {
        for (size_t i = 0; i < set->n_policies; i++)
                for (size_t j = 0; j < set->policies[i]->n_deliveries; j++)
                        if (set->policies[i]->deliveries[j].on_change == ON_CHANGE_RELOAD)
                                return true;
        return false;
}
