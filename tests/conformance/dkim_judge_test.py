# SPDX-License-Identifier: ISC
"""An independent judge: python3-dkim.

What `postern sign` signs has to verify there, and what it signs has to verify
with `postern verify`; on generated messages, most of them damaged, both have to
say the same.  Where they differ and python3-dkim is wrong, a table says why.
The program under $POSTERN (default build/postern) asks the tests' own name server.
"""
import concurrent.futures
import json
import os
import random
import re
import subprocess
import sys
import time

import dkim
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))
from dkimkeys import PUBLIC_25519, RSA_PEM, RSA_PUBLIC, SEED_25519, key_files, text_in  # noqa: E402,F401
from dnsserver import DnsServer  # noqa: E402

POSTERN = os.environ.get('POSTERN', os.path.join(ROOT, 'build', 'postern'))
pytestmark = pytest.mark.skipif(not os.access(POSTERN, os.X_OK),
                                reason='THERE IS NO PROGRAM AT %s: build it first' % POSTERN)

GENERATED, SEED = 2000, 6376

RECORDS = {
    'rsa._domainkey.example.com': 'v=DKIM1; k=rsa; p=' + RSA_PUBLIC,
    'ed._domainkey.example.com': 'v=DKIM1; k=ed25519; p=' + PUBLIC_25519,
}
KEYS = {'rsa': (RSA_PEM, b'rsa-sha256'), 'ed': (SEED_25519, b'ed25519-sha256')}
CANONS = ['simple/simple', 'simple/relaxed', 'relaxed/simple', 'relaxed/relaxed']

HEADER = (b'From: "Joe; =SixPack" <joe@example.com>\r\nTo: Suzie Q <suzie@example.net>,\r\n\tanother@example.net\r\n'
          b'Subject:  Is   dinner \t ready?  \r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n'
          b'Message-ID: <20030712040037.46341.5F8J@example.com>\r\nX-Empty:\r\nX-Fold:\r\n folded\r\n  twice\r\n')
BODIES = {
    'plain': b'Hi.\r\n\r\nWe lost the game.\r\n',
    'empty': b'',
    'one CRLF': b'\r\n',
    'only CRLFs': b'\r\n\r\n\r\n\r\n',
    'no line end': b'Hi.\r\nno line end',
    'blank at the end': b'Hi. \t \r\n',
    'blank and no line end': b'Hi.  ',
    'lines of blanks': b'a\r\n \t \r\n\r\n  \r\n',
    'blanks inside': b'a  b\t\tc \t d\r\n  leading\r\n',
    'trailing empty lines': b'Hi.\r\n\r\n\r\n\r\n',
    'dots': b'.\r\n..\r\n.x\r\n',
    '8-bit': bytes(range(128, 256)) + b'\r\n',
    'long line': b'x' * 20000 + b'\r\n' + b'y ' * 10000 + b'y',
    'looks like a header': b'From: x\r\n\r\nSubject: y\r\n',
}


@pytest.fixture(scope='module')
def dns():
    with DnsServer({name: [{'TXT': text}] for name, text in RECORDS.items()}) as server:
        yield server


# Bodies whose relaxed form python3-dkim gets wrong, and why.
DIFFERENT_RELAXED = {
    'blank and no line end': 'RFC 6376 3.4.4 (a): blanks at the end of a line go, also of a last line without CRLF',
}


def agree(canon, body):
    return not (canon.endswith('/relaxed') and body in DIFFERENT_RELAXED)


def theirs(message, which=0):
    """python3-dkim's verdict: True, or False with whatever it raised."""
    try:
        return bool(dkim.DKIM(message).verify(idx=which, dnsfunc=text_in(RECORDS)))
    except (dkim.DKIMException, ValueError, KeyError, IndexError, TypeError):
        return False


def ours(message, dns, *options):
    done = subprocess.run([POSTERN, 'verify', '--ip', '192.0.2.1', '--helo', 'mail.example.net', '--mail-from', '',
                           '--resolver', dns.address, '--json', *options],
                          input=message, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)['dkim']


