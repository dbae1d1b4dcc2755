# SPDX-License-Identifier: ISC
"""The running server's keys against real authoritative servers: made, let out when
every server shows them, held mail released, rotated by hand, dropped when DNS loses
them.  python3-dkim judges what is signed."""

import getpass
import json
import pathlib
import re
import subprocess
import sys

import dkim
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from authority import Authorities, missing  # noqa: E402
from server import CONFIG, POSTERN, Server  # noqa: E402

pytestmark = pytest.mark.skipif(bool(missing()), reason="needs " + ", ".join(missing()))

ZONE, USER = "gate.example", "a@gate.example"


class House(Server):
    def __init__(self, world, inside, start=True):
        self.world = world
        text = CONFIG.replace("here.test", ZONE).replace(' records = "{dir}/records"', "").replace('"{dns}"', f'"{world.resolver}"')
        text = text.replace('trust-anchor = ""', f'trust-anchor = "" authority-port = {world.port}')
        super().__init__(config=text.replace("aliases = ", f"{inside}\n\taliases = "), accounts=(USER,), start=False)
        (self.dir / "aliases").write_text("")
        if start:
            self.start()

    def key(self, *words, status=0):
        done = self.run("key", *words, "-c", str(self.file))
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def records(self):
        found = {}
        for line in self.key("show", ZONE).splitlines():
            if not line.startswith(";"):
                found[line.split("._domainkey")[0]] = "".join(re.findall(r'"([^"]*)"', line))
        return found

    def rows(self):
        return {row["selector"]: row for row in json.loads(self.key("list", ZONE, "--json"))}

    def status(self):
        return self.run("status", "-c", str(self.file)).stdout

    def submit(self, subject):
        c = self.client("submissions")
        c.ask("EHLO here", 250)
        c.login(USER)
        c.send_mail(USER, USER, f"From: <{USER}>\r\nTo: <{USER}>\r\nSubject: {subject}\r\n\r\nHello.\r\n")
        c.close()

    def arrived(self, subject):
        def find():
            return [m for m in self.messages(USER) if f"Subject: {subject}".encode() in m]
        return self.until(find, subject)[0].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def zone(records):
    lines = []
    for selector, text in records.items():
        pieces = " ".join(f'"{text[i:i + 255]}"' for i in range(0, len(text), 255))
        lines.append(f"{selector}._domainkey TXT {pieces}")
    return "\n".join(lines)


def other_words(record):
    """The same key to who verifies, another text."""
    assert "v=DKIM1;" in record
    return record.replace("v=DKIM1;", "v=DKIM1; h=sha256; s=email;")


def signers(message, records):
    verifier = dkim.DKIM(message, minkey=1024)
    found = set()
    for index in range(message.count(b"DKIM-Signature:")):
        assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: records[name.decode().split(".")[0]].encode())
        found.add(verifier.signature_fields[b"s"].decode())
    return found


