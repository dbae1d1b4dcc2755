# SPDX-License-Identifier: ISC
"""Sealing of forwarded mail by the real server: verify { arc { seal = yes } }.

An alias of ours that leads elsewhere makes a message forwarded; the copy that
stays here is the same, so a Maildir shows what leaves.
"""
import base64
import os
import pathlib
import re
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from server import Server  # noqa: E402

# The key of RFC 8463 A.2, published for tests.
PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
PEM = "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % base64.b64encode(
    bytes.fromhex("302e020100300506032b657004220420")
    + base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")).decode()
RECORD = "v=DKIM1; k=ed25519; p=" + PUBLIC
ZONE = "".join('%s TXT "%s"\n' % (name, RECORD) for name in ("arc._domainkey.here.test", "s._domainkey.fwd.test"))
MESSAGE = b"From: Ann <ann@far.test>\r\nTo: outer@here.test\r\nSubject: Hello\r\n\r\nHi.\r\n"


@pytest.fixture(scope="module")
def server():
    with Server(start=False, zone=ZONE) as s:
        key = s.dir / "arc.pem"
        key.write_text(PEM)
        key.chmod(0o600)
        os.chown(key, *Server.owner())
        s.configure(extra='verify { arc { seal = yes domain = "here.test" selector = "arc" key = "%s" } }' % key)
        s.start()
        yield s


def received(server, rcpt, message, n):
    with server.client() as c:
        c.ask("EHLO client.test", 250)
        c.send_mail("ann@far.test", rcpt, message)
        c.ask("QUIT", 221)
    return [m for m in server.mail("alice@here.test", n) if message.split(b"\r\n\r\n", 1)[1] in crlf(m)][-1]


def crlf(message):
    return re.sub(rb"(?<!\r)\n", b"\r\n", message)


def judged(server, message):
    done = server.run("verify", "--ip", "127.0.0.1", "--helo", "x.test", "--mail-from", "", "--resolver", server.dns.address,
                      input=message, text=False)
    assert done.returncode == 0, done.stderr
    return b" ".join(done.stdout.split())


def payload(message, name):
    return re.search(rb"(?ims)^" + name + rb":(.*?)\n(?![ \t])", message)[1].replace(b"\r", b"")


def test_what_leaves_is_sealed_and_what_stays_is_not(server):
    stays = received(server, "alice@here.test", MESSAGE.replace(b"Hi.", b"Stays."), 1)
    assert b"ARC-" not in stays and b"arc=none" in stays
    leaves = received(server, "outer@here.test", MESSAGE.replace(b"Hi.", b"Leaves."), 2)
    seal = payload(leaves, b"ARC-Seal")
    assert b"i=1;" in seal and b"cv=none;" in seal and b"d=here.test;" in seal and b"s=arc;" in seal
    ours, sealed = payload(leaves, b"Authentication-Results"), payload(leaves, b"ARC-Authentication-Results")
    assert b"spf=pass" in ours and b"smtp.remote-ip=127.0.0.1" in ours
    assert b"arc=pass (i=1)" in judged(server, leaves)
    assert b"".join(sealed.split()) == b"i=1;" + b"".join(ours.split())


def test_a_chain_that_holds_is_lengthened(server):
    came = server.run("seal", "--domain", "fwd.test", "--selector", "s", "--key", str(server.dir / "arc.pem"), "--authserv-id",
                      "fwd.test", "--resolver", server.dns.address, input=MESSAGE.replace(b"Hi.", b"Long."), text=False)
    assert came.returncode == 0, came.stderr
    count = len(server.messages("alice@here.test"))
    leaves = received(server, "outer@here.test", came.stdout, count + 1)
    assert b"arc=pass (i=1) header.oldest-pass=0" in re.sub(rb"\s+", b" ", leaves)
    seal = payload(leaves, b"ARC-Seal")
    assert b"i=2;" in seal and b"cv=pass;" in seal
    assert b"arc=pass (i=2) header.oldest-pass=0" in judged(server, leaves)


def test_a_chain_that_broke_is_sealed_as_broken(server):
    came = server.run("seal", "--domain", "fwd.test", "--selector", "s", "--key", str(server.dir / "arc.pem"), "--authserv-id",
                      "fwd.test", "--resolver", server.dns.address, input=MESSAGE.replace(b"Hi.", b"Before."), text=False)
    assert came.returncode == 0, came.stderr
    count = len(server.messages("alice@here.test"))
    leaves = received(server, "outer@here.test", came.stdout.replace(b"Before.", b"After."), count + 1)
    seal = payload(leaves, b"ARC-Seal")
    assert b"i=2;" in seal and b"cv=fail;" in seal
    assert b"arc=fail" in judged(server, leaves) and b"(cv=fail)" in judged(server, leaves)
