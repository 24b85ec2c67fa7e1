#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# keyrota rekey: another key-encryption key, the same secrets. Killed or failing at any moment it loses nothing and completes when it is run again;
# a run that was started with the old key writes nothing under it; what cannot be opened is not touched.

. "${0%/*}/scratch.sh"

[[ -x /usr/bin/systemd-creds ]] || skip_all 'no systemd-creds'
command -v jose >/dev/null || skip_all 'no jose'
export ASAN_OPTIONS=detect_leaks=0 # which does not work under strace

secrets=(api issuer login old)

# put NAME ALGORITHM [ENVIRONMENT]
put() {
        policy "$1" <<-EOT
		[secret]
		algorithm = $2
		${3:+environment = $3}
		[deliver:$1.service]
		use = sign
		credential = jwt.key
		format = jwk
	EOT
}

provision() {
        # Not into a keyring: the store is what is looked at, and a tree is copied many times.
        "$KEYROTA" --root="$TREE" provision
}

rekey() {
        "$KEYROTA" --root="$TREE" rekey "$@"
}

# What each secret is, from the store.
keys() {
        local name
        for name in "${secrets[@]}"; do
                "$KEYROTA" --root="$TREE" read --use=sign --format=jwk "$name" || return
                echo
        done
}

kek() {
        SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret \
                systemd-creds decrypt --newline=no --name=keyrota-kek "${1:-$STORE/kek.cred}" - 2>/dev/null
}

# opens KEK FILE: jose opens it with that, and with nothing else
opens() {
        jose jwe dec -i "$2" -k - <<<"$1" 2>/dev/null
}

header() {
        cut -d. -f1 "$1" | jose b64 dec -i-
        echo
}

kids() {
        local file
        for file in "$STORE"/*/*.jwe; do header "$file" | sed -n 's/.*"kid":"\([^"]*\)".*/\1/p'; done | sort -u
}

generations() {
        local file
        for file in "$STORE"/*/*.jwe; do echo "${file##*/} $(header "$file" | sed -n 's/.*"gen":\([0-9]*\).*/\1/p')"; done
}

