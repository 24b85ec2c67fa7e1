#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the module that is installed exports, links and keeps. PAM_REAL_MODULE names it.

# shellcheck source=tests/tap.sh
. "${srcdir:-.}/tests/tap.sh"

module=${PAM_REAL_MODULE:-${KEYROTA_BUILD:-.}/.libs/pam_keyrota.so}
[[ -e $module ]] || bail_out "no module $module"
[[ $(type -t readelf)/$(type -t nm) == file/file ]] || skip_all "no binutils"

# Sanitizers and coverage bring libraries, symbols and data of their own.
if readelf -Ws "$module" | grep -Eq '__(a|ub|t|m)san_|__gcov_|__llvm_profile'; then
        skip_all "an instrumented build"
fi

is 'it exports what libpam calls, and nothing else' "$(nm -D --defined-only "$module" | sed 's/.* //' | sort)" \
        $'pam_sm_acct_mgmt\npam_sm_close_session\npam_sm_open_session'
libraries=$(readelf -d "$module" | sed -n 's/.*(NEEDED).*\[\(.*\)\.so.*/\1/p' | sort)
is 'it links libpam, libkeyutils and libc alone' "$libraries" $'libc\nlibkeyutils\nlibpam'

# What could have a memory: everything writable but the start-up code's own.
startup='^(completed\.[0-9]+|__dso_handle|__TMC_END__|_DYNAMIC|_GLOBAL_OFFSET_TABLE_|__do_global_dtors_aux.*|__frame_dummy.*)$'
is 'it has no variables' \
        "$(nm "$module" 2>/dev/null | sed -n 's/^[0-9a-f]* [bBdDcC] //p' | grep -Ev "$startup")" ''

calls=$(nm -D --undefined-only "$module" | sed 's/.* //; s/@.*//')
forbidden() {
        grep -E "^($1)" <<<"$calls"
}
is 'it starts no process and no thread'     "$(forbidden 'v?fork|clone|posix_spawn|exec|system|popen|pthread_|syscall')" ''
is 'it waits for nothing but the journal'    "$(forbidden '[un]?[a-z]*sleep|poll|ppoll|p?select|epoll|wait|futex|f?lock')" 'poll'
is 'it asks no environment'                 "$(forbidden '(secure_)?getenv|(un)?setenv|putenv|clearenv')" ''
is 'it changes nothing of the process'      "$(forbidden 'set[a-z]*[ug]id|setfs|[a-z]*groups$|umask|chdir|sig|openlog')" ''
is 'it calls nothing with a static buffer'  "$(forbidden 'get(pw|gr)(nam|[ug]id|ent)$|strerror$|strtok$')" ''
is 'it asks the user nothing'               "$(forbidden 'pam_get_user|pam_get_authtok|pam_v?prompt')" ''

like 'it reads the table where it is published' "$(strings -a "$module")" "/keyrota/access"

done_testing
