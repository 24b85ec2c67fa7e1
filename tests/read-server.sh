#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs read-server.py as root in a mount namespace with a /run, PAM services and accounts of its own, so that the journal, the stacks and
# the users of this machine are not touched; in a PID namespace, with which everything ends that a test has started; and without a terminal, which would
# be its peers' too.

set -u
here=$(dirname "$0")
KEYROTA=$(realpath "${KEYROTA:-${top_builddir:-.}/keyrota}")
KEYROTA_READ=$(realpath "${KEYROTA_READ:-${top_builddir:-.}/keyrota-read}")
export KEYROTA KEYROTA_READ
# In a sanitized build: neither program can be traced, not even by itself, and leaks are looked for by tracing.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"

[ "$(id -u)" = 0 ] || { echo '1..0 # SKIP needs root: the secrets are in the user keyring of uid 0'; exit 0; }
unshare --mount --pid --fork --mount-proc true 2>/dev/null || { echo '1..0 # SKIP needs mount and PID namespaces'; exit 0; }
# shellcheck disable=SC2016 # for the inner shell
exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh -c '
        mount -t tmpfs -o mode=0755 tmpfs /run && mount -t tmpfs -o mode=0755 tmpfs /etc/pam.d &&
        cp /etc/passwd /etc/group /run && mount --bind /run/passwd /etc/passwd && mount --bind /run/group /etc/group &&
        exec setsid --wait python3 "$0" "$@"' "$here/read-server.py" "$@"
