#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Users' copies in open sessions: what a run renews, gives back, takes away and leaves alone; who is locked; what explain and status say. Sessions are played by
# tests/unit/session-tool, accounts are those of files that only this script sees, in a mount namespace of its own.

if [[ -z ${KEYROTA_TEST_NAMESPACE-} ]]; then
        (( EUID == 0 )) && unshare --mount true 2>/dev/null || { echo '1..0 # SKIP needs root and mount namespaces'; exit 0; }
        KEYROTA_TEST_NAMESPACE=1 exec unshare --mount -- "$BASH" "$0" "$@"
fi

. "$(dirname "$0")/scratch.sh" || exit 99
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/changes.sh"

# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/sessions.sh"

access_cleanup() {
        local status=$?
        sessions_cleanup
        (exit $status)
        scratch_cleanup
}
trap access_cleanup EXIT

for file in passwd group nsswitch.conf; do
        mount --bind "$WORK/$file" "/etc/$file" || bail_out "cannot put another /etc/$file in place"
done

run_folder() {
        echo "$TREE/run/keyrota"
}

published() {
        entry_bytes "secret:test/$1/$2"
}

web_policy() {
        policy web <<END
[secret]
algorithm = ES256
[deliver:issuer.service]
use = sign
credential = jwt.key
format = pem
[access]
users = ${1:-alice @ops}
use = ${2:-verify}
${3-}
END
}

hook_policy() {
        policy hook <<END
[secret]
algorithm = HS256
[deliver:hook.service]
use = sign
credential = jwt.key
format = hex
[access]
users = ${1:-alice}
use = sign
END
}

# ---- renewal ------------------------------------------------------------------------------------------------------------

web_policy
hook_policy
ok 'without any session a run succeeds' keyrota provision
ok 'and has no lock to take' test ! -e "$TREE/run/keyrota/access.lock"

session a1 61201 alice
session a2 61201 alice verify
session c 61203 carol
session b 61202 bob
session only 61201 alice any/hook
ok 'a run with sessions succeeds' keyrota provision
is 'a session is given what its user may have' "$(ask a1 list)" 'hook web'
is 'of a verification set the exact bytes' "$(ask a1 read web)" "$(published web verify)"
is 'of a key that signs, too' "$(ask a1 read hook)" "$(published hook sign)"
is 'a line of the stack with use=verify limits what is given' "$(ask a2 list)" 'web'
is 'and one with secret=' "$(ask only list)" 'hook'
is 'a group counts' "$(ask c list)" 'web'
is 'a user whom no policy names has nothing' "$(ask b list)" ''

serial=$(ask a1 serial web)
before=$(published web verify)
ok 'a rotation begins' keyrota rotate --now web
ok 'and what is published is another set' test "$before" != "$(published web verify)"
is 'which an open session has at once' "$(ask a1 read web)" "$(published web verify)"
is 'under the same serial number' "$(ask a1 serial web)" "$serial"
is 'in every session' "$(ask a2 read web) $(ask c read web)" "$(published web verify) $(published web verify)"

is 'a user can destroy their copy' "$(ask a1 invalidate web)" 'done'
is 'and harms nobody' "$(ask a2 read web)" "$(published web verify)"
ok 'the next run' keyrota provision
is 'gives it back' "$(ask a1 read web)" "$(published web verify)"

# Somebody with root's keyrings unlinks the live one; what sessions hold is still known to be of it.
drop_ring
ok 'the live keyring is gone: a run makes another' keyrota provision
ok 'and rotates' keyrota rotate --now hook
is 'open sessions have what is published there' "$(ask a1 read hook) $(ask c read web)" "$(published hook sign) $(published web verify)"
drop_ring
hook_policy bob
ok 'gone once more, and a user is taken out of the policy' keyrota provision
is 'open sessions have lost it' "$(ask a1 list)" 'web'
hook_policy
ok '(put back)' keyrota provision

if command -v strace >/dev/null && [[ -z ${KEYROTA_SANITIZED-} ]]; then
        is 'a run with nothing to change asks for no change but of the kernel'\''s clocks on the copies' \
                "$(changes provision | grep -v KEYCTL_SET_TIMEOUT | head -n 20)" ''
        rm -f "$TREE.output"
