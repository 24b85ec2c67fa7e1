/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Finds and reads keyrota.conf, the policies and their drop-ins, and puts them together. May call tree,
 * diagnostics and the other policy files. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "paths.h"
#include "policy-draft.h"

#define SUFFIX ".ini"

struct loader {
        const struct tree *tree;
        struct diagnostics *diagnostics;
        struct policy_set *set;
        struct draft *defaults; /* keyrota.conf */
        struct deployment deployment;
        size_t room; /* in set->policies */
};

static void loader_clear(struct loader *loader) {
        policy_set_free(loader->set);
        draft_free(loader->defaults);
        deployment_clear(&loader->deployment);
}

/* One file into the draft. Its size; 0 also when it is unsafe (complained about); -ENOENT when it is absent
 * or masked. */
static ssize_t read_into(struct draft *draft, int folder_fd, const char *name, const char *path) {
        _cleanup_free_ char *data = NULL, *problem = NULL;
        const char *file;
        size_t size = 0;
        int r;

        r = policy_file_read(folder_fd, name, &data, &size, &problem);
        if (r == 0)
                return -ENOENT;
        if (r < 0 && r != -EPERM)
                return r;

        file = draft_add_file(draft, path);
        if (!file)
                return -ENOMEM;
        if (problem) {
                draft_complain(draft, &(struct origin){ .file = file }, "%s", problem);
                return draft->error;
        }
        r = draft_parse(draft, file, data, size, DRAFT_LINE_MAX);
        return r < 0 ? r : (ssize_t) size;
}

/* keyrota.conf. Also a missing one leaves a draft: that of keyrota's own defaults. */
static int load_config(struct loader *loader) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int folder = -EBADF;
        ssize_t size;
        int r;

        r = tree_full_path(loader->tree, PATH_CONFIG, &path);
        if (r < 0)
                return r;
        r = draft_new("keyrota", path, NULL, loader->diagnostics, &loader->defaults);
        if (r < 0)
                return r;
        loader->defaults->config = &loader->set->config;
        loader->set->config = (struct config){ .valid = true };

        folder = tree_open_path(loader->tree, CONFIG_DIR, O_RDONLY | O_DIRECTORY, 0);
        if (folder == -ENOENT)
                return 0;
        if (folder < 0) {
                draft_complain(loader->defaults, NULL, "its directory cannot be opened: %s",
                                strerror(-folder));
                return loader->defaults->error;
        }

        size = read_into(loader->defaults, folder, strrchr(PATH_CONFIG, '/') + 1, path);
        if (size < 0 && size != -ENOENT)
                return (int) size;
        draft_check_config(loader->defaults);
        return loader->defaults->error;
}

static int loader_begin(const struct tree *tree, struct diagnostics *diagnostics, struct loader *loader) {
        int r;

        *loader = (struct loader){ .tree = tree, .diagnostics = diagnostics };
        loader->set = calloc(1, sizeof(*loader->set));
        if (!loader->set)
                return -ENOMEM;

        r = load_config(loader);
        if (r < 0)
                return r;
        return deployment_read(tree, &loader->deployment);
}

static int add_policy(struct loader *loader, struct draft *draft) {
        struct policy_set *set = loader->set;
        struct policy **policies;

        if (set->n_policies == loader->room) {
                loader->room = loader->room > 0 ? loader->room * 2 : 16;
                policies = reallocarray(set->policies, loader->room, sizeof(*policies));
                if (!policies)
                        return -ENOMEM;
                set->policies = policies;
        }
        set->policies[set->n_policies++] = TAKE_PTR(draft->policy);
        return 0;
}

/* "billing" of "billing.ini". 0: complained about. */
static int stem(struct loader *loader, const char *file_name, const char *path, char **ret) {
        size_t n = strlen(file_name), n_suffix = strlen(SUFFIX);
        _cleanup_free_ char *name = NULL;
        int r;

        if (n <= n_suffix || strcmp(file_name + n - n_suffix, SUFFIX) != 0) {
                r = diagnostics_add(loader->diagnostics, true, path, 0,
                                "a policy's file is called NAME.ini; rename it");
                return r < 0 ? r : 0;
        }
        name = strndup(file_name, n - n_suffix);
        if (!name)
                return -ENOMEM;
        if (!policy_name_valid(name)) {
                r = diagnostics_add(loader->diagnostics, true, path, 0,
                                "%s cannot be the name of a secret; rename the file: lower-case letters, "
                                "digits and \"_.-\", at most %d",
                                quoted(name), POLICY_NAME_MAX);
                return r < 0 ? r : 0;
        }
        *ret = TAKE_PTR(name);
        return 1;
}

