# SPDX-License-Identifier: ISC
"""The address that answers with a report: each method passing and failing, who is
answered and who is not, limits, other recipients, and two of them face to face."""
import base64
import email
import email.policy
import email.utils
import os
import re
import socket
import subprocess
import sys

import dkim
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dkimkeys import PUBLIC_25519, RSA_PEM, RSA_PUBLIC, SEED_25519  # noqa: E402
from nexthop import Hop  # noqa: E402
from server import CONFIG, PATIENCE, Client, Server  # noqa: E402

REFLECTS = CONFIG.replace("aliases = ", 'reflector = "report"\n\tdkim "s1" {{}}\n\taliases = ')
LISTS = 'dnsbl "bl.test" { type = ip action = mark test = no } dnsbl "dbl.test" { type = name names = {"sender"} action = mark test = no }'
ZONE = f"""
far.test MX 10 mx.far.test
mx.far.test A 127.0.0.9
_dmarc.far.test TXT "v=DMARC1; p=reject"
rsa._domainkey.far.test TXT "v=DKIM1; k=rsa; p={RSA_PUBLIC}"
ed._domainkey.far.test TXT "v=DKIM1; k=ed25519; p={PUBLIC_25519}"
6.0.0.127.in-addr.arpa PTR other.test
other.test A 192.0.2.9
soft.test TXT "v=spf1 ~all"
soft.test MX 10 mx.far.test
bare.test MX 10 mx.far.test
open.test TXT "v=spf1 +all"
open.test MX 10 mx.far.test
broken.test TXT "v=spf1 ip4:1.2.3"
moved.test TXT "v=spf1 ip4:192.0.2.1 -all"
moved.test MX 10 mx.far.test
_dmarc.moved.test TXT "v=DMARC1; p=none"
ed._domainkey.moved.test TXT "v=DKIM1; k=ed25519; p={PUBLIC_25519}"
listed.test TXT "v=spf1 a:client.test -all"
listed.test MX 10 mx.far.test
listed.test.dbl.test A 127.0.1.2
listed.test.dbl.test TXT "spam was sent"
broken.test MX 10 mx.far.test
"""
TO = "report@here.test"
GOOD = {
    "From": "Ann <ann@far.test>", "To": TO, "Subject": "A test", "Message-ID": "<1@far.test>", "Date": None,
}


def message(body="Hello.\r\n", drop=(), extra="", **fields):
    fields = {**GOOD, "Date": email.utils.formatdate(), **{k.replace("_", "-"): v for k, v in fields.items()}}
    return ("".join(f"{k}: {v}\r\n" for k, v in fields.items() if k not in drop) + extra + "\r\n" + body).encode()


def signed(text, selector="ed", domain="far.test", also=()):
    key, algorithm = (SEED_25519, b"ed25519-sha256") if selector == "ed" else (RSA_PEM, b"rsa-sha256")
    return dkim.sign(text, selector.encode(), domain.encode(), key, signature_algorithm=algorithm,
                     include_headers=[b"from", b"to", b"subject", b"date", b"message-id", *also],
                     canonicalize=(b"relaxed", b"relaxed")) + text


class Caller(Client):
    """One that comes from another address of this machine."""

    def __init__(self, address, source):
        self.socket = socket.create_connection(address, PATIENCE, source_address=(source, 0))
        self.held, self.reply = b"", ""


