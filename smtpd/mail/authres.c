/* SPDX-License-Identifier: ISC */
/*
 * authres: Authentication-Results written and recognised (RFC 8601 2.2).
 * Loop thread; all memory is the message's arena.
 */
#include "smtpd/mail/authres.h"

#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/lex.h"

#define WIDTH    78
#define BARE_MAX 600    /* longer values are quoted, and cut there */

static bool is_token(str s)
{
	struct lex l = { .in = s };

	return s.n != 0 && lex_mime_token(&l).n == s.n;
}

static bool is_dot_atom(str s)
{
	if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.' && s.p[i - 1] == '.')
			return false;
		if (!is_alnum(s.p[i]) && memchr("!#$%&'*+-/=?^_`{|}~.", s.p[i], 20) == NULL)
			return false;
	}
	return true;
}

/* pvalue: a token, or [[local-part] "@"] domain-name; all else is quoted. */
static bool is_bare(str s)
{
	size_t at = str_rfind(s, '@');

	if (is_token(s))
		return true;
	if (at == s.n || !domain_valid(str_skip(s, at + 1)))
		return false;
	return at == 0 || is_dot_atom(str_head(s, at));
}

void authres_init(struct authres *r, struct arena *a, str authserv_id)
{
	*r = (struct authres){ .arena = a, .authserv_id = authserv_id };
	fold_init(&r->text, a);
}

/* name=value, quoted when it must be. */
static void add_value(struct authres *r, const char *name, str value, bool (*bare)(str))
{
	const str parts[] = { str_of(name), STR("="), value };
	str       prefix;

	if (value.n <= BARE_MAX && bare(value)) {
		fold_parts(&r->text, parts, COUNT(parts));
		return;
	}
	prefix = arena_printf(r->arena, "%s=", name);
	if (prefix.p != NULL)
		fold_quoted(&r->text, prefix.p, value);
	else
		r->text.failed = true;
}

void authres_method(struct authres *r, const char *method, const char *result, str reason)
{
	const str parts[] = { str_of(method), STR("="), str_of(result) };

	r->count++;
	if (r->seen != NULL) {
		r->seen(r->seen_arg, method, result, reason);
		return;
	}
	fold_add(&r->text, STR(";"));
	fold_line(&r->text);
	fold_parts(&r->text, parts, COUNT(parts));
	if (reason.n)
		add_value(r, "reason", reason, is_token);
}

void authres_comment(struct authres *r, str text)
{
	if (r->count && r->seen == NULL && text.n)
		fold_comment(&r->text, text);
}

void authres_property(struct authres *r, const char *ptype_dot_property, str value)
{
	if (r->count && r->seen == NULL)
		add_value(r, ptype_dot_property, value, is_bare);
}

static str id_text(struct authres *r)
{
	struct fold f;

	if (r->authserv_id.n <= BARE_MAX && is_token(r->authserv_id))
		return r->authserv_id;
	fold_init(&f, r->arena);
	f.fresh = true;
	fold_quoted(&f, "", r->authserv_id);
	return fold_str(&f);
}

str authres_body(struct authres *r)
{
	str id = id_text(r), text = fold_str(&r->text);

	if (r->text.failed || id.p == NULL)
		return STR_NONE;
	if (r->count == 0)
		text = STR("; none");
	return arena_printf(r->arena, "%.*s%.*s", STR_ARG(id), STR_ARG(text));
}

str authres_field(struct authres *r, const char *field_name)
{
	str    body = authres_body(r);
	size_t first = str_find(body, '\r');

	if (body.p == NULL)
		return STR_NONE;
	return arena_printf(r->arena, "%s:%s%.*s\r\n", field_name,
	                    strlen(field_name) + 2 + first > WIDTH ? "\r\n\t" : " ", STR_ARG(body));
}

/* authserv-id: a token or a quoted string. */
static bool read_id(struct arena *a, struct lex *l, str *id)
{
	struct lex_token t;
	struct buf       b;

	lex_space(l);
	*id = lex_mime_token(l);
	if (id->n)
		return true;
	lex_next(l, &t);
	if (t.kind != LEX_QUOTED)
		return false;
	buf_init(&b, BUF_UNBOUNDED);
	lex_unquote(&b, t.text);
	*id = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return id->n != 0;
}

bool authres_id(struct arena *a, str value, str *id)
{
	struct lex l = { .in = value };
	bool       spaced;

	if (!read_id(a, &l, id))
		return false;
	spaced = lex_space(&l);
	while (spaced && l.in.n && is_digit(l.in.p[0]))
		l.in = str_skip(l.in, 1);
	lex_space(&l);
	return !l.broken && (l.in.n == 0 || l.in.p[0] == ';');
}
