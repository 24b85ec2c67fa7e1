/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_STORE_INTERNAL_H
#define KEYROTA_STORE_INTERNAL_H

/* What store.c (open, read), store-folder.c (folders and names) and store-commit.c (write) share and nobody
 * else sees. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "store.h"
#include "store-jwe.h"

#define STORE_SUFFIX ".jwe"
#define STORE_ASIDE ".refused-" /* after the suffix: set aside */
#define STORE_NAME_MAX (POLICY_NAME_MAX + sizeof(STORE_SUFFIX)) /* with the NUL */

/* .#NAME.jwe.XXXXXXXX: written and not yet renamed. */
#define TEMPORARY_PREFIX ".#"
#define TEMPORARY_DIGITS 8
#define TEMPORARY_NAME_MAX (sizeof(TEMPORARY_PREFIX) + STORE_NAME_MAX + 1 + TEMPORARY_DIGITS)

/* One environment. */
struct folder {
        char name[POLICY_NAME_MAX + 1];
        int fd;
        dev_t device;
};

struct staged {
        size_t folder; /* index */
        char name[POLICY_NAME_MAX + 1];
        char temporary[TEMPORARY_NAME_MAX];
        int fd; /* for fsync(2), while this is the only one; more go by syncfs(2), and a thousand descriptors
                   would be too many */
};

struct store {
        const struct tree *tree;
        const struct kek *kek; /* NULL: headers only */
        struct kek *reloaded;  /* the same one, where the caller's was no longer current; else NULL */
        int fd;                /* STATE_DIR; -EBADF: there is none yet */
        int lock;              /* -EBADF: for reading only */
        struct folder *folders;
        size_t n_folders;
        struct staged *staged;
        size_t n_staged;
};

/* The environment's folder, opened once. -ENOENT: there is none and make is false. -EPERM: unsafe. The
 * pointer is good until the next call. */
int store_folder(struct store *store, const char *environment, bool make, struct folder **ret,
                 char **ret_reason);

/* ENV/NAME.jwe or what lies there as the caller of the program knows it, for messages. */
int store_path(const struct store *store, const char *environment, const char *file, char **ret);

const char *store_file_name(const char *name, char buffer[static STORE_NAME_MAX]);

/* A folder that others can write to is none of ours: -EPERM. path is for the message. */
int store_check_folder(int fd, const char *path, dev_t *ret_device, char **ret_reason);

/* Removes the temporary files that a run that was killed has left. Only with the lock. */
int store_remove_stale(struct store *store);

/* Opens a file of this environment and name with the KEK that it names: its header and its authentic plaintext. As store_load(). */
int store_read(struct store *store, const char *environment, const char *name, struct jwe_header *ret_header, struct secret **ret,
               char **ret_reason);

/* Removes what is staged. */
void store_unstage_all(struct store *store);

#endif
