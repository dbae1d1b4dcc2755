# SPDX-License-Identifier: ISC
"""Mail to mailboxes, aliases and forwarding, with a host outside that takes it:
senders that are rewritten and find back, copies, aliases that change while mail
waits, mailboxes of single accounts, and what is said of one that is out of order."""

import base64
import email
import os
import re
import subprocess
import sys

import dkim
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from nexthop import FINE, Hop  # noqa: E402
from server import CONFIG, PASSWORD, PATIENCE, Server  # noqa: E402

BODY = "Gr\xfc\xdfe, no line of this may change.\r\n.\r\n\tSo there. \r\n".encode("latin-1")
DOMAIN = "alone.test"             # whose signature survives
KEY = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True).stdout
PUBLIC = base64.b64encode(subprocess.run(["openssl", "rsa", "-pubout", "-outform", "DER"], input=KEY, capture_output=True,
                                         check=True).stdout).decode()
ZONE = f"""
far.test MX 10 mx.far.test
archive.test MX 10 mx.far.test
{DOMAIN} MX 10 mx.far.test
{DOMAIN} TXT "v=spf1 a:client.test -all"
strict.test MX 10 mx.far.test
strict.test TXT "v=spf1 a:client.test -all"
_dmarc.strict.test TXT "v=DMARC1; p=reject"
mx.far.test A 127.0.0.1
s._domainkey.{DOMAIN} TXT "v=DKIM1; k=rsa; p={PUBLIC[:200]}" "{PUBLIC[200:]}"
back.test MX 10 mx.far.test
back.test TXT "v=spf1 -all"
s._domainkey.back.test TXT "v=DKIM1; k=rsa; p={PUBLIC[:200]}" "{PUBLIC[200:]}"
"""
MORE = CONFIG.replace('domain "office.test" {{', '''domain "copied.test" {{
	copy = "archive@archive.test"
	deliver {{ maildir = "{dir}/mail/%d/%u" }}
	account "own" {{ deliver {{ maildir = "{dir}/mail/elsewhere/%u" }} }}
}}
domain "office.test" {{''')
ACCOUNTS = ("alice@here.test", "bob@here.test", "carol@copied.test", "own@copied.test")


class Far(Hop):
    """Takes all mail for outside; `refuses` holds recipients that hear 550."""

    def __init__(self):
        self.refuses = set()
        super().__init__(lambda rcpt: "550 5.7.1 not here" if rcpt in self.refuses else FINE, caps=("8BITMIME",), host="127.0.0.1")

    def came(self):
        return [{"sender": m.sender, "rcpt": to, "text": m.text} for m in self.taken for to in m.rcpts]

    def wait(self, **wanted):
        """The first message whose sender, recipient or text is as wanted."""
        def fits(m):
            return all(re.search(v, m[k] if isinstance(m[k], str) else m[k].decode("latin-1")) for k, v in wanted.items())
        with self.changed:
            assert self.changed.wait_for(lambda: any(map(fits, self.came())), PATIENCE), (wanted, self.taken)
            return next(filter(fits, self.came()))


class House(Server):
    def __init__(self, **more):
        self.far = Far()
        extra = f"relay {{ port = {self.far.port} retry-first = 1h retry-most = 1h }}\n{more.pop('extra', '')}"
        super().__init__(config=MORE, zone=ZONE, accounts=ACCOUNTS, extra=extra, **more)

    def close(self):
        super().close()
        self.far.close()

    def verb(self, *words):
        return self.run(*words, "-c", str(self.file))

    def aliases(self, text):
        """The file, and what a minute would bring."""
        since = self.mark()
        (self.dir / "aliases").write_text(text)
        self.account(f"somebody{since}@office.test")          # the verb makes the server look again
        return since

    def receive(self, sender, rcpts, message, code=250):
        with self.client() as c:
            c.ask("EHLO client.test", 250)
            c.send_mail(sender, rcpts, message, code)
            return c.reply


@pytest.fixture
def house(request):
    with House(**getattr(request, "param", {})) as h:
        yield h


def signed(sender, body=BODY, domain=DOMAIN):
    header = f"From: {sender}\r\nTo: team@here.test\r\nSubject: signed\r\nMIME-Version: 1.0\r\n".encode()
    message = header + b"Content-Type: text/plain; charset=latin1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
    return dkim.sign(message, b"s", domain.encode(), KEY, include_headers=[b"From", b"Subject"]) + message


