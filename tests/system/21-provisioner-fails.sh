#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The provisioner fails, in each of the ways that it can: what was published stays, services start with that or are refused, the
# messages and `keyrota status` say what is wrong and what to do, and once it is put right all is as it was.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
wait_for_boot
rotation_off

consumers=(api.service issuer.service verifier@one.service)

# The bytes of each consumer, from a fresh start.
consumers_start() {
        local unit
        systemctl reset-failed "${consumers[@]}"        # and the count of starts, which has a limit
        systemctl restart "${consumers[@]}" || return
        for unit in "${consumers[@]}"; do
                tar -xOf "$SCRATCH/credentials/$unit.tar" --wildcards './*.*' | sha256sum
        done
}

consumers_as_before() {
        local now
        now=$(consumers_start) && [[ $now == "$before" ]]
}

# The service that starts before each of them has failed; this does not wait for it. Prints how.
provisioner_fails() {
        systemctl start keyrota-provision.service 2>/dev/null
        echo "$(unit_result keyrota-provision.service) $(unit_status keyrota-provision.service)"
        systemctl reset-failed keyrota-provision.service 2>/dev/null
}

# goes_on DESCRIPTION: while it is wrong
goes_on() {
        ok "$1: services start with what they had" consumers_as_before
        is "$1: nothing that is published went away" "$(ring_entries; ls /run/keyrota/jwks)" "$published"
}

# all_is_well DESCRIPTION: once it is right again
all_is_well() {
        ok "$1, put right: provisions" systemctl start keyrota-provision.service
        ok "$1, put right: status is content" keyrota status
        is "$1, put right: the same keys" "$(key_of api issuer)" "$keys"
}

environment_set production
policy_make api HS256 "$(deliver api.service sign session.key hex)"
policy_make issuer ES256 "$(deliver issuer.service sign jwt.key pem)" "$(deliver verifier@.service verify issuer.jwks jwks)"
for unit in api.service issuer.service verifier@.service; do
        consumer_write "$unit" DynamicUser=yes
done
systemctl daemon-reload
ok "services that policies name start" consumers_start
before=$(consumers_start) keys=$(key_of api issuer)
published=$(ring_entries; ls /run/keyrota/jwks)
ok "status is content" keyrota status
mkdir "$SCRATCH/kept"

# ---- the key-encryption key ------------------------------------------------------------------------------------

cp -p $STORE/kek.cred "$SCRATCH/kept/"
base64 -d "$SCRATCH/kept/kek.cred" | head -c -4 | base64 >$STORE/kek.cred
is "KEK damaged: the provisioner fails" "$(provisioner_fails)" "exit-code 243"
ok "KEK damaged: told, with the remedy" provision_fails 1 "kek\.cred cannot be opened: .*restore it from a backup"
ok "KEK damaged: status tells" status_says "key-encryption key cannot be opened.*restore it from a backup"
goes_on "KEK damaged"
cp -p "$SCRATCH/kept/kek.cred" $STORE/
all_is_well "KEK damaged"

chmod 0644 $STORE/kek.cred
ok "KEK open to others: told" provision_fails 1 "kek\.cred is open to others than root"
chmod 0600 $STORE/kek.cred

mv $STORE/kek.cred "$SCRATCH/kept/"
journal_mark
like "KEK gone: the provisioner is not even started" "$(provisioner_fails)" "^assert|^success 0"
ok "KEK gone: no new one is made in its place" test ! -e $STORE/kek.cred
ok "KEK gone: the setup service says why" journal_has "kek\.cred is gone, though 2 secrets are sealed under it; restore it from a backup" \
        -u keyrota-setup.service
refused "KEK gone: a setup by hand too" "kek\.cred is gone" keyrota setup
ok "KEK gone: provision tells" provision_fails 1 "kek\.cred is gone"
ok "KEK gone: status tells" status_says "kek\.cred is gone: restore it from a backup"
goes_on "KEK gone"
mv "$SCRATCH/kept/kek.cred" $STORE/
systemctl reset-failed keyrota-setup.service 2>/dev/null
all_is_well "KEK gone"

# sealed on another host, or with nothing at all
for kind in null tpm2-absent; do                # the same key, by the names of systemd 257 and 252
        [[ -s $SCRATCH/kept/null.cred ]] || systemd-creds decrypt --name=keyrota-kek $STORE/kek.cred - 2>/dev/null |
                systemd-creds encrypt --name=keyrota-kek --with-key=$kind - "$SCRATCH/kept/null.cred" 2>/dev/null
done
if [[ -s $SCRATCH/kept/null.cred ]]; then
        mv $STORE/kek.cred "$SCRATCH/kept/"
        install -m 0600 "$SCRATCH/kept/null.cred" $STORE/kek.cred
        ok "KEK under the null key: not taken" provision_fails 1 "null key|not sealed|sealed with nothing"
        mv "$SCRATCH/kept/kek.cred" $STORE/
else
        skip "KEK under the null key: not taken" "this systemd-creds makes none"
fi

