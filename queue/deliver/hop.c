/* SPDX-License-Identifier: ISC */
/*
 * The options of a hop, what cannot be meant by them, and its password.
 * Main thread, but for hop_route_for, which is pure.
 */
#include "queue/deliver/deliver.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/mail/addr.h"

#define AT(member)    offsetof(struct hop_route, member)
#define PASSWORD_MOST 1000

/* ---- which route ------------------------------------------------------------------------ */

bool hop_pattern_fits(str pattern, str domain)
{
	if (str_is(pattern, "*"))
		return domain.n > 0;
	if (str_starts(pattern, "."))
		return domain.n > pattern.n && str_ends_nocase(domain, pattern);
	return str_eq_nocase(pattern, domain);
}

static bool any_fits(const struct strs *patterns, str domain)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (hop_pattern_fits(patterns->v[i], domain))
			return true;
	return patterns->n == 0;
}

const struct hop_route *hop_route_for(const struct conf_list *routes, str from_domain, str to_domain)
{
	for (size_t i = 0; i < routes->n; i++) {
		const struct hop_route *r = routes->v[i];

		if (any_fits(&r->to, to_domain) && any_fits(&r->from, from_domain))
			return r;
	}
	return NULL;
}

/* ---- options ------------------------------------------------------------------------------ */

static bool is_via(str value, struct arena *a, str *why)
{
	struct endpoint e;

	(void)a;
	*why = STR("must be HOST:PORT, ADDR:PORT or [V6]:PORT, or mx");
	return str_is(value, "mx") || (endpoint_parse(value, 0, &e) && !e.is_unix);
}

static bool is_pattern(str value, struct arena *a, str *why)
{
	str ascii, name = str_starts(value, ".") ? str_skip(value, 1) : value;

	*why = STR("must be a domain (example.net), all below one (.example.net), or *");
	return str_is(value, "*") || domain_to_ascii(a, name, &ascii);
}

static bool is_file(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be a path that begins with /");
	return str_starts(value, "/");
}

static const char *const tls_words[] = { "auto", "starttls", "implicit", "may", NULL };

static const struct conf_option options[] = {
	{ .name = "to", .type = CONF_LIST, .offset = AT(to), .check = is_pattern, .example = "example.net,.example.net",
	  .help = "mail for these domains takes this route: a name, all below one (.example.net), or *; default: any" },
	{ .name = "from", .type = CONF_LIST, .offset = AT(from), .check = is_pattern, .example = "example.org",
	  .help = "mail whose envelope sender is in these domains takes this route; default: any sender" },
	{ .name = "via", .type = CONF_STRING, .offset = AT(hop.via), .check = is_via, .example = "smtp.example.net:587",
	  .required = true, .help = "HOST:PORT that takes it; mx: straight to the domain's MX hosts" },
	{ .name = "tls", .type = CONF_WORD, .offset = AT(hop.tls), .fallback = "auto", .words = tls_words,
	  .help = "starttls: with a good certificate or not at all; implicit: the same from the first octet; may: "
	          "if offered; auto: implicit on port 465, starttls when there is a login, else may" },
	{ .name = "any-certificate", .type = CONF_BOOL, .offset = AT(hop.any_certificate), .fallback = "no",
	  .help = "with starttls and implicit: whoever's certificate it is" },
	{ .name = "login", .type = CONF_STRING, .offset = AT(hop.login), .example = "user",
	  .help = "name to log in with (SCRAM-SHA-256, PLAIN or LOGIN, whatever is best there)" },
	{ .name = "password-file", .type = CONF_STRING, .offset = AT(hop.password_file), .check = is_file,
	  .example = "/etc/postern/partner.secret",
	  .help = "file with the password as its one line, readable for its owner alone" },
	{ .name = "insecure-login", .type = CONF_BOOL, .offset = AT(hop.insecure_login), .fallback = "no",
	  .help = "log in even where the password could be read by others: without TLS, or with any certificate" },
	{ 0 },
};

static void fault(struct conf_reader *r, const struct conf_head *head, const char *prefix, const char *option,
                  const char *text)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", prefix, option);
	conf_fault(r, head, name, "%s", text);
}

