# SPDX-License-Identifier: ISC
"""What the queue says of servers that misbehave: one real server, one sink, one
row for each way.  All rows are under way at once; then the sink behaves, and what
was put off arrives, once."""

import os
import re
import subprocess
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from server import CONFIG, PASSWORD as SERVER_PASSWORD, Server  # noqa: E402
from sink import (DROP, OFFER_TLS, RST, SILENT, USUAL, Sink, drip, endless, garbage_handshake,  # noqa: E402
                  plain_login, scram_forger, scram_greedy, scram_liar, slow, tls_with)

OK = b"250 2.0.0 ok\r\n"
LARGE = 6 << 20                # more than the sockets between take at once
WAITS = ("connect-timeout = 2s command-timeout = 1500ms data-timeout = 1500ms final-timeout = 1500ms tls-timeout = 1500ms "
         "retry-first = 5m idle = 100ms")


class Want:
    """The queue's word for each recipient, what its answer matches, how many messages arrived whole."""

    def __init__(self, word, reply="", whole=None, size=0, rcpts=None, twice=False):
        self.rcpts = rcpts or {"x": (word, reply)}
        self.whole = (1 if word == "sent" else 0) if whole is None else whole
        self.size, self.word = size, word
        self.twice = twice       # the second copy that RFC 1047 speaks of


def sent(reply="^250", **more):
    return Want("sent", reply, **more)


def deferred(reply, **more):
    return Want("deferred", reply, **more)


def bounced(reply, **more):
    return Want("bounced", reply, **more)


def each(**rcpts):
    """Several recipients, one a keyword; whole: messages that arrive."""
    whole = rcpts.pop("whole", 0)
    return Want("mixed", whole=whole, rcpts={k.lstrip("_").replace("_", "-"): v for k, v in rcpts.items()})


def three_at_once(session):
    """Answers one recipient as if it were DATA."""
    if len(session.rcpts) == 1:
        session.say(b"354 go ahead\r\n")
    else:
        session.say(b"250 2.1.5 ok\r\n")


def gathered(session):
    """Waits for the whole group, then answers it in one piece, cut at odd places."""
    octets = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go"
    session.sleep(0.2)
    session.say(octets[:9])
    session.sleep(0.05)
    session.say(octets[9:])


def no_reading(session):
    """Takes no more of a message than what was on its way."""
    session.sleep(30)


def over_long(session):
    session.say(b"250-" + b"x" * 100000 + b"\r\n250 ok\r\n")


def second_too_many(session):
    session.say(b"452 4.5.3 too many\r\n" if session.rcpts else b"250 2.1.5 ok\r\n")