/* The drop-ins in these folders, by name. */
static int read_drop_ins(struct draft *draft, const struct folder folders[], size_t n_folders) {
        _cleanup_free_ struct folder_entry *entries = NULL;
        size_t n;
        int r;

        r = folders_merge(folders, n_folders, &entries, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_folders; i++)
                if (folders[i].problem) {
                        const char *file = draft_add_file(draft, folders[i].path);
                        if (file)
                                draft_complain(draft, &(struct origin){ .file = file }, "%s",
                                                folders[i].problem);
                }

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *path = NULL;
                ssize_t size;

                if (entries[i].folder->problem)
                        continue;
                if (asprintf(&path, "%s/%s", entries[i].folder->path, entries[i].name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                size = read_into(draft, entries[i].folder->fd, entries[i].name, path);
                if (size < 0 && size != -ENOENT)
                        return (int) size;
        }
        return draft->error;
}

/* Main file, drop-ins, rules. -ENOENT: the main file is absent or masked. */
static int fill_draft(const struct loader *loader, struct draft *draft, int folder_fd, const char *file_name,
                const struct folder drop_ins[], size_t n_drop_ins) {
        struct policy *policy = draft->policy;
        ssize_t size;
        int r;

        size = read_into(draft, folder_fd, file_name, policy->file);
        if (size < 0)
                return (int) size;
        if (size == 0 && !policy->valid)
                return 0; /* nothing in an unsafe file is believed, and without it its drop-ins mean nothing
                           */

        r = read_drop_ins(draft, drop_ins, n_drop_ins);
        if (r < 0)
                return r;

        if (size == 0) /* what a power cut leaves behind */
                draft_complain(draft, NULL,
                                "the file is empty; write a policy, or make it a link to /dev/null to have "
                                "none");
        else if (loader->set->config.valid)
                draft_check(draft, &loader->deployment);
        else
                policy->algorithm_known = draft->settings[SETTING_ALGORITHM].file &&
                                !draft->settings[SETTING_ALGORITHM].bad;
        return draft->error;
}

/* One secret. 1: added, valid or not; 0: its main file is absent or masked. */
static int load_policy(struct loader *loader, const char *name, int folder_fd, const char *file_name,
                const char *path, const struct folder drop_ins[], size_t n_drop_ins) {
        _cleanup_(draft_freep) struct draft *draft = NULL;
        int r;

        r = draft_new(name, path, loader->defaults, loader->diagnostics, &draft);
        if (r < 0)
                return r;
        r = fill_draft(loader, draft, folder_fd, file_name, drop_ins, n_drop_ins);
        if (r < 0)
                return r == -ENOENT ? 0 : r;

        if (!loader->set->config.valid) {
                free(draft->policy->error); /* that of keyrota.conf comes first */
                draft->policy->error = NULL;
                r = policy_invalidate(draft->policy, loader->defaults->policy->file, 0,
                                "it has errors, and no policy is used until it is right");
        }
        if (r >= 0)
                r = add_policy(loader, draft);
        return r < 0 ? r : 1;
}

/* A file in a folder that cannot be trusted: all that is known is that there is such a secret. */
static int add_untrusted(
                struct loader *loader, const char *name, const char *path, const struct folder *folder) {
        _cleanup_(draft_freep) struct draft *draft = NULL;
        int r;

        r = draft_new(name, path, NULL, loader->diagnostics, &draft);
        if (r >= 0)
                r = policy_invalidate(draft->policy, folder->path, 0, folder->problem);
        return r < 0 ? r : add_policy(loader, draft);
}

/* One of the names found in the policy folders, with the drop-in folders of that name. */
static int load_entry(struct loader *loader, const struct folder_entry *entry, const struct folder folders[],
                size_t n_folders) {
        struct folder drop_ins[FOLDERS_MAX] = { { .fd = -EBADF }, { .fd = -EBADF }, { .fd = -EBADF } };
        _cleanup_free_ char *name = NULL, *path = NULL, *drop_in_name = NULL;
        size_t n = 0;
        int r;

        if (asprintf(&path, "%s/%s", entry->folder->path, entry->name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = stem(loader, entry->name, path, &name);
        if (r <= 0)
                return r;
        if (entry->folder->problem)
                return add_untrusted(loader, name, path, entry->folder);
        if (asprintf(&drop_in_name, "%s.d", entry->name) < 0) {
                drop_in_name = NULL;
                return -ENOMEM;
        }

        for (size_t i = 0; r >= 0 && i < n_folders; i++)
                if (!folders[i].problem && folder_has(folders + i, drop_in_name))
                        r = folder_open_at(folders + i, drop_in_name, loader->diagnostics, drop_ins + n++);
        if (r >= 0)
                r = load_policy(loader, name, entry->folder->fd, entry->name, path, drop_ins, n);
        for (size_t i = 0; i < n; i++)
                folder_clear(drop_ins + i);
        return r;
}

static int compare_policies(const void *a, const void *b) {
        const struct policy *x = *(struct policy *const *) a, *y = *(struct policy *const *) b;
        int r = strcmp(x->name, y->name);

        return r != 0 ? r : strcmp(x->file, y->file);
}

static int loader_end(struct loader *loader, struct policy_set **ret) {
        struct policy_set *set = loader->set;
        int r;

        if (set->n_policies > 1)
                qsort(set->policies, set->n_policies, sizeof(*set->policies), compare_policies);
        r = policy_check_conflicts(set, loader->diagnostics);
        if (r >= 0)
                *ret = TAKE_PTR(loader->set);
        return r;
}

static int load_folders(struct loader *loader, struct folder folders[static FOLDERS_MAX]) {
        static const char *const paths[FOLDERS_MAX] = {
                CONFIG_DIR "/" POLICY_DIRECTORY,
                RUN_DIR "/" POLICY_DIRECTORY,
                VENDOR_DIR "/" POLICY_DIRECTORY,
        };
        _cleanup_free_ struct folder_entry *entries = NULL;
        size_t n;
        int r;

        for (size_t i = 0; i < FOLDERS_MAX; i++) {
                r = folder_open(loader->tree, paths[i], loader->diagnostics, folders + i);
                if (r >= 0 && folders[i].problem)
                        r = diagnostics_add(loader->diagnostics, true, folders[i].path, 0, "%s",
                                        folders[i].problem);
                if (r < 0)
                        return r;
                if (folders[i].unlisted)
                        loader->set->incomplete = true;
        }

        r = folders_merge(folders, FOLDERS_MAX, &entries, &n);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = load_entry(loader, entries + i, folders, FOLDERS_MAX);
        return r;
}

int policy_load_all(const struct tree *tree, struct policy_set **ret, struct diagnostics *diagnostics) {
        struct folder folders[FOLDERS_MAX] = { { .fd = -EBADF }, { .fd = -EBADF }, { .fd = -EBADF } };
        struct loader loader;
        int r;

        r = loader_begin(tree, diagnostics, &loader);
        if (r >= 0)
                r = load_folders(&loader, folders);
        if (r >= 0)
                r = loader_end(&loader, ret);

        for (size_t i = 0; i < FOLDERS_MAX; i++)
                folder_clear(folders + i);
        loader_clear(&loader);
        return r < 0 ? r : 0;
}

/* A file as the caller names it, outside the tree. */
static int load_file(struct loader *loader, const char *path) {
        static const struct tree outside = { .fd = -EBADF };
        _cleanup_free_ char *name = NULL, *drop_in_path = NULL;
        struct folder drop_ins = { .fd = -EBADF };
        const char *slash = strrchr(path, '/');
        int r;

        r = stem(loader, slash ? slash + 1 : path, path, &name);
        if (r <= 0)
                return r;
        if (asprintf(&drop_in_path, "%s.d", path) < 0) {
                drop_in_path = NULL;
                return -ENOMEM;
        }

        r = folder_open(&outside, drop_in_path, loader->diagnostics, &drop_ins);
        if (r >= 0)
                r = load_policy(loader, name, AT_FDCWD, path, path, &drop_ins, 1);
        folder_clear(&drop_ins);
        if (r != 0)
                return r;

        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return diagnostics_add(loader->diagnostics, false, path, 0,
                                "it is a link to /dev/null, which masks the policy; there is nothing to "
                                "check");
        return diagnostics_add(loader->diagnostics, true, path, 0, "there is no such file");
}

int policy_load_files(const struct tree *tree, char *const files[], size_t n_files, struct policy_set **ret,
                struct diagnostics *diagnostics) {
        struct loader loader;
        int r;

        r = loader_begin(tree, diagnostics, &loader);
        for (size_t i = 0; r >= 0 && i < n_files; i++)
                r = load_file(&loader, files[i]);
        if (r >= 0)
                r = loader_end(&loader, ret);

        loader_clear(&loader);
        return r < 0 ? r : 0;
}

int policy_parse_text(
                const char *name, const char *text, struct policy **ret, struct diagnostics *diagnostics) {
        _cleanup_(draft_freep) struct draft *draft = NULL;
        _cleanup_free_ char *label = NULL;
        const char *file;
        int r;

        if (asprintf(&label, "%s (stored policy)", name) < 0) {
                label = NULL;
                return -ENOMEM;
        }
        r = draft_new(name, label, NULL, diagnostics, &draft);
        if (r < 0)
                return r;
        file = draft_add_file(draft, label);
        if (!file)
                return -ENOMEM;
        r = draft_parse(draft, file, text, strlen(text), DRAFT_CANONICAL_LINE_MAX);
        if (r < 0)
                return r;
        draft_check(draft, NULL);
        if (draft->error < 0)
                return draft->error;
        if (!draft->policy->valid)
                return -EBADMSG;

        *ret = TAKE_PTR(draft->policy);
        return 0;
}
