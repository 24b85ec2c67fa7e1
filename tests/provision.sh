#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# keyrota provision, read and status on a scratch tree: what is made, kept, refused and left alone.

. "$(dirname "$0")/scratch.sh" || exit 99

hmac_policy() {
        cat <<-EOF
	[secret]
	algorithm = HS256
	[deliver:api.service]
	use = sign
	credential = jwt.key
	format = ${1:-hex}
	EOF
}

ec_policy() {
        cat <<-EOF
	[secret]
	algorithm = ${1:-ES256}
	[deliver:issuer.service]
	use = sign
	credential = jwt.key
	format = pem
	[deliver:verifier@.service]
	use = verify
	credential = issuer.jwks
	format = jwks
	EOF
}

# ---- the first run ---------------------------------------------------------------------------------
hmac_policy | policy api
ec_policy | policy issuer
ok 'the first run makes every key' keyrota provision
is 'the ring holds each delivery, each secret and the orders about records' "$(ring_entries)" \
        "$(printf '%s\n' config:audit secret:test/api/sign secret:test/api/verify secret:test/issuer/sign secret:test/issuer/verify \
                unit:api.service/jwt.key unit:issuer.service/jwt.key unit:verifier@.service/issuer.jwks | sort)"
like 'a hex secret of HS256 is 64 digits without a newline' "$(entry_bytes unit:api.service/jwt.key)" '^[0-9a-f]{64}$'
is 'and is 64 bytes long' "$(entry_bytes unit:api.service/jwt.key | wc -c)" 64
like 'the header line names secret, generation and kid' "$(entry_header unit:api.service/jwt.key)" '^keyrota1 test/api 1 [A-Za-z0-9_-]{22}$'
like 'the signing key is PKCS#8' "$(entry_bytes unit:issuer.service/jwt.key | head -n 1)" '^-----BEGIN PRIVATE KEY-----$'
is 'keys and ring are root'\''s alone' \
        "$(keyctl rdescribe "$(keyctl search @u keyring "$RING")" '|' | cut -d'|' -f2-4) $(keyctl rdescribe "$(keyctl search "$(keyctl search @u keyring "$RING")" user unit:api.service/jwt.key)" '|' | cut -d'|' -f2-4)" \
        '0|0|003f0000 0|0|003f0000'
ok 'the public set is a file for everybody' test "$(stat -c '%a %U' "$JWKS/issuer.json")" = '644 root'
is 'which holds what verifiers get' "$(cat "$JWKS/issuer.json")" "$(entry_bytes unit:verifier@.service/issuer.jwks)"
ok 'and no private member' ! grep -qE '"(d|p|q|dp|dq|qi|k)"' "$JWKS/issuer.json"
ok 'a symmetric secret has no public file' test ! -e "$JWKS/api.json"
is 'stored files are root'\''s alone' "$(stat -c '%a' "$STORE" "$STORE/test" "$STORE/test/api.jwe" "$STORE/kek.cred" | tr '\n' ' ')" '700 700 600 600 '
ok 'a stored file has no key in the clear' ! grep -q "$(entry_bytes unit:api.service/jwt.key)" "$STORE/test/api.jwe"

