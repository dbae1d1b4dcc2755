# SPDX-License-Identifier: ISC
"""Known confusions end safe: never dmarc=pass for a domain that did not vouch for
what a mail program would show (after Chen, Paxson, Jiang: Composition Kills,
USENIX Security 2020, and others).

Three parties: bank.test has all records and p=reject, and signs its own mail from
198.51.100.1; evil.test has the same and may send from the client 192.0.2.1; every
message comes from there.  Nothing that some mail program could show as the bank's
may pass, or be taken at all.
"""
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from verify_test import POSTERN, key_file, run, signed, verify, zone_of  # noqa: E402,F401
from dnsserver import DnsServer  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access(POSTERN, os.X_OK),
                                reason='THERE IS NO PROGRAM AT %s: build it first' % POSTERN)

ZONE = '''
bank.test TXT v=spf1 ip4:198.51.100.1 -all
bank.test A 198.51.100.1
_dmarc.bank.test TXT v=DMARC1; p=reject
mail.bank.test TXT v=spf1 ip4:198.51.100.1 -all
evil.test TXT v=spf1 ip4:192.0.2.1 -all
*.evil.test TXT v=spf1 ip4:192.0.2.1 -all
evil.test A 192.0.2.1
_dmarc.evil.test TXT v=DMARC1; p=reject
_dmarc.suffix.test TXT v=DMARC1; p=reject; psd=y
evil.suffix.test TXT v=spf1 ip4:192.0.2.1 -all
victim.suffix.test TXT v=spf1 ip4:198.51.100.1 -all
suffix.test TXT v=spf1 ip4:192.0.2.1 -all
'''
BODY = b'\r\nPay here.\r\n'
SIGNERS = ('evil.test', 'bank.test', 'suffix.test', 'evil.suffix.test', 'victim.suffix.test')


@pytest.fixture(scope='module')
def dns():
    with DnsServer(zone_of(ZONE, SIGNERS)) as server:
        yield server


# ---- SPF: which identity passed, and whose it is --------------------------------

# MAIL FROM and HELO as the wire gave them, under From: boss@bank.test.
ENVELOPES = {
    'own MAIL FROM': ('me@evil.test', 'evil.test'),
    'a subdomain of ours': ('me@bank.test.evil.test', 'evil.test'),
    'bank in the local part': ('boss@bank.test@evil.test', 'evil.test'),
    'quoted bank in the local part': ('"boss@bank.test"@evil.test', 'evil.test'),
    'quoted space': ('"boss@bank.test "@evil.test', 'evil.test'),
    'route': ('<@bank.test:me@evil.test>', 'evil.test'),
    'route to the bank': ('<@evil.test:boss@bank.test>', 'evil.test'),
    'parenthesis': ('me@bank.test(.evil.test', 'evil.test'),
    'comment': ('me@(bank.test)evil.test', 'evil.test'),
    'comma': ('boss@bank.test,me@evil.test', 'evil.test'),
    'semicolon': ('boss@bank.test;@evil.test', 'evil.test'),
    'blank in the domain': ('me@bank.test .evil.test', 'evil.test'),
    'escaped NUL in the domain': ('me@bank.test\\000.evil.test', 'evil.test'),
    'trailing dot': ('boss@bank.test.', 'evil.test'),
    'two dots': ('boss@bank..test', 'evil.test'),
    'the bank itself': ('boss@bank.test', 'evil.test'),
    'long domain': ('me@' + '.'.join(['a' * 63] * 4) + '.bank.test', 'evil.test'),
    'long domain of ours': ('me@' + '.'.join(['a' * 60] * 3) + '.evil.test', 'evil.test'),
    'non-ASCII local part': ('b\u00f6ss@bank.test', 'evil.test'),
    'macro in the local part': ('%{d}.evil.test@bank.test', 'evil.test'),
    'literal': ('boss@[192.0.2.1]', 'evil.test'),
    'empty, HELO ours': ('', 'evil.test'),
    'empty, HELO the bank': ('', 'bank.test'),
    'empty, HELO the bank with a dot': ('', 'bank.test.'),
    'empty, HELO with an address': ('', 'boss@bank.test'),
    'empty, HELO below us': ('', 'bank.test.evil.test'),
    'empty, HELO with a blank': ('', 'evil.test bank.test'),
    'empty, HELO with a NUL': ('', 'evil.test\\0.bank.test'),
    'empty, HELO empty': ('', ''),
    'empty, HELO a literal': ('', '[192.0.2.1]'),
    'nobody at HELO': ('<>', 'evil.test'),
}