static void check_login(const struct hop *h, const struct conf_head *head, const char *prefix, struct conf_reader *r)
{
	if (h->login.n > 0 && h->password_file.n == 0)
		fault(r, head, prefix, "login", "a login needs a password: name its file with password-file");
	if (h->login.n == 0 && h->password_file.n > 0)
		fault(r, head, prefix, "password-file", "a password needs a login: add it, or take the file out");
	if (h->login.n > 0 && !hop_is_verified(h) && !h->insecure_login)
		fault(r, head, prefix, "login",
		      "the password could be read on the way: let TLS be starttls or implicit with a checked certificate, "
		      "or allow it with insecure-login = yes");
}

void hop_check(struct hop *h, const struct conf_head *head, const char *prefix, struct conf_reader *r)
{
	struct endpoint e = { 0 };

	if (h->via.n == 0 || str_is(h->via, "mx")) {
		if (h->login.n > 0)
			fault(r, head, prefix, "login", "a login needs a host: name it as HOST:PORT");
		return;
	}
	endpoint_parse(h->via, 0, &e);
	if (h->tls == HOP_AUTO)
		h->tls = e.port == 465 ? HOP_IMPLICIT : h->login.n > 0 ? HOP_STARTTLS : HOP_MAY;
	check_login(h, head, prefix, r);
}

/* Without a list anybody is meant; an empty one must not mean the same. */
static void check_list(const struct hop_route *route, const struct strs *list, const char *option,
                       struct conf_reader *r)
{
	if (list->n == 0 && conf_given(&route->head, option))
		conf_fault(r, &route->head, option, "%s names nobody: name a domain, or take the option out", option);
}

static void check_route(void *section, struct conf_reader *r)
{
	struct hop_route *route = section;

	if (!conf_given(&route->head, "via"))
		conf_fault(r, &route->head, NULL, "route \"%.*s\" leads nowhere: add via = \"HOST:PORT\"",
		           STR_ARG(route->head.title));
	if (!conf_given(&route->head, "to") && !conf_given(&route->head, "from"))
		conf_fault(r, &route->head, NULL,
		           "route \"%.*s\" names neither to nor from: say whose mail takes it; all mail is smarthost's business",
		           STR_ARG(route->head.title));
	check_list(route, &route->to, "to", r);
	check_list(route, &route->from, "from", r);
	hop_check(&route->hop, &route->head, "", r);
}

const struct conf_section hop_route_section = {
	.name = "route",
	.options = options,
	.size = sizeof(struct hop_route),
	.offset = offsetof(struct relay_conf, routes),
	.titled = true,
	.help = "Mail that takes a way of its own; the first route that fits counts, then the smarthost.",
	.check = check_route,
};

/* ---- the password ----------------------------------------------------------------------------- */

static enum err refused(struct arena *a, str file, enum err e, const char *what, str *why)
{
	*why = arena_printf(a, "%.*s: %s", STR_ARG(file), what);
	return e;
}

static enum err read_line(int fd, str file, char *line, struct arena *a, str *out, str *why)
{
	struct stat st;
	size_t n = 0;
	ssize_t got = 0;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return refused(a, file, ERR_BAD, "it is no file: write the password into one", why);
	if (st.st_mode & 077)
		return refused(a, file, ERR_BAD, "others may read the password: chmod 600", why);
	while (n <= PASSWORD_MOST && (got = read(fd, line + n, PASSWORD_MOST + 1 - n)) > 0)
		n += (size_t)got;
	*out = str_head((str){ line, n }, str_find((str){ line, n }, '\n'));
	if (out->n > 0 && out->p[out->n - 1] == '\r')
		out->n--;
	if (got < 0 || n > PASSWORD_MOST || out->n == 0 || memchr(out->p, 0, out->n) != NULL)
		return refused(a, file, ERR_BAD, "there is no password in it: write it as the one line of the file", why);
	return OK;
}

enum err hop_read_password(struct hop *h, conf_open *open_file, struct arena *a, str *why)
{
	char line[PASSWORD_MOST + 1];
	str password = STR_NONE;
	enum err e;
	int fd;

	if (h->password_file.n == 0)
		return OK;
	fd = open_file(h->password_file);
	if (fd < 0)
		return refused(a, h->password_file, err_of_errno(errno),
		               "it cannot be opened: create it, with the password as its one line", why);
	e = read_line(fd, h->password_file, line, a, &password, why);
	close(fd);
	if (e == OK)
		h->password = str_keep(a, password);
	crypt_wipe(line, sizeof(line));
	return e == OK && h->password.n == 0 ? ERR_MEMORY : e;
}

void hop_wipe(struct hop *h)
{
	if (h->password.n > 0)
		crypt_wipe((char *)(uintptr_t)h->password.p, h->password.n);
	h->password = STR_NONE;
}
