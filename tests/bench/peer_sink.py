# SPDX-License-Identifier: ISC
"""Not a server: what the load generator can drive when nothing is done."""

import subprocess

from peer import Peer


class Ceiling(Peer):
    name = "sink"
    works = ("ceiling", "ceiling-send")
    is_ceiling = True

    def start(self):
        words = ["--certificate", self.secrets / "cert.pem", "--key", self.secrets / "cert.key"] if self.kind == "send" else []
        self.process = self.daemon(self.build / "tests/bench/sink", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.mx = self.submission = int(self.process.stdout.readline())

    def delivered(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[0])
