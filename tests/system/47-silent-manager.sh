#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A service manager that takes connections and never answers: commands give up, say so, take no step that needs evidence, and the next run goes on.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

wait_for_boot
environment_set testing
user_make somebody
policy_make hs HS256 "$(rotation 30d 4s
        deliver hs-issuer.service sign jwt.key jwk
        deliver hs-verifier.service verify keys.jwks jwks)"
issuer_write hs-issuer.service jwt.key 4s
verifier_write hs-verifier.service keys.jwks
systemctl daemon-reload
ok "issuer and verifier start" exchange_start hs-{verifier,issuer}.service

state_of() {
        sha256sum "$STORE/testing/$1.jwe"
        key_of "$1"
        ring_header "secret:testing/$1/verify"
        systemctl show -P InvocationID "$1-issuer.service" "$1-verifier.service"
}

/usr/bin/python3 -E -s -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(64); print("listens", flush=True); time.sleep(600)' "$SCRATCH/silent" >"$SCRATCH/listens" &
listener=$!
wait_for 20 test -s "$SCRATCH/listens"
# unanswered VERB...
unanswered() {
        # shellcheck disable=SC2016 # for the shell in there
        timeout 200 unshare -m bash -c 'mount --bind "$1" /run/systemd/private && shift && "$@"' bash "$SCRATCH/silent" keyrota "$@"
}

before=$(state_of hs) active=$(kid_of hs)
refused "rotate gives up" "systemd does not answer" unanswered rotate hs
is "... nothing has changed" "$(state_of hs)" "$before"
refused "rotate --now says so too" "systemd does not answer" unanswered rotate --now hs
is "... no key signs without evidence" "$(kid_of hs)" "$active"
kill $listener
ok "the next run goes on" keyrota rotate hs
ok "... to the end of the rotation" wait_for 30 eval "[[ \$(kid_of hs) != $active ]]"

done_testing
