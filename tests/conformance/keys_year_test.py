# SPDX-License-Identifier: ISC
"""A year of DKIM keys on a fake clock, against real authoritative servers (nsd and knot).

A made-up operator pastes what `postern key show` prints: late, and the first time
often wrong (cut, quoted badly, lower-cased, with a blank too many); he mends it days
later, and once he deletes the record of a key that signs.  The second server lags a
day behind and is down for days.  Each day a message is signed as the server would sign
it, and python3-dkim has to verify every signature with what each server shows, on that
day and as long as the queue may keep it.  Then the same with RFC 2136 updates to knot.

POSTERN_LONG=1: the whole year; else a month with shorter lives."""

import json
import os
import pathlib
import random
import re
import subprocess
import sys
import types
from unittest import mock

import dkim
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))
from authority import Authorities, missing  # noqa: E402

POSTERN = os.path.abspath(os.environ.get("POSTERN", ROOT / "build/postern"))
LONG = os.environ.get("POSTERN_LONG") == "1"
DAYS, ROTATE = (365, 30) if LONG else (18, 5)
BEGIN, HOUR, DAY = 1_800_000_000, 3600, 86400
LIFE = 1                       # days that the queue keeps what it cannot deliver
ZONE = "year.example"
SECRET = "c29tZSBzZWNyZXQgdGhhdCBpcyBub3Qgb25lIGF0IGFsbA=="

pytestmark = pytest.mark.skipif(bool(missing()), reason="needs " + ", ".join(missing()))

