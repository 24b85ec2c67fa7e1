# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What tests/system/run is made of: cached Debian trees, a layer with keyrota built in it, and systems booted
# from copy-on-write copies of that. Sourced by tests/system/run and ./check, and acts on nothing when
# sourced.

TOP=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd -P)
TEST_CACHE=${KEYROTA_TEST_CACHE:-/var/cache/keyrota-tests}
TEST_SUITES=(bookworm trixie sid)
GUEST_SOURCE=/usr/src/keyrota                   # in a test system: the source, with its build products
GUEST_STATE=/var/lib/keyrota-tests              # in a test system: what its test writes, kept from boot to boot

# Not a release: there for what the systemd of the releases cannot do yet. It changes from day to day, so that one that
# cannot be had is no failure, and a warning of its compiler neither.
suite_is_preview() {
        [[ $1 == sid ]]
}

say() {
        printf '%s\n' "$*"
}

die() {
        printf '%s: %s\n' "${0##*/}" "$*" >&2
        exit 1
}

# Logs of earlier runs, after a day.
logs_sweep() {
        find "$TOP/build" -mindepth 1 -maxdepth 1 \( -name 'check.??????' -o -name 'system.??????' \) -mtime +0 \
                -exec rm -rf {} + 2>/dev/null
}

# ---- the source --------------------------------------------------------------------------------------------

# The files that git has or would take, as they are in the working tree: no build products. Elsewhere than in
# a checkout (an unpacked release, the copy that ./check makes) every file.
source_files() {
        local file
        if [[ -e $TOP/.git ]]; then
                git -c safe.directory="$TOP" -C "$TOP" ls-files -co --exclude-standard -z
        else
                (cd "$TOP" && find . -name autom4te.cache -prune -o -path ./build -prune -o ! -type d -printf '%P\0')
        fi | while IFS= read -r -d '' file; do
                [[ ! -e $TOP/$file && ! -L $TOP/$file ]] || printf '%s\0' "$file"
        done
}

source_copy() {
        mkdir -p "$1" && source_files | tar -C "$TOP" --null --no-recursion -T - -cf - | tar -C "$1" --no-same-owner -xf -
}

# ---- results -----------------------------------------------------------------------------------------------