ROWS = {
    # before the first word
    "good":             ({}, sent()),
    "connect-drop":     ({"connect": DROP}, deferred("lost.*at the banner")),
    "connect-rst":      ({"connect": RST}, deferred("lost.*at the banner|failed: Connection reset")),     # as it is heard of
    "banner-silent":    ({"banner": SILENT}, deferred("did not answer in time .at the banner")),
    "banner-half":      ({"banner": (b"220 si", DROP)}, deferred("lost.*at the banner")),
    "banner-stops":     ({"banner": (b"220-sink.test\r\n", SILENT)}, deferred("did not answer in time .at the banner")),
    "banner-endless":   ({"banner": endless(b"220-and so on\r\n")}, deferred("no SMTP reply")),
    "banner-one-line":  ({"banner": endless(b"220 and so on ")}, deferred("no SMTP reply")),
    "banner-drips":     ({"banner": drip(b"220-one\r\n220-two\r\n220 three\r\n"), "ehlo": drip(USUAL["ehlo"]),
                          "mail": drip(OK), "final": drip(OK)}, sent()),
    "banner-early":     ({"banner": b"220 sink.test\r\n250 ok\r\n"}, deferred("talks out of turn")),
    "banner-bare-lf":   ({"banner": b"220 sink.test\n", "mail": b"250 ok\n"}, sent()),
    "banner-nul":       ({"banner": b"220 si\0nk\x1b[2J.test\r\n", "final": b"250 2.0.0 t\0k\x07\x7f\r\n"}, sent(r"^250 2.0.0 t\?k\?\?$")),
    "banner-eight-bit": ({"banner": b"220 sink \xff\xfe\r\n", "final": b"550 5.6.0 \xc3\xa4\xff\r\n"}, bounced("^550 5.6.0", whole=1)),
    "banner-99":        ({"banner": b"99 hello\r\n"}, deferred("no SMTP reply")),
    "banner-600":       ({"banner": b"600 hello\r\n"}, deferred("no SMTP reply")),
    "banner-no-space":  ({"banner": b"220hello\r\n"}, deferred("no SMTP reply")),
    "banner-http":      ({"banner": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, deferred("no SMTP reply")),
    "banner-mixed":     ({"banner": b"220-one\r\n554 two\r\n"}, deferred("no SMTP reply")),
    "banner-421":       ({"banner": (b"421 4.3.2 not now\r\n", DROP)}, deferred("^421 4.3.2 not now")),
    "banner-450":       ({"banner": b"450 4.3.2 later\r\n"}, deferred("^450 4.3.2 later")),
    "banner-554":       ({"banner": b"554 5.3.2 no mail here\r\n"}, bounced("^554 5.3.2 no mail here")),
    "banner-354":       ({"banner": b"354 what\r\n"}, deferred("^354")),
    # greeting
    "ehlo-drop":        ({"ehlo": DROP}, deferred("lost.*after EHLO")),
    "ehlo-rst":         ({"ehlo": RST}, deferred("lost.*after EHLO")),
    "ehlo-silent":      ({"ehlo": SILENT}, deferred("did not answer in time .after EHLO")),
    "ehlo-endless":     ({"ehlo": endless(b"250-X-MORE\r\n")}, deferred("no SMTP reply")),
    "ehlo-over-long":   ({"ehlo": over_long}, deferred("no SMTP reply")),
    "ehlo-421":         ({"ehlo": (b"421 4.7.0 go away\r\n", DROP)}, deferred("^421 4.7.0 go away")),
    "ehlo-450":         ({"ehlo": b"450 4.7.1 later\r\n"}, deferred("^450 4.7.1 later")),
    "ehlo-550":         ({"ehlo": b"550 5.7.1 bad name\r\n"}, bounced("^550 5.7.1 bad name")),
    "ehlo-unknown":     ({"ehlo": b"502 5.5.1 what\r\n"}, sent()),
    "ehlo-slow":        ({"ehlo": slow(USUAL["ehlo"], 0.6), "mail": slow(OK, 0.6), "final": slow(OK, 0.6)}, sent()),
    "ehlo-size-10":     ({"ehlo": b"250-sink.test\r\n250 SIZE 10\r\n"}, bounced("takes no more than 10")),
    "ehlo-size-odd":    ({"ehlo": b"250-sink.test\r\n250-SIZE lots\r\n250-AUTH=\r\n250- \r\n250 SIZE 99999999999999999999999\r\n"}, sent()),
    "ehlo-lies":        ({"ehlo": b"250-sink.test\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-DSN\r\n250-LIMITS RCPTMAX=0 MAILMAX=1\r\n250 X\r\n"},
                         sent()),
    # TLS
    "tls":              ({"ehlo": OFFER_TLS, "ehlo_tls": USUAL["ehlo"]}, sent()),
    "starttls-454":     ({"ehlo": OFFER_TLS, "starttls": b"454 4.7.0 not now\r\n", "handshake": None}, sent()),
    "starttls-554":     ({"ehlo": OFFER_TLS, "starttls": b"554 5.7.0 never\r\n", "handshake": None}, sent()),
    "starttls-drop":    ({"ehlo": OFFER_TLS, "starttls": DROP}, deferred("lost.*after STARTTLS")),
    "starttls-silent":  ({"ehlo": OFFER_TLS, "starttls": SILENT}, deferred("did not answer in time .after STARTTLS")),
    "starttls-ahead":   ({"ehlo": OFFER_TLS, "starttls": b"220 go\r\n250-PIPELINING\r\n250 X\r\n", "handshake": None},
                         deferred("talks out of turn")),
    "tls-garbage":      ({"ehlo": OFFER_TLS, "handshake": garbage_handshake}, deferred("TLS with .* failed")),
    "tls-rst":          ({"ehlo": OFFER_TLS, "handshake": RST}, deferred("TLS with .* failed|lost.*TLS handshake")),
    "tls-silent":       ({"ehlo": OFFER_TLS, "handshake": SILENT}, deferred("did not answer in time .in the TLS")),
    "tls-other-name":   ({"ehlo": OFFER_TLS, "ehlo_tls": USUAL["ehlo"], "handshake": "other"}, sent()),   # opportunistic: any will do
    "tls-then-drop":    ({"ehlo": OFFER_TLS, "ehlo_tls": DROP}, deferred("lost.*after EHLO")),
    "tls-again":        ({"ehlo": OFFER_TLS, "ehlo_tls": OFFER_TLS}, sent()),
    # the envelope
    "mail-drop":        ({"mail": DROP}, deferred("lost.*after MAIL")),
    "mail-rst":         ({"mail": RST}, deferred("lost.*after MAIL")),
    "mail-silent":      ({"mail": SILENT}, deferred("did not answer in time .after MAIL")),
    "mail-421":         ({"mail": (b"421 4.3.2 closing\r\n", DROP)}, deferred("^421 4.3.2 closing")),
    "mail-451":         ({"mail": b"451 4.3.0 later\r\n"}, deferred("^451 4.3.0 later")),
    "mail-550":         ({"mail": b"550 5.7.1 not you\r\n"}, bounced("^550 5.7.1 not you")),
    "mail-354":         ({"mail": b"354 eager\r\n"}, deferred("^354 eager")),
    "rcpt-drop":        ({"rcpt": DROP}, deferred("lost.*after RCPT")),
    "rcpt-421":         ({"rcpt": (b"421 4.3.2 closing\r\n", DROP)}, deferred("^421 4.3.2 closing")),
    "rcpt-some":        ({}, each(x=("sent", "^250"), _550=("bounced", "^550 5.1.1"), _450=("deferred", "^450 4.1.1"), y=("sent", "^250"),
                                  whole=1)),
    "rcpt-none":        ({"data": b"354 nobody, but go ahead\r\n", "final": b"554 5.5.1 no recipients\r\n"},
                         each(_550=("bounced", "^550 5.1.1"), _451=("deferred", "^451 4.1.1"), whole=1)),
    "rcpt-too-many":    ({"rcpt": second_too_many}, each(x=("sent", "^250"), y=("sent", "^250"), z=("sent", "^250"), whole=3)),
    "group-in-one":     ({"mail": gathered, "rcpt": lambda s: None, "data": b" ahead\r\n"}, sent()),
    "group-disordered": ({"rcpt": three_at_once}, each(x=("sent", "^250"), y=("deferred", "^354"), z=("sent", "^250"), whole=1)),
    # the message
    "data-drop":        ({"data": DROP}, deferred("lost.*after (DATA|RCPT)")),
    "data-silent":      ({"data": SILENT}, deferred("did not answer in time .after DATA")),
    "data-421":         ({"data": (b"421 4.3.2 closing\r\n", DROP)}, deferred("^421 4.3.2 closing")),
    "data-451":         ({"data": b"451 4.3.0 later\r\n"}, deferred("^451 4.3.0 later")),
    "data-554":         ({"data": b"554 5.6.0 never\r\n"}, bounced("^554 5.6.0 never")),
    "data-250":         ({"data": b"250 2.0.0 fine, and?\r\n"}, deferred("^250 2.0.0 fine, and")),
    "body-drop":        ({"body": DROP}, deferred("lost")),
    "body-rst":         ({"body": RST}, deferred("lost")),
    "body-stalls":      ({"body": no_reading}, deferred("did not answer in time .in the message", size=LARGE)),
    "body-552":         ({"body": (b"552 5.3.4 too large\r\n", lambda s: s.sleep(0.5), DROP)}, bounced("^552 5.3.4 too large", size=LARGE)),
    "body-421":         ({"body": (b"421 4.3.2 closing\r\n", lambda s: s.sleep(0.5), DROP)}, deferred("^421 4.3.2 closing", size=LARGE)),
    # its end
    "final-drop":       ({"final": DROP}, deferred("lost.*after the message", whole=1, twice=True)),
    "final-rst":        ({"final": RST}, deferred("lost.*after the message", whole=1, twice=True)),
    "final-silent":     ({"final": SILENT}, deferred("did not answer in time .after the message", whole=1, twice=True)),
    "final-half":       ({"final": (b"25", DROP)}, deferred("lost.*after the message", whole=1, twice=True)),
    "final-open":       ({"final": (b"250-2.0.0 taken\r\n", DROP)}, deferred("lost.*after the message", whole=1, twice=True)),
    "final-99":         ({"final": b"99 what\r\n"}, deferred("no SMTP reply", whole=1, twice=True)),
    "final-600":        ({"final": b"600 what\r\n"}, deferred("no SMTP reply", whole=1, twice=True)),
    "final-421":        ({"final": (b"421 4.3.2 closing\r\n", DROP)}, deferred("^421 4.3.2 closing", whole=1, twice=True)),
    "final-451":        ({"final": b"451 4.3.0 no room\r\n"}, deferred("^451 4.3.0 no room", whole=1, twice=True)),
    "final-354":        ({"final": b"354 more?\r\n"}, deferred("^354 more", whole=1, twice=True)),
    "final-554":        ({"final": b"554 5.7.1 spam\r\n"}, bounced("^554 5.7.1 spam", whole=1)),
    "final-then-rst":   ({"final": (OK, lambda s: s.sleep(0.02), RST)}, sent()),
    "final-then-more":  ({"final": b"250 2.0.0 ok\r\n550 5.0.0 no\r\n421 4.0.0 bye\r\n"}, sent()),
    "final-then-drop":  ({"final": (OK, DROP)}, sent()),
    "quit-silent":      ({"quit": SILENT}, sent()),
    "quit-noise":       ({"quit": (b"\0\xff" * 5000, RST)}, sent()),
}

# Servers of our own choice: what their route says, what they do.
PASSWORD = "a wordy word"
GOOD = plain_login("postern", PASSWORD)
LOGIN = 'login = "postern" password-file = "{folder}/hop.secret"'


def offers(*mechanisms, tls=True):
    """EHLO, before and behind STARTTLS."""
    auth = b"250-AUTH " + " ".join(mechanisms).encode() + b"\r\n" if mechanisms else b""
    return {"ehlo": OFFER_TLS if tls else b"250-sink.test\r\n" + auth + b"250 X\r\n",
            "ehlo_tls": b"250-sink.test\r\n" + auth + b"250 PIPELINING\r\n"}

# An LMTP server that holds mailboxes of ours; it answers for each recipient.
LMTP = {
    "lmtp-good":    ({}, each(x=("sent", "^250"), y=("sent", "^250"), whole=1)),
    "lmtp-few":     ({"final": (OK, DROP)}, each(x=("sent", "^250"), y=("deferred", "lost.*after the message"), whole=1)),
    "lmtp-stops":   ({"final": (OK, SILENT)}, each(x=("sent", "^250"), y=("deferred", "did not answer in time .after the message"), whole=1)),
    "lmtp-none":    ({"final": DROP}, each(x=("deferred", "lost"), y=("deferred", "lost"), whole=1)),
    "lmtp-many":    ({"final": OK * 3}, each(x=("sent", "^250"), y=("sent", "^250"), whole=1)),
    "lmtp-one-bad": ({"final": OK + b"552 5.2.2 full\r\n"}, each(x=("sent", "^250"), y=("bounced", "^552 5.2.2 full"), whole=1)),
    "lmtp-421":     ({"final": (OK + b"421 4.3.2 closing\r\n", DROP)}, each(x=("sent", "^250"), y=("deferred", "^421 4.3.2 closing"), whole=1)),
    "lmtp-no-lhlo": ({"ehlo": b"500 5.5.1 this is SMTP\r\n"}, each(x=("deferred", "^500 5.5.1"), y=("deferred", "^500 5.5.1"))),
    "lmtp-554":     ({"banner": b"554 5.3.2 not here\r\n"}, each(x=("deferred", "^554 5.3.2"), y=("deferred", "^554 5.3.2"))),
    "lmtp-354":     ({"rcpt": b"450 4.2.2 full\r\n", "data": b"354 nobody, but go ahead\r\n"},
                     each(x=("deferred", "^450 4.2.2"), y=("deferred", "^450 4.2.2"))),
}


def endless_challenges(session):
    while True:
        session.say(b"334 \r\n")
        session.line()


HOPS = {
    "hop-plain":        (LOGIN, {**offers("PLAIN", "LOGIN"), "auth": GOOD}, sent()),
    "hop-login":        (LOGIN, {**offers("LOGIN", "XOAUTH2"), "auth": GOOD}, sent()),
    "hop-implicit":     ("tls = implicit " + LOGIN, {**offers("PLAIN"), "auth": GOOD, "implicit": True}, sent()),
    "hop-no-login":     ("tls = starttls", offers("PLAIN"), sent()),
    "hop-greedy":       (LOGIN, {**offers("SCRAM-SHA-256", "PLAIN"), "auth": scram_greedy(GOOD)}, sent()),
    "hop-liar":         (LOGIN, {**offers("SCRAM-SHA-256"), "auth": scram_liar}, deferred("did not prove")),
    "hop-forger":       (LOGIN, {**offers("SCRAM-SHA-256"), "auth": scram_forger}, deferred("does not let us in")),
    "hop-535":          (LOGIN, {**offers("PLAIN"), "auth": b"535 5.7.8 bad word\r\n"},
                         deferred('does not let us in as "postern": 535 5.7.8 bad word: mend .* `postern reload`')),
    "hop-454":          (LOGIN, {**offers("PLAIN"), "auth": b"454 4.7.0 later\r\n"}, deferred("^454 4.7.0 later")),
    "hop-auth-drop":    (LOGIN, {**offers("PLAIN"), "auth": DROP}, deferred("lost.*after AUTH")),
    "hop-auth-silent":  (LOGIN, {**offers("PLAIN"), "auth": SILENT}, deferred("did not answer in time .after AUTH")),
    "hop-auth-noise":   (LOGIN, {**offers("PLAIN"), "auth": b"334 !!!\r\n"}, deferred("no challenge")),
    "hop-auth-endless": (LOGIN, {**offers("PLAIN"), "auth": endless_challenges}, deferred("no challenge|does not let us in")),
    "hop-no-auth":      (LOGIN, offers(), deferred("offers none of")),
    "hop-odd-auth":     (LOGIN, offers("GSSAPI", "NTLM"), deferred("offers none of")),
    "hop-554":          ("", {"banner": b"554 5.7.1 we do not know you\r\n"}, deferred("^554 5.7.1 we do not know you")),
    "hop-530":          ("", {"mail": b"530 5.7.0 who are you\r\n"}, deferred("530 5.7.0 who are you.*add a login")),
    "hop-clear":        (LOGIN, offers("PLAIN", tls=False), deferred("does not begin TLS")),
    "hop-tls-454":      (LOGIN, {**offers("PLAIN"), "starttls": b"454 4.7.0 not now\r\n", "handshake": None}, deferred("does not begin TLS")),
    "hop-tls-garbage":  (LOGIN, {**offers("PLAIN"), "handshake": garbage_handshake}, deferred("TLS with .* failed")),
    "hop-other-name":   (LOGIN, {**offers("PLAIN"), "handshake": "other"}, deferred("certificate")),
    "hop-any-name":     ("tls = starttls any-certificate = yes", {**offers(), "handshake": "other"}, sent()),
    "hop-insecure":     ("tls = may insecure-login = yes " + LOGIN, {**offers("PLAIN", tls=False), "auth": GOOD}, sent()),
}


def pair_for(folder, name, names=()):
    """A certificate that vouches for itself."""
    cert, key = os.path.join(folder, name + ".crt"), os.path.join(folder, name + ".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in [name, *names]), "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    os.chmod(cert, 0o644)
    return cert, key


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(prefix="postern-sink-") as path:
        os.chmod(path, 0o755)
        yield path


def with_other(rows, other):
    return {name: {step: tls_with(*other) if what == "other" else what for step, what in steps.items()} for name, steps in rows.items()}


def submit(server, rows):
    """A message for each row; its number by the row's name."""
    numbers = {}
    with server.client("submissions") as c:
        c.ask("EHLO here", 250)
        c.login("alice@here.test")
        for name, want in rows.items():
            body = ("x" * 70 + "\r\n") * (want.size // 72 + 1)
            c.send_mail("alice@here.test", [f"{r}@{name}.test" for r in want.rcpts],
                        f"From: <alice@here.test>\r\nSubject: {name}\r\n\r\n{body}")
            numbers[name] = re.search(r"Queued as (\S+)", c.reply).group(1)
    return numbers


WORDS = {"delivery.sent": "sent", "delivery.delivered": "sent", "delivery.deferred": "deferred", "delivery.bounced": "bounced"}


def fates(server, number, since=0):
    """What the log says of each recipient, latest last: address → (word, reply)."""
    with server.changed:
        return {e["to"]: (WORDS[e.name], e["reply"]) for e in server.events[since:] if e.get("id") == number and e.name in WORDS}


def judge(name, want, row, got):
    """What is wrong with one row."""
    wrong = []
    for who, (word, reply) in want.rcpts.items():
        said = got.get(f"{who}@{name}.test", ("nothing", ""))
        if said[0] != word or not re.search(reply, said[1]):
            wrong.append(f"{name}: {who}: want {word} {reply!r}, got {said[0]} {said[1]!r}")
    if want.whole is not None and len(row.whole) != want.whole:
        wrong.append(f"{name}: want {want.whole} whole messages, got {len(row.whole)}")
    return wrong


def judge_healed(name, want, row, got):
    """Put off before, sent now; and nothing that was sent or bounced came again."""
    wrong = []
    put_off = [who for who, (word, _) in want.rcpts.items() if word == "deferred"]
    for who in put_off:
        said = got.get(f"{who}@{name}.test", ("nothing", ""))
        if said[0] != "sent":
            wrong.append(f"{name}: {who}: want it sent at the second try, got {said[0]} {said[1]!r}")
    if want.whole is not None and len(row.whole) != want.whole + bool(put_off):
        wrong.append(f"{name}: want {want.whole + bool(put_off)} whole messages in the end, got {len(row.whole)}")
    return wrong


def submit_and_judge(server, sink, wants):
    """Each row's message, until it has a fate; the numbers by row."""
    numbers = submit(server, wants)
    server.until(lambda: all(len(fates(server, numbers[n])) == len(want.rcpts) for n, want in wants.items()), "a fate for each recipient")
    wrong = [w for n, want in wants.items() for w in judge(n, want, sink.rows[n], fates(server, numbers[n]))]
    assert not wrong, "\n".join(wrong)
    return numbers


def heal_and_judge(server, sink, wants, numbers):
    """From now on the sink behaves: what was put off arrives, nothing else does."""
    sink.heal()
    since = server.mark()
    server.file.write_text(server.file.read_text().replace("1500ms", "20s"))       # all at once, on a busy machine
    assert server.run("reload", "-c", str(server.file)).returncode == 0
    assert server.run("queue", "retry", "--all", "-c", str(server.file)).returncode == 0
    server.until(lambda: all(len(fates(server, numbers[n], since)) >= sum(word == "deferred" for word, _ in want.rcpts.values())
                             for n, want in wants.items()), "a second fate for what was put off")
    wrong = [w for n, want in wants.items() for w in judge_healed(n, want, sink.rows[n], fates(server, numbers[n], since))]
    assert not wrong, "\n".join(wrong)
    server.until(lambda: "empty" in server.run("queue", "list", "-c", str(server.file)).stdout, "an empty queue")


def test_what_the_queue_says_of_misbehaviour(folder):
    rows = with_other({name: steps for name, (steps, _) in ROWS.items()}, pair_for(folder, "other.name.test"))
    wants = {name: want for name, (_, want) in ROWS.items()}
    with Sink(rows, *pair_for(folder, "sink.test")) as sink, \
            Server(zone=sink.zone, extra=f"allowance {{ new-recipients-hour = 0 }}\nrelay {{ port = {sink.port} {WAITS} }}") as server:
        numbers = submit_and_judge(server, sink, wants)
        assert sink.rows["tls"].secured == sink.rows["tls-other-name"].secured == 1
        heal_and_judge(server, sink, wants, numbers)
        assert sink.rows["tls-garbage"].secured == 0         # spoken to in the clear, the second time


def test_what_a_hop_must_be(folder):
    """Routes with TLS and logins; the password goes nowhere else."""
    secret = os.path.join(folder, "hop.secret")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(PASSWORD + "\n")
    os.chown(secret, *Server.owner())
    names = [f"mx.{name}.test" for name in HOPS]
    ca, key = pair_for(folder, "sink.test", names)
    rows = with_other({name: steps for name, (_, steps, _) in HOPS.items()}, pair_for(folder, "other.name.test"))
    wants = {name: want for name, (_, _, want) in HOPS.items()}
    with Sink(rows, ca, key) as sink:
        routes = "".join(f'route "{name}" {{ to = {{"{name}.test"}} via = "mx.{name}.test:{sink.port}" {how.format(folder=folder)} }}\n'
                         for name, (how, _, _) in HOPS.items())
        with Server(zone=sink.zone, extra=f'relay {{ port = 1 ca = "{ca}" {WAITS}\n{routes} }}') as server:
            submit_and_judge(server, sink, wants)
            refused = {e["host"].partition(".test")[0][3:] for e in server.find("relay.login-refused") if e.level == "error"}
            assert refused - {"hop-auth-endless"} == {"hop-liar", "hop-forger", "hop-535", "hop-no-auth", "hop-odd-auth", "hop-530"}
            assert PASSWORD not in server.log()
        for name in ("hop-clear", "hop-tls-454", "hop-tls-garbage", "hop-other-name"):
            assert not [line for line in sink.rows[name].lines if line.startswith(b"AUTH")], name


def test_what_an_lmtp_server_may_say():
    wants = {name: want for name, (_, want) in LMTP.items()}
    with Sink({name: steps for name, (steps, _) in LMTP.items()}) as sink:
        domains = "".join(f'domain "{name}.test" {{ deliver {{ lmtp = "{row.address}:{sink.port}" }} }}\n' for name, row in sink.rows.items())
        accounts = ["alice@here.test", *(f"{who}@{name}.test" for name in LMTP for who in "xy")]
        with Server(extra=f"relay {{ {WAITS} }}\n{domains}", accounts=accounts) as server:
            numbers = submit_and_judge(server, sink, wants)
            heal_and_judge(server, sink, wants, numbers)


def test_a_provider_rests_as_one():
    """A rate answer to one domain is heard by all of its provider's, and by nobody else."""
    slow = {"rcpt": b"450 4.7.28 too many messages from you\r\n"}
    rows = {**{f"{n}.big": slow for n in ("one", "two", "three", "four", "five")}, "calm": {}, "grey": {"rcpt": b"451 4.7.1 Greylisted for 300 seconds\r\n"}}
    known, unknown = ("one.big", "two.big"), ("three.big", "four.big", "five.big")
    wants = {**{n: deferred("^450 4.7.28|asked us to slow down") for n in known}, **{n: deferred("asked us to slow down") for n in unknown},
             "calm": sent(), "grey": deferred("^451 4.7.1")}
    with Sink(rows) as sink, Server(zone=sink.zone, extra=f'relay {{ port = {sink.port} source = {{"127.0.0.9"}} {WAITS} }}') as server:
        first = submit_and_judge(server, sink, {n: wants[n] for n in known})
        rest = submit_and_judge(server, sink, {n: wants[n] for n in (*unknown, "calm", "grey")})
        assert [sink.rows[n].connections for n in unknown] == [0, 0, 0]           # nobody knocked
        slowed = server.find("provider.slowed")
        assert [(e["provider"], e["concurrency"], e["why"]) for e in slowed] == [("big.test", "1", "450 4.7.28 too many messages from you")]
        nexts = {e["next"] for e in server.find("delivery.deferred") if e["to"].endswith(".big.test")}
        assert nexts == {slowed[0]["until"]}
        assert server.find("delivery.deferred", to="x@grey.test")[0]["next"] > slowed[0]["until"]
        heal_and_judge(server, sink, wants, {**first, **rest})
        for row in sink.rows.values():                       # who we say we are
            assert row.peers == {"127.0.0.9"} and row.lines[0] == b"EHLO mail.here.test"


def test_a_login_at_a_server_of_our_own_kind(folder):
    """SCRAM between two posterns; a wrong password is an alarm, and mending it sends what waited."""
    secret = os.path.join(folder, "smarthost.secret")

    def password(text):
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.write(text + "\n")
        os.chown(secret, *Server.owner())

    password("wrong")
    cert, key = pair_for(folder, "smart.test")
    for path in (cert, key):
        os.chown(path, *Server.owner())
    theirs = CONFIG + 'domain "far.test" {{ deliver {{ maildir = "{dir}/mail/%d/%u" }} }}\n' + \
        f'tls {{{{ certificate = "{cert}" key = "{key}" }}}}\n'
    with Server(config=theirs, accounts=["alice@here.test", "x@far.test"]) as smart:
        host, port = smart.address("submissions")
        relay = f"""relay {{ port = 1 ca = "{cert}" {WAITS} smarthost = "smart.test:{port}" smarthost-tls = implicit
            smarthost-login = "alice@here.test" smarthost-password-file = "{secret}" }}"""
        with Server(zone=f"smart.test A {host}\n", extra=relay, accounts=["alice@here.test"]) as server:
            number = submit(server, {"far": Want("sent", rcpts={"x": ()})})["far"]
            event = server.wait("delivery.deferred", id=number)
            assert re.search('does not let us in as "alice@here.test": 535 5.7.8 .* mend login and password file', event["reply"]), event.line
            assert server.find("relay.login-refused")[0].level == "error"
            smart.wait("login.refused")
            refused = smart.find("login.refused")
            assert [(e["mechanism"], e["name"]) for e in refused] == [("SCRAM-SHA-256", "alice@here.test")], refused[0].line

            password(SERVER_PASSWORD)
            since = server.mark()
            assert server.run("reload", "-c", str(server.file)).returncode == 0
            assert server.run("queue", "retry", "--all", "-c", str(server.file)).returncode == 0
            assert server.wait("delivery.sent", since=since, id=number)["tls"].startswith("TLSv1.3")
            assert smart.find("login.passed", login="alice@here.test")[-1]["mechanism"] == "SCRAM-SHA-256"
            assert b"Subject: far" in smart.mail("x@far.test")[0]
