# SPDX-License-Identifier: ISC
"""DomainKeys, Sender ID and ADSP through `postern verify`.

DomainKeys signatures are made here by a signer of the test's own, which does what
RFC 4870 3.4 says line by line and has openssl sign, so that the program does not
judge itself.
"""
import base64
import os
import random
import re
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from verify_test import POSTERN, key_file, run, signed, verify, zone_of  # noqa: E402,F401
from dnsserver import DnsServer  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access(POSTERN, os.X_OK),
                                reason='THERE IS NO PROGRAM AT %s: build it first' % POSTERN)
SEED, GENERATED = 4870, 300


@pytest.fixture(scope='module')
def rsa(tmp_path_factory):
    """(file of the private key, p= of the public one)"""
    path = str(tmp_path_factory.mktemp('keys') / 'rsa.pem')
    subprocess.run(['openssl', 'genrsa', '-out', path, '1024'], check=True, stderr=subprocess.PIPE)
    der = subprocess.run(['openssl', 'rsa', '-in', path, '-pubout', '-outform', 'DER'], check=True, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE).stdout
    return path, base64.b64encode(der).decode()


def unfolded(header):
    return re.sub(rb'\r\n(?=[ \t])', b'', header).split(b'\r\n')[:-1]


def folded_fields(header):
    return [f for f in re.split(rb'(?<=\r\n)(?![ \t])', header) if f]


def to_be_signed(message, canon, names):
    """RFC 4870 3.4.2.1, 3.4.2.2: the lines of the e-mail in order."""
    header, _, body = message.partition(b'\r\n\r\n')
    fields = folded_fields(header + b'\r\n')
    if names is not None:
        fields = [f for f in fields if f.partition(b':')[0].strip().lower() in names]
    lines = body.split(b'\r\n')
    if canon == 'nofws':
        fields = [b''.join(unfolded(f)) + b'\r\n' for f in fields]
        fields = [re.sub(rb'[\t\n\r ]', b'', f) + b'\r\n' for f in fields]
        lines = [re.sub(rb'[\t\n\r ]', b'', line) for line in lines]
    while lines and lines[-1] == b'':
        lines.pop()
    return b''.join(fields) + (b'\r\n' + b''.join(line + b'\r\n' for line in lines) if lines else b'')


def dk_signed(message, key, canon='simple', domain='example.com', names=None):
    data = to_be_signed(message, canon, names)
    b = base64.b64encode(subprocess.run(['openssl', 'dgst', '-sha1', '-sign', key], input=data, check=True, stdout=subprocess.PIPE).stdout)
    h = b' h=' + b':'.join(names) + b';' if names else b''
    return (b'DomainKey-Signature: a=rsa-sha1; q=dns; c=%s; s=s; d=%s;%s\r\n b=%s;\r\n'
            % (canon.encode(), domain.encode(), h, b'\r\n  '.join(b[i:i + 60] for i in range(0, len(b), 60))) + message)


def zone(rsa, text='', tags=''):
    return 's._domainkey.example.com TXT %sp=%s\n%s' % (tags, rsa[1], text)


HEADER = b'Received: from x\r\n  by y;\r\n\tnow\r\nFrom: "Joe"  <joe@example.com>\r\nSubject:  two\r\n words \r\n'
BODIES = [b'Hi  you \r\n\r\n\tx\r\n', b'', b'\r\n\r\n', b' \r\n\t\r\n', b'no end', b'a\r\n\r\n\r\n', b'\r\n\r\na\r\n', b'\xe4\xf6\xfc\r\n', b'.\r\n..\r\n',
          b'x' * 20000 + b'\r\n']


