#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The system is down, after a shutdown and after a crash, while several steps of its rotations come due. The boot catches
# up in order and once; tokens from before that still live are accepted.
# timeout: 120

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

CARRY=$STATE/tokens
DRIVES=$STATE
services=({quick,slow}-{verifier,issuer}.service quick-reader.service)

# Of quick several steps come due while the system is down; of slow, whose tokens live on meanwhile, the end of the
# cryptoperiod.
policies() {
        policy_make quick ES256 "$(rotation 8s 3s
                deliver quick-issuer.service sign jwt.key pem
                deliver quick-verifier.service verify keys.jwks jwks
                reads_file quick-reader.service 'on_change = reload')"
        policy_make slow HS256 "$(rotation 22s 16s
                deliver slow-issuer.service sign key.jwk jwk
                deliver slow-verifier.service verify keys.jwks jwks)"
        issuer_write quick-issuer.service jwt.key 3s
        verifier_write quick-verifier.service keys.jwks
        verifier_write quick-reader.service /run/keyrota/jwks/quick.json "$(reloads quick-reader)"
        issuer_write slow-issuer.service key.jwk 16s
        verifier_write slow-verifier.service keys.jwks
        systemctl daemon-reload
        # where the logs of the services are to be, before they start
        echo "d $SOCKETS 1777" >/etc/tmpfiles.d/exchange.conf
        exchange_enable "${services[@]}"
}

drives() {
        CARRY=$STATE/tokens-quick drive quick quick-issuer.service quick-verifier.service quick-reader.service
        CARRY=$STATE/tokens-slow drive slow slow-issuer.service slow-verifier.service
}

remember() {
        local name
        for name in quick slow; do
                none_rejected $name
                kids_in_state $name active >"$STATE/active-$name"
                generation_of testing/$name >"$STATE/generation-$name"
        done
        date +%s >"$STATE/down"
}

# Is the active key's cryptoperiod over in less than SECONDS?
ends_within() {
        (( $(keyrota status --json "$1" | jq '.secrets[].keys[] | select(.state == "active") | .deactivates') <= $(date +%s) + $2 ))
}

waits_for_activation() {
        [[ -n $(kids_in_state "$1" pre-activation) ]]
}

# What every boot after the first has to show.
caught_up() {
        local name generation

        diag "down for $(($(date +%s) - $(cat "$STATE/down"))) seconds; generations $(cat "$STATE"/generation-* | paste -sd' ')"
        ok "the timers stand again" wait_for 30 armed quick slow
        for name in quick slow; do
                ok "$name: a key was due, and signs" wait_for 60 eval "[[ \$(of_drive $name '.kids[-1]') != $(cat "$STATE/active-$name") ]]"
        done
        is "slow: tokens from before were carried over" "$(of_drive slow '.carried > 5')" true
        ok "quick: it goes on, by its timer" wait_for 60 signed quick 3
        for name in quick slow; do
                none_rejected $name
        done
        # created, published, activated, deactivated, destroyed: at most so many changes of the set for each key that signed
        generation=$(($(generation_of testing/quick) - $(cat "$STATE/generation-quick")))
        ok "quick: no storm: $generation changes for $(of_drive quick '.kids | length') keys" \
                test $generation -le $((5 * ($(of_drive quick '.kids | length') + 1)))
        generation=$(($(generation_of testing/slow) - $(cat "$STATE/generation-slow")))
        ok "slow: no storm: $generation changes for $(of_drive slow '.kids | length') keys" test $generation -le 12
        ok "slow: at most two keys have signed in this boot" test "$(of_drive slow '.kids | length')" -le 2
        is "no unit has failed" "$(failed_units)" ""
        is "the service manager has nothing to say about our units" "$(manager_complaints)" ""
}

boot_1() {
        wait_for_boot
        environment_set testing
        user_make somebody
        policies
        ok "issuers and verifiers start" exchange_start "${services[@]}"
        ok "provisioning has armed the timers" wait_for 20 armed quick slow
        drives
        ok "quick: rotates" wait_for 60 signed quick 2
        ok "slow: its cryptoperiod is about to end" wait_for 60 ends_within slow 6
        remember
        next_boot --after=6
}

boot_2() {
        wait_for_boot
        drives
        caught_up
        ok "slow: its cryptoperiod is about to end" wait_for 60 ends_within slow 6
        ok "quick: a key is waiting for its activation" wait_for 30 waits_for_activation quick
        remember
        next_boot --crash --after=6
}

boot_3() {
        wait_for_boot
        drives
        caught_up
        done_testing
}

"boot_$BOOT"
