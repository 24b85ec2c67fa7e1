#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# keyrota at boot, as README.md installs it: the key-encryption key of the first boot, keys and credentials there
# before the services that want them, and nothing that holds up a boot.
# timeout: 90

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"

units=(keyrota.target keyrota-setup.service keyrota-provision.service keyrota-provision-rsa.service
        keyrota-credential.socket keyrota-credential.service keyrota-read.socket keyrota-read.service)
consumers=(api.service issuer.service verifier@one.service early.service)

# boot_consumer UNIT TARGET LINE [UNIT-LINE...]: a service that TARGET wants and that says nothing of keyrota. LINE goes to
# [Service], the others to [Unit].
boot_consumer() {
        local unit=$1 target=$2 line=$3
        shift 3
        unit_write "$unit" '[Unit]' "$@" '[Service]' Type=oneshot RemainAfterExit=yes "$line" \
                "StandardOutput=truncate:$SCRATCH/credentials/%n.tar" \
                "ExecStart=/bin/sh -c 'exec tar -cf - -C \"\$\${CREDENTIALS_DIRECTORY:-/mnt}\" .'"
        [[ $unit == *@.service ]] || systemctl --quiet add-wants "$target" "$unit"
}

# Each of the credentials of these units is what keyrota read says that they get.
credentials_right() {
        local line unit id secret file
        for line; do
                read -r unit id secret <<<"$line"
                file=$(credential_of "$unit" "$id")
                keyrota read "$secret" --unit="$(sed 's/@.*\./@./' <<<"$unit")" --credential="$id" >"$SCRATCH/wanted"
                same "$unit has its $id" "$file" "$SCRATCH/wanted"
        done
}

# The script runs after multi-user.target: that it runs at all shows that this was reached.
is "boot $BOOT: multi-user.target is reached" "$(systemctl is-active multi-user.target)" active

kek_kind() {
        base64 -d "$1" | head -c 16 | od -An -tx1 | tr -d ' \n'
}

keys_in_store() {
        find "$STORE" -name '*.jwe' | wc -l
}

# ---- as installed ------------------------------------------------------------------------------------------

boot_1() {
        wait_for_boot
        is "a machine without a policy is well" "$(systemctl is-system-running)" running
        is "... and no unit has failed" "$(failed_units)" ""
        is "... and the service manager has nothing to say about our units" "$(manager_complaints)" ""

        is "the preset enables keyrota.target" "$(systemctl is-enabled keyrota.target)" enabled
        is "... and what rotates" "$(systemctl list-unit-files --plain --no-legend 'keyrota*' | awk '$2 == "enabled" { print $1 }' |
                grep -v test | sort | xargs)" 'keyrota-rotate.path keyrota-rotate.timer keyrota.target'
        is "... which is what the service manager takes for its preset, too" "$(systemctl list-unit-files --plain --no-legend keyrota.target | awk '{ print $3 }')" enabled
        for unit in keyrota.target keyrota-provision.service keyrota-provision-rsa.service keyrota-credential.socket keyrota-read.socket \
                keyrota-rotate.path; do
                like "$unit is started at boot" "$(systemctl list-dependencies --plain multi-user.target)" "$unit"
        done
        is "systemd-analyze verify is silent" "$(cd / && systemd-analyze verify --man=no "${units[@]}" 2>&1)" ""
        is "systemd-tmpfiles too" "$(systemd-tmpfiles --create keyrota.conf 2>&1)" ""
        is "folders are root's, and closed but for the public ones" \
                "$(stat -c '%n %a %U' /var/lib/keyrota /run/keyrota /run/keyrota/{jwks,credential,read,audit} | paste -sd,)" \
                "/var/lib/keyrota 700 root,/run/keyrota 755 root,/run/keyrota/jwks 755 root,/run/keyrota/credential 700 root,/run/keyrota/read 755 root,/run/keyrota/audit 700 root"
        is "the socket is root's alone" "$(stat -c '%a %U %F' "$SOCKET")" "600 root socket"

        is "keyrota-setup.service has made the key-encryption key" \
                "$(systemctl show -P Result -P ConditionResult keyrota-setup.service | paste -sd' ')" "success yes"
        is "... in a file of root's alone" "$(stat -c '%a %U' $STORE/kek.cred)" "600 root"
        head -c 32 /dev/zero | systemd-creds encrypt --name=keyrota-kek --with-key=host - "$SCRATCH/host" 2>/dev/null
        head -c 32 /dev/zero | systemd-creds encrypt --name=keyrota-kek --with-key=null - "$SCRATCH/null" 2>/dev/null ||
                head -c 32 /dev/zero | systemd-creds encrypt --name=keyrota-kek --with-key=tpm2-absent - "$SCRATCH/null" 2>/dev/null
        ok "(the kinds of sealing can be told apart)" test "$(kek_kind "$SCRATCH/host")" != "$(kek_kind "$SCRATCH/null")"
        is "... sealed with the host's key, not with the null key" "$(kek_kind $STORE/kek.cred)" "$(kek_kind "$SCRATCH/host")"
        is "... and opens to a JWK of 256 bits" \
                "$(systemd-creds decrypt --name=keyrota-kek $STORE/kek.cred - 2>/dev/null | jq -r '"\(.kty) \(.alg) \(.k | length)"')" "oct A256GCM 43"
        ok "... under its own name only" ! systemd-creds decrypt --name=other $STORE/kek.cred /dev/null
        is "nothing is stored yet" "$(keys_in_store)" 0
        is "the provisioner was content" "$(systemctl show -P Result -P ExecMainStatus keyrota-provision.service | paste -sd' ')" "success 0"
        is "nothing of keyrota's runs" "$(pgrep -c '^keyrota')" 0
        sha256sum <$STORE/kek.cred >"$STATE/kek"

        # a policy-less host is not even asked to have the folder
        mv /etc/keyrota "$STATE/etc-keyrota"
        next_boot
}

