# SPDX-License-Identifier: ISC
"""The queue's files in an operator's hands: check, export, backup and restore."""

import json
import os
import re
import stat
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import Server  # noqa: E402
from waiting import a_server, fill, folder_for_all, listed, queue  # noqa: E402


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


def test_a_second_server_says_who_holds_the_queue():
    with Server() as s:
        done = s.run("serve", "-c", str(s.file))
        assert done.returncode == 1
        assert f"another server (process {s.process.pid}) uses the state directory" in done.stderr
