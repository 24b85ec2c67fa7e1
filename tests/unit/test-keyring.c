/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel keyring: form of the entries, masks, and what a process that only possesses the ring can do.
 * Needs root. */

#include <keyutils.h>
#include <sys/wait.h>

#include "keyring.h"
#include "tap.h"

#define MASK 0x003f0000u

static char ring_name[64];

static void remove_ring(void) {
        (void) keyring_destroy(ring_name);
}

static const struct keyring_header some_header = { .secret = "production/billing",
                                                   .generation = 7,
                                                   .kids = "kid-2,kid-1" };

/* Owner and mask as the kernel tells them. */
static bool describe(key_serial_t key, unsigned *ret_uid, unsigned *ret_mask) {
        char text[512], type[32];
        unsigned gid;

        return keyctl_describe(key, text, sizeof(text)) > 0 &&
                sscanf(text, "%31[^;];%u;%u;%x;", type, ret_uid, &gid, ret_mask) == 4;
}

static int publish_text(keyring_serial ring, const char *description, const char *text) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;

        if (secret_new_from(text, strlen(text), &bytes) < 0)
                return -ENOMEM;
        return keyring_publish(ring, description, &some_header, bytes);
}

static key_serial_t find(keyring_serial ring, const char *description) {
        return (key_serial_t) keyctl_search(ring, "user", description, 0);
}

/* Puts raw bytes into the ring as an administrator's keyctl(1) might, with a mask. */
static key_serial_t add_foreign(keyring_serial ring, const char *description, const void *payload,
                                size_t size, unsigned mask) {
        key_serial_t key = add_key("user", description, payload, size, KEY_SPEC_THREAD_KEYRING);

        if (key < 0 || keyctl_setperm(key, mask) < 0 || keyctl_link(key, ring) < 0)
                return -1;
        (void) keyctl_unlink(key, KEY_SPEC_THREAD_KEYRING);
        return key;
}

TEST(a_ring_is_made_only_when_asked_for) {
        keyring_serial ring;

        expect_int(keyring_open(ring_name, false, &ring), -ENOKEY);
        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(keyring_open(ring_name, false, &ring), 0);
}

TEST(ring_and_entries_are_roots_and_closed_to_possessors) {
        keyring_serial ring;
        unsigned uid, mask;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(publish_text(ring, "unit:a.service/key", "secret"), 1);
        expect(describe(ring, &uid, &mask));
        expect_int(uid, 0);
        expect_int(mask, MASK);
        expect(describe(find(ring, "unit:a.service/key"), &uid, &mask));
        expect_int(uid, 0);
        expect_int(mask, MASK);
}

TEST(bytes_and_header_come_back_exactly) {
        _cleanup_(secret_freep) struct secret *bytes = NULL, *back = NULL;
        struct keyring_header header;
        keyring_serial ring;
        static const char data[] = "with\n a NUL \0 and another line\nkeyrota1 x/y 1 z\n";

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(secret_new_from(data, sizeof(data), &bytes), 0);
        expect_int(keyring_publish(ring, "unit:a.service/key", &some_header, bytes), 1);
        expect_int(keyring_read(ring, "unit:a.service/key", &header, &back), 0);
        expect(secret_equal(bytes, back));
        expect_string(header.secret, "production/billing");
        expect_int(header.generation, 7);
        expect_string(header.kids, "kid-2,kid-1");
        expect_int(keyring_read(ring, "unit:a.service/key", NULL, NULL), 0);
}

TEST(an_update_keeps_serial_and_mask_and_says_whether_anything_changed) {
        keyring_serial ring;
        key_serial_t before;
        unsigned uid, mask;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(publish_text(ring, "unit:update.service/key", "one"), 1);
        before = find(ring, "unit:update.service/key");
        expect_int(publish_text(ring, "unit:update.service/key", "one"), 0);
        expect_int(publish_text(ring, "unit:update.service/key", "two, longer"), 1);
        expect_int(find(ring, "unit:update.service/key"), before);
        expect(describe(before, &uid, &mask));
        expect_int(mask, MASK);
}

TEST(an_entry_of_foreign_mask_is_displaced_and_not_updated) {
        keyring_serial ring;
        key_serial_t foreign, ours;
        unsigned uid, mask;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        foreign = add_foreign(ring, "unit:wide.service/key", "open", 4, 0x3f3f3f3f);
        expect(foreign > 0);
        expect_int(publish_text(ring, "unit:wide.service/key", "closed"), 1);
        ours = find(ring, "unit:wide.service/key");
        expect(ours != foreign);
        expect(describe(ours, &uid, &mask));
        expect_int(mask, MASK);
}

