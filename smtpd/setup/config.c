/* SPDX-License-Identifier: ISC */
/*
 * The root of the option tables: what no room owns (host name, domains, TLS,
 * resolver, log) stands here, the rest is each room's own table, hung in.
 *
 * The sections of modules are built into verify {} from the visible array of
 * modules, so that a new module brings its options along and nothing here
 * changes.  Main thread (and keeper).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "modules/arc/arc.h"
#include "modules/deny/deny.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/conn.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/verbs.h"

#define MAX_MODULES 32

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
		           "%zu certificates but %zu keys: name one key for each certificate, in the same order",
		           t->certificate.n, t->key.n);
}

static const struct conf_section tls_section = {
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
	{ 0 },
};

static const struct conf_section resolver_section = {
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

static const struct conf_section log_section = {
	.name = "log", .options = log_options, .size = sizeof(struct log_section),
	.offset = offsetof(struct config, log), .check = log_checked,
	.help = "Where the log goes.",
};

static const struct conf_option queue_options[] = {
	{ OPT(queue_section, map_bytes, CONF_SIZE, "size", "4 GiB", "the most that the queue's store may hold; its file grows as needed"), .least = 16 << 20, .most = (uint64_t)1 << 44 },
	{ OPT(queue_section, full_percent, CONF_NUMBER, "full", "90", "new mail is taken until the store is this full, in percent; the rest belongs to deliveries"), .least = 10, .most = 98 },
	{ OPT(queue_section, free_disk_percent, CONF_NUMBER, "free-disk", "5", "new mail is taken while at least this much of the file system is free, in percent"), .most = 90 },
	{ 0 },
};

static const struct conf_section queue_section = {
	.name = "queue", .options = queue_options, .size = sizeof(struct queue_section),
	.offset = offsetof(struct config, queue),
	.help = "The store of what was accepted.",
};

static const struct conf_option dkim_options[] = {
	{ OPT(dkim_section, key, CONF_STRING, "key", NULL, "PEM file of the private key; default STATE/keys/DOMAIN/SELECTOR.pem, where `postern key generate` puts it"), .check = is_absolute,
	  .example = "/var/lib/postern/keys/example.org/NAME.pem" },
	{ OPT(dkim_section, algorithm, CONF_WORD, "algorithm", "auto", "auto takes what the key is made for"), .words = algorithms },
	{ OPT(dkim_section, headers, CONF_LIST, "headers", NULL, "header fields that are signed; empty: the usual list, over-signed"),
	  .example = "From,To,Subject,Date,Message-ID" },
	{ OPT(dkim_section, expire_ms, CONF_TIME, "expire", "0s", "how long a signature is valid (x=); 0: without end") },
	{ 0 },
};

static const struct conf_section dkim_section = {
	.name = "dkim", .options = dkim_options, .size = sizeof(struct dkim_section), .titled = true,
	.offset = offsetof(struct domain_section, dkim),
	.help = "A DKIM key that signs what this domain sends; the title is its selector.",
};

static const struct conf_option deliver_options[] = {
	{ OPT(deliver_section, maildir, CONF_STRING, "maildir", "/var/mail/%d/%u", "the Maildir of an account; %d is the domain, %u the local part"), .check = is_absolute },
	{ OPT(deliver_section, lmtp, CONF_STRING, "lmtp", NULL, "an LMTP server instead of Maildirs: ADDR:PORT or unix:/path"), .check = is_endpoint,
	  .example = "unix:/run/dovecot/lmtp" },
	{ OPT(deliver_section, user, CONF_STRING, "user", NULL, "whose the mailboxes are; default, and so far the only choice, is the server's own user"),
	  .example = "postern" },
	{ OPT(deliver_section, group, CONF_STRING, "group", NULL, "the mailboxes' group, of which the server's user is a member; default its own"),
	  .example = "dovecot" },
	{ OPT(deliver_section, mode, CONF_STRING, "mode", "0700", "permissions of the mailboxes' directories; files get the same without x"), .check = is_mode },
	{ 0 },
};

static const struct conf_section deliver_section = {
	.name = "deliver", .options = deliver_options, .size = sizeof(struct deliver_section),
	.offset = offsetof(struct domain_section, deliver),
	.help = "Where this domain's mail is put.",
};

static const struct conf_option domain_options[] = {
	{ OPT(domain_section, aliases, CONF_STRING, "aliases", NULL, "alias file, `name: target, target` a line"), .check = is_absolute,
	  .example = "/etc/postern/aliases" },
	{ OPT(domain_section, catch_all, CONF_STRING, "catch-all", NULL, "who gets the mail for names that do not exist; empty: it is refused"), .check = is_address_or_empty,
	  .example = "info@example.org" },
	{ OPT(domain_section, copy, CONF_STRING, "copy", NULL, "an address that gets a copy of every message of this domain, in and out"), .check = is_address_or_empty,
	  .example = "archive@example.org" },
	{ OPT(domain_section, route, CONF_STRING, "route", NULL, "HOST:PORT where mail from submission to this domain goes instead of straight to the mailbox"),
	  .example = "127.0.0.1:25" },
	{ 0 },
};

static const struct conf_section *const domain_sections[] = { &dkim_section, &deliver_section, NULL };

static void domain_checked(void *section, struct conf_reader *r)
{
	struct domain_section *d = section;
	struct endpoint e;

	if (d->route.n > 0 && !endpoint_parse(d->route, 0, &e))
		conf_fault(r, &d->head, "route", "\"%.*s\" must be HOST:PORT", STR_ARG(d->route));
	if (d->deliver.lmtp.n > 0 && conf_given(&d->deliver.head, "maildir"))
		conf_fault(r, &d->deliver.head, "lmtp", "either maildir or lmtp: take one of them out");
}

static const struct conf_section domain_section = {
	.name = "domain", .options = domain_options, .sections = domain_sections,
	.size = sizeof(struct domain_section), .titled = true,
	.offset = offsetof(struct config, domains), .check = domain_checked,
	.help = "A domain that receives here and whose accounts send from here.", .example = "example.org",
};

static const struct conf_option root_options[] = {
	{ OPT(config, hostname, CONF_STRING, "hostname", NULL, "this server's own name, as its PTR record and certificate have it"), .check = is_host_name,
	  .example = "mail.example.org", .required = true },
	{ OPT(config, state, CONF_STRING, "state", "/var/lib/postern", "the directory of queue, keys and accounts; only the server writes there"), .check = is_absolute },
	{ OPT(config, user, CONF_STRING, "user", "postern", "the user that the server becomes when it is started as root") },
	{ OPT(config, loops, CONF_NUMBER, "loops", "0", "threads that talk to the network; 0: one for each processor"), .most = 256 },
	{ OPT(config, plus, CONF_STRING, "plus", "+", "what separates a detail from the account's name, as in alice+shop@example.org; empty: nothing does"), .check = is_plus },
	{ OPT(config, environment, CONF_BOOL, "environment", "no", "whether ${NAME} in this file stands for an environment variable") },
	{ 0 },
};

static const struct conf_option verify_options[] = {
	{ OPT(verify_section, authserv_id, CONF_STRING, "authserv-id", NULL, "our name in Authentication-Results; default: hostname"),
	  .example = "mail.example.org" },
	{ OPT(verify_section, trial, CONF_BOOL, "trial", "no", "do everything and refuse nothing: what would have been refused is logged as message.would-refuse") },
	{ 0 },
};

/* ---- the root, with the modules' sections hung in -------------------------- */