fi

# ---- who loses them -----------------------------------------------------------------------------------------------------

edit group 's/^ops:.*/ops:x:61210:alice/'
ok 'a run after a change of groups' keyrota provision
is 'takes away what the group gave' "$(ask c list)" ''
is 'and nothing else' "$(ask a1 list)" 'hook web'

web_policy 'bob'
ok 'a run after an edit of the policy' keyrota provision
is 'takes away what the policy gave' "$(ask a1 list)" 'hook'
is 'and gives an open session what it gives now' "$(ask b read web)" "$(published web verify)"

web_policy 'alice' sign
ok 'a run of the secret alone' keyrota rotate web
is 'a copy for another use takes its place' "$(ask a1 read web)" "$(published web sign)"
is 'and a session that is not given that has none' "$(ask a2 list)" ''
web_policy 'alice' verify 'reads = recorded'
ok 'reads on record' keyrota provision
is 'end the copies' "$(ask a1 list)" 'hook'

web_policy 'alice'
ok 'back' keyrota provision
is 'and there again' "$(ask a1 list)" 'hook web'
ok 'a key is revoked' keyrota revoke --yes web
is 'the copies are of what is left' "$(ask a1 read web)" "$(published web verify)"
rm "$POLICY/web.ini"
ok 'a policy is removed' keyrota provision
is 'and its copies with it' "$(ask a1 list) $(ask a2 list)" 'hook '
web_policy 'alice'
ok 'it is back' keyrota provision

# ---- accounts that change -----------------------------------------------------------------------------------------------

edit passwd 's/^alice:x:61201:/alice:x:61299:/'
ok 'an account with another uid' keyrota provision
is 'is not that of the session' "$(ask a1 list)$(ask a2 list)$(ask only list)" ''
edit passwd 's/^alice:x:61299:/alice:x:61201:/'
ok 'with its own' keyrota provision
is 'it is' "$(ask a1 list)" 'hook web'

# Of what the C library brings, this one is away where it is not set up.
if [[ -e $(ldconfig -p | sed -n 's/.*libnss_hesiod\.so\.2 .*=> //p' | head -n 1) && ! -e /etc/hesiod.conf ]]; then
        before=$(ask a1 serial web)
        printf 'passwd: hesiod\ngroup: files\n' >"$WORK/nsswitch.conf"
        refused 'a name service that is away is a failure' 'cannot look up alice and their groups' keyrota provision
        is 'and takes nothing away' "$(ask a1 list) $(ask a1 serial web)" "hook web $before"
        refused 'a lock is a failure then, too' 'cannot look up alice and their groups' keyrota lock --secret=web
        is 'but takes the secret from every session' "$(ask a1 list)/$(ask a2 list)/$(ask only list)" 'hook//hook'
        refused 'when it is unlocked' 'cannot look up alice and their groups' keyrota unlock web
        rm "$POLICY/hook.ini"
        refused 'and a policy is removed' 'cannot look up alice and their groups' keyrota provision
        is 'so is what no policy gives to anybody' "$(ask a1 list)/$(ask only list)" '/'
        hook_policy
        printf 'passwd: files\ngroup: files\n' >"$WORK/nsswitch.conf"
        ok 'all is back' keyrota provision
        printf 'passwd: hesiod\ngroup: files\n' >"$WORK/nsswitch.conf"
        hook_policy 'bob'
        web_policy 'bob @ops'
        refused 'a user is taken out of policies' 'cannot look up alice and their groups' keyrota provision
        is 'and has no copy where no group is named that would have to be asked for' "$(ask a1 list)" 'web'
        hook_policy
        web_policy 'alice'
        printf 'passwd: files hesiod\ngroup: files\n' >"$WORK/nsswitch.conf"
        ok 'one that need not be asked is none' keyrota provision
        is 'and what is due is given' "$(ask a1 list)" 'hook web'

        edit group 's/^ops:.*/ops:x:61210:alice,carol/'
        web_policy 'alice @ops'
        ok 'a group is named' keyrota provision
        edit group '/^ops:/d'
        printf 'passwd: files\ngroup: files hesiod\n' >"$WORK/nsswitch.conf"
        refused 'a service that is away, which may know the group' 'cannot look up carol and their groups' keyrota provision
        is 'takes nothing away' "$(ask c list)" 'web'
        refused 'nor is it said that the user is not in the group' 'cannot look up the groups that web is given to' keyrota explain carol web
        printf 'passwd: files\ngroup: files\n' >"$WORK/nsswitch.conf"
        ok 'a group that is gone' keyrota provision
        is 'gives nothing' "$(ask c list)" ''
        edit group '$a ops:x:61210:alice'
        web_policy 'alice'
        ok '(put back)' keyrota provision
