# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Login sessions that hold copies, played by tests/unit/session-tool, and files of accounts to put in the place of /etc's, in a mount namespace. For scripts that have
# sourced tap.sh; they define run_folder(), which prints the folder of the access table, and call sessions_cleanup at their end.

: "${KEYROTA_BUILD:?is the folder of the build; run this with make check}"

WORK=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-test.XXXXXX")
declare -A SESSION_PID SESSION_IN SESSION_OUT

sessions_cleanup() {
        local id
        for id in "${!SESSION_PID[@]}"; do kill "${SESSION_PID[$id]}" 2>/dev/null; done
        rm -rf "$WORK"
}

# ---- accounts -----------------------------------------------------------------------------------------------------------

cat >"$WORK/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
alice:x:61201:61201::/:/bin/sh
bob:x:61202:61202::/:/bin/sh
carol:x:61203:61203::/:/bin/sh
END
cat >"$WORK/group" <<'END'
root:x:0:
alice:x:61201:
bob:x:61202:
carol:x:61203:
ops:x:61210:alice,carol
END
printf 'passwd: files\ngroup: files\n' >"$WORK/nsswitch.conf"
chmod 0644 "$WORK"/{passwd,group,nsswitch.conf}

# edit FILE SED-COMMAND: in place, for it is mounted
edit() {
        local text
        text=$(sed "$2" "$WORK/$1") && printf '%s\n' "$text" >"$WORK/$1"
}

# ---- sessions -----------------------------------------------------------------------------------------------------------

# session ID UID USER [ONLY]: begins one that has a ring and no copies yet
session() {
        local in out
        mkfifo "$WORK/$1.in" "$WORK/$1.out"
        "$KEYROTA_BUILD/tests/unit/session-tool" "$(run_folder)" "$2" "$3" sshd "${4-}" <"$WORK/$1.in" >"$WORK/$1.out" &
        SESSION_PID[$1]=$!
        exec {in}>"$WORK/$1.in" {out}<"$WORK/$1.out"
        SESSION_IN[$1]=$in
        SESSION_OUT[$1]=$out
        read -r -u "$out" || bail_out "no session of $3"
}

# ask ID COMMAND...: what the session's process answers
ask() {
        local id=$1 answer
        shift
        printf '%s\n' "$*" >&"${SESSION_IN[$id]}"
        IFS= read -r -u "${SESSION_OUT[$id]}" answer
        printf '%s\n' "$answer"
}

end_session() {
        local in=${SESSION_IN[$1]} out=${SESSION_OUT[$1]}
        echo end >&"$in" # other sessions have inherited the pipe's end
        wait "${SESSION_PID[$1]}"
        exec {in}>&- {out}<&-
        unset "SESSION_PID[$1]" "SESSION_IN[$1]" "SESSION_OUT[$1]"
        rm "$WORK/$1".*
}
