#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copies in open sessions go with what is decided meanwhile: a key is rotated or revoked, a secret or a user locked, a policy changed, broken or removed. They end
# with the session, with their key, and never outlive a change that came while the user was logging in.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/sessions.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"
wait_for_boot
rotation_off

# account_of NAME: a PAM service, NAME-app, for those whom the policy NAME names.
account_of() {
        printf '%s\n' 'auth required pam_deny.so' "account required pam_keyrota.so secret=$1" 'account required pam_permit.so' 'session required pam_permit.so' \
                >"/etc/pam.d/$1-app"
}

# sees DESCRIPTION SESSION [SECRET...]: a test: the session has exactly the bytes of these, and no others.
sees() {
        local description=$1 session=$2 name wanted='' hash
        shift 2
        for name in billing ledger; do
                hash=-
                [[ " $* " != *" $name "* ]] || hash=$(hash_of keyrota read "$name" "${use[$name]}")
                wanted+="$name=$hash/$hash "
        done
        is "$description" "$(in_session "$session" 'view billing ledger' | sed 's/rings=[01] //')" \
                "${wanted}shown=$(printf 'keyrota:%s\n' "$@" | sed '/:$/d' | paste -sd,) listed=$(printf 'keyrota:%s\n' "$@" | sed '/:$/d' | paste -sd,)"
}

declare -A use=([billing]=--use=verify [ledger]=--use=verify)
open=(alice-one alice-two frank-one)
# all_see DESCRIPTION BY-ALICE BY-FRANK
all_see() {
        local session
        for session in "${open[@]}"; do
                # shellcheck disable=SC2086
                case $session in
                        alice*) sees "$session: $1" "$session" $2 ;;
                        frank*) sees "$session: $1" "$session" $3 ;;
                esac
        done
}

access() {
        policy_make billing HS256 "$(printf '%s\n' '[access]' "$@")" "$(deliver billing.service sign jwt.key jwk)"
}

if (( BOOT == 2 )); then
        session_users alice frank
        ok "after a boot alice gets in" session_open alice-one alice su-l
        sees "... and is locked still" alice-one
        ok "frank gets in" session_open frank-one frank su-l
        sees "... with his copy" frank-one billing
        ok "keyrota unlock alice" keyrota unlock alice
        ok "alice gets in" session_open alice-two alice su-l
        sees "... with her copies" alice-two billing ledger
        done_testing
fi

environment_set production
groupadd billing-ops
session_users alice frank
usermod -aG billing-ops frank
access 'users = alice @billing-ops'
policy_make ledger HS256 "$(printf '%s\n' '[access]' 'users = alice')"
account_of billing
ok "two policies are provisioned" keyrota provision
ok "pam-auth-update enables the profile" pam-auth-update --package --enable keyrota
session_open alice-one alice su-l
session_open alice-two alice ssh-key
session_open frank-one frank su
all_see "the copies" "billing ledger" billing

# ---- rotated, revoked --------------------------------------------------------------------------------------------

journal_mark
ok "billing is rotated" keyrota rotate --now billing
all_see "the copies as they are now" "billing ledger" billing
is "a record for each renewal" "$(journal -o cat KEYROTA_EVENT=copy-renewed KEYROTA_NAME=billing | wc -l)" "$(rings | wc -l)"
is "... and none of the other secret" "$(journal -o cat KEYROTA_EVENT=copy-renewed KEYROTA_NAME=ledger | wc -l)" 0
kid=$(keyrota read billing --use=sign --format=jwk | jq -r .kid)
ok "its key is revoked" keyrota revoke --yes billing
ok "... and in no copy any more" ! grep -q "$kid" <<<"$(in_session frank-one 'keyctl print %user:keyrota:billing')"
all_see "the copies as they are now" "billing ledger" billing

# ---- locked ------------------------------------------------------------------------------------------------------

consumer_make billing.service User=nobody
journal_mark
ok "keyrota lock billing" keyrota lock billing
all_see "gone at once" ledger ""
is "a record for each removal" "$(journal -o cat KEYROTA_EVENT=copy-removed KEYROTA_NAME=billing | wc -l)" "$(rings | wc -l)"
ok "... and of the lock" journal_has . KEYROTA_EVENT=access-locked KEYROTA_NAME=billing
same "a service is not concerned" "$(credential_of billing.service jwt.key)" <(keyrota read billing --unit=billing.service)
ok "account refuses" ! pamtester billing-app alice acct_mgmt
keyrota provision
all_see "a run does not give it back" ledger ""
ok "keyrota unlock billing" keyrota unlock billing
all_see "given back" "billing ledger" billing
ok "account lets in" pamtester billing-app alice acct_mgmt

ok "keyrota lock alice" keyrota lock alice
all_see "alice's gone at once" "" billing
ok "she gets in" session_open alice-three alice sudo
sees "... and has nothing there" alice-three
ok "account refuses her" ! pamtester billing-app alice acct_mgmt
ok "keyrota unlock alice" keyrota unlock alice
all_see "given back" "billing ledger" billing
session_end alice-three

echo 'nonsense' >$STORE/locked
refused "keyrota provision says that the locks cannot be read" "locked" keyrota provision
all_see "everything counts as locked" "" ""
rm $STORE/locked
ok "without that file" keyrota provision
all_see "given back" "billing ledger" billing

# ---- policies ----------------------------------------------------------------------------------------------------

