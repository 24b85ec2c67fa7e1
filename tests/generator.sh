#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Drives the built keyrota-generator ($KEYROTA_GENERATOR) over trees of its own and looks at the drop-ins that
# it writes. Prints TAP.

set -u
unset SYSTEMD_SCOPE SYSTEMD_IN_INITRD

generator=${KEYROTA_GENERATOR:?set KEYROTA_GENERATOR to the built keyrota-generator}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-generator.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
umask 0022

tree=$scratch/tree out=$scratch/out
n=0 failed=0

# begin: an empty tree and an empty output.
begin() {
        rm -rf "$tree" "$out"
        mkdir -p "$tree/etc/keyrota/policy.d" "$tree/var/lib/keyrota" "$out/normal" "$out/early" "$out/late"
}

# policy NAME: its text from standard input.
policy() {
        cat >"$tree/etc/keyrota/policy.d/$1.ini"
}

# good NAME UNIT CREDENTIAL [ALGORITHM [FORMAT]]
good() {
        policy "$1" <<-END
	[secret]
	environment = test
	algorithm = ${4:-ES256}
	[deliver:$2]
	use = sign
	credential = $3
	format = ${5:-pem}
	END
}

last_good() {
        cat >"$tree/var/lib/keyrota/deliveries"
        chmod 600 "$tree/var/lib/keyrota/deliveries"
}

generate() {
        "$generator" --root "$tree" "$out/normal" "$out/early" "$out/late" 2>"$scratch/stderr"
}

# ok DESCRIPTION COMMAND...: one test.
ok() {
        description=$1
        shift
        n=$((n + 1))
        if "$@"; then
                echo "ok $n - $description"
        else
                failed=$((failed + 1))
                echo "not ok $n - $description"
                sed 's/^/# stderr: /' "$scratch/stderr"
                find "$out" -type f | while read -r file; do
                        echo "# ${file#"$out"/}:"
                        sed 's/^/#   /' "$file"
                done
        fi
}

drop_in() {
        echo "$out/normal/$1.d/50-keyrota-$2.conf"
}

# has UNIT SECRET LINE: the drop-in has exactly this line. lacks: it is there and does not.
has() {
        grep -qxF -e "$3" "$(drop_in "$1" "$2")"
}

lacks() {
        test -e "$(drop_in "$1" "$2")" && ! grep -qF -e "$3" "$(drop_in "$1" "$2")"
}

# files COUNT: that many files were written, in the normal directory alone.
files() {
        test "$(find "$out" -type f | wc -l)" -eq "$1" && test "$(find "$out/normal" -type f | wc -l)" -eq "$1"
}

said() {
        grep -qF -e "$1" "$scratch/stderr"
}

silent() {
        ! test -s "$scratch/stderr"
}

load() {
        echo "LoadCredential=$1:/run/keyrota/credential/socket"
}

begin
ok 'no policies: done' generate
ok 'no policies: nothing written' files 0
ok 'no policies: nothing said' silent

begin
good billing billing.service jwt.key
ok 'a policy: done' generate
ok 'a policy: one drop-in' files 1
ok 'a policy: in words' cmp -s "$(drop_in billing.service billing)" - <<END
# Made by keyrota-generator from the policy of the secret billing

[Unit]
Wants=keyrota-provision.service keyrota-credential.socket
After=keyrota-provision.service keyrota-credential.socket

[Service]
LoadCredential=jwt.key:/run/keyrota/credential/socket
END
ok 'a policy: readable by all' test "$(stat -c %a "$(drop_in billing.service billing)")" = 644
ok 'a policy: nothing said' silent
ok 'again into the same directory: done' generate
ok 'again: the same' files 1

begin
good a gateway@.service a.key
good b gateway@eu-1.service b.key
good c 'dev-disk\x2dby.service' c.key
generate
ok 'a template' has gateway@.service a "$(load a.key)"
ok 'an instance' has gateway@eu-1.service b@instance "$(load b.key)"
ok 'an escaped name' has 'dev-disk\x2dby.service' c "$(load c.key)"

begin
good a api.service a.key
good b api.service b.key HS256 hex
generate
ok 'two secrets for one unit: the first' has api.service a "$(load a.key)"
ok 'two secrets for one unit: the second' has api.service b "$(load b.key)"
ok 'two secrets for one unit: two drop-ins' files 2

