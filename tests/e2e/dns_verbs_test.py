# SPDX-License-Identifier: ISC
"""dns, spf build, spf check, dmarc plan: what they print is taken by other people's
programs, and says what is wrong with records that are."""

import hashlib
import json
import os
import pathlib
import pty
import re
import subprocess
import sys

import pytest
import spf as pyspf

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib")]
from dnsserver import DnsServer  # noqa: E402

POSTERN = os.path.abspath(os.environ.get("POSTERN", HERE.parents[1] / "build/postern"))
PATIENCE = 120
DAY = 86400
CONF = """hostname = "mail.example.org"
state = "{dir}/state"
domain "example.org" {{ dkim "s1" {{}} dkim "e1" {{}} dmarc {{ policy = quarantine missing = reject
    reports = {{"dmarc@example.org", "dmarc@reports.test"}} }} }}
domain "other.test" {{ dmarc {{ reports = {{"in+box@example.org"}} }} }}
domain "sub.example.org" {{}}
relay {{ source = {{"192.0.2.25", "2001:db8::25"}} }}
web {{ address = {{"127.0.0.1:0"}} }}
tls {{ certificate = {{"{dir}/cert.pem"}} key = {{"{dir}/key.pem"}} }}
log {{ to = stderr }}
"""


def run(*words, status=0, stdin=subprocess.DEVNULL):
    done = subprocess.run([str(w) for w in words], stdin=stdin, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout


class House:
    def __init__(self, folder):
        self.dir = folder
        self.conf = folder / "postern.conf"
        (folder / "state").mkdir()
        self.conf.write_text(CONF.format(dir=folder))
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj",
            "/CN=mail", "-addext", "subjectAltName=DNS:mail.example.org", "-keyout", folder / "key.pem", "-out", folder / "cert.pem")
        self.run("key", "generate", "example.org", "s1")
        self.run("key", "generate", "example.org", "e1", "--algorithm", "ed25519")

    def run(self, *words, status=0):
        return run(POSTERN, *words, "-c", self.conf, status=status)

    def json(self, *words, status=0):
        flag = () if "--format" in words else ("--json",)
        return json.loads(self.run(*words, *flag, status=status))

    def records(self, domain="example.org"):
        return self.json("dns", domain, "--format", "json")["domains"][0]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return House(tmp_path_factory.mktemp("dns"))


def find(records, name, rtype):
    found = [r for r in records if (r["name"], r["type"]) == (name, rtype)]
    assert len(found) == 1, (name, rtype, [(r["name"], r["type"]) for r in records])
    return found[0]


# ---- postern dns ----------------------------------------------------------------

def test_all_that_the_configuration_calls_for_is_there(house):
    told = house.records()
    have = {(r["name"].replace(".example.org", ""), r["type"]) for r in told["records"]}
    assert have == {
        ("example.org", "MX"), ("mail", "A"), ("mail", "AAAA"), ("mail", "TXT"), ("example.org", "TXT"), ("s1._domainkey", "TXT"),
        ("e1._domainkey", "TXT"), ("_dmarc", "TXT"), ("other.test._report._dmarc", "TXT"), ("_smtp._tls", "TXT"), ("mta-sts", "CNAME"),
        ("_mta-sts", "TXT"), ("_25._tcp.mail", "TLSA"), ("_submissions._tcp", "SRV"), ("_submission._tcp", "SRV"), ("_imaps._tcp", "SRV"),
        ("autoconfig", "CNAME"), ("autodiscover", "CNAME"), ("_autodiscover._tcp", "SRV")}
    elsewhere = {(r["name"], r["type"], r["value"]) for r in told["elsewhere"]}
    assert elsewhere == {
        ("25.2.0.192.in-addr.arpa", "PTR", "mail.example.org."),
        ("5.2.0.0" + ".0" * 20 + ".8.b.d.0.1.0.0.2.ip6.arpa", "PTR", "mail.example.org."),
        ("example.org._report._dmarc.reports.test", "TXT", "v=DMARC1")}
    assert all(r["ask_of"] for r in told["elsewhere"])
    assert find(told["records"], "_dmarc.example.org", "TXT")["value"] == (
        "v=DMARC1; p=quarantine; np=reject; rua=mailto:dmarc@example.org,mailto:dmarc@reports.test")
    assert "version: STSv1" in told["documents"]["mta_sts"]
    ours = house.records("other.test")["records"]
    assert find(ours, "_dmarc.other.test", "TXT")["value"] == "v=DMARC1; p=none; rua=mailto:in+box@example.org"
    assert find(house.records("sub.example.org")["records"], "_dmarc.sub.example.org", "TXT")["value"].endswith(
        "rua=mailto:postmaster@sub.example.org")


