# SPDX-License-Identifier: ISC
"""Debian's Postfix as the other side: the next hop for mail of ours, with and
without TLS, by DANE, by MTA-STS and with a login; and the one who sends to us.
One postern, one Postfix and one nsd for the whole file; each test has a domain
of its own, so that none waits for another.
"""

import email
import email.policy
import http.server
import os
import pathlib
import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import threading

import dkim
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from dane_test import key_digest, openssl           # noqa: E402
from postfix import Postfix, unavailable            # noqa: E402
from server import CONFIG, Server                   # noqa: E402
from signedzones import SignedZones, missing        # noqa: E402

pytestmark = pytest.mark.skipif(bool(unavailable() or missing()), reason=unavailable() or "not here: " + ", ".join(missing()))

# Who answers there, all on one port.
BARE, GOOD, OTHER, LOGIN, WRAPPED, OLD = (f"127.0.0.{n}" for n in range(31, 37))
PASSWORD = "correct horse battery"
DOMAINS = {"bare": BARE, "reuse": BARE, "many": BARE, "must": BARE, "large": BARE, "notices": BARE, "dane.signed": GOOD,
           "wrong.signed": OTHER, "both.signed": GOOD, "required.signed": OTHER, "any": OTHER, "sts": GOOD, "badsts": OTHER,
           "verify": GOOD, "noverify": OTHER, "utf8": BARE, "old": OLD}
ROUTED = {"login": "login.host.example", "wrapped": "wrapped.host.example", "badlogin": "login.host.example"}
USERS = [f"{u}@{d}.example" for d in [*DOMAINS, *ROUTED] for u in ("bob", "carol", "dora")] + ["jürgen@utf8.example", "@many.example"]
NAMES = ("mx.dane.signed.example", "mx.sts.example", "mx.verify.example", "mta-sts.sts.example", "mta-sts.badsts.example",
         "mta-sts.both.signed.example",
         *ROUTED.values())

SENDING = CONFIG.replace('aliases = "{dir}/aliases"\n', 'aliases = "{dir}/aliases"\n\tdkim "s1" {{ }}\n').replace(
    'domain "office.test" {{\n', 'domain "office.test" {{\n\troute = "mx.bare.example:PORT"\n')
# One account sends all of this.
ALLOWANCE = "allowance { recipients-message = 0 recipients-day = 0 new-recipients-hour = 0 messages-day = 0 }"


