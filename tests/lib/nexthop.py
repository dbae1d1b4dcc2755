# SPDX-License-Identifier: ISC
"""A next hop that says what it is told, and keeps what it took.

    hop = Hop("450 4.2.0 come back later", caps=("8BITMIME",))
    …  relay {{ smarthost = "{hop.at}" smarthost-tls = may }}
    hop.answer = "250 2.1.5 fine"            # from now on
    hop.taken[0].rcpts, hop.taken[0].text

Its port is the kernel's.  (One that is at fault at every step: interop/sink.py.)
"""

import re
import socket
import threading
from typing import NamedTuple

FINE = "250 2.1.5 fine"


class Taken(NamedTuple):
    """One message."""
    commands: list              # MAIL and each RCPT, as they came
    rcpts: list                 # whose RCPT was answered with 2xx
    text: bytes                 # its lines as they were meant, RFC 5321 4.5.2

    @property
    def sender(self):
        return path(self.commands[0])


def path(command):
    return re.search(r"<(.*?)>", command)[1]


class Hop:
    """`answer`: what RCPT hears, or a function of the recipient that says it."""

    def __init__(self, answer=FINE, caps=(), host="127.0.0.4"):
        self.answer, self.caps, self.taken, self.changed = answer, caps, [], threading.Condition()
        self.socket = socket.create_server((host, 0), backlog=200)
        self.port = self.socket.getsockname()[1]
        self.at = f"{host}:{self.port}"
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self):
        self.socket.close()

    def serve(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.meet, args=(peer,), daemon=True).start()

    def meet(self, peer):
        try:
            with peer, peer.makefile("rwb") as f:
                self.talk(f)
        except OSError:
            pass                # who is ended goes without a word

    def talk(self, f):
        def say(*lines):
            f.write("".join(f"{line}\r\n" for line in lines).encode())
            f.flush()

        commands, rcpts = [], []
        say("220 peer.test")
        for raw in f:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            word = line[:4].upper()
            if word == "EHLO":
                *more, last = ["peer.test", *self.caps]
                say(*(f"250-{cap}" for cap in more), f"250 {last}")
            elif word == "MAIL":
                commands, rcpts = [line], []
                say("250 fine")
            elif word == "RCPT":
                answer = self.answer(path(line)) if callable(self.answer) else self.answer
                commands.append(line)
                rcpts += [path(line)] if answer.startswith("2") else []
                say(answer)
            elif word == "DATA" and not rcpts:
                say("554 5.5.1 no recipient")
            elif word == "DATA":
                say("354 go")
                text = content(f)
                if text is None:
                    return
                with self.changed:
                    self.taken.append(Taken(commands, rcpts, text))
                    self.changed.notify_all()
                say("250 2.0.0 taken as peer-1")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")


def content(f):
    """Up to the dot; None when the connection ends before."""
    lines = []
    for line in f:
        if line == b".\r\n":
            return b"".join(lines)
        lines.append(line.removeprefix(b"."))
    return None
