#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""compare: postern beside its peers, each work in turns (A B C, A B C, …) in
namespaces of its own on a fresh ext4.  As root.

    tests/bench/compare.py --build build [--works box,judge,send] [--peers postern,postfix,…|all]
        [--turns 3] [--messages 20000] [--json FILE] [--markdown FILE]

Prints a Markdown table: medians, with the least and the most behind them.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import peers  # noqa: E402
from house import House, program, run, wait_port  # noqa: E402

WORKS = {
    "box": "W1: port 25, accept, queue, Maildir",
    "judge": "W2: the same, SPF, DKIM (rsa-2048) and DMARC verified",
    "send": "W3: 587, STARTTLS, AUTH PLAIN, DKIM rsa-2048 signed, relayed",
}
TEXTS = 50                     # different messages


# ---- what all share, made once ------------------------------------------------------------

def make_secrets(folder, build, size):
    """A certificate, two DKIM keys, messages that are signed, and the zones."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-subj", "/CN=mail.here.example", "-keyout", folder / "cert.key", "-out", folder / "cert.pem")
    zones = {"example": "ns A 127.0.0.1\n", "1.0.0.127.in-addr.arpa": "@ PTR sender.example.\n", "here.example": "@ MX 10 mail\nmail A 127.0.0.1\n",
             "sender.example": '@ A 127.0.0.1\n@ MX 10 @\n@ TXT "v=spf1 ip4:127.0.0.1 -all"\n_dmarc TXT "v=DMARC1; p=reject"\n'}
    for name, zone, selector in (("dkim", "here.example", "s1"), ("author", "sender.example", "a1")):
        run("openssl", "genrsa", "-traditional", "-out", folder / f"{name}.pem", "2048")
        public = "".join(run("openssl", "rsa", "-in", folder / f"{name}.pem", "-pubout").splitlines()[1:-1])
        halves = f'"v=DKIM1; k=rsa; p={public[:200]}" "{public[200:]}"'
        zones[zone] += f"{selector}._domainkey TXT ( {halves} )\n"
    (folder / "zones.json").write_text(json.dumps(zones))
    for work, sender in (("box", "load@sender.example"), ("judge", "load@sender.example"), ("send", "sink@here.example")):
        (folder / work).mkdir()
        for i in range(TEXTS):
            to = "someone@far.example" if work == "send" else "sink@here.example"
            head = f"From: Load <{sender}>\r\nTo: <{to}>\r\nSubject: message {i}\r\n" \
                   f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\r\nMessage-ID: <{i}@load.test>\r\n" \
                   "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
            text = (head + ("A line of text that is as long as those that people write.\r\n" * (size // 60 + 1)))[:size - 2].rstrip("\r\n") + "\r\n"
            if work == "judge":
                text = subprocess.run([build / "postern", "sign", "--domain", "sender.example", "--selector", "a1", "--key", folder / "author.pem"],
                                      input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()
            (folder / work / f"{i}.eml").write_bytes(text.encode())
    run("chmod", "-R", "a+rX", folder)


# ---- inside the namespaces -------------------------------------------------------------------

def load(build, port, work, secrets, messages, per_connection, connections=40, **more):
    words = [build / "tests/bench/load", "--port", port, "--connections", connections, "--messages", messages,
             "--per-connection", per_connection, "--texts", secrets / work, "--quit",
             "--from", "sink@here.example" if work == "send" else "load@sender.example",
             "--to", "someone@far.example" if work == "send" else "sink@here.example"]
    if work == "send":
        words += ["--starttls", "--login", "sink@here.example", "--password", peers.PASSWORD]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError("load: " + done.stderr)
    return {**json.loads(done.stdout), "said": done.stderr.splitlines()[:3]}


class Sink:
    def __init__(self, build, keep):
        self.process = subprocess.Popen([str(build / "tests/bench/sink"), "--keep", str(keep)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def messages(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[0])


def has_worked(work, text):
    """What is measured is what the work asks for."""
    head = text.replace("\r\n", "\n").split("\n\n")[0].lower()
    wanted = {"box": ("received:",), "judge": ("spf=pass", "dkim=pass", "dmarc=pass"), "send": ("dkim-signature:", "d=here.example")}
    for word in wanted[work]:
        if word not in head:
            raise RuntimeError(f"{word} is not in the header:\n{head}")


def measure(peer_name, work, o):
    secrets = pathlib.Path(o.secrets)
    house = House(o.folder)
    house.serve_names(json.loads((secrets / "zones.json").read_text()))
    first = house.dir / "first.eml"
    sink = Sink(o.build, first)
    peer = next(p for p in peers.ALL if p.name == peer_name)(house, work, o.build, sink.port, secrets)
    peer.under = o.under
    peer.start()
    port = peer.submission if work == "send" else peer.mx
    wait_port(port)
    came = sink.messages if work == "send" else peer.delivered
    but = (sink.process.pid,)

    def until(n, patience=300):
        end = time.monotonic() + patience
        while came() < n:
            if time.monotonic() > end:
                raise RuntimeError(f"{came()} of {n} messages came out")
            time.sleep(0.05)

    load(o.build, port, work, secrets, 200, 10)         # what is made at first use is made
    until(200)
    has_worked(work, first.read_text() if work == "send" else peer.one_message())
    cpu, began = house.cpu_seconds(but), time.monotonic()
    got = load(o.build, port, work, secrets, o.messages, o.per_connection)
    until(200 + got["accepted"])
    seconds = time.monotonic() - began
    return {"accepted_per_s": got["per_second"], "delivered_per_s": round(got["accepted"] / seconds, 1), "p50_ms": got["p50_ms"],
            "p99_ms": got["p99_ms"], "cpu_s_per_1000": round((house.cpu_seconds(but) - cpu) * 1000 / max(1, got["accepted"]), 3),
            "load_cpu_s_per_1000": round(got["own_cpu_s"] * 1000 / max(1, got["accepted"]), 3), "pss_mb": round(house.memory_kib(but) / 1024, 1),
            "rss_anon_mb": round(house.memory_kib(but, "Private_Dirty") / 1024, 1), "refused": got["refused"], "lost": got["lost"],
            "said": got["said"], **(peer.end() if o.under else {})}


# ---- outside -------------------------------------------------------------------------------------

def in_namespaces(peer, work, o, secrets, under=()):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-", dir=o.disk))
    os.chmod(folder, 0o755)
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "/usr/bin/python3", __file__, "--inside", peer, work,
             "--build", o.build, "--secrets", secrets, "--folder", folder, "--messages", o.messages, "--per-connection", o.per_connection, "--under", *under]
    try:
        done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, text=True, timeout=900)
        if done.returncode != 0:
            return None
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def middle(results, key):
    values = sorted(r[key] for r in results)
    text = f"{statistics.median(values):g}"
    return text if len(values) < 2 else f"{text} ({values[0]:g}–{values[-1]:g})"


def table(results, works):
    lines = []
    for work in works:
        lines += ["", f"**{WORKS[work]}**", "", "| server | accepted/s | delivered/s | p99 ms | CPU s per 1,000 | PSS MB |", "|---|---|---|---|---|---|"]
        for (peer, of), runs in results.items():
            if of == work and runs:
                lines.append(f"| {peer} | {middle(runs, 'accepted_per_s')} | {middle(runs, 'delivered_per_s')} | {middle(runs, 'p99_ms')} | "
                             f"{middle(runs, 'cpu_s_per_1000')} | {middle(runs, 'pss_mb')} |")
    return "\n".join(lines[1:]) + "\n"


def compare(o):
    wanted = [p for p in peers.ALL if o.peers == "all" or p.name in o.peers.split(",")]
    for p in wanted[:]:
        if p.missing():
            print(f"# {p.name}: not here: {', '.join(p.missing())}", file=sys.stderr)
            wanted.remove(p)
    works = o.works.split(",")
    results = {(p.name, w): [] for w in works for p in wanted if w in p.works}
    with tempfile.TemporaryDirectory(prefix="postern-bench-secrets-") as folder:
        os.chmod(folder, 0o755)
        make_secrets(pathlib.Path(folder), o.build, o.size)
        for _ in range(o.turns):
            for (peer, work), runs in results.items():
                got = in_namespaces(peer, work, o, folder)
                print(f"# {peer} {work}: {got}", file=sys.stderr, flush=True)
                if got:
                    runs.append(got)
    print(table(results, works))
    if o.json:
        o.json.write_text(json.dumps({f"{p} {w}": r for (p, w), r in results.items()}, indent=2) + "\n")
    if o.markdown:
        o.markdown.write_text(table(results, works))


def missing():
    """Debian's packages of what is not here."""
    needs = {"unshare": "util-linux", "ip": "iproute2", "mkfs.ext4": "e2fsprogs", "nsd": "nsd", "openssl": "openssl"}
    return [package for name, package in needs.items() if program(name) is None]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--peers", default="all")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--per-connection", type=int, default=10)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--disk", default=tempfile.gettempdir(), help="where the images are made")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--secrets", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--under", nargs=argparse.REMAINDER, default=(), help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.inside:
        print(json.dumps(measure(*o.inside, o)))
    elif os.geteuid() != 0:
        sys.exit("compare: namespaces and images need root: run it as root")
    elif missing():
        sys.exit("compare: these programs are missing: install " + ", ".join(missing()))
    else:
        compare(o)


if __name__ == "__main__":
    main()
