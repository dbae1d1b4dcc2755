/* SPDX-License-Identifier: ISC */
/*
 * The queue in columns, or a JSON array; and the ids of what a filter means.
 * Disk or slow desk, verbs.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "queue/report_inside.h"
#include "smtpd/base/clock.h"

#define LIST_RCPTS 5            /* open recipients of one message that are named */
#define LIST_SAID  100          /* octets of the last answer, where the width is not known */
#define LEFT_MARGIN 61          /* of the second recipient's line */

#define PIECE      ((size_t)64 << 10)   /* octets of the text, and messages looked at, */
#define LOOKED_AT  1000                 /* until a piece is long enough */

struct listing {
	struct queue_list *list;
	struct buf  *out;
	size_t       looked_at;
};

/* ---- columns ------------------------------------------------------------------------------- */

/* The line that begins at `begun` ends within the width, never in the middle of a letter. */
static void cut_line(struct buf *out, size_t begun, size_t width)
{
	const char *p = out->p + out->head + begun;
	size_t n = out->n - begun, columns = 0, at = 0;

	while (at < n && width > 0 && columns < width) {
		at++;
		while (at < n && ((unsigned char)p[at] & 0xc0) == 0x80)
			at++;
		columns++;
	}
	if (width > 0 && at < n)
		out->n = begun + at;
	while (out->n > begun && out->p[out->head + out->n - 1] == ' ')
		out->n--;
	buf_add_char(out, '\n');
}

/* Nobody has been asked yet: held as it came, or waiting for its time. */
static str said_of(const struct listing *l, const struct queue_entry *e, const struct queue_rcpt *r)
{
	if (r->said.n > 0)
		return r->said;
	if (queue_rcpt_waits_for_key(e, r))
		return STR("no DKIM key is out: `postern key list`");
	if (r->state != RCPT_WAITING || e->not_before <= l->list->now)
		return STR_NONE;
	return e->flags & MESSAGE_FUTURE ? STR("waits as asked for, `queue remove` stops it")
	                                 : STR("in its grace time, `queue remove` stops it");
}

static void add_rcpt(struct listing *l, struct arena *a, const struct queue_entry *e, const struct queue_rcpt *r)
{
	size_t width = l->list->look.width;
	str whole = said_of(l, e, r), said = report_plain(a, width > 0 ? whole : str_head(whole, LIST_SAID));

	buf_addf(l->out, "%-28.*s  %5" PRIu32 "  %-9.*s  %.*s%s", STR_ARG(report_path(a, r->address)), r->tries,
	         STR_ARG(report_next(a, r, l->list->now)), STR_ARG(said),
	         width == 0 && r->said.n > LIST_SAID ? "…" : "");
}

static void add_message(struct listing *l, const struct queue_entry *e)
{
	char id[QUEUE_ID_TEXT];
	struct arena a;
	size_t shown = 0, open = 0, begun = l->out->n;

	arena_init(&a, ARENA_UNBOUNDED);
	buf_addf(l->out, "%.*s  %6.*s  %8.*s  %-28.*s  ", STR_ARG(queue_id_text(e->id, id)),
	         STR_ARG(report_span(&a, l->list->now - e->arrived)), STR_ARG(report_size(&a, e->head.n + e->bytes)),
	         STR_ARG(report_path(&a, e->sender)));
	if (e->damage != NULL)
		buf_addf(l->out, "damaged: %s cannot be read", e->damage);
	for (size_t i = 0; i < e->nrcpts; i++) {
		if (e->rcpts[i].state == RCPT_SETTLED || ++open > LIST_RCPTS)
			continue;
		if (shown++ > 0 || e->damage != NULL) {
			cut_line(l->out, begun, l->list->look.width);
			begun = l->out->n;
			buf_addf(l->out, "%*s", LEFT_MARGIN, "");
		}
		add_rcpt(l, &a, e, &e->rcpts[i]);
	}
	cut_line(l->out, begun, l->list->look.width);
	if (open > shown)
		buf_addf(l->out, "%*sand %zu more\n", LEFT_MARGIN, "", open - shown);
	l->list->recipients += open;
	arena_fini(&a);
}

