# SPDX-License-Identifier: ISC
"""What no transcript can say: many connections, signals, descriptors, memory."""

import os
import pathlib
import signal
import socket
import statistics
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from server import CONFIG, PATIENCE, Client, Server  # noqa: E402

PLAIN = os.environ.get("POSTERN_VARIANT", "plain") == "plain"
MESSAGE = b"From: a@far.test\r\nSubject: x\r\n\r\nhello\r\n"


def envelope(c):
    c.ask("EHLO client.test", 250)
    c.ask("MAIL FROM:<a@far.test>", 250)
    c.ask("RCPT TO:<alice@here.test>", 250)


def kilobytes(server, what):
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1])
    raise AssertionError(what)


def test_connections_of_one_address_have_an_end():
    with Server(config=CONFIG.replace("connections-address = 500", "connections-address = 3")) as s:
        held = [s.client("mx") for _ in range(3)]
        s.client("mx", greeting="421 4.7.0").hear_end()
        s.wait("connection.refused", limit="connections-address")
        held.pop().close()
        s.wait("session.closed")
        s.client("mx").close()


def test_half_of_all_connections_are_kept_for_submission():
    with Server(limits="connections = 6") as s:
        held = [s.client("mx") for _ in range(3)]
        s.client("mx", greeting="421 4.7.0").close()
        held += [s.client("submission") for _ in range(3)]
        s.client("submission", greeting="421 4.7.0").close()
        assert len(held) == 6


def test_sigterm_sends_the_idle_home_and_lets_a_message_end():
    with Server() as s:
        idle, login, busy = s.client("mx"), s.client("submissions"), s.client("mx")
        login.ask("EHLO x", 250)
        envelope(busy)
        busy.ask("DATA", 354)
        busy.send(MESSAGE)
        s.signal(signal.SIGTERM)
        for c in (idle, login):
            c.hear("421 4.3.2")
            c.hear_end()
        with pytest.raises(OSError):
            Client(s.address("mx"))
        busy.send(".\r\n")
        busy.hear("250 2.0.0")
        busy.hear("421 4.3.2")
        busy.hear_end()
        assert s.process.wait(PATIENCE) == 0
        s.wait("message.stored")


def test_who_leaves_behind_the_final_dot_has_sent():
    with Server() as s:
        for i in range(20):
            c = s.client("mx")
            envelope(c)
            c.ask("DATA", 354)
            c.send(MESSAGE + b".\r\n")
            c.close()
        s.until(lambda: len(s.find("message.stored")) == 20, "twenty messages")


def test_without_descriptors_everybody_hears_of_it():
    with Server(descriptors=100) as s:
        held = []
        for _ in range(100):
            held.append(s.client("mx", greeting=None))
            if held[-1].hear().startswith("421 4.3.2"):
                break
        held.pop().hear_end()
        s.wait("descriptors.exhausted")
        # Those inside go on, and when some have left others come in.
        held[0].ask("EHLO client.test", 250)
        for c in held[:20]:
            c.close()
        s.until(lambda: len(s.find("session.closed")) >= 20, "their end")
        envelope(s.client("mx"))


@pytest.mark.skipif(not PLAIN, reason="a sanitizer's memory is its own")
@pytest.mark.parametrize("tls, most", [(False, 4), (True, 24)])
def test_an_idle_connection_is_small(tls, most):
    def idle():
        c = s.client("mx")
        c.ask("EHLO client.test", 250)
        if tls:
            c.starttls().ask("EHLO client.test", 250)
        return c

    with Server() as s:
        held, marks = [idle() for _ in range(120)], [kilobytes(s, "RssAnon")]       # what each thread's heap begins with is there
        for _ in range(3):                  # in one of them pages may be touched again, or given back
            held += [idle() for _ in range(105)]
            marks.append(kilobytes(s, "RssAnon"))
        used = statistics.median(after - before for before, after in zip(marks, marks[1:])) / 105
        assert used < most, f"{used:.1f} KiB a connection: {marks}"


@pytest.mark.skipif(not PLAIN, reason="a sanitizer's memory is its own")
def test_what_a_load_has_used_goes_back():
    with Server() as s:
        before = kilobytes(s, "RssAnon")
        crowd = [s.client("submissions") for _ in range(450)]
        for c in crowd:
            c.ask("EHLO client.test", 250)
        grown = kilobytes(s, "RssAnon") - before
        assert grown > 4000
        for c in crowd:
            c.close()
        s.until(lambda: kilobytes(s, "RssAnon") - before < grown * 2 / 3, "its memory has fallen")


@pytest.mark.skipif(not PLAIN, reason="a sanitizer's memory is its own")
@pytest.mark.parametrize("how", ["DATA", "BDAT"])
def test_a_large_message_takes_little_memory(how):
    with Server() as s:
        c = s.client("mx")
        c.ask("EHLO client.test", 250)
        c.send_mail("a@far.test", "alice@here.test", MESSAGE * 100)
        before = kilobytes(s, "VmHWM")
        c.ask("MAIL FROM:<a@far.test> SIZE=31457280", 250)
        c.ask("RCPT TO:<alice@here.test>", 250)
        large = MESSAGE + b"x" * 998 + b"\r\n" + (b"y" * 998 + b"\r\n") * 30000
        if how == "DATA":
            c.ask("DATA", 354)
            c.send(large + b".\r\n")
        else:
            c.send(b"BDAT %d LAST\r\n" % len(large) + large)
        c.hear("250 2.0.0")
        assert kilobytes(s, "VmHWM") - before < 2048


def test_a_reload_keeps_sessions_and_shuts_doors():
    with Server() as s:
        old = s.client("mx")
        old.ask("EHLO x", 250)
        gone = s.address("submission")
        s.configure(limits="messages-inbound = 7",
                    config="\n".join(x for x in CONFIG.split("\n") if not x.startswith('listener "submission" ')))
        mark = s.mark()
        s.signal(signal.SIGHUP)
        s.wait("configuration.loaded", since=mark)
        assert _refused(gone)
        old.ask("EHLO x", 250)
        assert "MAILMAX=100" in old.reply
        new = s.client("mx")
        new.ask("EHLO x", 250)
        assert "MAILMAX=7" in new.reply
        assert not s.find("configuration.refused", mark)


def _refused(address):
    try:
        Client(address).close()
        return False
    except OSError:
        return True


def test_a_full_queue_takes_no_mail_and_says_so():
    """What is taken stays, because the next hop is not there."""
    with socket.create_server(("127.0.0.4", 0)) as taken:
        hop = f"127.0.0.4:{taken.getsockname()[1]}"
    with Server(extra=f'queue {{ size = "16 MiB" }} relay {{ smarthost = "{hop}" smarthost-tls = may }}') as s:
        c = s.client("mx")
        c.ask("EHLO client.test", 250)
        body = MESSAGE + (b"y" * 998 + b"\r\n") * 200
        for _ in range(99):
            if not c.ask("MAIL FROM:<a@far.test>").startswith("250"):
                break
            c.ask("RCPT TO:<outer@here.test>", 250)
            c.ask("DATA", 354)
            c.send(body + b".\r\n")
            if not c.hear().startswith("250"):
                break
        assert c.reply.startswith("452 4.3.1"), c.reply
        c.ask("NOOP", 250)
