/* SPDX-License-Identifier: ISC */
/*
 * spf_record: the grammar of RFC 7208 12, read by hand.  What a mechanism may
 * have behind its name stands in one table.  Pure; any thread.
 */
#include "modules/spf/spf_record.h"

#include <arpa/inet.h>
#include <string.h>

#include "modules/spf/spf_macro.h"
#include "smtpd/base/err.h"

enum { SPEC_NONE, SPEC_MAY, SPEC_MUST };

static const struct known {
	const char   *name;
	enum spf_kind kind;
	int           spec;        /* ":" domain-spec */
	bool          prefix;      /* dual-cidr-length */
} mechanisms[] = {
	{ "all",     SPF_ALL,     SPEC_NONE, false },
	{ "include", SPF_INCLUDE, SPEC_MUST, false },
	{ "a",       SPF_A,       SPEC_MAY,  true },
	{ "mx",      SPF_MX,      SPEC_MAY,  true },
	{ "ptr",     SPF_PTR,     SPEC_MAY,  false },
	{ "ip4",     SPF_IP4,     SPEC_NONE, false },
	{ "ip6",     SPF_IP6,     SPEC_NONE, false },
	{ "exists",  SPF_EXISTS,  SPEC_MUST, false },
};

/* ---- prefix lengths ------------------------------------------------------- */

/* "0" or digits that do not begin with 0, at most `most`. */
static bool prefix_number(str digits, unsigned most, unsigned *out)
{
	uint32_t n;

	if (digits.n == 0 || digits.n > 3 || (digits.n > 1 && digits.p[0] == '0'))
		return false;
	if (!str_to_u32(digits, &n) || n > most)
		return false;
	*out = n;
	return true;
}

static size_t digits_at_end(str s)
{
	size_t n = 0;

	while (n < s.n && is_digit(s.p[s.n - 1 - n]))
		n++;
	return n;
}

static bool ends_with_slash(str s, size_t slashes)
{
	if (s.n < slashes)
		return false;
	for (size_t i = 1; i <= slashes; i++)
		if (s.p[s.n - i] != '/')
			return false;
	return true;
}

/* Takes [ "/" n ] [ "//" n ] off the end of *s.  A slash is also a legal
 * character of a domain-spec, so the prefix is what stands last. */
static bool take_prefixes(str *s, struct spf_parsed *t)
{
	size_t n = digits_at_end(*s);
	str    digits = str_skip(*s, s->n - n), before = str_head(*s, s->n - n);

	if (n > 0 && ends_with_slash(before, 2)) {
		if (!prefix_number(digits, 128, &t->bits6))
			return false;
		*s = str_head(before, before.n - 2);
		n = digits_at_end(*s);
		digits = str_skip(*s, s->n - n);
		before = str_head(*s, s->n - n);
	}
	if (n > 0 && ends_with_slash(before, 1)) {
		if (!prefix_number(digits, 32, &t->bits4))
			return false;
		*s = str_head(before, before.n - 1);
	}
	return true;
}

/* ---- mechanisms ----------------------------------------------------------- */

static const char *read_network(str value, enum spf_kind kind, struct spf_parsed *t)
{
	int      family = kind == SPF_IP4 ? AF_INET : AF_INET6;
	char     text[INET6_ADDRSTRLEN];
	size_t   slash = str_find(value, '/');
	str      ip = str_head(value, slash), prefix = str_skip(value, slash + 1);
	unsigned most = family == AF_INET ? 32 : 128;
	unsigned *bits = family == AF_INET ? &t->bits4 : &t->bits6;
	void     *to = family == AF_INET ? (void *)&t->ip4 : (void *)&t->ip6;

	if (slash < value.n && !prefix_number(prefix, most, bits))
		return "the prefix length is not a number within the address";
	if (ip.n == 0 || ip.n >= sizeof(text))
		return family == AF_INET ? "it needs an IPv4 address" : "it needs an IPv6 address";
	memcpy(text, ip.p, ip.n);
	text[ip.n] = '\0';
	if (inet_pton(family, text, to) != 1)
		return family == AF_INET ? "this is not an IPv4 address"
		                         : "this is not an IPv6 address";
	return NULL;
}

static bool looks_like_ip4(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_digit(s.p[i]) && s.p[i] != '.')
			return false;
	return s.n > 0;
}

static const char *check_spec(str spec)
{
	const char *why = spf_domain_spec_fault(spec);

	if (why != NULL && looks_like_ip4(spec))
		return "an address needs ip4: in front";
	return why;
}

/* What follows the name: "", ":…" or "/…". */
static const char *read_arguments(const struct known *k, str rest, struct spf_parsed *t)
{
	bool colon = rest.n > 0 && rest.p[0] == ':';

	if (k->kind == SPF_IP4 || k->kind == SPF_IP6)
		return colon ? read_network(str_skip(rest, 1), k->kind, t) : "it needs an address";
	if (k->prefix && !take_prefixes(&rest, t))
		return "the prefix length is not a number within the address";
	if (rest.n == 0 && !colon)
		return k->spec == SPEC_MUST ? "it needs a domain" : NULL;
	if (!colon || k->spec == SPEC_NONE)
		return k->spec == SPEC_NONE ? "nothing may follow it"
		                            : "after it may stand a colon and a domain";
	t->spec = str_skip(rest, 1);
	return check_spec(t->spec);
}

