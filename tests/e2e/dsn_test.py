# SPDX-License-Identifier: ISC
"""What senders are told: RFC 3461 on both sides, reports as Python's email
package reads them, letters beyond ASCII, and who is told nothing."""
import contextlib
import email
import email.policy
import email.utils
import os
import re
import sys

import pytest

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")]
from nexthop import FINE, Hop  # noqa: E402
from server import Server  # noqa: E402

LONG = "x" * 80
BUECHER = "b\u00fccher.test"


def a_hop(caps=(), answers=None):
    """One that answers RCPT by `answers` (local part → reply)."""
    return Hop(lambda rcpt: (answers or {}).get(rcpt.partition("@")[0], FINE), caps=(*caps, "SIZE 1000000"))


@contextlib.contextmanager
def house(plain, able=None, options="", accounts=("alice@here.test",), **more):
    """Mail for able.test goes to `able`, all other to `plain`."""
    route = f'route "able" {{ to = {{"able.test"}} via = "{able.at}" tls = may }}' if able else ""
    with Server(accounts=accounts, extra=f'relay {{ smarthost = "{plain.at}" smarthost-tls = may retry-first = "1s" retry-most = "1s" {options} {route} }}',
                **more) as s:
        yield s
    plain.close()
    if able:
        able.close()


def submit(s, rcpt, mail="", text="From: alice@here.test\r\nMessage-ID: <one@here.test>\r\nSubject: hello\r\n\r\nthe body\r\n",
           who="alice@here.test", listener="submissions"):
    """`rcpt` and `mail`: the path with what stands behind it."""
    with s.client(listener) as c:
        c.ask("EHLO client.test", 250)
        if listener != "mx":
            c.login(who)
        c.ask(f"MAIL FROM:<{who}>{mail}", 250)
        c.ask(f"RCPT TO:{rcpt}", 250)
        c.ask("DATA", 354)
        c.send(text.encode() + b".\r\n")
        c.hear(250)
        return re.search(r"Queued as (\S+)", c.reply).group(1)


def is_report(raw):
    return b"multipart/report" in raw


def report(raw):
    """A notice by RFC 3464's rules: (whole, text, of the message, of each recipient, what came back)."""
    m = email.message_from_bytes(raw, policy=email.policy.default)
    assert not m.defects and m.get_content_type() == "multipart/report", m.defects
    assert m.get_param("report-type") == "delivery-status"
    assert m["Auto-Submitted"] and m["MIME-Version"] == "1.0" and m["Date"].datetime and "Return-Path" in m
    assert m["Return-Path"] == "<>" and m["From"].addresses[0].username == "postmaster"
    text, status, back = m.iter_parts()
    assert text.get_content_type() == "text/plain" and not text.defects
    assert status.get_content_type() in ("message/delivery-status", "message/global-delivery-status")
    first, *rcpts = status.get_payload()
    assert first["Reporting-MTA"] == "dns; mail.here.test" and email.utils.parsedate_to_datetime(first["Arrival-Date"])
    for r in rcpts:
        assert r["Final-Recipient"] and re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", r["Status"]), r
        assert r["Action"] in ("failed", "delayed", "delivered", "relayed", "expanded")
        assert email.utils.parsedate_to_datetime(r["Last-Attempt-Date"])
    return m, text.get_content(), first, rcpts, back


def reports(s, who="alice@here.test", n=1):
    s.until(lambda: sum(map(is_report, s.messages(who))) >= n, f"notice {n} for {who}")
    return [report(raw) for raw in s.messages(who) if is_report(raw)]


# ---- the parameters, asked of the server -------------------------------------------------------

