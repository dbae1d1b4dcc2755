# SPDX-License-Identifier: ISC
"""Debian's exim4-daemon-light, unpacked: it judges neither SPF nor DMARC, but
takes logins and signs.
"""

import os

from house import NOBODY, program, wait_port
from peer import DOMAIN, PASSWORD, UNPACKED, USER, Peer


class Exim(Peer):
    name = "exim"
    works = ("box", "send", "box-single", "send-single", "idle")
    lacks = "Debian's light build judges neither SPF nor DMARC"
    programs = ("exim4",)
    folders = [f / "usr/sbin" for f in UNPACKED]

    def configuration(self):
        return f"""
primary_hostname = mail.{DOMAIN}
exim_user = nobody
exim_group = nogroup
spool_directory = {self.dir}/spool
log_file_path = {self.dir}/spool/exim-%slog
keep_environment =
exim_path = {program("exim4", self.folders)}
local_interfaces = 127.0.0.1
daemon_smtp_ports = 25 : 587
tls_advertise_hosts = *
tls_certificate = {self.secrets}/cert.pem
tls_privatekey = {self.secrets}/cert.key
split_spool_directory = yes
smtp_accept_max = {max(200, self.connections + 100)}
smtp_accept_max_per_connection = 1000000
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1000
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept domains = {DOMAIN}
  accept authenticated = *
  deny
begin routers
box:
  driver = accept
  domains = {DOMAIN}
  transport = box
out:
  driver = manualroute
  domains = ! {DOMAIN}
  route_list = * 127.0.0.1::{self.sink_port}
  self = send
  transport = out
begin transports
box:
  driver = appendfile
  directory = {self.dir}/mail/{USER}
  maildir_format
  create_directory
  user = nobody
  group = nogroup
out:
  driver = smtp
  allow_localhost = yes
  dkim_domain = {DOMAIN}
  dkim_selector = s1
  dkim_private_key = {self.secrets}/dkim.pem
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_advertise_condition = ${{if def:tls_in_cipher}}
  server_condition = ${{if and{{{{eq{{$auth2}}{{{USER}@{DOMAIN}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}
  server_set_id = $auth2
"""

    def start(self):
        conf = self.dir / "exim.conf"
        for folder in (self.dir / "mail", self.dir / "spool"):
            folder.mkdir()
            os.chown(folder, NOBODY, NOBODY)
        self.maildir = self.dir / "mail" / USER
        self.house.know_users({"Debian-exim": NOBODY})
        conf.write_text(self.configuration())
        self.daemon(program("exim4", self.folders), "-C", conf, "-bdf", "-q30m")
        wait_port(self.mx)
