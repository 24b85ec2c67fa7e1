#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# pam_keyrota.so under the real libpam and the machine's own NSS: who gets in, and every table that nobody gets in by.

# shellcheck source=tests/pam/lib.sh
. "${srcdir:-.}/tests/pam/lib.sh"
shipped=$(realpath -- "${srcdir:-.}/pam/pam.d/keyrota")
pam_scratch

service billing 'account required %m secret=billing'
good=('secret production/billing 1 0 verify session daemon @www-data')

table "${good[@]}"
verdict 'a user whom the policy names is let in'                   success     billing daemon
verdict 'a user whose primary group it names is let in'            success     billing www-data
verdict 'root is let in only where the policy says so'             perm_denied billing root
verdict 'another user is refused'                                  perm_denied billing nobody
verdict 'an unknown user is refused with the same code'            perm_denied billing no-such-user
says    'the log says who was refused, and why'  'user "nobody" refused: not named by \[access\] of billing' billing nobody
says    'the log says that a user is unknown'    'unknown user "no-such-user" refused for billing'           billing no-such-user
says    'a name with control characters is escaped' 'unknown user "a\\x0ab\\x1b\[0m" refused'                billing $'a\nb\e[0m'
like    'a log line names the module and the service' "$(acct billing nobody)" 'pam_keyrota[^ ]*\(billing:account\): '
is      'a user who is let in leaves no log line' "$(acct billing daemon)" success
service billing-debug 'account required %m debug secret=billing'
like    'unless debug is set' "$(acct billing-debug daemon)" $'^success\n.*user "daemon" allowed by \[access\] of billing$'
service billing-quiet 'account required %m secret=billing quiet'
is      'quiet: a refused user leaves no log line' "$(acct billing-quiet nobody)" perm_denied

# A supplementary group: the machine's group file as this test wants it, in a mount namespace of its own.
if unshare --mount true 2>/dev/null; then
        { cat /etc/group; printf 'keyrota-test-ops:x:59999:nobody\n'; } >group
        table 'secret production/billing 1 0 verify session @keyrota-test-ops'
        with_group() {
                # shellcheck disable=SC2016
                unshare --mount --propagation private sh -c 'mount --bind group /etc/group && exec "$@"' sh \
                        "$PAM_ACCT" "$scratch/pam.d" billing "$1"
        }
        is 'a user in a supplementary group that the policy names is let in' "$(with_group nobody)" success
        like 'another user is refused'                                  "$(with_group daemon)" '^perm_denied'
        verdict 'and so is everybody where there is no such group'       perm_denied billing nobody
else
        skip 'a user in a supplementary group that the policy names is let in' 'no mount namespace'
fi

# Tables
table 'secret production/other 1 0 verify session daemon'
says 'no policy of this name' 'no policy billing with an \[access\] section: user "daemon" refused' billing daemon
table
says 'no policy at all'       'no policy billing' billing daemon
rm run/access
says 'no table'               "run/access: No such file or directory: everybody refused; 'keyrota provision' writes it anew" billing daemon

table "${good[@]}"; truncate -s -1 run/access
says 'a torn table'           'run/access: torn, or not an access table' billing daemon
table "${good[@]}"; sed -i '$d' run/access
says 'a table without its last line' 'torn' billing daemon
: >run/access
says 'an empty table'         'torn' billing daemon
table "${good[@]}"; echo >>run/access
says 'a line too many'        'torn' billing daemon

unsafe='run/access: not a regular file with one link that is root.s and has mode 0600: everybody refused'
for mode in 0644 0640 0660 0666 0400 0700 4600 2600 1600; do
        table "${good[@]}"; chmod "$mode" run/access
        says "a table of mode $mode" "$unsafe" billing daemon
done
table "${good[@]}"; chown daemon run/access
says 'a table that is not root'\''s' "$unsafe" billing daemon
table "${good[@]}"; ln run/access run/second
says 'a table with two links' "$unsafe" billing daemon
rm run/second
verdict 'and the same table with one link is good' success billing daemon

table "${good[@]}"; mv run/access run/elsewhere; ln -s elsewhere run/access
says 'a symbolic link to a good table' 'run/access: Too many levels of symbolic links' billing daemon
rm run/access; ln -s nowhere run/access
says 'a dangling link'        'run/access: Too many levels of symbolic links' billing daemon
rm run/access; mkfifo -m 0600 run/access
says 'a FIFO, without waiting for its writer' "$unsafe" billing daemon
rm run/access; mkdir -m 0600 run/access
says 'a folder'               "$unsafe" billing daemon
rmdir run/access
if mknod -m 0600 run/access c 1 5 2>/dev/null; then
        says 'a device'       "$unsafe|Permission denied" billing daemon
