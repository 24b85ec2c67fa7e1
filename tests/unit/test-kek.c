/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key-encryption key of a scratch tree, sealed by the real systemd-creds under that tree's own host key.
 */

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jwk.h"
#include "kek-jwk.h"
#include "paths.h"
#include "seal.h"
#include "store.h"
#include "machine.h"
#include "tap.h"

static char scratch[1024];
static struct tree *tree;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

static void remove_scratch(void) {
        tree_free(tree);
        (void) nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *in_scratch(const char *path) {
        static char full[2048];

        (void) snprintf(full, sizeof(full), "%s%s", scratch, path);
        return full;
}

static bool write_file(const char *path, const char *text, mode_t mode) {
        _cleanup_fclose_ FILE *f = fopen(in_scratch(path), "we");

        return f && fputs(text, f) >= 0 && fchmod(fileno(f), mode) == 0;
}

TEST(there_is_none_at_first) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(kek_load(tree, &kek, &reason), -ENOENT);
}

TEST(a_new_one_is_closed_to_others_and_opens) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_free_ char *reason = NULL;
        struct stat st;

        expect_int(kek_create(tree, SEAL_WITH_AUTO, &reason), 0);
        expect_int(stat(in_scratch(PATH_KEK), &st), 0);
        expect_int(st.st_mode & 07777, 0600);
        expect_int(st.st_nlink, 1);
        expect_int(stat(in_scratch(PATH_STATE), &st), 0);
        expect_int(st.st_mode & 07777, 0700);
        expect_int(kek_load(tree, &kek, &reason), 0);
        expect_int(kek->bytes->size, 32);
        expect_int(strlen(kek->kid), 22);
}

TEST(one_that_is_there_is_never_replaced) {
        _cleanup_(kek_freep) struct kek *before = NULL, *after = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(kek_load(tree, &before, &reason), 0);
        expect_int(kek_create(tree, SEAL_WITH_AUTO, &reason), -EEXIST);
        expect_int(kek_load(tree, &after, &reason), 0);
        expect_string(after->kid, before->kid);
        expect(secret_equal(after->bytes, before->bytes));
}

TEST(two_hosts_have_two_keys) {
        _cleanup_(kek_freep) struct kek *one = NULL, *two = NULL;
        _cleanup_(tree_freep) struct tree *other = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(mkdir(in_scratch("/other"), 0755), 0);
        expect_int(machine_open(in_scratch("/other"), &other), 0);
        expect_int(kek_create(other, SEAL_WITH_HOST, &reason), 0);
        expect_int(kek_load(tree, &one, &reason), 0);
        expect_int(kek_load(other, &two, &reason), 0);
        expect(strcmp(one->kid, two->kid) != 0);
        expect(!secret_equal(one->bytes, two->bytes));
}

TEST(a_file_that_cannot_be_trusted_is_refused_and_left_alone) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_free_ char *reason = NULL;
        char kept[2048];

        (void) snprintf(kept, sizeof(kept), "%s/kept", scratch);
        expect_int(chmod(in_scratch(PATH_KEK), 0640), 0);
        expect_int(kek_load(tree, &kek, &reason), -EPERM);
        expect(strstr(reason, "chmod 0600"));
        expect_int(chmod(in_scratch(PATH_KEK), 0600), 0);
        expect_int(chown(in_scratch(PATH_KEK), 65534, 65534), 0);
        expect_int(kek_load(tree, &kek, &reason), -EPERM);
        expect_int(chown(in_scratch(PATH_KEK), 0, 0), 0);

        expect_int(rename(in_scratch(PATH_KEK), kept), 0);
        expect_int(symlink("/kept", in_scratch(PATH_KEK)), 0);
        expect_int(kek_load(tree, &kek, &reason), -EPERM);
        expect(strstr(reason, "is a link"));
        expect_int(kek_create(tree, SEAL_WITH_HOST, &reason), -EEXIST);
        expect_int(unlink(in_scratch(PATH_KEK)), 0);

        expect_int(mkfifo(in_scratch(PATH_KEK), 0600), 0);
        expect_int(kek_load(tree, &kek, &reason), -EPERM);
        expect_int(unlink(in_scratch(PATH_KEK)), 0);

        expect(write_file(PATH_KEK, "", 0600));
        expect_int(kek_load(tree, &kek, &reason), -EBADMSG);
        expect(strstr(reason, "is empty"));
        expect_int(kek_create(tree, SEAL_WITH_HOST, &reason), -EEXIST);
        expect(write_file(PATH_KEK, "not sealed at all\n", 0600));
        expect_int(kek_load(tree, &kek, &reason), -EBADMSG);
        expect_int(truncate(in_scratch(PATH_KEK), 2 * 1024 * 1024), 0);
        expect_int(kek_load(tree, &kek, &reason), -EFBIG);

        expect_int(rename(kept, in_scratch(PATH_KEK)), 0);
        expect_int(kek_load(tree, &kek, &reason), 0);
}

