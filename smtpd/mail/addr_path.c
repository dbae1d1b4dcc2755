/* SPDX-License-Identifier: ISC */
/*
 * addr_path: envelope addresses (RFC 5321 4.1.2, 6531 3.3).
 *
 * The end of an address is found first, quotes respected; then its parts are
 * read, and text is written anew from them, so that no odd spelling travels on.
 * NUL, CR and LF never get in.  Any thread.
 */
#include "smtpd/mail/addr.h"

#include <string.h>

#include "smtpd/base/buf.h"

struct reading {                 /* one call's settings and its first complaint */
	struct arena *arena;
	bool          utf8, strict;
	bool          stored;    /* once taken as UTF-8, its A-labels may be longer */
	const char   *why;
};

static bool refuse(struct reading *r, const char *why)
{
	if (r->why == NULL)
		r->why = why;
	return false;
}

/* RFC 5321 atext (RFC 5322 3.2.3), RFC 6531 3.3 */
static bool is_atext(char c)
{
	return is_alnum(c) || (unsigned char)c >= 0x80 ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool has_8bit(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

/* Dot-string: atoms with single dots between them. */
static bool is_dot_string(str s)
{
	if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_atext(s.p[i]) && (s.p[i] != '.' || s.p[i - 1] == '.'))
			return false;
	return true;
}

static void write_local(struct buf *b, str local)
{
	if (is_dot_string(local)) {
		buf_add(b, local);
		return;
	}
	buf_add_char(b, '"');
	for (size_t i = 0; i < local.n; i++) {
		if (local.p[i] == '"' || local.p[i] == '\\')
			buf_add_char(b, '\\');
		buf_add_char(b, local.p[i]);
	}
	buf_add_char(b, '"');
}

static bool write_text(struct arena *a, struct path *p)
{
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	write_local(&b, p->local);
	if (p->domain.n) {
		buf_add_char(&b, '@');
		buf_add(&b, p->domain);
	}
	p->text = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return p->text.p != NULL;
}

static bool local_allowed(str local)
{
	for (size_t i = 0; i < local.n; i++)
		if (local.p[i] == '\0' || local.p[i] == '\r' || local.p[i] == '\n')
			return false;
	return utf8_valid(local);
}

static bool read_domain(struct reading *r, str text, struct path *out)
{
	out->was_utf8 |= has_8bit(text);
	if (text.n && text.p[0] == '[') {
		out->is_literal = true;
		return literal_to_text(r->arena, text, &out->domain) ||
		       refuse(r, "the address literal is not [IPv4] or [IPv6:address]");
	}
	if (r->strict && text.n && text.p[text.n - 1] == '.')
		return refuse(r, "the domain ends in a dot");
	return domain_to_ascii(r->arena, text, &out->domain) ||
	       refuse(r, "the domain is not a host name");
}

bool path_build(struct arena *a, str local, str domain, struct path *out)
{
	struct reading r = { .arena = a, .utf8 = true };

	*out = (struct path){ 0 };
	if (!local_allowed(local) || !read_domain(&r, domain, out))
		return false;
	out->local = local.n ? str_keep(a, local) : STR("");
	out->is_utf8 = has_8bit(local);
	out->was_utf8 |= out->is_utf8;
	return out->local.p != NULL && write_text(a, out);
}

/* Quoted-string at the front of *in: its content, quotes and backslashes
 * undone.  Space and printable characters only (QcontentSMTP). */
static bool read_quoted(struct reading *r, str *in, str *local)
{
	char  *p = arena_alloc(r->arena, in->n);
	size_t n = 0, i = 1;

	if (p == NULL)
		return refuse(r, "no memory");
	for (; i < in->n && in->p[i] != '"'; i++) {
		if (in->p[i] == '\\' && ++i == in->n)
			break;
		if ((unsigned char)in->p[i] < ' ' || in->p[i] == 0x7f)
			return refuse(r, "a control character in the quoted local part");
		p[n++] = in->p[i];
	}
	if (i >= in->n)
		return refuse(r, "unbalanced quotes");
	*in = str_skip(*in, i + 1);
	*local = (str){ p, n };
	return true;
}

static bool read_dot_string(struct reading *r, str *in, str *local)
{
	size_t n = 0;

	while (n < in->n && (is_atext(in->p[n]) || in->p[n] == '.'))
		n++;
	*local = str_head(*in, n);
	if (n == 0)
		return refuse(r, in->n && in->p[0] != '@'
					 ? "a character that needs quotes in the local part"
					 : "no local part");
	if (n < in->n && in->p[n] != '@')
		return refuse(r, "a character that needs quotes in the local part");
	if (r->strict && !is_dot_string(*local))
		return refuse(r, "a dot where none may stand in the local part");
	*in = str_skip(*in, n);
	return true;
}

/* "@one.test,@two.test:" is read and dropped (RFC 5321 appendix C). */
static bool skip_route(struct reading *r, str *in)
{
	size_t colon = str_find(*in, ':');
	str    hosts = str_head(*in, colon), host, name;

	if (colon == in->n)
		return refuse(r, "a source route without its colon");
	while (str_cut(&hosts, ',', &host))
		if (host.n < 2 || host.p[0] != '@' ||
		    !domain_to_ascii(r->arena, str_skip(host, 1), &name))
			return refuse(r, "a malformed source route");
	*in = str_skip(*in, colon + 1);
	return true;
}

static bool lengths_allowed(struct reading *r, str all, const struct path *p)
{
	size_t most = p->was_utf8 || r->stored ? 2 * ADDR_PATH_MAX : ADDR_PATH_MAX;

	if (r->strict && p->local.n > ADDR_LOCAL_MAX)
		return refuse(r, "the local part is longer than 64 octets");
	if (p->domain.n > ADDR_DOMAIN_MAX || all.n > most - 2 || p->text.n > most - 2)
		return refuse(r, "the address is too long");
	return true;
}

/* Local part and domain: what stands between the brackets, no route. */
static bool read_mailbox(struct reading *r, str in, struct path *out)
{
	str all = in, local;

	if (has_8bit(in) && !r->utf8)
		return refuse(r, "a non-ASCII address without SMTPUTF8");
	if (in.n && in.p[0] == '"' ? !read_quoted(r, &in, &local)
				   : !read_dot_string(r, &in, &local))
		return false;
	if (!local_allowed(local))
		return refuse(r, "the local part is not UTF-8");
	if (in.n == 0 && !str_is_nocase(local, "postmaster"))
		return refuse(r, "no domain");
	if (in.n && in.p[0] != '@')
		return refuse(r, "text between the local part and @");
	if (in.n && !read_domain(r, str_skip(in, 1), out))
		return false;
	out->local = local.n ? str_keep(r->arena, local) : STR("");
	out->is_utf8 = has_8bit(local);
	out->was_utf8 |= out->is_utf8;
	if (out->local.p == NULL || !write_text(r->arena, out))
		return refuse(r, "no memory");
	return lengths_allowed(r, all, out);
}

/* Index of the first `stop` outside quotes, or in.n. */
static size_t find_unquoted(str in, char stop)
{
	bool quoted = false;

	for (size_t i = 0; i < in.n; i++) {
		if (quoted && in.p[i] == '\\')
			i++;
		else if (in.p[i] == '"')
			quoted = !quoted;
		else if (!quoted && in.p[i] == stop)
			return i;
	}
	return in.n;
}

/* Sets `inner` to what is between the brackets. */
static bool cut_brackets(struct reading *r, str in, str *inner, str *rest)
{
	size_t end;

	if (in.n && in.p[0] == '<') {
		end = find_unquoted(in, '>');
		if (end == in.n)
			return refuse(r, "no closing bracket");
		*inner = (str){ in.p + 1, end - 1 };
		*rest = str_skip(in, end + 1);
		if (rest->n && rest->p[0] != ' ')
			return refuse(r, "text behind the closing bracket");
		return true;
	}
	if (r->strict || in.n == 0)
		return refuse(r, "no < in front of the address");
	end = find_unquoted(in, ' ');
	*inner = str_head(in, end);
	*rest = str_skip(in, end);
	return true;
}

static bool read_path(struct reading *r, str in, struct path *out, str *rest)
{
	str inner;

	while (!r->strict && in.n && in.p[0] == ' ')
		in = str_skip(in, 1);
	if (!cut_brackets(r, in, &inner, rest))
		return false;
	if (inner.n == 0) {
		*out = (struct path){
			.is_null = true, .text = STR(""), .local = STR(""), .domain = STR("")};
		return true;
	}
	if (inner.p[0] == '@' && !skip_route(r, &inner))
		return false;
	return read_mailbox(r, inner, out);
}

bool path_parse(struct arena *a, str in, bool utf8_allowed, bool strict, struct path *out,
		str *rest, const char **why)
{
	struct reading r = { .arena = a, .utf8 = utf8_allowed, .strict = strict };
	bool           good;

	*out = (struct path){ 0 };
	*rest = STR_NONE;
	good = read_path(&r, in, out, rest);
	if (!good)
		*out = (struct path){ 0 };
	*why = good ? NULL : r.why;
	return good;
}

bool path_of(struct arena *a, str text, struct path *out)
{
	struct reading r = { .arena = a, .utf8 = true, .stored = true };

	*out = (struct path){ 0 };
	if (read_mailbox(&r, text, out) && out->domain.n)
		return true;
	*out = (struct path){ 0 };
	return false;
}

bool path_eq(const struct path *a, const struct path *b)
{
	return a->is_null == b->is_null && str_eq(a->local, b->local) &&
	       str_eq(a->domain, b->domain);
}

bool path_eq_nocase(const struct path *a, const struct path *b)
{
	return a->is_null == b->is_null && str_eq_nocase(a->local, b->local) &&
	       str_eq(a->domain, b->domain);
}

bool path_copy(struct arena *a, const struct path *p, struct path *out)
{
	*out = *p;
	out->text = str_keep(a, p->text);
	out->local = str_keep(a, p->local);
	out->domain = str_keep(a, p->domain);
	return !(p->text.n && out->text.p == NULL) && !(p->local.n && out->local.p == NULL) &&
	       !(p->domain.n && out->domain.p == NULL);
}

bool path_is_postmaster(const struct path *p)
{
	return !p->is_null && str_is_nocase(p->local, "postmaster");
}
