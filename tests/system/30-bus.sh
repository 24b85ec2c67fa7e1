#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The door to the service manager (src/bus.h): what units are doing, jobs and how they end, timers; over the private socket and over
# the system bus, and while the manager executes itself anew.

. "${BASH_SOURCE[0]%/*}/lib.sh"
wait_for_boot

SOURCE=/usr/src/keyrota
TOOL=$SOURCE/tests/unit/bus-tool
ok "(the tool is built)" make -s -C $SOURCE tests/unit/bus-tool

# facts_of UNIT NAME: one of them
facts_of() {
        $TOOL facts "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"
}

is_loaded() {
        busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager GetUnit s "$1"
}

# ---- units -------------------------------------------------------------------------------------------------

user_make somebody
unit_write gateway@.service ExecStart='/bin/sleep infinity'
unit_write loads.service ExecStart='/bin/sleep infinity' "LoadCredential=key:$SCRATCH/credential" 'LoadCredential=other:/etc/hostname'
unit_write fails.service Type=oneshot ExecStart=/bin/false
unit_write again.service Type=exec ExecStart=/bin/false Restart=always RestartSec=1h
unit_write idle.service ExecStart='/bin/sleep infinity'
systemctl daemon-reload
echo secret >"$SCRATCH/credential"
systemctl start gateway@b.service gateway@a.service gateway@a-2.service loads.service
systemctl start fails.service again.service 2>/dev/null
ok "(a service between two starts)" wait_for 20 grep -q auto-restart <(systemctl show -P SubState again.service)

is "the loaded instances of a template, sorted, with states" "$($TOOL list 'gateway@*.service' | cut -d' ' -f1,2)" \
        $'gateway@a-2.service running\ngateway@a.service running\ngateway@b.service running'
is "nothing is loaded: an empty list" "$($TOOL list 'nosuch@*.service')" ""
is "a service that failed" "$($TOOL list fails.service)" "fails.service failed fails.service"
is "a service that waits for its next start is stopped" "$(facts_of again.service state)" stopped
is "what became of it" "$(facts_of again.service result)" exit-code
is "a running one" "$(facts_of loads.service state) $(facts_of loads.service result)" "running success"
is "its invocation" "$(facts_of loads.service invocation)" "$(systemctl show -P InvocationID loads.service)"
is "since when it runs" "$(($(facts_of loads.service started) / 1000000))" "$(date -d "$(systemctl show -P InactiveExitTimestamp loads.service)" +%s)"
like "it loads a credential from that path" "$($TOOL facts loads.service "$SCRATCH/credential")" 'loads=1'
like "and none from another" "$($TOOL facts loads.service /run/other)" 'loads=0'
like "it is the one of this ID" "$($TOOL facts loads.service "$SCRATCH/credential" key)" 'loads=1'
like "and of no other" "$($TOOL facts loads.service "$SCRATCH/credential" other)" 'loads=0'
is "a unit that does not exist is stopped" "$($TOOL facts nosuch.service)" "state=stopped invocation= started=0 loads=0 reload=0 result="
is "so is one that is not loaded" "$(facts_of idle.service state)" stopped
is "a unit that is not a service" "$(facts_of -.mount state)" running
is "its file is as it was loaded" "$(facts_of loads.service reload)" 0
unit_write loads.service ExecStart='/bin/sleep infinity'
touch -d '+1 minute' /etc/systemd/system/loads.service
is "its file has changed" "$(facts_of loads.service reload)" 1
systemctl daemon-reload

# ---- jobs --------------------------------------------------------------------------------------------------

mkfifo "$SCRATCH/gate"
unit_write oneshot.service Type=oneshot ExecStart=/bin/true
unit_write refuses.service '[Unit]' RefuseManualStart=yes '[Service]' ExecStart=/bin/true
unit_write depends.service '[Unit]' Requires=fails.service After=fails.service '[Service]' ExecStart=/bin/true
unit_write slow.service Type=oneshot "ExecStart=/bin/sh -c 'read line <$SCRATCH/gate'"
unit_write reloads.service ExecStart='/bin/sleep infinity' "ExecReload=/bin/sh -c 'echo reloaded >>$SCRATCH/reloaded'"
unit_write reload-fails.service ExecStart='/bin/sleep infinity' ExecReload=/bin/false
unit_write many@.service Type=oneshot ExecStart=/bin/true
systemctl daemon-reload
systemctl start reloads.service reload-fails.service

# job DESCRIPTION RESTART|RELOAD UNIT WANTED
job() {
        is "$1" "$($TOOL job "$2" "$3")" "$3 $4"
}

before=$(facts_of gateway@a.service invocation)
job "a restart" restart gateway@a.service "done "
ok "is one" [ "$before" != "$(facts_of gateway@a.service invocation)" ]
job "a restart of a service that ends" restart oneshot.service "done "
job "a restart that fails, and why" restart fails.service 'EIO its restart job ended with "failed" (result exit-code)'
job "a restart that needs another unit" restart depends.service 'EIO its restart job ended with "dependency": a unit that it requires did not start'
job "a restart that is refused" restart refuses.service \
        'EINVAL Operation refused, unit refuses.service may be requested by dependency only (it is configured to refuse manual start/stop).'