MAIL_CASES = [
    (" RET=FULL", 250), (" RET=hdrs", 250), (" RET=SOME", 501), (" RET", 501), (" RET=", 501), (" RET=FULL RET=HDRS", 501),
    (" ENVID=QQ314159", 250), (" ENVID=a+2Bb", 250), (" ENVID=a+2bb", 501), (" ENVID=a+b", 501), (" ENVID=+0D+0A", 501),
    (" ENVID=", 501), (" ENVID=a ENVID=a", 501), (" ENVID=" + "x" * 100, 250), (" ENVID=" + "x" * 101, 501),
    (" NOTIFY=NEVER", 555), (" SMTPUTF8 RET=FULL ENVID=x BODY=8BITMIME", 250),
]
RCPT_CASES = [
    (" NOTIFY=NEVER", 250), (" NOTIFY=SUCCESS", 250), (" NOTIFY=success,FAILURE,Delay", 250), (" NOTIFY=NEVER,SUCCESS", 501),
    (" NOTIFY=FAILURE,NEVER", 501), (" NOTIFY=NEVER,NEVER", 501), (" NOTIFY=", 501), (" NOTIFY", 501), (" NOTIFY=SUCCESS,", 501),
    (" NOTIFY=OFTEN", 501), (" NOTIFY=DELAY NOTIFY=DELAY", 501), (" NOTIFY=SUCCESS, FAILURE", 501),
    (" ORCPT=rfc822;bob@far.test", 250), (" ORCPT=rfc822;b+2Bb@far.test", 250), (" ORCPT=rfc822;b+b@far.test", 501),
    (" ORCPT=rfc822;b=b@far.test", 501), (" ORCPT=rfc822;", 501), (" ORCPT=bob@far.test", 501), (" ORCPT=;bob", 501),
    (" ORCPT=rfc822;+00", 501), (" ORCPT=x400;/c=de/", 501), (" ORCPT=x400;/c+3Dde/", 250),
    (" ORCPT=rfc822;a ORCPT=rfc822;a", 501), (" ORCPT=rfc822;" + "x" * 493, 250), (" ORCPT=rfc822;" + "x" * 494, 501),
    (" ORCPT=utf-8;b\\x{FC}@far.test", 250), (" ORCPT=utf-8;b\\x{0A}@far.test", 501), (" ORCPT=utf-8;b\u00fc@far.test", 501),
    (" RET=FULL", 555),
]


def test_each_rule_of_the_parameters():
    with Server(accounts=("alice@here.test", "bob@here.test")) as s:
        wrong = []
        for text, code in MAIL_CASES + RCPT_CASES:
            with s.client("mx") as c:
                c.ask("EHLO client.test", 250)
                c.ask("MAIL FROM:<a@far.test>" + (text if (text, code) in MAIL_CASES else ""))
                if (text, code) in RCPT_CASES:
                    c.ask("RCPT TO:<alice@here.test>" + text)
                if not c.reply.startswith(str(code)):
                    wrong.append((text, code, c.reply))
        assert not wrong, wrong
        with s.client("mx") as c:
            c.ask("EHLO client.test", 250)
            c.ask("MAIL FROM:<a@far.test> SMTPUTF8", 250)
            c.ask("RCPT TO:<alice@here.test> ORCPT=utf-8;b\u00fc@far.test", 250)
            c.ask("RCPT TO:<bob@here.test> ORCPT=rfc822;b\u00fc@far.test", 501)


# ---- what goes on, and what comes back ----------------------------------------------------------

def test_a_hop_that_knows_dsn_gets_all_of_it():
    able = a_hop(caps=("DSN", "SMTPUTF8"))
    with house(a_hop(), able) as s:
        for rcpt in ("<x@able.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+2Bx@able.test", "<y@able.test> NOTIFY=NEVER",
                     "<z@able.test>", "<u@able.test> ORCPT=utf-8;b\\x{FC}+2B@able.test"):
            s.wait("delivery.sent", id=submit(s, rcpt, " RET=HDRS ENVID=QQ+2B1"))
        commands = [c for m in able.taken for c in m.commands]
        assert all(re.fullmatch(r"MAIL FROM:<alice@here.test> SIZE=\d+ RET=HDRS ENVID=QQ\+2B1", c) for c in commands[::2]), commands
        assert commands[1::2] == ["RCPT TO:<x@able.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+2Bx@able.test",
                                  "RCPT TO:<y@able.test> NOTIFY=NEVER", "RCPT TO:<z@able.test>",
                                  "RCPT TO:<u@able.test> ORCPT=utf-8;b\\x{FC}\\x{2B}@able.test"]
        assert not s.find("letter.sent") and not s.messages("alice@here.test")       # success is its to tell


def test_a_hop_without_dsn_is_told_of_success_alone():
    plain = a_hop()
    with house(plain) as s:
        for notify in ("", " NOTIFY=NEVER", " NOTIFY=FAILURE", " NOTIFY=DELAY,FAILURE"):
            s.wait("delivery.sent", id=submit(s, f"<x@far.test>{notify}", " RET=FULL ENVID=e1"))
        last = submit(s, "<w@far.test> NOTIFY=SUCCESS ORCPT=rfc822;was@old.test", " ENVID=e+2B2")
        s.wait("letter.sent", id=last)
        for commands, *_ in plain.taken:
            assert re.fullmatch(r"MAIL FROM:<alice@here.test> SIZE=\d+", commands[0]) and commands[1].endswith(".test>"), commands
        (whole, text, first, (rcpt,), back), = reports(s)
        assert first["Original-Envelope-Id"] == "e+2" and first["X-Postern-Queue-ID"] == last
        assert rcpt["Action"] == "relayed" and rcpt["Status"].startswith("2.") and rcpt["Remote-MTA"].startswith("dns; ")
        assert rcpt["Original-Recipient"] == "rfc822;was@old.test" and rcpt["Final-Recipient"] == "rfc822; w@far.test"
        assert rcpt["Diagnostic-Code"] == "smtp; 250 2.0.0 taken as peer-1"
        assert whole["In-Reply-To"] == whole["References"] == "<one@here.test>" and whole["Subject"] == "Relayed: hello"
        assert "handed on" in text and back.get_content_type() == "text/rfc822-headers" and b"the body" not in whole.as_bytes()
        s.wait("letter.sent")
        assert len(s.find("letter.sent")) == 1