struct tables {
	struct conf_section modules[MAX_MODULES], auth, limits, listener, relay, verify, trust, deny, root;
	const struct conf_section *verify_sections[MAX_MODULES + 1], *root_sections[16];
	size_t module_offset[MAX_MODULES];
};

static struct conf_section at(const struct conf_section *s, size_t offset)
{
	struct conf_section copy = *s;

	copy.offset = offset;
	return copy;
}

static size_t aligned(size_t n)
{
	return (n + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
}

static void hang_modules_in(struct tables *t)
{
	size_t n = 0, size = aligned(sizeof(struct verify_section));

	for (size_t i = 0; builtin_modules[i] != NULL; i++) {
		const struct conf_section *s = builtin_modules[i]->section;

		must(i < MAX_MODULES);
		if (s == NULL)
			continue;
		t->module_offset[i] = size;
		t->modules[n] = at(s, size);
		t->verify_sections[n] = &t->modules[n];
		size += aligned(s->size);
		n++;
	}
	t->verify = (struct conf_section){
		.name = "verify", .options = verify_options, .sections = t->verify_sections, .size = size,
		.help = "How mail from strangers is judged, one section for each method.",
	};
}

/* verify {} is as large as its modules make it, so it lies behind the config. */
static void tables_make(struct tables *t)
{
	memset(t, 0, sizeof(*t));
	hang_modules_in(t);
	t->auth = at(&auth_section, offsetof(struct config, auth));
	t->limits = at(&limits_section, offsetof(struct config, limits));
	t->listener = at(&listener_section, offsetof(struct config, listeners));
	t->relay = at(&relay_section, offsetof(struct config, relay));
	t->trust = at(&trust_section, offsetof(struct config, trusts));
	t->deny = at(&deny_section, offsetof(struct config, denies));
	t->verify.offset = aligned(sizeof(struct config));
	const struct conf_section *all[] = { &t->listener, &tls_section, &domain_section, &t->auth, &t->limits,
		                             &t->verify, &t->trust, &t->deny, &t->relay, &queue_section, &resolver_section, &log_section };
	memcpy(t->root_sections, all, sizeof(all));
	t->root = (struct conf_section){
		.help = "Every option of postern with its default, as `postern check --sample` prints it. "
			"Options that are commented out have none; they show an example. "
			"A working file needs two lines: hostname, and a domain. See postern.conf(5).",
		.options = root_options, .sections = t->root_sections,
		.size = t->verify.offset + t->verify.size,
	};
}

void config_sample(struct buf *out)
{
	struct tables t;

	tables_make(&t);
	conf_sample(&t.root, out);
}

/* ---- what follows from what was read ---------------------------------------- */

static struct listener_conf *default_listener(struct arena *a, const char *name, str v4, str v6, int role, int tls)
{
	struct listener_conf *l = ARENA_NEW(a, struct listener_conf);
	str *v = ARENA_ARRAY(a, str, 2);

	if (l == NULL || v == NULL)
		return NULL;
	v[0] = v4;
	v[1] = v6;
	l->head.title = str_of(name);
	l->address = (struct strs){ v, 2 };
	l->role = role;
	l->tls = tls;
	return l;
}

/* CONTRACT: without a listener section there are three. */
static enum err give_listeners(struct config *c, struct arena *a)
{
	if (c->listeners.n > 0)
		return OK;
	c->listeners.v = ARENA_ARRAY(a, void *, 3);
	if (c->listeners.v == NULL)
		return ERR_MEMORY;
	c->listeners.v[0] = default_listener(a, "mx", STR("0.0.0.0:25"), STR("[::]:25"), ROLE_INBOUND, TLS_STARTTLS);
	c->listeners.v[1] = default_listener(a, "submission", STR("0.0.0.0:587"), STR("[::]:587"), ROLE_SUBMISSION, TLS_REQUIRED);
	c->listeners.v[2] = default_listener(a, "submissions", STR("0.0.0.0:465"), STR("[::]:465"), ROLE_SUBMISSION, TLS_IMPLICIT);
	c->listeners.n = 3;
	return c->listeners.v[0] && c->listeners.v[1] && c->listeners.v[2] ? OK : ERR_MEMORY;
}

static void judge_owner(struct config *c, struct domain_section *d, struct arena *a, struct conf_faults *faults)
{
	char *user = str_cstr(a, d->deliver.user), *group = str_cstr(a, d->deliver.group);

	d->place.uid = (uid_t)-1;
	d->place.gid = (gid_t)-1;
	if (d->deliver.user.n > 0) {
		struct passwd *pw = user ? getpwnam(user) : NULL;

		if (pw == NULL)
			conf_fault_add(faults, a, &d->deliver.head, "user",
			               "there is no user \"%.*s\": create it, or take the option out",
			               STR_ARG(d->deliver.user));
		else if (pw->pw_uid != c->uid)
			conf_fault_add(faults, a, &d->deliver.head, "user",
			               "mailboxes of \"%.*s\" cannot be written by the server's user: set the top option "
			               "user to the same name, or use group, or deliver by lmtp",
			               STR_ARG(d->deliver.user));
		else
			d->place.uid = pw->pw_uid;
	}
	if (d->deliver.group.n > 0) {
		struct group *gr = group ? getgrnam(group) : NULL;

		if (gr == NULL)
			conf_fault_add(faults, a, &d->deliver.head, "group",
			               "there is no group \"%.*s\": create it, or take the option out",
			               STR_ARG(d->deliver.group));
		else
			d->place.gid = gr->gr_gid;
	}
}

static void finish_domain(struct config *c, struct domain_section *d, struct arena *a, struct conf_faults *faults)
{
	char *mode = str_cstr(a, d->deliver.mode);

	if (!domain_to_ascii(a, d->head.title, &d->name)) {
		conf_fault_add(faults, a, &d->head, NULL, "\"%.*s\" is not a domain name", STR_ARG(d->head.title));
		return;
	}
	d->place.kind = d->deliver.lmtp.n > 0 ? PLACE_LMTP : PLACE_MAILDIR;
	d->place.path = d->deliver.maildir;
	d->place.lmtp = d->deliver.lmtp;
	d->place.mode = mode ? (mode_t)strtoul(mode, NULL, 8) : 0700;
	judge_owner(c, d, a, faults);
	for (size_t i = 0; i < d->dkim.n; i++) {
		struct dkim_section *k = d->dkim.v[i];

		if (!domain_valid(k->head.title))
			conf_fault_add(faults, a, &k->head, NULL, "\"%.*s\" is not a selector: letters, digits, - and dots",
			               STR_ARG(k->head.title));
		if (k->key.n == 0)
			k->key = arena_printf(a, "%.*s/keys/%.*s/%.*s.pem", STR_ARG(c->state), STR_ARG(d->name),
			                      STR_ARG(k->head.title));
	}
}

/* Without a certificate the server makes one of its own: STARTTLS between
 * servers takes any, mail programs warn once. */
static enum err give_certificate(struct config *c, struct arena *a)
{
	str *v = ARENA_ARRAY(a, str, 2);

	if (c->tls.certificate.n > 0 || c->tls.key.n > 0)
		return OK;
	if (v == NULL)
		return ERR_MEMORY;
	v[0] = arena_printf(a, "%.*s/self-signed.pem", STR_ARG(c->state));
	v[1] = arena_printf(a, "%.*s/self-signed.key", STR_ARG(c->state));
	c->tls.certificate = (struct strs){ &v[0], 1 };
	c->tls.key = (struct strs){ &v[1], 1 };
	c->self_signed = true;
	return OK;
}

static void find_user(struct config *c, struct arena *a, struct conf_faults *faults)
{
	char *name = str_cstr(a, c->user);
	struct passwd *pw;

	c->uid = geteuid();
	c->gid = getegid();
	if (c->uid != 0)
		return;         /* not root: there is nobody to become */
	pw = name ? getpwnam(name) : NULL;
	if (pw != NULL) {
		c->uid = pw->pw_uid;
		c->gid = pw->pw_gid;
	} else if (conf_given(&c->head, "user")) {
		conf_fault_add(faults, a, &c->head, "user",
		               "there is no user \"%.*s\": create it with `useradd --system %.*s`, or name another",
		               STR_ARG(c->user), STR_ARG(c->user));
	}
}

static void list_file(struct config *c, str file, size_t *room, struct arena *a)
{
	if (file.n == 0)
		return;
	if (c->secret_files.n == *room) {
		size_t more = *room ? 2 * *room : 16;
		str *v = ARENA_ARRAY(a, str, more);

		if (v == NULL)
			return;
		if (c->secret_files.n > 0)
			memcpy(v, c->secret_files.v, c->secret_files.n * sizeof(str));
		c->secret_files.v = v;
		*room = more;
	}
	c->secret_files.v[c->secret_files.n++] = file;
}

/* Everything the server opens at start or reload: what a keeper may hand out. */
static void list_files(struct config *c, struct arena *a)
{
	const struct arc_conf *arc = config_module(c, &arc_module);
	size_t room = 0;

	list_file(c, str_of(c->file), &room, a);
	for (size_t i = 0; i < c->tls.certificate.n; i++)
		list_file(c, c->tls.certificate.v[i], &room, a);
	for (size_t i = 0; i < c->tls.key.n; i++)
		list_file(c, c->tls.key.v[i], &room, a);
	list_file(c, c->tls.client_ca, &room, a);
	list_file(c, c->auth.accounts, &room, a);
	list_file(c, c->resolver.records, &room, a);
	if (arc->seal)
		list_file(c, arc->key, &room, a);
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		list_file(c, d->aliases, &room, a);
		for (size_t k = 0; k < d->dkim.n; k++)
			list_file(c, ((const struct dkim_section *)d->dkim.v[k])->key, &room, a);
	}
}

