#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The read server against users who ask as keyrota read does, and against what else a local user may try. This program is the service manager: it
# passes the socket, and reads the journal. Run by read-server.sh in a mount namespace with a /run, PAM services and accounts of its own.

import atexit, contextlib, ctypes, fcntl, glob, os, pty, re, resource, select, shutil, signal, socket, subprocess, sys, termios, time

MASK, COPY_MASK = 0x003F0000, 0x0B3F0000
KEY_SPEC_PROCESS_KEYRING, KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING = -2, -3, -4
SERVER, CLIENT = os.environ.get("KEYROTA_READ", "./keyrota-read"), os.environ.get("KEYROTA", "./keyrota")
RING = f"keyrota-test-{os.urandom(8).hex()}"  # a PID is one of the namespace
SOCKET = "/run/keyrota/read/socket"
TABLE = "/run/keyrota/access"
ALICE, BOB, CAROL, MANY = 61000, 61001, 61002, 61100  # MANY and the next 30: u0, u1...
GUEST = 61999  # no account
OTHER_ALICE = 61998  # an account now and then, called alice too
REFUSED = b"refused you may not read it, or there is no such secret\n"
BUSY = b"failed too many of your requests are under way; try again\n"
FULL = b"failed the read server is busy; try again\n"
JOURNAL_SAYS_WHY = b"failed the read server cannot decide now; the system's journal says why\n"
NOT_PUBLISHED = b"failed it cannot be read from the kernel keyring now; root: see keyrota status\n"
NOT_RECORDED = b"failed the read cannot be recorded in the journal, and its policy wants each read on record\n"
TOO_LONG = b"failed the request took too long: a name service or a PAM module does not answer\n"
NO_REQUEST = b"failed that is no request of this protocol; see keyrota-read(8)\n"
# RFC 7515 A.3.1
PUBLIC = '"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","alg":"ES256"'
JWKS = b'{"keys":[{' + PUBLIC.encode() + b"}]}"
JWK = b"{" + PUBLIC.encode() + b',"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}'
keyutils = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
number = failed = 0


def tap(name, run):
    global number, failed
    number += 1
    try:
        signal.alarm(120)  # who waits for ever has failed
        journal.records()
        run()
        print(f"ok {number} - {name}", flush=True)
    except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
        failed += 1
        print("\n".join("# " + line for line in repr(error).split("\n")))
        print(f"not ok {number} - {name}", flush=True)
    finally:
        signal.alarm(0)


def too_long(*_):
    raise AssertionError("nothing happened for two minutes")


def stop(*_):
    atexit._run_exitfuncs()  # sys.exit() is swallowed where it strikes inside of a callback
    os._exit(1)


def equal(actual, wanted, what="it"):
    if actual != wanted:
        raise AssertionError(f"{what} is {actual!r:.500}, expected {wanted!r:.500}")


def matches(text, pattern, what="it"):
    if not re.search(pattern, text):
        raise AssertionError(f"{what} is {text!r:.500}, and does not match {pattern!r}")


def at_exit(run):
    atexit.register(lambda pid=os.getpid(): pid == os.getpid() and run())


# -- the kernel keyring, the access table, PAM


def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def new_key(kind, description, payload, mask=MASK):
    size = 0 if payload is None else len(payload)
    key = must(keyutils.add_key(kind.encode(), description.encode(), payload, ctypes.c_size_t(size), KEY_SPEC_PROCESS_KEYRING))
    must(keyutils.keyctl_setperm(key, ctypes.c_uint32(mask)))
    return key


def ring_open():
    ring = new_key("keyring", RING, None)
    must(keyutils.keyctl_link(ring, KEY_SPEC_USER_KEYRING))
    at_exit(lambda: keyutils.keyctl_unlink(ring, KEY_SPEC_USER_KEYRING))
    return ring


def put(name, data, use="verify", header=None):
    key = new_key("user", f"secret:production/{name}/{use}", (header or f"keyrota1 production/{name} 7 kid-1,kid-2\n").encode() + data)
    must(keyutils.keyctl_link(key, ring))
    must(keyutils.keyctl_unlink(key, KEY_SPEC_PROCESS_KEYRING))


def take(name, use="verify"):
    key = must(keyutils.keyctl_search(ring, b"user", f"secret:production/{name}/{use}".encode(), 0))
    must(keyutils.keyctl_unlink(key, ring))


def write_table(*lines, end="end\n"):
    """In one step, as keyrota does it."""
    fd = os.open(TABLE + "#", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, ("keyrota-access 2\nring 7\n" + "".join(line + "\n" for line in lines) + end).encode())
    os.close(fd)
    os.rename(TABLE + "#", TABLE)


LINES = (
    "locked carol", "group ops",
    "secret production/hang 7 0 verify recorded alice bob",
    "secret production/locked 7 0 verify locked alice",
    "secret production/session 7 0 verify session alice",
    "secret production/sign 7 0 sign recorded alice",
    "secret production/test 7 0 verify recorded alice carol " + " ".join(f"u{n}" for n in range(30)) + " @ops",
    "secret production/unpublished 7 0 verify recorded alice",
)


def stack(*lines):
    with open("/etc/pam.d/keyrota", "w") as file:
        file.writelines(line + "\n" for line in lines)


def script(name, text):
    path = "/run/" + name
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


PERMIT = "account required pam_permit.so"


# -- the service manager


class Listener:
    def __init__(self, path=SOCKET, backlog=4096):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.socket.listen(backlog)