def test_what_lies_in_a_mailbox_is_delivered_and_an_alias_is_expanded():
    with house(a_hop(), accounts=("alice@here.test", "bob@here.test")) as s:
        s.wait("letter.sent", id=submit(s, "<bob@here.test> NOTIFY=SUCCESS"))
        s.wait("letter.sent", id=submit(s, "<outer@here.test> NOTIFY=SUCCESS"))
        found = {r["Action"]: (r["Final-Recipient"], r["Original-Recipient"]) for _, _, _, rcpts, _ in reports(s, n=2) for r in rcpts}
        assert set(found) == {"delivered", "expanded"}, found
        assert found["delivered"][0] == "rfc822; bob@here.test" and found["expanded"][0] == "rfc822; outer@here.test", found


@pytest.mark.parametrize("ret,whole", [("", False), (" RET=HDRS", False), (" RET=FULL", True)])
def test_a_failure_names_who_said_what(ret, whole):
    plain = a_hop(answers={"gone": "550 5.1.1 no such user", "spam": "550 5.7.1 listed at zen.spamhaus.org", "dmarc": "550 5.7.26 no"})
    with house(plain) as s:
        ids = [submit(s, f"<{who}@far.test> NOTIFY=FAILURE", f"{ret} ENVID=x") for who in ("gone", "spam", "dmarc")]
        for i in ids:
            s.wait("bounce.sent", id=i)
        seen = {}
        for m, text, first, (rcpt,), back in reports(s, n=3):
            assert rcpt["Action"] == "failed" and m["To"] == "alice@here.test" and m["From"].addresses[0].domain == "here.test"
            assert rcpt["Remote-MTA"] == "dns; " + plain.at and first["Original-Envelope-Id"] == "x"
            assert m["In-Reply-To"] == "<one@here.test>"
            seen[rcpt["Final-Recipient"]] = (rcpt["Status"], rcpt["Diagnostic-Code"], re.search("What you can do: ([^.]*)", text)[1])
            if whole:
                assert back.get_content_type() == "message/rfc822" and back.get_payload(0).get_content() == "the body\r\n".replace("\r", "")
            else:
                assert back.get_content_type() == "text/rfc822-headers" and "Subject: hello" in back.get_content()
            assert (b"the body" in m.as_bytes()) == whole
        assert {k: v[:2] for k, v in seen.items()} == {
            "rfc822; gone@far.test": ("5.1.1", "smtp; 550 5.1.1 no such user"),
            "rfc822; spam@far.test": ("5.7.1", "smtp; 550 5.7.1 listed at zen.spamhaus.org"),
            "rfc822; dmarc@far.test": ("5.7.26", "smtp; 550 5.7.26 no"),
        }
        assert "typing errors" in seen["rfc822; gone@far.test"][2] and "block list" in " ".join(seen["rfc822; spam@far.test"][2].split())
        for n, i in enumerate(ids):                                    # the operator reads the matching sentence
            shown = s.run("queue", "show", i, "-c", str(s.file)).stdout
            assert ("what to do:" in shown) == (n > 0), shown


def test_delays_are_told_once_and_end():
    plain = a_hop(answers={"slow": "450 4.2.0 Greylisted, come back later"})
    with house(plain, options='delay-notice = "2s" give-up = "5s"') as s:
        number = submit(s, "<slow@far.test>")
        s.wait("bounce.sent", id=number)
        both = reports(s, n=2)
        delayed, failed = sorted(both, key=lambda r: r[3][0]["Action"])
        assert [r[3][0]["Action"] for r in (delayed, failed)] == ["delayed", "failed"] and len(s.find("notice.sent", id=number)) == 1
        rcpt = delayed[3][0]
        assert rcpt["Status"] == "4.2.0" and rcpt["Diagnostic-Code"].startswith("smtp; 450 4.2.0 Greylisted")
        assert email.utils.parsedate_to_datetime(rcpt["Will-Retry-Until"]) and "need not send it again" in " ".join(delayed[1].split())
        rcpt = failed[3][0]
        assert rcpt["Status"] == "5.4.7" and "450 4.2.0 Greylisted" in rcpt["Diagnostic-Code"] and rcpt["Will-Retry-Until"] is None


