/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* systemd-creds as it is, with the host key of a scratch tree, and one that misbehaves. Builds seal.c and
 * seal-run.c in, to give them another program and deadline. */

#include <limits.h>

#ifdef SYSTEMD_CREDS
static const char real_creds[] = SYSTEMD_CREDS;
#undef SYSTEMD_CREDS
#else
static const char real_creds[] = "/usr/bin/systemd-creds";
#endif

static char creds[PATH_MAX];
#define SYSTEMD_CREDS creds
static int timeout_msec = 60000;
#define SEAL_TIMEOUT_MSEC timeout_msec

#include "../../src/seal-run.c"
#include "../../src/seal.c"

#include <ftw.h>
#include <sys/stat.h>

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
        if (*scratch)
                (void) nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool have_creds(void) {
        return access(real_creds, X_OK) == 0;
}

/* Makes the program that is run a shell script. */
static bool fake(const char *script) {
        _cleanup_fclose_ FILE *f = NULL;

        (void) snprintf(creds, sizeof(creds), "%s/creds", scratch);
        (void) unlink(creds);
        f = fopen(creds, "we");
        return f && fprintf(f, "#!/bin/sh\n%s\n", script) > 0 && fchmod(fileno(f), 0700) == 0;
}

static void real(void) {
        (void) snprintf(creds, sizeof(creds), "%s", real_creds);
}

static struct secret *some_secret(void) {
        struct secret *secret = NULL;
        static const char data[] = "not\0text\n";

        return secret_new_from(data, sizeof(data), &secret) < 0 ? NULL : secret;
}

/* A blob that begins with this id, in Base64. */
static void blob_of(const uint8_t id[KEY_ID_SIZE], char text[static 129]) {
        uint8_t blob[96] = { 0 };

        memcpy(blob, id, KEY_ID_SIZE);
        (void) EVP_EncodeBlock((uint8_t *) text, blob, sizeof(blob));
}

TEST(what_is_sealed_opens_again) {
        _cleanup_(secret_freep) struct secret *data = some_secret(), *opened = NULL;
        _cleanup_free_ char *blob = NULL, *reason = NULL;

        if (!have_creds())
                skip("no systemd-creds");
        real();
        expect_int(seal(tree, SEAL_WITH_AUTO, "name", data, &blob, &reason), 0);
        expect(!memmem(blob, strlen(blob), data->data, 3));
        expect_int(unseal(tree, "name", blob, &opened, &reason), 0);
        expect(secret_equal(data, opened));
}

TEST(the_tree_gets_a_host_key_of_its_own) {
        char path[PATH_MAX];
        struct stat st;

        if (!have_creds())
                skip("no systemd-creds");
        (void) snprintf(path, sizeof(path), "%s%s", scratch, PATH_HOST_KEY);
        expect_int(stat(path, &st), 0);
        expect_int(st.st_mode & 0777, 0400);
}

TEST(a_link_in_the_tree_does_not_lead_the_host_key_out_of_it) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_(tree_freep) struct tree *other = NULL;
        _cleanup_free_ char *blob = NULL, *reason = NULL;
        char path[PATH_MAX];

        if (!have_creds())
                skip("no systemd-creds");
        real();
        (void) snprintf(path, sizeof(path), "%s/outside", scratch);
        expect_int(mkdir(path, 0700), 0);
        (void) snprintf(path, sizeof(path), "%s/linked", scratch);
        expect_int(mkdir(path, 0700), 0);
        expect_int(machine_open(path, &other), 0);
        (void) snprintf(path, sizeof(path), "%s/linked/outside", scratch);
        expect_int(mkdir(path, 0700), 0);
        (void) snprintf(path, sizeof(path), "%s/linked/var", scratch);
        expect_int(symlink("../outside", path), 0);
        expect_int(seal(other, SEAL_WITH_HOST, "name", data, &blob, &reason), 0);
        (void) snprintf(path, sizeof(path), "%s/linked/outside/lib/systemd/credential.secret", scratch);
        expect_int(access(path, F_OK), 0);
        (void) snprintf(path, sizeof(path), "%s/outside/lib", scratch);
        expect_int(access(path, F_OK), -1);
}

