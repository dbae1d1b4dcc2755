/* SPDX-License-Identifier: ISC */
/*
 * The option tables of what no room owns: host name, domains, TLS, resolver,
 * log, queue.  Pure.
 */
#include <stddef.h>
#include <string.h>

#include "smtpd/base/conn.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/config_inside.h"
#include "smtpd/setup/dns/dns_records.h"
#include "smtpd/setup/keys/life.h"
#include "smtpd/setup/signing.h"

/* ---- checks of single values --------------------------------------------- */

static bool is_host_name(str value, struct arena *a, str *why)
{
	str ascii;

	if (domain_to_ascii(a, value, &ascii) && str_holds(ascii, '.'))
		return true;
	*why = STR("must be a full host name such as \"mail.example.org\"");
	return false;
}

static bool is_endpoint(str value, struct arena *a, str *why)
{
	struct endpoint e;

	(void)a;
	if (value.n == 0 || endpoint_parse(value, 0, &e))
		return true;
	*why = STR("must be ADDR:PORT, [V6]:PORT or unix:/path");
	return false;
}

static bool is_address_or_empty(str value, struct arena *a, str *why)
{
	struct path p;

	if (value.n == 0 || (path_of(a, value, &p) && p.domain.n > 0))
		return true;
	*why = STR("must be a mail address such as \"user@example.org\"");
	return false;
}

static bool is_reflector(str value, struct arena *a, str *why)
{
	struct path p;

	*why = STR("must be the part before the @, such as \"check-auth\", and not postmaster or abuse");
	return value.n == 0 || (path_build(a, value, STR("example.org"), &p) && str_eq(p.local, value) && !str_holds(value, '@') &&
	                        !str_is_nocase(value, "postmaster") && !str_is_nocase(value, "abuse"));
}

static bool is_absolute(str value, struct arena *a, str *why)
{
	(void)a;
	if (value.n == 0 || value.p[0] == '/')
		return true;
	*why = STR("must be a path that begins with /");
	return false;
}

static bool is_mode(str value, struct arena *a, str *why)
{
	(void)a;
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < '0' || value.p[i] > '7')
			value.n = 0;
	if (value.n == 3 || value.n == 4)
		return true;
	*why = STR("must be octal permissions such as \"0700\"");
	return false;
}

static bool is_plus(str value, struct arena *a, str *why)
{
	(void)a;
	if (value.n == 0 || (value.n == 1 && strchr("+-_=.", value.p[0]) != NULL))
		return true;
	*why = STR("must be one of + - _ = . or empty");
	return false;
}

static bool is_tcp_endpoint(str value, struct arena *a, str *why)
{
	struct endpoint e;

	(void)a;
	*why = STR("must be ADDR:PORT or [V6]:PORT");
	return endpoint_parse(value, 0, &e) && !e.is_unix && !e.is_name;
}

/* HOST or HOST:PORT. */
static bool is_imap(str value, struct arena *a, str *why)
{
	struct endpoint e;
	str ascii;

	*why = STR("must be HOST, HOST:PORT or none");
	return value.n == 0 || (endpoint_parse(value, 993, &e) && !e.is_unix && domain_to_ascii(a, e.host, &ascii));
}

static bool is_mx_pattern(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be an MX host's name in ASCII, or *.DOMAIN");
	return domain_valid(str_starts(value, "*.") ? str_skip(value, 2) : value);
}

/* ---- tables ---------------------------------------------------------------- */

static const char *const tls_versions[] = { "1.2", "1.3", NULL };
static const char *const log_targets[] = { "stderr", "syslog", "file", NULL };
static const char *const log_levels[] = { "debug", "info", "notice", "warn", "error", NULL };
static const char *const algorithms[] = { "auto", "rsa-sha256", "ed25519-sha256", NULL };

#define OPT(s, field, type_, name_, fallback_, help_) \
	.name = (name_), .type = (type_), .offset = offsetof(struct s, field), .fallback = (fallback_), .help = (help_)

static const struct conf_option tls_options[] = {
	{ OPT(tls_section, certificate, CONF_LIST, "certificate", NULL, "PEM files, each a certificate with its chain; the first is used when a client asks for no name"),
	  .example = "/etc/letsencrypt/live/mail.example.org/fullchain.pem" },
	{ OPT(tls_section, key, CONF_LIST, "key", NULL, "PEM files with the private keys, in the order of the certificates"),
	  .example = "/etc/letsencrypt/live/mail.example.org/privkey.pem" },
	{ OPT(tls_section, minimum, CONF_WORD, "minimum", "1.2", "the oldest TLS version that is spoken"), .words = tls_versions },
	{ OPT(tls_section, client_ca, CONF_STRING, "client-ca", NULL, "PEM file of the CA whose client certificates are recognised; empty: none is asked for"), .check = is_absolute,
	  .example = "/etc/postern/clients.pem" },
	{ 0 },
};

