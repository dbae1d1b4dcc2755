# SPDX-License-Identifier: ISC
"""SIGKILL at every step of a message's life.

The shim (fault_shim.c) counts what the server asks of the disk for the store,
the spool and the Maildirs from the moment a message is sent until it lies in
its mailboxes, and ends the process just before the n-th call, or when the call
is done and nobody has heard of it.  For every n: a small and a large message,
one recipient and two, and a message that is refused by the next hop, with its
bounce; and beside it readers that take each file away as soon as it is there
(reader.py).  In half of them the server that is started next is killed, too, at
one of its first calls.  In the end the message is in each mailbox exactly once.

`make check` kills at some calls, others each time; with POSTERN_LONG=1 before
and after each, with every habit of a reader.
"""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from house import KILL_AFTER, KILL_BEFORE, every_life  # noqa: E402

WAYS = (("killed before", KILL_BEFORE), ("killed after", KILL_AFTER))
KINDS = {
    "small-two": ({"size": 300}, 4),
    "large-two": ({"size": 300_000}, 12),
    "bounce": ({"size": 300, "bounces": True}, 4),
}
if os.environ.get("POSTERN_LONG") == "1":
    KINDS["small-one"] = ({"size": 300, "mailboxes": ("alice",)}, 4)
    KINDS["large-one"] = ({"size": 300_000, "mailboxes": ("alice",)}, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_each_step(kind):
    how, apart = KINDS[kind]
    every_life(how, WAYS, apart)
