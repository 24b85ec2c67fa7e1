#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The audit records: one for each thing that keyrota does, with the fields of keyrota(8), explained in the catalog; what happens
# where the journal is gone or stuck; and that no record, nor anything else that others can see, has key bytes.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
wait_for_boot
rotation_off

SOURCE=/usr/src/keyrota

# records EVENT [MATCH...]: since the mark, as JSON, one a line.
records() {
        local event=$1
        shift
        journal --output=json --all _UID=0 SYSLOG_IDENTIFIER=keyrota KEYROTA_EVENT="$event" "$@"
}

# record DESCRIPTION EVENT FIELD=VALUE...: the last such record since the mark has these fields, `FIELD~REGEX` those that match.
record() {
        local description=$1 event=$2 found want field value problem=
        shift 2
        found=$(records "$event" | tail -n 1)
        [[ -n $found ]] || problem="there is none"
        for want; do
                field=${want%%[=~]*} value=$(jq -r --arg field "${want%%[=~]*}" '.[$field] // "(none)" | if type == "array" then join(",") else . end' <<<"$found")
                case $want in
                        "$field"=*) [[ $value == "${want#*=}" ]] || problem+="$field: $value, not ${want#*=}. " ;;
                        *) [[ $value =~ ${want#*'~'} ]] || problem+="$field: $value. " ;;
                esac
        done
        is "$description" "$problem" ""
}

environment_set production
user_make somebody
mkdir -p $POLICIES

# ---- what README.md says to do after make install ----------------------------------------------------------

sed -n '/^## Install/,/^## A first/p' $SOURCE/README.md | sed -n '/^    systemd-tmpfiles/,/^$/p' | sed 's/ *#.*//' >"$SCRATCH/install"
ok "(README.md tells what to run after make install)" grep -q systemctl "$SCRATCH/install"
ok "what README.md says to run after make install" sh -e "$SCRATCH/install"
for id in $(sed -n 's/^#define AUDIT_[A-Z_]*_ID "\([0-9a-f]*\)".*/\1/p' $SOURCE/src/audit.h); do
        like "the catalog explains $id" "$(journalctl --dump-catalog "$id" 2>/dev/null)" "Defined-By: keyrota"
done

# ---- one for each thing ------------------------------------------------------------------------------------

policy_make api HS256 "$(deliver api.service sign session.key hex)"
policy_make issuer ES384 "$(deliver issuer.service sign jwt.key pem)" "$(deliver verifier@.service verify issuer.jwks jwks)"
for unit in api.service issuer.service verifier@.service; do
        consumer_write $unit User=somebody
done
systemctl daemon-reload
journal_mark
keyrota provision
is "a key made: a record for each" "$(records key-created | jq -r .KEYROTA_NAME | sort | paste -sd' ')" "api issuer"
kid=$(keyrota read issuer --use=sign --format=jwk | jq -r .kid)
record "a key made: what it tells" key-created MESSAGE_ID=db49f3fffd024d0da147b14e3454a094 KEYROTA_VERDICT=done \
        KEYROTA_ENVIRONMENT=production KEYROTA_NAME=issuer KEYROTA_ALGORITHM=ES384 "KEYROTA_KID=$kid" PRIORITY=6 _UID=0
is "a generation stored: a record for each" "$(records secret-committed | jq -r '"\(.KEYROTA_NAME):\(.KEYROTA_GENERATION)"' | sort | paste -sd' ')" "api:1 issuer:1"
record "a generation stored: what it tells" secret-committed MESSAGE_ID=e157d1388eca47d8af7c87453842775e KEYROTA_VERDICT=done \
        KEYROTA_ENVIRONMENT=production KEYROTA_NAME=issuer "KEYROTA_KID=$kid" KEYROTA_GENERATION=1
is "the key's record comes first" \
        "$(journal -o cat --output-fields=KEYROTA_EVENT _UID=0 KEYROTA_NAME=issuer SYSLOG_IDENTIFIER=keyrota | head -n 2 | paste -sd' ')" \
        "key-created secret-committed"

journal_mark
systemctl start verifier@one.service
record "a credential served: what it tells" credential-served MESSAGE_ID=b0dde88bee1b4e1ab3e3b3fc408a8cb9 KEYROTA_VERDICT=granted \
        KEYROTA_UNIT=verifier@one.service KEYROTA_CREDENTIAL=issuer.jwks KEYROTA_NAME=issuer KEYROTA_GENERATION=1 "KEYROTA_KID=$kid" \
        "KEYROTA_INVOCATION_ID=$(systemctl show -P InvocationID verifier@one.service)" KEYROTA_UID=0 'OBJECT_PID~^[0-9]+$' \
        OBJECT_SYSTEMD_UNIT=verifier@one.service
like "... and how the catalog puts it" "$(journal -x _UID=0 KEYROTA_EVENT=credential-served)" \
        "Credential issuer\.jwks served to verifier@one\.service"

consumer_make stranger.service LoadCredential=session.key:$SOCKET
journal_mark
start_fails_with_243 stranger.service
record "a credential refused: what it tells" credential-refused MESSAGE_ID=21d0f0e0f4e6414e8f06517b28608a0d KEYROTA_VERDICT=refused \
        KEYROTA_UNIT=stranger.service KEYROTA_CREDENTIAL=session.key 'KEYROTA_INVOCATION_ID~^[0-9a-f]{32}$' \
        'KEYROTA_REASON~no policy delivers it to this unit' KEYROTA_UID=0 PRIORITY=4

journal_mark
keyrota read issuer --use=sign --format=jwk >/dev/null
record "a secret read: what it tells" secret-read MESSAGE_ID=7362d735d31148809c72ac58066e26dd KEYROTA_VERDICT=granted \
        KEYROTA_NAME=issuer KEYROTA_GENERATION=1 "KEYROTA_KID=$kid" KEYROTA_UID=0 'OBJECT_PID~^[0-9]+$'

journal_mark
sed -i 's/ES384/ES385/' $POLICIES/issuer.ini
keyrota provision 2>/dev/null
record "a policy refused: what it tells" policy-refused MESSAGE_ID=f2422e15d97b4706b3b3a08be475599f KEYROTA_VERDICT=refused \
        KEYROTA_NAME=issuer KEYROTA_FILE=$POLICIES/issuer.ini 'KEYROTA_REASON~issuer\.ini:2: .*ES385' PRIORITY=3
sed -i 's/ES385/ES384/' $POLICIES/issuer.ini

journal_mark
cp -p $STORE/production/api.jwe "$SCRATCH/"
truncate -s -1 $STORE/production/api.jwe
keyrota provision 2>/dev/null
record "a stored file refused: what it tells" store-refused MESSAGE_ID=467db4548b4646bc9f388fad31a61646 KEYROTA_VERDICT=refused \
        KEYROTA_NAME=api KEYROTA_ENVIRONMENT=production KEYROTA_FILE=$STORE/production/api.jwe 'KEYROTA_REASON~restore it from a backup'
cp -p "$SCRATCH/api.jwe" $STORE/production/

journal_mark
keyrota provision
is "nothing to do: no record" "$(journal -o cat SYSLOG_IDENTIFIER=keyrota)" ""

journalctl --sync
undocumented=
for field in $(journalctl -b -o json SYSLOG_IDENTIFIER=keyrota | jq -r 'keys[] | select(startswith("KEYROTA_"))' | sort -u); do
        grep -q "$field" $SOURCE/man/keyrota.8 || undocumented+=" $field"
done
is "keyrota(8) names every field" "$undocumented" ""
events=$(sed -n '/^\.SH "AUDIT RECORDS"/,/^\.PD$/p' $SOURCE/man/keyrota.8 | tr -d '\\' | sed -n 's/^\.B \([a-z-]*\)$/\1/p')
seen=$(journalctl -b -o json SYSLOG_IDENTIFIER=keyrota | jq -r '.KEYROTA_EVENT // empty' | sort -u)
is "keyrota(8) names every event that has been seen" "$(comm -23 <(printf '%s\n' "$seen") <(sort <<<"$events"))" ""
is "... and these have been" "$(comm -12 <(printf '%s\n' "$seen") <(printf '%s\n' credential-{refused,served} key-created policy-refused secret-{committed,read} store-refused) | wc -l)" 7

# ---- without a journal -------------------------------------------------------------------------------------

# What fails here must not ask the journal why.
journal_units=(systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service)
journal_stop() {
        systemctl stop "${journal_units[@]}" 2>/dev/null
        rm -f /run/systemd/journal/{socket,dev-log}
}
journal_start() {
        systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service
        systemctl reset-failed
        journalctl --sync
}
audit_set() {
        printf '%s\n' '[keyrota]' "audit = $1" >/etc/keyrota/keyrota.conf
        keyrota provision
}
start_of() {
        systemctl reset-failed "$1" 2>/dev/null
        systemctl stop "$1"
        rm -f "$SCRATCH/credentials/$1.tar"
        timeout 60 systemctl start "$1" 2>/dev/null
        echo "$? $(unit_status "$1") $(tar -tf "$SCRATCH/credentials/$1.tar" 2>/dev/null | grep -c key)"
}
missing() {
        keyrota status --json | jq .records_missing
}

ok "(audit = required is taken)" audit_set required
is "required, with a journal: a service starts" "$(start_of api.service)" "0 0 1"
policy_make new EdDSA "$(deliver new.service sign new.key pem)"
consumer_make new.service
is "no record is missing" "$(missing)" 0

journal_stop
no_key=$(keyrota provision 2>&1) no_key_status=$?
no_key_stored=$(ls $STORE/production)
no_start=$(start_of api.service)
no_new_start=$(start_of new.service)
no_read=$(keyrota read api 2>&1) no_read_status=$?
missing_required=$(missing) says_required=$(keyrota status)
journal_start
is "required, without a journal: no key is made" "$no_key_status $no_key_stored" "1 api.jwe"$'\n'"issuer.jwe"
like "... and told why" "$no_key" "no key is made, for its creation cannot be recorded in the journal .* and keyrota\.conf says audit = required"
is "... a service is refused: 243" "$no_start" "1 243 0"
is "... also the one whose key was not made" "$no_new_start" "1 243 0"
is "... nothing is read" "$no_read_status" 1
like "... and told why" "$no_read" "not read, for that cannot be recorded in the journal"
ok "... status counts the records that are missing" test "$missing_required" -ge 3
like "... in words, too" "$says_required" "[0-9]+ audit records could not be written to the journal since boot"
ok "... and all goes on once there is a journal again" test "$(start_of api.service) $(start_of new.service)" = "0 0 1 0 0 1"

ok "(audit = best-effort is taken)" audit_set best-effort
policy_make newer EdDSA "$(deliver newer.service sign newer.key pem)"
consumer_make newer.service
journal_stop
before=$(missing)
served=$(start_of newer.service)
read_status=$(keyrota read newer >/dev/null 2>&1; echo $?)
after=$(missing)
journal_start
is "best-effort, without a journal: a key is made, and a service starts with it" "$served" "0 0 1"
is "... a secret is read" "$read_status" 0
is "... a record is missing for each of these, and what it was is noted" \
        "$(tail -n +$((before + 1)) /run/keyrota/audit/missing | sed -n 's|^[0-9]* \([a-z-]*\) production/newer .*|\1|p' | paste -sd' ')" \
        "key-created secret-committed credential-served secret-read"
is "... status counts them" $((after - before)) 4
ok "... the notes are root's alone" test "$(stat -c '%a %U' /run/keyrota/audit/missing)" = "600 root"
journal_mark
systemctl restart api.service
record "... the next record is written again" credential-served KEYROTA_UNIT=api.service

# ---- with a journal that is stuck ------------------------------------------------------------------------------

# Stops journald and fills its socket.
journal_stick() {
        journalctl --sync
        systemctl kill --signal=STOP systemd-journald.service
        timeout 30 python3 - <<'PYTHON'
import socket
senders = []                            # each has room for some
while True:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    sender.connect("/run/systemd/journal/socket")
    senders.append(sender)
    sent = 0
    try:
        while True:
            sender.send(b"MESSAGE=to fill the queue\n")
            sent += 1
    except BlockingIOError:
        if sent == 0:
            break
print("full")
PYTHON
}
journal_unstick() {
        systemctl kill --signal=CONT systemd-journald.service
        journalctl --sync
}

stuck=$(journal_stick)
served=$(start_of api.service)
read_status=$(timeout 30 keyrota read api >/dev/null 2>&1; echo $?)
journal_unstick
is "(the journal's queue is full)" "$stuck" full
is "best-effort, a journal that is stuck: a service starts with its credential" "$served" "0 0 1"
is "... a secret is read" "$read_status" 0

# Takes some twenty seconds: systemd's own child, about to say that it has no credential, waits ten for each message.
audit_set required
stuck=$(journal_stick)
refused=$(start_of api.service)
policy_make newest HS256 "$(deliver newest.service sign newest.key hex)"
made=$(timeout 60 keyrota provision 2>&1; echo $?)
journal_unstick
is "(the journal's queue is full)" "$stuck" full
is "required, a journal that is stuck: a service is refused, and not held up" "$refused" "1 243 0"
like "... nor is a key made" "$made" "no key is made.*1$"
ok "... all goes on when it is not stuck any more" test "$(start_of api.service)" = "0 0 1"
audit_set best-effort

# ---- no key bytes -----------------------------------------------------------------------------------------------

for name in $(keyrota status --json | jq -r '.secrets[].name'); do
        keyrota read "$name" --use=sign --format=jwk --newline
done >"$SCRATCH/keys"
systemd-creds decrypt --name=keyrota-kek $STORE/kek.cred - 2>/dev/null >>"$SCRATCH/keys"
echo >>"$SCRATCH/keys"
search() {
        "$SOURCE/tests/memory-search.py" "$@" <"$SCRATCH/keys"
}
ok "(the search finds the keys where they are)" ! search "$SCRATCH/keys" "$SCRATCH/credentials/api.service.tar"
for name in $(keyrota status --json | jq -r '.secrets[].name'); do
        echo "$name"
done | sort >"$SCRATCH/names"
ok "(keys of several kinds are there)" test "$(wc -l <"$SCRATCH/names")" -ge 5

strace -f -qq -v -s 65536 -e trace=execve -o "$SCRATCH/execve" keyrota provision --replace=api --replace=issuer 2>/dev/null
for name in api issuer; do
        keyrota read "$name" --use=sign --format=jwk --newline
done >>"$SCRATCH/keys"
like "(keyrota provision starts systemd-creds)" "$(cat "$SCRATCH/execve")" "systemd-creds"
systemctl restart api.service issuer.service verifier@one.service
journalctl --sync
journalctl --output=export --all >"$SCRATCH/journal"
ok "no key bytes in the journal" search "$SCRATCH/journal" /var/log/journal/*/*.journal
ok "no key bytes in arguments and environments of what keyrota starts" search "$SCRATCH/execve"
cat /proc/[0-9]*/{cmdline,environ,comm} >"$SCRATCH/processes" 2>/dev/null
ok "... nor of any process" search "$SCRATCH/processes"
ok "... nor in its output" sh -c '! keyrota status --json | grep -q "\"k\"\|\"d\""'
ok "no key bytes below /run/keyrota, /etc and /var/lib/keyrota" \
        search $(find /run/keyrota /var/lib/keyrota /etc -type f ! -name '*.socket')

done_testing