boot_2() {
        wait_for_boot
        is "a boot without /etc/keyrota is well" "$(systemctl is-system-running) $(failed_units)" "running "
        is "... and silent" "$(manager_complaints)" ""
        mv "$STATE/etc-keyrota" /etc/keyrota

        environment_set production
        user_make somebody
        mkdir -p /etc/tmpfiles.d
        echo "d $SCRATCH/credentials 0755" >/etc/tmpfiles.d/keyrota-test.conf
        policy_make api HS256 "$(deliver api.service sign session.key hex)"
        policy_make issuer ES256 "$(deliver issuer.service sign jwt.key pem)" "$(deliver verifier@.service verify issuer.jwks jwks)"
        policy_make early HS512 "$(deliver early.service sign early.key raw)"
        policy_make rsa RS256 "$(deliver rsa.service sign rsa.key pem)"
        boot_consumer api.service multi-user.target User=somebody
        boot_consumer issuer.service multi-user.target DynamicUser=yes
        boot_consumer verifier@.service multi-user.target User=somebody
        systemctl --quiet add-wants multi-user.target verifier@one.service
        boot_consumer early.service sysinit.target User=somebody DefaultDependencies=no Before=sysinit.target
        # does not hold up multi-user.target, as others that want it there would
        boot_consumer rsa.service multi-user.target User=somebody DefaultDependencies=no
        boot_consumer plain.service multi-user.target Nice=1
        hold keyrota-provision-rsa.service
        rotation_off # which would make them
        next_boot
}

# ---- consumers at boot; RSA keys that take their time -----------------------------------------------------------

