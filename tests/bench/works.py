# SPDX-License-Identifier: ISC
"""What is measured beside others: the works, and what all runs of one comparison
share (a certificate, keys, messages, zones), made once.
"""

import json
import subprocess
import time
import typing

from house import run

SENDER, SUBMITTER, BOX, FAR = "load@sender.example", "sink@here.example", "sink@here.example", "someone@far.example"
TEXTS = 50                     # different messages
IDLE = 1000                    # connections of the work `idle`


class Work(typing.NamedTuple):
    title: str
    kind: str                  # how a server is set up: box, judge or send
    single: bool = False       # one message a connection
    again: bool = False        # each connection comes with the TLS session of the one before


WORKS = {
    "box": Work("W1: port 25, accept, queue, Maildir", "box"),
    "judge": Work("W2: the same, SPF, DKIM (rsa-2048) and DMARC verified", "judge"),
    "send": Work("W3: 587, STARTTLS, AUTH PLAIN, DKIM rsa-2048 signed, relayed", "send"),
    "box-single": Work("W1, one message a connection", "box", True),
    "judge-single": Work("W2, one message a connection", "judge", True),
    "send-single": Work("W3, one message a connection", "send", True),
    "send-again": Work("W3, one message a connection, TLS sessions resumed", "send", True, True),
    "idle": Work("1,000 idle connections (EHLO was said)", "judge"),
    "ceiling": Work("The load generator alone, as in W1: a sink says 250 and does nothing", "box"),
    "ceiling-send": Work("The load generator alone, as in W3: STARTTLS and AUTH PLAIN with a sink", "send"),
}


def envelope(kind):
    """From, to."""
    return (SUBMITTER, FAR) if kind == "send" else (SENDER, BOX)


def make_texts(folder, kind, build, size, key):
    folder.mkdir()
    sender, to = envelope(kind)
    for i in range(TEXTS):
        head = f"From: Load <{sender}>\r\nTo: <{to}>\r\nSubject: message {i}\r\n" \
               f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\r\nMessage-ID: <{i}@load.test>\r\n" \
               "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
        text = (head + ("A line of text that is as long as those that people write.\r\n" * (size // 60 + 1)))[:size - 2].rstrip("\r\n") + "\r\n"
        if kind == "judge":
            text = subprocess.run([build / "postern", "sign", "--domain", "sender.example", "--selector", "a1", "--key", key],
                                  input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()
        (folder / f"{i}.eml").write_bytes(text.encode())


def make_shared(folder, build, size):
    """A certificate, two DKIM keys, the zones, and messages of each kind."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-subj", "/CN=mail.here.example", "-keyout", folder / "cert.key", "-out", folder / "cert.pem")
    zones = {"example": "ns A 127.0.0.1\n", "1.0.0.127.in-addr.arpa": "@ PTR sender.example.\n", "here.example": "@ MX 10 mail\nmail A 127.0.0.1\n",
             "sender.example": '@ A 127.0.0.1\n@ MX 10 @\n@ TXT "v=spf1 ip4:127.0.0.1 -all"\n_dmarc TXT "v=DMARC1; p=reject"\n'}
    for name, zone, selector in (("dkim", "here.example", "s1"), ("author", "sender.example", "a1")):
        run("openssl", "genrsa", "-traditional", "-out", folder / f"{name}.pem", "2048")
        public = "".join(run("openssl", "rsa", "-in", folder / f"{name}.pem", "-pubout").splitlines()[1:-1])
        halves = f'"v=DKIM1; k=rsa; p={public[:200]}" "{public[200:]}"'
        zones[zone] += f"{selector}._domainkey TXT ( {halves} )\n"
    (folder / "zones.json").write_text(json.dumps(zones))
    for kind in ("box", "judge", "send"):
        make_texts(folder / kind, kind, build, size, folder / "author.pem")
    run("chmod", "-R", "a+rX", folder)
