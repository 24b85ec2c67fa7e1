/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may read what, on record before the first byte. See read-request.h for whom it may call. */

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "access-table.h"
#include "audit.h"
#include "cleanup.h"
#include "entitlement.h"
#include "keyring.h"
#include "membership.h"
#include "read-request.h"
#include "read-stack.h"
#include "reader.h"
#include "secret.h"

#define REASON_MAX 256
#define ATTEMPTS_MAX 3 /* while the access table is replaced */
#define ACCOUNT_MIN ((size_t) 4 * 1024)
#define ACCOUNT_MAX ((size_t) 1024 * 1024) /* bytes of a passwd record */

/* Who is refused hears of it no sooner, whatever the reason, so that time does not tell it; nor can a user fill the journal with refusals. */
#define REFUSAL_MS 300

#define LOOK_INTO_JOURNAL "the read server cannot decide now; the system's journal says why"

enum verdict { UNDECIDED, GRANTED, REFUSED, FAILED };

struct request {
        int fd;
        int64_t begun; /* ms, monotonic */
        struct request_note *note; /* user and name */
        struct reader reader;
        struct access_secret secret; /* name "": there is none */
        struct keyring_header header;
        struct secret *bytes;
        enum verdict verdict;
        char reason[REASON_MAX]; /* for the record */
        const char *text;        /* for the peer */
};

static int64_t now_ms(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void _printf_(2, 3) refuse(struct request *request, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(request->reason, sizeof(request->reason), format, arguments);
        va_end(arguments);
        request->verdict = REFUSED;
        request->text = READ_NO;
}

static void _printf_(3, 4) fail(struct request *request, const char *text, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(request->reason, sizeof(request->reason), format, arguments);
        va_end(arguments);
        request->verdict = FAILED;
        request->text = text;
}

/* ---- the request -------------------------------------------------------------------------------------------------- */

/* All that comes before the deadline, up to its newline. Its size; 0: the peer went away without a word; -ETIMEDOUT; -EBADMSG: it is too long. */
static ssize_t read_line(struct request *request, char line[static READ_REQUEST_MAX + 1]) {
        size_t have = 0;

        while (have == 0 || !memchr(line, '\n', have)) {
                struct pollfd input = { .fd = request->fd, .events = POLLIN };
                int64_t left = request->begun + READ_REQUEST_DEADLINE_MS - now_ms();
                ssize_t n;

                if (have > READ_REQUEST_MAX)
                        return -EBADMSG;
                if (left <= 0 || poll(&input, 1, (int) left) == 0)
                        return -ETIMEDOUT;
                n = recv(request->fd, line + have, READ_REQUEST_MAX + 1 - have, MSG_DONTWAIT);
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (n == 0)
                        return have == 0 ? 0 : -EBADMSG;
                have += n > 0 ? (size_t) n : 0;
        }
        return (ssize_t) have;
}

static bool parse_line(const char *line, size_t size, char ret_name[static READ_NAME_MAX + 1]) {
        size_t prefix = strlen(READ_REQUEST), n;

        if (size <= prefix + 1 || size > READ_REQUEST_MAX || memcmp(line, READ_REQUEST, prefix) != 0)
                return false;
        n = size - prefix - 1;
        if (line[size - 1] != '\n' || memchr(line + prefix, '\0', n) || n > READ_NAME_MAX)
                return false;
        memcpy(ret_name, line + prefix, n);
        ret_name[n] = '\0';
        if (access_secret_valid(ret_name))
                return true;
        ret_name[0] = '\0';
        return false;
}

/* False: the peer went away without a word. */
static bool take_request(struct request *request) {
        char line[READ_REQUEST_MAX + 1];
        ssize_t n;

        n = read_line(request, line);
        if (n == 0 || n == -ECONNRESET)
                return false;
        if (n == -ETIMEDOUT)
                fail(request, "no request came in time", "it sent no request in time");
        else if (n < 0 || !parse_line(line, (size_t) n, request->note->name))
                fail(request, "that is no request of this protocol; see keyrota-read(8)", "what it sent is no request");
        return true;
}

/* ---- the decision ------------------------------------------------------------------------------------------------- */

static void find_user(struct request *request) {
        for (size_t size = ACCOUNT_MIN; size <= ACCOUNT_MAX; size *= 4) {
                _cleanup_free_ char *record = malloc(size);
                struct passwd account, *found = NULL;
                int error;

                if (!record)
                        break;
                error = getpwuid_r(request->reader.uid, &account, record, size, &found);
                if (error == ERANGE)
                        continue;
                if (found && strlen(account.pw_name) < sizeof(request->note->user)) {
                        strcpy(request->note->user, account.pw_name);
                        return;
                }
                if (!found && error == 0) {
                        refuse(request, "uid %u has no account", (unsigned) request->reader.uid);
                        return;
                }
                break;
        }
        fail(request, LOOK_INTO_JOURNAL, "the name services cannot tell whose uid %u is", (unsigned) request->reader.uid);
}

static void say_why_not(struct request *request, const struct access_table *table, const struct membership *who) {
        if (request->secret.name[0] == '\0')
                refuse(request, "there is no policy of this name with an [access] section");
        else if (request->secret.reads == ACCESS_LOCKED)
                refuse(request, "the secret is locked; see keyrota unlock");
        else if (entitlement_locked(table, who->name))
                refuse(request, "the user is locked; see keyrota unlock");
        else
                refuse(request, "[access] of its policy does not name the user");
}

/* Asks the access table, anew when it was replaced while the name services were looking up its groups. */
static void check_table(struct request *request) {
        _cleanup_(membership_freep) struct membership *who = NULL;
        int r;

        r = membership_load(request->note->user, &who);
        if (r < 0) {
                fail(request, LOOK_INTO_JOURNAL, "the name services cannot tell the user's groups: %s", strerrordesc_np(-r));
                return;
        }
        if (who->known && who->uid != request->reader.uid) { /* two name services have an account of that name; the policy means the first one's */
                refuse(request, "that name is uid %u's, and uid %u asks", (unsigned) who->uid, (unsigned) request->reader.uid);
                return;
        }
        for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
                _cleanup_(access_table_freep) struct access_table *table = NULL;
                const char *reason = NULL;

                r = access_table_read(&table, &reason);
                if (r < 0) {
                        fail(request, LOOK_INTO_JOURNAL, "the access table: %s; keyrota provision writes it anew", reason ? reason : strerrordesc_np(-r));
                        return;
                }
                r = entitlement_check(table, request->note->name, who, &request->secret);
                request->secret.members = NULL; /* the table's */
                if (!access_table_is_current(table))
                        continue;
                if (r == -EBADMSG)
                        fail(request, LOOK_INTO_JOURNAL, "the access table is damaged; keyrota provision writes it anew");
                else if (r < 0)
                        fail(request, LOOK_INTO_JOURNAL, "the name services cannot tell a group of its policy: %s", strerrordesc_np(-r));
                else if (r == 0)
                        say_why_not(request, table, who);
                else if (request->secret.reads != ACCESS_RECORDED)
                        refuse(request, "its policy says reads = session: users hold copies of it");
                return;
        }
        fail(request, "the server's access table changes all the time; try again", "the access table changes all the time");
}

