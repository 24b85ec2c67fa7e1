/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SECRET_H
#define KEYROTA_SECRET_H

/*
 * The only home of key bytes: memory that is locked (never swapped), left out of core images
 * (MADV_DONTDUMP), not inherited by children (MADV_WIPEONFORK: a child of fork(2) finds zeros, so it may only
 * exec or _exit, unless its parent has never had any) and wiped before it is given back. Calls libc only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"

/* A buffer of fixed size. data[size] is a NUL that does not count, so that text can be read as a string. */
struct secret {
        size_t size; /* bytes */
        uint8_t *data;
};

/* Prepares the process: no core image, not traceable by others of its uid, its stack locked and not
 * dumped. Call first in main(), before any key is touched, and again in a child of fork(2) that is to handle
 * keys: it inherits no locks. 0 or a negative errno (-ENOMEM, -EPERM: memory cannot be locked). */
int secret_harden_process(void);

/* A buffer of size zero bytes. 0, -ENOMEM (also when the kernel's limit of locked memory is reached). */
int secret_new(size_t size, struct secret **ret);

/* A buffer that holds a copy of size bytes at data. */
int secret_new_from(const void *data, size_t size, struct secret **ret);

/* Wipes and frees; secret_free(NULL) is fine. */
void secret_free(struct secret *secret);
DEFINE_CLEANUP(struct secret *, secret_free);

/* Same size and same bytes, in a time that depends on the sizes only. */
bool secret_equal(const struct secret *a, const struct secret *b);

/* malloc() (zeroed), realloc() and free() with the same properties, thread-safe: what OpenSSL and jansson
 * are given as their allocators (realloc moves by copy and wipes what it leaves). */
void *secret_malloc(size_t size);
void *secret_realloc(void *pointer, size_t size);
void secret_release(void *pointer);

/* A thread that handles keys: its stack is locked and not dumped, and wiped once the thread has ended. 0,
 * -ENOMEM, -EAGAIN. */
struct secret_thread;
int secret_thread_start(void (*run)(void *userdata), void *userdata, struct secret_thread **ret);
/* Waits for its end and frees it; secret_thread_join(NULL) is fine. */
void secret_thread_join(struct secret_thread *thread);
DEFINE_CLEANUP(struct secret_thread *, secret_thread_join);

/* Bytes now handed out and not yet given back; tests use it to find leaks. */
size_t secret_bytes_in_use(void);
/* Bytes of locked memory taken from the kernel for that, which count against RLIMIT_MEMLOCK. */
size_t secret_bytes_locked(void);

#endif