# Reads a TAP file; prints a line `PASS|FAIL|SKIP<tab>LABEL: test` for each test. STATUS is its program's exit
# status. A missing or wrong plan, a test that died and one that tested nothing are failures too.
tap_results() {
        local file=$1 label=$2 status=$3

        awk -v label="$label" -v status="$status" '
        function result(verdict, text) { print verdict "\t" label ": " text }
        /^1\.\.[0-9]+/ {
                planned = substr($1, 4) + 0
                plans++
                if (planned == 0 && tolower($0) ~ /# *skip/) { sub(/.*# */, ""); result("SKIP", $0); skipped = 1 }
        }
        /^Bail out!/ { result("FAIL", $0); bailed = 1 }
        /^(not )?ok( |$)/ {
                count++
                failed = ($1 == "not")
                text = $0
                sub(/^(not )?ok *[0-9]* *-? */, "", text)
                gsub(/\\#/, "#", text)
                if (!failed && tolower(text) ~ /# *skip/) result("SKIP", text)
                else if (failed) { result("FAIL", text); failures++ }
                else result("PASS", text)
        }
        END {
                if (bailed || skipped) exit
                if (plans != 1) result("FAIL", "ended with status " status " after " count + 0 " tests, without a plan")
                else if (planned != count) result("FAIL", "planned " planned " tests and ran " count + 0)
                else if (status != 0 && !failures) result("FAIL", "every test passed, but it exited with status " status)
        }' "$file"
}

# The same lines of what `make check` left in the build folder DIR, whose logs go to LOGS. Nothing there is a failure, as is
# a test without results.
results_of_make_check() {
        local dir=$1 label=$2 logs=$3 file name

        mkdir -p "$logs"
        (cd "$dir" && find . -name '*.trs' -printf '%P\n' | sort) | while IFS= read -r file; do
                name=${file%.trs}
                cp "$dir/$name.log" "$logs/${name//\//-}.log"
                # the driver adds lines `VERDICT: tests/NAME N - DESCRIPTION` to what the test printed
                awk -v label="$label: ${name#tests/}" -v prefix="$name" '
                /^(PASS|FAIL|SKIP|XFAIL|XPASS|ERROR): / && index($2, prefix) == 1 {
                        verdict = substr($1, 1, length($1) - 1)
                        sub(/^[A-Z]+: [^ ]+ ?([0-9]+ )?(- )?/, "")
                        # the exit status of a test that failed says no more
                        if (verdict == "ERROR" && failed) next
                        if (verdict != "PASS" && verdict != "SKIP") verdict = "FAIL"
                        if (verdict == "FAIL") failed = 1
                        print verdict "\t" label ": " $0
                        count++
                }
                END { if (!count) print "FAIL\t" label ": has no result" }' "$dir/$name.log"
        done | awk -v label="$label" '{ print } END { if (!NR) print "FAIL\t" label ": ran no test" }'
}

# `N passed, N failed, N skipped` of files of such lines.
results_total() {
        cat -- "$@" 2>/dev/null | awk -F'\t' '
        { n[$1]++ }
        END { printf "%d passed, %d failed, %d skipped\n", n["PASS"], n["FAIL"], n["SKIP"] }'
}

results_failed() {
        cat -- "$@" 2>/dev/null | awk -F'\t' '$1 == "FAIL" { print $2; found = 1 } END { exit !found }'
}

# What a TAP file tells of its failures: each with what is said below it, but the journal. Where none is: what
# a sanitizer or valgrind reported, or the end of the file.
tap_failures() {
        awk '/^not ok|^Bail out!/ { shown = 1 } /^ok|^1\.\.|^PASS/ { shown = 0 } /^#\|/ { next } shown' "$1" | head -n 60 | grep . ||
                grep -m 1 -A 25 -E 'ERROR: [A-Za-z]*Sanitizer|runtime error:' "$1" ||
                grep -m 25 -E '^==[0-9]+==' "$1" ||
                tail -n 20 "$1"
}

# The same of the logs in a folder, as results_of_make_check writes them.
show_failures() {
        local log
        grep -lE '^(not ok|Bail out!|ERROR)' "$1"/*.log 2>/dev/null | head -n 10 | while IFS= read -r log; do
                say "    $log:"
                tap_failures "$log" | sed 's/^/    | /'
        done
}

# True when something ran and nothing failed.
results_good() {
        cat -- "$@" 2>/dev/null | awk -F'\t' '{ n[$1]++ } END { exit !(n["PASS"] > 0 && !n["FAIL"]) }'
}

# ---- trees -------------------------------------------------------------------------------------------------

tree_packages() {
        local packages=(
                # to build
                autoconf automake gcc libc6-dev libinih-dev libjansson-dev libkeyutils-dev libpam0g-dev libssl-dev
                libsystemd-dev libtool make pkgconf
                # to boot
                dbus libpam-systemd systemd systemd-sysv
                # to test
                gdb jose jq keyutils openssl procps python3-cryptography python3-jwt strace
        )
        # systemd.pc is in a package of its own from Debian 13 on
        [[ $1 == bookworm ]] || packages+=(systemd-dev)
        # ways to log in
        suite_is_preview "$1" || packages+=(cron openssh-client openssh-server pamtester sshpass sudo)
        printf '%s\n' "${packages[@]}" | sort
}

# Where the tree of a suite is kept: another list of packages, or another recipe, is another tree.
tree_path() {
        local key
        key=$({ tree_packages "$1"; declare -f tree_bootstrap; } | sha256sum)
        printf '%s/%s-%s\n' "$TEST_CACHE" "$1" "${key:0:12}"
}

tree_bootstrap() {
        local suite=$1 target=$2 include options=()
        include=$(tree_packages "$suite" | paste -sd,)
        # A suite that moves says for how long its list of packages is good; a mirror may well be kept as it was for longer,
        # and nothing here is meant to be up to date.
        ! suite_is_preview "$suite" || options=(--aptopt='Acquire::Check-Valid-Until "false"')

        # A mount and a process namespace of its own: whatever becomes of us, nothing of it stays behind.
        # Persistent journal: read after the system has been powered off. Masked: what a test only waits for. Disabled: what a test
        # starts that wants it.
        setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
        mmdebstrap --mode=root --variant=minbase --format=directory --include="$include" \
                --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
                --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
                --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
                --customize-hook='mkdir -p "$1/var/log/journal"' \
                --customize-hook='systemctl --root="$1" --quiet mask apt-daily.timer apt-daily-upgrade.timer \
                        dpkg-db-backup.timer e2scrub_all.timer fstrim.timer console-getty.service getty.target' \
                --customize-hook='for unit in cron.service ssh.service ssh.socket; do
                        rm -f "$1"/etc/systemd/system/*.wants/"$unit"; done' \
                --customize-hook='mkdir -p "$1/etc/systemd/system-generators"
                        ln -s /dev/null "$1/etc/systemd/system-generators/systemd-ssh-generator"' \
                --customize-hook='echo keyrota-test >"$1/etc/hostname"; rm -f "$1/etc/resolv.conf"' \
                "${options[@]}" "$suite" "$target"
}

# Makes the tree where it is absent or incomplete, and holds a shared lock on it for as long as this shell
# lives.
tree_ensure() {
        local suite=$1 log=$2 tree lock
        tree=$(tree_path "$suite")

        mkdir -p "$TEST_CACHE" || return
        exec {lock}>>"$tree.lock" && flock -x "$lock" || return
        touch "$tree.lock"
        if [[ ! -e $tree/etc/keyrota-test-tree ]]; then
                say "  $suite: making the tree $tree"
                rm -rf --one-file-system "$tree" "$tree.new"
                if ! tree_bootstrap "$suite" "$tree.new" >"$log" 2>&1 </dev/null ||
                   ! touch "$tree.new/etc/keyrota-test-tree" || ! mv "$tree.new" "$tree"; then
                        rm -rf --one-file-system "$tree.new"
                        flock -u "$lock"
                        return 1
                fi
        fi
        flock -s "$lock"
}

# Removes trees that no run has used for a week, and built layers after a day, where none uses them now.
tree_sweep() {
        local file lock days
        for file in "$TEST_CACHE"/*.lock; do
                days=7
                [[ ${file##*/} != built-* ]] || days=0
                [[ -n $(find "$file" -mtime "+$days" 2>/dev/null) ]] || continue
                exec {lock}>>"$file" || continue
                flock -n -x "$lock" && rm -rf --one-file-system "${file%.lock}" "${file%.lock}.new" "$file"
                exec {lock}>&-
        done
}