else
        skip 'a name service that is away is a failure' 'there is none to be had'
fi
printf 'passwd: files\ngroup: files\n' >"$WORK/nsswitch.conf"

edit passwd '/^alice:/d'
ok 'an account that is gone' keyrota provision
is 'has no copies' "$(ask a1 list)$(ask a2 list)$(ask only list)" ''
edit passwd '$a alice:x:61201:61201::/:/bin/sh'
ok 'one that is back' keyrota provision
is 'has them again' "$(ask a1 list)" 'hook web'

# ---- whose sessions -----------------------------------------------------------------------------------------------------

first_tree=$TREE first_ring=$RING
TREE=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-test.XXXXXX") RING=$RING-b POLICY=$TREE/etc/keyrota/policy.d
new_tree
ok 'another tree, with a keyring of its own' keyrota provision
is 'takes nothing from the sessions of the first' "$(ask a1 list)" 'hook web'
drop_ring
rm -rf "$TREE"
TREE=$first_tree RING=$first_ring POLICY=$TREE/etc/keyrota/policy.d

cp "$TREE/run/keyrota/access" "$WORK/table"
sed -i 's/^ring .*/ring 7/' "$TREE/run/keyrota/access"
edit passwd '/^alice:/d'
ok 'a table of another keyring is written anew' keyrota provision
is 'before it is acted on' "$(ask a1 list)" ''
edit passwd '$a alice:x:61201:61201::/:/bin/sh'
ok 'back once more' keyrota provision

# ---- two at once --------------------------------------------------------------------------------------------------------

for i in 1 2 3; do
        keyrota rotate --now web >"$WORK/log.$i" 2>&1 &
        pids[i]=$!
        keyrota rotate --now hook >"$WORK/log2.$i" 2>&1 &
        pids2[i]=$!
        wait "${pids[$i]}" && wait "${pids2[$i]}" || cat "$WORK/log.$i" "$WORK/log2.$i"
        is "two runs at once leave what is published in every session ($i)" "$(ask a1 read web) $(ask a1 read hook)" "$(published web verify) $(published hook sign)"
done

# ---- who would mislead a run --------------------------------------------------------------------------------------------

# in a session that leads to his user keyring, without which he has few rights to what is in it
as_bob() {
        # shellcheck disable=SC2016
        setpriv --reuid=61202 --regid=61202 --clear-groups keyctl session - sh -c 'keyctl link @u @s && exec keyctl "$@"' keyctl "$@" 2>/dev/null
}
ring=$(keyctl describe "$(ask a1 serial web)" >/dev/null; awk '$9 ~ /^keyrota-session:/ && $9 ~ /:alice:sshd:/ { print $1 }' /proc/keys | head -n 1)
like 'a ring is found where runs look for it' "$ring" '^[0-9a-f]{8}$'
forged=()
for line in "$(printf '%08x' "$(keyctl search @u keyring "$RING")") I--Q---     1 perm 0b3f0000     0     0 keyring   keyrota-session:$(stat -c %d.%i "$(run_folder)"):61202:1:1:bob:sshd::: 1" \
        "$ring I--Q---     1 perm 0b3f0000     0     0 keyring   keyrota-session:$(stat -c %d.%i "$(run_folder)"):61202:1:1:bob:sshd::: 1" \
        '7fffffff I--Q---     1 perm 0b3f0000     0     0 keyring   keyrota-session:nonsense' 'keyrota-session:' ''; do
        key=$(as_bob add user "forged"$'\n'"$line"$'\n' x @u) && as_bob setperm "$key" 0x3f3f3f3f && forged+=("$key")
