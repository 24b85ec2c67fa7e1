#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""credential-client.py SOCKET UNIT ID [CGROUP]: asks for a credential as systemd does for UNIT, from wherever it is run (or
from CGROUP, made below that), and prints how many bytes it was given, never a byte of them. Exit status 1: it could not
connect."""

import os
import random
import socket
import sys

path, unit, name = sys.argv[1:4]
for below in sys.argv[4:]:
    with open("/proc/self/cgroup") as file:
        group = "/sys/fs/cgroup" + file.read().split("::")[1].rstrip("\n") + "/" + below
    os.mkdir(group)
    with open(group + "/cgroup.procs", "w") as file:
        file.write("0")
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.bind(f"\0{random.getrandbits(64):x}/unit/{unit}/{name}".encode())
try:
    client.connect(path)
except OSError as error:
    print(f"cannot connect: {error.strerror}")
    sys.exit(1)
size = 0
while data := client.recv(1 << 16):
    size += len(data)
print(size)