def test_the_zone_form_is_a_zone_file(house, tmp_path):
    zone = tmp_path / "example.org.zone"
    zone.write_text("example.org. 3600 IN SOA ns.example.org. host.example.org. 1 3600 600 86400 300\nexample.org. 3600 IN NS ns.example.org.\n"
                    "ns.example.org. 3600 IN A 192.0.2.53\n" + house.run("dns", "example.org", "--format", "zone"))
    run("nsd-checkzone", "example.org", zone)
    read = [line.split("\t") for line in run("ldns-read-zone", zone).splitlines()]
    have = {(f[0].rstrip("."), f[3]): f[4] for f in read if f[3] != "SOA"}
    wanted = house.records()["records"]
    assert len(wanted) == len(have) - 2
    for r in wanted:
        got = have[r["name"], r["type"]]
        if r["type"] == "TXT":
            strings = re.findall(r'"([^"]*)"', got)
            assert strings == r["strings"] and "".join(strings) == r["value"]
        else:
            assert got.lower() == r["value"]


def test_the_text_form_is_one_line_each(house):
    told = house.records()
    lines = house.run("dns", "example.org", "--format", "text").splitlines()
    assert sorted(lines) == sorted(r["line"] for r in told["records"] + told["elsewhere"])
    for line in lines:
        assert re.match(r'[a-z0-9._-]+\. (MX|A|AAAA|TXT|CNAME|TLSA|SRV|PTR) \S', line), line


def test_the_form_says_host_value_length_and_where_it_is_cut(house):
    text = house.run("dns", "example.org")
    key = find(house.records()["records"], "s1._domainkey.example.org", "TXT")
    block = next(b for b in text.split("\n\n") if "s1._domainkey" in b)
    assert "host     s1._domainkey " in block
    assert f"  value    {key['value']}\n" in block and f" {len(key['value'])} octets" in block
    cuts = re.findall(r'^ +"(.*)"$', block, re.M)
    assert cuts == key["strings"] and "".join(cuts) == key["value"] and all(len(c) <= 255 for c in cuts)
    left, right = re.search(r"cut after octet 255: …(.*) \| (.*)…", block).groups()
    assert cuts[0].endswith(left) and cuts[1].startswith(right)
    assert re.search(r"host     @ .*\n  type     MX\n  priority 10\n  value    mail.example.org.\n", text)
    assert "weight   1\n  port     465\n" in text
    assert "ask      the provider of 192.0.2.25" in text


def test_the_tlsa_record_is_that_of_the_certificate(house):
    tlsa = find(house.records()["records"], "_25._tcp.mail.example.org", "TLSA")
    public = run("openssl", "x509", "-in", house.dir / "cert.pem", "-noout", "-pubkey")
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=public.encode(), capture_output=True, check=True).stdout
    assert tlsa["value"] == "3 1 1 " + hashlib.sha256(der).hexdigest()
    assert "DNSSEC" in tlsa["note"] and "same key" in tlsa["note"]
    judged = run("ldns-dane", "-c", house.dir / "cert.pem", "create", "mail.example.org", "25", "3", "1", "1")
    assert tlsa["value"].split()[-1] in judged.lower()


# ---- postern spf build -------------------------------------------------------------

ZONE = """
mail.sends.test A 192.0.2.1
sends.test MX 10 mail.sends.test
sends.test A 198.51.100.9
sends.test TXT v=spf1 -all
_spf.far.test TXT v=spf1 ip4:203.0.113.0/24 -all
"""