done
own=$(as_bob newring "keyrota-session:$(stat -c %d.%i "$(run_folder)"):61202:1:1:bob:sshd::" @u)
as_bob setperm "$own" 0x3f3f3f3f
is 'a user forges lines of /proc/keys, which root sees' "${#forged[@]} $(grep -c "^[0-9a-f]* I--Q---     1 perm 0b3f0000     0     0 keyring   keyrota-session:$(stat -c %d.%i "$(run_folder)"):.*:bob:" /proc/keys)" '5 2'
entries=$(ring_entries)
ok 'a run is not misled' keyrota provision
is 'and sessions are as they were' "$(ask a1 list)/$(ask b list)" 'hook web/'
is 'not in the live ring either' "$(ring_entries)" "$entries"
is 'nor in a ring of the user'\''s own' "$(keyctl list "$own")" 'keyring is empty'
for key in "${forged[@]}" "$own"; do as_bob unlink "$key" @u; done

refused 'where /proc/keys is hidden a run fails, and says why' 'cannot look in /proc/keys for sessions.*ProcSubset=pid' \
        unshare --mount --pid --fork bash -c 'mount -t proc -o subset=pid proc /proc && exec "$0" --root="$1" --keyring="$2" provision' "$KEYROTA" "$TREE" "$RING"
is 'and takes nothing away' "$(ask a1 list)" 'hook web'

# ---- locks --------------------------------------------------------------------------------------------------------------

table() {
        sed -n "$1" "$TREE/run/keyrota/access"
}
LOCKED=$TREE/var/lib/keyrota/locked

is 'nothing is locked' "$(keyrota lock)" ''
store_before=$(find "$STORE" -name '*.jwe' -exec stat -c '%n %i %Y' {} +)
mv "$STORE/kek.cred" "$WORK/kek.cred" # nothing of this needs a key
table_before=$(table p)
ok 'a secret is locked' keyrota lock web
is 'its copies are gone from every session, others are not' "$(ask a1 list)/$(ask a2 list)" 'hook/'
is 'it is on the list' "$(keyrota unlock)" 'secret web'
is 'which is root'\''s alone' "$(stat -c '%a %U' "$LOCKED")" '600 root'
is 'the table says so' "$(table '/web/s/ alice$//p' | cut -d' ' -f6-)" 'locked'
ok 'once more is no harm' keyrota lock web
is 'and no second line' "$(keyrota lock)" 'secret web'
ok 'a user is locked' keyrota lock alice
is 'and has nothing in any session' "$(ask a1 list)$(ask a2 list)$(ask only list)" ''
is 'both are on the list' "$(keyrota lock)" $'secret web\nuser alice'
ok 'the secret is unlocked' keyrota unlock web
is 'and still the user has nothing' "$(ask a1 list)" ''
ok 'the user is unlocked' keyrota unlock alice
is 'and has everything back' "$(ask a1 list) $(ask a1 read web)" "hook web $(published web verify)"
is 'the table is what it was' "$(table p)" "$table_before"
is 'no stored key was touched' "$(find "$STORE" -name '*.jwe' -exec stat -c '%n %i %Y' {} +)" "$store_before"
mv "$WORK/kek.cred" "$STORE/kek.cred"