@pytest.mark.parametrize('name', ENVELOPES)
def test_no_envelope_vouches_for_the_bank(name, dns):
    sender, helo = ENVELOPES[name]
    got = verify(b'From: boss@bank.test\r\n' + BODY, dns, sender=sender, helo=helo)
    assert got['dmarc']['result'] == 'fail' and got['action'] == 'reject', got


def test_the_honest_envelope_passes(dns):
    got = verify(b'From: me@evil.test\r\n' + BODY, dns, sender='me@evil.test')
    assert got['dmarc']['result'] == 'pass' and got['action'] == 'accept'
    got = verify(b'From: me@evil.test\r\n' + BODY, dns, helo='mail.evil.test')
    assert got['dmarc']['result'] == 'pass'


# ---- From: which address a mail program would show --------------------------------

FROMS = {
    'several fields': b'From: me@evil.test\r\nFrom: boss@bank.test\r\n',
    'several fields, turned': b'From: boss@bank.test\r\nFrom: me@evil.test\r\n',
    'several fields, folded away': b'From: me@evil.test\r\nfrom\t:\r\n boss@bank.test\r\n',
    'space before the colon': b'From: me@evil.test\r\nFrom : boss@bank.test\r\n',
    'tab before the colon': b'From\t: boss@bank.test\r\nFrom: me@evil.test\r\n',
    'only with a space': b'From : boss@bank.test\r\n',
    'leading space': b' From: boss@bank.test\r\nFrom: me@evil.test\r\n',
    'a line that is no field': b'From: me@evil.test\r\nfrom the bank\r\nFrom: boss@bank.test\r\n',
    'a name with a control character': b'From: me@evil.test\r\nFrom\x01: boss@bank.test\r\nFrom: boss@bank.test\r\n',
    'a NUL in the name': b'From: me@evil.test\r\nFrom\0: x\r\nFrom: boss@bank.test\r\n',
    'missing, Sender there': b'Sender: boss@bank.test\r\n',
    'missing, Resent-From there': b'Resent-From: boss@bank.test\r\nReply-To: boss@bank.test\r\n',
    'several addresses': b'From: me@evil.test, boss@bank.test\r\n',
    'several addresses, turned': b'From: boss@bank.test, me@evil.test\r\n',
    'an empty one first': b'From: , boss@bank.test, me@evil.test\r\n',
    'no comma': b'From: me@evil.test boss@bank.test\r\n',
    'semicolon': b'From: me@evil.test; boss@bank.test\r\n',
    'route': b'From: <@evil.test,@x.test:boss@bank.test>\r\n',
    'route to us': b'From: <@bank.test:me@evil.test>\r\n',
    'group': b'From: Bank: me@evil.test;, boss@bank.test\r\n',
    'group of both': b'From: Bank: boss@bank.test, me@evil.test;\r\n',
    'empty group': b'From: boss@bank.test:;\r\n',
    'group named by an address': b'From: "boss@bank.test": me@evil.test;\r\n',
    'encoded word for the address': b'From: =?utf-8?Q?boss=40bank.test?= <me@evil.test>\r\n',
    'encoded word with brackets': b'From: =?utf-8?B?Qm9zcyA8Ym9zc0BiYW5rLnRlc3Q+?= <me@evil.test>\r\n',
    'encoded word with a NUL': b'From: =?utf-8?Q?boss=40bank.test=00?= <me@evil.test>\r\n',
    'encoded word in two halves': b'From: =?utf-8?Q?boss=40?= =?utf-8?Q?bank.test?= <me@evil.test>\r\n',
    'encoded word as the local part': b'From: =?utf-8?Q?boss=40bank.test=3E?=@evil.test\r\n',
    'encoded word alone': b'From: =?utf-8?Q?boss=40bank.test?=\r\n',
    'quoted address as the name': b'From: "boss@bank.test" <me@evil.test>\r\n',
    'name that is an address': b'From: boss@bank.test <me@evil.test>\r\n',
    'address in brackets first': b'From: <boss@bank.test> <me@evil.test>\r\n',
    'brackets in brackets': b'From: <<boss@bank.test>me@evil.test>\r\n',
    'brackets in quotes': b'From: "<boss@bank.test>" <me@evil.test>\r\n',
    'comment in front': b'From: (boss@bank.test) <me@evil.test>\r\n',
    'comment in the address': b'From: <boss@bank.test(>me@evil.test)>\r\n',
    'comment behind': b'From: me@evil.test (boss@bank.test)\r\n',
    'comment that never ends': b'From: boss@bank.test(@evil.test\r\n',
    'two at-signs': b'From: boss@bank.test@evil.test\r\n',
    'two at-signs, turned': b'From: me@evil.test@bank.test\r\n',
    'quoted at-sign': b'From: "boss@bank.test"@evil.test\r\n',
    'NUL in the address': b'From: boss@bank.test\0@evil.test\r\n',
    'NUL behind the domain': b'From: me@evil.test\0.bank.test\r\n',
    'control characters': b'From: boss@bank.test\x08\x08@evil.test\r\n',
    'bare LF': b'From: me@evil.test\nFrom: boss@bank.test\r\n',
    'bare CR': b'From: me@evil.test\rFrom: boss@bank.test\r\n',
    'a trailing dot': b'From: boss@bank.test.\r\n',
    'two dots': b'From: boss@bank..test\r\n',
    'a blank in the domain': b'From: boss@bank. test\r\n',
    'an escape in the domain': b'From: boss@ba\\nk.test\r\n',
    'percent': b'From: boss%bank.test@evil.test.bank.test\r\n',
    'full-width letters': 'From: boss@\uff42\uff41\uff4e\uff4b.test\r\n'.encode(),
    'ideographic full stop': 'From: boss@bank\u3002test\r\n'.encode(),
    'soft hyphen': 'From: boss@ba\u00adnk.test\r\n'.encode(),
    'no UTF-8': b'From: boss@b\xe4nk.test\r\n',
    'non-ASCII local part': 'From: b\u00f6ss@bank.test\r\n'.encode(),
    'non-ASCII name as an address': 'From: \uff42oss@bank.test <me@evil.test>\r\n'.encode(),
    'a long domain': b'From: boss@' + b'.'.join([b'a' * 63] * 4) + b'.bank.test\r\n',
    'a long label': b'From: boss@' + b'a' * 64 + b'.bank.test\r\n',
    'a literal': b'From: boss@[192.0.2.1]\r\n',
    'a subdomain': b'From: boss@mail.bank.test\r\n',
    'a subdomain that is not there': b'From: boss@no.such.bank.test\r\n',
    'folds within': b'From: boss@bank\r\n .test\r\n',
    'a name of a megabyte': b'From: ' + b'x ' * 300000 + b'<boss@bank.test>\r\n',
}
# An address literal has no policy to break, and no domain that it could pass for (CONTRACT).
NOBODYS = {'a literal'}


