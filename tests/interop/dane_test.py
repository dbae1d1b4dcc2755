# SPDX-License-Identifier: ISC
"""DANE from end to end: a zone signed by ldns-signzone and served by nsd, validated
by our own resolver; one postern sends, another receives over a real handshake."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from server import CONFIG, Server                       # noqa: E402
from signedzones import SignedZones, missing            # noqa: E402

pytestmark = pytest.mark.skipif(bool(missing()), reason="not here: " + ", ".join(missing()))

DOMAINS = ("ee", "ta", "wrong", "bogus", "gone", "two", "sts")
WRONG = "ab" * 32
CHANGED = "cd" * 32


def openssl(folder, *words, stdin=None):
    done = subprocess.run(["openssl", *words], cwd=folder, input=stdin, capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def key_digest(folder, certificate):
    """What TLSA x 1 1 holds."""
    public = openssl(folder, "x509", "-in", certificate, "-noout", "-pubkey")
    der = openssl(folder, "pkey", "-pubin", "-outform", "DER", stdin=public)
    return openssl(folder, "dgst", "-sha256", "-r", stdin=der).split()[0].decode()


class Certificates:
    """An authority, and mx.signed.example's certificate by it."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-ca-"))
        os.chmod(self.dir, 0o755)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]
        openssl(self.dir, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test Authority",
                "-addext", "basicConstraints=critical,CA:TRUE")
        openssl(self.dir, "req", *curve[:-2], "-new", "-keyout", "mx.key", "-out", "mx.csr", "-subj", "/CN=mx")
        (self.dir / "ext").write_text("subjectAltName=DNS:mx.signed.example,DNS:ta.signed.example\n")
        openssl(self.dir, "x509", "-req", "-in", "mx.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "7",
                "-extfile", "ext", "-out", "leaf.pem")
        (self.dir / "mx.pem").write_text((self.dir / "leaf.pem").read_text() + (self.dir / "ca.pem").read_text())
        owner = Server.owner()
        os.chown(self.dir / "mx.key", *owner)
        os.chmod(self.dir / "mx.key", 0o600)
        self.leaf, self.authority = key_digest(self.dir, "leaf.pem"), key_digest(self.dir, "ca.pem")

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def zone(port, certs):
    hosts = {"ee": f"3 1 1 {certs.leaf}", "ta": f"2 1 1 {certs.authority}", "wrong": f"3 1 1 {WRONG}",
             "bogus": f"3 1 1 {CHANGED}"}
    lines = ["mx A 127.0.0.1", "gone MX 10 mx", "two MX 10 mx-wrong", "two MX 20 mx-ee"]
    for name, tlsa in hosts.items():
        lines += [f"{name} MX 10 mx-{name}" if name != "ta" else "ta MX 10 ta", f"mx-{name} A 127.0.0.1",
                  f"_{port}._tcp.mx-{name} TLSA {tlsa}"]
    lines += ["ta A 127.0.0.1", f"_{port}._tcp.ta TLSA {hosts['ta']}"]
    return "\n".join(lines)


PLAIN = "@ MX 10 mx.signed.example.\n"


@pytest.fixture(scope="module")
def world():
    certs = Certificates()
    domains = [f"{d}.signed.example" for d in DOMAINS] + ["plain.example"]
    receiving = CONFIG.split("domain ")[0] + "".join(
        f'domain "{d}" {{{{ deliver {{{{ maildir = "{{dir}}/mail/%d/%u" }}}} }}}}\n' for d in domains) + (
        f'tls {{{{ certificate = {{{{"{certs.dir}/mx.pem"}}}} key = {{{{"{certs.dir}/mx.key"}}}} }}}}\n'
        'resolver {{ forward = {{"{dns}"}} trust-anchor = "" records = "{dir}/records" }}\n'
        'limits {{ connections-address = 500 {limits} }}\nlog {{ level = {level} }}\n{extra}\n')
    try:
        with Server(config=receiving, accounts=[f"bob@{d}" for d in domains], zone="here.test A 127.0.0.1\n") as far:
            port = far.address("mx")[1]
            with SignedZones({"signed.example": zone(port, certs)}, plain={"plain.example": PLAIN},
                             tamper={CHANGED: CHANGED[:-1] + "e"}) as zones:
                sending = CONFIG.replace('forward = {{"{dns}"}} trust-anchor = "" records = "{dir}/records"',
                                         f'forward = {{{{"{zones.address}"}}}} trust-anchor = "{zones.anchor}"')
                assert sending != CONFIG
                with Server(config=sending, extra=f'relay {{ port = {port} ca = "{certs.dir}/ca.pem" }}') as near:
                    yield near, far
    finally:
        certs.close()


def send(near, domain, parameters="", fields=""):
    since = near.mark()
    with near.client("submissions") as c:
        c.ask("EHLO client.test", 250)
        assert "REQUIRETLS" in c.reply.split("\n")[-1] or "REQUIRETLS" in c.reply
        c.login("alice@here.test")
        c.ask(f"MAIL FROM:<alice@here.test>{parameters}", 250)
        c.ask(f"RCPT TO:<bob@{domain}>", 250)
        c.ask("DATA", 354)
        c.send(f"From: alice@here.test\r\nTo: bob@{domain}\r\n{fields}Subject: {domain}\r\n\r\nHello\r\n.\r\n")
        c.hear(250)
    return since


def fate(near, event, domain, since):
    return near.wait(event, since=since, to=f"bob@{domain}")


@pytest.mark.parametrize("name", ["ee", "ta"])
def test_tlsa_records_vouch(world, name):
    near, far = world
    domain = f"{name}.signed.example"
    sent = fate(near, "delivery.sent", domain, send(near, domain))
    assert sent["verified"] == "dane" and sent["tls"].startswith("TLSv1.3")
    assert b"Subject: " + domain.encode() in far.mail(f"bob@{domain}")[0]


