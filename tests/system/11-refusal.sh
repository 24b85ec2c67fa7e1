#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Who must not have a credential does not get it, and a service that is refused does not start: 243/CREDENTIALS, never
# an empty or a short file. Whatever breaks on the way to the credential is a refusal too.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"

REFUSAL=1048577                         # bytes; systemd takes no credential of that size
client=${BASH_SOURCE[0]%/*}/credential-client.py

# refused_with UNIT REASON [DESCRIPTION]: a test and another: UNIT does not start, and the record says why.
refused_with() {
        journal_mark
        start_fails_with_243 "$1" ${3:+"$3"}
        like "... and the record says why" "$(refusals "$1" | sort -u)" "$2"
}

# served UNIT DESCRIPTION: a test: UNIT, started anew, has its key.
served() {
        systemctl stop "$1"
        delivered "$2" "$1" session.key session
}

wait_for_boot
rotation_off
environment_set testing
user_make somebody
consumer_write api.service
consumer_write worker.service User=somebody
consumer_write nested.service Slice=user.slice
consumer_write nested-deeper.service Slice=user-of-nobody.slice
policy_make session HS256 "$(deliver api.service sign session.key hex
        deliver worker.service sign worker.key hex
        deliver nested.service sign session.key hex
        deliver nested-deeper.service sign session.key hex
        deliver asking.service sign session.key hex
        deliver template@.service sign session.key hex)"
systemctl daemon-reload
served api.service "api.service is served"
# what is asked of the socket and not by a drop-in, and so without starting the provisioner
asks="LoadCredential=session.key:$SOCKET"

# ---- no policy ---------------------------------------------------------------------------------------------

for type in simple exec oneshot notify forking; do
        unit_write "no-policy-$type.service" Type=$type "$asks" \
                "ExecStartPre=/bin/touch $SCRATCH/ran-$type-pre" "ExecStart=/bin/touch $SCRATCH/ran-$type"
        unit_write "no-policy-main-$type.service" Type=$type "$asks" "ExecStart=/bin/touch $SCRATCH/ran-$type-main"
done
systemctl daemon-reload
ended() {
        [[ $(systemctl show -P ActiveState "$1") == failed ]]
}
for type in simple exec oneshot notify forking; do
        journal_mark
        systemctl start "no-policy-$type.service" "no-policy-main-$type.service" 2>/dev/null
        ok "Type=$type that no policy names fails" wait_for 30 ended "no-policy-$type.service"
        ok "... and without ExecStartPre=" wait_for 30 ended "no-policy-main-$type.service"
        # with forking, the main process is never known
        [[ $type == forking ]] ||
                is "... with 243/CREDENTIALS" "$(unit_result "no-policy-main-$type.service") $(unit_status "no-policy-main-$type.service")" "exit-code 243"
        ok "... as the journal says" journal_has "no-policy-$type.service: Control process exited, code=exited, status=243/CREDENTIALS"
        like "... because no policy delivers it" "$(refusals "no-policy-$type.service")" "^no policy delivers it to this unit"
done
is "... and no process of any of these has run" "$(cd "$SCRATCH" && compgen -G 'ran-*')" ""
is "... and no folder of credentials is left" "$(cd /run/credentials 2>/dev/null && compgen -G 'no-policy*')" ""

consumer_make restarting.service '[Unit]' StartLimitIntervalSec=100 StartLimitBurst=3 '[Service]' Type=exec Restart=always RestartSec=0 "$asks"
journal_mark
systemctl start restarting.service 2>/dev/null
given_up() {
        ended restarting.service && journal_has "restarting.service: (Start request repeated too quickly|Failed with result 'start-limit-hit')"
}
ok "a service with Restart=always is refused until it gives up" wait_for 30 given_up
ok "... and has not run" test ! -s "$SCRATCH/credentials/restarting.service.tar"
is "... each time on record" "$(refusals restarting.service | wc -l)" 3

# ---- what is another's -------------------------------------------------------------------------------------

consumer_make thief.service "LoadCredential=worker.key:$SOCKET"
refused_with thief.service "^no policy delivers it to this unit" "a unit that asks for another's credential: 243/CREDENTIALS"
consumer_make api-and-more.service "LoadCredential=session.key:$SOCKET"
refused_with api-and-more.service "^no policy" "a unit whose name begins as that of one with a policy is refused"
mkdir -p /etc/systemd/system/api.service.d
printf '%s\n' '[Service]' "LoadCredential=worker.key:$SOCKET" >/etc/systemd/system/api.service.d/greedy.conf
systemctl daemon-reload
systemctl stop api.service
refused_with api.service "^no policy" "a unit that asks for its own and another's credential has neither"
rm /etc/systemd/system/api.service.d/greedy.conf
systemctl daemon-reload
consumer_make fallback.service "$asks" SetCredential=session.key:fallback
refused_with fallback.service "^no policy" "SetCredential= of the unit's own does not rescue a refusal"

# ---- who only looks like the service manager ---------------------------------------------------------------

refused "an ordinary user cannot connect" "Permission denied" as somebody "$client" $SOCKET worker.service worker.key
refused "... nor see the socket" "Permission denied" as somebody ls /run/keyrota/credential
is "the socket is root's alone, in a folder that is" "$(stat -c '%U %a' $SOCKET /run/keyrota/credential | paste -sd' ')" "root 600 root 700"
chmod 0755 /run/keyrota/credential
chmod 0666 $SOCKET
journal_mark
is "an ordinary user who could connect would be refused" "$(as somebody "$client" $SOCKET worker.service worker.key)" $REFUSAL
like "... for what it is" "$(refusals worker.service)" "^it is not root"
chmod 0600 $SOCKET
chmod 0700 /run/keyrota/credential

journal_mark
is "a process of root's that takes a unit's name from elsewhere is refused" "$("$client" $SOCKET api.service session.key)" $REFUSAL
is "... also from a unit of its own" \
        "$(systemd-run --quiet --wait --pipe --unit=elsewhere.service "$client" $SOCKET api.service session.key)" $REFUSAL
is "... and from a cgroup of that name within it" "$(systemd-run --quiet --wait --pipe --unit=elsewhere.service \
        --property=Delegate=yes "$client" $SOCKET api.service session.key api.service)" $REFUSAL
is "... from a scope as well" \
        "$(systemd-run --quiet --scope --unit=elsewhere.scope "$client" $SOCKET api.service session.key)" $REFUSAL
is "... each of them by its cgroup" "$(refusals api.service | sort | uniq -c | xargs)" \
        "4 its cgroup is not that of the unit which it names"
# it is the cgroup that has told them apart
unit_make asking.service Type=oneshot RemainAfterExit=yes "StandardOutput=truncate:$SCRATCH/asked" \
        "ExecStart=$client $SOCKET asking.service session.key"
systemctl start asking.service
is "... while the same program is served in the unit's own cgroup" "$(cat "$SCRATCH/asked")" 64

systemctl start user@0.service
mkdir -p /run/user/0/systemd/user
printf '%s\n' '[Service]' Type=oneshot "$asks" "ExecStart=/bin/touch $SCRATCH/ran-user" >/run/user/0/systemd/user/api.service
manager=(env XDG_RUNTIME_DIR=/run/user/0 systemctl --user)
"${manager[@]}" daemon-reload
journal_mark
ok "a unit of that name of root's own user manager does not start" ! "${manager[@]}" start api.service
is "... 243/CREDENTIALS" "$("${manager[@]}" show -P ExecMainStatus api.service)" 243
ok "... and has not run" test ! -e "$SCRATCH/ran-user"
like "... because of where it runs" "$(refusals api.service)" "^it runs below user.slice"
served api.service "the system's unit of that name is served still"

refused_with nested.service "^it runs below user.slice" "a system service in user.slice is refused"
refused_with nested-deeper.service "^it runs below user.slice" "... also further below"

# ---- names that are too long -------------------------------------------------------------------------------

long=template@$(printf 'x%.0s' {1..80}).service
unit_make template@.service Type=oneshot "StandardOutput=truncate:$SCRATCH/credentials/%n.tar" "ExecStart=/bin/touch $SCRATCH/ran-long"
journal_mark
start_fails_with_243 "$long" "an instance whose name is too long for systemd to ask: 243/CREDENTIALS"
ok "... and has not run" test ! -e "$SCRATCH/ran-long"
is "... and the server was not asked" "$(refusals "$long")" ""
policy_make long HS256 "$(deliver "$(printf 'x%.0s' {1..80}).service" sign session.key hex)"
refused "a policy for such a name is an error" "long.ini:5: .* 83 are the most.* shorten the unit.s by 16" keyrota check
rm "$POLICIES/long.ini"

# ---- nothing there to serve --------------------------------------------------------------------------------

systemctl mask --quiet --runtime keyrota-provision.service
systemctl stop api.service
ring_empty
refused_with api.service "^nothing is published" "the keyring emptied: refused"
mkdir -p /etc/systemd/system/api.service.d
printf '%s\n' '[Service]' SetCredential=session.key:fallback >/etc/systemd/system/api.service.d/fallback.conf
systemctl daemon-reload
refused_with api.service "^nothing is published" "... also with SetCredential= of the administrator's"
rm /etc/systemd/system/api.service.d/fallback.conf
systemctl daemon-reload
ok "after keyrota provision..." keyrota provision
served api.service "... it is served"
systemctl unmask --quiet --runtime keyrota-provision.service

ring_empty
served api.service "the keyring emptied: the service itself has it filled again"

mkdir -p /etc/systemd/system/keyrota-provision.service.d
printf '%s\n' '[Service]' ExecStart= ExecStart=/bin/false >/etc/systemd/system/keyrota-provision.service.d/fails.conf
systemctl daemon-reload
served api.service "a provisioner that fails: what is published is served"
systemctl stop api.service
ring_empty
refused_with api.service "^nothing is published" "... and with the keyring emptied, refused"
rm /etc/systemd/system/keyrota-provision.service.d/fails.conf
systemctl daemon-reload
served api.service "... until the provisioner works again"

# ---- nobody there to serve ---------------------------------------------------------------------------------

systemctl stop keyrota-credential.socket keyrota-credential.service
ok "with the socket stopped, there is none" test ! -e $SOCKET
start_fails_with_243 no-policy-main-oneshot.service "... and who asks is refused"
served api.service "... while a service that a policy names has it started again"
systemctl mask --quiet --runtime --now keyrota-credential.socket
systemctl stop keyrota-credential.service api.service
start_fails_with_243 api.service "with the socket masked it is refused"
systemctl unmask --quiet --runtime keyrota-credential.socket

mkdir -p /etc/systemd/system/keyrota-credential.service.d
printf '%s\n' '[Service]' ExecStart= ExecStart=/bin/false RestartSec=0 >/etc/systemd/system/keyrota-credential.service.d/fails.conf
systemctl daemon-reload
start_fails_with_243 api.service "a server that ends at once, again and again: refused"
rm /etc/systemd/system/keyrota-credential.service.d/fails.conf
systemctl daemon-reload
systemctl reset-failed keyrota-credential.service keyrota-credential.socket
served api.service "... and served when it is back"

# ---- the server killed in mid-reply ------------------------------------------------------------------------

# Its provisioner would run before each of the starts below.
systemctl mask --quiet --runtime keyrota-provision.service
server_traceable

# fetch: api.service starts anew, which starts a server that is traced as trace_next has said.
fetch() {
        systemctl stop api.service keyrota-credential.service
        systemctl reset-failed api.service 2>/dev/null
        rm -f "$SCRATCH/ends" "$SCRATCH/credentials/api.service.tar"
        systemctl start api.service
}
server_ended() {
        [[ -s $SCRATCH/ends ]]
}

# Every system call from the return of accept4() to the end of the connection, and how many of that name came before
trace_next -o "$SCRATCH/trace"
ok "a traced server serves" fetch
systemctl stop keyrota-credential.service
mapfile -t points < <(awk '
        { name = $0; sub(/\(.*/, "", name) }
        name !~ /^[a-z0-9_]+$/ { next }
        { count[name]++ }
        inside { print name, count[name] }
        !inside && name == "accept4" && $NF ~ /^[0-9]+$/ { inside = 1; connection = $NF }
        inside && index($0, "close(" connection ")") == 1 { exit }' "$SCRATCH/trace")
