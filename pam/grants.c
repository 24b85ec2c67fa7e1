/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From lines of the access table to copies in a session's ring. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "entitlement.h"
#include "grants.h"
#include "live-ring.h"

#define SECRET_MAX (2 * ACCESS_NAME_MAX + 2)              /* "ENV/NAME" */
#define ENTRY_MAX (SECRET_MAX + sizeof("secret:/verify")) /* "secret:ENV/NAME/verify" */

void grants_clear(struct grants *grants) {
        free(grants->items);
}

struct collection {
        struct grants *grants;
        const struct copies_holder *holder;
};

static int collect(const struct access_secret *secret, bool locked, void *userdata) {
        const struct collection *collection = userdata;
        struct grants *grants = collection->grants;

        if (secret->reads == ACCESS_RECORDED || !copies_holder_wants(collection->holder, secret->name, secret->sign))
                return 0;
        if (grants->n == grants->room) {
                size_t room = grants->room == 0 ? 16 : 2 * grants->room;
                struct grant *grown = reallocarray(grants->items, room, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                grants->items = grown;
                grants->room = room;
        }
        grants->items[grants->n++] = (struct grant) { .secret = *secret, .locked = locked };
        return 0;
}

int grants_collect(struct grants *grants, const struct access_table *table, const struct membership *who, const struct copies_holder *holder) {
        struct collection collection = { .grants = grants, .holder = holder };

        grants->n = 0;
        return entitlement_each_or_locked(table, who, collect, &collection);
}

static int record_grant(const struct grant *grant, const struct live_entry *entry, const struct copies_holder *holder, struct records *records) {
        struct audit_record record = {
                .environment = grant->secret.environment,
                .name = grant->secret.name,
                .kids = entry->kids,
                .generation = entry->generation,
        };

        copies_holder_record(holder, &record);
        return records_add(records, AUDIT_COPY_GRANTED, &record);
}

static int give(const struct grant *grant, struct live_ring *live, copies_serial ring, bool is_new, const struct copies_holder *holder,
                struct records *records, int64_t now) {
        char name[SECRET_MAX], description[ENTRY_MAX];
        size_t n_records = records->size;
        struct live_entry entry;
        int r;

        (void) snprintf(name, sizeof(name), "%s/%s", grant->secret.environment, grant->secret.name);
        (void) snprintf(description, sizeof(description), "secret:%s/%s", name, grant->secret.sign ? "sign" : "verify");
        r = live_ring_read(live, description, name, &entry);
        if (r < 0)
                return r;
        if (entry.size == 0)
                return -EBADMSG;
        r = record_grant(grant, &entry, holder, records);
        if (r < 0)
                return r;
        r = (is_new ? copies_add : copies_put)(ring, grant->secret.name, entry.bytes, entry.size, grant->secret.until, now);
        if (r < 0)
                records_forget(records, n_records);
        return r;
}

int grants_fill(struct grants *grants, int32_t live_ring, copies_serial ring, bool is_new, const struct copies_holder *holder,
                struct records *records) {
        _cleanup_(live_ring_close) struct live_ring live = { .buffer = NULL };
        int64_t now = time(NULL);
        int r;

        r = live_ring_open(live_ring, &live);
        if (r < 0)
                return r;
        for (size_t i = 0; i < grants->n; i++) {
                struct grant *grant = grants->items + i;

                if (grant->locked || grant->secret.generation == 0)
                        continue;
                r = give(grant, &live, ring, is_new, holder, records, now);
                grant->given = r >= 0;
                grant->error = r < 0 ? r : 0;
        }
        return 0;
}

void grants_take_back(struct grants *grants, copies_serial ring) {
        int r = 0;

        for (size_t i = 0; i < grants->n; i++)
                if (grants->items[i].given) {
                        if (copies_remove(ring, grants->items[i].secret.name) < 0)
                                r = -EIO;
                        grants->items[i].given = false;
                }
        if (r < 0)
                (void) copies_clear(ring); /* rather than one too many */
}

size_t grants_count(const struct grants *grants) {
        size_t n = 0;

        for (size_t i = 0; i < grants->n; i++)
                n += !grants->items[i].locked;
        return n;
}

size_t grants_count_given(const struct grants *grants) {
        size_t n = 0;

        for (size_t i = 0; i < grants->n; i++)
                n += grants->items[i].given;
        return n;
}
