# SPDX-License-Identifier: ISC
"""Debian's opensmtpd and opensmtpd-filter-dkimsign, unpacked: it signs by that
filter and judges by none of Debian's.  Its paths are compiled in, so that its
folders are laid over the machine's, in the namespace alone.
"""

import os
import shutil

from house import NOBODY, run, wait_port
from peer import DOMAIN, PASSWORD, UNPACKED, USER, Peer


class OpenSmtpd(Peer):
    name = "opensmtpd"
    works = ("box", "send", "box-single", "send-single", "idle")
    lacks = "Debian has no filter for it that judges SPF, DKIM and DMARC, rspamd's apart"
    programs = ("smtpd", "filter-dkimsign")
    folders = [f / sub for f in UNPACKED for sub in ("usr/sbin", "usr/libexec/opensmtpd")]

    def configuration(self, secret):
        filter_, signed = "", ""
        if self.kind == "send":
            filter_ = f'filter "sign" proc-exec "filter-dkimsign -d {DOMAIN} -s s1 -c relaxed/simple -k {self.secrets}/dkim.pem"'
            signed = 'filter "sign"'
        return f"""
pki "mail.{DOMAIN}" cert "{self.dir}/cert.pem"
pki "mail.{DOMAIN}" key "{self.dir}/cert.key"
table boxes {{ "{USER}@{DOMAIN}" = "nobody" }}
table logins {{ "{USER}@{DOMAIN}" = "{secret}" }}
{filter_}
listen on 127.0.0.1 port 25 hostname "mail.{DOMAIN}"
listen on 127.0.0.1 port 587 hostname "mail.{DOMAIN}" tls-require pki "mail.{DOMAIN}" auth <logins> {signed}
action "box" maildir "{self.maildir}" user nobody virtual <boxes>
action "out" relay host "smtp://127.0.0.1:{self.sink_port}"
match from any for domain "{DOMAIN}" action "box"
match auth from any for any action "out"
"""

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
        for name in ("cert.pem", "cert.key"):
            shutil.copy(self.secrets / name, self.dir / name)
            (self.dir / name).chmod(0o600)
        self.live_here()
        secret = run("/usr/libexec/opensmtpd/encrypt", PASSWORD).strip()
        conf.write_text(self.configuration(secret))
        conf.chmod(0o600)
        self.daemon("smtpd", "-d", "-f", conf)
        wait_port(self.mx)
