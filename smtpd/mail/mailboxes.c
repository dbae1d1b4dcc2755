/* SPDX-License-Identifier: ISC */
/*
 * mailboxes: address lists of header fields (RFC 5322 3.4, 4.4; RFC 6854).
 *
 * One token ahead, no recursion.  What fits no grammar makes the list malformed
 * and reading goes on at the next token, so that every address that any mail
 * program could see is in the list.  Any thread.
 */
#include "smtpd/mail/addr.h"

#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/mail/lex.h"

struct parser {
	struct arena     *arena;
	struct mailboxes *out;
	struct lex        lex;
	struct lex_token  t;         /* the token ahead */
	struct lex        at;        /* the lexer in front of t */
	size_t            room;
	bool              in_group, spent;
};

/* A run of words and dots: a phrase or a local part, depending on what follows. */
struct words {
	struct lex from;             /* in front of the first */
	size_t     n, tokens;
	bool       dotted;           /* word *("." word), as a local part must be */
	bool       quoted;           /* one of them at least */
	bool       spaced;           /* white space or comments between them */
};

static void next(struct parser *p)
{
	p->at = p->lex;
	lex_next(&p->lex, &p->t);
}

static void malformed(struct parser *p)
{
	p->out->malformed = true;
}

static bool is_word(const struct lex_token *t)
{
	return t->kind == LEX_ATOM || t->kind == LEX_QUOTED;
}

static struct words words_passed(struct parser *p)
{
	struct words w = { .from = p->at, .dotted = true };
	bool         dot = true;

	for (; is_word(&p->t) || lex_is(&p->t, '.'); next(p)) {
		bool is_dot = !is_word(&p->t);

		w.dotted &= is_dot != dot;
		dot = is_dot;
		w.spaced |= w.tokens && p->t.spaced;
		w.quoted |= p->t.kind == LEX_QUOTED;
		w.n += !is_dot;
		w.tokens++;
	}
	w.dotted &= !dot && w.n != 0;
	return w;
}

static str kept(struct parser *p, str text)
{
	str copy = text.n ? str_keep(p->arena, text) : STR("");

	p->spent |= copy.p == NULL;
	return copy;
}

/* The words again, unquoted; with `spaces` as a phrase is shown.  A view into
 * the value when there is nothing to change: what lasts is kept by the caller. */
static str words_text(struct parser *p, const struct words *w, bool spaces)
{
	struct lex       l = w->from;
	struct lex_token t;
	struct buf       b;
	str              text;

	if (w->tokens == 1 && !w->quoted) {
		lex_next(&l, &t);
		return t.text;
	}
	buf_init(&b, BUF_UNBOUNDED);
	l.comment = NULL;
	for (size_t i = 0; i < w->tokens; i++) {
		lex_next(&l, &t);
		if (spaces && t.spaced && i)
			buf_add_char(&b, ' ');
		if (t.kind == LEX_QUOTED)
			lex_unquote(&b, t.text);
		else
			buf_add(&b, t.text);
	}
	text = kept(p, buf_str(&b));
	p->spent |= b.failed;
	buf_fini(&b);
	return text;
}

static void add(struct parser *p, const struct mailbox *m)
{
	struct mailboxes *out = p->out;

	if (out->n == p->room) {
		size_t          room = p->room ? 2 * p->room : 4;
		struct mailbox *v = ARENA_ARRAY(p->arena, struct mailbox, room);

		if (v == NULL) {
			p->spent = true;
			return;
		}
		if (out->n)
			memcpy(v, out->v, out->n * sizeof(*v));
		out->v = v;
		p->room = room;
	}
	out->v[out->n++] = *m;
	if (!m->usable)
		malformed(p);
}

