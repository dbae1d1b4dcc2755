# SPDX-License-Identifier: ISC
"""MTA-STS from end to end: one postern serves a policy and has an MX, another one
sends to it, with certificates, web server and DNS that go right and wrong."""

import json
import os
import signal
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), HERE]
from server import CONFIG, Server  # noqa: E402
from web_test import Site          # noqa: E402

MESSAGE = "From: Alice <alice@ours.test>\r\nTo: bob@here.test\r\nSubject: Hello\r\n\r\nIt works.\r\n"
OURS = CONFIG.replace("office.test", "more.test").replace("here.test", "ours.test")


def zone(policy="v=STSv1; id=1", mx="mail.here.test"):
    """Nothing is kept: the next question sees what changed."""
    return (f"here.test 0 MX 10 {mx}\n{mx} 0 A 127.0.0.1\nmta-sts.here.test 0 A 127.0.0.4\n"
            + (f"_mta-sts.here.test 0 TXT {policy}\n" if policy else ""))


class Far(Site):
    """Receives for here.test and serves its policy."""

    def __init__(self, sts="enforce"):
        super().__init__(zone="ours.test A 127.0.0.1\n")
        self.account("bob@here.test")
        self.policy(sts)

    def policy(self, sts, more=""):
        self.web(f'address = {{"127.0.0.4:0"}} sts = {sts} {more}')
        self.reload()

    def certificate(self, *names):
        self.certify("mail", *names)
        self.reload()


class Near(Server):
    """Sends; its only account is alice@ours.test."""

    def __init__(self, far, first_zone=zone()):
        self.far = far
        super().__init__(config=OURS, zone=first_zone, start=False, accounts=("alice@ours.test",))
        ca = self.dir / "ca.pem"
        ca.write_bytes((far.dir / "ca.pem").read_bytes())
        self.configure(config=OURS, extra=f"relay {{ port = {far.address('mx')[1]} sts-port = {far.address('web')[1]} "
                                          f'ca = "{ca}" retry-first = 1h idle = 0s }}')
        self.start()

    def send(self):
        """The message's number, once it was tried."""
        since = self.mark()
        with self.client("submissions") as c:
            c.ask("EHLO here", 250)
            c.login("alice@ours.test")
            c.send_mail("alice@ours.test", "bob@here.test", MESSAGE)
            number = c.reply.split()[-1]
        self.attempted(since)
        return number

    def attempted(self, since):
        """Whether the next attempt delivered."""
        self.until(lambda: self.find("delivery.sent", since) or self.find("delivery.deferred", since), "an attempt")
        return bool(self.find("delivery.sent", since))

    def again(self, number):
        since = self.mark()
        assert self.run("queue", "retry", number, "-c", str(self.file)).returncode == 0
        return self.attempted(since)

    def state(self, number):
        done = self.run("queue", "show", number, "--json", "-c", str(self.file))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def says(self, number, words):
        """Once the attempt is written: the log is ahead of the store."""
        self.until(lambda: words in json.dumps(self.state(number)), words)

    def delivered(self):
        since = self.mark()
        self.send()
        return bool(self.find("delivery.sent", since))


@pytest.fixture
def far():
    with Far() as f:
        yield f


def test_a_policy_in_force(far):
    with Near(far) as near:
        assert near.delivered()
        assert near.find("sts.fetched", domain="here.test", mode="enforce", policy="1")
        assert near.delivered()
        assert len(near.find("sts.fetched")) == 1           # once
        far.certificate("other.here.test")
        number = near.send()
        assert near.find("delivery.deferred")
        near.says(number, "MTA-STS policy of here.test")
        # a restart forgets no policy, and neither does a web server that is gone
        near.stop()
        far.web("sts = enforce")
        far.reload()
        since = near.mark()
        near.start()
        assert not near.again(number)
        assert not near.find("sts.fetched", since)
        # the domain says that there is another one: it cannot be had, the old one stays
        near.dns.replace(zone("v=STSv1; id=2"))
        assert not near.again(number)
        assert near.find("sts.failed", fault="sts-policy-fetch-error", in_force="enforce")


def test_a_policy_that_is_taken_back(far):
    with Near(far) as near:
        assert near.delivered()
        far.certificate("other.here.test")
        number = near.send()
        assert near.find("delivery.deferred")
        far.policy("none")
        assert not near.again(number)                        # the id is what counts
        near.dns.replace(zone("v=STSv1; id=2"))
        assert near.again(number)
        assert near.find("sts.fetched", policy="2", mode="none")


def test_testing_stops_nothing(far):
    far.policy("testing")
    far.certificate("other.here.test")
    with Near(far) as near:
        assert near.delivered()
        assert near.find("sts.fetched", mode="testing")


def test_an_mx_that_the_policy_does_not_name(far):
    with Near(far, zone(mx="evil.here.test")) as near:
        number = near.send()
        assert near.find("delivery.deferred")
        near.says(number, "MTA-STS policy allows")


def test_no_policy_where_none_can_be_had(far):
    far.certify("names", "autoconfig.here.test")             # not mta-sts.here.test
    far.reload()
    with Near(far) as near:
        assert near.delivered()
        assert near.find("sts.failed", fault="sts-webpki-invalid", in_force="nothing")
        assert near.delivered()
        assert len(near.find("sts.failed")) == 1             # remembered for a while
    with Near(far, zone(policy="")) as near:
        assert near.delivered()
        assert not near.find("sts.failed")


def test_a_file_of_cas_that_is_not_there_is_said(far):
    with Near(far) as near:
        text = near.file.read_text()
        near.file.write_text(text.replace("ca.pem", "nothing.pem"))
        near.signal(signal.SIGHUP)
        near.wait("configuration.loaded")
        near.send()
        assert near.find("ca.unreadable")
