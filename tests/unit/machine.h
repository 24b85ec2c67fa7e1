/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_TEST_MACHINE_H
#define KEYROTA_TEST_MACHINE_H

/* A tree that can be sealed for: systemd-creds wants a machine id. */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "tree.h"

static inline bool machine_set_id(const char *root, const char *id) {
        _cleanup_fclose_ FILE *stream = NULL;
        char path[PATH_MAX + sizeof("/etc/machine-id")];

        (void) snprintf(path, sizeof(path), "%s/etc", root);
        (void) mkdir(path, 0755);
        (void) snprintf(path, sizeof(path), "%s/etc/machine-id", root);
        stream = fopen(path, "we");
        return stream && fprintf(stream, "%s\n", id) > 0;
}

/* As tree_open(), for the tree of a made-up machine. */
static inline int machine_open(const char *root, struct tree **ret) {
        return machine_set_id(root, "6b6579726f7461206973206174207465") ? tree_open(root, ret) : -EIO;
}

#endif
