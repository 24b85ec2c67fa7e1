#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A rotation with nothing due reads, and that is all: nothing is written, synced, renamed or made in the file system, no key is written to the kernel, and nothing
# goes to the journal. It is what the daily timer does on every host.

. "$(dirname "${BASH_SOURCE[0]}")/scratch.sh"
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/changes.sh"

command -v strace >/dev/null || bail_out 'strace is missing'
[[ -z ${KEYROTA_SANITIZED-} ]] || skip_all 'the leak checker does not work under strace'

# Inode, times and size of all that there is, and the kernel's keys. The time of the last change (%C) is the kernel's own.
everything() {
        find "$TREE" -printf '%P %i %m %T@ %C@ %s\n' | sort
        keyctl rdescribe "$(keyctl search @u keyring "$RING")"
        ring_entries
}

# idle DESCRIPTION ARG...
idle() {
        local description=$1 before
        shift
        before=$(everything)
        is "$description: no change of any kind is asked of the kernel" "$(changes "$@" | head -n 20)" ''
        like "$description: it succeeds" "$(<"$TREE.output")" '(^|'$'\n'')status 0$'
        is "$description: every file and folder is as it was, its times too" "$(everything)" "$before"
        rm -f "$TREE.output"
}

# Of each kind four: one consumer with a symmetric key, an issuer with a reader of the public file, several that share a key, one with users, one that was removed.
for i in 1 2 3 4; do
        policy "solo$i" <<END
[secret]
algorithm = HS256
[deliver:solo$i.service]
use = sign
credential = jwt.key
format = hex
END
        policy "web$i" <<END
[secret]
algorithm = ES256
[deliver:issuer$i.service]
use = sign
credential = jwt.key
format = pem
[deliver:gateway$i@.service]
use = verify
END
        policy "shared$i" <<END
[secret]
algorithm = HS512
[rotation]
window = Sun 02:00-04:00
[deliver:a$i.service]
use = sign
credential = jwt.key
format = base64url
[deliver:b$i.service]
use = verify
credential = jwt.key
format = base64url
END
        policy "users$i" <<END
[secret]
algorithm = EdDSA
[deliver:c$i.service]
use = sign
credential = jwt.key
format = jwk
[access]
users = root
use = verify
END
        policy "gone$i" <<END
[secret]
algorithm = ES384
[deliver:d$i.service]
use = sign
credential = jwt.key
format = jwk
END
done
ok 'twenty secrets' keyrota provision
# Half of them are in the middle of a rotation, waiting for a time to come.
ok 'rotations begun' keyrota rotate --now solo1 solo2 web1 web2 users1 users2
rm "$POLICY"/gone?.ini
ok 'policies removed' keyrota rotate
ok 'nothing is left to do' keyrota rotate

idle 'rotate' rotate
idle 'rotate of one secret' rotate web1
idle 'rotate of all by name' rotate solo{1..4} web{1..4} shared{1..4} users{1..4} gone{1..4}
idle 'provision' provision
idle 'plan' plan
idle 'status' status

# The same look at a run that does something: else it would prove nothing.
output=$(changes rotate --now solo3)
like 'a rotation is seen to write' "$output" 'write\([0-9]+<[^>]*/var/lib/keyrota/test/'
like 'to sync' "$output" 'fsync\('
like 'to rename' "$output" 'rename(at|at2)?\(.*solo3\.jwe'
like 'and to publish' "$output" '(add_key\(|keyctl\(KEYCTL_UPDATE)'
rm -f "$TREE.output"

done_testing
