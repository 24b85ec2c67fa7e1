/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Audit records as text, in the native protocol of journald (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram of "FIELD=value" lines. Pure, without
 * variables; libc only, as the PAM module has it too.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "audit.h"
#include "cleanup.h"

#define VALUE_MAX 2048 /* bytes of one value, when escaped */

/* Without pointers: the PAM module has no writable data, not even for the loader. */
static const struct {
        char id[33], name[24], verdict[8];
        int priority;
} events[] = {
        [AUDIT_KEY_CREATED] = { AUDIT_KEY_CREATED_ID, "key-created", "done", LOG_INFO },
        [AUDIT_SECRET_COMMITTED] = { AUDIT_SECRET_COMMITTED_ID, "secret-committed", "done", LOG_INFO },
        [AUDIT_CREDENTIAL_SERVED] = { AUDIT_CREDENTIAL_SERVED_ID, "credential-served", "granted", LOG_INFO },
        [AUDIT_CREDENTIAL_REFUSED] =
                { AUDIT_CREDENTIAL_REFUSED_ID, "credential-refused", "refused", LOG_WARNING },
        [AUDIT_SECRET_READ] = { AUDIT_SECRET_READ_ID, "secret-read", "granted", LOG_NOTICE },
        [AUDIT_POLICY_REFUSED] = { AUDIT_POLICY_REFUSED_ID, "policy-refused", "refused", LOG_ERR },
        [AUDIT_STORE_REFUSED] = { AUDIT_STORE_REFUSED_ID, "store-refused", "refused", LOG_ERR },
        [AUDIT_KEY_PUBLISHED] = { AUDIT_KEY_PUBLISHED_ID, "key-published", "done", LOG_INFO },
        [AUDIT_KEY_ACTIVATED] = { AUDIT_KEY_ACTIVATED_ID, "key-activated", "done", LOG_INFO },
        [AUDIT_KEY_DEACTIVATED] = { AUDIT_KEY_DEACTIVATED_ID, "key-deactivated", "done", LOG_INFO },
        [AUDIT_KEY_DESTROYED] = { AUDIT_KEY_DESTROYED_ID, "key-destroyed", "done", LOG_INFO },
        [AUDIT_KEY_COMPROMISED] = { AUDIT_KEY_COMPROMISED_ID, "key-compromised", "done", LOG_WARNING },
        [AUDIT_KEY_IMPORTED] = { AUDIT_KEY_IMPORTED_ID, "key-imported", "done", LOG_NOTICE },
        [AUDIT_ROLLED_BACK] = { AUDIT_ROLLED_BACK_ID, "rolled-back", "done", LOG_NOTICE },
        [AUDIT_CLOCK_SET] = { AUDIT_CLOCK_SET_ID, "clock-set", "done", LOG_WARNING },
        [AUDIT_REKEYED] = { AUDIT_REKEYED_ID, "rekeyed", "done", LOG_NOTICE },
        [AUDIT_UNIT_HANDED_OVER] = { AUDIT_UNIT_HANDED_OVER_ID, "unit-handed-over", "done", LOG_INFO },
        [AUDIT_HANDOVER_FAILED] = { AUDIT_HANDOVER_FAILED_ID, "handover-failed", "failed", LOG_WARNING },
        [AUDIT_COPY_GRANTED] = { AUDIT_COPY_GRANTED_ID, "copy-granted", "granted", LOG_INFO },
        [AUDIT_COPY_REFUSED] = { AUDIT_COPY_REFUSED_ID, "copy-refused", "refused", LOG_WARNING },
        [AUDIT_COPY_RENEWED] = { AUDIT_COPY_RENEWED_ID, "copy-renewed", "done", LOG_INFO },
        [AUDIT_COPY_REMOVED] = { AUDIT_COPY_REMOVED_ID, "copy-removed", "done", LOG_NOTICE },
        [AUDIT_ACCESS_GRANTED] = { AUDIT_ACCESS_GRANTED_ID, "access-granted", "granted", LOG_INFO },
        [AUDIT_ACCESS_REFUSED] = { AUDIT_ACCESS_REFUSED_ID, "access-refused", "refused", LOG_NOTICE },
        [AUDIT_READ_REFUSED] = { AUDIT_READ_REFUSED_ID, "read-refused", "refused", LOG_WARNING },
        [AUDIT_ACCESS_LOCKED] = { AUDIT_ACCESS_LOCKED_ID, "access-locked", "done", LOG_NOTICE },
        [AUDIT_ACCESS_UNLOCKED] = { AUDIT_ACCESS_UNLOCKED_ID, "access-unlocked", "done", LOG_NOTICE },
};
_Static_assert(ELEMENTSOF(events) == AUDIT_EVENT_COUNT, "every event is described");

const char *audit_event_name(enum audit_event event) {
        return events[event].name;
}

static void add_bytes(struct audit_text *text, const char *bytes, size_t length) {
        if (text->size < sizeof(text->data)) {
                size_t room = sizeof(text->data) - text->size;

                memcpy(text->data + text->size, bytes, length < room ? length : room);
        }
        text->size += length;
}

static bool is_control(unsigned char c) {
        return c < ' ' || c == 0x7f;
}

/* As it is, or of a control character \xNN: a line break would end the field and let its value forge the next one. */
static size_t escape_byte(unsigned char c, char ret[static 4]) {
        static const char digits[] = "0123456789abcdef";

        if (!is_control(c)) {
                ret[0] = (char) c;
                return 1;
        }
        ret[0] = '\\';
        ret[1] = 'x';
        ret[2] = digits[c >> 4];
        ret[3] = digits[c & 15];
        return 4;
}

size_t audit_escape(const char *text, char *buffer, size_t size) {
        size_t length = 0;
        char escaped[4];

        for (; *text; text++) {
                size_t n = escape_byte((unsigned char) *text, escaped);

                if (length + n >= size)
                        break;
                memcpy(buffer + length, escaped, n);
                length += n;
        }
        buffer[length] = '\0';
        return length;
}

static void add_value(struct audit_text *text, const char *value, size_t length) {
        size_t start = text->size, plain;
        char escaped[4];

        for (size_t i = 0; i < length && text->size - start < VALUE_MAX; i += plain + 1) {
                size_t room = VALUE_MAX - (text->size - start);

                for (plain = 0; i + plain < length && plain < room && !is_control((unsigned char) value[i + plain]); plain++)
                        ;
                add_bytes(text, value + i, plain);
                if (i + plain < length && plain < room)
                        add_bytes(text, escaped, escape_byte((unsigned char) value[i + plain], escaped));
        }
}

static void add_field(struct audit_text *text, const char *field, const char *value) {
        if (!value)
                return;
        add_bytes(text, field, strlen(field));
        add_bytes(text, "=", 1);
        add_value(text, value, strlen(value));
        add_bytes(text, "\n", 1);
}

static _printf_(3, 4) void add_formatted(struct audit_text *text, const char *field, const char *format, ...) {
        char value[VALUE_MAX];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(value, sizeof(value), format, arguments);
        va_end(arguments);
        add_field(text, field, value);
}

/* One field for each kid: "KEYROTA_KID=x" then finds every record about key x. */
static void add_kids(struct audit_text *text, const char *kids) {
        while (kids && *kids) {
                size_t n = strcspn(kids, ",");

                if (n > 0) {
                        add_field(text, "KEYROTA_KID", "");
                        text->size--; /* the line's end */
                        add_value(text, kids, n);
                        add_bytes(text, "\n", 1);
                }
                kids += n + (kids[n] == ',');
        }
}

static const char *or_else(const char *value, const char *otherwise) {
        return value ? value : otherwise;
}

/* What became of one key: "Creating", the key, "." */
static void add_key_message(struct audit_text *text, const char *before, const struct audit_record *record, const char *after) {
        add_formatted(text, "MESSAGE", "%s %s (%s) of %s/%s%s", before, or_else(record->kids, "?"),
                      or_else(record->algorithm, "?"), or_else(record->environment, "?"),
                      or_else(record->name, "?"), after);
}

static void add_message(struct audit_text *text, enum audit_event event, const struct audit_record *record) {
        const char *environment = or_else(record->environment, "?"), *name = or_else(record->name, "?"),
                   *reason = or_else(record->reason, "no reason given"), *unit = record->unit,
                   *credential = or_else(record->credential, "?"), *file = or_else(record->file, name),
                   *user = or_else(record->user, "?"), *service = or_else(record->service, "?");

        switch (event) {
        case AUDIT_KEY_CREATED:
                add_key_message(text, "Creating key", record, ".");
                break;
        case AUDIT_SECRET_COMMITTED:
                add_formatted(text, "MESSAGE", "Stored generation %" PRIu64 " of %s/%s.", record->generation,
                              environment, name);
                break;
        case AUDIT_CREDENTIAL_SERVED:
                add_formatted(text, "MESSAGE",
                              "Served credential %s to %s from %s/%s, generation %" PRIu64 ".", credential,
                              or_else(unit, "?"), environment, name, record->generation);
                break;
        case AUDIT_CREDENTIAL_REFUSED:
                if (unit)
                        add_formatted(text, "MESSAGE", "Refused credential %s to %s: %s.", credential, unit,
                                      reason);
                else
                        add_formatted(text, "MESSAGE", "Refused process %d: %s.", (int) record->pid, reason);
                break;
        case AUDIT_SECRET_READ:
                if (record->user)
                        add_formatted(text, "MESSAGE", "Secret %s/%s, generation %" PRIu64 ", was read by %s.", environment, name,
                                      record->generation, user);
                else
                        add_formatted(text, "MESSAGE", "Secret %s/%s, generation %" PRIu64 ", was read.", environment,
                                      name, record->generation);
                break;
        case AUDIT_POLICY_REFUSED:
                add_formatted(text, "MESSAGE", "Policy %s is not used as it is written: %s", name, reason);
                break;
        case AUDIT_STORE_REFUSED:
                add_formatted(text, "MESSAGE", "Stored file %s is not used: %s.", file, reason);
                break;
        case AUDIT_KEY_PUBLISHED:
                add_key_message(text, "Key", record, " is known to every verifier.");
                break;
        case AUDIT_KEY_ACTIVATED:
                add_key_message(text, "Key", record, " signs from now on.");
                break;
        case AUDIT_KEY_DEACTIVATED:
                add_key_message(text, "Key", record, " signs no more, and verifies until its overlap is over.");
                break;
        case AUDIT_KEY_DESTROYED:
                add_key_message(text, "Destroyed key", record, ".");
                break;
        case AUDIT_KEY_COMPROMISED:
                add_key_message(text, "Key", record, " is compromised, and in no set any more.");
                break;
        case AUDIT_KEY_IMPORTED:
                add_key_message(text, "Imported key", record, ".");
                break;
        case AUDIT_ROLLED_BACK:
                add_key_message(text, "Rolled back: key", record, " signs again.");
                break;
        case AUDIT_CLOCK_SET:
                add_formatted(text, "MESSAGE", "The clock was set %s since %s/%s was last stored.", reason,
                              environment, name);
                break;
        case AUDIT_REKEYED:
                add_formatted(text, "MESSAGE", "Sealed every stored secret under the new key-encryption key %s.",
                              or_else(record->kids, "?"));
                break;
        case AUDIT_UNIT_HANDED_OVER:
                add_formatted(text, "MESSAGE", "Handed generation %" PRIu64 " of %s/%s over to %s: %s.",
                              record->generation, environment, name, or_else(unit, "?"), reason);
                break;
        case AUDIT_HANDOVER_FAILED:
                add_formatted(text, "MESSAGE", "Could not hand generation %" PRIu64 " of %s/%s over to %s: %s.",
                              record->generation, environment, name, or_else(unit, "?"), reason);
                break;
        case AUDIT_COPY_GRANTED:
                add_formatted(text, "MESSAGE", "Gave a session of %s (%s) a copy of %s/%s, generation %" PRIu64 ".", user, service, environment, name,
                              record->generation);
                break;
        case AUDIT_COPY_REFUSED:
                add_formatted(text, "MESSAGE", "Gave a session of %s (%s) no copy of %s: %s.", user, service, or_else(record->name, "any secret"),
                              reason);
                break;
        case AUDIT_COPY_RENEWED:
                add_formatted(text, "MESSAGE", "Renewed the copy of %s/%s in a session of %s (%s): generation %" PRIu64 ".", environment, name, user,
                              service, record->generation);
                break;
        case AUDIT_COPY_REMOVED:
                add_formatted(text, "MESSAGE", "Took the copy of %s from a session of %s (%s): %s.", name, user, service, reason);
                break;
        case AUDIT_ACCESS_GRANTED:
                add_formatted(text, "MESSAGE", "Let %s into %s, as %s allows.", user, service, name);
                break;
        case AUDIT_ACCESS_REFUSED:
                add_formatted(text, "MESSAGE", "Kept %s out of %s: %s.", user, service, reason);
                break;
        case AUDIT_READ_REFUSED:
                add_formatted(text, "MESSAGE", "Refused %s to read %s: %s.", user, name, reason);
                break;
        case AUDIT_ACCESS_LOCKED:
                add_formatted(text, "MESSAGE", "Locked %s %s.", record->name ? "secret" : "user", record->name ? name : user);
                break;
        case AUDIT_ACCESS_UNLOCKED:
                add_formatted(text, "MESSAGE", "Unlocked %s %s.", record->name ? "secret" : "user", record->name ? name : user);
                break;
        case AUDIT_EVENT_COUNT:
                break;
        }
}

int audit_format(enum audit_event event, const struct audit_record *record, struct audit_text *text) {
        text->size = 0;
        add_field(text, "MESSAGE_ID", events[event].id);
        add_formatted(text, "PRIORITY", "%d", events[event].priority);
        add_field(text, "SYSLOG_IDENTIFIER", "keyrota");
        add_message(text, event, record);
        add_field(text, "KEYROTA_EVENT", events[event].name);
        add_field(text, "KEYROTA_VERDICT", events[event].verdict);
        add_field(text, "KEYROTA_ENVIRONMENT", record->environment);
        add_field(text, "KEYROTA_NAME", record->name);
        add_field(text, "KEYROTA_ALGORITHM", record->algorithm);
        add_kids(text, record->kids);
        if (record->generation > 0)
                add_formatted(text, "KEYROTA_GENERATION", "%" PRIu64, record->generation);
        add_field(text, "KEYROTA_UNIT", record->unit);
        add_field(text, "KEYROTA_INVOCATION_ID", record->invocation);
        add_field(text, "KEYROTA_CREDENTIAL", record->credential);
        add_field(text, "KEYROTA_REASON", record->reason);
        add_field(text, "KEYROTA_FILE", record->file);
        add_field(text, "KEYROTA_USER", record->user);
        add_field(text, "KEYROTA_SERVICE", record->service);
        add_field(text, "KEYROTA_TTY", record->tty);
        add_field(text, "KEYROTA_REMOTE_HOST", record->remote_host);
        if (record->audit_session > 0)
                add_formatted(text, "KEYROTA_AUDIT_SESSION", "%" PRIu32, record->audit_session);
        if (record->has_login_uid)
                add_formatted(text, "KEYROTA_LOGIN_UID", "%" PRIu32, (uint32_t) record->login_uid);
        if (record->has_uid)
                add_formatted(text, "KEYROTA_UID", "%" PRIu32, (uint32_t) record->uid);
        if (record->pid > 0)
                add_formatted(text, "OBJECT_PID", "%d", (int) record->pid);
        return text->size > sizeof(text->data) ? -EMSGSIZE : 0;
}

