# SPDX-License-Identifier: ISC
"""Debian's Postfix in a folder of its own: configuration, queue, mailboxes and
log are there, the system's instance is not touched, and only its own master is
ended.  Postfix starts as root or not at all; unavailable() says why not.

    with Postfix({"127.0.0.31": {"smtpd_tls_security_level": "none"}}, users=["bob@far.test"]) as p:
        p.port                       # the same on every address
        p.mail("bob@far.test")       # waits for a message, gives all

A listener's settings are those of smtpd(8) that differ from main.cf's; `more` is
added to main.cf, {dir} being the folder.
"""

import grp
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time

from ports import free_port
from server import PATIENCE

MASTER = "/usr/lib/postfix/sbin/master"

MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/log
maillog_file_prefixes = {dir}
alias_maps =
alias_database =
mydestination =
myhostname = mx.post.example
myorigin = post.example
mynetworks = 192.0.2.1
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_limit = 2000
smtpd_client_connection_count_limit = 0
smtputf8_enable = yes
smtp_host_lookup = native
smtp_dns_support_level = enabled
smtp_tls_security_level = may
minimal_backoff_time = 300s
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = texthash:{dir}/users
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = 30000000
virtual_alias_maps = texthash:{dir}/aliases
transport_maps = texthash:{dir}/transport
"""

MASTER_CF = """
postlog   unix-dgram n - n - 1 postlogd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
"""

FOLDERS = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "pid", "private", "public",
           "saved", "trace")


def unavailable():
    """Why Postfix cannot be started here; empty when it can."""
    if os.geteuid() != 0:
        return "Postfix starts as root alone"
    return "" if os.path.exists(MASTER) else "Postfix is not installed"


class Postfix:
    def __init__(self, listeners, users=(), aliases=(), transport=(), more="", port=None):
        self.listeners, self.users, self.port, self.master = listeners, users, port or free_port(), None
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-postfix-"))
        os.chmod(self.dir, 0o755)
        (self.dir / "etc").mkdir()
        self._folders()
        nobody = pwd.getpwnam("nobody")
        domains = sorted({u.partition("@")[2] for u in users})
        (self.dir / "etc/main.cf").write_text(
            (MAIN + more).format(dir=self.dir, domains=", ".join(domains), uid=nobody.pw_uid, gid=nobody.pw_gid))
        (self.dir / "users").write_text("".join("{0} {1}/{2}/\n".format(u, *reversed(u.split("@"))) for u in users))
        self.table("aliases", *aliases)
        self.table("transport", *transport)
        text = MASTER_CF
        for address, settings in listeners.items():
            text += f"{address}:{self.port} inet n - n - - smtpd\n"
            text += "".join(f"  -o {{ {k} = {v} }}\n" for k, v in settings.items()).replace("{dir}", str(self.dir))
        (self.dir / "etc/master.cf").write_text(text)

    def table(self, name, *lines):
        (self.dir / name).write_text("".join(line + "\n" for line in lines))

    def _folders(self):
        owner, group = pwd.getpwnam("postfix"), grp.getgrnam("postdrop").gr_gid
        (self.dir / "spool").mkdir()
        for name in FOLDERS:
            path = self.dir / "spool" / name
            path.mkdir(mode=0o700)
            if name != "pid":
                os.chown(path, owner.pw_uid, group if name in ("public", "maildrop") else 0)
        os.chmod(self.dir / "spool/public", 0o710)
        (self.dir / "data").mkdir(mode=0o700)
        os.chown(self.dir / "data", owner.pw_uid, owner.pw_gid)
        (self.dir / "mail").mkdir(mode=0o700)
        nobody = pwd.getpwnam("nobody")
        os.chown(self.dir / "mail", nobody.pw_uid, nobody.pw_gid)

    # ---- its life ----------------------------------------------------------------

    def __enter__(self):
        # a session of its own: it signals its process group when it ends
        self.master = subprocess.Popen([MASTER, "-d", "-c", str(self.dir / "etc")], start_new_session=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
        try:
            self.until(lambda: "daemon started" in self.log() or self.master.poll() is not None, "its start")
            if self.master.poll() is not None:
                raise AssertionError(f"Postfix did not start: {self.master.stderr.read().decode()}\n{self.log()}")
        except BaseException:
            self.__exit__(AssertionError, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(self.log()[-20000:])
        self.master.send_signal(signal.SIGTERM)
        try:
            self.master.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.master.kill()
            self.master.wait()
        self.master.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- what it says and has ------------------------------------------------------

    def log(self):
        try:
            return (self.dir / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def until(self, true, what):
        end = time.monotonic() + PATIENCE
        while True:
            found = true()
            if found:
                return found
            assert time.monotonic() < end, f"{what} never came:\n{self.log()}"
            time.sleep(0.02)

    def lines(self, pattern, since=0):
        return [m.group(0) for m in re.finditer(pattern, self.log()[since:], re.M)]

    def wait(self, pattern, since=0, n=1):
        """Lines of its log that match, once there are n."""
        self.until(lambda: len(self.lines(pattern, since)) >= n, f"{n} of {pattern}")
        return self.lines(pattern, since)

    def mark(self):
        return len(self.log())

    def messages(self, user):
        name, _, domain = user.partition("@")
        new = self.dir / "mail" / domain / name / "new"
        return [f.read_bytes() for f in sorted(new.iterdir(), key=lambda f: f.stat().st_mtime_ns)] if new.is_dir() else []

    def mail(self, user, n=1):
        self.until(lambda: len(self.messages(user)) >= n, f"message {n} of {user}")
        return self.messages(user)
