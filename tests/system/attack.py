#!/usr/bin/python3 -EsB
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Tries what a user can do to copies of secrets, to the keyrings that hold them, and to keyrota's files, sockets and processes. One line for each attempt: what
# was tried, a tab, and what came of it: "done", or the name of the errno. Judges nothing.
#
#     attack.py own RING COPY                           in the session that holds RING and COPY
#     attack.py foreign RING COPY LIVE ENTRY PID UID    in another one; LIVE is the keyring of what is published, with ENTRY; PID is a process of the
#                                                       session that holds RING (0: let processes be), UID its user

import ctypes
import errno
import os
import signal
import socket
import struct
import sys

keyutils = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
libc = ctypes.CDLL(None, use_errno=True)

PROCESS, SESSION, USER, USER_SESSION = -2, -3, -4, -5
(JOIN_SESSION, UPDATE, REVOKE, CHOWN, SETPERM, DESCRIBE, CLEAR, LINK, UNLINK, SEARCH, READ, INSTANTIATE, NEGATE) = range(1, 14)
(SET_TIMEOUT, ASSUME_AUTHORITY, GET_SECURITY, SESSION_TO_PARENT, REJECT) = range(15, 20)
INVALIDATE, GET_PERSISTENT, RESTRICT, MOVE = 21, 22, 29, 30
EVERYBODY = 0x3F3F3F3F
PTRACE_ATTACH = 16


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def keyctl(operation, *arguments):
    passed = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    passed += [ctypes.c_long(0)] * (4 - len(passed))
    keyutils.keyctl.restype = ctypes.c_long
    return check(keyutils.keyctl(ctypes.c_int(operation), *passed))


def add_key(kind, description, payload, ring):
    return check(keyutils.add_key(kind, description, payload, ctypes.c_size_t(len(payload or b"")), ctypes.c_int(ring)))


def attempt(what, function, *arguments):
    try:
        result = function(*arguments)
    except OSError as error:
        result = errno.errorcode.get(error.errno, str(error.errno))
    print(f"{what}\t{result if isinstance(result, str) else 'done'}", flush=True)


def read_key(key):
    buffer = ctypes.create_string_buffer(40000)
    return check(keyutils.keyctl_read(ctypes.c_int(key), buffer, ctypes.c_size_t(40000)))


def describe_key(key):
    buffer = ctypes.create_string_buffer(5000)
    return check(keyutils.keyctl_describe(ctypes.c_int(key), buffer, ctypes.c_size_t(5000)))


# What needs no other right than to look.
def look(what, key, kind):
    attempt(f"{what}: describe", describe_key, key)
    attempt(f"{what}: read", read_key, key)
    if kind == "ring":
        attempt(f"{what}: search", keyctl, SEARCH, key, b"user", b"keyrota:billing", 0)


# Everything that changes it or hands it on.
def change(what, key, kind, ring, mine):
    attempt(f"{what}: setperm", keyctl, SETPERM, key, EVERYBODY)
    attempt(f"{what}: chown", keyctl, CHOWN, key, os.getuid(), -1)
    attempt(f"{what}: chgrp", keyctl, CHOWN, key, -1, os.getgid())
    attempt(f"{what}: set no timeout", keyctl, SET_TIMEOUT, key, 0)
    attempt(f"{what}: set a timeout", keyctl, SET_TIMEOUT, key, 1)
    attempt(f"{what}: link to a keyring of mine", keyctl, LINK, key, mine)
    attempt(f"{what}: link to the user keyring", keyctl, LINK, key, USER)
    attempt(f"{what}: link to the session keyring", keyctl, LINK, key, SESSION)
    attempt(f"{what}: revoke", keyctl, REVOKE, key)
    attempt(f"{what}: instantiate", keyctl, INSTANTIATE, key, b"x", 1, mine)
    attempt(f"{what}: negate", keyctl, NEGATE, key, 10, mine)
    attempt(f"{what}: assume authority", keyctl, ASSUME_AUTHORITY, key)
    if kind == "key":
        attempt(f"{what}: update", keyctl, UPDATE, key, b"x", 1)
        attempt(f"{what}: unlink", keyctl, UNLINK, key, ring)
        attempt(f"{what}: move", keyctl, MOVE, key, ring, mine, 0)
        return
    attempt(f"{what}: clear", keyctl, CLEAR, key)
    attempt(f"{what}: add a key", add_key, b"user", b"mine", b"x", key)
    attempt(f"{what}: replace a key", add_key, b"user", b"keyrota:billing", b"x", key)
    attempt(f"{what}: link a key of mine", keyctl, LINK, add_key(b"user", b"mine", b"x", mine), key)
    attempt(f"{what}: restrict", keyctl, RESTRICT, key, 0, 0)


