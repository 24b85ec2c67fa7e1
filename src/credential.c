/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * keyrota-credential: gives services their credentials (LoadCredential=ID:SOCKET). Started by
 * keyrota-credential.socket, reads nothing but the kernel keyring, exits when idle. Between accept(2) and
 * the reply it does as little as it can; what it served goes on record after that. Calls keyring, secret, peer,
 * audit, refusal, keeper, recorder and log; links libkeyutils alone.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "audit.h"
#include "cleanup.h"
#include "keeper.h"
#include "keyring.h"
#include "log.h"
#include "paths.h"
#include "peer.h"
#include "recorder.h"
#include "refusal.h"
#include "secret.h"

#define IDLE_MS 30000
#define LISTEN_FDS_START 3 /* sd_listen_fds(3) */
#define EXIT_USAGE 2

struct server {
        const char *ring_name;
        int listener;
        int signals; /* signalfd(2) */
        int store;   /* see keeper_connect_store() */
        bool ending;
        bool keeper_died;
        char cgroup_root[PEER_CGROUP_MAX];
        struct refusals refusals;
        struct recorder recorder;
};

/* What is known of one connection and its answer. */
struct answer {
        struct peer peer;
        struct keyring_header header;
        char environment[sizeof(((struct keyring_header *) 0)->secret)];
        const char *name; /* in environment, after its NUL */
        char invocation[INVOCATION_MAX];
        struct secret *bytes;
        const char *reason; /* why refused; NULL: granted */
};

/* The unit's own entry, then that of its template. What is not there is refused. */
static int read_entry(keyring_serial ring, const struct peer *peer, struct keyring_header *ret_header,
                      struct secret **ret_bytes) {
        char description[KEYRING_DESCRIPTION_MAX], template[PEER_NAME_MAX + 1];
        int r;

        (void) snprintf(description, sizeof(description), "unit:%s/%s", peer->unit, peer->credential);
        r = keyring_read(ring, description, ret_header, ret_bytes);
        if (r != -ENOKEY || !peer_template(peer->unit, template))
                return r;
        (void) snprintf(description, sizeof(description), "unit:%s/%s", template, peer->credential);
        return keyring_read(ring, description, ret_header, ret_bytes);
}

static const char *find_bytes(keyring_serial ring, struct answer *answer) {
        char *slash;
        int r;

        r = read_entry(ring, &answer->peer, &answer->header, &answer->bytes);
        if (r == -ENOKEY)
                return "no policy delivers it to this unit, or it is not yet published";
        if (r < 0)
                return "its entry in the kernel keyring cannot be read";

        strcpy(answer->environment, answer->header.secret);
        slash = strchr(answer->environment, '/');
        if (slash) {
                *slash = '\0';
                answer->name = slash + 1;
        }
        if (answer->bytes->size == 0)
                return "its entry in the kernel keyring is empty";
        return NULL;
}

/* Puts the answer on record, before it is given. A secret that must not be given without one is refused
 * after all. */
static void put_on_record(keyring_serial ring, struct answer *answer) {
        const struct audit_record record = {
                .environment = answer->name ? answer->environment : NULL,
                .name = answer->name,
                .kids = *answer->header.kids ? answer->header.kids : NULL,
                .generation = answer->header.generation,
                .unit = *answer->peer.unit ? answer->peer.unit : NULL,
                .invocation = *answer->invocation ? answer->invocation : NULL,
                .credential = *answer->peer.credential ? answer->peer.credential : NULL,
                .reason = answer->reason,
                .pid = answer->peer.pid,
                .has_uid = answer->peer.has_uid,
                .uid = answer->peer.uid,
        };
        enum audit_event event = answer->reason ? AUDIT_CREDENTIAL_REFUSED : AUDIT_CREDENTIAL_SERVED;
        int r;

        r = audit_write(event, &record);
        if (r >= 0)
                return;
        if (!answer->reason && keyring_audit_required(ring)) {
                answer->reason = "its audit record cannot be written, and keyrota.conf says audit = required";
                event = AUDIT_CREDENTIAL_REFUSED;
        }
        audit_note_missing(event, &record, r);
}

/* Fills answer and puts it on record. */
static void decide(const struct server *server, int fd, struct answer *answer) {
        keyring_serial ring = 0;
        int r;

        answer->reason = peer_identify(fd, server->cgroup_root, &answer->peer);
        if (*answer->peer.unit)
                recorder_read_invocation(answer->peer.unit, answer->invocation);
        if (!answer->reason) {
                r = keyring_open(server->ring_name, false, &ring);
                if (r < 0)
                        answer->reason = r == -ENOKEY ? "nothing is published; see keyrota-provision.service"
                                                      : "the kernel keyring cannot be used";
        }
        if (!answer->reason)
                answer->reason = find_bytes(ring, answer);
        put_on_record(ring, answer);
}

/* Answers one connection, which it takes over. */
static void serve(struct server *server, int fd) {
        struct answer answer = { 0 };
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        bool sent = false;

        keeper_store(server->store, fd);
        decide(server, fd, &answer);
        bytes = answer.bytes;
        if (!answer.reason) {
                recorder_begin(&server->recorder, &answer.peer, answer.invocation);
                /* One call, and less than a fresh socket holds: the peer gets all of it or nothing, whenever
                 * the server ends. */
                sent = send(fd, bytes->data, bytes->size, MSG_NOSIGNAL | MSG_DONTWAIT) ==
                       (ssize_t) bytes->size;
        }
        if (!sent) {
                if (!answer.reason)
                        recorder_cancel(&server->recorder);
                refusal_add(&server->refusals, fd);
                return;
        }
        (void) shutdown(fd, SHUT_RDWR);
        (void) close(fd);
        recorder_end(&server->recorder, &answer.peer, answer.invocation, answer.header.secret,
                     answer.header.generation);
}

