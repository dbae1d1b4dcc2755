# SPDX-License-Identifier: ISC
"""web {}: what mail programs and other servers are told over HTTPS, and what
strangers get who ask for anything else."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import CONFIG, PATIENCE, Server  # noqa: E402

AUTOCONFIG = "/.well-known/autoconfig/mail/config-v1.1.xml"
AUTODISCOVER = "/autodiscover/autodiscover.xml"
POLICY = "/.well-known/mta-sts.txt"
NS = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"
QUESTION = """<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>
<EMailAddress>{}</EMailAddress>
<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
</Request></Autodiscover>"""


class Site(Server):
    """A server with a CA of its own and a certificate for each of two groups of names."""

    def __init__(self, web='address = {"127.0.0.4:0"}', zone=""):
        super().__init__(config=CONFIG, zone=zone, start=False, accounts=())
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA")
        self.certify("mail", "mail.here.test")
        self.certify("names", "autoconfig.here.test", "autodiscover.here.test", "mta-sts.here.test", "here.test")
        self.web(web)
        self.start()

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.dir, check=True, capture_output=True, timeout=PATIENCE)

    def certify(self, file, *names):
        ext = "subjectAltName=" + ",".join("DNS:" + n for n in names)
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                     "-keyout", file + ".key", "-out", file + ".pem", "-subj", "/CN=" + names[0], "-addext", ext,
                     "-CA", "ca.pem", "-CAkey", "ca.key")
        for name in (file + ".key", file + ".pem"):
            os.chown(self.dir / name, *self.owner())
            os.chmod(self.dir / name, 0o600)

    def web(self, web):
        d = self.dir
        self.configure(extra=f'tls {{ certificate = {{"{d}/mail.pem", "{d}/names.pem"}} key = {{"{d}/mail.key", "{d}/names.key"}} }}'
                             f" web {{ {web} }}")

    def reload(self):
        since = self.mark()
        self.signal(signal.SIGHUP)
        self.wait("configuration.loaded", since=since)

    def connect(self, name="mail.here.test"):
        """A verified TLS connection that asks for `name`."""
        context = ssl.create_default_context(cafile=str(self.dir / "ca.pem"))
        raw = socket.create_connection(self.address("web"), PATIENCE)
        return context.wrap_socket(raw, server_hostname=name)

    def http(self, name="mail.here.test", host=None):
        c = http.client.HTTPConnection(name)     # TLS is on already
        c.sock = self.connect(name)
        return c

    def ask(self, path, host, method="GET", body=None, name=None, headers=()):
        c = self.http(name or host)
        c.request(method, path, body, {"Host": host, **dict(headers)})
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, r.headers.get("Content-Type"), text


@pytest.fixture(scope="module")
def site():
    with Site() as s:
        yield s


# ---- the documents -----------------------------------------------------------

def servers(text, kind):
    return [{e.tag: e.text for e in s} for s in xml.fromstring(text).iter(kind)]


@pytest.mark.parametrize("path", [AUTOCONFIG, "/mail/config-v1.1.xml?emailaddress=alice%40here.test"])
def test_thunderbird(site, path):
    status, kind, text = site.ask(path, "autoconfig.here.test")
    assert (status, kind) == (200, "text/xml; charset=utf-8")
    assert xml.fromstring(text).find("emailProvider").get("id") == "here.test"
    assert servers(text, "incomingServer") == [{
        "hostname": "mail.here.test", "port": "993", "socketType": "SSL", "authentication": "password-cleartext",
        "username": "%EMAILADDRESS%"}]


def test_the_domain_itself_and_the_address_name_the_domain(site):
    assert site.ask(AUTOCONFIG, "here.test")[0] == 200
    assert site.ask(AUTOCONFIG, "HERE.test:443", name="here.test")[0] == 200
    # whose DNS leads here by an SRV record
    status, _, text = site.ask(AUTOCONFIG + "?emailaddress=bob@office.test", "mail.here.test")
    assert status == 200 and "<domain>office.test</domain>" in text
    assert site.ask(AUTOCONFIG + "?emailaddress=bob@elsewhere.test", "mail.here.test")[0] == 404


@pytest.mark.parametrize("path", [AUTODISCOVER, "/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml"])
def test_outlook(site, path):
    status, kind, text = site.ask(path, "autodiscover.here.test", "POST", QUESTION.format("alice@here.test"))
    assert (status, kind) == (200, "text/xml; charset=utf-8")
    found = {p.find(NS + "Type").text: p for p in xml.fromstring(text).iter(NS + "Protocol")}
    assert found["IMAP"].find(NS + "Server").text == "mail.here.test"
    assert found["IMAP"].find(NS + "Port").text == "993"
    assert found["IMAP"].find(NS + "LoginName").text == "alice@here.test"


def test_outlook_without_a_usable_address_hears_of_the_host_s_domain(site):
    for question in ("", "<EMailAddress>", QUESTION.format("a&lt;b"), QUESTION.format("x@elsewhere.test"), "\0" * 100):
        status, _, text = site.ask(AUTODISCOVER, "autodiscover.here.test", "POST", question)
        assert status == 200, question
        assert "LoginName" not in text
    assert site.ask(AUTODISCOVER, "mail.here.test", "POST", QUESTION.format("bob@office.test"))[0] == 200
    assert site.ask(AUTODISCOVER, "mail.here.test", "POST", QUESTION.format("x@elsewhere.test"))[0] == 404
    status, _, text = site.ask(AUTODISCOVER, "mail.here.test", "POST", QUESTION.format('"a&amp;<b>"@here.test'))
    assert status == 404                       # the address ends at the first <


def test_policy(site):
    status, kind, text = site.ask(POLICY, "mta-sts.here.test")
    assert (status, kind) == (200, "text/plain")
    assert text == "version: STSv1\r\nmode: testing\r\nmx: mail.here.test\r\nmax_age: 604800\r\n"


# ---- everything else ------------------------------------------------------------

@pytest.mark.parametrize("path", ["/", "", "/mail/", "/mail/config-v1.1.xml/", AUTOCONFIG.upper(), "/../etc/passwd", "*",
                                  "/%2e%2e/", "/autodiscover/autodiscover.json", POLICY + "x", "//" + POLICY])
def test_other_paths_are_not_there(site, path):
    c = site.connect("here.test")
    c.sendall(f"GET {path} HTTP/1.1\r\nHost: here.test\r\nConnection: close\r\n\r\n".encode())
    said = b"".join(iter(lambda: c.recv(65536), b""))
    assert said.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")) or said == b"", said


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_not_there(site, method):
    c = site.connect("mta-sts.here.test")
    c.sendall(f"{method} {POLICY} HTTP/1.1\r\nHost: mta-sts.here.test\r\nConnection: close\r\n\r\n".encode())
    said = b"".join(iter(lambda: c.recv(65536), b""))
    assert b"STSv1" not in said
    assert said.startswith(b"HTTP/1.1 404"), said


def test_other_hosts_are_not_there(site):
    for host in ("elsewhere.test", "mta-sts.elsewhere.test", "127.0.0.1", "", "mta-sts.", "mta-sts.mail.here.test"):
        for path in (AUTOCONFIG, POLICY, AUTODISCOVER):
            assert site.ask(path, host, name="mail.here.test")[0] in (400, 404), (host, path)
    assert site.ask(POLICY, "here.test")[0] == 404          # RFC 8461 3.3: mta-sts.DOMAIN, nowhere else
    assert site.ask(POLICY, "autoconfig.here.test")[0] == 404
    assert site.ask(POLICY, "mta-sts.here.test", "POST", "x")[0] == 404
    assert site.ask(AUTOCONFIG, "here.test", "POST", "x")[0] == 404


def test_sizes(site):
    assert site.ask(AUTODISCOVER, "here.test", "POST", QUESTION.format("alice@here.test") + " " * 15000)[0] == 200
    assert site.ask(AUTODISCOVER, "here.test", "POST", QUESTION.format("alice@here.test") + " " * 17000)[0] == 413
    c = site.connect("here.test")
    c.sendall(b"GET /" + b"x" * 100000)                    # a line longer than a question may be
    said = c.recv(100)
    assert said == b"" or said.startswith((b"HTTP/1.1 414", b"HTTP/1.1 431", b"HTTP/1.1 413")), said


def test_several_questions_on_one_connection(site):
    c = site.http("mta-sts.here.test")
    for i in range(20):
        c.request("GET", POLICY if i % 2 else "/nothing")
        r = c.getresponse()
        assert (r.status, len(r.read()) > 0) == (200 if i % 2 else 404, True)
    c.close()
    c = site.connect("mta-sts.here.test")                   # without waiting for the answers
    c.sendall(f"GET {POLICY} HTTP/1.1\r\nHost: mta-sts.here.test\r\n\r\n".encode() * 200 +
              f"GET {POLICY} HTTP/1.1\r\nHost: mta-sts.here.test\r\nConnection: close\r\n\r\n".encode())
    assert b"".join(iter(lambda: c.recv(65536), b"")).count(b"STSv1") == 201


def test_who_holds_the_line_holds_nobody_else(site):
    silent = [socket.create_connection(site.address("web")) for _ in range(3)]
    half = site.connect()
    half.sendall(b"GET / HT")
    assert site.ask(POLICY, "mta-sts.here.test")[0] == 200
    plain = socket.create_connection(site.address("web"))
    plain.sendall(b"GET / HTTP/1.1\r\n\r\n")                # no TLS: the end
    plain.settimeout(PATIENCE)
    assert not plain.recv(1000).startswith(b"HTTP")
    many = [socket.create_connection(site.address("web")) for _ in range(12)]
    for s in many[8:]:                                      # one address holds ten places
        s.settimeout(PATIENCE)
        assert s.recv(1) == b""
    for s in silent + many + [half, plain]:
        s.close()
    site.until(lambda: answered(site), "a place that is free again")


def answered(site):
    try:
        return site.ask(POLICY, "mta-sts.here.test")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


# ---- certificates, reload ----------------------------------------------------------

def test_certificates_by_name(site):
    def names(asked):
        return {n for _, n in site.connect(asked).getpeercert()["subjectAltName"]}
    assert names("mail.here.test") == {"mail.here.test"}
    assert "mta-sts.here.test" in names("mta-sts.here.test")


def test_off_by_default():
    with Server() as s:
        assert not s.find("listener.opened", name="web")


def test_reload():
    with Site() as s:
        old = s.http("mta-sts.here.test")
        old.request("GET", POLICY)
        old.getresponse().read()
        serial = s.connect().getpeercert()["serialNumber"]
        s.certify("mail", "mail.here.test")
        s.web('address = {"127.0.0.4:0"} sts = enforce sts-max-age = 30d sts-mx = {"mx1.here.test", "*.here.test"} imap = none')
        s.reload()
        assert s.connect().getpeercert()["serialNumber"] != serial
        old.request("GET", POLICY)                          # the line stays, the answer is today's
        assert b"mode: enforce\r\nmx: mx1.here.test\r\nmx: *.here.test\r\nmax_age: 2592000" in old.getresponse().read()
        assert "incomingServer" not in s.ask(AUTOCONFIG, "here.test")[2]
        s.web('address = {"127.0.0.4:0"} sts = off')
        s.reload()
        assert s.ask(POLICY, "mta-sts.here.test")[0] == 404
        where = s.address("web")
        s.web("")
        s.reload()
        with pytest.raises(OSError):
            socket.create_connection(where, PATIENCE).close()
        old.close()


def test_an_address_that_is_taken_is_a_fault():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with Site() as s:
            s.web(f'address = {{"127.0.0.1:{taken.getsockname()[1]}"}}')
            since = s.mark()
            s.signal(signal.SIGHUP)
            said = s.wait("configuration.refused", since=since)
            assert "is in use by" in said["why"]
            assert answered(s)                              # what was there stays


def test_it_stops_with_clients_inside():
    s = Site()
    try:
        inside = [s.connect() for _ in range(3)] + [socket.create_connection(s.address("web"))]
    finally:
        s.close()                                           # 0, and in time
    for c in inside:
        c.close()


def test_a_listener_s_address_is_a_fault():
    with Server(start=False) as s:
        s.configure(extra='web { address = {"127.0.0.1:0"} }')
        done = s.run("check", "-c", str(s.file))
        assert done.returncode == 1
        assert 'listener "mx" has 127.0.0.1:0 already' in done.stderr + done.stdout
