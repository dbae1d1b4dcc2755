# SPDX-License-Identifier: ISC
"""Bounces end: one that cannot be delivered goes to the postmaster once, and
what cannot be delivered there either is dropped with a line in the log."""
import email
import email.policy
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from nexthop import Hop  # noqa: E402
from server import Server  # noqa: E402
from waiting import listed  # noqa: E402


def forwarded(s):
    """A stranger's message to an alias that leads outside: its id."""
    with s.client() as c:
        c.ask("EHLO client.test", 250)
        c.send_mail("a@far.test", "outer@here.test", "From: a@far.test\r\nSubject: round trip\r\n\r\nx\r\n")
        return re.search(r"Queued as (\S+)", c.reply).group(1)


def house(peer, aliases=""):
    s = Server(start=False, extra=f'relay {{ smarthost = "{peer.at}" smarthost-tls = may retry-first = "1s" }}')
    with open(s.dir / "aliases", "a") as f:
        f.write(aliases)
    return s.start()


def empty(s):
    s.until(lambda: not listed(s), "an empty queue")


def test_a_double_bounce_goes_to_the_postmaster_once():
    peer = Hop("550 5.1.1 nobody of that name")
    with house(peer) as s:
        original = forwarded(s)
        s.wait("bounce.sent", id=original)
        s.wait("delivery.bounced", notice="to postmaster: it was a notice of ours")
        empty(s)
        mail = [email.message_from_bytes(m, policy=email.policy.default) for m in s.mail("alice@here.test", 2)]
        notice = [m for m in mail if m.get_content_type() == "multipart/report"]
        assert len(notice) == 1 and notice[0]["To"] == "postmaster@here.test", [m.as_string() for m in mail]
        status = str(notice[0].get_payload(1))
        assert "Final-Recipient: rfc822; " in status and "550 5.1.1 nobody of that name" in status, status
        assert notice[0]["Auto-Submitted"] and "Return-Path: <>" in notice[0].as_string()
        assert len(s.find("bounce.sent")) == 2
    peer.close()


def test_what_the_postmaster_cannot_get_is_dropped():
    peer = Hop("550 5.1.1 nobody of that name")
    with house(peer, "postmaster: chief@far.test\n") as s:
        forwarded(s)
        s.wait("delivery.bounced", notice="none: the sender is empty, so nobody is told")
        empty(s)
        assert len(s.find("bounce.sent")) == 2
        assert len(s.find("message.stored")) == 3            # the message, its bounce, the postmaster's
    peer.close()
