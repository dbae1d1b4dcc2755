# SPDX-License-Identifier: ISC
"""Every call of a message's life fails once.

A shim (fault_shim.c) counts what the server asks of the disk for the store, the
spool and the Maildirs, from the moment a message is sent until it lies in its
mailboxes, and lets the n-th fail: EIO, ENOSPC, or half of a write.  For each n
the message is sent again (house.py): a small one, a large one, and one that the
next hop refuses, with its bounce.  Beside it readers take each file away as soon
as it is there (reader.py).

`make check` strikes some calls, others each time; with POSTERN_LONG=1 all, in
all three ways, with every habit of a reader.
"""
import errno
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from house import SHORT, every_life  # noqa: E402

WAYS = (("EIO", errno.EIO), ("ENOSPC", errno.ENOSPC), ("short", SHORT))
KINDS = {"small": ({"size": 300}, 4), "large": ({"size": 300_000}, 12), "bounce": ({"size": 300, "bounces": True}, 4)}


@pytest.mark.parametrize("kind", KINDS)
def test_each_call_fails(kind):
    how, apart = KINDS[kind]
    every_life(how, WAYS, apart)