FAULTS = {
    "cut": lambda text: text[: len(text) * 2 // 3],
    "quoted badly": lambda text: f'"{text}"',
    "lower-cased": str.lower,
    "a blank too many": lambda text: text.replace("p=", "p= "),
}


class Keys:
    """The domain's keys, moved by `postern key step` as the server would."""

    def __init__(self, folder, world, inside=""):
        self.world, self.conf, self.now = world, folder / "postern.conf", BEGIN
        (folder / "state").mkdir()
        self.conf.write_text(
            f'hostname = "mail.{ZONE}"\nstate = "{folder}/state"\nuser = "{os.environ.get("USER") or "root"}"\n'
            f'resolver {{ forward = {{"{world.resolver}"}} trust-anchor = "" authority-port = {world.port} }}\n'
            f'relay {{ give-up = {LIFE}d give-up-bounce = {LIFE}d }}\n'
            f'domain "{ZONE}" {{ keys {{ rotate = {ROTATE}d publish-old-private-keys = yes {inside} }} }}\n')
        self.folder = folder / "state" / "keys" / ZONE

    def run(self, *words, stdin=b"", status=0):
        done = subprocess.run([POSTERN, *words, "-c", str(self.conf)], input=stdin, capture_output=True, timeout=60)
        assert status is None or done.returncode == status, done.stderr.decode()
        return done

    def step(self):
        return self.run("key", "step", ZONE, "--now", str(self.now)).stdout.decode()

    def records(self):
        """Name relative to the zone: the text that DNS should hold, or None for no record."""
        wanted = {}
        for line in self.run("key", "show", ZONE).stdout.decode().splitlines():
            name = re.search(rf"(\S+)\.{ZONE}\.", line).group(1)
            wanted[name] = None if line.startswith(";") else "".join(re.findall(r'"([^"]*)"', line))
        return wanted

    def table(self):
        return json.loads(self.run("key", "list", "--json", "--now", str(self.now)).stdout)

    def sign(self, day):
        text = f"From: a@{ZONE}\r\nTo: b@example.net\r\nSubject: day {day}\r\nMessage-ID: <{day}@{ZONE}>\r\n\r\nDay {day}.\r\n".encode()
        done = self.run("sign", "--domain", ZONE, "--now", str(self.now), stdin=text, status=None)
        return done.stdout if done.returncode == 0 else None


class Operator:
    """Pastes what is wanted into the zone, in his way."""

    def __init__(self, seed):
        self.random, self.zone, self.plans = random.Random(seed), {}, {}

    def works(self, day, wanted):
        before = dict(self.zone)
        for name, text in wanted.items():
            if self.zone.get(name) == text:
                continue
            if name not in self.plans:
                fault = self.random.choice([None, *FAULTS]) if text and name not in self.zone else None
                self.plans[name] = (day + self.random.randint(0, 3), fault)
            due, fault = self.plans[name]
            if day < due:
                continue
            del self.plans[name]
            if text is None:
                self.zone.pop(name, None)
            else:
                self.zone[name] = FAULTS[fault](text) if fault else text
        return self.zone != before


def zone_text(zone):
    lines = []
    for name, text in zone.items():
        pieces = [text[i:i + 255].replace("\\", "\\\\").replace('"', '\\"') for i in range(0, len(text), 255)] or [""]
        lines.append(f"{name} TXT " + " ".join(f'"{p}"' for p in pieces))
    return "\n".join(lines)


def verify(message, server, now):
    """Each signature by what this server shows; the selectors."""
    def shown(name, timeout=5):
        answer = server.ask(name.decode().rstrip("."), tcp=True, timeout=5)
        texts = [b"".join(rr.rdata.data) for rr in answer.rr if rr.rtype == 16]
        return texts[0] if len(texts) == 1 else None

    verifier = dkim.DKIM(message, minkey=1024)
    found = []
    for index in range(message.count(b"DKIM-Signature:")):
        with mock.patch.object(dkim, "time", types.SimpleNamespace(time=lambda: now)):     # t= and x= by our clock
            good = verifier.verify(idx=index, dnsfunc=shown)
        selector = verifier.signature_fields[b"s"].decode()
        assert good, f"{selector} does not verify at {server.kind}, {(now - BEGIN) / DAY:.2f} days in: {shown(f'{selector}._domainkey.{ZONE}.'.encode())}"
        found.append(selector)
    return found


class Year:
    def __init__(self, keys, servers):
        self.keys, self.servers, self.sent, self.spoilt = keys, servers, [], set()
        self.signed_by, self.unsigned = {}, 0

    def a_message_is_signed(self, day):
        message = self.keys.sign(day)
        rows = {row["selector"]: row for row in self.keys.table()}
        if message is None:
            self.unsigned += 1
            assert not any(row["signs"] for row in rows.values())
            return
        for server in self.up():
            for selector in verify(message, server, self.keys.now):
                assert rows[selector]["out"] and rows[selector]["signs"], selector
                self.signed_by.setdefault(selector, day)
        self.sent.append((self.keys.now, message))

    def up(self):
        return [s for s in self.servers if s.authority.process is not None]

    def old_mail_still_verifies(self):
        self.sent = [(at, m) for at, m in self.sent if self.keys.now < at + LIFE * DAY + DAY]
        for at, message in self.sent:
            if not any(f"s={s};".encode() in message for s in self.spoilt):
                for server in self.up():
                    verify(message, server, self.keys.now)

    def states(self):
        return {row["state"] for row in self.keys.table()}

    def ended_well(self, days, least):
        for initial in "re":
            mine = [s for s in self.signed_by if s.startswith(initial)]
            assert len(mine) >= least, (mine, days)
        assert {"active"} <= self.states() and self.states() & {"revoked", "removed"}
        for row in self.keys.table():
            assert (row["published"] is None or row["published"] >= row["prepared"])
            if row["selector"] in self.signed_by:
                assert row["active"] is not None
        published = list(self.keys.folder.glob("published/*.pem"))
        assert published
        for file in published:                                        # a private part that all may have signs nothing
            assert not (self.keys.folder / file.name).exists()


def test_a_year_of_records_pasted_by_hand(tmp_path):
    with Authorities({ZONE: ""}) as world:
        keys, operator = Keys(tmp_path, world), Operator(7)
        first, second = world.servers
        year, late = Year(keys, world.servers), []
        down = range(DAYS // 2, DAYS // 2 + (6 if LONG else 3))
        for day in range(DAYS):
            keys.now = BEGIN + day * DAY
            if day == down.start:
                second.stop()
            if day == down.stop:
                second.start()
            while late and late[0][0] <= day:                  # what the first had yesterday
                second.change(ZONE, late.pop(0)[1])
            keys.step()
            keys.now += 2 * HOUR
            keys.step()
            year.a_message_is_signed(day)
            year.old_mail_still_verifies()
            changed = operator.works(day, keys.records())
            if day == DAYS * 3 // 4:                           # the wrong line deleted
                victim = next(r["selector"] for r in keys.table() if r["signs"] and r["selector"].startswith("r"))
                operator.zone.pop(f"{victim}._domainkey")
                operator.plans[f"{victim}._domainkey"] = (day + 2, None)
                year.spoilt.add(victim)
                changed = True
            if changed:
                text = zone_text(operator.zone)
                first.change(ZONE, text)
                late.append((day + 1, text))
        year.ended_well(DAYS, DAYS // ROTATE - 2)
        assert year.unsigned > 0                               # the first days, until the operator came
        drifted = [row for row in keys.table() if row["selector"] in year.spoilt]
        assert drifted and all(row["state"] in ("active", "retiring", "revoked", "removed") for row in drifted)


def test_a_year_of_updates(tmp_path):
    secret = tmp_path / "tsig.key"
    secret.write_text(f'key "postern." {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n')
    with Authorities({ZONE: ""}, kinds=("knot",), updates={"postern.": ("hmac-sha256", SECRET)}) as world:
        keys = Keys(tmp_path, world, f'update {{ server = "{world.resolver}" key-name = "postern." key-file = "{secret}" }}')
        year = Year(keys, world.servers)
        for day in range(DAYS):
            keys.now = BEGIN + day * DAY
            keys.step()
            keys.now += 2 * HOUR
            keys.step()
            year.a_message_is_signed(day)
            year.old_mail_still_verifies()
        assert year.unsigned == 0                              # two looks on the first day were enough
        year.ended_well(DAYS, DAYS // ROTATE - 1)
        gone = [row for row in keys.table() if row["state"] in ("revoked", "removed")]
        assert gone and all(row["sight"] in ("empty", "gone", "unseen") for row in gone)
