# SPDX-License-Identifier: ISC
"""What people read is true: README, man pages, sample configuration, examples
and the unit file, each held against the program itself."""

import os
import pathlib
import pwd
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSTERN = os.path.abspath(os.environ.get("POSTERN", ROOT / "build/postern"))
PAGE8, PAGE5 = ROOT / "etc/man/postern.8", ROOT / "etc/man/postern.conf.5"
PATIENCE = 60


def run(*words, stdin="", **more):
    return subprocess.run([str(w) for w in words], input=stdin, capture_output=True, text=True, timeout=PATIENCE, **more)


def postern(*words, stdin=""):
    return run(POSTERN, *words, stdin=stdin)


def said(*words):
    done = postern(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- verbs -------------------------------------------------------------------

def verbs():
    return re.findall(r"^  ([a-z-]+) +[A-Z]", said("help"), re.M)


def page(path):
    """As a person sees it, on lines so long that nothing is broken."""
    done = run("mandoc", "-T", "ascii", "-O", "width=1000", path)
    assert done.returncode == 0, done.stderr
    return re.sub(".\x08", "", done.stdout)


def page_verbs():
    """Each subsection of VERBS: its verb and all its text."""
    text = re.search(r"^VERBS\n(.*?)^[A-Z]", page(PAGE8), re.M | re.S).group(1)
    parts = re.split(r"^   (?=[a-z])", text, flags=re.M)[1:]
    return {part.split()[0]: part for part in parts}


def long_options(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]*[a-z])", text)) - {"help", "version"}


def test_help_lists_the_verbs_of_the_manual():
    assert len(verbs()) > 10
    assert list(page_verbs()) == verbs()


def test_the_readme_names_every_verb():
    named = set()
    for line in re.findall(r"^    postern ((?:[a-z-]+ \| )+[a-z-]+|help \[VERB\])", (ROOT / "README.md").read_text(), re.M):
        named |= set(re.findall(r"[a-z-]+", line))
    assert named == set(verbs())


def test_help_and_manual_name_the_same_options():
    for verb, text in page_verbs().items():
        help_text = said(verb, "--help")
        if verb == "spf":              # says which options of verify it shares
            assert "as for verify" in help_text
        assert long_options(help_text) == long_options(text), verb
        assert ("-c FILE" in help_text) == ("-c file" in text or verb in ("verify", "explain", "spf")), verb


def test_help_verb_is_the_same_as_verb_help():
    for verb in verbs():
        assert said("help", verb) == said(verb, "--help")
        assert said(verb, "--help").startswith(f"usage: postern {verb}")


def test_wrong_usage_has_the_status_of_the_manual(tmp_path):
    conf = in_folder('hostname = "mail.example.org"\ndomain "example.org" {}\n', tmp_path)
    assert postern("no-such-verb").returncode == 2
    for verb in verbs():
        wrong = ["--no-such-option"] + (["-c", conf] if "-c FILE" in said(verb, "--help") else [])
        done = postern(verb, *wrong)
        assert done.returncode == 2, verb
        assert done.stderr.startswith(f"postern {verb}: "), done.stderr


FAMILIES = {"postern-setup.8": ["setup"], "postern-key.8": ["key"], "postern-doctor.8": ["doctor"], "postern-dns.8": ["dns", "spf", "dmarc"]}


def test_a_familys_page_and_help_name_the_same_options():
    for name, family in FAMILIES.items():
        text = page(ROOT / "etc/man" / name)
        in_help = set().union(*(long_options(said(verb, "--help")) for verb in family)) - {"helo", "mail-from"}   # spf alone: postern(8)
        assert long_options(text) == in_help, name
        assert all(re.search(rf"postern {verb}\b", text) for verb in family), name
        assert name[:-2] in page(PAGE8), name


def test_the_pages_are_clean():
    for path in sorted((ROOT / "etc/man").iterdir()):
        done = run("mandoc", "-T", "lint", path)
        # Each names the other, which need not be installed.
        left = [x for x in done.stdout.splitlines() if "referenced manual not found: Xr postern" not in x]
        assert not left, "\n".join(left)


# ---- options -----------------------------------------------------------------

def sample():
    return said("check", "--sample")


