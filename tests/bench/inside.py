# SPDX-License-Identifier: ISC
"""One run of one work with one server, inside the namespaces (see compare.py).

Nothing is measured that was not done: every message has to come out, and one of
them is looked at.
"""

import json
import pathlib
import resource
import select
import subprocess
import time

import peers
from house import House, wait_port
from works import IDLE, SUBMITTER, WORKS, envelope

CONNECTIONS = 40
FIRST = 200                    # messages ahead, so that what is made at first use is made
PATIENCE = 300                 # seconds until the last has come out
PROOF = {"box": ("received:",), "judge": ("spf=pass", "dkim=pass", "dmarc=pass"), "send": ("dkim-signature:", "d=here.example")}


# ---- load ------------------------------------------------------------------------------------

def load(o, port, kind, per_connection, *more):
    sender, to = envelope(kind)
    words = [o.build / "tests/bench/load", "--port", port, "--connections", CONNECTIONS, "--per-connection", per_connection,
             "--texts", pathlib.Path(o.secrets) / kind, "--quit", "--from", sender, "--to", to, *more]
    if kind == "send":
        words += ["--starttls", "--login", SUBMITTER, "--password", peers.PASSWORD]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError("; ".join([*dict.fromkeys(done.stderr.splitlines())][:3]) or f"load ended with status {done.returncode}")
    return {**json.loads(done.stdout), "said": done.stderr.splitlines()[:3]}


def idle(o, port):
    """The process that holds the connections, once all have heard the answer to EHLO."""
    process = subprocess.Popen([str(o.build / "tests/bench/load"), "--port", str(port), "--idle", str(IDLE)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ready, _, _ = select.select([process.stdout], [], [], 120)
    line = process.stdout.readline() if ready else ""
    if not line or json.loads(line)["idle"] != IDLE:
        raise RuntimeError(f"of {IDLE} connections not all were heard: {line.strip() or 'load gave up'}")
    return process


class Sink:
    """Where the work `send` goes to."""

    def __init__(self, build, keep):
        self.process = subprocess.Popen([str(build / "tests/bench/sink"), "--keep", str(keep)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def messages(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[0])


def has_worked(kind, text):
    """What is measured is what the work asks for."""
    head = text.replace("\r\n", "\n").split("\n\n")[0].lower()
    for word in PROOF[kind]:
        if word not in head:
            raise RuntimeError(f"{word} is not in the header:\n{head}")


def wait_until(came, n):
    """Counting many files costs, too: at most a fifth of the time."""
    end = time.monotonic() + PATIENCE
    while True:
        began = time.monotonic()
        there = came()
        now = time.monotonic()
        if there >= n:
            return
        if now > end:
            raise RuntimeError(f"{there} of {n} messages came out in {PATIENCE} s")
        time.sleep(max(0.05, 5 * (now - began)))


# ---- a run -------------------------------------------------------------------------------------

def figures(house, but, cpu, got, seconds):
    per_1000 = 1000 / max(1, got["accepted"])
    own = got["own_cpu_s"] * per_1000
    could = got["handshakes"] - CONNECTIONS      # the first of each has nothing to resume
    return {"accepted": got["accepted"], "accepted_per_s": got["per_second"], "delivered_per_s": round(got["accepted"] / seconds, 1),
            "p50_ms": got["p50_ms"], "p99_ms": got["p99_ms"], "cpu_s_per_1000": round(cpu * per_1000, 3), "load_cpu_s_per_1000": round(own, 3),
            "core_per_s": round(1000 / max(own, 0.001)), "pss_mb": round(house.memory_kib(but) / 1024, 1),
            "rss_anon_mb": round(house.memory_kib(but, "Private_Dirty") / 1024, 1),
            "resumed": round(got["resumed"] / could, 3) if could > 0 else 0, "refused": got["refused"], "lost": got["lost"], "said": got["said"]}


def measure_load(o, house, peer, work, sink):
    port = peer.submission if work.kind == "send" else peer.mx
    wait_port(port)
    came = sink.messages if work.kind == "send" and not peer.is_ceiling else peer.delivered
    but = (sink.process.pid,)
    ahead = load(o, port, work.kind, 10, "--messages", FIRST)
    if ahead["accepted"] < FIRST:
        raise RuntimeError(f"{ahead['accepted']} of the first {FIRST} messages were accepted, {ahead['lost']} connections lost: {'; '.join(ahead['said'])}")
    wait_until(came, FIRST)
    if not peer.is_ceiling:
        has_worked(work.kind, (house.dir / "first.eml").read_text() if work.kind == "send" else peer.one_message())
    cpu, began = house.cpu_seconds(but), time.monotonic()
    size = ("--messages", o.messages) if o.messages else ("--messages", peer.most, "--for", o.seconds)
    got = load(o, port, work.kind, 1 if work.single else o.per_connection, *size, *(["--resume"] if work.again else []))
    if got["accepted"] == 0:
        raise RuntimeError("nothing was accepted: " + "; ".join(got["said"]))
    wait_until(came, FIRST + got["accepted"])
    seconds = time.monotonic() - began
    return figures(house, but, house.cpu_seconds(but) - cpu, got, seconds)


def measure_idle(o, house, peer, sink):
    before = house.memory_kib((sink.process.pid,))
    held = idle(o, peer.mx)
    kib = house.memory_kib((sink.process.pid, held.pid))
    held.stdin.close()
    held.wait(60)
    return {"pss_mb_before": round(before / 1024, 1), "pss_mb": round(kib / 1024, 1), "more_mb": round((kib - before) / 1024, 1),
            "kib_each": round((kib - before) / IDLE, 1)}


def measure(server, name, o):
    work = WORKS[name]
    if name == "idle":                 # a descriptor for each, for load and for those that ask no more themselves
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    house = House(o.folder)
    house.serve_names(json.loads((pathlib.Path(o.secrets) / "zones.json").read_text()))
    sink = Sink(o.build, house.dir / "first.eml")
    peer = peers.named(server)(house, work.kind, o.build, sink.port, pathlib.Path(o.secrets))
    peer.under = o.under
    peer.connections = IDLE if name == "idle" else CONNECTIONS
    try:
        peer.start()
        wait_port(peer.mx)
        got = measure_idle(o, house, peer, sink) if name == "idle" else measure_load(o, house, peer, work, sink)
    except (RuntimeError, OSError, StopIteration) as e:
        raise RuntimeError(f"{e}{peer.last_words()}") from e
    return {**got, **(peer.end() if o.under else {})}