def test_what_is_forwarded_passes_there_and_comes_back(house):
    message = signed(f"x@{DOMAIN}")
    house.receive(f"x@{DOMAIN}", "outer@here.test", message)
    there = house.far.wait(rcpt="someone@far.test")
    assert re.fullmatch(rf"SRS0=\w{{8}}=\w\w={DOMAIN}=x@here\.test", there["sender"])
    assert there["text"].endswith(message)                    # nothing but fields in front
    assert there["text"].startswith(b"Delivered-To: outer@here.test\r\n")
    assert dkim.verify(there["text"], dnsfunc=lambda name, timeout=5: f"v=DKIM1; k=rsa; p={PUBLIC}".encode())
    local = house.mail("alice@here.test")[0]                  # the alias's other target, as it was
    assert local.startswith(f"Return-Path: <x@{DOMAIN}>\n".encode())

    # The mailbox there is full: the bounce goes to whom the sender stands for.
    house.receive("", there["sender"], "From: mailer-daemon@far.test\r\nSubject: full\r\n\r\nSorry.\r\n")
    back = house.far.wait(rcpt=re.escape(f"x@{DOMAIN}"))
    assert back["sender"] == "" and b"Subject: full" in back["text"]
    with house.client() as c:                                 # one letter of the hash is another
        c.ask("EHLO client.test", 250)
        c.ask("MAIL FROM:<>", 250)
        digit = "B" if there["sender"][5] != "B" else "C"
        c.ask(f"RCPT TO:<SRS0={digit}{there['sender'][6:]}>", 550)
        c.ask("RSET", 250)
        c.ask("MAIL FROM:<somebody@far.test>", 250)
        c.ask(f"RCPT TO:<{there['sender']}>", 550)
    # What comes back to the alias ends there.
    house.receive(f"x@{DOMAIN}", "outer@here.test", there["text"], 554)


@pytest.mark.parametrize("house", [{"extra": 'domain "back.test" {}\nforward { srs-domain = "back.test" }'}], indirect=True)
def test_a_local_sender_from_outside_comes_back_or_is_refused(house):
    """SPF lets nobody send for back.test, which is served here."""
    message = signed("x@back.test", domain="back.test")
    house.receive("x@back.test", "bob@here.test", message)                    # somebody forwarded what began here
    house.receive("x@back.test", "bob@here.test", message + b"changed\r\n", 550)
    assert "5.7.23" in house.receive("x@back.test", "bob@here.test", signed(f"x@{DOMAIN}"), 550)   # another's signature
    house.receive("x@far.test", "outer@here.test", "From: x@far.test\r\n\r\nx\r\n")
    srs = house.far.wait(rcpt="someone@far.test")["sender"]                   # forwarded from here, and there once more
    assert srs.endswith("@back.test")
    house.receive(srs, "bob@here.test", "From: x@far.test\r\n\r\nx\r\n")
    forged = srs.replace(srs[5], "B" if srs[5] != "B" else "C", 1)
    house.receive(forged, "bob@here.test", "From: x@far.test\r\n\r\nx\r\n", 550)
    judged = house.run("verify", "-c", str(house.file), "--ip", "127.0.0.9", "--helo", "h", "--mail-from", "x@back.test", "--json",
                       input="From: x@far.test\r\n\r\nx\r\n")
    assert '"action": "reject"' in judged.stdout and "submission port" in judged.stdout, judged


def test_the_secret_outlives_a_restart(house):
    house.receive(f"x@{DOMAIN}", "outer@here.test", signed(f"x@{DOMAIN}"))
    sender = house.far.wait(rcpt="someone@far.test")["sender"]
    assert house.stop() == 0
    house.start()
    house.receive("", sender, "From: mailer-daemon@far.test\r\nSubject: later\r\n\r\nSorry.\r\n")
    house.far.wait(rcpt=re.escape(f"x@{DOMAIN}"), text="Subject: later")
    secret = house.dir / "state/forward.secret"
    assert secret.stat().st_mode & 0o777 == 0o600 and len(secret.read_text().strip()) == 64


def test_a_dead_target_comes_back_alone(house):
    house.far.refuses.add("gone@far.test")
    house.aliases("half: alice@here.test, ghost@here.test, gone@far.test\n")
    house.wait("configuration.loaded")
    house.receive("x@far.test", "half@here.test", "From: x@far.test\r\nSubject: to three\r\n\r\nx\r\n")
    assert b"Subject: to three" in house.mail("alice@here.test")[0]
    for gone in "ghost@here.test", "gone@far.test":
        bounce = house.far.wait(rcpt="x@far.test", text=f"Final-Recipient: rfc822; {gone}")
        assert bounce["sender"] == "" and b"Original-Recipient: rfc822;half@here.test" in bounce["text"]
        assert b"alice@here.test" not in bounce["text"]