# One KEK, and every file under it.
settled() {
        local text
        text=$(kek) || { echo "kek.cred does not open"; return 1; }
        [[ $text == '{"kty":'* ]] || { echo "kek.cred holds: ${text//\"k\":\"*/...}"; return 1; }
        [[ $(kids) == "$(sed -n 's/.*"kid":"\([^"]*\)".*/\1/p' <<<"$text")" ]] || { echo "the files are under: $(kids)"; return 1; }
        text=$(find "$STORE" -name '.*' ! -name .lock)
        [[ -z $text ]] || { echo "left behind: $text"; return 1; }
}

# The whole store, to the byte.
store_sum() {
        (cd "$STORE" && find . -type f ! -name .lock -print0 | sort -z | xargs -0 sha256sum; find . -printf '%p %m %u\n' | sort)
}

# shellcheck disable=SC2317 # called through ok
unchanged() {
        [[ $(store_sum) == "$sum" ]] || { diff <(echo "$sum") <(store_sum); return 1; }
}

# refuses DESCRIPTION REGEX COMMAND...: it fails and says so, and changes nothing
refuses() {
        local what=$1 regex=$2 output status
        shift 2
        sum=$(store_sum)
        output=$("$@" 2>&1)
        status=$?
        if (( status == 0 )) || ! grep -Eq -- "$regex" <<<"$output"; then
                fail "$what: refused" "status $status, saying: $output"
                return
        fi
        pass "$what: refused"
        ok "$what: nothing was changed" unchanged
}

# ---- what it does ----------------------------------------------------------------------------------
refuses 'no key-encryption key yet' 'there is no key-encryption key to replace; keyrota setup makes one' rekey
put api HS256
put issuer ES256
put login EdDSA staging
put old HS512
ok 'keys are made' keyrota provision
rm "$POLICY/old.ini"
ok 'the policy of one is removed' keyrota provision
before=$(keys)
was=$(generations)
ring=$(ring_entries; entry_bytes unit:issuer.service/jwt.key)
kek_before=$(kek)
cp -a "$STORE" "$TREE/backup"
is '(four secrets in two environments)' "$(find "$STORE" -name '*.jwe' | wc -l)" 4

ok 'a rekey' rekey
ok 'is complete' settled
ok 'it has made another key-encryption key' test "$kek_before" != "$(kek)"
is 'every secret is what it was' "$(keys)" "$before"
is 'in the same generation' "$(generations)" "$was"
is 'file and mode are as before' "$(stat -c '%a %U %h' "$STORE/kek.cred" "$STORE"/*/*.jwe | sort -u)" '600 root 1'
for file in "$STORE"/*/*.jwe; do
        name=${file#"$STORE"/}
        ok "the old key-encryption key does not open $name" ! opens "$kek_before" "$file"
        is "the recipe opens $name with the new one, and finds the same" "$(opens "$(kek)" "$file")" "$(opens "$kek_before" "$TREE/backup/$name")"
done
sum=$(store_sum)
ok 'a provision after it' keyrota provision
ok 'has nothing to do' unchanged
is 'what is published is as before' "$(ring_entries; entry_bytes unit:issuer.service/jwt.key)" "$ring"
ok 'and status finds nothing wrong' keyrota status

is 'it says what it did' "$(rekey 2>&1 | sed 's/key [A-Za-z0-9_-]*$/key KID/; s/one, [A-Za-z0-9_-]*,/one, KID,/')" \
        'keyrota: 4 stored files are sealed under the new key-encryption key KID
keyrota: the old one, KID, is gone: what backups hold of the store needs the kek.cred of that backup'

kid=$(kids)
kek_before=$(kek)
rm -rf "$TREE/backup"
cp -a "$STORE" "$TREE/backup"
like 'the old one can be kept' "$(rekey --keep-old 2>&1)" "the old one is kept in $STORE/kek.cred.old-$kid"
is 'in a file of root'\''s' "$(stat -c '%a %U %h' "$STORE/kek.cred.old-$kid")" '600 root 1'
is 'it is the old one' "$(kek "$STORE/kek.cred.old-$kid")" "$kek_before"
ok 'and opens what a backup has' opens "$(kek "$STORE/kek.cred.old-$kid")" "$TREE/backup/test/api.jwe"
ok 'but is not used' settled

cp "$STORE/test/api.jwe" "$STORE/test/api.jwe.refused-20200101T000000Z"
like 'files that were set aside are mentioned' "$(rekey 2>&1)" "1 file was set aside earlier, such as $STORE/test/api.jwe.refused-20200101T000000Z, and stays sealed under the old one"
rm "$STORE/test/api.jwe.refused-20200101T000000Z"

# A store from before the rekey, and one that came with its kek.cred.
cp -a "$TREE/backup/test/api.jwe" "$STORE/test/api.jwe"
like 'a file of a backup from before is refused in words that fit' "$(provision 2>&1)" "test/api.jwe is sealed under another key-encryption key .*restore the one that it was made with"
refuses 'a file under a key-encryption key that is gone' "api.jwe is sealed under another key-encryption key" rekey
rm -rf "$STORE"
cp -a "$TREE/backup" "$STORE"
ok 'a whole backup from before is taken' provision
is 'with every secret' "$(keys)" "$before"
ok 'and rekeyed' rekey
ok 'completely' settled
cp -a "$TREE/backup/kek.cred" "$TREE/backup/test" "$TREE/backup/staging" "$STORE"
ok 'so is one without the note of the last rekey' provision
is 'which is put right' "$(cat "$STORE/kek.kid")" "$(kids)"
is 'again with every secret' "$(keys)" "$before"

# ---- what it refuses -------------------------------------------------------------------------------
cp "$STORE/test/api.jwe" "$TREE/kept"
cp "$STORE/test/issuer.jwe" "$TREE/kept2"
last=$(tail -c 1 "$STORE/test/api.jwe")
truncate -s -1 "$STORE/test/api.jwe"
if [[ $last == A ]]; then printf Q; else printf A; fi >>"$STORE/test/api.jwe" # of A, Q, g and w, which end a tag
truncate -s 40 "$STORE/test/issuer.jwe"
refuses 'a forged file' '^keyrota: test/api: .*api.jwe is not authentic' rekey
refuses 'every one that does not open is named' '^keyrota: test/issuer: .*issuer.jwe is torn' rekey
refuses 'what to do is said' '2 of 4 stored files cannot be opened, so that nothing was changed; put them right, or move them out of the store' rekey
cat "$TREE/kept" >"$STORE/test/api.jwe"
cat "$TREE/kept2" >"$STORE/test/issuer.jwe"
cp "$TREE/kept" "$STORE/staging/login.jwe.save"
cat "$TREE/kept" >"$STORE/staging/other.jwe"
chmod 0600 "$STORE/staging/other.jwe"
refuses 'a file of another name' 'other.jwe is for test/api, not for staging/other' rekey
rm "$STORE/staging/other.jwe" "$STORE/staging/login.jwe.save"
chmod 0644 "$STORE/test/api.jwe"
refuses 'a file open to others' 'api.jwe is open to others than root' rekey
chmod 0600 "$STORE/test/api.jwe"
chmod 0777 "$STORE/staging"
refuses 'a folder open to others' 'staging can be written by others than root' rekey
chmod 0700 "$STORE/staging"
mv "$STORE/staging" "$TREE/moved"
ln -s "$TREE/moved" "$STORE/staging"
refuses 'a link in the place of a folder' 'staging is not a folder' rekey
rm "$STORE/staging"
mv "$TREE/moved" "$STORE/staging"
echo 'nonsense' >"$TREE/etc/keyrota/keyrota.conf"
refuses 'a broken keyrota.conf' 'keyrota.conf has errors, so that it is not known how to seal' rekey
rekey 2>/dev/null
is 'with the status of a wrong policy' $? 78
rm "$TREE/etc/keyrota/keyrota.conf"
refuses 'an argument' 'rekey takes no argument' rekey api
cp "$STORE/kek.cred" "$TREE/kept"
truncate -s -8 "$STORE/kek.cred"
refuses 'a damaged kek.cred' 'kek.cred cannot be opened: .*nothing was changed' rekey
cat "$TREE/kept" >"$STORE/kek.cred"

# elsewhere SCRIPT: in a mount namespace of its own, with $1 keyrota, $2 the tree and $3 its store
elsewhere() {
        unshare -m --propagation=private bash -c "$1" -- "$KEYROTA" "$TREE" "$STORE"
}
if elsewhere true 2>/dev/null; then
        # shellcheck disable=SC2016 # for the shell in there
        refuses 'a store that is read-only' 'Read-only file system' elsewhere 'mount --bind "$3" "$3" && mount -o remount,ro,bind "$3" && "$1" --root="$2" rekey'
        # shellcheck disable=SC2016
        refuses 'no systemd-creds' 'cannot run /usr/bin/systemd-creds' elsewhere 'mount --bind /dev/null /usr/bin/systemd-creds && "$1" --root="$2" rekey'
        # A store on a file system of 64 pages. All but $4 of them are taken.
        # shellcheck disable=SC2016
        full='mount -t tmpfs -o size=256k,mode=0700 none "$3" && cp -a "$2/full/." "$3" && dd if=/dev/zero of="$3/big" bs=4k 2>/dev/null; truncate -s -PAGESk "$3/big"
                "$1" --root="$2" rekey; status=$?; rm -rf "$2/after"; cp -a "$3" "$2/after"; exit $status'
        for pages in 0 1 2 3; do
                cp -a "$STORE" "$TREE/full"
                ok "a full disk ($pages pages free): it fails" ! elsewhere "${full/PAGES/$((4 * pages))}"
                rm -rf "$STORE" "$TREE/after/big"
                mv "$TREE/after" "$STORE"
                is '... and every secret is still there' "$(keys)" "$before"
                ok '... which provision finds too' provision
                ok '... and with room the rekey completes' rekey
                ok '... in whole' settled
                is '... with every secret' "$(keys)" "$before"
                rm -rf "$TREE/full"
        done
else
        skip 'read-only, without systemd-creds, on a full disk' 'no mount namespace here'
fi

# ---- interrupted -----------------------------------------------------------------------------------
if ! strace -o /dev/null true 2>/dev/null; then
        skip 'interrupted' 'strace cannot trace here'
        done_testing
        # shellcheck disable=SC2317 # skip does not end the script
        exit
fi

base() {
        rm -rf "$TREE/base"
        cp -a "$STORE" "$TREE/base"
}
reset() {
        rm -rf "$STORE"
        cp -a "$TREE/base" "$STORE"
}
# traced STRACE-OPTION... -- VERB...: quietly, also about being killed
traced() {
        local options=()
        while [[ $1 != -- ]]; do options+=("$1"); shift; done
        shift
        (strace -qq -o "$TREE/trace" "${options[@]}" "$KEYROTA" --root="$TREE" "$@" >/dev/null 2>&1; exit $?) 2>/dev/null
}
changing=write,fsync,syncfs,renameat,renameat2,unlinkat,linkat,mkdirat
# "NAME LAST" of the calls that change files in such a run
calls() {
        reset
        traced -e "trace=$changing" -- "$@" || return
        sed -n 's/^\([a-z0-9_]*\)(.*/\1/p' "$TREE/trace" | sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)/\2 \1/'
}
# After whatever happened: everything reads, provision works and loses nothing, the rekey completes.
survives() {
        [[ $(keys 2>&1) == "$before" ]] || { echo "reading gives: $(keys 2>&1 >/dev/null)"; return 1; }
        provision || return
        [[ $(kek) == '{"kty":'* ]] || { rekey || return; }
        settled || return
        [[ $(keys 2>&1) == "$before" && $(generations) == "$was" ]] || { echo 'the next rekey lost a secret'; return 1; }
}
matrix() {
        local name last n problem
        while read -r name last; do
                problem=
                for (( n = 1; n <= last; n++ )); do
                        reset
                        traced -e "inject=$name:signal=KILL:when=$n" -- "$@"
                        (( $? == 137 )) || { problem="it was not killed"; break; }
                        problem=$(survives 2>&1) || break
                        problem=
                done
                if [[ $problem ]]; then fail "$what, killed before $name" "at call $n: $problem"
                else pass "$what, killed before $name: $last times"; fi
        done < <(calls "$@")
}
failing() {
        local error=$1 name last n problem
        shift
        while read -r name last; do
                problem=
                for (( n = 1; n <= last; n++ )); do
                        reset
                        traced -e "inject=$name:error=$error:when=$n" -- "$@"
                        (( $? < 2 )) || { problem="it crashed"; break; }
                        problem=$(survives 2>&1) || break
                        problem=
                done
                if [[ $problem ]]; then fail "$what, $name gives $error" "at call $n: $problem"
                else pass "$what, $name gives $error: $last times"; fi
        done < <(calls "$@")
}

rm "$POLICY/issuer.ini" "$STORE/test/issuer.jwe"
secrets=(api login old)
before=$(keys)
was=$(generations)
base
# names VERB...: the calls that sync and rename in such a run, in order
names() {
        traced -e trace=fsync,fdatasync,syncfs,renameat,linkat -- "$@" || echo failed
        sed -n 's/^\([a-z0-9_]*\)(.*/\1/p' "$TREE/trace" | paste -sd' '
}
is 'each step is durable before the next: both keys, the note, the files, all that was ever renamed, the new key alone' "$(names rekey)" \
        "$(echo fsync renameat fsync, fsync renameat fsync, syncfs renameat renameat renameat fsync fsync, syncfs syncfs syncfs, fsync renameat fsync | tr -d ,)"
reset
what='a rekey'
matrix rekey
failing ENOSPC rekey
what='a rekey that keeps the old one'
matrix rekey --keep-old

# Killed when one file of three is under the new one.
reset
is '(half of a rekey)' "$(traced -e inject=renameat:signal=KILL:when=4 -- rekey; echo $?)" 137
is 'half of the files are under either' "$(kids | wc -l)" 2
like 'kek.cred holds both, as a JWK Set' "$(kek)" '^\{"keys":\[\{"kty":"oct","kid":"[A-Za-z0-9_-]{22}","alg":"A256GCM","k":"[A-Za-z0-9_-]{43}"\},\{"kty":"oct",.*\}\]\}$'
for file in "$STORE"/*/*.jwe; do
        n=$(header "$file" | grep -qF -- "$(kek | sed 's/.*,{//; s/.*"kid":"\([^"]*\)".*/\1/')"; echo $((! $?)))
        ok "so that the recipe opens ${file#"$STORE"/}, with the one that its header names" opens "$(kek | jose fmt -j- -Og keys -Ag "$n" -o-)" "$file"
done
is 'every secret reads' "$(keys)" "$before"
base
what='a rekey that completes another'
matrix rekey
failing EIO rekey
reset
is 'a run in between makes the state that it found durable before anything else' "$(names provision | cut -d' ' -f1)" fsync
put extra HS256
ok 'a new secret is made in between' provision
is 'under the new one' "$(header "$STORE/test/extra.jwe" | sed -n 's/.*"kid":"\([^"]*\)".*/\1/p')" "$(kek | sed -n 's/^{"keys":\[{"kty":"oct","kid":"\([^"]*\)".*/\1/p')"
secrets+=(extra)
before=$(keys)
was=$(generations)
new=$(kek | sed -n 's/^{"keys":\[{"kty":"oct","kid":"\([^"]*\)".*/\1/p')
like 'the next run says that it completes' "$(rekey 2>&1)" 'completing the rekey that was interrupted'
ok 'and does' settled
is 'under the same new one' "$(kids)" "$new"
is 'every secret is what it was' "$(keys)" "$before"

reset
put extra HS256
truncate -s 30 "$STORE/test/api.jwe"
find "$STORE" -name '.#*' -delete # which every run does
refuses 'a damaged file in the middle of a rekey' 'api.jwe is torn' rekey

# ---- a run that got the old key before, and the lock after -----------------------------------------
rm -rf "$STORE"
rm -f "$POLICY"/*.ini
put api HS256
provision 2>/dev/null
secrets=(api)
base
before=$(keys)
put aa HS256 # the first in order: the run writes it before it has read any other
secrets+=(aa)
traced -e trace=openat -- provision
nth=$(grep '^openat(' "$TREE/trace" | sed -n '/"\.lock"/{=;q}')
reset
kid=$(kids)
rm "$TREE/trace"
strace -qq -o "$TREE/trace" -e "inject=openat:signal=STOP:when=$nth" "$KEYROTA" --root="$TREE" provision >"$TREE/output" 2>&1 &
tracer=$!
until grep -q 'stopped by SIGSTOP' "$TREE/trace" 2>/dev/null || ! kill -0 $tracer 2>/dev/null; do sleep 0.05; done
ok '(a run is stopped before it takes the lock)' kill -0 $tracer
ok 'a rekey meanwhile' rekey
stopped=$(pgrep -P $tracer)
kill -CONT "$stopped"
wait $tracer
is 'the run goes on to its end' $? 0
ok 'it has made its key' test -e "$STORE/test/aa.jwe"
ok 'under the new key-encryption key' test "$kid" != "$(kids)"
ok 'so that nothing is under the old one' settled
secrets=(api)
is 'and the old secret is what it was' "$(keys)" "$before"
secrets=(aa api)
ok 'the new one can be read' keys

# ---- all at once -----------------------------------------------------------------------------------
problem=
known=$(keys)
for (( round = 1; round <= 12; round++ )); do
        put "a$round" HS256
        jobs=()
        for verb in provision rekey provision rekey; do
                "$KEYROTA" --root="$TREE" $verb >"$TREE/log.${#jobs[@]}" 2>&1 &
                jobs+=($!)
        done
        # A reader takes no lock, and never meets a file that it cannot open.
        while kill -0 "${jobs[@]}" 2>/dev/null; do
                [[ $(keys 2>&1) == "$known" ]] || problem="a reader found: $(keys 2>&1 >/dev/null)"
        done
        for i in "${!jobs[@]}"; do
                wait "${jobs[i]}" || problem="in round $round: $(cat "$TREE/log.$i")"
        done
        settled >"$TREE/log.settled" || problem="in round $round: $(cat "$TREE/log.settled")"
        [[ $(keys) == "$known" ]] || problem="in round $round a secret is lost"
        secrets+=("a$round")
        known=$(keys) || problem="in round $round the new secret does not open"
        [[ -z $problem ]] || break
done
is 'provisions, rekeys and readers at once, 12 times' "$problem" ''

# ---- many ------------------------------------------------------------------------------------------
for (( i = 0; i < 600; i++ )); do put "many$i" HS256; done
ok '(many secrets)' provision
secrets+=(many0 many599)
before=$(keys)
sum=$(generations)
if command -v script >/dev/null; then
        like 'progress is shown on a terminal' "$(script -qec "'$KEYROTA' --root='$TREE' rekey" /dev/null </dev/null)" 'Sealing files: 2[0-9]* of ([0-9]+).*[^0-9]\1 stored files are sealed'
else
        ok 'they are rekeyed' rekey
fi
ok 'all of them' settled
is 'and are what they were' "$(keys; generations)" "$before
$sum"

done_testing
