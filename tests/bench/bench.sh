#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make bench: what provisioning costs, against the same work done by openssl and systemd-creds in a shell loop; what a rotation costs, against the flushes
# to disk that it cannot do without; and what a look at many secrets costs when nothing is due. Every figure is the median of several runs, taken in turns so
# that both sides see the same machine; the ratios are what to compare, not the seconds.
#
#     bench.sh [provision | rotate-one | rotate-many | idle]...       (all)
#
# Environment: POLICIES (1000), LOOP (how many secrets the shell loop makes, scaled up: 50), RUNS (5), IDLE (how many policies are looked at: 10000).

. "$(dirname "$0")/../scratch.sh" || exit 99
. "$(dirname "$0")/../changes.sh" || exit 99

POLICIES=${POLICIES:-1000}
LOOP=${LOOP:-50}
RUNS=${RUNS:-5}
IDLE=${IDLE:-10000}
TIMEFORMAT='%U %S %R'

# cost COMMAND...: "CPU-seconds wall-seconds"
cost() {
        local user system wall
        read -r user system wall < <( { time "$@" >/dev/null 2>&1; } 2>&1 )
        awk -v u="$user" -v s="$system" -v w="$wall" 'BEGIN { printf "%.4f %.4f\n", u + s, w }'
}

# median COLUMN < lines
median() {
        awk -v c="$1" 'NF { print $c }' | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

row() {
        printf '%-58s %9.3f s CPU %9.3f s wall\n' "$1" "$(median 1 <<<"$2")" "$(median 2 <<<"$2")"
}

# ratio LINES LINES COLUMN TEXT
ratio() {
        awk -v a="$(median "$3" <<<"$1")" -v b="$(median "$3" <<<"$2")" -v t="$4" 'BEGIN { printf "    %s: %.1f times as much\n", t, a / b }'
}

# each TEXT LINES N: of one of N
each() {
        awk -v c="$(median 1 <<<"$2")" -v w="$(median 2 <<<"$2")" -v n="$3" -v t="$1" \
                'BEGIN { printf "    %s: %.2f ms CPU, %.2f ms wall\n", t, 1000 * c / n, 1000 * w / n }'
}

# Forgets what was made, but for the key-encryption key.
forget_keys() {
        drop_ring
        rm -rf "$STORE/test"
}

unseal() {
        SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret systemd-creds decrypt "$@" - >/dev/null
}

# ---- provisioning ------------------------------------------------------------------------------------------------------------

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
                unseal --name=bench "$TREE/one.cred"
        done
}

scale() {
        awk -v f="$(( POLICIES / LOOP ))" '{ printf "%.4f %.4f\n", $1 * f, $2 * f }'
}

bench_provision() {
        local run i make='' loop='' idle='' load='' loads=''

        write_policies
        keyrota setup 2>/dev/null
        echo sample | SYSTEMD_CREDENTIAL_SECRET=$TREE/var/lib/systemd/credential.secret \
                systemd-creds encrypt --name=bench --with-key=host - "$TREE/one.cred" 2>/dev/null
        for (( run = 0; run < RUNS; run++ )); do
                forget_keys
                make+=$(cost keyrota provision)$'\n'
                loop+=$(cost shell_loop | scale)$'\n'
                idle+=$(cost keyrota provision)$'\n'
                drop_ring
                load+=$(cost keyrota provision)$'\n'
                loads+=$(cost load_loop | scale)$'\n'
        done

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
        forget_keys
        row 'the same with 8 RSA secrets, --defer-rsa' "$(cost keyrota provision --defer-rsa)"
        row 'and then the 8 RSA-3072 keys' "$(cost keyrota provision)"
}

# ---- rotating ----------------------------------------------------------------------------------------------------------------

