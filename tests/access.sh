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

WORK=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-test.XXXXXX")
declare -A SESSION_PID SESSION_IN SESSION_OUT

access_cleanup() {
        local status=$? id
        for id in "${!SESSION_PID[@]}"; do kill "${SESSION_PID[$id]}" 2>/dev/null; done
        rm -rf "$WORK"
        (exit $status)
        scratch_cleanup
}
trap access_cleanup EXIT

# ---- accounts -----------------------------------------------------------------------------------------------------------

cat >"$WORK/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
alice:x:61201:61201::/:/bin/sh
bob:x:61202:61202::/:/bin/sh
carol:x:61203:61203::/:/bin/sh
END
cat >"$WORK/group" <<'END'
root:x:0:
alice:x:61201:
bob:x:61202:
carol:x:61203:
ops:x:61210:alice,carol
END
printf 'passwd: files\ngroup: files\n' >"$WORK/nsswitch.conf"
for file in passwd group nsswitch.conf; do
        chmod 0644 "$WORK/$file"
        mount --bind "$WORK/$file" "/etc/$file" || bail_out "cannot put another /etc/$file in place"
done

# edit FILE SED-COMMAND: in place, for it is mounted
edit() {
        local text
        text=$(sed "$2" "$WORK/$1") && printf '%s\n' "$text" >"$WORK/$1"
}

# ---- sessions -----------------------------------------------------------------------------------------------------------

live() {
        keyctl search @u keyring "${1:-$RING}"
}

# session ID UID USER [USE [SECRET [LIVE]]]: begins one that has a ring and no copies yet
session() {
        local in out
        mkfifo "$WORK/$1.in" "$WORK/$1.out"
        "$KEYROTA_BUILD/tests/unit/session-tool" "${6:-$(live)}" "$2" "$3" sshd "${4:-any}" "${5-}" <"$WORK/$1.in" >"$WORK/$1.out" &
        SESSION_PID[$1]=$!
        exec {in}>"$WORK/$1.in" {out}<"$WORK/$1.out"
        SESSION_IN[$1]=$in
        SESSION_OUT[$1]=$out
        read -r -u "$out" || bail_out "no session of $3"
}

# ask ID COMMAND...: what the session's process answers
ask() {
        local id=$1 answer
        shift
        printf '%s\n' "$*" >&"${SESSION_IN[$id]}"
        IFS= read -r -u "${SESSION_OUT[$id]}" answer
        printf '%s\n' "$answer"
}

end_session() {
        local in=${SESSION_IN[$1]} out=${SESSION_OUT[$1]}
        echo end >&"$in" # other sessions have inherited the pipe's end
        wait "${SESSION_PID[$1]}"
        exec {in}>&- {out}<&-
        unset "SESSION_PID[$1]" "SESSION_IN[$1]" "SESSION_OUT[$1]"
        rm "$WORK/$1".*
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
session only 61201 alice any hook
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
        printf 'passwd: files hesiod\ngroup: files\n' >"$WORK/nsswitch.conf"
        ok 'one that need not be asked is none' keyrota provision
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

end_session a1
ok 'a session that has ended is nobody'\''s' keyrota provision

done_testing
