#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# keyrota rekey on a running system: the provisioner gets the key-encryption key as a credential, before, in the middle of and after a rekey, and when
# a rekey comes between its start and its work.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
wait_for_boot

unit=keyrota-provision.service

kek() {
        systemd-creds decrypt --newline=no --name=keyrota-kek "$STORE/kek.cred" - 2>/dev/null
}

# The kids that the stored files name.
kids() {
        local file
        for file in "$STORE"/*/*.jwe; do cut -d. -f1 "$file" | basenc --base64url -d 2>/dev/null | jq -r .kid; done | sort -u
}

# shellcheck disable=SC2317 # called through ok
settled() {
        [[ $(kids) == "$(kek | jq -r .kid)" ]] || { echo "files are under: $(kids)"; return 1; }
}

environment_set production
policy_make api HS256 "$(deliver api.service sign session.key hex)"
policy_make issuer ES256 "$(deliver issuer.service sign jwt.key pem)"
consumer_make api.service DynamicUser=yes
consumer_make issuer.service DynamicUser=yes
ok "services start" systemctl start api.service issuer.service
before=$(cat "$(credential_of api.service session.key)" "$(credential_of issuer.service jwt.key)")
keys=$(key_of api issuer) old=$(kek) entries=$(ring_entries)

ok "a rekey" keyrota rekey
ok "is on record" journal_has "^$(kek | jq -r .kid)\$" --output-fields=KEYROTA_KID SYSLOG_IDENTIFIER=keyrota KEYROTA_EVENT=rekeyed
ok "changes the key-encryption key" test "$(kek)" != "$old"
ok "of every file" settled
ok "and nothing that is published" test "$(ring_entries)" == "$entries" -a "$(key_of api issuer)" == "$keys"
ok "the provisioner starts with the new one" systemctl start $unit
ok "status is content" keyrota status
systemctl restart api.service issuer.service
is "services get what they had" "$(cat "$(credential_of api.service session.key)" "$(credential_of issuer.service jwt.key)")" "$before"
ring_empty
ok "from the store too" systemctl restart api.service issuer.service
is "... the same" "$(cat "$(credential_of api.service session.key)" "$(credential_of issuer.service jwt.key)")" "$before"

# ---- in the middle of one --------------------------------------------------------------------------
# What a rekey that was killed before it sealed the first file leaves.
now=$(kek) next=$(head -c 32 /dev/urandom | basenc --base64url -w0 | tr -d =)
printf '{"keys":[{"kty":"oct","kid":"next","alg":"A256GCM","k":"%s"},%s]}' "$next" "$now" |
        systemd-creds encrypt --name=keyrota-kek --with-key=host - "$SCRATCH/both"
install -m 0600 "$SCRATCH/both" "$STORE/kek.cred"
ok "a rekey was interrupted: the provisioner works" systemctl start $unit
policy_make second HS256 "$(deliver later.service sign second.key hex)"
ok "... and makes new secrets" systemctl start $unit
is "... under the new key" "$(kids)" "$(printf '%s\n' next "$(jq -r .kid <<<"$now")" | sort)"
ok "... which reads" key_of second
ok "the rekey is completed" keyrota rekey
is "under that key" "$(kids) $(kek | jq -r .kid)" "next next"
ok "the provisioner works" systemctl start $unit
is "the keys are what they were" "$(key_of api issuer)" "$keys"

# ---- between the start of the provisioner and its work -----------------------------------------------
mkdir -p /run/systemd/system/$unit.d /run/keyrota
mkfifo /run/keyrota/ready /run/keyrota/go
cat >/run/systemd/system/$unit.d/wait.conf <<'END'
[Service]
ExecStart=
ExecStart=/bin/sh -c 'echo >/run/keyrota/ready; read go </run/keyrota/go; exec keyrota provision --defer-rsa'
END
# overtaken: starts the provisioner, rekeys, lets it go on; what it says, and how it ended
overtaken() {
        local starter
        journal_mark
        systemctl start $unit 2>/dev/null &
        starter=$!
        read -r </run/keyrota/ready
        keyrota rekey 2>/dev/null || return
        echo >/run/keyrota/go
        wait $starter
        echo "status $?"
        systemctl reset-failed $unit 2>/dev/null
        journal --output=cat --unit=$unit
}
systemctl daemon-reload
policy_make aa HS256 "$(deliver later.service sign third.key hex)"
like "a provisioner that a rekey overtook works" "$(overtaken)" "^status 0"
ok "... its new secret is there" key_of aa
ok "... under the new key" settled
is "the keys are what they were" "$(key_of api issuer)" "$keys"

# As with a TPM, which its sandbox hides.
echo InaccessiblePaths=/var/lib/systemd >>/run/systemd/system/$unit.d/wait.conf
systemctl daemon-reload
policy_make bb HS256 "$(deliver later.service sign fourth.key hex)"
said=$(overtaken)
like "where it cannot open the new key it fails" "$said" "^status 1"
like "... and says why, and what to do" "$said" "the key-encryption key has been replaced since this run got it, and the new one cannot be opened from here .*; run it again"
ok "... frightening nobody" ! grep -Eq "not authentic|forged|torn|--replace" <<<"$said"
ok "... and writing nothing" test ! -e "$STORE/production/bb.jwe"
rm -r /run/systemd/system/$unit.d
systemctl daemon-reload
ok "run again, it works" systemctl start $unit
ok "... and all is well" settled
ok "... in every respect" keyrota status
is "the keys are what they were" "$(key_of api issuer)" "$keys"

# ---- without a journal, where one is required --------------------------------------------------------
printf '[keyrota]\naudit = required\n' >/etc/keyrota/keyrota.conf
ok "(a valid keyrota.conf)" keyrota check
refused "a rekey that cannot be recorded" "cannot be recorded in the journal .*run keyrota rekey again" \
        unshare -m sh -c 'mount -t tmpfs none /run/systemd/journal && keyrota rekey'
is "loses nothing" "$(key_of api issuer)" "$keys"
is "for both keys are kept" "$(kek | jq -r '.keys | length')" 2
ok "and completes when it can" keyrota rekey
ok "... in whole" settled
rm /etc/keyrota/keyrota.conf

# ---- kek.cred from a backup, without the rest ---------------------------------------------------------
cp -a "$STORE" "$SCRATCH/backup"
rm "$SCRATCH/backup/kek.kid"
ok "(another rekey)" keyrota rekey
cp -a "$SCRATCH/backup/." "$STORE"
ok "a backup from before the rekey is taken by the provisioner" systemctl start $unit
is "... with its key" "$(kids)" "$(kek | jq -r .kid)"
is "the keys are what they were" "$(key_of api issuer)" "$keys"

done_testing