coproc HOLD { exec python3 -c 'import fcntl, sys
lock = open(sys.argv[1], "r+")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()' "$STORE/.lock"; }
read -r -u "${HOLD[0]}" answer
is 'the store is locked, as by a run that takes long' "$answer" 'locked'
ok 'a lock does not wait for that' timeout 60 "$KEYROTA" --root="$TREE" --keyring="$RING" lock hook
is 'and is in force' "$(ask a1 list)" 'web'
ok 'nor does unlock' timeout 60 "$KEYROTA" --root="$TREE" --keyring="$RING" unlock hook
is 'which is in force, too' "$(ask a1 list)" 'hook web'
hold_pid=$HOLD_PID
exec {HOLD[1]}>&-
wait "$hold_pid"

ok 'a lock is taken' keyrota lock web
ok 'a run' keyrota provision
is 'leaves it' "$(ask a1 list) $(table '/web/p' | cut -d' ' -f6)" 'hook locked'
ok 'a run of the secret alone too' keyrota rotate --now web
is 'it is locked still' "$(ask a1 list) $(table '/web/p' | cut -d' ' -f6)" 'hook locked'
web_policy 'alice' verify 'reads = recorded'
ok 'its policy is edited meanwhile' keyrota provision
is 'it is locked still' "$(table '/web/p' | cut -d' ' -f6)" 'locked-recorded'
ok 'unlocked' keyrota unlock web
is 'it is read as the policy has it now' "$(ask a1 list) $(table '/web/p' | cut -d' ' -f6)" 'hook recorded'
web_policy 'alice'
ok 'back' keyrota provision

ok 'a user is locked' keyrota lock alice
ok 'a run of all' keyrota provision
ok 'and one of a secret' keyrota rotate hook
is 'leave that, too' "$(ask a1 list) $(table '/^locked/p')" ' locked alice'
ok 'unlocked' keyrota unlock alice

# A run that asks a name service which does not answer keeps others from giving, but none from taking.
mkfifo "$WORK/release" "$WORK/held"
python3 -c 'import fcntl, sys
lock = open(sys.argv[1], "r+b")
fcntl.lockf(lock, fcntl.LOCK_EX, 1)
print("held", flush=True)
sys.stdin.readline()' "$TREE/run/keyrota/access.lock" <"$WORK/release" >"$WORK/held" &
exec {release}>"$WORK/release" {held}<"$WORK/held"
read -r -u $held || bail_out 'the lock cannot be held'
keyrota lock --secret=web >"$WORK/output" 2>&1 &
pid=$!
while [[ $(ask a1 list) != hook ]] && kill -0 $pid 2>/dev/null; do :; done
ok 'while another run is at work' kill -0 $pid
is 'a lock has taken the secret from every session' "$(ask a1 list)/$(ask a2 list)" 'hook/'
echo >&$release
wait $pid
is 'and is done when that run is' $? 0
like 'which it says' "$(<"$WORK/output")" 'secret web is locked; copies changed in 2 open sessions'
exec {release}>&- {held}<&-
ok 'unlocked' keyrota unlock web

# The other run has read the table, and waits for the groups: what it finds to be locked by then, it must not give back.
mkfifo "$WORK/groups"
# shellcheck disable=SC2016
unshare --mount bash -c 'mount --bind "$0" /etc/group && exec "$@"' "$WORK/groups" "$KEYROTA" --root="$TREE" --keyring="$RING" provision >"$WORK/output" 2>&1 &
other=$!
for ((i = 0; i < 300; i++)); do # till it is there, where the kernel says so
        [[ $(<"/proc/$other/wchan") == *@(wait_for_partner|fifo_open)* ]] && break
        sleep 0.1
done
nsenter --mount="/proc/$other/ns/mnt" umount --lazy /etc/group
keyrota lock --secret=web >/dev/null 2>&1 &
pid=$!
while [[ $(ask a1 list) != hook ]] && kill -0 $pid 2>/dev/null; do :; done
ok 'a lock that is ended before its turn' kill $pid
wait $pid
is 'has taken the secret' "$(ask a1 list)" 'hook'
: >"$WORK/groups"
wait $other
is 'a run that began before it' "$?$(<"$WORK/output")" '0'
is 'does not give it back' "$(ask a1 list)/$(ask a2 list)" 'hook/'
ok 'unlocked' keyrota unlock web

refused 'an unknown name' 'there is neither a secret nor an account "nobodyatall"' keyrota lock nobodyatall
ok 'a user who is not known here' keyrota lock --user=nobodyatall
ok 'is unlocked by name too' keyrota unlock nobodyatall
refused 'what is not locked' 'web is not locked' keyrota unlock web
refused 'a secret that is none' 'there is no secret "alice"' keyrota lock --secret=alice
refused 'a name that can be none' 'no name of a secret or user' keyrota lock 'a b'
refused 'two names' 'takes one name' keyrota lock web hook
edit passwd '$a web:x:61204:61204::/:/bin/sh'
refused 'a name of both' 'say --secret=web or --user=web' keyrota lock web
ok 'of which one is said' keyrota lock --user=web
is 'is that one' "$(keyrota lock) $(ask a1 list)" 'user web hook web'
ok 'and the other' keyrota lock --secret=web
refused 'both locked, unlock asks too' 'say --secret=web or --user=web' keyrota unlock web
ok 'one' keyrota unlock --user=web
ok 'the other' keyrota unlock web
edit passwd '/^web:/d'

policy fresh <<<$'[secret]\nalgorithm = HS256\n[access]\nusers = alice\nuse = sign'
ok 'a secret of which only the policy is there' keyrota lock fresh
ok 'and its first run' keyrota provision
is 'give nobody a copy' "$(ask a1 list)" 'hook web'
ok 'before it is unlocked' keyrota unlock fresh
is 'then they do' "$(ask a1 list)" 'fresh hook web'
rm "$POLICY/fresh.ini"
ok 'without it' keyrota provision

mv "$TREE/run/keyrota/access" "$WORK/table"
ok 'without a table a lock' keyrota lock hook
is 'takes copies all the same' "$(ask a1 list)" 'web'
refused 'and a run of one secret says what is wrong' 'cannot use .*/access: No such file.*copies in [0-9]+ sessions stay' keyrota rotate web
ok 'a user, too' keyrota lock alice
is 'loses them' "$(ask a1 list)$(ask a2 list)" ''
ok 'unlock' keyrota unlock alice
ok 'the other' keyrota unlock hook
ok 'and a run' keyrota provision
is 'gives them back' "$(ask a1 list)" 'hook web'

if command -v strace >/dev/null && [[ -z ${KEYROTA_SANITIZED-} ]]; then
        like 'a lock is on the disk before it is in force: file, name, folder' "$(changes lock --user=bob | sed -n 's/^\(fsync\|renameat\)(.*/\1/p' | xargs)" \
                '^fsync renameat fsync'
        rm -f "$TREE.output"
        ok 'unlocked' keyrota unlock bob
fi

# ---- a damaged list locks everything ------------------------------------------------------------------------------------

damaged() {
        ok "$1: a good list" keyrota provision
        is "$1: is in force" "$(ask a1 list)" 'hook web'
        eval "$2"
        refused "$1: a run says where" "$3" keyrota provision
        is "$1: and locks everything" "$(ask a1 list)$(ask a2 list)" ''
        refused "$1: lock" "$3" keyrota lock alice
        refused "$1: unlock" "$3" keyrota unlock web
        refused "$1: and the list say so" "$3" keyrota lock
        rm -rf "$LOCKED"
}
damaged 'a torn file' 'printf "secret we" >"$LOCKED"' 'locked: torn'
damaged 'bytes' 'printf "secret \0\n" >"$LOCKED"' 'locked: torn'
damaged 'an unknown word' 'printf "user bob\ngroup ops\n" >"$LOCKED"' 'locked:2: not'
damaged 'another order' 'printf "user bob\nsecret web\n" >"$LOCKED"' 'locked:2: not'
damaged 'a line twice' 'printf "user bob\nuser bob\n" >"$LOCKED"' 'locked:2: not'
damaged 'an empty line' 'printf "\n" >"$LOCKED"' 'locked:1: not'
damaged 'others who can write' 'printf "user bob\n" >"$LOCKED"; chmod 0666 "$LOCKED"' 'locked: not a regular file'
damaged 'another owner' 'printf "user bob\n" >"$LOCKED"; chown 61202 "$LOCKED"' 'locked: not a regular file'
damaged 'a link' 'printf "user bob\n" >"$WORK/list"; ln -s "$WORK/list" "$LOCKED"' 'locked: (Too many|.*symbolic)'
damaged 'a second name' 'printf "user bob\n" >"$LOCKED"; ln "$LOCKED" "$WORK/second"' 'locked: not a regular file'
damaged 'a folder' 'mkdir "$LOCKED"' 'locked'
damaged 'a pipe' 'mkfifo "$LOCKED"' 'locked: not a regular file'
ok 'a good one again' keyrota provision
is 'and everybody has theirs' "$(ask a1 list)" 'hook web'

# ---- a disk that is full, or read-only ----------------------------------------------------------------------------------

mkdir "$WORK/small"
mount -t tmpfs -o size=256k,mode=0700 tmpfs "$WORK/small"
cp -a "$STORE/." "$WORK/small/"
mount --bind "$WORK/small" "$STORE"
ok 'a lock on the disk that will be full' keyrota lock --user=bob
head -c 1M /dev/zero >"$STORE/full" 2>/dev/null
refused 'on a full disk nothing is locked' 'cannot write .*/locked: No space left' keyrota lock web
is 'and the list is what it was' "$(keyrota lock)" 'user bob'
is 'as are the sessions' "$(ask a1 list)" 'hook web'
rm "$STORE/full"
mount -o remount,ro,bind "$STORE"
refused 'nor on one that is read-only' 'cannot write .*/locked: Read-only' keyrota lock web
refused 'and nothing unlocked' 'cannot write .*/locked: Read-only' keyrota unlock bob
is 'the list is what it was' "$(keyrota lock)" 'user bob'
umount "$STORE" "$WORK/small"
ok 'with room a run' keyrota provision

# ---- explain ------------------------------------------------------------------------------------------------------------

web_policy 'alice @ops'
edit group 's/^ops:.*/ops:x:61210:alice,carol/'
ok 'a policy with a group' keyrota provision
output=$(keyrota explain alice web)
is 'who is allowed: status 0' $? 0
like 'by which words, file and line' "$output" "^alice may read web, named as alice, @ops by $POLICY/web.ini:8"$'\n'
like 'how' "$output" 'the set that verifies, a copy in each session'
like 'what is published' "$output" 'generation [0-9]+, copies end: '
like 'and who holds it now' "$output" 'session   alice, sshd pts/7 from 192.0.2.1, process [0-9]+: holds what is published'
like 'by a group alone' "$(keyrota explain carol web)" '^carol may read web, named as @ops by '
output=$(keyrota explain bob web)
is 'who is not: status 1' $? 1
like 'and why' "$output" "^bob may not read web: $POLICY/web.ini:8 names neither bob nor a group of theirs"
output=$(keyrota explain --json alice web)
ok 'as JSON' jq -e '.allowed and .secret == "web" and .environment == "test" and .named_as == ["alice", "@ops"] and .line == 8 and .use == "verify"
        and .reads == "session" and .generation > 0 and .until > 0 and .locked == null and (.edited | not) and (.sessions | length) == 3' <<<"$output"
ok 'with each session' jq -e '.sessions | map(.copy) | sort == ["current", "current", "missing"]' <<<"$output"
ok 'and what is known of it' jq -e '.sessions[0] | .user == "alice" and .uid == 61201 and .service == "sshd" and .tty == "pts/7" and .remote_host == "192.0.2.1" and .pid > 0
        and .audit_session == null' <<<"$output"
is 'a copy is destroyed' "$(ask a1 invalidate web)" 'done'
like 'and missing' "$(keyrota explain alice web)" 'its copy is missing: keyrota provision gives it back'
ok 'gives it back' keyrota provision
mkdir -p "$POLICY/web.ini.d"
printf '[access]\nusers = bob\n' >"$POLICY/web.ini.d/50-bob.ini"
like 'an edit that is not in force is told' "$(keyrota explain alice web)" "^alice may read web, named as alice, @ops by what is in force"$'\n.*says something else, which is not in force yet'
like 'both ways' "$(keyrota explain bob web)" '^bob may not read web: what is in force does not name the user'
ok 'put into force' keyrota provision
like 'it is the drop-in that counts' "$(keyrota explain bob web)" "^bob may read web, named as bob by $POLICY/web.ini.d/50-bob.ini:2"
echo 'users = carol' >>"$POLICY/web.ini.d/50-bob.ini"
like 'a policy that is broken is told, with what is in force' "$(keyrota explain bob web)" "named as bob by what is in force"$'\n.*broken, and in force as it last worked: .*50-bob.ini:3'
rm -r "$POLICY/web.ini.d"
ok 'without the drop-in' keyrota provision
ok 'locked' keyrota lock web
like 'the lock is told' "$(keyrota explain alice web)" '^alice may not read web: the secret is locked; keyrota unlock --secret=web ends that'
ok 'unlocked' keyrota unlock web
ok 'the user locked' keyrota lock alice
like 'that too' "$(keyrota explain alice web)" '^alice may not read web: the user is locked; keyrota unlock --user=alice ends that'
ok 'in JSON' jq -e '.locked == "user" and (.allowed | not)' <<<"$(keyrota explain --json alice web)"
ok 'unlocked' keyrota unlock alice
refused 'an unknown user' 'there is no account "mallory"' keyrota explain mallory web
refused 'an unknown secret' 'there is no secret "nothing"' keyrota explain alice nothing
refused 'too few names' 'takes a user and a secret' keyrota explain alice
policy closed <<<$'[secret]\nalgorithm = HS256\n[deliver:closed.service]\nuse = sign\ncredential = key\nformat = hex'
like 'a secret that is given to no user' "$(keyrota explain alice closed)" "^alice may not read closed: $POLICY/closed.ini has no \[access\] section"
policy closed <<<$'[secret]\nalgorithm = none'
like 'one whose only policy is broken' "$(keyrota explain alice closed)" "broken, and nothing of it is in force: $POLICY/closed.ini:2"
rm "$POLICY/closed.ini"

# ---- status -------------------------------------------------------------------------------------------------------------

output=$(keyrota status)
is 'status with holders is well' $? 0
like 'who may read' "$output" $'\n    users   alice @ops  verify\n'
like 'who holds it' "$output" $'\n    holder  alice, sshd pts/7 from 192.0.2.1, process [0-9]+  current\n'
output=$(keyrota status --json)
ok 'in JSON too' jq -e '.locked_users == [] and (.secrets[] | select(.name == "web") | .access | .users == ["alice", "@ops"] and .use == "verify" and .reads == "session"
        and (.locked | not) and ([.holders[] | select(.user == "alice" and .copy == "current")] | length) == 2)' <<<"$output"