class Server:
    """A running server."""

    def __init__(self, listener, strace=()):
        self.path = listener.path
        self.errors = f"/run/errors-{os.path.basename(listener.path)}"
        self.pid = os.fork()
        at_exit(lambda: self.pid and os.kill(self.pid, signal.SIGKILL))
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.dup2(os.dup(listener.socket.fileno()), 100)
            os.dup2(100, 3, inheritable=True)
            os.closerange(4, 1024)
            os.dup2(os.open(self.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)  # as its unit has it: modules ask what terminal it is
            command = [*strace, SERVER, f"--keyring={RING}"]
            os.execvpe(command[0], command, dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS="1"))

    def children(self):
        return children(self.pid)

    def end(self, number=signal.SIGTERM):
        """Its exit status, negative for a signal."""
        if number:
            os.kill(self.pid, number)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = None
        return status


def children(pid):
    try:
        return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    except FileNotFoundError:
        return []


def wait_for(condition, what):
    for _ in range(4000):
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError(f"{what} has not come about")


def wait_until_idle():
    wait_for(lambda: not server.children(), "the end of the requests")


class Journal:
    PATH = "/run/systemd/journal/socket"

    def __init__(self):
        os.makedirs(os.path.dirname(self.PATH), exist_ok=True)
        self.of_hanging = []  # their records, which come at any time
        self.open()

    def open(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.PATH)

    def records(self):
        found = []
        while select.select([self.socket], [], [], 0)[0]:
            lines = self.socket.recv(65536).decode().split("\n")[:-1]
            record = {}
            for line in lines:
                field, value = line.split("=", 1)
                record.setdefault(field, []).append(value)
            record = {field: ",".join(values) for field, values in record.items()}
            is_hanging = record.get("KEYROTA_NAME") == "hang" and record.get("KEYROTA_USER") in ("alice", "bob")
            (self.of_hanging if is_hanging else found).append(record)
        return found

    def stuff(self):
        """Until it takes nothing more."""
        stuffing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        stuffing.setblocking(False)
        stuffing.connect(self.PATH)
        try:
            while True:
                stuffing.send(b"MESSAGE=stuffing\n")
        except BlockingIOError:
            pass

    def close(self):
        self.socket.close()
        os.unlink(self.PATH)


# -- peers


class Peer:
    """A process that asks. result(): everything it read."""

    def __init__(self, uid, request, path=SOCKET, wait=None, unshare=False, terminal=None):
        out, inside = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                if terminal is not None:
                    os.setsid()
                    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
                self.ask(uid, request, path, wait, unshare, inside)
            finally:
                os._exit(1)
        at_exit(lambda: self.pid and os.kill(self.pid, signal.SIGKILL))
        os.close(inside)
        self.out = out

    @staticmethod
    def ask(uid, request, path, wait, unshare, inside):
        os.setgroups([])
        os.setgid(65534)
        os.setuid(uid)
        if unshare:
            must(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))  # CLONE_NEWUSER
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(path)
        for part in request if isinstance(request, list) else [request]:
            try:
                s.send(part)
            except OSError:
                pass  # it was answered already
        os.write(inside, b"+")
        if wait is not None:  # asked, but not reading
            os.read(wait, 1)
        data, end = b"", b"end"
        try:
            while more := s.recv(1 << 16):
                data += more
        except ConnectionResetError:
            end = b"reset"
        os.write(inside, end + b" " + data)
        os._exit(0)

    def asked(self):
        equal(os.read(self.out, 1), b"+", "word from the peer")
        return self

    def result(self):
        data = b""
        while more := os.read(self.out, 65536):
            data += more
        os.close(self.out)
        os.waitpid(self.pid, 0)
        self.pid = None
        return data.lstrip(b"+").split(b" ", 1)[1] if data.lstrip(b"+") else None

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = None
        os.close(self.out)


def line(name):
    return f"keyrota-read 1 {name}\n".encode()


def ok(data):
    return b"ok %d\n%s" % (len(data), data)


def asks(uid, name, wanted, **arguments):
    equal(Peer(uid, line(name), **arguments).result(), wanted, "the answer")


def recorded(event, **fields):
    """The one record since the last look."""
    records = journal.records()
    equal(len(records), 1, f"number of records in {records}")
    wanted = dict({"KEYROTA_EVENT": event, "KEYROTA_VERDICT": "granted" if event == "secret-read" else "refused", "KEYROTA_SERVICE": "keyrota"},
                  **{"KEYROTA_" + field: value for field, value in fields.items()})
    equal({field: records[0].get(field) for field in wanted}, wanted, "the record")
    return records[0]


# -- who is served


def test_served():
    peer = Peer(ALICE, line("test"))
    pid = peer.pid
    equal(peer.result(), ok(JWKS))
    record = recorded("secret-read", USER="alice", UID=str(ALICE), NAME="test", ENVIRONMENT="production", GENERATION="7", KID="kid-1,kid-2", REASON=None,
                      TTY=None, REMOTE_HOST=None, LOGIN_UID=login_uid(), AUDIT_SESSION=audit_session())
    equal(record["OBJECT_PID"], str(pid))
    matches(record["MESSAGE"], r"^Secret production/test, generation 7, was read by alice\.$")


def login_uid():
    uid = open("/proc/self/loginuid").read() if os.path.exists("/proc/self/loginuid") else "4294967295"
    return None if uid == "4294967295" else uid


