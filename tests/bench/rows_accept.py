#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The way in: 4 KB messages that are verified (iprev, SPF; they carry no signature) and lie in a Maildir at the end.

accept  40 connections with 10 messages each
single  the same with one message a connection
group   64 connections with 100 messages each: how many messages share a commit
"""

import time

import ground
from rig import Server, load


def accept(build, connections=40, messages=20000, per_connection=10):
    return ground.on_fresh_disk("rows_accept", "measure", build, connections=connections, messages=messages, per_connection=per_connection)


def measure(build, connections, messages, per_connection):
    server = Server(build)
    try:
        load(build, server.port, connections=connections, messages=200, per_connection=10)      # what is made at first use is made
        server.wait_delivered(200)
        cpu, before, began = ground.cpu_seconds(server.process.pid), server.status(), time.monotonic()
        figures = load(build, server.port, connections=connections, messages=messages, per_connection=per_connection, size=4096)
        delivered = server.wait_delivered(200 + figures["accepted"])
        seconds = time.monotonic() - began
        status, n = server.status(), max(1, figures["accepted"])
        commits = max(1, status["commits"] - before["commits"])
        return {**figures, "delivered_per_second": round(n / seconds, 1) if delivered else None,
                "cpu_s_per_1000": round((ground.cpu_seconds(server.process.pid) - cpu) * 1000 / n, 3),
                "load_cpu_s_per_1000": round(figures["own_cpu_s"] * 1000 / n, 3), "syncs": 2 * commits,
                "messages_per_commit": round(n / commits, 1), "largest_commit": status["batch_longest"],
                "rss_anon_kib": server.memory_kib(), "longest_turn_ms": status["loop_longest_ms"]}
    finally:
        server.stop()


ROWS = {"accept": accept, "single": lambda build: accept(build, 40, 5000, 1), "group": lambda build: accept(build, 64, 20000, 100)}
SHORT = {"accept": ground.short(accept, messages=10000)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT)
