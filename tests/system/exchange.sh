# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the scripts about rotation have in common: services that exchange tokens (token-exchange.py, token-driver.py) while
# their keys rotate, and what became of the keys. Sourced after lib.sh, policies.sh and delivery.sh.

EXCHANGE="/usr/bin/python3 -E -s ${BASH_SOURCE[0]%/*}/token-exchange.py"
DRIVER="/usr/bin/python3 -E -s ${BASH_SOURCE[0]%/*}/token-driver.py"
SOCKETS=$SCRATCH/exchange               # UNIT.socket of each service, and the logs that each writes
DRIVES=$SOCKETS                         # what comes of each drive
mkdir -p -m 1777 "$SOCKETS"             # a service without a socket unit makes its socket itself

# ---- policies ----------------------------------------------------------------------------------------------

# rotation CRYPTOPERIOD TOKEN_LIFETIME [JWKS_MAX_AGE]: prints such a section, with a second of clock skew.
rotation() {
        printf '%s\n' '[rotation]' "cryptoperiod = $1" "token_lifetime = $2" "jwks_max_age = ${3-1s}" 'clock_skew = 1s' 'jitter = 0'
}

# reads_file UNIT [LINE...]: prints the section of a verifier that reads the public file itself.
reads_file() {
        printf '%s\n' "[deliver:$1]" 'use = verify' "${@:2}"
}

# ---- services ----------------------------------------------------------------------------------------------

# exchange_write UNIT ARGUMENTS [LINE...]: a service that runs token-exchange.py behind a socket unit, so that what is
# asked of it while it is restarted is answered afterwards.
exchange_write() {
        local unit=$1 arguments=$2
        shift 2
        unit_write "${unit%.service}.socket" '[Socket]' "ListenStream=$SOCKETS/${unit%%[@.]*}$([[ $unit != *@* ]] || echo @%i)"
        unit_write "$unit" '[Unit]' StartLimitIntervalSec=0 '[Service]' Type=notify User=somebody \
                "ExecStart=$EXCHANGE $arguments" "StandardOutput=append:$SOCKETS/%n.log" "$@"
}

# issuer_write UNIT CREDENTIAL LIFETIME [LINE...]
issuer_write() {
        exchange_write "$1" "issue --key=%d/$2 --lifetime=${3%s}" "${@:4}"
}

