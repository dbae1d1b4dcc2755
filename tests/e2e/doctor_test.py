# SPDX-License-Identifier: ISC
"""`postern doctor` against real name servers (nsd and knot, DNSSEC-signed), a running
server, its certificate and its MTA-STS policy: healthy, it finds nothing; each fault,
planted once, is found by the check that is there for it, in words that help."""

import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from authority import Authorities, free_port, missing   # noqa: E402
from dnsserver import DnsServer                         # noqa: E402
from server import POSTERN, Server                      # noqa: E402

pytestmark = pytest.mark.skipif(bool(missing()), reason="not here: " + ", ".join(missing()))

ZONE, REVERSE, LISTS, OTHER = "heal.example", "9.0.127.in-addr.arpa", "lists.example", "other.example"
HOST, AT = "mail.heal.example", "127.0.9.1"
PATIENCE = 60

CONFIG = """hostname = "mail.heal.example"
state = "{dir}/state"
user = "{user}"
loops = 1
listener "mx"          {{ address = {{"127.0.9.1:%(mx)d"}} role = inbound tls = starttls }}
listener "submissions" {{ address = {{"127.0.9.1:%(submissions)d"}} role = submission tls = implicit }}
domain "heal.example" {{
	dkim "s1" {{ }}
	deliver {{ maildir = "{dir}/mail/%%d/%%u" }}
}}
tls {{ certificate = {{"%(certs)s/mail.pem"}} key = {{"%(certs)s/mail.key"}} }}
web {{ address = {{"127.0.9.1:%(web)d"}} sts = enforce }}
relay {{ source = {{"127.0.9.1"}} ca = "%(certs)s/ca.pem" sts-port = %(web)d port = %(mx)d }}
verify {{ dnsbl "lists.example" {{ action = reject }} }}
resolver {{ forward = {{"%(resolver)s"}} trust-anchor = "%(anchor)s" authority-port = %(dns)d timeout = 2s records = "{dir}/records" }}
doctor {{ every = 0s outside-domain = "other.example" outside-name = "who.lists.example" }}
log {{ level = {level} }}
{extra}{limits}
"""


