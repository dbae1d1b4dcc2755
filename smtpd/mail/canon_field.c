/* SPDX-License-Identifier: ISC */
/*
 * canon_field: canonical forms of one header field (RFC 6376 3.4.1, 3.4.2;
 * RFC 4870 3.4.2), and of the signature's own field (RFC 6376 3.7).  Any thread.
 */
#include "smtpd/mail/canon.h"

static bool is_fws(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static str without_crlf(str raw)
{
	if (raw.n >= 2 && raw.p[raw.n - 2] == '\r' && raw.p[raw.n - 1] == '\n')
		raw.n -= 2;
	return raw;
}

static str without_wsp_at_end(str s)
{
	while (s.n && is_wsp(s.p[s.n - 1]))
		s.n--;
	return s;
}

static void put_lower(struct buf *out, str s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_add_char(out, to_lower(s.p[i]));
}

/* At a fold: CRLF with white space behind it. */
static bool at_fold(str s)
{
	return s.n >= 3 && s.p[0] == '\r' && s.p[1] == '\n' && is_wsp(s.p[2]);
}

/* A space between two words that stays as it is. */
static bool stays(str s, size_t at)
{
	return s.p[at] == ' ' && at + 1 < s.n && !is_wsp(s.p[at + 1]) && s.p[at + 1] != '\r';
}

/* How many octets from the front go out as they are; the first one does. */
static size_t unchanged(str s)
{
	size_t n = 1;

	while (n < s.n && ((!is_wsp(s.p[n]) && s.p[n] != '\r') || stays(s, n)))
		n++;
	return n;
}

/* Folds undone, white space made one space, none at either end. */
static void put_relaxed_value(struct buf *out, str s)
{
	bool wsp = false, any = false;

	while (s.n) {
		size_t run;

		if (at_fold(s)) {
			s = str_skip(s, 2);
			continue;
		}
		if (is_wsp(s.p[0])) {
			wsp = true;
			s = str_skip(s, 1);
			continue;
		}
		run = unchanged(s);
		if (wsp && any)
			buf_add_char(out, ' ');
		buf_add(out, str_head(s, run));
		wsp = false;
		any = true;
		s = str_skip(s, run);
	}
}

/* The field is `left` and `right` with something cut out between them. */
static void put_relaxed(struct buf *out, str left, str right)
{
	size_t     colon = str_find(left, ':');
	struct buf value;

	put_lower(out, without_wsp_at_end(str_head(left, colon)));
	if (colon == left.n)
		return;
	buf_add_char(out, ':');
	left = str_skip(left, colon + 1);
	if (right.n == 0) {
		put_relaxed_value(out, left);
		return;
	}
	buf_init(&value, BUF_UNBOUNDED);
	buf_add(&value, left);
	buf_add(&value, right);
	if (value.failed)
		out->failed = true;
	put_relaxed_value(out, buf_str(&value));
	buf_fini(&value);
}

static void put_nofws(struct buf *out, str s)
{
	while (s.n) {
		size_t run = 0;

		while (run < s.n && !is_fws(s.p[run]))
			run++;
		buf_add(out, str_head(s, run));
		s = str_skip(s, run < s.n ? run + 1 : run);
	}
}

static void put_field(enum canon kind, str left, str right, struct buf *out)
{
	switch (kind) {
	case CANON_SIMPLE:
		buf_add(out, left);
		buf_add(out, right);
		break;
	case CANON_RELAXED:
		put_relaxed(out, left, right);
		break;
	case CANON_NOFWS:
		put_nofws(out, left);
		put_nofws(out, right);
		break;
	}
}

void canon_field(enum canon kind, str raw, struct buf *out)
{
	put_field(kind, without_crlf(raw), STR_NONE, out);
	buf_add(out, STR("\r\n"));
}

/* Where the value of the first b= begins and ends, white space around it
 * included; false when there is none. */
static bool find_b(str raw, size_t *from, size_t *to)
{
	str    rest = str_skip(raw, str_find(raw, ':') + 1), item;

	while (str_cut(&rest, ';', &item)) {
		size_t eq = str_find(item, '=');

		if (eq == item.n || !str_is(str_trim(str_head(item, eq)), "b"))
			continue;
		*from = (size_t)(item.p - raw.p) + eq + 1;
		*to = (size_t)(item.p - raw.p) + item.n;
		return true;
	}
	return false;
}

void canon_signature_field(enum canon kind, str raw, struct buf *out)
{
	size_t from, to;

	raw = without_crlf(raw);
	if (!find_b(raw, &from, &to))
		from = to = raw.n;
	put_field(kind, str_head(raw, from), str_skip(raw, to), out);
}
