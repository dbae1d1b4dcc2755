# SPDX-License-Identifier: ISC
"""Debian's Dovecot beside postern, both with the files of etc/examples.

The files are used as they are shipped, but for paths, ports and user names, and
for what a Dovecot that is not started as root needs.  A message comes in by SMTP
and is read over IMAP with the same account, by a plain and by a SCRAM login.
"""

import base64
import glob
import grp
import imaplib
import os
import pathlib
import pwd
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from ports import free_port  # noqa: E402
from scram import Scram  # noqa: E402
from server import PASSWORD, PATIENCE, Server  # noqa: E402

EXAMPLES = ROOT / "etc/examples"
ALICE, BOB = "alice@example.org", "bob@example.org"
ZONE = """
example.org TXT "v=spf1 -all"
bad.test A 127.0.0.1
bad.test TXT "v=spf1 -all"
_dmarc.bad.test TXT "v=DMARC1; p=quarantine"
"""

# What the defaults of the examples cannot be in a test: state, ports, DNS.
POSTERN_MORE = """
state = "{dir}/state"
user = "{user}"
listener "mx"          {{ address = {{"127.0.0.1:0"}} }}
listener "submissions" {{ address = {{"127.0.0.3:0"}} role = submission tls = implicit }}
resolver {{ forward = {{"{dns}"}} trust-anchor = "" records = "{dir}/records" }}
limits {{ {limits} }}
log {{ level = {level} }}
{extra}
"""

# A Dovecot that is not root changes no user and no root directory.
DOVECOT_MORE = """
base_dir = {dir}/base
auth_failure_delay = 0
state_dir = {dir}/dovecot
log_path = /dev/stderr
listen = 127.0.0.1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def substituted(text, pairs):
    """Each old text has to be there: an example that changes is noticed."""
    for old, new in pairs.items():
        assert old in text, f"the example lacks {old!r}"
        text = text.replace(old, new)
    return text


class Dovecot:
    """In the foreground, ready when it answers; its log is kept for failures."""

    def __init__(self, folder, text, owner):
        self.dir, self.text, self.owner, self.log = folder, text, owner, ""
        for _ in range(5):                 # another may take the port in between
            self.port = free_port()
            self.start()
            if self.answers():
                return
            self.stop()
        raise AssertionError("dovecot did not start:\n" + self.log)

    def start(self):
        me = pwd.getpwuid(self.owner.pw_uid).pw_name
        more = DOVECOT_MORE.format(dir=self.dir, port=self.port, user=me, group=grp.getgrgid(self.owner.pw_gid).gr_name)
        conf = self.dir / "dovecot.conf"
        conf.write_text(self.text + more)
        as_owner = {}
        if os.geteuid() == 0:
            as_owner = {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}
        self.process = subprocess.Popen(["dovecot", "-F", "-c", str(conf)], stderr=subprocess.PIPE, text=True, **as_owner)
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()

    def read_log(self):
        for line in self.process.stderr:
            self.log += line

    def answers(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.imap().logout()
                return True
            except (OSError, imaplib.IMAP4.error):
                time.sleep(0.02)
        return False

    def imap(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return imaplib.IMAP4_SSL("127.0.0.1", self.port, ssl_context=context, timeout=PATIENCE)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stderr.close()


def suggested(text, about):
    """A part that the example shows commented out, as it would stand there."""
    part = text[text.index(about):].split("\n#\n", 1)[1].split("\n#\n")[0].split("\n\n")[0]
    return re.sub(r"(?m)^#   ", "", part) + "\n"


class House:
    def __init__(self, kind, extra="", deliver=""):
        self.extra = extra                     # of dovecot.conf: from a text of the example
        text = (EXAMPLES / f"postern-{kind}.conf").read_text()
        pairs = {"/var/mail/%d/%u": "{dir}/mail/%d/%u"} if kind == "maildir" else \
            {"/run/dovecot/lmtp": "{dir}/base/lmtp"}
        text = substituted(text.replace("{", "{{").replace("}", "}}"), pairs)
        if deliver:
            text = text.replace('lmtp"\n', f'lmtp"\n\t\t{deliver}\n')
        self.postern = Server(config=text + POSTERN_MORE, zone=ZONE,
                              accounts=("Alice@Example.org", BOB))   # people write names as they like
        try:
            self.dovecot = self.start_dovecot(kind)
        except BaseException:
            self.postern.close()
            raise

    def start_dovecot(self, kind):
        at = self.postern.dir
        owner = pwd.getpwuid((at / "state").stat().st_uid)
        group = grp.getgrgid(owner.pw_gid).gr_name
        pairs = {"/var/lib/postern/": f"{at}/state/", "user = postern\n": f"user = {owner.pw_name}\n"}
        if kind == "maildir":
            pairs |= {"maildir:/var/mail/%d/%n": f"maildir:{at}/mail/%d/%n", "mail_uid = postern": f"mail_uid = {owner.pw_name}",
                      "mail_gid = postern": f"mail_gid = {group}"}
        else:
            pairs |= {"/var/vmail/%d/%n": f"{at}/vmail/%d/%n", "mail_uid = vmail": f"mail_uid = {owner.pw_name}",
                      "mail_gid = vmail": f"mail_gid = {group}"}
        if owner.pw_uid == 0:              # Dovecot reads nobody's mail as root
            pytest.skip("the server of the tests runs as root")
        for name in "base", "dovecot", "vmail":
            (at / name).mkdir(mode=0o755)
            os.chown(at / name, owner.pw_uid, owner.pw_gid)
        example = (EXAMPLES / f"dovecot-{kind}.conf").read_text()
        text = substituted(example, pairs)
        if self.extra:
            text += suggested(example, self.extra).replace("/etc/dovecot/", f"{at}/")
            shutil.copy(EXAMPLES / "postern-junk.sieve", at)
            os.chown(at, owner.pw_uid, owner.pw_gid)       # the compiled script goes beside it
        return Dovecot(at, text, owner)

    def close(self):
        try:
            self.dovecot.stop()
        finally:
            self.postern.close()

    # ---- sending ---------------------------------------------------------------

    def submit(self, subject):
        with self.postern.client("submissions") as c:
            c.ask("EHLO client.test", 250)
            c.login(ALICE, PASSWORD)
            c.send_mail(ALICE, [ALICE, BOB], f"From: {ALICE}\r\nTo: {BOB}\r\nSubject: {subject}\r\n\r\nHello.\r\n")

    def receive(self, sender, rcpt, subject):
        with self.postern.client("mx") as c:
            c.ask("EHLO client.test", 250)
            c.send_mail(sender, rcpt, f"From: {sender}\r\nTo: {rcpt}\r\nSubject: {subject}\r\n\r\nHello.\r\n")

    # ---- reading ---------------------------------------------------------------

    def read(self, imap, folder="INBOX"):
        """The first message of the folder, waited for."""
        end = time.monotonic() + PATIENCE
        while int(imap.select(folder)[1][0]) == 0:
            assert time.monotonic() < end, f"nothing in {folder}:\n{self.postern.log()}\n{self.dovecot.log}"
            time.sleep(0.02)
        return imap.fetch("1", "(RFC822)")[1][0][1].decode()

    def plain(self, who):
        imap = self.dovecot.imap()
        imap.login(who, PASSWORD)
        return imap

    def scram(self, who):
        imap = self.dovecot.imap()
        imap.authenticate("SCRAM-SHA-256", Scram(who, PASSWORD))
        return imap


@pytest.fixture(params=["maildir", "lmtp"])
def house(request):
    h = House(request.param)
    yield h
    h.close()


def test_what_postern_delivers_is_read_with_dovecot(house):
    house.submit("to both of us")
    for login in house.plain, house.scram:
        for who in ALICE, BOB:
            imap = login(who)
            text = house.read(imap)
            assert "Subject: to both of us\r\n" in text and text.endswith("\r\nHello.\r\n")
            assert f"auth=pass smtp.auth={ALICE}" in text.replace("\r\n", "")
            imap.logout()


# ---- the accounts files, shared -----------------------------------------------------------

def made(house, *options):
    """A device password of alice's: login name, password."""
    done = house.postern.run("account", "app-password", "add", ALICE, *options, "-c", str(house.postern.file))
    assert done.returncode == 0, done.stderr
    return re.search(r"login name +(\S+)\npassword +(\S+)\n", done.stdout).groups()