def join(name, not_these):
    ring = keyctl(JOIN_SESSION, name)
    return "another, which is empty" if ring not in not_these and read_key(ring) == 0 else "entered"


def open_as(path, flags):
    os.close(os.open(path, flags | os.O_NONBLOCK))


def connect(path, bound=None):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        if bound:
            peer.bind(bound)
        peer.connect(path)


def send_credentials(pid, uid):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iII", pid, uid, uid))])


def files():
    for folder in "/run/keyrota", "/run/keyrota/credential", "/run/keyrota/read", "/run/keyrota/jwks", "/etc/keyrota", "/etc/keyrota/policy.d", "/var/lib/keyrota", "/etc/pam.d":
        attempt(f"{folder}: plant a FIFO", os.mkfifo, f"{folder}/planted")
        attempt(f"{folder}: plant a link", os.symlink, "/tmp/planted", f"{folder}/planted")
        attempt(f"{folder}: rename", os.rename, folder, f"{folder}-renamed")
    for file in "/run/keyrota/access", "/run/keyrota/access.lock", "/run/keyrota/access-table.lock", "/run/keyrota/read/socket", "/var/lib/keyrota/locked", "/etc/keyrota/policy.d/billing.ini":
        attempt(f"{file}: unlink", os.unlink, file)
        if not file.endswith("socket"):
            attempt(f"{file}: open to write", open_as, file, os.O_WRONLY)
    for file in "/run/keyrota/access", "/run/keyrota/access.lock", "/run/keyrota/access-table.lock", "/var/lib/keyrota/locked", "/var/lib/keyrota/kek.cred":
        attempt(f"{file}: open to read", open_as, file, os.O_RDONLY)


def sockets():
    attempt("credential socket: connect", connect, "/run/keyrota/credential/socket")
    attempt("credential socket: connect as the manager does", connect, "/run/keyrota/credential/socket", b"\0adf9d86b6eda275e/unit/billing.service/jwt.key")


def own(ring, copy):
    mine = add_key(b"keyring", b"mine", None, PROCESS)
    look("copy", copy, "key")
    look("ring", ring, "ring")
    change("copy", copy, "key", ring, mine)
    change("ring", ring, "ring", ring, mine)


def foreign(ring, copy, live, entry, pid, uid):
    mine = add_key(b"keyring", b"mine", None, PROCESS)
    for what, key, kind, above in ("copy", copy, "key", ring), ("ring", ring, "ring", 0), ("live ring", live, "ring", 0), ("published", entry, "key", live):
        look(what, key, kind)
        change(what, key, kind, above, mine)
        attempt(f"{what}: invalidate", keyctl, INVALIDATE, key)
        attempt(f"{what}: security label", keyctl, GET_SECURITY, key)
    attempt("/proc/keys", lambda: "shows it" if any("keyrota" in line for line in open("/proc/keys")) else "shows nothing")
    for what, kind, name in ("copy", b"user", b"keyrota:billing"), ("live ring", b"keyring", b"keyrota"):
        attempt(f"{what}: search the session", keyctl, SEARCH, SESSION, kind, name, 0)
        attempt(f"{what}: search the user keyring", keyctl, SEARCH, USER, kind, name, 0)
        attempt(f"{what}: request", lambda: check(keyutils.request_key(kind, name, None, ctypes.c_int(0))))
    attempt("persistent keyring of the user", keyctl, GET_PERSISTENT, uid, PROCESS)
    attempt("persistent keyring of root", keyctl, GET_PERSISTENT, 0, PROCESS)
    files()
    sockets()
    if pid:
        processes(pid, uid)
    # last: they leave the session
    home = os.stat("/run/keyrota")
    for name in b"_ses", b"keyrota", f"keyrota-session:{home.st_dev}.{home.st_ino}:{uid}".encode():
        attempt(f"enter the keyring {name.decode().rstrip('0123456789:')}", join, name, (ring, live))


def processes(pid, uid):
    attempt("process: ptrace", lambda: check(libc.ptrace(PTRACE_ATTACH, ctypes.c_int(pid), None, None)))
    attempt("process: memory", open_as, f"/proc/{pid}/mem", os.O_RDONLY)
    attempt("process: descriptors", os.listdir, f"/proc/{pid}/fd")
    attempt("process: signal", os.kill, pid, signal.SIGCONT)
    attempt("process: send its credentials", send_credentials, pid, uid)
    attempt("process: send root's credentials", send_credentials, 1, 0)


{"own": own, "foreign": foreign}[sys.argv[1]](*map(int, sys.argv[2:]))
