/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Wall clock and time since boot. The difference of the two changes only when somebody sets the clock: both follow a time server's small corrections. */

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define TIMESYNC_FILE "/run/systemd/timesync/synchronized" /* systemd-timesyncd.service(8) */

static int64_t to_nsec(const struct timespec *ts) {
        return (int64_t) ts->tv_sec * 1000000000 + ts->tv_nsec;
}

/* Without the dashes, as sd_id128_to_string(3) writes it. */
static void read_boot_id(char ret[static 33]) {
        _cleanup_close_ int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        char text[64];
        size_t n = 0;
        ssize_t size;

        size = fd < 0 ? -1 : read(fd, text, sizeof(text));
        for (ssize_t i = 0; i < size && n < 32; i++)
                if (isxdigit((unsigned char) text[i]))
                        ret[n++] = text[i];
        ret[n == 32 ? n : 0] = '\0';
}

static bool is_synchronized(void) {
        struct timex query = {};
        int r = adjtimex(&query);

        return (r >= 0 && r != TIME_ERROR && !(query.status & STA_UNSYNC)) || access(TIMESYNC_FILE, F_OK) == 0;
}

void clock_update(struct clock *clock) {
        struct timespec real, boot;

        (void) clock_gettime(CLOCK_BOOTTIME, &boot);
        (void) clock_gettime(CLOCK_REALTIME, &real);
        clock->now = real.tv_sec;
        clock->offset = (to_nsec(&real) - to_nsec(&boot) + 500000000) / 1000000000;
        clock->boot = real.tv_sec - boot.tv_sec;
}

void clock_read(struct clock *ret) {
        *ret = (struct clock) { .synchronized = is_synchronized() };
        read_boot_id(ret->boot_id);
        clock_update(ret);
}

static bool is_known(const struct clock *clock, const struct keyset_clock *stored) {
        return *stored->boot_id && *clock->boot_id;
}

static bool is_same_boot(const struct clock *clock, const struct keyset_clock *stored) {
        return is_known(clock, stored) && strcmp(stored->boot_id, clock->boot_id) == 0;
}

int64_t clock_step(const struct clock *clock, const struct keyset_clock *stored) {
        if (is_same_boot(clock, stored))
                return clock->offset - stored->offset;
        return is_known(clock, stored) && clock->now < stored->now ? clock->now - stored->now : 0; /* that much at least */
}

int64_t clock_since(const struct clock *clock, const struct keyset_clock *stored) {
        return !is_known(clock, stored) || is_same_boot(clock, stored) || (clock->synchronized && stored->synchronized) ? 0 :
                clock->boot;
}

void clock_stamp(const struct clock *clock, struct keyset_clock *stored) {
        int64_t step = clock_step(clock, stored);

        /* Small steps add up to one that is noticed. */
        if (!is_same_boot(clock, stored) || step < -LIFECYCLE_CLOCK_TOLERANCE || step > LIFECYCLE_CLOCK_TOLERANCE)
                stored->offset = clock->offset;
        strcpy(stored->boot_id, clock->boot_id);
        stored->now = clock->now;
        stored->synchronized = clock->synchronized;
}