class House(Server):
    """A server with a reflector and a key, and far.test's server to answer to."""

    def __init__(self, limits="", extra="", zone="", config=REFLECTS, hop=None):
        self.hop = Hop(host="127.0.0.9") if hop is None else None
        port = self.hop.port if hop is None else hop
        super().__init__(config=config, zone=ZONE + zone, limits=limits, start=False, accounts=("bob@here.test",),
                         extra=f"relay {{ port = {port} retry-first = 60s }} verify {{ {LISTS} }} {extra}")
        self.key = ""
        if "dkim" in config:
            done = self.run("key", "generate", "here.test", "s1", "-c", str(self.file))
            assert done.returncode == 0, done.stderr
            self.key = "".join(re.findall(r'"([^"]*)"', next(x for x in done.stdout.splitlines() if " IN TXT " in x)))
        self.start()

    def close(self):
        super().close()
        if self.hop:
            self.hop.close()

    def give(self, text, sender="ann@far.test", rcpts=TO, code=250, helo="client.test", tls=False, source="127.0.0.1"):
        with Caller(self.address("mx"), source) as c:
            c.hear(220)
            c.ask(f"EHLO {helo}", 250)
            if tls:
                c.starttls()
                c.ask(f"EHLO {helo}", 250)
            return c.send_mail(sender, rcpts, text, code)

    def answer(self, n=1):
        """The n-th letter that far.test's server got."""
        self.until(lambda: len(self.hop.taken) >= n, f"letter {n}")
        return self.hop.taken[n - 1]


@pytest.fixture(scope="module")
def house():
    with House(limits="reflector-sender = 1000 reflector-network = 1000") as h:
        yield h


def read(taken):
    mail = email.message_from_bytes(taken.text, policy=email.policy.default)
    return mail, re.sub(r"\s+", " ", mail.get_content())


def told(house, text, **how):
    """Sends it; the report, and its text with all white space as one space."""
    before = len(house.hop.taken)
    assert "report" in house.give(text, **how)
    return read(house.answer(before + 1))


# ---- what the report says --------------------------------------------------------------

def test_all_is_well(house):
    text = signed(message())
    mail, said = told(house, text, tls=True)
    taken = house.hop.taken[-1]
    assert taken.sender == "" and taken.rcpts == ["ann@far.test"]
    assert mail["From"].addresses[0].addr_spec == TO and mail["To"].addresses[0].addr_spec == "ann@far.test"
    assert mail["Auto-Submitted"] == "auto-replied" and mail["X-Loop"] == TO
    assert mail["In-Reply-To"] == mail["References"] == "<1@far.test>"
    assert mail["Subject"] == "Your mail: dmarc=pass spf=pass dkim=pass"
    assert mail["Message-ID"].endswith("@here.test>") and mail["Date"]
    for words in ("SPF pass for far.test", "DKIM pass, d=far.test s=ed", "DMARC pass for far.test, policy reject", "ARC none", "iprev pass",
                  "DomainKeys none", "Sender ID pass", "TLS TLSv1.3, TLS_AES", "no client certificate", "Block lists not listed, 2 asked",
                  "Verdict a mailbox here would have taken it", "Nothing was found in its header and form",
                  "Authentication-Results: mail.here.test", "dmarc=pass", "Subject: A test", "DKIM-Signature: v=1", "Came from 127.0.0.1",
                  "client.test, the same as in HELO", "signature 1: pass, d=far.test s=ed", "the Author Domain is far.test"):
        assert words in said, (words, mail.get_content())
    assert "domainkeys=" not in said and "sender-id=" not in said      # written only where the server would
    assert all(len(line) <= 998 for line in taken.text.split(b"\r\n"))
    assert max(len(line) for line in mail.get_content().split("THE HEADER")[0].splitlines()[:40]) < 110
    # The letter itself is signed for its From, so that it passes DMARC where it goes.
    find = lambda name, timeout=5: house.key.encode()  # noqa: E731
    assert dkim.verify(taken.text, dnsfunc=find) and b"d=here.test" in taken.text
    house.wait("reflector.answered", to="ann@far.test")
    assert not house.messages("bob@here.test")


