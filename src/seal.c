/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What systemd-creds(1) is asked to do, and a judgement of the blobs that it makes and is given; seal-run.c
 * runs it. May call secret, tree, reason, and OpenSSL's Base64 block codec for what is not secret.
 */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "host-key.h"
#include "paths.h"
#include "reason.h"
#include "seal-run.h"
#include "seal.h"

#define KEY_ID_SIZE 16      /* bytes at the start of a blob: how it is sealed */
#define KEY_ID_TEXT_SIZE 24 /* the Base64 text that they are in */

/* Where systemd-creds finds the host key of a foreign tree: SYSTEMD_CREDENTIAL_SECRET=PATH, NULL for the host
 * itself. The kernel resolves the folder inside the tree, as systemd-creds would follow a link that leads out
 * of it. */
static int host_key_variable(const struct tree *tree, bool create, char **ret, char **ret_reason) {
        static const char key[] = PATH_HOST_KEY;
        const char *slash = strrchr(key, '/');
        _cleanup_free_ char *folder = strndup(key, (size_t) (slash - key)), *variable = NULL;
        _cleanup_close_ int fd = -EBADF;
        char link[64], path[4096];
        ssize_t n;

        if (!folder)
                return -ENOMEM;
        if (!tree->root) {
                *ret = NULL;
                return 0;
        }

        fd = tree_open_path(tree, folder, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT && create)
                fd = tree_make_directory(tree, folder, 0755);
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open %s%s, where this tree's host key is: %s",
                                  tree->root, folder, strerror(-fd));

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
                return reason_set(-errno, ret_reason, "cannot read %s: %s; is /proc mounted?", link,
                                  strerror(errno));
        path[n] = '\0';
        if (asprintf(&variable, "SYSTEMD_CREDENTIAL_SECRET=%s%s", path, slash) < 0) {
                variable = NULL;
                return -ENOMEM;
        }
        *ret = TAKE_PTR(variable);
        return 0;
}

/* How a blob is sealed, by the id that it begins with: CRED_AES256_GCM_BY_* of systemd's
 * src/shared/creds-util.h, 252 to 258. */
static const struct {
        uint8_t id[KEY_ID_SIZE];
        bool is_null; /* a key that everybody has */
} sealings[] = {
        /* host */
        { { 0x5a, 0x1c, 0x6a, 0x86, 0xdf, 0x9d, 0x40, 0x96, 0xb1, 0xd5, 0xa6, 0x5e, 0x08, 0x62, 0xf1, 0x9a }, false },
        /* tpm2, and with a public key's policy */
        { { 0x0c, 0x7c, 0xc0, 0x7b, 0x11, 0x76, 0x45, 0x91, 0x9c, 0x4b, 0x0b, 0xea, 0x08, 0xbc, 0x20, 0xfe }, false },
        { { 0xfa, 0xf7, 0xeb, 0x93, 0x41, 0xe3, 0x41, 0x2c, 0xa1, 0xa4, 0x36, 0xf9, 0x5a, 0x29, 0x36, 0x2f }, false },
        /* host+tpm2, and with a public key's policy */
        { { 0x93, 0xa8, 0x94, 0x09, 0x48, 0x74, 0x44, 0x90, 0x90, 0xca, 0xf2, 0xfc, 0x93, 0xca, 0xb5, 0x53 }, false },
        { { 0xaf, 0x49, 0x50, 0xa8, 0x49, 0x13, 0x4e, 0xb1, 0xa7, 0x38, 0x46, 0x30, 0x4f, 0xf3, 0x0c, 0x05 }, false },
        /* null, called tpm2-absent by 252 */
        { { 0x05, 0x84, 0x69, 0xda, 0xf6, 0xf5, 0x43, 0x24, 0x80, 0x05, 0x49, 0xda, 0x0f, 0x8e, 0xa2, 0xfb }, true },
};

/* Refuses a blob by its outside; *ret_clean is its text without white space. */
static int blob_check(const char *blob, char **ret_clean, char **ret_reason) {
        _cleanup_free_ char *clean = malloc(strlen(blob) + 1);
        uint8_t id[KEY_ID_TEXT_SIZE / 4 * 3];
        size_t n = 0;

        if (!clean)
                return -ENOMEM;
        for (const char *p = blob; *p; p++)
                if (isalnum((unsigned char) *p) || strchr("+/=", *p))
                        clean[n++] = *p;
                else if (!strchr(" \t\r\n", *p))
                        return reason_set(-EBADMSG, ret_reason,
                                          "it is not the Base64 text that systemd-creds writes");
        clean[n] = '\0';
        if (n < KEY_ID_TEXT_SIZE || n > SEAL_OUTPUT_MAX || memchr(clean, '=', KEY_ID_TEXT_SIZE) ||
            EVP_DecodeBlock(id, (const uint8_t *) clean, KEY_ID_TEXT_SIZE) != (int) sizeof(id))
                return reason_set(-EBADMSG, ret_reason,
                                  n > SEAL_OUTPUT_MAX ? "it is too large"
                                                      : "it is torn: it ends in the middle");

        for (size_t i = 0; i < ELEMENTSOF(sealings); i++) {
                if (memcmp(id, sealings[i].id, KEY_ID_SIZE) != 0)
                        continue;
                if (sealings[i].is_null)
                        return reason_set(
                                        -EPERM, ret_reason,
                                        "it is sealed under the null key, so that anybody can have made it");
                *ret_clean = TAKE_PTR(clean);
                return 0;
        }
        /* Among them the "scoped" ones of 256 and later, which are a single user's. */
        return reason_set(-EBADMSG, ret_reason,
                          "it is sealed for a single user, or in a way that keyrota does not know");
}

