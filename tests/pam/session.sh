#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Sessions under the real libpam, with the machine's own NSS and pam_keyinit: what a process of the user finds in them, and after them.

# shellcheck source=tests/pam/lib.sh
. "${srcdir:-.}/tests/pam/lib.sh"
pam_scratch
export KEYROTA_TEST_RECORDS=1

printf '%s\n' 'secret:production/api/sign keyrota1 production/api 3 kid-a|{"k":"x"}' \
              'secret:production/billing/verify keyrota1 production/billing 17 kid-b|{"keys":[]}' 'config:audit keyrota1 - 0 -|best-effort' >live
good=('group www-data' 'secret production/api 3 0 sign session daemon' 'secret production/billing 17 4102444800 verify session daemon @www-data')

# Each run of the program has a live keyring of its own, so that the table is written anew for it.
login() {
        table "${good[@]}"
        verdict "$1" success "${@:2}"
}

service login 'session optional pam_keyinit.so force revoke' 'session optional %m' 'session required pam_permit.so'
login 'a user whom policies name'           login daemon session
like    '... holds the exact bytes'           "$last" $'holds keyrota:api \\{"k":"x"\\}\nholds keyrota:billing \\{"keys":\\[\\]\\}\n'
like    '... and nothing after the end of the session' "$last" $'\nclosed success\nrecord '
like    '... with a record of each grant'     "$last" 'EVENT=copy-granted .*NAME=api KID=kid-a GENERATION=3 USER=daemon SERVICE=login TTY=pts/3 REMOTE_HOST=2001:db8::1'
like    '... and of the end of each'         "$last" 'EVENT=copy-removed .*NAME=api REASON=the session has ended USER=daemon'
login 'a user whose primary group is named' login www-data session
like    '... holds what the group may read'   "$last" $'^success\nholds keyrota:billing \\{"keys":\\[\\]\\}\nclosed success'
login 'a user without a right'              login nobody session
is      '... finds nothing, and leaves no trace' "$last" $'success\nclosed success'
login 'root has no right but by a policy'   login root session
is      '... and finds nothing'               "$last" $'success\nclosed success'

# pam-auth-update puts pam_keyinit into common-session too, where a service may have it already.
service twice 'session optional pam_keyinit.so force revoke' 'session optional pam_keyinit.so force revoke' 'session optional %m' 'session required pam_permit.so'
login 'a second pam_keyinit in the stack' twice daemon session
like    '... harms nothing'                 "$last" $'^success\nholds keyrota:api .*\nholds keyrota:billing .*\nclosed success\nrecord'
service between 'session optional pam_keyinit.so force revoke' 'session optional %m' 'session optional pam_keyinit.so force revoke' 'session required pam_permit.so'
login 'nor does one behind pam_keyrota' between daemon session
like    '... take the copies away'         "$last" $'^success\nholds keyrota:api .*\nholds keyrota:billing '

service bare 'session optional %m' 'session required pam_permit.so'
login 'without pam_keyinit there are no copies' bare daemon session none
like    '... and the log says what is missing' "$last" 'gets no copy of any secret: the session keyring is not the session.s own; pam_keyinit.so with force revoke must stand before'
[[ $last != *holds* && $last != *sees* ]] && pass '... for nobody' || fail '... for nobody'

service twice-ours 'session optional pam_keyinit.so force revoke' 'session optional %m' 'session optional %m debug' 'session required pam_permit.so'
login 'a line that stands twice' twice-ours daemon session
is '... gives each copy once' "$(grep -c ^holds <<<"$last")" 2

service one 'session optional pam_keyinit.so force revoke' 'session optional %m secret=api' 'session required pam_permit.so'
login 'a line with secret='     one daemon session
like    '... gives that alone'    "$last" $'^success\nholds keyrota:api [^\n]*\nclosed'

like 'the bench of logins works' "$(RUNS=2 POLICIES=20 "${PAM_MODULE%/.libs/*}/tests/bench/login" "$PAM_MODULE" 2>&1)" '^20 policies, 10 copies by user name.*pam_open_session .*getppid'

done_testing
