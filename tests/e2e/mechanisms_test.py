# SPDX-License-Identifier: ISC
"""Logins by every mechanism, with programs on the other end that are not Cyrus:
gsasl, curl, PyJWT as the issuer of tokens, a real saslauthd, a real sasldb."""

import base64
import contextlib
import datetime
import glob
import http.server
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from server import PATIENCE, Server  # noqa: E402
from unwrapped import unwrapped  # noqa: E402


@pytest.fixture
def folder():
    """One that the server's user can look into."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="postern-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def offered(client):
    """What EHLO says behind AUTH."""
    lines = client.ask("EHLO x", 250).split("\n")
    return next((line[9:].split() for line in lines if line[4:].startswith("AUTH ")), None)


def auth(client, mechanism, message, code=None):
    return client.ask(b"AUTH " + mechanism.encode() + b" " + (base64.b64encode(message) or b"="), code)


def plain(client, who, password, code):
    return auth(client, "PLAIN", b"\0%s\0%s" % (who.encode(), password.encode()), code)


# ---- gsasl -------------------------------------------------------------------------

def gsasl(address, mechanism, *more, who="alice@here.test", password="secret"):
    host, port = address
    return subprocess.run(["gsasl", "--smtp", f"--connect={host}:{port}", "-m", mechanism, "-a", who, "-z", "", "-p",
                           password, "--x509-ca-file=", *more], input="", capture_output=True, text=True, timeout=PATIENCE)


TLS = {"1.2": "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", "1.3": "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3"}


def test_scram_with_a_client_that_is_not_cyrus():
    with Server() as s:
        for version, priority in TLS.items():
            for mechanism, more in (("SCRAM-SHA-256-PLUS", []), ("SCRAM-SHA-256", ["--no-cb"])):
                seen = s.mark()
                done = gsasl(s.address("submission"), mechanism, priority, "--starttls", *more)
                assert done.returncode == 0, (version, mechanism, done.stderr)
                assert "server trusted" in done.stdout + done.stderr
                s.wait("login.passed", since=seen, login="alice@here.test", mechanism=mechanism)
                assert s.wait("tls.started", since=seen)["version"] == "TLSv" + version
            done = gsasl(s.address("submission"), "SCRAM-SHA-256-PLUS", priority, "--starttls", password="wrong")
            assert done.returncode != 0
        with unwrapped(s.address("submissions")) as door:
            seen = s.mark()
            done = gsasl(door, "SCRAM-SHA-256", "--no-starttls", "--no-cb")
            assert done.returncode == 0, done.stderr
            s.wait("login.passed", since=seen, login="alice@here.test", mechanism="SCRAM-SHA-256")


def test_offers_are_the_listeners():
    listeners = """
listener "few"   { address = {"127.0.0.4:0"} role = submission tls = implicit mechanisms = {"plain", "SCRAM-SHA-256"} }
listener "plus"  { address = {"127.0.0.5:0"} role = submission tls = required mechanisms = {"SCRAM-SHA-256-PLUS"} }
"""
    with Server(extra=listeners) as s:
        c = s.client("submission")
        assert offered(c) is None                                  # nothing before TLS
        auth(c, "PLAIN", b"\0alice@here.test\0secret", 530)
        c.starttls()
        assert offered(c) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
        c.close()
        c = s.client("mx")
        c.ask("EHLO x", 250)
        c.starttls()
        assert offered(c) is None                                  # and none at all where mail comes in
        plain(c, "alice@here.test", "secret", 502)
        c.close()
        c = s.client("few", greeting=None)
        c.secure().hear(220)
        assert offered(c) == ["PLAIN", "SCRAM-SHA-256"]
        c.ask("AUTH LOGIN", 504)
        assert "choose one of PLAIN SCRAM-SHA-256" in c.ask("AUTH XOAUTH2", 504)
        plain(c, "alice@here.test", "secret", 235)
        c.close()
        c = s.client("plus")
        c.ask("EHLO x", 250)
        c.starttls()
        assert offered(c) == ["SCRAM-SHA-256-PLUS"]
        c.ask("AUTH SCRAM-SHA-256", 504)
        c.close()
        assert gsasl(s.address("plus"), "SCRAM-SHA-256-PLUS", "--starttls").returncode == 0


# ---- client certificates --------------------------------------------------------------

class Office:
    """A certificate authority and the people it knows."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Office CA")])
        self.file = self.folder / "office.pem"
        self.file.write_bytes(self._make(self.name, self.key, x509.BasicConstraints(True, None), []))

    def _make(self, subject, key, constraints, mailboxes, days=1):
        now = datetime.datetime.utcnow()
        cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=2))
                .not_valid_after(now + datetime.timedelta(days=days)).add_extension(constraints, True))
        if mailboxes:
            cert = cert.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(m) for m in mailboxes]), False)
            cert = cert.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        return cert.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def person(self, stem, *mailboxes, days=1):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)])
        cert, secret = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        cert.write_bytes(self._make(subject, key, x509.BasicConstraints(False, None), mailboxes, days))
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                             serialization.NoEncryption()))
        return str(cert), str(secret)


