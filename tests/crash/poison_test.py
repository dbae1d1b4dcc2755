# SPDX-License-Identifier: ISC
"""A message that ends the server whenever it is delivered: it is set aside after
two lives, everything else is delivered, and postmaster is told.

poison_shim.c makes the write that would carry its text, to a Maildir or to the
next hop, a segmentation fault.
"""
import json
import os
import pathlib
import re
import signal
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from nexthop import Hop  # noqa: E402
from server import PATIENCE, Server  # noqa: E402

SHIM = pathlib.Path(os.environ.get("POSTERN_BUILD", HERE.parents[1] / "build")) / "tests" / "crash" / "poison_shim.so"
POISON = "arsenic-and-old-lace"
LIVES = 5                       # more would be a crash loop


def house(sink, **how):
    s = Server(start=False, environment={"LD_PRELOAD": str(SHIM), "POISON": POISON}, **how,
               extra=f'relay {{ smarthost = "{sink.at}" }}')
    (s.dir / "aliases").write_text("away: someone@far.test\npostmaster: archive@here.test\n")
    return s


def text(token):
    return f"From: a@far.test\r\nSubject: {token}\r\n\r\nThis is {token}\r\n".encode()


def send_at_once(server, mails):
    """Of (rcpt, token), all whose 250 was heard; the server may die meanwhile."""
    clients = []
    for rcpt, token in mails:
        c = server.client()
        c.ask("EHLO client.test", 250)
        c.ask("MAIL FROM:<a@far.test>", 250)
        c.ask(f"RCPT TO:<{rcpt}@here.test>", 250)
        c.ask("DATA", 354)
        c.send(text(token))
        clients.append((c, rcpt, token))
    for c, _, _ in clients:
        c.send(b".\r\n")
    heard = [(rcpt, token) for c, rcpt, token in clients if c.hear().startswith("250")]
    for c, _, _ in clients:
        c.close()
    return heard


def dies(server):
    status = server.process.wait(PATIENCE)
    server.reader.join(PATIENCE)
    server.process.stderr.close()
    assert status == -signal.SIGSEGV, f"{status}:\n{server.log()}"


def live_until_set_aside(server):
    """Its id, and how many lives it took."""
    for life in range(1, LIVES):
        dies(server)
        since = server.mark()
        try:
            server.start()
        except AssertionError:
            pass                                # so soon
        aside = server.find("message.set-aside", since)
        if aside:
            return aside[0]["id"], life
    raise AssertionError("it dies and dies:\n" + server.log())


def queue(server, *words):
    done = server.run("queue", *words, "-c", str(server.file))
    assert done.returncode == 0, done.stderr
    return done.stdout


def subjects(messages):
    return [re.search(rb"^Subject: (.*?)\r?$", m, re.M).group(1).decode() for m in messages]


def texts(hop):
    return [m.text for m in hop.taken]


@pytest.mark.parametrize("rcpt, end", [("alice", "release"), ("away", "remove")])
def test_a_message_that_kills_is_set_aside(rcpt, end):
    sink = Hop()
    with house(sink) as s:
        s.start()
        heard = send_at_once(s, [("bob", "before-1"), (rcpt, POISON), ("bob", "before-2"), ("bob", "before-3"),
                                 ("away", "before-4"), ("away", "before-5")])
        id_, lives = live_until_set_aside(s)
        assert lives == 3                       # its first, and two that were marked

        # All others flow, those of before and new ones.
        send_at_once(s, [("bob", "after-1"), ("away", "after-2")])
        wanted = {t for r, t in [*heard, ("bob", "after-1")] if r == "bob"}
        s.until(lambda: wanted <= set(subjects(s.messages("bob@here.test"))), f"{wanted} in the mailbox")
        away = {t for r, t in [*heard, ("away", "after-2")] if r == "away" and t != POISON}
        s.until(lambda: away <= set(subjects(texts(sink))), f"{away} at the next hop")

        # It is held, counted, and told of.
        s.until(lambda: [m["id"] for m in json.loads(queue(s, "list", "--json"))] == [id_], "it alone in the queue")
        found = subjects(s.messages("bob@here.test"))
        assert sorted(set(found)) == sorted(found), "twice"
        assert "uncleanly" in queue(s, "list", "--json")
        letter = s.mail("archive@here.test")[0].decode()
        assert "Return-Path: <>" in letter and f"message {id_} was set aside" in letter
        assert all(f"queue {word} {id_}" in letter for word in ("show", "export", "release", "remove"))
        assert "aside" in s.run("status", "-c", str(s.file)).stdout
        assert POISON.encode() not in b"".join(s.messages("alice@here.test") + texts(sink))

        # A clean end and a new start change nothing, and tell nobody again.
        assert s.stop() == 0
        s.environment = {}
        since = s.mark()
        s.start()
        assert not s.find("message.set-aside", since)
        assert [m["id"] for m in json.loads(queue(s, "list", "--json"))] == [id_]
        assert len(s.messages("archive@here.test")) == 1
        assert POISON in queue(s, "export", id_)
        queue(s, end, id_)
        s.until(lambda: json.loads(queue(s, "list", "--json")) == [], "an empty queue")
        got = s.messages("alice@here.test") if rcpt == "alice" else texts(sink)
        assert subjects(got).count(POISON) == (end == "release")
