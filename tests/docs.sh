#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The documentation against the programs: every option and key is in the man pages and nothing else is, every example
# policy is right, the pages are well-formed. $KEYROTA, $KEYROTA_CREDENTIAL and $KEYROTA_READ are the programs; make check sets them.

. "${BASH_SOURCE[0]%/*}/tap.sh"

set -u -o pipefail

: "${KEYROTA:?is the program to test; run this with make check}"
top=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
pages=("$top"/man/*.[1-8])
for page in "$top"/pam/*.[1-8]; do
        [[ ! -e $page ]] || pages+=("$page")
done
work=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-docs.XXXXXX") || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
umask 022

# ---- form ---------------------------------------------------------------------------------------------------------------

# page_is_well_formed PAGE: prints what groff and mandoc have to say, fails when that is anything.
page_is_well_formed() {
        local said
        said=$(MANWIDTH=80 LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l "$1" 2>&1 >"$work/page")
        ! command -v mandoc >/dev/null || said+=$(mandoc -Tlint -W warning "$1" 2>&1 | grep -v 'missing date') # a page needs none
        [[ -n $said ]] && printf '%s\n' "$said"
        [[ -z $said && -s $work/page ]]
}

check_form() {
        local page
        for page in "${pages[@]}"; do
                if command -v man >/dev/null; then
                        ok "${page##*/} has no warnings" page_is_well_formed "$page"
                else
                        skip "${page##*/} has no warnings" 'man (package man-db) is missing'
                fi
                if command -v lexgrog >/dev/null; then
                        ok "whatis can read the name in ${page##*/}" lexgrog "$page"
                else
                        skip "whatis can read the name in ${page##*/}" 'lexgrog (package man-db) is missing'
                fi
        done

        printf '.TH X 8\n.SH NAME\nx \\- y\n.sp foo\n.ti bar\n.XYZ\n' >"$work/bad.8"
        ! command -v man >/dev/null || ok 'a page with errors would be noticed' ! page_is_well_formed "$work/bad.8"
}

# ---- options ------------------------------------------------------------------------------------------------------------

# The options that --help lists (standard input), one a line, sorted; every program has -h and --help.
options_of_help() {
        sed -n '/^ *-/ s/^\( *-[^ ,]*,\{0,1\} *-\{0,2\}[a-z-]*\).*/\1/p' | grep -oE -- '-{1,2}[a-z][a-z-]*' |
                grep -vxE -- '-h|--help' | sort -u
}

# options_of_page PAGE HEADING: those that the page describes below that heading, as tags of paragraphs.
options_of_page() {
        sed 's/\\-/-/g; s/\\f[A-Z]//g; s/\\ / /g; s/"//g' "$1" | awk -v heading="$2" '
                /^\.S[HS] / {
                        text = $0; sub(/^\.S[HS] /, "", text)
                        # the heading itself, or with arguments behind it
                        inside = text == heading || index(text, heading " ") == 1
                        next
                }
                /^\.TP/ { tag = inside; next }
                tag { print; tag = 0 }' |
                grep -oE -- '(^| |,)-{1,2}[a-z][a-z-]*' | tr -d ' ,' | grep -vxE -- '-h|--help' | sort -u
}

check_options() {
        local verb verbs help
        help=$("$KEYROTA" --help)
        is 'keyrota(8) describes the global options of --help' "$(options_of_page "$top/man/keyrota.8" OPTIONS)" "$(options_of_help <<<"$help")"
        verbs=$(sed -n '/^Verbs:/,/^$/ s/^  \([a-z]*\) .*/\1/p' <<<"$help" | sort)
        like '--help lists verbs' "$verbs" provision
        is 'keyrota(8) describes the verbs of --help' \
                "$(sed -n 's/^\.SS "\{0,1\}keyrota \([a-z]*\).*/\1/p' "$top/man/keyrota.8" | sort)" "$verbs"
        for verb in $verbs; do
                [[ $verb != help ]] || continue # shows the global options
                ok "keyrota $verb --help succeeds" "$KEYROTA" "$verb" --help
                is "keyrota(8) describes the options of keyrota $verb --help" "$(options_of_page "$top/man/keyrota.8" "keyrota $verb")" \
                        "$("$KEYROTA" "$verb" --help | options_of_help)"
        done
        like 'options are found at all' "$("$KEYROTA" read --help | options_of_help | tr '\n' ' ')" '--credential --force --format'
        [[ -z ${KEYROTA_CREDENTIAL-} ]] ||
                is 'keyrota-credential(8) describes the options of --help' "$(options_of_page "$top/man/keyrota-credential.8" OPTIONS)" \
                        "$("$KEYROTA_CREDENTIAL" --help | options_of_help)"
        [[ -z ${KEYROTA_READ-} ]] ||
                is 'keyrota-read(8) describes the options of --help' "$(options_of_page "$top/man/keyrota-read.8" OPTIONS)" \
                        "$("$KEYROTA_READ" --help | options_of_help)"
}

