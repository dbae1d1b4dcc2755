/* SPDX-License-Identifier: ISC */
/*
 * conf_screen: a text's grammar, checked before libconfuse sees it.
 *
 * libconfuse ends at its first fault, forgets where a section began, drops
 * characters it does not know, swallows the rest of a file after an unclosed
 * comment, counts a line too many after a closed one, and cuts values at NUL.
 * So the text is walked once here: each fault is kept and mended as well as it
 * can be (blanked, closed, a comma put in), line breaks stay where they are, and
 * what comes out parses without a fault.  Each name carries its shape (see
 * conf_inside.h), each opening brace a marker.
 *
 *   statement := name = value | name = { value, … } | name { … } | name "title" { … }
 *              | include("FILE")
 */
#include <string.h>

#include "smtpd/base/conf_token.h"

enum at { AT_NAME, AT_NAMED, AT_TITLED, AT_VALUE, AT_LIST, AT_LISTED, AT_CALL, AT_CALLED };

struct open_brace {
	str name; /* none: it opens nothing that we know, and closes silently */
	int line;
};

struct screen {
	struct tokens in;
	int stray_line; /* the rest of this line makes no sense */
	enum at at;
	size_t name_at, title_at; /* where the statement began in the output */
	str name;
	int name_line, items;
	struct open_brace open[CONF_NEST_DEEP];
	size_t depth;
};

/* ---- what goes out -------------------------------------------------------- */

static void blank_from(struct screen *s, size_t at)
{
	for (size_t i = at; i < s->in.out->n; i++)
		if (s->in.out->p[s->in.out->head + i] != '\n')
			s->in.out->p[s->in.out->head + i] = ' ';
}

/* Puts the shape behind the statement's name, before the blanks that follow. */
static void put_shape(struct screen *s, const char *shape)
{
	size_t n = strlen(shape), behind = s->name_at + s->name.n, tail = s->in.out->n - behind;
	char *at;

	buf_add(s->in.out, str_of(shape));
	if (s->in.out->failed)
		return;
	at = s->in.out->p + s->in.out->head + behind;
	memmove(at + n, at, tail);
	memcpy(at, shape, n);
}

static void put_name(struct screen *s, const struct token *t)
{
	buf_add_char(s->in.out,
		     ' '); /* a quote before it would have parted it from what it touches */
	s->name_at = s->in.out->n;
	s->name_line = t->line;
	s->at = AT_NAMED;
	for (size_t i = 0; i < t->text.n; i++)
		buf_add_char(s->in.out, token_name_char(t->text.p[i]) ? t->text.p[i] : '?');
	/* Kept apart: t->text may lie in s->quoted. */
	s->name = s->in.out->failed
			  ? STR_NONE
			  : str_keep(s->in.r->arena,
				     (str){s->in.out->p + s->in.out->head + s->name_at, t->text.n});
}

static str shown(struct screen *s, str text)
{
	return conf_show(s->in.r->arena, text);
}

/* The same, without its quotes. */
static str shown_token(struct screen *s, const struct token *t)
{
	if (t->kind == TOK_END)
		return STR("the end of the file");
	return shown(s, t->kind == TOK_QUOTED ? str_head(str_skip(t->text, 1), t->text.n - 2)
					      : t->text);
}

/* ---- the grammar ---------------------------------------------------------- */

static void take(struct screen *, const struct token *);

/* The statement is given up; the token begins the next one. */
static void give_up(struct screen *s, const struct token *t)
{
	blank_from(s, s->name_at);
	s->at = AT_NAME;
	take(s, t);
}

static bool brace_opened(struct screen *s, str name, int line)
{
	if (s->depth < CONF_NEST_DEEP) {
		s->open[s->depth++] = (struct open_brace){name, line};
		return true;
	}
	conf_text_faultf(s->in.r, s->in.text, line,
			 "braces are nested more than %d deep: the rest was not read",
			 CONF_NEST_DEEP);
	s->in.p = s->in.end;
	return false;
}

static void brace_closed(struct screen *s, int line)
{
	if (s->depth == 0)
		conf_text_faultf(s->in.r, s->in.text, line,
				 "`}` closes nothing: remove it, or open its section with `{`");
	else if (s->open[--s->depth].name.p != NULL)
		buf_add_char(s->in.out, '}');
}