static void tls_checked(void *section, struct conf_reader *r)
{
	const struct tls_section *t = section;

	if (t->certificate.n != t->key.n)
		conf_fault(r, &t->head, t->key.n > t->certificate.n ? "key" : "certificate",
		           "section `tls` names %zu certificate%s and %zu key%s: name one key for each certificate, in the "
		           "same order", t->certificate.n, t->certificate.n == 1 ? "" : "s", t->key.n, t->key.n == 1 ? "" : "s");
}

const struct conf_section config_tls = {
	.name = "tls", .options = tls_options, .size = sizeof(struct tls_section),
	.offset = offsetof(struct config, tls), .check = tls_checked,
	.help = "Certificates. Files are read again when they change.",
};

static const struct conf_option resolver_options[] = {
	{ OPT(resolver_section, forward, CONF_LIST, "forward", NULL, "name servers that are asked instead of the root, ADDR:PORT each; empty: full recursion, no daemon needed"), .check = is_endpoint,
	  .example = "127.0.0.1:53" },
	{ OPT(resolver_section, trust_anchor, CONF_STRING, "trust-anchor", "/usr/share/dns/root.key", "the root's DNSSEC keys, of Debian's dns-root-data; without the file nothing is validated"), .check = is_absolute },
	{ OPT(resolver_section, timeout_ms, CONF_TIME, "timeout", "5s", "how long one question may take"), .least = 100, .most = 60000 },
	{ OPT(resolver_section, records, CONF_STRING, "records", NULL, "a file of local answers, one `NAME TYPE DATA` a line, that come before all others; the playground uses it"), .check = is_absolute,
	  .example = "/etc/postern/records" },
	{ OPT(resolver_section, authority_port, CONF_NUMBER, "authority-port", "53", "where the authoritative servers of a zone answer when they are asked one by one (keys, doctor); another than 53 is for tests"), .least = 1, .most = 65535 },
	{ 0 },
};

const struct conf_section config_resolver = {
	.name = "resolver", .options = resolver_options, .size = sizeof(struct resolver_section),
	.offset = offsetof(struct config, resolver),
	.help = "How names are looked up.",
};

static const struct conf_option log_options[] = {
	{ OPT(log_section, to, CONF_WORD, "to", "stderr", "where it is written; standard error is what systemd and containers collect"), .words = log_targets },
	{ OPT(log_section, file, CONF_STRING, "file", NULL, "the log file when to = file; opened again at reload"), .check = is_absolute,
	  .example = "/var/log/postern.log" },
	{ OPT(log_section, level, CONF_WORD, "level", "info", "the least level that is written"), .words = log_levels },
	{ 0 },
};

static void log_checked(void *section, struct conf_reader *r)
{
	const struct log_section *l = section;

	if (l->to == 2 && l->file.n == 0)
		conf_fault(r, &l->head, "to", "to = file needs a file: add file = \"/var/log/postern.log\"");
}

const struct conf_section config_log = {
	.name = "log", .options = log_options, .size = sizeof(struct log_section),
	.offset = offsetof(struct config, log), .check = log_checked,
	.help = "Where the log goes.",
};

static const struct conf_option queue_options[] = {
	{ OPT(queue_section, map_bytes, CONF_SIZE, "size", "4 GiB", "the most that the queue's store may hold; its file grows as needed"), .least = 16 << 20, .most = (uint64_t)1 << 44 },
	{ OPT(queue_section, full_percent, CONF_NUMBER, "full", "90", "new mail is taken until the store is this full, in percent; the rest belongs to deliveries"), .least = 10, .most = 98 },
	{ OPT(queue_section, free_disk_percent, CONF_NUMBER, "free-disk", "5", "new mail is taken while at least this much of the file system is free, in percent"), .most = 90 },
	{ OPT(queue_section, keep_finished_ms, CONF_TIME, "keep-finished", "7d", "how long \"postern queue show\" can say what became of a message that has gone; 0s: not at all") },
	{ 0 },
};

