/* SPDX-License-Identifier: ISC */
/*
 * from: the one Author Domain, or why there is none.
 *
 * Good is only what every mail program reads alike.  Where programs are known
 * to differ (routes, comments inside addresses, names and comments that are
 * themselves addresses of somebody else, encoded words in place of an
 * address), nothing is chosen: the answer is that it cannot be judged
 * (Chen, Paxson, Jiang: Composition Kills, 2020).  Any thread.
 */
#include "smtpd/mail/field.h"

#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/lex.h"

struct claims {
	struct arena *arena;
	str           domain;      /* what the addresses say */
	struct buf    run;         /* a word as it is shown, encoded words decoded */
	bool          encoded;     /* the run holds one */
	bool          joins;       /* it ended with one: the next is shown without the blank between */
	bool          other;       /* some text says another one */
};

static int hex_value(char c)
{
	return is_digit(c)				  ? c - '0'
	       : to_lower(c) >= 'a' && to_lower(c) <= 'f' ? to_lower(c) - 'a' + 10
							  : -1;
}

/* RFC 2047 4.2 */
static void add_q(struct buf *b, str text)
{
	for (size_t i = 0; i < text.n; i++) {
		int high = i + 2 < text.n ? hex_value(text.p[i + 1]) : -1;
		int low = i + 2 < text.n ? hex_value(text.p[i + 2]) : -1;

		if (text.p[i] == '=' && high >= 0 && low >= 0) {
			buf_add_char(b, (char)(high << 4 | low));
			i += 2;
		} else {
			buf_add_char(b, text.p[i] == '_' ? ' ' : text.p[i]);
		}
	}
}

/* "=?charset?B?text?=" at the front of s, decoded; its length, or 0. */
static size_t encoded_word(struct arena *a, str s, struct buf *out)
{
	size_t charset, end;
	str    rest, bytes;

	if (!str_starts(s, "=?"))
		return 0;
	charset = str_find(str_skip(s, 2), '?');
	rest = str_skip(s, 2 + charset);
	if (rest.n < 3 || rest.p[2] != '?')
		return 0;
	end = str_find(str_skip(rest, 3), '?');
	if (rest.n < end + 5 || rest.p[3 + end + 1] != '=')
		return 0;
	bytes = str_head(str_skip(rest, 3), end);
	if (to_lower(rest.p[1]) == 'q')
		add_q(out, bytes);
	else if (to_lower(rest.p[1]) == 'b' && base64_decode(a, bytes, true, &bytes))
		buf_add(out, bytes);
	return 2 + charset + 3 + end + 2;
}

/* Text as it is shown: encoded words decoded wherever they stand. */
static void decode(struct arena *a, str s, struct buf *out)
{
	while (s.n) {
		size_t n = str_find(s, '=');

		buf_add(out, str_head(s, n));
		s = str_skip(s, n);
		n = encoded_word(a, s, out);
		if (n == 0 && s.n)
			buf_add_char(out, s.p[0]);
		s = str_skip(s, n ? n : 1);
	}
}

static bool is_wrapping(char c)
{
	return (unsigned char)c <= ' ' || strchr("\"'<>()[]{},;:`", c) != NULL;
}

