# SPDX-License-Identifier: ISC
"""A stolen password: what the thief sends is held beyond the account's allowance,
those it concerns are told, and one command decides for all of it."""
import json
import os
import re
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from nexthop import FINE, Hop  # noqa: E402
from server import Server  # noqa: E402

MANY = 10000 if os.environ.get("POSTERN_LONG") else 1500
BATCH = 50


def house(sink, extra=""):
    return Server(extra=f'relay {{ smarthost = "{sink.at}" smarthost-tls = may }}\n{extra}')


def thief(s, who="bob@here.test"):
    c = s.client("submissions")
    c.ask("EHLO thief", 250)
    c.login(who)
    return c


def send(c, first, n, who="bob@here.test", rcpt="victim{}@far.test"):
    """n messages with BDAT, several in one go; each is answered 250."""
    message = f"From: {who}\r\nSubject: offer\r\n\r\nbuy\r\n".encode()
    for at in range(first, first + n, BATCH):
        batch = range(at, min(at + BATCH, first + n))
        c.send(b"".join(b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nBDAT %d LAST\r\n%s" %
                        (who.encode(), rcpt.format(i).encode(), len(message), message) for i in batch))
        for _ in batch:
            for _ in range(3):
                c.hear(250)


def held(s):
    done = s.run("queue", "list", "--state", "breaker", "--json", "-c", str(s.file))
    assert done.returncode == 0, done.stderr
    return len([m for m in json.loads(done.stdout) if m["sender"] == "bob@here.test"])


def at_rest(s):
    """What became of the tries is committed, so nothing is on its way."""
    return json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)["leased"] == 0


def account(s, *words, status=0):
    done = s.run("account", *words, "-c", str(s.file))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def run_of_many(s, n, rcpt):
    """As a thief would: over and over, with several connections."""
    faults = []

    def one(first, count):
        try:
            while count > 0:
                with thief(s) as c:
                    send(c, first, min(count, 500), rcpt=rcpt)
                first, count = first + 500, count - 500
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=one, args=(k * n // 2, n // 2)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults, faults


def test_a_stolen_account_sends_less_than_its_limit():
    sink = Hop()
    with house(sink) as s:
        run_of_many(s, MANY, "victim{}@far.test")
        s.wait("account.gathered", account="bob@here.test")
        s.until(lambda: len(sink.taken) + len(s.find("message.held")) == MANY, "everything sent or held")
        stopped = len(s.find("message.held"))
        assert len(sink.taken) <= 100 and held(s) == stopped
        assert len(s.find("account.held")) == 1
        # The owner and the postmaster (here the first account) are told once.
        told = s.mail("bob@here.test") + s.mail("alice@here.test")
        assert len(told) == 2 and all(b"postern account release bob@here.test" in m for m in told)
        assert b"from the address 127.0.0." in told[0] and b"never wrote to before" in told[0]
        # Others are not concerned.
        with thief(s, "alice@here.test") as c:
            send(c, 0, 1, "alice@here.test", "friend@far.test")
        s.until(lambda: len(sink.taken) + stopped == MANY + 1, "another account's message")

        # Who asks is told which account, why, since when, and what to do.
        mine = next(a for a in json.loads(account(s, "list", "--json")) if a["address"] == "bob@here.test")["breaker"]
        assert mine["state"] == "held" and "of which 100 are allowed" in mine["why"] and "release bob@here.test" in mine["next"]
        assert re.match(r"\d{4}-\d\d-\d\dT", mine["since"])
        line = next(x for x in account(s, "list").splitlines() if x.startswith("bob@here.test"))
        assert "held since " in line and mine["why"] in line and "drop throws it away" in line
        assert [x for x in account(s, "list").splitlines() if x.startswith("alice@here.test") and "held" not in x]
        told = json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)["accounts_held"]
        assert [(t["account"], t["state"], t["why"]) for t in told] == [("bob@here.test", "held", mine["why"])]
        assert "account    bob@here.test is held for " in s.run("status", "-c", str(s.file)).stdout

        # Locked: the open session ends, no other begins; what is held can be thrown away.
        with thief(s) as c:
            account(s, "lock", "bob@here.test")
            assert c.ask("NOOP")[:3] in ("421", "")
        with s.client("submissions") as c:
            c.ask("EHLO thief", 250)
            c.ask("AUTH PLAIN AGJvYkBoZXJlLnRlc3QAc2VjcmV0", 535)
        assert f"{stopped} messages" in account(s, "drop", "bob@here.test")
        s.until(lambda: held(s) == 0, "an empty queue")
        s.stop()
        s.start()
        with s.client("submissions") as c:       # still locked in the next life
            c.ask("EHLO thief", 250)
            c.ask("AUTH PLAIN AGJvYkBoZXJlLnRlc3QAc2VjcmV0", 535)
        assert "locked since " in account(s, "list") and "postern account lock" in account(s, "list")
        account(s, "release", "bob@here.test")
        assert json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)["accounts_held"] == []
        with thief(s) as c:
            send(c, 0, 1)
        s.until(lambda: len(sink.taken) + stopped == MANY + 2, "a message of the account that may send again")
    sink.close()


