/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The sections and keys that there are, and what to say about those that there are not. Calls policy-value.
 */

#include "policy-section.h"

#include <errno.h>
#include <string.h>

#define DELIVER "deliver:"
#define UNIT_MAX 256 /* bytes of a unit's name and a NUL */

struct key_info {
        const char *name;
        int setting; /* enum setting, of a delivery enum delivery_setting */
        size_t offset;
        int (*assign)(const struct assignment *a);
};

static const struct key_info secret_keys[] = {
        { "environment", SETTING_ENVIRONMENT, offsetof(struct policy, environment), assign_environment },
        { "algorithm", SETTING_ALGORITHM, offsetof(struct policy, algorithm), assign_algorithm },
        { "size", SETTING_SIZE, offsetof(struct policy, size), assign_size },
};

static const struct key_info rotation_keys[] = {
        { "cryptoperiod", SETTING_CRYPTOPERIOD, offsetof(struct policy, cryptoperiod), assign_timespan },
        { "token_lifetime", SETTING_TOKEN_LIFETIME, offsetof(struct policy, token_lifetime),
                        assign_timespan },
        { "jwks_max_age", SETTING_JWKS_MAX_AGE, offsetof(struct policy, jwks_max_age), assign_timespan },
        { "clock_skew", SETTING_CLOCK_SKEW, offsetof(struct policy, clock_skew), assign_timespan },
        { "jitter", SETTING_JITTER, offsetof(struct policy, jitter), assign_timespan },
        { "window", SETTING_WINDOW, offsetof(struct policy, window), assign_window },
        { "on_removal", SETTING_ON_REMOVAL, offsetof(struct policy, on_removal), assign_on_removal },
};

static const struct key_info access_keys[] = {
        { "users", SETTING_USERS, offsetof(struct policy, access), assign_users },
        { "use", SETTING_ACCESS_USE, offsetof(struct policy, access.use), assign_use },
        { "reads", SETTING_READS, offsetof(struct policy, access.reads), assign_reads },
};

static const struct key_info keyrota_keys[] = {
        { "audit", SETTING_AUDIT, offsetof(struct config, audit_required), assign_audit },
        { "seal", SETTING_SEAL, offsetof(struct config, seal_with), assign_seal },
};

static const struct key_info delivery_keys[] = {
        { "use", DELIVERY_USE, offsetof(struct delivery, use), assign_use },
        { "credential", DELIVERY_CREDENTIAL, offsetof(struct delivery, credential), assign_credential },
        { "format", DELIVERY_FORMAT, offsetof(struct delivery, format), assign_format },
        { "newline", DELIVERY_NEWLINE, offsetof(struct delivery, newline), assign_newline },
        { "on_change", DELIVERY_ON_CHANGE, offsetof(struct delivery, on_change), assign_on_change },
        { "max_unavailable", DELIVERY_MAX_UNAVAILABLE, offsetof(struct delivery, max_unavailable), assign_max_unavailable },
};

enum { KEYS_MAX = 7 };

static const struct section_info {
        const char *name;
        const struct key_info *keys;
        size_t n_keys;
        int setting;
        bool in_policy, in_config;
} sections[] = {
        { "secret", secret_keys, ELEMENTSOF(secret_keys), SETTING_SECRET_SECTION, true, true },
        { "rotation", rotation_keys, ELEMENTSOF(rotation_keys), SETTING_ROTATION_SECTION, true, true },
        { "access", access_keys, ELEMENTSOF(access_keys), SETTING_ACCESS_SECTION, true, false },
        { "keyrota", keyrota_keys, ELEMENTSOF(keyrota_keys), SETTING_KEYROTA_SECTION, false, true },
        { "deliver:UNIT", delivery_keys, ELEMENTSOF(delivery_keys), -1, true, false },
};

#define SECTION_DELIVERY (ELEMENTSOF(sections) - 1)

static bool section_allowed(const struct parser *parser, const struct section_info *section) {
        return parser->draft->config ? section->in_config : section->in_policy;
}

/* "delivery:billing.service": the unit after something that looks like "deliver:". */
static const char *misspelt_deliver(const char *name) {
        static const char *const words[] = { "deliver" };
        const char *colon = strchr(name, ':');
        char word[16];

        if (!colon || (size_t) (colon - name) >= sizeof(word) || !policy_unit_valid(colon + 1))
                return NULL;
        memcpy(word, name, (size_t) (colon - name));
        word[colon - name] = '\0';
        return nearest(word, words, ELEMENTSOF(words)) ? colon + 1 : NULL;
}

static bool is_delivery_name(const char *name) {
        return strncmp(name, DELIVER, strlen(DELIVER)) == 0;
}

