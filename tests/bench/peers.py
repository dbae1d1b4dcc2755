# SPDX-License-Identifier: ISC
"""Who is measured: postern and its peers, each set up for a work as its
documentation says, with nothing turned off that keeps mail safe.

A work: `box` (port 25, accept, queue, Maildir), `judge` (the same with SPF, DKIM
and DMARC verified), `send` (587 with STARTTLS and a login, DKIM-signed, relayed
to a sink).  Each class says which it can do, and whether it is installed.
"""

import os
import pathlib
import socket
import subprocess
import time

from house import NOBODY, files_in, program, run, wait_port

USER, DOMAIN, PASSWORD = "sink", "here.example", "benchmark-word"


class Peer:
    works = ()
    mx = 25
    submission = 587

    def __init__(self, house, work, build, sink_port, secrets):
        self.house, self.dir, self.work, self.build, self.sink_port, self.secrets = house, house.dir, work, build, sink_port, secrets

    @classmethod
    def missing(cls):
        return [p for p in cls.programs if program(p, cls.folders) is None]

    programs, folders = (), ()

    def delivered(self):
        return files_in(self.maildir / "new")

    def one_message(self):
        """Any that was delivered."""
        return next((self.maildir / "new").iterdir()).read_text()

    def daemon(self, *words, **more):
        log = open(self.dir / f"{pathlib.Path(str(words[0])).name}.log", "ab")
        return subprocess.Popen([str(w) for w in words], stdout=log, stderr=log, stdin=subprocess.DEVNULL, **more)


# ---- postern ---------------------------------------------------------------------------------

class Postern(Peer):
    name = "postern"
    works = ("box", "judge", "send")
    under = ()                     # a program that runs it, see stages.py
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
    {f'dkim "s1" {{ key = "{key}" gate = no }}' if self.work == "send" else ""}
}}
relay {{ smarthost = "127.0.0.1:{self.sink_port}" smarthost-tls = may concurrency = 40 }}
log {{ to = file file = "{self.dir}/postern.log" }}
{self.UNJUDGED if self.work != "judge" else ""}
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


# ---- Postfix ------------------------------------------------------------------------------------

class Postfix(Peer):
    """Debian's Postfix; local mail by virtual(8) to a Maildir."""
    name = "postfix"
    works = ("box",)
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
default_process_limit = 100
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
        wait_listening(8895, conf / "log" / "log", 60)
        return "inet:127.0.0.1:8895"


class PostfixFlow(Postfix):
    """The same without its brake for those who send faster than it delivers."""
    name, more = "postfix-fast", "in_flow_delay = 0\n"


class PostfixOpen(Postfix):
    name = "postfix-opendkim"
    works = ("judge", "send")
    programs = ("postfix", "opendkim", "opendmarc")

    def milters(self):
        if self.work == "send":
            return "", self.opendkim("s")
        return f"{self.opendkim('v')}, {self.opendmarc()}", ""


class PostfixRspamd(Postfix):
    name = "postfix-rspamd"
    works = ("judge", "send")
    programs = ("postfix", "rspamd")

    def milters(self):
        at = self.rspamd(self.work == "send")
        return ("", at) if self.work == "send" else (at, "")


# ---- Exim: unpacked, since Debian allows one mail server at a time -----------------------

UNPACKED = [pathlib.Path(p) for p in os.environ.get("POSTERN_PEERS", "").split(":") if p]


class Exim(Peer):
    """Debian's exim4-daemon-light, which judges neither SPF nor DMARC."""
    name = "exim"
    works = ("box",)
    programs = ("exim4",)
    folders = [f / "usr/sbin" for f in UNPACKED]

    def start(self):
        conf, mail = self.dir / "exim.conf", self.dir / "mail"
        for folder in (mail, self.dir / "spool"):
            folder.mkdir()
            os.chown(folder, NOBODY, NOBODY)
        self.maildir = mail / USER
        # The package is not installed: its user is known here alone.
        for file, line in (("passwd", f"Debian-exim:x:{NOBODY}:{NOBODY}::/:/bin/false\n"), ("group", f"Debian-exim:x:{NOBODY}:\n")):
            (self.dir / file).write_text(pathlib.Path("/etc", file).read_text() + line)
            run("mount", "--bind", self.dir / file, f"/etc/{file}")
        conf.write_text(f"""
primary_hostname = mail.{DOMAIN}
exim_user = nobody
exim_group = nogroup
spool_directory = {self.dir}/spool
log_file_path = {self.dir}/spool/exim-%slog
keep_environment =
exim_path = {program("exim4", self.folders)}
local_interfaces = 127.0.0.1
daemon_smtp_ports = 25
split_spool_directory = yes
smtp_accept_max = 200
smtp_accept_max_per_connection = 1000000
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept domains = {DOMAIN}
  deny
begin routers
box:
  driver = accept
  domains = {DOMAIN}
  transport = box
begin transports
box:
  driver = appendfile
  directory = {mail}/{USER}
  maildir_format
  create_directory
  user = nobody
  group = nogroup
""")
        self.daemon(program("exim4", self.folders), "-C", conf, "-bdf", "-q30m")
        wait_port(self.mx)


ALL = [Postern, Postfix, PostfixFlow, PostfixOpen, PostfixRspamd, Exim]


def wait_listening(port, log=None, patience=30):
    """A milter does not greet."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nobody listens at {port}: " + (log.read_text() if log is not None else ""))
