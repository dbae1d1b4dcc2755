/* SPDX-License-Identifier: ISC */
/*
 * fold: header fields written.  A piece that does not fit begins a new line; no
 * piece is longer than TEXT_MAX, so no line passes 998 octets.  Any thread.
 */
#include "smtpd/mail/fold.h"

#include <string.h>

#include "smtpd/mail/addr.h"

#define WIDTH    78
#define TAB      8
#define TEXT_MAX 900

void fold_init(struct fold *f, struct arena *a)
{
	*f = (struct fold){ .arena = a };
}

static bool grow(struct fold *f, size_t more)
{
	size_t room = f->room ? 2 * f->room : 256;
	char  *p;

	if (more <= f->room - f->n)
		return true;
	while (room - f->n < more)
		room *= 2;
	p = arena_alloc(f->arena, room);
	if (p == NULL) {
		f->failed = true;
		return false;
	}
	if (f->n)
		memcpy(p, f->p, f->n);
	f->p = p;
	f->room = room;
	return true;
}

void fold_add(struct fold *f, str s)
{
	if (f->failed || s.n == 0 || !grow(f, s.n))
		return;
	memcpy(f->p + f->n, s.p, s.n);
	f->n += s.n;
	f->column += s.n;
	f->fresh = false;
}

void fold_line(struct fold *f)
{
	fold_add(f, STR("\r\n\t"));
	f->column = TAB;
	f->fresh = true;
}

static void make_room(struct fold *f, size_t n)
{
	if (f->fresh)
		return;
	if (f->column + 1 + n > WIDTH)
		fold_line(f);
	else
		fold_add(f, STR(" "));
}

void fold_parts(struct fold *f, const str *parts, size_t n)
{
	size_t all = 0;

	for (size_t i = 0; i < n; i++)
		all += parts[i].n;
	make_room(f, all);
	for (size_t i = 0; i < n; i++)
		fold_add(f, parts[i]);
}

void fold_word(struct fold *f, str word)
{
	fold_parts(f, &word, 1);
}

/* A space inside quotes or a comment: it stays the same space when unfolded. */
static void inner_space(struct fold *f, size_t n)
{
	if (f->column + 1 + n > WIDTH) {
		fold_add(f, STR("\r\n "));
		f->column = 1;
	} else {
		fold_add(f, STR(" "));
	}
}

static size_t cut_at_character(str s, size_t n)
{
	while (n && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

str fold_safe(struct arena *a, str s)
{
	bool  utf8;
	char *p;

	if (s.n > TEXT_MAX)
		s.n = cut_at_character(s, TEXT_MAX);
	utf8 = utf8_valid(s);
	p = arena_alloc(a, s.n);
	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		p[i] = c < ' ' || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : s.p[i];
	}
	return (str){ p, s.n };
}

/* An odd number of backslashes at the cut is half an escape. */
static str cut_between_escapes(str s)
{
	size_t slashes = 0;

	s.n = cut_at_character(s, TEXT_MAX);
	while (slashes < s.n && s.p[s.n - 1 - slashes] == '\\')
		slashes++;
	s.n -= slashes % 2;
	return s;
}

/* A backslash in front of the bytes in `special`. */
static str escaped(struct fold *f, str s, const char *special)
{
	size_t n = 0;
	char  *p = arena_alloc(f->arena, 2 * s.n);

	if (p == NULL) {
		f->failed = true;
		return STR_NONE;
	}
	for (size_t i = 0; i < s.n; i++) {
		if (strchr(special, s.p[i]) != NULL)
			p[n++] = '\\';
		p[n++] = s.p[i];
	}
	return n > TEXT_MAX ? cut_between_escapes((str){ p, n }) : (str){ p, n };
}

static void add_wrapped(struct fold *f, str prefix, char open, str text, char close)
{
	const char quotes[] = { open, close };
	bool       first = true;
	str        word;

	do {
		if (!str_cut(&text, ' ', &word))
			word = STR_NONE;
		if (first)
			make_room(f, prefix.n + 1 + word.n + 1);
		else
			inner_space(f, word.n + 1);
		if (first) {
			fold_add(f, prefix);
			fold_add(f, (str){ &quotes[0], 1 });
		}
		first = false;
		fold_add(f, word);
	} while (text.p != NULL);
	fold_add(f, (str){ &quotes[1], 1 });
}

void fold_quoted(struct fold *f, const char *prefix, str text)
{
	add_wrapped(f, str_of(prefix), '"', escaped(f, fold_safe(f->arena, text), "\"\\"), '"');
}

void fold_comment(struct fold *f, str text)
{
	add_wrapped(f, STR_NONE, '(', escaped(f, fold_safe(f->arena, text), "()\\"), ')');
}

str fold_str(const struct fold *f)
{
	return f->failed ? STR_NONE : (str){ f->p, f->n };
}
