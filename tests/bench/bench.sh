#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make bench: what provisioning costs, against the same work done by openssl and systemd-creds in a shell loop. Every figure is the median of RUNS runs,
# taken in turns so that both sides see the same machine; the ratios are what to compare, not the seconds.
#
# Environment: POLICIES (1000), LOOP (how many secrets the shell loop makes, scaled up: 50), RUNS (5).

. "$(dirname "$0")/../scratch.sh" || exit 99

POLICIES=${POLICIES:-1000}
LOOP=${LOOP:-50}
RUNS=${RUNS:-5}
TIMEFORMAT='%U %S %R'

# cost COMMAND...: "CPU-seconds wall-seconds"
cost() {
        local user system wall
        read -r user system wall < <( { time "$@" >/dev/null 2>&1; } 2>&1 )
        awk -v u="$user" -v s="$system" -v w="$wall" 'BEGIN { printf "%.4f %.4f\n", u + s, w }'
}

# median COLUMN < lines
median() {
        awk -v c="$1" '{ print $c }' | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

row() {
        printf '%-58s %9.3f s CPU %9.3f s wall\n' "$1" "$(median 1 <<<"$2")" "$(median 2 <<<"$2")"
}

ratio() {
        awk -v a="$(median "$3" <<<"$1")" -v b="$(median "$3" <<<"$2")" -v t="$4" 'BEGIN { printf "    %s: %.1f times as much\n", t, a / b }'
}

write_policies() {
        local i algorithm format
        for (( i = 0; i < POLICIES; i++ )); do
                algorithm=ES256 format=pem
                (( i % 2 )) || { algorithm=HS256 format=hex; }
                printf '[secret]\nalgorithm = %s\n[deliver:bench%d.service]\nuse = sign\ncredential = jwt.key\nformat = %s\n' \
                        "$algorithm" "$i" "$format" >"$POLICY/bench$i.ini"
        done
}

# What an administrator's script does: a key from openssl, sealed by systemd-creds, one file each.
shell_loop() {
        local i folder=$TREE/loop
        mkdir -p "$folder"
        for (( i = 0; i < LOOP; i++ )); do
                if (( i % 2 )); then
                        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256
                else
                        openssl rand -hex 32
                fi | SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret \
                        systemd-creds encrypt --name="bench$i" --with-key=host - "$folder/bench$i.cred"
        done
        rm -rf "$folder"
}

load_loop() {
        local i
        for (( i = 0; i < LOOP; i++ )); do
                SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret \
                        systemd-creds decrypt --name=bench "$TREE/one.cred" - >/dev/null
        done
}

scale() {
        awk -v f="$(( POLICIES / LOOP ))" '{ printf "%.4f %.4f\n", $1 * f, $2 * f }'
}

write_policies
keyrota setup
echo sample | SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret \
        systemd-creds encrypt --name=bench --with-key=host - "$TREE/one.cred" 2>/dev/null

make= loop= idle= load= loads=
for (( run = 0; run < RUNS; run++ )); do
        drop_ring
        rm -rf "$STORE/test"
        make+=$(cost keyrota provision)$'\n'
        loop+=$(cost shell_loop | scale)$'\n'
        idle+=$(cost keyrota provision)$'\n'
        drop_ring
        load+=$(cost keyrota provision)$'\n'
        loads+=$(cost load_loop | scale)$'\n'
done
make=${make%$'\n'} loop=${loop%$'\n'} idle=${idle%$'\n'} load=${load%$'\n'} loads=${loads%$'\n'}

echo "$POLICIES policies, half HS256 and half ES256; medians of $RUNS runs"
row 'provision: make, seal, store, publish' "$make"
row "openssl and systemd-creds in a loop ($LOOP, scaled)" "$loop"
ratio "$loop" "$make" 1 'the loop, CPU'
row 'provision after a boot: open, publish' "$load"
row "systemd-creds decrypt in a loop ($LOOP, scaled)" "$loads"
ratio "$loads" "$load" 1 'the loop, CPU'
row 'provision with nothing to do' "$idle"

# RSA must not hold up the others: how soon the last key of another kind is published, with and without 8 RSA secrets beside it.
for (( i = 0; i < 8; i++ )); do
        printf '[secret]\nalgorithm = RS256\n[deliver:rsa%d.service]\nuse = sign\ncredential = jwt.key\nformat = pem\n' "$i" >"$POLICY/rsa$i.ini"
done
drop_ring
rm -rf "$STORE/test"
deferred=$(cost keyrota provision --defer-rsa)
rsa=$(cost keyrota provision)
row 'the same with 8 RSA secrets, --defer-rsa' "$deferred"
row 'and then the 8 RSA-3072 keys' "$rsa"
