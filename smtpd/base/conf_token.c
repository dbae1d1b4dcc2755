/* SPDX-License-Identifier: ISC */
/*
 * conf_token: a configuration text taken apart.
 *
 * What libconfuse's scanner would drop, misread or die of is told and mended
 * here: unclosed quotes and comments, stray and control characters, NUL,
 * escapes by number, ${NAME} without an end.  A quoted text stays on its line.
 */
#include "smtpd/base/conf_token.h"

#include <stdlib.h>
#include <string.h>

bool token_name_char(char c)
{
	return is_alnum(c) || c == '-' || c == '_';
}

/* What may stand outside quotes; libconfuse would take more, and less. */
static bool word_char(char c)
{
	return token_name_char(c) || (unsigned char)c >= 0x80 ||
	       (c != 0 && strchr(".:/@%[]~$&|!?<>^\\`", c) != NULL);
}

static bool ahead(const struct tokens *k, const char *sign)
{
	size_t n = strlen(sign);

	return (size_t)(k->end - k->p) >= n && memcmp(k->p, sign, n) == 0;
}

static void line_ended(struct tokens *k)
{
	buf_add_char(k->out, '\n');
	k->line++;
}

static void skip_long_comment(struct tokens *k)
{
	int began = k->line;

	for (k->p += 2; k->p < k->end; k->p++) {
		if (ahead(k, "*/")) {
			k->p += 2;
			return;
		}
		if (*k->p == '\n')
			line_ended(k);
	}
	conf_text_faultf(k->r, k->text, began,
			 "the comment that begins here has no end: close it with */");
}

static void skip_blanks(struct tokens *k)
{
	while (k->p < k->end) {
		if (*k->p == '\n') {
			line_ended(k);
			k->p++;
		} else if (is_wsp(*k->p) || *k->p == '\r') {
			buf_add_char(k->out, ' ');
			k->p++;
		} else if (*k->p == '#' || ahead(k, "//")) {
			while (k->p < k->end && *k->p != '\n')
				k->p++;
		} else if (ahead(k, "/*")) {
			skip_long_comment(k);
		} else {
			return;
		}
	}
}

static void bad_byte(struct tokens *k, char c)
{
	if (c == 0) {
		if (!k->nul_told)
			conf_text_faultf(k->r, k->text, k->line,
					 "there is a NUL byte: write the file as plain UTF-8 text");
		k->nul_told = true;
	} else if ((unsigned char)c < ' ' || c == 127) {
		conf_text_faultf(k->r, k->text, k->line,
				 "there is a control character (0x%02x): remove it",
				 (unsigned char)c);
	} else {
		conf_text_faultf(k->r, k->text, k->line,
				 "`%c` does not belong here: put a value that holds it in quotes",
				 c);
	}
}

/* "${NAME}" or "${NAME:-otherwise}" at k->p: noted, for environment = yes may
 * stand further down.  False, with a fault: it has no end. */
static bool environment_used(struct tokens *k)
{
	const char *close = k->p + 2;
	struct conf_env *e;
	char *name;
	str inside;

	while (close < k->end && *close != '}' && *close != '\n' && *close != '"')
		close++;
	if (close == k->end || *close != '}') {
		conf_text_faultf(k->r, k->text, k->line,
				 "`${` has no `}`: write ${NAME}, or $\\{ for the two signs");
		return false;
	}
	inside = (str){k->p + 2, (size_t)(close - k->p - 2)};
	e = ARENA_NEW(k->r->arena, struct conf_env);
	name = str_cstr(k->r->arena, str_head(inside, str_find(inside, ':')));
	if (e == NULL || name == NULL)
		return false;
	*e = (struct conf_env){.next = k->text->env, .name = str_of(name), .line = k->line};
	e->unset = getenv(name) == NULL && !str_holds(inside, ':');
	k->text->env = e;
	buf_add(&k->quoted, (str){k->p, (size_t)(close + 1 - k->p)});
	k->p = close + 1;
	return true;
}