def audit_session():
    session = open("/proc/self/sessionid").read() if os.path.exists("/proc/self/sessionid") else "4294967295"
    return None if session in ("4294967295", "0") else session


def test_forms():
    asks(ALICE, "sign", ok(JWK))
    recorded("secret-read", NAME="sign")
    data = os.urandom(32767 - len("keyrota1 production/test 7 kid-1\n"))
    put("test", data, header="keyrota1 production/test 7 kid-1\n")
    asks(ALICE, "test", ok(data))
    put("test", JWKS)


def test_group():
    asks(BOB, "test", ok(JWKS))
    recorded("secret-read", USER="bob")


def test_terminal():
    master, slave = os.openpty()
    asks(ALICE, "test", ok(JWKS), terminal=slave)
    recorded("secret-read", TTY=os.ttyname(slave).removeprefix("/dev/"))
    os.close(master), os.close(slave)


def test_refused():
    for uid, name, reason in (
            (65534, "test", "does not name the user"), (0, "test", "does not name the user"), (BOB, "sign", "does not name the user"),
            (ALICE, "nosuch", "no policy of this name"), (ALICE, "locked", "the secret is locked"),
            (CAROL, "test", "the user is locked"), (ALICE, "session", "reads = session")):
        asks(uid, name, REFUSED)
        record = recorded("read-refused", UID=str(uid), NAME=name)
        matches(record["KEYROTA_REASON"], reason, "the reason")


def test_no_account():
    asks(GUEST, "test", REFUSED)
    matches(recorded("read-refused", UID=str(GUEST), USER=None)["KEYROTA_REASON"], "no account")


def test_stack():
    stack("account required pam_deny.so")
    try:
        asks(ALICE, "test", REFUSED)
        matches(recorded("read-refused", USER="alice", NAME="test")["KEYROTA_REASON"], "PAM service keyrota says no: ", "the reason")
    finally:
        stack(PERMIT)
    asks(BOB, "sign", REFUSED)  # and the reverse: PAM says yes
    matches(recorded("read-refused", USER="bob", NAME="sign")["KEYROTA_REASON"], "does not name")


def test_stack_items():
    """What the modules find, also for one whom the table refuses."""
    stack("account required pam_exec.so quiet " + script("items", "env | grep -E '^(PAM_|KEYROTA_)' | sort >/run/items.out\n"))
    try:
        for uid, user, name, answer in ((ALICE, "alice", "test", ok(JWKS)), (BOB, "bob", "nosuch", REFUSED)):
            master, slave = os.openpty()
            tty = os.ttyname(slave).removeprefix("/dev/")
            asks(uid, name, answer, terminal=slave)
            os.close(master), os.close(slave)
            equal(open("/run/items.out").read(),
                  f"KEYROTA_SECRET={name}\nPAM_RUSER={user}\nPAM_SERVICE=keyrota\nPAM_TTY={tty}\nPAM_TYPE=account\nPAM_USER={user}\n")
        asks(ALICE, "test", ok(JWKS))
        if "PAM_TTY" in open("/run/items.out").read():
            raise AssertionError("a terminal where there is none")
    finally:
        stack(PERMIT)


def test_stack_origin():
    """What pam_access takes for the origin."""
    with open("/run/access.conf", "w") as file:
        file.write("-:alice:keyrota\n")
    stack("account required pam_access.so accessfile=/run/access.conf")
    master, slave = os.openpty()
    try:
        asks(ALICE, "test", REFUSED)
        asks(ALICE, "test", ok(JWKS), terminal=slave)
        with open("/run/access.conf", "w") as file:
            file.write(f"-:alice:{os.ttyname(slave).removeprefix('/dev/')}\n")
        asks(ALICE, "test", ok(JWKS))
        asks(ALICE, "test", REFUSED, terminal=slave)
    finally:
        os.close(master), os.close(slave)
        stack(PERMIT)


def test_stack_codes():
    """No module makes a yes of its own error, and no prompt is answered."""
    for lines in (["account required pam_nosuch.so"], ["account required"], ["account required pam_unix.so", "account required pam_deny.so"],
                  ["account optional pam_ignore.so", "account requisite pam_deny.so"], []):
        stack(*lines)
        try:
            asks(ALICE, "test", REFUSED)
        finally:
            stack(PERMIT)


def test_same_name():
    """Two name services may have an account of the same name: the policy's is the one that a login by that name would be."""
    with open("/etc/passwd", "a") as file:
        file.write(f"alice:x:{OTHER_ALICE}:65534::/nonexistent:/bin/sh\n")
    try:
        for name in ("test", "sign", "nosuch"):
            asks(OTHER_ALICE, name, REFUSED)
            matches(recorded("read-refused", UID=str(OTHER_ALICE), NAME=name)["KEYROTA_REASON"], f"that name is uid {ALICE}'s, and uid {OTHER_ALICE} asks")
        asks(ALICE, "test", ok(JWKS))
    finally:
        accounts()


def test_no_stack():
    os.unlink("/etc/pam.d/keyrota")
    other = open("/etc/pam.d/other").read()
    try:
        open("/etc/pam.d/other", "w").write(PERMIT + "\n")
        for name in ("test", "nosuch"):
            asks(ALICE, name, b"failed there is no PAM service keyrota (/etc/pam.d/keyrota); see keyrota-read(8)\n")
            matches(recorded("read-refused", NAME=name)["KEYROTA_REASON"], "no PAM service /etc/pam.d/keyrota")
    finally:
        open("/etc/pam.d/other", "w").write(other)
        stack(PERMIT)


