#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""bench: how fast, how patient, how large – on this machine, loopback only.

    make bench                                        what fits into two minutes
    tests/bench/bench.py --build build --rows all     everything, about an hour
    tests/bench/bench.py --build build --rows size,memory --json FILE

A file rows_NAME.py beside this one has ROWS = {name: function(build) -> figures} and,
where a row has one, a short form of it in SHORT.  A figure whose name ends in _goal
says a goal of ours and "reached" or "missed".  As root each row has namespaces and a
fresh ext4 of its own; else it runs in the folder for temporary files and says so.
"""

import argparse
import importlib
import json
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from rig import Server, Sink, load, relaying  # noqa: E402, F401

# What `make bench` runs, in this order, each in its short form if it has one.
TWO_MINUTES = ("w1", "w2", "w3", "accept", "memory", "idle", "idle-tls", "size", "size-signed", "large", "start")
ENDED = 143                    # by SIGTERM


def registry():
    """Every row, and the short forms of some."""
    rows, short = {}, {}
    for file in sorted(HERE.glob("rows_*.py")):
        module = importlib.import_module(file.stem)
        rows.update(module.ROWS)
        short.update(getattr(module, "SHORT", {}))
    return rows, short


def chosen(words):
    rows, short = registry()
    if words == "all":
        return rows
    if words == "short":
        return {name: short.get(name, rows[name]) for name in TWO_MINUTES if name in rows}
    unknown = [name for name in words.split(",") if name not in rows]
    if unknown:
        sys.exit(f"bench: no such row: {', '.join(unknown)}: there are {', '.join(rows)}")
    return {name: rows[name] for name in words.split(",")}


def one_row(name, function, build):
    began = time.monotonic()
    try:
        figures = function(build)
    except (Exception, SystemExit) as e:            # the other rows still have something to say
        if getattr(e, "code", None) == ENDED:
            raise
        figures = {"failed": str(e) or type(e).__name__}
    print(name, *(f"    {k} = {v}" for k, v in figures.items() if k != "series"), f"    (took {time.monotonic() - began:.0f} s)", sep="\n", flush=True)
    return figures


def tally(results):
    """The goals, all together."""
    goals = [(row, k, str(v)) for row, figures in results.items() for k, v in figures.items() if k.endswith("goal")]
    missed = [f"{row} {k.removesuffix('goal').rstrip('_')}".rstrip() for row, k, v in goals if "missed" in v]
    failed = [row for row, figures in results.items() if "failed" in figures]
    print(f"goals: {len(goals) - len(missed)} of {len(goals)} reached" + (f"; missed: {', '.join(missed)}" if missed else "")
          + (f"; rows that failed: {', '.join(failed)}" if failed else ""))
    return not failed


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {"cpu": cpu, "cores": len([p for p in pathlib.Path("/sys/devices/system/cpu").glob("cpu[0-9]*")]),
            "kernel": pathlib.Path("/proc/sys/kernel/osrelease").read_text().strip(), "load_before": pathlib.Path("/proc/loadavg").read_text().split()[0],
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--rows", default="short", help="short (default), all, or names with commas between")
    parser.add_argument("--list", action="store_true", help="names of the rows")
    parser.add_argument("--json", type=pathlib.Path, help="BUILD/tests/bench/bench.json")
    o = parser.parse_args()
    if o.list:
        print("\n".join(registry()[0]))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))          # and the servers end, too
    json_file = o.json or o.build / "tests/bench/bench.json"
    results, here = {}, machine()
    print("machine", *(f"{k}={v}" for k, v in here.items()), flush=True)
    for name, function in chosen(o.rows).items():
        results[name] = one_row(name, function, o.build)
        json_file.write_text(json.dumps({"machine": here, "rows": results}, indent=2) + "\n")
    return 0 if tally(results) else 1


if __name__ == "__main__":
    sys.exit(main())