# ---- nothing to do ---------------------------------------------------------------------------------
before=$(find "$TREE" -type f -exec sha256sum {} + | sort)
trace=$TREE.trace
ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$trace" -e trace=file,desc,fsync,fdatasync,syncfs,sync "$KEYROTA" --root="$TREE" --keyring="$RING" provision
is 'a run with nothing to do succeeds' $? 0
own=$(head -n 1 "$trace" | cut -d' ' -f1) # the program itself; systemd-creds, a child, is not ours
is 'and syncs nothing' "$(grep -cE "^$own +(fsync|fdatasync|syncfs|sync)\(" "$trace")" 0
is 'and renames, makes, links and removes nothing' "$(grep -cE "^$own +(rename|link|symlink|unlink|mkdir|mknod|truncate|ftruncate)[a-z0-9]*\(" "$trace")" 0
is 'and opens no file of the tree for writing, but the locks' "$(grep -E "^$own +open[a-z0-9]*\(" "$trace" | grep -v '"\.lock"\|/access-table\.lock"\|/dev/null' | grep -cE 'O_WRONLY|O_RDWR|O_CREAT')" 0
rm -f "$trace"
is 'and every file is as it was' "$(find "$TREE" -type f -exec sha256sum {} + | sort)" "$before"

# ---- the ring is emptied ---------------------------------------------------------------------------
key=$(entry_bytes unit:api.service/jwt.key)
drop_ring
ok 'after the ring is gone a run fills it again' keyrota provision
is 'with the same key' "$(entry_bytes unit:api.service/jwt.key)" "$key"

# ---- a policy is edited ----------------------------------------------------------------------------
hmac_policy base64url | policy api
ok 'another format is delivered at the next run' keyrota provision
is 'of the same key' "$(printf '%s=' "$(entry_bytes unit:api.service/jwt.key)" | basenc --base64url -d | od -An -v -tx1 | tr -d ' \n')" "$key"
like 'under the next generation' "$(entry_header unit:api.service/jwt.key)" '^keyrota1 test/api 2 '

# ---- a policy is broken ----------------------------------------------------------------------------
sed -i 's/^use = sign/use = singing/' "$POLICY/api.ini"
echo '[deliver:new.service]' >>"$POLICY/issuer.ini"
before=$(ring_entries)
output=$(keyrota provision 2>&1)
is 'a broken policy alone exits with 78' $? 78
like 'and is named with its line' "$output" 'api\.ini:4: '
like 'and goes on as it last worked' "$output" 'api\.ini: goes on as it last worked'
is 'nothing that was published goes away' "$(ring_entries)" "$before"
drop_ring
keyrota provision 2>/dev/null
is 'also after a boot' "$(ring_entries)" "$before"
rm "$POLICY/api.ini"
hmac_policy | policy never
sed -i 's/HS256/HS255/' "$POLICY/never.ini"
ec_policy | policy issuer
keyrota provision 2>/dev/null
is 'a policy that never worked delivers nothing' "$(ring_entries | grep -c never)" 0
rm "$POLICY/never.ini"

# ---- a policy is removed ---------------------------------------------------------------------------
ok 'a removed policy is no error' keyrota provision
is 'its deliveries are gone' "$(ring_entries | grep -c api)" 0
ok 'its keys are not' test -s "$STORE/test/api.jwe"
mv "$POLICY/issuer.ini" "$TREE/issuer.ini"
keyrota provision
ok 'the public keys of a removed policy go on verifying' test -s "$JWKS/issuer.json"
mv "$TREE/issuer.ini" "$POLICY/issuer.ini"
hmac_policy | policy api
ok 'a policy that comes back' keyrota provision
is 'finds its key' "$(entry_bytes unit:api.service/jwt.key)" "$key"

# ---- another algorithm -----------------------------------------------------------------------------
ec_policy ES384 | policy issuer
ok 'another algorithm begins a rotation' keyrota provision
ok 'the old key stays published' grep -q P-256 "$JWKS/issuer.json"
ok 'and the new one is published beside it' grep -q P-384 "$JWKS/issuer.json"
like 'but does not sign yet' "$(keyrota read --use=sign --format=jwk issuer)" P-256
ok 'provision --replace makes new keys' keyrota provision --replace=issuer
like 'of the new algorithm' "$(keyrota read --use=sign --format=jwk issuer)" P-384
ok 'the old ones are gone' ! grep -q P-256 "$JWKS/issuer.json"
is 'and sets the old ones aside' "$(find "$STORE/test" -name 'issuer.jwe.refused-*' | wc -l)" 1
refused 'provision --replace of a name that no policy has' 'no policy of that name' keyrota provision --replace=isuer

# ---- the store is damaged --------------------------------------------------------------------------
cp "$STORE/test/api.jwe" "$TREE/api.jwe"
truncate -s -7 "$STORE/test/api.jwe"
sum=$(sha256sum <"$STORE/test/api.jwe")
output=$(keyrota provision 2>&1)
is 'a torn file exits with 1' $? 1
like 'and is named' "$output" 'test/api: '
is 'and is left alone' "$(sha256sum <"$STORE/test/api.jwe")" "$sum"
is 'and the published key stays' "$(entry_bytes unit:api.service/jwt.key)" "$key"
rm "$STORE/test/api.jwe"
refused 'a file that is gone is not replaced by a fresh key' 'gone, though generation' keyrota provision
cp -p "$TREE/api.jwe" "$STORE/test/api.jwe"
ok 'restored, it serves again' keyrota provision
hmac_policy raw | policy api
keyrota provision
cp -p "$TREE/api.jwe" "$STORE/test/api.jwe"
refused 'a file older than the ring has seen is refused' 'older than generation .*--accept-older=api' keyrota provision
ok 'unless the administrator takes it' keyrota provision --accept-older=api
ok 'and then it is the newest' keyrota provision
cp -p "$TREE/api.jwe" "$STORE/test/other.jwe"
hmac_policy | sed 's/api/other/' | policy other
refused 'a file under another name is refused' 'api.*other|other.*api' keyrota provision
rm "$POLICY/other.ini" "$STORE/test/other.jwe"

# ---- a key-encryption key that is gone -------------------------------------------------------------
mv "$STORE/kek.cred" "$TREE/kek.cred"
refused 'a store whose KEK is gone gets no new one' 'kek.cred is gone' keyrota provision
ok 'nothing was made' test ! -e "$STORE/kek.cred"
mv "$TREE/kek.cred" "$STORE/kek.cred"
ok 'setup leaves a KEK that is there' keyrota setup

# ---- RSA -------------------------------------------------------------------------------------------
ec_policy RS256 | sed 's/issuer.service/rsa.service/; s/issuer.jwks/rsa.jwks/' | policy rsa
ok 'provision --defer-rsa leaves RSA keys' keyrota provision --defer-rsa
is 'and notes which' "$(cat "$TREE/run/keyrota/rsa-pending")" rsa
is 'and publishes nothing of them' "$(ring_entries | grep -c rsa)" 0
ok 'the next run makes them' keyrota provision
is 'and takes the note away' "$(ls "$TREE/run/keyrota/rsa-pending" 2>/dev/null)" ''
ok 'an RSA key is published' grep -q '"RSA"' "$JWKS/rsa.json"

# ---- read ------------------------------------------------------------------------------------------
# One key per file: a comparison must not print bytes.
keyrota read api --use=sign --format=raw >"$TREE/raw"
entry_bytes unit:api.service/jwt.key >"$TREE/entry"
same 'read gives the exact bytes' "$TREE/raw" "$TREE/entry"
keyrota read issuer --unit=issuer.service >"$TREE/pem"
entry_bytes unit:issuer.service/jwt.key >"$TREE/entry"
same 'read --unit gives what the unit gets' "$TREE/pem" "$TREE/entry"
is 'read defaults to the verification set' "$(keyrota read issuer --newline)" "$(cat "$JWKS/issuer.json")"
refused 'read of a secret that is not there' 'not published now' keyrota read nothing
refused 'read of a unit that gets nothing' 'not delivered to that unit' keyrota read issuer --unit=api.service
refused 'read in a form that the key does not have' 'no hex form' keyrota read issuer --use=sign --format=hex
if command -v script >/dev/null; then
        like 'read refuses a terminal' "$(script -qec "'$KEYROTA' --root='$TREE' --keyring='$RING' read issuer; echo status \$?" /dev/null </dev/null)" \
                'terminal.*status 1'
        like 'but for --force' "$(script -qec "'$KEYROTA' --root='$TREE' --keyring='$RING' read --force issuer; echo status \$?" /dev/null </dev/null)" 'P-384.*status 0'
fi
drop_ring
"$KEYROTA" --root="$TREE" read issuer --newline >"$TREE/set"
same 'without a ring, read opens the store' "$TREE/set" "$JWKS/issuer.json"
keyrota provision

# ---- status ----------------------------------------------------------------------------------------
ok 'status of a healthy tree succeeds' keyrota status
status=$(keyrota status --json)
is 'status --json names every secret' "$(jq -r '.secrets[].name' <<<"$status" | tr '\n' ' ')" 'api issuer rsa '
is 'with keys and state' "$(jq -r '.secrets[] | select(.name == "issuer") | .keys[0] | "\(.algorithm) \(.state)"' <<<"$status")" 'ES384 active'
is 'with consumers' "$(jq -r '.secrets[] | select(.name == "issuer") | .consumers[] | "\(.unit) \(.use) \(.published)"' <<<"$status" | tr '\n' ' ')" \
        'issuer.service sign true verifier@.service verify true '
is 'the kid is the published one' "$(jq -r '.secrets[] | select(.name == "issuer") | .keys[0].kid' <<<"$status")" "$(jq -r '.keys[0].kid' "$JWKS/issuer.json")"
is 'the next event is within the cryptoperiod' \
        "$(jq -r '.secrets[] | select(.name == "issuer") | (.next - .keys[0].created) > 0 and (.next - .keys[0].created) <= 30*86400' <<<"$status")" true
sed -i 's/^use = sign/use = singing/' "$POLICY/api.ini"
like 'status names a broken policy' "$(keyrota status api)" 'wrong: .*api\.ini:4: '
ok 'and fails' ! keyrota status
refused 'status of a name that is not there' 'there is no secret' keyrota status nothing
hmac_policy raw | policy api
drop_ring
like 'status sees that the ring is empty' "$(keyrota status)" 'keyring is empty'

# ---- usage -----------------------------------------------------------------------------------------
for verb in provision check status read setup version; do
        like "keyrota $verb --help helps" "$("$KEYROTA" "$verb" --help)" "^keyrota $verb"
done
"$KEYROTA" status --nonsense >/dev/null 2>&1
is 'an unknown option exits with 2' $? 2
"$KEYROTA" provison >/dev/null 2>&1
is 'an unknown verb exits with 2' $? 2
refused '--keyring without --root' 'goes with --root' "$KEYROTA" --keyring=x provision
refused 'the live ring is not for other trees' 'choose a name' "$KEYROTA" --root="$TREE" --keyring=keyrota provision
if setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
        refused 'an ordinary user provisions nothing' 'as root' setpriv --reuid=65534 --clear-groups "$KEYROTA" --root="$TREE" provision
fi

done_testing
