#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What the server holds.

memory     RssAnon with 10,000 queued, and each one more up to 50,000; pages of the mapped store apart
idle       10,000 connections that said EHLO and wait, in the clear
idle-tls   the same after STARTTLS and EHLO
"""

import pathlib
import subprocess
import time

import ground
from rig import Server, load, relaying

ANON_MOST_KIB = 40 << 10
RECIPIENT_MOST = 300
IDLE_MOST = {False: 4096, True: 32 << 10}


# ---- a queue -------------------------------------------------------------------------

def memory(build, few=10000, many=50000):
    return ground.on_fresh_disk("rows_memory", "measure_queue", build, few=few, many=many)


def at_rest(server, patience=60):
    """RssAnon and RssFile when nothing is being tried and hardly any CPU is used, for six seconds: each five the server
    gives back what was freed."""
    end, quiet = time.monotonic() + patience, 0
    cpu = ground.cpu_seconds(server.process.pid)
    while quiet < 12 and time.monotonic() < end:
        time.sleep(0.5)
        now = ground.cpu_seconds(server.process.pid)
        quiet = quiet + 1 if server.status()["leased"] == 0 and now - cpu < 0.02 else 0
        cpu = now
    return ground.rss_kib(server.process.pid)


def measure_queue(build, few, many):
    server, sink = relaying(build, False, "retry-first = 10h retry-most = 20h")
    try:
        held = {0: at_rest(server)}
        for n in (few, many):
            load(build, server.port, connections=40, messages=n - max(held), per_connection=1000, size=200, to="dead@out.test")
            held[n] = at_rest(server)
        queued = server.status()["queued"]
    finally:
        server.stop()
        sink.stop()
    if queued != many:
        raise RuntimeError(f"{queued} of {many} are queued")
    each = (held[many]["RssAnon"] - held[few]["RssAnon"]) * 1024 / (many - few)
    figures = {f"{n} queued": f"RssAnon {h['RssAnon'] / 1024:.1f} MiB, RssFile {h['RssFile'] / 1024:.1f} MiB" for n, h in held.items()}
    return {**figures, "anon_goal": f"under 40 MiB with {few}: {ground.verdict(held[few]['RssAnon'] < ANON_MOST_KIB)}",
            "bytes_each_above": round(each), "each_goal": f"at most {RECIPIENT_MOST} bytes each above: {ground.verdict(each <= RECIPIENT_MOST)}"}


# ---- connections that wait ---------------------------------------------------------------

def idle(build, connections=10000, tls=False):
    return ground.on_fresh_disk("rows_memory", "measure_idle", build, connections=connections, tls=tls)


def slab_kib():
    """What the kernel holds for sockets, files and the like."""
    return next(int(line.split()[1]) for line in pathlib.Path("/proc/meminfo").read_text().splitlines() if line.startswith("SUnreclaim:"))


class Holder:
    def __init__(self, build, port, connections, tls):
        words = [build / "tests/bench/load", "--port", port, "--idle", connections, *(["--starttls"] if tls else [])]
        self.process = subprocess.Popen([str(w) for w in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline():
            raise RuntimeError(f"{connections} connections could not be held")

    def leave(self, server):
        self.process.stdin.close()
        self.process.wait(30)
        end = time.monotonic() + 60
        while server.status()["sessions"] > 0 and time.monotonic() < end:
            time.sleep(0.05)


def measure_idle(build, connections, tls):
    files = ground.allow_files()
    if files < connections + 200:
        return {"skipped": f"only {files} descriptors may be had, and only root may raise that: ulimit -n {connections + 200}"}
    server = Server(build, tls=tls)
    try:
        Holder(build, server.port, 20, tls).leave(server)               # what is made at first use is made
        before, slab = ground.rss_kib(server.process.pid), slab_kib()
        holder = Holder(build, server.port, connections, tls)
        after, more_slab = ground.rss_kib(server.process.pid), slab_kib()
        sessions = server.status()["sessions"]
        holder.leave(server)
        left = at_rest(server)
    finally:
        server.stop()
    if sessions < connections:
        raise RuntimeError(f"only {sessions} of {connections} connections are held")
    each, most = (after["RssAnon"] - before["RssAnon"]) * 1024 / connections, IDLE_MOST[tls]
    return {"connections": connections, "bytes_each": round(each), "goal": f"at most {most}: {ground.verdict(each <= most)}",
            "rss_anon_mib": f"{before['RssAnon'] / 1024:.1f}, with them {after['RssAnon'] / 1024:.1f}, when they have left {left['RssAnon'] / 1024:.1f}",
            "kernel_bytes_each": f"{(more_slab - slab) * 512 // connections} (half of what its slabs grew by: the other half is the load's)"}


def idle_tls(build, connections=10000):
    return idle(build, connections, True)


ROWS = {"memory": memory, "idle": idle, "idle-tls": idle_tls}
SHORT = {"memory": ground.short(memory, many=30000), "idle-tls": ground.short(idle_tls, connections=2000)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT)
