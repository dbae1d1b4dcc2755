# SPDX-License-Identifier: ISC
"""Every call of a message's life fails once.

A shim (fault_shim.c) counts what the server asks of the disk for the store, the
spool and the Maildirs, from the moment a message is sent until it lies in its
mailboxes, and lets the n-th fail: EIO, ENOSPC, or half of a write.  For each n
the message is sent again.  Whatever happens – a 250, a 4xx, a lost connection, a
server that ends with 75 and is started again – what was acknowledged is in each
mailbox exactly once and whole, what was refused in none, `postern queue check`
finds nothing wrong, and the next message goes through.

`make check` lets each call fail in one of the three ways, in turn; with
POSTERN_LONG=1 in all of them.
"""
import concurrent.futures
import errno
import hashlib
import mmap
import os
import pathlib
import re
import struct
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from server import PATIENCE, Server  # noqa: E402

LONG = os.environ.get("POSTERN_LONG") == "1"
SHIM = pathlib.Path(os.environ.get("POSTERN_BUILD", HERE.parents[1] / "build")) / "tests" / "crash" / "fault_shim.so"
WAYS = (("EIO", errno.EIO), ("ENOSPC", errno.ENOSPC), ("short", 1000))
CONFIGURED = """relay { retry-first = "1s" retry-most = "1s" }
"""
HOUSES = 6                                   # one waits a second when its disk is in doubt
TORN = 75                                    # the disk is in doubt: start again


class Page:
    """The page shared with the shim."""

    def __init__(self, path):
        path.write_bytes(bytes(4096))
        os.chmod(path, 0o666)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def arm(self, at, how):
        self.map[0:20] = struct.pack("=IIIII", 0, 0, at, how, 0)
        self.map[0:4] = struct.pack("=I", 1)

    def disarm(self):
        """(calls, hit, what)"""
        self.map[0:4] = struct.pack("=I", 0)
        _, count, _, _, hit = struct.unpack("=IIIII", self.map[0:20])
        name, path = (self.map[a:b].split(b"\0")[0].decode() for a, b in ((20, 84), (84, 484)))
        return count, bool(hit), f"{name} {path}"

    def hit(self):
        return struct.unpack("=I", self.map[16:20])[0] != 0


class House:
    """One server with the shim, started again when it has ended by itself."""

    def __init__(self, size):
        self.size, self.n, self.begun = size, 0, 0
        self.server = Server(start=False, extra=CONFIGURED)
        self.page = Page(self.server.dir / "page")
        self.server.environment = {"LD_PRELOAD": str(SHIM), "FAULT_FILE": str(self.server.dir / "page"),
                                   "FAULT_ROOT": f"{self.server.dir}/state/queue:{self.server.dir}/mail"}
        self.server.start()

    def body(self, token):
        line = f"{token} holds this line, again and again\r\n"
        return (line * (self.size // len(line) + 1)).encode()

    def send(self, token):
        """The reply's first figure; "" when there was none."""
        try:
            with self.server.client() as c:
                c.ask("EHLO client.test", 250)
                for line in ("MAIL FROM:<a@far.test>", "RCPT TO:<alice@here.test>", "RCPT TO:<bob@here.test>"):
                    if not c.ask(line).startswith("2"):
                        return c.reply[:1]
                if not c.ask("DATA").startswith("3"):
                    return c.reply[:1]
                c.send(f"From: a@far.test\r\nSubject: {token}\r\n\r\n".encode() + self.body(token) + b".\r\n")
                return c.hear()[:1]
        except (OSError, AssertionError):
            return ""

    def up(self):
        """After an end of its own the server is started again."""
        p = self.server.process
        if self.server.find("queue.broken", since=self.begun):
            p.wait(PATIENCE)                     # it answers who is there, and ends
        if p.poll() is None:
            return
        assert p.returncode == TORN, f"it ended with {p.returncode}:\n{self.server.log()[-3000:]}"
        self.server.reader.join(PATIENCE)
        p.stderr.close()
        self.begun = self.server.mark()
        self.server.start()

    def found(self):
        """(mailbox, token) -> digests; what was found is taken away."""
        all_ = {}
        for mailbox in ("alice", "bob"):
            new = self.server.maildir(f"{mailbox}@here.test")
            for file in list(new.iterdir()) if new.is_dir() else []:
                header, _, text = file.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
                token = re.search(rb"^Subject: (\S+)$", header, re.M).group(1).decode()
                all_.setdefault((mailbox, token), []).append(hashlib.sha256(text).hexdigest())
                file.unlink()
        return all_

    def quiet(self):
        """Nothing is queued; the server may end meanwhile."""
        end = time.monotonic() + PATIENCE
        while True:
            self.up()
            done = self.server.run("queue", "list", "--json", "-c", str(self.server.file))
            if done.returncode == 0 and done.stdout.strip() == "[]":
                return
            assert time.monotonic() < end, f"still queued: {done.stdout}{done.stderr}\n{self.server.log()[-4000:]}"
            time.sleep(0.01)

    def close(self):
        self.server.close()

    def one_life(self, at, how):
        """Sends a message of which call `at` fails: (calls, hit, what failed, faults found)."""
        self.n += 1
        token = f"token-{self.n}"
        self.up()
        self.page.arm(at, how)
        said = self.send(token)
        self.quiet()
        calls, hit, what = self.page.disarm()
        self.up()
        there, wrong = self.found(), []
        digest = hashlib.sha256(self.body(token).replace(b"\r\n", b"\n")).hexdigest()
        for mailbox in ("alice", "bob"):
            copies = there.pop((mailbox, token), [])
            if not (said == "2") <= len(copies) <= (said in ("2", "")):
                wrong.append(f"said {said or 'nothing'}, {len(copies)} in the mailbox of {mailbox}")
            if any(c != digest for c in copies):
                wrong.append(f"not what was sent, in the mailbox of {mailbox}")
        if there:
            wrong.append(f"unexpected: {list(there)}")
        checked = self.server.run("queue", "check", "-c", str(self.server.file))
        if checked.returncode != 0:
            wrong.append(checked.stdout + checked.stderr)
        return calls, hit, what, wrong


def lives_in_one_house(size, first, step):
    """Calls first, first + step, …: (calls in a life, how many failed, faults)."""
    house, faults, hits, n = House(size), [], 0, first
    try:
        for _ in range(2):                       # the mailboxes are made by the first
            calls, _, _, wrong = house.one_life(0, 0)
            assert calls > 10 and not wrong, (calls, wrong)
        while n <= calls:
            for name, how in WAYS if LONG else [WAYS[n // step % len(WAYS)]]:
                _, hit, what, wrong = house.one_life(n, how)
                hits += hit
                faults += [f"call {n}, {what}, {name}: {w}\n{house.server.log()[-3000:]}" for w in wrong]
            n += step
        faults += house.one_life(0, 0)[3]        # the next one goes through
    finally:
        house.close()
    return calls, hits, faults


@pytest.mark.parametrize("size", (300, 300_000), ids=("small", "large"))
def test_each_call_fails(size):
    with concurrent.futures.ThreadPoolExecutor(HOUSES) as pool:
        done = list(pool.map(lambda k: lives_in_one_house(size, k + 1, HOUSES), range(HOUSES)))
    faults = [f for _, _, found in done for f in found]
    calls, hits = max(calls for calls, _, _ in done), sum(hits for _, hits, _ in done)
    assert not faults, f"{len(faults)} faults, {calls} calls in a life:\n" + "\n".join(faults)
    assert hits > calls // 2
    print(f"{calls} calls in a life of {size} octets, {hits} failed")
