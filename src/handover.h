/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_HANDOVER_H
#define KEYROTA_HANDOVER_H

/*
 * Gives running consumers what is published: restart, reload or signal, as on_change says; verifiers before signers, instances of a template in
 * groups of max_unavailable, or all at once where they must change together. Waits for each job's result and puts it on record. Called
 * without the store's lock: a unit that is restarted waits for the provisioner. May call bus, consumers, evidence, roles, window, audit, log.
 */

#include "consumers.h"
#include "context.h"

struct handover_result {
        size_t n_done;
        size_t n_failed;  /* jobs that failed, were refused or did not end: to be tried again; units that systemd tries to start again after that */
        size_t n_waiting; /* nothing was done now to these stale units: on_change = none, the window is closed, a signal was sent before, or
                           * another instance has failed, and this one shall stay up */
};

/* One handover of a secret at a time: wait for ten minutes at most, or (wait false) not at all. -EAGAIN: *ret_reason names who is at it. Closing the
 * descriptor, or the end of the process, lets go of it. */
int handover_lock(const struct tree *tree, const char *environment, const char *name, bool wait, int *ret_fd, char **ret_reason);

/* Hands over to the stale consumers; call it with the lock, and in each pass, as it also forgets what is no problem any more. No window is
 * waited for by a unit that has not loaded the last revocation. What fails is logged (unit, result, what to do), and remembered for consumers_of() and
 * handover_problem(). now is for the window and the memory. A negative errno only when the manager does not answer, or /run cannot be written. */
int handover(struct context *context, struct bus *bus, const struct policy *policy, const struct keyset *keyset,
             const struct consumers *consumers, int64_t now, struct handover_result *ret);

/* Why the last handover to this unit failed, or what it waits for, in words, or NULL; to be freed. secret_name: "ENV/NAME". */
char *handover_problem(const struct tree *tree, const char *secret_name, const char *unit);

/* Seconds to wait before the next try, which grow from 5 to 3600 with the time that any unit of the secret has been tried or waited for in vain. */
int64_t handover_pause(const struct tree *tree, const char *secret_name, int64_t now);

#endif
