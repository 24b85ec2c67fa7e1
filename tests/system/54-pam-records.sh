#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is on record of users: each copy that is given, refused, renewed or taken, each one let into a service or kept out, each read that the read server answers
# or refuses; with whose session it was, and nothing in it that the user could forge. And what becomes of sessions and reads when there is no journal.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/sessions.sh"
wait_for_boot
rotation_off
environment_set production
session_users alice mallory
policy_make billing ES256 "$(printf '%s\n' '[access]' 'users = alice')"
policy_make vault ES256 "$(printf '%s\n' '[access]' 'users = alice' 'reads = recorded')"
printf '%s\n' 'auth sufficient pam_rootok.so' 'account required pam_keyrota.so secret=billing' 'account required pam_permit.so' \
        'session required pam_permit.so' 'session optional pam_keyinit.so force revoke' 'session optional pam_keyrota.so' >/etc/pam.d/app
ok "policies are provisioned" keyrota provision
ok "pam-auth-update enables the profile" pam-auth-update --package --enable keyrota

# records EVENT FIELD=VALUE...: those since the mark, of root's, one JSON object a line.
records() {
        journal --output=json _UID=0 "KEYROTA_EVENT=$1" "${@:2}"
}

# on_record DESCRIPTION NUMBER EVENT MATCH... FIELDS: a test: there are so many such records, each with these FIELDS: "user=alice tty=-", of KEYROTA_...; -: none.
# The last value may have blanks.
on_record() {
        local fields=${*: -1} names
        names=$(grep -oE '(^| )[a-z_]+=' <<<"$fields" | tr -d '=\n')
        # shellcheck disable=SC2016
        is "$1" "$(records "$3" "${@:4:$#-4}" | jq -r --arg names "$names" \
                '. as $record | [$names | splits(" +") | select(. != "") | . + "=" + ($record["KEYROTA_" + ascii_upcase] // "-")] | join(" ")' |
                sort | uniq -c | sed 's/^ *//')" "$2 $fields"
}

# ---- sessions ------------------------------------------------------------------------------------------------------

journal_mark
for way in ssh-key login su-l; do
        session_open alice-$way alice $way
done
session_open mallory-su-l mallory su-l
ssh_tty=$(records copy-granted KEYROTA_SERVICE=sshd | jq -r .KEYROTA_TTY)
login_tty=$(records copy-granted KEYROTA_SERVICE=login | jq -r .KEYROTA_TTY)
is "the terminal is named as login does" "${login_tty#/dev/}" "$(in_session alice-login 'ps -o tty= $$')"
diag "that of sshd's session is called $ssh_tty"
ssh_session=$(in_session alice-ssh-key 'cat /proc/self/sessionid')
login_session=$(in_session alice-login 'cat /proc/self/sessionid')
ok "pam_loginuid has given sessions a number" test "$ssh_session" -gt 0 -a "$login_session" -gt 0 -a "$ssh_session" != "$login_session"
ssh_holder="user=alice uid=$(id -u alice) service=sshd tty=$ssh_tty remote_host=127.0.0.1 audit_session=$ssh_session"
login_holder="user=alice uid=$(id -u alice) service=login tty=$login_tty remote_host=- audit_session=$login_session"
su_holder="user=alice uid=$(id -u alice) service=su-l tty=- remote_host=- audit_session=-"
given="verdict=granted environment=production name=billing generation=$(generation_of production/billing)"
on_record "a copy given to a session of sshd" 1 copy-granted KEYROTA_SERVICE=sshd "$ssh_holder $given"
on_record "... of login" 1 copy-granted KEYROTA_SERVICE=login "$login_holder $given"
on_record "... of su" 1 copy-granted KEYROTA_SERVICE=su-l "$su_holder $given"
is "whom nothing is due has no record" "$(records copy-granted KEYROTA_USER=mallory)$(records copy-refused KEYROTA_USER=mallory)" ""

journal_mark
keyrota rotate --now billing
on_record "a renewal, for the session of sshd" 1 copy-renewed KEYROTA_SERVICE=sshd "$ssh_holder verdict=done name=billing"
on_record "... of login" 1 copy-renewed KEYROTA_SERVICE=login "$login_holder verdict=done name=billing"
journal_mark
keyrota lock alice
on_record "a removal" 1 copy-removed KEYROTA_SERVICE=sshd "$ssh_holder name=billing reason=the user is locked"
is "a lock" "$(records access-locked | jq -r '.KEYROTA_USER + .KEYROTA_VERDICT')" alicedone
journal_mark
session_open alice-sudo alice sudo
on_record "a refusal" 1 copy-refused KEYROTA_SERVICE=sudo "user=alice name=billing verdict=refused reason=the user is locked"
keyrota unlock alice
is "an unlock" "$(records access-unlocked | jq -r '.KEYROTA_USER + .KEYROTA_VERDICT')" alicedone
session_end alice-sudo
journal_mark
session_end alice-ssh-key
# shellcheck disable=SC2317 # called through ok
end_is_on_record() {
        [[ $(records copy-removed KEYROTA_SERVICE=sshd) ]]
}
ok "the end of a session is on record" wait_for 20 end_is_on_record
on_record "... for its copy" 1 copy-removed KEYROTA_SERVICE=sshd "$ssh_holder name=billing reason=the session has ended"

