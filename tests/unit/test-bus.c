/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The door to the service manager: how its version is spelled, what happens where nobody answers, and what of jobs while it executes itself
 * anew. What a real one does is shown in tests/system. */

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus-internal.h"
#include "tap.h"

TEST(version_is_the_leading_number) {
        static const struct {
                const char *text;
                int result;
                unsigned version;
        } rows[] = {
                { "257.13-1~deb13u1", 0, 257 }, { "252 (252.39-1~deb12u2)", 0, 252 }, { "v258", 0, 258 },
                { "v260-rc2", 0, 260 },         { "249", 0, 249 },                    { "", -EBADMSG, 0 },
                { "v", -EBADMSG, 0 },           { "systemd 257", -EBADMSG, 0 },       { "-1", -EBADMSG, 0 },
                { "12345678901", -EBADMSG, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                unsigned version = 0;

                expect_int(bus_parse_version(rows[i].text, &version), rows[i].result);
                expect_int(version, rows[i].version);
        }
}

/* Where systemd runs, its own socket comes first and root is not sent to the bus at all. */
static bool is_booted(void) {
        return access("/run/systemd/private", F_OK) == 0;
}

TEST(no_bus_is_no_systemd) {
        unsigned version = 1;

        if (is_booted())
                skip("systemd runs here");
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
        expect_int(bus_systemd_version(&version), -ENODATA);
        expect_int(version, 1);
}

TEST(bus_that_never_answers_is_given_up) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char directory[] = "/tmp/test-bus-XXXXXX", variable[200];
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        unsigned version = 1;
        int r;

        if (is_booted())
                skip("systemd runs here");
        expect(fd >= 0 && mkdtemp(directory));
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/bus", directory);
        (void) snprintf(variable, sizeof(variable), "unix:path=%s", address.sun_path);
        expect_int(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        expect_int(listen(fd, 1), 0);
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", variable, 1);
        (void) alarm(60); /* it waits two seconds, not for ever */
        r = bus_systemd_version(&version);
        (void) alarm(0);
        (void) unlink(address.sun_path);
        (void) rmdir(directory);
        expect_int(r, -ETIMEDOUT);
        expect_int(version, 1);
}

TEST(running_systemd_tells_its_version) {
        unsigned version = 0;

        if (!is_booted())
                skip("systemd does not run here");
        (void) unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
        expect_int(bus_systemd_version(&version), 0);
        expect(version >= 249 && version < 1000);
}

/* ---- a manager that behaves as no real one can be made to ------------------------------------------------- */

#define JOB BUS_PATH "/job/7"
#define UNIT_PATH BUS_PATH "/unit/a_2eservice"
#define SOON (bus_now() + BUS_USEC_PER_SEC / 5)
#define LATE (bus_now() + 30 * BUS_USEC_PER_SEC)

struct fake {
        char directory[32];
        struct sockaddr_un address;
        int listener;
        pid_t pid;
        sd_bus *connection; /* of the manager's process */
};

static bool fake_listen(struct fake *fake) {
        fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return fake->listener >= 0 && bind(fake->listener, (struct sockaddr *) &fake->address, sizeof(fake->address)) == 0 &&
               listen(fake->listener, 4) == 0;
}

static bool fake_make(struct fake *fake) {
        *fake = (struct fake) { .directory = "/tmp/test-bus-XXXXXX", .address = { .sun_family = AF_UNIX }, .listener = -EBADF };
        if (!mkdtemp(fake->directory))
                return false;
        (void) snprintf(fake->address.sun_path, sizeof(fake->address.sun_path), "%s/private", fake->directory);
        /* this machine's own bus is not asked */
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
        (void) alarm(90);
        return true;
}

/* Runs what the manager does in a process of its own. */
static bool fake_start(struct fake *fake, void (*manager)(struct fake *fake)) {
        fake->pid = fork();
        if (fake->pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) alarm(40); /* what it expects does not come */
                manager(fake);
                sd_bus_close_unref(fake->connection);
                _exit(0);
        }
        if (fake->listener >= 0)
                (void) close(fake->listener);
        fake->listener = -EBADF;
        return fake->pid > 0;
}

