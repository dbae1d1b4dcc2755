# SPDX-License-Identifier: ISC
"""The gate against real authoritative servers: nsd and knot, asked one by one by `key test`."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from authority import Authorities, missing             # noqa: E402

pytestmark = pytest.mark.skipif(bool(missing()), reason="not here: " + ", ".join(missing()))

POSTERN = os.environ.get("POSTERN", str(ROOT / "build" / "postern"))
ZONE, OTHER = "gate.example", "elsewhere.example"
SELECTORS = {"s1": ["--bits", "2048"], "ed": ["--algorithm", "ed25519-sha256"], "big": None}


def postern(*words):
    return subprocess.run([POSTERN, *words], capture_output=True, text=True, timeout=120)


class House:
    """A state directory with keys, a configuration that asks `world`."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-gate-"))
        self.file = self.dir / "postern.conf"
        self.configure("127.0.0.1:1", 53)
        self.records = {}
        for selector, options in SELECTORS.items():
            if options is None:                     # 4096 bits take long to make
                file = self.dir / "state/keys" / ZONE / (selector + ".pem")
                file.write_bytes((ROOT / "tests/lib/rsa4096.pem").read_bytes())
                file.chmod(0o600)
            else:
                made = postern("key", "generate", ZONE, selector, *options, "-c", str(self.file))
                assert made.returncode == 0, made.stderr
            shown = postern("key", "show", ZONE, selector, "-c", str(self.file))
            self.records[selector] = "".join(re.findall(r'"([^"]*)"', shown.stdout))

    def configure(self, resolver, port, anchor="", timeout="20s"):
        self.file.write_text(f'hostname = "mail.{ZONE}"\nstate = "{self.dir}/state"\n'
                             f'resolver {{ forward = {{"{resolver}"}} trust-anchor = "{anchor}" authority-port = {port} timeout = {timeout} }}\n'
                             f'listener "mx" {{ address = {{"127.0.0.1:0"}} role = inbound }}\ndomain "{ZONE}" {{ }}\n')

    def look(self, world, selector="s1", resolver=None):
        self.configure(resolver or world.resolver, world.port, world.anchor if world.signed else "")
        for _ in range(3):                         # 75 is "ask again later": a machine under load
            done = postern("key", "test", ZONE, selector, "--json", "-c", str(self.file))
            if done.returncode != 75:
                break
        assert done.stdout, done.stderr
        (key,) = json.loads(done.stdout)["keys"]
        assert done.returncode == (0 if key["ok"] else 1), done
        return key


@pytest.fixture(scope="module")
def house():
    h = House()
    yield h
    shutil.rmtree(h.dir, ignore_errors=True)


def strings(record, size=255):
    return " ".join(f'"{record[i:i + size]}"' for i in range(0, len(record), size))


def line(record, selector="s1", size=255):
    return f"{selector}._domainkey TXT {strings(record, size)}"


@pytest.fixture(scope="module")
def world():
    with Authorities({ZONE: "@ TXT nothing"}, signed=True, edns=512) as w:
        yield w


def test_all_show_it_signed(house, world):
    world.change(ZONE, "\n".join(line(r, s) for s, r in house.records.items()))
    for selector in SELECTORS:
        key = house.look(world, selector)
        assert (key["sight"], key["servers"], key["answered"]) == ("shown", 2, 2), key
        assert key["said"] == f"all 2 servers of {ZONE} show the record"
        assert [r["protocol"] for r in key["replies"]] == ["udp", "tcp"] * 2
        assert [r["server"] for r in key["replies"]] == [f"ns{i}.{ZONE}" for i in (1, 1, 2, 2)]     # however the resolver turns them
    text = postern("key", "test", "--all", "-c", str(house.file))
    assert text.returncode == 0 and text.stdout.count("\nok: ") == 3 and "over TCP: the record" in text.stdout


def test_a_long_key_is_truncated_and_comes_by_tcp(house, world):
    world.change(ZONE, line(house.records["big"], "big"))
    key = house.look(world, "big")
    assert key["ok"], key
    nsd = [r for r in key["replies"] if r["address"] == world.servers[0].address]
    assert [r["status"] for r in nsd] == ["truncated", "found"], nsd


FAULTS = [
    ("split elsewhere is the same", lambda r: strings(r, 100), "shown", ""),
    ("cut off by a web form", lambda r: f'"{r[:255]}"', "other", "cut off after 255 of"),
    ("a space between its halves", lambda r: f'"{r[:200]} " "{r[200:]}"', "other", "white space that differs, from octet 201"),
    ("quotation marks inside", lambda r: '"\\"' + r[:200] + '\\"" "' + r[200:] + '"', "other", "quotation marks"),
    ("small letters", lambda r: strings(r.lower()), "other", "capital and small letters"),
    ("empty", lambda r: '""', "other", "an empty record"),
    ("two records", lambda r: strings(r) + '\ns1._domainkey TXT "v=spf1 -all"', "other", "2 records, the right one among them"),
    ("another key", lambda r: strings(r[:60] + ("A" if r[60] != "A" else "B") + r[61:]), "other", "differs from octet 61 on"),
]