@pytest.mark.parametrize('name', FROMS)
@pytest.mark.parametrize('by', ['SPF', 'DKIM'])
def test_no_from_passes_for_the_bank(name, by, dns, key_file):
    message = FROMS[name] + BODY
    if by == 'DKIM':
        header = b'From: me@evil.test\r\n' + BODY
        # A signature of ours over From, whatever stands there: header and body hash are right as far as they can be.
        signature = signed(message, 'evil.test', key_file, '--headers', 'from') if re.search(rb'^From\s*:', message) else \
            signed(header, 'evil.test', key_file, '--headers', 'from')[:-len(header)]
        message = signature if signature.endswith(message) else signature + message
    got = verify(message, dns, sender='me@evil.test' if by == 'SPF' else '')
    assert got['dmarc']['result'] != 'pass' or got['dmarc']['from_domain'] == 'evil.test', got
    assert got['action'] == ('accept' if name in NOBODYS else 'reject'), got


# ---- DKIM: whose signature, and over what ------------------------------------------

def test_signatures_of_others_do_not_vouch(dns, key_file):
    """Unaligned third parties, and many of them."""
    message = b'From: boss@bank.test\r\n' + BODY
    for _ in range(3):
        message = signed(message, 'evil.test', key_file)
    got = verify(message, dns)
    assert [s['result'] for s in got['dkim']] == ['pass'] * 3
    assert got['dmarc']['result'] == 'fail' and got['action'] == 'reject'


