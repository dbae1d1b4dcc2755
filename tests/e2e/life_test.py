# SPDX-License-Identifier: ISC
"""The server among its neighbours: systemd's notify socket, log files that are
renamed, syslog, a host without IPv6, a disk that fills and empties."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import CONFIG, PATIENCE, Client, Server  # noqa: E402

MESSAGE = "From: <a@far.test>\r\nSubject: x\r\n\r\nhello\r\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces")


def until(true, what):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


# ---- systemd ---------------------------------------------------------------------

class Listener:
    """A notify socket; what was said to it, a line each."""

    def __init__(self, path):
        self.path, self.said = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        os.chmod(path, 0o777)
        self.socket.settimeout(PATIENCE)

    def hear(self, wanted):
        seen = len(self.said)
        while not any(x.startswith(wanted) for x in self.said[seen:]):
            self.said += self.socket.recv(4096).decode().split("\n")
        return self.said[seen:]


def test_systemd_hears_of_every_step(tmp_path, monkeypatch):
    with Server(start=False) as s:
        systemd = Listener(s.dir / "notify")
        monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        s.start()
        systemd.hear("READY=1")
        assert s.client("mx").ask("NOOP", 250)              # ready means ready
        for _ in range(3):
            systemd.hear("WATCHDOG=1")
        s.signal(signal.SIGHUP)
        said = systemd.hear("READY=1")
        usec = next(x for x in said if x.startswith("MONOTONIC_USEC="))
        assert said.index("RELOADING=1") < said.index("READY=1")
        assert abs(int(usec.split("=")[1]) / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < PATIENCE
        s.file.write_text(s.file.read_text() + "frobnicate = yes\n")
        s.signal(signal.SIGHUP)                             # refused, and systemd does not wait for ever
        assert "RELOADING=1" in systemd.hear("READY=1")
        s.signal(signal.SIGTERM)
        systemd.hear("STOPPING=1")
        assert s.stop() == 0
        systemd.socket.close()


# ---- the log -----------------------------------------------------------------------

class FileServer(Server):
    """Logs to a file; what it says there becomes events all the same."""

    def __init__(self, **how):
        super().__init__(config=CONFIG.replace("log {{ level", 'log {{ to = file file = "{dir}/logs/postern.log" level'),
                         start=False, **how)
        self._folder("logs")
        self.logfile = self.dir / "logs" / "postern.log"

    def run_it(self):
        self.process = subprocess.Popen([self.program, "serve", "-c", str(self.file)], stderr=subprocess.PIPE, cwd="/",
                                        **self.as_user)
        self.reader = threading.Thread(target=self._read_log, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        until(lambda: self.logfile.exists() and "server.started" in self.logfile.read_text(), "the start")

    def verb(self, *words):
        return self.run(*words, "-c", str(self.file))


def test_a_log_file_is_opened_again_and_searched(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    with FileServer() as s:
        s.run_it()
        assert s.logfile.stat().st_mode & 0o137 == 0
        stamp = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+05:30 ", s.logfile.read_text())
        assert stamp, s.logfile.read_text()
        address = re.search(r"listener.opened name=mx .*address=(\S+):(\d+)", s.logfile.read_text())
        s.logfile.rename(s.logfile.with_name("old"))
        assert s.verb("reload").returncode == 0
        until(s.logfile.exists, "a new file")
        with Client((address[1], int(address[2]))) as c:
            c.hear(220)
            c.ask("EHLO far", 250)
            c.send_mail("a@far.test", "alice@here.test", MESSAGE)
            number = re.search(r"Queued as (\S+)", c.reply)[1]
        until(lambda: "delivery.delivered" in s.logfile.read_text(), "the delivery in the new file")
        assert "message.stored" not in s.logfile.with_name("old").read_text()
        life = s.verb("log", number).stdout
        assert " message.stored " in life and " delivery.delivered " in life
        assert s.verb("log", "a@far.test").stdout == life


SYSLOG = """
    mount -t tmpfs none /dev
    mknod -m 666 /dev/null c 1 3
    mknod -m 666 /dev/urandom c 1 9
    mknod -m 666 /dev/zero c 1 5
    exec "$@"
"""
COLLECT = """
    import os, signal, socket, subprocess, sys
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind("/dev/log")
    os.chmod("/dev/log", 0o666)
    log.settimeout(60)
    p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    while True:
        line = log.recv(65536).decode()
        print(line, flush=True)
        if "server.started" in line:
            p.send_signal(signal.SIGTERM)
        if "server.stopped" in line:
            sys.exit(p.wait())