access 'users = alice @billing-ops' 'reads = recorded'
ok "reads are put on record" keyrota provision
is "no copy" "$(in_session alice-one 'keyctl show @s' | grep -c keyrota:billing)" 0
access 'users = alice @billing-ops' 'use = sign'
use[billing]='--use=sign --format=jwk'
ok "the active key is for users" keyrota provision
# shellcheck disable=SC2086
is "... and in the copies" "$(in_session frank-one 'hash_of keyrota read billing')" "$(hash_of keyrota read billing ${use[billing]})"
access 'users = alice @billing-ops'
use[billing]=--use=verify
keyrota provision
all_see "the set again" "billing ledger" billing
echo 'nonsense = 1' >>$POLICIES/billing.ini
ok "a broken policy" provision_fails 78 "billing\.ini"
all_see "goes on as it last worked" "billing ledger" billing
rm $POLICIES/billing.ini
ok "a removed policy" keyrota provision
is "its copies are gone" "$(in_session alice-one 'keyctl show @s' | grep -c keyrota:billing)$(in_session frank-one 'keyctl show @s' | grep -c keyrota:billing)" 00
access 'users = alice @billing-ops'
ok "it comes back" keyrota provision
all_see "with its copies" "billing ledger" billing

# ---- the session's end ---------------------------------------------------------------------------------------------

before=$(rings)
as_before() {
        [[ $(rings) == "$before" ]]
}
for way in su-l ssh-key sudo; do
        session_open alice-three alice $way
        session_prepare alice-left alice
        in_session alice-three "setsid -f $HOLDER $SESSIONS/alice-left </dev/null >/dev/null 2>&1"
        session_ready alice-left
        sees "$way: a process of the session has the copies" alice-left billing ledger
        session_end alice-three
        wait_for 20 as_before
        is "... and none when the session has ended, and it stayed" "$(rings)" "$before"
        is "... it reads nothing" "$(in_session alice-left 'keyctl pipe %user:keyrota:billing 2>/dev/null | wc -c')" 0
        session_end alice-left
done

# ---- the key's end -------------------------------------------------------------------------------------------------

policy_make short HS256 "$(rotation 6s 2s)" "$(printf '%s\n' '[access]' 'users = alice')"
keyrota provision
short_is_there() {
        [[ $(in_session alice-one 'keyctl pipe %user:keyrota:short 2>/dev/null | wc -c') -gt 0 ]]
}
short_is_gone() {
        ! short_is_there
}
ok "a secret of a short cryptoperiod" short_is_there
ok "its copy ends with its key, and nothing of keyrota runs" wait_for 30 short_is_gone
ok "alice gets in" session_open alice-three alice su-l
is "... without it" "$(in_session alice-three 'keyctl pipe %user:keyrota:short 2>/dev/null | wc -c')" 0
rm $POLICIES/short.ini
keyrota provision
session_end alice-three

# ---- changes while users log in --------------------------------------------------------------------------------------

# Sessions are opened, some to stay (each takes a key of the user's 200) and some to end at once, while the secret is revoked again and again.
printf '%s\n' 'auth sufficient pam_rootok.so' 'session required pam_permit.so' 'session optional pam_keyinit.so force revoke' 'session optional pam_keyrota.so' |
        tee /etc/pam.d/runuser >/etc/pam.d/race
mkfifo -m 0644 "$SCRATCH/gate"
mkfifo -m 0666 "$SCRATCH/arrived"
exec {gate}<>"$SCRATCH/gate" {arrived}<>"$SCRATCH/arrived"
journal_mark
: >"$SCRATCH/racing"
(for _ in {1..10}; do keyrota revoke --yes billing || break; done; rm "$SCRATCH/racing") >"$SCRATCH/revoked" 2>&1 &
revoker=$!
(while [[ -e $SCRATCH/racing ]]; do pamtester race alice open_session close_session || echo "cannot get in"; done) >"$SCRATCH/passed" 2>&1 &
passer=$!
racers=()
while [[ -e $SCRATCH/racing ]] && (( ${#racers[@]} < 150 )); do
        # shellcheck disable=SC2016
        runuser alice -c 'echo in >"$1"; read line <"$0"; keyctl pipe %user:keyrota:billing | sha256sum | cut -c1-16' -- "$SCRATCH/gate" "$SCRATCH/arrived" \
                {gate}<&- {arrived}<&- &
        racers+=($!)
        read -r -t 20 -u $arrived _ || { echo "cannot get in"; break; }
done >"$SCRATCH/raced" 2>&1
wait $revoker $passer
eval "printf '\n%.0s' {1..${#racers[@]}}" >&$gate
wait "${racers[@]}"
exec {gate}<&- {arrived}<&-
mapfile -t given < <(journal -o json KEYROTA_EVENT=copy-granted KEYROTA_NAME=billing | jq -r .KEYROTA_GENERATION | sort -n | uniq -c | awk '{ print $2 " (" $1 ")" }')
diag "${#racers[@]} sessions stayed, $(grep -c 'opened a session' "$SCRATCH/passed") ended; of generation ${given[*]}"
ok "logins have met revocations" test ${#given[@]} -gt 2
is "not one session has a copy that is not the newest" "$(sort "$SCRATCH/raced" | uniq -c | sed 's/^ *//')" "${#racers[@]} $(hash_of keyrota read billing)"
is "nobody was kept out" "$(grep -c 'cannot' "$SCRATCH/passed")" 0
wait_for 30 as_before
is "no ring is left of those that ended" "$(rings)" "$before"
all_see "the sessions from before" "billing ledger" billing

ok "keyrota lock alice" keyrota lock alice
next_boot
