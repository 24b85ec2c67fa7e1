#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The credential server against peers that do what systemd does (and what others may try): a process in the cgroup of its
# unit binds "\0HEX/unit/UNIT/ID", connects and reads until the end. This program is the service manager: it passes
# the socket, holds the descriptor store, and reads the journal. Run by credential-server.sh in a mount namespace of its own.
# With "bench" as its argument it measures instead.

import array, atexit, contextlib, ctypes, os, random, re, select, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

REFUSAL = 1024 * 1024 + 1
MASK = 0x003F0000
KEY_SPEC_USER_KEYRING, KEY_SPEC_PROCESS_KEYRING = -4, -2
SERVER = os.environ.get("KEYROTA_CREDENTIAL", "./keyrota-credential")
RING = f"keyrota-test-{os.getpid()}"
STEM = f"keyrota-test-{os.getpid()}"
UNIT = STEM + ".service"
INVOCATION = "0123456789abcdef" * 2
SERVED = "/run/keyrota-test/served"
keyutils = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
number = failed = 0


def tap(name, run):
    global number, failed
    number += 1
    try:
        signal.alarm(120)  # who waits for ever has failed
        run()
        print(f"ok {number} - {name}", flush=True)
    except (AssertionError, OSError, ValueError) as error:
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


def equal(actual, wanted, what=""):
    if actual != wanted:
        raise AssertionError(f"{what} is {actual!r:.300}, expected {wanted!r:.300}")


# -- the kernel keyring


def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def new_key(kind, description, payload):
    size = 0 if payload is None else len(payload)
    key = must(keyutils.add_key(kind.encode(), description.encode(), payload, ctypes.c_size_t(size), KEY_SPEC_PROCESS_KEYRING))
    must(keyutils.keyctl_setperm(key, ctypes.c_uint32(MASK)))
    return key


def ring_open():
    ring = new_key("keyring", RING, None)
    must(keyutils.keyctl_link(ring, KEY_SPEC_USER_KEYRING))
    atexit.register(lambda pid=os.getpid(): pid == os.getpid() and keyutils.keyctl_unlink(ring, KEY_SPEC_USER_KEYRING))
    return ring


def put(description, data, header=b"keyrota1 production/test 7 kid-1,kid-2\n"):
    key = new_key("user", description, header + data)
    must(keyutils.keyctl_link(key, ring))
    must(keyutils.keyctl_unlink(key, KEY_SPEC_PROCESS_KEYRING))


def take(description):
    key = must(keyutils.keyctl_search(ring, b"user", description.encode(), 0))
    must(keyutils.keyctl_unlink(key, ring))


# -- cgroups


def cgroup_mount():
    for line in open("/proc/self/mountinfo"):
        left, right = line.split(" - ")
        if right.startswith("cgroup2 ") and left.split()[3] == "/":
            return left.split()[4]
    return None


def cgroup(path):
    """The cgroup of that path below where PID 1 has its own; made when absent, taken away at the end."""
    root = [line[3:] for line in open("/proc/1/cgroup").read().split("\n") if line.startswith("0::")][0]
    full = cgroup_mount() + re.sub("/init.scope$", "", root).rstrip("/")
    for part in path.split("/"):
        full += "/" + part
        if not os.path.isdir(full):
            os.mkdir(full)
            atexit.register(lambda d=full, pid=os.getpid(): pid == os.getpid() and remove_cgroup(d))
    return full


def remove_cgroup(path):
    for _ in range(1000):
        try:
            return os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:  # a process of it is not reaped yet
            time.sleep(0.01)


# -- the service manager


