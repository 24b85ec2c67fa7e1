#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Services whose unit files say nothing of keyrota get their credentials because policies name them: every kind of
# service and every format, each byte for byte what `keyrota read` shows, for that service's user alone, and each
# fetch on record once.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"

wait_for_boot
journalctl --update-catalog             # README.md, "Install"
environment_set testing
user_make somebody
user_make stranger

# ---- kinds of services -------------------------------------------------------------------------------------

consumer_write root.service
consumer_write user.service User=somebody
consumer_write dynamic.service DynamicUser=yes
consumer_write private-users.service PrivateUsers=yes User=somebody
consumer_write sandboxed.service DynamicUser=yes ProtectSystem=strict ProtectHome=yes PrivateMounts=yes PrivateTmp=yes \
        PrivateDevices=yes PrivateNetwork=yes ProtectProc=invisible NoNewPrivileges=yes CapabilityBoundingSet= KeyringMode=private
consumer_write sliced.service Slice=sliced-deep.slice Delegate=yes
consumer_write gateway@.service User=somebody
consumer_write several.service User=somebody
consumer_write reader.service User=somebody "ExecStart=" "ExecStart=/bin/cat /run/keyrota/jwks/issuer.json"
kinds=(root user dynamic private-users sandboxed sliced)

policy_make session HS256 "$(for kind in "${kinds[@]}"; do deliver "$kind.service" sign session.key hex; done)"
policy_make issuer ES256 "$(deliver issuer.service sign jwt.key pem
        deliver gateway@.service verify issuer.jwks jwks
        deliver gateway@more.service verify issuer.pem pem
        deliver several.service sign jwt.key pem
        printf '%s\n' '[deliver:reader.service]' 'use = verify')"
policy_make regional EdDSA "$(deliver gateway@own.service verify issuer.jwks jwks
        deliver several.service verify regional.jwk jwk)"
policy_make shared HS512 "$(deliver several.service sign shared.secret base64 'newline = yes'
        deliver steps.service sign shared.secret raw
        deliver stays.service sign shared.secret raw
        deliver other.service sign shared.secret raw)"
policy_make rsa RS256 'size = 2048' "$(deliver several.service sign rsa.pem pem)"
ok "the policies are right" keyrota check --quiet
systemctl daemon-reload

for kind in "${kinds[@]}"; do
        is "$kind.service: its unit file says nothing of credentials" "$(grep -c Credential= "/etc/systemd/system/$kind.service")" 0
        delivered "$kind.service: has its credential as keyrota read shows it" "$kind.service" session.key session
        is "... and no other" "$(credentials "$kind.service")" session.key
done
file=$(credential_of root.service session.key)
ok "it is 64 hexadecimal digits without a newline" test "$(stat -c %s "$file") $(grep -Ecx '[0-9a-f]{64}' "$file")" = "64 1"
is "no unit file of these has been changed" "$(systemctl show -P FragmentPath root.service)" /etc/systemd/system/root.service
is "what names the credential is the generator's drop-in" "$(systemctl show -P DropInPaths root.service)" \
        /run/systemd/generator/root.service.d/50-keyrota-session.conf

# the second instance's name has a character that systemd escapes
for instance in one 'two\x2dthree'; do
        delivered "gateway@$instance.service: has what the policy gives the template" "gateway@$instance.service" \
                issuer.jwks issuer gateway@.service
done
delivered "gateway@own.service: has what a policy gives this instance" gateway@own.service issuer.jwks regional
ok "... which is something else" ! cmp -s "$SCRATCH/wanted/gateway@.service.issuer.jwks" \
        "$SCRATCH/wanted/gateway@own.service.issuer.jwks"

delivered "gateway@more.service: has another credential, which the same policy gives this instance" gateway@more.service issuer.pem issuer
delivered "... and what it gives the template" gateway@more.service issuer.jwks issuer gateway@.service

journal_mark
delivered "several.service: has its credential from a first secret" several.service jwt.key issuer
delivered "... from a second" several.service regional.jwk regional
delivered "... from a third" several.service shared.secret shared
delivered "... and from a fourth, of RSA" several.service rsa.pem rsa
is "... and no other" "$(credentials several.service)" "jwt.key regional.jwk rsa.pem shared.secret"
is "... and each of the four is on record once" "$(records several.service .KEYROTA_CREDENTIAL | tr -d '"' | sort | paste -sd' ')" \
        "jwt.key regional.jwk rsa.pem shared.secret"

# ---- the public key sets -----------------------------------------------------------------------------------