begin
good rs rs.service k RS256
good ps ps.service k PS512
good es es.service k ES512
good ed ed.service k EdDSA
good hs hs.service k HS256 raw
generate
for unit in rs ps; do
        ok "$unit waits for RSA keys" has $unit.service $unit \
                'After=keyrota-provision.service keyrota-provision-rsa.service keyrota-credential.socket'
        ok "$unit wants RSA keys" has $unit.service $unit \
                'Wants=keyrota-provision.service keyrota-provision-rsa.service keyrota-credential.socket'
done
for unit in es ed hs; do
        ok "$unit does not wait for RSA keys" lacks $unit.service $unit rsa
done

begin
good a a.service k
echo 'on_change = reload' >>"$tree/etc/keyrota/policy.d/a.ini"
good b b.service k
generate
ok 'reload renews credentials' has a.service a RefreshOnReload=credentials
ok 'restart does not' lacks b.service b RefreshOnReload

begin
policy a <<END
[secret]
environment = test
algorithm = RS256
[deliver:reader.service]
use = verify
on_change = reload
END
generate
ok 'a reader of the public file is ordered' has reader.service a 'After=keyrota-provision.service keyrota-provision-rsa.service'
ok 'a reader of the public file loads nothing' lacks reader.service a '[Service]'
ok 'a reader of the public file is not refreshed' lacks reader.service a RefreshOnReload

begin
good good good.service k
good bad bad.service k
echo 'mode = 0600' >>"$tree/etc/keyrota/policy.d/bad.ini"
ok 'a broken policy: done all the same' generate
ok 'a broken policy: the others go on' has good.service good "$(load k)"
ok 'a broken policy: its unit asks for the credential' has bad.service bad "$(load k)"
ok 'a broken policy: file, line and what to do are said' said \
        "/etc/keyrota/policy.d/bad.ini:8: unknown key \"mode\" in [deliver:bad.service]; known are use, credential, format, newline, on_change and max_unavailable"

begin
policy bad </dev/null
last_good <<END
# comment
bad.service k bad
bad.service k2 bad
other.service * bad
rsa.service k bad rsa refresh
gone.service k gone
END
generate
ok 'an empty policy: the last good one counts' has bad.service bad "$(load k)"
ok 'an empty policy: and each of its credentials' has bad.service bad "$(load k2)"
ok 'an empty policy: and each of its readers' has other.service bad 'After=keyrota-provision.service'
ok 'an empty policy: and its ordering' has rsa.service bad 'After=keyrota-provision.service keyrota-provision-rsa.service keyrota-credential.socket'
ok 'an empty policy: and its refreshing' has rsa.service bad RefreshOnReload=credentials
ok 'a policy that was removed: nothing' test ! -e "$out/normal/gone.service.d"

begin
good bad new.service new
echo '[' >>"$tree/etc/keyrota/policy.d/bad.ini"
last_good <<END
old.service old bad
new.service old bad
END
generate
ok 'a broken policy: what it says now' has new.service bad "$(load new)"
ok 'a broken policy: and what it said' has new.service bad "$(load old)"
ok 'a broken policy: to whom it said it' has old.service bad "$(load old)"

begin
policy bad <<END
[deliver:x.service]
credential = k
END
generate
ok 'a broken policy of an unknown algorithm waits for RSA keys' has x.service bad \
        'After=keyrota-provision.service keyrota-provision-rsa.service keyrota-credential.socket'

begin
policy bad <<END
[secret]
algorithm = HS256
[deliver:new.service]
use = verify
[deliver:worse.service]
credential = a/b
[deliver:old.service]
use = sign
END
policy public <<END
[secret]
algorithm = ES256
[deliver:reader.service]
use = verify
mode = 0600
END
last_good <<END
old.service k bad
END
generate
ok 'a broken policy: who has no credential there is refused' has new.service bad "$(load broken-keyrota-policy)"
ok 'a broken policy: and who has an impossible one' has worse.service bad "$(load broken-keyrota-policy)"
ok 'a broken policy: but not who has a last good one' lacks old.service bad broken-keyrota-policy
ok 'a broken policy: nor who reads the public file' lacks reader.service public LoadCredential

