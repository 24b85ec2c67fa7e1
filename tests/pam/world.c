/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The policies that the tests of sessions have in common; see world.h. */

#include <keyutils.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "world.h"
#include "wrap.h"

static const char table[] =
        "keyrota-access 2\n"
        "ring 7\n"
        "locked carol\n"
        "group ops\n"
        "secret production/api 3 0 sign session alice\n"
        "secret production/billing 17 4102444800 verify session alice @ops\n"
        "secret production/future 0 0 verify session alice\n"
        "secret production/held 4 0 verify locked alice\n"
        "secret production/slow 5 0 verify recorded alice\n"
        "end\n";

static const char api[] = "{\"k\":\0\n\"x\"}"; /* exact bytes, whatever they are */

void world_publish(const char *audit) {
        char payload[256];
        int n;

        wrap_live();
        n = snprintf(payload, sizeof(payload), "keyrota1 production/api 3 kid-a\n");
        memcpy(payload + n, api, sizeof(api) - 1);
        wrap_publish("secret:production/api/sign", payload, (size_t) n + sizeof(api) - 1);
        n = snprintf(payload, sizeof(payload), "keyrota1 production/billing 17 kid-b,kid-c\n{\"keys\":[]}");
        wrap_publish("secret:production/billing/verify", payload, (size_t) n);
        n = snprintf(payload, sizeof(payload), "keyrota1 production/held 4 kid-h\n{\"keys\":[]}");
        wrap_publish("secret:production/held/verify", payload, (size_t) n);
        n = snprintf(payload, sizeof(payload), "keyrota1 production/slow 5 kid-s\n{\"keys\":[]}");
        wrap_publish("secret:production/slow/verify", payload, (size_t) n);
        if (audit) {
                n = snprintf(payload, sizeof(payload), "keyrota1 - 0 -\n%s", audit);
                wrap_publish("config:audit", payload, (size_t) n);
        }
}

void world_table(size_t cut) {
        wrap_table(table, sizeof(table) - 1 - cut);
}

void world_begin(unsigned uid) {
        wrap_end();
        world_publish("best-effort");
        world_table(0);
        wrap_session(uid, NULL);
}

bool has(const char *name, const char *bytes, size_t size) {
        char buffer[64];

        return wrap_copy(name, buffer, sizeof(buffer)) == (long) size && memcmp(buffer, bytes, size) == 0;
}

bool has_api(void) {
        return has("api", api, sizeof(api) - 1);
}

bool has_billing(void) {
        return has("billing", "{\"keys\":[]}", 11);
}

bool has_nothing(void) {
        static const char *const names[] = { "api", "billing", "future", "held", "slow" };
        char buffer[64];

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (wrap_copy(names[i], buffer, sizeof(buffer)) >= 0)
                        return false;
        return wrap_count_possessed() == 0 && wrap_count_left() == 0;
}
