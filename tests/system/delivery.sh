# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the scripts about delivery have in common: what a service should have got, and what is on record of it. Sourced
# after lib.sh and policies.sh.

mkdir -p "$SCRATCH/wanted"

# wanted SECRET UNIT ID: the name of a file with the bytes that `keyrota read` shows for UNIT (as its policy names it).
wanted() {
        local file=$SCRATCH/wanted/$2.$3
        keyrota read "$1" --unit="$2" --credential="$3" >"$file"
        printf '%s\n' "$file"
}

# delivered DESCRIPTION UNIT ID SECRET [UNIT-IN-POLICY]: a test: UNIT starts and has these very bytes.
delivered() {
        local file
        file=$(credential_of "$2" "$3") || { fail "$1" "$2 has no credential $3"; return; }
        [[ -s $file ]] || { fail "$1" "$2: $3 is empty"; return; }
        same "$1" "$file" "$(wanted "$4" "${5:-$2}" "$3")"
}

# credentials UNIT: the names of all credentials that UNIT got when it was last started.
credentials() {
        tar -tf "$SCRATCH/credentials/$1.tar" | sed -n 's|^\./\(..*\)|\1|p' | sort | paste -sd' '
}

# records UNIT [FILTER]: what was served or refused to UNIT since the mark, as JSON, one record a line.
records() {
        journal --output=json --all _UID=0 "KEYROTA_UNIT=$1" |
                jq -c "select(.KEYROTA_EVENT | startswith(\"credential-\")) | ${2:-.}"
}

kid_of() {
        keyrota status --json | jq -r --arg name "$1" '.secrets[] | select(.name == $name) | .keys[] | select(.state == "active") | .kid'
}

# refusals UNIT: why UNIT was refused since the mark, one reason a line.
refusals() {
        records "$1" 'select(.KEYROTA_EVENT == "credential-refused" and .KEYROTA_VERDICT == "refused") | .KEYROTA_REASON' | jq -r .
}

# server_traceable: from now on the credential server is started by traced-server, which runs it under strace when
# `trace_next` says so; its sandbox allows that. How it ended is a line in $SCRATCH/ends.
server_traceable() {
        mkdir -p /etc/systemd/system/keyrota-credential.service.d
        printf '%s\n' '[Unit]' StartLimitIntervalSec=0 '[Service]' "Environment=SCRATCH=$SCRATCH" \
                ProtectSystem=no SystemCallFilter= TasksMax=infinity ExecStart= \
                "ExecStart=${BASH_SOURCE[0]%/*}/traced-server $(systemctl show -P ExecStart keyrota-credential.service | sed 's/.*path=\([^ ;]*\).*/\1/')" \
                "ExecStopPost=/bin/sh -c 'echo \"\$\${EXIT_CODE} \$\${EXIT_STATUS}\" >>$SCRATCH/ends'" \
                >/etc/systemd/system/keyrota-credential.service.d/traceable.conf
        systemctl daemon-reload
}

# trace_next STRACE-OPTION...: the next server to be started (and only that one) runs under strace. Given several times, so
# do the ones after it.
trace_next() {
        printf '%s\n' "$*" >>"$SCRATCH/traces"
}