# -- what is missing or damaged


def test_tables():
    def refuses(reason):
        for name in ("test", "nosuch"):
            asks(ALICE, name, JOURNAL_SAYS_WHY)
            matches(recorded("read-refused", NAME=name)["KEYROTA_REASON"], reason)

    try:
        os.unlink(TABLE)
        refuses("No such file")
        write_table(*LINES, end="")
        refuses("torn")
        write_table(*LINES, "nonsense")
        refuses("damaged")
        write_table(*LINES)
        os.chmod(TABLE, 0o644)
        refuses("mode 0600")
        os.unlink(TABLE)
        os.mkfifo(TABLE, 0o600)
        refuses("regular file")
        os.unlink(TABLE)
        os.symlink("/run/keyrota/elsewhere", TABLE)
        refuses("symbolic links")
        os.unlink(TABLE)
    finally:
        write_table(*LINES)
    asks(ALICE, "test", ok(JWKS))


def test_entries():
    def fails(name, reason):
        asks(ALICE, name, NOT_PUBLISHED)
        matches(recorded("read-refused", NAME=name)["KEYROTA_REASON"], reason)

    fails("unpublished", "not published")
    put("unpublished", JWKS, header="keyrota1 production/test 7 kid-1\n")
    fails("unpublished", "another secret's")
    put("unpublished", JWKS, header="keyrota1 staging/unpublished 7 kid-1\n")
    fails("unpublished", "another secret's")
    put("unpublished", JWKS, header="nonsense\n")
    fails("unpublished", "cannot be read")
    put("unpublished", b"")
    fails("unpublished", "empty")
    take("unpublished")
    must(keyutils.keyctl_unlink(ring, KEY_SPEC_USER_KEYRING))
    try:
        fails("test", "nothing is published")
    finally:
        must(keyutils.keyctl_link(ring, KEY_SPEC_USER_KEYRING))
    asks(BOB, "unpublished", REFUSED)  # who may not read it does not hear of it


def test_group_changes():
    asks(BOB, "test", ok(JWKS))
    accounts(ops="")
    try:
        asks(BOB, "test", REFUSED)
    finally:
        accounts(ops="bob")
    asks(BOB, "test", ok(JWKS))


# -- peers that misbehave


def test_bad_requests():
    for request in (b"GET / HTTP/1.0\r\n\r\n", b"keyrota-read 2 test\n", b"keyrota-read 1 \n", b"keyrota-read 1\n", b"\n", b"\0\n", b"keyrota-read 1 te\0st\n",
                    b"keyrota-read 1 ../test\n", b"keyrota-read 1 production/test\n", b"keyrota-read 1 TEST\n", b"keyrota-read 1 test \n",
                    b"keyrota-read 1  test\n", b"keyrota-read 1 test\r\n", line("a" * 65), b"x" * 4096, b"\xff" * 79 + b"\n",
                    line("test") + line("test"), line("test") + b"x"):
        equal(Peer(ALICE, request).result(), NO_REQUEST, f"the answer to {request!r:.60}")
        matches(recorded("read-refused", USER="alice", NAME=None)["KEYROTA_REASON"], "no request")
    asks(ALICE, "a" * 64, REFUSED)


