# SPDX-License-Identifier: ISC
"""Two posterns that send each other what they cannot deliver: it ends."""
import contextlib
import os
import re
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")]
from ports import free_port  # noqa: E402
from server import CONFIG, Server  # noqa: E402


@contextlib.contextmanager
def two(here_aliases, there_aliases):
    """here.test and there.test, each of which sends all that is not its own to the other."""
    near = far = free_port()
    while far == near:
        far = free_port()
    zone = 'there.test TXT "v=spf1 a:client.test -all"\nthere.test A 127.0.0.9\nhere.test A 127.0.0.9\n'

    def one(config, port, other, aliases, accounts):
        s = Server(start=False, zone=zone, accounts=accounts, config=config.replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"'),
                   extra=f'relay {{ smarthost = "127.0.0.1:{other}" smarthost-tls = may retry-first = "1s" retry-most = "1s" }}')
        with open(s.dir / "aliases", "a") as f:
            f.write(aliases)
        return s

    there = CONFIG.replace("here.test", "there.test").replace("office.test", "lab.test")
    with contextlib.ExitStack() as stack:
        a = stack.enter_context(one(CONFIG, near, far, here_aliases, ("alice@here.test",)))
        b = stack.enter_context(one(there, far, near, there_aliases, ("alice@there.test",)))
        a.start()
        b.start()
        yield a, b


def send(s, sender, rcpt, times=1):
    for _ in range(times):
        with s.client() as c:
            c.ask("EHLO client.test", 250)
            c.send_mail(sender, rcpt, f"From: <{sender or 'x@there.test'}>\r\nSubject: round\r\n\r\nx\r\n")


def rest(*servers):
    """Until nothing moves: every queue empty, and no message stored between two looks at all of them."""
    def quiet():
        before = [s.mark() for s in servers]
        empty = all(s.run("queue", "list", "-c", str(s.file)).stdout.startswith("The queue is empty") for s in servers)
        return empty and all(not s.find("message.stored", since=n) for s, n in zip(servers, before))
    servers[0].until(quiet, "the end of the loop")
    return [len(s.find("message.stored")) for s in servers]


RING = ("pong: ping@there.test\n", "ping: pong@here.test\n")


def test_a_ring_of_aliases_ends_with_its_sender_in_it():
    with two(*RING) as (a, b):
        send(a, "ping@there.test", "pong@here.test")
        stored = rest(a, b)
        assert sum(stored) <= 12, stored
        assert a.find("delivery.bounced") + b.find("delivery.bounced")


def test_a_forged_null_sender_in_the_ring_ends():
    with two(*RING) as (a, b):
        send(a, "", "pong@here.test")
        stored = rest(a, b)
        assert sum(stored) <= 6, stored
        # Neither wrote it, so nobody is told: no bounce of a bounce.
        told = a.find("bounce.sent") + b.find("bounce.sent")
        assert not told, [e.line for e in told]


def test_two_that_bounce_at_each_other_stop():
    """The message fails there, its bounce fails here, and each postmaster leads to the other."""
    with two("gone: nobody@there.test\npostmaster: nobody@there.test\n",
             "gone: nobody@here.test\npostmaster: nobody@here.test\n") as (a, b):
        send(a, "gone@there.test", "gone@here.test", times=3)
        send(b, "gone@here.test", "gone@there.test", times=3)
        stored = rest(a, b)
        # Each message: itself, its bounce, that one's way through the alias there, the postmaster's at most.
        assert sum(stored) <= 6 * 4, stored
        for s in (a, b):
            assert len(s.find("bounce.sent")) <= 12
            assert re.search("none: the sender is empty", s.log()), s.log()
