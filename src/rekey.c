/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a rekey, see rekey.h. May call policy, kek, store, context_audit(). */

#include <errno.h>
#include <string.h>

#include "kek.h"
#include "log.h"
#include "policy.h"
#include "progress.h"
#include "reason.h"
#include "rekey.h"
#include "store.h"

#define REKEY_LOCK_WAIT 90 /* seconds that another run is waited for */
#define REKEY_BATCH 256 /* files that are made durable with one syncfs(2) */

struct rekey_run {
        struct context *context;
        const struct rekey_options *options;
        enum seal_with seal_with;
        struct kek *loaded;
        struct kek *drawn;     /* NULL: an interrupted rekey is completed */
        const struct kek *kek; /* the new one, with the previous one */
        char *blob;            /* the new one alone, sealed before anything is changed, so that this cannot fail at the end */
        char *kept;            /* path of the previous one, or NULL */
        struct store *store;
        struct store_name *names;
        size_t n_names;
};

static void rekey_clear(struct rekey_run *run) {
        store_names_free(run->names, run->n_names);
        store_free(run->store);
        kek_free(run->drawn);
        kek_free(run->loaded);
        free(run->blob);
        free(run->kept);
}

/* How to seal is for keyrota.conf to say, and not to be guessed. */
static int load_config(struct rekey_run *run) {
        _cleanup_(policy_set_freep) struct policy_set *policies = NULL;
        struct diagnostics diagnostics = { .n_items = 0 };
        int r;

        r = policy_load_all(run->context->tree, &policies, &diagnostics);
        diagnostics_clear(&diagnostics); /* provision says what is wrong with the policies */
        if (r < 0) {
                log_error("cannot read keyrota.conf: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        if (!policies->config.valid) {
                log_error("keyrota.conf has errors, so that it is not known how to seal: run keyrota check; nothing was changed");
                return EXIT_POLICY;
        }
        run->seal_with = policies->config.seal_with;
        run->context->audit_required = policies->config.audit_required;
        return EXIT_SUCCESS;
}

static int open_store(struct rekey_run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = kek_load_file(run->context->tree, &run->loaded, &reason);
        if (r == -ENOENT) {
                log_error("there is no key-encryption key to replace; keyrota setup makes one");
                return r;
        }
        if (r < 0) {
                log_error("cannot open the key-encryption key: %s; nothing was changed", reason ? reason : strerror(-r));
                return r;
        }
        r = store_open(run->context->tree, run->loaded, true, REKEY_LOCK_WAIT, &run->store, &reason);
        if (r >= 0)
                r = store_list(run->store, &run->names, &run->n_names);
        if (r < 0)
                log_error("cannot open the store: %s; nothing was changed", reason ? reason : strerror(-r));
        return r;
}

/* Step 1: what does not open now would be lost with the previous KEK. */
static int check_files(struct rekey_run *run, size_t *ret_n_aside, char **ret_example) {
        _cleanup_free_ char *reason = NULL;
        size_t n_bad = 0;
        int r;

        r = store_survey(run->store, ret_n_aside, ret_example, &reason);
        if (r < 0) {
                log_error("cannot look through the store: %s; nothing was changed", reason ? reason : strerror(-r));
                return r;
        }
        for (size_t i = 0; i < run->n_names; i++) {
                _cleanup_free_ char *why = NULL;

                r = store_verify(run->store, run->names[i].environment, run->names[i].name, &why);
                if (r >= 0 || r == -ENOENT)
                        continue;
                log_error("%s/%s: %s", run->names[i].environment, run->names[i].name, why ? why : strerror(-r));
                n_bad++;
        }
        if (n_bad == 0)
                return 0;
        log_error("%zu of %zu stored files cannot be opened, so that nothing was changed; put them right, or move them out of the store, "
                  "and run keyrota rekey again", n_bad, run->n_names);
        return -EBADMSG;
}

/* Everything that has to be sealed is sealed before anything is changed. Step 2 is the last of it. */
static int begin(struct rekey_run *run) {
        const struct tree *tree = run->context->tree;
        _cleanup_free_ char *reason = NULL, *blob = NULL;
        int r = 0;

        run->kek = store_kek(run->store);
        if (!run->kek->previous) {
                r = kek_renew(run->kek, &run->drawn);
                run->kek = run->drawn;
        }
        if (r >= 0)
                r = kek_seal(tree, run->seal_with, run->kek, false, &run->blob, &reason);
        if (r >= 0 && run->drawn)
                r = kek_seal(tree, run->seal_with, run->drawn, true, &blob, &reason);
        if (r >= 0 && run->options->keep_old)
                r = kek_keep_previous(tree, run->seal_with, run->kek, &run->kept, &reason);
        if (r < 0) {
                log_error("cannot prepare the new key-encryption key: %s; no stored file was changed", reason ? reason : strerror(-r));
                return r;
        }
        if (!run->drawn) {
                log_info("completing the rekey that was interrupted");
                return 0;
        }
        r = kek_replace(tree, blob, &reason);
        if (r < 0) {
                log_error("%s; no stored file was changed", reason ? reason : strerror(-r));
                return r;
        }
        store_use_kek(run->store, run->drawn);
        return 0;
}

static int reseal_files(struct rekey_run *run, char **ret_reason) {
        size_t n_staged = 0;
        int r;

        for (size_t i = 0; i < run->n_names; i++) {
                r = store_reseal(run->store, run->names[i].environment, run->names[i].name, ret_reason);
                if (r < 0 && r != -ENOENT)
                        return r;
                if (r > 0)
                        n_staged++;
                progress_show("Sealing files", i + 1, run->n_names);
                if (n_staged < REKEY_BATCH && i + 1 < run->n_names)
                        continue;
                r = store_commit(run->store, ret_reason);
                if (r < 0)
                        return r;
                n_staged = 0;
        }
        progress_end(run->n_names);
        /* An earlier run may have been killed between renaming and syncing. */
        return store_sync(run->store, ret_reason);
}

/* Before the old one goes: where records are required it does not go without. */
static int record(const struct rekey_run *run, char **ret_reason) {
        const struct audit_record record = { .kids = run->kek->kid };
        int r;

        r = context_audit(run->context, AUDIT_REKEYED, &record);
        return r < 0 ? reason_set(r, ret_reason, "it cannot be recorded in the journal (%s) and keyrota.conf says audit = required", strerror(-r)) : 0;
}

/* Steps 3 to 5. */
static int complete(struct rekey_run *run) {
        _cleanup_free_ char *reason = NULL;
        int r;

        r = kek_note(run->context->tree, run->kek, &reason);
        if (r >= 0)
                r = reseal_files(run, &reason);
        if (r >= 0)
                r = record(run, &reason);
        if (r >= 0)
                r = kek_replace(run->context->tree, run->blob, &reason);
        if (r < 0)
                log_error("%s; the rekey is not complete: every file still opens, for both key-encryption keys are kept; run keyrota rekey again",
                          reason ? reason : strerror(-r));
        return r;
}

static void report(const struct rekey_run *run, size_t n_aside, const char *example) {
        log_info("%zu stored %s sealed under the new key-encryption key %s", run->n_names, run->n_names == 1 ? "file is" : "files are", run->kek->kid);
        if (run->kept)
                log_info("the old one is kept in %s; remove it when no backup that is sealed under it is wanted any more", run->kept);
        else
                log_info("the old one, %s, is gone: what backups hold of the store needs the kek.cred of that backup", run->kek->previous->kid);
        if (n_aside > 0)
                log_warning("%zu %s set aside earlier, such as %s, and %s sealed under the old one", n_aside, n_aside == 1 ? "file was" : "files were",
                            example, n_aside == 1 ? "stays" : "stay");
}

int rekey(struct context *context, const struct rekey_options *options) {
        _cleanup_(rekey_clear) struct rekey_run run = { .context = context, .options = options };
        _cleanup_free_ char *example = NULL;
        size_t n_aside = 0;
        int status;

        status = load_config(&run);
        if (status != EXIT_SUCCESS)
                return status;
        if (open_store(&run) < 0 || check_files(&run, &n_aside, &example) < 0 || begin(&run) < 0 || complete(&run) < 0)
                return EXIT_FAILURE;
        report(&run, n_aside, example);
        return EXIT_SUCCESS;
}
