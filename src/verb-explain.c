/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keyrota explain: may a user read a secret, and why. By the access table, which is what decides; the policies say where that comes from. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "access-file.h"
#include "entitlement.h"
#include "holder-show.h"
#include "log.h"
#include "paths.h"
#include "policy.h"

static void print_help(void) {
        (void) puts("keyrota explain [OPTION...] USER NAME\n"
                    "\n"
                    "Say whether the user USER may read the secret NAME, by which file and line, how, and which of\n"
                    "their open sessions hold what now.\n"
                    "\n"
                    "Options:\n"
                    "  --json        Print JSON\n"
                    "  -h, --help    Show this help\n"
                    "\n"
                    "Exit status: 0 allowed, 1 not allowed, or it could not be found out, 2 usage.");
}

struct explanation {
        const char *name;
        struct membership *who;
        struct policy_set *policies;
        const struct policy *policy;  /* as written; NULL: there is none */
        struct access_table *table;   /* NULL: there is none */
        struct access_secret secret;  /* its line of the table; name "": it has none */
        bool allowed, user_locked;
        bool edited;                  /* the policy as written says something else than the table */
        char *words;                  /* of the line, that name the user: "alice, @ops"; "": none */
        char *why_not;
        struct holders holders;       /* the user's */
        enum holder_copy *copies;     /* what each holds */
};

static void explanation_clear(struct explanation *e) {
        membership_free(e->who);
        policy_set_free(e->policies);
        access_table_free(e->table);
        free(e->words);
        free(e->why_not);
        holders_clear(&e->holders);
        free(e->copies);
}

/* ---- what there is ------------------------------------------------------------------------------------------------ */

static int find_user(const char *user, struct explanation *e) {
        int r;

        r = membership_load(user, &e->who);
        if (r >= 0 && !e->who->known && e->who->unsure < 0)
                r = e->who->unsure;
        if (r < 0) {
                log_error("cannot look up %s in the name services: %s", user, strerror(-r));
                return r;
        }
        if (!e->who->known) {
                log_error("there is no account \"%s\"; see getent passwd", user);
                return -ENOENT;
        }
        e->who->certain = true;
        return 0;
}

static int find_policy(const struct context *context, struct explanation *e) {
        struct diagnostics diagnostics = {};
        int r;

        r = policy_load_all(context->tree, &e->policies, &diagnostics);
        diagnostics_clear(&diagnostics);
        if (r < 0) {
                log_error("cannot read the policies: %s", strerror(-r));
                return r;
        }
        for (size_t i = 0; i < e->policies->n_policies; i++)
                if (strcmp(e->policies->policies[i]->name, e->name) == 0)
                        e->policy = e->policies->policies[i];
        return 0;
}

static int find_table(const struct context *context, struct explanation *e) {
        int r;

        r = access_file_read(context->tree, &e->table);
        if (r < 0 && r != -ENOENT) {
                log_error("cannot use " PATH_ACCESS ": %s; nobody is let in by it; keyrota provision writes it anew", strerror(-r));
                return r;
        }
        return 0;
}

/* The words by which the line names the user. */
static int find_words(struct explanation *e) {
        const char *member = NULL;
        size_t length = 0, size = 0;
        FILE *stream;
        int r = 0;

        stream = open_memstream(&e->words, &size);
        if (!stream)
                return -ENOMEM;
        while (r >= 0 && *e->secret.name && (member = access_member_next(&e->secret, member, &length))) {
                char name[ACCESS_MEMBER_MAX + 1];
                bool group = member[0] == '@';

                memcpy(name, member + group, length - group);
                name[length - group] = '\0';
                r = group ? membership_has_group(e->who, name) : strcmp(name, e->who->name) == 0;
                if (r > 0)
                        (void) fprintf(stream, "%s%s%s", ftell(stream) > 0 ? ", " : "", group ? "@" : "", name);
        }
        if (fclose(stream) != 0)
                return -ENOMEM;
        return r < 0 ? r : 0;
}

/* The line as the policy would have it now is not the one in force. */
static int is_edited(const struct explanation *e, bool *ret) {
        const struct access_entry entry = {
                .policy = e->policy, .generation = e->secret.generation, .until = e->secret.until, .locked = e->secret.reads == ACCESS_LOCKED,
        };
        _cleanup_free_ char *text = NULL;
        const char *line, *in_force;
        size_t n;
        int r;

        *ret = false;
        if (!e->policy || !e->policy->valid)
                return 0;
        r = access_format(&(struct access_content){ .entries = &entry, .n_entries = 1 }, &text);
        if (r < 0)
                return r;
        line = strstr(text, "\nsecret ");
        if (!line || !*e->secret.name) {
                *ret = line || *e->secret.name;
                return 0;
        }
        in_force = memrchr(e->table->text, '\n', (size_t) (e->secret.members - e->table->text));
        n = strcspn(line + 1, "\n");
        *ret = (size_t) (e->secret.members + e->secret.members_size - in_force - 1) != n || memcmp(line + 1, in_force + 1, n) != 0;
        return 0;
}

