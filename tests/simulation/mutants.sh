#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The simulator must notice a lifecycle that is wrong. Each mutant is a copy of src/lifecycle*.c with one thing broken, compiled with the simulator
# and run until its first violation; one that is not noticed is a failed test, and so is one whose pattern is no longer in the source (then the pattern
# here is to be brought up to date). $KEYROTA_BUILD is the build; make check sets it. Arguments: only these mutants.

# shellcheck disable=SC2016 # $1 is perl's
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=${here%/tests/simulation}
# shellcheck source=tests/tap.sh
. "$here/../tap.sh"
set -u -o pipefail

: "${KEYROTA_BUILD:?is the folder of the build; run this with make check}"
archive=$KEYROTA_BUILD/.libs/libkeyrota.a
[[ -z ${KEYROTA_SANITIZED-} ]] || skip_all 'the mutants are compiled without sanitizers'
[[ -e $archive ]] || bail_out "no $archive; make it first"

SEEDS=1100                              # at most; nearly all are noticed within the first hundred
scratch=$(mktemp -d "${TMPDIR:-/tmp}/keyrota-mutants.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

compile() {
        ${CC:-cc} -std=gnu17 -O1 -w -D_GNU_SOURCE -DCONFIG_DIR='"/etc/keyrota"' -DVENDOR_DIR='"/usr/lib/keyrota"' -DSTATE_DIR='"/var/lib/keyrota"' \
                -DRUN_DIR='"/run/keyrota"' -DSYSTEMD_CREDS='"/usr/bin/systemd-creds"' -I"$source/src" -I"$here" "$@"
}

# build NAME: $scratch/NAME, of $scratch/src and the simulator's objects. What is in src/ hides its like in the archive.
build() {
        read -ra libs < <(pkg-config --libs libcrypto jansson libsystemd libkeyutils)
        compile -o "$scratch/$1" "$scratch"/*.o "$scratch"/src/*.c "$archive" "${libs[@]}" -linih
}

# fresh: $scratch/src as it is in the source.
fresh() {
        rm -rf "$scratch/src"
        mkdir "$scratch/src"
        cp "$source"/src/lifecycle*.c "$scratch/src"
}

# mutate FILE PERL-SUBSTITUTION: false when nothing was there to substitute.
mutate() {
        local file=$scratch/src/$1
        cp "$file" "$scratch/before"
        perl -0777 -pi -e "$2" "$file" && ! cmp -s "$scratch/before" "$file"
}

# mutant NAME DESCRIPTION FILE SUBSTITUTION [FILE SUBSTITUTION]...
wanted=("$@")
mutant() {
        local name=$1 description=$2 output status
        shift 2
        (( ! ${#wanted[@]} )) || [[ " ${wanted[*]} " == *" $name "* ]] || return 0

        fresh
        while (( $# )); do
                mutate "$1" "$2" || { fail "$description" "src/$1 has nothing that fits $2"; return; }
                shift 2
        done
        output=$(build "$name" 2>&1) || { fail "$description" "it cannot be compiled:" "$output"; return; }
        output=$("$scratch/$name" --brief --runs=$SEEDS 2>&1)
        status=$?
        rm -f "${scratch:?}/$name"
        if (( status == 1 )) && grep -q '^# seed' <<<"$output"; then
                pass "$description"
                diag "$(sed -n '/^# seed/{s/^# //p;q}' <<<"$output")"
        else
                fail "$description" "not noticed in $SEEDS hosts, status $status"
        fi
}

for file in "$here"/*.c; do
        output=$(compile -c "$file" -o "$scratch/$(basename "$file" .c).o" 2>&1) || bail_out "$output"
done
fresh
output=$(build unchanged 2>&1) || bail_out "$output"
ok 'as it is, nothing is noticed' "$scratch/unchanged" --brief --runs=110

# The three of the design.
mutant prepublication 'no prepublication' \
        lifecycle.c 's/policy_prepublishes\(policy\) \? policy_prepublish\(policy\) : 0/0/'
mutant skew 'overlap without clock skew' \
        lifecycle.c 's/policy_overlap\(policy\)/policy->token_lifetime/g' \
        lifecycle-command.c 's/policy_overlap\(policy\)/policy->token_lifetime/g'
mutant evidence 'activation without evidence' \
        lifecycle.c 's/!verifiers_hold_set\(advance\)/false/g'

# Evidence.
mutant unpublished 'evidence of a generation that is not published' \
        lifecycle.c 's/facts->published >= generation && //'
mutant unknown 'nothing known of the consumers is taken for evidence' \
        lifecycle.c 's/return facts->known && /return /'
mutant signers 'overlap begins before the last signer has left' \
        lifecycle.c 's/if \(!left\)/if (false)/'
mutant verify-generation 'a new key does not ask for new evidence' \
        lifecycle.c 's/(return r;\n) *keyset->verify_generation = keyset->generation \+ 1;\n( *if \(signs\))/$1$2/'
mutant sign-generation 'an activation does not ask for new evidence' \
        lifecycle.c 's/\n *keyset->sign_generation = keyset->generation \+ 1;//'

# Times.
mutant published-early 'publication is counted from creation' \
        lifecycle.c 's/\.published = TIME_NEVER/.published = now/'
mutant at-once 'no successor is made, but a key that signs at once' \
        lifecycle.c 's/bool prepublishes = policy_prepublishes\(advance->policy\)/bool prepublishes = false/'
mutant anchor 'overlap is counted from the activation of the next key' \
        lifecycle.c 's/active->times\.deactivates = TIME_NEVER;/active->times.deactivates = now;/' \
        lifecycle.c 's/key->times\.deactivates = time_add\(advance->now, CUT_OFF\);//'
mutant whole-seconds 'times cut to whole seconds' \
        lifecycle.c 's/#define CUT_OFF 1/#define CUT_OFF 0/'
mutant destroyed-early 'a key is destroyed when its overlap begins' \
        lifecycle.c 's/ \|\| \(signed_once && !is_time\(advance, key->times\.destroys\)\)//'
mutant never-destroyed 'no key is ever destroyed' \
        lifecycle.c 's/(static bool is_to_be_destroyed\([^{]*\{\n)/$1        if (key) return false;\n/'
mutant window 'steps are taken outside the window' \
        lifecycle.c 's/return window_next\(&policy->window, later\(when, advance->now\)\)/return when/'
mutant storm 'a cryptoperiod of a second' \
        lifecycle.c 's/return time_add\(now, policy->cryptoperiod - draw\)/return time_add(now, draw > 1 ? 1 : 1)/'
mutant never-rotated 'the end of a cryptoperiod changes nothing' \
        lifecycle.c 's/: active->times\.deactivates;/: TIME_NEVER;/'

# The clock.
mutant clock 'a clock that was set is ignored' \
        lifecycle.c 's/step >= -LIFECYCLE_CLOCK_TOLERANCE && //'
mutant distrust 'a clock that cannot be trusted is believed' \
        lifecycle.c 's/bool waits = false;/bool waits = false; if (since) return waits;/'
mutant activation-order 'after the clock was set back, activations do not grow' \
        lifecycle.c 's/activates = later\(now, time_add\(active->times\.activates, 1\)\)/activates = now/'
mutant long-cryptoperiod 'after the clock was set back, a cryptoperiod is as much longer' \
        lifecycle.c 's/key->times\.deactivates = draw_end\(policy, now, random\)/key->times.deactivates = draw_end(policy, activates, random)/'

# Edits and commands.
mutant caches 'a shorter jwks_max_age forgets the caches of the longer one' \
        lifecycle.c 's/, advance->keyset->caches_until\)/, 0)/'
mutant keep-longer 'a longer token_lifetime is not kept for' \
        lifecycle-command.c 's/times->overlap = overlap;/;/' \
        lifecycle.c 's/(key->times\.overlap|active->times\.overlap) = later\([^;]*;/$1 = policy_overlap(policy);/g'
mutant shorter-overlap 'a shorter token_lifetime forgets the tokens of the longer one' \
        lifecycle.c 's/active->times\.overlap = later\([^;]*;/active->times.overlap = policy_overlap(policy);/'
mutant revoked-kept 'a revoked key is kept for its overlap' \
        lifecycle-command.c 's/r = keyset_destroy\(keyset, i, now, "compromised"\);/keyset->keys[i].times.destroys = now + keyset->keys[i].times.overlap; i++; r = 0;/'
mutant rolled-back 'a key that signs again is destroyed when that was decided' \
        lifecycle.c 's/\n *key->times\.destroys = TIME_NEVER;\n/\n/'
mutant retired 'a removed policy lets keys go that still sign' \
        lifecycle.c 's/advance->facts->known && advance->facts->signers == LIFECYCLE_ALL/true/'

done_testing
