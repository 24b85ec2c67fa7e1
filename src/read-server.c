/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * keyrota-read: answers users who ask for a secret whose policy wants each read on record (reads = recorded). Started by keyrota-read.socket, exits when
 * idle. This process only accepts, counts and ends: it never waits for a peer, a name service, PAM or the journal. Each request has a process of its
 * own, with a deadline; see read-request.h. Calls read-request, reader, secret and log; links libpam and libkeyutils.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "cleanup.h"
#include "log.h"
#include "paths.h"
#include "read-request.h"
#include "reader.h"
#include "secret.h"

#define IDLE_MS 30000
#define ENDING_MS 5000  /* for requests under way, when told to end */
#define REFUSAL_DEADLINE_MS 5000 /* for what needs neither name services nor PAM */
#define REQUESTS_MAX 64 /* under way at once */
#define REQUESTS_KEPT 16 /* of those, for uids that have none */
#define REQUESTS_OF_UID 4 /* one more is under way while it is put on record that those are too many */
#define LISTENER 3   /* sd_listen_fds(3) */
#define CONNECTION 3 /* of a request's process, where the listener was */
#define EXIT_USAGE 2

/* One process, and what it answers. */
struct child {
        pid_t pid; /* 0: this one is free */
        int pidfd;
        int connection;
        uid_t uid;
        int64_t deadline; /* ms, monotonic; 0: it was ended */
        bool refuses;     /* does not serve, but tells that it was not served */
};

struct server {
        const char *ring_name;
        int signals; /* signalfd(2) */
        bool ending;
        struct child children[REQUESTS_MAX];
        struct request_note *notes; /* one for each child, in memory that is shared with it */
};

static int64_t now_ms(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- processes ---------------------------------------------------------------------------------------------------- */

/* Leaves the process of a request nothing of the others'. */
static void become_child(pid_t parent, int connection) {
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        if (dup2(connection, CONNECTION) < 0 || fcntl(CONNECTION, F_SETFD, FD_CLOEXEC) < 0 || close_range(CONNECTION + 1, ~0U, 0) < 0)
                _exit(EXIT_FAILURE);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Gives child a process that serves its connection, or one that refuses it: text. */
static int start_child(struct server *server, struct child *child, const char *text) {
        struct request_note *note = &server->notes[child - server->children];
        pid_t parent = getpid(), pid;

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                become_child(parent, child->connection);
                if (text)
                        request_refuse(CONNECTION, note, text);
                else
                        request_serve(CONNECTION, server->ring_name, note);
                _exit(EXIT_SUCCESS);
        }
        child->pid = pid;
        child->pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        child->refuses = text;
        child->deadline = now_ms() + (text ? REFUSAL_DEADLINE_MS : READ_ANSWER_DEADLINE_MS);
        return 0;
}

static void kill_child(struct child *child) {
        /* Where there is no descriptor left for a pidfd: it is not reaped, so that its number is still its own. */
        if (child->pidfd < 0 || syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0) < 0)
                (void) kill(child->pid, SIGKILL);
        child->deadline = 0;
}

static void free_child(struct child *child) {
        (void) close(child->connection);
        *child = (struct child) { 0 };
}

/* What has ended without an answer gets one, by another process, as it has to go on record too. */
static void child_ended(struct server *server, struct child *child, int status) {
        struct request_note *note = &server->notes[child - server->children];
        bool in_time = child->deadline != 0;
        const char *text;

        if (child->pidfd >= 0)
                (void) close(child->pidfd);
        child->pid = 0;
        if ((WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) || atomic_load(&note->answering)) {
                free_child(child);
                return;
        }
        text = in_time         ? "the read server could not finish the request" :
                server->ending ? "the read server is being stopped; try again" :
                                 "the request took too long: a name service or a PAM module does not answer";
        if (child->refuses || start_child(server, child, text) < 0) {
                request_say_failed(child->connection, text);
                free_child(child);
        }
}

