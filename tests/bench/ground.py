# SPDX-License-Identifier: ISC
"""The ground that the long rows stand on: a fresh disk in namespaces of its own,
figures of the server each second, and what a series of them says.

As root a row runs again in a House (its own network, mount and process namespace, a fresh ext4),
and all of it ends with the row; else it runs in the folder for temporary files, and says so.
"""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import house  # noqa: E402

FILES = 60000                  # descriptors that a row with many connections wants
SMALL = 6 << 30                # of an image, when nobody says more
NOT_FRESH = "folder for temporary files: only root can make a fresh file system"


# ---- where a row runs ------------------------------------------------------------------

def on_fresh_disk(module, function, build, disk_bytes=SMALL, **options):
    """What that function says, on a disk of so many bytes; its image is sparse."""
    if disk_bytes > SMALL and disk_bytes > free_bytes():
        return {"skipped": f"{disk_bytes >> 30} GiB may be needed, {free_bytes() >> 30} are free in {tempfile.gettempdir()}"}
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return {**getattr(importlib.import_module(module), function)(build, **options), "disk": NOT_FRESH}
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-"))
    os.chmod(folder, 0o755)
    order = json.dumps({"module": module, "function": function, "build": str(build), "disk_bytes": disk_bytes, "options": options,
                        "folder": str(folder)})
    try:
        done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, __file__, order],
                              stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{module}.{function} ended with status {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stand(order):
    """Inside the namespaces."""
    house.IMAGE_BYTES = order["disk_bytes"]
    tempfile.tempdir = str(house.House(order["folder"]).dir)
    # Ten thousand connections that come again and again need more ports than the usual 28,000.
    pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535")
    return getattr(importlib.import_module(order["module"]), order["function"])(pathlib.Path(order["build"]), **order["options"])


def free_bytes():
    return shutil.disk_usage(tempfile.gettempdir()).free


def allow_files(wanted=FILES):
    """As many descriptors as may be had, for us and our children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):           # a root without CAP_SYS_RESOURCE
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, wanted)))
        hard = max(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, wanted), hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# ---- figures each second ------------------------------------------------------------------

def cpu_seconds(pid):
    """Of the threads that live, to the nanosecond: the figures of /proc/PID/stat have steps of 10 ms."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def rss_kib(pid):
    found = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile"):
            found[name] = int(value.split()[0])
    return found


class Watch:
    """Asks the server each second, in a thread of its own, until it is stopped: one dict a second."""

    def __init__(self, server):
        self.server, self.samples = server, []
        self.began, self.over = time.monotonic(), threading.Event()
        self.cpu = cpu_seconds(server.process.pid)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(max(0, self.began + len(self.samples) + 1 - time.monotonic())):
            try:
                self.samples.append({"cpu_s": cpu_seconds(self.server.process.pid) - self.cpu, **rss_kib(self.server.process.pid),
                                     **self.server.status(), "at_s": time.monotonic() - self.began})
            except (OSError, subprocess.CalledProcessError):            # the server has gone: whoever ended it says why
                return

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.samples


# ---- what a series says ------------------------------------------------------------------------

def slope(points):
    """Of the straight line with the least squares through (x, y)."""
    if len(points) < 3:
        return 0.0
    mx, my = statistics.fmean(x for x, _ in points), statistics.fmean(y for _, y in points)
    return sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)


def ends(values):
    """Medians of the first and the last fifth: of five minutes, the first and the last."""
    n = max(1, len(values) // 5)
    return statistics.median(values[:n]), statistics.median(values[-n:])


ENOUGH = 60                    # seconds: in a shorter run the start is too large a part, and chance


def verdict(reached, seconds=ENOUGH):
    return "too short to say" if seconds < ENOUGH else "reached" if reached else "missed"


# ---- by hand ------------------------------------------------------------------------------------

def main(text, rows, brief, options=()):
    """A file of rows as a program: some or all of them, long or in short; options: numbers that change a row."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--rows", default=",".join(rows))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    for name in options:
        parser.add_argument("--" + name, type=int)
    o = parser.parse_args()
    given = {name: getattr(o, name) for name in options if getattr(o, name) is not None}
    results = {}
    for row in o.rows.split(","):
        results[row] = (brief if o.short else rows)[row](o.build, **given)
        print(row, *(f"    {k} = {v}" for k, v in results[row].items() if k != "series"), sep="\n", flush=True)
        if o.json:
            o.json.write_text(json.dumps(results, indent=2) + "\n")


def short(function, **fixed):
    return lambda build, **given: function(build, **{**fixed, **given})


if __name__ == "__main__":
    print(json.dumps(stand(json.loads(sys.argv[1]))))
