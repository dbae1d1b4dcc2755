/* SPDX-License-Identifier: ISC */
/*
 * arc_results: ARC-Authentication-Results read and gathered (RFC 8617 4.1.1,
 * RFC 8601 2.2).
 *
 * A payload speaks for somebody only when it reads cleanly: whatever cannot be
 * read says nothing.  Linear, views into the field; any thread.
 */
#include <string.h>

#include "modules/arc/arc.h"
#include "smtpd/base/buf.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/authres.h"

static bool is_space(char c)
{
	return is_wsp(c) || c == '\r' || c == '\n';
}

/* How long the comment or quoted string at the front is; all when it never ends. */
static size_t bracketed(str s)
{
	char open = s.p[0];
	size_t depth = 1, i = 1;

	for (; i < s.n && depth > 0; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"' ? open == '"' : s.p[i] == ')' && open == '(')
			depth--;
		else if (s.p[i] == '(' && open == '(')
			depth++;
	}
	return i < s.n ? i : s.n;
}

/* White space, folds and comments (CFWS). */
static void skip_space(str *s)
{
	while (s->n > 0 && (is_space(s->p[0]) || s->p[0] == '('))
		*s = str_skip(*s, s->p[0] == '(' ? bracketed(*s) : 1);
}

static bool took(str *s, char c)
{
	skip_space(s);
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = str_skip(*s, 1);
	return true;
}

/* A token as methods, results and property names are: letters, digits, "-_.". */
static str word(str *s)
{
	size_t n = 0;
	str out;

	skip_space(s);
	while (n < s->n &&
	       (is_alnum(s->p[n]) || s->p[n] == '-' || s->p[n] == '_' || s->p[n] == '.'))
		n++;
	out = str_head(*s, n);
	*s = str_skip(*s, n);
	return out;
}

/* A value: quoted, or up to space, comment or ';'. */
static str value(str *s)
{
	size_t n = 0;
	str out;

	skip_space(s);
	if (s->n > 0 && s->p[0] == '"') {
		n = bracketed(*s);
		out = n < 2 ? STR_NONE : str_head(str_skip(*s, 1), n - 2);
	} else {
		while (n < s->n && !is_space(s->p[n]) && s->p[n] != '(' && s->p[n] != ';')
			n++;
		out = str_head(*s, n);
	}
	*s = str_skip(*s, n);
	return out;
}

bool arc_results_read(str text, unsigned *instance, str *payload)
{
	uint32_t n;
	size_t digits = 0;

	skip_space(&text);
	if (text.n == 0 || text.p[0] != 'i')            /* %s"i", RFC 8617 4.1.1 */
		return false;
	text = str_skip(text, 1);
	if (!took(&text, '='))
		return false;
	skip_space(&text);
	while (digits < text.n && is_digit(text.p[digits]))
		digits++;
	if (digits > 2 || !str_to_u32(str_head(text, digits), &n) || n == 0 || n > ARC_SETS_MAX)
		return false;
	text = str_skip(text, digits);
	if (!took(&text, ';'))
		return false;
	*instance = n;
	*payload = str_trim(text);
	return true;
}

/* The authserv-id and its version. */
static bool id_skip(str *s)
{
	skip_space(s);
	str id = value(s);

	skip_space(s);
	while (s->n > 0 && is_digit(s->p[0]))
		*s = str_skip(*s, 1);
	skip_space(s);
	return id.n > 0 && (s->n == 0 || s->p[0] == ';');
}

struct claim {                      /* one "method=result properties" */
	str  method, result, header_from;
	bool froms;                 /* header.from is told twice */
};

static bool method_read(str *s, struct claim *c)
{
	c->method = word(s);
	if (took(s, '/'))           /* a version of the method */
		word(s);
	if (c->method.n == 0)
		return false;
	if (str_is_nocase(c->method, "none") && (skip_space(s), s->n == 0 || s->p[0] == ';'))
		return true;
	if (!took(s, '='))
		return false;
	c->result = word(s);
	return c->result.n > 0;
}

static bool claim_read(str *s, struct claim *c)
{
	*c = (struct claim){ .froms = false };
	if (!method_read(s, c))
		return false;
	for (skip_space(s); s->n > 0 && s->p[0] != ';'; skip_space(s)) {
		str name = word(s);

		if (name.n == 0 || !took(s, '='))
			return false;
		str v = value(s);

		if (!str_is_nocase(name, "header.from"))
			continue;
		c->froms = c->header_from.n > 0;
		c->header_from = v;
	}
	return true;
}

static bool same_domain(struct arena *a, str told, str domain)
{
	str ascii;

	return str_eq_nocase(told, domain) ||
	       (domain_to_ascii(a, told, &ascii) && str_eq_nocase(ascii, domain));
}

bool arc_results_vouch(struct arena *a, str payload, str from_domain)
{
	struct claim c;
	bool passed = false;

	if (from_domain.n == 0 || !id_skip(&payload))
		return false;
	while (took(&payload, ';')) {
		skip_space(&payload);
		if (payload.n == 0)
			break;
		if (!claim_read(&payload, &c))
			return false;
		if (!str_is_nocase(c.method, "dmarc"))
			continue;
		if (!str_is_nocase(c.result, "pass") || c.froms ||
		    (c.header_from.n > 0 && !same_domain(a, c.header_from, from_domain)))
			return false;
		passed = true;
	}
	skip_space(&payload);
	return passed && payload.n == 0;
}

/* ---- for a new set --------------------------------------------------------- */

/* Without the space and the ';' at the end. */
static str results_trim(str s)
{
	s = str_trim(s);
	while (s.n > 0 && s.p[s.n - 1] == ';')
		s = str_trim(str_head(s, s.n - 1));
	return s;
}

/* What stands behind the authserv-id; empty for "none". */
static bool own_results(struct arena *a, const struct field *f, str authserv_id, str *results)
{
	str id, rest = f->value;

	if (!field_is(f, "Authentication-Results") || !authres_id(a, f->value, &id) ||
	    !str_eq_nocase(id, authserv_id))
		return false;
	if (!id_skip(&rest))
		return false;
	took(&rest, ';');
	*results = results_trim(rest);
	if (str_is_nocase(*results, "none"))
		*results = STR_NONE;
	return true;
}

str arc_results_gather(struct arena *a, const struct fields *fields, str authserv_id)
{
	struct authres r;
	struct buf text;
	str results, out;

	authres_init(&r, a, authserv_id);
	str none = authres_body(&r);               /* "ID; none", quoted where it must be */

	buf_init(&text, BUF_UNBOUNDED);
	for (size_t i = 0; i < fields->n; i++)
		if (own_results(a, &fields->v[i], authserv_id, &results) && results.n > 0) {
			buf_add(&text, text.n > 0 ? STR(";\r\n ") : STR(" "));
			buf_add(&text, results);
		}
	if (text.n == 0)
		out = none;
	else
		out = arena_printf(a, "%.*s;%.*s",
				   STR_ARG(str_head(none, none.n - (none.n > 6 ? 6 : none.n))),
				   STR_ARG(buf_str(&text)));
	if (text.failed)
		out = STR_NONE;
	buf_fini(&text);
	return out;
}
