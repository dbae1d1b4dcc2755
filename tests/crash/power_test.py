# SPDX-License-Identifier: ISC
"""The power goes: at each moment of some messages' lives, what a disk holds that
has kept nothing but what was synced is enough.

One server runs under a shim that writes down, in order, what it asks of the
disk and every 250 it says (journal_shim.c).  The journal is cut at a place, the
tree that the disk may then hold is built (disk.py), and a server starts on it.
Every message whose 250 lies before the cut is in its mailboxes exactly once and
whole, no other more than once, and `postern queue check` finds nothing wrong.
"""
import copy
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE)]
import disk as disks  # noqa: E402
from server import PATIENCE, Server  # noqa: E402

LONG = os.environ.get("POSTERN_LONG") == "1"
CUTS = int(os.environ.get("POSTERN_CUTS", 600 if LONG else 12))
SEED = int(os.environ.get("POSTERN_SEED", random.SystemRandom().randrange(1 << 32)))
SHIM = pathlib.Path(os.environ.get("POSTERN_BUILD", HERE.parents[1] / "build")) / "tests" / "crash" / "journal_shim.so"
CROWD, TURNS = 40, 10                                   # so many at once, so often at most
SIZES = (300, 5_000, 40_000, 300_000, 900)              # a row, some rows, many, a file


