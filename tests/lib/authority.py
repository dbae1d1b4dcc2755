# SPDX-License-Identifier: ISC
"""Authoritative servers of one's own, for tests: real nsd and real knot, each at a
loopback address, all at one port that the kernel chose.

    with Authorities({"gate.example": 's1._domainkey TXT "v=DKIM1; p=…"'}) as world:
        resolver { forward = {"<world.resolver>"} trust-anchor = "<world.anchor>" authority-port = <world.port> }
        world.change("gate.example", text)                     # everybody; served when this returns
        world.servers[1].change("gate.example", text)          # this one only: a secondary that lags
        world.servers[1].stop(); world.servers[1].start()   # down, and up again

A zone's text is lines of a zone file, names relative to the zone, without SOA and NS:
the servers are ns1, ns2, … of each zone, nsd first, then knot.  `signed`: DNSSEC by
ldns-signzone, all servers from one signed file.  `updates`: {key name: (algorithm,
secret)} that may change every zone at the knot servers (RFC 2136).  `edns`: larger answers are truncated over UDP
(knot: never below 1220).  What is waited for
is the answer of the server itself, never a time.  Names below .test reach nobody: our
resolver answers them itself; take .example.
"""

import ipaddress
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from dnslib import DNSRecord, QTYPE
from ports import free_port

PROGRAMS = ("nsd", "knotd", "ldns-keygen", "ldns-signzone")
PATIENCE = 20
ADDRESSES = ("127.0.7.1", "127.0.7.2", "127.0.7.3", "127.0.7.4")


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing():
    """Programs that are not here: Debian's nsd, knot and ldnsutils have them."""
    return [p for p in PROGRAMS if program(p) is None]


