# SPDX-License-Identifier: ISC
"""Signed zones that a validating resolver must believe, or must not: nsd serves
what ldns-signzone has signed, on a loopback port that the kernel chose.

    with SignedZones({"signed.example": "mx A 127.0.0.1"}, plain={"plain.example": "..."}) as zones:
        resolver { forward = {"<zones.address>"} trust-anchor = "<zones.anchor>" }

A zone's text is lines of a zone file, names relative to the zone.  `tamper` maps
a text in the signed file to another of the same meaning to nsd and of none to a
validator: what is changed behind the signer's back is bogus.
"""

import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from ports import free_port

PROGRAMS = ("nsd", "ldns-keygen", "ldns-signzone")
PATIENCE = 20


def missing():
    """Programs that are not here: Debian's nsd and ldnsutils have them."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [p for p in PROGRAMS if shutil.which(p, path=path) is None]


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


HEAD = """$TTL 300
@ SOA ns hostmaster 1 3600 600 864000 300
@ NS ns
ns A 127.0.0.1
"""


class SignedZones:
    def __init__(self, signed, plain=None, tamper=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-zones-"))
        os.chmod(self.dir, 0o755)
        self.port, self.process = free_port(), None
        self.address = f"127.0.0.1:{self.port}"
        self.anchor = self.dir / "anchors"
        self.files, anchors = {}, []
        for name, text in (plain or {}).items():
            self.files[name] = self.write(name, text)
        for name, text in signed.items():
            self.files[name], key = self.sign(name, text)
            anchors.append(key)
        for old, new in (tamper or {}).items():
            changed = 0
            for path in self.files.values():
                was = path.read_text()
                changed += was.count(old)
                path.write_text(was.replace(old, new))
            assert changed > 0, f"{old} is in no zone"
        self.anchor.write_text("".join(anchors))

    def write(self, name, text):
        path = self.dir / (name + ".zone")
        path.write_text(f"$ORIGIN {name}.\n" + HEAD + text + "\n")
        return path

    def run(self, *words):
        done = subprocess.run([program(words[0]), *words[1:]], cwd=self.dir, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def sign(self, name, text):
        path = self.write(name, text)
        key = self.run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", name)
        out = self.dir / (name + ".signed")
        self.run("ldns-signzone", "-f", str(out), str(path), key)
        return out, (self.dir / (key + ".key")).read_text()

    def __enter__(self):
        zones = "".join(f'zone:\n name: "{name}"\n zonefile: "{path}"\n' for name, path in self.files.items())
        (self.dir / "nsd.conf").write_text(
            f'server:\n ip-address: 127.0.0.1@{self.port}\n username: ""\n chroot: ""\n zonesdir: "{self.dir}"\n'
            f' pidfile: ""\n database: ""\n xfrdfile: ""\n zonelistfile: "{self.dir}/zonelist"\n xfrdir: "{self.dir}"\n server-count: 1\n'
            f' hide-version: yes\nremote-control:\n control-enable: no\n{zones}')
        self.process = subprocess.Popen([program("nsd"), "-d", "-c", str(self.dir / "nsd.conf")],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.wait_until_it_answers()
        return self

    def wait_until_it_answers(self):
        name = b"".join(bytes([len(w)]) + w.encode() for w in next(iter(self.files)).split(".")) + b"\0"
        question = struct.pack(">6H", 7, 0, 1, 0, 0, 0) + name + struct.pack(">2H", 6, 1)
        end = time.monotonic() + PATIENCE
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.1)
            while time.monotonic() < end and self.process.poll() is None:
                try:
                    s.sendto(question, ("127.0.0.1", self.port))
                    if s.recv(4096)[3] & 15 == 0:
                        return
                except (TimeoutError, ConnectionRefusedError):
                    pass
        self.process.kill()
        raise AssertionError("nsd does not answer: " + self.process.stderr.read().decode())

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)