job "a unit that does not exist" restart nosuch.service "ENOENT Unit nosuch.service not found."
job "a restart only of what runs: it does not" try-restart idle.service "done "
is "and it still does not" "$(facts_of idle.service state)" stopped
job "a restart only of what runs: it does" try-restart gateway@b.service "done "
job "a reload" reload reloads.service "done "
is "is one" "$(cat "$SCRATCH/reloaded")" reloaded
job "a reload that fails, and why" reload reload-fails.service 'EIO its reload job ended with "failed" (result exit-code)'
job "a reload of what has none" reload gateway@b.service "EBADR Job type reload is not applicable for unit gateway@b.service."
is "a job that does not end in time" "$($TOOL job restart slow.service 1)" "slow.service ETIMEDOUT its restart job has not ended within 1 s"
systemctl stop slow.service
systemctl reset-failed slow.service

is "several at once, each with its own result" "$($TOOL job restart oneshot.service fails.service nosuch.service gateway@a.service)" \
        $'oneshot.service done \nfails.service EIO its restart job ended with "failed" (result exit-code)
nosuch.service ENOENT Unit nosuch.service not found.\ngateway@a.service done '
is "ninety at once" "$($TOOL job restart many@{1..90}.service | sort | uniq -c | wc -l) $($TOOL job restart many@{1..90}.service | grep -c 'done $')" "90 90"

# restart_slow [VARIABLE=VALUE...]: in the background, until it is under way
restart_slow() {
        env "$@" $TOOL job restart slow.service >"$SCRATCH/slow" 2>&1 &
        slow=$!
        wait_for_unit 20 slow.service activating
}

let_go() {
        timeout 20 sh -c "echo >$SCRATCH/gate"
        wait $slow
}

restart_slow
systemctl stop slow.service
wait $slow
like "a job that the administrator canceled" "$(cat "$SCRATCH/slow")" '^slow.service ECANCELED its restart job ended with "canceled"'
systemctl reset-failed slow.service

# ---- signals -----------------------------------------------------------------------------------------------

cat >"$SCRATCH/signaled.sh" <<END
sleep infinity &
trap 'echo >>$SCRATCH/signaled' HUP
echo \$! >$SCRATCH/child
systemd-notify --ready
while kill -0 \$!; do wait; done
END
unit_make signaled.service Type=notify NotifyAccess=all "ExecStart=/bin/bash $SCRATCH/signaled.sh"
systemctl start signaled.service
ok "a signal to the main process" $TOOL signal signaled.service 1
ok "it is delivered" wait_for 20 test -s "$SCRATCH/signaled"
ok "and to no other" kill -0 "$(cat "$SCRATCH/child")"
is "the service runs on" "$(facts_of signaled.service state)" running
refused "no main process" ESRCH $TOOL signal oneshot.service 1
refused "no such unit" ESRCH $TOOL signal nosuch.service 1

# ---- timers ------------------------------------------------------------------------------------------------

unit_write ring@.service Type=oneshot "ExecStart=/bin/sh -c 'date +%%s >>$SCRATCH/rung-%i'"
systemctl daemon-reload

# arm NAME WHEN
arm() {
        $TOOL arm "ring@$1.timer" "ring@$1.service" "$2" "rotates $1"
}

next_of() {
        systemctl list-timers --no-legend "ring@$1.timer"
}

rung() {
        wait_for 40 test -s "$SCRATCH/rung-$1" && wait_for_unit 20 "ring@$1.service" inactive
}

when=$(($(date +%s) + 3))
ok "a timer three seconds from now" arm soon $when
like "list-timers shows it" "$(next_of soon)" "^[A-Z][a-z]+ $(date -d @$when '+%F %T %Z') .* ring@soon.timer +ring@soon.service\$"
is "and status what it is for" "$(systemctl show -P Description ring@soon.timer)" "rotates soon"
ok "it comes" rung soon
ok "not too early" [ "$(head -n 1 "$SCRATCH/rung-soon")" -ge $when ]
is "it came once" "$(wc -l <"$SCRATCH/rung-soon")" 1
again() {
        systemctl list-timers --all --output=json "ring@$1.timer" | jq '.[].next / 1000000 | floor'
}
ok "it stands to come again in five minutes, as what it has started does not arm it anew" test "$(again soon)" -ge $((when + 295)) -a "$(again soon)" -le $((when + 305))
ok "... until it is disarmed" $TOOL disarm ring@soon.timer
ok "... and is gone then" ! is_loaded ring@soon.timer