class Authority:
    """One server.  `zones` is {name: whole text of the zone file}."""

    def __init__(self, kind, address, port, zones, updates=None, edns=None):
        self.kind, self.address, self.port = kind, address, port
        self.zones, self.updates, self.edns = dict(zones), updates or {}, edns
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"postern-{kind}-"))
        os.chmod(self.dir, 0o755)
        (self.dir / "db").mkdir()
        self.process = None
        for zone, text in self.zones.items():
            self.path(zone).write_text(text)
        (self.dir / "conf").write_text(self.nsd_conf() if kind == "nsd" else self.knot_conf())

    def path(self, zone):
        return self.dir / (zone + ".zone")

    def nsd_conf(self):
        zones = "".join(f'zone:\n name: "{z}"\n zonefile: "{self.path(z)}"\n' for z in self.zones)
        edns = f" ipv4-edns-size: {self.edns}\n ipv6-edns-size: {self.edns}\n" if self.edns else ""
        return (f'server:\n ip-address: {self.address}@{self.port}\n username: ""\n chroot: ""\n zonesdir: "{self.dir}"\n'
                f' pidfile: ""\n database: ""\n xfrdfile: ""\n zonelistfile: "{self.dir}/zonelist"\n xfrdir: "{self.dir}"\n server-count: 1\n'
                f' hide-version: yes\n rrl-ratelimit: 0\n{edns}remote-control:\n control-enable: no\n{zones}')

    def knot_conf(self):
        keys = "".join(f"  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n"
                       for name, (algorithm, secret) in self.updates.items())
        acl = "acl:\n" + "".join(f"  - id: may-{i}\n    key: {name}\n    action: update\n"
                                 for i, name in enumerate(self.updates)) if keys else ""
        may = "    acl: [" + ", ".join(f"may-{i}" for i in range(len(self.updates))) + "]\n" if keys else ""
        edns = f"    udp-max-payload: {max(self.edns, 1220)}\n" if self.edns else ""
        zones = "".join(f'  - domain: {z}.\n    file: "{self.path(z)}"\n    zonefile-sync: -1\n'
                        f'    journal-content: none\n    semantic-checks: off\n{may}' for z in self.zones)
        return (f"server:\n    rundir: {self.dir}\n    listen: {self.address}@{self.port}\n    udp-workers: 1\n"
                f"    tcp-workers: 1\n    background-workers: 1\n{edns}database:\n    storage: {self.dir}/db\n"
                f"log:\n  - target: stderr\n    any: warning\n"
                + (f"key:\n{keys}{acl}" if keys else "") + (f"zone:\n{zones}" if zones else ""))

    # ---- what it says

    def ask(self, name, kind="TXT", tcp=False, timeout=0.2):
        """dnslib's record of the answer; OSError when there is none in time."""
        question = DNSRecord.question(name, kind)
        return DNSRecord.parse(question.send(self.address, self.port, tcp=tcp, timeout=timeout, ipv6=":" in self.address))

    def serial(self, zone):
        answer = self.ask(zone, "SOA")
        return next((rr.rdata.times[0] for rr in answer.rr if rr.rtype == QTYPE.SOA), None)

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.01)                        # between two questions
        self.stop()
        raise AssertionError(f"{self.kind} at {self.address}: {what}: {(self.dir / 'log').read_text()}")

    def is_up(self):
        if self.zones:
            return self.serial(next(iter(self.zones))) is not None
        return self.ask("nothing.invalid", "SOA") is not None

    # ---- what is done to it

    def start(self):
        words = ["nsd", "-d", "-c"] if self.kind == "nsd" else ["knotd", "-c"]
        with open(self.dir / "log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([program(words[0]), *words[1:], str(self.dir / "conf")], cwd=self.dir,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait(self.is_up, "it does not answer")
        return self

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def serve(self, zone, text, serial):
        """The whole text of the zone file; returns when `serial` is served."""
        self.zones[zone] = text
        fresh = self.path(zone).with_suffix(".fresh")       # never half a file: nsd would know it by its time for ever
        fresh.write_text(text)
        os.replace(fresh, self.path(zone))
        if self.process is not None:
            self.told = self.times = 0
            self.wait(lambda: self.read_again(zone, serial), f"{zone} did not become {serial}")

    def read_again(self, zone, serial):
        """SIGHUP: both read their zones again.  nsd may miss one that comes while it still reads, and now
        and then it loses the process that reads and is deaf from then on: then it is started afresh."""
        if time.monotonic() > self.told + 0.5:
            self.told, self.times = time.monotonic(), self.times + 1
            if self.times % 4 == 0 and self.kind == "nsd":
                self.stop()
                self.start()
            else:
                self.process.send_signal(signal.SIGHUP)
        return self.serial(zone) == serial

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Served:
    """One of Authorities' servers: change() takes the short text."""

    def __init__(self, world, authority):
        self.world, self.authority = world, authority
        self.address, self.kind = authority.address, authority.kind
        self.start, self.stop, self.ask, self.serial = authority.start, authority.stop, authority.ask, authority.serial

    def change(self, zone, text):
        serial, whole = self.world.make(zone, text)
        self.authority.serve(zone, whole, serial)


class Authorities:
    def __init__(self, zones, kinds=("nsd", "knot"), addresses=ADDRESSES, signed=False, updates=None, edns=None,
                 absent=None, names=None):
        """`absent`: {index of a server: zones it does not have}: lame.  `names`: lines for NS in
        place of our own ("@ NS ns1\\nns1 A …")."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-world-"))
        os.chmod(self.dir, 0o755)
        self.addresses = addresses[:len(kinds)]
        self.signed, self.names, self.serials, self.keys = signed, names, {}, {}
        self.anchor = self.dir / "anchors"
        self.anchor.write_text("")
        self.port = free_port(self.addresses)
        self.resolver = f"{self.addresses[0]}:{self.port}"
        whole = {zone: self.make(zone, text)[1] for zone, text in zones.items()}
        self.servers = []
        for i, kind in enumerate(kinds):
            mine = {z: t for z, t in whole.items() if z not in (absent or {}).get(i, ())}
            self.servers.append(Served(self, Authority(kind, self.addresses[i], self.port, mine, updates, edns)))

    def head(self, serial):
        lines = [f"$TTL 60\n@ SOA ns1 hostmaster {serial} 3600 600 864000 60"]
        if self.names is not None:
            return "\n".join([*lines, self.names, ""])
        for i, address in enumerate(self.addresses):
            kind = "AAAA" if ipaddress.ip_address(address).version == 6 else "A"
            lines += [f"@ NS ns{i + 1}", f"ns{i + 1} {kind} {address}"]
        return "\n".join([*lines, ""])

    def run(self, *words):
        done = subprocess.run([program(words[0]), *words[1:]], cwd=self.dir, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def make(self, zone, text):
        """The next serial, and the whole zone file with it."""
        serial = self.serials[zone] = self.serials.get(zone, 0) + 1
        whole = f"$ORIGIN {zone}.\n" + self.head(serial) + text + "\n"
        if not self.signed:
            return serial, whole
        if zone not in self.keys:
            self.keys[zone] = self.run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", zone)
            with open(self.anchor, "a", encoding="ascii") as f:
                f.write((self.dir / (self.keys[zone] + ".key")).read_text())
        (self.dir / zone).write_text(whole)
        self.run("ldns-signzone", "-f", str(self.dir / (zone + ".signed")), str(self.dir / zone), self.keys[zone])
        return serial, (self.dir / (zone + ".signed")).read_text()

    def change(self, zone, text):
        serial, whole = self.make(zone, text)
        for server in self.servers:
            if zone in server.authority.zones:
                server.authority.serve(zone, whole, serial)

    def __enter__(self):
        try:
            for server in self.servers:
                server.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.authority.close()
        shutil.rmtree(self.dir, ignore_errors=True)
