/* SPDX-License-Identifier: ISC */
/*
 * The queue in columns, one message's whole story, and both as JSON.  What
 * peers said is shown without its control octets.  Disk or slow desk, verbs.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "queue/internal.h"
#include "queue/report.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/json.h"
#include "smtpd/mail/field.h"

#define LIST_RCPTS 5            /* open recipients of one message that `list` names */
#define LIST_SAID  100          /* octets of the last answer in it */
#define HEADER_MAX ((size_t)64 << 10)
#define HEADER_FIELDS 1000

static const char *const states[] = {
	[RCPT_WAITING] = "waiting", [RCPT_STAGED] = "staged", [RCPT_HELD] = "held", [RCPT_SETTLED] = "done",
};

/* ---- pieces of text ------------------------------------------------------------------ */

/* A terminal shall not obey what a peer said. */
static str plain(struct arena *a, str s)
{
	bool utf8 = utf8_valid(s);
	char *p = arena_alloc(a, s.n);

	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool high = c >= 0x80 && (!utf8 || (c == 0xc2 && (unsigned char)s.p[i + 1] < 0xa0));

		p[i] = c == '\t' || c == '\r' || c == '\n' ? ' ' : c < 0x20 || c == 0x7f || high ? '?' : (char)c;
		if (high && utf8)               /* a control character of two octets, U+0080 to U+009F */
			p[++i] = '?';
	}
	return (str){ p, s.n };
}

static str span(struct arena *a, int64_t s)
{
	if (s < 0)
		s = 0;
	if (s < 120)
		return arena_printf(a, "%" PRId64 " s", s);
	if (s < 7200)
		return arena_printf(a, "%" PRId64 " min", s / 60);
	if (s < 2 * 86400)
		return arena_printf(a, "%" PRId64 " h", s / 3600);
	return arena_printf(a, "%" PRId64 " d", s / 86400);
}

static str size(struct arena *a, uint64_t n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB" };
	double v = (double)n;
	size_t u = 0;

	for (; v >= 1000 && u + 1 < COUNT(units); u++)
		v /= 1024;
	return arena_printf(a, v < 10 && u > 0 ? "%.1f %s" : "%.0f %s", v, units[u]);
}

/* "2026-11-21T22:08:28+00:00" */
static str when(struct arena *a, int64_t epoch)
{
	char text[40];
	str s = clock_stamp((uint64_t)epoch * 1000000, text);

	return arena_printf(a, "%.*s%.*s", 19, s.p, STR_ARG(str_skip(s, 23)));
}

static str path_text(struct arena *a, str path)
{
	return path.n == 0 ? STR("<>") : plain(a, path);
}

static str next_text(struct arena *a, const struct queue_rcpt *r)
{
	int64_t wait = r->next - clock_wall();

	if (r->state == RCPT_WAITING && wait > 0)
		return arena_printf(a, "in %.*s", STR_ARG(span(a, wait)));
	return r->state == RCPT_WAITING ? STR("now") : str_of(states[r->state]);
}

/* ---- list, in columns -------------------------------------------------------------------- */

struct listing {
	struct buf  *out;
	bool         json;              /* else in columns */
	uint64_t     messages, recipients, bytes;
};

static void list_rcpt(struct buf *out, struct arena *a, const struct queue_rcpt *r)
{
	str said = plain(a, str_head(r->said, LIST_SAID));
	size_t before = out->n;

	buf_addf(out, "%-28.*s  %5" PRIu32 "  %-9.*s  %.*s%s", STR_ARG(path_text(a, r->address)), r->tries,
	         STR_ARG(next_text(a, r)), STR_ARG(said), r->said.n > LIST_SAID ? "…" : "");
	while (out->n > before && out->p[out->head + out->n - 1] == ' ')
		out->n--;
	buf_add_char(out, '\n');
}

