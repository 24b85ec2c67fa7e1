#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python half of jose-interop.sh, which see.

jose-interop.py forms ALGORITHM FOLDER   the renderings' exact form
jose-interop.py tokens ALGORITHM FOLDER  sign and verify with PyJWT, and verify jose's token
jose-interop.py imported ALGORITHM FILE [FORMAT]  FILE and what it was imported as, FILE.imported, are one key
"""

import base64
import glob
import json
import os
import re
import sys

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import get_default_algorithms

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
MEMBERS = {
    "oct": (["kty", "k", "kid", "alg", "use"], None),
    "RSA": (
        ["kty", "n", "e", "d", "p", "q", "dp", "dq", "qi", "kid", "alg", "use"],
        ["kty", "n", "e", "kid", "alg", "use"],
    ),
    "EC": (
        ["kty", "crv", "x", "y", "d", "kid", "alg", "use"],
        ["kty", "crv", "x", "y", "kid", "alg", "use"],
    ),
    "OKP": (["kty", "crv", "x", "d", "kid", "alg", "use"], ["kty", "crv", "x", "kid", "alg", "use"]),
}
PAYLOAD = {"sub": "interop"}


def fail(text):
    print("# " + text)
    sys.exit(1)


def read(folder, name):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def b64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def renderings(folder, use):
    """(name, format, bytes without the final newline that was asked for) of each rendering."""
    for path in sorted(glob.glob(os.path.join(folder, use + ".*"))):
        name = os.path.basename(path)
        data = read(folder, name)
        if name.endswith(".newline"):
            if not data.endswith(b"\n"):
                fail(name + " has no final newline")
            data = data[:-1]
        yield name, name.split(".")[1], data


def check_jwk(name, key, algorithm, private):
    members = MEMBERS[key["kty"]][0 if private else 1]
    if list(key) != members:
        fail("%s has the members %s" % (name, list(key)))
    if key["alg"] != algorithm or key["use"] != "sig" or not key["kid"]:
        fail("%s: wrong alg, use or kid" % name)
    if not private and PRIVATE & set(key):
        fail("%s holds private members" % name)


def check_pem(name, text, sign):
    label = "PRIVATE" if sign else "PUBLIC"
    block = "-----BEGIN %s KEY-----\n(?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/=]{1,64}\n-----END %s KEY-----"
    block %= (label, label)
    if not re.fullmatch(block if sign else block + "\n" + block, text):
        fail("%s is not the PEM that it should be" % name)
    if not sign and "PRIVATE" in text:
        fail("%s holds a private key" % name)


def forms(algorithm, folder):
    symmetric = algorithm.startswith("HS")
    raw = b64url(json.loads(read(folder, "sign.jwk.plain"))["k"]) if symmetric else b""
    formats = set()
    for use in "sign", "verify":
        private = symmetric or use == "sign"
        for name, form, data in renderings(folder, use):
            formats.add(form)
            if form == "jwk":
                check_jwk(name, json.loads(data), algorithm, private)
            elif form == "jwks":
                keys = json.loads(data)["keys"]
                if len(keys) != (1 if use == "sign" and not symmetric else 2) or list(json.loads(data)) != ["keys"]:
                    fail("%s has %d keys" % (name, len(keys)))
                for key in keys:
                    check_jwk(name, key, algorithm, private)
                if keys[0] != json.loads(read(folder, use + ".jwk.plain")):
                    fail("%s does not begin with the active key" % name)
            elif form == "pem":
                check_pem(name, data.decode(), use == "sign")
            elif data != {
                "raw": raw,
                "hex": raw.hex().encode(),
                "base64": base64.b64encode(raw),
                "base64url": base64.urlsafe_b64encode(raw).rstrip(b"="),
            }[form]:
                fail("%s is not the key" % name)
            if form in ("jwk", "jwks") and (b" " in data or b"\n" in data):
                fail("%s has white space" % name)
    wanted = {"jwk", "jwks"} | ({"raw", "hex", "base64", "base64url"} if symmetric else {"pem"})
    if formats != wanted:
        fail("formats are %s" % sorted(formats))


def decode_key(algorithm, form, data):
    """What a program would hand to PyJWT."""
    if form == "jwk":
        return get_default_algorithms()[algorithm].from_jwk(data.decode())
    if form == "jwks":
        return get_default_algorithms()[algorithm].from_jwk(json.dumps(json.loads(data)["keys"][0]))
    if form == "hex":
        return bytes.fromhex(data.decode())
    if form == "base64":
        return base64.b64decode(data, validate=True)
    if form == "base64url":
        return b64url(data.decode())
    return data


def verifies(token, key, algorithm):
    try:
        return jwt.decode(token, key, algorithms=[algorithm]) == PAYLOAD
    except jwt.InvalidSignatureError:
        return False


def tokens(algorithm, folder):
    strangers = []
    for stranger in "old.jwk", "other.jwk":
        strangers.append(jwt.encode(PAYLOAD, decode_key(algorithm, "jwk", read(folder, stranger)), algorithm))
    signed = {}
    for name, form, data in renderings(folder, "sign"):
        signed[name] = jwt.encode(PAYLOAD, decode_key(algorithm, form, data), algorithm)
    if os.path.exists(os.path.join(folder, "token.jose")):
        signed["jose"] = read(folder, "token.jose").decode().strip()

    for name, form, data in renderings(folder, "verify"):
        key = decode_key(algorithm, form, data)
        for signer, token in signed.items():
            if not verifies(token, key, algorithm):
                fail("%s does not verify with %s" % (signer, name))
        for token in strangers:
            if verifies(token, key, algorithm):
                fail("%s verifies another key's token" % name)

    # By kid, as a resource server does it: the set still knows the key before the rotation.
    keys = {key["kid"]: key for key in json.loads(read(folder, "verify.jwks.plain"))["keys"]}
    old = json.loads(read(folder, "old.jwk"))
    other = json.loads(read(folder, "other.jwk"))
    old_key = get_default_algorithms()[algorithm].from_jwk(json.dumps(keys[old["kid"]]))
    if not verifies(strangers[0], old_key, algorithm):
        fail("the old key's token does not verify with its key in the set")
    if other["kid"] in keys:
        fail("the set knows another secret's kid")

    with open(os.path.join(folder, "token.pyjwt"), "w", encoding="ascii") as file:
        file.write(signed["sign.jwk.plain"])


def public_half(key):
    return key.public_key() if hasattr(key, "public_key") else key


def imported(algorithm, file, form):
    folder, name = os.path.split(file)
    data = read(folder, name)
    if form != "raw":
        data = data.rstrip()
    if data.startswith(b"{"):
        form = "jwks" if b'"keys"' in data else "jwk"
    if data.startswith(b"-----"):
        original = load_pem_private_key(data, None)
    else:
        original = decode_key(algorithm, form, data)
    jwk = json.loads(read(folder, name + ".imported"))
    check_jwk(name, jwk, algorithm, True)
    key = decode_key(algorithm, "jwk", json.dumps(jwk).encode())
    for signer, verifier in (original, key), (key, original):
        if not verifies(jwt.encode(PAYLOAD, signer, algorithm), public_half(verifier), algorithm):
            fail("%s was imported as another key" % name)
    if hasattr(key, "private_numbers") and key.private_numbers() != original.private_numbers():
        fail("%s was imported with other numbers" % name)


if __name__ == "__main__":
    {"forms": forms, "tokens": tokens, "imported": imported}[sys.argv[1]](*sys.argv[2:])