def with_certificate(s, listener, pair=None, resumes=None):
    """TLS from the first byte, with a certificate or without, or another client's session resumed."""
    context = resumes.socket.context if resumes else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair:
        context.load_cert_chain(*pair)
    c = s.client(listener, greeting=None)
    c.socket = context.wrap_socket(c.socket, session=resumes.socket.session if resumes else None)
    return c


def test_external_by_the_offices_certificates(folder):
    stranger, office = Office(folder), Office(folder)              # the file is the second's
    alice = office.person("alice", "alice@here.test")
    both = office.person("both", "nobody@here.test", "bob@here.test")
    nobody = office.person("nobody", "nobody@here.test")
    late = office.person("late", "alice@here.test", days=-1)
    forged = stranger.person("forged", "alice@here.test")
    listeners = f"""
listener "asks"     {{ address = {{"127.0.0.4:0"}} role = submission tls = implicit }}
listener "mute"     {{ address = {{"127.0.0.5:0"}} role = submission tls = implicit client-certificate = none }}
listener "requires" {{ address = {{"127.0.0.6:0"}} role = submission tls = implicit client-certificate = require }}
"""
    with Server(extra=listeners + f'tls {{ client-ca = "{office.file}" }}') as s:
        def say(listener, pair, message, code):
            c = with_certificate(s, listener, pair)
            c.hear(220)
            c.ask("EHLO x", 250)
            reply = auth(c, "EXTERNAL", message, code)
            c.close()
            return reply

        say("asks", alice, b"", 235)
        say("asks", alice, b"alice@here.test", 235)
        say("asks", both, b"bob@here.test", 235)
        say("asks", both, b"", 235)
        wrong = say("asks", alice, b"bob@here.test", 535)          # nobody acts for another
        assert say("asks", nobody, b"", 535) == wrong == say("asks", nobody, b"nobody@here.test", 535)
        for pair in (None, late, forged):                          # none, expired, another authority's
            c = with_certificate(s, "asks", pair)
            c.hear(220)
            assert "EXTERNAL" not in offered(c)
            auth(c, "EXTERNAL", b"alice@here.test", 504)
            plain(c, "alice@here.test", "secret", 235)             # and goes on as everybody does
            c.close()
        say("mute", alice, b"", 504)
        say("requires", alice, b"", 235)
        for pair in (None, late, forged):
            with pytest.raises((ssl.SSLError, AssertionError, ConnectionError)):
                with_certificate(s, "requires", pair).hear(220)
        seen = s.mark()
        done = gsasl(s.address("submission"), "EXTERNAL", "--starttls", f"--x509-cert-file={alice[0]}",
                     f"--x509-key-file={alice[1]}")
        assert done.returncode == 0, done.stderr
        s.wait("login.passed", since=seen, login="alice@here.test", mechanism="EXTERNAL")


def logged_in_briefly(s, office):
    """A session by a certificate that counts for seconds yet, its last moment and its pair of files."""
    for seconds in (2, 6, 30):                                     # a slow machine comes too late for the first
        ends = int(time.time()) + seconds
        pair = office.person("brief", "alice@here.test", days=(ends - time.time()) / 86400)
        c = with_certificate(s, "asks", pair)
        c.hear(220)
        if "EXTERNAL" in offered(c) and auth(c, "EXTERNAL", b"")[:3] == "235" and \
                c.ask("MAIL FROM:<alice@here.test>")[:3] == "250":
            return c, ends, pair
        c.close()
    raise AssertionError("none of the certificates counted")