TEST(a_lost_host_key_is_not_no_key) {
        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_free_ char *reason = NULL;
        char kept[2048];

        (void) snprintf(kept, sizeof(kept), "%s/kept", scratch);
        expect_int(rename(in_scratch("/var/lib/systemd"), kept), 0);
        int r = kek_load(tree, &kek, &reason);
        expect_int(rename(kept, in_scratch("/var/lib/systemd")), 0);
        expect_int(r, -EIO);
        expect(strstr(reason, "host key"));
}

TEST(sealed_text_that_is_no_key_is_refused) {
        static const char *const texts[] = {
                "",
                "{}",
                "[]",
                "{\"kty\":\"oct\",\"kid\":\"k\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                "{\"kty\":\"oct\",\"kid\":\"k\",\"alg\":\"A128GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                "{\"kty\":\"RSA\",\"kid\":\"k\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                "{\"kty\":\"oct\",\"kid\":\"\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                "{\"kty\":\"oct\",\"kid\":\"a\\\"b\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                "{\"kty\":\"oct\",\"kid\":\"k\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\"}",
                "{\"kty\":\"oct\",\"kid\":\"k\",\"kid\":\"k\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
                "{\"kty\":\"oct\",\"kid\":\"k\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"x\":1}",
                "{\"kty\":\"oct\",\"kid\":\"k\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"} x",
        };
        _cleanup_free_ char *reason = NULL;
        _cleanup_(tree_freep) struct tree *other = NULL;

        expect_int(machine_open(in_scratch("/other"), &other), 0);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(secret_freep) struct secret *text = NULL;
                _cleanup_(kek_freep) struct kek *kek = NULL;
                _cleanup_free_ char *blob = NULL;

                expect_int(secret_new_from(texts[i], strlen(texts[i]), &text), 0);
                expect_int(seal(other, SEAL_WITH_HOST, "keyrota-kek", text, &blob, &reason), 0);
                expect(write_file("/other" PATH_KEK, blob, 0600));
                expect_int(kek_load(other, &kek, &reason), -EBADMSG);
        }
}

TEST(the_units_credential_is_taken_for_the_host_only) {
        static const char jwk[] =
                        "{\"kty\":\"oct\",\"kid\":\"of-the-unit\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}";
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *kek = NULL, *other = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(tree_open(NULL, &host), 0);
        expect(write_file("/keyrota-kek", jwk, 0400));
        expect_int(setenv("CREDENTIALS_DIRECTORY", scratch, 1), 0);
        expect_int(kek_load(host, &kek, &reason), 0);
        expect_string(kek->kid, "of-the-unit");
        expect_int(kek_load(tree, &other, &reason), 0);
        expect(strcmp(other->kid, "of-the-unit") != 0);
}

TEST(a_credential_that_is_no_key_is_refused) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *kek = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(tree_open(NULL, &host), 0);
        expect(write_file("/keyrota-kek", "", 0400));
        expect_int(kek_load(host, &kek, &reason), -EBADMSG);
        expect(write_file("/keyrota-kek", "{}", 0400));
        expect_int(kek_load(host, &kek, &reason), -EBADMSG);
        expect_int(unlink(in_scratch("/keyrota-kek")), 0);
        expect_int(symlink("/dev/zero", in_scratch("/keyrota-kek")), 0);
        expect_int(kek_load(host, &kek, &reason), -ELOOP);
        expect_int(unlink(in_scratch("/keyrota-kek")), 0);
        expect_int(mkfifo(in_scratch("/keyrota-kek"), 0600), 0);
        expect_int(kek_load(host, &kek, &reason), -EBADMSG);
        (void) unsetenv("CREDENTIALS_DIRECTORY");
}

TEST(a_failure_to_seal_leaves_no_file) {
        _cleanup_(tree_freep) struct tree *other = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(mkdir(in_scratch("/third"), 0755), 0);
        expect_int(mkdir(in_scratch("/third/var"), 0755), 0);
        expect_int(mkdir(in_scratch("/third/var/lib"), 0755), 0);
        expect_int(mkdir(in_scratch("/third/var/lib/systemd"), 0755), 0);
        /* Too short to be a host key. */
        expect(write_file("/third" PATH_HOST_KEY, "x", 0400));
        expect_int(machine_open(in_scratch("/third"), &other), 0);
        expect_int(kek_create(other, SEAL_WITH_HOST, &reason), -EIO);
        expect(reason && strstr(reason, "systemd-creds"));
        expect_int(access(in_scratch("/third" PATH_KEK), F_OK), -1);
}

/* A host of its own with a KEK that is noted nowhere. */
static int new_host(const char *name, struct tree **ret) {
        _cleanup_free_ char *reason = NULL;
        int r;

        if (mkdir(in_scratch(name), 0755) < 0)
                return -errno;
        r = machine_open(in_scratch(name), ret);
        return r < 0 ? r : kek_create(*ret, SEAL_WITH_HOST, &reason);
}

/* What a rekey does to PATH_KEK: both, or the new one alone. */
static int replace(const struct tree *host, const struct kek *kek, bool with_previous) {
        _cleanup_free_ char *blob = NULL, *reason = NULL;
        int r;

        r = kek_seal(host, SEAL_WITH_HOST, kek, with_previous, &blob, &reason);
        return r < 0 ? r : kek_replace(host, blob, &reason);
}

TEST(one_file_holds_both_while_a_rekey_is_under_way) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *old = NULL, *new = NULL, *both = NULL, *after = NULL;
        _cleanup_free_ char *reason = NULL;
        struct stat st;

        expect_int(new_host("/both", &host), 0);
        expect_int(kek_load(host, &old, &reason), 0);
        expect(!old->previous);
        expect_int(kek_renew(old, &new), 0);
        expect(strcmp(new->kid, old->kid) != 0);
        expect(!secret_equal(new->bytes, old->bytes));

        expect_int(replace(host, new, true), 0);
        expect_int(kek_load(host, &both, &reason), 0);
        expect_string(both->kid, new->kid);
        expect(secret_equal(both->bytes, new->bytes));
        expect_string(both->previous->kid, old->kid);
        expect(secret_equal(both->previous->bytes, old->bytes));
        expect(kek_find(both, new->kid) == both);
        expect(kek_find(both, old->kid) == both->previous);
        expect(!kek_find(both, "another"));

        expect_int(replace(host, new, false), 0);
        expect_int(kek_load(host, &after, &reason), 0);
        expect_string(after->kid, new->kid);
        expect(!after->previous);
        expect_int(stat(in_scratch("/both" PATH_KEK), &st), 0);
        expect_int(st.st_mode & 07777, 0600);
        expect_int(st.st_nlink, 1);
}

TEST(a_replaced_file_is_not_current_any_more) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *old = NULL, *new = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(new_host("/replaced", &host), 0);
        expect_int(kek_load(host, &old, &reason), 0);
        expect(kek_is_current(host, old));
        expect_int(kek_renew(old, &new), 0);
        expect(kek_is_current(host, new));
        expect_int(replace(host, old, false), 0); /* even by the same key */
        expect(!kek_is_current(host, old));
        expect_int(unlink(in_scratch("/replaced" PATH_KEK)), 0);
        expect(!kek_is_current(host, old));
}

