# SPDX-License-Identifier: ISC
"""The comparison as Markdown: a table for each work, medians with the least and
the most behind them, then what was not measured and why, then the goals.
"""

import statistics

import goals
from works import IDLE, WORKS

LOADED = [("accepted/s", "accepted_per_s"), ("delivered/s", "delivered_per_s"), ("p99 ms", "p99_ms"), ("CPU s per 1,000", "cpu_s_per_1000"),
          ("load's own CPU s per 1,000", "load_cpu_s_per_1000"), ("PSS MB", "pss_mb")]
AGAIN = [*LOADED, ("resumed", "resumed")]
WAITING = [("PSS MB before", "pss_mb_before"), (f"PSS MB with {IDLE:,}", "pss_mb"), ("more, MB", "more_mb"), ("KiB a connection", "kib_each")]
ALONE = [("messages/s", "accepted_per_s"), ("p99 ms", "p99_ms"), ("load's own CPU s per 1,000", "load_cpu_s_per_1000"),
         ("the sink's CPU s per 1,000", "cpu_s_per_1000"), ("messages/s that one core could drive", "core_per_s")]


def columns(work):
    if work == "idle":
        return WAITING
    return ALONE if work.startswith("ceiling") else AGAIN if WORKS[work].again else LOADED


def middle(runs, figure):
    values = sorted(r[figure] for r in runs)
    text = f"{round(statistics.median(values), 3):g}"
    return text if len(values) < 2 else f"{text} ({values[0]:g}–{values[-1]:g})"


def rows(head, lines):
    return ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *("| " + " | ".join(line) + " |" for line in lines)]


def work_table(results, work):
    shown = columns(work)
    lines = [[server, *(middle(runs, figure) for _, figure in shown)] for (server, of), runs in results.items() if of == work and runs]
    return ["", f"**{WORKS[work].title}**", "", *rows(["server", *(name for name, _ in shown)], lines)] if lines else []


def left_out(troubles):
    """What a reader would look for in vain, and why: [(who, work or None, reason), …]"""
    if not troubles:
        return []
    return ["", "**Not measured**", "", *(f"- {who}{', ' + WORKS[work].title if work else ''}: {reason}" for who, work, reason in troubles)]


def goal_table(results, works):
    def number(value):
        return "–" if value is None else f"{value:g}"

    lines = [[g["goal"], number(g["must"]), number(g["stretch"]), number(g["here"]) + (f" ({g['beside']})" if g["beside"] else ""), g["verdict"]]
             for g in goals.judged(results) if g["work"] in works]
    if not lines:
        return []
    return ["", "**Goals**", "", *rows(["goal", "must", "stretch", "here", "verdict"], lines)]


def markdown(about, results, troubles, works):
    lines = [about]
    for work in works:
        lines += work_table(results, work)
    return "\n".join([*lines, *goal_table(results, works), *left_out(troubles)]) + "\n"
