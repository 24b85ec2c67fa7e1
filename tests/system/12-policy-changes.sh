#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Policies added, edited, broken in every way, removed and brought back, by file, daemon-reload and reboot: who is named by
# a policy has the right secret or is refused, and never starts without it.

. "${BASH_SOURCE[0]%/*}/lib.sh"
. "${BASH_SOURCE[0]%/*}/policies.sh"
. "${BASH_SOURCE[0]%/*}/delivery.sh"

session=$POLICIES/session.ini

# has_drop_in UNIT SECRET
has_drop_in() {
        [[ " $(systemctl show -P DropInPaths "$1") " == *" /run/systemd/generator/$1.d/50-keyrota-$2.conf "* ]]
}

# hash_now UNIT ID: of what UNIT gets when it is started anew; empty when it does not start.
hash_now() {
        local file
        systemctl stop "$1"
        file=$(credential_of "$1" "$2" 2>/dev/null) && sha256sum <"$file"
        systemctl reset-failed "$1" 2>/dev/null
}

refused_now() {
        systemctl stop "$1"
        start_fails_with_243 "$1" "$2"
}

# The unit is no business of keyrota's now: it starts, and (consumer_make) fails by itself for want of credentials.
is_left_alone() {
        systemctl stop "$1"
        systemctl start "$1" 2>/dev/null
        [[ $(unit_status "$1") == 2 ]]
}

# Ways to break one policy: what keyrota has to say of it, and what to do to $session.
ways=(
        "session.ini:7: this is neither"                "echo nonsense >>$session"
        "session.ini: the file is empty"                ": >$session"
        "session.ini:[0-9]+: "                          "truncate -s 70 $session"
        "session.ini:1: there is a NUL byte"            "truncate -s 0 $session; truncate -s 100 $session"
        "session.ini:2: .*nonsense"                     "sed -i s/HS256/nonsense/ $session"
        "session.ini: it can be written by anybody"     "chmod 0666 $session"
        "session.ini: it can be written by .*group"     "chmod 0664 $session"
        "session.ini: it belongs to uid [1-9]"          "chown somebody $session"
        "session.ini: it is a link"                     "mv $session /root/session.ini; ln -s /root/session.ini $session"
        "session.ini: it is a (directory|folder)"       "rm $session; mkdir $session"
        "session.ini: it is larger than 64 KiB"         "yes '; comment' | head -c 70000 >>$session"
        "session.ini.d/50-more.ini:2: "                 "printf '[rotation]\nnonsense = 1\n' >$session.d/50-more.ini"
        "50-more.ini: it can be written by anybody"     "echo '[rotation]' >$session.d/50-more.ini; chmod 0666 $session.d/50-more.ini"
        "session.ini.d: it can be written by anybody"   "chmod 0777 $session.d"
        "policy.d: it can be written by anybody"        "chmod 0777 $POLICIES"
        "keyrota.conf:1: "                              "echo nonsense >/etc/keyrota/keyrota.conf"
        "keyrota.conf: it can be written by anybody"    "echo '[keyrota]' >/etc/keyrota/keyrota.conf; chmod 0666 /etc/keyrota/keyrota.conf"
)

break_it() {
        cp -a "$POLICIES" "$SCRATCH/policy.d.good"
        cp -a /etc/keyrota/keyrota.conf "$SCRATCH/keyrota.conf.good"
        mkdir -p "$session.d"
        eval "$1"
}

mend() {
        rm -rf "$POLICIES"
        mv "$SCRATCH/policy.d.good" "$POLICIES"
        mv "$SCRATCH/keyrota.conf.good" /etc/keyrota/keyrota.conf
}

# provision_complains REGEX: says so and exits with 78: a policy is wrong.
provision_complains() {
        local output status
        output=$(keyrota provision 2>&1)
        status=$?
        (( status == 78 )) && grep -Eq -- "$1" <<<"$output" && return
        printf 'status %s; it said: %s\n' "$status" "$output"
        return 1
}