# ---- the host's key ----------------------------------------------------------------------------------------

mv /var/lib/systemd/credential.secret "$SCRATCH/kept/"
is "host key lost: the provisioner fails" "$(provisioner_fails)" "exit-code 243"
ok "host key lost: told" provision_fails 1 "kek\.cred cannot be opened"
ok "host key lost: status tells" status_says "key-encryption key cannot be opened"
ok "host key lost: no new one is made" test ! -e /var/lib/systemd/credential.secret
goes_on "host key lost"
mv "$SCRATCH/kept/credential.secret" /var/lib/systemd/
all_is_well "host key lost"

# ---- stored files --------------------------------------------------------------------------------------------

cp -p $STORE/production/api.jwe "$SCRATCH/kept/"
truncate -s -9 $STORE/production/api.jwe
is "a torn file: the provisioner says so by its status" "$(provisioner_fails)" "exit-code 1"
ok "a torn file: told, with both ways out" provision_fails 1 "api\.jwe .*: restore it from a backup, or make new keys with keyrota provision --replace=api"
ok "a torn file: status tells" status_says "api\.jwe .*restore it from a backup" api
ok "a torn file: the other secret is not concerned" keyrota status issuer
goes_on "a torn file"
cp -p "$SCRATCH/kept/api.jwe" $STORE/production/
all_is_well "a torn file"

chmod 0640 $STORE/production/api.jwe
ok "a file open to others: told" provision_fails 1 "api\.jwe is open to others than root: see who had it"
goes_on "a file open to others"
chmod 0600 $STORE/production/api.jwe

user_make somebody
chown somebody $STORE/production
ok "a folder of somebody else's: told" provision_fails 1 "$STORE/production"
ok "a folder of somebody else's: status tells" status_says "$STORE/production"
goes_on "a folder of somebody else's"
chown root $STORE/production

mv $STORE/production/api.jwe "$SCRATCH/kept/"
ok "a file that is gone: no fresh key takes its place" provision_fails 1 "production/api: its stored file is gone, though generation 1 has been in use"
ok "a file that is gone: status tells" ! keyrota status api
goes_on "a file that is gone"
mv "$SCRATCH/kept/api.jwe" $STORE/production/
all_is_well "a file that is gone"

# ---- the file system -------------------------------------------------------------------------------------------

mount --bind $STORE $STORE && mount -o remount,bind,ro $STORE
policy_make late HS256 "$(deliver late.service sign key hex)"
ok "read-only: told" provision_fails 1 "Read-only file system"
like "read-only: the provisioner fails" "$(provisioner_fails)" "^exit-code "
goes_on "read-only"
umount $STORE
ok "read-only, put right: the new secret is made" provision_fails 0 ""
keyrota status --json | jq -e '.secrets[] | select(.name == "late") | .problems == []' >/dev/null
is "read-only, put right: status is content with it" $? 0
rm $POLICIES/late.ini; keyrota provision; rm $STORE/production/late.jwe

cp -a $STORE "$SCRATCH/kept/store"
mount -t tmpfs -o size=64k,mode=0700 keyrota-test $STORE
cp -a "$SCRATCH/kept/store/." $STORE/
dd if=/dev/zero of=$STORE/fill bs=4k status=none 2>/dev/null
policy_make full ES256 "$(deliver full.service sign key jwk)"
consumer_make full.service
ok "disk full: told" provision_fails 1 "No space left on device"
ok "disk full: status tells that the new secret has no key" status_says "has no key yet" full
start_fails_with_243 full.service "disk full: the service that wants the new secret is refused"
goes_on "disk full"
is "disk full: nothing half-done is left" "$(find $STORE -name 'full*' -o -name '.*.????????' | wc -l)" 0
rm $STORE/fill
ok "disk full, put right: the service starts by itself" systemctl restart full.service
all_is_well "disk full"
rm $POLICIES/full.ini
systemctl daemon-reload
umount $STORE
keyrota provision

# ---- killed ------------------------------------------------------------------------------------------------------

# A run that makes three secrets and renders an old one anew dies at one of its system calls.
i=0
for call in renameat:1 renameat:3 syncfs:1 add_key:2 keyctl:9; do
        i=$((i + 1))
        for name in one two three; do
                policy_make "$name$i" HS384 "$(deliver "$name$i.service" sign key raw)"
        done
        sed -i "s/^format = .*/format = $( ((i % 2)) && echo base64 || echo hex)/" $POLICIES/api.ini
        strace -f -qq -o /dev/null -e trace="${call%:*}" -e inject="${call%:*}:signal=KILL:when=${call#*:}" keyrota provision >/dev/null 2>&1
        is "killed at $call" $? 137
        ok "killed at $call: services start" consumers_start
        is "killed at $call: the next run makes what is missing" "$(ls $STORE/production/{one,two,three}$i.jwe 2>/dev/null | wc -l)" 3
        is "killed at $call: nothing half-done is left" "$(find $STORE -name '.*.????????' | wc -l)" 0
        is "killed at $call: the keys that were are those that are" "$(key_of api issuer)" "$keys"
        ok "killed at $call: status is content" keyrota status
