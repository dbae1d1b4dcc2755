# SPDX-License-Identifier: ISC
"""The SPF community's suite for RFC 7208, every case, through the real program.

The zone of each scenario is served by the tests' own name server; the program
under $POSTERN (default build/postern) asks it with --resolver.  The suite lies
beside the project ($SPF_SUITE, default ../shared/data/rfc7208-tests.yml); where
it is absent the test says so and is skipped.
"""
import concurrent.futures
import json
import os
import subprocess
import sys

import pytest
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))
from dnsserver import DnsServer  # noqa: E402

POSTERN = os.environ.get('POSTERN', os.path.join(ROOT, 'build', 'postern'))
pytestmark = pytest.mark.skipif(not os.access(POSTERN, os.X_OK),
                                reason='THERE IS NO PROGRAM AT %s: build it first' % POSTERN)
SUITE = os.environ.get('SPF_SUITE', os.path.join(ROOT, '..', 'shared', 'data', 'rfc7208-tests.yml'))
CASES = 203


def as_bytes(text):
    return text.encode('latin-1')


def txt_value(value):
    """A text or a list of strings, as the bytes of the record's strings."""
    strings = value if isinstance(value, list) else [value]
    return [as_bytes(s)[i:i + 255] for s in strings for i in range(0, max(len(s), 1), 255)]


def zone_of(zonedata):
    """Type SPF stands for TXT where a name has no TXT of its own; a bare TIMEOUT
    leaves everything that the name does not answer unanswered."""
    zone = {}
    for name, records in zonedata.items():
        members = zone.setdefault(str(name), [])
        has_txt = any('TXT' in r for r in records if isinstance(r, dict))
        answered = set()
        for record in records:
            if record == 'TIMEOUT':
                continue
            (rtype, value), = record.items()
            if rtype == 'SPF':
                if has_txt:
                    continue
                rtype = 'TXT'
            if value == 'NONE':
                continue
            answered.add(rtype)
            if rtype == 'TXT':
                value = txt_value(value)
            members.append({rtype: value})
        if 'TIMEOUT' in records:
            for rtype in {'TXT', 'A', 'AAAA', 'MX', 'PTR', 'CNAME'} - answered:
                members.append({rtype: 'TIMEOUT'})
    return zone


def scenarios():
    if not os.path.exists(SUITE):
        return []
    with open(SUITE, encoding='utf-8') as f:
        return [s for s in yaml.safe_load_all(f) if s]


def sender(mailfrom):
    return '' if mailfrom is None else str(mailfrom)


def run(case, server):
    done = subprocess.run(
        [POSTERN, 'spf', '--ip', str(case['host']), '--helo', str(case['helo']), '--mail-from',
         sender(case['mailfrom']), '--json', '--resolver', server.address],
        capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def complaint(name, case, got):
    want = case['result'] if isinstance(case['result'], list) else [case['result']]
    if got['result'] not in want:
        return '%s: want %s, got %s' % (name, '/'.join(want), json.dumps(got, indent=1))
    text = case.get('explanation')
    if text is not None and (got['explanation'] or 'DEFAULT') != text:
        return '%s: want explanation %r, got %r' % (name, text, got['explanation'])
    return None


SCENARIOS = scenarios()


def test_suite_is_whole():
    if not SCENARIOS:
        pytest.skip('NOT RUN: %s is absent: the SPF suite was not checked' % SUITE)
    assert sum(len(s['tests']) for s in SCENARIOS) == CASES


@pytest.mark.parametrize('scenario', SCENARIOS, ids=lambda s: s['description'].replace(' ', '-'))
def test_scenario(scenario):
    with DnsServer(zone_of(scenario['zonedata'])) as server:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            waiting = {name: pool.submit(run, case, server) for name, case in scenario['tests'].items()}
            complaints = [complaint(name, scenario['tests'][name], f.result()) for name, f in waiting.items()]
    complaints = [c for c in complaints if c]
    assert not complaints, '\n'.join(complaints)
