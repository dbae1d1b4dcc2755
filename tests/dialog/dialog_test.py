# SPDX-License-Identifier: ISC
"""Every tests/dialog/*.smtp against the real binary.

A transcript is read from top to bottom; `#` begins a comment line:

    limits: OPTION = N …        options of limits {} (the transcript gets its own server)
    extra: TEXT                 more lines of configuration (the same)
    dns: NAME TYPE DATA         a record (the same)
    listener: NAME              mx (what each begins with), submission, submissions: a new connection
    C: LINE                     the client says LINE and CRLF
    C*N: LINE                   the same N times
    raw: TEXT                   these octets; \\r \\n \\t \\0 \\\\ \\xNN are what they are in C
    raw*N: TEXT
    S: TEXT                     the next reply begins so (a reply of several lines: any of its lines)
    S*N: TEXT
    S!: TEXT                    the last reply does not hold TEXT
    S+: TEXT                    the last reply holds TEXT, too
    end:                        the server closes the connection
    tls:                        the handshake
    login: ADDRESS [PASSWORD]   AUTH PLAIN, which succeeds
    stored: N                   N messages are stored, and at the transcript's end no more than that
    mail: ADDRESS TEXT          a message with TEXT in it comes to ADDRESS (waited for)
    junk: ADDRESS TEXT          the same, to its Junk folder
    has: TEXT                   TEXT stands in that message
    hasnot: TEXT                TEXT does not
    log: EVENT KEY=VALUE …      is logged (waited for)
    split:                      the transcript is also run cut at each octet of what the client says
"""

import glob
import os
import pathlib
import re
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from server import Server  # noqa: E402

WORD = re.compile(r"(limits|extra|dns|listener|C|raw|S!|S\+|S|end|tls|login|stored|mail|junk|has|hasnot|log|split)(?:\*(\d+))?:(?: (.*))?$")
SETS_UP = ("limits", "extra", "dns")


def read(path):
    """[(line number, word, times, text)]"""
    steps = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        found = WORD.match(line)
        assert found, f"{path.name}:{number}: not a step: {line}"
        steps.append((number, found[1], int(found[2] or 1), found[3] or ""))
    return steps


def octets(text):
    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", lambda m: {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
                  .get(m[1]) or bytes([int(m[1][1:], 16)]), text.encode())


class Servers:
    """One for each set-up; most transcripts share one."""

    def __init__(self):
        self.running = {}

    def get(self, setup):
        if setup not in self.running:
            lines = {w: "\n".join(t for word, t in setup if word == w) for w in SETS_UP}
            self.running[setup] = Server(limits=lines["limits"], extra=lines["extra"], zone=lines["dns"] + "\n")
        return self.running[setup]

    def close(self):
        for s in self.running.values():
            s.close()


@pytest.fixture(scope="session")
def servers():
    s = Servers()
    yield s
    s.close()


class Run:
    """A transcript being played; `cut`: what the client says is sent in two parts, cut there."""

    def __init__(self, path, steps, server, cut=None):
        self.path, self.steps, self.server, self.cut = path, steps, server, cut
        self.said, self.since, self.client = 0, server.mark(), None
        self.stored, self.connections, self.mail = None, 0, b""

    def send(self, data):
        at = None if self.cut is None else self.cut - self.said
        self.said += len(data)
        if at is not None and 0 < at < len(data):
            self.client.send(data[:at])
            self.client.send(data[at:])
        else:
            self.client.send(data)

    def connect(self, listener):
        if self.client:
            self.client.close()
        self.client = self.server.client(listener, greeting=None)
        self.connections += 1

    def do(self, word, text):
        c, s = self.client, self.server
        if word == "listener":
            self.connect(text)
        elif word == "C":
            self.send(text.encode() + b"\r\n")
        elif word == "raw":
            self.send(octets(text))
        elif word == "S":
            reply = c.hear()
            assert any(line.startswith(text) for line in reply.split("\n")), f"want {text!r}, got {reply!r}"
            assert reply or not text, "the connection has ended"
        elif word == "S!":
            assert text not in c.reply, c.reply
        elif word == "S+":
            assert text in c.reply, c.reply
        elif word == "end":
            c.hear_end()
        elif word == "tls":
            c.secure()
        elif word == "login":
            c.login(*text.split())
        elif word == "stored":
            self.stored = int(text)
            s.until(lambda: len(s.find("message.stored", self.since)) >= self.stored, f"message {text}")
        elif word in ("mail", "junk"):
            who, _, what = text.partition(" ")
            self.mail = s.until(lambda: [m for m in s.messages(who, junk=word == "junk") if octets(what) in m],
                                f"{what!r} for {who}")[-1]
        elif word == "has":
            assert octets(text) in self.mail, self.mail.decode("utf-8", "replace")
        elif word == "hasnot":
            assert octets(text) not in self.mail, self.mail.decode("utf-8", "replace")
        elif word == "log":
            event, *fields = text.split()
            s.wait(event, self.since, **dict(f.split("=", 1) for f in fields))

    def play(self):
        self.connect("mx")
        try:
            for number, word, times, text in self.steps:
                self.do_at(number, word, times, text)
        finally:
            self.client.close()
        self.check_stored()

    def check_stored(self):
        """No more than it says, once all that happened is in the log."""
        if self.stored is None:
            return
        s = self.server
        s.until(lambda: len(s.find("session.closed", self.since)) >= self.connections, "the end of the session")
        assert len(s.find("message.stored", self.since)) == self.stored, f"{self.path.name}: more was stored"

    def do_at(self, number, word, times, text):
        fault = None
        if word == "raw" and times > 1:
            text, times = text * times, 1
        try:
            for _ in range(times):
                self.do(word, text)
        except (AssertionError, OSError) as e:
            fault = str(e)
        if fault is not None:
            where = "" if self.cut is None else f" (cut at {self.cut})"
            pytest.fail(f"{self.path.name}:{number}{where}: {word}: {text[:200]}\n{fault}", pytrace=False)


TRANSCRIPTS = sorted(pathlib.Path(p) for p in glob.glob(str(HERE / "*.smtp")))


def split_setup(path):
    steps = read(path)
    setup = tuple((word, text) for _, word, _, text in steps if word in SETS_UP)
    return setup, [s for s in steps if s[1] not in (*SETS_UP, "split")], any(s[1] == "split" for s in steps)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda p: p.stem)
def test_dialog(path, servers):
    setup, steps, _ = split_setup(path)
    Run(path, steps, servers.get(setup)).play()


@pytest.mark.parametrize("path", [p for p in TRANSCRIPTS if split_setup(p)[2]], ids=lambda p: p.stem)
def test_dialog_cut_at_each_octet(path, servers):
    setup, steps, _ = split_setup(path)
    whole = Run(path, steps, servers.get(setup))
    whole.play()
    for cut in range(1, whole.said, 1 if os.environ.get("POSTERN_LONG") else 3):
        Run(path, steps, servers.get(setup), cut).play()
