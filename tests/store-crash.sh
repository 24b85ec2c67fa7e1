#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The store under strace: a run is killed before each of its system calls, or one of them fails, and afterwards every secret is old or new and
# whole, and the next run works. Also what a run syncs, and that one with nothing to do writes nothing.

. "${0%/*}/tap.sh"

set -u -o pipefail

(( EUID == 0 )) || skip_all 'stored files must be root'\''s'
command -v strace >/dev/null || skip_all 'no strace'
strace -o /dev/null true 2>/dev/null || skip_all 'strace cannot trace here'

actor=${KEYROTA_BUILD:?is the build directory; run this with make check}/tests/unit/store-actor
export ASAN_OPTIONS=detect_leaks=0      # which does not work under strace

scratch=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-crash.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

new_tree() {
        rm -rf "$scratch/tree"
        cp -a "$scratch/base" "$scratch/tree"
}

act() {
        "$actor" "$scratch/tree" "$@"
}

# traced OPTIONS -- VERB N
traced() {
        local options=()
        while [[ $1 != -- ]]; do options+=("$1"); shift; done
        shift
        # In a subshell that says "Killed" to nobody.
        (strace -qq -o "$scratch/trace" "${options[@]}" "$actor" "$scratch/tree" "$@"; exit $?) 2>/dev/null
}

# calls VERB N: "NAME FIRST LAST" of each system call of such a run, counted from its start, once it looks at the tree
calls() {
        new_tree
        traced -- "$@" || return
        sed -n 's/^\([a-z0-9_]*\)(.*/\1/p' "$scratch/trace" | awk '
                $1 == "openat2" { begun = 1 }
                { n[$1]++ }
                begun { if (!($1 in first)) first[$1] = n[$1]; last[$1] = n[$1] }
                END { for (c in first) print c, first[c], last[c] }' | sort
}

# whole PATTERN: every secret loads, and the generations are like this
whole() {
        local got
        got=$(act check "$count" 2>&1) || { problem="check says: $got"; return 1; }
        # shellcheck disable=SC2053
        [[ $got == $1 ]] || { problem="the generations are $got"; return 1; }
}

no_leftovers() {
        local found
        found=$(find "$scratch/tree" -name '.#*')
        [[ -z $found ]] || { problem="left behind: $found"; return 1; }
}

# next_run VERB WANTED: it works, cleans up and brings every secret to that generation
next_run() {
        local verb=$1 wanted=$2 got
        got=$(act "$verb" "$count" 2>&1) || { problem="the next run says: $got"; return 1; }
        whole "$wanted" && no_leftovers
}

# killed NAME FIRST LAST VERB PATTERN NEXT: such a run dies before that NAME, each time another
killed() {
        local name=$1 first=$2 last=$3 verb=$4 pattern=$5 next=$6 n status problem=
        for (( n = first; n <= last; n++ )); do
                new_tree
                traced -e "inject=$name:signal=KILL:when=$n" -- "$verb" "$count"
                status=$?
                (( status == 137 )) || problem="it ended with status $status"
                [[ -n $problem ]] || { whole "$pattern" && next_run "$verb" "$next"; }
                [[ -z $problem ]] || { fail "killed before $name, $verb $count" "at call $n: $problem"; return; }
        done
        pass "killed before $name, $verb $count: $((last - first + 1)) times"
}

# failing NAME FIRST LAST VERB ERROR PATTERN NEXT: NAME fails once, each time another
failing() {
        local name=$1 first=$2 last=$3 verb=$4 error=$5 pattern=$6 next=$7 n status problem=
        for (( n = first; n <= last; n++ )); do
                new_tree
                traced -e "inject=$name:error=$error:when=$n" -- "$verb" "$count"
                status=$?
                (( status == 1 )) || problem="it ended with status $status"
                [[ -n $problem ]] || { no_leftovers && whole "$pattern" && next_run "$verb" "$next"; }
                [[ -z $problem ]] || { fail "$name gives $error, $verb $count" "at call $n: $problem"; return; }
        done
        pass "$name gives $error, $verb $count: $((last - first + 1)) times"
}