TEST(an_entry_that_root_cannot_search_is_refused_displaced_and_removable) {
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect(add_foreign(ring, "unit:hidden.service/key", "x", 1, 0x3f010000) > 0);
        expect_int(keyring_read(ring, "unit:hidden.service/key", NULL, NULL), -EBADMSG);
        expect_int(keyring_remove(ring, "unit:hidden.service/key"), 0);
        expect_int(keyring_read(ring, "unit:hidden.service/key", NULL, NULL), -ENOKEY);
        expect(add_foreign(ring, "unit:hidden.service/key", "x", 1, 0x3f010000) > 0);
        expect_int(publish_text(ring, "unit:hidden.service/key", "ours"), 1);
        expect_int(keyring_read(ring, "unit:hidden.service/key", NULL, NULL), 0);
}

TEST(the_kernels_limit_counts_the_header) {
        _cleanup_(secret_freep) struct secret *largest = NULL, *over = NULL, *back = NULL;
        const size_t header = strlen("keyrota1 production/billing 7 kid-2,kid-1\n");
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(secret_new(KEYRING_PAYLOAD_MAX - header, &largest), 0);
        memset(largest->data, 'x', largest->size);
        expect_int(secret_new(KEYRING_PAYLOAD_MAX - header + 1, &over), 0);
        expect_int(keyring_publish(ring, "unit:large.service/key", &some_header, over), -E2BIG);
        expect_int(keyring_publish(ring, "unit:large.service/key", &some_header, largest), 1);
        expect_int(keyring_read(ring, "unit:large.service/key", NULL, &back), 0);
        expect(secret_equal(largest, back));
}

TEST(an_empty_delivery_is_not_an_absent_one) {
        _cleanup_(secret_freep) struct secret *back = NULL;
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(publish_text(ring, "unit:empty.service/key", ""), 1);
        expect_int(keyring_read(ring, "unit:empty.service/key", NULL, &back), 0);
        expect_int(back->size, 0);
}

TEST(a_header_that_cannot_be_written_is_refused) {
        static const struct keyring_header bad[] = {
                { .secret = "", .kids = "k" },      { .secret = "a", .kids = "k" },
                { .secret = "a/b/c", .kids = "k" }, { .secret = "a/", .kids = "k" },
                { .secret = "/b", .kids = "k" },    { .secret = "a b/c", .kids = "k" },
                { .secret = "a/b\n", .kids = "k" }, { .secret = "a/b", .kids = "" },
                { .secret = "a/b", .kids = "k k" }, { .secret = "a/b", .kids = "k\nk" },
                { .secret = "A/b", .kids = "k" },
        };
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(secret_new(1, &bytes), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                expect_int(keyring_publish(ring, "unit:bad.service/key", &bad[i], bytes), -EINVAL);
        expect_int(keyring_publish(ring, "", &some_header, bytes), -EINVAL);
        expect_int(keyring_read(ring, "unit:bad.service/key", NULL, NULL), -ENOKEY);
}

TEST(the_audit_orders_header_is_in_form) {
        static const struct keyring_header none = { .secret = "-", .generation = 0, .kids = "-" };
        _cleanup_(secret_freep) struct secret *bytes = NULL, *back = NULL;
        struct keyring_header header;
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(secret_new_from("required", 8, &bytes), 0);
        expect_int(keyring_publish(ring, "config:audit", &none, bytes), 1);
        expect_int(keyring_read(ring, "config:audit", &header, &back), 0);
        expect_string((const char *) back->data, "required");
        expect_string(header.secret, "-");
}

TEST(a_payload_in_another_form_is_refused) {
        static const char *const bad[] = {
                "k",
                "keyrota1",
                "keyrota1 ",
                "keyrota1 a/b 1 k",          /* no end of line */
                "keyrota2 a/b 1 k\n",
                "keyrota1  a/b 1 k\n",
                "keyrota1 a/b  1 k\n",
                "keyrota1 a/b 1 k \n",
                "keyrota1 a/b 1 k\r\n",
                "keyrota1 a/b 01 k\n",
                "keyrota1 a/b +1 k\n",
                "keyrota1 a/b -1 k\n",
                "keyrota1 a/b 1x k\n",
                "keyrota1 a/b  k\n",
                "keyrota1 a/b 1 \n",
                "keyrota1 a/b 1\n",
                "keyrota1 a/b 18446744073709551616 k\n",
                "keyrota1 a/b/c 1 k\n",
                "keyrota1 ab 1 k\n",
                "keyrota1 a/B 1 k\n",
                "keyrota1\ta/b 1 k\n",
                "\nkeyrota1 a/b 1 k\n",
                " keyrota1 a/b 1 k\n",
        };
        struct keyring_header header;
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                expect(add_foreign(ring, "unit:form.service/key", bad[i], strlen(bad[i]), MASK) > 0);
                expect_int(keyring_read(ring, "unit:form.service/key", NULL, NULL), -EBADMSG);
        }
        /* A NUL inside a field. */
        expect(add_foreign(ring, "unit:form.service/key", "keyrota1 a/b\0c 1 k\n", 19, MASK) > 0);
        expect_int(keyring_read(ring, "unit:form.service/key", NULL, NULL), -EBADMSG);
        expect(add_foreign(ring, "unit:form.service/key", "keyrota1 a/b 18446744073709551615 k\n", 36, MASK) >
               0);
        expect_int(keyring_read(ring, "unit:form.service/key", &header, NULL), 0);
        expect(header.generation == UINT64_MAX);
}

