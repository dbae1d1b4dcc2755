#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Does delivery keep up with what is accepted?

    tests/bench/rows_steady.py --build build                             five minutes at 1,000/s, and a minute at full speed
    tests/bench/rows_steady.py --build build --rows steady --rate 3000   the same at 3,000/s
    tests/bench/rows_steady.py --build build --short                     in short; --seconds says how long

Messages of 4 KB come in at port 25 and go to a Maildir on a fresh ext4; no file is deleted in the run. The server is asked each
second what it has stored and what it has delivered.
"""

import tempfile
import time

import ground
from rig import Server, load

MESSAGE_ON_DISK = 12 << 10     # its file, its inode, and what the queue holds of it meanwhile
ROOM = 3 << 30                 # the queue's store, the journal
FULL = 9000                    # messages a second that the disk has room for at full speed
MOST = 20000                   # a second, at any speed


def steady(build, seconds=300, rate=1000):
    return ground.on_fresh_disk("rows_steady", "measure", build, ROOM + MESSAGE_ON_DISK * rate * seconds, seconds=seconds, rate=rate)


def full(build, seconds=60, **_):
    return ground.on_fresh_disk("rows_steady", "measure", build, ROOM + MESSAGE_ON_DISK * FULL * seconds, seconds=seconds, rate=0)


def fifths(samples):
    """(stored, delivered) of each fifth of the run, the first second apart, in which all begins."""
    marks = [samples[(len(samples) - 1) * i // 5] for i in range(6)]
    return [(b["stored"] - a["stored"], b["delivered"] - a["delivered"]) for a, b in zip(marks, marks[1:])]


def judged(samples, got, seconds, rate):
    """What the seconds under load say, with the goals."""
    last = samples[-1]
    depth = [s["stored"] - s["delivered"] for s in samples]
    share = min((d / s for s, d in fifths(samples) if s > 0), default=0)
    really = (last["stored"] - samples[0]["stored"]) / (last["at_s"] - samples[0]["at_s"])
    rises = ground.slope([(s["at_s"], d) for s, d in zip(samples, depth)])
    cost = [(b["cpu_s"] - a["cpu_s"]) * 1000 / max(1, b["stored"] - a["stored"]) for a, b in zip(samples, samples[1:])]
    first, second = ground.ends(cost)
    anon = ground.ends([s["RssAnon"] for s in samples])
    # Flat: over the whole run it grows by less than a tenth of a second's mail.
    flat = rises * seconds <= really / 10
    return {
        "seconds": seconds, "rate": rate or "full speed", "accepted_per_s": round(really, 1), "p50_ms": got["p50_ms"], "p99_ms": got["p99_ms"],
        "worst_ms": got["worst_ms"], "refused": got["refused"], "lost": got["lost"],
        "rate_held": "yes" if rate == 0 or really >= 0.99 * rate else f"no: {really:.0f} of {rate}",
        "delivered_of_accepted": round(share, 4), "delivered_of_accepted_goal": f"0.95 in each fifth of the run: {ground.verdict(share >= 0.95, seconds)}",
        "depth_most": max(depth), "depth_median": sorted(depth)[len(depth) // 2], "depth_slope_per_s": round(rises, 3),
        "depth_goal": f"flat: {ground.verdict(flat, seconds)}", "longest_turn_ms": last["loop_longest_ms"],
        "cpu_s_per_1000_first_and_last": [round(first, 3), round(second, 3)], "rss_anon_kib_first_and_last": [round(a) for a in anon],
        "messages_per_commit": round(last["stored"] / max(1, last["commits"]), 1), "store_mib": last["store_used"] >> 20,
        "log_dropped": last["log_dropped"],
    }


def measure(build, seconds, rate):
    server = Server(build, 'queue { size = "16 GiB" }')
    try:
        load(build, server.port, connections=40, messages=200, per_connection=10)     # what is made at first use is made
        server.wait_delivered(200)
        watch = ground.Watch(server)
        got = load(build, server.port, connections=40, per_connection=10, **{"for": seconds, "seconds": seconds + 30, "messages": MOST * seconds,
                                                                            **({"rate": rate} if rate else {})})
        samples = [s for s in watch.stop() if s["at_s"] <= seconds]
        ended = time.monotonic()
        server.wait_delivered(server.status()["stored"])
        return {**judged(samples, got, seconds, rate), "all_delivered_after_s": round(time.monotonic() - ended, 2),
                "disk": tempfile.gettempdir(), "series": [[round(s["at_s"], 1), s["stored"], s["delivered"], s["RssAnon"]] for s in samples]}
    finally:
        server.stop()


ROWS = {"steady": steady, "full": full}
SHORT = {"steady": ground.short(steady, seconds=15), "full": ground.short(full, seconds=10)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT, ("seconds", "rate"))
