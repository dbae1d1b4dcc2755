#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""compare: postern beside its peers, each work in turns (A B C, A B C, …) in
namespaces of its own on a fresh ext4.  As root.

    tests/bench/compare.py --build build [--works box,judge,…] [--peers postern,postfix,…|all]
        [--turns 3] [--seconds 8 | --messages N] [--json FILE] [--markdown FILE]

Every server gets the same seconds of load, or the same number of messages; all
that it took must come out.  Prints Markdown: medians, with the least and the most
behind them, the goals, and who was not measured and why; writes it and the JSON of
all runs beside what was built.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import goals  # noqa: E402
import inside  # noqa: E402
import peers  # noqa: E402
import tables  # noqa: E402
from house import program  # noqa: E402
from works import WORKS, make_shared  # noqa: E402

LONGEST = 900                  # seconds of one run


def in_namespaces(peer, work, o, secrets, under=()):
    """The figures of one run; {"failed": why} when it was none."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-", dir=o.disk))
    os.chmod(folder, 0o755)
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "/usr/bin/python3", HERE / "compare.py",
             "--inside", peer, work, "--build", o.build, "--secrets", secrets, "--folder", folder,
             "--seconds", o.seconds, "--messages", o.messages, "--per-connection", o.per_connection, "--under", *under]
    try:
        done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, text=True, timeout=LONGEST)
        lines = done.stdout.splitlines()
        return json.loads(lines[-1]) if lines else {"failed": f"the run ended with status {done.returncode}"}
    except subprocess.TimeoutExpired:
        return {"failed": f"it was not done in {LONGEST} s"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_inside(o):
    try:
        print(json.dumps(inside.measure(*o.inside, o)))
    except Exception as e:                  # the one outside says it, and goes on with the others
        if not isinstance(e, RuntimeError):
            traceback.print_exc()
        print(json.dumps({"failed": str(e)}))


# ---- who, what, how often --------------------------------------------------------------------

def chosen(o):
    """Who is measured, and why the others are not: [(name, None, reason), …]"""
    names = {p.name for p in peers.ALL}
    unknown = [n for n in o.peers.split(",") if n not in names | {"all"}] + [w for w in o.works.split(",") if w not in WORKS]
    if unknown:
        sys.exit(f"compare: {', '.join(unknown)}: nobody knows: servers are {', '.join(sorted(names))}, works {', '.join(WORKS)}")
    wanted = [p for p in peers.ALL if p.is_ceiling or o.peers == "all" or p.name in o.peers.split(",")]
    return [p for p in wanted if not p.absent()], [(p.name, None, p.absent()) for p in wanted if p.absent()]


def unable(servers, works):
    return [(p.name, w, p.lacks) for w in works for p in servers if w not in p.works and p.lacks and w in ("box", "judge", "send")]


def all_runs(servers, works, o, secrets):
    """{(server, work): [figures, …]} and what failed."""
    results = {(p.name, w): [] for w in works for p in servers if w in p.works}
    failed = []
    for turn in range(1, o.turns + 1):
        for (server, work), runs in results.items():
            got = in_namespaces(server, work, o, secrets)
            print(f"# turn {turn} of {o.turns}: {server} {work}: {got}", file=sys.stderr, flush=True)
            if "failed" in got:
                failed.append((server, work, f"turn {turn} failed: {' '.join(got['failed'].split())[:1000]}"))
            else:
                runs.append(got)
    return results, failed


def machine():
    """What a reader wants to know of it."""
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    return {"cores": os.cpu_count(), "cpu": model, "kernel": platform.release(), "load_average_at_start": os.getloadavg()[0]}


def about(o, here, seconds):
    size = f"{o.messages:,} messages" if o.messages else f"{o.seconds} s of load"
    return f"{o.turns} turn{'s' if o.turns > 1 else ''} of {size} each, 40 connections, messages of {o.size:,} octets, {o.per_connection} a connection; " \
           f"{here['cores']} cores ({here['cpu']}), Linux {here['kernel']}, load average {here['load_average_at_start']:.1f} at the start; " \
           f"{time.strftime('%Y-%m-%d', time.gmtime())}, {seconds / 60:.0f} minutes in all."


def compare(o):
    here, began, works = machine(), time.monotonic(), o.works.split(",")
    servers, troubles = chosen(o)
    for who, _, reason in troubles:
        print(f"# {who}: {reason}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="postern-bench-secrets-") as folder:
        os.chmod(folder, 0o755)
        make_shared(pathlib.Path(folder), o.build, o.size)
        results, failed = all_runs(servers, works, o, folder)
    troubles += failed + unable(servers, works)
    text = tables.markdown(about(o, here, time.monotonic() - began), results, troubles, works)
    print(text)
    o.markdown.write_text(text)
    o.json.write_text(json.dumps({
        "machine": here, "turns": o.turns, "seconds": None if o.messages else o.seconds, "messages": o.messages or None, "octets": o.size,
        "works": {w: {"title": WORKS[w].title, "runs": {s: runs for (s, of), runs in results.items() if of == w}} for w in works},
        "goals": goals.judged(results), "not_measured": [{"server": s, "work": w, "reason": r} for s, w, r in troubles]}, indent=2) + "\n")
    print(f"# {o.markdown}, {o.json}", file=sys.stderr)


# ---- starting ----------------------------------------------------------------------------------

def missing():
    """Debian's packages of what is not here."""
    needs = {"unshare": "util-linux", "ip": "iproute2", "mkfs.ext4": "e2fsprogs", "nsd": "nsd", "openssl": "openssl"}
    return [package for name, package in needs.items() if program(name) is None]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--peers", default="all")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="of load, each run")
    parser.add_argument("--messages", type=int, default=0, help="that many each run, instead of seconds")
    parser.add_argument("--per-connection", type=int, default=10, help="where the work does not say one")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--disk", default=tempfile.gettempdir(), help="where the images are made")
    parser.add_argument("--json", type=pathlib.Path, help="BUILD/tests/bench/compare.json")
    parser.add_argument("--markdown", type=pathlib.Path, help="BUILD/tests/bench/compare.md")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--secrets", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--under", nargs=argparse.REMAINDER, default=(), help=argparse.SUPPRESS)
    o = parser.parse_args()
    o.json = o.json or o.build / "tests/bench/compare.json"
    o.markdown = o.markdown or o.build / "tests/bench/compare.md"
    return o


def main():
    o = options()
    if o.inside:
        measure_inside(o)
    elif os.geteuid() != 0:
        sys.exit("compare: namespaces and images need root: run it as root")
    elif missing():
        sys.exit("compare: these programs are missing: install " + ", ".join(missing()))
    else:
        compare(o)


if __name__ == "__main__":
    main()
