/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Copies in a session's ring: masks, ends, renewal, and what the session itself can do to them. Needs root. */

#include <grp.h>
#include <inttypes.h>
#include <keyutils.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "cleanup.h"
#include "copies.h"
#include "tap.h"

#define USER 61234 /* of nobody's: its keys and quota are this test's */

static const struct copies_holder alice = {
        .home = { 24, 4242 }, .uid = USER, .audit_session = 7, .pid = 4711, .user = "alice", .service = "sshd", .tty = "pts/3", .remote_host = "2001:db8::1",
};

static copies_serial new_ring(void) {
        copies_serial ring = 0;

        return copies_new(&alice, &ring) < 0 ? -1 : ring;
}

static int put(copies_serial ring, const char *name, const char *text, int64_t until) {
        return copies_put(ring, name, text, strlen(text), until, time(NULL));
}

static key_serial_t find(copies_serial ring, const char *description) {
        return (key_serial_t) keyctl_search(ring, "user", description, 0);
}

static bool has_mask(key_serial_t key, unsigned wanted) {
        char text[4096], type[32];
        unsigned uid, gid, mask;

        return keyctl_describe(key, text, sizeof(text)) > 0 && sscanf(text, "%31[^;];%u;%u;%x;", type, &uid, &gid, &mask) == 4 && uid == 0 &&
                mask == wanted;
}

TEST(holder_comes_back_from_the_description) {
        const struct copies_holder odd = {
                .home = { 0, UINT64_MAX }, .uid = 4294967294u, .audit_session = AUDIT_SESSION_UNSET, .pid = 1, .user = "DOMAIN\\b\xc3\xb6rje", .service = "", .tty = ":0", .remote_host = "a b;c\n",
        };
        const struct copies_holder *const holders[] = { &alice, &odd };

        for (size_t i = 0; i < ELEMENTSOF(holders); i++) {
                char text[COPIES_DESCRIPTION_MAX];
                struct copies_holder back;

                copies_holder_format(holders[i], text);
                expect(!strpbrk(text, " ;\n"));
                expect_int(copies_holder_parse(text, &back), 0);
                expect(back.home[0] == holders[i]->home[0] && back.home[1] == holders[i]->home[1]);
                expect(back.uid == holders[i]->uid && back.audit_session == holders[i]->audit_session && back.pid == holders[i]->pid);
                expect_string(back.user, holders[i]->user);
                expect_string(back.service, holders[i]->service);
                expect_string(back.tty, holders[i]->tty);
                expect_string(back.remote_host, holders[i]->remote_host);
        }
}

TEST(longest_holder_fits) {
        char text[COPIES_DESCRIPTION_MAX];
        struct copies_holder longest = { .home = { UINT64_MAX, UINT64_MAX }, .uid = 4294967294u, .audit_session = 4294967295u, .pid = 2147483647 }, back;

        memset(longest.user, '\n', sizeof(longest.user) - 1);
        memset(longest.service, '\n', sizeof(longest.service) - 1);
        memset(longest.tty, '\n', sizeof(longest.tty) - 1);
        memset(longest.remote_host, '\n', sizeof(longest.remote_host) - 1);
        memset(longest.only, 'n', sizeof(longest.only) - 1);
        memcpy(longest.only, "any/", 4);
        copies_holder_format(&longest, text);
        expect_int(copies_holder_parse(text, &back), 0);
        expect_string(back.remote_host, longest.remote_host);
}

TEST(what_a_session_is_given_comes_back_from_the_description) {
        struct copies_holder holder = alice, back;
        char text[COPIES_DESCRIPTION_MAX];

        strcpy(holder.only, "verify/billing/api-2");
        copies_holder_format(&holder, text);
        expect_int(copies_holder_parse(text, &back), 0);
        expect_string(back.only, holder.only);
        expect(copies_holder_wants(&back, "billing", false) && copies_holder_wants(&back, "api-2", false));
        expect(!copies_holder_wants(&back, "billing", true) && !copies_holder_wants(&back, "bill", false) && !copies_holder_wants(&back, "api-22", false));
        strcpy(holder.only, "sign");
        expect(copies_holder_wants(&holder, "billing", true) && !copies_holder_wants(&holder, "billing", false));
        strcpy(holder.only, "any/billing");
        expect(copies_holder_wants(&holder, "billing", true) && copies_holder_wants(&holder, "billing", false));
        expect(!copies_holder_wants(&holder, "any", true));
        expect(copies_holder_wants(&alice, "whatever", true));
}

