# SPDX-License-Identifier: ISC
"""Who is measured: postern and its peers, each set up for a work as its
documentation says, with nothing turned off that keeps mail safe.

Each class (peer_NAME.py) says which works of works.py it can do, why not the
others, and which programs it needs.
"""

from peer import DOMAIN, PASSWORD, USER, Peer  # noqa: F401
from peer_exim import Exim
from peer_opensmtpd import OpenSmtpd
from peer_postern import Postern, PosternForgets
from peer_postfix import Postfix, PostfixFlow, PostfixOpen, PostfixRspamd
from peer_sink import Ceiling

ALL = [Postern, PosternForgets, Postfix, PostfixFlow, PostfixOpen, PostfixRspamd, Exim, OpenSmtpd, Ceiling]


def named(name):
    return next(p for p in ALL if p.name == name)