const struct conf_section config_queue = {
	.name = "queue", .options = queue_options, .size = sizeof(struct queue_section),
	.offset = offsetof(struct config, queue),
	.help = "The store of what was accepted.",
};

static const char *const sts_modes[] = { "off", "none", "testing", "enforce", NULL };

static const struct conf_option web_options[] = {
	{ OPT(web_section, address, CONF_LIST, "address", NULL, "where autoconfiguration for mail programs and the MTA-STS policy are served over HTTPS, ADDR:PORT each; empty: nowhere"), .check = is_tcp_endpoint,
	  .example = "0.0.0.0:443,[::]:443" },
	{ OPT(web_section, imap, CONF_STRING, "imap", NULL, "the IMAP server that mail programs are told of, HOST or HOST:PORT, TLS from the first octet; default hostname, port 993; none: there is none"), .check = is_imap,
	  .example = "imap.example.org:993" },
	{ OPT(web_section, sts, CONF_WORD, "sts", "testing", "the MTA-STS policy of our domains: testing is reported, enforce is obeyed by who sends to us; none takes an older one back; off: there is no policy"), .words = sts_modes },
	{ OPT(web_section, sts_max_age_ms, CONF_TIME, "sts-max-age", "7d", "how long others keep that policy; a change takes as long at most to be known everywhere"), .least = 3600000, .most = (uint64_t)365 * 86400000 },
	{ OPT(web_section, sts_mx, CONF_LIST, "sts-mx", NULL, "the MX hosts of our domains, as that policy names them; default hostname"), .check = is_mx_pattern,
	  .example = "mail.example.org" },
	{ 0 },
};

const struct conf_section config_web = {
	.name = "web", .options = web_options, .size = sizeof(struct web_section),
	.offset = offsetof(struct config, web),
	.help = "What mail programs and other mail servers ask for over HTTPS, with the certificate of tls {}: it needs the names "
	        "autoconfig.DOMAIN, autodiscover.DOMAIN and mta-sts.DOMAIN, too. Off by default.",
};

static const struct conf_option dkim_options[] = {
	{ OPT(dkim_section, key, CONF_STRING, "key", NULL, "PEM file of the private key; default STATE/keys/DOMAIN/SELECTOR.pem, where `postern key generate` puts it"), .check = is_absolute,
	  .example = "/var/lib/postern/keys/example.org/NAME.pem" },
	{ OPT(dkim_section, algorithm, CONF_WORD, "algorithm", "auto", "auto takes what the key is made for"), .words = algorithms },
	{ OPT(dkim_section, headers, CONF_LIST, "headers", NULL, "header fields that are signed; empty: the usual list, over-signed"),
	  .example = "From,To,Subject,Date,Message-ID" },
	{ OPT(dkim_section, expire, CONF_STRING, "expire", "auto", "how long a signature is valid (x=), from when the message may leave first: auto (as long as relay {} tries, and a day), none, or a time; what leaves later is signed anew"), .check = signing_expire_ok },
	{ OPT(dkim_section, gate, CONF_BOOL, "gate", "yes", "whether the key stops signing while an authoritative server of the domain shows another record for it, or none") },
	{ OPT(dkim_section, look_ms, CONF_TIME, "look", "1h", "how often those servers are asked; a minute after the start for the first time"), .least = 1000 },
	{ 0 },
};

static const struct conf_section dkim_section = {
	.name = "dkim", .options = dkim_options, .size = sizeof(struct dkim_section), .titled = true,
	.offset = offsetof(struct domain_section, dkim),
	.help = "A DKIM key that signs what this domain sends; the title is its selector.",
};

static const char *const unsigned_words[] = { "send", "hold", NULL };

static bool is_key_algorithm(str value, struct arena *a, str *why)
{
	enum life_algorithm algorithm;

	(void)a;
	*why = STR("must be rsa-2048, ed25519, rsa-1024, rsa-3072 or rsa-4096");
	return life_algorithm_of(value, &algorithm);
}

static const struct conf_option update_options[] = {
	{ OPT(update_section, server, CONF_STRING, "server", NULL, "the server that takes updates of the zone (RFC 2136), ADDR:PORT or HOST:PORT; empty: the records are pasted by a person"),
	  .example = "192.0.2.53:53" },
	{ OPT(update_section, key_name, CONF_STRING, "key-name", NULL, "the TSIG key's name on that server"),
	  .example = "postern." },
	{ OPT(update_section, key_algorithm, CONF_STRING, "key-algorithm", "hmac-sha256", "what the TSIG key is made for") },
	{ OPT(update_section, key_file, CONF_STRING, "key-file", NULL, "the TSIG key's secret in base64, alone or as tsig-keygen and keymgr write it; the server's user must be able to read it"), .check = is_absolute,
	  .example = "/etc/postern/tsig.key" },
	{ 0 },
};