NAMES = {
    'parenthesis in d=': (b'd=evil.test', b'd=bank.test(.evil.test'),
    'comment in d=': (b'd=evil.test', b'd=bank.test(x)'),
    'NUL in d=': (b'd=evil.test', b'd=bank.test\0.evil.test'),
    'quotes around d=': (b'd=evil.test', b'd="bank.test"'),
    'quote in d=': (b'd=evil.test', b'd=bank.test".evil.test'),
    'blank in d=': (b'd=evil.test', b'd=bank.test .evil.test'),
    'fold in d=': (b'd=evil.test', b'd=bank.test\r\n .evil.test'),
    'dot behind d=': (b'd=evil.test', b'd=bank.test.'),
    'dot before d=': (b'd=evil.test', b'd=.bank.test'),
    'two dots in d=': (b'd=evil.test', b'd=bank..test'),
    'escape in d=': (b'd=evil.test', b'd=bank.test\\.evil.test'),
    'two d=': (b'd=evil.test', b'd=evil.test; d=bank.test'),
    'two d=, turned': (b'd=evil.test', b'd=bank.test; d=evil.test'),
    'top-level d=': (b'd=evil.test', b'd=test'),
    'long d=': (b'd=evil.test', b'd=' + b'.'.join([b'a' * 63] * 4) + b'.bank.test'),
    'NUL behind s=': (b's=s;', b's=s\0;'),
    'NUL in s=': (b's=s;', b's=s._domainkey.evil.test\0;'),
    'parenthesis in s=': (b's=s;', b's=s._domainkey.evil.test(;'),
    'quotes in s=': (b's=s;', b's="s";'),
    'blank in s=': (b's=s;', b's=s x;'),
    'dots in s=': (b's=s;', b's=s..x;'),
    'dot behind s=': (b's=s;', b's=s.;'),
    'empty s=': (b's=s;', b's=;'),
    'i= of another domain': (b'd=evil.test', b'd=evil.test; i=@bank.test'),
    'i= that looks within': (b'd=evil.test', b'd=evil.test; i=@bank.test@evil.test.bank.test'),
}


@pytest.mark.parametrize('name', NAMES)
def test_forged_names_are_no_signature(name, dns, key_file):
    old, new = NAMES[name]
    good = signed(b'From: boss@bank.test\r\n' + BODY, 'evil.test', key_file)
    assert old in good
    before = len(dns.asked())
    got = verify(good.replace(old, new, 1), dns, sender='me@evil.test')
    keys = [str(q.name) for q in dns.asked()[before:] if '._domainkey' in str(q.name) and not str(q.name).startswith('_adsp.')]
    assert not keys, keys
    assert got['dkim'][0]['result'] == 'permerror' and got['dkim'][0]['reason'], got
    assert got['dmarc']['result'] == 'fail' and got['action'] == 'reject', got


def test_authenticated_results_hold_no_forged_name(dns, key_file):
    good = signed(b'From: boss@bank.test\r\n' + BODY, 'evil.test', key_file)
    field = run('verify', good.replace(b'd=evil.test', b'd=bank.test(.evil.test', 1), dns, sender='"(x; dkim=pass)"@evil.test').stdout
    assert b'header.d=' not in field and field.count(b'dkim=pass') <= field.count(b'"\\"(x; dkim=pass)\\"@evil.test"')


ADDED = [b'Subject: Pay here\r\n', b'From: me@evil.test\r\n', b'To: you@here.test\r\n', b'Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n',
         b'Reply-To: me@evil.test\r\n', b'Content-Type: text/html\r\n', b'Subject : Pay here\r\n', b'MIME-Version: 1.0\r\n']


@pytest.mark.parametrize('added', ADDED)
@pytest.mark.parametrize('place', ['above', 'between', 'below'])
def test_nothing_is_added_to_what_we_sign(added, place, dns, key_file):
    """Fields that our own signatures cover cannot be doubled or made up afterwards (oversigning)."""
    good = signed(b'From: boss@bank.test\r\nSubject: one\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nTo: you@here.test\r\n' + BODY,
                  'bank.test', key_file)
    assert verify(good, dns)['dmarc']['result'] == 'pass'
    text = {'above': added + good, 'between': good.replace(b'Subject: one\r\n', b'Subject: one\r\n' + added),
            'below': good.replace(b'\r\n\r\n', b'\r\n' + added + b'\r\n', 1)}[place]
    got = verify(text, dns)
    assert got['dkim'][0]['result'] == 'fail' and got['action'] == 'reject', got


