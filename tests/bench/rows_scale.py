#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Does twice the work cost twice, and not more?

    tests/bench/rows_scale.py --build build                             all of them: about half an hour
    tests/bench/rows_scale.py --build build --rows loops,crowd          some
    tests/bench/rows_scale.py --build build --short                     in short

loops   CPU of a message with one loop and with two, in turns
crowd   40 connections that work, alone and beside 9,960 that said EHLO and wait, in turns
depth   what a message costs to take and to deliver while 100, 1,000, … 1,000,000 others wait for a host that is down
sizes   CPU of a MiB in messages of 4 KiB to 50 MiB
"""

import statistics
import subprocess
import sys
import time

import ground
from rig import Server, load, relaying

UNJUDGED = "verify { iprev { verify = no } spf { verify = no } dkim { verify = no } dmarc { verify = no } arc { verify = no } " \
           "sender { verify = no } }\n"
QUEUED_ON_DISK = 4 << 10       # octets, and more than the store takes for a message of 200
SIZES = ((4 << 10, 10000), (64 << 10, 2000), (1 << 20, 200), (10 << 20, 20), ((50 << 20) - 4096, 4))      # 50 MiB is all that is taken


def measured(build, server, messages, delivered=True, **options):
    """CPU seconds per 1,000 of what the load makes, and how fast it went."""
    before, cpu = server.status()["delivered"], ground.cpu_seconds(server.process.pid)
    got = load(build, server.port, messages=messages, **{"connections": 40, "per_connection": 10, **options})
    if delivered and not server.wait_delivered(before + messages, 600):
        raise RuntimeError(f"{server.status()['delivered'] - before} of {messages} messages were delivered")
    return {"cpu": (ground.cpu_seconds(server.process.pid) - cpu) * 1000 / messages, "per_s": got["per_second"], "p99": got["p99_ms"]}


def warm(build, server):
    measured(build, server, 200)


def shown(runs, key, digits=3):
    values = sorted(r[key] for r in runs)
    return f"{statistics.median(values):.{digits}f} ({values[0]:.{digits}f}–{values[-1]:.{digits}f})"


def ratio(runs, others, key):
    return statistics.median(r[key] for r in runs) / statistics.median(r[key] for r in others)


# ---- one loop and two ------------------------------------------------------------------------

def loops(build, messages=20000, turns=5):
    return ground.on_fresh_disk("rows_scale", "measure_loops", build, messages=messages, turns=turns)


def measure_loops(build, messages, turns):
    runs = {1: [], 2: []}
    for _ in range(turns):
        for n, of in runs.items():
            server = Server(build, f"loops = {n}\n" + UNJUDGED)
            try:
                warm(build, server)
                of.append(measured(build, server, messages))
            finally:
                server.stop()
    cpu, speed = ratio(runs[2], runs[1], "cpu"), ratio(runs[2], runs[1], "per_s")
    return {"cpu_s_per_1000_one": shown(runs[1], "cpu"), "cpu_s_per_1000_two": shown(runs[2], "cpu"), "per_s_one": shown(runs[1], "per_s", 0),
            "per_s_two": shown(runs[2], "per_s", 0), "cpu_two_to_one": round(cpu, 3), "cpu_goal": f"1.15: {ground.verdict(cpu <= 1.15)}",
            "speed_two_to_one": round(speed, 3), "speed_goal": f"no slower: {ground.verdict(speed >= 1)}"}


# ---- beside a crowd that waits ----------------------------------------------------------------

def crowd(build, idle=9960, messages=20000, turns=5):
    return ground.on_fresh_disk("rows_scale", "measure_crowd", build, idle=idle, messages=messages, turns=turns)


class Crowd:
    """Connections that said EHLO and wait."""

    def __init__(self, build, port, n):
        self.process = subprocess.Popen([str(build / "tests/bench/load"), "--port", str(port), "--idle", str(n)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline():
            raise RuntimeError(f"{n} connections could not be held")

    def leave(self, server, sessions=0, patience=60):
        self.process.stdin.close()
        self.process.wait(30)
        end = time.monotonic() + patience
        while server.status()["sessions"] > sessions and time.monotonic() < end:
            time.sleep(0.05)


def measure_crowd(build, idle, messages, turns):
    files = ground.allow_files()
    if files < idle + 200:
        return {"skipped": f"only {files} descriptors may be had"}
    server, alone, beside = Server(build, UNJUDGED), [], []
    try:
        warm(build, server)
        for _ in range(turns):
            alone.append(measured(build, server, messages))
            crowd_here = Crowd(build, server.port, idle)
            beside.append(measured(build, server, messages))
            crowd_here.leave(server)
    finally:
        server.stop()
    speed, cpu = ratio(beside, alone, "per_s"), ratio(beside, alone, "cpu")
    return {"idle": idle, "per_s_alone": shown(alone, "per_s", 0), "per_s_beside": shown(beside, "per_s", 0), "speed_beside_to_alone": round(speed, 3),
            "speed_goal": f"0.9: {ground.verdict(speed >= 0.9)}", "cpu_s_per_1000_alone": shown(alone, "cpu"),
            "cpu_s_per_1000_beside": shown(beside, "cpu"), "cpu_beside_to_alone": round(cpu, 3), "p99_ms_alone": shown(alone, "p99", 1),
            "p99_ms_beside": shown(beside, "p99", 1)}


# ---- with many queued -----------------------------------------------------------------------------

def depth(build, steps=(100, 1000, 10000, 100000, 1000000), messages=5000, turns=3):
    possible = [n for n in steps if need_of(n) < ground.free_bytes()]
    figures = ground.on_fresh_disk("rows_scale", "measure_depth", build, need_of(possible[-1]), steps=possible, messages=messages, turns=turns)
    if len(possible) < len(steps):
        figures["skipped"] = f"{', '.join(map(str, steps[len(possible):]))}: the disk has {ground.free_bytes() >> 30} GiB free"
    return figures


def need_of(queued):
    return (queued + 100000) * QUEUED_ON_DISK + (4 << 30)


def fill(build, server, n):
    """Until n wait for the host that is down."""
    missing = n - server.status()["queued"]
    if missing > 0:
        load(build, server.port, connections=40, messages=missing, per_connection=1000, size=200, to="dead@out.test")
    return server.status()["queued"]


def measure_depth(build, steps, messages, turns):
    server, sink = relaying(build, False, "retry-first = 10h retry-most = 20h")
    rows = {}
    try:
        warm(build, server)
        fill(build, server, 1)                                          # that it is down is known
        for n in steps:
            began = time.monotonic()
            fill(build, server, n)
            took = time.monotonic() - began
            both = [measured(build, server, messages) for _ in range(turns)]
            memory, status = ground.rss_kib(server.process.pid), server.status()
            # What is taken stays: few at first.
            taken = [measured(build, server, min(messages, max(n // 2, 500)), delivered=False, to="dead@out.test") for _ in range(turns if n > 10000 else 1)]
            rows[n] = {"queued": status["queued"], "both": statistics.median(r["cpu"] for r in both), "take": statistics.median(r["cpu"] for r in taken),
                       "per_s": statistics.median(r["per_s"] for r in both), "fill_s": took, "turn": server.status()["loop_longest_ms"],
                       "anon": memory["RssAnon"], "file": memory["RssFile"], "store": status["store_used"]}
            print(n, rows[n], file=sys.stderr, flush=True)
    finally:
        server.stop()
        sink.stop()
    return depth_figures(rows)


FLAT = 1.2                     # times the cost with the least queued


def depth_figures(rows):
    least = rows[min(rows)]
    figures = {}
    for n, r in rows.items():
        figures[f"{n} queued"] = f"CPU s per 1,000: take {r['take']:.3f}, deliver {r['both'] - r['take']:.3f}, both {r['both']:.3f} " \
                                 f"({r['both'] / least['both']:.2f} times the least); {r['per_s']:.0f}/s; RssAnon {r['anon'] >> 10} MiB, " \
                                 f"RssFile {r['file'] >> 10} MiB, store {r['store'] >> 20} MiB; filled in {r['fill_s']:.0f} s; longest turn {r['turn']} ms"
    worst = max(r["both"] / least["both"] for r in rows.values())
    worst_take = max(r["take"] / least["take"] for r in rows.values())
    figures["flat_goal"] = f"flat (at most {FLAT} times): {worst:.2f} with delivery, {worst_take:.2f} to take: {ground.verdict(max(worst, worst_take) <= FLAT)}"
    figures["series"] = {str(n): r for n, r in rows.items()}
    return figures


# ---- small and large messages ------------------------------------------------------------------------

def sizes(build, turns=3, share=1):
    most = sum(size * n for size, n in SIZES) * 2 * turns / share
    return ground.on_fresh_disk("rows_scale", "measure_sizes", build, int(most) + (6 << 30), turns=turns, share=share)


def measure_sizes(build, turns, share):
    runs = {size: [] for size, _ in SIZES}
    server = Server(build, 'queue { size = "16 GiB" }')
    try:
        warm(build, server)
        for _ in range(turns):
            for size, n in SIZES:
                n = max(2, n // share)
                runs[size].append(measured(build, server, n, connections=min(n, 40 if size < 1 << 20 else 4), size=size))
    finally:
        server.stop()
    cost = {size: statistics.median(r["cpu"] for r in of) / 1000 / (size / (1 << 20)) for size, of in runs.items()}
    figures = {f"{size / 1024:.0f} KiB": f"CPU ms per MiB {c * 1000:.2f}; {c * size / (1 << 20) * 1000:.3f} ms a message; "
                                         f"{statistics.median(r['per_s'] for r in runs[size]) * size / (1 << 20):.1f} MiB/s" for size, c in cost.items()}
    in_order = [cost[size] for size, _ in SIZES]
    worst = max(b / a for a, b in zip(in_order, in_order[1:]))
    figures["linear_goal"] = f"linear (a MiB is never dearer in the next larger size, but for 10 %): {worst:.2f}: {ground.verdict(worst <= 1.1)}"
    return figures


ROWS = {"loops": loops, "crowd": crowd, "depth": depth, "sizes": sizes}
SHORT = {"loops": ground.short(loops, messages=3000, turns=2), "crowd": ground.short(crowd, idle=2000, messages=3000, turns=2),
         "depth": ground.short(depth, steps=(100, 1000, 10000), messages=1000), "sizes": ground.short(sizes, turns=1, share=5)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT)
