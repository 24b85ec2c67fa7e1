/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every tests/policy-corpus/NAME.ini, alone in a tree of its own, must give exactly the complaints in
 * NAME.expected ("LINE: text", line 0: the file as a whole), and be valid exactly when there are none. A
 * valid one must come back equal from its canonical text. With --print NAME it prints what NAME.expected
 * would be.
 */

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "policy.h"
#include "scratch.h"

#define BAD_MIN 60 /* bad files that there must be at least */

static char corpus[PATH_MAX];

static char *complaints(const struct diagnostics *diagnostics) {
        char *text;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        if (!stream)
                abort();
        for (size_t i = 0; i < diagnostics->n_items; i++)
                fprintf(stream, "%u: %s%s\n", diagnostics->items[i].line,
                                diagnostics->items[i].is_error ? "" : "warning: ",
                                diagnostics->items[i].text);
        if (fclose(stream) != 0)
                abort();
        return text;
}

static char *slurp(const char *name, const char *suffix, size_t *ret_size) {
        char path[PATH_MAX * 2], *data;
        struct tree host = { .fd = -EBADF };

        (void) snprintf(path, sizeof(path), "%s/%s%s", corpus, name, suffix);
        return tree_read_file(&host, path, POLICY_FILE_MAX * 4, &data, ret_size) < 0 ? NULL : data;
}

static bool round_trips(const struct policy *policy) {
        _cleanup_(policy_freep) struct policy *again = NULL;
        _cleanup_free_ char *text = NULL, *text_again = NULL;
        struct diagnostics diagnostics = { 0 };
        bool same;

        if (policy_format(policy, &text) < 0)
                return false;
        if (policy_parse_text(policy->name, text, &again, &diagnostics) < 0) {
                diagnostics_print(&diagnostics, stdout);
                diagnostics_clear(&diagnostics);
                return false;
        }
        same = diagnostics.n_items == 0 && policy_format(again, &text_again) >= 0 &&
                        strcmp(text, text_again) == 0;
        diagnostics_clear(&diagnostics);
        return same;
}

/* The complaints about this file, in a tree that holds nothing else. NULL: it could not be loaded, or is half
 * valid. */
static char *check(const char *name) {
        _cleanup_(policy_set_freep) struct policy_set *set = NULL;
        _cleanup_free_ char *data = NULL;
        struct diagnostics diagnostics = { 0 };
        struct scratch scratch;
        char path[PATH_MAX], *text = NULL;
        size_t size;

        data = slurp(name, ".ini", &size);
        if (!data)
                return NULL;
        scratch_begin(&scratch);
        (void) snprintf(path, sizeof(path), "etc/keyrota/policy.d/%s.ini", name);
        scratch_write_bytes(&scratch, path, data, size, 0644);

        if (policy_load_all(scratch.tree, &set, &diagnostics) < 0)
                printf("# %s: cannot be loaded\n", name);
        else if (set->n_policies != 1)
                printf("# %s: %zu policies\n", name, set->n_policies);
        else if (set->policies[0]->valid != (diagnostics.n_errors == 0) ||
                        !set->policies[0]->error != set->policies[0]->valid)
                printf("# %s: half valid\n", name);
        else if (set->policies[0]->valid && !round_trips(set->policies[0]))
                printf("# %s: does not come back from its canonical text\n", name);
        else
                text = complaints(&diagnostics);

        diagnostics_clear(&diagnostics);
        scratch_end(&scratch);
        return text;
}

static bool run(const char *name) {
        _cleanup_free_ char *expected = slurp(name, ".expected", NULL), *actual = check(name);

        if (!expected)
                printf("# %s/%s.expected cannot be read\n", corpus, name);
        if (!expected || !actual)
                return false;
        if (strcmp(expected, actual) == 0)
                return true;

        printf("# expected\n");
        for (char *next = expected, *line; (line = strsep(&next, "\n"));)
                printf("#   %s\n", line);
        printf("# but it was\n");
        for (char *next = actual, *line; (line = strsep(&next, "\n"));)
                printf("#   %s\n", line);
        return false;
}

static int is_policy(const struct dirent *entry) {
        const char *dot = strrchr(entry->d_name, '.');

        return dot && strcmp(dot, ".ini") == 0;
}

int main(int argc, char *argv[]) {
        const char *source = getenv("srcdir");
        struct dirent **entries;
        unsigned failed = 0, bad = 0;
        int n;

        (void) snprintf(corpus, sizeof(corpus), "%s/tests/policy-corpus", source ? source : ".");
        if (argc == 3 && strcmp(argv[1], "--print") == 0) {
                _cleanup_free_ char *text = check(argv[2]);

                return text && fputs(text, stdout) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }

        n = scandir(corpus, &entries, is_policy, alphasort);
        if (n < 0) {
                printf("Bail out! %s cannot be read\n", corpus);
                return EXIT_FAILURE;
        }
        for (int i = 0; i < n; i++) {
                char *name = entries[i]->d_name;
                bool good;

                *strrchr(name, '.') = '\0';
                bad += strncmp(name, "good-", strlen("good-")) != 0;
                good = run(name);
                failed += !good;
                printf("%s %d - %s\n", good ? "ok" : "not ok", i + 1, name);
                free(entries[i]);
        }
        free(entries);

        failed += bad < BAD_MIN;
        printf("%s %d - there are %u bad policies in the corpus\n1..%d\n", bad < BAD_MIN ? "not ok" : "ok",
                        n + 1, bad, n + 1);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
