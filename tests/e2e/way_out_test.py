# SPDX-License-Identifier: ISC
"""What leaves, what waits and what comes back: the queue's verbs on mail whose
destination is down, bounces that are signed, and a message's life in the log."""

import email
import json
import os
import re
import socket
import sys

import dkim
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ports import free_port  # noqa: E402
from server import CONFIG, Server  # noqa: E402

MESSAGE = "From: Alice <alice@here.test>\r\nTo: x@dead.test\r\nSubject: Hello\r\n\r\nIt works.\r\n"
SIGNING = CONFIG.replace('aliases = ', 'dkim "s1" {{}} dkim "e1" {{}}\n\taliases = ')
ZONE = """
dead.test MX 10 mx.dead.test
mx.dead.test A 127.0.0.1
null.test MX 0 .
"""


class House(Server):
    """The server with keys and a relay port where nobody listens until a test does."""

    def __init__(self, relay=""):
        self.port = free_port()
        super().__init__(config=SIGNING, zone=ZONE, start=False,
                         extra=f"relay {{ port = {self.port} retry-first = 60s {relay} }}")
        self.keys = {}
        for selector, algorithm in (("s1", "rsa-sha256"), ("e1", "ed25519-sha256")):
            said = self.verb("key", "generate", "here.test", selector, "--algorithm", algorithm)
            assert said.returncode == 0, said.stderr
            text = "".join(re.findall(r'"([^"]*)"', next(x for x in said.stdout.splitlines() if " IN TXT " in x)))
            self.keys[f"{selector}._domainkey.here.test."] = text.encode()
        self.start()

    def start(self):
        since = self.mark()
        super().start()
        self.wait("server.started", since=since)     # the control socket listens
        return self

    def verb(self, *words):
        return self.run(*words, "-c", str(self.file))

    def submit(self, *rcpts):
        """Sends as alice; the number that the server gave."""
        with self.client("submissions") as c:
            c.ask("EHLO here", 250)
            c.login("alice@here.test")
            c.send_mail("alice@here.test", list(rcpts), MESSAGE)
            return re.search(r"Queued as (\S+)", c.reply).group(1)

    def listed(self):
        done = self.verb("queue", "list", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def verified(self, message):
        """What python3-dkim says of each signature."""
        judge = dkim.DKIM(re.sub(rb"\r?\n", b"\r\n", message))
        find = lambda name, timeout=5: self.keys.get(name.decode() if isinstance(name, bytes) else name)  # noqa: E731
        signatures = email.message_from_bytes(message).get_all("DKIM-Signature", [])
        return [judge.verify(idx=i, dnsfunc=find) for i in range(len(signatures))]


@pytest.fixture
def house():
    with House() as h:
        yield h


def reports(message):
    """The delivery-status part: one dict for the message, one for each recipient."""
    part = next(p for p in message.walk() if p.get_content_type() == "message/delivery-status")
    return part.get_payload()


def test_a_permanent_failure_comes_back_signed(house):
    number = house.submit("y@null.test")
    raw = house.mail("alice@here.test")[0]
    bounce = email.message_from_bytes(raw)
    assert house.verified(raw) == [True, True], raw.decode()
    assert bounce["Return-Path"] == "<>" and bounce["Auto-Submitted"] == "auto-replied"
    assert "<postmaster@here.test>" in bounce["From"]           # who exists, and whose domain signs
    assert bounce.get_content_type() == "multipart/report"
    of_message, of_rcpt = reports(bounce)
    assert of_message["Reporting-MTA"] == "dns; mail.here.test"
    assert of_rcpt["Final-Recipient"] == "rfc822; y@null.test"
    assert (of_rcpt["Action"], of_rcpt["Status"]) == ("failed", "5.1.10")    # RFC 7505 4.2
    assert "null MX" in raw.decode() and number in raw.decode()
    house.until(lambda: house.listed() == [], "an empty queue")


def test_the_postmaster_of_a_bounce_can_be_written_to(house):
    with house.client("mx") as c:
        c.ask("EHLO far", 250)
        c.ask("MAIL FROM:<a@far.test>", 250)
        c.ask("RCPT TO:<postmaster@here.test>", 250)


def test_what_cannot_be_sent_waits_and_obeys_the_verbs(house):
    number = house.submit("x@dead.test")
    event = house.wait("delivery.deferred", id=number)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d", event["next"])        # a time that people read
    house.until(lambda: house.listed() and house.listed()[0]["recipients"][0]["tries"] == 1, "a first try")
    text = house.verb("queue", "list").stdout
    assert number in text and "x@dead.test" in text and "refused" in text
    shown = house.verb("queue", "show", number).stdout
    assert "Subject     Hello" in shown and "next try" in shown and "Connection refused" in shown

    assert house.verb("queue", "hold", number).stdout == "1 message\n"
    house.until(lambda: house.listed()[0]["recipients"][0]["state"] == "held", "a held recipient")
    assert house.verb("queue", "release", number).returncode == 0
    house.until(lambda: house.listed()[0]["recipients"][0]["state"] == "waiting", "a waiting recipient")

    since = house.mark()
    assert house.verb("queue", "retry", number).returncode == 0
    house.wait("delivery.deferred", since=since, id=number)

    assert house.verb("queue", "remove", number).returncode == 0
    house.until(lambda: house.listed() == [], "an empty queue")
    assert house.verb("queue", "list").stdout == "The queue is empty.\n"


def test_a_destination_that_comes_back_gets_its_mail(house):
    number = house.submit("x@dead.test")
    house.wait("delivery.deferred", id=number)
    with socket.create_server(("127.0.0.1", house.port)) as far:
        far.settimeout(20)
        assert house.verb("queue", "retry", "--all").returncode == 0
        peer, _ = far.accept()
        peer.settimeout(20)
        with peer, peer.makefile("rwb") as f:
            heard, data = [], False
            f.write(b"220 mx.dead.test\r\n")
            f.flush()
            for line in f:
                heard.append(line)
                if data and line != b".\r\n":
                    continue
                word = line[:4].upper()
                if not data and word == b"DATA":
                    data = True
                    f.write(b"354 go\r\n")
                else:
                    data = False
                    f.write(b"221 bye\r\n" if word == b"QUIT" else b"250 2.0.0 fine\r\n")
                f.flush()
                if word == b"QUIT":
                    break
    event = house.wait("delivery.sent", id=number)
    assert event["host"].startswith("mx.dead.test[127.0.0.1]")
    assert b"MAIL FROM:<alice@here.test>" in b"".join(heard)
    message = b"".join(heard).split(b"DATA\r\n", 1)[1].split(b"\r\n.\r\n")[0] + b"\r\n"
    assert house.verified(message) == [True, True]
    house.until(lambda: house.listed() == [], "an empty queue")


@pytest.mark.parametrize("words,status,said", [
    (["queue", "show", "1m0v8_r31j4"], 1, "postern queue: no message 1m0v8_r31j4 is in the queue: `postern queue list`"),
    (["queue", "retry", "1m0v8_r31j4"], 1, "postern queue: no message 1m0v8_r31j4 is in the queue: `postern queue list`"),
    (["queue", "show", "word"], 2, "postern queue: \"word\" is not a message's number"),
    (["log", "1m0v8_r31j4"], 1, "postern log: "),
    (["reload", "now"], 2, "postern reload: "),
])
def test_refusals_are_said_on_standard_error(house, words, status, said):
    done = house.verb(*words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_without_a_server_the_verbs_say_try_later_and_list_still_reads(house):
    number = house.submit("x@dead.test")
    house.wait("delivery.deferred", id=number)
    assert house.stop() == 0
    for words in (["status"], ["reload"], ["queue", "retry", number]):
        done = house.verb(*words)
        assert done.returncode == 75, done
        assert done.stderr.startswith(f"postern {words[0]}: no server answers in ")
    assert [m["id"] for m in house.listed()] == [number]
    assert "x@dead.test" in house.verb("queue", "show", number).stdout
    house.start()


def test_the_log_tells_a_messages_life(house):
    number = house.submit("y@null.test", "sales@here.test", "x@dead.test")
    letter = house.wait("bounce.sent", id=number)["letter"]
    for who in (number, letter):
        house.wait("delivery.delivered", id=who)
    house.wait("delivery.deferred", id=number)
    file = house.dir / "log"
    file.write_text(house.log() + "\n")

    def told(word, **how):
        return house.run("log", word, "--file", "-" if how else str(file), "-c", str(house.file), **how)

    for life in (told(number), told(number, input=file.read_text())):
        assert life.returncode == 0, life.stderr
        for event in ("message.stored", "delivery.bounced", "bounce.sent", "delivery.delivered"):
            assert f" {event} id={number}" in life.stdout
        for event in ("message.stored", "delivery.delivered"):
            assert f" {event} id={letter}" in life.stdout      # the bounce's own life
        assert "session.opened" not in life.stdout
    for who in ("alice@here.test", "ALICE@here.test", "y@null.test", "sales@here.test"):
        found = told(who)
        assert found.returncode == 0 and f" message.stored id={number}" in found.stdout, who
    for who in ("lice@here.test", "nobody@here.test", "1m0v8_zzz"):
        none = told(who)
        assert (none.returncode, none.stdout) == (1, ""), who
