#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Handovers: running services are restarted, reloaded or sent a signal when what they hold is not what is published, in the
# right order and not more at once than may be; what they hold is seen from what they were served; what fails is said, holds
# the rotation back and is tried again. By tests/unit/handover-tool, without a rotation.
# timeout: 400

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
wait_for_boot

SOURCE=/usr/src/keyrota
TOOL=$SOURCE/tests/unit/handover-tool

# No rotation of their own while these tests say who holds what.
systemctl mask --runtime --now keyrota-rotate.timer keyrota-rotate.path keyrota-rotate.service 2>/dev/null

# over NAME [WHEN]: hands over; DONE FAILED WAITING. What it said is in $SCRATCH/said.
over() {
        timeout 120 "$TOOL" "$1" over "${@:2}" 2>"$SCRATCH/said"
}

# held NAME: UNIT STATE LOADED WANTED of each consumer, and the oldest generation that verifiers and signers have.
held() {
        timeout 60 "$TOOL" "$1" show
}

# of NAME UNIT: STATE LOADED WANTED [stale], or nothing.
of() {
        held "$1" | awk -v unit="$2" '$1 == unit { $1 = ""; print substr($0, 2) }'
}

# oldest NAME: VERIFIERS SIGNERS
oldest() {
        held "$1" | tail -n 1
}

publish() {
        "$TOOL" "$1" publish "${@:2}"
}

problem() {
        "$TOOL" "$1" problem "$2"
}

said() {
        grep -Eq -- "$1" "$SCRATCH/said" || { cat "$SCRATCH/said"; return 1; }
}

invocation() {
        systemctl show -P InvocationID "$1"
}

# invocations UNIT...
invocations() {
        local unit
        for unit; do
                invocation "$unit"
        done
}

# service UNIT [LINE...]: one that keeps its credentials and stays up.
service() {
        unit_write "$1" '[Unit]' StartLimitIntervalSec=0 '[Service]' Type=oneshot RemainAfterExit=yes ExecStart=/bin/true "${@:2}"
}

# listener UNIT SIGNAL [LINE...]: one with a main process, which notes each SIGNAL in $SCRATCH/signals/UNIT and goes on.
listener() {
        unit_write "$1" '[Unit]' StartLimitIntervalSec=0 '[Service]' Type=notify NotifyAccess=all \
                "ExecStart=/bin/bash -c 'trap \"echo >>$SCRATCH/signals/%n\" $2; sleep infinity & systemd-notify --ready; while :; do wait; done'" "${@:3}"
}

# signals UNIT: how many it has noted. A signal may be on its way.
signals() {
        grep -c '' "$SCRATCH/signals/$1" || :
}

has_signals() {
        [[ $(signals "$1") == "$2" ]]
}

# before DESCRIPTION UNIT OTHER: UNIT was up again before OTHER was begun to be restarted.
before() {
        local up down
        up=$(when "$2" ActiveEnter) down=$(when "$3" InactiveExit)
        ok "$1" test "$up" -gt 0 -a "$up" -le "$down"
}

mkdir -p "$SCRATCH/signals"
touch "$SCRATCH/signals/"{reader,reloader,ending,deaf@1,deaf@2}.service
environment_set production
ok "(the tool is built)" make -s -C $SOURCE tests/unit/handover-tool || exit

# ---- who holds what ----------------------------------------------------------------------------------------

policy_make billing ES256 "$(deliver issuer.service sign jwt.key pem)" \
        "$(deliver gateway@.service verify jwks jwks)" \
        "$(deliver gateway@3.service verify own.jwks jwks)" \
        "$(printf '%s\n' '[deliver:reader.service]' 'use = verify' 'on_change = signal:HUP')" \
        "$(printf '%s\n' '[deliver:reloader.service]' 'use = verify' 'on_change = reload')" \
        "$(printf '%s\n' '[deliver:idle.service]' 'use = verify' 'on_change = none')" \
        "$(deliver manual.service verify jwks jwks 'on_change = none')"
for unit in issuer.service gateway@.service idle.service manual.service; do
        service $unit
done
listener reader.service HUP
listener reloader.service HUP "ExecReload=/bin/sh -c 'test ! -e $SCRATCH/no-reload'"
systemctl daemon-reload
keyrota provision
units=(gateway@1.service gateway@2.service gateway@3.service idle.service issuer.service manual.service reader.service reloader.service)
is "nothing runs: nobody holds anything" "$(held billing)" "all all"
systemctl start "${units[@]}"
first=$(generation_of production/billing)
is "every running one holds what it was served" "$(held billing | grep -c " running $first ")" 8
is "... verifiers before signers" "$(held billing | tail -n 2 | cut -d' ' -f1)" $'issuer.service\n'"$first"
is "... so that nothing is to do" "$(over billing)" "0 0 0"

