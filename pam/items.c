/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who enters, and by which way: PAM's items and the audit session. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "cleanup.h"
#include "items.h"

static const char *item(pam_handle_t *pamh, int type) {
        const void *text = NULL;

        return pam_get_item(pamh, type, &text) == PAM_SUCCESS && text ? text : "";
}

static void copy(char *buffer, size_t size, const char *text) {
        size_t n = strnlen(text, size - 1);

        memcpy(buffer, text, n);
        buffer[n] = '\0';
}

/* What pam_loginuid(8) had the kernel draw, where it is in the stack. */
static uint32_t audit_session(void) {
        _cleanup_close_ int fd = open("/proc/self/sessionid", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        uint64_t session = 0;
        struct stat st;
        char text[16];
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return AUDIT_SESSION_UNSET;
        n = read(fd, text, sizeof(text));
        if (n <= 0)
                return AUDIT_SESSION_UNSET;
        for (ssize_t i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
                session = session * 10 + (uint64_t) (text[i] - '0');
        return session < AUDIT_SESSION_UNSET ? (uint32_t) session : AUDIT_SESSION_UNSET;
}

void items_load(pam_handle_t *pamh, struct copies_holder *ret) {
        const char *user = item(pamh, PAM_USER);

        ret->uid = (uid_t) -1;
        ret->audit_session = audit_session();
        ret->pid = getpid();
        copy(ret->user, sizeof(ret->user), strlen(user) > ACCESS_MEMBER_MAX ? "" : user);
        copy(ret->service, sizeof(ret->service), item(pamh, PAM_SERVICE));
        copy(ret->tty, sizeof(ret->tty), item(pamh, PAM_TTY));
        copy(ret->remote_host, sizeof(ret->remote_host), item(pamh, PAM_RHOST));
        ret->only[0] = '\0';
}
