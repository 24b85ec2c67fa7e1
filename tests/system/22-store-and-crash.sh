#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The store across power cuts and restored backups: what was published is there after the cut, a commit of many secrets that dies
# half-way leaves each of them whole, an older file is refused once the keyring is gone, and the keys can be had without keyrota.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
wait_for_boot

COUNT=12                # secrets of the commit that dies

# NAME GENERATION KEY of each stored file
store_listing() {
        local file name
        for file in "$STORE"/production/*.jwe; do
                name=${file##*/}
                echo "${name%.jwe} $(generation_of "production/${name%.jwe}") $(key_of "${name%.jwe}")"
        done
}

# systemd-creds ... | jose ...: the recipe of keyrota(8), as it stands there. Prints the JWK Set of a secret.
recover() {
        systemd-creds decrypt --name=keyrota-kek /var/lib/keyrota/kek.cred - |
                jose jwe dec -i "/var/lib/keyrota/production/$1.jwe" -k -
}

policies_many() {
        local i
        for (( i = 0; i < COUNT; i++ )); do
                policy_make "many$i" "$( (( i % 2 )) && echo ES256 || echo HS256)" "$(deliver "many$i.service" sign key "$1")"
                (( $# == 1 )) || consumer_write "many$i.service"
        done
}

# ---- a cut right after the first provisioning ------------------------------------------------------------

boot_1() {
        environment_set production
        user_make somebody
        policy_make api HS256 "$(deliver api.service sign session.key hex)"
        policy_make issuer ES256 "$(deliver issuer.service sign jwt.key pem)"
        consumer_write api.service User=somebody
        consumer_make issuer.service DynamicUser=yes
        ok "services start" systemctl start api.service issuer.service
        cp "$(credential_of api.service session.key)" "$(credential_of issuer.service jwt.key)" "$STATE/"
        store_listing >"$STATE/listing"
        next_boot --crash
}

boot_2() {
        is "after a power cut: every key and generation is there" "$(store_listing)" "$(cat "$STATE/listing")"
        same "after a power cut: a service gets the key that it had" "$(credential_of api.service session.key)" "$STATE/session.key"
        same "... and another one, too" "$(credential_of issuer.service jwt.key)" "$STATE/jwt.key"
        ok "... status is content" keyrota status

        recovery
        policies_many jwk units
        systemctl daemon-reload
        ok "(many secrets are made)" keyrota provision
        store_listing | grep '^many' >"$STATE/many"

        # a rotation beside it would complete what dies here
        rotation_off
        ok "(no rotation is under way)" wait_for_unit 60 keyrota-rotate.service inactive
        # a new generation of all of them, which dies at a rename
        policies_many jwks
        strace -f -qq -o "$SCRATCH/trace" -e trace=renameat,syncfs,fsync -e inject=renameat:signal=KILL:when=$((COUNT / 2)) keyrota provision
        is "(a commit of $COUNT secrets dies in its middle)" $? 137
        store_generations >"$STATE/generations"
        next_boot --crash
}

store_generations() {
        local i
        for (( i = 0; i < COUNT; i++ )); do
                generation_of "production/many$i"
        done | sort | uniq -c | awk '{ print $2 ":" $1 }' | paste -sd' '
}

recovery() {
        recover issuer >"$SCRATCH/issuer.jwks"
        is "without keyrota: the recipe of keyrota(8) opens the store" "$(jq -r '.keys | length' "$SCRATCH/issuer.jwks")" 1
        # what the service got, and what was recovered, say the same of themselves
        jq -c '.keys[0]' "$SCRATCH/issuer.jwks" >"$SCRATCH/issuer.jwk"
        echo '{"iss":"recovered"}' | jose jws sig -I - -k "$SCRATCH/issuer.jwk" -c -o "$SCRATCH/token"
        ok "... a token signed with the recovered key" test -s "$SCRATCH/token"
        ok "... verifies with what verifiers read" jose jws ver -i "$SCRATCH/token" -k /run/keyrota/jwks/issuer.json -O /dev/null
        openssl pkey -in "$STATE/jwt.key" -pubout >"$SCRATCH/served.pub" 2>/dev/null
        python3 - "$SCRATCH/issuer.jwk" >"$SCRATCH/recovered.pub" <<'PYTHON'
import json, sys
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import ECAlgorithm
key = ECAlgorithm.from_jwk(open(sys.argv[1]).read())
sys.stdout.write(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode())
PYTHON
        same "... and is the key that the service got" "$SCRATCH/recovered.pub" "$SCRATCH/served.pub"
        recover api | jq -r '.keys[0].k' | basenc --base64url -d 2>/dev/null | od -An -v -tx1 | tr -d ' \n' >"$SCRATCH/recovered.hex"
        same "... so is the HMAC key" "$SCRATCH/recovered.hex" "$STATE/session.key"
        ok "... its times and its policy are there" test "$(recover api | jq '.keys[0].created > 1000000000 and (.policy | contains("api.service"))')" = true
}

# ---- a cut in the middle of a commit ------------------------------------------------------------------------

boot_3() {
        local i
        diag "generations after the cut: $(cat "$STATE/generations")"
        like "the cut came in the middle: some files were new, some old" "$(cat "$STATE/generations")" "^1:[0-9]+ 2:[0-9]+$"
        is "the boot has made every one new" "$(store_generations)" "2:$COUNT"
        is "nothing half-done is left" "$(find $STORE -name '.*.????????' | wc -l)" 0
        is "every secret has the key that it had" "$(store_listing | grep '^many' | awk '{ print $1, $3, $4 }')" \
                "$(awk '{ print $1, $3, $4 }' "$STATE/many")"
        ok "every service starts" systemctl start $(seq --format='many%g.service' 0 $((COUNT - 1)))
        ok "status is content" keyrota status
        is "no file was refused at boot" "$(journalctl -b -o cat KEYROTA_EVENT=store-refused)" ""

        # a first commit that dies: secrets that are there, and secrets that never were
        for (( i = 0; i < COUNT; i++ )); do
                policy_make "fresh$i" HS256 "$(deliver "fresh$i.service" sign key raw)"
        done
        strace -f -qq -o /dev/null -e trace=renameat -e inject=renameat:signal=KILL:when=$((COUNT / 3)) keyrota provision
        is "(a first commit dies, too)" $? 137
        ls $STORE/production/fresh*.jwe >"$STATE/fresh"
        next_boot --crash
}

boot_4() {
        local before
        before=$(wc -l <"$STATE/fresh")
        ok "(some of them had been stored, some not)" test "$before" -gt 0 -a "$before" -lt $COUNT
        is "after that cut all are made" "$(ls $STORE/production/fresh*.jwe | wc -l)" $COUNT
        is "... those that were stored are not made anew" "$(for (( i = 0; i < COUNT; i++ )); do generation_of "production/fresh$i"; done | sort -u)" 1
        ok "... status is content" keyrota status
        rm $POLICIES/{fresh,many}*.ini

        # ---- a restored backup. Generation 1 is kept, 2 goes into use
        cp -p $STORE/production/api.jwe "$STATE/api.jwe"
        cp -p $STORE/production/issuer.jwe "$STATE/issuer.jwe"
        sed -i 's/^format = .*/format = base64/' $POLICIES/api.ini
        ok "(a newer generation)" keyrota provision
        is "(... is stored)" "$(generation_of production/api)" 2
        cp -p "$STATE/api.jwe" $STORE/production/api.jwe
        ok "an older file is refused while the keyring knows better" \
                provision_fails 1 "generation 1, older than generation 2 that has been in use; .*--accept-older=api"
        next_boot
}

boot_5() {
        is "after a boot the keyring is new, and the journal knows better" \
                "$(journalctl -b -o cat --output-fields=KEYROTA_NAME KEYROTA_EVENT=store-refused | sort -u)" api
        is "... the provisioner has failed" "$(unit_result keyrota-provision.service)" exit-code
        start_fails_with_243 api.service "... the service is refused"
        ok "... the other secret is not concerned" credential_of issuer.service jwt.key
        ok "... status says so" status_says "api" api
        is "... the file was left alone" "$(cmp $STORE/production/api.jwe "$STATE/api.jwe" && echo same)" same
        refused "--accept-older of a name that no policy has" "there is no policy of that name" keyrota provision --accept-older=apu
        ok "--accept-older takes it" keyrota provision --accept-older=api
        is "... as the newest generation of all" "$(generation_of production/api)" 3
        ok "... the service starts" systemctl start api.service
        is "... with the key of the backup, rendered as the policy now says" \
                "$(base64 -d <"$(credential_of api.service session.key)" | od -An -v -tx1 | tr -d ' \n' | sha256sum)" "$(sha256sum <"$STATE/session.key")"
        ok "... status is content" keyrota status

        # the newest file of the backup is taken without a word
        cp -p "$STATE/issuer.jwe" $STORE/production/issuer.jwe
        ok "a restored file that is the newest is taken" keyrota provision
        next_boot --crash
}

boot_6() {
        ok "after that, too, a power cut loses nothing" keyrota status
        is "... nor makes another generation" "$(generation_of production/api) $(generation_of production/issuer)" "3 1"
        same "... nor another key" "$(credential_of issuer.service jwt.key)" "$STATE/jwt.key"
        done_testing
}

"boot_$BOOT"
