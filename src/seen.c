/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The newest generation seen of each secret. Calls libc only. */

#include <errno.h>
#include <search.h>
#include <string.h>

#include "seen.h"

struct sighting {
        uint64_t generation;
        char secret[];
};

struct seen {
        void *sightings; /* tsearch(3) tree */
};

static int compare(const void *a, const void *b) {
        return strcmp(((const struct sighting *) a)->secret, ((const struct sighting *) b)->secret);
}

static struct sighting *sighting_new(const char *secret) {
        size_t size = strlen(secret) + 1;
        struct sighting *sighting = malloc(sizeof(*sighting) + size);

        if (!sighting)
                return NULL;
        sighting->generation = 0;
        memcpy(sighting->secret, secret, size);
        return sighting;
}

int seen_new(struct seen **ret) {
        struct seen *seen = calloc(1, sizeof(*seen));

        if (!seen)
                return -ENOMEM;
        *ret = seen;
        return 0;
}

void seen_free(struct seen *seen) {
        if (!seen)
                return;
        tdestroy(seen->sightings, free);
        free(seen);
}

int seen_add(struct seen *seen, const char *secret, uint64_t generation) {
        _cleanup_free_ struct sighting *sighting = NULL;
        struct sighting **found;

        sighting = sighting_new(secret);
        if (!sighting)
                return -ENOMEM;
        found = tsearch(sighting, &seen->sightings, compare);
        if (!found)
                return -ENOMEM;
        if ((*found)->generation < generation)
                (*found)->generation = generation;
        if (*found == sighting)
                sighting = NULL; /* now the tree's */
        return 0;
}

uint64_t seen_generation(const struct seen *seen, const char *secret) {
        _cleanup_free_ struct sighting *wanted = sighting_new(secret);
        struct sighting **found = wanted ? tfind(wanted, &seen->sightings, compare) : NULL;

        return found ? (*found)->generation : 0;
}