TEST(a_blob_under_another_name_is_refused) {
        _cleanup_(secret_freep) struct secret *data = some_secret(), *opened = NULL;
        _cleanup_free_ char *blob = NULL, *reason = NULL;

        if (!have_creds())
                skip("no systemd-creds");
        real();
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), 0);
        expect_int(unseal(tree, "other", blob, &opened, &reason), -EBADMSG);
        expect(strstr(reason, "'other'"));
}

TEST(a_blob_of_another_host_is_refused) {
        _cleanup_(secret_freep) struct secret *data = some_secret(), *opened = NULL;
        _cleanup_(tree_freep) struct tree *other = NULL;
        _cleanup_free_ char *blob = NULL, *blob2 = NULL, *reason = NULL;
        char path[PATH_MAX];

        if (!have_creds())
                skip("no systemd-creds");
        real();
        (void) snprintf(path, sizeof(path), "%s/other-host", scratch);
        expect_int(mkdir(path, 0700), 0);
        expect_int(machine_open(path, &other), 0);
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), 0);
        expect_int(unseal(other, "name", blob, &opened, &reason), -ENOENT); /* no key there at all */
        expect_int(seal(other, SEAL_WITH_HOST, "name", data, &blob2, &reason), 0);
        expect_int(unseal(other, "name", blob, &opened, &reason), -EBADMSG);
}

/* systemd-creds would delete such a key. */
TEST(a_host_key_of_another_machine_id_is_left_alone) {
        _cleanup_(secret_freep) struct secret *data = some_secret(), *opened = NULL;
        _cleanup_(tree_freep) struct tree *moved = NULL;
        _cleanup_free_ char *blob = NULL, *blob2 = NULL, *reason = NULL;
        char path[PATH_MAX];

        if (!have_creds())
                skip("no systemd-creds");
        real();
        (void) snprintf(path, sizeof(path), "%s/moved", scratch);
        expect_int(mkdir(path, 0700), 0);
        expect_int(machine_open(path, &moved), 0);
        expect_int(seal(moved, SEAL_WITH_HOST, "name", data, &blob, &reason), 0);

        expect(machine_set_id(path, "00000000000040008000000000000001"));
        expect_int(unseal(moved, "name", blob, &opened, &reason), -EKEYREJECTED);
        expect(strstr(reason, "another machine id"));
        expect_int(seal(moved, SEAL_WITH_HOST, "name", data, &blob2, &reason), -EKEYREJECTED);

        expect(machine_set_id(path, "6b6579726f7461206973206174207465"));
        expect_int(unseal(moved, "name", blob, &opened, &reason), 0);
        expect(secret_equal(opened, data));
}

TEST(a_tree_without_a_machine_id_is_not_sealed_for) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_(tree_freep) struct tree *bare = NULL;
        _cleanup_free_ char *blob = NULL, *reason = NULL;
        char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%s/bare", scratch);
        expect_int(mkdir(path, 0700), 0);
        expect_int(tree_open(path, &bare), 0);
        expect_int(seal(bare, SEAL_WITH_HOST, "name", data, &blob, &reason), -ENOENT);
        expect(strstr(reason, "systemd-machine-id-setup --root="));
        expect(machine_set_id(path, "uninitialized"));
        expect_int(seal(bare, SEAL_WITH_HOST, "name", data, &blob, &reason), -EBADMSG);
}

TEST(a_damaged_blob_is_refused) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL;
        size_t n;

        if (!have_creds())
                skip("no systemd-creds");
        real();
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), 0);
        n = strlen(blob);
        for (size_t i = 0; i < n; i += 13) {
                _cleanup_(secret_freep) struct secret *opened = NULL;
                char kept = blob[i];

                if (strchr("=\n", kept))
                        continue;
                blob[i] = kept == 'A' ? 'B' : 'A';
                expect_int(unseal(tree, "name", blob, &opened, &reason), -EBADMSG);
                blob[i] = kept;
        }
        for (size_t i = 0; i < n - 4; i += 17) {
                _cleanup_(secret_freep) struct secret *opened = NULL;
                char kept = blob[i];

                blob[i] = '\0';
                expect_int(unseal(tree, "name", blob, &opened, &reason), -EBADMSG);
                blob[i] = kept;
        }
}

