#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""bench: how fast, how patient, how large – on this machine, loopback only.

    make bench                     all rows
    tests/bench/bench.py --build build --rows accept,group,idle,large

Each row starts a server of its own in a fresh directory, loads it with
build/tests/bench/load and prints one line; --json FILE keeps the figures.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import time

CONF = """
hostname = "mail.here.test"
state = "{dir}/state"
listener "mx" {{ address = {{"127.0.0.1:0"}} role = inbound tls = none }}
resolver {{ records = "{dir}/dns" }}
limits {{ connections = 20000 connections-address = 20000 connections-network = 20000 messages-inbound = 1000000 }}
domain "here.test" {{ deliver {{ maildir = "{dir}/mail/%d/%u" }} }}
{more}
"""
ZONE = "test TXT NODATA\nsender.test A 127.0.0.1\nsender.test TXT \"v=spf1 ip4:127.0.0.1 -all\"\n" \
       "1.0.0.127.in-addr.arpa PTR sender.test\nhere.test A 127.0.0.1\n"


class Server:
    """A server in a directory of its own; gone, directory and all, at the end."""

    def __init__(self, build, more="", aliases="", keep_log=False, zone=ZONE):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-"))
        (self.dir / "state").mkdir(mode=0o700)
        (self.dir / "dns").write_text(zone)
        (self.dir / "state" / "accounts").touch(mode=0o600)
        (self.dir / "aliases").write_text(aliases)
        conf = self.dir / "postern.conf"
        conf.write_text(CONF.format(dir=self.dir, more=more.replace("DIR", str(self.dir))))
        self.postern, self.conf = str(build / "postern"), str(conf)
        subprocess.run([self.postern, "account", "add", "sink@here.test", "-c", self.conf], input=b"benchmark-word\n",
                       check=True, stdout=subprocess.DEVNULL)
        self.process = subprocess.Popen([self.postern, "serve", "-c", self.conf], stderr=subprocess.PIPE, text=True,
                                        preexec_fn=self.own_user)
        self.port = None
        for line in self.process.stderr:
            if "listener.opened" in line:
                self.port = int(line.split("address=")[1].split()[0].rsplit(":", 1)[1])
            if "server.started" in line:
                break
        else:
            sys.exit("bench: the server did not start")
        # The log goes on being read, or the server's writer would wait for us.
        self.log_file = self.dir / "log"
        self.log = subprocess.Popen(["cat"], stdin=self.process.stderr,
                                    stdout=open(self.log_file, "w") if keep_log else subprocess.DEVNULL)

    def own_user(self):
        if os.geteuid() == 0:           # root would want a user to become
            shutil.chown(self.dir, 65534, 65534)
            for path in self.dir.rglob("*"):
                shutil.chown(path, 65534, 65534)
            os.setgid(65534)
            os.setuid(65534)

    def status(self):
        out = subprocess.run([self.postern, "status", "--json", "-c", self.conf], check=True, capture_output=True)
        return json.loads(out.stdout)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kib(self, what="RssAnon"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])

    def wait_delivered(self, n, patience=120):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if self.status()["delivered"] >= n:
                return True
            time.sleep(0.05)
        return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.wait(10)
        shutil.rmtree(self.dir)


def load(build, port, **options):
    words = [str(build / "tests/bench/load"), "--port", str(port)]
    for name, value in options.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(words, capture_output=True, text=True)
    if not done.stdout:
        sys.exit("bench: load said: " + done.stderr)
    return json.loads(done.stdout)


def accept_row(build, connections, messages, per_connection, size=4096, more=""):
    server = Server(build, more)
    try:
        cpu = server.cpu_seconds()
        began = time.monotonic()
        figures = load(build, server.port, connections=connections, messages=messages, per_connection=per_connection,
                       size=size)
        delivered = server.wait_delivered(figures["accepted"])
        seconds = time.monotonic() - began
        status = server.status()
        figures.update(
            delivered_per_second=round(figures["accepted"] / seconds, 1) if delivered else None,
            cpu_s_per_1000=round((server.cpu_seconds() - cpu) * 1000 / max(1, figures["accepted"]), 3),
            syncs=2 * status["commits"], messages_per_commit=round(figures["accepted"] / max(1, status["commits"]), 1),
            largest_commit=status["batch_longest"], rss_anon_kib=server.memory_kib(), longest_turn_ms=status["loop_longest_ms"])
        return figures
    finally:
        server.stop()