/* Returns the section that was probably meant, so that what stands in it can be looked at too, or NULL. */
static const struct section_info *complain_about_section(struct parser *parser, const char *name) {
        bool config = parser->draft->config;
        const char *names[ELEMENTSOF(sections)], *guess;

        for (size_t i = 0; i < ELEMENTSOF(sections); i++) {
                names[i] = sections[i].name;
                if (!section_allowed(parser, sections + i) &&
                                (strcmp(name, sections[i].name) == 0 ||
                                                (i == SECTION_DELIVERY && is_delivery_name(name)))) {
                        complain_here(parser, "section [%s] belongs in %s", sections[i].name,
                                        config ? "the policy of one secret (policy.d/NAME.ini)" :
                                                 CONFIG_DIR "/keyrota.conf");
                        return NULL;
                }
        }

        guess = nearest(name, names, SECTION_DELIVERY);
        for (size_t i = 0; guess && i < SECTION_DELIVERY; i++)
                if (sections[i].name == guess && section_allowed(parser, sections + i)) {
                        complain_here(parser, "unknown section %s; did you mean [%s]?", quoted(name), guess);
                        return sections + i;
                }
        complain_here(parser, "unknown section %s; known are %s", quoted(name),
                        config ? "[keyrota], [secret] and [rotation]" :
                                 "[secret], [rotation], [deliver:UNIT] and [access]");
        return NULL;
}

/* Returns whether with_suffix now holds the unit that was probably meant. */
static bool complain_about_unit(struct parser *parser, const char *unit, char with_suffix[static UNIT_MAX]) {
        const char *dot = strrchr(unit, '.');
        int n;

        if (*unit == '\0') {
                complain_here(parser, "[deliver:] names no unit; write [deliver:NAME.service]");
                return false;
        }
        n = snprintf(with_suffix, UNIT_MAX, "%s.service", unit);
        if (n > 0 && n < UNIT_MAX && policy_unit_valid(with_suffix) && !dot) {
                complain_here(parser, "%s is not the name of a service; did you mean [deliver:%s]?",
                                quoted(unit), with_suffix);
                return true;
        }
        if (dot && strcmp(dot, ".service") == 0 && dot > unit && dot[-1] == '-')
                complain_here(parser,
                                "%s: a drop-in for it would speak for every unit that begins so; name one "
                                "service",
                                quoted(unit));
        else
                complain_here(parser,
                                "%s is not the name of a service; write [deliver:NAME.service], of letters, "
                                "digits and \":_.\\@-\"",
                                quoted(unit));
        return false;
}

/* Notes where a section begins and tells when this file had it already. */
static void note_section(struct parser *parser, struct origin *origin, const char *name) {
        if (origin->file == parser->file)
                complain_here(parser, "section [%s] was there already, in line %u; write it once", name,
                                origin->line);
        else
                *origin = (struct origin){ .file = parser->file, .line = parser->line };
}

/* What is said about a unit that was spelt wrong is read as well: its credential must not be lost over it. */
static int begin_delivery(struct parser *parser, const char *unit) {
        char with_suffix[UNIT_MAX];
        struct origin here = { .file = parser->file, .line = parser->line };
        const struct policy *policy = parser->draft->policy;

        parser->section = sections + SECTION_DELIVERY;
        delivery_clear(&parser->scratch_delivery);
        parser->scratch_origins = (struct delivery_origins){ .of[DELIVERY_SECTION] = here };
        parser->scratch = false;
        if (!policy_unit_valid(unit)) {
                parser->scratch = !complain_about_unit(parser, unit, with_suffix);
                if (parser->scratch)
                        return 0;
                unit = with_suffix;
        }

        for (size_t i = 0; i < policy->n_deliveries; i++)
                if (strcmp(policy->deliveries[i].unit, unit) == 0) {
                        parser->delivery = i;
                        note_section(parser, &parser->draft->deliveries[i].of[DELIVERY_SECTION],
                                        parser->section_name);
                        return 0;
                }

        parser->delivery = policy->n_deliveries;
        return draft_add_delivery(parser->draft, unit, &here) ? 0 : -ENOMEM;
}

int section_begin(struct parser *parser, const char *name, size_t size) {
        const char *unit;

        free(parser->section_name);
        parser->section = NULL;
        parser->section_bad = false;
        parser->section_name = strndup(name, size);
        if (!parser->section_name)
                return -ENOMEM;

        if (is_delivery_name(parser->section_name) && section_allowed(parser, sections + SECTION_DELIVERY))
                return begin_delivery(parser, parser->section_name + strlen(DELIVER));

        for (size_t i = 0; i < SECTION_DELIVERY; i++)
                if (strcmp(parser->section_name, sections[i].name) == 0 &&
                                section_allowed(parser, sections + i)) {
                        parser->section = sections + i;
                        note_section(parser, &parser->draft->settings[sections[i].setting],
                                        parser->section_name);
                        return 0;
                }

        unit = policy_unit_valid(parser->section_name) && !strchr(parser->section_name, ':') ?
                        parser->section_name :
                        misspelt_deliver(parser->section_name);
        if (unit && section_allowed(parser, sections + SECTION_DELIVERY)) {
                complain_here(parser, "unknown section %s; did you mean [" DELIVER "%s]?",
                                quoted(parser->section_name), unit);
                return begin_delivery(parser, unit);
        }
        parser->section = complain_about_section(parser, parser->section_name);
        parser->section_bad = !parser->section;
        return 0;
}

