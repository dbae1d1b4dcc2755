#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""From fork to the first greeting that is heard: with an empty queue, and with many messages that wait for a host
that is down; after a clean stop, and after a kill.
"""

import contextlib
import signal
import socket
import statistics
import time

import ground
from rig import Server, load, relaying


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(build, messages=100000, turns=9):
    return ground.on_fresh_disk("rows_start", "measure", build, messages=messages, turns=turns)


def heard(port, patience=60):
    """Until somebody greets there."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 60) as s:
            if s.recv(1) == b"2":
                return time.monotonic()
        time.sleep(0.001)
    raise RuntimeError("nobody greets")


def started_ms(server, how=signal.SIGTERM):
    """It stops that way; how long it then takes to start again, and how much CPU all its threads have used by then."""
    port = server.port
    server.halt(how)
    began = time.monotonic()
    server.launch()
    took = (heard(port) - began) * 1000
    cpu = ground.cpu_seconds(server.process.pid) * 1000
    server.settle()
    return took, cpu


def shown(runs):
    return ", CPU ".join(f"{statistics.median(of):.1f} ({min(of):.1f}–{max(of):.1f})" for of in zip(*runs))


def median(runs):
    return statistics.median(ms for ms, _ in runs)


def measure(build, messages, turns):
    server = Server(build, port=free_port())
    try:
        empty = [started_ms(server) for _ in range(turns)]
    finally:
        server.stop()
    server, sink = relaying(build, False, "retry-first = 10h retry-most = 20h", port=free_port())
    try:
        load(build, server.port, connections=40, messages=messages, per_connection=1000, size=200, to="dead@out.test")
        queued = server.status()["queued"]
        full = [started_ms(server) for _ in range(max(1, turns // 3))]
        killed = [started_ms(server, signal.SIGKILL) for _ in range(max(1, turns // 3))]
        left = server.status()["queued"]
    finally:
        server.stop()
        sink.stop()
    if left != queued:
        raise RuntimeError(f"{queued} were queued, and after the starts {left}")
    worst = max(median(full), median(killed))
    return {"empty_ms": shown(empty), "empty_goal": f"under 50 ms: {ground.verdict(median(empty) < 50)}", "queued": queued,
            "queued_ms": shown(full), "queued_killed_ms": shown(killed),
            "queued_goal": f"under 1 s with 100,000: {ground.verdict(worst < 1000)}" if queued >= 100000 else f"under 1 s with 100,000: not asked with {queued}"}


ROWS = {"start": start}
SHORT = {"start": ground.short(start, messages=20000, turns=5)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT)
