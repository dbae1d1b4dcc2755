# SPDX-License-Identifier: ISC
"""Killed at random moments under load, started again, and in the end asked for
everything it has promised.

Senders keep messages of three sizes in flight to Maildirs, for one and for two
recipients, with some that must be refused among them.  SIGKILL comes 50 times
(1,000 times with POSTERN_LONG=1, POSTERN_KILLS for another number).  Then each
acknowledged message is in each of its mailboxes exactly once and whole, a
message whose answer was never heard at most once, a refused one nowhere, and
the queue is empty.  Bob reads his mail beside it (reader.py): every file is moved
or deleted as soon as it is there.  POSTERN_SEED repeats the choices of a run.
"""

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"), os.path.dirname(os.path.abspath(__file__))]
from reader import HABITS, Reader  # noqa: E402
from server import CONFIG, PATIENCE, Client, Server  # noqa: E402

LONG = os.environ.get("POSTERN_LONG") == "1"
KILLS = int(os.environ.get("POSTERN_KILLS", 1000 if LONG else 50))
SEED = int(os.environ.get("POSTERN_SEED", random.SystemRandom().randrange(1 << 32)))
SENDERS = 8
# An address of its own: at the port of the life before nobody else listens.
ADDRESS = f"127.{random.SystemRandom().randrange(64, 128)}.{random.SystemRandom().randrange(256)}.{random.SystemRandom().randrange(1, 255)}"
SIZES = (400, 400, 400, 20_000, 70_000, 300_000)    # a row, some rows, a file
HOPS = "".join(f"Received: from h{i}.test by h{i + 1}.test; Sat, 1 Jan 2022 00:00:00 +0000\r\n" for i in range(150))


class Book:
    """What was said to whom: token -> (fate, mailboxes, digest of the body)."""

    def __init__(self):
        self.lock, self.pages, self.acknowledged = threading.Lock(), {}, 0

    def write(self, token, fate, mailboxes, digest):
        with self.lock:
            self.pages[token] = (fate, mailboxes, digest)
            self.acknowledged += fate == "acknowledged"

    def count(self, fate):
        with self.lock:
            return sum(page[0] == fate for page in self.pages.values())


