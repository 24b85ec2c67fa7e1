/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_KEYGEN_H
#define KEYROTA_KEYGEN_H

/* Several slow keys (RSA) at once, one thread a processor, so that they hold up nothing else. May call jwk and secret. */

#include <stddef.h>

#include "algorithm.h"
#include "cleanup.h"
#include "jwk.h"

struct keygen_order {
        enum algorithm algorithm;
        unsigned size;
};

struct keygen;

/* Begins; orders must stay until keygen_free(). 0, -ENOMEM, -EAGAIN. */
int keygen_start(const struct keygen_order *orders, size_t n_orders, struct keygen **ret);

/* Waits for any key that is ready. 1: order number *ret_index is done, *ret_error is 0 and *ret_jwk the key (the caller's), or *ret_error says why there is none.
 * 0: all were handed out. */
int keygen_next(struct keygen *keygen, size_t *ret_index, struct jwk **ret_jwk, int *ret_error);

/* Waits for the keys now being made and forgets the rest. */
void keygen_free(struct keygen *keygen);
DEFINE_CLEANUP(struct keygen *, keygen_free);

#endif