/* True when all that the manager expected has come. */
static bool fake_finish(struct fake *fake) {
        int status = 0;

        if (fake->listener >= 0)
                (void) close(fake->listener);
        if (fake->pid > 0)
                (void) waitpid(fake->pid, &status, 0);
        (void) unlink(fake->address.sun_path);
        (void) rmdir(fake->directory);
        (void) alarm(0);
        return status == 0;
}

static void must(int r, const char *what) {
        if (r >= 0)
                return;
        printf("# manager: %s: %s\n", what, strerror(-r));
        (void) fflush(stdout);
        _exit(1);
}

static sd_bus *take_connection(struct fake *fake) {
        int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        sd_id128_t id;
        sd_bus *connection;

        must(fd, "accept");
        must(sd_id128_randomize(&id), "random");
        must(sd_bus_new(&connection), "new");
        must(sd_bus_set_fd(connection, fd, fd), "fd");
        must(sd_bus_set_server(connection, 1, id), "server");
        must(sd_bus_start(connection), "start");
        fake->connection = connection;
        return connection;
}

/* The next call, which must be of this method. */
static sd_bus_message *take_call(sd_bus *connection, const char *method) {
        for (;;) {
                sd_bus_message *message = NULL;
                int r = sd_bus_process(connection, &message);

                must(r, method);
                if (message && sd_bus_message_is_method_call(message, NULL, NULL)) {
                        must(strcmp(sd_bus_message_get_member(message), method) == 0 ? 0 : -EBADMSG, method);
                        return message;
                }
                sd_bus_message_unref(message);
                if (r == 0)
                        must(sd_bus_wait(connection, UINT64_MAX), method);
        }
}

static void take_restart(sd_bus *connection) {
        sd_bus_message *call = take_call(connection, "RestartUnit");

        must(sd_bus_reply_method_return(call, "o", JOB), "reply");
        sd_bus_message_unref(call);
        must(sd_bus_flush(connection), "flush");
}

static void refuse(sd_bus *connection, const char *method, const char *name, const char *text) {
        sd_bus_message *call = take_call(connection, method);

        must(sd_bus_reply_method_errorf(call, name, "%s", text), "refuse");
        sd_bus_message_unref(call);
        must(sd_bus_flush(connection), "flush");
}

static void tell_removed(sd_bus *connection, const char *path, const char *result) {
        must(sd_bus_emit_signal(connection, BUS_PATH, BUS_MANAGER, "JobRemoved", "uoss", 7, path, "a.service", result), "signal");
        must(sd_bus_flush(connection), "flush");
}

/* The unit's state as of now, and the result of its service. */
static void tell_unit(sd_bus *connection, const char *result, const char *active, uint64_t since) {
        sd_bus_message *call = take_call(connection, "Get");

        must(sd_bus_reply_method_return(call, "v", "s", result), "result");
        sd_bus_message_unref(call);
        call = take_call(connection, "GetAll");
        must(sd_bus_reply_method_return(call, "a{sv}", 3, "ActiveState", "s", active, "SubState", "s", "any", "StateChangeTimestampMonotonic", "t",
                                        since),
             "properties");
        sd_bus_message_unref(call);
        must(sd_bus_flush(connection), "flush");
}

/* Closes all connections, as systemctl daemon-reexec does, and is there again. */
static sd_bus *execute_anew(struct fake *fake, sd_bus *connection) {
        (void) close(fake->listener);
        (void) unlink(fake->address.sun_path);
        sd_bus_close_unref(connection);
        must(fake_listen(fake) ? 0 : -errno, "listen");
        return take_connection(fake);
}

