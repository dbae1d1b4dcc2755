/* SPDX-License-Identifier: ISC */
/*
 * field: the splitter and the list it makes (RFC 5322 2.2, 3.6.8, 4.5).
 *
 * A field ends where the next line begins with something else than white
 * space, so each is held in `line` until that byte is seen.  While a line has
 * not shown its colon it may yet be the body's first: of such a line nothing
 * is taken that could not be given back.  Once a limit is passed nothing is
 * stored any more, and the header is only read to its end.  Loop thread.
 */
#include "smtpd/mail/field.h"

#include <string.h>

enum state { AT_START, IN_NAME, BEFORE_COLON, IN_VALUE, EMPTY_LINE };

#define FIELDS_FIRST 32

void splitter_init(struct splitter *s, struct arena *a, size_t max_bytes, size_t max_field,
		   size_t max_fields)
{
	*s = (struct splitter){
		.arena = a,
		.max_bytes = max_bytes,
		.max_field = max_field,
		.max_fields = max_fields,
		.at_line_start = true,
	};
	buf_init(&s->line, BUF_UNBOUNDED);
}

void splitter_fini(struct splitter *s)
{
	buf_fini(&s->line);
}

static void went_over(struct splitter *s, int limit)
{
	if (s->over == SPLIT_OK)
		s->over = limit;
	buf_clear(&s->line);
}

static void store(struct splitter *s, str bytes)
{
	s->bytes += bytes.n;
	if (s->over != SPLIT_OK)
		return;
	if (s->bytes > s->max_bytes) {
		went_over(s, SPLIT_BYTES);
	} else if (bytes.n > s->max_field || s->line.n > s->max_field - bytes.n) {
		went_over(s, SPLIT_FIELD);
	} else {
		buf_add(&s->line, bytes);
		if (s->line.failed)
			went_over(s, SPLIT_MEMORY);
	}
}

static bool room_for_field(struct splitter *s)
{
	struct fields *f = &s->fields;
	size_t         room = f->room ? 2 * f->room : FIELDS_FIRST;
	struct field  *v;

	if (f->n >= s->max_fields) {
		went_over(s, SPLIT_FIELDS);
		return false;
	}
	if (f->n < f->room)
		return true;
	v = ARENA_ARRAY(s->arena, struct field, room);
	if (v == NULL) {
		went_over(s, SPLIT_MEMORY);
		return false;
	}
	if (f->n)
		memcpy(v, f->v, f->n * sizeof(*v));
	f->v = v;
	f->room = room;
	return true;
}

static str without_crlf(str raw)
{
	if (raw.n >= 2 && raw.p[raw.n - 2] == '\r' && raw.p[raw.n - 1] == '\n')
		raw.n -= 2;
	return raw;
}

/* The field in s->line is complete: the next line does not continue it. */
static void field_ended(struct splitter *s)
{
	struct field f = { 0 };
	size_t       colon;

	if (s->over != SPLIT_OK || s->line.n == 0 || !room_for_field(s))
		return;
	f.raw = str_keep(s->arena, buf_str(&s->line));
	if (f.raw.p == NULL) {
		went_over(s, SPLIT_MEMORY);
		return;
	}
	colon = str_find(f.raw, ':');
	f.name = str_head(f.raw, colon);
	f.value = str_skip(without_crlf(f.raw), colon + 1);
	while (f.name.n && is_wsp(f.name.p[f.name.n - 1])) {
		f.name.n--;
		f.spaced = true;
	}
	s->fields.v[s->fields.n++] = f;
	buf_clear(&s->line);
}

/* RFC 5322 2.2: printable ASCII but the colon. */
static bool is_name_char(char c)
{
	return c > ' ' && c < 0x7f && c != ':';
}

/* One byte of a line whose colon has not come.  False: it is no field. */
static bool line_goes_on(struct splitter *s, char c)
{
	switch (s->state) {
	case AT_START:
		s->state = c == '\r' ? EMPTY_LINE : IN_NAME;
		return c == '\r' || is_name_char(c);
	case IN_NAME:
		s->state = c == ':' ? IN_VALUE : is_wsp(c) ? BEFORE_COLON : IN_NAME;
		return c == ':' || is_wsp(c) || is_name_char(c);
	case BEFORE_COLON:
		s->state = c == ':' ? IN_VALUE : BEFORE_COLON;
		return c == ':' || is_wsp(c);
	default: /* EMPTY_LINE */
		s->done = c == '\n';
		return s->done;
	}
}

