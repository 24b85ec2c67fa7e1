#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Three secrets rotate by their timers through twenty cryptoperiods of seconds, while tokens are exchanged: not one is
# rejected, no service is restarted more often than a rotation needs, and of the old keys nothing is left anywhere.
# timeout: 600

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

PERIODS=20

wait_for_boot
environment_set testing
user_make somebody

# ---- three secrets, and services that exchange tokens -----------------------------------------------------------

# A verifier of each kind: a credential and a restart; the public file and a reload, or a signal; instances of a template;
# and one that is told of nothing, but keeps what it read for as long as jwks_max_age says.
policy_make es ES256 "$(rotation 6s 3s
        deliver es-issuer.service sign jwt.key pem
        deliver es-verifier.service verify es.jwks jwks
        reads_file es-reader.service 'on_change = reload'
        reads_file es-listener.service 'on_change = signal:HUP')"
policy_make hs HS256 "$(rotation 6s 3s
        deliver hs-issuer.service sign hs.jwk jwk
        deliver hs-gateway@.service verify hs.jwks jwks)"
policy_make ed EdDSA "$(rotation 9s 3s 4s
        deliver ed-issuer.service sign ed.jwk jwk
        reads_file ed-caching.service 'on_change = none')"
names=(es hs ed)
signers=({es,hs,ed}-issuer.service)
restarted=(es-verifier.service hs-gateway@one.service hs-gateway@two.service)

issuer_write es-issuer.service jwt.key 3s
verifier_write es-verifier.service es.jwks
verifier_write es-reader.service /run/keyrota/jwks/es.json "$(reloads es-reader)"
verifier_write es-listener.service /run/keyrota/jwks/es.json
issuer_write hs-issuer.service hs.jwk 3s
verifier_write hs-gateway@.service hs.jwks
issuer_write ed-issuer.service ed.jwk 3s
verifier_write ed-caching.service '/run/keyrota/jwks/ed.json --cache=4'
ok "the policies are right" keyrota check --quiet
systemctl daemon-reload
# the verifiers first: an issuer's first token finds them with its key
ok "issuers and verifiers start" exchange_start "${restarted[@]}" es-{reader,listener}.service ed-caching.service "${signers[@]}"
ok "provisioning has armed the timers" wait_for 20 armed "${names[@]}"
journal_mark
drive es es-issuer.service es-{verifier,reader,listener}.service
drive hs hs-issuer.service hs-gateway@one.service hs-gateway@two.service
drive ed ed-issuer.service ed-caching.service
started=$SECONDS

# ---- twenty cryptoperiods ------------------------------------------------------------------------------------

for name in es hs; do
        ok "$name: $PERIODS cryptoperiods go by" wait_for 480 signed $name $((PERIODS + 1))
done
ok "ed: half as many" wait_for 240 signed ed $((PERIODS / 2 + 1))
diag "$(of_drive es '.kids | length'), $(of_drive hs '.kids | length') and $(of_drive ed '.kids | length') keys have signed in $((SECONDS - started)) seconds"
for name in "${names[@]}"; do
        ok "$name: what rotated was its own unit, started again and again" test "$(rotation_runs $name)" -ge $PERIODS
        is "$name: ... by its timer" "$(systemctl show -P TriggeredBy "keyrota-rotate@$name.service")" "keyrota-rotate@$name.timer"
done
is "no unit has failed" "$(failed_units)" ""

# ---- standstill: one key of each is left -----------------------------------------------------------------------

sed -i 's/^cryptoperiod = .*/cryptoperiod = 1d/' $POLICIES/{es,hs,ed}.ini
ok "a longer cryptoperiod takes effect" keyrota rotate
settled() {
        has_n_keys "$1" 1 && (( $(armed_at "$1") > $(date +%s) + 3600 ))
}
for name in "${names[@]}"; do
        ok "$name: when the last overlap is over one key is left" wait_for 60 settled $name
        driven $name
done

