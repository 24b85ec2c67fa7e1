#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the credential server has served is on record by unit and credential: with the invocation that the service manager
# gives that start, and with the generation that is published; for every kind of start. Never with another one, whatever
# happens to the server.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
wait_for_boot

environment_set testing
user_make somebody
SERVED=/run/keyrota/served
VERSION=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')

invocation() {
        systemctl show -P InvocationID "$1"
}

record() {
        cat "$SERVED/$1/key" 2>/dev/null
}

# The record is written just after the service has its credential.
record_is() {
        [[ $(record "$1") == "$2" ]]
}

# recorded DESCRIPTION UNIT FIRST [LAST]: a test: on record are the unit's present invocation and these generations.
recorded() {
        local wanted
        wanted="testing/session $(invocation "$2") $3 ${4-$3}"
        wait_for 10 record_is "$2" "$wanted" >/dev/null
        is "$1" "$(record "$2")" "$wanted"
}

# The generation that the kernel keyring shows, for UNIT as the policy names it.
published() {
        ring_header "unit:$1/key" | cut -d' ' -f3
}

# A program that moves an entry to its next generation, as a rotation that falls into a start would.
cat >/usr/local/bin/next-generation <<'END'
#!/bin/bash
entry=$(keyctl search "$(keyctl search @u keyring keyrota)" user "unit:$1/key") || exit
keyctl pipe "$entry" | python3 -c '
import sys
header, data = sys.stdin.buffer.read().split(b"\n", 1)
words = header.split(b" ")
words[2] = b"%d" % (int(words[2]) + 1)
sys.stdout.buffer.write(b" ".join(words) + b"\n" + data)' >"$2" || exit
keyctl pupdate "$entry" <"$2"
END
chmod 755 /usr/local/bin/next-generation

# ---- every kind of start -----------------------------------------------------------------------------------

sleeps="ExecStart=/bin/sleep infinity"
limit=('[Unit]' StartLimitIntervalSec=0 '[Service]')
leaves="ExecStart=/bin/sh -c 'sleep infinity & exec sleep infinity'"
unit_write plain.service Type=exec "$sleeps"
unit_write user.service Type=exec User=somebody "$sleeps"
unit_write dynamic.service Type=exec DynamicUser=yes "ExecStartPre=/bin/true" "$sleeps"
unit_write sandboxed.service Type=exec DynamicUser=yes ProtectSystem=strict PrivateUsers=yes PrivateMounts=yes ProtectProc=invisible "$sleeps"
unit_write oneshot.service Type=oneshot RemainAfterExit=yes "ExecStartPre=/bin/true" "ExecStart=/bin/true" "ExecStart=/bin/true"
unit_write delegated.service Type=exec Delegate=yes Slice=sliced-deep.slice "$sleeps"
unit_write gateway@.service Type=exec "$sleeps"
unit_write again.service "${limit[@]}" Type=exec Restart=always RestartSec=0 "ExecStartPre=/bin/true" "$sleeps"
unit_write direct.service "${limit[@]}" Type=exec Restart=always RestartMode=direct RestartSec=0 "ExecStartPre=/bin/true" "$sleeps"
unit_write leaves.service "${limit[@]}" Type=exec Restart=always RestartSec=0 KillMode=process "$leaves"
unit_write steps.service "${limit[@]}" Type=exec \
        "ExecStartPre=/bin/sh -c 'test ! -e $SCRATCH/step || next-generation steps.service $SCRATCH/entry'" "$sleeps"
unit_write stranger.service Type=exec "LoadCredential=key:$SOCKET" "$sleeps"
units=(plain.service user.service dynamic.service sandboxed.service oneshot.service delegated.service 'gateway@one.service'
        'gateway@two\x2dthree.service' again.service direct.service leaves.service steps.service)
if (( VERSION >= 260 )); then
        unit_write reloads.service Type=exec "$sleeps"
        units+=(reloads.service)
fi
policy_make session HS256 "$(for unit in "${units[@]}"; do
        case $unit in
                gateway@*) ;;
                reloads.service) deliver "$unit" sign key hex on_change=reload ;;
                *) deliver "$unit" sign key hex ;;
        esac
done; deliver gateway@.service sign key hex)"
ok "the policy is provisioned" keyrota provision
systemctl daemon-reload
ok "before any start there is no record" ! compgen -G "$SERVED/*/key"

ok "services of every kind start" systemctl start "${units[@]}"
for unit in "${units[@]}"; do
        recorded "$unit: on record with its invocation and the generation of the store" "$unit" "$(generation_of testing/session)"
