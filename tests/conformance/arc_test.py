# SPDX-License-Identifier: ISC
"""ARC through the real program: verify, explain and seal, against python3-dkim and
a configuration's trust.  The program under $POSTERN (default build/postern) asks
the tests' own name server.
"""
import json
import os
import random
import resource
import subprocess
import sys

import dkim
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))
from dkimkeys import PUBLIC_25519, RSA_PUBLIC, key_files, text_in  # noqa: E402,F401
from dnsserver import DnsServer  # noqa: E402

POSTERN = os.environ.get('POSTERN', os.path.join(ROOT, 'build', 'postern'))
pytestmark = pytest.mark.skipif(not os.access(POSTERN, os.X_OK),
                                reason='THERE IS NO PROGRAM AT %s: build it first' % POSTERN)

RECORDS = {
    'rsa._domainkey.fwd.test': 'v=DKIM1; k=rsa; p=' + RSA_PUBLIC,
    'ed._domainkey.fwd.test': 'v=DKIM1; k=ed25519; p=' + PUBLIC_25519,
    '_dmarc.author.test': 'v=DMARC1; p=reject',
}

FROM = b'From: Ann <ann@author.test>\r\nTo: bob@here.test\r\nSubject: Hello\r\n'
MAIL = FROM + b'\r\nHi Bob.\r\n'
PASSED = b'Authentication-Results: fwd.test; dmarc=pass header.from=author.test; arc=none\r\n'


@pytest.fixture(scope='module')
def dns():
    with DnsServer({name: [{'TXT': text}] for name, text in RECORDS.items()}) as server:
        yield server


def run(verb, message, *options):
    return subprocess.run([POSTERN, verb, *options], input=message, capture_output=True, timeout=120, check=False)