TODO = [
    # sender, From, HELO, what the report says
    ("ann@far.test", "ann@far.test", "other.test",
     ["DKIM none: the message is not signed To do: let your server sign with DKIM, d=far.test", "let the server say this name in HELO",
      "TLS none: the message came in the clear To do: let your server use STARTTLS"]),
    ("ann@far.test", "ann@bare.test", "laptop",
     ["DMARC none for bare.test", "publish a TXT record at _dmarc.bare.test: v=DMARC1; p=none", "HELO is a bare word: laptop"]),
    ("x@open.test", "ann@far.test", "client.test",
     ["SPF pass for open.test", "DMARC fail for far.test, policy reject", "sign with DKIM d=far.test, or send with an envelope's sender",
      "would have been refused with 550", "SPF passed for open.test: not aligned"]),
]


@pytest.mark.parametrize("sender, author, helo, wants", TODO)
def test_what_does_not_pass_comes_with_what_to_do(house, sender, author, helo, wants):
    mail, said = told(house, message(From=author), sender=sender, helo=helo)
    for words in wants:
        assert words in said, (words, mail.get_content())


def test_signatures_that_fail_are_told_each(house):
    text = signed(message(), "rsa")
    broken = signed(text.replace(b"Hello", b"Other"), "ed")
    mail, said = told(house, broken)
    assert "DKIM pass, d=far.test s=ed" in said and "DKIM fail, d=far.test s=rsa: body hash" in said
    assert "let the last server that changes the text be the one that signs" in said
    footer = signed(message()) + b"-- \r\nThe list\r\n"
    _, said = told(house, signed(footer, "rsa"))
    assert "without its last 2 lines the body is the one that was signed" in said
    _, said = told(house, signed(message("x\r\n" * 8000)) + b"The list\r\n")      # too large to be tried
    assert "DKIM fail" in said and "a list's footer, a disclaimer" in said
    gone = signed(message()).replace(b"s=ed;", b"s=nokey;")
    _, said = told(house, gone)
    assert "DKIM permerror, d=far.test s=nokey" in said and "publish a usable key at nokey._domainkey.far.test" in said


def test_spf_that_fails_is_told_where_dmarc_passes(house):
    mail, said = told(house, signed(message(From="x@moved.test"), domain="moved.test"), sender="x@moved.test")
    assert "SPF fail for moved.test" in said and "put ip4:127.0.0.1 into its SPF record" in said and "DMARC pass" in said


def test_an_address_without_a_name(house):
    for source, result in (("127.0.0.5", "permerror"), ("127.0.0.6", "fail")):
        _, said = told(house, message(), sender="x@open.test", source=source)
        assert f"iprev {result}, {source}" in said and f"ask the provider of {source} for a PTR record" in said, said


def test_the_historic_ones_pass_and_fail_though_they_are_off(house, tmp_path):
    key, text = tmp_path / "key", message()
    key.write_bytes(RSA_PEM)
    made = subprocess.run(["openssl", "dgst", "-sha1", "-sign", str(key)], input=text, check=True, stdout=subprocess.PIPE).stdout
    field = b"DomainKey-Signature: a=rsa-sha1; q=dns; c=simple; s=rsa; d=far.test;\r\n b=" + base64.b64encode(made) + b";\r\n"
    _, said = told(house, field + text)
    assert "DomainKeys pass (historic)" in said and "Sender ID pass (historic)" in said
    _, said = told(house, field + text.replace(b"Hello", b"Other"))
    assert "DomainKeys fail" in said and "take the DomainKey-Signature out" in said
    _, said = told(house, message(From="x@moved.test"), sender="x@open.test")
    assert "Sender ID fail" in said and "what SPF needs is all that counts" in said


def test_a_chain_holds_or_is_broken(house, tmp_path):
    key = house.dir / "arc.pem"
    key.write_bytes(RSA_PEM)
    key.chmod(0o644)
    done = house.run("seal", "--domain", "far.test", "--selector", "rsa", "--key", str(key), "--authserv-id", "far.test", "--resolver",
                     house.dns.address, input=message(), text=False)
    assert done.returncode == 0, done.stderr
    _, said = told(house, done.stdout)
    assert "ARC pass, 1 set" in said
    _, said = told(house, done.stdout.replace(b"Hello", b"Other"))
    assert "ARC fail, 1 set" in said and "let the forwarder that changes the message last be the one that seals it" in said