second=$(publish billing verify)
is "the set changed: its verifiers hold an old one" "$(held billing | grep stale | cut -d' ' -f1 | sort | paste -sd' ')" \
        "gateway@1.service gateway@2.service gateway@3.service manual.service reader.service reloader.service"
is "... the signer has no need of it" "$(of billing issuer.service)" "running $first $first"
is "... a reader that looks by itself holds it" "$(of billing idle.service)" "running $second $second"
is "... and nobody knows what readers hold that are told" "$(of billing reader.service)" "running 0 $second stale"
is "... which is what the lifecycle goes by" "$(oldest billing)" "0 $first"

# ---- in order ----------------------------------------------------------------------------------------------

third=$(publish billing verify sign)
mapfile -t old < <(invocations "${units[@]}")
journal_mark
is "handed over: six units; the seventh is left to the administrator" "$(over billing)" "6 0 1"
ok "... each is told" said "gateway@2.service: restarted with generation $third of production/billing"
ok "... with what was done to it" said "reader.service: sent SIGHUP for generation $third of production/billing"
ok "... by on_change" said "reloader.service: reloaded with generation $third of production/billing"
mapfile -t new < <(invocations "${units[@]}")
for i in 0 1 2 4; do
        ok "... ${units[i]} was restarted" test "${old[i]}" != "${new[i]}"
        is "... and holds what is published" "$(of billing "${units[i]}" | cut -d' ' -f1-2)" "running $third"
done
for i in 3 5 6 7; do
        is "... ${units[i]} was not" "${new[i]}" "${old[i]}"
done
before "... an instance only when the one before was up" gateway@1.service gateway@2.service
before "... the one with a section of its own too" gateway@2.service gateway@3.service
before "... the signer after the verifiers" gateway@3.service issuer.service
ok "... the signal has come" wait_for 20 has_signals reader.service 1
is "... its sender counts it as loaded" "$(of billing reader.service)" "running $third $third"
is "... a reload, too" "$(of billing reloader.service)" "running $third $third"
is "... the one left to the administrator holds the old one" "$(of billing manual.service)" "running $first $third stale"
is "... and holds back" "$(oldest billing)" "$first $third"
like "... which can be asked" "$(problem billing manual.service)" "has to be restarted by hand, as on_change = none"
is "... it is still so the next time" "$(over billing)" "0 0 1"
is "a record of each" "$(journal --output=json _UID=0 KEYROTA_EVENT=unit-handed-over | jq -r '[.KEYROTA_UNIT, .KEYROTA_REASON, .KEYROTA_GENERATION, .KEYROTA_NAME, .KEYROTA_VERDICT] | join(" ")' | sort)" \
        "gateway@1.service restarted $third billing done
gateway@2.service restarted $third billing done
gateway@3.service restarted $third billing done
issuer.service restarted $third billing done
reader.service sent SIGHUP $third billing done
reloader.service reloaded $third billing done"
is "... with the new invocation" "$(journal --output=json KEYROTA_EVENT=unit-handed-over KEYROTA_UNIT=issuer.service | jq -r .KEYROTA_INVOCATION_ID)" "$(invocation issuer.service)"
systemctl restart manual.service
is "restarted by the administrator, it holds it" "$(of billing manual.service)" "running $third $third"
is "... nothing is to do" "$(over billing)" "0 0 0"
is "... and there is no problem any more" "$(problem billing manual.service)" ""
ok "... nor anything remembered" test ! -e /run/keyrota/handover/production:billing

# one after another, seen while the first is on its way
hold gateway@1.service
mapfile -t old < <(invocations gateway@2.service gateway@3.service)
publish billing verify >/dev/null
over billing >"$SCRATCH/result" &
ok "while the first instance is on its way up" wait_for_unit 30 gateway@1.service activating
is "... the others are as they were" "$(invocations gateway@2.service gateway@3.service)" "$(printf '%s\n' "${old[@]}")"
is "... and have nothing before them" "$(systemctl list-jobs --plain --no-legend | grep -c 'gateway@[23]')" 0
refused "... another handover of the secret does not begin" "process [0-9]+ is handing production/billing over to its services; try again when it has ended" \
        "$TOOL" billing over
