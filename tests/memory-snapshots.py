# SPDX-License-Identifier: LGPL-2.1-or-later
"""For gdb -x: runs the program, or the first process that it forks where $SNAPSHOT_FOLLOW says "child", to its end and stops it at the system calls named in
$SNAPSHOT_CALLS. At each stop three views of its memory go to files in $SNAPSHOT_FOLDER, at every $SNAPSHOT_EVERY-th stop and at the last: what a core image would hold (.core), what could be swapped out (.swap), and all of it (.all).

The kernel marks mappings in smaps: "dd", not dumped; "lo", locked.
"""

import os
import re
import subprocess

import gdb


def mappings(pid):
    """(start, end, flags) of each mapping that the program may have written to."""
    current = None
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as smaps:
        for line in smaps:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw\S+ \S+ \S+ \S+ *(.*)", line)
            if head:
                current = None if head[3].startswith("[v") else (int(head[1], 16), int(head[2], 16))
            elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                current = None
            elif line.startswith("VmFlags:") and current:
                yield current[0], current[1], line.split()[1:]


def snapshot(pid, base):
    with open(f"/proc/{pid}/mem", "rb") as memory, open(base + ".core", "wb") as core, \
            open(base + ".swap", "wb") as swap, open(base + ".all", "wb") as everything:
        for start, end, flags in mappings(pid):
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:
                continue
            everything.write(data)
            if "dd" not in flags:
                core.write(data)
            if "lo" not in flags:
                swap.write(data)
    with open(base + ".args", "wb") as arguments:
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as source:
                arguments.write(source.read())


def gcore(path):
    """A core image as gdb writes one, its registers blanked: with AVX-512, what memcpy() copied last stays in vector registers that nothing clears, and no
    program can keep registers from who traces it. All memory, and every other note, stays in."""
    gdb.execute(f"generate-core-file {path}")
    # "INDEX .reg-xstate/THREAD SIZE ADDRESS ADDRESS OFFSET ALIGNMENT": BFD knows what the notes with registers are called on each machine
    sections = subprocess.run(["objdump", "-h", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    registers = re.findall(r"^ *\d+ \.reg\S* +([0-9a-f]+) +[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]+) ", sections, re.MULTILINE)
    if not registers:
        raise gdb.GdbError(f"no registers in {path}")
    with open(path, "r+b") as image:
        for size, offset in registers:
            image.seek(int(offset, 16))
            image.write(bytes(int(size, 16)))


folder = os.environ["SNAPSHOT_FOLDER"]
for setting in ("pagination off", "confirm off", "follow-fork-mode " + os.environ.get("SNAPSHOT_FOLLOW", "parent"), "detach-on-fork on", "startup-with-shell off"):
    gdb.execute("set " + setting)
gdb.execute("catch syscall " + os.environ["SNAPSHOT_CALLS"])
gdb.execute("unset environment SNAPSHOT_FOLDER")
gdb.execute("run")
number = 0
every = int(os.environ["SNAPSHOT_EVERY"])
while gdb.selected_inferior().pid:
    # The name of the last one stays the same, so that in the end it is the one before the program ended.
    snapshot(gdb.selected_inferior().pid, f"{folder}/{number:04}" if number % every == 0 else f"{folder}/last")
    if number == every:
        gcore(f"{folder}/gcore")
    number += 1
    gdb.execute("continue")
with open(f"{folder}/stops", "w", encoding="ascii") as stops:
    stops.write(f"{number}\n")
