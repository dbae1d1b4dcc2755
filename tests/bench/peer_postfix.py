# SPDX-License-Identifier: ISC
"""Debian's Postfix, alone and with the milters that people put beside it."""

import os
import subprocess

from house import NOBODY, run, wait_port
from peer import DOMAIN, PASSWORD, USER, Peer, wait_listening


class Postfix(Peer):
    """Debian's Postfix; local mail by virtual(8) to a Maildir."""
    name = "postfix"
    works = ("box", "box-single", "idle")
    programs = ("postfix",)
    more = ""

    MASTER = """
smtp       inet n - n - - smtpd
submission inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
  -o smtpd_milters=$submission_milters
pickup     unix n - n 60 1 pickup
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
tlsmgr     unix - - n 1000? 1 tlsmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
verify     unix - - n - 1 verify
flush      unix n - n 1000? 0 flush
proxymap   unix - - n - - proxymap
smtp       unix - - n - - smtp
relay      unix - - n - - smtp
error      unix - - n - - error
retry      unix - - n - - error
discard    unix - - n - - discard
local      unix - n n - - local
virtual    unix - n n - - virtual
lmtp       unix - - n - - lmtp
anvil      unix - - n - 1 anvil
scache     unix - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
"""

    def start(self):
        conf, mail = self.dir / "postfix", self.dir / "mail"
        for folder in (conf, self.dir / "spool", self.dir / "data", mail):
            folder.mkdir()
        os.chown(mail, NOBODY, NOBODY)
        self.maildir = mail / "sink"
        run("chown", "postfix", self.dir / "data")
        (conf / "mailboxes").write_text(f"{USER}@{DOMAIN} sink/\n")
        (conf / "master.cf").write_text(self.MASTER)
        (conf / "sasl").mkdir()
        (conf / "sasl" / "smtpd.conf").write_text(f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\nsasldb_path: {conf}/sasldb\n")
        milters, submission = self.milters()
        (conf / "main.cf").write_text(f"""
compatibility_level = 3.6
myhostname = mail.{DOMAIN}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 192.0.2.0/24
queue_directory = {self.dir}/spool
data_directory = {self.dir}/data
maillog_file = {self.dir}/maillog
maillog_file_prefixes = {self.dir}
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = texthash:{conf}/mailboxes
virtual_mailbox_base = {mail}
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}
relayhost = [127.0.0.1]:{self.sink_port}
smtp_tls_security_level = none
smtpd_tls_cert_file = {self.secrets}/cert.pem
smtpd_tls_key_file = {self.secrets}/cert.key
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {conf}/sasl
smtpd_client_connection_count_limit = 0
default_process_limit = {100 if self.connections < 100 else self.connections + 100}
milter_default_action = tempfail
smtpd_milters = {milters}
submission_milters = {submission}
{self.more}
""")
        subprocess.run(["saslpasswd2", "-p", "-c", "-f", f"{conf}/sasldb", "-u", DOMAIN, USER], input=PASSWORD.encode(), check=True)
        run("chown", "postfix", conf / "sasldb")
        run("postfix", "-c", conf, "start")
        wait_port(self.mx)

    def milters(self):
        return "", ""

    # ---- OpenDKIM, OpenDMARC, rspamd

    def opendkim(self, mode):
        conf = self.dir / "opendkim.conf"
        sign = f"""
Domain {DOMAIN}
Selector s1
KeyFile {self.secrets}/dkim.pem
RequireSafeKeys no
InternalHosts 127.0.0.1
"""
        conf.write_text(f"""
Socket inet:8891@127.0.0.1
Mode {mode}
UserID opendkim
Canonicalization relaxed/simple
AuthservID mail.{DOMAIN}
Nameservers 127.0.0.1
Syslog no
{sign if mode == "s" else "InternalHosts 192.0.2.1"}
""")
        self.daemon("opendkim", "-f", "-x", conf)
        wait_listening(8891, self.dir / "opendkim.log")
        return "inet:127.0.0.1:8891"

    def opendmarc(self):
        conf = self.dir / "opendmarc.conf"
        (self.dir / "no-hosts").write_text("192.0.2.1\n")
        conf.write_text(f"""
Socket inet:8893@127.0.0.1
UserID opendmarc
AuthservID mail.{DOMAIN}
TrustedAuthservIDs mail.{DOMAIN}
IgnoreHosts {self.dir}/no-hosts
SPFIgnoreResults true
SPFSelfValidate true
RejectFailures true
Syslog false
""")
        self.daemon("opendmarc", "-f", "-c", conf)
        wait_listening(8893, self.dir / "opendmarc.log")
        return "inet:127.0.0.1:8893"

    def rspamd(self, sign):
        """Debian's configuration; only what asks strangers, or needs Redis, is off."""
        conf = self.dir / "rspamd"
        for name in ("local.d", "override.d", "db", "run", "log"):
            (conf / name).mkdir(parents=True)
        on = {"dkim_signing", "milter_headers"} if sign else {"spf", "dmarc", "milter_headers"}
        for module in ("rbl", "surbl", "fuzzy_check", "mx_check", "phishing", "asn", "neural", "bayes", "replies", "ratelimit", "greylist",
                       "reputation", "rspamd_update", "dkim_signing", "spf", "dmarc", "arc", "bimi", "history_redis"):
            if module not in on:
                (conf / "local.d" / f"{module}.conf").write_text("enabled = false;\n")
        files = {
            "options.inc": 'filters = "dkim,regexp,chartable";\ndns { nameserver = ["127.0.0.1"]; }\nlocal_addrs = [];\n',
            "worker-proxy.inc": 'bind_socket = "127.0.0.1:8895";\ncount = 2;\nupstream "local" { default = yes; self_scan = yes; }\n',
            "worker-normal.inc": "enabled = false;\n", "worker-controller.inc": "enabled = false;\n", "worker-fuzzy.inc": "enabled = false;\n",
            "logging.inc": f'type = "file";\nfilename = "{conf}/log/log";\nlevel = "warning";\n',
            "milter_headers.conf": 'use = ["authentication-results"];\nskip_local = false;\nskip_authenticated = false;\n',
            "actions.conf": "greylist = null;\nadd_header = 100;\nreject = 200;\n",
        }
        for judge in ("spf", "dkim", "dmarc") if not sign else ():
            files[f"{judge}.conf"] = "check_local = true;\n"
        if sign:
            files["dkim_signing.conf"] = f'path = "{self.secrets}/dkim.pem";\nselector = "s1";\nallow_username_mismatch = true;\n' \
                                         "sign_local = true;\nsign_authenticated = true;\nuse_domain = \"header\";\n"
        for name, text in files.items():
            (conf / "local.d" / name).write_text(text)
        run("chown", "-R", "_rspamd", conf)
        self.daemon("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", "/etc/rspamd/rspamd.conf", "--var", f"LOCAL_CONFDIR={conf}",
                    "--var", f"DBDIR={conf}/db", "--var", f"RUNDIR={conf}/run", "--var", f"LOGDIR={conf}/log")
        wait_listening(8895, conf / "log" / "log", 300)   # ten seconds of CPU until it listens
        return "inet:127.0.0.1:8895"


class PostfixFlow(Postfix):
    """The same without its brake for those who send faster than it delivers."""
    name, more = "postfix-fast", "in_flow_delay = 0\n"
    works = ("box", "box-single")


class PostfixOpen(Postfix):
    name = "postfix-opendkim"
    works = ("judge", "send", "judge-single", "send-single", "send-again", "idle")
    programs = ("postfix", "opendkim", "opendmarc")

    def milters(self):
        if self.kind == "send":
            return "", self.opendkim("s")
        return f"{self.opendkim('v')}, {self.opendmarc()}", ""


class PostfixRspamd(Postfix):
    name = "postfix-rspamd"
    works = ("judge", "send", "judge-single", "send-single", "send-again", "idle")
    programs = ("postfix", "rspamd")

    def milters(self):
        at = self.rspamd(self.kind == "send")
        return ("", at) if self.kind == "send" else (at, "")
