#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# `account required pam_keyrota.so secret=NAME` in real PAM stacks, su's and that of a unit with PAMName=: it lets in the users and
# groups that [access] names, and nobody else.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
wait_for_boot
rotation_off

environment_set production
groupadd billing-ops
for user in alice mallory bob; do
        user_make $user
done
usermod -aG billing-ops bob
useradd --create-home --gid billing-ops carol

# su waits after each refusal
sed -i '/^FAIL_DELAY/d' /etc/login.defs
echo 'FAIL_DELAY 0' >>/etc/login.defs

access() {
        policy_make billing ES256 "$(printf '%s\n' '[access]' "users = $1")"
}

# The stack of su, with our line before all others of its kind.
grep -v '^account' /etc/pam.d/su | grep -v '^@include common-account' >/etc/pam.d/su.new
printf '%s\n' 'account required pam_keyrota.so secret=billing' '@include common-account' >>/etc/pam.d/su.new
mv /etc/pam.d/su.new /etc/pam.d/su

printf '%s\n' 'auth required pam_deny.so' 'account required pam_keyrota.so secret=billing' 'account required pam_permit.so' \
        'session required pam_permit.so' >/etc/pam.d/billing-app
for user in alice bob carol mallory; do
        unit_write "app-$user.service" Type=oneshot PAMName=billing-app "User=$user" \
                "StandardOutput=truncate:$SCRATCH/app-$user" "ExecStart=/usr/bin/id -un"
done
systemctl daemon-reload

# who gets in, of all
admitted() {
        local user
        for user in alice bob carol mallory root; do
                [[ $(su "$user" -c 'id -un' 2>/dev/null) == "$user" ]] && printf '%s ' "$user"
        done
}

# The same through units.
started() {
        local user
        for user in alice bob carol mallory; do
                rm -f "$SCRATCH/app-$user"
                systemctl reset-failed "app-$user.service" 2>/dev/null
                systemctl start "app-$user.service" 2>/dev/null && [[ $(cat "$SCRATCH/app-$user") == "$user" ]] && printf '%s ' "$user"
        done
}

# nobody_gets_in DESCRIPTION REGEX: and the log says why
nobody_gets_in() {
        journal_mark
        is "$1: nobody gets in" "$(admitted)$(started)" ""
        ok "$1: the log says why" journal_has "pam_keyrota.*($2)"
}

like "the module is where PAM looks for it" "$(find /usr/lib /lib -name pam_keyrota.so 2>/dev/null)" "/security/pam_keyrota\.so"
nobody_gets_in "before there is a policy" "access"

access "alice @billing-ops"
ok "a policy with users and a group alone is provisioned" keyrota provision
is "su: those are let in whom the policy names, as user or by a group, and nobody else" "$(admitted)" "alice bob carol "
is "a unit with PAMName=: the same" "$(started)" "alice bob carol "
is "... others with 224/PAM" "$(unit_status app-mallory.service)" 224
journal_mark
su mallory -c true 2>/dev/null
ok "who is refused is logged" journal_has "pam_keyrota.*mallory"

is "the table is root's alone" "$(stat -c '%a %U %G' /run/keyrota/access)" "600 root root"
refused "a user cannot read it" "Permission denied" as alice cat /run/keyrota/access
ok "it has no key" ! grep -q '"k"' /run/keyrota/access

access "@billing-ops"
is "taken out of the policy: in force with the next provision" "$(admitted)" "alice bob carol "
keyrota provision
is "... which refuses" "$(admitted)" "bob carol "
is "... units, too" "$(started)" "bob carol "
gpasswd --delete bob billing-ops >/dev/null
is "taken out of the group: at once" "$(admitted)" "carol "
access "alice mallory"
keyrota provision
is "put into the policy" "$(admitted)$(started)" "alice mallory alice mallory "
access "root alice"
keyrota provision
is "root only where the policy names root" "$(admitted)" "alice root "

# ---- what is wrong refuses -----------------------------------------------------------------------------------

access "alice"
keyrota provision
cp -p /run/keyrota/access "$SCRATCH/access"
chmod 0644 /run/keyrota/access
nobody_gets_in "a table that others can read" "access"
ok "... which the next provision makes right" keyrota provision
is "... it does" "$(admitted)" "alice "

mv /run/keyrota/access /run/keyrota/access.away
nobody_gets_in "no table" "access"
ln -s access.away /run/keyrota/access
nobody_gets_in "a link in its place" "access"
rm /run/keyrota/access
head -c -3 "$SCRATCH/access" >/run/keyrota/access
chmod 0600 /run/keyrota/access
nobody_gets_in "a torn table" "access"
rm /run/keyrota/access /run/keyrota/access.away
install -m 0600 -o alice "$SCRATCH/access" /run/keyrota/access
nobody_gets_in "a table of alice's own" "access"
rm /run/keyrota/access
ok "the next provision writes it anew" keyrota provision
is "... and those are let in whom it names" "$(admitted)" "alice "
chmod 0777 /run/keyrota
nobody_gets_in "a folder that everybody can write to" "keyrota"
chmod 0755 /run/keyrota
is "put right: those are let in whom it names" "$(admitted)" "alice "

# ---- policies that are wrong or gone -----------------------------------------------------------------------------

sed -i 's/^users = /user = /' $POLICIES/billing.ini
ok "a broken policy" provision_fails 78 "billing\.ini:4: "
is "... goes on as it last worked" "$(admitted)" "alice "
next=$(ls /run/keyrota/access)
ring_empty; rm "$next"
keyrota provision 2>/dev/null
is "... also after a boot" "$(admitted)" "alice "
policy_make billing ES256 "$(deliver billing.service sign key pem)"
keyrota provision
nobody_gets_in "a policy without [access]" "no such policy|billing|access"
rm $POLICIES/billing.ini
keyrota provision
nobody_gets_in "a policy that was removed" "billing"
access "alice"
keyrota provision
is "one that came back" "$(admitted)$(started)" "alice alice "
sed -i 's/secret=billing/secret=billin/' /etc/pam.d/su
nobody_su=$(admitted)
is "a secret that no policy describes" "$nobody_su" ""
sed -i 's/secret=billin$/secret=billing typo/' /etc/pam.d/su
is "an option that there is not" "$(admitted)" ""
sed -i 's/ typo$//' /etc/pam.d/su
is "(the stack was the only reason)" "$(admitted)" "alice "

done_testing