def scram_as(house, who, password):
    imap = house.dovecot.imap()
    imap.authenticate("SCRAM-SHA-256", Scram(who, password))
    return imap


def submits(house, who, password):
    with house.postern.client("submissions") as c:
        c.ask("EHLO client.test", 250)
        return c.ask(b"AUTH PLAIN " + base64.b64encode(f"\0{who}\0{password}".encode())).startswith("235")


@pytest.mark.parametrize("house", ["maildir"], indirect=True)
def test_one_device_password_reads_and_sends(house):
    house.receive("carol@far.test", ALICE, "for the phone")
    name, password = made(house, "--label", "phone", "--from", "127.0.0.0/8,2001:db8::/32", "--expires", "2099-12-31")
    assert name == "alice+phone@example.org"
    plain = house.dovecot.imap()
    plain.login(name, password)
    for imap in plain, scram_as(house, name, password):
        assert "Subject: for the phone" in house.read(imap)        # alice's own mailbox
        imap.logout()
    assert submits(house, name, password) and submits(house, ALICE, password) and submits(house, ALICE, PASSWORD)
    with pytest.raises(imaplib.IMAP4.error):
        house.dovecot.imap().login(name, password[:-1] + ("y" if password[-1] == "z" else "z"))
    house.postern.run("account", "app-password", "remove", ALICE, "phone", "-c", str(house.postern.file))
    with pytest.raises(imaplib.IMAP4.error):
        house.dovecot.imap().login(name, password)
    assert not submits(house, name, password)