/* `skip` names checks as verify {} has them. */
static void judge_trust(const struct trust_section *t, struct arena *a, struct conf_faults *faults)
{
	const char *names[MAX_MODULES];
	size_t n = 0;

	while (builtin_modules[n] != NULL) {
		names[n] = builtin_modules[n]->name;
		n++;
	}
	for (size_t i = 0; i < t->skip.n; i++) {
		const char *near = conf_nearest(t->skip.v[i], names, n);
		bool known = near != NULL && str_is_nocase(t->skip.v[i], near);

		if (!known)
			conf_fault_add(faults, a, &t->head, "skip", "there is no check \"%.*s\": %s%s", STR_ARG(t->skip.v[i]),
			               near != NULL ? "did you mean " : "name one of verify {}, such as spf, dmarc or dnsbl",
			               near != NULL ? near : "");
	}
}

static enum err finish(struct config *c, const struct tables *t, struct arena *a, struct conf_faults *faults)
{
	size_t n = 0;

	c->verify = (struct verify_section *)((char *)c + t->verify.offset);
	while (builtin_modules[n] != NULL)
		n++;
	c->module_confs = ARENA_ARRAY(a, const void *, n + 1);
	if (c->module_confs == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < n; i++)
		if (builtin_modules[i]->section != NULL)
			c->module_confs[i] = (char *)c->verify + t->module_offset[i];