def test_success_behind_an_alias_is_told_once(house):
    """RFC 3461 5.2.7.3"""
    with house.client("submissions") as c:
        c.ask("EHLO here", 250)
        c.login("bob@here.test", PASSWORD)
        c.ask("MAIL FROM:<bob@here.test> ENVID=here-it-is", 250)
        c.ask("RCPT TO:<outer@here.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;outer@here.test", 250)
        c.ask("DATA", 354)
        c.send("From: bob@here.test\r\nSubject: tell me\r\n\r\nx\r\n.\r\n")
        c.hear(250)
    report = email.message_from_bytes(house.mail("bob@here.test")[0])
    of_message, of_rcpt = next(p for p in report.walk() if p.get_content_type() == "message/delivery-status").get_payload()
    assert of_message["Original-Envelope-Id"] == "here-it-is"
    assert of_rcpt["Action"] == "expanded" and of_rcpt["Final-Recipient"] == "rfc822; outer@here.test"
    assert of_rcpt["Original-Recipient"] == "rfc822;outer@here.test"
    house.mail("alice@here.test")
    house.far.wait(rcpt="someone@far.test")
    assert len(house.messages("bob@here.test")) == 1


def test_an_alias_file_is_read_again_when_it_changes(house):
    since = house.aliases("sales: bob@here.test\n")
    house.wait("configuration.loaded", since=since)
    house.receive("x@far.test", "sales@here.test", "From: x@far.test\r\nSubject: now bob\r\n\r\nx\r\n")
    assert b"now bob" in house.mail("bob@here.test")[0]
    since = house.aliases("sales: bob@here.test\nbroken: |/bin/sh\n")
    fault = house.wait("configuration.refused", since=since)
    assert "aliases:2: programs, files and includes" in fault["why"]
    house.receive("x@far.test", "sales@here.test", "From: x@far.test\r\nSubject: still bob\r\n\r\nx\r\n")
    house.mail("bob@here.test", 2)


def test_mail_that_waits_asks_the_directory_anew(house):
    """And says what is wrong with the mailbox, and what to type."""
    box = house.dir / "mail/here.test"
    box.write_text("no directory\n")
    house.receive("x@far.test", ["alice@here.test", "bob@here.test"], "From: x@far.test\r\nSubject: waits\r\n\r\nx\r\n")
    for who in "alice", "bob":
        house.wait("delivery.deferred", to=f"{who}@here.test")
    number = house.find("message.stored")[0]["id"]
    house.until(lambda: "namei -l" in house.verb("queue", "show", number).stdout, "advice")
    assert f"`namei -l '{box}/alice'`" in house.verb("queue", "show", number).stdout
    box.unlink()
    for who in "alice", "bob":                                # alice becomes an alias of carol, bob is gone
        assert house.verb("account", "remove", f"{who}@here.test").returncode == 0
    since = house.aliases("alice: carol@copied.test\n")
    house.wait("configuration.loaded", since=since)
    assert house.verb("queue", "retry", "--all").returncode == 0
    assert b"Subject: waits" in house.mail("carol@copied.test")[0]
    bounce = house.far.wait(rcpt="x@far.test")
    assert b"Final-Recipient: rfc822; bob@here.test" in bounce["text"] and b"5.1.1" in bounce["text"]
    assert b"alice@here.test" not in bounce["text"].split(b"message/delivery-status")[1].split(b"--", 1)[0]


def test_an_alias_that_leads_outside_since_is_asked_for_there(house):
    box = house.dir / "mail/here.test"
    box.write_text("no directory\n")
    house.receive("x@far.test", "alice@here.test", "From: x@far.test\r\nSubject: waits\r\n\r\nx\r\n")
    house.wait("delivery.deferred", to="alice@here.test")
    assert house.verb("account", "remove", "alice@here.test").returncode == 0
    since = house.aliases("alice: moved@far.test\n")
    house.wait("configuration.loaded", since=since)
    assert house.verb("queue", "retry", "--all").returncode == 0
    there = house.far.wait(rcpt="moved@far.test")
    assert re.fullmatch(r"SRS0=\w{8}=\w\w=far\.test=x@here\.test", there["sender"])


def test_an_account_has_its_own_mailbox(house):
    house.receive("x@far.test", ["own@copied.test", "carol@copied.test"], "From: x@far.test\r\nSubject: to both\r\n\r\nx\r\n")
    house.mail("carol@copied.test")
    new = house.dir / "mail/elsewhere/own/new"
    house.until(lambda: new.is_dir() and list(new.iterdir()), "mail in the account's own place")
    assert not (house.dir / "mail/copied.test/own").exists()