def body(token, size):
    line = f"{token} holds this line, again and again\r\n"
    return (line * (size // len(line) + 1)).encode()


def send_some(server):
    """id -> (token, mailboxes, digest): one message after the other, and many at once."""
    sent = {}

    def begin(c, n, mailboxes):
        token = f"token-{n}"
        text = body(token, SIZES[n % len(SIZES)])
        c.ask("MAIL FROM:<a@far.test>", 250)
        for m in mailboxes:
            c.ask(f"RCPT TO:<{m}@here.test>", 250)
        c.ask("DATA", 354)
        c.send(f"From: a@far.test\r\nSubject: {token}\r\n\r\n".encode() + text)
        return token, mailboxes, hashlib.sha256(text).hexdigest()

    def end(c, about):
        c.hear(250)
        sent[re.search(r"Queued as (\S+)", c.reply).group(1)] = about

    with server.client() as c:
        c.ask("EHLO client.test", 250)
        for n in range(6):
            about = begin(c, n, ["alice"] if n % 2 else ["alice", "bob"])
            c.send(b".\r\n")
            end(c, about)
    clients = [server.client() for _ in range(CROWD)]
    for c in clients:
        c.ask("EHLO client.test", 250)
    for turn in range(1, 1 + TURNS):                    # until they were answered by the journal
        abouts = [begin(c, turn * CROWD + n, ["bob"]) for n, c in enumerate(clients)]
        server.signal(signal.SIGSTOP)
        for c in clients:
            c.send(b".\r\n")
        server.signal(signal.SIGCONT)                   # it finds all of them
        for c, about in zip(clients, abouts):
            end(c, about)
        if (server.dir / "state" / "queue" / "journal").exists():
            break
    for c in clients:
        c.close()
    server.mail("bob@here.test", 3 + turn * CROWD)
    server.mail("alice@here.test", 6)
    return sent


@pytest.fixture(scope="module")
def recorded():
    """(the tree before, the server, the journal, what was sent)"""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-power-"))
    os.chmod(folder, 0o777)
    with Server(start=False) as s:
        first = disks.Disk(s.dir)
        s.environment = {"LD_PRELOAD": str(SHIM), "JOURNAL_ROOT": str(s.dir), "JOURNAL_FILE": str(folder / "journal")}
        s.start()
        sent = send_some(s)
        s.signal(9)
        s.process.wait()
        s.reader.join(PATIENCE)
        s.process.stderr.close()
        s.environment = {}
        yield first, s, disks.journal(folder / "journal"), sent
    shutil.rmtree(folder)


def rebuilt(first, records, cut, luck):
    """What is on the disk after the cut, with its acknowledged ids."""
    disk = copy.deepcopy(first)
    for record in records[:cut]:
        disk.step(record)
    files, folders = disk.tree(luck)
    acked = {re.search(r"Queued as (\S+)", text).group(1) for text in disk.acks}
    return files, folders, acked


def put(server, files, folders):
    """Where it was: the queue knows its files by their whole names."""
    owner = (server.as_user.get("user", -1), server.as_user.get("group", -1))
    roots = tuple(f"{server.dir}/{name}" for name in ("state", "mail"))
    for root in roots:
        shutil.rmtree(root)
    for folder in sorted(f for f in folders if f.startswith(roots)):
        os.mkdir(folder, 0o700)
        os.chown(folder, *owner)
    for path, text in files.items():
        if path.startswith(roots):
            with open(path, "wb") as f:
                f.write(text)
            os.chmod(path, 0o600)
            os.chown(path, *owner)


def found(server):
    all_ = {}
    for mailbox in ("alice", "bob"):
        for message in server.messages(f"{mailbox}@here.test"):
            header, _, text = message.partition(b"\r\n\r\n" if b"\r\n\r\n" in message else b"\n\n")
            token = re.search(rb"^Subject: (\S+?)\r?$", header, re.M).group(1).decode()
            text = text if b"\r\n" in text else text.replace(b"\n", b"\r\n")
            all_.setdefault((token, mailbox), []).append(hashlib.sha256(text).hexdigest())
    return all_


def judge(recorded, cut, luck):
    first, server, records, sent = recorded
    files, folders, acked = rebuilt(first, records, cut, luck)
    put(server, files, folders)
    begun = server.mark()
    server.start()
    server.until(lambda: server.run("queue", "list", "--json", "-c", str(server.file)).stdout.strip() == "[]", "an empty queue")
    there, wrong = found(server), []
    for id_, (token, mailboxes, digest) in sent.items():
        for mailbox in mailboxes:
            copies = there.pop((token, mailbox), [])
            if not (id_ in acked) <= len(copies) <= 1 or any(c != digest for c in copies):
                wrong.append(f"{token} ({'acknowledged' if id_ in acked else 'not yet'}) for {mailbox}: {len(copies)}")
    wrong += [f"{token} for {mailbox} was never sent so" for token, mailbox in there]
    checked = server.run("queue", "check", "-c", str(server.file))
    if checked.returncode != 0:
        wrong.append(checked.stdout + checked.stderr)
    assert server.stop() == 0
    log = "\n".join(e.line for e in server.events[begun:])
    assert not wrong, f"cut at {cut} of {len(records)}, seed {SEED}, luck {luck is not None}:\n" + "\n".join(wrong) + "\n" + log


def places(records):
    """Before and behind each 250, and then anywhere."""
    acks = [i for i, r in enumerate(records) if r[0] == disks.ACK]
    chosen = random.Random(SEED)
    first = [acks[0] + 1, acks[-1] + 1, len(records)]
    rest = chosen.sample(range(len(records)), min(CUTS, len(records)))
    return (first + rest)[:max(CUTS, 3)]


@pytest.mark.parametrize("which", range(CUTS))
def test_power_lost(recorded, which):
    cut = places(recorded[2])[which]
    judge(recorded, cut, random.Random(f"{SEED}/{which}") if which % 2 else None)


def test_many_at_once_were_answered_by_the_journal(recorded):
    """The queue's own: it is made when it is first wanted, and each block is synced."""
    _, server, records, _ = recorded
    inode = next((r[2] for r in records if r[0] == disks.OPEN and r[4].decode().endswith("/state/queue/journal")), None)
    assert inode is not None, "they never came at once"
    assert sum(r[0] == disks.SYNC and r[2] == inode for r in records) >= 2


def test_the_journal_tells_something(recorded):
    """Without its fsyncs this disk keeps nothing: the test can fail."""
    first, _, records, sent = recorded
    careless = [r for r in records if r[0] not in (disks.SYNC, disks.SYNCFS)]
    files, _, acked = rebuilt(first, [(*r[:1], r[1] & ~disks.DIRECT, *r[2:]) for r in careless], len(careless), None)
    assert len(acked) == len(sent)
    assert not any("/new/" in path for path in files)
