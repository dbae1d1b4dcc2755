/* SPDX-License-Identifier: ISC */
/*
 * postern local: a complete playground on loopback.
 *
 * DIR is made once (configuration, certificate, DKIM keys, DNS answers,
 * accounts) and used again afterwards; only ports are looked at each time.
 * Everything in it is what a real installation has, so it can be read, changed
 * and broken.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/keeper.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define HOSTNAME "mail.home.test"

static const char *const domains[] = { "home.test", "office.test" };
static const char *const accounts[] = { "alice@home.test", "bob@office.test" };
static const char *const selectors[] = { "rsa", "ed" };

enum { MAIL_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT, PORTS };

struct play {
	struct arena a;
	str          dir;             /* absolute */
	uint16_t     port[PORTS];
	struct serve_given given[PORTS];
	str          password[COUNT(accounts)];
	str          why;
};

static str in_dir(struct play *p, const char *name)
{
	return arena_printf(&p->a, "%.*s/%s", STR_ARG(p->dir), name);
}

/* ---- ports: bound here, so that 0 becomes a number before it is written down ---- */

static bool bind_port(struct play *p, int which)
{
	str want = arena_printf(&p->a, "127.0.0.1:%u", p->port[which]);
	struct sockaddr_in at;
	socklen_t n = sizeof(at);
	int fd = listen_at(want);

	if (fd < 0) {
		int kept = errno;
		struct port_holder holder;

		if (kept == EADDRINUSE && port_holder((uint16_t)p->port[which], &holder))
			p->why = arena_printf(&p->a, "port %u is in use by %s: stop it with `%s`, or choose others with "
			                      "--ports 0,0,0", p->port[which], holder.who, holder.stop);
		else
			p->why = arena_printf(&p->a, "port %u: %s: choose others with --ports 0,0,0", p->port[which],
			                      strerror(kept));
		return false;
	}
	if (getsockname(fd, (struct sockaddr *)&at, &n) != 0)
		return false;
	p->port[which] = ntohs(at.sin_port);
	p->given[which] = (struct serve_given){ arena_printf(&p->a, "127.0.0.1:%u", p->port[which]), fd };
	return true;
}

/* ---- what lies in DIR ----------------------------------------------------------------- */

static bool write_new(struct play *p, const char *name, mode_t mode, str text)
{
	enum err e = file_create(in_dir(p, name), mode, text, &p->a, &p->why);

	return e == OK || e == ERR_EXISTS;
}

/* The configuration names the ports, so it is written anew each time; a person
 * who has changed it keeps it by taking the first line out. */
#define WRITTEN_BY "# Written by `postern local`; take this line out to keep your changes.\n"

static bool is_kept(struct play *p)
{
	str text, why;

	return file_read(verb_open_file, in_dir(p, "postern.conf"), 1 << 20, &p->a, &text, &why) == OK &&
	       !str_starts(text, WRITTEN_BY);
}

static void add_domain(struct play *p, struct buf *out, size_t i)
{
	buf_addf(out, "\ndomain \"%s\" {\n", domains[i]);
	for (size_t k = 0; k < COUNT(selectors); k++)
		buf_addf(out, "\tdkim \"%s\" {}\n", selectors[k]);
	buf_addf(out, "\tdeliver { maildir = \"%.*s/mail/%%d/%%u\" }\n", STR_ARG(p->dir));
	if (i == 1)
		buf_addf(out, "\t# From submission this domain is reached as a stranger would reach it.\n"
		         "\troute = \"127.0.0.1:%u\"\n", p->port[MAIL_PORT]);
	buf_add(out, STR("}\n"));
}