def sign_with_postern(message, key, key_files, *options):
    done = subprocess.run([POSTERN, 'sign', '--domain', 'example.com', '--selector', key, '--key', key_files[key], *options],
                          input=message, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sign_with_python(message, key, canon, **more):
    secret, algorithm = KEYS[key]
    header, body = (part.encode() for part in canon.split('/'))
    return dkim.sign(message, key.encode(), b'example.com', secret, canonicalize=(header, body),
                     signature_algorithm=algorithm, **more) + message


@pytest.mark.parametrize('body', BODIES)
@pytest.mark.parametrize('canon', CANONS)
@pytest.mark.parametrize('key', KEYS)
def test_what_postern_signs_verifies_there(key, canon, body, key_files):
    message = HEADER + b'\r\n' + BODIES[body]
    signed = sign_with_postern(message, key, key_files, '--canon', canon)
    assert signed.endswith(message)
    assert theirs(signed) == agree(canon, body)


@pytest.mark.parametrize('body', BODIES)
@pytest.mark.parametrize('canon', CANONS)
@pytest.mark.parametrize('key', KEYS)
def test_what_python_signs_verifies_here(key, canon, body, dns):
    signed = sign_with_python(HEADER + b'\r\n' + BODIES[body], key, canon)
    (verdict,) = ours(signed, dns)
    assert (verdict['result'] == 'pass') == agree(canon, body), verdict
    assert verdict['domain'] == 'example.com' and verdict['selector'] == key
    assert verdict['key_bits'] == (1024 if key == 'rsa' else 256)


@pytest.mark.parametrize('key', KEYS)
def test_line_ends_stay_as_they_came(key, key_files, dns):
    message = HEADER + b'\r\nHi.\r\nThere.\r\n'
    unix = message.replace(b'\r\n', b'\n')
    signed = sign_with_postern(unix, key, key_files)
    assert b'\r' not in signed and signed.endswith(unix)
    assert theirs(signed.replace(b'\n', b'\r\n'))
    assert ours(signed, dns)[0]['result'] == 'pass'
    signed = sign_with_postern(message, key, key_files)
    assert signed.count(b'\n') == signed.count(b'\r\n')
    assert all(len(line) <= 78 for line in signed[:-len(message)].split(b'\r\n'))


def test_options_of_sign(key_files, dns):
    now = int(time.time())
    signed = sign_with_postern(HEADER + b'\r\nx\r\n', 'rsa', key_files, '--headers', 'from:to:subject:from', '--identity',
                               'joe=x@sub.example.com', '--expire', '100', '--now', str(now), '--algorithm', 'rsa-sha256')
    assert theirs(signed)
    (verdict,) = ours(signed, dns)
    assert verdict['result'] == 'pass' and verdict['identity'] == 'joe=x@sub.example.com'
    (verdict,) = ours(signed, dns, '--now', str(now + 100))
    assert verdict['result'] == 'pass'
    (verdict,) = ours(signed, dns, '--now', str(now + 101))
    assert verdict['result'] == 'fail' and 'expired' in verdict['reason']


@pytest.mark.parametrize('arguments', [
    [], ['--domain', 'example.com'], ['--domain', 'a..b'], ['--selector', 's s'], ['--canon', 'odd'],
    ['--algorithm', 'rsa-sha1'], ['--algorithm', 'ed25519-sha256'], ['--headers', 'to:subject'], ['--identity', 'joe@other.example'],
    ['--expire', 'soon'], ['--nonsense'], ['word'],
])
def test_wrong_usage_of_sign(arguments, key_files):
    whole = {'--domain': 'example.com', '--selector': 's', '--key': key_files['rsa']}
    if len(arguments) == 2:
        whole[arguments[0]] = arguments[1]
        if arguments == ['--domain', 'example.com']:
            whole = {'--domain': 'example.com'}
        arguments = []
    elif arguments == []:
        whole = {}
    line = [word for pair in whole.items() for word in pair] + arguments
    done = subprocess.run([POSTERN, 'sign', *line], input=HEADER + b'\r\n', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 2 and done.stdout == b''
    assert done.stderr.startswith(b'postern sign: ')


def test_refusals_of_sign(key_files, tmp_path):
    def run(message, key):
        return subprocess.run([POSTERN, 'sign', '--domain', 'example.com', '--selector', 's', '--key', key], input=message,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run(HEADER, str(tmp_path / 'none')).returncode == 1
    (tmp_path / 'bad').write_text('no key')
    assert run(HEADER, str(tmp_path / 'bad')).returncode == 1
    done = run(b'Subject: x\r\n\r\nx\r\n', key_files['rsa'])
    assert done.returncode == 1 and b'From' in done.stderr


# ---- generated messages -------------------------------------------------------

# Where the two may differ on a generated message: whether it is there and here, and why.
DIFFERENCES = [
    ('a From more than was signed', lambda message, reason: len(re.findall(rb'(?im)^from:', message.split(b'\r\n\r\n')[0])) > 1,
     False, True, 'RFC 6376 5.4.2: h= covers as many fields as it names; python3-dkim adds every From to it.  '
                  'Such a message is refused whatever its signature says (RFC 9989 11.5)'),
    ('l= over the body', lambda message, reason: 'more octets' in (reason or ''),
     True, False, 'RFC 6376 3.5: l= must not be larger than the body; python3-dkim hashes what is there'),
]


def known_difference(message, there, here, reason):
    return any(there == d[2] and here == d[3] and d[1](message, reason) for d in DIFFERENCES)


def words(r, n):
    return b' '.join(bytes(r.choices(b'abcdefgh', k=r.randint(1, 9))) for _ in range(n))


def random_header(r):
    lines = [b'From: Joe <joe@example.com>']
    for name in r.choices([b'To', b'Cc', b'Subject', b'Date', b'Message-ID', b'X-A', b'X-B', b'Reply-To', b'subject'], k=r.randint(1, 8)):
        fold = r.choice([b' ', b'\r\n ', b'\t', b'  ', b' \r\n\t'])
        lines.append(name + b':' + fold + words(r, r.randint(1, 4)) + r.choice([b'', b' ', b'\r\n ' + words(r, 2)]))
    r.shuffle(lines)
    return b''.join(line + b'\r\n' for line in lines)


def random_body(r):
    line = lambda: r.choice([b'', b' ', b'\t', words(r, r.randint(1, 6)), words(r, 2) + b'  ', b'  ' + words(r, 1), b'.', b'\xe4 \xf6'])
    text = b''.join(line() + b'\r\n' for _ in range(r.randint(0, 6)))
    return text + r.choice([b'', b'', b'\r\n\r\n', b'no line end'])


def damaged(r, signed, start):
    """One small change behind `start`, or none; what it was."""
    split = signed.index(b'\r\n\r\n', start)
    kind = r.choice(['nothing', 'body letter', 'body blanks', 'body footer', 'body empty lines', 'header letter', 'header blanks',
                     'field again', 'field gone', 'field new', 'header folded', 'case of a name', 'b=', 'bh='])
    head, body = signed[:split + 2], signed[split + 4:]
    fields = head[start:].split(b'\r\n')[:-1]
    at = r.randrange(len(fields))
    if kind == 'body letter' and body:
        i = r.randrange(len(body))
        body = body[:i] + b'Z' + body[i + 1:]
    elif kind == 'body blanks':
        body = body.replace(b' ', b'  ', 1) if r.random() < .5 else body.replace(b'\r\n', b' \r\n', 1)
    elif kind == 'body footer':
        body += b'-- \r\nlist footer\r\n'
    elif kind == 'body empty lines':
        body += b'\r\n\r\n'
    elif kind == 'header letter':
        fields[at] = fields[at][:-1] + b'Z'
    elif kind == 'header blanks':
        fields[at] = fields[at] + b' '
    elif kind == 'field again' and not fields[at].startswith((b' ', b'\t')):
        fields.insert(r.choice([0, len(fields)]), fields[at])
    elif kind == 'field gone' and not fields[at].lower().startswith((b'from', b' ', b'\t')):
        del fields[at]
        while at < len(fields) and fields[at].startswith((b' ', b'\t')):
            del fields[at]
    elif kind == 'field new':
        fields.insert(0, b'X-New: ' + words(r, 1))
    elif kind == 'header folded':
        fields[at] = fields[at].replace(b': ', b':\r\n ', 1)
    elif kind == 'case of a name' and not fields[at].startswith((b' ', b'\t')):
        name, colon, rest = fields[at].partition(b':')
        fields[at] = name.upper() + colon + rest
    elif kind in ('b=', 'bh='):
        i = signed.index(b'\n ' + kind.encode() if b'\n ' + kind.encode() in signed[:start] else kind.encode()) + 6
        head = signed[:i] + (b'A' if signed[i:i + 1] != b'A' else b'B') + signed[i + 1:start]
        return kind, head + b''.join(f + b'\r\n' for f in fields) + b'\r\n' + body
    return kind, head[:start] + b''.join(f + b'\r\n' for f in fields) + b'\r\n' + body


def generated(number):
    r = random.Random(SEED * 100000 + number)
    message = random_header(r) + b'\r\n' + random_body(r)
    names = [b'from'] + r.choices([b'to', b'cc', b'subject', b'date', b'message-id', b'x-a', b'x-b', b'from', b'reply-to'], k=r.randint(0, 7))
    key, canon = r.choice(sorted(KEYS)), r.choice(CANONS)
    signed = sign_with_python(message, key, canon, include_headers=names, length=r.random() < .15)
    kind, changed = damaged(r, signed, len(signed) - len(message))
    return '%s %s %s' % (key, canon, kind), changed


def test_generated_messages_agree(dns):
    def judge(number):
        what, message = generated(number)
        there, verdicts = theirs(message), ours(message, dns)
        here = verdicts[0]['result'] == 'pass'
        return number, what, there, here, verdicts[0]['reason'], message
    apart, passed = [], 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=3) as pool:
        for number, what, there, here, reason, message in pool.map(judge, range(GENERATED)):
            passed += here
            if there != here and not known_difference(message, there, here, reason):
                apart.append((number, what, 'there %s, here %s: %s' % (there, here, reason), message))
    assert not apart, '%d of %d differ, the first: %s' % (len(apart), GENERATED, apart[:3])
    assert GENERATED / 5 < passed < GENERATED * 4 / 5, 'the generator does not try both'