/* Restarts a.service by a manager like this. The request's reason is the caller's. */
static bool restart_by(void (*manager)(struct fake *fake), struct bus_job_request *request, int *ret_result, unsigned timeout) {
        _cleanup_(bus_freep) struct bus *bus = NULL;
        struct fake fake;
        int r;

        *request = (struct bus_job_request) { .unit = "a.service", .job = BUS_RESTART };
        if (!fake_make(&fake) || !fake_listen(&fake) || !fake_start(&fake, manager))
                return false;
        r = bus_open_at(fake.address.sun_path, false, LATE, &bus);
        if (r >= 0)
                r = bus_run_jobs(bus, request, 1, timeout);
        *ret_result = r;
        bus_free(TAKE_PTR(bus));
        return fake_finish(&fake);
}

static void wait_for_end(sd_bus *connection) {
        while (sd_bus_process(connection, NULL) >= 0 && sd_bus_wait(connection, UINT64_MAX) >= 0)
                ;
}

TEST(socket_that_is_not_there_is_no_manager) {
        _cleanup_(bus_freep) struct bus *bus = NULL;
        struct fake fake;

        expect(fake_make(&fake));
        expect_int(bus_open_at(fake.address.sun_path, false, LATE, &bus), -ENODATA);
        expect(fake_listen(&fake));
        (void) close(fake.listener);
        fake.listener = -EBADF;
        expect_int(bus_open_at(fake.address.sun_path, false, LATE, &bus), -ENODATA);
        expect(fake_finish(&fake));
}

static void manager_without_words(struct fake *fake) {
        sd_bus *connection = take_connection(fake);
        sd_bus_message *message = NULL;

        while (sd_bus_process(connection, &message) >= 0 && sd_bus_wait(connection, UINT64_MAX) >= 0)
                message = sd_bus_message_unref(message);
        sd_bus_message_unref(message);
}

TEST(manager_that_never_greets_is_given_up) {
        _cleanup_(bus_freep) struct bus *bus = NULL;
        struct fake fake;

        expect(fake_make(&fake));
        expect(fake_listen(&fake));
        expect_int(bus_open_at(fake.address.sun_path, false, SOON, &bus), -ETIMEDOUT);
        expect(fake_finish(&fake));
}

TEST(manager_that_never_answers_is_given_up) {
        _cleanup_(bus_freep) struct bus *bus = NULL;
        struct fake fake;

        expect(fake_make(&fake));
        expect(fake_listen(&fake));
        expect(fake_start(&fake, manager_without_words));
        expect_int(bus_open_at(fake.address.sun_path, false, LATE, &bus), 0);
        expect_int(bus_call(bus, SOON, BUS_PATH, BUS_MANAGER, "GetUnit", NULL, NULL, "s", "a.service"), -ETIMEDOUT);
        bus_free(TAKE_PTR(bus));
        expect(fake_finish(&fake));
}

TEST(manager_that_never_answers_a_request_is_the_callers_error) {
        struct bus_job_request request;
        int r;

        expect(restart_by(manager_without_words, &request, &r, 1));
        expect_int(r, -ETIMEDOUT);
        expect_int(request.error, -ETIMEDOUT);
        expect(!request.reason);
}

static void manager_that_comes_back(struct fake *fake) {
        char path[64], target[64];
        bool found = false;

        /* when the other side waits for our socket */
        for (unsigned fd = 0; !found; fd = (fd + 1) % 64) {
                ssize_t n;

                (void) snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int) getppid(), fd);
                n = readlink(path, target, sizeof(target) - 1);
                found = n > 0 && memmem(target, (size_t) n, "inotify", 7);
        }
        must(fake_listen(fake) ? 0 : -errno, "listen");
        wait_for_end(take_connection(fake));
}

TEST(manager_of_a_booted_system_is_waited_for) {
        _cleanup_(bus_freep) struct bus *bus = NULL;
        struct fake fake;

        expect(fake_make(&fake));
        expect(fake_start(&fake, manager_that_comes_back));
        expect_int(bus_open_at(fake.address.sun_path, true, LATE, &bus), 0);
        bus_free(TAKE_PTR(bus));
        expect(fake_finish(&fake));
}