matrix() {
        local verb=$1 pattern=$2 next=$3 name first last
        while read -r name first last; do
                case $name in exit_group|brk|mmap|munmap|mlock|madvise|mprotect|rt_sig*|futex|prctl|getpid|getuid|geteuid|getgid|getegid|lseek) continue ;; esac
                killed "$name" "$first" "$last" "$verb" "$pattern" "$next"
        done < <(calls "$verb" "$count")
}

# in_trace VERB N EXPRESSION: those calls of a run, their names in order
in_trace() {
        new_tree
        traced -e "trace=$3" -- "$1" "$2" || { echo failed; return; }
        sed -n 's/^\([a-z0-9_]*\)(.*/\1/p' "$scratch/trace" | paste -sd' '
}

# span_of VERB NAME: "FIRST LAST" of that call
span_of() {
        calls "$1" "$count" | sed -n "s/^$2 //p"
}

# ---- what is written and synced --------------------------------------------------------------------
mkdir "$scratch/base"
new_tree
ok 'three secrets are made' act new 3
ok 'and rotated' act rotate 3
rm -rf "$scratch/base"
cp -a "$scratch/tree" "$scratch/base"

writing=write,pwrite64,fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,chmod,fchmod,fchmodat,chown,fchown
writing+=,ftruncate,truncate,link,linkat,symlinkat,utimensat,fallocate,mknodat
is 'one secret: written, synced, renamed, its folder synced' "$(in_trace rotate 1 "$writing")" 'write fsync renameat fsync'
is 'three secrets in two folders: one syncfs for all' "$(in_trace rotate 3 "$writing")" \
        'write write write syncfs renameat renameat renameat fsync fsync'
is 'a run with nothing to do writes and syncs nothing' "$(in_trace read 3 "$writing")" ''
is 'nor does it make a file' "$(in_trace read 3 openat >/dev/null; grep -c O_EXCL "$scratch/trace")" 0

# ---- killed ----------------------------------------------------------------------------------------
count=1
matrix rotate '[23]' '[34]'
count=3
matrix rotate '[23],[23],[23]' '[34],[34],[34]'

# ---- errors ----------------------------------------------------------------------------------------
# All or nothing until the first rename.
for error in ENOSPC EIO EROFS; do
        # shellcheck disable=SC2046
        failing write $(span_of rotate write) rotate "$error" '2,2,2' '3,3,3'
        # shellcheck disable=SC2046
        failing syncfs $(span_of rotate syncfs) rotate "$error" '2,2,2' '3,3,3'
        # shellcheck disable=SC2046
        failing renameat $(span_of rotate renameat) rotate "$error" '[23],[23],[23]' '[34],[34],[34]'
        # shellcheck disable=SC2046
        failing fsync $(span_of rotate fsync) rotate "$error" '3,3,3' '4,4,4'
done
count=1
for error in ENOSPC EIO EROFS; do
        failing fsync 1 1 rotate "$error" 2 3
        failing fsync 2 2 rotate "$error" 3 4
done

# ---- from nothing ----------------------------------------------------------------------------------
rm -rf "$scratch/base"
mkdir "$scratch/base"
count=3
matrix new '[01],[01],[01]' '1,1,1'

# ---- the key-encryption key ------------------------------------------------------------------------
if [[ -x /usr/bin/systemd-creds ]]; then
        mkdir "$scratch/base/etc"
        systemd-id128 new >"$scratch/base/etc/machine-id"
        # shellcheck disable=SC2317
        kek_killed() {
                local name=$1 first last n kid
                read -r first last < <(calls kek 0 | sed -n "s/^$name //p")
                for (( n = first; n <= last; n++ )); do
                        new_tree
                        traced -e "inject=$name:signal=KILL:when=$n" -- kek 0
                        kid=$(act kek-check 0) || return
                        act kek 0 || return
                        [[ $kid == none || $(act kek-check 0) == "$kid" ]] || return
                        [[ $(find "$scratch/tree/var/lib/keyrota" -type f | wc -l) == 1 ]] || return
                done
                (( last > 0 ))
        }
        for name in openat write fsync linkat; do
                ok "the key-encryption key is whole or absent, killed before $name" kek_killed "$name"
        done
else
        skip 'the key-encryption key is whole or absent' 'no systemd-creds'
fi

done_testing
