# SPDX-License-Identifier: ISC
"""RFC 2136 with TSIG to a real knot: what it takes, what it refuses, and what we say then."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from authority import Authorities, missing             # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("POSTERN_BUILD", str(ROOT / "build"))) / "tests/unit/setup/direct_test"
pytestmark = pytest.mark.skipif(bool(missing()) or not PROGRAM.exists(), reason="knot, or the program of the unit test, is not here")

ZONE, NAME = "up.example", "s1._domainkey.up.example"
SECRET, ANOTHER = "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgb2N0ZXRzIQ==", "YW5vdGhlciBvbmUsIHdoaWNoIGtub3QgaGFzIG5vdCE="
KEYS = {"postern-256": ("hmac-sha256", SECRET), "postern-512": ("hmac-sha512", SECRET)}


@pytest.fixture(scope="module")
def world():
    with Authorities({ZONE: 'old._domainkey TXT "one"\nold._domainkey TXT "two"'}, kinds=("knot",), updates=KEYS) as w:
        yield w


def update(world, *changes, zone=ZONE, key="postern-256", algorithm="hmac-sha256", secret=SECRET, server=None, **more):
    words = [str(w) for change in changes for w in change]
    env = {**os.environ, "POSTERN_UPDATE": f"{server or world.resolver} {zone} {key} {algorithm} {secret}", **more}
    done = subprocess.run([str(PROGRAM), *words], capture_output=True, text=True, env=env, timeout=30)
    return done.stdout.split("\n")[:2]


def shown(world, name=NAME):
    return sorted(str(rr.rdata) for rr in world.servers[0].ask(name, tcp=True, timeout=5).rr)


def test_add_replace_and_remove(world):
    assert update(world, ("add", NAME, "TXT", 60, '"v=DKIM1; p=" "abc"'))[0] == "done"
    assert shown(world) == ['"v=DKIM1; p=","abc"']
    assert update(world, ("remove", NAME, "TXT", 0, ""), ("add", NAME, "TXT", 60, '"v=DKIM1; p="'))[0] == "done"
    assert shown(world) == ['"v=DKIM1; p="']
    assert update(world, ("remove", "old._domainkey." + ZONE, "TXT", 0, '"one"'))[0] == "done"
    assert shown(world, "old._domainkey." + ZONE) == ['"two"']
    assert update(world, ("remove", NAME, "TXT", 0, ""))[0] == "done"
    assert shown(world) == []
    assert update(world, ("remove", NAME, "TXT", 0, ""))[0] == "done"              # what is not there is no fault


def test_long_records_and_other_algorithms(world):
    long = " ".join(['"' + "x" * 255 + '"'] * 3)
    assert update(world, ("add", NAME, "TXT", 60, long), key="postern-512", algorithm="hmac-sha512")[0] == "done"
    assert len(shown(world)[0]) == 3 * 257 + 2
    assert update(world, ("remove", NAME, "TXT", 0, ""))[0] == "done"


REFUSALS = [
    ({"secret": ANOTHER}, "holds another secret for the key \"postern-256\" (BADSIG)"),
    ({"key": "nobody"}, "has no key \"nobody\" of this algorithm (BADKEY)"),
    ({"algorithm": "hmac-sha512"}, "BADKEY"),
    ({"zone": "other.example"}, "does not hold this zone"),
    ({"server": "127.0.7.1:1"}, "127.0.7.1: nobody listens there over TCP"),
]


@pytest.mark.parametrize("words,said", REFUSALS, ids=["secret", "key", "algorithm", "zone", "nobody"])
def test_refusals_are_told(world, words, said):
    name = "s1._domainkey." + words.get("zone", ZONE)
    outcome, why = update(world, ("add", name, "TXT", 60, '"x"'), **words)
    assert outcome != "done" and said in why, (outcome, why)
    assert SECRET not in why and ANOTHER not in why
    assert shown(world) == []


def test_a_name_outside_of_the_zone(world):
    outcome, why = update(world, ("add", "s1._domainkey.other.example", "TXT", 60, '"x"'))
    assert outcome != "done" and ("does not hold this zone" in why or "REFUSED" in why), why


LATE = """#include <time.h>
#include <sys/time.h>
#include <stddef.h>
int gettimeofday(struct timeval *t, void *zone)
{
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	t->tv_sec = now.tv_sec - 3600;
	t->tv_usec = 0;
	return 0;
}
time_t time(time_t *t)
{
	struct timeval now;
	gettimeofday(&now, NULL);
	if (t != NULL)
		*t = now.tv_sec;
	return now.tv_sec;
}
"""


def test_a_clock_that_is_wrong(world):
    cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if cc is None:
        pytest.skip("no compiler for a clock that is wrong")
    with tempfile.TemporaryDirectory(prefix="postern-clock-") as folder:
        source, shim = pathlib.Path(folder, "late.c"), pathlib.Path(folder, "late.so")
        source.write_text(LATE)
        subprocess.run([cc, "-shared", "-fPIC", "-o", str(shim), str(source)], check=True)
        outcome, why = update(world, ("add", NAME, "TXT", 60, '"x"'), LD_PRELOAD=str(shim))
    assert outcome != "done" and "(BADTIME)" in why, (outcome, why)
    assert shown(world) == []