TEST(a_units_copy_is_current_unless_another_was_noted) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *copy = NULL, *new = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(new_host("/noted", &host), 0);
        expect_int(kek_load(host, &copy, &reason), 0);
        copy->source = KEK_FROM_CREDENTIAL;
        expect(kek_is_current(host, copy));
        expect_int(kek_note(host, copy, &reason), 0);
        expect(kek_is_current(host, copy));
        expect_int(kek_renew(copy, &new), 0);
        new->source = KEK_FROM_CREDENTIAL;
        expect(kek_is_current(host, new)); /* it holds the noted one too */
        expect_int(kek_note(host, new, &reason), 0);
        expect(kek_is_current(host, new));
        expect(!kek_is_current(host, copy));
        expect(write_file("/noted" PATH_STATE "/kek.kid", "", 0600));
        expect(!kek_is_current(host, new));

        /* The note of a KEK that is lost does not speak against a new one. */
        expect_int(unlink(in_scratch("/noted" PATH_KEK)), 0);
        expect_int(kek_create(host, SEAL_WITH_HOST, &reason), 0);
        expect(kek_is_current(host, new));
}

TEST(the_store_takes_the_present_one_instead_of_one_that_was_replaced) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *copy = NULL, *new = NULL;
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *reason = NULL;
        char kept[2048];

        expect_int(new_host("/store", &host), 0);
        expect_int(kek_load(host, &copy, &reason), 0);
        copy->source = KEK_FROM_CREDENTIAL;
        expect_int(kek_renew(copy, &new), 0);
        expect_int(replace(host, new, false), 0);
        expect_int(kek_note(host, new, &reason), 0);
        expect_int(store_open(host, copy, true, 0, &store, &reason), 0);
        expect_string(store_kek(store)->kid, new->kid);
        store_free(TAKE_PTR(store));
        expect_int(store_open(host, copy, false, 0, &store, &reason), 0);
        expect_string(store_kek(store)->kid, copy->kid); /* a reader finds out where it matters */
        store_free(TAKE_PTR(store));

        /* As in a unit that cannot get at the TPM. */
        (void) snprintf(kept, sizeof(kept), "%s/kept", scratch);
        expect_int(rename(in_scratch("/store/var/lib/systemd"), kept), 0);
        int r = store_open(host, copy, true, 0, &store, &reason);
        expect_int(rename(kept, in_scratch("/store/var/lib/systemd")), 0);
        expect_int(r, -ESTALE);
        expect(strstr(reason, "has been replaced since this run got it"));
        expect(strstr(reason, "run it again"));
        expect(!strstr(reason, "damaged"));
}