journal_mark
pamtester app alice acct_mgmt >/dev/null 2>&1
pamtester app mallory acct_mgmt >/dev/null 2>&1
on_record "who is let into a service" 1 access-granted "user=alice service=app name=billing verdict=granted"
on_record "who is kept out" 1 access-refused "user=mallory service=app name=billing verdict=refused"

# ---- nothing forged --------------------------------------------------------------------------------------------------

journal_mark
pamtester -I rhost=$'evil\nKEYROTA_USER=root\nMESSAGE=all is well\e[2J' -I tty=$'a\tb\x7f' app alice open_session close_session >/dev/null
on_record "control characters from the application are escaped" 1 copy-granted 'user=alice tty=a\x09b\x7f remote_host=evil\x0aKEYROTA_USER=root\x0aMESSAGE=all is well\x1b[2J'
is "... and forge no field" "$(records copy-granted KEYROTA_USER=root)$(journal -o cat MESSAGE='all is well')" ""
journal_mark
pamtester -I "rhost=$(head -c 5000 /dev/zero | tr '\0' x)" app alice open_session close_session >/dev/null
is "a name of 5000 characters is cut" "$(records copy-granted KEYROTA_SERVICE=app | jq -r '.KEYROTA_REMOTE_HOST | length < 300')" true
in_session mallory-su-l "logger -t keyrota -p auth.info 'Gave a session of mallory (su) a copy of production/billing, generation 1.'; printf 'KEYROTA_EVENT=copy-granted\nKEYROTA_USER=mallory\nMESSAGE=forged\n' | logger --journald" >/dev/null
ok "a user can write what looks like a record" wait_for 10 journal_has forged KEYROTA_USER=mallory
is "... but not as root" "$(records copy-granted KEYROTA_USER=mallory)" ""

# ---- reads -------------------------------------------------------------------------------------------------------------

journal_mark
same "the read server gives the exact bytes" <(in_session alice-login 'keyrota read vault') <(keyrota read vault; echo)
on_record "... on record with whose session it was" 1 secret-read KEYROTA_USER=alice "${login_holder/service=login tty=*pts/service=keyrota tty=pts} name=vault verdict=granted"
is "no session has a copy" "$(in_session alice-login 'keyctl show @s' | grep -c vault)" 0
refused=$(in_session mallory-su-l 'keyrota read vault; keyrota read hidden' | sed 's/vault\|hidden/NAME/')
is "who may not, and what there is not, are refused with the same words" "$(uniq <<<"$refused" | wc -l)" 1
on_record "... on record" 1 read-refused KEYROTA_USER=mallory KEYROTA_NAME=vault "user=mallory uid=$(id -u mallory) name=vault verdict=refused"

# ---- without a journal --------------------------------------------------------------------------------------------------

# What fails here must not ask the journal why.
journal_stop() {
        systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service 2>/dev/null
        rm -f /run/systemd/journal/{socket,dev-log}
}
journal_start() {
        systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service
        systemctl reset-failed
        journalctl --sync
}
# What alice's new session has, and whether the read server gives her anything.
without_journal() {
        journal_stop
        session_open alice-dark alice su >/dev/null
        in_session alice-dark 'view billing | grep -o "shown=[^ ]*"; keyrota read vault >/dev/null 2>&1; echo "read: $?"'
        session_end alice-dark
        journal_start
}
records_missing() {
        keyrota status --json | jq .records_missing
}
is "no record is missing" "$(records_missing)" 0
is "best effort: the session has its copy, but what each read of must be on record is not read" "$(without_journal)" $'shown=keyrota:billing\nread: 1'
is "... the missing record of the copy is noted" "$(grep -c ' copy-granted production/billing alice su: ' /run/keyrota/audit/missing)" 1
is "... and each one is counted" "$(records_missing)" "$(wc -l </run/keyrota/audit/missing)"
printf '%s\n' '[keyrota]' 'audit = required' >/etc/keyrota/keyrota.conf
keyrota provision
is "audit = required: alice gets in without a copy" "$(without_journal)" $'shown=\nread: 1'
ok "with a journal" session_open alice-dark alice su
is "... she has it" "$(in_session alice-dark 'keyctl show @s' | grep -c keyrota:billing)" 1

done_testing