/* Escapes that name a byte by its number could make NUL and worse. */
static void escape_taken(struct tokens *k)
{
	char next = k->p + 1 < k->end ? k->p[1] : '\n';

	if (is_digit(next) || next == 'x' || next == '\n' || (unsigned char)next < ' ') {
		conf_text_faultf(k->r, k->text, k->line,
				 "a backslash stands before %s: write the character itself, or "
				 "\\\\ for a backslash",
				 next == 'x' || is_digit(next) ? "a number" : "nothing");
		buf_add_char(&k->quoted, '?');
		k->p++;
		return;
	}
	buf_add(&k->quoted, (str){k->p, 2});
	k->p += 2;
}

static void quoted_char(struct tokens *k, char quote)
{
	char c = *k->p;

	if (quote == '"' && c == '\\') {
		escape_taken(k);
	} else if (quote == '\'' && c == '\\' && k->p + 1 < k->end &&
		   (k->p[1] == '\\' || k->p[1] == '\'')) {
		buf_add(&k->quoted, (str){k->p, 2});
		k->p += 2;
	} else if (quote == '"' && ahead(k, "${")) {
		if (!environment_used(k)) {
			buf_add_char(&k->quoted, '?');
			k->p++;
		}
	} else {
		bool bad = ((unsigned char)c < ' ' && c != '\t') || c == 127;

		if (bad && c != '\r')
			bad_byte(k, c);
		buf_add_char(&k->quoted, bad ? '?' : c);
		k->p++;
	}
}

static struct token quoted(struct tokens *k)
{
	struct token t = {.kind = TOK_QUOTED, .line = k->line};
	char quote = *k->p++;

	buf_clear(&k->quoted);
	buf_add_char(&k->quoted, quote);
	while (k->p < k->end && *k->p != quote && *k->p != '\n')
		quoted_char(k, quote);
	buf_add_char(&k->quoted, quote);
	if (k->p < k->end && *k->p == quote)
		k->p++;
	else
		conf_text_faultf(k->r, k->text, k->line,
				 "the quote that begins here is not closed on its line");
	t.text = buf_str(&k->quoted);
	return t;
}

static struct token word(struct tokens *k)
{
	struct token t = {.kind = TOK_WORD, .line = k->line, .text = {k->p, 0}};

	while (k->p < k->end && word_char(*k->p) && !ahead(k, "${"))
		k->p++;
	t.text.n = (size_t)(k->p - t.text.p);
	return t;
}

static struct token environment_word(struct tokens *k)
{
	struct token t = {.kind = TOK_QUOTED, .line = k->line};

	buf_clear(&k->quoted);
	buf_add_char(&k->quoted, '"');
	if (!environment_used(k)) {
		buf_add_char(&k->quoted, '?');
		k->p += 2;
	}
	buf_add_char(&k->quoted, '"');
	t.text = buf_str(&k->quoted);
	return t;
}

struct token token_next(struct tokens *k)
{
	for (;;) {
		skip_blanks(k);
		if (k->p == k->end)
			return (struct token){.kind = TOK_END, .line = k->line};
		if (*k->p == '"' || *k->p == '\'')
			return quoted(k);
		if (ahead(k, "${"))
			return environment_word(k);
		if (word_char(*k->p))
			return word(k);
		if (ahead(k, "+=")) {
			conf_text_faultf(k->r, k->text, k->line,
					 "`+=` is not known: write the whole list with `=`");
			k->p++;
		}
		if (*k->p != 0 && strchr("{}()=,", *k->p) != NULL)
			break;
		bad_byte(k, *k->p++);
		buf_add_char(k->out, ' '); /* what it stood between stays apart */
	}
	k->p++;
	return (struct token){.kind = k->p[-1], .line = k->line, .text = {k->p - 1, 1}};
}

bool token_follows(const struct tokens *k, const char *signs)
{
	const char *p = k->p;

	while (p < k->end && is_wsp(*p))
		p++;
	return p < k->end && *p != 0 && strchr(signs, *p) != NULL;
}