TEST(a_note_that_a_restored_file_contradicts_is_put_right_by_who_can_see_it) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *restored = NULL, *lost = NULL;
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(new_host("/restored", &host), 0);
        expect_int(kek_draw(&lost), 0);
        expect_int(kek_note(host, lost, &reason), 0);
        expect_int(kek_load(host, &restored, &reason), 0);
        expect(!kek_is_noted(host, restored));
        expect_int(store_open(host, restored, false, 0, &store, &reason), 0);
        expect(!kek_is_noted(host, restored));
        store_free(TAKE_PTR(store));
        expect_int(store_open(host, restored, true, 0, &store, &reason), 0);
        expect(kek_is_noted(host, restored));
}

TEST(the_previous_one_is_kept_once) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(kek_freep) struct kek *old = NULL, *new = NULL, *kept = NULL;
        _cleanup_free_ char *reason = NULL, *path = NULL, *again = NULL;

        expect_int(new_host("/keep", &host), 0);
        expect_int(kek_load(host, &old, &reason), 0);
        expect_int(kek_renew(old, &new), 0);
        expect_int(kek_keep_previous(host, SEAL_WITH_HOST, new, &path, &reason), 0);
        expect(strstr(path, old->kid));
        expect_int(kek_keep_previous(host, SEAL_WITH_HOST, new, &again, &reason), 0);
        expect_string(again, path);
        expect_int(rename(path, in_scratch("/keep" PATH_KEK)), 0);
        expect_int(kek_load(host, &kept, &reason), 0);
        expect_string(kept->kid, old->kid);
}

TEST(a_set_of_any_other_form_is_refused) {
#define ONE(kid) "{\"kty\":\"oct\",\"kid\":\"" kid "\",\"alg\":\"A256GCM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"
        static const struct {
                const char *text;
                int wanted;
        } cases[] = {
                { "{\"keys\":[" ONE("a") "," ONE("b") "]}", 0 },
                { "{\"keys\":[" ONE("a") "," ONE("a") "]}", -EBADMSG },
                { "{\"keys\":[" ONE("a") "," ONE("b") "," ONE("c") "]}", -EBADMSG },
                { "{\"keys\":[" ONE("a") "]}", -EBADMSG },
                { "{\"keys\":[]}", -EBADMSG },
                { "{\"keys\":{}}", -EBADMSG },
                { "{\"keys\":null}", -EBADMSG },
                { "{\"keys\":[" ONE("a") ",1]}", -EBADMSG },
                { "{\"keys\":[" ONE("a") "," ONE("b") "],\"x\":1}", -EBADMSG },
                { "[" ONE("a") "," ONE("b") "]", -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(secret_freep) struct secret *text = NULL;
                _cleanup_(kek_freep) struct kek *kek = NULL;

                expect_int(secret_new_from(cases[i].text, strlen(cases[i].text), &text), 0);
                int r = kek_parse(text, &kek);
                if (r != cases[i].wanted)
                        printf("# %s\n", cases[i].text);
                expect_int(r, cases[i].wanted);
        }
}

int main(void) {
        const char *tmp = getenv("TMPDIR");

        if (geteuid() != 0 || access("/usr/bin/systemd-creds", X_OK) < 0) {
                puts("1..0 # SKIP needs root and systemd-creds");
                return 0;
        }
        (void) unsetenv("CREDENTIALS_DIRECTORY");
        (void) snprintf(scratch, sizeof(scratch), "%s/keyrota-kek-XXXXXX", tmp ? tmp : "/tmp");
        if (jwk_init() < 0 || !mkdtemp(scratch) || atexit(remove_scratch) != 0 ||
            machine_open(scratch, &tree) < 0) {
                puts("Bail out! no scratch directory");
                return EXIT_FAILURE;
        }
        return tap_main();
}
