#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads private JWKs, one a line, from standard input and prints which of the named files hold bytes of them: each secret member as raw bytes,
base64url, base64 (also amid other bytes, as in PEM) and hexadecimal, in windows of 24 bytes, so that a part is found too. Prints "FILE: KID MEMBER FORM", never a byte.

Exit status: 0 nothing was found, 1 something was.
"""

import array
import base64
import collections
import json
import sys

WINDOW = 24
BLOCK = 8  # wherever a window lies, a block that begins at a multiple of its own size is in it


def aligned(raw):
    """Base64 text of what has these bytes somewhere in it, as PEM has: they may begin at each of three places in a group of four letters. The groups at both
    ends hold bits of their neighbours too."""
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw)
        yield text[4 if shift else 0:-4]


def forms(member):
    raw = base64.urlsafe_b64decode(member + "=" * (-len(member) % 4))
    yield "raw", raw
    yield "reversed", raw[::-1]  # how big numbers lie in memory
    yield "base64url", member.encode()
    yield "base64", base64.b64encode(raw)
    for text in aligned(raw):
        yield "part of base64", text
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()


def windows(data):
    if len(data) <= WINDOW:
        return [data]
    return [data[i:i + WINDOW] for i in range(0, len(data) - WINDOW + 1, WINDOW)] + [data[-WINDOW:]]


def blocks(data):
    return (int.from_bytes(data[i:i + BLOCK], sys.byteorder) for i in range(len(data) - BLOCK + 1))


needles = {}
suspects = collections.defaultdict(set)
for line in sys.stdin:
    if not line.strip():
        continue
    key = json.loads(line)
    for name in ("k", "d", "p", "q", "dp", "dq", "qi"):
        if name in key:
            for number, (form, data) in enumerate(forms(key[name])):
                label = f"{key['kid']} {name} {form}"
                needles[label, number] = windows(data)
                for block in blocks(data):
                    suspects[block].add((label, number))

found = set()
for path in sys.argv[1:]:
    with open(path, "rb") as source:
        content = source.read()
    present = suspects.keys() & set(array.array("Q", content[:len(content) // BLOCK * BLOCK]))
    for label, number in set().union(*(suspects[block] for block in present)):
        if any(window in content for window in needles[label, number]):
            found.add(f"{path}: {label}")
print("".join(line + "\n" for line in sorted(found)), end="")
sys.exit(1 if found else 0)
