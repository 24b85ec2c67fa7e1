# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Login sessions, opened in every way that there is, which stay open and answer what is asked of them. Sourced after lib.sh and policies.sh.

SESSIONS=$SCRATCH/sessions
HOLDER=${BASH_SOURCE[0]%/*}/session-holder
# pam-unit is a service with PAMName=, user-manager one of the user's own manager
WAYS=(login su-l su sudo sudo-i ssh-key ssh-password ssh-keyboard cron pam-unit user-manager)
mkdir -p "$SESSIONS"

# session_users USER...: with passwords, keys and what else the ways in want. Their uids are drawn: a uid's quota of keys is one for all of the machine, and another
# system is tested at the same time.
session_users() {
        local user uid=$((20000 + 0x$(head -c 4 /proc/sys/kernel/random/uuid) % 30000))
        echo "127.0.0.1 localhost $(uname -n)" >>/etc/hosts
        printf '%s\n' 'KbdInteractiveAuthentication yes' 'MaxStartups 100' 'UseDNS no' >/etc/ssh/sshd_config.d/tests.conf
        mkdir -p -m 0700 /root/.ssh
        [[ -e /root/.ssh/id ]] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id
        printf '%s\n' '[Service]' "ExecStart=$HOLDER $SESSIONS/%i" | tee /etc/systemd/user/hold@.service >/dev/null
        for user; do
                id -u "$user" >/dev/null 2>&1 || useradd --create-home --user-group --shell /bin/bash --uid $((uid++)) "$user" || return
                echo "$user:password-of-$user" | chpasswd
                install -d -m 0700 -o "$user" "/home/$user/.ssh"
                install -m 0600 -o "$user" /root/.ssh/id.pub "/home/$user/.ssh/authorized_keys"
                # shellcheck disable=SC2016
                echo '[ -z "$HOLD" ] || exec '"$HOLDER"' "$HOLD"' >"/home/$user/.bash_profile"
        done
        systemctl restart ssh.service
}

session_ssh() {
        local user=$1 folder=$2
        shift 2
        sshpass -p "password-of-$user" ssh -i /root/.ssh/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$@" "$user@127.0.0.1" "$HOLDER" "$folder"
}

# Runs the holder in a session of the user's.
session_run() {
        local name=$1 user=$2 way=$3 folder=$4
        case $way in
                # login wants a terminal, and hangs up who else has it
                login)
                        HOLD=$folder exec env -u HOME python3 -c 'import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
os.waitpid(pid, 0)' login -p -f "$user"
                        ;;
                su-l) exec su -l "$user" -c "exec $HOLDER $folder" ;;
                su) exec su "$user" -c "exec $HOLDER $folder" ;;
                runuser) exec runuser "$user" -c "exec $HOLDER $folder" ;;
                sudo) exec sudo -u "$user" "$HOLDER" "$folder" ;;
                sudo-i) exec sudo -i -u "$user" "$HOLDER" "$folder" ;;
                ssh-key) session_ssh "$user" "$folder" -tt -o PreferredAuthentications=publickey ;;
                ssh-password) session_ssh "$user" "$folder" -o PreferredAuthentications=password -o PubkeyAuthentication=no ;;
                ssh-keyboard) session_ssh "$user" "$folder" -o PreferredAuthentications=keyboard-interactive -o PubkeyAuthentication=no ;;
                cron)
                        # at each start of its own after a boot
                        echo "@reboot $user $HOLDER $folder" >"/etc/cron.d/hold-$name"
                        rm -f /run/crond.reboot
                        systemctl restart cron.service
                        ;;
                pam-unit)
                        unit_make "hold-$name.service" "User=$user" PAMName=hold "ExecStart=$HOLDER $folder"
                        systemctl start "hold-$name.service"
                        ;;
                user-manager)
                        loginctl enable-linger "$user"
                        wait_for_unit 20 "user@$(id -u "$user").service" active
                        XDG_RUNTIME_DIR=/run/user/$(id -u "$user") as "$user" systemctl --user start "hold@$name.service"
                        ;;
        esac
}

# session_open NAME USER WAY: such a session, until session_end. Its folder is there for as long.
session_open() {
        local name=$1 user=$2 way=$3 folder=$SESSIONS/$1
        session_prepare "$name" "$user" || return
        (session_run "$name" "$user" "$way" "$folder") >"$folder/log" 2>&1 </dev/null &
        session_ready "$name" && return
        echo "no session $name of $user by $way:"
        cat "$folder/log"
        rm -rf "$folder"
        return 1
}

# session_prepare NAME USER, session_ready NAME: for a holder that is started by other means.
session_prepare() {
        local folder=$SESSIONS/$1
        rm -rf "$folder"
        mkdir -p "$folder" && mkfifo "$folder/ask" "$folder/answer" && chown -R "$2" "$folder"
}

session_ready() {
        local answer
        answer=$(timeout 20 cat "$SESSIONS/$1/answer")
        rm -f "/etc/cron.d/hold-$1"
        [[ $answer == ready ]]
}

# in_session NAME COMMAND: runs it there, prints what it prints.
in_session() {
        session_ask "$@" && session_answer "$1"
}

# The two halves of it, to have several sessions work at once.
session_ask() {
        [[ -e $SESSIONS/$1 ]] && printf '%s\n' "$2" 1<>"$SESSIONS/$1/ask"
}

session_answer() {
        [[ -e $SESSIONS/$1 ]] && timeout 60 cat "$SESSIONS/$1/answer"
}

# session_end NAME...
session_end() {
        local name
        for name; do
                printf 'end\n' 1<>"$SESSIONS/$name/ask"
        done
        for name; do
                # what reads this ends with the session's process
                timeout 20 cat "$SESSIONS/$name/answer" >/dev/null
                rm -rf "${SESSIONS:?}/$name"
        done
}

sessions_open() {
        ls "$SESSIONS"
}

# rings [USER]: the rings of copies that there are, one a line: serial number and description. Those with copies by our own access table: root also
# sees what root has elsewhere on this machine.
rings() {
        awk -v home="keyrota-session:$(stat -c %d.%i /run/keyrota):" -v user="${1-}" '$6 == "0" && $8 == "keyring" && index($9, home) == 1 {
                if (user == "" || $9 ~ (":" user ":")) print $1, $9 }' /proc/keys
}

no_rings() {
        [[ -z $(rings "$@") ]]
}

# hash_of COMMAND...: as session-holder's
hash_of() {
        "$@" | sha256sum | cut -c1-16
}

# quota_of USER: the keys and bytes that count against the user's quota.
quota_of() {
        awk -v uid="$(id -u "$1"):" '$1 == uid { split($4, keys, "/"); split($5, bytes, "/"); print keys[1], bytes[1] }' /proc/key-users
}