def test_an_open_session_ends_with_its_certificate(folder):
    office = Office(folder)
    lasting = office.person("lasting", "alice@here.test")
    listener = 'listener "asks" { address = {"127.0.0.4:0"} role = submission tls = implicit }\n'
    with Server(extra=listener + f'tls {{ client-ca = "{office.file}" }}') as s:
        kept = with_certificate(s, "asks", lasting)
        kept.hear(220)
        kept.ask("EHLO x", 250)
        auth(kept, "EXTERNAL", b"", 235)
        c, ends, pair = logged_in_briefly(s, office)
        while time.time() < ends + 1:                              # its end is what is waited for
            time.sleep(max(0, ends + 1 - time.time()))
        assert "log in again" in c.ask("RCPT TO:<bob@here.test>", 421)
        assert c.socket.recv(1) == b""
        kept.ask("NOOP", 250)
        for before, counts in ((kept, True), (c, False), (None, False)):
            again = with_certificate(s, "asks", None if before else pair, resumes=before)
            again.hear(220)
            assert again.socket.session_reused == counts and ("EXTERNAL" in offered(again)) == counts
            plain(again, "alice@here.test", "secret", 235)
            again.close()
        c.close()
        kept.close()


def test_a_certificate_needs_somebody_who_signs_it():
    with Server(start=False) as s:
        s.configure(extra='listener "x" { address = {"127.0.0.4:0"} role = submission tls = implicit '
                          'client-certificate = require }\nlistener "y" { address = {"127.0.0.4:0"} tls = none '
                          'client-certificate = request }\nlistener "z" { address = {"127.0.0.4:0"} mechanisms = {"PLAIN"} }')
        said = s.run("check", "-c", str(s.file)).stdout
        assert "set client-ca in tls {}" in said and "certificates come with TLS" in said
        assert "nobody logs in at an inbound listener" in said


# ---- tokens ------------------------------------------------------------------------------

class Issuer:
    """Signs tokens, shows its keys, judges tokens; can be made to fail."""

    def __init__(self):
        self.keys = {"RS256": rsa.generate_private_key(65537, 2048), "ES256": ec.generate_private_key(ec.SECP256R1()),
                     "EdDSA": ed25519.Ed25519PrivateKey.generate()}
        self.keys["PS256"] = self.keys["RS256"]
        self.asked, self.active, self.broken, self.kid = [], {}, False, "1"
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, what, status=200):
                body = what if isinstance(what, bytes) else json.dumps(what).encode()
                self.send_response(500 if issuer.broken else status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                issuer.asked.append(("keys", None))
                self.answer(issuer.key_set())

            def do_POST(self):
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                user, _, word = base64.b64decode(self.headers["Authorization"].split()[1]).decode().partition(":")
                issuer.asked.append(("token", form["token"][0]))
                if (urllib.parse.unquote(user), urllib.parse.unquote(word)) != ("postern", "s3cret/+"):
                    self.answer({}, 401)
                else:
                    self.answer(issuer.active.get(form["token"][0], {"active": False}))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def key_set(self):
        keys = []
        for alg in ("RS256", "ES256", "EdDSA"):
            public = self.keys[alg].public_key()
            if alg == "EdDSA":
                raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
                key = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}
            elif alg == "ES256":
                n = public.public_numbers()
                key = {"kty": "EC", "crv": "P-256", **{c: base64.urlsafe_b64encode(getattr(n, c).to_bytes(32, "big"))
                                                      .rstrip(b"=").decode() for c in "xy"}}
            else:
                key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
                key = {k: key[k] for k in ("kty", "n", "e")}
            keys.append({**key, "kid": f"{alg[0]}{self.kid}"})
        return {"keys": keys}

    def token(self, alg="EdDSA", kid=None, **claims):
        claims = {"iss": self.url, "aud": "postern", "exp": int(time.time()) + 300, "email": "alice@here.test", **claims}
        kid = kid or ("R" if alg == "PS256" else alg[0]) + self.kid
        return jwt.encode({k: v for k, v in claims.items() if v is not None}, self.keys[alg], alg, {"kid": kid})

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def issuer():
    i = Issuer()
    yield i
    i.close()


