/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The DEPLOYMENT= of machine-info(5), quoted as a shell would read it: the default for a policy's
 * environment. May call tree. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "paths.h"
#include "policy-draft.h"

#define KEY "DEPLOYMENT="

/* Strips quotes and backslashes in place, as a shell does with a plain assignment. -EINVAL: quotes do not
 * match, or there is something behind. */
static int unquote(char *text) {
        char *out = text, quote = '\0';

        for (char *p = text; *p != '\0'; p++)
                if (quote == '\0' && (*p == ' ' || *p == '\t' || *p == '\r')) {
                        if (p[strspn(p, " \t\r")] != '\0')
                                return -EINVAL;
                        break;
                } else if (quote == '\0' && (*p == '"' || *p == '\''))
                        quote = *p;
                else if (*p == quote && quote != '\0')
                        quote = '\0';
                else if (*p == '\\' && quote != '\'' && p[1] != '\0' &&
                                (quote == '\0' || strchr("\"\\$`", p[1])))
                        *out++ = *++p;
                else
                        *out++ = *p;
        *out = '\0';
        return quote == '\0' ? 0 : -EINVAL;
}

static int note(struct deployment *deployment, const char *file, unsigned line, const char *value,
                const char *what) {
        int r;

        free(deployment->problem);
        r = value ? asprintf(&deployment->problem, "DEPLOYMENT=%s in %s:%u %s", quoted(value), file, line,
                                    what) :
                    asprintf(&deployment->problem, "%s %s", file, what);
        if (r < 0) {
                deployment->problem = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* One assignment; the last one counts, as in a shell. */
static int take(struct deployment *deployment, const char *file, unsigned line, char *value) {
        _cleanup_free_ char *written = strdup(value);

        if (!written)
                return -ENOMEM;
        deployment_clear(deployment);

        if (unquote(value) < 0)
                return note(deployment, file, line, written, "is not quoted right");
        if (*value == '\0')
                return 0;
        if (!policy_name_valid(value))
                return note(deployment, file, line, value,
                                "cannot be an environment (lower-case letters, digits and \"_.-\")");
        if (policy_environment_is_file(value))
                return note(deployment, file, line, value, "cannot be an environment, as a file of keyrota's own is called so");

        deployment->value = strdup(value);
        return deployment->value ? 0 : -ENOMEM;
}

static int parse(struct deployment *deployment, const char *file, char *text) {
        unsigned line = 0;
        int r = 0;

        for (char *next = text; r == 0 && next;) {
                char *start = strsep(&next, "\n");

                line++;
                start += strspn(start, " \t");
                if (strncmp(start, KEY, strlen(KEY)) == 0)
                        r = take(deployment, file, line, start + strlen(KEY));
        }
        return r;
}

/* 1: text and its file were read; 0: there is none, or a problem was noted. */
static int read_machine_info(
                const struct tree *tree, struct deployment *deployment, const char *file, char **ret_text) {
        _cleanup_free_ char *unsafe = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        fd = tree_open_path(tree, PATH_MACHINE_INFO, O_RDONLY | O_NONBLOCK, 0);
        if (fd == -ENOENT)
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return note(deployment, file, 0, NULL, "cannot be opened");
        r = policy_file_unsafe(&st, &unsafe);
        if (r == -EPERM)
                return note(deployment, file, 0, NULL, "is not believed, for others than root can write it");
        if (r < 0)
                return r;

        r = tree_read_fd(fd, POLICY_FILE_MAX, ret_text, NULL);
        if (r == -ENOMEM)
                return r;
        return r < 0 ? note(deployment, file, 0, NULL, "cannot be read") : 1;
}

int deployment_read(const struct tree *tree, struct deployment *ret) {
        _cleanup_free_ char *file = NULL, *text = NULL;
        struct deployment deployment = { 0 };
        int r;

        r = tree_full_path(tree, PATH_MACHINE_INFO, &file);
        if (r < 0)
                return r;
        r = read_machine_info(tree, &deployment, file, &text);
        if (r > 0)
                r = parse(&deployment, file, text);
        if (r < 0) {
                deployment_clear(&deployment);
                return r;
        }

        *ret = deployment;
        return 0;
}

void deployment_clear(struct deployment *deployment) {
        free(deployment->value);
        free(deployment->problem);
        *deployment = (struct deployment){ 0 };
}