@pytest.mark.parametrize('canon', ['simple', 'nofws'])
@pytest.mark.parametrize('body', BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize('names', [None, [b'from', b'subject']], ids=['all', 'h='])
def test_what_others_sign_passes(canon, body, names, rsa):
    message = dk_signed(HEADER + b'\r\n' + body, rsa[0], canon, names=names)
    with DnsServer(zone(rsa)) as dns:
        got = verify(message, dns)
        assert got['domainkeys'] == {'result': 'pass', 'domain': 'example.com', 'selector': 's', 'reason': None}
        got = verify(b'Received: from z by w\r\n' + message, dns)
        assert got['domainkeys']['result'] == 'pass'
        got = verify(message + b'more\r\n', dns)
        assert got['domainkeys']['result'] == 'fail'


def test_generated_messages_agree(rsa):
    """Damaged at random: it passes exactly where the signer's own bytes are the same."""
    rng = random.Random(SEED)
    passed = 0
    with DnsServer(zone(rsa)) as dns:
        for number in range(GENERATED):
            canon, names = rng.choice(['simple', 'nofws']), rng.choice([None, [b'from', b'x-a'], [b'subject', b'from']])
            lines = [b'From: joe@example.com'] + [rng.choice([b'Subject', b'X-A', b'X-B']) + b':' + rng.choice([b' a', b' a\r\n\tb', b'  a ']) for _ in range(3)]
            rng.shuffle(lines)
            body = b''.join(rng.choice([b'', b' ', b'a b', b'a', b'\tc  ']) + b'\r\n' for _ in range(rng.randint(0, 4)))
            message = b'\r\n'.join(lines) + b'\r\n\r\n' + body
            head = dk_signed(message, rsa[0], canon, names=names)[:-len(message)]
            changed = rng.choice([message, message.replace(b'a', b'z', 1), message.replace(b' a', b'  a', 1), message + b'\r\n', message + b' \r\n',
                                  message.replace(b'\r\n\t', b'\r\n ', 1), b'X-B: new\r\n' + message, b'Subject: new\r\n' + message,
                                  message.replace(b'\r\n', b' \r\n', 1)])
            want = 'pass' if to_be_signed(changed, canon, names) == to_be_signed(message, canon, names) else 'fail'
            got = verify(head + changed, dns)['domainkeys']
            assert (got['result'] == 'pass') == (want == 'pass'), (number, canon, names, message, changed, got)
            passed += want == 'pass'
    assert GENERATED / 5 < passed < GENERATED * 4 / 5


@pytest.mark.parametrize('name, tags, text, change, result', [
    ('another local part', 'g=jim; ', '', lambda m: m, 'permerror'),
    ('its local part', 'g=joe; ', '', lambda m: m, 'pass'),
    ('unsigned', '', '', lambda m: HEADER + b'\r\nx\r\n', 'none'),
    ('unsigned, o=-', '', '_domainkey.example.com TXT o=-; r=x@example.com', lambda m: HEADER + b'\r\nx\r\n', 'fail'),
    ('unsigned, o=- in testing', '', '_domainkey.example.com TXT o=-; t=y', lambda m: HEADER + b'\r\nx\r\n', 'none'),
    ('unsigned, o=~', '', '_domainkey.example.com TXT o=~', lambda m: HEADER + b'\r\nx\r\n', 'none'),
    ('no such algorithm', '', '', lambda m: m.replace(b'a=rsa-sha1', b'a=rsa-sha9'), 'permerror'),
    ('forged d=', '', '', lambda m: m.replace(b'd=example.com', b'd=example.com(.evil.test'), 'permerror'),
    ('forged s=', '', '', lambda m: m.replace(b's=s;', b's=s\0;'), 'permerror'),
    ('From above', '', '', lambda m: b'From: boss@example.com\r\n' + m.replace(b'From', b'X-From'), 'permerror'),
])
def test_domainkeys(name, tags, text, change, result, rsa):
    with DnsServer(zone(rsa, text, tags)) as dns:
        got = verify(change(dk_signed(HEADER + b'\r\nx\r\n', rsa[0])), dns)
    assert got['domainkeys']['result'] == result, got['domainkeys']
    assert got['action'] == 'accept' or 'domainkeys' not in got['action_reason']


def test_the_shapes(key_file):
    text = ('one.test TXT spf2.0/pra ip4:192.0.2.1 -all\none.test TXT v=spf1 -all\none.test A 192.0.2.9\n'
            '_adsp._domainkey.one.test TXT dkim=discardable')
    message = b'From: a@one.test\r\nSender: b@two.test\r\n\r\nx\r\n'
    with DnsServer(zone_of(text, ['one.test'])) as dns:
        got = verify(b'From: a@one.test\r\n\r\nx\r\n', dns, sender='c@one.test')
        assert got['domainkeys'] == {'result': 'none', 'domain': 'one.test', 'selector': None, 'reason': None}
        assert {k: got['sender_id'][k] for k in ('result', 'domain', 'header')} == {'result': 'pass', 'domain': 'one.test', 'header': 'From'}
        assert got['sender_id']['mfrom'] == {'result': 'fail', 'domain': 'one.test'}
        assert got['adsp']['result'] == 'discard' and got['action'] == 'accept'
        got = verify(message, dns)
        assert {k: got['sender_id'][k] for k in ('result', 'domain', 'header')} == {'result': 'none', 'domain': 'two.test', 'header': 'Sender'}
        got = verify(signed(message, 'one.test', key_file), dns)
        assert got['adsp']['result'] == 'pass'


def test_nothing_is_written_unless_switched_on(tmp_path):
    """verify prints what the server would add."""
    message = b'From: a@one.test\r\n\r\nx\r\n'
    text = 'one.test A 192.0.2.9\n_adsp._domainkey.one.test TXT dkim=all\n_domainkey.one.test TXT o=-\none.test TXT v=spf1 -all'
    conf = tmp_path / 'postern.conf'
    on = ''.join('%s { enable = yes }\n' % s for s in ('domainkeys', 'sender-id', 'adsp'))
    conf.write_text('hostname = "mail.here.test"\ndomain "here.test" {}\nverify {\n%s}\n' % on)
    with DnsServer(text) as dns:
        off = run('verify', message, dns).stdout
        assert b'domainkeys' not in off and b'sender-id' not in off and b'adsp' not in off
        field = re.sub(rb'\s+', b' ', run('verify', message, dns, '-c', str(conf)).stdout)
    for part in (b'domainkeys=fail reason="there is no signature, and the domain signs all its mail (o=-)" header.from=one.test',
                 b'sender-id=fail reason=', b'header.from=a@one.test', b'dkim-adsp=fail header.from=one.test'):
        assert part in field, field
