/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The value of one key: from text to what it means, or a complaint that says what to write instead. Calls
 * timespan, window and algorithm only. */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "policy-draft.h"
#include "timespan.h"

#define SIGNAL_PREFIX "signal:"
#define SIGNALS_MAX 32 /* the real-time ones are left out */
#define MAX_UNAVAILABLE_MAX 1000

static int replace_string(const struct assignment *a, const char *value) {
        char **target = a->target, *copy = strdup(value);

        if (!copy) {
                a->draft->error = -ENOMEM;
                return -ENOMEM;
        }
        free(*target);
        *target = copy;
        return 0;
}

/* Complains "KEY = VALUE ...". Returns -EINVAL. */
static int complain(const struct assignment *a, const char *format, ...) _printf_(2, 3);
static int complain(const struct assignment *a, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL;
                a->draft->error = -ENOMEM;
        } else
                draft_complain(a->draft, a->origin, "%s = %s %s", a->key, quoted(a->value), text);
        return -EINVAL;
}

/* The value is none of these words. */
static int complain_choice(
                const struct assignment *a, const char *const words[], size_t n_words, const char *listed) {
        const char *guess = nearest(a->value, words, n_words);

        if (guess)
                return complain(a, "is unknown; did you mean \"%s\"?", guess);
        return complain(a, "is unknown; write %s", listed);
}

static int choose(const struct assignment *a, const char *const words[], size_t n_words, const char *listed) {
        for (size_t i = 0; i < n_words; i++)
                if (strcmp(a->value, words[i]) == 0)
                        return (int) i;
        return complain_choice(a, words, n_words, listed);
}

int assign_environment(const struct assignment *a) {
        if (!policy_name_valid(a->value))
                return complain(a,
                                "cannot be an environment; write lower-case letters, digits and \"_.-\", at "
                                "most %d",
                                POLICY_NAME_MAX);
        if (policy_environment_is_file(a->value))
                return complain(a, "cannot be an environment, as a file of keyrota's own is called so; choose another name");
        return replace_string(a, a->value);
}

int assign_algorithm(const struct assignment *a) {
        const char *names[ALGORITHM_COUNT];
        int r = algorithm_from_name(a->value);

        if (r < 0) {
                for (size_t i = 0; i < ALGORITHM_COUNT; i++)
                        names[i] = algorithm_info((enum algorithm) i)->name;
                return complain_choice(a, names, ALGORITHM_COUNT,
                                "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, "
                                "ES384, ES512 or EdDSA");
        }
        *(enum algorithm *) a->target = (enum algorithm) r;
        return 0;
}

/* What sizes an algorithm takes is checked when both are known. */
int assign_size(const struct assignment *a) {
        size_t n = strspn(a->value, "0123456789");

        if (a->value[n] != '\0' || n == 0 || n > 6 || a->value[0] == '0')
                return complain(a,
                                "is not a size; write the number of bytes of an HMAC key (size = 64) or of "
                                "bits of an RSA key (size = 3072)");
        *(unsigned *) a->target = (unsigned) strtoul(a->value, NULL, 10);
        return 0;
}

int assign_timespan(const struct assignment *a) {
        int64_t *target = a->target;
        int r;

        if (*a->value == '-')
                return complain(a, "is negative; write a span of time such as 1h 30min");
        r = timespan_parse(a->value, target);
        if (r == -ERANGE)
                return complain(a,
                                "is not a whole number of seconds below 100 years; write a span of time such "
                                "as 30d");
        if (r < 0)
                return complain(a, "is not a span of time; write one such as 15min, 1h 30min, 30d or 2w");
        return 0;
}

/* Where this setting stands, for what is said about it when the draft is gone. */
static int keep_place(const struct assignment *a, char **file, unsigned *line) {
        char *copy = strdup(a->origin->file);

        if (!copy) {
                a->draft->error = -ENOMEM;
                return -ENOMEM;
        }
        free(*file);
        *file = copy;
        *line = a->origin->line;
        return 0;
}