static const struct key_info *find_key(const struct section_info *section, const char *name, size_t size) {
        for (size_t i = 0; i < section->n_keys; i++)
                if (strlen(section->keys[i].name) == size && memcmp(section->keys[i].name, name, size) == 0)
                        return section->keys + i;
        return NULL;
}

/* Where it is noted that a key of the present section was set. */
static struct origin *key_origin(struct parser *parser, const struct key_info *key) {
        if (parser->section == sections + SECTION_DELIVERY)
                return (parser->scratch ? &parser->scratch_origins :
                                          parser->draft->deliveries + parser->delivery)
                                       ->of +
                                key->setting;
        return parser->draft->settings + key->setting;
}

/* Where the value of a key goes. */
static void *key_target(struct parser *parser, const struct key_info *key, struct delivery *delivery) {
        if (delivery)
                return (char *) delivery + key->offset;
        return (parser->section->keys == keyrota_keys ? (char *) parser->draft->config :
                                                        (char *) parser->draft->policy) +
                        key->offset;
}

void section_note_bad_key(struct parser *parser, const char *name, size_t size) {
        const struct key_info *key = parser->section ? find_key(parser->section, name, size) : NULL;
        struct origin *origin = key ? key_origin(parser, key) : NULL;

        if (origin && origin->file != parser->file)
                *origin = (struct origin){ parser->file, parser->line, .bad = true, .guessed = true };
}

static void complain_about_key(struct parser *parser, const char *key) {
        const char *names[KEYS_MAX], *guess;
        char known[128] = "";
        size_t n_names = parser->section->n_keys;

        if (strcmp(key, "overlap") == 0 || strcmp(key, "prepublish") == 0) {
                complain_here(parser, "%s is not set but follows: it is %s; set those", key,
                                *key == 'o' ? "token_lifetime + clock_skew" : "jwks_max_age + clock_skew");
                return;
        }

        for (size_t i = 0; i < n_names; i++) {
                names[i] = parser->section->keys[i].name;
                (void) snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
                                i == 0                          ? "" :
                                                i + 1 < n_names ? ", " :
                                                                  " and ",
                                names[i]);
        }

        for (size_t i = 0; i < ELEMENTSOF(sections); i++)
                for (size_t j = 0; sections + i != parser->section && section_allowed(parser, sections + i) &&
                                j < sections[i].n_keys;
                                j++)
                        if (strcmp(sections[i].keys[j].name, key) == 0) {
                                complain_here(parser, "unknown key %s in [%s]; it belongs in [%s]",
                                                quoted(key), parser->section_name, sections[i].name);
                                return;
                        }

        guess = nearest(key, names, n_names);
        if (guess) {
                complain_here(parser, "unknown key %s in [%s]; did you mean \"%s\"?", quoted(key),
                                parser->section_name, guess);
                section_note_bad_key(parser, guess, strlen(guess));
        } else
                complain_here(parser, "unknown key %s in [%s]; known are %s", quoted(key),
                                parser->section_name, known);
}

void section_assign(struct parser *parser, const char *name, const char *value) {
        struct assignment a = { .draft = parser->draft, .key = name, .value = value };
        const struct key_info *key;
        struct origin *origin;

        if (!parser->section)
                return; /* the section itself was complained about */
        key = find_key(parser->section, name, strlen(name));
        if (!key) {
                complain_about_key(parser, name);
                return;
        }

        origin = key_origin(parser, key);
        if (origin->file == parser->file && !origin->guessed) {
                complain_here(parser, "%s was set already, in line %u; set it once", name, origin->line);
                return;
        }

        *origin = (struct origin){ .file = parser->file, .line = parser->line };
        a.origin = origin;
        if (parser->section == sections + SECTION_DELIVERY)
                a.delivery = parser->scratch ? &parser->scratch_delivery :
                                               parser->draft->policy->deliveries + parser->delivery;
        a.target = key_target(parser, key, a.delivery);

        if (*value == '\0') {
                complain_here(parser, "%s has no value; write one, or leave the line out for the default",
                                name);
                origin->bad = true;
        } else if (strstr(value, " #") || strstr(value, "\t#")) {
                complain_here(parser, "after a value a comment begins with \";\", not with \"#\"");
                origin->bad = true;
        } else if (key->assign(&a) < 0)
                origin->bad = true;
}
