#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What an administrator does by hand, while tokens are exchanged: a rotation now, a key revoked or taken back, a secret
# brought along, the key-encryption key renewed, a secret retired and destroyed; several runs at once, and runs killed at
# every step.
# timeout: 300

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"
. "${BASH_SOURCE[0]%/*}/exchange.sh"

wait_for_boot
environment_set testing
user_make somebody

# exchange_secret NAME ALGORITHM FORMAT
exchange_secret() {
        policy_make "$1" "$2" "$(rotation 30d 4s
                deliver "$1-issuer.service" sign jwt.key "$3"
                deliver "$1-verifier.service" verify keys.jwks jwks)"
        issuer_write "$1-issuer.service" jwt.key 4s
        verifier_write "$1-verifier.service" keys.jwks
}

# accepted UNIT TOKEN
accepted() {
        [[ $(ask "$1" verify "$2" | jq .ok) == true ]]
}

# rejects UNIT TOKEN: for want of its key, not of time.
rejects() {
        [[ $(ask "$1" verify "$2" | jq -r .why) =~ ^(unknown key|InvalidSignatureError) ]]
}

# Everything that is kept or published of a secret, to tell whether anything changed; never a key.
state_of() {
        sha256sum "$STORE/testing/$1.jwe"
        key_of "$1"
        ring_header "secret:testing/$1/verify"
        systemctl show -P InvocationID "$1-issuer.service" "$1-verifier.service"
}

# unchanged DESCRIPTION STATE NAME
unchanged() {
        is "$1" "$(state_of "$3")" "$2"
}

# ---- a secret brought along --------------------------------------------------------------------------------------

# What signed tokens here before keyrota did: 32 bytes, and no kid.
old=$SCRATCH/old-secret
(umask 077; openssl rand -out "$old" 32)
token_of_old() {
        /usr/bin/python3 -E -s -c 'import jwt, sys, time; k = open(sys.argv[1], "rb").read(); n = int(time.time())
print(jwt.encode({"iat": n, "exp": n + 60}, k, algorithm="HS256"))' "$old"
}
exchange_secret legacy HS256 jwk
printf short >"$SCRATCH/short"
for text in short empty; do
        [[ $text != empty ]] || : >"$SCRATCH/empty"
        # shellcheck disable=SC2016
        refused "import: a secret that is $text" "bytes|empty|nothing" bash -c 'keyrota import --format=raw legacy <"$1"' bash "$SCRATCH/$text"
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$SCRATCH/ec.pem" 2>/dev/null
# shellcheck disable=SC2016
refused "import: a key of another kind" "HS256" bash -c 'keyrota import legacy <"$1"' bash "$SCRATCH/ec.pem"
ok "... of all that nothing is stored" test ! -e $STORE/testing/legacy.jwe
# shellcheck disable=SC2016
ok "import: a secret of 32 bytes" bash -c 'keyrota import --format=raw legacy <"$1"' bash "$old"
# shellcheck disable=SC2016
refused "import: not over a key that is there" "has (a key|keys)|--replace" bash -c 'keyrota import --format=raw legacy <"$1"' bash "$old"

# ---- two more secrets --------------------------------------------------------------------------------------------

exchange_secret es ES256 pem
exchange_secret hs HS256 jwk
systemctl daemon-reload
ok "issuers and verifiers start" exchange_start {es,hs,legacy}-{verifier,issuer}.service
drive es es-issuer.service es-verifier.service

# ---- a rotation now ----------------------------------------------------------------------------------------------

first=$(kid_of es)
ok "rotate: nothing is due" keyrota rotate
is "... and nothing is done" "$(kid_of es)" "$first"
before=$(state_of hs)
ok "rotate --now begins a rotation" keyrota rotate --now es
like "... with a successor that waits for its time" "$(kids_in_state es active) $(kids_in_state es pre-activation)" "^$first [^ ]+$"
ok "... which signs when every verifier has had it for long enough" wait_for 30 signed es 2
is "... and the issuer has it" "$(kids_held es-issuer.service)" "$(kid_of es)"
unchanged "... and the other secret is as it was" "$before" hs
refused "a secret that there is not" 'no secret|no policy|"nosuch"' keyrota rotate nosuch

# ---- back to the one before --------------------------------------------------------------------------------------

