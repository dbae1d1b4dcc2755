# SPDX-License-Identifier: ISC
"""postern sendmail: users and programs of this machine send, with the server up, down and started later; what they
may call themselves; and what somebody who means ill can do with the directory: nothing but fill his own share."""

import os
import pwd
import re
import shutil
import stat
import subprocess
import sys

import pytest

for folder in ("lib", "interop"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", folder))
from server import CONFIG, PATIENCE, Server  # noqa: E402

AS_ROOT = os.geteuid() == 0
WEB = pwd.getpwnam("www-data") if AS_ROOT else pwd.getpwuid(os.geteuid())
NAME = WEB.pw_name
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can act as several users")

SECTION = """
sendmail {{
	directory = "{dir}/spool"
	user "games" {{ address = "alice@here.test" may-send-as = {{"shop@office.test"}} }}
}}
"""


class House(Server):
    def __init__(self, start=True, section=SECTION, accounts=(), **how):
        super().__init__(start=False, config=CONFIG + section, accounts=("alice@here.test", "bob@here.test", f"{NAME}@here.test", *accounts), **how)
        self._folder("spool")
        self.link = self.dir / "sendmail"
        self.link.symlink_to(self.program)
        if start:
            self.start()

    def user(self, name=NAME):
        if not AS_ROOT:
            return {}
        who = pwd.getpwnam(name)
        return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}

    def send(self, *args, text="Subject: x\n\nhi\n", name=NAME, program=None):
        return subprocess.run([program or self.link, "-C", self.file, *args], input=text.encode() if isinstance(text, str) else text,
                              capture_output=True, timeout=PATIENCE, cwd="/", **self.user(name))

    def by(self, code, *args, name=NAME):
        """A few lines of Python as that user; what they print."""
        done = subprocess.run(["/usr/bin/python3", "-c", code, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE, cwd="/",
                              **self.user(name))
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def drop(self):
        return self.dir / "spool" / "drop"

    def dropped(self):
        return sorted(p.name for p in self.drop.iterdir())


def taken(done):
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b""), done


def refused(done, status, *words):
    assert done.returncode == status, done
    for word in words:
        assert word in done.stderr.decode(), done.stderr


@pytest.fixture(scope="module")
def up():
    with House() as house:
        yield house


def field(message, name):
    return re.search(rb"(?mi)^%s: *(.*?)\r?$" % name.encode(), message).group(1).decode()


# ---- a running server ----------------------------------------------------------------------

def test_cron(up):
    """As Debian's cron calls it, whose From says root for every user."""
    n = len(up.messages("alice@here.test"))
    taken(up.send("-i", "-FCronDaemon", "-B8BITMIME", "-oem", "alice",
                  text="From: root (Cron Daemon)\nTo: alice\nSubject: Cron <x> \xe4\nMIME-Version: 1.0\nContent-Type: text/plain\n\n.\nout\n"))
    message = up.mail("alice@here.test", n + 1)[-1]
    who = "root" if NAME == "root" else NAME
    assert field(message, "From") == f"{who}@here.test (Cron Daemon)"
    assert field(message, "To") == "alice@here.test"
    assert b"\n.\r\nout" in message or b"\n.\nout" in message
    assert field(message, "Date") and field(message, "Message-ID")
    assert b"unix" not in message.split(b"\n\n")[0].split(b"\r\n\r\n")[0]
    assert up.wait("message.stored", login=f"{NAME}@here.test")["origin"] == "login"


def test_php(up):
    """As PHP's mail() calls it: -t -i, CRLF in the header and LF behind it, Bcc."""
    n, b = len(up.messages("alice@here.test")), len(up.messages("bob@here.test"))
    taken(up.send("-t", "-i", text=f"To: Alice <alice@here.test>\r\nSubject: s\r\nBcc: bob@here.test\r\nFrom: Shop <{NAME}@here.test>\r\n\r\na\nb\n"))
    got = up.mail("alice@here.test", n + 1)[-1], up.mail("bob@here.test", b + 1)[-1]
    for message in got:
        assert b"Bcc" not in message and field(message, "From") == f"Shop <{NAME}@here.test>"


