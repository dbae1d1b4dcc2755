/* SPDX-License-Identifier: ISC */
/*
 * dnsbl_zone: a zone's table, what its values mean, which answers count and
 * how it is asked.  Pure, but for the state that setup makes.
 */
#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

#include "modules/dnsbl/dnsbl.h"
#include "modules/dnsbl/dnsbl_inside.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"

/* ---- codes ------------------------------------------------------------------- */

static bool octet_parse(str text, unsigned char *low, unsigned char *high)
{
	size_t dash = str_find(text, '-');
	uint32_t from, to;

	*low = 0;
	*high = 255;
	if (str_is(text, "*"))
		return true;
	if (text.n > 7 || !str_to_u32(str_head(text, dash), &from))
		return false;
	to = from;
	if (dash < text.n && !str_to_u32(str_skip(text, dash + 1), &to))
		return false;
	*low = (unsigned char)from;
	*high = (unsigned char)to;
	return from <= to && to <= 255;
}

bool dnsbl_code_parse(str text, struct dnsbl_code *c)
{
	str octet;

	for (size_t i = 0; i < 4; i++)
		if (!str_cut(&text, '.', &octet) || !octet_parse(octet, &c->low[i], &c->high[i]))
			return false;
	return text.p == NULL && c->low[0] == 127 && c->high[0] == 127;
}

static bool code_fits(const struct dnsbl_code *c, const unsigned char ip[4])
{
	for (size_t i = 0; i < 4; i++)
		if (ip[i] < c->low[i] || ip[i] > c->high[i])
			return false;
	return true;
}

enum dnsbl_says dnsbl_answer(const struct dnsbl_zone *z, struct in_addr a)
{
	unsigned char ip[4];

	memcpy(ip, &a, sizeof(ip));
	if (ip[0] != 127 || (ip[1] == 255 && ip[2] == 255) ||
	    (ip[1] == 0 && ip[2] == 0 && ip[3] == 1))
		return DNSBL_NEVER_COUNTS;
	for (size_t i = 0; i < z->ncodes; i++)
		if (code_fits(&z->code[i], ip))
			return DNSBL_LISTED;
	return z->ncodes == 0 ? DNSBL_LISTED : DNSBL_OTHER_CODE;
}

/* ---- questions ----------------------------------------------------------------- */

str dnsbl_question_ip(struct arena *a, const struct dnsbl_zone *z, const struct sockaddr *sa)
{
	static const char v4[] = ".in-addr.arpa", v6[] = ".ip6.arpa";
	str turned;

	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
		return STR_NONE;
	turned = dns_reverse_name(a, sa);
	if (str_ends_nocase(turned, STR(".in-addr.arpa")))
		turned.n -= sizeof(v4) - 1;
	else if (str_ends_nocase(turned, STR(".ip6.arpa")))
		turned.n -= sizeof(v6) - 1;
	else
		return STR_NONE;
	return arena_printf(a, "%.*s.%.*s", STR_ARG(turned), STR_ARG(z->zone));
}

str dnsbl_question_name(struct arena *a, const struct dnsbl_zone *z, str name)
{
	str ascii;

	if (!domain_to_ascii(a, name, &ascii) || !str_holds(ascii, '.'))
		return STR_NONE;
	return arena_printf(a, "%.*s.%.*s", STR_ARG(ascii), STR_ARG(z->zone));
}

/* ---- exemptions ------------------------------------------------------------------ */

bool dnsbl_exempts_client(const struct dnsbl_zone *z, const struct sockaddr *sa)
{
	for (size_t i = 0; i < z->nnets; i++)
		if (cidr_holds(&z->nets[i], sa))
			return true;
	return false;
}

bool dnsbl_exempts_name(const struct dnsbl_zone *z, str name)
{
	for (size_t i = 0; i < z->domains.n; i++) {
		str d = z->domains.v[i];

		if (str_eq_nocase(name, d) ||
		    (name.n > d.n && str_ends_nocase(name, d) && name.p[name.n - d.n - 1] == '.'))
			return true;
	}
	return false;
}