/* Programs that a PAM module has started, and that nobody waits for any more: they are this process's children by now, see PR_SET_CHILD_SUBREAPER. */
static void kill_leftovers(const struct server *server) {
        _cleanup_fclose_ FILE *stream = NULL;
        char path[64];
        int pid;

        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) getpid());
        stream = fopen(path, "re");
        while (stream && fscanf(stream, "%d", &pid) == 1) {
                bool known = false;

                for (size_t i = 0; i < REQUESTS_MAX; i++)
                        known = known || server->children[i].pid == pid;
                if (!known)
                        (void) kill(pid, SIGKILL);
        }
}

static void reap(struct server *server) {
        bool any = false;
        pid_t pid;
        int status;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                any = true;
                for (size_t i = 0; i < REQUESTS_MAX; i++)
                        if (server->children[i].pid == pid) {
                                child_ended(server, &server->children[i], status);
                                break;
                        }
        }
        if (any)
                kill_leftovers(server);
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

/* The place for one more request of the uid; NULL, and why there is none. */
static struct child *find_place(struct server *server, const struct reader *reader, unsigned *ret_n_own, const char **ret_text) {
        unsigned n = 0, n_own = 0;
        struct child *place = NULL;
        int r;

        for (size_t i = 0; i < REQUESTS_MAX; i++) {
                struct child *child = &server->children[i];

                if (child->pid == 0) {
                        place = child;
                        continue;
                }
                n++;
                n_own += child->uid == reader->uid;
        }
        if (n_own > REQUESTS_OF_UID) {
                *ret_text = "too many of your requests are under way; try again";
                return NULL;
        }
        if (!place || (n_own > 0 && n >= REQUESTS_MAX - REQUESTS_KEPT)) {
                *ret_text = "the read server is busy; try again";
                return NULL;
        }
        r = reader_in_namespace(reader);
        if (r != 0) {
                *ret_text = r < 0 ? "it is not known who asks" : "a program in a user namespace of its own cannot read secrets";
                return NULL;
        }
        *ret_n_own = n_own;
        return place;
}

/* Takes the connection over. */
static void admit(struct server *server, int connection) {
        const char *text = "the read server cannot work: it has no room for another process";
        struct reader reader;
        struct child *place = NULL;
        unsigned n_own = 0;

        if (reader_credentials(connection, &reader) >= 0)
                place = find_place(server, &reader, &n_own, &text);
        if (place) {
                struct request_note *note = &server->notes[place - server->children];

                memset(note, 0, sizeof(*note));
                place->connection = connection;
                place->uid = reader.uid;
                if (start_child(server, place, n_own == REQUESTS_OF_UID ? "too many of your requests are under way; try again" : NULL) >= 0)
                        return;
                *place = (struct child) { 0 };
        }
        request_say_failed(connection, text);
        (void) close(connection);
}

/* One: however many more there are, who has ended or is over time is seen to first. */
static void accept_one(struct server *server) {
        int connection = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC);

        if (connection >= 0) /* else nobody, or a peer that left again */
                admit(server, connection);
}

/* ---- the loop ----------------------------------------------------------------------------------------------------- */

static void end(struct server *server) {
        int64_t latest = now_ms() + ENDING_MS;

        server->ending = true;
        for (size_t i = 0; i < REQUESTS_MAX; i++)
                if (server->children[i].deadline > latest)
                        server->children[i].deadline = latest;
}

static void handle_signals(struct server *server) {
        struct signalfd_siginfo info;

        while (read(server->signals, &info, sizeof(info)) == (ssize_t) sizeof(info))
                if (info.ssi_signo == SIGCHLD)
                        reap(server);
                else
                        end(server);
}

/* Ends who is over time. Returns how many requests are under way, and when the next of them is over time, or the idle time. */
static size_t check_deadlines(struct server *server, int64_t *ret_next) {
        int64_t now = now_ms(), next = INT64_MAX;
        size_t n = 0;

        for (size_t i = 0; i < REQUESTS_MAX; i++) {
                struct child *child = &server->children[i];

                if (child->pid == 0)
                        continue;
                n++;
                if (child->deadline != 0 && child->deadline <= now)
                        kill_child(child);
                if (child->deadline != 0 && child->deadline < next)
                        next = child->deadline;
        }
        *ret_next = n == 0 ? now + IDLE_MS : next;
        return n;
}

