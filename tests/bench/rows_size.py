#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Large messages.

size        10 MiB each, that bear no signature: CPU beside SHA-256's own, octets a second beside dd's
size-signed the same, DKIM-signed: their bodies are hashed
large       the most memory more while one message comes in, 5 KiB and 50 MiB

SHA-256's own is hashlib's (OpenSSL) over as many octets, and dd's is conv=fdatasync on the same file
system, both in turns with the server.  How often each octet is written is what the kernel counted for
the server (write_bytes).
"""

import base64
import hashlib
import json
import os
import pathlib
import smtplib
import statistics
import subprocess
import tempfile
import time

import ground
from rig import ZONE, Server, load

MIB = 1 << 20
PEAK_MOST_KIB = 2 << 10


# ---- what they are measured by --------------------------------------------------------

def sha256_seconds(octets):
    """CPU seconds for a MiB."""
    began = time.process_time()
    for _ in range(octets // MIB):
        hashlib.sha256(SOME).digest()
    return (time.process_time() - began) / (octets // MIB)


SOME = os.urandom(MIB)


def dd_speed(octets):
    """Octets a second onto this file system, synced."""
    file = pathlib.Path(tempfile.gettempdir()) / "dd"
    began = time.monotonic()
    subprocess.run(["dd", "if=/dev/zero", f"of={file}", "bs=1M", f"count={octets // MIB}", "conv=fdatasync"], check=True, capture_output=True)
    took = time.monotonic() - began
    file.unlink()
    return octets // MIB * MIB / took


def written(server):
    lines = pathlib.Path(f"/proc/{server.process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


# ---- 10 MiB each ----------------------------------------------------------------------

def signed_text(build, folder, octets):
    """A message with a DKIM signature (ed25519-sha256), and the zone that has its key."""
    key, texts = folder / "key.pem", folder / "texts"
    texts.mkdir()
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True)
    public = subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout[-32:]
    head = b"From: Load <load@sender.test>\r\nTo: <sink@here.test>\r\nSubject: large\r\nDate: " \
           + time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()).encode() + b"\r\nMessage-ID: <1@load.test>\r\n\r\n"
    text = head + (b"x" * 76 + b"\r\n") * ((octets - len(head)) // 78)
    done = subprocess.run([str(build / "postern"), "sign", "--domain", "sender.test", "--selector", "a1", "--key", str(key)],
                          input=text, stdout=subprocess.PIPE, check=True)
    (texts / "1.eml").write_bytes(done.stdout)
    return texts, ZONE + f'a1._domainkey.sender.test TXT "v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"\n'


def size(build, octets=10 * MIB, messages=20, turns=5, signed=False):
    room = 3 * octets * messages * (turns + 1) + (2 << 30)
    return ground.on_fresh_disk("rows_size", "measure_size", build, room, octets=octets, messages=messages, turns=turns, signed=signed)


def measure_size(build, octets, messages, turns, signed):
    with tempfile.TemporaryDirectory(prefix="texts-") as folder:
        what, zone = {"size": octets}, ZONE
        if signed:
            texts, zone = signed_text(build, pathlib.Path(folder), octets)
            what = {"texts": texts}
        server = Server(build, zone=zone)
        try:
            send(build, server, 2, what)                                # what is made at first use is made
            if signed:
                must_pass(server)
            runs = [one_turn(build, server, octets, messages, what) for _ in range(turns)]
        finally:
            server.stop()
    return size_figures(runs, signed)


def send(build, server, messages, what):
    before = server.status()["delivered"]
    got = load(build, server.port, connections=4, messages=messages, per_connection=100, **what)
    if not server.wait_delivered(before + messages):
        raise RuntimeError(f"{server.status()['delivered'] - before} of {messages} messages were delivered")
    return got


def must_pass(server):
    one = next((server.dir / "mail/here.test/sink/new").iterdir())
    with open(one, "rb") as f:
        if b"dkim=pass" not in f.read(4096):
            raise RuntimeError("dkim=pass is not in the header")


def one_turn(build, server, octets, messages, what):
    amount = octets * messages
    sha, dd = sha256_seconds(amount), dd_speed(amount)
    cpu, wrote, began = ground.cpu_seconds(server.process.pid), written(server), time.monotonic()
    send(build, server, messages, what)
    took = time.monotonic() - began
    return {"sha": sha, "dd": dd, "cpu": (ground.cpu_seconds(server.process.pid) - cpu) / (amount / MIB), "speed": amount / took,
            "times": (written(server) - wrote) / amount}


def shown(values, scale):
    values = sorted(v * scale for v in values)
    return f"{statistics.median(values):.2f} ({values[0]:.2f}–{values[-1]:.2f})"


def size_figures(runs, signed):
    of = {k: [r[k] for r in runs] for k in runs[0]}
    cost = statistics.median(r["cpu"] / r["sha"] for r in runs)
    times = statistics.median(of["times"])
    share = statistics.median(r["speed"] * r["times"] / r["dd"] for r in runs)
    return {"signed": "yes" if signed else "no", "cpu_ms_per_mib": shown(of["cpu"], 1000), "sha256_ms_per_mib": shown(of["sha"], 1000),
            "cpu_to_sha256": round(cost, 2), "cpu_goal": f"at most twice SHA-256's: {ground.verdict(cost <= 2)}",
            "mib_per_s": shown(of["speed"], 1 / MIB), "dd_mib_per_s": shown(of["dd"], 1 / MIB), "times_written": round(times, 2),
            "share_of_dd": round(share, 2), "speed_goal": f"at least 0.8 of dd's by the times written: {ground.verdict(share >= 0.8)}"}


def size_signed(build, **options):
    return size(build, signed=True, **options)


# ---- memory for one -------------------------------------------------------------------------

def large(build):
    return ground.on_fresh_disk("rows_size", "measure_large", build)


def measure_large(build):
    small, big = peak_of_one(build, 5 << 10), peak_of_one(build, 50 * MIB - 4096)
    return {"kib_more_for_5_kib": small["kib_more"], "kib_more_for_50_mib": big["kib_more"], "seconds_for_50_mib": big["seconds"],
            "goal": f"under 2 MiB for 50 MiB: {ground.verdict(big['kib_more'] < PEAK_MOST_KIB)}"}


def peak_of_one(build, octets):
    """The most RssAnon the server held while one message of that size came in and went to its Maildir."""
    server = Server(build)
    try:
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            client.sendmail("load@sender.test", "sink@here.test", "From: <load@sender.test>\r\n\r\nwarm\r\n")
        server.wait_delivered(1)
        before = most = server.memory_kib()
        sender = subprocess.Popen([str(build / "tests/bench/load"), "--port", str(server.port), "--connections", "1",
                                   "--messages", "1", "--size", str(octets)], stdout=subprocess.PIPE)
        while sender.poll() is None:
            most = max(most, server.memory_kib())
            time.sleep(0.0005)
        seconds = time.monotonic()
        while server.status()["delivered"] < 2 and time.monotonic() < seconds + 60:
            most = max(most, server.memory_kib())
        figures = json.loads(sender.stdout.read())
        if figures["accepted"] != 1:
            raise RuntimeError(f"a message of {octets} octets was not taken")
        return {"kib_more": max(most, server.memory_kib()) - before, "seconds": figures["seconds"]}
    finally:
        server.stop()


ROWS = {"size": size, "size-signed": size_signed, "large": large}
SHORT = {"size": ground.short(size, messages=10, turns=3), "size-signed": ground.short(size_signed, messages=10, turns=3)}

if __name__ == "__main__":
    ground.main(__doc__, ROWS, SHORT)
