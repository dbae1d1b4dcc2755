# SPDX-License-Identifier: ISC
"""A server under fault_shim.c: one message after the other, and of each life
one call fails or is the last.

Whatever happens – a 250, a 4xx, a lost connection, an end with 75 or by SIGKILL
and a new start – what was acknowledged is in each mailbox exactly once and
whole, what was refused in none, and `postern queue check` finds nothing wrong.
"""
import concurrent.futures
import hashlib
import mmap
import os
import pathlib
import random
import struct
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE)]
from nexthop import Hop  # noqa: E402
from reader import HABITS, Reader  # noqa: E402
from server import PATIENCE, Server  # noqa: E402

SHIM = pathlib.Path(os.environ.get("POSTERN_BUILD", HERE.parents[1] / "build")) / "tests" / "crash" / "fault_shim.so"
CONFIGURED = """allowance {{ messages-day = 0 recipients-day = 0 }}
relay {{ retry-first = "1s" retry-most = "1s" smarthost = "{hop.at}" smarthost-tls = may }}
"""
SHORT, KILL_BEFORE, KILL_AFTER = 1000, 1001, 1002       # fault_shim.c
LONG = os.environ.get("POSTERN_LONG") == "1"
SEED = int(os.environ.get("POSTERN_SEED", random.SystemRandom().randrange(1 << 32)))
TORN, KILLED = 75, -9                                   # the disk is in doubt: start again


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

    def killed(self):
        """The last call of a life has been."""
        _, _, _, how, hit = struct.unpack("=IIIII", self.map[0:20])
        return bool(hit) and how in (KILL_BEFORE, KILL_AFTER)


