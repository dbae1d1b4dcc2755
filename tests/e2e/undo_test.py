# SPDX-License-Identifier: ISC
"""Mail that waits: the grace time of an account, what stops a message, the notice
whose answer does, and FUTURERELEASE (RFC 4865)."""
import datetime
import email
import email.policy
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import CONFIG, Server  # noqa: E402

GRACE = "submission { grace = 1h }"
OWN = CONFIG.replace('domain "office.test" {{', 'domain "office.test" {{\n\taccount "bob" {{ grace = 0s }}')


def session(s, who="alice@here.test"):
    c = s.client("submissions")
    c.ask("EHLO laptop.test", 250)
    c.login(who)
    return c


def send(c, rcpts="bob@here.test", subject="waits", sender="alice@here.test", code=250, extra="", params=""):
    c.ask(f"MAIL FROM:<{sender}>{params}", 250)
    for rcpt in [rcpts] if isinstance(rcpts, str) else rcpts:
        c.ask(f"RCPT TO:<{rcpt}>", 250)
    c.ask("DATA", 354)
    c.send(f"From: {sender or 'alice@here.test'}\r\n{extra}Subject: {subject}\r\n\r\nx\r\n.\r\n".encode())
    return c.hear(code)


def the_id(reply):
    return re.search(r"Queued as (\w+)", reply).group(1)


def queue(s, *words, status=0):
    done = s.run("queue", *words, "-c", str(s.file))
    assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def notice(s, who="alice@here.test", n=1):
    return email.message_from_bytes(s.mail(who, n)[-1], policy=email.policy.default)


def stop_address(mail):
    return mail["Reply-To"].addresses[0].addr_spec


def gone(s, ident):
    return all(m["id"] != ident for m in json.loads(queue(s, "list", "--json")))


def test_it_waits_and_the_operator_stops_it_or_sends_it_early():
    with Server(extra=GRACE.replace("1h", "1h grace-notice = no"), config=OWN) as s:
        with session(s) as c:
            reply = send(c, ["bob@here.test", "x@far.test"])
            first, second = the_id(reply), the_id(send(c))
        assert re.search(r"leaves at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", reply)
        listed = queue(s, "list")
        assert listed.count("in its grace time") == 3 and "queue remove" in listed
        shown = queue(s, "show", first)
        assert f"`postern queue remove {first}` stops it" in shown and "grace time" in shown
        told = json.loads(queue(s, "show", first, "--json"))
        assert told["waits_for"] == "grace" and told["not_before"] - told["arrived"] >= 3599
        # All is not meant, nor what a filter finds: its sender wants it to wait.
        assert queue(s, "flush") == "0 messages\n" and queue(s, "retry", "--to", "bob") == "0 messages\n"
        assert queue(s, "remove", first) == "1 message\n"
        assert gone(s, first)
        assert queue(s, "retry", second) == "1 message\n"
        assert b"Subject: waits" in s.mail("bob@here.test")[0]
        with session(s, "bob@office.test") as c:      # an account of its own mind
            assert "leaves at" not in send(c, sender="bob@office.test", subject="at once")
        assert any(b"at once" in m for m in s.mail("bob@here.test", 2))
        assert not s.messages("alice@here.test")


