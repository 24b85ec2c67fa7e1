/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writer and reader of the list of the last good deliveries. Believes no line that is not of the closed
 * alphabets. May call policy and tree. */

#include "deliveries.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "paths.h"

#define NO_CREDENTIAL "*" /* in no credential's alphabet */
#define FLAG_RSA "rsa"
#define FLAG_REFRESH "refresh"
#define FILE_MAX (16 * 1024 * 1024) /* bytes: 65,000 of the longest lines */
#define FILE_MODE 0600
#define HEADER                                                                                          \
        "# Who gets which secret, as of the last good policies. Written by keyrota provision, read by " \
        "keyrota-generator.\n"

static void line_clear(struct delivery_line *line) {
        free(line->unit);
        free(line->credential);
        free(line->secret);
        *line = (struct delivery_line){ 0 };
}

void deliveries_clear(struct deliveries *deliveries) {
        for (size_t i = 0; i < deliveries->n_lines; i++)
                line_clear(deliveries->lines + i);
        free(deliveries->lines);
        *deliveries = (struct deliveries){ 0 };
}

int deliveries_add(struct deliveries *deliveries, const struct delivery_line *line) {
        size_t n = deliveries->n_lines;
        struct delivery_line *lines, copy;

        if ((n & (n - 1)) == 0) { /* full at 0 and at the powers of two */
                lines = reallocarray(deliveries->lines, n > 0 ? n * 2 : 1, sizeof(*lines));
                if (!lines)
                        return -ENOMEM;
                deliveries->lines = lines;
        }

        copy = (struct delivery_line){
                .unit = strdup(line->unit),
                .credential = line->credential ? strdup(line->credential) : NULL,
                .secret = strdup(line->secret),
                .rsa = line->rsa,
                .refresh = line->refresh,
        };
        if (!copy.unit || !copy.secret || (line->credential && !copy.credential)) {
                line_clear(&copy);
                return -ENOMEM;
        }
        deliveries->lines[deliveries->n_lines++] = copy;
        return 0;
}

int deliveries_add_policy(struct deliveries *deliveries, const struct policy *policy) {
        bool rsa = !policy->algorithm_known || algorithm_info(policy->algorithm)->key_type == KEY_TYPE_RSA;

        for (size_t i = 0; i < policy->n_deliveries; i++) {
                const struct delivery *d = policy->deliveries + i;
                int r = deliveries_add(deliveries,
                                &(struct delivery_line){
                                                .unit = d->unit,
                                                .credential = d->credential,
                                                .secret = policy->name,
                                                .rsa = rsa,
                                                .refresh = d->credential && d->on_change == ON_CHANGE_RELOAD,
                                });
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare_lines(const void *a, const void *b) {
        const struct delivery_line *x = a, *y = b;
        int r = strcmp(x->unit, y->unit);

        if (r == 0)
                r = strcmp(x->secret, y->secret);
        if (r == 0)
                r = strcmp(x->credential ? x->credential : "", y->credential ? y->credential : "");
        return r;
}

void deliveries_sort(struct deliveries *deliveries) {
        struct delivery_line *lines = deliveries->lines;
        size_t n = 0;

        if (deliveries->n_lines == 0)
                return;
        qsort(lines, deliveries->n_lines, sizeof(*lines), compare_lines);

        for (size_t i = 1; i < deliveries->n_lines; i++)
                if (compare_lines(lines + n, lines + i) == 0) {
                        lines[n].rsa |= lines[i].rsa;
                        lines[n].refresh |= lines[i].refresh;
                        line_clear(lines + i);
                } else
                        lines[++n] = lines[i];
        /* There is room for more lines than deliveries_add() now thinks, never for fewer. */
        deliveries->n_lines = n + 1;
}

int deliveries_format(const struct deliveries *deliveries, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        bool failed;
        FILE *stream;

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        fputs(HEADER, stream);
        for (size_t i = 0; i < deliveries->n_lines; i++) {
                const struct delivery_line *line = deliveries->lines + i;

                fprintf(stream, "%s %s %s%s%s\n", line->unit,
                                line->credential ? line->credential : NO_CREDENTIAL, line->secret,
                                line->rsa ? " " FLAG_RSA : "", line->refresh ? " " FLAG_REFRESH : "");
        }
        failed = ferror(stream);
        if (fclose(stream) != 0 || failed)
                return -ENOMEM;

        *ret = TAKE_PTR(text);
        return 0;
}

/* Splits and checks one line in place. */
static bool parse_line(char *text, struct delivery_line *ret) {
        char *unit = strsep(&text, " "), *credential = strsep(&text, " "), *secret = strsep(&text, " "),
             *flag;
        struct delivery_line line = { 0 };

        if (!unit || !credential || !secret || !policy_unit_valid(unit) || !policy_name_valid(secret))
                return false;
        if (strcmp(credential, NO_CREDENTIAL) != 0) {
                if (!policy_credential_valid(credential))
                        return false;
                line.credential = credential;
        }
        while ((flag = strsep(&text, " ")))
                if (strcmp(flag, FLAG_RSA) == 0)
                        line.rsa = true;
                else if (strcmp(flag, FLAG_REFRESH) == 0)
                        line.refresh = true;
                else
                        return false;

        line.unit = unit;
        line.secret = secret;
        *ret = line;
        return true;
}

int deliveries_parse(struct deliveries *deliveries, const char *text) {
        _cleanup_free_ char *copy = strdup(text);

        if (!copy)
                return -ENOMEM;
        for (char *next = copy; next && *next != '\0';) {
                char *start = strsep(&next, "\n");
                struct delivery_line line;
                int r;

                if (*start == '#' || *start == '\0')
                        continue;
                if (!parse_line(start, &line)) {
                        deliveries->n_bad++;
                        continue;
                }
                r = deliveries_add(deliveries, &line);
                if (r < 0)
                        return r;
        }
        return 0;
}

int deliveries_load(const struct tree *tree, struct deliveries *ret) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        struct deliveries deliveries = { 0 };
        struct stat st;
        size_t size;
        int r;

        fd = tree_open_path(tree, PATH_DELIVERIES, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd == -ENOENT) {
                *ret = deliveries;
                return 0;
        }
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return -EPERM;
        r = tree_read_fd(fd, FILE_MAX, &text, &size);
        if (r < 0)
                return r;

        r = deliveries_parse(&deliveries, text);
        if (r < 0) {
                deliveries_clear(&deliveries);
                return r;
        }
        if (strlen(text) != size)
                deliveries.n_bad++; /* a NUL ended the text early */
        *ret = deliveries;
        return 0;
}

int deliveries_save(const struct tree *tree, struct deliveries *deliveries) {
        _cleanup_free_ char *text = NULL;
        int r;

        deliveries_sort(deliveries);
        r = deliveries_format(deliveries, &text);
        if (r < 0)
                return r;
        return tree_update_file(tree, PATH_DELIVERIES, text, strlen(text), FILE_MODE, true);
}