boot_3() {
        local provisioned unit
        provisioned=$(when keyrota-provision.service InactiveEnter)
        is "RSA keys are still being made" "$(systemctl is-active keyrota-provision-rsa.service)" activating
        for unit in "${consumers[@]}" plain.service; do
                is "... and $unit is active" "$(systemctl is-active "$unit")" active
        done
        like "... and the RSA consumer waits" "$(systemctl list-jobs --plain --no-legend)" "rsa\.service +start +waiting"
        is "... and keys of other kinds are published" "$(jq -r '.keys[0].alg' /run/keyrota/jwks/issuer.json)" ES256
        is "... and the RSA ones are not" "$(ls /run/keyrota/jwks)" issuer.json
        like "... and status says so" "$(keyrota status)" "RSA keys are still to be made"
        for unit in "${consumers[@]}"; do
                ok "$unit was started after the provisioner had ended" test "$(when "$unit" InactiveExit)" -ge "$provisioned"
        done
        ok "the early service was up before sysinit.target" \
                test "$(when early.service ActiveEnter)" -le "$(when sysinit.target ActiveEnter)"
        ok "the provisioner had ended before sysinit.target" test "$provisioned" -le "$(when sysinit.target ActiveEnter)"

        release keyrota-provision-rsa.service
        ok "the RSA consumer starts once they are made" wait_for_unit 60 rsa.service active
        ok "... not before" test "$(when rsa.service InactiveExit)" -ge "$(when keyrota-provision-rsa.service InactiveEnter)"
        wait_for_boot
        is "every unit is well" "$(systemctl is-system-running) $(failed_units)" "running "
        is "the service manager has nothing to say about us, nor of a cycle" "$(manager_complaints)" ""
        credentials_right 'api.service session.key api' 'issuer.service jwt.key issuer' 'verifier@one.service issuer.jwks issuer' \
                'early.service early.key early' 'rsa.service rsa.key rsa'
        is "a service that no policy names has none" "$(tar -tf "$SCRATCH/credentials/plain.service.tar" 2>&1 | grep -c key)" 0
        ok "anybody can read the public keys" as somebody jq -e '.keys[0].kid' /run/keyrota/jwks/issuer.json
        ok "keyrota status is content" keyrota status
        is "every secret is stored" "$(keys_in_store)" 4
        key_of api issuer early rsa >"$STATE/keys"

        journal_mark
        ok "daemon-reload" systemctl daemon-reload
        is "... is silent" "$(journal --output=cat --priority=warning; journal --output=cat --identifier=keyrota-generator)" ""
        is "systemd-analyze verify is silent about the consumers too" \
                "$(systemd-analyze verify --man=no "${units[@]}" api.service early.service rsa.service verifier@one.service 2>&1)" ""
        next_boot
}

# ---- a second boot; then 200 policies and two that are broken ------------------------------------------------

boot_4() {
        local i
        is "a second boot has the same keys" "$(key_of api issuer early rsa)" "$(cat "$STATE/keys")"
        is "... under the same key-encryption key" "$(sha256sum <$STORE/kek.cred)" "$(cat "$STATE/kek")"
        is "... which setup did not touch" "$(systemctl show -P ConditionResult keyrota-setup.service)" no
        is "RSA keys that are there are not waited for" "$(systemctl show -P ConditionResult keyrota-provision-rsa.service)" no
        wait_for_boot
        is "all is well" "$(systemctl is-system-running) $(failed_units)" "running "
        is "the service manager has nothing to say" "$(manager_complaints)" ""
        credentials_right 'api.service session.key api' 'issuer.service jwt.key issuer' 'verifier@one.service issuer.jwks issuer' \
                'early.service early.key early' 'rsa.service rsa.key rsa'
        cp "$SCRATCH/credentials/api.service/session.key" "$STATE/api"

        for (( i = 0; i < 200; i++ )); do
                policy_make "many$i" "$( (( i % 2 )) && echo ES256 || echo HS256)" "$(deliver "many$i.service" sign key jwk)"
        done
        boot_consumer many7.service multi-user.target User=somebody
        sed -i 's/^use = sign/use = singing/' $POLICIES/api.ini
        policy_make never HS255 "$(deliver never.service sign key hex)"
        boot_consumer never.service multi-user.target User=somebody
        next_boot
}

