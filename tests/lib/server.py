# SPDX-License-Identifier: ISC
"""A postern of one's own, for tests: `postern serve` in a folder that goes away.

    with Server(limits="recipients = 200", zone="far.test MX 10 mail.far.test") as s:
        c = s.client("mx")                       # connected, greeting heard
        c.ask("EHLO x", 250)
        s.wait("message.stored", **{"from": "a@far.test"})
        s.mail("alice@here.test")                # waits for a message, gives all

Ports come from the kernel and are read from the log; what is waited for is a
line of the log or a file of a Maildir, never a time.  The domains are here.test
(alice, bob; sales is an alias of alice; archive) and office.test (bob), all with
the password "secret".  DNS is a name server of tests/lib, so nothing leaves the
machine.
"""

import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from dnsserver import DnsServer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSTERN = os.environ.get("POSTERN", str(ROOT / "build" / "postern"))
PATIENCE = int(os.environ.get("POSTERN_PATIENCE", 20 if os.environ.get("POSTERN_VARIANT", "plain") == "plain" else 60))
PASSWORD = "secret"
ACCOUNTS = ("alice@here.test", "bob@here.test", "archive@here.test", "bob@office.test")
ZONE = """
1.0.0.127.in-addr.arpa PTR client.test
client.test A 127.0.0.1
here.test TXT "v=spf1 a:client.test -all"
far.test TXT "v=spf1 a:client.test -all"
far.test A 127.0.0.9
"""

CONFIG = """hostname = "mail.here.test"
state = "{dir}/state"
user = "{user}"
loops = 2

listener "mx"          {{ address = {{"127.0.0.1:0"}} role = inbound tls = starttls }}
listener "submission"  {{ address = {{"127.0.0.2:0"}} role = submission tls = required }}
listener "submissions" {{ address = {{"127.0.0.3:0"}} role = submission tls = implicit }}

domain "here.test" {{
	aliases = "{dir}/aliases"
	deliver {{ maildir = "{dir}/mail/%d/%u" }}
}}
domain "office.test" {{
	deliver {{ maildir = "{dir}/mail/%d/%u" }}
}}
resolver {{ forward = {{"{dns}"}} trust-anchor = "" records = "{dir}/records" }}
limits {{ connections-address = 500 {limits} }}
log {{ level = {level} }}
{extra}
"""


class Event(dict):
    """One line of the log: its event, level and fields."""

    def __init__(self, line):
        words = re.findall(r'[^\s="]+="(?:[^"\\]|\\.)*"|\S+', line)
        self.line, self.level, self.name = line, *(words[1:3] if len(words) > 2 else ("", ""))
        for word in words[3:]:
            key, _, value = word.partition("=")
            self[key] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