/* ---- the table --------------------------------------------------------------------- */

static bool code_check(str value, struct arena *a, str *why)
{
	struct dnsbl_code c;

	(void)a;
	*why = STR("must be an answer inside 127.0.0.0/8 such as 127.0.0.2, 127.0.0.4-7 or "
		   "127.0.*.1-3");
	return dnsbl_code_parse(value, &c);
}

static bool exempt_check(str value, struct arena *a, str *why)
{
	struct cidr c;
	str ascii;

	if (cidr_parse(value, &c, a, why) || str_holds(value, '/'))
		return !str_holds(value, '/') || cidr_parse(value, &c, a, why);
	*why = STR("must be an address, a network such as 192.0.2.0/24, or a domain");
	return domain_to_ascii(a, value, &ascii) && str_holds(ascii, '.');
}

static bool name_check(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be sender, helo or ptr");
	return str_is(value, "sender") || str_is(value, "helo") || str_is(value, "ptr");
}

static const char *const types[] = { [DNSBL_IP] = "ip", [DNSBL_NAME] = "name", NULL };
static const char *const actions[] = {
	[DNSBL_MARK] = "mark",
	[DNSBL_QUARANTINE] = "quarantine",
	[DNSBL_REJECT] = "reject",
	[DNSBL_ACCEPT] = "accept",
	NULL,
};

#define OPT(field, type_, name_, fallback_, help_)                                       \
	.name = (name_), .type = (type_), .offset = offsetof(struct dnsbl_zone, field),  \
	.fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{OPT(type, CONF_WORD, "type", "ip", "what the zone lists: addresses of clients, or names"),
	 .words = types},
	{OPT(action, CONF_WORD, "action", "reject",
	     "what is done with mail of who is listed; accept is for allow lists: then "
	     "no other zone objects"),
	 .words = actions},
	{OPT(weight, CONF_NUMBER, "weight", "100",
	     "what one listing is worth: reject and quarantine happen when the weights "
	     "of the zones that list a client add up to 100"),
	 .least = 1, .most = 1000},
	{OPT(codes, CONF_LIST, "codes", NULL,
	     "the answers that count, each octet a number, a range or *; empty: all in "
	     "127.0.0.0/8 but 127.0.0.1 and 127.255.255.0/24, which never do"),
	 .check = code_check, .example = "127.0.0.2-11"},
	{OPT(names, CONF_LIST, "names", "sender,helo,ptr",
	     "of a zone of names: which are looked up, the sender's domain, the "
	     "name in HELO, the client's confirmed name"),
	 .check = name_check},
	{OPT(exempt, CONF_LIST, "exempt",
	     "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,fc00::/7,fe80::/10",
	     "clients that are not asked about, and domains that a zone of names is not asked "
	     "about"),
	 .check = exempt_check},
	{OPT(reply, CONF_STRING, "reply", NULL,
	     "what who is refused hears, behind 550 5.7.1; empty: the zone's name and its "
	     "own reason"),
	 .example = "Your address is listed, see https://bl.example.org/"},
	{OPT(test, CONF_BOOL, "test", "yes",
	     "test the zone at start and daily (RFC 5782 5) and do not use it while it fails")},
	{OPT(test_listed, CONF_STRING, "test-listed", "TEST",
	     "a name that a zone of names always lists")},
	{OPT(test_clean, CONF_STRING, "test-clean", "INVALID", "a name that it never lists")},
	{0},
};

