/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What else tells of a run. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "deliveries.h"
#include "log.h"
#include "paths.h"
#include "provision-run.h"

const struct policy *item_effective_policy(const struct item *item) {
        return item->policy ? item->policy : item->written->valid ? item->written : NULL;
}

/* Is nothing good known of the secret in this run, so that what was remembered of it stays? */
static bool is_unknown(const struct run *run, const char *name) {
        for (size_t i = 0; i < run->policies->n_policies; i++)
                if (strcmp(run->items[i].written->name, name) == 0)
                        return !item_effective_policy(&run->items[i]);
        return run->policies->incomplete; /* else its policy was removed */
}

/* The generator's memory of who gets what. */
static int remember_deliveries(struct run *run) {
        _cleanup_(deliveries_clear) struct deliveries now = {}, before = {};
        int r;

        r = deliveries_load(run->context->tree, &before);
        if (r == -ENOMEM)
                return r;
        r = 0;
        for (size_t i = 0; r >= 0 && i < run->policies->n_policies; i++)
                if (item_effective_policy(&run->items[i]))
                        r = deliveries_add_policy(&now, item_effective_policy(&run->items[i]));
        for (size_t i = 0; r >= 0 && i < before.n_lines; i++)
                if (is_unknown(run, before.lines[i].secret))
                        r = deliveries_add(&now, &before.lines[i]);
        return r < 0 ? r : deliveries_save(run->context->tree, &now);
}

int run_remove_file(const struct run *run, const char *path) {
        _cleanup_close_ int file = -EBADF, folder = -EBADF;

        file = tree_open_path(run->context->tree, path, O_PATH | O_NOFOLLOW, 0);
        if (file < 0)
                return file == -ENOENT ? 0 : file;
        folder = tree_open_path(run->context->tree, PATH_RUN, O_PATH | O_DIRECTORY, 0);
        if (folder < 0)
                return folder;
        return unlinkat(folder, strrchr(path, '/') + 1, 0) < 0 ? -errno : 0;
}

int run_write_tables(struct run *run) {
        int r;

        r = remember_deliveries(run);
        if (r < 0)
                log_error("cannot write " PATH_DELIVERIES ": %s", strerror(-r));
        return r;
}

static int format_pending(const struct run *run, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *stream;

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        for (size_t i = 0; i < run->n_rsa; i++)
                (void) fprintf(stream, "%s\n", run->rsa[i]->written->name);
        if (fclose(stream) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

static int write_pending(const struct run *run) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = format_pending(run, &text);
        for (size_t i = 0; r >= 0 && i < run->n_rsa; i++)
                r = publication_keep(run->publication, run->rsa[i]->written->name);
        return r < 0 ? r : tree_update_file(run->context->tree, PATH_RSA_PENDING, text, strlen(text), 0644, false);
}

int run_note_pending(struct run *run) {
        int r;

        if (!run->context->ring)
                return 0;
        r = run->n_rsa > 0 ? write_pending(run) : run_remove_file(run, PATH_RSA_PENDING);
        if (r < 0)
                log_error("cannot write " PATH_RSA_PENDING ": %s", strerror(-r));
        return r;
}

int run_clear_pending(struct run *run, bool *ret_more) {
        _cleanup_free_ char *ours = NULL, *text = NULL;
        int r = 0;

        *ret_more = false;
        if (!run->context->ring)
                return 0;
        r = format_pending(run, &ours);
        if (r >= 0)
                r = tree_read_file(run->context->tree, PATH_RSA_PENDING, strlen(ours), &text, NULL);
        if (r == -ENOENT)
                return 0;
        if (r == -EFBIG || (r >= 0 && strcmp(text, ours) != 0)) {
                *ret_more = true;
                return 0;
        }
        if (r >= 0)
                r = run_remove_file(run, PATH_RSA_PENDING);
        if (r < 0)
                log_error("cannot remove " PATH_RSA_PENDING ": %s", strerror(-r));
        return r;
}