def test_a_block_list_is_named(house):
    _, said = told(house, message(), sender="x@listed.test")
    assert "Block list dbl.test lists listed.test with 127.0.1.2: spam was sent" in said and "ask dbl.test to take it off" in said


def test_faults_of_the_form(house):
    text = message("<b>gr\u00fc\u00df</b>\r\n" + "y" * 1500 + "\r\n", drop=("Message-ID", "Subject"),
                   extra="Bcc: c@here.test\r\nReceived: from x by mail.here.test; 1 Jan 2020 00:00:00 +0000\r\n"
                         "Authentication-Results: mail.here.test; dmarc=pass\r\n")
    _, said = told(house, text)
    for words in ("there is no Message-ID", "there is no Subject", "Bcc was left in", "8-bit letters, and no MIME field", "a line of 1500 octets",
                  "this server has had the message before", "Authentication-Results pretends to be written by this server"):
        assert words in said, words


def test_a_short_key_is_noted(house):
    mail, said = told(house, signed(message(), "rsa"))
    assert mail["Subject"].endswith("dkim=pass") and "the key has 1024 bits, and 2048 are wanted nowadays" in said


def test_a_hostile_header_is_shown_harmless_and_cut(house):
    mail, said = told(house, message(Subject="\x1b[2J\x07 \u0000".replace("\u0000", ""), extra="X-Long: " + "z" * 5000 + "\r\n"
                                     + "X-Many: 12345678901234567890\r\n" * 1900, drop=("Message-ID",)))
    assert "\x1b" not in said and "\x07" not in said and "the rest is left out" in said
    assert "In-Reply-To" not in mail and len(house.hop.taken[-1].text) < 256 * 1024
    assert all(len(line) <= 998 for line in house.hop.taken[-1].text.split(b"\r\n"))


# ---- who is answered --------------------------------------------------------------------

AUTOMATIC = [
    "Auto-Submitted: auto-replied", "Auto-Submitted: auto-generated (x)", "List-Id: <a.far.test>", "List-Unsubscribe: <mailto:x@far.test>",
    "Precedence: bulk", "Precedence: junk", "Precedence: list", "X-Loop: REPORT@here.test", "X-Auto-Response-Suppress: All",
    "Content-Type: multipart/report; boundary=a",
]


@pytest.mark.parametrize("line", AUTOMATIC)
def test_programs_are_not_answered(house, line):
    before = len(house.hop.taken)
    assert "5.7.1" in house.give(message(extra=line + "\r\n"), code=550)
    assert len(house.hop.taken) == before


def test_a_person_says_no_and_is_answered(house):
    told(house, message(extra="Auto-Submitted: no\r\n"))


SENDERS = ["", "mailer-daemon@far.test", "noreply@far.test", "owner-list@far.test", "list-request@far.test", "report@here.test"]


@pytest.mark.parametrize("sender", SENDERS)
def test_senders_that_are_refused_at_rcpt(house, sender):
    with house.client("mx") as c:
        c.ask("EHLO client.test", 250)
        c.ask(f"MAIL FROM:<{sender}>", 250)
        assert "5.7.1" in c.ask(f"RCPT TO:<{TO}>", 550)


FORGED = [
    ("x@soft.test", "x@soft.test"),       # softfail, and no DMARC
    ("x@bare.test", "x@bare.test"),       # says nothing
    ("x@broken.test", "x@broken.test"),
    ("x@bare.test", "ann@far.test"),      # an author who passes is not the sender
]


@pytest.mark.parametrize("sender, author", FORGED)
def test_a_sender_that_anybody_could_have_written_gets_nothing(house, sender, author):
    text = message(From=author)
    before = len(house.hop.taken)
    reply = house.give(signed(text) if author == "ann@far.test" else text, sender=sender, code=550)
    assert "anybody could have written this sender" in reply
    assert len(house.hop.taken) == before and not house.find("message.stored", **{"from": sender})


