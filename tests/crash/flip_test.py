# SPDX-License-Identifier: ISC
"""Octets of the store change while the server is down, anywhere in its file.

A store with known messages (waiting, half delivered, finished, small and large)
is made once by a real server that is killed.  Each run gets a copy, with some
octets flipped, a page overwritten, or the end cut off; the server starts on it,
and is asked for everything: it never ends by itself, what the damage did not
touch is in its mailbox exactly once and whole, nothing is there twice, and what
is missing is named in the log or set aside in the queue.  10 runs, 1,000 with
POSTERN_LONG=1, POSTERN_RUNS for another number; POSTERN_SEED repeats them.
"""

import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import ACCOUNTS, CONFIG, PATIENCE, Server  # noqa: E402

LONG = os.environ.get("POSTERN_LONG") == "1"
RUNS = int(os.environ.get("POSTERN_RUNS", 1000 if LONG else 10))
SEED = int(os.environ.get("POSTERN_SEED", random.SystemRandom().randrange(1 << 32)))
PAGE = 4096
SIZES = (300, 900, 2500, 300, 40_000, 300, 280_000)
CLOSED = CONFIG.replace("resolver {{", 'domain "closed.test" {{ deliver {{ maildir = "{dir}/mail/%d/%u" }} }}\nresolver {{')