class Policies(http.server.BaseHTTPRequestHandler):
    """The web server of MTA-STS: every domain's policy is in force, that of `both` by mistake."""

    def do_GET(self):
        domain = self.headers["Host"].partition(":")[0].removeprefix("mta-sts.")
        mx = "mx." + domain if not domain.startswith("both.") else "nobody.example"
        text = f"version: STSv1\r\nmode: enforce\r\nmx: {mx}\r\nmax_age: 86400\r\n".encode()
        self.send_response(200 if self.path == "/.well-known/mta-sts.txt" else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class World:
    """near: the postern; far: the Postfix."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-ca-"))
        os.chmod(self.dir, 0o755)
        self.certify()
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Policies)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.dir / "good.pem", self.dir / "good.key")
        self.web.socket = context.wrap_socket(self.web.socket, server_side=True)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        self.near = Server(config=CONFIG, start=False)
        self.key()
        self.far = self.postfix()
        self.zones = SignedZones({"signed.example": self.zone(".signed")}, plain={
            "example": self.zone("") + "\npost TXT \"v=spf1 ip4:127.0.0.1 -all\"\npost A 127.0.0.1\nmx.post A 127.0.0.1",
            "test": f'here A 127.0.0.1\nfar A 127.0.0.1\nhere TXT "v=spf1 ip4:127.0.0.1 -all"\n'
                    f's1._domainkey.here TXT {self.record}\nclient A 127.0.0.1\n'
                    'far TXT "v=spf1 ip4:127.0.0.1 -all"',
            "127.in-addr.arpa": "1.0.0 PTR client.test."})

    def certify(self):
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl(self.dir, "req", "-x509", *curve, "-days", "7", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test Authority")
        for file, names in (("good", NAMES), ("other", ("elsewhere.example",))):
            openssl(self.dir, "req", "-x509", *curve, "-days", "7", "-keyout", file + ".key", "-out", file + ".pem", "-subj", "/CN=mx",
                    "-addext", "subjectAltName=" + ",".join("DNS:" + n for n in names), "-CA", "ca.pem", "-CAkey", "ca.key")
        self.leaf = key_digest(self.dir, "good.pem")

    def key(self):
        said = self.near.run("key", "generate", "here.test", "s1", "--algorithm", "rsa-sha256", "-c", str(self.near.file))
        assert said.returncode == 0, said.stderr
        strings = re.findall(r'"([^"]*)"', next(x for x in said.stdout.splitlines() if " IN TXT " in x))
        self.public, self.record = "".join(strings).encode(), " ".join(f'"{s}"' for s in strings)

    def zone(self, below):
        lines = []
        for domain, address in DOMAINS.items():
            name, dot, rest = domain.partition(".")
            if dot + rest != below:
                continue
            lines += [f"{name} MX 10 mx.{name}", f"mx.{name} A {address}"]
            if below:
                lines.append(f"_{self.far.port}._tcp.mx.{name} TLSA 3 1 1 {self.leaf}")
            if "sts" in name or name == "both":
                lines += [f'_mta-sts.{name} TXT "v=STSv1; id=1"', f"mta-sts.{name} A 127.0.0.1"]
        if not below:
            lines += [f"login.host A {LOGIN}", f"wrapped.host A {WRAPPED}"]
        return "\n".join(lines)

    def postfix(self):
        def tls(file):
            return {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f"{self.dir}/{file}.key, {self.dir}/{file}.pem"}
        login = {**tls("good"), "smtpd_sasl_auth_enable": "yes", "smtpd_tls_auth_only": "yes",
                 "smtpd_sasl_local_domain": "post.example", "smtpd_client_restrictions": "permit_sasl_authenticated, reject"}
        far = Postfix({BARE: {"smtpd_tls_security_level": "none"}, GOOD: tls("good"), OTHER: tls("other"),
                       LOGIN: {**login, "smtpd_tls_security_level": "encrypt"}, WRAPPED: {**login, "smtpd_tls_wrappermode": "yes"},
                       OLD: {"smtpd_tls_security_level": "none", "message_size_limit": "100000",
                             "smtpd_discard_ehlo_keywords": "smtputf8, 8bitmime, dsn, pipelining, chunking"}},
                      users=USERS, aliases=["fails@notices.example nobody@nowhere.invalid"],
                      more="relay_domains = here.test, office.test\nsmtp_tls_loglevel = 1\nsmtpd_tls_loglevel = 1\n"
                           "virtual_alias_domains =\n"
                           "smtpd_recipient_restrictions = check_recipient_access texthash:{dir}/access\n")
        far.table("access", "late@bare.example 450 4.2.0 Greylisted, come back in five minutes")
        sasl = far.dir / "etc/sasl"            # where Debian's Postfix looks
        sasl.mkdir()
        (sasl / "smtpd.conf").write_text("pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN SCRAM-SHA-256\n"
                                         f"sasldb_path: {sasl}/db\n")
        subprocess.run(["/usr/sbin/saslpasswd2", "-p", "-c", "-f", str(sasl / "db"), "-u", "post.example", "relay"],
                       input=PASSWORD, text=True, check=True, capture_output=True, timeout=20)
        shutil.chown(sasl / "db", "postfix")
        return far

    def secret(self, name, text):
        path = self.near.dir / name
        path.write_text(text + "\n")
        os.chown(path, *Server.owner())
        os.chmod(path, 0o600)
        return path

    def start(self):
        port, good, bad = self.far.port, self.secret("good", PASSWORD), self.secret("bad", "not it")
        routes = (f'route "login" {{ to = {{"login.example"}} via = "login.host.example:{port}" login = relay password-file = "{good}" }}\n'
                  f'route "wrapped" {{ to = {{"wrapped.example"}} via = "wrapped.host.example:{port}" tls = implicit login = relay '
                  f'password-file = "{good}" }}\n'
                  f'route "bad" {{ to = {{"badlogin.example"}} via = "login.host.example:{port}" login = stranger '
                  f'password-file = "{bad}" }}\n'
                  'policy "must.example" { tls = encrypt }\npolicy "verify.example" { tls = verify }\n'
                  'policy "noverify.example" { tls = verify }\n')
        config = SENDING.replace("PORT", str(port)).replace(
            'forward = {{"{dns}"}} trust-anchor = ""', f'forward = {{{{"{self.zones.address}"}}}} trust-anchor = "{self.zones.anchor}"')
        self.near.configure(config=config, extra=f'relay {{ port = {port} sts-port = {self.web.server_address[1]} '
                                                 f'ca = "{self.dir}/ca.pem" idle = 300ms\n{routes} }}\n{ALLOWANCE}')
        self.near.start()
        host, to = self.near.address("mx")
        self.far.table("transport", "many.example discard:", *(f"{d} smtp:[{host}]:{to}" for d in ("here.test", "office.test")))

    def close(self):
        self.near.close()
        self.web.shutdown()
        self.web.server_close()
        for folder in self.dir, self.far.dir, self.zones.dir:
            shutil.rmtree(folder, ignore_errors=True)

    # ---- what tests do -------------------------------------------------------------

    def submit(self, rcpts, text, mail="", rcpt=""):
        """Sends as alice; where the log was before."""
        since = self.near.mark()
        with self.near.client("submissions") as c:
            c.ask("EHLO client.test", 250)
            c.login("alice@here.test")
            c.ask(f"MAIL FROM:<alice@here.test>{mail}", 250)
            rcpts = [rcpts] if isinstance(rcpts, str) else rcpts
            c.send("".join(f"RCPT TO:<{r}>{rcpt}\r\n" for r in rcpts))
            for _ in rcpts:
                c.hear(250)
            c.ask("DATA", 354)
            text = text if isinstance(text, bytes) else text.encode()
            c.send(re.sub(rb"(?m)^\.", b"..", text) + b".\r\n")
            c.hear(250)
        return since

    def fate(self, word, to, since):
        return self.near.wait("delivery." + word, since=since, **({"to": to} if to.isascii() else {}))

    def queued(self):
        done = self.near.run("queue", "list", "--json", "-c", str(self.near.file))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def genuine(self, message):
        """What python3-dkim says, the key being what `key generate` printed."""
        return dkim.verify(crlf(message), dnsfunc=lambda name, timeout=5: self.public)

    def notice(self, subject):
        """The report to alice about a message of this subject."""
        def look():
            for raw in self.near.messages("alice@here.test"):
                if b"multipart/report" in raw and subject.encode() in raw:
                    return email.message_from_bytes(raw, policy=email.policy.SMTP)
            return None
        return self.near.until(look, f"a report of {subject}")


def crlf(message):
    return re.sub(rb"\r?\n", b"\r\n", message)


def body(message):
    return crlf(message).split(b"\r\n\r\n", 1)[1]


def letter(to, subject, text="Hello\r\n", fields=""):
    return f"From: alice@here.test\r\nTo: {to}\r\nSubject: {subject}\r\n{fields}\r\n{text}"


def report_fields(message):
    """Of a report: the fields of the message and of its first recipient."""
    part = next(p for p in message.walk() if p.get_content_type() == "message/delivery-status")
    return part.get_payload()[:2]


@pytest.fixture(scope="module")
def world():
    w = World()
    try:
        with w.zones:
            w.start()
            with w.far:
                yield w
    finally:
        w.close()


ODD = ("Hello\r\n.\r\n..\r\n. and dots\r\ntrailing   \r\n\ttabs\t\r\n\r\n\r\nFrom here on\r\n" + "x" * 990
       + "\r\n" + "ß€ 8 bit: äöü\r\n").encode() + bytes(range(0x80, 0x100)) + b"\r\n=20 =\r\n\r\n"


# ---- the next hop --------------------------------------------------------------------

def test_plain_and_every_octet_arrives(world):
    to = "bob@bare.example"
    since = world.submit(to, letter(to, "odd", "", 'MIME-Version: 1.0\r\nContent-Type: text/plain; charset="utf-8"\r\n'
                                    "Content-Transfer-Encoding: 8bit\r\n").encode() + ODD, " BODY=8BITMIME")
    sent = world.fate("sent", to, since)
    assert sent["reply"].startswith("250 2.0.0 Ok: queued as") and "tls" not in sent, sent.line
    message = world.far.mail(to)[0]
    assert body(message) == ODD
    assert world.genuine(message)
    assert message.startswith(b"Return-Path: <alice@here.test>")


@pytest.mark.parametrize("domain, verified", [("any", "no"), ("dane.signed", "dane"), ("sts", "sts"), ("verify", "host")])
def test_tls_as_the_domain_asks(world, domain, verified):
    to = f"bob@{domain}.example"
    sent = world.fate("sent", to, world.submit(to, letter(to, domain)))
    assert sent["verified"] == verified and sent["tls"].startswith("TLSv1.3"), sent.line
    message = world.far.mail(to)[0]
    assert b"with ESMTPS id" in message and world.genuine(message)
    if domain == "sts":
        assert world.near.find("sts.fetched", domain="sts.example", mode="enforce")


@pytest.mark.parametrize("domain, says", [("wrong.signed", "(DANE)"), ("badsts", "MTA-STS policy of badsts.example"),
                                          ("must", "does not begin TLS"),
                                          ("noverify", "could not prove who it is")])
def test_less_than_was_asked_for_waits(world, domain, says):
    to = f"bob@{domain}.example"
    put_off = world.fate("deferred", to, world.submit(to, letter(to, domain)))
    assert says in put_off["reply"], put_off.line
    assert world.far.messages(to) == []


def test_dane_comes_before_mta_sts(world):
    """RFC 8461 2: the policy, which names another host, does not decide."""
    to = "bob@both.signed.example"
    assert world.fate("sent", to, world.submit(to, letter(to, "both")))["verified"] == "dane"
    assert len(world.far.mail(to)) == 1


def test_a_sender_who_can_do_without_tls(world):
    to = "bob@required.signed.example"
    sent = world.fate("sent", to, world.submit(to, letter(to, "rather arrive", fields="TLS-Required: No\r\n")))
    assert sent["verified"] == "no" and sent["tls"].startswith("TLSv1.3")       # RFC 8689 4: it is still used
    assert b"TLS-Required: No" in world.far.mail(to)[0]


@pytest.mark.parametrize("domain, status, says", [
    ("dane.signed", 0, "DANE"), ("sts", 0, "by the MTA-STS policy of sts.example"), ("bare", 0, "RESULT\n  sent"),
    ("badsts", 1, "it cannot prove who it is: hostname mismatch")])
def test_deliver_test_walks_the_same_way_and_sends_nothing(world, domain, status, says):
    at = world.far.mark()
    done = world.near.run("deliver-test", f"{domain}.example", "-c", str(world.near.file))
    assert done.returncode == status and says in done.stdout, done.stdout
    assert f"mx.{domain}.example" in done.stdout
    assert not world.far.lines(r"client=.*", at)


@pytest.mark.parametrize("domain", ["login", "wrapped"])
def test_a_smarthost_with_a_login(world, domain):
    to = f"bob@{domain}.example"
    sent = world.fate("sent", to, world.submit(to, letter(to, domain)))
    assert sent["verified"] == "pkix", sent.line
    assert world.genuine(world.far.mail(to)[0])
    assert world.far.wait(r"sasl_method=SCRAM-SHA-256, sasl_username=relay@post.example")


def test_a_password_that_is_wrong_waits_for_the_operator(world):
    to = "bob@badlogin.example"
    put_off = world.fate("deferred", to, world.submit(to, letter(to, "badlogin")))
    assert "535 5.7.8" in put_off["reply"], put_off.line
    assert PASSWORD not in world.near.log() and "not it" not in world.near.log()


def test_each_recipient_has_its_own_answer(world):
    rcpts = [f"{u}@bare.example" for u in ("carol", "unknown", "late", "dora")]
    since = world.submit(rcpts, letter(rcpts[0], "each"))
    assert "5.1.1" in world.fate("bounced", rcpts[1], since)["reply"]
    assert "450 4.2.0" in world.fate("deferred", rcpts[2], since)["reply"]
    for to in rcpts[0], rcpts[3]:
        assert world.fate("sent", to, since)
        assert len(world.far.mail(to)) == 1
    assert "5.1.1" in report_fields(world.notice("each"))[1]["Diagnostic-Code"]


def test_messages_share_a_connection(world):
    since, at = world.near.mark(), world.far.mark()
    with world.near.client("submissions") as c:
        c.ask("EHLO client.test", 250)
        c.login("alice@here.test")
        for i in range(8):
            c.send_mail("alice@here.test", "bob@reuse.example", letter("bob@reuse.example", f"no. {i}"))
    world.far.mail("bob@reuse.example", 8)
    world.near.until(lambda: len(world.near.find("delivery.sent", since, to="bob@reuse.example")) == 8, "eight answers")
    assert "quit=1" in world.far.wait(r"disconnect from .* mail=[2-9] .*", at)[0]


def test_a_thousand_recipients(world):
    at = world.far.mark()
    rcpts = [f"r{i}@many.example" for i in range(1000)]
    since = world.submit(rcpts, letter("many", "many"))
    world.far.wait(r"to=<r\d+@many.example>.*status=sent", at, 1000)
    assert len(set(world.far.lines(r"to=<r\d+@many.example>", at))) == 1000
    assert len(world.far.lines(r"nrcpt=100 ", at)) == 10         # RFC 5321 4.5.3.1.8
    world.near.until(lambda: "many.example" not in world.queued(), "an empty queue")
    world.near.until(lambda: len(world.near.find("delivery.sent", since)) == 1000, "a line of the log for each")
    assert not world.near.find("log.dropped")


def test_a_large_message(world):
    to, line = "bob@large.example", "0123456789abcdef" * 4 + "\r\n"
    text = line * (5_000_000 // len(line))
    since = world.submit(to, letter(to, "large", text), f" SIZE={len(text) + 1000}")
    world.fate("sent", to, since)
    message = world.far.mail(to)[0]
    assert body(message) == text.encode() and world.genuine(message)


def test_what_is_too_large_for_them_is_not_sent(world):
    to = "bob@old.example"
    since = world.submit(to, letter(to, "too large", ("x" * 70 + "\r\n") * 3000))
    assert "takes no more than" in world.fate("bounced", to, since)["reply"]
    assert world.notice("too large") and world.far.messages(to) == []


# ---- SMTPUTF8 --------------------------------------------------------------------------

def test_an_address_beyond_ascii(world):
    to = "jürgen@utf8.example"
    since = world.submit(to, letter(to, "Grüße"), " SMTPUTF8")
    world.fate("sent", to, since)
    message = world.far.mail(to)[0]
    assert "Subject: Grüße".encode() in message and world.genuine(message)
    assert b"with UTF8SMTP id" in message


@pytest.mark.parametrize("to, subject, status", [
    ("jürgen@old.example", "an address", "5.6.7"),
    ("carol@old.example", "ein Gruß", "5.6.9"),
])
def test_a_side_without_smtputf8_is_not_given_it(world, to, subject, status):
    since = world.submit(to, letter("who@old.example", subject), f" SMTPUTF8 ENVID=ENV-{status}")
    assert "SMTPUTF8" in world.fate("bounced", to, since)["reply"]
    assert report_fields(world.notice(f"ENV-{status}"))[1]["Status"] == status
    assert world.far.messages("carol@old.example") == []


def test_smtputf8_that_nobody_needed_is_sent_as_plain_mail(world):
    to = "dora@old.example"
    text = letter(to, "plain", "8 bit: ä\r\n", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                  "Content-Transfer-Encoding: 8bit\r\n")
    world.fate("sent", to, world.submit(to, text, " SMTPUTF8 BODY=8BITMIME"))
    message = world.far.mail(to)[0]
    assert body(message) == "8 bit: ä\r\n".encode() and world.genuine(message)     # as it is: the signature holds


# ---- reports ------------------------------------------------------------------------------

def test_postfix_tells_our_sender_of_success(world):
    to = "bob@notices.example"
    world.submit(to, letter(to, "tell me"), " RET=HDRS ENVID=QQ314159", " NOTIFY=SUCCESS ORCPT=rfc822;Bob+2Bx@elsewhere.example")
    of_message, of_rcpt = report_fields(world.notice("tell me"))
    assert "mx.post.example" in of_message["Reporting-MTA"]        # theirs, the only one
    assert of_message["Original-Envelope-Id"] == "QQ314159"
    assert of_rcpt["Action"] == "delivered" and "Bob+x@elsewhere.example" in of_rcpt["Original-Recipient"]


def test_what_postfix_took_and_could_not_deliver_comes_back(world):
    to = "fails@notices.example"
    world.submit(to, letter(to, "fails"), " ENVID=E1", " NOTIFY=FAILURE,DELAY ORCPT=rfc822;who@they.example")
    of_message, of_rcpt = report_fields(world.notice("fails"))
    assert of_message["Original-Envelope-Id"] == "E1" and "mx.post.example" in of_message["Reporting-MTA"]
    assert of_rcpt["Action"] == "failed" and of_rcpt["Original-Recipient"] == "rfc822;who@they.example"


def test_notify_never_is_kept_by_both(world):
    to, at = "fails@notices.example", world.far.mark()
    world.submit(to, letter(to, "never"), "", " NOTIFY=NEVER")
    world.far.wait(r"to=<nobody@nowhere.invalid>.*status=bounced", at)
    world.far.wait(r": removed", at)
    assert not world.far.lines(r"sender non-delivery notification", at)


def test_who_passes_nothing_on_is_answered_for(world):
    to = "bob@old.example"
    world.submit(to, letter(to, "relayed"), " ENVID=E2", " NOTIFY=SUCCESS")
    of_message, of_rcpt = report_fields(world.notice("relayed"))
    assert of_message["Reporting-MTA"] == "dns; mail.here.test" and of_message["Original-Envelope-Id"] == "E2"
    assert of_rcpt["Action"] == "relayed"


# ---- Postfix sends ------------------------------------------------------------------------

def test_there_and_back_again(world):
    """office.test is ours, by way of Postfix: out to it, and in from it over STARTTLS."""
    at = world.far.mark()
    to = "bob@office.test"
    world.submit(to, letter(to, "Grüße hin und zurück", "", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                            "Content-Transfer-Encoding: 8bit\r\n").encode() + ODD, " SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=ROUND",
                 " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@name.example")
    message = world.near.mail(to)[0]
    assert body(message) == ODD and world.genuine(message)
    assert "Subject: Grüße hin und zurück".encode() in message and message.count(b"\nReceived: ") == 3
    assert re.search(rb"Authentication-Results: [^\0]*dkim=pass", message)
    assert world.far.wait(r"TLS connection established to 127.0.0.1\[127.0.0.1\]:\d+: TLSv1.3", at)
    of_message, of_rcpt = report_fields(world.notice("ROUND"))
    assert of_message["Reporting-MTA"] == "dns; mail.here.test" and of_message["Original-Envelope-Id"] == "ROUND"
    assert of_rcpt["Action"] == "delivered" and "first@name.example" in of_rcpt["Original-Recipient"]


def test_postfix_sends_to_many_and_hears_of_each(world):
    at = world.far.mark()
    with smtplib.SMTP(BARE, world.far.port, timeout=20) as c:
        c.sendmail("carol@far.test", ["bob@here.test", "sales@here.test", "nobody-there@here.test"],
                   b"From: carol@far.test\r\nSubject: from afar\r\n\r\n" + ODD)
    message = world.near.mail("bob@here.test")[0]
    assert body(message) == ODD and b"Return-Path: <carol@far.test>" in message
    assert re.search(rb"with (UTF8SMTP|ESMTP)S", message)
    assert "5.1.1" in world.far.wait(r"to=<nobody-there@here.test>.*status=bounced.*", at)[0]
    assert len(world.far.wait(r"to=<(bob|sales)@here.test>.*status=sent", at, 2)) == 2