@pytest.mark.parametrize("name,write,sight,said", FAULTS, ids=[f[0] for f in FAULTS])
def test_what_forms_make_of_it(house, world, name, write, sight, said):
    world.change(ZONE, "s1._domainkey TXT " + write(house.records["s1"]))
    key = house.look(world)
    assert key["sight"] == sight and said in key["said"], key
    assert len(key["replies"]) == 4


def test_absent_and_wildcard(house, world):
    world.change(ZONE, "@ TXT nothing")
    key = house.look(world)
    assert key["sight"] == "other" and key["said"].endswith("show no such name (NXDOMAIN)"), key
    world.change(ZONE, '* TXT "v=spf1 -all"')
    key = house.look(world)
    assert key["sight"] == "other" and 'another record, "v=spf1 -all"' in key["said"], key
    world.change(ZONE, "s1._domainkey A 127.0.0.1")
    assert "no TXT record" in house.look(world)["said"]


def test_an_alias_is_followed_into_its_own_zone(house):
    zones = {ZONE: f"s1._domainkey CNAME key.{OTHER}.\nloop CNAME loop2\nloop2 CNAME loop",
             OTHER: f"key TXT {strings(house.records['s1'])}"}
    with Authorities(zones) as w:
        key = house.look(w)
        assert key["sight"] == "shown" and key["asked"] == f"key.{OTHER}" and OTHER in key["said"], key
        w.servers[1].change(OTHER, 'key TXT "v=DKIM1; p="')
        key = house.look(w)
        assert key["sight"] == "other" and w.servers[1].address in key["said"], key
        w.change(ZONE, "s1._domainkey CNAME s1._domainkey")
        assert house.look(w)["sight"] in ("other", "silent")


def test_lag_and_disagreement(house, world):
    good = line(house.records["s1"])
    world.change(ZONE, "@ TXT nothing")
    world.servers[0].change(ZONE, good)
    key = house.look(world)
    assert key["sight"] == "other" and key["answered"] == 2
    assert re.search(r"ns2\.gate\.example \(127\.0\.7\.2\) shows no such name \(NXDOMAIN\); ns1\.gate\.example \(127\.0\.7\.1\) shows the record", key["said"]), key
    world.servers[1].change(ZONE, good)
    assert house.look(world)["sight"] == "shown"


def test_one_down_is_named_and_does_not_block(house, world):
    world.change(ZONE, line(house.records["s1"]))
    world.servers[1].stop()
    try:
        key = house.look(world)
    finally:
        world.servers[1].start()
    assert (key["sight"], key["servers"], key["answered"]) == ("shown", 2, 1), key
    assert key["silent"] == ["ns2.gate.example (127.0.7.2)"]
    assert "ns2.gate.example (127.0.7.2) does not answer (nobody listens there over UDP)" in key["said"], key


def test_more_than_half_down_is_too_few(house):
    names = "@ NS ns1\n@ NS ns2\n@ NS ns3\n@ NS ns4\n@ NS nowhere\n" + "".join(f"ns{i} A 127.0.7.{i}\n" for i in (1, 2, 3, 4))
    with Authorities({ZONE: line(house.records["s1"])}, names=names) as w:
        key = house.look(w)
        assert (key["sight"], key["servers"], key["answered"]) == ("silent", 5, 2), key
        assert key["silent"][-1] == "nowhere.gate.example" and len(key["silent"]) == 3
        assert "nowhere.gate.example has no address" in key["said"]


def test_a_lame_server_has_not_answered(house):
    with Authorities({ZONE: line(house.records["s1"])}, kinds=("nsd", "knot", "nsd"), absent={1: [ZONE], 2: [ZONE]}) as w:
        key = house.look(w)
        assert (key["sight"], key["answered"]) == ("silent", 1), key
        assert "it says REFUSED" in key["said"]
    with Authorities({ZONE: line(house.records["s1"])}, absent={1: [ZONE]}) as w:
        assert house.look(w)["sight"] == "shown"


def test_not_delegated(house, world):
    with Authorities({"example": "@ TXT nothing"}) as w:
        key = house.look(w)
        assert key["sight"] == "nowhere" and key["replies"] == [], key


def test_ipv6(house):
    with socket.socket(socket.AF_INET6) as s:
        try:
            s.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on the loopback")
    with Authorities({ZONE: line(house.records["s1"])}, addresses=("127.0.7.1", "::1")) as w:
        key = house.look(w)
        assert (key["sight"], key["answered"]) == ("shown", 2), key
        assert {r["address"] for r in key["replies"]} == {"127.0.7.1", "::1"}


def test_a_resolver_that_is_down_is_to_be_asked_later(house, world):
    house.configure("127.0.0.1:1", world.port, timeout="300ms")
    done = postern("key", "test", ZONE, "s1", "-c", str(house.file))
    assert done.returncode == 75 and "the resolver could not say" in done.stdout, done


@pytest.mark.parametrize("words,status", [
    ((), 2), ((ZONE, "s1", "x"), 2), ((ZONE, "--all"), 2), ((ZONE, "nosuch"), 1), (("--what",), 2), (("--resolver",), 2),
    (("no domain!",), 2)])
def test_usage(house, words, status):
    done = postern("key", "test", *words, *(["-c", str(house.file)] if "--resolver" not in words else []))
    assert done.returncode == status and done.stderr.startswith("postern key: "), done