# ---- letters beyond ASCII -------------------------------------------------------------------------

UTF8_CASES = [      # far.test lacks SMTPUTF8, able.test has it
    # RCPT, Subject → what the hop hears, or the bounce's status
    ("<x@far.test>", "plain", "MAIL FROM:<alice@here.test>"),
    ("<x@far.test>", "gr\u00fc\u00dfe", "5.6.9"),
    ("<x@able.test>", "gr\u00fc\u00dfe", "MAIL FROM:<alice@here.test> SMTPUTF8"),
    ("<\u00fc@far.test>", "plain", "5.6.7"),
    ("<\u00fc@able.test>", "plain", "MAIL FROM:<alice@here.test> SMTPUTF8"),
    (f"<x@{BUECHER}>", "plain", "RCPT TO:<x@xn--bcher-kva.test>"),
]


def test_smtputf8_only_where_it_is_needed():
    plain, able = a_hop(), a_hop(caps=("SMTPUTF8",))
    with house(plain, able) as s:
        for rcpt, subject, heard in UTF8_CASES:
            far = able if "able" in rcpt else plain
            far.taken.clear()
            number = submit(s, rcpt, " SMTPUTF8", f"From: alice@here.test\r\nSubject: {subject}\r\n\r\nx\r\n")
            if heard[0] == "5":
                letter = s.wait("bounce.sent", id=number)["letter"]
                s.wait("delivery.delivered", id=letter)
                (_, _, _, (status,), back), = [r for r in reports(s) if r[2]["X-Postern-Queue-ID"] == number]
                assert status["Status"] == heard and not far.taken
                if subject != "plain":
                    assert back.get_content_type() == "message/global-headers"
                else:
                    assert status["Final-Recipient"] == "utf-8; \\x{FC}@far.test"
            else:
                s.wait("delivery.sent", id=number)
                (commands, _, text), = far.taken
                assert heard in [re.sub(r" SIZE=\d+", "", c) for c in commands] and f"Subject: {subject}\r\n".encode() in text
                assert ("SMTPUTF8" in " ".join(commands)) == heard.endswith("SMTPUTF8")


@pytest.mark.parametrize("caps,option,heard", [
    ((), "", "MAIL FROM:<alice@here.test>"), (("8BITMIME",), "", "MAIL FROM:<alice@here.test> BODY=8BITMIME"),
    (("8BITMIME",), "eight-bit = bounce", "MAIL FROM:<alice@here.test> BODY=8BITMIME"), ((), "eight-bit = bounce", None),
])
def test_eight_bits_to_who_lacks_them(caps, option, heard):
    far = a_hop(caps=caps)
    with house(far, options=option) as s:
        number = submit(s, "<x@far.test>", " BODY=8BITMIME", "From: alice@here.test\r\nMIME-Version: 1.0\r\n"
                        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngr\u00fc\u00dfe\r\n")
        if heard is None:
            s.wait("bounce.sent", id=number)
            (_, _, _, (status,), _), = reports(s)
            assert status["Status"] == "5.6.3" and not far.taken
        else:
            s.wait("delivery.sent", id=number)
            (commands, _, text), = far.taken
            assert re.sub(r" SIZE=\d+", "", commands[0]) == heard and text.endswith("\r\n\r\ngr\u00fc\u00dfe\r\n".encode())


# ---- who hears nothing -----------------------------------------------------------------------------

LIARS = """
liar.test TXT "v=spf1 -all"
liar.test A 127.0.0.9
strict.test A 127.0.0.9
_dmarc.strict.test TXT "v=DMARC1; p=quarantine"
"""
FORGED = "From: {0}\r\nSubject: buy\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <f@liar.test>\r\n\r\nx\r\n"


@pytest.mark.parametrize("who,author,option,told", [
    ("a@liar.test", "a@liar.test", "", False), ("a@liar.test", "a@liar.test", "notify-forged = yes", True),
    ("a@far.test", "a@far.test", "", True), ("a@far.test", "a@strict.test", "", False),      # quarantined by DMARC
])
def test_no_backscatter_to_forged_senders(who, author, option, told):
    plain = a_hop(answers={"someone": "550 5.1.1 no such user"})
    with house(plain, options=option, zone=LIARS) as s:
        number = submit(s, "<outer@here.test>", "", FORGED.format(author), who, "mx")
        bounced = s.wait("delivery.bounced", id=number)
        s.until(lambda: s.run("queue", "list", "-c", str(s.file)).stdout.startswith("The queue is empty"), "an empty queue")
        assert len(s.find("bounce.sent", id=number)) == told
        assert bounced.get("notice", "").startswith("none: the sender is most likely forged") == (not told)