def test_half_request():
    """The peer hangs up in the middle of its line, or before it: nobody waits."""
    for request in (b"", b"keyrota-read 1 te"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(SOCKET)
        s.send(request)
        s.shutdown(socket.SHUT_WR)
        equal(s.recv(1000), NO_REQUEST if request else b"", "the answer")
        s.close()


def test_parts():
    equal(Peer(ALICE, [line("test")[:3], line("test")[3:20], line("test")[20:]]).result(), ok(JWKS))


def test_silent():
    """Who sends nothing, or half of it, is told so in the end; all the others are served meanwhile."""
    silent = [Peer(ALICE, request).asked() for request in (b"", b"keyrota-read 1 te")]
    for _ in range(5):
        asks(ALICE, "test", ok(JWKS))
        asks(BOB, "test", ok(JWKS))
    journal.records()
    for peer in silent:
        equal(peer.result(), b"failed no request came in time\n")
    for record in journal.records():
        matches(record["KEYROTA_REASON"], "no request in time")


def test_no_reader():
    """Who does not read the answer has it waiting, and occupies nobody."""
    wait, go = os.pipe()
    data = os.urandom(32000)
    put("test", data)
    try:
        readers = [Peer(ALICE, line("test"), wait=wait).asked() for _ in range(4)]
        wait_until_idle()
        asks(ALICE, "test", ok(data))
        os.write(go, b"....")
        for reader in readers:
            equal(reader.result(), ok(data))
    finally:
        put("test", JWKS)


def vanished(listener):
    """A connection whose process has exited, and its PID."""
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.setuid(ALICE)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(listener.path)
        socket.send_fds(there, [b"x"], [s.fileno()])
        os._exit(0)
    os.waitpid(pid, 0)
    _, fds, _, _ = socket.recv_fds(here, 1, 1)
    return socket.socket(fileno=fds[0]), pid


# Of each process that is traced, the second getsockopt() fails: that for SO_PEERPIDFD, but for the server itself, which meets its first peer by it.
OLD_KERNEL = ["strace", "-f", "-D", "-o", "/run/trace", "-e", "trace=getsockopt", "-e", "inject=getsockopt:error=ENOPROTOOPT:when=2"]


def old_listener(path):
    listener = Listener(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
        first.connect(path)
    return listener


def was_old():
    matches(open("/run/trace").read(), r"(SO_PEERPIDFD|0x4d).* = -1 ENOPROTOOPT .*\(INJECTED\)", "the trace")


def not_served(listener, s, strace=()):
    s.send(line("test"))
    other = Server(listener, strace)
    equal(s.recv(1000), b"failed it is not known who asks\n")
    equal(other.end(), 0, "exit status")


def test_vanished():
    listener = Listener("/run/vanished")
    not_served(listener, vanished(listener)[0])


NEXT_PID = "/proc/sys/kernel/ns_last_pid"


def fork_as(wanted):
    """A process with that PID, as long as it is let."""
    for _ in range(100):
        with open(NEXT_PID, "w") as file:
            file.write(str(wanted - 1))
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pause()
        if pid == wanted:
            return
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    raise AssertionError(f"PID {wanted} cannot be had again")


def reused(listener, strace=()):
    """Another process has its PID by now; the uid that connected is not the new one's either."""
    s, pid = vanished(listener)
    fork_as(pid)
    try:
        not_served(listener, s, strace)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def test_reused_old():
    reused(old_listener("/run/reused-old"), OLD_KERNEL)
    was_old()


def test_passed():
    """It is who connected that counts, not who sends."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # root's
    s.connect(SOCKET)
    pid = os.fork()
    if pid == 0:
        os.setuid(ALICE)
        s.send(line("test"))
        os._exit(0)
    os.waitpid(pid, 0)
    equal(s.recv(1000), REFUSED)


def test_old_kernel():
    """Without SO_PEERPIDFD (Linux 6.5) it is the process of that number, if it has that uid."""
    other = Server(old_listener("/run/old"), OLD_KERNEL)
    asks(ALICE, "test", ok(JWKS), path="/run/old")
    was_old()
    recorded("secret-read", USER="alice")
    other.end(signal.SIGKILL)


def test_namespace():
    asks(ALICE, "test", b"failed a program in a user namespace of its own cannot read secrets\n", unshare=True)


# -- limits


def test_limit_of_uid():
    wait_until_idle()
    silent = [Peer(ALICE, b"").asked() for _ in range(4)]
    try:
        asks(ALICE, "test", BUSY)
        matches(recorded("read-refused", UID=str(ALICE), USER=None, NAME=None)["KEYROTA_REASON"], "too many")
        flood = [Peer(ALICE, line("test")) for _ in range(50)]
        asks(BOB, "test", ok(JWKS))
        for peer in flood:
            equal(peer.result(), BUSY)
    finally:
        for peer in silent:
            peer.end()
    wait_until_idle()
    asks(ALICE, "test", ok(JWKS))


def test_limit():
    wait_until_idle()
    silent = [Peer(MANY + n // 4, b"").asked() for n in range(48)]
    try:
        wait_for(lambda: len(server.children()) == 48, "48 requests")
        asks(MANY + 20, "test", ok(JWKS))
        silent.append(Peer(MANY + 20, b"").asked())
        wait_for(lambda: len(server.children()) == 49, "49 requests")
        asks(MANY + 20, "test", FULL)
        asks(MANY + 21, "test", ok(JWKS))
    finally:
        for peer in silent:
            peer.end()
    wait_until_idle()


def flood(uid, path):
    """A process that connects for ever, and hears no answer; nothing of it goes on record."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            os.setuid(uid)
            must(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))  # CLONE_NEWUSER
            while True:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    s.connect(path)
        finally:
            os._exit(1)
    at_exit(lambda: os.path.exists(f"/proc/{pid}") and os.kill(pid, signal.SIGKILL))
    return pid


def test_flood():
    """Connections come faster than the server can take them, which is made slow for that: it sees all the same who has ended."""
    other = Server(Listener("/run/flooded", backlog=8), strace=["strace", "-D", "-o", "/run/trace", "-e", "trace=accept4", "-e", "inject=accept4:delay_enter=1000"])
    floods = [flood(MANY + 25, "/run/flooded") for _ in range(3)]
    try:
        for _ in range(6):
            asks(ALICE, "test", ok(JWKS), path="/run/flooded")
        equal([os.waitpid(pid, os.WNOHANG)[0] for pid in floods], [0, 0, 0], "those that have ended")
    finally:
        for pid in floods:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        equal(other.end(), 0, "exit status")


# -- the record


def missing():
    return open("/run/keyrota/audit/missing").read() if os.path.exists("/run/keyrota/audit/missing") else ""


def test_no_journal():
    journal.close()
    try:
        before = missing().count("\n")
        asks(ALICE, "test", NOT_RECORDED)
        asks(BOB, "sign", REFUSED)
        after = missing().split("\n")[before:-1]
        equal(len(after), 2, "number of notes")
        matches(after[0], "read-refused production/test alice keyrota: ")
        matches(after[1], "read-refused production/sign bob keyrota: ")
    finally:
        journal.open()
    asks(ALICE, "test", ok(JWKS))


def test_stuck_journal():
    journal.stuff()
    before = missing().count("\n")
    asked = [Peer(ALICE, line("test")) for _ in range(3)]
    for peer in asked:
        equal(peer.result(), NOT_RECORDED)
    equal(missing().count("\n"), before + 3, "number of notes")
    journal.records()
    asks(ALICE, "test", ok(JWKS))


def test_record_first():
    """Killed at the first byte of its answer: what was to be answered is on record."""
    other = Server(Listener("/run/traced"), strace=["strace", "-f", "-D", "-o", "/run/trace", "-e", "trace=sendmsg", "-e", "inject=sendmsg:signal=KILL"])
    equal(Peer(ALICE, line("test"), path="/run/traced").result(), b"")
    recorded("secret-read", USER="alice", NAME="test")
    other.end(signal.SIGKILL)


# -- processes that hang, or are killed


class Hanging:
    """Requests to a server of their own that a PAM module holds up."""

    def __init__(self):
        self.server = Server(Listener("/run/hanging"))
        stack(HANG)
        self.peers = [Peer(uid, line("hang"), path="/run/hanging").asked() for uid in (ALICE, BOB)]
        self.scripts = [hanging_scripts(child)[0] for child in wait_for(lambda: len(self.server.children()) == 2 and self.server.children(), "two requests")]
        stack(PERMIT)

    @staticmethod
    def check_others():
        for uid in (ALICE, BOB):
            asks(uid, "test", ok(JWKS), path="/run/hanging")

    def check_end(self):
        for peer in self.peers:
            equal(peer.result(), TOO_LONG)
        journal.records()
        equal(sorted((record["KEYROTA_EVENT"], record["KEYROTA_USER"], record["KEYROTA_UID"]) for record in journal.of_hanging),
              [("read-refused", "alice", str(ALICE)), ("read-refused", "bob", str(BOB))], "the records")
        for pid in self.scripts:
            wait_for_end(pid)
        equal(self.server.end(), 0, "exit status")


def hanging_scripts(child):
    """What the module of this request has started, and waits for."""
    return wait_for(lambda: [pid for pid in children(child) if b"/run/hang" in open(f"/proc/{pid}/cmdline", "rb").read()], "the script of a request")


def wait_for_end(pid):
    def ended():
        with contextlib.suppress(ChildProcessError):  # when it is not this process that inherited it
            os.waitpid(pid, os.WNOHANG)
        return not os.path.exists(f"/proc/{pid}")

    wait_for(ended, "the end of the process")


def hang(path=SOCKET, of=None):
    """A request that hangs, its process and its script."""
    stack(HANG)
    try:
        peer = Peer(MANY, line("hang"), path=path).asked()
        (child,) = wait_for((of or server).children, "a request that hangs")
        return peer, child, hanging_scripts(child)
    finally:
        stack(PERMIT)


def test_child_killed():
    peer, child, scripts = hang()
    os.kill(child, signal.SIGKILL)
    equal(peer.result(), b"failed the read server could not finish the request\n")
    recorded("read-refused", USER="u0", NAME="hang", UID=str(MANY))
    for pid in scripts:
        wait_for_end(pid)


def test_server_killed():
    """Nobody is left who could answer, and nobody who works on."""
    other = Server(Listener("/run/killed"))
    peer, child, _ = hang("/run/killed", other)
    other.end(signal.SIGKILL)
    equal(peer.result(), b"")
    wait_for_end(child)


def test_term():
    other = Server(Listener("/run/ended"))
    peer, _, _ = hang("/run/ended", other)
    equal(other.end(), 0, "exit status")
    equal(peer.result(), b"failed the read server is being stopped; try again\n")
    recorded("read-refused", USER="u0", NAME="hang")


# -- the client


def client(*arguments, uid=ALICE, copy=None, own=False, description="keyrota:copy"):
    """(exit status, standard output, standard error) of keyrota as a user whose session holds a copy."""

    def become():
        os.setreuid(uid, -1)  # whose it is to be, as pam_keyinit has it
        must(keyutils.keyctl_join_session_keyring(None))
        os.setreuid(0, -1)
        if copy and not own:
            must(keyutils.keyctl_link(new_key("user", description, copy, COPY_MASK), KEY_SPEC_SESSION_KEYRING))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))
        os.setgroups([])
        os.setgid(65534)
        os.setuid(uid)
        if copy and own:
            must(keyutils.add_key(b"user", description.encode(), copy, ctypes.c_size_t(len(copy)), KEY_SPEC_SESSION_KEYRING))

    done = subprocess.run(["/run/keyrota-client", *arguments], preexec_fn=become, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def prints(wanted, *arguments, **options):
    status, out, err = client("read", *arguments, **options)
    equal((status, out, err), (0, wanted, ""), "what keyrota read does")


def complains(pattern, *arguments, status=1, **options):
    got, out, err = client("read", *arguments, **options)
    equal((got, out), (status, b""), f"what keyrota read does, saying {err!r}")
    matches(err, pattern, "what it says")
    equal(err.count("\n"), 1, f"number of lines of {err!r}")


def test_client():
    prints(JWKS, "test")
    recorded("secret-read", USER="alice")
    prints(JWK, "sign")
    complains("sign: this session holds no copy of it, and the read server says: you may not read it, or there is no such secret", "sign", uid=BOB)
    complains("nosuch: this session holds no copy of it, and the read server says: you may not read it", "nosuch", uid=BOB)
    complains("unpublished: .*the read server says: it cannot be read from the kernel keyring now", "unpublished")


def test_client_copy():
    journal.records()
    prints(b"exactly\0these\n", "copy", copy=b"exactly\0these\n")
    complains("no copy of it, and the read server says", "other", copy=JWKS)
    journal.records()
    prints(JWKS, "copy", copy=JWKS)
    equal(journal.records(), [], "records of a copy")
    prints(JWKS, "test", copy=b"forged", own=True, description="keyrota:test")
    complains("holds a key of that name that is not keyrota's, and the read server says", "copy", copy=b"forged", own=True)


def test_client_forms():
    status, pem, _ = client("read", "--format=pem", "copy", copy=JWKS)
    equal((status, pem.split(b"\n")[0]), (0, b"-----BEGIN PUBLIC KEY-----"))
    status, pem, _ = client("read", "--format=pem", "sign")
    equal((status, pem.split(b"\n")[0]), (0, b"-----BEGIN PRIVATE KEY-----"))
    status, out, _ = client("read", "--newline", "copy", copy=JWK)
    equal((status, out.count(b'"d":'), out[-2:]), (0, 1, b"}\n"))
    status, out, _ = client("read", "--use=sign", "copy", copy=JWK)
    equal((status, out.count(b'"d":')), (0, 1))
    complains(r"--use=sign is not yours to read; \[access\] of its policy says use = verify", "--use=sign", "copy", copy=JWKS)
    complains(r"--use=verify is not yours to read; \[access\] of its policy says use = sign", "--use=verify", "copy", copy=JWK)
    complains("has no hex form", "--format=hex", "copy", copy=JWKS)
    complains("no JWK and no JWK Set", "--format=pem", "copy", copy=b"nonsense")


def test_client_options():
    complains("keyrota read --unit= needs to be run as root", "--unit=x.service", "test")
    for arguments, pattern in ((["Test"], '"Test" is no name of a secret; keyrota status lists all'), (["--unit=x", "test"], '"x" is no name of a service; keyrota status test lists'),
                               (["--unit=x.service", "--credential=a/b", "test"], '"a/b" is no name of a credential; keyrota status test lists')):
        complains(pattern, *arguments, status=2)
    status, out, err = client("--root=/run", "read", "test")
    equal((status, out), (1, b""))
    matches(err, "keyrota read --root= needs to be run as root")
    status, _, err = client("provision")
    equal(status, 1)
    matches(err, "needs to be run as root")
    equal(client("read", "--help")[0], 0)
    pid, terminal = pty.fork()
    if pid == 0:
        os.setuid(ALICE)
        os.execv("/run/keyrota-client", ["keyrota", "read", "test"])
    said = b""
    try:
        while more := os.read(terminal, 4096):
            said += more
    except OSError:
        pass
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 1)
    matches(said.decode(), "standard output is a terminal")


