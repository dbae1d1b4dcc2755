/* SPDX-License-Identifier: ISC */
/*
 * reflect: see reflect.h.  What came from the wire is made safe to show; each
 * part has its share of the whole, so that the last parts are always there.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "smtpd/mail/faults.h"
#include "smtpd/mail/trace.h"
#include "smtpd/setup/explain.h"
#include "smtpd/setup/reflect.h"

#define WIDTH       78
#define NAME_WIDTH  14
#define STORY_MOST  ((size_t)96 << 10)
#define HEADER_MOST ((size_t)48 << 10)
#define LINE_MOST   900                 /* of 998 (RFC 5322 2.1.1) */

/* ---- lines ------------------------------------------------------------------------- */

/* How much of s fits: up to the last space, or a whole word, or LINE_MOST of it. */
static size_t fitting(str s, size_t room)
{
	size_t n = s.n < room ? s.n : room;

	if (n == s.n)
		return n;
	for (size_t at = n; at > 0; at--)
		if (s.p[at] == ' ')
			return at;
	while (n < s.n && s.p[n] != ' ' && (n < LINE_MOST || ((unsigned char)s.p[n] & 0xc0) == 0x80))
		n++;
	return n;
}

static size_t spaces(str s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] == ' ')
		n++;
	return n;
}

void report_line(struct report *r, str line, size_t hang)
{
	size_t indent = spaces(line);

	line = str_skip(line, indent);
	do {
		size_t n = fitting(line, WIDTH > indent + 20 ? WIDTH - indent : 20);

		buf_addf(&r->out, "%*s%.*s\r\n", (int)(n > 0 ? indent : 0), "", (int)n, line.p != NULL ? line.p : "");
		line = str_skip(line, n);
		line = str_skip(line, spaces(line));
		indent = hang;
	} while (line.n > 0);
}

void report_row(struct report *r, const char *name, const char *format, ...)
{
	char text[1600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	report_line(r, arena_printf(r->arena, "  %-*s%s", NAME_WIDTH - 2, name, text), NAME_WIDTH);
}

void report_todo(struct report *r, const char *format, ...)
{
	char text[1600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	report_line(r, arena_printf(r->arena, "%*sTo do: %s.", NAME_WIDTH, "", text), NAME_WIDTH + 2);
}

static void headline(struct report *r, const char *text)
{
	buf_addf(&r->out, "\r\n%s\r\n\r\n", text);
}

/* ---- the parts ------------------------------------------------------------------------ */

static void opening(struct report *r)
{
	const struct reflection *of = r->of;
	const char *helo = explain_shown(r->arena, of->peer->helo, 200), *sender = explain_shown(r->arena, of->in->sender.text, 320);
	str date = trace_date(r->arena, of->in->now);

	report_line(r, arena_printf(r->arena, "This is what %.*s saw of your message, and what you can do about it. A program wrote it; nobody reads "
	                            "answers to it.", STR_ARG(of->in->host)), 0);
	buf_add(&r->out, STR("\r\n"));
	report_row(r, "Sender", "%s", sender);
	report_row(r, "Came from", "%.*s, which called itself %s", STR_ARG(of->peer->ip), helo);
	report_row(r, "Came at", "%s", explain_shown(r->arena, str_trim(str_skip(date, str_find(date, ':') + 1)), 60));
	report_row(r, "Size", "%llu octets", (unsigned long long)of->bytes);
}

static void form(struct report *r)
{
	struct fault found[FAULTS_MOST];
	const struct reflection *of = r->of;
	const struct faults_of what = {
		.fields = of->in->fields, .from = &of->in->from, .body = of->body, .helo = of->peer->helo, .host = of->in->host,
		.smtputf8 = of->in->smtputf8, .no_blank = of->no_blank, .now = of->in->now,
	};
	size_t n = faults_find(r->arena, &what, found);

	headline(r, "WHAT SPAM FILTERS MAY HOLD AGAINST IT");
	if (n == 0)
		report_line(r, STR("  Nothing was found in its header and form."), 2);
	for (size_t i = 0; i < n; i++) {
		report_line(r, arena_printf(r->arena, "  %zu. %s.", i + 1, explain_shown(r->arena, found[i].what, 400)), 5);
		report_line(r, arena_printf(r->arena, "     To do: %s.", explain_shown(r->arena, found[i].todo, 400)), 7);
	}
}

/* Cut at a line's end. */
static str at_most(str text, size_t most)
{
	if (text.n <= most)
		return text;
	text = str_head(text, most);
	return str_head(text, str_rfind(text, '\n') + 1);
}

static void story(struct report *r)
{
	const struct message_in in = { .crlf = true, .body = r->of->whole };
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	str rest, line;

	headline(r, "STEP BY STEP");
	if (f == NULL)
		return;
	explain_story(&(struct story){
		.out = f, .arena = r->arena, .conn = r->of->chain, .peer = r->of->peer, .msg = r->of->in,
		.in = r->of->whole.n > 0 ? &in : NULL, .bodies = 1,
	});
	if (fclose(f) == 0)
		for (rest = at_most((str){ text, n }, STORY_MOST); rest.n > 0 && str_cut(&rest, '\n', &line);)
			report_line(r, line, spaces(line) + 4);
	if (n > STORY_MOST)
		report_line(r, STR("  … the rest is left out, it would be too long"), 2);
	free(text);
}

static void results(struct report *r)
{
	str rest = r->of->results, line;

	headline(r, "AS WE WRITE IT DOWN");
	while (rest.n > 0 && str_cut(&rest, '\n', &line))
		buf_addf(&r->out, "  %s%s\r\n", is_wsp(line.n > 0 ? line.p[0] : 'x') ? "    " : "",
		         explain_shown(r->arena, str_trim(line), LINE_MOST));
}

/* A tab is shown as a space. */
static void raw_line(struct report *r, str line)
{
	char *p = arena_alloc(r->arena, line.n + 1);

	if (p == NULL)
		return;
	for (size_t i = 0; i < line.n; i++)
		p[i] = line.p[i] == '\t' ? ' ' : line.p[i];
	buf_addf(&r->out, "  %s\r\n", explain_shown(r->arena, (str){ p, line.n }, LINE_MOST));
}

static void header(struct report *r)
{
	const struct fields *f = r->of->in->fields;
	size_t before = r->out.n;

	headline(r, "THE HEADER AS IT ARRIVED");
	for (size_t i = 0; i < f->n; i++) {
		str rest = f->v[i].raw, line;

		while (rest.n > 0 && str_cut(&rest, '\n', &line)) {
			if (r->out.n - before > HEADER_MOST) {
				report_line(r, STR("  … the rest is left out, it would be too long"), 2);
				return;
			}
			raw_line(r, line.n > 0 && line.p[line.n - 1] == '\r' ? str_head(line, line.n - 1) : line);
		}
	}
}

str reflect_report(const struct reflection *of, struct arena *arena)
{
	struct report r = { .of = of, .arena = arena };
	str text = STR_NONE;

	buf_init(&r.out, of->most);
	opening(&r);
	headline(&r, "WHAT PASSED AND WHAT DID NOT");
	report_rows(&r);
	form(&r);
	story(&r);
	results(&r);
	header(&r);
	if (!r.out.failed)
		text = str_keep(arena, buf_str(&r.out));
	buf_fini(&r.out);
	return text;
}
