/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SIMULATION_CHANCE_H
#define KEYROTA_SIMULATION_CHANCE_H

/* Chance that a seed repeats (splitmix64). Each subject draws from a stream of its own, so that leaving one kind of mishap out changes the others
 * little. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chance {
        uint64_t state;
};

static inline uint64_t chance_next(struct chance *chance) {
        uint64_t z = chance->state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static inline struct chance chance_of(uint64_t seed, uint64_t stream) {
        struct chance chance = { seed * UINT64_C(0xd1342543de82ef95) + stream };

        chance.state = chance_next(&chance);
        return chance;
}

/* 0 to n - 1. */
static inline uint64_t chance_below(struct chance *chance, uint64_t n) {
        return n > 0 ? chance_next(chance) % n : 0;
}

/* least to most, both included. */
static inline int64_t chance_between(struct chance *chance, int64_t least, int64_t most) {
        return most > least ? least + (int64_t) chance_below(chance, (uint64_t) (most - least) + 1) : least;
}

static inline bool chance_percent(struct chance *chance, unsigned percent) {
        return chance_below(chance, 100) < percent;
}

/* As often small as large: of each power of two alike. least > 0. */
static inline int64_t chance_magnitude(struct chance *chance, int64_t least, int64_t most) {
        int64_t high = least;
        unsigned n = 0, steps;

        for (int64_t value = least; value <= most / 2; value *= 2)
                n++;
        steps = (unsigned) chance_below(chance, n + 1);
        while (steps-- > 0)
                high *= 2;
        return chance_between(chance, high, high > most / 2 ? most : 2 * high - 1);
}

#endif
