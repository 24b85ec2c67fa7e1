# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the scripts that try keyrota itself have in common: policies to write, and what came of them. Sourced after lib.sh.

POLICIES=/etc/keyrota/policy.d
STORE=/var/lib/keyrota
SOCKET=/run/keyrota/credential/socket
mkdir -p "$SCRATCH/credentials"         # of consumers that an earlier boot has made

# deliver UNIT USE CREDENTIAL FORMAT [LINE...]: prints such a section.
deliver() {
        printf '%s\n' "[deliver:$1]" "use = $2" "credential = $3" "format = $4" "${@:5}"
}

# policy_make NAME ALGORITHM [TEXT...]: writes the policy; TEXT is further sections. No reload, no run.
policy_make() {
        local name=$1 algorithm=$2
        shift 2
        mkdir -p "$POLICIES"
        printf '%s\n' '[secret]' "algorithm = $algorithm" "$@" >"$POLICIES/$name.ini"
}

# environment_set NAME: where this machine belongs, as README.md says (hostnamectl does the same, by a service).
environment_set() {
        echo "DEPLOYMENT=$1" >/etc/machine-info
}

# What the kernel keyring holds, one description a line, sorted.
ring_entries() {
        local ring id
        ring=$(keyctl search @u keyring keyrota 2>/dev/null) || return
        for id in $(keyctl rlist "$ring"); do
                keyctl rdescribe "$id" '|' | cut -d'|' -f5-
        done | sort
}

# ring_header DESCRIPTION: the first line of that entry: secret, generation, kids.
ring_header() {
        keyctl pipe "$(keyctl search "$(keyctl search @u keyring keyrota)" user "$1")" | head -n 1 | tr -d '\0'
}

# All that is published, as a boot finds it.
ring_empty() {
        keyctl unlink "$(keyctl search @u keyring keyrota)" @u
}

# key_of NAME...: what tells the signing keys apart: kid and a hash of the key. Never the key.
key_of() {
        local name
        for name; do
                keyrota read "$name" --use=sign --format=jwk |
                        python3 -c 'import hashlib, json, sys; b = sys.stdin.buffer.read(); print(json.loads(b)["kid"], hashlib.sha256(b).hexdigest()[:16])'
        done
}

# generation_of ENV/NAME: of the stored file, from its header, which anybody can read.
generation_of() {
        cut -d. -f1 "$STORE/$1.jwe" | basenc --base64url -d 2>/dev/null | jq -r .gen
}

# provision_fails STATUS REGEX: keyrota provision exits with STATUS and says so.
provision_fails() {
        local wanted=$1 regex=$2 output status
        shift 2
        output=$(keyrota provision "$@" 2>&1)
        status=$?
        [[ $status == "$wanted" ]] && grep -Eq -- "$regex" <<<"$output" && return
        printf 'status %s, not %s; it said:\n%s\n' "$status" "$wanted" "$output"
        return 1
}

# status_says REGEX [NAME]: keyrota status fails and tells that.
status_says() {
        local output status
        output=$(keyrota status ${2:+"$2"} 2>&1)
        status=$?
        [[ $status == 1 ]] && grep -Eq -- "$1" <<<"$output" && return
        printf 'status %s; it said:\n%s\n' "$status" "$output"
        return 1
}

# The monotonic time of a change of a unit: InactiveExit, ActiveEnter, ActiveExit, InactiveEnter.
when() {
        systemctl show -P "$2TimestampMonotonic" "$1"
}

# What the service manager complained of that has to do with us, since the boot.
manager_complaints() {
        journalctl --sync
        journalctl --no-pager --quiet --boot --output=cat _PID=1 --priority=warning | grep -iE 'keyrota|ordering cycle' || :
}

failed_units() {
        systemctl --failed --plain --no-legend | awk '{ print $1 }' | sort | paste -sd' '
}

# hold UNIT: from the next start (or boot) on UNIT waits before it does anything, until `release UNIT` or its time-out.
hold() {
        mkdir -p "/etc/systemd/system/$1.d"
        echo "p /run/hold-$1 0600 root root -" >"/etc/tmpfiles.d/hold-$1.conf"
        printf '%s\n' '[Service]' "ExecStartPre=/bin/sh -c 'read go </run/hold-$1 || :'" "${@:2}" >"/etc/systemd/system/$1.d/hold.conf"
        systemd-tmpfiles --create "/etc/tmpfiles.d/hold-$1.conf"
        systemctl daemon-reload
}

# Lets UNIT go on, and holds it no more.
release() {
        rm -f "/etc/systemd/system/$1.d/hold.conf" "/etc/tmpfiles.d/hold-$1.conf"
        [[ $(systemctl show -P ActiveState "$1") != activating ]] || timeout 20 sh -c "echo go >'/run/hold-$1'"
        systemctl daemon-reload
}
