#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What libpam makes of the module's answers under each control flag, with nothing, pam_permit or pam_deny behind it, as
# pam.conf(5) has it: no error of the module's counts as a success anywhere.

# shellcheck source=tests/pam/lib.sh
. "${srcdir:-.}/tests/pam/lib.sh"
pam_scratch

table 'secret production/billing 1 0 verify session daemon'

# WHAT USER OPTIONS: ways to be refused
refusals() {
        printf '%s\n' 'not-allowed nobody secret=billing' 'unknown-user no-such-user secret=billing' 'no-policy daemon secret=absent' \
                      'bad-option daemon secret=billing strict' 'no-option daemon' 'torn-table daemon secret=billing' \
                      'no-table daemon secret=billing'
}

# What a stack answers when the module refuses, and when it lets the user in. `sufficient` and `optional` say that the others
# decide; where there are no others, nobody has said yes. pam_deny answers auth_err, so that one sees who refused.
expected_refused() {
        case $1/$2 in
        sufficient/permit|optional/permit) echo success;;
        sufficient/deny|optional/deny) echo auth_err;;
        *) echo perm_denied;;
        esac
}

expected_allowed() {
        case $1/$2 in
        */none|*/permit|sufficient/deny) echo success;;
        *) echo auth_err;;
        esac
}

behind_line() {
        [[ $1 == none ]] || printf 'account required pam_%s.so\n' "$1"
}

for control in required requisite sufficient optional '[success=ok new_authtok_reqd=ok ignore=ignore default=bad]'; do
        for behind in none permit deny; do
                service stack "account $control %m secret=billing" "$(behind_line "$behind")"
                verdict "$control, then $behind: a user who is named" "$(expected_allowed "$control" "$behind")" stack daemon

                while read -r what user options; do
                        service stack "account $control %m $options" "$(behind_line "$behind")"
                        case $what in
                        torn-table) printf 'keyrota-access 2\n' >run/access;;
                        no-table) rm run/access;;
                        esac
                        verdict "$control, then $behind: $what" "$(expected_refused "$control" "$behind")" stack "$user"
                        table 'secret production/billing 1 0 verify session daemon'
                done < <(refusals)
        done
done

# ---- session ----------------------------------------------------------------------------------------

printf '%s\n' 'secret:production/billing/verify keyrota1 production/billing 1 kid|bytes' 'config:audit keyrota1 - 0 -|best-effort' >live

# WHAT USER RING OPTIONS: nothing is wrong with the first two; each of the others is an error
cases() {
        printf '%s\n' 'allowed daemon own' 'no-right nobody own' 'bad-option daemon own nonsense' 'foreign-keyring daemon none' 'named-keyring daemon named' \
                      'torn-table daemon own' 'no-table daemon own' 'no-entry daemon own' 'no-live-keyring daemon own'
}

# What a stack answers, as pam.conf(5) has it, when the module says success, ignore or session_err. Ignored, it is as if the line were not there; where
# nothing else says yes, nobody has.
expected_session() {
        local answer=$1 control=$2 behind=$3
        case $answer/$control/$behind in
        success/*/none|success/*/permit|success/sufficient/*) echo success;;
        success/*/deny) echo session_err;;
        ignore/*/none) echo perm_denied;;
        ignore/*/permit) echo success;;
        ignore/*/deny) echo session_err;;
        session_err/sufficient/none|session_err/optional/none) echo perm_denied;;
        session_err/sufficient/permit|session_err/optional/permit) echo success;;
        *) echo session_err;;
        esac
}

for control in required requisite sufficient optional '[success=ok new_authtok_reqd=ok ignore=ignore default=bad]'; do
        for behind in none permit deny; do
                for strict in '' strict; do
                        while read -r what user ring options; do
                                [[ $behind == none ]] && second= || second="session required pam_$behind.so"
                                service stack "session $control %m $strict $options" "$second"
                                table 'secret production/billing 1 0 verify session daemon'
                                case $what in
                                allowed|no-right) answer=success;;
                                *) answer=${strict:+session_err}; answer=${answer:-ignore};;
                                esac
                                case $what in
                                torn-table) printf 'keyrota-access 2\n' >run/access;;
                                no-table) rm run/access;;
                                no-entry) table 'secret production/other 1 0 verify session daemon';;
                                no-live-keyring) sed -i 's/^ring 7$/ring 1/' run/access;;
                                esac
                                wanted=$(expected_session "$answer" "$control" "$behind")
                                verdict "session $control${strict:+ strict}, then $behind: $what" "$wanted" stack "$user" session "$ring" || continue
                                # The program has shown what the user then held.
                                if [[ $what == allowed ]]; then
                                        like "... with the copy" "$last" 'holds keyrota:billing bytes'
                                elif [[ $last == *holds* || $last == *sees* ]]; then
                                        fail "... without any copy"
                                fi
                        done < <(cases)
                done
        done
done

# The other halves do not exist: libpam says so and refuses.
for call in auth password; do
        service wrong "$call required %m secret=billing"
        verdict "$call required: there is nothing of ours to call" module_unknown wrong daemon "$call"
        service wrong "$call sufficient %m secret=billing" "$call required pam_deny.so"
        output=$(acct wrong daemon "$call")
        ok "$call sufficient, then deny: never a success" test "${output%%$'\n'*}" != success
done

done_testing
