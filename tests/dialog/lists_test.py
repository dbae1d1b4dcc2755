# SPDX-License-Identifier: ISC
"""Block lists that are tested, and denials at run time, against the real server."""

import json
import pathlib
import socket
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from server import PATIENCE, Client, Server  # noqa: E402


def client_from(server, ip):
    c = Client.__new__(Client)
    c.socket = socket.create_connection(server.address("mx"), PATIENCE, source_address=(ip, 0))
    c.held, c.reply = b"", ""
    c.hear(220)
    return c


def first_rcpt(server, ip, sender="x@far.test", helo="client.test", rcpt="alice@here.test"):
    """The reply to the first recipient of a client at this address."""
    with client_from(server, ip) as c:
        c.ask(f"EHLO {helo}", 250)
        c.ask(f"MAIL FROM:<{sender}>", 250)
        return c.ask(f"RCPT TO:<{rcpt}>")


# ---- dnsbl ---------------------------------------------------------------------

GOOD = """
2.0.0.127.good.test A 127.0.0.2
9.0.0.127.good.test A 127.0.0.4
9.0.0.127.good.test TXT "caught by a trap"
*.world.test A 127.0.0.2
9.0.0.127.silent.test A 127.0.0.2
2.0.0.127.refused.test A 127.255.255.254
9.0.0.127.refused.test A 127.0.0.2
TEST.names.test A 127.0.0.2
bad.test.names.test A 127.0.0.2
bad.test A 192.0.2.1
9.0.0.127.in-addr.arpa PTR nine.test
nine.test A 127.0.0.9
"""


def test_a_zone_that_passes_counts():
    with Server(zone=GOOD, extra='verify { dnsbl "good.test" {} dnsbl "names.test" { type = name } }') as s:
        s.wait("dnsbl.zone-passed", zone="good.test", test="ipv4")
        s.wait("dnsbl.zone-without-ipv6", zone="good.test")
        s.wait("dnsbl.zone-passed", zone="names.test", test="name")
        assert first_rcpt(s, "127.0.0.9") == "550 5.7.1 127.0.0.9 is listed in good.test: caught by a trap"
        assert first_rcpt(s, "127.0.0.9", rcpt="postmaster@here.test").startswith("250")
        assert first_rcpt(s, "127.0.0.8").startswith("250")
        assert first_rcpt(s, "127.0.0.8", sender="x@bad.test").startswith("550 5.7.1 bad.test is listed in names.test")
        assert first_rcpt(s, "127.0.0.8", helo="bad.test").startswith("550 5.7.1 bad.test is listed in names.test")


@pytest.mark.parametrize("zone,why", [
    ("world.test", "it lists what no zone may list, perhaps the whole world"),
    ("silent.test", "it does not list the test entry"),
    ("refused.test", "it answers with an error: it may refuse this server's resolver"),
    ("broken.test", "DNS gave no answer"),
])
def test_a_zone_that_fails_is_not_used(zone, why):
    broken = "*.broken.test ANY SERVFAIL\n" + "".join(
        f"{n}.0.0.127.broken.test ANY SERVFAIL\n" for n in (1, 2, 9)) if zone == "broken.test" else ""
    with Server(zone=GOOD + broken, extra='verify { dnsbl "%s" {} }' % zone) as s:
        assert s.wait("dnsbl.zone-failed", zone=zone, test="ipv4")["why"] == why
        assert first_rcpt(s, "127.0.0.9").startswith("250")
        assert len(s.find("dnsbl.zone-failed", zone=zone, test="ipv4")) == 1


def test_a_name_that_many_could_write_is_no_allow_list():
    with Server(start=False) as s:
        s.configure(extra='verify { dnsbl "names.test" { type = name action = accept } }')
        done = s.run("check", "-c", str(s.file))
        assert done.returncode == 1 and 'names = {"ptr"}' in done.stdout


def test_a_confirmed_name_is_looked_up():
    zone = GOOD + "nine.test.names.test A 127.0.0.2\n"
    with Server(zone=zone, extra='verify { dnsbl "names.test" { type = name names = {"ptr"} action = quarantine } }') as s:
        s.wait("dnsbl.zone-passed", zone="names.test")
        with client_from(s, "127.0.0.9") as c:
            c.ask("EHLO x.test", 250)
            c.send_mail("x@far.test", "alice@here.test", "From: x@far.test\r\nSubject: named\r\n\r\nhello\r\n")
        assert b"named" in s.mail("alice@here.test", junk=True)[0]
        s.wait("message.judged", dnsbl="names.test", action="quarantine")


