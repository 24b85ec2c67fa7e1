# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For the scripts tests/system/NN-name.sh, which run as root inside a booted test system: TAP (../tap.sh) and
# what is asked of systemd again and again. tests/README.md says how to write one. A unit made here is gone
# with the system.

# shellcheck source-path=SCRIPTDIR
. "${BASH_SOURCE[0]%/*}/../tap.sh"

set -u -o pipefail

STATE=/var/lib/keyrota-tests            # kept from boot to boot
SCRATCH=/run/keyrota-tests              # of this boot
BOOT=$(cat "$STATE/boot")               # 1, 2...
mkdir -p -m 0755 "$SCRATCH"

if [[ -e $STATE/count ]]; then
        read -r TAP_COUNT TAP_FAILED <"$STATE/count"
fi
# What follows in the journal belongs to the test that is running.
JOURNAL_SINCE=$(date +@%s.%6N)

tap_on_failure() {
        journalctl --sync 2>/dev/null
        journalctl --no-pager --quiet --output=short-monotonic --lines=15 2>&1 | sed 's/^/#| /'
}

# next_boot [--crash] [--after=SECONDS]: ends this script; the system goes down and the script is run again with
# BOOT one higher. With --crash nothing is stopped or written back first. With --after= the system stays down
# for so long. At the end of the last boot call done_testing.
next_boot() {
        local option after=0
        for option; do
                case $option in
                        --crash) : >"$STATE/crash" ;;
                        --after=*) after=${option#*=} ;;
                esac
        done
        echo "$TAP_COUNT $TAP_FAILED" >"$STATE/count"
        echo "$after" >"$STATE/next-boot"
        exit 0
}

# ---- waiting -----------------------------------------------------------------------------------------------

# wait_for SECONDS COMMAND...: runs COMMAND until it succeeds: at once, then whenever the journal has
# something new (which is when a unit has changed), and a few times a second for what the journal does not
# tell. Fails after SECONDS.
wait_for() {
        local seconds=$1 deadline line follow pid status=1
        shift
        deadline=$((SECONDS + seconds + 1))

        "$@" >/dev/null 2>&1 && return
        exec {follow}< <(exec journalctl --follow --lines=0 --quiet --output=cat 2>/dev/null)
        pid=$!
        while (( SECONDS < deadline )); do
                if "$@" >/dev/null 2>&1; then
                        status=0
                        break
                fi
                IFS= read -r -t 0.2 -u "$follow" line || :
        done
        exec {follow}<&-
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        (( status == 0 )) || diag "waited $seconds seconds in vain for: $*"
        return $status
}

unit_is() {
        [[ $(systemctl show -P ActiveState "$1") == "$2" ]]
}

# wait_for_unit SECONDS UNIT STATE (active, inactive, failed)
wait_for_unit() {
        wait_for "$1" unit_is "$2" "$3"
}

# Starts what is not started and awaits the end of every queued job, so that the boot is over.
wait_for_boot() {
        timeout 60 systemctl is-system-running --wait >/dev/null 2>&1 || :
}

# ---- the journal -------------------------------------------------------------------------------------------

# journal_mark: from now on `journal` shows what comes after. By time, not by cursor: systemd 252 passes over
# one entry too many where the cursor's own is not among those asked for.
journal_mark() {
        journalctl --sync
        JOURNAL_SINCE=$(date +@%s.%6N)
}

# journal [ARGUMENT...]: what has been written since the last mark (or the start of the script).
journal() {
        journalctl --sync
        journalctl --no-pager --quiet --since="$JOURNAL_SINCE" "$@"
}

# journal_has REGEX [ARGUMENT...]: some message since the mark matches.
journal_has() {
        local regex=$1
        shift
        grep -Eq -- "$regex" <<<"$(journal --output=cat "$@")" # not a pipe, which would fail when grep has seen enough
}

# ---- units -------------------------------------------------------------------------------------------------

# unit_make UNIT LINE...: writes UNIT with these lines ([Service] where no section is named), and reloads
# systemd.
unit_make() {
        unit_write "$@" && systemctl daemon-reload
}

# As unit_make, without the reload: for many at once.
unit_write() {
        local unit=$1 file=/etc/systemd/system/$1
        shift
        [[ $unit == *.service && ${1-} != '['* ]] && set -- '[Service]' "$@"
        printf '%s\n' "$@" >"$file"
}

# consumer_make UNIT [LINE...]: a oneshot service that says nothing of credentials, and whose credentials
# `credential_of` then shows. Any LINE is one of [Service]: User=, DynamicUser=yes, PrivateUsers=yes... UNIT
# may be a template.
consumer_make() {
        consumer_write "$@" && systemctl daemon-reload
}

consumer_write() {
        local unit=$1
        shift
        mkdir -p "$SCRATCH/credentials"
        # systemd opens the output before any sandbox is up, so this is right for every user; and none is
        # opened for a service whose credentials it could not get.
        unit_write "$unit" '[Service]' Type=oneshot RemainAfterExit=yes \
                "StandardOutput=truncate:$SCRATCH/credentials/%n.tar" \
                "ExecStart=/bin/sh -c 'exec tar -cf - -C \"\$\${CREDENTIALS_DIRECTORY:?has no credentials}\" .'" "$@"
}

# credential_of UNIT ID: the name of a file with the bytes of credential ID as UNIT (made by consumer_make)
# got them when it was last started. Starts it if it is not running. Fails when it does not start or has no
# such credential.
credential_of() {
        local unit=$1 id=$2 folder
        folder=$SCRATCH/credentials/$unit

        systemctl start "$unit" >&2 || return
        rm -rf "$folder"
        mkdir -p "$folder" && tar -xf "$folder.tar" -C "$folder" || return
        [[ -f $folder/$id ]] && printf '%s\n' "$folder/$id"
}

# How the unit ended: success, exit-code, signal, timeout...
unit_result() {
        systemctl show -P Result "$1"
}

# The exit status of its main process, or of the step that systemd takes before (243: credentials).
unit_status() {
        systemctl show -P ExecMainStatus "$1"
}

start_failed_with_243() {
        local status

        rm -f "$SCRATCH/credentials/$1.tar"
        if systemctl start "$1"; then
                echo "$1 started"
                return 1
        fi
        status=$(unit_status "$1")
        if [[ $status != 243 ]]; then
                echo "$1: result $(unit_result "$1"), status $status"
                return 1
        fi
        # the manager opens the output file; nothing of the service has written to it
        [[ ! -s $SCRATCH/credentials/$1.tar ]] || { echo "$1 ran all the same"; return 1; }
}

# start_fails_with_243 UNIT [DESCRIPTION]: a test: UNIT does not start for want of a credential, and no part
# of it has run.
start_fails_with_243() {
        ok "${2:-$1 is not started: 243/CREDENTIALS}" start_failed_with_243 "$1"
        local status=$?
        systemctl reset-failed "$1" 2>/dev/null
        return $status
}

# user_make NAME: an ordinary user.
user_make() {
        id -u "$1" >/dev/null 2>&1 || useradd --create-home --user-group --shell /bin/bash "$1"
}

# as USER COMMAND...: with USER's ids and groups and nothing else of root's; no PAM, the caller's keyrings.
as() {
        local user=$1
        shift
        setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --inh-caps=-all -- "$@"
}

# Nothing is rotated by itself from now on, in later boots neither: for scripts that look at what one run does or leaves undone.
rotation_off() {
        systemctl mask --now --quiet keyrota-rotate.timer keyrota-rotate.path
}