/* Atoms and dots behind "@"; joined when something stood between them. */
static str domain_text(struct parser *p, struct mailbox *m)
{
	struct words w;

	if (p->t.kind == LEX_LITERAL) {
		str literal = p->t.text;

		next(p);
		return literal;
	}
	if (p->t.kind != LEX_ATOM) {
		malformed(p);
		return STR_NONE;
	}
	w = words_passed(p);
	if (!w.dotted || w.quoted)
		malformed(p);
	m->obsolete |= w.spaced;
	return words_text(p, &w, false);
}

/* From the "@" ahead to the end of the domain. */
static void addr_spec(struct parser *p, const struct words *local, struct mailbox *m)
{
	str name, domain;

	if (!local->dotted)
		malformed(p);
	m->obsolete |= local->spaced || p->t.spaced;
	next(p);
	m->obsolete |= p->t.spaced;
	name = words_text(p, local, !local->dotted);
	domain = domain_text(p, m);
	m->usable = domain.n != 0 && path_build(p->arena, name, domain, &m->path);
	if (m->usable)
		return;
	name = kept(p, name);
	m->path = (struct path){ .local = name, .text = name };
}

/* obs-route: "@one.test,@two.test:" (RFC 5322 4.4) */
static void route(struct parser *p, struct mailbox *m)
{
	m->obsolete = true;
	while (lex_is(&p->t, '@') || lex_is(&p->t, ',')) {
		bool host = lex_is(&p->t, '@');

		next(p);
		if (host)
			domain_text(p, m);
	}
	if (lex_is(&p->t, ':'))
		next(p);
	else
		malformed(p);
}

static void angle(struct parser *p, str display)
{
	struct mailbox m = { .display = display };
	struct words   local;

	next(p);
	if (lex_is(&p->t, '@'))
		route(p, &m);
	local = words_passed(p);
	if (lex_is(&p->t, '@'))
		addr_spec(p, &local, &m);
	else
		m.path.text = m.path.local = kept(p, words_text(p, &local, true));
	m.path.is_null = !m.usable && local.n == 0;
	if (lex_is(&p->t, '>'))
		next(p);
	else
		malformed(p);
	add(p, &m);
}

/* Behind an address only the next one or the group's end may come. */
static void expect_end(struct parser *p)
{
	if (p->t.kind != LEX_END && !lex_is(&p->t, ',') && !(p->in_group && lex_is(&p->t, ';')))
		malformed(p);
}

static void bare_words(struct parser *p, const struct words *w)
{
	struct mailbox m = { 0 };

	if (w->tokens == 0)
		return;
	m.path.text = m.path.local = kept(p, words_text(p, w, true));
	add(p, &m);
}

static void group_began(struct parser *p, const struct words *name)
{
	if (p->in_group || name->n == 0)
		malformed(p);
	p->in_group = true;
	p->out->group = true;
	next(p);
}

static void group_ended(struct parser *p)
{
	if (!p->in_group)
		malformed(p);
	p->in_group = false;
	next(p);
	expect_end(p);
}

static void address(struct parser *p)
{
	struct words   w = words_passed(p);
	struct mailbox m = { 0 };

	if (lex_is(&p->t, '<')) {
		angle(p, w.tokens ? kept(p, words_text(p, &w, true)) : STR_NONE);
		expect_end(p);
		return;
	}
	if (lex_is(&p->t, '@') && w.n) {
		addr_spec(p, &w, &m);
		add(p, &m);
		expect_end(p);
		return;
	}
	if (lex_is(&p->t, ':')) {
		group_began(p, &w);
		return;
	}
	bare_words(p, &w);
	if (lex_is(&p->t, ';')) {
		group_ended(p);
		return;
	}
	if (p->t.kind == LEX_END)
		return;
	if (!lex_is(&p->t, ','))
		malformed(p);
	next(p);
}

void mailboxes_parse(struct arena *a, str value, struct mailboxes *out)
{
	struct parser p = { .arena = a, .out = out, .lex = { .in = value } };

	*out = (struct mailboxes){ 0 };
	next(&p);
	while (p.t.kind != LEX_END && !p.spent)
		address(&p);
	if (p.in_group || p.lex.broken || p.spent)
		malformed(&p);
}