begin
good good good.service k
last_good <<END
old.service k good
END
generate
ok 'a good policy: the last good list does not count' test ! -e "$out/normal/old.service.d"

begin
good unsafe unsafe.service k
chmod 666 "$tree/etc/keyrota/policy.d/unsafe.ini"
last_good <<END
old.service k unsafe
END
generate
ok 'an unsafe file: nothing in it is believed' test ! -e "$out/normal/unsafe.service.d"
ok 'an unsafe file: the last good one counts' has old.service unsafe "$(load k)"

begin
good a a.service k
echo 'audit = always' >"$tree/etc/keyrota/keyrota.conf"
generate
ok 'a broken keyrota.conf: credentials are asked for' has a.service a "$(load k)"
ok 'a broken keyrota.conf: it is said' said '/etc/keyrota/keyrota.conf:1: '

begin
rmdir "$tree/etc/keyrota/policy.d"
mkfifo "$tree/etc/keyrota/policy.d"
last_good <<END
old.service k old
END
ok 'a policy folder that is none: done' generate
ok 'a policy folder that is none: the last good ones count' has old.service old "$(load k)"

begin
policy bad </dev/null
last_good <<END
../../etc/x.service k bad
bad.service ../k bad
bad.service k ../bad
bad.service k%n bad
bad.service
bad.service k bad root
bad.service good bad
END
generate
ok 'forged lines are passed over' files 1
ok 'forged lines are passed over, the others not' has bad.service bad "$(load good)"
ok 'forged lines are counted' said '6 lines passed over'

begin
policy bad </dev/null
last_good <<END
bad.service k bad
END
chmod 622 "$tree/var/lib/keyrota/deliveries"
ok 'a list that others can write: done' generate
ok 'a list that others can write: not believed' files 0

begin
good a a.service k
mkdir -p "$out/normal/a.service.d/50-keyrota-a.conf"
good b b.service k
ok 'a drop-in that cannot be written: failed' sh -c '! "$@" 2>"$0"' "$scratch/stderr" "$generator" --root "$tree" "$out/normal" "$out/early" "$out/late"
ok 'a drop-in that cannot be written: said' said 'the drop-in of a.service for the secret a cannot be written'
ok 'a drop-in that cannot be written: the others are' has b.service b "$(load k)"

begin
i=0
while [ $i -lt 40 ]; do
        policy "bad$i" </dev/null
        i=$((i + 1))
done
generate
ok 'no flood of complaints' test "$(wc -l <"$scratch/stderr")" -eq 21
ok 'no flood of complaints: the rest is counted' said '20 more errors in policies; run keyrota check to see them'

begin
good a a.service k
SYSTEMD_SCOPE=user "$generator" --root "$tree" "$out/normal" "$out/early" "$out/late" 2>"$scratch/stderr"
ok "a user's manager: nothing" files 0
SYSTEMD_IN_INITRD=1 "$generator" --root "$tree" "$out/normal" "$out/early" "$out/late" 2>"$scratch/stderr"
ok 'in the initrd: nothing' files 0
SYSTEMD_SCOPE=system SYSTEMD_IN_INITRD=0 "$generator" --root "$tree" "$out/normal" "$out/early" "$out/late" 2>"$scratch/stderr"
ok "the system's manager: all" files 1
"$generator" 2>"$scratch/stderr"
ok 'no arguments: usage' said 'Usage: keyrota-generator'

begin
good a a.service k
good b b.service k HS256 hex
echo '[' >>"$tree/etc/keyrota/policy.d/b.ini"
generate
if command -v systemd-analyze >/dev/null; then
        mkdir -p "$scratch/unit"
        for unit in a b; do
                printf '[Service]\nExecStart=/bin/true\n' >"$out/normal/$unit.service"
        done
        ok 'systemd reads the drop-ins' sh -c 'systemd-analyze verify --man=no --recursive-errors=no "$1/a.service" "$1/b.service" 2>"$0"; ! grep -e "50-keyrota" "$0"' \
                "$scratch/stderr" "$out/normal"
else
        n=$((n + 1))
        echo "ok $n - systemd reads the drop-ins # SKIP no systemd-analyze"
fi

echo "1..$n"
test "$failed" -eq 0
