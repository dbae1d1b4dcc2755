# SPDX-License-Identifier: ISC
"""`postern explain`: what was asked and answered, which term matched, which bytes
were hashed, where alignment failed, what would have to change, and what happened to
a body whose hash fails."""
import base64
import hashlib
import os
import quopri
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from verify_test import KEY, POSTERN, key_file, run, signed, zone_of  # noqa: E402,F401
from dnsserver import DnsServer  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access(POSTERN, os.X_OK),
                                reason='THERE IS NO PROGRAM AT %s: build it first' % POSTERN)

HEADER = b'From: a@example.com\r\nSubject: x\r\n'


def story(message, zone, *options, **more):
    with DnsServer(zone) as dns:
        done = run('explain', message, dns, *options, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def part(text, name):
    found = re.search(r'^%s[^\n]*\n(.*?)(?=^[A-Z]|\Z)' % name, text, re.M | re.S)
    assert found, text
    return found[1]


# ---- SPF, DMARC, DNS ------------------------------------------------------------

def test_spf_is_told_term_by_term():
    zone = 'a.test TXT v=spf1 include:b.test a:host.test -all\nb.test TXT v=spf1 ip4:198.51.100.0/24 -all\nhost.test A 192.0.2.1'
    text = part(story(HEADER + b'\r\nx\r\n', zone, sender='u@a.test'), 'SPF')
    assert 'MAIL FROM: pass for a.test, matched by a:host.test (2 look-ups of 10, 0 void)' in text
    assert 'a.test: include:b.test -> no match' in text
    assert '  b.test: ip4:198.51.100.0/24 -> no match' in text and 'a.test: a:host.test -> match' in text


@pytest.mark.parametrize('record, advice', [
    ('v=spf1 -all', 'to change it: if 192.0.2.1 may send for a.test, its owner adds it to the record'),
    ('nothing', 'to change it: the owner of a.test publishes a TXT record that begins with v=spf1'),
    ('v=spf1 nonsense', 'to change it: the owner of a.test mends the record'),
])
def test_spf_says_what_to_change(record, advice):
    assert advice in part(story(HEADER + b'\r\nx\r\n', 'a.test TXT ' + record, sender='u@a.test'), 'SPF')


def test_every_question_and_answer_is_told():
    zone = zone_of('_dmarc.example.com TXT v=DMARC1; p=none\na.test TXT v=spf1 mx include:gone.test -all\na.test MX 10 mx.a.test\n'
                   'mx.a.test A 198.51.100.1\nslow.test TXT SERVFAIL\n1.2.0.192.in-addr.arpa PTR name.test\nname.test A 192.0.2.1')
    text = part(story(HEADER + b'\r\nx\r\n', zone, sender='u@a.test', helo='slow.test'), 'DNS')
    for line in ('  TXT a.test -> found\n    "v=spf1 mx include:gone.test -all"\n', '  MX a.test -> found\n    10 mx.a.test\n',
                 '  A mx.a.test -> found\n    198.51.100.1\n', '  TXT gone.test -> NXDOMAIN\n', '  TXT slow.test -> SERVFAIL',
                 '  PTR 1.2.0.192.in-addr.arpa -> found\n    name.test\n', '  TXT _dmarc.example.com -> found\n    "v=DMARC1; p=none"\n'):
        assert line in text, line
    questions = re.findall(r'^  (\w+ \S+) ->', text, re.M)
    assert len(questions) == len(set(questions))


def test_what_dns_said_cannot_act_on_a_terminal():
    zone = {'example.com': [{'TXT': [b'v=spf1 \x1b[2J\x9b31m\xc2\x9b31m -all']}]}
    text = story(HEADER + b'X-Y: \x1b[2J\r\n\r\nx\r\n', zone, sender='u@example.com', helo='x\x1b]0;y\x07')
    assert not re.search('[\x00-\x08\x0b-\x1f\x7f-\x9f]', text)


@pytest.mark.parametrize('record, signer, line', [
    ('p=reject', 'other.test', 'DKIM passed for other.test: not aligned: it is of another organization than the author\'s'),
    ('p=reject; adkim=s', 'mail.example.com', 'DKIM passed for mail.example.com: not aligned: the record asks for the very name (adkim=s), and this is another'),
    ('p=reject', None, 'neither SPF nor a signature passed, so nothing could align'),
])
def test_where_alignment_failed(record, signer, line, key_file):
    message = HEADER + b'\r\nx\r\n'
    if signer:
        message = signed(message, signer, key_file)
    text = part(story(message, zone_of('_dmarc.example.com TXT v=DMARC1; %s\n_dmarc.other.test TXT v=DMARC1; p=none' % record, [signer or 'x.test'])), 'DMARC')
    assert line in text, text
    assert 'to change it: mail from example.com is signed with d=example.com' in text
    assert 'dmarc=fail, disposition reject' in text


def test_historic_methods_are_told():
    zone = '_domainkey.example.com TXT o=-\n_adsp._domainkey.example.com TXT dkim=all\nexample.com TXT spf2.0/pra ip4:192.0.2.1 -all'
    text = story(HEADER + b'\r\nx\r\n', zone)
    assert 'fail: the message has no DomainKey-Signature' in part(text, 'DOMAINKEYS')
    assert 'policy: TXT _domainkey.example.com -> found: o=-' in part(text, 'DOMAINKEYS')
    assert 'the Purported Responsible Address is a@example.com, in From' in part(text, 'SENDER ID')
    assert 'PRA: pass, matched by ip4:192.0.2.1' in part(text, 'SENDER ID')
    assert 'fail for example.com' in part(text, 'ADSP') and 'dkim=all' in part(text, 'ADSP')


# ---- signatures --------------------------------------------------------------------

def test_the_bytes_that_were_hashed(key_file, tmp_path):
    """--canonical: their SHA-256 is bh=, l= included; two signatures, two pairs of files."""
    message = signed(b'From:  a@example.com\r\nSubject: x\r\n\r\nHello  you \r\n\r\n', 'example.com', key_file, '--canon', 'simple/simple')
    message = signed(message, 'example.com', key_file)
    text = story(message, zone_of('', ['example.com']), '--canonical', str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ['1-body', '1-header', '2-body', '2-header']
    hashes = re.findall(rb'bh=([^;]+);', re.sub(rb'\s', b'', message))
    for i, bh in enumerate(hashes, 1):
        body = (tmp_path / ('%d-body' % i)).read_bytes()
        assert base64.b64encode(hashlib.sha256(body).digest()) == bh
        assert 'its canonical body is in %s/%d-body' % (tmp_path, i) in text
    again = story(message, zone_of('', ['example.com']))
    assert 'canonical' not in again


def test_l_cuts_the_dumped_body(key_file, tmp_path):
    good = signed(HEADER + b'\r\nHello\r\nmore\r\n', 'example.com', key_file)
    story(good.replace(b'bh=', b'l=7; bh=', 1), zone_of('', ['example.com']), '--canonical', str(tmp_path))
    assert (tmp_path / '1-body').read_bytes() == b'Hello\r\n'


def test_a_full_directory_is_said(key_file, tmp_path):
    (tmp_path / '1-header').write_text('mine')
    with DnsServer(zone_of('', ['example.com'])) as dns:
        done = run('explain', signed(HEADER + b'\r\nx\r\n', 'example.com', key_file), dns, '--canonical', str(tmp_path))
    assert b'name an empty directory' in done.stderr and (tmp_path / '1-header').read_text() == 'mine'


def test_the_help_and_the_manual_name_canonical():
    import subprocess
    text = subprocess.run([POSTERN, 'help', 'explain'], stdout=subprocess.PIPE).stdout
    page = open(os.path.join(os.path.dirname(__file__), '..', '..', 'etc', 'man', 'postern.8')).read()
    assert b'--canonical DIR' in text and 'canonical' in page


def test_a_header_that_was_changed(key_file):
    good = signed(b'From: a@example.com\r\nSubject: x\r\nTo: b@here.test\r\n\r\nx\r\n', 'example.com', key_file,
                  '--headers', 'from:subject:to')
    zone = zone_of('', ['example.com'])
    text = part(story(good.replace(b'Subject: x', b'Subject: [list] x'), zone), 'DKIM')
    assert 'reason: header mismatch' in text and 'Subject begins with a word in brackets' in text
    text = part(story(good.replace(b'To: b@here.test\r\n', b''), zone), 'DKIM')
    assert 'h= names to, which the message does not have: was it removed?' in text
    text = part(story(good.replace(b'To: b', b'To: c@here.test\r\nTo: b'), zone), 'DKIM')
    assert 'the message has 2 fields to, and h= counts 1: was one added?' not in text or 'pass' in text
    text = part(story(good.replace(b'\r\n\r\nx', b'\r\nTo: c@here.test\r\n\r\nx'), zone), 'DKIM')
    assert 'the message has 2 fields to, and h= counts 1: was one added?' in text


@pytest.mark.parametrize('record, reason, advice', [
    (None, 'there is no key: the name does not exist in DNS', 'the owner of example.com publishes a usable key at s._domainkey.example.com'),
    ('v=DKIM1; p=', 'the key is revoked', 'publishes a usable key'),
    ('v=DKIM1; k=ed25519; p=AAAA', 'p= holds no Ed25519 key', 'publishes a usable key'),
])
def test_keys_are_told(record, reason, advice, key_file):
    zone = 's._domainkey.example.com TXT ' + record if record else 'x.test A 192.0.2.1'
    text = part(story(signed(HEADER + b'\r\nx\r\n', 'example.com', key_file), zone), 'DKIM')
    assert reason in text and advice in text and 'key: TXT s._domainkey.example.com -> ' in text


# ---- bodies --------------------------------------------------------------------------

def encoded(body, how):
    return b'Content-Transfer-Encoding: %s\r\n' % how, body


LINES = b'Dear you,\r\n\r\nall is well.\r\nFrom here to there.\r\n.dotted\r\nEnd.\r\n'
EIGHT = 'Sch\u00f6ne Gr\u00fc\u00dfe = \u00fc\r\nEnde\r\n'.encode()
# (canonical form, signed header more, body signed, body that arrives, what is said)
BODIES = {
    'footer': ('relaxed', b'', LINES, LINES + b'-- \r\na list\r\n', 'without its last 2 lines the body is the one that was signed'),
    'footer of one line': ('simple', b'', LINES, LINES + b'Scanned.\r\n', 'without its last 1 line the body is the one that was signed'),
    'banner': ('relaxed', b'', LINES, b'EXTERNAL MAIL\r\n\r\n' + LINES, 'without its first 2 lines the body is the one that was signed'),
    'blanks at ends': ('simple', b'', LINES, LINES.replace(b'you,\r\n', b'you, \t\r\n'), 'blanks were added at the ends of lines'),
    'a LF alone': ('relaxed', b'', LINES, LINES.replace(b'well.\r\n', b'well.\n'), 'some lines came with another end than CR LF'),
    'a CR alone': ('relaxed', b'', LINES, LINES.replace(b'well.\r\n', b'well.\r'), 'some lines came with another end than CR LF'),
    'mbox': ('relaxed', b'', LINES, LINES.replace(b'From here', b'>From here'), 'a > was put in front of lines that begin with From'),
    'dots doubled': ('relaxed', b'', LINES, LINES.replace(b'.dotted', b'..dotted'), 'dots at the beginnings of lines were doubled'),
    'a dot lost': ('relaxed', b'', LINES.replace(b'.dotted', b'..dotted'), LINES, 'a dot at the beginning of some line was lost'),
    'long lines broken': ('relaxed', b'', b'x' * 1200 + b'\r\n', b'x' * 990 + b'!\r\n ' + b'x' * 210 + b'\r\n', 'lines longer than SMTP allows were broken'),
    '8-bit to quoted-printable': ('relaxed', b'Content-Transfer-Encoding: quoted-printable\r\n', EIGHT, quopri.encodestring(EIGHT.replace(b'\r\n', b'\n')).replace(b'\n', b'\r\n'),
                                  'converted the body from 8-bit to quoted-printable'),
    '8-bit to base64': ('relaxed', b'Content-Transfer-Encoding: base64\r\n', EIGHT, base64.encodebytes(EIGHT).replace(b'\n', b'\r\n'), 'converted the body to base64'),
    'signed empty': ('relaxed', b'', b'', LINES, 'the signature was made over an empty body'),
    'lost': ('relaxed', b'', LINES, b'', 'the body is empty; it was lost on the way'),
    'cut': ('relaxed', b'', LINES, LINES[:30], 'its end is missing; nothing that is usual explains this hash'),
    'an encoded part': ('relaxed', b'', LINES + EIGHT, LINES + b'Content-Transfer-Encoding: quoted-printable\r\n\r\nSch=C3=B6n\r\n', 'text of the body is encoded; if it was 8-bit when it was signed'),
    'rewritten, simple': ('simple', b'', LINES, LINES.replace(b'all', b'All'), 'c=.../simple breaks by any change of white space'),
}


@pytest.mark.parametrize('name', BODIES)
def test_what_happened_to_a_body(name, key_file):
    canon, more, before, after, said = BODIES[name]
    good = signed(HEADER + more + b'\r\n' + before, 'example.com', key_file, '--canon', 'relaxed/' + canon)
    head = good[:good.index(b'\r\n\r\n') + 4]
    zone = zone_of('', ['example.com'])
    assert 'signature 1: pass' in story(good, zone)
    text = part(story(head + after, zone), 'DKIM')
    assert 'reason: body hash mismatch' in text and ', different' in text
    assert said in text, text
    assert text.count('what happened') <= 1
    if 'what happened' in text:
        assert 'what may have happened' not in text


def test_the_other_canonical_form(key_file):
    good = signed(HEADER + b'\r\nHello  you\r\n', 'example.com', key_file)
    wrong = good.replace(b'c=relaxed/relaxed', b'c=relaxed/simple')
    assert wrong != good
    assert 'the signer hashed the relaxed form, but c= says the other one' in part(story(wrong, zone_of('', ['example.com'])), 'DKIM')


def test_truncated_under_l(key_file):
    good = signed(HEADER + b'\r\nHello\r\n', 'example.com', key_file)
    text = part(story(good.replace(b'bh=', b'l=5000; bh=', 1).replace(b'Hello', b'Hell'), zone_of('', ['example.com'])), 'DKIM')
    assert 'l= counts 5000 octets, but only 6 arrived' in text and 'what happened: the body was truncated: its end is missing' in text


def test_lf_input_is_noted(key_file):
    good = signed(HEADER + b'\r\n' + LINES, 'example.com', key_file).replace(b'\r\n', b'\n')
    text = part(story(good.replace(b'all', b'All'), zone_of('', ['example.com'])), 'DKIM')
    assert 'the input has LF line ends' in text


def test_a_large_body_is_not_tried_for_ever(key_file):
    good = signed(HEADER + b'\r\n' + b'x' * 70 + b'\r\n', 'example.com', key_file)
    text = story(good + (b'y' * 70 + b'\r\n') * 100000, zone_of('', ['example.com']))
    assert 'what may have happened' in part(text, 'DKIM')
