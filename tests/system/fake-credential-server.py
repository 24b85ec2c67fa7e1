#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A credential socket for tests of what systemd does with an answer: the credential's name says which one it gets.

Usage: fake-credential-server.py SOCKET LOG. Each connection is a JSON line in LOG before it is answered.
whole: `whole of UNIT`; most, more: 1 MiB less 4 and less 3 bytes;
refuse: 1 MiB + 1 byte; close: nothing; short: a part, as of a server that is killed;
answer: what the file `answer` beside the socket holds, refused where there is none.
"""
import json
import os
import socket
import struct
import sys

def answer(unit):
    try:
        with open(os.path.join(os.path.dirname(sys.argv[1]), "answer"), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return bytes((1 << 20) + 1)


REPLIES = {
    "whole": lambda unit: b"whole of " + unit.encode(),
    "most": lambda unit: bytes((1 << 20) - 4),
    "more": lambda unit: bytes((1 << 20) - 3),
    "refuse": lambda unit: bytes((1 << 20) + 1),
    "close": lambda unit: b"",
    "short": lambda unit: b"short",
    "answer": answer,
}


def describe(connection, address):
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        cgroup = next(line.rstrip("\n")[3:] for line in file if line.startswith("0::"))
    name = address.decode().replace("\0", "@", 1) if address else ""
    unit, _, credential = name.partition("/unit/")[2].rpartition("/")
    return {"address": name, "unit": unit, "id": credential, "uid": uid, "cgroup": cgroup}


def main():
    path, log_path = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)

    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    notify.send(b"READY=1")

    with open(log_path, "a", encoding="utf-8") as log:
        while True:
            connection, address = listener.accept()
            with connection:
                peer = describe(connection, address)
                print(json.dumps(peer), file=log, flush=True)
                try:
                    connection.sendall(REPLIES.get(peer["id"], REPLIES["close"])(peer["unit"]))
                except (BrokenPipeError, ConnectionResetError):
                    pass  # systemd stops reading at its limit


main()
