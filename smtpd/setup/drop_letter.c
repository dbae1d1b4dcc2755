/* SPDX-License-Identifier: ISC */
/*
 * drop_letter: what a program of this machine gave on standard input and the
 * command line becomes a message: recipients read, Bcc gone, From there.
 *
 * Such programs write names without a domain (cron: "From: root (Cron Daemon)",
 * "To: root").  In address fields each gets the domain, and nothing else of the
 * header is touched.  In From, a user's message shows his own name instead of
 * another's that has no domain: Debian's cron says root for all of its users.
 * Pure; any thread.
 */
#include <string.h>

#include "smtpd/mail/addr.h"
#include "smtpd/mail/field.h"
#include "smtpd/setup/drop.h"

#define HEADER_MOST ((size_t)16 << 20)
#define FIELDS_MOST ((size_t)20000)

struct composing {
	struct arena           *a;
	struct buf             *out;
	const struct drop_wish *w;
	struct splitter         split;
	struct strs             rcpts;
	size_t                  room;
	bool                    resent;
	str                    *why;
};

/* ---- names without a domain ------------------------------------------------------ */

/* One address of a list: its words where it has no "@". */
struct spot {
	size_t at, n;               /* of the last word */
	size_t words;
	bool   has_at, closed;
};

static size_t behind_comment(str s, size_t i)
{
	size_t depth = 0;

	for (; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '(')
			depth++;
		else if (s.p[i] == ')' && --depth == 0)
			return i + 1;
	}
	return s.n;
}

static size_t behind_quoted(str s, size_t i)
{
	for (i++; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			return i + 1;
	}
	return s.n;
}

static size_t behind_atom(str s, size_t i)
{
	while (i < s.n && memchr("(\"<>,;:@ \t\r\n", s.p[i], 12) == NULL)
		i++;
	return i;
}

static void word_came(struct spot *spot, size_t at, size_t end)
{
	if (spot->closed)
		return;
	spot->at = at;
	spot->n = end - at;
	spot->words++;
}

/* The next address of the list from *i on; false at the end. */
static bool spot_next(str s, size_t *i, struct spot *spot)
{
	*spot = (struct spot){ 0 };
	while (*i < s.n) {
		size_t at = *i;
		char c = s.p[at];

		*i = at + 1;
		if (c == '(') {
			*i = behind_comment(s, at);
		} else if (c == '"') {
			*i = behind_quoted(s, at);
			word_came(spot, at, *i);
		} else if (c == ',' || c == ';') {
			if (spot->words > 0)
				return true;
			*spot = (struct spot){ 0 };
		} else if (c == '<' || c == ':') {             /* a phrase, a group's name, a route: not the address */
			spot->words = 0;
		} else if (c == '>') {
			spot->closed = true;
		} else if (c == '@') {
			spot->has_at = true;
		} else if (!is_wsp(c) && c != '\r' && c != '\n') {
			*i = behind_atom(s, at);
			word_came(spot, at, *i);
		}
	}
	return spot->words > 0;
}

/* `only`: this name takes the place of every other that has no domain; or empty. */
static str qualified(struct arena *a, str value, str domain, str only)
{
	struct buf out;
	struct spot spot;
	size_t i = 0, done = 0;
	str made;

	buf_init(&out, BUF_UNBOUNDED);
	while (spot_next(value, &i, &spot)) {
		str name = str_head(str_skip(value, spot.at), spot.n);

		if (spot.has_at || spot.words != 1)
			continue;
		buf_add(&out, str_head(str_skip(value, done), spot.at - done));
		buf_add(&out, only.n > 0 ? only : name);
		buf_add_char(&out, '@');
		buf_add(&out, domain);
		done = spot.at + spot.n;
	}
	buf_add(&out, str_skip(value, done));
	made = done == 0 ? value : str_keep(a, buf_str(&out));
	buf_fini(&out);
	return made;
}

/* ---- recipients -------------------------------------------------------------------- */

static bool add_rcpt(struct arena *a, str text, struct strs *to, size_t *room)
{
	if (to->n >= DROP_RCPTS_MOST)
		return false;
	if (to->n == *room) {
		size_t more = *room ? 2 * *room : 16;
		str *v = ARENA_ARRAY(a, str, more);

		if (v == NULL)
			return false;
		if (to->n > 0)
			memcpy(v, to->v, to->n * sizeof(*v));
		to->v = v;
		*room = more;
	}
	to->v[to->n++] = text;
	return true;
}

