#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a host puts on record of users' copies: each change once, nothing where nothing changes, and no copy without a record where records are required. The host is a
# user namespace with folders, accounts, user keyrings and a journal's socket of its own, in which keyrota runs as on any other.

if [[ -z ${KEYROTA_TEST_HOST-} ]]; then
        (( EUID == 0 )) && unshare --user --mount true 2>/dev/null || { echo '1..0 # SKIP needs root and user namespaces'; exit 0; }
        HOST=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-test.XXXXXX")
        trap 'rm -rf "$HOST"' EXIT
        mkfifo "$HOST/entered" "$HOST/mapped"
        # The ids are the same inside; it is the parent that may say so.
        KEYROTA_TEST_HOST=$HOST unshare --user --mount -- "$BASH" -c \
                'echo >"$KEYROTA_TEST_HOST/entered"; read -r _ <"$KEYROTA_TEST_HOST/mapped"; exec "$BASH" "$0" "$@"' "$0" "$@" &
        read -r _ <"$HOST/entered"
        echo '0 0 65536' >"/proc/$!/uid_map" && echo '0 0 65536' >"/proc/$!/gid_map"
        echo >"$HOST/mapped"
        wait $!
        exit
fi

. "$(dirname "$0")/tap.sh" || exit 99
set -u -o pipefail
: "${KEYROTA:?is the program to test; run this with make check}"
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/sessions.sh"
JOURNAL_PID=
cleanup() {
        local status=$?
        trap - EXIT
        [[ -z $JOURNAL_PID ]] || kill "$JOURNAL_PID" 2>/dev/null
        sessions_cleanup
        exit $status
}
trap cleanup EXIT

mkdir "$KEYROTA_TEST_HOST/etc"
cp -a /etc/ld.so.cache /etc/machine-id "$KEYROTA_TEST_HOST/etc/"
[[ ! -e /etc/ssl/openssl.cnf ]] || install -D -m 0644 /etc/ssl/openssl.cnf "$KEYROTA_TEST_HOST/etc/ssl/openssl.cnf"
cp -p "$WORK"/{passwd,group,nsswitch.conf} "$KEYROTA_TEST_HOST/etc/"
mount --bind "$KEYROTA_TEST_HOST/etc" /etc && mount -t tmpfs -o mode=0755 tmpfs /run && mount -t tmpfs -o mode=0755 tmpfs /var/lib || bail_out 'no host of its own'
mkdir -p -m 0755 /var/lib/systemd /etc/keyrota/policy.d /run/systemd/journal
echo DEPLOYMENT=test >/etc/machine-info

run_folder() {
        echo /run/keyrota
}

live() {
        keyctl search @u keyring keyrota
}

policy() {
        cat >"/etc/keyrota/policy.d/$1.ini"
}

# ---- the journal --------------------------------------------------------------------------------------------------------

# Writes a line for each record: the event, then what is known, without "KEYROTA_" and what is always there.
journal() {
        exec python3 - <<'END'
import os, socket
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind("/run/systemd/journal/socket")
log = open(os.environ["KEYROTA_TEST_HOST"] + "/journal", "w", buffering=1)
while True:
    fields = dict(line.split("=", 1) for line in server.recv(65536).decode().splitlines())
    words = [fields[f"KEYROTA_{name}"] for name in ("EVENT", "NAME", "USER", "UID", "SERVICE", "TTY", "REMOTE_HOST", "GENERATION", "REASON") if f"KEYROTA_{name}" in fields]
    print(" ".join(words), file=log)
END
}

start_journal() {
        rm -f /run/systemd/journal/socket
        : >"$KEYROTA_TEST_HOST/journal"
        journal &
        JOURNAL_PID=$!
        until [[ -S /run/systemd/journal/socket ]]; do kill -0 "$JOURNAL_PID" || bail_out 'no journal'; read -r -t 0.02 _ <&"$NEVER"; done
}
mkfifo "$WORK/never"
exec {NEVER}<>"$WORK/never"

mark() {
        python3 -c 'import socket, sys
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(f"KEYROTA_EVENT={sys.argv[1]}\n".encode(), "/run/systemd/journal/socket")' "$1"
}

# records COMMAND...: runs it, and puts what it has on record of users into $RECORDS. Datagrams come in the order in which they were sent.
records() {
        mark "begin-$((++MARK))"
        "$@" >/dev/null 2>&1
        mark "end-$MARK"
        until [[ $(tail -n 1 "$KEYROTA_TEST_HOST/journal") == "end-$MARK" ]]; do read -r -t 0.02 _ <&"$NEVER"; done
        RECORDS=$(sed "1,/^begin-$MARK\$/d" "$KEYROTA_TEST_HOST/journal" | grep -E '^(copy|access)-' | sort)
}
MARK=0

web_policy() {
        policy web <<END
[secret]
algorithm = ES256
[access]
users = ${1:-alice}
END
}