def test_another_key_is_not_spoken_to(world):
    near, far = world
    put_off = fate(near, "delivery.deferred", "wrong.signed.example", send(near, "wrong.signed.example"))
    assert "could not prove who it is" in put_off["reply"] and "(DANE)" in put_off["reply"]
    assert far.messages("bob@wrong.signed.example") == []


def test_a_tampered_record_defers(world):
    near, far = world
    put_off = fate(near, "delivery.deferred", "bogus.signed.example", send(near, "bogus.signed.example"))
    assert "could not be had: bogus" in put_off["reply"]
    assert far.messages("bob@bogus.signed.example") == []


def test_the_next_host_is_tried(world):
    near, _ = world
    sent = fate(near, "delivery.sent", "two.signed.example", send(near, "two.signed.example"))
    assert sent["verified"] == "dane" and sent["host"].startswith("mx-ee.signed.example")


def test_proved_absence_is_opportunistic(world):
    near, _ = world
    sent = fate(near, "delivery.sent", "gone.signed.example", send(near, "gone.signed.example"))
    assert sent["verified"] == "pkix"       # the name is good, and the certificate holds it


def test_an_unsigned_domain_proves_nothing(world):
    near, _ = world
    sent = fate(near, "delivery.sent", "plain.example", send(near, "plain.example"))
    assert sent["verified"] == "no"


def test_tls_required_no_goes_through(world):
    near, far = world
    domain = "wrong.signed.example"
    sent = fate(near, "delivery.sent", domain, send(near, domain, fields="TLS-Required: No\r\n"))
    assert sent["verified"] == "no"
    assert b"TLS-Required: No" in far.mail(f"bob@{domain}")[-1]


def test_requiretls_reaches_who_promises_it(world):
    near, _ = world
    domain = "ee.signed.example"
    sent = fate(near, "delivery.sent", domain, send(near, domain, parameters=" REQUIRETLS"))
    assert sent["verified"] == "dane"


def test_requiretls_without_proof_comes_back(world):
    near, _ = world
    since = send(near, "plain.example", parameters=" REQUIRETLS RET=FULL")
    back = fate(near, "delivery.bounced", "plain.example", since)
    assert "neither DNSSEC nor an MTA-STS policy" in back["reply"]
    near.wait("delivery.delivered", since=since, to="alice@here.test")
    notice = near.mail("alice@here.test")[-1]
    assert b"5.7.10" in notice and b"text/rfc822-headers" in notice and b"\r\nHello\r\n" not in notice


def test_requiretls_in_the_clear_is_refused(world):
    near, _ = world
    with near.client("mx") as c:
        c.ask("EHLO client.test", 250)
        assert "REQUIRETLS" not in c.reply
        c.ask("MAIL FROM:<x@far.test> REQUIRETLS", "530 5.7.10")
        c.starttls()
        c.ask("EHLO client.test", 250)
        assert "REQUIRETLS" in c.reply
        c.ask("MAIL FROM:<x@far.test> REQUIRETLS", 250)


def deliver_test(near, *words):
    done = near.run("deliver-test", "-c", str(near.file), *words)
    return done.returncode, done.stdout, done.stderr


def test_deliver_test_tells_the_same(world):
    near, far = world
    kept = len(far.find("message.stored"))
    status, out, why = deliver_test(near, "--json", "ee.signed.example")
    assert status == 0, why + out
    told = json.loads(out)
    assert told["result"] == "sent" and told["dnssec"] and told["mx_dnssec"]
    host, = told["hosts"]
    assert host["name"] == "mx-ee.signed.example" and host["preference"] == 10 and host["dnssec"]
    assert host["addresses"] == ["127.0.0.1"] and host["tlsa"]["status"] == "usable"
    assert host["policy"]["level"] == "verify" and "DANE" in host["policy"]["by"]
    assert host["tls"]["verified"] == "dane" and host["tls"]["requiretls"]
    leaf, authority = host["tls"]["chain"]
    assert "mx.signed.example" in leaf["names"] and authority["subject"] == "CN=Test Authority"
    assert host["tlsa"]["records"][0] == "3 1 1 " + leaf["spki_sha256"]
    assert len(far.find("message.stored")) == kept


@pytest.mark.parametrize("words, result, said", [
    (["wrong.signed.example"], "deferred", "it cannot prove who it is"),
    (["bogus.signed.example"], "deferred", "could not be had: bogus"),
    (["--requiretls", "plain.example"], "bounced", "REQUIRETLS needs a host"),
    (["none.signed.example"], "bounced", "does not exist"),
])
def test_deliver_test_says_why_not(world, words, result, said):
    near, _ = world
    status, out, _ = deliver_test(near, *words)
    assert status == 1 and f"RESULT\n  {result}" in out and said in out, out


def test_deliver_test_of_our_own_domain_and_without_a_server(world):
    near, _ = world
    status, out, _ = deliver_test(near, "here.test")
    assert status == 0 and "domain of this server" in out
    status, out, _ = deliver_test(near, "--resolver", near.dns.address, "nowhere.invalid.example")
    assert status == 1 and "DNSSEC is off" in out


def test_without_a_trust_anchor_it_runs_and_says_so():
    config = CONFIG.replace('trust-anchor = ""', 'trust-anchor = "/nonexistent/root.key"')
    with Server(config=config, accounts=["alice@here.test"]) as s:
        assert s.wait("dnssec.off", file="/nonexistent/root.key").level == "warn"
        status, out, _ = deliver_test(s, "far.test")
        assert status == 1 and "DNSSEC is off" in out