	if (c->hostname.n == 0)
		conf_fault_add(faults, a, &c->head, NULL,
		               "hostname is missing: add hostname = \"mail.example.org\", the name in this server's PTR record");
	else
		domain_to_ascii(a, c->hostname, &c->hostname);
	if (c->verify->authserv_id.n == 0)
		c->verify->authserv_id = c->hostname;
	if (c->auth.accounts.n == 0)
		c->auth.accounts = arena_printf(a, "%.*s/accounts", STR_ARG(c->state));
	c->auth.secret = arena_printf(a, "%.*s/accounts.secret", STR_ARG(c->state));
	if (c->domains.n == 0)
		conf_fault_add(faults, a, &c->head, NULL, "no domain receives here: add domain \"example.org\" {}");
	find_user(c, a, faults);
	for (size_t i = 0; i < c->domains.n; i++)
		finish_domain(c, c->domains.v[i], a, faults);
	for (size_t i = 0; i < c->trusts.n; i++)
		judge_trust(c->trusts.v[i], a, faults);
	if (give_certificate(c, a) != OK || give_listeners(c, a) != OK)
		return ERR_MEMORY;
	list_files(c, a);
	return OK;
}

enum err config_read(const char *file, conf_open *open_file, struct arena *a, struct config **out,
                     struct conf_faults *faults, str *why)
{
	struct tables *t = ARENA_NEW(a, struct tables);
	struct config *c;
	enum err e;
	int fd;

