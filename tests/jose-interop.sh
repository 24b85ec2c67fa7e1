#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What `sign` delivers signs, and what `verify` delivers verifies, in other people's software: jose(1), PyJWT and
# openssl(1), for every algorithm, format and final newline; and the keys that such software and ssh-keygen(1) make are
# imported as what they are. RENDER_TOOL and IMPORT_TOOL name tests/unit/render-tool and import-tool when they are
# elsewhere.

set -u
here=$(cd "$(dirname "$0")" && pwd)
tool=${RENDER_TOOL:-tests/unit/render-tool}
import_tool=${IMPORT_TOOL:-tests/unit/import-tool}
python=${PYTHON:-/usr/bin/python3}
n=0
failed=0

for command in jose jq openssl "$python"; do
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
                jose_sign "$(one_key "$sign")" "$1/token" || { echo "# jose does not sign with ${sign##*/}"; return 1; }
                for verify in "$1"/verify.jwk{,s}.*; do
                        jose_verify "$1/token" "$verify" ||
                                { echo "# ${sign##*/} does not verify with ${verify##*/}"; return 1; }
                done
        done
        mv "$1/token" "$1/token.jose"
}

# one_key FILE: the first of a set, which is the one to sign with; jose takes all that it is given.
one_key() {
        local one=${1%/*}/first.key
        jq -c 'if .keys then .keys[0] else . end' "$1" >"$one" && printf '%s\n' "$one"
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

# Whatever is delivered for signing comes back as the same key, but for a raw one with a newline, which is another, and
# a set that holds the key before the rotation too, as that of a symmetric secret does.
imports_every_form() {
        local file format
        for file in "$2"/sign.*; do
                format=${file#"$2"/sign.}
                [ "$format" != raw.newline ] || continue
                [[ $format != jwks.* || $(jq '.keys | length' "$file") = 1 ]] || continue
                "$import_tool" "$1" "${format%.*}" "$(jq -r .kid "$2/sign.jwk.plain")" <"$file" >"$2/imported" ||
                        { echo "# ${file##*/} is refused"; return 1; }
                cmp -s "$2/imported" "$2/sign.jwk.plain" || { echo "# ${file##*/} comes back as another key"; return 1; }
        done
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
        imports_every_form "$1" "$folder"
        result $? "$title: every form for signing is imported as the same key"
}

# imports DESCRIPTION ALGORITHM FILE [FORMAT]: FILE is imported, and signs and verifies as its maker's software has it.
imports() {
        "$import_tool" "$2" "${4:--}" <"$3" >"$3.imported" &&
                "$python" "$here/jose-interop.py" imported "$2" "$3" "${4:-}"
        result $? "import: $1 for $2"
}

# refuses DESCRIPTION ALGORITHM FILE WORDS [FORMAT]: FILE is refused in these words, and no terminal is asked for anything.
refuses() {
        local trace=() status
        ! command -v strace >/dev/null || trace=(env ASAN_OPTIONS=detect_leaks=0 strace -f -e 'trace=open,openat' -o "$work/trace")
        "${trace[@]}" "$import_tool" "$2" "${5:--}" <"$3" >"$work/refused.out" 2>"$work/refused.err"
        status=$?
        [ "$status" -eq 1 ] && [ ! -s "$work/refused.out" ] && grep -qF "$4" "$work/refused.err" &&
                { [ ! -e "$work/trace" ] || ! grep -q /dev/tty "$work/trace"; }
        result $? "import: $1 for $2 is refused: $4"
        [ -z "$(tail -n 1 "$work/refused.err" | grep -vF "$4")" ] || sed 's/^/# /' "$work/refused.err"
}

# Keys that jose made, alone and in a set.
import_from_jose() {
        local algorithm
        for algorithm in $(jose alg -k sign | grep -E '^(HS|RS|PS|ES)[0-9]{3}$'); do
                jose jwk gen -i "{\"alg\":\"$algorithm\"}" -o "$work/jose.jwk"
                imports "a JWK that jose made" "$algorithm" "$work/jose.jwk"
                jose jwk gen -i "{\"keys\":[{\"alg\":\"$algorithm\"}]}" -o "$work/jose.jwks"
                imports "a JWK Set that jose made" "$algorithm" "$work/jose.jwks"
        done
        jose jwk pub -i "$work/jose.jwk" -o "$work/public.jwk"
        refuses "a public JWK that jose made" "$algorithm" "$work/public.jwk" "a public key"
        jose jwk gen -i '{"keys":[{"alg":"ES256"},{"alg":"ES256"}]}' -o "$work/two.jwks"
        refuses "a JWK Set of two" ES256 "$work/two.jwks" "the JWK Set holds 2 keys, 2 of them private"
}