def idle_row(build, connections):
    server = Server(build)
    try:
        before = server.memory_kib()
        holder = subprocess.Popen([str(build / "tests/bench/load"), "--port", str(server.port), "--idle", str(connections)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        after = server.memory_kib()
        holder.stdin.close()
        holder.wait(30)
        return {"idle": connections, "bytes_each": round((after - before) * 1024 / connections)}
    finally:
        server.stop()


def peak_of_one(build, size):
    """The most memory the server held while one message of that size came in."""
    server = Server(build, "")
    try:
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            client.sendmail("load@sender.test", "sink@here.test", "From: <load@sender.test>\r\n\r\nwarm\r\n")
        before = server.memory_kib()
        sender = subprocess.Popen([str(build / "tests/bench/load"), "--port", str(server.port), "--connections", "1",
                                   "--messages", "1", "--size", str(size)], stdout=subprocess.PIPE)
        most = before
        while sender.poll() is None:
            most = max(most, server.memory_kib())
        figures = json.loads(sender.stdout.read())
        assert figures["accepted"] == 1
        server.wait_delivered(2)
        return {"kib_more": max(most, server.memory_kib()) - before, "seconds": figures["seconds"]}
    finally:
        server.stop()


# ---- the way out ----------------------------------------------------------------

class Sink:
    """build/tests/bench/sink: takes all that is sent; who talks to 127.0.0.2 hears that it is busy."""

    def __init__(self, build):
        self.process = subprocess.Popen([str(build / "tests/bench/sink"), "--busy", "421 4.7.28 too many messages from you"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def messages(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[0])

    def wait(self, n, patience=120):
        end = time.monotonic() + patience
        while self.messages() < n:
            if time.monotonic() > end:
                sys.exit(f"bench: {self.messages()} of {n} messages came out")
            time.sleep(0.02)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


SLOW_DOMAINS = 50


def relaying(build, keep_log=False, options=""):
    """A server that forwards what its aliases say, and the sink."""
    sink = Sink(build)
    names = "".join(f"slow{i}.test MX 1 mx{i}.slow.test\nmx{i}.slow.test A 127.0.0.2\n" for i in range(SLOW_DOMAINS))
    zone = ZONE + "far.test MX 1 mx.far.test\nmx.far.test A 127.0.0.1\ndead.test MX 1 mx.dead.test\nmx.dead.test A 240.0.0.1\n" + names
    aliases = "far: x@far.test\ndead: x@dead.test\n" + "".join(f"slow{i}: x@slow{i}.test\n" for i in range(SLOW_DOMAINS))
    server = Server(build, f'domain "out.test" {{ aliases = "DIR/aliases" }}\nrelay {{ port = {sink.port} {options} }}\n'
                    'queue { size = "16 GiB" }', aliases, keep_log, zone)
    return server, sink


def out_row(build, messages):
    """Taken here and sent on: how far the way out stays behind the way in."""
    server, sink = relaying(build)
    try:
        began = time.monotonic()
        figures = load(build, server.port, connections=40, messages=messages, per_connection=10, to="far@out.test")
        accepted = time.monotonic() - began
        sink.wait(messages)
        sent = time.monotonic() - began
        return {"accepted_per_second": round(messages / accepted, 1), "sent_per_second": round(messages / sent, 1),
                "behind_s": round(sent - accepted, 2), "p99_ms": figures["p99_ms"],
                "longest_turn_ms": server.status()["loop_longest_ms"]}
    finally:
        server.stop()
        sink.stop()


def dead_row(build, messages):
    """A long line to a destination that is down: memory, CPU at rest, and what others feel."""
    server, sink = relaying(build)
    try:
        few = {"connections": 20, "messages": 5000, "per_connection": 10}
        alone = load(build, server.port, to="far@out.test", **few)
        sink.wait(5000)
        memory = server.memory_kib()
        load(build, server.port, connections=40, messages=messages, per_connection=100, size=200, to="dead@out.test")
        more = server.memory_kib() - memory
        cpu = server.cpu_seconds()
        time.sleep(5)
        cpu = (server.cpu_seconds() - cpu) / 5
        beside = load(build, server.port, to="far@out.test", **few)
        sink.wait(10000)
        return {"queued": server.status()["waiting"], "bytes_each": round(more * 1024 / messages),
                "cpu_percent_at_rest": round(100 * cpu, 2),
                "p50_ms": f"{alone['p50_ms']}, beside it {beside['p50_ms']}", "p99_ms": f"{alone['p99_ms']}, beside it {beside['p99_ms']}"}
    finally:
        server.stop()
        sink.stop()


def times_of(log_file):
    """Milliseconds from message.stored to delivery.sent, sorted."""
    times = {"message.stored": {}, "delivery.sent": {}}      # the threads' lines are not always in order
    for line in log_file.read_text().splitlines():
        words = line.split(" ", 4)
        if len(words) > 3 and words[2] in times:
            times[words[2]][words[3]] = datetime.datetime.fromisoformat(words[0]).timestamp() * 1000
    stored, sent = times.values()
    return sorted(sent[n] - stored[n] for n in sent)


def pace_row(build, messages):
    """What a destination feels of a provider with fifty domains that answers 421 all the time."""
    figures = {}
    for what in ("alone", "beside"):
        server, sink = relaying(build, True, "retry-first = 1s retry-most = 2s")
        try:
            if what == "beside":
                for i in range(SLOW_DOMAINS):
                    load(build, server.port, connections=1, messages=20, per_connection=20, size=200, to=f"slow{i}@out.test")
            load(build, server.port, connections=10, messages=messages, per_connection=10, to="far@out.test")
            sink.wait(messages)
            time.sleep(0.3)
            took = times_of(server.log_file)
            figures[what] = f"p50 {took[len(took) // 2]:.0f} ms, p99 {took[len(took) * 99 // 100]:.0f} ms"
        finally:
            server.stop()
            sink.stop()
    return figures


ROWS = {
    "accept": lambda build: accept_row(build, 40, 20000, 10),
    "single": lambda build: accept_row(build, 40, 5000, 1),
    "group": lambda build: accept_row(build, 64, 20000, 100),
    "idle": lambda build: idle_row(build, 500),
    "out": lambda build: out_row(build, 20000),
    "pace": lambda build: pace_row(build, 10000),
    "dead": lambda build: dead_row(build, 100000),
    "large": lambda build: {"5 KiB": peak_of_one(build, 5 << 10), "50 MB": peak_of_one(build, 50_000_000)},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=pathlib.Path)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    results = {}
    for row in args.rows.split(","):
        results[row] = ROWS[row](args.build.resolve())
        print(f"{row:8}", "  ".join(f"{k}={v}" for k, v in results[row].items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
