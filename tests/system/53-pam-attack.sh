#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a user can do to copies of secrets, and to what gives them: to their own, to those of another session of theirs, and to those of another user; as
# the session's owner, by setuid programs, by planted files, with descriptors and keyrings of their own, and with no quota left.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/sessions.sh"
ATTACK=${BASH_SOURCE[0]%/*}/attack.py
wait_for_boot
rotation_off
environment_set production
session_users alice bob mallory
policy_make billing HS256 "$(printf '%s\n' '[access]' 'users = alice bob' 'use = sign')" "$(deliver billing.service sign jwt.key jwk)"
ok "a policy with two users is provisioned" keyrota provision
ok "pam-auth-update enables the profile" pam-auth-update --package --enable keyrota

billing=$(hash_of keyrota read billing --use=sign --format=jwk)
has="billing=$billing/$billing rings=1 shown=keyrota:billing listed=keyrota:billing"
has_nothing="billing=-/- rings=0 shown= listed="

# in_session_fails SESSION COMMAND: what it says, and a failure when it fails.
in_session_fails() {
        local output
        output=$(in_session "$1" "$2 2>&1; echo \"status \$?\"")
        echo "$output"
        [[ $output == *"status 0" ]]
}

# sees DESCRIPTION SESSION WHAT
sees() {
        is "$1" "$(in_session "$2" 'view billing')" "$3"
}

# attacked SESSION ARGUMENT...: a test for each attempt of attack.py there: it came to what standard input expects, whose lines are a regex for the result, a tab
# and a pattern for what was tried; the first that matches counts, and each must match something.
attacked() {
        local session=$1 what result wanted pattern line expected unused
        shift
        mapfile -t expected
        unused=("${expected[@]}")
        in_session "$session" "$ATTACK $*" >"$SCRATCH/attempts"
        while IFS=$'\t' read -r what result; do
                wanted=nothing
                for line in "${!expected[@]}"; do
                        IFS=$'\t' read -r wanted pattern <<<"${expected[line]}"
                        # shellcheck disable=SC2053
                        [[ $what == $pattern ]] && break
                        wanted=nothing
                done
                unset "unused[line]"
                like "$session: $what: $result" "$result" "^($wanted)$"
        done <"$SCRATCH/attempts"
        is "$session: all was tried" "${unused[*]}" ""
}

for session in alice-one alice-two bob-one mallory-one; do
        ok "$session is opened" session_open $session ${session%-*} su-l
done
for session in alice-one alice-two bob-one; do
        sees "$session: has its copy" $session "$has"
done
sees "mallory-one: has none" mallory-one "$has_nothing"

keyrota provision
ring=$(in_session alice-one ring)
copy=$(keyctl search "$ring" user keyrota:billing)
live=$(keyctl search @u keyring keyrota)
entry=$(keyctl search "$live" user secret:production/billing/sign)
pid=$(pgrep -u alice -f "$HOLDER $SESSIONS/alice-one" | tail -n 1)
state() {
        local key
        for key in $ring $copy $live $entry; do
                keyctl rdescribe $key
        done
        keyctl rlist $ring
        keyctl rlist $live | tr ' ' '\n' | sort | sha256sum
        keyctl pipe $copy | sha256sum
        stat -c '%n %a %U %i %z' /run/keyrota /run/keyrota/* /etc/keyrota/* /var/lib/keyrota
}
before=$(state)

# their own: look, and nothing else
attacked alice-one own "$ring" "$copy" <<'END'
done	@(copy|ring): @(describe|read|search)
EPERM	*: @(instantiate|negate)
ENOKEY	*: assume authority
EACCES	@(copy|ring): *
END
is "all is as it was" "$(state)" "$before"

# another user
attacked mallory-one foreign "$ring" "$copy" "$live" "$entry" "$pid" "$(id -u alice)" <<'END'
EPERM	*: @(instantiate|negate)
ENOKEY	*: @(assume authority|security label)
ENOKEY	@(copy|live ring): @(search the *|request)
shows nothing	/proc/keys
EPERM|EOPNOTSUPP	persistent keyring of *
EPERM	process: @(ptrace|signal|send *)
EACCES	process: *
another, which is empty	enter the keyring *
EACCES	@(copy|ring|live ring|published): *
EACCES	/@(run|etc|var)/*
EACCES	credential socket: *
END
is "all is as it was" "$(state)" "$before"

# another session of the same user, which has copies of its own
attacked alice-two foreign "$ring" "$copy" "$live" "$entry" 0 "$(id -u alice)" <<'END'
done	copy: @(search the session|request)
ENOKEY	@(copy|live ring): @(search the *|request)
EPERM	*: @(instantiate|negate)
ENOKEY	*: @(assume authority|security label)
shows it	/proc/keys
done|EOPNOTSUPP	persistent keyring of the user
EPERM|EOPNOTSUPP	persistent keyring of root
another, which is empty	enter the keyring *
EACCES	@(copy|ring|live ring|published): *
EACCES	/@(run|etc|var)/*
EACCES	credential socket: *
END
is "all is as it was" "$(state)" "$before"

# ---- what is theirs to destroy, and imitations -------------------------------------------------------------------

consumer_make billing.service User=nobody
in_session alice-one "keyctl invalidate $copy"
ring_is_empty() {
        [[ -z $(keyctl rlist "$ring") ]]
}
ok "alice can destroy her own copy" wait_for 10 ring_is_empty
sees "... which is gone in that session" alice-one "billing=-/- rings=1 shown= listed="
sees "... and in no other of hers" alice-two "$has"
sees "... nor of bob's" bob-one "$has"
same "... nor is a service concerned" "$(credential_of billing.service jwt.key)" <(keyrota read billing --unit=billing.service)
keyrota provision
sees "the next run gives it back" alice-one "$has"
in_session alice-one "keyctl invalidate $ring"
sees "she can destroy the ring" alice-one "billing=-/- rings=0 shown= listed="
ok "... which keyrota provision bears" keyrota provision
ok "... her next session" session_open alice-three alice su-l
sees "... has all again" alice-three "$has"

# what looks like a ring of copies, and like the live ring, to whoever looks for them by name
alice_ring=$(rings alice | head -n 1 | cut -d' ' -f2)
in_session mallory-one "keyctl newring '${alice_ring%:}' @s; keyctl newring keyrota @s; keyctl newring keyrota @u; keyctl add user keyrota:billing forged @s; keyctl setperm @s 0x3f3f3f3f" >"$SCRATCH/forged"
ok "keyrota provision takes nothing of another user's for a ring of copies" keyrota provision
is "... puts nothing into it" "$(in_session mallory-one "keyctl list $(head -n 1 "$SCRATCH/forged")")" "keyring is empty"
sees "... and those who have copies keep them" bob-one "$has"
is "mallory deceives herself" "$(in_session mallory-one 'keyctl print %user:keyrota:billing')" forged
refused "keyrota read is not deceived" "not keyrota's" in_session_fails mallory-one 'keyrota read billing'

in_session mallory-one 'keyctl clear @u' >/dev/null
session_end mallory-one

# ---- setuid programs in a session of the attacker's --------------------------------------------------------------

# sudo opens a session for alice, or for root, within the keyring that mallory comes with
echo 'Defaults !requiretty
mallory ALL=(alice,bob,root) NOPASSWD: ALL
alice ALL=(alice,mallory) NOPASSWD: ALL' >/etc/sudoers.d/tests
show='keyctl show @s | grep -c "keyrota-session:[0-9]"; keyctl print %user:keyrota:billing >/dev/null 2>&1; echo $?'
cp /etc/pam.d/sudo "$SCRATCH/sudo"
printf '%s\n' 'auth required pam_permit.so' 'account required pam_permit.so' 'session required pam_permit.so' 'session optional pam_keyrota.so' >/etc/pam.d/sudo
journal_mark
session_open mallory-two mallory su-l
is "without pam_keyinit: alice's session in mallory's keyring has no copy" "$(in_session mallory-two "sudo -u alice sh -c '$show'")" $'0\n1'
is "... nor one in a keyring that she named" "$(in_session mallory-two "keyctl session mine sudo -u alice sh -c '$show' 2>/dev/null")" $'0\n1'
is "... nor one that everybody may search" "$(in_session mallory-two "keyctl setperm @s 0x3f3f3f3f; sudo -u alice sh -c '$show'")" $'0\n1'
is "... nor alice's in one of her own that she named" "$(in_session alice-three "keyctl session mine sudo -u alice sh -c '$show' 2>/dev/null")" $'0\n1'
ok "... the log says why" journal_has 'user "alice" gets no copy of any secret: the session keyring is not'
is "... what alice runs as mallory is in her session still, and reads what she can" "$(in_session alice-three "sudo -u mallory sh -c '$show'")" $'1\n0'
sees "... mallory's own sees nothing afterwards" mallory-two "$has_nothing"
mv "$SCRATCH/sudo" /etc/pam.d/sudo
sed -i '1i auth sufficient pam_permit.so' /etc/pam.d/sudo
is "with it: alice's session has its copy" "$(in_session mallory-two "sudo -u alice sh -c '$show'")" $'1\n0'
sees "... and mallory's own nothing" mallory-two "$has_nothing"
is "... what alice runs as mallory has nothing of hers" "$(in_session alice-three "sudo -u mallory sh -c '$show'")" $'0\n1'
# a program that is root's by its mode finds no more in its caller's session than its caller does
install -m 4755 /usr/bin/keyctl /usr/local/bin/keyctl-of-root
is "a setuid program finds no copy in mallory's session" "$(in_session mallory-two 'keyctl-of-root search @s user keyrota:billing' 2>&1)" "keyctl_search: Required key not available"

# ---- planted files, and descriptors ------------------------------------------------------------------------------

# shellcheck disable=SC2016
plant='cd; mkdir -p .config; for file in .keyrota .config/keyrota /tmp/keyrota /run/user/$(id -u)/keyrota; do rm -rf $file; HOW $file; done'
for how in mkfifo 'ln -sf /run/keyrota/access'; do
        in_session alice-three "${plant/HOW/$how}"
        ok "${how%% *} at every path of the user's: alice gets in" session_open alice-planted alice su-l
        sees "... and has her copy" alice-planted "$has"
        session_end alice-planted
done
mv /run/keyrota/access "$SCRATCH/access"
mkfifo -m 0600 /run/keyrota/access
ok "a FIFO in place of the access table holds nobody up" session_open alice-planted alice su-l
sees "... who gets nothing by it" alice-planted "$has_nothing"
session_end alice-planted
rm /run/keyrota/access
ok "keyrota provision writes it anew" keyrota provision
session_open alice-planted alice su
is "a session inherits no descriptor of ours" "$(in_session alice-planted 'ls -l /proc/self/fd' | grep keyrota | grep -v "$SESSIONS")" ""

# ---- no quota left -----------------------------------------------------------------------------------------------

read -r keys_before bytes_before <<<"$(quota_of alice)"
# The kernel gives a quota back some time after the keys are gone.
no_more_than_before() {
        local keys bytes
        read -r keys bytes <<<"$(quota_of alice)"
        (( keys <= keys_before && bytes <= bytes_before ))
}
journal_mark
# shellcheck disable=SC2016
in_session alice-planted 'n=0; while keyctl add user "fill$n" x @u; do n=$((n + 1)); done' >/dev/null
is "alice has no key left" "$(quota_of alice | cut -d' ' -f1)" "$(cat /proc/sys/kernel/keys/maxkeys)"
for way in su-l ssh-key; do
        ok "by $way she gets in all the same" session_open alice-full alice $way
        sees "... without a copy" alice-full "$has_nothing"
        session_end alice-full
done
ok "... the log says why" journal_has 'user "alice" gets no copy of any secret'
keyrota provision
sees "... her open sessions keep theirs" alice-planted "$has"
in_session alice-planted 'keyctl clear @u; keyctl purge user fill >/dev/null'
ok "(the keys are gone)" wait_for 60 no_more_than_before

# a session keyring that finds room, and a ring that does not: the last bytes go between the two
cat >/usr/local/bin/fill <<'END'
#!/bin/sh
exec setpriv --reuid alice --regid alice --clear-groups sh -c '
        for ring in a b c; do rings="$rings $(keyctl newring $ring @u)"; done
        key=$(keyctl add user first x @u)
        for size in 4000 1000 100 10 1; do
                n=0
                while head -c $size /dev/zero | keyctl padd user fill$size-$n @u; do n=$((n + 1)); done
        done
        for ring in $rings; do keyctl link $key $ring; done'
END
chmod 0755 /usr/local/bin/fill
printf '%s\n' 'auth sufficient pam_rootok.so' 'session required pam_permit.so' 'session optional pam_keyinit.so force revoke' \
        'session optional pam_exec.so quiet type=open_session /usr/local/bin/fill' 'session optional pam_keyrota.so' >/etc/pam.d/runuser
journal_mark
ok "with bytes for no link she gets in" session_open alice-full alice runuser
sees "... without a copy" alice-full "$has_nothing"
ok "... the log says why" journal_has "user's quota of keys is used up"
session_end alice-full
in_session alice-planted 'keyctl clear @u'
ok "(the bytes are given back)" wait_for 60 no_more_than_before
sed -i /fill/d /etc/pam.d/runuser
ok "with room again" session_open alice-full alice runuser
sees "... she has it" alice-full "$has"

done_testing
