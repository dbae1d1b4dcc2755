/* SPDX-License-Identifier: ISC */
/*
 * What becomes of a put: its session has its answer, the timetable the news.
 * Committer and writer threads.
 */
#include <stdlib.h>
#include <unistd.h>

#include "queue/commit.h"

/* ---- lists ------------------------------------------------------------------------------ */

void pile_clear(struct pile *l)
{
	l->first = NULL;
	l->end = &l->first;
}

void pile_add(struct pile *l, struct baton *b)
{
	for (*l->end = b; *l->end != NULL; l->end = &(*l->end)->next)
		;
}

void pile_add_one(struct pile *l, struct baton *b)
{
	b->next = NULL;
	pile_add(l, b);
}

struct baton *pile_take(struct pile *l)
{
	struct baton *all = l->first;

	pile_clear(l);
	return all;
}

/* ---- early -------------------------------------------------------------------------------- */

/* Who waits for the put has its struct back; row, seals and entry stay here. */
struct baton *answer_early(struct baton *b)
{
	struct queue_put *p = put_of(b), *s = p->stand_in;

	p->stand_in = NULL;
	s->queue = p->queue;
	s->id = p->id;
	s->entry = p->entry;
	s->row = p->row;
	s->seals = p->seals;
	p->entry = NULL;
	buf_init(&p->row, 0);
	buf_init(&p->seals, 0);
	count_puts(s->queue, 1);
	mbox_send(b->home, b);
	return &s->baton;
}

bool is_answered(const struct baton *b)
{
	return !b->first && b->home == NULL;
}

void answered_ends(struct baton *b)
{
	struct queue_put *p = put_of(b);

	buf_fini(&p->row);
	buf_fini(&p->seals);
	queue_entry_free(p->entry);
	free(p);
}

/* ---- when the store has it ------------------------------------------------------------------ */

/* The entry goes on to the timetable; its content stays in memory for the first
 * try when it is small and there is room for it. */
static void tell_news(struct queue *q, struct queue_put *p)
{
	struct stored_entry *s = SUPER(p->entry, struct stored_entry, entry);
	struct queue_entry *e = p->entry;

	p->entry = NULL;
	if (q->news == NULL) {
		queue_entry_free(e);
		return;
	}
	if (e->bytes > CONTENT_KEPT || atomic_load(&q->kept) + entry_weight(e) > KEPT_BUDGET)
		queue_entry_forget_content(e);
	entry_count(e, q);
	s->news.baton.arrived = q->news_arrived;
	mbox_send(q->news, &s->news.baton);
}

/* When the disk is in doubt the row may be there in the next life: then the file
 * stays, and the sweep at its start decides. */
void answer_put(struct queue *q, struct queue_put *p, enum err e)
{
	char path[BODY_PATH];

	if (p->err == OK)
		p->err = e;
	if (p->err == OK)
		tell_news(q, p);
	else if (p->entry->in_file && p->err != ERR_IO)
		unlink(body_path(q, p->id, path));
	if (is_answered(&p->baton))
		answered_ends(&p->baton);
	else
		mbox_send(p->baton.home, &p->baton);
}

void count_puts(struct queue *q, size_t n)
{
	atomic_fetch_add(&q->puts, n);
	atomic_fetch_add(&q->messages, n);
}
