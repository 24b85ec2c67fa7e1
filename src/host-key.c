/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose host key is it? Guards what systemd-creds would delete. */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include <openssl/evp.h>

#include "host-key.h"
#include "paths.h"
#include "reason.h"

#define MACHINE_ID_PATH "/etc/machine-id"
#define ID_SIZE 16 /* bytes */

/* The application id of systemd's credential secrets (src/shared/creds-util.c, 250 to 258). */
static const uint8_t credential_application[ID_SIZE] = {
        0xd3, 0xac, 0xec, 0xba, 0x0d, 0xad, 0x4c, 0xdf, 0xb8, 0xc9, 0x38, 0x15, 0x28, 0x93, 0x6c, 0x58,
};

static int parse_id(const char *text, uint8_t ret[static ID_SIZE]) {
        size_t length = strspn(text, "0123456789abcdef");

        if (length != 2 * ID_SIZE || (text[length] != '\0' && text[length] != '\n'))
                return -EBADMSG;
        for (size_t i = 0; i < ID_SIZE; i++) {
                char digits[3] = { text[2 * i], text[2 * i + 1], '\0' };

                ret[i] = (uint8_t) strtoul(digits, NULL, 16);
        }
        return 0;
}

/* sd_id128_get_machine_app_specific(3), for a machine id that is not this machine's. */
static int application_id(const uint8_t machine[static ID_SIZE], uint8_t ret[static ID_SIZE]) {
        uint8_t hash[32];
        size_t size;

        if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, machine, ID_SIZE, credential_application, ID_SIZE, hash, sizeof(hash), &size))
                return -EIO;
        memcpy(ret, hash, ID_SIZE);
        ret[6] = (uint8_t) ((ret[6] & 0x0f) | 0x40); /* a UUID of version 4 */
        ret[8] = (uint8_t) ((ret[8] & 0x3f) | 0x80);
        return 0;
}

static int open_machine_id(const struct tree *tree, uint8_t ret_id[static ID_SIZE], char **ret_reason) {
        _cleanup_close_ int fd = -EBADF;
        char text[2 * ID_SIZE + 2] = "";
        const char *root = tree->root ? tree->root : "";

        fd = tree_open_path(tree, MACHINE_ID_PATH, O_RDONLY | O_NONBLOCK, 0);
        if (fd < 0)
                return reason_set(fd, ret_reason, "cannot open %s" MACHINE_ID_PATH ", the machine that keys are sealed for: %s; make one with "
                                  "systemd-machine-id-setup%s%s", root, strerror(-fd), *root ? " --root=" : "", root);
        if (pread(fd, text, sizeof(text) - 1, 0) < 0 || parse_id(text, ret_id) < 0)
                return reason_set(-EBADMSG, ret_reason, "%s" MACHINE_ID_PATH " has no machine id; make one with systemd-machine-id-setup%s%s",
                                  root, *root ? " --root=" : "", root);
        return TAKE_FD(fd);
}

int host_key_open_machine_id(const struct tree *tree, char **ret_reason) {
        _cleanup_close_ int machine = -EBADF, key = -EBADF;
        uint8_t machine_id[ID_SIZE], wanted[ID_SIZE], found[ID_SIZE];
        const char *root = tree->root ? tree->root : "";
        int r;

        machine = open_machine_id(tree, machine_id, ret_reason);
        if (machine < 0)
                return machine;
        key = tree_open_path(tree, PATH_HOST_KEY, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
        if (key < 0) /* none yet, or systemd-creds says why it cannot be had */
                return TAKE_FD(machine);
        r = application_id(machine_id, wanted);
        if (r < 0)
                return r;
        if (pread(key, found, sizeof(found), 0) == (ssize_t) sizeof(found) && memcmp(found, wanted, sizeof(found)) != 0)
                return reason_set(-EKEYREJECTED, ret_reason,
                                  "%s" PATH_HOST_KEY " was made under another machine id than %s" MACHINE_ID_PATH
                                  " has now, and systemd would delete it; put that machine id back, or else what was sealed is lost",
                                  root, root);
        return TAKE_FD(machine);
}
