# SPDX-License-Identifier: ISC
"""`key import`: keys made elsewhere, alone and by OpenDKIM's tables (opendkim-genkey writes them)."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
from dkimkeys import PEM_25519, RSA_PEM, RSA_PUBLIC     # noqa: E402

POSTERN = os.environ.get("POSTERN", str(ROOT / "build" / "postern"))
GENKEY = shutil.which("opendkim-genkey", path=os.environ.get("PATH", "") + ":/usr/sbin")


def postern(*words):
    return subprocess.run([POSTERN, *map(str, words)], capture_output=True, text=True, timeout=60)


class House:
    def __init__(self, folder, domains=("example.org",)):
        self.dir, self.state = folder, folder / "state"
        self.file = folder / "postern.conf"
        self.configure("\n".join(f'domain "{d}" {{ }}' for d in domains))

    def configure(self, sections):
        self.file.write_text(f'hostname = "mail.example.org"\nstate = "{self.state}"\n'
                             f'listener "mx" {{ address = {{"127.0.0.1:0"}} role = inbound }}\n{sections}\n')

    def put(self, name, text, mode=0o600):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def load(self, *words):
        return postern("key", "import", *words, "-c", self.file)

    def pem(self, domain, selector):
        return self.state / "keys" / domain / f"{selector}.pem"


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def openssl(*words, stdin=None):
    done = subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


PKCS8 = openssl("pkcs8", "-topk8", "-nocrypt", stdin=RSA_PEM)


@pytest.mark.parametrize("text", [RSA_PEM, PKCS8, PEM_25519], ids=["pkcs1", "pkcs8", "ed25519"])
def test_a_key_by_its_file(house, text):
    done = house.load("Example.ORG", "S1", house.put("key", text))
    assert done.returncode == 0, done.stderr
    pem = house.pem("example.org", "s1")
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600 and str(pem) == done.stdout.split("\n")[0]
    assert openssl("pkey", "-in", pem, "-pubout") == openssl("pkey", "-pubout", stdin=text)
    assert '\tdkim "s1" { }\n' in done.stdout and 's1._domainkey.example.org. IN TXT ( "v=DKIM1;' in done.stdout
    twice = house.load("example.org", "s1", house.dir / "key")          # it is here, and nothing names it yet
    assert '\tdkim "s1" { }\n' in twice.stdout
    house.configure(re.search(r'^domain [^#{]*\{[^\n]*\n.*?^\}', done.stdout, re.M | re.S).group())
    assert postern("check", "-c", house.file).returncode == 0
    listed = postern("key", "list", "-c", house.file)
    assert "s1" in listed.stdout and listed.returncode == 0
    again = house.load("example.org", "s1", house.dir / "key")
    assert again.returncode == 0 and "all of these keys were here already" in again.stdout and "\ndomain " not in again.stdout
    other = house.load("example.org", "s1", house.put("other", RSA_PEM if text is PEM_25519 else PEM_25519))
    assert other.returncode == 1 and "another key of this domain and selector is there already" in other.stderr


def test_who_may_read_the_file_is_looked_at(house):
    done = house.load("example.org", "s1", house.put("key", RSA_PEM, 0o644))
    assert done.returncode == 0 and "others than its owner may open it (mode 0644)" in done.stderr
    assert "1024 bits: still taken" in done.stderr
    if os.geteuid() == 0:
        path = house.put("key2", PEM_25519)
        os.chown(path, 12345, 0)
        assert "belongs to user 12345" in house.load("example.org", "s2", path).stderr


SMALL = openssl("genrsa", "-traditional", "768")
ENCRYPTED = openssl("rsa", "-traditional", "-aes128", "-passout", "pass:x", stdin=RSA_PEM)
CURVE = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


@pytest.mark.parametrize("text,said", [
    (SMALL, "less than 1024 bits"), (ENCRYPTED, "key: "), (CURVE, "RSA and Ed25519"), (b"no key\n", "key: "), (b"", "key: ")],
    ids=["small", "encrypted", "curve", "text", "empty"])
def test_what_is_no_key_for_dkim(house, text, said):
    done = house.load("example.org", "s1", house.put("key", text))
    assert done.returncode == 1 and said in done.stderr and "nothing was written" in done.stderr, done.stderr
    assert not house.pem("example.org", "s1").exists()


@pytest.mark.parametrize("words", [(), ("example.org",), ("example.org", "s1"), ("a", "b", "c", "d"), ("--opendkim",),
                                   ("--opendkim", "x", "example.org"), ("--signing-table", "x"), ("--what",)])
def test_usage(words):
    assert postern("key", "import", *words).returncode == 2


@pytest.mark.skipif(GENKEY is None, reason="opendkim-tools is not here")
def test_opendkim_genkey_and_both_tables(tmp_path):
    house = House(tmp_path, ("example.org", "example.net"))
    for domain, selector in (("example.org", "mail"), ("example.org", "news"), ("example.net", "mail")):
        folder = tmp_path / "odk" / domain
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([GENKEY, "-D", str(folder), "-d", domain, "-s", selector, "-b", "1024"], check=True, capture_output=True)
    odk = tmp_path / "odk"
    keys = house.put("KeyTable", f"# keys\norg-mail  example.org:mail:{odk}/example.org/mail.private\n"
                     f"org-news example.org:news:{odk}/example.org/news.private # newsletters\n\n"
                     f"net\texample.net:mail:{odk}/example.net/mail.private\n")
    rules = house.put("SigningTable", "news@example.org org-news\n*@example.org org-mail\n*@example.net net:postmaster@%\n"
                      "bill*@example.org org-mail\n*@far.example net\n* nosuch\n")
    done = house.load("--opendkim", keys, "--signing-table", f"refile:{rules}")
    assert done.returncode == 0, done.stderr
    assert ('domain "example.org" {                # this section is there: add these lines\n\tdkim "mail" { }\n\tdkim "news" { }\n'
            '\tsigning "rule-1" { from = {"news@example.org"} selectors = {"news"} }\n'
            '\tsigning "rule-2" { selectors = {"mail"} }\n}\n') in done.stdout, done.stdout
    assert 'domain "example.net" {                # this section is there: add these lines\n\tdkim "mail" { }\n}\n' in done.stdout
    assert "line 4 of the SigningTable, bill*@example.org: there are no words" in done.stdout
    assert "line 5 of the SigningTable, *@far.example: the key is of another domain" in done.stdout
    assert "line 6 of the SigningTable, *: no such key" in done.stdout
    for domain, selector in (("example.org", "mail"), ("example.org", "news"), ("example.net", "mail")):
        assert openssl("pkey", "-in", house.pem(domain, selector), "-pubout") == openssl(
            "pkey", "-in", odk / domain / f"{selector}.private", "-pubout")
        published = "".join(re.findall(r'"([^"]*)"', (odk / domain / f"{selector}.txt").read_text()))
        shown = postern("key", "show", domain, selector, "-c", house.file).stdout
        assert published.split("p=")[1] in "".join(re.findall(r'"([^"]*)"', shown))
    house.configure("\n".join(re.findall(r'^domain [^\n]*\n.*?^\}', done.stdout, re.M | re.S)))
    checked = postern("check", "-c", house.file)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_tables_with_percent_signs_and_keys_in_the_table(tmp_path):
    house = House(tmp_path, ("example.org", "example.net"))
    house.put("keys/example.net/s1", PEM_25519)
    inline = "".join(line for line in RSA_PEM.decode().split("\n") if "-----" not in line)
    keys = house.put("KeyTable", f"any %:s1:{tmp_path}/keys/%/s1\nexample.org example.org:inline:{inline}\n")
    rules = house.put("SigningTable", "example.org %\nuser@* any\n.example.org any\n")
    done = house.load("--opendkim", f"file:{keys}", "--signing-table", rules)
    assert done.returncode == 0, done.stderr
    assert house.pem("example.net", "s1").exists() and not house.pem("example.org", "s1").exists()
    assert RSA_PUBLIC in "".join(re.findall(r'"([^"]*)"', postern("key", "show", "example.org", "inline", "-c", house.file).stdout))
    assert 'from = {"user@example.net"} selectors = {"s1"}' in done.stdout
    assert "line 3 of the SigningTable, .example.org: there are no words" in done.stdout


@pytest.mark.parametrize("table,said", [
    ("k example.org:s1\n", "KeyTable:1: a line of the KeyTable is NAME DOMAIN:SELECTOR:FILE"),
    ("k\n", "KeyTable:1: "), ("k :s1:/x\n", "KeyTable:1: domain, selector or file is missing"),
    ("\nk example.org:s1:/nonexistent/key\n", "KeyTable:2: /nonexistent/key"),
    ("k example.org:s 1:{dir}/key\n", "the selector is none"), ("k not_a..domain:s1:{dir}/key\n", "the domain is none"),
    ("k %:s1:{dir}/nothing/%\n", "none of the domains"), ("", "names no key"),
    ("k example.org:s1:{dir}/key\nl example.org:s1:{dir}/key2\n", "KeyTable:2: two different keys")])
def test_faults_of_tables_write_nothing(house, table, said):
    house.put("key", RSA_PEM)
    house.put("key2", PEM_25519)
    done = house.load("--opendkim", house.put("KeyTable", table.replace("{dir}", str(house.dir))))
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert not (house.state / "keys").exists() or not list((house.state / "keys").glob("*/*.pem"))


def test_tables_of_other_kinds(house):
    done = house.load("--opendkim", "lmdb:/etc/opendkim/keys")
    assert done.returncode == 1 and "only tables that are text files" in done.stderr
