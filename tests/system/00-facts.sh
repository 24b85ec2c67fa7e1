#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The facts of systemd and the kernel that keyrota is built on, with nothing of keyrota's: a fake credential
# server (fake-credential-server.py) stands in. Where one of these fails, it is the design that has to change.
# suites: bookworm trixie sid

. "${BASH_SOURCE[0]%/*}/lib.sh"

socket=/run/fact/socket
log=/run/fact/log
mkdir -p -m 0700 /run/fact
wait_for_boot

unit_make fact-server.service Type=notify \
        "ExecStart=/usr/bin/python3 ${BASH_SOURCE[0]%/*}/fake-credential-server.py $socket $log"
ok "a credential server of our own runs" systemctl start fact-server.service

# asked UNIT ID: the server's record of the last connection for it
asked() {
        tac "$log" | jq -e -c --arg unit "$1" --arg id "$2" 'select(.unit == $unit and .id == $id)' | head -n 1
}

# consumer UNIT ID [LINE...]: wants ID of the server, which answers as the id says
consumer() {
        local unit=$1 id=$2
        shift 2
        consumer_make "$unit" "LoadCredential=$id:$socket" "$@"
}

name_of_length() {
        local name
        printf -v name '%*s' "$1" ''
        printf '%s' "${name// /u}"
}

# ---- who asks ----------------------------------------------------------------------------------------------

user_make somebody
consumer fact-plain.service whole
consumer fact-user.service whole User=somebody ProtectSystem=strict PrivateTmp=yes
consumer fact-dynamic.service whole DynamicUser=yes PrivateUsers=yes
consumer fact-template@.service whole User=somebody
for unit in fact-plain.service fact-user.service fact-dynamic.service 'fact-template@one\x2dtwo.service'; do
        file=$(credential_of "$unit" whole)
        is "$unit: has the reply as its credential" "$(cat "$file")" "whole of $unit"
        asked=$(asked "$unit" whole)
        like "$unit: the peer's address is \\0HEX/unit/UNIT/ID" "$(jq -r .address <<<"$asked")" \
                "^@[0-9a-f]+/unit/${unit//\\/\\\\}/whole$"
        is "$unit: the peer is uid 0" "$(jq -r .uid <<<"$asked")" 0
        like "$unit: the peer's group ends in the unit and is not of user.slice" "$(jq -r .cgroup <<<"$asked")" \
                "^/system\.slice/(.*/)?${unit//\\/\\\\}$"
done

# ---- what is answered --------------------------------------------------------------------------------------

consumer fact-refused.service refuse
start_fails_with_243 fact-refused.service "a reply of 1 MiB + 1 byte: 243/CREDENTIALS, and the service does not run"

# the names count to the limit of 1 MiB, too
consumer fact-most.service most
file=$(credential_of fact-most.service most)
is "a reply of 1 MiB less the length of its name is a credential" "$(stat -c %s "$file")" $((1048576 - 4))
consumer fact-more.service more
start_fails_with_243 fact-more.service "a reply of one byte more is not"

consumer fact-closed.service close
file=$(credential_of fact-closed.service close)
is "closing without a reply: the service starts with an empty credential" "$(stat -c %s "$file")" 0

consumer fact-short.service short
file=$(credential_of fact-short.service short)
is "closing in mid-reply: the service starts with a truncated credential" "$(cat "$file")" short

consumer fact-one-of-two.service whole "LoadCredential=refuse:$socket"
start_fails_with_243 fact-one-of-two.service "one refused credential of two fails the unit"

consumer fact-set.service refuse SetCredential=refuse:fallback
start_fails_with_243 fact-set.service "SetCredential= does not rescue a refusal"

consumer_make fact-absent.service LoadCredential=whole:/run/fact/absent SetCredential=whole:fallback
file=$(credential_of fact-absent.service whole)
is "SetCredential= rescues an absent socket" "$(cat "$file")" fallback

# ---- how long a name may be --------------------------------------------------------------------------------

# 108 bytes of sun_path: NUL, up to 16 of HEX, "/unit/", UNIT, "/", ID; the last byte is not used
unit=$(name_of_length $((83 - 8 - 5))).service
consumer "$unit" whole
ok "unit and credential of 83 bytes: the credential arrives" credential_of "$unit" whole
is "... and the address is whole" "$(jq -r '.address | split("/unit/")[1]' <<<"$(asked "$unit" whole)")" "$unit/whole"

# HEX is a random number without its leading zeros: one start in sixteen finds room for an 84th byte
unit=$(name_of_length $((84 - 8 - 5))).service
consumer "$unit" whole
systemctl start "$unit" 2>/dev/null
hex=$(jq -r '.address | split("/unit/")[0][1:]' <<<"$(asked "$unit" whole)")
diag "with 84 bytes: random number '$hex', status $(unit_status "$unit")"
if [[ -z $hex ]]; then
        is "unit and credential of 84 bytes: 243/CREDENTIALS, does not connect" "$(unit_status "$unit")" 243