struct walk {
        unsigned n, n_foreign;
        bool seen_a;
        keyring_serial ring;
        bool remove;
};

static int walk_entry(const char *description, const struct keyring_header *header, void *userdata) {
        struct walk *walk = userdata;

        walk->n++;
        if (!header)
                walk->n_foreign++;
        else if (strcmp(description, "unit:walk-a.service/key") == 0)
                walk->seen_a = header->generation == 7;
        return walk->remove ? keyring_remove(walk->ring, description) : 0;
}

static int stop_walk(const char *description, const struct keyring_header *header, void *userdata) {
        (void) description;
        (void) header;
        (*(unsigned *) userdata)++;
        return -ECANCELED;
}

TEST(a_walk_shows_every_entry_and_foreign_ones_without_a_header) {
        struct walk walk = { 0 };
        keyring_serial ring;
        unsigned n = 0;

        (void) keyring_destroy(ring_name);
        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(publish_text(ring, "unit:walk-a.service/key", "a"), 1);
        expect_int(publish_text(ring, "unit:walk-b.service/key", "b"), 1);
        expect(add_foreign(ring, "notes;of an administrator", "x", 1, 0x3f010000) > 0);
        expect_int(keyring_foreach(ring, walk_entry, &walk), 0);
        expect_int(walk.n, 3);
        expect_int(walk.n_foreign, 1);
        expect(walk.seen_a);
        expect_int(keyring_foreach(ring, stop_walk, &n), -ECANCELED);
        expect_int(n, 1);

        walk = (struct walk) { .ring = ring, .remove = true };
        expect_int(keyring_foreach(ring, walk_entry, &walk), 0);
        walk = (struct walk) { 0 };
        expect_int(keyring_foreach(ring, walk_entry, &walk), 0);
        expect_int(walk.n, 0);
}

TEST(removing_what_is_not_there_is_done) {
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(keyring_remove(ring, "unit:none.service/key"), 0);
        expect_int(keyring_destroy("keyrota-test-none"), 0);
}

TEST(a_ring_that_is_not_closed_or_not_roots_is_refused) {
        char name[80];
        keyring_serial ring;
        key_serial_t key;

        (void) snprintf(name, sizeof(name), "%s-wide", ring_name);
        /* What is in the user keyring alone is not possessed where the session does not link it, as in a service. */
        key = add_key("keyring", name, NULL, 0, KEY_SPEC_PROCESS_KEYRING);
        expect(key > 0);
        expect_int(keyctl_setperm(key, 0x3f3f0000), 0);
        expect_int(keyctl_link(key, KEY_SPEC_USER_KEYRING), 0);
        int wide = keyring_open(name, true, &ring);
        int foreign = -EPERM, hidden = -EPERM;
        if (keyctl_chown(key, 65534, (gid_t) -1) == 0) { /* not in a container with a user namespace of its own */
                expect_int(keyctl_setperm(key, 0x003f003f), 0);
                foreign = keyring_open(name, true, &ring);
                expect_int(keyctl_setperm(key, 0x003f0000), 0);
                hidden = keyring_open(name, true, &ring);
        }
        (void) keyctl_unlink(key, KEY_SPEC_USER_KEYRING);
        (void) keyctl_unlink(key, KEY_SPEC_PROCESS_KEYRING);
        expect_int(wide, -EPERM);
        expect_int(foreign, -EPERM);
        expect_int(hidden, -EPERM);
}