static bool write_configuration(struct play *p)
{
	struct buf out;
	bool ok;

	if (is_kept(p))
		return true;
	buf_init(&out, 64 << 10);
	buf_addf(&out, WRITTEN_BY "hostname = \"" HOSTNAME "\"\nstate = \"%.*s/state\"\n\n", STR_ARG(p->dir));
	buf_addf(&out, "listener \"mx\"          { address = {\"127.0.0.1:%u\"} role = inbound tls = starttls }\n"
	         "listener \"submission\"  { address = {\"127.0.0.1:%u\"} role = submission tls = required }\n"
	         "listener \"submissions\" { address = {\"127.0.0.1:%u\"} role = submission tls = implicit }\n\n",
	         p->port[MAIL_PORT], p->port[SUBMISSION_PORT], p->port[SUBMISSIONS_PORT]);
	buf_addf(&out, "tls { certificate = \"%.*s/cert.pem\" key = \"%.*s/key.pem\" }\n"
	         "resolver { records = \"%.*s/dns\" }\n", STR_ARG(p->dir), STR_ARG(p->dir), STR_ARG(p->dir));
	buf_add(&out, STR("# One loopback address stands for all the world here.\n"
	                  "limits { connections-address = 1000 connections-network = 1000 }\n"));
	for (size_t i = 0; i < COUNT(domains); i++)
		add_domain(p, &out, i);
	unlink(str_cstr(&p->a, in_dir(p, "postern.conf")));
	ok = !out.failed && write_new(p, "postern.conf", 0600, buf_str(&out));
	buf_fini(&out);
	return ok;
}

static bool write_certificate(struct play *p)
{
	const char *names[] = { "localhost", "127.0.0.1", HOSTNAME };
	char *cert = NULL, *key = NULL;
	bool ok;

	if (access(str_cstr(&p->a, in_dir(p, "cert.pem")), R_OK) == 0)
		return true;
	if (tls_self_signed(names, COUNT(names), 3650, &cert, &key) != OK) {
		p->why = STR("OpenSSL made no certificate");
		return false;
	}
	ok = write_new(p, "key.pem", 0600, str_of(key)) && write_new(p, "cert.pem", 0644, str_of(cert));
	crypt_wipe(key, strlen(key));
	free(key);
	free(cert);
	return ok;
}

static bool write_keys(struct play *p)
{
	for (size_t i = 0; i < COUNT(domains) * COUNT(selectors); i++) {
		struct key_file k = { .domain = str_of(domains[i / 2]), .selector = str_of(selectors[i % 2]) };
		str path = arena_printf(&p->a, "%.*s/state/keys/%s/%s.pem", STR_ARG(p->dir), domains[i / 2], selectors[i % 2]);
		enum err e;

		if (access(str_cstr(&p->a, path), R_OK) == 0)
			continue;
		k.key = key_generate(i % 2 == 0 ? KEY_RSA : KEY_ED25519, 2048);
		e = k.key ? key_file_write(in_dir(p, "state"), &k, &p->a, &p->why) : ERR_MEMORY;
		key_free(k.key);
		if (e != OK)
			return false;
	}
	return true;
}

static bool add_key_records(struct play *p, struct buf *out)
{
	for (size_t i = 0; i < COUNT(domains) * COUNT(selectors); i++) {
		str path = arena_printf(&p->a, "%.*s/state/keys/%s/%s.pem", STR_ARG(p->dir), domains[i / 2], selectors[i % 2]);
		str pem, record;
		struct key *key;
		bool ok;

		if (file_read(verb_open_file, path, 64 << 10, &p->a, &pem, &p->why) != OK)
			return false;
		key = key_private_pem(pem, &p->why);
		if (key == NULL)
			return false;
		ok = dkim_key_record(key, &p->a, &record) == OK;
		key_free(key);
		if (!ok)
			return false;
		buf_addf(out, "%s._domainkey.%s TXT \"%.*s\"\n", selectors[i % 2], domains[i / 2], STR_ARG(record));
	}
	return true;
}

/* Written anew each time: the keys may have been made anew. */
static bool write_dns(struct play *p)
{
	struct buf out;
	bool ok;

	buf_init(&out, 64 << 10);
	buf_add(&out, STR("# DNS as the playground sees it; the first line says that nothing else is below test.\n"
	                  "test TXT NODATA\n" HOSTNAME " A 127.0.0.1\n"
	                  "1.0.0.127.in-addr.arpa PTR " HOSTNAME "\n" HOSTNAME " TXT \"v=spf1 a -all\"\n"));
	for (size_t i = 0; i < COUNT(domains); i++)
		buf_addf(&out, "%s A 127.0.0.1\n%s MX 10 " HOSTNAME "\n%s TXT \"v=spf1 mx -all\"\n"
		         "_dmarc.%s TXT \"v=DMARC1; p=reject\"\n", domains[i], domains[i], domains[i], domains[i]);
	ok = add_key_records(p, &out) && !out.failed;
	unlink(str_cstr(&p->a, in_dir(p, "dns")));
	ok = ok && write_new(p, "dns", 0644, buf_str(&out));
	buf_fini(&out);
	return ok;
}