def test_a_reply_to_the_notice_stops_it_also_after_a_restart():
    with Server(extra=GRACE) as s:
        with session(s) as c:
            ident = the_id(send(c, ["bob@here.test", "x@far.test"], subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?="))
        mail = notice(s)
        assert mail["Auto-Submitted"] == "auto-generated" and mail["Subject"] == "Waits: Grüße"
        assert all(word in mail.get_content() for word in ("x@far.test", "reply to this mail", ident, "postern queue remove"))
        stop = stop_address(mail)
        assert re.fullmatch(rf"cancel\+{ident}-[a-z2-7]{{16}}@here\.test", stop)
        assert s.stop() == 0
        s.start()
        with s.client("mx") as c:                     # never from port 25, whoever it says it is
            c.ask("EHLO client.test", 250)
            for sender in ("a@far.test", ""):
                c.ask(f"MAIL FROM:<{sender}>", 250)
                c.ask(f"RCPT TO:<{stop}>", 550)
                c.ask("RSET", 250)
        with session(s, "bob@here.test") as c:        # not another account
            c.ask("MAIL FROM:<bob@here.test>", 250)
            c.ask(f"RCPT TO:<{stop}>", 550)
        with session(s) as c:
            c.ask("MAIL FROM:<alice@here.test>", 250)
            other = "b" if stop[-11] == "a" else "a"
            c.ask(f"RCPT TO:<{stop[:-11]}{other}{stop[-10:]}>", 550)      # nor is one guessed
            c.ask("RSET", 250)
            assert "5.7.1" in send(c, stop, extra="Auto-Submitted: auto-replied\r\n", code=550)
            assert "5.7.1" in send(c, stop, sender="", code=550)
            assert not gone(s, ident)
            assert "stopped" in send(c, stop.upper(), subject="Re: Waits")
            assert gone(s, ident)
            assert "stopped" in send(c, stop)         # once more does no harm
        s.wait("cancel.granted", message=ident, login="alice@here.test")
        s.wait("message.stopped", id=ident, by="sender")
        shown = queue(s, "show", ident)
        assert "stopped by its sender" in shown and "removed" in shown
        assert not s.messages("bob@here.test") and len(s.messages("alice@here.test")) == 1


def test_what_has_left_is_said_and_others_get_their_copy():
    with Server(extra=GRACE) as s, session(s) as c:
        first = the_id(send(c))
        stop = stop_address(notice(s))
        queue(s, "retry", first)
        s.mail("bob@here.test")
        s.until(lambda: gone(s, first), "its end")
        assert "has left already" in send(c, stop, code=550)
        s.wait("cancel.refused", message=first)
        second = the_id(send(c, subject="another"))
        stop = stop_address(notice(s, n=2))
        third = the_id(send(c, [stop, "bob@here.test"], subject="Re: another"))
        assert gone(s, second) and not gone(s, third)
        # The copy waits, too, and has a notice of its own; notices have none.
        assert len(s.mail("alice@here.test", 3)) == 3
        assert all(not m["own"] for m in json.loads(queue(s, "list", "--json")))


def test_an_early_try_cannot_be_called_back():
    with Server(extra=GRACE) as s, session(s) as c:
        (s.dir / "mail" / "office.test").touch()      # nothing can be delivered there
        ident = the_id(send(c, "bob@office.test"))
        stop = stop_address(notice(s))
        queue(s, "retry", ident)
        s.wait("delivery.deferred", id=ident)
        assert "has left already" in send(c, stop, code=550)
        assert s.stop() == 0
        s.start()
        with session(s) as again:
            assert "has left already" in send(again, stop, code=550)
        assert not gone(s, ident)


def test_a_short_grace_ends_by_itself():
    with Server(extra="submission { grace = 2s grace-notice = yes }") as s, session(s) as c:
        began = time.time()
        ident = the_id(send(c))
        assert stop_address(notice(s))
        assert b"Subject: waits" in s.mail("bob@here.test")[0]
        assert time.time() - began >= 1
        s.wait("message.waits", id=ident, why="grace")


def utc(ahead):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_future_release():
    with Server(extra='submission { future-release = 1d }') as s:
        with s.client("mx") as c:
            assert "FUTURERELEASE" not in c.ask("EHLO client.test", 250)
            assert "5.5.4" in c.ask("MAIL FROM:<a@far.test> HOLDFOR=10", 555)
        with s.client("submissions") as c:
            before = utc(86400)
            offered = re.search(r"FUTURERELEASE (\d+) (\S+Z)", c.ask("EHLO laptop.test", 250))
            assert offered.group(1) == "86400" and before[:10] <= offered.group(2)[:10] <= utc(86400)[:10]
            c.login("alice@here.test")
            for wrong in ("HOLDFOR=86401", "HOLDUNTIL=" + utc(90000), "HOLDUNTIL=" + utc(-60), "HOLDFOR=0",
                          "HOLDFOR=10 HOLDUNTIL=" + utc(60), "HOLDUNTIL=tomorrow"):
                assert "5.5.4" in c.ask("MAIL FROM:<alice@here.test> " + wrong, 501)
            tomorrow = the_id(send(c, params=" HOLDFOR=86400", subject="tomorrow"))
            hour = the_id(send(c, params=" HOLDUNTIL=" + utc(3600).replace("Z", ".5+00:00"), subject="an hour"))
        assert s.wait("message.waits", id=tomorrow)["why"] == "asked for"
        told = {m["id"]: m for m in json.loads(queue(s, "list", "--json"))}
        assert told[tomorrow]["waits_for"] == "future-release"
        assert abs(told[tomorrow]["not_before"] - time.time() - 86400) < 120
        assert abs(told[hour]["not_before"] - time.time() - 3600) < 120
        assert "as its sender's mail program asked for" in queue(s, "show", tomorrow)
        stops = {mail["Subject"]: stop_address(mail) for mail in
                 (email.message_from_bytes(m, policy=email.policy.default) for m in s.mail("alice@here.test", 2))}
        with session(s) as c:
            assert "stopped" in send(c, stops["Waits: tomorrow"])
        assert gone(s, tomorrow) and not gone(s, hour)


def test_none_is_offered_and_faults_are_said():
    with Server(extra="submission { future-release = 0s }") as s, s.client("submissions") as c:
        assert "FUTURERELEASE" not in c.ask("EHLO laptop.test", 250)
        c.login("alice@here.test")
        c.ask("MAIL FROM:<alice@here.test> HOLDFOR=10", 555)
        s.configure(extra="submission { grace = soon grace-notice = perhaps }")
        done = s.run("check", "-c", str(s.file))
        assert done.returncode == 1 and "grace" in done.stdout and "grace-notice" in done.stdout