second=$(kid_of es)
ok "rollback: the key before signs again" keyrota rollback es
is "... it is active" "$(kids_in_state es active)" "$first"
is "... and the issuer has it" "$(kids_held es-issuer.service)" "$first"
ok "... and once the other's tokens are over, it is the only one" wait_for 30 has_n_keys es 1
ok "the exchange of tokens ends" systemctl stop drive-es.service
is "not one token was rejected" "$(of_drive es '.rejections[] | tojson')$(of_drive es .rejected)" 0
is "first, second and first again have signed" "$(of_drive es .kids)" "$first $second $first"
before=$(state_of es)
refused "rollback: nothing to go back to" "." keyrota rollback es
unchanged "... and nothing has changed" "$before" es

# ---- a key that is compromised -----------------------------------------------------------------------------------

refused "revoke: not without a yes" "--yes" keyrota revoke es
unchanged "... and nothing has changed" "$before" es
refused "revoke: a KID that is not there" "no key.*nosuchkid|nosuchkid" keyrota revoke es nosuchkid --yes
unchanged "... and nothing has changed" "$before" es
stolen=$(ask es-issuer.service token | jq -r .token)
ok "(a token of the key is accepted)" accepted es-verifier.service "$stolen"
said=$(keyrota revoke es --yes 2>&1)
status=$?
is "revoke --yes" "$status" 0
like "... says which units it restarts" "$said" "es-(issuer|verifier)\.service"
is "... the key is out of the set" "$(kids_ring secret:testing/es/verify)" "$(kid_of es)"
is "... out of the public file" "$(jq -r '[.keys[].kid] | join(" ")' /run/keyrota/jwks/es.json)" "$(kid_of es)"
is "... out of the stored file" "$(kids_stored testing/es)" "$(kid_of es)"
is "... out of the running verifier" "$(kids_held es-verifier.service)" "$(kid_of es)"
is "... a new key signs, in the running issuer" "$(kids_held es-issuer.service)" "$(kid_of es)"
ok "... it is another" test "$(kid_of es)" != "$first"
ok "... and a token of the stolen one is rejected" rejects es-verifier.service "$stolen"
token=$(ask es-issuer.service token | jq -r .token)
ok "... and one of the new key accepted" accepted es-verifier.service "$token"
is "... and no entry of the keyring names it" "$(in_ring "$first")" ""
ok "... the journal has it" journal_has '.' KEYROTA_KID="$first"

# one that waits for its activation
ok "(a rotation begins)" keyrota rotate --now es
waiting=$(kids_in_state es pre-activation)
active=$(kid_of es)
ok "revoke KID: a key that waits" keyrota revoke es "$waiting" --yes
is "... is gone" "$(kids_stored testing/es | tr ' ' '\n' | grep -cxF -- "$waiting")" 0
ok "... and the next rotation has another" wait_for 30 eval "[[ \$(kid_of es) != $active ]]"
ok "... and not that one" test "$(kid_of es)" != "$waiting"

# ---- its first rotation ------------------------------------------------------------------------------------------

token=$(token_of_old)
ok "a token from before keyrota is accepted" accepted legacy-verifier.service "$token"
imported=$(kid_of legacy)
drive legacy legacy-issuer.service legacy-verifier.service
ok "it rotates" keyrota rotate --now legacy
ok "... to a key of keyrota's" wait_for 30 signed legacy 2
ok "... and a token from before is accepted still" accepted legacy-verifier.service "$token"
like "... for the imported key is kept for its overlap" " $(kids_held legacy-verifier.service) " " $imported "
ok "... until that is over" wait_for 30 has_n_keys legacy 1
driven legacy
ok "... then no more" rejects legacy-verifier.service "$(token_of_old)"

# ---- what is to come ---------------------------------------------------------------------------------------------

plan=$(keyrota plan es)
is "plan" "$?" 0
like "... has the day of the next step" "$plan" "$(date -d "@$(armed_at es)" +%F)"
like "... and who is restarted then" "$plan" "es-verifier\.service"
before=$(state_of es)
sed -i 's/^cryptoperiod = .*/cryptoperiod = 60d/' $POLICIES/es.ini
ok "plan tells of an edit, before it is done" test "$(keyrota plan es)" != "$plan"
unchanged "... and does nothing" "$before" es
sed -i 's/^cryptoperiod = .*/cryptoperiod = 30d/' $POLICIES/es.ini

# ---- a new key-encryption key ------------------------------------------------------------------------------------

cp -a $STORE "$SCRATCH/store"
keys=$(key_of es hs legacy)
kek=$(systemd-creds decrypt --name=keyrota-kek $STORE/kek.cred - 2>/dev/null | sha256sum)
ok "rekey" keyrota rekey
ok "... the key-encryption key is another" test "$(systemd-creds decrypt --name=keyrota-kek $STORE/kek.cred - 2>/dev/null | sha256sum)" != "$kek"
is "... the keys are the same" "$(key_of es hs legacy)" "$keys"
opens_with_old() {
        systemd-creds decrypt --name=keyrota-kek "$SCRATCH/store/kek.cred" - 2>/dev/null | jose jwe dec -i "$STORE/testing/$1.jwe" -k - -O /dev/null
}
for name in es hs legacy; do
        ok "... the old one does not open $name" ! opens_with_old $name
        ok "... the new one does, without keyrota" test -n "$(kids_stored testing/$name)"
