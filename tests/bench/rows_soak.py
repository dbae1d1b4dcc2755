#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Does memory stay what it is?

    tests/bench/rows_soak.py --build build                   ten minutes: five of each
    tests/bench/rows_soak.py --build build --rows churn      one of them
    tests/bench/rows_soak.py --build build --short           in short

heap    `postern serve` under load with heaptrack: what is held of malloc, second by second
churn   10,000 connections that open, say EHLO and QUIT, close and come again: RssAnon each second

heaptrack and not massif: valgrind runs one thread at a time, some fifty times slower, so that what
threads hand each other hardly meets under load; heaptrack keeps the threads and nearly their times.
It writes down each malloc and free, some hundred a message, so the rate is held at --rate.
"""

import pathlib
import shutil
import subprocess
import tempfile

import ground
from rig import Server, load

PRELOAD = "/usr/lib/heaptrack/libheaptrack_preload.so"
INTERPRET = "/usr/lib/heaptrack/libexec/heaptrack_interpret"
FLAT = 1.03                    # the last fifth to the first


def judged(kib, at, seconds):
    """First and last fifth, the slope of all but the first, and whether that is flat."""
    first, last = ground.ends(kib)
    points = list(zip(at, kib))
    flat = ground.verdict(last <= FLAT * first, seconds)
    return {"first_kib": round(first), "last_kib": round(last), "most_kib": max(kib),
            "slope_kib_per_s": round(ground.slope(points[len(points) // 5:]), 3), "goal": f"flat (last at most {FLAT} × first): {flat}"}


# ---- connections that come and go --------------------------------------------------------------

def churn(build, seconds=300, connections=10000, **_):
    return ground.on_fresh_disk("rows_soak", "measure_churn", build, seconds=seconds, connections=connections)


def measure_churn(build, seconds, connections):
    files = ground.allow_files()
    if files < connections + 200:
        return {"skipped": f"only {files} descriptors may be had"}
    server = Server(build)
    try:
        before = ground.rss_kib(server.process.pid)["RssAnon"]
        watch = ground.Watch(server)
        got = load(build, server.port, connections=connections, churn=None, seconds=seconds)
        samples = [s for s in watch.stop() if s["at_s"] <= seconds]
        held, at = [s["RssAnon"] for s in samples], [s["at_s"] for s in samples]
        return {"seconds": seconds, "connections": connections, "came_and_went": got["churned"], "a_second": round(got["churned"] / got["seconds"]),
                "refused": got["refused"], "lost": got["lost"], "sessions_most": max(s["sessions"] for s in samples),
                "rss_anon_kib_before": before, **{f"rss_anon_{k}": v for k, v in judged(held, at, seconds).items()},
                "longest_turn_ms": samples[-1]["loop_longest_ms"], "series": [[round(t, 1), kib] for t, kib in zip(at, held)]}
    finally:
        server.stop()


# ---- the heap under load ---------------------------------------------------------------------------

def heap(build, seconds=300, rate=300, **_):
    if not pathlib.Path(PRELOAD).exists():
        return {"skipped": "heaptrack is not here: install heaptrack"}
    return ground.on_fresh_disk("rows_soak", "measure_heap", build, (6 << 30) + (1 << 20) * rate * seconds // 10, seconds=seconds, rate=rate)


def wrapped(build, folder):
    """A build whose `postern serve` writes down each malloc and free; its other verbs do not."""
    (folder / "tests").symlink_to(build / "tests")
    script = folder / "postern"
    script.write_text(f'#!/bin/sh\nif [ "$1" = serve ]; then\n\texport LD_PRELOAD={PRELOAD} DUMP_HEAPTRACK_OUTPUT={folder}/raw\nfi\n'
                      f'exec {build / "postern"} "$@"\n')
    script.chmod(0o755)
    folder.chmod(0o777)
    return folder


def snapshots(folder):
    """(seconds, octets of malloc held), as heaptrack tells."""
    with open(folder / "raw", "rb") as raw, open(folder / "track", "wb") as track:
        subprocess.run([INTERPRET], stdin=raw, stdout=track, stderr=subprocess.DEVNULL, check=True)
    (folder / "raw").unlink()
    subprocess.run(["heaptrack_print", "--file", str(folder / "track"), "--print-massif", str(folder / "massif"), "--massif-detailed-freq", "0"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    found, at = [], None
    for line in (folder / "massif").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "time":
            at = float(value)
        elif name == "mem_heap_B":
            found.append((at, int(value)))
    return found


def measure_heap(build, seconds, rate):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="heap-"))
    server = Server(wrapped(build, folder), 'queue { size = "16 GiB" }')
    try:
        load(build, server.port, connections=40, messages=200, per_connection=10)
        watch = ground.Watch(server)
        got = load(build, server.port, connections=40, per_connection=10, rate=rate, messages=rate * seconds, seconds=seconds + 30)
        samples = watch.stop()
        server.wait_delivered(200 + got["accepted"])
    finally:
        server.stop()
    held = snapshots(folder)
    held = [h for h in held if h[0] <= held[-1][0] - 1]                 # the last second is the stop
    shutil.rmtree(folder)
    rss = ground.ends([s["RssAnon"] for s in samples])
    return {"seconds": seconds, "rate": rate, "accepted": got["accepted"], "p99_ms": got["p99_ms"], "delivered": samples[-1]["delivered"],
            **{f"heap_{k}": v for k, v in judged([b // 1024 for _, b in held], [t for t, _ in held], seconds).items()},
            "rss_anon_kib_first_and_last": [round(r) for r in rss], "snapshots": len(held), "series": held}


ROWS = {"heap": heap, "churn": churn}
SHORT = {"heap": ground.short(heap, seconds=15), "churn": ground.short(churn, seconds=15, connections=2000)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT, ("seconds", "rate", "connections"))
