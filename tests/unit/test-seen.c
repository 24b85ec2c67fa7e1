/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The newest generation seen of each secret. */

#include <inttypes.h>

#include "seen.h"
#include "tap.h"

TEST(what_was_never_seen_has_generation_zero) {
        _cleanup_(seen_freep) struct seen *seen = NULL;

        expect_int(seen_new(&seen), 0);
        expect_int(seen_generation(seen, "production/billing"), 0);
}

TEST(the_highest_generation_stays_in_any_order) {
        _cleanup_(seen_freep) struct seen *seen = NULL;
        static const uint64_t generations[] = { 3, 7, 5, 1 };

        expect_int(seen_new(&seen), 0);
        for (size_t i = 0; i < ELEMENTSOF(generations); i++)
                expect_int(seen_add(seen, "production/billing", generations[i]), 0);
        expect_int(seen_generation(seen, "production/billing"), 7);
}

TEST(secrets_do_not_share_a_generation) {
        _cleanup_(seen_freep) struct seen *seen = NULL;
        char name[32];

        expect_int(seen_new(&seen), 0);
        for (unsigned i = 1; i <= 1000; i++) {
                (void) snprintf(name, sizeof(name), "test/s%u", i);
                expect_int(seen_add(seen, name, i), 0);
        }
        for (unsigned i = 1; i <= 1000; i++) {
                (void) snprintf(name, sizeof(name), "test/s%u", i);
                expect_int(seen_generation(seen, name), i);
        }
        expect_int(seen_generation(seen, "production/s1"), 0);
}

int main(void) {
        return tap_main();
}
