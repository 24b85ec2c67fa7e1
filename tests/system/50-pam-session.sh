#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copies of secrets in login sessions: every way in, for a user whom the policy names, one whom it names by a group and one whom it does not; and what becomes
# of the copies in the sessions that are open when a key is rotated, or a right is taken away or given back.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/sessions.sh"
wait_for_boot
rotation_off
environment_set production
groupadd billing-ops
session_users alice frank mallory
usermod -aG billing-ops frank

access() {
        policy_make billing ES256 "$(printf '%s\n' '[access]' "users = $1" 'use = verify')"
}
access "alice @billing-ops"
policy_make ledger HS256 "$(printf '%s\n' '[access]' 'users = alice' 'use = sign')"
policy_make hidden ES256 "$(printf '%s\n' '[access]' 'users = root')"
ok "policies with users and a group are provisioned" keyrota provision

# ---- enable it ---------------------------------------------------------------------------------------------------

ok "pam-auth-update enables the profile" pam-auth-update --package --enable keyrota
for stack in common-session common-session-noninteractive; do
        diag "$stack:" "$(grep -v '^#' /etc/pam.d/$stack)"
        ok "$stack has the line, after pam_keyinit" bash -c "grep -v '^#' /etc/pam.d/$stack | grep -A 9 'pam_keyinit.so' | grep -q pam_keyrota.so"
done
# by hand
printf '%s\n' 'auth required pam_deny.so' 'account required pam_permit.so' 'session required pam_loginuid.so' \
        'session optional pam_keyinit.so force revoke' 'session optional pam_keyrota.so' >/etc/pam.d/hold

# ---- every way in ------------------------------------------------------------------------------------------------

declare -A sees=()
# Sets what each user is to see from now on.
expect() {
        local billing ledger
        billing=$(hash_of keyrota read billing)
        ledger=$(hash_of keyrota read ledger --use=sign --format=jwk)
        sees=(
                [alice]="billing=$billing/$billing ledger=$ledger/$ledger hidden=-/- rings=1 shown=keyrota:billing,keyrota:ledger listed=keyrota:billing,keyrota:ledger"
                [alice-without]="billing=-/- ledger=$ledger/$ledger hidden=-/- rings=1 shown=keyrota:ledger listed=keyrota:ledger"
                [frank]="billing=$billing/$billing ledger=-/- hidden=-/- rings=1 shown=keyrota:billing listed=keyrota:billing"
                [frank-without]="billing=-/- ledger=-/- hidden=-/- rings=1 shown= listed="
                [mallory]="billing=-/- ledger=-/- hidden=-/- rings=0 shown= listed="
        )
}

# each_sees DESCRIPTION USER WHAT: a test of each open session of USER.
each_sees() {
        local way
        for way in "${WAYS[@]}"; do
                session_ask "$2-$way" 'view billing ledger hidden'
        done
        for way in "${WAYS[@]}"; do
                is "$2 by $way: $1" "$(session_answer "$2-$way")" "${sees[$3]}"
        done
}

root_before=$(quota_of root)
expect
for user in alice frank mallory; do
        for way in "${WAYS[@]}"; do
                ok "$user gets in by $way" session_open "$user-$way" "$user" "$way"
        done
done
each_sees "the exact bytes of both secrets that name alice" alice alice
each_sees "those of the secret that names frank's group" frank frank
each_sees "nothing, not even a name" mallory mallory
is "keyctl print gives the same" "$(in_session alice-su-l 'keyctl print %user:keyrota:billing')" "$(keyrota read billing)"
for user in alice frank; do
        is "each session of $user has a ring of its own" "$(for way in "${WAYS[@]}"; do in_session "$user-$way" ring; done | sort -u | wc -l)" ${#WAYS[@]}
done
as_many_keys() {
        [[ $(quota_of alice | cut -d' ' -f1) == $(quota_of mallory | cut -d' ' -f1) ]]
}
wait_for 20 as_many_keys        # when the kernel has cleared away
read -r alice_keys alice_bytes <<<"$(quota_of alice)"
read -r mallory_keys mallory_bytes <<<"$(quota_of mallory)"
diag "keys and bytes against the quota of root: $root_before before, $(quota_of root) now; of alice: $alice_keys $alice_bytes; of mallory: $mallory_keys $mallory_bytes"
is "no key counts against alice's quota" "$alice_keys" "$mallory_keys"
is "... and of bytes the link of each session" "$((alice_bytes - mallory_bytes))" $((4 * ${#WAYS[@]}))
is "the rings and copies are root's, whose quota pays for them" "$(in_session alice-su-l "keyctl show @s | awk '/keyrota/ { print \$3 }' | uniq -c | xargs")" "3 0"

# ---- who holds what, and why -------------------------------------------------------------------------------------

explained=$(keyrota explain alice billing)
like "explain: by which words of which line" "$explained" "^alice may read billing, named as alice by $POLICIES/billing\.ini:4"
like "... of frank's group" "$(keyrota explain frank billing)" "^frank may read billing, named as @billing-ops by $POLICIES/billing\.ini:4"
like "... and that mallory may not" "$(keyrota explain mallory billing)" "^mallory may not read billing: $POLICIES/billing\.ini:4 names neither"
ok "... by its exit status too" ! keyrota explain mallory billing
is "it shows each of alice's sessions, with the newest copy" "$(keyrota explain --json alice billing | jq -r '.sessions[] | .copy' | uniq -c | xargs)" "$(rings alice | wc -l) current"
is "... by service" "$(keyrota explain --json alice billing | jq -r '[.sessions[].service] | unique | join(" ")')" "cron hold login sshd su su-l sudo sudo-i systemd-user"
is "status counts the sessions that hold it" "$(keyrota status --json | jq -r '.secrets[] | select(.name == "billing") | .access.holders | length')" "$(rings | wc -l)"
diag "$explained" "$(keyrota status)"

# ---- while they are logged in ----------------------------------------------------------------------------------

old=$(keyrota read billing)
ok "billing is rotated" keyrota rotate --now billing
ok "... and has other bytes" test "$(keyrota read billing)" != "$old"
expect
each_sees "the new bytes" alice alice
each_sees "the new bytes" frank frank

gpasswd --delete frank billing-ops >/dev/null
ok "frank is taken out of the group" keyrota provision
each_sees "no copy any more" frank frank-without
each_sees "alice is not concerned" alice alice
access "@billing-ops mallory"
ok "alice is taken out of the policy, and mallory put into it" keyrota provision
each_sees "one copy less" alice alice-without
each_sees "nothing in the sessions that were opened without a right" mallory mallory
access "alice @billing-ops"
gpasswd --add frank billing-ops >/dev/null
ok "both are put back" keyrota provision
each_sees "both copies again" alice alice
each_sees "the copy again" frank frank

# ---- and when they log out -------------------------------------------------------------------------------------

# shellcheck disable=SC2046
session_end $(sessions_open)
for user in alice frank mallory; do
        loginctl disable-linger $user
done
wait_for 30 no_rings
is "with the sessions their rings end" "$(rings)" ""

done_testing
