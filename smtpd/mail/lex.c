/* SPDX-License-Identifier: ISC */
/*
 * lex: tokens of structured fields.  Whatever is unclosed swallows the rest, so
 * that no byte is looked at more than twice.  Any thread.
 */
#include "smtpd/mail/lex.h"

#define COMMENT_DEPTH 100

/* What not even obsolete text may hold: controls but HT (CR LF in folds are
 * seen to before). */
static bool is_bad(char c)
{
	return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

static bool at_fold(str s)
{
	return s.n >= 3 && s.p[0] == '\r' && s.p[1] == '\n' && is_wsp(s.p[2]);
}

/* A comment at the front: its length with both parentheses; s.n when unclosed. */
static size_t comment_length(struct lex *l)
{
	str    s = l->in;
	size_t depth = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (at_fold(str_skip(s, i)))
			i += 2;
		if (is_bad(s.p[i]))
			l->broken = true;
		else if (s.p[i] == '\\' && i + 1 < s.n && !is_bad(s.p[i + 1]))
			i++;
		else if (s.p[i] == '(')
			l->broken |= ++depth > COMMENT_DEPTH;
		else if (s.p[i] == ')' && --depth == 0)
			return i + 1;
	}
	l->broken = true;
	return s.n;
}

bool lex_space(struct lex *l)
{
	size_t before = l->in.n;

	while (l->in.n) {
		size_t n;

		if (is_wsp(l->in.p[0])) {
			l->in = str_skip(l->in, 1);
		} else if (at_fold(l->in)) {
			l->in = str_skip(l->in, 3);
		} else if (l->in.p[0] == '(') {
			n = comment_length(l);
			if (l->comment != NULL)
				l->comment(l->arg, str_head(str_skip(l->in, 1), n < 2 ? 0 : n - 2));
			l->in = str_skip(l->in, n);
		} else {
			break;
		}
	}
	return l->in.n != before;
}

/* The content of a quoted string at the front; false: unclosed. */
static bool quoted(struct lex *l, str *content)
{
	str s = l->in;

	for (size_t i = 1; i < s.n; i++) {
		if (at_fold(str_skip(s, i)))
			i += 2;
		if (s.p[i] == '"') {
			*content = (str){ s.p + 1, i - 1 };
			l->in = str_skip(s, i + 1);
			return true;
		}
		if (is_bad(s.p[i]))
			l->broken = true;
		else if (s.p[i] == '\\' && i + 1 < s.n && !is_bad(s.p[i + 1]))
			i++;
	}
	*content = s;
	l->in = str_skip(s, s.n);
	return false;
}

/* "[" dtext "]"; a bracket that opens nothing is special. */
static size_t literal_length(str s)
{
	for (size_t i = 1; i < s.n && s.p[i] != '[' && s.p[i] != '\\' && !is_bad(s.p[i]); i++)
		if (s.p[i] == ']')
			return i + 1;
	return 1;
}

/* A table: every octet of a hostile megabyte is asked about. */
static const bool specials[256] = {
	['('] = true, [')'] = true, ['<'] = true, ['>'] = true,  ['['] = true, [']'] = true, [':'] = true,
	[';'] = true, ['@'] = true, [','] = true, ['.'] = true, ['"'] = true, ['\\'] = true,
};

static bool is_special(char c)
{
	return specials[(unsigned char)c];
}

static size_t atom_length(str s)
{
	size_t n = 0;

	while (n < s.n && (unsigned char)s.p[n] > ' ' && s.p[n] != 0x7f && !is_special(s.p[n]))
		n++;
	return n;
}

void lex_next(struct lex *l, struct lex_token *t)
{
	size_t n;

	t->spaced = lex_space(l);
	t->text = STR_NONE;
	if (l->in.n == 0) {
		t->kind = LEX_END;
		return;
	}
	if (l->in.p[0] == '"') {
		t->kind = quoted(l, &t->text) ? LEX_QUOTED : LEX_BAD;
		l->broken |= t->kind == LEX_BAD;
		return;
	}
	n = atom_length(l->in);
	t->kind = LEX_ATOM;
	if (n == 0) {
		n = l->in.p[0] == '[' ? literal_length(l->in) : 1;
		t->kind = n > 1 ? LEX_LITERAL : is_special(l->in.p[0]) ? LEX_SPECIAL : LEX_BAD;
		l->broken |= t->kind == LEX_BAD;
	}
	t->text = str_head(l->in, n);
	l->in = str_skip(l->in, n);
}

bool lex_is(const struct lex_token *t, char special)
{
	return t->kind == LEX_SPECIAL && t->text.p[0] == special;
}

void lex_unquote(struct buf *b, str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (at_fold(str_skip(s, i)))
			i += 2;
		else if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		buf_add_char(b, s.p[i]);
	}
}

/* RFC 2045 5.1: what a token may not hold beside controls, spaces and 8-bit octets. */
static const bool tspecials[256] = {
	['('] = true, [')'] = true, ['<'] = true, ['>'] = true, ['@'] = true, [','] = true, [';'] = true, [':'] = true,
	['\\'] = true, ['"'] = true, ['/'] = true, ['['] = true, [']'] = true, ['?'] = true, ['='] = true,
};

str lex_mime_token(struct lex *l)
{
	size_t n = 0;
	str    token;

	while (n < l->in.n && l->in.p[n] > ' ' && l->in.p[n] < 0x7f && !tspecials[(unsigned char)l->in.p[n]])
		n++;
	token = str_head(l->in, n);
	l->in = str_skip(l->in, n);
	return token;
}