release gateway@1.service
wait $!
is "... then they follow" "$(cat "$SCRATCH/result")" "5 0 1"
before "... one after another" gateway@1.service gateway@2.service
systemctl restart manual.service

# ---- stopped and failed ------------------------------------------------------------------------------------

systemctl stop gateway@1.service
systemctl kill --signal=KILL reader.service
wait_for_unit 20 reader.service failed
publish billing verify >/dev/null
is "a unit stopped by the administrator, or failed by itself, is no consumer" "$(of billing gateway@1.service)$(of billing reader.service)" ""
is "... and not handed over" "$(over billing)" "3 0 1"
is "... nor started" "$(systemctl show -P ActiveState gateway@1.service reader.service | grep . | paste -sd' ')" "inactive failed"
touch "$SCRATCH/no-reload"
fourth=$(publish billing verify)
is "a reload that fails is one handover that failed" "$(over billing)" "2 1 1"
ok "... and is said with what to look at" said "warning: reloader.service: could not be reloaded with generation $fourth of production/billing: .*; see systemctl status reloader.service"
like "... and remembered" "$(problem billing reloader.service)" "could not be reloaded with generation $fourth"
ok "... it runs with the old one" test "$(of billing reloader.service)" = "running $((fourth - 1)) $fourth stale"
rm "$SCRATCH/no-reload"
is "... until it is not" "$(over billing)" "1 0 1"
is "... which forgets it" "$(problem billing reloader.service)" ""

policy_make fragile ES256 "$(deliver fragile@.service verify jwks jwks)" "$(deliver signer.service sign jwt.key pem)"
service fragile@.service "ExecStartPre=/bin/sh -c 'test ! -e $SCRATCH/broken'"
service signer.service '[Unit]' RefuseManualStop=yes
systemctl daemon-reload
keyrota provision
systemctl start fragile@1.service fragile@2.service fragile@3.service signer.service
touch "$SCRATCH/broken"
wanted=$(publish fragile verify sign)
mapfile -t old < <(invocations fragile@2.service fragile@3.service)
journal_mark
is "an instance that does not start again, and a unit that refuses: failed; the other instances stay up" "$(over fragile)" "0 2 2"
is "... with what they had" "$(invocations fragile@2.service fragile@3.service)" "$(printf '%s\n' "${old[@]}")"
ok "... it is said" said "warning: fragile@1.service: could not be restarted with generation $wanted of production/fragile: .*; see systemctl status fragile@1.service"
ok "... of the other, too" said "warning: signer.service: could not be restarted with generation $wanted .*refuse"
is "... with a record of each" "$(journal --output=json _UID=0 KEYROTA_EVENT=handover-failed | jq -r '.KEYROTA_UNIT + " " + .KEYROTA_VERDICT' | paste -sd,)" \
        "fragile@1.service failed,signer.service failed"
is "... the one that is down holds back" "$(of fragile fragile@1.service)" "failed 0 $wanted stale"
is "... as one of which nothing is known" "$(oldest fragile)" "0 $((wanted - 1))"
like "... which can be asked" "$(problem fragile fragile@1.service)" "could not be restarted with generation $wanted of production/fragile"
like "... of the others, too" "$(problem fragile fragile@2.service)" "is kept running as it is"
is "... it is tried again, and no other is taken down" "$(over fragile)" "0 2 2"
is "... by its name" "$(systemctl show -P ActiveState fragile@1.service fragile@2.service fragile@3.service | grep . | paste -sd' ')" "failed active active"
like "... and counted" "$(cat /run/keyrota/handover/production:fragile)" "^fragile@1.service [0-9]+ 2 $wanted - "
rm "$SCRATCH/broken"
sed -i /RefuseManualStop/d /etc/systemd/system/signer.service
systemctl daemon-reload
is "recovered: it is started, the others follow, and so does the one that refused" "$(over fragile)" "4 0 0"
ok "... it is said" said "fragile@1.service: started with generation $wanted of production/fragile"
is "... and all hold it" "$(oldest fragile)" "$wanted $wanted"
ok "... nothing is remembered" test ! -e /run/keyrota/handover/production:fragile

touch "$SCRATCH/broken"
publish fragile verify >/dev/null
over fragile >/dev/null
systemctl reset-failed fragile@1.service
is "given up by the administrator, it holds nothing back" "$(of fragile fragile@1.service)" ""
is "... and is not tried again; the next one is" "$(over fragile)" "0 1 1"
is "... as it is no problem any more" "$(problem fragile fragile@1.service)" ""
systemctl reset-failed fragile@2.service
rm "$SCRATCH/broken"
over fragile >/dev/null