static void update_checked(void *section, struct conf_reader *r)
{
	const struct update_section *u = section;

	if (u->server.n == 0 && u->key_name.n == 0 && u->key_file.n == 0)
		return;
	if (u->server.n == 0 || u->key_name.n == 0 || u->key_file.n == 0)
		conf_fault(r, &u->head, u->server.n == 0 ? NULL : "server", "section `update` needs server, key-name and key-file: "
		           "add what is missing, or take the section out");
}

static const struct conf_section update_section = {
	.name = "update", .options = update_options, .size = sizeof(struct update_section), .optional = true,
	.offset = offsetof(struct keys_section, update), .check = update_checked,
	.help = "Where the domain's DNS takes updates: the keys' records are written there, emptied and removed without anybody's help.",
};

static const struct conf_option keys_options[] = {
	{ OPT(keys_section, rotate_ms, CONF_TIME, "rotate", "90d", "how long a key signs until the next one's turn comes; 0s: until `postern key rotate`") },
	{ OPT(keys_section, prepare, CONF_NUMBER, "prepare", "4", "how many sets of keys are made at a time, so that their records are pasted once for all of them"), .least = 1, .most = 26 },
	{ OPT(keys_section, algorithms, CONF_LIST, "algorithms", "rsa-2048,ed25519", "a set has one key of each: rsa-2048, ed25519, or RSA of another size"), .check = is_key_algorithm },
	{ OPT(keys_section, look_ms, CONF_TIME, "look", "1h", "time between the two looks after which a key may sign, and between all later ones"), .least = 1000 },
	{ OPT(keys_section, first_look_ms, CONF_TIME, "first-look", "1m", "the same while no key of the domain is out"), .least = 1000 },
	{ OPT(keys_section, gate, CONF_BOOL, "gate", "yes", "whether a key signs only once every authoritative server that answers shows its record; no: at once") },
	{ OPT(keys_section, unsigned_mail, CONF_WORD, "unsigned", "send", "what becomes of mail while no key is out: it is sent without a signature, or held until one is"), .words = unsigned_words },
	{ OPT(keys_section, revoke, CONF_BOOL, "revoke", "yes", "whether the record of a key that has served is to be emptied (p=), which says that it is revoked; no: it may be removed") },
	{ OPT(keys_section, publish, CONF_BOOL, "publish-old-private-keys", "no", "whether the private part of a key is written to STATE/keys/DOMAIN/published once DNS does not show it any more, so that old mail proves nothing") },
	{ 0 },
};

static const struct conf_section *const keys_sections[] = { &update_section, NULL };

static void keys_checked(void *section, struct conf_reader *r)
{
	const struct keys_section *k = section;

	if (k->algorithms.n == 0 || k->algorithms.n > LIFE_ALGORITHMS)
		conf_fault(r, &k->head, "algorithms", "option `algorithms` in section `keys` must name one algorithm at least, such as "
		           "\"rsa-2048\", and each once");
	if (k->first_look_ms > k->look_ms)
		conf_fault(r, &k->head, "first-look", "first-look must not be longer than look: shorten it");
}

static const struct conf_section keys_section = {
	.name = "keys", .options = keys_options, .size = sizeof(struct keys_section), .optional = true, .sections = keys_sections,
	.offset = offsetof(struct domain_section, keys), .check = keys_checked,
	.help = "The server makes this domain's DKIM keys, lets them sign once DNS shows them, and replaces them: see postern-key(8). "
	        "Without this section only those of dkim sections sign.",
};

