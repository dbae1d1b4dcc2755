# SPDX-License-Identifier: ISC
"""Logins over SMTP: older schemes, device passwords, codes, certificates, and sessions whose login goes."""

import base64
import hmac
import json
import os
import pathlib
import pty
import re
import ssl
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from scram import Scram  # noqa: E402
from server import PASSWORD, PATIENCE, Client, Server  # noqa: E402

ALICE, BOB = "alice@here.test", "bob@here.test"


@pytest.fixture
def server():
    with Server() as s:
        yield s


def verb(s, *words, want=0, **how):
    done = s.run("account", *words, "-c", str(s.file), **how)
    assert done.returncode == want, done.stderr
    return done


def made(s, who, *options):
    out = verb(s, "app-password", "add", who, *options).stdout
    return re.search(r"login name +(\S+)\npassword +([a-z-]{24})\n", out).groups()


def connect(s):
    c = s.client("submissions")
    c.ask("EHLO client.test", 250)
    return c


def plain(s, who, password):
    with connect(s) as c:
        return c.ask(b"AUTH PLAIN " + base64.b64encode(f"\0{who}\0{password}".encode()))[:3] == "235"


def login(s, who, password):
    with connect(s) as c:
        c.ask("AUTH LOGIN", 334)
        c.ask(base64.b64encode(who.encode()), 334)
        return c.ask(base64.b64encode(password.encode()))[:3] == "235"


def scram(s, who, password):
    """Whether it got in, and the client with what it was told."""
    with connect(s) as c:
        say = Scram(who, password)
        reply = c.ask("AUTH SCRAM-SHA-256 " + base64.b64encode(say(b"")).decode())
        while reply[:3] == "334":
            reply = c.ask(base64.b64encode(say(base64.b64decode(reply[4:]))) or b"=")
        return reply[:3] == "235", say


def put(s, name, text):
    path = s.dir / "state" / name
    path.write_text(text)
    if s.as_user:
        os.chown(path, s.as_user["user"], s.as_user["group"])


def look_again(s, name="accounts"):
    """What a person's editor does not: the verbs tell the server, here of a change that is none."""
    s.signal(1)
    mark = s.mark()
    s.wait("configuration.loaded", since=mark - 1)


# ---- older schemes ----------------------------------------------------------------------