def sample_options():
    """(section, …, option): its text, whether it is set, its words."""
    found, at, words = {}, [], None
    for line in sample().splitlines():
        bare = line.lstrip("#\t")
        if re.match(r"#?\t*# ", line) or line.startswith("# "):
            words = re.search(r"One of (.*)\.$", line) or words
        elif re.match(r'[a-z0-9-]+ ("[^"]*" )?\{$', bare):
            at.append((bare.split()[0], line.startswith("#")))
        elif bare == "}":
            at.pop()
        elif " = " in bare:
            name, value = bare.split(" = ", 1)
            inside = any(commented for _, commented in at)
            found[tuple(s for s, _ in at) + (name,)] = (value, line.startswith("#"), inside, words and words.group(1))
            words = None
    assert not at
    return found


def page_options():
    found, at, item = {}, (), None
    for line in PAGE5.read_text().splitlines():
        if line.startswith(".Ss "):
            heading = re.sub(r' \\\(dqNAME\\\(dq', "", line[4:])
            at, item = () if heading == "Top level" else tuple(heading.split()), None
        elif match := re.match(r"\.It Ic (\S+) No = (.*)$", line):
            item = at + (match.group(1),)
            assert item not in found, item
            found[item] = [match.group(2).replace("\\(dq", '"'), None]
        elif line.startswith((".El", ".Sh")):
            item = None
        elif item and (match := re.match(r"One of (.*)\.$", line)):
            found[item][1] = match.group(1)
    return found


def test_the_manual_has_every_option_with_its_default():
    have, want = page_options(), sample_options()
    assert len(want) > 70
    assert set(have) == set(want)
    for path, (value, commented, inside, words) in want.items():
        shown, shown_words = have[path]
        assert shown_words == words, path
        if re.search(r"\bAr ", shown):     # a placeholder: there is no default
            assert commented or path == ("hostname",), path
        else:
            assert shown == value and (not commented or inside), path


def test_the_sample_file_is_what_the_program_prints():
    assert (ROOT / "etc/postern.conf").read_text() == sample(), "run: postern check --sample > etc/postern.conf"


def is_there(user):
    try:
        return bool(pwd.getpwnam(user))
    except KeyError:
        return False


def test_the_sample_file_has_no_faults():
    done = postern("check", "-c", ROOT / "etc/postern.conf")
    if os.geteuid() == 0 and not is_there("postern"):      # what only a set-up machine has
        fault, *rest = [x for x in done.stdout.splitlines() if not x.startswith("note: ")]
        assert 'there is no user "postern"' in fault and not rest and done.returncode == 1
    else:
        assert done.returncode == 0, done.stdout


# ---- configurations that are shown --------------------------------------------

def pair_in(folder, file):
    """A certificate or its key, by the file's name; one pair for a folder."""
    certificate, key = folder / "the-certificate", folder / "the-key"
    if not key.exists():
        made = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                   "-subj", "/CN=mail.example.org", "-keyout", key, "-out", certificate)
        assert made.returncode == 0, made.stderr
    file.write_bytes((key if "key" in file.name else certificate).read_bytes())


def in_folder(text, folder):
    """The same configuration with every file in a folder of the test's, where it is made."""
    text = f'state = "{folder}/state"\n' + text
    (folder / "state").mkdir(exist_ok=True)
    for path in re.findall(r'"(/(?:etc|var)/[^"%]*)"', text):
        here = folder / path.replace("/", "_")
        if here.suffix == ".pem":
            pair_in(folder, here)
        else:
            here.write_text("word\n" if here.suffix == ".secret" else "")
            here.chmod(0o600)
        text = text.replace(f'"{path}"', f'"{here}"')
    conf = folder / "postern.conf"
    conf.write_text(text)
    return conf


def blocks(path, start, end):
    return re.findall(re.escape(start) + r"\n(.*?)" + re.escape(end), path.read_text(), re.S)


