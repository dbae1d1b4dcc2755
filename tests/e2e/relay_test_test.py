# SPDX-License-Identifier: ISC
"""The relay tricks: tried by hand, at start and at reload, which lets nothing
through and does not listen with a configuration that would."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import CONFIG, Server  # noqa: E402

OPEN = CONFIG.replace('domain "office.test" {{', 'domain "office.test" {{\n\tcatch-all = "relay-test@outside.invalid"')


def test_a_sound_configuration_is_tried_and_passes():
    with Server() as s:
        done = s.run("relay-test", "-c", str(s.file))
        assert done.returncode == 0, done.stderr
        found = re.fullmatch(r"(\d+) tricks tried, none leads outside.*: (\d+) ms\n", done.stdout)
        assert found and int(found.group(1)) > 500, done.stdout
        s.configure(extra='device "scanner" { address = {"192.168.1.20"} as = "bob@here.test" }')
        more = re.match(r"(\d+) tricks tried, none", s.run("relay-test", "-c", str(s.file)).stdout)
        assert int(more.group(1)) > int(found.group(1)) + 50           # the device's, too


def test_what_leads_outside_is_said_and_not_started():
    s = Server(start=False)
    try:
        s.configure(config=OPEN)
        done = s.run("relay-test", "-c", str(s.file))
        assert done.returncode == 1 and "LET THROUGH  pipe" in done.stdout, done.stdout
        assert "office.test" in done.stdout and "would not start" in done.stderr
        done = s.run("serve", "-c", str(s.file))
        assert done.returncode == 1 and "a stranger could relay by" in done.stderr, done.stderr
    finally:
        s.close()


def test_a_reload_keeps_the_configuration_that_holds():
    with Server() as s:
        s.configure(config=OPEN)
        done = s.run("reload", "-c", str(s.file))
        assert done.returncode == 1 and "a stranger could relay by" in done.stdout + done.stderr
        with s.client() as c:
            c.ask("EHLO client.test", 250)
            c.ask("MAIL FROM:<a@far.test>", 250)
            c.ask("RCPT TO:<nobody@office.test>", 550)
            c.ask("RCPT TO:<alice@here.test>", 250)