"""


@needs_root
def test_syslog_gets_the_facility_mail_and_one_stamp():
    with Server(start=False, config=CONFIG.replace("log {{ level", "log {{ to = syslog level")) as s:
        command = ["/usr/bin/python3", "-c", textwrap.dedent(COLLECT), s.program, "serve", "-c", str(s.file)]
        done = subprocess.run(["unshare", "-m", "sh", "-ec", SYSLOG, "sh", *command], capture_output=True, text=True,
                              timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
        started = next(x for x in done.stdout.splitlines() if "server.started" in x)
        assert re.match(r"<21>\w{3} [ \d]\d \d\d:\d\d:\d\d postern\[\d+\]: server.started ", started), started   # mail.notice


# ---- the network ----------------------------------------------------------------------

WITHOUT_IPV6 = """
    import fcntl, os, socket, struct, sys
    open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w").write("1")
    with socket.socket() as s:                              # the loopback interface, up
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))
    os.execv(sys.argv[1], sys.argv[1:])
"""


@needs_root
def test_a_host_without_ipv6_starts_with_both_wildcards():
    config = CONFIG.replace('"127.0.0.1:0"', '"0.0.0.0:0", "[::]:0"')
    with Server(start=False, config=config) as s:
        p = subprocess.Popen(["unshare", "-n", "/usr/bin/python3", "-c", textwrap.dedent(WITHOUT_IPV6),
                              s.program, "serve", "-c", str(s.file)], stderr=subprocess.PIPE, text=True)
        said = ""
        for line in p.stderr:
            said += line
            if "server.started" in line:
                break
        p.terminate()
        said += p.stderr.read()
        assert p.wait(PATIENCE) == 0, said
        p.stderr.close()
        assert "server.started" in said, said
        assert re.search(r" notice listener.(skipped|opened) .*\[::\]", said), said     # which one is the kernel's affair


# ---- the disk ----------------------------------------------------------------------------

FILL = """
    mount -t tmpfs -o size=24m,mode=700 none "$1/state"
    chown --reference="$1/mail" "$1/state"
    cp -a "$1/accounts-kept" "$1/state/accounts"
    shift
    exec "$@"
"""


@needs_root
def test_a_full_disk_is_said_and_left_behind():
    """A state directory of 24 MiB: filled up from outside, then emptied."""
    with Server(start=False) as s:
        shutil.copy(s.dir / "state" / "accounts", s.dir / "accounts-kept")
        os.chown(s.dir / "accounts-kept", s.as_user["user"], s.as_user["group"])
        s.process = subprocess.Popen(["unshare", "-m", "sh", "-ec", FILL, "sh", str(s.dir), s.program, "serve", "-c", str(s.file)],
                                     stderr=subprocess.PIPE, cwd="/")
        import threading
        s.reader = threading.Thread(target=s._read_log, args=(s.process.stderr,), daemon=True)
        s.reader.start()
        s.wait("server.started")
        state = pathlib.Path(f"/proc/{s.process.pid}/root{s.dir}/state")
        with s.client("mx") as c:
            c.ask("EHLO far", 250)
            c.send_mail("a@far.test", "alice@here.test", MESSAGE)
            with open(state / "ballast", "wb") as ballast:
                try:
                    while True:
                        ballast.write(b"x" * 65536)
                        ballast.flush()
                except OSError:
                    pass
            taken = [1]

            def refused_for_room():
                """One message; what is taken must be delivered, what is not is a 452 4.3.1."""
                steps = ["MAIL FROM:<a@far.test>", "RCPT TO:<alice@here.test>", "DATA", MESSAGE + "."]
                with s.client("mx") as new:
                    new.ask("EHLO far", 250)
                    for step, good in zip(steps, ("250", "250", "354", "250")):
                        if not new.ask(step).startswith(good):
                            assert new.reply.startswith("452 4.3.1 "), (step, new.reply)
                            return True
                taken[0] += 1
                return False

            until(refused_for_room, "a refusal")
            c.ask("NOOP", 250)                              # who is there stays
            assert s.wait("queue.full")["what"] == "disk"
            os.unlink(state / "ballast")
            until(lambda: not refused_for_room(), "room again")
        assert len(s.mail("alice@here.test", taken[0])) == taken[0]
