/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plays login sessions for tests/access.sh: enters a session keyring of UID's, as pam_keyinit(8) makes it, gives it a ring of copies as a holder of these words, and
 * becomes UID for good. Then it obeys lines on standard input, and answers each with one line:
 *
 *     read NAME         the copy's bytes, or "none"
 *     list              the names of the copies, ascending
 *     invalidate NAME   "done", or the error
 *     serial NAME       of the copy
 *     end               ends the session
 */

#include <errno.h>
#include <grp.h>
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "copies.h"

static void fail(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

static copies_serial begin(const struct copies_holder *holder) {
        copies_serial ring = 0;

        if (setgroups(0, NULL) < 0 || setresgid(holder->uid, holder->uid, holder->uid) < 0 || setresuid(holder->uid, holder->uid, 0) < 0 ||
            keyctl_join_session_keyring(NULL) < 0 || setresuid(-1, 0, -1) < 0)
                fail("cannot begin a session");
        if (copies_new(holder, &ring) < 0 || copies_attach(ring) < 0)
                fail("cannot make a ring");
        if (setresuid(holder->uid, holder->uid, holder->uid) < 0)
                fail("cannot become the user");
        return ring;
}

static key_serial_t find(const char *name) {
        char description[COPY_DESCRIPTION_MAX];

        (void) snprintf(description, sizeof(description), COPY_PREFIX "%s", name);
        return (key_serial_t) keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", description, 0);
}

static void show(const char *name) {
        char bytes[COPY_SIZE_MAX];
        long n = keyctl_read(find(name), bytes, sizeof(bytes));

        if (n < 0)
                (void) puts("none");
        else
                (void) printf("%.*s\n", (int) n, bytes);
}

struct names {
        char text[64][COPY_NAME_MAX + 1];
        size_t n;
};

static int note_name(const char *name, copies_serial copy, void *userdata) {
        struct names *names = userdata;

        (void) copy;
        (void) snprintf(names->text[names->n++ % ELEMENTSOF(names->text)], COPY_NAME_MAX + 1, "%s", name);
        return 0;
}

static int compare(const void *a, const void *b) {
        return strcmp(a, b);
}

static void list(copies_serial ring) {
        struct names names = { .n = 0 };

        (void) copies_foreach(ring, note_name, &names);
        qsort(names.text, names.n, sizeof(names.text[0]), compare);
        for (size_t i = 0; i < names.n; i++)
                (void) printf("%s%s", i > 0 ? " " : "", names.text[i]);
        (void) putchar('\n');
}

static void obey(copies_serial ring, char *line) {
        char *word = strtok(line, " \n"), *name = strtok(NULL, "\n");

        if (word && strcmp(word, "list") == 0)
                list(ring);
        else if (word && name && strcmp(word, "read") == 0)
                show(name);
        else if (word && name && strcmp(word, "invalidate") == 0)
                (void) puts(keyctl_invalidate(find(name)) < 0 ? strerror(errno) : "done");
        else if (word && name && strcmp(word, "serial") == 0)
                (void) printf("%d\n", (int) find(name));
        else
                (void) puts("what?");
        (void) fflush(stdout);
}

int main(int argc, char *argv[]) {
        struct copies_holder holder = { .audit_session = AUDIT_SESSION_UNSET, .pid = getpid(), .tty = "pts/7", .remote_host = "192.0.2.1" };
        char line[256];
        copies_serial ring;
        struct stat home;

        if (argc != 6) {
                (void) fputs("session-tool FOLDER UID USER SERVICE ONLY\n", stderr);
                return EXIT_FAILURE;
        }
        if (stat(argv[1], &home) < 0) {
                perror(argv[1]);
                return EXIT_FAILURE;
        }
        holder.home[0] = home.st_dev;
        holder.home[1] = home.st_ino;
        holder.uid = (uid_t) strtoul(argv[2], NULL, 10);
        (void) snprintf(holder.user, sizeof(holder.user), "%s", argv[3]);
        (void) snprintf(holder.service, sizeof(holder.service), "%s", argv[4]);
        (void) snprintf(holder.only, sizeof(holder.only), "%s", argv[5]);
        ring = begin(&holder);
        (void) puts("ready");
        (void) fflush(stdout);
        while (fgets(line, sizeof(line), stdin) && strcmp(line, "end\n") != 0)
                obey(ring, line);
        return EXIT_SUCCESS;
}