# solo NAME [PERIODS...]: the policy of one HMAC secret with one consumer, which needs one restart for a rotation and nobody else's evidence
solo() {
        local name=$1
        shift
        printf '[secret]\nalgorithm = HS256\n[rotation]\n'
        (( ! $# )) || printf '%s\n' "$@"
        printf '[deliver:%s.service]\nuse = sign\ncredential = jwt.key\nformat = hex\n' "$name"
}

# floor ROUNDS BYTES: the same number of files written, flushed and renamed in the store's folder, and nothing else: "CPU-seconds wall-seconds"
floor() {
        python3 - "$STORE/test" "$@" <<'END'
import os
import sys
import time

folder, rounds, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.chdir(folder)
data = os.urandom(size)
cpu, wall = time.process_time(), time.perf_counter()
for _ in range(rounds):
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    file = os.open("floor.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, data)
    os.fsync(file)
    os.close(file)
    os.rename("floor.new", "floor")
    os.fsync(directory)
    os.close(directory)
print(f"{time.process_time() - cpu:.4f} {time.perf_counter() - wall:.4f}")
os.unlink("floor")
END
}

# count REGEX < calls
count() {
        grep -cE "$1" || true
}

bench_rotate_one() {
        local run calls renames syncs bytes runs=$((3 * RUNS)) rotate='' floor='' kek='' load=''

        solo one >"$POLICY/one.ini"
        keyrota provision 2>/dev/null
        calls=$(changes rotate --now one)
        rm -f "$TREE.output"
        renames=$(count '^rename' <<<"$calls")
        syncs=$(count '^(fsync|fdatasync|syncfs|sync)' <<<"$calls")
        bytes=$(stat -c %s "$STORE/test/one.jwe")
        for (( run = 0; run < runs; run++ )); do
                forget_keys
                keyrota provision 2>/dev/null
                rotate+=$(cost keyrota rotate --now one)$'\n'
                floor+=$(floor "$renames" "$bytes")$'\n'
                kek+=$(cost unseal --name=keyrota-kek "$STORE/kek.cred")$'\n'
                load+=$(cost keyrota rotate)$'\n'
        done

        echo "One HMAC secret with one consumer; medians of $runs runs"
        row 'rotate --now: make, store, publish, store that nobody signs' "$rotate"
        row "$renames files of $bytes bytes written, flushed, renamed, flushed" "$floor"
        echo "    flushes to disk: $syncs; of the plain loop: $((2 * renames))"
        ratio "$rotate" "$floor" 2 'the rotation, wall'
        row 'rotate with nothing due' "$load"
        row 'of either, systemd-creds decrypt of the key-encryption key' "$kek"
}

# Waits for that second.
wait_until() {
        while (( EPOCHSECONDS < $1 )); do
                sleep "$(($1 - EPOCHSECONDS))"
        done
}

# By the clock, not by rotate --now: so that it is the look of the daily timer, over all of them.
bench_rotate_many() {
        local i run runs=$(((RUNS + 1) / 2)) period=12 rotated make='' rotate='' idle=''

        for (( i = 0; i < POLICIES; i++ )); do
                solo "many$i" "cryptoperiod = ${period}s" "token_lifetime = $((period - 2))s" 'jwks_max_age = 1s' 'clock_skew = 0s' >"$POLICY/many$i.ini"
        done
        keyrota setup 2>/dev/null
        for (( run = 0; run < runs; run++ )); do
                forget_keys
                make+=$(cost keyrota provision)$'\n'
                idle+=$(cost keyrota rotate)$'\n'
                wait_until "$((EPOCHSECONDS + period))"
                rotate+=$(cost keyrota rotate)$'\n'
                rotated=$(keyrota status --json | jq '[.secrets[] | select(any(.keys[]; .state == "deactivated"))] | length')
                (( rotated == POLICIES )) || { echo "only $rotated of $POLICIES were rotated" >&2; exit 1; }
        done

        echo "$POLICIES HMAC secrets, all due at once; medians of $runs runs"
        row 'provision: the first keys' "$make"
        each 'each secret' "$make" "$POLICIES"
        row 'rotate: make, store, publish, store that nobody signs' "$rotate"
        each 'each secret' "$rotate" "$POLICIES"
        ratio "$rotate" "$make" 1 'the rotation, CPU'
        ratio "$rotate" "$make" 2 'the rotation, wall'
        row 'rotate with nothing due' "$idle"
}

# ---- nothing due -------------------------------------------------------------------------------------------------------------

bench_idle() {
        local i run runs=$(((RUNS + 1) / 2)) calls idle='' kek=''

        for (( i = 0; i < IDLE; i++ )); do
                solo "idle$i" >"$POLICY/idle$i.ini"
        done
        keyrota provision 2>/dev/null
        for (( run = 0; run < runs; run++ )); do
                idle+=$(cost keyrota rotate)$'\n'
                kek+=$(cost unseal --name=keyrota-kek "$STORE/kek.cred")$'\n'
        done
        # keyctl(2) is what it reads keys with, several hundred thousand times; new keys and new values would show in the renames that come before them.
        CHANGING=${CHANGING%,keyctl}
        calls=$(changes rotate)
        rm -f "$TREE.output"

        echo "$IDLE policies with nothing due; medians of $runs runs"
        row 'rotate' "$idle"
        each 'each policy' "$idle" "$IDLE"
        row 'of that, systemd-creds decrypt of the key-encryption key' "$kek"
        echo "    written, but for what systemd-creds is told: $(count '^(p?write|sendfile|splice|copy_file_range|send)' <<<"$calls")"
        echo "    flushed to disk: $(count '^(f?sync|fdatasync|syncfs|msync)' <<<"$calls")"
        echo "    renamed, made or removed: $(count '^(rename|link|symlink|unlink|mk|rmdir|open|creat)' <<<"$calls")"
        echo "    any change at all: $(count . <<<"$calls")"
        [[ -z $calls ]] || { head -n 20 <<<"$calls"; exit 1; }
}

(( $# )) || set -- provision rotate-one rotate-many idle
for part; do
        declare -F "bench_${part//-/_}" >/dev/null || { echo "$part: no such part; there are: provision rotate-one rotate-many idle" >&2; exit 2; }
        new_tree
        "bench_${part//-/_}"
done
