/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Audit records as the journal gets them, and what happens when it does not. Runs in a mount namespace
 * with a /run of its own, where the test is the journal. */

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit.h"
#include "cleanup.h"
#include "paths.h"
#include "tap.h"

#define JOURNAL "/run/systemd/journal/socket"

static const char *no_namespace;
static char record[65536]; /* the newest, as text */

/* The deepest folder of path that is there, so that nothing is made on a disk. */
static void existing_parent(char *path) {
        while (access(path, F_OK) < 0)
                *strrchr(path, '/') = '\0';
}

static bool enter_namespace(void) {
        char directory[] = RUN_DIR;
        unsigned uid = getuid(), gid = getgid();
        char map[64];

        if (unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) < 0 ||
            mount("none", "/", "none", MS_REC | MS_PRIVATE, "") < 0)
                return false;
        if (uid != 0) {
                static const char *const files[] = {
                        "/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map",
                };

                for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                        _cleanup_close_ int fd = open(files[i], O_WRONLY | O_CLOEXEC);

                        (void) snprintf(map, sizeof(map), i == 0 ? "deny" : "0 %u 1", i == 1 ? uid : gid);
                        if (fd < 0 || write(fd, map, strlen(map)) < 0)
                                return false;
                }
        }
        if (mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") < 0)
                return false;
        existing_parent(directory);
        return strcmp(directory, "/run") == 0 ||
               (*directory && mount("tmpfs", directory, "tmpfs", 0, "mode=0755") == 0);
}

static void make_parents(const char *path) {
        char part[4096];

        for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
                (void) snprintf(part, sizeof(part), "%.*s", (int) (p - path), path);
                (void) mkdir(part, 0755);
        }
}

static int journal_open(void) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        make_parents(JOURNAL);
        (void) unlink(JOURNAL);
        return fd >= 0 && bind(fd, (const struct sockaddr *) &address, sizeof(address)) == 0 ? fd : -1;
}

static bool receive(int journal) {
        ssize_t n = recv(journal, record, sizeof(record) - 1, MSG_DONTWAIT);

        record[n > 0 ? n : 0] = '\0';
        return n > 0;
}

/* Is this one whole line of the record? */
static bool has_line(const char *line) {
        char text[4096];

        (void) snprintf(text, sizeof(text), "\n%s\n", line);
        return strstr(record, text) || strncmp(record, text + 1, strlen(text + 1)) == 0;
}

static const struct audit_record full = {
        .environment = "prod",
        .name = "billing",
        .algorithm = "ES256",
        .kids = "one,two",
        .generation = 12,
        .unit = "billing.service",
        .invocation = "0123456789abcdef0123456789abcdef",
        .credential = "jwt.key",
        .reason = "because",
        .file = "/etc/keyrota/policy.d/billing.ini",
        .pid = 4711,
        .has_uid = true,
        .uid = 0,
        .user = "alice",
        .service = "sshd",
        .tty = "pts/3",
        .remote_host = "192.0.2.1",
        .has_login_uid = true,
        .login_uid = 1000,
        .audit_session = 7,
};

TEST(record_has_every_field) {
        static const char *const lines[] = {
                ("MESSAGE_ID=" AUDIT_CREDENTIAL_SERVED_ID), "PRIORITY=6", "SYSLOG_IDENTIFIER=keyrota",
                "MESSAGE=Served credential jwt.key to billing.service from prod/billing, generation 12.",
                "KEYROTA_EVENT=credential-served", "KEYROTA_VERDICT=granted", "KEYROTA_ENVIRONMENT=prod",
                "KEYROTA_NAME=billing", "KEYROTA_ALGORITHM=ES256", "KEYROTA_KID=one", "KEYROTA_KID=two",
                "KEYROTA_GENERATION=12", "KEYROTA_UNIT=billing.service",
                "KEYROTA_INVOCATION_ID=0123456789abcdef0123456789abcdef", "KEYROTA_CREDENTIAL=jwt.key",
                "KEYROTA_REASON=because", "KEYROTA_FILE=/etc/keyrota/policy.d/billing.ini", "KEYROTA_UID=0",
                "KEYROTA_USER=alice", "KEYROTA_SERVICE=sshd", "KEYROTA_TTY=pts/3", "KEYROTA_REMOTE_HOST=192.0.2.1", "KEYROTA_AUDIT_SESSION=7",
                "KEYROTA_LOGIN_UID=1000", "OBJECT_PID=4711",
        };
        _cleanup_close_ int journal = -EBADF;
        size_t n = 0;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        expect_int(audit_write(AUDIT_CREDENTIAL_SERVED, &full), 0);
        expect(receive(journal));
        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                if (!has_line(lines[i])) {
                        printf("# no line \"%s\"\n", lines[i]);
                        expect(false);
                }
        for (const char *p = record; *p; p++)
                n += *p == '\n';
        expect_int(n, ELEMENTSOF(lines));
        expect(!receive(journal));
}