/* A name of this machine goes without its domain: the server may know more of it. */
static str as_envelope(const struct path *p, str domain)
{
	if (str_eq_nocase(p->domain, domain) && p->text.n > domain.n + 1)
		return str_head(p->text, p->text.n - p->domain.n - 1);
	return p->text;
}

bool drop_add_rcpts(struct arena *a, str list, str domain, struct strs *to, size_t *room, str *why)
{
	struct mailboxes m;

	mailboxes_parse(a, qualified(a, list, domain, STR_NONE), &m);
	for (size_t i = 0; i < m.n; i++) {
		if (!m.v[i].usable || m.malformed) {
			*why = arena_printf(a, "\"%.*s\" is no list of addresses: correct it", STR_ARG(str_head(str_trim(list), 200)));
			return false;
		}
		if (!add_rcpt(a, as_envelope(&m.v[i].path, domain), to, room)) {
			*why = STR("too many recipients for one message: send it in parts");
			return false;
		}
	}
	return true;
}

static bool holds_rcpts(const struct composing *c, const struct field *f)
{
	if (c->resent)                                          /* RFC 5322 3.6.6 */
		return field_is(f, "Resent-To") || field_is(f, "Resent-Cc") || field_is(f, "Resent-Bcc");
	return field_is(f, "To") || field_is(f, "Cc") || field_is(f, "Bcc");
}

static bool read_recipients(struct composing *c)
{
	const struct fields *f = &c->split.fields;

	for (size_t i = 0; i < c->w->rcpts.n; i++)
		if (!drop_add_rcpts(c->a, c->w->rcpts.v[i], c->w->domain, &c->rcpts, &c->room, c->why))
			return false;
	if (c->w->read_recipients)
		for (size_t i = 0; i < f->n; i++)
			c->resent = c->resent || (f->v[i].name.n > 7 && str_starts_nocase(f->v[i].name, "Resent-"));
	for (size_t i = 0; c->w->read_recipients && i < f->n; i++)
		if (holds_rcpts(c, &f->v[i]) &&
		    !drop_add_rcpts(c->a, f->v[i].value, c->w->domain, &c->rcpts, &c->room, c->why))
			return false;
	if (c->rcpts.n > 0)
		return true;
	*c->why = c->w->read_recipients ? STR("nobody is named as a recipient: add To, Cc or Bcc")
	                                : STR("nobody is named as a recipient: name somebody, or take -t to have To, Cc and Bcc read");
	return false;
}

/* ---- the header ----------------------------------------------------------------------- */

static const char *const address_fields[] = {
	"From", "Sender", "Reply-To", "To", "Cc",
	"Resent-From", "Resent-Sender", "Resent-Reply-To", "Resent-To", "Resent-Cc",
};

static bool is_address_field(const struct field *f)
{
	for (size_t i = 0; i < COUNT(address_fields); i++)
		if (field_is(f, address_fields[i]))
			return true;
	return false;
}

static bool says_who_writes(const struct field *f)
{
	return field_is(f, "From") || field_is(f, "Sender");
}

static void put_field(struct composing *c, const struct field *f)
{
	str only = !c->w->root && says_who_writes(f) ? c->w->user : STR_NONE;
	str value;

	if (field_is(f, "Bcc") || field_is(f, "Resent-Bcc") || field_is(f, "Return-Path"))
		return;
	value = is_address_field(f) ? qualified(c->a, f->value, c->w->domain, only) : f->value;
	if (value.p == f->value.p) {
		buf_add(c->out, f->raw);
		if (f->raw.p[f->raw.n - 1] != '\n')
			buf_add(c->out, STR("\r\n"));
		return;
	}
	buf_addf(c->out, "%.*s:", STR_ARG(f->name));
	buf_add(c->out, value);
	buf_add(c->out, STR("\r\n"));
}

static bool needs_quotes(str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!is_alnum(name.p[i]) && name.p[i] != ' ' && memchr("!#$%&'*+-/=?^_`{|}~", name.p[i], 19) == NULL)
			return true;
	return false;
}

/* RFC 5322 3.2.4; octets beyond ASCII stay as they are, as in what programs write. */
static void put_name(struct buf *out, str name)
{
	bool quotes = needs_quotes(name);

	if (quotes)
		buf_add_char(out, '"');
	for (size_t i = 0; i < name.n; i++) {
		unsigned char ch = (unsigned char)name.p[i];

		if (quotes && (ch == '"' || ch == '\\'))
			buf_add_char(out, '\\');
		buf_add_char(out, ch < ' ' || ch == 0x7f ? ' ' : (char)ch);
	}
	if (quotes)
		buf_add_char(out, '"');
	buf_add_char(out, ' ');
}

