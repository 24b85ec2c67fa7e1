#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The recipe of keyrota(8) for a host without keyrota: systemd-creds opens the key-encryption key, jose a stored file. What comes out is what
# keyrota delivers.

. "${0%/*}/scratch.sh"

command -v jose >/dev/null || skip_all 'no jose'
[[ -x /usr/bin/systemd-creds ]] || skip_all 'no systemd-creds'

policy api <<-EOT
	[secret]
	algorithm = HS256
	[deliver:api.service]
	use = sign
	credential = jwt.key
	format = base64url
EOT
policy issuer <<-EOT
	[secret]
	algorithm = ES256
	[deliver:issuer.service]
	use = sign
	credential = jwt.key
	format = jwk
EOT
policy login <<-EOT
	[secret]
	algorithm = EdDSA
	[deliver:login.service]
	use = sign
	credential = jwt.key
	format = jwk
EOT
ok 'keys are made' keyrota provision

# recover NAME: the recipe
recover() {
        SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret \
                systemd-creds decrypt --name=keyrota-kek "$STORE/kek.cred" - | jose jwe dec -i "$STORE/test/$1.jwe" -k -
}

# member NAME PATH...: of the first key, by jose's own JSON reader
member() {
        local name=$1
        shift
        jose fmt -j "$scratch_set" -Og keys -g 0 -Og "$name" "$@"
}

for name in api issuer login; do
        scratch_set=$TREE/$name.jwks
        ok "jose opens the file of $name" recover "$name"
        recover "$name" >"$scratch_set" 2>/dev/null
        ok "what is in it is a JWK Set that jose takes" jose jwk use -i "$scratch_set" -s -u sign -o /dev/null
        like 'with the policy that made it' "$(jose fmt -j "$scratch_set" -Og policy -u-)" 'algorithm *= *(HS256|ES256|EdDSA)'
        like 'and the times' "$(member created -o-)" '^[0-9]{10}'
        ok 'its generation is in the header' grep -q '"gen":1' <(cut -d. -f1 "$STORE/test/$name.jwe" | jose b64 dec -i-)
done

scratch_set=$TREE/api.jwks
is 'the symmetric key is the one delivered' "$(member k -u-)" "$(entry_bytes unit:api.service/jwt.key)"
for name in issuer login; do
        scratch_set=$TREE/$name.jwks
        for part in kid x d; do
                is "$part of $name is the one delivered" "$(member "$part" -u-)" \
                        "$(jose fmt -j "$(entry_bytes "unit:$name.service/jwt.key")" -Og "$part" -u-)"
        done
done

# sign with what was recovered, verify with what is published
jose jwk use -i "$TREE/issuer.jwks" -s -u sign -o "$TREE/signing.jwks" 2>/dev/null
printf '{"sub":"test"}' | jose jws sig -I- -k "$TREE/issuer.jwks" -s '{"protected":{"alg":"ES256"}}' -c -o "$TREE/token" 2>/dev/null
ok 'a token signed with the recovered key verifies with the published set' jose jws ver -i "$TREE/token" -k "$JWKS/issuer.json"

# After a rekey the recipe is the same, and so is what it finds.
ok 'a rekey' keyrota rekey
for name in api issuer login; do
        is "what is recovered of $name is as before" "$(recover "$name" 2>/dev/null)" "$(cat "$TREE/$name.jwks")"
done

# Another host's key opens nothing.
ok 'without the host key there is no recovery' ! env SYSTEMD_CREDENTIAL_SECRET="$TREE/none" systemd-creds decrypt --name=keyrota-kek "$STORE/kek.cred" -

done_testing
