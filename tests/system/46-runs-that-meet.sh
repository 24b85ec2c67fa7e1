#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs that meet, and runs that come to nothing: what one has armed or wants is not lost to another that began earlier and
# ends later; a step whose run failed is tried again; what a revocation could not be done to is not left for a window.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

wait_for_boot
environment_set testing
# The look at boot would find again what is lost.
systemctl stop keyrota-rotate.timer

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

# ---- a sweep that takes its time -----------------------------------------------------------------------------

# While /run/slow is there its start waits for a word, and then fails.
consumer_write slow.service "ExecStartPre=/bin/sh -c 'test ! -e /run/slow || { read word </run/slow; exit 1; }'"
for unit in slow-issuer quick-issuer quick-verifier late; do
        consumer_write $unit.service
done
policy_make slow ES256 "$(rotation 30d 1h 5min
        deliver slow-issuer.service sign jwt.key pem
        deliver slow.service verify keys.jwks jwks)"
policy_make quick ES256 "$(rotation 30d 1h 5min
        deliver quick-issuer.service sign jwt.key pem
        deliver quick-verifier.service verify keys.jwks jwks)"
systemctl daemon-reload
keyrota provision
systemctl start slow.service slow-issuer.service quick-issuer.service quick-verifier.service
ok "two secrets" systemctl start keyrota-rotate.service
mkfifo /run/slow
sed -i 's/^algorithm = .*/algorithm = ES384/' $POLICIES/slow.ini
systemctl start --no-block keyrota-rotate.service
ok "a service is to be handed a new key" wait_for 30 unit_is slow.service activating
timeout 20 sh -c 'echo go >/run/slow'
ok "... and fails" wait_for_unit 60 keyrota-rotate.service inactive
systemctl stop keyrota-rotate@slow.timer
systemctl start --no-block keyrota-rotate.service
ok "another sweep tries it again" wait_for 30 unit_is slow.service activating
ok "meanwhile a rotation of another secret begins" keyrota rotate --now quick
ok "... and its timer stands at the next step" armed_right quick
policy_make late ES256 "$(rotation 30d 1h
        deliver late.service sign jwt.key pem)"
systemctl daemon-reload
ok "... and a secret is added" keyrota provision
timeout 20 sh -c 'echo go >/run/slow'
rm /run/slow
ok "the sweep ends" wait_for_unit 60 keyrota-rotate.service inactive
ok "the timer of the rotation is where it was" armed_right quick
ok "the secret that was added has its timer" wait_for 10 armed_right late

# ---- a revocation that could not be done to all --------------------------------------------------------------

invocation() {
        systemctl show -P InvocationID "$1"
}

consumer_write pool@.service "ExecStartPre=/bin/sh -c 'test ! -e /run/broken-%i'"
consumer_write pool-issuer.service
policy_make stolen ES256 "$(rotation 30d 1h 5min
        echo "window = $(LC_ALL=C date -d '+3 days' +%a) 02:00-04:00"
        deliver pool-issuer.service sign jwt.key pem
        deliver pool@.service verify keys.jwks jwks)"
systemctl daemon-reload
ok "a secret with a window that is days away" keyrota rotate stolen
systemctl start pool-issuer.service pool@1.service pool@2.service
touch /run/broken-1
second=$(invocation pool@2.service)
refused "revoke: one instance does not come up again" "pool@1.service: could not be restarted" keyrota revoke stolen --yes
is "... so the other one is left running" "$(invocation pool@2.service)" "$second"
rm /run/broken-1
ok "the next try succeeds" keyrota rotate stolen
is "... for the instance that was down" "$(systemctl is-active pool@1.service)" active
ok "... and the other waits for no window with a key that is compromised" test "$(invocation pool@2.service)" != "$second"
is "... so that nothing is left to be done" "$(keyrota status --json stolen | jq -c '[.secrets[].running[] | .stale]')" "[false,false,false]"

# ---- instances that come and go ------------------------------------------------------------------------------

record=/run/keyrota/served/pool@
systemctl start pool@gone.service
ok "an instance is served, which is on record" test -e ${record}gone.service/keys.jwks
systemctl stop pool@gone.service
ok "a sweep" keyrota rotate
ok "... forgets it when it is gone" test ! -e ${record}gone.service
ok "... but not one that runs" test -e ${record}1.service/keys.jwks

# ---- a run that comes to nothing -----------------------------------------------------------------------------

consumer_write soon.service
policy_make soon HS256 "$(rotation 8s 3s
        deliver soon.service sign session.key hex)"
systemctl daemon-reload
systemctl start soon.service
ok "a secret of seconds" keyrota rotate soon
first=$(key_of soon)
journal_mark
mv $STORE/kek.cred "$SCRATCH/"
ok "its next step comes to nothing, which shows" wait_for 30 rotation_failed soon
is "... so that the key stays" "$(key_of soon)" "$first"
wait=$(($(armed_at soon) - $(date +%s)))
ok "... and its timer stands to try it again in five minutes: $wait seconds" test $wait -gt 200 -a $wait -le 300
mv "$SCRATCH/kek.cred" $STORE/
ok "that try succeeds" systemctl start keyrota-rotate@soon.service
ok "... with another key" test "$(key_of soon)" != "$first"
ok "... and the timer stands for what comes next" armed_right soon

is "no unit has failed but the one that was to fail" "$(failed_units)" ""
done_testing