/* Until nobody has asked for IDLE_MS, or a signal says so and what was under way has ended. 0 or a negative errno. */
static int run(struct server *server) {
        for (;;) {
                struct pollfd polls[] = {
                        { .fd = server->signals, .events = POLLIN },
                        { .fd = server->ending ? -1 : LISTENER, .events = POLLIN },
                };
                size_t n_requests;
                int64_t next;
                int n;

                n_requests = check_deadlines(server, &next);
                if (server->ending && n_requests == 0)
                        return 0;
                next -= now_ms();
                n = poll(polls, ELEMENTSOF(polls), next > IDLE_MS ? IDLE_MS : next < 0 ? 0 : (int) next);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0 && n_requests == 0)
                        return 0;
                if (n > 0 && polls[0].revents != 0)
                        handle_signals(server);
                if (n > 0 && polls[1].revents != 0 && !server->ending)
                        accept_one(server);
        }
}

/* ---- start -------------------------------------------------------------------------------------------------------- */

/* The one socket that systemd passes. */
static int take_socket(void) {
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        struct sockaddr_un name;
        socklen_t length = sizeof(name), size = sizeof(int);
        int listens = 0;

        if (!pid || !count || strtol(pid, NULL, 10) != (long) getpid() || strcmp(count, "1") != 0)
                return -ENOENT;
        if (getsockname(LISTENER, (struct sockaddr *) &name, &length) < 0 || name.sun_family != AF_UNIX ||
            getsockopt(LISTENER, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens)
                return -ENOTSOCK;
        if (fcntl(LISTENER, F_SETFD, FD_CLOEXEC) < 0 || fcntl(LISTENER, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
                return -errno;
        (void) unsetenv("LISTEN_PID");
        (void) unsetenv("LISTEN_FDS");
        (void) unsetenv("LISTEN_FDNAMES");
        return 0;
}

static int start(struct server *server) {
        struct stat status;
        sigset_t mask;
        int r;

        /* A journal that is stuck must not hold up who writes to it. */
        if (fstat(STDERR_FILENO, &status) == 0 && S_ISSOCK(status.st_mode))
                (void) fcntl(STDERR_FILENO, F_SETFL, O_RDWR | O_NONBLOCK);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        server->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (server->signals < 0)
                return -errno;
        server->notes = mmap(NULL, REQUESTS_MAX * sizeof(*server->notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (server->notes == MAP_FAILED)
                return -errno;
        r = secret_harden_process(); /* each child does it again: here to tell at once */
        if (r < 0)
                log_error("read server: memory cannot be locked; see LimitMEMLOCK= in systemd.exec(5)");
        return r;
}

static int help(void) {
        (void) printf("keyrota-read [OPTION...]\n\n"
                      "Answers users who read a secret whose policy wants each read on record. Started by\n"
                      "keyrota-read.socket, not by hand.\n\n"
                      "  --keyring=RING  Read the kernel keyring RING (default: " KEYRING_NAME ")\n"
                      "  -h --help       Show this help\n"
                      "     --version    Show the version\n\n"
                      "See the keyrota-read(8) man page for details.\n");
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "keyring", required_argument, NULL, 'k' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        static struct server server = { .ring_name = KEYRING_NAME, .signals = -EBADF };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'k':
                        server.ring_name = optarg;
                        break;
                case 'h':
                        return help();
                case 'v':
                        (void) puts("keyrota " PACKAGE_VERSION);
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc) {
                log_error("keyrota-read takes no arguments; see --help");
                return EXIT_USAGE;
        }

        if (take_socket() < 0) {
                log_error("no listening socket was passed; start keyrota-read.socket instead");
                return EXIT_USAGE;
        }
        r = start(&server);
        if (r >= 0)
                r = run(&server);
        if (r < 0) {
                log_error("read server: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
