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

struct listing {
	const struct queue_look *look;
	struct buf  *out;
	int64_t      now;
	uint64_t     messages, recipients, bytes;
	/* of queue_select */
	uint64_t    *ids;
	size_t       n, room;
	bool         failed;
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

static void add_rcpt(struct listing *l, struct arena *a, const struct queue_rcpt *r)
{
	str said = report_plain(a, l->look->width > 0 ? r->said : str_head(r->said, LIST_SAID));

	buf_addf(l->out, "%-28.*s  %5" PRIu32 "  %-9.*s  %.*s%s", STR_ARG(report_path(a, r->address)), r->tries,
	         STR_ARG(report_next(a, r, l->now)), STR_ARG(said),
	         l->look->width == 0 && r->said.n > LIST_SAID ? "…" : "");
}

static void add_message(struct listing *l, const struct queue_entry *e)
{
	char id[QUEUE_ID_TEXT];
	struct arena a;
	size_t shown = 0, open = 0, begun = l->out->n;

	arena_init(&a, ARENA_UNBOUNDED);
	buf_addf(l->out, "%.*s  %6.*s  %8.*s  %-28.*s  ", STR_ARG(queue_id_text(e->id, id)),
	         STR_ARG(report_span(&a, l->now - e->arrived)), STR_ARG(report_size(&a, e->head.n + e->bytes)),
	         STR_ARG(report_path(&a, e->sender)));
	if (e->damage != NULL)
		buf_addf(l->out, "damaged: %s cannot be read", e->damage);
	for (size_t i = 0; i < e->nrcpts; i++) {
		if (e->rcpts[i].state == RCPT_SETTLED || ++open > LIST_RCPTS)
			continue;
		if (shown++ > 0 || e->damage != NULL) {
			cut_line(l->out, begun, l->look->width);
			begun = l->out->n;
			buf_addf(l->out, "%*s", LEFT_MARGIN, "");
		}
		add_rcpt(l, &a, &e->rcpts[i]);
	}
	cut_line(l->out, begun, l->look->width);
	if (open > shown)
		buf_addf(l->out, "%*sand %zu more\n", LEFT_MARGIN, "", open - shown);
	l->recipients += open;
	arena_fini(&a);
}

/* One message a line, so that a long queue is never one document in memory. */
static void add_as_json(struct listing *l, const struct queue_entry *e)
{
	struct json *j = json_new_object();

	report_json(j, e, l->now);
	if (l->messages > 0)
		buf_add(l->out, STR(",\n"));
	report_add_json(l->out, j);
}

static void list_one(void *arg, struct queue_entry *e)
{
	struct listing *l = arg;

	if (queue_filter_fits(&l->look->filter, e, l->now)) {
		l->bytes += e->head.n + e->bytes;
		if (l->look->json)
			add_as_json(l, e);
		else
			add_message(l, e);
		l->messages++;
	}
	queue_entry_free(e);
}

static void add_foot(struct listing *l)
{
	struct arena a;

	arena_init(&a, 4096);
	if (l->messages == 0)
		buf_add(l->out, queue_filter_is_empty(&l->look->filter) ? STR("The queue is empty.\n")
		                                                        : STR("No message of the queue fits.\n"));
	else
		buf_addf(l->out, "%" PRIu64 " message%s, %" PRIu64 " recipient%s to go, %.*s\n", l->messages,
		         l->messages == 1 ? "" : "s", l->recipients, l->recipients == 1 ? "" : "s",
		         STR_ARG(report_size(&a, l->bytes)));
	arena_fini(&a);
}

static void add_head(struct listing *l, size_t width)
{
	size_t begun = l->out->n;

	buf_addf(l->out, "%-11s  %6s  %8s  %-28s  %-28s  %5s  %-9s  %s", "ID", "AGE", "SIZE", "FROM", "TO", "TRIES",
	         "NEXT", "LAST ANSWER");
	cut_line(l->out, begun, width);
}

enum err queue_report_list(struct queue *q, const struct queue_look *look, struct buf *out)
{
	struct listing l = { .look = look, .out = out, .now = clock_wall() };
	enum err e;

	if (look->json)
		buf_add_char(out, '[');
	else if (store_rows(q->store, TABLE_MESSAGE) > 0)
		add_head(&l, look->width);
	e = queue_walk(q, list_one, &l);
	if (look->json)
		buf_add(out, STR("]\n"));
	else
		add_foot(&l);
	return e == OK && out->failed ? ERR_MEMORY : e;
}

/* ---- what a filter means --------------------------------------------------------------------- */

static void select_one(void *arg, struct queue_entry *e)
{
	struct listing *l = arg;

	if (queue_filter_fits(&l->look->filter, e, l->now) && !l->failed) {
		if (l->n == l->room) {
			size_t room = l->room ? 2 * l->room : 64;
			uint64_t *ids = realloc(l->ids, room * sizeof(*ids));

			l->failed = ids == NULL;
			l->ids = ids != NULL ? ids : l->ids;
			l->room = ids != NULL ? room : l->room;
		}
		if (!l->failed)
			l->ids[l->n++] = e->id;
	}
	queue_entry_free(e);
}

enum err queue_select(struct queue *q, const struct queue_filter *f, uint64_t **ids, size_t *n)
{
	struct queue_look look = { .filter = *f };
	struct listing l = { .look = &look, .now = clock_wall() };
	enum err e = queue_walk(q, select_one, &l);

	if (e == OK && l.failed)
		e = ERR_MEMORY;
	if (e != OK) {
		free(l.ids);
		l.ids = NULL;
		l.n = 0;
	}
	*ids = l.ids;
	*n = l.n;
	return e;
}