TEST(a_revoked_ring_is_replaced) {
        keyring_serial ring, again;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(keyctl_revoke(ring), 0);
        expect_int(keyring_open(ring_name, true, &again), 0);
        expect(again != ring);
        expect_int(publish_text(again, "unit:again.service/key", "x"), 1);
}

/* Runs f in a child; its result is the exit status. */
static int in_child(int (*f)(keyring_serial ring), keyring_serial ring) {
        int status;
        pid_t pid = fork();

        if (pid == 0)
                _exit(f(ring));
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
                return -1;
        return WEXITSTATUS(status);
}

/* Nobody, in a session keyring inherited from root that has @u linked: what sudo-like paths leave behind.
 * Counts what is possible. */
static int as_possessing_nobody(keyring_serial ring) {
        key_serial_t key = find(ring, "unit:live.service/key");
        key_serial_t user = keyctl_get_keyring_ID(KEY_SPEC_USER_KEYRING, 0);
        char buffer[256];
        int possible = 0;

        if (key < 0 || keyctl_join_session_keyring(NULL) < 0 ||
            keyctl_link(user, KEY_SPEC_SESSION_KEYRING) < 0)
                return 100;
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                return 101;
        /* The ring's parent is within reach, or this test would prove nothing. */
        if (keyctl_describe(user, buffer, sizeof(buffer)) < 0)
                return 102;

        possible += keyctl_describe(ring, buffer, sizeof(buffer)) >= 0;
        possible += keyctl_describe(key, buffer, sizeof(buffer)) >= 0;
        possible += keyctl_read(ring, buffer, sizeof(buffer)) >= 0;
        possible += keyctl_read(key, buffer, sizeof(buffer)) >= 0;
        possible += keyctl_search(ring, "user", "unit:live.service/key", 0) >= 0;
        possible += keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "unit:live.service/key", 0) >= 0;
        possible += keyctl_search(KEY_SPEC_SESSION_KEYRING, "keyring", ring_name, 0) >= 0;
        possible += request_key("user", "unit:live.service/key", NULL, 0) >= 0;
        possible += keyctl_link(key, KEY_SPEC_SESSION_KEYRING) >= 0;
        possible += keyctl_link(ring, KEY_SPEC_SESSION_KEYRING) >= 0;
        possible += keyctl_setperm(key, 0x3f3f3f3f) >= 0;
        possible += keyctl_setperm(ring, 0x3f3f3f3f) >= 0;
        possible += keyctl_update(key, "x", 1) >= 0;
        possible += keyctl_clear(ring) >= 0;
        possible += keyctl_unlink(key, ring) >= 0;
        possible += add_key("user", "unit:planted.service/key", "x", 1, ring) >= 0;
        possible += keyctl_set_timeout(key, 1) >= 0;
        possible += keyctl_revoke(key) >= 0;
        possible += keyctl_revoke(ring) >= 0;
        possible += keyctl_invalidate(key) >= 0;
        possible += keyctl_invalidate(ring) >= 0;
        return possible;
}

TEST(a_possessor_who_is_not_root_can_do_nothing_to_ring_or_entries) {
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect_int(publish_text(ring, "unit:live.service/key", "live"), 1);
        expect_int(in_child(as_possessing_nobody, ring), 0);
        expect_int(keyring_read(ring, "unit:live.service/key", NULL, NULL), 0);
}

/* Root in a session of its own without @u, as in a service with KeyringMode=private. */
static int as_root_without_link(keyring_serial ring) {
        keyring_serial again;

        if (keyctl_join_session_keyring(NULL) < 0)
                return 100;
        if (keyring_open(ring_name, false, &again) < 0 || again != ring)
                return 1;
        if (keyring_read(ring, "unit:live.service/key", NULL, NULL) < 0)
                return 2;
        if (publish_text(ring, "unit:live.service/key", "updated") != 1 ||
            publish_text(ring, "unit:made-unlinked.service/key", "new") != 1)
                return 3;
        return 0;
}

TEST(root_needs_no_link_from_its_session) {
        keyring_serial ring;

        expect_int(keyring_open(ring_name, true, &ring), 0);
        expect(publish_text(ring, "unit:live.service/key", "live") >= 0);
        expect_int(in_child(as_root_without_link, ring), 0);
}

TEST(no_secret_memory_is_left_behind) {
        expect_int(secret_bytes_in_use(), 0);
}

int main(void) {
        if (geteuid() != 0) {
                puts("1..0 # SKIP needs root");
                return 0;
        }
        (void) snprintf(ring_name, sizeof(ring_name), "keyrota-test-%d", (int) getpid());
        if (atexit(remove_ring) != 0)
                return EXIT_FAILURE;
        return tap_main();
}
