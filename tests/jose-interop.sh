#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What `sign` delivers signs, and what `verify` delivers verifies, in other people's software: jose(1), PyJWT and
# openssl(1), for every algorithm, format and final newline. RENDER_TOOL names tests/unit/render-tool when it is
# elsewhere.

set -u
here=$(cd "$(dirname "$0")" && pwd)
tool=${RENDER_TOOL:-tests/unit/render-tool}
python=${PYTHON:-/usr/bin/python3}
n=0
failed=0

for command in jose openssl "$python"; do
        if ! command -v "$command" >/dev/null; then
                echo "1..0 # SKIP $command is not installed"
                exit 0
        fi
done
if ! "$python" -c 'import jwt, cryptography' 2>/dev/null; then
        echo "1..0 # SKIP PyJWT (Debian: python3-jwt, python3-cryptography) is not installed"
        exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-interop.XXXXXX")
trap 'rm -rf "$work"' EXIT

# result STATUS DESCRIPTION
result() {
        n=$((n + 1))
        if [ "$1" -eq 0 ]; then
                echo "ok $n - $2"
        else
                echo "not ok $n - $2"
                failed=1
        fi
}

skipped() {
        n=$((n + 1))
        echo "ok $n - $2 # SKIP $1"
}

jose_sign() {
        printf '{"sub":"interop"}' | jose jws sig -I - -k "$1" -c -o "$2"
}

jose_verify() {
        [ "$(jose jws ver -i "$1" -k "$2" -O - 2>/dev/null)" = '{"sub":"interop"}' ]
}

# Every form that jose reads, each signing form against each verifying one. Leaves a token for PyJWT.
jose_both_ways() {
        local sign verify
        for sign in "$1"/sign.jwk{,s}.*; do
                jose_sign "$sign" "$1/token" || { echo "# jose does not sign with ${sign##*/}"; return 1; }
                for verify in "$1"/verify.jwk{,s}.*; do
                        jose_verify "$1/token" "$verify" ||
                                { echo "# ${sign##*/} does not verify with ${verify##*/}"; return 1; }
                done
        done
        mv "$1/token" "$1/token.jose"
}

# A token of the key before the rotation verifies with the set alone; one of another secret with nothing.
jose_refuses_other_keys() {
        local verify
        jose_sign "$1/old.jwk" "$1/token.old" && jose_sign "$1/other.jwk" "$1/token.other" || return 1
        jose_verify "$1/token.old" "$1/verify.jwks.plain" ||
                { echo "# the old key's token is refused"; return 1; }
        ! jose_verify "$1/token.old" "$1/verify.jwk.plain" ||
                { echo "# one key verifies another's token"; return 1; }
        for verify in "$1"/verify.jwk{,s}.*; do
                ! jose_verify "$1/token.other" "$verify" ||
                        { echo "# ${verify##*/} verifies a stranger's token"; return 1; }
        done
}

jose_verifies_tokens_of_pyjwt() {
        local verify
        for verify in "$1"/verify.jwk{,s}.*; do
                jose_verify "$1/token.pyjwt" "$verify" || { echo "# ${verify##*/}"; return 1; }
        done
}

openssl_checks_pem() {
        local newline
        for newline in plain newline; do
                openssl pkey -in "$1/sign.pem.$newline" -noout -check >/dev/null || return 1
                openssl pkey -pubin -in "$1/verify.pem.$newline" -noout -pubcheck >/dev/null || return 1
                # The public key of the private one is the first block.
                [ "$(openssl pkey -in "$1/sign.pem.$newline" -pubout)" = \
                        "$(openssl pkey -pubin -in "$1/verify.pem.$newline" -pubout)" ] || return 1
        done
        openssl asn1parse -in "$1/sign.pem.plain" | head -n 2 | grep -q 'INTEGER *:00$' # PKCS#8, version 0
}

# run ALGORITHM SIZE
run() {
        local folder=$work/$1-$2 title=$1
        [ "$2" = 0 ] || title="$1 of $2"
        mkdir "$folder"
        if ! "$tool" "$1" "$2" "$folder"; then
                result 1 "$title: keys are made"
                return
        fi
        "$python" "$here/jose-interop.py" forms "$1" "$folder"
        result $? "$title: every rendering has exactly its form, and no private member for verifiers"

        if jose alg -k sign | grep -qx "$1"; then
                jose_both_ways "$folder"
                result $? "$title: jose signs and verifies with every form"
                jose_refuses_other_keys "$folder"
                result $? "$title: jose refuses tokens of other keys"
        else
                skipped "this jose does not know $1" "$title: jose signs and verifies with every form"
        fi
        "$python" "$here/jose-interop.py" tokens "$1" "$folder"
        result $? "$title: PyJWT signs and verifies with every form, jose's tokens too, and refuses other keys'"
        if [ -e "$folder/token.jose" ]; then
                jose_verifies_tokens_of_pyjwt "$folder"
                result $? "$title: jose verifies PyJWT's tokens"
        fi
        if [ -e "$folder/sign.pem.plain" ]; then
                openssl_checks_pem "$folder"
                result $? "$title: openssl accepts the PEM"
        fi
}

for algorithm in HS256 HS384 HS512 ES256 ES384 ES512 EdDSA; do
        run "$algorithm" 0
done
run HS256 128
for algorithm in RS256 RS384 RS512 PS256 PS384 PS512; do
        run "$algorithm" 2048
done
run RS256 0

echo "1..$n"
exit "$failed"
