/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEK_H
#define KEYROTA_KEK_H

/*
 * The key-encryption key, sealed in PATH_KEK. Its plaintext is a JWK, or while `keyrota rekey` is under way a JWK Set of the new one and the one
 * that it replaces: so whoever has the one file, or the one credential made of it, opens every stored file at every moment.
 */

#include "jwk.h"
#include "policy.h"
#include "secret.h"
#include "tree.h"

enum kek_source { KEK_MADE /* by the caller; always current */, KEK_FROM_FILE, KEK_FROM_CREDENTIAL };

struct kek {
        char kid[JWK_KID_MAX + 1];
        struct secret *bytes;  /* 32 */
        struct kek *previous;  /* NULL, or the one that a rekey, under way or interrupted, replaces: opens files, writes none */
        enum kek_source source;
        struct {               /* KEK_FROM_FILE: which */
                dev_t device;
                ino_t inode;
                struct timespec changed;
        } file;
};

void kek_free(struct kek *kek);
DEFINE_CLEANUP(struct kek *, kek_free);

/* Makes, seals and stores the KEK, durably and without replacing one. -EEXIST: there is one already. */
int kek_create(const struct tree *tree, enum seal_with with, char **ret_reason);

/* From $CREDENTIALS_DIRECTORY/keyrota-kek where the unit has it (host tree only), else by opening PATH_KEK.
 * -ENOENT: no KEK yet. */
int kek_load(const struct tree *tree, struct kek **ret, char **ret_reason);
/* From PATH_KEK in any case. */
int kek_load_file(const struct tree *tree, struct kek **ret, char **ret_reason);

/* The one of this kid: kek itself, the one it replaces, or NULL. */
const struct kek *kek_find(const struct kek *kek, const char *kid);

/* Is it what PATH_KEK holds now? Of a file this is seen by the file itself. A unit's credential is a copy of an unknown time: that is told by the
 * kid that kek_note() has left, if any. Final only with the store's lock. */
bool kek_is_current(const struct tree *tree, const struct kek *kek);

/* Notes durably, beside PATH_KEK, which KEK files are written under from now on. kek_is_noted(): it, or the one that it replaces, is that one, or
 * none was ever noted. */
int kek_note(const struct tree *tree, const struct kek *kek, char **ret_reason);
bool kek_is_noted(const struct tree *tree, const struct kek *kek);

/* What rekey() is made of; only with the store's lock. A new KEK in memory, with a copy of the one that it is to replace. */
int kek_renew(const struct kek *previous, struct kek **ret);
/* The sealed text for PATH_KEK, with the previous one or without. */
int kek_seal(const struct tree *tree, enum seal_with with, const struct kek *kek, bool with_previous, char **ret_blob, char **ret_reason);
/* Puts it in the place of PATH_KEK, atomically and durably. */
int kek_replace(const struct tree *tree, const char *blob, char **ret_reason);
/* Is this entry of PATH_STATE what a run that was killed has left of one of these? */
bool kek_is_temporary(const char *entry);
/* Keeps the previous one, sealed, in PATH_KEK.old-KID; one that is there stays. */
int kek_keep_previous(const struct tree *tree, enum seal_with with, const struct kek *kek, char **ret_path, char **ret_reason);

#endif
