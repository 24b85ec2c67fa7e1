/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Words for messages about policies: quoting what cannot be trusted, guessing what was meant. Pure. */

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "policy-draft.h"

#define QUOTED_MAX 64   /* bytes of the text that are shown */
#define COMPARED_MAX 32 /* no word of ours is longer */

const char *quoted(const char *text) {
        static char buffers[4][1 + QUOTED_MAX * 4 + sizeof("...\"")];
        static unsigned turn;
        char *out = buffers[turn++ % ELEMENTSOF(buffers)], *p = out;
        size_t n;

        *p++ = '"';
        for (n = 0; n < QUOTED_MAX && text[n] != '\0'; n++)
                if (text[n] < ' ' || text[n] > '~')
                        p += sprintf(p, "\\x%02x", (unsigned char) text[n]);
                else
                        *p++ = text[n];
        (void) strcpy(p, text[n] != '\0' ? "...\"" : "\"");
        return out;
}

/* Optimal string alignment distance: insertions, deletions, replacements and swapped neighbours, each 1; case
 * counts for nothing. */
static unsigned distance(const char *a, const char *b) {
        uint8_t rows[3][COMPARED_MAX + 1];
        size_t n_a = strlen(a), n_b = strlen(b);

        if (n_a > COMPARED_MAX || n_b > COMPARED_MAX)
                return UINT8_MAX;

        for (size_t j = 0; j <= n_b; j++)
                rows[0][j] = (uint8_t) j;
        for (size_t i = 1; i <= n_a; i++) {
                uint8_t *row = rows[i % 3], *above = rows[(i + 2) % 3];
                const uint8_t *second = rows[(i + 1) % 3];

                row[0] = (uint8_t) i;
                for (size_t j = 1; j <= n_b; j++) {
                        int x = tolower((unsigned char) a[i - 1]), y = tolower((unsigned char) b[j - 1]);
                        unsigned best = above[j - 1] + (x != y);

                        if (above[j] + 1U < best)
                                best = above[j] + 1U;
                        if (row[j - 1] + 1U < best)
                                best = row[j - 1] + 1U;
                        if (i > 1 && j > 1 && x == tolower((unsigned char) b[j - 2]) &&
                                        y == tolower((unsigned char) a[i - 2]) && second[j - 2] + 1U < best)
                                best = second[j - 2] + 1U;
                        row[j] = (uint8_t) best;
                }
        }
        return rows[n_a % 3][n_b];
}

const char *nearest(const char *text, const char *const candidates[], size_t n_candidates) {
        const char *best = NULL;
        unsigned best_distance = UINT8_MAX;

        for (size_t i = 0; i < n_candidates; i++) {
                size_t n = strlen(candidates[i]);
                unsigned d = distance(text, candidates[i]);

                /* One slip in a short word, two from six letters on, three from ten. */
                if (d < best_distance && d <= (n < 6 ? 1U : n < 10 ? 2U : 3U)) {
                        best = candidates[i];
                        best_distance = d;
                }
        }
        return best;
}
