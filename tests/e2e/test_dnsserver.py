# SPDX-License-Identifier: ISC
"""The tests' own name server does what its page says."""
import os
import signal
import socket
import subprocess
import sys

import pytest
from dnslib import DNSRecord, QTYPE, RCODE

LIB = os.path.join(os.path.dirname(__file__), '..', 'lib')
sys.path.insert(0, LIB)
from dnsserver import DnsServer  # noqa: E402

ZONE = r'''
# comment
home.test        MX  10 mail.home.test
home.test        MX  0 .
home.test        TXT v=spf1 mx; -all
two.home.test    TXT "a \"b\" " "\065"
mail.home.test   60 A 192.0.2.1
mail.home.test   AAAA 2001:db8::1
www.home.test    CNAME mail.home.test
1.2.0.192.in-addr.arpa PTR mail.home.test
_25._tcp.mail.home.test TLSA 3 1 1 00ff
*.wild.test      A 192.0.2.7
fail.test        TXT SERVFAIL
fail.test        A 192.0.2.2
no.test          ANY REFUSED
silent.test      ANY TIMEOUT
cut.test         TXT whole
cut.test         TXT TC
'''


def ask(server, name, rtype, tcp=False):
    return DNSRecord.parse(DNSRecord.question(name, rtype).send('127.0.0.1', server.port, tcp=tcp, timeout=2))


@pytest.fixture(scope='module')
def server():
    with DnsServer(ZONE) as s:
        yield s


@pytest.mark.parametrize('name, rtype, want', [
    ('home.test', 'MX', ['10 mail.home.test.', '0 .']),
    ('HOME.test', 'TXT', ['"v=spf1 mx; -all"']),
    ('two.home.test', 'TXT', ['"a "b" ","A"']),
    ('mail.home.test', 'A', ['192.0.2.1']),
    ('mail.home.test', 'AAAA', ['2001:db8::1']),
    ('www.home.test', 'A', ['mail.home.test.', '192.0.2.1']),
    ('1.2.0.192.in-addr.arpa', 'PTR', ['mail.home.test.']),
    ('a.b.wild.test', 'A', ['192.0.2.7']),
    ('fail.test', 'A', ['192.0.2.2']),
    ('_tcp.mail.home.test', 'A', []),
])
def test_records(server, name, rtype, want):
    for tcp in (False, True):
        reply = ask(server, name, rtype, tcp)
        assert reply.header.rcode == RCODE.NOERROR
        assert [str(rr.rdata) for rr in reply.rr] == want


@pytest.mark.parametrize('name, rtype, rcode', [
    ('fail.test', 'TXT', RCODE.SERVFAIL), ('no.test', 'A', RCODE.REFUSED), ('none.test', 'A', RCODE.NXDOMAIN),
    ('_26._tcp.mail.home.test', 'TLSA', RCODE.NXDOMAIN)])
def test_troubles(server, name, rtype, rcode):
    assert ask(server, name, rtype).header.rcode == rcode


def test_truncation(server):
    assert ask(server, 'cut.test', 'TXT').header.tc
    whole = ask(server, 'cut.test', 'TXT', tcp=True)
    assert not whole.header.tc and str(whole.rr[0].rdata) == '"whole"'


def test_silence_and_memory(server):
    server.forget()
    with pytest.raises(socket.timeout):
        DNSRecord.question('silent.test', 'A').send('127.0.0.1', server.port, timeout=0.1)
    assert [tuple(q) for q in server.asked('Silent.test', 'A')] == [('silent.test', 'A', 'udp')]
    assert server.asked('other.test') == []
    server.add('later.test A 192.0.2.9')
    assert str(ask(server, 'later.test', 'A').rr[0].rdata) == '192.0.2.9'


def test_zone_as_dict():
    zone = {'d.test': [{'TXT': ['v=spf1 ', '-all']}, {'MX': [5, 'm.d.test']}, 'A 192.0.2.3'], 'slow.d.test': ['SERVFAIL']}
    with DnsServer(zone) as s:
        assert str(ask(s, 'd.test', 'TXT').rr[0].rdata) == '"v=spf1 ","-all"'
        assert str(ask(s, 'd.test', 'MX').rr[0].rdata) == '5 m.d.test.'
        assert str(ask(s, 'd.test', 'A').rr[0].rdata) == '192.0.2.3'
        assert ask(s, 'slow.d.test', 'AAAA').header.rcode == RCODE.SERVFAIL


def test_program(tmp_path):
    said = tmp_path / 'questions'
    p = subprocess.Popen(['/usr/bin/python3', os.path.join(LIB, 'dnsserver.py'), '--questions', str(said), '-'],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p.stdin.write(ZONE)
    p.stdin.close()
    port = int(p.stdout.readline())
    reply = DNSRecord.parse(DNSRecord.question('mail.home.test', 'A').send('127.0.0.1', port, timeout=2))
    p.send_signal(signal.SIGTERM)
    assert p.wait(10) == 0
    p.stdout.close()
    assert str(reply.rr[0].rdata) == '192.0.2.1'
    assert said.read_text() == 'mail.home.test A udp\n'
