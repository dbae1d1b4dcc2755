# What postern has put in quarantine goes to Junk; see dovecot-lmtp.conf.
require "fileinto";

if header :contains "X-Postern-Quarantine" "yes" {
  fileinto "Junk";
}