def judge(record, zone, ip, monkeypatch):
    """python3-spf on a zone of our own."""
    held = {}
    for line in zone.strip().splitlines():
        name, rtype, data = line.split(" ", 2)
        if name == "sends.test" and rtype == "TXT":
            data = record
        value = {"MX": lambda: (int(data.split()[0]), data.split()[1]), "TXT": lambda: (data.encode(),)}.get(rtype, lambda: data)()
        held.setdefault((name, rtype), []).append(((name, rtype), value))
    monkeypatch.setattr(pyspf, "DNSLookup", lambda name, qtype, *a, **k: held.get((name.rstrip(".").lower(), qtype), []))
    return pyspf.check2(i=ip, s="u@sends.test", h="mail.sends.test")[0]


@pytest.mark.parametrize("words, record, passes, others", [
    (("--mx",), "v=spf1 mx ~all", ["192.0.2.1"], "softfail"),
    (("--mx", "--a", "--all", "fail"), "v=spf1 mx a -all", ["192.0.2.1", "198.51.100.9"], "fail"),
    (("--ip", "192.0.2.128/25", "--ip", "2001:db8::/32", "--include", "_spf.far.test", "--all", "softfail"),
     "v=spf1 ip4:192.0.2.128/25 ip6:2001:db8::/32 include:_spf.far.test ~all", ["192.0.2.200", "2001:db8::1", "203.0.113.5"], "softfail"),
    (("--all", "fail"), "v=spf1 -all", [], "fail"),
])
def test_what_build_writes_another_library_takes(words, record, passes, others, monkeypatch):
    with DnsServer(ZONE) as dns:
        told = json.loads(run(POSTERN, "spf", "build", "sends.test", *words, "--json", "--resolver", dns.address))
        text = run(POSTERN, "spf", "build", "sends.test", *words, "--resolver", dns.address)
    assert told["record"]["value"] == record and told["findings"] == []
    assert told["published"] == "v=spf1 -all" and (record == "v=spf1 -all" or "takes the place of" in text)
    assert f'sends.test. 3600 IN TXT "{record}"' in text and f'sends.test. TXT "{record}"' in text and f"{len(record)} octets" in text
    for ip in passes:
        assert judge(record, ZONE, ip, monkeypatch) == "pass", ip
    assert judge(record, ZONE, "100.64.0.1", monkeypatch) == others


def test_build_says_what_is_said_twice_dead_or_too_much():
    with DnsServer(ZONE) as dns:
        at = ("--resolver", dns.address)
        twice = run(POSTERN, "spf", "build", "sends.test", "--mx", "--ip", "192.0.2.1", *at)
        assert "ip4:192.0.2.1 is covered by mx" in twice
        dead = run(POSTERN, "spf", "build", "sends.test", "--include", "gone.test", *at, status=1)
        assert "gone.test, which the record of sends.test leads to, does not exist" in dead
        many = [w for i in range(11) for w in ("--include", f"n{i}.far.test")]
        assert "11 look-ups, 10 are allowed" in run(POSTERN, "spf", "build", "sends.test", *many, *at, status=1)
        long = [w for i in range(40) for w in ("--ip", f"198.51.100.{i + 50}")]
        assert re.search(r"the record has \d+ octets: over 450", run(POSTERN, "spf", "build", "sends.test", *long, *at))
    assert run(POSTERN, "spf", "build", "sends.test", status=2) == ""         # no terminal, no questions
    run(POSTERN, "spf", "build", "sends.test", "--ip", "192.0.2.300", status=2)