like "an answer is system calls, of which we know some" "${points[*]}" "sendmsg.*getpeername.*keyctl.*sendto.*shutdown.*close"

wanted session api.service session.key >/dev/null
# ... and before it: the connection is still in the queue, for the next server
points=("accept4 1" "${points[@]}")
for point in "${points[@]}"; do
        read -r name when <<<"$point"
        trace_next -o /dev/null -e "trace=$name" -e "inject=$name:signal=KILL:when=$when"
        if fetch 2>/dev/null; then
                same "killed at $name $when of an answer: served, and rightly" "$(credential_of api.service session.key)" \
                        "$SCRATCH/wanted/api.service.session.key"
        else
                is "killed at $name $when of an answer: refused" \
                        "$(unit_status api.service) $(stat -c %s "$SCRATCH/credentials/api.service.tar" 2>/dev/null || echo 0)" "243 0"
        fi
        wait_for 30 server_ended
        is "... it was killed there" "$(head -n 1 "$SCRATCH/ends")" "killed KILL"
        systemctl stop api.service
        systemctl reset-failed api.service 2>/dev/null
        same "... and started again, served" "$(credential_of api.service session.key)" "$SCRATCH/wanted/api.service.session.key"
done

# Both processes of the server at once: the connection is then with the service manager, and the next server finds it.
for name in getpeername sendto; do
        systemctl stop api.service keyrota-credential.service
        rm -f "$SCRATCH/ends" "$SCRATCH/credentials/api.service.tar"
        trace_next -o /dev/null -e "trace=$name" -e "inject=$name:delay_enter=600000000:when=1"
        systemctl start --no-block api.service
        stored() {
                [[ $(systemctl show -P NFileDescriptorStore keyrota-credential.service) == 1 ]]
        }
        ok "a server in the middle of an answer ($name) has given the connection to the service manager" wait_for 30 stored
        systemctl kill --signal=KILL keyrota-credential.service
        ok "... killed with its keeper, the service fails" wait_for 30 ended api.service
        is "... with 243/CREDENTIALS" "$(unit_status api.service)" 243
        ok "... and has not run" test ! -s "$SCRATCH/credentials/api.service.tar"
        systemctl reset-failed api.service
        same "... and started again, is served" "$(credential_of api.service session.key)" "$SCRATCH/wanted/api.service.session.key"
done

done_testing
