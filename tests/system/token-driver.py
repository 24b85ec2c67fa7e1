#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Takes a token from an issuer several times a second, and shows it to verifiers through its whole life: at once, at random
# moments, and just before its end (token-exchange.py is both). Until SIGTERM, then until the last token's end; what came
# of it is in --state, as JSON. With --carry tokens are kept there over a reboot, and shown again afterwards.

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import time


class Driver:
    EVERY = 0.2                         # seconds from one token to the next
    AGAIN = 3                           # times that a token is shown at a random moment of its life, besides first and last

    def __init__(self, arguments):
        self.issuer, self.verifiers, self.skew = arguments.issuer, arguments.verifier, arguments.skew
        self.state, self.carry = arguments.state, arguments.carry
        self.count = collections.Counter()
        self.kids, self.returned, self.rejections, self.kept, self.tasks = [], [], [], {}, set()
        self.ends = asyncio.Event()

    async def ask(self, path, request):
        """Asks until there is an answer: a service that is being restarted, or is not there, rejects nothing."""
        pause = 0.05
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(json.dumps(request).encode() + b'\n')
                    line = await reader.readline()
                finally:
                    writer.close()
                if line.endswith(b'\n'):
                    return json.loads(line)
            except OSError:
                pass
            self.count['retried'] += 1
            await asyncio.sleep(pause)
            pause = min(1, 2 * pause)

    async def present(self, path, token):
        if time.time() >= token['exp']:
            self.count['skipped'] += 1
            return
        asked = time.time()
        reply = await self.ask(path, {'do': 'verify', 'token': token['token']})
        self.count['presented'] += 1
        if reply['ok']:
            return
        # An answer that had to wait for a restart until the token's life was over is no rejection. That its key was not to be
        # found then is one until the skew, too, is over.
        if reply['at'] >= token['exp'] + (0 if reply['why'] == 'expired' else self.skew):
            self.count['late'] += 1
            return
        self.count['rejected'] += 1
        if len(self.rejections) < 20:
            self.rejections.append({'verifier': path, 'why': reply['why'], 'kid': token['kid'], 'holds': reply['kids'],
                                    'iat': token['iat'], 'exp': token['exp'], 'asked': asked, 'answered': reply['at']})

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def show(self, path, token, fresh):
        life = token['exp'] - time.time()
        moments = [random.uniform(0, life) for _ in range(self.AGAIN)] + [life - random.uniform(0.03, 0.2)]
        for moment in sorted(moments + ([0] if fresh else [])):
            await asyncio.sleep(token['exp'] - life + moment - time.time())
            await self.present(path, token)
        self.kept.pop(token['token'], None)

    async def take(self):
        token = await self.ask(self.issuer, {'do': 'token'})
        self.count['issued'] += 1
        kid = token['kid']
        if not self.kids or kid != self.kids[-1]:
            if kid in self.kids:
                self.returned.append(kid)
            self.kids.append(kid)
        self.kept[token['token']] = token
        for path in self.verifiers:
            self.spawn(self.show(path, token, True))

    def save(self):
        def replace(path, value):
            with open(path + '.new', 'w') as file:
                json.dump(value, file)
            os.rename(path + '.new', path)
        replace(self.state, {**{name: self.count[name] for name in
                                ('issued', 'presented', 'rejected', 'late', 'skipped', 'retried', 'carried', 'expired')},
                             'kids': self.kids, 'returned': self.returned, 'rejections': self.rejections,
                             'outstanding': len(self.tasks)})
        if self.carry:
            replace(self.carry, list(self.kept.values()))

    def carry_on(self):
        try:
            tokens = json.load(open(self.carry))
        except FileNotFoundError:
            return
        for token in tokens:
            if time.time() >= token['exp']:
                self.count['expired'] += 1
                continue
            self.count['carried'] += 1
            self.kept[token['token']] = token
            for path in self.verifiers:
                self.spawn(self.show(path, token, False))
                self.spawn(self.present(path, token))

    async def run(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.ends.set)
        if self.carry:
            self.carry_on()
        taking = None
        while not self.ends.is_set():
            # one at a time: what is asked for waits while the issuer is restarted
            if taking is None or taking.done():
                taking = asyncio.ensure_future(self.take())
            self.save()
            try:
                await asyncio.wait_for(self.ends.wait(), self.EVERY)
            except asyncio.TimeoutError:
                pass
        self.save()
        if self.carry:
            return                      # the next boot goes on
        await asyncio.wait({taking}, timeout=10)
        taking.cancel()
        while self.tasks:
            await asyncio.wait(set(self.tasks))
        self.save()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--issuer', required=True, metavar='SOCKET')
    parser.add_argument('--verifier', required=True, metavar='SOCKET', action='append')
    parser.add_argument('--skew', required=True, type=float, metavar='SECONDS')
    parser.add_argument('--state', required=True, metavar='FILE')
    parser.add_argument('--carry', metavar='FILE')
    asyncio.run(Driver(parser.parse_args()).run())


main()
