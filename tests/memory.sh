#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Where key bytes are while keyrota provision, read, rotate and import, and the read server, run: in memory that is neither dumped nor swapped, and in no argument,
# environment or message.

. "$(dirname "$0")/scratch.sh" || exit 99

here=$(dirname "$0")
for tool in gdb objdump; do
        command -v "$tool" >/dev/null || bail_out "$tool is missing"
done
[[ -z ${KEYROTA_SANITIZED-} ]] || skip_all 'the sanitizers keep memory of their own'

secrets=(hs256 hs512 rs256 ps384 es256 es384 es512 eddsa)
for name in "${secrets[@]}"; do
        algorithm=${name^^} format=pem
        [[ $algorithm != EDDSA ]] || algorithm=EdDSA
        [[ $algorithm != HS* ]] || format=hex
        policy "$name" <<-EOF
	[secret]
	algorithm = $algorithm
	[deliver:a.service]
	use = sign
	credential = $name.key
	format = $format
	[deliver:b.service]
	use = sign
	credential = $name.jwk
	format = jwk
	EOF
done

# snapshots EVERY CALL,CALL... ARG...: runs keyrota ARG... and takes them at every EVERY-th of these system calls
snapshots() {
        local every=$1 calls=$2
        shift 2
        rm -rf "$TREE.snapshots"
        mkdir -m 0700 "$TREE.snapshots"
        SNAPSHOT_EVERY=$every SNAPSHOT_CALLS=${calls//,/ } SNAPSHOT_FOLDER=$TREE.snapshots \
                timeout --kill-after=5 120 gdb -batch -nx -x "$here/memory-snapshots.py" --args "$KEYROTA" --root="$TREE" --keyring="$RING" "$@" >"$TREE.output" 2>&1
}

# snapshots_read PROCESS CALL,CALL... NAME: while a user reads NAME from the read server, of this PROCESS of the three: server, request, client
snapshots_read() {
        rm -rf "$TREE.snapshots"
        mkdir -m 0700 "$TREE.snapshots"
        SNAPSHOT_EVERY=1 SNAPSHOT_CALLS=${2//,/ } SNAPSHOT_FOLDER=$TREE.snapshots \
                timeout --kill-after=5 120 unshare --mount --propagation private "$here/memory-reads.py" "$1" "$TREE/run/keyrota" "$RING" "$3" >"$TREE.output" 2>&1
}

signing_key() {
        keyrota read "$1" --use=sign --format=jwk --newline
}

# Adds the keys that sign now, and the key-encryption key, which is one too, to those that are looked for.
note_keys() {
        local name
        (
                umask 077
                {
                        cat "$TREE/known" 2>/dev/null
                        for name in "${secrets[@]}"; do
                                signing_key "$name"
                        done
                        SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret \
                                systemd-creds decrypt --name=keyrota-kek "$STORE/kek.cred" - 2>/dev/null
                        echo
                } | sort -u >"$TREE/known.new"
        )
        mv "$TREE/known.new" "$TREE/known"
}

# search FILE...
search() {
        local output
        output=$("$here/memory-search.py" "$@" <"$TREE/known" 2>&1)
        echo "${output//$TREE/}"
}

# check DESCRIPTION
check() {
        local stops
        note_keys
        stops=$(cat "$TREE.snapshots/stops" 2>/dev/null)
        ok "$1: the program was looked at" test "${stops:-0}" -gt 0
        # Else it would prove nothing.
        like "$1: the search finds the keys where they are" "$(search "$TREE.snapshots"/*.all)" '\.all: '
        is "$1: no key bytes in a core image" "$(search "$TREE.snapshots"/*.core "$TREE.snapshots/gcore")" ''
        is "$1: no key bytes in memory that can be swapped out" "$(search "$TREE.snapshots"/*.swap)" ''
        is "$1: no key bytes in arguments, environment and messages" "$(search "$TREE.snapshots"/*.args "$TREE.output")" ''
        rm -rf "$TREE.snapshots" "$TREE.output"
}

snapshots 3 renameat,renameat2,fsync,syncfs,exit_group provision
check 'provision, making keys'
drop_ring
snapshots 8 add_key,exit_group provision
check 'provision, loading keys'
snapshots 1 write,exit_group read rs256 --use=sign --format=pem
: >"$TREE.output" # which has the key, as it must
check 'read'

note_keys
snapshots 3 renameat,renameat2,fsync,syncfs,exit_group rotate --now "${secrets[@]}"
# What was made and does not sign yet takes over from the key that does.
for name in "${secrets[@]}"; do
        [[ $name == hs* ]] || keyrota revoke --yes "$name" "$(signing_key "$name" | jq -r .kid)" 2>/dev/null
        ok "rotate: $name signs with another key" ! grep -qF -- "$(signing_key "$name" | jq -r .kid)" "$TREE/known"
done
check 'rotate'

# The key that is in force, as somebody else might have kept it, comes in again; nothing else is loaded then.
for form in hs256:hex hs512:base64 rs256:pem eddsa:jwk; do
        name=${form%:*} format=${form#*:} secrets=("${form%:*}")
        rm -f "$TREE/known"
        (umask 077; keyrota read "$name" --use=sign --format="$format" >"$TREE/input")
        snapshots 1 poll,renameat,renameat2,fsync,add_key,exit_group import --replace --format="$format" --kid="imported-$name" "$name" <"$TREE/input"
        is "import of $format: it is there" "$(signing_key "$name" | jq -r .kid)" "imported-$name"
        check "import of $format"
done

# Recorded reads: the process that serves a request and the client have the key, the server itself never; what it had, all requests would have.
read_by_user() {
        local name process
        secrets=(hs256 rs256)
        rm -f "$TREE/known"
        for name in "${secrets[@]}"; do
                printf '%s\n' '[access]' 'users = daemon' 'use = sign' 'reads = recorded' >>"$POLICY/$name.ini"
        done
        keyrota provision
        for name in "${secrets[@]}"; do
                for process in request:keyctl,sendto,sendmsg,exit_group client:recvfrom,write,exit_group; do
                        ok "a user is given $name, with a look at the ${process%:*}" snapshots_read "${process%:*}" "${process#*:}" "$name"
                        check "read of $name by a user, ${process%:*}"
                done
        done
        ok 'a user is given hs256, with a look at the server' snapshots_read server accept4,wait4,close,exit_group hs256
        ok 'the server was looked at' test "$(cat "$TREE.snapshots/stops")" -gt 0
        is 'the server has no key bytes' "$(search "$TREE.snapshots"/*.all "$TREE.snapshots"/*.args "$TREE.output")" ''
        rm -rf "$TREE.snapshots" "$TREE.output"
}
if unshare --mount --propagation private true 2>/dev/null; then
        read_by_user
else
        skip 'no key bytes of recorded reads' 'needs mount namespaces'
fi

done_testing