else
        skip 'a device' 'cannot make one here'
fi
rm -f run/access
if command -v python3 >/dev/null; then
        python3 -c 'import os, socket; os.umask(0o177); socket.socket(socket.AF_UNIX).bind("run/access")'
        says 'a socket'       'run/access: No such device or address' billing daemon
        rm -f run/access
else
        skip 'a socket' 'no python3 to make one'
fi
table "${good[@]}"; truncate -s 1048577 run/access
says 'a table over 1 MiB'     'run/access: over 1 MiB' billing daemon

table "${good[@]}"; chmod 0775 run
says 'a folder that a group can write to' 'others than root can write to the folder' billing daemon
chmod 0757 run
says 'a folder that everybody can write to' 'others than root can write to the folder' billing daemon
chmod 0755 run; chown daemon run
says 'a folder that is not root'\''s' 'others than root can write to the folder' billing daemon
chown root run; mv run real; ln -s real run
says 'a link for the folder'  'run/access: Not a directory' billing daemon
rm run; mv real run
verdict 'all put right again' success billing daemon

if setpriv --reuid=daemon --clear-groups test -x "$PAM_ACCT" 2>/dev/null &&
   setpriv --reuid=daemon --clear-groups test -r "$PAM_MODULE"; then
        chmod 0755 .
        like 'a program that is not root cannot ask' \
                "$(setpriv --reuid=daemon --clear-groups "$PAM_ACCT" "$scratch/pam.d" billing daemon)" \
                $'^perm_denied\n.*run/access: Permission denied: everybody refused'
else
        skip 'a program that is not root cannot ask' 'it could not read the build tree'
fi

# Options
table "${good[@]}"
service use 'account required %m secret=billing use=verify'
verdict 'a user whom the policy names for the use that is asked for' success use daemon
while IFS='|' read -r options regex; do
        service options "account required %m $options"
        says "options \"$options\"" "$regex" options daemon
done <<'END'
|no secret= option: refused
debug quiet|no secret= option: refused
secret=|"secret=" names no secret: refused
secret=../billing|"secret=../billing" names no secret: refused
secret=production/billing|names no secret: refused
secret=Billing|names no secret: refused
secret=billing secret=billing|secret= given twice: refused
secret=billing use=sign|user "daemon" refused: \[access\] of billing says use = verify
secret=billing use=both|"use=both" is no use of a secret: refused
secret=billing use=sign use=sign|use= given twice: refused
secret=billing strict|"strict" is for session lines: refused
secret=billing debug=yes|unknown option "debug=yes": refused
secret=billing DEBUG|unknown option "DEBUG": refused
secret=billing optional|unknown option "optional": refused
secrets=billing|unknown option "secrets=billing": refused
END

# The service that the read server asks, as it is installed, with a line in place of Debian's common-account: libpam takes that from /etc/pam.d alone.
shipped_with() {
        sed "s|pam_keyrota\.so|$PAM_MODULE|; s|^@include common-account$|account required $1|" "$shipped" >pam.d/keyrota
}
like 'keyrota: the service asks common-account too' "$(<"$shipped")" $'\n@include common-account\n'
shipped_with pam_permit.so
table "${good[@]}" 'secret production/other 1 0 verify recorded nobody'
export KEYROTA_TEST_SECRET=KEYROTA_SECRET=billing
verdict 'keyrota: a user may read a secret whose policy names them' success     keyrota daemon
verdict 'keyrota: another user may not'                             perm_denied keyrota nobody
verdict 'keyrota: nobody logs in by it'                             auth_err    keyrota daemon auth
verdict 'keyrota: nor opens a session'                              session_err keyrota daemon session
shipped_with pam_deny.so
verdict 'keyrota: an account that has expired reads nothing'        auth_err    keyrota daemon
shipped_with pam_permit.so
KEYROTA_TEST_SECRET=KEYROTA_SECRET=other
verdict 'keyrota: each secret by its own policy'                    perm_denied keyrota daemon
verdict 'keyrota: each secret by its own policy'                    success     keyrota nobody
unset KEYROTA_TEST_SECRET
says    'keyrota: without a secret nobody may' "KEYROTA_SECRET in PAM's environment names no secret: refused" keyrota daemon
export KEYROTA_SECRET=billing
verdict 'keyrota: the environment of the process says nothing'      perm_denied keyrota daemon

done_testing
