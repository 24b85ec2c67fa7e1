# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# TAP from shell tests: source it, call what is below, end with `done_testing`. A test that ends without that
# has failed. The description comes first, then what is looked at. Nothing here stops the script: a failed
# test is reported and the next one runs. Each function that tests returns 0 when the test passed.

TAP_COUNT=${TAP_COUNT:-0}               # how many tests have been reported
TAP_FAILED=${TAP_FAILED:-0}

diag() {
        printf '%s\n' "$*" | sed 's/^/# /'
}

pass() {
        printf 'ok %d - %s\n' "$((++TAP_COUNT))" "${1//#/\\#}"
}

# fail DESCRIPTION [DETAIL...]. A script may define tap_on_failure: it is called last, to show what else is
# known.
fail() {
        TAP_FAILED=$((TAP_FAILED + 1))
        printf 'not ok %d - %s\n' "$((++TAP_COUNT))" "${1//#/\\#}"
        shift
        (( ! $# )) || diag "$(printf '%s\n' "$@")"
        ! declare -F tap_on_failure >/dev/null || tap_on_failure
        return 1
}

# skip DESCRIPTION REASON
skip() {
        printf 'ok %d - %s # SKIP %s\n' "$((++TAP_COUNT))" "${1//#/\\#}" "$2"
}

# ok DESCRIPTION [!] COMMAND...: COMMAND succeeds (with `!`: fails). What it prints is shown when that is not
# so.
ok() {
        local description=$1 negate=0 output status
        shift
        if [[ $1 == '!' ]]; then negate=1; shift; fi

        output=$("$@" 2>&1)
        status=$?
        if (( negate ? status != 0 : status == 0 )); then
                pass "$description"
                return
        fi
        fail "$description" "status $status of: $*" ${output:+"$output"}
}

# is DESCRIPTION GOT WANTED
is() {
        if [[ $2 == "$3" ]]; then
                pass "$1"
                return
        fi
        fail "$1" "     got: $2" "expected: $3"
}

# like DESCRIPTION GOT REGEX (extended)
like() {
        if [[ $2 =~ $3 ]]; then
                pass "$1"
                return
        fi
        fail "$1" "          got: $2" "does not match: $3"
}

# same DESCRIPTION FILE FILE: byte for byte. Never prints the bytes, which may be a key's.
same() {
        local output
        if output=$(cmp -- "$2" "$3" 2>&1); then
                pass "$1"
                return
        fi
        fail "$1" "$output"
}

# refused DESCRIPTION REGEX COMMAND...: COMMAND fails, not by a signal, and what it prints matches.
refused() {
        local description=$1 regex=$2 output status
        shift 2

        output=$("$@" 2>&1)
        status=$?
        if (( status > 0 && status < 128 )) && [[ $output =~ $regex ]]; then
                pass "$description"
                return
        fi
        fail "$description" "status $status of: $*" "it printed: $output" "  expected: $regex"
}

skip_all() {
        printf '1..0 # SKIP %s\n' "$*"
        exit 0
}

bail_out() {
        printf 'Bail out! %s\n' "$*"
        exit 99
}

# Prints the plan and ends the script.
done_testing() {
        printf '1..%d\n' "$TAP_COUNT"
        exit $((TAP_FAILED > 0))
}
