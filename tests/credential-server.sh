#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs credential-server.py as root in a mount namespace with a /run of its own, so that the journal and the
# notes of missing records of this machine are not touched.

set -u
here=$(dirname "$0")
KEYROTA_CREDENTIAL=$(realpath "${KEYROTA_CREDENTIAL:-${top_builddir:-.}/keyrota-credential}")
export KEYROTA_CREDENTIAL
# In a sanitized build: the server cannot be traced, not even by itself, and leaks are looked for by tracing.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"

[ "$(id -u)" = 0 ] || { echo '1..0 # SKIP needs root: the secrets are in the user keyring of uid 0'; exit 0; }
unshare --mount true 2>/dev/null || { echo '1..0 # SKIP needs a mount namespace'; exit 0; }
# shellcheck disable=SC2016 # for the inner shell
exec unshare --mount --propagation private sh -c 'mount -t tmpfs -o mode=0755 tmpfs /run && exec python3 "$0" "$@"' \
    "$here/credential-server.py" "$@"