static const struct conf_option deliver_options[] = {
	{ OPT(deliver_section, maildir, CONF_STRING, "maildir", "/var/mail/%d/%u", "the Maildir of an account; %d is the domain, %u the local part"), .check = is_absolute },
	{ OPT(deliver_section, lmtp, CONF_STRING, "lmtp", NULL, "an LMTP server instead of Maildirs: ADDR:PORT or unix:/path"), .check = is_endpoint,
	  .example = "unix:/run/dovecot/lmtp" },
	{ OPT(deliver_section, user, CONF_STRING, "user", NULL, "whose the mailboxes are; default, and so far the only choice, is the server's own user"),
	  .example = "postern" },
	{ OPT(deliver_section, group, CONF_STRING, "group", NULL, "the mailboxes' group, of which the server's user is a member; default its own"),
	  .example = "dovecot" },
	{ OPT(deliver_section, junk_detail, CONF_BOOL, "junk-detail", "no", "with lmtp: whether quarantined mail goes to user+Junk instead of user, for a server that puts details into folders; the field X-Postern-Quarantine is there in any case") },
	{ OPT(deliver_section, mode, CONF_STRING, "mode", "0700", "permissions of the mailboxes' directories; files get the same without x"), .check = is_mode },
	{ 0 },
};

static const struct conf_section deliver_section = {
	.name = "deliver", .options = deliver_options, .size = sizeof(struct deliver_section),
	.offset = offsetof(struct domain_section, deliver),
	.help = "Where this domain's mail is put.",
};

/* What is not given is as the domain has it: so nothing has a default. */
static const struct conf_option account_deliver_options[] = {
	{ OPT(deliver_section, maildir, CONF_STRING, "maildir", NULL, "the Maildir of this account; default: as its domain has it, and so with the others"), .check = is_absolute,
	  .example = "/srv/mail/info" },
	{ OPT(deliver_section, lmtp, CONF_STRING, "lmtp", NULL, "an LMTP server instead: ADDR:PORT or unix:/path"), .check = is_endpoint,
	  .example = "unix:/run/archive/lmtp" },
	{ OPT(deliver_section, group, CONF_STRING, "group", NULL, "the mailbox's group, of which the server's user is a member"),
	  .example = "dovecot" },
	{ OPT(deliver_section, junk_detail, CONF_BOOL, "junk-detail", "no", "with lmtp: whether quarantined mail goes to user+Junk") },
	{ OPT(deliver_section, mode, CONF_STRING, "mode", NULL, "permissions of the mailbox's directories"), .check = is_mode,
	  .example = "0750" },
	{ 0 },
};

static const struct conf_section account_deliver_section = {
	.name = "deliver", .options = account_deliver_options, .size = sizeof(struct deliver_section),
	.offset = offsetof(struct account_section, deliver),
	.help = "Where this account's mail is put; what stands not here is as the domain has it.",
};

static const struct conf_section account_allowance_section = {
	.name = "allowance", .options = account_allowance_options, .size = sizeof(struct allowance_conf),
	.offset = offsetof(struct account_section, allowance),
	.help = "What this account may send; what stands not here is as the top's allowance has it.",
};

static const struct conf_section *const account_sections[] = { &account_deliver_section, &account_allowance_section, NULL };

static void deliver_checked(const struct deliver_section *d, struct conf_reader *r)
{
	if (d->lmtp.n > 0 && conf_given(&d->head, "maildir"))
		conf_fault(r, &d->head, "lmtp", "either maildir or lmtp: take one of them out");
	if (d->junk_detail && conf_given(&d->head, "maildir"))
		conf_fault(r, &d->head, "junk-detail", "junk-detail is for lmtp; a Maildir has the folder .Junk: take it out");
}

static void account_checked(void *section, struct conf_reader *r)
{
	deliver_checked(&((const struct account_section *)section)->deliver, r);
}

/* "@example.org" is all of a domain. */
static bool is_grant(str value, struct arena *a, str *why)
{
	struct path p;

	*why = STR("must be a mail address such as \"info@example.org\", or \"@example.org\" for every one of a domain");
	if (value.n > 1 && value.p[0] == '@')
		return domain_valid(str_skip(value, 1));
	return path_of(a, value, &p) && p.domain.n > 0;
}

static const char *const notice_words[] = { "auto", "yes", "no", NULL };

static const struct conf_option account_section_options[] = {
	{ OPT(account_section, send_as, CONF_LIST, "send-as", NULL, "addresses beside its own and its aliases that the account may send as; @example.org is every one of a domain"), .check = is_grant,
	  .example = "info@example.org,@example.com" },
	{ OPT(account_section, grace.wait_ms, CONF_TIME, "grace", NULL, "how long each of its messages waits before it leaves; default: as submission {} has it"),
	  .example = "2m", .most = (uint64_t)7 * 86400 * 1000 },
	{ OPT(account_section, grace.notice, CONF_WORD, "grace-notice", NULL, "whether it is sent a notice of each message that waits; default: as submission {} has it"),
	  .example = "yes", .words = notice_words },
	{ 0 },
};