# ---- systems -----------------------------------------------------------------------------------------------
# These run in the namespaces that tests/system/run makes for a suite (worker_start): mounts and processes end
# with it.

overlay_mount() {
        local root=$1 upper=$2 lower=$3
        mkdir -p "$root" "$upper" "$upper.work"
        mount -t overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$upper.work" keyrota-tests "$root" ||
                die "cannot mount an overlay on ${root%/*}; set TMPDIR to a folder on ext4, xfs, btrfs or tmpfs"
}

# A control group of our own for a container, in each of the hierarchies that systemd uses: with --keep-unit
# two containers started from one group would share their groups, and each would take the other's services for
# its own.
cgroup_paths() {
        local line mounted
        for mounted in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
                case $mounted in
                        */systemd) line=$(sed -n 's/^[0-9]*:name=systemd://p' /proc/self/cgroup) ;;
                        *) line=$(sed -n 's/^0:://p' /proc/self/cgroup) ;;
                esac
                [[ ! -e $mounted/cgroup.procs || -z $line ]] || printf '%s\n' "$mounted${line%/}/$1"
        done
}

cgroup_remove() {
        local path
        for path in $(cgroup_paths "$1"); do
                [[ ! -d $path ]] || find "$path" -depth -type d -exec rmdir {} + 2>/dev/null
        done
}

# Runs systemd-nspawn on ROOT; further arguments are its own. Bounded by TIMEOUT seconds; nothing to read on
# stdin. A network of its own also keeps apart the abstract names by which credential sockets are told who
# asks. The private users (all ids as they are) give it a register of user keyrings of its own, so that its @u
# is not this machine's.
container_run() {
        local root=$1 timeout=$2 machine=$3 path
        shift 3

        for path in $(cgroup_paths "$machine"); do
                mkdir -p "$path" && echo "$BASHPID" >"$path/cgroup.procs"
        done
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec timeout --kill-after=20 "$timeout" \
                systemd-nspawn --quiet --directory="$root" --machine="$machine" --register=no --keep-unit \
                --private-users=identity --private-network --system-call-filter=@keyring --capability=CAP_IPC_LOCK \
                --link-journal=no --resolv-conf=off --timezone=off "$@" </dev/null
}

# As container_run, in a subshell, and waits for it. Status 124: out of time.
container() {
        local status
        (container_run "$@")
        status=$?
        cgroup_remove "$3"
        return $status
}
