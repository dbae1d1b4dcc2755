/* SPDX-License-Identifier: ISC */
/*
 * dns_zone: from zone text to a table of names, each with its records in wire
 * form.  The text is an administrator's or a test's: a fault says which line
 * and what would be right, and nothing is taken half.
 */
#include "smtpd/base/dns_zone.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/dns.h"
#include "smtpd/base/dns_name.h"

#define TTL_DEFAULT_S 300
#define DATA_MAX      65000

/* ---- the table ------------------------------------------------------------ */

str zone_parent(str name)
{
	return str_skip(name, str_find(name, '.') + 1);
}

struct zone_node *zone_node(const struct zone *z, str name)
{
	return map_get(&z->nodes, name);
}

bool zone_covers(const struct zone *z, str name)
{
	for (; name.n > 0; name = zone_parent(name)) {
		const struct zone_node *n = zone_node(z, name);

		if (n != NULL && n->records != NULL)
			return true;
	}
	return false;
}

struct zone_node *zone_find(const struct zone *z, str name)
{
	char wild[DNS_TEXT_MAX + 2] = "*.";
	struct zone_node *n = zone_node(z, name);

	if (n != NULL && n->exists)
		return n;
	do /* the closest encloser: the nearest name above that exists */
		name = zone_parent(name);
	while (name.n > 0 && ((n = zone_node(z, name)) == NULL || !n->exists));
	if (name.n == 0)
		return NULL;
	memcpy(wild + 2, name.p, name.n);
	return zone_node(z, (str){ wild, name.n + 2 });
}

bool zone_secure(const struct zone *z, str name)
{
	for (; name.n > 0; name = zone_parent(name)) {
		const struct zone_node *n = zone_node(z, name);

		if (n != NULL && n->secure)
			return true;
	}
	return false;
}

static struct zone_node *node_make(struct zone *z, str name)
{
	struct zone_node *n = zone_node(z, name);

	if (n != NULL)
		return n;
	n = ARENA_NEW(&z->arena, struct zone_node);
	if (n == NULL)
		return NULL;
	n->name = str_keep(&z->arena, name);
	return n->name.n > 0 && map_put(&z->nodes, n->name, n) ? n : NULL;
}

static bool node_add(struct zone *z, str name, const struct zone_record *rec)
{
	struct zone_node *n = node_make(z, name);
	struct zone_record *copy = ARENA_NEW(&z->arena, struct zone_record), **tail;

	if (n == NULL || copy == NULL)
		return false;
	*copy = *rec;
	for (tail = &n->records; *tail != NULL; tail = &(*tail)->next)
		;
	*tail = copy;
	for (; name.n > 0; name = zone_parent(name)) {
		n = node_make(z, name);
		if (n == NULL)
			return false;
		n->exists = true;
	}
	return true;
}

/* ---- the text ------------------------------------------------------------- */

struct line {
	struct zone *zone;
	str          rest;      /* not yet read */
	char         name_bytes[DNS_TEXT_MAX];
	str          name;
	struct zone_record rec;
	struct buf   data;
	const char  *fault;     /* latched */
};

static str next_word(str *rest)
{
	str word;
	size_t n = 0;

	*rest = str_trim(*rest);
	while (n < rest->n && !is_wsp(rest->p[n]))
		n++;
	word = str_head(*rest, n);
	*rest = str_trim(str_skip(*rest, n));
	return word;
}

static void add_byte(struct line *l, unsigned byte)
{
	buf_add_char(&l->data, (char)byte);
}

/* The root stands as "."; what it is called is kept in *kept if wanted. */
static void add_name(struct line *l, const char *fault, str *kept)
{
	uint8_t wire[DNS_WIRE_MAX];
	char lower[DNS_TEXT_MAX];
	str word = next_word(&l->rest), name = dns_name_check(word);

	if (name.n == 0 && !str_is(word, ".")) {
		l->fault = fault;
		return;
	}
	name = dns_name_lower(name, lower);
	buf_add(&l->data, (str){ (const char *)wire, dns_name_to_wire(name, wire) });
	if (kept != NULL)
		*kept = str_keep(&l->zone->arena, name);
}