def test_verify_shows_the_zones(tmp_path):
    conf = 'verify { dnsbl "good.test" { codes = {"127.0.0.4-7"} } dnsbl "world.test" {} dnsbl "other.test" { test = no } }'
    with Server(zone=GOOD, extra=conf, start=False) as s:
        done = s.run("verify", "--ip", "127.0.0.9", "--helo", "x", "--mail-from", "", "--json", "-c", str(s.file),
                     "--resolver", s.dns.address, input="From: x@far.test\n\nhello\n")
        assert done.returncode == 0, done.stderr
        got = json.loads(done.stdout)
        assert got["dnsbl"] == [
            {"zone": "good.test", "listed": True, "reason": "caught by a trap"},
            {"zone": "world.test", "listed": False, "reason": "listed, but the zone fails its test and does not count"},
            {"zone": "other.test", "listed": False, "reason": None}]
        assert got["action"] == "reject" and "good.test" in got["action_reason"]


def test_explain_tells_the_lists():
    conf = ('verify { dnsbl "good.test" {} dnsbl "world.test" {} } deny "loud" { helo = {"loud.test"} } '
            'trust "us" { client = {"127.0.0.9"} skip = {"spf"} }')
    with Server(zone=GOOD, extra=conf, start=False) as s:
        done = s.run("explain", "--ip", "127.0.0.9", "--helo", "loud.test", "--mail-from", "x@absent.test", "-c", str(s.file),
                     "--rcpt-to", "alice@here.test", "--resolver", s.dns.address, input="From: x@far.test\n\nhello\n")
        for line in ('denied by "loud": helo loud.test', "good.test lists 127.0.0.9 with 127.0.0.4", "caught by a trap",
                     "world.test: not listed, or it does not count", "has neither MX nor address",
                     'trust "us" excuses it from spf', "ACTION\n  reject with 550 5.7.1"):
            assert line in done.stdout, done.stdout + done.stderr


# ---- deny -----------------------------------------------------------------------

def deny(server, *words, status=0):
    done = server.run("deny", *words, "-c", str(server.file))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_deny_works_while_the_server_runs():
    with Server(extra='deny "of the file" { helo = {"old.test"} }') as s:
        assert first_rcpt(s, "127.0.0.9").startswith("250")
        deny(s, "add", "client", "127.0.0.8/30", "--for", "1h", "--reply", "550 5.7.1 Your network, for an hour")
        deny(s, "add", "sender", "@Spam.test")
        assert first_rcpt(s, "127.0.0.9") == "550 5.7.1 Your network, for an hour"
        assert first_rcpt(s, "127.0.0.4").startswith("250")
        assert first_rcpt(s, "127.0.0.4", sender="a@spam.test").startswith("550 5.7.1")
        listed = json.loads(deny(s, "list", "--json"))
        assert [(e["kind"], e["value"], e["entry"]) for e in listed] == [
            ("helo", "old.test", "of the file"), ("client", "127.0.0.8/30", "run time"), ("sender", "@Spam.test", "run time")]
        assert listed[1]["until"] > 0 and listed[2]["until"] is None
        deny(s, "add", "client", "127.0.0.8/30", "--for", "2h")          # replaced, not twice
        assert first_rcpt(s, "127.0.0.9").startswith("550 5.7.1 Mail is refused here for your address")
        deny(s, "remove", "client", "127.0.0.8/30")
        assert first_rcpt(s, "127.0.0.9").startswith("250")
        deny(s, "remove", "client", "127.0.0.8/30", status=1)
        # A configuration with a fault keeps nobody from being denied.
        s.file.write_text(s.file.read_text() + "\n")
        deny(s, "add", "recipient", "bob@here.test")
        assert first_rcpt(s, "127.0.0.9", rcpt="bob@here.test").startswith("550 5.7.1")
        assert s.stop() == 0
        s.start()
        assert first_rcpt(s, "127.0.0.9", sender="a@spam.test").startswith("550 5.7.1")


def test_deny_wrong_words():
    with Server(start=False) as s:
        for words in (["add"], ["add", "client"], ["add", "nobody", "x"], ["add", "client", "1.2.3"], ["add", "sender", "*"],
                      ["add", "client", "192.0.2.1", "--until", "yesterday"], ["add", "client", "192.0.2.1", "--until", "2001-01-01"],
                      ["add", "client", "192.0.2.1", "--for", "0s"], ["remove", "client"], ["list", "x"], ["nonsense"], [],
                      ["add", "helo", "x", "--reply", "250 fine"]):
            deny(s, *words, status=2)
        assert deny(s, "list") == ""
        (s.dir / "state" / "deny").write_text("client\tnonsense\n")
        assert "deny:1" in s.run("deny", "list", "-c", str(s.file)).stderr