/* Twelve letters and digits that are not mistaken for each other. */
static str make_password(struct arena *a)
{
	static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789";
	char text[12];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = letters[random_below(sizeof(letters) - 1)];
	return str_keep(a, (str){ text, sizeof(text) });
}

/* The accounts file holds verifiers only, so the passwords stand in a file
 * beside it: this is a playground. */
static bool write_accounts(struct play *p)
{
	str text, why, line;
	struct buf users, words;
	bool ok;

	if (file_read(verb_open_file, in_dir(p, "passwords"), 4096, &p->a, &text, &why) == OK &&
	    access(str_cstr(&p->a, in_dir(p, "state/accounts")), R_OK) == 0) {
		for (size_t i = 0; i < COUNT(accounts) && str_cut(&text, '\n', &line); i++)
			p->password[i] = str_skip(line, str_find(line, ' ') + 1);
		return true;
	}
	buf_init(&users, 4096);
	buf_init(&words, 4096);
	for (size_t i = 0; i < COUNT(accounts); i++) {
		struct verifier v;

		p->password[i] = make_password(&p->a);
		if (verifier_make(&p->a, p->password[i], 4096, &v) != OK)
			return false;
		buf_addf(&users, "%s:%.*s::::::\n", accounts[i], STR_ARG(verifier_text(&p->a, &v)));
		buf_addf(&words, "%s %.*s\n", accounts[i], STR_ARG(p->password[i]));
	}
	unlink(str_cstr(&p->a, in_dir(p, "passwords")));
	unlink(str_cstr(&p->a, in_dir(p, "state/accounts")));
	ok = write_new(p, "passwords", 0600, buf_str(&words)) && write_new(p, "state/accounts", 0600, buf_str(&users));
	buf_fini(&users);
	buf_fini(&words);
	return ok;
}

static bool make_dirs(struct play *p, const char *dir)
{
	char *whole;

	if (directory_create(str_of(dir), &p->a, &p->why) != OK)
		return false;
	whole = realpath(dir, NULL);
	if (whole == NULL) {
		p->why = arena_printf(&p->a, "%s: %s", dir, strerror(errno));
		return false;
	}
	p->dir = str_keep(&p->a, str_of(whole));
	free(whole);
	return directory_create(in_dir(p, "state"), &p->a, &p->why) == OK &&
	       directory_create(in_dir(p, "mail"), &p->a, &p->why) == OK;
}

/* Configuration and DNS answers are written anew: never below a server that reads them. */
static bool is_free(struct play *p)
{
	int fd = open(str_cstr(&p->a, in_dir(p, "state/queue/lock")), O_RDONLY | O_CLOEXEC);
	bool is_running = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
	char text[16] = "";
	ssize_t n = is_running ? read(fd, text, sizeof(text) - 1) : 0;

	if (fd >= 0)
		close(fd);
	if (is_running)
		p->why = arena_printf(&p->a, "a playground runs in %.*s already (process %s): stop it first, or name another directory",
		                      STR_ARG(p->dir), n > 0 ? text : "unknown");
	return !is_running;
}

static bool make_dir(struct play *p, const char *dir)
{
	if (make_dirs(p, dir))
		return is_free(p);
	p->why = arena_printf(&p->a, "%.*s: name a directory that can be made and written", STR_ARG(p->why));
	return false;
}

/* ---- what is said ----------------------------------------------------------------------- */

