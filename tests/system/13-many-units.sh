#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# 300 services that start at once, with 100 secrets, are all served and each with its own, also when the server comes
# and goes meanwhile. What the server takes of memory for it, and how exposed keyrota's units are.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"

SECRETS=100

# wrong_ones: the names of those whose credential is not that of their secret; what is right about it is in
# $SCRATCH/wanted.
wrong_ones() {
        local unit n
        for unit in "${units[@]}"; do
                n=${unit//[!0-9]/}
                tar -xf "$SCRATCH/credentials/$unit.tar" -O ./key 2>/dev/null | cmp -s - "$SCRATCH/wanted/$n" || echo "$unit"
        done
}

# verdicts: of all that is on record since the mark: number, event.
verdicts() {
        journal --output=json --all | jq -r 'select(._UID == "0") | .KEYROTA_EVENT // empty | select(startswith("credential-"))' |
                sort | uniq -c | xargs
}

# all_at_once DESCRIPTION
all_at_once() {
        systemctl stop "${units[@]}"
        rm -f "$SCRATCH"/credentials/*.tar
        journal_mark
        ok "$1: none fails" systemctl start "${units[@]}"
        is "... each has the credential of its own secret" "$(wrong_ones)" ""
        is "... each fetch is on record, and no refusal" "$(verdicts)" "${#units[@]} credential-served"
        is "... and no unit has failed" "$(failed_units)" ""
}

processes() {
        cat "/sys/fs/cgroup/system.slice/keyrota-credential.service/cgroup.procs"
}

wait_for_boot
environment_set testing
user_make somebody

consumer_write shared@.service User=somebody
units=()
for ((n = 1; n <= SECRETS; n++)); do
        consumer_write "plain-$n.service"
        consumer_write "user-$n.service" User=somebody
        units+=("plain-$n.service" "user-$n.service" "shared@$n.service")
        policy_make "secret-$n" HS256 "$(deliver "plain-$n.service" sign key hex
                deliver "user-$n.service" verify key hex
                deliver "shared@$n.service" sign key hex)"
done
systemctl daemon-reload
ok "$SECRETS secrets are provisioned" keyrota provision
for ((n = 1; n <= SECRETS; n++)); do
        keyrota read "secret-$n" --use=sign --format=hex >"$SCRATCH/wanted/$n"
done
is "... with keys of which no two are the same" "$(cd "$SCRATCH/wanted" && sha256sum -- * | cut -d' ' -f1 | sort -u | wc -l)" $SECRETS

# ---- the server comes and goes -----------------------------------------------------------------------------

# With idle time-outs at the worst moments: poll(2) says that nobody has asked, from the nth call on, while many do. Three
# servers end before they have answered anybody, the fourth after those who waited for it.
systemctl stop keyrota-credential.service
server_traceable
idle=(1 1 1 3)
for n in "${idle[@]}"; do
        trace_next -o /dev/null -e trace=poll -e "inject=poll:retval=0:when=$n+"
done
all_at_once "${#units[@]} services at once, and a server that ends ${#idle[@]} times for want of work"
wait_for 30 eval '(( $(wc -l <"$SCRATCH/ends") >= ${#idle[@]} ))'
is "... which it did" "$(head -n ${#idle[@]} "$SCRATCH/ends" | sort | uniq -c | xargs)" "${#idle[@]} exited 0"

rm /etc/systemd/system/keyrota-credential.service.d/traceable.conf
systemctl daemon-reload
systemctl stop keyrota-credential.service

# ---- as it is ----------------------------------------------------------------------------------------------

all_at_once "${#units[@]} services at once, and a server that stays"

is "the server is two processes" "$(processes | wc -l)" 2
total=0 peak=0
for pid in $(processes); do
        name=$(cat "/proc/$pid/comm")
        rss=$(awk '$1 == "Rss:" { print $2 }' "/proc/$pid/smaps_rollup")
        diag "$name: $rss kB, of which it shares with no process $(awk '/^Private/ { n += $2 } END { print n }' "/proc/$pid/smaps_rollup")"
        total=$((total + rss))
        peak=$((peak + $(awk '$1 == "VmHWM:" { print $2 }' "/proc/$pid/status")))
        is "$name runs without privileges, filtered, and with none to gain" \
                "$(awk '/^(CapEff|CapBnd|NoNewPrivs|Seccomp):/ { print $2 }' "/proc/$pid/status" | xargs)" "0000000000000000 0000000000000000 1 2"
done
ok "after all these both have less than 4 MB resident ($total kB)" test "$total" -gt 0 -a "$total" -lt 4000
ok "... and never had more ($peak kB)" test "$peak" -gt 0 -a "$peak" -lt 4000

# ---- how exposed -------------------------------------------------------------------------------------------

for limit in "10 keyrota-credential" "15 keyrota-provision" "15 keyrota-provision-rsa" "15 keyrota-setup"; do
        read -r limit unit <<<"$limit"
        ok "$unit.service, as systemd has loaded it, is exposed at most $((limit / 10)).$((limit % 10))" \
                systemd-analyze security --no-pager --threshold="$limit" "$unit.service"
done

done_testing