@pytest.mark.parametrize("house", ["maildir"], indirect=True)
def test_a_password_for_sending_only_and_one_from_elsewhere_read_nothing(house):
    name, password = made(house, "--label", "scanner", "--send-only")
    other, far = made(house, "--label", "far", "--from", "192.0.2.0/24")
    assert submits(house, name, password) and not submits(house, other, far) and not submits(house, ALICE, far)
    for who, word in (name, password), (other, far):
        with pytest.raises(imaplib.IMAP4.error):
            house.dovecot.imap().login(who, word)
        with pytest.raises(imaplib.IMAP4.error):
            scram_as(house, who, word)
    house.plain(ALICE).logout()


@pytest.mark.parametrize("house", ["maildir"], indirect=True)
def test_a_line_that_was_rewritten_is_dovecots_too(house):
    """An older scheme, checked by both; after a login by PLAIN it is a verifier, and SCRAM works with both."""
    old = subprocess.run(["doveadm", "-O", "pw", "-s", "SSHA512", "-p", "before"], capture_output=True, text=True, check=True)
    file = house.postern.dir / "state/accounts"
    owner = file.stat()
    text = re.sub(rf"^{BOB}:[^:]*", lambda _: f"{BOB}:{old.stdout.strip()}", file.read_text(), flags=re.M)
    file.write_text(text)
    house.postern.run("account", "passwd", ALICE, "-c", str(house.postern.file), input=PASSWORD + "\n")   # so that it looks again
    assert "{SSHA512}" in file.read_text()
    house.dovecot.imap().login(BOB, "before")
    assert not submits(house, BOB, "after") and submits(house, BOB, "before")
    event = house.postern.wait("account.upgraded", account=BOB)
    assert event["from"] == "SSHA512"
    after = file.read_text()
    assert "{SSHA512}" not in after and after.count("{SCRAM-SHA-256}") == 2
    assert (file.stat().st_uid, file.stat().st_mode) == (owner.st_uid, owner.st_mode)
    assert submits(house, BOB, "before")
    end = time.monotonic() + PATIENCE          # Dovecot looks at the file again after a second
    while True:
        try:
            scram_as(house, BOB, "before").logout()
            break
        except imaplib.IMAP4.error:
            assert time.monotonic() < end, house.dovecot.log
    house.dovecot.imap().login(BOB, "before")


def test_a_wrong_password_opens_nothing(house):
    with pytest.raises(imaplib.IMAP4.error):
        house.dovecot.imap().login(ALICE, PASSWORD + "!")


@pytest.mark.parametrize("house", ["maildir"], indirect=True)      # over LMTP the other side chooses the folder
def test_a_strangers_mail_arrives_and_quarantined_mail_is_in_junk(house):
    house.receive("carol@far.test", ALICE, "from afar")
    house.receive("mallory@bad.test", ALICE, "not from bad.test")
    imap = house.plain(ALICE)
    text = house.read(imap)
    assert "Subject: from afar" in text and "spf=pass" in text
    assert "Subject: not from bad.test" in house.read(imap, "Junk")
    assert int(imap.select("INBOX")[1][0]) == 1


def test_a_sieve_script_reads_of_quarantine():
    if not glob.glob("/usr/lib/dovecot/modules/*sieve_plugin.so"):
        pytest.skip("dovecot-sieve is not installed")
    quarantined_and_not(House("lmtp", extra="dovecot-sieve a script"))


def test_quarantined_mail_goes_to_a_detail():
    quarantined_and_not(House("lmtp", extra="# Without Sieve:", deliver="junk-detail = yes"))


def quarantined_and_not(h):
    try:
        h.receive("mallory@bad.test", ALICE, "not from bad.test")
        h.receive("carol@far.test", ALICE, "from afar")
        imap = h.plain(ALICE)
        inbox, junk = h.read(imap), h.read(imap, "Junk")
        assert "Subject: from afar" in inbox and "X-Postern-Quarantine" not in inbox
        assert "Subject: not from bad.test" in junk
        assert "X-Postern-Quarantine: yes; by=dmarc; reason=" in junk.replace("\r\n", "")
        for text in inbox, junk:               # the LMTP server's part
            assert text.count("Return-Path: ") == 1 and "Delivered-To: alice" in text
        assert int(imap.select("INBOX")[1][0]) == 1
        imap.logout()                          # Dovecot waits for its clients
    finally:
        h.close()


def test_what_is_read_stays_read(house):
    """Dovecot moves a message from new to cur; postern does not mind."""
    house.receive("carol@far.test", ALICE, "first")
    imap = house.plain(ALICE)
    house.read(imap)
    imap.store("1", "+FLAGS", "\\Seen")
    house.receive("carol@far.test", ALICE, "second")
    end = time.monotonic() + PATIENCE
    while int(imap.select("INBOX")[1][0]) < 2:
        assert time.monotonic() < end, house.postern.log()
        time.sleep(0.02)
    flags = imap.fetch("1:2", "(FLAGS)")[1]
    assert [b"\\Seen" in f for f in flags] == [True, False]
