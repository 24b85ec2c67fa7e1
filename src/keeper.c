/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who answers when the server is killed between accept(2) and its reply. May call refusal, peer, audit. */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "audit.h"
#include "cleanup.h"
#include "keeper.h"
#include "peer.h"
#include "refusal.h"

#define REASON "the credential server was killed before it had answered"

bool keeper_is_connection(int fd) {
        int type, listens;
        socklen_t length = sizeof(int);

        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM &&
                getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && !listens;
}

static void record_refusal(const char *cgroup_root, int fd) {
        struct audit_record record = { .reason = REASON };
        struct peer peer;
        int r;

        (void) peer_identify(fd, cgroup_root, &peer);
        record.unit = *peer.unit ? peer.unit : NULL;
        record.credential = *peer.credential ? peer.credential : NULL;
        record.pid = peer.pid;
        record.has_uid = peer.has_uid;
        record.uid = peer.uid;
        r = audit_write(AUDIT_CREDENTIAL_REFUSED, &record);
        if (r < 0)
                audit_note_missing(AUDIT_CREDENTIAL_REFUSED, &record, r);
}

/* Every connection that the dead server has left in the table. stderr may be a connection too, the
 * journal's: it is below 3. */
static bool refuse_all(const char *cgroup_root) {
        static struct refusals refusals;
        struct rlimit limit;
        bool any = false;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return true;
        for (int fd = STDERR_FILENO + 1; (rlim_t) fd < limit.rlim_cur && fd < 65536; fd++) {
                if (!keeper_is_connection(fd))
                        continue;
                any = true;
                if (refusals.n == REFUSAL_MAX)
                        refusal_finish(&refusals);
                record_refusal(cgroup_root, fd);
                refusal_add(&refusals, fd);
        }
        refusal_finish(&refusals);
        return any;
}

/* Nothing but SIGKILL ends it before its time: systemd sends SIGTERM to both processes, and the server
 * may need it yet. */
static _Noreturn void keeper_run(pid_t server, const char *cgroup_root) {
        sigset_t all, death;

        (void) sigfillset(&all);
        (void) sigprocmask(SIG_SETMASK, &all, NULL);
        (void) prctl(PR_SET_NAME, "keyrota-keeper");
        (void) prctl(PR_SET_DUMPABLE, 0); /* its table holds the server's connections */
        (void) prctl(PR_SET_PDEATHSIG, SIGUSR1);

        (void) sigemptyset(&death);
        (void) sigaddset(&death, SIGUSR1);
        while (getppid() == server)
                (void) sigwaitinfo(&death, NULL);
        _exit(refuse_all(cgroup_root) ? EXIT_FAILURE : EXIT_SUCCESS);
}

int keeper_start(const char *cgroup_root) {
        pid_t server = getpid();
        long child;

        /* As fork(2), but with one table of descriptors for both. */
        child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
        if (child < 0)
                return -errno;
        if (child == 0)
                keeper_run(server, cgroup_root);
        return 0;
}

int keeper_connect_store(void) {
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        size_t n = path ? strlen(path) : 0;
        socklen_t length;

        if (n < 2 || n >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
                return -ENXIO;
        memcpy(address.sun_path, path, n);
        if (path[0] == '@')
                address.sun_path[0] = '\0';
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/'));
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, length) < 0)
                return -errno;
        return TAKE_FD(fd);
}

void keeper_store(int store, int fd) {
        static char text[] = "FDSTORE=1\nFDNAME=connection";
        struct iovec data = { text, sizeof(text) - 1 };
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {
                .header = {
                        .cmsg_len = CMSG_LEN(sizeof(int)),
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                },
        };
        struct msghdr message = {
                .msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };

        if (store < 0)
                return;
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        (void) sendmsg(store, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}