TEST(descriptions_of_another_form_have_no_holder) {
        static const char *const others[] = {
                "", "keyrota", "keyrota-session:", "keyrota-session:9.8:1:2:3", "keyrota-session:9.8:1:2:3:a:b:c", "keyrota-session:9.8:1:2:3:a:b:c:d:",
                "keyrota-session:9.8:1:2:3:a:b:c:d:e", "keyrota-session:9.8:1:2:3:a:b:c:d:sign:e", "keyrota-session:9.8:1:2:3:a:b:c:\\x0",
                "keyrota-session:9.8:1:2:3:a:b:c:\\y00", "keyrota-session:9:1:2:3:a:b:c:d", "keyrota-session: 9.8:1:2:3:a:b:c:d", "keyrota-session:9.8:+1:2:3:a:b:c:d",
                "keyrota-session:9.8:4294967297:2:3:a:b:c:d", "keyrota-session:9.8:1:2:3:a b:c:d:e", "keyrota-session:9.8:1:2:3:\\x61:b:c:d", "_ses",
        };
        struct copies_holder holder;

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                expect_int(copies_holder_parse(others[i], &holder), -EBADMSG);
}

TEST(ring_and_copies_are_roots_with_the_mask_of_a_possessor_who_reads) {
        copies_serial ring = new_ring();
        struct copies_holder holder;

        expect(has_mask(ring, COPIES_MASK));
        expect_int(copies_check(ring, &holder), 0);
        expect_string(holder.user, "alice");
        expect_int(put(ring, "billing", "bytes", 0), COPY_MADE);
        expect(has_mask(find(ring, "keyrota:billing"), COPIES_MASK));
        copies_drop(ring);
}

TEST(something_else_is_no_ring_of_copies) {
        key_serial_t other = add_key("keyring", "keyrota-session:9.8:1:2:3:a:b:c:d", NULL, 0, KEY_SPEC_THREAD_KEYRING);

        expect(other > 0);
        expect_int(copies_check(other, NULL), -EPERM);
        (void) keyctl_unlink(other, KEY_SPEC_THREAD_KEYRING);
        other = add_key("keyring", "mine", NULL, 0, KEY_SPEC_THREAD_KEYRING);
        expect_int(keyctl_setperm(other, COPIES_MASK), 0);
        expect_int(copies_check(other, NULL), -EPERM);
        (void) keyctl_unlink(other, KEY_SPEC_THREAD_KEYRING);
}

TEST(renewal_keeps_the_serial_number) {
        copies_serial ring = new_ring();
        key_serial_t key;

        expect_int(put(ring, "billing", "one", 0), COPY_MADE);
        key = find(ring, "keyrota:billing");
        expect_int(put(ring, "billing", "one", 0), COPY_UNCHANGED);
        expect_int(put(ring, "billing", "two and more", 0), COPY_RENEWED);
        expect_int(find(ring, "keyrota:billing"), key);
        expect_int(copies_compare(ring, "billing", "two and more", 12), 1);
        expect_int(copies_compare(ring, "billing", "two", 3), 0);
        expect_int(copies_compare(ring, "other", "two", 3), -ENOKEY);
        copies_drop(ring);
}

TEST(a_new_ring_is_filled_with_copies_like_any_other) {
        copies_serial ring = new_ring();

        expect_int(copies_add(ring, "billing", "one", 3, time(NULL), time(NULL)), -EKEYEXPIRED);
        expect_int(copies_add(ring, "billing", "one", 3, time(NULL) + 7200, time(NULL)), COPY_MADE);
        expect_int(copies_add(ring, "api", "two", 3, 0, time(NULL)), COPY_MADE);
        expect(has_mask(find(ring, "keyrota:billing"), COPIES_MASK) && has_mask(find(ring, "keyrota:api"), COPIES_MASK));
        expect_int(copies_compare(ring, "billing", "one", 3), 1);
        expect_int(copies_compare(ring, "api", "two", 3), 1);
        copies_drop(ring);
}

TEST(a_copy_that_was_revoked_or_invalidated_or_opened_is_replaced) {
        copies_serial ring = new_ring();

        expect_int(put(ring, "billing", "one", 0), COPY_MADE);
        expect_int(keyctl_revoke(find(ring, "keyrota:billing")), 0);
        expect_int(put(ring, "billing", "one", 0), COPY_MADE);
        expect_int(keyctl_invalidate(find(ring, "keyrota:billing")), 0);
        expect_int(put(ring, "billing", "one", 0), COPY_MADE);
        expect_int(keyctl_setperm(find(ring, "keyrota:billing"), 0x3f3f0000), 0);
        expect_int(put(ring, "billing", "one", 0), COPY_MADE);
        expect(has_mask(find(ring, "keyrota:billing"), COPIES_MASK));
        copies_drop(ring);
}