ok "an ordinary user reads the JWKS file" as stranger cat /run/keyrota/jwks/issuer.json
same "... and it is the set that keyrota read shows" /run/keyrota/jwks/issuer.json <(keyrota read issuer --newline)
is "... of one key of the secret, without its private part" \
        "$(jq -c '[.keys[] | [.kid, .alg, .use, has("d")]]' /run/keyrota/jwks/issuer.json)" "[[\"$(kid_of issuer)\",\"ES256\",\"sig\",false]]"
is "nobody but root can write it" "$(stat -c '%U %G %a' /run/keyrota/jwks/issuer.json)" "root root 644"
is "HMAC secrets have no such file" "$(cd /run/keyrota/jwks && echo *)" "issuer.json regional.json rsa.json"
ok "a service that a policy lets verify without a credential starts" systemctl start reader.service
same "... and as its own user reads that file" "$SCRATCH/credentials/reader.service.tar" /run/keyrota/jwks/issuer.json
is "... after the provisioner, and with no credential" \
        "$(systemctl show -P After reader.service | tr ' ' '\n' | grep -cx keyrota-provision.service) $(systemctl cat reader.service | grep -c Credential=)" "1 0"

# ---- whose it is -------------------------------------------------------------------------------------------

unit_write stays.service Type=exec User=somebody "ExecStart=/bin/sleep infinity"
unit_write other.service Type=exec User=stranger "ExecStart=/bin/sleep infinity"
systemctl daemon-reload
systemctl start stays.service other.service
file=/run/credentials/stays.service/shared.secret
same "a running service's credential is in its folder" $file "$(wanted shared stays.service shared.secret)"
ok "the service's user reads it" as somebody cat $file
refused "another service's user does not" "Permission denied" as stranger cat $file
refused "... nor what the folder holds" "Permission denied" as stranger ls ${file%/*}
refused "... nor nobody" "Permission denied" as nobody cat $file
refused "the service's user cannot change it" "Permission denied|Read-only" as somebody sh -c "echo >>$file"
refused "... and not read that of the other service" "Permission denied" as somebody cat /run/credentials/other.service/shared.secret
systemctl stop stays.service other.service
ok "it is gone when the service has stopped" ! test -e $file

# ---- one fetch, one record ---------------------------------------------------------------------------------

journal_mark
systemctl restart user.service
is "one start of one process is one record" "$(records user.service | wc -l)" 1
is "... of a credential served" "$(records user.service '[.KEYROTA_EVENT, .KEYROTA_VERDICT, .KEYROTA_REASON]')" \
        '["credential-served","granted",null]'
is "... with the unit's invocation" "$(records user.service .KEYROTA_INVOCATION_ID)" "\"$(systemctl show -P InvocationID user.service)\""
is "... with credential, secret and environment" \
        "$(records user.service '[.KEYROTA_CREDENTIAL, .KEYROTA_NAME, .KEYROTA_ENVIRONMENT]')" '["session.key","session","testing"]'
is "... with the kid of the key that keyrota status shows" "$(records user.service .KEYROTA_KID)" "\"$(kid_of session)\""
is "... with the generation of the store" "$(records user.service .KEYROTA_GENERATION)" "\"$(generation_of testing/session)\""
is "... written by the credential server" "$(records user.service '[._SYSTEMD_UNIT, ._UID]')" '["keyrota-credential.service","0"]'
invocation=$(systemctl show -P InvocationID user.service)
text=$(journalctl --catalog --output=short _UID=0 "KEYROTA_INVOCATION_ID=$invocation")
like "the catalog explains it" "$text" "The unit user.service \(invocation $invocation\) has been given"
ok "... and no field is left open there" ! grep -q @KEYROTA <<<"$text"

# each process of a start, and each restart, fetches again: ExecStartPre= and ExecStart=, twice
unit_make steps.service '[Unit]' StartLimitIntervalSec=0 '[Service]' Type=exec Restart=on-failure RestartSec=0 RemainAfterExit=yes \
        "ExecStartPre=/bin/sh -c 'cat \"\$\${CREDENTIALS_DIRECTORY}/shared.secret\" >>$SCRATCH/steps'" \
        "ExecStart=/bin/sh -c 'cat \"\$\${CREDENTIALS_DIRECTORY}/shared.secret\" >>$SCRATCH/steps; test -e $SCRATCH/failed || { : >$SCRATCH/failed; exit 1; }'"
journal_mark
systemctl start steps.service
steps_done() {
        [[ $(systemctl show -P NRestarts -P SubState steps.service | paste -sd' ') == *exited* && $(stat -c %s "$SCRATCH/steps") == 256 ]]
}
ok "a service with ExecStartPre= that fails once is restarted" wait_for 30 steps_done
file=$(wanted shared steps.service shared.secret)
same "... and each of its four processes had the same bytes" "$SCRATCH/steps" <(cat "$file" "$file" "$file" "$file")
is "... of which there are four records" "$(records steps.service .KEYROTA_VERDICT | sort | uniq -c | xargs)" "4 granted"
is "... the last two of them of the second start" \
        "$(records steps.service .KEYROTA_INVOCATION_ID | tail -n 2 | uniq | tr -d '"')" "$(systemctl show -P InvocationID steps.service)"
is "... the first two of another" "$(records steps.service .KEYROTA_INVOCATION_ID | uniq -c | awk '{ print $1 }' | xargs)" "2 2"

# ---- every format ------------------------------------------------------------------------------------------

consumer_write format@.service DynamicUser=yes

# formats SECRET ALGORITHM FORMAT...: a policy that delivers each of these with and without a newline, to sign and to
# verify; adds to `deliveries`
deliveries=()
formats() {
        local secret=$1 algorithm=$2 format use newline sections=()
        shift 2
        for format; do
                for use in sign verify; do
                        for newline in yes no; do
                                deliveries+=("$secret $format $use $newline")
                                sections+=("$(deliver "format@$secret-$format-$use-$newline.service" $use it "$format" "newline = $newline")")
                        done
                done
        done
        policy_make "$secret" "$algorithm" "${sections[@]}"
}
formats hmac HS256 jwk jwks raw hex base64 base64url
formats ecdsa ES384 jwk jwks pem
formats eddsa EdDSA jwk jwks pem
formats rsapss PS256 jwk jwks pem
systemctl daemon-reload
units=()
for delivery in "${deliveries[@]}"; do
        units+=("format@${delivery// /-}.service")
done
ok "${#units[@]} services, one for each format, start" systemctl start "${units[@]}"

# form_of SECRET FORMAT USE FILE: what the bytes are, without a final newline, as other programs read them
form_of() {
        local file=$4
        case $2 in
                jwk) jq -r '[.kty, .use, has("d") or has("k")] | join(" ")' "$file" ;;
                jwks) jq -r '.keys[] | [.kty, .use, has("d") or has("k")] | join(" ")' "$file" ;;
                pem) openssl pkey $([[ $3 == sign ]] || echo -pubin) -in "$file" -pubout | head -n 1 ;;
                raw) basenc --base16 -w0 "$file" | tr A-F a-f ;;
                hex) cat "$file" ;;
                base64) base64 -d "$file" | basenc --base16 -w0 | tr A-F a-f ;;
                base64url) { cat "$file" && printf '='; } | basenc --base64url -d | basenc --base16 -w0 | tr A-F a-f ;;
        esac
}
hmac=$(keyrota read hmac --use=sign --format=hex)

for delivery in "${deliveries[@]}"; do
        read -r secret format use newline <<<"$delivery"
        unit=format@$secret-$format-$use-$newline.service
        delivered "$secret, $format, $use, newline = $newline: as keyrota read shows it" "$unit" it "$secret"
        file=$SCRATCH/credentials/$unit/it
        if [[ $newline == yes ]]; then
                with=$file
                continue
        fi
        same "... and with the newline it is one byte more" <(cat "$file" && echo) "$with"
        case $secret.$format.$use in
                hmac.jwk*) pattern="^oct sig true$" ;;
                hmac.*) pattern="^$hmac$" ;;
                *.pem.*) pattern="^-----BEGIN PUBLIC KEY-----$" ;;
                *.sign) pattern="^(EC|OKP|RSA) sig true$" ;;
                *) pattern="^(EC|OKP|RSA) sig false$" ;;
        esac
        form=$(form_of "$secret" "$format" "$use" "$file" 2>&1)
        ok "... and it is a right $format" grep -Eqx -- "$pattern" <<<"$form"
done

# ---- no key bytes on record --------------------------------------------------------------------------------

for name in session issuer regional shared rsa hmac ecdsa eddsa rsapss; do
        keyrota read $name --use=sign --format=jwk
        echo
done >"$SCRATCH/keys"
search() {
        python3 "${BASH_SOURCE[0]%/*}/../memory-search.py" "$@" <"$SCRATCH/keys"
}
journalctl --sync
journalctl --output=export --all >"$SCRATCH/journal"
ok "the search finds the key in a credential" ! search "$SCRATCH/credentials/root.service/session.key"
ok "... in the journal, whole, it finds no byte of any key" search "$SCRATCH/journal"
ok "... nor in its files" search /var/log/journal/*/*.journal

done_testing