class Server:
    """A running server, its socket and its descriptor store."""

    def __init__(self, strace=(), connections=(), listener=None, served=SERVED, stderr=None):
        self.served, self.stderr = served, stderr
        self.directory = tempfile.mkdtemp()
        atexit.register(lambda pid=os.getpid(): pid == os.getpid() and shutil.rmtree(self.directory, ignore_errors=True))
        self.path = self.directory + "/socket"
        if listener:
            self.listener, self.path = listener.listener, listener.path
        else:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(self.path)
            os.chmod(self.path, 0o666)
            os.chmod(self.directory, 0o711)
            self.listener.listen(4096)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.directory + "/notify")
        self.pid = os.fork()
        atexit.register(lambda pid=os.getpid(): pid == os.getpid() and self.pid and os.kill(self.pid, signal.SIGKILL))
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.execute(list(strace), [self.listener.fileno(), *connections])

    def execute(self, strace, sockets):
        sockets = [os.dup2(os.dup(fd), 100 + i) for i, fd in enumerate(sockets)]
        for i, fd in enumerate(sockets):
            os.dup2(fd, 3 + i, inheritable=True)
        os.closerange(3 + len(sockets), 1024)
        environ = dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), NOTIFY_SOCKET=self.directory + "/notify",
                       RUNTIME_DIRECTORY=f"/run/keyrota-test/audit:{self.served}")
        if self.stderr:
            os.dup2(os.open(self.stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
        command = strace + [SERVER, f"--keyring={RING}"]
        os.execvpe(command[0], command, environ)

    def children(self):
        return [int(pid) for pid in open(f"/proc/{self.pid}/task/{self.pid}/children").read().split()]

    def keeper(self):
        """The keeper's pid, when it has started."""
        for _ in range(2000):
            for pid in self.children():
                if open(f"/proc/{pid}/comm").read() == "keyrota-keeper\n":
                    return pid
            time.sleep(0.005)
        raise AssertionError("the server started no keeper")

    def stored(self, wait=0):
        """Connections that the server has given to the descriptor store; waits for the first at most so many seconds."""
        fds = []
        while select.select([self.notify], [], [], 0 if fds else wait)[0]:
            message, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(4))
            equal(message, b"FDSTORE=1\nFDNAME=connection", "notification")
            for _, _, data in ancillary:
                fds += array.array("i", data)
        return fds

    def end(self, number=signal.SIGTERM):
        """Its exit status, negative for a signal."""
        if number:
            os.kill(self.pid, number)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = None
        for fd in self.stored():
            os.close(fd)
        self.notify.close()
        return status


# -- peers


class Peer:
    """A process that asks. result(): everything it read."""

    def __init__(self, server, unit=None, credential="key", group=None, uid=0, address=None, wait=None, leave=False):
        unit = unit or UNIT
        group = cgroup(group if group is not None else "system.slice/" + unit)
        out, inside = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                open(group + "/cgroup.procs", "w").write("0")
                self.ask(server, unit, credential, uid, address, wait, leave, inside)
            finally:
                os._exit(1)
        atexit.register(lambda pid=os.getpid(): pid == os.getpid() and self.pid and os.kill(self.pid, signal.SIGKILL))
        os.close(inside)
        self.out = out

    @staticmethod
    def ask(server, unit, credential, uid, address, wait, leave, inside):
        if uid:
            os.setuid(uid)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if address is None:
            address = f"\0{random.getrandbits(64):x}/unit/{unit}/{credential}".encode()
        if address:
            s.bind(address)
        s.connect(server.path)
        s.shutdown(socket.SHUT_WR)
        if leave:  # it goes on, but does not listen any more
            s.close()
        if wait is not None:  # connected, but not reading
            os.write(inside, b"+")
            os.read(wait, 1)
        size, head = 0, b""
        try:
            while data := s.recv(1 << 20):
                size += len(data)
                head = head + data if len(head) < 40000 else head
            end = b"end"
        except ConnectionResetError:
            end = b"reset"
        os.write(inside, b"%d %s " % (size, end) + head[:40000])
        os._exit(0)

    def connected(self):
        equal(os.read(self.out, 1), b"+", "word from the peer")

    def result(self):
        """(bytes read, how it ended, the first 40000 of them)"""
        data = b""
        while more := os.read(self.out, 65536):
            data += more
        os.close(self.out)
        os.waitpid(self.pid, 0)
        self.pid = None
        size, end, head = data.split(b" ", 2)
        return int(size), end.decode(), head


def got(peer, wanted):
    size, end, head = peer.result()
    equal((size, end, head), (len(wanted), "end", wanted), "the reply")


def refused(peer):
    size, end, _ = peer.result()
    equal((size, end), (REFUSAL, "end"), "length of the reply")


# -- the records of what was served


def invocation_set(unit, invocation):
    """As systemd does it when a unit starts; None: as when it has stopped."""
    path = f"/run/systemd/units/invocation:{unit}"
    if os.path.lexists(path):
        os.unlink(path)
    if invocation:
        os.symlink(invocation, path)


def settle(server):
    """Returns when the server has nothing left to do: it answers one after the other, and a refusal leaves no record."""
    refused(Peer(server, credential="settle"))
    journal.records()


def record(served=SERVED, unit=UNIT, credential="key"):
    try:
        return open(f"{served}/{unit}/{credential}").read()
    except FileNotFoundError:
        return None


def records(served=SERVED):
    return sorted(f"{unit}/{name}" for unit in os.listdir(served) if not unit.startswith("#") for name in os.listdir(f"{served}/{unit}"))


def line(first, last, invocation=INVOCATION):
    return f"production/test {invocation} {first} {last}\n"


def generation(number):
    return f"keyrota1 production/test {number} kid-1,kid-2\n".encode()


class Served:
    """A folder for records in a small file system of its own."""

    def __init__(self, options="size=256k"):
        self.path = tempfile.mkdtemp(dir="/run") + "/served"
        os.mkdir(self.path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "tmpfs", self.path], check=True)
        self.errors = os.path.dirname(self.path) + "/errors"

    def remount(self, mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", self.path], check=True)

    def fill(self):
        """To the last byte and the last file."""
        with open(self.path + "/#filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        self.remount("nr_inodes=" + str(sum(len(folders) + len(files) for _, folders, files in os.walk(self.path)) + 1))

    def empty(self):
        self.remount("nr_inodes=1000")
        os.unlink(self.path + "/#filler")

    def complaints(self):
        return [text for text in open(self.errors).read().splitlines() if self.path in text]


# -- the journal


class Journal:
    PATH = "/run/systemd/journal/socket"

    def __init__(self):
        os.makedirs(os.path.dirname(self.PATH), exist_ok=True)
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
            found.append({field: ",".join(values) for field, values in record.items()})
        return found

    def fill(self):
        """Until nobody can send any more. How much that takes differs (net.unix.max_dgram_qlen), and may be more than one socket has room for."""
        full = False
        while not full:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                full = True
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sender.sendto(b"MESSAGE=of others\n", self.PATH)
                        full = False

    def close(self):
        self.socket.close()
        os.unlink(self.PATH)


def test_exact_bytes():
    data = bytes(range(256)) * 100
    put(f"unit:{UNIT}/key", data)
    got(Peer(server), data)
    (record,) = journal.records()
    wanted = {
        "KEYROTA_EVENT": "credential-served", "KEYROTA_VERDICT": "granted", "KEYROTA_ENVIRONMENT": "production",
        "KEYROTA_NAME": "test", "KEYROTA_GENERATION": "7", "KEYROTA_KID": "kid-1,kid-2", "KEYROTA_UNIT": UNIT,
        "KEYROTA_CREDENTIAL": "key", "SYSLOG_IDENTIFIER": "keyrota", "KEYROTA_INVOCATION_ID": INVOCATION,
    }
    equal({field: record.get(field) for field in wanted}, wanted, "the record")
    equal(len(record["MESSAGE_ID"]), 32, "length of MESSAGE_ID")


def test_largest():
    header = b"keyrota1 production/test 7 kid-1\n"
    data = os.urandom(32767 - len(header))
    put(f"unit:{UNIT}/large", data, header)
    got(Peer(server, credential="large"), data)


def test_template():
    put(f"unit:{STEM}@.service/key", b"template's")
    put(f"unit:{STEM}@own.service/key", b"its own")
    got(Peer(server, f"{STEM}@other.service", group=f"system.slice/system-keyrota\\x2dtest\\x2d{os.getpid()}.slice/{STEM}@other.service"), b"template's")
    got(Peer(server, f"{STEM}@own.service"), b"its own")


def test_subgroup():
    got(Peer(server, group=f"system.slice/{UNIT}/.control"), open_bytes)
    refused(Peer(server, group=f"system.slice/{UNIT}/deeper/still"))


def test_no_entry():
    journal.records()
    refused(Peer(server, credential="other"))
    (record,) = journal.records()
    equal((record["KEYROTA_EVENT"], record["KEYROTA_VERDICT"], record["KEYROTA_CREDENTIAL"]), ("credential-refused", "refused", "other"))
    if "no policy" not in record["KEYROTA_REASON"] or "KEYROTA_KID" in record:
        raise AssertionError(record)


def test_other_units_cgroup():
    for group in (f"system.slice/{STEM}-other.service", f"user.slice/{UNIT}", f"machine.slice/{STEM}.scope/{UNIT}",
                  f"user.slice/user-0.slice/user@0.service/app.slice/{UNIT}"):
        refused(Peer(server, group=group))
    for record in journal.records():
        equal(record["KEYROTA_VERDICT"], "refused")


def test_other_addresses():
    for address in (b"", b"\0nonsense", f"\0ab/unit/{UNIT}/".encode(), f"\0ab/unit/{UNIT}".encode(), f"\0xyz/unit/{UNIT}/key".encode(),
                    f"\0ab/unit/../{UNIT}/key".encode(), f"\0ab/unit/{UNIT}/key\n".encode(), f"\0ab/unit/{UNIT}/key\0".encode()):
        refused(Peer(server, address=address))


def test_not_root():
    refused(Peer(server, uid=65534))


def test_bad_entries():
    put(f"unit:{UNIT}/empty", b"")
    put(f"unit:{UNIT}/foreign", b"something", b"else\n")
    refused(Peer(server, credential="empty"))
    refused(Peer(server, credential="foreign"))


def test_stalled_peers():
    hold, release = os.pipe()
    stalled = [Peer(server, credential="other", wait=hold) for _ in range(40)]
    for peer in stalled:
        peer.connected()
    got(Peer(server), open_bytes)
    os.write(release, b"x" * len(stalled))
    for peer in stalled:
        refused(peer)


def test_many():
    journal.records()
    peers = []
    for n in range(300):
        peers.append(Peer(server))
        journal.records()  # as journald would
    for peer in peers:
        got(peer, open_bytes)
        journal.records()


def test_no_journal():
    global journal
    journal.close()
    try:
        got(Peer(server), open_bytes)
        put("config:audit", b"required", b"keyrota1 - 0 -\n")
        refused(Peer(server))
        put("config:audit", b"best-effort", b"keyrota1 - 0 -\n")
        got(Peer(server), open_bytes)
    finally:
        take("config:audit")
        journal = Journal()


def test_stuck_journal():
    journal.fill()
    peers = [Peer(server) for _ in range(60)]
    for peer in peers:
        got(peer, open_bytes)
    put("config:audit", b"required", b"keyrota1 - 0 -\n")
    try:
        refused(Peer(server))
        journal.records()
        got(Peer(server), open_bytes)
    finally:
        take("config:audit")
        journal.records()


def test_term():
    hold, release = os.pipe()
    other = Server()
    peer = Peer(other, credential="other", wait=hold)
    peer.connected()
    for fd in other.stored(wait=30):
        os.close(fd)
    os.kill(other.pid, signal.SIGTERM)
    os.write(release, b"x")
    refused(peer)
    equal(other.end(0), 0, "exit status")


def test_keeper_killed():
    other = Server()
    os.kill(other.keeper(), signal.SIGKILL)
    equal(other.end(0), 1, "exit status")


def test_record():
    put(f"unit:{UNIT}/key", open_bytes)
    for path in records():
        os.unlink(f"{SERVED}/{path}")
    got(Peer(server), open_bytes)
    settle(server)
    equal(record(), line(7, 7), "the record")
    equal([oct(os.stat(path).st_mode & 0o777) for path in (f"{SERVED}/{UNIT}", f"{SERVED}/{UNIT}/key")], ["0o700", "0o600"], "modes")
    put(f"unit:{UNIT}/key", open_bytes, generation(9))
    for _ in range(2):
        got(Peer(server), open_bytes)
        settle(server)
        equal(record(), line(7, 9), "the record of a second answer to the same start")
    try:
        invocation_set(UNIT, "f" * 32)
        got(Peer(server), open_bytes)
        settle(server)
        equal(record(), line(9, 9, "f" * 32), "the record of another start")
    finally:
        invocation_set(UNIT, INVOCATION)
        put(f"unit:{UNIT}/key", open_bytes)


def test_record_instance():
    put(f"unit:{STEM}@.service/key", b"template's")
    for instance in ("one", "two"):
        invocation_set(f"{STEM}@{instance}.service", INVOCATION)
        got(Peer(server, f"{STEM}@{instance}.service"), b"template's")
    settle(server)
    for instance in ("one", "two"):
        equal(record(unit=f"{STEM}@{instance}.service"), line(7, 7), "the record")
    equal([path for path in records() if "@." in path], [], "records of the template itself")


def test_record_unknown_start():
    for wrong in (None, "0123", "g" * 32, "0" * 33):
        invocation_set(f"{STEM}@one.service", wrong)
        got(Peer(server, f"{STEM}@one.service"), b"template's")
        settle(server)
        equal(record(unit=f"{STEM}@one.service"), line(7, 7, "-"), f"the record with a link to {wrong}")
    invocation_set(f"{STEM}@one.service", INVOCATION)
    put(f"unit:{STEM}@.service/key", b"template's", generation(9))
    got(Peer(server, f"{STEM}@one.service"), b"template's")
    settle(server)
    equal(record(unit=f"{STEM}@one.service"), line(7, 9), "the record when the start is known again")


def test_no_record_of_refusals():
    before = records()
    put(f"unit:{UNIT}/bad", b"something", b"else\n")
    put(f"unit:{UNIT}/unwritten", open_bytes)
    put("config:audit", b"required", b"keyrota1 - 0 -\n")
    global journal
    journal.close()
    try:
        refused(Peer(server, credential="unwritten"))
    finally:
        take("config:audit")
        journal = Journal()
    refused(Peer(server, credential="bad"))
    refused(Peer(server, credential="unwritten", group="system.slice/" + STEM + "-other.service"))
    refused(Peer(server, credential="unwritten", uid=65534))
    refused(Peer(server, f"{STEM}@stranger.service", credential="unwritten"))
    settle(server)
    equal(records(), before, "the records")


def test_no_record_when_not_sent():
    put(f"unit:{UNIT}/left", open_bytes)
    hold, release = os.pipe()
    os.kill(server.pid, signal.SIGSTOP)
    peer = Peer(server, credential="left", wait=hold, leave=True)
    peer.connected()
    os.kill(server.pid, signal.SIGCONT)
    settle(server)
    os.write(release, b"x")
    equal(record(credential="left"), None, "the record")
    equal([found["KEYROTA_EVENT"] for found in journal.records()], [], "(the journal is read)")
    put(f"unit:{UNIT}/left", open_bytes, generation(9))
    got(Peer(server, credential="left"), open_bytes)
    settle(server)
    equal(record(credential="left"), line(9, 9), "the record of the next answer")


def test_full_folder():
    small = Served()
    other = Server(served=small.path, stderr=small.errors)
    got(Peer(other), open_bytes)
    settle(other)
    equal(record(small.path), line(7, 7), "the record")
    small.fill()
    invocation_set(UNIT, "f" * 32)
    try:
        for _ in range(3):
            got(Peer(other), open_bytes)
            settle(other)
            equal(record(small.path), line(7, 7), "the record")
        equal(len(small.complaints()), 1, f"complaints in {small.complaints()}")
        equal(small.complaints()[0].count(UNIT), 1, f"names of the unit in {small.complaints()}")
        small.empty()
        put(f"unit:{UNIT}/key", open_bytes, generation(9))
        equal(other.end(), 0, "exit status")
        other = Server(served=small.path, stderr=small.errors)
        got(Peer(other), open_bytes)
        settle(other)
        equal(record(small.path), line(0, 9, "f" * 32), "the record of a start of which an earlier one is missing")
        got(Peer(other), open_bytes)
        settle(other)
        equal(record(small.path), line(0, 9, "f" * 32), "the record after that")
        invocation_set(UNIT, "e" * 32)
        got(Peer(other), open_bytes)
        settle(other)
        equal(record(small.path), line(9, 9, "e" * 32), "the record of the next start")
        equal(small.complaints(), [], "complaints")
        equal(other.end(), 0, "exit status")
    finally:
        invocation_set(UNIT, INVOCATION)
        put(f"unit:{UNIT}/key", open_bytes)


def test_more_missing_than_noted():
    small = Served("size=2m")
    other = Server(served=small.path, stderr=small.errors)
    settle(other)
    names = [f"n{n}" for n in range(131)]

    def ask(credentials):
        for name in credentials:
            got(Peer(other, credential=name), open_bytes)
            journal.records()
            for fd in other.stored():
                os.close(fd)
        settle(other)

    for name in names:
        put(f"unit:{UNIT}/{name}", open_bytes)
    small.fill()
    ask(names[:130])
    small.empty()
    ask(names[130:])
    equal(record(small.path, credential="n130"), line(0, 7), "a record while there is no room for a note")
    ask(names[:130])
    equal({record(small.path, credential=name) for name in names[:128]}, {line(0, 7)}, "those that were noted")
    invocation_set(UNIT, "e" * 32)
    try:
        ask(names)
        equal({record(small.path, credential=name) for name in names}, {line(7, 7, "e" * 32)}, "all of the next start")
    finally:
        invocation_set(UNIT, INVOCATION)
        for name in names:
            take(f"unit:{UNIT}/{name}")
    equal(other.end(), 0, "exit status")


def serves_and_complains_once(path, errors):
    other = Server(served=path, stderr=errors)
    for _ in range(2):
        got(Peer(other), open_bytes)
    settle(other)
    equal(other.end(), 0, "exit status")
    complaints = open(errors).read().splitlines()
    if len(complaints) != 1 or path not in complaints[0]:
        raise AssertionError(f"complaints of {path}: {complaints}")


def test_bad_folders():
    small = Served()
    open(f"{small.path}/{UNIT}", "w").close()
    serves_and_complains_once(small.path, small.errors)
    os.unlink(f"{small.path}/{UNIT}")
    small = Served("ro")
    serves_and_complains_once(small.path, small.errors)

    folder = os.path.dirname(small.path)
    for name in ("writable", "foreign", "link", "file", "missing"):
        os.mkdir(f"{folder}/{name}")
    os.mkdir(folder + "/writable/served")
    os.chmod(folder + "/writable/served", 0o777)
    os.mkdir(folder + "/foreign/served")
    os.chown(folder + "/foreign/served", 65534, -1)
    os.symlink(SERVED, folder + "/link/served")
    open(folder + "/file/served", "w").close()
    before = records()
    for name in ("writable", "foreign", "link", "file", "missing"):
        serves_and_complains_once(f"{folder}/{name}/served", small.errors)
    equal(os.listdir(folder + "/writable/served") + os.listdir(folder + "/foreign/served"), [], "what was written in bad folders")
    equal(records(), before, "the records")


def fresh_served():
    for path in records():
        os.unlink(f"{SERVED}/{path}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{SERVED}/#unrecorded")


def syscalls_of_one_answer():
    """[(name, how many of that name came before it and itself)] from the return of accept4() until it is called again."""
    fresh_served()
    with tempfile.NamedTemporaryFile() as log:
        other = Server(strace=["strace", "-D", "-o", log.name])
        got(Peer(other), open_bytes)
        other.end()
        lines = open(log.name).read().split("\n")
    counts, answer, inside = {}, [], False
    for text in lines:
        name = text.split("(")[0]
        if not re.fullmatch("[a-z0-9_]+", name):
            continue
        if name == "accept4" and inside:
            break
        counts[name] = counts.get(name, 0) + 1
        if inside:
            answer.append((name, counts[name]))
        if name == "accept4":
            inside = re.search("= [0-9]+", text)
    return answer


def test_killed_anywhere():
    answer = syscalls_of_one_answer()
    names = [name for name, _ in answer]
    if "sendto" not in names or "sendmsg" not in names or not any(name.startswith("renameat") for name in names) or len(answer) < 15:
        raise AssertionError(f"that is no trace of an answer: {names}")
    missing = 0
    for name, when in answer:
        what = f"killed at {name} {when}"
        fresh_served()
        put(f"unit:{UNIT}/key", open_bytes)
        other = Server(strace=["strace", "-D", "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={when}"])
        peer = Peer(other)
        size, end, head = peer.result()
        journal.records()
        status = other.end(0)
        equal(status, -signal.SIGKILL, f"status of the server {what}")
        served = (size, head) == (len(open_bytes), open_bytes)
        if not (end == "reset" or size >= REFUSAL or served):
            raise AssertionError(f"{what}: the peer read {size} bytes, then {end}")

        # what the next server makes of it: the same start asks again, and there is a new generation meanwhile
        left = record()
        missing += served and not left
        if left not in (None, line(7, 7)) or (left and not served):
            raise AssertionError(f"{what}: served {served}, on record is {left}")
        put(f"unit:{UNIT}/key", open_bytes, generation(9))
        other = Server()
        got(Peer(other), open_bytes)
        equal(other.end(), 0, "exit status")
        journal.records()
        if record() not in ((line(0, 9), line(7, 9)) if served else (line(0, 9), line(9, 9))):
            raise AssertionError(f"{what}: served {served}, then on record is {record()}")
    put(f"unit:{UNIT}/key", open_bytes)
    if missing < 3:
        raise AssertionError(f"killed only {missing} times between answer and record")
    print(f"# killed at {len(answer)} system calls, {missing} of them between answer and record: {' '.join(names)}")


def test_both_killed():
    first = Server(strace=["strace", "-D", "-o", "/dev/null", "-e", "trace=getpeername", "-e", "inject=getpeername:delay_enter=30000000"])
    keeper = first.keeper()
    peer = Peer(first)
    stored = first.stored(wait=30)
    equal(len(stored), 1, "connections in the store")
    os.kill(keeper, signal.SIGKILL)
    os.kill(first.pid, signal.SIGKILL)
    first.end(0)
    second = Server(connections=stored, listener=first)
    for fd in stored:
        os.close(fd)
    refused(peer)
    got(Peer(second), open_bytes)
    equal(second.end(), 0, "exit status")


def bench():
    put(f"unit:{UNIT}/key", open_bytes)
    open(cgroup("system.slice/" + UNIT) + "/cgroup.procs", "w").write("0")
    times = []
    for n in range(5000):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(f"\0{n:x}/unit/{UNIT}/key".encode())
        start = time.perf_counter_ns()
        s.connect(server.path)
        while s.recv(65536):
            pass
        times.append((time.perf_counter_ns() - start) / 1000)
        s.close()
        if n % 8 == 0:
            journal.records()
            for fd in server.stored():
                os.close(fd)
    print(f"connect to end of reply: median {statistics.median(times):.0f} us, 99% {sorted(times)[4950]:.0f} us")
    for pid in (server.pid, server.keeper()):
        rss = re.findall(r"^(Rss|Pss): +(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)
        print(f"{open(f'/proc/{pid}/comm').read().strip()}: {dict(rss)} kB")
    open(cgroup_mount() + "/cgroup.procs", "w").write("0")


signal.signal(signal.SIGALRM, too_long)
signal.signal(signal.SIGTERM, stop)
os.makedirs("/run/systemd/units")
invocation_set(UNIT, INVOCATION)
os.makedirs(SERVED, mode=0o700)
open_bytes = b"the secret of the tests\n"
ring = ring_open()
try:
    cgroup("system.slice/" + UNIT)
except (OSError, TypeError):
    print("1..0 # SKIP needs the unified cgroup hierarchy, writable")
    sys.exit(0)
journal = Journal()
server = Server()
if sys.argv[1:] == ["bench"]:
    bench()
    server.end()
    sys.exit(0)

tap("a credential is served byte for byte and recorded once", test_exact_bytes)
tap("the largest payload of a key is served", test_largest)
put(f"unit:{UNIT}/key", open_bytes)
tap("an instance gets its own entry, else its template's", test_template)
tap("systemd's own folders below the unit's cgroup are the unit", test_subgroup)
tap("what no policy names is refused", test_no_entry)
tap("a peer outside the cgroup of the unit that it names is refused", test_other_units_cgroup)
tap("a peer without an address of systemd's form is refused", test_other_addresses)
tap("a peer that is not root is refused", test_not_root)
tap("an entry that is empty or foreign is refused", test_bad_entries)
tap("peers that do not read hold up nobody", test_stalled_peers)
tap("300 units that start at once are all served", test_many)
tap("without a journal delivery goes on unless audit = required", test_no_journal)
tap("a stuck journal holds up nobody and refuses where audit = required", test_stuck_journal)
tap("what was served is on record: the first and the last generation of a start", test_record)
tap("each instance of a template has a record of its own", test_record_instance)
tap("a start that is not known is no evidence", test_record_unknown_start)
tap("what was refused is not on record", test_no_record_of_refusals)
tap("what could not be sent is not on record", test_no_record_when_not_sent)
tap("a full folder for records harms no delivery, and a missing record is not forgotten", test_full_folder)
tap("more missing records than there are notes make no false ones", test_more_missing_than_noted)
tap("a folder for records that cannot be used harms no delivery", test_bad_folders)
tap("SIGTERM finishes what is under way", test_term)
tap("a server whose keeper was killed ends", test_keeper_killed)
if subprocess.run(["sh", "-c", "command -v strace"], capture_output=True).returncode == 0:
    tap("a server killed at any system call of an answer leaves no short credential and no false record", test_killed_anywhere)
    tap("both processes killed leave the connection to the next server, which refuses it", test_both_killed)
tap("the server ends when told to", lambda: equal(server.end(), 0, "exit status"))
journal.close()
print(f"1..{number}")
sys.exit(1 if failed else 0)