static void add_address(struct line *l, int family, const char *fault)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr ip;
	str word = next_word(&l->rest);

	snprintf(text, sizeof(text), "%.*s", STR_ARG(word));
	if (word.n >= sizeof(text) || inet_pton(family, text, &ip) != 1) {
		l->fault = fault;
		return;
	}
	buf_add(&l->data, (str){ (const char *)&ip, family == AF_INET ? 4 : 16 });
}

static void read_a(struct line *l)
{
	add_address(l, AF_INET, "A needs an IPv4 address, as 192.0.2.1");
}

static void read_aaaa(struct line *l)
{
	add_address(l, AF_INET6, "AAAA needs an IPv6 address, as 2001:db8::1");
}

static void read_name(struct line *l)
{
	add_name(l, "this type needs a name, as host.example.org", NULL);
}

static void read_cname(struct line *l)
{
	add_name(l, "CNAME needs a name, as host.example.org", &l->rec.target);
}

static void read_mx(struct line *l)
{
	static const char fault[] = "MX needs a preference and a name, as 10 mail.example.org";
	uint32_t preference;

	if (!str_to_u32(next_word(&l->rest), &preference) || preference > UINT16_MAX) {
		l->fault = fault;
		return;
	}
	add_byte(l, preference >> 8);
	add_byte(l, preference & 255);
	add_name(l, fault, NULL);
}

/* One text, as as many strings as it takes. */
static void add_strings(struct line *l, str text)
{
	do {
		str piece = str_head(text, 255);

		add_byte(l, (unsigned)piece.n);
		buf_add(&l->data, piece);
		text = str_skip(text, piece.n);
	} while (text.n > 0);
}

/* \DDD or \c at the front of *s; -1: neither. */
static int unescape(str *s)
{
	int byte = (unsigned char)s->p[0];

	if (!is_digit(s->p[0])) {
		*s = str_skip(*s, 1);
		return byte;
	}
	if (s->n < 3 || !is_digit(s->p[1]) || !is_digit(s->p[2]))
		return -1;
	byte = (s->p[0] - '0') * 100 + (s->p[1] - '0') * 10 + s->p[2] - '0';
	*s = str_skip(*s, 3);
	return byte > 255 ? -1 : byte;
}

static void read_quoted(struct line *l)
{
	struct buf text;
	str s = str_skip(l->rest, 1);
	int byte = 0;

	buf_init(&text, DATA_MAX);
	while (s.n > 0 && s.p[0] != '"' && byte >= 0) {
		byte = (unsigned char)s.p[0];
		s = str_skip(s, 1);
		if (byte == '\\')
			byte = s.n > 0 ? unescape(&s) : -1;
		buf_add_char(&text, (char)byte);
	}
	if (byte < 0)
		l->fault = "a backslash in a quoted text stands before one character or three "
		           "digits up to 255";
	else if (s.n == 0)
		l->fault = "the closing quotation mark is missing";
	else
		add_strings(l, buf_str(&text));
	if (text.failed)
		l->fault = "the text is too long";
	buf_fini(&text);
	l->rest = str_trim(str_skip(s, 1));
}

