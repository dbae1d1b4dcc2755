/* SPDX-License-Identifier: ISC */
/*
 * trust: see trust.h.  The table of one `trust "NAME" {}` and the list made of
 * all of them; looked through in file order, for there are few.  Immutable.
 */
#include "modules/trust.h"

#include "smtpd/base/cidr.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"

struct trust_entry {
	str          name;
	struct cidr *clients;
	size_t       nclients;
	struct strs  dkim, sealers, skip;
};

struct trust {
	size_t             n;
	struct trust_entry v[];
};

/* ---- the table ------------------------------------------------------------- */

/* Anybody writes what he likes there, so nothing can be trusted by it. */
static bool name_refused(str value, struct arena *a, str *why)
{
	(void)value;
	(void)a;
	*why = STR("cannot be trusted: anybody can write that name. Trust client, the address; "
		   "dkim-domain, "
		   "a domain that signs its mail; or arc-sealer");
	return false;
}

static bool domain_check(str value, struct arena *a, str *why)
{
	str ascii;

	if (str_starts(value, "*."))
		value = str_skip(value, 2);
	if (domain_to_ascii(a, value, &ascii) && str_holds(ascii, '.'))
		return true;
	*why = STR("must be a domain such as \"lists.example.org\", or \"*.example.org\" for all "
		   "below one");
	return false;
}

#define OPT(field, name_, help_, check_, example_)                                              \
	.name = (name_), .type = CONF_LIST, .offset = offsetof(struct trust_section, field),    \
	.help = (help_), .check = (check_), .example = (example_)
#define REFUSED(name_) \
	.name = (name_), .type = CONF_LIST, .offset = offsetof(struct trust_section, refused), \
	.check = name_refused, .hidden = true

static const struct conf_option options[] = {
	{OPT(client, "client", "addresses and networks of clients that are trusted", cidr_check,
	     "192.0.2.0/24")},
	{OPT(dkim_domain, "dkim-domain",
	     "domains whose valid DKIM signature is trusted, on mail from them and on mail of "
	     "their mailing lists; *.example.org is all below example.org",
	     domain_check, "lists.example.org")},
	{OPT(arc_sealer, "arc-sealer",
	     "domains whose seal on a valid ARC chain is trusted: what they say about the "
	     "message before them may stand in for a broken DMARC",
	     domain_check, "forwarder.example")},
	{OPT(skip, "skip",
	     "the checks, as they are called in verify {}, whose objections do not count for this "
	     "mail",
	     NULL, "spf,dmarc,dnsbl")},
	{REFUSED("sender")},
	{REFUSED("mail-from")},
	{REFUSED("from")},
	{REFUSED("header-from")},
	{REFUSED("domain")},
	{REFUSED("helo")},
	{REFUSED("ptr")},
	{REFUSED("recipient")},
	{0},
};

static void checked(void *section, struct conf_reader *r)
{
	const struct trust_section *t = section;

	bool client = conf_given(&t->head, "client");

	if (!client && !conf_given(&t->head, "dkim-domain") && !conf_given(&t->head, "arc-sealer"))
		conf_fault(r, &t->head, NULL,
			   "nobody is trusted: add client, dkim-domain or arc-sealer");
	else if (client && !conf_given(&t->head, "skip"))
		conf_fault(r, &t->head, "client",
			   "nothing is skipped for these clients: add skip = {\"spf\", …}");
}

const struct conf_section trust_section = {
	.name = "trust",
	.options = options,
	.size = sizeof(struct trust_section),
	.titled = true,
	.check = checked,
	.help = "Mail that skips checks, by what nobody can borrow. Any one of the values is "
		"enough.",
};

/* ---- the list -------------------------------------------------------------- */

static bool clients_read(struct trust_entry *e, const struct strs *texts, struct arena *a, str *why)
{
	e->clients = ARENA_ARRAY(a, struct cidr, texts->n);
	for (size_t i = 0; e->clients != NULL && i < texts->n; i++)
		if (!cidr_parse(texts->v[i], &e->clients[e->nclients++], a, why))
			return false;
	return true;
}

/* A wildcard keeps its dot: ".example.org". */
static bool domains_read(struct strs *out, const struct strs *texts, struct arena *a, str *why)
{
	out->v = ARENA_ARRAY(a, str, texts->n);
	for (size_t i = 0; out->v != NULL && i < texts->n; i++) {
		bool below = str_starts(texts->v[i], "*.");
		str  ascii;

		if (!domain_to_ascii(a, str_skip(texts->v[i], below ? 2 : 0), &ascii)) {
			*why = arena_printf(a, "trust: \"%.*s\" is no domain",
					    STR_ARG(texts->v[i]));
			return false;
		}
		out->v[out->n++] = below ? arena_printf(a, ".%.*s", STR_ARG(ascii)) : ascii;
	}
	return true;
}

struct trust *trust_new(const struct conf_list *sections, struct arena *a, str *why)
{
	struct trust *t = arena_alloc(a, sizeof(*t) + sections->n * sizeof(t->v[0]));

	for (size_t i = 0; t != NULL && i < sections->n; i++) {
		const struct trust_section *s = sections->v[i];
		struct trust_entry         *e = &t->v[t->n++];

		e->name = s->head.title;
		e->skip = s->skip;
		if (!clients_read(e, &s->client, a, why) ||
		    !domains_read(&e->dkim, &s->dkim_domain, a, why) ||
		    !domains_read(&e->sealers, &s->arc_sealer, a, why))
			return NULL;
	}
	if (!a->spent)
		return t;
	*why = STR("no memory for trust");
	return NULL;
}

/* ---- questions ------------------------------------------------------------- */

static bool client_fits(const struct trust_entry *e, const struct sockaddr *sa)
{
	for (size_t i = 0; i < e->nclients; i++)
		if (cidr_holds(&e->clients[i], sa))
			return true;
	return false;
}

static bool domain_fits(const struct strs *patterns, str domain)
{
	for (size_t i = 0; i < patterns->n; i++) {
		str p = patterns->v[i];

		if (p.p[0] == '.' ? domain.n > p.n && str_ends_nocase(domain, p)
				  : str_eq_nocase(domain, p))
			return true;
	}
	return false;
}

static const struct trust_entry *client_from(const struct trust *t, size_t i,
					     const struct sockaddr *sa)
{
	for (; i < t->n; i++)
		if (client_fits(&t->v[i], sa))
			return &t->v[i];
	return NULL;
}

const struct trust_entry *trust_client(const struct trust *t, const struct sockaddr *sa)
{
	return t != NULL ? client_from(t, 0, sa) : NULL;
}

const struct trust_entry *trust_client_next(const struct trust *t, const struct trust_entry *e,
                                            const struct sockaddr *sa)
{
	return client_from(t, (size_t)(e - t->v) + 1, sa);
}

const struct trust_entry *trust_dkim(const struct trust *t, str domain)
{
	for (size_t i = 0; t != NULL && i < t->n; i++)
		if (domain_fits(&t->v[i].dkim, domain))
			return &t->v[i];
	return NULL;
}

const struct trust_entry *trust_sealer(const struct trust *t, str domain)
{
	for (size_t i = 0; t != NULL && i < t->n; i++)
		if (domain_fits(&t->v[i].sealers, domain))
			return &t->v[i];
	return NULL;
}

str trust_name(const struct trust_entry *e)
{
	return e->name;
}

bool trust_skips(const struct trust_entry *e, const char *module)
{
	for (size_t i = 0; i < e->skip.n; i++)
		if (str_is_nocase(e->skip.v[i], module))
			return true;
	return false;
}