mkdir -p /etc/systemd/system/fragile@3.service.d
printf '%s\n' '[Service]' Restart=on-failure RestartSec=1h >/etc/systemd/system/fragile@3.service.d/restart.conf
systemctl daemon-reload
touch "$SCRATCH/broken"
wanted=$(publish fragile verify)
is "one that systemd is to start again fails" "$(over fragile)" "0 1 0"
is "... it waits for that" "$(systemctl show -P SubState fragile@3.service)" auto-restart
is "... and holds back meanwhile" "$(of fragile fragile@3.service)" "restarting 0 $wanted stale"
is "... is not touched" "$(over fragile)" "0 1 0"
is "... and waits on" "$(systemctl show -P SubState fragile@3.service)" auto-restart
ok "... which is said" said "warning: fragile@3.service: has failed since it was handed production/fragile, .*systemctl reset-failed fragile@3.service"
like "... and can be asked" "$(problem fragile fragile@3.service)" "waits for its next automatic start"
rm "$SCRATCH/broken"
systemctl restart fragile@3.service
is "... until it runs" "$(of fragile fragile@3.service)" "running $wanted $wanted"
is "... and nothing is to do" "$(over fragile)" "0 0 0"

# killed while a unit is on its way up, which then fails
hold fragile@3.service "ExecStartPre=/bin/false"
rm /etc/systemd/system/fragile@3.service.d/restart.conf
systemctl daemon-reload
wanted=$(publish fragile verify)
"$TOOL" fragile over >/dev/null 2>&1 &
ok "while a unit is on its way up" wait_for_unit 30 fragile@3.service activating
kill -KILL $!
wait $! 2>/dev/null
timeout 20 sh -c "echo go >/run/hold-fragile@3.service"
ok "... keyrota is killed, and then the unit fails" wait_for_unit 30 fragile@3.service failed
is "... that holds back all the same" "$(of fragile fragile@3.service)" "failed 0 $wanted stale"
release fragile@3.service
is "... and it is started again" "$(over fragile)" "1 0 0"

# ---- at once -----------------------------------------------------------------------------------------------

policy_make fleet ES256 "$(deliver fleet@.service verify jwks jwks 'max_unavailable = 2')"
service fleet@.service
systemctl daemon-reload
keyrota provision
systemctl start fleet@{1,2,3,4}.service
hold fleet@1.service
hold fleet@2.service
publish fleet verify >/dev/null
mapfile -t old < <(invocations fleet@3.service fleet@4.service)
over fleet >"$SCRATCH/result" &
ok "max_unavailable = 2: one instance is on its way up" wait_for_unit 30 fleet@1.service activating
ok "... and another one" wait_for_unit 30 fleet@2.service activating
is "... the others are as they were" "$(invocations fleet@3.service fleet@4.service)" "$(printf '%s\n' "${old[@]}")"
release fleet@1.service
ok "... as long as one of the two is not up" unit_is fleet@2.service activating
is "... and have nothing before them" "$(systemctl list-jobs --plain --no-legend | grep -c 'fleet@[34]')" 0
release fleet@2.service
wait $!
is "... then they follow" "$(cat "$SCRATCH/result")" "4 0 0"
before "... after both" fleet@1.service fleet@3.service
before "... of them" fleet@2.service fleet@4.service

policy_make session HS256 "$(deliver front.service sign key hex)" "$(deliver back@.service verify key hex)"
service front.service
service back@.service
systemctl daemon-reload
keyrota provision
systemctl start front.service back@1.service back@2.service
for unit in front.service back@1.service back@2.service; do
        hold $unit
done
wanted=$(publish session sign)
over session >"$SCRATCH/result" &
for unit in front.service back@1.service back@2.service; do
        ok "one key for signing and verifying: $unit is on its way up while the others are" wait_for_unit 30 $unit activating
done
for unit in front.service back@1.service back@2.service; do
        release $unit
done
wait $!
is "... all of them with one handover" "$(cat "$SCRATCH/result")" "3 0 0"
is "... and none holds another key" "$(oldest session)" "all $wanted"

# ---- signals to those with a credential --------------------------------------------------------------------

policy_make signalled ES256 "$(deliver ending.service verify jwks jwks 'on_change = signal:TERM')" \
        "$(deliver deaf@.service verify jwks jwks 'on_change = signal:USR1')"