TEST(end_is_the_kernels_and_what_is_over_is_not_given) {
        copies_serial ring = new_ring();
        char line[8192];
        bool seen = false;
        FILE *keys;

        expect_int(put(ring, "billing", "one", time(NULL) - 1), -EKEYEXPIRED);
        expect_int(put(ring, "billing", "one", time(NULL)), -EKEYEXPIRED);
        expect_int(put(ring, "billing", "one", time(NULL) + 7200), COPY_MADE);
        keys = fopen("/proc/keys", "re");
        expect(keys);
        while (keys && fgets(line, sizeof(line), keys))
                if ((key_serial_t) strtoul(line, NULL, 16) == find(ring, "keyrota:billing"))
                        seen = strstr(line, " 119m ") || strstr(line, " 2h ");
        if (keys)
                (void) fclose(keys);
        expect(seen);
        copies_drop(ring);
}

static int count(const char *name, copies_serial copy, void *userdata) {
        (void) copy;
        *(int *) userdata += strcmp(name, "api") == 0 || strcmp(name, "billing") == 0 ? 1 : 100;
        return 0;
}

TEST(removed_copies_are_cut_from_who_has_found_them) {
        copies_serial ring = new_ring();
        key_serial_t key;
        char byte;
        int n = 0;

        expect_int(put(ring, "billing", "one", 0), COPY_MADE);
        expect_int(put(ring, "api", "two", 0), COPY_MADE);
        expect_int(copies_foreach(ring, count, &n), 0);
        expect_int(n, 2);
        expect_int(put(ring, "gone", "three", 0), COPY_MADE);
        expect_int(keyctl_revoke(find(ring, "keyrota:gone")), 0);
        n = 0;
        expect_int(copies_foreach(ring, count, &n), 0);
        expect_int(n, 2);
        key = find(ring, "keyrota:billing");
        expect_int(copies_remove(ring, "billing"), 1);
        expect_int(copies_remove(ring, "billing"), 0);
        expect_int(keyctl_read(key, &byte, 1), -1);
        key = find(ring, "keyrota:api");
        expect_int(copies_clear(ring), 0);
        expect_int(keyctl_read(key, &byte, 1), -1);
        n = 0;
        expect_int(copies_foreach(ring, count, &n), 0);
        expect_int(n, 0);
        copies_drop(ring);
}

/* What runs in the session as its user. Returns the number of the first line that surprises, 0 when none does. */
static int session_of_user(copies_serial ring, key_serial_t key) {
        char bytes[8];
        int line = 0;

#define REFUSED(call) ((call) == -1 && errno == EACCES ? (void) 0 : (void) (line = line ? line : __LINE__))
        if (keyctl_read(key, bytes, sizeof(bytes)) != 3 || memcmp(bytes, "one", 3) != 0 ||
            request_key("user", "keyrota:billing", NULL, 0) != key)
                return __LINE__;
        for (int i = 0; i < 2; i++) {
                key_serial_t target = i == 0 ? key : ring;

                REFUSED(keyctl_setperm(target, 0x3f3f3f3f));
                REFUSED(keyctl_chown(target, USER, (gid_t) -1));
                REFUSED(keyctl_set_timeout(target, 1000000));
                REFUSED(keyctl_revoke(target));
                REFUSED(keyctl_link(target, KEY_SPEC_USER_KEYRING));
                REFUSED(keyctl_link(target, KEY_SPEC_PROCESS_KEYRING));
        }
        REFUSED(keyctl_update(key, "two", 3));
        REFUSED(keyctl_clear(ring));
        REFUSED(keyctl_unlink(key, ring));
        REFUSED(keyctl_move(key, ring, KEY_SPEC_USER_KEYRING, 0));
        REFUSED(add_key("user", "keyrota:billing", "two", 3, ring));
        REFUSED(add_key("user", "planted", "x", 1, ring));
#undef REFUSED
        if (line)
                return line;
        return keyctl_invalidate(key) == 0 ? 0 : __LINE__; /* their own copy: the kernel knows no mask against it */
}

TEST(session_reads_its_copy_and_can_do_nothing_else_but_invalidate_it) {
        int status = -1;
        pid_t child;

        child = fork();
        if (child == 0) {
                copies_serial ring = 0;

                /* as pam_keyinit makes it: the user's, without a name */
                if (setgroups(0, NULL) < 0 || setegid(USER) < 0 || seteuid(USER) < 0 || keyctl_join_session_keyring(NULL) < 0 ||
                    seteuid(0) < 0 || setegid(0) < 0)
                        _exit(250);
                if (copies_new(&alice, &ring) < 0 || put(ring, "billing", "one", 0) != COPY_MADE || copies_attach(ring) < 0)
                        _exit(251);
                if (setgid(USER) < 0 || setuid(USER) < 0)
                        _exit(252);
                _exit(session_of_user(ring, find(ring, "keyrota:billing")) % 250);
        }
        expect(child > 0 && waitpid(child, &status, 0) == child);
        if (status != 0)
                printf("# line %d\n", WEXITSTATUS(status));
        expect_int(status, 0);
}

int main(void) {
        if (geteuid() != 0) {
                puts("1..0 # SKIP only root makes copies for others");
                return 0;
        }
        return tap_main();
}
