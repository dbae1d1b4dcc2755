# SPDX-License-Identifier: ISC
"""The queue's files in an operator's hands: check, export, backup, restore and
salvage; a state directory that is wiped, a store that is cut short beneath a
running server, a second server, a start on rubbish."""

import json
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import ACCOUNTS, CONFIG, PATIENCE, Server  # noqa: E402

CLOSED = CONFIG.replace("resolver {{", 'domain "closed.test" {{ deliver {{ maildir = "{dir}/mail/%d/%u" }} }}\nresolver {{')


def a_server(**how):
    """Mail to late@closed.test waits until mail/closed.test is no file any more."""
    s = Server(config=CLOSED, accounts=(*ACCOUNTS, "late@closed.test"), **how)
    (s.dir / "mail" / "closed.test").touch()
    return s


def send(s, rcpts, subject, size=100):
    with s.client("mx") as c:
        c.ask("EHLO client.test", 250)
        line = f"{subject} line by line\r\n"
        reply = c.send_mail("a@far.test", rcpts, f"From: a@far.test\r\nSubject: {subject}\r\n\r\n" + line * (size // len(line) + 1))
    return re.search(r"\b([0-9a-z_]{11})\b", reply).group(1)


def fill(s, n=6):
    ids = [send(s, "late@closed.test", f"waits {i}", 300_000 if i == 2 else 100) for i in range(n)]
    s.until(lambda: len(s.find("delivery.deferred")) >= n, "deferrals")
    return ids


def queue(s, *words, status=0, **how):
    done = s.run("queue", *words, "-c", str(s.file), **how)
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def listed(s):
    return json.loads(queue(s, "list", "--json").stdout)


def ended(s):
    """The server has ended by itself; its status."""
    status = s.process.wait(PATIENCE)
    s.reader.join(PATIENCE)
    s.process.stderr.close()
    return status


def folder_for_all(s, name):
    path = s.dir / name
    path.mkdir()
    os.chmod(path, 0o777)
    return path


# ---- check, export ---------------------------------------------------------------

def test_check_and_export_beside_a_server_and_without_one():
    with a_server() as s:
        ids = fill(s)
        for running in True, False:
            if not running:
                assert s.stop() == 0
            told = queue(s, "check").stdout
            assert "6 messages, 6 recipients" in told and "nothing is wrong" in told
            told = json.loads(queue(s, "check", "--json").stdout)
            assert told["ok"] and told["messages"] == 6 and told["files"] == 1 and told["wrong"] == []
            text = queue(s, "export", ids[2]).stdout
            assert text.startswith("Received: ") or "\nReceived: " in text
            assert "Return-Path" not in text and "Delivered-To" not in text and text.count("waits 2 line by line") > 10_000
            out = folder_for_all(s, f"out-{running}")
            assert "6 messages" in queue(s, "export", "--all", str(out)).stdout
            assert sorted(p.name for p in out.iterdir()) == sorted(f"{i}.eml" for i in ids)
            assert (out / f"{ids[0]}.eml").read_text().endswith("waits 0 line by line\n")
        assert "no message 00000000001" in queue(s, "export", "00000000001", status=1).stderr
        assert queue(s, "export", "nonsense", status=2).stderr.startswith("postern queue: ")
        assert "needs a file" in queue(s, "backup", status=2).stderr


def test_damaged_content_is_named_and_exported_as_far_as_it_goes():
    with a_server() as s:
        ids = fill(s)
        assert s.stop() == 0
        body = s.dir / "state" / "queue" / "body" / ids[2]
        os.truncate(body, 1000)
        told = queue(s, "check", status=1).stdout
        assert re.search(rf"^{ids[2]}\s+the file of its content .*: .*export", told, re.M), told
        told = json.loads(queue(s, "check", "--json", status=1).stdout)
        assert [w["id"] for w in told["wrong"]] == [ids[2]] and not told["ok"]
        done = queue(s, "export", ids[2], status=1)
        assert done.stdout.count("waits 2") > 10 and ids[2] in done.stderr and "the rest was written" in done.stderr


# ---- backup, restore -----------------------------------------------------------------

def test_a_backup_comes_back_held_and_is_released():
    with a_server() as s:
        ids = fill(s)
        kept = folder_for_all(s, "kept")
        archive = kept / "queue.tar"
        queue(s, "backup", str(archive))
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        with tarfile.open(archive) as tar:
            names = tar.getnames()
        assert names[0] == "postern-backup" and names[-1] == "end" and f"body/{ids[2]}" in names
        piped = queue(s, "backup", "-", text=False).stdout
        assert len(piped) > 300_000
        refused = queue(s, "restore", str(archive), "--force", status=1).stderr
        assert f"another server (process {s.process.pid})" in refused
        assert s.stop() == 0
        assert "--force" in queue(s, "restore", str(archive), status=1).stderr
        cut = kept / "cut.tar"
        cut.write_bytes(archive.read_bytes()[:200_000])
        os.chmod(cut, 0o644)
        assert "nothing was touched" in queue(s, "restore", str(cut), "--force", status=1).stderr
        told = queue(s, "restore", str(archive), "--force").stdout
        assert "6 messages are back, held" in told and "queue.before-restore-" in told
        assert len(list((s.dir / "state").glob("queue.before-restore-*/queue.mdb"))) == 1
        (s.dir / "mail" / "closed.test").unlink()
        s.start()
        assert sorted(e["id"] for e in listed(s)) == sorted(ids)
        assert not s.messages("late@closed.test")
        assert "came back from the backup" in queue(s, "show", ids[0]).stdout
        queue(s, "release", "--all")
        assert len(s.mail("late@closed.test", 6)) == 6
        s.until(lambda: not listed(s), "an empty queue")
        assert len(s.messages("late@closed.test")) == 6


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


# ---- a state directory from nothing --------------------------------------------------------

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


def test_a_second_server_says_who_holds_the_queue():
    with Server() as s:
        done = s.run("serve", "-c", str(s.file))
        assert done.returncode == 1
        assert f"another server (process {s.process.pid}) uses the state directory" in done.stderr


# ---- damage ------------------------------------------------------------------------------------

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