done
published=$(ring_entries; ls /run/keyrota/jwks)
before=$(consumers_start)

hold keyrota-provision.service
systemctl start --no-block api.service keyrota-provision.service
ok "(the provisioner waits)" wait_for_unit 20 keyrota-provision.service activating
systemctl kill --signal=KILL keyrota-provision.service
ok "killed by the kernel: it ends" wait_for 20 systemctl is-failed keyrota-provision.service
is "killed by the kernel: its result" "$(unit_result keyrota-provision.service)" signal
release keyrota-provision.service
ok "killed by the kernel: services start" consumers_as_before

# ---- the keyring -----------------------------------------------------------------------------------------------

ring_empty
ok "keyring emptied: status says what to do" status_says "the kernel keyring is empty: run keyrota provision"
ok "keyring emptied: the next start fills it first" consumers_as_before
is "keyring emptied: with all that was there" "$(ring_entries; ls /run/keyrota/jwks)" "$published"
ring_empty
mv $STORE/kek.cred "$SCRATCH/kept/"
systemctl stop api.service
systemctl reset-failed api.service
journal_mark
start_fails_with_243 api.service "keyring emptied and KEK gone: the service is refused, not started without"
ok "... and the record says why" journal_has "nothing is published; see keyrota-provision.service"
mv "$SCRATCH/kept/kek.cred" $STORE/
systemctl reset-failed
ok "... and starts when that is put right" consumers_as_before

strace -f -qq -o /dev/null -e trace=add_key -e inject=add_key:error=EDQUOT:when=1+ keyrota provision >"$SCRATCH/output" 2>&1
is "quota used up, nothing new to publish: nothing is wrong" $? 0
ring_empty
strace -f -qq -o /dev/null -e trace=add_key -e inject=add_key:error=EDQUOT:when=3+ keyrota provision >"$SCRATCH/output" 2>&1
is "quota used up: fails" $? 1
like "quota used up: says what to look at" "$(cat "$SCRATCH/output")" "quota of root's keys is used up; see /proc/sys/kernel/keys/root_maxbytes"
ok "quota used up: status tells" ! keyrota status
all_is_well "quota used up"

# ---- two at once --------------------------------------------------------------------------------------------------

# The store is locked until both wait for it.
cat >"$SCRATCH/lock.py" <<'PYTHON'
import fcntl, os, struct, sys
fd = os.open("/var/lib/keyrota/.lock", os.O_RDWR)
fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))     # F_OFD_SETLK
print("locked", flush=True)
sys.stdin.read()
PYTHON
policy_make both1 HS256 "$(deliver both.service sign one hex)"
policy_make both2 EdDSA "$(deliver both.service sign two jwk)"
exec {go}> >(exec python3 "$SCRATCH/lock.py" >"$SCRATCH/locked")
ok "(the lock is held)" wait_for 10 test -s "$SCRATCH/locked"
journal_mark
keyrota provision 2>"$SCRATCH/first" {go}>&- & first=$!
keyrota provision 2>"$SCRATCH/second" {go}>&- & second=$!
both_wait() {
        local pid
        for pid in $first $second; do
                ls -l "/proc/$pid/fd" 2>/dev/null | grep -q 'keyrota/\.lock' || return
        done
}
ok "two runs at once: both wait" wait_for 20 both_wait
exec {go}>&-
wait $first
is "two runs at once: the one succeeds" "$? $(cat "$SCRATCH/first")" "0 "
wait $second
is "two runs at once: the other succeeds" "$? $(cat "$SCRATCH/second")" "0 "
is "two runs at once: one set of keys" "$(journal -o cat --output-fields=KEYROTA_NAME KEYROTA_EVENT=key-created | sort | paste -sd' ')" "both1 both2"
is "two runs at once: one generation" "$(generation_of production/both1) $(generation_of production/both2)" "1 1"

# ---- what the exit status says -------------------------------------------------------------------------------------

exit_status() {
        "$@" >/dev/null 2>&1
        echo $?
}
is "nothing to do: 0" "$(exit_status keyrota provision)" 0
is "status, all well: 0" "$(exit_status keyrota status)" 0
is "usage: 2" "$(exit_status keyrota provision --frobnicate) $(exit_status keyrota provisoin) $(exit_status keyrota status --what)" "2 2 2"
policy_make bad HS257 "$(deliver bad.service sign key hex)"
is "a policy is wrong: provision and check 78, status 1" \
        "$(exit_status keyrota provision) $(exit_status keyrota check) $(exit_status keyrota status)" "78 78 1"
mv $STORE/kek.cred "$SCRATCH/kept/"
is "... and the KEK is gone: 1" "$(exit_status keyrota provision)" 1
mv "$SCRATCH/kept/kek.cred" $STORE/
rm $POLICIES/bad.ini
is "0 again" "$(exit_status keyrota provision) $(exit_status keyrota check) $(exit_status keyrota status)" "0 0 0"

done_testing