def test_build_asks_on_a_terminal():
    with DnsServer(ZONE) as dns:
        ours, its = pty.openpty()
        child = subprocess.Popen([POSTERN, "spf", "build", "sends.test", "--resolver", dns.address], stdin=its, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        os.close(its)
        os.write(ours, b"y\nn\nrubbish\n203.0.113.0/28\n\n_spf.far.test\n\nn\n")
        out, err = child.communicate(timeout=PATIENCE)
        os.close(ours)
    assert child.returncode == 0, err
    assert "v=spf1 mx ip4:203.0.113.0/28 include:_spf.far.test ~all" in out
    assert err.count("[Y/n]") == 1 and err.count("[y/N]") == 2
    assert "covered by ip4:203.0.113.0/24 in the record of _spf.far.test" in out


# ---- postern spf check ---------------------------------------------------------------

TREE = """
good.test TXT v=spf1 mx include:far.test -all
good.test MX 10 m.good.test
m.good.test A 192.0.2.1
far.test TXT v=spf1 ip4:203.0.113.0/24 a:gone.test ~all
world.test TXT v=spf1 include:far.test +all
perhaps.test TXT v=spf1 ?all
dead.test TXT v=spf1 include:gone.test -all
slow.test TXT SERVFAIL
"""


@pytest.fixture(scope="module")
def tree():
    with DnsServer(TREE) as dns:
        yield dns


def test_check_draws_the_tree(tree):
    text = run(POSTERN, "spf", "check", "good.test", "--resolver", tree.address)
    lines = text.splitlines()
    assert lines[0] == "good.test"
    assert re.fullmatch(r"\|- mx +1 look-up.*", lines[1])
    assert re.fullmatch(r"\|- include:far\.test +2 look-ups, 1 void", lines[2])
    assert lines[3].startswith("|  |- ip4:203.0.113.0/24")
    assert re.fullmatch(r"\|  \|- a:gone\.test +1 look-up, 1 void; void", lines[4])
    assert lines[6].startswith("`- -all")
    assert "3 of 10 look-ups, 1 of 2 voids" in text and "a void is a look-up that finds nothing" in text


@pytest.mark.parametrize("domain, status, says", [
    ("good.test", 0, "note     a:gone.test is dead"),
    ("world.test", 1, "fault    +all: the whole world"),
    ("perhaps.test", 0, "warning  ?all"),
    ("dead.test", 1, "dead: no such domain"),
    ("none.test", 1, "fault    none.test does not exist"),
    ("slow.test", 75, "no answer"),
])
def test_check_says_what_is_wrong(tree, domain, status, says):
    text = run(POSTERN, "spf", "check", domain, "--resolver", tree.address, status=status)
    assert says in text, text
    told = json.loads(run(POSTERN, "spf", "check", domain, "--resolver", tree.address, "--json", status=status))
    assert told["tree"]["domain"] == domain
    assert (status == 1) == any(f["severity"] == "fault" for f in told["findings"])
    assert all(f["todo"] for f in told["findings"] if f["severity"] != "note")


# ---- postern dmarc plan ----------------------------------------------------------------

def zone_of(house, dmarc, leave_out=(), spf="v=spf1 mx -all"):
    lines = ["example.org MX 10 mail.example.org", "mail.example.org A 192.0.2.25", f"example.org TXT {spf}"]
    for r in house.records()["records"]:
        if "_domainkey" in r["name"] and r["name"].split(".")[0] not in leave_out:
            lines.append(f"{r['name']} TXT {r['value']}")
    if dmarc:
        lines.append(f"_dmarc.example.org TXT {dmarc}")
    return "\n".join(lines) + "\n"


def plan(house, dmarc, *more, **kinds):
    extra = kinds.pop("extra", "")
    with DnsServer(zone_of(house, dmarc, **kinds) + extra) as dns:
        return house.json("dmarc", "plan", "example.org", "--resolver", dns.address, *more)


def against(told):
    return [w["text"] for w in told["seen"] if w["against"]]


RUA = "rua=mailto:dmarc@example.org"


def test_the_way_from_nothing_to_reject(house):
    start, told = 1_700_000_000, plan(house, None, "--now", "1700000000")
    assert told["step"] == "begin" and told["next"]["value"].startswith("v=DMARC1; p=none; rua=mailto:dmarc@example.org")
    told = plan(house, f"v=DMARC1; p=none; {RUA}", "--now", start)
    assert told["step"] == "stay" and told["wait_days"] == 14 and told["next"] is None and len(against(told)) == 1
    told = plan(house, f"v=DMARC1; p=none; {RUA}", "--now", start + 9 * DAY)
    assert told["step"] == "stay" and told["wait_days"] == 5 and "seen for 9 days" in against(told)[0]
    told = plan(house, f"v=DMARC1; p=none; {RUA}", "--now", start + 14 * DAY)
    assert (told["step"], told["safe_policy"]) == ("go-on", "quarantine")
    assert told["next"]["value"] == f"v=DMARC1; p=quarantine; np=reject; {RUA}"
    told = plan(house, told["next"]["value"], "--now", start + 15 * DAY)
    assert told["step"] == "stay" and told["wait_days"] == 14
    told = plan(house, f"v=DMARC1; p=quarantine; np=reject; {RUA}", "--now", start + 30 * DAY)
    assert (told["step"], told["next"]["value"]) == ("go-on", f"v=DMARC1; p=reject; {RUA}")
    assert any("mailing lists" in w["text"] for w in told["seen"])
    told = plan(house, f"v=DMARC1; p=reject; {RUA}", "--now", start + 40 * DAY)
    assert told["step"] == "done" and told["next"] is None
    assert any("sub.example.org falls under" in w["text"] for w in told["seen"])


@pytest.mark.parametrize("dmarc, kinds, words", [
    ("v=DMARC1; p=none", {}, "names no address for reports"),
    (f"v=DMARC1; p=none; {RUA}", {"leave_out": ("s1",)}, "the key s1 signs, but DNS shows nothing for it"),
    (f"v=DMARC1; p=none; {RUA}", {"leave_out": ("e1",), "extra": "e1._domainkey.example.org TXT v=DKIM1; k=ed25519; p=AAAA\n"},
     "the key e1 signs, but DNS shows another record"),
    (f"v=DMARC1; p=none; {RUA}", {"spf": "v=spf1 include:gone.test -all"}, "SPF is broken: gone.test"),
    ("v=DMARC1; p=none; rua=mailto:r@reports.test", {}, "reports to r@reports.test are never sent"),
    (f"v=DMARC1; p=none; {RUA}", {"leave_out": ("s1",), "extra": "s1._domainkey.example.org TXT SERVFAIL\n"}, "DNS did not say what it has for the key s1"),
])
def test_what_speaks_against_a_step(house, dmarc, kinds, words):
    told = plan(house, dmarc, "--since", "2020-01-01", **kinds)
    assert told["step"] == "stay" and told["safe_policy"] == "none"
    assert len(against(told)) == 1 and words in against(told)[0], told["seen"]
    assert (told["next"] is None) == ("rua=" in dmarc)


def test_consent_elsewhere_old_tags_and_testing(house):
    told = plan(house, "v=DMARC1; p=quarantine; pct=20; t=y; ri=3600; adkim=s; rua=mailto:r@reports.test!10m", "--since", "2020-01-01",
                extra="example.org._report._dmarc.reports.test TXT v=DMARC1\n")
    assert told["present_policy"] == "none" and told["step"] == "go-on"
    assert told["next"]["value"] == "v=DMARC1; p=quarantine; np=reject; adkim=s; rua=mailto:r@reports.test"
    assert any("pct= is no longer part" in w["text"] for w in told["seen"])


def test_records_that_count_for_nothing(house):
    told = plan(house, f"v=DMARC1; p=rejct; {RUA}", "--since", "2020-01-01")
    assert told["step"] == "mend" and told["next"]["value"] == f"v=DMARC1; p=none; {RUA}"
    told = plan(house, f"v=DMARC1; p=none; {RUA}", extra="_dmarc.example.org TXT v=DMARC1; p=reject\n")
    assert told["step"] == "mend" and "2 DMARC records" in told["summary"]


def test_the_plan_has_three_forms_and_waits_for_dns(house):
    with DnsServer(zone_of(house, None)) as dns:
        text = house.run("dmarc", "plan", "example.org", "--resolver", dns.address)
    assert "host     _dmarc " in text and '_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none; ' in text and '_dmarc.example.org. TXT "' in text
    assert re.search(r"value    v=DMARC1; p=none; \S+\n +\d+ octets, one string", text)
    with DnsServer("_dmarc.example.org TXT SERVFAIL\n") as dns:
        house.run("dmarc", "plan", "example.org", "--resolver", dns.address, status=75)
        told = run(POSTERN, "dmarc", "plan", "far.test", "--resolver", dns.address, "--json")
    assert json.loads(told)["step"] == "begin"
