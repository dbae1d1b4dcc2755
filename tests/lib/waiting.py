# SPDX-License-Identifier: ISC
"""A server whose queue holds messages for as long as a test wants it: mail to
late@closed.test waits until mail/closed.test is a plain file no more."""

import json
import os
import re

from server import ACCOUNTS, CONFIG, PATIENCE, Server

CLOSED = CONFIG.replace("resolver {{", 'domain "closed.test" {{ deliver {{ maildir = "{dir}/mail/%d/%u" }} }}\nresolver {{')


def a_server(**how):
    s = Server(config=CLOSED, accounts=(*ACCOUNTS, "late@closed.test"), **how)
    (s.dir / "mail" / "closed.test").touch()
    return s


def send(s, rcpts, subject, size=100):
    with s.client("mx") as c:
        c.ask("EHLO client.test", 250)
        line = f"{subject} line by line\r\n"
        reply = c.send_mail("a@far.test", rcpts, f"From: a@far.test\r\nSubject: {subject}\r\n\r\n" + line * (size // len(line) + 1))
    return re.search(r"\b([0-9a-z_]{11})\b", reply).group(1)


def fill(s, n=6):
    ids = [send(s, "late@closed.test", f"waits {i}", 300_000 if i == 2 else 100) for i in range(n)]
    s.until(lambda: len(s.find("delivery.deferred")) >= n, "deferrals")
    return ids


def queue(s, *words, status=0, **how):
    done = s.run("queue", *words, "-c", str(s.file), **how)
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def listed(s):
    return json.loads(queue(s, "list", "--json").stdout)


def ended(s):
    """The server has ended by itself; its status."""
    status = s.process.wait(PATIENCE)
    s.reader.join(PATIENCE)
    s.process.stderr.close()
    return status


def folder_for_all(s, name):
    path = s.dir / name
    path.mkdir()
    os.chmod(path, 0o777)
    return path