def test_the_readme_sets_up_a_real_domain(tmp_path):
    readme = (ROOT / "README.md").read_text()
    conf = tmp_path / "etc/postern.conf"
    places = ["--etc", conf.parent, "--state", tmp_path / "state", "--user", pwd.getpwuid(os.geteuid() or 65534).pw_name,
              "--resolver", "127.0.0.1:9", "--account", "alice"]
    setups = [x.split() for x in re.findall(r"postern (setup [a-z.]+(?: --add)?)(?= +#|`;)", readme)]
    assert len(setups) == 2 and setups[1][-1] == "--add"
    for words in setups:
        done = postern(*words, *places)
        assert done.returncode == 0, done.stderr
    (account,) = re.findall(r"`postern (account add \S+)`", readme)
    assert postern(*account.split(), "-c", conf, stdin="a password\n").returncode == 0
    done = postern("check", "-c", conf)
    assert done.returncode == 0, done.stdout
    known = postern("account", "list", "-c", conf).stdout
    assert all(x in known for x in ("alice@example.org", "bob@example.org", "alice@example.net"))
    assert "alice@example.org" in (tmp_path / "etc/aliases").read_text()


def test_the_manuals_configurations_have_no_faults(tmp_path):
    shown = blocks(PAGE5, ".Bd -literal -offset indent", ".Ed")
    assert len(shown) == 5
    for number, text in enumerate(shown):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = text.replace("\\(dq", '"')
        if "hostname" not in text:
            text = 'hostname = "mail.example.org"\n' + text
        if "domain " not in text:
            text += 'domain "example.org" {}\n'
        conf = in_folder(text, folder)
        if "dkim" in text:
            assert postern("key", "generate", "example.org", "s1", "-c", conf).returncode == 0
        done = postern("check", "-c", conf)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["postern-maildir.conf", "postern-lmtp.conf"])
def test_the_examples_have_no_faults(name):
    done = postern("check", "-c", ROOT / "etc/examples" / name)
    assert done.returncode == 0, done.stdout


# ---- files that are named ------------------------------------------------------

def test_every_file_that_is_named_is_there():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    files = files or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")]
    names = {f for f in files} | {os.path.basename(f) for f in files}
    for text in (ROOT / "README.md", ROOT / "tests/README.md"):
        for word in re.findall(r"`([\w-][\w./-]*\.(?:c|h|py|md|conf|service))`", text.read_text()):
            assert word in names, f"{text.name}: {word}"


def test_the_table_of_test_folders_is_whole():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "tests"], cwd=ROOT, capture_output=True, text=True).stdout
    folders = {f.split("/")[1] for f in files.split() if f.count("/") > 1}
    named = set(re.findall(r"^\| `(\w+)/`", (ROOT / "tests/README.md").read_text(), re.M))
    assert named == folders or not files


def test_the_install_goal_puts_everything_in_place(tmp_path):
    build = os.environ.get("POSTERN_BUILD", "build")
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    done = run("make", "-s", "install", f"B={build}", f"DESTDIR={tmp_path}", "PREFIX=/usr", cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    have = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    examples = {f"usr/share/doc/postern/examples/{p.name}" for p in (ROOT / "etc/examples").iterdir()}
    pages = {f"usr/share/man/man{p.suffix[1:]}/{p.name}" for p in (ROOT / "etc/man").iterdir()}
    assert have == examples | pages | {"usr/sbin/postern", "usr/share/doc/postern/postern.conf", "usr/lib/systemd/system/postern.service"}
    unit = (tmp_path / "usr/lib/systemd/system/postern.service").read_text()
    assert "ExecStart=/usr/sbin/postern serve\n" in unit and "@" not in re.sub(r"(?m)^SystemCallFilter=.*$", "", unit)


# ---- the unit file --------------------------------------------------------------

def test_the_unit_starts_again_after_a_failed_disk_but_not_after_a_fault():
    unit = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "etc/postern.service").read_text(), re.M))
    assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "all")
    assert unit["Restart"] == "on-failure"
    assert unit["RestartPreventExitStatus"].split() == ["1", "2"]
    assert int(unit["TimeoutStopSec"]) > 20


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here")
    binary = tmp_path / "sbin/postern"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    unit = tmp_path / "postern.service"
    unit.write_text((ROOT / "etc/postern.service").read_text().replace("@PREFIX@", str(tmp_path)))
    done = run("systemd-analyze", "verify", "--man=no", unit)
    complaints = [x for x in done.stderr.splitlines() if "postern" in x]
    assert done.returncode == 0 and not complaints, done.stderr
