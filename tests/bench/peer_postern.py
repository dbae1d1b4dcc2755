# SPDX-License-Identifier: ISC
"""postern, set up for a work; and the same without its memory of logins."""

import os
import subprocess

from house import NOBODY, wait_port
from peer import DOMAIN, PASSWORD, USER, Peer


class Postern(Peer):
    name = "postern"
    works = ("box", "judge", "send", "box-single", "judge-single", "send-single", "send-again", "idle")
    more = ""                      # lines of the configuration
    UNJUDGED = "verify { iprev { verify = no } spf { verify = no } dkim { verify = no } dmarc { verify = no } arc { verify = no } " \
               "sender { verify = no } }"

    def start(self):
        postern = str(self.build / "postern")
        conf = self.dir / "postern.conf"
        state, self.maildir = self.dir / "state", self.dir / "mail" / DOMAIN / USER
        for folder in (state, self.dir / "mail"):
            folder.mkdir(mode=0o700)
            os.chown(folder, NOBODY, NOBODY)
        key = self.dir / "dkim.pem"             # nobody else's: others may be read by all
        key.write_text((self.secrets / "dkim.pem").read_text())
        key.chmod(0o600)
        os.chown(key, NOBODY, NOBODY)
        conf.write_text(f"""
hostname = "mail.{DOMAIN}"
state = "{state}"
user = "nobody"
listener "mx" {{ address = {{"127.0.0.1:25"}} role = inbound tls = none loopback-unlimited = yes }}
listener "submission" {{ address = {{"127.0.0.1:587"}} role = submission tls = required loopback-unlimited = yes }}
tls {{ certificate = "{self.secrets}/cert.pem" key = "{self.secrets}/cert.key" }}
resolver {{ forward = {{"127.0.0.1:53"}} trust-anchor = "" }}
limits {{ connections = 20000 messages-inbound = 1000000 messages-submission = 1000000 }}
allowance {{ messages-hour = 0 messages-day = 0 recipients-hour = 0 recipients-day = 0 new-recipients-hour = 0 }}
queue {{ size = "4 GiB" }}
domain "{DOMAIN}" {{
    deliver {{ maildir = "{self.dir}/mail/%d/%u" }}
    {f'dkim "s1" {{ key = "{key}" gate = no }}' if self.kind == "send" else ""}
}}
relay {{ smarthost = "127.0.0.1:{self.sink_port}" smarthost-tls = may concurrency = 40 }}
log {{ to = file file = "{self.dir}/postern.log" }}
{self.UNJUDGED if self.kind != "judge" else ""}
{self.more}
""")
        subprocess.run([postern, "account", "add", f"{USER}@{DOMAIN}", "-c", str(conf)], input=PASSWORD.encode() + b"\n",
                       check=True, stdout=subprocess.DEVNULL)
        (self.dir / "postern.log").touch()
        os.chown(self.dir / "postern.log", NOBODY, NOBODY)
        self.process = self.daemon(*self.under, postern, "serve", "-c", conf)
        wait_port(self.mx, patience=30 if not self.under else 120)

    def end(self):
        """What runs it writes its figures now."""
        self.process.terminate()
        self.process.wait(120)
        return {}


class PosternForgets(Postern):
    """Every login is looked up and hashed: what the memory of right passwords saves."""
    name = "postern-nomemory"
    works = ("send-single",)
    more = "auth { memory = 0s }"