def test_nobody_is_asked_about_who_is_denied():
    zone = "denied.test MX 10 denied.test\nx.bad.test A 127.0.0.9\n9.0.0.127.in-addr.arpa PTR x.bad.test\n"
    extra = 'deny "ptr" { ptr = {".bad.test"} } verify { dnsbl "bl.test" { test = no } }'
    with Server(zone=zone, extra=extra) as s:
        assert first_rcpt(s, "127.0.0.9", sender="x@denied.test").startswith("550 5.7.1 Mail is refused here for the name")
        asked = [(q.name.lower(), q.type) for q in s.dns.questions]
        names = {n.rstrip(".") for n, _ in asked}
        assert "9.0.0.127.in-addr.arpa" in names
        assert not [n for n in names if n.endswith(("denied.test", "bl.test"))], names
        # Who lets go has them asked what they missed.
        with client_from(s, "127.0.0.9") as c:
            c.ask("EHLO client.test", 250)
            c.send_mail("x@denied.test", "postmaster@here.test", "From: x@denied.test\r\n\r\nwhy?\r\n")
        s.wait("message.judged", deny="ptr", sender="pass", dnsbl="clear")
        names = {q.name.lower().rstrip(".") for q in s.dns.questions}
        assert {"denied.test", "9.0.0.127.bl.test"} <= names


# ---- trust -----------------------------------------------------------------------

@pytest.mark.parametrize("entry,says", [
    ('sender = {"@friend.test"}', "anybody can write that name"),
    ('from = {"boss@friend.test"} client = {"192.0.2.1"} skip = {"spf"}', "anybody can write that name"),
    ('skip = {"spf"}', "nobody is trusted"),
    ('client = {"192.0.2.1"}', "nothing is skipped"),
    ('client = {"192.0.2.1"} skip = {"spv"}', "did you mean spf"),
    ('dkim-domain = {"friend"} skip = {"spf"}', "must be a domain"),
])
def test_what_cannot_be_trusted_is_a_fault(entry, says):
    with Server(start=False) as s:
        s.configure(extra='trust "x" { %s }' % entry)
        done = s.run("check", "-c", str(s.file))
        assert done.returncode == 1 and says in done.stdout, done.stdout


# The Ed25519 key of RFC 8463 A.2, published for tests.
KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
PEM = ("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
       "-----END PRIVATE KEY-----\n")


@pytest.mark.parametrize("trust,signer,list_id,action,override", [
    ("", "lists.test", "<dev.lists.test>", "quarantine", "mailing_list"),          # CONTRACT: a sign of an indirect way
    ('dkim-domain = {"lists.test"} skip = {"dmarc"}', "lists.test", "<dev.lists.test>", "accept", "mailing_list"),
    ('dkim-domain = {"lists.test"} skip = {"spf"}', "lists.test", "<dev.lists.test>", "quarantine", "mailing_list"),
    ('dkim-domain = {"lists.test"} skip = {"dmarc"}', "lists.test", "<dev.other.test>", "reject", None),   # not its list
    ('dkim-domain = {"lists.test"} skip = {"dmarc"}', "evil.test", "<dev.lists.test>", "reject", None),    # not its signature
])
def test_a_list_is_trusted_by_its_signature(trust, signer, list_id, action, override):
    zone = (f"s._domainkey.lists.test TXT {KEY}\ns._domainkey.evil.test TXT {KEY}\n"
            "_dmarc.author.test TXT v=DMARC1; p=reject\nlists.test MX 10 lists.test\n")
    with Server(zone=zone, extra='trust "lists" { %s }' % trust if trust else "", start=False) as s:
        pem = s.dir / "key.pem"
        pem.write_text(PEM)
        pem.chmod(0o644)
        message = f"From: a@author.test\nList-Id: {list_id}\nSubject: [dev] x\n\nhello\n-- \nfooter\n"
        signed = s.run("sign", "--domain", signer, "--selector", "s", "--key", str(pem), input=message)
        assert signed.returncode == 0, signed.stderr
        words = ["--ip", "192.0.2.1", "--helo", "x", "--mail-from", "bounce@lists.test", "-c", str(s.file), "--resolver", s.dns.address]
        got = json.loads(s.run("verify", *words, "--json", input=signed.stdout).stdout)
        assert (got["dmarc"]["result"], got["dmarc"]["disposition"], got["action"]) == ("fail", "reject", action), got
        story = s.run("explain", *words, input=signed.stdout).stdout
        assert (f"softened: {override}" in story) == (override is not None), story


def test_zones_come_and_go_at_reload():
    with Server(zone=GOOD + "2.0.0.127.late.test A SILENT\n") as s:
        s.configure(extra='verify { dnsbl "good.test" {} dnsbl "late.test" {} }')
        assert s.run("reload", "-c", str(s.file)).returncode == 0
        s.configure(extra='verify { dnsbl "good.test" {} }')             # while a test is out
        assert s.run("reload", "-c", str(s.file)).returncode == 0
        s.wait("dnsbl.zone-passed", zone="good.test", test="ipv4")
        assert first_rcpt(s, "127.0.0.9").startswith("550 5.7.1")
        mark = s.mark()
        assert s.run("reload", "-c", str(s.file)).returncode == 0
        s.wait("configuration.loaded", since=mark)
        assert first_rcpt(s, "127.0.0.9").startswith("550 5.7.1")        # what is known stays known
        assert not s.find("dnsbl.zone-passed", since=mark)
        s.configure(extra='verify { dnsbl "late.test" {} }')
        assert s.run("reload", "-c", str(s.file)).returncode == 0        # and it stops while a test is out