class Known:
    """What the store holds: id -> (token, mailboxes that are still owed it, digest)."""

    def __init__(self, server):
        self.server, self.owed, self.finished = server, {}, []
        (server.dir / "mail" / "closed.test").touch()       # no folder: nothing can be delivered there
        with server.client("mx") as c:
            c.ask("EHLO client.test", 250)
            for i in range(60):
                self.put(c, i)
        server.until(lambda: len(server.find("delivery.deferred")) >= 40, "40 deferrals")
        server.until(lambda: len(server.messages("alice@here.test")) >= 40, "40 deliveries")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.reader.join(PATIENCE)
        server.process.stderr.close()
        self.had = self.mailboxes()
        state = server.dir / "state"
        self.store = (state / "queue" / "queue.mdb").read_bytes()
        metas = [struct.unpack_from("<QQ", self.store, at + 16 + 24 + 96) for at in (0, PAGE)]
        self.pages = max(metas, key=lambda m: m[1])[0] + 1
        self.keep = server.dir / "kept"
        os.truncate(state / "queue" / "queue.mdb", self.pages * PAGE)
        (server.dir / "mail" / "closed.test").unlink()      # from now on it can be reached
        for name in ("state", "mail"):
            shutil.copytree(server.dir / name, self.keep / name, ignore=shutil.ignore_patterns("control"))

    def put(self, c, i):
        """To alice at once; two in three also to a mailbox that cannot be reached yet."""
        body = f"token-{i} of a message, line by line\r\n" * (SIZES[i % len(SIZES)] // 38 + 1)
        message = f"From: a@far.test\r\nSubject: token-{i}\r\n\r\n{body}"
        rcpts = ["alice@here.test"] if i % 3 == 0 else ["late@closed.test"] if i % 3 == 1 else ["alice@here.test", "late@closed.test"]
        reply = c.send_mail("a@far.test", rcpts, message)
        id_ = re.search(r"\b([0-9a-z_]{11})\b", reply).group(1)
        digest = hashlib.sha256(body.encode()).hexdigest()
        if i % 3 == 0:
            self.finished.append(f"token-{i}")
        else:
            self.owed[id_] = (f"token-{i}", digest)

    def mailboxes(self):
        """(mailbox, token) -> digests of what lies there."""
        found = {}
        for mailbox in ("alice@here.test", "late@closed.test"):
            for raw in self.server.messages(mailbox):
                header, _, body = raw.partition(b"\r\n\r\n" if b"\r\n\r\n" in raw else b"\n\n")
                token = re.search(rb"^Subject: (token-\d+)", header, re.M).group(1).decode()
                whole = body if b"\r\n" in body else body.replace(b"\n", b"\r\n")
                found.setdefault((mailbox, token), []).append(hashlib.sha256(whole).hexdigest())
        return found

    def lay_out(self, octets):
        """The state as it was at the kill, with this store."""
        for name in ("state", "mail"):
            shutil.rmtree(self.server.dir / name)
            shutil.copytree(self.keep / name, self.server.dir / name)
            for at, folders, files in os.walk(self.server.dir / name):
                for path in [at] + [os.path.join(at, f) for f in folders + files]:
                    if self.server.as_user:
                        os.chown(path, self.server.as_user["user"], self.server.as_user["group"], follow_symlinks=False)
        store = self.server.dir / "state" / "queue" / "queue.mdb"
        with open(store, "r+b") as f:
            f.write(octets)
            f.truncate(len(octets))


def damage(known, rng):
    """The octets of a damaged store, and what was done."""
    octets = bytearray(known.store[:known.pages * PAGE])
    kind = rng.choice(("octets", "octets", "octets", "page", "bits", "cut", "zero"))
    if kind == "octets":
        at = [rng.randrange(len(octets)) for _ in range(rng.choice((1, 3, 20)))]
        for i in at:
            octets[i] = rng.randrange(256)
    elif kind == "bits":
        at = [rng.randrange(known.pages) * PAGE + rng.randrange(64) for _ in range(rng.choice((1, 2)))]
        for i in at:                        # heads of pages, and where their rows lie
            octets[i] ^= 1 << rng.randrange(8)
    elif kind == "page":
        at = [rng.randrange(known.pages) * PAGE]
        octets[at[0]:at[0] + PAGE] = rng.randbytes(PAGE)
    elif kind == "zero":
        at = [rng.randrange(known.pages) * PAGE]
        octets[at[0]:] = bytes(len(octets) - at[0])
    else:
        at = [rng.randrange(len(octets))]
        del octets[at[0]:]
    return bytes(octets), kind, at


def queue(server):
    done = server.run("queue", "list", "--json", "-c", str(server.file))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def settle_down(server):
    """Everything that is due has been tried."""
    server.run("queue", "flush", "-c", str(server.file))
    end = time.monotonic() + PATIENCE
    while True:
        left = queue(server)
        if not any("waiting" in json.dumps(e) or "staged" in json.dumps(e) for e in left):
            return left
        assert time.monotonic() < end, f"still due: {json.dumps(left)[:2000]}\n{server.log()[-4000:]}"
        time.sleep(0.05)


def leaves_a_trace(id_, octets):
    """The head of a row says of which message it is: without one nobody can know of it."""
    number = 0
    for c in id_:
        number = number << 5 | "0123456789bcdfghjklmnpqrstvwxyz_".index(c)
    head = rb"qrtp[\x01-\x05]\0\x02\0.{8}" + re.escape(struct.pack("<Q", number)) + rb".{8}"
    return any(m.start() % 2 == 0 for m in re.finditer(head, octets, re.S))


def judge(known, left, octets, log, what):
    found, wrong = known.mailboxes(), []
    there = {e["id"] for e in left}
    for key, digests in found.items():
        if len(digests) > 1:
            wrong.append(f"{key} is there {len(digests)} times")
        if key in known.had and digests != known.had[key]:
            wrong.append(f"{key} was delivered before the damage and has changed")
    for token in known.finished:
        if ("alice@here.test", token) not in found:
            wrong.append(f"{token} has gone from the mailbox")
    for id_, (token, digest) in known.owed.items():
        got = found.get(("late@closed.test", token))
        if got and got != [digest]:
            wrong.append(f"{token} is not what was sent")
        if not got and id_ not in there and id_ not in log and leaves_a_trace(id_, octets):
            wrong.append(f"{token} ({id_}) is neither delivered nor named")
    assert not wrong, f"{what}, POSTERN_SEED={SEED}:\n" + "\n".join(wrong) + "\n" + log[-6000:]
    return sum(("late@closed.test", t) in found for t, _ in known.owed.values())


def test_flipped_octets():
    print(f"POSTERN_SEED={SEED}", flush=True)
    delivered = salvaged = 0
    with Server(config=CLOSED, accounts=(*ACCOUNTS, "late@closed.test")) as server:
        known = Known(server)
        for run in range(RUNS):
            octets, kind, at = damage(known, random.Random(f"{SEED}/{run}")) if run else (known.store[:known.pages * PAGE], "none", [])
            what = f"run {run}: {kind} at {at[:5]}"
            known.lay_out(octets)
            server.events.clear()
            server.start()
            left = settle_down(server)
            log = server.log()
            n = judge(known, left, octets, log, what)
            if kind == "none":
                assert n == len(known.owed) and not left, f"{n} of {len(known.owed)}, {left}"
                assert not server.find("store.damaged")
            delivered += n
            salvaged += len(server.find("store.salvaged"))
            assert server.process.poll() is None, f"{what}: it ended\n{log[-5000:]}"
            assert server.stop() == 0, what
        print(f"{RUNS} runs: {salvaged} stores were salvaged, {delivered} of {RUNS * len(known.owed)} messages delivered", flush=True)
        assert delivered > RUNS * len(known.owed) / 4