def test_who_logs_in_is_told_to_come_from_elsewhere(house):
    with house.client("submissions") as c:
        c.ask("EHLO laptop.test", 250)
        c.login("bob@here.test")
        c.ask("MAIL FROM:<bob@here.test>", 250)
        assert "from another server" in c.ask(f"RCPT TO:<{TO}>", 550)


def test_who_hangs_up_is_answered_all_the_same(house):
    before = len(house.hop.taken)
    with house.client("mx") as c:
        c.ask("EHLO client.test", 250)
        c.ask("MAIL FROM:<ann@far.test>", 250)
        c.ask(f"RCPT TO:<{TO}>", 250)
        c.ask("DATA", 354)
        c.send(message() + b".\r\n")
    assert "SPF pass" in read(house.answer(before + 1))[1]


def test_other_recipients_get_the_message(house):
    before, seen = len(house.hop.taken), len(house.messages("bob@here.test"))
    house.give(message(), rcpts=[TO, "bob@here.test", TO.upper()])
    assert house.mail("bob@here.test", seen + 1) and "SPF pass" in read(house.answer(before + 1))[1]
    mark = house.mark()
    house.give(message(extra="Precedence: bulk\r\n"), rcpts=["bob@here.test", TO])        # no report, but the message
    house.wait("reflector.refused", since=mark, why="automatic")
    assert house.mail("bob@here.test", seen + 2) and len(house.hop.taken) == before + 1


def test_without_the_option_there_is_no_such_address():
    with House(config=CONFIG) as h, h.client("mx") as c:
        c.ask("EHLO client.test", 250)
        c.ask("MAIL FROM:<ann@far.test>", 250)
        assert "5.1.1" in c.ask(f"RCPT TO:<{TO}>", 550)


@pytest.mark.parametrize("name, fault", [("report", False), ("postmaster", True), ("report@here.test", True), ("abuse", True)])
def test_names_that_are_checked(name, fault):
    with Server(start=False, accounts=(), config=REFLECTS.replace('"report"', f'"{name}"').replace('dkim "s1" {{}}', "")) as s:
        done = s.run("check", "-c", str(s.file))
        assert ("`reflector`" in done.stdout + done.stderr) == fault, done.stdout + done.stderr


def test_a_few_a_day():
    with House(limits="reflector-sender = 2 reflector-network = 4") as h:
        for sender, reply in [("ann@far.test", 250), ("Ann@far.test", 250), ("ann@far.test", 550), ("bea@far.test", 250), ("cat@far.test", 250),
                              ("dot@far.test", 550)]:
            said = h.give(message(), sender=sender, code=reply)
            assert reply == 250 or "Enough reports for today" in said and "try again tomorrow" in said
        h.answer(4)
        h.wait("reflector.refused", why="reports of a sender")
        h.wait("reflector.refused", why="reports of a network")


def test_two_of_them_stop_at_once():
    """A letter in the other's name: one answer, refused there, and silence."""
    far = CONFIG.replace("here.test", "far.test").replace('"office.test"', '"office2.test"').replace(
        "aliases = ", 'reflector = "report"\n\taliases = ').replace('"127.0.0.1:0"', '"127.0.0.9:0"')
    with Server(config=far, accounts=("bob@far.test",)) as other:
        with House(hop=other.address("mx")[1]) as h:
            h.give(message(From="report@far.test"), sender="report@far.test")
            h.wait("reflector.answered", to="report@far.test")
            other.wait("recipient.refused", rcpt="report@far.test", code="550")
            h.until(lambda: h.run("queue", "list", "--json", "-c", str(h.file)).stdout.strip() == "[]", "the queue is empty")
            assert len(h.find("reflector.answered")) == 1 and not other.find("reflector.answered")
            assert not h.messages("bob@here.test")