first_boot() {
        environment_set testing
        user_make somebody
        touch /etc/keyrota/keyrota.conf
        # where consumers write, at boot too
        echo "d $SCRATCH/credentials 0755 root root -" >/etc/tmpfiles.d/keyrota-tests.conf
        consumer_write app.service User=somebody
        consumer_write other.service
        policy_make other EdDSA "$(deliver other.service sign other.key pem)"
        systemctl daemon-reload

        # ---- added ---------------------------------------------------------------------------------------------
        ok "without a policy, a service is left alone" is_left_alone app.service
        policy_make session HS256 "$(deliver app.service sign app.key hex)"
        ok "a policy added: keyrota check" keyrota check
        ok "... daemon-reload" systemctl daemon-reload
        ok "... brings its drop-in" has_drop_in app.service session
        ok "... and with keyrota provision" keyrota provision
        delivered "... the service has its credential" app.service app.key session
        hash=$(hash_now app.service app.key)
        key=$(key_of session)
        policy_make second HS256 "$(deliver second.service sign second.key hex)"
        consumer_write second.service
        systemctl daemon-reload
        delivered "another one added: file and daemon-reload are enough, the service has it provisioned" second.service second.key second

        # ---- edited --------------------------------------------------------------------------------------------
        sed -i 's/^format = hex/format = base64/' $session
        ok "the format edited: keyrota provision" keyrota provision
        systemctl stop app.service
        delivered "... the service has the new one" app.service app.key session
        same "... of the same key" <(base64 -d "$(credential_of app.service app.key)") <(keyrota read session --use=sign --format=raw)
        sed -i 's/^format = base64/format = hex/' $session
        is "... edited back, and only the service restarted: as it was" "$(hash_now app.service app.key)" "$hash"
        sed -i 's/^credential = app.key/credential = app.secret/' $session
        refused_now app.service "the credential's name edited, without daemon-reload: refused"
        systemctl daemon-reload
        delivered "... and with it, the service has it" app.service app.secret session
        is "... under that name alone" "$(credentials app.service)" app.secret
        sed -i 's/^credential = app.secret/credential = app.key/' $session
        systemctl daemon-reload
        is "... edited back: as it was" "$(hash_now app.service app.key)" "$hash"

        # ---- broken --------------------------------------------------------------------------------------------
        local i
        for ((i = 0; i < ${#ways[@]}; i += 2)); do
                break_it "${ways[i + 1]}"
                ok "${ways[i + 1]//$POLICIES\//}: keyrota provision says what is wrong" provision_complains "${ways[i]}"
                systemctl daemon-reload
                ok "... after daemon-reload the drop-in is there" has_drop_in app.service session
                is "... the service has what it last had" "$(hash_now app.service app.key)" "$hash"
                delivered "... the other secret's goes on" other.service other.key other
                mend
        done
        ok "mended, nothing is wrong" keyrota provision
        is "... and the key is the first one" "$(key_of session)" "$key"
        ok "... and status is content" keyrota status

        # ---- never worked --------------------------------------------------------------------------------------
        never "an algorithm that there is not" 's/^algorithm.*/algorithm = HS1/'
        never "a format that cannot carry the key" 's/^format.*/format = pem/'
        never "a format missing" '/^format/d'
        never "a line that is none" '$anonsense'
        never "a cryptoperiod too short" '$a[rotation]\ncryptoperiod = 1s'
        never "use missing" '/^use/d'
        never "the credential's name impossible" 's|^credential.*|credential = a/b|'
        never "the credential missing" '/^credential/d'
        never "the name of a credential of another policy" 's/never.service/app.service/; s/never.key/app.key/'
        policy_make never HS256 "$(deliver never.service sign never.key hex)"
        chmod 0666 "$POLICIES/never.ini"
        systemctl daemon-reload
        ok "a policy that others can write, new: nothing in it is believed" is_left_alone never.service
        ok "... and that is said" provision_complains "never.ini: has never worked, and names no consumer that could be refused"
        rm "$POLICIES/never.ini"
        systemctl daemon-reload

        # ---- removed -------------------------------------------------------------------------------------------
        is "before it is removed, the keyring has it" "$(ring_entries | grep second)" \
                $'secret:testing/second/sign\nsecret:testing/second/verify\nunit:second.service/second.key'
        rm "$POLICIES/second.ini"
        ok "a policy removed: keyrota provision" keyrota provision
        is "... the keyring has nothing of it" "$(ring_entries | grep second)" ""
        refused_now second.service "... without daemon-reload, the service is refused"
        systemctl daemon-reload
        ok "... with it, the drop-in is gone" ! has_drop_in second.service second
        ok "... and the service left alone" is_left_alone second.service
        ok "... its keys are still stored" test -s $STORE/testing/second.jwe
        is "... and the others' published" "$(ring_entries | grep -c '^unit:')" 2
        second=$(generation_of testing/second)
        policy_make second HS256 "$(deliver second.service sign second.key hex)"
        systemctl daemon-reload
        delivered "with the policy back, it is served" second.service second.key second
        ok "... from a store that knows what was before" test "$(generation_of testing/second)" -ge "$second"
        mkdir -p /usr/lib/keyrota/policy.d
        mv "$POLICIES/second.ini" /usr/lib/keyrota/policy.d/
        systemctl daemon-reload
        delivered "a vendor's policy serves" second.service second.key second
        ln -s /dev/null "$POLICIES/second.ini"
        systemctl daemon-reload
        ok "... masked, it does not" is_left_alone second.service
        rm "$POLICIES/second.ini"

        # ---- users' managers -----------------------------------------------------------------------------------
        generator=/usr/lib/systemd/system-generators/keyrota-generator
        systemctl start user@0.service
        ok "in a user manager's generators is nothing" ! compgen -G '/run/user/0/systemd/generator*/*keyrota*'
        ok "... nor anywhere of its own" ! grep -rlq keyrota /run/user/0/systemd
        mkdir "$SCRATCH/user" "$SCRATCH/system"
        ok "the generator run for a user manager is content" env SYSTEMD_SCOPE=user $generator "$SCRATCH/user" "$SCRATCH/user" "$SCRATCH/user"
        is "... and writes nothing" "$(ls "$SCRATCH/user")" ""
        env SYSTEMD_SCOPE=system $generator "$SCRATCH/system" "$SCRATCH/system" "$SCRATCH/system"
        is "... while for the system's it writes" "$(cd "$SCRATCH/system" && echo *)" "app.service.d other.service.d second.service.d"

        # ---- a reboot with two that are broken -----------------------------------------------------------------
        echo "$hash" >"$STATE/hash"
        break_it "${ways[1]}"
        policy_make never HS1 "$(deliver never.service sign never.key hex)"
        mkdir -p /etc/systemd/system/multi-user.target.wants
        ln -s ../{app,never,other}.service /etc/systemd/system/multi-user.target.wants/
        next_boot
}

# never DESCRIPTION SED-SCRIPT: a policy that has this error from the start: its service is refused.
never() {
        [[ -e /etc/systemd/system/never.service ]] || consumer_write never.service
        policy_make never HS256 "$(deliver never.service sign never.key hex)"
        sed -i "$2" "$POLICIES/never.ini"
        systemctl daemon-reload
        ok "a new policy, $1: keyrota provision says what is wrong" provision_complains "never.ini:[0-9]+: "
        local unit
        unit=$(sed -n 's/^\[deliver:\(.*\)\]/\1/p' "$POLICIES/never.ini")
        if [[ $unit == never.service ]]; then
                refused_now never.service "... its service is refused"
        else
                is "... the other policy's service goes on" "$(hash_now "$unit" app.key)" "$hash"
        fi
        rm "$POLICIES/never.ini"
        systemctl daemon-reload
}

# app.service started at boot, with what it had before the first.
at_boot() {
        ok "$1: the system is up" unit_is multi-user.target active
        ok "... the drop-in is there" has_drop_in app.service session
        ok "... the service has started" unit_is app.service active
        is "... with what it had before" "$(sha256sum <"$(credential_of app.service app.key)")" "$(cat "$STATE/hash")"
        ok "... the other secret's, too" unit_is other.service active
}

second_boot() {
        at_boot "booted with a broken policy"
        ok "... and is so after a restart" test "$(hash_now app.service app.key)" = "$(cat "$STATE/hash")"
        is "the service of a policy that has never worked is refused at boot" \
                "$(unit_result never.service) $(unit_status never.service)" "exit-code 243"
        ok "... and has not run" test ! -s "$SCRATCH/credentials/never.service.tar"
        ok "... and status tells of both" status_says "never"
        policy_make session HS256 "$(deliver app.service sign app.key hex)"
        policy_make never HS256 "$(deliver never.service sign never.key hex)"
        systemctl reset-failed never.service
        delivered "corrected, with nothing but a start, it is served" never.service never.key never
        is "... and the other one as well" "$(hash_now app.service app.key)" "$(cat "$STATE/hash")"
        ok "... and nothing is wrong" keyrota provision
        echo '[keyrota]
audit = perhaps' >/etc/keyrota/keyrota.conf
        next_boot
}

third_boot() {
        at_boot "booted with a broken keyrota.conf"
        ok "... and keyrota provision says what is wrong" provision_complains "keyrota.conf:2: "
        rm -r "$POLICIES" /usr/lib/keyrota/policy.d
        systemctl daemon-reload
        ok "all policies removed: a service is left alone" is_left_alone app.service
        next_boot
}

wait_for_boot
case $BOOT in
        1) first_boot ;;
        2) second_boot ;;
        3) third_boot ;;
        4)
                ok "... and so it is after a boot" is_left_alone app.service
                is "... of which nothing is published" "$(ring_entries | grep -v '^config:')" ""
                ;;
esac

done_testing
