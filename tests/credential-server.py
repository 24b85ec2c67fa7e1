#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The credential server against peers that do what systemd does (and what others may try): a process in the cgroup of its
# unit binds "\0HEX/unit/UNIT/ID", connects and reads until the end. This program is the service manager: it passes
# the socket, holds the descriptor store, and reads the journal. Run by credential-server.sh in a mount namespace of its own.
# With "bench" as its argument it measures instead.

import array, atexit, ctypes, os, random, re, select, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

REFUSAL = 1024 * 1024 + 1
MASK = 0x003F0000
KEY_SPEC_USER_KEYRING, KEY_SPEC_PROCESS_KEYRING = -4, -2
SERVER = os.environ.get("KEYROTA_CREDENTIAL", "./keyrota-credential")
RING = f"keyrota-test-{os.getpid()}"
STEM = f"keyrota-test-{os.getpid()}"
UNIT = STEM + ".service"
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

    def __init__(self, strace=(), connections=(), listener=None):
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
        environ = dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), NOTIFY_SOCKET=self.directory + "/notify")
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

    def __init__(self, server, unit=None, credential="key", group=None, uid=0, address=None, wait=None):
        unit = unit or UNIT
        group = cgroup(group if group is not None else "system.slice/" + unit)
        out, inside = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                open(group + "/cgroup.procs", "w").write("0")
                self.ask(server, unit, credential, uid, address, wait, inside)
            finally:
                os._exit(1)
        atexit.register(lambda pid=os.getpid(): pid == os.getpid() and self.pid and os.kill(self.pid, signal.SIGKILL))
        os.close(inside)
        self.out = out

    @staticmethod
    def ask(server, unit, credential, uid, address, wait, inside):
        if uid:
            os.setuid(uid)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if address is None:
            address = f"\0{random.getrandbits(64):x}/unit/{unit}/{credential}".encode()
        if address:
            s.bind(address)
        s.connect(server.path)
        s.shutdown(socket.SHUT_WR)
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
        "KEYROTA_CREDENTIAL": "key", "SYSLOG_IDENTIFIER": "keyrota", "KEYROTA_INVOCATION_ID": "0123456789abcdef" * 2,
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
    peers = [Peer(server) for _ in range(60)]  # more than the journal's queue takes
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


def syscalls_of_one_answer():
    """[(name, how many of that name came before it and itself)] from the return of accept4() until the descriptor is closed."""
    with tempfile.NamedTemporaryFile() as log:
        other = Server(strace=["strace", "-D", "-o", log.name])
        got(Peer(other), open_bytes)
        other.end()
        lines = open(log.name).read().split("\n")
    counts, answer, inside = {}, [], False
    for line in lines:
        name = line.split("(")[0]
        if not re.fullmatch("[a-z0-9_]+", name):
            continue
        counts[name] = counts.get(name, 0) + 1
        if inside:
            answer.append((name, counts[name]))
        if name == "accept4" and not inside:
            fd = re.search("= ([0-9]+)", line)
            inside = bool(fd)
            connection = fd and fd[1]
        elif inside and re.match(rf"close\({connection}\)", line):
            break
    return answer


def test_killed_anywhere():
    answer = syscalls_of_one_answer()
    names = [name for name, _ in answer]
    if "sendto" not in names or "sendmsg" not in names or len(answer) < 10:
        raise AssertionError(f"that is no trace of an answer: {names}")
    for name, when in answer:
        other = Server(strace=["strace", "-D", "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={when}"])
        peer = Peer(other)
        size, end, head = peer.result()
        journal.records()
        status = other.end(0)
        equal(status, -signal.SIGKILL, f"status of the server killed at {name} {when}")
        if not (end == "reset" or size >= REFUSAL or (size, head) == (len(open_bytes), open_bytes)):
            raise AssertionError(f"killed at {name} {when}: the peer read {size} bytes, then {end}")
    print(f"# killed at {len(answer)} system calls: {' '.join(names)}")


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
os.symlink("0123456789abcdef" * 2, f"/run/systemd/units/invocation:{UNIT}")
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
tap("SIGTERM finishes what is under way", test_term)
tap("a server whose keeper was killed ends", test_keeper_killed)
if subprocess.run(["sh", "-c", "command -v strace"], capture_output=True).returncode == 0:
    tap("a server killed at any system call of an answer leaves no short credential", test_killed_anywhere)
    tap("both processes killed leave the connection to the next server, which refuses it", test_both_killed)
tap("the server ends when told to", lambda: equal(server.end(), 0, "exit status"))
journal.close()
print(f"1..{number}")
sys.exit(1 if failed else 0)
