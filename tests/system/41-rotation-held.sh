#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A rotation waits for whoever must have a key, says for whom, shows as failed until then, and goes on by itself: a
# verifier that refuses to be restarted, one whose restart fails, a signer that refuses it. A stopped unit is not waited
# for. All the while tokens are exchanged, and not one is rejected.
# timeout: 400

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

wait_for_boot
environment_set testing
user_make somebody

# ---- four secrets --------------------------------------------------------------------------------------------

# exchange_secret NAME: an issuer, a verifier with a credential and one that reads the public file.
exchange_secret() {
        policy_make "$1" ES256 "$(rotation 1d 3s
                deliver "$1-issuer.service" sign jwt.key pem
                deliver "$1-verifier.service" verify keys.jwks jwks
                reads_file "$1-reader.service" 'on_change = reload')"
        issuer_write "$1-issuer.service" jwt.key 3s
        verifier_write "$1-verifier.service" keys.jwks
        verifier_write "$1-reader.service" "/run/keyrota/jwks/$1.json" "$(reloads "$1-reader")"
}

refuse_restart() {
        mkdir -p "/etc/systemd/system/$1.d"
        printf '%s\n' '[Unit]' RefuseManualStop=yes >"/etc/systemd/system/$1.d/refuse.conf"
}

accept_restart() {
        rm "/etc/systemd/system/$1.d/refuse.conf"
}

for name in refuse fail signer stopped; do
        exchange_secret $name
done
# without a socket unit, which would start it again and again
rm /etc/systemd/system/fail-verifier.socket
verifier_write fail-verifier.service "keys.jwks --listen=$SOCKETS/fail-verifier" "ExecStartPre=/bin/sh -c 'test ! -e /run/fail'"
rm /etc/systemd/system/fail-verifier.socket
systemctl daemon-reload
ok "the services start" exchange_start {refuse,fail,signer,stopped}-{verifier,reader,issuer}.service
refuse_restart refuse-verifier.service
refuse_restart signer-issuer.service
touch /run/fail
systemctl daemon-reload
exchange_stop stopped-verifier.service
for name in refuse fail signer; do
        drive $name $name-issuer.service $name-verifier.service $name-reader.service
done
drive stopped stopped-issuer.service stopped-reader.service
declare -A first
for name in refuse fail signer stopped; do
        first[$name]=$(kids_in_state $name active)
        sed -i 's/^cryptoperiod = .*/cryptoperiod = 10s/' $POLICIES/$name.ini
done
ok "cryptoperiods of ten seconds take effect" keyrota provision

# ---- what is held back ---------------------------------------------------------------------------------------

is_overdue() {
        [[ $(keyrota status --json "$1" | jq '.secrets[].overdue') == true ]]
}

# held NAME UNIT: tests: the rotation of NAME waits for UNIT, and that is plain to see.
held() {
        ok "$1: its rotation shows as failed" wait_for 40 rotation_failed "$1"
        ok "$1: keyrota status names $2" status_says "$2" "$1"
        ok "$1: another try is armed" test "$(armed_at "$1")" -gt "$(($(date +%s) - 2))"
}

held refuse refuse-verifier.service
held fail fail-verifier.service
like "the unit whose restart failed is failed" " $(failed_units) " " fail-verifier.service "
for name in refuse fail; do
        ok "$name: the cryptoperiod ends, and is over" wait_for 40 is_overdue $name
        is "$name: the key that every verifier has goes on signing" "$(kids_in_state $name active)" "${first[$name]}"
        is "$name: ... and no other has signed" "$(of_drive $name .kids)" "${first[$name]}"
        is "$name: its successor is waiting, just one" "$(kids_in_state $name pre-activation | wc -w)" 1
        is "$name: the verifier that could be told knows both" "$(kids_held $name-reader.service)" \
                "$(printf '%s\n' "${first[$name]}" "$(kids_in_state $name pre-activation)" | sort | paste -sd' ')"
done
is "refuse: the verifier that refuses runs on with what it had" "$(kids_held refuse-verifier.service)" "${first[refuse]}"

held signer signer-issuer.service
is "signer: the next key is active" "$(($(kids_in_state signer active | wc -w))) $([[ $(kids_in_state signer active) != "${first[signer]}" ]] && echo another)" "1 another"
active_for() {
        (( $(date +%s) - $(keyrota status --json "$1" | jq '.secrets[].keys[] | select(.state == "active") | .activates') >= $2 ))
}
ok "signer: ... for longer than an overlap" wait_for 30 active_for signer 6
is "signer: its issuer signs with the key before" "$(of_drive signer .kids)" "${first[signer]}"
for unit in signer-verifier.service signer-reader.service; do
        like "signer: ... which $unit has still" " $(kids_held $unit) " " ${first[signer]} "
done
like "signer: ... and the store too" " $(kids_stored testing/signer) " " ${first[signer]} "

# ---- released, it goes on by itself ----------------------------------------------------------------------------

for name in refuse fail; do
        is "$name: held to the last" "$(of_drive $name .kids)" "${first[$name]}"
done
accept_restart refuse-verifier.service
accept_restart signer-issuer.service
rm /run/fail
systemctl daemon-reload
released=$(date +%s)
for name in refuse fail signer; do
        pause=$(($(armed_at $name) - released))
        diag "$name: the next try comes in $pause seconds"
        ok "$name: the pause until then has not outgrown the time that it was held" test $pause -le $SECONDS
        ok "$name: another key signs" wait_for $((pause > 0 ? pause + 30 : 30)) signed $name 2
        ok "$name: and its rotation is failed no more" wait_for 30 eval ! rotation_failed $name
        ok "$name: it goes on, on time" wait_for 60 signed $name 3
done
# ---- what a stopped unit holds back: nothing -------------------------------------------------------------------

ok "stopped: a verifier that is stopped is not waited for" wait_for 60 signed stopped 3
ok "stopped: ... and nothing has failed" ! rotation_failed stopped
ok "stopped: ... nor is anything wrong" keyrota status stopped
is "stopped: ... nor has it been started" "$(systemctl is-active stopped-verifier.service) $(starts stopped-verifier.service)" "inactive 1"
ok "stopped: it starts" exchange_start stopped-verifier.service
is "stopped: ... with what the others have by now" "$(kids_held stopped-verifier.service)" "$(kids_held stopped-reader.service)"

# ---- in the end ------------------------------------------------------------------------------------------------

is "no unit is failed any more" "$(failed_units)" ""
ok "the unit whose restart failed runs" wait_for_unit 20 fail-verifier.service active
ok "keyrota status finds nothing wrong" wait_for 30 keyrota status

for name in refuse fail signer stopped; do
        driven $name
done
is "no answer was lost in a restart" "$(grep -h '"lost"' "$SOCKETS"/*.log)" ""
done_testing