static void section_opened(struct screen *s, const char *shape)
{
	put_shape(s, shape);
	buf_add(s->in.out, STR("{" CONF_OPENED "=\"\" "));
	s->at = AT_NAME;
	if (!brace_opened(s, s->name, s->name_line))
		buf_add_char(s->in.out, '}');
}

static void want_name(struct screen *s, const struct token *t)
{
	switch (t->kind) {
	case TOK_END:
		return;
	case TOK_WORD:
	case TOK_QUOTED:
		if (s->stray_line != t->line)
			put_name(s, t);
		return;
	case '}':
		brace_closed(s, t->line);
		return;
	default:
		if (s->stray_line != t->line)
			conf_text_faultf(
				s->in.r, s->in.text, t->line,
				"`%c` stands where the name of an option or section should",
				t->kind);
		if (t->kind == '{')
			brace_opened(s, STR_NONE, t->line);
		else
			s->stray_line = t->line;
	}
}

static bool is_include(const struct screen *s)
{
	return str_is(s->name, "include");
}

static void want_shape(struct screen *s, const struct token *t)
{
	if (t->kind == '=') {
		buf_add_char(s->in.out, '=');
		s->at = AT_VALUE;
	} else if (t->kind == '{') {
		section_opened(s, CONF_SHAPE_SECTION);
	} else if (t->kind == '(' && is_include(s)) {
		put_shape(s, CONF_SHAPE_CALL);
		buf_add_char(s->in.out, '(');
		s->at = AT_CALL;
	} else if (t->kind == TOK_QUOTED && is_include(s)) {
		put_shape(s, CONF_SHAPE_CALL);
		buf_add_char(s->in.out, '(');
		buf_add(s->in.out, t->text);
		buf_add_char(s->in.out, ')');
		s->at = AT_NAME;
	} else if (t->kind == TOK_WORD || t->kind == TOK_QUOTED) {
		s->title_at = s->in.out->n;
		buf_add(s->in.out, t->text);
		s->at = AT_TITLED;
	} else {
		conf_text_faultf(s->in.r, s->in.text, s->name_line,
				 "`%.*s` needs `=` and a value, or `{` if it is a section",
				 STR_ARG(shown(s, s->name)));
		if (t->kind == '(')
			s->stray_line = t->line;
		give_up(s, t);
	}
}

/* NAME NAME = …: what looked like a title begins a statement that is well. */
static void second_is_the_name(struct screen *s, const struct token *equals)
{
	str title = {s->in.out->p + s->in.out->head + s->title_at, s->in.out->n - s->title_at};
	struct token second = {.kind = TOK_WORD, .line = equals->line};

	second.text = str_trim(str_keep(s->in.r->arena, title));
	if (second.text.n == 0 || !token_name_char(second.text.p[0])) {
		s->stray_line = equals->line;
		give_up(s, equals);
		return;
	}
	blank_from(s, s->name_at);
	put_name(s, &second);
	want_shape(s, equals);
}

static void want_title_end(struct screen *s, const struct token *t)
{
	if (t->kind == '{') {
		section_opened(s, CONF_SHAPE_TITLED);
		return;
	}
	conf_text_faultf(s->in.r, s->in.text, s->name_line,
			 "`%.*s` needs `=` before its value, or `{` if it is a section",
			 STR_ARG(shown(s, s->name)));
	if (t->kind == '=')
		second_is_the_name(s, t);
	else
		give_up(s, t);
}

static void want_value(struct screen *s, const struct token *t)
{
	bool next_statement =
		t->kind == TOK_WORD && t->line != s->name_line && token_follows(&s->in, "={\"");

	if (!next_statement && (t->kind == TOK_WORD || t->kind == TOK_QUOTED)) {
		buf_add(s->in.out, t->text);
		s->at = AT_NAME;
	} else if (t->kind == '{') {
		buf_add_char(s->in.out, '{');
		s->items = 0;
		s->at = AT_LIST;
	} else {
		conf_text_faultf(s->in.r, s->in.text, s->name_line,
				 "`%.*s` needs a value after `=`", STR_ARG(shown(s, s->name)));
		give_up(s, t);
	}
}