# only NAME PLACE KIDS: a test: these, which PLACE has, are the one active key.
only() {
        is "$1: $2 has the active key and no other" "$3" "$active"
}

for name in "${names[@]}"; do
        active=$(kids_in_state $name active)
        last=$(of_drive $name '.kids[-1]')
        diag "$name: active $active"
        is "$name: the key that signed last is the active one" "$last" "$active"
        is "$name: no other is waiting or kept" "$(kids_in_state $name pre-activation)$(kids_in_state $name deactivated)" ""
        only $name "the stored file" "$(kids_stored testing/$name)"
        only $name "the keyring's set" "$(kids_ring "secret:testing/$name/verify")"
        found=
        for kid in $(of_drive $name '.kids[:-1]'); do
                found=$(in_ring "$kid")
                [[ -z $found ]] || break
        done
        is "$name: no byte in the kernel keyring names an old key" "$found" ""
done

active=$(kids_in_state es active)
only es "the public file" "$(jq -r '[.keys[].kid] | join(" ")' /run/keyrota/jwks/es.json)"
for unit in es-{verifier,reader,listener,issuer}; do
        only es "the running $unit.service" "$(kids_held $unit.service)"
done
only es "es-verifier.service's credential" "$(jq -r '[.keys[].kid] | join(" ")' /run/credentials/es-verifier.service/es.jwks)"
only es "es-verifier.service's entry in the keyring" "$(kids_ring unit:es-verifier.service/es.jwks)"
only es "es-issuer.service's entry in the keyring" "$(kids_ring unit:es-issuer.service/jwt.key)"
same "es: es-issuer.service's credential is the active key" /run/credentials/es-issuer.service/jwt.key \
        <(keyrota read es --unit=es-issuer.service --credential=jwt.key)

active=$(kids_in_state hs active)
for unit in hs-gateway@one hs-gateway@two hs-issuer; do
        only hs "the running $unit.service" "$(kids_held $unit.service)"
done
only hs "hs-gateway@one.service's credential" "$(jq -r '[.keys[].kid] | join(" ")' /run/credentials/hs-gateway@one.service/hs.jwks)"
only hs "hs-gateway@two.service's credential" "$(jq -r '[.keys[].kid] | join(" ")' /run/credentials/hs-gateway@two.service/hs.jwks)"
only hs "hs-issuer.service's credential" "$(jq -r .kid /run/credentials/hs-issuer.service/hs.jwk)"
only hs "the gateways' entry in the keyring" "$(kids_ring unit:hs-gateway@.service/hs.jwks)"
only hs "hs-issuer.service's entry in the keyring" "$(kids_ring unit:hs-issuer.service/hs.jwk)"

active=$(kids_in_state ed active)
only ed "the public file" "$(jq -r '[.keys[].kid] | join(" ")' /run/keyrota/jwks/ed.json)"
for unit in ed-caching ed-issuer; do
        only ed "the running $unit.service" "$(kids_held $unit.service)"
done

# ---- what it cost ----------------------------------------------------------------------------------------------

for unit in "${signers[@]}"; do
        rotations=$(($(of_drive "${unit%%-*}" '.kids | length') - 1))
        is "$unit: one restart for each rotation" "$(($(starts "$unit") - 1))" $rotations
done
for unit in "${restarted[@]}"; do
        rotations=$(($(of_drive "${unit%%-*}" '.kids | length') - 1))
        restarts=$(($(starts "$unit") - 1))
        # to learn the new key and to forget the old; where a step was late, to do both at once
        ok "$unit: $restarts restarts in $rotations rotations are no more than two for each" test $restarts -le $((2 * rotations))
        ok "... and no fewer than one" test $restarts -ge $rotations
done
for unit in es-{reader,listener}.service ed-caching.service; do
        is "$unit: is never restarted" "$(starts $unit)" 1
done
is "no answer was lost in a restart" "$(grep -h '"lost"' "$SOCKETS"/*.log)" ""
is "no unit has failed at the end" "$(failed_units)" ""
ok "keyrota status finds nothing wrong" keyrota status

done_testing
