#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The way out, to build/tests/bench/sink.

out     an alias sends everything on: how far the way out stays behind the way in
pace    the time from 250 to delivery at one host, alone and beside 1,000 messages for a provider of fifty domains
        that says 421 all the time
dead    100,000 messages for a destination that is down: memory each, CPU at rest, and what 5,000 others feel of it
"""

import datetime
import time

import ground
from rig import SLOW_DOMAINS, load, relaying


def out(build, messages=20000):
    return ground.on_fresh_disk("rows_out", "measure_out", build, messages=messages)


def measure_out(build, messages):
    server, sink = relaying(build)
    try:
        began = time.monotonic()
        figures = load(build, server.port, connections=40, messages=messages, per_connection=10, to="far@out.test")
        accepted = time.monotonic() - began
        sink.wait(messages)
        sent = time.monotonic() - began
        return {"accepted_per_second": round(messages / accepted, 1), "sent_per_second": round(messages / sent, 1),
                "behind_s": round(sent - accepted, 2), "p99_ms": figures["p99_ms"],
                "longest_turn_ms": server.status()["loop_longest_ms"]}
    finally:
        server.stop()
        sink.stop()


def dead(build, messages=100000):
    return ground.on_fresh_disk("rows_out", "measure_dead", build, messages=messages)


def measure_dead(build, messages):
    server, sink = relaying(build)
    try:
        few = {"connections": 20, "messages": 5000, "per_connection": 10}
        alone = load(build, server.port, to="far@out.test", **few)
        sink.wait(5000)
        memory = server.memory_kib()
        load(build, server.port, connections=40, messages=messages, per_connection=100, size=200, to="dead@out.test")
        more = server.memory_kib() - memory
        cpu = server.cpu_seconds()
        time.sleep(5)
        cpu = (server.cpu_seconds() - cpu) / 5
        beside = load(build, server.port, to="far@out.test", **few)
        sink.wait(10000)
        return {"queued": server.status()["waiting"], "bytes_each": round(more * 1024 / messages),
                "cpu_percent_at_rest": round(100 * cpu, 2),
                "p50_ms": f"{alone['p50_ms']}, beside it {beside['p50_ms']}", "p99_ms": f"{alone['p99_ms']}, beside it {beside['p99_ms']}"}
    finally:
        server.stop()
        sink.stop()


def times_of(log_file):
    """Milliseconds from message.stored to delivery.sent, sorted."""
    times = {"message.stored": {}, "delivery.sent": {}}      # the threads' lines are not always in order
    for line in log_file.read_text().splitlines():
        words = line.split(" ", 4)
        if len(words) > 3 and words[2] in times:
            times[words[2]][words[3]] = datetime.datetime.fromisoformat(words[0]).timestamp() * 1000
    stored, sent = times.values()
    return sorted(sent[n] - stored[n] for n in sent)


def pace(build, messages=10000):
    return ground.on_fresh_disk("rows_out", "measure_pace", build, messages=messages)


def measure_pace(build, messages):
    figures = {}
    for what in ("alone", "beside"):
        server, sink = relaying(build, True, "retry-first = 1s retry-most = 2s")
        try:
            if what == "beside":
                for i in range(SLOW_DOMAINS):
                    load(build, server.port, connections=1, messages=20, per_connection=20, size=200, to=f"slow{i}@out.test")
            load(build, server.port, connections=10, messages=messages, per_connection=10, to="far@out.test")
            sink.wait(messages)
            time.sleep(0.3)
            took = times_of(server.log_file)
            figures[what] = f"p50 {took[len(took) // 2]:.0f} ms, p99 {took[len(took) * 99 // 100]:.0f} ms"
        finally:
            server.stop()
            sink.stop()
    return figures


ROWS = {"out": out, "pace": pace, "dead": dead}
SHORT = {"out": ground.short(out, messages=5000), "pace": ground.short(pace, messages=2000), "dead": ground.short(dead, messages=10000)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT)