static int find_holders(const struct context *context, struct explanation *e) {
        char description[KEYRING_DESCRIPTION_MAX];
        keyring_serial live = 0;
        size_t n = 0;
        int r;

        r = holders_load(context, &e->holders);
        if (r < 0) {
                log_error("cannot look in /proc/keys for sessions that hold copies: %s", strerror(-r));
                return r;
        }
        if (context->ring)
                (void) keyring_open(context->ring, false, &live);
        for (size_t i = 0; i < e->holders.n; i++)
                if (strcmp(e->holders.items[i].who.user, e->who->name) == 0)
                        e->holders.items[n++] = e->holders.items[i];
        e->holders.n = n;
        e->copies = calloc(n + 1, sizeof(*e->copies));
        if (!e->copies)
                return log_oom();
        (void) snprintf(description, sizeof(description), "secret:%s/%s/%s", e->secret.environment, e->name, e->secret.sign ? "sign" : "verify");
        for (size_t i = 0; i < n; i++)
                e->copies[i] = holder_compare(&e->holders.items[i], e->name, live, description);
        return 0;
}

/* ---- why ---------------------------------------------------------------------------------------------------------- */

static const char *place(const struct explanation *e, char buffer[static 4200]) {
        const struct policy *policy = e->policy;

        if (policy && policy->access.users_file)
                (void) snprintf(buffer, 4200, "%s:%u", policy->access.users_file, policy->access.users_line);
        else
                (void) snprintf(buffer, 4200, "%s", policy ? policy->file : "its policy, which is gone,");
        return buffer;
}

static int say_why_not(struct explanation *e) {
        const struct policy *policy = e->policy;
        char where[4200];
        int r;

        if (!e->table)
                r = asprintf(&e->why_not, "there is no table of access: run keyrota provision");
        else if (e->user_locked)
                r = asprintf(&e->why_not, "the user is locked; keyrota unlock --user=%s ends that", e->who->name);
        else if (*e->secret.name && e->secret.reads == ACCESS_LOCKED)
                r = asprintf(&e->why_not, "the secret is locked; keyrota unlock --secret=%s ends that", e->name);
        else if (*e->secret.name && e->edited)
                r = asprintf(&e->why_not, "what is in force does not name the user");
        else if (*e->secret.name)
                r = asprintf(&e->why_not, "%s names neither %s nor a group of theirs", place(e, where), e->who->name);
        else if (policy && !policy->valid)
                r = asprintf(&e->why_not, "nothing good is known of its policy");
        else if (!policy || !e->edited)
                r = asprintf(&e->why_not, "%s has no [access] section", policy ? policy->file : "what is in force");
        else
                r = asprintf(&e->why_not, "what is in force gives it to no user");
        if (r < 0)
                e->why_not = NULL;
        return r < 0 ? -ENOMEM : 0;
}

static int decide(struct explanation *e) {
        int r = 0;

        if (e->table) {
                e->user_locked = entitlement_locked(e->table, e->who->name);
                r = entitlement_check(e->table, e->name, e->who, &e->secret);
                e->allowed = r > 0;
        }
        if (r >= 0)
                r = find_words(e);
        if (r == -EBADMSG)
                log_error(PATH_ACCESS ": torn, or not of this version of keyrota: nobody is let in by it; keyrota provision writes it anew");
        else if (r < 0)
                log_error("cannot look up the groups that %s is given to in the name services: %s", e->name, strerror(-r));
        if (r < 0)
                return r;
        if (!*e->secret.name && !e->policy) {
                log_error("there is no secret \"%s\"; keyrota status lists all", e->name);
                return -ENOENT;
        }
        r = is_edited(e, &e->edited);
        if (r >= 0 && !e->allowed)
                r = say_why_not(e);
        return r < 0 ? log_oom() : 0;
}

/* ---- output ------------------------------------------------------------------------------------------------------- */

static const char *reads_text(const struct explanation *e) {
        return e->secret.unlocked == ACCESS_RECORDED ? "recorded" : "session";
}

static void print_policy(const struct explanation *e) {
        const struct policy *policy = e->policy;

        if (!policy)
                (void) printf("  policy    it was removed; what was in force is till the next keyrota provision\n");
        else if (!policy->valid)
                (void) printf("  policy    broken, and %s: %s\n", *e->secret.name ? "in force as it last worked" : "nothing of it is in force",
                              policy->error ? policy->error : "see keyrota check");
        else if (e->edited)
                (void) printf("  policy    %s says something else, which is not in force yet: run keyrota provision\n", policy->file);
}

static void print_sessions(const struct explanation *e) {
        char text[HOLDER_TEXT_MAX];

        for (size_t i = 0; i < e->holders.n; i++) {
                const struct holder *holder = &e->holders.items[i];
                bool due = e->allowed && e->secret.reads == ACCESS_SESSION && copies_holder_wants(&holder->who, e->name, e->secret.sign);
                const char *what = e->copies[i] == HOLDER_NONE ? (due ? "its copy is missing: keyrota provision gives it back" :
                                                                  e->allowed && e->secret.reads == ACCESS_SESSION ? "no copy, for its PAM line gives it something else" : "no copy") :
                        !due                                   ? "holds a copy that it may not have any more: run keyrota provision" :
                        e->copies[i] == HOLDER_CURRENT         ? "holds what is published" :
                                                                 "holds an older copy than is published: run keyrota provision";

                (void) printf("  session   %s: %s\n", holder_to_string(holder, text), what);
        }
}