listener ending.service HUP Restart=always RestartSec=0
listener deaf@.service USR1
systemctl daemon-reload
keyrota provision
systemctl start ending.service deaf@1.service deaf@2.service
ending=$(invocation ending.service)
wanted=$(publish signalled verify)
is "a signal to each that has a credential, but to one instance at a time" "$(over signalled)" "2 0 1"
ended() {
        [[ $(invocation ending.service) != "$ending" ]] && unit_is ending.service active
}
ok "one that ends by it is started again" wait_for 30 ended
is "... and then holds what is published" "$(of signalled ending.service)" "running $wanted $wanted"
is "one that hears it and does nothing, does not" "$(of signalled deaf@1.service)" "running $((wanted - 1)) $wanted stale"
is "... it is waited for" "$(over signalled)" "0 0 2"
is "... and again" "$(over signalled)" "0 0 2"
ok "... the signal has come" wait_for 20 has_signals deaf@1.service 1
is "... and is not sent again" "$(signals deaf@1.service) $(signals deaf@2.service)" "1 0"
like "... which can be asked" "$(problem signalled deaf@1.service)" "was sent its signal, and has not fetched its credential since"
systemctl restart deaf@1.service
is "restarted, it holds it, and the next one is sent the signal" "$(over signalled)" "1 0 0"
ok "... which comes" wait_for 20 has_signals deaf@2.service 1
publish signalled verify >/dev/null
is "with another generation it is sent anew" "$(over signalled)" "2 0 1"
ok "... to the one that has not fetched the former" wait_for 20 has_signals deaf@2.service 2

# ---- without a record --------------------------------------------------------------------------------------

service late.service
systemctl daemon-reload
systemctl start late.service
policy_make late ES256 "$(deliver late.service verify jwks jwks)"
keyrota provision
is "a unit that was started before its policy was there holds nothing" "$(held late)" "all all"
is "... and is left alone" "$(over late)" "0 0 0"
systemctl daemon-reload
wanted=$(generation_of production/late)
is "with its drop-in in effect it should hold something" "$(of late late.service)" "running 0 $wanted stale"
is "... and is given it" "$(over late)" "1 0 0"
is "... as its record says" "$(of late late.service)" "running $wanted $wanted"

service unrecorded@.service
systemctl daemon-reload
systemctl start unrecorded@{1..3}.service
policy_make unrecorded ES256 "$(deliver unrecorded@.service verify jwks jwks)
on_change = none"
keyrota provision
systemctl daemon-reload
strace -qq -f -o "$SCRATCH/trace" -e trace=nanosleep,clock_nanosleep "$TOOL" unrecorded over >"$SCRATCH/over" 2>/dev/null
is "several without a record are not restarted by hand" "$(cat "$SCRATCH/over")" "0 0 3"
is "... and were given the time for it together, not each" "$(grep -c 'tv_nsec=20000000' "$SCRATCH/trace")" 100

mkdir -p /etc/systemd/system/keyrota-credential.service.d
printf '%s\n' '[Service]' InaccessiblePaths=/run/keyrota/served \
        >/etc/systemd/system/keyrota-credential.service.d/no-record.conf
systemctl daemon-reload
systemctl stop keyrota-credential.service
wanted=$(publish late verify)
is "a start whose credential is not put on record" "$(over late)" "1 0 0"
is "... counts all the same, as it began after the publication" "$(of late late.service)" "running $wanted $wanted"
rm /etc/systemd/system/keyrota-credential.service.d/no-record.conf
systemctl daemon-reload
systemctl stop keyrota-credential.service

# ---- windows -----------------------------------------------------------------------------------------------

sunday=$(date -d '2023-01-01 03:00' +%s) monday=$(date -d '2023-01-02 03:00' +%s)
printf '%s\n' '[rotation]' 'window = Sun 02:00-04:00' >>"$POLICIES/late.ini"
publish late verify >/dev/null
is "outside of its window a unit is not restarted" "$(over late "$monday")" "0 0 1"
like "... which can be asked" "$(problem late late.service)" "waits for the window"
is "... inside it is" "$(over late "$sunday")" "1 0 0"
publish late verify revoke >/dev/null
is "... and at any time when a key is compromised" "$(over late "$monday")" "1 0 0"
publish late verify >/dev/null
is "... which the next change is not" "$(over late "$monday")" "0 0 1"
publish late verify revoke >/dev/null
publish late verify >/dev/null
is "... but where the unit has not been told yet" "$(over late "$monday")" "1 0 0"

systemctl unmask --runtime keyrota-rotate.timer keyrota-rotate.path keyrota-rotate.service 2>/dev/null
done_testing