class Server:
    def __init__(self, limits="", extra="", zone="", level="info", config=CONFIG, accounts=ACCOUNTS, start=True,
                 descriptors=None, environment=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-test-"))
        self.program, self.as_user = POSTERN, {}
        if os.geteuid() == 0:
            self._become_nobody()
        self.dns = DnsServer(ZONE + zone).__enter__()
        self.descriptors = descriptors           # the hard limit, or None
        self.environment = environment or {}     # of the server, beside ours
        self.events, self.changed, self.process = [], threading.Condition(), None
        self._folder("state")
        self._folder("mail")
        self.file = self.dir / "postern.conf"
        (self.dir / "aliases").write_text("sales: alice@here.test\nouter: alice@here.test, someone@far.test\n")
        (self.dir / "records").write_text("unused.invalid A 192.0.2.1\n")
        self.configure(limits=limits, extra=extra, level=level, config=config)
        try:
            self._accounts(tuple(accounts))
            if start:
                self.start()
        except BaseException:
            self.close()
            raise

    def _become_nobody(self):
        """The server refuses to be root: the program is copied to where nobody can reach it."""
        nobody = pwd.getpwnam("nobody")
        self.as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.program = str(self.dir / "postern")
        shutil.copy(POSTERN, self.program)
        os.chmod(self.program, 0o755)
        os.chmod(self.dir, 0o755)

    @staticmethod
    def owner():
        """User and group that the server runs as: whose its secrets must be."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid

    def _folder(self, name):
        path = self.dir / name
        path.mkdir(0o700)
        if self.as_user:
            os.chown(path, self.as_user["user"], self.as_user["group"])

    def configure(self, limits="", extra="", level="info", config=CONFIG):
        self.file.write_text(config.format(dir=self.dir, user=pwd.getpwuid(self.as_user.get("user", os.geteuid())).pw_name,
                                           dns=self.dns.address, limits=limits,
                                           extra=extra, level=level))

    def run(self, *args, **how):
        """A verb of the program; its CompletedProcess."""
        how = {"capture_output": True, "text": True, "timeout": PATIENCE, "cwd": "/", **self.as_user, **how}
        return subprocess.run([self.program, *args], **how)

    def account(self, address, password=PASSWORD):
        done = self.run("account", "add", address, "-c", str(self.file), input=password + "\n")
        assert done.returncode == 0, done.stderr

    _made = {}                                   # accounts: the file that the program made of them

    def _accounts(self, accounts):
        """Each test program has the verb make the file once, and takes it again for servers that read it alike."""
        file, usual = self.dir / "state" / "accounts", "auth {" not in self.file.read_text()
        if usual and accounts in self._made:
            file.touch(0o600)
            os.chown(file, *self.owner())
            file.write_bytes(self._made[accounts])
            return
        for account in accounts:
            self.account(account)
        if usual and file.exists():
            self._made[accounts] = file.read_bytes()

    # ---- its life ----------------------------------------------------------------

    def start(self):
        few = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors,) * 2)) if self.descriptors else None
        seen = len(self.events)
        self.process = subprocess.Popen([self.program, "serve", "-c", str(self.file)], stderr=subprocess.PIPE,
                                        cwd="/", preexec_fn=few, env={**os.environ, **self.environment}, **self.as_user)
        self.reader = threading.Thread(target=self._read_log, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        for name in re.findall(r'^listener "(\w+)"', self.file.read_text(), re.M):
            self.wait("listener.opened", name=name, since=seen)
        self.wait("server.started", since=seen)
        return self

    def _read_log(self, stream):
        for line in stream:
            with self.changed:
                self.events.append(Event(line.decode("utf-8", "replace").rstrip("\n")))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, patience=40):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            raise AssertionError("it did not stop:\n" + self.log())
        self.reader.join(PATIENCE)
        self.process.stderr.close()
        return status

    def close(self):
        try:
            if self.process is not None and self.process.stderr and not self.process.stderr.closed:
                status = self.stop()
                assert status == 0, f"it ended with {status}:\n{self.log()}"
        finally:
            self.dns.__exit__(None, None, None)
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            sys.stderr.write(self.log()[-20000:] + "\n")
        self.close()

    # ---- the log -------------------------------------------------------------------

    def log(self):
        with self.changed:
            return "\n".join(e.line for e in self.events)

    def find(self, event, since=0, **fields):
        with self.changed:
            return [e for e in self.events[since:]
                    if e.name == event and all(e.get(k) == v for k, v in fields.items())]

    def until(self, true, what):
        """Looks again at each line of the log, and now and then."""
        end = time.monotonic() + PATIENCE
        while True:
            found = true()
            if found:
                return found
            with self.changed:
                left = end - time.monotonic()
                if left <= 0 or (self.process and self.process.poll() is not None and not self.reader.is_alive()):
                    raise AssertionError(f"{what} never came:\n" + "\n".join(e.line for e in self.events))
                self.changed.wait(min(left, 0.05))

    def wait(self, event, since=0, **fields):
        return self.until(lambda: self.find(event, since, **fields), f"{event} {fields}")[0]

    def mark(self):
        """For since=: what was logged before does not count."""
        with self.changed:
            return len(self.events)

    def address(self, listener):
        self.wait("listener.opened", name=listener)
        host, _, port = self.find("listener.opened", name=listener)[-1]["address"].rpartition(":")     # of this life
        return host.strip("[]"), int(port)

    # ---- mail ------------------------------------------------------------------------

    def maildir(self, account, folder="new", junk=False):
        user, _, domain = account.partition("@")
        return self.dir / "mail" / domain / user / (".Junk" if junk else "") / folder

    def messages(self, account, junk=False):
        new = self.maildir(account, junk=junk)
        files = sorted(new.iterdir()) if new.is_dir() else []
        return [f.read_bytes() for f in files]

    def mail(self, account, n=1, junk=False):
        self.until(lambda: len(self.messages(account, junk)) >= n, f"message {n} of {account}")
        return self.messages(account, junk)

    def client(self, listener="mx", greeting=220):
        c = Client(self.address(listener), tls=listener == "submissions")
        if greeting is not None:
            c.hear(greeting)
        return c


class Client:
    """One SMTP connection, of which the test says every byte."""

    def __init__(self, address, tls=False):
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held, self.reply = b"", ""
        if tls:
            self.secure()

    def secure(self):
        """The handshake; certificates of tests prove nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert not self.held, self.held
        self.socket = context.wrap_socket(self.socket)
        return self

    def send(self, octets):
        self.socket.sendall(octets if isinstance(octets, bytes) else octets.encode())

    def line(self):
        while b"\n" not in self.held:
            try:
                more = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                more = b""
            if not more:
                return ""
            self.held += more
        line, self.held = self.held.split(b"\n", 1)
        return line.decode("utf-8", "replace").rstrip("\r")

    def hear(self, code=None):
        """The next reply, whole, lines joined by \\n; "" at the end of the connection."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        self.reply = "\n".join(lines)
        if code is not None:
            assert self.reply.startswith(str(code)), f"want {code}, got {self.reply!r}"
        return self.reply

    def ask(self, line, code=None):
        self.send((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return self.hear(code)

    def hear_end(self):
        assert self.hear() == "", self.reply

    def starttls(self):
        self.ask("STARTTLS", 220)
        return self.secure()

    def login(self, who, password=PASSWORD):
        import base64
        return self.ask(b"AUTH PLAIN " + base64.b64encode(b"\0%s\0%s" % (who.encode(), password.encode())), 235)

    def send_mail(self, sender, rcpts, message, code=250):
        """MAIL, RCPT, DATA; the message's lines end in CRLF already."""
        self.ask(f"MAIL FROM:<{sender}>", 250)
        for rcpt in [rcpts] if isinstance(rcpts, str) else rcpts:
            self.ask(f"RCPT TO:<{rcpt}>", 250)
        self.ask("DATA", 354)
        message = message if isinstance(message, bytes) else message.encode()
        self.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        return self.hear(code)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
