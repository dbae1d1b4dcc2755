# SPDX-License-Identifier: ISC
"""The goals of the comparison, and what came of them: medians of all turns, and
ratios of such medians.  Results are {(server, work): [figures of one run, …]}.
"""

import statistics

from works import WORKS

OPEN, RSPAMD = "postfix-opendkim", "postfix-rspamd"
RESUMED = 0.95                 # of the handshakes that could; with fewer a work of sessions that are resumed is not that work

# What is held down: text, work, figure, must, stretch.
AT_MOST = [
    ("CPU s per 1,000: W1", "box", "cpu_s_per_1000", 0.25, 0.15),
    ("CPU s per 1,000: W2", "judge", "cpu_s_per_1000", 0.35, 0.2),
    ("CPU s per 1,000: W3", "send", "cpu_s_per_1000", 0.9, 0.7),
    ("p99 ms at 40 connections: W1", "box", "p99_ms", 30, 15),
    ("p99 ms at 40 connections: W2", "judge", "p99_ms", 30, 15),
    ("p99 ms at 40 connections: W3", "send", "p99_ms", 60, 30),
]
# Accepted a second, times that of another: text, work, whose (None: the best), must, stretch, ours.
TIMES = [
    ("W1: times Postfix", "box", "postfix", 6, 8, "postern"),
    ("W1: times the best peer", "box", None, 4, 5, "postern"),
    ("W2: times Postfix + OpenDKIM + OpenDMARC", "judge", OPEN, 12, 18, "postern"),
    ("W2: times Postfix + rspamd", "judge", RSPAMD, 7, 11, "postern"),
    ("W3: times Postfix + SASL + OpenDKIM", "send", OPEN, 5, 6, "postern"),
    ("W3, one message a connection: times the same", "send-single", OPEN, 3, 3.5, "postern"),
    ("– and without the login memory", "send-single", OPEN, None, None, "postern-nomemory"),
    ("W3, one message a connection, TLS sessions resumed: times the same", "send-again", OPEN, 3, 3.5, "postern"),
    ("W1, one message a connection: times Postfix", "box-single", "postfix", None, None, "postern"),
    ("W2, one message a connection: times Postfix + OpenDKIM + OpenDMARC", "judge-single", OPEN, None, None, "postern"),
]


def median(results, server, work, figure):
    """None: not measured."""
    runs = results.get((server, work))
    return statistics.median(r[figure] for r in runs) if runs else None


def best_peer(results, work):
    """Who accepts most a second, postern apart; None: nobody was measured."""
    found = {server: median(results, server, work, "accepted_per_s") for (server, of), runs in results.items()
             if of == work and runs and not server.startswith("postern")}
    return max(found, key=found.get) if found else None


def verdict(here, must, stretch, lower_is_better):
    if here is None:
        return "not measured"
    if must is None:
        return "no goal"

    def holds(limit):
        return here <= limit if lower_is_better else here >= limit

    if holds(stretch):
        return "stretch reached"
    if holds(must):
        return "reached"
    return f"missed by {abs(here - must) / must:.1%}"


def beside_the_work(results, work, servers):
    """"; postfix-opendkim resumed 2% of its TLS sessions": a comparison that is none; "" if all did."""
    shares = {s: median(results, s, work, "resumed") for s in servers} if WORKS[work].again else {}
    return "".join(f"; {s} resumed {share:.0%} of its TLS sessions" for s, share in shares.items() if share is not None and share < RESUMED)


def judged(results):
    """[{goal, work, must, stretch, here, beside, verdict}, …]"""
    lines = []
    for goal, work, figure, must, stretch in AT_MOST:
        here = median(results, "postern", work, figure)
        lines.append({"goal": goal, "work": work, "must": must, "stretch": stretch, "here": here, "beside": None,
                      "verdict": verdict(here, must, stretch, True)})
    for goal, work, other, must, stretch, ours in TIMES:
        beside = other or best_peer(results, work)
        mine, its = median(results, ours, work, "accepted_per_s"), median(results, beside, work, "accepted_per_s")
        here = round(mine / its, 2) if mine and its else None
        lines.append({"goal": goal, "work": work, "must": must, "stretch": stretch, "here": here, "beside": beside if here else None,
                      "verdict": verdict(here, must, stretch, False) + beside_the_work(results, work, (ours, beside))})
    return lines
