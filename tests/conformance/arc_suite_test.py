# SPDX-License-Identifier: ISC
"""The ARC community's suites for RFC 8617, every case, through the real program.

Validation: `postern verify` with the records of each case on the tests' own name
server.  Sealing: `postern seal`; bh=, cv=, h=, i= and the results agree field by
field with the suite's (b= depends on its layout), and the whole verifies with
python3-dkim.  The suites lie beside the project ($ARC_SUITE, default
../shared/data/arc); where they are absent the tests say so and are skipped.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys

import dkim
import pytest
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))
from dnsserver import DnsServer  # noqa: E402

POSTERN = os.environ.get('POSTERN', os.path.join(ROOT, 'build', 'postern'))
pytestmark = pytest.mark.skipif(not os.access(POSTERN, os.X_OK),
                                reason='THERE IS NO PROGRAM AT %s: build it first' % POSTERN)
SUITE = os.environ.get('ARC_SUITE', os.path.join(ROOT, '..', 'shared', 'data', 'arc'))
VALIDATING, SEALING = 171, 17


def scenarios(name):
    path = os.path.join(SUITE, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as f:
        return [s for s in yaml.safe_load_all(f) if s]


VALIDATION, SIGNING = scenarios('arc-draft-validation-tests.yml'), scenarios('arc-draft-sign-tests.yml')
by_description = {'ids': lambda s: s['description'].replace(' ', '-')}


def test_suites_are_whole():
    if not VALIDATION or not SIGNING:
        pytest.skip('NOT RUN: %s is absent: the ARC suites were not checked' % SUITE)
    assert sum(len(s['tests']) for s in VALIDATION) == VALIDATING
    assert sum(len(s['tests']) for s in SIGNING) == SEALING


def zone_of(scenario):
    return {name: [{'TXT': text}] for name, text in (scenario['txt-records'] or {}).items()}


def on_the_wire(text):
    return text.encode('utf-8').replace(b'\r\n', b'\n').replace(b'\n', b'\r\n')


def run(*arguments, message):
    done = subprocess.run([POSTERN, *arguments], input=message, capture_output=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


# ---- validation ---------------------------------------------------------------

def wanted(case):
    """Two cases leave the result open: a seal of cv=fail ends the chain, which is a
    fail (RFC 8617 5.2 step 2)."""
    return str(case['cv'] or 'fail').lower()


def verdict(case, server):
    status, out, err = run('verify', '--ip', '192.0.2.1', '--helo', 'mail.example', '--mail-from', '', '--json',
                           '--resolver', server.address, message=on_the_wire(case['message']))
    assert status == 0, err
    return json.loads(out)['arc']


@pytest.mark.parametrize('scenario', VALIDATION, **by_description)
def test_validation(scenario):
    with DnsServer(zone_of(scenario)) as server, concurrent.futures.ThreadPoolExecutor(3) as pool:
        got = {name: pool.submit(verdict, case, server) for name, case in scenario['tests'].items()}
        wrong = ['%s (%s): want %s, got %s' % (name, case['description'], wanted(case), got[name].result())
                 for name, case in scenario['tests'].items() if got[name].result()['result'] != wanted(case)]
    assert not wrong, '\n'.join(wrong)


# ---- sealing --------------------------------------------------------------------

def squeezed(text):
    return re.sub(r'\s+', '', text)


def tags(text):
    return {name.strip(): squeezed(value) for name, _, value in
            (item.partition('=') for item in text.strip().rstrip(';').split(';'))}


def results(text):
    return [' '.join(item.split()) for item in text.strip().rstrip(';').split(';')]


def field(message, name):
    found = re.match(rb'(?is)(?:.*?\r\n)??' + name.encode() + rb':(.*?)\r\n(?![ \t])', message)
    return found.group(1).decode()


def seal(scenario, case, key_file, server):
    return run('seal', '--domain', scenario['domain'], '--selector', scenario['sel'], '--key', key_file,
               '--headers', case['sig-headers'], '--authserv-id', case['srv-id'], '--now', str(case['t']),
               '--resolver', server.address, message=on_the_wire(case['message']))


def compared(scenario, name, case, key_file, server):
    message = on_the_wire(case['message'])
    status, out, err = seal(scenario, case, key_file, server)
    if not case['AS']:                     # a chain that has ended: nobody adds to it
        assert (status, out) == (0, message), (name, err)
        return
    assert status == 0, (name, err)
    assert out.endswith(message), name
    new = out[:-len(message)]
    signature, sealed = tags(field(new, 'ARC-Message-Signature')), tags(field(new, 'ARC-Seal'))
    want_signature, want_sealed = tags(case['AMS']), tags(case['AS'])
    for tag in ('bh', 'h', 'i', 'a', 'c', 'd', 's', 't'):
        assert signature[tag].lower() == want_signature[tag].lower(), (name, tag)
    for tag in ('cv', 'i', 'a', 'd', 's', 't'):
        assert sealed[tag] == want_sealed[tag], (name, tag)
    assert 'h' not in sealed
    assert results(field(new, 'ARC-Authentication-Results')) == results(case['AAR']), name

    def text_of(domain, timeout=5):
        return scenario['txt-records'].get(domain.decode().rstrip('.'), '').encode() or None
    cv, sets, why = dkim.ARC(out).verify(dnsfunc=text_of)
    newest = sets[0]
    assert newest['ams-valid'], (name, why)
    if want_sealed['cv'] == 'fail':        # the seal covers the newest set alone (RFC 8617 5.1.2)
        alone = b''.join(line for line in re.split(rb'(?<=\r\n)(?![ \t])', out.split(b'\r\n\r\n')[0] + b'\r\n')
                         if not line.lower().startswith(b'arc-') or new.find(line) >= 0)
        assert cv in (None, b'fail') and newest['cv'] == b'fail', (name, cv, why)
        newest = dkim.ARC(alone + b'\r\n' + out.split(b'\r\n\r\n', 1)[1])
        newest = newest.verify_instance(newest.sorted_arc_headers()[1], int(sealed['i']), dnsfunc=text_of)
    else:
        assert cv == b'pass', (name, why)
    assert newest['as-valid'], name


@pytest.mark.parametrize('scenario', SIGNING, **by_description)
def test_sealing(scenario, tmp_path):
    key_file = tmp_path / 'key.pem'
    key_file.write_text(scenario['privatekey'])
    with DnsServer(zone_of(scenario)) as server:
        for name, case in scenario['tests'].items():
            compared(scenario, name, case, str(key_file), server)
