#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The works of compare.py, postern alone: w1, w2, w3, and each with one message a connection.  As root, with nsd."""

import argparse
import os
import pathlib
import tempfile

import compare
import goals
import ground
from works import WORKS, make_shared

NAMES = {"w1": "box", "w2": "judge", "w3": "send", "w1-single": "box-single", "w2-single": "judge-single", "w3-single": "send-single", "w3-again": "send-again"}
UNITS = {"cpu_s_per_1000": "CPU s per 1,000", "p99_ms": "ms"}


def work(build, name, seconds=8, size=4096):
    if os.geteuid() != 0:
        return {"skipped": "namespaces and a fresh file system need root"}
    if compare.missing():
        return {"skipped": "these programs are missing: install " + ", ".join(compare.missing())}
    o = argparse.Namespace(build=build, seconds=seconds, messages=0, per_connection=10, disk=tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="postern-bench-shared-") as shared:
        os.chmod(shared, 0o755)
        make_shared(pathlib.Path(shared), build, size)
        got = compare.in_namespaces("postern", name, o, shared)
    if "failed" in got:
        raise RuntimeError(got["failed"])
    return {"work": WORKS[name].title, **got, **judged(name, got)}


def judged(name, got):
    return {f"{figure}_goal": f"{must} {UNITS[figure]} (stretch {stretch}): {goals.verdict(got[figure], must, stretch, True)}"
            for _, of, figure, must, stretch in goals.AT_MOST if of == name}


def row(name, **fixed):
    return ground.short(work, name=name, **fixed)


ROWS = {name: row(of) for name, of in NAMES.items()}
SHORT = {name: row(of, seconds=5) for name, of in NAMES.items()}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT, ("seconds",))
