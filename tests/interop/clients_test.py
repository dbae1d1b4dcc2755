# SPDX-License-Identifier: ISC
"""Mail programs as people have them, from Debian's packages: each sends a message
with attachments over 465 and over 587.

The certificate is of a CA of the test's own and every program verifies it.  What
arrives has the parts that were sent, byte for byte, a signature that python3-dkim
verifies, and no word about where the client was."""

import contextlib
import email
import email.message
import email.policy
import grp
import os
import pathlib
import pwd
import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time

import dkim
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from ports import free_port  # noqa: E402
from server import CONFIG, PASSWORD, PATIENCE, Server  # noqa: E402
from unwrapped import unwrapped  # noqa: E402

ALICE, BOB = "alice@here.test", "bob@office.test"
HOUSE = (CONFIG.replace("127.0.0.1:0", "127.0.0.4:0").replace("127.0.0.2:0", "127.0.0.1:0").replace("127.0.0.3:0", "127.0.0.1:00")
         .replace("aliases = ", 'dkim "s1" {{}} dkim "e1" {{}}\n\taliases = '))
DOORS = {"465": "submissions", "587": "submission"}
PICTURE = bytes(range(256)) * 41 + b"\r\n.\r\n\n.\n\r\r\n"
NOTES = "first line\n.\n..two dots\nFrom here on\n\ttab at the end\t\n" + "long " * 180 + "\n\nGr\u00fc\u00dfe\n"
TLS = 'tls {{ certificate = "{dir}/mail.pem" key = "{dir}/mail.key" }}\n'


class House(Server):
    """A server with signing keys and a certificate for localhost of a CA of its own."""

    def __init__(self):
        super().__init__(config=HOUSE + TLS, start=False)
        self.ca = str(self.dir / "ca.pem")
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        self.openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA")
        self.openssl(*new, "-keyout", "mail.key", "-out", "mail.pem", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey",
                     "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")
        for name in "mail.key", "mail.pem":
            os.chown(self.dir / name, *self.owner())
            os.chmod(self.dir / name, 0o600)
        self.keys = {}
        for selector, algorithm in (("s1", "rsa-sha256"), ("e1", "ed25519-sha256")):
            said = self.run("key", "generate", "here.test", selector, "--algorithm", algorithm, "-c", str(self.file))
            assert said.returncode == 0, said.stderr
            text = "".join(re.findall(r'"([^"]*)"', next(x for x in said.stdout.splitlines() if " IN TXT " in x)))
            self.keys[f"{selector}._domainkey.here.test."] = text.encode()
        self.work = self.dir / "work"                  # the programs' files
        self.work.mkdir()
        (self.work / "picture.bin").write_bytes(PICTURE)
        (self.work / "notes.txt").write_text(NOTES)
        self.start()

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.dir, check=True, capture_output=True, timeout=PATIENCE)

    def port(self, door):
        return self.address(DOORS[door])[1]

    def file_of(self, name, text, mode=0o600):
        path = self.work / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def does(self, *words, **how):
        how = {"capture_output": True, "timeout": PATIENCE, "cwd": self.work, "env": self.environment_of(), **how}
        done = subprocess.run([str(w) for w in words], **how)
        assert done.returncode == 0, (done.stdout, done.stderr, self.log()[-3000:])
        return done

    def environment_of(self, **more):
        return {"PATH": os.environ["PATH"], "HOME": str(self.work), "LC_ALL": "C.UTF-8", **more}

    def arrived(self, subject):
        """Waits for the message of that subject; its bytes, with CRLF."""
        def look():
            return [m for m in self.messages(BOB) if re.search(rb"(?m)^Subject: %s\r?$" % re.escape(subject.encode()), m)]
        found = self.until(look, subject)
        assert len(found) == 1
        return re.sub(rb"\r?\n", b"\r\n", found[0])

    def judge(self, octets):
        """Both signatures hold; nobody is told where the client was."""
        find = lambda name, timeout=5: self.keys.get(name.decode() if isinstance(name, bytes) else name)  # noqa: E731
        message = email.message_from_bytes(octets)
        signatures = message.get_all("DKIM-Signature", [])
        assert len(signatures) == 2
        for i in range(2):
            assert dkim.DKIM(octets).verify(idx=i, dnsfunc=find), octets[:3000]
        hop = message.get_all("Received")[0]
        assert "127.0.0." not in hop and "localhost" not in hop and "ESMTPSA" in hop, hop
        assert message["Date"] and message["Message-ID"] and message["Bcc"] is None