static const struct conf_section account_section = {
	.name = "account", .size = sizeof(struct account_section), .titled = true, .sections = account_sections,
	.options = account_section_options,
	.offset = offsetof(struct domain_section, accounts), .check = account_checked,
	.help = "What one account of this domain has of its own; the title is its name. "
	        "Accounts are made with `postern account add`, not here.",
};

static const struct conf_option domain_options[] = {
	{ OPT(domain_section, aliases, CONF_STRING, "aliases", NULL, "alias file, `name: target, target` a line; read again within a minute when it has changed"), .check = is_absolute,
	  .example = "/etc/postern/aliases" },
	{ OPT(domain_section, catch_all, CONF_STRING, "catch-all", NULL, "who gets the mail for names that do not exist; empty: it is refused"), .check = is_address_or_empty,
	  .example = "info@example.org" },
	{ OPT(domain_section, copy, CONF_STRING, "copy", NULL, "an address that gets a copy of every message of this domain, in and out, with the envelope in fields named X-Postern-Copy-…"), .check = is_address_or_empty,
	  .example = "archive@example.org" },
	{ OPT(domain_section, route, CONF_STRING, "route", NULL, "HOST:PORT where mail from submission to this domain goes instead of straight to the mailbox"),
	  .example = "127.0.0.1:25" },
	{ OPT(domain_section, reflector, CONF_STRING, "reflector", NULL, "the name of an address of this domain whose answer is a report: what SPF, DKIM, DMARC and the other methods say of the message sent to it; empty: there is none"), .check = is_reflector,
	  .example = "check-auth" },
	{ OPT(domain_section, require, CONF_WORD, "require", "password", "what its accounts' logins need to send: only the password, a device password, a client certificate and the password, the password with a code behind it, or a token"), .words = auth_require_words },
	{ 0 },
};

static const struct conf_section *const domain_sections[] = { &dkim_section, &keys_section, &config_signing, &config_dmarc, &deliver_section, &account_section, NULL };

static void domain_checked(void *section, struct conf_reader *r)
{
	struct domain_section *d = section;
	struct endpoint e;

	if (d->route.n > 0 && !endpoint_parse(d->route, 0, &e))
		conf_fault(r, &d->head, "route", "option `route` in section `domain`: `%.*s` must be HOST:PORT, such as \"127.0.0.1:25\"",
		           STR_ARG(d->route));
	if (d->signings.n > 0 && d->dkim.n == 0 && !d->keys.head.given)
		conf_fault(r, &d->head, NULL, "section `signing` in domain \"%.*s\", which has no keys: add a section `keys`, or take it out",
		           STR_ARG(d->head.title));
	deliver_checked(&d->deliver, r);
}

const struct conf_section config_domain = {
	.name = "domain", .options = domain_options, .sections = domain_sections,
	.size = sizeof(struct domain_section), .titled = true,
	.offset = offsetof(struct config, domains), .check = domain_checked,
	.help = "A domain that receives here and whose accounts send from here.", .example = "example.org",
};

const struct conf_option config_root_options[] = {
	{ OPT(config, hostname, CONF_STRING, "hostname", NULL, "this server's own name, as its PTR record and certificate have it"), .check = is_host_name,
	  .example = "mail.example.org", .required = true },
	{ OPT(config, state, CONF_STRING, "state", "/var/lib/postern", "the directory of queue, keys and accounts; only the server writes there"), .check = is_absolute },
	{ OPT(config, user, CONF_STRING, "user", "postern", "the user that the server becomes when it is started as root") },
	{ OPT(config, loops, CONF_NUMBER, "loops", "0", "threads that talk to the network; 0: one for each processor"), .most = 256 },
	{ OPT(config, plus, CONF_STRING, "plus", "+", "what separates a detail from the account's name, as in alice+shop@example.org; empty: nothing does"), .check = is_plus },
	{ OPT(config, environment, CONF_BOOL, "environment", "no", "whether ${NAME} in this file stands for an environment variable") },
	{ 0 },
};

const struct conf_option config_verify_options[] = {
	{ OPT(verify_section, authserv_id, CONF_STRING, "authserv-id", NULL, "our name in Authentication-Results; default: hostname"),
	  .example = "mail.example.org" },
	{ OPT(verify_section, trial, CONF_BOOL, "trial", "no", "do everything and refuse nothing: what would have been refused is logged as message.would-refuse") },
	{ 0 },
};
