# SPDX-License-Identifier: ISC
"""Debian's Dovecot takes the mail over LMTP and does not take all of it: one
mailbox is full, one is unknown to it, one address has a detail.  What is said of
one recipient must not touch the others."""

import email
import email.policy
import json
import os
import re
import shutil
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", d) for d in ("lib", "e2e")]
import dovecot_test                                     # noqa: E402
from dovecot_test import ALICE, BOB, House              # noqa: E402
from server import PASSWORD                             # noqa: E402

pytestmark = pytest.mark.skipif(not (shutil.which("dovecot") and os.path.exists("/usr/lib/dovecot/lmtp")),
                                reason="dovecot-lmtpd is not installed")

CAROL = "carol@example.org"         # postern knows her, Dovecot does not
MORE = """
mail_plugins = $mail_plugins quota
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
lda_mailbox_autocreate = yes
quota_full_tempfail = {tempfail}
plugin {{
  quota = maildir:User quota
}}
"""


class Full(House):
    """bob's mailbox holds one octet."""

    def __init__(self, tempfail):
        self.tempfail = tempfail
        super().__init__("lmtp")
        self.postern.account(CAROL)

    def start_dovecot(self, kind):
        self.users = self.postern.dir / "users"
        self.room("bytes=1")
        ours, example = dovecot_test.Dovecot, re.compile(r"(userdb \{\n  driver = passwd-file\n  args = )\S+")

        def other_users(at, text, owner):
            text, n = example.subn(rf"\g<1>{self.users}", text)
            assert n == 1, text
            return ours(at, text + MORE.format(tempfail=self.tempfail), owner)
        dovecot_test.Dovecot = other_users
        try:
            return super().start_dovecot(kind)
        finally:
            dovecot_test.Dovecot = ours

    def room(self, rule):
        """What bob's mailbox may hold; Dovecot sees that the file is another one."""
        new = self.users.with_name("users.new")
        new.write_text(f"{ALICE}:::::::\n{BOB}:::::::userdb_quota_rule=*:{rule}\n")
        os.chmod(new, 0o644)
        new.rename(self.users)

    def send(self, *rcpts):
        """As alice; the message's number."""
        with self.postern.client("submissions") as c:
            c.ask("EHLO client.test", 250)
            c.login(ALICE, PASSWORD)
            c.send_mail(ALICE, rcpts, f"From: {ALICE}\r\nTo: {BOB}\r\nSubject: for each\r\n\r\nHello.\r\n")
            return re.search(r"Queued as (\S+)", c.reply).group(1)

    def verb(self, *words):
        done = self.postern.run("queue", *words, "-c", str(self.postern.file))
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def full():
    h = Full("yes")
    yield h
    h.close()


def test_each_recipient_is_answered_for_itself(full):
    number = full.send(ALICE, BOB, CAROL, "alice+work@example.org")
    p = full.postern
    p.wait("delivery.delivered", to=ALICE, id=number)
    p.wait("delivery.delivered", to="alice+work@example.org", id=number)
    assert re.match(r"452 4\.2\.2 .*uota", p.wait("delivery.deferred", to=BOB, id=number)["reply"])
    assert re.match(r"550 5\.1\.1 ", p.wait("delivery.bounced", to=CAROL, id=number)["reply"])

    imap = full.plain(ALICE)
    assert "Subject: for each" in full.read(imap)
    assert "Subject: for each" in full.read(imap, "work")           # the detail came along
    imap.logout()

    told = full.verb("show", number)
    assert "452 4.2.2" in told and "full" in told                   # their words, and what to do
    listed = json.loads(full.verb("list", "--json"))
    assert number in json.dumps(listed)

    full.room("bytes=10M")
    while not p.find("delivery.delivered", to=BOB, id=number):     # Dovecot looks at the file once a second
        since = p.mark()
        full.verb("retry", number)
        p.until(lambda: p.find("delivery.delivered", since, to=BOB) or p.find("delivery.deferred", since, to=BOB), "an attempt")
    imap = full.plain(ALICE)
    report = None
    while report is None:
        imap.select("INBOX")
        for n in imap.search(None, "ALL")[1][0].split():
            message = email.message_from_bytes(imap.fetch(n, "(RFC822)")[1][0][1], policy=email.policy.SMTP)
            report = message if message.get_content_type() == "multipart/report" else report
    imap.logout()
    rcpt = next(x for x in report.walk() if x.get_content_type() == "message/delivery-status").get_payload()[1]
    assert (rcpt["Final-Recipient"], rcpt["Status"]) == ("rfc822; " + CAROL, "5.1.1")


def test_a_full_mailbox_that_is_refused_for_good_comes_back():
    h = Full("no")
    try:
        number = h.send(ALICE, BOB)
        assert re.match(r"552 5\.2\.2 .*uota", h.postern.wait("delivery.bounced", to=BOB, id=number)["reply"])
        h.postern.wait("delivery.delivered", to=ALICE, id=number)
    finally:
        h.close()