else
        ok "unit and credential of 84 bytes: connects only with a shorter random number" test ${#hex} -lt 16
fi

unit=$(name_of_length $((99 - 8 - 5))).service
consumer "$unit" whole
start_fails_with_243 "$unit" "unit and credential of 99 bytes: 243/CREDENTIALS, never connects"
ok "... and the server has not been asked" ! asked "$unit" whole

# ---- how often a unit asks ---------------------------------------------------------------------------------

consumer fact-steps.service whole ExecStartPre=/bin/true ExecStartPost=/bin/true
systemctl start fact-steps.service
count=$(jq -c 'select(.unit == "fact-steps.service")' "$log" | wc -l)
diag "one start with ExecStartPre=, ExecStart= and ExecStartPost= asked $count times"
ok "each step of one start asks again" test "$count" -ge 2
systemctl restart fact-steps.service
ok "... and a restart asks again" \
        test "$(jq -c 'select(.unit == "fact-steps.service")' "$log" | wc -l)" -eq $((2 * count))

# ---- credentials of a service that goes on running ---------------------------------------------------------

# what makes two looks at a running service look at the same one
same_run() {
        systemctl show -P MainPID -P InvocationID "$1" | paste -sd' '
}

version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
diag "systemd $version"
echo one >/run/fact/answer
unit_make fact-reload.service Type=exec "LoadCredential=answer:$socket" RefreshOnReload=credentials User=somebody \
        "ExecStart=/bin/sleep infinity" "ExecReload=/bin/sh -c 'cat %d/answer'" StandardOutput=truncate:/run/fact/reloaded
ok "a unit with RefreshOnReload= starts, also where that is not known" systemctl start fact-reload.service
run=$(same_run fact-reload.service)
file=/run/credentials/fact-reload.service/answer
is "... with its credential" "$(cat $file)" one
echo two >/run/fact/answer
ok "it is reloaded" systemctl reload fact-reload.service
if (( version >= 260 )); then
        is "systemd 260 and later: a reload fetches the credential again" "$(cat $file)" two
        is "... before ExecReload= runs" "$(cat /run/fact/reloaded)" two
        is "... the peer's group is then the service manager's own" "$(jq -r .cgroup <<<"$(asked fact-reload.service answer)")" /init.scope
        rm /run/fact/answer
        ok "a reload that is refused the credential fails" ! systemctl reload fact-reload.service
        is "... and leaves the one that was there" "$(cat $file)" two
else
        is "systemd before 260: a reload leaves the credential as it was" "$(cat $file)" one
        rm /run/fact/answer
fi
is "... and it is the same run of the service" "$(same_run fact-reload.service)" "$run"
is "... which goes on" "$(systemctl is-active fact-reload.service)" active
ok "a restart that is refused the credential stops it" ! systemctl restart fact-reload.service
is "... with 243/CREDENTIALS" "$(unit_status fact-reload.service)" 243

# a unit that refuses to be stopped refuses a restart, and goes on with what it has
echo one >/run/fact/answer
systemctl restart fact-reload.service
mkdir -p /etc/systemd/system/fact-reload.service.d
printf '%s\n' '[Unit]' RefuseManualStop=yes >/etc/systemd/system/fact-reload.service.d/refuse.conf
systemctl daemon-reload
run=$(same_run fact-reload.service)
refused "RefuseManualStop= refuses a restart" "may be requested by dependency only" systemctl restart fact-reload.service
is "... and the service goes on" "$(same_run fact-reload.service)" "$run"

# ---- who else can look like a unit -------------------------------------------------------------------------

systemctl start user@0.service
mkdir -p /run/user/0/systemd/user
printf '%s\n' '[Service]' Type=oneshot "LoadCredential=whole:$socket" \
        "ExecStart=/bin/sh -c 'cat \$\${CREDENTIALS_DIRECTORY}/whole'" >/run/user/0/systemd/user/fact-spoof.service
manager=(env XDG_RUNTIME_DIR=/run/user/0 systemctl --user)
"${manager[@]}" daemon-reload
"${manager[@]}" start fact-spoof.service
asked=$(asked fact-spoof.service whole)
like "root's user manager sends the same form of address" "$(jq -r .address <<<"$asked")" \
        "^@[0-9a-f]+/unit/fact-spoof.service/"
is "... as uid 0" "$(jq -r .uid <<<"$asked")" 0
like "... and only its group tells: it is below user.slice" "$(jq -r .cgroup <<<"$asked")" "^/user\.slice/"

# ---- the kernel's keyrings ---------------------------------------------------------------------------------

ring=$(keyctl newring fact @u)
serial=$(keyctl add user fact-key one "$ring")
keyctl setperm "$serial" 0x003f0000
perm=$(keyctl rdescribe "$serial")
is "add_key of the same description keeps the serial" "$(keyctl add user fact-key two "$ring")" "$serial"
is "... and the mask" "$(keyctl rdescribe "$serial")" "$perm"
is "... and replaces the payload" "$(keyctl print "$serial")" two
is "... and the ring still holds one key" "$(keyctl rlist "$ring")" "$serial"

# The key is linked into a session keyring that another uid goes on possessing: only the mask keeps it from
# them.
# shellcheck disable=SC2016
in_session() {
        keyctl session - bash -c '. "$1"; key=$(keyctl add user fact-session value @s)
                keyctl setperm "$key" "$2" && shift 2 && keyctl link "$key" @s
                setpriv --reuid=somebody --regid=somebody --clear-groups -- keyctl "$@" "$key"' \
                bash "${BASH_SOURCE[0]%/*}/../tap.sh" "$@" 2>&1
}
is "a possessor of another uid reads a key whose mask lets possessors read" \
        "$(in_session 0x3f3f0000 print | tail -n 1)" value
refused "mask 0x003f0000: a possessor of another uid cannot read it" "Permission denied" in_session 0x003f0000 print
refused "... nor see it" "Permission denied" in_session 0x003f0000 rdescribe
refused "... nor invalidate it" "Permission denied" in_session 0x003f0000 invalidate
is "a possessor with search permission can invalidate it" "$(in_session 0x083f0000 invalidate | tail -n +2)" ""

done_testing
