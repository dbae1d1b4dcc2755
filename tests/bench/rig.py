# SPDX-License-Identifier: ISC
"""What rows load: a server of its own each, and a sink that takes what it sends on."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NOBODY = 65534
CONF = """
hostname = "mail.here.test"
state = "{dir}/state"
listener "mx" {{ address = {{"127.0.0.1:{port}"}} role = inbound {tls} }}
resolver {{ records = "{dir}/dns" }}
limits {{ connections = 40000 connections-address = 20000 connections-network = 20000 messages-inbound = 1000000 }}
domain "here.test" {{ deliver {{ maildir = "{dir}/mail/%d/%u" }} }}
{more}
"""
ZONE = "test TXT NODATA\nsender.test A 127.0.0.1\nsender.test TXT \"v=spf1 ip4:127.0.0.1 -all\"\n" \
       "1.0.0.127.in-addr.arpa PTR sender.test\nhere.test A 127.0.0.1\n"


class Server:
    """A server in a directory of its own; gone, directory and all, at the end.  `port` 0: the kernel's choice.
    With `tls`, STARTTLS with a certificate of its own."""

    def __init__(self, build, more="", aliases="", keep_log=False, zone=ZONE, port=0, tls=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-"))
        (self.dir / "state").mkdir(mode=0o700)
        (self.dir / "dns").write_text(zone)
        (self.dir / "state" / "accounts").touch(mode=0o600)
        (self.dir / "aliases").write_text(aliases)
        if tls:
            more += self.certificate()
        conf = self.dir / "postern.conf"
        conf.write_text(CONF.format(dir=self.dir, port=port, tls="tls = starttls" if tls else "tls = none", more=more.replace("DIR", str(self.dir))))
        self.postern, self.conf, self.keep_log = str(build / "postern"), str(conf), keep_log
        subprocess.run([self.postern, "account", "add", "sink@here.test", "-c", self.conf], input=b"benchmark-word\n",
                       check=True, stdout=subprocess.DEVNULL)
        self.user = {}
        if os.geteuid() == 0:           # root would want a user to become
            self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for path in (self.dir, *self.dir.rglob("*")):
                shutil.chown(path, NOBODY, NOBODY)
        self.start()

    def certificate(self):
        pem, key = self.dir / "cert.pem", self.dir / "cert.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=mail.here.test", "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
        return f'\ntls {{ certificate = "{pem}" key = "{key}" }}\n'

    def start(self):
        self.launch()
        self.settle()

    def launch(self):
        self.process = subprocess.Popen([self.postern, "serve", "-c", self.conf], stderr=subprocess.PIPE, text=True, **self.user)

    def settle(self):
        """Until it says that it has started."""
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
                                    stdout=open(self.log_file, "w") if self.keep_log else subprocess.DEVNULL)

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

    def halt(self, how=signal.SIGTERM):
        """The process ends; its directory stays."""
        self.process.send_signal(how)
        self.process.wait(60)
        self.log.wait(10)
        self.process.stderr.close()

    def stop(self):
        self.halt()
        shutil.rmtree(self.dir)


def load(build, port, **options):
    words = [str(build / "tests/bench/load"), "--port", str(port)]
    for name, value in options.items():
        words += ["--" + name.replace("_", "-"), *([] if value is None else [str(value)])]
    done = subprocess.run(words, capture_output=True, text=True)
    if not done.stdout:
        sys.exit("bench: load said: " + done.stderr)
    return json.loads(done.stdout)


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


def relaying(build, keep_log=False, options="", port=0):
    """A server that forwards what its aliases say, and the sink."""
    sink = Sink(build)
    names = "".join(f"slow{i}.test MX 1 mx{i}.slow.test\nmx{i}.slow.test A 127.0.0.2\n" for i in range(SLOW_DOMAINS))
    zone = ZONE + "far.test MX 1 mx.far.test\nmx.far.test A 127.0.0.1\ndead.test MX 1 mx.dead.test\nmx.dead.test A 240.0.0.1\n" + names
    aliases = "far: x@far.test\ndead: x@dead.test\n" + "".join(f"slow{i}: x@slow{i}.test\n" for i in range(SLOW_DOMAINS))
    server = Server(build, f'domain "out.test" {{ aliases = "DIR/aliases" }}\nrelay {{ port = {sink.port} {options} }}\n'
                    'queue { size = "16 GiB" }', aliases, keep_log, zone, port)
    return server, sink