done
is "that is the generation which the kernel keyring shows" "$(published plain.service)" "$(generation_of testing/session)"
ok "the template itself has no record" ! test -e $SERVED/gateway@.service
is "folders and files are for root alone" "$(find $SERVED -name '#*' -prune -o -printf '%y %U %G %m\n' | sort -u | paste -sd,)" "d 0 0 700,f 0 0 600"
refused "another user does not even see them" "Permission denied" as somebody ls $SERVED

start_fails_with_243 stranger.service
ok "a start that was refused is not on record" ! test -e $SERVED/stranger.service

systemctl restart "${units[@]}"
for unit in "${units[@]}"; do
        recorded "$unit: restarted, on record with the new invocation" "$unit" 1
done
systemctl stop plain.service
systemctl daemon-reexec
systemctl start plain.service
recorded "plain.service: stopped and started over a daemon-reexec" plain.service 1

# ---- restarts that nobody asked for ------------------------------------------------------------------------

# fails_and_returns UNIT: its main process is killed; the manager starts it again.
fails_and_returns() {
        local unit=$1 before
        before=$(invocation "$unit")
        systemctl kill --kill-whom=main --signal=KILL "$unit" || return
        wait_for 20 returned "$unit" "$before"
}

returned() {
        [[ $(invocation "$1") != "$2" && $(systemctl show -P SubState "$1") == running ]]
}

for unit in again.service leaves.service; do
        ok "$unit: killed, it returns by Restart=" fails_and_returns "$unit"
        recorded "... and is on record with the invocation of that" "$unit" 1
        systemctl daemon-reload
        ok "... and once more, after a daemon-reload" fails_and_returns "$unit"
        recorded "... and is on record with the invocation of that" "$unit" 1
done

# systemd 254 and newer do not set the link anew there, from which the server learns the invocation
before=$(invocation direct.service)
ok "direct.service: killed, it returns by Restart= with RestartMode=direct" fails_and_returns direct.service
systemctl start plain.service           # no matter: by then the record of the other is written
if (( VERSION < 254 )); then
        recorded "... which this version does not know: on record with the invocation of that" direct.service 1
else
        is "... and its record is not taken for one of this start" "$(record direct.service)" "testing/session $before 1 1"
fi
systemctl restart direct.service
recorded "... until it is restarted" direct.service 1

# ---- a generation that changes -----------------------------------------------------------------------------

: >"$SCRATCH/step"
systemctl restart steps.service
recorded "a rotation that falls into a start: both generations are on record" steps.service 1 2
rm "$SCRATCH/step"
systemctl restart steps.service
recorded "... and of the next start only the new one" steps.service 2

if (( VERSION >= 260 )); then
        systemctl start reloads.service
        recorded "a unit that takes new credentials with a reload: its start" reloads.service 1
        before=$(invocation reloads.service)
        next-generation reloads.service "$SCRATCH/entry"
        ok "... it is reloaded" systemctl reload reloads.service
        recorded "... and both generations are on record" reloads.service 1 2
        is "... of the same invocation" "$(invocation reloads.service)" "$before"
else
        skip "a unit that takes new credentials with a reload" "systemd $VERSION is older than 260"
fi

# ---- the server --------------------------------------------------------------------------------------------

before=$(record plain.service)
systemctl stop keyrota-credential.service
is "the records outlive the server" "$(record plain.service)" "$before"
systemctl restart plain.service
recorded "... and the next one goes on with them" plain.service 1
is "the server had nothing to complain of" "$(journalctl --no-pager -q -o cat -u keyrota-credential.service --grep 'cannot record')" ""

killed_twice() {
        [[ $(grep -c "killed KILL" "$SCRATCH/ends") == 2 ]]
}

# killed when the service has its credential and the record is about to be put in its place
server_traceable
systemctl stop keyrota-credential.service
trace_next -o /dev/null -e trace=renameat,renameat2 -e inject=renameat,renameat2:signal=KILL:when=1
: >"$SCRATCH/step"
ok "a server is killed between answer and record: the service starts" systemctl restart steps.service
ok "... (it was killed)" wait_for 10 grep -q "killed KILL" "$SCRATCH/ends"
recorded "... and the answer of the next server, of another generation, does not hide that one is missing" steps.service 0 3
rm "$SCRATCH/step"
systemctl restart steps.service
recorded "... which the next start makes good" steps.service 3

trace_next -o /dev/null -e trace=renameat,renameat2 -e inject=renameat,renameat2:signal=KILL:when=1
systemctl stop keyrota-credential.service
before=$(record plain.service)
ok "killed so in a start with one answer: the service starts" systemctl restart plain.service
ok "... (it was killed)" wait_for 10 killed_twice
is "... and what is on record is of the start before" "$(record plain.service)" "$before"
ok "... which is another one" test "$(cut -d' ' -f2 <<<"$before")" != "$(invocation plain.service)"
systemctl restart plain.service
recorded "... and the next start is on record again" plain.service 1

done_testing
