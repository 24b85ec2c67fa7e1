/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_STORE_H
#define KEYROTA_STORE_H

/*
 * Sealed files, one for each secret: STATE_DIR/ENV/NAME.jwe, a JWE (RFC 7516 compact, dir + A256GCM) whose
 * plaintext is a JWK Set and whose protected header binds environment, name and generation. May call kek,
 * jwk, secret, tree.
 */

#include <stdint.h>

#include "kek.h"
#include "keyset.h"
#include "tree.h"

#define STORE_FILE_MAX (1024 * 1024) /* bytes */

struct store;

/* Opens the store and takes its lock (one writer at a time; wait_seconds 0: -EAGAIN at once, *ret_reason
 * names the holder's pid). kek NULL: headers only. Creates STATE_DIR (0700) when absent. A KEK that was
 * loaded before another run replaced it writes nothing: with the lock, the store takes the one of PATH_KEK
 * instead (store_kek()); -ESTALE: that cannot be opened from here. */
int store_open(const struct tree *tree, const struct kek *kek, bool lock, unsigned wait_seconds,
               struct store **ret, char **ret_reason);
void store_free(struct store *store); /* drops what is staged and not committed */
DEFINE_CLEANUP(struct store *, store_free);

/* The KEK in use, good until the next call; its `previous` tells that a rekey is under way or was interrupted. */
const struct kek *store_kek(const struct store *store);

/* Reads one secret. -ENOENT: there is none. -EBADMSG: torn, forged, or not of this environment and name
 * (*ret_reason). -EKEYREJECTED: sealed under another KEK. -ESTALE: the KEK was replaced meanwhile, and the
 * new one cannot be opened from here. -EPERM: unsafe owner, mode or type of file. Never changes or removes
 * anything. */
int store_load(struct store *store, const char *environment, const char *name, struct keyset **ret,
               char **ret_reason);

/* What the (unauthenticated) header says, without the KEK. */
int store_peek_generation(struct store *store, const char *environment, const char *name,
                          uint64_t *ret_generation);

/* Encrypts keyset under generation keyset->generation + 1 into a temporary file, written but not yet durable.
 * On success keyset->generation has grown. */
int store_stage(struct store *store, struct keyset *keyset, char **ret_reason);

/* Makes everything staged durable and visible: one file: fsync, rename, fsync of the folder; several: syncfs,
 * renames, fsync of the folders. A failure leaves every secret either old or new and whole. */
int store_commit(struct store *store, char **ret_reason);

/* For rekey(), with the lock. The KEK to use from now on; the caller's. */
void store_use_kek(struct store *store, const struct kek *kek);
/* Opens the file as store_load() does, but looks at nothing inside. 1: it is under the previous KEK, 0: under the present one. */
int store_verify(struct store *store, const char *environment, const char *name, char **ret_reason);
/* Stages the same plaintext and generation under the present KEK. 1: done; 0: it is under that already. */
int store_reseal(struct store *store, const char *environment, const char *name, char **ret_reason);
/* Looks into every folder: an error where store_list() would pass over one. *ret_n: the files that were set aside, *ret_example: one of them, or
 * NULL. */
int store_survey(struct store *store, size_t *ret_n, char **ret_example, char **ret_reason);
/* Makes durable what any earlier run has written and renamed. */
int store_sync(struct store *store, char **ret_reason);

/* Keeps a stored file, whatever it is, as NAME.jwe.refused-UTC, durably, before another takes its place; until then it has its own name too (what cannot
 * have two, a folder, has lost it). *ret_path names it. */
int store_set_aside(struct store *store, const char *environment, const char *name, char **ret_path);
/* Nothing has taken its place: only its own name is left. path: *ret_path of store_set_aside(). */
void store_put_back(struct store *store, const char *environment, const char *name, const char *path);

/* Every (environment, name) that has a file, sorted. Frees with store_names_free(). */
struct store_name {
        char *environment;
        char *name;
};
int store_list(struct store *store, struct store_name **ret, size_t *ret_n);
void store_names_free(struct store_name *names, size_t n);

/* In which of the environments that have keys of this name they were stored last: the one it was run in, also where its policy cannot be read. names: of
 * store_list(); NULL: in none. What cannot be opened counts as stored before all that can be. */
const char *store_latest_environment(struct store *store, const struct store_name *names, size_t n, const char *name);

#endif