@pytest.fixture(scope="module")
def house():
    with House() as h:
        yield h


def unpacked(*packages):
    """Debian packages in a folder of their own, neither installed nor set up; the folder."""
    place = pathlib.Path(os.environ.get("POSTERN_BUILD", tempfile.gettempdir())).resolve() / "test-packages" / "-".join(packages)
    if place.is_dir():
        return place
    with tempfile.TemporaryDirectory() as at:
        fetched = subprocess.run(["apt-get", "download", "-qq", *packages], cwd=at, capture_output=True, timeout=60)
        if fetched.returncode != 0:
            pytest.skip(f"{', '.join(packages)}: not installed here, and could not be fetched with apt-get download")
        for file in pathlib.Path(at).glob("*.deb"):
            subprocess.run(["dpkg", "-x", file, f"{at}/out"], check=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(f"{at}/out", f"{place}.{os.getpid()}", symlinks=True)
        os.rename(f"{place}.{os.getpid()}", place)
    return place


@pytest.fixture(scope="module")
def nullmailer():
    """As a package it would take Postfix's place."""
    return unpacked("nullmailer") / "usr/lib/nullmailer/smtp"


@pytest.fixture(scope="module")
def perl():
    """Where git send-email's TLS and logins are, when they are not installed; for PERL5LIB."""
    wanted = {"IO::Socket::SSL": "libio-socket-ssl-perl", "Authen::SASL": "libauthen-sasl-perl", "Net::SSLeay": "libnet-ssleay-perl",
              "Mail::Address": "libmailtools-perl"}
    missing = [p for m, p in wanted.items() if subprocess.run(["perl", f"-M{m}", "-e1"], capture_output=True).returncode != 0]
    if not missing:
        return ""
    place = unpacked(*missing)
    return ":".join(str(p) for p in [place / "usr/share/perl5", *place.glob("usr/lib/*/perl5/5*")])


def unwrapped_465(house):
    """For a client without TLS of its own; the certificate is verified."""
    return unwrapped(("localhost", house.port("465")), ssl.create_default_context(cafile=house.ca), "localhost")


class Dovecot:
    """Its submission service alone, which passes on what it is given with alice's login."""

    CONF = """
protocols = submission
base_dir = {dir}/base
state_dir = {dir}/state
log_path = /dev/stderr
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
mail_uid = {user}
mail_gid = {group}
first_valid_uid = 1
mail_location = maildir:{dir}/mail
hostname = dovecot.test
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={dir}/home
}}
ssl_client_ca_file = {ca}
submission_relay_host = localhost
submission_relay_port = {relay}
submission_relay_user = {alice}
submission_relay_password = {password}
submission_relay_ssl = {ssl}
submission_relay_ssl_verify = yes
service submission-login {{
  chroot =
  inet_listener submission {{
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

    def __init__(self, house, door):
        self.house, self.door = house, door
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-test-"))
        self.owner = pwd.getpwuid(house.owner()[0])
        if self.owner.pw_uid == 0:
            pytest.skip("Dovecot serves nobody as root")
        self.port = free_port()

    def __enter__(self):
        for name in "", "base", "state", "home":
            (self.dir / name).mkdir(mode=0o755, exist_ok=True)
            os.chown(self.dir / name, self.owner.pw_uid, self.owner.pw_gid)
        self.dir.chmod(0o755)
        shutil.copy(self.house.ca, self.dir / "ca.pem")
        group = grp.getgrgid(self.owner.pw_gid).gr_name
        (self.dir / "dovecot.conf").write_text(self.CONF.format(
            dir=self.dir, user=self.owner.pw_name, group=group, password=PASSWORD, ca=self.dir / "ca.pem", alice=ALICE,
            relay=self.house.port(self.door), ssl="smtps" if self.door == "465" else "starttls", port=self.port))
        log = open(self.dir / "log", "wb")
        as_owner = {} if os.geteuid() else {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}
        self.process = subprocess.Popen(["dovecot", "-F", "-c", self.dir / "dovecot.conf"], stderr=log, **as_owner)
        log.close()
        end = time.monotonic() + PATIENCE
        while True:
            try:
                smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE).quit()
                return self
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, (self.dir / "log").read_text()
                time.sleep(0.02)

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        self.process.wait(PATIENCE)
        if kind is not None:
            sys.stderr.write((self.dir / "log").read_text())
        shutil.rmtree(self.dir, ignore_errors=True)


both_doors = pytest.mark.parametrize("door", sorted(DOORS))


# ---- what is sent, what came --------------------------------------------------------

def letter(subject):
    """One that a program takes as it is; every line ends in CRLF."""
    m = email.message.EmailMessage(email.policy.SMTP)
    m["From"], m["To"], m["Subject"] = f"Alice <{ALICE}>", BOB, subject
    m.set_content(NOTES, cte="quoted-printable")
    m.add_attachment(PICTURE, maintype="application", subtype="octet-stream", filename="picture.bin")
    m.add_attachment("plain\n.\n..\nFrom x, gr\u00fcn\n", filename="dots.txt", cte="8bit")
    return m.as_bytes()


def lines_of_unix(octets):
    return octets.replace(b"\r\n", b"\n")


def body(octets):
    return octets.split(b"\r\n\r\n", 1)[1]


def parts(octets):
    leaves = [p for p in email.message_from_bytes(octets).walk() if not p.is_multipart()]
    return [(p.get_content_type(), p.get_filename(), p.get_payload(decode=True)) for p in leaves]


def came_as_sent(house, subject, sent):
    """Not a byte of the body is another, nor of the fields that were there."""
    got = house.arrived(subject)
    house.judge(got)
    assert body(got) == body(sent)
    assert sent.split(b"\r\n\r\n", 1)[0] in got
    assert parts(got)[1] == ("application/octet-stream", "picture.bin", PICTURE)


def came_with_files(house, subject):
    """The program made the parts itself: the files are in it, to the byte."""
    got = house.arrived(subject)
    house.judge(got)
    files = {name: data for _, name, data in parts(got) if name}
    assert files["picture.bin"] == PICTURE
    assert files["notes.txt"].decode().replace("\r\n", "\n") == NOTES
    return got


# ---- programs that take a message ------------------------------------------------------

@both_doors
@pytest.mark.parametrize("how", ["plain", "login", "scram-sha-256"])
def test_msmtp(house, door, how):
    subject = f"msmtp {door} {how}"
    conf = house.file_of(f"msmtprc-{door}-{how}", f"""account default
host localhost
port {house.port(door)}
tls on
tls_starttls {"on" if door == "587" else "off"}
tls_trust_file {house.ca}
auth {how}
user {ALICE}
password {PASSWORD}
from {ALICE}
""")
    sent = letter(subject)
    house.does("msmtp", "-C", conf, "--", BOB, input=lines_of_unix(sent))
    came_as_sent(house, subject, sent)
    assert house.find("login.passed", mechanism=how.upper(), login=ALICE)


@both_doors
def test_curl(house, door):
    subject, scheme = f"curl {door}", "smtps" if door == "465" else "smtp"
    sent = letter(subject)
    url = f"{scheme}://localhost:{house.port(door)}/client.test"
    common = ("curl", "-sS", "--url", url, "--ssl-reqd", "--cacert", house.ca, "--user", f"{ALICE}:{PASSWORD}",
              "--mail-from", ALICE, "--mail-rcpt", BOB)
    house.does(*common, "--upload-file", "-", input=sent)
    came_as_sent(house, subject, sent)
    subject += " with its own parts"
    house.does(*common, "-F", "=hello;type=text/plain", "-F", "file=@picture.bin;encoder=base64", "-F",
                  "file=@notes.txt;encoder=quoted-printable", "-H", f"From: {ALICE}", "-H", f"To: {BOB}", "-H", f"Subject: {subject}")
    came_with_files(house, subject)


@both_doors
def test_smtplib(house, door):
    subject = f"smtplib {door}"
    context = ssl.create_default_context(cafile=house.ca)
    sent = letter(subject)
    if door == "465":
        client = smtplib.SMTP_SSL("localhost", house.port(door), context=context, timeout=PATIENCE)
    else:
        client = smtplib.SMTP("localhost", house.port(door), timeout=PATIENCE)
        client.starttls(context=context)
    with client:
        client.login(ALICE, PASSWORD)
        assert client.sendmail(ALICE, [BOB], sent, ["BODY=8BITMIME"]) == {}
    came_as_sent(house, subject, sent)


@both_doors
def test_nullmailer(house, door, nullmailer):
    """Its protocol program, as nullmailer-send starts it: options on 0, the queue's file on 3."""
    subject = f"nullmailer {door}"
    sent = letter(subject)
    queued = house.work / f"nullmailer-{door}"
    queued.write_bytes(f"{ALICE}\n{BOB}\n\n".encode() + lines_of_unix(sent))
    options = ["host=localhost", f"port={house.port(door)}", f"user={ALICE}", f"pass={PASSWORD}", f"x509cafile={house.ca}",
               "tls" if door == "465" else "starttls"]
    house.does("sh", "-c", 'exec "$0" 3<"$1"', nullmailer, queued, input="".join(o + "\n" for o in options).encode() + b"\n",
               env=house.environment_of(HELOHOST="client.test"))
    came_as_sent(house, subject, sent)


@both_doors
def test_gsasl(house, door):
    """SCRAM by a library that is not Cyrus, which checks that we know the password, too; mutt sends mail with it."""
    with contextlib.ExitStack() as stack:
        port, tls, mechanism = house.port(door), ["--starttls", f"--x509-ca-file={house.ca}"], "SCRAM-SHA-256-PLUS"
        if door == "465":
            port, tls, mechanism = stack.enter_context(unwrapped_465(house))[1], ["--no-starttls", "--no-cb"], "SCRAM-SHA-256"
        seen = house.mark()
        done = house.does("gsasl", "--smtp", f"--connect=localhost:{port}", "-m", mechanism, "-a", ALICE, "-z", "", "-p", PASSWORD,
                          "--application-data", *tls, input=b"")          # the option says that there is none
    assert b"server trusted" in done.stderr
    assert house.wait("login.passed", since=seen, login=ALICE)["mechanism"] == mechanism


# ---- programs that make one --------------------------------------------------------------

@both_doors
@pytest.mark.parametrize("how", ["PLAIN", "LOGIN"])
def test_swaks(house, door, how):
    subject = f"swaks {door} {how}"
    house.does("swaks", "--server", "localhost", "--port", house.port(door), "--tls" if door == "587" else "--tls-on-connect",
               "--tls-verify", "--tls-ca-path", house.ca, "--auth", how, "--auth-user", ALICE, "--auth-password", PASSWORD,
               "--from", ALICE, "--to", BOB, "--h-Subject", subject, "--body", "hello", "--attach-name", "picture.bin",
               "--attach", "@picture.bin", "--attach-name", "notes.txt", "--attach", "@notes.txt", "--suppress-data")
    came_with_files(house, subject)


@both_doors
@pytest.mark.parametrize("how", ["plain", "scram-sha-256"])
def test_mutt(house, door, how):
    subject, scheme = f"mutt {door} {how}", "smtps" if door == "465" else "smtp"
    conf = house.file_of(f"muttrc-{door}-{how}", f"""set smtp_url="{scheme}://alice%40here.test@localhost:{house.port(door)}/"
set smtp_pass="{PASSWORD}"
set smtp_authenticators="{how}"
set ssl_force_tls=yes ssl_starttls=yes ssl_verify_host=yes ssl_verify_dates=yes
set ssl_ca_certificates_file="{house.ca}" certificate_file="{house.work}/certificates"
set from="{ALICE}" realname="Alice" use_from=yes use_envelope_from=yes hostname=client.test
set copy=no record="" charset="utf-8" send_charset="utf-8"
""")
    house.does("mutt", "-n", "-F", conf, "-s", subject, "-b", "alice@here.test", "-a", "picture.bin", "notes.txt", "--", BOB,
                  input=b"hello\n")
    came_with_files(house, subject)
    assert b"Bcc" not in house.mail(ALICE)[-1]
    assert house.find("login.passed", mechanism=how.upper(), login=ALICE)


@both_doors
def test_git_send_email(house, door, perl):
    """A patch with an attachment goes out, and comes in as the commit that it was."""
    subject = f"git {door}"
    here, there = house.work / f"here-{door}", house.work / f"there-{door}"
    env = house.environment_of(PERL5LIB=perl, GIT_AUTHOR_NAME="Alice", GIT_AUTHOR_EMAIL=ALICE, GIT_COMMITTER_NAME="Alice",
                               GIT_COMMITTER_EMAIL=ALICE, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null")

    def git(place, *words, **how):
        return house.does("git", *words, cwd=place, env=env, **how).stdout.decode().strip()

    for place in here, there:
        place.mkdir()
        git(place, "init", "-q", "-b", "main")
        git(place, "commit", "-q", "--allow-empty", "-m", "root", "--date", "2026-01-01T00:00:00Z")
    shutil.copy(house.work / "picture.bin", here)
    shutil.copy(house.work / "notes.txt", here)
    git(here, "add", ".")
    git(here, "commit", "-q", "-m", subject)
    patch = git(here, "format-patch", "--attach", "--binary", "-1")
    git(here, "send-email", "--smtp-server", "localhost", "--smtp-server-port", house.port(door), "--smtp-encryption",
        "ssl" if door == "465" else "tls", "--smtp-ssl-cert-path", house.ca, "--smtp-user", ALICE, "--smtp-pass", PASSWORD,
        "--smtp-domain", "client.test", "--from", f"Alice <{ALICE}>", "--to", BOB, "--suppress-cc=all", "--confirm=never",
        "--8bit-encoding=UTF-8", patch)
    got = house.arrived(f"[PATCH] {subject}")
    house.judge(got)
    git(there, "am", "-q", input=lines_of_unix(got))
    assert git(there, "rev-parse", "HEAD^{tree}") == git(here, "rev-parse", "HEAD^{tree}")


# ---- Dovecot between a client and us -------------------------------------------------------

@both_doors
def test_dovecots_submission_proxy(house, door):
    subject = f"dovecot {door}"
    sent = letter(subject)
    with Dovecot(house, door) as d:
        with smtplib.SMTP("127.0.0.1", d.port, timeout=PATIENCE) as client:
            client.login(ALICE, PASSWORD)
            assert client.sendmail(ALICE, [BOB], sent, ["BODY=8BITMIME"]) == {}
    came_as_sent(house, subject, sent)


# ---- what is mended on the way ---------------------------------------------------------------

@pytest.mark.parametrize("text, charset", [("Gr\u00fc\u00dfe\r\n".encode(), "utf-8"), ("Gr\u00fc\u00dfe\r\n".encode("latin-1"), "unknown-8bit")])
def test_text_that_does_not_say_what_it_is(house, text, charset):
    """An old program's: no MIME, no Date, a Bcc; the fields that it is given are signed with it."""
    subject = f"unmarked {charset}"
    with smtplib.SMTP_SSL("localhost", house.port("465"), context=ssl.create_default_context(cafile=house.ca)) as client:
        client.login(ALICE, PASSWORD)
        client.sendmail(ALICE, [BOB], f"From: {ALICE}\r\nBcc: secret@far.test,\r\n {BOB}\r\nSubject: {subject}\r\n\r\n".encode() + text)
    got = house.arrived(subject)
    house.judge(got)
    message = email.message_from_bytes(got)
    assert message["MIME-Version"] == "1.0" and message["Content-Transfer-Encoding"] == "8bit"
    assert message["Content-Type"] == f"text/plain; charset={charset}"
    assert body(got) == text and b"secret" not in got
    signed = message["DKIM-Signature"].lower()
    assert "content-type" in signed and "mime-version" in signed