static void read_txt(struct line *l)
{
	if (l->rest.n == 0) {
		l->fault = "TXT needs a text";
		return;
	}
	if (l->rest.p[0] != '"') {
		add_strings(l, l->rest);
		l->rest = STR_NONE;
		return;
	}
	while (l->rest.n > 0 && l->fault == NULL) {
		if (l->rest.p[0] != '"')
			l->fault = "after a quoted text comes another one or the end of the line";
		else
			read_quoted(l);
	}
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c = to_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void read_tlsa(struct line *l)
{
	static const char fault[] =
		"TLSA needs three numbers and hexadecimal data, as 3 1 1 0123abcd";
	int high = -1;
	uint32_t number;

	for (int i = 0; i < 3; i++) {
		if (!str_to_u32(next_word(&l->rest), &number) || number > 255) {
			l->fault = fault;
			return;
		}
		add_byte(l, number);
	}
	for (size_t i = 0; i < l->rest.n; i++) {
		int digit = hex_digit(l->rest.p[i]);

		if (is_wsp(l->rest.p[i]))
			continue;
		if (digit < 0) {
			l->fault = fault;
			return;
		}
		if (high >= 0)
			add_byte(l, (unsigned)(high << 4 | digit));
		high = high >= 0 ? -1 : digit;
	}
	if (high >= 0 || l->rest.n == 0)
		l->fault = fault;
	l->rest = STR_NONE;
}

static const struct zone_type {
	const char *word;
	unsigned    type;
	void      (*read)(struct line *);
} types[] = {
	{ "A", DNS_A, read_a },          { "AAAA", DNS_AAAA, read_aaaa },
	{ "MX", DNS_MX, read_mx },       { "TXT", DNS_TXT, read_txt },
	{ "PTR", DNS_PTR, read_name },   { "NS", DNS_NS, read_name },
	{ "CNAME", DNS_CNAME, read_cname }, { "TLSA", DNS_TLSA, read_tlsa },
	{ "ANY", ZONE_ANY, NULL },
};

static const struct {
	const char       *word;
	enum zone_trouble trouble;
} troubles[] = {
	{ "SERVFAIL", ZONE_SERVFAIL }, { "NXDOMAIN", ZONE_NXDOMAIN }, { "NODATA", ZONE_NODATA },
	{ "BOGUS", ZONE_BOGUS },       { "TIMEOUT", ZONE_TIMEOUT },   { "SILENT", ZONE_SILENT },
};

static const struct zone_type *read_type(struct line *l)
{
	str word = next_word(&l->rest);

	l->rec.ttl_s = TTL_DEFAULT_S;
	if (str_to_u32(word, &l->rec.ttl_s))
		word = next_word(&l->rest);
	for (size_t i = 0; i < COUNT(types); i++)
		if (str_is_nocase(word, types[i].word))
			return &types[i];
	l->fault = "after the name comes a type: A, AAAA, MX, TXT, PTR, NS, CNAME, TLSA or ANY";
	return NULL;
}

static bool read_trouble(struct line *l)
{
	for (size_t i = 0; i < COUNT(troubles); i++)
		if (str_is(l->rest, troubles[i].word))
			l->rec.trouble = troubles[i].trouble;
	return l->rec.trouble != ZONE_FINE;
}

static void read_record(struct line *l)
{
	const struct zone_type *t = read_type(l);
	struct zone_node *n;

	if (t == NULL)
		return;
	l->rec.type = t->type;
	if (t->type == ZONE_ANY && str_is(l->rest, "SECURE")) {
		n = node_make(l->zone, l->name);
		if (n != NULL)
			n->secure = true;
		return;
	}
	if (!read_trouble(l)) {
		if (t->read == NULL) {
			l->fault = "ANY goes with SERVFAIL, NXDOMAIN, NODATA, BOGUS, TIMEOUT, "
			           "SILENT or SECURE";
			return;
		}
		t->read(l);
		if (l->fault == NULL && l->rest.n > 0)
			l->fault = "there is something behind the data";
		if (l->fault == NULL && (l->data.failed || buf_str(&l->data).n > DATA_MAX))
			l->fault = "the data is too long";
	}
	if (l->fault != NULL)
		return;
	l->rec.data = str_keep(&l->zone->arena, buf_str(&l->data));
	if (!node_add(l->zone, l->name, &l->rec))
		l->fault = "no memory";
}

static const char *read_line(struct zone *z, str text, size_t number)
{
	struct line l = { .zone = z, .rest = str_trim(text), .rec.line = number };
	str name;

	if (l.rest.n == 0 || l.rest.p[0] == '#' || l.rest.p[0] == ';')
		return NULL;
	name = dns_name_check(next_word(&l.rest));
	if (name.n == 0)
		return "a line begins with a domain name, as home.test";
	l.name = dns_name_lower(name, l.name_bytes);
	buf_init(&l.data, DATA_MAX + 1);
	read_record(&l);
	buf_fini(&l.data);
	return l.fault;
}

bool zone_read(struct zone *z, struct strs lines, struct arena *a, str *why)
{
	arena_init(&z->arena, ARENA_UNBOUNDED);
	map_init(&z->nodes, false);
	for (size_t i = 0; i < lines.n; i++) {
		const char *fault = read_line(z, lines.v[i], i + 1);

		if (fault == NULL && z->arena.spent)
			fault = "no memory";
		if (fault == NULL)
			continue;
		*why = arena_printf(a, "local DNS data, line %zu, `%.*s`: %s", i + 1,
		                    STR_ARG(str_head(lines.v[i], 120)), fault);
		return false;
	}
	return true;
}

void zone_fini(struct zone *z)
{
	map_fini(&z->nodes);
	arena_fini(&z->arena);
}
