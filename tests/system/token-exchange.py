#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Tokens that are really signed and really verified while their keys rotate: an issuer and verifiers, to be run as services
# behind socket units. One request and one reply a connection, each a line of JSON. The tokens are PyJWT's; nothing here
# knows keyrota. token-driver.py has tokens exchanged.
#
#   issue --key=FILE --lifetime=SECONDS     signs with the key in FILE, a JWK or PEM
#   verify --set=FILE [--cache=SECONDS]     verifies with the JWK set in FILE; reads it anew when it is older than that
#       both load FILE again at SIGHUP and when asked; without a socket unit they listen at --listen=SOCKET
#   ask SOCKET REQUEST [TOKEN]              one request, and the reply on stdout: token, verify, kids, load

import argparse
import base64
import hashlib
import json
import os
import select
import signal
import socket
import sys
import time


# ---- services ----------------------------------------------------------------------------------------------

def notify(text):
    """sd_notify(3)"""
    address = os.environ.get('NOTIFY_SOCKET')
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect('\0' + address[1:] if address[0] == '@' else address)
            s.sendall(text.encode())


def listen(path):
    """sd_listen_fds(3); or, of a service without a socket unit, a socket of its own."""
    if os.environ.get('LISTEN_PID') == str(os.getpid()):
        return socket.socket(fileno=3)
    if os.path.exists(path):
        os.unlink(path)
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    os.chmod(path, 0o666)
    s.listen(1024)
    return s


def answer(connection, handler):
    connection.settimeout(5)
    line = b''
    while not line.endswith(b'\n'):
        part = connection.recv(65536)
        if not part:
            return
        line += part
    connection.sendall(json.dumps(handler(json.loads(line))).encode() + b'\n')


def serve(listener, handler, reload):
    """Until SIGTERM. What waits in the socket then is the next process's; nothing that was accepted goes without an answer."""
    ends, (wake, waken) = [], socket.socketpair()
    waken.setblocking(False)
    signal.set_wakeup_fd(waken.fileno())
    signal.signal(signal.SIGTERM, lambda *_: ends.append(True))
    signal.signal(signal.SIGHUP, lambda *_: reload())
    listener.setblocking(False)
    notify('READY=1')
    while not ends:
        ready = select.select([listener, wake], [], [])[0]
        if wake in ready:
            wake.recv(4096)
        if ends or listener not in ready:
            continue
        try:
            connection = listener.accept()[0]
        except BlockingIOError:
            continue
        with connection:
            try:
                answer(connection, handler)
            except OSError as e:
                record('lost', error=str(e))


def record(event, **more):
    """A line of JSON in the unit's log."""
    print(json.dumps({'event': event, 'time': round(time.time(), 3), **more}), flush=True)


# ---- issuer ------------------------------------------------------------------------------------------------

def thumbprint(jwk):
    """RFC 7638"""
    members = {'EC': 'crv kty x y', 'OKP': 'crv kty x', 'RSA': 'e kty n'}[jwk['kty']].split()
    text = json.dumps({m: jwk[m] for m in members}, separators=(',', ':'), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()


def load_signing_key(path):
    """(key for PyJWT, algorithm, kid)"""
    import jwt
    from jwt.algorithms import ECAlgorithm
    text = open(path).read()
    if not text.lstrip().startswith('{'):
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        key = load_pem_private_key(text.encode(), None)
        numbers = key.public_key().public_numbers()
        size = (numbers.curve.key_size + 7) // 8
        x, y = (base64.urlsafe_b64encode(n.to_bytes(size, 'big')).rstrip(b'=').decode() for n in (numbers.x, numbers.y))
        return key, 'ES256', thumbprint({'kty': 'EC', 'crv': 'P-256', 'x': x, 'y': y})
    jwk = json.loads(text)
    return jwt.PyJWK(jwk).key, jwk['alg'], jwk['kid']


def issue(arguments):
    import jwt
    serial = 0

    def load(event):
        nonlocal current
        current = load_signing_key(arguments.key)
        record(event, kids=[current[2]])

    def handler(request):
        nonlocal serial
        if request['do'] == 'load':
            load('reload')
        key, algorithm, kid = current
        if request['do'] != 'token':
            return {'kids': [kid]}
        serial += 1
        now = int(time.time())
        claims = {'iat': now, 'exp': now + arguments.lifetime, 'jti': '%d-%d' % (os.getpid(), serial)}
        token = jwt.encode(claims, key, algorithm=algorithm, headers={'kid': kid})
        return {'token': token if isinstance(token, str) else token.decode(), 'kid': kid, **claims}

    current = None
    load('start')
    serve(listen(arguments.listen), handler, lambda: load('signal'))


# ---- verifier ----------------------------------------------------------------------------------------------

def load_set(path):
    """kid -> (key for PyJWT, algorithm)"""
    import jwt
    keys = {}
    for jwk in json.load(open(path))['keys']:
        keys[jwk['kid']] = jwt.PyJWK(jwk).key, jwk['alg']
    return keys


def verdict(keys, token):
    """(was it accepted, why not). PyJWT looks at the signature first: `expired` says that the key was there and right."""
    import jwt
    header = jwt.get_unverified_header(token)
    if 'kid' in header:
        candidates = [keys[header['kid']]] if header['kid'] in keys else []
    else:                               # of a token that is older than keyrota here
        candidates = [k for k in keys.values() if k[1] == header['alg']]
    why = 'unknown key'
    for key, algorithm in candidates:
        try:
            jwt.decode(token, key, algorithms=[algorithm])
            return True, None
        except jwt.ExpiredSignatureError:
            return False, 'expired'
        except jwt.InvalidTokenError as e:
            why = '%s: %s' % (type(e).__name__, e)
    return False, why


def verify(arguments):
    keys, loaded = {}, 0

    def load(event):
        nonlocal keys, loaded
        keys, loaded = load_set(arguments.set), time.monotonic()
        record(event, kids=list(keys))

    def handler(request):
        if request['do'] == 'load':
            load('reload')
        elif arguments.cache and time.monotonic() - loaded >= arguments.cache:
            load('expired')
        if request['do'] != 'verify':
            return {'kids': list(keys)}
        ok, why = verdict(keys, request['token'])
        return {'ok': ok, 'why': why, 'at': time.time(), 'kids': list(keys)}

    load('start')
    serve(listen(arguments.listen), handler, lambda: load('signal'))


# ---- by hand ------------------------------------------------------------------------------------------------

def ask(arguments):
    request = {'do': arguments.request, **({'token': arguments.token} if arguments.token else {})}
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(arguments.socket)
        s.sendall(json.dumps(request).encode() + b'\n')
        line = s.makefile().readline()
    if not line.endswith('\n'):
        sys.exit('%s: no reply' % arguments.socket)
    print(line, end='')


def main():
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest='mode', required=True)
    mode = modes.add_parser('issue')
    mode.add_argument('--key', required=True)
    mode.add_argument('--lifetime', type=int, required=True)
    mode.add_argument('--listen')
    mode = modes.add_parser('verify')
    mode.add_argument('--set', required=True)
    mode.add_argument('--cache', type=float)
    mode.add_argument('--listen')
    mode = modes.add_parser('ask')
    mode.add_argument('socket')
    mode.add_argument('request')
    mode.add_argument('token', nargs='?')
    arguments = parser.parse_args()
    {'issue': issue, 'verify': verify, 'ask': ask}[arguments.mode](arguments)


main()
