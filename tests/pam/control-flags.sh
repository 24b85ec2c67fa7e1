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

# The other halves do not exist: libpam says so and refuses.
for call in auth session password; do
        service wrong "$call required %m secret=billing"
        verdict "$call required: there is nothing of ours to call" module_unknown wrong daemon "$call"
        service wrong "$call sufficient %m secret=billing" "$call required pam_deny.so"
        output=$(acct wrong daemon "$call")
        ok "$call sufficient, then deny: never a success" test "${output%%$'\n'*}" != success
done

done_testing
