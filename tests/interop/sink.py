# SPDX-License-Identifier: ISC
"""A mail server that misbehaves, in as many ways as it has addresses.

    with Sink({"drop": {"mail": DROP}, "good": {}}) as sink:
        sink.zone                     # drop.test and good.test, MX hosts on loopback
        sink.port                     # one port for all of them
        sink.rows["good"].taken       # messages that it said 250 to

Each row has an address of its own (127.77.0.N); a row is a dict from steps to
what is done there.  The steps are connect, banner, ehlo, ehlo_tls, helo,
starttls, handshake, auth, mail, rcpt, data, body (its first octets), final,
rset, noop, quit.  What is done is octets to say, DROP, RST, SILENT, a function
of the session, or a tuple of those, one after the other; None is the usual.
A recipient whose local part begins with three digits is answered with them.

heal() makes every row behave from then on.
"""

import base64
import contextlib
import re
import socket
import ssl
import struct
import threading
import time

DROP, RST, SILENT = "drop", "rst", "silent"
USUAL = {
    "banner": b"220 sink.test ESMTP\r\n",
    "ehlo": b"250-sink.test\r\n250-8BITMIME\r\n250-SIZE 100000000\r\n250-ENHANCEDSTATUSCODES\r\n250 PIPELINING\r\n",
    "helo": b"250 sink.test\r\n", "starttls": b"220 2.0.0 go ahead\r\n", "auth": b"535 5.7.8 no\r\n",
    "mail": b"250 2.1.0 ok\r\n", "data": b"354 go ahead\r\n", "final": b"250 2.0.0 taken\r\n",
    "rset": b"250 2.0.0 flushed\r\n", "noop": b"250 2.0.0 ok\r\n", "quit": b"221 2.0.0 bye\r\n",
}
STEP_OF = {b"EHLO": "ehlo", b"LHLO": "ehlo", b"HELO": "helo", b"STAR": "starttls", b"AUTH": "auth", b"MAIL": "mail",
           b"RCPT": "rcpt", b"DATA": "data", b"RSET": "rset", b"NOOP": "noop", b"QUIT": "quit"}
OFFER_TLS = b"250-sink.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
PATIENCE = 20


class End(Exception):
    """The connection is over."""


# ---- things to do at a step ---------------------------------------------------------

def drip(octets):
    """One octet a packet."""
    def act(session):
        for i in range(len(octets)):
            session.say(octets[i:i + 1])
            time.sleep(0.001)
    return act


def slow(octets, seconds):
    def act(session):
        session.sleep(seconds)
        session.say(octets)
    return act


def endless(octets):
    """Again and again, until the other side has had enough."""
    def act(session):
        while True:
            session.say(octets * 50)
    return act


def garbage_handshake(session):
    session.more()               # its hello
    session.say(b"this is no TLS record at all\r\n" * 4)
    raise End


def tls_with(certificate, key):
    """A handshake with that pair, instead of the sink's own."""
    def act(session):
        session.secure(certificate, key)
    return act


