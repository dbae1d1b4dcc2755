# SPDX-License-Identifier: ISC
"""100,000 messages are queued for a destination that is dead.

The server starts in less than a second of its own time, then hardly uses the
processor, and all other mail is as fast as with an empty queue.  And the crowd
at a healthy destination: results are committed in groups, and delivery keeps up
with acceptance.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
from datetime import datetime

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from nexthop import Hop  # noqa: E402
from ports import free_port  # noqa: E402
from server import PATIENCE, Server  # noqa: E402

BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", HERE.parents[1] / "build"))
FILLER = BUILD / "tests" / "unit" / "queue" / "crowd_test"
LOAD = BUILD / "tests" / "bench" / "load"
MANY, FEW, TURNS, STREAM = 100_000, 60, 6, 2000
ZONE = """
dead.test MX 10 mx.dead.test
mx.dead.test A 127.0.0.9
"""
CONFIGURED = """relay {{ port = {closed} route "healthy" {{ to = {{"far.test"}} via = "127.0.0.1:{sink}" tls = may }} }}
"""


def a_server(sink):
    return Server(start=False, zone=ZONE, extra=CONFIGURED.format(closed=free_port(["127.0.0.9"]), sink=sink.port))


def filled(s):
    """The store of a server with that crowd in it."""
    state = s.dir / "state"
    subprocess.run([FILLER, "fill", state, str(MANY), "x@dead.test"], check=True, timeout=6 * PATIENCE)
    for path in [state, *state.rglob("*")]:
        if s.as_user:
            os.chown(path, s.as_user["user"], s.as_user["group"])


def cpu_seconds(s):
    fields = pathlib.Path(f"/proc/{s.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status(s):
    return json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)


def at(event):
    return datetime.fromisoformat(event.line.split()[0]).timestamp()


def one(c, rcpt, subject):
    c.send_mail("a@far.test", rcpt, f"From: a@far.test\r\nSubject: {subject}\r\n\r\nx\r\n")
    return re.search(r"Queued as (\S+)", c.reply).group(1)


def some_mail(s, n):
    """To alice, and to someone@far.test, until it is there."""
    with s.client() as c:
        c.ask("EHLO client.test", 250)
        ids = [one(c, "outer@here.test", f"m-{i}") for i in range(n)]
    s.until(lambda: sum(e["id"] in ids for e in ends(s)) == 2 * n, f"{2 * n} deliveries")


def ends(s):
    return [e for name in ("delivery.delivered", "delivery.sent") for e in s.find(name)]


def latencies(*servers):
    """ms from "stored" to "delivered", of each server: sorted, of mail to a mailbox, and to a next hop.
    They take turns, so that what else the machine does concerns them alike."""
    for _ in range(TURNS):
        for s in servers:
            some_mail(s, FEW // TURNS)
    for s in servers:
        stored = {e["id"]: at(e) for e in s.find("message.stored")}
        took = {"alice@here.test": [], "someone@far.test": []}
        for e in ends(s):
            took[e["to"]].append((at(e) - stored[e["id"]]) * 1000)
        yield {k: sorted(v) for k, v in took.items()}


def test_many_for_a_dead_destination():
    sink = Hop(caps=("PIPELINING",), host="127.0.0.1")
    with a_server(sink) as empty, a_server(sink) as s:
        empty.start()
        filled(s)
        begun = time.monotonic()
        s.start()
        took, cpu = time.monotonic() - begun, cpu_seconds(s)
        print(f"started in {took:.2f} s, {cpu:.2f} s of the processor")
        assert cpu < 1.0
        assert status(s)["queued"] == MANY
        usual, crowded = latencies(empty, s)
        for to, ms in crowded.items():
            p50, p90 = statistics.median(ms), ms[len(ms) * 9 // 10]
            print(f"{to}: {p50:.0f} ms, nine of ten within {p90:.0f}; with an empty queue "
                  f"{statistics.median(usual[to]):.0f} and {usual[to][FEW * 9 // 10]:.0f}")
            assert p50 < 2 * statistics.median(usual[to]) + 20
        s.until(lambda: s.find("delivery.deferred") or status(s)["troubled"], "trouble with the dead destination")
        before, begun = cpu_seconds(s), time.monotonic()
        time.sleep(2)                           # at rest: what is measured is a time
        share = (cpu_seconds(s) - before) / (time.monotonic() - begun)
        print(f"at rest: {100 * share:.1f} % of a processor; {status(s)['memory'] >> 20} MiB; "
              f"{len(s.find('delivery.deferred'))} deferrals logged")
        assert share < 0.1
        assert status(s)["queued"] == MANY
    sink.close()


class Tool:
    """tests/bench/sink: a next hop that costs little."""

    def __init__(self):
        self.process = subprocess.Popen([BUILD / "tests" / "bench" / "sink"], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


@pytest.mark.parametrize("to", ("away", "alice"))
def test_delivery_keeps_up_with_acceptance(to):
    sink = Tool()
    try:
        with a_server(sink) as s:
            (s.dir / "aliases").write_text("away: someone@far.test\n")
            s.start()
            begun = time.monotonic()
            told = subprocess.run([LOAD, "--port", str(s.address("mx")[1]), "--from", "a@far.test", "--to", f"{to}@here.test",
                                   "--messages", str(STREAM), "--connections", "20", "--size", "2000"],
                                  capture_output=True, text=True, timeout=6 * PATIENCE, check=True).stdout
            accepted, behind = time.monotonic() - begun, status(s)["queued"]
            assert json.loads(told)["accepted"] == STREAM, told
            s.until(lambda: status(s)["queued"] == 0, "an empty queue")
            delivered, f = time.monotonic() - begun, status(s)
            fates = STREAM * (1 if to == "away" else 2)           # a mailbox: staged, settled
            print(f"{STREAM} messages to {to}: accepted in {accepted:.2f} s, {behind} still there, gone after {delivered:.2f} s; "
                  f"{f['commits']} commits for {STREAM} puts and {fates} results")
            assert behind < STREAM / 3 and delivered < 1.5 * accepted + 1
            assert f["stored"] == f["delivered"] == STREAM
            assert f["commits"] < (STREAM + fates) / 3
    finally:
        sink.close()
