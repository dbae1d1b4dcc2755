# SPDX-License-Identifier: ISC
"""Debian's opensmtpd, unpacked.  Its paths are compiled in, so that its folders are
laid over the machine's, in the namespace alone.

Not in W3: Debian 12's 6.8.0p2 cannot sign as a TLS server with OpenSSL 3, neither
with RSA nor with P-256 (its issue 1171); logins want TLS.
"""

import os

from house import NOBODY, wait_port
from peer import DOMAIN, UNPACKED, USER, Peer


class OpenSmtpd(Peer):
    name = "opensmtpd"
    works = ("box", "box-single", "idle")
    lacks = "Debian 12's build of it ends each TLS handshake (\"EVP lib\", its issue 1171), and judges nothing without rspamd"
    programs, unpack = ("smtpd",), "opensmtpd"
    most = 2000                        # it takes some times as many a second as it delivers, and all must come out
    folders = [f / "usr/sbin" for f in UNPACKED]

    def live_here(self):
        """Its users, its folders."""
        root = next(f for f in UNPACKED if (f / "usr/sbin/smtpd").exists())
        self.house.know_users({"opensmtpd": None, "opensmtpq": None})
        self.house.lay_over(root / "usr", "/usr")
        for folder in ("/var/spool", "/var/lib", "/run"):
            self.house.cover(folder)
        os.makedirs("/var/lib/opensmtpd/empty", 0o755)

    def start(self):
        conf, mail = self.dir / "smtpd.conf", self.dir / "mail"
        mail.mkdir()
        os.chown(mail, NOBODY, NOBODY)
        self.maildir = mail / USER
        conf.write_text(f"""
table boxes {{ "{USER}@{DOMAIN}" = "nobody" }}
listen on 127.0.0.1 port 25 hostname "mail.{DOMAIN}"
action "box" maildir "{self.maildir}" user nobody virtual <boxes>
match from any for domain "{DOMAIN}" action "box"
""")
        conf.chmod(0o600)
        self.live_here()
        self.daemon("smtpd", "-d", "-f", conf)
        wait_port(self.mx)