static void put_from(struct composing *c)
{
	const struct drop_wish *w = c->w;
	struct path p = { 0 };
	str who = w->user, name = str_head(str_trim(w->full_name), 200);

	if (w->from_given && w->from.n > 0 && !str_is(w->from, "<>"))
		who = w->from;
	if (!str_holds(who, '@') && path_build(c->a, who, w->domain, &p))
		who = p.text;
	buf_add(c->out, STR("From: "));
	if (name.n > 0)
		put_name(c->out, name);
	buf_addf(c->out, name.n > 0 ? "<%.*s>\r\n" : "%.*s\r\n", STR_ARG(who));
}

/* ---- all of it --------------------------------------------------------------------------- */

/* Lines end in CRLF from here on; a CR that stands alone is the server's to refuse. */
static void put_lines(struct buf *out, str text)
{
	str line;

	while (text.n > 0) {
		size_t at = str_find(text, '\n');

		line = str_head(text, at);
		if (at < text.n && line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		buf_add(out, line);
		buf_add(out, STR("\r\n"));
		text = str_skip(text, at + 1);
	}
}

str drop_until_dot(str text, bool *dot)
{
	for (size_t at = 0; at < text.n;) {
		str rest = str_skip(text, at), line = str_head(rest, str_find(rest, '\n'));

		*dot = str_is(line, ".") || str_is(line, ".\r");
		if (*dot)
			return str_head(text, at);
		at += line.n + 1;
	}
	*dot = false;
	return text;
}

/* "From alice Mon Jan  1 …", as mailbox files have it, is no field. */
static str without_mbox_line(str text)
{
	return str_starts(text, "From ") || str_starts(text, ">From ") ? str_skip(text, str_find(text, '\n') + 1) : text;
}

static bool sender_good(struct composing *c, struct drop *out)
{
	str from = c->w->from, inner;
	struct path p;

	out->sender = c->w->user;
	if (!c->w->from_given)
		return true;
	inner = from.n > 1 && from.p[0] == '<' && from.p[from.n - 1] == '>' ? str_head(str_skip(from, 1), from.n - 2) : from;
	out->sender = inner;
	if (inner.n == 0)
		return true;
	if (!str_holds(inner, '@'))
		inner = arena_printf(c->a, "%.*s@%.*s", STR_ARG(inner), STR_ARG(c->w->domain));
	if (!path_of(c->a, inner, &p) || p.domain.n == 0) {
		*c->why = arena_printf(c->a, "\"%.*s\" is no address: correct what stands behind -f", STR_ARG(str_head(from, 200)));
		return false;
	}
	out->sender = as_envelope(&p, c->w->domain);
	return true;
}

static bool compose(struct composing *c, str text, struct drop *out)
{
	str back = STR_NONE, body;
	size_t n = splitter_feed(&c->split, text, &back);

	if (!c->split.done)
		splitter_end(&c->split, &back);
	body = str_skip(text, n);
	if (c->split.over != SPLIT_OK) {
		*c->why = STR("its header is too large");
		return false;
	}
	if (!sender_good(c, out) || !read_recipients(c))
		return false;
	if (fields_first(&c->split.fields, "From") == NULL)
		put_from(c);
	for (size_t i = 0; i < c->split.fields.n; i++)
		put_field(c, &c->split.fields.v[i]);
	buf_add(c->out, STR("\r\n"));
	buf_add(c->out, back);
	buf_add(c->out, body);
	out->rcpts = c->rcpts;
	out->message = buf_str(c->out);
	*c->why = STR("there is no memory for the message");
	return !c->out->failed && !c->a->spent;
}

bool drop_compose(struct arena *a, struct buf *storage, const struct drop_wish *w, struct drop *out, str *why)
{
	struct composing c = { .a = a, .out = storage, .w = w, .why = why };
	struct buf lines;
	bool ok;

	*out = (struct drop){ 0 };
	buf_init(&lines, BUF_UNBOUNDED);
	put_lines(&lines, without_mbox_line(w->text));
	splitter_init(&c.split, a, HEADER_MOST, HEADER_MOST, FIELDS_MOST);
	ok = !lines.failed && compose(&c, buf_str(&lines), out);
	if (lines.failed)
		*why = STR("there is no memory for the message");
	splitter_fini(&c.split);
	buf_fini(&lines);
	return ok;
}
