/* SPDX-License-Identifier: ISC */
/*
 * spf_macro: one reader of macro strings serves the check, the question which
 * letters occur, and the expansion.  Pure; any thread.
 */
#include "modules/spf/spf_macro.h"

#include <string.h>

#include "smtpd/base/err.h"

struct piece {
	enum { LITERAL, ESCAPE, MACRO, BAD } kind;
	str      text;               /* as it stands */
	char     letter;             /* MACRO: as written */
	unsigned keep;               /* right-hand parts; 0: all */
	bool     reverse;
	str      delimiters;
	str      stands_for;         /* ESCAPE */
	const char *why;             /* BAD */
};

static bool is_delimiter(char c)
{
	return c != '\0' && strchr(".-+,/_=", c) != NULL;
}

static struct piece bad(const char *why)
{
	return (struct piece){ .kind = BAD, .why = why };
}

/* Decimal; the number of parts has no use over a few hundred, so it saturates. */
static size_t read_digits(str s, unsigned *out)
{
	size_t n = 0;

	*out = 0;
	for (; n < s.n && is_digit(s.p[n]); n++)
		if (*out < 100000)
			*out = *out * 10 + (unsigned)(s.p[n] - '0');
	return n;
}

/* Behind "%{": letter *DIGIT ["r"] *delimiter "}" */
static struct piece read_macro(str s)
{
	struct piece m = { .kind = MACRO };
	size_t       i, digits;

	if (s.n < 2)
		return bad("a macro is not closed");
	m.letter = s.p[0];
	digits = read_digits(str_skip(s, 1), &m.keep);
	if (digits > 0 && m.keep == 0)
		return bad("a macro asks for 0 parts");
	i = 1 + digits;
	if (i < s.n && to_lower(s.p[i]) == 'r') {
		m.reverse = true;
		i++;
	}
	m.delimiters.p = s.p + i;
	while (i < s.n && is_delimiter(s.p[i])) {
		m.delimiters.n++;
		i++;
	}
	if (i == s.n || s.p[i] != '}')
		return bad("a macro is not closed, or holds something unknown");
	m.text = str_head(s, i + 1);
	return m;
}

static struct piece read_percent(str s)
{
	static const struct { char c; str stands_for; } escapes[] = {
		{ '%', { "%", 1 } }, { '_', { " ", 1 } }, { '-', { "%20", 3 } },
	};
	struct piece m;

	if (s.n >= 2 && s.p[1] == '{') {
		m = read_macro(str_skip(s, 2));
		m.text = str_head(s, m.text.n + 2);
		return m;
	}
	for (size_t i = 0; s.n >= 2 && i < COUNT(escapes); i++)
		if (s.p[1] == escapes[i].c)
			return (struct piece){ .kind = ESCAPE, .text = str_head(s, 2),
			                       .stands_for = escapes[i].stands_for };
	return bad("a percent sign begins no macro");
}

/* Takes the next piece off *rest, which is not empty. */
static struct piece next_piece(str *rest)
{
	struct piece m;

	if (rest->p[0] == '%')
		m = read_percent(*rest);
	else
		m = (struct piece){ .kind = LITERAL,
		                    .text = str_head(*rest, str_find(*rest, '%')) };
	*rest = m.kind == BAD ? STR_NONE : str_skip(*rest, m.text.n);
	return m;
}

/* ---- checks --------------------------------------------------------------- */

static const char *piece_fault(const struct piece *m, const char *letters)
{
	if (m->kind == BAD)
		return m->why;
	if (m->kind == MACRO &&
	    (!is_alpha(m->letter) || strchr(letters, to_lower(m->letter)) == NULL))
		return "this macro letter is not allowed here";
	return NULL;
}

const char *spf_macro_fault(str text, const char *letters)
{
	while (text.n > 0) {
		struct piece m = next_piece(&text);
		const char  *why = piece_fault(&m, letters);

		if (why != NULL)
			return why;
	}
	return NULL;
}

/* toplabel: letters, digits and inner dashes, not all digits. */
static bool is_top_label(str s)
{
	bool digits_only = true;

	if (s.n == 0 || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (!is_alnum(s.p[i]) && s.p[i] != '-')
			return false;
		digits_only = digits_only && is_digit(s.p[i]);
	}
	return !digits_only;
}