TEST(only_sealings_of_the_host_are_opened) {
        static const struct {
                uint8_t id[KEY_ID_SIZE];
                int wanted;
        } cases[] = {
                { { 0x5a, 0x1c, 0x6a, 0x86, 0xdf, 0x9d, 0x40, 0x96, 0xb1, 0xd5, 0xa6, 0x5e, 0x08, 0x62, 0xf1, 0x9a }, 0 },
                { { 0x93, 0xa8, 0x94, 0x09, 0x48, 0x74, 0x44, 0x90, 0x90, 0xca, 0xf2, 0xfc, 0x93, 0xca, 0xb5, 0x53 }, 0 },
                { { 0x05, 0x84, 0x69, 0xda, 0xf6, 0xf5, 0x43, 0x24, 0x80, 0x05, 0x49, 0xda, 0x0f, 0x8e, 0xa2, 0xfb }, -EPERM },
                { { 0x55, 0xb9, 0xed, 0x1d, 0x38, 0x59, 0x4d, 0x43, 0xa8, 0x31, 0x9d, 0x2e, 0xbb, 0x33, 0x2a, 0xc6 }, -EBADMSG },
                { { 0 }, -EBADMSG },
        };

        /* It would open anything. */
        expect(fake("echo opened"));
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(secret_freep) struct secret *opened = NULL;
                _cleanup_free_ char *reason = NULL;
                char text[129];

                blob_of(cases[i].id, text);
                expect_int(unseal(tree, "name", text, &opened, &reason), cases[i].wanted);
                expect((opened == NULL) == (cases[i].wanted < 0));
        }
}

TEST(a_real_null_blob_is_refused) {
        _cleanup_(secret_freep) struct secret *opened = NULL;
        _cleanup_free_ char *reason = NULL;
        char command[PATH_MAX * 2], blob[4096];
        FILE *f;
        size_t n;

        if (!have_creds())
                skip("no systemd-creds");
        real();
        (void) snprintf(command, sizeof(command),
                        "echo forged | { %s encrypt --name=name --with-key=null - - || "
                        "echo forged | %s encrypt --name=name --with-key=tpm2-absent - -; } 2>/dev/null",
                        real_creds, real_creds);
        f = popen(command, "re");
        expect(f);
        n = fread(blob, 1, sizeof(blob) - 1, f);
        (void) pclose(f);
        blob[n] = '\0';
        expect(n > 0);
        expect_int(unseal(tree, "name", blob, &opened, &reason), -EPERM);
        expect(strstr(reason, "null key"));
}

TEST(text_that_is_no_blob_is_refused_without_running_anything) {
        static const char *const texts[] = { "",
                                             "\n",
                                             "AAAA",
                                             "Whxqht+dQJax1aZeCGLxmiA",
                                             "Whxqht-dQJax1aZeCGLxmiAAAAABAAAA",
                                             "Whxqht+dQJax1aZe====mi==",
                                             "\x01Whxqht+dQJax1aZeCGLxmiAAAAABAAAA" };

        strcpy(creds, "/nonexistent");
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(secret_freep) struct secret *opened = NULL;
                _cleanup_free_ char *reason = NULL;

                expect_int(unseal(tree, "name", texts[i], &opened, &reason), -EBADMSG);
                expect(reason);
        }
}

TEST(a_missing_program_is_named) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL;

        strcpy(creds, "/nonexistent");
        expect_int(seal(tree, SEAL_WITH_AUTO, "name", data, &blob, &reason), -ENOENT);
        expect_string(reason, "/nonexistent is missing: install it (Debian's package systemd)");
}

TEST(a_failure_says_what_the_program_said_last) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL;

        expect(fake("cat >/dev/null; echo 'a warning' >&2; printf 'no\\tTPM here\\n\\n' >&2; exit 3"));
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "encrypt: no TPM here"));
        expect(!strstr(reason, "warning"));
        expect(fake("exit 1"));
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "said nothing"));
        expect(fake("kill -9 $$"));
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "signal 9"));
}

TEST(a_flood_is_bounded) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL;

        expect(fake("head -c 1000000 /dev/zero | tr '\\0' x >&2; head -c 1000000 /dev/zero | tr '\\0' A"));
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "wrote more than"));
        expect(!blob);
}

TEST(a_hanging_program_is_killed_at_the_deadline) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL;

        expect(fake("exec sleep 1000"));
        timeout_msec = 300;
        int r = seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason);
        timeout_msec = 60000;
        expect_int(r, -ETIMEDOUT);
        /* No child is left, not even a zombie. */
        expect_int(waitpid(-1, NULL, WNOHANG), -1);
        expect_int(errno, ECHILD);
}