# ---- keys of policies ---------------------------------------------------------------------------------------------------

# known_keys FILE SECTION: what keyrota check says can be written there, sorted.
known_keys() {
        local tree=$work/known
        rm -rf "$tree" && mkdir -p "$tree/etc/keyrota/policy.d"
        printf '[%s]\nqqqqqqqqqq = 1\n' "$2" >"$tree/etc/keyrota/$1"
        "$KEYROTA" --root="$tree" check 2>&1 | sed -n 's/.*known are //p' | sed 's/, /\n/g; s/ and /\n/' | sort
}

# described_keys HEADING: the tags below it in keyrota-policy(5), but for lists within.
described_keys() {
        awk -v heading=".SS $1" '
                /^\.S[HS] / { inside = $0 == heading; next }
                /^\.RS/ { deep++ }
                /^\.RE/ { deep-- }
                /^\.TP/ { tag = inside && !deep; next }
                tag { print $2; tag = 0 }' "$top/man/keyrota-policy.5" | sort
}

check_keys() {
        local section
        for section in secret rotation access; do
                is "keyrota-policy(5) describes the keys of [$section]" "$(described_keys "[$section]")" "$(known_keys policy.d/x.ini "$section")"
        done
        is 'keyrota-policy(5) describes the keys of [deliver:UNIT]' "$(described_keys '[deliver:UNIT]')" \
                "$(known_keys policy.d/x.ini deliver:x.service)"
        is 'keyrota-policy(5) describes the keys of [keyrota]' "$(described_keys '[keyrota]')" "$(known_keys keyrota.conf keyrota)"
        like 'keys are found at all' "$(known_keys policy.d/x.ini secret | tr '\n' ' ')" '^algorithm environment size $'
}

# ---- examples -----------------------------------------------------------------------------------------------------------

# extract DOCUMENT TREE: writes each example whose first line is a comment with the name of its file below /etc/keyrota.
extract() {
        sed 's/\\-/-/g; s/\\(aq/'\''/g; s/\\&//g; s/\\e/\\/g' "$1" | awk -v tree="$2" '
                /^\.EX/ || /^```/ && !fenced { first = 1; fenced = /^```/; next }
                /^\.EE/ || /^```/ { if (file) close(file); file = ""; first = fenced = 0; next }
                first {
                        first = 0
                        if (!/^# \/etc\/keyrota\//) next
                        file = tree $2
                        folder = file; sub("/[^/]*$", "", folder)
                        system("mkdir -p \"" folder "\"")
                }
                file { print >file }'
}

# tree_is_right TREE: keyrota check finds nothing, not even a warning, and has seen every policy.
tree_is_right() {
        local said n
        n=$(find "$1/etc/keyrota/policy.d" -maxdepth 1 -name '*.ini' | wc -l)
        said=$("$KEYROTA" --root="$1" check 2>&1)
        local status=$?
        printf '%s\n' "$said"
        (( ! status && n )) && [[ $said == *"$n of $n "* && $said != *warning* ]]
}

new_tree() {
        rm -rf "$work/tree" && mkdir -p "$work/tree/etc/keyrota/policy.d"
        echo DEPLOYMENT=docs >"$work/tree/etc/machine-info"
        systemd-id128 new >"$work/tree/etc/machine-id"
}

check_examples() {
        local document file
        for document in "$top/README.md" "$top/man/keyrota-policy.5"; do
                new_tree
                extract "$document" "$work/tree"
                ok "every policy in ${document##*/} is right" tree_is_right "$work/tree"
        done
        new_tree
        for file in "$top"/etc/samples/policy.d/*.ini; do
                install -m 0644 "$file" "$work/tree/etc/keyrota/policy.d/"
        done
        ok 'every sample policy is right' tree_is_right "$work/tree"
        if [[ -e $top/etc/keyrota.conf ]]; then
                install -m 0644 "$top/etc/keyrota.conf" "$work/tree/etc/keyrota/"
                ok 'and is with the installed keyrota.conf' tree_is_right "$work/tree"
                sed 's/^[#;] *\([a-z_]* *= *[^ ]\)/\1/; s/^[#;] *\(\[[a-z]*\]\)/\1/' "$top/etc/keyrota.conf" >"$work/tree/etc/keyrota/keyrota.conf"
                ok 'and with its commented settings put in' tree_is_right "$work/tree"
        fi
        echo 'colour = red' >>"$work/tree/etc/keyrota/policy.d/billing.ini"
        ok 'an example that is wrong would be noticed' ! tree_is_right "$work/tree"
}

check_form
check_options
check_keys
check_examples
done_testing