/* One message a line, so that a long queue is never one document in memory. */
static void add_as_json(struct listing *l, const struct queue_entry *e)
{
	struct json *j = json_new_object();

	report_json(j, e, l->list->now);
	if (l->list->messages > 0)
		buf_add(l->out, STR(",\n"));
	report_add_json(l->out, j);
}

static bool list_one(void *arg, struct queue_entry *e)
{
	struct listing *l = arg;
	struct queue_list *list = l->list;

	list->last = e->id;
	if (queue_filter_fits(&list->look.filter, e, list->now)) {
		list->bytes += e->head.n + e->bytes;
		if (list->look.json)
			add_as_json(l, e);
		else
			add_message(l, e);
		list->messages++;
	}
	queue_entry_free(e);
	if (++l->looked_at < LOOKED_AT && l->out->n < PIECE)
		return true;
	list->over = false;
	return false;
}

static void add_foot(const struct queue_list *l, struct buf *out)
{
	struct arena a;

	arena_init(&a, 4096);
	if (l->look.json)
		buf_add(out, STR("]\n"));
	else if (l->messages == 0)
		buf_add(out, queue_filter_is_empty(&l->look.filter) ? STR("The queue is empty.\n")
		                                                    : STR("No message of the queue fits.\n"));
	else
		buf_addf(out, "%" PRIu64 " message%s, %" PRIu64 " recipient%s to go, %.*s\n", l->messages,
		         l->messages == 1 ? "" : "s", l->recipients, l->recipients == 1 ? "" : "s",
		         STR_ARG(report_size(&a, l->bytes)));
	arena_fini(&a);
}

static void add_head(struct queue *q, const struct queue_look *look, struct buf *out)
{
	size_t begun = out->n;

	if (look->json) {
		buf_add_char(out, '[');
		return;
	}
	if (store_rows(q->store, TABLE_MESSAGE) == 0)
		return;
	buf_addf(out, "%-11s  %6s  %8s  %-28s  %-28s  %5s  %-9s  %s", "ID", "AGE", "SIZE", "FROM", "TO", "TRIES",
	         "NEXT", "LAST ANSWER");
	cut_line(out, begun, look->width);
}

enum err queue_report_list(struct queue *q, struct queue_list *list, struct buf *out)
{
	struct listing l = { .list = list, .out = out };
	enum err e;

	if (!list->begun) {
		list->begun = true;
		list->now = clock_wall();
		add_head(q, &list->look, out);
	}
	list->over = true;                      /* unless this piece is long enough first */
	e = queue_walk_some(q, list->last, list_one, &l);
	if (e == OK && list->over)
		add_foot(list, out);
	return e == OK && out->failed ? ERR_MEMORY : e;
}

/* ---- what a filter means --------------------------------------------------------------------- */

struct selecting {
	const struct queue_filter *filter;
	int64_t   now;
	uint64_t *ids;
	size_t    n, room;
	bool      failed;
};

static void select_one(void *arg, struct queue_entry *e)
{
	struct selecting *s = arg;

	if (queue_filter_fits(s->filter, e, s->now) && !s->failed) {
		if (s->n == s->room) {
			size_t room = s->room ? 2 * s->room : 64;
			uint64_t *ids = realloc(s->ids, room * sizeof(*ids));

			s->failed = ids == NULL;
			s->ids = ids != NULL ? ids : s->ids;
			s->room = ids != NULL ? room : s->room;
		}
		if (!s->failed)
			s->ids[s->n++] = e->id;
	}
	queue_entry_free(e);
}

enum err queue_select(struct queue *q, const struct queue_filter *f, uint64_t **ids, size_t *n)
{
	struct selecting s = { .filter = f, .now = clock_wall() };
	enum err e = queue_walk(q, select_one, &s);

	if (e == OK && s.failed)
		e = ERR_MEMORY;
	if (e != OK) {
		free(s.ids);
		s.ids = NULL;
		s.n = 0;
	}
	*ids = s.ids;
	*n = s.n;
	return e;
}
