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
sed -i '/^cryptoperiod/a window = Sun 02:00-04:00' "$POLICY/issuer.ini"
[[ $(LC_ALL=C date +%a) != Sun ]] || sed -i 's/^window = Sun/window = Wed/' "$POLICY/issuer.ini"
keyrota rotate --now issuer >"$TREE/output" 2>&1
is 'rotate --now while the window is closed' $? 0
like 'tells when it begins' "$(cat "$TREE/output")" 'test/issuer: the next step comes at 2[0-9-]* 02:00:00 '
sed -i '/^window/d' "$POLICY/issuer.ini"

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
printf '[deliver:reader.service]\nuse = verify\non_change = none\n' >>"$POLICY/issuer.ini"
unchanged 'revoke of a kid that is not there' 'it has no key NOSUCH' keyrota revoke --yes issuer NOSUCH
unchanged 'revoke without --yes and without a terminal' 'standard input is no terminal' keyrota revoke issuer </dev/null
output=$(keyrota revoke --yes issuer "$old" 2>&1)
is 'revoke' $? 0
like 'says which key goes' "$output" "key $old \(active\) is destroyed"
like 'and what breaks' "$output" 'tokens? signed with it .*rejected.*15min'
like 'and who is told' "$output" 'gateway.service: restart now'
is 'reading the public file is nobody told' "$(grep -c 'none now\|reader.service' <<<"$output")" 0
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

ec_policy | policy issuer
ok '(in force)' keyrota rotate
sed -i 's/^format = jwk$/&\non_change = signal:HUP/' "$POLICY/issuer.ini"
ok '(a signal for one, by default a restart for the other)' keyrota rotate
sed -i '/^on_change/d; s/^format = jwks$/&\non_change = signal:HUP/' "$POLICY/issuer.ini"
like 'plan shows which service an edit is about, also when two change places' "$(keyrota plan issuer | xargs -d '\n' | tr -s ' ')" \
        '\[deliver:issuer.service\] - on_change = signal:HUP .*\[deliver:gateway.service\] \+ on_change = signal:HUP'
ec_policy | policy issuer
ok '(as it was)' keyrota rotate

# Its environment is changed, and later there is an error in it: what last worked is the last environment.
sed -i '1a environment = zoo' "$POLICY/issuer.ini"
now=$EPOCHSECONDS
while (( EPOCHSECONDS == now )); do :; done # so that it is stored later
like 'plan says what another environment means' "$(keyrota plan issuer)" 'keys in test, .* rejected'
ok 'another environment' keyrota rotate
sed -i 's/^algorithm = .*/algorithm = ES999/' "$POLICY/issuer.ini"
keyrota rotate >"$TREE/output" 2>&1
is 'a policy that is wrong after that' $? 78
like 'goes on as it last worked' "$(cat "$TREE/output")" 'goes on as it last worked'
like 'and is planned so' "$(keyrota plan issuer)" 'ES999.*goes on as it last worked.*a new key is made'
is 'in the environment in which it did' "$(keyrota status --json issuer | jq -r '.secrets[0].environment')" zoo
ec_policy | policy issuer
ok 'back in its environment' keyrota rotate

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
>"$TREE/output" 2>&1 keyrota destroy issuer
like 'and says until when they are kept' "$(cat "$TREE/output")" 'test/issuer: its keys are destroyed at 2[0-9-]* [0-9:]* UTC'
like 'plan says when it does' "$(keyrota plan issuer)" 'is destroyed'
refused 'destroy --now asks' 'is no terminal' keyrota destroy --now issuer </dev/null
keyrota destroy --now issuer </dev/null >"$TREE/output" 2>&1
like 'after it said which keys go' "$(cat "$TREE/output")" "key $(kids issuer active) \(active\) is destroyed"
keyrota destroy --now --yes nosuch >"$TREE/output" 2>&1
is 'but of a name that is none' "$?$(grep -c 'is destroyed' "$TREE/output")" 10
hmac_policy | policy live
keyrota destroy --now --yes live >"$TREE/output" 2>&1
is 'or has a policy nothing is said to be destroyed' "$?$(grep -c 'is destroyed' "$TREE/output")" 10
rm "$POLICY/live.ini"
like 'but what is to be done first' "$(cat "$TREE/output")" 'remove .*live.ini first'
keyrota rollback issuer >"$TREE/output" 2>&1
is 'rollback without a policy fails' $? 1
is 'and says why, once' "$(wc -l <"$TREE/output")$(grep -c 'issuer: its policy was removed' "$TREE/output")" 11
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
for call in write fsync linkat renameat; do
        before=$(find "$STORE/test" -type f -exec sha256sum {} +)
        strace -qq -f -o /dev/null -e trace="$call" -e inject="$call:error=ENOSPC" \
                "$KEYROTA" --root="$TREE" --keyring="$RING" import --replace --format=hex api <<<"$secret" >/dev/null 2>&1
        is "import --replace on a disk that is full at $call fails" $? 1
        is 'the stored keys stay in their place' "$(find "$STORE/test" -type f -exec sha256sum {} +)" "$before"
        ok 'and are used' keyrota rotate
done

# ---- what cannot be read -----------------------------------------------------------------------------------------------------------
cp "$STORE/test/api.jwe" "$TREE/api.jwe"
truncate -s 40 "$STORE/test/api.jwe"
refused 'plan of a torn file promises no new key' 'api.jwe is torn' keyrota plan api
is 'none at all' "$(keyrota plan api 2>/dev/null | grep -c 'new key is made')" 0
rm "$STORE/test/api.jwe"
refused 'plan of a file that is gone neither' 'its stored file is gone' keyrota plan api
refused 'which status calls so' 'its stored file is gone' keyrota status api
cp "$TREE/api.jwe" "$STORE/test/api.jwe"
mv "$STORE/kek.cred" "$TREE/kek.cred"
refused 'plan without the key-encryption key neither' 'kek.cred is gone' keyrota plan api
mv "$TREE/kek.cred" "$STORE/kek.cred"
ok 'with all in its place it plans' keyrota plan api

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
like 'also for which key it waits' \
        "$(sed 's/HS256/RS256/; s/hex/pem/; s/api1.service/rsa.service/' "$POLICY/api1.ini" | policy rsa
        script -qec "'$KEYROTA' --root='$TREE' --keyring='$RING' provision" /dev/null </dev/null)" 'Making RSA keys: 0 of 1'
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

# Keys that are replaced are given up when the new ones are durable, not before.
strace -qq -f -o "$TREE/calls" -e trace=linkat,renameat,renameat2,fsync,unlinkat \
        "$KEYROTA" --root="$TREE" --keyring="$RING" import --replace --format=hex api <<<"$secret" >/dev/null 2>&1
kept=$(find "$STORE/test" -name 'api.jwe.refused-*' | wc -l)
is 'import --replace sets the old keys aside' "$kept" 1
while read -r call when; do
        strace -qq -f -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$when" \
                "$KEYROTA" --root="$TREE" --keyring="$RING" import --replace --format=hex api <<<"$secret" >/dev/null 2>&1
        ok "import --replace is killed at $call $when: the next run goes on" keyrota rotate
        ok 'with the old key or the new one' keyrota status api
done < <(sed -n 's/^[0-9]* *\([a-z0-9]*\)(.*/\1/p' "$TREE/calls" | awk '{ print $1, ++n[$1] }')

done_testing
