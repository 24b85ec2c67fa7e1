#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Which lines of pam_keyrota.so no test reaches: builds it for gcov in a folder of its own, runs the PAM tests, and lists every line that none of them executed.
# Each of those needs its reason in tests/pam/unreached; a line without one fails, and so does a reason without its line.
#
#     tests/pam/coverage.sh [FOLDER]          (build/coverage)

set -u -o pipefail

source=$(realpath -- "$(dirname -- "$0")/../..") || exit 99
folder=$source/build/coverage
(( $# )) && folder=$(realpath -m -- "$1")
tests=(tests/pam/test-module tests/pam/test-session tests/pam/test-session-faults tests/pam/test-mutated-tables
       tests/pam/account.sh tests/pam/control-flags.sh tests/pam/session.sh
       tests/unit/test-access tests/unit/test-audit tests/unit/test-copies) # of what the module shares with keyrota

(( EUID == 0 )) || { echo 'only root can make a table that the module trusts' >&2; exit 99; }
mkdir -p -- "$folder" && cd -- "$folder" || exit 99
[[ -e Makefile ]] || "$source/configure" CC=gcc CFLAGS='-g -O0 --coverage' LDFLAGS=--coverage >configure.log || exit 99
find . -name '*.gcda' -delete
make -s check TESTS="${tests[*]}" >check.log 2>&1 || { echo "a test failed; see $folder/check.log" >&2; exit 1; }

# The objects of FILE|FILE..., in each program that it is linked to: a line counts as reached when it was in any. "FILE<TAB>TEXT", in the order of the files.
unreached() {
        local gcda
        while read -r gcda; do
                gcov --stdout "$gcda" 2>/dev/null
        done < <(find . -name '*.gcda' | grep -E "/([a-z_]+-)?($1)\.gcda$") |
                awk -v source="$source/" '
                        /^ *-: *0:Source:/ { file = $0; sub(/^ *-: *0:Source:/, "", file); sub(/^(\.\.\/)+/, "", file); sub("^" source, "", file); next }
                        {
                                if (file !~ /^(pam|src)\/[a-z-]+\.[ch]$/ || !match($0, /^ *[^:]+: *[0-9]+:/))
                                        next
                                count = $0; sub(/:.*/, "", count); gsub(/[ *]/, "", count)
                                line = substr($0, 1, RLENGTH - 1); sub(/.*: */, "", line)
                                text = substr($0, RLENGTH + 1)
                                is_function[file SUBSEP (line + 0)] = text ~ /^[a-z]/
                                gsub(/^[ \t]+|[ \t]+$/, "", text)
                                if (count == "-")
                                        next
                                key = file SUBSEP (line + 0)
                                texts[key] = text
                                reached[key] = reached[key] || count !~ /^[#=]/
                        }
                        END {
                                for (key in texts) {
                                        split(key, parts, SUBSEP)
                                        n_all++
                                        if (!reached[key])
                                                printf "%s\t%d\t%s\t%d\n", parts[1], parts[2], texts[key], is_function[key]
                                }
                                print n_all > "lines"
                        }' | sort -t $'\t' -k 1,1 -k 2,2n |
                awk -F '\t' -v OFS='\t' '
                        # A function that is never called is one thing.
                        within == $1 && $3 == "}" { within = ""; next }
                        within == $1 { next }
                        { print $1, $2, $3; within = $4 ? $1 : "" }'
}

# The module's sources, as the Makefile has them.
stems=$(sed -n '/^pam_keyrota_la_SOURCES = /,/[^\\]$/p' "$source/Makefile.am" | grep -oE '[a-z_-]+\.c' | sed 's/\.c$//' | paste -sd '|')
unreached "$stems" >unreached
join_key() { cut -f "$1" "$2" | sort; }
missing=$(comm -23 <(join_key 1,3 unreached) <(grep -v '^#' "$source/tests/pam/unreached" | cut -f 1,2 | sort))
obsolete=$(comm -13 <(join_key 1,3 unreached) <(grep -v '^#' "$source/tests/pam/unreached" | cut -f 1,2 | sort))

cat unreached
echo "$(cat lines) lines of code, $(wc -l <unreached) of them reached by no test"
[[ -z $missing ]] || printf 'without a reason in tests/pam/unreached:\n%s\n' "$missing"
[[ -z $obsolete ]] || printf 'in tests/pam/unreached, but reached or gone:\n%s\n' "$obsolete"
[[ -z $missing$obsolete ]]