start_journal
web_policy
ok 'secrets are made' "$KEYROTA" provision
who='alice 61201 sshd pts/7 192.0.2.1'
session a 61201 alice

# ---- each change once ---------------------------------------------------------------------------------------------------

records "$KEYROTA" provision
is 'a copy that an open session is given is a grant' "$RECORDS" "copy-granted web $who 1 the open session had none"
records "$KEYROTA" provision
is 'a run that changes nothing puts nothing on record' "$RECORDS" ''
records "$KEYROTA" rotate --now web
like 'a renewal is one' "$RECORDS" "^copy-renewed web $who [0-9]+\$"
web_policy bob
records "$KEYROTA" provision
is 'a removal says why' "$RECORDS" "copy-removed web $who the policy does not name the user any more"
web_policy
ok 'back' "$KEYROTA" provision
records "$KEYROTA" lock web
is 'a lock is one, and each removal' "$RECORDS" "access-locked web
copy-removed web $who the secret is locked"
records "$KEYROTA" unlock web
like 'as is what ends it' "$RECORDS" "^access-unlocked web
copy-granted web $who [0-9]+ the open session had none\$"
records "$KEYROTA" lock alice
is 'of a user' "$RECORDS" "access-locked alice
copy-removed web $who the user is locked"
records "$KEYROTA" unlock alice
like 'too' "$RECORDS" '^access-unlocked alice'
rm /etc/keyrota/policy.d/web.ini
records "$KEYROTA" provision
is 'a policy that is gone' "$RECORDS" "copy-removed web $who no policy gives it to users any more"
web_policy
ok 'back' "$KEYROTA" provision
edit_etc() {
        sed -i "$2" "/etc/$1"
}
edit_etc passwd '/^alice:/d'
records "$KEYROTA" provision
is 'an account that is gone' "$RECORDS" "copy-removed web $who there is no such account any more"
echo 'alice:x:61299:61299::/:/bin/sh' >>/etc/passwd
records "$KEYROTA" provision
is 'an account of another uid is not given any' "$RECORDS" ''
edit_etc passwd 's/^alice:.*/alice:x:61201:61201::\/:\/bin\/sh/'
ok 'back' "$KEYROTA" provision
is 'and held' "$(ask a list)" 'web'

# ---- no journal ---------------------------------------------------------------------------------------------------------

kill "$JOURNAL_PID"; wait "$JOURNAL_PID" 2>/dev/null
rm /run/systemd/journal/socket
serial=$(ask a serial web)
before=$(ask a read web)
"$KEYROTA" revoke --yes web >/dev/null 2>&1 # which fails, as here is no systemd to arm timers
ok 'without a journal copies are renewed' test "$before" != "$(ask a read web)"
is 'where records are not required' "$(ask a serial web) $(ask a read web | md5sum)" \
        "$serial $(keyctl pipe "$(keyctl search "$(live)" user secret:test/web/verify)" | tail -n +2 | { cat; echo; } | md5sum)"
like 'and that is noted' "$(</run/keyrota/audit/missing)" 'copy-renewed'
printf '[keyrota]\naudit = required\n' >/etc/keyrota/keyrota.conf
ok 'where they are, a run that changes nothing succeeds' "$KEYROTA" provision
is 'and leaves what is held' "$(ask a list)" 'web'
is 'a copy is destroyed' "$(ask a invalidate web)" 'done'
refused 'and not given again' 'web, in a session of alice \(sshd\): no copy, for it cannot be recorded in the journal' "$KEYROTA" provision
is 'before there is a journal' "$(ask a list)" ''
start_journal
ok 'then it is' "$KEYROTA" provision
is 'held again' "$(ask a list)" 'web'
kill "$JOURNAL_PID"; wait "$JOURNAL_PID" 2>/dev/null
rm /run/systemd/journal/socket
refused 'a lock is taken all the same, and that it is not on record is said' 'that web is locked cannot be recorded.* it is locked all the same' "$KEYROTA" lock web
is 'and its copies' "$(ask a list)" ''
refused 'but none is given up' 'web stays locked, for it cannot be recorded' "$KEYROTA" unlock web
is 'it is still there' "$("$KEYROTA" lock)" 'secret web'
start_journal
ok 'with a journal it is' "$KEYROTA" unlock web
rm /etc/keyrota/keyrota.conf

# ---- a keyring that is lost ---------------------------------------------------------------------------------------------

before=$(live)
keyctl unlink "$before" @u
while keyctl describe "$before" >/dev/null 2>&1; do read -r -t 0.02 _ <&"$NEVER"; done # the kernel collects it in its own time
edit_etc passwd '/^alice:/d'
records "$KEYROTA" provision
is 'copies of a live keyring that is gone are looked after, too' "$RECORDS" "copy-removed web $who there is no such account any more"
like 'with a new one' "$(live) $before" '^([0-9]+) [0-9]+$'

done_testing