def judge(verb, message, dns, *options):
    done = run(verb, message, '--ip', '192.0.2.1', '--helo', 'mail.fwd.test', '--mail-from', '', '--resolver', dns.address, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def verify(message, dns, *options):
    return json.loads(judge('verify', message, dns, '--json', *options))


def seal(message, key_files, dns, key='rsa', *options):
    done = run('seal', message, '--domain', 'fwd.test', '--selector', key, '--key', key_files[key], '--authserv-id', 'fwd.test',
               '--resolver', dns.address, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def theirs(message):
    """python3-dkim's word for the chain; a chain that ended is a fail to us."""
    try:
        cv = dkim.ARC(message).verify(dnsfunc=text_in(RECORDS))[0]
    except (dkim.DKIMException, ValueError, KeyError, IndexError, TypeError):
        cv = b'fail'
    return (cv or b'fail').decode()


# ---- what seal makes -----------------------------------------------------------

@pytest.mark.parametrize('canon', ['relaxed/relaxed', 'relaxed/simple'])
def test_what_is_sealed_verifies_here_and_there(canon, key_files, dns):
    message = PASSED + MAIL
    for sets in (1, 2, 3):
        message = seal(message, key_files, dns, 'rsa', '--canon', canon)
        assert theirs(message) == 'pass'
        assert verify(message, dns)['arc'] == {'result': 'pass', 'chain': sets, 'sealer': 'fwd.test', 'reason': None}
    assert message.endswith(PASSED + MAIL)
    new = message[:-len(PASSED + MAIL)]
    assert all(len(line) <= 100 for line in new.split(b'\r\n'))
    assert 'arc=pass (i=3) header.oldest-pass=0' in judge('verify', message, dns)


def test_line_ends_stay_as_they_came(key_files, dns):
    unix = (PASSED + MAIL).replace(b'\r\n', b'\n')
    sealed = seal(unix, key_files, dns)
    assert b'\r' not in sealed and sealed.endswith(unix)
    assert theirs(sealed.replace(b'\n', b'\r\n')) == 'pass'
    assert verify(sealed, dns)['arc']['result'] == 'pass'


def test_ed25519_seals_verify(key_files, dns):
    sealed = seal(seal(PASSED + MAIL, key_files, dns, 'ed'), key_files, dns, 'rsa')
    assert verify(sealed, dns)['arc']['result'] == 'pass'


def test_results_that_are_not_ours_are_not_sealed(key_files, dns):
    sealed = seal(b'Authentication-Results: other.test; dmarc=pass\r\n' + MAIL, key_files, dns)
    assert b'ARC-Authentication-Results: i=1; fwd.test; none\r\n' in sealed


def test_a_broken_chain_is_sealed_as_broken_and_ends(key_files, dns):
    broken = seal(PASSED + MAIL, key_files, dns).replace(b'Hi Bob', b'Hi Rob')
    ended = seal(broken, key_files, dns)
    assert b'cv=fail' in ended and ended.endswith(broken)
    got = verify(ended, dns)['arc']
    assert got['result'] == 'fail' and got['chain'] == 2 and 'cv=fail' in got['reason']
    assert seal(ended, key_files, dns) == ended


def test_what_dns_leaves_open_is_sealed_by_nobody(key_files, dns):
    sealed = seal(PASSED + MAIL, key_files, dns)
    with DnsServer({'rsa._domainkey.fwd.test': ['SERVFAIL']}) as sick:
        done = run('seal', sealed, '--domain', 'fwd.test', '--selector', 'rsa', '--key', key_files['rsa'], '--authserv-id',
                   'fwd.test', '--resolver', sick.address)
        assert done.returncode == 75 and done.stdout == b'' and b'try again later' in done.stderr
        assert verify(sealed, sick)['arc']['result'] == 'fail'


@pytest.mark.parametrize('change', [
    {'--domain': None}, {'--selector': None}, {'--key': None}, {'--authserv-id': None}, {'--domain': 'a..b'},
    {'--canon': 'odd'}, {'--headers': 'to:subject'}, {'--identity': 'x@fwd.test'}, {'--resolver': 'nowhere'}, {'--now': 'soon'},
    {'--nonsense': 'x'},
])
def test_wrong_usage_of_seal(change, key_files, dns):
    whole = {'--domain': 'fwd.test', '--selector': 's', '--key': key_files['rsa'], '--authserv-id': 'fwd.test',
             '--resolver': dns.address, **change}
    done = run('seal', MAIL, *[word for pair in whole.items() if pair[1] is not None for word in pair])
    assert done.returncode == 2 and done.stdout == b'' and done.stderr.startswith(b'postern seal: ')


# ---- a second judge ----------------------------------------------------------------

def damaged(r, message):
    """One small change somewhere, or none."""
    kind = r.choice(['nothing', 'octet', 'octet', 'field gone', 'field twice', 'cv', 'instance', 'body'])
    head, body = message.split(b'\r\n\r\n', 1)
    fields = (head + b'\r\n').replace(b'\r\n ', b'\0').replace(b'\r\n\t', b'\1').split(b'\r\n')[:-1]
    at = r.randrange(len(fields))
    if kind == 'octet':
        i = r.randrange(fields[at].index(b':') + 1, len(fields[at]))
        if fields[at][i:i + 1] not in b'\0\1 ;=':
            fields[at] = fields[at][:i] + (b'a' if fields[at][i:i + 1] != b'a' else b'b') + fields[at][i + 1:]
    elif kind == 'field gone' and not fields[at].startswith(b'From'):
        del fields[at]
    elif kind == 'field twice' and not fields[at].startswith((b'From', b'To', b'Subject')):
        fields.insert(at, fields[at])
    elif kind == 'cv':
        fields[at] = fields[at].replace(b'cv=none', b'cv=pass') if r.random() < .5 else fields[at].replace(b'cv=pass', b'cv=none')
    elif kind == 'instance':
        fields[at] = fields[at].replace(b'i=1', b'i=2', 1) if r.random() < .5 else fields[at].replace(b'i=2', b'i=1', 1)
    elif kind == 'body':
        body += b'-- \r\nfooter\r\n'
    return kind, b''.join(f + b'\r\n' for f in fields).replace(b'\0', b'\r\n ').replace(b'\1', b'\r\n\t') + b'\r\n' + body


def test_generated_chains_agree(key_files, dns):
    r = random.Random(8617)
    chains, message = [], PASSED + MAIL
    for _ in range(3):
        message = seal(message, key_files, dns)
        chains.append(message)
    apart, passed = [], 0
    for number in range(300):
        kind, changed = damaged(r, r.choice(chains))
        there, here = theirs(changed), verify(changed, dns)['arc']
        passed += here['result'] == 'pass'
        if there != here['result']:
            apart.append((number, kind, there, here, changed))
    assert not apart, '%d differ, the first: %s' % (len(apart), apart[0])
    assert 30 < passed < 270, 'the generator does not try both'


# ---- what a chain is worth -----------------------------------------------------------

def settings(tmp_path, trust):
    file = tmp_path / 'postern.conf'
    file.write_text('hostname = "mail.here.test"\nstate = "%s"\ndomain "here.test" {}\n%s\n' % (tmp_path, trust))
    return str(file)


@pytest.mark.parametrize('trust, results, action', [
    ('', PASSED, 'reject'),
    ('trust "list" { arc-sealer = {"fwd.test"} }', PASSED, 'quarantine'),
    ('trust "list" { arc-sealer = {"fwd.test"} skip = {"dmarc"} }', PASSED, 'accept'),
    ('trust "list" { arc-sealer = {"other.test"} skip = {"dmarc"} }', PASSED, 'reject'),
    ('trust "list" { arc-sealer = {"fwd.test"} skip = {"dmarc"} }', PASSED.replace(b'pass', b'fail'), 'reject'),
])
def test_trust_says_what_a_chain_is_worth(trust, results, action, tmp_path, key_files, dns):
    sealed = seal(results + MAIL, key_files, dns)
    got = verify(sealed, dns, '-c', settings(tmp_path, trust))
    assert got['arc']['result'] == 'pass' and got['dmarc']['disposition'] == 'reject'
    assert got['action'] == action, got['action_reason']
    if action == 'quarantine':
        assert 'softened: trusted_forwarder' in judge('explain', sealed, dns, '-c', settings(tmp_path, trust))


def test_explain_tells_the_chain(key_files, dns):
    sealed = seal(seal(PASSED + MAIL, key_files, dns), key_files, dns)
    story = judge('explain', sealed, dns)
    assert 'ARC\n  set 2, cv=pass\n    seal of d=fwd.test s=rsa: holds\n' in story
    assert 'saw: fwd.test; dmarc=pass header.from=author.test; arc=none' in story and 'oldest-pass=0' in story
    story = judge('explain', sealed.replace(b'Hi Bob', b'Hi Rob'), dns)
    assert 'message signature of d=fwd.test s=rsa: does not hold (body hash mismatch' in story
    assert 'ARC\n  the message has no chain\n' in judge('explain', MAIL, dns)


# ---- cost ------------------------------------------------------------------------------

SET = b'ARC-Seal: i=%d; cv=pass; a=rsa-sha256; d=d%d.test; s=s; b=QUJD\r\nARC-Message-Signature: i=%d\r\nARC-Authentication-Results: i=%d; x\r\n'
CRAFTED = {
    '10,000 ARC fields': b'ARC-Seal: i=1; cv=none\r\n' * 10000 + MAIL,
    '15,000 fields of 5,000 sets': b''.join(SET % (i, i, i, i) for i in range(5000)) + MAIL,
    '50 sets and a huge one': b''.join(SET % (i, i, i, i) for i in range(1, 50)) +
                              b'ARC-Authentication-Results: i=50; ' + b'(' * 1000000 + b'\r\n' + MAIL,
    'tags': b'ARC-Seal: ' + b'a=;' * 100000 + b'\r\n' + b'ARC-Message-Signature: ' + b'i=1;' * 20000 + b'\r\n' + MAIL,
}


def computing(message, dns):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    got = verify(message, dns)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, got


@pytest.mark.parametrize('name', CRAFTED)
def test_crafted_chains_stay_cheap(name, dns):
    dns.forget()
    seconds, got = min((computing(CRAFTED[name], dns) for _ in range(3)), key=lambda pair: pair[0])
    assert got['arc']['result'] == 'fail'
    assert not [q for q in dns.asked() if q.name.startswith('s._domainkey')]
    assert seconds < 0.1 * float(os.environ.get('POSTERN_SLOW', '4')), '%.0f ms of computing' % (1000 * seconds)


def test_the_longest_chain_that_holds_stays_cheap(key_files, dns):
    """50 sets, 450 KiB of them results: every seal hashes all before it."""
    message = PASSED.replace(b'; arc', b' ' + b'(' + b'x' * 900 + b')\r\n ' * 1 + (b'(' + b'y' * 900 + b')\r\n ') * 8 + b'; arc') + MAIL
    for _ in range(50):
        message = seal(message, key_files, dns)
    seconds, got = min((computing(message, dns) for _ in range(3)), key=lambda pair: pair[0])
    assert got['arc'] == {'result': 'pass', 'chain': 50, 'sealer': 'fwd.test', 'reason': None}
    assert seconds < 0.1 * float(os.environ.get('POSTERN_SLOW', '4')), '%.0f ms of computing' % (1000 * seconds)
    assert run('seal', message, '--domain', 'fwd.test', '--selector', 'rsa', '--key', key_files['rsa'], '--authserv-id',
               'fwd.test', '--resolver', dns.address).returncode == 1