# verifier_write UNIT FILE [LINE...]: FILE is a credential's name, or a path.
verifier_write() {
        local file=$2
        [[ $file == /* ]] || file=%d/$file
        exchange_write "$1" "verify --set=$file" "${@:3}"
}

# The lines of a verifier that loads its set again when it is reloaded; the reload is over when it has.
reloads() {
        printf '%s\n' "ExecReload=$EXCHANGE ask $SOCKETS/$1 load"
}

# exchange_start UNIT...: with their sockets, where they have one.
exchange_start() {
        local unit sockets=()
        for unit; do
                [[ $(systemctl show -P LoadState "${unit%.service}.socket") != loaded ]] || sockets+=("${unit%.service}.socket")
        done
        systemctl start "${sockets[@]}" && systemctl start "$@"
}

# exchange_enable UNIT...: the same at each boot.
exchange_enable() {
        systemctl --quiet add-wants multi-user.target "$@" "${@/%.service/.socket}"
}

# exchange_stop UNIT...: so that no request starts them again.
exchange_stop() {
        systemctl stop "${@/%.service/.socket}" "$@"
}

# ask UNIT REQUEST [TOKEN]: the reply, JSON.
ask() {
        $EXCHANGE ask "$SOCKETS/${1%.service}" "${@:2}"
}

# What the running service holds: kids, sorted.
kids_held() {
        ask "$1" kids | jq -r '.kids | sort | join(" ")'
}

# starts UNIT: how often it has been started.
starts() {
        jq -c 'select(.event == "start")' "$SOCKETS/$1.log" | wc -l
}

# ---- the exchange ------------------------------------------------------------------------------------------

# drive NAME ISSUER VERIFIER...: from now on tokens of the issuer are shown to the verifiers, until `driven NAME`. Set CARRY
# to a file that keeps them over a reboot.
drive() {
        local name=$1 issuer=$2 verifiers
        shift 2
        verifiers=("${@/#/--verifier=$SOCKETS/}")
        unit_make "drive-$name.service" Type=exec TimeoutStopSec=40 KillMode=mixed \
                "ExecStart=$DRIVER --skew=1 --state=$DRIVES/$name.json ${CARRY:+--carry=$CARRY }--issuer=$SOCKETS/${issuer%.service} ${verifiers[*]%.service}"
        systemctl start "drive-$name.service"
}

# of_drive NAME FILTER: what has come of it so far; a list on one line.
of_drive() {
        jq -r "$2 | if type == \"array\" then join(\" \") else . end" "$DRIVES/$1.json"
}

# signed NAME N: N keys have signed since the drive began.
signed() {
        (( $(of_drive "$1" '.kids | length') >= $2 ))
}

# driven NAME: tests: ends the drive when every token is at the end of its life; not one was rejected.
driven() {
        systemctl stop "drive-$1.service"
        is "$1: tokens were exchanged to the end" "$(unit_result "drive-$1.service") $(of_drive "$1" .outstanding)" "success 0"
        none_rejected "$1"
}

none_rejected() {
        diag "$1: $(of_drive "$1" '"issued \(.issued), presented \(.presented), keys \(.kids | length), answered late \(.late), asked again \(.retried)"')"
        ok "$1: tokens were presented several times a second" test "$(of_drive "$1" '.presented > 1.5 * .issued and .issued > 20')" = true
        is "$1: not one token was rejected" "$(of_drive "$1" '.rejections[] | tojson')" ""
        is "$1: ... none at all" "$(of_drive "$1" .rejected)" 0
        is "$1: no key signed again after another had" "$(of_drive "$1" .returned)" ""
}

# ---- keys --------------------------------------------------------------------------------------------------

# kids_in_state NAME STATE: as keyrota status tells it, oldest first.
kids_in_state() {
        keyrota status --json "$1" | jq -r --arg state "$2" '[.secrets[].keys[] | select(.state == $state) | .kid] | join(" ")'
}

# How many keys the secret has now.
n_keys() {
        keyrota status --json "$1" | jq '.secrets[].keys | length'
}

has_n_keys() {
        [[ $(n_keys "$1") == "$2" ]]
}

# kids_stored ENV/NAME: of the keys in the stored file, opened without keyrota; sorted. Of keys only, not of tombstones.
kids_stored() {
        systemd-creds decrypt --name=keyrota-kek "$STORE/kek.cred" - 2>/dev/null |
                jose jwe dec -i "$STORE/$1.jwe" -k - | jq -r '[.keys[].kid] | sort | join(" ")'
}

# kids_ring DESCRIPTION: those that this entry of the kernel keyring has, in its header.
kids_ring() {
        local magic secret generation kids
        read -r magic secret generation kids <<<"$(ring_header "$1")"
        tr ',' '\n' <<<"${kids:-no $magic $secret $generation}" | sort | paste -sd' '
}

# in_ring TEXT: the descriptions of the entries of which any byte says TEXT.
in_ring() {
        local ring id
        ring=$(keyctl search @u keyring keyrota)
        for id in $(keyctl rlist "$ring"); do
                keyctl pipe "$id" | grep -qaF -- "$1" && keyctl rdescribe "$id" '|' | cut -d'|' -f5-
        done
        return 0
}

# ---- units -------------------------------------------------------------------------------------------------

# The next start of a secret's rotation, in seconds since 1970, as its timer stands; 0: it does not.
armed_at() {
        systemctl list-timers --all --output=json "keyrota-rotate@$1.timer" | jq '(.[0].next // 0) / 1000000 | floor'
}

# armed NAME...: the timer of each stands.
armed() {
        local name
        for name; do
                (( $(armed_at "$name") > 0 )) || return
        done
}

rotation_failed() {
        [[ $(failed_units) == *"keyrota-rotate@$1.service"* ]]
}

# What was tried for it since the mark: the starts of its service.
rotation_runs() {
        journal --output=json _PID=1 "UNIT=keyrota-rotate@$1.service" | jq -r 'select(.JOB_TYPE == "start" and .JOB_RESULT != null) | .JOB_RESULT' | wc -l
}
