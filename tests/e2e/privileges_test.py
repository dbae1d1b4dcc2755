# SPDX-License-Identifier: ISC
"""Started as root: a keeper that stays root and a server that cannot be root
again; files and listeners come from the keeper, and only those that the
configuration names."""

import os
import pathlib
import pwd
import shutil
import signal
import smtplib
import ssl
import subprocess
import tempfile
import time

import pytest

POSTERN = os.path.abspath(os.environ.get("POSTERN", "build/postern"))
USER = "nobody"
PATIENCE = 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")

CONF = """
hostname = "mail.here.test"
state = "{dir}/state"
user = "{user}"
listener "mx" {{ address = {{"127.0.0.1:0"}} role = inbound tls = starttls }}
tls {{ certificate = "{dir}/root/cert.pem" key = "{dir}/root/key.pem" }}
resolver {{ records = "{dir}/dns" }}
domain "here.test" {{ deliver {{ maildir = "{dir}/mail/%d/%u" }} }}
"""


def certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", f"/CN={name}", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"],
                   check=True, capture_output=True)
    os.chmod(f"{folder}/key.pem", 0o600)


class Server:
    def __init__(self, more=""):
        # Not below pytest's own folder, which only root may enter.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-root-"))
        os.chmod(self.dir, 0o755)
        ids = pwd.getpwnam(USER)
        for name, mode in (("root", 0o700), ("state", 0o700), ("mail", 0o755)):
            (self.dir / name).mkdir(mode=mode)
        for name in ("state", "mail"):
            os.chown(self.dir / name, ids.pw_uid, ids.pw_gid)
        certificate(self.dir / "root", "first.test")
        (self.dir / "dns").write_text("test TXT NODATA\nthere.test A 127.0.0.1\nhere.test A 127.0.0.1\n")
        self.conf = self.dir / "root" / "postern.conf"
        self.conf.write_text(CONF.format(dir=self.dir, user=USER) + more)
        self.log = self.dir / "log"
        self.process = subprocess.Popen([POSTERN, "serve", "-c", str(self.conf)], stderr=open(self.log, "wb"))
        self.port = int(self.wait("listener.opened").split("address=")[1].split()[0].rsplit(":", 1)[1])
        self.wait("server.started")

    def wait(self, text, times=1):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            lines = [x for x in self.log.read_text().splitlines() if text in x]
            if len(lines) >= times:
                return lines[times - 1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"no {text} in:\n" + self.log.read_text())

    def child(self):
        return int(subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout)

    def subject(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            client.starttls(context=context)
            der = client.sock.getpeercert(binary_form=True)
        return subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject"], input=der,
                              capture_output=True).stdout.decode()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(40)
        shutil.rmtree(self.dir)
        return status


@pytest.fixture
def server():
    s = Server()
    yield s
    if s.process.poll() is None:
        s.stop()


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def test_the_server_has_given_root_up(server):
    keeper, child = status_of(server.process.pid), status_of(server.child())
    uid = str(pwd.getpwnam(USER).pw_uid)
    assert keeper["Uid"].split() == ["0"] * 4
    assert child["Uid"].split() == [uid] * 4
    assert child["NoNewPrivs"].strip() == "1"
    assert int(child["CapEff"], 16) == 0
    assert status_of(server.process.pid)["Threads"].strip() == "1"


def test_a_key_that_only_root_can_read_serves_and_is_renewed_at_reload(server):
    assert "first.test" in server.subject()
    certificate(server.dir / "root", "second.test")
    server.process.send_signal(signal.SIGHUP)
    server.wait("configuration.loaded")
    assert "second.test" in server.subject()


def test_a_listener_that_comes_with_a_reload_is_opened_by_the_keeper(server):
    text = server.conf.read_text().replace('{"127.0.0.1:0"}', '{"127.0.0.1:0", "127.0.0.2:0"}')
    server.conf.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    line = server.wait("listener.opened", times=2)
    address, port = line.split("address=")[1].split()[0].rsplit(":", 1)
    with smtplib.SMTP(address, int(port)) as client:
        assert client.noop()[0] == 250


def test_a_faulty_reload_changes_nothing(server):
    server.conf.write_text(server.conf.read_text() + "\nfrobnicate = yes\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait("configuration.refused")
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        assert client.noop()[0] == 250


def test_it_ends_with_zero(server):
    assert server.stop() == 0


def test_mail_is_delivered_as_the_user(server):
    subprocess.run([POSTERN, "account", "add", "bob@here.test", "-c", str(server.conf)], input=b"correct horse\n", check=True)
    assert os.stat(server.dir / "state" / "accounts").st_uid == pwd.getpwnam(USER).pw_uid
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.sendmail("a@there.test", "bob@here.test", "From: <a@there.test>\r\nSubject: x\r\n\r\nhello\r\n")
    server.wait("delivery.delivered")
    new = server.dir / "mail" / "here.test" / "bob" / "new"
    (message,) = new.iterdir()
    assert message.stat().st_uid == pwd.getpwnam(USER).pw_uid
    assert message.stat().st_mode & 0o077 == 0


def test_without_the_user_it_says_how_to_make_it(tmp_path):
    conf = tmp_path / "postern.conf"
    conf.write_text('hostname = "mail.here.test"\nuser = "nosuchuser"\ndomain "here.test" {}\n')
    done = subprocess.run([POSTERN, "serve", "-c", str(conf)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert f'{conf}:2:' in done.stderr and "useradd" in done.stderr