/* Who may choose a name freely could put himself on any list of good names. */
static void checked(void *section, struct conf_reader *r)
{
	const struct dnsbl_zone *z = section;

	if (z->type == DNSBL_IP && conf_given(&z->head, "names"))
		conf_fault(r, &z->head, "names",
			   "belongs to type = name: take it out, or set the type");
	if (z->type == DNSBL_NAME && z->action == DNSBL_ACCEPT)
		for (size_t i = 0; i < z->names.n; i++)
			if (!str_is(z->names.v[i], "ptr")) {
				conf_fault(r, &z->head, "action",
					   "anybody can write the name of another in HELO and MAIL "
					   "FROM, so a "
					   "zone of good names goes by the confirmed name alone: "
					   "names = {\"ptr\"}");
				break;
			}
}

const struct conf_section dnsbl_section = {
	.name = "dnsbl",
	.options = options,
	.size = sizeof(struct dnsbl_zone),
	.titled = true,
	.check = checked,
	.help = "A block or allow list in DNS; the title is its zone. Asked at connect, waited for "
		"at RCPT; postmaster and "
		"abuse stay reachable.",
};

/* ---- setup ---------------------------------------------------------------------------- */

static bool read_codes(struct dnsbl_zone *z, struct arena *a)
{
	z->code = ARENA_ARRAY(a, struct dnsbl_code, z->codes.n);
	for (size_t i = 0; z->code != NULL && i < z->codes.n; i++)
		if (!dnsbl_code_parse(z->codes.v[i], &z->code[z->ncodes++]))
			return false;
	return true;
}

static bool read_exempt(struct dnsbl_zone *z, struct arena *a)
{
	str why, ascii;

	z->nets = ARENA_ARRAY(a, struct cidr, z->exempt.n);
	z->domains.v = ARENA_ARRAY(a, str, z->exempt.n);
	for (size_t i = 0; z->nets != NULL && z->domains.v != NULL && i < z->exempt.n; i++) {
		if (cidr_parse(z->exempt.v[i], &z->nets[z->nnets], a, &why))
			z->nnets++;
		else if (domain_to_ascii(a, z->exempt.v[i], &ascii))
			z->domains.v[z->domains.n++] = ascii;
		else
			return false;
	}
	return true;
}

static void read_names(struct dnsbl_zone *z)
{
	for (size_t i = 0; z->type == DNSBL_NAME && i < z->names.n; i++) {
		z->by_sender = z->by_sender || str_is(z->names.v[i], "sender");
		z->by_helo = z->by_helo || str_is(z->names.v[i], "helo");
		z->by_ptr = z->by_ptr || str_is(z->names.v[i], "ptr");
	}
}

static enum err zone_setup(struct dnsbl_zone *z, struct arena *a, str *why)
{
	if (!domain_to_ascii(a, z->head.title, &z->zone)) {
		*why = arena_printf(a, "%s:%d: \"%.*s\" is not a zone's name",
				    z->head.file ? z->head.file : "?", z->head.line,
				    STR_ARG(z->head.title));
		return ERR_BAD;
	}
	z->ncodes = z->nnets = z->domains.n = 0;
	if (!read_codes(z, a) || !read_exempt(z, a)) {
		*why = arena_printf(a, "dnsbl %.*s: codes or exempt cannot be read",
				    STR_ARG(z->zone));
		return ERR_BAD;
	}
	read_names(z);
	z->state = ARENA_NEW(a, struct dnsbl_state);
	if (z->state == NULL)
		return ERR_MEMORY;
	if (!z->test) {
		atomic_init(&z->state->v4, DNSBL_GOOD);
		atomic_init(&z->state->v6, DNSBL_GOOD);
		atomic_init(&z->state->name, DNSBL_GOOD);
	}
	return OK;
}

/* The settings are the main thread's until the chain is in use. */
enum err dnsbl_setup(const void *conf, struct arena *a, str *why)
{
	const struct conf_list *zones = conf;

	for (size_t i = 0; zones != NULL && i < zones->n; i++) {
		enum err e = zone_setup(zones->v[i], a, why);

		if (e != OK)
			return e;
	}
	return a->spent ? ERR_MEMORY : OK;
}