class House:
    def __init__(self, size, mailboxes=("alice", "bob"), habit=None, bounces=False, again=False, seed=0):
        """bounces: the message goes out and is refused; its notice comes to alice.
        again: who is started after a kill is killed once more, early."""
        self.size, self.mailboxes, self.bounces, self.n, self.begun = size, mailboxes, bounces, 0, 0
        self.again, self.struck, self.twice, self.chance = again, None, 0, random.Random(seed)
        self.hop = Hop("550 5.1.1 nobody of that name")
        self.server = Server(start=False, extra=CONFIGURED.format(hop=self.hop))
        self.page = Page(self.server.dir / "page")
        self.server.environment = {"LD_PRELOAD": str(SHIM), "FAULT_FILE": str(self.server.dir / "page"),
                                   "FAULT_ROOT": f"{self.server.dir}/state/queue:{self.server.dir}/mail"}
        self.reader = Reader({m: self.server.maildir(f"{m}@here.test").parent for m in ("alice", "bob")}, habit)
        self.server.start()

    def body(self, token):
        line = f"{token} holds this line, again and again\r\n"
        return (line * (self.size // len(line) + 1)).encode()

    def envelope(self):
        return ("alice@here.test", ["someone@far.test"]) if self.bounces else \
               ("a@far.test", [f"{m}@here.test" for m in self.mailboxes])

    def send(self, token):
        """The reply's first figure; "" when there was none."""
        sender, rcpts = self.envelope()
        try:
            with self.server.client("submissions" if self.bounces else "mx") as c:
                c.ask("EHLO client.test", 250)
                if self.bounces:
                    c.login(sender)
                for line in (f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{r}>" for r in rcpts)):
                    if not c.ask(line).startswith("2"):
                        return c.reply[:1]
                if not c.ask("DATA").startswith("3"):
                    return c.reply[:1]
                c.send(f"From: {sender}\r\nSubject: {token}\r\n\r\n".encode() + self.body(token) + b".\r\n")
                return c.hear()[:1]
        except (OSError, AssertionError):
            return ""

    def up(self):
        """After an end that was to be expected the server is started again."""
        while self.has_ended():
            self.begun = self.server.mark()
            try:
                self.server.start()
            except AssertionError:
                if not self.page.killed():
                    raise

    def has_ended(self):
        p, killed = self.server.process, self.page.killed()
        if killed or self.server.find("queue.broken", since=self.begun):
            p.wait(PATIENCE)                     # it answers who is there, and ends
        if p.poll() is None:
            return False
        assert p.returncode == (KILLED if killed else TORN), f"it ended with {p.returncode}:\n{self.server.log()[-3000:]}"
        self.server.reader.join(PATIENCE)
        p.stderr.close()
        if killed:
            self.struck, last = self.page.disarm(), self.struck
            self.twice += last is not None
            if self.again and last is None:
                self.page.arm(self.chance.randrange(1, 80), self.chance.choice((KILL_BEFORE, KILL_AFTER)))
            else:
                self.page.arm(0, 0)
        return True

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
        self.reader.close()
        self.server.close()
        self.hop.close()

    def one_life(self, at, how):
        """Sends a message of which call `at` fails: (calls, hit, what failed, faults found)."""
        self.n += 1
        token = f"token-{self.n}"
        self.up()
        self.struck = None
        self.page.arm(at, how)
        said = self.send(token)
        self.quiet()
        calls, hit, what = self.page.disarm()
        self.up()
        if self.struck is not None:
            hit, what = True, self.struck[2]
        wrong = self.judge(token, said, self.reader.take())
        checked = self.server.run("queue", "check", "-c", str(self.server.file))
        if checked.returncode != 0:
            wrong.append(checked.stdout + checked.stderr)
        if self.n == 2:
            self.reader.start()                  # its folders are there
        return calls, hit, what, wrong

    def judge(self, token, said, there):
        wrong, digest = [], hashlib.sha256(self.body(token).replace(b"\r\n", b"\n")).hexdigest()
        for mailbox in ("alice",) if self.bounces else self.mailboxes:
            copies = there.pop((mailbox, token), [])
            if not (said == "2") <= len(copies) <= (said in ("2", "")):
                wrong.append(f"said {said or 'nothing'}, {len(copies)} in the mailbox of {mailbox}")
            if not self.bounces and any(c != digest for c in copies):
                wrong.append(f"not what was sent, in the mailbox of {mailbox}")
        if there:
            wrong.append(f"unexpected: {list(there)}")
        return wrong


def lives(house, ways, first, step):
    """Calls first, first + step, … of a life, each in every way that ways() gives: (calls, hits, faults)."""
    faults, hits, n = [], 0, first
    try:
        for _ in range(2):                       # the mailboxes are made by the first
            calls, _, _, wrong = house.one_life(0, 0)
            assert calls > 10 and not wrong, (calls, wrong)
        while n <= calls:
            for name, how in ways():
                _, hit, what, wrong = house.one_life(n, how)
                hits += hit
                faults += [f"call {n}, {what}, {name}, again {house.again}, reader {house.reader.habit}: {w}\n"
                           f"{house.server.log()[-3000:]}" for w in wrong]
            n += step
        faults += house.one_life(0, 0)[3]        # the next one goes through
    finally:
        house.close()
    return calls, hits, faults


def every_life(kind, ways, apart):
    """Lives of such messages in some houses at once.  A long run takes each call
    in each way with each reader; a short one every `apart`-th call, from one drawn
    by chance."""
    houses, turns, step = (6, len(HABITS), 6) if LONG else (2, 1, 2 * apart)
    chance = random.Random(SEED)
    shift = 0 if LONG else chance.randrange(step)

    def one(turn, k):
        house = House(habit=HABITS[(k + turn + shift) % len(HABITS)], again=(k if turns == 1 else turn) % 2 == 1,
                      seed=f"{SEED}/{turn}/{k}", **kind)
        pick = random.Random(f"{SEED}/{k}")
        found = lives(house, lambda: ways if LONG else [pick.choice(ways)], 1 + (k * apart + shift) % step, step)
        return *found, house

    with concurrent.futures.ThreadPoolExecutor(houses) as pool:
        done = list(pool.map(lambda r: one(*r), [(turn, k) for turn in range(turns) for k in range(houses)]))
    calls, hits, faults = max(d[0] for d in done), sum(d[1] for d in done), [f for d in done for f in d[2]]
    assert not faults, f"{len(faults)} faults, {calls} calls in a life, POSTERN_SEED={SEED}:\n" + "\n".join(faults)
    assert hits > calls * turns * (len(ways) if LONG else 1) // (1 if LONG else apart) // 2
    late = sorted(ms for d in done for ms in d[3].reader.late_ms) or [0]
    print(f"{calls} calls in a life, {hits} of them struck, {sum(d[3].twice for d in done)} once more; "
          f"half of the readers' looks took {late[len(late) // 2]:.2f} ms, POSTERN_SEED={SEED}", flush=True)
