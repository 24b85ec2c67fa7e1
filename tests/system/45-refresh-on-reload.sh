#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With systemd 260 and later a reload brings a running service its new credentials: on_change = reload rotates an issuer
# and its verifiers without a restart, and not one token is rejected.
# suites: sid
# timeout: 300

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
(( version >= 260 )) || skip_all "systemd $version: RefreshOnReload= comes with 260"

ROTATIONS=5
wait_for_boot
environment_set testing
user_make somebody

policy_make es ES256 "$(rotation 8s 3s
        deliver es-issuer.service sign jwt.key pem 'on_change = reload'
        deliver es-verifier@.service verify es.jwks jwks 'on_change = reload')"
issuer_write es-issuer.service jwt.key 3s "$(reloads es-issuer)"
verifier_write es-verifier@.service es.jwks "ExecReload=$EXCHANGE ask $SOCKETS/es-verifier@%i load"
units=(es-issuer.service es-verifier@one.service es-verifier@two.service)
ok "the policy is right here" keyrota check --quiet
systemctl daemon-reload
ok "issuer and verifiers start" exchange_start "${units[@]:1}" "${units[0]}"

same_run() {
        systemctl show -P MainPID -P InvocationID "$1" | paste -sd' '
}

declare -A run
for unit in "${units[@]}"; do
        run[$unit]=$(same_run "$unit")
done
ok "provisioning has armed the timers" wait_for 20 armed es
first=$(kid_of es)
drive es es-issuer.service es-verifier@one.service es-verifier@two.service
ok "$ROTATIONS rotations go by" wait_for 200 signed es $((ROTATIONS + 1))
sed -i 's/^cryptoperiod = .*/cryptoperiod = 1d/' $POLICIES/es.ini
ok "a longer cryptoperiod takes effect" keyrota rotate
ok "when the last overlap is over one key is left" wait_for 60 has_n_keys es 1
driven es

active=$(kid_of es)
ok "it is another than the first" test "$active" != "$first"
for unit in "${units[@]}"; do
        is "$unit: is the same run of the same process" "$(same_run "$unit")" "${run[$unit]}"
        is "$unit: ... which works with the new key" "$(kids_held "$unit")" "$active"
        is "$unit: ... and was started once" "$(starts "$unit")" 1
done
is "the credential of a running verifier is the new set" "$(jq -r '[.keys[].kid] | join(" ")' /run/credentials/es-verifier@one.service/es.jwks)" "$active"
same "... and the issuer's the new key" /run/credentials/es-issuer.service/jwt.key <(keyrota read es --unit=es-issuer.service --credential=jwt.key)
for unit in "${units[@]}"; do
        read -r secret invocation begun now <<<"$(cat "/run/keyrota/served/$unit/"*)"
        is "$unit: on record is what this very run was given" "$secret $invocation" "testing/es $(systemctl show -P InvocationID "$unit")"
        ok "$unit: ... first generation $begun, by now $now" test "$begun" -lt "$now"
done
is "no unit has failed" "$(failed_units)" ""
ok "keyrota status finds nothing wrong" keyrota status
done_testing