def test_doubled_from_under_a_signature_that_counts_one(dns, key_file):
    """h=from once: the signer of the bank covered its own From only; two are refused."""
    good = signed(b'From: boss@bank.test\r\nSubject: one\r\n' + BODY, 'bank.test', key_file, '--headers', 'from:subject')
    for text in (b'From: me@evil.test\r\n' + good, good.replace(b'Subject: one', b'From: me@evil.test\r\nSubject: one')):
        got = verify(text, dns)
        assert got['dmarc']['result'] == 'permerror' and got['action'] == 'reject', got


def with_length(message, signed_part, domain):
    """Signed with l=, which our own signer never writes."""
    dkim = pytest.importorskip('dkim')
    pytest.importorskip('nacl')
    seed = b'nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='          # RFC 8463 A.2, as verify_test.PEM
    signature = dkim.DKIM(signed_part, signature_algorithm=b'ed25519-sha256').sign(
        b's', domain.encode(), seed, canonicalize=(b'relaxed', b'relaxed'), include_headers=[b'from'], length=True)
    return signature + message


@pytest.mark.parametrize('body', [b'', b'Dear you,\r\n'], ids=['l=0', 'l=11'])
def test_replays_under_l(body, dns):
    """l= leaves the body to whoever comes next: it does not count."""
    header = b'From: boss@bank.test\r\n\r\n'
    got = verify(with_length(header + body + b'Pay here.\r\n', header + body, 'bank.test'), dns)
    assert got['dkim'][0]['result'] == 'pass' and 'l= leaves' in got['dkim'][0]['reason'], got
    assert got['dmarc']['result'] == 'fail' and got['action'] == 'reject'
    got = verify(with_length(header + body, header + body, 'bank.test'), dns)
    assert got['dmarc']['result'] == 'pass'


def test_a_signature_without_from(dns, key_file):
    good = signed(b'From: boss@bank.test\r\nTo: x@y.test\r\n' + BODY, 'bank.test', key_file, '--headers', 'from:to')
    for h in (b'h=to', b'h=fromx:to', b'h=x-from:to'):
        got = verify(good.replace(b'h=from:to', h), dns)
        assert got['dkim'][0]['result'] == 'permerror' and got['action'] == 'reject', got


# ---- public suffixes -----------------------------------------------------------------

@pytest.mark.parametrize('author, by, result', [
    ('victim.suffix.test', 'spf:evil.suffix.test', 'fail'),       # two registrants of one suffix
    ('victim.suffix.test', 'dkim:evil.suffix.test', 'fail'),
    ('victim.suffix.test', 'spf:suffix.test', 'fail'),            # the suffix itself is another organization
    ('victim.suffix.test', 'dkim:suffix.test', 'fail'),
    ('suffix.test', 'dkim:evil.suffix.test', 'fail'),
    ('mail.victim.suffix.test', 'dkim:victim.suffix.test', 'pass'),
    ('evil.suffix.test', 'spf:evil.suffix.test', 'pass'),
])
def test_subdomains_of_a_public_suffix(author, by, result, dns, key_file):
    message, sender = b'From: a@%s\r\n' % author.encode() + BODY, ''
    kind, _, domain = by.partition(':')
    if kind == 'dkim':
        message = signed(message, domain, key_file)
    else:
        sender = 'a@' + domain
    got = verify(message, dns, sender=sender)
    assert got['dmarc']['result'] == result, got
    assert got['action'] == ('accept' if result == 'pass' else 'reject')


# ---- results that strangers write ----------------------------------------------------

@pytest.mark.parametrize('field', [
    b'Authentication-Results: judge.test; dmarc=pass header.from=bank.test\r\n',
    b'authentication-results : JUDGE.TEST 1; dmarc=pass header.from=bank.test\r\n',
    b'Authentication-Results: (x) "judge.test" (y); dmarc=pass header.from=bank.test\r\n',
    b'Received-SPF: pass receiver=judge.test; client-ip=192.0.2.1\r\n',
])
def test_results_that_came_along_change_nothing(field, dns):
    got = verify(field + b'From: boss@bank.test\r\n' + BODY, dns, '--authserv-id', 'judge.test', sender='me@evil.test')
    assert got['dmarc']['result'] == 'fail' and got['action'] == 'reject'
