/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What running units have loaded. May call served, tree, publish (names). */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "evidence.h"
#include "paths.h"
#include "publish.h"
#include "served.h"

#define SERVED_CREDENTIAL_MAX (sizeof(SERVED_PUBLIC_PREFIX) + POLICY_PEER_MAX)
#define USEC_PER_SEC INT64_C(1000000)

int evidence_open(const struct tree *tree, struct evidence *ret) {
        int fd = tree_open_path(tree, PATH_SERVED, O_RDONLY | O_DIRECTORY, 0);

        if (fd < 0 && fd != -ENOENT)
                return fd;
        *ret = (struct evidence) { .tree = tree, .served = fd < 0 ? -EBADF : fd };
        return 0;
}

void evidence_close(struct evidence *evidence) {
        closep(&evidence->served);
        evidence->served = -EBADF;
}

/* The credential as the records name it. */
static const char *record_name(const struct keyset *keyset, const struct delivery *delivery, char buffer[static SERVED_CREDENTIAL_MAX]) {
        if (delivery->credential)
                return delivery->credential;
        (void) snprintf(buffer, SERVED_CREDENTIAL_MAX, SERVED_PUBLIC_PREFIX "%s", keyset->name);
        return buffer;
}

/* 1: there is a record of this invocation and secret. */
static int read_record(const struct evidence *evidence, const struct keyset *keyset, const struct delivery *delivery, const char *unit,
                       const char *invocation, struct served *ret) {
        char credential[SERVED_CREDENTIAL_MAX], secret[PUBLISH_SECRET_MAX];
        int r;

        if (evidence->served < 0)
                return 0;
        r = served_read(evidence->served, unit, record_name(keyset, delivery, credential), ret);
        if (r == -ENOENT || r == -EBADMSG)
                return 0;
        if (r < 0)
                return r;
        return strcmp(ret->secret, publish_secret_name(keyset->environment, keyset->name, secret)) == 0 && invocation[0] &&
                strcmp(ret->invocation, invocation) == 0;
}

static int64_t usec(const struct timespec *time) {
        return (int64_t) time->tv_sec * USEC_PER_SEC + time->tv_nsec / 1000;
}

/* When the public file was last replaced: the change time, which rename(2) sets. 0: there is none. */
static int read_replaced(const struct tree *tree, const char *name, int64_t *ret) {
        char path[sizeof(PATH_JWKS "/.json") + POLICY_NAME_MAX];
        _cleanup_close_ int fd = -EBADF;
        struct stat status;

        (void) snprintf(path, sizeof(path), PATH_JWKS "/%s.json", name);
        fd = tree_open_path(tree, path, O_PATH | O_NOFOLLOW, 0);
        if (fd < 0 && fd != -ENOENT)
                return fd;
        if (fd >= 0 && fstat(fd, &status) < 0)
                return -errno;
        *ret = fd < 0 ? 0 : usec(&status.st_ctim);
        return 0;
}

/* Was the unit started when the public file had already been replaced? The file's time may be one tick of the clock early. A start in the future
 * was before the clock was set back, and tells nothing. */
static int started_since(const struct tree *tree, const char *name, int64_t started) {
        struct timespec now, tick;
        int64_t replaced = 0;
        int r;

        r = read_replaced(tree, name, &replaced);
        if (r < 0)
                return r;
        if (clock_gettime(CLOCK_REALTIME, &now) < 0 || clock_getres(CLOCK_REALTIME_COARSE, &tick) < 0)
                return -errno;
        return replaced > 0 && started > replaced + usec(&tick) && started <= usec(&now);
}

int evidence_loaded(const struct evidence *evidence, const struct policy *policy, const struct keyset *keyset, const struct delivery *delivery,
                    const char *unit, const struct bus_unit_facts *facts, uint64_t *ret_loaded) {
        struct served record;
        int r;

        r = read_record(evidence, keyset, delivery, unit, facts->invocation, &record);
        if (r < 0)
                return r;
        if (delivery->credential) {
                if (r == 0 && !facts->loads_credential)
                        return 0;
                /* A reload gives the newest in place. Else the oldest counts: ExecStartPre= may have had another than ExecStart=. */
                *ret_loaded = r == 0 ? 0 : delivery->on_change == ON_CHANGE_RELOAD ? record.last : record.first;
                return 1;
        }
        if (delivery->on_change == ON_CHANGE_NONE) { /* it looks at the file by itself */
                *ret_loaded = keyset->generation;
                return 1;
        }
        if (r > 0) {
                *ret_loaded = record.last;
                return 1;
        }
        r = started_since(evidence->tree, policy->name, facts->started_usec);
        if (r < 0)
                return r;
        *ret_loaded = r > 0 ? keyset->generation : 0;
        return 1;
}

static int write_record(
                struct evidence *evidence, const struct keyset *keyset, const struct delivery *delivery, const char *unit, const char *invocation,
                uint64_t generation) {
        char credential[SERVED_CREDENTIAL_MAX], secret[PUBLISH_SECRET_MAX];

        if (evidence->served < 0) {
                int fd = tree_make_directory(evidence->tree, PATH_SERVED, 0700);

                if (fd < 0)
                        return fd;
                evidence->served = fd;
        }
        return served_write(evidence->served, unit, record_name(keyset, delivery, credential),
                            publish_secret_name(keyset->environment, keyset->name, secret), invocation, generation);
}

int evidence_add(struct evidence *evidence, const struct keyset *keyset, const struct delivery *delivery, const char *unit, const char *invocation) {
        return write_record(evidence, keyset, delivery, unit, invocation, keyset->generation);
}

int evidence_take_back(
                struct evidence *evidence, const struct keyset *keyset, const struct delivery *delivery, const char *unit, const char *invocation,
                uint64_t generation) {
        return write_record(evidence, keyset, delivery, unit, invocation, generation);
}