done
ok "... provisioning works with it, as a service" systemctl start keyrota-provision.service
ok "... and nothing is wrong" keyrota status
rm -rf "$SCRATCH/store"

# ---- several runs at once ----------------------------------------------------------------------------------------

# One key more than there was, everywhere; told what is not so.
consistent() {
        local name=$1 stored ring
        stored=$(kids_stored "testing/$name")
        ring=$(kids_ring "secret:testing/$name/verify")
        [[ -n $stored && $stored == "$ring" ]] || { echo "stored: $stored; in the keyring: $ring"; return 1; }
        [[ $(kids_in_state "$name" active | wc -w) == 1 ]] || { echo "not one active key: $(keyrota status "$name")"; return 1; }
}

drive hs hs-issuer.service hs-verifier.service
jobs=()
for i in {1..10}; do
        arguments=(rotate)
        (( i <= 5 )) || arguments+=(--now hs)
        keyrota "${arguments[@]}" >"$SCRATCH/run.$i" 2>&1 &
        jobs+=($!)
done
systemctl start keyrota-provision.service
is "provisioning goes on beside ten rotations" "$?" 0
status=0
for job in "${jobs[@]}"; do
        wait "$job" || status=$?
done
is "each of ten runs at once ends well" "$status$(cat "$SCRATCH"/run.* | grep -v 'hs' | head -n 3)" 0
ok "... and leaves one consistent state" consistent hs
is "... a single successor was made" "$(kids_stored testing/hs | wc -w)" 2
ok "... which comes to sign" wait_for 30 signed hs 2
ok "... and the old key goes" wait_for 30 has_n_keys hs 1
is "... one rotation for all of them" "$(of_drive hs '.kids | length')" 2

# ---- killed anywhere ---------------------------------------------------------------------------------------------

# Each call that leaves something behind, in the order of one whole run: a run is killed when it is about to make it, for
# a dozen of them, each on a secret of its own that nobody has.
calls=fsync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,symlinkat,ftruncate,fchmod,mkdirat,add_key,keyctl,sendmsg
KILLS=12
spare=()
for ((i = 0; i <= KILLS; i++)); do
        spare+=("spare$i")
        policy_make "spare$i" HS256 "$(rotation 30d 4s
                deliver spare-issuer.service sign "key$i.jwk" jwk
                deliver spare-verifier.service verify "keys$i.jwks" jwks)"
done
ok "spare secrets are made" keyrota provision
declare -A first_of
for name in "${spare[@]}"; do
        first_of[$name]=$(kid_of "$name")