def bearer(token, user=""):
    return b"n,%s,\1host=x\1port=465\1auth=Bearer %s\1\1" % (b"a=" + user.encode() if user else b"", token.encode())


def x2(token, user="alice@here.test"):
    return b"user=%s\1auth=Bearer %s\1\1" % (user.encode(), token.encode())


class Tokens:
    """One connection's tries."""

    def __init__(self, server):
        self.server = server

    def say(self, mechanism, message):
        """The last reply's code, and the JSON that came before it."""
        c = self.server.client("submissions")
        c.ask("EHLO x", 250)
        reply, said = auth(c, mechanism, message), None
        if reply.startswith("334"):
            said = json.loads(base64.b64decode(reply[4:]))
            reply = c.ask(base64.b64encode(b"\1") if mechanism == "OAUTHBEARER" else "=")
        c.close()
        return int(reply[:3]), said


def test_signed_tokens(issuer):
    conf = f'auth {{ oauth {{ issuer = "{issuer.url}" keys = "{issuer.url}/keys" audience = "postern" }} }}'
    with Server(extra=conf) as s:
        t = Tokens(s)
        c = s.client("submissions")
        assert offered(c)[-2:] == ["OAUTHBEARER", "XOAUTH2"]
        c.close()
        for alg in ("RS256", "PS256", "ES256", "EdDSA"):
            assert t.say("OAUTHBEARER", bearer(issuer.token(alg), "alice@here.test")) == (235, None), alg
            assert t.say("XOAUTH2", x2(issuer.token(alg))) == (235, None), alg
        assert len(issuer.asked) <= 2                              # one of the desk's threads each
        refused = t.say("OAUTHBEARER", bearer(issuer.token(exp=1)))
        assert refused[0] == 535 and refused[1]["status"] == "invalid_token"
        now = int(time.time())
        for claims in ({"aud": "other"}, {"iss": "https://other.test"}, {"nbf": now + 3600}, {"exp": None}, {"email": None},
                       {"email": "nobody@here.test"}, {"email_verified": False}):
            assert t.say("OAUTHBEARER", bearer(issuer.token(**claims))) == refused, claims
        assert t.say("OAUTHBEARER", bearer(issuer.token(), "bob@here.test")) == refused
        assert t.say("OAUTHBEARER", bearer(jwt.encode({"email": "alice@here.test"}, "", "none"))) == refused
        assert t.say("OAUTHBEARER", bearer(jwt.encode({"email": "alice@here.test"}, "x" * 32, "HS256"))) == refused
        assert t.say("OAUTHBEARER", bearer("opaque")) == refused   # nobody is asked who could know it
        # curl, which is nobody's library of ours
        message = s.dir / "message"
        message.write_text("From: alice@here.test\r\nSubject: by token\r\n\r\nhello\r\n")
        host, port = s.address("submissions")
        for mechanism in ("OAUTHBEARER", "XOAUTH2"):
            done = subprocess.run(["curl", "-sSk", f"smtps://{host}:{port}", "--user", "alice@here.test:", "--oauth2-bearer",
                                   issuer.token("RS256"), "--login-options", f"AUTH={mechanism}", "--mail-from",
                                   "alice@here.test", "--mail-rcpt", "bob@here.test", "-T", str(message)],
                                  capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == 0, done.stderr
        assert len(s.mail("bob@here.test", 2)) == 2


def test_an_issuer_that_is_down_says_nothing_about_anybody(issuer):
    conf = f'auth {{ oauth {{ issuer = "{issuer.url}" keys = "{issuer.url}/keys" audience = "postern" }} }}'
    issuer.broken = True
    with Server(extra=conf) as s:
        t = Tokens(s)
        assert t.say("OAUTHBEARER", bearer(issuer.token())) == (454, None)
        assert t.say("XOAUTH2", x2(issuer.token(email="nobody@here.test"), "nobody@here.test")) == (454, None)
        asked = len(issuer.asked)
        for _ in range(10):                                        # left alone for a while
            assert t.say("OAUTHBEARER", bearer(issuer.token()))[0] == 454
        assert len(issuer.asked) - asked <= 2
        c = s.client("submissions")
        c.ask("EHLO x", 250)
        plain(c, "alice@here.test", "secret", 235)                 # passwords are checked all the same
        c.close()
        s.wait("issuer.failed", status="500")


def test_introspection(issuer):
    with Server(start=False) as s:
        secret = s.dir / "secret"
        secret.write_text("s3cret/+\n")
        s.configure(extra=f'auth {{ oauth {{ introspection = "{issuer.url}/introspect" client-id = "postern" '
                          f'client-secret-file = "{secret}" scope = "smtp" }} }}')
        s.start()
        t = Tokens(s)
        now = int(time.time())
        issuer.active["good"] = {"active": True, "scope": "mail smtp", "email": "alice@here.test", "exp": now + 300}
        issuer.active["bobs"] = {"active": True, "scope": "smtp", "email": "bob@here.test"}
        issuer.active["narrow"] = {"active": True, "scope": "mail", "email": "alice@here.test"}
        issuer.active["over"] = {"active": True, "scope": "smtp", "email": "alice@here.test", "exp": now - 300}
        issuer.active["odd"] = {"hello": "world"}
        for _ in range(4):
            assert t.say("OAUTHBEARER", bearer("good")) == (235, None)
            assert t.say("XOAUTH2", x2("bobs", "bob@here.test")) == (235, None)
        assert 2 <= len(issuer.asked) <= 4                         # each once a desk thread
        refused = t.say("OAUTHBEARER", bearer("unknown"))
        assert refused[0] == 535 and refused[1] == {"status": "invalid_token", "scope": "smtp"}
        for token in ("narrow", "over", "unknown"):
            assert t.say("OAUTHBEARER", bearer(token)) == refused
        assert t.say("XOAUTH2", x2("bobs", "alice@here.test"))[0] == 535
        assert t.say("OAUTHBEARER", bearer("odd")) == (454, None)
        s.wait("login.refused", name="alice@here.test", mechanism="XOAUTH2")
        assert not [line for line in s.log().splitlines() if "Bearer" in line or "s3cret" in line]


def test_an_issuer_that_hangs_is_given_up():
    """After 5 s; a password is checked beside it, and the next token does not wait."""
    door = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{door.getsockname()[1]}/"
    with Server(extra=f'auth {{ oauth {{ introspection = "{url}" client-id = "x" }} }}') as s, door:
        c, d = s.client("submissions"), s.client("submissions")
        for x in c, d:
            x.ask("EHLO x", 250)
        begin = time.monotonic()
        c.send(b"AUTH OAUTHBEARER " + base64.b64encode(bearer("opaque")) + b"\r\n")
        held, _ = door.accept()
        plain(d, "alice@here.test", "secret", 235)
        assert not s.find("command.refused", code="454")
        c.hear(454)
        s.wait("command.refused", code="454")
        assert 4 < time.monotonic() - begin < 15
        held.close()
        c.close()
        d.close()


# ---- other back ends -------------------------------------------------------------------------

class Imap:
    """As much of an IMAP server as saslauthd asks: it knows passwords, and can be slow."""

    def __init__(self, passwords):
        self.passwords, self.go, self.came = passwords, threading.Event(), threading.Event()
        self.go.set()
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.door.accept()
                threading.Thread(target=self.talk, args=(peer,), daemon=True).start()

    def talk(self, peer):
        with contextlib.suppress(OSError), peer, peer.makefile("rwb", 0) as f:
            f.write(b"* OK ready\r\n")
            while line := f.readline():
                tag, _, rest = line.decode().strip().partition(" ")
                if rest.upper().startswith("LOGIN "):
                    self.came.set()
                    self.go.wait(PATIENCE)
                    user, word = (w.strip('"') for w in rest[6:].split(" ", 1))
                    f.write(f"{tag} {'OK in' if self.passwords.get(user) == word else 'NO'}\r\n".encode())
                else:
                    f.write(f"* BYE\r\n{tag} OK\r\n".encode())

    def close(self):
        self.door.close()


@contextlib.contextmanager
def saslauthd(folder, imap):
    process = subprocess.Popen(["saslauthd", "-a", "rimap", "-O", f"127.0.0.1/{imap.port}", "-r", "-m", str(folder), "-n", "2",
                                "-d"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)     # it ends its whole process group
    end = time.monotonic() + PATIENCE
    try:
        while not (folder / "mux").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        yield folder / "mux"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_saslauthd_is_asked_and_nobody_else(folder):
    imap = Imap({"alice@here.test": "of the directory", "ghost@here.test": "of the directory"})
    with saslauthd(folder, imap) as mux, Server(extra=f'auth {{ backend = saslauthd saslauthd = "{mux}" }}') as s:
        c = s.client("submissions")
        assert offered(c) == ["PLAIN", "LOGIN"]
        wrong = plain(c, "alice@here.test", "secret", 535)         # the accounts file's password is nobody's
        for who, word in (("alice@here.test", "wrong"), ("bob@here.test", "of the directory"), ("nobody", "x"),
                          ("ghost@here.test", "of the directory")):      # not an account here
            assert plain(c, who, word, 535) == wrong
        c.ask("AUTH LOGIN", 334)
        c.ask(base64.b64encode(b"alice@here.test"), 334)
        assert c.ask(base64.b64encode(b"wrong"), 535) == wrong
        plain(c, "Alice@Here.test", "of the directory", 235)
        c.send_mail("alice@here.test", "bob@here.test", "From: alice@here.test\r\n\r\nhello\r\n")
        c.close()
        s.mail("bob@here.test")
        slow_directory_stops_nothing(s, imap)
    with Server(extra=f'auth {{ backend = saslauthd saslauthd = "{folder}/none" }}') as s:
        c = s.client("submissions")
        c.ask("EHLO x", 250)
        plain(c, "alice@here.test", "of the directory", 454)       # down is not wrong
        plain(c, "nobody@here.test", "of the directory", 454)
        c.close()
    imap.close()


def slow_directory_stops_nothing(s, imap):
    """The directory holds two logins; mail comes in, is delivered, and a third client is served."""
    imap.go.clear()
    imap.came.clear()
    stuck = [s.client("submissions") for _ in range(2)]
    for c in stuck:
        c.ask("EHLO x", 250)
        c.send(b"AUTH PLAIN " + base64.b64encode(b"\0alice@here.test\0of the directory") + b"\r\n")
    assert imap.came.wait(PATIENCE)
    with s.client("mx") as c:
        c.ask("EHLO x", 250)
        c.send_mail("a@far.test", "alice@here.test", "From: a@far.test\r\nSubject: while it is slow\r\n\r\nhello\r\n")
    s.mail("alice@here.test")
    with s.client("submissions") as c:
        c.ask("EHLO x", 250)
        c.ask("NOOP", 250)
    imap.go.set()
    for c in stuck:
        c.hear(235)
        c.close()


def test_a_back_end_that_never_answers_does_not_keep_the_server(folder):
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(folder / "mux"))
    os.chmod(folder / "mux", 0o777)
    door.listen(8)
    door.settimeout(PATIENCE)
    with Server(extra=f'auth {{ backend = saslauthd saslauthd = "{folder}/mux" }}') as s:
        c = s.client("submissions")
        c.ask("EHLO x", 250)
        c.send(b"AUTH PLAIN " + base64.b64encode(b"\0alice@here.test\0x") + b"\r\n")
        held, _ = door.accept()
        with s.client("mx") as d:
            d.ask("EHLO x", 250)
            d.send_mail("a@far.test", "alice@here.test", "From: a@far.test\r\nSubject: x\r\n\r\nhello\r\n")
        s.mail("alice@here.test")
        assert s.stop() == 0
        s.wait("login.stuck")
        s.wait("server.stopped")
        held.close()
    door.close()


def test_auxprop_is_asked_and_nobody_else(folder):
    base = folder / "sasldb2"
    for who in ("alice", "ghost"):
        subprocess.run(["saslpasswd2", "-p", "-c", "-f", str(base), "-u", "here.test", who], input=b"of the database", check=True)
    os.chmod(base, 0o644)
    conf = f'auth {{ backend = auxprop auxprop = "sasldb" auxprop-options = {{"sasldb_path: {base}"}} }}'
    with Server(extra=conf) as s:
        c = s.client("submissions")
        assert offered(c) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
        wrong = plain(c, "alice@here.test", "secret", 535)
        for who, word in (("alice@here.test", "wrong"), ("bob@here.test", "secret"), ("bob@here.test", "of the database"),
                          ("nobody@here.test", "x"), ("ghost@here.test", "of the database")):
            assert plain(c, who, word, 535) == wrong
        plain(c, "alice@here.test", "of the database", 235)
        c.close()
        assert gsasl(s.address("submission"), "SCRAM-SHA-256-PLUS", "--starttls", password="of the database").returncode == 0
        for who in ("alice@here.test", "bob@here.test"):           # the accounts file's password is nobody's
            assert gsasl(s.address("submission"), "SCRAM-SHA-256-PLUS", "--starttls", who=who).returncode != 0
        first = {who: scram_first(s, who) for who in ("alice@here.test", "bob@here.test", "nobody@here.test", "x")}
        assert len(set(first.values())) == 1, first                # who is there does not show in what comes first
    with Server(start=False) as s:
        s.configure(extra='auth { backend = auxprop auxprop = "ldapdbx" }')
        done = s.run("serve", "-c", str(s.file))
        assert done.returncode != 0 and "no auxprop plug-in ldapdbx" in done.stderr, done.stderr


@pytest.mark.skipif(not glob.glob("/usr/lib/*/sasl2/libsql.so"), reason="Cyrus' SQL plug-in is not installed (libsasl2-modules-sql)")
def test_a_database_is_asked_by_sql(folder):
    base = folder / "people.sqlite"
    with sqlite3.connect(base) as db:
        db.execute("CREATE TABLE people (name TEXT, domain TEXT, password TEXT)")
        db.executemany("INSERT INTO people VALUES (?, 'here.test', ?)", [("alice", "of the database"), ("ghost", "boo")])
    db.close()
    os.chmod(base, 0o644)
    select = "SELECT password FROM people WHERE name = '%u' AND domain = '%r'"
    options = ", ".join(f'"{o}"' for o in ("sql_engine: sqlite3", f"sql_database: {base}", f"sql_select: {select}"))
    with Server(extra=f'auth {{ backend = auxprop auxprop = "sql" auxprop-options = {{{options}}} }}') as s:
        c = s.client("submissions")
        assert offered(c) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
        wrong = plain(c, "alice@here.test", "secret", 535)         # the accounts file's
        for who, word in (("bob@here.test", "secret"), ("ghost@here.test", "boo"), ("nobody@here.test", "x"),
                          ("x' OR '1'='1@here.test", "of the database")):
            assert plain(c, who, word, 535) == wrong
        plain(c, "alice@here.test", "of the database", 235)
        c.close()
        for mechanism in ("SCRAM-SHA-256-PLUS", "LOGIN"):
            assert gsasl(s.address("submission"), mechanism, "--starttls", password="of the database").returncode == 0
        with sqlite3.connect(base) as db:                          # another password is in force at once
            db.execute("UPDATE people SET password = 'the next one' WHERE name = 'alice'")
        db.close()
        with s.client("submissions") as c:
            c.ask("EHLO x", 250)
            plain(c, "alice@here.test", "the next one", 235)


def scram_first(s, who):
    """The shape of SCRAM's challenge: lengths of nonce and salt, iterations."""
    with s.client("submissions") as c:
        c.ask("EHLO x", 250)
        reply = auth(c, "SCRAM-SHA-256", b"n,,n=%s,r=abcdefgh" % who.encode())
        again = None
        if reply.startswith("334"):
            words = dict(w.split("=", 1) for w in base64.b64decode(reply[4:]).decode().split(","))
            again = (len(words["r"]), len(words["s"]), words["i"])
        return reply[:3], again