class Session(threading.Thread):
    """One connection."""

    def __init__(self, sink, row, sock):
        super().__init__(daemon=True)
        self.sink, self.row, self.socket = sink, row, sock
        self.held, self.last, self.rcpts, self.tls, self.lmtp = b"", b"", [], False, False
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def steps(self):
        return {} if self.sink.healed else self.row.steps

    # ---- octets

    def say(self, octets):
        self.last = octets
        self.socket.sendall(octets)

    def sleep(self, seconds):
        if self.sink.over.wait(seconds):
            raise End

    def more(self):
        octets = self.socket.recv(65536)
        if not octets:
            raise End
        self.held += octets

    def line(self):
        while b"\r\n" not in self.held:
            self.more()
        line, self.held = self.held.split(b"\r\n", 1)
        return line

    def reset(self):
        """The connection goes with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise End

    def secure(self, certificate=None, key=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.sink.certificate, key or self.sink.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.tls, self.held = True, b""
        self.row.secured += 1

    # ---- steps

    def do(self, what):
        if isinstance(what, tuple):
            for each in what:
                self.do(each)
        elif what == DROP:
            raise End
        elif what == RST:
            self.reset()
        elif what == SILENT:
            self.sink.over.wait(PATIENCE)
            raise End
        elif callable(what):
            what(self)
        elif what is not None:
            self.say(what)

    def step(self, name):
        self.row.heard.append(name)
        self.do(self.steps.get(name, USUAL.get(name)))

    def run(self):
        self.row.connections += 1
        try:
            self.step("connect")
            if self.row.implicit:
                self.secure()
            self.step("banner")
            while True:
                self.command(self.line())
        except (End, OSError):
            pass
        finally:
            with contextlib.suppress(OSError):
                self.socket.close()

    def command(self, line):
        name = STEP_OF.get(line[:4].upper())
        self.row.lines.append(line)
        if name is None:
            self.say(b"500 5.5.2 what?\r\n")
        elif name == "ehlo":
            self.lmtp = line[:1].upper() == b"L"
            self.step("ehlo_tls" if self.tls and "ehlo_tls" in self.steps else name)
        elif name == "rcpt":
            self.rcpt(line)
        elif name == "data":
            self.data()
        else:
            self.step(name)
        if name == "starttls":
            self.do(self.steps.get("handshake", Session.secure))
        if name in ("mail", "rset"):
            self.rcpts = []
        if name == "quit":
            raise End

    def rcpt(self, line):
        code = re.match(rb"RCPT TO:<(\d{3})", line)
        if "rcpt" in self.steps:
            self.step("rcpt")
        elif code and not self.sink.healed:
            self.say(code[1] + b" " + code[1][:1] + b".1.1 so it is said\r\n")
            return
        else:
            self.say(b"250 2.1.5 ok\r\n")
        if not self.last.startswith((b"4", b"5")):
            self.rcpts.append(line)

    def data(self):
        if not self.rcpts and "data" not in self.steps:
            self.say(b"554 5.5.1 no recipients\r\n")
            return
        self.step("data")
        while b"\r\n" not in self.held:
            self.more()
        self.do(self.steps.get("body"))
        self.row.whole.append(self.body())
        self.final()

    def body(self):
        """Up to its dot.  Each octet is looked at once: the other side waits for us no longer than it says."""
        whole, seen = bytearray(b"\r\n"), 0                # as if a line had ended before it
        while True:
            whole += self.held
            end = whole.find(b"\r\n.\r\n", max(0, seen - 4))
            if end >= 0:
                self.held = bytes(whole[end + 5:])
                return bytes(whole[2:end])
            seen, self.held = len(whole), b""
            self.more()

    def final(self):
        if self.lmtp and "final" not in self.steps:
            for _ in self.rcpts:
                self.say(USUAL["final"])
        else:
            self.step("final")
        self.row.taken += 1


class Row:
    def __init__(self, name, steps, address):
        self.name, self.steps, self.address = name, steps, address
        self.implicit = steps.get("implicit", False)         # TLS from the first octet, healed or not
        self.connections = self.taken = self.secured = 0
        self.whole, self.heard, self.lines = [], [], []      # messages with their dot; steps; command lines
        self.peers = set()                                   # addresses of clients


class Sink:
    def __init__(self, rows, certificate=None, key=None):
        self.certificate, self.key = certificate, key
        self.rows = {name: Row(name, steps, f"127.77.{1 + i // 250}.{1 + i % 250}") for i, (name, steps) in enumerate(rows.items())}
        self.by_address = {row.address: row for row in self.rows.values()}
        self.over, self.healed = threading.Event(), False
        self.listener = socket.create_server(("0.0.0.0", 0), backlog=500)
        self.port = self.listener.getsockname()[1]
        self.zone = "".join(f"{n}.test MX 10 mx.{n}.test\nmx.{n}.test A {r.address}\n" for n, r in self.rows.items())

    def heal(self):
        self.healed = True

    def _accept(self):
        while True:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            row = self.by_address.get(sock.getsockname()[0])
            if row is None:
                sock.close()
            else:
                row.peers.add(peer[0])
                Session(self, row, sock).start()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


# ---- logins ----------------------------------------------------------------------------

def plain_login(name, word):
    """AUTH PLAIN or LOGIN as it should be."""
    def act(session):
        if session.row.lines[-1] == b"AUTH LOGIN":
            said = []
            for challenge in (b"Username:", b"Password:"):
                session.say(b"334 " + base64.b64encode(challenge) + b"\r\n")
                said.append(base64.b64decode(session.line()))
        else:
            said = base64.b64decode(session.row.lines[-1].rpartition(b" ")[2]).split(b"\0")[1:]
        session.say(b"235 2.7.0 welcome\r\n" if said == [name.encode(), word.encode()] else b"535 5.7.8 no\r\n")
    return act


def scram_first(session, rounds):
    """The server's first message, whatever the password is."""
    first = base64.b64decode(session.row.lines[-1].rpartition(b" ")[2])
    nonce = re.search(rb"r=([^,]+)", first)[1]
    session.say(b"334 " + base64.b64encode(b"r=%smore,s=c2FsdHNhbHQ=,i=%d" % (nonce, rounds)) + b"\r\n")


def scram_greedy(then):
    """Wants a password hashed for an hour; other mechanisms are judged by `then`."""
    def act(session):
        if b"SCRAM" not in session.row.lines[-1]:
            then(session)
            return
        scram_first(session, 1000000000)
        session.say(b"501 5.5.2 as you like\r\n" if session.line() == b"*" else b"535 5.7.8 no\r\n")
    return act


def scram_liar(session):
    """Knows no password, and lets everybody in."""
    scram_first(session, 4096)
    session.line()
    session.say(b"235 2.7.0 welcome\r\n")


def scram_forger(session):
    """Shows a proof that it cannot have."""
    scram_first(session, 4096)
    session.line()
    session.say(b"334 " + base64.b64encode(b"v=" + base64.b64encode(b"x" * 32)) + b"\r\n")
    session.say(b"501 5.5.2 as you like\r\n" if session.line() == b"*" else b"235 2.7.0 welcome\r\n")