static str unwrapped(str s)
{
	while (s.n && is_wrapping(s.p[0]))
		s = str_skip(s, 1);
	while (s.n && is_wrapping(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool is_below(str name, str parent)
{
	return name.n > parent.n && str_ends_nocase(name, parent) &&
	       name.p[name.n - parent.n - 1] == '.';
}

/* One word that is an address, of a domain that has nothing to do with ours? */
static bool is_other_address(struct claims *c, str s)
{
	str    domain;
	size_t at;

	s = unwrapped(s);
	at = str_rfind(s, '@');
	if (at == 0 || at == s.n || str_holds(s, ' '))
		return false;
	if (!domain_to_ascii(c->arena, str_skip(s, at + 1), &domain) || !str_holds(domain, '.'))
		return false;
	return !str_eq(domain, c->domain) && !is_below(domain, c->domain) &&
	       !is_below(c->domain, domain);
}

/* What a person is shown beside the address: is it, or holds it in <>, another? */
static void look_at(struct claims *c, str shown)
{
	str rest = shown, text;

	c->other |= is_other_address(c, shown);
	while (!c->other && str_cut(&rest, '>', &text) && rest.p != NULL) {
		size_t open = str_rfind(text, '<');

		if (open < text.n)
			c->other |= is_other_address(c, str_skip(text, open + 1));
	}
}

static void look_at_encoded(struct claims *c, str text)
{
	struct buf shown;

	buf_init(&shown, BUF_UNBOUNDED);
	decode(c->arena, text, &shown);
	c->other |= shown.failed;
	look_at(c, buf_str(&shown));
	buf_fini(&shown);
}

static void look_at_content(struct claims *c, str content, void (*look)(struct claims *, str))
{
	struct buf text;

	if (!str_holds(content, '@') && !str_holds(content, '='))
		return;
	buf_init(&text, BUF_UNBOUNDED);
	lex_unquote(&text, content);
	c->other |= text.failed;
	look(c, buf_str(&text));
	buf_fini(&text);
}

/* Once a comment was where the name stood: each of its words counts. */
static void look_at_words(struct claims *c, str text)
{
	str word;

	look_at_encoded(c, text);
	while (!c->other && str_cut(&text, ' ', &word))
		c->other |= is_other_address(c, word);
}

static void saw_comment(void *arg, str content)
{
	look_at_content(arg, content, look_at_words);
}

static void run_ended(struct claims *c)
{
	if (c->encoded)
		look_at(c, buf_str(&c->run));
	buf_clear(&c->run);
	c->encoded = c->joins = false;
}

/* Where an encoded word begins in an atom, whatever stands before it. */
static size_t encoded_at(str atom)
{
	const char *p = atom.n ? memmem(atom.p, atom.n, "=?", 2) : NULL;

	return p != NULL ? (size_t)(p - atom.p) : atom.n;
}

/* RFC 2047 has no dots and other specials in the words of a phrase, but programs
 * decode what is between "=?" and "?=" whatever it is: so it is read here up to
 * there, and not to the end of the atom. */
static void saw_atom(struct claims *c, struct lex *l, const struct lex_token *t)
{
	str text = t->text;

	if (t->spaced && !(c->joins && str_starts(text, "=?")))
		run_ended(c);
	c->joins = false;
	for (;;) {
		size_t at = encoded_at(text), n;
		str    rest = { text.p + at, text.n - at + l->in.n };     /* to the end of the value */

		buf_add(&c->run, str_head(text, at));
		if (at == text.n)
			return;
		n = encoded_word(c->arena, rest, &c->run);
		if (n != 0) {
			c->joins = c->encoded = true;
			l->in = str_skip(rest, n);
			return;
		}
		buf_add(&c->run, STR("=?"));
		text = str_skip(text, at + 2);
	}
}

/* Comments, quoted strings and encoded words beside the addresses.  A run is
 * what a program shows without a blank in it: encoded words next to each other,
 * and what touches them. */
static bool another_is_shown(struct arena *a, str value, str domain)
{
	struct claims    c = { .arena = a, .domain = domain };
	struct lex       l = { .in = value, .comment = saw_comment, .arg = &c };
	struct lex_token t;

	buf_init(&c.run, BUF_UNBOUNDED);
	do {
		lex_next(&l, &t);
		if (t.kind == LEX_ATOM) {
			saw_atom(&c, &l, &t);
		} else if (!t.spaced && (lex_is(&t, '.') || lex_is(&t, '@'))) {
			buf_add(&c.run, t.text);
			c.joins = false;
		} else {
			run_ended(&c);
		}
		if (t.kind == LEX_QUOTED)
			look_at_content(&c, t.text, look_at_encoded);
	} while (t.kind != LEX_END && !c.other);
	c.other |= c.run.failed;
	buf_fini(&c.run);
	return c.other;
}

/* RFC 2047 5: no encoded word in an address; programs decode it all the same. */
static bool is_encoded(str local)
{
	return local.n >= 2 && memmem(local.p, local.n, "=?", 2) != NULL &&
	       memmem(local.p, local.n, "?=", 2) != NULL;
}

static const struct mailbox *first_usable(const struct mailboxes *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].usable)
			return &m->v[i];
	return NULL;
}

static bool unclear(const struct mailboxes *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (!m->v[i].usable || m->v[i].obsolete || is_encoded(m->v[i].path.local))
			return true;
	return m->malformed;
}

static bool several_domains(const struct mailboxes *m)
{
	for (size_t i = 1; i < m->n; i++)
		if (!str_eq(m->v[i].path.domain, m->v[0].path.domain))
			return true;
	return false;
}

static void judged(struct from *out, enum from_state state, const char *why)
{
	out->state = state;
	out->why = why;
}

#define ADDRESSES_MOST 1000

static size_t ats(str value)
{
	size_t n = 0;

	for (size_t i = 0; i < value.n; i++)
		n += value.p[i] == '@';
	return n;
}

static void judge_value(struct arena *a, str value, struct from *out)
{
	const struct mailbox *first;

	if (ats(value) > ADDRESSES_MOST) {
		judged(out, FROM_MALFORMED,
		       "The From field holds more addresses than anybody reads; send it with its author's");
		return;
	}
	out->mailboxes = ARENA_NEW(a, struct mailboxes);
	if (out->mailboxes == NULL) {
		judged(out, FROM_MALFORMED, "The From field could not be read for lack of memory");
		return;
	}
	mailboxes_parse(a, value, out->mailboxes);
	first = first_usable(out->mailboxes);
	if (first == NULL)
		judged(out, FROM_NO_DOMAIN,
		       "The From field holds no address with a domain; write the author's full "
		       "address "
		       "there");
	else if (unclear(out->mailboxes))
		judged(out, FROM_MALFORMED,
		       "The From field is not written as RFC 5322 asks, so mail programs would "
		       "read it "
		       "differently; write Name <user@domain>");
	else if (several_domains(out->mailboxes))
		judged(out, FROM_SEVERAL_DOMAINS,
		       "The From field names addresses of several domains; send it with authors of "
		       "one "
		       "domain");
	else if (another_is_shown(a, value, first->path.domain))
		judged(out, FROM_SEVERAL_DOMAINS,
		       "The From field shows an address of another domain beside the author's; "
		       "take it "
		       "out of the name");
	else
		judged(out, FROM_GOOD, NULL);
	if (out->state == FROM_GOOD) {
		out->domain = first->path.domain;
		out->is_literal = first->path.is_literal;
	}
}

void from_judge(struct arena *a, const struct fields *fields, struct from *out)
{
	const struct field *from = NULL;
	size_t              n = 0;

	*out = (struct from){ 0 };
	for (size_t i = 0; i < fields->n; i++) {
		const struct field *f = &fields->v[i];

		if (f->omitted || !field_is(f, "From"))
			continue;
		if (n++ == 0)
			from = f;
	}
	if (n == 0) {
		judged(out, FROM_ABSENT,
		       "The message has no From field; add one with the author's address");
		return;
	}
	judge_value(a, from->value, out);
	if (n > 1) {
		judged(out, FROM_SEVERAL_FIELDS,
		       "The message has several From fields; send it with one");
		out->domain = STR_NONE;
		out->is_literal = false;
	}
}