	*faults = (struct conf_faults){ 0 };
	*why = STR("out of memory");
	if (t == NULL)
		return ERR_MEMORY;
	fd = open_file(str_of(file));
	if (fd < 0) {
		enum err said = err_of_errno(errno);

		*why = arena_printf(a, "%s: %s: %s", file, strerror(errno),
		                    errno == ENOENT ? "name the configuration with -c FILE, or create it"
		                                    : "make it readable for this user, or start as root");
		return said == OK ? ERR_ABSENT : said;
	}
	close(fd);
	tables_make(t);
	c = arena_alloc(a, t->root.size);
	if (c == NULL)
		return ERR_MEMORY;
	e = conf_read(file, open_file, &t->root, c, a, faults);
	c->file = file;
	if (e == ERR_MEMORY)
		return e;
	e = finish(c, t, a, faults);
	if (e != OK)
		return e;
	*out = c;
	return faults->n > 0 ? ERR_BAD : OK;
}

void config_print_faults(const struct conf_faults *f, FILE *out)
{
	for (size_t i = 0; i < f->n; i++)
		fprintf(out, "%s:%d: %.*s\n", f->v[i].file ? f->v[i].file : "?", f->v[i].line, STR_ARG(f->v[i].text));
}

/* ---- the world --------------------------------------------------------------- */

