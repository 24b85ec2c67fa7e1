#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Secrets with reads = recorded through the installed units: users read them, on record, and the modules that administrators put into the PAM
# service "keyrota" work in the sandbox of keyrota-read.service.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
wait_for_boot
rotation_off

READ=/run/keyrota/read/socket

environment_set production
groupadd billing-ops
for user in alice bob mallory; do
        user_make $user
done
usermod -aG billing-ops bob
policy_make billing ES256 "$(printf '%s\n' '[access]' 'users = alice @billing-ops' 'reads = recorded')"
policy_make signer ES256 "$(printf '%s\n' '[access]' 'users = alice' 'use = sign' 'reads = recorded')"

stack() {
        printf '%s\n' "$@" >/etc/pam.d/keyrota
}

# reads_like_root USER NAME [USE]: prints the same as keyrota read of root; the key is never shown
reads_like_root() {
        local use=${3:-verify} format=jwks
        [[ $use == verify ]] || format=jwk
        cmp <(as "$1" keyrota read "$2") <(keyrota read "$2" --use="$use" --format="$format")
}

# refused_as DESCRIPTION USER NAME REASON: refused, with that reason on record
refused_as() {
        journal_mark
        refused "$1" 'you may not read it, or there is no such secret' as "$2" keyrota read "$3"
        ok "... on record: $4" journal_has "^Refused $2 to read $3: .*$4" _UID=0 KEYROTA_EVENT=read-refused "KEYROTA_USER=$2"
}

# ---- the units ----------------------------------------------------------------------------------------------------------

is 'the socket is there after boot, without the server' "$(systemctl is-active keyrota-read.socket keyrota-read.service | xargs)" 'active inactive'
is 'everybody can connect to it' "$(stat -c %a,%U $READ ${READ%/*} | xargs)" '666,root 755,root'
ok 'policies are published' keyrota provision
stack 'account required pam_unix.so'

journal_mark
ok 'a user reads the exact bytes' reads_like_root alice billing
ok 'on record' journal_has '^Secret production/billing, generation [0-9]+, was read by alice\.$' _UID=0 \
        KEYROTA_EVENT=secret-read KEYROTA_USER=alice KEYROTA_SERVICE=keyrota
ok 'a member of a group does' reads_like_root bob billing
ok 'the key that signs is read where the policy says so' reads_like_root alice signer sign
like 'and in another format' "$(as alice keyrota read signer --format=pem | head -n 1)" 'BEGIN PRIVATE KEY'
refused_as 'a user whom no policy names is refused' mallory billing 'does not name the user'
refused_as 'and one of another group' bob signer 'does not name the user'
refused_as 'and for what there is not' alice nosuch 'no policy of this name'

journal_mark
ok 'in a session of su' su - alice -c 'keyrota read billing' -s /bin/bash
ok 'no module and no libpam complains' ! journal_has 'audit_open|PAM|pam_|cannot|denied' _SYSTEMD_UNIT=keyrota-read.service

# ---- modules in the sandbox ---------------------------------------------------------------------------------------------

usermod --expiredate 1 alice
refused_as 'pam_unix refuses an account that has expired' alice billing 'PAM service keyrota says no'
usermod --expiredate '' alice
ok 'and lets it in again' reads_like_root alice billing

stack 'account required pam_access.so accessfile=/etc/keyrota-access.conf'
echo '-:alice:keyrota' >/etc/keyrota-access.conf
refused_as 'pam_access refuses by service' alice billing 'PAM service keyrota says no'
ok 'and only whom it names' reads_like_root bob billing

stack 'account required pam_time.so'
echo 'keyrota;*;alice;!Al0000-2400' >>/etc/security/time.conf
refused_as 'pam_time refuses by the hour' alice billing 'PAM service keyrota says no'
ok 'and only whom it names' reads_like_root bob billing

mkdir -p /run/faillock
stack 'account required pam_faillock.so' 'account required pam_unix.so'
ok 'pam_faillock works' reads_like_root alice billing
install -o alice -g root -m 0660 /dev/null /run/faillock/alice
journal_mark
ok 'also with a file of the user' reads_like_root alice billing
ok 'and does not complain' ! journal_has 'faillock' _SYSTEMD_UNIT=keyrota-read.service

# shellcheck disable=SC2016
printf '%s\n' '#!/bin/sh' 'case $KEYROTA_SECRET in billing) exit 0 ;; esac' 'exit 1' >/usr/local/bin/only-billing
chmod 0755 /usr/local/bin/only-billing
stack 'account required pam_exec.so quiet /usr/local/bin/only-billing'
ok 'a script of pam_exec lets one secret be read' reads_like_root alice billing
refused_as 'and not the other' alice signer 'PAM service keyrota says no'

stack '@include common-account'
ok "Debian's own stack lets a user read" reads_like_root alice billing

# ---- without them -------------------------------------------------------------------------------------------------------

mv /etc/pam.d/keyrota /etc/pam.d/keyrota.away
refused 'without the PAM service nobody reads' 'there is no PAM service keyrota' as alice keyrota read billing
mv /etc/pam.d/keyrota.away /etc/pam.d/keyrota

policy_make billing ES256 "$(printf '%s\n' '[access]' 'users = bob' 'reads = recorded')"
ok 'a user is taken out of the policy' keyrota provision
refused_as 'and refused from then on' alice billing 'does not name the user'

systemctl stop keyrota-read.socket
refused 'without the socket the client says what to look at' 'systemctl status keyrota-read.socket' as bob keyrota read billing
systemctl start keyrota-read.socket
ok 'and is served again with it' reads_like_root bob billing
ok 'the server ends when nobody asks' wait_for_unit 60 keyrota-read.service inactive
is 'without an error' "$(unit_result keyrota-read.service)" success
ok 'and comes back' reads_like_root bob billing

done_testing
