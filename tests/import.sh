#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# keyrota import on a scratch tree: an existing key becomes the active one, and what is no key for the policy changes nothing. Every format, and keys
# of other software, are in unit/test-import.c and jose-interop.sh.

. "$(dirname "$0")/scratch.sh" || exit 99

# secret NAME ALGORITHM FORMAT
secret() {
        policy "$1" <<-EOF
	[secret]
	algorithm = $2
	[deliver:$1.service]
	use = sign
	credential = jwt.key
	format = $3
	EOF
}

stored() {
        find "$STORE" -name '*.jwe*' -exec sha256sum {} + | sort
}

# exits STATUS DESCRIPTION ARGUMENT...: keyrota import does, for what stands on standard input
exits() {
        local status=$1 description=$2
        shift 2
        keyrota import "$@" >/dev/null 2>"$TREE/err"
        is "$description: exit status" $? "$status"
}

secret api HS256 hex
secret issuer ES256 pem
openssl rand -hex 40 >"$TREE/hex"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$TREE/pem"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$TREE/rsa" 2>/dev/null

# ---- what is adopted -------------------------------------------------------------------------------
ok 'a hexadecimal secret is imported' keyrota import api --format=hex <"$TREE/hex"
is 'it is what the service gets' "$(entry_bytes unit:api.service/jwt.key)" "$(cat "$TREE/hex")"
like 'under a random kid' "$(entry_header unit:api.service/jwt.key)" ' [A-Za-z0-9_-]{22}$'
ok 'a key in PEM is imported' keyrota import issuer --kid=2019-key <"$TREE/pem"
keyrota read issuer --unit=issuer.service >"$TREE/got"
same 'it is what the service gets' "$TREE/got" "$TREE/pem"
is 'under the kid that was asked for' "$(jq -r '.keys[].kid' "$JWKS/issuer.json")" 2019-key
is 'both are active' "$(keyrota status --json | jq -r '.secrets[].keys[].state' | sort -u)" active
before=$(stored)
ok 'provision makes no other' keyrota provision
is 'and changes nothing' "$(stored)" "$before"

# ---- the first rotation ----------------------------------------------------------------------------
keyrota rotate issuer --now
is 'through the first rotation its tokens stay valid' "$(jq -r '.keys[] | select(.kid == "2019-key") | .crv' "$JWKS/issuer.json")" P-256
is 'beside those of the new key' "$(jq -r '.keys | length' "$JWKS/issuer.json")" 2

# ---- a secret that has keys ------------------------------------------------------------------------
before=$(stored)
openssl rand -hex 32 >"$TREE/other"
refused 'a secret that has a key is left alone' 'it has a key already; with --replace' keyrota import api --format=hex <"$TREE/other"
is 'and nothing is changed' "$(stored)" "$before"
ok 'with --replace the key is adopted' keyrota import api --format=hex --kid=other --replace <"$TREE/other"
is 'it is what the service gets' "$(entry_bytes unit:api.service/jwt.key)" "$(cat "$TREE/other")"
like 'under its kid' "$(entry_header unit:api.service/jwt.key)" ' other$'
is 'the old store is set aside, once' "$(find "$STORE" -name 'api.jwe.*' | wc -l)" 1

# ---- a newline -------------------------------------------------------------------------------------
secret bytes HS256 raw
printf '%s\n' 'a-secret-of-the-service-as-it-is-in-its-file' >"$TREE/bytes"
like 'of raw bytes, a newline at the end is spoken of' "$(keyrota import bytes --format=raw <"$TREE/bytes" 2>&1)" \
        'the last of these 45 bytes is a newline, and so it is a part of the key.*head -c -1 FILE'
keyrota read bytes --unit=bytes.service >"$TREE/got"
same 'and kept' "$TREE/got" "$TREE/bytes"
is 'without one, nothing is said of it' "$(head -c -1 "$TREE/bytes" | keyrota import bytes --format=raw --replace 2>&1 | grep -c newline)" 0
is 'and none is there' "$(keyrota read bytes --unit=bytes.service)" "$(cat "$TREE/bytes")"

# ---- what is refused -------------------------------------------------------------------------------
secret late RS256 pem
secret sym HS512 hex
before=$(stored)
refused 'nothing' 'late: not imported: the input is empty' keyrota import late </dev/null
refused 'half a file' 'END line of the PEM block is missing' keyrota import late < <(head -n 3 "$TREE/rsa")
refused 'a key of the wrong type' 'the key is of the type EC; RS256 wants RSA' keyrota import late <"$TREE/pem"
refused 'a public key' 'a public key; the private one is needed' keyrota import late < <(openssl pkey -in "$TREE/rsa" -pubout)
refused 'an encrypted key' 'the key is encrypted; decrypt it first' keyrota import late < <(openssl pkey -in "$TREE/rsa" -aes128 -passout pass:x)
refused 'a small RSA key' 'the RSA modulus is not of 2048 to 4096 bits' keyrota import late < <(openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 2>/dev/null)
refused 'a secret that is too short' 'an HS512 key has 64 to 128 bytes .*, this one 40' keyrota import sym --format=hex <"$TREE/hex"
refused 'a weak secret' 'all bytes of the key are the same' keyrota import sym --format=raw < <(printf 'x%.0s' {1..64})
refused 'bytes that could be anything' 'say --format=hex' keyrota import sym <"$TREE/hex"
refused 'too much' 'more than 64 KiB' keyrota import sym --format=raw < <(head -c 65537 /dev/zero)
refused 'a folder' 'cannot read standard input: Is a directory' keyrota import sym --format=raw <"$TREE"
refused 'a name without a policy' 'nosuch: there is no policy of that name' keyrota import nosuch <"$TREE/pem"
! command -v script >/dev/null ||
        like 'a terminal' "$(script -qec "'$KEYROTA' --root='$TREE' --keyring='$RING' import sym --format=hex; echo status \$?" /dev/null </dev/null)" \
                'standard input is a terminal.*status 1'
is 'nothing of it is stored' "$(stored)" "$before"
keyrota import sym --format=base64 <"$TREE/hex" >"$TREE/said" 2>&1
ok 'what was given is not repeated' ! grep -qE "$(head -c 8 "$TREE/hex")" "$TREE/said"

sed -i 's/RS256/RS255/' "$POLICY/late.ini"
exits 78 'a wrong policy' late <"$TREE/rsa"
like 'which is named with its line' "$(cat "$TREE/err")" 'late: not imported, for its policy is wrong: .*late\.ini:2: '
exits 2 'a kid with a comma' api --kid=a,b <"$TREE/hex"
exits 2 'an unknown format' api --format=der <"$TREE/hex"
exits 2 'no name' <"$TREE/hex"
exits 2 'a name that is a path' ../api <"$TREE/hex"
exits 1 'a closed standard input' sym --format=raw <&-

done_testing