/* domain-end = ( "." toplabel [ "." ] ) / macro-expand */
static bool ends_well(const struct piece *last)
{
	str    s = last->text;
	size_t dot;

	if (last->kind != LITERAL)
		return true;
	if (s.p[s.n - 1] == '.')
		s.n--;
	dot = str_rfind(s, '.');
	return dot < s.n && is_top_label(str_skip(s, dot + 1));
}

const char *spf_domain_spec_fault(str spec)
{
	struct piece last;

	if (spec.n == 0)
		return "the domain is empty";
	while (spec.n > 0) {
		const char *why;

		last = next_piece(&spec);
		why = piece_fault(&last, SPF_MACROS_DOMAIN);
		if (why != NULL)
			return why;
	}
	return ends_well(&last) ? NULL : "the domain does not end in a top-level domain or a macro";
}

bool spf_macro_uses(str text, char letter)
{
	while (text.n > 0) {
		struct piece m = next_piece(&text);

		if (m.kind == MACRO && to_lower(m.letter) == letter)
			return true;
	}
	return false;
}

/* ---- expansion ------------------------------------------------------------ */

struct sink {
	struct buf *out;
	size_t      keep;
	bool        escape;      /* capital letter: URL-escape (7.3) */
};

static bool is_unreserved(char c)
{
	return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static void forget_the_left(const struct sink *k)
{
	if (k->keep > 0 && k->out->n > 4 * k->keep)
		buf_eat(k->out, k->out->n - k->keep);
}

static void put(const struct sink *k, str s)
{
	static const char hex[] = "0123456789ABCDEF";

	if (!k->escape) {
		/* More than can be kept need not be copied. */
		buf_add(k->out, k->keep > 0 && s.n > k->keep ? str_skip(s, s.n - k->keep) : s);
		forget_the_left(k);
		return;
	}
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (is_unreserved(s.p[i]))
			buf_add_char(k->out, s.p[i]);
		else
			buf_add(k->out, (str){ (char[]){ '%', hex[c >> 4], hex[c & 15] }, 3 });
		forget_the_left(k);
	}
}

static bool splits(const struct piece *m, char c)
{
	return m->delimiters.n > 0 ? str_holds(m->delimiters, c) : c == '.';
}

static size_t count_parts(const struct piece *m, str value)
{
	size_t n = 1;

	for (size_t i = 0; i < value.n; i++)
		n += splits(m, value.p[i]);
	return n;
}

static str first_part(const struct piece *m, str value)
{
	size_t n = 0;

	while (n < value.n && !splits(m, value.p[n]))
		n++;
	return str_head(value, n);
}

static str last_part(const struct piece *m, str value)
{
	size_t n = value.n;

	while (n > 0 && !splits(m, value.p[n - 1]))
		n--;
	return str_skip(value, n);
}

/* Splits at the delimiters, reverses, keeps the right-hand parts, joins with
 * dots.  Reversed, the parts come from the end of the value, and what is kept
 * are its first ones. */
static void put_macro(const struct piece *m, str value, const struct sink *k)
{
	size_t have = count_parts(m, value);
	size_t skip = m->keep > 0 && m->keep < have ? have - m->keep : 0;

	for (size_t i = 0; i < have; i++) {
		str part = m->reverse ? last_part(m, value) : first_part(m, value);

		if (i > skip)
			put(k, STR("."));
		if (i >= skip)
			put(k, part);
		if (m->reverse)
			value = str_head(value, value.n - part.n - (i + 1 < have));
		else
			value = str_skip(value, part.n + 1);
	}
}

void spf_macro_expand(str text, const struct spf_macros *macros, size_t keep, struct buf *out)
{
	while (text.n > 0) {
		struct piece m = next_piece(&text);
		struct sink  k = { .out = out, .keep = keep };

		if (m.kind == MACRO) {
			k.escape = m.letter != to_lower(m.letter);
			put_macro(&m, macros->v[to_lower(m.letter) - 'a'], &k);
		} else if (m.kind != BAD) {
			put(&k, m.kind == ESCAPE ? m.stands_for : m.text);
		}
	}
}
