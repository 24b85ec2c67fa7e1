# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For tests of the programs on the machine that builds them: TAP, and a scratch tree with a kernel keyring of its own, both gone at the end.
# $KEYROTA is the program; make check sets it.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/tap.sh"

set -u -o pipefail

: "${KEYROTA:?is the program to test; run this with make check}"
(( EUID == 0 )) || skip_all 'only root has a keyring and files that keyrota trusts'

TREE=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-test.XXXXXX")
RING=keyrota-test-$$
POLICY=$TREE/etc/keyrota/policy.d
STORE=$TREE/var/lib/keyrota
JWKS=$TREE/run/keyrota/jwks

scratch_cleanup() {
        local status=$?
        trap - EXIT
        drop_ring
        rm -rf "$TREE"
        exit $status
}
trap scratch_cleanup EXIT
trap 'exit 130' INT TERM HUP

# What a reboot does to the keyring.
drop_ring() {
        local serial
        serial=$(keyctl search @u keyring "$RING" 2>/dev/null) && keyctl unlink "$serial" @u
        return 0
}

# Forgets every secret and begins again.
new_tree() {
        drop_ring
        rm -rf "${TREE:?}"/*
        mkdir -p -m 0755 "$POLICY"
        echo 'DEPLOYMENT=test' >"$TREE/etc/machine-info"
        cp /etc/machine-id "$TREE/etc/machine-id" # so that systemd-creds opens here what is sealed for the tree
}

keyrota() {
        "$KEYROTA" --root="$TREE" --keyring="$RING" "$@"
}

# policy NAME: writes standard input as its policy
policy() {
        cat >"$POLICY/$1.ini"
}

# The description of every entry of the ring, sorted.
ring_entries() {
        local serial
        serial=$(keyctl search @u keyring "$RING") || return
        keyctl list "$serial" | sed -n 's/^ *[0-9]*: [^ ]* *[0-9]* *[0-9]* user: //p' | sort
}

# entry_bytes DESCRIPTION: what the server would deliver
entry_bytes() {
        keyctl pipe "$(keyctl search "$(keyctl search @u keyring "$RING")" user "$1")" | tail -c +"$((1 + $(entry_header "$1" | wc -c)))"
}

entry_header() {
        keyctl pipe "$(keyctl search "$(keyctl search @u keyring "$RING")" user "$1")" | head -n 1
}

new_tree
