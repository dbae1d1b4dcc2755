#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A name server for tests: UDP and TCP on one loopback port that the kernel gives.

    with DnsServer('home.test MX 10 mail.home.test') as dns:
        run('postern', 'verify', '--resolver', dns.address, ...)
        assert dns.asked('home.test', 'MX')

The zone is a text with one record a line, `NAME [TTL] TYPE DATA`, as
smtpd/base/dns_local.h describes it (any type that dnslib can read, too), or a
dict from names to lists; a list's members are 'TYPE DATA', {'TYPE': value} with
a text, a list of strings (TXT) or [preference, host] (MX), or a trouble alone.
It answers for all the world: what the zone does not hold is NXDOMAIN.

Instead of DATA a trouble may stand, for one TYPE or for ANY:

    SERVFAIL REFUSED FORMERR NXDOMAIN NODATA   that answer
    TIMEOUT, SILENT                            none
    TC                                         over UDP truncated, over TCP whole
    TCONLY                                     the same, and TCP connections are closed unanswered
    BOGUS                                      SERVFAIL, as a validating resolver would say
    GARBAGE                                    half of the answer's bytes

As a program: dnsserver.py [--port N] [--questions FILE] [ZONE-FILE | -]
prints its port, then serves until it is ended; every question is a line of FILE.
"""
import argparse
import collections
import selectors
import signal
import socket
import struct
import sys
import threading

from dnslib import (AAAA, CNAME, DNSHeader, DNSLabel, DNSRecord, EDNS0, MX, NS, PTR, QTYPE, RCODE, RD, RR, TXT, A)

TROUBLES = {'SERVFAIL', 'REFUSED', 'FORMERR', 'NXDOMAIN', 'NODATA', 'TIMEOUT', 'SILENT', 'TC', 'TCONLY', 'BOGUS',
            'GARBAGE'}
RCODES = {'SERVFAIL': RCODE.SERVFAIL, 'BOGUS': RCODE.SERVFAIL, 'REFUSED': RCODE.REFUSED, 'FORMERR': RCODE.FORMERR,
          'NXDOMAIN': RCODE.NXDOMAIN}
TTL = 300
HOPS = 20

Question = collections.namedtuple('Question', 'name type transport')


def name_key(name):
    """Labels as lower-case bytes, however the name is given."""
    if isinstance(name, DNSLabel):
        labels = name.label
    else:
        if isinstance(name, str):
            name = name.encode('utf-8', 'surrogateescape')
        labels = name.rstrip(b'.').split(b'.') if name.strip(b'.') else ()
    return tuple(label.lower() for label in labels)


def chunks(text):
    """One text as the strings of a TXT record."""
    if isinstance(text, str):
        text = text.encode('utf-8', 'surrogateescape')
    return [text[i:i + 255] for i in range(0, len(text), 255)] or [b'']


def quoted_strings(text):
    """The bytes of `"a" "b\\"c\\065"`."""
    out, data, at = [], text.encode('utf-8', 'surrogateescape'), 0
    while at < len(data):
        if data[at:at + 1] in b' \t':
            at += 1
            continue
        if data[at:at + 1] != b'"':
            raise ValueError('after a quoted text comes another one or the end: ' + text)
        at, one = at + 1, bytearray()
        while data[at:at + 1] != b'"':
            if at >= len(data):
                raise ValueError('the closing quotation mark is missing: ' + text)
            if data[at:at + 1] == b'\\':
                if data[at + 1:at + 4].isdigit():
                    one.append(int(data[at + 1:at + 4]))
                    at += 4
                    continue
                at += 1
            one.append(data[at])
            at += 1
        at += 1
        out.extend(chunks(bytes(one)))
    return out


def record_data(rtype, value):
    """(type number, rdata) of a value as text or as the dict form has it."""
    if rtype in ('TXT', 'SPF'):
        if isinstance(value, (list, tuple)):
            strings = [s.encode('utf-8', 'surrogateescape') if isinstance(s, str) else s for s in value]
        elif isinstance(value, str) and value.startswith('"'):
            strings = quoted_strings(value)
        else:
            strings = chunks(value)
        return (16 if rtype == 'TXT' else 99), TXT(strings)
    if rtype == 'MX':
        preference, host = value if isinstance(value, (list, tuple)) else value.split()
        return 15, MX(DNSLabel(name_key(str(host)) or '.'), int(preference))
    if rtype == 'TLSA':
        usage, selector, matching, data = value.split(None, 3)
        return 52, RD(bytes([int(usage), int(selector), int(matching)]) + bytes.fromhex(data))
    simple = {'A': A, 'AAAA': AAAA}
    if rtype in simple:
        return getattr(QTYPE, rtype), simple[rtype](value)
    names = {'PTR': PTR, 'NS': NS, 'CNAME': CNAME}
    if rtype in names:
        return getattr(QTYPE, rtype), names[rtype](DNSLabel(name_key(value)))
    rr = RR.fromZone('x. 1 IN %s %s' % (rtype, value))[0]
    return rr.rtype, rr.rdata


class Zone:
    """Names to records and troubles."""

    def __init__(self, zone=''):
        self.records = {}       # key → [(type number, ttl, rdata)]
        self.troubles = {}      # (key, type word or ANY) → word
        self.exists = set()
        if isinstance(zone, dict):
            for name, members in zone.items():
                for member in members:
                    self.add_member(name, member)
        else:
            for line in zone.splitlines():
                self.add(line)

    def add(self, line):
        line = line.strip()
        if not line or line[0] in '#;':
            return
        name, rest = (line.split(None, 1) + [''])[:2]
        word, rest = (rest.split(None, 1) + [''])[:2]
        ttl = TTL
        if word.isdigit():
            ttl = int(word)
            word, rest = (rest.split(None, 1) + [''])[:2]
        self.add_record(name, word.upper(), rest.strip(), ttl)

    def add_member(self, name, member):
        if isinstance(member, dict):
            for rtype, value in member.items():
                self.add_record(name, rtype.upper(), value, TTL)
        elif member in TROUBLES:
            self.add_record(name, 'ANY', member, TTL)
        else:
            self.add('%s %s' % (name, member))

    def add_record(self, name, rtype, value, ttl):
        key = name_key(name)
        for i in range(len(key)):
            self.exists.add(key[i:])
        if isinstance(value, str) and value in TROUBLES:
            self.troubles[key, rtype] = value
            return
        if value == 'SECURE':
            return
        number, rdata = record_data(rtype, value)
        self.records.setdefault(key, []).append((number, ttl, rdata))

    def find(self, key):
        """The key that answers for it, by wildcard if need be; None: NXDOMAIN."""
        if key in self.exists:
            return key
        for i in range(1, len(key)):
            if key[i:] in self.exists:
                wild = (b'*',) + key[i:]
                return wild if wild in self.exists else None
        return None

    def trouble(self, key, word):
        return self.troubles.get((key, word)) or self.troubles.get((key, 'ANY'))


class DnsServer:
    """Serves from its construction; close() or the end of `with` ends it."""

    def __init__(self, zone='', address='127.0.0.1', port=0):
        self.zone = zone if isinstance(zone, Zone) else Zone(zone)
        self.questions = []
        self.told = None             # a file for questions
        self.lock = threading.Lock()
        self.udp, self.tcp = self._bind(address, port)
        self.port = self.udp.getsockname()[1]
        self.address = ('[%s]:%d' if ':' in address else '%s:%d') % (address, self.port)
        self.wake_r, self.wake_w = socket.socketpair()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @staticmethod
    def _bind(address, port):
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        for _ in range(100):
            udp = socket.socket(family, socket.SOCK_DGRAM)
            tcp = socket.socket(family, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            try:
                udp.bind((address, port))
                tcp.bind((address, udp.getsockname()[1]))
                tcp.listen(64)
                return udp, tcp
            except OSError:
                udp.close()
                tcp.close()
                if port:
                    raise
        raise OSError('no port is free for both UDP and TCP')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.thread.is_alive():
            self.wake_w.send(b'x')
            self.thread.join()
        for s in (self.udp, self.tcp, self.wake_r, self.wake_w):
            s.close()

    # ---- what tests ask ----

    def add(self, line):
        """One more line of zone text."""
        with self.lock:
            self.zone.add(line)

    def replace(self, zone):
        with self.lock:
            self.zone = Zone(zone)

    def asked(self, name=None, rtype=None):
        """The questions so far, of this name and type if given."""
        key = None if name is None else name_key(name)
        with self.lock:
            return [q for q in self.questions
                    if (key is None or name_key(q.name) == key) and (rtype is None or q.type == rtype)]

    def forget(self):
        with self.lock:
            self.questions.clear()

    # ---- answering ----

    def _note(self, name, word, transport):
        text = b'.'.join(name.label).decode('utf-8', 'surrogateescape').lower()
        self.questions.append(Question(text, word, transport))
        if self.told:
            self.told.write('%s %s %s\n' % (text, word, transport))
            self.told.flush()

    def _fill(self, reply, qname, number, word):
        """Adds the records; gives the trouble that ends it, or None."""
        owner, key = qname, name_key(qname)
        for _ in range(HOPS):
            found = self.zone.find(key)
            if found is None:
                reply.header.rcode = RCODE.NXDOMAIN
                return None
            trouble = self.zone.trouble(found, word)
            if trouble and trouble not in ('TC', 'TCONLY', 'GARBAGE'):
                return trouble
            records = self.zone.records.get(found, [])
            alias = next((r for r in records if r[0] == QTYPE.CNAME), None)
            if alias and number != QTYPE.CNAME:
                reply.add_answer(RR(owner, QTYPE.CNAME, ttl=alias[1], rdata=alias[2]))
                owner = alias[2].label
                key = name_key(owner)
                continue
            for rtype, ttl, rdata in records:
                if rtype == number:
                    reply.add_answer(RR(owner, rtype, ttl=ttl, rdata=rdata))
            return trouble
        return None

    @staticmethod
    def _udp_room(query):
        for rr in query.ar:
            if rr.rtype == QTYPE.OPT:
                return max(512, rr.rclass)
        return 512

    def _answer(self, data, transport):
        """The bytes to send, b'' for none."""
        query = DNSRecord.parse(data)
        number = query.q.qtype
        word = QTYPE.get(number) if isinstance(QTYPE.get(number), str) else str(number)
        reply = DNSRecord(DNSHeader(id=query.header.id, qr=1, aa=1, ra=1, rd=query.header.rd), q=query.q)
        with self.lock:
            self._note(query.q.qname, word, transport)
            trouble = self._fill(reply, query.q.qname, number, word)
        if trouble in ('TIMEOUT', 'SILENT') or (trouble == 'TCONLY' and transport == 'tcp'):
            return b''
        if trouble in RCODES:
            reply.header.rcode = RCODES[trouble]
        if any(rr.rtype == QTYPE.OPT for rr in query.ar):
            reply.add_ar(EDNS0(udp_len=1232))
        out = reply.pack()
        if trouble == 'GARBAGE':
            return out[:len(out) // 2]
        if transport == 'udp' and (trouble in ('TC', 'TCONLY') or len(out) > self._udp_room(query)):
            reply.rr = []
            reply.header.tc = 1
            out = reply.pack()
        return out

    def _safe_answer(self, data, transport):
        try:
            return self._answer(data, transport)
        except Exception as e:                  # a test must not hang on a packet that dnslib refuses
            print('dnsserver: %r: %s' % (data[:64], e), file=sys.stderr)
            return data[:2] + b'\x80\x01' + b'\0' * 8 if len(data) >= 2 else b''

    def _udp_ready(self):
        data, peer = self.udp.recvfrom(65535)
        out = self._safe_answer(data, 'udp')
        if out:
            self.udp.sendto(out, peer)

    def _tcp_client(self, conn):
        with conn:
            conn.settimeout(5)
            stream = conn.makefile('rwb')
            try:
                while len(head := stream.read(2)) == 2:
                    out = self._safe_answer(stream.read(struct.unpack('!H', head)[0]), 'tcp')
                    if not out:
                        return
                    stream.write(struct.pack('!H', len(out)) + out)
                    stream.flush()
            except OSError:
                pass

    def _serve(self):
        with selectors.DefaultSelector() as ready:
            for s in (self.udp, self.tcp, self.wake_r):
                ready.register(s, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is self.wake_r:
                        return
                    if key.fileobj is self.udp:
                        self._udp_ready()
                    else:
                        conn, _ = self.tcp.accept()
                        threading.Thread(target=self._tcp_client, args=(conn,), daemon=True).start()


def main():
    p = argparse.ArgumentParser(description='A name server for tests on loopback.')
    p.add_argument('--port', type=int, default=0)
    p.add_argument('--address', default='127.0.0.1')
    p.add_argument('--questions', help='append every question to this file')
    p.add_argument('zone', nargs='?', help='file with the zone text; - for standard input')
    o = p.parse_args()
    text = ''
    if o.zone == '-':
        text = sys.stdin.read()
    elif o.zone:
        with open(o.zone, encoding='utf-8', errors='surrogateescape') as f:
            text = f.read()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    with DnsServer(text, o.address, o.port) as server:
        if o.questions:
            server.told = open(o.questions, 'a', encoding='utf-8', errors='surrogateescape')
        print(server.port, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == '__main__':
    main()