static void list_message(struct listing *l, const struct queue_entry *e)
{
	char id[QUEUE_ID_TEXT];
	struct arena a;
	size_t shown = 0, open = 0;

	arena_init(&a, ARENA_UNBOUNDED);
	buf_addf(l->out, "%.*s  %6.*s  %8.*s  %-28.*s  ", STR_ARG(queue_id_text(e->id, id)),
	         STR_ARG(span(&a, clock_wall() - e->arrived)), STR_ARG(size(&a, e->head.n + e->bytes)),
	         STR_ARG(path_text(&a, e->sender)));
	for (size_t i = 0; i < e->nrcpts; i++) {
		if (e->rcpts[i].state == RCPT_SETTLED || ++open > LIST_RCPTS)
			continue;
		if (shown++ > 0)
			buf_addf(l->out, "%61s", "");
		list_rcpt(l->out, &a, &e->rcpts[i]);
	}
	if (open > shown)
		buf_addf(l->out, "%61sand %zu more\n", "", open - shown);
	if (open == 0)
		buf_add_char(l->out, '\n');
	l->recipients += open;
	arena_fini(&a);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void set_flags(struct json *j, unsigned flags)
{
	json_set_bool(j, "smtputf8", flags & MESSAGE_SMTPUTF8);
	json_set_bool(j, "eightbit", flags & MESSAGE_8BIT);
	json_set_bool(j, "own", flags & MESSAGE_OWN);
}

static void json_rcpt(struct json *j, const struct queue_rcpt *r)
{
	json_set(j, "address", r->address);
	json_set_c(j, "state", states[r->state]);
	json_set_num(j, "tries", r->tries);
	if (r->state == RCPT_WAITING)
		json_set_num(j, "next", r->next);
	else
		json_set_null(j, "next");
	json_set(j, "said", r->said.n > 0 ? r->said : STR_NONE);
	if (r->changed != 0)
		json_set_num(j, "changed", r->changed);
	else
		json_set_null(j, "changed");
	json_set_bool(j, "quarantine", r->flags & RCPT_QUARANTINE);
	json_set_bool(j, "delay_told", r->delay_told);
}

static void json_message(struct json *j, const struct queue_entry *e)
{
	char id[QUEUE_ID_TEXT];
	struct json *rcpts;

	json_set(j, "id", queue_id_text(e->id, id));
	json_set_num(j, "arrived", e->arrived);
	json_set_num(j, "age_seconds", clock_wall() - e->arrived);
	json_set_num(j, "size", (int64_t)(e->head.n + e->bytes));
	json_set(j, "sender", e->sender.n > 0 ? e->sender : STR(""));
	json_set(j, "login", e->login.n > 0 ? e->login : STR_NONE);
	json_set(j, "envid", e->envid.n > 0 ? e->envid : STR_NONE);
	set_flags(j, e->flags);
	rcpts = json_set_array(j, "recipients");
	for (size_t i = 0; i < e->nrcpts; i++)
		json_rcpt(json_add_object(rcpts), &e->rcpts[i]);
}

/* ---- list --------------------------------------------------------------------------------------- */

static void add_json(struct buf *out, struct json *root)
{
	char *text = json_text(root);

	buf_add(out, str_of(text));
	free(text);
}

/* One message a line, so that a long queue is never one document in memory. */
static void list_json(struct listing *l, const struct queue_entry *e)
{
	struct json *j = json_new_object();

	json_message(j, e);
	if (l->messages > 0)
		buf_add(l->out, STR(",\n"));
	add_json(l->out, j);
}

static void list_one(void *arg, struct queue_entry *e)
{
	struct listing *l = arg;

	l->bytes += e->head.n + e->bytes;
	if (l->json)
		list_json(l, e);
	else
		list_message(l, e);
	l->messages++;
	queue_entry_free(e);
}

static void list_foot(struct listing *l)
{
	struct arena a;

	arena_init(&a, 4096);
	if (l->messages == 0)
		buf_add(l->out, STR("The queue is empty.\n"));
	else
		buf_addf(l->out, "%" PRIu64 " message%s, %" PRIu64 " recipient%s to go, %.*s\n", l->messages,
		         l->messages == 1 ? "" : "s", l->recipients, l->recipients == 1 ? "" : "s",
		         STR_ARG(size(&a, l->bytes)));
	arena_fini(&a);
}

enum err queue_report_list(struct queue *q, bool json, struct buf *out)
{
	struct listing l = { .out = out, .json = json };
	enum err e;

	if (json)
		buf_add_char(out, '[');
	else if (store_rows(q->store, TABLE_MESSAGE) > 0)
		buf_addf(out, "%-11s  %6s  %8s  %-28s  %-28s  %5s  %-9s  %s\n", "ID", "AGE", "SIZE", "FROM", "TO", "TRIES",
		         "NEXT", "LAST ANSWER");
	e = queue_walk(q, list_one, &l);
	if (json)
		buf_add(out, STR("]\n"));
	else
		list_foot(&l);
	return e == OK && out->failed ? ERR_MEMORY : e;
}

/* ---- show ---------------------------------------------------------------------------------------- */

static const char *const told[] = { "From", "To", "Cc", "Subject", "Date", "Message-ID" };

/* The header of the content: p[0..*n). */
static enum err read_header(struct queue *q, const struct queue_entry *e, struct arena *a, struct fields *f)
{
	size_t want = e->header_bytes < HEADER_MAX ? (size_t)e->header_bytes : HEADER_MAX, got = 0;
	struct splitter split;
	str back = STR_NONE;
	char *p = arena_alloc(a, want);
	enum err err;

	if (p == NULL)
		return ERR_MEMORY;
	err = queue_read(q, e->id, e->in_file, 0, p, want, &got);
	if (err != OK)
		return err;
	splitter_init(&split, a, HEADER_MAX, HEADER_MAX, HEADER_FIELDS);
	splitter_feed(&split, (str){ p, got }, &back);
	splitter_end(&split, &back);
	*f = split.fields;
	splitter_fini(&split);
	return OK;
}

static str value_of(const struct fields *f, const char *name, struct arena *a)
{
	const struct field *first = fields_first(f, name);

	return first == NULL ? STR_NONE : plain(a, field_unfold(a, first->value));
}

static void show_header(struct buf *out, struct arena *a, const struct fields *f)
{
	for (size_t i = 0; i < COUNT(told); i++) {
		str v = value_of(f, told[i], a);

		if (v.n > 0)
			buf_addf(out, "%-11s %.*s\n", told[i], STR_ARG(v));
	}
}

static const char *origin(const struct queue_entry *e)
{
	return e->flags & MESSAGE_OWN ? "written by this server" : e->flags & MESSAGE_LOGIN ? "submitted here" : "received";
}

static void show_rcpt(struct buf *out, struct arena *a, const struct queue_rcpt *r)
{
	buf_addf(out, "\n%.*s\n    %s", STR_ARG(path_text(a, r->address)), states[r->state]);
	if (r->state == RCPT_WAITING)
		buf_addf(out, ", next try %.*s (%.*s)", STR_ARG(when(a, r->next)), STR_ARG(next_text(a, r)));
	buf_addf(out, ", %" PRIu32 " tr%s so far", r->tries, r->tries == 1 ? "y" : "ies");
	if (r->changed != 0)
		buf_addf(out, ", last change %.*s", STR_ARG(when(a, r->changed)));
	buf_add_char(out, '\n');
	if (r->said.n > 0)
		buf_addf(out, "    last answer: %.*s\n", STR_ARG(plain(a, r->said)));
	if (r->place.n > 0)
		buf_addf(out, "    in the mailbox, not yet shown: %.*s\n", STR_ARG(plain(a, r->place)));
	if (r->orcpt.n > 0)
		buf_addf(out, "    first addressed to: %.*s\n", STR_ARG(plain(a, r->orcpt)));
	if (r->flags & RCPT_QUARANTINE)
		buf_add(out, STR("    goes to Junk\n"));
	if (r->delay_told)
		buf_add(out, STR("    the sender has been told of the delay\n"));
}

static void show_text(struct buf *out, struct arena *a, const struct queue_entry *e, const struct fields *f, enum err read)
{
	char id[QUEUE_ID_TEXT];

	buf_addf(out, "%-11s %.*s\n", "id", STR_ARG(queue_id_text(e->id, id)));
	buf_addf(out, "%-11s %.*s (%.*s ago), %s\n", "arrived", STR_ARG(when(a, e->arrived)),
	         STR_ARG(span(a, clock_wall() - e->arrived)), origin(e));
	buf_addf(out, "%-11s %.*s\n", "size", STR_ARG(size(a, e->head.n + e->bytes)));
	buf_addf(out, "%-11s %.*s\n", "sender", STR_ARG(path_text(a, e->sender)));
	if (e->login.n > 0)
		buf_addf(out, "%-11s %.*s\n", "login", STR_ARG(plain(a, e->login)));
	if (e->envid.n > 0)
		buf_addf(out, "%-11s %.*s\n", "envelope id", STR_ARG(plain(a, e->envid)));
	if (read == OK)
		show_header(out, a, f);
	else
		buf_addf(out, "%-11s its content cannot be read: %s\n", "damaged", err_text(read));
	for (size_t i = 0; i < e->nrcpts; i++)
		show_rcpt(out, a, &e->rcpts[i]);
}

static void json_show(struct json *j, struct arena *a, const struct queue_entry *e, const struct fields *f, enum err read)
{
	struct json *header;

	json_message(j, e);
	json_set_bool(j, "damaged", read != OK);
	header = json_set_object(j, "header");
	for (size_t i = 0; i < COUNT(told); i++)
		json_set(header, told[i], value_of(f, told[i], a));
}

enum err queue_report_show(struct queue *q, uint64_t id, bool json, struct buf *out)
{
	struct queue_entry *e = NULL;
	struct fields f = { 0 };
	enum err err = queue_load(q, id, &e), read;
	struct arena a;

	if (err != OK)
		return err;
	arena_init(&a, ARENA_UNBOUNDED);
	read = read_header(q, e, &a, &f);
	if (json) {
		struct json *root = json_new_object();

		json_show(root, &a, e, &f, read);
		add_json(out, root);
		buf_add_char(out, '\n');
	} else {
		show_text(out, &a, e, &f, read);
	}
	arena_fini(&a);
	queue_entry_free(e);
	return out->failed ? ERR_MEMORY : OK;
}