when=$(($(date +%s) + 17))
ok "a timer by the calendar" arm calendar $when
like "of the exact second" "$(systemctl cat ring@calendar.timer)" "OnCalendar=$(date -u -d @$when '+%F %T UTC')"
like "... and again after five minutes" "$(systemctl cat ring@calendar.timer)" "OnCalendar=$(date -u -d @$((when + 300)) '+%F %T UTC')"
like "... and an hour" "$(systemctl cat ring@calendar.timer)" "OnCalendar=$(date -u -d @$((when + 3600)) '+%F %T UTC')"
ok "a time that has passed" arm past 1
ok "comes at once" rung past
ok "far in the future" arm far 4102444800
like "list-timers shows the year" "$(next_of far)" "2100-01-01 00:00:00 UTC .* ring@far.timer"
ok "another time in its place" arm far $(($(date +%s) + 86400))
is "is one timer" "$(next_of far | wc -l)" 1
like "of that time" "$(next_of far)" "^[A-Z][a-z]+ $(date -d '+1 day' +%F) "
ok "farther than the calendar goes" arm far 9223372036854775807
like "is its end" "$(next_of far)" "2199-12-31 23:59:59 UTC"
systemctl daemon-reload
like "it is armed after daemon-reload" "$(next_of far)" "2199-12-31 23:59:59 UTC"
ok "it is disarmed" $TOOL disarm ring@far.timer
is "and not armed then" "$(next_of far)" ""
ok "also when there is none" $TOOL disarm ring@far.timer
refused "another service than the timer's" EINVAL $TOOL arm ring@a.timer ring@b.service 0 text
refused "a service that there is not" EIO $TOOL arm nosuch@a.timer nosuch@a.service 0 text
ok "the timer by the calendar comes" rung calendar
ok "not too early, either" [ "$(cat "$SCRATCH/rung-calendar")" -ge $when ]

for i in {1..8}; do
        arm shared $((4102444800 + i)) 2>>"$SCRATCH/shared" &
done
wait
is "many who arm the same timer at once: all succeed" "$(cat "$SCRATCH/shared")" ""
is "and one timer stands" "$(next_of shared | wc -l)" 1

# A service that arms its own timer while it runs. The first time it ends only after that has elapsed.
cat >"$SCRATCH/own" <<END
#!/bin/bash
echo run >>$SCRATCH/own-runs
case \$(wc -l <$SCRATCH/own-runs) in
        1) $TOOL arm own.timer own.service 0 text || exit
           until [[ \$(systemctl show -P SubState own.timer) == running ]]; do :; done ;;
        2) $TOOL arm own.timer own.service 4102444800 text ;;
esac
END
unit_make own.service Type=oneshot "ExecStart=/bin/bash $SCRATCH/own"
ok "a timer whose service arms it anew" $TOOL arm own.timer own.service 0 text
ok "also at once, and before it ends: it comes again" wait_for 30 eval '(( $(wc -l <"$SCRATCH/own-runs") >= 2 ))'
wait_for_unit 20 own.service inactive
is "no run failed" "$(unit_result own.service)" success
like "it is armed for the time that the last run named" "$(systemctl list-timers --no-legend own.timer)" "2100-01-01 00:00:00 UTC .* own.timer"
is "it ran as often as it was armed" "$(wc -l <"$SCRATCH/own-runs")" 2

# ---- the manager executes itself anew ----------------------------------------------------------------------

restart_slow
systemctl daemon-reexec
let_go
is "daemon-reexec during a job: its end is seen" "$(cat "$SCRATCH/slow")" "slow.service done "
restart_slow
systemctl daemon-reload
let_go
is "daemon-reload during a job" "$(cat "$SCRATCH/slow")" "slow.service done "
like "a timer is armed after daemon-reexec" "$(systemctl list-timers --no-legend own.timer)" "2100-01-01 00:00:00 UTC .* own.timer"
for i in {1..30}; do
        $TOOL list 'gateway@*.service' >/dev/null 2>>"$SCRATCH/reexec" || echo "failed" >>"$SCRATCH/reexec"
done &
asking=$!
systemctl daemon-reexec
wait $asking
is "who asks at that moment is answered" "$(cat "$SCRATCH/reexec")" ""

# ---- the system bus ----------------------------------------------------------------------------------------

export BUS_TOOL_PRIVATE_SOCKET=/nonexistent
is "the system bus: facts" "$(facts_of loads.service state)" running
is "jobs" "$($TOOL job restart oneshot.service fails.service)" \
        $'oneshot.service done \nfails.service EIO its restart job ended with "failed" (result exit-code)'
ok "a timer" arm bus 4102444800
ok "another in its place" arm bus 4102444801
like "is armed" "$(next_of bus)" "2100-01-01 00:00:01 UTC"
ok "and disarmed" $TOOL disarm ring@bus.timer

restart_slow BUS_TOOL_PRIVATE_SOCKET=/nonexistent
number=$(systemctl list-jobs --no-legend slow.service | awk '{ print $1 }')
name=$(busctl list --no-legend | awk -v pid=$slow '$2 == pid { print $1 }')
ok "(anybody can send it a signal)" as somebody busctl --destination="$name" emit /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
        JobRemoved uoss "$number" "/org/freedesktop/systemd1/job/$number" slow.service failed
let_go
is "a signal that only looks like the manager's is nothing" "$(cat "$SCRATCH/slow")" "slow.service done "

restart_slow BUS_TOOL_PRIVATE_SOCKET=/nonexistent
systemctl daemon-reexec
let_go
is "daemon-reexec during a job" "$(cat "$SCRATCH/slow")" "slow.service done "

done_testing
