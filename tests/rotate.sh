#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The commands that rotate and change keys, on a scratch tree where no service runs: what each of them does to store, keyring and public file, and
# that what cannot be done changes nothing. With services that run: tests/system/4*.

. "$(dirname "${BASH_SOURCE[0]}")/scratch.sh"

ec_policy() {
        cat <<END
[secret]
algorithm = ${1:-ES256}
[rotation]
cryptoperiod = ${2:-30d}
[deliver:issuer.service]
use = sign
credential = jwt.key
format = jwk
[deliver:gateway.service]
use = verify
credential = keys.jwks
format = jwks
END
}

hmac_policy() {
        cat <<END
[secret]
algorithm = HS256
[deliver:api.service]
use = sign
credential = jwt.key
format = ${1:-hex}
END
}

# kids NAME STATE: of the secret's keys in that state
kids() {
        keyrota status --json "$1" | jq -r --arg state "$2" '.secrets[0].keys[] | select(.state == $state) | .kid'
}

signing_kid() {
        keyrota read --use=sign --format=jwk "$1" | jq -r .kid
}

published_kids() {
        keyrota read "$1" | jq -r '.keys[].kid' | sort
}

store_sum() {
        find "$STORE" -name '*.jwe' -exec sha256sum {} + | sort
}

# unchanged DESCRIPTION REGEX COMMAND...: it fails, says so, and nothing is different afterwards
unchanged() {
        local description=$1 regex=$2 before
        shift 2
        before=$(store_sum; ring_bytes)
        refused "$description" "$regex" "$@"
        is "$description: nothing is changed" "$(store_sum; ring_bytes)" "$before"
}

ring_bytes() {
        ring_entries
        keyrota read issuer 2>&1
        keyrota read --use=sign --format=jwk issuer 2>&1
}

new_tree
ec_policy | policy issuer
hmac_policy | policy api
ok 'first keys' keyrota provision

# ---- nothing due -----------------------------------------------------------------------------------------------------------
before=$(store_sum)
ok 'rotate with nothing due succeeds' keyrota rotate
is 'and stores nothing' "$(store_sum)" "$before"
refused 'rotate of a name that is none' 'nosuch: there is no secret of that name' keyrota rotate nosuch
refused 'rotate --now without a name' 'takes the names' keyrota rotate --now

# ---- a rotation that is forced ---------------------------------------------------------------------------------------------
old=$(signing_kid issuer)
ok 'rotate --now' keyrota rotate --now issuer
is 'the old key goes on signing' "$(signing_kid issuer)" "$old"
is 'its successor is published' "$(published_kids issuer)" "$(printf '%s\n' "$old" "$(kids issuer pre-activation)" | sort)"
ok 'in the public file too' grep -qF -- "$(kids issuer pre-activation)" "$JWKS/issuer.json"
next=$(keyrota status --json issuer | jq '.secrets[0].next')
published=$(keyrota status --json issuer | jq '.secrets[0].keys[] | select(.state == "pre-activation") | .published')
is 'and signs prepublish after that (5min + 1min)' "$((next - published))" 360
like 'plan says so' "$(keyrota plan issuer)" "key $(kids issuer pre-activation) signs"
like 'and whom it tells' "$(keyrota plan issuer)" 'issuer.service: restart'
before=$(kids issuer pre-activation)
ok 'rotate --now again' keyrota rotate --now issuer
is 'does not make another key' "$(kids issuer pre-activation)" "$before"

old=$(signing_kid api)
ok 'rotate --now of a secret with one symmetric consumer' keyrota rotate --now api
ok 'changes its key at once' test "$(signing_kid api)" != "$old"
is 'and keeps the old one for its tokens' "$(kids api deactivated)" "$old"

# ---- back ------------------------------------------------------------------------------------------------------------------
new=$(signing_kid api)
ok 'rollback' keyrota rollback api
is 'the previous key signs again' "$(signing_kid api)" "$old"
is 'the one that signed verifies' "$(kids api deactivated)" "$new"
unchanged 'rollback with nothing to go back to' 'issuer: there is nothing to go back to' keyrota rollback issuer
refused 'rollback of a name that is none' 'no secret of that name' keyrota rollback nosuch
refused 'rollback without a name' 'takes the name' keyrota rollback

