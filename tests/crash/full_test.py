# SPDX-License-Identifier: ISC
"""The map never fills: new mail hears 452 4.3.1 at nine tenths of it, while what
is there goes on – deferrals, deliveries, bounces, removals – and new mail is
taken again by itself when there is room.  (A full disk: e2e/life_test.py.)"""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from nexthop import Hop  # noqa: E402
from waiting import a_server, listed, queue, send  # noqa: E402

MIB = 1 << 20
SIZE = 16 * MIB
CONFIGURED = """queue {{ size = "16 MiB" }}
relay {{ smarthost = "{hop.at}" smarthost-tls = may retry-first = "1s" retry-most = "1s" }}
"""


def offer(s, subject, size, rcpt="late@closed.test"):
    """Its id, or the refusal."""
    with s.client() as c:
        c.ask("EHLO client.test", 250)
        for line in ("MAIL FROM:<a@far.test>", f"RCPT TO:<{rcpt}>", "DATA"):
            if not c.ask(line)[0] in "23":
                return c.reply
        c.send(f"From: a@far.test\r\nSubject: {subject}\r\n\r\n" + f"{subject} line by line\r\n" * (size // 40) + ".\r\n")
        c.hear()
        return re.search(r"Queued as (\S+)", c.reply).group(1) if c.reply.startswith("250") else c.reply


def fill(s):
    """Sends until it hears that there is no room: the ids, and the refusal."""
    ids = []
    while len(ids) < 1000:
        heard = offer(s, f"waits-{len(ids)}", 100_000)
        if heard.startswith("4"):
            return ids, heard
        ids.append(heard)
    raise AssertionError("it takes everything")


def status(s):
    return json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)


def test_the_map_never_fills():
    hop = Hop("450 4.2.0 come back later")
    with a_server(extra=CONFIGURED.format(hop=hop)) as s:
        with s.client("submissions") as c:
            c.ask("EHLO x", 250)
            c.login("alice@here.test")
            c.send_mail("alice@here.test", "x@far.test", "From: alice@here.test\r\nSubject: goes back\r\n\r\nx\r\n")
        ids, refusal = fill(s)
        assert refusal.startswith("452 4.3.1 "), refusal
        s.wait("queue.full", what="map")
        used = status(s)["store_used"]
        assert SIZE * 0.8 < used <= SIZE * 0.9, used

        # Above the line, fates go on: deferrals are written, …
        since = s.mark()
        queue(s, "retry", "--all")
        for id_ in ids:
            s.wait("delivery.deferred", since=since, id=id_)
        # … a notice of ours is stored and delivered, …
        hop.answer = "550 5.1.1 nobody of that name"
        queue(s, "retry", "--all")
        assert b"nobody of that name" in s.mail("alice@here.test")[0]
        assert offer(s, "no-room", 250_000).startswith("452 4.3.1 ")
        assert not s.find("queue.freed")
        # … messages are removed, and the room is used again though the file is as long as before.
        length = os.stat(s.dir / "state" / "queue" / "queue.mdb").st_blocks
        for id_ in ids[:10]:
            queue(s, "remove", id_)
        s.wait("queue.freed", what="map")
        again = [offer(s, f"again-{i}", 100_000, "alice@here.test") for i in range(5)]
        assert all(re.fullmatch(r"[0-9a-z_]{11}", a) for a in again), again
        s.mail("alice@here.test", 6)
        assert os.stat(s.dir / "state" / "queue" / "queue.mdb").st_blocks <= length + 256

        # Full again, everything is delivered from there, and a new start changes nothing.
        more, refusal = fill(s)
        assert refusal.startswith("452 4.3.1 ")
        assert s.stop() == 0
        s.start()
        assert offer(s, "no-room", 250_000).startswith("452 4.3.1 ")
        (s.dir / "mail" / "closed.test").unlink()
        queue(s, "retry", "--all")
        assert len(s.mail("late@closed.test", len(ids) - 10 + len(more))) == len(ids) - 10 + len(more)
        s.until(lambda: not listed(s), "an empty queue")
        assert "nothing is wrong" in queue(s, "check").stdout
        send(s, "alice@here.test", "the-last", 100_000)
        s.mail("alice@here.test", 7)
    hop.close()