static const char *read_mechanism(str name, str rest, struct spf_parsed *t)
{
	for (size_t i = 0; i < COUNT(mechanisms); i++) {
		if (!str_is_nocase(name, mechanisms[i].name))
			continue;
		t->kind = mechanisms[i].kind;
		return read_arguments(&mechanisms[i], rest, t);
	}
	return "unknown mechanism";
}

/* ---- modifiers ------------------------------------------------------------ */

static const char *read_modifier(str name, str value, struct spf_parsed *t)
{
	t->spec = value;
	if (str_is_nocase(name, "redirect"))
		t->kind = SPF_REDIRECT;
	else if (str_is_nocase(name, "exp"))
		t->kind = SPF_EXP;
	else
		t->kind = SPF_UNKNOWN_MODIFIER;
	if (t->kind != SPF_UNKNOWN_MODIFIER)
		return check_spec(value);
	return spf_macro_fault(value, SPF_MACROS_ALL);
}

/* ---- terms ---------------------------------------------------------------- */

static bool take_qualifier(str *text, enum spf_result *out)
{
	static const struct { char c; enum spf_result result; } qualifiers[] = {
		{ '+', SPF_PASS }, { '-', SPF_FAIL }, { '~', SPF_SOFTFAIL }, { '?', SPF_NEUTRAL },
	};

	*out = SPF_PASS;
	for (size_t i = 0; i < COUNT(qualifiers); i++) {
		if (text->n == 0 || text->p[0] != qualifiers[i].c)
			continue;
		*out = qualifiers[i].result;
		*text = str_skip(*text, 1);
		return true;
	}
	return false;
}

/* name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ) */
static size_t name_length(str s)
{
	size_t n = 0;

	if (s.n == 0 || !is_alpha(s.p[0]))
		return 0;
	while (n < s.n && (is_alnum(s.p[n]) || s.p[n] == '-' || s.p[n] == '_' || s.p[n] == '.'))
		n++;
	return n;
}

static bool visible(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x21 || s.p[i] > 0x7e)
			return false;
	return true;
}

static const char *read_term(struct spf_parsed *t)
{
	bool   qualified;
	size_t n;
	str    rest;

	if (!visible(t->text))
		return "it holds a character that is not visible ASCII";
	qualified = take_qualifier(&t->text, &t->qualifier);
	n = name_length(t->text);
	if (n == 0)
		return "a term begins with a letter";
	rest = str_skip(t->text, n);
	if (rest.n > 0 && rest.p[0] == '=')
		return qualified ? "a modifier has no qualifier"
		                 : read_modifier(str_head(t->text, n), str_skip(rest, 1), t);
	return read_mechanism(str_head(t->text, n), rest, t);
}

enum spf_read spf_term_read(str *rest, struct spf_parsed *out, const char **why)
{
	size_t n = 0;

	while (rest->n > 0 && rest->p[0] == ' ')
		*rest = str_skip(*rest, 1);
	if (rest->n == 0)
		return SPF_READ_END;
	while (n < rest->n && rest->p[n] != ' ')
		n++;
	*out = (struct spf_parsed){ .text = str_head(*rest, n), .bits4 = 32, .bits6 = 128 };
	*rest = str_skip(*rest, n);
	*why = read_term(out);
	return *why == NULL ? SPF_READ_TERM : SPF_READ_BAD;
}

static bool keep_modifier(const struct spf_parsed *t, str *slot, const char **why)
{
	if (slot->p != NULL) {
		*why = "it stands twice";
		return false;
	}
	*slot = t->spec;
	return true;
}

bool spf_terms_check(str terms, struct spf_modifiers *out, str *bad, const char **why)
{
	struct spf_parsed t = { .kind = SPF_ALL };
	enum spf_read     got;
	bool              good = true;

	*out = (struct spf_modifiers){ STR_NONE, STR_NONE };
	do {
		got = spf_term_read(&terms, &t, why);
		*bad = t.text;
		if (got == SPF_READ_TERM && t.kind == SPF_REDIRECT)
			good = keep_modifier(&t, &out->redirect, why);
		else if (got == SPF_READ_TERM && t.kind == SPF_EXP)
			good = keep_modifier(&t, &out->exp, why);
	} while (got == SPF_READ_TERM && good);
	return got == SPF_READ_END;
}

/* ---- versions ------------------------------------------------------------- */

/* "/" scope *( "," scope ) holds `scope`. */
static bool has_scope(str scopes, str scope)
{
	str one;

	if (scopes.n == 0 || scopes.p[0] != '/')
		return false;
	scopes = str_skip(scopes, 1);
	while (str_cut(&scopes, ',', &one))
		if (str_eq_nocase(one, scope))
			return true;
	return false;
}

bool spf_record_is(str txt, const char *version, str *terms)
{
	size_t n = str_find(txt, ' ');
	str    have = str_head(txt, n), want = str_of(version != NULL ? version : "v=spf1");
	size_t slash = str_find(want, '/');
	str    number = str_head(want, slash), scope = str_skip(want, slash + 1);

	*terms = str_skip(txt, n);
	if (slash == want.n)
		return str_eq_nocase(have, want);
	return have.n > number.n && str_eq_nocase(str_head(have, number.n), number) &&
	       has_scope(str_skip(have, number.n), scope);
}
