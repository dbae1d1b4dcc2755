# SPDX-License-Identifier: ISC
"""queue list, show, filters and status, as an operator uses them."""
import json
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from nexthop import FINE, Hop  # noqa: E402
from ports import free_port  # noqa: E402
from server import Server  # noqa: E402


@pytest.fixture
def house():
    peer = Hop("450 4.2.0 Greylisted, come back later")
    with Server(extra=f'relay {{ smarthost = "{peer.at}" smarthost-tls = may retry-first = "1s" retry-most = "1s" }}') as s:
        yield s, peer
    peer.close()


def submit(s, to, who="alice@here.test"):
    with s.client("submissions") as c:
        c.ask("EHLO x", 250)
        c.login(who)
        c.send_mail(who, to, f"From: {who}\r\nSubject: hello\r\n\r\nx\r\n")
        return re.search(r"Queued as (\S+)", c.reply).group(1)


def queue(s, *words):
    done = s.run("queue", *words, "-c", str(s.file))
    return done.returncode, done.stdout, done.stderr


def test_a_story_from_the_first_try_to_the_end(house):
    s, peer = house
    id_ = submit(s, "carol@far.test")
    s.until(lambda: len(s.find("delivery.deferred", id=id_)) >= 2, "two tries")
    status, text, _ = queue(s, "show", id_)
    assert status == 0
    assert len(re.findall(r"^    \d{4}-\S+  \S*127\.0\.0\.4\S*: 450 4\.2\.0 Greylisted", text, re.M)) >= 2, text
    assert "what to do: Greylisting" in text and re.search(r"^login +alice@here.test", text, re.M), text
    peer.answer = FINE
    assert queue(s, "retry", id_)[0] == 0
    s.wait("delivery.sent", id=id_)
    s.until(lambda: queue(s, "list")[1].startswith("The queue is empty"), "an empty queue")
    status, text, _ = queue(s, "show", id_)
    assert status == 0 and "delivered" in text and "taken as peer-1" in text and re.search(r"^finished +", text, re.M), text
    told = json.loads(queue(s, "show", id_, "--json")[1])
    assert told["finished"] and told["recipients"][0]["state"] == "delivered"
    # The same from the files, when nobody serves.
    assert s.stop() == 0
    assert "taken as peer-1" in queue(s, "show", id_)[1]
    s.start()


def test_filters_mean_what_they_say(house):
    s, _ = house
    ids = {to: submit(s, to) for to in ("carol@far.test", "dave@far.test", "erin@other.test")}
    ids["bob"] = submit(s, "frank@other.test", "bob@here.test")
    s.until(lambda: len({e["id"] for e in s.find("delivery.deferred")}) == 4, "four tries")

    def listed(*words):
        return {m["id"] for m in json.loads(queue(s, "list", "--json", *words)[1])}

    assert listed() == set(ids.values())
    assert listed("--to", "FAR.test") == {ids["carol@far.test"], ids["dave@far.test"]}
    assert listed("--from", "bob@") == {ids["bob"]}
    assert listed("--older", "1h") == set()
    assert listed("--state", "held") == set()
    status, text, _ = queue(s, "hold", "--to", "far.test")
    assert status == 0 and text == "2 messages\n", text
    assert listed("--state", "held") == {ids["carol@far.test"], ids["dave@far.test"]}
    assert queue(s, "release", "--to", "carol", "--state", "held")[1] == "1 message\n"
    assert queue(s, "remove", "--from", "alice")[1] == "3 messages\n"
    s.until(lambda: listed() == {ids["bob"]}, "bob's alone")
    for words, why in ((("list", "--older", "2"), "2h"), (("list", "--state", "odd"), "waiting"), (("remove",), "--all"),
                       (("remove", "--all", "--to", "x"), "either"), (("show", "--to", "x"), "either")):
        status, _, err = queue(s, *words)
        assert status == 2 and why in err, (words, err)
    status, _, err = queue(s, "show", ids["carol@far.test"].replace(ids["carol@far.test"][0], "9", 1))
    assert status == 1 and err
    assert "removed" in queue(s, "show", ids["carol@far.test"])[1]


def test_where_it_came_from_and_what_was_judged(house):
    s, _ = house
    with s.client() as c:
        c.ask("EHLO client.test", 250)
        c.send_mail("a@far.test", "outer@here.test", "From: a@far.test\r\n\r\nx\r\n")
        id_ = re.search(r"Queued as (\S+)", c.reply).group(1)
    s.wait("delivery.deferred", id=id_)
    text = queue(s, "show", id_)[1]
    assert re.search(r"^came +from client\.test \(client\.test \[127\.0\.0\.1\]\)$", text, re.M), text
    assert re.search(r"^checks +.*spf=pass, .*dmarc=none", text, re.M), text


def test_status_is_one_screen():
    port = free_port(["127.0.0.4"])
    with Server(extra=f'relay {{ smarthost = "127.0.0.4:{port}" smarthost-tls = may }}') as s:
        id_ = submit(s, "carol@far.test")
        s.wait("delivery.deferred", id=id_)
        done = s.run("status", "-c", str(s.file))
        assert done.returncode == 0 and len(done.stdout.splitlines()) <= 24
        assert re.search(r"^trouble +\S*127\.0\.0\.4\S* \(1 waiting, next in ", done.stdout, re.M), done.stdout
        told = json.loads(s.run("status", "--json", "-c", str(s.file)).stdout)
        assert told["queued"] == 1 and told["troubled"] == 1 and told["troubles"][0]["why"]
        assert told["a_minute"]["stored"] > 0 and told["memory"] > 0
