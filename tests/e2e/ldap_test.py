# SPDX-License-Identifier: ISC
"""Accounts of an LDAP directory, behind a real saslauthd.  The directory is a few lines of
RFC 4511: who searches is told the name of an entry, who binds as that needs its password."""

import base64
import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from server import PATIENCE, Server  # noqa: E402

BIND, BOUND, SEARCH, ENTRY, DONE = 0x60, 0x61, 0x63, 0x64, 0x65        # what is asked, what is answered
SUCCESS, WRONG = 0, 49


def tlv(tag, *parts):
    value = b"".join(parts)
    assert len(value) < 128
    return bytes([tag, len(value)]) + value


def taken(data):
    """(tag, value, what is behind it); None where more has to come."""
    if len(data) < 2:
        return None
    n, at = data[1], 2
    if n & 0x80:
        at += n & 0x7F
        n = int.from_bytes(data[2:at], "big")
    return (data[0], data[at:at + n], data[at + n:]) if len(data) >= at + n else None


class Ldap:
    def __init__(self, passwords):
        self.passwords = {who.encode(): word.encode() for who, word in passwords.items()}
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        self.searches = self.binds = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.talk, args=(self.door.accept()[0],), daemon=True).start()

    def talk(self, peer):
        data = b""
        with contextlib.suppress(OSError), peer:
            while more := peer.recv(4096):
                data += more
                while message := taken(data):
                    data = message[2]
                    _, number, rest = taken(message[1])
                    tag, value, _ = taken(rest)
                    for answer in self.answers(tag, value):
                        peer.sendall(tlv(0x30, tlv(2, number), answer))

    def answers(self, tag, value):
        result = lambda kind, code: tlv(kind, tlv(10, bytes([code])), tlv(4), tlv(4))
        if tag == SEARCH:
            self.searches += 1
            who = next((who for who in self.passwords if tlv(4, who) in value), None)
            return ([tlv(ENTRY, tlv(4, b"mail=" + who), tlv(0x30))] if who else []) + [result(DONE, SUCCESS)]
        if tag != BIND:
            return []
        _, _, rest = taken(value)                                      # behind the version
        _, name, rest = taken(rest)
        self.binds += name != b""
        good = name == b"" or self.passwords.get(name[5:]) == taken(rest)[1]
        return [result(BOUND, SUCCESS if good else WRONG)]

    def close(self):
        self.door.close()


@contextlib.contextmanager
def saslauthd(ldap):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-test-"))
    folder.chmod(0o755)
    file = folder / "saslauthd.conf"
    file.write_text(f"ldap_servers: ldap://127.0.0.1:{ldap.port}/\nldap_search_base: dc=test\nldap_filter: mail=%u\n")
    process = subprocess.Popen(["saslauthd", "-a", "ldap", "-O", str(file), "-r", "-m", str(folder), "-n", "1", "-d"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)                 # it ends its whole process group
    try:
        end = time.monotonic() + PATIENCE
        while not (folder / "mux").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        yield folder / "mux"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        shutil.rmtree(folder)


def says(c, who, word):
    return c.ask(b"AUTH PLAIN " + base64.b64encode(f"\0{who}\0{word}".encode()))


def test_a_directory_is_asked_by_saslauthd():
    ldap = Ldap({"alice@here.test": "of the directory", "ghost@here.test": "of the directory"})
    with saslauthd(ldap) as mux, Server(extra=f'auth {{ backend = saslauthd saslauthd = "{mux}" }}') as s, \
            s.client("submissions") as c:
        c.ask("EHLO x", 250)
        for who, word in (("alice@here.test", "secret"), ("alice@here.test", "wrong"), ("bob@here.test", "secret"),
                          ("ghost@here.test", "of the directory")):    # its entry, but no account here
            assert says(c, who, word)[:9] == "535 5.7.8", (who, word)
        assert ldap.searches > 0 and ldap.binds > 0
        assert says(c, "alice@here.test", "of the directory")[:3] == "235"
        c.send_mail("alice@here.test", "bob@here.test", "From: alice@here.test\r\n\r\nhello\r\n")
        s.mail("bob@here.test")
    ldap.close()
