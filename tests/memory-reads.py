#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""memory-reads.py ROLE RUN RING NAME: the user daemon reads NAME from a read server, with gdb (memory-snapshots.py) at one of the three processes: "server",
"request", which serves that one, or "client". Does what systemd and journald do for them. Run in a mount namespace of its own: its /run and /etc/pam.d
are replaced, and RUN, with the access table, is put on /run/keyrota.

Exit status: 0, or 1 where the user was not given the secret, or gdb failed.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys

role, run, ring, name = sys.argv[1:]
here = os.path.dirname(os.path.abspath(sys.argv[0]))
for folder in ("/run", "/etc/pam.d"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder], check=True)
for folder in ("/run/keyrota", "/run/systemd/journal"):
    os.makedirs(folder)
subprocess.run(["mount", "--bind", run, "/run/keyrota"], check=True)
os.makedirs("/run/keyrota/read", exist_ok=True)
with open("/etc/pam.d/keyrota", "w", encoding="ascii") as stack:
    stack.write("account required pam_permit.so\n")
subprocess.run(["cp", os.environ["KEYROTA"], "/run/client"], check=True)  # the user may not reach the folder that it was built in


def bind(kind, path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(path)
    return s


journal = bind(socket.SOCK_DGRAM, "/run/systemd/journal/socket")
listener = bind(socket.SOCK_STREAM, "/run/keyrota/read/socket")
os.chmod("/run/keyrota/read/socket", 0o666)
listener.listen()


def script(name, command):
    """gdb, which does without a shell, passes no arguments with anything special in them."""
    path = f"/run/{name}"
    with open(path, "w", encoding="ascii") as file:
        file.write(command)
    return path


programs = {
    "server": script("start-server", f"""echo $$ >/run/server; LISTEN_PID=$$ LISTEN_FDS=1 exec "$KEYROTA_READ" --keyring={ring} 3<&{listener.fileno()}"""),
    "client": script("start-client", f"exec setpriv --reuid=daemon --regid=daemon --clear-groups /run/client read {name} >/dev/null"),
}
traced = "client" if role == "client" else "server"
other = "server" if role == "client" else "client"
gdb = ["gdb", "-batch", "-nx", "-x", f"{here}/memory-snapshots.py", "--args"]
environment = dict(os.environ, SNAPSHOT_FOLLOW="child" if role == "request" else "parent")


def start(command):
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()])


def end_server():
    with open("/run/server", encoding="ascii") as file, contextlib.suppress(ProcessLookupError):
        os.kill(int(file.read()), signal.SIGTERM)


tracer = start([*gdb, "sh", programs[traced]])
untraced = start(["sh", programs[other]])
client, server = (tracer, untraced) if role == "client" else (untraced, tracer)
given = client.wait() == 0
if role == "request":
    given = server.wait() == 0 and given  # gdb, which has let the server go
end_server()
given = server.wait() == 0 and given
sys.exit(0 if given else 1)
