# SPDX-License-Identifier: ISC
"""`postern doctor` against real name servers (nsd and knot, DNSSEC-signed), a running
server, its certificate and its MTA-STS policy: healthy, it finds nothing; each fault,
planted once, is found by the check that is there for it, in words that help."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from authority import Authorities, free_port, missing   # noqa: E402
from dnsserver import DnsServer                         # noqa: E402
from server import POSTERN, Server                      # noqa: E402

pytestmark = pytest.mark.skipif(bool(missing()), reason="not here: " + ", ".join(missing()))

ZONE, REVERSE, LISTS, OTHER = "heal.example", "9.0.127.in-addr.arpa", "lists.example", "other.example"
HOST, AT = "mail.heal.example", "127.0.9.1"
PATIENCE = 60

CONFIG = """hostname = "mail.heal.example"
state = "{dir}/state"
user = "{user}"
loops = 1
listener "mx"          {{ address = {{"127.0.9.1:%(mx)d"}} role = inbound tls = starttls }}
listener "submissions" {{ address = {{"127.0.9.1:%(submissions)d"}} role = submission tls = implicit }}
domain "heal.example" {{
	dkim "s1" {{ }}
	deliver {{ maildir = "{dir}/mail/%%d/%%u" }}
}}
tls {{ certificate = {{"%(certs)s/mail.pem"}} key = {{"%(certs)s/mail.key"}} }}
web {{ address = {{"127.0.9.1:%(web)d"}} sts = enforce }}
relay {{ source = {{"127.0.9.1"}} ca = "%(certs)s/ca.pem" sts-port = %(web)d port = %(mx)d }}
verify {{ dnsbl "lists.example" {{ action = reject }} }}
resolver {{ forward = {{"%(resolver)s"}} trust-anchor = "%(anchor)s" authority-port = %(dns)d timeout = 2s records = "{dir}/records" }}
doctor {{ every = 0s outside-domain = "other.example" outside-name = "who.lists.example" }}
log {{ level = {level} }}
{extra}{limits}
"""


def run(*words, folder=None, stdin=None):
    done = subprocess.run([str(w) for w in words], cwd=folder, input=stdin, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


class Certificates:
    """An authority, and certificates by it: a good one, and others that are not."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-ca-"))
        os.chmod(self.dir, 0o755)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run("openssl", "req", "-x509", *curve, "-days", "99", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test Authority",
            "-addext", "basicConstraints=critical,CA:TRUE", folder=self.dir)
        run("openssl", "req", *curve, "-new", "-keyout", "mail.key", "-out", "mail.csr", "-subj", "/CN=mail", folder=self.dir)
        self.issue("mail", f"DNS:{HOST},DNS:mta-sts.{ZONE}", "90")
        self.issue("soon", f"DNS:{HOST},DNS:mta-sts.{ZONE}", "5")
        self.issue("named", "DNS:somebody.example", "90")
        (self.dir / "bare.pem").write_text((self.dir / "mail.leaf").read_text())
        os.chown(self.dir / "mail.key", *Server.owner())
        os.chmod(self.dir / "mail.key", 0o600)

    def issue(self, name, names, days):
        (self.dir / "ext").write_text(f"subjectAltName={names}\n")
        run("openssl", "x509", "-req", "-in", "mail.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
            "-extfile", "ext", "-out", f"{name}.leaf", folder=self.dir)
        (self.dir / f"{name}.pem").write_text((self.dir / f"{name}.leaf").read_text() + (self.dir / "ca.pem").read_text())

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def strings(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return " ".join(f'"{escaped[i:i + 250]}"' for i in range(0, len(escaped), 250))


def zone_line(record):
    value = strings(record["value"]) if record["type"] == "TXT" else record["value"]
    return f'{record["name"]}. {record["type"]} {value}'


class World:
    """Name servers, a server, and all that `postern dns` calls for."""

    def __init__(self):
        self.certs = Certificates()
        self.world = Authorities({ZONE: "", REVERSE: f"1 PTR {HOST}.", LISTS: self.lists(), OTHER: self.other()}, signed=True)
        self.world.__enter__()
        ports = [free_port([AT]) for _ in range(3)]
        self.names = {"mx": ports[0], "submissions": ports[1], "web": ports[2], "certs": self.certs.dir, "dns": self.world.port,
                      "resolver": self.world.resolver, "anchor": self.world.anchor}
        self.server = Server(config=CONFIG % self.names, accounts=["postmaster@" + ZONE], start=False)
        made = self.server.run("key", "generate", ZONE, "s1", "-c", str(self.server.file))
        assert made.returncode == 0, made.stderr
        self.server.start()
        self.healthy = self.called_for()
        self.world.change(ZONE, "\n".join(self.healthy))

    @staticmethod
    def lists():
        return '2.0.0.127 A 127.0.0.2\nwho TXT "127.0.9.1"'

    @staticmethod
    def other():
        return f'@ MX 10 mx\nmx A {AT}\n@ TXT "v=spf1 mx -all"\n_dmarc TXT "v=DMARC1; p=reject; rua=mailto:d@other.example"'

    def called_for(self):
        done = self.server.run("dns", "--format", "json", "-c", str(self.server.file))
        assert done.returncode == 0, done.stderr
        (domain,) = json.loads(done.stdout)["domains"]
        lines = {zone_line(r) for r in domain["records"] if r["name"].endswith(ZONE)}
        # The tests' port of MX hosts is another, DANE's name is not.
        return sorted(lines | {line.replace("_25._tcp", f'_{self.names["mx"]}._tcp') for line in lines})

    def close(self):
        try:
            self.server.close()
        finally:
            self.world.__exit__()
            self.certs.close()


@pytest.fixture(scope="module")
def world():
    w = World()
    yield w
    w.close()


class Findings(list):
    def of(self, check):
        return [f for f in self if f["check"] == check]

    def worst(self, *verdicts):
        return [f for f in self if f["verdict"] in verdicts]


def doctor(world, *words, status=None, file=None):
    done = world.server.run("doctor", *words, "--json", "-c", str(file or world.server.file), timeout=PATIENCE)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert done.returncode == (1 if told["faults"] else 0) and (status is None or status == done.returncode), done
    return Findings(told["checks"])


# What depends on the machine that the tests run on.
OF_THE_MACHINE = {"clock", "disk", "limits"}


def test_healthy(world):
    found = doctor(world, status=0)
    bad = [f for f in found.worst("fault", "warning") if f["check"] not in OF_THE_MACHINE]
    assert not bad, bad
