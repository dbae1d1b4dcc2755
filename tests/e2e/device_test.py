# SPDX-License-Identifier: ISC
"""Devices that cannot log in: known by their address, with an account's rights."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import Server  # noqa: E402

DEVICE = 'device "scanner" {{ address = {{"{}"}} as = "bob@here.test" to = {} }}'
TEXT = "From: bob@here.test\r\nSubject: scan\r\n\r\nx\r\n"


def test_a_device_writes_to_people_here_only():
    with Server(extra=DEVICE.format("127.0.0.1", "local")) as s, s.client() as c:
        c.ask("EHLO scanner", 250)
        assert "AUTH" not in c.reply
        c.ask("MAIL FROM:<alice@here.test>", 550)
        c.ask("MAIL FROM:<bob@here.test>", 250)
        for rcpt in ("x@far.test", "x%far.test@here.test", "@here.test:x@far.test"):
            c.ask(f"RCPT TO:<{rcpt}>", 550)
        c.ask("RSET", 250)
        c.send_mail("bob@here.test", "alice@here.test", "From: alice@here.test\r\n\r\nx\r\n", 550)
        c.send_mail("bob@here.test", "alice@here.test", TEXT)
        assert s.wait("message.stored")["login"] == "bob@here.test"
        assert s.mail("alice@here.test")
        assert s.run("account", "lock", "bob@here.test", "-c", str(s.file)).returncode == 0
        assert c.ask("NOOP")[:3] in ("421", "")


def test_one_for_anybody_sends_out_with_its_allowance():
    with Server(extra=DEVICE.format("127.0.0.1", "any") + "\nallowance {{ messages-day = 1 }}".replace("{{", "{").replace("}}", "}")) as s, s.client() as c:
        c.ask("EHLO scanner", 250)
        for _ in range(2):
            c.send_mail("bob@here.test", "x@far.test", TEXT)
        s.wait("account.held", account="bob@here.test")


def test_others_are_strangers():
    with Server(extra=DEVICE.format("127.0.0.77", "any")) as s, s.client() as c:
        c.ask("EHLO client.test", 250)
        c.ask("MAIL FROM:<a@far.test>", 250)
        c.ask("RCPT TO:<x@far.test>", 550)


def test_faults_are_said():
    with Server(start=False) as s:
        for device, word in ((DEVICE.format("192.168.1.0/24", "any"), "could send to anybody"),
                             (DEVICE.format("192.168.1.20", "any").replace("bob@here.test", "x@far.test"), "is in no domain"),
                             ('device "x" { as = "bob@here.test" }', "has no address")):
            s.configure(extra=device)
            done = s.run("check", "-c", str(s.file))
            assert done.returncode == 1 and word in done.stdout, done.stdout
        s.configure(extra=DEVICE.format("192.168.1.0/24", "local"))
        assert s.run("check", "-c", str(s.file)).returncode == 0
        s.start()