def copy_of(house, text):
    there = house.far.wait(rcpt="archive@archive.test", text=text)
    return there, email.message_from_bytes(there["text"])


def test_copies_of_what_comes_in_and_what_leaves(house):
    message = signed(f"x@{DOMAIN}")
    house.receive(f"x@{DOMAIN}", ["carol@copied.test", "bob@here.test"], message)
    there, copy = copy_of(house, "X-Postern-Copy-Client")
    assert there["sender"] == "" and there["text"].endswith(message)
    assert dkim.verify(there["text"], dnsfunc=lambda name, timeout=5: f"v=DKIM1; k=rsa; p={PUBLIC}".encode())
    assert copy["X-Postern-Copy-From"] == f"<x@{DOMAIN}>"
    assert copy["X-Postern-Copy-To"] == "<carol@copied.test>"           # bob's domain has not asked for copies
    assert copy["X-Postern-Copy-Client"].startswith("[127.0.0.1]") and copy["X-Postern-Copy-Login"] is None
    number = copy["X-Postern-Copy-Id"].split()[0]
    assert house.find("message.stored", id=number)
    assert b"X-Postern" not in house.mail("bob@here.test")[0]

    with house.client("submissions") as c:
        c.ask("EHLO here", 250)
        c.login("carol@copied.test", PASSWORD)
        c.send_mail("carol@copied.test", ["y@far.test", "hidden@far.test"],
                    "From: carol@copied.test\r\nTo: y@far.test\r\nBcc: hidden@far.test\r\nSubject: leaves\r\n\r\nx\r\n")
    _, copy = copy_of(house, "Subject: leaves")
    assert copy["X-Postern-Copy-Login"] == "carol@copied.test" and copy["Bcc"] is None
    assert re.sub(r"\s+", " ", copy["X-Postern-Copy-To"]) == "<y@far.test>, <hidden@far.test>"
    out = house.far.wait(rcpt="y@far.test", text="Subject: leaves")
    assert b"X-Postern" not in out["text"] and b"hidden" not in out["text"]

    # The archive sends its copy back to whom it is about: that is delivered, and not copied again.
    house.receive("archive@archive.test", "carol@copied.test", there["text"])
    house.mail("carol@copied.test", 2)
    house.receive("x@far.test", "carol@copied.test", "From: x@far.test\r\nSubject: the last\r\n\r\nx\r\n")
    copy_of(house, "Subject: the last")
    assert sum(m["rcpt"] == "archive@archive.test" for m in house.far.came()) == 3


def test_a_copy_that_is_refused_is_held_and_nobody_is_told(house):
    house.far.refuses.add("archive@archive.test")
    house.receive("x@far.test", "carol@copied.test", "From: x@far.test\r\nSubject: kept\r\n\r\nx\r\n")
    house.mail("carol@copied.test")
    held = house.wait("copy.held", to="archive@archive.test")
    house.until(lambda: "held" in house.verb("queue", "list").stdout, "a held copy")
    house.far.refuses.clear()
    assert house.verb("queue", "release", held["id"]).returncode == 0
    copy_of(house, "Subject: kept")
    house.until(lambda: house.verb("queue", "list").stdout == "The queue is empty.\n", "an empty queue")
    assert not [m for m in house.far.came() if m["rcpt"] == "x@far.test"]


@pytest.mark.parametrize("house", [{"extra": "forward { doomed = keep }"}], indirect=True)
def test_what_would_be_refused_there_is_kept_by_option(house):
    house.receive("x@strict.test", "outer@here.test", "From: x@strict.test\r\nSubject: by SPF alone\r\n\r\nx\r\n")
    house.mail("alice@here.test")
    doomed = house.wait("forward.doomed", to="someone@far.test")
    assert "strict.test publishes p=reject" in doomed["why"]
    house.wait("delivery.held", id=doomed["id"])
    shown = house.verb("queue", "show", doomed["id"]).stdout
    assert "held" in shown and "postern queue release ID" in shown
    assert house.verb("queue", "release", doomed["id"]).returncode == 0
    house.far.wait(rcpt="someone@far.test", text="by SPF alone")
    # With a signature of its own it is not doomed.
    since = house.mark()
    house.receive(f"x@{DOMAIN}", "outer@here.test", signed(f"x@{DOMAIN}"))
    house.far.wait(rcpt="someone@far.test", text="Subject: signed")
    assert not house.find("forward.doomed", since)
