# SPDX-License-Identifier: ISC
"""What all servers have in common that are measured (see peers.py)."""

import os
import pathlib
import socket
import subprocess
import time

from house import files_in, program

USER, DOMAIN, PASSWORD = "sink", "here.example", "benchmark-word"
# Folders of packages that are unpacked, not installed: Debian has one mail server at a time.
UNPACKED = [pathlib.Path(p) for p in os.environ.get("POSTERN_PEERS", "").split(":") if p]


class Peer:
    works = ()                         # names of works.WORKS
    lacks = ""                         # why it does not do the others; "" where another row of it does
    programs, folders = (), ()
    unpack = ""                        # Debian's packages to be unpacked, not installed
    mx, submission = 25, 587
    connections = 40                   # that it must take at once
    most = 2_000_000                   # messages of a run that is ended by its time
    under = ()                         # a program that runs it, see stages.py
    is_ceiling = False                 # not a server: always there, see peer_sink.py

    def __init__(self, house, kind, build, sink_port, secrets):
        self.house, self.dir, self.kind, self.build, self.sink_port, self.secrets = house, house.dir, kind, build, sink_port, secrets

    @classmethod
    def missing(cls):
        return [p for p in cls.programs if program(p, cls.folders) is None]

    @classmethod
    def absent(cls):
        """Why it cannot be measured here, and what to do; "": it can."""
        gone = ", ".join(cls.missing())
        if gone and cls.unpack:
            return f"not here: {gone}: apt-get download {cls.unpack}, dpkg-deb -x each into one folder, and name that in POSTERN_PEERS"
        return gone and f"not here: {gone}: install it"

    def delivered(self):
        return files_in(self.maildir / "new")

    def one_message(self):
        """Any that was delivered."""
        return next((self.maildir / "new").iterdir()).read_text()

    def daemon(self, *words, **more):
        log = open(self.dir / f"{pathlib.Path(str(words[0])).name}.log", "ab")
        return subprocess.Popen([str(w) for w in words], **{"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, **more})

    def last_words(self):
        """Of its logs, for one who looks why it did not work."""
        logs = [f for f in [*self.dir.glob("*log"), *self.dir.glob("spool/*log")] if f.is_file() and f.stat().st_size > 0]
        return "".join(f"; {f.name}: " + " / ".join(f.read_text(errors="replace").splitlines()[-3:])[:500] for f in logs)


def wait_listening(port, log=None, patience=30):
    """A milter does not greet."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nobody listens at {port}: " + (log.read_text() if log is not None and log.exists() else "it wrote no log"))