TEST(a_process_left_behind_holds_nobody_up) {
        _cleanup_(secret_freep) struct secret *opened = NULL;
        _cleanup_free_ char *reason = NULL, *left = NULL;
        char text[129], script[PATH_MAX];

        int self = pidfd_open(getpid(), 0);
        if (self < 0)
                skip("no pidfd_open(2)");
        (void) close(self);
        blob_of(sealings[0].id, text);
        (void) snprintf(script, sizeof(script), "sleep 1000 & echo $! >%s/left; printf key", scratch);
        expect(fake(script));
        timeout_msec = 20000;
        int r = unseal(tree, "name", text, &opened, &reason);
        timeout_msec = 60000;
        expect_int(tree_read_file(tree, "/left", 32, &left, NULL), 0);
        expect_int(kill((pid_t) atol(left), SIGKILL), 0);
        expect_int(r, 0);
        expect_string((const char *) opened->data, "key");
}

TEST(sealing_that_cannot_be_opened_again_fails) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL;
        char text[129], script[512];

        blob_of(sealings[0].id, text);
        (void) snprintf(script, sizeof(script), "if [ $1 = encrypt ]; then echo %s; else echo other; fi",
                        text);
        expect(fake(script));
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "something else"));
        (void) snprintf(script, sizeof(script),
                        "if [ $1 = encrypt ]; then echo %s; else echo 'PCRs differ' >&2; exit 1; fi", text);
        expect(fake(script));
        expect_int(seal(tree, SEAL_WITH_HOST, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "PCRs differ"));
        expect(!blob);
}

TEST(arguments_and_environment_are_ours_and_hold_no_secret) {
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL, *said = NULL;
        char script[PATH_MAX], path[2048], wanted[PATH_MAX];

        expect_int(setenv("LEAKED", "x", 1), 0);
        expect_int(setenv("SYSTEMD_LOG_LEVEL", "debug", 1), 0);
        (void) snprintf(path, sizeof(path), "%s/said", scratch);
        (void) snprintf(script, sizeof(script),
                        "{ echo \"$*\"; env | grep -v ^PWD= | grep -v ^_= | sort; } >%s; cat >/dev/null; exit 1",
                        path);
        expect(fake(script));
        expect_int(seal(tree, SEAL_WITH_AUTO, "name", data, &blob, &reason), -EIO);
        (void) unsetenv("LEAKED");
        (void) unsetenv("SYSTEMD_LOG_LEVEL");
        expect_int(tree_read_file(tree, "/said", 4096, &said, NULL), 0);
        (void) snprintf(wanted, sizeof(wanted),
                        "encrypt --name=name --with-key=host - "
                        "-\nLANG=C.UTF-8\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
                        "SYSTEMD_CREDENTIAL_SECRET=%s" PATH_HOST_KEY "\n",
                        scratch);
        expect_string(said, wanted);
}

TEST(the_host_is_sealed_with_its_tpm_where_there_is_one) {
        _cleanup_(tree_freep) struct tree *host = NULL;
        _cleanup_(secret_freep) struct secret *data = some_secret();
        _cleanup_free_ char *blob = NULL, *reason = NULL;

        expect_int(tree_open(NULL, &host), 0);
        expect(fake("[ \"$1\" = has-tpm2 ] && exit 0; echo \"$*\" >&2; exit 1"));
        expect_int(seal(host, SEAL_WITH_AUTO, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "--with-key=host+tpm2 "));
        expect(fake("[ \"$1\" = has-tpm2 ] && exit 11; echo \"$* ${SYSTEMD_CREDENTIAL_SECRET-default}\" >&2; exit 1"));
        expect_int(seal(host, SEAL_WITH_AUTO, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "--with-key=host - - default"));
        expect_int(seal(host, SEAL_WITH_TPM2, "name", data, &blob, &reason), -EIO);
        expect(strstr(reason, "--with-key=tpm2 "));
}

TEST(no_secret_memory_is_left_behind) {
        expect_int(secret_bytes_in_use(), 0);
}

int main(void) {
        const char *tmp = getenv("TMPDIR");

        (void) snprintf(scratch, sizeof(scratch), "%s/keyrota-seal-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(scratch) || atexit(remove_scratch) != 0 || machine_open(scratch, &tree) < 0) {
                puts("Bail out! no scratch directory");
                return EXIT_FAILURE;
        }
        return tap_main();
}