def test_nobody_poses_as_others(up):
    if NAME == "root":
        pytest.skip("root may")
    refused(up.send("-f", "bob@here.test", "alice"), 1, f"{NAME}@here.test may not send as bob@here.test", "may-send-as in sendmail")
    refused(up.send("alice", text="From: bob@here.test\n\nhi\n"), 1, "may not send as bob@here.test, which stands in From")
    refused(up.send("-t", text="To: alice\nSender: someone@far.test\n\nhi\n"), 1, "someone@far.test, which stands in Sender")


@needs_root
def test_the_configuration_grants_more(up):
    taken(up.send("-f", "shop@office.test", "bob", text="From: Shop <shop@office.test>\n\nhi\n", name="games"))
    taken(up.send("bob", text="From: games\n\nhi\n", name="games"))
    assert up.wait("message.stored", **{"from": "shop@office.test"})["login"] == "alice@here.test"
    refused(up.send("-f", "other@office.test", "bob", name="games"), 1, "may not send as other@office.test")
    # The grant is the user's: the account that he counts as has it not.
    with up.client("submissions") as c:
        c.ask("EHLO x", 250)
        c.login("alice@here.test")
        c.ask("MAIL FROM:<shop@office.test>", 550)
    n = len(up.messages("alice@here.test"))
    taken(up.send("games", text="Subject: for games\n\nhi\n", name="daemon"))        # mail for the bare name goes there
    assert b"for games" in up.mail("alice@here.test", n + 1)[-1]


@needs_root
def test_root_may_show_any_address_of_ours(up):
    n = len(up.messages("alice@here.test"))
    taken(up.send("-t", "-f", "bob@office.test", text="To: alice\nFrom: Logwatch\n\nhi\n", name="root"))
    assert field(up.mail("alice@here.test", n + 1)[-1], "From") == "Logwatch@here.test"
    refused(up.send("alice", text="From: x@far.test\n\nhi\n", name="root"), 1, "may not send as x@far.test")


def test_some_recipients_are_refused(up):
    n = len(up.messages("alice@here.test"))
    refused(up.send("alice", "nobody-of-that-name", text="Subject: one of two\n\nhi\n"), 1, "nobody-of-that-name: 550 5.1.1", "the others have it")
    assert b"one of two" in up.mail("alice@here.test", n + 1)[-1]


def test_a_lone_dot_ends_without_i(up):
    n = len(up.messages("bob@here.test"))
    taken(up.send("bob", text="Subject: dot\n\nbefore\n.\nbehind\n"))
    assert b"before" in up.mail("bob@here.test", n + 1)[-1] and b"behind" not in up.messages("bob@here.test")[-1]


