# SPDX-License-Identifier: ISC
"""What a wrong configuration and a hostile machine get: every fault at once with
file and line, one sentence with the next step, exit 1, nothing started."""

import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import tempfile

import pytest

POSTERN = os.path.abspath(os.environ.get("POSTERN", "build/postern"))
PATIENCE = 60
ROOT = os.geteuid() == 0
USER = "nobody" if ROOT else pwd.getpwuid(os.geteuid()).pw_name


def postern(*words, **how):
    return subprocess.run([POSTERN, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE,
                          stdin=None if "input" in how else subprocess.DEVNULL, **how)


@pytest.fixture
def place():
    """A folder that the server's user may enter."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="postern-faults-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def certificate(place, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-keyout", place / f"{name}.key", "-out", place / f"{name}.pem"],
                   check=True, capture_output=True)


def configure(place, text, domain=""):
    conf = place / "postern.conf"
    conf.write_text(f'hostname = "mail.here.test"\nstate = "{place}/state"\nuser = "{USER}"\n'
                    'listener "mx" { address = {"127.0.0.1:0"} role = inbound }\n'
                    f'domain "here.test" {{ deliver {{ maildir = "{place}/mail/%d/%u" }} {domain} }}\n{text}\n')
    return conf


TEXT_FAULTS = r"""hostnam = "mail.example.org"
state = "relative/dir"
loops = many
frobnicate = yes
listener "mx" { address = {"0.0.0.0:99999"} role = inbund tls = sometimes }
listener "mx" { address = {"0.0.0.0:25"} }
listener "s" { address = {"0.0.0.0:587"} role = submission tls = none }
domain "exa mple.org" { catch-all = "not an address" route = "nowhere" }
domain "ok.org" { deliver { mode = "9999" } }
limits { message-size = "50 Mibs" recipients = 0 mesage-size = "2 MiB" }
log { to = file level = loud }
resolver { forward = {"dns.example"} timeout = 5 }
relay { give-up = "5 parsecs" retry-first = 8h retry-most = 1m }
queue { full = 120 }
tls { certificate = {"/nope.pem"} key = {} minimum = "1.0" }
"""
WANTED = [        # line, what is named
    (1, "`hostnam`: did you mean `hostname`"), (2, "`state`"), (3, "`loops`"), (4, "`frobnicate`"), (5, "0.0.0.0:99999"),
    (5, "`inbund` must be inbound or submission"), (5, "`sometimes` must be none, starttls"), (6, "stands here again"),
    (7, "could log nobody in"), (8, "not an address"), (8, "HOST:PORT"), (8, "must be a domain name"), (9, "octal"),
    (10, "50 Mibs"), (10, "`recipients`"), (10, "did you mean `message-size`"), (11, "`loud`"), (11, "to = file needs a file"),
    (12, "dns.example"), (12, "must be a time with its unit"), (13, "5 parsecs"), (13, "longer than the longest"),
    (14, "must be between"), (15, "must be 1.2 or 1.3"), (15, "1 certificate and 0 keys"),
]


@pytest.mark.parametrize("verb,stream", [("check", "stdout"), ("serve", "stderr")])
def test_every_fault_of_the_text_at_once(place, verb, stream):
    conf = place / "postern.conf"
    conf.write_text(TEXT_FAULTS)
    done = postern(verb, "-c", conf)
    said = getattr(done, stream).splitlines()
    assert done.returncode == 1
    for line, what in WANTED:
        assert any(x.startswith(f"{conf}:{line}: ") and what in x for x in said), (line, what, said)
    assert all(re.match(re.escape(str(conf)) + r":\d+: ", x) or x.startswith(("postern serve: ", "note: ")) for x in said)
    if verb == "serve":
        assert said[-1].endswith("nothing was started")
    # What follows from another fault is not a fault of its own.
    assert not any("has no address" in x for x in said)


@pytest.mark.parametrize("text,line,what", [
    ('hostname = "mail.example.org"\ndomain "example.org" {\n', 2, "never closed"),
    ('hostname = "mail.example.org\ndomain "example.org" {}\n', 1, "the quote that begins here is not closed"),
    ('hostname = "mail.example.org"\n', 1, "no domain receives here"),
    ('domain "example.org" {}\n', 1, "hostname is missing"),
    ('hostname = "localhost"\ndomain "example.org" {}\n', 1, "must be a full host name"),
    ('hostname = "mail.example.org"\ndomain "example.org" {}\n}\n', 3, "`}` closes nothing"),
    ('hostname = "mail.example.org"\nhostname = "x.example.org"\ndomain "example.org" {}\n', 2, "is set again"),
    ('hostname = "mail.example.org"\ndomain "example.org" { deliver { maildir = "/m/%u" lmtp = "unix:/l" } }\n', 2, "either maildir or lmtp"),
])
def test_one_fault_is_one_line(place, text, line, what):
    conf = place / "postern.conf"
    conf.write_text(text)
    done = postern("check", "-c", conf)
    faults = [x for x in done.stdout.splitlines() if not x.startswith("note: ") and "there is no user" not in x]
    assert done.returncode == 1
    assert len(faults) == 1 and faults[0].startswith(f"{conf}:{line}: ") and what in faults[0], faults


@pytest.mark.parametrize("verb,stream", [("check", "stdout"), ("serve", "stderr")])
def test_every_file_that_is_missing_or_wrong_at_once(place, verb, stream):
    for name in ("a", "b"):
        certificate(place, name)
    (place / "aliases").write_text("sales:\n% x: y\ngood: bob\nfoo: bar baz@x@y\ngood: bob\n")
    (place / "records").write_text("# fine\nx A 1.2.3\n")
    conf = configure(place, f'tls {{ certificate = {{"{place}/a.pem", "{place}/none.pem", "{place}/aliases"}}\n'
                            f'key = {{"{place}/b.key", "{place}/none.key", "{place}/b.key"}} }}\n'
                            f'resolver {{ records = "{place}/records" }}\n'
                            f'log {{ to = file file = "{place}/nowhere/log" }}\n',
                     f'aliases = "{place}/aliases" dkim "s1" {{ key = "{place}/aliases" }} dkim "s2" {{}}\n'
                     f'dkim "s3" {{ key = "{place}/a.key" algorithm = ed25519-sha256 }}\n')
    done = postern(verb, "-c", conf)
    said = getattr(done, stream)
    assert done.returncode == 1
    for what in (f"{place}/aliases:1: the alias leads nowhere", f"{place}/aliases:2: not a name", f"{place}/aliases:4: not a mail address",
                 f"{place}/aliases:5: this alias stands here twice", "b.key is not the key of", "none.pem: No such file",
                 "none.key: No such file", "holds no PEM certificate", "s2.pem: No such file or directory: make the key with",
                 "aliases: it holds no private key", "is not made for that algorithm", "A needs an IPv4 address", "nowhere/log"):
        assert what in said, (what, said)
    assert "good" not in said.replace("good@here.test", "", 1)
    assert not (place / "state").exists()


@pytest.mark.skipif(not ROOT, reason="only root can give folders away")
@pytest.mark.parametrize("verb,stream", [("check", "stdout"), ("serve", "stderr")])
def test_a_state_directory_of_somebody_else(place, verb, stream):
    conf = configure(place, "")
    (place / "state").mkdir()
    os.chown(place / "state", pwd.getpwnam("daemon").pw_uid, -1)
    done = postern(verb, "-c", conf)
    said = getattr(done, stream)
    assert done.returncode == 1
    assert f"{conf}:2: the state directory {place}/state belongs to daemon" in said
    assert f"`chown -R nobody {place}/state`" in said


@pytest.mark.parametrize("verb,stream", [("check", "stdout"), ("serve", "stderr")])
def test_a_damaged_accounts_file(place, verb, stream):
    (place / "accounts").write_text("# mine\nalice@here.test:{SCRAM-SHA-256}garbage::::::\n")
    conf = configure(place, f'auth {{ accounts = "{place}/accounts" }}')
    done = postern(verb, "-c", conf)
    assert done.returncode == 1
    assert f"{place}/accounts:2: the verifier is damaged" in getattr(done, stream)
    assert getattr(done, stream).startswith(str(place))
    assert "garbage" not in done.stdout + done.stderr


@pytest.mark.skipif(not ROOT, reason="otherwise the log belongs to whoever starts it")
def test_a_log_that_the_server_may_not_write(place):
    conf = configure(place, f'log {{ to = file file = "{place}/log" }}')
    done = postern("check", "-c", conf)
    assert done.returncode == 1
    assert f"{conf}:6: {place}/log cannot be written" in done.stdout
    mend = re.search(r"`(install [^`]*)`", done.stdout).group(1)
    subprocess.run(mend, shell=True, check=True)
    assert postern("check", "-c", conf).returncode == 0


def test_a_port_in_use_names_who_has_it_and_how_it_is_stopped(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        conf = configure(place, f'listener "b" {{ address = {{"127.0.0.1:{port}"}} role = inbound }}')
        if not ROOT:
            (place / "state").mkdir()
        done = postern("serve", "-c", conf)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f'postern serve: listener "b": 127.0.0.1:{port} is in use by ')
    assert f"(process {os.getpid()})" in said
    assert f"`kill {os.getpid()}`" in said or "`systemctl stop " in said


def test_without_a_configuration(place):
    for verb in ("serve", "check", "reload", "status"):
        done = postern(verb, "-c", place / "none")
        assert done.returncode == 1
        assert done.stderr == (f"postern {verb}: {place}/none: No such file or directory: name the configuration with -c FILE, "
                               "or create it\n")


@pytest.mark.parametrize("words", [
    ["frob"], ["chek"], ["check", "-x"], ["check", "word"], ["serve", "-c"], ["log"], ["queue"], ["queue", "frob"], ["queue", "show"],
    ["queue", "retry"], ["account"], ["account", "frob"], ["account", "add"], ["account", "passwd"], ["key"], ["key", "frob"],
    ["key", "generate"], ["key", "generate", "here.test"], ["key", "generate", "here.test", "e/../1"], ["key", "show"],
    ["key", "generate", "here.test", "s1", "--bits", "512"], ["key", "generate", "here.test", "s1", "--algorithm", "md5"],
    ["verify"], ["verify", "--ip"], ["spf"], ["sign"], ["local", "--ports", "1,2"], ["local", "--ports", "a,b,c"],
    ["status", "word"], ["reload", "word"],
])
def test_wrong_usage_is_said_before_anything_is_looked_for(place, words):
    done = postern(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("postern") and "`postern help" in done.stderr and done.stderr.count("\n") == 1