static void list_closed(struct screen *s)
{
	if (s->items == 0)
		buf_add(s->in.out, STR("\"" CONF_EMPTY "\""));
	buf_add_char(s->in.out, '}');
	s->at = AT_NAME;
}

static void list_left_open(struct screen *s, const struct token *t)
{
	conf_text_faultf(s->in.r, s->in.text, s->name_line,
			 "the list of `%.*s` is not closed: put `}` behind its last value",
			 STR_ARG(shown(s, s->name)));
	list_closed(s);
	take(s, t);
}

static void list_item(struct screen *s, const struct token *t)
{
	if (t->line != s->name_line && t->kind == TOK_WORD && token_follows(&s->in, "={")) {
		list_left_open(s, t);
		return;
	}
	if (s->at == AT_LISTED) {
		conf_text_faultf(s->in.r, s->in.text, t->line, "a comma is missing before `%.*s`",
				 STR_ARG(shown_token(s, t)));
		buf_add_char(s->in.out, ',');
	}
	buf_add(s->in.out, t->text);
	s->items++;
	s->at = AT_LISTED;
}

static void want_item(struct screen *s, const struct token *t)
{
	switch (t->kind) {
	case TOK_WORD:
	case TOK_QUOTED:
		list_item(s, t);
		return;
	case '}':
		list_closed(s);
		return;
	case ',':
		if (s->at == AT_LIST)
			conf_text_faultf(s->in.r, s->in.text, t->line,
					 "a value is missing before the comma");
		else
			buf_add_char(s->in.out, ',');
		s->at = AT_LIST;
		return;
	case TOK_END:
	case '{':
		list_left_open(s, t);
		return;
	default:
		conf_text_faultf(s->in.r, s->in.text, t->line, "`%c` does not belong into a list",
				 t->kind);
	}
}

static void want_file(struct screen *s, const struct token *t)
{
	if (s->at == AT_CALL && (t->kind == TOK_WORD || t->kind == TOK_QUOTED)) {
		buf_add(s->in.out, t->text);
		s->at = AT_CALLED;
	} else if (s->at == AT_CALLED && t->kind == ')') {
		buf_add_char(s->in.out, ')');
		s->at = AT_NAME;
	} else {
		conf_text_faultf(s->in.r, s->in.text, s->name_line,
				 "`include` needs one file: include(\"FILE\")");
		s->stray_line = t->line;
		give_up(s, t);
	}
}

static void take(struct screen *s, const struct token *t)
{
	/* clang-format off */
	static void (*const wants[])(struct screen *, const struct token *) = {
		[AT_NAME]   = want_name,
		[AT_NAMED]  = want_shape,
		[AT_TITLED] = want_title_end,
		[AT_VALUE]  = want_value,
		[AT_LIST]   = want_item,
		[AT_LISTED] = want_item,
		[AT_CALL]   = want_file,
		[AT_CALLED] = want_file,
	};
	/* clang-format on */

	wants[s->at](s, t);
}

/* At the end of the text. */
static void braces_left_open(struct screen *s)
{
	while (s->depth > 0) {
		struct open_brace *open = &s->open[--s->depth];

		if (open->name.p == NULL)
			continue;
		conf_text_faultf(
			s->in.r, s->in.text, open->line,
			"section `%.*s` that begins here is never closed: a `}` is missing",
			STR_ARG(shown(s, open->name)));
		buf_add_char(s->in.out, '}');
	}
}

void conf_screen(struct conf_reader *r, struct conf_text *text, str raw)
{
	struct screen s = {
		.in = {.r = r,
		       .text = text,
		       .out = &text->screened,
		       .p = raw.p,
		       .end = raw.p + raw.n,
		       .line = 1},
	};
	struct token t;

	if (raw.n == 0)
		return;
	buf_init(&s.in.quoted, BUF_UNBOUNDED);
	if (str_starts(raw, "\xef\xbb\xbf")) /* some editors' mark of UTF-8 */
		s.in.p += 3;
	do {
		t = token_next(&s.in);
		take(&s, &t);
	} while (t.kind != TOK_END);
	braces_left_open(&s);
	if (text->screened.failed || s.in.quoted.failed)
		r->arena->spent = true;
	buf_fini(&s.in.quoted);
}
