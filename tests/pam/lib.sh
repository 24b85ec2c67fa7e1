# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A scratch folder with PAM services of its own (pam.d), for the module compiled with the relative RUN_DIR "run":
# nothing of the machine's own PAM configuration, accounts or /run is touched. Used by the shell tests beside it.
#
# PAM_MODULE and PAM_ACCT name the built test module and tests/pam/acct.c's program.

# shellcheck source=tests/tap.sh
. "${srcdir:-.}/tests/tap.sh"

PAM_MODULE=$(realpath -m -- "${PAM_MODULE:-${KEYROTA_BUILD:-.}/.libs/pam_keyrota_test.so}")
PAM_ACCT=$(realpath -m -- "${PAM_ACCT:-${KEYROTA_BUILD:-.}/tests/pam/acct}")

pam_scratch() {
        (( EUID == 0 )) || skip_all "only root can make a table that the module trusts"
        [[ -e $PAM_MODULE ]] || bail_out "no module $PAM_MODULE"
        [[ -x $PAM_ACCT ]] || bail_out "no program $PAM_ACCT"
        scratch=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-pam.XXXXXX") || bail_out "no scratch folder"
        trap 'rm -rf -- "$scratch"' EXIT
        cd -- "$scratch" || bail_out "cannot enter $scratch"
        mkdir -m 0755 pam.d run
        printf '%s required pam_deny.so\n' auth account session password >pam.d/other
}

# table LINE...: the whole table with these lines, root's and 0600
table() {
        rm -rf run/access
        (umask 077; printf '%s\n' 'keyrota-access 2' 'ring 7' "$@" 'end' >run/access)
}

# service NAME LINE...: %m stands for the module
service() {
        local name=$1
        shift
        printf '%s\n' "${@//%m/$PAM_MODULE}" >"pam.d/$name"
}

# acct SERVICE USER [CALL [RING]]: prints the code's name and the log, never for longer than it takes to say that it hangs
acct() {
        timeout 20 "$PAM_ACCT" "$scratch/pam.d" "$@"
}

# verdict DESCRIPTION WANTED SERVICE USER [CALL [RING]]: compares the code's name, and the program's status with it; $last is all that it printed
verdict() {
        local description=$1 wanted=$2 output status
        shift 2
        output=$(acct "$@" 2>&1)
        status=$?
        last=$output
        [[ $wanted == success ]] && wanted+=', status 0' || wanted+=', status 1'
        is "$description" "${output%%$'\n'*}, status $status" "$wanted" || diag "$output"
}

# says DESCRIPTION REGEX SERVICE USER [CALL]: is refused with perm_denied and logs so
says() {
        local description=$1 regex=$2 output status
        shift 2
        output=$(acct "$@" 2>&1)
        status=$?
        like "$description" "status $status, $output" $'^status 1, perm_denied\n.*'"($regex)"
}