def test_the_day_has_an_end_for_one_recipient_too():
    sink = Hop()
    with house(sink, 'allowance { messages-day = 40 }') as s:
        with thief(s) as c:
            send(c, 0, 60, rcpt="one@far.test")
        assert s.wait("account.held")["what"] == "messages in a day"
        s.wait("account.gathered")
        s.until(lambda: len(sink.taken) + held(s) == 60, "each sent or held")
        assert 20 <= held(s)                     # those beyond forty, and what still waited
        assert f"{held(s)} messages" in account(s, "release", "bob@here.test")
        s.until(lambda: len(sink.taken) == 60, "the rest at the next hop")
        with thief(s) as c:                      # the counting began again
            send(c, 0, 40, rcpt="one@far.test")
        s.until(lambda: len(sink.taken) == 100, "forty more at the next hop")
    sink.close()


def test_counters_outlive_the_server():
    sink = Hop()
    with house(sink, 'allowance { new-recipients-hour = 10 messages-day = 0 recipients-day = 0 }') as s:
        with thief(s) as c:
            send(c, 0, 8)
        s.stop()
        s.start()
        with thief(s) as c:
            send(c, 0, 8)                        # known by now
            assert not s.find("account.held")
            s.until(lambda: len(sink.taken) == 16, "what was allowed at the next hop")
            send(c, 100, 3)
        s.wait("account.gathered")
        s.until(lambda: len(sink.taken) + held(s) == 19, "the last ones sent or held")
        was = held(s)
        assert 1 <= was <= 3
        s.stop()
        s.start()
        with thief(s) as c:
            send(c, 0, 1)                        # held until somebody decides
        assert held(s) == was + 1
    sink.close()


def test_what_waits_already_is_held_too():
    sink = Hop("450 4.7.1 greylisted")
    with house(sink, 'allowance { messages-day = 5 }') as s:
        with thief(s, "alice@here.test") as c:
            send(c, 0, 1, "alice@here.test")
        with thief(s) as c:
            send(c, 0, 5)
            s.until(lambda: len(s.find("delivery.deferred")) == 6, "five that wait, and another account's")
            s.until(lambda: at_rest(s), "all of them at rest")
            send(c, 5, 1)
        assert s.wait("account.gathered")["messages"] == "5"
        assert held(s) == 6
        show = s.run("queue", "list", "--state", "breaker", "--json", "-c", str(s.file)).stdout
        assert {m["login"] for m in json.loads(show)} == {"bob@here.test"} and all(m["breaker"] for m in json.loads(show))
        one = json.loads(show)[0]["id"]
        assert "postern account release bob@here.test" in s.run("queue", "show", one, "-c", str(s.file)).stdout
        sink.answer = FINE
        assert "6 messages" in account(s, "release", "bob@here.test")
        s.until(lambda: len(sink.taken) == 6, "the six at the next hop")

        # Locked by hand: what waits is held with it, so that `drop` is about all of it.
        sink.answer = "450 4.7.1 greylisted"
        with thief(s) as c:
            send(c, 0, 2)
        s.until(lambda: len(s.find("delivery.deferred")) == 8 and at_rest(s), "two that wait")
        account(s, "lock", "bob@here.test")
        assert held(s) == 2
        assert "2 messages" in account(s, "drop", "bob@here.test")
    sink.close()


def test_an_account_may_have_an_allowance_of_its_own():
    sink = Hop()
    with Server(start=False) as s:
        text = s.file.read_text().replace('domain "here.test" {', 'domain "here.test" {\n\taccount "bob" { allowance { recipients-message = 2 } }')
        s.file.write_text(text + f'\nrelay {{ smarthost = "{sink.at}" smarthost-tls = may }}\n')
        s.start()
        for who in ("alice@here.test", "bob@here.test"):
            with thief(s, who) as c:
                c.send_mail(who, [f"v{i}@far.test" for i in range(3)], f"From: {who}\r\nSubject: x\r\n\r\nx\r\n")
        s.wait("account.held", account="bob@here.test", what="recipients of one message")
        assert len(s.find("account.held")) == 1
    sink.close()


def test_bounces_above_a_share():
    sink = Hop("550 5.1.1 nobody of that name")
    with house(sink, 'allowance { bounces = 50 }') as s:
        with thief(s) as c:
            send(c, 0, 25)
        s.wait("account.held", what="percent of a day's recipients whose mail came back")
        s.wait("account.gathered")
        before = held(s)                         # the last of them, where bounces were quicker
        with thief(s) as c:
            send(c, 50, 1)
        assert held(s) == before + 1 <= 6
    sink.close()


def test_send_as():
    with Server(start=False) as s:
        text = s.file.read_text().replace('domain "here.test" {', 'domain "here.test" {\n\taccount "bob" { send-as = {"info@here.test", "@office.test"} }')
        s.file.write_text(text)
        s.start()
        with thief(s) as c:
            for sender, code in (("bob@here.test", 250), ("bob+x@here.test", 250), ("info@here.test", 250), ("any@office.test", 250),
                                 ("alice@here.test", 550), ("info@far.test", 550), ("", 250)):
                c.ask(f"MAIL FROM:<{sender}>", code)
                if code == 550:
                    assert "bob@here.test" in c.reply and sender in c.reply and "5.7.1" in c.reply
                c.ask("RSET", 250)
            c.send_mail("info@here.test", "alice@here.test", "From: any@office.test\r\nSender: info@here.test\r\n\r\nx\r\n")
            c.send_mail("", "alice@here.test", "From: alice@here.test\r\n\r\nx\r\n", 550)


def test_the_verbs_say_what_is_wrong():
    with Server() as s:
        done = s.run("account", "release", "nobody@here.test", "-c", str(s.file))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("postern account: release: nobody@here.test is no account here")
        assert "needs an address" in account(s, "lock", status=2)
        s.stop()
        assert "start it" in account(s, "drop", "bob@here.test", status=75)
        s.start()