TEST(record_leaves_out_what_is_not_known) {
        _cleanup_close_ int journal = -EBADF;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        expect_int(audit_write(AUDIT_CREDENTIAL_REFUSED,
                               &(struct audit_record) { .pid = 7, .reason = "no address" }),
                   0);
        expect(receive(journal));
        expect(has_line("MESSAGE=Refused process 7: no address."));
        expect(has_line("KEYROTA_VERDICT=refused"));
        expect(has_line("PRIORITY=4"));
        expect(!strstr(record, "KEYROTA_UNIT") && !strstr(record, "KEYROTA_KID") &&
               !strstr(record, "KEYROTA_GENERATION"));
        expect(!strstr(record, "KEYROTA_UID") && !strstr(record, "KEYROTA_LOGIN_UID") && !strstr(record, "(null)"));
}

TEST(every_event_has_its_own_id_and_words) {
        char ids[AUDIT_EVENT_COUNT][64];
        _cleanup_close_ int journal = -EBADF;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        for (unsigned event = 0; event < AUDIT_EVENT_COUNT; event++) {
                expect_int(audit_write(event, &full), 0);
                expect(receive(journal));
                expect(sscanf(record, "MESSAGE_ID=%63[0-9a-f]\n", ids[event]) == 1);
                expect_int(strlen(ids[event]), 32);
                expect(strstr(record, "\nMESSAGE=") && strstr(record, "\nKEYROTA_EVENT=") &&
                       strstr(record, "\nKEYROTA_VERDICT="));
                for (unsigned other = 0; other < event; other++)
                        expect(strcmp(ids[event], ids[other]) != 0);
        }
}

TEST(messages_say_what_happened_to_which_key_or_unit) {
        static const struct {
                enum audit_event event;
                const char *text;
        } wanted[] = {
                { AUDIT_KEY_CREATED, "Creating key one,two (ES256) of prod/billing." },
                { AUDIT_KEY_PUBLISHED, "Key one,two (ES256) of prod/billing is known to every verifier." },
                { AUDIT_KEY_ACTIVATED, "Key one,two (ES256) of prod/billing signs from now on." },
                { AUDIT_KEY_DEACTIVATED, "Key one,two (ES256) of prod/billing signs no more, and verifies until its overlap is over." },
                { AUDIT_KEY_DESTROYED, "Destroyed key one,two (ES256) of prod/billing." },
                { AUDIT_KEY_COMPROMISED, "Key one,two (ES256) of prod/billing is compromised, and in no set any more." },
                { AUDIT_KEY_IMPORTED, "Imported key one,two (ES256) of prod/billing." },
                { AUDIT_ROLLED_BACK, "Rolled back: key one,two (ES256) of prod/billing signs again." },
                { AUDIT_CLOCK_SET, "The clock was set because since prod/billing was last stored." },
                { AUDIT_REKEYED, "Sealed every stored secret under the new key-encryption key one,two." },
                { AUDIT_UNIT_HANDED_OVER, "Handed generation 12 of prod/billing over to billing.service: because." },
                { AUDIT_COPY_GRANTED, "Gave a session of alice (sshd) a copy of prod/billing, generation 12." },
                { AUDIT_COPY_REFUSED, "Gave a session of alice (sshd) no copy of billing: because." },
                { AUDIT_COPY_RENEWED, "Renewed the copy of prod/billing in a session of alice (sshd): generation 12." },
                { AUDIT_COPY_REMOVED, "Took the copy of billing from a session of alice (sshd): because." },
                { AUDIT_ACCESS_GRANTED, "Let alice into sshd, as billing allows." },
                { AUDIT_ACCESS_REFUSED, "Kept alice out of sshd: because." },
                { AUDIT_READ_REFUSED, "Refused alice to read billing: because." },
                { AUDIT_SECRET_READ, "Secret prod/billing, generation 12, was read by alice." },
                { AUDIT_ACCESS_LOCKED, "Locked secret billing." },
                { AUDIT_HANDOVER_FAILED, "Could not hand generation 12 of prod/billing over to billing.service: because." },
        };
        _cleanup_close_ int journal = -EBADF;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                char line[256];

                expect_int(audit_write(wanted[i].event, &full), 0);
                expect(receive(journal));
                (void) snprintf(line, sizeof(line), "MESSAGE=%s", wanted[i].text);
                expect(has_line(line));
        }
}