ok 'a user is locked' keyrota lock alice
ok 'and a secret' keyrota lock web
like 'which is told' "$(keyrota status)" $'\n    users   alice @ops  verify  locked\n.*locked: user alice'
ok 'in JSON too' jq -e '.locked_users == ["alice"] and (.secrets[] | select(.name == "web") | .access.locked)' <<<"$(keyrota status --json)"
ok 'and is nothing wrong' keyrota status
ok 'unlocked' keyrota unlock alice
ok 'unlocked' keyrota unlock web
printf '%s' 'something else' | keyctl pupdate "$(ask a1 serial web)" # root may
output=$(keyrota status)
is 'a copy that is not what is published is wrong' $? 1
like 'which is told' "$output" 'holder  alice, .*  stale'$'\n.*wrong: alice, sshd .*: a session holds an older copy than is published: run keyrota provision'
ok 'which helps' keyrota provision
ok 'all is well' keyrota status
mv "$TREE/run/keyrota/access" "$WORK/table"
like 'a table that is missing is wrong' "$(keyrota status)" 'wrong: .*/access: No such file or directory: no user is let in'
mv "$WORK/table" "$TREE/run/keyrota/access"
printf 'torn' >"$LOCKED"
like 'a list of locks that is damaged, too' "$(keyrota status)" 'wrong: .*locked: torn, or no text; every secret is locked'
rm "$LOCKED"

end_session a1
ok 'a session that has ended is nobody'\''s' keyrota provision

done_testing