boot_5() {
        wait_for_boot
        is "with 200 policies and two broken ones: only these are the matter" "$(failed_units)" "keyrota-provision.service never.service"
        is "the provisioner tells by its exit status" "$(unit_status keyrota-provision.service)" 78
        like "... and names file and line" "$(journalctl -b -u keyrota-provision.service -o cat)" "never\.ini:2: "
        is "a service whose policy has never worked was refused" "$(unit_result never.service) $(unit_status never.service)" "exit-code 243"
        ok "... and has not run" test ! -s "$SCRATCH/credentials/never.service.tar"
        same "one whose policy is broken now has what it had" "$(credential_of api.service session.key)" "$STATE/api"
        credentials_right 'many7.service key many7' 'issuer.service jwt.key issuer'
        is "all of the 200 are published" "$(ring_entries | grep -c '^unit:many')" 200
        is "there is no ordering cycle" "$(journalctl -b -o cat --grep 'ordering cycle')" ""
        ok "daemon-reload succeeds all the same" systemctl daemon-reload
        like "keyrota check names what is broken" "$(keyrota check 2>&1)" "never\.ini:2: "

        rm $POLICIES/never.ini $POLICIES/many*.ini
        sed -i 's/^use = singing/use = sign/' $POLICIES/api.ini
        # who orders itself before sysinit.target and wants a secret holds that up while it waits
        rm /etc/systemd/system/{multi-user.target.wants/{never,many7},sysinit.target.wants/early}.service
        hold keyrota-provision.service TimeoutStartSec=5s
        rotation_off # which would publish what the provisioner does not
        next_boot
}

# ---- a provisioner that hangs, one that dies ---------------------------------------------------------------

boot_6() {
        wait_for_boot
        is "a provisioner that hangs ends by its time-out" "$(unit_result keyrota-provision.service)" timeout
        ok "a service that no policy names did not wait for it" \
                test "$(when plain.service ActiveEnter)" -le "$(when keyrota-provision.service InactiveEnter)"
        ok "... nor did sysinit.target" test "$(when sysinit.target ActiveEnter)" -le "$(when keyrota-provision.service InactiveEnter)"
        is "services that a policy names were refused" \
                "$(for unit in api issuer; do unit_status $unit.service; done | paste -sd' ')" "243 243"
        is "... and have not run" "$(cat "$SCRATCH"/credentials/{api,issuer}.service.tar 2>/dev/null | wc -c)" 0
        is "there is no ordering cycle" "$(journalctl -b -o cat --grep 'ordering cycle')" ""
        like "status says what to do" "$(keyrota status)" "keyring is empty: run keyrota provision"
        release keyrota-provision.service
        systemctl reset-failed
        credentials_right 'api.service session.key api'
        is "the next start has the keys that were" "$(key_of api issuer early rsa)" "$(cat "$STATE/keys")"

        hold keyrota-provision.service
        sed -i "s/^ExecStartPre=.*/ExecStartPre=\/bin\/sh -c 'kill -KILL \$\$\$\$'/" /etc/systemd/system/keyrota-provision.service.d/hold.conf
        next_boot
}

boot_7() {
        wait_for_boot
        is "a provisioner that is killed" "$(unit_result keyrota-provision.service)" signal
        is "... leaves services refused" "$(unit_status api.service)" 243
        is "... the others started" "$(systemctl is-active plain.service)" active
        release keyrota-provision.service
        systemctl reset-failed
        credentials_right 'api.service session.key api'
        is "... and the keys as they were" "$(key_of api issuer early rsa)" "$(cat "$STATE/keys")"

        # while RSA keys are made, in earnest
        hold_rsa
        done_testing
}

# A run that makes RSA keys for as long as we like (they are many, and large) holds up nobody who wants another one.
hold_rsa() {
        local i
        for (( i = 0; i < 64; i++ )); do
                policy_make "big$i" PS512 "$(deliver "big$i.service" sign key jwk)"
                sed -i '2a size = 4096' "$POLICIES/big$i.ini"
        done
        policy_make new EdDSA "$(deliver new.service sign key jwk)"
        consumer_make new.service User=somebody
        systemctl start keyrota-provision.service
        ok "(RSA keys are being made)" wait_for_unit 20 keyrota-provision-rsa.service activating
        ok "a service can start meanwhile" systemctl restart api.service
        ok "... also one whose policy is new" systemctl start new.service
        is "... and they are still being made" "$(systemctl is-active keyrota-provision-rsa.service)" activating
        is "... the provisioner has not failed" "$(systemctl is-failed keyrota-provision.service)" inactive
        systemctl kill --signal=KILL keyrota-provision-rsa.service
}

"boot_$BOOT"