def with_socket(run, owner=0):
    """Somebody else listens where the server does."""
    os.rename(SOCKET, SOCKET + "#")
    try:
        if run:
            fake = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            os.chown(os.path.dirname(SOCKET), owner, -1)
            os.seteuid(owner)
            fake.bind(SOCKET)
            fake.listen(10)
            os.seteuid(0)
            os.chmod(SOCKET, 0o666)
            return run(fake)
        return complains("this session holds no copy of it, and the read server at .* cannot be reached: No such file .*keyrota-read.socket", "test")
    finally:
        os.seteuid(0)
        os.chown(os.path.dirname(SOCKET), 0, -1)
        if os.path.exists(SOCKET):
            os.unlink(SOCKET)
        os.rename(SOCKET + "#", SOCKET)


def test_client_no_server():
    with_socket(None)
    with_socket(lambda fake: (fake.close(), complains("cannot be reached: Connection refused", "test")))
    with_socket(lambda fake: complains("who listens at .* is not root", "test"), owner=BOB)


class Unanswered:
    """A client whose server never says a word."""

    def __init__(self):
        listener = Listener()
        self.client = subprocess.Popen(["/run/keyrota-client", "read", "test"], user=ALICE, group=65534, extra_groups=[], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        at_exit(self.client.kill)
        self.connection, _ = listener.socket.accept()
        listener.socket.close()
        os.unlink(SOCKET)

    def check(self):
        out, err = self.client.communicate()
        equal((self.client.returncode, out), (1, b""))
        matches(err.decode(), "the read server does not answer; see systemctl status keyrota-read.service")


def answer(fake, text, run):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        s, _ = fake.accept()
        s.recv(1000)
        s.send(text)
        os._exit(0)
    try:
        run()
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def test_client_answers():
    def run(fake):
        for text, pattern in ((b"", "broke off"), (b"ok 10\n123456789", "broke off"), (b"ok 10", "broke off"), (b"refused no", "broke off"),
                              (b"ok 0\n", "no answer"), (b"ok 010\n0123456789", "no answer"), (b"ok 32768\n" + b"x" * 32768, "no answer"),
                              (b"ok -1\n", "no answer"), (b"ok 1x\n1", "no answer"), (b"OK 1\n1", "no answer"), (b"x" * 300, "no answer"),
                              (b"failed \x1b[31mred\n", "no answer"), (b"failed it is so\n", "says: it is so$"), (b"refused not you\n", "says: not you\\.")):
            answer(fake, text, lambda pattern=pattern: complains(pattern, "test"))
        answer(fake, b"ok 10\n0123456789", lambda: prints(b"0123456789", "test"))

    with_socket(run)


def test_usage():
    for arguments, environment in (([], {}), (["x"], {}), (["--nosuch"], {}), ([], {"LISTEN_PID": "1", "LISTEN_FDS": "1"})):
        done = subprocess.run([SERVER, *arguments], env=dict(os.environ, **environment), capture_output=True, check=False)
        equal(done.returncode, 2, f"exit status of {arguments}")
    equal(subprocess.run([SERVER, "--help"], capture_output=True, check=False).returncode, 0)


def accounts(ops="bob"):
    users = {"alice": ALICE, "bob": BOB, "carol": CAROL, **{f"u{n}": MANY + n for n in range(30)}}
    passwd = "".join(f"{user}:x:{uid}:65534::/nonexistent:/bin/sh\n" for user, uid in users.items())
    for path, base, text in (("/etc/passwd", passwd_before, passwd), ("/etc/group", group_before, f"ops:x:61000:{ops}\n")):
        with open(path, "w") as file:
            file.write(base + text)


signal.signal(signal.SIGALRM, too_long)
signal.signal(signal.SIGTERM, stop)
passwd_before, group_before = open("/etc/passwd").read(), open("/etc/group").read()
accounts()
for folder, mode in (("/run/keyrota", 0o755), ("/run/keyrota/audit", 0o700), ("/run/keyrota/read", 0o755)):
    os.makedirs(folder, mode=mode, exist_ok=True)
shutil.copy(CLIENT, "/run/keyrota-client")
open("/etc/pam.d/other", "w").write("account required pam_deny.so\n")
stack(PERMIT)
write_table(*LINES)
ring = ring_open()
for secret in ("test", "session", "locked", "hang"):
    put(secret, JWKS)
put("sign", JWK, "sign")
journal = Journal()
unanswered = Unanswered()
idle = Server(Listener("/run/idle"))
server = Server(Listener())
HANG = "account required pam_exec.so quiet " + script("hang", '[ "$KEYROTA_SECRET" != hang ] || read -r x </run/fifo\n')
os.mkfifo("/run/fifo")
hanging = Hanging()

tap("a user whom the policy names is given the exact bytes, on record", test_served)
tap("a PAM module that hangs holds up its request only", hanging.check_others)
tap("also a key that signs, and the largest payload of a key", test_forms)
tap("a member of a group that the policy names is served", test_group)
tap("the terminal is on record", test_terminal)
tap("every refusal reads the same, and its reason is on record", test_refused)
tap("a uid without an account is refused", test_no_account)
tap("a uid whose account has the name of another one is not that one", test_same_name)
tap("PAM and the policy must both say yes", test_stack)
tap("the modules find user, terminal and secret, whatever the table says", test_stack_items)
tap("pam_access compares the terminal, or else the service", test_stack_origin)
tap("no error of a stack is a yes", test_stack_codes)
tap("without its PAM service nobody is served, whatever the service other says", test_no_stack)
tap("a table that is missing, torn or unsafe serves nobody", test_tables)
tap("an entry that is missing, empty or foreign is not served, and only who may read it hears so", test_entries)
tap("a user taken out of the group is refused from then on", test_group_changes)
tap("what is no request is not served", test_bad_requests)
tap("half a request holds up nobody", test_half_request)
tap("a request may come in parts", test_parts)
tap("silent peers hold up nobody, and are told in the end", test_silent)
tap("peers that do not read hold up nobody, and lose nothing", test_no_reader)
tap("a peer that has exited is not served", test_vanished)
if os.path.exists(NEXT_PID):
    tap("a process that has the number of one that has exited is not that one", lambda: reused(Listener("/run/reused")))
tap("who connected is who asks", test_passed)
tap("a program in a user namespace of its own is not served", test_namespace)
tap("a user has four requests under way at most, and other users are served meanwhile", test_limit_of_uid)
tap("room is kept for users who have no request under way", test_limit)
tap("without a journal nothing is read", test_no_journal)
tap("with a stuck journal nothing is read", test_stuck_journal)
if shutil.which("strace") and not os.environ.get("KEYROTA_SANITIZED"):
    tap("who connects without end holds up nobody", test_flood)
    tap("the record comes before the first byte", test_record_first)
    tap("a kernel that knows no descriptor of the peer's process will do", test_old_kernel)
    if os.path.exists(NEXT_PID):
        tap("there, too, a process of another user that has the number of one that has exited is not that one", test_reused_old)
tap("a request whose process is killed is answered, on record, and leaves no process behind", test_child_killed)
tap("a killed server leaves no part of an answer", test_server_killed)
tap("a server that is told to end tells who is waiting", test_term)
tap("keyrota read of a user prints what the server gives, and says what is wrong", test_client)
tap("keyrota read of a user prints the copy in the session, exactly, and no forged one", test_client_copy)
tap("keyrota read converts what it has read, and nothing into what the policy does not give", test_client_forms)
tap("what needs root says so, and a terminal is refused", test_client_options)
tap("without a server the client says so", test_client_no_server)
tap("the client prints nothing of an answer that is not whole", test_client_answers)
tap("the server takes one socket and no arguments", test_usage)
tap("a request that hangs is ended at its deadline, with what it has started, and put on record", hanging.check_end)
tap("the client waits for ever for nobody", unanswered.check)
tap("a server that nobody asks ends", lambda: equal(idle.end(0), 0, "exit status"))
tap("the server ends when told to", lambda: equal(server.end(), 0, "exit status"))
tap("the servers had nothing to complain of", lambda: equal("".join(open(path).read() for path in glob.glob("/run/errors-*")), ""))
print(f"1..{number}")
sys.exit(1 if failed else 0)