static void find_bytes(struct request *request, const char *ring_name) {
        static const char text[] = "it cannot be read from the kernel keyring now; root: see keyrota status";
        char description[KEYRING_DESCRIPTION_MAX], secret[sizeof(request->header.secret)];
        keyring_serial ring = 0;
        int r;

        (void) snprintf(secret, sizeof(secret), "%s/%s", request->secret.environment, request->secret.name);
        (void) snprintf(description, sizeof(description), "secret:%s/%s", secret, request->secret.sign ? "sign" : "verify");
        r = keyring_open(ring_name, false, &ring);
        if (r < 0) {
                fail(request, text, r == -ENOKEY ? "nothing is published; see keyrota-provision.service" : "the kernel keyring cannot be used");
                return;
        }
        r = keyring_read(ring, description, &request->header, &request->bytes);
        if (r == -ENOKEY)
                fail(request, text, "it is not published");
        else if (r < 0)
                fail(request, text, "its entry in the kernel keyring cannot be read: %s", strerrordesc_np(-r));
        else if (strcmp(request->header.secret, secret) != 0)
                fail(request, text, "its entry in the kernel keyring is another secret's");
        else if (request->bytes->size == 0)
                fail(request, text, "its entry in the kernel keyring is empty");
        else
                request->verdict = GRANTED;
}