static void print_text(const struct explanation *e) {
        char where[4200], when[64] = "never";
        time_t until = (time_t) e->secret.until;
        struct tm tm;

        if (e->allowed)
                (void) printf("%s may read %s, named as %s by %s\n", e->who->name, e->name, e->words,
                              e->edited || (e->policy && !e->policy->valid) ? "what is in force" : place(e, where));
        else
                (void) printf("%s may not read %s: %s\n", e->who->name, e->name, e->why_not);
        print_policy(e);
        if (*e->secret.name) {
                (void) printf("  reads     %s, %s\n", e->secret.sign ? "the key that signs" : "the set that verifies",
                              e->secret.unlocked == ACCESS_RECORDED ? "by keyrota read only, each time on record, if the PAM stack keyrota lets them" :
                                                                      "a copy in each session");
                if (e->secret.until > 0 && localtime_r(&until, &tm))
                        (void) strftime(when, sizeof(when), "%a %F %T %Z", &tm);
                if (e->secret.generation > 0)
                        (void) printf("  published generation %" PRIu64 ", copies end: %s\n", e->secret.generation, when);
                else
                        (void) printf("  published nothing yet: run keyrota provision\n");
        }
        print_sessions(e);
}

static json_t *json_words(const struct explanation *e) {
        json_t *array = json_array();
        char *copy = strdup(e->words), *rest = copy, *word;

        while (copy && *e->words && (word = strsep(&rest, ","))) /* no name has a comma */
                json_array_append_new(array, json_string(word + (*word == ' ')));
        free(copy);
        return array;
}

static int print_json(const struct explanation *e) {
        bool has_line = *e->secret.name, has_place = e->policy && e->policy->access.users_file;
        json_t *sessions = json_array(), *root;
        int r;

        for (size_t i = 0; i < e->holders.n; i++)
                json_array_append_new(sessions, holder_to_json(&e->holders.items[i], e->copies[i]));
        root = json_pack("{s:s, s:I, s:s, s:s?, s:b, s:s?, s:o, s:s?, s:o, s:s?, s:b, s:s?, s:s?, s:s?, s:I, s:o, s:o}", "user", e->who->name, "uid",
                         (json_int_t) e->who->uid, "secret", e->name, "environment", has_line ? e->secret.environment : NULL, "allowed", (int) e->allowed,
                         "why_not", e->why_not, "named_as", json_words(e), "file",
                         has_place   ? e->policy->access.users_file :
                         e->policy   ? e->policy->file :
                                       NULL,
                         "line", has_place ? json_integer((json_int_t) e->policy->access.users_line) : json_null(), "policy_error",
                         e->policy ? e->policy->error : NULL, "edited", (int) e->edited, "locked",
                         e->user_locked                                        ? "user" :
                         has_line && e->secret.reads == ACCESS_LOCKED ? "secret" :
                                                                                 NULL,
                         "use", has_line ? (e->secret.sign ? "sign" : "verify") : NULL, "reads", has_line ? reads_text(e) : NULL, "generation",
                         (json_int_t) e->secret.generation, "until", e->secret.until > 0 ? json_integer((json_int_t) e->secret.until) : json_null(),
                         "sessions", sessions);
        if (!root)
                return log_oom();
        r = json_dumpf(root, stdout, JSON_INDENT(2));
        json_decref(root);
        (void) putchar('\n');
        return r < 0 ? -EIO : 0;
}

static int explain(const struct context *context, const char *user, const char *name, bool json) {
        _cleanup_(explanation_clear) struct explanation e = { .name = name };

        if (!access_secret_valid(name)) {
                log_error("\"%s\" is no name of a secret; keyrota status lists all", name);
                return EXIT_FAILURE;
        }
        if (find_user(user, &e) < 0 || find_policy(context, &e) < 0 || find_table(context, &e) < 0 || decide(&e) < 0 || find_holders(context, &e) < 0)
                return EXIT_FAILURE;
        if (json && print_json(&e) < 0)
                return EXIT_FAILURE;
        if (!json)
                print_text(&e);
        return fflush(stdout) == 0 && e.allowed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int verb_explain(struct context *context, int argc, char *argv[]) {
        enum { OPTION_JSON = 256 };
        static const struct option options[] = {
                { "json", no_argument, NULL, OPTION_JSON },
                { "help", no_argument, NULL, 'h' },
                {}
        };
        bool json = false;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_JSON:
                        json = true;
                        break;
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (argc - optind != 2) {
                log_error("explain takes a user and a secret");
                return EXIT_USAGE;
        }
        return explain(context, argv[optind], argv[optind + 1], json);
}