class Sender(threading.Thread):
    def __init__(self, number, book, port):
        super().__init__(daemon=True)
        self.random = random.Random(f"{SEED}/{number}")
        self.number, self.book, self.port, self.sent = number, book, port, 0
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            try:
                with Client((ADDRESS, self.port())) as c:
                    c.hear(220)
                    c.ask("EHLO client.test", 250)
                    for _ in range(self.random.randrange(1, 20)):
                        if self.ending.is_set():
                            break
                        self.one(c)
            except (OSError, AssertionError):
                time.sleep(0.01)        # it is down; the next life has another port

    def one(self, c):
        self.sent += 1
        token = f"token-{self.number}-{self.sent}"
        refused = self.random.random() < 0.05
        mailboxes = self.random.choice((["alice"], ["bob"], ["alice", "bob"]))
        body = self.body(token)
        digest = hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()
        c.ask("MAIL FROM:<sender@far.test>", 250)
        for m in mailboxes:
            c.ask(f"RCPT TO:<{m}@here.test>", 250)
        c.ask("DATA", 354)
        header = (HOPS if refused else "") + f"From: sender@far.test\r\nTo: list@here.test\r\nSubject: {token}\r\n\r\n"
        self.book.write(token, "unheard", mailboxes, digest)
        c.send(header.encode() + body + b".\r\n")
        code = c.hear()[:3]
        if not code:
            raise ConnectionResetError
        self.book.write(token, "acknowledged" if code == "250" else "refused", mailboxes, digest)
        assert refused == (code[0] == "5"), f"{token}: {c.reply}"

    def body(self, token):
        n = self.random.choice(SIZES)
        line = f"{token} {self.random.getrandbits(64):016x} of a message\r\n".encode()
        return line * (n // len(line) + 1)


class Crashing:
    """A server that is killed, and its senders."""

    def __init__(self, server):
        self.server, self.book = server, Book()
        self.random = random.Random(SEED)
        self.at = self.server.address("mx")[1]
        self.senders = [Sender(i, self.book, lambda: self.at) for i in range(SENDERS)]
        self.bob = Reader({"bob": server.maildir("bob@here.test").parent}, self.random.choice(HABITS[1:]))
        self.from_journal = 0                   # lives that began with what only the queue's journal had
        self.first_message()

    def first_message(self):
        """Makes the mailboxes, so that the reader has something to watch."""
        with self.server.client() as c:
            c.ask("EHLO client.test", 250)
            c.send_mail("sender@far.test", ["alice@here.test", "bob@here.test"],
                        "From: sender@far.test\r\nSubject: token-0-0\r\n\r\nx\r\n")
        self.book.write("token-0-0", "acknowledged", ["alice", "bob"], hashlib.sha256(b"x\n").hexdigest())
        self.server.mail("bob@here.test")
        self.server.mail("alice@here.test")
        self.bob.start()

    def kill_once(self):
        """After some acknowledgements of this life, and then at any moment."""
        want = self.book.acknowledged + self.random.randrange(0, 40)
        end = time.monotonic() + 5
        while self.book.acknowledged < want and time.monotonic() < end:
            assert self.server.process.poll() is None, "it ended by itself:\n" + self.server.log()[-5000:]
            time.sleep(0.002)
        time.sleep(self.random.random() * 0.05)
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()
        self.server.reader.join(PATIENCE)
        self.server.process.stderr.close()
        self.from_journal += len(self.server.find("queue.journal"))
        self.server.events.clear()              # a thousand lives talk much
        self.server.start()
        self.at = self.server.address("mx")[1]

    def stop_sending(self):
        for s in self.senders:
            s.ending.set()
        for s in self.senders:
            s.join(PATIENCE)
            assert not s.is_alive()

    # ---- judging ------------------------------------------------------------------

    def found(self):
        """(mailbox, token) -> digests of what came there."""
        alice = Reader({"alice": self.server.maildir("alice@here.test").parent})
        return {**alice.take(), **self.bob.take()}

    def queue(self):
        done = self.server.run("queue", "list", "--json", "-c", str(self.server.file))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def wait_until_delivered(self):
        end = time.monotonic() + 10 * PATIENCE
        while self.queue():
            assert time.monotonic() < end, f"not delivered: {self.queue()[:3]}\n{self.server.log()[-5000:]}"
            time.sleep(0.2)

    def judge(self):
        found, wrong = self.found(), []
        for token, (fate, mailboxes, digest) in self.book.pages.items():
            for mailbox in ("alice", "bob"):
                n = len(found.get((mailbox, token), []))
                least = mailbox in mailboxes and fate == "acknowledged"
                most = mailbox in mailboxes and fate != "refused"
                if not least <= n <= most:
                    wrong.append(f"{token}, {fate}, is {n} times in the mailbox of {mailbox}")
                if any(d != digest for d in found.get((mailbox, token), [])):
                    wrong.append(f"{token} in the mailbox of {mailbox} is not what was sent")
        for mailbox, token in found:
            if token not in self.book.pages:
                wrong.append(f"{token} in the mailbox of {mailbox} was never sent")
        assert not wrong, f"{len(wrong)} wrong, POSTERN_SEED={SEED}:\n" + "\n".join(wrong[:40])


def test_killed_under_load():
    print(f"POSTERN_SEED={SEED}", flush=True)
    with Server(config=CONFIG.replace("127.0.0.1:0", f"{ADDRESS}:0")) as server:
        crashing = Crashing(server)
        for s in crashing.senders:
            s.start()
        for _ in range(KILLS):
            crashing.kill_once()
        crashing.stop_sending()
        crashing.wait_until_delivered()
        crashing.judge()
        crashing.bob.close()
        book = crashing.book
        print(f"{KILLS} kills: {book.count('acknowledged')} acknowledged, {book.count('refused')} refused, "
              f"{book.count('unheard')} unheard; {crashing.from_journal} lives began with the journal; bob's were {crashing.bob.habit}", flush=True)
        assert book.count("acknowledged") > 10 * KILLS
        assert book.count("refused") > 0