static void manager_that_is_quick(struct fake *fake) {
        sd_bus *connection = take_connection(fake);
        sd_bus_message *call = take_call(connection, "RestartUnit");

        tell_removed(connection, BUS_PATH "/job/6", "failed");
        tell_removed(connection, JOB, "done");
        must(sd_bus_reply_method_return(call, "o", JOB), "reply");
        sd_bus_message_unref(call);
        wait_for_end(connection);
}

TEST(job_that_ends_before_the_reply_is_done) {
        struct bus_job_request request;
        int r;

        expect(restart_by(manager_that_is_quick, &request, &r, 30));
        expect_int(r, 0);
        expect_int(request.error, 0);
        expect(!request.reason);
}

static void manager_that_refuses(struct fake *fake) {
        sd_bus *connection = take_connection(fake);

        refuse(connection, "RestartUnit", BUS_NO_SUCH_UNIT, "Unit a.service not found.");
        wait_for_end(connection);
}

TEST(refusal_is_told_in_the_managers_words) {
        struct bus_job_request request;
        _cleanup_free_ char *reason = NULL;
        int r;

        expect(restart_by(manager_that_refuses, &request, &r, 30));
        reason = request.reason;
        expect_int(r, 0);
        expect(request.error < 0);
        expect_string(reason, "Unit a.service not found.");
}

static void manager_that_leaves(struct fake *fake) {
        sd_bus *connection = take_connection(fake);

        sd_bus_message_unref(take_call(connection, "RestartUnit"));
        connection = execute_anew(fake, connection);
        take_restart(connection);
        tell_removed(connection, JOB, "done");
        wait_for_end(connection);
}

TEST(call_is_made_again_over_a_new_connection) {
        struct bus_job_request request;
        int r;

        expect(restart_by(manager_that_leaves, &request, &r, 30));
        expect_int(r, 0);
        expect_int(request.error, 0);
}

static void manager_that_leaves_always(struct fake *fake) {
        sd_bus *connection = take_connection(fake);

        sd_bus_message_unref(take_call(connection, "RestartUnit"));
        connection = execute_anew(fake, connection);
        sd_bus_message_unref(take_call(connection, "RestartUnit"));
}

TEST(call_is_not_made_for_ever) {
        struct bus_job_request request;
        int r;

        expect(restart_by(manager_that_leaves_always, &request, &r, 30));
        expect_int(r, -ECONNRESET);
        expect_int(request.error, -ECONNRESET);
}

static void manager_with_the_job_still_there(struct fake *fake) {
        sd_bus *connection = take_connection(fake);
        sd_bus_message *call;

        take_restart(connection);
        connection = execute_anew(fake, connection);
        call = take_call(connection, "GetJob");
        must(sd_bus_reply_method_return(call, "o", JOB), "reply");
        sd_bus_message_unref(call);
        tell_removed(connection, JOB, "canceled");
        call = take_call(connection, "Get");
        must(sd_bus_reply_method_return(call, "v", "s", "success"), "reply");
        sd_bus_message_unref(call);
        wait_for_end(connection);
}

TEST(job_that_outlives_the_connection_is_waited_for) {
        struct bus_job_request request;
        _cleanup_free_ char *reason = NULL;
        int r;

        expect(restart_by(manager_with_the_job_still_there, &request, &r, 30));
        reason = request.reason;
        expect_int(r, 0);
        expect_int(request.error, -ECANCELED);
        expect_string(reason, "its restart job ended with \"canceled\"");
}

static sd_bus *lose_job(struct fake *fake) {
        sd_bus *connection = take_connection(fake);

        take_restart(connection);
        connection = execute_anew(fake, connection);
        refuse(connection, "GetJob", BUS_NO_SUCH_JOB, "Job 7 does not exist.");
        return connection;
}

static void manager_that_restarted_it_unseen(struct fake *fake) {
        sd_bus *connection = lose_job(fake);

        tell_unit(connection, "success", "active", bus_now());
        wait_for_end(connection);
}

static void manager_that_unloaded_it(struct fake *fake) {
        sd_bus *connection = lose_job(fake);

        tell_unit(connection, "success", "inactive", 0);
        wait_for_end(connection);
}