/* The stack is asked whatever the table says, and comes first, as it may take long and the table change meanwhile. */
static void decide(struct request *request, const char *ring_name) {
        const char *no;

        if (!read_stack_exists()) {
                fail(request, "there is no PAM service " READ_STACK " (/etc/pam.d/" READ_STACK "); see keyrota-read(8)",
                     "there is no PAM service /etc/pam.d/" READ_STACK);
                return;
        }
        no = read_stack_ask(request->note->user, request->reader.tty, request->note->name);
        check_table(request);
        if (request->verdict == UNDECIDED && no)
                refuse(request, "the PAM service " READ_STACK " says no: %s", no);
        if (request->verdict == UNDECIDED)
                find_bytes(request, ring_name);
}

/* ---- the answer --------------------------------------------------------------------------------------------------- */

static const char *or_null(const char *text) {
        return *text ? text : NULL;
}

/* What must not be given without a record is refused after all, whatever keyrota.conf says of the others. */
static void put_on_record(struct request *request) {
        struct audit_record record = {
                .environment = or_null(request->secret.environment),
                .name = or_null(request->note->name),
                .kids = or_null(request->header.kids),
                .generation = request->header.generation,
                .pid = request->reader.pid,
                .has_uid = true,
                .uid = request->reader.uid,
                .has_login_uid = request->reader.login_uid != (uid_t) -1,
                .login_uid = request->reader.login_uid,
                .user = or_null(request->note->user),
                .service = READ_STACK,
                .tty = or_null(request->reader.tty),
                .audit_session = request->reader.audit_session == AUDIT_SESSION_UNSET ? 0 : request->reader.audit_session,
        };
        int r;

        if (request->verdict != GRANTED)
                record.reason = request->reason;
        r = audit_write(request->verdict == GRANTED ? AUDIT_SECRET_READ : AUDIT_READ_REFUSED, &record);
        if (r >= 0)
                return;
        if (request->verdict == GRANTED) {
                fail(request, "the read cannot be recorded in the journal, and its policy wants each read on record",
                     "its audit record cannot be written: %s", strerrordesc_np(-r));
                record.reason = request->reason;
        }
        audit_note_missing(AUDIT_READ_REFUSED, &record, r);
}

static void wait_until(int64_t ms) {
        const struct timespec until = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
                ;
}

/* One call, and less than a fresh socket holds: it never waits for the peer to read. */
static void send_line(int fd, const char *word, const char *text, const struct secret *bytes) {
        char line[READ_LINE_MAX];
        struct iovec parts[] = {
                { line, (size_t) snprintf(line, sizeof(line), "%s%s\n", word, text) },
                { bytes ? bytes->data : NULL, bytes ? bytes->size : 0 },
        };
        const struct msghdr message = { .msg_iov = parts, .msg_iovlen = ELEMENTSOF(parts) };

        (void) sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void answer(struct request *request) {
        char size[32];

        put_on_record(request);
        if (request->verdict != GRANTED)
                wait_until(request->begun + REFUSAL_MS);
        atomic_store(&request->note->answering, true);
        if (request->verdict == GRANTED) {
                (void) snprintf(size, sizeof(size), "%zu", request->bytes->size);
                send_line(request->fd, READ_OK, size, request->bytes);
        } else
                send_line(request->fd, request->verdict == REFUSED ? READ_REFUSED : READ_FAILED, request->text, NULL);
}

void request_say_failed(int fd, const char *text) {
        send_line(fd, READ_FAILED, text, NULL);
}

void request_refuse(int fd, struct request_note *note, const char *text) {
        struct request request = { .fd = fd, .note = note, .begun = now_ms() };

        if (reader_credentials(fd, &request.reader) >= 0)
                (void) reader_identify(fd, &request.reader);
        fail(&request, text, "%s", text);
        answer(&request);
}

static void requestp(struct request *request) {
        secret_free(request->bytes);
}

void request_serve(int fd, const char *ring_name, struct request_note *note) {
        _cleanup_(requestp) struct request request = { .fd = fd, .note = note, .begun = now_ms() };
        const char *reason;

        if (reader_credentials(fd, &request.reader) < 0)
                fail(&request, "it is not known who asks", "the kernel does not say who asks");
        else if ((reason = reader_identify(fd, &request.reader)))
                fail(&request, "it is not known who asks", "%s", reason);
        else if (secret_harden_process() < 0) /* again: locks of memory are not inherited */
                fail(&request, LOOK_INTO_JOURNAL, "memory cannot be locked; see LimitMEMLOCK= in systemd.exec(5)");
        else
                find_user(&request);
        if (request.verdict == UNDECIDED && !take_request(&request))
                return; /* nobody listens */
        if (request.verdict == UNDECIDED)
                decide(&request, ring_name);
        answer(&request);
}