SCHEMES = ["SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "SSHA512", "SSHA256", "SSHA"]


def doveadm(scheme, password):
    return subprocess.run(["doveadm", "-O", "pw", "-s", scheme, "-p", password], capture_output=True, text=True,
                          check=True).stdout.strip()


def test_each_scheme_of_dovecots_gets_in_and_is_kept_as_a_verifier():
    with Server(start=False) as s:
        lines = [f"{k.lower()}@here.test:{doveadm(k, 'through the ' + k)}::::::\n" for k in SCHEMES]
        put(s, "accounts", "".join(lines))
        s.start()
        for k in SCHEMES:
            who, word = f"{k.lower()}@here.test", "through the " + k
            assert not plain(s, who, word + "!") and not scram(s, who, word)[0]
            assert (plain if k.startswith("S") else login)(s, who, word)
            assert s.wait("account.upgraded", account=who)["from"] == k
        text = (s.dir / "state/accounts").read_text()
        assert text.count("{SCRAM-SHA-256}") == len(SCHEMES) and "CRYPT" not in text and "SSHA" not in text
        assert [line.split(":")[0] for line in text.splitlines()] == [line.split(":")[0] for line in lines]
        look_again(s)
        for k in SCHEMES:
            who, word = f"{k.lower()}@here.test", "through the " + k
            assert scram(s, who, word)[0] and plain(s, who, word) and not plain(s, who, "x")


def test_a_file_that_is_not_ours_is_left_alone_and_that_is_said_once():
    with Server(start=False) as s:
        put(s, "accounts", "".join(f"{n}@here.test:{doveadm('SSHA', 'x')}::::::\n" for n in "abc"))
        folder = s.dir / "elsewhere"
        folder.mkdir(mode=0o755)
        (s.dir / "state/accounts").rename(folder / "accounts")
        s.configure(extra=f'auth {{ accounts = "{folder}/accounts" }}')
        folder.chmod(0o555)
        if not s.as_user:
            pytest.skip("the server of the tests is who owns the folder")
        s.start()
        before = (folder / "accounts").read_text()
        assert all(plain(s, f"{n}@here.test", "x") for n in "abc")
        s.until(lambda: len(s.find("login.passed")) == 3, "a line for each login")
        assert len(s.find("accounts.unwritable")) == 1 and (folder / "accounts").read_text() == before


# ---- device passwords ---------------------------------------------------------------------

def test_a_device_password_and_its_end(server):
    name, password = made(server, ALICE, "--label", "My Phone")
    assert name == "alice+my-phone@here.test" and made(server, ALICE, "--label", "my-phone ")[0] == "alice+my-phone2@here.test"
    assert scram(server, name, password)[0] and plain(server, name, password) and login(server, name, password)
    assert plain(server, ALICE, password) and login(server, ALICE, password.replace("-", "").upper())
    assert not scram(server, ALICE, password)[0] and scram(server, ALICE, PASSWORD)[0]
    assert not plain(server, BOB, password) and not plain(server, name, PASSWORD)
    idle, busy, other = connect(server), connect(server), connect(server)
    idle.login(name, password)
    busy.login(ALICE, password)
    other.login(ALICE)
    busy.ask(f"MAIL FROM:<{ALICE}>", 250)
    busy.ask(f"RCPT TO:<{BOB}>", 250)
    busy.ask("DATA", 354)
    verb(server, "app-password", "remove", ALICE, "my phone")
    idle.hear(421)                             # without a word of the client's
    idle.hear_end()
    busy.send(f"From: {ALICE}\r\n\r\nIt was begun.\r\n.\r\n")
    busy.hear(250)
    busy.ask("NOOP", 421)
    busy.hear_end()
    other.ask("NOOP", 250)
    assert not plain(server, name, password) and not plain(server, ALICE, password) and not scram(server, name, password)[0]
    assert server.wait("session.closed", why="login revoked")["login"] == ALICE


def test_removed_accounts_and_changed_passwords_end_what_is_open(server):
    c, d = connect(server), connect(server)
    c.login(ALICE)
    d.login(BOB)
    verb(server, "passwd", BOB, input="another\n")
    d.hear(421)
    verb(server, "remove", ALICE)
    c.hear(421)
    assert not plain(server, ALICE, PASSWORD) and plain(server, BOB, "another")


def test_networks_and_days(server):
    near, here = made(server, ALICE, "--label", "near", "--from", "127.0.0.0/8,2001:db8::/32")
    far, there = made(server, ALICE, "--label", "far", "--from", "192.0.2.0/24")
    assert plain(server, near, here) and scram(server, near, here)[0] and plain(server, ALICE, here)
    assert not plain(server, far, there) and not scram(server, far, there)[0] and not plain(server, ALICE, there)
    assert server.wait("login.refused", reason="not from a network of this device password")
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
    new, word = made(server, ALICE, "--label", "visitor", "--expires", today)
    assert plain(server, new, word)
    file = server.dir / "state/app-passwords"
    text = file.read_text()
    assert f"postern_expires={today} " in text
    file.write_text(text.replace(f"postern_expires={today}", "postern_expires=2020-01-01"))
    look_again(server)
    assert not plain(server, new, word) and not scram(server, new, word)[0] and plain(server, near, here)
    assert server.wait("login.refused", reason="the device password has expired")


def test_what_the_lists_show(server):
    name, password = made(server, ALICE, "--label", "scanner", "--send-only", "--from", "127.0.0.0/8", "--expires", "2099-01-01")
    made(server, BOB, "--label", "tablet")
    before = json.loads(verb(server, "app-password", "list", ALICE, "--json").stdout)
    assert before == [{"account": ALICE, "label": "scanner", "login": name, "created": before[0]["created"],
                       "expires": "2099-01-01T23:59:59Z", "expired": False, "send_only": True, "from": ["127.0.0.0/8"],
                       "last_use": None, "last_ip": None}]
    assert plain(server, ALICE, password)
    after = json.loads(verb(server, "app-password", "list", "--json").stdout)
    assert [d["login"] for d in after] == [name, "bob+tablet@here.test"]
    assert after[0]["last_ip"] == "127.0.0.1" and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", after[0]["last_use"])
    line = verb(server, "app-password", "list", ALICE).stdout
    assert line.startswith(f"scanner\t{name}\tmade ") and "last used" in line and line.endswith("send only\n")
    accounts = {a["address"]: a for a in json.loads(verb(server, "list", "--json").stdout)}
    assert set(accounts) == {ALICE, BOB, "archive@here.test", "bob@office.test"}
    assert accounts[ALICE]["app_passwords"] == 1 and accounts[ALICE]["last_ip"] == "127.0.0.1"


# ---- second factors -----------------------------------------------------------------------------

def code(secret, step):
    """RFC 4226 5.3."""
    h = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), "sha1")
    at = h[-1] & 15
    return f"{(int.from_bytes(h[at:at + 4], 'big') & 0x7fffffff) % 1000000:06}"