/* Those who wait, as long as there is room to refuse each of them. */
static void accept_all(struct server *server) {
        while (server->refusals.n < REFUSAL_MAX) {
                int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

                if (fd < 0)
                        return; /* nobody, or a peer that left again; poll(2) tells of the next */
                serve(server, fd);
        }
}

static void handle_signals(struct server *server) {
        struct signalfd_siginfo info;

        while (read(server->signals, &info, sizeof(info)) == (ssize_t) sizeof(info)) {
                server->ending = true;
                if (info.ssi_signo == SIGCHLD)
                        server->keeper_died = true; /* never serve without it */
        }
}

/* Until nobody has asked for IDLE_MS, or a signal says so. Connections under way are always finished. 0
 * or a negative errno. */
static int run(struct server *server) {
        struct pollfd polls[2 + REFUSAL_MAX];

        while (!server->ending || server->refusals.n > 0) {
                bool accepting = !server->ending && server->refusals.n < REFUSAL_MAX;
                int n;

                polls[0] = (struct pollfd) { .fd = server->signals, .events = POLLIN };
                polls[1] = (struct pollfd) { .fd = accepting ? server->listener : -1, .events = POLLIN };
                refusal_prepare(&server->refusals, polls + 2);
                n = poll(polls, (nfds_t) (2 + server->refusals.n), accepting ? IDLE_MS : 100);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0 && accepting && server->refusals.n == 0)
                        return 0;
                if (n > 0)
                        refusal_advance(&server->refusals, polls + 2);
                if (!accepting)
                        refusal_expire(&server->refusals);
                if (n > 0 && polls[0].revents != 0)
                        handle_signals(server);
                if (n > 0 && polls[1].revents != 0 && !server->ending)
                        accept_all(server);
        }
        return server->keeper_died ? -ECHILD : 0;
}

/* The sockets that systemd passes (sd_listen_fds(3)): the listener, and connections that an earlier
 * server had not answered when it was killed. Whether those have had a reply nobody knows, so that all
 * of them are refused. */
static int take_sockets(struct server *server) {
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        int n = 0;

        if (pid && count && strtol(pid, NULL, 10) == (long) getpid())
                n = (int) strtol(count, NULL, 10);
        for (int fd = LISTEN_FDS_START; fd < LISTEN_FDS_START + n; fd++) {
                struct sockaddr_un name;
                socklen_t length = sizeof(name), size = sizeof(int);
                int listens = 0;

                if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                        return -errno;
                if (keeper_is_connection(fd)) {
                        if (server->refusals.n == REFUSAL_MAX)
                                refusal_finish(&server->refusals);
                        refusal_add(&server->refusals, fd);
                        continue;
                }
                if (getsockname(fd, (struct sockaddr *) &name, &length) < 0 || name.sun_family != AF_UNIX ||
                    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens ||
                    server->listener >= 0)
                        return -ENOTSOCK;
                if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
                        return -errno;
                server->listener = fd;
        }
        return server->listener < 0 ? -ENOENT : 0;
}

static int start(struct server *server) {
        _cleanup_(secret_freep) struct secret *first = NULL;
        sigset_t mask;
        int r;

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        server->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (server->signals < 0)
                return -errno;
        r = peer_read_cgroup_root(server->cgroup_root);
        if (r < 0)
                return r;
        r = keeper_start(server->cgroup_root);
        if (r < 0)
                return r;
        server->store = keeper_connect_store();
        recorder_open(&server->recorder);
        r = secret_harden_process();
        if (r >= 0)
                r = secret_new(KEYRING_PAYLOAD_MAX / 4, &first); /* locks memory that answers reuse */
        if (r < 0)
                log_error("credential server: memory cannot be locked; see LimitMEMLOCK= in systemd.exec(5)");
        return r;
}

static int help(void) {
        (void) printf("keyrota-credential [OPTION...]\n\n"
                      "Gives services the credentials that keyrota's policies name for them. Started by\n"
                      "keyrota-credential.socket, not by hand.\n\n"
                      "  --keyring=RING  Read the kernel keyring RING (default: " KEYRING_NAME ")\n"
                      "  -h --help       Show this help\n"
                      "     --version    Show the version\n\n"
                      "See the keyrota-credential(8) man page for details.\n");
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "keyring", required_argument, NULL, 'k' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        static struct server server = {
                .ring_name = KEYRING_NAME,
                .listener = -EBADF,
                .signals = -EBADF,
                .store = -EBADF,
        };
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
                log_error("keyrota-credential takes no arguments; see --help");
                return EXIT_USAGE;
        }

        r = take_sockets(&server);
        if (r < 0) {
                log_error("no listening socket was passed; start keyrota-credential.socket instead");
                return EXIT_USAGE;
        }
        r = start(&server);
        if (r >= 0)
                r = run(&server);
        if (r < 0) {
                log_error("credential server: %s",
                          r == -ECHILD ? "the process that keeps its connections was killed" : strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
