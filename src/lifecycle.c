/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Key states and what is due, from recorded times. Pure: calls nothing that acts, knows no clock. */

#include "lifecycle.h"

/* a + b, b >= 0, ending at TIME_NEVER instead of overflowing. */
static int64_t time_add(int64_t a, int64_t b) {
        int64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? TIME_NEVER : sum;
}

static bool is_destroyed(const struct key *key, int64_t now) {
        return key->times.destroys != TIME_NEVER && key->times.destroys <= now;
}

/* Does a sign rather than b at now? Of two that have been activated the later one, of two that have not
 * the earlier one. */
static bool signs_before(const struct key *a, const struct key *b, int64_t now) {
        bool a_activated = a->times.activates <= now, b_activated = b->times.activates <= now;

        if (a_activated != b_activated)
                return a_activated;
        return a_activated ? a->times.activates >= b->times.activates
                           : a->times.activates <= b->times.activates;
}

const struct key *keyset_active(const struct keyset *keyset, int64_t now) {
        const struct key *active = NULL;

        for (size_t i = 0; i < keyset->n_keys; i++) {
                const struct key *key = &keyset->keys[i];

                if (!is_destroyed(key, now) && (!active || signs_before(key, active, now)))
                        active = key;
        }
        return active;
}

enum key_state key_state_at(const struct keyset *keyset, size_t index, int64_t now) {
        const struct key *key = &keyset->keys[index];

        if (is_destroyed(key, now))
                return KEY_DESTROYED;
        if (key == keyset_active(keyset, now))
                return KEY_ACTIVE;
        return key->times.activates > now ? KEY_PRE_ACTIVATION : KEY_DEACTIVATED;
}

const char *key_state_to_string(enum key_state state) {
        switch (state) {
        case KEY_PRE_ACTIVATION:
                return "pre-activation";
        case KEY_ACTIVE:
                return "active";
        case KEY_DEACTIVATED:
                return "deactivated";
        case KEY_DESTROYED:
                return "destroyed";
        }
        return "unknown";
}

/* A key that signs from now on. Its end is drawn once, here, and recorded with it, so that a fleet does
 * not rotate in one second. */
static struct key_times first_key_times(const struct policy *policy, int64_t now, uint64_t random) {
        int64_t jitter = policy->jitter < policy->cryptoperiod ? policy->jitter : policy->cryptoperiod;
        int64_t draw = jitter > 0 ? (int64_t) (random % ((uint64_t) jitter + 1)) : 0;

        return (struct key_times) {
                .created = now,
                .activates = now,
                .deactivates = time_add(now, policy->cryptoperiod - draw),
                .destroys = TIME_NEVER,
        };
}

static int64_t earlier_after(int64_t now, int64_t next, int64_t time) {
        return time > now && time < next ? time : next;
}

void lifecycle_advance(
                const struct policy *policy,
                const struct keyset *keyset,
                int64_t now,
                uint64_t random,
                struct lifecycle_event *ret) {
        const struct key *active = keyset_active(keyset, now);
        struct lifecycle_event event = { .next = TIME_NEVER };

        if (!active) {
                event.create = true;
                event.times = first_key_times(policy, now, random);
                event.next = event.times.deactivates;
        } else {
                event.overdue = active->times.deactivates <= now;
                event.next = earlier_after(now, event.next, active->times.deactivates);
        }

        for (size_t i = 0; i < keyset->n_keys; i++) {
                const struct key *key = &keyset->keys[i];

                if (is_destroyed(key, now))
                        continue;
                event.next = earlier_after(now, event.next, key->times.activates);
                event.next = earlier_after(now, event.next, key->times.destroys);
        }
        *ret = event;
}