def step():
    """Now, with time enough left in it for a test."""
    if time.time() % 30 > 27:
        time.sleep(30 - time.time() % 30)
    return int(time.time() // 30)


def test_codes_behind_the_password(server):
    uri = verb(server, "totp", "enrol", ALICE).stdout
    assert uri.startswith("otpauth://totp/mail.here.test:alice%40here.test?secret=") and uri.count("\n") == 1
    secret = re.search(r"secret=([A-Z2-7]{32})&", uri)[1]
    with connect(server) as c:
        c.ask("EHLO again", 250)
        assert "SCRAM" not in c.reply and "AUTH PLAIN LOGIN" in c.reply
    now = step()
    assert not plain(server, ALICE, PASSWORD) and not plain(server, ALICE, PASSWORD + "000000")
    assert not plain(server, ALICE, "wrong" + code(secret, now)) and not plain(server, ALICE, PASSWORD + code(secret, now - 4))
    assert plain(server, ALICE, PASSWORD + code(secret, now))
    assert not plain(server, ALICE, PASSWORD + code(secret, now)) and not login(server, ALICE, PASSWORD + code(secret, now))
    assert server.wait("login.refused", reason="the code was used already")
    assert login(server, ALICE, PASSWORD + code(secret, now + 1))
    name, password = made(server, ALICE, "--label", "phone")
    assert plain(server, name, password) and plain(server, ALICE, password) and plain(server, BOB, PASSWORD)
    server.stop()
    server.start()
    assert not plain(server, ALICE, PASSWORD + code(secret, now + 1))
    verb(server, "totp", "remove", ALICE)
    assert plain(server, ALICE, PASSWORD) and scram(server, ALICE, PASSWORD)[0]


def test_scram_beside_codes_when_it_is_wished():
    with Server(extra="auth { scram-beside-totp = yes }") as s:
        verb(s, "totp", "enrol", ALICE)
        assert scram(s, BOB, PASSWORD)[0]
        got, told = scram(s, ALICE, PASSWORD)
        assert not got
        again = scram(s, ALICE, PASSWORD)[1]
        nobody = scram(s, "nobody@here.test", PASSWORD)[1]
        assert told.given["s"] == again.given["s"] and told.given["i"] == nobody.given["i"] == "4096"


def at_terminal(s, *words):
    """The verb with a terminal of its own; says what it is told, gives a writer."""
    master, slave = pty.openpty()
    how = {k: v for k, v in s.as_user.items()}
    process = subprocess.Popen([s.program, "account", *words, "-c", str(s.file)], stdin=slave, stdout=slave, stderr=slave,
                               cwd="/", **how)
    os.close(slave)
    return process, master


def read_until(master, what):
    text = b""
    while what not in text:
        text += os.read(master, 4096)
    return text.decode()


def test_enrolment_at_a_terminal_asks_for_a_code_and_shows_a_picture(server):
    process, master = at_terminal(server, "totp", "enrol", ALICE)
    text = read_until(master, b"Code shown now: ")
    secret = re.search(r"secret=([A-Z2-7]{32})&", text)[1]
    picture = [re.sub(r"\x1b\[[\d;]*m", "", line.rstrip("\r")) for line in text.split("\n") if line.startswith("\x1b[40;97m")]
    assert len({len(line) for line in picture}) == 1 and len(picture) * 2 - 4 in range(len(picture[0]) - 5, len(picture[0]))
    os.write(master, b"123\n")
    read_until(master, b"Code shown now: ")
    assert plain(server, ALICE, PASSWORD)              # nothing has changed yet
    os.write(master, code(secret, step()).encode() + b"\n")
    assert process.wait(PATIENCE) == 0
    os.close(master)
    assert not plain(server, ALICE, PASSWORD)
    process, master = at_terminal(server, "totp", "enrol", BOB)
    for _ in range(3):
        read_until(master, b"Code shown now: ")
        os.write(master, b"000000\n" if code(secret, step()) != "000000" else b"1\n")
    assert process.wait(PATIENCE) == 1
    os.close(master)
    assert plain(server, BOB, PASSWORD)


def test_what_accounts_and_domains_require():
    with Server() as s:
        s.file.write_text(s.file.read_text().replace('domain "office.test" {', 'domain "office.test" {\n require = app-password'))
        look_again(s)
        office = "bob@office.test"
        name, password = made(s, office, "--label", "x")
        assert not plain(s, office, PASSWORD) and not scram(s, office, PASSWORD)[0] and plain(s, ALICE, PASSWORD)
        assert plain(s, office, password) and scram(s, name, password)[0]
        assert s.wait("login.refused", reason="the main password is not for sending: a device password is required")
        verb(s, "require", office, "password")
        assert plain(s, office, PASSWORD)
        verb(s, "require", office, "default")
        assert not plain(s, office, PASSWORD)
        verb(s, "require", ALICE, "oauth")
        assert not plain(s, ALICE, PASSWORD)
        assert "requires oauth" in verb(s, "list", ALICE).stdout
        verb(s, "require", ALICE, "totp", want=1)


# ---- certificates -----------------------------------------------------------------------------------

def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def issue(s, who, tmp, *options):
    """A certificate as PEM of key and chain, its serial number."""
    p12 = s.dir / "state" / f"{who}-{len(list(tmp.iterdir()))}.p12"
    out = verb(s, "certificate", "issue", who, "--out", str(p12), *options).stdout
    password, serial = re.search(r"password +(\S+)\nserial +([0-9a-f]+)\n", out).groups()
    assert p12.stat().st_mode & 0o777 == 0o600
    pem = tmp / (p12.name + ".pem")
    openssl("pkcs12", "-in", p12, "-passin", "pass:" + password, "-nodes", "-out", pem, *(["-legacy"] if "--legacy" in options else []))
    return pem, serial, p12, password


def secured(s, pem=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pem:
        context.load_cert_chain(pem)
    c = Client(s.address("submissions"))
    c.socket = context.wrap_socket(c.socket)
    c.hear(220)
    c.ask("EHLO client.test", 250)
    return c


def gets_in(s, who, pem, password=PASSWORD):
    with secured(s, pem) as c:
        return c.ask(b"AUTH PLAIN " + base64.b64encode(f"\0{who}\0{password}".encode()))[:3] == "235"


def test_certificates_of_the_offices_own(tmp_path):
    with Server(start=False) as s:
        pem, serial, p12, password = issue(s, ALICE, tmp_path)
        other = issue(s, BOB, tmp_path, "--legacy", "--days", "10")[0]
        ca = s.dir / "state/ca/ca.pem"
        key = s.dir / "state/ca/ca.key"
        assert key.stat().st_mode & 0o777 == 0o600
        assert openssl("verify", "-CAfile", ca, "-purpose", "sslclient", pem).endswith(": OK\n")
        text = openssl("x509", "-in", pem, "-noout", "-text")
        for part in ("email:alice@here.test", "TLS Web Client Authentication", "CA:FALSE", "P-256",
                     "mail.here.test client certificates"):
            assert part in text, part
        assert openssl("x509", "-in", pem, "-noout", "-serial").strip().lower() == "serial=" + serial
        assert subprocess.run(["openssl", "pkcs12", "-in", p12, "-passin", "pass:" + password + "x", "-nodes", "-noout"],
                              capture_output=True).returncode != 0
        s.configure(extra=f'tls {{ client-ca = "{ca}" }}')
        s.start()
        verb(s, "require", ALICE, "certificate")
        assert gets_in(s, ALICE, pem) and not gets_in(s, ALICE, None) and not gets_in(s, ALICE, other)
        assert not gets_in(s, ALICE, pem, "wrong") and gets_in(s, BOB, None) and gets_in(s, BOB, pem)
        assert s.wait("login.refused", reason="no certificate of this account")
        again, newer, *_ = issue(s, ALICE, tmp_path)
        listed = json.loads(verb(s, "certificate", "list", ALICE, "--json").stdout)
        assert [c["serial"] for c in listed] == [serial, newer] and {c["state"] for c in listed} == {"valid"}
        with secured(s, pem) as c, secured(s, again) as kept:          # two sessions that are open
            for one in (c, kept):
                one.ask(b"AUTH PLAIN " + base64.b64encode(f"\0{ALICE}\0{PASSWORD}".encode()), 235)
            verb(s, "certificate", "revoke", ALICE, serial)
            assert c.ask("NOOP")[:3] in ("421", "")
            kept.ask("NOOP", 250)
        assert not gets_in(s, ALICE, pem) and gets_in(s, ALICE, again)
        crl = openssl("crl", "-in", ca, "-noout", "-text")
        assert serial in crl.lower() and newer not in crl.lower()
        done = subprocess.run(["openssl", "verify", "-CAfile", ca, "-CRLfile", ca, "-crl_check", str(pem)], capture_output=True, text=True)
        assert done.returncode != 0 and "revoked" in done.stdout + done.stderr
        openssl("verify", "-CAfile", ca, "-CRLfile", ca, "-crl_check", again)
        assert "revoked" in verb(s, "certificate", "list", ALICE).stdout
        verb(s, "certificate", "revoke", ALICE, serial, want=1)
        verb(s, "remove", ALICE)
        assert {c["state"] for c in json.loads(verb(s, "certificate", "list", ALICE, "--json").stdout)} == {"revoked"}


def test_a_certificate_of_somebody_elses_is_none(tmp_path):
    with Server(start=False) as s:
        issue(s, ALICE, tmp_path)
        forged = tmp_path / "forged.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "k", "-out",
                tmp_path / "c", "-subj", "/CN=alice@here.test", "-addext", "subjectAltName=email:alice@here.test", "-days", "1")
        forged.write_text((tmp_path / "k").read_text() + (tmp_path / "c").read_text())
        s.configure(extra=f'tls {{ client-ca = "{s.dir}/state/ca/ca.pem" }}')
        s.start()
        verb(s, "require", ALICE, "certificate")
        assert not gets_in(s, ALICE, forged)
        verb(s, "certificate", "revoke", ALICE, "all")     # with a list there, the unknown stays unknown
        assert not gets_in(s, ALICE, forged)


# ---- what bad input gets -----------------------------------------------------------------------------

def test_a_damaged_line_keeps_the_old_files(server):
    name, password = made(server, ALICE, "--label", "x")
    file = server.dir / "state/app-passwords"
    good = file.read_text()
    file.write_text(good + "alice+y@here.test:{SCRAM-SHA-256}4096,x::::::user=alice@here.test\n")
    mark = server.mark()
    server.signal(1)
    why = server.wait("configuration.refused", since=mark)["why"]
    assert f"{file}:2: the verifier is damaged" in why
    assert plain(server, name, password)
    check = server.run("check", "-c", str(server.file))
    assert check.returncode == 1 and f"{file}:2: " in check.stdout + check.stderr
    done = verb(server, "app-password", "add", ALICE, "--label", "z", want=1)
    assert f"{file}:2: " in done.stderr and file.read_text().startswith(good)


USAGE = [
    ("app-password",), ("app-password", "make", ALICE), ("app-password", "add"), ("app-password", "add", ALICE),
    ("app-password", "add", ALICE, "--label"), ("app-password", "add", ALICE, "--label", "x", "--from", "nowhere"),
    ("app-password", "add", ALICE, "--label", "x", "--expires", "soon"), ("app-password", "add", ALICE, "--label", "x", "--json"),
    ("app-password", "remove", ALICE), ("app-password", "list", ALICE, BOB), ("certificate", "issue"),
    ("certificate", "issue", ALICE, "--days", "0"), ("certificate", "revoke", ALICE), ("totp", "enrol"), ("totp", "remove", "x"),
    ("require", ALICE), ("require", ALICE, "nothing"), ("add", "x@here.test", "--require", "totp"), ("list", "--label", "x"),
]


def test_wrong_usage_and_refusals(server):
    for words in USAGE:
        done = verb(server, *words, want=2)
        assert done.stderr.startswith("postern account") and done.stdout == "", words
    for words in (("app-password", "add", "nobody@here.test", "--label", "x"), ("app-password", "remove", ALICE, "none"),
                  ("app-password", "add", ALICE, "--label", "x", "--expires", "2020-01-01"), ("totp", "remove", ALICE),
                  ("certificate", "revoke", ALICE, "all"), ("certificate", "issue", "nobody@here.test"),
                  ("certificate", "list", "nobody@here.test")):
        done = verb(server, *words, want=1)
        assert re.match(r"postern account \S+ \S+: .*: .*\n$", done.stderr) or "no certificate" in done.stderr, done.stderr
    assert json.loads(verb(server, "certificate", "list", ALICE, "--json").stdout) == []
    for i in range(16):
        made(server, ALICE, "--label", f"device {i}")
    assert "16 device passwords" in verb(server, "app-password", "add", ALICE, "--label", "one more", want=1).stderr
    assert "of that label" in verb(server, "app-password", "add", BOB, "--label", "x").stdout + \
        verb(server, "app-password", "add", BOB, "--label", "X", want=1).stderr


def test_verbs_at_the_same_time_lose_nothing(server):
    def add(i):
        made(server, ALICE if i % 2 else BOB, "--label", f"d{i}")
    threads = [threading.Thread(target=add, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(json.loads(verb(server, "app-password", "list", "--json").stdout)) == 8