/* The catalog explains each of them. */
TEST(every_event_is_in_the_catalog) {
        const char *srcdir = getenv("srcdir");
        _cleanup_fclose_ FILE *file = NULL;
        char path[4096], text[65536] = "";
        _cleanup_close_ int journal = -EBADF;

        if (no_namespace)
                skip(no_namespace);
        (void) snprintf(path, sizeof(path), "%s/units/keyrota.catalog", srcdir ? srcdir : ".");
        file = fopen(path, "re");
        expect(file && fread(text, 1, sizeof(text) - 1, file) > 0);
        journal = journal_open();
        for (unsigned event = 0; event < AUDIT_EVENT_COUNT; event++) {
                char line[64] = "\n-- ";

                expect_int(audit_write(event, &full), 0);
                expect(receive(journal));
                memcpy(line + 4, record + strlen("MESSAGE_ID="), 32);
                expect(strstr(text, line));
        }
}

TEST(control_characters_cannot_forge_a_field) {
        struct audit_record forged = full;
        _cleanup_close_ int journal = -EBADF;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        forged.reason = "a\nKEYROTA_VERDICT=granted\n\x01\x7f\xc3\xa4";
        expect_int(audit_write(AUDIT_CREDENTIAL_REFUSED, &forged), 0);
        expect(receive(journal));
        expect(has_line("KEYROTA_REASON=a\\x0aKEYROTA_VERDICT=granted\\x0a\\x01\\x7f\xc3\xa4"));
        expect(!has_line("KEYROTA_VERDICT=granted"));
        expect(has_line("KEYROTA_VERDICT=refused"));
}

TEST(endless_values_are_cut) {
        struct audit_record large = full;
        _cleanup_free_ char *reason = malloc(100001);
        _cleanup_close_ int journal = -EBADF;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        expect(reason);
        memset(reason, '\n', 100000);
        reason[100000] = '\0';
        large.reason = large.file = large.unit = reason;
        expect_int(audit_write(AUDIT_POLICY_REFUSED, &large), 0);
        expect(receive(journal));
        expect(strlen(record) < 16384);
        expect(has_line("KEYROTA_VERDICT=refused"));
}

TEST(no_journal_is_an_error) {
        if (no_namespace)
                skip(no_namespace);
        (void) unlink(JOURNAL);
        expect_int(audit_write(AUDIT_KEY_CREATED, &full), -ENOENT);
}

TEST(journal_made_anew_is_found) {
        _cleanup_close_ int journal = -EBADF;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        expect_int(audit_write(AUDIT_KEY_CREATED, &full), 0);
        (void) close(journal);
        journal = journal_open();
        expect_int(audit_write(AUDIT_KEY_CREATED, &full), 0);
        expect(receive(journal));
}

/* The journal's queue takes some; then one call waits in vain, the next do not wait, and all is well
 * when there is room again. */
TEST(stuck_journal_is_given_up_until_it_moves) {
        _cleanup_close_ int journal = -EBADF;
        int r = 0;

        if (no_namespace)
                skip(no_namespace);
        journal = journal_open();
        for (unsigned i = 0; i < 10000 && r == 0; i++)
                r = audit_write(AUDIT_KEY_CREATED, &full);
        expect_int(r, -ETIMEDOUT);
        (void) alarm(60); /* a second each would take a quarter of an hour */
        for (unsigned i = 0; i < 1000; i++)
                expect_int(audit_write(AUDIT_KEY_CREATED, &full), -ETIMEDOUT);
        (void) alarm(0);
        expect(receive(journal));
        expect_int(audit_write(AUDIT_KEY_CREATED, &full), 0);
}

TEST(missing_records_are_counted) {
        struct audit_record forged = full;
        uint64_t count = 99;
        struct stat status;

        if (no_namespace)
                skip(no_namespace);
        make_parents(PATH_RUN);
        expect_int(audit_missing(&count), 0);
        expect_int(count, 0);
        audit_note_missing(AUDIT_CREDENTIAL_SERVED, &full, -ENOENT);
        forged.unit = "two\nlines.service";
        audit_note_missing(AUDIT_CREDENTIAL_REFUSED, &forged, -ETIMEDOUT);
        audit_note_missing(AUDIT_KEY_CREATED, &(struct audit_record) { 0 }, -EIO);
        expect_int(audit_missing(&count), 0);
        expect_int(count, 3);
        expect_int(stat(PATH_AUDIT_MISSING, &status), 0);
        expect_int(status.st_mode & 0777, 0600);
        for (unsigned i = 0; i < 20000; i++)
                audit_note_missing(AUDIT_CREDENTIAL_SERVED, &full, -ENOENT);
        expect_int(stat(PATH_AUDIT_MISSING, &status), 0);
        expect(status.st_size < 1024 * 1024 + 4096);
}

int main(void) {
        if (!enter_namespace())
                no_namespace = "no mount namespace";
        return tap_main();
}