struct look { conf_open *open_file; struct arena *a; struct conf_faults *faults; };

static void look_at(const struct look *l, str file, const struct conf_head *head, const char *option, const char *mend)
{
	int fd = l->open_file(file);

	if (fd >= 0)
		close(fd);
	else
		conf_fault_add(l->faults, l->a, head, option, "%.*s: %s: %s", STR_ARG(file), strerror(errno), mend);
}

void config_check_files(const struct config *c, conf_open *open_file, struct arena *a, struct conf_faults *faults)
{
	struct look l = { open_file, a, faults };
	const char *readable = "make it, or make it readable for the server's user";
	const struct arc_conf *arc = config_module(c, &arc_module);

	for (size_t i = 0; !c->self_signed && i < c->tls.certificate.n; i++)
		look_at(&l, c->tls.certificate.v[i], &c->tls.head, "certificate", readable);
	for (size_t i = 0; !c->self_signed && i < c->tls.key.n; i++)
		look_at(&l, c->tls.key.v[i], &c->tls.head, "key", readable);
	if (c->tls.client_ca.n > 0)
		look_at(&l, c->tls.client_ca, &c->tls.head, "client-ca", readable);
	if (c->resolver.records.n > 0)
		look_at(&l, c->resolver.records, &c->resolver.head, "records", readable);
	if (arc->seal && arc->key.n > 0)
		look_at(&l, arc->key, &arc->head, "key", "make the key with `postern key generate`, or take seal = yes out");
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		if (d->aliases.n > 0)
			look_at(&l, d->aliases, &d->head, "aliases", readable);
		for (size_t k = 0; k < d->dkim.n; k++) {
			const struct dkim_section *key = d->dkim.v[k];

			look_at(&l, key->key, &key->head, key->head.file ? "key" : NULL,
			        "make the key with `postern key generate`, or take the dkim section out");
		}
	}
}

const void *config_module(const struct config *c, const struct module *m)
{
	for (size_t i = 0; builtin_modules[i] != NULL; i++)
		if (builtin_modules[i] == m)
			return c->module_confs[i];
	return NULL;
}

bool config_domain_is_local(void *config, str domain)
{
	const struct config *c = config;

	for (size_t i = 0; i < c->domains.n; i++)
		if (str_eq_nocase(((const struct domain_section *)c->domains.v[i])->name, domain))
			return true;
	return false;
}