/* Reads on in a value, up to the end of its line; returns how many bytes. */
static size_t value_goes_on(struct splitter *s, str in)
{
	size_t at = 0;

	for (;;) {
		at += str_find(str_skip(in, at), '\n');
		if (at == in.n) {
			s->cr = in.p[in.n - 1] == '\r';
			return in.n;
		}
		if (at ? in.p[at - 1] == '\r' : s->cr) {
			s->at_line_start = true;
			s->cr = false;
			return at + 1;
		}
		at++;
		s->cr = false;
		if (at == in.n)
			return at;
	}
}

/* A field's line has ended and `c` begins the next: a fold, or a new line. */
static void line_begins(struct splitter *s, char c)
{
	if (s->state == IN_VALUE && !is_wsp(c)) {
		field_ended(s);
		s->state = AT_START;
	}
	s->at_line_start = false;
}

static void header_ended(struct splitter *s, bool no_blank)
{
	s->done = true;
	s->no_blank = no_blank;
}

size_t splitter_feed(struct splitter *s, str in, str *put_back)
{
	size_t at = 0, kept = 0;     /* bytes before `kept` are in s->line */

	*put_back = STR_NONE;
	if (s->done)
		return 0;
	while (at < in.n) {
		if (s->at_line_start) {
			store(s, str_head(str_skip(in, kept), at - kept));
			kept = at;
			line_begins(s, in.p[at]);
		}
		if (s->state == IN_VALUE) {
			at += value_goes_on(s, str_skip(in, at));
			continue;
		}
		if (!line_goes_on(s, in.p[at])) {
			*put_back = buf_str(&s->line);
			s->bytes -= put_back->n;
			header_ended(s, true);
			return kept;
		}
		at++;
		if (s->done) {
			s->bytes += at - kept;
			buf_clear(&s->line);
			return at;
		}
	}
	store(s, str_skip(in, kept));
	return at;
}

void splitter_end(struct splitter *s, str *put_back)
{
	*put_back = STR_NONE;
	if (s->done)
		return;
	header_ended(s, true);
	if (s->state == IN_VALUE) {
		field_ended(s);
		return;
	}
	*put_back = buf_str(&s->line);
	s->bytes -= put_back->n;
}

/* ---- what another reader might make of it ---------------------------------- */

enum { LINE_START = 0, LINE_NAME, LINE_COLON, LINE_EMPTY, LINE_TEXT };

static unsigned char line_state(unsigned char state, char c)
{
	if (c == '\n')
		return LINE_START;
	if (state == LINE_START)
		return c == '\r' ? LINE_EMPTY : is_name_char(c) ? LINE_NAME : LINE_TEXT;
	if (state == LINE_NAME && is_name_char(c))
		return LINE_NAME;
	return (state == LINE_NAME || state == LINE_COLON) && is_wsp(c) ? LINE_COLON : LINE_TEXT;
}

bool read_on_feed(struct read_on *r, str piece)
{
	for (size_t i = 0; i < piece.n && !r->over && !r->found; i++) {
		char c = piece.p[i];

		r->over = c == '\n' && (r->state == LINE_START || r->state == LINE_EMPTY);
		r->found = c == ':' && (r->state == LINE_NAME || r->state == LINE_COLON);
		r->state = line_state(r->state, c);
	}
	return r->found;
}

bool field_is(const struct field *f, const char *name)
{
	return str_is_nocase(f->name, name);
}

const struct field *fields_first(const struct fields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (field_is(&f->v[i], name))
			return &f->v[i];
	return NULL;
}

size_t fields_count(const struct fields *f, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += field_is(&f->v[i], name);
	return n;
}

str field_unfold(struct arena *a, str value)
{
	size_t n = 0;
	char  *p;

	value = str_trim(value);
	if (!str_holds(value, '\n'))
		return value;
	p = arena_alloc(a, value.n);
	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < value.n; i++) {
		if (i + 2 < value.n && value.p[i] == '\r' && value.p[i + 1] == '\n' &&
		    is_wsp(value.p[i + 2]))
			i++;
		else
			p[n++] = value.p[i];
	}
	return (str){ p, n };
}
