#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# When rotations are started: a timer for each secret, armed for the very second of what comes next, and a daily sweep as
# a net. What a clock that is set by years does is for tests/unit to show: a container cannot set this machine's clock.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

next_of() {
        keyrota status --json "$1" | jq '.secrets[].next'
}

# armed_right NAME: it stands at the second that keyrota status tells.
armed_right() {
        local next armed
        next=$(next_of "$1")
        armed=$(armed_at "$1")
        [[ $next == "$armed" ]] && return
        echo "status says $next, the timer stands at $armed"
        return 1
}

wait_for_boot
if (( BOOT > 1 )); then
        # nothing was due, and nothing else stands that would start a run
        for name in api issuer; do
                ok "$name: after a boot keyrota-rotate.timer makes its timer stand again" wait_for 30 armed_right $name
        done
        is "no unit has failed" "$(failed_units)" ""
        done_testing
fi
environment_set testing

# ---- the net ---------------------------------------------------------------------------------------------------

is "keyrota-rotate.timer is enabled by the preset" "$(systemctl is-enabled keyrota-rotate.timer)" enabled
is "... and stands" "$(systemctl is-active keyrota-rotate.timer)" active
is "... it catches up on what it missed while the machine was off" "$(systemctl show -P Persistent keyrota-rotate.timer)" yes
like "... is due daily, and after each boot" "$(systemctl show -P TimersCalendar -P TimersMonotonic keyrota-rotate.timer | paste -sd' ')" \
        "OnBootUSec=5s .*OnCalendar="
ok "... and when the clock is set" grep -qx 'OnClockChange=yes' "$(systemctl show -P FragmentPath keyrota-rotate.timer)"
is "... it starts the sweep" "$(systemctl show -P Triggers keyrota-rotate.timer)" keyrota-rotate.service
is "a sweep without a policy is well" "$(systemctl start keyrota-rotate.service && unit_result keyrota-rotate.service)" success
is "systemd-analyze verify is silent" "$(systemd-analyze verify --man=no keyrota-rotate.timer keyrota-rotate.service 'keyrota-rotate@.service' 2>&1)" ""
is "no timer of a secret stands" "$(systemctl list-units --plain --no-legend --all 'keyrota-rotate@*' | grep -c .)" 0

# ---- a secret's own timer --------------------------------------------------------------------------------------

consumer_write api.service
consumer_write issuer.service
consumer_write gateway.service
policy_make api HS256 "$(rotation 30d 1h
        deliver api.service sign session.key hex)"
policy_make issuer ES256 "$(rotation 7d 15min
        deliver issuer.service sign jwt.key pem
        deliver gateway.service verify issuer.jwks jwks)"
policy_make odd-name.1 EdDSA "$(rotation 90d 1h
        deliver issuer.service sign odd.pem pem)"
systemctl daemon-reload
systemctl start issuer.service gateway.service api.service
ok "the first run" systemctl start keyrota-rotate.service
for name in api issuer odd-name.1; do
        ok "$name: its timer stands at the second of the next event" armed_right $name
        like "$name: ... and systemctl list-timers shows it by name" "$(systemctl list-timers --no-legend --all 'keyrota*')" \
                "keyrota-rotate@$name\.timer +keyrota-rotate@$name\.service"
        is "$name: ... it wakes at no other second" "$(systemctl show -P AccuracyUSec "keyrota-rotate@$name.timer" | grep -cE '^(1s|[0-9]+us|1ms|[0-9]+ms)$') $(systemctl show -P RandomizedDelayUSec "keyrota-rotate@$name.timer")" "1 0"
        like "$name: keyrota plan says the same" "$(keyrota plan $name)" "$(date -d "@$(next_of $name)" +'%F %T')"
done
created=$(keyrota status --json issuer | jq '.secrets[].keys[0].activates')
is "issuer: that is when its successor is published, seven days less two seconds from now" "$(armed_at issuer)" $((created + 7 * 86400 - 2))
is "api: that is the end of its cryptoperiod, since nobody else need know" "$(armed_at api)" \
        $(($(keyrota status --json api | jq '.secrets[].keys[0].activates') + 30 * 86400))

# nothing wakes for it in between, and a run with nothing due does nothing
stored=$(find $STORE -name '*.jwe' -printf '%p %T@ %i\n' | sort)
timers=$(systemctl show -P NextElapseUSecRealtime keyrota-rotate@{api,issuer,odd-name.1}.timer)
ok "a run with nothing due is well" keyrota rotate
ok "... one of a single secret too" systemctl start keyrota-rotate@issuer.service
is "... and stores nothing" "$(find $STORE -name '*.jwe' -printf '%p %T@ %i\n' | sort)" "$stored"
is "... and leaves the timers where they are" "$(systemctl show -P NextElapseUSecRealtime keyrota-rotate@{api,issuer,odd-name.1}.timer)" "$timers"

# ---- a sweep that cannot begin -----------------------------------------------------------------------------------

systemctl stop keyrota-rotate@api.timer # as after a boot
mv $STORE/kek.cred $STORE/kek.away
now=$(date +%s) stands=$(armed_at issuer)
refused "a sweep cannot begin" "kek.cred is gone" keyrota rotate
ok "... a secret whose timer does not stand is looked at again, not before five minutes" test "$(armed_at api)" -ge $((now + 300))
is "... the timers that stand are left alone" "$(armed_at issuer)" "$stands"
mv $STORE/kek.away $STORE/kek.cred
ok "a sweep that can" keyrota rotate
ok "... makes it stand at the second of the next event" armed_right api

# ---- it follows the policy -------------------------------------------------------------------------------------

sed -i 's/^cryptoperiod = .*/cryptoperiod = 3d/' $POLICIES/issuer.ini
ok "a shorter cryptoperiod takes effect with the next run" keyrota rotate issuer
ok "... in the timer too" armed_right issuer
ok "... which stands earlier" test "$(armed_at issuer)" -le $((created + 3 * 86400))

systemctl stop keyrota-rotate@api.timer
ok "a timer that was stopped is armed by the sweep" systemctl start keyrota-rotate.service
ok "... at its second" armed_right api

rm $POLICIES/odd-name.1.ini
systemctl daemon-reload
ok "a policy is removed" keyrota rotate
is "... and its timer" "$(systemctl list-timers --no-legend --all 'keyrota-rotate@odd*' | grep -c .)" 0

# ---- it starts the rotation ------------------------------------------------------------------------------------

journal_mark
policy_make soon HS256 "$(rotation 8s 3s
        deliver soon.service sign session.key hex)"
consumer_write soon.service
systemctl daemon-reload
systemctl start soon.service
ok "a secret of seconds" keyrota rotate soon
first=$(kid_of soon)
due=$(armed_at soon)
due_run() {
        [[ $(kid_of soon) != "$first" ]]
}
ok "is rotated by its timer" wait_for 30 due_run
at=$(keyrota status --json soon | jq '.secrets[].keys[] | select(.state == "active") | .activates')
ok "... at its second: $((at - due)) late" test $at -ge "$due"
journal_has_rotation() {
        journal_has 'Finished' -u keyrota-rotate@soon.service
}
ok "... by keyrota-rotate@soon.service" wait_for 20 journal_has_rotation
is "... whose timer stands again" "$(systemctl is-active keyrota-rotate@soon.timer)" active
is "no unit has failed" "$(failed_units)" ""

# ---- and after a boot -----------------------------------------------------------------------------------------

rm $POLICIES/soon.ini
systemctl daemon-reload
ok "a policy is removed" keyrota rotate
systemctl --quiet mask keyrota-rotate.path
next_boot