def run(*words, folder=None, stdin=None):
    done = subprocess.run([str(w) for w in words], cwd=folder, input=stdin, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


class Certificates:
    """An authority, and certificates by it: a good one, and others that are not."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-ca-"))
        os.chmod(self.dir, 0o755)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run("openssl", "req", "-x509", *curve, "-days", "99", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test Authority",
            "-addext", "basicConstraints=critical,CA:TRUE", folder=self.dir)
        run("openssl", "req", *curve, "-new", "-keyout", "mail.key", "-out", "mail.csr", "-subj", "/CN=mail", folder=self.dir)
        self.issue("mail", f"DNS:{HOST},DNS:mta-sts.{ZONE}", "90")
        self.issue("soon", f"DNS:{HOST},DNS:mta-sts.{ZONE}", "5")
        self.issue("named", "DNS:somebody.example", "90")
        (self.dir / "bare.pem").write_text((self.dir / "mail.leaf").read_text())
        os.chown(self.dir / "mail.key", *Server.owner())
        os.chmod(self.dir / "mail.key", 0o600)

    def issue(self, name, names, days):
        (self.dir / "ext").write_text(f"subjectAltName={names}\n")
        run("openssl", "x509", "-req", "-in", "mail.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
            "-extfile", "ext", "-out", f"{name}.leaf", folder=self.dir)
        (self.dir / f"{name}.pem").write_text((self.dir / f"{name}.leaf").read_text() + (self.dir / "ca.pem").read_text())

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def strings(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return " ".join(f'"{escaped[i:i + 250]}"' for i in range(0, len(escaped), 250))


def zone_line(record):
    value = strings(record["value"]) if record["type"] == "TXT" else record["value"]
    return f'{record["name"]}. {record["type"]} {value}'


class World:
    """Name servers, a server, and all that `postern dns` calls for."""

    def __init__(self):
        self.certs = Certificates()
        self.world = Authorities({ZONE: "", REVERSE: f"1 PTR {HOST}.", LISTS: self.lists(), OTHER: self.other()}, signed=True)
        self.world.__enter__()
        ports = []
        while len(ports) < 3:
            ports = list({*ports, free_port([AT])})
        self.names = {"mx": ports[0], "submissions": ports[1], "web": ports[2], "certs": self.certs.dir, "dns": self.world.port,
                      "resolver": self.world.resolver, "anchor": self.world.anchor}
        self.server = Server(config=CONFIG % self.names, accounts=["postmaster@" + ZONE], start=False)
        made = self.server.run("key", "generate", ZONE, "s1", "-c", str(self.server.file))
        assert made.returncode == 0, made.stderr
        self.server.start()
        self.healthy = self.called_for()
        self.world.change(ZONE, "\n".join(self.healthy))

    @staticmethod
    def lists():
        return '2.0.0.127 A 127.0.0.2\nwho TXT "127.0.9.1"'

    @staticmethod
    def other():
        return f'@ MX 10 mx\nmx A {AT}\n@ TXT "v=spf1 mx -all"\n_dmarc TXT "v=DMARC1; p=reject; rua=mailto:d@other.example"'

    def called_for(self):
        done = self.server.run("dns", "--format", "json", "-c", str(self.server.file))
        assert done.returncode == 0, done.stderr
        (domain,) = json.loads(done.stdout)["domains"]
        lines = {zone_line(r) for r in domain["records"] if r["name"].endswith(ZONE)}
        # The tests' port of MX hosts is another, DANE's name is not.
        return sorted(lines | {line.replace("_25._tcp", f'_{self.names["mx"]}._tcp') for line in lines})

    def close(self):
        try:
            self.server.close()
        finally:
            self.world.__exit__()
            self.certs.close()


@pytest.fixture(scope="module")
def world():
    w = World()
    yield w
    w.close()


class Findings(list):
    def of(self, check):
        return [f for f in self if f["check"] == check]

    def worst(self, *verdicts):
        return [f for f in self if f["verdict"] in verdicts]


def doctor(world, *words, status=None, file=None):
    done = world.server.run("doctor", *words, "--json", "-c", str(file or world.server.file), timeout=PATIENCE)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert done.returncode == (1 if told["faults"] else 0) and (status is None or status == done.returncode), done
    return Findings(told["checks"])


# What depends on the machine that the tests run on.
OF_THE_MACHINE = {"clock", "disk", "limits"}


def test_healthy(world):
    found = doctor(world, status=0)
    bad = [f for f in found.worst("fault", "warning") if f["check"] not in OF_THE_MACHINE]
    assert not bad, bad


# ---- a fault each ----------------------------------------------------------------

def without(*beginnings):
    return lambda lines: [x for x in lines if not x.startswith(beginnings)]


def instead(beginning, *others):
    def change(lines):
        assert any(x.startswith(beginning) for x in lines), (beginning, lines)
        return [x for x in lines if not x.startswith(beginning)] + list(others)
    return change


def altered(beginning, how):
    return lambda lines: [how(x) if x.startswith(beginning) else x for x in lines]


SPF, DMARC, KEY = f"{ZONE}. TXT", f"_dmarc.{ZONE}. TXT", f"s1._domainkey.{ZONE}. TXT"
MX, TLSA = f"{ZONE}. MX", f"_25._tcp.{HOST}. TLSA"

DOMAIN_CHECKS = ("hostname", "reverse", "servers", "dnssec", "mx", "records", "spf", "dkim", "dmarc", "dmarc-reports", "tls-reports",
                 "mta-sts", "tlsa")

# What is done to the zone; the checks that say fault, and those that warn; the check's own words.
ZONE_FAULTS = {
    "mail is brought elsewhere": (instead(MX, f"{ZONE}. MX 10 far.{ZONE}.", f"far.{ZONE}. A 127.0.9.77"),
                                  {"mx", "records", "spf", "mta-sts"}, set(), "mx", "mail is brought elsewhere"),
    "the MX host is an alias": (instead(MX, f"{ZONE}. MX 10 mx.{ZONE}.", f"mx.{ZONE}. CNAME {HOST}."),
                                {"mx", "records", "mta-sts"}, set(), "mx", "is an alias (CNAME)"),
    "there is no MX record": (without(MX), {"mx", "records", "spf"}, {"spf"}, "mx", "it has no MX record"),
    "the host leads elsewhere": (instead(f"{HOST}. A", f"{HOST}. A 127.0.9.77"),
                                 {"hostname", "reverse", "records", "spf", "mta-sts"}, {"hostname"}, "hostname",
                                 "an address that this host does not have"),
    "there is no SPF record": (without(SPF), {"spf", "records"}, set(), "spf", "no SPF record"),
    "SPF fails our own mail": (instead(SPF, f'{ZONE}. TXT "v=spf1 -all"'), {"spf"}, set(), "spf", 'mail from here gets "fail"'),
    "SPF is too wide": (instead(SPF, f'{ZONE}. TXT "v=spf1 mx +all"'), {"spf"}, set(), "spf", "+all"),
    "two SPF records": (lambda z: z + [f'{ZONE}. TXT "v=spf1 a -all"'], {"spf"}, set(), "spf", "SPF records"),
    "a key in small letters": (altered(KEY, str.lower), {"dkim"}, set(), "dkim", "capital and small letters"),
    "a key is not there": (without(KEY), {"dkim"}, set(), "dkim", "no such name"),
    "no DMARC record": (without(DMARC), set(), {"dmarc", "records"}, "dmarc", "there is no DMARC record"),
    "two DMARC records": (lambda z: z + [f'_dmarc.{ZONE}. TXT "v=DMARC1; p=reject"'], {"dmarc"}, set(), "dmarc",
                          "there are 2 DMARC records"),
    "DMARC without sense": (instead(DMARC, f'_dmarc.{ZONE}. TXT "v=DMARC1; p=perhaps"'), {"dmarc"}, set(), "dmarc", "cannot be read"),
    "reports to who does not want them": (instead(DMARC, f'_dmarc.{ZONE}. TXT "v=DMARC1; p=none; rua=mailto:x@other.example"'),
                                          {"dmarc-reports"}, set(), "dmarc-reports", "does not say that it takes them"),
    "TLS reports to nobody": (instead(f"_smtp._tls.{ZONE}.", f'_smtp._tls.{ZONE}. TXT "v=TLSRPTv1;"'), {"tls-reports"}, set(),
                              "tls-reports", "names nobody"),
    "TLSA of another key": (instead(TLSA, f"{TLSA} 3 1 1 {'ab' * 32}"), {"tlsa"}, {"records"}, "tlsa",
                            "no TLSA record fits the certificate"),
    "the policy's id is old": (instead(f"_mta-sts.{ZONE}.", f'_mta-sts.{ZONE}. TXT "v=STSv1; id=20200101"'), set(),
                               {"mta-sts", "records"}, "mta-sts", "the record's id is not the policy's"),
    "the policy cannot be fetched": (without(f"mta-sts.{ZONE}."), {"mta-sts"}, set(), "mta-sts", "announced and cannot be had"),
}


def of_the_house(findings, *verdicts):
    return {f["check"] for f in findings.worst(*verdicts)} - OF_THE_MACHINE


def says(findings, check, words):
    hit = [f for f in findings.of(check) if words in f["seen"]]
    assert hit and (hit[0]["todo"] or hit[0]["verdict"] == "note"), findings.of(check)


@pytest.mark.parametrize("name", ZONE_FAULTS)
def test_a_fault_in_the_zone(world, name):
    change, faults, warnings, check, words = ZONE_FAULTS[name]
    world.world.change(ZONE, "\n".join(change(world.healthy)))
    found = doctor(world, "--only", ",".join(DOMAIN_CHECKS))
    assert of_the_house(found, "fault") == faults, found.worst("fault", "warning")
    assert of_the_house(found, "warning") == warnings, found.worst("fault", "warning")
    says(found, check, words)



def test_servers_that_do_not_agree(world):
    late, healthy = world.world.servers[1], "\n".join(world.healthy)
    world.world.change(ZONE, healthy)
    late.change(ZONE, healthy.replace("p=none", "p=reject"))
    found = doctor(world, "--only", "servers", status=1)
    says(found, "servers", "p=reject")
    says(found, "servers", "one lags behind")
    world.world.change(ZONE, healthy)
    late.stop()
    try:
        found = doctor(world, "--only", "servers,dkim", status=0)
        says(found, "servers", "it does not answer")
        assert [f["about"] for f in found.worst("warning")] == [f"ns2.{ZONE} ({late.address})"], found
    finally:
        late.start()


def test_names_that_do_not_lead_back(world):
    world.world.change(ZONE, "\n".join(world.healthy))
    for zone, verdict, words in (("", "fault", "the address has no name"), ("1 PTR mx.other.example.", "warning", "says mail.heal.example in HELO"),
                                 ("1 PTR nobody.other.example.", "fault", "does not lead back to it")):
        world.world.change(REVERSE, zone)
        found = doctor(world, "--only", "reverse")
        assert [f["verdict"] for f in found] == [verdict], found
        says(found, "reverse", words)
    world.world.change(REVERSE, f"1 PTR {HOST}.")


def test_block_lists(world):
    on = '\n1.9.0.127 A 127.0.0.3\n1.9.0.127 TXT "sent spam last week"'
    for zone, verdict, words in ((world.lists() + on, "fault", "sent spam last week"),
                                 ("who TXT nothing", "warning", "its test entry 127.0.0.2 is not on it"),
                                 (world.lists() + "\n1.0.0.127 A 127.0.0.2", "warning", "it lists 127.0.0.1"),
                                 (world.lists() + "\n1.0.0.127 A 127.255.255.254", "warning", "refuse the resolver")):
        world.world.change(LISTS, zone)
        found = doctor(world, "--only", "blocklists")
        assert [f["verdict"] for f in found] == [verdict], found
        says(found, "blocklists", words)
    world.world.change(LISTS, world.lists())


# What is changed in the configuration; its check; the verdict; its words.
HOST_FAULTS = {
    "a certificate that ends soon": ("mail.pem", "soon.pem", "certificate", "warning", "runs out in"),
    "a certificate for another": ("mail.pem", "named.pem", "certificate", "fault", "it is made for somebody.example"),
    "a certificate without its chain": ("mail.pem", "bare.pem", "certificate", "warning", "without its issuer's"),
    "a certificate that is not there": ("mail.pem", "none.pem", "certificate", "fault", "none.pem"),
    "nothing is validated": ('trust-anchor = "', 'trust-anchor = "/nowhere', "resolver", "warning", "nothing is validated"),
    "a device that may do all": ("doctor {", 'device "scan" {{ address = {{"192.0.2.7"}} as = "postmaster@heal.example" to = any }}\ndoctor {',
                                 "devices", "note", 'device "scan" (192.0.2.7) as postmaster@heal.example may send to anybody'),
    "a listener that does not listen": ("127.0.9.1:%(mx)d", "127.0.9.8:%(mx)d", "ports", "fault", "listener mx does not answer"),
    "a smarthost out of reach": ("relay {{", 'relay {{ smarthost = "127.0.9.8:25"', "outgoing", "fault", "the smarthost cannot be reached"),
    "no certificate": ('tls {{ certificate = {{"%(certs)s/mail.pem"}} key = {{"%(certs)s/mail.key"}} }}', "", "certificate", "warning",
                       "signed itself"),
    "TLS 1.3 alone": ("tls {{ ", 'tls {{ minimum = "1.3" ', "tls", "note", "only TLS 1.3 is spoken"),
    "no block list": ('verify {{ dnsbl "lists.example" {{ action = reject }} }}', "", "blocklists", "note", "no block list"),
}


@pytest.mark.parametrize("name", HOST_FAULTS)
def test_a_fault_of_the_host(world, name):
    old, new, check, verdict, words = HOST_FAULTS[name]
    text, old = CONFIG % world.names, old % world.names
    assert text.count(old) == 1, old
    text = text.replace(old, new % world.names)
    file = world.server.dir / "other.conf"
    file.write_text(text.format(dir=world.server.dir, user=pwd.getpwuid(Server.owner()[0]).pw_name, level="info", limits="", extra="", dns=""))
    found = doctor(world, "--only", check, file=file)
    assert verdict in [f["verdict"] for f in found], found
    says(found, check, words)


def test_who_may_read_what(world):
    key = world.server.dir / "state/keys" / ZONE / "s1.pem"
    key.chmod(0o644)
    try:
        found = doctor(world, "--only", "files", status=1)
    finally:
        key.chmod(0o600)
    assert found[0]["about"] == str(key) and "others can read it" in found[0]["seen"] and f"`chmod 0600 {key}`" in found[0]["todo"]


def test_a_public_resolver_is_named_and_not_asked(world):
    file = world.server.dir / "other.conf"
    file.write_text(world.server.file.read_text().replace(f'forward = {{"{world.world.resolver}"}}', 'forward = {"8.8.8.8:53"}'))
    assert "8.8.8.8" in file.read_text()
    found = doctor(world, "--only", "resolver", "--resolver", world.world.resolver, file=file)
    says(found, "resolver", "8.8.8.8:53 (Google)")


# ---- somebody else's domain -----------------------------------------------------------

ELSEWHERE = """
plain.example MX 10 mx.plain.example
mx.plain.example A 127.0.9.99
plain.example TXT v=spf1 include:gone.example ?all
_dmarc.plain.example TXT v=DMARC1; p=none; rua=mailto:x@third.example
null.example MX 0 .
alias.example MX 10 www.alias.example
www.alias.example CNAME mx.plain.example
"""


def partner(dns, domain, *words):
    done = subprocess.run([POSTERN, "doctor", domain, "--resolver", dns.address, "--json", *words], capture_output=True,
                          text=True, timeout=PATIENCE)
    return Findings(json.loads(done.stdout)["checks"])


def test_a_partner_needs_no_configuration():
    with DnsServer(ELSEWHERE) as dns:
        found = partner(dns, "plain.example")
        assert {f["check"] for f in found.worst("fault")} == {"servers", "spf", "dmarc-reports"}, found
        says(partner(dns, "alias.example"), "mx", "an alias")
        assert [f["verdict"] for f in partner(dns, "null.example").of("mx")] == ["note"]
        assert [f["verdict"] for f in partner(dns, "nowhere.example").of("mx")] == ["fault"]
        asked = {q.name for q in dns.asked()}
        assert all(n == "example" or n.endswith(("plain.example", "gone.example", "null.example", "alias.example", "nowhere.example",
                                                 "third.example")) for n in asked), asked


SHIM = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build")) / "tests/crash/address_shim.so"


def addresses(world, *words):
    """Whom the verb connects and sends to."""
    file = world.server.dir / "state/addresses"
    file.unlink(missing_ok=True)
    world.server.run("doctor", *words, "--json", "-c", str(world.server.file), env={**os.environ, "LD_PRELOAD": str(SHIM),
                                                                                   "ADDRESSES": str(file)})
    return {tuple(line.split()) for line in file.read_text().splitlines()}


@pytest.mark.skipif(os.environ.get("POSTERN_VARIANT", "plain") != "plain", reason="a preloaded library and a sanitizer do not mix")
def test_no_stranger_is_asked(world):
    """Of our own house: name servers, our listeners and our web server; of the other's: its name servers."""
    known = {(s.address, str(world.world.port)) for s in world.world.servers}
    ours = {(AT, str(world.names[p])) for p in ("mx", "submissions", "web")}
    assert addresses(world) == known | ours
    assert addresses(world, "other.example") == known
    assert addresses(world, "--outside", "other.example") == known | {(AT, str(world.names["mx"]))}


def test_outside_asks_more(world):
    found = doctor(world, "--only", "outgoing,asker", "--outside", status=0)
    assert [(f["check"], f["verdict"]) for f in found] == [("outgoing", "ok"), ("asker", "ok")], found
    found = doctor(world, "--only", "outgoing,asker", status=0)
    assert [(f["verdict"], f["known"]) for f in found] == [("note", False)] * 2, found


# ---- words, usage ----------------------------------------------------------------------

def test_the_manual_has_every_check_and_the_verb_knows_them():
    text = (ROOT / "etc/man/postern-doctor.8").read_text()
    table = re.findall(r'^\t\{ "([a-z-]+)", CHECK_', (ROOT / "smtpd/setup/doctor/table.c").read_text(), re.M)
    assert len(table) > 20 and re.findall(r"^\.It Cm ([a-z-]+)$", text, re.M)[4:] == table


def test_wrong_usage(world):
    for words, said in ((["--only", "everything"], 'there is no check "everything"'), (["no domain"], "is not a domain name"),
                        (["--for", "3m"], "--for goes with --wait"), (["a.example", "b.example"], "unexpected word"),
                        (["--wait", "other.example"], "watches the records of this server's own domains")):
        done = world.server.run("doctor", *words, "-c", str(world.server.file))
        assert done.returncode == 2 and said in done.stderr, done


def test_what_a_person_reads(world):
    done = world.server.run("doctor", "--only", "spf,mx,devices", "-c", str(world.server.file))
    assert done.returncode == 0 and not done.stderr, done
    assert done.stdout.startswith(f"{HOST}, this host\n  ok       devices       no device may"), done.stdout
    assert f"\n\n{ZONE}\n  ok       mx            1 MX host" in done.stdout and done.stdout.endswith("0 faults, 0 warnings, 0 notes, 4 ok\n")


# ---- watching ------------------------------------------------------------------------------

def test_wait_tells_each_record_as_it_comes(world):
    world.world.change(ZONE, "\n".join(without(KEY, SPF, f"_imaps._tcp.{ZONE}.")(world.healthy)))
    waiting = subprocess.Popen([world.server.program, "doctor", "--wait", "--for", "1m", "-c", str(world.server.file)], cwd="/", text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, **world.server.as_user)
    lines = []
    while not any(x.startswith("waiting") and KEY[:-5] in x for x in lines):       # the last but one of a round
        lines.append(waiting.stdout.readline())
        assert lines[-1], waiting.stderr.read()
    assert f"ok       {ZONE} MX\n" in lines and any(x.startswith(f"waiting  {ZONE} TXT") for x in lines), lines
    world.world.change(ZONE, "\n".join(world.healthy))
    rest, errors = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 0, (rest, errors)
    assert f"ok       {ZONE} TXT\n" in rest and f"ok       {KEY.replace('.' + ' ', ' ')}\n" in rest, rest
    assert rest.endswith("Every record that mail needs is there. `postern doctor` looks at everything else.\n"), rest


def test_wait_gives_up(world):
    world.world.change(ZONE, "\n".join(without(SPF)(world.healthy)))
    done = world.server.run("doctor", "--wait", "--for", "1ms", "--json", "-c", str(world.server.file))
    told = json.loads(done.stdout)
    missing_ones = [r["name"] for r in told["records"] if r["needed"] and not r["there"]]
    assert done.returncode == 75 and missing_ones == [ZONE] and told["complete"] is False, done
    assert "1 record that mail needs is still missing" in done.stderr


def test_wait_ends_when_managed_keys_sign(world):
    """The server makes the keys; once DNS shows them, and a second look agrees, they sign."""
    text = CONFIG.replace('dkim "s1" {{ }}', 'keys {{ prepare = 1 algorithms = {{"ed25519"}} look = 2s first-look = 1s }}') % world.names
    for port in ("mx", "submissions", "web"):
        text = text.replace(f":{world.names[port]}\"", f":{free_port([AT])}\"")
    with Server(config=text, accounts=[], start=False) as s:
        world.world.change(ZONE, "\n".join(without(KEY)(world.healthy)))
        s.start()
        s.wait("key.prepared")
        waiting = subprocess.Popen([s.program, "doctor", "--wait", "--for", "1m", "-c", str(s.file)], cwd="/", text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **s.as_user)
        while not (line := waiting.stdout.readline()).startswith("waiting") or "_domainkey" not in line:
            assert line, waiting.stderr.read()
        told = json.loads(s.run("dns", "--format", "json", "-c", str(s.file)).stdout)["domains"][0]["records"]
        world.world.change(ZONE, "\n".join(without(KEY)(world.healthy) + [zone_line(r) for r in told if "._domainkey." in r["name"]]))
        rest, errors = waiting.communicate(timeout=PATIENCE)
        assert waiting.returncode == 0 and "_domainkey" in rest and s.find("key.active"), (rest, errors)


def test_the_server_tells_a_change_once(world):
    """Every second, here: the second look confirms; what is as it was is not told.  The domain's
    own servers are asked past the cache of the server's resolver."""
    server, box = world.server, "postmaster@" + ZONE
    world.world.change(ZONE, "\n".join(world.healthy))
    text = server.file.read_text()
    since = server.mark()
    try:
        server.file.write_text(text.replace("every = 0s", "every = 1s"))
        assert server.run("reload", "-c", str(server.file)).returncode == 0
        server.wait("doctor.looked", since=since, changes="0", sure="yes")
        server.until((server.dir / "state/doctor.json").exists, "its memory")
        assert not server.messages(box) and (server.dir / "state/doctor.json").stat().st_mode & 0o777 == 0o600
        since = server.mark()
        world.world.change(ZONE, "\n".join(instead(MX, f"{ZONE}. MX 10 mx.other.example.")(world.healthy)))
        server.wait("doctor.looked", since=since, sure="no")
        fault = server.wait("doctor.fault", since=since, check="records", subject=ZONE)
        assert "DNS shows 10 mx.other.example., the configuration calls for" in fault["seen"]
        (letter,) = server.mail(box)
        told = server.mark()
        server.wait("doctor.looked", since=told, changes="0")
        server.wait("doctor.looked", since=server.mark(), changes="0")
        assert len(server.messages(box)) == 1
    finally:
        server.file.write_text(text)
        assert server.run("reload", "-c", str(server.file)).returncode == 0
    letter = letter.decode()
    assert "Subject: mail.heal.example: 1 new fault" in letter and "Auto-Submitted: auto-generated" in letter
    assert f"{ZONE}, records, {ZONE} MX" in letter and "is   fault: DNS shows 10 mx.other.example." in letter, letter
    assert "do   `postern dns heal.example` prints it" in letter, letter
    assert "DKIM-Signature:" in letter and "d=heal.example" in letter