def test_wrong_usage(up):
    refused(up.send("-Z"), 2, "unknown option -Z")
    refused(up.send(text="x"), 2, "nobody is named as a recipient")
    refused(up.send("a@b@c"), 2, "is no list of addresses")
    refused(up.send("-bp"), 1, "postern queue list")
    taken(up.send("-bi"))
    done = subprocess.run([up.link, "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout.startswith("usage: postern sendmail")


def test_delivery_notices(up):
    n = len(up.messages(f"{NAME}@here.test"))
    taken(up.send("-N", "success", "-R", "hdrs", "-V", "id-9", "bob"))
    assert b"Original-Envelope-Id: id-9" in up.mail(f"{NAME}@here.test", n + 1)[-1]
    refused(up.send("-N", "sometimes", "bob"), 2, '-N "sometimes" means nothing')


def smtp(house, *lines):
    done = house.send("-bs", text="".join(line + "\r\n" for line in lines))
    assert done.returncode == 0, done
    return [line[:3] for line in done.stdout.decode().split("\r\n") if line[3:4] == " "]


def test_smtp_on_standard_input(up):
    n = len(up.messages("bob@here.test"))
    said = smtp(up, "EHLO x", "MAIL FROM:<> SIZE=10", "RCPT TO:<bob@here.test>", "DATA", "Subject: bs", "", "..dots", ".", "MAIL FROM:<a@far.test>",
                "RCPT TO:<bob>", "RCPT TO:<bob@here.test>", "DATA", "Subject: no", "", ".", "RCPT TO:<bob@here.test>", "WHAT", "QUIT")
    want = ["220", "250", "250", "250", "354", "250", "250", "501", "250", "354", "550", "503", "500", "221"]
    assert said == want
    assert b"\n.dots" in up.mail("bob@here.test", n + 1)[-1].replace(b"\r", b"")


@pytest.fixture(scope="module")
def home(up):
    """Of the user; and a program that knows the configuration, as /usr/sbin/sendmail does."""
    home = up.dir / "home"
    home.mkdir()
    if AS_ROOT:
        os.chown(home, WEB.pw_uid, WEB.pw_gid)
    wrapper = up.dir / "with-config"
    wrapper.write_text(f'#!/bin/sh\nexec {up.link} -C {up.file} "$@"\n')
    wrapper.chmod(0o755)
    return home


def perl_library(up):
    """git send-email needs Mail::Address, which Debian's git only suggests."""
    if subprocess.run(["perl", "-MMail::Address", "-e1"], capture_output=True).returncode == 0:
        return ""
    from clients_test import unpacked
    shutil.copytree(unpacked("libmailtools-perl") / "usr/share/perl5", up.dir / "perl5", dirs_exist_ok=True)
    return str(up.dir / "perl5")


def run_there(up, home, *words, **more):
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C", "PERL5LIB": perl_library(up) if words[0] == "git" else ""}
    done = subprocess.run(words, env=env, cwd=home, capture_output=True, timeout=PATIENCE, **up.user(), **more)
    assert done.returncode == 0, done


def test_git_send_email(up, home):
    patch = home / "0001-x.patch"
    patch.write_text(f"From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: W <{NAME}@here.test>\n"
                     "Date: Sun, 22 Nov 2026 05:00:00 +0000\nSubject: [PATCH] by git\n\nx\n---\n")
    n = len(up.messages("alice@here.test"))
    run_there(up, home, "git", "send-email", f"--sendmail-cmd={up.dir}/with-config", "--from", f"{NAME}@here.test", "--to", "alice@here.test",
              "--suppress-cc=all", "--confirm=never", "--quiet", str(patch))
    assert b"[PATCH] by git" in up.mail("alice@here.test", n + 1)[-1]


def test_mutt(up, home):
    n = len(up.messages("bob@here.test"))
    run_there(up, home, "mutt", "-n", "-F", "/dev/null", "-e", f'set sendmail="{up.dir}/with-config -oem -oi"', "-e", "set record=", "-e",
              f"set from={NAME}@here.test", "-s", "by mutt", "--", "bob@here.test", input=b"text\n")
    assert b"by mutt" in up.mail("bob@here.test", n + 1)[-1]


# ---- what one user can do to another, and to the server ----------------------------------------

def test_the_directory(up):
    base = up.dir / "spool"
    assert stat.S_IMODE(base.stat().st_mode) == 0o711 and stat.S_IMODE(up.drop.stat().st_mode) == 0o3733
    assert stat.S_IMODE((base / "socket").stat().st_mode) == 0o666
    assert (base / "about").read_text() == "domain here.test\n"


LEAVE = """import os, sys
path, text, mode = sys.argv[1], sys.argv[2], int(sys.argv[3], 8)
fd = os.open(path + "/tmp.t", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
os.write(fd, text.encode()); os.fchmod(fd, mode); os.rename(path + "/tmp.t", path + "/new." + sys.argv[4])
"""


def drop_text(message="Subject: left\r\n\r\nhi\r\n", sender=NAME, rcpt="alice"):
    message = f"From: {NAME}@here.test\r\n" + message
    return f"postern-drop 1\nsender {sender}\nrcpt {rcpt}\nsize {len(message)}\n\n{message}"


def test_what_is_dropped_while_it_runs_is_taken_up(up):
    n = len(up.messages("alice@here.test"))
    up.by(LEAVE, up.drop, drop_text("Subject: noticed\r\n\r\nhi\r\n"), "640", "1")
    assert any(b"noticed" in m for m in up.mail("alice@here.test", n + 1))
    up.until(lambda: up.dropped() == [], "the end of the file")


@pytest.mark.parametrize("how, why", [
    ('os.symlink("/etc/passwd", path + "/new.l")', "it is a link"),
    ('open(path + "/new.h0", "w"); os.chmod(path + "/new.h0", 0o640); os.link(path + "/new.h0", path + "/new.h")', "it has several names"),
    ('os.mkfifo(path + "/tmp.f", 0o640); os.rename(path + "/tmp.f", path + "/new.f")', "it is no regular file"),
    ('os.mkdir(path + "/tmp.d"); os.rename(path + "/tmp.d", path + "/new.d")', "it is no regular file"),
    ('open(path + "/tmp.m", "w"); os.chmod(path + "/tmp.m", 0o644); os.rename(path + "/tmp.m", path + "/new.m")', "its mode is not 0640"),
    ('open(path + "/tmp.e", "w"); os.chmod(path + "/tmp.e", 0o640); os.rename(path + "/tmp.e", path + "/new.e")', "it is no dropped message"),
])
def test_nothing_strange_is_read(up, how, why):
    seen = up.mark()
    up.by('import os, sys; path = sys.argv[1]; ' + how + '; open(path + "/tmp.go", "w"); os.rename(path + "/tmp.go", path + "/new.go")', up.drop)
    up.wait("drop.refused", since=seen, why=why)
    up.until(lambda: up.dropped() == [], "all of it")


@needs_root
def test_what_was_made_elsewhere_is_not_read(up):
    """Renamed into it: whose file it is says nothing about who put it there."""
    place = up.dir / "elsewhere"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    (place / "f").write_text(drop_text())
    os.chown(place / "f", 0, 0)
    (place / "f").chmod(0o640)
    seen = up.mark()
    up.by("import os, sys; os.rename(sys.argv[1], sys.argv[2])", place / "f", up.drop / "new.r")
    assert up.wait("drop.refused", since=seen)["removed"] == "yes"
    assert not up.find("drop.taken", since=seen)


@needs_root
def test_others_can_neither_list_nor_read_nor_remove(up):
    up.by('import os, sys; f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600); os.fchmod(f, 0o640)', up.drop / "tmp.mine")
    print_errors = """import os, sys
path, file = sys.argv[1:]
for act in (lambda: os.listdir(path), lambda: open(file), lambda: open(file, "a"), lambda: os.unlink(file),
            lambda: os.rename(file, path + "/new.x"), lambda: os.link(file, path + "/tmp.y"), lambda: os.chmod(path, 0o777),
            lambda: os.rename(path, path + "2"), lambda: os.unlink(path + "/../about"), lambda: os.symlink("x", path + "/../x")):
    try:
        act()
        print("done")
    except PermissionError:
        print("denied")
"""
    said = up.by(print_errors, up.drop, up.drop / "tmp.mine", name="daemon").split()
    linked = said.pop(5)                       # sysctl fs.protected_hardlinks says
    assert said == ["denied"] * 9, said
    if linked == "done":
        (up.drop / "tmp.y").unlink()
    (up.drop / "tmp.mine").unlink()


@needs_root
def test_a_user_without_a_name_is_refused(up):
    done = subprocess.run([up.link, "-C", up.file, "alice"], input=b"x\n", capture_output=True, timeout=PATIENCE, user=54321, group=54321, extra_groups=[])
    refused(done, 1, "user id 54321 has no name")
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(100).decode())"
    done = subprocess.run(["/usr/bin/python3", "-c", code, up.dir / "spool" / "socket"], capture_output=True, text=True, timeout=PATIENCE,
                          user=54321, group=54321, extra_groups=[])
    assert done.stdout.startswith("550 5.7.1"), done


# ---- a server that is down ------------------------------------------------------------------------

def test_down_and_started_later():
    with House() as s:
        assert s.stop() == 0
        assert not (s.dir / "spool" / "socket").exists()
        taken(s.send("-t", "-i", text="To: alice\nSubject: while down\n\nhi\n"))
        assert smtp(s, "HELO x", f"MAIL FROM:<{NAME}@here.test>", "RCPT TO:<bob@here.test>", "DATA", "Subject: by bs", "", ".", "QUIT")[-2:] == ["250", "221"]
        left = s.dropped()
        assert len(left) == 2 and all(name.startswith("new.") for name in left)
        for name in left:
            st = (s.drop / name).stat()
            assert stat.S_IMODE(st.st_mode) == 0o640 and st.st_uid == WEB.pw_uid and st.st_gid == s.drop.stat().st_gid
        (s.drop / "tmp.half").write_text("postern-drop 1\n")                       # a writer that was killed
        s.start()
        assert b"while down" in s.mail("alice@here.test")[0]
        assert b"by bs" in s.mail("bob@here.test")[0]
        s.until(lambda: s.dropped() == ["tmp.half"], "the end of the files")


def test_killed_with_its_socket_there():
    with House() as s:
        s.process.kill()
        s.process.wait()
        assert (s.dir / "spool" / "socket").exists()
        taken(s.send("alice", text="Subject: after the kill\n\nhi\n"))
        s.start()
        assert b"after the kill" in s.mail("alice@here.test")[0]


def test_refused_later_it_comes_back():
    with House(start=False, limits="message-size = 65536 header-size = 65536 field-size = 65536") as s:
        s.start()
        s.stop()
        who = f"{NAME}@here.test"
        taken(s.send("nobody-of-that-name", "alice", text="Subject: half good\n\nhi\n"))
        taken(s.send("alice", text="From: evil@far.test\nSubject: not his\n\nhi\n"))
        taken(s.send("alice", text="Subject: big\n\n" + "x" * 70000))
        s.start()
        assert b"half good" in s.mail("alice@here.test")[0]
        bounces = s.mail(who, 3)
        assert field(bounces[0], "From").endswith("<postmaster@here.test>") or "postmaster" in field(bounces[0], "From")
        text = b"\n".join(bounces)
        assert b"nobody-of-that-name@here.test" in text and b"5.1.1" in text
        assert b"may not send as evil@far.test" in text.replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ").replace(b"\n\t", b" ").replace(b"\n ", b" ")
        assert b"5.3.4" in text
        assert len(s.messages("alice@here.test")) == 1 and s.dropped() == []


def test_quotas():
    section = SECTION.replace('"{dir}/spool"', '"{dir}/spool" waiting-messages = 2')
    with House(section=section) as s:
        s.stop()
        for i in range(4):
            taken(s.send("alice", text=f"Subject: number {i}\n\nhi\n"))
        s.start()
        assert b"waited here beyond" in b" ".join(s.mail(f"{NAME}@here.test")[0].split())
        assert [field(m, "Subject") for m in s.mail("alice@here.test", 2)] == ["number 0", "number 1"]
        s.until(lambda: len(s.find("drop.removed")) == 2, "two lines that one was removed")
        assert s.dropped() == []


def test_there_is_no_directory():
    with House(start=False, section=SECTION.replace("{dir}/spool", "{dir}/none")) as s:
        refused(s.send("alice"), 75, "/none/drop is not there: start the server once")


@needs_root
def test_started_as_root_it_makes_the_directory():
    section = SECTION.replace("{dir}/spool", "{dir}/made")
    with House(start=False, section=section) as s:
        s.as_user = {}                           # root, who keeps the keeper
        s.start()
        nobody = pwd.getpwnam("nobody")
        assert (s.dir / "made" / "drop").stat().st_uid == nobody.pw_uid
        taken(s.send("alice", text="Subject: with a keeper\n\nhi\n"))
        assert b"with a keeper" in s.mail("alice@here.test")[0]
        s.stop()
        taken(s.send("alice", text="Subject: dropped for a keeper\n\nhi\n"))
        s.start()
        assert any(b"dropped for" in m for m in s.mail("alice@here.test", 2))


def test_a_second_server_stays_away(up):
    with House(start=False, section=SECTION.replace("{dir}/spool", str(up.dir / "spool"))) as other:
        other.start()
        assert "another server" in other.wait("sendmail.off")["why"]
    taken(up.send("alice"))
