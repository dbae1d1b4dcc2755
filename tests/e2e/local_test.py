# SPDX-License-Identifier: ISC
"""The playground, as a new user meets it: the printed lines are pasted as they
stand, and the message must lie in bob's Maildir with every claim verified."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import dkim
import pytest

POSTERN = os.environ.get("POSTERN", "build/postern")
PATIENCE = 20


class Playground:
    def __init__(self, folder):
        self.dir = folder / "run"
        self.log = open(folder / "log", "w+b")
        self.process = subprocess.Popen(
            [POSTERN, "local", str(self.dir), "--ports", "0,0,0"], stdout=subprocess.PIPE, stderr=self.log)
        self.said = self._read_until_told()

    def _read_until_told(self):
        said = ""
        for line in self.process.stdout:
            said += line.decode()
            if "Control-C" in said:
                return said
        raise AssertionError("the playground ended: " + said + self.logged())

    def logged(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text()

    def line(self, word):
        return next(x.strip() for x in self.said.splitlines() if x.strip().startswith(word + " "))

    def port(self, what):
        return int(re.search(re.escape(what) + r"\s+127\.0\.0\.1:(\d+)", self.said).group(1))

    def mail(self, who, folder="new", deadline=PATIENCE):
        domain, user = who.split("@")[1], who.split("@")[0]
        new = self.dir / "mail" / domain / user / folder
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            files = sorted(new.iterdir()) if new.is_dir() else []
            if files:
                return [f.read_bytes() for f in files]
            time.sleep(0.02)
        raise AssertionError(f"nothing in {new}:\n{self.logged()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self.log.close()
        return status


@pytest.fixture
def playground(tmp_path):
    p = Playground(tmp_path)
    yield p
    if p.process.poll() is None:
        p.stop()


def records(playground):
    """The built-in DNS answers, as python3-dkim asks for them."""
    table = {}
    for line in (playground.dir / "dns").read_text().splitlines():
        found = re.match(r'(\S+) TXT "(.*)"$', line)
        if found:
            table[found.group(1) + "."] = found.group(2).encode()
    return lambda name, timeout=5: table.get(name.decode() if isinstance(name, bytes) else name)


def header(message, name):
    text = message.split(b"\r\n\r\n" if b"\r\n\r\n" in message else b"\n\n", 1)[0].decode("utf-8", "replace")
    text = re.sub(r"\r?\n[ \t]+", " ", text)
    return [m.group(1) for m in re.finditer(r"^" + name + r":[ \t]*(.*)$", text, re.M | re.I)]


def check_verified(playground, message):
    results = header(message, "Authentication-Results")
    assert len(results) == 1, message.decode()
    assert "spf=pass" in results[0]
    assert results[0].count("dkim=pass") == 2
    assert "dmarc=pass" in results[0]
    assert "header.from=home.test" in results[0]
    assert any(x.lower().startswith("pass") for x in header(message, "Received-SPF"))
    assert len(header(message, "DKIM-Signature")) == 2
    assert header(message, "Return-Path") == ["<alice@home.test>"]
    assert header(message, "Delivered-To") == ["bob@office.test"]
    wire = re.sub(rb"\r?\n", b"\r\n", message)
    judge = dkim.DKIM(wire)
    for i in range(2):
        assert judge.verify(idx=i, dnsfunc=records(playground)), "python3-dkim refuses signature %d" % i


def test_the_curl_line_works_as_printed(playground):
    began = time.monotonic()
    subprocess.run(playground.line("curl"), shell=True, check=True, timeout=PATIENCE)
    message = playground.mail("bob@office.test")[0]
    assert time.monotonic() - began < PATIENCE
    check_verified(playground, message)
    assert b"It works." in message


def test_the_swaks_line_works_as_printed(playground):
    done = subprocess.run(playground.line("swaks"), shell=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    check_verified(playground, playground.mail("bob@office.test")[0])


def test_a_wrong_password_is_refused(playground):
    line = re.sub(r"--user alice@home.test:\S+", "--user alice@home.test:Xq7Tb0zz", playground.line("curl"))
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 67, done.stderr       # curl: login denied
    assert "Xq7Tb0zz" not in playground.logged()


def test_it_stops_in_order_and_starts_again_with_the_same_accounts(playground, tmp_path):
    first = playground.line("curl").split("--user ")[1].split()[0]
    assert playground.stop() == 0
    again = Playground(tmp_path)
    try:
        assert again.line("curl").split("--user ")[1].split()[0] == first
        subprocess.run(again.line("curl"), shell=True, check=True, timeout=PATIENCE)
        check_verified(again, again.mail("bob@office.test")[0])
    finally:
        assert again.stop() == 0


def test_a_port_in_use_is_said_in_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([POSTERN, "local", str(tmp_path / "run"), "--ports", f"{port},0,0"],
                              capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {port} is in use" in done.stderr and "--ports" in done.stderr


def test_status_queue_and_reload_answer(playground):
    conf = str(playground.dir / "postern.conf")
    run = lambda *words: subprocess.run([POSTERN, *words, "-c", conf], capture_output=True, text=True, timeout=PATIENCE)
    assert run("check").returncode == 0
    status = run("status")
    assert status.returncode == 0 and "queue" in status.stdout
    assert run("queue", "list").returncode == 0
    assert run("reload").returncode == 0
    subprocess.run(playground.line("curl"), shell=True, check=True, timeout=PATIENCE)
    check_verified(playground, playground.mail("bob@office.test")[0])


def test_a_bounce_comes_back_signed(playground):
    line = playground.line("curl").replace("--mail-rcpt bob@office.test", "--mail-rcpt nobody@nowhere.test")
    subprocess.run(line, shell=True, check=True, timeout=PATIENCE)
    notice = playground.mail("alice@home.test")[0]
    assert header(notice, "Return-Path") == ["<>"]
    assert "postmaster@home.test" in header(notice, "From")[0]
    assert b"Final-Recipient: rfc822; nobody@nowhere.test" in notice
    assert b"Action: failed" in notice
    judge = dkim.DKIM(re.sub(rb"\r?\n", b"\r\n", notice))
    assert len(header(notice, "DKIM-Signature")) == 2
    for i in range(2):
        assert judge.verify(idx=i, dnsfunc=records(playground))
    conf = str(playground.dir / "postern.conf")
    words = [POSTERN, "queue", "list", "--json", "-c", conf]
    end = time.monotonic() + PATIENCE       # the notice lies in the mailbox before its last commit
    while subprocess.run(words, capture_output=True, text=True).stdout.strip() != "[]":
        assert time.monotonic() < end, playground.logged()