# ---- compromised -----------------------------------------------------------------------------------------------------------
old=$(signing_kid issuer)
successor=$(kids issuer pre-activation)
unchanged 'revoke of a kid that is not there' 'it has no key NOSUCH' keyrota revoke --yes issuer NOSUCH
unchanged 'revoke without --yes and without a terminal' 'standard input is no terminal' keyrota revoke issuer </dev/null
output=$(keyrota revoke --yes issuer "$old" 2>&1)
is 'revoke' $? 0
like 'says which key goes' "$output" "key $old \(active\) is destroyed"
like 'and what breaks' "$output" 'tokens? signed with it .*rejected.*15min'
like 'and who is told' "$output" 'gateway.service: restart now'
is 'the published successor signs at once' "$(signing_kid issuer)" "$successor"
is 'and the revoked key is in no set' "$(published_kids issuer)" "$successor"
ok 'nor in the public file' ! grep -qF -- "$old" "$JWKS/issuer.json"
like 'its tombstone tells why' "$(keyrota status --json issuer)" "$successor"
ok 'revoke every key' keyrota revoke --yes issuer
ok 'leaves none of the old ones' test "$(published_kids issuer)" != "$successor"
is 'and one new one' "$(published_kids issuer | wc -l)" 1
# Of kids in base64url one in 64 begins with a dash.
for kid in -hello_this_is_no_help -yes_nor_is_this_a_yes --yes_or_this_for_that; do
        keyrota import --replace --format=hex --kid="$kid" api <<<"$(printf '%064x' 4711)" 2>/dev/null
        is "a key with the kid $kid" "$(signing_kid api)" "$kid"
        refused 'revoke of it: asks' 'is no terminal' keyrota revoke api "$kid" </dev/null
        ok 'revoke of it' keyrota revoke api "$kid" --yes
        ok 'is done' test "$(signing_kid api)" != "$kid"
done
refused 'an option that is none' 'it has no key --really' keyrota revoke --yes api --really
refused 'two kids' 'takes the name of one secret, and perhaps' keyrota revoke --yes api NOSUCH -nor_any_of_this_name

# ---- policy edits ----------------------------------------------------------------------------------------------------------
ec_policy EdDSA | policy issuer
like 'plan shows an edit before it is in force' "$(keyrota plan issuer)" '\+ algorithm = EdDSA'
old=$(signing_kid issuer)
ok 'another algorithm' keyrota rotate
is 'the old key goes on signing' "$(signing_kid issuer)" "$old"
is 'a key of the new algorithm is published beside it' "$(keyrota read issuer | jq -r '.keys[].alg' | sort | xargs)" 'ES256 EdDSA'
ec_policy ES256 | policy issuer
ok 'back before it signed' keyrota rotate
is 'drops it' "$(keyrota read issuer | jq -r '.keys[].alg' | xargs)" ES256
hmac_policy | sed 's/api.service/issuer.service/' | policy issuer
ok 'asymmetric to symmetric' keyrota rotate
is 'the old key goes on signing until the new one is in force' "$(keyrota status --json issuer | jq -r '.secrets[0].keys | length')" 2

# ---- a policy that is removed ----------------------------------------------------------------------------------------------
new_tree
ec_policy | policy issuer
keyrota provision 2>/dev/null
rm "$POLICY/issuer.ini"
ok 'a removed policy' keyrota rotate
ok 'its public keys go on verifying' test -s "$JWKS/issuer.json"
is 'nobody is given the key' "$(ring_entries)" config:audit
like 'status says so' "$(keyrota status issuer)" retired
ec_policy | policy issuer
unchanged 'destroy of a secret with a policy' 'it has a policy' keyrota destroy issuer
rm "$POLICY/issuer.ini"
ok 'destroy' keyrota destroy issuer
is 'destroys nothing while a token may be out' "$(kids issuer active | wc -l)" 1
like 'plan says when it does' "$(keyrota plan issuer)" 'is destroyed'
refused 'destroy --now asks' 'is no terminal' keyrota destroy --now issuer </dev/null
ok 'destroy --now --yes' keyrota destroy --now --yes issuer
is 'no key is left' "$(keyrota status --json issuer | jq '.secrets[0].keys | length')" 0
ok 'and no public file' test ! -e "$JWKS/issuer.json"
refused 'destroy of a name that is none' 'no secret of that name' keyrota destroy nosuch
ec_policy | policy issuer
ok 'a policy that comes back' keyrota rotate
is 'has a new key' "$(published_kids issuer | wc -l)" 1

sed 's/^\[rotation\]/&\non_removal = destroy/' "$POLICY/issuer.ini" >"$TREE/edited"
policy issuer <"$TREE/edited"
keyrota provision
rm "$POLICY/issuer.ini"
keyrota rotate
like 'on_removal = destroy' "$(keyrota plan issuer)" 'will be destroyed'