import_from_openssl() {
        local bits curve algorithm file=$work/openssl.pem
        for bits in 2048 3072 4096; do
                openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:$bits" -out "$file" 2>/dev/null
                imports "PKCS#8 of RSA $bits by openssl" RS256 "$file"
                openssl rsa -in "$file" -traditional -out "$file.old" 2>/dev/null
                imports "PKCS#1 of RSA $bits by openssl" PS384 "$file.old"
        done
        openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out "$file" 2>/dev/null
        imports "PKCS#8 of RSA-PSS by openssl" PS256 "$file"
        for curve in P-256:ES256 P-384:ES384 P-521:ES512; do
                algorithm=${curve#*:}
                openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:${curve%:*}" -out "$file"
                imports "PKCS#8 of ${curve%:*} by openssl" "$algorithm" "$file"
                openssl ec -in "$file" -out "$file.old" 2>/dev/null
                imports "SEC1 of ${curve%:*} by openssl" "$algorithm" "$file.old"
                openssl ec -in "$file" -conv_form compressed -out "$file.old" 2>/dev/null
                imports "SEC1 of ${curve%:*} with a compressed point by openssl" "$algorithm" "$file.old"
                openssl ec -in "$file" -no_public -out "$file.old" 2>/dev/null
                imports "SEC1 of ${curve%:*} without its public key by openssl" "$algorithm" "$file.old"
        done
        openssl ecparam -name prime256v1 -genkey -out "$file.old"
        refuses "a key behind its parameters" ES256 "$file.old" "a block EC PARAMETERS comes first"
        openssl genpkey -algorithm ED25519 -out "$file"
        imports "PKCS#8 of Ed25519 by openssl" EdDSA "$file"
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$file"
        refuses "a key on another curve" ES384 "$file" "an EC key on the curve P-256; ES384 wants P-384"
        { cat "$file"; openssl pkey -in "$file" -pubout; } >"$file.two"
        refuses "a private and a public key" ES256 "$file.two" "more than one PEM block"
        openssl pkey -in "$file" -pubout -out "$file.pub"
        refuses "a public key" ES256 "$file.pub" "a public key"
        openssl req -x509 -new -key "$file" -subj /CN=interop -days 1 -out "$file.crt"
        refuses "a certificate" ES256 "$file.crt" "a certificate"
        openssl pkcs8 -topk8 -in "$file" -v2 aes-256-cbc -passout pass:interop -out "$file.enc"
        refuses "an encrypted PKCS#8 key" ES256 "$file.enc" "the key is encrypted"
        sed -i 's/ENCRYPTED PRIVATE KEY/PRIVATE KEY/' "$file.enc"
        refuses "an encrypted PKCS#8 key that is not called so" ES256 "$file.enc" "the PEM block is damaged"
        openssl ec -in "$file" -aes256 -passout pass:interop -out "$file.enc" 2>/dev/null
        refuses "an encrypted SEC1 key" ES256 "$file.enc" "the key is encrypted"
        head -c 100 "$file" >"$file.cut"
        refuses "half a key" ES256 "$file.cut" "the END line of the PEM block is missing"
        openssl pkcs8 -topk8 -nocrypt -in "$file" -outform DER -out "$file.der"
        refuses "a key in DER" ES256 "$file.der" "neither JSON nor PEM"
        openssl rand -hex 32 >"$work/secret"
        imports "what openssl rand -hex printed" HS256 "$work/secret" hex
        openssl rand -base64 48 >"$work/secret"
        imports "what openssl rand -base64 printed" HS384 "$work/secret" base64
        imports "the same text as it stands" HS512 "$work/secret" raw
        refuses "the same text without a format" HS384 "$work/secret" "say --format=hex"
        openssl rand -hex 16 >"$work/secret"
        refuses "a key that is too short" HS256 "$work/secret" "an HS256 key has 32 to 128 bytes" hex
        head -c 65537 /dev/zero >"$work/secret"
        refuses "a file that is too large" HS256 "$work/secret" "File too large" raw
}

import_from_ssh_keygen() {
        local form bits file=$work/ssh
        for form in PEM PKCS8; do
                rm -f "$file" && ssh-keygen -q -t rsa -b 2048 -m "$form" -N '' -C '' -f "$file"
                imports "$form of RSA by ssh-keygen" RS512 "$file"
                for bits in 256 384 521; do
                        rm -f "$file" && ssh-keygen -q -t ecdsa -b "$bits" -m "$form" -N '' -C '' -f "$file"
                        imports "$form of P-$bits by ssh-keygen" "ES$([ "$bits" = 521 ] && echo 512 || echo "$bits")" "$file"
                done
                rm -f "$file" && ssh-keygen -q -t ecdsa -m "$form" -N interop -C '' -f "$file"
                refuses "encrypted $form by ssh-keygen" ES256 "$file" "the key is encrypted"
        done
        rm -f "$file" && ssh-keygen -q -t ed25519 -N '' -C '' -f "$file"
        refuses "a key in OpenSSH's format" EdDSA "$file" "a key in OpenSSH's own format"
}

for algorithm in HS256 HS384 HS512 ES256 ES384 ES512 EdDSA; do
        run "$algorithm" 0
done
run HS256 128
for algorithm in RS256 RS384 RS512 PS256 PS384 PS512; do
        run "$algorithm" 2048
done
run RS256 0
import_from_jose
import_from_openssl
if command -v ssh-keygen >/dev/null; then
        import_from_ssh_keygen
else
        skipped "ssh-keygen (Debian: openssh-client) is not installed" "import: keys that ssh-keygen made"
fi

echo "1..$n"
exit "$failed"
