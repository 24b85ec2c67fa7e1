/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pool of threads that make keys. */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "keygen.h"
#include "secret.h"

#define THREADS_MAX 8

struct result {
        struct jwk *jwk;
        int error;
        bool done, taken;
};

struct keygen {
        const struct keygen_order *orders;
        size_t n_orders;
        struct secret_thread *threads[THREADS_MAX];
        size_t n_threads;

        pthread_mutex_t lock;
        pthread_cond_t one_done;
        struct result *results; /* one for each order */
        size_t next;            /* the first order that nobody works on */
        size_t n_taken;
};

/* The next order to work on, or n_orders. */
static size_t claim(struct keygen *keygen) {
        size_t index;

        (void) pthread_mutex_lock(&keygen->lock);
        index = keygen->next;
        if (index < keygen->n_orders)
                keygen->next++;
        (void) pthread_mutex_unlock(&keygen->lock);
        return index;
}

static void work(void *userdata) {
        struct keygen *keygen = userdata;
        size_t index;

        while ((index = claim(keygen)) < keygen->n_orders) {
                const struct keygen_order *order = &keygen->orders[index];
                struct jwk *jwk = NULL;
                int r = jwk_generate(order->algorithm, order->size, &jwk);

                (void) pthread_mutex_lock(&keygen->lock);
                keygen->results[index] = (struct result) { .jwk = jwk, .error = r < 0 ? r : 0, .done = true };
                (void) pthread_cond_signal(&keygen->one_done);
                (void) pthread_mutex_unlock(&keygen->lock);
        }
}

static size_t threads_wanted(size_t n_orders) {
        cpu_set_t processors;
        size_t n = 1;

        if (sched_getaffinity(0, sizeof(processors), &processors) == 0)
                n = (size_t) CPU_COUNT(&processors);
        if (n > THREADS_MAX)
                n = THREADS_MAX;
        return n < n_orders ? n : n_orders;
}

int keygen_start(const struct keygen_order *orders, size_t n_orders, struct keygen **ret) {
        _cleanup_(keygen_freep) struct keygen *keygen = NULL;
        size_t wanted = threads_wanted(n_orders);
        int r;

        keygen = calloc(1, sizeof(*keygen));
        if (!keygen)
                return -ENOMEM;
        (void) pthread_mutex_init(&keygen->lock, NULL);
        (void) pthread_cond_init(&keygen->one_done, NULL);
        keygen->results = calloc(n_orders + 1, sizeof(*keygen->results));
        if (!keygen->results)
                return -ENOMEM;
        keygen->orders = orders;
        keygen->n_orders = n_orders;
        while (keygen->n_threads < wanted) {
                r = secret_thread_start(work, keygen, &keygen->threads[keygen->n_threads]);
                if (r < 0) {
                        if (keygen->n_threads > 0)
                                break; /* fewer do it too */
                        return r;
                }
                keygen->n_threads++;
        }
        *ret = TAKE_PTR(keygen);
        return 0;
}

int keygen_next(struct keygen *keygen, size_t *ret_index, struct jwk **ret_jwk, int *ret_error) {
        int r = 0;

        (void) pthread_mutex_lock(&keygen->lock);
        while (r == 0 && keygen->n_taken < keygen->n_orders) {
                for (size_t i = 0; i < keygen->n_orders && r == 0; i++) {
                        struct result *result = &keygen->results[i];

                        if (!result->done || result->taken)
                                continue;
                        result->taken = true;
                        keygen->n_taken++;
                        *ret_index = i;
                        *ret_jwk = TAKE_PTR(result->jwk);
                        *ret_error = result->error;
                        r = 1;
                }
                if (r == 0)
                        (void) pthread_cond_wait(&keygen->one_done, &keygen->lock);
        }
        (void) pthread_mutex_unlock(&keygen->lock);
        return r;
}

void keygen_free(struct keygen *keygen) {
        if (!keygen)
                return;
        (void) pthread_mutex_lock(&keygen->lock);
        keygen->next = keygen->n_orders;
        (void) pthread_mutex_unlock(&keygen->lock);
        for (size_t i = 0; i < keygen->n_threads; i++)
                secret_thread_join(keygen->threads[i]);
        for (size_t i = 0; keygen->results && i < keygen->n_orders; i++)
                jwk_free(keygen->results[i].jwk);
        free(keygen->results);
        (void) pthread_cond_destroy(&keygen->one_done);
        (void) pthread_mutex_destroy(&keygen->lock);
        free(keygen);
}
