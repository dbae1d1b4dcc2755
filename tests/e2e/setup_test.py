# SPDX-License-Identifier: ISC
"""`postern setup` as a new user meets it: an empty directory, a second run, questions on a
terminal, certbot, uacme and lego (played by scripts), systemd (played, too), and the way from
nothing to a message that passes SPF, DKIM and DMARC."""

import json
import os
import pathlib
import pty
import pwd
import re
import select
import shutil
import smtplib
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from authority import Authorities, free_port, missing   # noqa: E402
from dnsserver import DnsServer                         # noqa: E402
from nexthop import Hop                                 # noqa: E402
from server import PATIENCE, POSTERN                    # noqa: E402

ZONE, HOST = "fresh.example", "mail.fresh.example"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces")
needs_servers = pytest.mark.skipif(bool(missing()), reason="not here: " + ", ".join(missing()))


class Machine:
    """A directory, a user that is not root, programs of its own; nobody answers in DNS."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-setup-"))
        os.chmod(self.dir, 0o755)
        self.program, self.user = POSTERN, {}
        (self.dir / "bin").mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self.program = str(self.dir / "bin/postern")
            shutil.copy(POSTERN, self.program)
            os.chown(self.dir, nobody.pw_uid, nobody.pw_gid)
        self.dns = DnsServer("unused.example A 192.0.2.1\n").__enter__()
        self.etc, self.state, self.conf = self.dir / "etc", self.dir / "state", self.dir / "etc/postern.conf"

    def words(self, *more):
        return ["--etc", str(self.etc), "--state", str(self.state), "--resolver", self.dns.address, *more]

    def environment(self):
        return {**os.environ, "PATH": f"{self.dir}/bin:{os.environ['PATH']}"}

    def run(self, *words, stdin="", status=0):
        done = subprocess.run([self.program, *map(str, words)], input=stdin, capture_output=True, text=True, cwd=self.dir,
                              env=self.environment(), timeout=3 * PATIENCE, **self.user)
        assert done.returncode == status, (words, done)
        return done

    def setup(self, *more, domain=ZONE, **how):
        return self.run("setup", domain, *self.words(*more), **how)

    def put(self, name, text):
        (self.dir / "bin" / name).write_text("#!/bin/sh\n" + text)
        (self.dir / "bin" / name).chmod(0o755)

    def files(self):
        return {str(p.relative_to(self.dir)): p.read_bytes() for top in (self.etc, self.state) if top.exists()
                for p in top.rglob("*") if p.is_file()}

    def close(self):
        self.dns.__exit__(None, None, None)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def bare():
    m = Machine()
    yield m
    m.close()


@pytest.fixture(scope="module")
def keys():
    """The keys of a machine that was set up once: making them costs more than all else."""
    m = Machine()
    m.setup()
    yield m.state / "keys"
    m.close()


@pytest.fixture
def machine(bare, keys):
    bare.state.mkdir(0o700)
    shutil.copytree(keys, bare.state / "keys")
    if bare.user:
        for p in (bare.state, *bare.state.rglob("*")):
            os.chown(p, bare.user["user"], bare.user["group"])
    return bare


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def certificate(folder, name, host):
    """A chain and a key by an authority of our own: NAME.pem, NAME.key."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=PATIENCE)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-days", "9", "-keyout", f"{name}ca.key", "-out", f"{name}ca.pem", "-subj", "/CN=Authority")
    openssl("req", *curve, "-new", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
    (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{name}ca.pem", "-CAkey", f"{name}ca.key", "-CAcreateserial", "-days", "9",
            "-extfile", f"{name}.ext", "-out", f"{name}.leaf")
    (folder / f"{name}.pem").write_text((folder / f"{name}.leaf").read_text() + (folder / f"{name}ca.pem").read_text())
    for p in folder.glob(f"{name}*"):
        p.chmod(0o644)
    return folder / f"{name}.pem", folder / f"{name}.key"


# ---- an empty directory -------------------------------------------------------------

def test_dry_run_does_nothing(bare):
    machine = bare
    said = machine.setup("--dry-run").stdout
    assert not machine.etc.exists() and not machine.state.exists()
    assert "would write   " + str(machine.conf) in said and said.endswith("Nothing was changed.\n")


def test_from_nothing(bare):
    machine = bare
    said = machine.setup("--account", "alice", "--format", "text").stdout
    assert machine.run("check", "-c", machine.conf).stdout == f"{machine.conf}: no faults\n"
    seen = machine.run("doctor", ZONE, "--only", "files,accounts,relay,certificate", "-c", machine.conf).stdout
    assert "it is self-signed" in seen and seen.endswith("0 faults, 1 warning, 0 notes, 3 ok\n"), seen
    assert f'hostname = "{HOST}"' in machine.conf.read_text() and "keys {}" in machine.conf.read_text()
    assert [mode(p) for p in (machine.conf, machine.etc / "tls", machine.etc / "tls/certificate.pem", machine.state,
                              machine.state / "accounts", machine.etc / "tls/deploy")] == [0o644, 0o700, 0o600, 0o700, 0o600, 0o755]
    assert all(mode(p) == 0o600 for p in machine.state.rglob("*.pem"))
    assert "\nroot: alice@fresh.example\n" in (machine.etc / "aliases").read_text()
    assert machine.run("account", "list", "-c", machine.conf).stdout.startswith("alice@fresh.example\t")
    assert not re.search(r"TLSA", said)                      # the self-signed key is nothing to pin
    for record in (f"{ZONE}. MX 10 {HOST}.", f'{ZONE}. TXT "v=spf1 mx -all"', f'_dmarc.{ZONE}. TXT "v=DMARC1; p=none'):
        assert "\n" + record in said, record
    assert len(re.findall(r"\._domainkey\.fresh\.example\. TXT ", said)) == 8
    steps = re.findall(r"^  (\d) of (\d)  \S", said, re.M)
    assert 0 < len(steps) <= 6 and steps == [(str(i + 1), str(len(steps))) for i in range(len(steps))]
    assert len(re.findall(r"has the password \S{23}\n", said)) == 1


def test_a_second_run_changes_nothing(machine):
    machine.setup("--account", "alice", "--ports", "2525,5587,4465", "--hostname", "mx.fresh.example", "--mail", machine.state / "post")
    before = machine.files()
    said = machine.run("setup", ZONE, "--etc", machine.etc, "--resolver", machine.dns.address).stdout
    assert machine.files() == before
    assert f"  there     {machine.conf}: " in said and "there     8 DKIM keys" in said and "there     alice@fresh.example" in said
    assert "has the password" not in said and "wrote" not in said and "made" not in said


def test_what_differs_is_shown_and_kept(machine):
    machine.setup()
    mine = machine.conf.read_text().replace('hostname = "mail.', 'hostname = "mx1.') + "plus = \"-\"\n"
    machine.conf.write_text(mine)
    said = machine.setup("--hostname", HOST).stdout
    assert machine.conf.read_text() == mine and not (machine.etc / "postern.conf.old").exists()
    assert '      - hostname = "mx1.fresh.example"\n      + hostname = "mail.fresh.example"\n' in said and '      - plus = "-"\n' in said
    assert "--force writes them anew" in said
    machine.setup("--hostname", HOST, "--force")
    assert (machine.etc / "postern.conf.old").read_text() == mine and "plus" not in machine.conf.read_text()


def test_a_file_with_faults_is_not_touched(machine):
    machine.setup()
    machine.conf.write_text("frobnicate = yes\n")
    done = machine.setup(status=1)
    assert "frobnicate" in done.stderr and "mend them, or write it anew with --force" in done.stderr
    assert machine.conf.read_text() == "frobnicate = yes\n"
    machine.setup("--force")
    assert "no faults" in machine.run("check", "-c", machine.conf).stdout


def test_a_password_of_ones_own(machine):
    said = machine.setup("--password-stdin", stdin="correct horse battery\n").stdout
    assert "password" not in said.split("1 of ")[0]
    assert machine.run("account", "list", "-c", machine.conf).stdout.startswith(f"postmaster@{ZONE}\t")


def test_a_second_domain(machine):
    machine.setup()
    mine = machine.conf.read_text() + "# mine\n"
    machine.conf.write_text(mine)
    done = machine.setup(domain="second.example", status=1)
    assert 'domain "second.example" {\n' in done.stdout and "--add" in done.stderr and machine.conf.read_text() == mine
    said = machine.setup("--add", domain="second.example").stdout
    assert machine.conf.read_text().startswith(mine) and (machine.etc / "postern.conf.old").read_text() == mine
    assert "no faults" in machine.run("check", "-c", machine.conf).stdout
    assert "postmaster@second.example" in said and "root: postmaster@second.example" in (machine.etc / "aliases.second.example").read_text()
    before = machine.files()
    for domain in ("second.example", ZONE):
        for words in ((), ("--force",)):
            said = machine.setup(*words, domain=domain).stdout
            assert machine.files() == before and "differs" not in said and "the configuration, of 2 domains\n" in said


@pytest.mark.parametrize("words, says", [
    ([], "say which domain"), (["nowhere"], "is no domain name"), ([ZONE, "--ports", "1,2"], "--ports takes three numbers"),
    ([ZONE, "--etc", "/tmp/a b"], "take a path of letters"), ([ZONE, "--acme", "caddy"], "none of certbot, uacme and lego"),
    ([ZONE, "--account", "a@other.example"], "is no address in"), ([ZONE, "--certificate", "/x"], "go together"),
    ([ZONE, "--format", "xml"], "is no format"), ([ZONE, "other"], "unexpected word"), (["--challenge", "begin", "a/b", "c"], "a token"),
])
def test_wrong_usage(words, says):
    done = subprocess.run([POSTERN, "setup", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    assert done.returncode == 2 and says in done.stderr and done.stderr.startswith("postern setup: "), done


def test_nothing_can_be_written(machine):
    done = machine.run("setup", ZONE, "--etc", "/proc/postern", "--state", machine.state, "--resolver", machine.dns.address, status=1)
    assert re.fullmatch(r"postern setup: /proc/postern: .*\n", done.stderr), done.stderr


# ---- names --------------------------------------------------------------------------------

def test_the_ptr_record_proposes_the_name(machine):
    here = re.search(r"^  ([\d.]+), whose PTR record is missing$", machine.setup("--dry-run").stdout, re.M)
    if not here:
        pytest.skip("no interface here has a public IPv4 address")
    machine.dns.add(".".join(reversed(here[1].split("."))) + f".in-addr.arpa PTR mx7.{ZONE}")
    said = machine.setup("--dry-run").stdout
    assert f"by the mail server mx7.{ZONE}\n  {here[1]}, whose PTR record says mx7.{ZONE}\n" in said


# ---- a terminal ------------------------------------------------------------------------------

def test_questions_on_a_terminal(machine):
    master, slave = pty.openpty()
    p = subprocess.Popen([machine.program, "setup", ZONE, *machine.words("--no-wait")], stdin=slave, stdout=slave, stderr=slave, cwd=machine.dir,
                         env=machine.environment(), start_new_session=True, **machine.user)
    os.close(slave)
    said = ""

    def until(text):
        nonlocal said
        end = time.monotonic() + 2 * PATIENCE
        while text not in said and time.monotonic() < end and select.select([master], [], [], PATIENCE)[0]:
            try:
                said += os.read(master, 65536).decode()
            except OSError:
                break
        assert text in said, said

    until(f"Name of this mail server [{HOST}]: ")
    os.write(master, b"nonsense\n")
    until("is no host name")
    os.write(master, b"mx.fresh.example\n")
    until(f"First account [postmaster@{ZONE}]: ")
    os.write(master, b"carol\n")
    until("has the password")
    until("sets another.")
    assert p.wait(PATIENCE) == 0, said
    os.close(master)
    assert 'hostname = "mx.fresh.example"' in machine.conf.read_text()
    assert machine.run("account", "list", "-c", machine.conf).stdout.startswith(f"carol@{ZONE}")


# ---- certificates -------------------------------------------------------------------------------

FETCH = "/usr/bin/python3 -c 'import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=20).read().decode(), end=\"\")'"


def resolves(machine):
    machine.dns.add(f"{HOST} A 127.0.0.1")


def took(machine, pair):
    whole = (machine.etc / "tls/certificate.pem").read_text()
    assert whole == pair[0].read_text() + pair[1].read_text() and mode(machine.etc / "tls/certificate.pem") == 0o600
    assert "no faults" in machine.run("check", "-c", machine.conf).stdout


def test_certbot_is_run_when_dns_leads_here(machine):
    pair = certificate(machine.dir, "one", HOST)
    machine.put("certbot", f'echo "$@" >>{machine.dir}/called\nwhile [ "$1" != --deploy-hook ]; do shift; done\n'
                f'mkdir -p {machine.dir}/live; cp {pair[0]} {machine.dir}/live/fullchain.pem; cp {pair[1]} {machine.dir}/live/privkey.pem\n'
                f'RENEWED_LINEAGE={machine.dir}/live RENEWED_DOMAINS="x.example {HOST}" exec "$2"\n')
    done = machine.setup("--acme", "certbot", status=1)      # no address yet: it is not even asked
    assert "DNS has no address for mail.fresh.example" in done.stderr and not (machine.dir / "called").exists()
    machine.dns.replace(f"{HOST} A 127.0.0.1\n")
    said = machine.setup("--acme", "certbot").stdout
    called = (machine.dir / "called").read_text()
    assert called.startswith("certonly --standalone --reuse-key -d mail.fresh.example ") and "--agree-tos" in called
    took(machine, pair)
    assert "_25._tcp.mail.fresh.example" in said             # now there is a key to pin
    # A renewal of somebody else's certificate is none of ours.
    other = {**os.environ, "RENEWED_LINEAGE": "/nowhere", "RENEWED_DOMAINS": "x.example"}
    assert subprocess.run([machine.etc / "tls/deploy"], env=other, timeout=PATIENCE, check=False).returncode == 0
    took(machine, pair)


UACME = """
dir=$2
[ "$1" = -y ] && { [ "$4" = new ] && mkdir -p "$3/private" && touch "$3/private/key.pem"; exit; }
hook=$4
[ "$5 $6" = "issue @HOST@" ] || exit 2
"$hook" begin dns-01 @HOST@ token text && exit 2
"$hook" begin http-01 @HOST@ tok-en_1 tok-en_1.thumb || exit 2
got=$(@FETCH@ http://127.0.0.1:@PORT@/.well-known/acme-challenge/tok-en_1)
@FETCH@ http://127.0.0.1:@PORT@/etc/passwd 2>/dev/null && exit 2
"$hook" done http-01 @HOST@ tok-en_1 tok-en_1.thumb
[ "$got" = tok-en_1.thumb ] || { echo "got $got"; exit 2; }
mkdir -p "$dir/@HOST@" "$dir/private/@HOST@"
cp @CHAIN@ "$dir/@HOST@/cert.pem"; cp @KEY@ "$dir/private/@HOST@/key.pem"
"""


def test_uacme_is_answered(machine):
    pair = certificate(machine.dir, "one", HOST)
    port = free_port(["127.0.0.1"])
    text = UACME
    for word, value in {"HOST": HOST, "FETCH": FETCH, "PORT": port, "CHAIN": pair[0], "KEY": pair[1]}.items():
        text = text.replace(f"@{word}@", str(value))
    machine.put("uacme", text)
    resolves(machine)
    machine.setup("--acme", "uacme", "--http-port", port)
    took(machine, pair)
    with pytest.raises(AssertionError):                      # nobody answers at the port any more
        machine.run("setup", "--challenge", "begin", "a", "b", "--http-port", port, status=99)
    machine.run("setup", "--challenge", "done", "a", "b", "--http-port", port)
    machine.put("uacme", "exit 1\n")                         # not due: that is fine
    assert subprocess.run([machine.etc / "tls/renew"], env=machine.environment(), timeout=PATIENCE, check=False, **machine.user).returncode == 0


def test_lego(machine):
    pair = certificate(machine.dir, "one", HOST)
    again = certificate(machine.dir, "two", HOST)
    where = f"{machine.etc}/lego/certificates/{HOST}"
    machine.put("lego", f'case " $* " in\n*" --http.webroot {machine.dir}/www run "*) mkdir -p {machine.etc}/lego/certificates; '
                f"cp {pair[0]} {where}.crt; cp {pair[1]} {where}.key ;;\n"
                f'*" renew --days 30 --reuse-key "*) cp {again[0]} {where}.crt; cp {again[1]} {where}.key\n'
                f'while [ "$1" != --renew-hook ]; do shift; done; exec "$2" ;;\n*) exit 9 ;; esac\n')
    resolves(machine)
    machine.setup("--acme", "lego", "--webroot", machine.dir / "www")
    took(machine, pair)
    renewed = subprocess.run([machine.etc / "tls/renew"], env=machine.environment(), timeout=PATIENCE, check=False, **machine.user)
    assert renewed.returncode == 0
    took(machine, again)


def test_a_certificate_that_does_not_fit_is_refused(machine):
    machine.setup()
    before = machine.files()
    good, other = certificate(machine.dir, "one", HOST), certificate(machine.dir, "two", "else.example")
    for pair, says in (((good[0], other[1]), "give the chain"), (other, "it is not made for mail.fresh.example"),
                       ((machine.dir / "none.pem", good[1]), "name files that can be read")):
        done = machine.run("setup", ZONE, "--etc", machine.etc, "--certificate", pair[0], "--key", pair[1], status=1)
        assert says in done.stderr, done
        assert machine.files() == before
    machine.run("setup", ZONE, "--etc", machine.etc, "--certificate", good[0], "--key", good[1])
    took(machine, good)
    machine.conf.write_text(machine.conf.read_text().replace(f"{machine.etc}/tls/certificate.pem", str(machine.dir / "my.pem")))
    shutil.copy(machine.etc / "tls/certificate.pem", machine.dir / "my.pem")
    done = machine.run("setup", ZONE, "--etc", machine.etc, "--certificate", good[0], "--key", good[1], status=1)
    assert "names other files" in done.stderr


# ---- root, on a fresh machine -----------------------------------------------------------------------

FRESH = """
cd $TMP
mkdir e lib mail spool
for d in e lib mail spool; do mount -t tmpfs -o mode=755 none $d; done
cp -r /etc/passwd /etc/group /etc/nsswitch.conf /etc/login.defs /etc/ssl e/ 2>/dev/null || true
touch e/shadow e/gshadow
mkdir -p e/systemd/system e/letsencrypt/live/mail.fresh.example
cp one.pem e/letsencrypt/live/mail.fresh.example/fullchain.pem
cp one.key e/letsencrypt/live/mail.fresh.example/privkey.pem
mount --bind e /etc
for d in lib mail spool; do mount --bind $d /var/$d; done
userdel postern 2>/dev/null || true
POSTERN setup fresh.example </dev/null >first 2>&1 || { cat first; exit 1; }
stat -c '%a %U %n' /etc/postern /etc/postern/postern.conf /etc/postern/tls/certificate.pem /var/lib/postern /var/lib/postern/accounts \\
	/var/mail/fresh.example /var/spool/postern /etc/letsencrypt/renewal-hooks/deploy/postern >owners
cat /etc/postern/postern.conf >conf
POSTERN check >checked
: >calls
POSTERN setup fresh.example </dev/null >second 2>&1
# A renewal, by the hook alone.
cp two.pem /etc/letsencrypt/live/mail.fresh.example/fullchain.pem
cp two.key /etc/letsencrypt/live/mail.fresh.example/privkey.pem
RENEWED_LINEAGE=/etc/letsencrypt/live/mail.fresh.example RENEWED_DOMAINS=mail.fresh.example \\
	/etc/letsencrypt/renewal-hooks/deploy/postern >renewed 2>&1
cp /etc/postern/tls/certificate.pem taken
# The server itself, started by root.
POSTERN serve 2>log & server=$!
until grep -q server.started log; do kill -0 $server; sleep 0.05; done
POSTERN setup fresh.example </dev/null >fourth 2>&1
printf 'Subject: from cron\n\nhello\n' | POSTERN sendmail -i root
until grep -q delivery.delivered log; do kill -0 $server; sleep 0.05; done
/etc/postern/tls/deploy $TMP/one.pem $TMP/one.key >deployed 2>&1
find /var/mail -type f >mail.list
kill $server; wait $server
rm bin/certbot; printf '#!/bin/sh\\n' >bin/uacme; chmod +x bin/uacme
POSTERN setup fresh.example </dev/null >third 2>&1
cp /etc/systemd/system/postern-certificate.* .
"""
SYSTEMCTL = 'echo "$@" >>%s/calls\ncase $1 in is-system-running) echo running ;; esac\n'


@needs_root
def test_root_on_a_fresh_machine(machine):
    certificate(machine.dir, "one", HOST)
    certificate(machine.dir, "two", HOST)
    machine.put("systemctl", SYSTEMCTL % machine.dir)
    machine.put("certbot", "exit 1\n")
    shutil.copy(POSTERN, machine.dir / "bin/postern")
    done = subprocess.run(["unshare", "-m", "-n", "sh", "-ec", FRESH.replace("POSTERN", "postern")], capture_output=True, text=True,
                          env={**machine.environment(), "TMP": str(machine.dir)}, timeout=6 * PATIENCE)
    assert done.returncode == 0, done

    def text(name):
        return (machine.dir / name).read_text()

    assert text("owners").splitlines() == [
        "755 root /etc/postern", "644 root /etc/postern/postern.conf", "600 root /etc/postern/tls/certificate.pem",
        "700 postern /var/lib/postern", "600 postern /var/lib/postern/accounts", "700 postern /var/mail/fresh.example",
        "711 postern /var/spool/postern", "755 root /etc/letsencrypt/renewal-hooks/deploy/postern"]
    first = text("first")
    assert "made      user postern" in first and "started   the service" in first and "behind" in first
    assert "Start the server" not in first and "certbot certonly" not in first        # there is a certificate
    assert 'state =' not in text("conf") and "sendmail" not in text("conf") and "listener" not in text("conf")
    assert text("checked") == "/etc/postern/postern.conf: no faults\n"
    assert "wrote" not in text("second") and "made" not in text("second").split("Records")[0]
    assert "enable --now postern.service" in text("calls")       # of the second run, for it had not started: nothing answers
    assert "there     the server: it runs\n" in text("fourth") and "reloaded  the running server" in text("deployed")
    assert "/var/mail/fresh.example/postmaster/new/" in text("mail.list")
    assert text("taken") == text("two.pem") + text("two.key")
    assert "ExecStart=/etc/postern/tls/renew\n" in text("postern-certificate.service") and "OnCalendar=daily" in text("postern-certificate.timer")
    assert "enable --now postern-certificate.timer" in text("calls")


# ---- to the first mail ---------------------------------------------------------------------------------

def judge(machine, message, resolver):
    """What a second server makes of it."""
    done = machine.run("verify", "--ip", "127.0.0.1", "--helo", HOST, "--mail-from", f"postmaster@{ZONE}", "--resolver", resolver, "--json",
                       stdin=message.decode())
    told = json.loads(done.stdout)
    return told["spf"]["result"], [d["result"] for d in told["dkim"]], told["dmarc"]["result"]


@needs_servers
def test_from_nothing_to_the_first_mail(machine):
    port = free_port(["127.0.0.1"])
    said = machine.setup("--format", "text", "--hostname", HOST).stdout
    (password,) = re.findall(r"has the password (\S+)\n", said)
    records = re.findall(r"^(\S+\.) (A|MX|TXT|SRV) (.*)$", said, re.M)
    records = [r for r in records if r[1] != "A"] + [(HOST + ".", "A", "127.0.0.1")]
    hop = Hop()
    with Authorities({ZONE: ""}) as world:
        conf = machine.conf.read_text().replace("keys {}", "keys { look = 2s first-look = 1s }")
        machine.conf.write_text(conf + f'listener "submissions" {{ address = {{"127.0.0.1:{port}"}} role = submission tls = implicit }}\n'
                                f'resolver {{ forward = {{"{world.resolver}"}} trust-anchor = "" authority-port = {world.port} timeout = 2s }}\n'
                                f'relay {{ smarthost = "{hop.at}" smarthost-tls = may source = {{"127.0.0.1"}} }}\n')
        assert "no faults" in machine.run("check", "-c", machine.conf).stdout
        server = subprocess.Popen([machine.program, "serve", "-c", machine.conf], stderr=subprocess.PIPE, cwd="/", text=True, **machine.user)
        log, started = [], threading.Event()

        def read():
            for line in server.stderr:
                log.append(line)
                if "server.started" in line:
                    started.set()
            started.set()
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            assert started.wait(PATIENCE) and server.poll() is None, log
            # A second run, beside the server: it waits, the records are pasted, the keys sign.
            waiting = subprocess.Popen([machine.program, "setup", ZONE, "--etc", machine.etc, "--wait"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", text=True, **machine.user)
            lines = []
            while not any(x.startswith("waiting") and "_domainkey" in x for x in lines):
                lines.append(waiting.stdout.readline())
                assert lines[-1], (lines, waiting.stderr.read())
            world.change(ZONE, "\n".join(cut(*r) for r in records))
            rest, errors = waiting.communicate(timeout=4 * PATIENCE)
            assert waiting.returncode == 0, (lines, rest, errors, log)
            assert any("key.active" in x for x in log)
            send(port, password)
            end = time.monotonic() + PATIENCE
            while not hop.taken and time.monotonic() < end:
                with hop.changed:
                    hop.changed.wait(0.2)
            assert hop.taken, log
            assert judge(machine, hop.taken[0].text, world.resolver) == ("pass", ["pass", "pass"], "pass")
        finally:
            server.terminate()
            assert server.wait(PATIENCE) == 0, log[-20:]
            reader.join(PATIENCE)
            hop.close()


def cut(name, kind, value):
    """A line of the printed text, its long strings cut as a zone file needs it."""
    if kind == "TXT":
        text = value.strip('"')
        value = " ".join(f'"{text[i:i + 250]}"' for i in range(0, len(text), 250))
    return f"{name} {kind} {value}"


def send(port, password):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=PATIENCE) as s:
        s.login(f"postmaster@{ZONE}", password)
        s.sendmail(f"postmaster@{ZONE}", ["friend@far.example"],
                   f"From: postmaster@{ZONE}\r\nTo: friend@far.example\r\nSubject: the first\r\n\r\nHello.\r\n")