def test_managed_keys_from_their_making_to_their_successors():
    with Authorities({ZONE: ""}) as world, \
         House(world, "keys {{ unsigned = hold prepare = 2 look = 2s first-look = 1s }}") as s:
        s.wait("key.prepared")
        records = s.until(lambda: s.key("list", ZONE).count("prepared") == 4 and s.records(), "four keys")
        assert set(records) == set(s.rows())
        s.wait("configuration.loaded")
        s.submit("held")                                          # no key is out: it waits
        s.wait("dkim.unsigned")
        world.servers[0].change(ZONE, zone(records))
        world.servers[1].change(ZONE, zone({k: other_words(v) for k, v in records.items()}))     # we wrote it: to the letter
        s.until(lambda: all(x in s.status() for x in ("ns2", "nothing signs", "same key in other words")), "which server shows what")
        first, second = sorted(k for k in records if k[0] == "r")
        table = s.key("list", ZONE)                               # a row fits 80 columns; the reason is told once, below
        assert all(len(x) <= 80 for x in table.splitlines() if x.startswith((ZONE + " ", "DOMAIN")))
        assert 1 <= table.count("same key in other") <= 2 and f"what to do: put into DNS what `postern key show {ZONE}` prints" in table
        assert "its keys wait for DNS" in s.run("dmarc", "plan", ZONE, "-c", str(s.file)).stdout
        assert not s.rows()[first]["out"] and not s.messages(USER)
        assert "may not sign yet" in s.key("rotate", ZONE, "--force", status=1)
        world.change(ZONE, zone(records))
        s.wait("key.active", selector=first)
        s.wait("key.active", selector=first.replace("r", "e"))
        assert signers(s.arrived("held"), records) & {first, first.replace("r", "e")}
        s.submit("ordinary")
        assert signers(s.arrived("ordinary"), records) == {first, first.replace("r", "e")}
        assert f"{ZONE}: signed by" in s.status()
        told = json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)["keys"]
        assert [(k["domain"], k["signs"]) for k in told] == [(ZONE, True)]
        s.until(lambda: s.rows()[second]["out"] and s.rows()[second.replace("r", "e")]["out"] or s.key("step", ZONE) is None, "the next set")
        loads = len(s.find("configuration.loaded"))
        said = s.key("rotate", ZONE)
        assert f"{second}: active" in said and f"{first}: retiring" in said
        assert s.rows()[first]["state"] == "retiring"
        s.submit("rotated")
        assert signers(s.arrived("rotated"), s.records() | records) == {second, second.replace("r", "e")}
        assert len(s.find("configuration.loaded")) - loads <= 1    # for the next batch of keys alone
        world.change(ZONE, zone({k: v for k, v in records.items() if k != second}))
        s.wait("key.drifted", selector=second)
        s.until(lambda: s.rows()[first]["signs"] and not s.rows()[second]["signs"], "the older key")
        s.submit("drifted")
        assert signers(s.arrived("drifted"), records) == {first, second.replace("r", "e")}
        world.change(ZONE, zone(records))
        s.wait("key.mended", selector=second)


def test_check_misses_the_secret_of_updates(tmp_path):
    conf, secret = tmp_path / "postern.conf", tmp_path / "tsig.key"
    conf.write_text(f'hostname = "mail.{ZONE}"\nstate = "{tmp_path}/state"\nuser = "{getpass.getuser()}"\ndomain "{ZONE}" {{ keys {{ '
                    f'update {{ server = "127.0.0.1:53" key-name = "postern" key-file = "{secret}" }} }} }}\n')
    for there in False, True:
        done = subprocess.run([POSTERN, "check", "-c", conf], capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        assert done.returncode == (0 if there else 1) and (there or f"{conf}:4: {secret}: " in said), said
        secret.write_text("c2VjcmV0\n")


def test_a_key_by_hand_signs_until_dns_speaks_against_it():
    with Authorities({ZONE: ""}) as world, House(world, 'dkim "s1" {{ look = 1s }}', start=False) as s:
        text = "".join(re.findall(r'"([^"]*)"', next(x for x in s.key("generate", ZONE, "s1").splitlines() if " IN TXT " in x)))
        world.change(ZONE, zone({"s1": text}))
        s.start()
        s.submit("at once")
        assert signers(s.arrived("at once"), {"s1": text}) == {"s1"}
        world.servers[1].change(ZONE, zone({"s1": text.lower()}))
        drifted = s.wait("key.drifted", selector="s1")
        assert "ns2" in drifted["what"]
        s.submit("not now")
        assert b"DKIM-Signature" not in s.arrived("not now")
        assert "s1 does not sign" in s.status()
        world.change(ZONE, zone({"s1": other_words(text)}))       # made elsewhere, and published so: a receiver takes it
        s.wait("key.mended", selector="s1")
        s.submit("other words")
        assert signers(s.arrived("other words"), {"s1": other_words(text)}) == {"s1"}
        world.change(ZONE, zone({"s1": text}))
        world.servers[1].stop()                                   # silence closes nothing
        mark = s.mark()
        s.submit("again")
        assert signers(s.arrived("again"), {"s1": text}) == {"s1"}
        assert not s.find("key.drifted", since=mark)