static void tell(struct server *s, void *arg)
{
	struct play *p = arg;
	uint16_t mail = p->port[MAIL_PORT], submission = p->port[SUBMISSION_PORT], submissions = p->port[SUBMISSIONS_PORT];

	(void)s;
	printf("\npostern playground in %.*s\n\n", STR_ARG(p->dir));
	printf("  mail (as from strangers)   127.0.0.1:%u\n  submission with STARTTLS   127.0.0.1:%u\n"
	       "  submission with TLS        127.0.0.1:%u\n\n", mail, submission, submissions);
	for (size_t i = 0; i < COUNT(accounts); i++)
		printf("  %-16s password %.*s   mail in %.*s/mail/%s/%.*s/new\n", accounts[i], STR_ARG(p->password[i]),
		       STR_ARG(p->dir), domains[i], (int)strcspn(accounts[i], "@"), accounts[i]);
	printf("\nSend a message from alice to bob, with curl:\n\n"
	       "  curl -sS --url smtps://localhost:%u --cacert %.*s/cert.pem --user %s:%.*s --mail-from %s --mail-rcpt %s "
	       "-H 'From: Alice <%s>' -H 'To: Bob <%s>' -H 'Subject: Hello' -F '=It works.;type=text/plain'\n\n",
	       submissions, STR_ARG(p->dir), accounts[0], STR_ARG(p->password[0]), accounts[0], accounts[1], accounts[0],
	       accounts[1]);
	printf("or with swaks:\n\n"
	       "  swaks --server 127.0.0.1:%u --tls --auth PLAIN --auth-user %s --auth-password %.*s --from %s --to %s "
	       "--header 'Subject: Hello' --body 'It works.'\n\n",
	       submission, accounts[0], STR_ARG(p->password[0]), accounts[0], accounts[1]);
	printf("The other verbs see it with -c %.*s/postern.conf. Control-C ends it.\n\n", STR_ARG(p->dir));
	fflush(stdout);
}

/* ---- the verb ------------------------------------------------------------------------------ */

static bool parse_ports(str text, struct play *p)
{
	str word;
	uint32_t n;

	for (int i = 0; i < PORTS; i++) {
		if (!str_cut(&text, ',', &word) || !str_to_u32(word, &n) || n > 65535)
			return false;
		p->port[i] = (uint16_t)n;
	}
	return text.p == NULL || text.n == 0;
}

static int parse(int argc, char **argv, struct play *p, const char **dir)
{
	static const struct option options[] = { { "ports", required_argument, NULL, 'p' }, { 0 } };
	int c, words = 0;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1)
		if (c != 'p' || !parse_ports(str_of(optarg), p))
			return verb_misused("local", c == 'p' || c == ':' ? "--ports takes three numbers such as 2525,5587,4465"
			                                                  : "unknown option %s", argv[optind - 1]);
	for (; optind < argc; optind++)
		if (words++ == 0)
			*dir = argv[optind];
		else
			return verb_misused("local", "unexpected word \"%s\"", argv[optind]);
	return -1;
}

static bool prepare(struct play *p, const char *dir)
{
	if (!make_dir(p, dir))
		return false;
	for (int i = 0; i < PORTS; i++)
		if (!bind_port(p, i))
			return false;
	return write_certificate(p) && write_keys(p) && write_dns(p) && write_accounts(p) && write_configuration(p);
}

int verb_local(int argc, char **argv)
{
	static struct play play = { .port = { 2525, 5587, 4465 } };
	struct play *p = &play;
	const char *dir = "run";
	struct conf_faults faults;
	struct arena arena;
	struct config *c;
	int status = parse(argc, argv, p, &dir);

	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&p->a, ARENA_UNBOUNDED);
	arena_init(&arena, ARENA_UNBOUNDED);
	if (!prepare(p, dir))
		return verb_fail(EXIT_FINDING, "local", "%.*s", STR_ARG(p->why));
	if (geteuid() == 0)
		fprintf(stderr, "postern local: running as root, which it may because it listens on loopback only\n");
	if (config_read(str_cstr(&p->a, in_dir(p, "postern.conf")), verb_open_file, &arena, &c, &faults, &p->why) != OK) {
		config_print_faults(&faults, stderr);
		return verb_fail(EXIT_FINDING, "local", "%.*s/postern.conf has faults: mend it, or move it away for a new one",
		                 STR_ARG(p->dir));
	}
	return serve_run(str_cstr(&p->a, in_dir(p, "postern.conf")), c, &arena, p->given, PORTS, tell, p);
}