/* "any" is for a policy that is not to have the window of keyrota.conf. */
int assign_window(const struct assignment *a) {
        struct policy *policy = a->draft->policy;
        int r = keep_place(a, &policy->window_file, &policy->window_line);

        if (r < 0)
                return r;
        if (strcmp(a->value, "any") == 0) {
                policy->window = (struct window){ 0 };
                return 0;
        }
        r = window_parse(a->value, &policy->window);
        if (r == -ERANGE)
                return complain(a, "closes in the minute in which it opens; write 00:00-24:00 for whole days, or any");
        if (r < 0)
                return complain(a, "is not a window; write one such as Sun 02:00-04:00, Mon..Fri 22:00-04:00 or "
                                   "02:00-04:00 (local time), or any");
        return 0;
}

int assign_on_removal(const struct assignment *a) {
        static const char *const words[] = { [ON_REMOVAL_KEEP] = "keep", [ON_REMOVAL_DESTROY] = "destroy" };
        int r = choose(a, words, ELEMENTSOF(words), "keep or destroy");

        if (r < 0)
                return r;
        *(enum on_removal *) a->target = (enum on_removal) r;
        return 0;
}

static bool listed(char *const names[], size_t n_names, const char *name) {
        for (size_t i = 0; i < n_names; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

/* Adds one word of "users" to the list that it belongs in. */
static int add_user(const struct assignment *a, struct access *access, const char *word) {
        bool is_group = *word == '@';
        char ***names = is_group ? &access->groups : &access->users, **larger;
        size_t *n_names = is_group ? &access->n_groups : &access->n_users;

        if (strpbrk(word, ",;")) {
                draft_complain(a->draft, a->origin, "%s = %s: separate the names by blanks alone", a->key,
                                quoted(a->value));
                return -EINVAL;
        }
        if (!policy_user_valid(word + is_group)) {
                draft_complain(a->draft, a->origin,
                                "%s: %s is not the name of a user or, with @ before it, of a group", a->key,
                                quoted(word));
                return -EINVAL;
        }
        if (listed(*names, *n_names, word + is_group)) {
                draft_complain(a->draft, a->origin, "%s: %s is named twice; name it once", a->key,
                                quoted(word));
                return -EINVAL;
        }

        larger = reallocarray(*names, *n_names + 1, sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        *names = larger;
        larger[*n_names] = strdup(word + is_group);
        if (!larger[*n_names])
                return -ENOMEM;
        (*n_names)++;
        return 0;
}

int assign_users(const struct assignment *a) {
        _cleanup_free_ char *copy = strdup(a->value);
        struct access *access = a->target;
        char *state = NULL;
        int result = 0;

        if (!copy) {
                a->draft->error = -ENOMEM;
                return -ENOMEM;
        }

        access_clear(access); /* a drop-in replaces the list */
        if (keep_place(a, &access->users_file, &access->users_line) < 0)
                return -ENOMEM;
        for (char *word = strtok_r(copy, " \t", &state); word; word = strtok_r(NULL, " \t", &state)) {
                int r = add_user(a, access, word);

                if (r == -ENOMEM) {
                        a->draft->error = r;
                        return r;
                }
                if (r < 0)
                        result = r;
        }
        return result;
}

int assign_use(const struct assignment *a) {
        static const char *const words[] = { [USE_SIGN] = "sign", [USE_VERIFY] = "verify" };
        int r = choose(a, words, ELEMENTSOF(words), "sign or verify");

        if (r < 0)
                return r;
        *(enum use *) a->target = (enum use) r;
        return 0;
}

int assign_reads(const struct assignment *a) {
        static const char *const words[] = { [READS_SESSION] = "session", [READS_RECORDED] = "recorded" };
        int r = choose(a, words, ELEMENTSOF(words), "session or recorded");

        if (r < 0)
                return r;
        *(enum reads *) a->target = (enum reads) r;
        return 0;
}

int assign_credential(const struct assignment *a) {
        if (!policy_credential_valid(a->value)) {
                if (a->delivery) { /* not the one of an earlier file either */
                        free(a->delivery->credential);
                        a->delivery->credential = NULL;
                }
                return complain(a,
                                "cannot be the name of a credential; write letters, digits and \"_.-\" "
                                "alone");
        }
        return replace_string(a, a->value);
}

int assign_format(const struct assignment *a) {
        const char *words[FORMAT_COUNT];
        int r;

        for (size_t i = 0; i < FORMAT_COUNT; i++)
                words[i] = format_to_string((enum format) i);
        r = choose(a, words, FORMAT_COUNT, "jwk, jwks, pem, raw, hex, base64 or base64url");
        if (r < 0)
                return r;
        *(enum format *) a->target = (enum format) r;
        return keep_place(a, &a->delivery->format_file, &a->delivery->format_line);
}

int assign_newline(const struct assignment *a) {
        static const char *const words[] = { "no", "yes" };
        int r = choose(a, words, ELEMENTSOF(words), "yes or no");

        if (r < 0)
                return r;
        *(bool *) a->target = r > 0;
        return 0;
}

/* "HUP" or "SIGHUP". */
static int signal_from_string(const char *name) {
        if (strncmp(name, "SIG", 3) == 0)
                name += 3;
        for (int i = 1; i < SIGNALS_MAX; i++) {
                const char *known = sigabbrev_np(i);

                if (known && strcmp(known, name) == 0)
                        return i;
        }
        return -EINVAL;
}

static int assign_signal(const struct assignment *a, const char *name) {
        int signal = signal_from_string(name);
        char upper[8];
        size_t n;

        if (signal == SIGKILL || signal == SIGSTOP)
                return complain(a,
                                "cannot tell a service anything, no process can catch it; write signal:HUP, "
                                "or on_change = restart");
        if (signal > 0) {
                a->delivery->on_change = ON_CHANGE_SIGNAL;
                a->delivery->signal = signal;
                return 0;
        }

        for (n = 0; n < sizeof(upper) - 1 && name[n] != '\0'; n++)
                upper[n] = (char) (name[n] >= 'a' && name[n] <= 'z' ? name[n] - 'a' + 'A' : name[n]);
        upper[n] = '\0';
        if (name[n] == '\0' && signal_from_string(upper) > 0)
                return complain(a, "names no signal; did you mean \"signal:%s\"?", upper);
        return complain(a, "names no signal; write one such as signal:HUP or signal:USR1");
}

int assign_on_change(const struct assignment *a) {
        static const char *const words[] = {
                [ON_CHANGE_RESTART] = "restart",
                [ON_CHANGE_RELOAD] = "reload",
                [ON_CHANGE_SIGNAL] = "signal:HUP",
                [ON_CHANGE_NONE] = "none",
        };
        int r = keep_place(a, &a->delivery->on_change_file, &a->delivery->on_change_line);

        if (r < 0)
                return r;
        if (strncmp(a->value, SIGNAL_PREFIX, strlen(SIGNAL_PREFIX)) == 0)
                return assign_signal(a, a->value + strlen(SIGNAL_PREFIX));
        if (signal_from_string(a->value) > 0)
                return complain(a, "is unknown; did you mean \"" SIGNAL_PREFIX "%s\"?", a->value);

        r = choose(a, words, ELEMENTSOF(words), "restart, reload, signal:HUP or none");
        if (r < 0)
                return r;
        a->delivery->on_change = (enum on_change) r;
        return 0;
}

/* That it is for templates only is checked when the policy is read as a whole. */
int assign_max_unavailable(const struct assignment *a) {
        size_t n = strspn(a->value, "0123456789");
        unsigned long value = strtoul(a->value, NULL, 10);

        if (a->value[n] != '\0' || n == 0 || a->value[0] == '0' || value > MAX_UNAVAILABLE_MAX)
                return complain(a, "is not a number of instances; write 1 to %d", MAX_UNAVAILABLE_MAX);
        *(unsigned *) a->target = (unsigned) value;
        return 0;
}

int assign_audit(const struct assignment *a) {
        static const char *const words[] = { "best-effort", "required" };
        int r = choose(a, words, ELEMENTSOF(words), "required or best-effort");

        if (r < 0)
                return r;
        *(bool *) a->target = r > 0;
        return 0;
}

int assign_seal(const struct assignment *a) {
        static const char *const words[] = {
                [SEAL_WITH_AUTO] = "auto",
                [SEAL_WITH_HOST] = "host",
                [SEAL_WITH_TPM2] = "tpm2",
                [SEAL_WITH_HOST_TPM2] = "host+tpm2",
        };
        int r = choose(a, words, ELEMENTSOF(words), "auto, host, tpm2 or host+tpm2");

        if (r < 0)
                return r;
        *(enum seal_with *) a->target = (enum seal_with) r;
        return 0;
}
