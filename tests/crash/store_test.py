# SPDX-License-Identifier: ISC
"""A state directory that is wiped, a store that is cut short beneath a running
server, a start on rubbish, an old store brought into a new one, and backups made
while mail goes in and out."""

import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import Server  # noqa: E402
from waiting import a_server, ended, fill, folder_for_all, listed, queue, send  # noqa: E402


def test_a_backup_while_mail_goes_in_and_out():
    with a_server() as s:
        fill(s, 3)
        kept = folder_for_all(s, "kept")
        for i in range(2):
            with s.client("mx") as c:
                c.ask("EHLO client.test", 250)
                for k in range(3):
                    c.send_mail("a@far.test", "alice@here.test", f"From: a@far.test\r\nSubject: {i} {k}\r\n\r\n" + "x\r\n" * 90_000)
                    queue(s, "backup", str(kept / f"{i}.tar"))
        assert s.stop() == 0
        for i in range(2):
            shutil.rmtree(s.dir / "state" / "queue")
            told = queue(s, "restore", str(kept / f"{i}.tar")).stdout
            assert "back, held" in told
            assert "nothing is wrong" in queue(s, "check").stdout


def test_a_wiped_queue_loses_nothing_on_old_maildirs():
    with Server() as s:
        for life in range(2):
            for i in range(4):
                send(s, "alice@here.test", f"life {life} message {i}")
            s.mail("alice@here.test", 4 * (life + 1))
            assert s.stop() == 0
            shutil.rmtree(s.dir / "state" / "queue")
            s.start()
        found = sorted(re.search(rb"Subject: (.*?)\r?\n", m).group(1) for m in s.messages("alice@here.test"))
        assert found == sorted(f"life {a} message {b}".encode() for a in range(2) for b in range(4))


def test_a_store_that_is_cut_short_beneath_the_server():
    with a_server() as s:
        ids = fill(s)
        os.truncate(s.dir / "state" / "queue" / "queue.mdb", 8192)
        try:
            send(s, "alice@here.test", "hits the hole")
        except (OSError, AssertionError, AttributeError):
            pass
        assert ended(s) == 75
        assert len([e for e in s.events if "SIGBUS" in e.line and "look at the disk" in e.line]) == 1
        seen = s.mark()
        s.start()
        s.wait("store.damaged", since=seen)
        s.wait("store.salvaged", since=seen)
        assert s.find("body.unknown", since=seen, file=ids[2])
        assert list((s.dir / "state" / "queue").glob("body.damaged-*/" + ids[2]))
        send(s, "alice@here.test", "goes on")
        s.mail("alice@here.test", 1)


def test_starts_on_rubbish():
    with a_server() as s:
        fill(s)
        assert s.stop() == 0
        store = s.dir / "state" / "queue" / "queue.mdb"
        whole = store.read_bytes()
        for octets in os.urandom(8192) + whole[8192:], b"", os.urandom(100_000):
            store.write_bytes(octets)
            assert "the store is damaged" in queue(s, "check", status=1).stdout
            assert "start the server" in queue(s, "backup", "-", status=1).stderr
            seen = s.mark()
            s.start()
            assert len(s.find("store.salvaged", since=seen)) == 1
            assert "nothing is wrong" in queue(s, "check").stdout
            assert len(listed(s)) == (0 if len(octets) < len(whole) else 6)      # all of it was behind the first pages
            assert s.stop() == 0
        kept = sorted((s.dir / "state" / "queue").glob("queue.damaged-*"))
        assert len(kept) == 3
        told = queue(s, "salvage", str(kept[0])).stdout
        assert "6 messages are back, held" in told
        assert "6 were here already" in queue(s, "salvage", str(kept[0])).stdout


def test_salvage_by_hand_into_a_queue_that_went_on():
    with a_server() as s:
        ids = fill(s)
        assert s.stop() == 0
        old = s.dir / "state" / "old"
        shutil.copytree(s.dir / "state" / "queue", old)
        for path in [old, *old.rglob("*")]:
            if s.as_user:
                os.chown(path, s.as_user["user"], s.as_user["group"])
        shutil.rmtree(s.dir / "state" / "queue")
        s.start()
        send(s, "alice@here.test", "goes on")
        s.mail("alice@here.test", 1)
        assert "another server" in queue(s, "salvage", str(old / "queue.mdb"), status=1).stderr
        assert s.stop() == 0
        told = queue(s, "salvage", str(old / "queue.mdb")).stdout
        assert "6 messages are back, held" in told and all(i in told for i in ids)
        (s.dir / "mail" / "closed.test").unlink()
        s.start()
        assert not s.messages("late@closed.test")
        queue(s, "release", "--all")
        assert len(s.mail("late@closed.test", 6)) == 6
