/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key-encryption key of a scratch tree, sealed by the real systemd-creds under that tree's own host key.
 */

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jwk.h"
#include "kek.h"
#include "paths.h"
#include "seal.h"
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