static int name_option(const char *name, char **ret) {
        if (asprintf(ret, "--name=%s", name) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* The whole environment of the child. */
#define ENVIRONMENT(host_key) \
        (const char *[]) { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", host_key, NULL }

int unseal(const struct tree *tree, const char *name, const char *blob, struct secret **ret,
           char **ret_reason) {
        _cleanup_free_ char *clean = NULL, *host_key = NULL, *option = NULL;
        _cleanup_close_ int machine_id = -EBADF;
        int r;

        r = blob_check(blob, &clean, ret_reason);
        if (r < 0)
                return r;
        machine_id = host_key_open_machine_id(tree, ret_reason);
        if (machine_id < 0)
                return machine_id;
        r = host_key_variable(tree, false, &host_key, ret_reason);
        if (r < 0)
                return r;
        r = name_option(name, &option);
        if (r < 0)
                return r;

        const char *arguments[] = { "systemd-creds", "decrypt", option, "--newline=no", "-", "-", NULL };
        r = seal_run(arguments, ENVIRONMENT(host_key), tree->root ? machine_id : -EBADF, clean, strlen(clean), ret, ret_reason);
        return r > 0 ? -EBADMSG : r;
}

/* What to seal with. A foreign tree is sealed for its own machine, whose TPM is not here. */
static int choose_key(const struct tree *tree, enum seal_with with, const char **ret, char **ret_reason) {
        static const char *const names[] = {
                [SEAL_WITH_HOST] = "--with-key=host",
                [SEAL_WITH_TPM2] = "--with-key=tpm2",
                [SEAL_WITH_HOST_TPM2] = "--with-key=host+tpm2",
        };
        _cleanup_free_ char *ignored = NULL;
        const char *arguments[] = { "systemd-creds", "has-tpm2", "-q", NULL };
        int r;

        if (with == SEAL_WITH_AUTO && tree->root)
                with = SEAL_WITH_HOST;
        if (with == SEAL_WITH_AUTO) {
                r = seal_run(arguments, ENVIRONMENT(NULL), -EBADF, NULL, 0, NULL, &ignored);
                if (r < 0) {
                        if (ret_reason && ignored) {
                                free(*ret_reason);
                                *ret_reason = TAKE_PTR(ignored);
                        }
                        return r;
                }
                with = r == 0 ? SEAL_WITH_HOST_TPM2 : SEAL_WITH_HOST;
        }
        *ret = names[with];
        return 0;
}

/* What cannot be opened here and now is not sealed but lost. */
static int prove(const struct tree *tree, const char *name, const char *blob, const struct secret *data,
                 char **ret_reason) {
        _cleanup_(secret_freep) struct secret *opened = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        r = unseal(tree, name, blob, &opened, &why);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return reason_set(r == -ETIMEDOUT ? r : -EIO, ret_reason,
                                  "what systemd-creds has just sealed cannot be opened again: %s",
                                  why ? why : strerror(-r));
        if (!secret_equal(opened, data))
                return reason_set(-EIO, ret_reason,
                                  "what systemd-creds has just sealed opens to something else");
        return 0;
}

int seal(const struct tree *tree, enum seal_with with, const char *name, const struct secret *data,
         char **ret_blob, char **ret_reason) {
        _cleanup_free_ char *host_key = NULL, *option = NULL, *blob = NULL;
        _cleanup_(secret_freep) struct secret *output = NULL;
        _cleanup_close_ int machine_id = -EBADF;
        const char *key = NULL;
        int r;

        machine_id = host_key_open_machine_id(tree, ret_reason);
        if (machine_id < 0)
                return machine_id;
        r = choose_key(tree, with, &key, ret_reason);
        if (r < 0)
                return r;
        r = host_key_variable(tree, true, &host_key, ret_reason);
        if (r < 0)
                return r;
        r = name_option(name, &option);
        if (r < 0)
                return r;

        const char *arguments[] = { "systemd-creds", "encrypt", option, key, "-", "-", NULL };
        r = seal_run(arguments, ENVIRONMENT(host_key), tree->root ? machine_id : -EBADF, data->data, data->size, &output, ret_reason);
        if (r != 0)
                return r > 0 ? -EIO : r;

        blob = strndup((const char *) output->data, output->size);
        if (!blob)
                return -ENOMEM;
        r = prove(tree, name, blob, data, ret_reason);
        if (r < 0)
                return r;
        *ret_blob = TAKE_PTR(blob);
        return 0;
}
