# SPDX-License-Identifier: ISC
"""Guessing passwords from 50 addresses: they are slowed down and refused, each where it
hurts the guesser, while the account's owner logs in from the usual network and mail
comes in; nothing tells who exists."""

import base64
import datetime
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from scram import Scram  # noqa: E402
from server import PASSWORD, ROOT, Client, Server  # noqa: E402

REFUSED = "535 5.7.8 Name or password is wrong"
GUESSES = ("auth {{ guesses {{ never = {{}} address = {address} network = {network} account = {account} slowest = {slowest} }} "
           "{more} }}")


def guesses(address=4, network=100000, account=100000, slowest="50ms", more=""):
    return GUESSES.format(address=address, network=network, account=account, slowest=slowest, more=more)


class From(Client):
    """A client with a source address of its own."""

    def __init__(self, s, ip, listener="submission"):
        self.socket = socket.create_connection(s.address(listener), 30, source_address=(ip, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held, self.reply = b"", ""

    def begin(self):
        self.hear(220)
        self.ask("EHLO x", 250)
        self.starttls()
        self.ask("EHLO x", 250)
        return self


def b64(octets):
    return base64.b64encode(octets if isinstance(octets, bytes) else octets.encode())


def plain(c, who, password):
    return c.ask(b"AUTH PLAIN " + b64(f"\0{who}\0{password}"))


def login(c, who, password):
    c.ask("AUTH LOGIN", 334)
    c.ask(b64(who), 334)
    return c.ask(b64(password))


def scram(c, who, password):
    client = Scram(who, password)
    said = c.ask(b"AUTH SCRAM-SHA-256 " + b64(client(b"")))
    while said.startswith("334"):
        said = c.ask(b64(client(base64.b64decode(said[4:]))))
    return said


WAYS = (plain, login, scram)


def memory(s):
    status = pathlib.Path(f"/proc/{s.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024


def counters(s):
    return json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)


def guess_from(s, ip, way, names, outcome):
    """Until the door is shut; what was heard."""
    heard = []
    for i in range(60):
        c = From(s, ip)
        if c.hear().startswith("421"):
            heard.append(c.reply)
            break
        c.ask("EHLO x", 250)
        c.starttls()
        c.ask("EHLO x", 250)
        heard.append(way(c, names[i % len(names)], f"guess {ip} {i}"))
        c.close()
    outcome[ip] = heard


def test_guessers_from_50_addresses_are_refused_and_the_owner_is_not():
    with Server(extra=guesses()) as s:
        owner = From(s, "127.1.1.1").begin()
        owner.login("alice@here.test")
        before, outcome = memory(s), {}
        ips = [f"127.0.{1 + i % 5}.{10 + i}" for i in range(50)]
        threads = [threading.Thread(target=guess_from, args=(s, ip, WAYS[i % 3], ("alice@here.test", "nobody@here.test"), outcome))
                   for i, ip in enumerate(ips)]
        for part in range(0, 50, 10):
            for t in threads[part:part + 10]:
                t.start()
            c = From(s, f"127.1.1.{part + 2}").begin()               # the owner, meanwhile, in the same network as ever
            c.login("alice@here.test")
            c.close()
            for t in threads[part:part + 10]:
                t.join()
        assert len(outcome) == 50
        for ip, heard in outcome.items():
            assert heard[-1].startswith("421 4.7.0"), (ip, heard)
            assert "try again" in heard[-1]
            few = 8 if WAYS[ips.index(ip) % 3] is scram else 4       # SCRAM's count half
            assert few <= len(heard) <= few + 2, (ip, len(heard), heard)
            assert all(h == REFUSED or h.startswith("421") for h in heard[:-1]), heard
        banned = s.find("login.banned", what="address")
        assert {e["ip"] for e in banned} == set(ips)
        # The owner from the usual network may even mistype more often than that.
        c = From(s, "127.1.1.77").begin()
        for i in range(8):
            assert plain(c, "alice@here.test", f"mistyped {i}") == REFUSED
        c.login("alice@here.test")
        # Mail from those hosts comes in.
        c = From(s, ips[0], "mx")
        c.hear(220)
        numbers = counters(s)
        assert numbers["counters"]["auth.refused"] == 50
        assert numbers["counters"]["auth.turned-away"] >= 40
        assert numbers["counters"]["auth.failed"] >= 200
        assert numbers["counters"]["auth.slowed"] > 0
        assert numbers["refused"] == 50
        assert re.search(r"(?m)^guessers +50 ", s.run("status", "-c", str(s.file)).stdout)
        if os.environ.get("POSTERN_VARIANT", "plain") == "plain":    # a sanitizer keeps what was freed
            assert memory(s) - before < 24 << 20


def test_answers_slow_down_and_a_whole_network_is_refused():
    with Server(extra=guesses(address=100, network=6, slowest="400ms")) as s:
        took = []
        for i in range(5):
            c = From(s, "127.0.9.1").begin()
            begin = time.monotonic()
            assert plain(c, "alice@here.test", f"guess {i}") == REFUSED
            took.append(time.monotonic() - begin)
            c.close()
        assert took[2] >= 0.25 and took[3] >= 0.4 and took[4] >= 0.4, took
        c, other = From(s, "127.0.9.2").begin(), From(s, "127.0.8.2").begin()
        assert plain(c, "alice@here.test", "guess").startswith("421")
        c.hear_end()
        s.wait("login.banned", what="network")
        From(s, "127.0.9.3").hear(421)
        other.login("alice@here.test")                               # another network's


def test_an_account_guessed_from_all_sides_makes_each_guess_weigh_more():
    with Server(extra=guesses(address=6, account=4)) as s:
        for i in range(5):
            c = From(s, f"127.0.{i + 1}.1").begin()
            plain(c, "ALICE@here.test" if i % 2 else "alice@here.test", f"guess {i}")
            c.close()
        c = From(s, "127.0.77.1").begin()
        assert plain(c, "alice@here.test", "one") == REFUSED
        assert plain(c, "alice@here.test", "two").startswith("421")
        c = From(s, "127.0.78.1").begin()                            # the owner on a journey
        c.login("alice@here.test")


def test_an_old_password_in_a_phone_counts_once_and_is_not_banned():
    with Server(extra=guesses(address=3)) as s:
        for way in plain, login:
            for i in range(12):
                c = From(s, "127.0.5.5").begin()
                assert way(c, "alice@here.test", "the old one") == REFUSED
                c.close()
        assert counters(s)["counters"]["auth.failed-again"] == 23
        c = From(s, "127.0.5.5").begin()
        c.login("alice@here.test")


def test_the_time_of_refusal_grows_and_ends():
    with Server(extra="auth { guesses { never = {} address = 1 refuse = 1s refuse-most = 1h slowest = 0s } }") as s:
        for want in "1", "2":
            since = s.mark()
            c = s.until(lambda: (lambda c: c if c.hear().startswith("220") else None)(From(s, "127.0.6.6")), "an open door")
            c.ask("EHLO x", 250)
            c.starttls()
            c.ask("EHLO x", 250)
            assert plain(c, "alice@here.test", f"guess {want}").startswith("421")
            assert s.wait("login.banned", since=since)["seconds"] == want
        s.until(lambda: From(s, "127.0.6.6").hear().startswith("220"), "an open door")


def test_logins_of_an_account_are_shown_and_survive_a_restart():
    with Server(extra=guesses(address=2)) as s:
        made = s.run("account", "app-password", "add", "alice@here.test", "--label", "phone", "-c", str(s.file))
        device = re.search(r"\b([a-z]{4}(?:-[a-z]{4}){4})\b", made.stdout).group(1)
        c = From(s, "127.0.7.1").begin()
        assert plain(c, "alice@here.test", "wrong") == REFUSED
        c.login("alice@here.test")
        c.close()
        c = From(s, "127.0.7.2").begin()
        scram(c, "alice@here.test", PASSWORD)
        c.close()
        c = From(s, "127.0.7.3").begin()
        c.login("alice@here.test", device)
        c.close()
        for life in 1, 2:
            shown = json.loads(s.run("account", "logins", "alice@here.test", "--json", "-c", str(s.file)).stdout)
            assert [(e["ip"], e["mechanism"], e["device"], e["passed"], e["result"]) for e in shown] == [
                ("127.0.7.3", "PLAIN", "phone", True, "passed"),
                ("127.0.7.2", "SCRAM-SHA-256", None, True, "passed"),
                ("127.0.7.1", "PLAIN", None, True, "passed"),
                ("127.0.7.1", "PLAIN", None, False, "wrong password"),
            ]
            assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", e["time"]) for e in shown)
            # For people a table, in their own time.
            text = s.run("account", "logins", "alice@here.test", "-c", str(s.file),
                         env={**os.environ, "TZ": "XXX-5:45"}).stdout.splitlines()
            assert text[0].split() == ["TIME", "FROM", "MECHANISM", "RESULT", "DEVICE"] and len(text) == 5 and "\t" not in text
            starts = [text[0].index(word) for word in text[0].split()]
            assert [[line[a:b].strip() for a, b in zip(starts[1:], starts[2:] + [None])] for line in text[1:]] == [
                [e["ip"], e["mechanism"], e["result"], e["device"] or ""] for e in shown]
            for line, e in zip(text[1:], shown):
                when = datetime.datetime.strptime(line[:25], "%Y-%m-%d %H:%M:%S %z")
                assert line[20:25] == "+0545" and when == datetime.datetime.fromisoformat(e["time"].replace("Z", "+00:00"))
            assert s.run("account", "logins", "bob@here.test", "-c", str(s.file)).stdout == ""
            if life == 1:
                assert s.stop() == 0
                s.start()
        # The usual network is known in the next life, too: two wrong ones would do for a stranger.
        c = From(s, "127.0.7.200").begin()
        for i in range(4):
            assert plain(c, "alice@here.test", f"mistyped {i}") == REFUSED
        From(s, "127.0.7.200").hear(220)


def test_fail2ban_reads_the_log():
    """With Python's re, as fail2ban does it: <HOST> becomes a group, the time is cut off before."""
    text = (ROOT / "etc" / "examples" / "fail2ban-postern.conf").read_text()
    host = r"(?:\[?(?:(?:::f{4,6}:)?(?P<host>(?:\d{1,3}\.){3}\d{1,3})|[0-9a-fA-F:]{2,})\]?)"
    rule = re.compile(re.search(r"(?m)^failregex = (.*)$", text).group(1).replace("<HOST>", host))
    name = 'x" ip=9.9.9.9 ip=9.9.9.9 reason="'
    with Server(extra=guesses(address=2)) as s:
        c = From(s, "127.0.4.4").begin()
        plain(c, name, "guess")
        plain(c, "alice@here.test", "guess")
        s.wait("login.banned")
        c = From(s, "127.0.3.3").begin()
        c.login("alice@here.test")
        hits = []
        for line in s.log().splitlines():
            hits += [m.group("host") for m in (rule.search(re.sub(r"^\S+", "", line, count=1)),) if m]
        assert hits == ["127.0.4.4", "127.0.4.4"], s.log()
        log = s.dir / "log"
        log.write_text(s.log() + "\n")
        if pathlib.Path("/usr/bin/fail2ban-regex").exists():
            done = subprocess.run(["/usr/bin/fail2ban-regex", str(log), str(ROOT / "etc/examples/fail2ban-postern.conf")],
                                  capture_output=True, text=True, timeout=60)
            assert re.search(r"Lines: \d+ lines, 0 ignored, 2 matched", done.stdout), done.stdout
