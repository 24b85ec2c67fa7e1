#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The units as systemd's own tools judge them: nothing to say on verify, and an exposure of at most 1.0 for
# the credential server, 1.5 for the others.

set -u
top=$(cd "${srcdir:-.}" && pwd)
# shellcheck source=tests/tap.sh
. "$top/tests/tap.sh"

command -v systemd-analyze >/dev/null || { echo '1..0 # SKIP needs systemd-analyze'; exit 0; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# verify wants the programs to be there; any will do.
mkdir "$scratch/bin" "$scratch/lib" "$scratch/lib/keyrota" "$scratch/units"
ln -s /bin/true "$scratch/bin/keyrota"
ln -s /bin/true "$scratch/lib/keyrota/keyrota-credential"
ln -s /bin/true "$scratch/lib/keyrota/keyrota-read"
for unit in "$top"/units/*.in "$top"/units/*.target "$top"/units/*.timer; do
        name=$(basename "${unit%.in}")
        case $name in *.service | *.socket | *.path | *.target | *.timer) ;; *) continue ;; esac
        sed -e "s|@bindir@|$scratch/bin|g" -e "s|@libexecdir@|$scratch/lib|g" \
            -e 's|@CONFIG_DIR@|/etc/keyrota|g' -e 's|@STATE_DIR@|/var/lib/keyrota|g' -e 's|@RUN_DIR@|/run/keyrota|g' \
            "$unit" >"$scratch/units/$name"
done

is 'no placeholder is left in a unit' "$(grep -l '@[A-Za-z_]*@' "$scratch"/units/*)" ''
is 'there are seven services, two sockets, a path, a timer and a target' \
   "$(cd "$scratch/units" && printf '%s\n' * | LC_ALL=C sort | xargs)" \
   'keyrota-credential.service keyrota-credential.socket keyrota-provision-rsa.service keyrota-provision.service keyrota-read.service keyrota-read.socket keyrota-rotate.path keyrota-rotate.service keyrota-rotate.timer keyrota-rotate@.service keyrota-setup.service keyrota.target'

# systemd-analyze prefixes the path of the folder where it is told of one unit by its path, and finds the
# others beside it.
export SYSTEMD_UNIT_PATH="$scratch/units:"
for unit in "$scratch"/units/*; do
        is "systemd-analyze verify has nothing to say of $(basename "$unit")" \
           "$(systemd-analyze verify --man=no "$unit" 2>&1)" ''
done

for unit in "$scratch"/units/*.service; do
        case $(basename "$unit") in
        keyrota-credential.service) limit=10 ;;
        *) limit=12 ;;
        esac
        ok "$(basename "$unit") is exposed at most $((limit / 10)).$((limit % 10))" \
           systemd-analyze security --offline=yes --no-pager --threshold="$limit" "$unit"
done

# Whether a timer of one secret or the daily look takes a step must make no difference to what it may do.
sandbox() {
        sed -n '/^LoadCredential/,$p' "$scratch/units/$1"
}
is 'both services that rotate have one sandbox' "$(sandbox keyrota-rotate@.service)" "$(sandbox keyrota-rotate.service)"
like 'and there is one' "$(sandbox keyrota-rotate.service)" $'\nNoNewPrivileges=yes\n'

# What finds users' copies and those who may have them: the kernel's keys, accounts, sockets of name services.
for unit in keyrota-provision keyrota-provision-rsa keyrota-rotate keyrota-rotate@; do
        settings=$(<"$scratch/units/$unit.service")
        ok "$unit.service sees /proc/keys" ! grep -q '^ProcSubset=pid' <<<"$settings"
        like "and the sockets of name services" "$settings" $'\nRestrictAddressFamilies=AF_UNIX\n'
        ok 'and is in the user namespace that users are in' ! grep -qE '^(PrivateUsers|DynamicUser|User)=' <<<"$settings"
        ok 'none of which is hidden from it' ! grep -qE '^(InaccessiblePaths|TemporaryFileSystem|RootDirectory|RootImage)=' <<<"$settings"
done

done_testing