done
strace -qq -f -o "$SCRATCH/trace" -e trace=$calls keyrota rotate --now spare0 >/dev/null 2>&1
# NAME NUMBER of each call, as strace counts them
mapfile -t points < <(sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' "$SCRATCH/trace" | awk '{ print $1 ":when=" ++n[$1] }')
killed=0
for ((i = 1; i <= KILLS; i++)); do
        point=${points[${#points[@]} * (i - 1) / KILLS]}
        strace -qq -f -o /dev/null -e trace=$calls -e "inject=${point%%:*}:signal=KILL:${point#*:}" keyrota rotate --now "spare$i" >/dev/null 2>&1
        (( $? != 137 )) || ((killed++))
        ok "killed at its ${point/:when=/ number }: the next run completes" keyrota rotate "spare$i"
        ok "... in one consistent state" consistent "spare$i"
        # where it had not begun
        [[ $(kids_stored "testing/spare$i" | wc -w) == 2 ]] || keyrota rotate --now "spare$i" >/dev/null 2>&1
done
diag "of ${#points[@]} calls $KILLS were tried"
ok "these runs were killed: $killed" test $killed -ge $((KILLS * 2 / 3))
another_is_alone() {
        [[ $(kids_stored "testing/$1") == "$(kid_of "$1")" && $(kid_of "$1") != "${first_of[$1]}" ]]
}
for name in "${spare[@]}"; do
        ok "$name: its rotation comes to its end" wait_for 30 another_is_alone "$name"
        ok "... in one consistent state" consistent "$name"
done

# in the midst of handing a key over to services
for call in sendmsg:8 ppoll:6; do
        active=$(kid_of hs)
        strace -qq -o /dev/null -f -e trace="${call%:*}" -e inject="${call%:*}:signal=KILL:when=${call#*:}" keyrota rotate --now hs >/dev/null 2>&1
        ok "killed at its ${call/:/ number }, with services that run: the next run completes" keyrota rotate hs
        ok "... in one consistent state" consistent hs
        [[ $(kids_stored testing/hs | wc -w) -gt 1 || $(kid_of hs) != "$active" ]] || keyrota rotate --now hs >/dev/null 2>&1
        ok "... and the rotation comes to its end" wait_for 30 eval "[[ \$(kid_of hs) != $active ]]"
        ok "... and the old key to its own" wait_for 30 has_n_keys hs 1
done
driven hs
is "no unit has failed" "$(failed_units)" ""

# ---- a revocation that is interrupted ------------------------------------------------------------------------------

# A window that is not open now, nor soon.
policy_make es ES256 "$(rotation 30d 4s
        echo "window = $(LC_ALL=C date -d '3 days' +%a) 02:00-04:00"
        deliver es-issuer.service sign jwt.key pem
        deliver es-verifier.service verify keys.jwks jwks)"
ok "es gets a window, which is closed" keyrota rotate es
stolen=$(kid_of es)
is "(services hold its key)" "$(kids_held es-issuer.service)" "$stolen"
strace -qq -o /dev/null -f -e trace=flock,fcntl,openat2 -P /run/keyrota/handover/testing:es:lock -e inject=fcntl:signal=KILL keyrota revoke es --yes >/dev/null 2>&1
is "revoke is killed before it has told a service" "$?" 137
is "... which goes on with the stolen key" "$(kids_held es-issuer.service)" "$stolen"
said=$(script -qec 'keyrota rotate es' /dev/null </dev/null)
is "... the next run, by timer or by hand, completes it" "$?" 0
like "... and a terminal sees what it waits for" "$said" "testing/es: waiting until es-verifier.service is restarted"
is "... in no window but now: the issuer" "$(kids_held es-issuer.service)" "$(kid_of es)"
is "... and the verifier" "$(kids_held es-verifier.service)" "$(kid_of es)"
ok "... have another key" test "$(kid_of es)" != "$stolen"

# ---- a secret that is no longer wanted ---------------------------------------------------------------------------

refused "destroy: not while its policy is there" "policy" keyrota destroy legacy
exchange_stop legacy-verifier.service
rm $POLICIES/legacy.ini
systemctl daemon-reload
ok "a policy is removed" keyrota rotate
ok "... its keys are kept" test -n "$(kids_stored testing/legacy)"
is "... keyrota status calls it retired" "$(keyrota status --json legacy | jq '.secrets[].retired')" true
ok "destroy" keyrota destroy legacy
ok "... its keys stay while a service runs with them" test -n "$(kids_stored testing/legacy)"
like "... keyrota status names it" "$(keyrota status legacy)" "wrong: legacy-issuer.service runs with its keys, .*systemctl stop legacy-issuer.service"
like "... and so does keyrota plan" "$(keyrota plan legacy)" "legacy-issuer.service runs with its keys"
exchange_stop legacy-issuer.service
is "... which is well when it has been stopped" "$(keyrota status legacy | grep wrong:)" ""
ok "(the next look)" keyrota rotate legacy
gone() {
        [[ -z $(kids_stored testing/legacy) ]]
}
ok "... its keys are gone, when no token can be out any more" wait_for 30 gone
is "... from the keyring too" "$(ring_entries | grep -c legacy)" 0

# what is on record of those that go
rm $POLICIES/spare1.ini
policy_make spare2 HS384 "$(rotation 30d 4s
        deliver spare-issuer.service sign key2.jwk jwk
        deliver spare-verifier.service verify keys2.jwks jwks)"
stolen=$(kid_of spare1) before=$(kid_of spare2)
ok "(one policy is removed, of another the algorithm is changed)" keyrota rotate
ok "revoke: a key without a policy" keyrota revoke --yes spare1
ok "... the journal has it" journal_has '.' KEYROTA_EVENT=key-compromised KEYROTA_KID="$stolen"
ok "(the new algorithm is in force)" wait_for 30 eval "[[ \$(kid_of spare2) != $before ]]"
journal_mark
refused "rollback: not to another algorithm than the policy's" "HS256 key and the policy says HS384" keyrota rollback spare2
ok "... and none is on record" ! journal_has '.' KEYROTA_EVENT=rolled-back

is "no answer was lost in a restart" "$(grep -h '"lost"' "$SOCKETS"/*.log)" ""
done_testing
