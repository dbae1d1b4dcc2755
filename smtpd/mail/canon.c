/* SPDX-License-Identifier: ISC */
/*
 * canon: canonical forms of bodies (RFC 6376 3.4.3, 3.4.4; RFC 4870 3.4.2).
 *
 * What may yet turn out to stand at the end is held back as counts, never as
 * bytes: empty lines, white space, one CR.  Long stretches that are canonical
 * already go to the sink as views; short ones gather in a small buffer, so that
 * a digest is fed large pieces whatever the text looks like.  Any thread.
 */
#include "smtpd/mail/canon.h"

#include <string.h>

#define GATHER    4096
#define VIEW_MIN  256     /* from here a view is cheaper than a copy */
#define BLOCK     128

struct gather {
	canon_sink *sink;
	void       *arg;
	size_t      n;
	char        p[GATHER];
};

static void gather_flush(struct gather *g)
{
	if (g->n)
		g->sink(g->arg, (str){ g->p, g->n });
	g->n = 0;
}

static void gather_add(struct gather *g, str s)
{
	if (s.n >= VIEW_MIN) {
		gather_flush(g);
		g->sink(g->arg, s);
		return;
	}
	if (s.n > GATHER - g->n)
		gather_flush(g);
	memcpy(g->p + g->n, s.p, s.n);
	g->n += s.n;
}

static void gather_char(struct gather *g, char c)
{
	if (g->n == GATHER)
		gather_flush(g);
	g->p[g->n++] = c;
}

void canon_body_init(struct canon_body *b, enum canon kind)
{
	*b = (struct canon_body){ .kind = kind };
}

/* Content follows: what was held back belongs to the body after all. */
static void release_held(struct canon_body *b, struct gather *g)
{
	for (; b->crlfs; b->crlfs--) {
		gather_char(g, '\r');
		gather_char(g, '\n');
	}
	if (b->wsp)
		gather_char(g, ' ');
	b->wsp = false;
	b->any = true;
}

/* Takes CRLFs off the end of `run` into b->crlfs; what is left is content. */
static str hold_crlfs(struct canon_body *b, str run)
{
	size_t held = 0;

	while (run.n >= 2 && run.p[run.n - 2] == '\r' && run.p[run.n - 1] == '\n') {
		run.n -= 2;
		held++;
	}
	b->crlfs += held;
	return run;
}

/* A run that goes out as it is, but for the empty lines at its end. */
static void put_run(struct canon_body *b, str run, struct gather *g)
{
	size_t before = b->crlfs;
	str    content;

	b->crlfs = 0;
	content = hold_crlfs(b, run);
	if (content.n) {
		size_t after = b->crlfs;

		b->crlfs = before;
		release_held(b, g);
		gather_add(g, content);
		b->crlfs = after;
	} else {
		b->crlfs += before;
	}
}

/* The byte after a CR that was held back: the end of a line, or not. */
static str settle_cr(struct canon_body *b, str in, struct gather *g)
{
	b->cr = false;
	if (in.p[0] == '\n') {
		b->wsp = false;
		b->crlfs++;
		return str_skip(in, 1);
	}
	if (b->kind == CANON_NOFWS)
		return in;
	release_held(b, g);
	gather_char(g, '\r');
	return in;
}

static void feed_simple(struct canon_body *b, str in, struct gather *g)
{
	if (in.n && in.p[in.n - 1] == '\r') {
		b->cr = true;
		in.n--;
	}
	if (in.n)
		put_run(b, in, g);
}

/* A tab, or a space that does not stand alone between two words. */
static inline bool wants_change(const char *p)
{
	return (p[0] == '\t') | ((p[0] == ' ') & ((p[1] == ' ') | (p[1] == '\t') | (p[1] == '\r')));
}

/* Written without branches so that compilers make vector code of it. */
static bool block_clean(const char *p)
{
	unsigned char found = 0;

	for (size_t i = 0; i < BLOCK; i++)
		found |= (unsigned char)((p[i] == '\t') |
		                         ((p[i] == ' ') & ((p[i + 1] == ' ') | (p[i + 1] == '\t') |
		                                           (p[i + 1] == '\r'))));
	return found == 0;
}

/* How many bytes of `in` relaxed leaves as they are. */
static size_t relaxed_run(str in)
{
	size_t i = 0;

	while (in.n - i > BLOCK && block_clean(in.p + i))
		i += BLOCK;
	while (i + 1 < in.n && !wants_change(in.p + i))
		i++;
	if (i + 1 == in.n && !is_wsp(in.p[i]))
		i++;
	return i;
}

static void feed_relaxed(struct canon_body *b, str in, struct gather *g)
{
	while (in.n) {
		size_t run;

		if (b->cr) {
			in = settle_cr(b, in, g);
			continue;
		}
		if (is_wsp(in.p[0]) && (b->wsp || in.n == 1 || wants_change(in.p))) {
			b->wsp = true;
			in = str_skip(in, 1);
			continue;
		}
		if (b->wsp && in.p[0] == '\r') {
			b->cr = true;
			in = str_skip(in, 1);
			continue;
		}
		run = relaxed_run(in);
		if (run == in.n && in.p[run - 1] == '\r') {
			b->cr = true;
			in.n = --run;
		}
		if (run)
			put_run(b, str_head(in, run), g);
		in = str_skip(in, run);
	}
}

static bool is_fws(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void feed_nofws(struct canon_body *b, str in, struct gather *g)
{
	while (in.n) {
		size_t run = 0;

		if (b->cr) {
			in = settle_cr(b, in, g);
			continue;
		}
		while (run < in.n && !is_fws(in.p[run]))
			run++;
		if (run) {
			release_held(b, g);
			gather_add(g, str_head(in, run));
			in = str_skip(in, run);
			continue;
		}
		b->cr = in.p[0] == '\r';
		in = str_skip(in, 1);
	}
}

void canon_body_feed(struct canon_body *b, str in, canon_sink *sink, void *arg)
{
	struct gather g;

	g.sink = sink;
	g.arg = arg;
	g.n = 0;
	if (in.n && b->cr)
		in = settle_cr(b, in, &g);
	switch (b->kind) {
	case CANON_SIMPLE:
		feed_simple(b, in, &g);
		break;
	case CANON_RELAXED:
		feed_relaxed(b, in, &g);
		break;
	case CANON_NOFWS:
		feed_nofws(b, in, &g);
		break;
	}
	gather_flush(&g);
}

/* RFC 6376 3.4.3: an empty body is one CRLF in the simple form; 3.4.4: nothing
 * in the relaxed one.  A last line without CRLF gets it in all. */
void canon_body_end(struct canon_body *b, canon_sink *sink, void *arg)
{
	struct gather g;

	g.sink = sink;
	g.arg = arg;
	g.n = 0;
	if (b->cr && b->kind != CANON_NOFWS) {
		release_held(b, &g);
		gather_char(&g, '\r');
	}
	b->cr = false;
	if (b->any || b->kind == CANON_SIMPLE) {
		gather_char(&g, '\r');
		gather_char(&g, '\n');
	}
	gather_flush(&g);
	canon_body_init(b, b->kind);
}