static void manager_that_failed_unseen(struct fake *fake) {
        sd_bus *connection = lose_job(fake);

        tell_unit(connection, "exit-code", "failed", bus_now());
        wait_for_end(connection);
}

static void manager_that_forgot_it(struct fake *fake) {
        sd_bus *connection = lose_job(fake);

        tell_unit(connection, "success", "active", 1);
        wait_for_end(connection);
}

TEST(job_that_ended_unseen_is_judged_by_its_unit) {
        static const struct {
                void (*manager)(struct fake *fake);
                int error;
                const char *reason;
        } rows[] = {
                { manager_that_restarted_it_unseen, 0, "" },
                { manager_that_unloaded_it, 0, "" },
                { manager_that_failed_unseen, -EIO, "the service manager was started anew during its restart job, and it is failed (result exit-code)" },
                { manager_that_forgot_it, -EIO, "the service manager was started anew during its restart job, and it is as it was before (result success)" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct bus_job_request request;
                _cleanup_free_ char *reason = NULL;
                int r;

                expect(restart_by(rows[i].manager, &request, &r, 30));
                reason = request.reason;
                expect_int(r, 0);
                expect_int(request.error, rows[i].error);
                expect_string(reason ? reason : "", rows[i].reason);
        }
}

static void manager_with_an_endless_job(struct fake *fake) {
        sd_bus *connection = take_connection(fake);

        take_restart(connection);
        wait_for_end(connection);
}

TEST(job_without_an_end_is_given_up) {
        struct bus_job_request request;
        _cleanup_free_ char *reason = NULL;
        int r;

        expect(restart_by(manager_with_an_endless_job, &request, &r, 1));
        reason = request.reason;
        expect_int(r, 0);
        expect_int(request.error, -ETIMEDOUT);
        expect_string(reason, "its restart job has not ended within 1 s");
}

/* ---- a bus without a manager ------------------------------------------------------------------------------ */

#define BUS_CONFIGURATION                                                                                     \
        "<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"                    \
        "<policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>\n"

/* A bus in this folder. True when it is up; its process is there in any case. */
static bool bus_start(const char *directory, const char *configuration, pid_t *ret_pid) {
        char option[80], address[256];
        int fds[2];
        FILE *file = fopen(configuration, "we");
        ssize_t n;

        *ret_pid = 0;
        (void) snprintf(option, sizeof(option), "--config-file=%s", configuration);
        if (!file || fprintf(file, BUS_CONFIGURATION, directory) < 0 || fclose(file) != 0 || pipe(fds) < 0)
                return false;
        *ret_pid = fork();
        if (*ret_pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) dup2(fds[1], STDOUT_FILENO);
                (void) dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
                (void) execlp("dbus-daemon", "dbus-daemon", option, "--nofork", "--nopidfile", "--print-address", NULL);
                _exit(127);
        }
        (void) close(fds[1]);
        n = read(fds[0], address, sizeof(address));
        (void) close(fds[0]);
        return n > 0;
}

TEST(bus_without_systemd_on_it_is_no_manager) {
        _cleanup_(bus_freep) struct bus *bus = NULL;
        char path[64], configuration[64], address[80];
        struct fake fake;
        bool started;
        pid_t pid;
        int r;

        expect(fake_make(&fake));
        (void) snprintf(path, sizeof(path), "%s/bus", fake.directory);
        (void) snprintf(configuration, sizeof(configuration), "%s/bus.conf", fake.directory);
        (void) snprintf(address, sizeof(address), "unix:path=%s", path);
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
        started = bus_start(fake.directory, configuration, &pid);
        r = bus_open_at(fake.address.sun_path, false, LATE, &bus);
        if (pid > 0) {
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
        (void) unlink(path);
        (void) unlink(configuration);
        (void) fake_finish(&fake);
        if (!started)
                skip("dbus-daemon does not start here");
        expect_int(r, -ENODATA);
}

int main(void) {
        return tap_main();
}