# ---- an existing secret ----------------------------------------------------------------------------------------------------
new_tree
hmac_policy | policy api
secret=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
ok 'import' keyrota import --format=hex api <<<"$secret"
is 'the very key is delivered' "$(keyrota read --unit=api.service api)" "$secret"
unchanged 'import where a key is already' 'has a key already' keyrota import --format=hex api <<<"$secret"
ok 'import --replace' keyrota import --format=hex --replace api <<<"${secret//0/f}"
is 'the new one is delivered' "$(keyrota read --unit=api.service api)" "${secret//0/f}"
ok 'the first rotation' keyrota rotate --now api
is 'keeps the imported key for its tokens' "$(kids api deactivated | wc -l)" 1
new_tree
hmac_policy | policy api
refused 'import that is too short' 'not imported: .*32 to 128 bytes' keyrota import --format=hex api <<<00112233
refused 'import of nothing' 'not imported: ' keyrota import --format=raw api </dev/null
refused 'import of another type' 'not imported: ' keyrota import api < <(openssl genpkey -algorithm ed25519)
refused 'import without a policy' 'no policy of that name' keyrota import --format=raw nosuch <<<"$secret"
is 'nothing was stored' "$(find "$STORE" -name '*.jwe' 2>/dev/null | wc -l)" 0

# ---- the disk ----------------------------------------------------------------------------------------------------------------
ok 'a key' keyrota provision
old=$(signing_kid api)
output=$(strace -qq -f -o /dev/null -e trace=renameat,renameat2,rename -e inject=renameat,renameat2,rename:error=EROFS \
        "$KEYROTA" --root="$TREE" --keyring="$RING" rotate --now api 2>&1)
is 'rotate on a store that became read-only fails' $? 1
like 'and says which' "$output" 'test/api|stay as they were'
is 'the old key signs' "$(signing_kid api)" "$old"
output=$(strace -qq -f -o /dev/null -e trace=fsync,syncfs -e inject=fsync,syncfs:error=ENOSPC \
        "$KEYROTA" --root="$TREE" --keyring="$RING" rotate --now api 2>&1)
is 'rotate on a full disk fails' $? 1
is 'the old key signs still' "$(signing_kid api)" "$old"
ok 'with room again' keyrota rotate --now api
ok 'it rotates' test "$(signing_kid api)" != "$old"

# ---- many at once --------------------------------------------------------------------------------------------------------------
ec_policy | policy issuer
keyrota provision
pids=()
for i in 1 2 3 4 5 6 7 8; do
        keyrota rotate --now issuer 2>/dev/null &
        pids+=($!)
        keyrota provision 2>/dev/null &
        pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do
        wait "$pid" || failed=$((failed + 1))
done
is 'eight rotations and eight provisioners at once all succeed' "$failed" 0
is 'and make one successor' "$(kids issuer pre-activation | wc -l)" 1
is 'published once each' "$(published_kids issuer | wc -l)" 2

# ---- long work on a terminal -----------------------------------------------------------------------------------------------------
new_tree
for i in $(seq 60); do hmac_policy | sed "s/api.service/api$i.service/" | policy "api$i"; done
like 'a terminal sees how far it has come' \
        "$(script -qec "'$KEYROTA' --root='$TREE' --keyring='$RING' provision" /dev/null </dev/null)" 'Looking at secrets: 40 of 60'
is 'a file does not' "$(keyrota rotate 2>&1)" ''

# ---- killed at every step --------------------------------------------------------------------------------------------------------
# Whatever a rotation was doing, the next run completes or undoes it.
new_tree
hmac_policy jwks | policy api
keyrota provision 2>/dev/null
for call in openat2 write fsync renameat2 renameat unlinkat; do
        for when in 1 2 3 5 8; do
                strace -qq -f -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$when" \
                        "$KEYROTA" --root="$TREE" --keyring="$RING" rotate --now api >/dev/null 2>&1
                keyrota rotate >/dev/null 2>&1 || fail "the run after one that was killed at $call $when"
                [[ $(kids api active | wc -l) == 1 && $(signing_kid api) == "$(kids api active)" &&
                        $(published_kids api) == "$(keyrota status --json api | jq -r '.secrets[0].keys[].kid' | sort)" ]] ||
                        fail "store and keyring agree after one that was killed at $call $when"
        done
done
pass 'killed at any call, store and keyring agree after the next run'

done_testing
